# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# AF_UNIX by name: listen, connect, accept, abstract names, credentials, backlog, errors, descriptors.
cat > p.py <<'P'
import socket, os, struct, errno, threading, select, array, socketserver, stat
def err(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
S = lambda k=socket.SOCK_STREAM: socket.socket(socket.AF_UNIX, k)
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    name = f"s{int(kind)}"
    l = S(kind); print(err(l.listen), err(S(kind).connect, name)); l.bind(name); print(l.getsockname(), stat.S_ISSOCK(os.stat(name).st_mode), err(S(kind).bind, name), err(S(kind).connect, name), err(l.bind, "x"))
    l.listen(2); print(l.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)); l.setblocking(False); print(err(l.accept), select.select([l], [], [], 0)[0] == []); l.setblocking(True)
    c = S(kind); c.connect(name); c.send(b"early"); print(select.select([l], [], [], 1)[0] == [l], c.getpeername(), c.getsockname(), err(c.connect, name), err(c.accept) == "EINVAL")
    a, peer = l.accept(); print(repr(peer), a.recv(100), a.getsockname(), struct.unpack("3i", a.getsockopt(1, socket.SO_PEERCRED, 12)) == (os.getpid(), os.getuid(), os.getgid()))
    a.send(b"back"); print(c.recv(10)); socket.send_fds(c, [b"fd"], [os.open("/etc/passwd", os.O_RDONLY)]); m = socket.recv_fds(a, 10, 1); print(m[0], os.read(m[1][0], 4)); c.close(); print(a.recv(1)); a.close()
    q = [S(kind) for _ in range(5)]; [x.setblocking(False) for x in q]; print([err(x.connect, name) for x in q]); b = S(kind); t = threading.Thread(target=lambda: (b.connect(name), b.send(b"late"))); t.start(); [l.accept() for _ in range(3)]; x, _ = l.accept(); t.join(); print(x.recv(10))
    w = S(kind); w.connect(name); l.close(); print(err(w.recv, 1), err(S(kind).connect, name)); os.unlink(name); print(err(S(kind).connect, name))
print(err(S(socket.SOCK_SEQPACKET).connect, "nx"), err(S().connect, "/etc/passwd"), err(S().connect, "\0none"))
l = S(); l.bind("\0abs"); l.listen(); c = S(); c.connect("\0abs"); print(l.accept()[0].getsockname(), c.getpeername(), err(S().bind, "\0abs"), err(S(socket.SOCK_SEQPACKET).connect, "\0abs")); l.close(); print(err(S().connect, "\0abs"))
l = S(); l.bind(""); print(len(l.getsockname()), err(S().bind, "a" * 200) if False else "", err(S().bind, "nodir/x"))
class H(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line.upper())
srv = socketserver.ThreadingUnixStreamServer("srv", H); threading.Thread(target=srv.serve_forever, daemon=True).start()
def client(i, out):
    c = S(); c.connect("srv"); f = c.makefile("rw")
    for k in range(20): f.write(f"m{i} {k}\n"); f.flush(); out.append(f.readline())
    c.close()
out = []; ts = [threading.Thread(target=client, args=(i, out)) for i in range(8)]; [t.start() for t in ts]; [t.join() for t in ts]; print(len(out), sorted(out)[:3]); srv.shutdown()
os.chmod("srv", 0); print(sorted(os.listdir(".")))
if os.fork() == 0:
    f = S(); f.bind("forked"); f.listen(); a, _ = f.accept(); a.sendall(b"z" * 1000000); os._exit(0)
while not os.path.exists("forked") or err(c2.connect, "forked") if (c2 := S()) else 0: pass
n = 0
while d := c2.recv(65536): n += len(d)
print(n, os.wait()[1])
P
/usr/bin/python3 p.py 2>&1
