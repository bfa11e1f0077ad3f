'use strict';
// Signals on the loop: one pipe takes the numbers, any number of callbacks listen.
const loop = load('loop');
const listeners = new Map();     // number -> Set of callbacks
const bytes = new Uint8Array(64);
let watching = false;

function deliver() {
  for (;;) {
    const count = native.read(native.signalPipe(), bytes, 0, bytes.length, -1);
    if (count <= 0) return;
    for (const number of new Set(bytes.slice(0, count)))
      for (const callback of [...listeners.get(number) ?? []]) callback(number);
    if (count < bytes.length) return;
  }
}

exports.watch = (number, callback) => {
  if (!watching) {
    watching = true;
    loop.watch(native.signalPipe(), 1, deliver);
  }
  let set = listeners.get(number);
  if (set === undefined) {
    listeners.set(number, set = new Set());
    const result = native.signalWatch(number, true);
    if (result < 0) {
      listeners.delete(number);
      return result;
    }
  }
  set.add(callback);
  return 0;
};
exports.unwatch = (number, callback) => {
  const set = listeners.get(number);
  if (set === undefined || !set.delete(callback) || set.size > 0) return;
  listeners.delete(number);
  native.signalWatch(number, false);
};
