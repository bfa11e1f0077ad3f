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
exports.setPromiseRejectCallback = (callback) => {
  native.setRejectionCallback((handled, promise, reason) => callback(handled ? 1 : 0, promise, handled ? undefined : reason));
};
