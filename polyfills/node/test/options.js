// NODE_OPTIONS and the command line.
'use strict';
const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');
const { builtinModules, isBuiltin } = require('module');
const dir = fs.mkdtempSync(path.join(require('os').tmpdir(), 'node options '));
const preload = path.join(dir, 'preload.js');
fs.writeFileSync(preload, 'globalThis.preloaded = __filename.slice(-10);');
const run = (options, ...args) => {
  const env = { ...process.env, NODE_OPTIONS: options };
  const done = spawnSync(process.execPath, args, { env, encoding: 'utf8', input: '' });
  const said = done.stderr.split('\n').filter((line) => line.includes(': ')).map((line) => line.replaceAll(process.execPath, 'node').replaceAll(dir, 'DIR'));
  const line = [JSON.stringify(options), args.join(' '), '->', done.status, done.stdout.trim(), (said[0] ?? '').replace(/^\[|\].*$/g, '')].join(' ');
  console.log(line.replaceAll(dir, 'DIR'));
};
const show = ['-p', '[globalThis.preloaded, Error.stackTraceLimit, process.execArgv.length]'];
for (const options of ['', '  ', '--stack-trace-limit=3', '--max-old-space-size=64 --stack-size=900 --harmony', `--require "${preload}"`, `-r "${preload}"`,
                       `"--require=${preload}"`, '--no-warnings --no-deprecation', '--title=x']) run(options, ...show);
for (const options of ['--bogus', '--eval 1', '-p 1', '-e', 'script.js', '--version', '-h', '--check', '-i', '--prof-process=1', '--interactive', '--expose-internals', '"open',
                       '"end\\', '--no-bogus', '--require']) run(options, '-p', '1');
run('--title=x', '-p', 'process.title');
run('', '--title=y', '-p', 'process.title');
run('', '--check', `${dir}/nope.js`);
fs.writeFileSync(`${dir}/wrong.js`, 'let a = ;\n');
for (const file of ['preload', 'preload.js']) run('', '--check', `${dir}/${file}`);
console.log(builtinModules.filter((name) => /^(npm|internal)/.test(name)), isBuiltin('npm/undici/lib/timers'), isBuiltin('node:fs'));
try {
  let text = 'x'.repeat(2 ** 28);
  for (;;) text += text;
} catch (error) {
  console.log(error.name, error.message);
}
fs.rmSync(dir, { recursive: true });
