# SPDX-License-Identifier: Apache-2.0
# full
# needs: haproxy curl openssl /usr/bin/python3
# timeout: 120
# haproxy with threads in front of three servers, one of them on a unix socket: rounds, stickiness, rules, TLS,
# plain TCP, a server that fails and comes back, its command socket, and a reload that loses no connection.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out cert 2>openssl.log; cat key cert >pem
cat >h.cfg <<P
global
  nbthread 2
  maxconn 500
  log stdout format raw local0 emerg
  stats socket $PWD/ctl mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  retries 3
frontend web
  bind 127.0.0.1:7410
  bind 127.0.0.1:7411 ssl crt $PWD/pem alpn h2,http/1.1
  bind [::1]:7410
  http-request deny deny_status 403 if { path_beg /secret }
  http-request redirect location /new code 302 if { path /old }
  http-request set-header X-Client %[src]
  use_backend sticky if { path_beg /sticky }
  default_backend all
backend all
  balance roundrobin
  server a 127.0.0.1:7412 check inter 100ms fall 1 rise 1
  server b [::1]:7413 check inter 100ms fall 1 rise 1
  server c unix@$PWD/c.sock check inter 100ms fall 1 rise 1
backend sticky
  balance uri
  server a 127.0.0.1:7412
  server b [::1]:7413
listen plain
  mode tcp
  bind 127.0.0.1:7414
  server a 127.0.0.1:7412
P
cat >s.py <<'P'
import http.server, socket, sys
name, family, address = sys.argv[1], getattr(socket, sys.argv[2]), eval(sys.argv[3])
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def address_string(self): return "x"
    def answer(self, d): self.send_response(200); self.send_header("Content-Length", str(len(d))); self.end_headers(); self.wfile.write(d)
    def do_GET(self): self.answer(b"z" * 1_000_000 if self.path == "/big" else f"{name} {self.path} {self.headers.get('X-Client')}\n".encode())
    def do_POST(self): self.answer(b"%d\n" % sum(self.rfile.read(int(self.headers["Content-Length"]))))
class S(http.server.ThreadingHTTPServer):
    address_family = family; daemon_threads = True
    def server_bind(self): self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); self.socket.bind(self.server_address); self.server_name, self.server_port = "x", 0
    def get_request(self): s, a = self.socket.accept(); return s, a or ("unix", 0)
S(address, H).serve_forever()
P
serve() { /usr/bin/python3 s.py "$@" 2>>s.log & pids="$pids $!"; last=$!; }
serve a AF_INET '("127.0.0.1", 7412)'; a=$last; serve b AF_INET6 '("::1", 7413)'; serve c AF_UNIX '"c.sock"'
haproxy -c -q -f h.cfg; echo "check $?"
haproxy -D -W -p pid -f h.cfg
command() { echo "$1" | /usr/bin/python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect("ctl"); s.sendall(sys.stdin.buffer.read()); print(b"".join(iter(lambda: s.recv(65536), b"")).decode(), end="")'; }
up() { for _ in $(seq 300); do [ "$(command 'show stat' | awk -F, '$1 == "all" && $18 == "UP" && /^all,[abc],/' | wc -l)" = "$1" ] && return; sleep 0.03; done; echo "not $1 up"; command 'show stat'; }
u=http://127.0.0.1:7410; up 3
for _ in 1 2 3 4 5 6; do curl -s $u/; done | sort | uniq -c
curl -s -g 'http://[::1]:7410/six' | cut -d' ' -f2,3
for _ in 1 2 3 4; do curl -s "$u/sticky/1"; done | sort -u | wc -l
curl -s -o /dev/null -w '%{http_code}\n' $u/secret; curl -s -o /dev/null -w '%{http_code} %{redirect_url}\n' $u/old
curl -s $u/big | md5sum; head -c 300000 /dev/zero | tr '\0' '\1' | curl -s --data-binary @- $u/post
curl -s --http2 --cacert cert https://localhost:7411/tls -w '%{http_version} %{ssl_verify_result}\n' | sed 's/^[abc] //'
curl -s --http1.1 --cacert cert https://localhost:7411/big https://localhost:7411/big | md5sum
curl -s http://127.0.0.1:7414/plain
for _ in $(seq 20); do curl -s -Z $u/n $u/big -o /dev/null -o /dev/null & loads="$loads $!"; done; for p in $loads; do wait "$p" || echo "curl $?"; done
# One server goes and comes back; no request fails.
kill -9 "$a"; wait "$a" 2>/dev/null; up 2
for _ in 1 2 3 4; do curl -s $u/; done | cut -d' ' -f1 | sort | uniq -c
serve a AF_INET '("127.0.0.1", 7412)'; up 3
command 'disable server all/b'; for _ in 1 2 3 4; do curl -s $u/; done | cut -d' ' -f1 | sort | uniq -c; command 'enable server all/b'; up 3
# A reload takes the listening sockets over while clients come without end.
(for _ in $(seq 150); do curl -s -o /dev/null -w '%{http_code}\n' $u/; done | sort | uniq -c) >during & clients=$!
for _ in 1 2; do sleep 0.2; kill -USR2 "$(cat pid)"; done
wait $clients; cat during
kill -TERM "$(cat pid)"; for _ in $(seq 200); do curl -s $u/ >/dev/null || break; sleep 0.02; done
curl -s $u/; echo "curl $?"
# shellcheck disable=SC2086
kill $pids 2>/dev/null; wait 2>/dev/null
for _ in $(seq 100); do pgrep -f "$PWD/h.cfg" >/dev/null || break; sleep 0.05; done
rm -rf ./*
