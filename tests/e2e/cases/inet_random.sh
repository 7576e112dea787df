# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# Random operations on TCP and UDP sockets, seeded: the same transcript natively and inside.
cat > p.py <<'P'
import errno, hashlib, os, random, select, socket, struct, sys, time
MASK = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x2000
class World:
    def __init__(self, seed):
        self.r = random.Random(seed); self.s = []; self.ports = {}; self.log = []; self.ids = {}
    def port(self, p):
        return 0 if p == 0 else self.ports.setdefault(p, len(self.ports) + 1)
    def name(self, n):
        return (n[0], self.port(n[1]))
    def attempt(self, what, fn, *a):
        try: v = fn(*a)
        except OSError as e: v = errno.errorcode.get(e.errno, e.errno)
        except BlockingIOError: v = "EAGAIN"
        if isinstance(v, tuple) and len(v) >= 2 and isinstance(v[0], str): v = self.name(v)
        if isinstance(v, bytes): v = (len(v), hashlib.md5(v).hexdigest()[:6])
        self.log.append((what, v))
        if what[0] in ("connect", "send", "sendto", "shutdown"): time.sleep(0.001) # natively it arrives a moment later
        return v
    def pick(self, kind=None):
        c = [x for x in self.s if kind is None or x.type == kind]
        return self.r.choice(c) if c else None
    def idx(self, x): return self.ids.setdefault(x, len(self.ids))
    def make(self):
        if len(self.s) > 30: return self.close()
        fam = self.r.choice([socket.AF_INET, socket.AF_INET, socket.AF_INET6])
        kind = self.r.choice([socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM])
        x = socket.socket(fam, kind); x.setblocking(False); self.s.append(x)
        if kind == socket.SOCK_STREAM: x.setsockopt(6, socket.TCP_NODELAY, 1); x.setsockopt(6, socket.TCP_CONGESTION, b"reno") # nothing native comes late
        self.log.append(("make", self.idx(x), fam, kind))
    def addr(self, x, port):
        if x.family == socket.AF_INET: return (self.r.choice(["127.0.0.1", "127.0.0.1", "0.0.0.0"]), port)
        return (self.r.choice(["::1", "::1", "::", "::ffff:127.0.0.1"]), port)
    def bind(self):
        x = self.pick()
        if not x: return
        other, p = self.pick(x.type), 0
        if other and self.r.random() < 0.4: p = other.getsockname()[1]
        self.attempt(("bind", self.idx(x), self.port(p)), x.bind, self.addr(x, p))
    def listen(self):
        x = self.pick()
        if x: self.attempt(("listen", self.idx(x)), x.listen, 50)
    def connect(self):
        x, to = self.pick(), self.pick()
        if not x or x.type != to.type or x is to: return
        p = to.getsockname()[1]
        if p: self.attempt(("connect", self.idx(x), self.port(p)), x.connect, self.addr(x, p))
    def accept(self):
        x = self.pick(socket.SOCK_STREAM)
        if not x: return
        def go():
            c, a = x.accept(); c.setblocking(False); self.s.append(c); return a
        self.attempt(("accept", self.idx(x)), go)
    def send(self):
        x = self.pick()
        if not x: return
        data = bytes(self.r.getrandbits(8) for _ in range(self.r.choice([1, 5, 100, 1500])))
        self.attempt(("send", self.idx(x), len(data)), x.send, data)
    def sendto(self):
        x, to = self.pick(socket.SOCK_DGRAM), self.pick(socket.SOCK_DGRAM)
        if not x: return
        p = to.getsockname()[1]
        if p: self.attempt(("sendto", self.idx(x), self.port(p)), x.sendto, b"q" * self.r.randrange(300), self.addr(x, p))
    def recv(self):
        x = self.pick()
        if not x: return
        n = self.r.choice([1, 50, 4000]); fl = self.r.choice([0, 0, 0, socket.MSG_PEEK, socket.MSG_WAITALL])
        if x.type == socket.SOCK_STREAM: self.attempt(("recv", self.idx(x), n, fl), x.recv, n, fl)
        else:
            def go():
                d, a = x.recvfrom(n, fl); return (len(d), self.name(a) if a else None)
            self.attempt(("recvfrom", self.idx(x), n, fl), go)
    def shutdown(self):
        x = self.pick()
        if x:
            how = self.r.randrange(3); self.attempt(("shutdown", self.idx(x), how), x.shutdown, how)
    def close(self):
        x = self.pick()
        if not x: return
        if x.type == socket.SOCK_STREAM and self.r.random() < 0.2: x.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.log.append(("close", self.idx(x))); self.s.remove(x); x.close(); time.sleep(0.001)
    def option(self):
        x = self.pick()
        if not x: return
        o = self.r.choice([socket.SO_REUSEADDR, socket.SO_KEEPALIVE, socket.SO_OOBINLINE])
        self.attempt(("set", self.idx(x), o), x.setsockopt, socket.SOL_SOCKET, o, self.r.randrange(2))
    def query(self):
        x = self.pick()
        if not x: return
        k = self.r.randrange(5); i = self.idx(x)
        if k == 0: self.attempt(("sockname", i), x.getsockname)
        if k == 1: self.attempt(("peername", i), x.getpeername)
        if k == 2: self.attempt(("error", i), x.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
        if k == 3: self.attempt(("accepts", i), x.getsockopt, socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if k == 4 and x.type == socket.SOCK_STREAM: self.attempt(("state", i), lambda: {4: 5}.get(*[x.getsockopt(6, 11, 1)[0]] * 2)) # FIN_WAIT1 natively for a moment
    def look(self):
        p = select.poll()
        for x in self.s: p.register(x, MASK)
        at = {x.fileno(): self.idx(x) for x in self.s}
        self.log.append(("poll", sorted((at[f], hex(e)) for f, e in p.poll(0))))
    def run(self, n):
        ops = [self.make] * 3 + [self.bind] * 3 + [self.listen] * 3 + [self.connect] * 6 + [self.accept] * 4 + [self.send] * 8 + \
              [self.sendto] * 3 + [self.recv] * 8 + [self.shutdown] + [self.close] + [self.option] * 2 + [self.query] * 5 + [self.look] * 4
        for _ in range(n): self.r.choice(ops)()
        for x in self.s: x.close()
        return self.log
for seed in range(1, 25):
    print("seed", seed)
    for i, line in enumerate(World(seed).run(400)): print(i, *line)
P
/usr/bin/python3 p.py 2>&1
rm -f p.py
