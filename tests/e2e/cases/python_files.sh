# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# timeout: 120
# sqlite3 with WAL, temporary files, mmap, locks, select/poll/epoll, zip files, walks, a venv.
cat > p.py <<'P'
import sqlite3, tempfile, mmap, fcntl, os, select, signal, zipfile, struct, sys, errno, socket, shutil, time, resource, pathlib, stat, array, threading
db = sqlite3.connect("t.db"); print(db.execute("pragma journal_mode=wal").fetchone())
db.execute("create table t(a integer primary key, b text)")
for i in range(20):
    with db: db.executemany("insert into t(b) values(?)", [(str(j),) for j in range(50)])
db2 = sqlite3.connect("t.db"); print(db2.execute("select count(*), sum(b) from t").fetchone(), sorted(os.listdir(".")))
db.execute("begin immediate"); db2.execute("pragma busy_timeout=50")
try: db2.execute("begin immediate")
except sqlite3.OperationalError as e: print(e)
db.rollback(); pid = os.fork()
if pid == 0:
    c = sqlite3.connect("t.db")
    with c: c.execute("delete from t where a > 500")
    c.close(); os._exit(0)
os.waitpid(pid, 0); print(db2.execute("select count(*) from t").fetchone(), db2.execute("pragma integrity_check").fetchone())
db.execute("vacuum"); db.close(); db2.close(); print(sorted(os.listdir(".")))
with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d) as f, tempfile.TemporaryFile() as g:
    f.write(b"x"); f.flush(); g.write(b"yy"); g.seek(0); print(os.path.getsize(f.name), g.read(), os.fstat(g.fileno()).st_nlink)
with open("m", "w+b") as f:
    f.truncate(10000); m = mmap.mmap(f.fileno(), 0); m[5000:5005] = b"hello"; m.flush(); f.seek(5000); print(f.read(5)); f.seek(0); f.write(b"start"); f.flush(); print(m[:5]); m.resize(20000); print(len(m), os.fstat(f.fileno()).st_size)
    p = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY); p[0] = 65; print(p[:3], m[:3]); r = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(r.find(b"hello"))
f = open("lk", "w+"); fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
if os.fork() == 0:
    g = open("lk", "r+")
    try: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e: print(errno.errorcode[e.errno])
    fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0); print("range ok")
    print(struct.unpack("hhqqi", fcntl.fcntl(g, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))[:28])[:4])
    sys.stdout.flush(); os._exit(0)
os.wait(); fcntl.flock(f, fcntl.LOCK_SH); g = open("lk"); fcntl.flock(g, fcntl.LOCK_SH)
try: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError as e: print(errno.errorcode[e.errno])
r, w = os.pipe(); print(select.select([r], [w], [], 0)[1] == [w]); os.write(w, b"x")
po = select.poll(); po.register(r, select.POLLIN); print(po.poll(0)[0][1])
ep = select.epoll(); ep.register(r, select.EPOLLIN | select.EPOLLET); print(ep.poll(0), ep.poll(0)); os.close(w); print(ep.poll(0))
with zipfile.ZipFile("z.zip", "w", zipfile.ZIP_DEFLATED) as z: z.write("m"); z.writestr("d/e.txt", "text" * 100)
with zipfile.ZipFile("z.zip") as z: print(z.namelist(), z.testzip()); z.extractall("zz")
print(sorted((os.path.relpath(d, "zz"), sorted(fs)) for d, _, fs in os.walk("zz")))
n = sum(len(fs) for _, _, fs in os.walk("/usr/lib/python3")); print(n)
shutil.copytree("zz", "zc"); shutil.make_archive("arch", "gztar", "zz"); shutil.rmtree("zz"); print(sorted(os.listdir(".")))
for fl in (os.O_TMPFILE | os.O_RDWR,):
    fd = os.open(".", fl, 0o600); os.write(fd, b"tmp"); os.link(f"/proc/self/fd/{fd}", "linked", follow_symlinks=True); print(open("linked").read())
os.mkfifo("ff"); t = threading.Thread(target=lambda: open("ff", "w").write("fifo")); t.start(); print(open("ff").read()); t.join()
os.symlink("linked", "sl"); print(os.readlink("sl"), stat.filemode(os.lstat("sl").st_mode)); os.utime("linked", ns=(1, 2)); print(os.stat("linked").st_mtime_ns)
print(os.statvfs(".").f_namemax, resource.getrlimit(resource.RLIMIT_CORE)[0] >= -1, os.cpu_count() == len(os.sched_getaffinity(0)))
s = os.scandir("/dev/shm"); print(type(s).__name__); print(os.sysconf("SC_PAGE_SIZE"), os.path.realpath("/proc/self/exe"))
os.posix_fallocate(os.open("fa", os.O_CREAT | os.O_RDWR), 0, 12345); print(os.path.getsize("fa")); os.truncate("fa", 5); print(os.path.getsize("fa"))
fd = os.memfd_create("mf"); os.write(fd, b"memfd"); print(os.pread(fd, 10, 0)); print(os.readlink(f"/proc/self/fd/{fd}"))
os.setxattr("fa", "user.k", b"v"); print(os.listxattr("fa"), os.getxattr("fa", "user.k"))
fd = os.eventfd(3); print(os.eventfd_read(fd)); print(os.sendfile(1, os.open("linked", os.O_RDONLY), 0, 3))
signal.signal(signal.SIGALRM, lambda *a: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.1)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}); os.kill(os.getpid(), signal.SIGUSR2); print(signal.sigpending(), signal.sigwaitinfo({signal.SIGUSR2}).si_signo)
print(signal.sigtimedwait({signal.SIGUSR2}, 0.02)); rr, ww = os.pipe(); os.set_blocking(ww, False); signal.set_wakeup_fd(ww); signal.raise_signal(signal.SIGALRM); print(os.read(rr, 5))
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 6"], {}); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])); print(os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) if False else "ok")
pf = os.pidfd_open(os.getpid()); print(select.select([pf], [], [], 0)[0]); print(os.getloadavg() is not None, os.uname().sysname, os.getpriority(os.PRIO_PROCESS, 0))
P
/usr/bin/python3 p.py 2>&1
/usr/bin/python3 -m venv --without-pip v 2>&1 && v/bin/python -c 'import sys, os; print(sys.prefix == os.path.realpath("v"))' && ls v/bin | sort
