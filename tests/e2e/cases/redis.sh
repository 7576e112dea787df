# SPDX-License-Identifier: Apache-2.0
# needs: redis-server redis-cli redis-benchmark
# timeout: 120
# redis: commands, pipelining, publish and subscribe, AOF and snapshot written and read again.
mkdir data
serve() { redis-server --port 7391 --bind 127.0.0.1 --dir data --appendonly yes --save '' --daemonize no >/dev/null 2>&1 & server=$!; until redis-cli -p 7391 ping 2>&1 | grep -q PONG; do sleep 0.05; done; }
serve
redis-cli -p 7391 set a 1; redis-cli -p 7391 incrby a 41
for i in $(seq 2000); do echo "SET key$i value$i"; done | redis-cli -p 7391 --pipe 2>&1 | tail -1
redis-cli -p 7391 subscribe news >sub.out & sub=$!
until [ "$(redis-cli -p 7391 publish news hello)" = 1 ]; do sleep 0.02; done
sleep 0.2; kill $sub; wait $sub 2>/dev/null; tail -3 sub.out
redis-benchmark -p 7391 -t set,get,lpush,mset -n 4000 -c 50 -P 4 --csv | cut -d, -f1
redis-cli -p 7391 bgsave; until redis-cli -p 7391 info persistence | grep -q 'rdb_bgsave_in_progress:0'; do sleep 0.05; done
redis-cli -p 7391 info persistence | grep rdb_last_bgsave_status
redis-cli -p 7391 dbsize; kill -9 $server; wait $server 2>/dev/null
serve; redis-cli -p 7391 dbsize; redis-cli -p 7391 mget a key77; redis-cli -p 7391 shutdown nosave; wait
rm -rf data sub.out
