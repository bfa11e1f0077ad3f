'use strict';
// internalBinding('icu'): text encodings, and how wide text is on a terminal.
const buffer = load('bindings/buffer');

// ---- TextDecoder: converters by name, flags 1 flush, 2 fatal, 4 ignore the byte order mark.
const latin1High = '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';
exports.hasConverter = (name) => ['utf-8', 'utf-16le', 'utf-16be', 'latin1', 'windows-1252', 'us-ascii', 'iso-8859-1'].includes(name);
exports.getConverter = (name, flags) => ({ name, fatal: (flags & 2) !== 0, ignoreBOM: (flags & 4) !== 0, pending: new Uint8Array(0), seen: false });

function utf8Tail(bytes) {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    const size = byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 && byte < 0xf0 ? 3 : byte >= 0xc2 && byte < 0xe0 ? 2 : 1;
    if (size <= back) return 0;
    const second = back > 1 ? bytes[bytes.length - back + 1] : 0x90;
    if ((byte === 0xe0 && second < 0xa0) || (byte === 0xed && second > 0x9f) || (byte === 0xf0 && second < 0x90) || (byte === 0xf4 && second > 0x8f)) return 0;
    return back;
  }
  return 0;
}
// The text, or a negative number for what is ill-formed.
exports.decode = (converter, input, flags) => {
  const flush = (flags & 1) !== 0;
  let bytes = ArrayBuffer.isView(input) ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength) : new Uint8Array(input);
  if (converter.pending.length > 0) {
    const joined = new Uint8Array(converter.pending.length + bytes.length);
    joined.set(converter.pending);
    joined.set(bytes, converter.pending.length);
    bytes = joined;
  }
  let text;
  const wide = converter.name.startsWith('utf-16');
  let keep = 0;
  if (!flush) keep = converter.name === 'utf-8' ? utf8Tail(bytes) : wide ? bytes.length % 2 : 0;
  converter.pending = bytes.slice(bytes.length - keep);
  bytes = bytes.subarray(0, bytes.length - keep);
  if (converter.name === 'utf-8') {
    text = native.decodeUTF8(bytes, true, converter.fatal);
    if (text === undefined) return -1;
  } else if (wide) {
    if (bytes.length % 2 !== 0 && converter.fatal) return -1;
    let pairs = bytes.slice(0, bytes.length - bytes.length % 2);
    if (converter.name === 'utf-16be') native.swapBytes(pairs, 2);
    text = native.ucs2Slice.call(pairs, 0, pairs.length);
    if (!text.isWellFormed()) { if (converter.fatal) return -1; text = text.toWellFormed(); }
    if (bytes.length % 2 !== 0) text += '\ufffd';
  } else {
    text = native.latin1Slice.call(bytes, 0, bytes.length).replace(/[\x80-\x9f]/g, (c) => latin1High[c.charCodeAt(0) - 0x80]);
  }
  if (!converter.seen && text.length > 0) {
    converter.seen = true;
    if (!converter.ignoreBOM && (converter.name === 'utf-8' || wide) && text.charCodeAt(0) === 0xfeff) text = text.slice(1);
  }
  if (flush) converter.seen = false;
  return text;
};

// ---- buffer.transcode
exports.icuErrName = (number) => (number === -1 ? 'U_ILLEGAL_ARGUMENT_ERROR' : `${number}`);
exports.transcode = (source, from, to) => {
  const slice = { utf8: native.utf8Slice, ucs2: native.ucs2Slice, utf16le: native.ucs2Slice, latin1: native.latin1Slice, binary: native.latin1Slice, ascii: native.asciiSlice }[from];
  if (slice === undefined) return -1;
  let text = slice.call(source, 0, source.length);
  if (to === 'latin1' || to === 'binary') text = text.replace(/[^\x00-\xff]/gu, '?');
  if (to === 'ascii') text = text.replace(/[^\x00-\x7f]/gu, '?');
  return load('bindings/builtins').loaders.require('buffer').Buffer.from(text, to);
};

// ---- Columns on a terminal
const fullWidth = (c) => c >= 0x1100 && (c <= 0x115f || c === 0x2329 || c === 0x232a || (c >= 0x2e80 && c <= 0x3247 && c !== 0x303f) ||
  (c >= 0x3250 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0xa4c6) || (c >= 0xa960 && c <= 0xa97c) || (c >= 0xac00 && c <= 0xd7a3) ||
  (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe10 && c <= 0xfe19) || (c >= 0xfe30 && c <= 0xfe6b) || (c >= 0xff01 && c <= 0xff60) ||
  (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1b000 && c <= 0x1b001) || (c >= 0x1f200 && c <= 0x1f251) || (c >= 0x1f300 && c <= 0x1f64f) ||
  (c >= 0x1f680 && c <= 0x1f6ff) || (c >= 0x1f900 && c <= 0x1f9ff) || (c >= 0x20000 && c <= 0x3fffd));
const zeroWidth = (c) => c <= 0x1f || (c >= 0x7f && c <= 0x9f) || (c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200f) ||
  (c >= 0x20d0 && c <= 0x20ff) || (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xfe20 && c <= 0xfe2f) || (c >= 0xe0100 && c <= 0xe01ef);
exports.getStringWidth = (text) => {
  let width = 0;
  for (const character of text) {
    const c = character.codePointAt(0);
    if (fullWidth(c)) width += 2;
    else if (!zeroWidth(c)) width++;
  }
  return width;
};
exports.toASCII = (domain) => load('bindings/url').toASCII(domain);
exports.toUnicode = (domain) => load('bindings/url').toUnicode(domain);
