/* SPDX-License-Identifier: Apache-2.0
 * fifo.c - open() of a named pipe.
 *
 * The pipe hangs on the inode (inode->special) and lives as long as it. An open that must wait for
 * the other side counts its end first, so that the partner finds it, keeps the end in call->state
 * and returns SYS_PARK; when the partner's counter of opens has changed, the run after that takes
 * the end over. A partner that came and went in between counts, as on Linux.
 *
 * Only calls of the slot can wait; one from a submission queue answers -EAGAIN.
 * Locks: inode->lock for the anchor, pipe->lock for counters. */
#include <poll.h>
#include <stdlib.h>

#include <kernel/task.h>
#include <vfs/vfs.h>

#include "files_private.h"
#include "pipe.h"

struct fifo_wait {
    struct inode *inode;
    struct pipe_end *end;
    uint32_t partner_opens; /* partner's counter at the start */
};

static void pipe_put_void(void *p)
{
    pipe_put(p);
}

static void fifo_wait_free(void *arg)
{
    struct fifo_wait *w = arg;

    if (w->end)
        pipe_end_free(w->end);
    inode_put(w->inode);
    free(w);
}

static struct pipe *fifo_pipe_get(struct inode *i)
{
    fmutex_lock(&i->lock);
    struct pipe *p = i->special;
    if (!p) {
        p = pipe_alloc();
        i->special = p;
        i->special_put = pipe_put_void;
    }
    if (p)
        refcount_get(&p->ref);
    fmutex_unlock(&i->lock);
    return p;
}

static uint32_t partner_opens(struct pipe_end *e)
{
    struct pipe *p = e->pipe;

    spin_lock(&p->lock);
    uint32_t opens = end_reads(e) ? p->writer_opens : p->reader_opens;
    spin_unlock(&p->lock);
    return opens;
}

static bool partner_open_now(struct pipe_end *e)
{
    struct pipe *p = e->pipe;

    spin_lock(&p->lock);
    bool there = e->mode == O_RDWR || (end_reads(e) ? p->writers : p->readers);
    spin_unlock(&p->lock);
    return there;
}

static void fifo_file_set(struct file *f, struct pipe_end *e)
{
    f->ops = &fifo_ops;
    f->private_data = e;
}

static int fifo_wait_continue(struct call *c, struct fifo_wait *w, struct file *f)
{
    if (partner_opens(w->end) == w->partner_opens) {
        int err = call_arm(c, &w->end->pipe->wait, 0);
        if (err)
            return err;
        if (partner_opens(w->end) == w->partner_opens)
            return (int)call_wait_armed(c);
    }
    fifo_file_set(f, steal(w->end));
    return 0;
}

/* Takes e. */
static int fifo_wait_start(struct inode *i, struct pipe_end *e, struct file *f)
{
    struct call *c = call_current();
    struct fifo_wait *w = c && !c->state ? calloc(1, sizeof(*w)) : NULL;

    if (!w) {
        pipe_end_free(e);
        return c && !c->state ? -ENOMEM : -EAGAIN;
    }
    w->inode = inode_get(i);
    w->end = e;
    w->partner_opens = end_reads(e) ? e->writers_before : e->readers_before;
    c->state = w;
    c->state_free = fifo_wait_free;
    return fifo_wait_continue(c, w, f);
}

int fifo_open(struct inode *i, struct file *f)
{
    uint32_t mode = f->flags & O_ACCMODE;
    struct call *c = call_current();

    if (c && c->state && c->state_free == fifo_wait_free) {
        struct fifo_wait *w = c->state;
        if (w->end && w->inode == i)
            return fifo_wait_continue(c, w, f);
    }
    struct pipe *p = fifo_pipe_get(i);
    if (!p)
        return -ENOMEM;
    struct pipe_end *e = pipe_end_new(p, mode, true);
    if (e) /* the partner may wait in open() or poll for this side to come */
        wake_all(&p->wait, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
    pipe_put(p);
    if (!e)
        return -ENOMEM;
    if (!partner_open_now(e)) {
        if (!(f->flags & O_NONBLOCK))
            return fifo_wait_start(i, e, f);
        if (mode == O_WRONLY) {
            pipe_end_free(e);
            return -ENXIO;
        }
    }
    fifo_file_set(f, e);
    return 0;
}
