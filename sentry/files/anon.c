/* SPDX-License-Identifier: Apache-2.0
 * anon.c - attributes of files without an inode.
 *
 * Linux gives pipes, sockets and the rest a device of their own each; programs compare st_dev and
 * st_ino to find out whether two descriptors are the same object. No locks. */
#include <sys/sysmacros.h>

#include <kernel/task.h>
#include <kernel/timer.h>

#include "files_private.h"

void files_anon_stat(const struct file *f, uint32_t mode, struct stat *ret)
{
    uint32_t minor = S_ISFIFO(mode)   ? FILES_DEV_PIPE
                     : S_ISSOCK(mode) ? FILES_DEV_SOCKET
                                      : FILES_DEV_ANON;

    memset(ret, 0, sizeof(*ret));
    ret->st_dev = makedev(0, minor);
    ret->st_ino = f->ino;
    ret->st_mode = mode;
    ret->st_nlink = 1;
    ret->st_blksize = 4096;
    if (f->cred) {
        ret->st_uid = f->cred->fsuid;
        ret->st_gid = f->cred->fsgid;
    }
}
