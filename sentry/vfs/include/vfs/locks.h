/* SPDX-License-Identifier: Apache-2.0
 * locks.h - advisory locks on files: byte ranges (POSIX and OFD) and flock. */
#ifndef VFS_LOCKS_H
#define VFS_LOCKS_H

#include <vfs/file.h>

struct fdtable;

#define FILE_LOCKS_MAX 100000u /* of a sandbox */

struct lock_range {
    void *owner;         /* POSIX: the fdtable; OFD: the file */
    int32_t pid;         /* shown by F_GETLK; -1 for OFD */
    int16_t type;        /* F_RDLCK, F_WRLCK, F_UNLCK */
    uint64_t start, end; /* inclusive; end INT64_MAX: to the end of the file */
};

/* Never waits for a lock: 0, -EAGAIN (held by another inside), -EBUSY (held by somebody outside), -ENOLCK,
 * -ENOMEM. May park. */
int lock_range_set(struct inode *i, const struct lock_range *l);
/* First lock that stands against @l, inside: true and *ret. */
bool lock_range_conflict(struct inode *i, const struct lock_range *l, struct lock_range *ret);
/* The same outside: 1 and *ret, 0, -errno. May park. */
int lock_range_conflict_outside(struct inode *i, const struct lock_range *l,
                                struct lock_range *ret);
/* LOCK_SH, LOCK_EX, LOCK_UN on the open file: as lock_range_set(). */
int lock_flock(struct file *f, int op);
bool lock_flock_conflict(struct file *f, int op);
/* Fires when a lock of the inode goes. NULL: no lock was ever taken. */
struct wait_queue *lock_queue(struct inode *i);

#endif
