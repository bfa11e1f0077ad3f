/* What is linked in with extensions; the table of them follows. */
#include <math.h>
#include <string.h>
#include "megalith.h"

typedef void (*const Constructor)(int, char **, char **);

/* Init functions that run the constructors of their extensions before, once. The linker names where a section begins and ends; of an extension without
   constructors there is none. */
#define EXTENSION(init, section)                                              \
    extern PyObject *init(void);                                              \
    extern Constructor __start_##section[] __attribute__((weak));             \
    extern Constructor __stop_##section[] __attribute__((weak));              \
    static PyObject *init##_once(void)                                        \
    {                                                                         \
        static char *none[] = {0};                                            \
        static Constructor *next = __start_##section;                         \
        while (next != __stop_##section) {                                    \
            (*next++)(0, none, none);                                         \
        }                                                                     \
        return init();                                                        \
    }

/* The C library's fma needs directed rounding, which recompiled code does not have. These round a sum to odd in a wider format, from which rounding to
   nearest is exact (Boldo, Melquiond: Emulation of FMA and correctly rounded sums, 2008). */
#define FUSED(name, type, wide, bits)                                         \
    type name(type a, type b, type c)                                         \
    {                                                                         \
        if (!isfinite(a) || !isfinite(b) || !isfinite(c)) {                   \
            return isfinite(a) && isfinite(b) ? c : a * b + c;                \
        }                                                                     \
        wide product = (wide)a * b, sum = product + c;                        \
        wide other = sum - product;                                           \
        wide error = (product - (sum - other)) + (c - other);                 \
        bits word;                                                            \
        memcpy(&word, &sum, sizeof word);                                     \
        if (error != 0 && !(word & 1)) {                                      \
            /* Sign and magnitude: away from zero if the error has the sum's sign. */ \
            word += (error > 0) == (sum > 0) ? 1 : -1;                        \
            memcpy(&sum, &word, sizeof sum);                                  \
        }                                                                     \
        return (type)sum;                                                     \
    }
FUSED(fma, double, __float128, unsigned __int128)
FUSED(fmaf, float, double, unsigned long)
