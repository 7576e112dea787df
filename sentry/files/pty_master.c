/* SPDX-License-Identifier: Apache-2.0
 * pty_master.c - the side of a pair that plays the terminal: what it writes is typed, what it reads
 * is shown (pty(7)). Locks: the pair's (pty.c). */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#include "tty.h"

/* Take what the slave has written. */
static size_t master_take(struct tty *t, char *buf, size_t max, struct tty_effects *e)
{
    size_t n = 0;

    spin_lock(&t->lock);
    while (n < max && t->out_tail != t->out_head)
        buf[n++] = (char)t->out[t->out_tail++ % TTY_OUT_SIZE];
    spin_unlock(&t->lock);
    if (n)
        e->wake_slave |= TTY_POLL_OUT;
    return n;
}

static bool master_has_data(struct tty *t)
{
    spin_lock(&t->lock);
    bool has = t->out_tail != t->out_head;
    spin_unlock(&t->lock);
    return has;
}

/* Packet mode: what has happened, or that data follow. true: nothing more in this read. */
static bool packet_byte(struct tty *t, char *ret)
{
    spin_lock(&t->lock);
    uint8_t status = t->packet_status;
    t->packet_status = 0;
    spin_unlock(&t->lock);
    *ret = (char)status;
    return status;
}

static ssize_t master_read_data(struct tty *t, struct uio *u, ssize_t done)
{
    struct tty_effects e = {0};
    char buf[TTY_CHUNK];
    ssize_t r = 0;

    while (u->left) {
        size_t n = master_take(t, buf, MIN(u->left, sizeof(buf)), &e);
        if (!n)
            break;
        r = uio_copy_to_user(u, buf, n);
        if (r < 0)
            break;
        done += r;
    }
    tty_effects_do(t, &e);
    return done ? done : r;
}

static ssize_t master_read_locked(struct tty *t, struct uio *u)
{
    char status = 0;
    ssize_t done = 0;

    spin_lock(&t->lock);
    bool packet = t->packet;
    spin_unlock(&t->lock);
    if (packet) {
        bool alone = packet_byte(t, &status);
        if (!alone && !master_has_data(t))
            return 0;
        done = uio_copy_to_user(u, &status, 1);
        if (alone || done < 0)
            return done;
    }
    return master_read_data(t, u, done);
}

static ssize_t master_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                           unsigned flags UNUSED)
{
    struct tty *t = f->private_data;

    if (!u->left)
        return 0;
    fmutex_lock(&t->master_read);
    ssize_t r = master_read_locked(t, u);
    fmutex_unlock(&t->master_read);
    if (r)
        return r;
    spin_lock(&t->lock);
    bool closed = t->slave_closed;
    spin_unlock(&t->lock);
    return closed ? -EIO : -EAGAIN;
}

static size_t feed_room(struct tty *t)
{
    spin_lock(&t->lock);
    size_t room = TTY_FEED_SIZE - (t->feed_head - t->feed_tail);
    spin_unlock(&t->lock);
    return room;
}

static void feed_put(struct tty *t, const char *buf, size_t n)
{
    struct tty_effects e = {0};

    spin_lock(&t->lock);
    for (size_t i = 0; i < n; i++)
        t->feed[t->feed_head++ % TTY_FEED_SIZE] = (uint8_t)buf[i];
    tty_input_locked(t, &e);
    spin_unlock(&t->lock);
    e.wake_master &= ~(uint32_t)TTY_POLL_OUT; /* the writer is here */
    tty_effects_do(t, &e);
}

static ssize_t master_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                            unsigned flags UNUSED)
{
    struct tty *t = f->private_data;
    ssize_t done = 0, r = 0;
    char buf[TTY_CHUNK];

    fmutex_lock(&t->master_write);
    while (u->left) {
        size_t n = MIN(MIN(feed_room(t), u->left), sizeof(buf));
        r = n ? uio_copy_from_user(u, buf, n) : -EAGAIN;
        if (r < 0)
            break;
        feed_put(t, buf, (size_t)r);
        done += r;
    }
    fmutex_unlock(&t->master_write);
    return done ? done : r;
}

static uint32_t master_readiness(struct file *f)
{
    struct tty *t = f->private_data;
    uint32_t ready = 0;

    spin_lock(&t->lock);
    if (t->out_tail != t->out_head)
        ready |= TTY_POLL_IN;
    if (t->packet && t->packet_status)
        ready |= TTY_POLL_IN | POLLPRI;
    if (t->slave_closed)
        ready |= POLLHUP;
    if (t->feed_head - t->feed_tail < TTY_FEED_SIZE)
        ready |= TTY_POLL_OUT;
    spin_unlock(&t->lock);
    return ready;
}

static struct wait_queue *master_wait_queue(struct file *f)
{
    return &((struct tty *)f->private_data)->master_wait;
}

static sysret_t master_packet(struct tty *t, struct task *task, uint64_t arg)
{
    int32_t on;

    if (copy_in_obj(task->mm, &on, UADDR(arg)))
        return -EFAULT;
    spin_lock(&t->lock);
    if (on && !t->packet)
        t->packet_status = 0;
    t->packet = on;
    spin_unlock(&t->lock);
    return 0;
}

static sysret_t master_lock(struct tty *t, struct task *task, uint64_t arg)
{
    int32_t on;

    if (copy_in_obj(task->mm, &on, UADDR(arg)))
        return -EFAULT;
    spin_lock(&t->lock);
    t->locked = on;
    spin_unlock(&t->lock);
    return 0;
}

static sysret_t master_signal(struct tty *t, uint64_t arg)
{
    if (arg != SIGINT && arg != SIGQUIT && arg != SIGTSTP)
        return -EINVAL;
    tty_job_signal(&t->job, (int)arg);
    return 0;
}

/* A descriptor of the slave without asking for its name outside the caller's root. */
static sysret_t master_peer(struct tty *t, struct task *task, uint64_t flags)
{
    struct path at AUTO_PATH = {0};
    char name[32];

    (void)snprintf(name, sizeof(name), "/dev/pts/%d", t->index);
    int r = path_lookup(task, AT_FDCWD, name, 0, &at);
    if (r)
        return r;
    struct file *f AUTO_PUT(file) = vfs_open_path(&at, (uint32_t)flags, task->cred);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (f->private_data != t)
        return -EIO; /* something else has been mounted there */
    return fd_install(task, f, (uint32_t)flags & O_CLOEXEC, 0);
}

static sysret_t master_ioctl(struct file *f, struct task *task, uint32_t cmd, uint64_t arg)
{
    struct tty *t = f->private_data;

    switch (cmd) {
    case TIOCGPTN:
        return tty_int_out(task, arg, t->index);
    case TIOCSPTLCK:
        return master_lock(t, task, arg);
    case TIOCGPTLCK:
        return tty_int_out(task, arg, t->locked);
    case TIOCPKT:
        return master_packet(t, task, arg);
    case TIOCGPKT:
        return tty_int_out(task, arg, t->packet);
    case TIOCSIG:
        return master_signal(t, arg);
    case TIOCGPTPEER:
        return master_peer(t, task, arg);
    default:
        return tty_ioctl(t, task, cmd, arg, true);
    }
}

static void master_release(struct file *f)
{
    struct tty *t = f->private_data;
    struct tty_effects e = {.wake_slave = TTY_POLL_HUNG};

    tty_unlist(t);
    spin_lock(&t->lock);
    t->master_open = false;
    spin_unlock(&t->lock);
    tty_job_hangup(&t->job);
    tty_effects_do(t, &e);
    tty_put(t);
}

const struct file_ops tty_master_ops = {
    .name = "/dev/ptmx",
    .read = master_read,
    .write = master_write,
    .readiness = master_readiness,
    .wait_queue = master_wait_queue,
    .ioctl = master_ioctl,
    .release = master_release,
};
