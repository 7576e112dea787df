# SPDX-License-Identifier: Apache-2.0
# needs: python3
# timeout: 120
cat > mp.py <<'P'
import multiprocessing, asyncio, signal, os, mmap, hashlib
def sq(x):
    return x * x
async def echo():
    proc = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    out, _ = await proc.communicate(b"hello asyncio")
    return out.decode()
if __name__ == "__main__":
    with multiprocessing.Pool(3) as p:
        print(p.map(sq, range(10)))
    print(asyncio.run(echo()))
    m = mmap.mmap(-1, 8192)
    pid = os.fork()
    if pid == 0:
        m[0:5] = b"child"
        os._exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), m[0:5])
    signal.signal(signal.SIGALRM, lambda *a: print("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
    print(hashlib.sha256(b"abc").hexdigest()[:16])
P
python3 mp.py
