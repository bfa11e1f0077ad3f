'use strict';
// Modules loaded before the snapshot (MEGALITH_WARM, absolute paths joined by colons). They are kept out of require.cache until
// somebody requires them, and then appear in it together with the modules they loaded themselves.
const warmed = new Map();     // filename -> Module

exports.load = (Module, list) => {
  if (list === undefined || list === '') return;
  native.unsetenv('MEGALITH_WARM');
  // What a start does before it loads anything; it does it again.
  const { require } = load('bindings/builtins').loaders;
  require('internal/util/debuglog').initializeDebugEnv('');
  require('internal/modules/cjs/loader').initializeCJS();
  require('internal/modules/esm/utils').initializeESM();
  // What a module prints while it is warmed goes nowhere; the streams of a run are made in that run.
  const { Writable } = require('stream');
  const sink = new Writable({ write(chunk, encoding, done) { done(); } });
  const kept = {};
  for (const name of ['stdout', 'stderr']) {
    kept[name] = Object.getOwnPropertyDescriptor(process, name);
    Object.defineProperty(process, name, { value: sink, configurable: true, enumerable: true });
  }
  require('internal/console/constructor').initializeGlobalConsole(require('internal/console/global'));
  for (const path of list.split(':')) if (path !== '') Module._load(path, null, false);
  load('loop').settle();
  Object.defineProperties(process, kept);
  for (const filename of Object.keys(Module._cache)) {
    warmed.set(filename, Module._cache[filename]);
    delete Module._cache[filename];
  }
  Module._pathCache = { __proto__: null };
};

// Puts a warmed module into the cache unless something of that name is there.
exports.adopt = (filename, cache) => {
  const module = warmed.get(filename);
  if (module === undefined) return;
  warmed.delete(filename);
  if (cache[filename] !== undefined) return;
  cache[filename] = module;
  for (const child of module.children) exports.adopt(child.filename, cache);
};
