# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# asyncio: subprocesses, socket pairs, signals, threads, timeouts.
cat > p.py <<'P'
import asyncio, socket, signal, os, sys
async def main():
    loop = asyncio.get_running_loop()
    async def one(i):
        p = await asyncio.create_subprocess_shell(f"cat; exit {i}", stdin=-1, stdout=-1, stderr=-1)
        o, e = await p.communicate(b"x" * 100000); return len(o), p.returncode
    print(await asyncio.gather(*[one(i) for i in range(6)]))
    a, b = socket.socketpair()
    r, w = await asyncio.open_connection(sock=a)
    async def echo():
        rr, ww = await asyncio.open_connection(sock=b)
        while d := await rr.read(5000): ww.write(d.upper()); await ww.drain()
        ww.close()
    t = asyncio.create_task(echo())
    for i in range(50): w.write(b"abc" * 1000)
    await w.drain(); got = await r.readexactly(150000); print(len(got), got[:6]); w.close(); await t
    ev = asyncio.Event(); loop.add_signal_handler(signal.SIGUSR1, ev.set); os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(ev.wait(), 5); print("signal")
    try: await asyncio.wait_for(asyncio.sleep(5), 0.05)
    except asyncio.TimeoutError: print("timeout")
    print(await asyncio.to_thread(lambda: sum(range(100))))
    p = await asyncio.create_subprocess_exec("sleep", "10"); p.terminate(); print(await p.wait())
    rfd, wfd = os.pipe(); fut = loop.create_future(); loop.add_reader(rfd, lambda: fut.set_result(os.read(rfd, 10))); os.write(wfd, b"pipe"); print(await fut)
    srv = await asyncio.start_unix_server(lambda r, w: w.close(), path="sock"); print("unix server")
    r, w = await asyncio.open_unix_connection("sock"); print(await r.read()); srv.close()
asyncio.run(main())
P
/usr/bin/python3 p.py 2>&1
