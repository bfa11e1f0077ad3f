'use strict';
// internalBinding('pipe_wrap'): pipes and local sockets. src/pipe_wrap.cc.
const { LibuvStreamWrap, listen } = load('bindings/stream_wrap');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const loop = load('loop');

exports.constants = { SOCKET: 0, SERVER: 1, IPC: 2, UV_READABLE: 1, UV_WRITABLE: 2 };
exports.PipeConnectWrap = class PipeConnectWrap extends AsyncWrap { constructor() { super('PIPECONNECTWRAP'); } };

exports.Pipe = class Pipe extends LibuvStreamWrap {
  constructor(type) { super(type === 1 ? 'PIPESERVERWRAP' : 'PIPEWRAP'); }
  open(fd) {
    this.attach(fd);
    return 0;
  }
  bind(name) {
    this._fd = native.socket(0, false);
    if (this._fd < 0) return this._fd;
    const result = native.bind(this._fd, 0, name, 0, false);
    if (result === 0) this.path = name;
    return result;
  }
  listen(backlog) {
    return listen(this, backlog, (fd) => {
      const client = new exports.Pipe(0);
      client._fd = fd;
      return client;
    });
  }
  connect(req, name) {
    if (this._fd < 0) this._fd = native.socket(0, false);
    const result = this._fd < 0 ? this._fd : native.connect(this._fd, 0, name, 0);
    loop.ref();
    loop.defer(() => { loop.unref(); this.update(); makeCallback(req, req.oncomplete, result, this, req, true, true); });
    return 0;
  }
  fchmod() { return 0; }
  setPendingInstances() {}
  close(callback) {
    if (this.path !== undefined && !this._closed && !this.path.startsWith('\0')) native.unlink(this.path);
    super.close(callback);
  }
};
