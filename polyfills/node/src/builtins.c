// The embedded JavaScript: Node's library and ours, as QuickJS bytecode.
//
// The archive is made by compile_builtins.c and linked in by builtins_data.S. Its layout, little-endian:
//   "MGNB" u32 count, then per module: u32 id length, u32 bytecode length, id (with NUL), bytecode.
#include <string.h>
#include <stdlib.h>
#include "node.h"

extern const uint8_t builtins_start[], builtins_end[];

typedef struct { const char *id; const uint8_t *code; uint32_t length; } Builtin;
static Builtin *builtins;
static uint32_t builtin_count;

static uint32_t u32_at(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }

static void index_archive(void)
{
    const uint8_t *p = builtins_start + 8;
    builtin_count = u32_at(builtins_start + 4);
    builtins = calloc(builtin_count, sizeof(*builtins));
    for (uint32_t i = 0; i < builtin_count; i++) {
        uint32_t id_length = u32_at(p), length = u32_at(p + 4);
        builtins[i] = (Builtin){(const char *)p + 8, p + 8 + id_length + 1, length};
        p += 8 + id_length + 1 + length;
    }
}

// compileBuiltin(id): the module's wrapper function, undefined when there is none of that name.
NATIVE_FN(compileBuiltin)
{
    const char *id = JS_ToCString(ctx, argv[0]);
    if (!id)
        return JS_EXCEPTION;
    JSValue result = JS_UNDEFINED;
    for (uint32_t i = 0; i < builtin_count; i++)
        if (strcmp(builtins[i].id, id) == 0) {
            JSValue code = JS_ReadObject(ctx, builtins[i].code, builtins[i].length, JS_READ_OBJ_BYTECODE);
            result = JS_IsException(code) ? code : JS_EvalFunction(ctx, code);
            break;
        }
    JS_FreeCString(ctx, id);
    return result;
}

NATIVE_FN(builtinIds)
{
    JSValue list = JS_NewArray(ctx);
    for (uint32_t i = 0; i < builtin_count; i++)
        JS_DefinePropertyValueUint32(ctx, list, i, JS_NewString(ctx, builtins[i].id), JS_PROP_C_W_E);
    return list;
}

void init_builtins(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {NATIVE(compileBuiltin, 1), NATIVE(builtinIds, 0)};
    index_archive();
    ADD_NATIVES(ctx, native, table);
}
