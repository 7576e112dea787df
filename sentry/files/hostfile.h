/* SPDX-License-Identifier: Apache-2.0
 * hostfile.h - hostfile.c and its terminal ioctls. */
#ifndef FILES_HOSTFILE_H
#define FILES_HOSTFILE_H

#include <host/io.h>

#include "tty.h"

enum host_kind { HOST_REGULAR, HOST_TTY, HOST_PIPE, HOST_SOCKET, HOST_OTHER };

struct hostfile;
struct host_poll {
    struct io_poll poll;
    struct hostfile *file;
    uint32_t events, events_normal; /* POLLIN with POLLRDNORM, POLLOUT with POLLWRNORM */
    _Atomic(bool) armed;            /* then it holds a reference to the file */
};

struct hostfile {
    struct refcount ref;
    int fd;
    enum host_kind kind;
    struct wait_queue wait;
    struct host_poll in, out;
};

extern struct tty_job g_host_tty; /* stdin, stdout and stderr are one terminal, if they are any */
sysret_t hostfile_tty_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg);
sysret_t hostfile_stream_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg);

#endif
