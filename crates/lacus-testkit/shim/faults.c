/* Stands between a program and the disk, for tests (LD_PRELOAD, Linux, 64 bits).
 *
 * It counts every call that changes a file under $LACUS_FAULT_DIR and appends one line per call to $LACUS_FAULT_REPORT:
 * "<number> <call> <path below the directory>". When the count reaches $LACUS_FAULT_AT, that one call meets
 * $LACUS_FAULT_MODE:
 *
 *   refuse  it is not done, and answers $LACUS_FAULT_ERRNO (EIO or ENOSPC; EIO when unset)
 *   lost    it is done, and answers the same error
 *   full    as refuse with ENOSPC, and so does every later call that needs room
 *   torn    half of its bytes are written (a call without bytes is done whole), then the process is killed
 *   kill    the process is killed before it
 *   hang    it waits $LACUS_FAULT_HANG_MS, then goes on
 *   cut     the power goes: everything that no fsync made durable is undone, then the process is killed
 *
 * The kernel is called by number, so no symbol has to be looked up. It must never change a call it was not told to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "power.h"

enum mode { NONE, REFUSE, LOST, FULL, TORN, KILL, HANG, CUT };

static enum mode mode = NONE;
static long fault_at = -1;
static int fault_errno = EIO;
static long hang_ms = 0;
static int report = -1;
static char directory[PATH_MAX];
static size_t directory_length = 0;
static atomic_long count = 0;
static atomic_bool disk_full = 0;

/* In mode `cut` one watched call runs at a time, so that the cut falls between calls: meet() locks, answer() unlocks. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
    static const char *names[] = {"none", "refuse", "lost", "full", "torn", "kill", "hang", "cut"};
    const char *value = getenv("LACUS_FAULT_DIR");
    if (!value || strlen(value) >= sizeof directory) return;
    directory_length = strlen(strcpy(directory, value));
    if ((value = getenv("LACUS_FAULT_AT"))) fault_at = atol(value);
    if ((value = getenv("LACUS_FAULT_HANG_MS"))) hang_ms = atol(value);
    if ((value = getenv("LACUS_FAULT_ERRNO"))) fault_errno = strcmp(value, "ENOSPC") ? EIO : ENOSPC;
    value = getenv("LACUS_FAULT_MODE");
    for (int i = NONE; value && i <= CUT; i++)
        if (!strcmp(value, names[i])) mode = i;
    if (mode == CUT) power_start(directory);
    if (!(value = getenv("LACUS_FAULT_REPORT"))) return;
    int fd = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    report = fcntl(fd, F_DUPFD_CLOEXEC, 900); /* out of the way of the program's own numbers */
    syscall(SYS_close, fd);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* The path a descriptor stands for; empty for sockets and the like. */
static void path_of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

static void path_at(int dirfd, const char *name, char *path) {
    char base[PATH_MAX] = "";
    if (name[0] != '/') {
        if (dirfd != AT_FDCWD) path_of_fd(dirfd, base);
        else if (!getcwd(base, sizeof base)) base[0] = 0;
    }
    if (snprintf(path, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", name) >= PATH_MAX) path[0] = 0;
}

static int is_watched(const char *path) {
    return directory_length && !strncmp(path, directory, directory_length) &&
           (path[directory_length] == '/' || path[directory_length] == 0);
}

/* Counts a call and says what it meets: NONE to go on, REFUSE, LOST or TORN for the caller to act on. */
static enum mode meet(const char *call, const char *path, int needs_room) {
    int saved = errno;
    if (mode == CUT) pthread_mutex_lock(&one_at_a_time);
    long number = atomic_fetch_add(&count, 1) + 1;
    if (report >= 0) {
        char line[PATH_MAX + 64];
        const char *tail = path + directory_length;
        int length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, *tail ? tail + 1 : ".");
        syscall(SYS_write, report, line, (size_t)length);
    }
    errno = saved;
    if (needs_room && atomic_load(&disk_full)) return REFUSE;
    if (number != fault_at) return NONE;
    if (mode == KILL) die();
    if (mode == CUT) power_cut(), die();
    if (mode == FULL) {
        fault_errno = ENOSPC;
        atomic_store(&disk_full, 1);
        return needs_room ? REFUSE : NONE;
    }
    if (mode == HANG) {
        struct timespec wait = {hang_ms / 1000, hang_ms % 1000 * 1000000};
        nanosleep(&wait, NULL);
        errno = saved;
        return NONE;
    }
    return mode;
}

static long refused(void) {
    errno = fault_errno;
    return -1;
}

/* What the program hears of a call that was done. */
static long answer(enum mode met, long result) {
    int saved = errno;
    if (mode == CUT) pthread_mutex_unlock(&one_at_a_time);
    errno = saved;
    if (met == TORN) die();
    return met == LOST ? refused() : result;
}

/* ---- files: bytes -------------------------------------------------------------------------------------------- */

static ssize_t put(const char *call, int fd, const struct iovec *parts, int parts_count, off_t at) {
    char path[PATH_MAX];
    path_of_fd(fd, path);
    size_t total = 0;
    for (int i = 0; i < parts_count; i++) total += parts[i].iov_len;
    enum mode met = is_watched(path) ? meet(call, path, 1) : NONE;
    if (met == REFUSE) return refused();
    if (mode == CUT && is_watched(path)) power_remember_bytes(fd, at, (off_t)total);
    if (met == TORN) {
        size_t left = total / 2;
        for (int i = 0; i < parts_count && left; i++) {
            size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
            if (at >= 0) syscall(SYS_pwrite64, fd, parts[i].iov_base, length, at + (off_t)(total / 2 - left));
            else syscall(SYS_write, fd, parts[i].iov_base, length);
            left -= length;
        }
        die();
    }
    long done = at >= 0 ? syscall(SYS_pwritev, fd, parts, (long)parts_count, at, 0L)
                        : syscall(SYS_writev, fd, parts, (long)parts_count);
    return is_watched(path) ? answer(met, done) : done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    return put("write", fd, &part, 1, -1);
}
ssize_t writev(int fd, const struct iovec *parts, int parts_count) { return put("writev", fd, parts, parts_count, -1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    struct iovec part = {(void *)bytes, length};
    return put("pwrite", fd, &part, 1, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int parts_count, off64_t at) {
    return put("pwritev", fd, parts, parts_count, at);
}
ssize_t pwritev(int fd, const struct iovec *parts, int parts_count, off_t at) {
    return pwritev64(fd, parts, parts_count, at);
}

/* How many bytes there will be is not known before: torn, all of them are written. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    char path[PATH_MAX];
    path_of_fd(to, path);
    if (!is_watched(path)) return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
    enum mode met = meet("copy_file_range", path, 1);
    if (met == REFUSE) return refused();
    if (mode == CUT) power_remember_bytes(to, to_at ? (off_t)*to_at : -1, (off_t)length);
    return answer(met, syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags));
}

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    path_of_fd(fd, path);
    if (!is_watched(path)) return syscall(SYS_ftruncate, fd, length);
    enum mode met = meet("ftruncate", path, 1);
    if (met == REFUSE) return refused();
    if (mode == CUT) power_remember_bytes(fd, length, (off_t)1 << 60);
    return answer(met, syscall(SYS_ftruncate, fd, length));
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int flush(const char *call, long number, int fd) {
    char path[PATH_MAX];
    path_of_fd(fd, path);
    if (!is_watched(path)) return syscall(number, fd);
    enum mode met = meet(call, path, 0);
    if (met == REFUSE) return refused();
    long done = syscall(number, fd);
    if (mode == CUT && !done) power_forget(fd, path);
    return answer(met, done);
}
int fsync(int fd) { return flush("fsync", SYS_fsync, fd); }
int fdatasync(int fd) { return flush("fdatasync", SYS_fdatasync, fd); }

/* ---- directories: names ---------------------------------------------------------------------------------------- */

/* Opening makes a name, or empties the file that has it. */
static void remember_open(const char *path, int flags) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) power_remember_name(path);
    else if (flags & O_TRUNC) power_remember_bytes(fd, 0, (off_t)1 << 60);
    if (fd >= 0) syscall(SYS_close, fd);
}

int openat64(int dirfd, const char *name, int flags, ...) {
    mode_t bits = 0;
    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        bits = va_arg(rest, mode_t);
        va_end(rest);
    }
    char path[PATH_MAX];
    path_at(dirfd, name, path);
    if (!(flags & (O_CREAT | O_TRUNC)) || !is_watched(path)) return syscall(SYS_openat, dirfd, name, flags, bits);
    enum mode met = meet("open", path, 1);
    if (met == REFUSE) return refused();
    if (mode == CUT) remember_open(path, flags);
    int fd = syscall(SYS_openat, dirfd, name, flags, bits);
    if (met == LOST && fd >= 0) syscall(SYS_close, fd);
    return answer(met, fd);
}
int openat(int dirfd, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat64(dirfd, name, flags, bits);
}
int open64(const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat64(AT_FDCWD, name, flags, bits);
}
int open(const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat64(AT_FDCWD, name, flags, bits);
}
int creat(const char *name, mode_t bits) { return openat64(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, bits); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    path_at(from_dir, from, source);
    path_at(to_dir, to, target);
    if (!is_watched(source) && !is_watched(target)) return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    enum mode met = meet("rename", is_watched(target) ? target : source, 1);
    if (met == REFUSE) return refused();
    if (mode == CUT) power_remember_name(target);
    if (mode == CUT) power_remember_name(source);
    return answer(met, syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char path[PATH_MAX];
    path_at(to_dir, to, path);
    if (!is_watched(path)) return syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    enum mode met = meet("link", path, 1);
    if (met == REFUSE) return refused();
    if (mode == CUT) power_remember_name(path);
    return answer(met, syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char *name, int flags) {
    char path[PATH_MAX];
    path_at(dirfd, name, path);
    if (!is_watched(path)) return syscall(SYS_unlinkat, dirfd, name, flags);
    enum mode met = meet(flags & AT_REMOVEDIR ? "rmdir" : "unlink", path, 0);
    if (met == REFUSE) return refused();
    if (mode == CUT) power_remember_name(path);
    return answer(met, syscall(SYS_unlinkat, dirfd, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int dirfd, const char *name, mode_t bits) {
    char path[PATH_MAX];
    path_at(dirfd, name, path);
    if (!is_watched(path)) return syscall(SYS_mkdirat, dirfd, name, bits);
    enum mode met = meet("mkdir", path, 1);
    if (met == REFUSE) return refused();
    if (mode == CUT) power_remember_name(path);
    return answer(met, syscall(SYS_mkdirat, dirfd, name, bits));
}
int mkdir(const char *name, mode_t bits) { return mkdirat(AT_FDCWD, name, bits); }
