// fs-extra: trees copied, moved, emptied and removed; JSON files; by callbacks, promises and in one go.
const fs = require('fs-extra');
const os = require('os');
const path = require('path');

const list = root => fs.readdirSync(root, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap(e => {
  const at = path.join(root, e.name);
  return e.isDirectory() ? [e.name + '/', ...list(at).map(n => `${e.name}/${n}`)] : [e.isSymbolicLink() ? `${e.name} -> ${fs.readlinkSync(at)}` : `${e.name} ${fs.statSync(at).size}`];
});

(async () => {
  const root = await fs.mkdtemp(path.join(os.tmpdir(), 'fs-extra-'));
  const at = (...parts) => path.join(root, ...parts);
  await fs.outputFile(at('a/b/c.txt'), 'contents');
  await fs.outputJson(at('a/config.json'), { k: [1, null], ü: 'x' }, { spaces: 2 });
  await fs.ensureSymlink('b/c.txt', at('a/link')).catch(error => console.log('link', error.code));
  await fs.symlink('b/c.txt', at('a/link')).catch(error => console.log('link', error.code));
  fs.ensureDirSync(at('empty/deep'));
  await fs.copy(at('a'), at('copy'), { filter: from => !from.endsWith('.json') });
  console.log(list(root), await fs.readJson(at('a/config.json')), await fs.pathExists(at('no')));
  fs.moveSync(at('a/b'), at('moved/b'));
  await fs.move(at('copy'), at('moved/b')).catch(error => console.log(error.message));
  await fs.move(at('copy'), at('moved/b'), { overwrite: true });
  fs.copySync(at('moved'), at('again'), { preserveTimestamps: true });
  await fs.copy(at('moved'), at('moved/b/inside')).catch(error => console.log(error.message.replaceAll(root, 'ROOT')));
  await fs.emptyDir(at('empty'));
  fs.chmodSync(at('a/config.json'), 0o600);
  await fs.ensureFile(at('new/file'));
  await fs.appendFile(at('new/file'), 'one\n');
  await new Promise(done => fs.stat(at('new/file'), (error, stat) => { console.log(error, stat.size, stat.isFile()); done(); }));
  console.log(list(root), (fs.statSync(at('a/config.json')).mode & 0o777).toString(8));
  await fs.readJson(at('new/file')).catch(error => console.log(error.name, error.message.replace(root, 'ROOT').split(':')[0]));
  await fs.remove(root);
  await fs.remove(root);
  console.log(fs.existsSync(root), fs.readJsonSync(at('x'), { throws: false }) ?? 'none');
})().catch(error => console.log(error.code || error));
