# SPDX-License-Identifier: Apache-2.0
# full
# needs: nginx curl openssl ab
# timeout: 120
# nginx with TLS: HTTP/1.1 and 2, resumed sessions, a proxy over TLS, a unix socket behind it, a client
# certificate, a configuration read again under load, binaries exchanged, logs opened again.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out cert 2>openssl.log
mkdir -p logs www; seq 200000 >www/seq; head -c 1024 /dev/zero >www/k; echo one >www/version
user=$([ "$(id -u)" = 0 ] && echo 'user root;')
conf() { cat >n.conf <<P
$user
worker_processes 2; pid n.pid; error_log logs/error.log; daemon on;
events { worker_connections 256; }
http { access_log logs/access.log; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  ssl_certificate $PWD/cert; ssl_certificate_key $PWD/key; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:S:1m; sendfile on; tcp_nopush on; gzip on; client_max_body_size 9m; gzip_types *; limit_conn_zone \$server_port zone=z:1m;
  upstream back { server unix:$PWD/back.sock; keepalive 4; }
  server { listen 127.0.0.1:7420 ssl http2; root www; location = /id { return 200 "$1 \$server_protocol \$ssl_session_reused\n"; }
    location /p/ { proxy_pass https://127.0.0.1:7421/; proxy_ssl_verify on; proxy_ssl_trusted_certificate $PWD/cert; proxy_ssl_name localhost; }
    location /u/ { proxy_pass http://back/; proxy_http_version 1.1; proxy_set_header Connection ""; } }
  server { listen 127.0.0.1:7421 ssl reuseport; root www; ssl_client_certificate $PWD/cert; ssl_verify_client optional; location = /who { return 200 "\$ssl_client_verify\n"; } location / { limit_conn z 100; } }
  server { listen unix:$PWD/back.sock; root www; }
  server { listen 127.0.0.1:7422; root www; } }
P
}
conf one; "$(command -v nginx)" -p "$PWD" -c n.conf 2>&1 | grep -v alert
get() { curl -s --cacert cert "$@"; }
u=https://localhost:7420
get $u/id; get --http1.1 $u/id; get $u/seq | md5sum; get $u/p/seq | md5sum; get $u/u/seq | md5sum
get --compressed -H 'Accept-Encoding: gzip' $u/seq | md5sum; get https://localhost:7421/who; get --cert cert --key key https://localhost:7421/who
curl -s $u/; echo "unknown authority $?"; get -o /dev/null -w '%{http_code}\n' http://localhost:7420/
head -c 3000000 /dev/zero >body; get --data-binary @body -o /dev/null -w '%{http_code} %{size_upload}\n' $u/u/version
for v in tls1_2 tls1_3; do
    (printf 'GET /version HTTP/1.0\r\n\r\n'; sleep 0.3) | openssl s_client -connect 127.0.0.1:7421 -CAfile cert -$v -sess_out sess -ign_eof 2>/dev/null | grep -aE '^(New|Reused|one)'
    (printf 'GET /version HTTP/1.0\r\n\r\n') | openssl s_client -connect 127.0.0.1:7421 -CAfile cert -$v -sess_in sess -ign_eof 2>/dev/null | grep -aE '^(New|Reused|one)'
done
for i in 1 2 3 4 5 6; do get -Z --no-progress-meter $u/p/seq $u/u/seq $u/seq -o a$i -o b$i -o c$i & loads="$loads $!"; done; for p in $loads; do wait "$p" || echo "curl $?"; done; md5sum [abc][1-6] | cut -c1-32 | uniq -c
ab -q -k -c 20 -n 2000 http://127.0.0.1:7422/k 2>&1 | grep -E 'Complete|Failed|Keep-Alive req|HTML tr'
ab -q -c 10 -n 200 https://127.0.0.1:7421/k 2>&1 | grep -E 'Complete|Failed|HTML tr'
# Read again while clients come: no request is lost, new ones see the new configuration.
(for _ in $(seq 40); do get -o /dev/null -w '%{http_code}\n' $u/k; done | sort | uniq -c) >during & clients=$!
conf two; kill -HUP "$(cat n.pid)"; for _ in $(seq 200); do get --http1.1 $u/id | grep ^two && break; sleep 0.02; done
# Another binary takes over the sockets; the old one goes.
old=$(cat n.pid); kill -USR2 "$old"; for _ in $(seq 300); do [ -s n.pid.oldbin ] && [ -s n.pid ] && break; sleep 0.02; done
get --http1.1 $u/id; kill -QUIT "$old"; for _ in $(seq 300); do [ -e n.pid.oldbin ] || break; sleep 0.02; done
get --http1.1 $u/id; [ "$(cat n.pid)" != "$old" ] && echo another; wait $clients; cat during
mv logs/access.log logs/old.log; kill -USR1 "$(cat n.pid)"; for _ in $(seq 200); do [ -e logs/access.log ] && break; sleep 0.02; done
get $u/version; for _ in $(seq 100); do [ -s logs/access.log ] && break; sleep 0.02; done; wc -l <logs/access.log
# A worker that is killed is replaced.
pkill -9 -P "$(cat n.pid)"; for _ in $(seq 200); do [ "$(get $u/version)" = one ] && break; sleep 0.02; done; get $u/version
kill -QUIT "$(cat n.pid)"; for _ in $(seq 500); do [ -e n.pid ] || break; sleep 0.02; done
get $u/; echo "curl $?"; grep -vE 'signal|notice|alert|7420' logs/error.log
rm -rf ./*
