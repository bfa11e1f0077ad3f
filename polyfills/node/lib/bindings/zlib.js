'use strict';
// internalBinding('zlib'): src/node_zlib.cc. Work that Node gives to threads is done in the poll phase of the loop.
const loop = load('loop');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const names = { '-1': 'Z_ERRNO', '-2': 'Z_STREAM_ERROR', '-3': 'Z_DATA_ERROR', '-4': 'Z_MEM_ERROR', '-5': 'Z_BUF_ERROR',
                '-6': 'Z_VERSION_ERROR', '2': 'Z_NEED_DICT' };
exports.Zlib = class Zlib extends AsyncWrap {
  #mode; #stream; #state; #done; #open; #pending = false; #closing = false;
  constructor(mode) {
    super('ZLIB');
    this.#mode = mode;
  }
  init(windowBits, level, memLevel, strategy, state, done, dictionary) {
    this.#state = state;
    this.#done = done;
    const stream = native.zlibOpen(this.#mode, windowBits, level, memLevel, strategy, dictionary);
    if (Array.isArray(stream)) this.onerror(stream[0], stream[1], names[stream[1]]);
    else this.#stream = stream;
  }
  #step(flush, input, inOffset, inLength, out, outOffset, outLength) {
    if (this.#stream === undefined) return ['the stream is closed', -2];
    return native.zlibStep(this.#stream, flush, input ?? null, inOffset, inLength, out, outOffset, outLength, this.#state);
  }
  writeSync(...args) {
    const failure = this.#step(...args);
    if (failure !== undefined) this.onerror(failure[0], failure[1], names[failure[1]]);
  }
  write(...args) {
    this.#pending = true;
    loop.ref();
    loop.defer(() => {
      loop.unref();
      this.#pending = false;
      if (this.#closing) { this.#release(); return; }
      const failure = this.#step(...args);
      if (failure !== undefined) makeCallback(this, this.onerror, failure[0], failure[1], names[failure[1]]);
      else makeCallback(this, this.#done);
      if (this.#closing) this.#release();
    });
  }
  params(level, strategy) {
    const failure = native.zlibParams(this.#stream, level, strategy);
    if (failure !== undefined) this.onerror(failure[0], failure[1], names[failure[1]]);
  }
  reset() {
    const failure = native.zlibReset(this.#stream);
    if (failure !== undefined) this.onerror(failure[0], failure[1], names[failure[1]]);
  }
  #release() {
    if (this.#stream !== undefined) native.zlibClose(this.#stream);
    this.#stream = undefined;
  }
  close() {
    this.#closing = true;
    if (!this.#pending) this.#release();
  }
  getAvailInAndOut() {}
};
class Brotli extends AsyncWrap {
  init() {
    const error = new Error('Brotli is not available in this build of node');
    error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
    throw error;
  }
}
exports.BrotliEncoder = class BrotliEncoder extends Brotli {};
exports.BrotliDecoder = class BrotliDecoder extends Brotli {};
