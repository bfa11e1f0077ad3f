// Bytecode of the image's modules, made when the image was sealed (lib/precompile.js).
//
// There is one file for each directory of modules: what is read of the image is checked as a whole, so a program reads of what it
// loads alone. The engine does not check bytecode, so a file is read as code is (OPEN_CODE: under the policy `sealed` only what the
// image was sealed with), and only when it was made by this very build. Its name is the begin of the SHA-256 of the directory's,
// its layout, little-endian:
//   "MGJB", ENGINE_ID (16 hexadecimal digits), u32 count, then per module, in the order of keys: key (32 bytes), u64 offset in the
//   file, u64 length, then the bytecode.
// A key is the SHA-256 of all that the bytecode depends on: kind, line, file name (with NUL), source.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/sha.h>
#include "node.h"

#define PLACE "/usr/share/megalith/node/"

typedef struct {
    char magic[4], engine[16];
    uint32_t count;
} Header;

typedef struct {
    uint8_t key[32];
    uint64_t offset, length;
} Entry;

// Path of the file for the directory of `name`.
static void place_of(const char *name, char path[sizeof PLACE + 16])
{
    // Not SHA256(), which brings all of OpenSSL's providers into the program.
    uint8_t hash[32];
    const char *end = strrchr(name, '/');
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, name, end ? end - name : 0);
    SHA256_Final(hash, &context);
    char *to = stpcpy(path, PLACE);
    for (int i = 0; i < 8; i++)
        to += sprintf(to, "%02x", hash[i]);
}

static void key_of(const Compiled *c, uint8_t key[32])
{
    SHA256_CTX hash;
    int32_t head[2] = {c->flags, c->line};
    SHA256_Init(&hash);
    SHA256_Update(&hash, head, sizeof head);
    SHA256_Update(&hash, c->name, strlen(c->name) + 1);
    SHA256_Update(&hash, c->text, c->length);
    SHA256_Final(key, &hash);
}

static bool read_at(int fd, void *to, size_t length, uint64_t offset)
{
    return pread(fd, to, length, (off_t)offset) == (ssize_t)length;
}

static bool find_entry(int fd, const uint8_t key[32], Entry *found)
{
    Header header;
    if (!read_at(fd, &header, sizeof header, 0) || memcmp(header.magic, "MGJB", 4) != 0 || memcmp(header.engine, ENGINE_ID, 16) != 0)
        return false;
    uint64_t low = 0, high = header.count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (!read_at(fd, found, sizeof *found, sizeof header + middle * sizeof *found))
            return false;
        int order = memcmp(key, found->key, 32);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

static JSValue find_bytecode(JSContext *ctx, const Compiled *c)
{
    char path[sizeof PLACE + 16];
    place_of(c->name, path);
    int fd = open_code(path);
    if (fd < 0)
        return JS_UNDEFINED;
    JSValue code = JS_UNDEFINED;
    uint8_t key[32];
    Entry entry;
    key_of(c, key);
    if (find_entry(fd, key, &entry)) {
        uint8_t *bytes = malloc(entry.length);
        if (bytes && read_at(fd, bytes, entry.length, entry.offset))
            code = engine_read_bytecode(ctx, bytes, entry.length, c);
        free(bytes);
    }
    close(fd);
    return code;
}

JSValue bytecode_read(JSContext *ctx, const Compiled *c)
{
    // What is no file's was not there to be compiled.
    if (c->name[0] != '/' && strncmp(c->name, "file:///", 8) != 0)
        return JS_UNDEFINED;
    JSValue code = find_bytecode(ctx, c);
    if (JS_IsException(code)) {
        JS_FreeValue(ctx, JS_GetException(ctx));
        code = JS_UNDEFINED;
    }
    // As later versions of Node have it.
    const char *debug = getenv("NODE_DEBUG_NATIVE");
    if (debug && strstr(debug, "COMPILE_CACHE"))
        fprintf(stderr, "[compile cache] %s: %s\n", c->name, JS_IsUndefined(code) ? "not there" : "taken");
    return code;
}

// precompile(source, filename, line, isModule): [path of the file that it belongs to, key, bytecode], or undefined for what bytecode
// cannot hold. Throws when the source does not compile.
NATIVE_FN(precompile)
{
    size_t length;
    const char *text = JS_ToCStringLen(ctx, &length, argv[0]), *name = text ? JS_ToCString(ctx, argv[1]) : NULL;
    JSValue result = JS_EXCEPTION;
    if (name) {
        Compiled c = {text, length, name, int_arg(ctx, argv[2]), JS_ToBool(ctx, argv[3]) ? JS_EVAL_TYPE_MODULE : JS_EVAL_TYPE_GLOBAL};
        result = engine_write_bytecode(ctx, &c);
        if (!JS_IsUndefined(result) && !JS_IsException(result)) {
            char path[sizeof PLACE + 16];
            uint8_t key[32];
            place_of(name, path);
            key_of(&c, key);
            JSValue parts[3] = {JS_NewString(ctx, path), JS_NewArrayBufferCopy(ctx, key, sizeof key), result};
            result = JS_NewArrayFrom(ctx, 3, parts);
        }
    }
    JS_FreeCString(ctx, name);
    JS_FreeCString(ctx, text);
    return result;
}

// bytecodeHeader(count): what a file with so many modules begins with.
NATIVE_FN(bytecodeHeader)
{
    Header header = {.count = (uint32_t)int_arg(ctx, argv[0])};
    memcpy(header.magic, "MGJB", 4);
    memcpy(header.engine, ENGINE_ID, 16);
    return JS_NewArrayBufferCopy(ctx, (uint8_t *)&header, sizeof header);
}

void init_bytecode(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {NATIVE(precompile, 4), NATIVE(bytecodeHeader, 1)};
    ADD_NATIVES(ctx, native, table);
}
