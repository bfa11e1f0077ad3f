'use strict';
// internalBinding('fs_dir'): directories read in pieces.
const fs = load('bindings/fs');
class DirHandle {
  #names; #types; #next = 0;
  constructor(path, entries) { this.path = path; [this.#names, this.#types] = entries; }
  read(encoding, size, req, ctx) {
    const piece = [];
    for (; piece.length < size * 2 && this.#next < this.#names.length; this.#next++)
      piece.push(this.#names[this.#next], this.#types[this.#next]);
    const result = piece.length === 0 ? null : piece;
    return later(req, result);
  }
  close(req) { return later(req, undefined); }
}
function later(req, result) {
  if (req === undefined) return result;
  const loop = load('loop');
  loop.ref();
  loop.defer(() => { loop.unref(); load('bindings/async_wrap').makeCallback(req, req.oncomplete, null, result); });
  return undefined;
}
exports.opendir = (path, encoding, req, ctx) => {
  if (req === undefined) {
    const entries = fs.readdir(path, encoding, true, undefined, ctx);
    if (ctx.errno !== undefined) { ctx.syscall = 'opendir'; return undefined; }
    return new DirHandle(path, entries);
  }
  const inner = new fs.FSReqCallback();
  inner.oncomplete = (error, entries) => {
    if (error) {
      error.syscall = 'opendir';
      error.message = error.message.replace('scandir', 'opendir');
      req.oncomplete(error);
    } else {
      req.oncomplete(null, new DirHandle(path, entries));
    }
  };
  fs.readdir(path, encoding, true, inner);
  return undefined;
};
exports.opendirSync = exports.opendir;
