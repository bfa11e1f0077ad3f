/* Deep recursion and non-local exits. */
#include <alloca.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

static uintptr_t top, bottom;
static long depth;

/* 48 bytes a frame: return address, two saved registers and 24 bytes of locals. */
__attribute__((noinline, optimize("O1", "no-omit-frame-pointer", "no-optimize-sibling-calls"))) static long dive(long n) {
    volatile long keep[2];
    keep[0] = n;
    keep[1] = n * 3;
    bottom = (uintptr_t)keep;
    depth++;
    if (top - bottom >= 7u << 20)
        return keep[0];
    long r = dive(n + 1);
    return r + (keep[1] - 3 * keep[0]) + (n & 1) - (keep[0] & 1);
}

static int deep(int argc, char **argv) {
    (void)argc, (void)argv;
    char here;
    for (int round = 0; round < 3; round++) {
        top = (uintptr_t)&here;
        depth = 0;
        long r = dive(0);
        printf("round %d: depth %ld, last %ld, bytes a frame %ld\n", round, depth, r, (long)((top - bottom) / depth));
    }
    return 0;
}

static jmp_buf out;

__attribute__((noinline)) static void down(int n) {
    volatile char pad[512];
    memset((char *)pad, n, sizeof pad);
    if (n == 0)
        longjmp(out, 7);
    if (n > 0)
        down(n - 1);
    pad[0]++;
}

static int jumps(int argc, char **argv) {
    (void)argc, (void)argv;
    volatile int count = 0;
    volatile double d = 1.5;
    for (volatile int i = 0; i < 1000; i++) {
        int v = setjmp(out);
        if (v == 0)
            down(i % 200);
        else
            count += v;
        d = d * 1.0001 + v;
    }
    printf("longjmps %d, double %.6f\n", count, d);
    jmp_buf b;
    int v = setjmp(b);
    if (v < 5) {
        printf("setjmp returned %d\n", v);
        longjmp(b, v + 1);
    }
    return 0;
}

static int varargs_and_alloca(int argc, char **argv) {
    (void)argv;
    unsigned long sum = 0;
    for (int i = 1; i < 2000; i++) {
        unsigned char *p = alloca(i % 97 + argc);
        memset(p, i, i % 97 + argc);
        sum += p[(i % 97 + argc) / 2];
    }
    printf("alloca sum %lu\n", sum);
    return 0;
}

const struct probe stack_probes[] = {{"deep", deep}, {"longjmp", jumps}, {"alloca", varargs_and_alloca}, {0, 0}};
