#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""traps.py RINGBOX [PROGRAM...]   traps over the whole life of programs, in absolute numbers.

Each program runs twice, with little and with much of the same work (10^5 calls and more): what the
second makes beyond the first is its life after start-up, of which 99 % must not trap. Then python3 -c
pass, once and twice in one sandbox: the second may trap 5 % as often as the first. Programs that are
not there are named and left out.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

TRAP_FREE = 0.99
SECOND = 0.05

C_SOURCE = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char b[64];
    struct stat st;
    int n = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 0; i < n; i++) {
        int fd = open("/etc/passwd", O_RDONLY);
        if (fd < 0 || read(fd, b, sizeof b) < 1 || lseek(fd, 0, SEEK_SET) || fstat(fd, &st))
            return 1;
        if (pread(fd, b, 8, 8) != 8 || stat("/etc", &st) || close(fd))
            return 1;
    }
    return 0;
}
"""
GO_SOURCE = r"""
package main

import ("os"; "strconv")

func main() {
    n, _ := strconv.Atoi(os.Args[1])
    b := make([]byte, 64)
    for i := 0; i < n; i++ {
        f, err := os.Open("/etc/passwd")
        if err != nil { os.Exit(1) }
        f.Read(b)
        f.Stat()
        f.Close()
        os.Stat("/etc")
    }
}
"""
PYTHON = """
import os, sys
for i in range(int(sys.argv[1])):
    fd = os.open('/etc/passwd', os.O_RDONLY); os.read(fd, 64); os.fstat(fd); os.lseek(fd, 0, 0); os.close(fd)
    os.stat('/etc'); os.getppid(); os.umask(0o22)
"""
PERL = """
for my $i (1..$ARGV[0]) { open(my $f, '<', '/etc/passwd') or die; sysread($f, my $b, 64); sysseek($f, 0, 0);
close($f); my @s = stat('/etc'); umask(022); }
"""
NODE = """
const fs = require('fs'); const b = Buffer.alloc(64);
for (let i = 0; i < +process.argv[1]; i++) { const f = fs.openSync('/etc/passwd'); fs.readSync(f, b, 0, 64, 0);
fs.fstatSync(f); fs.closeSync(f); fs.statSync('/etc'); }
"""
BASH = 'for ((i = 0; i < $1; i++)); do echo x >/dev/null; [ -e /etc ]; done'
GCC = 'for ((i = 0; i < $1; i++)); do gcc -O1 -o "$2/x.out" "$2/x.c" || exit 1; done'
GIT = """set -e; mkdir "$2/git"; cd "$2/git"; git init -q .
for ((i = 0; i < $1; i++)); do echo "$i" >f$i; done; git add .; git status >/dev/null; git -c user.name=x -c user.email=x@x commit -qm x"""
SQLITE = """echo 'create table t(a, b);' | sqlite3 "$2/x.db"
{ for ((i = 0; i < $1; i++)); do echo "insert into t values($i, 'text');"; done; echo 'select count(*) from t;'; } | sqlite3 "$2/x.db"
"""


def programs(tmp):
    """name: (command for n, little, much)"""
    got = {}

    def have(name, what, command, little, much):
        if what and (os.path.isabs(what) and os.access(what, os.X_OK) or shutil.which(what)):
            got[name] = (command, little, much)
        else:
            print(f"{name}: not there")

    def bash(text):
        return lambda n: ["/bin/bash", "-c", text, "bash", str(n), tmp]

    have("bash", "/bin/bash", bash(BASH), 200, 20000)
    have("python3", "/usr/bin/python3", lambda n: ["/usr/bin/python3", "-c", PYTHON, str(n)], 200, 15000)
    have("git", "git", bash(GIT), 100, 6000)
    have("gcc", "gcc", bash(GCC), 8, 60)
    have("sqlite3", "sqlite3", bash(SQLITE), 200, 8000)
    have("perl", "perl", lambda n: ["perl", "-e", PERL, str(n)], 200, 15000)
    have("node", "node", lambda n: ["node", "-e", NODE, str(n)], 500, 25000)
    with open(os.path.join(tmp, "x.c"), "w", encoding="ascii") as f:
        f.write(C_SOURCE)
    with open(os.path.join(tmp, "x.go"), "w", encoding="ascii") as f:
        f.write(GO_SOURCE)
    static = os.path.join(tmp, "musl-static")
    if shutil.which("musl-gcc"):
        subprocess.run(["musl-gcc", "-O1", "-static", "-o", static, os.path.join(tmp, "x.c")], check=True)
    have("musl static", static, lambda n: [static, str(n)], 200, 15000)
    go, prog = shutil.which("go") or "/usr/local/go/bin/go", os.path.join(tmp, "go-program")
    if os.access(go, os.X_OK):
        env = dict(os.environ, GOCACHE=os.path.join(tmp, "gocache"), GOFLAGS="-mod=mod", HOME=tmp)
        subprocess.run([go, "build", "-o", prog, os.path.join(tmp, "x.go")], check=True, env=env, cwd=tmp)
    have("go", prog, lambda n: [prog, str(n)], 500, 25000)
    return got


class Traps:
    def __init__(self, ringbox, tmp):
        self.ringbox, self.tmp, self.missed = ringbox, tmp, 0
        out = subprocess.run([ringbox, "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
        self.options = [] if b"--no-patch" in out else ["--patch"]

    def run(self, cmd):
        """Calls of the whole sandbox: (local, ring, trap), and traps by name."""
        stats = os.path.join(self.tmp, "stats")
        p = subprocess.run([self.ringbox, "run", *self.options, f"--stats=json,{stats}", "--", *cmd],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=280, check=False)
        if p.returncode:
            sys.exit(f"{cmd[0]}: exit status {p.returncode}: {p.stderr.decode(errors='replace')[-500:]}")
        with open(stats, encoding="utf-8") as f:
            calls = [c for c in json.load(f)["calls"] if c]
        return tuple(sum(c[k] for c in calls) for k in ("local", "ring", "trap")), {c["call"]: c["trap"] for c in calls}

    def verdict(self, ok):
        self.missed += not ok
        return "" if ok else "MISSED"

    def life(self, name, command, little, much):
        a, by_a = self.run(command(little))
        b, by_b = self.run(command(much))
        ring, trap = b[1] - a[1], b[2] - a[2]
        free = 1 - trap / (ring + trap)
        print(f"{name:<14} whole life: {b[0]:>8} local {b[1]:>8} ring {b[2]:>8} trap; after start-up: {ring:>8} ring {trap:>7} trap, "
              f"{100 * free:.2f} % trap-free {self.verdict(free >= TRAP_FREE)}", flush=True)
        if free < TRAP_FREE:
            more = sorted(((n - by_a.get(c, 0), c) for c, n in by_b.items()), reverse=True)[:6]
            print("    " + ", ".join(f"{c} {n}" for n, c in more))

    def second(self):
        def once(n):
            return self.run(["/bin/sh", "-c", "; ".join(["/usr/bin/python3 -c pass"] * n) or "true"])[0][2]

        none, one, two = once(0), once(1), once(2)
        first, second = one - none, two - one
        print(f"python3 -c pass: first {first} traps, second {second}: {100 * second / first:.1f} % {self.verdict(second <= SECOND * first)}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    tmp = tempfile.mkdtemp(prefix="ringbox-traps.")
    os.chmod(tmp, 0o755)
    try:
        t = Traps(sys.argv[1], tmp)
        for name, (command, little, much) in programs(tmp).items():
            if len(sys.argv) == 2 or name in sys.argv[2:]:
                t.life(name, command, little, much)
        if len(sys.argv) == 2 or "second" in sys.argv[2:]:
            t.second()
    finally:
        shutil.rmtree(tmp)
    return 1 if t.missed else 0


sys.exit(main())
