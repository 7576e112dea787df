# SPDX-License-Identifier: Apache-2.0
"""bench/run net: servers and their load generators, both natively or both inside one sandbox.

A case is a shell script that starts the server, waits for it, makes the load and prints the requests a second
on a line `rate N`; its figure is the time of a request. What only has to be there (a database) is made once, natively."""
import glob
import os
import pwd
import shutil
import statistics
import subprocess
import tempfile

REDIS = """
redis-server --port 7379 --save '' --daemonize no >/dev/null & server=$!
until redis-cli -p 7379 ping 2>&1 | grep -q PONG; do sleep 0.02; done
redis-benchmark -p 7379 -t set,get -n {n} -c 50 -P {p} --csv | awk -F'"' '/^"(SET|GET)"/ {{ t += 1 / $4; n++ }} END {{ print "rate", n / t }}'
kill $server; wait
"""
NGINX = """
nginx -p "$PWD" -c n.conf -g 'daemon off;' 2>/dev/null & server=$!
until curl -s -o /dev/null http://127.0.0.1:7392/1k; do sleep 0.02; done
ab -q -k -c 50 -n 60000 http://127.0.0.1:7392/1k >ab.out 2>&1
awk '/^Failed requests/ && $3 {{ exit 1 }} /^Requests per second/ {{ print "rate", $4 }}' ab.out
kill $server; wait
"""
NGINX_CONF = """{user}worker_processes 1; pid n.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  sendfile on; keepalive_requests 1000000; server {{ listen 127.0.0.1:7392; root www; }} }}
"""
MEMCACHED = """
memcached {user}-p 7395 -U 0 -l 127.0.0.1 -t 2 -m 64 & server=$!
until (exec 3<>/dev/tcp/127.0.0.1/7395) 2>/dev/null; do sleep 0.02; done
memcaslap -s 127.0.0.1:7395 -T 1 -c 32 -x 60000 -X 100 | awk '/TPS:/ {{ for (i = 1; i < NF; i++) if ($i == "TPS:") print "rate", $(i + 1) }}'
kill $server; wait
"""
PGBENCH = """
{as_user} {bin}/postgres -D data -k "$PWD/sock" -p 7431 >pg.out 2>&1 & server=$!
until {as_user} {bin}/pg_isready -h "$PWD/sock" -p 7431 -q; do sleep 0.05; done
{as_user} {bin}/pgbench -n -S -c 4 -j 1 -t 4000 -h "$PWD/sock" -p 7431 postgres 2>pgbench.out | awk '/^tps/ {{ print "rate", $3 }}'
kill -INT $server; wait
"""


def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return os.path.dirname(found[-1]) if found else None


def as_user():
    """postgres refuses to be root."""
    return "setpriv --reuid=postgres --regid=postgres --clear-groups" if os.getuid() == 0 else ""


def prepare_nginx(top):
    os.makedirs(os.path.join(top, "www"))
    with open(os.path.join(top, "www", "1k"), "w", encoding="ascii") as f:
        f.write("x" * 1024)
    with open(os.path.join(top, "n.conf"), "w", encoding="ascii") as f:
        f.write(NGINX_CONF.format(user="user root; " if os.getuid() == 0 else ""))


def prepare_postgres(top):
    bin_dir, sock = postgres_bin(), os.path.join(top, "sock")
    for d in (sock, os.path.join(top, "data")):
        os.makedirs(d, mode=0o700)
        if os.getuid() == 0:
            shutil.chown(d, "postgres", "postgres")
    script = f"""set -e
{as_user()} {bin_dir}/initdb -D data -A trust -N >init.out 2>&1
echo "listen_addresses = ''" >>data/postgresql.conf
{as_user()} {bin_dir}/pg_ctl -D data -w -l data/log -o "-k '{sock}' -p 7431" start >>init.out 2>&1
{as_user()} {bin_dir}/pgbench -i -q -s 5 -h '{sock}' -p 7431 postgres >>init.out 2>&1
{as_user()} {bin_dir}/pg_ctl -D data -w stop >>init.out 2>&1"""
    subprocess.run(["bash", "-c", script], cwd=top, check=True)


# name, programs, script, preparation, target for the time of a request inside / native
CASES = [
    ("redis SET/GET, P=1", ["redis-server", "redis-benchmark"], lambda: REDIS.format(n=40000, p=1), None, 1 / 1.2),
    ("redis SET/GET, P=16", ["redis-server", "redis-benchmark"], lambda: REDIS.format(n=400000, p=16), None, 1.0),
    ("nginx 1 KiB, keep-alive", ["nginx", "ab", "curl"], NGINX.format, prepare_nginx, 1 / 1.2),
    ("memcached", ["memcached", "memcaslap"],
     lambda: MEMCACHED.format(user="-u root " if os.getuid() == 0 else ""), None, 1.0),
    ("pgbench, select only", ["pgbench"], lambda: PGBENCH.format(as_user=as_user(), bin=postgres_bin()), prepare_postgres, 1 / 0.9),
]


def missing(programs):
    gone = [p for p in programs if not shutil.which(p)]
    if "pgbench" in programs and not (postgres_bin() and (os.getuid() or "postgres" in [u.pw_name for u in pwd.getpwall()])):
        gone.append("postgresql")
    return gone


def micros(out, _wall):
    rates = [float(x.split()[1]) for x in out.split("\n") if x.startswith("rate ")]
    if not rates:
        raise RuntimeError(f"no rate in {out[-200:]!r}")
    return 1e6 / statistics.mean(rates)


def run(bench):
    for name, programs, script, prepare, limit in CASES:
        if bench.args.only not in name:
            continue
        gone = missing(programs)
        if gone:
            print(f"{name:<26} not measured: {', '.join(gone)} not installed")
            continue
        top = tempfile.mkdtemp(prefix="ringbox-bench.")
        os.chmod(top, 0o755)

        def one():
            if prepare:
                prepare(top)
            cmd = ["bash", "-c", f"cd {top} || exit\n{script()}"]
            # what not everybody may read (the database) is there by --bind only; nobody else changes it meanwhile
            got, cpus = bench.pairs(cmd, bench.inside(cmd, ["--bind", f"{top}:{top}:rw,exclusive"]), micros, max(3, bench.args.rounds // 3))
            bench.report(name, "us", got["native"], got["inside"], cpus, limit)

        try:
            bench.guarded(name, one)
        finally:
            shutil.rmtree(top, ignore_errors=True)
