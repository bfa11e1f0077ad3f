'use strict';
// The npm packages inside the program (package.json beside the recipe): loaded by path, lazily, by a require of their own.
const cache = new Map();
const ids = new Set(native.builtinIds().filter((id) => id.startsWith('npm/')).map((id) => id.slice(4)));
const mains = { 'whatwg-url': 'whatwg-url/index', 'tr46': 'tr46/index', 'punycode/': 'punycode/punycode', 'punycode': 'punycode/punycode',
                'webidl-conversions': 'webidl-conversions/lib/index', 'http-parser-js': 'http-parser-js/http-parser',
                '@fastify/busboy': '@fastify/busboy/lib/main' };
// Replacements for single modules of a package, and for Node's own when a package asks.
exports.replace = new Map([
  ['worker_threads', () => load('bindings/builtins').loaders.require('internal/worker/io')],
]);

function resolve(from, request) {
  if (mains[request] !== undefined) return mains[request];
  if (!request.startsWith('.')) return request;
  const parts = from.split('/').slice(0, -1);
  for (const part of request.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.' && part !== '') parts.push(part);
  }
  return parts.join('/');
}

// The tables of tr46 are large and most programs never see a domain name beyond ASCII.
exports.replace.set('tr46/index', () => ({
  toASCII: (...args) => exports.require('tr46/index', '', true).toASCII(...args),
  toUnicode: (...args) => exports.require('tr46/index', '', true).toUnicode(...args),
}));

exports.require = (request, from = '', original = false) => {
  const path = resolve(from, request);
  for (const id of [path, path.replace(/\.js(on)?$/, ''), `${path}/index`]) {
    if (!original && exports.replace.has(id)) return exports.replace.get(id)();
    const known = cache.get(id);
    if (known !== undefined) return known.exports;
    if (!ids.has(id)) continue;
    const module = { exports: {} };
    cache.set(id, module);
    native.compileBuiltin(`npm/${id}`)(module.exports, (r) => exports.require(r, id), module, process);
    return module.exports;
  }
  return load('bindings/builtins').loaders.require(request.replace(/^node:/, ''));
};
