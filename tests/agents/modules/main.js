#!/usr/bin/env node
// What a program can see of how its modules were compiled: sources of functions, lines, meta data, values of all kinds.
'use strict';
const forms = require('./forms');
const loose = require('./loose.cjs');
require('./evals');

for (const [name, value] of Object.entries(forms)) console.log(name, typeof value === 'function' ? value.toString() : value);
console.log('loose', loose.self === globalThis, loose.args.length, loose.parent.toString());

// With an argument, columns as well: Debian's node has others.
const place = process.argv[2] === undefined ? /[^ (]+:\d+(?=:\d)/ : /at .*/;
const where = (error) => error.stack.split('\n').filter((line) => /^ +at (?!.*node:).*\/modules\//.test(line))
  .map((line) => place.exec(line)[0]);
try {
  forms.thrower();
} catch (error) {
  console.log(error.message, where(error));
}
for (const broken of ['./broken.js', './broken.mjs']) {
  const done = (error) => console.log(broken, error.name);
  if (broken.endsWith('.mjs')) {
    import(broken).catch(done);
  } else {
    try {
      require(broken);
    } catch (error) {
      done(error);
    }
  }
}
console.log(forms.tag() === forms.tag(), Object.isFrozen(forms.tag()), forms.tag().raw);

import('./esm/index.js').then(async (esm) => {
  console.log(Object.keys(esm), esm.url, esm.read.toString(), esm.data, esm.default.name, esm.loaded);
  esm.bump();
  console.log(esm.count, await esm.later(), where(esm.failed));
  console.log((await import('./bom.mjs')).default, require('./bom.js'));
});
