/* SPDX-License-Identifier: Apache-2.0
 * sys_timer.c - interval timers and POSIX timers: conversion of the guest's structures. */
#include <string.h>
#include <sys/time.h>

#include <kernel/itimer.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>

/* --- setitimer, alarm --- */

static int timeval_decode(const struct timeval *tv, int64_t *ret_ns)
{
    if (tv->tv_sec < 0 || tv->tv_usec < 0 || tv->tv_usec >= 1000000)
        return -EINVAL;
    struct timespec ts = {.tv_sec = tv->tv_sec, .tv_nsec = tv->tv_usec * NSEC_PER_USEC};
    *ret_ns = timespec_to_ns(&ts);
    return 0;
}

static struct timeval timeval_encode(int64_t ns)
{
    return (struct timeval){.tv_sec = ns / NSEC_PER_SEC,
                            .tv_usec = ns % NSEC_PER_SEC / NSEC_PER_USEC};
}

static int itimerval_out(struct call *c, uaddr_t to, const struct timer_spec *s)
{
    struct itimerval v = {.it_interval = timeval_encode(s->interval),
                          .it_value = timeval_encode(s->value)};
    return copy_out_obj(c->task->mm, to, &v);
}

sysret_t sys_setitimer(struct call *c, int32_t which, uaddr_t value, uaddr_t old)
{
    struct itimerval v = {0};
    struct timer_spec new, before;
    if (!uaddr_null(value) && copy_in_obj(c->task->mm, &v, value))
        return -EFAULT;
    if (timeval_decode(&v.it_value, &new.value) || timeval_decode(&v.it_interval, &new.interval))
        return -EINVAL;
    int err = itimer_set(c->task->process, which, &new, &before);
    if (!err && !uaddr_null(old))
        err = itimerval_out(c, old, &before);
    return err;
}

sysret_t sys_getitimer(struct call *c, int32_t which, uaddr_t value)
{
    struct timer_spec now;
    int err = itimer_set(c->task->process, which, NULL, &now);
    return err ? err : itimerval_out(c, value, &now);
}

sysret_t sys_alarm(struct call *c, uint32_t seconds)
{
    struct timer_spec new = {.value = seconds * NSEC_PER_SEC}, before;
    int err = itimer_set(c->task->process, ITIMER_REAL, &new, &before);
    if (err)
        return err;
    int64_t left = before.value / NSEC_PER_SEC, part = before.value % NSEC_PER_SEC;
    /* Rounded to the nearest second, but a running alarm never reads 0. */
    if ((!left && part) || part >= NSEC_PER_SEC / 2)
        left++;
    return left;
}

/* --- timer_create and its family --- */

struct sigevent_abi {
    uint64_t value;
    int32_t signo, notify, tid;
    int32_t pad[11];
};
_Static_assert(sizeof(struct sigevent_abi) == 64, "ABI");

static int timer_create_checked(struct call *c, int32_t clock, const struct sigevent_abi *ev,
                                bool by_default)
{
    struct task *t = c->task;
    int32_t target = 0;
    switch (ev->notify) {
    case SIGEV_NONE:
    case SIGEV_SIGNAL:
    case SIGEV_THREAD: /* the library's: a signal as far as the kernel is concerned */
        break;
    case SIGEV_THREAD_ID:
        target = ev->tid;
        if (target <= 0)
            return -EINVAL;
        break;
    default:
        return -EINVAL;
    }
    if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM)
        return -EPERM;
    if (clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE ||
        clock == CLOCK_MONOTONIC_COARSE)
        return -EOPNOTSUPP;
    return posix_timer_create(t, clock, ev->notify, ev->signo, ev->value, by_default, target);
}

sysret_t sys_timer_create(struct call *c, int32_t clock, uaddr_t event, uaddr_t ret_id)
{
    struct sigevent_abi ev = {.signo = SIGALRM, .notify = SIGEV_SIGNAL};
    bool by_default = uaddr_null(event);
    if (!by_default && copy_in_obj(c->task->mm, &ev, event))
        return -EFAULT;
    int32_t id = timer_create_checked(c, clock, &ev, by_default);
    if (id < 0)
        return id;
    if (copy_out_obj(c->task->mm, ret_id, &id)) {
        (void)posix_timer_delete(c->task, id);
        return -EFAULT;
    }
    return 0;
}

static int itimerspec_out(struct call *c, uaddr_t to, const struct timer_spec *s)
{
    struct itimerspec v = {.it_interval = timespec_from_ns(s->interval),
                           .it_value = timespec_from_ns(s->value)};
    return copy_out_obj(c->task->mm, to, &v);
}

sysret_t sys_timer_settime(struct call *c, int32_t id, uint32_t flags, uaddr_t value, uaddr_t old)
{
    struct itimerspec v;
    struct timer_spec before;
    if (uaddr_null(value))
        return -EINVAL;
    if (copy_in_obj(c->task->mm, &v, value))
        return -EFAULT;
    if (!timespec_valid(&v.it_value) || !timespec_valid(&v.it_interval))
        return -EINVAL;
    struct timer_spec new = {.value = timespec_to_ns(&v.it_value),
                             .interval = timespec_to_ns(&v.it_interval)};
    int err = posix_timer_set(c->task, id, flags & TIMER_ABSTIME, &new, &before);
    if (!err && !uaddr_null(old))
        err = itimerspec_out(c, old, &before);
    return err;
}

sysret_t sys_timer_gettime(struct call *c, int32_t id, uaddr_t value)
{
    struct timer_spec now;
    int err = posix_timer_get(c->task, id, &now);
    return err ? err : itimerspec_out(c, value, &now);
}

sysret_t sys_timer_getoverrun(struct call *c, int32_t id)
{
    return posix_timer_overrun(c->task, id);
}

sysret_t sys_timer_delete(struct call *c, int32_t id)
{
    return posix_timer_delete(c->task, id);
}
