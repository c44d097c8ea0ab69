/* Faults for one process, by LD_PRELOAD: what a disk or a kernel may answer, per path and per call.
 *
 * The file named by EVERMARK_SHIM is mapped; its first 8 bytes count changes, text follows. One rule a line:
 *     <op> <part of a path> <from> <to> <action>      op: open write read sync rename mkdir unlink truncate list
 *     clock <seconds>                                  moves the wall clock
 * `from` and `to` count the calls that match (from 1; `to` 0 means for ever). Actions: a name of errno, `short` (half of a
 * write is done), `delay=<ms>`, `hang` (until the rules change). Rules can be changed while the process runs.
 *
 * Only calls that go through libc are seen: std, tokio, SQLite and Lance do, rustix makes its system calls by itself.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 4096, RULES_MAX = 16 };
enum action { FAIL, SHORT, DELAY, HANG };

struct rule {
    char op[12];
    char path[128];
    long from, to, value;
    enum action action;
    atomic_long seen;
};

static struct rule rules[RULES_MAX];
static atomic_int n_rules;
static atomic_long clock_seconds;
static atomic_ulong known;
static const volatile char *control;
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static unsigned long version(void) {
    return control ? *(const volatile unsigned long *)control : 0;
}

static int number_of(const char *name) {
    static const struct { const char *name; int number; } all[] = {
        {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EFBIG", EFBIG}, {"EMFILE", EMFILE},
        {"ENFILE", ENFILE}, {"EROFS", EROFS},   {"EACCES", EACCES}, {"ESTALE", ESTALE}, {"EINTR", EINTR},
        {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i].name)) return all[i].number;
    return EIO;
}

static void load(void) {
    pthread_mutex_lock(&loading);
    unsigned long now = version();
    if (now != atomic_load(&known)) {
        char text[SIZE];
        memcpy(text, (const char *)control + 8, SIZE - 8);
        text[SIZE - 9] = 0;
        atomic_store(&n_rules, 0);
        atomic_store(&clock_seconds, 0);
        int n = 0;
        char *rest = text, *line;
        while ((line = strsep(&rest, "\n")) && n < RULES_MAX) {
            struct rule *rule = &rules[n];
            char action[32];
            long seconds;
            if (sscanf(line, "clock %ld", &seconds) == 1) {
                atomic_store(&clock_seconds, seconds);
            } else if (sscanf(line, "%11s %127s %ld %ld %31s", rule->op, rule->path, &rule->from, &rule->to, action) == 5) {
                atomic_store(&rule->seen, 0);
                rule->value = 0;
                if (!strcmp(action, "short")) rule->action = SHORT;
                else if (!strcmp(action, "hang")) rule->action = HANG;
                else if (sscanf(action, "delay=%ld", &rule->value) == 1) rule->action = DELAY;
                else rule->action = FAIL, rule->value = number_of(action);
                n++;
            }
        }
        atomic_store(&n_rules, n);
        atomic_store(&known, now);
    }
    pthread_mutex_unlock(&loading);
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("EVERMARK_SHIM");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map != MAP_FAILED) control = map;
}

static void rest(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (syscall(SYS_nanosleep, &time, &time) && errno == EINTR) {}
}

/* Returns an errno, 0 to go on, or -1 for half a write. */
static int fate(const char *op, int dir, const char *path) {
    if (!control) return 0;
    if (version() != atomic_load(&known)) load();
    int n = atomic_load(&n_rules);
    if (!n) return 0;
    char whole[4352] = "";
    for (int i = 0; i < n; i++) {
        struct rule *rule = &rules[i];
        if (strcmp(rule->op, op)) continue;
        if (!whole[0]) {
            size_t at = 0;
            if (dir != AT_FDCWD && (!path || path[0] != '/')) {
                char link[48];
                snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
                long length = syscall(SYS_readlinkat, AT_FDCWD, link, whole, 4096);
                at = length > 0 ? (size_t)length : 0;
            }
            snprintf(whole + at, sizeof whole - at, "%s%s", at && path ? "/" : "", path ? path : "");
        }
        if (!strstr(whole, rule->path)) continue;
        long seen = atomic_fetch_add(&rule->seen, 1) + 1;
        if (seen < rule->from || (rule->to && seen > rule->to)) continue;
        unsigned long when = version();
        switch (rule->action) {
        case FAIL: return (int)rule->value;
        case SHORT: return -1;
        case DELAY: rest(rule->value); return 0;
        case HANG: while (version() == when) rest(20); return 0;
        }
    }
    return 0;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })
#define FATE(op, dir, path, bad) \
    do { int error = fate(op, dir, path); if (error > 0) { errno = error; return bad; } } while (0)

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE(flags) FATE("open", AT_FDCWD, path, -1); return REAL(open)(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) FATE("open", AT_FDCWD, path, -1); return REAL(open64)(path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) FATE("open", dir, path, -1); return REAL(openat)(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) FATE("open", dir, path, -1); return REAL(openat64)(dir, path, flags, mode); }
DIR *opendir(const char *path) { FATE("list", AT_FDCWD, path, NULL); return REAL(opendir)(path); }

#define HALF(op, fd, count) \
    int error = fate(op, fd, NULL); \
    if (error > 0) { errno = error; return -1; } \
    if (error < 0 && count > 1) count /= 2;

ssize_t write(int fd, const void *from, size_t count) { HALF("write", fd, count) return REAL(write)(fd, from, count); }
ssize_t pwrite(int fd, const void *from, size_t count, off_t at) { HALF("write", fd, count) return REAL(pwrite)(fd, from, count, at); }
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) { HALF("write", fd, count) return REAL(pwrite64)(fd, from, count, at); }
ssize_t writev(int fd, const struct iovec *from, int count) { HALF("write", fd, count) return REAL(writev)(fd, from, count); }
ssize_t read(int fd, void *to, size_t count) { FATE("read", fd, NULL, -1); return REAL(read)(fd, to, count); }
ssize_t pread(int fd, void *to, size_t count, off_t at) { FATE("read", fd, NULL, -1); return REAL(pread)(fd, to, count, at); }
ssize_t pread64(int fd, void *to, size_t count, off64_t at) { FATE("read", fd, NULL, -1); return REAL(pread64)(fd, to, count, at); }
int fsync(int fd) { FATE("sync", fd, NULL, -1); return REAL(fsync)(fd); }
int fdatasync(int fd) { FATE("sync", fd, NULL, -1); return REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t length) { FATE("truncate", fd, NULL, -1); return REAL(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { FATE("truncate", fd, NULL, -1); return REAL(ftruncate64)(fd, length); }
int posix_fallocate(int fd, off_t at, off_t length) { int error = fate("truncate", fd, NULL); return error > 0 ? error : REAL(posix_fallocate)(fd, at, length); }
int posix_fallocate64(int fd, off64_t at, off64_t length) { int error = fate("truncate", fd, NULL); return error > 0 ? error : REAL(posix_fallocate64)(fd, at, length); }
int rename(const char *from, const char *to) { FATE("rename", AT_FDCWD, to, -1); return REAL(rename)(from, to); }
int link(const char *from, const char *to) { FATE("rename", AT_FDCWD, to, -1); return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { FATE("rename", b, to, -1); return REAL(linkat)(a, from, b, to, flags); }
int mkdir(const char *path, mode_t mode) { FATE("mkdir", AT_FDCWD, path, -1); return REAL(mkdir)(path, mode); }
int unlink(const char *path) { FATE("unlink", AT_FDCWD, path, -1); return REAL(unlink)(path); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = REAL(clock_gettime)(clock, time);
    if (control && version() != atomic_load(&known)) load();
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += atomic_load(&clock_seconds);
    return result;
}
int gettimeofday(struct timeval *time, void *zone) {
    int result = REAL(gettimeofday)(time, zone);
    if (!result) time->tv_sec += atomic_load(&clock_seconds);
    return result;
}
