'use strict';
// Modules of programs that are loaded before the snapshot is taken, and hidden until a program requires them.
//
// MEGALITH_WARM (absolute paths, joined by colons) names them; what the programs in MEGALITH_SCRIPTS require is found by reading
// them. A named module and what it loads is a group. While it is loaded everything that it does beside making its exports is
// watched: what it asks the system goes through `native`, and what it changes of objects that all programs share is found by
// comparing them, taken back, and done again when the module is wanted. A group whose load had another effect, or asked for what
// every process must ask for itself, is refused: the program starts over without it. What a group looked at (files, variables of
// the environment) must be as it was when a process wants the group; otherwise its modules are loaded as if they had not been there.
const groups = [];            // in the order of loading
const modules = new Map();    // filename -> { module, group, closure }
const kept = [];              // caches of the module loaders that are emptied before the snapshot
const learnt = new Map();     // path of a package.json -> its mark, until it was compared
let current;                  // the group that is being loaded
let Module;                   // Node's

class Group {
  constructor(name) {
    this.name = name;
    this.refused = undefined;
    this.root = undefined;         // filename of the named module
    this.changes = [];             // of objects that all programs share
    this.shown = false;            // some of it is in require.cache, or was: no more of it comes from here
    this.marks = new Map();        // path -> what it named
    this.environment = new Map();  // variable -> value or undefined
  }
  refuse(reason) { this.refused ??= reason; }
}

// What `native` may be asked for freely: it depends on its arguments alone, or on descriptors that were opened under watch.
const HARMLESS = new Set(['asked', 'builtinIds', 'callerFile', 'canonicalIp', 'ipKind', 'classOf', 'close', 'compare', 'compareOffset',
  'compileBuiltin', 'compileScript', 'constructorName', 'copyBytes', 'decodeUTF8', 'defineAccessors', 'detach', 'encodeInto',
  'encodeUtf8String', 'enqueueMicrotask', 'errorText', 'evalScript', 'fillBytes', 'fileMark', 'indexOfBytes', 'isAscii', 'isDetached',
  'isSealed', 'isUtf8', 'nameFrame', 'normalizePath', 'ownNonIndexKeys', 'previewEntries', 'privateSymbol', 'promiseDetails', 'proxyDetails', 'read',
  'readText', 'runMicrotasks', 'runScript', 'setReactionHooks', 'swapBytes', 'timingSafeEqual', 'toUSVString', 'unchanged',
  'uninitialized', 'writeAll', 'zlibClose', 'zlibCrc32', 'zlibOpen', 'zlibParams', 'zlibReset', 'zlibStep']);
const HARMLESS_KINDS = /Slice$|Write$|^hash|^module|^byteLength|^bytes|^hkdf$|^pbkdf2$|^scrypt$/;
// Those that look at a path, which is their first argument.
const LOOKING = new Set(['access', 'fileKind', 'openCode', 'readdir', 'readlink', 'realpath', 'stat']);
// Modules that ask for the time while they are loaded, and for which any earlier time is as good as none: lodash counts the calls
// of a function within 16 ms of the last one.
const MAY_ASK_THE_TIME = ['/node_modules/lodash/lodash.js'];
const CLOCKS = new Set(['hrtime', 'hrtimeBigint', 'hrtimeBigInt', 'monotonic', 'now', 'wallClock']);

function looksAt(path, lists) {
  if (typeof path === 'string' && path.startsWith('/') && !path.includes('\0')) {
    if (lists) path += '/';
    if (!current.marks.has(path)) current.marks.set(path, native.fileMark(path));
  } else if (typeof path !== 'number') {
    current.refuse('looks at a relative path');
  }
}

// Puts a watch around every function of `native`; returns what takes it away again.
function watchSystem() {
  const originals = new Map();
  for (const name of Reflect.ownKeys(native)) {
    const original = native[name];
    if (typeof original !== 'function' || HARMLESS.has(name) || HARMLESS_KINDS.test(name)) continue;
    originals.set(name, original);
    native[name] =
      LOOKING.has(name) ? (path, ...rest) => { looksAt(path, name === 'readdir'); return original(path, ...rest); } :
      name === 'open' ? (path, flags, mode) => {
        if ((flags & 0o1103) !== 0) current.refuse('writes files');
        looksAt(path);
        return original(path, flags, mode);
      } :
      name === 'getenv' ? (variable) => {
        const value = original(variable);
        if (!current.environment.has(variable)) current.environment.set(variable, value);
        return value;
      } :
      name === 'exit' || name === 'abort' ? () => {
        current.refuse('ends the process');
        throw new Error('ends the process');
      } :
      CLOCKS.has(name) ? (...rest) => { current.refuse('asks for the time'); return original(...rest); } :
      (...rest) => { current.refuse(`calls the system (${name})`); return original(...rest); };
  }
  return () => { for (const [name, original] of originals) native[name] = original; };
}

// What `process` tells of the one process that runs now. The streams of a run are made in that run.
const ASKED = ['argv', 'argv0', 'execArgv', 'execPath', 'pid', 'ppid', 'title', 'cwd', 'stdin', 'stdout', 'stderr', 'exitCode'];

function watchProcess() {
  const { Writable } = load('bindings/builtins').loaders.require('stream');
  const sink = new Writable({ write(chunk, encoding, done) { done(); } });
  const originals = new Map();
  for (const name of ASKED) {
    const descriptor = Object.getOwnPropertyDescriptor(process, name);
    if (descriptor !== undefined && !descriptor.configurable) continue;
    originals.set(name, descriptor);
    let value = name.startsWith('std') ? sink : descriptor?.get !== undefined ? undefined : descriptor?.value;
    Object.defineProperty(process, name, {
      get() {
        // require('process') has Node copy all of it for those who import it, each time anew.
        if (native.callerFile(3) === 'node:internal/bootstrap/realm') return name === 'cwd' ? value : undefined;
        current?.refuse(`reads process.${name}`);
        return value ?? descriptor?.get?.call(process);
      },
      set(given) { current?.refuse(`sets process.${name}`); value = given; },
      configurable: true, enumerable: true,
    });
  }
  return () => {
    for (const [name, descriptor] of originals) {
      if (descriptor === undefined) delete process[name];
      else Object.defineProperty(process, name, descriptor);
    }
  };
}

// Objects that all programs share: what is reached from the global object, `process` and the builtin modules by properties.
function survey() {
  const { require } = load('bindings/builtins').loaders;
  const { BuiltinModule } = require('internal/bootstrap/realm');
  const found = new Map();    // object -> { name, prototype, properties }
  const left = new Set([process.env, Module._cache, Module._pathCache, process.moduleLoadList]);
  const todo = [['globalThis', globalThis], ['process', process]];
  for (const [id, builtin] of BuiltinModule.map)
    if (builtin.loaded && BuiltinModule.canBeRequiredByUsers(id)) todo.push([`require('${id}')`, builtin.exports]);
  for (let at = 0; at < todo.length;) {
    const [name, object] = todo[at++];
    if (found.has(object) || left.has(object) || native.proxyDetails(object) !== undefined) continue;
    const properties = ArrayBuffer.isView(object) ? new Map() : own(object);
    const prototype = Object.getPrototypeOf(object);
    found.set(object, { name, prototype, properties });
    const reach = (key, value) => {
      if ((typeof value === 'object' && value !== null) || typeof value === 'function') todo.push([`${name}.${String(key)}`, value]);
    };
    reach('__proto__', prototype);
    for (const [key, { value, get, set }] of properties) {
      reach(key, value);
      reach(key, get);
      reach(key, set);
    }
  }
  return found;
}

const own = (object) => new Map(Reflect.ownKeys(object).map((key) => [key, Object.getOwnPropertyDescriptor(object, key)]));
const same = (a, b) => a === undefined || b === undefined ? a === b :
  Object.is(a.value, b.value) && a.get === b.get && a.set === b.set &&
  a.enumerable === b.enumerable && a.configurable === b.configurable && a.writable === b.writable;

// What is another now in the surveyed objects: { object, key, before, after }, descriptors or undefined. Takes it back.
function takeBack(found, group) {
  const changes = [];
  for (const [object, { name, prototype, properties }] of found) {
    if (Object.getPrototypeOf(object) !== prototype) group.refuse(`changes ${name}.__proto__`);
    if (ArrayBuffer.isView(object)) continue;
    const now = own(object);
    for (const key of new Set([...properties.keys(), ...now.keys()])) {
      const before = properties.get(key), after = now.get(key);
      if (same(before, after)) continue;
      const change = { object, key, before, after };
      if (put(object, key, before)) changes.push(change);
      else group.refuse(`changes ${name}.${String(key)}`);
    }
  }
  return changes;
}

function put(object, key, descriptor) {
  return descriptor === undefined ? Reflect.deleteProperty(object, key) : Reflect.defineProperty(object, key, descriptor);
}

// ---- What programs require

// The modules that a program, and the files beside it that it requires, may load, by their text: literal arguments of `require`
// and `import`.
function requirements(script) {
  const { require } = load('bindings/builtins').loaders;
  const { parse } = require('internal/deps/acorn/acorn/dist/acorn');
  const { simple } = require('internal/deps/acorn/acorn-walk/dist/walk');
  const { dirname } = require('path');
  const names = new Set();
  const seen = new Set([script]);
  for (const file of seen) {
    if (seen.size > 1000) break;
    const found = new Set();
    try {
      const source = load('code').read(file);
      const options = { ecmaVersion: 'latest', allowHashBang: true, allowReturnOutsideFunction: true, allowAwaitOutsideFunction: true };
      let tree;
      try {
        tree = parse(source, { ...options, sourceType: 'script' });
      } catch {
        tree = parse(source, { ...options, sourceType: 'module' });
      }
      const literal = (node) => { if (node?.type === 'Literal' && typeof node.value === 'string') found.add(node.value); };
      simple(tree, {
        CallExpression({ callee, arguments: [first] }) { if (callee.type === 'Identifier' && callee.name === 'require') literal(first); },
        ImportExpression({ source }) { literal(source); },
        ImportDeclaration({ source }) { literal(source); },
        ExportNamedDeclaration({ source }) { literal(source); },
        ExportAllDeclaration({ source }) { literal(source); },
      });
    } catch (error) {
      if (error?.code !== 'ENOENT') native.writeText(2, `megalith: ${file}: ${error}\n`);
      continue;
    }
    const parent = new Module(file);
    parent.filename = file;
    parent.paths = Module._nodeModulePaths(dirname(file));
    for (const name of found) {
      let path;
      try {
        path = Module._resolveFilename(name, parent, false);
      } catch {
        continue;    // Nobody said that it is there.
      }
      if (!path.startsWith('/') || path.includes(':') || path.endsWith('.node')) continue;
      if (!path.includes('/node_modules/')) seen.add(path);
      else if (!path.endsWith('.mjs')) names.add(path);
    }
  }
  return names;
}

// ---- Before the snapshot

exports.load = (loader, list = '', scripts = '') => {
  Module = loader;
  native.unsetenv('MEGALITH_WARM');
  native.unsetenv('MEGALITH_SCRIPTS');
  const split = (text) => text.split(':').filter((path) => path !== '');
  const wanted = new Set(split(list));
  if (wanted.size === 0 && scripts === '') return;
  for (const script of split(scripts)) for (const path of requirements(script)) wanted.add(path);
  const loop = load('loop');
  const unwatchProcess = watchProcess();
  const shared = survey();
  const unwatchSystem = watchSystem();
  for (const name of wanted) {
    const group = current = new Group(name);
    const asked = native.asked();
    exports.forget();
    try {
      const before = new Set(Object.keys(Module._cache));
      const path = group.root = Module._resolveFilename(name, null, false);
      Module._load(path, null, false);
      loop.settle();
      if (!loop.idle()) group.refuse('leaves something to be done later');
      if (Module._cache[path] === undefined) group.refuse('takes itself out of require.cache');
      for (const filename of Object.keys(Module._cache))
        if (!before.has(filename)) modules.set(filename, { module: Module._cache[filename], group: groups.length });
    } catch (error) {
      group.refuse(`${error}`.split('\n')[0]);
    }
    const [random, clock] = native.asked();
    if (random !== asked[0]) group.refuse('asks for random numbers');
    if (clock !== asked[1] && !MAY_ASK_THE_TIME.some((end) => group.root?.endsWith(end))) group.refuse('asks for the time');
    group.changes = takeBack(shared, group);
    for (const other of closure(group.root).groups)
      if (other?.changes.length > 0) group.refuse(`needs what ${other.name} changes`);
    groups.push(group);
    // What comes behind would be judged by what this one left.
    if (group.refused !== undefined) break;
  }
  current = undefined;
  unwatchSystem();
  unwatchProcess();
  const refused = groups.at(-1)?.refused;
  if (refused !== undefined) {
    const { name } = groups.at(-1);
    native.writeText(2, `megalith: not warmed: ${name}: ${refused}\n`);
    wanted.delete(name);
    // Asks for nothing: the next start must not read the programs again, which would find what was refused.
    native.setenv('MEGALITH_WARM', wanted.size > 0 ? [...wanted].join(':') : ':');
    native.restart();
  }
  for (const { name } of groups) native.writeText(2, `megalith: warmed: ${name}\n`);
  for (const filename of Object.keys(Module._cache)) delete Module._cache[filename];
  for (const [filename, found] of modules) if (groups[found.group].root === filename) found.closure = closure(filename);
  for (const group of groups) {
    for (const [path, mark] of group.marks) if (path.endsWith('/package.json')) learnt.set(path, mark);
    fewer(group.marks);
    group.marks = joined(group.marks);
    group.environment = [...group.environment];
  }
};

// Makes them fewer: where much was looked for in a directory of a package, that its entries are the same tells of all that was
// not found there, and of the directories. A regular file keeps its own.
function fewer(marks) {
  const directories = new Map();    // path with a slash -> paths in it
  for (const path of marks.keys()) {
    const directory = path.slice(0, path.lastIndexOf('/', path.length - 2) + 1);
    if (!directory.includes('/node_modules/') || native.fileKind(path) === 0) continue;
    directories.set(directory, [...(directories.get(directory) ?? []), path]);
  }
  for (const [directory, paths] of directories) {
    if (paths.length < 2 || native.fileKind(directory) !== 1) continue;
    for (const path of paths) if (!path.endsWith('/')) marks.delete(path);
    marks.set(directory, native.fileMark(directory));
  }
}

// Whether looking at a path in the directory `tree` looks at nothing outside of it: no symbolic link leads out.
function staysIn(tree, path) {
  for (let at = path; at.length >= tree.length; at = at.slice(0, at.lastIndexOf('/'))) {
    const real = native.realpath(at);
    if (typeof real === 'string') return real === tree || real.startsWith(tree + '/');
    if (typeof native.readlink(at, false) === 'string') return false;
  }
  return false;
}

// All marks in a row. Those of paths in a directory `node_modules` stand together, behind one of the whole tree.
function joined(marks) {
  const trees = new Map([[undefined, []]]);
  for (const [path, mark] of marks) {
    const at = path.indexOf('/node_modules/');
    const inside = path.slice(0, at + '/node_modules'.length);
    const tree = at >= 0 && staysIn(inside, path) ? inside : undefined;
    if (!trees.has(tree)) trees.set(tree, []);
    trees.get(tree).push(mark);
  }
  const size = (list) => list.reduce((sum, mark) => sum + mark.byteLength, 0);
  const row = [];
  for (const [tree, list] of trees) {
    const whole = tree !== undefined ? native.treeMark(tree, size(list)) : undefined;
    row.push(...whole !== undefined ? [whole] : [], ...list);
  }
  const all = new Uint8Array(size(row));
  let at = 0;
  for (const mark of row) {
    all.set(new Uint8Array(mark), at);
    at += mark.byteLength;
  }
  return all;
}

// Caches of what the file system had: a run has its own.
exports.forgetAtSnapshot = (cache) => { kept.push(cache); };
exports.forget = () => {
  for (const cache of kept) cache.clear();
  for (const key of Object.keys(Module._pathCache)) delete Module._pathCache[key];
};

// ---- In a run

// A path without symbolic links; undefined where Node has to find out by itself: while modules are loaded to be kept, all of the way
// is looked at.
exports.realPath = (path) => {
  const found = current === undefined ? native.realpath(path, false) : undefined;
  return typeof found === 'string' ? found : undefined;
};

// Whether what was read of a package.json before the snapshot is still what it says.
exports.isFresh = (path) => {
  if (current !== undefined) {
    // What another group has read is read by this one, too.
    looksAt(path);
    return true;
  }
  const mark = learnt.get(path);
  if (mark === undefined) return true;
  learnt.delete(path);
  return native.unchanged(mark);
};

// Whether all that a group looked at is as it was.
function isUsable({ marks, environment }) {
  return native.unchanged(marks) && environment.every(([name, value]) => native.getenv(name) === value);
}

// Called before a module is looked for in require.cache: puts a hidden one there, with all that it loaded.
exports.adopt = (filename, parent) => {
  if (modules.size === 0) return;
  const found = modules.get(filename);
  if (found === undefined || current !== undefined) return;
  const { changes, root, shown } = groups[found.group];
  if (shown) return;
  const all = found.closure ??= closure(filename);
  // Where there is another module of a name already, these would not have loaded theirs; what a group changes, its own module does.
  const cache = Module._cache;
  const fits = (changes.length === 0 || root === filename) &&
    all.modules.every(({ module, group }) => cache[module.filename] === (groups[group].shown ? module : undefined)) &&
    all.groups.every(isUsable) && changes.every(({ object, key, before }) => same(before, Object.getOwnPropertyDescriptor(object, key)));
  if (!fits) {
    modules.delete(filename);
    return;
  }
  found.module.parent = parent ?? undefined;
  for (const group of all.groups) group.shown = true;
  for (const { module } of all.modules) cache[module.filename] = module;
  for (const { object, key, after } of changes) put(object, key, after);
};

// The hidden modules that one has loaded, itself first, and their groups.
function closure(filename) {
  const seen = new Set();
  const add = (name) => {
    const hidden = modules.get(name);
    if (hidden === undefined || seen.has(hidden)) return;
    seen.add(hidden);
    for (const child of hidden.module.children) add(child.filename);
  };
  add(filename);
  return { modules: [...seen], groups: [...new Set([...seen].map(({ group }) => groups[group]))] };
}
