'use strict';
// internalBinding('buffer'): src/node_buffer.cc.
exports.kMaxLength = 0x7fffffff;
exports.kStringMaxLength = 0x1fffffe8;
for (const name of ['asciiSlice', 'base64Slice', 'base64urlSlice', 'latin1Slice', 'hexSlice', 'ucs2Slice', 'utf8Slice',
                    'base64Write', 'latin1Write', 'hexWrite', 'ucs2Write', 'utf8Write', 'byteLengthUtf8', 'compareOffset',
                    'encodeUtf8String', 'isUtf8', 'isAscii', 'decodeUTF8', 'compare'])
  exports[name] = native[name];
exports.asciiWrite = native.latin1Write;
exports.base64urlWrite = native.base64Write;
const results = exports.encodeIntoResults = new Uint32Array(2);
exports.encodeInto = (string, target, out) => native.encodeInto(string, target, out ?? results);
exports.decodeUTF8 = (bytes, ignoreBOM, fatal) => {
  const text = native.decodeUTF8(bytes, ignoreBOM, fatal);
  if (text === undefined) {
    const { ERR_ENCODING_INVALID_ENCODED_DATA } = load('bindings/builtins').loaders.require('internal/errors').codes;
    throw new ERR_ENCODING_INVALID_ENCODED_DATA('utf-8', undefined);
  }
  return text;
};
exports.setBufferPrototype = (prototype) => { exports.prototype = prototype; };
const zeroFill = new Uint32Array(1);
exports.getZeroFillToggle = () => zeroFill;
exports.createUnsafeArrayBuffer = native.uninitialized;
exports.detachArrayBuffer = native.detach;
exports.copy = (source, target, targetStart, sourceStart, count) => native.copyBytes(source, target, targetStart, sourceStart, count);
exports.copyArrayBuffer = (to, toOffset, from, fromOffset, count) => native.copyBytes(from, to, toOffset, fromOffset, count);

const encoders = { utf8: native.utf8Write, 'utf-8': native.utf8Write, ucs2: native.ucs2Write, 'ucs-2': native.ucs2Write,
                   utf16le: native.ucs2Write, 'utf-16le': native.ucs2Write, latin1: native.latin1Write,
                   binary: native.latin1Write, ascii: native.latin1Write, base64: native.base64Write,
                   base64url: native.base64Write, hex: native.hexWrite };
function encode(string, encoding) {
  const name = `${encoding ?? 'utf8'}`.toLowerCase();
  const write = encoders[name] ?? native.utf8Write;
  const room = write === native.latin1Write || write === native.hexWrite || write === native.base64Write ? string.length :
    write === native.ucs2Write ? string.length * 2 : native.byteLengthUtf8(string);
  const bytes = new Uint8Array(room);
  const length = Reflect.apply(write, bytes, [string, 0, room]);
  return length === room ? bytes : bytes.subarray(0, length);
}
// The numbers of enum encoding in src/node.h.
const names = ['ascii', 'utf8', 'base64', 'utf16le', 'latin1', 'hex', 'buffer', 'base64url'];
exports.createFromString = (string, encoding) => {
  const bytes = encode(string, names[encoding]);
  Object.setPrototypeOf(bytes, exports.prototype);
  return bytes;
};
exports.fill = (buffer, value, start, end, encoding) => {
  if (typeof value === 'string') {
    value = encode(value, encoding);
    if (value.length === 0) return -1;
  } else if (typeof value === 'boolean') {
    value = Number(value);
  }
  return native.fillBytes(buffer, value, start, end);
};
exports.indexOfBuffer = (buffer, value, offset, encoding, forward) =>
  native.indexOfBytes(buffer, value, offset, forward, names[encoding] === 'utf16le' ? 2 : 1);
exports.indexOfNumber = (buffer, value, offset, forward) => native.indexOfBytes(buffer, value & 255, offset, forward, 1);
exports.indexOfString = (buffer, value, offset, encoding, forward) =>
  native.indexOfBytes(buffer, encode(value, names[encoding]), offset, forward, names[encoding] === 'utf16le' ? 2 : 1);
exports.swap16 = (buffer) => native.swapBytes(buffer, 2);
exports.swap32 = (buffer) => native.swapBytes(buffer, 4);
exports.swap64 = (buffer) => native.swapBytes(buffer, 8);
exports.encode = encode;
