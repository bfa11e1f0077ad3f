/* Libcrypto's SHA-2 by the kernel of Megalith, which has the processor's own instructions for it; the recompiled code has not.
 *
 * Linked with --wrap for both functions. One file of a program includes this. */
#ifndef MEGALITH_HASH_H
#define MEGALITH_HASH_H

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "megalith_call.h"

/* The state is the first member of what `state` points at: eight words. */
#define MEGALITH_HASH(name, operation, block)                                                  \
    void __real_##name(void *state, const void *data, size_t count);                           \
    void __wrap_##name(void *state, const void *data, size_t count)                            \
    {                                                                                          \
        static int elsewhere; /* no such kernel */                                             \
        int saved = errno;                                                                     \
        while (count > 0 && !elsewhere) {                                                      \
            long done = syscall(MEGALITH_SYSCALL, operation, state, data, count);            \
            if (done <= 0) {                                                                   \
                elsewhere = 1;                                                                 \
                break;                                                                         \
            }                                                                                  \
            data = (const char *)data + done * (block);                                        \
            count -= (size_t)done;                                                             \
        }                                                                                      \
        errno = saved;                                                                         \
        if (count > 0) {                                                                       \
            __real_##name(state, data, count);                                                 \
        }                                                                                      \
    }

MEGALITH_HASH(sha256_block_data_order, MEGALITH_SHA256, 64)
MEGALITH_HASH(sha512_block_data_order, MEGALITH_SHA512, 128)

#endif
