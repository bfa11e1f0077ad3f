// Tries every way by which Node takes a file as code, and says what came of each.
'use strict';

const fs = require('fs');
const { spawnSync } = require('child_process');

const HERE = '/tmp/loads';

function write(name, text) {
  const path = `${HERE}/${name}`;
  fs.mkdirSync(path.slice(0, path.lastIndexOf('/')), { recursive: true });
  fs.writeFileSync(path, text);
  return path;
}

async function attempt(name, action) {
  try {
    console.log(`${name}: ${await action()}`);
  } catch (error) {
    console.log(`${name}: ${error.code}: ${error.message.split('\n')[0]}`);
  }
}

function child(args, input = '') {
  const done = spawnSync(process.execPath, args, { input, encoding: 'utf8' });
  const lines = (done.stdout + done.stderr).split('\n').filter((line) => line && !line.startsWith(' '));
  const said = lines.find((line) => line.startsWith('Error')) ?? lines[0] ?? '';
  return `status ${done.status}, ${said}`;
}

(async () => {
  await attempt('a file of the image', () => require('/probe/lib/same.js'));
  const written = write('written.js', "module.exports = 'written';\nif (require.main === module) console.log('script');\n");
  await attempt('a written module', () => require(written));
  const esm = write('written.mjs', "export default 'written';\n");
  await attempt('import() of a written module', async () => (await import(esm)).default);
  write('node_modules/package/package.json', '{"name":"package","main":"main.js"}');
  write('node_modules/package/main.js', "module.exports = 'package';\n");
  await attempt('a written package', () => require(require.resolve('package', { paths: [HERE] })));
  fs.appendFileSync('/probe/lib/changed.js', "module.exports = 'changed';\n");
  await attempt('a changed module', () => require('/probe/lib/changed.js'));
  const data = write('data.json', '{"value":"data"}');
  await attempt('JSON', () => require(data).value);
  await attempt('eval of what was read', () => (0, eval)("'evaluated'"));
  await attempt('-e', () => child(['-e', "console.log('command')"]));
  await attempt('-p', () => child(['-p', "'command'"]));
  await attempt('standard input', () => child([], "console.log('input')\n"));
  await attempt('- as a script', () => child(['-'], "console.log('input')\n"));
  await attempt('a written script', () => child([written]));
  await attempt('-r', () => child(['-r', written, '/probe/nothing.js']));
})();
