# SPDX-License-Identifier: Apache-2.0
# full
# needs: /usr/bin/python3 vim tmux top less
# timeout: 120
# Full-screen programs on a pseudo terminal: an editor, a multiplexer, a monitor, a pager.
export TMUX_TMPDIR=$PWD # not the /tmp/tmux-UID that the native run leaves
cat > drive.py <<'P'
import os, pty, re, subprocess, select, signal, struct, sys, fcntl, termios, time

class Screen:
    def __init__(self, argv, env=None):
        self.all = self.rest = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "vt100", "PS1": "> ", "LINES": "24", "COLUMNS": "80"}, **(env or {}))
            os.execvp(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    def until(self, what, seconds=20):
        """Read until the pattern stands in what has come and was not matched yet."""
        end = time.time() + seconds
        while not (found := re.search(what, self.rest)):
            if not select.select([self.fd], [], [], max(0, end - time.time()))[0]:
                print("missing", what, "got", self.rest[-300:]); sys.exit(1)
            try: more = os.read(self.fd, 4096)
            except OSError: more = b""
            if not more: print("ended before", what, self.rest); sys.exit(1)
            self.rest += more
            self.all += more
        self.rest = self.rest[found.end():]
    def type(self, keys): os.write(self.fd, keys)
    def end(self):
        while True:
            try: more = os.read(self.fd, 4096)
            except OSError: break
            if not more: break
            self.all += more
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
    def lines(self): return self.all.decode().replace("\r\n", "\n")

def editor():
    open("text", "w").write("one\ntwo\nthree\n")
    s = Screen(["vim", "-u", "NONE", "-n", "text"])
    s.until(b"three"); s.type(b"jddGo"); s.type(b"four\x1b:%s/e/E/g\r"); s.until(b"thrEE"); s.type(b":wq\r")
    print(s.end(), open("text").read())

def shows(run, pane, want):
    end = time.time() + 20
    while want not in (got := run("capture-pane", "-p", "-t", pane).stdout) and time.time() < end: time.sleep(0.1)
    return got.strip()

def multiplexer():
    run = lambda *a: subprocess.run(["tmux", "-f", "/dev/null", "-L", "test", *a], capture_output=True, text=True)
    print(run("new-session", "-d", "-x", "80", "-y", "24", "env PS1='$ ' sh").returncode)
    shows(run, "0", "$")
    run("send-keys", "echo $((6*7))", "Enter"); run("split-window", "-h", "env PS1='$ ' sh"); shows(run, "1", "$"); run("send-keys", "stty size", "Enter")
    for pane, want in (("0", "42"), ("1", "24 ")):
        print(shows(run, pane, "\n" + want))
    s = Screen(["tmux", "-f", "/dev/null", "-L", "test", "attach"])
    s.until(b"42"); time.sleep(0.5); s.type(b"\x02d"); s.until(b"detached"); s.end(); print("detached" in s.lines())
    print(run("kill-server").returncode)

def monitor():
    s = Screen(["top", "-d", "1"])
    s.until(b"COMMAND"); s.until(b"load average"); s.type(b"q"); print("top", s.end())

def pager():
    s = Screen(["less", "numbers"])
    s.until(b"numbers"); s.type(b"G"); s.until(b"1000"); s.type(b"/^5\\.\n"); s.type(b"q"); print("less", s.end())

open("numbers", "w").write("".join(f"{i}\n" for i in range(1, 1001)))
for what in (editor, multiplexer, monitor, pager): print("---", what.__name__); what(); sys.stdout.flush()
P
python3 drive.py
