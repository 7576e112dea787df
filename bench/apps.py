# SPDX-License-Identifier: Apache-2.0
"""bench/run apps: programs natively, as a sandbox of their own, and inside one that runs."""
import os
import shutil
import subprocess
import tempfile
import time

from table import patch_options

# name, command (in the working directory), target for inside / native, printed number instead of wall time
APPS = [
    ("seq | sort | md5sum", "seq 200000 | sort -r | md5sum >/dev/null", 1.5, False),
    ("make -j2, 24 files", "make -B -s -j2 -C project", 1.5, False),
    ("fork+exec+wait, static, us", "{build}/bench/spawn 100 ./true-static", 2.0, True),
    ("bash, 200 x /bin/true", "bash -c 'for ((i = 0; i < 200; i++)); do /bin/true; done'", 1.3, False),
    ("python3 import json,asyncio", "/usr/bin/python3 -c 'import json,asyncio'", 1.3, False),
    ("git status, 5000 files", "git -C repo status --porcelain >/dev/null", 1.3, False),
    ("tar of /usr/include", "tar cf - /usr/include 2>/dev/null | cat >/dev/null", 1.3, False),
]
START_MS = 15
LOOP = """cd "$1" && for ((r = 0; r < $3; r++)); do
s=$EPOCHREALTIME; eval "$2" || exit 1; e=$EPOCHREALTIME
echo "wall $(( ${e/./} - ${s/./} ))"; done"""


def prepare(top):
    """The working directory: a C project, a git repository, a static program."""
    project, repo = os.path.join(top, "project"), os.path.join(top, "repo")
    os.makedirs(project)
    for i in range(24):
        with open(os.path.join(project, f"f{i}.c"), "w", encoding="ascii") as f:
            f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
            for k in range(30):
                f.write(f"int f{i}_{k}(int x) {{ char b[64]; snprintf(b, sizeof b, \"%d\", x + {k}); return (int)strlen(b); }}\n")
    with open(os.path.join(project, "main.c"), "w", encoding="ascii") as f:
        f.write("int main(void) { return 0; }\n")
    with open(os.path.join(project, "Makefile"), "w", encoding="ascii") as f:
        f.write("OBJ = main.o " + " ".join(f"f{i}.o" for i in range(24)) + "\nprog: $(OBJ)\n\tcc -o $@ $(OBJ)\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n")
    for d in range(50):
        os.makedirs(os.path.join(repo, f"d{d}"))
        for i in range(100):
            with open(os.path.join(repo, f"d{d}", f"f{i}"), "w", encoding="ascii") as f:
                f.write(f"{d} {i}\n")
    for cmd in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", repo, *cmd], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(top, "true.c"), "w", encoding="ascii") as f:
        f.write("int main(void) { return 0; }\n")
    subprocess.run(["cc", "-O1", "-static", "-o", os.path.join(top, "true-static"), os.path.join(top, "true.c")], check=True)


def loop(bench, wrap, top, cmd, rounds, printed):
    """Figures of the rounds but the first (cold): printed numbers, or wall times in ms; CPUs used."""
    out, wall, cpu = bench.run([*wrap, "/bin/bash", "-c", LOOP, "loop", top, cmd, str(rounds)])
    lines = out.split("\n")
    if printed:
        values = [float(x) for x in lines if x and not x.startswith("wall")]
    else:
        values = [int(x.split()[1]) / 1000 for x in lines if x.startswith("wall")]
    return values[1:] or values, cpu / wall


def whole(bench, wrap, top, cmd):
    start = time.monotonic()
    bench.run([*wrap, "/bin/bash", "-c", 'cd "$1" && eval "$2" >/dev/null', "once", top, cmd])
    return (time.monotonic() - start) * 1000


def run(bench):
    _, ring = patch_options(bench)
    wrap = [bench.ringbox, "run", *bench.args.option, *ring, "--"]
    top = tempfile.mkdtemp(prefix="ringbox-apps.")
    os.chmod(top, 0o755)
    try:
        prepare(top)
        print(f"{'':<30} {'unit':>4} {'native':>9} {'inside':>9} {'ratio':>6} {'own sandbox':>11} {'ratio':>6} {'CPUs n/i':>9}  target")
        for name, cmd, limit, printed in APPS:
            if bench.args.only and bench.args.only not in name:
                continue
            bench.guarded(name, lambda n=name, c=cmd, l=limit, p=printed: one(bench, wrap, top, n, c.format(build=bench.args.build), l, p))
        if not bench.args.only:
            bench.guarded("run -- /bin/true", lambda: start(bench, wrap))
    finally:
        shutil.rmtree(top)


def one(bench, wrap, top, name, cmd, limit, printed):
    native, inside, own, native_once = [], [], [], []
    cpus = {"native": [], "inside": []}
    for i in range(max(1, bench.args.rounds // 3)):
        for side in ("native", "inside") if i % 2 == 0 else ("inside", "native"):
            values, cpu = loop(bench, [] if side == "native" else wrap, top, cmd, bench.args.repeat + 1, printed)
            (native if side == "native" else inside).extend(values)
            cpus[side].append(cpu)
        native_once.append(whole(bench, [], top, cmd))
        own.append(whole(bench, wrap, top, cmd))
    m = bench.median
    ratio, ratio_own = m(inside) / m(native), m(own) / m(native_once)
    met = ratio <= limit
    print(f"{name:<30} {'us' if printed else 'ms':>4} {m(native):>9.4g} {m(inside):>9.4g} {ratio:>6.2f} {m(own):>8.4g} ms {ratio_own:>6.2f} "
          f"{m(cpus['native']):>4.1f} {m(cpus['inside']):>4.1f}  <= {limit:g}x {'met' if met else 'MISSED'}", flush=True)
    bench.results.append({"name": name, "unit": "us" if printed else "ms", "native": native, "inside": inside, "own_sandbox_ms": own,
                          "native_once_ms": native_once, "ratio": ratio, "ratio_own_sandbox": ratio_own, "limit": limit, "met": met,
                          "cpus": {k: m(v) for k, v in cpus.items()}})


def start(bench, wrap):
    times = []
    for _ in range(bench.args.rounds):
        begin = time.monotonic()
        bench.run([*wrap, "/bin/true"])
        times.append((time.monotonic() - begin) * 1000)
    ms = bench.median(times)
    print(f"{'run -- /bin/true':<30} {'ms':>4} {'':>9} {'':>9} {'':>6} {ms:>8.4g} ms {'':>6} {'':>9}  <= {START_MS} ms {'met' if ms <= START_MS else 'MISSED'}")
    bench.results.append({"name": "run -- /bin/true", "unit": "ms", "own_sandbox_ms": times, "limit": START_MS, "met": ms <= START_MS})
