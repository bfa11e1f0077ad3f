/* Memory that processes share: locked instructions, the order of stores, futexes. Totals are exact wherever the hardware promises them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

#define CHILDREN 4

static void *shared(size_t bytes) {
    void *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        perror("mmap"), exit(9);
    return p;
}

/* Runs `child` in so many processes; true when all ended with status 0. */
static int together(int n, void (*child)(int, void *), void *with) {
    fflush(stdout);
    for (int i = 0; i < n; i++)
        if (fork() == 0) {
            child(i, with);
            _exit(0);
        }
    int fine = 1, status;
    while (wait(&status) > 0)
        fine &= status == 0;
    return fine;
}

static void relax(void) { __asm__ volatile("pause" ::: "memory"); }

/* ---- locked instructions ---- */

struct counters {
    uint64_t xadd;
    char pad[64 - 8 - 2];
    /* The next field lies across the end of a cache line. */
    char across[8];
    uint32_t lock;
    volatile uint64_t guarded, plain[2];
    uint16_t word;
    uint8_t bits[128];
} __attribute__((aligned(64)));

#define ROUNDS 1000000

static void add(int i, void *with) {
    struct counters *c = with;
    (void)i;
    for (int n = 0; n < ROUNDS; n++) {
        uint64_t one = 1;
        __asm__ volatile("lock xaddq %0, %1" : "+r"(one), "+m"(c->xadd)::"memory", "cc");
        __asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)c->across)::"memory", "cc");
        __asm__ volatile("lock addw $3, %0" : "+m"(c->word)::"memory", "cc");
    }
}

static void spin_add(int i, void *with) {
    struct counters *c = with;
    (void)i;
    for (int n = 0; n < ROUNDS; n++) {
        for (;;) {
            uint32_t free = 0;
            if (__atomic_compare_exchange_n(&c->lock, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                break;
            relax();
        }
        c->guarded++;
        c->plain[0] = c->guarded;
        if (c->plain[0] != c->guarded)
            _exit(1);
        __atomic_store_n(&c->lock, 0, __ATOMIC_RELEASE);
    }
}

static int locked(int argc, char **argv) {
    (void)argc, (void)argv;
    struct counters *c = shared(sizeof *c);
    int fine = together(CHILDREN, add, c);
    uint32_t across;
    memcpy(&across, c->across, 4);
    printf("%d: xadd %lu, across lines %u (at %d of 64), word %u\n", fine, c->xadd, across,
           (int)((uintptr_t)c->across % 64), c->word);
    fine = together(CHILDREN, spin_add, c);
    printf("%d: spinlock %lu\n", fine, c->guarded);
    return 0;
}

/* Who has the lock works for much longer than any time slice: the others only spin, and must be made to stop for it. */
static void long_hold(int i, void *with) {
    struct counters *c = with;
    for (int n = 0; n < 3; n++) {
        while (__atomic_exchange_n(&c->lock, 1, __ATOMIC_ACQUIRE))
            ;
        for (volatile int w = 0; w < 3000000; w++)
            ;
        c->guarded += i + 1;
        __atomic_store_n(&c->lock, 0, __ATOMIC_RELEASE);
    }
}

static int spin(int argc, char **argv) {
    (void)argc, (void)argv;
    struct counters *c = shared(sizeof *c);
    int fine = together(CHILDREN, long_hold, c);
    printf("%d: %lu\n", fine, c->guarded);
    return 0;
}

/* ---- order ---- */

struct order {
    volatile uint64_t data;
    char pad[120];
    volatile uint64_t flag;
    char pad2[120];
    volatile uint64_t wants[2], turn, counter, stop;
};

/* Message passing: who sees the flag sees the data. */
static void message(int i, void *with) {
    struct order *o = with;
    if (i == 0) {
        for (uint64_t n = 1; n <= 3000000; n++) {
            o->data = n;
            o->flag = n;
        }
        o->stop = 1;
    } else
        while (!o->stop) {
            uint64_t flag = o->flag, data = o->data;
            if (data < flag)
                _exit(1);
        }
}

/* Peterson's lock: right with a fence between the store and the load, on every x86. */
static void peterson(int i, void *with) {
    struct order *o = with;
    for (int n = 0; n < 300000; n++) {
        o->wants[i] = 1;
        o->turn = !i;
        __asm__ volatile("mfence" ::: "memory");
        while (o->wants[!i] && o->turn == (uint64_t)!i)
            relax();
        o->counter++;
        o->wants[i] = 0;
    }
}

static int order(int argc, char **argv) {
    (void)argc, (void)argv;
    struct order *o = shared(sizeof *o);
    int fine = together(3, message, o);
    printf("message passing: %d, data %lu\n", fine, o->data);
    fine = together(2, peterson, o);
    printf("Peterson: %d, %lu\n", fine, o->counter);
    return 0;
}

/* ---- futexes ---- */

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t more, room;
    int items[8], count;
    uint64_t sum;
    int left;
    uint32_t word, woken;
};

static void produce_or_consume(int i, void *with) {
    struct queue *q = with;
    for (int n = 1; n <= 20000; n++) {
        pthread_mutex_lock(&q->mutex);
        if (i % 2) {
            while (q->count == 8)
                pthread_cond_wait(&q->room, &q->mutex);
            q->items[q->count++] = n;
            pthread_cond_signal(&q->more);
        } else {
            while (q->count == 0)
                pthread_cond_wait(&q->more, &q->mutex);
            q->sum += q->items[--q->count];
            pthread_cond_signal(&q->room);
        }
        pthread_mutex_unlock(&q->mutex);
    }
}

/* The same word under another address: the mapping is made anew from the same memory. */
static void wait_elsewhere(int i, void *with) {
    struct queue *q = with;
    struct queue *mine = mremap(q, 0, 4096, MREMAP_MAYMOVE);
    uint32_t *word = mine == MAP_FAILED ? &q->word : &mine->word;
    (void)i;
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0)
        syscall(SYS_futex, word, FUTEX_WAIT, 0, 0, 0, 0);
    __atomic_fetch_add(&q->woken, 1, __ATOMIC_RELAXED);
}

static int futexes(int argc, char **argv) {
    (void)argc, (void)argv;
    struct queue *q = shared(sizeof *q);
    pthread_mutexattr_t ma;
    pthread_condattr_t ca;
    pthread_mutexattr_init(&ma);
    pthread_condattr_init(&ca);
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&q->mutex, &ma);
    pthread_cond_init(&q->more, &ca);
    pthread_cond_init(&q->room, &ca);
    int fine = together(CHILDREN, produce_or_consume, q);
    printf("queue: %d, %d left, sum %lu\n", fine, q->count, q->sum);
    fflush(stdout);
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            wait_elsewhere(i, q);
            _exit(0);
        }
    usleep(20000);
    __atomic_store_n(&q->word, 1, __ATOMIC_RELEASE);
    /* A private wake does not reach a shared wait, at least not because of its key; the shared one does. */
    syscall(SYS_futex, &q->word, FUTEX_WAKE, 100, 0, 0, 0);
    while (wait(0) > 0)
        ;
    struct timespec t = {0, 1000000};
    long r = syscall(SYS_futex, &q->word, FUTEX_WAIT, 1, &t, 0, 0);
    printf("woken %u, then %ld %s", q->woken, r, strerrorname_np(errno));
    r = syscall(SYS_futex, &q->word, FUTEX_WAIT_PRIVATE, 7, 0, 0, 0);
    printf(", %ld %s\n", r, strerrorname_np(errno));
    return 0;
}

/* ---- the same file, mapped by those who have nothing else in common ---- */

static void map_and_add(int i, void *with) {
    const char *name = with;
    int fd = open(name, O_RDWR);
    /* At different addresses, and one of them through a mapping that becomes writable later. */
    if (i % 2)
        mmap(0, 4096 * (i + 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct counters *c = mmap(0, 4096, i == 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (c == MAP_FAILED || (i == 2 && mprotect(c, 4096, PROT_READ | PROT_WRITE)))
        _exit(2);
    for (int n = 0; n < 300000; n++)
        __atomic_fetch_add(&c->xadd, 1, __ATOMIC_RELAXED);
    if (munmap(c, 4096))
        _exit(3);
    /* It runs alone again. */
    for (volatile int n = 0; n < 1000; n++)
        ;
}

/* Sees with a read-only mapping what the writer promises: the first number is never behind the second. */
static void watch(int i, void *with) {
    const char *name = with;
    int fd = open(name, i ? O_RDONLY : O_RDWR);
    volatile uint64_t *p = mmap(0, 4096, i ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        _exit(2);
    if (i == 0) {
        for (int n = 1; n <= 1000000; n++) {
            p[0] = n;
            p[32] = n;
        }
        p[64] = 1;
    } else
        while (!p[64]) {
            uint64_t second = p[32], first = p[0];
            if (first < second)
                _exit(1);
        }
}

/* Pairs share, and the pairs are joined one after the other: in the end all are one group. */
static void chain(int i, void *with) {
    char *name = with;
    char mine[200];
    struct counters *c[2];
    for (int k = 0; k < 2; k++) {
        snprintf(mine, sizeof mine, "%s.%d", name, (i + k) % CHILDREN);
        int fd = open(mine, O_RDWR | O_CREAT, 0600);
        if (ftruncate(fd, 4096))
            _exit(2);
        c[k] = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        for (int n = 0; n < 100000; n++)
            __atomic_fetch_add(&c[0]->xadd, 1, __ATOMIC_RELAXED);
    }
    for (int n = 0; n < 100000; n++)
        __atomic_fetch_add(&c[1]->xadd, 1, __ATOMIC_RELAXED);
}

static int files(int argc, char **argv) {
    char name[100];
    snprintf(name, sizeof name, "%s/shared.%d", argc > 1 ? argv[1] : "/tmp", getpid());
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, 4096))
        return perror(name), 1;
    int fine = together(CHILDREN, map_and_add, name);
    uint64_t n = 0;
    if (pread(fd, &n, 8, 0) != 8)
        return 1;
    printf("one file: %d, %lu\n", fine, n);
    if (ftruncate(fd, 0) || ftruncate(fd, 4096))
        return 1;
    fine = together(3, watch, name);
    printf("readers: %d\n", fine);
    fine = together(CHILDREN, chain, name);
    printf("chain: %d", fine);
    for (int i = 0; i < CHILDREN; i++) {
        char part[200];
        snprintf(part, sizeof part, "%s.%d", name, i);
        int p = open(part, O_RDONLY);
        n = 0;
        if (pread(p, &n, 8, 0) != 8)
            return 1;
        close(p);
        unlink(part);
        printf(" %lu", n);
    }
    printf("\n");
    unlink(name);
    int memfd = memfd_create("m", 0);
    if (memfd < 0 || ftruncate(memfd, 4096))
        return 1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", memfd);
    fine = together(CHILDREN, map_and_add, name);
    if (pread(memfd, &n, 8, 0) != 8)
        return 1;
    printf("memfd: %d, %lu\n", fine, n);
    return 0;
}

/* ---- whoever sleeps keeps nobody from running ---- */

static void spin_until(volatile uint64_t *word, uint64_t value) {
    while (*word != value)
        relax();
}

static int sleepers(int argc, char **argv) {
    (void)argc, (void)argv;
    volatile uint64_t *word = shared(4096);
    int p[2], status;
    char b;
    if (pipe(p))
        return 1;
    /* A child that only spins until each step is made, while the parent sleeps in a different call each time. */
    pid_t child = fork();
    if (child == 0) {
        for (uint64_t step = 1; step <= 3; step++) {
            spin_until(word, step);
            if (write(p[1], "x", 1) != 1)
                _exit(1);
        }
        spin_until(word, 4);
        _exit(7);
    }
    for (uint64_t step = 1; step <= 3; step++) {
        usleep(3000);
        *word = step;
        if (read(p[0], &b, 1) != 1)
            return 1;
    }
    printf("steps\n");
    /* Stopped in the middle of its spinning, it is in nobody's way. */
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    for (volatile int n = 0; n < 10000000; n++)
        ;
    *word = 4;
    kill(child, SIGCONT);
    waitpid(child, &status, 0);
    printf("stopped, continued, ended %d\n", WEXITSTATUS(status));
    /* vfork: the parent waits, its child may spin until a third one has moved. */
    *word = 0;
    pid_t other = fork();
    if (other == 0) {
        spin_until(word, 1);
        *word = 2;
        _exit(0);
    }
    pid_t v = vfork();
    if (v == 0) {
        *word = 1;
        spin_until(word, 2);
        execl("/bin/busybox", "busybox", "true", (char *)0);
        _exit(1);
    }
    waitpid(v, &status, 0);
    printf("vfork %d", status);
    waitpid(other, &status, 0);
    printf(" %d\n", status);
    /* A signal reaches one that waits for its turn, and one that has it. */
    pid_t spinners[3];
    for (int i = 0; i < 3; i++)
        if ((spinners[i] = fork()) == 0)
            for (;;)
                ;
    usleep(5000);
    for (int i = 0; i < 3; i++) {
        kill(spinners[i], i == 1 ? SIGTERM : SIGKILL);
        waitpid(spinners[i], &status, 0);
        printf("spinner ended by %d\n", WTERMSIG(status));
    }
    /* Yielding passes the turn on. */
    *word = 0;
    pid_t y = fork();
    for (uint64_t n = 0; n < 2000; n++) {
        uint64_t me = 2 * n + (y == 0);
        while (*word != me)
            sched_yield();
        *word = me + 1;
    }
    if (y == 0)
        _exit(0);
    waitpid(y, &status, 0);
    printf("ping pong %lu\n", *word);
    return 0;
}

const struct probe share_probes[] = {{"share-locked", locked}, {"share-spin", spin}, {"share-order", order}, {"share-futex", futexes}, {"share-files", files}, {"share-sleepers", sleepers}, {0, 0}};
