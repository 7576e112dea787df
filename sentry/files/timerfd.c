/* SPDX-License-Identifier: Apache-2.0
 * timerfd.c - timers that are read like files (timerfd_create(2)).
 *
 * The kernel timer runs on CLOCK_MONOTONIC; an absolute time of another clock is converted when it
 * is set. Expirations of an interval are counted when somebody looks, so a short interval costs one
 * timer at a time: the timer is armed again only from read and settime, and by fire() while nobody
 * has read yet it stays silent (the file is ready already).
 *
 * Left out: TFD_TIMER_CANCEL_ON_SET has no effect beyond being accepted, the sandbox cannot set
 * clocks. Lock: RANK_OBJECT; the timer is armed and cancelled outside it, under arm_lock. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/timerfd.h>

#include <kernel/task.h>
#include <kernel/timer.h>

#include "files_private.h"

#define NSEC 1000000000LL

struct timerfd {
    struct fmutex arm_lock; /* RANK_FILE: set and re-arm exclude each other */
    struct spin lock;       /* RANK_OBJECT; below it: */
    int64_t next_ns;        /* monotonic; the next expiration not yet read; 0: disarmed */
    int64_t interval_ns;
    struct wait_queue wait;
    struct timer timer;
    int clock;
};

static void timerfd_fire(struct timer *t)
{
    struct timerfd *d = container_of(t, struct timerfd, timer);

    wake_one(&d->wait, POLLIN | POLLRDNORM);
}

/* Expirations up to @now that nobody has read; lock held. */
static uint64_t timerfd_due_locked(const struct timerfd *d, int64_t now)
{
    if (!d->next_ns || now < d->next_ns)
        return 0;
    return d->interval_ns ? 1 + (uint64_t)((now - d->next_ns) / d->interval_ns) : 1;
}

static ssize_t timerfd_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                            unsigned flags UNUSED)
{
    struct timerfd *d = f->private_data;
    int err = 0;

    if (u->left < sizeof(uint64_t))
        return -EINVAL;
    fmutex_lock(&d->arm_lock);
    int64_t now = clock_now_ns(CLOCK_MONOTONIC);
    spin_lock(&d->lock);
    uint64_t due = timerfd_due_locked(d, now);
    if (due)
        d->next_ns = d->interval_ns ? d->next_ns + (int64_t)due * d->interval_ns : 0;
    int64_t next = d->next_ns;
    spin_unlock(&d->lock);
    if (due && next)
        err = timer_arm(&d->timer, NULL, next);
    fmutex_unlock(&d->arm_lock);
    if (!due)
        return -EAGAIN;
    if (err)
        return err;
    ssize_t r = uio_copy_to_user(u, &due, sizeof(due));
    return r < 0 ? r : (ssize_t)sizeof(due);
}

static uint32_t timerfd_readiness(struct file *f)
{
    struct timerfd *d = f->private_data;
    int64_t now = clock_now_ns(CLOCK_MONOTONIC);

    spin_lock(&d->lock);
    uint64_t due = timerfd_due_locked(d, now);
    spin_unlock(&d->lock);
    return due ? POLLIN | POLLRDNORM : 0;
}

static struct wait_queue *timerfd_wait_queue(struct file *f)
{
    return &((struct timerfd *)f->private_data)->wait;
}

static int timerfd_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, 0600, ret);
    return 0;
}

static void timerfd_release(struct file *f)
{
    struct timerfd *d = f->private_data;

    timer_cancel(&d->timer);
    free(d);
}

static const struct file_ops timerfd_ops = {
    .name = "anon_inode:[timerfd]",
    .read = timerfd_read,
    .readiness = timerfd_readiness,
    .wait_queue = timerfd_wait_queue,
    .getattr = timerfd_getattr,
    .release = timerfd_release,
};

struct file *timerfd_new(int clock, uint32_t flags)
{
    struct timerfd *d = calloc(1, sizeof(*d));

    if (!d)
        return ERR_PTR(-ENOMEM);
    fmutex_init(&d->arm_lock, RANK_FILE);
    spin_init(&d->lock, RANK_OBJECT);
    wait_queue_init(&d->wait);
    timer_init(&d->timer, timerfd_fire);
    d->clock = clock;
    struct file *f = file_new(&timerfd_ops, d, O_RDWR | (flags & O_NONBLOCK));
    if (IS_ERR(f))
        free(d);
    return f;
}

/* Saturating; false when the fields are out of range. */
static bool timespec_to_ns(const struct timespec *ts, int64_t *ret)
{
    if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= NSEC)
        return false;
    *ret = ts->tv_sec >= INT64_MAX / NSEC ? INT64_MAX : ts->tv_sec * NSEC + ts->tv_nsec;
    return true;
}

static struct timespec ns_to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NSEC, .tv_nsec = ns % NSEC};
}

static void timerfd_state_locked(const struct timerfd *d, int64_t now, struct itimerspec *ret)
{
    int64_t left = 0;

    if (d->next_ns) {
        uint64_t due = timerfd_due_locked(d, now);
        left = d->next_ns - now;
        if (due)
            left = d->interval_ns ? left + (int64_t)due * d->interval_ns : 0;
    }
    ret->it_value = ns_to_timespec(left);
    ret->it_interval = ns_to_timespec(d->interval_ns);
}

int timerfd_set(struct file *f, uint32_t flags, const struct itimerspec *value,
                struct itimerspec *ret_old)
{
    int64_t first, interval;
    int err = 0;

    if (f->ops != &timerfd_ops || !timespec_to_ns(&value->it_value, &first) ||
        !timespec_to_ns(&value->it_interval, &interval))
        return -EINVAL;
    struct timerfd *d = f->private_data;
    int64_t now = clock_now_ns(CLOCK_MONOTONIC);
    if (first) {
        int64_t base = now, when;
        if (flags & TFD_TIMER_ABSTIME)
            base -= d->clock == CLOCK_MONOTONIC ? now : clock_now_ns(d->clock);
        if (__builtin_add_overflow(base, first, &when))
            when = INT64_MAX;
        first = MAX(when, (int64_t)1);
    }
    fmutex_lock(&d->arm_lock);
    timer_cancel(&d->timer);
    spin_lock(&d->lock);
    timerfd_state_locked(d, now, ret_old);
    d->next_ns = first;
    d->interval_ns = interval;
    spin_unlock(&d->lock);
    if (first)
        err = timer_arm(&d->timer, NULL, first);
    fmutex_unlock(&d->arm_lock);
    return err;
}

int timerfd_get(struct file *f, struct itimerspec *ret)
{
    if (f->ops != &timerfd_ops)
        return -EINVAL;
    struct timerfd *d = f->private_data;
    int64_t now = clock_now_ns(CLOCK_MONOTONIC);
    spin_lock(&d->lock);
    timerfd_state_locked(d, now, ret);
    spin_unlock(&d->lock);
    return 0;
}
