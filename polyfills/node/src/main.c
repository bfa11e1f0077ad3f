// Start: engine, library, snapshot point, arguments.
//
// Everything before native.snapshot() is the same for every run of the program and is done once, at build: what comes after it
// must take argv, environ, cwd, clocks and random state from the new exec. See lib/boot.js.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <signal.h>
#include <elf.h>
#include "megalith_call.h"
#include "node.h"

static int program_argc;
static char **program_argv;

int open_code(const char *path)
{
    long fd = syscall(MEGALITH_SYSCALL, MEGALITH_OPEN_CODE, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOSYS)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

// isSealed(): whether only code whose hash is in the manifest may be loaded.
NATIVE_FN(isSealed)
{
    return JS_NewBool(ctx, syscall(MEGALITH_SYSCALL, MEGALITH_POLICY) == 1);
}

// The canary that gcc's stack protector reads at %fs:0x28 was drawn before the snapshot; every run needs its own. Frames that
// are live now hold the old one, so nothing between here and main's end may return through a protected frame: this file and
// the snapshot's callers are built with -fno-stack-protector (the whole program is), which makes this a matter of glibc alone.
static void take_over_auxv(const Elf64_auxv_t *auxv)
{
    for (; auxv->a_type != AT_NULL; auxv++)
        if (auxv->a_type == AT_RANDOM) {
            uint64_t canary;
            memcpy(&canary, (const void *)auxv->a_un.a_val, sizeof canary);
            canary &= ~(uint64_t)0xff;
            __asm__ volatile("movq %0, %%fs:0x28" : : "r"(canary));
        }
}

// snapshot(): returns false at a cold start and true in a process that was resumed, with the new exec's arguments taken over.
NATIVE_FN(snapshot)
{
    engine_freeze(ctx);
    long block = syscall(MEGALITH_SYSCALL, MEGALITH_SNAPSHOT);
    bool resumed = block > 0;
    if (resumed) {
        long *words = (long *)block;
        program_argc = (int)words[0];
        program_argv = (char **)(words + 1);
        environ = program_argv + program_argc + 1;
        char **end = environ;
        while (*end)
            end++;
        take_over_auxv((const Elf64_auxv_t *)(end + 1));
    }
    process_forget();
    engine_forget_zone();
    engine_new_random(ctx);
    JS_UpdateStackTop(JS_GetRuntime(ctx));
    return JS_NewBool(ctx, resumed);
}

// restart(): the same program with the same arguments, and the environment as it is now. Returns only when that fails.
NATIVE_FN(restart)
{
    execv("/proc/self/exe", program_argv);
    return JS_UNDEFINED;
}

// cold(): this snapshot does not serve this run. Returns only where there is no snapshot.
NATIVE_FN(cold)
{
    syscall(MEGALITH_SYSCALL, MEGALITH_COLD);
    return JS_UNDEFINED;
}

NATIVE_FN(arguments)
{
    JSValue list = JS_NewArray(ctx);
    for (int i = 0; i < program_argc; i++)
        JS_DefinePropertyValueUint32(ctx, list, i, new_string_utf8(ctx, (uint8_t *)program_argv[i], strlen(program_argv[i])), JS_PROP_C_W_E);
    return list;
}

void init_start(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {
        NATIVE(isSealed, 0), NATIVE(snapshot, 0), NATIVE(cold, 0), NATIVE(restart, 0), NATIVE(arguments, 0),
    };
    ADD_NATIVES(ctx, native, table);
}

static void fatal(JSContext *ctx)
{
    JSValue error = JS_GetException(ctx), stack = JS_GetPropertyStr(ctx, error, "stack");
    const char *text = JS_ToCString(ctx, error), *where = JS_ToCString(ctx, stack);
    fprintf(stderr, "node: internal error: %s\n%s\n", text ? text : "?", where ? where : "");
    _exit(7);
}

int main(int argc, char **argv)
{
    program_argc = argc;
    program_argv = argv;
    signal(SIGPIPE, SIG_IGN);
    JSRuntime *rt = JS_NewRuntime();
    JSContext *ctx = rt ? JS_NewContext(rt) : NULL;
    if (!ctx)
        return 134;
    // V8's default stack is 984 KiB and its frames are smaller: this lets about as many JS frames nest.
    JS_SetMaxStackSize(rt, 4 << 20);
    JSValue native = JS_NewObjectProto(ctx, JS_NULL);
    init_engine(ctx, native);
    init_modules(ctx, native);
    init_builtins(ctx, native);
    init_bytes(ctx, native);
    init_files(ctx, native);
    init_sockets(ctx, native);
    init_process(ctx, native);
    init_crypto(ctx, native);
    init_zlib(ctx, native);
    init_bytecode(ctx, native);
    init_start(ctx, native);
    JSValue compile = JS_GetPropertyStr(ctx, native, "compileBuiltin");
    JSValue id = JS_NewString(ctx, "internal/megalith/boot");
    JSValue boot = JS_Call(ctx, compile, JS_UNDEFINED, 1, &id);
    JSValue global = JS_GetGlobalObject(ctx);
    JSValue args[2] = {native, global};
    if (JS_IsException(boot) || JS_IsException(JS_Call(ctx, boot, JS_UNDEFINED, 2, args)))
        fatal(ctx);
    // boot.js runs the loop and ends the process itself.
    return 0;
}
