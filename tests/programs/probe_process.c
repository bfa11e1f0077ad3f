/* Processes: fork, vfork, exec in all its forms, pipes, sessions, wait statuses. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

extern char **environ;

static int forks(int argc, char **argv) {
    (void)argc, (void)argv;
    int p[2], shared = 5;
    if (pipe(p))
        return 1;
    printf("buffered before fork;");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        shared = 6;
        dprintf(p[1], "child sees %d, parent right: %d", shared, getppid() > 0);
        _exit(42);
    }
    close(p[1]);
    char buf[100] = {0};
    ssize_t n = 0, r;
    while ((r = read(p[0], buf + n, sizeof buf - 1 - n)) > 0)
        n += r;
    int status;
    printf(" waited %d", waitpid(pid, &status, 0) == pid);
    printf(", exited %d with %d, parent has %d, %s\n", WIFEXITED(status), WEXITSTATUS(status), shared, buf);
    errno = 0;
    int none = (int)wait(0);
    printf("no more children: %d %s\n", none, strerrorname_np(errno));
    return 0;
}

static int vforks(int argc, char **argv) {
    (void)argc, (void)argv;
    volatile int seen = 0;
    for (volatile int i = 0; i < 20; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            seen++;
            if (i % 2) {
                execl("/bin/busybox", "busybox", "false", (char *)0);
                _exit(99);
            }
            _exit(i);
        }
        int status;
        waitpid(pid, &status, 0);
        printf("%d ", WEXITSTATUS(status));
    }
    printf("\nchild's writes seen by the parent: %d\n", seen);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/nonexistent", "x", (char *)0);
        _exit(errno);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("failed exec: %s\n", strerrorname_np(WEXITSTATUS(status)));
    return 0;
}

static int spawns(int argc, char **argv) {
    (void)argc, (void)argv;
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 1, "/tmp/probe-spawn", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawnattr_t at;
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&at, 0);
    char *args[] = {"echo", "spawned", 0};
    pid_t pid;
    int r = posix_spawn(&pid, "/bin/echo", &fa, &at, args, environ), status = -1;
    if (!r)
        waitpid(pid, &status, 0);
    char buf[32] = {0};
    int fd = open("/tmp/probe-spawn", O_RDONLY);
    ssize_t n = read(fd, buf, sizeof buf - 1);
    printf("posix_spawn %d, status %d, wrote %zd: %s", r, status, n, buf);
    r = posix_spawn(&pid, "/nonexistent", 0, 0, args, environ);
    printf("posix_spawn of nothing: %s\n", strerrorname_np(r));
    printf("system: %d\n", WEXITSTATUS(system("exit 3")));
    fflush(stdout);
    FILE *f = popen("cat; echo popen", "w");
    fputs("through a pipe\n", f);
    printf("pclose %d\n", pclose(f));
    unlink("/tmp/probe-spawn");
    return 0;
}

/* Starts `file` through one of the doors: execve, execveat (path, AT_EMPTY_PATH), fexecve of a memfd, /proc/self/fd. Prints errno when refused. */
static int doors(int argc, char **argv) {
    if (argc < 3) {
        fputs("usage: probe exec DOOR FILE [ARG]...\n", stderr);
        return 2;
    }
    const char *door = argv[1], *file = argv[2];
    char **args = argv + 2, path[64];
    if (!strcmp(door, "execve"))
        execve(file, args, environ);
    else if (!strcmp(door, "execveat"))
        syscall(SYS_execveat, AT_FDCWD, file, args, environ, 0);
    else if (!strcmp(door, "empty-path") || !strcmp(door, "proc-fd") || !strcmp(door, "fexecve")) {
        int fd = open(file, O_RDONLY);
        if (fd < 0) {
            printf("open: %s\n", strerrorname_np(errno));
            return 1;
        }
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (*door == 'e')
            syscall(SYS_execveat, fd, "", args, environ, AT_EMPTY_PATH);
        else if (*door == 'p')
            execve(path, args, environ);
        else
            fexecve(fd, args, environ);
    } else if (!strcmp(door, "memfd") || !strcmp(door, "memfd-changed")) {
        int from = open(file, O_RDONLY), fd = (int)syscall(SYS_memfd_create, "copy", 0);
        if (fd < 0) {
            printf("memfd_create: %s\n", strerrorname_np(errno));
            return 1;
        }
        static char buf[1 << 16];
        ssize_t n;
        while ((n = read(from, buf, sizeof buf)) > 0)
            if (write(fd, buf, n) != n)
                return 1;
        if (door[5] && write(fd, "x", 1) != 1)
            return 1;
        syscall(SYS_execveat, fd, "", args, environ, AT_EMPTY_PATH);
    } else if (!strcmp(door, "self"))
        execve("/proc/self/exe", args, environ);
    else if (!strcmp(door, "dirfd")) {
        /* FILE relative to an open directory. */
        char *slash = strrchr(file, '/');
        if (!slash)
            return 2;
        *slash = 0;
        int fd = open(*file ? file : "/", O_RDONLY | O_DIRECTORY);
        syscall(SYS_execveat, fd, slash + 1, args, environ, 0);
    } else if (!strcmp(door, "nofollow"))
        syscall(SYS_execveat, AT_FDCWD, file, args, environ, AT_SYMLINK_NOFOLLOW);
    int e = errno;
    printf("%s: %s\n", door, strerrorname_np(e));
    return 126;
}

/* Swaps two files in a loop while children try to start one of them: only the sealed one may ever run. */
static int swap_race(int argc, char **argv) {
    if (argc < 4)
        return 2;
    const char *name = argv[1], *good = argv[2], *evil = argv[3];
    int starts = 0, refused = 0, other = 0;
    fflush(stdout);
    pid_t swapper = fork();
    if (swapper == 0)
        for (;;) {
            unlink("/tmp/swap-new");
            if (link(good, "/tmp/swap-new") == 0)
                rename("/tmp/swap-new", name);
            unlink("/tmp/swap-new");
            if (link(evil, "/tmp/swap-new") == 0)
                rename("/tmp/swap-new", name);
        }
    for (int i = 0; i < 200; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char *args[] = {(char *)name, 0};
            execve(name, args, environ);
            _exit(errno == EACCES ? 126 : 125);
        }
        int status;
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            starts++;
        else if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
            refused++;
        else
            other++;
    }
    kill(swapper, SIGKILL);
    waitpid(swapper, 0, 0);
    printf("all accounted for: %d, anything else ran or failed: %d\n", starts + refused + other == 200, other);
    return 0;
}

static int statuses(int argc, char **argv) {
    (void)argc, (void)argv;
    int gate[2];
    char go = 0;
    if (pipe(gate))
        return 1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGSTOP);
        _exit(read(gate[0], &go, 1) == 1 ? 5 : 6);
    }
    int status;
    waitpid(pid, &status, WUNTRACED);
    printf("stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status));
    kill(pid, SIGCONT);
    waitpid(pid, &status, WCONTINUED);
    printf("continued %d\n", WIFCONTINUED(status));
    if (write(gate[1], "x", 1) != 1)
        return 1;
    struct rusage ru;
    wait4(pid, &status, 0, &ru);
    printf("exited %d\n", WEXITSTATUS(status));
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    kill(pid, SIGTERM);
    siginfo_t info;
    waitid(P_PID, pid, &info, WEXITED);
    printf("waitid: code %d status %d\n", info.si_code == CLD_KILLED, info.si_status);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int made = setsid() == getpid();
        printf("setsid %d, leader %d\n", made, getsid(0) == getpid());
        fflush(stdout);
        _exit(getpgrp() != getpid());
    }
    waitpid(pid, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
    signal(SIGPIPE, SIG_IGN);
    int p[2];
    if (pipe(p))
        return 1;
    close(p[0]);
    errno = 0;
    ssize_t wrote = write(p[1], "x", 1);
    printf("write to a closed pipe: %zd %s\n", wrote, strerrorname_np(errno));
    /* An orphan is adopted and its pipe end closes. */
    if (pipe(p))
        return 1;
    fflush(stdout);
    if (fork() == 0) {
        if (fork() == 0) {
            usleep(50000);
            dprintf(p[1], "orphan");
            _exit(0);
        }
        _exit(0);
    }
    close(p[1]);
    wait(0);
    char buf[16] = {0};
    printf("read from an orphan: %zd", read(p[0], buf, sizeof buf));
    printf(" %s, then %zd\n", buf, read(p[0], buf, sizeof buf));
    return 0;
}

static int descriptors(int argc, char **argv) {
    (void)argc, (void)argv;
    int a = open("/tmp/probe-fd", O_RDWR | O_CREAT | O_TRUNC, 0644), b = dup(a), c = open("/tmp/probe-fd", O_RDWR);
    dprintf(a, "hello ");
    dprintf(b, "world");
    char buf[64] = {0};
    printf("shared offset: %ld, own offset: %zd %s\n", (long)lseek(a, 0, SEEK_CUR), read(c, buf, sizeof buf - 1), buf);
    fcntl(a, F_SETFD, FD_CLOEXEC);
    printf("cloexec is per descriptor: %d %d\n", fcntl(a, F_GETFD), fcntl(b, F_GETFD));
    fcntl(a, F_SETFL, O_APPEND);
    printf("append is per description: %d\n", !!(fcntl(b, F_GETFL) & O_APPEND));
    printf("dup2 %d, dup of low %d\n", dup2(a, 50), fcntl(a, F_DUPFD, 60));
    lseek(a, 0, SEEK_SET);
    fflush(stdout);
    if (fork() == 0) {
        lseek(a, 3, SEEK_SET);
        _exit(0);
    }
    wait(0);
    printf("a child moves the parent's offset: %ld\n", (long)lseek(b, 0, SEEK_CUR));
    printf("sparse: %ld %d\n", (long)lseek(a, 1 << 20, SEEK_SET), (int)ftruncate(a, 2 << 20));
    struct stat st;
    fstat(a, &st);
    printf("size %ld mode %o links %d\n", (long)st.st_size, st.st_mode, (int)st.st_nlink);
    unlink("/tmp/probe-fd");
    fstat(a, &st);
    printf("unlinked, links %d, still read: %zd\n", (int)st.st_nlink, pread(a, buf, 5, 0));
    printf("limits: %d\n", close(999) == -1 && errno == EBADF);
    struct utsname u;
    uname(&u);
    printf("%s %s\n", u.sysname, u.machine);
    return 0;
}

static volatile int *flags;
static volatile sig_atomic_t calls;

static void answer(int sig) {
    (void)sig;
    calls++;
    flags[1] = 1;
}

static void until(volatile int *flag) {
    while (!*flag)
        ;
}

static long cpu_ms(const struct rusage *u) {
    return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000 + (u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1000;
}

/* Parents that do something else than wait for their child, or have something to do while they wait. */
static int waits(int argc, char **argv) {
    (void)argc, (void)argv;
    setvbuf(stdout, 0, _IONBF, 0);
    flags = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        flags[0] = 1;
        _exit(1);
    }
    until(&flags[0]);
    printf("a child runs while its parent computes: %d\n", waitpid(pid, &status, 0) == pid);

    for (int restart = 0; restart < 2; restart++) {
        struct sigaction sa = {.sa_handler = answer, .sa_flags = restart ? SA_RESTART : 0};
        sigaction(SIGUSR1, &sa, 0);
        flags[1] = calls = 0;
        pid = fork();
        if (pid == 0) {
            usleep(2000);
            kill(getppid(), SIGUSR1);
            until(&flags[1]);
            _exit(3);
        }
        pid_t got = waitpid(pid, &status, 0);
        if (!restart) {
            printf("interrupted: %d\n", got == -1 && errno == EINTR);
            got = waitpid(pid, &status, 0);
        }
        printf("a handler ran while its process waited: %d, waited %d, status %d\n", (int)calls, got == pid, WEXITSTATUS(status));
    }

    int p[2];
    if (pipe(p))
        return 1;
    pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            until(&flags[2]);
            _exit(write(p[1], "grandchild", 10) != 10);
        }
        _exit(4);
    }
    waitpid(pid, &status, 0);
    flags[2] = 1;
    char text[11] = {0};
    printf("the child is gone with %d, ", WEXITSTATUS(status));
    printf("%zd bytes from the %s\n", read(p[0], text, 10), text);

    pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            usleep(2000);
            kill(getppid(), SIGKILL);
            until(&flags[3]);
            flags[4] = 1;
            _exit(0);
        }
        wait(0);
        _exit(5);
    }
    waitpid(pid, &status, 0);
    flags[3] = 1;
    until(&flags[4]);
    printf("killed while it waited: %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);

    pid = fork();
    if (pid == 0) {
        pid_t child = fork();
        if (child == 0) {
            usleep(2000);
            kill(getppid(), SIGSTOP);
            until(&flags[5]);
            _exit(6);
        }
        waitpid(child, &status, 0);
        _exit(WEXITSTATUS(status) + 1);
    }
    waitpid(pid, &status, WUNTRACED);
    printf("stopped while it waited: %d", WIFSTOPPED(status));
    flags[5] = 1;
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0);
    printf(", went on to exit with %d\n", WEXITSTATUS(status));

    pid_t pids[10];
    for (int i = 0; i < 10; i++)
        if ((pids[i] = fork()) == 0)
            _exit(i);
    int sum = 0;
    for (int i = 0; i < 10; i++) {
        while (waitpid(pids[i], &status, WNOHANG) == 0)
            ;
        sum += WEXITSTATUS(status);
    }
    printf("ten at once, asked for without waiting: %d\n", sum);

    struct rusage child, self;
    pid = fork();
    if (pid == 0) {
        while (clock() < CLOCKS_PER_SEC / 10)
            ;
        _exit(0);
    }
    wait4(pid, &status, 0, &child);
    getrusage(RUSAGE_SELF, &self);
    printf("CPU time is the child's: %d %d\n", cpu_ms(&child) >= 90, cpu_ms(&self) < 90);
    return 0;
}

/* Leaves names open that a syscall of a later kernel may use: ENOSYS, never a crash. */
static int unknown_calls(int argc, char **argv) {
    (void)argc, (void)argv;
    int nosys = 0;
    for (long n = 600; n < 700; n++)
        nosys += syscall(n, 0, 0, 0, 0, 0, 0) == -1 && errno == ENOSYS;
    printf("unknown calls that say ENOSYS: %d of 100\n", nosys);
    return 0;
}

/* How much execve(2) takes, to the byte: strings, their pointers, the file's name. */
static int takes(size_t total, const char *name) {
    static char *args[600], *no_env[] = {0};
    char *text = malloc(total + 1);
    size_t n = 0;
    memset(text, 'x', total);
    text[total] = 0;
    /* The name and its NUL; then for each string its bytes, a NUL and a pointer. */
    size_t left = total - strlen(name) - 1;
    while (left > 0 && n < 599) {
        size_t one = left > 120000 + 200 ? 120000 : left;
        if (one < 10)
            break;
        args[n++] = text + total - (one - 9);
        left -= one;
    }
    args[n] = 0;
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        execve(name, args, no_env);
        _exit(errno == E2BIG ? 99 : 98);
    }
    waitpid(pid, &status, 0);
    free(text);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : WEXITSTATUS(status) == 99 ? 0 : -1;
}

static int arg_limits(int argc, char **argv) {
    (void)argc, (void)argv;
    static const rlim_t stacks[] = {8 << 20, 4 << 20, 1 << 20, 300 << 10, 64 << 20};
    for (unsigned i = 0; i < sizeof stacks / sizeof *stacks; i++) {
        struct rlimit r;
        getrlimit(RLIMIT_STACK, &r);
        r.rlim_cur = stacks[i];
        if (setrlimit(RLIMIT_STACK, &r))
            return perror("setrlimit"), 1;
        size_t low = 1000, high = 16 << 20;
        while (high - low > 1) {
            size_t middle = (low + high) / 2;
            int t = takes(middle, "/opt/t/true");
            if (t < 0)
                return printf("neither taken nor E2BIG at %zu\n", middle), 1;
            *(t ? &low : &high) = middle;
        }
        printf("stack %lu KiB: %zu bytes\n", (unsigned long)stacks[i] >> 10, low);
    }
    struct rlimit r = {8 << 20, 8 << 20};
    setrlimit(RLIMIT_STACK, &r);
    char *one = malloc(200000);
    for (size_t n = 131070; n < 131074; n++) {
        memset(one, 'y', n);
        one[n] = 0;
        char *args[] = {"true", one, 0}, *no_args[] = {"true", 0}, *env[] = {one, 0};
        for (int k = 0; k < 2; k++) {
            int status;
            pid_t pid = vfork();
            if (pid == 0) {
                execve("/opt/t/true", k ? args : no_args, k ? env + 1 : env);
                _exit(errno == E2BIG ? 99 : 98);
            }
            waitpid(pid, &status, 0);
            printf("%zu %s: %d\n", n, k ? "argument" : "variable", WEXITSTATUS(status));
        }
    }
    return 0;
}

static const char *word(long r) {
    return r < 0 ? strerrorname_np(errno) : "fine";
}

/* Descriptors of processes: readiness, signals, waiting. */
static int pidfds(int argc, char **argv) {
    (void)argc, (void)argv;
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    printf("opened %d, closed by exec %d\n", fd >= 0, fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct pollfd p = {fd, POLLIN, 0};
    printf("alive: poll %d\n", poll(&p, 1, 0));
    siginfo_t info = {0};
    printf("not yet: %s\n", word(waitid(P_PIDFD, fd, &info, WEXITED | WNOHANG)));
    printf("pid %d\n", info.si_pid);
    int patient = (int)syscall(SYS_pidfd_open, pid, O_NONBLOCK);
    printf("nonblocking: %s\n", word(waitid(P_PIDFD, patient, &info, WEXITED)));
    printf("signal 0: %s\n", word(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0)));
    printf("signal 99: %s\n", word(syscall(SYS_pidfd_send_signal, fd, 99, 0, 0)));
    printf("flags: %s\n", word(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 77)));
    memset(&info, 0, sizeof info);
    info.si_signo = SIGUSR1, info.si_code = SI_QUEUE;
    printf("another's info: %s\n", word(syscall(SYS_pidfd_send_signal, fd, SIGTERM, &info, 0)));
    info.si_signo = SIGTERM, info.si_code = SI_USER;
    printf("forged info: %s\n", word(syscall(SYS_pidfd_send_signal, fd, SIGTERM, &info, 0)));
    printf("SIGTERM: %s\n", word(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0)));
    printf("ended: poll %d", poll(&p, 1, -1));
    printf(", input %d\n", p.revents & POLLIN);
    printf("to a zombie: %s\n", word(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0)));
    printf("waitid: %s", word(waitid(P_PIDFD, fd, &info, WEXITED)));
    printf(", code %d status %d pid %d\n", info.si_code == CLD_KILLED, info.si_status, info.si_pid == pid);
    printf("again: %s\n", word(waitid(P_PIDFD, fd, &info, WEXITED)));
    printf("to nobody: %s\n", word(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0)));
    printf("still ready: %d\n", poll(&p, 1, 0));
    printf("open nobody: %s\n", word(syscall(SYS_pidfd_open, pid, 0)));
    printf("open -1: %s\n", word(syscall(SYS_pidfd_open, -1, 0)));
    printf("open flags: %s\n", word(syscall(SYS_pidfd_open, getpid(), 0x10)));
    printf("no pidfd: %s\n", word(syscall(SYS_pidfd_send_signal, 1, 0, 0, 0)));
    printf("wait for no pidfd: %s\n", word(waitid(P_PIDFD, 1, &info, WEXITED)));
    printf("wait for oneself: %s\n", word(waitid(P_PIDFD, (int)syscall(SYS_pidfd_open, getpid(), 0), &info, WEXITED)));
    char c;
    printf("read: %s\n", word(read(fd, &c, 1)));
    return 0;
}

/* Closes descriptors while it reads the directory that lists them, as a child of Python's subprocess does, in pieces of a few entries. */
static int fd_directory(int argc, char **argv) {
    (void)argc, (void)argv;
    for (int i = 100; i < 160; i++)
        dup2(0, i);
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    char buf[100] __attribute__((aligned(8)));
    long n;
    while ((n = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0)
        for (long at = 0; at < n; at += *(unsigned short *)(buf + at + 16)) {
            int fd = atoi(buf + at + 19);
            if (fd >= 100)
                close(fd);
        }
    int left = 0;
    for (int i = 100; i < 160; i++)
        left += fcntl(i, F_GETFD) >= 0;
    printf("%ld, %d left open\n", n, left);
    close(dir);
    /* Descriptors above a limit that came later do not count against it. */
    for (int i = 100; i < 160; i++)
        dup2(0, i);
    struct rlimit r = {12, 1024};
    setrlimit(RLIMIT_NOFILE, &r);
    int some = 0;
    while ((n = open("/dev/null", O_RDONLY)) >= 0)
        some++;
    printf("some more %d: %s\n", some > 0, strerrorname_np(errno));
    return 0;
}

const struct probe process_probes[] = {{"fd-directory", fd_directory}, {"pidfds", pidfds}, {"arg-limits", arg_limits}, 
    {"fork", forks}, {"vfork", vforks}, {"spawn", spawns}, {"waits", waits}, {"exec", doors}, {"swap-race", swap_race}, {"statuses", statuses}, {"descriptors", descriptors}, {"unknown-calls", unknown_calls}, {0, 0},
};
