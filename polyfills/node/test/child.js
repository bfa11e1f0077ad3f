const cp = require('child_process'), { once } = require('events');
console.log(cp.execSync('echo hi; exit 0').toString(), cp.execFileSync('printf', ['%s-%s', 'a', 'b'], { encoding: 'utf8' }));
const r = cp.spawnSync('sh', ['-c', 'cat; echo err >&2; exit 3'], { input: 'input data' }); console.log(r.status, r.signal, r.stdout.toString(), r.stderr.toString(), r.output.length);
console.log(cp.spawnSync('no-such-program').error.code, cp.spawnSync('sh', ['-c', 'kill -9 $$']).signal, cp.spawnSync('sleep', ['5'], { timeout: 100 }).error.code);
try { cp.execSync('echo out; echo bad >&2; exit 2', { stdio: 'pipe' }); } catch (e) { console.log(e.status, e.message, e.stdout.toString(), e.stderr.toString()); }
console.log(cp.spawnSync('sh', ['-c', 'head -c 200000 /dev/zero'], { maxBuffer: 1000 }).error.code, cp.spawnSync('pwd', { cwd: '/usr' }).stdout + '', cp.spawnSync('sh', ['-c', 'echo $FOO'], { env: { FOO: 'bar', PATH: process.env.PATH } }).stdout + '');
(async () => {
  const c = cp.spawn('sh', ['-c', 'read x; echo "got $x"; exit 4']); c.stdout.setEncoding('utf8'); c.stdout.on('data', (d) => console.log('data', d)); c.stdin.end('line\n');
  console.log(...await once(c, 'close')); const k = cp.spawn('sleep', ['10']); console.log(typeof k.pid, k.kill()); console.log(...await once(k, 'exit'), k.killed, k.signalCode);
  cp.spawn('none').on('error', (e) => console.log(e.code, e.syscall, e.path, e.spawnargs));
  await new Promise((res) => cp.exec('echo a; echo b >&2; false', (e, o, s) => { console.log(e.code, e.cmd, JSON.stringify([o, s])); res(); }));
  console.log((await require('util').promisify(cp.exec)('echo promised')).stdout); const big = cp.spawn('cat'); let n = 0; big.stdout.on('data', (d) => { n += d.length; }); big.stdin.end(Buffer.alloc(3000000)); await once(big, 'close'); console.log('big', n);
  const e = cp.spawn(process.execPath, ['-e', 'console.log(process.argv.length, process.stdin.constructor.name); process.exitCode = 9'], { stdio: ['ignore', 'pipe', 'inherit'] }); e.stdout.pipe(process.stdout); console.log(...await once(e, 'close'));
  const i = cp.spawn('sh', ['-c', 'echo inherited'], { stdio: 'inherit' }); await once(i, 'exit'); const f3 = cp.spawn('sh', ['-c', 'echo three >&3'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] }); f3.stdio[3].on('data', (d) => console.log('fd3', d + '')); await once(f3, 'close');
  const ac = new AbortController(); const a = cp.spawn('sleep', ['9'], { signal: ac.signal }); a.on('error', (e) => console.log(e.name, e.code)); ac.abort(); await once(a, 'exit');
})();
