/* SPDX-License-Identifier: Apache-2.0
 * lock.c - ranked spin locks and fiber mutexes (lock.h).
 *
 * Spinning gives the CPU up after a while: with more pollers than CPUs the holder may be preempted.
 * A fiber mutex is handed to the longest waiter under its inner spin lock, so it cannot be stolen
 * and a waiter that sees `granted` owns it.
 *
 * Host: sched_yield [sentry gofer] */
#include <sched.h>
#include <stdatomic.h>

#include <base/log.h>

#include "base_private.h"

#define SPINS_BEFORE_YIELD 2000

void spin_init(struct spin *l, enum lock_rank rank)
{
    atomic_init(&l->locked, 0);
    l->rank = (uint16_t)rank;
}

bool spin_trylock(struct spin *l)
{
    if (atomic_load_explicit(&l->locked, memory_order_relaxed) ||
        atomic_exchange_explicit(&l->locked, 1, memory_order_acquire))
        return false;
    lockdep_spin_acquire(l->rank);
    return true;
}

static void wait_for(struct spin *l)
{
    unsigned n = 0;

    do {
        while (atomic_load_explicit(&l->locked, memory_order_relaxed)) {
            __builtin_ia32_pause();
            if (++n > SPINS_BEFORE_YIELD) {
                sched_yield();
                n = 0;
            }
        }
    } while (atomic_exchange_explicit(&l->locked, 1, memory_order_acquire));
}

#ifdef RINGBOX_LOCKDEP
void spin_lock(struct spin *l)
{
    if (atomic_exchange_explicit(&l->locked, 1, memory_order_acquire))
        wait_for(l);
    lockdep_spin_acquire(l->rank);
}

void spin_unlock(struct spin *l)
{
    lockdep_spin_release(l->rank);
    atomic_store_explicit(&l->locked, 0, memory_order_release);
}
#else
void spin_wait(struct spin *l)
{
    wait_for(l);
}
#endif

struct fmutex_waiter {
    struct list_head link;
    struct fiber *fiber;
    _Atomic(bool) granted;
};

void fmutex_init(struct fmutex *m, enum lock_rank rank)
{
    spin_init(&m->lock, RANK_LEAF);
    m->rank = (uint16_t)rank;
    m->owner = NULL;
    list_init(&m->waiters);
}

#ifdef RINGBOX_LOCKDEP
static _Thread_local uint16_t spin_held[FIBER_HELD_MAX * 2];
static _Thread_local unsigned spin_held_count;

void lockdep_spin_acquire(uint16_t rank)
{
    if (spin_held_count && rank != RANK_LEAF && spin_held[spin_held_count - 1] > rank)
        log_error("lock", "rank=%u taken inside rank=%u", rank, spin_held[spin_held_count - 1]);
    BUG_ON(spin_held_count && rank != RANK_LEAF && spin_held[spin_held_count - 1] > rank);
    BUG_ON(spin_held_count == ARRAY_SIZE(spin_held));
    spin_held[spin_held_count++] = rank;
}

void lockdep_spin_release(uint16_t rank)
{
    for (unsigned i = spin_held_count; i-- > 0;) {
        if (spin_held[i] != rank)
            continue;
        for (unsigned j = i + 1; j < spin_held_count; j++)
            spin_held[j - 1] = spin_held[j];
        spin_held_count--;
        return;
    }
    BUG_ON(true); /* not held by this thread */
}

void lockdep_no_spin(void)
{
    BUG_ON(spin_held_count);
}

static void held_add(struct fmutex *m)
{
    struct fiber *f = fiber_self();

    if (f->held_count && f->held[f->held_count - 1] > m->rank)
        log_error("lock", "mutex rank=%u taken inside rank=%u", m->rank,
                  f->held[f->held_count - 1]);
    BUG_ON(f->held_count && f->held[f->held_count - 1] > m->rank);
    BUG_ON(f->held_count == FIBER_HELD_MAX);
    f->held[f->held_count++] = m->rank;
}

static void held_remove(struct fmutex *m)
{
    struct fiber *f = fiber_self();

    for (uint32_t i = f->held_count; i-- > 0;) {
        if (f->held[i] != m->rank)
            continue;
        for (uint32_t j = i + 1; j < f->held_count; j++)
            f->held[j - 1] = f->held[j];
        f->held_count--;
        return;
    }
}
#else
void lockdep_spin_acquire(uint16_t rank)
{
    (void)rank;
}
void lockdep_spin_release(uint16_t rank)
{
    (void)rank;
}
void lockdep_no_spin(void)
{
}
static void held_add(struct fmutex *m)
{
    (void)m;
}
static void held_remove(struct fmutex *m)
{
    (void)m;
}
#endif

void fmutex_lock(struct fmutex *m)
{
    struct fiber *self = fiber_self();

    spin_lock(&m->lock);
    if (!m->owner) {
        m->owner = self;
        spin_unlock(&m->lock);
        held_add(m);
        return;
    }
    BUG_ON(m->owner == self);
    struct fmutex_waiter w = {.fiber = self};
    list_add_tail(&w.link, &m->waiters);
    spin_unlock(&m->lock);
    while (!atomic_load_explicit(&w.granted, memory_order_acquire))
        fiber_park();
    held_add(m);
}

bool fmutex_trylock(struct fmutex *m)
{
    bool mine = false;

    spin_lock(&m->lock);
    if (!m->owner) {
        m->owner = fiber_self();
        mine = true;
    }
    spin_unlock(&m->lock);
    if (mine)
        held_add(m);
    return mine;
}

void fmutex_unlock(struct fmutex *m)
{
    struct fiber *next = NULL;

    held_remove(m);
    spin_lock(&m->lock);
    BUG_ON(m->owner != fiber_self());
    m->owner = NULL;
    if (!list_empty(&m->waiters)) {
        struct fmutex_waiter *w = list_first_entry(&m->waiters, struct fmutex_waiter, link);
        list_del(&w->link);
        next = w->fiber;
        m->owner = next;
        atomic_store_explicit(&w->granted, true, memory_order_release); /* w may vanish now */
    }
    spin_unlock(&m->lock);
    if (next)
        fiber_unpark(next);
}

bool fmutex_is_mine(const struct fmutex *m)
{
    return m->owner == fiber_self();
}
