'use strict';
// internalBinding('blob'): immutable bytes. src/node_blob.cc.
class Handle {
  constructor(bytes) { this.bytes = bytes; }
  slice(start, end) { return new Handle(this.bytes.subarray(start, end)); }
}
const stored = new Map();
exports.createBlob = (sources, length) => {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const source of sources) {
    const part = source instanceof Handle ? source.bytes : Array.isArray(source) ? new Uint8Array(source[0], source[1], source[2]) :
      ArrayBuffer.isView(source) ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength) : new Uint8Array(source);
    bytes.set(part, offset);
    offset += part.length;
  }
  return new Handle(bytes);
};
exports.FixedSizeBlobCopyJob = class FixedSizeBlobCopyJob {
  constructor(handle) { this.handle = handle; }
  run() { return this.handle.bytes.slice().buffer; }
};
exports.storeDataObject = (id, handle, length, type) => { stored.set(id, [handle, length, type]); };
exports.getDataObject = (id) => stored.get(id);
exports.revokeDataObject = (id) => { stored.delete(id); };
