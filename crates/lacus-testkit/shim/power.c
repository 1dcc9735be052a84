/* A power cut: remembers what every unsynced change replaced, and puts it back.
 *
 * The harshest disk that keeps its word: nothing survives unless its file was synced (bytes, length) and its directory
 * was synced (names). Real disks keep more, never less. The caller holds one lock around all of this.
 * Directories are made and removed by the programs under test, never renamed.
 */
#define _GNU_SOURCE
#include "power.h"
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One change that is not safe yet. */
struct change {
    char *path;     /* of a name; NULL for bytes */
    int kept;       /* name: number of the file it stood for, in `beside`; -1 when there was none */
    int fd;         /* bytes: the file, opened by us */
    dev_t device;   /* bytes: which file it is */
    ino_t inode;
    off_t at;       /* bytes: where, how many were there, and the length of the file before */
    off_t length;
    off_t file_length;
    char *bytes;
};

static struct change *changes;
static size_t changes_count, changes_room;
static char beside[PATH_MAX];
static int kept_count;

void power_start(const char *directory) {
    snprintf(beside, sizeof beside, "%.*s.undo", PATH_MAX - 16, directory);
    syscall(SYS_mkdirat, AT_FDCWD, beside, 0755);
}

static struct change *new_change(void) {
    if (changes_count == changes_room) {
        changes_room = changes_room ? 2 * changes_room : 64;
        changes = realloc(changes, changes_room * sizeof *changes);
        if (!changes) abort();
    }
    struct change *change = &changes[changes_count++];
    memset(change, 0, sizeof *change);
    change->fd = change->kept = -1;
    return change;
}

static void free_change(struct change *change) {
    if (change->fd >= 0) syscall(SYS_close, change->fd);
    free(change->path);
    free(change->bytes);
}

void power_remember_bytes(int fd, off_t at, off_t length) {
    struct stat file;
    if (fstat(fd, &file) || !S_ISREG(file.st_mode)) return;
    if (at < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? file.st_size : lseek(fd, 0, SEEK_CUR);
    struct change *change = new_change();
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    change->fd = syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC, 0);
    change->device = file.st_dev;
    change->inode = file.st_ino;
    change->at = at;
    change->file_length = file.st_size;
    change->length = at >= file.st_size ? 0 : at + length > file.st_size ? file.st_size - at : length;
    change->bytes = malloc((size_t)change->length + 1);
    if (!change->bytes || pread(change->fd, change->bytes, (size_t)change->length, at) != change->length) abort();
}

void power_remember_name(const char *path) {
    struct stat file;
    int was_there = !syscall(SYS_newfstatat, AT_FDCWD, path, &file, AT_SYMLINK_NOFOLLOW);
    if (was_there && !S_ISREG(file.st_mode)) return;
    struct change *change = new_change();
    change->path = strdup(path);
    if (!was_there) return;
    char kept[PATH_MAX + 16];
    change->kept = kept_count++;
    snprintf(kept, sizeof kept, "%s/%d", beside, change->kept);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0)) abort();
}

static int is_in(const char *path, const char *directory) {
    size_t length = strlen(directory);
    return !strncmp(path, directory, length) && path[length] == '/' && !strchr(path + length + 1, '/');
}

void power_forget(int fd, const char *path) {
    struct stat file;
    if (fstat(fd, &file)) return;
    size_t left = 0;
    for (size_t i = 0; i < changes_count; i++) {
        struct change *change = &changes[i];
        int safe = change->path ? S_ISDIR(file.st_mode) && is_in(change->path, path)
                                : change->device == file.st_dev && change->inode == file.st_ino;
        if (safe) free_change(change);
        else changes[left++] = *change;
    }
    changes_count = left;
}

static int remove_one(const char *path, const struct stat *file, int kind, struct FTW *walk) {
    (void)file, (void)walk;
    return syscall(SYS_unlinkat, AT_FDCWD, path, kind == FTW_DP ? AT_REMOVEDIR : 0);
}

static void undo_name(const struct change *change) {
    nftw(change->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (change->kept < 0) return;
    char kept[PATH_MAX + 16];
    snprintf(kept, sizeof kept, "%s/%d", beside, change->kept);
    syscall(SYS_linkat, AT_FDCWD, kept, AT_FDCWD, change->path, 0);
}

void power_cut(void) {
    while (changes_count) {
        struct change *change = &changes[--changes_count];
        if (change->path) {
            undo_name(change);
        } else {
            syscall(SYS_pwrite64, change->fd, change->bytes, (size_t)change->length, change->at);
            syscall(SYS_ftruncate, change->fd, change->file_length);
        }
    }
}
