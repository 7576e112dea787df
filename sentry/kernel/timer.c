/* SPDX-License-Identifier: Apache-2.0
 * timer.c - one binary heap of timers for each poller.
 *
 * A timer has a home: the base it was armed on last, whose lock guards it. Arming on another base
 * moves it, under the old home's lock first. base->running is the timer whose fire() runs; who
 * cancels it from another thread waits until that has ended.
 *
 * Guests own the number of timers only through objects that have limits of their own.
 *
 * Locks: base->lock (RANK_TIMER); fire() is called without it.
 * Host: sched_yield [sentry]
 */
#include <kernel/timer.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/lock.h>

#define HEAP_FIRST 64u
#define NOT_IN_HEAP UINT32_MAX

struct timer_base {
    struct spin lock;
    struct timer **heap; /* GUARDED_BY(lock), as what follows */
    uint32_t count, room;
    _Atomic(int64_t)
        first_ns; /* of heap[0]; INT64_MAX: none. Written under the lock, read without */
    struct timer *running;
    pthread_t runner; /* valid while running */
    void (*kick)(void *);
    void *arg;
};

static __thread struct timer_base *this_base;

int64_t clock_now_ns(clockid_t clock)
{
    struct timespec ts = {0};
    (void)clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct timer_base *timer_base_new(void (*kick)(void *), void *arg)
{
    struct timer_base *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    spin_init(&b->lock, RANK_TIMER);
    b->first_ns = INT64_MAX;
    b->kick = kick;
    b->arg = arg;
    return b;
}

void timer_base_free(struct timer_base *b)
{
    if (!b)
        return;
    free(b->heap);
    free(b);
}

struct timer_base *timer_base_self(void)
{
    return this_base;
}

void timer_base_bind(struct timer_base *b)
{
    this_base = b;
}

/* --- heap --- */

static void heap_set(struct timer_base *b, uint32_t i, struct timer *t)
{
    b->heap[i] = t;
    t->heap_index = i;
}

static void heap_up(struct timer_base *b, uint32_t i, struct timer *t)
{
    while (i && b->heap[(i - 1) / 2]->when_ns > t->when_ns) {
        heap_set(b, i, b->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(b, i, t);
}

static void heap_down(struct timer_base *b, uint32_t i, struct timer *t)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= b->count)
            break;
        if (child + 1 < b->count && b->heap[child + 1]->when_ns < b->heap[child]->when_ns)
            child++;
        if (b->heap[child]->when_ns >= t->when_ns)
            break;
        heap_set(b, i, b->heap[child]);
        i = child;
    }
    heap_set(b, i, t);
}

uint32_t timer_count(struct timer_base *b)
{
    spin_lock(&b->lock);
    uint32_t n = b->count;
    spin_unlock(&b->lock);
    return n;
}

static void first_note(struct timer_base *b)
{
    atomic_store_explicit(&b->first_ns, b->count ? b->heap[0]->when_ns : INT64_MAX,
                          memory_order_relaxed);
}

static int heap_insert(struct timer_base *b, struct timer *t)
{
    if (b->count == b->room) {
        uint32_t room = b->room ? b->room * 2 : HEAP_FIRST;
        struct timer **heap = realloc(b->heap, room * sizeof(*heap));
        if (!heap)
            return -ENOMEM;
        b->heap = heap;
        b->room = room;
    }
    t->base = b;
    heap_up(b, b->count++, t);
    first_note(b);
    return 0;
}

static void heap_remove(struct timer_base *b, struct timer *t)
{
    uint32_t i = t->heap_index;
    struct timer *last = b->heap[--b->count];
    t->base = NULL;
    t->heap_index = NOT_IN_HEAP;
    if (last != t) {
        if (i && b->heap[(i - 1) / 2]->when_ns > last->when_ns)
            heap_up(b, i, last);
        else
            heap_down(b, i, last);
    }
    first_note(b);
}

/* --- timers --- */

void timer_init(struct timer *t, void (*fire)(struct timer *))
{
    memset(t, 0, sizeof(*t));
    t->fire = fire;
    t->heap_index = NOT_IN_HEAP;
}

/* The home, locked; NULL if it was never armed. */
static struct timer_base *timer_lock_home(struct timer *t)
{
    for (;;) {
        struct timer_base *b = atomic_load(&t->home);
        if (!b)
            return NULL;
        spin_lock(&b->lock);
        if (atomic_load(&t->home) == b)
            return b;
        spin_unlock(&b->lock);
    }
}

int timer_arm(struct timer *t, struct timer_base *b, int64_t when_ns)
{
    if (!b)
        b = this_base;
    BUG_ON(!b);
    struct timer_base *old = NULL;
    if (!atomic_compare_exchange_strong(&t->home, &old, b)) {
        old = timer_lock_home(t);
        if (t->base)
            heap_remove(old, t);
        atomic_store(&t->home, b);
        spin_unlock(&old->lock);
    }
    struct timer_base *home = timer_lock_home(t);
    if (t->base)
        heap_remove(home, t);
    t->when_ns = when_ns;
    int err = heap_insert(home, t);
    bool first = !err && home->heap[0] == t;
    spin_unlock(&home->lock);
    if (first && home != this_base && home->kick)
        home->kick(home->arg);
    return err;
}

bool timer_cancel_nowait(struct timer *t)
{
    struct timer_base *b = timer_lock_home(t);
    if (!b)
        return true;
    if (t->base)
        heap_remove(b, t);
    bool done = b->running != t || pthread_equal(b->runner, pthread_self());
    spin_unlock(&b->lock);
    return done;
}

void timer_cancel(struct timer *t)
{
    while (!timer_cancel_nowait(t))
        sched_yield();
}

bool timer_armed(struct timer *t)
{
    struct timer_base *b = timer_lock_home(t);
    if (!b)
        return false;
    bool armed = t->base != NULL;
    spin_unlock(&b->lock);
    return armed;
}

int64_t timer_first(const struct timer_base *b)
{
    return atomic_load_explicit(&b->first_ns, memory_order_relaxed);
}

int64_t timer_run(struct timer_base *b, int64_t now)
{
    int64_t first = timer_first(b);

    if (likely(first > now)) /* what is armed elsewhere after this kicks us */
        return first == INT64_MAX ? first : first - now;
    spin_lock(&b->lock);
    /* A timer that re-arms itself in the past must not keep the poller here. */
    uint32_t most = b->count;
    b->runner = pthread_self();
    while (most-- && b->count && b->heap[0]->when_ns <= now) {
        struct timer *t = b->heap[0];
        heap_remove(b, t);
        b->running = t;
        spin_unlock(&b->lock);
        t->fire(t); /* may free t */
        spin_lock(&b->lock);
        b->running = NULL;
    }
    int64_t next = b->count ? b->heap[0]->when_ns - now : INT64_MAX;
    first_note(b);
    spin_unlock(&b->lock);
    return next < 0 ? 0 : next;
}
