// Hashes, HMAC, key derivation and AES over libcrypto's own primitives. Not over EVP: its providers would be most of the program
// and milliseconds of every cold start.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/aes.h>
#include <openssl/md5.h>
#include <openssl/modes.h>
#include <openssl/ripemd.h>
#include <openssl/sha.h>
#include "megalith_hash.h"
#include "node.h"

typedef union { MD5_CTX md5; SHA_CTX sha1; SHA256_CTX sha256; SHA512_CTX sha512; RIPEMD160_CTX ripemd; } State;

typedef struct {
    const char *name;
    size_t size, block;
    int (*init)(void *), (*update)(void *, const void *, size_t), (*final)(unsigned char *, void *);
} Algorithm;

// The functions differ in the type of one pointer only; wraps keep the calls well typed.
#define ALGORITHM(id, member, INIT, UPDATE, FINAL) \
    static int id##_init(void *s) { return INIT(&((State *)s)->member); } \
    static int id##_update(void *s, const void *p, size_t n) { return UPDATE(&((State *)s)->member, p, n); } \
    static int id##_final(unsigned char *out, void *s) { return FINAL(out, &((State *)s)->member); }
ALGORITHM(md5, md5, MD5_Init, MD5_Update, MD5_Final)
ALGORITHM(sha1, sha1, SHA1_Init, SHA1_Update, SHA1_Final)
ALGORITHM(sha224, sha256, SHA224_Init, SHA224_Update, SHA224_Final)
ALGORITHM(sha256, sha256, SHA256_Init, SHA256_Update, SHA256_Final)
ALGORITHM(sha384, sha512, SHA384_Init, SHA384_Update, SHA384_Final)
ALGORITHM(sha512, sha512, SHA512_Init, SHA512_Update, SHA512_Final)
ALGORITHM(ripemd160, ripemd, RIPEMD160_Init, RIPEMD160_Update, RIPEMD160_Final)
#define ENTRY(id, size, block) {#id, size, block, id##_init, id##_update, id##_final}
static const Algorithm ALGORITHMS[] = {
    ENTRY(md5, 16, 64), ENTRY(sha1, 20, 64), ENTRY(sha224, 28, 64), ENTRY(sha256, 32, 64), ENTRY(sha384, 48, 128),
    ENTRY(sha512, 64, 128), ENTRY(ripemd160, 20, 64),
};
enum { MAX_SIZE = 64, MAX_BLOCK = 128 };

static const Algorithm *algorithm_of(JSContext *ctx, JSValueConst value)
{
    const char *name = JS_ToCString(ctx, value);
    const Algorithm *found = NULL;
    for (size_t i = 0; name && i < sizeof ALGORITHMS / sizeof *ALGORITHMS; i++)
        if (strcasecmp(ALGORITHMS[i].name, name) == 0)
            found = &ALGORITHMS[i];
    JS_FreeCString(ctx, name);
    return found;
}

// ---- HMAC (RFC 2104)

typedef struct { const Algorithm *a; State inner, outer; } Hmac;

static void hmac_init(Hmac *h, const Algorithm *a, const uint8_t *key, size_t length)
{
    uint8_t block[MAX_BLOCK] = {0}, pad[MAX_BLOCK];
    State state;
    h->a = a;
    if (length > a->block) {
        a->init(&state);
        a->update(&state, key, length);
        a->final(block, &state);
    } else if (length > 0) {
        memcpy(block, key, length);
    }
    for (size_t i = 0; i < a->block; i++)
        pad[i] = block[i] ^ 0x36;
    a->init(&h->inner);
    a->update(&h->inner, pad, a->block);
    for (size_t i = 0; i < a->block; i++)
        pad[i] = block[i] ^ 0x5c;
    a->init(&h->outer);
    a->update(&h->outer, pad, a->block);
}

static void hmac_final(Hmac *h, uint8_t *out)
{
    uint8_t digest[MAX_SIZE];
    h->a->final(digest, &h->inner);
    h->a->update(&h->outer, digest, h->a->size);
    h->a->final(out, &h->outer);
}

// ---- Hash objects

typedef struct { const Algorithm *a; State state; Hmac hmac; bool keyed; } Hash;
static JSClassID hash_class, cipher_class;

static void opaque_free(JSRuntime *rt, JSValueConst value)
{
    JSClassID id;
    js_free_rt(rt, JS_GetAnyOpaque(value, &id));
}

static JSValue object_of(JSContext *ctx, JSClassID id, void *opaque)
{
    JSValue object = JS_NewObjectClass(ctx, id);
    if (JS_IsException(object))
        js_free(ctx, opaque);
    else
        JS_SetOpaque(object, opaque);
    return object;
}

// hashOpen(name, key or undefined): a hash, an HMAC with a key; undefined for an unknown name.
NATIVE_FN(hashOpen)
{
    const Algorithm *a = algorithm_of(ctx, argv[0]);
    uint8_t *key;
    size_t length;
    if (!a)
        return JS_UNDEFINED;
    Hash *h = js_mallocz(ctx, sizeof *h);
    if (!h)
        return JS_EXCEPTION;
    h->a = a;
    h->keyed = bytes_of(ctx, argv[1], &key, &length);
    if (h->keyed)
        hmac_init(&h->hmac, a, key, length);
    else
        a->init(&h->state);
    return object_of(ctx, hash_class, h);
}

NATIVE_FN(hashCopy)
{
    Hash *h = JS_GetOpaque(argv[0], hash_class), *copy = h ? js_malloc(ctx, sizeof *copy) : NULL;
    if (!copy)
        return JS_ThrowTypeError(ctx, "not a hash");
    *copy = *h;
    return object_of(ctx, hash_class, copy);
}

NATIVE_FN(hashUpdate)
{
    Hash *h = JS_GetOpaque(argv[0], hash_class);
    uint8_t *p;
    size_t n;
    if (!h || !bytes_of(ctx, argv[1], &p, &n))
        return JS_FALSE;
    h->a->update(h->keyed ? &h->hmac.inner : &h->state, p, n);
    return JS_TRUE;
}

// hashFinal(hash): Uint8Array. Once.
NATIVE_FN(hashFinal)
{
    Hash *h = JS_GetOpaque(argv[0], hash_class);
    uint8_t digest[MAX_SIZE];
    if (!h)
        return JS_ThrowTypeError(ctx, "not a hash");
    if (h->keyed)
        hmac_final(&h->hmac, digest);
    else
        h->a->final(digest, &h->state);
    return JS_NewUint8ArrayCopy(ctx, digest, h->a->size);
}

NATIVE_FN(hashNames)
{
    JSValue list = JS_NewArray(ctx);
    for (size_t i = 0; i < sizeof ALGORITHMS / sizeof *ALGORITHMS; i++)
        JS_DefinePropertyValueUint32(ctx, list, i, JS_NewString(ctx, ALGORITHMS[i].name), JS_PROP_C_W_E);
    return list;
}

// ---- Key derivation

static void pbkdf2(const Algorithm *a, const uint8_t *password, size_t password_length, const uint8_t *salt, size_t salt_length,
                   int64_t iterations, uint8_t *out, size_t length)
{
    Hmac keyed;
    hmac_init(&keyed, a, password, password_length);
    for (uint32_t block = 1; length > 0; block++) {
        uint8_t u[MAX_SIZE], t[MAX_SIZE], number[4] = {block >> 24, block >> 16, block >> 8, block};
        Hmac h = keyed;
        a->update(&h.inner, salt, salt_length);
        a->update(&h.inner, number, 4);
        hmac_final(&h, u);
        memcpy(t, u, a->size);
        for (int64_t i = 1; i < iterations; i++) {
            h = keyed;
            a->update(&h.inner, u, a->size);
            hmac_final(&h, u);
            for (size_t k = 0; k < a->size; k++)
                t[k] ^= u[k];
        }
        size_t n = length < a->size ? length : a->size;
        memcpy(out, t, n);
        out += n;
        length -= n;
    }
}

// pbkdf2(hash, password, salt, iterations, length): Uint8Array, undefined for an unknown hash.
NATIVE_FN(pbkdf2)
{
    const Algorithm *a = algorithm_of(ctx, argv[0]);
    uint8_t *password, *salt;
    size_t password_length, salt_length, length = int64_arg(ctx, argv[4]);
    if (!a)
        return JS_UNDEFINED;
    if (!bytes_of(ctx, argv[1], &password, &password_length) || !bytes_of(ctx, argv[2], &salt, &salt_length) || length > INT_MAX)
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    uint8_t *out = js_malloc(ctx, length + 1);
    if (!out)
        return JS_EXCEPTION;
    pbkdf2(a, password, password_length, salt, salt_length, int64_arg(ctx, argv[3]), out, length);
    JSValue result = JS_NewUint8ArrayCopy(ctx, out, length);
    js_free(ctx, out);
    return result;
}

// hkdf(hash, key, salt, info, length): RFC 5869.
NATIVE_FN(hkdf)
{
    const Algorithm *a = algorithm_of(ctx, argv[0]);
    uint8_t *key, *salt, *info, prk[MAX_SIZE], t[MAX_SIZE];
    size_t key_length, salt_length, info_length, length = int64_arg(ctx, argv[4]), have = 0, done = 0;
    if (!a)
        return JS_UNDEFINED;
    if (!bytes_of(ctx, argv[1], &key, &key_length) || !bytes_of(ctx, argv[2], &salt, &salt_length) ||
        !bytes_of(ctx, argv[3], &info, &info_length) || length > 255 * a->size)
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    Hmac h;
    hmac_init(&h, a, salt, salt_length);
    a->update(&h.inner, key, key_length);
    hmac_final(&h, prk);
    uint8_t *out = js_malloc(ctx, length + 1);
    if (!out)
        return JS_EXCEPTION;
    for (uint8_t counter = 1; done < length; counter++) {
        hmac_init(&h, a, prk, a->size);
        a->update(&h.inner, t, have);
        a->update(&h.inner, info, info_length);
        a->update(&h.inner, &counter, 1);
        hmac_final(&h, t);
        have = a->size;
        size_t n = length - done < have ? length - done : have;
        memcpy(out + done, t, n);
        done += n;
    }
    JSValue result = JS_NewUint8ArrayCopy(ctx, out, length);
    js_free(ctx, out);
    return result;
}

// ---- scrypt (RFC 7914)

static void salsa20_8(uint32_t b[16])
{
    uint32_t x[16];
    memcpy(x, b, sizeof x);
#define R(v, n) ((v) << (n) | (v) >> (32 - (n)))
#define QUARTER(a, b, c, d) \
    x[b] ^= R(x[a] + x[d], 7), x[c] ^= R(x[b] + x[a], 9), x[d] ^= R(x[c] + x[b], 13), x[a] ^= R(x[d] + x[c], 18)
    for (int i = 0; i < 4; i++) {
        QUARTER(0, 4, 8, 12); QUARTER(5, 9, 13, 1); QUARTER(10, 14, 2, 6); QUARTER(15, 3, 7, 11);
        QUARTER(0, 1, 2, 3); QUARTER(5, 6, 7, 4); QUARTER(10, 11, 8, 9); QUARTER(15, 12, 13, 14);
    }
#undef QUARTER
#undef R
    for (int i = 0; i < 16; i++)
        b[i] += x[i];
}

static void block_mix(uint32_t *b, uint32_t *y, size_t r)
{
    uint32_t x[16];
    memcpy(x, b + (2 * r - 1) * 16, 64);
    for (size_t i = 0; i < 2 * r; i++) {
        for (int k = 0; k < 16; k++)
            x[k] ^= b[i * 16 + k];
        salsa20_8(x);
        memcpy(y + (i / 2 + (i & 1 ? r : 0)) * 16, x, 64);
    }
    memcpy(b, y, 128 * r);
}

// scrypt(password, salt, N, r, p, maxmem, length): Uint8Array, undefined when the parameters need more than maxmem bytes.
NATIVE_FN(scrypt)
{
    uint8_t *password, *salt;
    size_t password_length, salt_length;
    uint64_t n = int64_arg(ctx, argv[2]), r = int64_arg(ctx, argv[3]), p = int64_arg(ctx, argv[4]), limit = int64_arg(ctx, argv[5]);
    size_t length = int64_arg(ctx, argv[6]);
    if (!bytes_of(ctx, argv[0], &password, &password_length) || !bytes_of(ctx, argv[1], &salt, &salt_length))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    if (n < 2 || n & (n - 1) || r == 0 || p == 0 || n > 1u << 30 || r > 1u << 20 || p > 1u << 20 || length > INT_MAX ||
        128 * r * p + 32 * r * (n + 2) * 4 > limit)
        return JS_UNDEFINED;
    const Algorithm *a = &ALGORITHMS[3]; // sha256
    size_t words = 32 * r;
    uint8_t *b = malloc(128 * r * p), *out = malloc(length + 1);
    uint32_t *v = malloc(4 * words * n), *x = malloc(4 * words), *y = malloc(4 * words);
    JSValue result = JS_EXCEPTION;
    if (b && v && x && y && out) {
        pbkdf2(a, password, password_length, salt, salt_length, 1, b, 128 * r * p);
        for (uint64_t i = 0; i < p; i++) {
            memcpy(x, b + i * 128 * r, 4 * words); // little-endian on this machine
            for (uint64_t k = 0; k < n; k++) {
                memcpy(v + k * words, x, 4 * words);
                block_mix(x, y, r);
            }
            for (uint64_t k = 0; k < n; k++) {
                uint64_t j = x[(2 * r - 1) * 16] & (n - 1);
                for (size_t w = 0; w < words; w++)
                    x[w] ^= v[j * words + w];
                block_mix(x, y, r);
            }
            memcpy(b + i * 128 * r, x, 4 * words);
        }
        pbkdf2(a, password, password_length, b, 128 * r * p, 1, out, length);
        result = JS_NewUint8ArrayCopy(ctx, out, length);
    } else {
        JS_ThrowOutOfMemory(ctx);
    }
    free(b), free(v), free(x), free(y), free(out);
    return result;
}

// ---- AES in CBC, CTR, ECB and GCM

enum Mode { CBC, CTR, ECB, GCM };
typedef struct {
    AES_KEY key;
    enum Mode mode;
    bool encrypt, padding, ended;
    uint8_t iv[16], count[16], partial[16];
    unsigned used;       // bytes in partial, or CTR's position in count
    GCM128_CONTEXT *gcm;
} Cipher;

static void cipher_free(JSRuntime *rt, JSValueConst value)
{
    Cipher *c = JS_GetOpaque(value, cipher_class);
    if (c && c->gcm)
        CRYPTO_gcm128_release(c->gcm);
    js_free_rt(rt, c);
}

// cipherOpen(mode name, encrypt, key, iv): key of 16, 24 or 32 bytes.
NATIVE_FN(cipherOpen)
{
    static const char *const MODES[] = {"cbc", "ctr", "ecb", "gcm"};
    uint8_t *key, *iv;
    size_t key_length, iv_length = 0;
    int mode = -1;
    const char *name = JS_ToCString(ctx, argv[0]);
    for (int i = 0; name && i < 4; i++)
        if (strcmp(MODES[i], name) == 0)
            mode = i;
    JS_FreeCString(ctx, name);
    if (mode < 0 || !bytes_of(ctx, argv[2], &key, &key_length))
        return JS_UNDEFINED;
    if (!bytes_of(ctx, argv[3], &iv, &iv_length))
        iv = NULL, iv_length = 0;
    Cipher *c = js_mallocz(ctx, sizeof *c);
    if (!c)
        return JS_EXCEPTION;
    c->mode = mode;
    c->encrypt = JS_ToBool(ctx, argv[1]);
    c->padding = true;
    memcpy(c->iv, iv ? iv : c->iv, iv_length < 16 ? iv_length : 16);
    if (c->encrypt || mode == CTR || mode == GCM)
        AES_set_encrypt_key(key, key_length * 8, &c->key);
    else
        AES_set_decrypt_key(key, key_length * 8, &c->key);
    JSValue object = object_of(ctx, cipher_class, c);
    if (mode == GCM && !JS_IsException(object)) {
        c->gcm = CRYPTO_gcm128_new(&c->key, (block128_f)AES_encrypt);
        CRYPTO_gcm128_setiv(c->gcm, iv, iv_length);
    }
    return object;
}

static void one_block(Cipher *c, const uint8_t *in, uint8_t *out)
{
    if (c->mode == ECB)
        c->encrypt ? AES_encrypt(in, out, &c->key) : AES_decrypt(in, out, &c->key);
    else
        AES_cbc_encrypt(in, out, 16, &c->key, c->iv, c->encrypt);
}

// cipherUpdate(cipher, bytes): Uint8Array.
NATIVE_FN(cipherUpdate)
{
    Cipher *c = JS_GetOpaque(argv[0], cipher_class);
    uint8_t *p;
    size_t n, out_length = 0;
    if (!c || c->ended || !bytes_of(ctx, argv[1], &p, &n))
        return JS_UNDEFINED;
    uint8_t *out = js_malloc(ctx, n + 32);
    if (!out)
        return JS_EXCEPTION;
    if (c->mode == GCM) {
        c->encrypt ? CRYPTO_gcm128_encrypt(c->gcm, p, out, n) : CRYPTO_gcm128_decrypt(c->gcm, p, out, n);
        out_length = n;
    } else if (c->mode == CTR) {
        CRYPTO_ctr128_encrypt(p, out, n, &c->key, c->iv, c->count, &c->used, (block128_f)AES_encrypt);
        out_length = n;
    } else {
        // Whole blocks; when decrypting with padding the last one is held back.
        while (n > 0) {
            if (c->used == 16) {
                one_block(c, c->partial, out + out_length);
                out_length += 16;
                c->used = 0;
            }
            size_t take = 16 - c->used < n ? 16 - c->used : n;
            memcpy(c->partial + c->used, p, take);
            c->used += take, p += take, n -= take;
        }
        if (c->used == 16 && (c->encrypt || !c->padding)) {
            one_block(c, c->partial, out + out_length);
            out_length += 16;
            c->used = 0;
        }
    }
    JSValue result = JS_NewUint8ArrayCopy(ctx, out, out_length);
    js_free(ctx, out);
    return result;
}

// cipherFinal(cipher, tag to be checked): Uint8Array, null when padding or tag are wrong, false for an incomplete block.
NATIVE_FN(cipherFinal)
{
    Cipher *c = JS_GetOpaque(argv[0], cipher_class);
    uint8_t out[16], *tag;
    size_t length = 0, tag_length;
    if (!c || c->ended)
        return JS_UNDEFINED;
    c->ended = true;
    if (c->mode == GCM) {
        if (!c->encrypt && (!bytes_of(ctx, argv[1], &tag, &tag_length) || CRYPTO_gcm128_finish(c->gcm, tag, tag_length) != 0))
            return JS_NULL;
    } else if (c->mode != CTR) {
        if (!c->padding) {
            if (c->used != 0)
                return JS_FALSE;
        } else if (c->encrypt) {
            memset(c->partial + c->used, 16 - c->used, 16 - c->used);
            one_block(c, c->partial, out);
            length = 16;
        } else {
            if (c->used != 16)
                return JS_FALSE;
            one_block(c, c->partial, out);
            uint8_t pad = out[15];
            if (pad == 0 || pad > 16)
                return JS_NULL;
            for (int i = 16 - pad; i < 16; i++)
                if (out[i] != pad)
                    return JS_NULL;
            length = 16 - pad;
        }
    }
    return JS_NewUint8ArrayCopy(ctx, out, length);
}

// cipherTag(cipher): of GCM, 16 bytes, after final. cipherAad(cipher, bytes). cipherPadding(cipher, on).
NATIVE_FN(cipherTag)
{
    Cipher *c = JS_GetOpaque(argv[0], cipher_class);
    uint8_t tag[16];
    if (!c || !c->gcm)
        return JS_UNDEFINED;
    CRYPTO_gcm128_tag(c->gcm, tag, sizeof tag);
    return JS_NewUint8ArrayCopy(ctx, tag, sizeof tag);
}
NATIVE_FN(cipherAad)
{
    Cipher *c = JS_GetOpaque(argv[0], cipher_class);
    uint8_t *p;
    size_t n;
    return JS_NewBool(ctx, c && c->gcm && bytes_of(ctx, argv[1], &p, &n) && CRYPTO_gcm128_aad(c->gcm, p, n) == 0);
}
NATIVE_FN(cipherPadding)
{
    Cipher *c = JS_GetOpaque(argv[0], cipher_class);
    if (c)
        c->padding = JS_ToBool(ctx, argv[1]);
    return JS_NewBool(ctx, c != NULL);
}

void init_crypto(JSContext *ctx, JSValueConst native)
{
    static const JSClassDef hash = {"NativeHash", .finalizer = opaque_free}, cipher = {"NativeCipher", .finalizer = cipher_free};
    static const JSCFunctionListEntry table[] = {
        NATIVE(hashOpen, 2), NATIVE(hashCopy, 1), NATIVE(hashUpdate, 2), NATIVE(hashFinal, 1), NATIVE(hashNames, 0),
        NATIVE(pbkdf2, 5), NATIVE(hkdf, 5), NATIVE(scrypt, 7), NATIVE(cipherOpen, 4), NATIVE(cipherUpdate, 2),
        NATIVE(cipherFinal, 2), NATIVE(cipherTag, 1), NATIVE(cipherAad, 2), NATIVE(cipherPadding, 2),
    };
    JSRuntime *rt = JS_GetRuntime(ctx);
    JS_NewClassID(rt, &hash_class);
    JS_NewClass(rt, hash_class, &hash);
    JS_NewClassID(rt, &cipher_class);
    JS_NewClass(rt, cipher_class, &cipher);
    ADD_NATIVES(ctx, native, table);
}
