# SPDX-License-Identifier: Apache-2.0
"""bench/run warm: file operations on what is known already: time, host calls and messages to the file server."""
import json
import os
import re
import shutil
import tempfile

# name, operation, how often, target for inside / native
OPS = [
    ("stat", "stat", 40000, 1.0),
    ("open + close", "open", 40000, 1.0),
    ("pread, 4 KiB", "pread", 40000, 1.0),
    ("readdir of 1000 entries", "readdir", 1000, 1.0),
]


def counted(bench, options, cmd, top):
    """(host calls of all processes, or None without perf; messages to the file server) of a whole sandbox."""
    stats, calls = os.path.join(top, "stats.json"), os.path.join(top, "calls")
    run = [bench.ringbox, "run", *bench.args.option, *options, f"--stats=json,{stats}", "--", *cmd]
    perf = shutil.which("perf")
    if perf:
        try:
            bench.run([perf, "stat", "-x", ",", "-o", calls, "-e", "raw_syscalls:sys_enter", "--", *run])
        except RuntimeError:
            perf = None
    if not perf:
        bench.run(run)
    with open(stats, encoding="ascii") as f:
        messages = json.load(f)["p9_messages"]
    if not perf:
        return None, messages
    with open(calls, encoding="ascii") as f:
        return int(re.search(r"^(\d+),", f.read(), re.M).group(1)), messages


def one(bench, options, top, where, name, op, times, limit):
    cmd = [os.path.join(bench.args.build, "bench", "warm"), op, where]
    native, inside = [], []
    for i in range(bench.args.rounds):
        for side in ("native", "inside") if i % 2 == 0 else ("inside", "native"):
            argv = [cmd[0], op, os.path.join(top, "dir") if side == "native" else where, str(times)]
            wrap = [] if side == "native" else [bench.ringbox, "run", *bench.args.option, *options, "--"]
            (native if side == "native" else inside).append(float(bench.run([*wrap, *argv])[0]))
    few, many = (counted(bench, options, [*cmd, str(n)], top) for n in (times, 4 * times))
    per = [None if a is None else (b - a) / (3 * times) for a, b in zip(few, many)]
    note = f"host calls an operation: {'-' if per[0] is None else f'{per[0]:.3f}'}; messages: {per[1]:.4f}"
    bench.report(name, "ns", native, inside, None, limit, note=note)
    print(f"    {note}", flush=True)


def run(bench):
    bench.ringbox = os.path.abspath(bench.ringbox)
    bench.args.build = os.path.abspath(bench.args.build)
    top = tempfile.mkdtemp(prefix="ringbox-warm.")
    os.chmod(top, 0o755)
    os.mkdir(os.path.join(top, "dir"))
    try:
        for i in range(999):
            with open(os.path.join(top, "dir", f"file-{i}"), "w", encoding="ascii") as f:
                f.write("x")
        with open(os.path.join(top, "dir", "f"), "w", encoding="ascii") as f:
            f.write("x" * 4096)
        for kind, options in (("/", []), ("--bind", ["--bind", f"{top}:/b"])):
            where = os.path.join(top if kind == "/" else "/b", "dir")
            for name, op, times, limit in OPS:
                bench.guarded(name, lambda: one(bench, options, top, where, f"{name}, {kind}", op, times, limit))
    finally:
        shutil.rmtree(top)
