'use strict';
// The start of the program: builds what Node's own bootstrap expects, runs it, takes the snapshot, and runs the main script.
//
// Called by main.c as a function of (native, globalThis). Everything up to native.snapshot() happens once, at build.

const modules = new Map();

// The polyfill's own modules (internal/megalith/...): loaded by name, once.
function load(name) {
  let exports = modules.get(name);
  if (exports === undefined) {
    const wrapper = native.compileBuiltin(`internal/megalith/${name}`);
    if (wrapper === undefined) throw new Error(`No such module: ${name}`);
    exports = {};
    modules.set(name, exports);
    wrapper(exports, native, load, primordials, process);
  }
  return exports;
}

const ids = new Set(native.builtinIds());
function builtin(id) {
  const wrapper = native.compileBuiltin(id);
  if (wrapper === undefined) throw new Error(`No such builtin module: ${id}`);
  return wrapper;
}

// Process is an instance of a class `process`, so that its prototype can get EventEmitter's methods.
const process = (() => {
  const holder = { process: function process() {} };
  return new holder.process();
})();
const primordials = {};

load('v8');
const symbols = load('symbols');
{
  const run = (id) => builtin(id)({}, primordials, symbols.privateSymbols, symbols.symbols);
  run('internal/per_context/primordials');
  const exports = load('per_context').exports;
  for (const id of ['internal/per_context/domexception', 'internal/per_context/messageport'])
    builtin(id)(exports, primordials, symbols.privateSymbols, symbols.symbols);
}

load('process').setup();

function getInternalBinding(name) {
  if (!ids.has(`internal/megalith/bindings/${name}`)) throw new Error(`No such binding: ${name}`);
  return load(`bindings/${name}`);
}
function getLinkedBinding(name) {
  throw new Error(`No such module was linked: ${name}`);
}
builtin('internal/bootstrap/realm')(process, getLinkedBinding, getInternalBinding, primordials);
const { internalBinding, require } = load('bindings/builtins').loaders;
for (const id of ['internal/bootstrap/node', 'internal/bootstrap/browser', 'internal/bootstrap/switches/is_main_thread',
                  'internal/bootstrap/switches/does_own_process_state'])
  builtin(id)(process, require, internalBinding, primordials);

load('main').start(require, internalBinding);
