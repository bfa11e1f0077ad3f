'use strict';
// internalBinding('tcp_wrap'): src/tcp_wrap.cc.
const { LibuvStreamWrap, listen, nameInto } = load('bindings/stream_wrap');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const [EINPROGRESS, EADDRINUSE] = [-115, -98];

exports.constants = { SOCKET: 0, SERVER: 1, UV_TCP_IPV6ONLY: 1 };
exports.TCPConnectWrap = class TCPConnectWrap extends AsyncWrap { constructor() { super('TCPCONNECTWRAP'); } };

exports.TCP = class TCP extends LibuvStreamWrap {
  constructor(type) { super(type === 1 ? 'TCPSERVERWRAP' : 'TCPWRAP'); }
  #open(family) {
    if (this._fd >= 0) return 0;
    const fd = native.socket(family, false);
    if (fd < 0) return fd;
    this._fd = fd;
    return 0;
  }
  open(fd) { this.attach(fd); return 0; }
  #bind(family, address, port, flags) {
    const error = this.#open(family);
    if (error < 0) return error;
    const result = native.bind(this._fd, family, address, port, (flags & 1) !== 0);
    // As libuv: an address in use is reported by listen.
    if (result === EADDRINUSE) { this.delayed = result; return 0; }
    return result;
  }
  bind(address, port) { return this.#bind(4, address, port, 0); }
  bind6(address, port, flags) { return this.#bind(6, address, port, flags); }
  listen(backlog) {
    if (this.delayed !== undefined) return this.delayed;
    return listen(this, backlog, (fd) => {
      const client = new exports.TCP(0);
      client._fd = fd;
      return client;
    });
  }
  #connect(req, family, address, port) {
    const error = this.#open(family);
    if (error < 0) return error;
    const result = native.connect(this._fd, family, address, port);
    if (result < 0 && result !== EINPROGRESS) {
      // A refusal comes later, as an event.
      if (result !== -111) return result;
      const loop = load('loop');
      loop.ref();
      loop.defer(() => { loop.unref(); makeCallback(req, req.oncomplete, result, this, req, true, true); });
      return 0;
    }
    this._connect = req;
    this.update();
    return 0;
  }
  connect(req, address, port) { return this.#connect(req, 4, address, port); }
  connect6(req, address, port) { return this.#connect(req, 6, address, port); }
  getsockname(out) { return nameInto(out, this._fd, false); }
  getpeername(out) { return nameInto(out, this._fd, true); }
  setNoDelay(on) { return native.socketOption(this._fd, 'nodelay', on ? 1 : 0); }
  setKeepAlive(on, delay) {
    const result = native.socketOption(this._fd, 'keepalive', on ? 1 : 0);
    if (result === 0 && on && delay > 0) native.socketOption(this._fd, 'keepidle', delay);
    return result;
  }
  setSimultaneousAccepts() { return 0; }
  reset(callback) { this.close(callback); return 0; }
};
