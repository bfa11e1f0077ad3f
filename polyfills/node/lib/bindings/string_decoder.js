'use strict';
// internalBinding('string_decoder'): src/string_decoder.cc. The state is a Buffer of kSize bytes: incomplete character (4),
// missing bytes, buffered bytes, encoding.
exports.encodings = ['ascii', 'utf8', 'base64', 'utf16le', 'latin1', 'hex', 'buffer', 'base64url'];
Object.assign(exports, {
  kIncompleteCharactersStart: 0, kIncompleteCharactersEnd: 4, kMissingBytes: 4, kBufferedBytes: 5, kEncodingField: 6,
  kNumFields: 7, kSize: 7,
});
const [ASCII, UTF8, BASE64, UTF16, LATIN1, HEX, , BASE64URL] = [0, 1, 2, 3, 4, 5, 6, 7];
const slices = { [ASCII]: native.asciiSlice, [UTF8]: native.utf8Slice, [BASE64]: native.base64Slice, [UTF16]: native.ucs2Slice,
                 [LATIN1]: native.latin1Slice, [HEX]: native.hexSlice, [BASE64URL]: native.base64urlSlice };
const text = (encoding, bytes, start, end) => Reflect.apply(slices[encoding], bytes, [start, end]);

// How many bytes at the end of `bytes` belong to a character that is not complete, and how many it still misses.
function incompleteUtf8(bytes, start, end) {
  for (let back = 1; back <= 3 && end - back >= start; back++) {
    const byte = bytes[end - back];
    if ((byte & 0xc0) === 0x80) continue;
    const size = byte >= 0xf0 && byte <= 0xf4 ? 4 : (byte & 0xf0) === 0xe0 ? 3 : byte >= 0xc2 && byte <= 0xdf ? 2 : 1;
    if (size <= back) return [0, 0];
    // What cannot become a character is not waited for.
    if (back > 1) {
      const second = bytes[end - back + 1];
      if ((byte === 0xe0 && second < 0xa0) || (byte === 0xed && second > 0x9f) || (byte === 0xf0 && second < 0x90) ||
          (byte === 0xf4 && second > 0x8f)) return [0, 0];
    }
    return [back, size - back];
  }
  return [0, 0];
}

exports.decode = (state, input) => {
  if (typeof input === 'string') return input;
  if (!ArrayBuffer.isView(input)) {
    const { ERR_INVALID_ARG_TYPE } = load('bindings/builtins').loaders.require('internal/errors').codes;
    throw new ERR_INVALID_ARG_TYPE('buf', ['Buffer', 'TypedArray', 'DataView'], input);
  }
  let bytes = input instanceof Uint8Array ? input : new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  const encoding = state[6];
  if (encoding === ASCII || encoding === LATIN1 || encoding === HEX) return text(encoding, bytes, 0, bytes.length);
  if (state[5] > 0) {
    const joined = new Uint8Array(state[5] + bytes.length);
    for (let i = 0; i < state[5]; i++) joined[i] = state[i];
    joined.set(bytes, state[5]);
    bytes = joined;
  }
  let kept = 0, missing = 0;
  const length = bytes.length;
  if (encoding === UTF8) {
    [kept, missing] = incompleteUtf8(bytes, 0, length);
  } else if (encoding === UTF16) {
    kept = length % 2;
    missing = kept;
    if (length - kept >= 2 && (bytes[length - kept - 1] & 0xfc) === 0xd8) {
      kept += 2;
      missing = kept === 3 ? 1 : 2;
    }
  } else {
    kept = length % 3;
    missing = kept === 0 ? 0 : 3 - kept;
  }
  for (let i = 0; i < kept; i++) state[i] = bytes[length - kept + i];
  state[5] = kept;
  state[4] = missing;
  return text(encoding, bytes, 0, length - kept);
};

exports.flush = (state) => {
  const encoding = state[6], kept = state[5];
  state[5] = state[4] = 0;
  if (kept === 0) return '';
  const bytes = new Uint8Array(state.buffer, state.byteOffset, kept);
  return text(encoding, bytes, 0, encoding === UTF16 ? kept - kept % 2 : kept);
};
