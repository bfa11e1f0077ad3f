/* What the files of the Python polyfill know of each other. */
#ifndef MEGALITH_H
#define MEGALITH_H

#include "Python.h"

#include <stdio.h>

#include "megalith_call.h"

/* An extension module of a package that is linked in. */
struct _PyMegalith_Extension {
    /* End of the file's path without the tag and .so, e.g. "markupsafe/_speedups". */
    const char *path;
    /* Name of the init function, e.g. "PyInit__speedups". */
    const char *symbol;
    PyObject *(*init)(void);
};

/* --- library.c --- */

/* Makes the system call; the program for tests puts a simulation here. Returns -1 and sets errno as syscall() does. */
extern long (*_PyMegalith_Call)(long operation, const void *a, long b);

/* Prepares extension modules and policy; to be called before the interpreter is initialised. */
int _PyMegalith_Init(void);

/* Asks for the policy and follows it from here on. Negative: an exception is set. */
int _PyMegalith_SetPolicy(void);

/* Opens a file that is to be run as a program, like fopen(path, mode). When sealed, errno is EACCES for what is not part of
 * the image. */
FILE *_PyMegalith_OpenProgram(PyObject *path, const char *mode);

/* Whether this process was resumed from a snapshot. Then the interpreter is not torn down at exit. */
extern int _PyMegalith_Resumed;

/* sys.modules as it was in the snapshot, and all warmed modules: (name: module). Nothing of them is finalised at exit. */
extern PyObject *_PyMegalith_Kept;

/* --- Patches: memory after a resume; reseeding of hashes --- */

/* New small objects go to pools of their own from here on. */
void _PyMegalith_LeavePools(void);

/* Before a snapshot, and after a resume with 16 random bytes. */
void _PyMegalith_PrepareSnapshot(void) __attribute__((weak));
void _PyMegalith_Reseed(const void *random16) __attribute__((weak));

#endif
