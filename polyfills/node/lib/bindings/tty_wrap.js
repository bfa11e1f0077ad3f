'use strict';
// internalBinding('tty_wrap'): src/tty_wrap.cc.
const { LibuvStreamWrap } = load('bindings/stream_wrap');
exports.isTTY = (fd) => native.isatty(fd);
exports.TTY = class TTY extends LibuvStreamWrap {
  constructor(fd, context) {
    super('TTYWRAP');
    if (!native.isatty(fd)) { context.code = 'EINVAL'; context.errno = -22; context.message = 'invalid argument'; context.syscall = 'uv_tty_init'; return; }
    // The terminal is shared with others: its descriptor stays blocking, reads wait for poll to say that there is something.
    this._fd = fd;
    this._blocking = true;
  }
  receive() {
    const turns = native.bytesReadable(this._fd);
    if (turns < 0) { super.receive(); return; }
    const reading = this._reading;
    const count = Math.max(1, turns);
    const bytes = new Uint8Array(Math.min(65536, count));
    const got = native.read(this._fd, bytes, 0, bytes.length, -1);
    const { streamBaseState: state } = load('bindings/stream_wrap');
    const { makeCallback } = load('bindings/async_wrap');
    if (got > 0 && reading) {
      state[0] = got;
      state[1] = 0;
      this.deliver(bytes.buffer, got);
    } else if (got !== -11) {
      this.readStop();
      state[0] = got === 0 ? -4095 : got;
      makeCallback(this, this.onread, undefined);
    }
  }
  getWindowSize(size) {
    const result = native.windowSize(this._fd);
    if (typeof result === 'number') return result;
    [size[0], size[1]] = result;
    return 0;
  }
  setRawMode(on) { return native.setRaw(this._fd, on); }
};
