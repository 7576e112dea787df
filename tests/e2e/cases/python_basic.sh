# SPDX-License-Identifier: Apache-2.0
# needs: python3
# timeout: 120
python3 - <<'P'
import json, sqlite3, subprocess, tempfile, threading, os, sys, hashlib
print(json.dumps({"a": [1, 2, 3], "b": None}, sort_keys=True))
print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout.strip())
print(subprocess.check_output("exit 3 | cat; echo ${PIPESTATUS[0]}", shell=True, executable="/bin/bash").decode().strip())
total = 0
lock = threading.Lock()
def work(n):
    global total
    for i in range(n):
        with lock:
            total += i
threads = [threading.Thread(target=work, args=(2000,)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(total)
with tempfile.TemporaryDirectory() as d:
    db = sqlite3.connect(os.path.join(d, "x.db"))
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(a integer primary key, b text)")
    db.executemany("insert into t values(?,?)", ((i, str(i * i)) for i in range(5000)))
    db.commit()
    print(db.execute("select count(*), sum(length(b)) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
    db.close()
with tempfile.NamedTemporaryFile() as f:
    f.write(b"x" * 1000000); f.flush()
    print(os.stat(f.name).st_size, hashlib.sha256(open(f.name, "rb").read()).hexdigest()[:16])
try:
    os.open("/nonexistent", os.O_RDONLY)
except OSError as e:
    print(e.errno, e.strerror)
print(os.getuid(), os.getcwd() == os.environ["TOP"])
P
