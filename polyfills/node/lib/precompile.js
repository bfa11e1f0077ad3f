'use strict';
// Makes the bytecode of an image's modules, when it is sealed: nothing is run, every file becomes what the loaders would have made of it.
//
// The directory has the files, by their paths, in `files`, with the package.json that say which are ES modules. The archive (its
// layout: src/bytecode.c) becomes `archive` in it. What does not compile is left out: its error is for whoever loads it.
exports.run = (directory) => {
  const { require } = load('bindings/builtins').loaders;
  const { readPackageScope } = require('internal/modules/package_json_reader');
  const { pathToFileURL } = require('internal/url');
  const { readdirSync, writeFileSync } = require('fs');
  const { parameters, wrap } = load('bindings/contextify');
  const base = `${directory}/files`;
  const isModule = (path) => path.endsWith('.mjs') ||
    path.endsWith('.js') && readPackageScope(base + path)?.data.type === 'module';
  const compile = (path) => {
    const source = load('code').read(base + path);
    return isModule(path) ? native.precompile(source, pathToFileURL(path).href, 1, true) :
      native.precompile(wrap(source, parameters), path, 0, false);
  };

  const made = [];
  const walk = (path) => {
    for (const entry of readdirSync(base + path, { withFileTypes: true })) {
      const inner = `${path}/${entry.name}`;
      if (entry.isDirectory()) walk(inner);
      if (!entry.isFile() || entry.name === 'package.json') continue;
      let pair;
      try {
        pair = compile(inner);
      } catch {
        continue;
      }
      if (pair !== undefined) made.push({ key: Buffer.from(pair[0]), code: Buffer.from(pair[1]) });
    }
  };
  walk('');

  made.sort((a, b) => a.key.compare(b.key));
  const ends = new Uint32Array(256);
  for (const { key } of made) for (let i = key[0]; i < 256; i++) ends[i]++;
  const header = Buffer.from(native.archiveHeader(ends));
  const index = Buffer.alloc(made.length * 48);
  let offset = BigInt(header.length + index.length);
  made.forEach(({ key, code }, i) => {
    key.copy(index, i * 48);
    index.writeBigUInt64LE(offset, i * 48 + 32);
    index.writeBigUInt64LE(BigInt(code.length), i * 48 + 40);
    offset += BigInt(code.length);
  });
  writeFileSync(`${directory}/archive`, Buffer.concat([header, index, ...made.map(({ code }) => code)]));
  native.writeText(1, `${made.length}\n`);
};
