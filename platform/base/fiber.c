/* SPDX-License-Identifier: Apache-2.0
 * fiber.c - stacks, switching and the run queue of one poller thread (fiber.h).
 *
 * A scheduler has at any time exactly one loop fiber. Who runs: the loop, or a fiber that the loop
 * resumed; the latter always gives back to the loop. When the loop itself parks (a handler running
 * on it did), another stack becomes the loop: a fresh one, or one that finished earlier and sits in
 * fiber_loop_check().
 *
 * A fiber's structure lives as long as its scheduler, so a late unpark finds memory; it leaves a
 * token, which the next user of the stack sees as one spurious return of fiber_park().
 *
 * Locks: inbox_lock (RANK_SCHED) guards the inbox; everything else belongs to the thread.
 *
 * Host: mmap, munmap, madvise, mprotect, futex [sentry gofer]
 * Host: sched_yield [sentry gofer] */
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/err.h>
#include <base/log.h>

#include "base_private.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#elif __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#endif

#if defined(HAVE_ASAN) || defined(HAVE_TSAN)
#define STACK_SIZE (512u << 10)
#else
#define STACK_SIZE (64u << 10)
#endif
#define STACKS_KEPT_WARM 16 /* free stacks beyond these give their memory back */

struct work {
    struct list_head link;
    void (*fn)(void *arg);
    void *arg;
};

struct fiber_sched {
    struct fiber main; /* the thread's own stack, while the loop runs */
    struct fiber *current, *loop;
    struct list_head ready, free, work;
    uint32_t free_count;
    void (*loop_fn)(void *arg);
    void (*kick)(void *arg);
    void *arg;
    struct { /* written by the thread only */
        _Atomic(uint64_t) parks, spawned;
        _Atomic(uint32_t) stacks, stacks_in_use;
    } stats;
    struct fiber *all[1024]; /* for sched_free; beyond: leaked to the end of the process */

    _Alignas(CACHE_LINE) struct spin inbox_lock;
    struct list_head inbox, work_inbox; /* GUARDED_BY(inbox_lock) */
    _Atomic(bool) inbox_full;           /* hint, set under the lock */
};

/* A counter with one writer. */
#define TICK(counter, n)                                                                \
    atomic_store_explicit(&(counter),                                                   \
                          atomic_load_explicit(&(counter), memory_order_relaxed) + (n), \
                          memory_order_relaxed)

static _Thread_local struct fiber_sched *tls_sched;
static _Thread_local struct fiber tls_thread_fiber;

void fiber_switch_raw(void **save_sp, void *load_sp);
void fiber_trampoline(void);

/* A fiber may move between reads of thread-locals only in the sense that other fibers run
 * meanwhile; it never changes thread, so caching the address is right. */
static inline struct fiber_sched *sched_self(void)
{
    return tls_sched;
}

struct fiber_sched *fiber_sched_self(void)
{
    return sched_self();
}

struct fiber *fiber_self(void)
{
    struct fiber_sched *s = sched_self();

    return s && s->current ? s->current : &tls_thread_fiber;
}

void *fiber_local(void)
{
    return fiber_self()->local;
}

void **fiber_local_slot(void)
{
    return &fiber_self()->local;
}

void fiber_set_local(void *p)
{
    fiber_self()->local = p;
}

#ifdef HAVE_ASAN
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old,
                                     size_t *size_old);
#endif
#ifdef HAVE_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

/* First thing on every stack after a switch to it. */
static void switch_arrived(struct fiber *self)
{
#ifdef HAVE_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self->asan_fake, &bottom, &size);
    if (!self->sched->main.stack) { /* the first switch tells us the thread's own stack */
        self->sched->main.stack = (void *)(uintptr_t)bottom;
        self->sched->main.stack_size = size;
    }
#else
    (void)self;
#endif
}

static void switch_to(struct fiber *to)
{
    struct fiber_sched *s = sched_self();
    struct fiber *from = s->current;

    if (to == from)
        return;
    lockdep_no_spin();
    s->current = to;
#ifdef HAVE_ASAN
    __sanitizer_start_switch_fiber(&from->asan_fake, to->stack, to->stack_size);
#endif
#ifdef HAVE_TSAN
    if (!from->tsan)
        from->tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    fiber_switch_raw(&from->sp, to->sp);
    switch_arrived(from);
}

static void fiber_entry(void)
{
    struct fiber_sched *s = sched_self();

    switch_arrived(s->current);
    s->loop_fn(s->arg);
    switch_to(&s->main); /* the loop has ended: fiber_sched_run() returns */
    BUG_ON(true);
}

static struct fiber *fiber_new(struct fiber_sched *s)
{
    struct fiber *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    char *mem = mmap(NULL, STACK_SIZE + PAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (mem == MAP_FAILED || mprotect(mem, PAGE_SIZE, PROT_NONE)) {
        if (mem != MAP_FAILED)
            munmap(mem, STACK_SIZE + PAGE_SIZE);
        free(f);
        return NULL;
    }
    f->sched = s;
    f->stack = mem + PAGE_SIZE;
    f->stack_size = STACK_SIZE;
    list_init(&f->link);
    void **sp = (void **)(void *)(mem + PAGE_SIZE + STACK_SIZE);
    *--sp = NULL; /* keeps the entry's stack 16-aligned */
    *--sp = NULL;
    *--sp = (void *)(uintptr_t)fiber_trampoline; /* ret */
    *--sp = NULL;                                /* rbp */
    *--sp = (void *)(uintptr_t)fiber_entry;      /* rbx */
    for (int i = 0; i < 4; i++)
        *--sp = NULL; /* r12..r15 */
    f->sp = sp;
#ifdef HAVE_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    uint32_t n = atomic_load_explicit(&s->stats.stacks, memory_order_relaxed);
    if (n < ARRAY_SIZE(s->all))
        s->all[n] = f;
    TICK(s->stats.stacks, 1);
    return f;
}

/* A stack to become the loop. Memory for one is kept in reserve by never freeing stacks; if there
 * is none at all the sandbox cannot go on. */
static struct fiber *loop_take(struct fiber_sched *s)
{
    struct fiber *f;

    if (!list_empty(&s->free)) {
        f = list_first_entry(&s->free, struct fiber, link);
        list_del(&f->link);
        s->free_count--;
    } else {
        f = fiber_new(s);
        BUG_ON(!f);
    }
    TICK(s->stats.stacks_in_use, 1);
    return f;
}

static void thread_park(struct fiber *f)
{
    uint32_t token = FIBER_TOKEN;

    while (!atomic_compare_exchange_strong_explicit(&f->token, &token, FIBER_RUNNING,
                                                    memory_order_acquire, memory_order_relaxed)) {
        token = FIBER_TOKEN;
        syscall(SYS_futex, &f->token, FUTEX_WAIT_PRIVATE, FIBER_RUNNING, NULL, NULL, 0);
    }
}

static void leave(struct fiber_sched *s, struct fiber *self)
{
    TICK(s->stats.parks, 1);
    if (self == s->loop)
        s->loop = loop_take(s);
    switch_to(s->loop);
}

void fiber_park(void)
{
    struct fiber_sched *s = sched_self();
    struct fiber *f = fiber_self();
    uint32_t expected = FIBER_RUNNING;

    lockdep_no_spin();
    if (!f->sched) {
        thread_park(f);
        return;
    }
    if (!atomic_compare_exchange_strong_explicit(&f->token, &expected, FIBER_PARKED,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        atomic_store_explicit(&f->token, FIBER_RUNNING, memory_order_relaxed);
        return; /* the token was there */
    }
    leave(s, f);
}

static void inbox_put(struct fiber_sched *s, struct list_head *link, struct list_head *box)
{
    spin_lock(&s->inbox_lock);
    list_add_tail(link, box);
    atomic_store_explicit(&s->inbox_full, true, memory_order_relaxed);
    spin_unlock(&s->inbox_lock);
    s->kick(s->arg);
}

void fiber_unpark(struct fiber *f)
{
    uint32_t t = atomic_load_explicit(&f->token, memory_order_relaxed);

    for (;;) {
        if (t == FIBER_TOKEN)
            return;
        uint32_t next = t == FIBER_PARKED ? FIBER_RUNNING : FIBER_TOKEN;
        if (atomic_compare_exchange_weak_explicit(&f->token, &t, next, memory_order_acq_rel,
                                                  memory_order_relaxed))
            break;
    }
    if (!f->sched)
        syscall(SYS_futex, &f->token, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    else if (t == FIBER_PARKED) {
        if (f->sched == sched_self())
            list_add_tail(&f->link, &f->sched->ready);
        else
            inbox_put(f->sched, &f->link, &f->sched->inbox);
    }
}

void fiber_yield(void)
{
    struct fiber_sched *s = sched_self();

    if (!s || !s->current) {
        syscall(SYS_sched_yield);
        return;
    }
    list_add_tail(&s->current->link, &s->ready);
    leave(s, s->current);
}

int fiber_spawn(struct fiber_sched *s, void (*fn)(void *arg), void *arg)
{
    struct work *w = malloc(sizeof *w);

    if (!w)
        return -ENOMEM;
    *w = (struct work){.fn = fn, .arg = arg};
    if (s == sched_self())
        list_add_tail(&w->link, &s->work);
    else
        inbox_put(s, &w->link, &s->work_inbox);
    return 0;
}

static void inbox_take(struct fiber_sched *s)
{
    if (!atomic_load_explicit(&s->inbox_full, memory_order_relaxed))
        return;
    spin_lock(&s->inbox_lock);
    list_splice_tail(&s->inbox, &s->ready);
    list_splice_tail(&s->work_inbox, &s->work);
    atomic_store_explicit(&s->inbox_full, false, memory_order_relaxed);
    spin_unlock(&s->inbox_lock);
}

bool fiber_any_ready(void)
{
    struct fiber_sched *s = sched_self();

    return !list_empty(&s->ready) || !list_empty(&s->work) ||
           atomic_load_explicit(&s->inbox_full, memory_order_acquire);
}

unsigned fiber_run_ready(void)
{
    struct fiber_sched *s = sched_self();
    unsigned ran = 0;

    inbox_take(s);
    /* Those that are ready now: one that yields comes again when the loop has had its turn. */
    const struct fiber *last = list_last_entry(&s->ready, struct fiber, link);
    while (!list_empty(&s->ready)) {
        struct fiber *f = list_first_entry(&s->ready, struct fiber, link);
        list_del(&f->link);
        ran++;
        switch_to(f);
        if (f == last)
            break;
    }
    while (!list_empty(&s->work)) {
        struct work *w = list_first_entry(&s->work, struct work, link);
        list_del(&w->link);
        TICK(s->stats.spawned, 1);
        ran++;
        w->fn(w->arg);
        free(w);
        if (fiber_loop_check())
            break;
    }
    return ran;
}

bool fiber_loop_check(void)
{
    struct fiber_sched *s = sched_self();
    struct fiber *self = s->current;

    if (likely(self == s->loop))
        return false;
    TICK(s->stats.stacks_in_use, -1U);
    list_add(&self->link, &s->free);
    if (++s->free_count > STACKS_KEPT_WARM) {
        uintptr_t here = align_down((uintptr_t)__builtin_frame_address(0), PAGE_SIZE);
        if (here > (uintptr_t)self->stack + 2 * PAGE_SIZE)
            madvise(self->stack, here - (uintptr_t)self->stack - PAGE_SIZE, MADV_DONTNEED);
    }
    switch_to(s->loop);
    return true;
}

bool fiber_is_loop(void)
{
    struct fiber_sched *s = sched_self();

    return s->current == s->loop;
}

struct fiber_sched *fiber_sched_new(void (*loop)(void *arg), void (*kick)(void *arg), void *arg)
{
    struct fiber_sched *s = aligned_alloc(CACHE_LINE, align_up(sizeof *s, CACHE_LINE));

    if (!s)
        return NULL;
    *s = (struct fiber_sched){.loop_fn = loop, .kick = kick, .arg = arg};
    list_init(&s->ready);
    list_init(&s->free);
    list_init(&s->work);
    list_init(&s->inbox);
    list_init(&s->work_inbox);
    spin_init(&s->inbox_lock, RANK_SCHED);
    s->main.sched = s;
    return s;
}

void fiber_sched_run(struct fiber_sched *s)
{
    BUG_ON(tls_sched);
    tls_sched = s;
    s->current = &s->main;
    s->loop = loop_take(s);
    switch_to(s->loop);
    s->current = NULL;
    tls_sched = NULL;
}

void fiber_sched_free(struct fiber_sched *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < MIN(atomic_load(&s->stats.stacks), (uint32_t)ARRAY_SIZE(s->all));
         i++) {
        struct fiber *f = s->all[i];
#ifdef HAVE_TSAN
        __tsan_destroy_fiber(f->tsan);
#endif
        munmap((char *)f->stack - PAGE_SIZE, STACK_SIZE + PAGE_SIZE);
        free(f);
    }
    free(s);
}

void fiber_stats_get(const struct fiber_sched *s, struct fiber_stats *ret)
{
    ret->parks = atomic_load_explicit(&s->stats.parks, memory_order_relaxed);
    ret->spawned = atomic_load_explicit(&s->stats.spawned, memory_order_relaxed);
    ret->stacks = atomic_load_explicit(&s->stats.stacks, memory_order_relaxed);
    ret->stacks_in_use = atomic_load_explicit(&s->stats.stacks_in_use, memory_order_relaxed);
}
