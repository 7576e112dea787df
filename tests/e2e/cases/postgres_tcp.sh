# SPDX-License-Identifier: Apache-2.0
# full
# needs: /usr/lib/postgresql/15/bin/initdb openssl
# timeout: 250
# PostgreSQL over TCP and TLS: a connection for each transaction, COPY, parallel queries, LISTEN, a backend killed
# under load, a standby that follows by streaming and takes over.
P=/usr/lib/postgresql/15/bin
chmod 755 .; mkdir data sock; chown postgres data sock
run() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
query() { run env PGSSLMODE="${2:-disable}" PGSSLROOTCERT="$PWD/data/cert" $P/psql -h "${3:-127.0.0.1}" -p "${port:-7430}" -X -q -t -A postgres -c "$1" 2>&1; }
ready() { for _ in $(seq 300); do run $P/pg_isready -h 127.0.0.1 -p "$1" -q && return; sleep 0.1; done; echo "not ready"; tail log; }
run $P/initdb -D data -A trust -N >log 2>&1 || tail -20 log
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout data/key -out data/cert 2>openssl.log; chown postgres data/key data/cert
cat >>data/postgresql.conf <<C
port = 7430
listen_addresses = '127.0.0.1, ::1'
unix_socket_directories = '$PWD/sock'
ssl = on
ssl_cert_file = 'cert'
ssl_key_file = 'key'
max_connections = 60
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
C
run $P/postgres -D data >>log 2>&1 &
ready 7430; main=$(head -1 data/postmaster.pid)
query 'create table t as select g a, md5(g::text) b from generate_series(1, 50000) g; select ssl from pg_stat_ssl where pid = pg_backend_pid()'
query 'select ssl, version from pg_stat_ssl where pid = pg_backend_pid()' verify-full localhost; query 'select inet_server_addr()' disable ::1
query 'copy t to stdout' | md5sum; seq 3000 | query 'create table n (a int); copy n from stdin; select sum(a) from n'
query "set force_parallel_mode = on; set max_parallel_workers_per_gather = 2; select count(*), max(b) from t where b > '3'"
(echo 'listen c;'; sleep 0.5; echo 'select 1;') | run $P/psql -h 127.0.0.1 -p 7430 -X -q -t -A postgres >listen.out & listener=$!
sleep 0.2; query "notify c, 'hello'"; wait $listener; sed 's/PID.*/PID/' listen.out
bench() { run env PGSSLMODE=disable $P/pgbench -h 127.0.0.1 -p 7430 "$@" postgres 2>&1; }
bench -i -q -s 2 | tail -1 | grep -c done; bench -n -C -c 8 -j 2 -t 20 | grep -E 'processed|failed'; bench -n -S -M prepared -c 8 -j 2 -t 300 | grep -E 'processed|failed'
# A backend dies: all others are restarted, nothing that was committed is lost.
before=$(query 'select count(*) from pgbench_history'); bench -n -c 4 -t 100000 >bench.out & load=$!
until [ "$(query 'select count(*) from pgbench_history')" -gt "$((before + 50))" ]; do sleep 0.1; done
until pkill -9 -o -f 'postgres: postgres postgres 127.0.0.1' -P "$main"; do :; done; wait $load; grep -cE 'crash of another|closed the connection|aborted' bench.out | sed 's/[1-9].*/some/'
for _ in $(seq 100); do query 'select 1' | grep -q '^1$' && break; sleep 0.1; done
query 'select sum(tbalance) = (select sum(abalance) from pgbench_accounts) from pgbench_tellers'
# A standby: copied, follows, takes over after the first is killed.
run $P/pg_basebackup -h 127.0.0.1 -p 7430 -D "$PWD/sock/standby" -R -X stream -c fast 2>&1
run $P/postgres -D sock/standby -p 7431 >>log2 2>&1 & job=$!
ready 7431; second=$(head -1 sock/standby/postmaster.pid)
query 'insert into n values (1000000)'; port=7431; for _ in $(seq 200); do [ "$(query 'select max(a) from n')" = 1000000 ] && break; sleep 0.05; done
query 'select max(a), pg_is_in_recovery() from n'; query 'insert into n values (1)'
kill -9 "$main"; query 'select pg_promote()'; query 'insert into n values (2000000); select max(a), pg_is_in_recovery() from n'
kill -INT "$second"; wait $job; echo $?
for _ in $(seq 100); do pgrep -u postgres >/dev/null || break; sleep 0.1; done
rm -rf ./*
