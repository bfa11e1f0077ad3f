const z = require('zlib'); const text = 'the quick brown fox '.repeat(500);
console.log(z.inflateSync(z.deflateSync(text)).toString() === text, z.gunzipSync(z.gzipSync(text, { level: 9 })).length, z.inflateRawSync(z.deflateRawSync(text)).length, z.unzipSync(z.gzipSync('u')).toString(), z.deflateSync(text).length, z.gzipSync('abc').toString('hex').slice(20));
for (const f of [() => z.inflateSync(Buffer.from('garbage')), () => z.gunzipSync(z.gzipSync(text).subarray(0, 30)), () => z.inflateSync('x')]) try { f(); } catch (e) { console.log(e.name, e.code, e.errno, e.message); }
z.gzip(text, (e, b) => z.gunzip(b, (e, t) => { console.log('async', e, t.toString() === text); z.gunzip(Buffer.from('bad'), (e) => console.log('err', e.code, e.errno)); }));
const { pipeline, Readable, Writable } = require('stream'); let n = 0;
pipeline(Readable.from(Array(100).fill(text)), z.createDeflate(), z.createInflate(), new Writable({ write(c, e, cb) { n += c.length; cb(); } }), (e) => console.log('pipeline', e, n));
const d = z.createGzip(); d.write('a'); d.flush(() => { console.log('flushed', d.read() !== null); d.end('b'); }); 
const dict = Buffer.from('quick brown'); console.log(z.inflateSync(z.deflateSync(text, { dictionary: dict }), { dictionary: dict }).length, z.gunzipSync(Buffer.concat([z.gzipSync('one'), z.gzipSync('two')])).toString(), z.constants.Z_BEST_COMPRESSION);
