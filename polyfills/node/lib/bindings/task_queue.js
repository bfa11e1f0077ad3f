'use strict';
// internalBinding('task_queue'): src/node_task_queue.cc.
const ticks = load('ticks');
exports.tickInfo = ticks.tickInfo;
exports.runMicrotasks = ticks.runMicrotasks;
exports.enqueueMicrotask = native.enqueueMicrotask;
exports.setTickCallback = (fn) => { load('loop').callbacks.tick = fn; };
exports.promiseRejectEvents = {
  kPromiseRejectWithNoHandler: 0, kPromiseHandlerAddedAfterReject: 1, kPromiseResolveAfterResolved: 2,
  kPromiseRejectAfterResolved: 3,
};

// The npm package undici starts to compile its HTTP parser, a WebAssembly module, whenever it is loaded, and leaves the promise
// alone until a request needs it. Without WebAssembly that rejection would end every program that loads the package: it is no
// reason to. The promise stays rejected, so that a request says what is missing.
const isEagerParser = (reason) =>
  native.types.isNativeError(reason) && reason.message === 'WebAssembly is not defined' &&
  `${reason.stack}`.startsWith('ReferenceError: WebAssembly is not defined\n    at lazyllhttp ');

exports.setPromiseRejectCallback = (callback) => {
  native.setRejectionCallback((handled, promise, reason) => {
    if (!handled && isEagerParser(reason)) return;
    callback(handled ? 1 : 0, promise, handled ? undefined : reason);
  });
};
