/* What a program does with files, names and time, through libc. Built natively and for WASI; both must print the same. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Error numbers differ; names do not. */
static const char *error(void) {
    switch (errno) {
    case ENOENT: return "ENOENT";
    case EEXIST: return "EEXIST";
    case ENOTDIR: return "ENOTDIR";
    case EISDIR: return "EISDIR";
    case ENOTEMPTY: return "ENOTEMPTY";
    case ELOOP: return "ELOOP";
    case EBADF: return "EBADF";
    case EACCES: return "EACCES";
    case EINVAL: return "EINVAL";
    case ESPIPE: return "ESPIPE";
    case EROFS: return "EROFS";
    case EXDEV: return "EXDEV";
    case ENAMETOOLONG: return "ENAMETOOLONG";
    default: return strerror(errno);
    }
}

static void say(const char *what, long r) {
    if (r < 0)
        printf("%s: %s\n", what, error());
    else
        printf("%s: %ld\n", what, r);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *name) {
    DIR *d = opendir(name);
    if (!d) {
        printf("list %s: %s\n", name, error());
        return;
    }
    char *names[1024];
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d)) && n < 1024)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    printf("list %s: %d", name, n);
    for (int i = 0; i < n && i < 12; i++)
        printf(" %s", names[i]);
    printf("\n");
}

/* What `name` is, and how many links it has when `links` says that they are ours: the host may link an image's files into
   other trees. */
static void show_as(const char *name, int links) {
    struct stat s;
    if (lstat(name, &s) < 0) {
        printf("stat %s: %s\n", name, error());
        return;
    }
    const char *kind = S_ISREG(s.st_mode)   ? "file"
                       : S_ISDIR(s.st_mode) ? "directory"
                       : S_ISLNK(s.st_mode) ? "link"
                       : S_ISCHR(s.st_mode) ? "device"
                                            : "other";
    printf("stat %s: %s size %ld", name, kind, S_ISDIR(s.st_mode) ? 0L : (long)s.st_size);
    if (links)
        printf(" links %ld", S_ISDIR(s.st_mode) ? 0L : (long)s.st_nlink);
    printf("\n");
}

static void show(const char *name) { show_as(name, 1); }

static void file_contents(void) {
    char buf[64] = {0};
    int fd = open("a.txt", O_RDWR | O_CREAT | O_EXCL, 0644);
    say("create", fd < 0 ? fd : 0);
    say("create again", open("a.txt", O_RDWR | O_CREAT | O_EXCL, 0644));
    say("write", write(fd, "0123456789", 10));
    say("seek", lseek(fd, -4, SEEK_END));
    say("read", read(fd, buf, sizeof buf));
    printf("%s\n", buf);
    say("pread", pread(fd, buf, 3, 1));
    printf("%.3s\n", buf);
    say("pwrite", pwrite(fd, "xyz", 3, 20));
    say("position", lseek(fd, 0, SEEK_CUR));
    say("seek before the start", lseek(fd, -1, SEEK_SET));
    show("a.txt");
    say("truncate", ftruncate(fd, 5));
    show("a.txt");
    say("sync", fsync(fd));
    close(fd);
    say("write to a closed descriptor", write(fd, "x", 1));
    fd = open("a.txt", O_WRONLY | O_APPEND);
    say("append", write(fd, "tail", 4));
    say("read what is open for writing", read(fd, buf, 1));
    close(fd);
    fd = open("a.txt", O_RDONLY);
    say("write what is open for reading", write(fd, "x", 1));
    memset(buf, 0, sizeof buf);
    say("read", read(fd, buf, sizeof buf));
    printf("%s\n", buf);
    close(fd);
    fd = open("a.txt", O_RDWR | O_TRUNC);
    close(fd);
    show("a.txt");
}

static void names(void) {
    struct stat s;
    say("mkdir", mkdir("d", 0755));
    say("mkdir again", mkdir("d", 0755));
    say("mkdir below nothing", mkdir("no/d", 0755));
    char name[32];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "d/f%03d", i);
        close(open(name, O_WRONLY | O_CREAT, 0644));
    }
    list("d");
    say("rmdir of a full one", rmdir("d"));
    for (int i = 1; i < 300; i++) {
        snprintf(name, sizeof name, "d/f%03d", i);
        if (unlink(name) < 0)
            say("unlink", -1);
    }
    list("d");
    say("rename", rename("d/f000", "b.txt"));
    say("rename of nothing", rename("d/f000", "c.txt"));
    say("link", link("b.txt", "c.txt"));
    show("b.txt");
    say("symlink", symlink("b.txt", "l"));
    show("l");
    char target[32] = {0};
    say("readlink", readlink("l", target, sizeof target));
    printf("%s\n", target);
    say("open the link", open("l", O_RDONLY | O_NOFOLLOW));
    say("stat through it", stat("l", &s));
    say("symlink loop", symlink("loop", "loop"));
    say("stat of a loop", stat("loop", &s));
    say("stat below a file", stat("b.txt/x", &s));
    say("unlink of a directory", unlink("d") < 0 ? 0 : 1);
    say("rmdir", rmdir("d"));
    say("rmdir of a file", rmdir("b.txt"));
    say("open of a directory for writing", open(".", O_WRONLY));
    list(".");
    show_as("/etc/passwd", 0);
    show("/dev/null");
    show("/nowhere");
    list("/usr/share/doc");
    FILE *f = fopen("/etc/hostname", "r");
    char line[64] = "";
    if (f && fgets(line, sizeof line, f))
        printf("hostname %s", line);
    if (f)
        fclose(f);
    f = fopen("/proc/self/comm", "r");
    if (f && fgets(line, sizeof line, f))
        printf("%s\n", line[0] ? "comm" : "no comm");
}

static void times(void) {
    struct timespec t[2] = {{.tv_sec = 1000000000, .tv_nsec = 5000}, {.tv_sec = 1100000000, .tv_nsec = 7000}};
    struct stat s;
    say("utimens", utimensat(AT_FDCWD, "b.txt", t, 0));
    say("stat", stat("b.txt", &s));
    printf("%lld %ld %lld %ld\n", (long long)s.st_atim.tv_sec, (long)s.st_atim.tv_nsec, (long long)s.st_mtim.tv_sec,
           (long)s.st_mtim.tv_nsec);
    struct timespec a, b, pause = {0, 20000000};
    clock_gettime(CLOCK_MONOTONIC, &a);
    say("sleep", nanosleep(&pause, 0));
    clock_gettime(CLOCK_MONOTONIC, &b);
    long took = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
    printf("%s\n", took >= 19 && took < 10000 ? "slept" : "did not sleep");
    clock_gettime(CLOCK_REALTIME, &a);
    printf("%s\n", a.tv_sec > 1600000000 ? "now" : "then");
}

static void standard_input(void) {
    struct pollfd p = {.fd = 0, .events = POLLIN};
    say("poll", poll(&p, 1, 5000));
    char buf[64];
    long n, sum = 0;
    while ((n = read(0, buf, sizeof buf)) > 0)
        sum += n;
    printf("stdin %ld\n", sum);
    say("seek of a pipe", lseek(0, 0, SEEK_CUR));
    printf("%s\n", isatty(0) ? "a terminal" : "no terminal");
}

int main(int argc, char **argv) {
    printf("%d arguments", argc);
    for (int i = 1; i < argc; i++)
        printf(" <%s>", argv[i]);
    printf(" GREETING=%s\n", getenv("GREETING") ? getenv("GREETING") : "none");
    file_contents();
    names();
    times();
    standard_input();
    fflush(stdout);
    fprintf(stderr, "to stderr\n");
    return 42;
}
