# SPDX-License-Identifier: Apache-2.0
"""bench/run files: what programs that touch many files cost, the first time in a sandbox and later."""
import json
import os
import shutil
import subprocess
import tempfile

import apps
from table import patch_options

# name, command, target for inside / native of the later runs, and of the first
PROGRAMS = [
    ("git status, 5000 files", "git -C repo status --porcelain >/dev/null", 1.3),
    ("tar of /usr/include", "tar cf - /usr/include 2>/dev/null | cat >/dev/null", 1.3),
    ("find /usr", "find /usr | wc -l >/dev/null", 1.0),
    ("grep -r in /usr/include", "grep -r not-there-at-all /usr/include; [ $? = 1 ]", 1.3),
]
# Each pass over the same files: ns a file.
CALLS = """
import os, sys, time
d = sys.argv[1]
names = [d + "/" + n for n in sorted(os.listdir(d))]
def one(what, f):
    for temperature in "cold", "warm":
        s = time.perf_counter_ns()
        for n in names:
            f(n)
        print(what, temperature, (time.perf_counter_ns() - s) / len(names))
def read(n, size):
    fd = os.open(n, os.O_RDONLY)
    os.pread(fd, size, 0)
    os.close(fd)
which = sys.argv[2]
if which == "stat": one("stat", os.stat)
if which == "absent": one("absent", lambda n: os.path.exists(n + "-"))
if which == "open": one("open", lambda n: os.close(os.open(n, os.O_RDONLY)))
if which == "read": one("read", lambda n: read(n, 4096))
"""
CALL_NAMES = {"stat": "stat of 1000 files, each", "absent": "stat of 1000 absent names", "open": "open + close", "read": "open + pread + close"}
BIG_DIR = 1000


def messages(bench, options, cmd, top):
    """Requests to the file server over the life of a sandbox."""
    path = os.path.join(top, "stats.json")
    bench.run([bench.ringbox, "run", *bench.args.option, *options, f"--stats=json,{path}", "--", *cmd])
    with open(path, encoding="ascii") as f:
        stats = json.load(f)
    return stats["p9_messages"]


def per_run(bench, options, top, cmd):
    """Messages of a first run and of a second one in the same sandbox."""
    shell = lambda times: ["/bin/bash", "-c", apps.LOOP, "loop", top, cmd, str(times)]
    none, once, twice = (messages(bench, options, shell(n), top) for n in (0, 1, 2))
    return max(0, once - none), max(0, twice - once)


def program(bench, options, top, name, cmd, limit):
    native, cold, warm = [], [], []
    wrap = [bench.ringbox, "run", *bench.args.option, *options, "--"]
    for i in range(max(2, bench.args.rounds // 3)):
        for side in ("native", "inside") if i % 2 == 0 else ("inside", "native"):
            loop = ["/bin/bash", "-c", apps.LOOP, "loop", top, cmd, "3"]
            out, _, _ = bench.run(loop if side == "native" else [*wrap, *loop])
            ms = [int(x.split()[1]) / 1000 for x in out.split("\n") if x.startswith("wall")]
            if side == "native":
                native.extend(ms[1:])
            else:
                cold.append(ms[0])
                warm.extend(ms[1:])
    show(bench, name, "ms", native, cold, warm, limit, per_run(bench, options, top, cmd))


def calls(bench, options, top, which):
    native, cold, warm = [], [], []
    cmd = ["/usr/bin/python3", "-c", CALLS, os.path.join(top, "big"), which]
    wrap = [bench.ringbox, "run", *bench.args.option, *options, "--"]
    for i in range(max(2, bench.args.rounds // 3)):
        for side in ("native", "inside") if i % 2 == 0 else ("inside", "native"):
            out, _, _ = bench.run(cmd if side == "native" else [*wrap, *cmd])
            first, later = (float(x.split()[2]) for x in out.strip().split("\n"))
            if side == "native":
                native.append(later)
            else:
                cold.append(first)
                warm.append(later)
    nothing = messages(bench, options, [*cmd[:-1], "nothing"], top)
    show(bench, CALL_NAMES[which], "ns", native, cold, warm, 1.0, (messages(bench, options, cmd, top) - nothing, None))


def show(bench, name, unit, native, cold, warm, limit, sent):
    m = bench.median
    n, c, w = m(native), m(cold), m(warm)
    verdict = "" if limit is None else f"<= {limit:g}x {'met' if w <= limit * n else 'MISSED'}"
    print(f"{name:<28} {unit:>4} {n:>9.4g} {c:>9.4g} {c / n:>6.2f} {w:>9.4g} {w / n:>6.2f} "
          f"{sent[0]:>8} {'-' if sent[1] is None else sent[1]:>8}  {verdict}", flush=True)
    bench.results.append({"name": name, "unit": unit, "native": native, "cold": cold, "warm": warm, "ratio_cold": c / n, "ratio": w / n,
                          "limit": limit, "met": None if limit is None else w <= limit * n, "messages_cold": sent[0], "messages_warm": sent[1]})


def write(bench, where, what):
    """1 GiB in pieces of 64 KiB through --bind."""
    top = tempfile.mkdtemp(prefix="ringbox-write.", dir=where)
    native, inside = [], []
    try:
        for i in range(max(3, bench.args.rounds // 2)):
            for side in ("native", "inside") if i % 2 == 0 else ("inside", "native"):
                cmd = ["dd", "if=/dev/zero", f"of={top if side == 'native' else '/b'}/file", "bs=64k", "count=16384", "status=none"]
                wrap = [bench.ringbox, "run", *bench.args.option, "--bind", f"{top}:/b:rw", "--"]
                _, wall, _ = bench.run(cmd if side == "native" else [*wrap, *cmd])
                (native if side == "native" else inside).append(wall * 1000)
                os.unlink(os.path.join(top, "file"))
        bench.report(f"write 1 GiB, {what}", "ms", native, inside, None, 1.25)
    finally:
        shutil.rmtree(top)


def run(bench):
    _, options = patch_options(bench)
    top = tempfile.mkdtemp(prefix="ringbox-files.")
    os.chmod(top, 0o755)
    try:
        apps.prepare(top)
        os.mkdir(os.path.join(top, "big"))
        for i in range(BIG_DIR):
            with open(os.path.join(top, "big", f"file-{i}"), "w", encoding="ascii") as f:
                f.write("x" * 4096)
        subprocess.run(["git", "-C", os.path.join(top, "repo"), "status"], stdout=subprocess.DEVNULL, check=True)
        print(f"{'':<28} {'unit':>4} {'native':>9} {'first':>9} {'ratio':>6} {'later':>9} {'ratio':>6} {'9P first':>8} {'later':>8}")
        for name, cmd, limit in PROGRAMS:
            bench.guarded(name, lambda n=name, c=cmd, l=limit: program(bench, options, top, n, c, l))
        for which in CALL_NAMES:
            bench.guarded(which, lambda w=which: calls(bench, options, top, w))
        for where, what in ((None, "temporary directory"), ("/dev/shm", "/dev/shm")):
            bench.guarded(what, lambda d=where, w=what: write(bench, d, w))
    finally:
        shutil.rmtree(top)
