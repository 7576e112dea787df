#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# attach_tty.py RINGBOX NAME - `ringbox exec` on a terminal: job control of a shell in it, Ctrl-C, the
# window's size, Ctrl-Z of the command itself, a terminal that is closed, two at a time.
import fcntl, os, pty, select, signal, struct, sys, termios, time

ringbox, name = sys.argv[1:3]


class Terminal:
    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(ringbox, [ringbox, "exec", name, "--", *command])
        self.seen = b""

    def type(self, text):
        os.write(self.fd, text)

    def until(self, text):
        looks = 0  # not a time: the machine may stand still for a while, and we with it
        while text not in self.seen:
            assert looks < 200, (text, self.seen)
            looks += 1
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    assert text in self.seen, (text, self.seen)
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def end(self):
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


shell = ["bash", "--norc", "--noprofile", "-i"]
t = Terminal(*shell)
t.type(b"PS1='%%'; echo a$((1+1)) $(tty); stty -echo\r")
t.until(b"a2 /dev/console\r\n")
u = Terminal(*shell)  # a second one beside it
u.type(b"PS1='%%'; stty -echo; echo b$((1+2)) $(tty)\r")
u.until(b"b3 /dev/console\r\n")
t.type(b"ps -o tty= -p $$ >/dev/null; echo x >/dev/tty; (sleep 60; echo woke) ; echo status-$?\r")
t.until(b"x\r\n")
time.sleep(0.5)
t.type(b"\x03")
t.until(b"%%")
t.type(b"echo again-$?\r")
t.until(b"again-130\r\n")
t.type(b"sleep 61\r")
time.sleep(0.5)
t.type(b"\x1a")
t.until(b"Stopped")
t.type(b"jobs; kill %1; wait; echo done-$?\r")
t.until(b"done-")
t.type(b"trap 'echo size $(stty size)' WINCH; echo trapped\r")
t.until(b"trapped\r\n")
t.size(33, 77)
t.type(b"echo look $(stty size)\r")
t.until(b"look 33 77")
t.type(b"exit 5\r")
assert t.end() == 5
# A terminal that is closed: the job hears SIGHUP; the shell that, or the end of what it reads.
u.type(b"echo started; sleep 62\r")
u.until(b"started")
time.sleep(0.5)
os.close(u.fd)
status = os.waitstatus_to_exitcode(os.waitpid(u.pid, 0)[1])
assert status in (0, 1, 129), status

# Ctrl-Z stops the command, and with it us; SIGCONT continues both. (A shell in vfork() would not stop while its child,
# stopped too, has not executed anything: so natively.)
t = Terminal("sh", "-c", "echo up; read -r x; echo read $x")
t.until(b"up")
t.type(b"\x1a")
for i in range(1000):
    pid, status = os.waitpid(t.pid, os.WUNTRACED | os.WNOHANG)
    if pid and os.WIFSTOPPED(status):
        break
    time.sleep(0.02)
else:
    sys.exit("not stopped")
os.kill(t.pid, signal.SIGCONT)
t.type(b"line\r")
t.until(b"read line")
assert t.end() == 0

# --tty no: a terminal, but nobody's.
pid, fd = pty.fork()
if pid == 0:
    os.execv(ringbox, [ringbox, "exec", "--tty", "no", name, "--", "sh", "-c", "test -t 0 && ! cat </dev/tty"])
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "tty no"
