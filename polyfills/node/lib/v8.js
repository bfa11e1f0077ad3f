'use strict';
// What V8 has and Node's library takes for granted, and QuickJS lacks or does otherwise. Runs before anything of Node's.

Error.stackTraceLimit = 10;

// Compiled to bytecode that is run from the snapshot; nothing to do when the function is there already.
if (typeof globalThis.WebAssembly !== 'undefined') delete globalThis.WebAssembly;

// QuickJS's own extras that Node 18 does not have and its programs probe for.
for (const name of ['navigator', 'gc', 'bjson', 'DOMException', 'performance', 'queueMicrotask', 'btoa', 'atob', 'Iterator'])
  delete globalThis[name];
