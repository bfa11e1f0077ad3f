'use strict';
// Makes the bytecode of an image's modules, when it is sealed: nothing is run, every file becomes what the loaders would have made of it.
//
// The directory has the files, by their paths, in `files`, with the package.json that say which are ES modules. What is made of them
// (its layout: src/bytecode.c) lies in `made`, by its path. What does not compile is left out: its error is for whoever loads it.
exports.run = (directory) => {
  const { require } = load('bindings/builtins').loaders;
  const { readPackageScope } = require('internal/modules/package_json_reader');
  const { pathToFileURL } = require('internal/url');
  const { dirname } = require('path');
  const { mkdirSync, readdirSync, writeFileSync } = require('fs');
  const { parameters, wrap } = load('bindings/contextify');
  const base = `${directory}/files`;
  const isModule = (path) => path.endsWith('.mjs') ||
    path.endsWith('.js') && (readPackageScope(base + path) || undefined)?.data.type === 'module';
  const compile = (path) => {
    const source = load('code').read(base + path);
    const [text, name, line, kind] = isModule(path) ? [source, pathToFileURL(path).href, 1, true] :
      [wrap(source, parameters), path, 0, false];
    try {
      return native.precompile(text, name, line, kind);
    } catch (error) {
      // The others: too deep, or too large.
      if (error instanceof SyntaxError || error instanceof RangeError || error.name === 'InternalError') return undefined;
      throw error;
    }
  };

  // Modules of one directory: path of what they become -> [key, bytecode], ...
  const write = (places) => {
    for (const [place, modules] of places) {
      modules.sort(([a], [b]) => a.compare(b));
      const header = Buffer.from(native.bytecodeHeader(modules.length));
      const index = Buffer.alloc(modules.length * 48);
      let offset = BigInt(header.length + index.length);
      modules.forEach(([key, code], i) => {
        key.copy(index, i * 48);
        index.writeBigUInt64LE(offset, i * 48 + 32);
        index.writeBigUInt64LE(BigInt(code.length), i * 48 + 40);
        offset += BigInt(code.length);
      });
      const to = `${directory}/made${place}`;
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, Buffer.concat([header, index, ...modules.map(([, code]) => code)]));
    }
  };
  const walk = (path) => {
    const places = new Map();
    for (const entry of readdirSync(base + path, { withFileTypes: true })) {
      const inner = `${path}/${entry.name}`;
      if (entry.isDirectory()) walk(inner);
      if (!entry.isFile() || entry.name === 'package.json') continue;
      const made = compile(inner);
      if (made === undefined) continue;
      const [place, key, code] = made;
      if (!places.has(place)) places.set(place, []);
      places.get(place).push([Buffer.from(key), Buffer.from(code)]);
    }
    write(places);
  };
  walk('');
};
