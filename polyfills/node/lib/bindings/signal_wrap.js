'use strict';
// internalBinding('signal_wrap'): src/signal_wrap.cc.
const { HandleWrap } = load('bindings/stream_wrap');
const { makeCallback } = load('bindings/async_wrap');
const signals = load('signals');
exports.Signal = class Signal extends HandleWrap {
  #callback; #number;
  constructor() { super('SIGNALWRAP'); }
  start(number) {
    this.#number = number;
    this.#callback = (n) => makeCallback(this, this.onsignal, n);
    const result = signals.watch(number, this.#callback);
    if (result === 0) this.activate(true);
    return result;
  }
  stop() {
    if (this.#callback !== undefined) signals.unwatch(this.#number, this.#callback);
    this.activate(false);
    return 0;
  }
  release() { this.stop(); }
};
