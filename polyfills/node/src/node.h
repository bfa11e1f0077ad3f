// What the parts of the Node polyfill share.
//
// The program is QuickJS-ng, Node's own JavaScript library (`lib/` of Debian's source package nodejs) and, in between, one flat
// object `native` of C functions. The bindings that Node's library expects (`internalBinding('fs')` and so on) are JavaScript
// over these functions: see ../lib/bindings/.
//
// Convention of the functions in `native`: a system call's result is a number; a failed one is returned as the negative errno
// and not thrown, so that the binding decides how to report it.
#ifndef NODE_H
#define NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "quickjs.h"

// Each adds its functions to `native`. All are called once, before the snapshot: they keep no state that a new exec must refresh.
void init_engine(JSContext *ctx, JSValueConst native);   // engine.c: what only the engine's inside can answer
void init_modules(JSContext *ctx, JSValueConst native);  // engine_modules.c: ES modules
void init_builtins(JSContext *ctx, JSValueConst native); // builtins.c: the embedded JavaScript
void init_bytes(JSContext *ctx, JSValueConst native);    // bytes.c: Buffer's encodings and searches
void init_files(JSContext *ctx, JSValueConst native);    // files.c
void init_sockets(JSContext *ctx, JSValueConst native);  // sockets.c
void init_process(JSContext *ctx, JSValueConst native);  // process.c
void init_crypto(JSContext *ctx, JSValueConst native);   // digest.c
void init_zlib(JSContext *ctx, JSValueConst native);     // deflate.c
void init_bytecode(JSContext *ctx, JSValueConst native); // bytecode.c: that of the image's modules
void init_start(JSContext *ctx, JSValueConst native);    // main.c: snapshot, policy, arguments

// A function of `native`, for tables of JSCFunctionListEntry.
#define NATIVE(name, length) JS_CFUNC_DEF(#name, length, n_##name)
#define NATIVE_FN(name) \
    static JSValue n_##name(JSContext *ctx, JSValueConst this_val, int argc, JSValueConst *argv)
#define ADD_NATIVES(ctx, native, table) \
    JS_SetPropertyFunctionList(ctx, native, table, sizeof(table) / sizeof(table[0]))

// The characters of a string value: exactly one of `narrow` (Latin-1) and `wide` (UTF-16) is set. The view holds as long as
// the value lives. `owned` is the flattened string when the value was a rope; release with string_release.
typedef struct {
    const uint8_t *narrow;
    const uint16_t *wide;
    uint32_t length; // in code units
    JSValue owned;
} StringView;
bool string_view(JSContext *ctx, JSValueConst value, StringView *view); // false: exception pending
void string_release(JSContext *ctx, StringView *view);
JSValue new_string_latin1(JSContext *ctx, const uint8_t *bytes, size_t length);

// UTF-8 with every maximal ill-formed part replaced by U+FFFD, as the WHATWG Encoding standard has it.
JSValue new_string_utf8(JSContext *ctx, const uint8_t *bytes, size_t length);
// Appends a string's UTF-8 (lone surrogates become U+FFFD) to `out`, at most `room` bytes, whole characters only. `out` may be
// NULL: then nothing is written. Returns the bytes; `*read` is the count of code units consumed.
size_t string_utf8(const StringView *view, uint8_t *out, size_t room, size_t *read);

// The bytes of an ArrayBuffer, SharedArrayBuffer, typed array or DataView. False, without exception, for anything else.
bool bytes_of(JSContext *ctx, JSValueConst value, uint8_t **bytes, size_t *length);

// A path argument: string or bytes (Buffer). Free with path_free. NULL: exception pending.
typedef struct { char *text; bool is_cstring; } Path;
bool path_of(JSContext *ctx, JSValueConst value, Path *path);
void path_free(JSContext *ctx, Path *path);

int32_t int_arg(JSContext *ctx, JSValueConst value); // 0 for what is no number
int64_t int64_arg(JSContext *ctx, JSValueConst value);

// Opens a file to be loaded as code: the private call OPEN_CODE of the vkernel where there is one, open(2) elsewhere.
// Returns a descriptor or a negative errno.
int open_code(const char *path);

// What is compiled: `flags` is JS_EVAL_TYPE_GLOBAL or JS_EVAL_TYPE_MODULE, `name` that of the file (a URL for modules), `line` that of the text's first line.
typedef struct {
    const char *text;
    size_t length;
    const char *name;
    int32_t line, flags;
} Compiled;

// The bytecode that was made of this when the image was sealed; undefined when there is none.
JSValue bytecode_read(JSContext *ctx, const Compiled *c);
// engine.c: compiles to an ArrayBuffer (undefined: bytecode cannot hold it), and back. Bytecode has no sources: they are parts of the text.
JSValue engine_write_bytecode(JSContext *ctx, const Compiled *c);
JSValue engine_read_bytecode(JSContext *ctx, const uint8_t *bytes, size_t length, const Compiled *c);

void engine_freeze(JSContext *ctx);         // engine.c: what is there now stays, and what comes lies together
void engine_new_random(JSContext *ctx);     // engine.c: Math.random starts anew
void engine_forget_zone(void);              // engine.c: TZ may have changed
void process_forget(void);                  // process.c: what was learnt of an earlier exec
extern char **environ;

#endif
