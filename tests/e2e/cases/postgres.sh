# SPDX-License-Identifier: Apache-2.0
# full
# needs: /usr/lib/postgresql/15/bin/initdb
# timeout: 200
# A database cluster: created, served on a unix socket, killed, recovered. Shared memory of both kinds.
P=/usr/lib/postgresql/15/bin
chmod 755 .; mkdir data sock; chown postgres data sock
run() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
query() { run $P/psql -h "$PWD/sock" -X -q -t -A postgres -c "$1"; }
run $P/initdb -D data -A trust -N >log 2>&1 || tail -20 log
serve() {
    run $P/postgres -D data -k "$PWD/sock" -c listen_addresses= -c shared_memory_type="$1" >>log 2>&1 &
    for _ in $(seq 200); do run $P/pg_isready -h "$PWD/sock" -q && break; sleep 0.1; done
}
serve mmap
query 'create table t as select generate_series(1, 20000) a; create index on t (a)'
query 'select sum(a), count(*) from t; select a from t where a = 777'
run $P/pgbench -h "$PWD/sock" -i -q postgres 2>&1 | grep -c done
run $P/pgbench -h "$PWD/sock" -n -c 4 -j 2 -t 100 postgres 2>&1 | grep -E 'processed|failed'
query "select pg_notify('c', 'x'); select sum(tbalance) = sum(abalance) from pgbench_tellers, (select sum(abalance) abalance from pgbench_accounts) x group by x.abalance"
# killed without warning: it recovers
kill -KILL "$(head -1 data/postmaster.pid)"; wait 2>/dev/null
for _ in $(seq 100); do pgrep -u postgres >/dev/null || break; sleep 0.1; done
serve sysv
query 'select sum(a), count(*) from t'
grep -c 'database system was not properly shut down' log
ipcs -m | awk '$3 == "postgres" && $6 > 0' | wc -l
kill -INT "$(head -1 data/postmaster.pid)"; wait
ipcs -m | awk '$3 == "postgres" && $6 > 0' | wc -l
cd ..; rm -rf work/*
