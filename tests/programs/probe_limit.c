/* Under `run --memory`: each takes memory in its own way. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

#define MIB ((size_t)1 << 20)

static char *map(size_t bytes, int prot, int flags) {
    char *p = mmap(0, bytes, prot, flags, -1, 0);
    if (p == MAP_FAILED) {
        printf("mmap: %s\n", strerrorname_np(errno));
        fflush(stdout);
        _exit(3);
    }
    return p;
}

static void touch(char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile char *)p)[i] = 1;
}

/* Much is reserved, little is touched. */
static int reserve(int argc, char **argv) {
    (void)argc, (void)argv;
    char *a = map(1024 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    char *b = map(1024 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
    touch(a + 500 * MIB, 5 * MIB);
    mprotect(b + 300 * MIB, 8 * MIB, PROT_READ | PROT_WRITE);
    touch(b + 300 * MIB, 5 * MIB);
    char *c = sbrk(200 * MIB);
    touch(c, 5 * MIB);
    /* What is given back may be touched again and again. */
    for (int i = 0; i < 20; i++) {
        touch(a, 20 * MIB);
        madvise(a, 20 * MIB, MADV_DONTNEED);
    }
    printf("reserved %d\n", a[500 * MIB] + b[300 * MIB] + c[0]);
    return 0;
}

/* Goes on touching, with or without loops that could be interrupted: argument "fill" or "step". */
static int hog(int argc, char **argv) {
    size_t want = (argc > 2 ? strtoul(argv[2], 0, 10) : 1024) * MIB;
    char *a = map(want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (argc > 1 && !strcmp(argv[1], "fill")) {
        void *to = a;
        size_t n = want;
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(1) : "memory");
    } else
        touch(a, want);
    printf("touched all\n");
    return 0;
}

/* Children that are not large, but many: a bomb. */
static int bomb(int argc, char **argv) {
    (void)argc, (void)argv;
    int killed = 0, failed = 0, other = 0, status;
    signal(SIGUSR1, SIG_IGN);
    setpgid(0, 0);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        if (pid < 0)
            failed++;
        if (pid == 0) {
            signal(SIGUSR1, SIG_DFL);
            touch(map(16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS), 16 * MIB);
            for (;;)
                pause();
        }
    }
    usleep(300000);
    kill(0, SIGUSR1);
    while (wait(&status) > 0)
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
            killed++;
        else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGUSR1)
            other++;
    printf("bomb: some killed %d, some left %d, failed %d, other %d\n", killed >= 20, killed < 40, failed, other);
    return 0;
}

/* Memory that belongs to no process alone. */
static int shares(int argc, char **argv) {
    (void)argc, (void)argv;
    char *ok = map(16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    touch(ok, 16 * MIB);
    char *p = mmap(0, 100 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    printf("shared: %s\n", p == MAP_FAILED ? strerrorname_np(errno) : "mapped");
    munmap(ok, 16 * MIB);
    for (int i = 0; i < 20; i++) {
        char *again = map(30 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
        touch(again, 30 * MIB);
        munmap(again, 30 * MIB);
    }
    int fd = memfd_create("m", 0);
    printf("memfd: %s", ftruncate(fd, 10 * MIB) ? strerrorname_np(errno) : "10 MiB");
    printf(", %s", ftruncate(fd, 100 * MIB) ? strerrorname_np(errno) : "100 MiB");
    printf(", %s\n", posix_fallocate(fd, 0, 100 * MIB) == ENOSPC ? "ENOSPC" : "there");
    /* A mapping keeps a file's memory when nothing else does. */
    char *m = mmap(0, 10 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    touch(m, 10 * MIB);
    fd = memfd_create("n", 0);
    printf("and another: %s, %s\n", ftruncate(fd, 60 * MIB) ? strerrorname_np(errno) : "60 MiB",
           ftruncate(fd, 40 * MIB) ? strerrorname_np(errno) : "40 MiB");
    close(fd);
    /* Holes of a file in memory are filled through a mapping without a call. */
    fd = open("/tmp/holes", O_RDWR | O_CREAT, 0600);
    int r = ftruncate(fd, 100 * MIB);
    char *h = mmap(0, 100 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    printf("file with holes: %d, %s\n", r, h == MAP_FAILED ? strerrorname_np(errno) : "mapped");
    ftruncate(fd, 8 * MIB);
    h = mmap(0, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    printf("small: %s, grown: %s\n", h == MAP_FAILED ? strerrorname_np(errno) : "mapped",
           ftruncate(fd, 100 * MIB) ? strerrorname_np(errno) : "grown");
    unlink("/tmp/holes");
    return 0;
}

const struct probe limit_probes[] = {{"limit-reserve", reserve}, {"limit-hog", hog}, {"limit-bomb", bomb}, {"limit-shares", shares}, {0, 0}};
