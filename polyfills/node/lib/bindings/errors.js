'use strict';
// internalBinding('errors'): src/node_errors.cc.
let beforeInspector, afterInspector;

exports.exitCodes = {
  kNoFailure: 0, kGenericUserError: 1, kInternalJSParseError: 3, kInternalJSEvaluationFailure: 4, kV8FatalError: 5,
  kInvalidFatalExceptionMonkeyPatching: 6, kExceptionInFatalExceptionHandler: 7, kUnsettledTopLevelAwait: 13,
  kInvalidCommandLineArgument: 9, kBootstrapFailure: 10, kInvalidCommandLineArgument2: 12, kStartupSnapshotFailure: 14, kAbort: 134,
};
// The engine formats stack traces in V8's shape itself, and calls the user's Error.prepareStackTrace.
exports.setPrepareStackTraceCallback = () => {
  native.setNodeErrorKey(load('bindings/builtins').loaders.require('internal/errors').kIsNodeError);
};
exports.setGetSourceMapErrorSource = () => {};
exports.setSourceMapsEnabled = () => {};
exports.setMaybeCacheGeneratedSourceMap = () => {};
exports.setEnhanceStackForFatalException = (before, after) => { beforeInspector = before; afterInspector = after; };
exports.noSideEffectsToString = (value) => {
  if (typeof value === 'symbol') return value.toString();
  if (typeof value === 'object' && value !== null) {
    if (native.types.isNativeError(value)) return Error.prototype.toString.call(value);
    return `#<${load('bindings/util').getConstructorName(value) ?? 'Object'}>`;
  }
  return `${value}`;
};

const isErrorLike = (value) => typeof value === 'object' && value !== null && native.types.isNativeError(value);

// The line of source an error came from, with a caret, as Node prints it above the stack.
const promiseLine = 'node:internal/process/promises:288\n            triggerUncaughtException(err, true /* fromPromise */);\n            ^\n\n';
function sourceLine(error, fromPromise) {
  const frames = typeof error.stack === 'string' ? error.stack.split('\n').filter((l) => l.startsWith('    at ')) : [];
  for (const frame of frames) {
    const match = /\(?((?:file:\/\/)?\/[^()]*?):(\d+):(\d+)\)?$/.exec(frame) ?? /\(?(\[[^\]]*\]|[^() ]*<anonymous>):(\d+):(\d+)\)?$/.exec(frame);
    if (match === null) {
      if (frame.includes('(node:')) return fromPromise ? promiseLine : '';
      continue;
    }
    const [, name, line, column] = match;
    const text = load('sources').lineOf(name, Number(line));
    if (text === undefined) return '';
    const indent = text.slice(0, Math.max(0, Number(column) - 1)).replace(/[^\t]/g, ' ');
    return `${name}:${line}\n${text}\n${indent}^\n\n`;
  }
  return '';
}

function report(error, fromPromise) {
  let text;
  const { require } = load('bindings/builtins').loaders;
  if (isErrorLike(error)) {
    const arrow = error[load('symbols').privateSymbols.arrow_message_private_symbol];
    const decorated = error[load('symbols').privateSymbols.decorated_private_symbol];
    try {
      text = afterInspector === undefined ? `${error.stack}` : `${afterInspector(error)}`;
    } catch { text = `${error.stack}`; }
    if (typeof error.stack !== 'string') text = `Uncaught:\n${text}`;
    if (!decorated) text = (typeof arrow === 'string' ? `${arrow}\n` : sourceLine(error, fromPromise)) + text;
  } else {
    let shown;
    try { shown = require('internal/util/inspect').inspect(error); } catch { shown = exports.noSideEffectsToString(error); }
    text = `Uncaught:\n${shown}`;
  }
  native.writeText(2, `${text}\n\nNode.js ${process.version}\n`);
}

// An exception that nobody caught: the process's handlers, or its end.
exports.triggerUncaughtException = (error, fromPromise) => {
  const handler = process._fatalException;
  if (typeof handler !== 'function') {
    report(error, fromPromise);
    native.exit(6);
  }
  let handled;
  try {
    handled = Reflect.apply(handler, process, [error, fromPromise]);
  } catch (inner) {
    report(inner, false);
    native.exit(7);
  }
  if (handled !== false) return;
  report(error, fromPromise);
  const code = process.exitCode;
  native.exit(code === undefined || code === null ? 1 : Number(code) & 255);
};
