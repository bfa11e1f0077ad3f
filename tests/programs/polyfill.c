/* A polyfill that is no interpreter: it sets up a state, has its snapshot taken, and looks at what a process begins with.
   `argv[1]` says what to do; the tests know what is printed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SNAPSHOT = 1, COLD, POLICY, OPEN_CODE };
enum { BIG = 4 << 20, SMALL = 2000 };

static long ask(long op, const void *arg) { return syscall(0x6d67, op, arg); }

static unsigned char *big, *small[SMALL];
static _Thread_local int in_tls = 1;
static volatile sig_atomic_t caught;
static double ratio = 1.0;
static const char *warmed = "nothing";
static char began[32], drawn[8];
static jmp_buf top;

static void on_signal(int sig) { caught += sig; }

static unsigned char pattern(size_t i) { return (unsigned char)(i * 2654435761u >> 13); }

static void warm(void)
{
    big = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < BIG; i += 3)
        big[i] = pattern(i);
    for (int i = 0; i < SMALL; i++) {
        small[i] = malloc(16 + i % 500);
        memset(small[i], i, 16 + i % 500);
    }
    for (int i = 0; i < SMALL; i += 7) {
        free(small[i]);
        small[i] = NULL;
    }
    in_tls = 42;
    ratio = 1.0 / 3.0;
    signal(SIGUSR1, on_signal);
    signal(SIGPIPE, SIG_IGN);
    time_t now = time(NULL);
    strftime(began, sizeof began, "%Y-%m-%d", gmtime(&now));
    int fd = open("/dev/urandom", O_RDONLY);
    if (read(fd, drawn, sizeof drawn) != sizeof drawn)
        abort();
    close(fd);
    warmed = strdup(getenv("MEGALITH_WARM"));
}

static int state_is_whole(void)
{
    for (size_t i = 0; i < BIG; i += 3)
        if (big[i] != pattern(i))
            return 0;
    for (int i = 0; i < SMALL; i++)
        for (int k = 0; small[i] && k < 16 + i % 500; k++)
            if (small[i][k] != (unsigned char)i)
                return 0;
    return in_tls == 42 && ratio == 1.0 / 3.0 && strcmp(began, "2000-01-01") == 0;
}

static void spoil(void)
{
    memset(big, 0xee, BIG);
    for (int i = 0; i < SMALL; i++)
        if (small[i])
            memset(small[i], 0xdd, 16);
    in_tls = 0;
    ratio = 0;
    began[0] = 'x';
    free(malloc(3 << 20));
    for (int i = 0; i < 300; i++)
        memset(malloc(5000), 1, 5000);
}

static int run(int argc, char **argv, char **envp, int cold)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "state") == 0) {
        printf("%s %d %s\n", cold ? "cold" : "warm", state_is_whole(), warmed);
        for (char **e = envp; *e; e++)
            if (strncmp(*e, "X=", 2) == 0)
                printf("%s\n", *e);
        return argc;
    }
    if (strcmp(what, "again") == 0) {
        int good = state_is_whole(), left = atoi(argv[2]);
        spoil();
        if (!good || left == 0)
            return good ? 0 : 1;
        char next[16];
        sprintf(next, "%d", left - 1);
        /* Every other one as a child, so that slots come from both. */
        if (left % 2) {
            pid_t pid = fork();
            int status;
            if (pid) {
                waitpid(pid, &status, 0);
                return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
            }
        }
        execl("/proc/self/exe", argv[0], "again", next, NULL);
        return 8;
    }
    if (strcmp(what, "fork") == 0) {
        big[0] = 77;
        pid_t pid = fork();
        if (pid == 0) {
            int good = big[0] == 77 && big[3] == pattern(3) && in_tls == 42;
            big[3] = 1;
            _exit(good ? 5 : 6);
        }
        int status;
        waitpid(pid, &status, 0);
        printf("%d %d\n", WEXITSTATUS(status), big[3] == pattern(3));
        return 0;
    }
    if (strcmp(what, "memory") == 0) {
        madvise(big, 1 << 20, MADV_DONTNEED);
        int zero = 1;
        for (size_t i = 0; i < 1 << 20; i++)
            zero &= big[i] == 0;
        unsigned char *more = mremap(big, BIG, 2 * BIG, MREMAP_MAYMOVE);
        int kept = 1;
        for (size_t i = 0; i < BIG; i++)
            kept &= i < 1 << 20 ? more[i] == 0 : i % 3 || more[i] == pattern(i);
        for (size_t i = BIG; i < 2 * BIG; i++)
            kept &= more[i] == 0;
        mprotect(more, BIG, PROT_READ);
        munmap(more, 2 * BIG);
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[512];
        int named = 0, heap = 0;
        while (fgets(line, sizeof line, maps)) {
            named += strstr(line, "/usr/bin/python3.11") != NULL;
            heap += strstr(line, "[heap]") != NULL;
        }
        char *brk = sbrk(0), *grown = sbrk(1 << 20);
        memset(grown, 1, 1 << 20);
        printf("%d %d %d %d %d\n", zero, kept, named > 0, heap > 0, grown == brk);
        return 0;
    }
    if (strcmp(what, "signal") == 0) {
        raise(SIGUSR1);
        int fds[2];
        int r = pipe(fds);
        close(fds[0]);
        r = (int)write(fds[1], "x", 1);
        printf("%d %d %d\n", caught, r == -1 && errno == EPIPE, gettid() == getpid());
        return 0;
    }
    if (strcmp(what, "fresh") == 0) {
        unsigned char random[8];
        struct timespec t;
        int fd = open("/dev/urandom", O_RDONLY);
        r_again:
        if (read(fd, random, 8) != 8)
            goto r_again;
        clock_gettime(CLOCK_REALTIME, &t);
        printf("%02x%02x%02x%02x %d %d\n", random[0], random[1], random[2], random[3], memcmp(random, drawn, 8) != 0,
               t.tv_sec > 1700000000);
        return 0;
    }
    if (strcmp(what, "jump") == 0) {
        longjmp(top, 23);
    }
    if (strcmp(what, "policy") == 0) {
        printf("%ld", ask(POLICY, NULL));
        for (int i = 2; i < argc; i++) {
            long fd = ask(OPEN_CODE, argv[i]);
            char text[6] = "";
            if (fd >= 0 && read((int)fd, text, 5) < 0)
                return 1;
            printf(" %s", fd >= 0 ? text : errno == EACCES ? "EACCES" : strerror(errno));
        }
        printf("\n");
        return 0;
    }
    if (strcmp(what, "calls") == 0) {
        /* uname is not in the list; a program of the image that is started may call it. */
        struct utsname name;
        int own = uname(&name) == -1 && errno == ENOSYS, child = 0;
        long other = argc > 2 ? ask(OPEN_CODE, argv[2]) : 0;
        int listed = other >= 0 || errno != ENOSYS;
        pid_t pid = fork();
        if (pid == 0)
            _exit(uname(&name) == -1 && errno == ENOSYS ? 5 : 6);
        waitpid(pid, &child, 0);
        printf("%d %d %d\n", own, WEXITSTATUS(child), listed);
        fflush(stdout);
        execl("/bin/busybox", "uname", "-s", NULL);
        return 1;
    }
    if (strcmp(what, "cold") == 0) {
        if (!cold)
            ask(COLD, NULL);
        printf("%s %s %d %s\n", cold ? "cold" : "warm", argv[0], argc, getenv("X"));
        return 0;
    }
    if (argc > 1 && argv[1][0] == '/') {
        char text[64] = "";
        int fd = (int)ask(OPEN_CODE, argv[1]);
        if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
            return 3;
        printf("script %s: %s", argv[1], strchr(text, '\n') + 1);
        return argc;
    }
    return 2;
}

int main(int argc, char **argv, char **envp)
{
    long block = 0;
    if (getenv("MEGALITH_WARM")) {
        warm();
        if (strchr(warmed, '!')) {
            fprintf(stderr, "no such module\n");
            return 1;
        }
        block = ask(SNAPSHOT, NULL);
    } else if (ask(99, NULL) == -1 && errno != ENOSYS) {
        return 4;
    }
    int cold = block <= 0;
    if (!cold) {
        argc = (int)*(long *)block;
        argv = (char **)block + 1;
        envp = environ = argv + argc + 1;
    }
    int landed = setjmp(top);
    int status = landed ? landed : run(argc, argv, envp, cold);
    fflush(stdout);
    return status;
}
