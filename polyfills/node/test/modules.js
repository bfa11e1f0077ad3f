// CommonJS and ES modules side by side.
const fs = require('fs'), path = require('path'), os = require('os');
const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'nodemod-')));
const put = (name, text) => { const p = path.join(dir, name); fs.mkdirSync(path.dirname(p), { recursive: true }); fs.writeFileSync(p, text); };
put('node_modules/plain/package.json', '{"main":"lib/main"}'); put('node_modules/plain/lib/main.js', 'exports.name = "plain"; exports.dir = __dirname; exports.parent = module.parent && true;');
put('node_modules/exp/package.json', JSON.stringify({ name: 'exp', type: 'module', exports: { '.': { import: './i.mjs', require: './r.cjs' }, './sub/*': './s/*.js', './json': './d.json', './hidden': null } }));
put('node_modules/exp/i.mjs', 'export default "imported"; export const self = await import("exp/sub/one");'); put('node_modules/exp/r.cjs', 'module.exports = "required";'); put('node_modules/exp/s/one.js', 'export const one = 1;'); put('node_modules/exp/d.json', '{"k":[1]}');
put('node_modules/@sc/p/index.js', 'module.exports = "scoped";'); put('data.json', '{"a":1}'); put('bad.json', '{oops}');
put('cyc-a.js', 'exports.early = 1; const b = require("./cyc-b"); exports.late = b.seen;'); put('cyc-b.js', 'exports.seen = Object.keys(require("./cyc-a"));');
put('esm.mjs', 'import fs, { readFileSync } from "node:fs"; import cjs, { named } from "./named.cjs"; import * as ns from "./named.cjs"; import j from "./data.json" assert { type: "json" }; export { named as again }; export const here = import.meta.url.endsWith("esm.mjs"); export default class K {}; console.log("esm", typeof readFileSync, fs.readFileSync === readFileSync, cjs, named, Object.keys(ns), j, typeof require, this); export const late = await Promise.resolve(7);');
put('named.cjs', 'exports.named = 1; exports.other = 2;'); put('syntax.js', 'let x = ;'); put('throws.mjs', 'throw new Error("from esm");'); put('pkg/package.json', '{"imports":{"#x":"./x.js"}}'); put('pkg/x.js', 'module.exports="hash";'); put('pkg/main.js', 'module.exports=require("#x");');
const r = require('module').createRequire(path.join(dir, 'main.js'));
const show = (l, f) => { try { console.log(l, f()); } catch (e) { console.log(l, e.name, e.code, e.message.split('\n')[0].replaceAll(dir, 'DIR')); } };
show('plain', () => ({ ...r('plain'), dir: r('plain').dir.replace(dir, '') })); show('exp', () => r('exp')); show('json sub', () => r('exp/json')); show('hidden', () => r('exp/hidden')); show('no sub', () => r('exp/none')); show('scoped', () => r('@sc/p'));
show('json', () => r('./data')); show('bad json', () => r('./bad.json')); show('missing', () => r('nothing')); show('missing rel', () => r('./nothing')); show('syntax', () => r('./syntax')); show('cycle', () => r('./cyc-a')); show('#x', () => r('./pkg/main')); show('esm', () => r('./esm.mjs'));
show('node:', () => r('node:path') === require('path')); show('node:bad', () => r('node:bad')); show('worker', () => { try { require('node:nonesuch'); } catch (e) { return e.code; } });
show('resolve', () => r.resolve('plain').replace(dir, '')); show('builtin', () => require('module').builtinModules.includes('fs')); show('main', () => [require.main === module, module.id, module.loaded, typeof module.paths, __filename.endsWith('modules.js')]);
show('cache', () => { const k = r.resolve('./data'); delete r.cache[k]; return r('./data') !== undefined; }); require.extensions['.txt'] = (m, f) => { m.exports = fs.readFileSync(f, 'utf8'); }; put('t.txt', 'text!'); show('ext', () => r('./t.txt'));
(async () => {
  const u = (p) => require('url').pathToFileURL(path.join(dir, p)).href;
  const m = await import(u('esm.mjs')); console.log(Object.keys(m), m.late, m.here, m.again, m.default.name); console.log(m);
  console.log((await import(u('node_modules/exp/i.mjs'))).self.one, (await import('data:text/javascript,export default 5')).default);
  for (const s of ['./none.mjs', 'no-such-pkg', 'throws.mjs', 'syntax.js', 'node:nope', 'data.json']) await import(s.includes('.') && !s.startsWith('.') ? u(s) : s).then(console.log, (e) => console.log(s, e.name, e.code, e.message.split('\n')[0].split(' imported from')[0].replaceAll(dir, 'DIR').replaceAll(__dirname, 'HERE')));
  console.log((await import('node:path')).default === path, Object.keys(await import('node:querystring')).length > 4); fs.rmSync(dir, { recursive: true });
})();
