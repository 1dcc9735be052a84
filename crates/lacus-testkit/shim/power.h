/* A power cut, for the shim in faults.c: what is not synced is undone. */
#ifndef LACUS_POWER_H
#define LACUS_POWER_H
#include <sys/types.h>

/* Keeps what replaced names need, in a directory beside `directory`. Call once, first. */
void power_start(const char *directory);
/* Before bytes [at, at + length) of a file change, or its length does. at < 0: where a plain write would go. */
void power_remember_bytes(int fd, off_t at, off_t length);
/* Before a name appears, disappears or stands for another file. */
void power_remember_name(const char *path);
/* After a sync: the bytes of this file, or the names in this directory, are safe. */
void power_forget(int fd, const char *path);
/* Undoes everything that is not safe, latest first. */
void power_cut(void);

#endif
