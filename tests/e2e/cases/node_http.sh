# SPDX-License-Identifier: Apache-2.0
# needs: node
# full
# timeout: 120
# node: http server and client, net, dgram, the interfaces.
cat > h.js <<'P'
const http = require("http"), net = require("net"), dgram = require("dgram"), os = require("os"), crypto = require("crypto");
const md5 = (b) => crypto.createHash("md5").update(b).digest("hex");
const big = Buffer.alloc(2000000, (() => { let s = ""; for (let i = 0; i < 1000; i++) s += i; return s; })());
const server = http.createServer((q, r) => {
  if (q.url === "/big") return r.end(big);
  const parts = []; q.on("data", (d) => parts.push(d)).on("end", () => r.end(q.method + " " + q.url + " " + md5(Buffer.concat(parts))));
});
const get = (port, path, body) => new Promise((ok, bad) => {
  const q = http.request({ port, path, host: "127.0.0.1", method: body ? "POST" : "GET", agent: false }, (r) => { const p = []; r.on("data", (d) => p.push(d)).on("end", () => ok(Buffer.concat(p))); });
  q.on("error", bad); q.end(body);
});
server.listen(0, "127.0.0.1", async () => {
  const port = server.address().port;
  console.log(String(await get(port, "/a")), md5(await get(port, "/big")), String(await get(port, "/post", big)));
  const all = await Promise.all(Array.from({ length: 50 }, (_, i) => get(port, "/n" + i)));
  console.log(all.map(String).sort().slice(0, 3), all.length);
  await new Promise((ok) => server.close(ok));
  await get(port, "/gone").catch((e) => console.log(e.code));
  const echo = net.createServer((c) => c.pipe(c)).listen(0, "::1", () => {
    const c = net.connect(echo.address().port, "::1"); let n = 0;
    c.on("data", (d) => { n += d.length; if (n === big.length) c.end(); }).on("close", () => { console.log("echo", n); echo.close(udp); }); c.write(big);
  });
  const udp = () => {
    const u = dgram.createSocket("udp4"); u.bind(0, "127.0.0.1", () => { const v = dgram.createSocket("udp4"); v.send("hi", u.address().port, "127.0.0.1"); u.on("message", (m) => { console.log("udp", String(m)); u.close(); v.close(); }); });
  };
  console.log(JSON.stringify(os.networkInterfaces().lo.map((x) => [x.address, x.cidr, x.internal])));
});
P
node h.js 2>&1
rm -f h.js
