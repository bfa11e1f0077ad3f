'use strict';
// internalBinding('messaging'): message ports within this thread. src/node_messaging.cc.
const loop = load('loop');
const { makeCallback } = load('bindings/async_wrap');
const { HandleWrap } = load('bindings/stream_wrap');
const context = load('per_context').exports;
const { oninit, no_message_symbol: none, handle_onclose: onclose } = load('symbols').symbols;
Object.defineProperty(exports, 'DOMException', { get: () => context.DOMException, enumerable: true });
exports.JSTransferable = class JSTransferable {};
exports.setDeserializerCreateObjectFunction = () => {};

let making = false;
const ports = new WeakMap();    // MessagePort -> state
class State extends HandleWrap {
  constructor(port) { super('MESSAGEPORT'); this.port = port; this.queue = []; this.peer = undefined; this.started = false; this.scheduled = false; this.closed = false; }
  schedule() {
    if (!this.started || this.scheduled || this.queue.length === 0) return;
    this.scheduled = true;
    loop.ref();
    loop.defer(() => {
      loop.unref();
      this.scheduled = false;
      for (let n = Math.max(this.queue.length, 1000); n > 0 && this.queue.length > 0 && this.started && !this.closed; n--)
        this.emit(this.queue.shift());
      this.schedule();
    });
  }
  emit({ data, ports: moved }) {
    makeCallback({ _id: this._id, _trigger: this._trigger }, () => Reflect.apply(context.emitMessage, this.port, [data, moved, 'message']));
  }
  end() {
    if (this.closed) return;
    this.closed = true;
    this.activate(false);
    const peer = this.peer;
    loop.onClose(() => { if (typeof this.port[onclose] === 'function') makeCallback(this, () => this.port[onclose]()); });
    if (peer !== undefined && !peer.closed) loop.defer(() => peer.end());
  }
}
exports.MessagePort = class MessagePort {
  constructor() {
    if (!making) {
      const { codes } = load('bindings/builtins').loaders.require('internal/errors');
      throw new codes.ERR_CONSTRUCT_CALL_INVALID();
    }
    ports.set(this, new State(this));
    if (typeof this[oninit] === 'function') this[oninit]();
  }
  postMessage(value, transfer) {
    if (arguments.length === 0) throw new TypeError('Not enough arguments to MessagePort.postMessage');
    const state = ports.get(this);
    const list = Array.isArray(transfer) ? transfer : transfer?.transfer ?? [];
    const data = load('clone').clone(value, list);
    const target = state.peer;
    if (target === undefined || target.closed) return undefined;
    target.queue.push({ data, ports: list.filter((item) => item instanceof exports.MessagePort) });
    target.schedule();
    return true;
  }
  start() { const state = ports.get(this); state.started = true; if (!state.closed) state.activate(true); state.schedule(); }
  close(callback) {
    if (typeof callback === 'function') this.once?.('close', callback);
    ports.get(this).end();
  }
  drain() { const state = ports.get(this); while (state.queue.length > 0) state.emit(state.queue.shift()); }
  ref() { ports.get(this).ref(); }
  unref() { ports.get(this).unref(); }
  hasRef() { return ports.get(this).hasRef(); }
};
exports.MessageChannel = class MessageChannel {
  constructor() {
    making = true;
    try {
      this.port1 = new exports.MessagePort();
      this.port2 = new exports.MessagePort();
    } finally { making = false; }
    ports.get(this.port1).peer = ports.get(this.port2);
    ports.get(this.port2).peer = ports.get(this.port1);
  }
};
exports.receiveMessageOnPort = (port) => {
  const item = ports.get(port)?.queue.shift();
  return item === undefined ? none : item.data;
};
exports.drainMessagePort = (port) => { if (ports.has(port)) port.drain?.(); };
exports.stopMessagePort = (port) => { const state = ports.get(port); if (state !== undefined) { state.started = false; state.activate(false); } };
exports.checkMessagePort = (port) => ports.has(port);
exports.moveMessagePortToContext = (port) => port;
const channels = new Map();
exports.broadcastChannel = (name) => {
  making = true;
  let port;
  try { port = new exports.MessagePort(); } finally { making = false; }
  if (!channels.has(name)) channels.set(name, new Set());
  const group = channels.get(name);
  const state = ports.get(port);
  group.add(state);
  port.postMessage = (value) => {
    const data = load('clone').clone(value);
    for (const other of group) if (other !== state && !other.closed) { other.queue.push({ data, ports: [] }); other.schedule(); }
    return true;
  };
  return port;
};
