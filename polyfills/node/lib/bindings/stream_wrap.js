'use strict';
// internalBinding('stream_wrap'): the base of all handles that read and write bytes. src/stream_base.cc, src/stream_wrap.cc.
const loop = load('loop');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const { encode } = load('bindings/buffer');
const [EAGAIN, EOF, ENOTCONN, ECANCELED, EBADF] = [-11, -4095, -107, -125, -9];
const [READABLE, WRITABLE] = [1, 4];

Object.assign(exports, { kReadBytesOrError: 0, kArrayBufferOffset: 1, kBytesWritten: 2, kLastWriteWasAsync: 3 });
const state = exports.streamBaseState = new Int32Array(5);
exports.WriteWrap = class WriteWrap extends AsyncWrap { constructor() { super('WRITEWRAP'); } };
exports.ShutdownWrap = class ShutdownWrap extends AsyncWrap { constructor() { super('SHUTDOWNWRAP'); } };

// A handle: an open descriptor that keeps the loop alive while it is active and referenced.
exports.HandleWrap = class HandleWrap extends AsyncWrap {
  #referenced = true;
  #active = false;
  constructor(provider) {
    super(provider);
    Object.defineProperty(this, '_closed', { value: false, writable: true, enumerable: false });
  }
  ref() {
    if (!this.#referenced && this.#active) loop.ref();
    this.#referenced = true;
  }
  unref() {
    if (this.#referenced && this.#active) loop.unref();
    this.#referenced = false;
  }
  hasRef() { return this.#referenced && !this._closed; }
  // Whether the loop has something to wait for.
  activate(on) {
    if (on === this.#active) return;
    this.#active = on;
    if (this.#referenced) on ? loop.ref() : loop.unref();
  }
  close(callback) {
    if (this._closed) return;
    this._closed = true;
    this.release();
    this.activate(false);
    const { handle_onclose } = load('symbols').symbols;
    loop.onClose(() => {
      if (typeof callback === 'function') makeCallback(this, callback);
      else if (typeof this[handle_onclose] === 'function') makeCallback(this, this[handle_onclose]);
    });
  }
  release() {}
};

// Bytes read at once; a fresh buffer for every read that brings something.
const CHUNK = 65536;
let chunk = new Uint8Array(CHUNK);

exports.LibuvStreamWrap = class LibuvStreamWrap extends exports.HandleWrap {
  constructor(provider, fd = -1) {
    super(provider);
    const hidden = (name, value) => Object.defineProperty(this, name, { value, writable: true, enumerable: false });
    hidden('_fd', fd);
    hidden('_reading', false);
    hidden('_queue', []);         // { req, bytes, offset } not written yet
    hidden('_shutdown', undefined);
    hidden('_connect', undefined);
    hidden('_blocking', false);
    this.isStreamBase = true;
    this.bytesRead = 0;
    this.bytesWritten = 0;
  }
  get fd() { return this._fd; }
  getFD() { return this._fd; }
  get writeQueueSize() { return this._queue.reduce((n, { bytes, offset }) => n + bytes.length - offset, 0); }
  get _externalStream() { return undefined; }

  // Tells the loop what is waited for.
  update() {
    if (this._fd < 0) return;
    const writing = this._queue.length > 0 || this._connect !== undefined || this._shutdown !== undefined;
    const events = (this._reading ? READABLE : 0) | (writing ? WRITABLE : 0);
    loop.watch(this._fd, events, this.callback ??= (ready) => this.ready(ready));
    this.activate(events !== 0 || this.listening === true);
  }
  ready(events) {
    if (this._connect !== undefined) {
      this.finishConnect(native.socketError(this._fd));
      return;
    }
    if (events & (WRITABLE | 8 | 16) && (this._queue.length > 0 || this._shutdown !== undefined)) this.flush();
    if (events & (READABLE | 8 | 16) && this._reading && this._fd >= 0) this.receive();
  }
  finishConnect(status) {
    const req = this._connect;
    this._connect = undefined;
    this.update();
    makeCallback(req, req.oncomplete, status, this, req, true, true);
  }

  // ---- Reading
  readStart() {
    if (this._fd < 0) return EBADF;
    this._reading = true;
    this.update();
    return 0;
  }
  readStop() {
    this._reading = false;
    this.update();
    return 0;
  }
  useUserBuffer(buffer) { this.userBuffer = buffer; }
  receive() {
    // As libuv: some reads in a row, then others get their turn.
    for (let turn = 0; turn < 32 && this._reading; turn++) {
      const target = this.userBuffer ?? chunk;
      const count = native.read(this._fd, target, 0, target.length, -1);
      if (count === EAGAIN) return;
      if (count > 0) {
        this.bytesRead += count;
        state[0] = count;
        state[1] = 0;
        if (this.userBuffer !== undefined) {
          const next = makeCallback(this, this.onread, undefined);
          if (next !== undefined) this.userBuffer = next;
        } else {
          // A small read is copied, a large one takes the chunk away.
          let buffer;
          if (count * 4 < CHUNK) {
            buffer = chunk.slice(0, count).buffer;
          } else {
            buffer = chunk.buffer;
            chunk = new Uint8Array(CHUNK);
          }
          this.deliver(buffer, count);
        }
        if (count < target.length) return;
      } else {
        this.readStop();
        state[0] = count === 0 ? EOF : count;
        makeCallback(this, this.onread, undefined);
        return;
      }
    }
  }
  deliver(buffer, count) {
    if (this.consumer !== undefined) { this.consumer(new Uint8Array(buffer, 0, count)); return; }
    makeCallback(this, this.onread, buffer);
  }

  // ---- Writing
  send(req, list) {
    let total = 0;
    for (const bytes of list) total += bytes.length;
    state[2] = total;
    state[3] = 0;
    this.bytesWritten += total;
    if (this._fd < 0) return EBADF;
    const pending = [];
    for (const bytes of list) {
      let offset = 0;
      if (this._queue.length === 0 && pending.length === 0 && this._connect === undefined) {
        while (offset < bytes.length) {
          const count = this._blocking ? (native.writeAll(this._fd, bytes, offset) || bytes.length - offset) :
            native.write(this._fd, bytes, offset, bytes.length - offset, -1);
          if (count === EAGAIN) break;
          if (count === -4) continue;
          if (count < 0) return count;
          offset += count;
        }
      }
      if (offset < bytes.length) pending.push({ req: undefined, bytes, offset });
    }
    if (pending.length === 0) return 0;
    pending.at(-1).req = req;
    this._queue.push(...pending);
    state[3] = 1;
    this.update();
    return 0;
  }
  flush() {
    while (this._queue.length > 0) {
      const item = this._queue[0];
      const count = native.write(this._fd, item.bytes, item.offset, item.bytes.length - item.offset, -1);
      if (count === EAGAIN) return;
      if (count < 0) {
        this.abandon(count);
        break;
      }
      item.offset += count;
      if (item.offset < item.bytes.length) continue;
      this._queue.shift();
      if (item.req !== undefined) makeCallback(item.req, item.req.oncomplete, 0, this, undefined);
      if (this._fd < 0) return;
    }
    if (this._queue.length === 0 && this._shutdown !== undefined) this.finishShutdown();
    this.update();
  }
  abandon(status) {
    const queue = this._queue;
    this._queue = [];
    for (const { req } of queue) if (req !== undefined) makeCallback(req, req.oncomplete, status, this, undefined);
  }
  writeBuffer(req, buffer) { return this.send(req, [buffer]); }
  writev(req, chunks, allBuffers) {
    const list = [];
    if (allBuffers) list.push(...chunks);
    else for (let i = 0; i < chunks.length; i += 2)
      list.push(typeof chunks[i] === 'string' ? encode(chunks[i], chunks[i + 1]) : chunks[i]);
    return this.send(req, list);
  }
  writeUtf8String(req, text) { return this.send(req, [encode(text, 'utf8')]); }
  writeAsciiString(req, text) { return this.send(req, [encode(text, 'latin1')]); }
  writeLatin1String(req, text) { return this.send(req, [encode(text, 'latin1')]); }
  writeUcs2String(req, text) { return this.send(req, [encode(text, 'ucs2')]); }
  shutdown(req) {
    if (this._fd < 0) return ENOTCONN;
    this._shutdown = req;
    if (this._queue.length === 0) {
      loop.ref();
      loop.defer(() => { loop.unref(); if (this._shutdown !== undefined) this.finishShutdown(); });
    } else {
      this.update();
    }
    return 0;
  }
  finishShutdown() {
    const req = this._shutdown;
    this._shutdown = undefined;
    const status = this._fd < 0 ? ECANCELED : native.shutdown(this._fd);
    this.update();
    makeCallback(req, req.oncomplete, status === ENOTCONN || status === -88 ? 0 : status);
  }
  setBlocking(on) {
    this._blocking = on;
    return 0;
  }
  // Attaches an open descriptor.
  attach(fd) {
    this._fd = fd;
    native.setNonblocking(fd, true);
  }
  release() {
    if (this._fd < 0) return;
    loop.watch(this._fd, 0);
    const fd = this._fd;
    this._fd = -1;
    this._reading = false;
    if (fd > 2) native.close(fd);
    const shutdown = this._shutdown, connect = this._connect;
    this._shutdown = this._connect = undefined;
    const queue = this._queue;
    this._queue = [];
    loop.onClose(() => {
      for (const { req } of queue) if (req !== undefined) makeCallback(req, req.oncomplete, ECANCELED, this, undefined);
      if (connect !== undefined) makeCallback(connect, connect.oncomplete, ECANCELED, this, connect, true, true);
      if (shutdown !== undefined) makeCallback(shutdown, shutdown.oncomplete, ECANCELED);
    });
  }
};

// The name of a socket, or of its peer, as properties of `out`. Returns 0 or a negative errno.
exports.nameInto = (out, fd, peer) => {
  const name = native.socketName(fd, peer);
  if (typeof name === 'number') return name;
  [out.address, out.port, out.family] = name;
  return 0;
};

// Servers: accept until there is nothing, each connection a new handle of the same kind.
exports.listen = (server, backlog, accepted) => {
  const result = native.listen(server._fd, backlog);
  if (result < 0) return result;
  server.listening = true;
  server.ready = () => {
    for (let turn = 0; turn < 64 && server._fd >= 0; turn++) {
      const fd = native.accept(server._fd);
      if (fd === EAGAIN) return;
      if (fd < 0) { makeCallback(server, server.onconnection, fd, undefined); return; }
      makeCallback(server, server.onconnection, 0, accepted(fd));
    }
  };
  loop.watch(server._fd, READABLE, (events) => server.ready(events));
  server.activate(true);
  return 0;
};
