/* System calls with hostile arguments: `probe syscall-fuzz SEED CHILDREN CALLS`. Only for guests of Megalith: natively it would hit the host. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

static uint64_t state;

static uint64_t next(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static char *none, *edge, *page;

/* Descriptors, sizes, flags, good and bad pointers, and noise. */
static long argument(void) {
    static const long edges[] = {0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 255, 4095, 4096, 4097, 65536, -1, -2, -100, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX, INT64_MIN};
    static char *const paths[] = {"/", "/tmp", "/tmp/fuzz", "/proc/self/exe", "/proc/self/fd/3", "/dev/null", "/dev/zero", "/bin/sh", "", "../../..", "/proc/self/maps", "/tmp/fuzz/../../x"};
    switch (next() % 8) {
    case 0: return edges[next() % (sizeof edges / sizeof *edges)];
    case 1: return next() % 12;
    case 2: return (long)paths[next() % (sizeof paths / sizeof *paths)];
    case 3: return (long)(page + next() % 8192);
    case 4: return (long)(edge - next() % 64);
    case 5: return (long)(none + next() % 4096);
    case 6: return 1l << next() % 64;
    default: return next();
    }
}

/* Calls that end the child at once, multiply it, or wait for what never comes, teach nothing. */
static int excluded(long n) {
    static const short list[] = {
        SYS_exit, SYS_exit_group, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_fork, SYS_vfork, SYS_clone, 435 /* clone3 */, SYS_pause,
        SYS_rt_sigsuspend, SYS_nanosleep, SYS_clock_nanosleep, SYS_setrlimit, SYS_prlimit64,
    };
    for (unsigned i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i] == n)
            return 1;
    return 0;
}

static void child(long calls) {
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge += 4096;
    mprotect(edge, 4096, PROT_NONE);
    none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    alarm(2);
    for (long i = 0; i < calls; i++) {
        long n = next() % 460;
        if (excluded(n))
            continue;
        for (int k = 0; k < 16; k++)
            ((long *)page)[next() % 1024] = argument();
        syscall(n, argument(), argument(), argument(), argument(), argument(), argument());
    }
    _exit(0);
}

static int fuzz(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], 0, 0) : 1;
    long children = argc > 2 ? atol(argv[2]) : 100, calls = argc > 3 ? atol(argv[3]) : 300, ended = 0, killed = 0;
    for (long i = 0; i < children; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            state = seed * 1000003 + i;
            setpgid(0, 0);
            child(calls);
        }
        /* alarm(2) is in vain when the child blocked or ignored it. */
        int status;
        for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited++) {
            if (waited == 500)
                kill(pid, SIGKILL);
            usleep(10000);
        }
        if (WIFEXITED(status))
            ended++;
        else
            killed++;
    }
    printf("%ld children: all ended: %d\n", children, ended + killed == children);
    return 0;
}

const struct probe fuzz_probes[] = {{"syscall-fuzz", fuzz}, {0, 0}};
