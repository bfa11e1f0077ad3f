/* What belongs into CPython's library; takes the place of Python/dynload_shlib.c.
 *
 * Extension modules without dynamic loading. A static program cannot load shared objects. The extension modules of the standard library are linked in, and so may be
 * those of packages. They are nevertheless found as in Debian's python3.11: the import system finds the .so file in
 * lib-dynload (or in a package), and this file answers with the code that is linked in under that file's name. So
 * sys.builtin_module_names, __file__, __spec__ and __loader__ are as they are there, and a module whose file is missing
 * from the image cannot be imported. The content of the .so file is never looked at.
 *
 * Policy. Under the policy `sealed` the interpreter loads as code only what the kernel vouches for. CPython has two seams for
 * that (PEP 578): the hook of io.open_code, through which imports, .pyc files, .pth files, zipimport and runpy read, and audit
 * events, raised before a command, standard input or a file is run. */

#include "Python.h"
#include "importdl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "megalith.h"

/* --- Extension modules ------------------------------------------------------------------------------------------------ */

/* Names of the files that imports look for, as Debian's python3.11 has them. */
const char *_PyImport_DynLoadFiletab[] = {"." SOABI ".so", ".abi" PYTHON_ABI_STRING ".so", ".so", NULL};

/* Modules that Debian has as files in lib-dynload. They are compiled as builtin modules; _PyMegalith_Init takes them out
 * of the table of builtin modules. In alphabetical order. */
static const char *const FILES[] = {
    "_asyncio",         "_bz2",        "_codecs_cn",   "_codecs_hk", "_codecs_iso2022",
    "_codecs_jp",       "_codecs_kr",  "_codecs_tw",   "_contextvars", "_crypt",
    "_decimal",         "_hashlib",    "_json",        "_lsprof",    "_lzma",
    "_multibytecodec",  "_multiprocessing", "_posixshmem", "_queue", "_sqlite3",
    "_ssl",             "_testbuffer", "_testcapi",    "_testclinic", "_testimportmultiple",
    "_testinternalcapi", "_testmultiphase", "_typing", "_uuid",      "_xxsubinterpreters",
    "_xxtestfuzz",      "_zoneinfo",   "audioop",      "mmap",       "readline",
    "resource",         "termios",     "xxlimited",    "xxlimited_35",
};
#define FILE_COUNT (sizeof(FILES) / sizeof(FILES[0]))

/* Their init functions, in the same order; NULL: not linked in. */
static PyObject *(*inits[FILE_COUNT])(void);

/* Files with more than one module (they test just that): file, module. */
#define FURTHER(X)                                                                     \
    X(_testimportmultiple, _testimportmultiple_foo)                                    \
    X(_testimportmultiple, _testimportmultiple_bar)                                    \
    X(_testmultiphase, _testmultiphase_nonmodule)                                      \
    X(_testmultiphase, _testmultiphase_nonmodule_with_methods)                         \
    X(_testmultiphase, _testmultiphase_null_slots)                                     \
    X(_testmultiphase, _testmultiphase_bad_slot_large)                                 \
    X(_testmultiphase, _testmultiphase_bad_slot_negative)                              \
    X(_testmultiphase, _testmultiphase_create_int_with_state)                          \
    X(_testmultiphase, _testmultiphase_negative_size)                                  \
    X(_testmultiphase, _testmultiphase_export_uninitialized)                           \
    X(_testmultiphase, _testmultiphase_export_null)                                    \
    X(_testmultiphase, _testmultiphase_export_raise)                                   \
    X(_testmultiphase, _testmultiphase_export_unreported_exception)                    \
    X(_testmultiphase, _testmultiphase_create_null)                                    \
    X(_testmultiphase, _testmultiphase_create_raise)                                   \
    X(_testmultiphase, _testmultiphase_create_unreported_exception)                    \
    X(_testmultiphase, _testmultiphase_nonmodule_with_exec_slots)                      \
    X(_testmultiphase, _testmultiphase_exec_err)                                       \
    X(_testmultiphase, _testmultiphase_exec_raise)                                     \
    X(_testmultiphase, _testmultiphase_exec_unreported_exception)                      \
    X(_testmultiphase, _testmultiphase_meth_state_access)                              \
    X(_testmultiphase, _test_module_state_shared)                                      \
    X(_testmultiphase, imp_dummy)                                                      \
    X(_testmultiphase, x)
#define DECLARE(file, module) extern PyObject *PyInit_##module(void) __attribute__((weak));
FURTHER(DECLARE)
/* Names with characters beyond ASCII are punycode, see PEP 489. */
extern PyObject *PyInitU_eckzbwbhc6jpgzcx415x(void) __attribute__((weak));
extern PyObject *PyInitU__testmultiphase_zkouka_naten_evc07gi8e(void) __attribute__((weak));

#define ENTRY(file, module) {"lib-dynload/" #file, "PyInit_" #module, PyInit_##module},
static const struct _PyMegalith_Extension FURTHER_MODULES[] = {
    FURTHER(ENTRY)
    {"lib-dynload/_testmultiphase", "PyInitU_eckzbwbhc6jpgzcx415x", PyInitU_eckzbwbhc6jpgzcx415x},
    {"lib-dynload/_testmultiphase", "PyInitU__testmultiphase_zkouka_naten_evc07gi8e",
     PyInitU__testmultiphase_zkouka_naten_evc07gi8e},
    {NULL, NULL, NULL},
};

/* Extension modules of packages that were linked in; the list ends with a NULL. */
extern const struct _PyMegalith_Extension _PyMegalith_PackageExtensions[] __attribute__((weak));

static void
split_inittab(void)
{
    static struct _inittab builtin[200];
    size_t kept = 0;
    for (const struct _inittab *p = PyImport_Inittab; p->name != NULL; p++) {
        size_t i = 0;
        while (i < FILE_COUNT && strcmp(FILES[i], p->name) != 0) {
            i++;
        }
        if (i < FILE_COUNT) {
            inits[i] = p->initfunc;
        }
        else if (kept + 1 < sizeof(builtin) / sizeof(builtin[0])) {
            builtin[kept++] = *p;
        }
    }
    PyImport_Inittab = builtin;
}

/* Whether path is "DIRECTORIES/file.TAG.so" with one of the known tags. */
static int
names_file(const char *path, const char *file)
{
    size_t length = strlen(file), all = strlen(path);
    for (const char **tag = _PyImport_DynLoadFiletab; *tag != NULL; tag++) {
        size_t end = strlen(*tag);
        if (all > length + end && strcmp(path + all - end, *tag) == 0 &&
            memcmp(path + all - end - length, file, length) == 0 && path[all - end - length - 1] == '/') {
            return 1;
        }
    }
    return 0;
}

static dl_funcptr
find(const struct _PyMegalith_Extension *table, const char *path, const char *symbol, int *known)
{
    for (; table != NULL && table->path != NULL; table++) {
        if (names_file(path, table->path)) {
            *known = 1;
            if (strcmp(table->symbol, symbol) == 0 && table->init != NULL) {
                return (dl_funcptr)table->init;
            }
        }
    }
    return NULL;
}

/* What the build wrote beside a shared object that it could not build from sources: a line in "FILE.so.reason". */
static void
read_reason(const char *pathname, char *reason, size_t size)
{
    char path[4096 + 16];
    reason[0] = '\0';
    if (strlen(pathname) > 4096) {
        return;
    }
    PyOS_snprintf(path, sizeof(path), "%s.reason", pathname);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = fd < 0 ? -1 : read(fd, reason, size - 1);
    if (fd >= 0) {
        close(fd);
    }
    reason[length < 0 ? 0 : length] = '\0';
    reason[strcspn(reason, "\n")] = '\0';
}

/* NULL with an exception: no such file, or not linked in. NULL without one: the file has no such init function. */
dl_funcptr
_PyImport_FindSharedFuncptr(const char *prefix, const char *shortname, const char *pathname, FILE *fp)
{
    char symbol[258], file[258];
    PyOS_snprintf(symbol, sizeof(symbol), "%.20s_%.200s", prefix, shortname);
    int known = 0;
    for (size_t i = 0; i < FILE_COUNT; i++) {
        PyOS_snprintf(file, sizeof(file), "lib-dynload/%s", FILES[i]);
        if (inits[i] != NULL && names_file(pathname, file)) {
            known = 1;
            if (strcmp(prefix, "PyInit") == 0 && strcmp(shortname, FILES[i]) == 0) {
                return (dl_funcptr)inits[i];
            }
        }
    }
    dl_funcptr found = find(FURTHER_MODULES, pathname, symbol, &known);
    if (found == NULL) {
        found = find(_PyMegalith_PackageExtensions, pathname, symbol, &known);
    }
    if (found != NULL || known) {
        return found;
    }
    PyObject *name = PyUnicode_DecodeFSDefault(shortname);
    PyObject *path = PyUnicode_DecodeFSDefault(pathname);
    PyObject *message = NULL;
    char why[1024];
    read_reason(pathname, why, sizeof(why));
    PyObject *reason = PyUnicode_DecodeUTF8(why, strlen(why), "replace");
    if (name != NULL && path != NULL && reason != NULL) {
        message = access(pathname, F_OK) != 0
            ? PyUnicode_FromFormat("%U: cannot open shared object file: No such file or directory", path)
            : PyUnicode_FromFormat(
                "%U: the extension module '%U' is a shared object, and it is not among those that were built into this "
                "Python polyfill when the image was built%s%U; the way out is to build the image with --python recompile",
                path, name, why[0] ? ": " : "", reason);
    }
    if (message != NULL) {
        PyErr_SetImportError(message, name, path);
    }
    Py_XDECREF(message);
    Py_XDECREF(reason);
    Py_XDECREF(path);
    Py_XDECREF(name);
    return NULL;
}

/* --- The private system call ------------------------------------------------------------------------------------------ */

static long
system_call(long operation, const void *a, long b)
{
    return syscall(MEGALITH_SYSCALL, operation, a, b);
}

long (*_PyMegalith_Call)(long operation, const void *a, long b) = system_call;

int _PyMegalith_Resumed = 0;
PyObject *_PyMegalith_Kept = NULL;

/* --- Policy ----------------------------------------------------------------------------------------------------------- */

static int sealed = 0;

static PyObject *
refuse(const char *what, PyObject *file)
{
    PyObject *message = PyUnicode_FromFormat("sealed: %s is not part of the image as it was built", what);
    PyObject *error = message == NULL ? NULL : PyObject_CallFunction(PyExc_PermissionError, "iOO", EACCES, message, file);
    if (error != NULL) {
        PyErr_SetObject(PyExc_PermissionError, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(message);
    return NULL;
}

/* A descriptor of the file's sealed bytes, or -1 with errno. */
static int
open_code(const char *path)
{
    int fd = (int)_PyMegalith_Call(MEGALITH_OPEN_CODE, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOSYS) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    return fd;
}

/* Hook of io.open_code. */
static PyObject *
open_code_hook(PyObject *path, void *unused)
{
    PyObject *io = PyImport_ImportModule("_io");
    PyObject *file = NULL, *bytes = NULL;
    if (io == NULL) {
        return NULL;
    }
    if (!sealed) {
        file = PyObject_CallMethod(io, "open", "Os", path, "rb");
    }
    else if (PyUnicode_FSConverter(path, &bytes)) {
        int fd = open_code(PyBytes_AS_STRING(bytes));
        if (fd >= 0) {
            file = PyObject_CallMethod(io, "open", "is", fd, "rb");
            if (file == NULL) {
                close(fd);
            }
        }
        else if (errno == EACCES) {
            refuse("a file to load as code", path);
        }
        else {
            PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
        }
        Py_DECREF(bytes);
    }
    Py_DECREF(io);
    return file;
}

/* Audit hook, only there when sealed. */
static int
audit_hook(const char *event, PyObject *arguments, void *unused)
{
    if (strncmp(event, "cpython.run_", 12) != 0) {
        return 0;
    }
    const char *what = event + 12;
    if (strcmp(what, "command") == 0) {
        PyErr_SetString(PyExc_PermissionError, "sealed: -c: code on the command line is not part of the image");
        return -1;
    }
    if (strcmp(what, "stdin") == 0 || strcmp(what, "interactivehook") == 0) {
        PyErr_SetString(PyExc_PermissionError, "sealed: <stdin>: code from standard input is not part of the image");
        return -1;
    }
    if (strcmp(what, "file") == 0 || strcmp(what, "startup") == 0) {
        PyObject *path = PyTuple_GetItem(arguments, 0), *bytes = NULL;
        if (path == NULL || !PyUnicode_FSConverter(path, &bytes)) {
            return -1;
        }
        int fd = open_code(PyBytes_AS_STRING(bytes));
        int error = errno;
        Py_DECREF(bytes);
        if (fd >= 0) {
            close(fd);
        }
        else if (error == EACCES) {
            refuse("a program", path);
            return -1;
        }
    }
    return 0;
}

FILE *
_PyMegalith_OpenProgram(PyObject *path, const char *mode)
{
    PyObject *bytes = NULL;
    if (!PyUnicode_FSConverter(path, &bytes)) {
        errno = EINVAL;
        return NULL;
    }
    int fd = sealed ? open_code(PyBytes_AS_STRING(bytes)) : open(PyBytes_AS_STRING(bytes), O_RDONLY | O_CLOEXEC);
    Py_DECREF(bytes);
    if (fd < 0) {
        return NULL;
    }
    FILE *file = fdopen(fd, mode);
    if (file == NULL) {
        close(fd);
    }
    return file;
}

int
_PyMegalith_SetPolicy(void)
{
    if (!sealed && _PyMegalith_Call(MEGALITH_POLICY, NULL, 0) == 1) {
        sealed = 1;
        return PySys_AddAuditHook(audit_hook, NULL);
    }
    return 0;
}

int
_PyMegalith_Init(void)
{
    split_inittab();
    return PyFile_SetOpenCodeHook(open_code_hook, NULL);
}
