/* SPDX-License-Identifier: Apache-2.0
 * pty_slave.c - the side of a pair that programs take for a terminal (termios(3), pts(4)).
 *
 * A read waits here and not in the vfs: how many bytes VMIN and VTIME wait for is more than poll()
 * can say. Locks: the pair's (pty.c). */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <vfs/vfs.h>

#include "tty.h"

static bool slave_hung(struct tty *t)
{
    spin_lock(&t->lock);
    bool hung = !t->master_open;
    spin_unlock(&t->lock);
    return hung;
}

static void file_put_ref(void *ref)
{
    file_put(ref);
}

/* Until @want bytes are there: what VMIN asks for may be more than poll() calls readable. */
static ssize_t slave_wait(struct file *f, struct call *c, uint32_t want)
{
    struct tty *t = f->private_data;

    if ((f->flags & O_NONBLOCK) || !c)
        return -EAGAIN;
    int r = call_arm_ref(c, &t->slave_wait, POLLIN, file_get(f), file_put_ref);
    if (r)
        return r;
    spin_lock(&t->lock);
    bool now = tty_readable_locked(t, want) || !t->master_open;
    spin_unlock(&t->lock);
    return now ? call_run_again(c) : call_wait_armed(c);
}

/* VMIN and VTIME. 1: read now; 0: the read returns 0; else what the read returns. */
static ssize_t slave_ready_raw(struct file *f, struct call *c, size_t max)
{
    struct tty *t = f->private_data;

    spin_lock(&t->lock);
    uint32_t held = t->in_head - t->in_tail, min = t->set.cc[VMIN];
    int64_t time = t->set.cc[VTIME] * 100000000LL, last = t->in_at_ns;
    spin_unlock(&t->lock);
    if (!min && (held || !time))
        return held > 0;
    if (!min) {
        if (c && c->timed_out)
            return 0;
        if (c)
            call_deadline(c, clock_now_ns(CLOCK_MONOTONIC) + time);
        ssize_t r = slave_wait(f, c, 1);
        return r == -ETIMEDOUT ? 0 : r;
    }
    uint32_t want = (uint32_t)MIN(min, max);
    if (held >= want || (held && (f->flags & O_NONBLOCK)))
        return 1;
    if (!held || !time)
        return slave_wait(f, c, want);
    if (clock_now_ns(CLOCK_MONOTONIC) >= last + time)
        return 1;
    if (c)
        call_deadline_move(c, last + time);
    ssize_t r = slave_wait(f, c, held + 1); /* each byte starts the time anew */
    return r == -ETIMEDOUT ? 1 : r;
}

static ssize_t slave_ready(struct file *f, struct call *c, size_t max)
{
    struct tty *t = f->private_data;

    spin_lock(&t->lock);
    bool cooked = tty_cooked(t), line = tty_readable_locked(t, 1);
    spin_unlock(&t->lock);
    if (!cooked)
        return slave_ready_raw(f, c, max);
    return line ? 1 : slave_wait(f, c, 1);
}

static ssize_t slave_take(struct tty *t, struct uio *u)
{
    struct tty_effects e = {0};
    ssize_t done = 0, r = 0;
    bool more = true;
    char buf[TTY_CHUNK];

    while (more && u->left) {
        spin_lock(&t->lock);
        size_t n = tty_take_locked(t, buf, MIN(u->left, sizeof(buf)), &more);
        tty_input_locked(t, &e);
        spin_unlock(&t->lock);
        r = n ? uio_copy_to_user(u, buf, n) : 0;
        if (r < 0)
            break;
        done += r;
    }
    tty_effects_do(t, &e);
    return done ? done : r;
}

static ssize_t slave_read(struct file *f, struct uio *u, int64_t *pos UNUSED, unsigned flags UNUSED)
{
    struct tty *t = f->private_data;
    struct task *task = task_current();

    struct call *c = call_current();

    if (slave_hung(t)) /* who waited for input hears of it */
        return c && c->started ? -EIO : 0;
    if (!u->left)
        return 0;
    int err = task ? tty_job_check(&t->job, task, SIGTTIN) : 0;
    if (err)
        return err;
    fmutex_lock(&t->slave_read);
    ssize_t r = slave_ready(f, c, u->left);
    if (r > 0)
        r = slave_take(t, u);
    fmutex_unlock(&t->slave_read);
    return r;
}

/* Room for the next piece, which is then promised to this writer. */
static size_t slave_promise(struct tty *t, size_t want)
{
    spin_lock(&t->lock);
    size_t room = tty_out_room_locked(t), n = MIN(MIN(room, want), (size_t)TTY_CHUNK);
    t->out_promised = (uint32_t)(t->set.oflag & OPOST ? n * TTY_EXPANSION_MAX : n);
    spin_unlock(&t->lock);
    return n;
}

static void slave_put(struct tty *t, const char *buf, ssize_t n)
{
    struct tty_effects e = {0};

    spin_lock(&t->lock);
    t->out_promised = 0;
    if (n > 0) {
        tty_write_locked(t, buf, (size_t)n);
        e.wake_master = TTY_POLL_IN;
    }
    spin_unlock(&t->lock);
    tty_effects_do(t, &e);
}

static ssize_t slave_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                           unsigned flags UNUSED)
{
    struct tty *t = f->private_data;
    struct task *task = task_current();
    ssize_t done = 0, r = 0;
    char buf[TTY_CHUNK];

    spin_lock(&t->lock);
    bool hung = !t->master_open, may_stop = t->set.lflag & TOSTOP;
    spin_unlock(&t->lock);
    if (hung)
        return -EIO;
    if (task && may_stop)
        r = tty_job_check(&t->job, task, SIGTTOU);
    if (r)
        return r;
    fmutex_lock(&t->slave_write);
    while (u->left) {
        size_t n = slave_promise(t, u->left);
        r = n ? uio_copy_from_user(u, buf, n) : -EAGAIN;
        if (n)
            slave_put(t, buf, r);
        if (r < 0)
            break;
        done += r;
    }
    fmutex_unlock(&t->slave_write);
    return done ? done : r;
}

static uint32_t slave_readiness(struct file *f)
{
    struct tty *t = f->private_data;
    uint32_t ready = 0;

    spin_lock(&t->lock);
    uint32_t min = t->set.cc[VMIN] && !t->set.cc[VTIME] ? t->set.cc[VMIN] : 1;
    if (!t->master_open)
        ready = TTY_POLL_HUNG;
    if (tty_readable_locked(t, min))
        ready |= TTY_POLL_IN;
    if (tty_out_room_locked(t))
        ready |= TTY_POLL_OUT;
    spin_unlock(&t->lock);
    return ready;
}

static struct wait_queue *slave_wait_queue(struct file *f)
{
    return &((struct tty *)f->private_data)->slave_wait;
}

static sysret_t slave_ioctl(struct file *f, struct task *task, uint32_t cmd, uint64_t arg)
{
    struct tty *t = f->private_data;

    if (slave_hung(t))
        return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
    return tty_ioctl(t, task, cmd, arg, false);
}

static void slave_release(struct file *f)
{
    struct tty *t = f->private_data;
    struct tty_effects e = {0};

    spin_lock(&t->lock);
    if (!--t->slave_opens) {
        t->slave_closed = true;
        e.wake_master = TTY_POLL_IN | POLLHUP;
    }
    spin_unlock(&t->lock);
    tty_effects_do(t, &e);
    tty_put(t);
}

int tty_slave_attach(struct tty *t, struct file *f)
{
    struct task *task = task_current();
    int r = 0;

    spin_lock(&t->lock);
    if (!t->master_open || t->locked)
        r = -EIO;
    else if (t->exclusive && !(task && cred_capable(task->cred, CAP_SYS_ADMIN)))
        r = -EBUSY;
    else
        t->slave_opens++;
    if (!r)
        t->slave_closed = false;
    spin_unlock(&t->lock);
    if (r) {
        tty_put(t);
        return r;
    }
    f->ops = &tty_slave_ops;
    f->private_data = t;
    return 0;
}

const struct file_ops tty_slave_ops = {
    .name = "/dev/tty",
    .read = slave_read,
    .write = slave_write,
    .readiness = slave_readiness,
    .wait_queue = slave_wait_queue,
    .ioctl = slave_ioctl,
    .release = slave_release,
};
