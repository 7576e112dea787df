/* SPDX-License-Identifier: Apache-2.0
 * wait.c - wait queues and the life of a waiting call.
 *
 * A call's state word:
 *
 *      RUNNING --call_park_commit--> PARKED --fire--> FIRED (call_ready_hook queues it)
 *      RUNNING --fire--> FIRED (the commit fails: run again)
 *      FIRED   --call_disarm--> RUNNING
 *
 * So a wake between arming and the return of the handler is not lost, and the hook is called once
 * for each successful commit. Waiters stay on their queue until disarmed, because epoll's must. A
 * call that has fired has no use for another wake, so that two wakes reach two exclusive ones.
 *
 * A call that alone took a wake owes something: its next run takes what has come, or looks and waits
 * on the same queue again, or fails, perhaps at another file that has the descriptor now; then
 * call_end() wakes the next.
 *
 * A guest can arm as many waiters as it has descriptors (CALL_WAITERS_MAX a call) and cause wakes
 * without end; both cost only itself.
 *
 * Locks: the queue's (RANK_WAITQ) around arm, disarm and fire. fire() takes inner ranks only.
 */
#include <kernel/wait.h>

#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <kernel/task.h>

#define WAITERS_PER_BLOCK 32u
struct call_waiters {
    struct call_waiters *next;
    unsigned count;
    struct call_waiter w[WAITERS_PER_BLOCK];
};

void (*call_ready_hook)(struct call *c);

/* --- queues --- */

void wait_queue_init(struct wait_queue *q)
{
    spin_init(&q->lock, RANK_WAITQ);
    list_init(&q->waiters);
    list_init(&q->exclusive);
    list_init(&q->asyncs);
    atomic_store_explicit(&q->exclusive_count, 0, memory_order_relaxed);
    atomic_store_explicit(&q->async_count, 0, memory_order_relaxed);
}

void waiter_init(struct waiter *w, bool (*fire)(struct waiter *, uint32_t))
{
    memset(w, 0, sizeof(*w));
    list_init(&w->link);
    w->fire = fire;
}

void waiter_arm(struct waiter *w, struct wait_queue *q, uint32_t mask)
{
    BUG_ON(w->queue);
    w->mask = mask;
    w->queue = q;
    spin_lock(&q->lock);
    list_add_tail(&w->link, w->exclusive ? &q->exclusive : &q->waiters);
    if (w->exclusive)
        atomic_fetch_add_explicit(&q->exclusive_count, 1, memory_order_relaxed);
    spin_unlock(&q->lock);
}

void waiter_disarm(struct waiter *w)
{
    struct wait_queue *q = w->queue;
    if (!q)
        return;
    spin_lock(&q->lock);
    list_del(&w->link);
    if (w->exclusive)
        atomic_fetch_sub_explicit(&q->exclusive_count, 1, memory_order_relaxed);
    spin_unlock(&q->lock);
    w->queue = NULL;
}

static bool waiter_wants(const struct waiter *w, uint32_t events)
{
    return !w->mask || !events || (w->mask & events);
}

static unsigned wake_exclusive_locked(struct wait_queue *q, uint32_t events, unsigned most)
{
    unsigned woken = 0;
    struct waiter *w, *next;
    list_for_each_entry_safe (w, next, &q->exclusive, link) {
        if (woken == most)
            break;
        if (waiter_wants(w, events) && w->fire(w, events))
            woken++;
    }
    return woken;
}

unsigned wait_queue_wake_exclusive(struct wait_queue *q, uint32_t events)
{
    spin_lock(&q->lock);
    unsigned woken = wake_exclusive_locked(q, events, 1);
    spin_unlock(&q->lock);
    return woken;
}

unsigned wait_queue_wake(struct wait_queue *q, uint32_t events, unsigned max_exclusive)
{
    struct waiter *w, *next;
    spin_lock(&q->lock);
    list_for_each_entry_safe (w, next, &q->waiters, link) {
        if (waiter_wants(w, events))
            (void)w->fire(w, events);
    }
    unsigned woken = wake_exclusive_locked(q, events, max_exclusive);
    spin_unlock(&q->lock);
    return woken;
}

/* --- calls --- */

/* false: it has fired already. */
static bool call_fire(struct call *c)
{
    uint32_t state = atomic_load(&c->state_word);
    for (;;) {
        if (state == CALL_FIRED)
            return false;
        if (atomic_compare_exchange_weak(&c->state_word, &state, CALL_FIRED))
            break;
    }
    if (state == CALL_PARKED)
        call_ready_hook(c);
    return true;
}

static bool call_waiter_fire(struct waiter *w, uint32_t events)
{
    struct call_waiter *cw = container_of(w, struct call_waiter, w);
    (void)events;
    /* Set before the call may run; its disarming takes the queue's lock. */
    bool took = call_fire(cw->call);
    cw->woken |= took;
    return took;
}

static void call_timer_fire(struct timer *t)
{
    (void)call_fire(container_of(t, struct call, timer));
}

static struct call_waiter *call_waiter_next(struct call *c)
{
    if (c->armed < CALL_WAITERS)
        return &c->waiters[c->armed++];
    if (c->armed >= CALL_WAITERS_MAX)
        return NULL;
    if (!c->more || c->more->count == WAITERS_PER_BLOCK) {
        struct call_waiters *block = calloc(1, sizeof(*block));
        if (!block)
            return NULL;
        block->next = c->more;
        c->more = block;
    }
    c->armed++;
    return &c->more->w[c->more->count++];
}

static int call_arm_as(struct call *c, struct wait_queue *q, uint32_t mask, void *ref,
                       void (*put)(void *ref), bool exclusive)
{
    struct call_waiter *w = call_waiter_next(c);
    if (!w) {
        if (put)
            put(ref);
        return -ENOMEM;
    }
    waiter_init(&w->w, call_waiter_fire);
    w->call = c;
    w->woken = false;
    w->ref = ref;
    w->put = put;
    w->w.exclusive = exclusive;
    waiter_arm(&w->w, q, mask);
    return 0;
}

/* What the call owes is settled; @pass: by somebody else. */
static void call_owed_settle(struct call *c, bool pass)
{
    struct wait_queue *q = c->owed;
    if (!q)
        return;
    c->owed = NULL;
    if (pass)
        (void)wait_queue_wake_exclusive(q, c->owed_mask);
    if (c->owed_put)
        c->owed_put(c->owed_ref);
}

int call_arm_ref(struct call *c, struct wait_queue *q, uint32_t mask, void *ref,
                 void (*put)(void *ref))
{
    return call_arm_as(c, q, mask, ref, put, false);
}

int call_arm_exclusive(struct call *c, struct wait_queue *q, uint32_t mask, void *ref,
                       void (*put)(void *ref))
{
    call_owed_settle(c, c->owed != q);
    return call_arm_as(c, q, mask, ref, put, true);
}

int call_arm(struct call *c, struct wait_queue *q, uint32_t mask)
{
    return call_arm_ref(c, q, mask, NULL, NULL);
}

static bool call_deadline_passed(struct call *c)
{
    if (c->has_deadline && !c->timed_out && clock_now_ns(CLOCK_MONOTONIC) >= c->deadline_ns)
        c->timed_out = true;
    return c->timed_out;
}

/* Signals do not touch what came by a submission queue; there, only a cancel sets interrupted. */
static bool call_is_interrupted(struct call *c)
{
    if (!atomic_load(&c->interrupted) && c->how != CALL_BY_SQ && c->task && signal_pending(c->task))
        atomic_store(&c->interrupted, true);
    return atomic_load(&c->interrupted);
}

static sysret_t call_wait_deadline(struct call *c)
{
    if (call_deadline_passed(c)) {
        call_disarm(c);
        return -ETIMEDOUT;
    }
    if (!c->has_deadline)
        return SYS_PARK;
    int err = timer_arm(&c->timer, NULL, c->deadline_ns);
    return err ? err : SYS_PARK;
}

sysret_t call_wait_armed(struct call *c)
{
    if (call_is_interrupted(c)) {
        call_disarm(c);
        return -ERESTARTSYS;
    }
    return call_wait_deadline(c);
}

sysret_t call_wait_armed_killable(struct call *c)
{
    if (task_must_exit(c->task)) {
        call_disarm(c);
        return -EINTR;
    }
    return call_wait_deadline(c);
}

sysret_t call_wait(struct call *c, struct wait_queue *q, uint32_t mask)
{
    int err = call_arm(c, q, mask);
    return err ? err : call_wait_armed(c);
}

sysret_t call_wait_none(struct call *c)
{
    return call_wait_armed(c);
}

sysret_t call_wait_retry(struct call *c, int64_t ns)
{
    if (!c->has_deadline)
        timer_init(&c->timer, call_timer_fire);
    c->has_deadline = true;
    c->timed_out = false;
    c->deadline_ns = clock_now_ns(CLOCK_MONOTONIC) + ns;
    return call_wait_armed(c);
}

/* A call that cannot be interrupted here could run again for ever. */
sysret_t call_run_again(struct call *c)
{
    if (call_is_interrupted(c)) {
        call_disarm(c);
        return -ERESTARTSYS;
    }
    (void)call_fire(c);
    return SYS_PARK;
}

void call_deadline(struct call *c, int64_t monotonic_ns)
{
    if (c->started || c->has_deadline || monotonic_ns == INT64_MAX)
        return;
    timer_init(&c->timer, call_timer_fire);
    c->has_deadline = true;
    c->deadline_ns = monotonic_ns;
}

void call_deadline_move(struct call *c, int64_t monotonic_ns)
{
    if (!c->has_deadline)
        timer_init(&c->timer, call_timer_fire);
    c->has_deadline = true;
    c->timed_out = false;
    c->deadline_ns = monotonic_ns;
}

/* --- dispatcher --- */

bool call_park_commit(struct call *c)
{
    c->started = true;
    uint32_t expected = CALL_RUNNING;
    return atomic_compare_exchange_strong(&c->state_word, &expected, CALL_PARKED);
}

static void call_waiter_release(struct call_waiter *w)
{
    struct call *c = w->call;
    struct wait_queue *q = w->w.queue;
    waiter_disarm(&w->w);
    if (w->w.exclusive && w->woken) {
        call_owed_settle(c, true);
        c->owed = q;
        c->owed_mask = w->w.mask;
        c->owed_ref = w->ref;
        c->owed_put = w->put;
    } else if (w->put) {
        w->put(w->ref);
    }
    w->ref = NULL;
    w->put = NULL;
}

void call_disarm(struct call *c)
{
    if (c->has_deadline)
        timer_cancel(&c->timer);
    for (unsigned i = 0; i < MIN(c->armed, (unsigned)CALL_WAITERS); i++)
        call_waiter_release(&c->waiters[i]);
    while (c->more) {
        struct call_waiters *block = c->more;
        for (unsigned i = 0; i < block->count; i++)
            call_waiter_release(&block->w[i]);
        c->more = block->next;
        free(block);
    }
    c->armed = 0;
    (void)call_deadline_passed(c);
    /* Nothing can fire any more but call_interrupt(), whose flag the next wait looks at. */
    atomic_store_explicit(&c->state_word, CALL_RUNNING, memory_order_relaxed);
}

void call_end_more(struct call *c, sysret_t result)
{
    if (c->armed || c->has_deadline)
        call_disarm(c);
    if (c->owed)
        call_owed_settle(c, result < 0);
    if (c->state_free)
        c->state_free(c->state);
    c->state = NULL;
    c->state_free = NULL;
}

void call_interrupt(struct call *c)
{
    atomic_store(&c->interrupted, true);
    (void)call_fire(c);
}
