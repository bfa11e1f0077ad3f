/* Threads: `threads NAME`. Each prints what it saw, so that the same command run natively is the expected output. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                      \
    do {                                                              \
        int error_ = (x);                                             \
        if (error_) {                                                 \
            printf("line %d: %s: %s\n", __LINE__, #x, strerror(error_)); \
            fflush(stdout);                                           \
            _exit(99);                                                \
        }                                                             \
    } while (0)

static pthread_t start(void *(*f)(void *), void *arg)
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, f, arg));
    return t;
}

static void *join(pthread_t t)
{
    void *r;
    CHECK(pthread_join(t, &r));
    return r;
}

static struct timespec in_ms(clockid_t clock, long ms)
{
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_nsec += ms % 1000 * 1000000;
    t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void sleep_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static long futex(void *addr, int op, int value, const void *timeout, void *addr2, int value3)
{
    return syscall(SYS_futex, addr, op, value, timeout, addr2, value3);
}

/* ---- counting with and without locks ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long plain;
static atomic_long atomic_count;

static void *count(void *arg)
{
    for (int i = 0; i < 50000; i++) {
        pthread_mutex_lock(&mutex);
        plain++;
        pthread_mutex_unlock(&mutex);
        atomic_fetch_add(&atomic_count, 3);
    }
    return (void *)((long)arg * 2);
}

static int counter(void)
{
    pthread_t t[8];
    long sum = 0;
    for (long i = 0; i < 8; i++)
        t[i] = start(count, (void *)i);
    for (int i = 0; i < 8; i++)
        sum += (long)join(t[i]);
    printf("%ld %ld %ld\n", plain, atomic_load(&atomic_count), sum);
    return 0;
}

/* ---- a bounded queue ---- */

static int queue[16], head, filled;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER, not_empty = PTHREAD_COND_INITIALIZER;

static void *produce(void *arg)
{
    for (int i = 1; i <= 5000; i++) {
        pthread_mutex_lock(&mutex);
        while (filled == 16)
            pthread_cond_wait(&not_full, &mutex);
        queue[(head + filled++) % 16] = i;
        pthread_cond_signal(&not_empty);
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

static void *consume(void *arg)
{
    long sum = 0;
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&mutex);
        while (filled == 0)
            pthread_cond_wait(&not_empty, &mutex);
        sum += queue[head];
        head = (head + 1) % 16;
        filled--;
        pthread_cond_signal(&not_full);
        pthread_mutex_unlock(&mutex);
    }
    return (void *)sum;
}

static int producers(void)
{
    pthread_t p[3], c[3];
    long sum = 0;
    for (int i = 0; i < 3; i++)
        p[i] = start(produce, NULL), c[i] = start(consume, NULL);
    for (int i = 0; i < 3; i++)
        join(p[i]), sum += (long)join(c[i]);
    printf("%ld %d\n", sum, filled);
    return 0;
}

/* ---- barrier, broadcast, semaphores, read-write locks ---- */

static pthread_barrier_t barrier;
static int rounds[6];

static void *walk(void *arg)
{
    long serial = 0;
    for (int r = 0; r < 200; r++) {
        rounds[(long)arg]++;
        serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
        for (int i = 0; i < 6; i++)
            if (rounds[i] != r + 1)
                printf("thread %ld saw thread %d in round %d, not %d\n", (long)arg, i, rounds[i], r + 1);
        pthread_barrier_wait(&barrier);
    }
    return (void *)serial;
}

static int barriers(void)
{
    pthread_t t[6];
    long serial = 0;
    CHECK(pthread_barrier_init(&barrier, NULL, 6));
    for (long i = 0; i < 6; i++)
        t[i] = start(walk, (void *)i);
    for (int i = 0; i < 6; i++)
        serial += (long)join(t[i]);
    printf("%ld\n", serial);
    return 0;
}

static sem_t sem, done;

static void *post_many(void *arg)
{
    for (int i = 0; i < 1000; i++)
        sem_post(&sem);
    sem_post(&done);
    return arg;
}

static void *wait_many(void *arg)
{
    for (int i = 0; i < 1000; i++)
        while (sem_wait(&sem) != 0)
            ;
    sem_post(&done);
    return arg;
}

static int semaphores(void)
{
    pthread_attr_t detached;
    pthread_t t;
    int value;
    sem_init(&sem, 0, 0);
    sem_init(&done, 0, 0);
    CHECK(pthread_attr_init(&detached));
    CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED));
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&t, &detached, post_many, NULL));
        CHECK(pthread_create(&t, &detached, wait_many, NULL));
    }
    for (int i = 0; i < 6; i++)
        sem_wait(&done);
    sem_getvalue(&sem, &value);
    struct timespec soon = in_ms(CLOCK_REALTIME, 20);
    int r = sem_timedwait(&sem, &soon);
    printf("%d %d %s\n", value, r, strerror(errno));
    r = sem_trywait(&sem);
    printf("%d %s\n", r, strerror(errno));
    return 0;
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long pair[2];

static void *read_pairs(void *arg)
{
    long torn = 0;
    for (int i = 0; i < 5000; i++) {
        pthread_rwlock_rdlock(&rwlock);
        torn += pair[0] != pair[1];
        pthread_rwlock_unlock(&rwlock);
    }
    (void)arg;
    return (void *)torn;
}

static void *write_pairs(void *arg)
{
    for (int i = 0; i < 5000; i++) {
        pthread_rwlock_wrlock(&rwlock);
        pair[0]++;
        if (i % 100 == 0)
            sched_yield();
        pair[1]++;
        pthread_rwlock_unlock(&rwlock);
    }
    return arg;
}

static int rwlocks(void)
{
    pthread_t r[4], w[2];
    long torn = 0;
    for (int i = 0; i < 4; i++)
        r[i] = start(read_pairs, NULL);
    for (int i = 0; i < 2; i++)
        w[i] = start(write_pairs, NULL);
    for (int i = 0; i < 4; i++)
        torn += (long)join(r[i]);
    join(w[0]), join(w[1]);
    pthread_rwlock_rdlock(&rwlock);
    printf("%ld %ld %ld try %d\n", torn, pair[0], pair[1], pthread_rwlock_trywrlock(&rwlock));
    return 0;
}

/* ---- waits that end by time ---- */

static int timed(void)
{
    pthread_condattr_t attr;
    pthread_cond_t monotonic;
    CHECK(pthread_condattr_init(&attr));
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    CHECK(pthread_cond_init(&monotonic, &attr));
    pthread_mutex_lock(&mutex);
    struct timespec before, t = in_ms(CLOCK_REALTIME, 30), after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    printf("%s\n", strerror(pthread_cond_timedwait(&cond, &mutex, &t)));
    t = in_ms(CLOCK_MONOTONIC, 30);
    printf("%s\n", strerror(pthread_cond_timedwait(&monotonic, &mutex, &t)));
    clock_gettime(CLOCK_MONOTONIC, &after);
    long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    printf("waited %s\n", ms >= 58 ? "long enough" : "too short");
    t = in_ms(CLOCK_REALTIME, 20);
    printf("%s\n", strerror(pthread_mutex_timedlock(&mutex, &t)));
    t.tv_sec = 0;
    printf("%s\n", strerror(pthread_cond_timedwait(&cond, &mutex, &t)));
    t.tv_nsec = -1;
    printf("%s\n", strerror(pthread_cond_timedwait(&cond, &mutex, &t)));
    return 0;
}

/* ---- storage of a thread's own ---- */

static __thread int small = 7;
static __thread char large[5000] = "initial";
static pthread_key_t key;
static atomic_int destroyed;

static void destroy(void *p)
{
    destroyed += *(int *)p;
    free(p);
}

static void *own_storage(void *arg)
{
    int *p = malloc(sizeof *p);
    *p = (int)(long)arg;
    pthread_setspecific(key, p);
    small += (int)(long)arg;
    snprintf(large, sizeof large, "%d", small);
    errno = (int)(long)arg;
    sched_yield();
    sleep_ms(5);
    int bad = errno != (int)(long)arg || atoi(large) != small || pthread_getspecific(key) != p;
    return (void *)(long)(bad ? -1000 : small);
}

static int storage(void)
{
    pthread_t t[5];
    long sum = 0;
    CHECK(pthread_key_create(&key, destroy));
    for (long i = 0; i < 5; i++)
        t[i] = start(own_storage, (void *)(i + 1));
    for (int i = 0; i < 5; i++)
        sum += (long)join(t[i]);
    printf("%ld %d %d %s\n", sum, (int)destroyed, small, large);
    return 0;
}

/* ---- identities ---- */

static atomic_int stage;
static pid_t other_tid;

static void await(int s)
{
    while (stage < s)
        sched_yield();
}

static int count_tasks(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void status_line(const char *file, const char *what)
{
    char line[256];
    FILE *f = fopen(file, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, what, strlen(what)) == 0)
            fputs(line, stdout);
    if (f != NULL)
        fclose(f);
}

static void *identify(void *arg)
{
    char path[64], link[64] = "", want[64], name[32] = "";
    other_tid = gettid();
    prctl(PR_SET_NAME, "a-thread-with-a-long-name");
    prctl(PR_GET_NAME, name);
    snprintf(want, sizeof want, "%d/task/%d", getpid(), gettid());
    if (readlink("/proc/thread-self", link, sizeof link - 1) < 0)
        perror("readlink");
    snprintf(path, sizeof path, "/proc/self/task/%d/status", gettid());
    printf("%d %d %s %s\n", getpid() == gettid(), getppid() == (long)arg, name, strcmp(link, want) == 0 ? "same" : link);
    status_line(path, "Name:");
    status_line("/proc/thread-self/status", "Threads:");
    stage = 1;
    await(2);
    return NULL;
}

static int identities(void)
{
    pthread_t t = start(identify, (void *)(long)getppid());
    char path[64], name[32] = "";
    await(1);
    prctl(PR_GET_NAME, name);
    printf("%s %d\n", name, count_tasks());
    status_line("/proc/self/status", "Name:");
    snprintf(path, sizeof path, "/proc/%d/comm", other_tid);
    status_line(path, "");
    snprintf(path, sizeof path, "/proc/%d/status", other_tid);
    FILE *f = fopen(path, "r");
    char line[256];
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        int n;
        if (sscanf(line, "Tgid: %d", &n) == 1)
            printf("tgid %d\n", n == getpid());
        if (sscanf(line, "Pid: %d", &n) == 1)
            printf("pid %d\n", n == other_tid);
    }
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getppid());
    printf("%d\n", access(path, F_OK));
    printf("%ld %ld %ld\n", syscall(SYS_tgkill, getpid(), other_tid, 0), syscall(SYS_tkill, other_tid, 0), syscall(SYS_tgkill, getppid(), other_tid, 0));
    printf("kill(tid) %d\n", kill(other_tid, 0));
    cpu_set_t set;
    printf("%d\n", sched_getaffinity(other_tid, sizeof set, &set));
    stage = 2;
    join(t);
    for (int i = 0; i < 1000 && syscall(SYS_tkill, other_tid, 0) == 0; i++)
        sleep_ms(1);
    printf("%ld %s %d\n", syscall(SYS_tkill, other_tid, 0), strerror(errno), count_tasks());
    return 0;
}

/* ---- cancelling ---- */

static void cleanup(void *arg)
{
    printf("cleanup %s\n", (char *)arg);
}

static void *sleeper(void *arg)
{
    pthread_cleanup_push(cleanup, arg);
    stage = 1;
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return NULL;
}

static void unlock(void *m)
{
    pthread_mutex_unlock(m);
}

static void *cond_sleeper(void *arg)
{
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(unlock, &mutex);
    stage = 2;
    for (;;)
        pthread_cond_wait(&cond, &mutex);
    pthread_cleanup_pop(0);
    return arg;
}

static void *spinner(void *arg)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    stage = 3;
    for (volatile long i = 0;; i++)
        ;
    return arg;
}

static void *stubborn(void *arg)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    stage = 4;
    await(5);
    sleep_ms(5);
    puts("not cancelled yet");
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_testcancel();
    puts("never printed");
    return arg;
}

static int cancel(void)
{
    void *(*f[])(void *) = { sleeper, cond_sleeper, spinner, stubborn };
    for (int i = 0; i < 4; i++) {
        pthread_t t = start(f[i], "handler");
        await(i + 1);
        if (i < 2)
            sleep_ms(5);
        CHECK(pthread_cancel(t));
        if (i == 3)
            stage = 5;
        printf("%d %d\n", i, join(t) == PTHREAD_CANCELED);
    }
    printf("lock %d\n", pthread_mutex_trylock(&mutex));
    return 0;
}

/* ---- signals ---- */

static atomic_int handled[65];
static atomic_int handled_by[65];

static void note(int sig)
{
    handled_by[sig] = gettid();
    handled[sig]++;
}

static void handle(int sig, int flags)
{
    struct sigaction a = { .sa_handler = note, .sa_flags = flags };
    sigaction(sig, &a, NULL);
}

static void *pausing(void *arg)
{
    other_tid = gettid();
    stage = 1;
    int r = pause();
    return (void *)(long)(r == -1 && errno == EINTR && arg == NULL);
}

static void *spinning(void *arg)
{
    other_tid = gettid();
    stage = 1;
    while (!handled[SIGUSR2])
        ;
    return arg;
}

static void *blocking_all(void *arg)
{
    sigset_t all, pending;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    stage = 1;
    await(2);
    sigpending(&pending);
    printf("usr1 pending in the other %d, usr2 %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    stage = 3;
    return arg;
}

static int signals(void)
{
    handle(SIGUSR1, 0);
    handle(SIGUSR2, 0);
    pthread_t t = start(pausing, NULL);
    await(1);
    sleep_ms(10);
    CHECK(pthread_kill(t, SIGUSR1));
    long interrupted = (long)join(t);
    printf("%ld %d %d\n", interrupted, (int)handled[SIGUSR1], handled_by[SIGUSR1] == other_tid);
    stage = 0;
    t = start(spinning, NULL);
    await(1);
    CHECK(pthread_kill(t, SIGUSR2));
    join(t);
    printf("%d %d\n", (int)handled[SIGUSR2], handled_by[SIGUSR2] == other_tid);

    /* Of the process: whoever does not block it. */
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    stage = 0;
    handled[SIGUSR1] = 0;
    t = start(pausing, NULL);
    await(1);
    sleep_ms(10);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGUSR1);
    interrupted = (long)join(t);
    printf("%ld %d %d\n", interrupted, (int)handled[SIGUSR1], handled_by[SIGUSR1] == other_tid);

    /* Blocked by all: it stays with the process; sent to a thread it stays with that. */
    stage = 0;
    handled[SIGUSR1] = handled[SIGUSR2] = 0;
    t = start(blocking_all, NULL);
    await(1);
    kill(getpid(), SIGUSR1);
    pthread_kill(t, SIGUSR2);
    sigpending(&pending);
    printf("usr1 pending here %d, usr2 %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    stage = 2;
    join(t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    printf("%d %d by main %d\n", (int)handled[SIGUSR1], (int)handled[SIGUSR2], handled_by[SIGUSR1] == getpid());

    printf("%s\n", strerror(pthread_kill(pthread_self(), 99)));
    return 0;
}

static void *sigwaiting(void *arg)
{
    int sig = 0;
    stage = 1;
    CHECK(sigwait(arg, &sig));
    return (void *)(long)sig;
}

static int sigwaiter(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 2; i++) {
        stage = 0;
        pthread_t t = start(sigwaiting, &set);
        await(1);
        if (i == 0)
            sleep_ms(10);
        kill(getpid(), i == 0 ? SIGTERM : SIGRTMIN + 1);
        long got = (long)join(t);
        printf("%s\n", got == SIGTERM ? "SIGTERM" : got == SIGRTMIN + 1 ? "SIGRTMIN+1" : "other");
    }
    return 0;
}

static char alternate[2][65536];
static atomic_int on_alternate;

static void where(int sig)
{
    char here;
    (void)sig;
    for (int i = 0; i < 2; i++)
        if (&here >= alternate[i] && &here < alternate[i] + sizeof alternate[i])
            on_alternate += i == 0 ? 1 : 10;
}

static void *with_alternate(void *arg)
{
    stack_t st, old;
    sigaltstack(NULL, &old);
    st.ss_sp = alternate[1];
    st.ss_size = sizeof alternate[1];
    st.ss_flags = 0;
    sigaltstack(&st, NULL);
    raise(SIGUSR1);
    (void)arg;
    return (void *)(long)(old.ss_flags == SS_DISABLE);
}

static int altstack(void)
{
    struct sigaction a = { .sa_handler = where, .sa_flags = SA_ONSTACK };
    stack_t st = { .ss_sp = alternate[0], .ss_size = sizeof alternate[0] };
    sigaction(SIGUSR1, &a, NULL);
    sigaltstack(&st, NULL);
    long none = (long)join(start(with_alternate, NULL));
    raise(SIGUSR1);
    printf("%ld %d\n", none, (int)on_alternate);
    return 0;
}

static sigjmp_buf again;
static volatile int *volatile nowhere = (volatile int *)8;

static void jump_back(int sig)
{
    siglongjmp(again, sig);
}

static void *fault_often(void *arg)
{
    volatile int n = 0;
    for (int i = 0; i < 50; i++) {
        if (sigsetjmp(again, 1) == 0)
            *nowhere = 1;
        else
            n++;
    }
    (void)arg;
    return (void *)(long)n;
}

static int faults(void)
{
    struct sigaction a = { .sa_handler = jump_back };
    sigaction(SIGSEGV, &a, NULL);
    printf("%ld\n", (long)join(start(fault_often, NULL)));
    return 0;
}

static void timer_fired(union sigval v)
{
    printf("%d %d\n", v.sival_int, gettid() != getpid());
    sem_post(&done);
}

static int timer_thread(void)
{
    struct sigevent e = { .sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 42, .sigev_notify_function = timer_fired };
    struct itimerspec in = { .it_value.tv_nsec = 5000000 };
    timer_t t;
    sem_init(&done, 0, 0);
    if (timer_create(CLOCK_MONOTONIC, &e, &t) != 0 || timer_settime(t, 0, &in, NULL) != 0)
        perror("timer");
    while (sem_wait(&done) != 0)
        ;
    return 0;
}

/* ---- ends ---- */

static void *spin(void *arg)
{
    atomic_fetch_add(&stage, 1);
    for (volatile long i = 0;; i++)
        ;
    return arg;
}

static void *sleep_for_ever(void *arg)
{
    atomic_fetch_add(&stage, 1);
    for (;;)
        sleep(1000);
    return arg;
}

static void *leave(void *arg)
{
    await(4);
    exit((int)(long)arg);
}

static int exit_all(void)
{
    start(spin, NULL), start(spin, NULL);
    start(sleep_for_ever, NULL), start(sleep_for_ever, NULL);
    puts("leaving");
    fflush(stdout);
    start(leave, (void *)7L);
    for (;;)
        pause();
}

static int return_from_main(void)
{
    start(spin, NULL), start(sleep_for_ever, NULL);
    await(2);
    return 5;
}

static void *last(void *arg)
{
    sleep_ms(20);
    puts("after main");
    return arg;
}

static int main_first(void)
{
    start(last, NULL);
    pthread_exit(NULL);
}

/* exit(2) of a thread alone, without libc: the process lives until the last one, and has its status. */
static void *raw_end(void *arg)
{
    sleep_ms(20);
    syscall(SYS_exit, (int)(long)arg);
    return NULL;
}

static int raw_exit(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        start(raw_end, (void *)9L);
        syscall(SYS_exit, 3);
    }
    waitpid(pid, &status, 0);
    printf("%x\n", status);
    return 0;
}

static void *abort_here(void *arg)
{
    await(1);
    *nowhere = 1;
    return arg;
}

static int killed(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        start(abort_here, NULL);
        spin(NULL);
    }
    waitpid(pid, &status, 0);
    printf("%x\n", status & 0x7f);
    pid = fork();
    if (pid == 0) {
        start(spin, NULL), start(sleep_for_ever, NULL);
        pthread_exit(NULL);
    }
    sleep_ms(30);
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    printf("%x\n", status);
    return 0;
}

static int deep(int n)
{
    char room[4000];
    memset(room, n, sizeof room);
    return n == 0 ? room[5] : deep(n + 1) + room[17];
}

static void *overflow(void *arg)
{
    (void)arg;
    return (void *)(long)deep(1);
}

static int stack_guard(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        join(start(overflow, NULL));
        _exit(0);
    }
    waitpid(pid, &status, 0);
    printf("signal %d\n", status & 0x7f);
    return 0;
}

static void *stop_me(void *arg)
{
    stage = 1;
    kill(getpid(), SIGSTOP);
    return arg;
}

static int stopping(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        join(start(stop_me, NULL));
        _exit(4);
    }
    waitpid(pid, &status, WUNTRACED);
    printf("%x\n", status);
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0);
    printf("%x\n", status);
    return 0;
}

/* ---- exec and fork ---- */

static char *self;

static void *exec_now(void *arg)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", getpid());
    (void)arg;
    execl(self, self, "after-exec", pid, NULL);
    perror("exec");
    return NULL;
}

static int exec_from_thread(void)
{
    start(spin, NULL), start(sleep_for_ever, NULL);
    await(2);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    fflush(stdout);
    start(exec_now, NULL);
    for (;;)
        pause();
}

static int after_exec(const char *pid)
{
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    printf("%d %d %d blocked %d\n", atoi(pid) == getpid(), gettid() == getpid(), count_tasks(), sigismember(&set, SIGUSR2));
    pthread_t t = start(count, NULL);
    join(t);
    printf("%ld\n", plain);
    return 0;
}

static void *fork_here(void *arg)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        int ok = gettid() == getpid() && count_tasks() == 1 && small == 7;
        /* The child makes threads of its own. */
        join(start(count, NULL));
        _exit(ok && plain == 50000 ? 11 : 12);
    }
    waitpid(pid, &status, 0);
    (void)arg;
    return (void *)(long)(status >> 8);
}

static int fork_from_thread(void)
{
    pthread_t busy = start(spin, NULL);
    printf("%ld\n", (long)join(start(fork_here, NULL)));
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        t[i] = start(fork_here, NULL);
    for (int i = 0; i < 4; i++)
        printf("%ld\n", (long)join(t[i]));
    (void)busy;
    return 0;
}

static void *spawn_here(void *arg)
{
    char *command[] = { self, "quiet", NULL };
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        execv(self, command);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    (void)arg;
    return (void *)(long)(status >> 8);
}

static int vfork_from_threads(void)
{
    pthread_t t[4];
    start(spin, NULL);
    for (int i = 0; i < 4; i++)
        t[i] = start(spawn_here, NULL);
    for (int i = 0; i < 4; i++)
        printf("%ld\n", (long)join(t[i]));
    return 0;
}

static void *reap(void *arg)
{
    int status = 0;
    pid_t pid = waitpid(-1, &status, 0);
    (void)arg;
    return (void *)(long)(pid > 0 ? status >> 8 : -1);
}

static int wait_in_threads(void)
{
    pthread_t t[3];
    long sum = 0;
    for (int i = 1; i <= 3; i++)
        if (fork() == 0) {
            sleep_ms(20 * i);
            _exit(i);
        }
    for (int i = 0; i < 3; i++)
        t[i] = start(reap, NULL);
    for (int i = 0; i < 3; i++)
        sum += (long)join(t[i]);
    printf("%ld\n", sum);
    return 0;
}

/* ---- robust locks ---- */

static pthread_mutex_t *robust;

static void *die_with_lock(void *arg)
{
    pthread_mutex_lock(robust);
    stage = 1;
    sleep_ms(20);
    return arg;
}

static int robust_lock(void)
{
    pthread_mutexattr_t attr;
    robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(pthread_mutexattr_init(&attr));
    CHECK(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
    CHECK(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
    CHECK(pthread_mutex_init(robust, &attr));
    pthread_t t = start(die_with_lock, NULL);
    await(1);
    printf("%s\n", strerror(pthread_mutex_lock(robust)));
    CHECK(pthread_mutex_consistent(robust));
    CHECK(pthread_mutex_unlock(robust));
    join(t);
    /* The same with a process. */
    pid_t pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(robust);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    printf("%s\n", strerror(pthread_mutex_lock(robust)));
    CHECK(pthread_mutex_unlock(robust));
    printf("%s\n", strerror(pthread_mutex_lock(robust)));
    return 0;
}

/* ---- futexes, directly ---- */

static uint32_t words[3];

static void *futex_wait(void *arg)
{
    atomic_fetch_add(&stage, 1);
    long r = futex(&words[0], FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
    (void)arg;
    return (void *)(long)(r == 0 ? 1 : 0);
}

static void *futex_wait_bit(void *arg)
{
    atomic_fetch_add(&stage, 1);
    long r = futex(&words[0], FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, (int)(long)arg);
    return (void *)(long)(r == 0 ? 1 : 0);
}

static int futexes(void)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        t[i] = start(futex_wait, NULL);
    await(4);
    sleep_ms(20);
    printf("requeue %ld\n", futex(&words[0], FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, (void *)2L, &words[1], 0));
    printf("stale %ld %s\n", futex(&words[0], FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, (void *)2L, &words[1], 5), strerror(errno));
    printf("wake %ld\n", futex(&words[0], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0));
    words[2] = 5;
    printf("wake op %ld", futex(&words[2], FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, (void *)10L, &words[1], (int)FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 0)));
    printf(" %u\n", words[1]);
    printf("wake op %ld", futex(&words[2], FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, (void *)10L, &words[1], (int)FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_GT, 100)));
    printf(" %u\n", words[1]);
    long sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (long)join(t[i]);
    printf("%ld\n", sum);
    stage = 0;
    for (long i = 0; i < 3; i++)
        t[i] = start(futex_wait_bit, (void *)(1L << i));
    await(3);
    sleep_ms(20);
    printf("bits %ld %ld %ld\n", futex(&words[0], FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 8),
           futex(&words[0], FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 2),
           futex(&words[0], FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 5));
    for (int i = 0; i < 3; i++)
        join(t[i]);
    struct timespec short_time = { 0, 1000000 }, bad = { 0, 1000000000 };
    long r = futex(&words[0], FUTEX_WAIT, 0, &short_time, NULL, 0);
    printf("%ld %s\n", r, strerror(errno));
    r = futex(&words[0], FUTEX_WAIT, 0, &bad, NULL, 0);
    printf("%ld %s\n", r, strerror(errno));
    r = futex(&words[0], FUTEX_WAIT, 1, NULL, NULL, 0);
    printf("%ld %s\n", r, strerror(errno));
    r = futex((char *)words + 1, FUTEX_WAIT, 1, NULL, NULL, 0);
    printf("%ld %s\n", r, strerror(errno));
    r = futex((void *)8, FUTEX_WAIT, 1, NULL, NULL, 0);
    printf("%ld %s\n", r, strerror(errno));
    r = futex(&words[0], FUTEX_WAIT_BITSET, 0, NULL, NULL, 0);
    printf("%ld %s\n", r, strerror(errno));
    return 0;
}

/* ---- many ---- */

static void *little(void *arg)
{
    pthread_mutex_lock(&mutex);
    plain += (long)arg;
    if (++filled == 200)
        pthread_cond_broadcast(&cond);
    while (filled < 200)
        pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void *nothing(void *arg)
{
    return arg;
}

static int many(void)
{
    pthread_t t[200];
    long sum = 0;
    for (long i = 0; i < 200; i++)
        t[i] = start(little, (void *)i);
    for (int i = 0; i < 200; i++)
        sum += (long)join(t[i]);
    printf("%ld %ld\n", plain, sum);
    for (int i = 0; i < 1000; i++)
        join(start(nothing, NULL));
    puts("a thousand in turn");
    return 0;
}

/* ---- memory that comes and goes while others run ---- */

static atomic_int finish;

static void *map_and_unmap(void *arg)
{
    unsigned long n = (unsigned long)arg;
    while (!finish) {
        char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 65536; i += 4096)
            if (p[i] != 0)
                puts("a new page is not zero");
        memset(p, (int)n, 65536);
        mprotect(p, 4096, PROT_NONE);
        if (p[4096] != (char)n || p[65535] != (char)n)
            puts("somebody else wrote");
        munmap(p, 65536);
    }
    return arg;
}

static char *volatile window;

/* System calls into memory that another thread takes away: EFAULT or done, and nothing worse. */
static void *use_window(void *arg)
{
    int zero = open("/dev/zero", O_RDONLY), out = open("/dev/null", O_WRONLY), file = open(self, O_RDONLY);
    long bad = 0;
    (void)arg;
    while (!finish) {
        char *p = window;
        ssize_t r = read(zero, p, 32768);
        bad += r < 0 && errno != EFAULT;
        r = write(out, p, 32768);
        bad += r < 0 && errno != EFAULT;
        r = pread(file, p, 32768, 0);
        bad += r < 0 && errno != EFAULT;
        r = readlink("/proc/self/exe", p + 16384, 4096);
        bad += r < 0 && errno != EFAULT;
    }
    return (void *)bad;
}

static int mapping(void)
{
    pthread_t t[4];
    char *p = mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    window = p;
    for (long i = 0; i < 2; i++)
        t[i] = start(map_and_unmap, (void *)(i + 1));
    for (int i = 2; i < 4; i++)
        t[i] = start(use_window, NULL);
    for (int i = 0; i < 3000; i++) {
        munmap(p, 32768);
        if (mmap(p, 32768, i % 3 == 0 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p)
            perror("mmap");
        if (i % 7 == 0)
            mprotect(p, 16384, PROT_NONE);
    }
    finish = 1;
    long bad = 0;
    for (int i = 0; i < 4; i++)
        bad += (long)join(t[i]) * (i >= 2);
    printf("%ld\n", bad);
    return 0;
}

/* ---- clocks ---- */

static void *burn(void *arg)
{
    struct timespec t;
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    while (t.tv_sec == 0 && t.tv_nsec < 30000000);
    stage = 1;
    await(2);
    return arg;
}

static int clocks(void)
{
    struct timespec mine, all, its;
    struct rusage own, whole;
    clockid_t clock;
    pthread_t t = start(burn, NULL);
    while (stage < 1)
        sleep_ms(1);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mine);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
    CHECK(pthread_getcpuclockid(t, &clock));
    clock_gettime(clock, &its);
    getrusage(RUSAGE_THREAD, &own);
    getrusage(RUSAGE_SELF, &whole);
    printf("mine %s\n", mine.tv_nsec < 25000000 ? "small" : "large");
    printf("its %s all %s\n", its.tv_nsec >= 30000000 ? "large" : "small", all.tv_nsec >= 30000000 ? "large" : "small");
    printf("maxrss %s\n", whole.ru_maxrss > 0 && own.ru_maxrss > 0 ? "known" : "unknown");
    stage = 2;
    join(t);
    return 0;
}

/* ---- fairness: who waits for its turn gets it, although others never sleep ---- */

static void *hog(void *arg)
{
    while (!finish)
        ;
    return arg;
}

static int fairness(void)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        t[i] = start(hog, NULL);
    for (int i = 0; i < 20; i++)
        sleep_ms(1);
    finish = 1;
    for (int i = 0; i < 3; i++)
        join(t[i]);
    puts("all came round");
    return 0;
}

static int quiet(void)
{
    return 6;
}

static const struct {
    const char *name;
    int (*run)(void);
} tests[] = {
    { "counter", counter },
    { "producers", producers },
    { "barriers", barriers },
    { "semaphores", semaphores },
    { "rwlocks", rwlocks },
    { "timed", timed },
    { "storage", storage },
    { "identities", identities },
    { "cancel", cancel },
    { "signals", signals },
    { "sigwait", sigwaiter },
    { "altstack", altstack },
    { "faults", faults },
    { "timer-thread", timer_thread },
    { "exit-all", exit_all },
    { "return-from-main", return_from_main },
    { "main-first", main_first },
    { "raw-exit", raw_exit },
    { "killed", killed },
    { "stack-guard", stack_guard },
    { "stopping", stopping },
    { "exec", exec_from_thread },
    { "fork", fork_from_thread },
    { "vfork", vfork_from_threads },
    { "wait", wait_in_threads },
    { "robust", robust_lock },
    { "futexes", futexes },
    { "many", many },
    { "mapping", mapping },
    { "clocks", clocks },
    { "fairness", fairness },
    { "quiet", quiet },
};

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    self = argv[0];
    if (argc > 2 && strcmp(argv[1], "after-exec") == 0)
        return after_exec(argv[2]);
    for (size_t i = 0; argc > 1 && i < sizeof tests / sizeof *tests; i++)
        if (strcmp(argv[1], tests[i].name) == 0)
            return tests[i].run();
    fprintf(stderr, "usage: threads NAME\n");
    return 2;
}
