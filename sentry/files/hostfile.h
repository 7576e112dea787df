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
    _Atomic(uint32_t) users; /* files; references are also held by polls and terminals */
    int fd;
    enum host_kind kind;
    struct wait_queue wait;
    struct host_poll in, out;
    struct host_terminal *terminal; /* a reference, if it is one that was given to a session */
    struct list_head terminal_link;
};

/* A terminal of the host that belongs to a session inside: host_tty.c. Its descriptors (stdin, stdout,
 * stderr of one caller) are hostfiles that hold references to it. */
struct host_terminal {
    struct refcount ref;
    struct tty_job job;
    struct spin lock;         /* RANK_OBJECT */
    struct list_head files;   /* hostfile.terminal_link; GUARDED_BY(lock) */
    struct hostfile *console; /* the first of them; a reference until the hangup; set once */
    bool listed;              /* its job is known to tty_job.c */
    _Atomic(bool) hung;       /* reads find the end, all else fails */
};

void hostfile_get(struct hostfile *h);
void hostfile_put(struct hostfile *h);
void hostfile_poll_cancel(struct hostfile *h);
/* @f becomes one more file of @h, whose reference it takes over. */
int hostfile_open(struct hostfile *h, struct file *f);
static inline struct tty_job *hostfile_job(struct hostfile *h)
{
    return h->terminal ? &h->terminal->job : NULL;
}
static inline bool hostfile_hung(struct hostfile *h)
{
    return h->terminal && atomic_load(&h->terminal->hung);
}
/* host_tty.c: @h, a terminal, joins and leaves. */
void host_terminal_join(struct host_terminal *t, struct hostfile *h);
void host_terminal_leave(struct hostfile *h);
sysret_t hostfile_tty_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg);
sysret_t hostfile_stream_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg);

#endif
