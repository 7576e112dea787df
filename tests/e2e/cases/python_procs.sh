# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# timeout: 120
# subprocess, threading, multiprocessing in all its start methods, shared memory.
cat > p.py <<'P'
import subprocess, threading, multiprocessing as mp, os, sys, signal, queue
from multiprocessing import shared_memory
def work(q, n): q.put((n, n * n))
def fill(name):
    s = shared_memory.SharedMemory(name=name); s.buf[:5] = b"hello"; s.close()
def sq(x): return x * x
def ex(): sys.exit(3)
def main():
    print(subprocess.run(["sh", "-c", "cat; exit 3"], input=b"in", capture_output=True))
    print(subprocess.check_output("echo $X", shell=True, env={"X": "env"}))
    try: subprocess.run(["/nonexistent"])
    except FileNotFoundError as e: print(e)
    try: subprocess.run(["sleep", "5"], timeout=0.2)
    except subprocess.TimeoutExpired as e: print("timeout")
    p = subprocess.Popen(["sleep", "5"], start_new_session=True); os.killpg(p.pid, 15); print(p.wait())
    r = subprocess.run(["sh", "-c", "ulimit -n; pwd"], cwd="/", preexec_fn=lambda: os.umask(0o77), capture_output=True); print(r.stdout[-2:])
    l = threading.Lock(); c = [0]
    def inc():
        for _ in range(10000):
            with l: c[0] += 1
    ts = [threading.Thread(target=inc) for _ in range(8)]
    [t.start() for t in ts]; [t.join() for t in ts]; print(c)
    ev = threading.Event(); threading.Timer(0.05, ev.set).start(); print(ev.wait(5))
    b = threading.Barrier(4); out = []
    ts = [threading.Thread(target=lambda i=i: (b.wait(), out.append(i))) for i in range(4)]
    [t.start() for t in ts]; [t.join() for t in ts]; print(sorted(out))
    for m in ("fork", "spawn", "forkserver"):
        try:
            ctx = mp.get_context(m); q = ctx.Queue()
            ps = [ctx.Process(target=work, args=(q, i)) for i in range(3)]
            [p.start() for p in ps]; print(m, sorted(q.get(timeout=20) for _ in ps)); [p.join() for p in ps]
            p = ctx.Process(target=ex); p.start(); p.join(); print(p.exitcode)
            with ctx.Pool(3) as pool: print(pool.map(sq, range(20)), pool.apply_async(sq, (9,)).get(10))
        except Exception as e: print(m, type(e), e)
        sys.stdout.flush()
    s = shared_memory.SharedMemory(create=True, size=4096)
    p = mp.Process(target=fill, args=(s.name,)); p.start(); p.join(); print(bytes(s.buf[:5])); s.close(); s.unlink()
    with mp.Manager() as man:
        d = man.dict(); d["a"] = 1; print(dict(d))
    a, b = mp.Pipe(); a.send({"x": [1, 2]}); print(b.recv())
    v = mp.Value("i", 0)
    def add():
        for _ in range(500):
            with v.get_lock(): v.value += 1
    ps = [mp.Process(target=add) for _ in range(3)]; [p.start() for p in ps]; [p.join() for p in ps]; print(v.value)
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    with ProcessPoolExecutor(2) as e: print(list(e.map(sq, range(5))))
    with ThreadPoolExecutor(4) as e: print(sum(e.map(sq, range(100))))
if __name__ == "__main__": main()
P
/usr/bin/python3 p.py 2>&1
