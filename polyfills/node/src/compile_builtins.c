// Build tool: compiles JavaScript modules to one archive of bytecode (its layout: builtins.c).
//
// Built from the engine's source without the patch; quickjs.c is included for its internal function that compiles from line 0.
//
// usage: compile_builtins OUTPUT < LIST, where every line of LIST is "id<TAB>parameters<TAB>file": the module's source becomes
// the body of a function with these parameters.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "quickjs.c"

static char *read_file(const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(1);
    }
    fseek(f, 0, SEEK_END);
    *length = ftell(f);
    rewind(f);
    char *text = malloc(*length + 1);
    if (fread(text, 1, *length, f) != *length)
        exit(1);
    text[*length] = 0;
    fclose(f);
    return text;
}

static void append_u32(FILE *f, uint32_t v) { fwrite(&v, 4, 1, f); }

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    JSRuntime *rt = JS_NewRuntime();
    JSContext *ctx = JS_NewContext(rt);
    FILE *out = fopen(argv[1], "wb");
    if (!out)
        return 1;
    fwrite("MGNB", 4, 1, out);
    append_u32(out, 0);
    uint32_t count = 0;
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *parameters = strchr(line, '\t'), *path = parameters ? strchr(parameters + 1, '\t') : NULL;
        if (!path)
            return 2;
        *parameters++ = 0;
        *path++ = 0;
        size_t length, size;
        char *text = read_file(path, &length);
        // The wrapper stands on line 0, so that lines and columns are those of the file.
        char *source;
        int total = asprintf(&source, "(function (%s) {\n%s\n})", parameters, text);
        char name[4096];
        snprintf(name, sizeof name, "node:%s", line);
        JSValue code = JS_EvalInternal(ctx, ctx->global_obj, source, total, name, 0, JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_COMPILE_ONLY, -1);
        if (JS_IsException(code)) {
            JSValue e = JS_GetException(ctx);
            JSValue stack = JS_GetPropertyStr(ctx, e, "stack");
            fprintf(stderr, "%s: %s %s\n", path, JS_ToCString(ctx, e), JS_ToCString(ctx, stack));
            return 1;
        }
        uint8_t *bytes = JS_WriteObject(ctx, &size, code, JS_WRITE_OBJ_BYTECODE | JS_WRITE_OBJ_STRIP_SOURCE);
        JS_FreeValue(ctx, code);
        if (!bytes)
            return 1;
        append_u32(out, strlen(line));
        append_u32(out, size);
        fwrite(line, strlen(line) + 1, 1, out);
        fwrite(bytes, size, 1, out);
        js_free(ctx, bytes);
        free(source);
        free(text);
        count++;
    }
    fseek(out, 4, SEEK_SET);
    append_u32(out, count);
    return fclose(out) != 0;
}
