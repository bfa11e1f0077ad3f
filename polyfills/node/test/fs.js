// Files: sync, callbacks, promises, streams.
const fs = require('fs'), path = require('path'), os = require('os');
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nodetest-')); process.chdir(dir);
const show = (label, f) => { try { console.log(label, f()); } catch (e) { console.log(label, e.code, e.syscall, e.message.replaceAll(dir, 'DIR')); } };
fs.writeFileSync('a.txt', 'hello\n'); fs.appendFileSync('a.txt', 'more'); show('read', () => fs.readFileSync('a.txt', 'utf8'));
show('missing', () => fs.readFileSync('none')); show('dir', () => fs.readFileSync('.')); show('exists', () => [fs.existsSync('a.txt'), fs.existsSync('b')]);
const st = fs.statSync('a.txt'); console.log(st.size, st.isFile(), st.isDirectory(), st.mtime instanceof Date, (st.mode & 0o777).toString(8));
console.log(typeof fs.statSync('a.txt', { bigint: true }).mtimeNs, fs.statSync('none', { throwIfNoEntry: false }));
show('mkdir', () => fs.mkdirSync('x/y/z', { recursive: true }).replace(dir, 'DIR')); show('mkdir again', () => fs.mkdirSync('x/y/z', { recursive: true })); show('mkdir x', () => fs.mkdirSync('x'));
fs.writeFileSync('x/f1', Buffer.from([1, 2, 3])); fs.symlinkSync('../a.txt', 'x/link');
console.log(fs.readdirSync('x'), fs.readdirSync('x', { withFileTypes: true }).map((d) => [d.name, d.isDirectory(), d.isSymbolicLink()]), fs.readdirSync('.', { recursive: true }));
console.log(fs.readlinkSync('x/link'), fs.realpathSync('x/link').replace(dir, 'DIR'), fs.lstatSync('x/link').isSymbolicLink());
fs.renameSync('a.txt', 'b.txt'); fs.copyFileSync('b.txt', 'c.txt'); fs.chmodSync('c.txt', 0o600); fs.utimesSync('c.txt', 1, 2);
console.log((fs.statSync('c.txt').mode & 0o777).toString(8), fs.statSync('c.txt').mtimeMs); show('excl', () => fs.copyFileSync('b.txt', 'c.txt', fs.constants.COPYFILE_EXCL));
fs.truncateSync('c.txt', 3); show('trunc', () => fs.readFileSync('c.txt', 'latin1')); show('access', () => fs.accessSync('c.txt', fs.constants.R_OK));
const fd = fs.openSync('d.bin', 'w+'); fs.writeSync(fd, 'abcdef', 0); fs.writeSync(fd, Buffer.from('ZZ'), 0, 2, 2); const buf = Buffer.alloc(6); console.log(fs.readSync(fd, buf, 0, 6, 0), buf.toString(), fs.fstatSync(fd).size); fs.closeSync(fd);
show('close', () => fs.closeSync(9999)); show('unlink', () => fs.unlinkSync('nope')); show('rmdir', () => fs.rmdirSync('x')); show('rename', () => fs.renameSync('q', 'r')); show('badarg', () => fs.readFileSync({}));
fs.stat('none', (e) => { console.log('cb', e.code, e.errno, e.path, e.syscall);
  fs.readFile('b.txt', 'utf8', (e, t) => { console.log('readFile', e, JSON.stringify(t));
    const out = fs.createWriteStream('s.txt'); for (let i = 0; i < 1000; i++) out.write(`line ${i}\n`); out.end('end');
    out.on('finish', () => { let n = 0; fs.createReadStream('s.txt', { highWaterMark: 1000 }).on('data', (c) => { n += c.length; }).on('end', () => { console.log('stream', n); promises(); }); });
  }); });
async function promises() {
  const p = fs.promises;
  await p.writeFile('p.txt', 'promise'); console.log(await p.readFile('p.txt', 'utf8'));
  await p.mkdir('deep/er', { recursive: true }); console.log(await p.readdir('.'));
  try { await p.readFile('none'); } catch (e) { console.log(e.code, e.message); }
  const h = await p.open('p.txt', 'r+'); console.log((await h.stat()).size, (await h.read(Buffer.alloc(3), 0, 3, 0)).bytesRead); await h.write('X', 0); await h.close();
  for await (const line of require('readline').createInterface({ input: fs.createReadStream('b.txt') })) console.log('line', line);
  for await (const e of await p.opendir('.')) if (e.name === 'deep') console.log('opendir', e.name, e.isDirectory());
  await p.rm('deep', { recursive: true }); await p.cp('x', 'xcopy', { recursive: true }); console.log(fs.readdirSync('xcopy'));
  try { await p.access('deep'); } catch (e) { console.log(e.code); }
  await require('stream/promises').pipeline(fs.createReadStream('p.txt'), require('zlib').createGzip(), fs.createWriteStream('p.gz'));
  console.log(require('zlib').gunzipSync(fs.readFileSync('p.gz')).toString());
  fs.rmSync(dir, { recursive: true }); console.log(fs.existsSync(dir));
}
