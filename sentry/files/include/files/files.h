/* SPDX-License-Identifier: Apache-2.0
 * files.h - kinds of files without a file system. ERR_PTR on error. */
#ifndef FILES_FILES_H
#define FILES_FILES_H

#include <vfs/file.h>

#define PIPE_SIZE_DEFAULT 65536u
#define PIPE_SIZE_MAX (1u << 20)

int pipe_new(uint32_t flags, struct file **ret_read, struct file **ret_write);
/* open() of a fifo inode; waits for the other side through @c like Linux (SYS_PARK). */
int fifo_open(struct inode *i, struct file *f);
struct file *eventfd_new(uint32_t initval, uint32_t flags);
struct file *epoll_new(uint32_t flags);
int socketpair_new(int domain, int type, int protocol, struct file **ret_a, struct file **ret_b);

/* A descriptor of the host (the CLI's stdin, stdout, stderr), taken over. @tty: terminal ioctls are
 * passed on. Never blocks: readiness by io_poll. */
struct file *hostfile_new(int fd, uint32_t flags);

/* Called by file_put's last reference: leave all epolls. */
void epoll_file_gone(struct file *f);

#endif
