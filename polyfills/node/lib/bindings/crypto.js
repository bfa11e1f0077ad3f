'use strict';
// internalBinding('crypto'): hashes, HMAC, key derivation, AES and random numbers. Keys of two halves, signatures, certificates and
// TLS are not there: whoever constructs one gets an exception that says so.
const loop = load('loop');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const { encode, createFromString } = load('bindings/buffer');

const coded = (message, code) => Object.assign(new Error(message), { code });
const unavailable = (what) => coded(`crypto: ${what} is not available in this build of node`, 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM');

const asBytes = (data, encoding) => {
  if (typeof data === 'string') return encode(data, encoding === 'buffer' ? 'utf8' : encoding);
  if (data instanceof exports.KeyObjectHandle) return data.bytes;
  if (data.handle instanceof exports.KeyObjectHandle) return data.handle.bytes;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(data);
};
const asBuffer = (bytes) => Object.setPrototypeOf(bytes, load('bindings/buffer').prototype);
const encoded = (bytes, encoding) => {
  asBuffer(bytes);
  return encoding === undefined || encoding === 'buffer' || encoding === 'undefined' ? bytes : bytes.toString(encoding);
};

// Other names of the algorithms, as OpenSSL knows them.
const plain = (name) => `${name}`.toLowerCase().replace(/^rsa-/, '').replace(/^sha-(\d)/, 'sha$1').replace('rmd160', 'ripemd160').replace(/^ripemd$/, 'ripemd160');

exports.Hash = class Hash {
  #hash; #digest;
  constructor(algorithm, xofLength) {
    if (algorithm instanceof Hash) this.#hash = native.hashCopy(algorithm.#hash);
    else if ((this.#hash = native.hashOpen(plain(algorithm))) === undefined) throw new Error('Digest method not supported');
  }
  update(data, encoding) { return native.hashUpdate(this.#hash, asBytes(data, encoding)); }
  digest(encoding) { return encoded((this.#digest ??= native.hashFinal(this.#hash)).slice(), encoding); }
};
exports.Hmac = class Hmac {
  #hash;
  init(algorithm, key) {
    this.#hash = native.hashOpen(plain(algorithm), asBytes(key));
    if (this.#hash === undefined) throw coded(`Invalid digest: ${algorithm}`, 'ERR_CRYPTO_INVALID_DIGEST');
  }
  update(data, encoding) { return native.hashUpdate(this.#hash, asBytes(data, encoding)); }
  digest(encoding) { return encoded(native.hashFinal(this.#hash), encoding); }
};
exports.getHashes = () => ['RSA-MD5', 'RSA-RIPEMD160', 'RSA-SHA1', 'RSA-SHA224', 'RSA-SHA256', 'RSA-SHA384', 'RSA-SHA512', ...native.hashNames()];
exports.getCachedAliases = () => ({});
exports.timingSafeEqual = (a, b) => {
  const { codes } = load('bindings/builtins').loaders.require('internal/errors');
  for (const [value, name] of [[a, 'buf1'], [b, 'buf2']])
    if (!ArrayBuffer.isView(value) && !native.types.isAnyArrayBuffer(value))
      throw new codes.ERR_INVALID_ARG_TYPE(name, ['ArrayBuffer', 'Buffer', 'TypedArray', 'DataView'], value);
  if (a.byteLength !== b.byteLength) 
    throw Object.assign(new RangeError('Input buffers must have the same byte length'), { code: 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH' });
  return native.timingSafeEqual(a, b);
};

// ---- Jobs: run() at once, or in the poll phase with ondone(error, result).
Object.assign(exports, { kCryptoJobAsync: 0, kCryptoJobSync: 1 });
class Job extends AsyncWrap {
  constructor(provider, mode, work) {
    super(provider);
    this.run = () => {
      const attempt = () => { try { return [undefined, work()]; } catch (error) { return [error, undefined]; } };
      if (mode === exports.kCryptoJobSync) return attempt();
      loop.ref();
      loop.defer(() => { loop.unref(); makeCallback(this, this.ondone, ...attempt()); });
      return undefined;
    };
  }
}
exports.RandomBytesJob = class RandomBytesJob extends Job {
  constructor(mode, buffer, offset, size) { super('RANDOMBYTESREQUEST', mode, () => { native.randomFill(buffer, offset, size); }); }
};
const derived = (bytes, digest) => {
  if (bytes === undefined) throw coded(`Invalid digest: ${digest}`, 'ERR_CRYPTO_INVALID_DIGEST');
  return bytes.buffer;
};
exports.PBKDF2Job = class PBKDF2Job extends Job {
  constructor(mode, password, salt, iterations, length, digest) {
    const name = plain(digest);
    if (native.hashOpen(name) === undefined) throw coded(`Invalid digest: ${digest}`, 'ERR_CRYPTO_INVALID_DIGEST');
    super('PBKDF2REQUEST', mode, () => derived(native.pbkdf2(name, asBytes(password), asBytes(salt), iterations, length), digest));
  }
};
exports.HKDFJob = class HKDFJob extends Job {
  constructor(mode, digest, key, salt, info, length) {
    const name = plain(digest);
    if (native.hashOpen(name) === undefined) throw coded(`Invalid digest: ${digest}`, 'ERR_CRYPTO_INVALID_DIGEST');
    super('DERIVEBITSREQUEST', mode, () => derived(native.hkdf(name, asBytes(key), asBytes(salt), asBytes(info), length), digest));
  }
};
exports.ScryptJob = class ScryptJob extends Job {
  constructor(mode, password, salt, N, r, p, maxmem, length) {
    if (128 * r * p + 32 * r * (N + 2) * 4 > maxmem || N < 2 || (N & (N - 1)) !== 0)
      throw Object.assign(new RangeError('Invalid scrypt params: memory limit exceeded'), { code: 'ERR_CRYPTO_INVALID_SCRYPT_PARAMS' });
    super('SCRYPTREQUEST', mode, () => native.scrypt(asBytes(password), asBytes(salt), N, r, p, maxmem, length).buffer);
  }
};
exports.HashJob = class HashJob extends Job {
  constructor(mode, algorithm, data) {
    super('HASHREQUEST', mode, () => {
      const hash = new exports.Hash(algorithm);
      hash.update(data);
      return hash.digest().slice().buffer;
    });
  }
};
exports.HmacJob = class HmacJob extends Job {
  constructor(mode, signMode, digest, key, data, signature) {
    super('SIGNREQUEST', mode, () => {
      const hmac = new exports.Hmac();
      hmac.init(digest, key);
      hmac.update(data);
      const result = hmac.digest();
      if (signMode === exports.kSignJobModeSign) return new Uint8Array(result).buffer;
      const given = asBytes(signature);
      return given.length === result.length && native.timingSafeEqual(given, result);
    });
  }
};
Object.assign(exports, { kSignJobModeSign: 0, kSignJobModeVerify: 1 });

// ---- Keys: secret ones only
Object.assign(exports, {
  kKeyTypeSecret: 0, kKeyTypePublic: 1, kKeyTypePrivate: 2, kKeyFormatDER: 0, kKeyFormatPEM: 1, kKeyFormatJWK: 2,
  kKeyEncodingPKCS1: 0, kKeyEncodingPKCS8: 1, kKeyEncodingSPKI: 2, kKeyEncodingSEC1: 3, kSigEncDER: 0, kSigEncP1363: 1,
  kWebCryptoKeyFormatRaw: 0, kWebCryptoKeyFormatPKCS8: 1, kWebCryptoKeyFormatSPKI: 2, kWebCryptoKeyFormatJWK: 3,
  kWebCryptoCipherEncrypt: 0, kWebCryptoCipherDecrypt: 1,
});
exports.KeyObjectHandle = class KeyObjectHandle {
  init(type, data) {
    if (type !== exports.kKeyTypeSecret) throw unavailable('a public or private key');
    this.bytes = asBytes(data).slice();
  }
  getSymmetricKeySize() { return this.bytes.length; }
  export() { return asBuffer(this.bytes.slice()); }
  exportJwk(target) { return Object.assign(target, { kty: 'oct', k: this.export().toString('base64url') }); }
  initJwk(jwk) {
    if (jwk.kty !== 'oct') throw unavailable('a public or private key');
    this.bytes = encode(jwk.k, 'base64url');
    return exports.kKeyTypeSecret;
  }
  equals(other) { return this.bytes.length === other.bytes.length && native.timingSafeEqual(this.bytes, other.bytes); }
};
exports.createNativeKeyObjectClass = (make) => make(class NativeKeyObject { constructor(handle) { this.handle = handle; } });
exports.SecretKeyGenerateJob = exports.SecretKeyGenJob = class SecretKeyGenJob extends Job {
  constructor(mode, bits) {
    super('KEYGENREQUEST', mode, () => {
      const handle = new exports.KeyObjectHandle();
      handle.bytes = new Uint8Array(Math.trunc(bits / 8));
      native.randomFill(handle.bytes, 0);
      return handle;
    });
  }
};

// ---- AES
const nids = { 'aes-128-ecb': 418, 'aes-128-cbc': 419, 'aes-192-ecb': 422, 'aes-192-cbc': 423, 'aes-256-ecb': 426, 'aes-256-cbc': 427,
               'aes-128-ctr': 904, 'aes-192-ctr': 905, 'aes-256-ctr': 906, 'aes-128-gcm': 895, 'aes-192-gcm': 898, 'aes-256-gcm': 901 };
exports.getCiphers = exports.getSSLCiphers = () => Object.keys(nids);
exports.getCipherInfo = (target, name, keyLength, ivLength) => {
  if (typeof name === 'number') name = Object.keys(nids).find((n) => nids[n] === name);
  name = `${name}`.toLowerCase().replace(/^aes(\d+)$/, 'aes-$1-cbc').replace(/^id-aes(\d+)-gcm$/, 'aes-$1-gcm');
  if (nids[name] === undefined) return undefined;
  const [, bits, mode] = name.split('-');
  const key = Number(bits) / 8, iv = mode === 'gcm' ? ivLength ?? 12 : mode === 'ecb' ? 0 : 16;
  if ((keyLength !== undefined && keyLength !== key) || (ivLength !== undefined && mode !== 'gcm' && ivLength !== iv)) return undefined;
  Object.assign(target, { mode, name, nid: nids[name] });
  if (mode === 'cbc' || mode === 'ecb') target.blockSize = 16;
  if (iv > 0) target.ivLength = iv;
  target.keyLength = key;
  return target;
};
exports.CipherBase = class CipherBase {
  #cipher; #encrypt; #mode; #tag; #final = false;
  constructor(encrypt) { this.#encrypt = encrypt; }
  init() { throw unavailable('createCipher'); }
  initiv(name, key, iv) {
    const info = exports.getCipherInfo({}, name);
    if (info === undefined) throw coded('Unknown cipher', 'ERR_CRYPTO_UNKNOWN_CIPHER');
    const bytes = asBytes(key), vector = iv === null ? new Uint8Array(0) : asBytes(iv);
    if (bytes.length !== info.keyLength) throw Object.assign(new RangeError('Invalid key length'), { code: 'ERR_CRYPTO_INVALID_KEYLEN' });
    if (info.mode === 'gcm' ? vector.length === 0 : vector.length !== (info.ivLength ?? 0))
      throw Object.assign(new TypeError('Invalid initialization vector'), { code: 'ERR_CRYPTO_INVALID_IV' });
    this.#mode = info.mode;
    this.#cipher = native.cipherOpen(info.mode, this.#encrypt, bytes, vector);
  }
  update(data, encoding) { return asBuffer(native.cipherUpdate(this.#cipher, asBytes(data, encoding))); }
  final() {
    if (this.#final) throw coded('Unsupported state', 'ERR_CRYPTO_INVALID_STATE');
    this.#final = true;
    const rest = native.cipherFinal(this.#cipher, this.#tag);
    if (rest === null && this.#mode === 'gcm') throw new Error('Unsupported state or unable to authenticate data');
    if (rest === null) throw Object.assign(coded('error:1C800064:Provider routines::bad decrypt', 'ERR_OSSL_BAD_DECRYPT'), { library: 'Provider routines', reason: 'bad decrypt' });
    if (rest === false) throw Object.assign(coded('error:1C80006B:Provider routines::wrong final block length', 'ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH'), { library: 'Provider routines', reason: 'wrong final block length' });
    return asBuffer(rest);
  }
  setAutoPadding(on) { return native.cipherPadding(this.#cipher, on); }
  getAuthTag() { return this.#final && this.#encrypt && this.#mode === 'gcm' ? asBuffer(native.cipherTag(this.#cipher)) : undefined; }
  setAuthTag(tag) {
    if (this.#mode !== 'gcm') return false;
    this.#tag = asBytes(tag).slice();
    return true;
  }
  setAAD(data) { return native.cipherAad(this.#cipher, asBytes(data)); }
};

// ---- The rest
exports.secureHeapUsed = () => undefined;
exports.secureBuffer = (length) => new Uint8Array(length);
exports.getFipsCrypto = () => 0;
exports.setFipsCrypto = exports.setEngine = () => { throw unavailable('FIPS'); };
exports.getCurves = () => [];
exports.getRootCertificates = () => [];
exports.getSSLCiphers = () => [];
for (const name of ['AESCipherJob', 'CheckPrimeJob', 'DhKeyPairGenJob', 'DiffieHellman', 'DiffieHellmanGroup', 'DsaKeyPairGenJob', 'ECDH',
                    'ECDHBitsJob', 'ECKeyExportJob', 'EcKeyPairGenJob', 'NidKeyPairGenJob', 'RSACipherJob', 'RSAKeyExportJob',
                    'RandomPrimeJob', 'RsaKeyPairGenJob', 'SecureContext', 'Sign', 'SignJob', 'Verify'])
  exports[name] = { [name]: class { constructor() { throw unavailable(name); } } }[name];
for (const name of ['ECDHConvertKey', 'certExportChallenge', 'certExportPublicKey', 'certVerifySpkac', 'parseX509', 'privateDecrypt',
                    'privateEncrypt', 'publicDecrypt', 'publicEncrypt', 'statelessDH', 'internalVerifyIntegrity'])
  exports[name] = () => { throw unavailable(name); };
