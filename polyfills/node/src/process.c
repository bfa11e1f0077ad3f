// Processes, signals, environment, clocks and what the system says of itself.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "node.h"

static JSValue status(JSContext *ctx, long result)
{
    return JS_NewInt64(ctx, result < 0 ? -errno : result);
}

// ---- Signals: the handler writes the number into a pipe that the loop reads.

static int signal_pipe[2] = {-1, -1};

static void on_signal(int number)
{
    int saved = errno;
    uint8_t byte = number;
    if (write(signal_pipe[1], &byte, 1) < 0) {
        // Full: the loop has enough to wake up for.
    }
    errno = saved;
}

void process_forget(void)
{
    // The descriptors of the process that was snapshotted are not ours.
    signal_pipe[0] = signal_pipe[1] = -1;
}

// signalPipe(): the descriptor to watch and read signal numbers from.
NATIVE_FN(signalPipe)
{
    if (signal_pipe[0] < 0 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return JS_NewInt32(ctx, -errno);
    return JS_NewInt32(ctx, signal_pipe[0]);
}

// signalWatch(number, on)
NATIVE_FN(signalWatch)
{
    struct sigaction action = {.sa_flags = SA_RESTART};
    action.sa_handler = JS_ToBool(ctx, argv[1]) ? on_signal : SIG_DFL;
    sigfillset(&action.sa_mask);
    int number = int_arg(ctx, argv[0]);
    if (number == SIGPIPE && !JS_ToBool(ctx, argv[1]))
        action.sa_handler = SIG_IGN;
    return status(ctx, sigaction(number, &action, NULL));
}

NATIVE_FN(kill) { return status(ctx, kill(int_arg(ctx, argv[0]), int_arg(ctx, argv[1]))); }

// ---- Children

static char **string_list(JSContext *ctx, JSValueConst list)
{
    int64_t n = 0;
    if (!JS_IsObject(list) || JS_GetLength(ctx, list, &n) < 0)
        return NULL;
    char **strings = calloc(n + 1, sizeof(char *));
    for (int64_t i = 0; strings && i < n; i++) {
        JSValue item = JS_GetPropertyInt64(ctx, list, i);
        const char *text = JS_ToCString(ctx, item);
        strings[i] = strdup(text ? text : "");
        JS_FreeCString(ctx, text);
        JS_FreeValue(ctx, item);
    }
    return strings;
}

static void free_list(char **list)
{
    for (char **p = list; p && *p; p++)
        free(*p);
    free(list);
}

// What the child does between fork and exec. Never returns; an error goes into the pipe as an errno.
static void child(const char *file, char **args, char **env, const char *cwd, const int *fds, int count, bool detached,
                  int64_t uid, int64_t gid, int report)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (detached)
        setsid();
    // Descriptors first out of the way of the numbers they are to have.
    int moved[256];
    for (int i = 0; i < count; i++) {
        moved[i] = fds[i];
        if (fds[i] >= 0 && fds[i] < count && fds[i] != i && (moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, count)) < 0)
            goto failed;
    }
    if (report < count && (report = fcntl(report, F_DUPFD_CLOEXEC, count)) < 0)
        goto failed;
    for (int i = 0; i < count; i++) {
        int fd = moved[i];
        if (fd < 0) {
            // Standard descriptors are never missing; others simply are not there.
            if (i <= 2 && (fd = open("/dev/null", i == 0 ? O_RDONLY : O_RDWR | O_CLOEXEC)) < 0)
                goto failed;
            if (i > 2)
                continue;
        }
        if (fd == i) {
            if (fcntl(fd, F_SETFD, 0) < 0)
                goto failed;
        } else if (dup2(fd, i) < 0) {
            goto failed;
        }
        if (i <= 2) {
            int flags = fcntl(i, F_GETFL);
            if (flags >= 0 && flags & O_NONBLOCK && fds[i] != i)
                fcntl(i, F_SETFL, flags & ~O_NONBLOCK);
        }
    }
    if (cwd && chdir(cwd) < 0)
        goto failed;
    if ((gid >= 0 || uid >= 0) && getuid() == 0)
        setgroups(0, NULL);
    if (gid >= 0 && setgid(gid) < 0)
        goto failed;
    if (uid >= 0 && setuid(uid) < 0)
        goto failed;
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP)
            sigaction(number, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (env)
        environ = env;
    execvp(file, args);
failed:;
    int error = errno;
    if (write(report, &error, sizeof error) < 0) {
        // The parent is gone.
    }
    _exit(127);
}

// spawn(file, args, env or undefined, cwd or undefined, fds, detached, uid, gid): fds[i] becomes descriptor i of the child, -1
// is /dev/null for the first three. Returns the pid, or the negative errno of what failed up to and with exec.
NATIVE_FN(spawn)
{
    int report[2], fds[256];
    int64_t count = 0;
    if (pipe2(report, O_CLOEXEC) < 0)
        return JS_NewInt32(ctx, -errno);
    JS_GetLength(ctx, argv[4], &count);
    if (count > 256)
        count = 256;
    for (int64_t i = 0; i < count; i++) {
        JSValue fd = JS_GetPropertyInt64(ctx, argv[4], i);
        fds[i] = int_arg(ctx, fd);
        JS_FreeValue(ctx, fd);
    }
    const char *file = JS_ToCString(ctx, argv[0]), *cwd = JS_IsString(argv[3]) ? JS_ToCString(ctx, argv[3]) : NULL;
    char **args = string_list(ctx, argv[1]), **env = string_list(ctx, argv[2]);
    int64_t uid = JS_IsNumber(argv[6]) ? int64_arg(ctx, argv[6]) : -1, gid = JS_IsNumber(argv[7]) ? int64_arg(ctx, argv[7]) : -1;
    bool detached = JS_ToBool(ctx, argv[5]);
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        child(file, args, env, cwd, fds, count, detached, uid, gid, report[1]);
    int error = pid < 0 ? errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (pid > 0) {
        ssize_t n;
        do
            n = read(report[0], &error, sizeof error);
        while (n < 0 && errno == EINTR);
        if (n == sizeof error)
            waitpid(pid, NULL, 0);
        else
            error = 0;
    }
    close(report[0]);
    JS_FreeCString(ctx, file);
    JS_FreeCString(ctx, cwd);
    free_list(args);
    free_list(env);
    return JS_NewInt32(ctx, error ? -error : pid);
}

// waitPid(pid, block): [status, signal] once the child has ended, 0 while it lives, a negative errno.
NATIVE_FN(waitPid)
{
    int state;
    pid_t pid;
    do
        pid = waitpid(int_arg(ctx, argv[0]), &state, JS_ToBool(ctx, argv[1]) ? 0 : WNOHANG);
    while (pid < 0 && errno == EINTR && JS_ToBool(ctx, argv[1]));
    if (pid <= 0)
        return JS_NewInt32(ctx, pid < 0 ? -errno : 0);
    JSValue items[2] = {JS_NewInt32(ctx, WIFEXITED(state) ? WEXITSTATUS(state) : 0), JS_NewInt32(ctx, WIFSIGNALED(state) ? WTERMSIG(state) : 0)};
    return JS_NewArrayFrom(ctx, 2, items);
}

// ---- The process itself

void terminal_restore(void); // sockets.c

// There only in the program that the compiler's profile is made with.
extern void __gcov_dump(void) __attribute__((weak));

// exit(status): at once; the heap is not torn down.
NATIVE_FN(exit)
{
    terminal_restore();
    if (__gcov_dump)
        __gcov_dump();
    _exit(int_arg(ctx, argv[0]));
}

NATIVE_FN(abort)
{
    terminal_restore();
    signal(SIGABRT, SIG_DFL);
    abort();
}

NATIVE_FN(umask)
{
    mode_t old = umask(0);
    umask(JS_IsUndefined(argv[0]) ? old : (mode_t)int_arg(ctx, argv[0]));
    return JS_NewInt32(ctx, old);
}

NATIVE_FN(ids)
{
    JSValue items[6] = {JS_NewInt32(ctx, getpid()), JS_NewInt32(ctx, getppid()), JS_NewInt64(ctx, getuid()),
                        JS_NewInt64(ctx, geteuid()), JS_NewInt64(ctx, getgid()), JS_NewInt64(ctx, getegid())};
    return JS_NewArrayFrom(ctx, 6, items);
}

NATIVE_FN(getgroups)
{
    gid_t groups[256];
    int n = getgroups(256, groups);
    if (n < 0)
        return JS_NewInt32(ctx, -errno);
    JSValue list = JS_NewArray(ctx);
    for (int i = 0; i < n; i++)
        JS_DefinePropertyValueUint32(ctx, list, i, JS_NewInt64(ctx, groups[i]), JS_PROP_C_W_E);
    return list;
}

// setId(which, id): "uid", "gid", "euid", "egid".
NATIVE_FN(setId)
{
    const char *which = JS_ToCString(ctx, argv[0]);
    int64_t id = int64_arg(ctx, argv[1]);
    int result = -1;
    errno = EINVAL;
    if (!which)
        return JS_EXCEPTION;
    if (strcmp(which, "uid") == 0) result = setuid(id);
    else if (strcmp(which, "gid") == 0) result = setgid(id);
    else if (strcmp(which, "euid") == 0) result = seteuid(id);
    else if (strcmp(which, "egid") == 0) result = setegid(id);
    JS_FreeCString(ctx, which);
    return status(ctx, result);
}

// userOf(uid): [name, uid, gid, shell, home] from /etc/passwd, undefined when there is none.
NATIVE_FN(userOf)
{
    uid_t uid = int64_arg(ctx, argv[0]);
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *entry = NULL;
    while (file && (entry = fgetpwent(file)) && entry->pw_uid != uid)
        ;
    JSValue result = JS_UNDEFINED;
    if (entry) {
        JSValue items[5] = {JS_NewString(ctx, entry->pw_name), JS_NewInt64(ctx, entry->pw_uid), JS_NewInt64(ctx, entry->pw_gid),
                            JS_NewString(ctx, entry->pw_shell), JS_NewString(ctx, entry->pw_dir)};
        result = JS_NewArrayFrom(ctx, 5, items);
    }
    if (file)
        fclose(file);
    return result;
}

// ---- Environment

NATIVE_FN(getenv)
{
    const char *name = JS_ToCString(ctx, argv[0]);
    if (!name)
        return JS_EXCEPTION;
    const char *value = getenv(name);
    JS_FreeCString(ctx, name);
    return value ? new_string_utf8(ctx, (const uint8_t *)value, strlen(value)) : JS_UNDEFINED;
}

NATIVE_FN(setenv)
{
    const char *name = JS_ToCString(ctx, argv[0]), *value = JS_ToCString(ctx, argv[1]);
    if (!name || !value)
        return JS_EXCEPTION;
    JSValue r = status(ctx, setenv(name, value, 1));
    if (strcmp(name, "TZ") == 0)
        engine_forget_zone();
    JS_FreeCString(ctx, name);
    JS_FreeCString(ctx, value);
    return r;
}

NATIVE_FN(unsetenv)
{
    const char *name = JS_ToCString(ctx, argv[0]);
    if (!name)
        return JS_EXCEPTION;
    unsetenv(name);
    if (strcmp(name, "TZ") == 0)
        engine_forget_zone();
    JS_FreeCString(ctx, name);
    return JS_UNDEFINED;
}

NATIVE_FN(envNames)
{
    JSValue list = JS_NewArray(ctx);
    uint32_t n = 0;
    for (char **p = environ; p && *p; p++) {
        const char *equals = strchr(*p, '=');
        if (equals && equals != *p)
            JS_DefinePropertyValueUint32(ctx, list, n++, new_string_utf8(ctx, (const uint8_t *)*p, equals - *p), JS_PROP_C_W_E);
    }
    return list;
}

// ---- Clocks

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

// monotonic(): nanoseconds, as a BigInt.
NATIVE_FN(monotonic)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return JS_NewBigUint64(ctx, t.tv_sec * 1000000000ull + t.tv_nsec);
}

// now(): monotonic milliseconds with fraction. wallClock(): microseconds since 1970.
NATIVE_FN(now) { return JS_NewFloat64(ctx, seconds(CLOCK_MONOTONIC) * 1e3); }
NATIVE_FN(wallClock) { return JS_NewFloat64(ctx, seconds(CLOCK_REALTIME) * 1e6); }

// hrtime(fields): into a Uint32Array: seconds high, seconds low, nanoseconds. hrtimeBigInt(fields): into a BigUint64Array.
NATIVE_FN(hrtime)
{
    struct timespec t;
    uint8_t *p;
    size_t n;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint32_t parts[3] = {(uint64_t)t.tv_sec >> 32, t.tv_sec, t.tv_nsec};
    if (bytes_of(ctx, argv[0], &p, &n) && n >= 12)
        memcpy(p, parts, 12);
    return JS_UNDEFINED;
}
NATIVE_FN(hrtimeBigInt)
{
    struct timespec t;
    uint8_t *p;
    size_t n;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t value = t.tv_sec * 1000000000ull + t.tv_nsec;
    if (bytes_of(ctx, argv[0], &p, &n) && n >= 8)
        memcpy(p, &value, 8);
    return JS_UNDEFINED;
}

NATIVE_FN(sleep)
{
    int64_t ms = int64_arg(ctx, argv[0]);
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
    return JS_UNDEFINED;
}

// ---- The system

NATIVE_FN(uname)
{
    struct utsname u;
    if (uname(&u) < 0)
        return JS_NewInt32(ctx, -errno);
    JSValue items[5] = {JS_NewString(ctx, u.sysname), JS_NewString(ctx, u.version), JS_NewString(ctx, u.release),
                        JS_NewString(ctx, u.machine), JS_NewString(ctx, u.nodename)};
    return JS_NewArrayFrom(ctx, 5, items);
}

// systemInfo(): [uptime, load 1, 5, 15, total memory, free memory, processors]
NATIVE_FN(systemInfo)
{
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return JS_NewInt32(ctx, -errno);
    cpu_set_t set;
    int processors = sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
    double unit = info.mem_unit, load = 1 << SI_LOAD_SHIFT;
    double values[7] = {info.uptime, info.loads[0] / load, info.loads[1] / load, info.loads[2] / load,
                        info.totalram * unit, info.freeram * unit, processors};
    JSValue items[7];
    for (int i = 0; i < 7; i++)
        items[i] = JS_NewFloat64(ctx, values[i]);
    return JS_NewArrayFrom(ctx, 7, items);
}

// resourceUsage(): user and system time in microseconds, then the 14 counts of struct rusage.
NATIVE_FN(resourceUsage)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double values[16] = {u.ru_utime.tv_sec * 1e6 + u.ru_utime.tv_usec, u.ru_stime.tv_sec * 1e6 + u.ru_stime.tv_usec, u.ru_maxrss,
                         u.ru_ixrss, u.ru_idrss, u.ru_isrss, u.ru_minflt, u.ru_majflt, u.ru_nswap, u.ru_inblock, u.ru_oublock,
                         u.ru_msgsnd, u.ru_msgrcv, u.ru_nsignals, u.ru_nvcsw, u.ru_nivcsw};
    JSValue items[16];
    for (int i = 0; i < 16; i++)
        items[i] = JS_NewFloat64(ctx, values[i]);
    return JS_NewArrayFrom(ctx, 16, items);
}

NATIVE_FN(getPriority)
{
    errno = 0;
    int priority = getpriority(PRIO_PROCESS, int_arg(ctx, argv[0]));
    // A priority may be negative: errors are beyond its range.
    return JS_NewInt32(ctx, errno ? -1000 - errno : priority);
}
NATIVE_FN(setPriority) { return status(ctx, setpriority(PRIO_PROCESS, int_arg(ctx, argv[0]), int_arg(ctx, argv[1]))); }

// interfaces(): flat list: name, address, netmask, family, MAC address, internal, scope id.
NATIVE_FN(interfaces)
{
    struct ifaddrs *list, *p;
    if (getifaddrs(&list) < 0)
        return JS_NewInt32(ctx, -errno);
    JSValue result = JS_NewArray(ctx);
    uint32_t n = 0;
    for (p = list; p; p = p->ifa_next) {
        char address[INET6_ADDRSTRLEN], mask[INET6_ADDRSTRLEN];
        if (!p->ifa_addr || !(p->ifa_flags & IFF_UP))
            continue;
        int family = p->ifa_addr->sa_family, scope = -1;
        if (family == AF_INET) {
            inet_ntop(family, &((struct sockaddr_in *)p->ifa_addr)->sin_addr, address, sizeof address);
            inet_ntop(family, &((struct sockaddr_in *)p->ifa_netmask)->sin_addr, mask, sizeof mask);
        } else if (family == AF_INET6) {
            inet_ntop(family, &((struct sockaddr_in6 *)p->ifa_addr)->sin6_addr, address, sizeof address);
            inet_ntop(family, &((struct sockaddr_in6 *)p->ifa_netmask)->sin6_addr, mask, sizeof mask);
            scope = ((struct sockaddr_in6 *)p->ifa_addr)->sin6_scope_id;
        } else {
            continue;
        }
        JSValue items[7] = {JS_NewString(ctx, p->ifa_name), JS_NewString(ctx, address), JS_NewString(ctx, mask),
                            JS_NewString(ctx, family == AF_INET ? "IPv4" : "IPv6"), JS_NewString(ctx, "00:00:00:00:00:00"),
                            JS_NewBool(ctx, p->ifa_flags & IFF_LOOPBACK), JS_NewInt32(ctx, scope)};
        for (int i = 0; i < 7; i++)
            JS_DefinePropertyValueUint32(ctx, result, n++, items[i], JS_PROP_C_W_E);
    }
    freeifaddrs(list);
    return result;
}

// randomFill(buffer, offset, length)
NATIVE_FN(randomFill)
{
    uint8_t *p;
    size_t n;
    if (!bytes_of(ctx, argv[0], &p, &n))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    size_t offset = int64_arg(ctx, argv[1]), length = JS_IsUndefined(argv[2]) ? n : (size_t)int64_arg(ctx, argv[2]);
    if (offset > n || length > n - offset)
        return JS_ThrowRangeError(ctx, "out of range");
    while (length > 0) {
        ssize_t got = getrandom(p + offset, length, 0);
        if (got < 0 && errno != EINTR)
            return JS_NewInt32(ctx, -errno);
        if (got > 0)
            offset += got, length -= got;
    }
    return JS_NewInt32(ctx, 0);
}

NATIVE_FN(errorText) { return JS_NewString(ctx, strerror(int_arg(ctx, argv[0]))); }

void init_process(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {
        NATIVE(signalPipe, 0), NATIVE(signalWatch, 2), NATIVE(kill, 2), NATIVE(spawn, 8), NATIVE(waitPid, 2), NATIVE(exit, 1),
        NATIVE(abort, 0), NATIVE(umask, 1), NATIVE(ids, 0), NATIVE(getgroups, 0), NATIVE(setId, 2), NATIVE(userOf, 1),
        NATIVE(getenv, 1), NATIVE(setenv, 2), NATIVE(unsetenv, 1), NATIVE(envNames, 0), NATIVE(monotonic, 0), NATIVE(now, 0),
        NATIVE(wallClock, 0), NATIVE(hrtime, 1), NATIVE(hrtimeBigInt, 1), NATIVE(sleep, 1), NATIVE(uname, 0),
        NATIVE(systemInfo, 0), NATIVE(resourceUsage, 0), NATIVE(getPriority, 1), NATIVE(setPriority, 2), NATIVE(interfaces, 0),
        NATIVE(randomFill, 3), NATIVE(errorText, 1),
    };
    ADD_NATIVES(ctx, native, table);
}
