'use strict';
// The snapshot point and what follows it: command line, main script, loop, exit.

const loop = load('loop');
const options = load('bindings/options');

// What a start always needs is loaded before the snapshot.
const EARLY = ['fs', 'path', 'util', 'url', 'events', 'buffer', 'timers', 'stream', 'internal/console/global',
               'internal/modules/cjs/loader', 'internal/modules/run_main', 'internal/process/execution',
               'internal/process/pre_execution', 'internal/process/esm_loader', 'internal/fs/sync_write_stream', 'net', 'tty',
               'internal/util/inspect', 'internal/encoding', 'internal/url', 'assert', 'os', 'string_decoder', 'querystring',
               'child_process', 'crypto', 'zlib', 'http', 'https', 'readline', 'internal/abort_controller',
               'internal/modules/esm/assert', 'internal/modules/esm/module_map', 'internal/modules/esm/translators',
               'internal/source_map/source_map', 'module', 'internal/modules/esm/loader', 'internal/modules/esm/resolve'];

let require, internalBinding;
let evalGlobals;    // name, getter, setter, name, ...: the builtin modules as -e sees them

exports.start = (builtinRequire, binding) => {
  require = builtinRequire;
  internalBinding = binding;
  loop.callbacks.onError = load('bindings/errors').triggerUncaughtException;
  for (const id of EARLY) require(id);
  load('bindings/url').parse('http://localhost/?a#b');
  require('internal/process/pre_execution').prepareDefaults();
  const modules = native.getenv('MEGALITH_PRECOMPILE');
  if (modules !== undefined) {
    load('precompile').run(modules);
    native.exit(0);
  }
  const { Module } = require('internal/modules/cjs/loader');
  load('warm').load(Module, native.getenv('MEGALITH_WARM'), native.getenv('MEGALITH_SCRIPTS'));
  evalGlobals = builtinGlobals();
  publish();
  rehearse();
  load('warm').forget();
  native.gc();
  const resumed = native.snapshot();
  if (resumed) refresh();
  run();
};

// Runs an empty -e and loads an empty file, for what the library makes when it is first used, and leaves no trace of it.
function rehearse() {
  const { Module } = require('internal/modules/cjs/loader');
  const before = new Set(Reflect.ownKeys(globalThis));
  const contextify = load('bindings/contextify');
  contextify.rehearsing = true;
  try {
    native.defineAccessors(globalThis, evalGlobals);
    require('internal/process/execution').evalScript('[eval]', '0', false, false, false);
    Module._load('/dev/null', null, false);
  } catch {
    // Under the policy `sealed` that is refused: then the first run makes what it needs.
  }
  contextify.rehearsing = false;
  delete Module._cache['/dev/null'];
  for (const name of Reflect.ownKeys(globalThis)) if (!before.has(name)) delete globalThis[name];
  loop.settle();
}

// Makes the ES modules that stand for builtin ones, which Node does when a program first requires one.
function publish() {
  const { BuiltinModule } = require('internal/bootstrap/realm');
  for (const id of EARLY) if (BuiltinModule.canBeRequiredByUsers(id)) BuiltinModule.map.get(id).compileForPublicLoader();
}

// Has Node define the getters of the builtin modules and takes them away again: only -e has them.
function builtinGlobals() {
  const before = new Set(Reflect.ownKeys(globalThis));
  require('internal/modules/helpers').addBuiltinLibsToObject(globalThis, '<eval>');
  const list = [];
  for (const name of Reflect.ownKeys(globalThis)) {
    if (before.has(name)) continue;
    const { get, set } = Object.getOwnPropertyDescriptor(globalThis, name);
    list.push(name, get, set);
    delete globalThis[name];
  }
  return list;
}

// After a resume: nothing of the process that was snapshotted may show.
function refresh() {
  loop.refresh();
  load('bindings/process_methods').forgetDirectory();
  load('bindings/performance').refresh();
  load('bindings/process_methods').started = native.now();
}

const usage = 'Usage: node [options] [ script.js ] [arguments]\n       node [options] -e script [arguments]\n\n';

// The words of NODE_OPTIONS: double quotes keep spaces, and in them a backslash what follows.
function words(text) {
  const found = [];
  let word, quoted = false;
  for (let i = 0; i < text.length; i++) {
    let c = text[i];
    if (c === '"') {
      quoted = !quoted;
      word ??= '';
      continue;
    }
    if (c === ' ' && !quoted) {
      if (word !== undefined) found.push(word);
      word = undefined;
      continue;
    }
    if (c === '\\' && quoted) c = text[++i] ?? bad('invalid value for NODE_OPTIONS (invalid escape)');
    word = (word ?? '') + c;
  }
  if (quoted) bad('invalid value for NODE_OPTIONS (unterminated string)');
  if (word !== undefined) found.push(word);
  return found;
}

function takeEnvironment() {
  const text = native.getenv('NODE_OPTIONS');
  if (text === undefined || text === '') return;
  const list = words(text);
  const refuse = (word) => bad(`${word} is not allowed in NODE_OPTIONS`);
  for (const word of list) {
    if (!word.startsWith('-')) continue;
    const name = word.split('=')[0].replaceAll('_', '-');
    const known = options.defaults.get(SHORT[name] ?? options.aliases.get(name)?.[0] ?? name) ?? options.defaults.get(name.replace(/^--no-/, '--'));
    if (known?.envVarSettings !== options.envSettings.kAllowedInEnvvar) refuse(word.replace(/=.*/, '='));
  }
  // Node does not mind what is no option.
  parse([undefined, ...list]);
}

const SHORT = { '-e': '--eval', '-p': '--print', '-pe': '--print', '-i': '--interactive', '-c': '--check', '-r': '--require',
                '-v': '--version', '-h': '--help', '-C': '--conditions' };
// V8's that say how much memory or time it takes: there is nothing that they would be said to.
const OF_THE_ENGINE = /^--(?:no-)?(?:harmony|stack-size$|max-semi-space-size$|min-semi-space-size$|optimize-for-size$|single-threaded$|opt$|max-lazy$)/;

// Splits the command line as Node does: options up to the first argument that is none, then the script's own.
function parse(argv) {
  const values = options.values;
  const invocation = { execArgv: [], rest: [], mode: 'script' };
  let i = 1;
  for (; i < argv.length; i++) {
    let argument = argv[i];
    if (argument === '--') { i++; break; }
    if (argument === '-' || !argument.startsWith('-')) break;
    invocation.execArgv.push(argument);
    let value;
    const equals = argument.indexOf('=');
    if (argument.startsWith('--') && equals > 0) {
      value = argument.slice(equals + 1);
      argument = argument.slice(0, equals);
    }
    let name = SHORT[argument] ?? argument.replaceAll('_', '-');
    const take = () => {
      if (value !== undefined) return value;
      if (i + 1 >= argv.length) bad(`${argument} requires an argument`);
      invocation.execArgv.push(argv[i + 1]);
      return argv[++i];
    };
    switch (name) {
      case '--version': native.writeText(1, `${process.version}\n`); native.exit(0);
      case '--help': native.writeText(1, usage); native.exit(0);
      case '--eval': values.set('--eval', take()); invocation.mode = 'eval'; continue;
      case '--print':
        values.set('--print', true);
        if (value !== undefined || (i + 1 < argv.length && (argument === '-pe' || !argv[i + 1].startsWith('-')))) {
          values.set('--eval', take());
          invocation.mode = 'eval';
        }
        continue;
      case '--interactive': values.set('--interactive', true); invocation.interactive = true; continue;
      case '--expose-gc':
        Object.defineProperty(globalThis, 'gc', { value: () => native.gc(), writable: true, enumerable: false, configurable: true });
        continue;
      case '--check': values.set('--check', true); invocation.mode = 'check'; continue;
    }
    let known = options.defaults.get(name);
    const negated = known === undefined && name.startsWith('--no-') ? `--${name.slice(5)}` : undefined;
    if (negated !== undefined && (known = options.defaults.get(negated)) !== undefined) {
      values.set(negated, false);
      continue;
    }
    const alias = known === undefined ? options.aliases.get(name) : undefined;
    if (alias !== undefined) known = options.defaults.get(name = alias[0]);
    if (known === undefined && OF_THE_ENGINE.test(argument)) continue;
    if (known === undefined) bad(`bad option: ${argument}`);
    const { types } = options;
    if (known.type === types.kBoolean) values.set(name, true);
    else if (known.type === types.kStringList) values.set(name, [...(values.get(name) ?? []), take()]);
    else if (known.type === types.kString) values.set(name, take());
    else if (known.type === types.kInteger || known.type === types.kUInteger) values.set(name, Number(take()));
    else if (name === '--stack-trace-limit' && value !== undefined) Error.stackTraceLimit = Number(value);
  }
  invocation.rest = argv.slice(i);
  return invocation;
}

function bad(message) {
  native.writeText(2, `${native.arguments()[0]}: ${message}\n`);
  native.exit(9);
}

function run() {
  const argv = native.arguments();
  takeEnvironment();
  const invocation = parse(argv);
  load('process').refresh({ argv: [argv[0], ...invocation.rest], execPath: executable(argv[0]), execArgv: invocation.execArgv });
  if (options.values.has('--title')) process.title = options.values.get('--title');
  const { prepareMainThreadExecution, markBootstrapComplete } = require('internal/process/pre_execution');
  const script = invocation.rest[0];
  guard(() => {
    if (invocation.mode === 'eval') {
      load('code').checkOrigin(options.values.get('--print') ? '--print' : '--eval');
      prepareMainThreadExecution();
      evalString(options.values.get('--eval'), '[eval]');
    } else if (invocation.mode === 'check') {
      prepareMainThreadExecution(true);
      checkSyntax(script);
    } else if (script !== undefined && script !== '-') {
      prepareMainThreadExecution(true);
      markBootstrapComplete();
      require('internal/modules/cjs/loader').Module.runMain(process.argv[1]);
    } else if (invocation.interactive || (script === undefined && native.isatty(0))) {
      load('code').checkOrigin('the REPL');
      prepareMainThreadExecution();
      load('repl').start(require);
    } else {
      load('code').checkOrigin('stdin');
      prepareMainThreadExecution();
      const { readStdin } = require('internal/process/execution');
      readStdin((source) => {
        process._eval = source;
        evalString(source, '[stdin]');
      });
    }
  });
  finish();
}

const executable = (name) => {
  const path = native.readlink('/proc/self/exe', false);
  return typeof path === 'string' ? path : name;
};

// Runs what is the main program's own: its exceptions are the process's.
function guard(fn) {
  try {
    fn();
  } catch (error) {
    loop.callbacks.onError(error, false);
  }
  loop.settle();
}

function evalString(source, name) {
  const { evalModule, evalScript } = require('internal/process/execution');
  if (name === '[eval]') native.defineAccessors(globalThis, evalGlobals);
  const print = options.values.get('--print') ?? false;
  if (options.values.get('--input-type') === 'module') evalModule(source, print);
  else evalScript(name, source, false, print, false);
}

function checkSyntax(script) {
  const { Module } = require('internal/modules/cjs/loader');
  const wanted = require('path').resolve(script);
  const path = Module._findPath(wanted, null, true);
  if (path === false) {
    const error = new Error(`Cannot find module '${wanted}'`);
    error.code = 'MODULE_NOT_FOUND';
    throw error;
  }
  const source = load('code').read(path);
  if (path.endsWith('.mjs')) new (load('bindings/module_wrap').ModuleWrap)(`file://${path}`, undefined, source, 0, 0);
  else load('bindings/contextify').compileFunction(source, path, 0, 0, undefined, false, undefined, [], []);
}

// The loop, 'beforeExit' as long as it brings new work, 'exit', and the end.
function finish() {
  for (;;) {
    loop.run();
    guard(() => process.emit('beforeExit', exitCode()));
    if (!loop.alive()) break;
  }
  if (!process._exiting) {
    process._exiting = true;
    guard(() => process.emit('exit', exitCode()));
  }
  native.exit(exitCode() & 255);
}

const exitCode = () => Number(process.exitCode ?? 0);
