/* Signals: faults with exact addresses, recovery, timers, masks. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

static sigjmp_buf recover;
static volatile sig_atomic_t seen_signal, seen_code, on_alt;
static void *volatile seen_addr;
static char *alt_base;
static size_t alt_size = 64 << 10;

static void caught(int sig, siginfo_t *info, void *context) {
    (void)context;
    char here;
    seen_signal = sig;
    seen_code = info->si_code;
    seen_addr = info->si_addr;
    on_alt = &here >= alt_base && &here < alt_base + alt_size;
    siglongjmp(recover, 1);
}

static void install(int flags) {
    alt_base = malloc(alt_size);
    stack_t ss = {.ss_sp = alt_base, .ss_size = alt_size};
    sigaltstack(&ss, 0);
    struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | flags};
    sigaction(SIGSEGV, &sa, 0);
    sigaction(SIGBUS, &sa, 0);
    sigaction(SIGFPE, &sa, 0);
    sigaction(SIGILL, &sa, 0);
}

/* Runs `access` and says which signal came, and whether si_addr is `expect`. */
#define EXPECT(what, expect, access)                                                                                              \
    do {                                                                                                                          \
        seen_signal = 0;                                                                                                          \
        if (!sigsetjmp(recover, 1)) {                                                                                             \
            access;                                                                                                               \
            printf("%s: no signal\n", what);                                                                                      \
        } else                                                                                                                    \
            printf("%s: %s code %d, address %s, %s stack\n", what, sigabbrev_np(seen_signal), (int)seen_code,                     \
                   (uintptr_t)seen_addr == (uintptr_t)(expect) ? "exact" : "WRONG", on_alt ? "alternate" : "own");                \
    } while (0)

static volatile int sink;
static volatile int zero;
/* Addresses that the compiler cannot see through. */
static volatile int *volatile null = 0;
#define AT(address) (*(volatile int *)((char *)null + (address)))

static int faults(int argc, char **argv) {
    (void)argc, (void)argv;
    install(SA_ONSTACK);
    long page = sysconf(_SC_PAGESIZE);
    EXPECT("read of 0", 0, sink = AT(0));
    EXPECT("write of 8", 8, AT(8) = 1);
    EXPECT("read of page 0's last word", 4092, sink = AT(4092));
    volatile char *none = mmap(0, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT("read of PROT_NONE", none + 5, sink = none[5]);
    EXPECT("write of PROT_NONE", none + page, none[page] = 1);
    mprotect((void *)none, page, PROT_READ | PROT_WRITE);
    none[5] = 42;
    EXPECT("read after mprotect", 0, sink = none[5]);
    printf("value %d\n", sink);
    mprotect((void *)none, page, PROT_READ);
    EXPECT("read of read-only", 0, sink = none[5]);
    EXPECT("write of read-only", none + 7, none[7] = 1);
    EXPECT("word across the end of a mapping", none + page, sink = *(volatile int *)(none + page - 2));
    munmap((void *)none, page);
    EXPECT("read of unmapped", none + 9, sink = none[9]);
    EXPECT("write of a string constant", "constant", *(volatile char *)"constant" = 'x');

    int fd = open("/tmp/probe-truncated", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (ftruncate(fd, 2 * page))
        return 1;
    volatile char *file = mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    file[page + 3] = 1;
    if (ftruncate(fd, page))
        return 1;
    EXPECT("read before the end of a truncated file", 0, sink = file[3]);
    EXPECT("read after the end of a truncated file", file + page + 11, sink = file[page + 11]);
    EXPECT("write after the end of a truncated file", file + page + 12, file[page + 12] = 1);
    munmap((void *)file, 2 * page);
    close(fd);
    unlink("/tmp/probe-truncated");
    return 0;
}

/* Recovers from many faults, with handlers on the program's own stack. */
static int fault_loop(int argc, char **argv) {
    (void)argc, (void)argv;
    install(0);
    volatile int caught_faults = 0;
    volatile char low[100000];
    low[0] = 7;
    for (volatile int i = 0; i < 5000; i++) {
        if (!sigsetjmp(recover, 1))
            sink = AT(i & 4095);
        else
            caught_faults++;
    }
    printf("%d faults, %d\n", caught_faults, low[0]);
    return 0;
}

static int division(int argc, char **argv) {
    (void)argc, (void)argv;
    install(SA_ONSTACK);
    volatile int one = 1, min = -2147483647 - 1, minus = -1;
    volatile long long lmin = -9223372036854775807ll - 1, lminus = -1;
    seen_signal = 0;
    for (int i = 0; i < 4; i++) {
        if (!sigsetjmp(recover, 1)) {
            switch (i) {
            case 0: sink = one / zero; break;
            case 1: sink = min / minus; break;
            case 2: sink = (int)(lmin / lminus); break;
            case 3: sink = one % zero; break;
            }
            printf("division %d: no signal\n", i);
        } else
            printf("division %d: %s code %d, address %s\n", i, sigabbrev_np(seen_signal), (int)seen_code, seen_addr ? "set" : "null");
    }
    return 0;
}

static int undefined(int argc, char **argv) {
    (void)argc, (void)argv;
    install(0);
    if (!sigsetjmp(recover, 1)) {
        __asm__ volatile("ud2");
        puts("ud2: no signal");
    } else
        printf("ud2: %s\n", sigabbrev_np(seen_signal));
    return 0;
}

static __attribute__((noinline)) int overflow(int n) {
    volatile char pad[4096];
    pad[n & 4095] = (char)n;
    if (n < 0)
        return 0;
    return overflow(n + 1) + pad[n & 4095];
}

static int stack_overflow(int argc, char **argv) {
    (void)argc, (void)argv;
    install(SA_ONSTACK);
    for (int i = 0; i < 3; i++) {
        if (!sigsetjmp(recover, 1))
            printf("overflow returned %d\n", overflow(0));
        else
            printf("stack overflow %d: %s, %s stack\n", i, sigabbrev_np(seen_signal), on_alt ? "alternate" : "own");
    }
    return 0;
}

static int killed_by_fault(int argc, char **argv) {
    (void)argc, (void)argv;
    fflush(stdout);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (i == 0)
                AT(16) = 1;
            if (i == 1)
                sink = sink / zero;
            abort();
        }
        int status;
        waitpid(pid, &status, 0);
        printf("child %d: signalled %d by %d\n", i, WIFSIGNALED(status), WIFSIGNALED(status) ? WTERMSIG(status) : -1);
    }
    return 0;
}

static volatile sig_atomic_t flag;
static volatile unsigned long spins;

static void raise_flag(int sig) {
    (void)sig;
    flag = 1;
}

/* A loop without a single call: only a poll at its head lets the handler in. */
static int alarm_loop(int argc, char **argv) {
    (void)argc, (void)argv;
    signal(SIGALRM, raise_flag);
    alarm(1);
    while (!flag)
        spins++;
    printf("alarm arrived in a loop without calls: %d\n", spins > 1000);
    return 0;
}

static volatile unsigned long calls;

__attribute__((noinline, optimize("no-optimize-sibling-calls"))) static unsigned long tree(int depth) {
    if (flag || depth == 0)
        return ++calls;
    return tree(depth - 1) ^ tree(depth - 1);
}

/* Recursion without a loop, which would take days. */
static int alarm_recursion(int argc, char **argv) {
    (void)argc, (void)argv;
    signal(SIGALRM, raise_flag);
    alarm(1);
    tree(50);
    printf("alarm arrived in recursion: %d\n", calls > 1000);
    return 0;
}

/* The same in registers only, killed by the default action. */
static int alarm_kill(int argc, char **argv) {
    (void)argc, (void)argv;
    alarm(1);
    unsigned long x = 1;
    while (x) {
        x = x * 6364136223846793005ul + 2;
        x |= 1;
        __asm__ volatile("" : "+r"(x));
    }
    return 0;
}

static volatile sig_atomic_t ticks;

static void tick(int sig) {
    (void)sig;
    ticks++;
}

static int interval(int argc, char **argv) {
    (void)argc, (void)argv;
    struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGVTALRM, &sa, 0);
    sigaction(SIGALRM, &sa, 0);
    struct itimerval it = {{0, 10000}, {0, 10000}};
    setitimer(ITIMER_REAL, &it, 0);
    unsigned long sum = 0, i = 0;
    while (ticks < 20) {
        sum += i * i;
        i++;
    }
    struct itimerval off = {{0, 0}, {0, 0}}, old;
    setitimer(ITIMER_REAL, &off, &old);
    unsigned long check = 0;
    for (unsigned long k = 0; k < i; k++)
        check += k * k;
    printf("20 ticks, sum intact: %d, interval read back: %ld us\n", check == sum, (long)old.it_interval.tv_usec);
    return 0;
}

static void note(int sig) {
    char c = sig == SIGUSR1 ? '1' : sig == SIGUSR2 ? '2' : '?';
    if (write(1, &c, 1) != 1)
        _exit(9);
}

static int masks(int argc, char **argv) {
    (void)argc, (void)argv;
    struct sigaction sa = {.sa_handler = note};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGUSR1, &sa, 0);
    sigaction(SIGUSR2, &sa, 0);
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR2);
    sigpending(&pending);
    printf(" blocked: usr1 pending %d, usr2 pending %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    fflush(stdout);
    sigprocmask(SIG_SETMASK, &old, 0);
    puts(" unblocked");
    fflush(stdout);
    sigprocmask(SIG_BLOCK, &set, 0);
    kill(getpid(), SIGUSR1);
    sigset_t none;
    sigemptyset(&none);
    int r = sigsuspend(&none);
    printf(" sigsuspend %d %s\n", r, strerror(errno));
    sigset_t wait_for;
    sigemptyset(&wait_for);
    sigaddset(&wait_for, SIGUSR2);
    sigprocmask(SIG_BLOCK, &wait_for, 0);
    kill(getpid(), SIGUSR2);
    struct timespec limit = {1, 0};
    siginfo_t info;
    printf("sigtimedwait %d\n", sigtimedwait(&wait_for, &info, &limit) == SIGUSR2);
    signal(SIGUSR1, SIG_IGN);
    sigprocmask(SIG_SETMASK, &old, 0);
    kill(getpid(), SIGUSR1);
    puts("ignored");
    return 0;
}

static int interrupted(int argc, char **argv) {
    (void)argc, (void)argv;
    int p[2];
    char c;
    if (pipe(p))
        return 1;
    struct sigaction sa = {.sa_handler = tick};
    sigaction(SIGALRM, &sa, 0);
    struct itimerval it = {{0, 0}, {0, 50000}};
    setitimer(ITIMER_REAL, &it, 0);
    ssize_t r = read(p[0], &c, 1);
    printf("read without SA_RESTART: %zd %s\n", r, strerror(errno));
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, 0);
    setitimer(ITIMER_REAL, &it, 0);
    fflush(stdout);
    if (fork() == 0) {
        usleep(200000);
        _exit(write(p[1], "x", 1) != 1);
    }
    r = read(p[0], &c, 1);
    printf("read with SA_RESTART: %zd %c, ticks %d\n", r, c, ticks);
    struct timespec ts = {5, 0}, left;
    it.it_value.tv_usec = 100000;
    setitimer(ITIMER_REAL, &it, 0);
    int n = nanosleep(&ts, &left);
    printf("nanosleep %d %s, about 4.9 s left: %d\n", n, strerror(errno), left.tv_sec == 4);
    wait(0);
    return 0;
}

const struct probe signal_probes[] = {
    {"faults", faults},     {"fault-loop", fault_loop}, {"division", division}, {"undefined", undefined}, {"stack-overflow", stack_overflow}, {"killed-by-fault", killed_by_fault}, {"alarm-loop", alarm_loop}, {"alarm-recursion", alarm_recursion},
    {"alarm-kill", alarm_kill}, {"interval", interval}, {"masks", masks},         {"interrupted", interrupted},       {0, 0},
};
