/* SPDX-License-Identifier: Apache-2.0
 * files_private.h - what the kinds of files share. */
#ifndef FILES_PRIVATE_H
#define FILES_PRIVATE_H

#include <string.h>

#include <signal.h>

#include <files/files.h>
#include <kernel/async.h>

/* st_dev of files without a file system: one number for sockets, one for the rest. */
#define FILES_DEV_ANON 14
#define FILES_DEV_PIPE 15
#define FILES_DEV_SOCKET 9

extern const struct socket_family unix_family; /* unix.c */

/* stat() of a file without an inode: number, owner and times; everything else zero. */
void files_anon_stat(const struct file *f, uint32_t mode, struct stat *ret);

#endif
