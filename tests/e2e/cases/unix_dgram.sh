# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# AF_UNIX datagrams as loggers and buses use them: asyncio, multiprocessing, descriptors through a broker.
cat > p.py <<'P'
import asyncio, os, socket, multiprocessing as mp, logging, logging.handlers, threading, array
S = socket
# syslog
log = S.socket(S.AF_UNIX, S.SOCK_DGRAM); log.bind("log")
h = logging.handlers.SysLogHandler("log"); l = logging.getLogger("x"); l.addHandler(h); l.warning("hello %d", 5)
print(log.recv(100))
# a broker hands one client's pipe to another, as D-Bus does
def broker():
    a = S.socket(S.AF_UNIX, S.SOCK_SEQPACKET); a.bind("\0bus%d" % os.getppid()); a.listen(); w.send_bytes(b"up")
    x, _ = a.accept(); y, _ = a.accept()
    for _ in range(20):
        msg, fds, flags, _ = S.recv_fds(x, 1000, 4); S.send_fds(y, [msg], fds); [os.close(f) for f in fds]
r, w = mp.Pipe(False)
p = mp.get_context("fork").Process(target=broker); p.start(); r.recv_bytes()
x, y = S.socket(S.AF_UNIX, S.SOCK_SEQPACKET), S.socket(S.AF_UNIX, S.SOCK_SEQPACKET)
x.connect("\0bus%d" % os.getpid()); y.connect("\0bus%d" % os.getpid())
for i in range(20):
    a, b = os.pipe(); os.write(b, b"n%d" % i); S.send_fds(x, [b"msg%d" % i], [a]); os.close(a); os.close(b)
    m, f, _, _ = S.recv_fds(y, 1000, 4); assert (m, os.read(f[0], 10), os.read(f[0], 1)) == (b"msg%d" % i, b"n%d" % i, b""); os.close(f[0])
p.join(); print("bus", p.exitcode)
# asyncio: streams and datagrams
async def main():
    async def serve(r, w):
        while line := await r.readline(): w.write(line.upper()); await w.drain()
        w.close()
    s = await asyncio.start_unix_server(serve, "as")
    async def client(i):
        r, w = await asyncio.open_unix_connection("as"); out = []
        for k in range(30): w.write(b"c%d-%d\n" % (i, k)); out.append(await r.readline())
        w.close(); return out[-1]
    print(await asyncio.gather(*(client(i) for i in range(20))))
    got = asyncio.Queue()
    class P(asyncio.DatagramProtocol):
        def datagram_received(self, d, a): got.put_nowait((d, a))
    loop = asyncio.get_running_loop()
    t, _ = await loop.create_datagram_endpoint(P, local_addr="dg", family=S.AF_UNIX)
    c = S.socket(S.AF_UNIX, S.SOCK_DGRAM); c.bind("me"); c.setblocking(False)
    for i in range(50): await loop.sock_sendto(c, b"d%d" % i, "dg") if hasattr(loop, "sock_sendto") else c.sendto(b"d%d" % i, "dg"); await asyncio.sleep(0)
    print([await got.get() for _ in range(50)][-1])
    s.close(); t.close()
asyncio.run(main())
# queues of multiprocessing, a listener with authentication
from multiprocessing.connection import Listener, Client
def serve2():
    with Listener("mpl", "AF_UNIX", authkey=b"k") as l:
        w.send_bytes(b"up")
        with l.accept() as c:
            while (v := c.recv()) is not None: c.send(v * 2)
p = mp.get_context("fork").Process(target=serve2); p.start(); r.recv_bytes()
with Client("mpl", "AF_UNIX", authkey=b"k") as c:
    for v in (1, "ab", [1, 2], b"x" * 100000): c.send(v); print(len(str(c.recv())))
    c.send(None)
p.join(); print(p.exitcode)
P
/usr/bin/python3 p.py 2>&1
