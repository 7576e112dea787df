# SPDX-License-Identifier: Apache-2.0
"""bench/run table: single calls natively, by trap and by ring, in one run."""
import os
import subprocess

# name: (label, greatest ratio ring/native, or None)
ROWS = {
    "umask": ("umask (null call that crosses)", 1.0),
    "getpid": ("getpid (local)", None),
    "clock_gettime": ("clock_gettime", 1.05),
    "read_1": ("read, 1 B", 1.0),
    "read_4k": ("read, 4 KiB", None),
    "write_1": ("write, 1 B", 1.0),
    "write_4k": ("write, 4 KiB", None),
    "pread_1": ("pread, 1 B", 1.0),
    "pread_4k": ("pread, 4 KiB", None),
    "pwrite_1": ("pwrite, 1 B", 1.0),
    "pwrite_4k": ("pwrite, 4 KiB", None),
    "lseek": ("lseek", 1.0),
    "stat": ("stat", 1.0),
    "fstat": ("fstat", 1.0),
    "open_close": ("open + close", 1.0),
    "pipe_write_read": ("pipe: write + read, 1 B", 1.0),
    "eventfd_write_read": ("eventfd: write + read", 1.0),
    "epoll_wait_ready": ("epoll_wait, ready", 1.0),
    "futex_wake": ("futex wake, nobody waits", 1.0),
    "ping_threads": ("pipe ping, two threads", None),
    "ping_processes": ("pipe ping, two processes", None),
}
LOCAL_NS = 15
CROSSING_NS = 200  # beside a round trip of the cache line


def patch_options(bench):
    """(for trap, for ring): patching is the default where --no-patch exists."""
    out = subprocess.run([bench.ringbox, "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
    return (["--no-patch"], []) if b"--no-patch" in out else ([], ["--patch"])


def run(bench):
    prog = os.path.join(bench.args.build, "bench", "table")
    trap, ring = patch_options(bench)
    ways = {
        "native": [],
        "trap": [bench.ringbox, "run", *bench.args.option, *trap, "--"],
        "ring": [bench.ringbox, "run", *bench.args.option, *ring, "--"],
    }
    got = {n: {w: [] for w in ways} for n in ROWS}
    cpus = {n: {w: [] for w in ways} for n in ROWS}
    for i in range(max(1, bench.args.rounds // 3)):
        bench.line()
        for name in ROWS:
            for way in list(ways) if i % 2 == 0 else reversed(list(ways)):
                out, wall, cpu = bench.run([*ways[way], prog, name, str(bench.args.ms)])
                got[name][way].append(float(out))
                cpus[name][way].append(cpu / wall)
    report(bench, got, cpus)


def report(bench, got, cpus):
    line = bench.median(bench.lines)
    print(f"{'ns':<32} {'native':>9} {'trap':>9} {'ring':>9} {'trap/nat':>8} {'ring/nat':>8} {'CPUs n/t/r':>12}  target")
    for name, (label, limit) in ROWS.items():
        ns = {w: bench.median(v) for w, v in got[name].items()}
        use = {w: bench.median(v) for w, v in cpus[name].items()}
        ratio = ns["ring"] / ns["native"]
        met, target = None, ""
        if limit is not None:
            met, target = ratio <= limit, f"<= {limit:g}x"
        if name == "getpid":
            met, target = ns["ring"] <= LOCAL_NS, f"<= {LOCAL_NS} ns"
        if name == "umask":
            met = met and ns["ring"] <= line + CROSSING_NS
            target += f", <= {line + CROSSING_NS:.0f} ns"
        verdict = {None: "", True: "met", False: "MISSED"}[met]
        print(f"{label:<32} {ns['native']:>9.4g} {ns['trap']:>9.4g} {ns['ring']:>9.4g} {ns['trap'] / ns['native']:>8.2f} "
              f"{ratio:>8.2f} {use['native']:>4.1f}{use['trap']:>4.1f}{use['ring']:>4.1f}  {target} {verdict}", flush=True)
        bench.results.append({"name": f"table {name}", "unit": "ns", "median": ns, "cpus": use, "values": got[name],
                              "ratio": ratio, "ratio_trap": ns["trap"] / ns["native"], "limit": limit, "met": met})
