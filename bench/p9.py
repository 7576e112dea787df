# SPDX-License-Identifier: Apache-2.0
"""bench/run p9: our file server alone (ringbox serve) beside diod, the same client, interleaved."""
import os
import shutil
import subprocess
import tempfile
import time

# name, unit, what p9.c does, file, how often, for one round; target for ours / diod
LOADS = [
    ("getattr, 64 under way", "ns", "getattr", "small", 20000, 1.0),
    ("read, 1 MiB under way", "us", "read", "big", 256, 1.0),
]


def started(argv, sock, cwd):
    server = subprocess.Popen(argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        if os.path.exists(sock):
            return server
        time.sleep(0.05)
    server.terminate()
    server.wait()
    raise RuntimeError(f"{argv[0]} did not start")


def run(bench):
    bench.ringbox = os.path.abspath(bench.ringbox)
    diod = shutil.which("diod") or "/usr/sbin/diod"
    client = os.path.join(bench.args.build, "bench", "p9")
    top = tempfile.mkdtemp(prefix="ringbox-p9.")
    export = os.path.join(top, "export")
    os.mkdir(export)
    with open(os.path.join(export, "big"), "wb") as f:
        f.write(os.urandom(1 << 20) * 4)
    with open(os.path.join(export, "small"), "wb") as f:
        f.write(b"x" * 4096)
    socks = {"diod": os.path.join(top, "d"), "ours": os.path.join(top, "o")}
    servers = []
    try:
        servers.append(started([bench.ringbox, "serve", export, socks["ours"]], socks["ours"], top))
        if os.path.exists(diod):
            user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
            servers.append(started([diod, "-f", "-n", "-U", user, "-L", "stderr", "-l", socks["diod"], "-e", export],
                                   socks["diod"], top))
        else:
            del socks["diod"]
        print("native: diod; inside: ringbox serve")
        for name, unit, what, file, times, limit in LOADS:
            def fn():
                got = {side: [] for side in socks}
                for i in range(bench.args.rounds):
                    for side in sorted(socks, reverse=i % 2 == 0):
                        out, _, _ = bench.run([client, socks[side], export, what, file, str(times)])
                        got[side].append(float(out))
                bench.report(name, unit, got.get("diod"), got["ours"], None, limit)

            bench.guarded(name, fn)
    finally:
        for s in servers:
            s.terminate()
            s.wait()
        shutil.rmtree(top)
