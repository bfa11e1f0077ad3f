'use strict';
// internalBinding('util'): src/node_util.cc.
const { privateSymbols } = load('symbols');

exports.constants = {
  kPending: 0, kFulfilled: 1, kRejected: 2, ALL_PROPERTIES: 0, ONLY_WRITABLE: 1, ONLY_ENUMERABLE: 2, ONLY_CONFIGURABLE: 4,
  SKIP_STRINGS: 8, SKIP_SYMBOLS: 16,
};
exports.privateSymbols = privateSymbols;
exports.shouldAbortOnUncaughtToggle = new Uint32Array(1);

exports.getOwnNonIndexProperties = (object, filter) => native.ownNonIndexKeys(object, filter);
exports.getPromiseDetails = (promise) => {
  const details = native.promiseDetails(promise);
  return details !== undefined && details[0] === 0 ? [0] : details;
};
exports.getProxyDetails = (value, both = true) => {
  const details = native.proxyDetails(value);
  return details === undefined || both ? details : details[0];
};
exports.previewEntries = (object, isIterator) => {
  const entries = native.previewEntries(object);
  return entries === undefined || isIterator ? entries : entries[0];
};
exports.getConstructorName = (object) => {
  for (let o = object; o !== null; o = Object.getPrototypeOf(o)) {
    const descriptor = Object.getOwnPropertyDescriptor(o, 'constructor');
    if (descriptor !== undefined && typeof descriptor.value === 'function' && descriptor.value.name !== '')
      return descriptor.value.name;
  }
  return native.constructorName(object);
};
exports.getExternalValue = () => 0n;
exports.getCallerLocation = () => undefined;
exports.sleep = (milliseconds) => native.sleep(milliseconds);
exports.isArrayBufferDetached = native.isDetached;
exports.isConstructor = (value) => {
  try { Reflect.construct(Object, [], value); return true; } catch { return false; }
};
exports.guessHandleType = (fd) => native.handleKind(fd);
exports.toUSVString = (string) => native.toUSVString(string);
exports.WeakReference = class WeakReference {
  #target; #strong; #count = 0;
  constructor(object) { this.#target = new WeakRef(object); }
  get() { return this.#target.deref(); }
  incRef() { if (++this.#count === 1) this.#strong = this.#target.deref(); }
  decRef() { if (--this.#count === 0) this.#strong = undefined; }
};
