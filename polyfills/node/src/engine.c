// The engine, and what the Node library asks of an engine beyond the public API of quickjs.h.
//
// quickjs.c is included, not linked: V8 shows an embedder the state of a promise, the target of a proxy, the entries of an
// iterator and the class of an object, and Node's util.inspect is built on that. Here it is read from the engine's own
// structures; the engine's source has only the hooks of ../patches/quickjs.patch.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <signal.h>
#include "quickjs.c"
#pragma GCC diagnostic pop

#include <malloc.h>
#include <sys/random.h>
#include <unistd.h>
#include "node.h"

// ---- Stack traces in V8's shape: "Name: message\n    at function (file:line:column)\n    at ..."

static void put_property(JSContext *ctx, DynBuf *dbuf, JSValueConst object, JSAtom name, const char *fallback, bool *empty)
{
    JSValue value = JS_GetProperty(ctx, object, name);
    const char *text = NULL;
    if (JS_IsException(value))
        JS_FreeValue(ctx, JS_GetException(ctx));
    else if (!JS_IsUndefined(value))
        text = JS_ToCString(ctx, value);
    if (!text && JS_HasException(ctx))
        JS_FreeValue(ctx, JS_GetException(ctx));
    const char *shown = text ? text : fallback;
    *empty = shown[0] == '\0';
    dbuf_putstr(dbuf, shown);
    if (text)
        JS_FreeCString(ctx, text);
    JS_FreeValue(ctx, value);
}

// Node's own errors have this symbol and show their code: "TypeError [ERR_X]: message".
static JSAtom node_error_key = JS_ATOM_NULL, code_atom;

// setNodeErrorKey(symbol)
NATIVE_FN(setNodeErrorKey)
{
    node_error_key = JS_ValueToAtom(ctx, argv[0]);
    code_atom = JS_NewAtom(ctx, "code");
    return JS_UNDEFINED;
}

static void host_stack_header(JSContext *ctx, DynBuf *dbuf, JSValueConst error)
{
    bool name_empty, message_empty;
    if (!JS_IsObject(error))
        return;
    // This may be on the way of an exception: it stays pending.
    JSValue pending = JS_GetException(ctx);
    put_property(ctx, dbuf, error, JS_ATOM_name, "Error", &name_empty);
    if (node_error_key != JS_ATOM_NULL && JS_HasProperty(ctx, error, node_error_key) > 0) {
        dbuf_putstr(dbuf, " [");
        bool code_empty;
        put_property(ctx, dbuf, error, code_atom, "", &code_empty);
        dbuf_putc(dbuf, ']');
    }
    size_t mark = dbuf->size;
    if (!name_empty)
        dbuf_putstr(dbuf, ": ");
    put_property(ctx, dbuf, error, JS_ATOM_message, "", &message_empty);
    if (message_empty)
        dbuf->size = mark;
    if (!JS_IsUninitialized(pending))
        JS_Throw(ctx, pending);
}

// A private key for the frames of an object that is no error; made by init_engine.
static JSAtom frames_atom;

// The value of an error's own "stack": the frames were stored when it was made; the first line is taken from the error when
// somebody looks, so that a name given by a constructor after super() is in it. V8 embedded in Node does the same.
static JSValue host_stack_value(JSContext *ctx, JSObject *p)
{
    DynBuf dbuf;
    js_dbuf_init(ctx, &dbuf);
    host_stack_header(ctx, &dbuf, JS_MKPTR(JS_TAG_OBJECT, p));
    JSValue stored = p->class_id == JS_CLASS_ERROR ? js_dup(p->u.object_data)
                                                   : JS_GetProperty(ctx, JS_MKPTR(JS_TAG_OBJECT, p), frames_atom);
    const char *frames = JS_IsString(stored) ? JS_ToCString(ctx, stored) : NULL;
    if (frames)
        dbuf_putstr(&dbuf, frames);
    JS_FreeCString(ctx, frames);
    JS_FreeValue(ctx, stored);
    JSValue stack = JS_NewStringLen(ctx, (char *)dbuf.buf, dbuf.size);
    dbuf_free(&dbuf);
    return stack;
}

// Error.captureStackTrace(object): the same for any object. Takes `frames`.
static void host_capture_stack(JSContext *ctx, JSValueConst object, JSValue frames)
{
    JSObject *p = JS_VALUE_GET_OBJ(object);
    if (p->is_exotic || !p->extensible) {
        JS_DefinePropertyValue(ctx, object, JS_ATOM_stack, frames, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
        return;
    }
    if (p->class_id == JS_CLASS_ERROR) {
        JS_FreeValue(ctx, p->u.object_data);
        p->u.object_data = frames;
    } else {
        JS_DefinePropertyValue(ctx, object, frames_atom, frames, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    }
    if (find_own_property1(p, JS_ATOM_stack) && JS_DeleteProperty(ctx, object, JS_ATOM_stack, 0) <= 0)
        return;
    JS_DefineAutoInitProperty(ctx, object, JS_ATOM_stack, JS_AUTOINIT_ID_PROP, (void *)&host_stack_tag,
                              JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
}

static JSValue host_autoinit_prop(JSContext *ctx, JSObject *p, JSAtom atom, void *opaque)
{
    if (opaque == (void *)&host_stack_tag)
        return host_stack_value(ctx, p);
    return JS_InstantiateFunctionListItem2(ctx, p, atom, opaque);
}

// Whether a frame is of this program and not of Node's library: such frames are not shown.
static bool is_ours(JSContext *ctx, JSFunctionBytecode *b, const char *name)
{
    if (!b)
        return name && strcmp(name, "runMicrotasks") == 0;
    // Functions that Node hides from V8's traces, too.
    if (name && strncmp(name, "__node_internal_", 16) == 0)
        return true;
    const char *file = b->filename ? JS_AtomToCString(ctx, b->filename) : NULL;
    bool ours = file && strncmp(file, "node:internal/megalith", 22) == 0;
    JS_FreeCString(ctx, file);
    return ours;
}

static void host_stack_frame(JSContext *ctx, DynBuf *dbuf, JSStackFrame *sf)
{
    JSObject *p = JS_VALUE_GET_OBJ(sf->cur_func);
    JSFunctionBytecode *b = js_class_has_bytecode(p->class_id) ? p->u.func.function_bytecode : NULL;
    const char *name = get_func_name(ctx, sf->cur_func);
    bool named = name && name[0] != '\0';
    if (is_ours(ctx, b, name)) {
        JS_FreeCString(ctx, name);
        return;
    }
    dbuf_putstr(dbuf, "\n    at ");
    if (named) {
        dbuf_putstr(dbuf, name);
        dbuf_putstr(dbuf, " (");
    }
    if (b) {
        const char *file = b->filename ? JS_AtomToCString(ctx, b->filename) : NULL;
        dbuf_putstr(dbuf, file ? file : "<anonymous>");
        if (file)
            JS_FreeCString(ctx, file);
        if (sf->cur_pc) {
            int column;
            int line = find_line_num(ctx, b, sf->cur_pc - b->byte_code_buf - 1, &column);
            if (line != -1)
                dbuf_printf(dbuf, ":%d:%d", line, column);
        }
    } else {
        dbuf_putstr(dbuf, "<anonymous>");
    }
    if (named)
        dbuf_putc(dbuf, ')');
    JS_FreeCString(ctx, name);
}

// ---- Dates

// Names of time zones as V8 shows them, by the abbreviation and offset of the zone database. ICU has more of them; a zone that is
// not here is shown by its abbreviation.
static const struct { const char *abbreviation; int minutes; const char *name; } ZONES[] = {
    {"UTC", 0, "Coordinated Universal Time"}, {"GMT", 0, "Greenwich Mean Time"}, {"BST", 60, "British Summer Time"},
    {"WET", 0, "Western European Standard Time"}, {"WEST", 60, "Western European Summer Time"},
    {"CET", 60, "Central European Standard Time"}, {"CEST", 120, "Central European Summer Time"},
    {"EET", 120, "Eastern European Standard Time"}, {"EEST", 180, "Eastern European Summer Time"},
    {"MSK", 180, "Moscow Standard Time"}, {"SAST", 120, "South Africa Standard Time"},
    {"IST", 120, "Israel Standard Time"}, {"IDT", 180, "Israel Daylight Time"}, {"IST", 330, "India Standard Time"},
    {"CST", 480, "China Standard Time"}, {"HKT", 480, "Hong Kong Standard Time"},
    {"JST", 540, "Japan Standard Time"}, {"KST", 540, "Korean Standard Time"},
    {"AWST", 480, "Australian Western Standard Time"}, {"ACST", 570, "Australian Central Standard Time"},
    {"ACDT", 630, "Australian Central Daylight Time"}, {"AEST", 600, "Australian Eastern Standard Time"},
    {"AEDT", 660, "Australian Eastern Daylight Time"}, {"NZST", 720, "New Zealand Standard Time"},
    {"NZDT", 780, "New Zealand Daylight Time"}, {"EST", -300, "Eastern Standard Time"},
    {"EDT", -240, "Eastern Daylight Time"}, {"CST", -360, "Central Standard Time"},
    {"CDT", -300, "Central Daylight Time"}, {"MST", -420, "Mountain Standard Time"},
    {"MDT", -360, "Mountain Daylight Time"}, {"PST", -480, "Pacific Standard Time"},
    {"PDT", -420, "Pacific Daylight Time"}, {"AKST", -540, "Alaska Standard Time"},
    {"AKDT", -480, "Alaska Daylight Time"}, {"HST", -600, "Hawaii-Aleutian Standard Time"},
};

// localtime_r looks at TZ once only.
static bool zone_known;

void engine_forget_zone(void)
{
    zone_known = false;
}

static void host_use_zone(void)
{
    host_clock_reads++;
    if (!zone_known)
        tzset();
    zone_known = true;
}

static int host_zone_name(JSContext *ctx, JSValueConst date, char *buf, size_t size)
{
    double milliseconds;
    struct tm local;
    if (JS_ThisTimeValue(ctx, &milliseconds, date) || !isfinite(milliseconds))
        return 0;
    time_t seconds = (time_t)floor(milliseconds / 1000);
    host_use_zone();
    if (!localtime_r(&seconds, &local) || !local.tm_zone)
        return 0;
    const char *name = local.tm_zone;
    for (size_t i = 0; i < countof(ZONES); i++)
        if (strcmp(ZONES[i].abbreviation, local.tm_zone) == 0 && ZONES[i].minutes * 60 == local.tm_gmtoff)
            name = ZONES[i].name;
    int length = snprintf(buf, size, " (%s)", name);
    return length < 0 || (size_t)length >= size ? 0 : length;
}

// ---- Strings

bool string_view(JSContext *ctx, JSValueConst value, StringView *view)
{
    JSValue string = JS_ToString(ctx, value); // flattens a rope
    if (JS_IsException(string))
        return false;
    JSString *p = JS_VALUE_GET_STRING(string);
    view->narrow = p->is_wide_char ? NULL : str8(p);
    view->wide = p->is_wide_char ? str16(p) : NULL;
    view->length = p->len;
    view->owned = string;
    return true;
}

void string_release(JSContext *ctx, StringView *view)
{
    JS_FreeValue(ctx, view->owned);
}

JSValue new_string_latin1(JSContext *ctx, const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return js_empty_string(ctx->rt);
    if (length > JS_STRING_LEN_MAX)
        return JS_ThrowRangeError(ctx, "Invalid string length");
    return js_new_string8_len(ctx, (const char *)bytes, length);
}

// What a process that does little allocates lies together, away from what the snapshot has.
#define NURSERY (512 << 10)

// Takes what free(3) has put aside and leaves it: later blocks lie behind all that there are now. Small ones are the arenas'.
static void leave_gaps(void)
{
    for (size_t size = 64 << 10; size > JS_ARENA_MAX_SMALL_SIZE; size -= size > 4096 ? 1024 : 16) {
        for (;;) {
            uintptr_t top = (uintptr_t)sbrk(0) - mallinfo2().keepcost;
            void *block = malloc(size);
            if (!block || (uintptr_t)block + 64 > top) {
                free(block);
                break;
            }
        }
    }
}

void engine_freeze(JSContext *ctx)
{
    leave_gaps();
    js_freeze(ctx->rt, NURSERY);
    // As the engine does after a collection of its own: without this the first one comes soon.
    JS_SetGCThreshold(ctx->rt, ctx->rt->malloc_state.malloc_size * 2);
}

void engine_new_random(JSContext *ctx)
{
    if (getrandom(&ctx->random_state, sizeof(ctx->random_state), 0) != sizeof(ctx->random_state))
        ctx->random_state = js__hrtime_ns();
    if (ctx->random_state == 0)
        ctx->random_state = 1;
}

// ---- Introspection

// asked(): [a, b], where a changes when random numbers are asked for, and b when the clock or the time zone is.
NATIVE_FN(asked)
{
    JSValue items[2] = {JS_NewBigUint64(ctx, ctx->random_state), JS_NewInt64(ctx, host_clock_reads)};
    return JS_NewArrayFrom(ctx, 2, items);
}

// classOf(value): the engine's class number, 0 for a primitive. The numbers are in `native.classes` by name.
NATIVE_FN(classOf)
{
    return JS_NewInt32(ctx, JS_IsObject(argv[0]) ? JS_VALUE_GET_OBJ(argv[0])->class_id : 0);
}

static const struct { const char *name; int id; } CLASSES[] = {
    {"Object", JS_CLASS_OBJECT}, {"Error", JS_CLASS_ERROR}, {"Number", JS_CLASS_NUMBER}, {"String", JS_CLASS_STRING},
    {"Boolean", JS_CLASS_BOOLEAN}, {"Symbol", JS_CLASS_SYMBOL}, {"BigInt", JS_CLASS_BIG_INT},
    {"Arguments", JS_CLASS_ARGUMENTS}, {"MappedArguments", JS_CLASS_MAPPED_ARGUMENTS}, {"Date", JS_CLASS_DATE},
    {"ModuleNamespace", JS_CLASS_MODULE_NS}, {"RegExp", JS_CLASS_REGEXP}, {"ArrayBuffer", JS_CLASS_ARRAY_BUFFER},
    {"SharedArrayBuffer", JS_CLASS_SHARED_ARRAY_BUFFER}, {"DataView", JS_CLASS_DATAVIEW}, {"Map", JS_CLASS_MAP},
    {"Set", JS_CLASS_SET}, {"WeakMap", JS_CLASS_WEAKMAP}, {"WeakSet", JS_CLASS_WEAKSET},
    {"MapIterator", JS_CLASS_MAP_ITERATOR}, {"SetIterator", JS_CLASS_SET_ITERATOR}, {"Generator", JS_CLASS_GENERATOR},
    {"AsyncGenerator", JS_CLASS_ASYNC_GENERATOR}, {"Proxy", JS_CLASS_PROXY}, {"Promise", JS_CLASS_PROMISE},
    {"AsyncFunction", JS_CLASS_ASYNC_FUNCTION}, {"GeneratorFunction", JS_CLASS_GENERATOR_FUNCTION},
    {"AsyncGeneratorFunction", JS_CLASS_ASYNC_GENERATOR_FUNCTION}, {"WeakRef", JS_CLASS_WEAK_REF},
};

// isClass functions: one C function for each class or small set that util.types asks for, by magic.
enum { IS_ARGUMENTS = 1000, IS_BOXED, IS_ANY_BUFFER, IS_ASYNC_FUNCTION, IS_GENERATOR_FUNCTION, IS_GENERATOR };

static JSValue n_is_class(JSContext *ctx, JSValueConst this_val, int argc, JSValueConst *argv, int magic)
{
    if (argc < 1 || !JS_IsObject(argv[0]))
        return JS_FALSE;
    int id = JS_VALUE_GET_OBJ(argv[0])->class_id;
    bool is;
    switch (magic) {
    case IS_ARGUMENTS: is = id == JS_CLASS_ARGUMENTS || id == JS_CLASS_MAPPED_ARGUMENTS; break;
    case IS_BOXED: is = (id >= JS_CLASS_NUMBER && id <= JS_CLASS_SYMBOL) || id == JS_CLASS_BIG_INT; break;
    case IS_ANY_BUFFER: is = id == JS_CLASS_ARRAY_BUFFER || id == JS_CLASS_SHARED_ARRAY_BUFFER; break;
    case IS_ASYNC_FUNCTION: is = id == JS_CLASS_ASYNC_FUNCTION || id == JS_CLASS_ASYNC_GENERATOR_FUNCTION; break;
    case IS_GENERATOR_FUNCTION: is = id == JS_CLASS_GENERATOR_FUNCTION || id == JS_CLASS_ASYNC_GENERATOR_FUNCTION; break;
    case IS_GENERATOR: is = id == JS_CLASS_GENERATOR || id == JS_CLASS_ASYNC_GENERATOR; break;
    default: is = id == magic;
    }
    return JS_NewBool(ctx, is);
}

// promiseDetails(promise): [state 0 pending, 1 fulfilled, 2 rejected; result], undefined for anything else.
NATIVE_FN(promiseDetails)
{
    if (!JS_IsPromise(argv[0]))
        return JS_UNDEFINED;
    JSValue items[2] = {JS_NewInt32(ctx, JS_PromiseState(ctx, argv[0])), JS_PromiseResult(ctx, argv[0])};
    return JS_NewArrayFrom(ctx, 2, items);
}

// proxyDetails(value): [target, handler], undefined for what is no proxy. Both are null once revoked.
NATIVE_FN(proxyDetails)
{
    if (!JS_IsProxy(argv[0]))
        return JS_UNDEFINED;
    JSProxyData *data = JS_GetOpaque(argv[0], JS_CLASS_PROXY);
    JSValue items[2] = {JS_NULL, JS_NULL};
    if (!data->is_revoked) {
        items[0] = js_dup(data->target);
        items[1] = js_dup(data->handler);
    }
    return JS_NewArrayFrom(ctx, 2, items);
}

// previewEntries(value): [entries, isKeyValue] of a Map, Set, WeakMap, WeakSet or an iterator of the first two, which is left
// where it stands; undefined for anything else. Entries of a Map are flat: key, value, key, value.
NATIVE_FN(previewEntries)
{
    if (!JS_IsObject(argv[0]))
        return JS_UNDEFINED;
    JSObject *p = JS_VALUE_GET_OBJ(argv[0]);
    JSMapState *map = NULL;
    struct list_head *el = NULL;
    bool keys = true, values = false;
    switch (p->class_id) {
    case JS_CLASS_MAP: case JS_CLASS_WEAKMAP: values = true; // fall through
    case JS_CLASS_SET: case JS_CLASS_WEAKSET: map = p->u.map_state; break;
    case JS_CLASS_MAP_ITERATOR: case JS_CLASS_SET_ITERATOR: {
        JSMapIteratorData *it = p->u.map_iterator_data;
        if (!it)
            return JS_UNDEFINED;
        keys = it->kind != JS_ITERATOR_KIND_VALUE || p->class_id == JS_CLASS_SET_ITERATOR;
        values = it->kind != JS_ITERATOR_KIND_KEY && p->class_id == JS_CLASS_MAP_ITERATOR;
        bool pairs = it->kind == JS_ITERATOR_KIND_KEY_AND_VALUE;
        if (p->class_id == JS_CLASS_SET_ITERATOR)
            values = pairs;
        if (!JS_IsUndefined(it->obj)) {
            map = JS_VALUE_GET_OBJ(it->obj)->u.map_state;
            el = it->cur_record ? it->cur_record->link.next : map->records.next;
        }
        break;
    }
    default: return JS_UNDEFINED;
    }
    JSValue list = JS_NewArray(ctx);
    uint32_t n = 0;
    if (map) {
        bool set = p->class_id == JS_CLASS_SET_ITERATOR;
        for (el = el ? el : map->records.next; el != &map->records; el = el->next) {
            JSMapRecord *record = list_entry(el, JSMapRecord, link);
            if (record->empty)
                continue;
            if (keys)
                JS_DefinePropertyValueUint32(ctx, list, n++, js_dup(record->key), JS_PROP_C_W_E);
            if (values)
                JS_DefinePropertyValueUint32(ctx, list, n++, js_dup(set ? record->key : record->value), JS_PROP_C_W_E);
        }
    }
    JSValue items[2] = {list, JS_NewBool(ctx, keys && values)};
    return JS_NewArrayFrom(ctx, 2, items);
}

// ownNonIndexKeys(object, filter): own keys without array indices. Filter, as V8's: 2 only enumerable ones, 16 no symbols.
NATIVE_FN(ownNonIndexKeys)
{
    JSPropertyEnum *tab;
    uint32_t len, n = 0;
    int filter = int_arg(ctx, argv[1]);
    int flags = JS_GPN_STRING_MASK | (filter & 16 ? 0 : JS_GPN_SYMBOL_MASK) | (filter & 2 ? JS_GPN_ENUM_ONLY : 0);
    if (!JS_IsObject(argv[0]))
        return JS_NewArray(ctx);
    if (JS_GetOwnPropertyNames(ctx, &tab, &len, argv[0], flags) < 0)
        return JS_EXCEPTION;
    JSValue list = JS_NewArray(ctx);
    for (uint32_t i = 0; i < len; i++) {
        uint32_t index;
        if (!JS_AtomIsArrayIndex(ctx, &index, tab[i].atom))
            JS_DefinePropertyValueUint32(ctx, list, n++, JS_AtomToValue(ctx, tab[i].atom), JS_PROP_C_W_E);
    }
    JS_FreePropertyEnum(ctx, tab, len);
    return list;
}

// constructorName(object): of the first constructor on the prototype chain that has a name, else the class's name.
NATIVE_FN(constructorName)
{
    if (!JS_IsObject(argv[0]))
        return JS_UNDEFINED;
    return JS_AtomToString(ctx, ctx->rt->class_array[JS_VALUE_GET_OBJ(argv[0])->class_id].class_name);
}

// callerFile(depth): file name of the function `depth` frames up, undefined when there is none.
NATIVE_FN(callerFile)
{
    JSAtom atom = JS_GetScriptOrModuleName(ctx, int_arg(ctx, argv[0]));
    if (atom == JS_ATOM_NULL)
        return JS_UNDEFINED;
    JSValue name = JS_AtomToValue(ctx, atom);
    JS_FreeAtom(ctx, atom);
    return name;
}

// ---- Compiling

// A script as bytecode, or a module.
static JSValue compile(JSContext *ctx, const Compiled *c)
{
    // Not JS_Eval2: it has no line 0, on which the parameters of a wrapper stand.
    return JS_EvalInternal(ctx, ctx->global_obj, c->text, c->length, c->name, c->line, c->flags | JS_EVAL_FLAG_COMPILE_ONLY, -1);
}

static JSValue compile_source(JSContext *ctx, JSValueConst source, JSValueConst filename, JSValueConst line, int flags)
{
    size_t length;
    const char *text = JS_ToCStringLen(ctx, &length, source);
    if (!text)
        return JS_EXCEPTION;
    const char *name = JS_ToCString(ctx, filename);
    JSValue result = JS_EXCEPTION;
    if (name) {
        Compiled c = {text, length, name, int_arg(ctx, line), flags};
        result = bytecode_read(ctx, &c);
        if (JS_IsUndefined(result))
            result = compile(ctx, &c);
        JS_FreeCString(ctx, name);
    }
    JS_FreeCString(ctx, text);
    return result;
}

JSValue engine_write_bytecode(JSContext *ctx, const Compiled *c)
{
    JSValue code = compile(ctx, c);
    if (JS_IsException(code))
        return code;
    if (JS_VALUE_GET_TAG(code) == JS_TAG_MODULE) {
        JSModuleDef *m = JS_VALUE_GET_PTR(code);
        for (int i = 0; i < m->req_module_entries_count; i++)
            if (!JS_IsUndefined(m->req_module_entries[i].attributes))
                return JS_UNDEFINED;
    }
    size_t size;
    host_source.text = c->text;
    host_source.length = c->length;
    uint8_t *bytes = JS_WriteObject(ctx, &size, code, JS_WRITE_OBJ_BYTECODE);
    host_source.text = NULL;
    JS_FreeValue(ctx, code);
    if (!bytes)
        return JS_EXCEPTION;
    JSValue result = JS_NewArrayBufferCopy(ctx, bytes, size);
    js_free(ctx, bytes);
    return result;
}

JSValue engine_read_bytecode(JSContext *ctx, const uint8_t *bytes, size_t length, const Compiled *c)
{
    host_source.text = c->text;
    host_source.length = c->length;
    JSValue code = JS_ReadObject(ctx, bytes, length, JS_READ_OBJ_BYTECODE);
    host_source.text = NULL;
    return code;
}

// compileScript(source, filename, line): a script to be run, any number of times, by runScript.
NATIVE_FN(compileScript)
{
    return compile_source(ctx, argv[0], argv[1], argv[2], JS_EVAL_TYPE_GLOBAL);
}

// runScript(script): its completion value.
NATIVE_FN(runScript)
{
    if (JS_VALUE_GET_TAG(argv[0]) != JS_TAG_FUNCTION_BYTECODE)
        return JS_ThrowTypeError(ctx, "not a compiled script");
    return JS_EvalFunction(ctx, js_dup(argv[0]));
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) { interrupted = 1; }

static int is_interrupted(JSRuntime *rt, void *opaque) { return interrupted; }

// runInterruptible(script): [its completion value], or null when SIGINT ended it.
NATIVE_FN(runInterruptible)
{
    if (JS_VALUE_GET_TAG(argv[0]) != JS_TAG_FUNCTION_BYTECODE)
        return JS_ThrowTypeError(ctx, "not a compiled script");
    struct sigaction action = {.sa_handler = on_interrupt}, before;
    interrupted = 0;
    sigaction(SIGINT, &action, &before);
    JS_SetInterruptHandler(ctx->rt, is_interrupted, NULL);
    JSValue value = JS_EvalFunction(ctx, js_dup(argv[0]));
    JS_SetInterruptHandler(ctx->rt, NULL, NULL);
    sigaction(SIGINT, &before, NULL);
    if (interrupted) {
        JS_FreeValue(ctx, JS_IsException(value) ? JS_GetException(ctx) : value);
        return JS_NULL;
    }
    return JS_IsException(value) ? value : JS_NewArrayFrom(ctx, 1, &value);
}

// evalScript(source, filename, line): compiles and runs once.
NATIVE_FN(evalScript)
{
    JSValue code = compile_source(ctx, argv[0], argv[1], argv[2], JS_EVAL_TYPE_GLOBAL);
    return JS_IsException(code) ? code : JS_EvalFunction(ctx, code);
}

// ---- Jobs and promises

NATIVE_FN(runMicrotasks)
{
    JSContext *job_ctx;
    while (JS_ExecutePendingJob(ctx->rt, &job_ctx) > 0)
        ;
    // A job that throws (only queueMicrotask's can) leaves its exception to us.
    if (JS_HasException(ctx))
        return JS_EXCEPTION;
    return JS_UNDEFINED;
}

static JSValue microtask_job(JSContext *ctx, int argc, JSValueConst *argv)
{
    return JS_Call(ctx, argv[0], JS_UNDEFINED, 0, NULL);
}

NATIVE_FN(enqueueMicrotask)
{
    if (JS_EnqueueJob(ctx, microtask_job, 1, argv) < 0)
        return JS_EXCEPTION;
    return JS_UNDEFINED;
}

static JSValue rejection_callback = {0};
static void on_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, bool is_handled, void *opaque)
{
    JSValueConst args[3] = {js_bool(is_handled), promise, reason};
    JSValue pending = JS_GetException(ctx);
    JS_FreeValue(ctx, JS_Call(ctx, rejection_callback, JS_UNDEFINED, 3, args));
    if (!JS_IsUninitialized(pending))
        JS_Throw(ctx, pending);
}

// setRejectionCallback(f): f(handlerAdded, promise, reason) on a rejection without handler, and when a handler comes later.
NATIVE_FN(setRejectionCallback)
{
    rejection_callback = js_dup(argv[0]);
    JS_SetHostPromiseRejectionTracker(ctx->rt, on_rejection, NULL);
    return JS_UNDEFINED;
}

// ---- Buffers

// uninitialized(length): an ArrayBuffer that is not cleared.
static void *resize_buffer(JSRuntime *rt, void *opaque, void *ptr, size_t size)
{
    return js_realloc_rt(rt, ptr, size);
}
NATIVE_FN(uninitialized)
{
    int64_t length = int64_arg(ctx, argv[0]);
    if (length < 0 || length > INT32_MAX)
        return JS_ThrowRangeError(ctx, "Array buffer allocation failed");
    uint8_t *bytes = js_malloc(ctx, length ? length : 1);
    if (!bytes)
        return JS_EXCEPTION;
    return JS_NewArrayBuffer(ctx, bytes, length, 0, resize_buffer, NULL, false);
}

NATIVE_FN(detach)
{
    JS_DetachArrayBuffer(ctx, argv[0]);
    return JS_UNDEFINED;
}

NATIVE_FN(isDetached)
{
    JSArrayBuffer *buffer = js_get_array_buffer(ctx, argv[0]);
    if (!buffer) {
        JS_FreeValue(ctx, JS_GetException(ctx));
        return JS_FALSE;
    }
    return JS_NewBool(ctx, buffer->detached);
}

bool bytes_of(JSContext *ctx, JSValueConst value, uint8_t **bytes, size_t *length)
{
    if (!JS_IsObject(value))
        return false;
    JSObject *p = JS_VALUE_GET_OBJ(value);
    static uint8_t nothing[1];
    if (p->class_id == JS_CLASS_ARRAY_BUFFER || p->class_id == JS_CLASS_SHARED_ARRAY_BUFFER) {
        *bytes = p->u.array_buffer->data;
        *length = p->u.array_buffer->byte_length;
    } else if (is_typed_array(p->class_id)) {
        // Null and 0 when detached or out of bounds.
        *bytes = p->u.array.u.uint8_ptr;
        *length = (size_t)p->u.array.count << typed_array_size_log2(p->class_id);
    } else if (p->class_id == JS_CLASS_DATAVIEW) {
        JSTypedArray *view = p->u.typed_array;
        JSArrayBuffer *buffer = view->buffer->u.array_buffer;
        if (buffer->detached || (size_t)view->offset + view->length > (size_t)buffer->byte_length) {
            *bytes = nothing;
            *length = 0;
        } else {
            *bytes = buffer->data + view->offset;
            *length = view->length;
        }
    } else {
        return false;
    }
    if (!*bytes) {
        *bytes = nothing;
        *length = 0;
    }
    return true;
}

// privateSymbol(name): a key that no listing of an object's keys shows, as V8's private symbols.
NATIVE_FN(privateSymbol)
{
    const char *name = JS_ToCString(ctx, argv[0]);
    if (!name)
        return JS_EXCEPTION;
    JSAtom atom = JS_NewAtom(ctx, name);
    JS_FreeCString(ctx, name);
    return JS_NewSymbolFromAtom(ctx, atom, JS_ATOM_TYPE_PRIVATE);
}

// nameFrame(function, name): the name under which stack traces show it. Its `name` property stays as it is for programs: only
// functions that programs do not see (a module's wrapper) get one.
NATIVE_FN(nameFrame)
{
    JS_DefinePropertyValue(ctx, argv[0], JS_ATOM_name, js_dup(argv[1]), JS_PROP_CONFIGURABLE);
    return JS_UNDEFINED;
}

// defineAccessors(object, [name, getter, setter, ...]): configurable, not enumerable, where the object has no such own property.
NATIVE_FN(defineAccessors)
{
    int64_t count = 0;
    if (!JS_IsObject(argv[0]) || JS_GetLength(ctx, argv[1], &count) < 0)
        return JS_EXCEPTION;
    JSObject *object = JS_VALUE_GET_OBJ(argv[0]);
    for (int64_t i = 0; i + 2 < count; i += 3) {
        JSValue name = JS_GetPropertyInt64(ctx, argv[1], i);
        JSAtom atom = JS_ValueToAtom(ctx, name);
        JS_FreeValue(ctx, name);
        JSValue getter = JS_GetPropertyInt64(ctx, argv[1], i + 1), setter = JS_GetPropertyInt64(ctx, argv[1], i + 2);
        if (find_own_property1(object, atom)) {
            JS_FreeValue(ctx, getter);
            JS_FreeValue(ctx, setter);
        } else if (JS_DefinePropertyGetSet(ctx, argv[0], atom, getter, setter, JS_PROP_CONFIGURABLE) < 0) {
            JS_FreeAtom(ctx, atom);
            return JS_EXCEPTION;
        }
        JS_FreeAtom(ctx, atom);
    }
    return JS_UNDEFINED;
}

// The asynchronous context of promise reactions: [capture, before, after]. What `capture()` gives when a reaction is registered is
// handed to `before` and `after` around the handler when it runs. Reactions of `await` are among them.
static JSValue reaction_hooks[3];

static JSValue run_reaction(JSContext *ctx, JSValueConst this_val, int argc, JSValueConst *argv, int magic, JSValueConst *data)
{
    JSValueConst resource = data[1];
    JSValue entered = JS_Call(ctx, reaction_hooks[1], JS_UNDEFINED, 1, &resource);
    if (JS_IsException(entered))
        return entered;
    JS_FreeValue(ctx, entered);
    JSValue result = JS_Call(ctx, data[0], JS_UNDEFINED, argc, argv);
    JSValue pending = JS_GetException(ctx);
    JS_FreeValue(ctx, JS_Call(ctx, reaction_hooks[2], JS_UNDEFINED, 1, &resource));
    if (!JS_IsUninitialized(pending))
        JS_Throw(ctx, pending);
    return result;
}

static JSValue wrap_reaction(JSContext *ctx, JSValueConst handler)
{
    JSValue resource = JS_Call(ctx, reaction_hooks[0], JS_UNDEFINED, 0, NULL);
    if (JS_IsException(resource)) {
        JS_FreeValue(ctx, JS_GetException(ctx));
        return js_dup(handler);
    }
    JSValueConst data[2] = {handler, resource};
    JSValue wrapped = JS_NewCFunctionData(ctx, run_reaction, 1, 0, 2, data);
    JS_FreeValue(ctx, resource);
    return wrapped;
}

// setReactionHooks(capture, before, after), all undefined to end it.
NATIVE_FN(setReactionHooks)
{
    for (int i = 0; i < 3; i++) {
        JS_FreeValue(ctx, reaction_hooks[i]);
        reaction_hooks[i] = js_dup(argv[i]);
    }
    host_reaction = JS_IsFunction(ctx, argv[0]) ? wrap_reaction : NULL;
    return JS_UNDEFINED;
}

// heapStatistics(): [bytes allocated, bytes used by live objects]
NATIVE_FN(heapStatistics)
{
    JSMallocState *state = &ctx->rt->malloc_state;
    JSValue items[2] = {js_float64(state->malloc_size), js_float64(state->malloc_count * 16.0)};
    return JS_NewArrayFrom(ctx, 2, items);
}

NATIVE_FN(gc)
{
    JS_RunGC(ctx->rt);
    // As the engine does after a collection of its own: without this the first one comes soon after the snapshot, and touches
    // every page of it.
    JS_SetGCThreshold(ctx->rt, ctx->rt->malloc_state.malloc_size * 2);
    return JS_UNDEFINED;
}

#include "engine_modules.c"

void init_engine(JSContext *ctx, JSValueConst native)
{
    JSAtom name = JS_NewAtom(ctx, "node:frames");
    JSValue frames_symbol = JS_NewSymbolFromAtom(ctx, name, JS_ATOM_TYPE_PRIVATE);
    frames_atom = JS_ValueToAtom(ctx, frames_symbol);
    for (int i = 0; i < 3; i++)
        reaction_hooks[i] = JS_UNDEFINED;
    static const JSCFunctionListEntry table[] = {
        NATIVE(classOf, 1), NATIVE(asked, 0), NATIVE(promiseDetails, 1), NATIVE(proxyDetails, 1), NATIVE(previewEntries, 1),
        NATIVE(ownNonIndexKeys, 2), NATIVE(constructorName, 1), NATIVE(callerFile, 1), NATIVE(compileScript, 3),
        NATIVE(runScript, 1), NATIVE(runInterruptible, 1), NATIVE(evalScript, 3), NATIVE(runMicrotasks, 0), NATIVE(enqueueMicrotask, 1),
        NATIVE(setRejectionCallback, 1), NATIVE(uninitialized, 1), NATIVE(detach, 1), NATIVE(isDetached, 1),
        NATIVE(heapStatistics, 0), NATIVE(privateSymbol, 1), NATIVE(nameFrame, 2), NATIVE(defineAccessors, 2), NATIVE(setReactionHooks, 3), NATIVE(setNodeErrorKey, 1),
        NATIVE(gc, 0),
    };
    ADD_NATIVES(ctx, native, table);
    JSValue types = JS_NewObject(ctx);
    static const struct { const char *name; int magic; } CHECKS[] = {
        {"isExternal", -1}, {"isDate", JS_CLASS_DATE}, {"isArgumentsObject", IS_ARGUMENTS}, {"isBigIntObject", JS_CLASS_BIG_INT},
        {"isBooleanObject", JS_CLASS_BOOLEAN}, {"isNumberObject", JS_CLASS_NUMBER}, {"isStringObject", JS_CLASS_STRING},
        {"isSymbolObject", JS_CLASS_SYMBOL}, {"isBoxedPrimitive", IS_BOXED}, {"isNativeError", JS_CLASS_ERROR},
        {"isRegExp", JS_CLASS_REGEXP}, {"isAsyncFunction", IS_ASYNC_FUNCTION}, {"isGeneratorFunction", IS_GENERATOR_FUNCTION},
        {"isGeneratorObject", IS_GENERATOR}, {"isPromise", JS_CLASS_PROMISE}, {"isMap", JS_CLASS_MAP}, {"isSet", JS_CLASS_SET},
        {"isMapIterator", JS_CLASS_MAP_ITERATOR}, {"isSetIterator", JS_CLASS_SET_ITERATOR}, {"isWeakMap", JS_CLASS_WEAKMAP},
        {"isWeakSet", JS_CLASS_WEAKSET}, {"isArrayBuffer", JS_CLASS_ARRAY_BUFFER}, {"isDataView", JS_CLASS_DATAVIEW},
        {"isSharedArrayBuffer", JS_CLASS_SHARED_ARRAY_BUFFER}, {"isProxy", JS_CLASS_PROXY},
        {"isModuleNamespaceObject", JS_CLASS_MODULE_NS}, {"isAnyArrayBuffer", IS_ANY_BUFFER},
    };
    for (size_t i = 0; i < countof(CHECKS); i++) {
        JSValue f = JS_NewCFunctionMagic(ctx, n_is_class, CHECKS[i].name, 1, JS_CFUNC_generic_magic, CHECKS[i].magic);
        JS_SetPropertyStr(ctx, types, CHECKS[i].name, f);
    }
    JS_SetPropertyStr(ctx, native, "types", types);
    JSValue classes = JS_NewObject(ctx);
    for (size_t i = 0; i < countof(CLASSES); i++)
        JS_SetPropertyStr(ctx, classes, CLASSES[i].name, JS_NewInt32(ctx, CLASSES[i].id));
    JS_SetPropertyStr(ctx, native, "classes", classes);
}
