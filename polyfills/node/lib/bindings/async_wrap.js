'use strict';
// internalBinding('async_wrap'): ids of asynchronous operations and the stack of their execution. src/async_wrap.cc.
exports.constants = {
  kInit: 0, kBefore: 1, kAfter: 2, kDestroy: 3, kPromiseResolve: 4, kTotals: 5, kCheck: 6, kStackLength: 7,
  kUsesExecutionAsyncResource: 8, kExecutionAsyncId: 0, kTriggerAsyncId: 1, kAsyncIdCounter: 2, kDefaultTriggerAsyncId: 3,
};
const fields = exports.async_hook_fields = new Uint32Array(9);
const ids = exports.async_id_fields = new Float64Array(4);
const stack = exports.async_ids_stack = new Float64Array(32);
exports.execution_async_resources = [];
exports.Providers = load('data/providers').providers;
fields[6] = 1;
ids[2] = 1;
ids[3] = -1;

const deep = [];    // [execution id, trigger id] beyond what fits `stack`
exports.pushAsyncContext = (asyncId, triggerId) => {
  const offset = fields[7];
  deep[offset] = [ids[0], ids[1]];
  if (offset * 2 + 1 < stack.length) {
    stack[offset * 2] = ids[0];
    stack[offset * 2 + 1] = ids[1];
  }
  fields[7] = offset + 1;
  ids[0] = asyncId;
  ids[1] = triggerId;
};
exports.popAsyncContext = (asyncId) => {
  const length = fields[7];
  if (length === 0) return false;
  const offset = length - 1;
  const [execution, trigger] = offset * 2 + 1 < stack.length ? [stack[offset * 2], stack[offset * 2 + 1]] : deep[offset];
  ids[0] = execution;
  ids[1] = trigger;
  fields[7] = offset;
  exports.execution_async_resources.length = Math.min(exports.execution_async_resources.length, offset);
  return offset > 0;
};
exports.clearAsyncIdStack = () => {
  ids[0] = ids[1] = 0;
  fields[7] = 0;
  exports.execution_async_resources.length = 0;
};
exports.executionAsyncResource = (index) => exports.execution_async_resources[index];
exports.setupHooks = (hooks) => { exports.hooks = hooks; };
exports.setCallbackTrampoline = (fn) => { exports.trampoline = fn; };
exports.registerDestroyHook = () => {};
exports.queueDestroyAsyncId = (id) => {
  if (fields[3] > 0) load('loop').defer(() => load('loop').call(exports.hooks.destroy, undefined, id));
};
// Promise hooks by reactions: each registered handler, those of `await` included, is a resource of its own.
exports.setPromiseHooks = (init, before, after) => {
  if (init === undefined && before === undefined && after === undefined) {
    native.setReactionHooks(undefined, undefined, undefined);
    return;
  }
  const nothing = () => {};
  native.setReactionHooks(() => {
    const resource = {};
    init?.(resource, undefined);
    return resource;
  }, before ?? nothing, after ?? nothing);
};
exports.getPromiseHooks = () => [undefined, undefined, undefined, undefined];

// The base of every handle and request: an id, and calls into JavaScript in its context.
exports.AsyncWrap = class AsyncWrap {
  constructor(provider) {
    const id = ids[2] += 1;
    const trigger = ids[3] >= 0 ? ids[3] : ids[0];
    Object.defineProperty(this, '_id', { value: id, enumerable: false, configurable: true, writable: true });
    Object.defineProperty(this, '_trigger', { value: trigger, enumerable: false, configurable: true, writable: true });
    Object.defineProperty(this, '_provider', { value: provider, enumerable: false, configurable: true });
    if (fields[0] > 0) exports.hooks.init(id, provider, trigger, this);
  }
  getAsyncId() { return this._id; }
  getProviderType() { return exports.Providers[this._provider] ?? 0; }
  asyncReset() { this._id = ids[2] += 1; }
};

// MakeCallback: calls fn on `wrap` in its asynchronous context, then runs ticks and microtasks.
exports.makeCallback = (wrap, fn, ...args) => {
  const loop = load('loop');
  if (typeof fn !== 'function') return undefined;
  const nested = fields[7] > 0;
  exports.pushAsyncContext(wrap._id ?? 0, wrap._trigger ?? 0);
  exports.execution_async_resources[fields[7] - 1] = wrap;
  if (fields[1] > 0) exports.hooks.before(wrap._id);
  let result;
  try {
    result = Reflect.apply(fn, wrap, args);
    if (fields[2] > 0) exports.hooks.after(wrap._id);
  } catch (error) {
    loop.callbacks.onError(error, false);
    exports.clearAsyncIdStack();
    loop.settle();
    return undefined;
  }
  exports.popAsyncContext(wrap._id);
  if (!nested) loop.settle();
  return result;
};
