/* Calls that change files below one folder: counted, and the n-th of them fails, or brings a signal. For torture.py.
 *
 * Loaded by LD_PRELOAD, so that the writers of torch (C++) and safetensors (Rust) go through it as Python does. It does
 * nothing until `failing_calls_arm` is called, and then only in the process that called it, not in those that it starts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, REMOVE = 16, MKDIR = 32, READ = 64 };

struct shared { /* with the parent, which reads it once the child has ended */
    long count;
    long hits;
    char what[1024];
};

static struct shared *page;
static pid_t armed_in;
static char folder[4096];
static int classes, error_number, signal_number, signal_times;
static long nth, last;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void *failing_calls_share(void) {
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return page;
}

/* Of the calls of these classes, those from `first` to `until` fail, or bring `times` signals. */
void failing_calls_arm(const char *below, int which, long first, long until, int error, int number, int times) {
    snprintf(folder, sizeof folder, "%s", below);
    memset(page, 0, sizeof *page);
    classes = which, nth = first, last = until, error_number = error, signal_number = number, signal_times = times;
    armed_in = getpid();
}

static int is_below(int directory, const char *path) {
    char full[8192], base[4096], link[64];
    if (path == NULL) return 0;
    if (path[0] == '/') return strncmp(path, folder, strlen(folder)) == 0;
    if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, base, sizeof base - 1);
    if (length < 0) return 0;
    base[length] = 0;
    snprintf(full, sizeof full, "%s/%s", base, path);
    return strncmp(full, folder, strlen(folder)) == 0;
}

static int armed(int kind) { return armed_in && (classes & kind) && armed_in == getpid(); }

static int is_ours(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* 0: go on. Else errno is set and the call fails; a signal is sent from here. */
static int strikes(int kind, const char *name, const char *path, int descriptor) {
    int saved = errno;
    char link[64], found[900] = "";
    pthread_mutex_lock(&mutex);
    long now = ++page->count;
    int hit = now >= nth && now <= last;
    if (hit && page->hits++ == 0) {
        if (path == NULL) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
            ssize_t length = readlink(link, found, sizeof found - 1);
            found[length < 0 ? 0 : length] = 0;
        }
        snprintf(page->what, sizeof page->what, "%s %.900s", name, path ? path : found);
    }
    pthread_mutex_unlock(&mutex);
    errno = saved;
    if (!hit) return 0;
    if (signal_number) {
        for (int time = 0; time < signal_times; time++) kill(getpid(), signal_number);
        return 0;
    }
    errno = error_number ? error_number : kind & (SYNC | REMOVE | READ) ? EIO : ENOSPC; /* as a full or failing disk has it */
    return 1;
}

#define REAL(name, type) \
    static __typeof__(type) real; \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, #name)

static int kind_of_open(int flags) { return (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) ? READ : OPEN; }

#define OPEN_AT(name) \
    int name(int directory, const char *path, int flags, ...) { \
        REAL(name, int (*)(int, const char *, int, ...)); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (armed(kind_of_open(flags)) && is_below(directory, path) && strikes(kind_of_open(flags), "open", path, -1)) return -1; \
        return real(directory, path, flags, mode); \
    }
OPEN_AT(openat)
OPEN_AT(openat64)

#define OPEN_PATH(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name, int (*)(const char *, int, ...)); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (armed(kind_of_open(flags)) && is_below(AT_FDCWD, path) && strikes(kind_of_open(flags), "open", path, -1)) return -1; \
        return real(path, flags, mode); \
    }
OPEN_PATH(open)
OPEN_PATH(open64)

#define OPEN_STREAM(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name, FILE *(*)(const char *, const char *)); \
        int kind = mode[0] == 'r' && !strchr(mode, '+') ? READ : OPEN; \
        if (armed(kind) && is_below(AT_FDCWD, path) && strikes(kind, "fopen", path, -1)) return NULL; \
        return real(path, mode); \
    }
OPEN_STREAM(fopen)
OPEN_STREAM(fopen64)

/* A process that is killed while it writes leaves half of the bytes. */
ssize_t write(int descriptor, const void *buffer, size_t size) {
    REAL(write, ssize_t(*)(int, const void *, size_t));
    if (armed(WRITE) && is_ours(descriptor)) {
        if (page->count + 1 >= nth && page->count + 1 <= last && signal_number == SIGKILL) real(descriptor, buffer, size / 2);
        if (strikes(WRITE, "write", NULL, descriptor)) return -1;
    }
    return real(descriptor, buffer, size);
}

#define POSITIONED(name, offset_type) \
    ssize_t name(int descriptor, const void *buffer, size_t size, offset_type offset) { \
        REAL(name, ssize_t(*)(int, const void *, size_t, offset_type)); \
        if (armed(WRITE) && is_ours(descriptor) && strikes(WRITE, #name, NULL, descriptor)) return -1; \
        return real(descriptor, buffer, size, offset); \
    }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(writev, ssize_t(*)(int, const struct iovec *, int));
    if (armed(WRITE) && is_ours(descriptor) && strikes(WRITE, "writev", NULL, descriptor)) return -1;
    return real(descriptor, parts, count);
}

#define SENDFILE(name, offset_type) \
    ssize_t name(int to, int from, offset_type *offset, size_t count) { \
        REAL(name, ssize_t(*)(int, int, offset_type *, size_t)); \
        if (armed(WRITE) && is_ours(to) && strikes(WRITE, #name, NULL, to)) return -1; \
        return real(to, from, offset, count); \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define ON_DESCRIPTOR(name) \
    int name(int descriptor) { \
        REAL(name, int (*)(int)); \
        if (armed(SYNC) && is_ours(descriptor) && strikes(SYNC, #name, NULL, descriptor)) return -1; \
        return real(descriptor); \
    }
ON_DESCRIPTOR(fsync)
ON_DESCRIPTOR(fdatasync)

#define TRUNCATE(name, offset_type) \
    int name(int descriptor, offset_type length) { \
        REAL(name, int (*)(int, offset_type)); \
        if (armed(WRITE) && is_ours(descriptor) && strikes(WRITE, #name, NULL, descriptor)) return -1; \
        return real(descriptor, length); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(rename, int (*)(const char *, const char *));
    if (armed(RENAME) && is_below(AT_FDCWD, to) && strikes(RENAME, "rename", to, -1)) return -1;
    return real(from, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    REAL(renameat, int (*)(int, const char *, int, const char *));
    if (armed(RENAME) && is_below(to_directory, to) && strikes(RENAME, "renameat", to, -1)) return -1;
    return real(from_directory, from, to_directory, to);
}

#define ON_PATH(name, kind) \
    int name(const char *path) { \
        REAL(name, int (*)(const char *)); \
        if (armed(kind) && is_below(AT_FDCWD, path) && strikes(kind, #name, path, -1)) return -1; \
        return real(path); \
    }
ON_PATH(unlink, REMOVE)
ON_PATH(rmdir, REMOVE)

int unlinkat(int directory, const char *path, int flags) {
    REAL(unlinkat, int (*)(int, const char *, int));
    if (armed(REMOVE) && is_below(directory, path) && strikes(REMOVE, "unlinkat", path, -1)) return -1;
    return real(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir, int (*)(const char *, mode_t));
    if (armed(MKDIR) && is_below(AT_FDCWD, path) && strikes(MKDIR, "mkdir", path, -1)) return -1;
    return real(path, mode);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    REAL(mkdirat, int (*)(int, const char *, mode_t));
    if (armed(MKDIR) && is_below(directory, path) && strikes(MKDIR, "mkdirat", path, -1)) return -1;
    return real(directory, path, mode);
}
