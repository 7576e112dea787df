# SPDX-License-Identifier: Apache-2.0
# full
# needs: /usr/bin/python3 openssl
# timeout: 120
# asyncio servers in processes of their own: TLS and start_tls, workers that share a port or inherit its socket,
# descriptors handed to workers, a fork for each connection, clients that are killed, an end that lets requests finish.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out cert 2>openssl.log
cat > p.py <<'P'
import asyncio, hashlib, os, signal, socket, ssl, struct, sys, time
up = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH); up.load_cert_chain("cert", "key"); down = ssl.create_default_context(cafile="cert")
big = bytes(i * 13 & 255 for i in range(2_000_000))
def child(f, *a, **kw):
    sys.stdout.flush()
    if pid := os.fork(): return pid
    try: f(*a, **kw); os._exit(0)
    except BaseException: import traceback; traceback.print_exc(); os._exit(1)
def fds(): return len(os.listdir("/proc/self/fd"))
async def lines(r, w, name=b""):
    try:
        while line := await r.readline():
            if line == b"tls\n": w.write(b"go\n"); await w.start_tls(up); line = b"secure\n"
            if line == b"fds\n": line = b"%d\n" % fds()
            if line == b"slow\n": await asyncio.sleep(0.3)
            w.write(name + line.upper()); await w.drain()
    except (ConnectionError, ssl.SSLError): pass
    finally: w.close()
def serve(tell=None, **kw):
    async def main():
        loop = asyncio.get_running_loop(); end = asyncio.Event(); loop.add_signal_handler(signal.SIGTERM, end.set); busy = set()
        async def one(r, w):
            busy.add(asyncio.current_task())
            try: await lines(r, w, b"%d " % os.getpid() if kw.get("named") else b"")
            finally: busy.discard(asyncio.current_task())
        args = {k: v for k, v in kw.items() if k != "named"}
        s = await asyncio.start_server(one, limit=1 << 22, **args)
        if tell: os.write(tell, struct.pack("i", s.sockets[0].getsockname()[1]))
        await end.wait(); s.close(); await asyncio.wait(busy, timeout=5) if busy else None
    asyncio.run(main())
def started(**kw): r, w = os.pipe(); pid = child(serve, w, **kw); port, = struct.unpack("i", os.read(r, 4)); os.close(r); os.close(w); return pid, port
async def ask(r, w, what): w.write(what); await w.drain(); return await r.readline()
async def client(port, k, **kw):
    r, w = await asyncio.open_connection("localhost" if kw else "127.0.0.1", port, limit=1 << 22, family=socket.AF_INET, **kw); good = 0
    for i in range(20): good += await ask(r, w, b"c%d %d\n" % (k, i)) == b"C%d %d\n" % (k, i)
    w.close(); await w.wait_closed(); return good
async def tls():
    pid, port = started(host="127.0.0.1", port=0, ssl=up); print(sum(await asyncio.gather(*(client(port, k, ssl=down) for k in range(30)))))
    r, w = await asyncio.open_connection("localhost", port, ssl=down, family=socket.AF_INET, limit=1 << 22); line = bytes(65 + (b & 15) for b in big) + b"\n"; print(hashlib.md5(await ask(r, w, line)).hexdigest()); w.close()
    try: await asyncio.open_connection("localhost", port, ssl=ssl.create_default_context(), family=socket.AF_INET)
    except ssl.SSLCertVerificationError as e: print(e.reason)
    os.kill(pid, signal.SIGTERM); print(os.waitpid(pid, 0)[1])
    pid, port = started(host="127.0.0.1", port=0); r, w = await asyncio.open_connection("127.0.0.1", port); print(await ask(r, w, b"plain\n"), await ask(r, w, b"tls\n")); await w.start_tls(down, server_hostname="localhost"); print(await r.readline(), await ask(r, w, b"x\n")); w.close()
    # requests that run when SIGTERM comes are answered, new clients are refused
    r, w = await asyncio.open_connection("127.0.0.1", port); w.write(b"slow\n"); await w.drain(); await asyncio.sleep(0.1); os.kill(pid, signal.SIGTERM); await asyncio.sleep(0.1)
    try: await asyncio.open_connection("127.0.0.1", port); print("accepted")
    except ConnectionRefusedError as e: print(type(e).__name__)
    print(await r.readline()); w.close(); print(os.waitpid(pid, 0)[1])
async def workers():
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]; pids = [started(host="127.0.0.1", port=port, reuse_port=True, named=True)[0] for _ in range(3)]; s.close(); seen = set()
    for i in range(60): r, w = await asyncio.open_connection("127.0.0.1", port); seen.add(int((await ask(r, w, b"x\n")).split()[0])); w.close()
    print("shared port", seen == set(pids)); [os.kill(p, signal.SIGKILL) for p in pids[:2]]; [os.waitpid(p, 0) for p in pids[:2]]
    for i in range(10): r, w = await asyncio.open_connection("127.0.0.1", port); assert int((await ask(r, w, b"x\n")).split()[0]) == pids[2]; w.close()
    os.kill(pids[2], signal.SIGTERM); print(os.waitpid(pids[2], 0)[1])
    s = socket.create_server(("127.0.0.1", 0), backlog=200); port = s.getsockname()[1]; pids = [started(sock=s)[0] for _ in range(3)]; print(sum(await asyncio.gather(*(client(port, k) for k in range(100))))); [os.kill(p, signal.SIGTERM) for p in pids]; print([os.waitpid(p, 0)[1] for p in pids])
def killed():
    pid, port = started(host="127.0.0.1", port=0); c = socket.create_connection(("127.0.0.1", port)); f = c.makefile("rwb", 0); f.write(b"fds\n"); before = f.readline()
    def rude(k):
        s = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for x in s: x.sendall(b"half a line" + b"z" * k * 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    for k in range(5): assert os.waitpid(child(rude, k), 0)[1] == 9
    for _ in range(200):
        f.write(b"fds\n")
        if (after := f.readline()) == before: break
        time.sleep(0.05)
    print("killed clients", after == before); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
    try: print(f.readline())
    except ConnectionResetError as e: print(type(e).__name__)
def handed():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET); s = socket.create_server(("::1", 0), family=socket.AF_INET6)
    def worker():
        a.close(); s.close()
        while True:
            m, got, _, _ = socket.recv_fds(b, 100, 4)
            if not m: return
            for fd in got:
                with socket.socket(fileno=fd) as c: c.sendall(m + c.recv(100)[::-1])
    pids = [child(worker) for _ in range(3)]; b.close(); out = set()
    for i in range(90):
        c = socket.create_connection(s.getsockname()[:2]); c.sendall(b"n%d" % i); x, _ = s.accept(); socket.send_fds(a, [b"<%d>" % i], [x.fileno()]); x.close(); out.add(b"".join(iter(lambda: c.recv(100), b"")) == b"<%d>" % i + (b"n%d" % i)[::-1]); c.close()
    print("handed", out); a.close(); print([os.waitpid(p, 0)[1] for p in pids])
def forking():
    s = socket.create_server(("127.0.0.1", 0), backlog=100); a = s.getsockname(); signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    def server():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            c, _ = s.accept()
            if not os.fork(): s.close(); c.sendall(c.recv(100).upper()); c.close(); os._exit(0)
            c.close()
    pid = child(server); cs = []; good = 0
    for k in range(4):
        cs = [socket.create_connection(a) for _ in range(25)]
        for i, c in enumerate(cs): c.sendall(b"f%d" % i)
        good += sum(c.recv(100) == b"F%d" % i and c.recv(1) == b"" for i, c in enumerate(cs)); [c.close() for c in cs]
    print("forked", good); os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        try: os.kill(pid, 0); time.sleep(0.02)
        except ProcessLookupError: break
    s.close()
asyncio.run(tls()); asyncio.run(workers()); killed(); handed(); forking()
P
/usr/bin/python3 p.py 2>&1
rm -f ./*
