/* SPDX-License-Identifier: Apache-2.0
 * itimer.c - setitimer and alarm; CPU time of threads and processes.
 *
 * ITIMER_REAL is one timer of the poller that set it. It sends SIGALRM and, when periodic, is armed
 * again when that has been taken (or at once, at a bounded rate, when it is ignored).
 * ITIMER_VIRTUAL and ITIMER_PROF look at the CPU time the process has used: never earlier than its
 * threads could have used up the rest on as many CPUs, never more often than CPU_POLL_MIN_NS. The
 * platform does not tell user from system time, so both count the same.
 *
 * Locks: the process lock guards struct itimers; a timer's own lock is taken inside.
 */
#include <kernel/itimer.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>

#include "itimer_internal.h"

struct itimer {
    int64_t next; /* 0: off; CLOCK_MONOTONIC or CPU time, ns */
    int64_t interval;
};

struct itimers {
    struct process *process;
    struct itimer real, cpu[2]; /* ITIMER_VIRTUAL, ITIMER_PROF */
    bool real_waiting;          /* for its signal to be taken */
    struct timer real_timer, cpu_timer;
};

/* --- CPU time --- */

/* The host thread may be asked only while the task runs. */
int64_t task_cpu_ns_locked(struct task *t)
{
    if (t->state != TASK_RUNNING || !g_platform->thread_cpu_ns)
        return 0;
    return (int64_t)g_platform->thread_cpu_ns(t->thread);
}

int64_t task_cpu_ns(struct task *t)
{
    spin_lock(&t->process->lock);
    int64_t ns = task_cpu_ns_locked(t);
    spin_unlock(&t->process->lock);
    return ns;
}

static int64_t timeval_ns(const struct timeval *tv)
{
    return (int64_t)tv->tv_sec * NSEC_PER_SEC + (int64_t)tv->tv_usec * NSEC_PER_USEC;
}

int64_t process_cpu_ns_locked(struct process *p)
{
    struct task *t;
    int64_t sum = timeval_ns(&p->own_usage.ru_utime) + timeval_ns(&p->own_usage.ru_stime);
    list_for_each_entry (t, &p->threads, thread_link)
        sum += task_cpu_ns_locked(t);
    return sum;
}

int64_t process_cpu_ns(struct process *p)
{
    spin_lock(&p->lock);
    int64_t ns = process_cpu_ns_locked(p);
    spin_unlock(&p->lock);
    return ns;
}

int64_t cpu_poll_at(int64_t left, uint32_t threads)
{
    left /= threads ? threads : 1;
    return deadline_after(left > CPU_POLL_MIN_NS ? left : CPU_POLL_MIN_NS);
}

int64_t timer_forward(int64_t next, int64_t interval, int64_t now, int64_t *ret_missed)
{
    int64_t missed = now > next ? (now - next) / interval : 0;
    int64_t step;
    *ret_missed = missed;
    if (mul_overflow(missed + 1, interval, &step) || add_overflow(next, step, &next))
        return INT64_MAX;
    return next;
}

/* --- ITIMER_REAL --- */

static void real_fire(struct timer *timer)
{
    struct itimers *it = container_of(timer, struct itimers, real_timer);
    struct process *p = it->process;
    int64_t now = clock_now_ns(CLOCK_MONOTONIC), missed;
    spin_lock(&p->lock);
    if (!it->real.next || it->real.next > now) {
        spin_unlock(&p->lock);
        return; /* set again meanwhile */
    }
    int r = signal_send_timer_locked(p, NULL, SIGALRM, NULL, false);
    if (!it->real.interval) {
        it->real.next = 0;
    } else if (!r) {
        it->real_waiting = true;
    } else {
        it->real.next = timer_forward(it->real.next, MAX(it->real.interval, TIMER_IGNORED_MIN_NS),
                                      now, &missed);
        (void)timer_arm(timer, NULL, it->real.next);
    }
    spin_unlock(&p->lock);
}

void itimer_signal_taken_locked(struct process *p)
{
    struct itimers *it = p->itimers;
    int64_t missed;
    if (!it || !it->real_waiting)
        return;
    it->real_waiting = false;
    it->real.next =
        timer_forward(it->real.next, it->real.interval, clock_now_ns(CLOCK_MONOTONIC), &missed);
    (void)timer_arm(&it->real_timer, NULL, it->real.next);
}

/* --- ITIMER_VIRTUAL, ITIMER_PROF --- */

static void cpu_arm_locked(struct itimers *it, int64_t used)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < 2; i++)
        if (it->cpu[i].next && it->cpu[i].next < first)
            first = it->cpu[i].next;
    if (first != INT64_MAX)
        (void)timer_arm(&it->cpu_timer, NULL, cpu_poll_at(first - used, it->process->thread_count));
}

static void cpu_fire(struct timer *timer)
{
    struct itimers *it = container_of(timer, struct itimers, cpu_timer);
    struct process *p = it->process;
    int64_t missed;
    spin_lock(&p->lock);
    int64_t used = process_cpu_ns_locked(p);
    for (int i = 0; i < 2; i++) {
        struct itimer *c = &it->cpu[i];
        if (!c->next || c->next > used)
            continue;
        (void)signal_send_timer_locked(p, NULL, i == 0 ? SIGVTALRM : SIGPROF, NULL, false);
        c->next = c->interval ? timer_forward(c->next, c->interval, used, &missed) : 0;
    }
    cpu_arm_locked(it, used);
    spin_unlock(&p->lock);
}

/* --- system calls --- */

static struct itimers *itimers_make(struct process *p)
{
    if (p->itimers)
        return p->itimers;
    struct itimers *it = calloc(1, sizeof(*it));
    if (!it)
        return NULL;
    it->process = p;
    timer_init(&it->real_timer, real_fire);
    timer_init(&it->cpu_timer, cpu_fire);
    spin_lock(&p->lock);
    if (!p->itimers)
        p->itimers = steal(it);
    spin_unlock(&p->lock);
    free(it); /* another thread was faster */
    return p->itimers;
}

static void itimer_read(const struct itimer *i, int64_t now, struct timer_spec *ret)
{
    *ret = (struct timer_spec){.interval = i->interval};
    if (!i->next)
        return;
    int64_t next = i->next, missed;
    if (next <= now && i->interval)
        next = timer_forward(next, i->interval, now, &missed);
    ret->value = next > now ? next - now : NSEC_PER_USEC; /* due: not yet 0 */
}

int itimer_set(struct process *p, int which, const struct timer_spec *new,
               struct timer_spec *ret_old)
{
    if (which < ITIMER_REAL || which > ITIMER_PROF)
        return -EINVAL;
    struct itimers *it = p->itimers;
    if (!it && new &&new->value)
        it = itimers_make(p);
    if (!it) {
        *ret_old = (struct timer_spec){0};
        return new &&new->value ? -ENOMEM : 0;
    }
    int err = 0;
    spin_lock(&p->lock);
    bool real = which == ITIMER_REAL;
    struct itimer *i = real ? &it->real : &it->cpu[which - ITIMER_VIRTUAL];
    int64_t now = real ? clock_now_ns(CLOCK_MONOTONIC) : process_cpu_ns_locked(p);
    itimer_read(i, now, ret_old);
    if (new) {
        i->interval = new->value ? new->interval : 0;
        i->next = 0;
        if (new->value && add_overflow(now, new->value, &i->next))
            i->next = INT64_MAX;
        if (real)
            it->real_waiting = false;
        if (real && i->next)
            err = timer_arm(&it->real_timer, NULL, i->next);
        else if (!real)
            cpu_arm_locked(it, now);
    }
    spin_unlock(&p->lock);
    return err; /* a timer that is off may still fire once and find that out */
}

void timers_process_exit(struct process *p)
{
    posix_timers_exec(p);
    spin_lock(&p->lock);
    struct itimers *it = steal(p->itimers);
    spin_unlock(&p->lock);
    if (!it)
        return;
    timer_cancel(&it->real_timer);
    timer_cancel(&it->cpu_timer);
    free(it);
}
