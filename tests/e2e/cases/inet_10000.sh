# SPDX-License-Identifier: Apache-2.0
# full
# needs: /usr/bin/python3
# timeout: 120
# 10,000 connections open at once between two processes, each spoken on, twice and in different order; then half of them
# hang up, and the server hears of exactly those; then the client is killed, and of all.
cat > p.py <<'P'
import os, random, resource, select, signal, socket, sys, time
n = 10000; resource.setrlimit(resource.RLIMIT_NOFILE, (n + 100, n + 100)); listener = socket.create_server(("127.0.0.1", 0), backlog=4096); address = listener.getsockname()
r, w = os.pipe(); sys.stdout.flush(); pid = os.fork()
if pid == 0: # the client: a line of the server for each step
    cs = []; listener.close(); os.close(r); random.seed(1)
    for i in range(n): c = socket.socket(); c.connect(address); cs.append(c)
    for _ in range(2):
        random.shuffle(cs)
        for i, c in enumerate(cs): c.sendall(b"%d" % i)
        assert all(c.recv(100) == b"<%d>" % i for i, c in enumerate(cs))
    os.write(w, b"spoken\n"); time.sleep(1); [c.close() for c in cs[::2]]; os.write(w, b"half\n"); time.sleep(1000)
os.close(w); ep = select.epoll(); ep.register(listener, select.EPOLLIN); ep.register(r, select.EPOLLIN); listener.setblocking(False); by, most, ended = {}, 0, 0
while True:
    for fd, e in ep.poll(30, 512):
        if fd == listener.fileno():
            while True:
                try: s = listener.accept()[0]
                except BlockingIOError: break
                by[s.fileno()] = s; ep.register(s, select.EPOLLIN); most = max(most, len(by))
        elif fd == r:
            if not os.read(r, 100): ep.unregister(r)
        elif d := by[fd].recv(100): by[fd].sendall(b"<" + d + b">")
        else:
            ep.unregister(fd); by.pop(fd).close(); ended += 1
            if ended == n // 2: print("most", most, "left", len(by)); time.sleep(0.3); print([x for x in ep.poll(0) if x[0] != r]); os.kill(pid, signal.SIGKILL)
    if not by and ended: break
print("ended", ended, len(os.listdir("/proc/self/fd")) < 12, os.waitpid(pid, 0)[1])
P
/usr/bin/python3 p.py 2>&1
rm -f p.py
