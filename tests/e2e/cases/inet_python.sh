# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# Servers and clients of the standard library over TCP and UDP on loopback.
cat > p.py <<'P'
import asyncio, hashlib, http.server, os, select, socket, socketserver, ssl, threading, urllib.error, urllib.request, xmlrpc.client, xmlrpc.server
big = bytes(i * 7 & 255 for i in range(3_000_000))
class H(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_POST(self):
        d = self.rfile.read(int(self.headers["Content-Length"])); self.send_response(200); self.send_header("Content-Length", str(len(d))); self.end_headers(); self.wfile.write(d[::-1])
open("small", "w").write("hello\n"); open("large", "wb").write(big)
for cls, host in ((http.server.ThreadingHTTPServer, "127.0.0.1"),):
    s = cls((host, 0), H); threading.Thread(target=s.serve_forever, args=(0.01,), daemon=True).start(); u = f"http://localhost:{s.server_port}/"
    print(urllib.request.urlopen(u + "small").read(), hashlib.md5(urllib.request.urlopen(u + "large").read()).hexdigest())
    print(hashlib.md5(urllib.request.urlopen(u, data=big).read()).hexdigest())
    try: urllib.request.urlopen(u + "none")
    except urllib.error.HTTPError as e: print(e.code)
    out = []
    def get(): out.append(len(urllib.request.urlopen(u + "small").read()))
    ts = [threading.Thread(target=get) for _ in range(24)]; [t.start() for t in ts]; [t.join() for t in ts]; print(len(out), sum(out)); s.shutdown(); s.server_close()
    try: urllib.request.urlopen(u)
    except urllib.error.URLError as e: print(e.reason)
class V6(http.server.ThreadingHTTPServer): address_family = socket.AF_INET6
s = V6(("::1", 0), H); threading.Thread(target=s.serve_forever, args=(0.01,), daemon=True).start(); print(urllib.request.urlopen(f"http://[::1]:{s.server_port}/small").read()); s.shutdown()
class Echo(socketserver.BaseRequestHandler):
    def handle(self): d, sock = self.request; sock.sendto(d.upper(), self.client_address)
s = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Echo); threading.Thread(target=s.serve_forever, args=(0.01,), daemon=True).start(); c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.connect(s.server_address)
for i in range(50): c.send(b"m%d" % i); assert c.recv(100) == b"M%d" % i
print("udp", i); s.shutdown()
class Fork(socketserver.ForkingTCPServer): allow_reuse_address = True
class Pid(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline().upper()); self.wfile.write(b"%d" % (os.getpid() != main))
main = os.getpid(); s = Fork(("127.0.0.1", 0), Pid); threading.Thread(target=s.serve_forever, args=(0.01,), daemon=True).start()
for i in range(5):
    with socket.create_connection(s.server_address) as c: c.sendall(b"fork\n"); f = c.makefile(); print(f.read().split())
s.shutdown()
async def serve(r, w):
    while line := await r.readline(): w.write(line.upper()); await w.drain()
    w.close()
async def client(port, k):
    r, w = await asyncio.open_connection("127.0.0.1", port); n = 0
    for i in range(30): w.write(b"c%d %d\n" % (k, i)); assert await r.readline() == b"C%d %d\n" % (k, i); n += 1
    w.close(); await w.wait_closed(); return n
async def bulk(port):
    r, w = await asyncio.open_connection("127.0.0.1", port); line = b"x" * 50000 + b"\n"
    async def feed():
        for _ in range(60): w.write(line); await w.drain()
        w.write_eof()
    t = asyncio.create_task(feed()); n = 0
    while d := await r.read(65536): n += len(d)
    await t; w.close(); return n
async def go():
    srv = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20); port = srv.sockets[0].getsockname()[1]
    print(sum(await asyncio.gather(*(client(port, k) for k in range(40)))), await bulk(port)); srv.close(); await srv.wait_closed()
    class P(asyncio.DatagramProtocol):
        def connection_made(self, t): self.t = t
        def datagram_received(self, d, a): self.t.sendto(d[::-1], a)
    t, _ = await asyncio.get_running_loop().create_datagram_endpoint(P, local_addr=("127.0.0.1", 0)); done = asyncio.get_running_loop().create_future()
    class C(asyncio.DatagramProtocol):
        def connection_made(self, t): t.sendto(b"abc")
        def datagram_received(self, d, a): done.set_result(d)
    t2, _ = await asyncio.get_running_loop().create_datagram_endpoint(C, remote_addr=t.get_extra_info("sockname")); print(await done); t.close(); t2.close()
asyncio.run(go())
x = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False); x.register_function(lambda a, b: a + b, "add"); threading.Thread(target=x.serve_forever, args=(0.01,), daemon=True).start()
p = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{x.server_address[1]}"); print([p.add(i, 1) for i in range(5)]); x.shutdown()
print(socket.if_nametoindex("lo"), socket.gethostbyname("localhost"))
l = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True); print(socket.create_connection(("127.0.0.1", l.getsockname()[1])).getpeername()[0], socket.create_connection(("::1", l.getsockname()[1])).getpeername()[0])
a, b = socket.socket(), socket.create_server(("127.0.0.1", 0)); a.connect(b.getsockname()); t = b.accept()[0]; pid = os.fork()
if pid == 0: t.sendall(big); os._exit(0)
t.close(); n = hashlib.md5()
while d := a.recv(100000): n.update(d)
print(n.hexdigest(), os.waitpid(pid, 0)[1])
f = open("large", "rb"); l, r = socket.socket(), b; l.connect(b.getsockname()); t = b.accept()[0]; threading.Thread(target=lambda: (l.sendfile(f), l.close())).start(); n = 0
while d := t.recv(65536): n += len(d)
print("sendfile", n)
P
/usr/bin/python3 p.py 2>&1
rm -f small large p.py
