'use strict';
// The same as probe.py, smaller, for Node.
const seen = { globals: Object.getOwnPropertyNames(globalThis).sort(), cache: Object.keys(require.cache) };
seen.environment = Object.entries(process.env).sort();
seen.directory = [process.cwd(), process.umask(), process.execArgv, process.argv.length];
seen.listeners = process.eventNames().map(String).sort();
const crypto = require('crypto');
const packages = ['lodash', 'semver', 'commander', 'js-yaml', 'handlebars'];
const loaded = packages.map((name) => require('/packages/node/node_modules/' + name));
seen.loaded = Object.keys(require.cache).sort();
seen.attributes = loaded.map((m) => Object.keys(m).sort());
seen.prototypes = [Array, Object, String, Map].map((c) => Object.getOwnPropertyNames(c.prototype).sort());
seen.helpers = Object.keys(loaded[4].helpers).sort();
seen.work = [loaded[0].chunk([1, 2, 3], 2), loaded[1].inc('1.2.3', 'minor'), loaded[3].load('a: [1]'), loaded[4].compile('{{a}}')({ a: 1 })];
seen.unique = loaded[0].uniqueId();
const fresh = {
  random: Math.random(), uuid: crypto.randomUUID(), bytes: crypto.randomBytes(8).toString('hex'), hrtime: String(process.hrtime.bigint()),
};
require('fs').writeSync(1, JSON.stringify({ same: seen, fresh, pid: process.pid }) + '\n');
globalThis.leaked = Array.prototype.leaked = loaded[0].leaked = 1;
process.env.LEAKED = '1';
process.chdir('/tmp');
process.umask(0o777);
process.on('exit', () => {});
process.on('SIGUSR1', () => {});
loaded[4].registerHelper('leaked', () => {});
require.cache['/leaked'] = module;
Math.random = () => 0;
crypto.randomUUID = () => 'leaked';
if (process.argv[2] === 'signal') process.kill(process.pid, 'SIGKILL');
if (process.argv[2] === '_exit') process.reallyExit(0);
