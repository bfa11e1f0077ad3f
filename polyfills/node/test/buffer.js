// Buffer: encodings, numbers, searches.
const b = Buffer.from('héllo wörld €𝄞');
for (const enc of ['utf8', 'hex', 'base64', 'base64url', 'latin1', 'ascii', 'utf16le']) console.log(enc, JSON.stringify(b.toString(enc)), Buffer.from(b.toString(enc), enc).length);
console.log(b, b.length, b.indexOf('wör'), b.lastIndexOf('l'), b.includes('€'), b.slice(2, 5), b.subarray(-4));
console.log(Buffer.concat([Buffer.from('a'), Buffer.alloc(2), Buffer.alloc(3, 'xy')]), Buffer.compare(Buffer.from('a'), Buffer.from('b')), Buffer.from([1, 2, 300]));
const w = Buffer.alloc(32); w.writeUInt32BE(0xdeadbeef, 0); w.writeInt16LE(-2, 4); w.writeDoubleBE(Math.PI, 8); w.writeFloatLE(1.5, 16); w.writeBigInt64BE(-5n, 20); w.writeUIntBE(0x123456, 28, 3);
console.log(w, w.readUInt32BE(0), w.readInt16LE(4), w.readDoubleBE(8), w.readFloatLE(16), w.readBigInt64BE(20), w.readUIntBE(28, 3));
console.log(b.toJSON().data.length, b.equals(Buffer.from(b)), Buffer.isBuffer(b), Buffer.byteLength('€'), Buffer.isEncoding('UTF-8'));
console.log(Buffer.from('ff0g', 'hex'), Buffer.from('YQ==', 'base64').toString(), Buffer.from('a-_b', 'base64'), Buffer.from('  YW Jj\n', 'base64').toString());
console.log(Buffer.from([0xff, 0xfe, 0x41, 0xe2, 0x82, 0xc3]).toString(), JSON.stringify(Buffer.from([0xf0, 0x9f, 0x98]).toString()));
console.log(Buffer.from('abc').fill('é'), Buffer.from('abcdef').swap16(), Buffer.from('test').write('xx', 1), Buffer.from('abc').at?.(1));
try { Buffer.alloc(4).readUInt32LE(1); } catch (e) { console.log(e.code, e.message); }
try { Buffer.from(5); } catch (e) { console.log(e.code, e.message); }
try { Buffer.alloc(2).writeUInt8(256); } catch (e) { console.log(e.code, e.message); }
const ab = new ArrayBuffer(8); const view = Buffer.from(ab, 2, 4); view[0] = 9; console.log(new Uint8Array(ab), view.buffer === ab, view.byteOffset);
const { StringDecoder } = require('string_decoder');
const d = new StringDecoder('utf8'); console.log(d.write(Buffer.from([0xe2, 0x82])), d.write(Buffer.from([0xac, 0x41])), JSON.stringify(d.end(Buffer.from([0xf0]))));
const d16 = new StringDecoder('utf16le'); console.log(JSON.stringify([d16.write(Buffer.from([0x3d])), d16.write(Buffer.from([0xd8, 0x4d, 0xdc])), d16.end()]));
const d64 = new StringDecoder('base64'); console.log(d64.write(Buffer.from('ab')), d64.write(Buffer.from('cd')), d64.end());
console.log(new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff])), new TextEncoder().encode('é€'), new TextEncoder().encodeInto('a€', new Uint8Array(3)));
try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff])); } catch (e) { console.log(e.code, e.name); }
console.log(new TextDecoder('utf-16le').decode(new Uint8Array([65, 0, 66, 0])), new TextDecoder('latin1').decode(new Uint8Array([0xe9, 0x80])), atob('aGk='), btoa('hi'));
const { transcode } = require('buffer'); console.log(transcode(Buffer.from('€'), 'utf8', 'latin1'));
