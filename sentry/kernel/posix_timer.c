/* SPDX-License-Identifier: Apache-2.0
 * posix_timer.c - timer_create and its family.
 *
 * A timer sends one signal at a time: while that is queued, expiries are only counted; when the
 * signal is taken the count becomes the overrun and the timer is armed for the next multiple of its
 * interval. A timer whose signal is ignored or does not fit keeps going at a bounded rate.
 * CPU clocks are polled as in itimer.c. Wall-clock deadlines are converted when set: later steps of
 * the clock are not followed. SIGEV_NONE timers are never armed; their state is computed.
 *
 * Locks: the process lock guards the list and every timer. A timer is freed after it has left the
 * list and timer_cancel() has returned, so fire() may use it.
 */
#include <kernel/itimer.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "itimer_internal.h"

enum clock_kind { KIND_WALL, KIND_PROCESS, KIND_THREAD };

struct posix_timer {
    struct list_head link;
    struct process *process;
    struct timer timer;
    int id;
    int32_t clock;
    enum clock_kind kind;
    int32_t cpu_tid; /* KIND_THREAD */
    int notify, signo;
    int32_t target; /* tid of SIGEV_THREAD_ID, else 0 */
    uint64_t value;
    int64_t next; /* 0: off; CLOCK_MONOTONIC or CPU time, ns */
    int64_t interval;
    int overrun; /* of the signal taken last */
    bool waiting;
};

struct posix_timers {
    struct list_head list;
    int count, next_id;
};

/* --- clocks --- */

/* Negative ids name CPU clocks: ~id << 3, bit 2 = of a thread, low bits 0..2 = which time. */
static bool clock_kind(struct task *t, int32_t clock, enum clock_kind *ret, int32_t *ret_tid)
{
    *ret_tid = t->tid;
    *ret = KIND_WALL;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
        return true;
    case CLOCK_PROCESS_CPUTIME_ID:
        *ret = KIND_PROCESS;
        return true;
    case CLOCK_THREAD_CPUTIME_ID:
        *ret = KIND_THREAD;
        return true;
    default:
        break;
    }
    if (clock >= 0 || (clock & 3) == 3)
        return false;
    int32_t id = ~(clock >> 3);
    *ret = clock & 4 ? KIND_THREAD : KIND_PROCESS;
    if (id && *ret == KIND_PROCESS)
        return id == t->process->pid;
    if (id)
        *ret_tid = id;
    return true;
}

static struct task *thread_find_locked(struct process *p, int32_t tid)
{
    struct task *t;
    list_for_each_entry (t, &p->threads, thread_link)
        if (t->tid == tid && t->state != TASK_ZOMBIE)
            return t;
    return NULL;
}

static int64_t timer_now_locked(const struct posix_timer *pt)
{
    struct task *t;
    switch (pt->kind) {
    case KIND_PROCESS:
        return process_cpu_ns_locked(pt->process);
    case KIND_THREAD:
        t = thread_find_locked(pt->process, pt->cpu_tid);
        return t ? task_cpu_ns_locked(t) : 0;
    default:
        return clock_now_ns(CLOCK_MONOTONIC);
    }
}

/* --- firing --- */

static int arm_locked(struct posix_timer *pt, int64_t now)
{
    if (!pt->next || pt->notify == SIGEV_NONE)
        return 0;
    uint32_t threads = pt->kind == KIND_PROCESS ? pt->process->thread_count : 1;
    return timer_arm(&pt->timer, NULL,
                     pt->kind == KIND_WALL ? pt->next : cpu_poll_at(pt->next - now, threads));
}

static int send_locked(struct posix_timer *pt)
{
    struct process *p = pt->process;
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = pt->signo;
    info.si_code = SI_TIMER;
    info.si_timerid = pt->id;
    info.si_value.sival_ptr = (void *)(uintptr_t)pt->value; /* the guest's, opaque */
    struct task *t = NULL;
    if (pt->target) {
        t = thread_find_locked(p, pt->target);
        if (!t)
            return 1;
    }
    return signal_send_timer_locked(p, t, pt->signo, &info, true);
}

static void posix_timer_fire(struct timer *timer)
{
    struct posix_timer *pt = container_of(timer, struct posix_timer, timer);
    struct process *p = pt->process;
    int64_t missed;
    spin_lock(&p->lock);
    int64_t now = timer_now_locked(pt);
    bool deleted = list_empty(&pt->link);
    if (deleted || !pt->next || pt->waiting) {
        spin_unlock(&p->lock);
        return;
    }
    if (pt->next > now) {
        (void)arm_locked(pt, now); /* CPU clock: not yet; or set again meanwhile */
        spin_unlock(&p->lock);
        return;
    }
    int r = send_locked(pt);
    if (!pt->interval) {
        pt->next = 0;
    } else if (!r) {
        pt->waiting = true;
    } else {
        pt->next = timer_forward(pt->next, MAX(pt->interval, TIMER_IGNORED_MIN_NS), now, &missed);
        (void)arm_locked(pt, now);
    }
    spin_unlock(&p->lock);
}

static struct posix_timer *find_locked(struct process *p, int id)
{
    struct posix_timers *all = p->posix_timers;
    struct posix_timer *pt;
    if (!all)
        return NULL;
    list_for_each_entry (pt, &all->list, link)
        if (pt->id == id)
            return pt;
    return NULL;
}

void posix_timer_signal_taken_locked(struct process *p, siginfo_t *info)
{
    struct posix_timer *pt = find_locked(p, info->si_timerid);
    int64_t missed;
    if (!pt)
        return;
    pt->overrun = 0;
    if (!pt->waiting)
        return;
    pt->waiting = false;
    int64_t now = timer_now_locked(pt);
    pt->next = timer_forward(pt->next, pt->interval, now, &missed);
    pt->overrun = missed > INT_MAX ? INT_MAX : (int)missed;
    info->si_overrun = pt->overrun;
    (void)arm_locked(pt, now);
}

/* --- system calls --- */

static int timer_id_free_locked(struct process *p, struct posix_timers *all)
{
    do {
        all->next_id = all->next_id == INT_MAX ? 0 : all->next_id;
    } while (find_locked(p, all->next_id++));
    return all->next_id - 1;
}

static int timer_install_locked(struct process *p, struct posix_timer *pt,
                                struct posix_timers **spare)
{
    if (!p->posix_timers)
        p->posix_timers = steal(*spare);
    struct posix_timers *all = p->posix_timers;
    if (all->count >= POSIX_TIMERS_MAX)
        return -EAGAIN;
    if (pt->target && !thread_find_locked(p, pt->target))
        return -EINVAL;
    all->count++;
    pt->id = timer_id_free_locked(p, all);
    list_add_tail(&pt->link, &all->list);
    return pt->id;
}

int posix_timer_create(struct task *t, int32_t clock, int notify, int signo, uint64_t value,
                       bool value_is_id, int32_t target)
{
    struct process *p = t->process;
    enum clock_kind kind;
    int32_t tid;
    if (!clock_kind(t, clock, &kind, &tid))
        return -EINVAL;
    if (notify != SIGEV_NONE && !sig_valid(signo))
        return -EINVAL;

    struct posix_timer *pt autofree = calloc(1, sizeof(*pt));
    struct posix_timers *spare autofree = calloc(1, sizeof(*spare));
    if (!pt || !spare)
        return -ENOMEM;
    list_init(&spare->list);
    list_init(&pt->link);
    timer_init(&pt->timer, posix_timer_fire);
    pt->process = p;
    pt->clock = clock;
    pt->kind = kind;
    pt->cpu_tid = tid;
    pt->notify = notify;
    pt->signo = signo;
    pt->value = value;
    pt->target = target;

    spin_lock(&p->lock);
    int r = timer_install_locked(p, pt, &spare);
    if (r >= 0) {
        if (value_is_id)
            pt->value = (uint64_t)(uint32_t)r;
        (void)steal(pt);
    }
    spin_unlock(&p->lock);
    return r;
}

static void timer_read_locked(const struct posix_timer *pt, int64_t now, struct timer_spec *ret)
{
    *ret = (struct timer_spec){.interval = pt->interval};
    int64_t next = pt->next, missed;
    if (!next)
        return;
    if (next <= now && pt->interval)
        next = timer_forward(next, pt->interval, now, &missed);
    if (next > now)
        ret->value = next - now;
    else if (pt->notify != SIGEV_NONE)
        ret->value = 1; /* due, its signal not yet sent */
}

int posix_timer_get(struct task *t, int id, struct timer_spec *ret)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    struct posix_timer *pt = find_locked(p, id);
    if (pt)
        timer_read_locked(pt, timer_now_locked(pt), ret);
    spin_unlock(&p->lock);
    return pt ? 0 : -EINVAL;
}

int posix_timer_set(struct task *t, int id, bool absolute, const struct timer_spec *new,
                    struct timer_spec *ret_old)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    struct posix_timer *pt = find_locked(p, id);
    if (!pt) {
        spin_unlock(&p->lock);
        return -EINVAL;
    }
    int64_t now = timer_now_locked(pt);
    timer_read_locked(pt, now, ret_old);
    pt->waiting = false;
    pt->overrun = 0;
    pt->interval = new->value ? new->interval : 0;
    pt->next = 0;
    if (new->value && absolute)
        pt->next = pt->kind == KIND_WALL ? deadline_at(pt->clock, new->value) : new->value;
    else if (new->value && add_overflow(now, new->value, &pt->next))
        pt->next = INT64_MAX;
    if (new->value && pt->next <= 0)
        pt->next = 1; /* long ago */
    int err = arm_locked(pt, now);
    spin_unlock(&p->lock);
    return err;
}

int posix_timer_overrun(struct task *t, int id)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    struct posix_timer *pt = find_locked(p, id);
    int r = pt ? pt->overrun : -EINVAL;
    spin_unlock(&p->lock);
    return r;
}

int posix_timer_delete(struct task *t, int id)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    struct posix_timer *pt = find_locked(p, id);
    if (pt) {
        list_del(&pt->link);
        ((struct posix_timers *)p->posix_timers)->count--;
    }
    spin_unlock(&p->lock);
    if (!pt)
        return -EINVAL;
    timer_cancel(&pt->timer);
    free(pt);
    return 0;
}

void posix_timers_exec(struct process *p)
{
    spin_lock(&p->lock);
    struct posix_timers *all = p->posix_timers;
    p->posix_timers = NULL;
    spin_unlock(&p->lock);
    if (!all)
        return;
    struct posix_timer *pt, *tmp;
    /* A fire() that runs meanwhile finds next == 0. */
    spin_lock(&p->lock);
    list_for_each_entry (pt, &all->list, link)
        pt->next = 0;
    spin_unlock(&p->lock);
    list_for_each_entry_safe (pt, tmp, &all->list, link) {
        timer_cancel(&pt->timer);
        list_del(&pt->link);
        free(pt);
    }
    free(all);
}
