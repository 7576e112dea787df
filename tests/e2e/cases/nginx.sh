# SPDX-License-Identifier: Apache-2.0
# needs: nginx curl
# timeout: 120
# nginx: static files, ranges, a proxy in front of itself, keep-alive; curl as the client.
mkdir -p logs www; seq 100000 >www/seq; echo index >www/index.html
user=$([ "$(id -u)" = 0 ] && echo 'user root;')
cat >n.conf <<P
$user
worker_processes 2; pid n.pid; error_log logs/error.log; daemon on;
events { worker_connections 256; }
http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; sendfile on; tcp_nopush on;
  server { listen 127.0.0.1:7392; root www; location /p/ { proxy_pass http://127.0.0.1:7393/; proxy_http_version 1.1; } }
  server { listen 127.0.0.1:7393; listen [::1]:7393; root www; } }
P
nginx -p "$PWD" -c n.conf 2>&1 | grep -v alert
u=http://127.0.0.1:7392
curl -s $u/; curl -s $u/seq | md5sum; curl -s -r 100-119 $u/seq; echo; curl -s -o /dev/null -w '%{http_code}\n' $u/none
curl -s $u/p/seq | md5sum; curl -s -g 'http://[::1]:7393/'
curl -s $u/ $u/ $u/ -w '%{num_connects}\n'
for i in 1 2 3 4 5 6 7 8; do curl -s $u/p/seq | md5sum & done; wait
kill "$(cat n.pid)"; while [ -e n.pid ]; do sleep 0.02; done
curl -s $u/ || echo "curl $?"
rm -rf logs www n.conf b p f u s
