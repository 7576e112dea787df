# SPDX-License-Identifier: Apache-2.0
# full
# needs: memcached /usr/bin/python3
# timeout: 120
# memcached with four threads: the text protocol over TCP, UDP and a unix socket, many clients, its limit of
# connections, clients that vanish, memory that runs out.
as=$([ "$(id -u)" = 0 ] && echo '-u nobody'); chmod 777 .
# shellcheck disable=SC2086
memcached $as -p 7395 -U 7395 -l 127.0.0.1 -t 4 -m 16 -c 200 -I 2m & tcp=$!
# shellcheck disable=SC2086
memcached $as -s "$PWD/m.sock" -t 2 & local=$!
cat > p.py <<'P'
import hashlib, os, signal, socket, struct, threading, time
def connect(a="tcp"):
    for _ in range(200):
        s = socket.socket(socket.AF_INET if a == "tcp" else socket.AF_UNIX)
        try: s.connect(("127.0.0.1", 7395) if a == "tcp" else "m.sock"); return s
        except OSError: s.close(); time.sleep(0.05)
class Mc:
    def __init__(self, a="tcp"): self.s = connect(a); self.f = self.s.makefile("rb")
    def line(self, text): self.s.sendall(text.encode() + b"\r\n"); return self.f.readline().strip().decode()
    def set(self, k, v, verb="set", more=""): self.s.sendall(b"%s %s 5 0 %d%s\r\n" % (verb.encode(), k.encode(), len(v), more.encode()) + v + b"\r\n"); return self.f.readline().strip().decode()
    def get(self, *ks, verb="get"):
        self.s.sendall(("%s %s\r\n" % (verb, " ".join(ks))).encode()); out = {}
        while (l := self.f.readline().split()) != [b"END"]: out[l[1].decode()] = (self.f.read(int(l[3]) + 2)[:-2], [int(x) for x in l[4:]])
        return out
for kind in "tcp", "unix":
    c = Mc(kind); print(kind, c.set("a", b"1"), c.line("incr a 41"), c.line("decr a 2"), c.set("a", b"x", "append"), c.set("a", b"y", "add"), c.get("a", "b"))
    cas = c.get("a", verb="gets")["a"][1][0]; print(c.set("a", b"new", "cas", f" {cas}"), c.set("a", b"no", "cas", f" {cas}"), c.get("a"))
    print(c.line("delete a"), c.get("a"), c.line("nonsense"), c.line("touch none 1"), c.set("t", b"1"), c.line("touch t -1"), c.get("t"))
    big = bytes(i * 31 & 255 for i in range(900_000)); print(c.set("big", big), hashlib.md5(c.get("big")["big"][0]).hexdigest(), c.set("huge", b"x" * 3_000_000)[:34])
c = Mc(); n = 300; c.s.sendall(b"".join(b"set k%d 0 0 4\r\n%04d\r\n" % (i, i) for i in range(n)))
print({c.f.readline() for _ in range(n)}, sum(int(v) for v, _ in c.get(*("k%d" % i for i in range(n))).values()))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(20); u.connect(("127.0.0.1", 7395)); u.send(struct.pack(">4H", 7, 0, 1, 0) + b"get k7\r\n"); print("udp", u.recv(2000))
out = []
def work(k):
    c = Mc(); good = 0
    for i in range(200): good += c.set("w%d" % k, b"v%d" % i) == "STORED" and c.get("w%d" % k)["w%d" % k][0] == b"v%d" % i
    out.append(good)
ts = [threading.Thread(target=work, args=(k,)) for k in range(24)]; [t.start() for t in ts]; [t.join() for t in ts]; print("threads", len(out), sum(out))
# Processes killed in the middle of a command: the connections end, the server goes on.
for i in range(8):
    if not (pid := os.fork()): s = connect(); s.sendall(b"set part 0 0 1000000\r\n" + b"x" * (i * 100_000)); os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
def stat(name): c.s.sendall(b"stats\r\n"); d = dict(l.split()[1:3] for l in iter(c.f.readline, b"END\r\n")); return d[name.encode()].decode()
for _ in range(300):
    if (base := int(stat("curr_connections"))) <= 5: break
    time.sleep(0.05)
print("left", base)
# Over the limit of connections.
many = [connect() for _ in range(230)]; print(many[-1].recv(100))
[m.close() for m in many]
# More than its memory: old ones make room.
c = Mc(); big = os.urandom(100_000); print({c.set("e%d" % i, big) for i in range(400)}, "e0" in c.get("e0"), c.get("e399")["e399"][0] == big, int(stat("evictions")) > 100)
P
/usr/bin/python3 p.py 2>&1
kill $tcp $local; wait $tcp; echo $?; wait $local; echo $?
rm -f p.py m.sock
