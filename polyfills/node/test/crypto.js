const c = require('crypto');
for (const h of ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160', 'SHA256', 'RSA-SHA256']) console.log(h, c.createHash(h).update('hello').update(Buffer.from(' world')).digest('hex'));
const h = c.createHash('sha256'); h.update('a'); const h2 = h.copy(); h.update('b'); console.log(h.digest('base64'), h2.digest('base64url')); try { h.update('x'); } catch (e) { console.log(e.code); } try { c.createHash('nope'); } catch (e) { console.log(e.message); }
console.log(c.createHmac('sha256', 'key').update('data').digest('hex'), c.createHmac('sha512', Buffer.alloc(200, 1)).update('data').digest('base64'));
console.log(c.pbkdf2Sync('pw', 'salt', 1000, 40, 'sha512').toString('hex'), c.scryptSync('pw', 'salt', 32).toString('hex'), Buffer.from(c.hkdfSync('sha256', 'key', 'salt', 'info', 50)).toString('hex'));
console.log(c.randomBytes(8).length, /^[0-9a-f-]{36}$/.test(c.randomUUID()), c.randomInt(5) < 5, c.getRandomValues(new Uint8Array(4)).length, c.timingSafeEqual(Buffer.from('a'), Buffer.from('a')), c.webcrypto.getRandomValues(new Uint32Array(2)).length);
try { c.timingSafeEqual(Buffer.from('a'), Buffer.from('ab')); } catch (e) { console.log(e.code); }
const key = Buffer.alloc(32, 7), iv = Buffer.alloc(16, 9);
for (const a of ['aes-256-cbc', 'aes-256-ctr']) { const e = c.createCipheriv(a, key, iv); const x = e.update('some secret text, longer than a block', 'utf8', 'hex') + e.final('hex'); const d = c.createDecipheriv(a, key, iv); console.log(a, x, d.update(x, 'hex', 'utf8') + d.final('utf8')); }
const g = c.createCipheriv('aes-128-gcm', key.subarray(0, 16), iv.subarray(0, 12)); g.setAAD(Buffer.from('aad')); const gx = Buffer.concat([g.update('gcm text'), g.final()]); const tag = g.getAuthTag(); console.log(gx.toString('hex'), tag.toString('hex'));
const gd = c.createDecipheriv('aes-128-gcm', key.subarray(0, 16), iv.subarray(0, 12)); gd.setAAD(Buffer.from('aad')); gd.setAuthTag(tag); console.log(gd.update(gx, null, 'utf8') + gd.final('utf8'));
c.randomBytes(4, (e, b) => console.log('cb', e, b.length)); c.pbkdf2('a', 'b', 1, 4, 'sha1', (e, k) => { console.log(k.toString('hex')); c.scrypt('p', 's', 8, { N: 1024 }, (e, k) => console.log(k.toString('hex'))); });
require('stream').Readable.from(['x', 'y']).pipe(c.createHash('md5')).on('finish', function () { console.log('piped', this.read().toString('hex')); });
c.subtle?.digest('SHA-256', Buffer.from('abc')).then((d) => console.log(Buffer.from(d).toString('hex')));
const k = c.createSecretKey(Buffer.from('secret')); console.log(k.type, k.symmetricKeySize, c.createHmac('md5', k).update('').digest('hex'), c.getCipherInfo('aes-256-cbc'));
