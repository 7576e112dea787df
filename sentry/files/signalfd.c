/* SPDX-License-Identifier: Apache-2.0
 * signalfd.c - pending signals as a file (signalfd(2)).
 *
 * As on Linux the signals are the reader's, not the creator's: reading takes from the calling task,
 * readiness asks the calling task, waiting is on its action table's queue. The mask is one word that
 * signalfd4 may change while others read.
 *
 * Left out: an epoll instance waits on the action table of the task that added the descriptor. */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/signalfd.h>

#include <kernel/signal.h>
#include <kernel/task.h>

#include "files_private.h"

struct signalfd {
    _Atomic(sigset_t_abi) mask;
    struct sighand *sighand; /* reference: the creator's, whose queue is waited on */
};

static const struct file_ops signalfd_ops;

static void info_fill(struct signalfd_siginfo *o, const siginfo_t *s)
{
    memset(o, 0, sizeof(*o));
    o->ssi_signo = (uint32_t)s->si_signo;
    o->ssi_errno = s->si_errno;
    o->ssi_code = s->si_code;
    if (s->si_code == SI_TIMER) {
        o->ssi_tid = (uint32_t)s->si_timerid;
        o->ssi_overrun = (uint32_t)s->si_overrun;
    } else if (s->si_code > 0 && s->si_signo == SIGPOLL) {
        o->ssi_band = (uint32_t)s->si_band;
        o->ssi_fd = s->si_fd;
        return;
    } else {
        o->ssi_pid = (uint32_t)s->si_pid;
        o->ssi_uid = s->si_uid;
    }
    if (s->si_code > 0 && s->si_signo == SIGCHLD) {
        o->ssi_status = s->si_status;
        o->ssi_utime = (uint64_t)s->si_utime;
        o->ssi_stime = (uint64_t)s->si_stime;
    } else if (s->si_code < 0) {
        o->ssi_ptr = (uint64_t)(uintptr_t)s->si_ptr;
        o->ssi_int = s->si_int;
    }
}

static ssize_t signalfd_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                             unsigned flags UNUSED)
{
    struct signalfd *s = f->private_data;
    struct signalfd_siginfo out;
    ssize_t done = 0;

    if (u->left < sizeof(out))
        return -EINVAL;
    while (u->left >= sizeof(out)) {
        siginfo_t info;
        if (!signal_dequeue(task_current(), atomic_load(&s->mask), &info))
            break;
        info_fill(&out, &info);
        ssize_t r = uio_copy_to_user(u, &out, sizeof(out));
        if (r < 0)
            return done ? done : r;
        done += (ssize_t)sizeof(out);
    }
    return done ? done : -EAGAIN;
}

static uint32_t signalfd_readiness(struct file *f)
{
    struct signalfd *s = f->private_data;
    struct task *t = task_current();

    return t && (signal_pending_set(t) & atomic_load(&s->mask)) ? POLLIN | POLLRDNORM : 0;
}

/* The queue must live as long as the file: the creator's table, held. A reader of another process
 * (after fork) that would wait elsewhere gets its own through signalfd4 in it. */
static struct wait_queue *signalfd_wait_queue(struct file *f)
{
    return &((struct signalfd *)f->private_data)->sighand->wait;
}

static int signalfd_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, 0600, ret);
    return 0;
}

static void signalfd_release(struct file *f)
{
    struct signalfd *s = f->private_data;

    sighand_put(s->sighand);
    free(s);
}

static const struct file_ops signalfd_ops = {
    .name = "anon_inode:[signalfd]",
    .read = signalfd_read,
    .readiness = signalfd_readiness,
    .wait_queue = signalfd_wait_queue,
    .getattr = signalfd_getattr,
    .release = signalfd_release,
};

struct file *signalfd_new(uint64_t mask, uint32_t flags)
{
    struct signalfd *s = calloc(1, sizeof(*s));

    if (!s)
        return ERR_PTR(-ENOMEM);
    atomic_init(&s->mask, mask & ~SIG_UNBLOCKABLE);
    s->sighand = sighand_get(task_current()->process->sighand);
    struct file *f = file_new(&signalfd_ops, s, O_RDWR | (flags & O_NONBLOCK));
    if (IS_ERR(f)) {
        sighand_put(s->sighand);
        free(s);
    }
    return f;
}

int signalfd_change(struct file *f, uint64_t mask)
{
    struct signalfd *s = f->private_data;

    if (f->ops != &signalfd_ops)
        return -EINVAL;
    atomic_store(&s->mask, mask & ~SIG_UNBLOCKABLE);
    wake_all(&s->sighand->wait, POLLIN);
    return 0;
}
