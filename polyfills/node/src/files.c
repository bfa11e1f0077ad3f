// Files: thin wraps of system calls. Results are numbers or values; failures are negative errnos.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "megalith_call.h"
#include "node.h"

bool path_of(JSContext *ctx, JSValueConst value, Path *path)
{
    uint8_t *bytes;
    size_t length;
    if (bytes_of(ctx, value, &bytes, &length)) {
        path->text = js_strndup(ctx, (const char *)bytes, length);
        path->is_cstring = false;
    } else {
        path->text = (char *)JS_ToCString(ctx, value);
        path->is_cstring = true;
    }
    return path->text != NULL;
}

void path_free(JSContext *ctx, Path *path)
{
    if (path->is_cstring)
        JS_FreeCString(ctx, path->text);
    else
        js_free(ctx, path->text);
}

static JSValue status(JSContext *ctx, long result)
{
    return JS_NewInt64(ctx, result < 0 ? -errno : result);
}

// A function of one path and up to three integers.
#define PATH_CALL(name, call) \
    NATIVE_FN(name) \
    { \
        Path p; \
        if (!path_of(ctx, argv[0], &p)) \
            return JS_EXCEPTION; \
        int64_t a = argc > 1 ? int64_arg(ctx, argv[1]) : 0, b = argc > 2 ? int64_arg(ctx, argv[2]) : 0; \
        (void)a, (void)b; \
        JSValue r = status(ctx, call); \
        path_free(ctx, &p); \
        return r; \
    }
PATH_CALL(open, open(p.text, a | O_CLOEXEC, b))
PATH_CALL(access, access(p.text, a))
PATH_CALL(mkdir, mkdir(p.text, a))
PATH_CALL(rmdir, rmdir(p.text))
PATH_CALL(unlink, unlink(p.text))
PATH_CALL(chmod, chmod(p.text, a))
PATH_CALL(chown, chown(p.text, a, b))
PATH_CALL(lchown, lchown(p.text, a, b))
PATH_CALL(truncate, truncate(p.text, a))
PATH_CALL(chdir, chdir(p.text))

// A function of two paths.
#define PATHS_CALL(name, call) \
    NATIVE_FN(name) \
    { \
        Path p, q; \
        if (!path_of(ctx, argv[0], &p)) \
            return JS_EXCEPTION; \
        if (!path_of(ctx, argv[1], &q)) { \
            path_free(ctx, &p); \
            return JS_EXCEPTION; \
        } \
        JSValue r = status(ctx, call); \
        path_free(ctx, &p); \
        path_free(ctx, &q); \
        return r; \
    }
PATHS_CALL(rename, rename(p.text, q.text))
PATHS_CALL(link, link(p.text, q.text))
PATHS_CALL(symlink, symlink(p.text, q.text))

// A function of a descriptor and up to two integers.
#define FD_CALL(name, call) \
    NATIVE_FN(name) \
    { \
        int fd = int_arg(ctx, argv[0]); \
        int64_t a = argc > 1 ? int64_arg(ctx, argv[1]) : 0, b = argc > 2 ? int64_arg(ctx, argv[2]) : 0; \
        (void)a, (void)b; \
        return status(ctx, call); \
    }
FD_CALL(close, close(fd))
FD_CALL(fsync, fsync(fd))
FD_CALL(fdatasync, fdatasync(fd))
FD_CALL(ftruncate, ftruncate(fd, a))
FD_CALL(fchmod, fchmod(fd, a))
FD_CALL(fchown, fchown(fd, a, b))
FD_CALL(dup, fcntl(fd, F_DUPFD_CLOEXEC, a))
FD_CALL(getStatusFlags, fcntl(fd, F_GETFL))
FD_CALL(setStatusFlags, fcntl(fd, F_SETFL, a))

// openCode(path): for loading as code; refused by policy with EACCES.
NATIVE_FN(openCode)
{
    Path p;
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    int fd = open_code(p.text);
    path_free(ctx, &p);
    return JS_NewInt32(ctx, fd);
}

// A stream read whole into `*bytes` (to be freed). Returns the length or a negative errno.
static ssize_t read_all(JSContext *ctx, int fd, uint8_t **bytes)
{
    struct stat st;
    size_t room = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < INT_MAX ? st.st_size + 1 : 65536, length = 0;
    *bytes = js_malloc(ctx, room);
    while (*bytes) {
        ssize_t n = read(fd, *bytes + length, room - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            js_free(ctx, *bytes);
            return -errno;
        }
        if (n == 0)
            return length;
        length += n;
        if (length == room) {
            room *= 2;
            uint8_t *bigger = js_realloc(ctx, *bytes, room);
            if (!bigger)
                js_free(ctx, *bytes);
            *bytes = bigger;
        }
    }
    return -ENOMEM;
}

// readText(fd): all that is left, as UTF-8.
NATIVE_FN(readText)
{
    uint8_t *bytes;
    ssize_t n = read_all(ctx, int_arg(ctx, argv[0]), &bytes);
    if (n < 0)
        return JS_NewInt64(ctx, n);
    JSValue text = new_string_utf8(ctx, bytes, n);
    js_free(ctx, bytes);
    return text;
}

// The part of a buffer that arguments (buffer, offset, length) name, clamped.
static bool part_of(JSContext *ctx, JSValueConst *argv, uint8_t **p, size_t *n)
{
    if (!bytes_of(ctx, argv[0], p, n)) {
        JS_ThrowTypeError(ctx, "argument must be a buffer");
        return false;
    }
    size_t offset = int64_arg(ctx, argv[1]), length = JS_IsUndefined(argv[2]) ? *n : (size_t)int64_arg(ctx, argv[2]);
    if (offset > *n)
        offset = *n;
    *p += offset;
    *n -= offset;
    if (length < *n)
        *n = length;
    return true;
}

static JSValue transfer(JSContext *ctx, JSValueConst *argv, bool out)
{
    uint8_t *p;
    size_t n;
    if (!part_of(ctx, argv + 1, &p, &n))
        return JS_EXCEPTION;
    int fd = int_arg(ctx, argv[0]);
    int64_t position = JS_IsNumber(argv[4]) || JS_IsBigInt(argv[4]) ? int64_arg(ctx, argv[4]) : -1;
    if (position < 0)
        return status(ctx, out ? write(fd, p, n) : read(fd, p, n));
    return status(ctx, out ? pwrite(fd, p, n, position) : pread(fd, p, n, position));
}

// read(fd, buffer, offset, length, position): position -1 or null is the file's own.
NATIVE_FN(read)
{
    return transfer(ctx, argv, false);
}

// write(fd, buffer, offset, length, position)
NATIVE_FN(write)
{
    return transfer(ctx, argv, true);
}

// All of it, waiting where the descriptor does not block. Returns 0 or a negative errno.
static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            poll(&ready, 1, -1);
        } else if (done < 0 && errno != EINTR) {
            return -errno;
        } else if (done > 0) {
            p += done;
            n -= done;
        }
    }
    return 0;
}

// writeAll(fd, buffer, offset, length)
NATIVE_FN(writeAll)
{
    uint8_t *p;
    size_t n;
    if (!part_of(ctx, argv + 1, &p, &n))
        return JS_EXCEPTION;
    return JS_NewInt32(ctx, write_all(int_arg(ctx, argv[0]), p, n));
}

// writeText(fd, string): UTF-8, all of it.
NATIVE_FN(writeText)
{
    StringView view;
    if (!string_view(ctx, argv[1], &view))
        return JS_EXCEPTION;
    int result = 0, fd = int_arg(ctx, argv[0]);
    size_t room = (size_t)view.length * 3, read;
    uint8_t *bytes = js_malloc(ctx, room + 1);
    if (bytes) {
        result = write_all(fd, bytes, string_utf8(&view, bytes, room, &read));
        js_free(ctx, bytes);
    }
    string_release(ctx, &view);
    return bytes ? JS_NewInt32(ctx, result) : JS_EXCEPTION;
}

// stat(path or fd, kind, fields): kind 0 stat, 1 lstat, 2 fstat. `fields` is a Float64Array or BigInt64Array of at least 18,
// in the order of Node's FsStatsOffset; times are seconds and nanoseconds.
NATIVE_FN(stat)
{
    struct stat st;
    int kind = int_arg(ctx, argv[1]), result;
    if (kind == 2) {
        result = fstat(int_arg(ctx, argv[0]), &st);
    } else {
        Path p;
        if (!path_of(ctx, argv[0], &p))
            return JS_EXCEPTION;
        result = kind == 1 ? lstat(p.text, &st) : stat(p.text, &st);
        if (result < 0)
            result = -errno;
        path_free(ctx, &p);
    }
    if (result < 0)
        return JS_NewInt32(ctx, kind == 2 ? -errno : result);
    uint8_t *fields;
    size_t length;
    if (!bytes_of(ctx, argv[2], &fields, &length) || length < 18 * 8)
        return JS_NewInt32(ctx, st.st_mode);
    // There is no birth time in struct stat: the change time stands in, as libuv does where statx is missing.
    int64_t values[18] = {
        st.st_dev, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_blksize, st.st_ino, st.st_size, st.st_blocks,
        st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec, st.st_ctim.tv_nsec,
        st.st_ctim.tv_sec, st.st_ctim.tv_nsec,
    };
#ifdef STATX_BTIME
    struct statx sx;
    if (kind != 2) {
        Path p;
        if (path_of(ctx, argv[0], &p)) {
            if (statx(AT_FDCWD, p.text, kind == 1 ? AT_SYMLINK_NOFOLLOW : 0, STATX_BTIME, &sx) == 0 && sx.stx_mask & STATX_BTIME)
                values[16] = sx.stx_btime.tv_sec, values[17] = sx.stx_btime.tv_nsec;
            path_free(ctx, &p);
        }
    } else if (statx(int_arg(ctx, argv[0]), "", AT_EMPTY_PATH, STATX_BTIME, &sx) == 0 && sx.stx_mask & STATX_BTIME) {
        values[16] = sx.stx_btime.tv_sec, values[17] = sx.stx_btime.tv_nsec;
    }
#endif
    if (JS_GetTypedArrayType(argv[2]) == JS_TYPED_ARRAY_FLOAT64) {
        double floats[18];
        for (int i = 0; i < 18; i++)
            floats[i] = values[i];
        memcpy(fields, floats, sizeof floats);
    } else {
        memcpy(fields, values, sizeof values);
    }
    return JS_NewInt32(ctx, 0);
}

// statfs(path, fields): type, bsize, blocks, bfree, bavail, files, ffree.
NATIVE_FN(statfs)
{
    struct statfs st;
    Path p;
    uint8_t *fields;
    size_t length;
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    int result = statfs(p.text, &st) < 0 ? -errno : 0;
    path_free(ctx, &p);
    if (result < 0 || !bytes_of(ctx, argv[1], &fields, &length) || length < 56)
        return JS_NewInt32(ctx, result);
    int64_t values[7] = {st.f_type, st.f_bsize, st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree};
    double floats[7];
    for (int i = 0; i < 7; i++)
        floats[i] = values[i];
    if (JS_GetTypedArrayType(argv[1]) == JS_TYPED_ARRAY_FLOAT64)
        memcpy(fields, floats, sizeof floats);
    else
        memcpy(fields, values, sizeof values);
    return JS_NewInt32(ctx, 0);
}

// fileKind(path): 0 file (or anything that is no directory), 1 directory, negative errno. What module resolution asks.
NATIVE_FN(fileKind)
{
    struct stat st;
    Path p;
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    int result = stat(p.text, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 1 : 0;
    path_free(ctx, &p);
    return JS_NewInt32(ctx, result);
}

// What a path names, and whether that is still so: nothing that a program can set has to be believed, as every change of a file
// or of its place makes a new inode or a new ctime. Of a directory it only says which one it is, unless the path ends in a
// slash: then what is in it counts, too.
typedef struct { int64_t dev, ino, mode, size, mtime[2], ctime[2]; } Mark;

static Mark mark_of(const char *path)
{
    Mark m = {0};
    struct stat st;
    bool found = stat(path, &st) == 0;
    if (found && S_ISDIR(st.st_mode) && path[strlen(path) - 1] != '/')
        m = (Mark){st.st_dev, st.st_ino, st.st_mode};
    else if (found)
        m = (Mark){st.st_dev, st.st_ino, st.st_mode, st.st_size, {st.st_mtim.tv_sec, st.st_mtim.tv_nsec},
                   {st.st_ctim.tv_sec, st.st_ctim.tv_nsec}};
    return m;
}

// A mark whose `mode` this is stands for the whole tree below a directory of the image, and for the `size` bytes of marks behind it.
#define WHOLE_TREE (-1)

// The inode number of a directory below which nothing was changed; 0 or less when that is not known.
static int64_t unchanged_tree(const char *path)
{
    return syscall(MEGALITH_SYSCALL, MEGALITH_UNCHANGED, path);
}

// One entry of a row of marks.
static JSValue mark_value(JSContext *ctx, const Mark *mark, const char *path)
{
    size_t length = strlen(path) + 1, whole = (sizeof *mark + length + 7) & ~(size_t)7;
    uint8_t *bytes = js_mallocz(ctx, whole);
    if (!bytes)
        return JS_EXCEPTION;
    memcpy(bytes, mark, sizeof *mark);
    memcpy(bytes + sizeof *mark, path, length);
    JSValue result = JS_NewArrayBufferCopy(ctx, bytes, whole);
    js_free(ctx, bytes);
    return result;
}

// fileMark(path): an ArrayBuffer for unchanged().
NATIVE_FN(fileMark)
{
    Path p;
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    Mark mark = mark_of(p.text);
    JSValue result = mark_value(ctx, &mark, p.text);
    path_free(ctx, &p);
    return result;
}

// treeMark(path, size): a mark for everything below a directory of the image, which stands in front of `size` bytes of marks of
// what is there: as long as nothing below it was changed, they need not be looked at. undefined where nobody knows that.
NATIVE_FN(treeMark)
{
    Path p;
    int64_t size;
    if (JS_ToInt64(ctx, &size, argv[1]) < 0 || !path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    Mark mark = {.mode = WHOLE_TREE, .ino = unchanged_tree(p.text), .size = size};
    JSValue result = mark.ino > 0 ? mark_value(ctx, &mark, p.text) : JS_UNDEFINED;
    path_free(ctx, &p);
    return result;
}

// unchanged(marks): whether all paths in a row of marks name what they named.
NATIVE_FN(unchanged)
{
    uint8_t *bytes;
    size_t length;
    if (!bytes_of(ctx, argv[0], &bytes, &length))
        return JS_ThrowTypeError(ctx, "not a buffer");
    for (size_t at = 0; at + sizeof(Mark) < length;) {
        const char *path = (const char *)bytes + at + sizeof(Mark);
        size_t room = length - at - sizeof(Mark), n = strnlen(path, room);
        if (n == room)
            return JS_FALSE;
        Mark then;
        memcpy(&then, bytes + at, sizeof then);
        at += (sizeof then + n + 1 + 7) & ~(size_t)7;
        if (then.mode == WHOLE_TREE) {
            if (at > length || then.size < 0 || (uint64_t)then.size > length - at)
                return JS_FALSE;
            at += unchanged_tree(path) == then.ino ? then.size : 0;
            continue;
        }
        Mark now = mark_of(path);
        if (memcmp(&now, &then, sizeof now) != 0)
            return JS_FALSE;
    }
    return JS_TRUE;
}

// A path that the system gave, as string, or as bytes when `raw`.
static JSValue path_value(JSContext *ctx, const char *text, size_t length, bool raw)
{
    return raw ? JS_NewUint8ArrayCopy(ctx, (const uint8_t *)text, length) : new_string_utf8(ctx, (const uint8_t *)text, length);
}

// readdir(path, raw): [names, types], unsorted, or a negative errno. Types are those of uv_dirent_type_t.
NATIVE_FN(readdir)
{
    Path p;
    bool raw = JS_ToBool(ctx, argv[1]);
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    DIR *dir = opendir(p.text);
    int error = errno;
    path_free(ctx, &p);
    if (!dir)
        return JS_NewInt32(ctx, -error);
    JSValue names = JS_NewArray(ctx), types = JS_NewArray(ctx);
    uint32_t n = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        int type;
        switch (entry->d_type) {
        case DT_REG: type = 1; break;
        case DT_DIR: type = 2; break;
        case DT_LNK: type = 3; break;
        case DT_FIFO: type = 4; break;
        case DT_SOCK: type = 5; break;
        case DT_CHR: type = 6; break;
        case DT_BLK: type = 7; break;
        default: type = 0;
        }
        JS_DefinePropertyValueUint32(ctx, names, n, path_value(ctx, name, strlen(name), raw), JS_PROP_C_W_E);
        JS_DefinePropertyValueUint32(ctx, types, n++, JS_NewInt32(ctx, type), JS_PROP_C_W_E);
    }
    closedir(dir);
    JSValue pair[2] = {names, types};
    return JS_NewArrayFrom(ctx, 2, pair);
}

NATIVE_FN(readlink)
{
    Path p;
    char target[PATH_MAX];
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    ssize_t n = readlink(p.text, target, sizeof target);
    int error = errno;
    path_free(ctx, &p);
    return n < 0 ? JS_NewInt32(ctx, -error) : path_value(ctx, target, n, JS_ToBool(ctx, argv[1]));
}

NATIVE_FN(realpath)
{
    Path p;
    char resolved[PATH_MAX];
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    bool found = realpath(p.text, resolved);
    int error = errno;
    path_free(ctx, &p);
    return found ? path_value(ctx, resolved, strlen(resolved), JS_ToBool(ctx, argv[1])) : JS_NewInt32(ctx, -error);
}

// normalizePath(path, allowAboveRoot): what normalizeString of Node's path.js makes of a POSIX path, where every start spends much of
// its time: no empty components, no `.`, no `..` that something goes before (with allowAboveRoot: others stay), no slash at either end.
// undefined for what has characters above U+00FF.
NATIVE_FN(normalizePath)
{
    StringView path;
    if (!JS_IsString(argv[0]))
        return JS_UNDEFINED;
    if (!string_view(ctx, argv[0], &path))
        return JS_EXCEPTION;
    uint8_t small[1024], *out = path.length <= sizeof small ? small : js_malloc(ctx, path.length);
    JSValue result = out ? JS_UNDEFINED : JS_EXCEPTION;
    if (out && path.narrow) {
        bool above = JS_ToBool(ctx, argv[1]);
        size_t n = 0;
        for (size_t at = 0, end; at < path.length; at = end + 1) {
            const uint8_t *part = path.narrow + at, *slash = memchr(part, '/', path.length - at);
            end = slash ? slash - path.narrow : path.length;
            size_t size = end - at;
            if (size == 0 || (size == 1 && part[0] == '.'))
                continue;
            if (size == 2 && part[0] == '.' && part[1] == '.') {
                size_t last = n;
                while (last > 0 && out[last - 1] != '/')
                    last--;
                bool is_up = n - last == 2 && out[last] == '.' && out[last + 1] == '.';
                if (n > 0 && !is_up) {
                    n = last > 0 ? last - 1 : 0;
                    continue;
                }
                if (!above)
                    continue;
            }
            if (n > 0)
                out[n++] = '/';
            memcpy(out + n, part, size);
            n += size;
        }
        result = n == path.length ? JS_DupValue(ctx, argv[0]) : new_string_latin1(ctx, out, n);
    }
    if (out != small)
        js_free(ctx, out);
    string_release(ctx, &path);
    return result;
}

NATIVE_FN(getcwd)
{
    char path[PATH_MAX];
    return getcwd(path, sizeof path) ? path_value(ctx, path, strlen(path), false) : JS_NewInt32(ctx, -errno);
}

// mkdtemp(prefix): the path made.
NATIVE_FN(mkdtemp)
{
    Path p;
    char name[PATH_MAX];
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    size_t n = strlen(p.text);
    bool fits = n + 7 <= sizeof name;
    if (fits) {
        memcpy(name, p.text, n);
        memcpy(name + n, "XXXXXX", 7);
    }
    path_free(ctx, &p);
    if (!fits)
        return JS_NewInt32(ctx, -ENAMETOOLONG);
    return mkdtemp(name) ? path_value(ctx, name, strlen(name), JS_ToBool(ctx, argv[1])) : JS_NewInt32(ctx, -errno);
}

static struct timespec time_of(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    double fraction = seconds - (double)t.tv_sec;
    if (fraction < 0) {
        fraction += 1;
        t.tv_sec--;
    }
    // Node's times are milliseconds at best: microseconds survive the way through a double.
    t.tv_nsec = (long)(fraction * 1e6 + 0.5) * 1000;
    if (t.tv_nsec >= 1000000000)
        t.tv_nsec -= 1000000000, t.tv_sec++;
    return t;
}

// utimes(path or fd, kind, atime, mtime): kind 0 follow, 1 not, 2 descriptor; seconds.
NATIVE_FN(utimes)
{
    double atime, mtime;
    if (JS_ToFloat64(ctx, &atime, argv[2]) < 0 || JS_ToFloat64(ctx, &mtime, argv[3]) < 0)
        return JS_EXCEPTION;
    struct timespec times[2] = {time_of(atime), time_of(mtime)};
    int kind = int_arg(ctx, argv[1]);
    if (kind == 2)
        return status(ctx, futimens(int_arg(ctx, argv[0]), times));
    Path p;
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    JSValue r = status(ctx, utimensat(AT_FDCWD, p.text, times, kind == 1 ? AT_SYMLINK_NOFOLLOW : 0));
    path_free(ctx, &p);
    return r;
}

// copyFile(from, to, exclusive)
NATIVE_FN(copyFile)
{
    Path p, q;
    struct stat st, other;
    if (!path_of(ctx, argv[0], &p))
        return JS_EXCEPTION;
    if (!path_of(ctx, argv[1], &q)) {
        path_free(ctx, &p);
        return JS_EXCEPTION;
    }
    int result = 0, to = -1, from = open(p.text, O_RDONLY | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) < 0) {
        result = -errno;
    } else if (S_ISDIR(st.st_mode)) {
        result = -EISDIR;
    } else if ((to = open(q.text, O_WRONLY | O_CREAT | O_CLOEXEC | (JS_ToBool(ctx, argv[2]) ? O_EXCL : 0), st.st_mode & 07777)) < 0
               || fstat(to, &other) < 0) {
        result = -errno;
    } else if (st.st_dev != other.st_dev || st.st_ino != other.st_ino) {
        uint8_t block[65536];
        ssize_t n;
        if (ftruncate(to, 0) < 0)
            result = -errno;
        while (result == 0 && (n = read(from, block, sizeof block)) != 0)
            result = n < 0 ? -errno : write_all(to, block, n);
        fchmod(to, st.st_mode & 07777);
    }
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    path_free(ctx, &p);
    path_free(ctx, &q);
    return JS_NewInt32(ctx, result);
}

void init_files(JSContext *ctx, JSValueConst native)
{
    static const JSCFunctionListEntry table[] = {
        NATIVE(open, 3), NATIVE(access, 2), NATIVE(mkdir, 2), NATIVE(rmdir, 1), NATIVE(unlink, 1), NATIVE(chmod, 2),
        NATIVE(chown, 3), NATIVE(lchown, 3), NATIVE(truncate, 2), NATIVE(chdir, 1), NATIVE(rename, 2), NATIVE(link, 2),
        NATIVE(symlink, 2), NATIVE(close, 1), NATIVE(fsync, 1), NATIVE(fdatasync, 1), NATIVE(ftruncate, 2), NATIVE(fchmod, 2),
        NATIVE(fchown, 3), NATIVE(dup, 2), NATIVE(getStatusFlags, 1), NATIVE(setStatusFlags, 2), NATIVE(openCode, 1),
        NATIVE(readText, 1), NATIVE(read, 5), NATIVE(write, 5), NATIVE(writeAll, 4), NATIVE(writeText, 2), NATIVE(stat, 3),
        NATIVE(statfs, 2), NATIVE(fileKind, 1), NATIVE(fileMark, 1), NATIVE(treeMark, 2), NATIVE(unchanged, 1), NATIVE(readdir, 2), NATIVE(readlink, 2), NATIVE(realpath, 2), NATIVE(normalizePath, 2),
        NATIVE(getcwd, 0),
        NATIVE(mkdtemp, 2), NATIVE(utimes, 4), NATIVE(copyFile, 3),
    };
    ADD_NATIVES(ctx, native, table);
}
