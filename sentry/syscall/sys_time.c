/* SPDX-License-Identifier: Apache-2.0
 * sys_time.c - clocks and sleeping. Clocks are the host's and cannot be set from inside. */
#include <sys/time.h>
#include <sys/timex.h>

#include <kernel/itimer.h>
#include <kernel/ktime.h>
#include <string.h>
#include <syscall/sys.h>

/* --- reading clocks --- */

/* Negative ids name CPU clocks of a task: ~id << 3, bit 2 = one thread only. */
static int cpu_clock_read(struct task *self, int32_t clock, int64_t *ret)
{
    int32_t id = ~(clock >> 3);
    bool thread = clock & 4;
    if ((clock & 3) == 3)
        return -EINVAL;
    struct task *t AUTO_PUT(task) = id ? task_find(id) : task_get(self);
    if (!t)
        return -EINVAL;
    if (thread && t->process != self->process)
        return -EINVAL;
    *ret = thread ? task_cpu_ns(t) : process_cpu_ns(t->process);
    return 0;
}

static int clock_read(struct task *t, int32_t clock, int64_t *ret)
{
    switch (clock) {
    case CLOCK_PROCESS_CPUTIME_ID:
        *ret = process_cpu_ns(t->process);
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *ret = task_cpu_ns(t);
        return 0;
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
        *ret = clock_now_ns(clock);
        return 0;
    case CLOCK_REALTIME_ALARM:
        *ret = clock_now_ns(CLOCK_REALTIME);
        return 0;
    case CLOCK_BOOTTIME_ALARM:
        *ret = clock_now_ns(CLOCK_BOOTTIME);
        return 0;
    default:
        return clock < 0 ? cpu_clock_read(t, clock, ret) : -EINVAL;
    }
}

sysret_t sys_clock_gettime(struct call *c, int32_t clock, uaddr_t ts)
{
    int64_t ns;
    int err = clock_read(c->task, clock, &ns);
    if (err)
        return err;
    struct timespec now = timespec_from_ns(ns);
    return copy_out_obj(c->task->mm, ts, &now);
}

sysret_t sys_clock_getres(struct call *c, int32_t clock, uaddr_t ts)
{
    int64_t ns;
    int err = clock_read(c->task, clock, &ns);
    if (err || uaddr_null(ts))
        return err;
    bool coarse = clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE;
    struct timespec res = {.tv_nsec = coarse ? 4000000 : 1};
    return copy_out_obj(c->task->mm, ts, &res);
}

sysret_t sys_gettimeofday(struct call *c, uaddr_t tv, uaddr_t tz)
{
    int64_t ns = clock_now_ns(CLOCK_REALTIME);
    struct timeval now = {.tv_sec = ns / NSEC_PER_SEC,
                          .tv_usec = ns % NSEC_PER_SEC / NSEC_PER_USEC};
    int err = uaddr_null(tv) ? 0 : copy_out_obj(c->task->mm, tv, &now);
    if (!err && !uaddr_null(tz))
        err = clear_user(c->task->mm, tz, sizeof(struct timezone));
    return err;
}

sysret_t sys_time(struct call *c, uaddr_t tloc)
{
    int64_t now = clock_now_ns(CLOCK_REALTIME) / NSEC_PER_SEC;
    if (!uaddr_null(tloc) && copy_out_obj(c->task->mm, tloc, &now))
        return -EFAULT;
    return now;
}

/* --- setting: refused --- */

sysret_t sys_clock_settime(struct call *c, int32_t clock, uaddr_t ts)
{
    struct timespec new;
    if (copy_in_obj(c->task->mm, &new, ts))
        return -EFAULT;
    return clock == CLOCK_REALTIME ? -EPERM : -EINVAL;
}

sysret_t sys_settimeofday(struct call *c, uaddr_t tv, uaddr_t tz)
{
    (void)c;
    (void)tv;
    (void)tz;
    return -EPERM;
}

sysret_t sys_adjtimex(struct call *c, uaddr_t buf)
{
    struct timex tx;
    if (copy_in_obj(c->task->mm, &tx, buf))
        return -EFAULT;
    if (tx.modes)
        return -EPERM;
    int64_t ns = clock_now_ns(CLOCK_REALTIME);
    memset(&tx, 0, sizeof(tx));
    tx.status = STA_UNSYNC | STA_NANO;
    tx.precision = 1;
    tx.tick = 10000;
    tx.maxerror = tx.esterror = 16000000;
    tx.time.tv_sec = ns / NSEC_PER_SEC;
    tx.time.tv_usec = ns % NSEC_PER_SEC;
    return copy_out_obj(c->task->mm, buf, &tx) ? -EFAULT : TIME_ERROR;
}

sysret_t sys_clock_adjtime(struct call *c, int32_t clock, uaddr_t buf)
{
    return clock == CLOCK_REALTIME ? sys_adjtimex(c, buf) : -EOPNOTSUPP;
}

/* --- sleeping --- */

static sysret_t sleep_relative(struct call *c, const struct timespec *req, uaddr_t rem)
{
    call_deadline(c, deadline_after(timespec_to_ns(req)));
    sysret_t r = call_wait_none(c);
    if (r == -ETIMEDOUT)
        return 0;
    if (r != -ERESTARTSYS)
        return r;
    if (c->has_deadline && !uaddr_null(rem)) {
        int64_t left = c->deadline_ns - clock_now_ns(CLOCK_MONOTONIC);
        struct timespec ts = timespec_from_ns(left > 0 ? left : 0);
        if (copy_out_obj(c->task->mm, rem, &ts))
            return -EFAULT;
    }
    return signal_restart_block(c);
}

sysret_t sys_nanosleep(struct call *c, uaddr_t req, uaddr_t rem)
{
    struct timespec ts;
    if (copy_in_obj(c->task->mm, &ts, req))
        return -EFAULT;
    return timespec_valid(&ts) ? sleep_relative(c, &ts, rem) : -EINVAL;
}

sysret_t sys_clock_nanosleep(struct call *c, int32_t clock, uint32_t flags, uaddr_t req,
                             uaddr_t rem)
{
    struct timespec ts;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
        break;
    case CLOCK_THREAD_CPUTIME_ID:
        return -EINVAL;
    default:
        return clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock <= CLOCK_TAI ? -EOPNOTSUPP
                                                                                    : -EINVAL;
    }
    if (copy_in_obj(c->task->mm, &ts, req))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    if (!(flags & TIMER_ABSTIME))
        return sleep_relative(c, &ts, rem);
    call_deadline(c, deadline_at(clock, timespec_to_ns(&ts)));
    sysret_t r = call_wait_none(c);
    if (r == -ETIMEDOUT)
        return 0;
    return r == -ERESTARTSYS ? -ERESTARTNOHAND : r;
}
