# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3 bash script
# timeout: 120
# Interactive programs on a pseudo terminal that a program opens: keys go in, the screen comes out.
# TERMINAL_PREFIX: what starts them (host_terminal.sh).
cat > drive.py <<'P'
import os, pty, re, select, signal, struct, sys, fcntl, termios, time

class Screen:
    def __init__(self, argv, env=None):
        self.all = self.rest = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "vt100", "PS1": "> ", "LINES": "24", "COLUMNS": "80"}, **(env or {}))
            argv = os.environ.get("TERMINAL_PREFIX", "").split() + argv
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

def shell():
    s = Screen(["bash", "--norc", "--noediting", "-i"])
    s.until(b"> $"); s.type(b"tty >/dev/null && echo a terminal\n"); s.until(b"a terminal\r\n> $")
    s.type(b"sleep 100\n"); time.sleep(0.3); s.type(b"\x1a"); s.until(rb"Stopped[^\n]*\n> $")
    s.type(b"jobs\n"); s.until(rb"Stopped[^\n]*\n> $")
    s.type(b"fg\n"); s.until(b"sleep 100\r\n"); time.sleep(0.2); s.type(b"\x03"); s.until(b"> $")
    s.type(b"echo $?\n"); s.until(b"130\r\n> $")
    s.type(b"cat\n"); s.until(b"cat\r\n"); time.sleep(0.3); s.type(b"abx\x7fc\n"); s.until(b"\r\nabc\r\n"); s.type(b"\x04"); s.until(b"> $")
    s.type(b"(read -t 5 x; echo got $x) & wait\n"); s.until(b"> $", 30)
    s.type(b"stty size; stty raw -echo; stty -a | tr ' ' '\\n' | grep -c -- '^-echo'; stty sane\n"); s.until(b"24 80"); s.until(b"> $")
    s.type(b"trap 'echo changed' WINCH; sleep 0.1\n"); s.until(b"> $"); time.sleep(0.5)
    fcntl.ioctl(s.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0)); time.sleep(0.3)
    s.type(b"\n"); s.until(b"changed\r\n"); s.until(b"> $")
    s.type(b"stty size\n"); s.until(b"30 90"); s.until(b"> $")
    s.type(b"exit 3\n"); code = s.end()
    print(re.sub(r"\[1\] \d+", "[1] PID", s.lines()), code)

def repl():
    s = Screen(["python3", "-q"], {"PYTHONSTARTUP": ""})
    s.until(b">>> $"); s.type(b"1+1\n"); s.until(b"2\r\n"); s.until(b">>> $")
    s.type(b"while True: pass\n\n"); time.sleep(0.5); s.type(b"\x03"); s.until(b"KeyboardInterrupt"); s.until(b">>> $")
    s.type(b"import os; os.isatty(0), os.get_terminal_size()\n"); s.until(rb"lines=24\)"); s.until(b">>> $")
    s.type(b"input('name? ')\n"); s.until(rb"name\? $"); s.type(b"me\n"); s.until(b"'me'"); s.until(b">>> $")
    s.type(b"\x04"); print("python", s.end())

def recorder():
    s = Screen(["script", "-q", "-c", "tty; stty size; echo in script", "log"])
    print(re.sub(r"pts/\d+", "pts/N", "".join(s.lines() for _ in [s.end()][:1])), "script")
    print(open("log").read().count("in script"))

for what in (shell, repl, recorder): print("---", what.__name__); what(); sys.stdout.flush()
P
python3 drive.py
