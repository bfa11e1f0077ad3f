/* Memory mapping, and syscalls that are handed bad pointers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

static void say(const char *what, long r) { printf("%s: %s\n", what, r >= 0 ? "ok" : strerrorname_np(errno)); }

static int efault(int argc, char **argv) {
    (void)argc, (void)argv;
    long page = sysconf(_SC_PAGESIZE);
    char *none = mmap(0, 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *ro = mmap(0, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *half = mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(half + page, page, PROT_NONE);
    char *bad[] = {(char *)1, none, (char *)0x7fffffff0000, (char *)-4096l, (char *)0x100000000l};
    int fd = open("/tmp/probe-efault", O_RDWR | O_CREAT | O_TRUNC, 0600);
    say("write", write(fd, "0123456789", 10));
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        printf("pointer %u\n", i);
        lseek(fd, 0, SEEK_SET);
        say(" read", syscall(SYS_read, fd, bad[i], 4));
        say(" write", syscall(SYS_write, fd, bad[i], 4));
        say(" open", syscall(SYS_open, bad[i], O_RDONLY));
        say(" stat", syscall(SYS_stat, "/", bad[i]));
        say(" pipe", syscall(SYS_pipe, bad[i]));
        say(" clock_gettime", syscall(SYS_clock_gettime, CLOCK_REALTIME, bad[i]));
        say(" nanosleep", syscall(SYS_nanosleep, bad[i], 0));
        say(" sigaction", syscall(SYS_rt_sigaction, SIGUSR1, bad[i], 0, 8));
        say(" sigprocmask", syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, bad[i], 8));
        say(" uname", syscall(SYS_uname, bad[i]));
        say(" getcwd", syscall(SYS_getcwd, bad[i], 100));
        say(" execve", syscall(SYS_execve, bad[i], 0, 0));
        say(" execve argv", syscall(SYS_execve, "/bin/busybox", bad[i], 0));
        say(" poll", syscall(SYS_poll, bad[i], 1, 0));
        say(" readlink", syscall(SYS_readlink, "/proc/self/exe", bad[i], 10));
        say(" getrandom", syscall(SYS_getrandom, bad[i], 4, 0));
        say(" wait4", syscall(SYS_wait4, -1, bad[i], WNOHANG, 0));
        struct iovec iov = {bad[i], 8};
        say(" readv", readv(fd, &iov, 1));
        say(" writev list", syscall(SYS_writev, fd, bad[i], 1));
    }
    lseek(fd, 0, SEEK_SET);
    say("read into read-only", read(fd, ro, 4));
    errno = 0;
    ssize_t n = read(fd, half + page - 4, 10);
    printf("read across the edge: %zd\n", n);
    n = write(fd, half + page - 4, 10);
    printf("write across the edge: %zd\n", n);
    n = write(fd, half + page, 10);
    printf("write past the edge: %zd %s\n", n, strerrorname_np(errno));
    unlink("/tmp/probe-efault");
    return 0;
}

static int mappings(int argc, char **argv) {
    (void)argc, (void)argv;
    long page = sysconf(_SC_PAGESIZE);
    char *p = mmap(0, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, 7, 4 * page);
    char *q = mremap(p, 4 * page, 64 * page, MREMAP_MAYMOVE);
    printf("mremap grown: %d %d\n", q[0], q[4 * page]);
    q = mremap(q, 64 * page, 2 * page, 0);
    printf("mremap shrunk: %d\n", q[2 * page - 1]);
    int fd = open("/tmp/probe-map", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < 3 * page; i++) {
        char c = 'a' + i / page;
        if (write(fd, &c, 1) != 1)
            return 1;
    }
    char *priv = mmap(0, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *shared = mmap(0, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page);
    printf("file: %c %c %c, shared %c\n", priv[0], priv[page], priv[2 * page], shared[0]);
    priv[0] = 'P';
    shared[0] = 'S';
    char c = 0;
    say("pread", pread(fd, &c, 1, 0));
    printf("file after a private write: %c\n", c);
    say("pread", pread(fd, &c, 1, page));
    printf("file after a shared write: %c\n", c);
    say("pwrite", pwrite(fd, "W", 1, page + 1));
    printf("shared mapping after pwrite: %c\n", shared[1]);
    char *both = mmap(0, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(stdout);
    if (fork() == 0) {
        both[0] = 99;
        priv[1] = 'C';
        _exit(0);
    }
    wait(0);
    printf("shared with a child: %d, private from a child: %c\n", both[0], priv[1]);
    say("munmap", munmap(priv, 3 * page));
    say("msync", msync(shared, page, MS_SYNC));
    errno = 0;
    say("mmap of a bad descriptor", (long)mmap(0, page, PROT_READ, MAP_PRIVATE, 77, 0));
    say("mmap of length 0", (long)mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    say("mprotect of an unaligned address", mprotect(both + 1, page, PROT_READ));
    char *fixed = mmap(both, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("MAP_FIXED at the same place: %d, zeroed: %d\n", fixed == both, both[0] == 0);
    char *brk0 = sbrk(0);
    sbrk(1 << 20);
    brk0[12345] = 3;
    printf("brk: %d\n", brk0[12345]);
    madvise(fixed, page, MADV_DONTNEED);
    size_t total = 0;
    for (int i = 0; i < 200; i++) {
        char *m = malloc(300000);
        memset(m, i, 300000);
        total += m[299999] & 255;
        free(m);
    }
    printf("malloc: %zu\n", total);
    unlink("/tmp/probe-map");
    return 0;
}

/* No page becomes executable. (Native Linux allows it, so this one has an expectation of its own.) */
static int exec_pages(int argc, char **argv) {
    (void)argc, (void)argv;
    long page = sysconf(_SC_PAGESIZE);
    say("mmap rwx", (long)mmap(0, page, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    say("mmap rx", (long)mmap(0, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    char *p = mmap(0, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = (char)0xc3;
    say("mprotect rwx", mprotect(p, page, PROT_READ | PROT_WRITE | PROT_EXEC));
    say("mprotect rx", mprotect(p, page, PROT_READ | PROT_EXEC));
    int fd = open("/tmp/probe-code", O_RDWR | O_CREAT | O_TRUNC, 0700);
    say("write", write(fd, p, page));
    say("mmap of a written file", (long)mmap(0, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
    return 0;
}

/* Jumps to bytes that nothing recompiled: on the stack, in the heap, into the middle of an instruction. */
static int jump_to_data(int argc, char **argv) {
    static unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    const char *where = argc > 1 ? argv[1] : "data";
    void *to = code;
    unsigned char *heap = malloc(sizeof code), stack[sizeof code];
    memcpy(heap, code, sizeof code);
    memcpy(stack, code, sizeof code);
    if (!strcmp(where, "heap"))
        to = heap;
    if (!strcmp(where, "stack"))
        to = stack;
    if (!strcmp(where, "null"))
        to = 0;
    printf("jumping to %s\n", where);
    fflush(stdout);
    int (*volatile f)(void) = (int (*)(void))to;
    printf("returned %d\n", f());
    return 0;
}

/* Maps FILE shared and private, writes to both (the shared byte 5000 becomes '!'), and leaves the mappings to the exit. */
static int map_file(int argc, char **argv) {
    struct stat st;
    int fd = argc > 1 ? open(argv[1], O_RDWR) : -1;
    if (fd < 0 || fstat(fd, &st))
        return 1;
    char *shared = mmap(0, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(0, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (shared == MAP_FAILED || private == MAP_FAILED)
        return 1;
    unsigned sum = 0;
    for (long i = 0; i < st.st_size; i++)
        sum += shared[i] == private[i];
    for (long i = 0; i < st.st_size; i += 100)
        private[i] = 'P';
    shared[5000] = '!';
    printf("%u bytes agree\n", sum);
    return 0;
}

/* Fresh anonymous memory is zero, whoever had the address space before. */
static int fresh_memory(int argc, char **argv) {
    (void)argc, (void)argv;
    long size = 64 << 20, wrong = 0;
    long *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long i = 0; i < size / 8; i++)
        wrong += p[i] != 0;
    printf("fresh memory is %s\n", wrong ? "WRONG" : "zero");
    return 0;
}

const struct probe memory_probes[] = {{"efault", efault}, {"mappings", mappings}, {"exec-pages", exec_pages}, {"map-file", map_file}, {"fresh-memory", fresh_memory}, {"jump-to-data", jump_to_data}, {0, 0}};
