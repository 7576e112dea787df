# SPDX-License-Identifier: Apache-2.0
# needs: node
# node: child_process, worker_threads, fs, streams, timers, signals.
cat > a.js <<'J'
const cp = require('child_process'), fs = require('fs'), os = require('os'), path = require('path'), { Worker, isMainThread, parentPort, workerData } = require('worker_threads'), crypto = require('crypto'), zlib = require('zlib');
if (!isMainThread) { parentPort.postMessage(workerData * 2); return; }
(async () => {
  console.log(cp.execSync('echo sync; exit 0').toString().trim(), cp.spawnSync('sh', ['-c', 'cat; exit 3'], { input: 'in' }).status);
  const c = cp.spawn('tr', ['a-z', 'A-Z']); c.stdin.end('hello'.repeat(20000)); let n = ''; for await (const d of c.stdout) n += d; console.log(n.length, n.slice(0, 5));
  console.log(await Promise.all([1, 2, 3].map(i => new Promise(r => new Worker(__filename, { workerData: i }).on('message', r)))));
  const f = cp.fork(__filename.replace('a.js', 'b.js')); console.log(await new Promise(r => { f.on('message', r); f.send({ q: 20 }); })); f.disconnect(); await new Promise(r => f.on('exit', r));
  await fs.promises.writeFile('f', Buffer.from([0, 255, 1])); console.log(fs.readFileSync('f'), (await fs.promises.stat('f')).size, fs.readdirSync('.').sort()); fs.mkdirSync('x/y/z', { recursive: true }); fs.rmSync('x', { recursive: true });
  console.log(crypto.createHash('sha256').update('a').digest('hex').slice(0, 8), zlib.gunzipSync(zlib.gzipSync('zip')).toString(), crypto.randomBytes(8).length); await new Promise((r, j) => crypto.pbkdf2('p', 's', 1000, 16, 'sha1', (e, k) => (console.log(k.toString('hex')), r())));
  process.on('SIGUSR2', () => console.log('usr2')); process.kill(process.pid, 'SIGUSR2'); await new Promise(r => setTimeout(r, 50)); const s = cp.spawn('sleep', ['9']); s.kill(); console.log(await new Promise(r => s.on('exit', (c, g) => r(g))));
  fs.createReadStream('/usr/bin/node', { end: 9999999 }).pipe(crypto.createHash('md5').setEncoding('hex')).on('finish', function () { console.log(this.read()); }); process.on('exit', c => console.log('exit', c)); await new Promise(r => setTimeout(r, 300)); process.exitCode = 4;
})();
J
echo "process.on('message', m => process.send({ a: m.q + 1 }))" > b.js
node a.js 2>&1; echo $?; echo 'console.log(1+1)' | node -; node -e 'process.stdin.on("data", d => process.stdout.write(d.toString().toUpperCase()))' <<<piped; node -e 'throw 1' 2>/dev/null; echo $?; node -p 'process.stdin.isTTY, process.version.length > 2'
