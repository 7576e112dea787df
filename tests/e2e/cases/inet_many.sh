# SPDX-License-Identifier: Apache-2.0
# full
# needs: /usr/bin/python3
# timeout: 120
# 9,000 connections (what natively is allowed) open at once, all spoken on; then clients that come and go: nothing is left.
cat > p.py <<'P'
import os, resource, select, socket, struct, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
n = 9000; listener = socket.create_server(("127.0.0.1", 0), backlog=4096); a = listener.getsockname(); clients, servers = [], []
def lines(): return len(open("/proc/self/net/tcp").readlines())
for i in range(n):
    c = socket.socket(); c.connect(a); clients.append(c); servers.append(listener.accept()[0])
ep = select.epoll(); by = {}
for s in servers: ep.register(s, select.EPOLLIN); by[s.fileno()] = s
for c in clients: c.send(b"ping")
done = 0
while done < n:
    for fd, e in ep.poll(5): by[fd].sendall(by[fd].recv(100)); done += 1
print(sum(c.recv(100) == b"ping" for c in clients), lines() >= 2 * n)
for x in clients + servers: x.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); x.close()
def serve():
    while True:
        s, _ = listener.accept()
        try:
            d = s.recv(1000)
            if d == b"end": return
            s.sendall(d * 10)
        except OSError: pass
        s.close()
ts = [threading.Thread(target=serve) for _ in range(4)]; [t.start() for t in ts]
fds = len(os.listdir("/proc/self/fd"))
def client(k):
    for i in range(500):
        c = socket.socket(); c.connect(a); c.send(b"x" * (i % 900 + 1))
        if i % 3: c.recv(100)
        if i % 5 == 0: c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
cs = [threading.Thread(target=client, args=(k,)) for k in range(4)]; [t.start() for t in cs]; [t.join() for t in cs]
for _ in ts: c = socket.create_connection(a); c.send(b"end"); c.close()
[t.join() for t in ts]; print(abs(len(os.listdir("/proc/self/fd")) - fds) < 9)
P
/usr/bin/python3 p.py 2>&1
rm -f p.py
