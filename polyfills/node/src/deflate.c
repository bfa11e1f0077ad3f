// Compression streams over zlib: what internalBinding('zlib') steps through.
#include <limits.h>
#include <string.h>
#include <zlib.h>
#include "node.h"

// Modes as in Node's src/node_zlib.cc.
enum { DEFLATE = 1, INFLATE, GZIP, GUNZIP, DEFLATERAW, INFLATERAW, UNZIP };

typedef struct {
    z_stream z;
    int mode, level, window, memory, strategy;
    bool open, gzip_ended;
    uint8_t *dictionary;
    size_t dictionary_length;
} Stream;

static JSClassID stream_class;

static bool deflating(const Stream *s) { return s->mode == DEFLATE || s->mode == GZIP || s->mode == DEFLATERAW; }

static void stream_end(Stream *s)
{
    if (s->open)
        deflating(s) ? deflateEnd(&s->z) : inflateEnd(&s->z);
    s->open = false;
}

static void stream_free(JSRuntime *rt, JSValueConst value)
{
    Stream *s = JS_GetOpaque(value, stream_class);
    if (s) {
        stream_end(s);
        js_free_rt(rt, s->dictionary);
        js_free_rt(rt, s);
    }
}

// A result that is an error: [message, zlib's number].
static JSValue failure(JSContext *ctx, const char *message, int number)
{
    JSValue items[2] = {JS_NewString(ctx, message), JS_NewInt32(ctx, number)};
    return JS_NewArrayFrom(ctx, 2, items);
}

static int stream_open(Stream *s)
{
    memset(&s->z, 0, sizeof s->z);
    int window = s->window, result;
    switch (s->mode) {
    case GZIP: case GUNZIP: window += 16; break;
    case UNZIP: window += 32; break;
    case DEFLATERAW: case INFLATERAW: window = -window; break;
    }
    // Inflating with window 0 takes the size from the header.
    if (s->window == 0 && (s->mode == INFLATE || s->mode == GUNZIP || s->mode == UNZIP))
        window = s->mode == GUNZIP ? 16 : s->mode == UNZIP ? 32 : 0;
    if (deflating(s))
        result = deflateInit2(&s->z, s->level, Z_DEFLATED, window, s->memory, s->strategy);
    else
        result = inflateInit2(&s->z, window);
    s->open = result == Z_OK;
    if (s->open && s->dictionary) {
        if (deflating(s))
            result = deflateSetDictionary(&s->z, s->dictionary, s->dictionary_length);
        else if (s->mode == INFLATERAW)
            result = inflateSetDictionary(&s->z, s->dictionary, s->dictionary_length);
    }
    return result;
}

// zlibOpen(mode, windowBits, level, memLevel, strategy, dictionary): a stream object, or [message, number].
NATIVE_FN(zlibOpen)
{
    Stream *s = js_mallocz(ctx, sizeof *s);
    if (!s)
        return JS_EXCEPTION;
    s->mode = int_arg(ctx, argv[0]);
    s->window = int_arg(ctx, argv[1]);
    s->level = int_arg(ctx, argv[2]);
    s->memory = int_arg(ctx, argv[3]);
    s->strategy = int_arg(ctx, argv[4]);
    uint8_t *p;
    size_t n;
    if (bytes_of(ctx, argv[5], &p, &n) && (s->dictionary = js_malloc(ctx, n + 1))) {
        memcpy(s->dictionary, p, n);
        s->dictionary_length = n;
    }
    int result = stream_open(s);
    JSValue object = JS_NewObjectClass(ctx, stream_class);
    if (JS_IsException(object))
        return object;
    JS_SetOpaque(object, s);
    if (result == Z_OK)
        return object;
    JS_FreeValue(ctx, object);
    return failure(ctx, result == Z_DATA_ERROR ? "Failed to set dictionary" : "Init error", result);
}

static int step(Stream *s, int flush)
{
    if (deflating(s))
        return deflate(&s->z, flush);
    int result = inflate(&s->z, flush);
    if (result == Z_NEED_DICT && s->dictionary) {
        result = inflateSetDictionary(&s->z, s->dictionary, s->dictionary_length);
        if (result == Z_OK)
            result = inflate(&s->z, flush);
        else if (result == Z_DATA_ERROR)
            result = Z_NEED_DICT; // the wrong one
    }
    // Members of a gzip file that follow each other; zeroes after the last are padding.
    while (s->z.avail_in > 0 && (s->mode == GUNZIP || s->mode == UNZIP) && result == Z_STREAM_END && s->z.next_in[0] != 0) {
        if (inflateReset(&s->z) != Z_OK)
            break;
        result = inflate(&s->z, flush);
    }
    return result;
}

// zlibStep(stream, flush, in or null, inOffset, inLength, out, outOffset, outLength, state): state[0] room left in out, state[1]
// input left. Returns undefined or [message, number].
NATIVE_FN(zlibStep)
{
    Stream *s = JS_GetOpaque(argv[0], stream_class);
    uint8_t *in = NULL, *out, *state;
    size_t in_size = 0, out_size, state_size;
    if (!s || !s->open)
        return JS_ThrowTypeError(ctx, "the stream is closed");
    int flush = int_arg(ctx, argv[1]);
    size_t in_offset = int64_arg(ctx, argv[3]), in_length = int64_arg(ctx, argv[4]);
    size_t out_offset = int64_arg(ctx, argv[6]), out_length = int64_arg(ctx, argv[7]);
    if (!bytes_of(ctx, argv[2], &in, &in_size))
        in_offset = in_length = 0;
    if (!bytes_of(ctx, argv[5], &out, &out_size) || !bytes_of(ctx, argv[8], &state, &state_size) || state_size < 8 ||
        in_offset > in_size || in_length > in_size - in_offset || out_offset > out_size || out_length > out_size - out_offset ||
        in_length > UINT_MAX || out_length > UINT_MAX)
        return JS_ThrowRangeError(ctx, "out of range");
    s->z.next_in = in ? in + in_offset : NULL;
    s->z.avail_in = in_length;
    s->z.next_out = out + out_offset;
    s->z.avail_out = out_length;
    int result = step(s, flush);
    uint32_t left[2] = {s->z.avail_out, s->z.avail_in};
    memcpy(state, left, 8);
    switch (result) {
    case Z_OK: case Z_BUF_ERROR:
        if (s->z.avail_out != 0 && flush == Z_FINISH)
            return failure(ctx, "unexpected end of file", Z_BUF_ERROR);
        return JS_UNDEFINED;
    case Z_STREAM_END:
        return JS_UNDEFINED;
    case Z_NEED_DICT:
        return failure(ctx, s->dictionary ? "Bad dictionary" : "Missing dictionary", Z_NEED_DICT);
    default:
        return failure(ctx, s->z.msg ? s->z.msg : "Zlib error", result);
    }
}

// zlibParams(stream, level, strategy) and zlibReset(stream): undefined or [message, number].
NATIVE_FN(zlibParams)
{
    Stream *s = JS_GetOpaque(argv[0], stream_class);
    if (!s || !s->open || !deflating(s))
        return JS_UNDEFINED;
    int result = deflateParams(&s->z, int_arg(ctx, argv[1]), int_arg(ctx, argv[2]));
    return result == Z_OK || result == Z_BUF_ERROR ? JS_UNDEFINED : failure(ctx, "Failed to set parameters", result);
}
NATIVE_FN(zlibReset)
{
    Stream *s = JS_GetOpaque(argv[0], stream_class);
    if (!s)
        return JS_UNDEFINED;
    stream_end(s);
    int result = stream_open(s);
    return result == Z_OK ? JS_UNDEFINED : failure(ctx, "Failed to reset stream", result);
}
NATIVE_FN(zlibClose)
{
    Stream *s = JS_GetOpaque(argv[0], stream_class);
    if (s)
        stream_end(s);
    return JS_UNDEFINED;
}

// zlibCrc32(bytes, start value)
NATIVE_FN(zlibCrc32)
{
    uint8_t *p;
    size_t n;
    if (!bytes_of(ctx, argv[0], &p, &n))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    return JS_NewInt64(ctx, crc32_z(int64_arg(ctx, argv[1]), p, n));
}

void init_zlib(JSContext *ctx, JSValueConst native)
{
    static const JSClassDef definition = {"ZlibStream", .finalizer = stream_free};
    static const JSCFunctionListEntry table[] = {
        NATIVE(zlibOpen, 6), NATIVE(zlibStep, 9), NATIVE(zlibParams, 3), NATIVE(zlibReset, 1), NATIVE(zlibClose, 1),
        NATIVE(zlibCrc32, 2),
    };
    JSRuntime *rt = JS_GetRuntime(ctx);
    JS_NewClassID(rt, &stream_class);
    JS_NewClass(rt, stream_class, &definition);
    ADD_NATIVES(ctx, native, table);
}
