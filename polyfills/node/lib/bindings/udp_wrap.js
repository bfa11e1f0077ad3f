'use strict';
// internalBinding('udp_wrap'): src/udp_wrap.cc.
const { HandleWrap, nameInto } = load('bindings/stream_wrap');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const loop = load('loop');
exports.constants = { UV_UDP_IPV6ONLY: 1, UV_UDP_REUSEADDR: 4 };
exports.SendWrap = class SendWrap extends AsyncWrap { constructor() { super('UDPSENDWRAP'); } };
exports.UDP = class UDP extends HandleWrap {
  constructor() {
    super('UDPWRAP');
    Object.defineProperty(this, '_fd', { value: -1, writable: true, enumerable: false });
  }
  get fd() { return this._fd; }
  #open(family) {
    if (this._fd < 0) this._fd = native.socket(family, true);
    return this._fd < 0 ? this._fd : 0;
  }
  #bind(family, address, port, flags) { return this.#open(family) || native.bind(this._fd, family, address, port, (flags & 1) !== 0); }
  bind(address, port, flags) { return this.#bind(4, address, port, flags); }
  bind6(address, port, flags) { return this.#bind(6, address, port, flags); }
  connect(address, port) { return this.#open(4) || native.connect(this._fd, 4, address, port); }
  connect6(address, port) { return this.#open(6) || native.connect(this._fd, 6, address, port); }
  disconnect() { return -95; }
  open(fd) { this._fd = fd; native.setNonblocking(fd, true); return 0; }
  #send(req, list, count, port, address, family) {
    const error = this.#open(family ?? 4);
    if (error) return error;
    const length = list.reduce((n, b) => n + b.byteLength, 0);
    const bytes = new Uint8Array(length);
    let offset = 0;
    for (const b of list) { bytes.set(new Uint8Array(b.buffer, b.byteOffset, b.byteLength), offset); offset += b.byteLength; }
    const result = native.sendTo(this._fd, bytes, family, address ?? '', port ?? 0);
    loop.ref();
    loop.defer(() => { loop.unref(); makeCallback(req, req.oncomplete, result < 0 ? result : null, length); });
    return 0;
  }
  send(req, list, count, port, address) {
    return typeof port === 'number' ? this.#send(req, list, count, port, address, 4) : this.#send(req, list, count);
  }
  send6(req, list, count, port, address) {
    return typeof port === 'number' ? this.#send(req, list, count, port, address, 6) : this.#send(req, list, count);
  }
  recvStart() {
    const error = this.#open(4);
    if (error) return error;
    const chunk = new Uint8Array(65536);
    loop.watch(this._fd, 1, () => {
      for (let turn = 0; turn < 32 && this._fd >= 0; turn++) {
        const result = native.receiveFrom(this._fd, chunk);
        if (result === -11) return;
        if (typeof result === 'number') { makeCallback(this, this.onmessage, result, this, undefined, undefined); return; }
        const [count, [address, port, family]] = result;
        const { Buffer } = load('bindings/builtins').loaders.require('buffer');
        makeCallback(this, this.onmessage, count, this, Buffer.from(chunk.slice(0, count).buffer), { address, port, family, size: count });
      }
    });
    this.activate(true);
    return 0;
  }
  recvStop() { loop.watch(this._fd, 0); this.activate(false); return 0; }
  getsockname(out) { return nameInto(out, this._fd, false); }
  getpeername(out) { return nameInto(out, this._fd, true); }
  setBroadcast(on) { return native.socketOption(this._fd, 'broadcast', on ? 1 : 0); }
  setTTL(ttl) { return native.socketOption(this._fd, 'ttl', ttl); }
  setMulticastTTL() { return -95; }
  setMulticastLoopback() { return -95; }
  setMulticastInterface() { return -95; }
  addMembership() { return -95; }
  dropMembership() { return -95; }
  bufferSize(size, receive, ctx) { return size === 0 ? 212992 : (native.socketOption(this._fd, receive ? 'rcvbuf' : 'sndbuf', size), size); }
  getSendQueueSize() { return 0; }
  getSendQueueCount() { return 0; }
  release() {
    if (this._fd < 0) return;
    loop.watch(this._fd, 0);
    native.close(this._fd);
    this._fd = -1;
  }
};
