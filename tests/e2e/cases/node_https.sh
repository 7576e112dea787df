# SPDX-License-Identifier: Apache-2.0
# full
# needs: node openssl
# timeout: 120
# node: https and http2, keep-alive and resumed sessions, an upgraded connection, a cluster whose workers get
# connections as descriptors and on their own, worker threads, a unix socket, clients that break off.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out cert 2>openssl.log
cat >s.js <<'P'
const fs = require("fs"), http = require("http"), https = require("https"), http2 = require("http2"), net = require("net"), crypto = require("crypto"), { once } = require("events");
const { pipeline } = require("stream/promises"), { Worker } = require("worker_threads");
const key = fs.readFileSync("key"), cert = fs.readFileSync("cert"), md5 = (b) => crypto.createHash("md5").update(b).digest("hex");
const big = Buffer.alloc(3000000, "0123456789abcdef-"); fs.writeFileSync("big", big);
const all = async (r) => { const p = []; for await (const d of r) p.push(d); return Buffer.concat(p); };
async function ask(mod, o, body) { const q = mod.request({ host: "127.0.0.1", ca: cert, servername: "localhost", ...o }); q.end(body); const [r] = await once(q, "response"); return [r.statusCode, await all(r)]; }
const handler = async (q, r) => {
  if (q.url === "/big") return pipeline(fs.createReadStream("big"), r).catch(() => {});
  if (q.url === "/slow") { r.write("a"); return setTimeout(() => r.end("b"), 50); }
  r.end(q.method + q.url + " " + md5(await all(q).catch(() => "")));
};
async function main() {
  const s = https.createServer({ key, cert }, handler).listen(0, "127.0.0.1"); await once(s, "listening"); const port = s.address().port; let made = 0; s.on("secureConnection", () => made++);
  let r = await ask(https, { port, path: "/a" }); console.log(r[0], String(r[1]));
  r = await ask(https, { port, path: "/big" }); console.log(md5(r[1]) === md5(big));
  r = await ask(https, { port, path: "/post", method: "POST" }, big); console.log(String(r[1]));
  const agent = new https.Agent({ keepAlive: true, maxSockets: 3 }), before = made;
  const many = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(https, { port, path: i % 9 ? "/n" + i : "/slow", agent })));
  console.log(many.filter((m) => m[0] === 200).length, made - before); agent.destroy();
  await ask(https, { port, path: "/", ca: undefined, agent: false }).catch((e) => console.log(e.code));
  for (let i = 0; i < 20; i++) { const q = https.get({ port, path: "/big", ca: cert, servername: "localhost", host: "127.0.0.1", agent: false }); q.on("error", () => {}); const [x] = await once(q, "response"); await once(x, "data"); q.destroy(); }
  r = await ask(https, { port, path: "/after" }); console.log(String(r[1])); s.closeAllConnections(); await new Promise((ok) => s.close(ok));
  // http2: many streams of one connection
  const h2 = http2.createSecureServer({ key, cert, allowHTTP1: true }); h2.on("stream", (st, h) => { st.respond({ ":status": 200 }); st.end(h[":path"] === "/big" ? big.subarray(0, 700000) : "h2 " + h[":path"]); }).listen(0); await once(h2, "listening");
  const c = http2.connect("https://localhost:" + h2.address().port, { ca: cert, lookup: (n, o, cb) => cb(null, o.all ? [{ address: "127.0.0.1", family: 4 }] : "127.0.0.1", 4) });
  const got = await Promise.all(Array.from({ length: 40 }, (_, i) => all(c.request({ ":path": i % 8 ? "/" + i : "/big" }).end()))); console.log(got.map((g) => g.length).join(), String(got[39])); c.close(); await once(c, "close"); await new Promise((ok) => h2.close(ok));
  // upgrade: both ends write until they have heard enough
  const up = http.createServer().on("upgrade", (q, so) => { so.write("HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"); so.pipe(so); }).listen("u.sock"); await once(up, "listening");
  const q = http.request({ socketPath: "u.sock", headers: { Connection: "Upgrade", Upgrade: "echo" } }); q.end(); const [, so] = await once(q, "upgrade"); so.end(big); console.log("echo", md5(await all(so)) === md5(big)); await new Promise((ok) => up.close(ok)); console.log(fs.existsSync("u.sock"));
  // threads, each with a server and clients of the next
  const ws = [0, 1, 2].map((i) => new Worker("./w.js", { workerData: i })); const ports = await Promise.all(ws.map(async (w) => (await once(w, "message"))[0])); ws.forEach((w, i) => w.postMessage(ports[(i + 1) % 3])); console.log((await Promise.all(ws.map(async (w) => (await once(w, "message"))[0]))).join()); await Promise.all(ws.map((w) => w.terminate()));
}
main().catch((e) => { console.log(e); process.exit(1); });
P
cat >w.js <<'P'
const { parentPort, workerData } = require("worker_threads"), http = require("http");
const s = http.createServer((q, r) => r.end("t" + workerData)).listen(0, "127.0.0.1", () => parentPort.postMessage(s.address().port));
parentPort.once("message", async (port) => { let t = ""; for (let i = 0; i < 20; i++) { t = await (await fetch("http://127.0.0.1:" + port)).text(); } parentPort.postMessage(t); });
P
cat >c.js <<'P'
const cluster = require("cluster"), http = require("http"), net = require("net"), { fork } = require("child_process"), { once } = require("events");
if (process.argv[2] === "child") { process.on("message", (m, h) => { if (h) h.end("child has it\n"); }); process.send("up"); return; }
if (cluster.isWorker) { http.createServer((q, r) => { if (q.url === "/die") process.kill(process.pid, "SIGKILL"); r.setHeader("Connection", "close"); r.end(String(cluster.worker.id)); }).listen(0, "127.0.0.1"); return; }
cluster.schedulingPolicy = process.argv[2] === "rr" ? cluster.SCHED_RR : cluster.SCHED_NONE;
const text = (port, path) => new Promise((ok) => http.get({ port, path, host: "127.0.0.1", agent: false }, (r) => { let d = ""; r.on("data", (x) => (d += x)).on("end", () => ok(d)); }).on("error", (e) => ok(e.code)));
(async () => {
  for (let i = 0; i < 3; i++) cluster.fork(); let port; for (let i = 0; i < 3; i++) { const [, a] = await once(cluster, "listening"); port = a.port; }
  const ids = await Promise.all(Array.from({ length: 60 }, () => text(port, "/"))); console.log(process.argv[2], ids.every((i) => "123".includes(i)), process.argv[2] === "rr" ? new Set(ids).size : "");
  const gone = once(cluster, "exit"), answer = await text(port, "/die"), [w, code, signal] = await gone; console.log(answer, code, signal); cluster.fork(); await once(cluster, "listening");
  console.log((await Promise.all(Array.from({ length: 30 }, () => text(port, "/")))).every((i) => "1234".includes(i) && i != w.id)); cluster.disconnect(); await Promise.all(Object.values(cluster.workers).map((x) => once(x, "exit")));
  const kid = fork("./c.js", ["child"]); await once(kid, "message"); const s = net.createServer({ pauseOnConnect: true }, (so) => kid.send("take", so)).listen(0, "127.0.0.1"); await once(s, "listening"); const so = net.connect(s.address().port, "127.0.0.1"); let d = ""; for await (const x of so) d += x; console.log(d.trim()); kid.kill(); s.close();
})();
P
node s.js 2>&1; node c.js rr 2>&1; node c.js none 2>&1
rm -f ./*
