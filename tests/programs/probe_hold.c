/* What functions keep in registers for their callers, when something happens far below that needs all of it. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "probe.h"

#define FRAMES __attribute__((noinline, optimize("O2", "no-optimize-sibling-calls")))
#define CHAINED __attribute__((noinline, optimize("O2", "no-optimize-sibling-calls", "no-omit-frame-pointer")))

typedef uint64_t leaf(uint64_t);

/* More values alive across the call than there are registers that calls preserve. */
FRAMES static uint64_t descend(leaf *at_bottom, unsigned n, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t d = a * 3 + n, e = b ^ (c >> 7), f = c * 0x9e3779b97f4a7c15;
    uint64_t r = n ? descend(at_bottom, n - 1, b + d, c ^ e, a + f) : at_bottom(a ^ b);
    return ((r + a) ^ (b * 5) ^ (d + c * 7)) + (e ^ (f >> 3));
}

/* Saves registers only on one of its ways, and calls on both. */
FRAMES static uint64_t wrapped(leaf *at_bottom, unsigned n, uint64_t x) {
    if (!(x & 1))
        return at_bottom(x);
    uint64_t y = x * 31, z = x ^ n;
    uint64_t r = descend(at_bottom, n, x, y, z);
    return r ^ y ^ (z << 1);
}

static uint64_t nothing(uint64_t x) { return x + 1; }

static uint64_t forks(uint64_t x) {
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        return x ^ 0xc0ffee;
    waitpid(child, &status, 0);
    return x + WEXITSTATUS(status);
}

static uint64_t vforks(uint64_t x) {
    int status = 0;
    pid_t child = vfork();
    if (child == 0)
        _exit((int)(x % 200));
    waitpid(child, &status, 0);
    return x + WEXITSTATUS(status);
}

static volatile uint64_t handled;
static void handler(int sig) { handled += descend(nothing, 5, (uint64_t)sig, handled, 3); }

static uint64_t raises(uint64_t x) {
    raise(SIGUSR1);
    return x ^ handled;
}

static jmp_buf back;
static uint64_t jumps(uint64_t x) { longjmp(back, (int)(x % 1000) + 1); }

static uint64_t catches(uint64_t x) {
    volatile uint64_t kept = x * 7;
    int v = setjmp(back);
    return v ? kept + (uint64_t)v : descend(jumps, 9, x, kept, x ^ kept);
}

static ucontext_t here, there;
static uint64_t carried;
static void other(void) {
    for (;;) {
        carried = descend(nothing, 3, carried, 11, carried >> 5);
        swapcontext(&there, &here);
    }
}
static uint64_t switches(uint64_t x) {
    carried = x;
    swapcontext(&here, &there);
    return carried;
}

static uint64_t where_from(uint64_t x) { return __builtin_return_address(0) ? x * 3 : 0; }

static _Unwind_Reason_Code one_frame(struct _Unwind_Context *context, void *count) {
    *(unsigned *)count += _Unwind_GetIP(context) != 0;
    return _URC_NO_REASON;
}
static unsigned outside;
static uint64_t unwinds(uint64_t x) {
    unsigned count = 0;
    _Unwind_Backtrace(one_frame, &count);
    return x + count - outside;
}

CHAINED static unsigned walk(void) {
    unsigned count = 0;
    void **frame = __builtin_frame_address(0), **next;
    for (; count < 100 && (next = frame[0]) > frame && frame[1]; frame = next)
        count++;
    return count;
}
CHAINED static uint64_t chain(unsigned n, uint64_t a, uint64_t b) {
    uint64_t c = a * 5 + n;
    uint64_t r = n ? chain(n - 1, b, c) : walk() >= 7;
    return r ^ (a + (b << 9)) ^ c;
}

static int held(int argc, char **argv) {
    (void)argc, (void)argv;
    static char stack[65536];
    static const struct {
        const char *name;
        leaf *run;
    } leaves[] = {{"nothing", nothing}, {"vfork", vforks}, {"signal", raises}, {"longjmp", catches}, {"contexts", switches}, {"return address", where_from}, {"unwinder", unwinds}};
    signal(SIGUSR1, handler);
    getcontext(&there);
    there.uc_stack.ss_sp = stack, there.uc_stack.ss_size = sizeof stack;
    makecontext(&there, other, 0);
    _Unwind_Backtrace(one_frame, &outside);
    for (unsigned k = 0; k < sizeof leaves / sizeof *leaves; k++) {
        uint64_t h = 0;
        for (unsigned i = 0; i < 40; i++)
            h = h * 31 + wrapped(leaves[k].run, i % 17, h + i);
        printf("%s: %016lx\n", leaves[k].name, h);
    }
    printf("frame pointers: %016lx\n", chain(6, 1, 2));
    fflush(stdout);
    /* Both sides come back through all frames. */
    pid_t self = getpid();
    uint64_t h = wrapped(forks, 12, 77);
    printf("fork, %s: %016lx\n", getpid() == self ? "parent" : "child", h);
    if (getpid() != self) {
        fflush(stdout);
        _exit((int)(h & 63));
    }
    return 0;
}

const struct probe hold_probes[] = {{"held", held}, {0, 0}};
