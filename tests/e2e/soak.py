#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py RINGBOX SECONDS    servers under clients that come, break off and are killed; then nothing of them is left.

One sandbox runs redis, nginx (static files, a proxy to itself over a unix socket), a server that forks for each
connection and one that is handed descriptors. Clients do at random what clients do: ask, ask half, hang up with
and without a reset, leave answers unread, shut down one side, get killed with everything open. After a first,
short load the counters of the sandbox (`ringbox stats`) are noted, then the load goes on for SECONDS, then
the counters must be what they were, and servers must answer. The figures are printed."""
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

REDIS, NGINX, FORK, HAND = 7441, 7442, 7443, 7444
WORKERS, WARM_SECONDS = 4, 6
EQUAL = ["open_files", "sockets", "epoll_items", "fibers", "tasks", "pipe_bytes", "unix_bytes", "tcp_bytes", "udp_bytes"]
SLACK = {"timers": 6, "memory_bytes": 16 << 20, "heap_bytes": 2 << 20, "host_fds": 8}
NGINX_CONF = """{user}worker_processes 2; pid n.pid; error_log n.log crit; daemon off;
events {{ worker_connections 512; }}
http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
 sendfile on; proxy_max_temp_file_size 0;
 server {{ listen 127.0.0.1:{port} backlog=1024; root www; location /p/ {{ proxy_pass http://unix:{top}/back.sock:/; proxy_http_version 1.1; }} }}
 server {{ listen unix:{top}/back.sock backlog=1024; root www; }} }}
"""


# --- inside: servers ---

def child(f, *args):
    pid = os.fork()
    if pid:
        return pid
    try:
        f(*args)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def fork_server():
    """A process for each connection: three lines in capitals, then the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.create_server(("127.0.0.1", FORK), backlog=512) as s:
        while True:
            c, _ = s.accept()
            if os.fork() == 0:
                s.close()
                c.settimeout(60)
                try:
                    for _ in range(3):
                        c.sendall(c.recv(1000).upper())
                except OSError:
                    pass
                os._exit(0)
            c.close()


def hand_server():
    """Accepts, and hands each connection to one of two workers over a unix socket."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    for a, b in pairs:
        child(hand_worker, a, b)
    with socket.create_server(("127.0.0.1", HAND), backlog=512) as s:
        while True:
            c, _ = s.accept()
            socket.send_fds(random.choice(pairs)[0], [b"x"], [c.fileno()])
            c.close()


def hand_worker(a, b):
    a.close()
    while True:
        _, fds, _, _ = socket.recv_fds(b, 10, 4)
        for fd in fds:
            with socket.socket(fileno=fd) as c:
                c.settimeout(60)
                try:
                    c.sendall(c.recv(1000)[::-1])
                except OSError:
                    pass


# --- inside: clients ---

def connect(port):
    c = socket.socket()
    c.settimeout(60)
    c.connect(("127.0.0.1", port))
    return c


def answer(c, enough):
    got = b""
    while not enough(got):
        d = c.recv(65536)
        if not d:
            return got
        got += d
    return got


def ask(kind, c, r):
    """One whole request; what it says must be right."""
    if kind == REDIS:
        v = b"v%d" % r.randrange(10**9)
        c.sendall(b"*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$%d\r\n%s\r\n*2\r\n$3\r\nGET\r\n$2\r\nk%d\r\n" % (os.getpid() % 9, len(v), v, os.getpid() % 9))
        assert answer(c, lambda g: g.count(b"\r\n") >= 3).startswith(b"+OK\r\n$")
    elif kind == NGINX:
        c.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % r.choice([b"/small", b"/p/small"]))
        got = answer(c, lambda g: g.endswith(b"\r\n\r\nsmall"))
        assert got.startswith(b"HTTP/1.1 200"), got
    else:
        c.sendall(b"abc")
        assert answer(c, lambda g: len(g) >= 3) == (b"ABC" if kind == FORK else b"cba")


def part(kind, c, r):
    """Something that the server will wait for in vain, or an answer that nobody reads."""
    if kind == REDIS:
        c.sendall(r.choice([b"*3\r\n$3\r\nSET\r\n", b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n", b"GET x\r\n" * 300]))
    elif kind == NGINX:
        c.sendall(r.choice([b"GET /big HTTP/1.0\r\n\r\n", b"GET /p/big HTTP/1.0\r\n\r\n", b"GET /sm", b"POST /x HTTP/1.1\r\nContent-Length: 99999\r\n\r\nabc"]))
    else:
        c.sendall(b"x" * r.randrange(1, 900))


def leave(c, r):
    way = r.randrange(4)
    if way == 0:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif way == 1:
        c.shutdown(r.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]))
    elif way == 2:
        c.setblocking(False)
        c.recv(r.randrange(1, 3000))
    c.close()


def local_mess(r):
    """Unix pairs with descriptors of themselves in flight, datagrams that nobody reads, pipes."""
    a, b = socket.socketpair()
    socket.send_fds(a, [b"y" * r.randrange(1, 5000)], [a.fileno(), b.fileno()])
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    for _ in range(r.randrange(9)):
        u.sendto(b"z" * r.randrange(2000), u.getsockname())
    p, q = os.pipe()
    os.write(q, b"p" * r.randrange(1, 60000))
    os.close(p)
    os.close(q)
    for s in (a, b, u):
        s.close()


def client(seed, until, doomed):
    """@doomed: ends by SIGKILL in the middle of things."""
    r = random.Random(seed)
    kept, done = [], 0
    while time.monotonic() < until:
        kind = r.choice([REDIS, REDIS, NGINX, NGINX, NGINX, HAND] + [FORK] * (r.randrange(3) == 0))
        try:
            c = connect(kind)
            if r.randrange(3) or kind == HAND:  # whose workers take one at a time
                ask(kind, c, r)
            if r.randrange(2) and kind in (REDIS, NGINX):
                part(kind, c, r)
            if len(kept) < 20 and r.randrange(4) == 0:
                kept.append(c)
            else:
                leave(c, r)
        except OSError as e: # the server was faster
            if isinstance(e, TimeoutError):
                raise
            c.close()
        if kept and r.randrange(8) == 0:
            kept.pop(r.randrange(len(kept))).close()
        if r.randrange(10) == 0:
            local_mess(r)
        done += 1
        if doomed and r.randrange(300) == 0:
            os.write(1, b"%d\n" % done)
            os.kill(os.getpid(), signal.SIGKILL)
    os.write(1, b"%d\n" % done)


def load(seconds):
    """Clients for so long; those that were killed are followed by others. Returns how many connections."""
    until = time.monotonic() + seconds
    r, w = os.pipe()
    seed = 0

    def begin(doomed):
        nonlocal seed
        seed += 1
        return child(lambda: (os.dup2(w, 1), client(seed, until, doomed)))
    pids = {begin(i > 0): i > 0 for i in range(WORKERS)}
    killed, total = 0, 0
    os.set_blocking(r, False)
    while pids:
        pid, status = os.wait()
        if pid not in pids:
            continue
        doomed = pids.pop(pid)
        if status not in (0, signal.SIGKILL):
            sys.exit("a client was not served")
        killed += status != 0
        with contextlib.suppress(BlockingIOError): # the answer of several at once
            total += sum(int(n) for n in os.read(r, 1000).split())
        if time.monotonic() < until - 0.1:
            pids[begin(doomed)] = doomed
    os.close(r)
    os.close(w)
    return total, killed


def connections():
    """Of TCP, but for listening sockets."""
    with open("/proc/net/tcp") as f:
        return sum(line.split()[3] != "0A" for line in f.readlines()[1:])


def settle():
    for _ in range(400):
        if connections() == 0:
            break
        time.sleep(0.05)
    time.sleep(2.5)
    return connections()


def inside(top):
    os.mkdir(top)
    os.chdir(top)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    os.mkdir("www")
    for name, text in (("small", "small"), ("big", "0123456789" * 300_000)):
        with open("www/" + name, "w") as f:
            f.write(text)
    with open("n.conf", "w") as f:
        f.write(NGINX_CONF.format(user="" if os.getuid() else "user root; ", port=NGINX, top=top))
    servers = [subprocess.Popen(["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", "", "--maxclients", "4000"], stdout=subprocess.DEVNULL),
               subprocess.Popen(["nginx", "-p", top, "-c", "n.conf"], stderr=subprocess.DEVNULL)]
    pids = [child(fork_server), child(hand_server)]
    for port in (REDIS, NGINX, FORK, HAND):
        for _ in range(400):
            try:
                connect(port).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
    for line in sys.stdin:
        total, killed = load(float(line))
        left = settle()
        r = random.Random(1)
        for kind in (REDIS, NGINX, FORK, HAND):
            with connect(kind) as c:
                ask(kind, c, r)
        settle()
        print(f"{total} {killed} {left}", flush=True)
    for p in pids + [s.pid for s in servers]:
        os.kill(p, signal.SIGTERM)


# --- outside ---

def counters(ringbox, name, sentry):
    s = json.loads(subprocess.run([ringbox, "stats", "--json", name], check=True, capture_output=True, timeout=30).stdout)
    s["host_fds"] = len(os.listdir(f"/proc/{sentry}/fd"))
    return {k: s[k] for k in EQUAL + list(SLACK) if k in s}


def main():
    ringbox, seconds = sys.argv[1], float(sys.argv[2])
    for program in ("redis-server", "nginx", "/usr/bin/python3"):
        if not shutil.which(program):
            print(f"skip: {program} is not installed")
            return 77
    runtime = tempfile.mkdtemp(prefix="ringbox-soak.")
    os.environ["XDG_RUNTIME_DIR"] = runtime
    me, failed = os.path.realpath(__file__), 0
    p = subprocess.Popen([ringbox, "run", "--name", "soak", "--", "/usr/bin/python3", me, "inside", "/tmp/soak"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        def go(s):
            p.stdin.write(f"{s}\n")
            p.stdin.flush()
            line = p.stdout.readline()
            return [int(x) for x in line.split()]
        warm = go(WARM_SECONDS)
        if not warm:
            print("the load did not run")
            return 1
        sentry = int(subprocess.run([ringbox, "ps"], check=True, capture_output=True, text=True).stdout.split("\n")[1].split()[2])
        before = counters(ringbox, "soak", sentry)
        done = go(seconds)
        if not done:
            print("the load did not run to its end")
            return 1
        after = counters(ringbox, "soak", sentry)
        print(f"{done[0]} connections in {seconds:g} s, {done[1]} clients killed, {done[2]} connections left")
        failed += done[2] != 0 or done[0] == 0 or (seconds > 15 and done[1] == 0)
        for k, b in before.items():
            bad = after[k] != b if k in EQUAL else after[k] > b + SLACK[k]
            failed += bad
            print(f"{k:14} {b:>12} {after[k]:>12}{'   LEFT BEHIND' if bad else ''}")
        p.stdin.close()
        status = p.wait(60)
        failed += status != 0
    finally:
        if p.poll() is None:
            subprocess.run([ringbox, "kill", "soak"], check=False)
            p.wait(30)
        shutil.rmtree(runtime, ignore_errors=True)
    return failed != 0


if __name__ == "__main__":
    sys.exit(inside(sys.argv[2]) if sys.argv[1] == "inside" else main())
