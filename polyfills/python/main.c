/* Main program of the Python polyfill; takes the place of CPython's Programs/python.c.
 *
 * Cold, it is python3.11. With MEGALITH_WARM in its environment (only when an image is built) it initialises the interpreter,
 * imports the modules that the variable names (`:` between them) and those that the programs in MEGALITH_SCRIPTS import, hides
 * them, says on standard error which they are, and makes the system call that takes a snapshot.
 * A process that is resumed from the snapshot returns from that call with its own arguments and environment: it takes over
 * what initialisation would have read from them, asks for a cold start if they want another initialisation, and goes on as
 * python3.11 does. No function on the stack of the snapshot returns: the stack canary is the new process's.
 *
 * With -DSIMULATE_RESUME, for native tests, every start is warmed and resumed in the same process. */

#define _GNU_SOURCE 1
#include "Python.h"
#include "internal/pycore_fileutils.h"
#include "internal/pycore_initconfig.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_pathconfig.h"
#include "internal/pycore_pylifecycle.h"
#include "internal/pycore_pystate.h"
#include "internal/pycore_runtime.h"
#include "internal/pycore_signal.h"

#include "megalith.h"
#include "megalith_hash.h"
#include "megalith_warm.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
extern PyStatus _PyMegalith_InitSysStreams(PyThreadState *tstate);

/* --- What must not be asked for while modules are imported ahead of time ------------------------------------------------ */

/* The linker sends calls of getrandom etc. here (--wrap). */
static struct {
    long random, clock, pid;
} asked;

ssize_t __real_getrandom(void *buffer, size_t length, unsigned flags);
int __real_getentropy(void *buffer, size_t length);
int __real_clock_gettime(clockid_t clock, struct timespec *time);
pid_t __real_getpid(void);

ssize_t
__wrap_getrandom(void *buffer, size_t length, unsigned flags)
{
    asked.random++;
    return __real_getrandom(buffer, length, flags);
}

int
__wrap_getentropy(void *buffer, size_t length)
{
    asked.random++;
    return __real_getentropy(buffer, length);
}

int
__wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    /* Locks read the monotonic clock. */
    asked.clock += clock != CLOCK_MONOTONIC;
    return __real_clock_gettime(clock, time);
}

pid_t
__wrap_getpid(void)
{
    asked.pid++;
    return __real_getpid();
}

static PyObject *
warm_counts(PyObject *self, PyObject *unused)
{
    return Py_BuildValue("(lll)", asked.random, asked.clock, asked.pid);
}

/* A number that changes with every change of a module's or a class's dictionary. */
static PyObject *
warm_version(PyObject *self, PyObject *owner)
{
    PyObject *dict = PyModule_Check(owner) ? PyModule_GetDict(owner)
        : PyType_Check(owner) ? ((PyTypeObject *)owner)->tp_dict : NULL;
    if (dict == NULL) {
        PyErr_BadInternalCall();
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(((PyDictObject *)dict)->ma_version_tag);
}

/* Takes away all callbacks of atexit. */
static PyObject *
warm_take_atexit(PyObject *self, PyObject *unused)
{
    struct atexit_state *state = &_PyInterpreterState_GET()->atexit;
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < state->ncallbacks; i++) {
        atexit_callback *callback = state->callbacks[i];
        if (callback == NULL) {
            continue;
        }
        PyObject *keywords = callback->kwargs == NULL ? PyDict_New() : Py_NewRef(callback->kwargs);
        PyObject *item = Py_BuildValue("(OON)", callback->func, callback->args, keywords);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    /* The entries stay allocated; they are few, and only there when an image is built. */
    state->ncallbacks = 0;
    return list;
}

static PyObject *
warm_unchanged(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_BadInternalCall();
        return NULL;
    }
    const char *path = PyUnicode_AsUTF8(args[0]);
    if (path == NULL) {
        return NULL;
    }
    struct stat found;
    int same = stat(path, &found) == 0 &&
        PyLong_AsLongLong(args[1]) == found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec &&
        PyLong_AsLongLong(args[2]) == (long long)found.st_size &&
        PyLong_AsUnsignedLongLong(args[3]) == (unsigned long long)found.st_ino;
    return PyErr_Occurred() ? NULL : PyBool_FromLong(same);
}

/* Directories that a plain start depends on, and their modification times in ns, -1 if missing. */
static struct {
    char *path;
    long long time;
} watched[16];

static long long
directory_time(const char *path)
{
    struct stat found;
    return stat(path, &found) < 0 ? -1 : found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec;
}

static PyObject *
warm_watch(PyObject *self, PyObject *path)
{
    const char *text = PyUnicode_AsUTF8(path);
    for (size_t i = 0; text != NULL && i < sizeof(watched) / sizeof(watched[0]); i++) {
        if (watched[i].path == NULL) {
            watched[i].path = strdup(text);
            watched[i].time = directory_time(text);
            Py_RETURN_NONE;
        }
    }
    if (text != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "too many directories on sys.path");
    }
    return NULL;
}

static int
is_fresh(void)
{
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]) && watched[i].path != NULL; i++) {
        if (directory_time(watched[i].path) != watched[i].time) {
            return 0;
        }
    }
    return 1;
}

static PyObject *
warm_fresh(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(is_fresh());
}

static PyObject *
warm_reseed_ssl(PyObject *self, PyObject *unused)
{
    RAND_poll();
    Py_RETURN_NONE;
}

/* --- Imports of warmed modules ------------------------------------------------------------------------------------------ */

/* {name: record} of warmed modules that are still hidden. */
static PyObject *hidden;
/* Functions of warm.py. */
static PyObject *reveal, *complete;
/* importlib._bootstrap._find_and_load as it is without us. */
static PyObject *find_and_load;

/* Takes the place of importlib._bootstrap._find_and_load(name, import_). */
static PyObject *
warm_find_and_load(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (count == 2 && PyUnicode_CheckExact(args[0]) && PyDict_GET_SIZE(hidden) != 0) {
        PyInterpreterState *interp = tstate->interp;
        PyObject *record = PyDict_GetItemWithError(hidden, args[0]);
        if (record == NULL && PyErr_Occurred()) {
            return NULL;
        }
        /* Whoever watches imports sees real ones. */
        if (record != NULL && !tstate->cframe->use_tracing && interp->audit_hooks == NULL &&
            PyDict_GetItemString(interp->builtins, "__import__") == interp->import_func) {
            PyObject *module = PyDict_GetItem(interp->modules, args[0]);
            if (module == NULL) {
                module = PyObject_CallOneArg(reveal, args[0]);
                if (module != Py_None) {
                    return module;
                }
                Py_DECREF(module);
            }
        }
    }
    return PyObject_Vectorcall(find_and_load, args, count, NULL);
}

static PyMethodDef METHODS[] = {
    {"counts", warm_counts, METH_NOARGS, NULL},
    {"version", warm_version, METH_O, NULL},
    {"take_atexit", warm_take_atexit, METH_NOARGS, NULL},
    {"watch", warm_watch, METH_O, NULL},
    {"fresh", warm_fresh, METH_NOARGS, NULL},
    {"unchanged", (PyCFunction)(void (*)(void))warm_unchanged, METH_FASTCALL, NULL},
    {"reseed_ssl", warm_reseed_ssl, METH_NOARGS, NULL},
};
static PyMethodDef FIND_AND_LOAD =
    {"_find_and_load", (PyCFunction)(void (*)(void))warm_find_and_load, METH_FASTCALL, NULL};

/* Ends the process after an error in what happens only when an image is built. */
static void _Py_NO_RETURN
fail(const char *what)
{
    fprintf(stderr, "megalith: warming: %s\n", what);
    if (PyErr_Occurred()) {
        PyErr_Print();
    }
    fflush(NULL);
    _exit(97);
}

static PyObject *
checked(PyObject *object, const char *what)
{
    if (object == NULL) {
        fail(what);
    }
    return object;
}

/* The parts of `list`, which `:` separates, each once. */
static PyObject *
split_names(const char *list)
{
    PyObject *text = checked(PyUnicode_DecodeFSDefault(list == NULL ? "" : list), "names");
    PyObject *colon = PyUnicode_FromString(":");
    PyObject *all = checked(PyUnicode_Split(text, colon, -1), "names");
    PyObject *names = checked(PyList_New(0), "memory");
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(all); i++) {
        PyObject *name = PyList_GET_ITEM(all, i);
        if (PyUnicode_GET_LENGTH(name) != 0 && PySequence_Contains(names, name) == 0) {
            PyList_Append(names, name);
        }
    }
    Py_DECREF(all);
    Py_DECREF(colon);
    Py_DECREF(text);
    return names;
}

/* Runs warm.py for the modules in `names` and the programs in `scripts` (lists) and returns its namespace. */
static PyObject *
warm_namespace(PyObject *names, PyObject *scripts)
{
    PyObject *space = checked(PyDict_New(), "memory");
    for (size_t i = 0; i < sizeof(METHODS) / sizeof(METHODS[0]); i++) {
        PyObject *function = checked(PyCFunction_New(&METHODS[i], NULL), "memory");
        PyDict_SetItemString(space, METHODS[i].ml_name, function);
        Py_DECREF(function);
    }
    /* Not to be seen in sys.modules because of us. */
    PyObject *modules = PyImport_GetModuleDict();
    int there = PyDict_GetItemString(modules, "atexit") != NULL;
    PyObject *atexit = checked(PyImport_ImportModule("atexit"), "atexit");
    PyDict_SetItemString(space, "register", checked(PyObject_GetAttrString(atexit, "register"), "atexit"));
    if (!there) {
        PyDict_DelItemString(modules, "atexit");
    }
    PyDict_SetItemString(space, "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(space, "bootstrap", PyDict_GetItemString(modules, "_frozen_importlib"));
    PyDict_SetItemString(space, "names", names);
    PyDict_SetItemString(space, "scripts", scripts);
    PyObject *code = checked(Py_CompileString(MEGALITH_WARM_PY, "<megalith warm>", Py_file_input), "warm.py");
    checked(PyEval_EvalCode(code, space, space), "warm.py");
    return space;
}

/* What can be warmed of the modules in `names`, or instead of them, and of what `scripts` import, found out in a child process;
 * says why others cannot, and whether there were any. */
static PyObject *
trial(PyObject *names, PyObject *scripts, int *refusals)
{
    int ends[2];
    if (pipe(ends) < 0) {
        fail("pipe");
    }
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        close(ends[0]);
        PyObject *space = warm_namespace(names, scripts);
        PyObject *result = checked(PyObject_CallNoArgs(PyDict_GetItemString(space, "trial")), "trial");
        PyObject *good = PyTuple_GET_ITEM(result, 0), *refused = PyTuple_GET_ITEM(result, 1);
        PyObject *name, *reason;
        Py_ssize_t position = 0;
        while (PyDict_Next(refused, &position, &name, &reason)) {
            fprintf(stderr, "megalith: not warmed: %s: %s\n", PyUnicode_AsUTF8(name), PyUnicode_AsUTF8(reason));
        }
        fflush(NULL);
        FILE *out = fdopen(ends[1], "w");
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(good); i++) {
            fprintf(out, ".%s\n", PyUnicode_AsUTF8(PyList_GET_ITEM(good, i)));
        }
        fputs(PyDict_GET_SIZE(refused) != 0 ? "refused\n" : "complete\n", out);
        fclose(out);
        _exit(0);
    }
    close(ends[1]);
    PyObject *good = checked(PyList_New(0), "memory");
    FILE *in = fdopen(ends[0], "r");
    char line[1000];
    int complete = 0;
    while (fgets(line, sizeof(line), in) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] != '.') {
            complete = 1;
            *refusals = strcmp(line, "refused") == 0;
            break;
        }
        PyObject *name = checked(PyUnicode_FromString(line + 1), "name");
        if (PySequence_Contains(good, name) == 0) {
            PyList_Append(good, name);
        }
        Py_DECREF(name);
    }
    fclose(in);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    if (!complete) {
        fail("the trial failed");
    }
    return good;
}

/* --- Snapshot ----------------------------------------------------------------------------------------------------------- */

/* What a resumed process compares itself with. */
static struct {
    char *directory;      /* of sys.executable */
    char *timezone;       /* TZ */
    struct stat localtime;
    Elf64_auxv_t *auxv;
    PyObject *environment; /* posix.environ, the dictionary behind os.environ */
} taken;

static Elf64_auxv_t *
find_auxv(char **envp)
{
    while (*envp != NULL) {
        envp++;
    }
    return (Elf64_auxv_t *)(envp + 1);
}

static void
stat_localtime(struct stat *to)
{
    memset(to, 0, sizeof(*to));
    (void)stat("/etc/localtime", to);
}

/* Directory of an absolute path, allocated; NULL if it has none. */
static char *
directory_of(const char *path)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    return slash == NULL || path[0] != '/' ? NULL : strndup(path, slash == path ? 1 : slash - path);
}

/* Does what every resumed process does first, so that what the interpreter notes of it (attributes of types, specialised bytecode)
 * is in the snapshot, and not written again in each process. */
static void
rehearse(void)
{
    static const char *const streams[] = {"stdout", "stderr"};
    /* Bytecode has its final form after some ten times. */
    for (int i = 0; i < 64; i++) {
        if (PyStatus_Exception(_PyMegalith_InitSysStreams(_PyThreadState_GET()))) {
            fail("standard streams");
        }
        PyObject *space = checked(PyDict_New(), "memory");
        PyDict_SetItemString(space, "__builtins__", PyEval_GetBuiltins());
        Py_DECREF(checked(PyRun_String("import sys\n", Py_file_input, space, space), "rehearsal"));
        Py_DECREF(space);
        for (size_t k = 0; k < sizeof(streams) / sizeof(streams[0]); k++) {
            PyObject *stream = PySys_GetObject(streams[k]);
            /* A closed descriptor has none. */
            if (stream != NULL && stream != Py_None) {
                Py_DECREF(checked(PyObject_CallMethod(stream, "flush", NULL), "rehearsal"));
            }
        }
    }
}

/* Where the C library goes on when no free block is large enough. */
static uintptr_t
fresh_memory(void)
{
    return (uintptr_t)sbrk(0) - mallinfo2().keepcost;
}

/* Each block that a resumed process gets between those of the snapshot costs it a copy of a page: the gaps are taken now, for good, the largest first, and what
 * it allocates lies together behind them. */
static void __attribute__((noinline))
leave_gaps(void)
{
    /* Freed blocks up to 1032 bytes would not become one with what lies behind them. */
    enum { LARGEST = 256 * 1024, STEP = 16, CACHED = 1032 };
    _PyMegalith_LeavePools();
    for (size_t size = LARGEST; size != 0; size -= STEP) {
        for (;;) {
            uintptr_t fresh = fresh_memory();
            void *block = malloc(size);
            /* Large ones are mappings of their own. */
            int gap = block != NULL && (uintptr_t)block < fresh;
            if (!gap) {
                if (size > CACHED) {
                    free(block);
                }
                break;
            }
        }
    }
}

/* Initialises the interpreter and imports the modules in `list`, and what the programs in `scripts` import (or NULL); returns at
 * the moment before a snapshot. */
static void
warm(char *arg0, const char *list, const char *scripts)
{
    PyStatus status;
    PyPreConfig preconfig;
    PyPreConfig_InitPythonConfig(&preconfig);
    status = Py_PreInitialize(&preconfig);
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    /* The user's packages depend on HOME, see refresh_site. */
    config.user_site_directory = 0;
    /* What is imported now writes no files. */
    config.write_bytecode = 0;
    if (!PyStatus_Exception(status)) {
        char *argv[] = {arg0, NULL};
        status = PyConfig_SetBytesArgv(&config, 1, argv);
    }
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    PyConfig_Clear(&config);

    PyObject *names = split_names(list), *programs = split_names(scripts);
    /* Without what was refused, others may find less than they did, and be refused now. */
    PyObject *none = checked(PyList_New(0), "memory");
    for (int round = 0, refused = 1; refused && PyList_GET_SIZE(names) + PyList_GET_SIZE(programs) != 0; round++) {
        Py_SETREF(names, round == 4 ? Py_NewRef(none) : trial(names, programs, &refused));
        Py_SETREF(programs, Py_NewRef(none));
    }
#ifndef SIMULATE_RESUME
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        fprintf(stderr, "megalith: warmed: %s\n", PyUnicode_AsUTF8(PyList_GET_ITEM(names, i)));
    }
    fflush(stderr);
#endif
    /* No handler that clears OpenSSL's memory at exit. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    PyObject *space = warm_namespace(names, none);
    PyObject *result = checked(PyObject_CallNoArgs(PyDict_GetItemString(space, "prepare")), "prepare");
    hidden = Py_NewRef(PyTuple_GET_ITEM(result, 0));
    _PyMegalith_Kept = Py_NewRef(PyTuple_GET_ITEM(result, 1));
    reveal = PyDict_GetItemString(space, "reveal");
    complete = PyDict_GetItemString(space, "complete");
    Py_DECREF(result);
    PyDict_DelItemString(space, "Recorder");
    PyDict_DelItemString(space, "trial");
    PyDict_DelItemString(space, "imports");
    PyDict_DelItemString(space, "prepare");
    PyInterpreterState *interp = _PyInterpreterState_GET();
    find_and_load = checked(PyObject_GetAttrString(interp->importlib, "_find_and_load"), "importlib");
    PyObject *ours = checked(PyCFunction_New(&FIND_AND_LOAD, NULL), "memory");
    PyObject_SetAttrString(interp->importlib, "_find_and_load", ours);

    PyObject *posix = checked(PyImport_ImportModule("posix"), "posix");
    taken.environment = checked(PyObject_GetAttrString(posix, "environ"), "posix.environ");
    PyObject *executable = PySys_GetObject("executable");
    taken.directory = directory_of(executable == NULL ? NULL : PyUnicode_AsUTF8(executable));
    if (taken.directory == NULL) {
        fail("the program was not started by a path");
    }
    const char *zone = getenv("TZ");
    taken.timezone = strdup(zone == NULL ? "" : zone);
    stat_localtime(&taken.localtime);

    rehearse();

    /* Standard streams are made anew. Nothing is in their buffers. */
    static const char *const streams[] = {"stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"};
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        PySys_SetObject(streams[i], Py_None);
    }
    /* Into the generation that is never collected. But what __main__ holds belongs to the program: it is collected. */
    PyGC_Collect();
    PyObject *gc = checked(PyImport_ImportModule("gc"), "gc");
    checked(PyObject_CallMethod(gc, "freeze", NULL), "gc.freeze");
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_GetItemString(_PyMegalith_Kept, "gc") == NULL) {
        PyDict_DelItemString(modules, "gc");
    }
    Py_DECREF(gc);
    PyObject *main_module = PyDict_GetItemString(modules, "__main__");
    PyObject *main_dict = PyModule_GetDict(main_module);
    PyObject_GC_UnTrack(main_module);
    PyObject_GC_Track(main_module);
    if (PyObject_GC_IsTracked(main_dict)) {
        PyObject_GC_UnTrack(main_dict);
        PyObject_GC_Track(main_dict);
    }
}

/* --- Resume ------------------------------------------------------------------------------------------------------------- */

static void _Py_NO_RETURN
cold(void)
{
    _PyMegalith_Call(MEGALITH_COLD, NULL, 0);
    /* Only if the kernel cannot exec. */
    _exit(127);
}

/* Whether an argument or a variable wants an interpreter that is initialised differently. The parts that are not: */
struct options {
    int unbuffered, no_bytecode, no_user_site, quiet, inspect;
    char *command, *module, *file;
    int first; /* index in argv of what becomes sys.argv[0] */
};

/* As config_parse_cmdline does, for the options that a warmed interpreter can still follow. Returns 0 for others. */
static int
parse_arguments(int argc, char **argv, struct options *options)
{
    int i = 1;
    for (; i < argc; i++) {
        const char *arg = argv[i];
        if (arg[0] != '-' || arg[1] == 0) {
            break;
        }
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        for (const char *p = arg + 1; *p != 0; p++) {
            switch (*p) {
            case 'u': options->unbuffered = 1; break;
            case 'B': options->no_bytecode = 1; break;
            case 's': options->no_user_site = 1; break;
            case 'q': options->quiet++; break;
            case 'i': options->inspect++; break;
            case 'c':
            case 'm': {
                char *value = (char *)p + 1;
                if (*value == 0) {
                    if (++i >= argc) {
                        return 0;
                    }
                    value = argv[i];
                }
                *(*p == 'c' ? &options->command : &options->module) = value;
                options->first = i;
                return 1;
            }
            default:
                return 0;
            }
        }
    }
    options->first = i;
    if (i < argc && strcmp(argv[i], "-") != 0) {
        options->file = argv[i];
    }
    return 1;
}

/* Variables that initialisation reads, here or in site.py. An empty value counts as none. */
static const char *const VARIABLES[] = {
    "CASEOK", "COERCECLOCALE", "DEBUG", "DEVMODE", "DUMPREFS", "DUMPREFSFILE", "EXECUTABLE", "FAULTHANDLER", "FRAMEWORK", "HOME",
    "INSPECT", "INTMAXSTRDIGITS", "IOENCODING", "MALLOC", "MALLOCSTATS", "NODEBUGRANGES", "NOUSERSITE", "OPTIMIZE", "PATH", "PLATLIBDIR",
    "PROFILEIMPORTTIME", "PYCACHEPREFIX", "SAFEPATH", "THREADDEBUG", "TRACEMALLOC", "USERBASE", "UTF8", "VERBOSE",
    "WARNDEFAULTENCODING", "WARNINGS",
};

/* Whether a variable that is a flag is set (_Py_get_env_flag). */
static int
flag_value(const char *value)
{
    char *end;
    return strtol(value, &end, 10) != 0 || *end != 0;
}

static int
parse_environment(char **envp, struct options *options)
{
    for (; *envp != NULL; envp++) {
        if (strncmp(*envp, "PYTHON", 6) != 0) {
            continue;
        }
        const char *name = *envp + 6, *value = strchr(name, '=');
        if (value == NULL || value[1] == 0) {
            continue;
        }
        size_t length = value++ - name;
#define IS(text) (length == sizeof(text) - 1 && memcmp(name, text, length) == 0)
        if (IS("UNBUFFERED")) {
            options->unbuffered |= flag_value(value);
        }
        else if (IS("DONTWRITEBYTECODE")) {
            options->no_bytecode |= flag_value(value);
        }
        else if (IS("HASHSEED")) {
            if (strcmp(value, "random") != 0) {
                return 0;
            }
        }
#undef IS
        for (size_t i = 0; i < sizeof(VARIABLES) / sizeof(VARIABLES[0]); i++) {
            if (strlen(VARIABLES[i]) == length && memcmp(VARIABLES[i], name, length) == 0) {
                return 0;
            }
        }
    }
    return 1;
}

/* Fields of sys.flags, in their order. */
enum { FLAG_INSPECT = 1, FLAG_INTERACTIVE, FLAG_NO_BYTECODE = 4, FLAG_NO_USER_SITE, FLAG_QUIET = 10, FLAG_UTF8_MODE = 14 };

static void
set_flag(Py_ssize_t index, long value)
{
    PyObject *flags = PySys_GetObject("flags");
    if (flags != NULL) {
        PyObject *old = PyStructSequence_GET_ITEM(flags, index);
        PyStructSequence_SET_ITEM(flags, index, PyLong_FromLong(value));
        Py_XDECREF(old);
    }
}

/* Sets LC_CTYPE; the snapshot has the usual one already, and setting it reads files. */
static int
set_ctype(const char *name)
{
    const char *now = setlocale(LC_CTYPE, NULL);
    return (now != NULL && strcmp(now, name) == 0) || setlocale(LC_CTYPE, name) != NULL;
}

/* LC_CTYPE and the UTF-8 mode as CPython's initialisation leaves them (PEP 538 and 540; Python/preconfig.c,
 * Python/pylifecycle.c). Returns 0 when that is left to a cold start, which it is for all encodings but UTF-8. May put LC_CTYPE
 * into the environment. */
static int
set_locale(PyConfig *config)
{
    const char *all = getenv("LC_ALL"), *ctype = getenv("LC_CTYPE"), *lang = getenv("LANG");
#define SET(variable) ((variable) != NULL && *(variable) != 0)
    const char *name = SET(all) ? all : SET(ctype) ? ctype : SET(lang) ? lang : "C";
    int legacy = strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0 || !set_ctype(name);
    if (legacy && SET(all)) {
        /* Never coerced. */
        if (!set_ctype("C")) {
            return 0;
        }
    }
    else if (legacy) {
        /* Coerced, and the other categories are set, too, then. */
        for (char **p = environ; *p != NULL; p++) {
            if (strncmp(*p, "LC_", 3) == 0 && strncmp(*p, "LC_ALL=", 7) != 0 && strncmp(*p, "LC_CTYPE=", 9) != 0) {
                return 0;
            }
        }
        if (SET(ctype) && SET(lang)) {
            return 0;
        }
        if (!set_ctype("C.UTF-8")) {
            setlocale(LC_CTYPE, "C");
        }
        else if (setenv("LC_CTYPE", "C.UTF-8", 1) != 0) {
            return 0;
        }
    }
    else if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        return 0;
    }
#undef SET
    _PyRuntime.preconfig.utf8_mode = Py_UTF8Mode = legacy;
    set_flag(FLAG_UTF8_MODE, legacy);
    /* As config_get_stdio_errors says; "C.UTF-8" is a target of coercion. */
    int escape = legacy || strcmp(name, "C.UTF-8") == 0 || strcmp(name, "C.utf8") == 0;
    return !PyStatus_Exception(PyConfig_SetString(config, &config->stdio_errors, escape ? L"surrogateescape" : L"strict"));
}

/* The path for sys.executable (Modules/getpath.py), if prefixes follow from it as in the snapshot. NULL otherwise. */
static char *
find_executable(const char *arg0)
{
    char path[PATH_MAX];
    char *found = NULL;
    if (arg0 == NULL || *arg0 == 0) {
        return NULL;
    }
    if (strchr(arg0, '/') != NULL) {
        wchar_t *name = Py_DecodeLocale(arg0, NULL), *absolute = NULL;
        if (name != NULL && _Py_abspath(_Py_normpath(name, -1), &absolute) == 0 && absolute != NULL) {
            char *text = Py_EncodeLocale(absolute, NULL);
            found = text == NULL ? NULL : strdup(text);
            PyMem_Free(text);
        }
        PyMem_RawFree(absolute);
        PyMem_RawFree(name);
    }
    else {
        const char *directories = getenv("PATH");
        while (directories != NULL && found == NULL) {
            size_t length = strcspn(directories, ":");
            struct stat file;
            if (length == 0 || directories[0] != '/') {
                return NULL;
            }
            if (length + strlen(arg0) + 2 < sizeof(path)) {
                snprintf(path, sizeof(path), "%.*s%s%s", (int)length, directories,
                         directories[length - 1] == '/' ? "" : "/", arg0);
                if (stat(path, &file) == 0 && S_ISREG(file.st_mode) && (file.st_mode & 0111) != 0) {
                    found = strdup(path);
                }
            }
            directories = directories[length] == ':' ? directories + length + 1 : NULL;
        }
    }
    char *directory = directory_of(found);
    int same = directory != NULL && strcmp(directory, taken.directory) == 0;
    free(directory);
    if (!same) {
        free(found);
        return NULL;
    }
    return found;
}

/* Puts the environment into os.environ. */
static int
refresh_environment(char **envp)
{
    PyObject *to = taken.environment;
    PyDict_Clear(to);
    for (; *envp != NULL; envp++) {
        const char *equals = strchr(*envp, '=');
        if (equals == NULL) {
            continue;
        }
        PyObject *name = PyBytes_FromStringAndSize(*envp, equals - *envp);
        PyObject *value = PyBytes_FromString(equals + 1);
        /* The first of several counts, as for getenv. */
        if (name == NULL || value == NULL || PyDict_SetDefault(to, name, value) == NULL) {
            return -1;
        }
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return 0;
}

static PyObject *
decoded_list(int count, char **items)
{
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *item = PyUnicode_DecodeFSDefault(items[i]);
        if (item == NULL) {
            Py_CLEAR(list);
        }
        else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    return list;
}

static int
set_sys(const char *name, PyObject *value)
{
    int result = value == NULL ? -1 : PySys_SetObject(name, value);
    Py_XDECREF(value);
    return result;
}

/* Names in the module `site` that depend on HOME. Returns 0 when there are packages of the user: site.py must run. */
static int
refresh_site(const struct options *options)
{
    PyObject *site = PyDict_GetItemString(PyImport_GetModuleDict(), "site");
    if (site == NULL || getuid() != geteuid() || getgid() != getegid()) {
        return 0;
    }
    /* As os.path.expanduser("~/.local"). */
    const char *home = getenv("HOME");
    PyObject *directory = NULL;
    if (home == NULL) {
        PyObject *pwd = PyImport_ImportModule("pwd");
        PyObject *user = pwd == NULL ? NULL : PyObject_CallMethod(pwd, "getpwuid", "k", (unsigned long)getuid());
        PyObject *name = user == NULL ? NULL : PyObject_GetAttrString(user, "pw_dir");
        directory = name == NULL ? NULL : PyUnicode_EncodeFSDefault(name);
        Py_XDECREF(name);
        Py_XDECREF(user);
        Py_XDECREF(pwd);
        if (directory != NULL) {
            home = PyBytes_AS_STRING(directory);
        }
        else if (PyErr_ExceptionMatches(PyExc_KeyError)) {
            PyErr_Clear();
            home = "~";
        }
        else {
            PyErr_Clear();
            return 0;
        }
    }
    size_t length = strlen(home);
    while (length > 0 && home[length - 1] == '/') {
        length--;
    }
    char base[PATH_MAX], packages[PATH_MAX + 100];
    int fits = length + 100 <= sizeof(base);
    if (fits) {
        snprintf(base, sizeof(base), "%.*s/.local", (int)length, home);
    }
    Py_XDECREF(directory);
    if (!fits) {
        return 0;
    }
    snprintf(packages, sizeof(packages), "%s/lib/python%d.%d/site-packages", base, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (!options->no_user_site && access(packages, F_OK) == 0) {
        return 0;
    }
    PyObject *value = PyUnicode_DecodeFSDefault(base);
    int failed = value == NULL || PyObject_SetAttrString(site, "USER_BASE", value) < 0;
    Py_XDECREF(value);
    value = PyUnicode_DecodeFSDefault(packages);
    failed |= value == NULL || PyObject_SetAttrString(site, "USER_SITE", value) < 0;
    Py_XDECREF(value);
    failed |= PyObject_SetAttrString(site, "ENABLE_USER_SITE", options->no_user_site ? Py_False : Py_True) < 0;
    return !failed;
}

/* Signals that were ignored when the process was started stay so, and Python is to know. */
static int
refresh_signals(void)
{
    PyOS_setsig(SIGPIPE, SIG_IGN);
#ifdef SIGXFSZ
    PyOS_setsig(SIGXFSZ, SIG_IGN);
#endif
    PyObject *module = NULL;
    for (int i = 1; i < Py_NSIG; i++) {
        struct sigaction action;
        if (i == SIGPIPE || i == SIGXFSZ || sigaction(i, NULL, &action) < 0 || action.sa_handler != SIG_IGN) {
            continue;
        }
        if (module == NULL && (module = PyImport_ImportModule("_signal")) == NULL) {
            return -1;
        }
        PyObject *result = PyObject_CallMethod(module, "signal", "ii", i, 1 /* SIG_IGN */);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    Py_XDECREF(module);
    return 0;
}

/* From here on the process is the new one: takes over its arguments and environment and runs the program. */
static void _Py_NO_RETURN __attribute__((noinline, optimize("no-stack-protector")))
resume(uintptr_t *block)
{
    int argc = (int)block[0];
    char **argv = (char **)(block + 1);
    char **envp = argv + argc + 1;
    Elf64_auxv_t *auxv = find_auxv(envp);
    for (Elf64_auxv_t *new = auxv; new->a_type != AT_NULL; new++) {
        if (new->a_type == AT_RANDOM) {
            /* As the C library does when a process starts. Its pointer guard stays: pointers are mangled with it. */
            uintptr_t canary;
            memcpy(&canary, (const void *)new->a_un.a_val, sizeof(canary));
            canary &= ~(uintptr_t)0xff;
            __asm__ volatile("movq %0, %%fs:0x28" : : "r"(canary) : "memory");
        }
        /* For getauxval. */
        for (Elf64_auxv_t *old = taken.auxv; old->a_type != AT_NULL; old++) {
            if (old->a_type == new->a_type) {
                old->a_un = new->a_un;
            }
        }
    }
    environ = envp;
    if (argc > 0) {
        program_invocation_name = argv[0];
        const char *slash = strrchr(argv[0], '/');
        program_invocation_short_name = slash == NULL ? argv[0] : (char *)slash + 1;
    }
    _PyMegalith_Resumed = 1;
    unsigned char seed[16];
    if (__real_getrandom(seed, sizeof(seed), 0) != sizeof(seed)) {
        cold();
    }
    if (_PyMegalith_Reseed != NULL) {
        _PyMegalith_Reseed(seed);
    }

    PyThreadState *tstate = _PyThreadState_GET();
    PyInterpreterState *interp = tstate->interp;
    PyConfig *config = (PyConfig *)_PyInterpreterState_GetConfig(interp);
#ifdef PY_HAVE_THREAD_NATIVE_ID
    tstate->native_thread_id = PyThread_get_thread_native_id();
#endif
    struct options options = {0};
    if (argc < 1 || !parse_arguments(argc, argv, &options) || !parse_environment(envp, &options)) {
        cold();
    }
    char *executable = find_executable(argv[0]);
    if (executable == NULL || !is_fresh() || !set_locale(config) || !refresh_site(&options)) {
        cold();
    }

    /* The configuration, as config_parse_cmdline and others leave it. */
    int failed = 0;
    config->inspect = config->interactive = options.inspect;
    config->quiet = options.quiet;
    config->buffered_stdio = !options.unbuffered;
    config->write_bytecode = !options.no_bytecode;
    config->user_site_directory = !options.no_user_site;
    Py_InspectFlag = config->inspect;
    Py_InteractiveFlag = config->interactive;
    Py_QuietFlag = config->quiet;
    Py_UnbufferedStdioFlag = options.unbuffered;
    Py_DontWriteBytecodeFlag = options.no_bytecode;
    Py_NoUserSiteDirectory = options.no_user_site;
    set_flag(FLAG_INSPECT, config->inspect);
    set_flag(FLAG_INTERACTIVE, config->interactive);
    set_flag(FLAG_NO_BYTECODE, options.no_bytecode);
    set_flag(FLAG_NO_USER_SITE, options.no_user_site);
    set_flag(FLAG_QUIET, options.quiet);
    failed |= PySys_SetObject("dont_write_bytecode", options.no_bytecode ? Py_True : Py_False) < 0;

    failed |= PyStatus_Exception(PyConfig_SetBytesString(config, &config->program_name, argv[0]));
    failed |= PyStatus_Exception(PyConfig_SetBytesString(config, &config->executable, executable));
    failed |= PyStatus_Exception(PyConfig_SetBytesString(config, &config->base_executable, executable));
    failed |= set_sys("executable", PyUnicode_DecodeFSDefault(executable)) < 0;
    failed |= set_sys("_base_executable", PyUnicode_DecodeFSDefault(executable)) < 0;
    failed |= set_sys("orig_argv", decoded_list(argc, argv)) < 0;
    char *nothing = "", **rest = argv + options.first;
    int count = argc - options.first;
    if (count <= 0) {
        rest = &nothing;
        count = 1;
    }
    /* sys.argv[0] is "-c" or "-m"; the block is ours. */
    char *stand_in = options.command != NULL ? "-c" : options.module != NULL ? "-m" : NULL;
    if (stand_in != NULL) {
        rest[0] = stand_in;
    }
    failed |= PyStatus_Exception(PyConfig_SetBytesArgv(config, count, rest));
    failed |= set_sys("argv", decoded_list(count, rest)) < 0;
    if (options.command != NULL) {
        size_t length = strlen(options.command);
        char *line = malloc(length + 2);
        if (line != NULL) {
            memcpy(line, options.command, length);
            memcpy(line + length, "\n", 2);
            failed |= PyStatus_Exception(PyConfig_SetBytesString(config, &config->run_command, line));
            free(line);
        }
    }
    if (options.module != NULL) {
        failed |= PyStatus_Exception(PyConfig_SetBytesString(config, &config->run_module, options.module));
    }
    if (options.file != NULL) {
        failed |= PyStatus_Exception(PyConfig_SetBytesString(config, &config->run_filename, options.file));
        wchar_t *absolute = NULL;
        if (options.file[0] != '/' && _Py_abspath(config->run_filename, &absolute) == 0 && absolute != NULL) {
            PyMem_RawFree(config->run_filename);
            config->run_filename = absolute;
        }
    }
    failed |= refresh_environment(environ) < 0;
    failed |= refresh_signals() < 0;
    struct stat localtime;
    stat_localtime(&localtime);
    const char *zone = getenv("TZ");
    if (strcmp(zone == NULL ? "" : zone, taken.timezone) != 0 || localtime.st_ino != taken.localtime.st_ino ||
        localtime.st_size != taken.localtime.st_size || localtime.st_mtim.tv_sec != taken.localtime.st_mtim.tv_sec ||
        localtime.st_mtim.tv_nsec != taken.localtime.st_mtim.tv_nsec) {
        PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), "time");
        PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, "tzset", NULL);
        failed |= module != NULL && result == NULL;
        Py_XDECREF(result);
    }
    if (options.unbuffered) {
        setvbuf(stdin, NULL, _IONBF, BUFSIZ);
        setvbuf(stdout, NULL, _IONBF, BUFSIZ);
        setvbuf(stderr, NULL, _IONBF, BUFSIZ);
    }
    else if (config->interactive) {
        setvbuf(stdin, NULL, _IOLBF, BUFSIZ);
        setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    }
    PyStatus status = _PyMegalith_InitSysStreams(tstate);
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    free(executable);
    PyObject *completed = PyObject_CallNoArgs(complete);
    failed |= completed == NULL;
    Py_XDECREF(completed);
    failed |= _PyMegalith_SetPolicy() < 0;
    if (failed) {
        PyErr_Print();
        Py_FatalError("taking over a resumed process");
    }
    exit(Py_RunMain());
}

/* --- Simulation --------------------------------------------------------------------------------------------------------- */

#ifdef SIMULATE_RESUME

/* What is warmed unless MEGALITH_SIMULATE_WARM names other modules. Further variables: MEGALITH_SIMULATE_SCRIPTS=PATH:..., MEGALITH_SIMULATE_SEALED=PREFIX:... (the
 * policy, and what it lets pass), MEGALITH_SIMULATE_STRICT=1 (a cold start is an error), MEGALITH_SIMULATE_TIME. */
static const char DEFAULT[] =
    "re:json:hashlib:datetime:logging:argparse:collections:functools:subprocess:tempfile:random:threading:decimal:ssl:"
    "urllib.request:email.message:unittest:dataclasses:typing:inspect:pathlib:shutil:zipfile:sqlite3:xml.etree.ElementTree";

static char **own_argv, **own_envp;
static int own_argc;
static struct timespec resumed;

/* For measurements: prints how long the process ran since it was resumed, in microseconds. */
static void
print_time(void)
{
    struct timespec now;
    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    fprintf(stderr, "%.1f us\n", (now.tv_sec - resumed.tv_sec) * 1e6 + (now.tv_nsec - resumed.tv_nsec) / 1e3);
}

static const char *
own_variable(const char *name)
{
    size_t length = strlen(name);
    for (char **p = own_envp; *p != NULL; p++) {
        if (strncmp(*p, name, length) == 0 && (*p)[length] == '=') {
            return *p + length + 1;
        }
    }
    return NULL;
}

static long
simulated_call(long operation, const void *a, long b)
{
    const char *sealed = own_variable("MEGALITH_SIMULATE_SEALED");
    errno = ENOSYS;
    switch (operation) {
    case MEGALITH_SNAPSHOT: {
        size_t variables = 0, entries = 0;
        while (own_envp[variables] != NULL) {
            variables++;
        }
        Elf64_auxv_t *auxv = (Elf64_auxv_t *)(own_envp + variables + 1);
        while (auxv[entries++].a_type != AT_NULL) {
        }
        uintptr_t *block = calloc(own_argc + variables + 3 + 2 * entries, sizeof(*block)), *p = block;
        *p++ = own_argc;
        memcpy(p, own_argv, (own_argc + 1) * sizeof(*p));
        p += own_argc + 1;
        for (size_t i = 0; i < variables; i++) {
            *p++ = (uintptr_t)own_envp[i];
        }
        *p++ = 0;
        memcpy(p, auxv, entries * sizeof(*auxv));
        if (own_variable("MEGALITH_SIMULATE_TIME") != NULL) {
            atexit(print_time);
            __real_clock_gettime(CLOCK_MONOTONIC, &resumed);
        }
        return (long)block;
    }
    case MEGALITH_COLD: {
        const char *strict = own_variable("MEGALITH_SIMULATE_STRICT");
        if (strict != NULL && strcmp(strict, "1") == 0) {
            fprintf(stderr, "megalith: a cold start was asked for\n");
            _exit(99);
        }
        size_t variables = 0;
        while (own_envp[variables] != NULL) {
            variables++;
        }
        char **envp = calloc(variables + 2, sizeof(*envp));
        envp[0] = "MEGALITH_SIMULATE_COLD=1";
        memcpy(envp + 1, own_envp, variables * sizeof(*envp));
        execve("/proc/self/exe", own_argv, envp);
        return -1;
    }
    case MEGALITH_POLICY:
        return sealed == NULL ? -1 : 1;
    case MEGALITH_OPEN_CODE:
        if (sealed == NULL) {
            return -1;
        }
        for (const char *prefix = sealed; *prefix != 0; prefix += strspn(prefix, ":")) {
            size_t length = strcspn(prefix, ":");
            if (strncmp(a, prefix, length) == 0) {
                return open(a, (int)b);
            }
            prefix += length;
        }
        errno = EACCES;
        return -1;
    }
    return -1;
}

#endif

/* The program as CPython has it. */
static int
run_cold(int argc, char **argv)
{
    /* The hook that follows the policy is freed by the allocator that options and environment choose, so they are asked first. */
    PyPreConfig config;
    PyPreConfig_InitPythonConfig(&config);
    PyStatus status = Py_PreInitializeFromBytesArgs(&config, argc, argv);
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    return _PyMegalith_SetPolicy() < 0 ? 1 : Py_BytesMain(argc, argv);
}

int __attribute__((optimize("no-stack-protector")))
main(int argc, char **argv)
{
    if (_PyMegalith_Init() < 0) {
        return 1;
    }
    const char *list = getenv("MEGALITH_WARM");
#ifdef SIMULATE_RESUME
    _PyMegalith_Call = simulated_call;
    own_argc = argc;
    own_envp = environ;
    own_argv = argv;
    const char *names = own_variable("MEGALITH_SIMULATE_WARM");
    if (getenv("MEGALITH_SIMULATE_COLD") != NULL) {
        unsetenv("MEGALITH_SIMULATE_COLD");
        list = NULL;
    }
    else {
        /* Another environment than the one that is resumed with. */
        static char path[4000] = "PATH=/usr/bin:/bin";
        static char *environment[] = {path, "HOME=/nonexistent", "SIMULATED=1", "TZ=Asia/Tokyo", NULL};
        if (getenv("PATH") != NULL) {
            snprintf(path, sizeof(path), "PATH=%s", getenv("PATH"));
        }
        environ = environment;
        list = names == NULL ? DEFAULT : names;
        const char *of = own_variable("MEGALITH_SIMULATE_SCRIPTS");
        if (of != NULL) {
            setenv("MEGALITH_SCRIPTS", of, 1);
        }
    }
#endif
    if (list == NULL || argc < 1) {
        return run_cold(argc, argv);
    }
    taken.auxv = find_auxv(argv + argc + 1);
    const char *programs = getenv("MEGALITH_SCRIPTS");
    char *wanted = strdup(list), *scripts = programs == NULL ? NULL : strdup(programs);
    unsetenv("MEGALITH_WARM");
    unsetenv("MEGALITH_SCRIPTS");
    char *arg0 = argv[0];
#ifdef SIMULATE_RESUME
    /* As at a build, the program is started by its path, whatever its name is now. */
    static char own_path[PATH_MAX];
    if (readlink("/proc/self/exe", own_path, sizeof(own_path) - 1) > 0) {
        arg0 = own_path;
    }
#endif
    warm(arg0, wanted, scripts);
    if (_PyMegalith_PrepareSnapshot != NULL) {
        _PyMegalith_PrepareSnapshot();
    }
    leave_gaps();
    long block = _PyMegalith_Call(MEGALITH_SNAPSHOT, NULL, 0);
    if (block > 0) {
        resume((uintptr_t *)block);
    }
    /* Nobody takes one: a cold start without the variable. */
    execv("/proc/self/exe", argv);
    return 127;
}
