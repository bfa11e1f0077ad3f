/* spawn FILE [COUNT [ARG...]]: posix_spawn + waitpid of FILE (an absolute path) with these arguments, COUNT times (2,000). Prints the starts that succeeded and the median and mean in nanoseconds. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static int ascending(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

int main(int argc, char **argv) {
    if (argc < 2 || argv[1][0] != '/')
        return 2;
    long n = argc > 2 ? atol(argv[2]) : 2000, ok = 0;
    if (n < 1)
        return 2;
    double *took = malloc(n * sizeof *took), sum = 0;
    /* Our own arguments from FILE on, without COUNT. */
    char **args = argc > 2 ? argv + 2 : argv + 1, *file = argv[1];
    args[0] = file;
    for (long i = 0; i < n; i++) {
        struct timespec a, b;
        pid_t pid;
        int status = -1;
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (posix_spawn(&pid, file, 0, 0, args, environ) == 0 && waitpid(pid, &status, 0) == pid && status == 0)
            ok++;
        clock_gettime(CLOCK_MONOTONIC, &b);
        sum += took[i] = (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
    }
    qsort(took, n, sizeof *took, ascending);
    printf("started %ld of %ld median %.0f mean %.0f\n", ok, n, took[n / 2], sum / n);
    return ok != n;
}
