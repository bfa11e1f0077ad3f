// Sockets, pipes, terminals and the wait of the event loop. Addresses travel as strings and ports; failures are negative errnos.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include "node.h"

static JSValue status(JSContext *ctx, long result)
{
    return JS_NewInt64(ctx, result < 0 ? -errno : result);
}

// ---- Waiting: poll(2) over a table that the loop keeps.

static struct pollfd *watched;
static uint32_t watched_count, watched_room;

// watch(fd, events): events 1 readable, 4 writable (POLLIN, POLLOUT); 0 ends it.
NATIVE_FN(watch)
{
    int fd = int_arg(ctx, argv[0]), events = int_arg(ctx, argv[1]);
    uint32_t i = 0;
    while (i < watched_count && watched[i].fd != fd)
        i++;
    if (events == 0) {
        if (i < watched_count)
            watched[i] = watched[--watched_count];
        return JS_UNDEFINED;
    }
    if (i == watched_count) {
        if (watched_count == watched_room) {
            watched_room = watched_room ? watched_room * 2 : 16;
            watched = realloc(watched, watched_room * sizeof(*watched));
            if (!watched)
                return JS_ThrowOutOfMemory(ctx);
        }
        watched_count++;
    }
    watched[i] = (struct pollfd){.fd = fd, .events = events};
    return JS_UNDEFINED;
}

// wait(milliseconds, ready): waits (-1 without end) and fills the Int32Array `ready` with pairs (fd, events). Returns the pairs.
NATIVE_FN(wait)
{
    uint8_t *bytes;
    size_t length;
    if (!bytes_of(ctx, argv[1], &bytes, &length))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    int n = poll(watched, watched_count, int_arg(ctx, argv[0]));
    if (n < 0)
        return JS_NewInt32(ctx, errno == EINTR ? 0 : -errno);
    size_t pairs = 0, room = length / 8;
    for (uint32_t i = 0; i < watched_count && pairs < room; i++)
        if (watched[i].revents) {
            int32_t pair[2] = {watched[i].fd, watched[i].revents};
            memcpy(bytes + 8 * pairs++, pair, 8);
        }
    return JS_NewInt64(ctx, pairs);
}

// waitFor([fd, events, ...], milliseconds): [[fd, events], ...] of those that are ready; for waits outside of the loop.
NATIVE_FN(waitFor)
{
    struct pollfd set[64];
    int64_t length = 0;
    JS_GetLength(ctx, argv[0], &length);
    int count = length / 2 > 64 ? 64 : length / 2;
    for (int i = 0; i < count; i++) {
        JSValue fd = JS_GetPropertyInt64(ctx, argv[0], 2 * i), events = JS_GetPropertyInt64(ctx, argv[0], 2 * i + 1);
        set[i] = (struct pollfd){.fd = int_arg(ctx, fd), .events = int_arg(ctx, events)};
    }
    int ready = poll(set, count, int_arg(ctx, argv[1]));
    JSValue list = JS_NewArray(ctx);
    uint32_t n = 0;
    for (int i = 0; i < count && ready > 0; i++)
        if (set[i].revents) {
            JSValue pair[2] = {JS_NewInt32(ctx, set[i].fd), JS_NewInt32(ctx, set[i].revents)};
            JS_DefinePropertyValueUint32(ctx, list, n++, JS_NewArrayFrom(ctx, 2, pair), JS_PROP_C_W_E);
        }
    return list;
}

// ---- Addresses

typedef union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; struct sockaddr_un local; } Address;

// From (family, host, port): family 4, 6 or 0 for a local path. A path that begins with NUL is abstract. 0 or negative errno.
static int address_of(JSContext *ctx, JSValueConst *argv, Address *a, socklen_t *length)
{
    int family = int_arg(ctx, argv[0]), result = 0;
    size_t n;
    const char *host = JS_ToCStringLen(ctx, &n, argv[1]);
    if (!host)
        return -EINVAL;
    memset(a, 0, sizeof *a);
    if (family == 4) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(int_arg(ctx, argv[2]));
        *length = sizeof a->v4;
        if (inet_pton(AF_INET, host, &a->v4.sin_addr) != 1)
            result = -EINVAL;
    } else if (family == 6) {
        char plain[INET6_ADDRSTRLEN + 1] = "";
        const char *zone = strchr(host, '%');
        size_t m = zone ? (size_t)(zone - host) : n;
        if (m < sizeof plain)
            memcpy(plain, host, m);
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons(int_arg(ctx, argv[2]));
        a->v6.sin6_scope_id = zone ? if_nametoindex(zone + 1) : 0;
        *length = sizeof a->v6;
        if (inet_pton(AF_INET6, plain, &a->v6.sin6_addr) != 1)
            result = -EINVAL;
    } else if (n >= sizeof a->local.sun_path) {
        result = -ENAMETOOLONG;
    } else {
        a->local.sun_family = AF_UNIX;
        memcpy(a->local.sun_path, host, n);
        *length = offsetof(struct sockaddr_un, sun_path) + n + (n > 0 && host[0] != '\0');
    }
    JS_FreeCString(ctx, host);
    return result;
}

// [host, port, "IPv4" or "IPv6"], or [path] for a local one.
static JSValue address_value(JSContext *ctx, const Address *a, socklen_t length)
{
    char text[INET6_ADDRSTRLEN];
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, text, sizeof text);
        JSValue items[3] = {JS_NewString(ctx, text), JS_NewInt32(ctx, ntohs(a->v4.sin_port)), JS_NewString(ctx, "IPv4")};
        return JS_NewArrayFrom(ctx, 3, items);
    }
    if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, text, sizeof text);
        JSValue items[3] = {JS_NewString(ctx, text), JS_NewInt32(ctx, ntohs(a->v6.sin6_port)), JS_NewString(ctx, "IPv6")};
        return JS_NewArrayFrom(ctx, 3, items);
    }
    size_t n = length > offsetof(struct sockaddr_un, sun_path) ? length - offsetof(struct sockaddr_un, sun_path) : 0;
    if (n > 0 && a->local.sun_path[0] != '\0')
        n = strnlen(a->local.sun_path, n);
    JSValue item = JS_NewStringLen(ctx, a->local.sun_path, n);
    return JS_NewArrayFrom(ctx, 1, &item);
}

// socket(family 4, 6 or 0, datagram): a descriptor that does not block.
NATIVE_FN(socket)
{
    int family = int_arg(ctx, argv[0]);
    int type = (JS_ToBool(ctx, argv[1]) ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    return status(ctx, socket(family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNIX, type, 0));
}

// bind(fd, family, host, port, v6only)
NATIVE_FN(bind)
{
    Address a;
    socklen_t length;
    int fd = int_arg(ctx, argv[0]), on = 1, error = address_of(ctx, argv + 1, &a, &length);
    if (error)
        return JS_NewInt32(ctx, error);
    if (a.any.sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a.any.sa_family == AF_INET6) {
        int only = JS_ToBool(ctx, argv[4]);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    }
    return status(ctx, bind(fd, &a.any, length));
}

NATIVE_FN(connect)
{
    Address a;
    socklen_t length;
    int error = address_of(ctx, argv + 1, &a, &length);
    return error ? JS_NewInt32(ctx, error) : status(ctx, connect(int_arg(ctx, argv[0]), &a.any, length));
}

NATIVE_FN(listen) { return status(ctx, listen(int_arg(ctx, argv[0]), int_arg(ctx, argv[1]))); }
NATIVE_FN(accept) { return status(ctx, accept4(int_arg(ctx, argv[0]), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)); }
NATIVE_FN(shutdown) { return status(ctx, shutdown(int_arg(ctx, argv[0]), SHUT_WR)); }

// socketName(fd, peer): see address_value.
NATIVE_FN(socketName)
{
    Address a;
    socklen_t length = sizeof a;
    int fd = int_arg(ctx, argv[0]);
    int result = JS_ToBool(ctx, argv[1]) ? getpeername(fd, &a.any, &length) : getsockname(fd, &a.any, &length);
    return result < 0 ? JS_NewInt32(ctx, -errno) : address_value(ctx, &a, length);
}

// socketError(fd): the pending error, negative, or 0.
NATIVE_FN(socketError)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(int_arg(ctx, argv[0]), SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    return JS_NewInt32(ctx, -error);
}

// socketOption(fd, name, value): names as below.
NATIVE_FN(socketOption)
{
    static const struct { const char *name; int level, option; } OPTIONS[] = {
        {"nodelay", IPPROTO_TCP, TCP_NODELAY}, {"keepalive", SOL_SOCKET, SO_KEEPALIVE}, {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE},
        {"broadcast", SOL_SOCKET, SO_BROADCAST}, {"sndbuf", SOL_SOCKET, SO_SNDBUF}, {"rcvbuf", SOL_SOCKET, SO_RCVBUF},
        {"ttl", IPPROTO_IP, IP_TTL}, {"reuseaddr", SOL_SOCKET, SO_REUSEADDR},
    };
    const char *name = JS_ToCString(ctx, argv[1]);
    int value = int_arg(ctx, argv[2]), result = -EINVAL;
    for (size_t i = 0; name && i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        if (strcmp(OPTIONS[i].name, name) == 0)
            result = setsockopt(int_arg(ctx, argv[0]), OPTIONS[i].level, OPTIONS[i].option, &value, sizeof value) < 0 ? -errno : 0;
    JS_FreeCString(ctx, name);
    return JS_NewInt32(ctx, result);
}

// sendTo(fd, buffer, family, host, port): one datagram; family undefined for a connected socket.
NATIVE_FN(sendTo)
{
    Address a;
    socklen_t length = 0;
    uint8_t *p;
    size_t n;
    if (!bytes_of(ctx, argv[1], &p, &n))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    if (!JS_IsUndefined(argv[2])) {
        int error = address_of(ctx, argv + 2, &a, &length);
        if (error)
            return JS_NewInt32(ctx, error);
    }
    return status(ctx, sendto(int_arg(ctx, argv[0]), p, n, MSG_NOSIGNAL, length ? &a.any : NULL, length));
}

// receiveFrom(fd, buffer): [bytes, host, port, family], or a negative errno.
NATIVE_FN(receiveFrom)
{
    Address a;
    socklen_t length = sizeof a;
    uint8_t *p;
    size_t size;
    if (!bytes_of(ctx, argv[1], &p, &size))
        return JS_ThrowTypeError(ctx, "argument must be a buffer");
    ssize_t n = recvfrom(int_arg(ctx, argv[0]), p, size, 0, &a.any, &length);
    if (n < 0)
        return JS_NewInt32(ctx, -errno);
    JSValue items[2] = {JS_NewInt64(ctx, n), address_value(ctx, &a, length)};
    return JS_NewArrayFrom(ctx, 2, items);
}

// ipKind(text): 4, 6 or 0.
NATIVE_FN(ipKind)
{
    uint8_t binary[16];
    const char *text = JS_ToCString(ctx, argv[0]);
    int kind = !text ? 0 : inet_pton(AF_INET, text, binary) == 1 ? 4 : inet_pton(AF_INET6, text, binary) == 1 ? 6 : 0;
    JS_FreeCString(ctx, text);
    return JS_NewInt32(ctx, kind);
}

// canonicalIp(text): undefined when it is none.
NATIVE_FN(canonicalIp)
{
    uint8_t binary[16];
    char out[INET6_ADDRSTRLEN];
    const char *text = JS_ToCString(ctx, argv[0]);
    int family = !text ? 0 : inet_pton(AF_INET, text, binary) == 1 ? AF_INET : inet_pton(AF_INET6, text, binary) == 1 ? AF_INET6 : 0;
    JS_FreeCString(ctx, text);
    return family ? JS_NewString(ctx, inet_ntop(family, binary, out, sizeof out)) : JS_UNDEFINED;
}

// ---- Pipes and terminals

// pipe(flags): [read, write], both close-on-exec; socketpair when `duplex`.
NATIVE_FN(pipe)
{
    int fds[2];
    int result = JS_ToBool(ctx, argv[0]) ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe2(fds, O_CLOEXEC);
    if (result < 0)
        return JS_NewInt32(ctx, -errno);
    JSValue items[2] = {JS_NewInt32(ctx, fds[0]), JS_NewInt32(ctx, fds[1])};
    return JS_NewArrayFrom(ctx, 2, items);
}

NATIVE_FN(setNonblocking)
{
    int fd = int_arg(ctx, argv[0]), flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return JS_NewInt32(ctx, -errno);
    flags = JS_ToBool(ctx, argv[1]) ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return status(ctx, fcntl(fd, F_SETFL, flags));
}

// handleKind(fd): what uv_guess_handle says, in Node's words.
NATIVE_FN(handleKind)
{
    struct stat st;
    int fd = int_arg(ctx, argv[0]), type;
    socklen_t length = sizeof type;
    if (fstat(fd, &st) < 0)
        return JS_NewString(ctx, "INVALID");
    if (isatty(fd))
        return JS_NewString(ctx, "TTY");
    if (S_ISREG(st.st_mode) || S_ISCHR(st.st_mode))
        return JS_NewString(ctx, "FILE");
    if (S_ISFIFO(st.st_mode))
        return JS_NewString(ctx, "PIPE");
    if (S_ISSOCK(st.st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0) {
        Address a;
        length = sizeof a;
        if (getsockname(fd, &a.any, &length) == 0) {
            bool local = a.any.sa_family == AF_UNIX;
            if (type == SOCK_STREAM)
                return JS_NewString(ctx, local ? "PIPE" : "TCP");
            if (type == SOCK_DGRAM && !local)
                return JS_NewString(ctx, "UDP");
        }
    }
    return JS_NewString(ctx, "UNKNOWN");
}

NATIVE_FN(isatty) { return JS_NewBool(ctx, isatty(int_arg(ctx, argv[0]))); }

// windowSize(fd): [columns, rows], or a negative errno.
NATIVE_FN(windowSize)
{
    struct winsize size;
    if (ioctl(int_arg(ctx, argv[0]), TIOCGWINSZ, &size) < 0)
        return JS_NewInt32(ctx, -errno);
    JSValue items[2] = {JS_NewInt32(ctx, size.ws_col), JS_NewInt32(ctx, size.ws_row)};
    return JS_NewArrayFrom(ctx, 2, items);
}

// setRaw(fd, raw): a terminal's mode, as uv_tty_set_mode sets it; the mode found first is put back at the end.
static struct termios cooked;
static int cooked_fd = -1;
void terminal_restore(void)
{
    if (cooked_fd >= 0)
        tcsetattr(cooked_fd, TCSANOW, &cooked);
    cooked_fd = -1;
}
NATIVE_FN(setRaw)
{
    int fd = int_arg(ctx, argv[0]);
    struct termios mode;
    if (!JS_ToBool(ctx, argv[1])) {
        terminal_restore();
        return JS_NewInt32(ctx, 0);
    }
    if (cooked_fd < 0) {
        if (tcgetattr(fd, &cooked) < 0)
            return JS_NewInt32(ctx, -errno);
        cooked_fd = fd;
    }
    mode = cooked;
    mode.c_iflag &= ~(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    mode.c_oflag |= ONLCR;
    mode.c_cflag |= CS8;
    mode.c_lflag &= ~(ECHO | ICANON | IEXTEN | ISIG);
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    return status(ctx, tcsetattr(fd, TCSADRAIN, &mode));
}

// bytesReadable(fd)
NATIVE_FN(bytesReadable)
{
    int n = 0;
    return ioctl(int_arg(ctx, argv[0]), FIONREAD, &n) < 0 ? JS_NewInt32(ctx, -errno) : JS_NewInt32(ctx, n);
}

void init_sockets(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {
        NATIVE(watch, 2), NATIVE(wait, 2), NATIVE(waitFor, 2), NATIVE(socket, 2), NATIVE(bind, 5), NATIVE(connect, 4), NATIVE(listen, 2),
        NATIVE(accept, 1), NATIVE(shutdown, 1), NATIVE(socketName, 2), NATIVE(socketError, 1), NATIVE(socketOption, 3),
        NATIVE(sendTo, 5), NATIVE(receiveFrom, 2), NATIVE(ipKind, 1), NATIVE(canonicalIp, 1), NATIVE(pipe, 1),
        NATIVE(setNonblocking, 2), NATIVE(handleKind, 1), NATIVE(isatty, 1), NATIVE(windowSize, 1), NATIVE(setRaw, 2),
        NATIVE(bytesReadable, 1),
    };
    ADD_NATIVES(ctx, native, table);
}
