#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# attach_limits.py SOCKET RINGBOX NAME - as many exec and trace as there may be and one more; requests that
# lie; callers that do not read.
# attach_limits.py SOCKET refused - this user is not answered.
import array, fcntl, os, socket, struct, subprocess, sys, time

path, ringbox = sys.argv[1:3]
EXECS, TRACES, HOSTFILES = 16, 4, 51  # service/attach.h
VERSION, COMMAND_MAX = 0x72620001, 4 << 20
STARTED, FAILED, STOPPED, ENDED = 1, 2, 3, 4
null = os.open("/dev/null", os.O_RDWR)


def sealed(data, seals=True):
    fd = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    for at in range(0, len(data), 1 << 20):
        os.write(fd, data[at:at + (1 << 20)])
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def packed(argv, env=(b"PATH=/usr/bin:/bin",), cwd=b"", argc=None, envc=None, version=VERSION, flags=0, tail=b""):
    head = struct.pack("6I", version, flags, 0, 0, len(argv) if argc is None else argc, len(env) if envc is None else envc)
    return head + cwd + b"\0" + b"".join(s + b"\0" for s in (*argv, *env)) + tail


def ask(request, fds):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(20)
    s.connect(path)
    s.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    got = s.recv(1000)
    s.close()
    return got


def channel_for(request, *more):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    a.settimeout(20)
    got = ask(request, [b.fileno(), *more])
    b.close()
    return a, got


def execute(data, stdio=(null, null, null), seals=True):
    fd = data if isinstance(data, int) else sealed(data, seals)
    a, got = channel_for(b"exec", fd, *stdio)
    os.close(fd)
    assert got == b"ok", got
    return a


def reply(a):
    kind, value, text = struct.unpack("Ii504s", a.recv(600))
    return kind, value, text.rstrip(b"\0").decode()


def refused(a, word):
    kind, _, text = reply(a)
    assert kind == FAILED and word in text, (kind, text, word)
    assert a.recv(100) == b""


if ringbox == "refused":
    try:
        assert ask(b"exec", [null] * 5) == b""
    except (BrokenPipeError, ConnectionResetError):
        pass
    sys.exit(0)
name = sys.argv[3]

# --- requests that lie ---
for fds in ([], [null], [null] * 4):
    assert ask(b"exec", fds).startswith(b"error not with these"), fds
for n in 6, 200:
    assert ask(b"exec", [null] * n).startswith(b"error not with these"), n
for request in b"trace 0", b"trace 2":
    assert ask(request, []).startswith(b"error not with these")
    assert ask(request, [null] * 2).startswith(b"error not with these")
for request in b"info", b"ps text", b"stats json", b"signal 1", b"end":
    assert ask(request, [null]).startswith(b"error not with these"), request
for request in b"exec 1", b"trace", b"trace -1", b"trace 1x", b"trace ":
    assert ask(request, []).startswith(b"error not understood"), request
assert ask(b"trace 0", [null]) == b"ok"  # /dev/null is no channel: it ends at once
assert ask(b"exec", [null] * 5) == b"ok"
good = packed([b"true"])
odd = [b"", good[:23], good[:24], good[:-1], good + b"\0", good + b"x", packed([b"true"], argc=0), packed([b"true"], argc=2),
       packed([b"true"], argc=65537), packed([b"true"], argc=0xffffffff), packed([b"true"], envc=0), packed([b"true"], envc=2),
       packed([b"true"], envc=0xffffffff), packed([b"true"], version=1), packed([b"true"], flags=4),
       packed([b"true"], cwd=b"tmp"), b"\xff" * 4096, os.urandom(4096),
       struct.pack("6I", VERSION, 2, 0xffffffff, 0, 1, 0) + b"\0true\0", packed([b"true"], tail=b"a" * (COMMAND_MAX + 1 - len(good)))]
for data in odd:
    refused(execute(data), "not been understood")
refused(execute(good, seals=False), "not been understood")
refused(execute(os.open("/etc/passwd", os.O_RDONLY)), "not been understood")
refused(execute(os.open("/", os.O_RDONLY)), "not been understood")
refused(execute(socket.socket().detach()), "not been understood")
for fd in (os.open("/", os.O_RDONLY), os.open("/etc/passwd", os.O_PATH), os.open("/tmp", os.O_PATH), os.eventfd(0)):
    for at in range(3):
        refused(execute(good, [fd if i == at else null for i in range(3)]), "not been understood")
# the largest request: refused by what limits a guest's exec, or run
kind, _, _ = reply(execute(packed([b"true"], env=[b"A=" + b"x" * 100000] * 41, tail=b"")))
assert kind in (FAILED, STARTED)
a = execute(good)
assert reply(a)[0] == STARTED
assert reply(a)[:2] == (ENDED, 0)

# --- as many as there may be, and one more ---
sleep = packed([b"sleep", b"70"])
running = [execute(sleep) for _ in range(EXECS)]
assert all(reply(a)[0] == STARTED for a in running)
refused(execute(sleep), "too many commands")
running.pop().close()
for i in range(100):
    a = execute(sleep)
    kind, _, text = reply(a)
    if kind == STARTED:
        break
    time.sleep(0.05)
assert kind == STARTED, text
running.append(a)
for a in running:  # signals nobody knows, questions without end, from callers that do not read
    a.setblocking(False)
    try:
        for i in range(100000):
            a.send(bytes([0, 65, 127, 128, 129, 255]))
    except BlockingIOError:
        pass
assert subprocess.run([ringbox, "ps", name], stdout=subprocess.DEVNULL, timeout=30).returncode == 0
for a in running:
    a.close()

# Commands that end and leave something that holds their stdio.
left = packed([b"sh", b"-c", b"sleep 3 &"])
for i in range(HOSTFILES):
    a = execute(left)
    kind, _, text = reply(a)
    if kind == FAILED and "too many commands" in text:  # those above, on their way out
        time.sleep(0.05)
        continue
    if kind == FAILED:
        break
    assert reply(a)[:2] == (ENDED, 0)
assert kind == FAILED and "still holds its stdio" in text, (i, text)
time.sleep(4)
for i in range(100):
    a = execute(good)
    kind = reply(a)[0]
    if kind == STARTED:
        break
    time.sleep(0.1)
assert kind == STARTED

# --- trace ---
tracers = [channel_for(b"trace 0")[0] for _ in range(TRACES)]
assert all(reply(a)[0] == STARTED for a in tracers)
refused(channel_for(b"trace 0")[0], "too many are tracing")
# None of them reads; the sandbox goes on, and they hear what they have missed.
a = execute(packed([b"sh", b"-c", b"i=0; while [ $i -lt 20000 ]; do : </dev/null; i=$((i+1)); done"]))
assert reply(a)[0] == STARTED
a.settimeout(60)
assert reply(a)[:2] == (ENDED, 0)
text = b""
tracers[0].settimeout(1)
for i in range(20):  # what has been kept; then one more line, and in front of it how many are missing
    try:
        while b"lines dropped" not in text:
            text += tracers[0].recv(65536)
        break
    except TimeoutError:
        a = execute(good)
        assert reply(a)[0] == STARTED and reply(a)[:2] == (ENDED, 0)
assert len(text) > 300000, len(text)
assert b"lines dropped\n" in text, text[-200:]
for t in tracers:
    t.close()
for i in range(100):
    t = channel_for(b"trace 0")[0]
    if reply(t)[0] == STARTED:
        break
    time.sleep(0.05)
else:
    sys.exit("no trace after the others have gone")
