// Paths: every combination of a few components, and what has characters above U+00FF.
'use strict';
const path = require('path');
const { createHash } = require('crypto');

const parts = ['', '.', '..', '...', 'a', 'b.c', '.d', '..e', 'é'];
const functions = {
  normalize: path.normalize, resolve: (text) => path.resolve('/x/y', text), above: (text) => path.join('..', text),
  relative: (text) => path.relative('/a/b', path.resolve('/', text)), parse: (text) => JSON.stringify(path.parse(text)),
  windows: path.win32.normalize,
};
for (const [name, f] of Object.entries(functions)) {
  const hash = createHash('sha256');
  let count = 0;
  const every = (text, depth) => {
    for (const part of parts) {
      for (const start of depth === 0 ? ['', '/', '//'] : ['/']) {
        const next = text + start + part;
        hash.update(`${next} -> ${f(next)}\n`);
        count++;
        if (depth < 4) every(next, depth + 1);
      }
    }
  };
  every('', 0);
  console.log(name, count, hash.digest('hex'));
}
for (const text of ['', '/', '.', '/..', 'a/..', 'a/../..', '/ж/../б/./', '🥊/../..', 'a'.repeat(2000) + '/../' + 'é'.repeat(1100) + '/./x/'])
  console.log(path.normalize(text).slice(-20), path.resolve('/r', text).length, path.posix.join(text, '..', 'z').slice(-9));
for (const wrong of [undefined, 1, Symbol('s')]) {
  try {
    path.normalize(wrong);
  } catch (error) {
    console.log(error.code);
  }
}
