// ES modules as Node's loader sees them (internalBinding('module_wrap')): compile, link by hand, instantiate, evaluate.
// Part of engine.c's translation unit: linking fills in the engine's own module records.

static JSValue import_callback = {0};

// import(): `import_callback(referrer, specifier, attributes)` gives a promise of the namespace.
static JSValue host_import(JSContext *ctx, JSValueConst *resolving_funcs, JSValueConst referrer, JSValueConst specifier,
                           JSValueConst attributes)
{
    JSValueConst args[3] = {referrer, specifier, attributes};
    JSValue promise = JS_Call(ctx, import_callback, JS_UNDEFINED, 3, args);
    int settle = 0;
    if (JS_IsException(promise)) {
        promise = JS_GetException(ctx);
        settle = 1;
    }
    JSValue done = JS_Call(ctx, resolving_funcs[settle], JS_UNDEFINED, 1, vc(&promise));
    JS_FreeValue(ctx, promise);
    return done;
}

NATIVE_FN(setImportCallback)
{
    import_callback = js_dup(argv[0]);
    host_links_modules = true;
    return JS_UNDEFINED;
}

// A module travels as the engine's own module value; it lives as long as the context does.
static JSModuleDef *module_of(JSContext *ctx, JSValueConst value)
{
    if (JS_VALUE_GET_TAG(value) == JS_TAG_MODULE)
        return JS_VALUE_GET_PTR(value);
    JS_ThrowTypeError(ctx, "not a module");
    return NULL;
}

// moduleCompile(source, url, line)
NATIVE_FN(moduleCompile)
{
    return compile_source(ctx, argv[0], argv[1], argv[2], JS_EVAL_TYPE_MODULE);
}

static int synthetic_init(JSContext *ctx, JSModuleDef *m)
{
    JSValue evaluate = JS_GetModulePrivateValue(ctx, m);
    JSValue result = JS_Call(ctx, evaluate, JS_UNDEFINED, 0, NULL);
    JS_FreeValue(ctx, evaluate);
    JS_FreeValue(ctx, result);
    return JS_IsException(result) ? -1 : 0;
}

// moduleSynthetic(url, exportNames, evaluate): a module whose exports `evaluate` sets with moduleSetExport.
NATIVE_FN(moduleSynthetic)
{
    const char *url = JS_ToCString(ctx, argv[0]);
    if (!url)
        return JS_EXCEPTION;
    JSModuleDef *m = JS_NewCModule(ctx, url, synthetic_init);
    JS_FreeCString(ctx, url);
    if (!m)
        return JS_EXCEPTION;
    int64_t count = 0;
    JS_GetLength(ctx, argv[1], &count);
    for (int64_t i = 0; i < count; i++) {
        JSValue item = JS_GetPropertyInt64(ctx, argv[1], i);
        const char *name = JS_ToCString(ctx, item);
        JS_FreeValue(ctx, item);
        if (!name)
            return JS_EXCEPTION;
        JS_AddModuleExport(ctx, m, name);
        JS_FreeCString(ctx, name);
    }
    JS_SetModulePrivateValue(ctx, m, js_dup(argv[2]));
    return JS_NewModuleValue(ctx, m);
}

NATIVE_FN(moduleSetExport)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    const char *name = m ? JS_ToCString(ctx, argv[1]) : NULL;
    if (!name)
        return JS_EXCEPTION;
    int result = JS_SetModuleExport(ctx, m, name, js_dup(argv[2]));
    JS_FreeCString(ctx, name);
    return result < 0 ? JS_EXCEPTION : JS_UNDEFINED;
}

// moduleRequests(module): [[specifier, attributes or undefined], ...] in order of appearance.
NATIVE_FN(moduleRequests)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    if (!m)
        return JS_EXCEPTION;
    JSValue list = JS_NewArray(ctx);
    for (int i = 0; i < m->req_module_entries_count; i++) {
        JSReqModuleEntry *entry = &m->req_module_entries[i];
        JSValue pair[2] = {JS_AtomToString(ctx, entry->module_name), js_dup(entry->attributes)};
        JS_DefinePropertyValueUint32(ctx, list, i, JS_NewArrayFrom(ctx, 2, pair), JS_PROP_C_W_E);
    }
    return list;
}

// moduleLink(module, dependencies): one module for each request.
NATIVE_FN(moduleLink)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    if (!m)
        return JS_EXCEPTION;
    for (int i = 0; i < m->req_module_entries_count; i++) {
        JSValue item = JS_GetPropertyUint32(ctx, argv[1], i);
        JSModuleDef *dependency = module_of(ctx, item);
        JS_FreeValue(ctx, item);
        if (!dependency)
            return JS_EXCEPTION;
        m->req_module_entries[i].module = dependency;
    }
    m->resolved = true;
    return JS_UNDEFINED;
}

static bool all_linked(JSContext *ctx, JSModuleDef *m)
{
    // `resolved` is set by moduleLink for the module itself; dependencies are linked by the same loader before this is called.
    for (int i = 0; i < m->req_module_entries_count; i++)
        if (!m->req_module_entries[i].module) {
            JS_ThrowInternalError(ctx, "a dependency of the module is not linked");
            return false;
        }
    return true;
}

NATIVE_FN(moduleInstantiate)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    if (!m || !all_linked(ctx, m) || js_create_module_function(ctx, m) < 0)
        return JS_EXCEPTION;
    if (m->status == JS_MODULE_STATUS_UNLINKED && js_link_module(ctx, m) < 0)
        return JS_EXCEPTION;
    return JS_UNDEFINED;
}

// moduleEvaluate(module): a promise.
NATIVE_FN(moduleEvaluate)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    return m ? js_evaluate_module(ctx, m) : JS_EXCEPTION;
}

NATIVE_FN(moduleNamespace)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    return m ? JS_GetModuleNamespace(ctx, m) : JS_EXCEPTION;
}

NATIVE_FN(moduleMeta)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    return m ? JS_GetImportMeta(ctx, m) : JS_EXCEPTION;
}

// moduleStatus(module): V8's numbers: 0 uninstantiated, 1 instantiating, 2 instantiated, 3 evaluating, 4 evaluated, 5 errored.
NATIVE_FN(moduleStatus)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    if (!m)
        return JS_EXCEPTION;
    if (m->eval_has_exception)
        return JS_NewInt32(ctx, 5);
    switch (m->status) {
    case JS_MODULE_STATUS_UNLINKED: return JS_NewInt32(ctx, 0);
    case JS_MODULE_STATUS_LINKING: return JS_NewInt32(ctx, 1);
    case JS_MODULE_STATUS_LINKED: return JS_NewInt32(ctx, 2);
    case JS_MODULE_STATUS_EVALUATING: return JS_NewInt32(ctx, 3);
    default: return JS_NewInt32(ctx, 4);
    }
}

NATIVE_FN(moduleError)
{
    JSModuleDef *m = module_of(ctx, argv[0]);
    return m ? js_dup(m->eval_exception) : JS_EXCEPTION;
}

void init_modules(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {
        NATIVE(setImportCallback, 1), NATIVE(moduleCompile, 3), NATIVE(moduleSynthetic, 3), NATIVE(moduleSetExport, 3),
        NATIVE(moduleRequests, 1), NATIVE(moduleLink, 2), NATIVE(moduleInstantiate, 1), NATIVE(moduleEvaluate, 1),
        NATIVE(moduleNamespace, 1), NATIVE(moduleMeta, 1), NATIVE(moduleStatus, 1), NATIVE(moduleError, 1),
    };
    ADD_NATIVES(ctx, native, table);
}
