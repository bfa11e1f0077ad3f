'use strict';
// internalBinding('contextify'): scripts and functions from source. src/node_contextify.cc. There is one context only.
const { privateSymbols } = load('symbols');
const sources = load('sources');

const handles = new WeakMap();    // ContextifyScript -> compiled script
const mapOf = (code) => code.includes('sourceMappingURL') ? pragma.exec(code.slice(-1000))?.[1] : undefined;
// Node runs what -e says by way of a function that is always the same: the first to need it in a process that was resumed gets the one of the rehearsal.
const wrapper = '[eval]-wrapper', rehearsed = new Map();
exports.rehearsing = false;

const pragma = /\/\/[#@] ?sourceMappingURL=(\S+)\s*$/;

exports.ContextifyScript = class ContextifyScript {
  constructor(code, filename, lineOffset = 0, columnOffset, cachedData, produceCachedData, context, hostId) {
    sources.remember(filename, code);
    handles.set(this, native.compileScript(code, filename, 1 + lineOffset));
    sources.setReferrer(filename, this, hostId);
    if (cachedData !== undefined) this.cachedDataRejected = true;
    this.sourceMapURL = mapOf(code);
  }
  runInContext(context) {
    if (context !== null && context !== undefined) return load('contexts').run(context, this);
    return native.runScript(handles.get(this));
  }
  createCachedData() { return load('bindings/buffer').createFromString('', 1); }
};

// The parameters of a CommonJS module, as its loader names them.
exports.parameters = ['exports', 'require', 'module', '__filename', '__dirname'];

// A function's source. The parameters stand on the line before the first, so that lines and columns are those of the file.
const wrap = exports.wrap = (code, params = []) => {
  const first = code.charCodeAt(0) === 35 && code.charCodeAt(1) === 33 ? `//${code}` : code;
  return `(function (${params.join()}) {\n${first}\n})`;
};

exports.compileFunction = (code, filename, lineOffset = 0, columnOffset, cachedData, produceCachedData, context,
                           contextExtensions, params, hostId) => {
  sources.remember(filename, code);
  const whole = wrap(code, params);
  let fn = filename === wrapper ? rehearsed.get(whole) : undefined;
  if (fn !== undefined && !exports.rehearsing) {
    rehearsed.clear();
  } else {
    fn = native.evalScript(whole, filename, lineOffset);
    native.nameFrame(fn, 'Object.<anonymous>');
    if (exports.rehearsing && filename === wrapper) rehearsed.set(whole, fn);
  }
  sources.setReferrer(filename, fn, hostId);
  return { function: fn, sourceMapURL: mapOf(code), cachedDataRejected: undefined };
};

exports.makeContext = (object, name, origin, strings, wasm, queue) => load('contexts').make(object);
exports.isContext = (object) => load('contexts').is(object);
exports.MicrotaskQueue = class MicrotaskQueue {};
exports.startSigintWatchdog = exports.stopSigintWatchdog = exports.watchdogHasPendingSigint = () => false;
exports.measureMemory = () => Promise.reject(new Error('not available'));
exports.constants = { measureMemory: { mode: { SUMMARY: 0, DETAILED: 1 }, execution: { DEFAULT: 0, EAGER: 1 } } };
