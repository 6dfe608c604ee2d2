/* Preloaded before libc: counts what a process does to the files below one folder (create, write,
   sync, rename, delete, make a folder), and at the n-th of these kills the process or answers as a
   broken or full disk would. Whoever does it is seen: Python, Rust (safetensors), C++ (Arrow).
   Inactive until arm() is called. What stdio writes (np.save's data) goes by unseen; its open and
   its sync do not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, FAIL, FULL };          /* FULL: from the n-th on nothing more fits */
enum { OTHER, NEEDS_ROOM, SYNC };
static atomic_long done;
static long at;
static int action, code;
static char below[PATH_MAX], apart[64];
static int armed;

long operations(void) { return done; }

void arm(const char *folder, const char *without, long n, int what, int error) {
    strncpy(below, folder, sizeof below - 1);
    strncpy(apart, without, sizeof apart - 1);
    at = n;
    action = what;
    code = error;
    done = 0;
    armed = 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *of_handle(int handle, char *room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    room[length < 0 ? 0 : length] = 0;
    return room;
}

static const char *at_folder(int folder, const char *path, char *room) {
    if (path[0] == '/') return path;
    if (folder == AT_FDCWD) {
        if (!getcwd(room, PATH_MAX)) room[0] = 0;
    } else of_handle(folder, room);
    size_t length = strlen(room);
    snprintf(room + length, PATH_MAX - length, "/%s", path);
    return room;
}

static int watched(const char *path) {
    return armed && !strncmp(path, below, strlen(below)) && !(apart[0] && strstr(path, apart));
}

/* Further writes to one file in a row count as one operation. */
static int again(const char *path) {
    static char last[PATH_MAX];
    static long last_done;
    int same = last_done == done && !strcmp(last, path);
    strncpy(last, path, sizeof last - 1);
    last_done = done + !same;
    return same;
}

/* -1: do it; 0: die in the midst of it; else the error to give */
static int fate(const char *what, const char *path, int kind) {
    if (!watched(path)) return -1;
    if (action == KILL && kind == SYNC) return -1; /* the files are as at the next operation */
    long n = ++done;
    int now = action == FULL ? n >= at && kind == NEEDS_ROOM : n == at;
    if (action == COUNT || !now) return -1;
    static int said;
    if (!said++) {
        char line[PATH_MAX + 100];
        int length = snprintf(line, sizeof line, "operation %ld: %s %s\n", n, what, path);
        syscall(SYS_write, 2, line, length);
    }
    return action == KILL ? 0 : code;
}

#define GUARD(what, path, kind) \
    int saved = errno, fate_ = fate(what, path, kind); \
    if (fate_ == 0) kill(getpid(), SIGKILL); \
    if (fate_ > 0) { errno = fate_; return -1; } \
    errno = saved

static int opened(const char *name, int folder, const char *path, int flags, mode_t mode) {
    if (armed && flags & O_CREAT && !(flags & O_DIRECTORY)) {
        char room[PATH_MAX];
        GUARD("open", at_folder(folder, path, room), NEEDS_ROOM);
    }
    return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, name))(folder, path, flags, mode);
}

#define MODE \
    mode_t mode = 0; \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); \
    }
int open(const char *path, int flags, ...) { MODE return opened("openat", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened("openat64", AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened("openat", folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened("openat64", folder, path, flags, mode); }

ssize_t write(int handle, const void *bytes, size_t count) {
    if (armed) {
        char room[PATH_MAX];
        of_handle(handle, room);
        int saved = errno, fate_ = -1;
        if (!watched(room) || !again(room)) fate_ = fate("write", room, NEEDS_ROOM);
        else if (action == FULL && done >= at) fate_ = code;
        if (fate_ == 0) { /* torn */
            syscall(SYS_write, handle, bytes, count / 2);
            kill(getpid(), SIGKILL);
        }
        if (fate_ > 0) { errno = fate_; return -1; }
        errno = saved;
    }
    return REAL(write)(handle, bytes, count);
}

#define ON_HANDLE(result, name, kind, parameters, arguments) \
    result name parameters { \
        if (armed) { char room[PATH_MAX]; GUARD(#name, of_handle(handle, room), kind); } \
        return REAL(name) arguments; \
    }
ON_HANDLE(ssize_t, pwrite64, NEEDS_ROOM, (int handle, const void *b, size_t n, off64_t o), (handle, b, n, o))
ON_HANDLE(ssize_t, writev, NEEDS_ROOM, (int handle, const struct iovec *v, int n), (handle, v, n))
ON_HANDLE(ssize_t, sendfile64, NEEDS_ROOM, (int handle, int from, off64_t *o, size_t n), (handle, from, o, n))
ON_HANDLE(int, fsync, SYNC, (int handle), (handle))
ON_HANDLE(int, fdatasync, SYNC, (int handle), (handle))
ON_HANDLE(int, ftruncate64, OTHER, (int handle, off64_t length), (handle, length))

#define ON_PATH(name, kind, parameters, folder, path, arguments) \
    int name parameters { \
        if (armed) { char room[PATH_MAX]; GUARD(#name, at_folder(folder, path, room), kind); } \
        return REAL(name) arguments; \
    }
ON_PATH(rename, OTHER, (const char *a, const char *b), AT_FDCWD, b, (a, b))
ON_PATH(renameat, OTHER, (int f, const char *a, int g, const char *b), g, b, (f, a, g, b))
ON_PATH(unlink, OTHER, (const char *a), AT_FDCWD, a, (a))
ON_PATH(unlinkat, OTHER, (int f, const char *a, int flags), f, a, (f, a, flags))
ON_PATH(rmdir, OTHER, (const char *a), AT_FDCWD, a, (a))

int mkdirat(int folder, const char *path, mode_t mode) {
    char room[PATH_MAX];
    struct stat there;
    if (armed && fstatat(folder, path, &there, 0)) {
        GUARD("mkdir", at_folder(folder, path, room), NEEDS_ROOM);
    }
    return REAL(mkdirat)(folder, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
