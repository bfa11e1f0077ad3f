'use strict';
// State that the nextTick queue shares with the loop, and the engine's microtasks.
exports.tickInfo = new Uint8Array(2);   // has tick scheduled, has rejection to warn
exports.runMicrotasks = () => {
  for (;;) {
    try {
      return native.runMicrotasks();
    } catch (error) {
      load('loop').callbacks.onError(error, false);
    }
  }
};
