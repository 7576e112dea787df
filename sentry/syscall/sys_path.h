/* SPDX-License-Identifier: Apache-2.0
 * sys_path.h - what the handlers of file calls share. */
#ifndef SYS_PATH_H
#define SYS_PATH_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/checked.h>
#include <base/err.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

/* A string of the guest, freed at the end of the scope: `char *name AUTO_STR = path_copy_in(...)`.
 */
static inline void guest_str_free(char **s)
{
    if (!IS_ERR(*s))
        free(*s);
}
#define AUTO_STR CLEANUP(guest_str_free)

/* AT_* of a call to LOOKUP_*; follow: links are followed unless AT_SYMLINK_NOFOLLOW. */
static inline unsigned lookup_from_at(uint32_t flags)
{
    return (flags & AT_SYMLINK_NOFOLLOW ? LOOKUP_NOFOLLOW : 0) |
           (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

/* Path of the guest's string, looked up. An empty string with AT_EMPTY_PATH is the descriptor's own
 * place; -EBADF for descriptors without one. */
int path_from_guest_as(struct task *t, struct cred *cred, int dirfd, uaddr_t name, unsigned lookup,
                       struct path *ret);
int path_from_guest(struct task *t, int dirfd, uaddr_t name, unsigned lookup, struct path *ret);
/* Path of an open descriptor (O_PATH too unless @real); -EBADF. *ret_file may be NULL. */
int path_from_fd(struct task *t, int fd, bool real, struct path *ret);

/* --- sys_file_owner.c --- */

/* O_ASYNC changes: the file's owner is told of events on @fd from now on, or no more. */
int async_switch(struct file *f, int fd, bool on);
/* F_SETOWN, F_GETOWN, F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX. */
sysret_t fcntl_owner(struct task *t, struct file *f, uint32_t cmd, uint64_t arg);
/* FIOSETOWN, SIOCSPGRP, FIOGETOWN, SIOCGPGRP. */
sysret_t ioctl_owner(struct task *t, struct file *f, uint32_t cmd, uint64_t arg);

#endif
