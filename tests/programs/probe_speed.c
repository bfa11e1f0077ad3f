/* Small loops that `cargo xtask bench` times. Each prints one number: nanoseconds an operation. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int getpids(int argc, char **argv) {
    long n = argc > 1 ? atol(argv[1]) : 1000000;
    double t = now();
    for (long i = 0; i < n; i++)
        syscall(SYS_getpid);
    printf("%.1f\n", (now() - t) / n);
    return 0;
}

static int round_trip(int argc, char **argv) {
    long n = argc > 1 ? atol(argv[1]) : 20000;
    int there[2], back[2];
    char c = 'x';
    if (pipe(there) || pipe(back))
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &c, 1) == 1)
            if (write(back[1], &c, 1) != 1)
                break;
        _exit(0);
    }
    close(there[0]);
    double t = now();
    for (long i = 0; i < n; i++)
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
            return 1;
    printf("%.1f\n", (now() - t) / n);
    close(there[1]);
    waitpid(pid, 0, 0);
    return 0;
}

static int fork_wait(int argc, char **argv) {
    long n = argc > 1 ? atol(argv[1]) : 1000;
    double t = now();
    for (long i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        waitpid(pid, 0, 0);
    }
    printf("%.1f\n", (now() - t) / n);
    return 0;
}

/* An empty loop that the compiler may not remove: nothing but what every loop has. */
static int empty_loop(int argc, char **argv) {
    long n = argc > 1 ? atol(argv[1]) : 500000000;
    double t = now();
    for (long i = 0; i < n; i++)
        __asm__ volatile("" : "+r"(i));
    printf("%.3f\n", (now() - t) / n);
    return 0;
}

const struct probe speed_probes[] = {{"getpid", getpids}, {"pipe", round_trip}, {"fork-wait", fork_wait}, {"empty-loop", empty_loop}, {0, 0}};
