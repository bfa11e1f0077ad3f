/* Sockets inside one container: `sockets NAME`. Each check prints what it saw, so that the same command run natively is the expected output.
 * Ports are picked by the kernel; nothing prints them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof *(a))

/* Result of a call with its errno. */
static const char *err(long r) {
    static char buf[8][64];
    static int i;
    char *b = buf[i++ % 8];
    if (r < 0)
        snprintf(b, 64, "%s", strerrorname_np(errno));
    else
        snprintf(b, 64, "%ld", r);
    return b;
}

static int must(int r, const char *what) {
    if (r < 0) {
        printf("%s: %s\n", what, strerrorname_np(errno));
        fflush(stdout);
        exit(1);
    }
    return r;
}

static struct sockaddr_in v4(const char *ip, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}
static struct sockaddr_in6 v6(const char *ip, int port) {
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, ip, &a.sin6_addr);
    return a;
}
static int port_of(int fd) {
    struct sockaddr_in6 a;
    socklen_t n = sizeof a;
    must(getsockname(fd, (void *)&a, &n), "getsockname");
    return ntohs(a.sin6_port);
}
static int name_bind(int fd, const char *ip, int port) {
    struct sockaddr_in a = v4(ip, port);
    return bind(fd, (void *)&a, sizeof a);
}
static int name_connect(int fd, const char *ip, int port) {
    struct sockaddr_in a = v4(ip, port);
    return connect(fd, (void *)&a, sizeof a);
}
static int listener(int backlog) {
    int s = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(name_bind(s, "127.0.0.1", 0), "bind");
    must(listen(s, backlog), "listen");
    return s;
}
/* A connected pair over TCP. */
static void tcp_pair(int fd[2]) {
    int l = listener(5);
    fd[0] = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(name_connect(fd[0], "127.0.0.1", port_of(l)), "connect");
    fd[1] = must(accept(l, 0, 0), "accept");
    close(l);
}
static int events(int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
    poll(&p, 1, 0);
    return p.revents;
}
static int so_int(int fd, int level, int name) {
    int v = -1;
    socklen_t n = sizeof v;
    if (getsockopt(fd, level, name, &v, &n))
        return -errno;
    return v;
}
static void nonblock(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }
static void wait_child(pid_t pid) {
    int st;
    waitpid(pid, &st, 0);
    printf("child: %s %d\n", WIFEXITED(st) ? "exit" : "signal", WIFEXITED(st) ? WEXITSTATUS(st) : WTERMSIG(st));
}
static void sun(struct sockaddr_un *a, const char *path) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    snprintf(a->sun_path, sizeof a->sun_path, "%s", path);
}
static uint32_t mix(uint32_t h, const unsigned char *p, size_t n) {
    while (n--)
        h = (h ^ *p++) * 16777619u;
    return h;
}

/* ---- a server, and clients in processes of their own ---- */

static int serve(void) {
    int l = listener(5);
    int port = port_of(l);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int c = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(name_connect(c, "127.0.0.1", port), "connect");
        send(c, "hello", 5, 0);
        shutdown(c, SHUT_WR);
        char b[100];
        ssize_t n = recv(c, b, sizeof b, MSG_WAITALL);
        _exit(n == 10 && !memcmp(b, "hellohello", 10) ? 7 : 8);
    }
    struct sockaddr_in peer;
    socklen_t n = sizeof peer;
    int c = accept(l, (void *)&peer, &n);
    printf("peer %s, length %d, its port %d\n", inet_ntoa(peer.sin_addr), n, peer.sin_port != 0);
    char b[100];
    ssize_t got = 0, r;
    while ((r = read(c, b + got, sizeof b - got)) > 0)
        got += r;
    printf("%zd bytes: %.*s\n", got, (int)got, b);
    dprintf(c, "%.*s%.*s", (int)got, b, (int)got, b);
    close(c);
    wait_child(pid);
    return 0;
}

static int unix_stream(void) {
    unlink("sock");
    int l = must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    struct sockaddr_un a;
    sun(&a, "sock");
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("nobody: %s\n", err(connect(c, (void *)&a, sizeof a)));
    printf("bind %s", err(bind(l, (void *)&a, sizeof a)));
    int twice = socket(AF_UNIX, SOCK_STREAM, 0);
    printf(", again %s, another %s\n", err(bind(l, (void *)&a, sizeof a)), err(bind(twice, (void *)&a, sizeof a)));
    struct stat st;
    stat("sock", &st);
    printf("file: socket %d mode %o; not listening: %s\n", S_ISSOCK(st.st_mode), st.st_mode & 0777, err(connect(c, (void *)&a, sizeof a)));
    printf("open: %s\n", err(open("sock", O_RDWR)));
    must(listen(l, 1), "listen");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        must(connect(c, (void *)&a, sizeof a), "connect");
        struct ucred u;
        socklen_t n = sizeof u;
        getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &n);
        dprintf(c, "server is my parent: %d, uid %d", u.pid == getppid(), (int)u.uid);
        char b[10];
        _exit(read(c, b, 10) == 0 ? 3 : 4);
    }
    struct sockaddr_un peer;
    socklen_t n = sizeof peer;
    int s = accept4(l, (void *)&peer, &n, SOCK_CLOEXEC);
    printf("cloexec %d, peer's address: %d bytes\n", fcntl(s, F_GETFD), n);
    n = sizeof peer;
    getsockname(s, (void *)&peer, &n);
    printf("own name %s (%d)\n", peer.sun_path, n);
    struct ucred u;
    n = sizeof u;
    getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &n);
    char b[100] = {0};
    read(s, b, sizeof b - 1);
    printf("client is the child: %d; it says: %s\n", u.pid == pid, b);
    shutdown(s, SHUT_RDWR);
    wait_child(pid);
    close(l);
    int d = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("listener closed: %s\n", err(connect(d, (void *)&a, sizeof a)));
    unlink("sock");
    printf("unlinked: %s\n", err(connect(d, (void *)&a, sizeof a)));
    int f = open("plain", O_CREAT | O_RDWR, 0600);
    close(f);
    sun(&a, "plain");
    printf("plain file: connect %s bind %s\n", err(connect(d, (void *)&a, sizeof a)), err(bind(d, (void *)&a, sizeof a)));
    unlink("plain");
    return 0;
}

static int abstract(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path + 1, 100, "megalith-test-%d", getpid());
    socklen_t n = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a.sun_path + 1);
    int l = socket(AF_UNIX, SOCK_SEQPACKET, 0), c = socket(AF_UNIX, SOCK_SEQPACKET, 0), wrong = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("bind %s", err(bind(l, (void *)&a, n)));
    printf(" listen %s", err(listen(l, 5)));
    printf(" longer name %s", err(connect(c, (void *)&a, n + 1)));
    printf(" wrong type %s", err(connect(wrong, (void *)&a, n)));
    printf(" connect %s\n", err(connect(c, (void *)&a, n)));
    int s = accept(l, 0, 0);
    char b[16];
    printf("records: %s %s %s;", err(send(c, "one", 3, 0)), err(send(c, "", 0, 0)), err(send(c, "three", 5, 0)));
    printf(" %s", err(recv(s, b, sizeof b, 0)));
    printf(" %s", err(recv(s, b, sizeof b, 0)));
    struct iovec v = {b, 2};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    printf(" %s", err(recvmsg(s, &m, 0)));
    printf(" truncated %d\n", !!(m.msg_flags & MSG_TRUNC));
    close(c);
    printf("end: %s poll %x\n", err(recv(s, b, sizeof b, 0)), events(s));
    printf("send: %s\n", err(send(s, "x", 1, MSG_NOSIGNAL)));
    int u = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un e = {.sun_family = AF_UNIX};
    printf("autobind %s", err(bind(u, (void *)&e, sizeof(sa_family_t))));
    socklen_t en = sizeof e;
    getsockname(u, (void *)&e, &en);
    printf(": %d bytes, first %d, digits %d\n", en, e.sun_path[0], (int)strspn(e.sun_path + 1, "0123456789abcdef"));
    close(l);
    printf("closed listener: %s\n", err(connect(socket(AF_UNIX, SOCK_SEQPACKET, 0), (void *)&a, n)));
    return 0;
}

static int unix_datagram(void) {
    struct sockaddr_un a, b;
    sun(&a, "da"), sun(&b, "db");
    unlink("da"), unlink("db");
    int x = socket(AF_UNIX, SOCK_DGRAM, 0), y = socket(AF_UNIX, SOCK_DGRAM, 0);
    bind(x, (void *)&a, sizeof a);
    printf("not connected: %s\n", err(send(y, "a", 1, 0)));
    printf("unbound sends %s;", err(sendto(y, "first", 5, 0, (void *)&a, sizeof a)));
    char buf[64];
    struct sockaddr_un from;
    socklen_t n = sizeof from;
    printf(" got %s", err(recvfrom(x, buf, sizeof buf, 0, (void *)&from, &n)));
    printf(" from %d\n", n);
    bind(y, (void *)&b, sizeof b);
    sendto(y, "second", 6, 0, (void *)&a, sizeof a);
    n = sizeof from;
    printf("got %s", err(recvfrom(x, buf, sizeof buf, 0, (void *)&from, &n)));
    printf(" from %s (%d)\n", from.sun_path, n);
    connect(x, (void *)&b, sizeof b);
    int z = socket(AF_UNIX, SOCK_DGRAM, 0);
    printf("stranger: %s; friend: %s\n", err(sendto(z, "no", 2, 0, (void *)&a, sizeof a)), err(sendto(y, "yes", 3, 0, (void *)&a, sizeof a)));
    printf("%s\n", err(recv(x, buf, 2, MSG_TRUNC)));
    /* A stranger's queue is short; it never loses anything. */
    int q = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un qa;
    sun(&qa, "dq");
    unlink("dq");
    bind(q, (void *)&qa, sizeof qa);
    nonblock(z);
    connect(z, (void *)&qa, sizeof qa);
    int sent = 0;
    while (send(z, "x", 1, 0) == 1)
        sent++;
    printf("queue full: %s, some %d, writable %d\n", strerrorname_np(errno), sent > 5 && sent < 2000, !!(events(z) & POLLOUT));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(20000);
        for (int i = 0; i <= sent; i++)
            recv(q, buf, sizeof buf, 0);
        _exit(0);
    }
    fcntl(z, F_SETFL, 0);
    printf("blocking send: %s\n", err(send(z, "y", 1, 0)));
    wait_child(pid);
    close(q);
    printf("receiver gone: %s then %s\n", err(send(z, "z", 1, 0)), err(send(z, "z", 1, 0)));
    unlink("da"), unlink("db"), unlink("dq");
    return 0;
}

/* ---- descriptors and IDs in messages ---- */

static ssize_t send_fds(int s, const void *data, size_t len, const int *fds, int n) {
    char control[CMSG_SPACE(sizeof(int) * 300)] = {0};
    struct iovec v = {(void *)data, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    return sendmsg(s, &m, MSG_NOSIGNAL);
}
static ssize_t recv_fds(int s, void *data, size_t len, int *fds, int *n, size_t room, int flags, int *msg_flags) {
    char control[2048];
    struct iovec v = {data, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    *n = 0;
    ssize_t r = recvmsg(s, &m, flags);
    if (msg_flags)
        *msg_flags = m.msg_flags;
    if (r < 0)
        return r;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_type == SCM_RIGHTS) {
            *n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *n * sizeof(int));
        }
    return r;
}

static int rights(void) {
    int sv[2], p[2], got[300], n, fl;
    char b[64];
    socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
    pipe(p);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]), close(p[1]), close(sv[0]);
        ssize_t r = recv_fds(sv[1], b, sizeof b, got, &n, sizeof(int) * 100, 0, &fl);
        if (r != 4 || n != 2)
            _exit(1);
        close(got[0]);
        write(got[1], "through the pipe", 16);
        _exit(0);
    }
    int two[2] = {p[0], p[1]};
    printf("sent %s\n", err(send_fds(sv[0], "data", 4, two, 2)));
    close(p[1]);
    memset(b, 0, sizeof b);
    read(p[0], b, sizeof b);
    printf("%s\n", b);
    wait_child(pid);
    printf("end of pipe: %s\n", err(read(p[0], b, sizeof b)));
    /* Messages with files are not glued. */
    socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
    int one[1] = {0};
    send(sv[0], "aa", 2, 0);
    send_fds(sv[0], "bb", 2, one, 1);
    send(sv[0], "cc", 2, 0);
    send(sv[0], "dd", 2, 0);
    for (int i = 0; i < 3; i++) {
        ssize_t r = recv_fds(sv[1], b, sizeof b, got, &n, CMSG_SPACE(4), MSG_DONTWAIT | MSG_CMSG_CLOEXEC, &fl);
        printf("%s bytes, %d files", err(r), n);
        if (n)
            printf(", cloexec %d", fcntl(got[0], F_GETFD));
        printf("; ");
    }
    printf("\n");
    /* Without room for them. */
    int three[3] = {0, 1, 2};
    send_fds(sv[0], "e", 1, three, 3);
    recv_fds(sv[1], b, 1, got, &n, CMSG_LEN(4), 0, &fl);
    printf("room for one: %d, cut %d\n", n, !!(fl & MSG_CTRUNC));
    send_fds(sv[0], "f", 1, three, 3);
    recv_fds(sv[1], b, 1, got, &n, 0, 0, &fl);
    printf("no room: %d, cut %d\n", n, !!(fl & MSG_CTRUNC));
    int many[260];
    for (int i = 0; i < 260; i++)
        many[i] = 0;
    printf("253: %s", err(send_fds(sv[0], "g", 1, many, 253)));
    printf(" 254: %s", err(send_fds(sv[0], "g", 1, many, 254)));
    int bad[1] = {999};
    printf(" bad: %s\n", err(send_fds(sv[0], "g", 1, bad, 1)));
    /* A file is closed when the message is dropped. */
    int q[2], dg[2];
    pipe(q);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, dg);
    int w[1] = {q[1]};
    send_fds(dg[0], "h", 1, w, 1);
    close(q[1]);
    nonblock(q[0]);
    printf("in flight: %s", err(read(q[0], b, 1)));
    close(dg[0]), close(dg[1]);
    printf(", dropped: %s\n", err(read(q[0], b, 1)));
    /* So it is when a socket waits only in itself. */
    for (int i = 0; i < 300; i++) {
        int s[2], e[2];
        if (socketpair(AF_UNIX, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0, s) || pipe(e)) {
            printf("leak %d %s\n", i, err(-1));
            return 1;
        }
        int all[3] = {s[0], s[1], e[1]};
        send_fds(s[0], "i", 1, all, 3);
        send_fds(s[1], "i", 1, all, 3);
        close(s[0]), close(s[1]), close(e[1]);
        if (i == 299) {
            /* Linux collects when the next socket is closed, or a little later. */
            ssize_t r = -1;
            nonblock(e[0]);
            for (int k = 0; k < 200 && (r = read(e[0], b, 1)) < 0; k++) {
                close(socket(AF_UNIX, SOCK_STREAM, 0));
                usleep(5000);
            }
            printf("cycle: %s\n", err(r));
        }
        close(e[0]);
    }
    return 0;
}

static int credentials(void) {
    int sv[2], on = 1;
    socketpair(AF_UNIX, SOCK_DGRAM, 0, sv);
    setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    char control[256], b[16];
    struct iovec v = {b, sizeof b};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    send(sv[0], "x", 1, 0);
    recvmsg(sv[1], &m, 0);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    struct ucred *u = (void *)CMSG_DATA(c);
    printf("type %d length %d: own pid %d, uid %d gid %d\n", c->cmsg_type, (int)c->cmsg_len, u->pid == getpid(), u->uid, u->gid);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        send(sv[0], "y", 1, 0);
        setresgid(7, 7, 7), setresuid(7, 7, 7);
        struct ucred claim = {getpid(), 0, 0};
        struct iovec w = {"z", 1};
        memset(control, 0, sizeof control);
        struct msghdr o = {.msg_iov = &w, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof claim)};
        c = CMSG_FIRSTHDR(&o);
        c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_CREDENTIALS, c->cmsg_len = CMSG_LEN(sizeof claim);
        memcpy(CMSG_DATA(c), &claim, sizeof claim);
        int lied = sendmsg(sv[0], &o, 0) < 0 && errno == EPERM;
        claim = (struct ucred){getpid(), 7, 7};
        memcpy(CMSG_DATA(c), &claim, sizeof claim);
        _exit(lied && sendmsg(sv[0], &o, 0) == 1 ? 5 : 6);
    }
    for (int i = 0; i < 2; i++) {
        m.msg_controllen = sizeof control;
        recvmsg(sv[1], &m, 0);
        u = (void *)CMSG_DATA(CMSG_FIRSTHDR(&m));
        printf("%c: child %d, uid %d gid %d\n", b[0], u->pid == pid, u->uid, u->gid);
    }
    wait_child(pid);
    return 0;
}

/* ---- TCP, state by state ---- */

static int tcp_states(void) {
    int fd[2];
    char b[64];
    int s = socket(AF_INET, SOCK_STREAM, 0);
    printf("new: poll %x, read %s, peer %s\n", events(s), err(read(s, b, 1)), err(getpeername(s, 0, 0)));
    signal(SIGPIPE, SIG_IGN);
    printf("write %s, shutdown %s, accept %s\n", err(write(s, "x", 1)), err(shutdown(s, SHUT_RDWR)), err(accept(s, 0, 0)));
    tcp_pair(fd);
    printf("connected: poll %x %x\n", events(fd[0]), events(fd[1]));
    printf("again: %s\n", err(name_connect(fd[0], "127.0.0.1", 1)));
    send(fd[0], "abc", 3, 0);
    int n = -1;
    ioctl(fd[1], FIONREAD, &n);
    printf("poll %x FIONREAD %d\n", events(fd[1]), n);
    printf("peek %s", err(recv(fd[1], b, 2, MSG_PEEK)));
    printf(" read %s", err(recv(fd[1], b, sizeof b, 0)));
    printf(" nothing %s\n", err(recv(fd[1], b, sizeof b, MSG_DONTWAIT)));
    /* Half-close. */
    shutdown(fd[0], SHUT_WR);
    printf("after shutdown: %x, peer %x, read %s, write %s\n", events(fd[0]), events(fd[1]), err(read(fd[1], b, 1)), err(write(fd[0], "x", 1)));
    printf("other way: %s", err(write(fd[1], "back", 4)));
    printf(" %s\n", err(read(fd[0], b, sizeof b)));
    close(fd[1]);
    printf("both closed: %x, read %s\n", events(fd[0]), err(read(fd[0], b, 1)));
    close(fd[0]);
    /* The other side goes. */
    tcp_pair(fd);
    close(fd[1]);
    printf("closed: %x", events(fd[0]));
    printf(" write %s", err(write(fd[0], "x", 1)));
    usleep(1000);
    printf(" poll %x write %s, write %s, read %s, poll %x\n", events(fd[0]), err(write(fd[0], "x", 1)), err(write(fd[0], "x", 1)), err(read(fd[0], b, 1)), events(fd[0]));
    close(fd[0]);
    /* With data that nobody read. */
    tcp_pair(fd);
    write(fd[0], "unread", 6);
    write(fd[1], "sent before", 11);
    close(fd[1]);
    printf("reset: %x", events(fd[0]));
    printf(" SO_ERROR %d", so_int(fd[0], SOL_SOCKET, SO_ERROR));
    printf(" then %d, poll %x\n", so_int(fd[0], SOL_SOCKET, SO_ERROR), events(fd[0]));
    close(fd[0]);
    tcp_pair(fd);
    struct linger lg = {1, 0};
    setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &lg, sizeof lg);
    close(fd[1]);
    printf("linger 0: read %s, read %s, write %s\n", err(read(fd[0], b, 1)), err(read(fd[0], b, 1)), err(write(fd[0], "x", 1)));
    close(fd[0]);
    tcp_pair(fd);
    setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &lg, sizeof lg);
    close(fd[1]);
    printf("linger 0: write %s, write %s\n", err(write(fd[0], "x", 1)), err(write(fd[0], "x", 1)));
    close(fd[0]);
    /* Shutdown of receiving. */
    tcp_pair(fd);
    shutdown(fd[0], SHUT_RD);
    printf("SHUT_RD: %x, read %s, peer writes %s\n", events(fd[0]), err(read(fd[0], b, 1)), err(write(fd[1], "x", 1)));
    /* Listeners. */
    int l = listener(3);
    printf("listener: %x, read %s, write %s, connect %s\n", events(l), err(read(l, b, 1)), err(write(l, "x", 1)), err(name_connect(l, "127.0.0.1", 1)));
    int c = socket(AF_INET, SOCK_STREAM, 0);
    name_connect(c, "127.0.0.1", port_of(l));
    printf("pending: %x, acceptconn %d %d\n", events(l), so_int(l, SOL_SOCKET, SO_ACCEPTCONN), so_int(c, SOL_SOCKET, SO_ACCEPTCONN));
    write(c, "early", 5);
    close(l);
    printf("listener closed: %x, read %s\n", events(c), err(read(c, b, 1)));
    l = listener(3);
    shutdown(l, SHUT_RD);
    nonblock(l);
    printf("listener shut down: accept %s poll %x\n", err(accept(l, 0, 0)), events(l));
    /* SIGPIPE. */
    signal(SIGPIPE, SIG_DFL);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        tcp_pair(fd);
        shutdown(fd[0], SHUT_WR);
        if (send(fd[0], "x", 1, MSG_NOSIGNAL) != -1 || errno != EPIPE)
            _exit(1);
        write(fd[0], "x", 1);
        _exit(2);
    }
    wait_child(pid);
    return 0;
}

static int unix_states(void) {
    int fd[2];
    char b[64];
    signal(SIGPIPE, SIG_IGN);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("new: poll %x, read %s, write %s, listen %s\n", events(s), err(read(s, b, 1)), err(write(s, "x", 1)), err(listen(s, 1)));
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    printf("pair: %x", events(fd[0]));
    write(fd[1], "abc", 3);
    close(fd[1]);
    printf(" closed: %x, read %s %s, write %s\n", events(fd[0]), err(read(fd[0], b, sizeof b)), err(read(fd[0], b, 1)), err(write(fd[0], "x", 1)));
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    write(fd[0], "unread", 6);
    close(fd[1]);
    printf("unread: %x, read %s, read %s, write %s\n", events(fd[0]), err(read(fd[0], b, 1)), err(read(fd[0], b, 1)), err(write(fd[0], "x", 1)));
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    shutdown(fd[0], SHUT_WR);
    printf("SHUT_WR: %x %x, read %s, write %s\n", events(fd[0]), events(fd[1]), err(read(fd[1], b, 1)), err(write(fd[0], "x", 1)));
    shutdown(fd[0], SHUT_RD);
    printf("SHUT_RD, too: %x %x, write %s\n", events(fd[0]), events(fd[1]), err(write(fd[1], "x", 1)));
    printf("sendto %s; datagrams: ", err(sendto(fd[1], "x", 1, 0, (void *)&(struct sockaddr_un){AF_UNIX, "x"}, 4)));
    socketpair(AF_UNIX, SOCK_DGRAM, 0, fd);
    printf("%x", events(fd[0]));
    shutdown(fd[0], SHUT_RD);
    printf(" %x, to it %s\n", events(fd[0]), err(send(fd[1], "x", 1, 0)));
    printf("lengths: %s %s %s\n", err(bind(s, (void *)&(struct sockaddr_un){AF_UNIX, "x"}, 1)), err(bind(s, (void *)b, 200)), err(socket(AF_UNIX, SOCK_STREAM, 9)));
    return 0;
}

static int connecting(void) {
    int l = listener(5), s, port = port_of(l);
    struct pollfd p;
    s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    printf("start %s", err(name_connect(s, "127.0.0.1", port)));
    p = (struct pollfd){s, POLLOUT, 0};
    poll(&p, 1, 1000);
    printf(", poll %x, error %d", p.revents, so_int(s, SOL_SOCKET, SO_ERROR));
    printf(", again %s", err(name_connect(s, "127.0.0.1", port)));
    printf(" %s\n", err(name_connect(s, "127.0.0.1", port)));
    /* Nobody listens. */
    int t = socket(AF_INET, SOCK_STREAM, 0);
    name_bind(t, "127.0.0.1", 0);
    int dead = port_of(t);
    int r = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    printf("refused: %s", err(name_connect(r, "127.0.0.1", dead)));
    p = (struct pollfd){r, POLLOUT | POLLIN, 0};
    poll(&p, 1, 1000);
    printf(", poll %x, error %d", p.revents, so_int(r, SOL_SOCKET, SO_ERROR));
    printf(", then %d\n", so_int(r, SOL_SOCKET, SO_ERROR));
    r = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    name_connect(r, "127.0.0.1", dead);
    usleep(1000);
    printf("by connect: %s; ", err(name_connect(r, "127.0.0.1", dead)));
    r = socket(AF_INET, SOCK_STREAM, 0);
    printf("blocking: %s, error %d, again %s\n", err(name_connect(r, "127.0.0.1", dead)), so_int(r, SOL_SOCKET, SO_ERROR), err(name_connect(r, "127.0.0.1", dead)));
    printf("and then to somebody: %s\n", err(name_connect(r, "127.0.0.1", port)));
    /* Other families and lengths. */
    struct sockaddr_in6 six = v6("::1", port);
    r = socket(AF_INET, SOCK_STREAM, 0);
    printf("IPv6 address: %s", err(connect(r, (void *)&six, sizeof six)));
    printf(", short: %s", err(connect(r, (void *)&six, 3)));
    printf(", null: %s\n", err(connect(r, 0, 16)));
    return 0;
}

static int addresses(void) {
    int a = socket(AF_INET, SOCK_STREAM, 0), b = socket(AF_INET, SOCK_STREAM, 0), on = 1, off = 0;
    name_bind(a, "127.0.0.1", 0);
    int port = port_of(a);
    printf("in use: %s, other address %s", err(name_bind(b, "127.0.0.1", port)), err(name_bind(b, "127.0.0.2", port)));
    printf(", twice %s\n", err(name_bind(b, "127.0.0.3", 0)));
    int c = socket(AF_INET, SOCK_STREAM, 0);
    printf("any: %s", err(name_bind(c, "0.0.0.0", port)));
    printf(", not local: %s", err(name_bind(c, "192.0.2.1", 0)));
    printf(", wrong family: %s\n", err(bind(c, (void *)&(struct sockaddr_un){AF_UNIX, "abc"}, 16)));
    int d = socket(AF_INET, SOCK_STREAM, 0), e = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(d, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), setsockopt(e, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    name_bind(d, "127.0.0.1", 0);
    printf("reuse: %s, listen %s %s\n", err(name_bind(e, "127.0.0.1", port_of(d))), err(listen(d, 1)), err(listen(e, 1)));
    int f = socket(AF_INET, SOCK_STREAM, 0), g = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(f, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), setsockopt(g, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    name_bind(f, "127.0.0.1", 0), listen(f, 1);
    printf("reuseport: %s %s\n", err(name_bind(g, "127.0.0.1", port_of(f))), err(listen(g, 1)));
    /* IPv6, and IPv4 through it. */
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 any = v6("::", 0);
    setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    printf("::: bind %s listen %s", err(bind(six, (void *)&any, sizeof any)), err(listen(six, 5)));
    int p6 = port_of(six), h = socket(AF_INET, SOCK_STREAM, 0);
    printf(", IPv4 taken %s", err(name_bind(h, "127.0.0.1", p6)));
    printf(", IPv4 connects %s\n", err(name_connect(h, "127.0.0.1", p6)));
    struct sockaddr_in6 peer;
    socklen_t n = sizeof peer;
    char text[100];
    int s = accept(six, (void *)&peer, &n);
    printf("peer %s, length %d", inet_ntop(AF_INET6, &peer.sin6_addr, text, 100), n);
    getsockname(s, (void *)&peer, &n);
    printf(", own %s\n", inet_ntop(AF_INET6, &peer.sin6_addr, text, 100));
    int i = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 lo = v6("::1", p6), mapped = v6("::ffff:127.0.0.1", p6);
    printf("::1 connects %s", err(connect(i, (void *)&lo, sizeof lo)));
    n = sizeof peer;
    getsockname(i, (void *)&peer, &n);
    printf(" as %s;", inet_ntop(AF_INET6, &peer.sin6_addr, text, 100));
    int j = socket(AF_INET6, SOCK_STREAM, 0), k = socket(AF_INET6, SOCK_STREAM, 0);
    printf(" mapped %s;", err(connect(j, (void *)&mapped, sizeof mapped)));
    setsockopt(k, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    printf(" v6only %s\n", err(connect(k, (void *)&mapped, sizeof mapped)));
    int only = socket(AF_INET6, SOCK_STREAM, 0), four = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    bind(only, (void *)&any, sizeof any);
    printf("beside v6only: %s", err(name_bind(four, "0.0.0.0", port_of(only))));
    printf(", too late: %s\n", err(setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off)));
    /* Names cut off. */
    struct sockaddr_in cut;
    memset(&cut, 0x55, sizeof cut);
    n = 4;
    printf("cut: %s, length %d, behind %x;", err(getsockname(a, (void *)&cut, &n)), n, ((unsigned char *)&cut)[4]);
    n = -1;
    printf(" %s", err(getsockname(a, (void *)&cut, &n)));
    n = sizeof cut;
    printf(" %s\n", err(getsockname(a, (void *)8, &n)));
    /* Privileged ports. */
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int q = socket(AF_INET, SOCK_STREAM, 0);
        setresuid(7, 7, 7);
        if (name_bind(q, "127.0.0.1", 81) == 0)
            _exit(0);
        _exit(errno == EACCES ? 13 : 1);
    }
    wait_child(pid);
    printf("families: %s %s %s", err(socket(99, SOCK_STREAM, 0)), err(socket(AF_INET, 99, 0)), err(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP)));
    printf(" %s %s", err(socket(AF_INET, SOCK_SEQPACKET, 0)), err(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0})));
    printf(" %s\n", err(socket(AF_INET, SOCK_STREAM | 0x10000000, 0)));
    char name[16] = "";
    struct stat st;
    fstat(a, &st);
    snprintf(text, sizeof text, "/proc/self/fd/%d", a);
    readlink(text, name, 8);
    printf("fstat socket %d mode %o, link %.7s, lseek %s\n", S_ISSOCK(st.st_mode), st.st_mode & 0777, name, err(lseek(a, 0, SEEK_SET)));
    printf("not a socket: %s %s\n", err(listen(0, 1)), err(listen(999, 1)));
    return 0;
}

/* ---- UDP ---- */

/* One datagram with its header's fields from the options, from control messages, or in messages that are wrong. */
static void header(int family, const char *what, int level, int hop_kind, int class_kind, int hops, int class, int length) {
    int from = socket(family, SOCK_DGRAM, 0), to = socket(family, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in6 six = v6("::1", 0);
    struct sockaddr_in four = v4("127.0.0.1", 0);
    void *at = family == AF_INET ? (void *)&four : (void *)&six;
    socklen_t n = family == AF_INET ? sizeof four : sizeof six;
    bind(to, at, n);
    getsockname(to, at, &n);
    setsockopt(to, level, family == AF_INET ? IP_RECVTTL : IPV6_RECVHOPLIMIT, &on, sizeof on);
    setsockopt(to, level, family == AF_INET ? IP_RECVTOS : IPV6_RECVTCLASS, &on, sizeof on);
    int own_hops = 33, own_class = 8;
    setsockopt(from, level, family == AF_INET ? IP_TTL : IPV6_UNICAST_HOPS, &own_hops, sizeof own_hops);
    setsockopt(from, level, class_kind, &own_class, sizeof own_class);
    char control[64] = {0}, b[8];
    struct iovec v = {"x", 1};
    struct msghdr m = {.msg_name = at, .msg_namelen = n, .msg_iov = &v, .msg_iovlen = 1};
    if (length) {
        m.msg_control = control, m.msg_controllen = 2 * CMSG_SPACE(length);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        *h = (struct cmsghdr){CMSG_LEN(length), level, hop_kind};
        memcpy(CMSG_DATA(h), &hops, 4);
        h = CMSG_NXTHDR(&m, h);
        *h = (struct cmsghdr){CMSG_LEN(length), level, class_kind};
        memcpy(CMSG_DATA(h), &class, 4);
    }
    printf("%s: %s", what, err(sendmsg(from, &m, 0)));
    v = (struct iovec){b, sizeof b};
    m = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(to, &m, MSG_DONTWAIT) >= 0)
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
            printf(" %s %d", h->cmsg_type == hop_kind ? "hops" : "class", h->cmsg_len == CMSG_LEN(1) ? *(unsigned char *)CMSG_DATA(h) : *(int *)CMSG_DATA(h));
    printf("\n");
    close(from), close(to);
}

static void headers(void) {
    header(AF_INET6, "options", IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_TCLASS, 0, 0, 0);
    header(AF_INET6, "control messages", IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_TCLASS, 2, 4, 4);
    header(AF_INET6, "defaults", IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_TCLASS, -1, -1, 4);
    header(AF_INET6, "too many", IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_TCLASS, 256, 4, 4);
    header(AF_INET6, "too long", IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_TCLASS, 2, 4, 5);
    header(AF_INET, "IPv4, options", IPPROTO_IP, IP_TTL, IP_TOS, 0, 0, 0);
    header(AF_INET, "IPv4, control messages", IPPROTO_IP, IP_TTL, IP_TOS, 2, 4, 4);
    header(AF_INET, "IPv4, no hops", IPPROTO_IP, IP_TTL, IP_TOS, 0, 4, 4);
}

static int udp(void) {
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
    char buf[70000];
    name_bind(a, "127.0.0.1", 0);
    struct sockaddr_in to = v4("127.0.0.1", port_of(a)), from;
    socklen_t n = sizeof from;
    printf("new: %x, no destination %s\n", events(b), err(send(b, "x", 1, 0)));
    printf("sent %s %s %s", err(sendto(b, "one", 3, 0, (void *)&to, sizeof to)), err(sendto(b, "", 0, 0, (void *)&to, sizeof to)), err(sendto(b, "three", 5, 0, (void *)&to, sizeof to)));
    printf(", bound %d, poll %x\n", port_of(b) != 0, events(a));
    printf("peek %s", err(recv(a, buf, sizeof buf, MSG_PEEK)));
    printf(" got %s", err(recvfrom(a, buf, sizeof buf, 0, (void *)&from, &n)));
    printf(" from %s, same port %d, length %d;", inet_ntoa(from.sin_addr), ntohs(from.sin_port) == port_of(b), n);
    printf(" got %s", err(recv(a, buf, sizeof buf, 0)));
    int waiting = -1;
    ioctl(a, FIONREAD, &waiting);
    printf(" FIONREAD %d", waiting);
    printf(" cut %s\n", err(recv(a, buf, 2, MSG_TRUNC)));
    printf("empty: %s\n", err(recv(a, buf, 2, MSG_DONTWAIT)));
    /* Connected: others are not heard. */
    int c = socket(AF_INET, SOCK_DGRAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0);
    name_bind(c, "127.0.0.1", 0), name_bind(d, "127.0.0.1", 0);
    name_connect(c, "127.0.0.1", port_of(d));
    struct sockaddr_in toc = v4("127.0.0.1", port_of(c));
    sendto(b, "stranger", 8, 0, (void *)&toc, sizeof toc);
    sendto(d, "friend", 6, 0, (void *)&toc, sizeof toc);
    ssize_t r = recv(c, buf, sizeof buf, MSG_DONTWAIT);
    printf("connected gets %.*s\n", (int)r, buf);
    n = sizeof from;
    getpeername(c, (void *)&from, &n);
    printf("peer %d\n", ntohs(from.sin_port) == port_of(d));
    printf("elsewhere from it: %s\n", err(sendto(c, "x", 1, 0, (void *)&to, sizeof to)));
    close(d);
    printf("nobody: %s", err(send(c, "x", 1, 0)));
    usleep(1000);
    printf(" poll %x, recv %s, recv %s\n", events(c), err(recv(c, buf, 1, MSG_DONTWAIT)), err(recv(c, buf, 1, MSG_DONTWAIT)));
    printf("nobody: %s", err(send(c, "x", 1, 0)));
    usleep(1000);
    printf(" %s %s\n", err(send(c, "x", 1, 0)), err(so_int(c, SOL_SOCKET, SO_ERROR)));
    struct sockaddr un = {.sa_family = AF_UNSPEC};
    printf("dissolved: %s, then %s\n", err(connect(c, &un, sizeof un)), err(send(c, "x", 1, 0)));
    printf("too long: %s, longest %s\n", err(sendto(b, buf, 65508, 0, (void *)&to, sizeof to)), err(sendto(b, buf, 65507, 0, (void *)&to, sizeof to)));
    printf("port 0: %s\n", err(sendto(b, buf, 1, 0, (void *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, 16)));
    printf("listen %s accept %s shutdown %s\n", err(listen(b, 1)), err(accept(b, 0, 0)), err(shutdown(b, SHUT_RDWR)));
    /* One socket for both versions; 0.0.0.0 is the own host. */
    int six = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 any = v6("::", 0), f6;
    bind(six, (void *)&any, sizeof any);
    struct sockaddr_in four = v4("0.0.0.0", port_of(six));
    int s4 = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(s4, "hi", 2, 0, (void *)&four, sizeof four);
    n = sizeof f6;
    r = recvfrom(six, buf, sizeof buf, 0, (void *)&f6, &n);
    printf("through IPv6: %zd from %s\n", r, inet_ntop(AF_INET6, &f6.sin6_addr, buf, 100));
    printf("answer %s", err(sendto(six, "yo", 2, 0, (void *)&f6, n)));
    printf(" %s\n", err(recv(s4, buf, sizeof buf, 0)));
    /* Where it was sent to, and several messages at once. */
    int p = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    setsockopt(p, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), setsockopt(p, IPPROTO_IP, IP_RECVTTL, &on, sizeof on);
    name_bind(p, "0.0.0.0", 0);
    struct sockaddr_in top = v4("127.0.0.9", port_of(p));
    struct mmsghdr mm[3] = {0};
    struct iovec v[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    for (int i = 0; i < 3; i++)
        mm[i].msg_hdr = (struct msghdr){.msg_name = &top, .msg_namelen = sizeof top, .msg_iov = v + i, .msg_iovlen = 1};
    printf("sendmmsg %s: %d %d %d\n", err(sendmmsg(s4, mm, 3, 0)), mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
    char control[256], parts[3][8];
    struct iovec w = {buf, 100};
    struct msghdr m = {.msg_iov = &w, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    recvmsg(p, &m, 0);
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_type == IP_PKTINFO)
            printf("sent to %s\n", inet_ntoa(((struct in_pktinfo *)CMSG_DATA(h))->ipi_addr));
        else
            printf("control %d: %d\n", h->cmsg_type, *(int *)CMSG_DATA(h));
    memset(mm, 0, sizeof mm);
    for (int i = 0; i < 3; i++)
        v[i] = (struct iovec){parts[i], 8}, mm[i].msg_hdr = (struct msghdr){.msg_iov = v + i, .msg_iovlen = 1};
    printf("recvmmsg %s", err(recvmmsg(p, mm, 3, MSG_WAITFORONE, 0)));
    printf(": %d %d\n", mm[0].msg_len, mm[1].msg_len);
    headers();
    return 0;
}

/* ---- waiting ---- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static void on_alarm(int s) { (void)s; }

static int timeouts(void) {
    int fd[2];
    char b[16];
    tcp_pair(fd);
    struct timeval tv = {0, 60000};
    setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    double t = seconds();
    printf("recv %s", err(recv(fd[0], b, 1, 0)));
    printf(", waited %d; ", seconds() - t > 0.05);
    t = seconds();
    printf("read %s", err(read(fd[0], b, 1)));
    printf(", waited %d; ", seconds() - t > 0.05);
    tv = (struct timeval){0};
    socklen_t n = sizeof tv;
    getsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &n);
    printf("%ld.%06ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
    tv = (struct timeval){0, 60000};
    setsockopt(fd[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    static char big[1 << 20];
    size_t total = 0;
    ssize_t r;
    while ((r = send(fd[0], big, sizeof big, 0)) > 0)
        total += r;
    printf("send %s, something was sent %d\n", strerrorname_np(errno), total > 1000);
    int l = listener(1);
    setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    printf("accept %s\n", err(accept(l, 0, 0)));
    /* Signals: with a timeout nothing is restarted. */
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    tv = (struct timeval){5, 0};
    setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    while (recv(fd[1], big, sizeof big, MSG_DONTWAIT) > 0)
        ;
    ualarm(20000, 20000);
    printf("with timeout: %s\n", err(recv(fd[1], b, 1, 0)));
    tv = (struct timeval){0};
    setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(60000);
        send(fd[0], "z", 1, 0);
        _exit(0);
    }
    ualarm(20000, 20000);
    printf("restarted: %s\n", err(recv(fd[1], b, 1, 0)));
    sa.sa_flags = 0;
    sigaction(SIGALRM, &sa, 0);
    ualarm(20000, 20000);
    printf("interrupted: %s %s\n", err(recv(fd[1], b, 1, 0)), (ualarm(20000, 20000), err(accept(l, 0, 0))));
    ualarm(0, 0);
    tv = (struct timeval){0, 2000000};
    printf("EDOM %s\n", err(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)));
    wait_child(pid);
    return 0;
}

/* An echo server for many clients, over poll or epoll; every client is a process. */
static int echo(int use_epoll, int edge) {
    enum { CLIENTS = 50, ROUNDS = 20 };
    int l = listener(CLIENTS), port = port_of(l);
    fflush(stdout);
    for (int i = 0; i < CLIENTS; i++)
        if (fork() == 0) {
            close(l);
            int s = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
            must(name_connect(s, "127.0.0.1", port), "connect");
            char out[300], in[300];
            for (int k = 0; k < ROUNDS; k++) {
                int n = 1 + (i * 7 + k * 13) % 299;
                memset(out, 'a' + (i + k) % 26, n);
                if (send(s, out, n, 0) != n || recv(s, in, n, MSG_WAITALL) != n || memcmp(in, out, n))
                    _exit(1);
            }
            shutdown(s, SHUT_WR);
            _exit(recv(s, in, 1, 0) == 0 ? 0 : 2);
        }
    nonblock(l);
    int open_now = 0, done = 0, ep = use_epoll ? epoll_create1(0) : -1;
    struct pollfd p[CLIENTS + 1] = {{l, POLLIN, 0}};
    struct epoll_event e = {.events = EPOLLIN | (edge ? EPOLLET : 0), .data.fd = l}, ready[16];
    if (ep >= 0)
        epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
    long bytes = 0;
    while (done < CLIENTS) {
        int hits[CLIENTS + 1], n = 0;
        if (ep >= 0) {
            int r = epoll_wait(ep, ready, LEN(ready), -1);
            for (int i = 0; i < r; i++)
                hits[n++] = ready[i].data.fd;
        } else {
            poll(p, open_now + 1, -1);
            for (int i = 0; i <= open_now; i++)
                if (p[i].revents)
                    hits[n++] = p[i].fd;
        }
        for (int i = 0; i < n; i++)
            if (hits[i] == l) {
                int s;
                while ((s = accept4(l, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    open_now++;
                    p[open_now] = (struct pollfd){s, POLLIN, 0};
                    e.data.fd = s, e.events = EPOLLIN | EPOLLRDHUP | (edge ? EPOLLET : 0);
                    if (ep >= 0)
                        epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
                }
            } else {
                char buf[1024];
                ssize_t r;
                while ((r = read(hits[i], buf, sizeof buf)) > 0) {
                    bytes += r;
                    if (write(hits[i], buf, r) != r)
                        return 1;
                    if (!edge)
                        break;
                }
                if (r == 0) {
                    close(hits[i]);
                    done++;
                    for (int k = 1; k <= open_now; k++)
                        if (p[k].fd == hits[i])
                            p[k] = p[open_now--];
                }
            }
    }
    int bad = 0, st;
    while (wait(&st) > 0)
        bad += st != 0;
    printf("%d clients, %ld bytes, %d failed\n", done, bytes, bad);
    return 0;
}
static int echo_poll(void) { return echo(0, 0); }
static int echo_epoll(void) { return echo(1, 0); }
static int echo_edge(void) { return echo(1, 1); }

static int epolls(void) {
    int fd[2], ep = epoll_create1(0), on = 1;
    char b[16];
    tcp_pair(fd);
    struct epoll_event e = {EPOLLIN | EPOLLET, {.u64 = 0x1122334455667788}}, r[4];
    epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &e);
    printf("twice %s, nothing %d\n", err(epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &e)), epoll_wait(ep, r, 4, 0));
    write(fd[1], "a", 1);
    int n = epoll_wait(ep, r, 4, 1000);
    printf("edge: %d %x %d", n, r[0].events, r[0].data.u64 == 0x1122334455667788);
    printf(", not again %d", epoll_wait(ep, r, 4, 0));
    write(fd[1], "b", 1);
    printf(", more data %d", epoll_wait(ep, r, 4, 1000));
    read(fd[0], b, 1);
    printf(", some read %d", epoll_wait(ep, r, 4, 0));
    e.events = EPOLLIN | EPOLLET;
    epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &e);
    printf(", modified %d\n", epoll_wait(ep, r, 4, 0));
    e.events = EPOLLIN | EPOLLOUT | EPOLLONESHOT;
    epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &e);
    n = epoll_wait(ep, r, 4, 0);
    printf("oneshot %d %x, then %d", n, r[0].events, epoll_wait(ep, r, 4, 0));
    epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &e);
    printf(", armed %d\n", epoll_wait(ep, r, 4, 0));
    e.events = EPOLLRDHUP | EPOLLOUT;
    epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &e);
    shutdown(fd[1], SHUT_WR);
    n = epoll_wait(ep, r, 4, 1000);
    printf("half closed %d %x\n", n, r[0].events);
    /* Epolls in epolls. */
    int outer = epoll_create1(0), third = epoll_create1(0);
    e.events = EPOLLIN;
    printf("nested %s, itself %s, circle %s\n", err(epoll_ctl(outer, EPOLL_CTL_ADD, ep, &e)), err(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e)), err(epoll_ctl(ep, EPOLL_CTL_ADD, outer, &e)));
    epoll_ctl(third, EPOLL_CTL_ADD, outer, &e);
    n = epoll_wait(third, r, 4, 0);
    printf("ready through it %d %x poll %x\n", n, r[0].events, events(third));
    epoll_ctl(ep, EPOLL_CTL_DEL, fd[0], 0);
    printf("removed %d, again %s\n", epoll_wait(third, r, 4, 0), err(epoll_ctl(ep, EPOLL_CTL_DEL, fd[0], 0)));
    int u[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, u);
    epoll_ctl(ep, EPOLL_CTL_ADD, u[0], &e);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(30000);
        write(u[1], "x", 1);
        _exit(0);
    }
    printf("woken through it %d\n", epoll_wait(third, r, 4, 5000));
    wait_child(pid);
    int file = open("/", O_RDONLY);
    printf("directory %s, bad op %s, bad max %s, not epoll %s\n", err(epoll_ctl(ep, EPOLL_CTL_ADD, file, &e)), err(epoll_ctl(ep, 9, u[0], &e)), err(epoll_wait(ep, r, 0, 0)), err(epoll_wait(u[0], r, 1, 0)));
    e.events = EPOLLIN | EPOLLEXCLUSIVE;
    int l = listener(1);
    printf("exclusive %s", err(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e)));
    printf(", again %s, changed %s, on epoll %s\n", err(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e)), err(epoll_ctl(ep, EPOLL_CTL_MOD, l, &e)), err(epoll_ctl(third, EPOLL_CTL_ADD, ep, &e)));
    /* Closed descriptors leave; room comes back with an edge. */
    close(u[0]), close(u[1]);
    printf("closed %d\n", epoll_wait(ep, r, 4, 0));
    int et = epoll_create1(0);
    tcp_pair(fd);
    nonblock(fd[0]);
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof on);
    static char big[1 << 20];
    while (write(fd[0], big, sizeof big) > 0)
        ;
    e.events = EPOLLOUT | EPOLLET;
    epoll_ctl(et, EPOLL_CTL_ADD, fd[0], &e);
    printf("full %d", epoll_wait(et, r, 4, 0));
    nonblock(fd[1]);
    for (int i = 0; i < 100; i++) {
        while (read(fd[1], big, sizeof big) > 0)
            ;
        if (epoll_wait(et, r, 4, 10) == 1)
            break;
    }
    printf(", room %x, once %d\n", r[0].events, epoll_wait(et, r, 4, 0));
    /* select says the same. */
    fd_set rs, ws;
    FD_ZERO(&rs);
    FD_ZERO(&ws);
    FD_SET(fd[0], &rs);
    FD_SET(fd[0], &ws);
    struct timeval tv = {1, 0};
    n = select(fd[0] + 1, &rs, &ws, 0, &tv);
    printf("select %d: %d %d\n", n, FD_ISSET(fd[0], &rs), FD_ISSET(fd[0], &ws));
    return 0;
}

/* ---- much data ---- */

static int transfer_over(int fd[2], const char *what, size_t size) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[1]);
        static unsigned char buf[200000];
        uint32_t x = 12345, h = 2166136261u;
        size_t left = size;
        while (left) {
            size_t n = (x >> 8) % sizeof buf + 1;
            if (n > left)
                n = left;
            for (size_t i = 0; i < n; i++)
                buf[i] = (x = x * 1103515245 + 12345) >> 16;
            h = mix(h, buf, n);
            if (write(fd[0], buf, n) != (ssize_t)n)
                _exit(1);
            left -= n;
        }
        shutdown(fd[0], SHUT_WR);
        uint32_t other;
        _exit(recv(fd[0], &other, 4, MSG_WAITALL) == 4 && other == h ? 0 : 2);
    }
    close(fd[0]);
    static unsigned char buf[150000];
    uint32_t h = 2166136261u;
    size_t total = 0;
    ssize_t r;
    for (int i = 0; (r = read(fd[1], buf, i % 3 ? sizeof buf : 1000)) > 0; i++) {
        h = mix(h, buf, r);
        total += r;
    }
    printf("%s: %zu bytes\n", what, total);
    write(fd[1], &h, 4);
    wait_child(pid);
    close(fd[1]);
    return 0;
}
static int bulk(void) {
    int fd[2];
    tcp_pair(fd);
    transfer_over(fd, "tcp", 24 << 20);
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    transfer_over(fd, "unix", 24 << 20);
    tcp_pair(fd);
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &(int){5000}, 4);
    setsockopt(fd[1], SOL_SOCKET, SO_RCVBUF, &(int){5000}, 4);
    transfer_over(fd, "small buffers", 200000);
    /* Copies by the kernel: file to socket, socket to pipe, pipe to socket. */
    tcp_pair(fd);
    int f = open("file", O_CREAT | O_TRUNC | O_RDWR, 0600), p[2];
    char data[50000], back[50000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = i * 7 >> 3;
    write(f, data, sizeof data);
    pipe(p);
    off_t at = 100;
    printf("sendfile %s", err(sendfile(fd[0], f, &at, 40000)));
    printf(" offset %ld", (long)at);
    size_t got = 0;
    while (got < 40000) {
        ssize_t n = splice(fd[1], 0, p[1], 0, 40000 - got, 0);
        if (n <= 0)
            break;
        got += n;
        n = splice(p[0], 0, fd[1], 0, n, 0);
        if (n <= 0)
            break;
    }
    ssize_t n = recv(fd[0], back, 40000, MSG_WAITALL);
    printf(", spliced %zu, back %zd, same %d\n", got, n, !memcmp(back, data + 100, 40000));
    unlink("file");
    /* Without blocking: what is taken is told, and poll says when there is room. */
    nonblock(fd[0]);
    static char big[4 << 20];
    size_t sent = 0;
    while ((n = write(fd[0], big, sizeof big)) > 0)
        sent += n;
    printf("full: %s, poll %x\n", strerrorname_np(errno), events(fd[0]));
    size_t read_total = 0;
    nonblock(fd[1]);
    for (int i = 0; i < 100 && read_total < sent; i++) {
        while ((n = read(fd[1], big, sizeof big)) > 0)
            read_total += n;
        usleep(1000);
    }
    printf("all read %d, poll %x\n", read_total == sent, events(fd[0]));
    return 0;
}

static int vectors(void) {
    int fd[2];
    char a[4], b[4], c[20];
    tcp_pair(fd);
    struct iovec o[3] = {{"abc", 3}, {"", 0}, {"defghij", 7}}, i[3] = {{a, 4}, {b, 4}, {c, 20}};
    printf("writev %s", err(writev(fd[0], o, 3)));
    printf(" readv %s: %.4s %.4s %.2s\n", err(readv(fd[1], i, 3)), a, b, c);
    int u[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, u);
    writev(u[0], o, 3);
    printf("datagram readv %s: %.4s %.4s %.2s\n", err(readv(u[1], i, 3)), a, b, c);
    write(u[0], "x", 1), write(u[0], "", 0), write(u[0], "zz", 2);
    printf("%s %s %s\n", err(read(u[1], c, 20)), err(read(u[1], c, 20)), err(read(u[1], c, 20)));
    printf("bad pointers: %s %s", err(send(fd[0], (void *)8, 4, 0)), err(sendmsg(fd[0], (void *)8, 0)));
    write(fd[0], "keep", 4);
    printf(" %s", err(recv(fd[1], (void *)8, 4, 0)));
    printf(" kept %s\n", err(recv(fd[1], c, 4, MSG_DONTWAIT)));
    struct msghdr m = {.msg_iov = o, .msg_iovlen = 5000};
    printf("too many vectors: %s\n", err(sendmsg(fd[0], &m, 0)));
    m = (struct msghdr){.msg_iov = o, .msg_iovlen = 1, .msg_control = c, .msg_controllen = 20};
    memset(c, 0xff, sizeof c);
    printf("bad control: %s\n", err(sendmsg(u[0], &m, 0)));
    write(fd[0], "0123456789", 10);
    printf("trunc %s", err(recv(fd[1], 0, 4, MSG_TRUNC)));
    printf(" waitall %s %.6s\n", err(recv(fd[1], c, 6, MSG_WAITALL)), c);
    return 0;
}

static int options(void) {
    int t = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0), x = socket(AF_UNIX, SOCK_STREAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0), v;
    printf("type %d %d %d", so_int(t, SOL_SOCKET, SO_TYPE), so_int(u, SOL_SOCKET, SO_TYPE), so_int(x, SOL_SOCKET, SO_TYPE));
    printf(" domain %d %d protocol %d %d %d\n", so_int(t, SOL_SOCKET, SO_DOMAIN), so_int(x, SOL_SOCKET, SO_DOMAIN), so_int(t, SOL_SOCKET, SO_PROTOCOL), so_int(u, SOL_SOCKET, SO_PROTOCOL), so_int(x, SOL_SOCKET, SO_PROTOCOL));
    static const struct {
        int level, name, value;
    } list[] = {
        {SOL_SOCKET, SO_REUSEADDR, 5}, {SOL_SOCKET, SO_REUSEPORT, 1}, {SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_BROADCAST, 1}, {SOL_SOCKET, SO_OOBINLINE, 1}, {SOL_SOCKET, SO_RCVLOWAT, 3}, {SOL_SOCKET, SO_SNDBUF, 10000}, {SOL_SOCKET, SO_RCVBUF, 10000}, {SOL_SOCKET, SO_SNDBUF, 1}, {SOL_SOCKET, SO_RCVBUF, 1}, {SOL_SOCKET, SO_PRIORITY, 3}, {SOL_SOCKET, SO_TYPE, 1}, {SOL_SOCKET, SO_PASSCRED, 1}, {SOL_SOCKET, 9999, 1}, {SOL_SOCKET, SO_TIMESTAMP, 1},
        {IPPROTO_TCP, TCP_NODELAY, 1}, {IPPROTO_TCP, TCP_CORK, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 30}, {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 4}, {IPPROTO_TCP, TCP_KEEPCNT, 400}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 1000}, {IPPROTO_TCP, TCP_SYNCNT, 3}, {IPPROTO_TCP, 9999, 1},
        {IPPROTO_IP, IP_TOS, 0x10}, {IPPROTO_IP, IP_TTL, 7}, {IPPROTO_IP, IP_TTL, 300}, {IPPROTO_IP, IP_PKTINFO, 1}, {IPPROTO_IP, IP_MULTICAST_TTL, 3}, {IPPROTO_IP, IP_MULTICAST_LOOP, 0}, {IPPROTO_IPV6, IPV6_V6ONLY, 1}, {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9}, {IPPROTO_IPV6, IPV6_RECVPKTINFO, 1}, {IPPROTO_IPV6, IPV6_TCLASS, 3}, {99, 1, 1},
    };
    for (unsigned i = 0; i < LEN(list); i++) {
        printf("%d/%d:", list[i].level, list[i].name);
        int all[4] = {t, u, x, six};
        for (int k = 0; k < 4; k++) {
            v = list[i].value;
            printf(" %s", err(setsockopt(all[k], list[i].level, list[i].name, &v, sizeof v)));
            int got = so_int(all[k], list[i].level, list[i].name);
            printf(" %d,", got);
        }
        printf("\n");
    }
    struct linger lg = {1, 9}, back = {0};
    socklen_t n = sizeof back;
    setsockopt(t, SOL_SOCKET, SO_LINGER, &lg, sizeof lg);
    getsockopt(t, SOL_SOCKET, SO_LINGER, &back, &n);
    printf("linger %d %d (%d)\n", back.l_onoff, back.l_linger, n);
    v = 1;
    n = 2;
    short half = 0;
    printf("short: set %s get %s", err(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, &v, 2)), err(getsockopt(t, SOL_SOCKET, SO_KEEPALIVE, &half, &n)));
    printf(" %d (%d), null %s, negative %s\n", half, n, err(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, 0, 4)), err(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, &v, -1)));
    struct ucred cr;
    n = sizeof cr;
    getsockopt(t, SOL_SOCKET, SO_PEERCRED, &cr, &n);
    printf("peercred of tcp: %d %d %d\n", cr.pid, (int)cr.uid, (int)cr.gid);
    struct tcp_info info;
    int fd[2];
    tcp_pair(fd);
    n = sizeof info;
    getsockopt(fd[0], IPPROTO_TCP, TCP_INFO, &info, &n);
    printf("state %d", info.tcpi_state);
    shutdown(fd[0], SHUT_WR);
    n = sizeof info;
    getsockopt(fd[1], IPPROTO_TCP, TCP_INFO, &info, &n);
    printf(" %d\n", info.tcpi_state);
    return 0;
}

/* What C libraries ask about interfaces. */
static int interfaces(void) {
    int lo = 0;
    struct if_nameindex *list = if_nameindex();
    for (struct if_nameindex *i = list; i && i->if_index; i++)
        if (!strcmp(i->if_name, "lo"))
            lo = i->if_index;
    printf("lo is %d, by name %d, name %s, none %d\n", lo, if_nametoindex("lo"), if_indextoname(1, (char[IF_NAMESIZE]){0}), if_nametoindex("nope"));
    struct ifaddrs *addrs;
    int four = 0, six = 0;
    printf("getifaddrs %d", getifaddrs(&addrs));
    for (struct ifaddrs *a = addrs; a; a = a->ifa_next)
        if (!strcmp(a->ifa_name, "lo") && a->ifa_addr) {
            four += a->ifa_addr->sa_family == AF_INET && ((struct sockaddr_in *)a->ifa_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
            six += a->ifa_addr->sa_family == AF_INET6;
        }
    printf(": IPv4 %d\n", four);
    (void)six;
    struct ifreq r = {.ifr_name = "lo"};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    printf("address %s", err(ioctl(s, SIOCGIFADDR, &r)));
    printf(" %s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
    ioctl(s, SIOCGIFFLAGS, &r);
    printf(" flags %x", r.ifr_flags & 0xffff);
    printf(" mtu %s", err(ioctl(s, SIOCGIFMTU, &r)));
    printf(" %d\n", r.ifr_mtu);
    struct addrinfo h = {.ai_flags = AI_ADDRCONFIG | AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *res;
    int e = getaddrinfo("127.0.0.1", "80", &h, &res);
    printf("getaddrinfo %d %d\n", e, e ? 0 : res->ai_family);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(void);
} all[] = {
    {"serve", serve}, {"unix-stream", unix_stream}, {"abstract", abstract}, {"unix-datagram", unix_datagram}, {"rights", rights}, {"credentials", credentials}, {"tcp-states", tcp_states}, {"unix-states", unix_states}, {"connecting", connecting}, {"addresses", addresses}, {"udp", udp}, {"timeouts", timeouts}, {"echo-poll", echo_poll}, {"echo-epoll", echo_epoll}, {"echo-edge", echo_edge}, {"epolls", epolls}, {"bulk", bulk}, {"vectors", vectors}, {"options", options}, {"interfaces", interfaces},
};

int main(int argc, char **argv) {
    for (unsigned i = 0; i < LEN(all); i++)
        if (argc == 2 && !strcmp(argv[1], all[i].name))
            return all[i].run();
    fprintf(stderr, "sockets NAME\n");
    return 2;
}
