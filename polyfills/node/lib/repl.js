'use strict';
// The interactive prompt: Node's line editor and printer, one expression or statement at a time. Without contexts and without
// completion of names.
exports.start = (require) => {
  const { createInterface } = require('readline');
  const { inspect } = require('util');
  const { Module } = require('internal/modules/cjs/loader');
  const { addBuiltinLibsToObject } = require('internal/modules/helpers');
  addBuiltinLibsToObject(globalThis, '<REPL>');
  const module = new Module('<repl>');
  module.paths = Module._nodeModulePaths(process.cwd());
  module.filename = null;
  globalThis.module = module;
  globalThis.require = require('internal/modules/helpers').makeRequireFunction(module);
  globalThis.exports = module.exports;

  const terminal = process.stdout.isTTY === true && process.stdin.isTTY === true;
  const rl = createInterface({ input: process.stdin, output: process.stdout, terminal, prompt: '> ' });
  process.stdout.write(`Welcome to Node.js ${process.version}.\nType ".help" for more information.\n`);
  let buffered = '';
  let interrupted = false;
  const prompt = () => { rl.setPrompt(buffered === '' ? '> ' : '... '); rl.prompt(); };

  // On a terminal in its usual mode Ctrl-C is a signal, which ends what runs.
  const { ERR_SCRIPT_EXECUTION_INTERRUPTED } = require('internal/errors').codes;
  const cooked = (action) => {
    if (!terminal) return action();
    process.stdin.setRawMode(false);
    try { return action(); } finally { process.stdin.setRawMode(true); }
  };
  const run = (source) => cooked(() => {
    const done = native.runInterruptible(native.compileScript(source, 'REPL1', 1));
    if (done === null) throw new ERR_SCRIPT_EXECUTION_INTERRUPTED();
    return done[0];
  });
  // What a promise becomes, or that it was interrupted.
  const settled = (promise) => {
    if (!terminal) return promise;
    process.stdin.setRawMode(false);
    let stop;
    const signal = new Promise((resolve, reject) => {
      stop = () => reject(new ERR_SCRIPT_EXECUTION_INTERRUPTED());
      process.once('SIGINT', stop);
    });
    return Promise.race([promise, signal]).finally(() => {
      process.off('SIGINT', stop);
      process.stdin.setRawMode(true);
    });
  };

  const incomplete = (error) => error instanceof SyntaxError &&
    /Unexpected end of input|unterminated|unexpected end|Unexpected token ''/i.test(error.message);
  const evaluate = (source) => {
    // An object literal first, as a block it would have no value.
    if (/^\s*\{/.test(source) && !/;\s*$/.test(source)) {
      try { return run(`(${source.trim()})\n`); } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
    }
    // let, const and class of one line are there in the next: the engine keeps them in the global scope.
    return run(source);
  };
  const show = (value) => {
    if (value !== undefined) globalThis._ = value;
    process.stdout.write(`${inspect(value, { colors: terminal, showProxy: true })}\n`);
  };
  const fail = (error) => {
    globalThis._error = error;
    const text = native.types.isNativeError(error) ? `${error.stack}`.split('\n').filter((l) => !/\(?node:internal|^    at (?:eval|<eval>) \(?REPL/.test(l)).join('\n') : inspect(error);
    process.stdout.write(`Uncaught ${text.includes('\n') && native.types.isNativeError(error) ? text.split('\n')[0] : text}\n`);
  };
  const commands = {
    '.exit': () => rl.close(),
    '.help': () => process.stdout.write('.exit    Exit the REPL\n.help    Print this help message\n'),
    '.clear': () => { buffered = ''; },
  };
  rl.on('line', (line) => {
    interrupted = false;
    if (buffered === '' && commands[line.trim()] !== undefined) {
      commands[line.trim()]();
      if (!rl.closed) prompt();
      return;
    }
    const source = `${buffered}${line}\n`;
    buffered = '';
    if (source.trim() !== '') {
      try {
        const awaits = /\bawait\b/.test(source);
        const value = awaits ? run(`(async () => { return (${source.trim().replace(/;$/, '')}) })()`) : evaluate(source);
        if (awaits) {
          rl.pause();
          settled(value).then(show, fail).finally(() => { rl.resume(); prompt(); });
          return;
        }
        show(value);
      } catch (error) {
        if (incomplete(error)) buffered = source;
        else fail(error);
      }
    }
    prompt();
  });
  rl.on('SIGINT', () => {
    if (interrupted && buffered === '') { rl.close(); return; }
    interrupted = buffered === '' && rl.line === '';
    buffered = '';
    process.stdout.write(interrupted ? '\n(To exit, press Ctrl+C again or Ctrl+D or type .exit)\n' : '\n');
    rl.line = '';
    rl.cursor = 0;
    prompt();
  });
  rl.on('close', () => { if (terminal) process.stdout.write('\n'); process.exit(); });
  process.on('uncaughtException', (error) => { fail(error); prompt(); });
  prompt();
};
