// Buffer's encodings, comparisons and searches.
#include <stdlib.h>
#include <string.h>
#include "node.h"

int32_t int_arg(JSContext *ctx, JSValueConst value)
{
    int32_t n = 0;
    if (JS_IsUndefined(value) || JS_ToInt32(ctx, &n, value) < 0)
        return 0;
    return n;
}

int64_t int64_arg(JSContext *ctx, JSValueConst value)
{
    int64_t n = 0;
    if (JS_IsUndefined(value) || JS_IsNull(value))
        return 0;
    if (JS_IsBigInt(value)) {
        JS_ToBigInt64(ctx, &n, value);
        return n;
    }
    if (JS_ToInt64(ctx, &n, value) < 0)
        return 0;
    return n;
}

// ---- UTF-8

static size_t ascii_prefix(const uint8_t *s, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, s + i, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    while (i < n && s[i] < 0x80)
        i++;
    return i;
}

// One character. Returns the bytes consumed (at least 1); *c is U+FFFD for a maximal ill-formed part.
static size_t utf8_decode(const uint8_t *s, size_t n, uint32_t *c, bool *ill)
{
    uint8_t b = s[0], low = 0x80, high = 0xbf;
    size_t need;
    uint32_t value;
    *ill = false;
    if (b < 0x80) {
        *c = b;
        return 1;
    }
    if (b >= 0xc2 && b <= 0xdf) {
        need = 1, value = b & 0x1f;
    } else if (b >= 0xe0 && b <= 0xef) {
        need = 2, value = b & 0x0f;
        if (b == 0xe0) low = 0xa0;
        if (b == 0xed) high = 0x9f;
    } else if (b >= 0xf0 && b <= 0xf4) {
        need = 3, value = b & 0x07;
        if (b == 0xf0) low = 0x90;
        if (b == 0xf4) high = 0x8f;
    } else {
        *ill = true, *c = 0xfffd;
        return 1;
    }
    for (size_t i = 1; i <= need; i++) {
        if (i >= n || s[i] < low || s[i] > high) {
            *ill = true, *c = 0xfffd;
            return i;
        }
        value = value << 6 | (s[i] & 0x3f);
        low = 0x80, high = 0xbf;
    }
    *c = value;
    return need + 1;
}

JSValue new_string_utf8(JSContext *ctx, const uint8_t *s, size_t n)
{
    size_t i = ascii_prefix(s, n), out;
    if (i == n)
        return new_string_latin1(ctx, s, n);
    uint16_t *units = js_malloc(ctx, n * sizeof(*units));
    if (!units)
        return JS_EXCEPTION;
    for (out = 0; out < i; out++)
        units[out] = s[out];
    while (i < n) {
        uint32_t c;
        bool ill;
        i += utf8_decode(s + i, n - i, &c, &ill);
        if (c >= 0x10000) {
            units[out++] = 0xd800 + ((c - 0x10000) >> 10);
            units[out++] = 0xdc00 + (c & 0x3ff);
        } else {
            units[out++] = c;
        }
    }
    JSValue string = JS_NewStringUTF16(ctx, units, out);
    js_free(ctx, units);
    return string;
}

size_t string_utf8(const StringView *v, uint8_t *out, size_t room, size_t *read)
{
    size_t used = 0, i = 0;
    while (i < v->length) {
        uint32_t c = v->narrow ? v->narrow[i] : v->wide[i];
        size_t units = 1;
        if (c >= 0xd800 && c <= 0xdfff) {
            if (c < 0xdc00 && i + 1 < v->length && (v->wide[i + 1] & 0xfc00) == 0xdc00) {
                c = 0x10000 + ((c & 0x3ff) << 10) + (v->wide[i + 1] & 0x3ff);
                units = 2;
            } else {
                c = 0xfffd;
            }
        }
        size_t need = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (out) {
            if (used + need > room)
                break;
            uint8_t *p = out + used;
            switch (need) {
            case 1: p[0] = c; break;
            case 2: p[0] = 0xc0 | c >> 6, p[1] = 0x80 | (c & 0x3f); break;
            case 3: p[0] = 0xe0 | c >> 12, p[1] = 0x80 | (c >> 6 & 0x3f), p[2] = 0x80 | (c & 0x3f); break;
            default: p[0] = 0xf0 | c >> 18, p[1] = 0x80 | (c >> 12 & 0x3f), p[2] = 0x80 | (c >> 6 & 0x3f), p[3] = 0x80 | (c & 0x3f);
            }
        }
        used += need;
        i += units;
    }
    *read = i;
    return used;
}

static size_t utf8_length(const StringView *v)
{
    size_t read;
    if (v->narrow) {
        size_t n = v->length;
        for (uint32_t i = 0; i < v->length; i++)
            n += v->narrow[i] >> 7;
        return n;
    }
    return string_utf8(v, NULL, 0, &read);
}

// ---- Slices: `this` is the Buffer, arguments (start, end)

static bool slice_of(JSContext *ctx, JSValueConst this_val, int argc, JSValueConst *argv, const uint8_t **p, size_t *n)
{
    uint8_t *bytes;
    size_t length;
    if (!bytes_of(ctx, this_val, &bytes, &length)) {
        JS_ThrowTypeError(ctx, "argument must be a buffer");
        return false;
    }
    int64_t start = argc > 0 ? int64_arg(ctx, argv[0]) : 0;
    int64_t end = argc > 1 && !JS_IsUndefined(argv[1]) ? int64_arg(ctx, argv[1]) : (int64_t)length;
    if (start < 0) start = 0;
    if (end > (int64_t)length) end = length;
    if (end < start) end = start;
    *p = bytes + start;
    *n = end - start;
    return true;
}

#define SLICE(name) \
    NATIVE_FN(name##Slice) \
    { \
        const uint8_t *p; \
        size_t n; \
        return slice_of(ctx, this_val, argc, argv, &p, &n) ? decode_##name(ctx, p, n) : JS_EXCEPTION; \
    }

static JSValue decode_utf8(JSContext *ctx, const uint8_t *p, size_t n)
{
    if (n > (1u << 29))
        return JS_ThrowRangeError(ctx, "Cannot create a string longer than 0x1fffffe8 characters");
    return new_string_utf8(ctx, p, n);
}
static JSValue decode_latin1(JSContext *ctx, const uint8_t *p, size_t n) { return new_string_latin1(ctx, p, n); }
static JSValue decode_ascii(JSContext *ctx, const uint8_t *p, size_t n)
{
    if (ascii_prefix(p, n) == n)
        return new_string_latin1(ctx, p, n);
    uint8_t *copy = js_malloc(ctx, n);
    if (!copy)
        return JS_EXCEPTION;
    for (size_t i = 0; i < n; i++)
        copy[i] = p[i] & 0x7f;
    JSValue string = new_string_latin1(ctx, copy, n);
    js_free(ctx, copy);
    return string;
}
static JSValue decode_ucs2(JSContext *ctx, const uint8_t *p, size_t n)
{
    if (n < 2)
        return JS_NewString(ctx, "");
    uint16_t *units = js_malloc(ctx, n);
    if (!units)
        return JS_EXCEPTION;
    memcpy(units, p, n & ~(size_t)1);
    JSValue string = JS_NewStringUTF16(ctx, units, n / 2);
    js_free(ctx, units);
    return string;
}
static JSValue decode_hex(JSContext *ctx, const uint8_t *p, size_t n)
{
    static const char DIGITS[] = "0123456789abcdef";
    uint8_t *text = js_malloc(ctx, n * 2 + 1);
    if (!text)
        return JS_EXCEPTION;
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = DIGITS[p[i] >> 4];
        text[2 * i + 1] = DIGITS[p[i] & 15];
    }
    JSValue string = new_string_latin1(ctx, text, n * 2);
    js_free(ctx, text);
    return string;
}
static JSValue base64(JSContext *ctx, const uint8_t *p, size_t n, bool url)
{
    const char *digits = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                             : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *text = js_malloc(ctx, (n + 2) / 3 * 4 + 1);
    if (!text)
        return JS_EXCEPTION;
    size_t out = 0, i = 0;
    for (; i + 3 <= n; i += 3) {
        uint32_t v = p[i] << 16 | p[i + 1] << 8 | p[i + 2];
        text[out++] = digits[v >> 18], text[out++] = digits[v >> 12 & 63], text[out++] = digits[v >> 6 & 63], text[out++] = digits[v & 63];
    }
    if (i < n) {
        uint32_t v = p[i] << 16 | (i + 1 < n ? p[i + 1] << 8 : 0);
        text[out++] = digits[v >> 18], text[out++] = digits[v >> 12 & 63];
        if (i + 1 < n)
            text[out++] = digits[v >> 6 & 63];
        else if (!url)
            text[out++] = '=';
        if (!url)
            text[out++] = '=';
    }
    JSValue string = new_string_latin1(ctx, text, out);
    js_free(ctx, text);
    return string;
}
static JSValue decode_base64(JSContext *ctx, const uint8_t *p, size_t n) { return base64(ctx, p, n, false); }
static JSValue decode_base64url(JSContext *ctx, const uint8_t *p, size_t n) { return base64(ctx, p, n, true); }

SLICE(utf8) SLICE(latin1) SLICE(ascii) SLICE(ucs2) SLICE(hex) SLICE(base64) SLICE(base64url)

// decodeUTF8(bytes, ignoreBOM, fatal): TextDecoder's one-shot decoding; undefined for ill-formed input when fatal.
NATIVE_FN(decodeUTF8)
{
    uint8_t *p;
    size_t n;
    if (!bytes_of(ctx, argv[0], &p, &n))
        return JS_ThrowTypeError(ctx, "The \"list\" argument must be an instance of SharedArrayBuffer, ArrayBuffer or ArrayBufferView.");
    if (JS_ToBool(ctx, argv[2]))
        for (size_t i = ascii_prefix(p, n); i < n;) {
            uint32_t c;
            bool ill;
            i += utf8_decode(p + i, n - i, &c, &ill);
            if (ill)
                return JS_UNDEFINED;
        }
    if (!JS_ToBool(ctx, argv[1]) && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3, n -= 3;
    return decode_utf8(ctx, p, n);
}

// ---- Writes: `this` is the Buffer, arguments (string, offset, length)

typedef size_t Encode(const StringView *v, uint8_t *out, size_t room);

static size_t encode_utf8(const StringView *v, uint8_t *out, size_t room)
{
    size_t read;
    return string_utf8(v, out, room, &read);
}
static size_t encode_latin1(const StringView *v, uint8_t *out, size_t room)
{
    size_t n = v->length < room ? v->length : room;
    if (v->narrow)
        memcpy(out, v->narrow, n);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = v->wide[i];
    return n;
}
static size_t encode_ucs2(const StringView *v, uint8_t *out, size_t room)
{
    size_t n = v->length < room / 2 ? v->length : room / 2;
    for (size_t i = 0; i < n; i++) {
        uint16_t c = v->narrow ? v->narrow[i] : v->wide[i];
        out[2 * i] = c, out[2 * i + 1] = c >> 8;
    }
    return n * 2;
}
static unsigned unit_at(const StringView *v, size_t i) { return v->narrow ? v->narrow[i] : v->wide[i]; }
static int hex_digit(unsigned c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (int)(c - 'a' + 10) : -1;
}
static size_t encode_hex(const StringView *v, uint8_t *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < v->length && n < room; i += 2) {
        int high = unit_at(v, i) < 128 ? hex_digit(unit_at(v, i)) : -1, low = unit_at(v, i + 1) < 128 ? hex_digit(unit_at(v, i + 1)) : -1;
        if (high < 0 || low < 0)
            break;
        out[n++] = high << 4 | low;
    }
    return n;
}
static int base64_digit(unsigned c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}
// Both alphabets, anything else skipped, stops at '=': as Node does it.
static size_t encode_base64(const StringView *v, uint8_t *out, size_t room)
{
    uint32_t bits = 0;
    int count = 0;
    size_t n = 0;
    for (size_t i = 0; i < v->length && n < room; i++) {
        unsigned c = unit_at(v, i);
        if (c == '=')
            break;
        int digit = base64_digit(c);
        if (digit < 0)
            continue;
        bits = bits << 6 | digit;
        if (++count == 4) {
            out[n++] = bits >> 16;
            if (n < room) out[n++] = bits >> 8;
            if (n < room) out[n++] = bits;
            bits = count = 0;
        }
    }
    if (count >= 2 && n < room)
        out[n++] = count == 2 ? bits >> 4 : bits >> 10;
    if (count == 3 && n < room)
        out[n++] = bits >> 2;
    return n;
}

static JSValue write_string(JSContext *ctx, JSValueConst this_val, int argc, JSValueConst *argv, Encode *encode)
{
    uint8_t *bytes;
    size_t length;
    StringView view;
    if (!bytes_of(ctx, this_val, &bytes, &length))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    if (!JS_IsString(argv[0]))
        return JS_ThrowTypeError(ctx, "argument must be a string");
    int64_t offset = argc > 1 && !JS_IsUndefined(argv[1]) ? int64_arg(ctx, argv[1]) : 0;
    if (offset < 0 || offset > (int64_t)length)
        return JS_ThrowRangeError(ctx, "\"offset\" is outside of buffer bounds");
    int64_t room = length - offset;
    if (argc > 2 && !JS_IsUndefined(argv[2])) {
        int64_t wanted = int64_arg(ctx, argv[2]);
        if (wanted < room)
            room = wanted < 0 ? 0 : wanted;
    }
    if (!string_view(ctx, argv[0], &view))
        return JS_EXCEPTION;
    size_t n = encode(&view, bytes + offset, room);
    string_release(ctx, &view);
    return JS_NewInt64(ctx, n);
}

#define WRITE(name) \
    NATIVE_FN(name##Write) { return write_string(ctx, this_val, argc, argv, encode_##name); }
WRITE(utf8) WRITE(latin1) WRITE(ucs2) WRITE(hex) WRITE(base64)

NATIVE_FN(byteLengthUtf8)
{
    StringView view;
    if (!string_view(ctx, argv[0], &view))
        return JS_EXCEPTION;
    size_t n = utf8_length(&view);
    string_release(ctx, &view);
    return JS_NewInt64(ctx, n);
}

// encodeUtf8String(string): a Uint8Array.
NATIVE_FN(encodeUtf8String)
{
    StringView view;
    if (!string_view(ctx, argv[0], &view))
        return JS_EXCEPTION;
    size_t n = utf8_length(&view), read;
    uint8_t *bytes = js_malloc(ctx, n + 1);
    JSValue array = JS_EXCEPTION;
    if (bytes) {
        string_utf8(&view, bytes, n, &read);
        array = JS_NewUint8ArrayCopy(ctx, bytes, n);
        js_free(ctx, bytes);
    }
    string_release(ctx, &view);
    return array;
}

// encodeInto(string, bytes, results): results[0] code units read, results[1] bytes written.
NATIVE_FN(encodeInto)
{
    StringView view;
    uint8_t *bytes, *results;
    size_t length, results_length, read;
    if (!bytes_of(ctx, argv[1], &bytes, &length) || !bytes_of(ctx, argv[2], &results, &results_length) || results_length < 8)
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    if (!string_view(ctx, argv[0], &view))
        return JS_EXCEPTION;
    uint32_t counts[2];
    counts[1] = string_utf8(&view, bytes, length, &read);
    counts[0] = read;
    memcpy(results, counts, 8);
    string_release(ctx, &view);
    return JS_UNDEFINED;
}

// ---- Comparison and copying

static int order(const uint8_t *a, size_t n, const uint8_t *b, size_t m)
{
    int c = memcmp(a, b, n < m ? n : m);
    return c ? (c < 0 ? -1 : 1) : n < m ? -1 : n > m;
}

NATIVE_FN(compare)
{
    uint8_t *a, *b;
    size_t n, m;
    if (!bytes_of(ctx, argv[0], &a, &n) || !bytes_of(ctx, argv[1], &b, &m))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    return JS_NewInt32(ctx, order(a, n, b, m));
}

// compareOffset(source, target, targetStart, sourceStart, targetLength, sourceLength)
NATIVE_FN(compareOffset)
{
    uint8_t *a, *b;
    size_t n, m;
    if (!bytes_of(ctx, argv[0], &a, &n) || !bytes_of(ctx, argv[1], &b, &m))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    size_t target = int64_arg(ctx, argv[2]), source = int64_arg(ctx, argv[3]);
    size_t target_length = int64_arg(ctx, argv[4]), source_length = int64_arg(ctx, argv[5]);
    if (source > n)
        return JS_ThrowRangeError(ctx, "The value of \"sourceStart\" is out of range.");
    if (target > m)
        return JS_ThrowRangeError(ctx, "The value of \"targetStart\" is out of range.");
    if (source_length > n - source) source_length = n - source;
    if (target_length > m - target) target_length = m - target;
    return JS_NewInt32(ctx, order(a + source, source_length, b + target, target_length));
}

// copyBytes(source, target, targetStart, sourceStart, count): the caller has checked the bounds; checked again.
NATIVE_FN(copyBytes)
{
    uint8_t *a, *b;
    size_t n, m;
    if (!bytes_of(ctx, argv[0], &a, &n) || !bytes_of(ctx, argv[1], &b, &m))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    size_t to = int64_arg(ctx, argv[2]), from = int64_arg(ctx, argv[3]), count = int64_arg(ctx, argv[4]);
    if (from > n || to > m)
        return JS_NewInt32(ctx, 0);
    if (count > n - from) count = n - from;
    if (count > m - to) count = m - to;
    memmove(b + to, a + from, count);
    return JS_NewInt64(ctx, count);
}

// fillBytes(target, pattern bytes or number, start, end): -2 out of bounds, -1 empty pattern.
NATIVE_FN(fillBytes)
{
    uint8_t *p, *pattern;
    size_t n, m;
    if (!bytes_of(ctx, argv[0], &p, &n))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    int64_t start = int64_arg(ctx, argv[2]), end = int64_arg(ctx, argv[3]);
    if (start < 0 || end > (int64_t)n)
        return JS_NewInt32(ctx, -2);
    if (start >= end)
        return JS_UNDEFINED;
    if (!bytes_of(ctx, argv[1], &pattern, &m)) {
        memset(p + start, int_arg(ctx, argv[1]) & 255, end - start);
        return JS_UNDEFINED;
    }
    if (m == 0)
        return JS_NewInt32(ctx, -1);
    for (int64_t i = start, k = 0; i < end; i++, k = k + 1 == (int64_t)m ? 0 : k + 1)
        p[i] = pattern[k];
    return JS_UNDEFINED;
}

// indexOfBytes(haystack, needle bytes or number, byteOffset, forward, step): step 2 for UTF-16. -1 when absent.
NATIVE_FN(indexOfBytes)
{
    uint8_t *p, *needle, one;
    size_t n, m;
    if (!bytes_of(ctx, argv[0], &p, &n))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    if (!bytes_of(ctx, argv[1], &needle, &m)) {
        one = int_arg(ctx, argv[1]);
        needle = &one;
        m = 1;
    }
    int64_t offset = int64_arg(ctx, argv[2]), length = n, step = int_arg(ctx, argv[4]) == 2 ? 2 : 1;
    bool forward = JS_ToBool(ctx, argv[3]);
    // The rules of IndexOfOffset in Node's src/node_buffer.cc.
    if (offset < 0) {
        if (offset + length >= 0)
            offset += length;
        else if (forward || m == 0)
            offset = 0;
        else
            return JS_NewInt32(ctx, -1);
    } else if (offset + (int64_t)m > length) {
        if (m == 0)
            offset = length;
        else if (forward)
            return JS_NewInt32(ctx, -1);
        else
            offset = length - 1;
    }
    if (m == 0)
        return JS_NewInt64(ctx, offset);
    if (length == 0 || (int64_t)m > length)
        return JS_NewInt32(ctx, -1);
    if (!forward && offset > length - (int64_t)m)
        offset = length - m;
    if (step == 2)
        offset &= ~(int64_t)1;
    if (forward && step == 1) {
        uint8_t *found = offset + (int64_t)m <= length ? memmem(p + offset, length - offset, needle, m) : NULL;
        return JS_NewInt64(ctx, found ? found - p : -1);
    }
    for (int64_t i = offset; i >= 0 && i + (int64_t)m <= length; i += forward ? step : -step)
        if (memcmp(p + i, needle, m) == 0)
            return JS_NewInt64(ctx, i);
    return JS_NewInt32(ctx, -1);
}

// swapBytes(bytes, width): in place, in groups of 2, 4 or 8.
NATIVE_FN(swapBytes)
{
    uint8_t *p;
    size_t n, width = int_arg(ctx, argv[1]);
    if (!bytes_of(ctx, argv[0], &p, &n) || width < 2)
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    for (size_t i = 0; i + width <= n; i += width)
        for (size_t a = 0, b = width - 1; a < b; a++, b--) {
            uint8_t t = p[i + a];
            p[i + a] = p[i + b];
            p[i + b] = t;
        }
    return JS_DupValue(ctx, argv[0]);
}

NATIVE_FN(isUtf8)
{
    uint8_t *p;
    size_t n;
    if (!bytes_of(ctx, argv[0], &p, &n))
        return JS_FALSE;
    for (size_t i = ascii_prefix(p, n); i < n;) {
        uint32_t c;
        bool ill;
        i += utf8_decode(p + i, n - i, &c, &ill);
        if (ill)
            return JS_FALSE;
    }
    return JS_TRUE;
}

NATIVE_FN(isAscii)
{
    uint8_t *p;
    size_t n;
    return JS_NewBool(ctx, bytes_of(ctx, argv[0], &p, &n) && ascii_prefix(p, n) == n);
}

// timingSafeEqual(a, b) of equal lengths.
NATIVE_FN(timingSafeEqual)
{
    uint8_t *a, *b;
    size_t n, m;
    if (!bytes_of(ctx, argv[0], &a, &n) || !bytes_of(ctx, argv[1], &b, &m) || n != m)
        return JS_FALSE;
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < n; i++)
        difference |= a[i] ^ b[i];
    return JS_NewBool(ctx, difference == 0);
}

// toUSVString(string): lone surrogates replaced.
NATIVE_FN(toUSVString)
{
    StringView view;
    if (!string_view(ctx, argv[0], &view))
        return JS_EXCEPTION;
    if (view.narrow) {
        string_release(ctx, &view);
        return JS_ToString(ctx, argv[0]);
    }
    uint16_t *units = js_malloc(ctx, view.length * 2);
    JSValue result = JS_EXCEPTION;
    if (units) {
        for (size_t i = 0; i < view.length; i++) {
            uint16_t c = view.wide[i];
            bool high = (c & 0xfc00) == 0xd800, low = (c & 0xfc00) == 0xdc00;
            if (high && i + 1 < view.length && (view.wide[i + 1] & 0xfc00) == 0xdc00) {
                units[i] = c;
                units[i + 1] = view.wide[i + 1];
                i++;
            } else {
                units[i] = high || low ? 0xfffd : c;
            }
        }
        result = JS_NewStringUTF16(ctx, units, view.length);
        js_free(ctx, units);
    }
    string_release(ctx, &view);
    return result;
}

void init_bytes(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {
        NATIVE(utf8Slice, 2), NATIVE(latin1Slice, 2), NATIVE(asciiSlice, 2), NATIVE(ucs2Slice, 2), NATIVE(hexSlice, 2),
        NATIVE(base64Slice, 2), NATIVE(base64urlSlice, 2), NATIVE(decodeUTF8, 3), NATIVE(utf8Write, 3), NATIVE(latin1Write, 3),
        NATIVE(ucs2Write, 3), NATIVE(hexWrite, 3), NATIVE(base64Write, 3), NATIVE(byteLengthUtf8, 1),
        NATIVE(encodeUtf8String, 1), NATIVE(encodeInto, 3), NATIVE(compare, 2), NATIVE(compareOffset, 6), NATIVE(copyBytes, 5),
        NATIVE(fillBytes, 4), NATIVE(indexOfBytes, 5), NATIVE(swapBytes, 2), NATIVE(isUtf8, 1), NATIVE(isAscii, 1),
        NATIVE(timingSafeEqual, 2), NATIVE(toUSVString, 1),
    };
    ADD_NATIVES(ctx, native, table);
}
