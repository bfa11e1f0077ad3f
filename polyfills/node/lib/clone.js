'use strict';
// The structured clone algorithm (HTML standard, 2.7): a deep copy with cycles, of what can be copied.
const { types } = native;

const fail = (what) => {
  const { DOMException } = load('per_context').exports;
  return new DOMException(`${what} could not be cloned.`, 'DataCloneError');
};
const describe = (value) => (typeof value === 'function' || typeof value === 'symbol' ? String(value) :
  `#<${load('bindings/util').getConstructorName(value)}>`);

// clone(value, transfer list)
exports.clone = (value, transfer = []) => {
  const seen = new Map();
  const { messaging_clone_symbol: cloneSymbol, messaging_deserialize_symbol: deserializeSymbol } = load('symbols').symbols;
  const { privateSymbols: { untransferable_object_private_symbol: untransferable } } = load('symbols');

  for (const item of transfer) {
    if (types.isAnyArrayBuffer(item)) {
      if (native.isDetached(item)) throw fail('An ArrayBuffer is detached and');
    } else if (!(item instanceof load('bindings/messaging').MessagePort)) {
      const { DOMException } = load('per_context').exports;
      throw new DOMException('Found invalid object in transferList', 'DataCloneError');
    } else {
      seen.set(item, item);
    }
  }

  const properties = (from, to) => {
    for (const key of Object.keys(from)) to[key] = copy(from[key]);
    return to;
  };
  function copy(v) {
    if (typeof v === 'function' || typeof v === 'symbol') throw fail(describe(v));
    if (typeof v !== 'object' || v === null) return v;
    if (seen.has(v)) return seen.get(v);
    const keep = (result) => { seen.set(v, result); return result; };
    if (typeof v[cloneSymbol] === 'function') {
      const { data, deserializeInfo } = v[cloneSymbol]();
      const [module, name] = deserializeInfo.split(':');
      const Class = load('bindings/builtins').loaders.require(module)[name];
      const result = keep(new Class());
      result[deserializeSymbol](data);
      return result;
    }
    if (types.isAnyArrayBuffer(v)) {
      if (types.isSharedArrayBuffer(v)) return keep(v);
      if (native.isDetached(v)) throw fail('An ArrayBuffer is detached and');
      return keep(v.slice(0));
    }
    if (ArrayBuffer.isView(v)) {
      const buffer = copy(v.buffer);
      if (types.isDataView(v)) return keep(new DataView(buffer, v.byteOffset, v.byteLength));
      const name = Object.getPrototypeOf(Uint8Array.prototype)[Symbol.toStringTag] ?? Reflect.get(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag, v);
      return keep(new globalThis[name](buffer, v.byteOffset, v.length));
    }
    if (types.isDate(v)) return keep(new Date(Date.prototype.getTime.call(v)));
    if (types.isRegExp(v)) return keep(new RegExp(v.source, v.flags));
    if (types.isBoxedPrimitive(v)) {
      if (types.isSymbolObject(v)) throw fail('#<Symbol>');
      return keep(Object(v.valueOf()));
    }
    if (types.isMap(v)) {
      const result = keep(new Map());
      for (const [key, item] of [...Map.prototype.entries.call(v)]) result.set(copy(key), copy(item));
      return result;
    }
    if (types.isSet(v)) {
      const result = keep(new Set());
      for (const item of [...Set.prototype.values.call(v)]) result.add(copy(item));
      return result;
    }
    if (types.isNativeError(v)) {
      const kind = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }[v.name] ?? Error;
      const result = keep(Object.create(kind.prototype));
      const error = new kind(v.message);
      seen.set(v, error);
      if (!Object.hasOwn(v, 'message') && v.message === '') delete error.message;
      Object.defineProperty(error, 'stack', { value: v.stack, writable: true, configurable: true });
      if ('cause' in v) Object.defineProperty(error, 'cause', { value: copy(v.cause), writable: true, configurable: true });
      return error;
    }
    if (Array.isArray(v)) {
      const result = keep(new Array(v.length));
      return properties(v, result);
    }
    if (types.isProxy(v) || types.isPromise(v) || types.isWeakMap(v) || types.isWeakSet(v) || v instanceof WeakRef ||
        types.isGeneratorObject(v) || types.isMapIterator(v) || types.isSetIterator(v)) throw fail(describe(v));
    return properties(v, keep({}));
  }
  const result = copy(value);
  for (const item of transfer) if (types.isAnyArrayBuffer(item)) native.detach(item);
  return result;
};
