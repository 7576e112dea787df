/* SPDX-License-Identifier: Apache-2.0
 * poller.c - the loop of one poller thread.
 *
 * A round: calls that fired, tasks that need attention, lanes that are busy, some of those that
 * are quiet, fibers, host completions, timers. With nothing to do for as long as the policy says
 * (policy.c; not at all where nobody spins) the poller announces that it sleeps (its word in the
 * read-only page), looks at every lane once more, and waits for a guest's FUTEX_WAKE, a host
 * completion, a timer or a kick. Handlers run on the loop's stack and may park: then this stack is
 * left behind and the loop goes on with another one, so no round keeps anything on the stack across
 * a served lane (base/fiber.h).
 *
 * Quiet lanes: a lane that had nothing for QUIET_ROUNDS rounds is looked at only in rotation, so
 * that a thousand idle threads cost a busy one little. Nothing of this is known to the guest.
 *
 * Host: futex [sentry] */
#include <linux/futex.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/err.h>
#include <base/log.h>
#include <files/files.h>
#include <host/numa.h>
#include <mm/mm.h>

#include <patch/patch.h>

#include "private.h"

#define IDLE_NS 12000LL /* without work so long: time for what can wait */
#define QUIET_ROUNDS 64 /* empty looks until a lane is quiet */
#define INBOX_BATCH 64  /* things out of the inbox before the lanes have their turn */
#define QUIET_BATCH 8   /* quiet lanes looked at with the clock */
#define TRIM_IDLE_NS 500000000LL
#define TRIM_NS 30000000000LL
#define TRIM_BYTES (8u << 20)

struct service g_service;
static _Thread_local struct poller *tls_poller;

static NOINLINE struct poller *self(void)
{
    return tls_poller;
}

struct poller *poller_self(void)
{
    return self();
}

/* Any thread: make the poller look at its inboxes. */
void poller_kick(void *arg)
{
    struct poller *p = arg;

    if (p == self())
        return;
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in poller_sleep() */
    if (atomic_load_explicit(&p->word->asleep, memory_order_relaxed)) {
        atomic_store_explicit(&p->word->asleep, 0, memory_order_release);
        syscall(SYS_futex, &p->word->asleep, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void call_ready(struct call *c)
{
    struct served *s = c->task->service;
    struct poller *p = s->poller;

    spin_lock(&p->lock);
    list_add_tail(&c->ready_link, &p->again);
    atomic_store_explicit(&p->inbox_full, true, memory_order_release);
    spin_unlock(&p->lock);
    poller_kick(p);
}

/* One thing out of the inbox; NULLs when it is empty. */
static bool inbox_take(struct poller *p, struct call **ret_call, struct served **ret_served)
{
    *ret_call = NULL;
    *ret_served = NULL;
    if (!atomic_load_explicit(&p->inbox_full, memory_order_acquire))
        return false;
    spin_lock(&p->lock);
    while (!list_empty(&p->arriving)) {
        struct served *s = list_first_entry(&p->arriving, struct served, link);
        list_del(&s->link);
        served_add(s);
    }
    if (!list_empty(&p->again)) {
        *ret_call = list_first_entry(&p->again, struct call, ready_link);
        list_del(&(*ret_call)->ready_link);
    } else if (!list_empty(&p->attention)) {
        *ret_served = list_first_entry(&p->attention, struct served, attention_link);
        list_del(&(*ret_served)->attention_link);
    } else {
        atomic_store_explicit(&p->inbox_full, false, memory_order_relaxed);
    }
    spin_unlock(&p->lock);
    return *ret_call || *ret_served;
}

static bool inbox_run(struct poller *p)
{
    struct call *c;
    struct served *s;
    bool any = false;

    for (unsigned n = 0; n < INBOX_BATCH && inbox_take(p, &c, &s); n++) {
        any = true;
        if (c)
            served_run_again(c);
        else
            served_attend(s);
        if (fiber_loop_check())
            return true;
    }
    return any;
}

/* A call in the slot, and nothing else. */
static inline bool quick_call(const struct poller *p, const struct served *s)
{
    return s->state == SERVED_GUEST && atomic_load_explicit(&p->quick, memory_order_relaxed) &&
           !s->sq && ring_load_acquire(&s->lane->call.state) == SLOT_POSTED &&
           ring_load_relaxed(&s->lane->event.state) == SLOT_FREE;
}

/* Look at the busy lanes once, each at most. A served lane moves to the end of the list, so a stack
 * that took over mid-way goes on with the others. @local: fiber_local_slot() of this stack. */
static bool busy_run(struct poller *p, void **local)
{
    struct served *s, *tmp;

    list_for_each_entry_safe (s, tmp, &p->busy, link) {
        if (unlikely(!s->watch))
            served_watch(s);
        if (served_has_work(s)) {
            s->idle_rounds = 0;
            if (p->busy.prev != &s->link)
                served_move(s, SERVED_ON_BUSY);
            if (!quick_call(p, s) || !posted_quick(s, local))
                served_poll(s);
            (void)fiber_loop_check();
            return true; /* the list may be another one now */
        }
        if (++s->idle_rounds > QUIET_ROUNDS && !list_empty(&p->busy) &&
            (p->busy.next != &s->link || p->busy.prev != &s->link))
            served_move(s, SERVED_ON_QUIET);
    }
    return false;
}

static bool quiet_run(struct poller *p, unsigned most)
{
    for (unsigned i = 0; i < most && !list_empty(&p->quiet); i++) {
        struct served *s = list_first_entry(&p->quiet, struct served, link);
        bool work = served_has_work(s);

        served_move(s, work ? SERVED_ON_BUSY : SERVED_ON_QUIET);
        if (work) {
            served_poll(s);
            (void)fiber_loop_check();
            return true;
        }
    }
    return false;
}

static bool any_lane_has_work(struct poller *p)
{
    struct served *s;

    list_for_each_entry (s, &p->busy, link) {
        if (served_has_work(s))
            return true;
    }
    list_for_each_entry (s, &p->quiet, link) {
        if (served_has_work(s)) {
            served_move(s, SERVED_ON_BUSY);
            return true;
        }
    }
    return false;
}

/* Calls that wait in the middle of something: for the file server, for the host. */
static unsigned poller_parked(const struct poller *p)
{
    struct fiber_stats f;

    fiber_stats_get(p->sched, &f);
    return f.stacks_in_use - MIN(f.stacks_in_use, 1U);
}

static void poller_sleep(struct poller *p, int64_t now, int64_t until_timer_ns)
{
    int64_t look = policy_deadline(&p->policy, now, p->policy.active);
    bool slept = false;

    if (p->answered_count)
        poller_wake_answered(p);
    if (look != INT64_MAX && (until_timer_ns < 0 || look - now < until_timer_ns))
        until_timer_ns = MAX(look - now, (int64_t)0);
    atomic_store_explicit(&p->word->asleep, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the posters' and poller_kick()'s */
    bool sooner = timer_first(p->timers) < (until_timer_ns < 0 ? INT64_MAX : now + until_timer_ns);
    if (!any_lane_has_work(p) && !fiber_any_ready() && !atomic_load(&p->inbox_full) && !sooner &&
        !atomic_load(&p->stop)) {
        tally_add(&p->stats->sleeps, 1);
        io_sleep(p->io, &p->word->asleep, 1, until_timer_ns);
        slept = true;
    }
    atomic_store_explicit(&p->word->asleep, 0, memory_order_release);
    bool called = any_lane_has_work(p); /* who rang becomes busy */
    p->last_work_ns = clock_now_ns(CLOCK_MONOTONIC);
    stats_time(p, &p->stats->asleep_ns, p->last_work_ns);
    if (slept)
        policy_slept(&p->policy, p->last_work_ns, called);
}

/* What guests made us take and give up again goes back to the host when this poller has been idle for a
 * while, or now and then if that never comes: memory that is used again at once is better kept. Returns
 * how long a sleep may last until it is time; INT64_MAX: no need. */
static int64_t memory_trim(struct poller *p, int64_t now)
{
    int64_t due = MIN(p->worked_ns + TRIM_IDLE_NS, p->trimmed_ns + TRIM_NS);

    if (!p->trim_owed)
        return INT64_MAX;
    if (now < due)
        return due - now;
    p->trim_owed = false;
    p->trimmed_ns = now;
    unix_pool_trim();
    if (mallinfo2().fordblks > TRIM_BYTES)
        (void)malloc_trim(0);
    return INT64_MAX;
}

/* The clock, and what depends on it. */
static void poller_look(struct poller *p)
{
    bool more = quiet_run(p, QUIET_BATCH);

    more |= io_round(p->io) > 0;
    int64_t now = clock_now_ns(CLOCK_MONOTONIC), passed = now - p->policy.looked;
    int64_t next = timer_run(p->timers, now);
    unsigned parked = poller_parked(p);

    more |= p->last_work_ns == 0;
    /* Rounds without work take no time: somebody else had the CPU, or the host the virtual one. Who does
     * what a call waits for is no stranger. */
    bool gap = passed > POLICY_GAP_NS && !more && !p->waited_for;
    bool lost = place_lost_cpu(p, now) || gap;
    p->waited_for = parked > 0;
    /* Guest threads that run: those we look at, less those whose call waits in the middle. */
    if (policy_look(&p->policy, now, p->listed - MIN(p->listed, parked), more, lost))
        place_mode(p);
    stats_time(p, more ? &p->stats->working_ns : &p->stats->spinning_ns, now);
    if (unlikely(g_service.cfg.stats))
        stats_batch(p);
    if (more) {
        p->last_work_ns = now;
        p->worked_ns = now;
        p->trim_owed = true;
        return;
    }
    int64_t spin = policy_spin_ns(&p->policy, now);
    if (mm_later_any() && now - p->last_work_ns >= MIN(spin, IDLE_NS)) {
        (void)mm_later_run(); /* the ends of address spaces: nobody waits for them */
        (void)fiber_loop_check();
        p->last_work_ns = 0;
        return;
    }
    if (now - p->last_work_ns >= spin) {
        next = MIN(next, memory_trim(p, now));
        poller_sleep(p, now, next == INT64_MAX ? -1 : next);
    }
}

/* Who was answered in this round and has parked is woken when there is no more to do, or before it has
 * waited for several rounds. */
static void round_end(struct poller *p, bool work)
{
    if (p->answered_count && (!work || ++p->answered_rounds >= ANSWERED_ROUNDS_MAX))
        poller_wake_answered(p);
    if (work)
        p->last_work_ns = 0; /* looked up when it matters */
    if (++p->rounds >= (work ? CLOCK_ROUNDS : CLOCK_ROUNDS_LATE) ||
        (!work && p->policy.mode == POLICY_HANDOVER)) { /* nobody spins */
        p->rounds = 0;
        poller_look(p);
    }
    if (!work) /* also: loads of a lane that are ahead of a call's arrival would be undone */
        __builtin_ia32_pause();
}

static void poller_loop(void *arg)
{
    struct poller *p = arg;
    void **local = fiber_local_slot();

    while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
        bool work = busy_run(p, local);

        if (unlikely(atomic_load_explicit(&p->inbox_full, memory_order_relaxed)))
            work |= inbox_run(p);
        if (unlikely(fiber_any_ready())) {
            work |= fiber_run_ready() > 0;
            (void)fiber_loop_check();
        }
        round_end(p, work);
    }
}

static void kick_fiber_sched(void *arg)
{
    poller_kick(arg);
}

static int poller_init(struct poller *p, unsigned index, const struct service_config *cfg)
{
    p->index = index;
    p->cpu = cfg->poller_cpus ? cfg->poller_cpus[index] : -1;
    p->word = &cfg->poller_words[index];
    atomic_init(&p->quick, !cfg->trace && !cfg->stats);
    list_init(&p->busy);
    list_init(&p->quiet);
    list_init(&p->rest);
    list_init(&p->watches);
    list_init(&p->again);
    list_init(&p->attention);
    list_init(&p->arriving);
    spin_init(&p->lock, RANK_SCHED);
    place_poller_init(p);
    p->stats = calloc(1, sizeof *p->stats);
    p->sched = fiber_sched_new(poller_loop, kick_fiber_sched, p);
    p->timers = timer_base_new(kick_fiber_sched, p);
    if (!p->stats || !p->sched || !p->timers)
        return -ENOMEM;
    int r = stats_init(p->stats, cfg->stats);
    return r ? r : io_create((enum io_engine)cfg->io_engine, &p->io);
}

static void *poller_main(void *arg)
{
    struct poller *p = arg;

    tls_poller = p;
    place_pin(p);
    io_bind(p->io);
    timer_base_bind(p->timers);
    fiber_sched_run(p->sched);
    return NULL;
}

int service_init(const struct service_config *cfg)
{
    BUG_ON(cfg->pollers == 0 || cfg->pollers > RO_POLLERS);
    g_service.cfg = *cfg;
    if (!cfg->platform->post_addr)
        g_service.cfg.patch = false;
    (void)numa_init();
    place_init();
    (void)mallinfo2(); /* its first use makes glibc's arenas, unless malloc has: by one thread */
    trace_init();
    if (g_service.cfg.patch) /* a traced call has to come here */
        patch_init(cfg->platform->post_addr(), cfg->trace ? NULL : cfg->platform->local_addr,
                   cfg->patch_after);
    g_kernel_hooks.task_attach = served_attach;
    g_kernel_hooks.task_detach = served_detach;
    g_kernel_hooks.task_quiesce = served_quiesce;
    g_kernel_hooks.task_kick = served_kick;
    call_ready_hook = call_ready;
    for (unsigned i = 0; i < cfg->pollers; i++) {
        int r = poller_init(&g_service.pollers[i], i, cfg);
        if (r)
            return r;
    }
    return 0;
}

int service_start_threads(void)
{
    for (unsigned i = 1; i < g_service.cfg.pollers; i++)
        if (pthread_create(&g_service.pollers[i].thread, NULL, poller_main, &g_service.pollers[i]))
            return -EAGAIN;
    return 0;
}

int service_run(void (*fn)(void *arg), void *arg)
{
    int r = fiber_spawn(g_service.pollers[0].sched, fn, arg);

    if (r)
        return r;
    poller_main(&g_service.pollers[0]);
    for (unsigned i = 1; i < g_service.cfg.pollers; i++)
        pthread_join(g_service.pollers[i].thread, NULL);
    trace_end();
    return 0;
}

void service_stop(int exit_status)
{
    g_service.exit_status = exit_status;
    for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
        atomic_store(&g_service.pollers[i].stop, true);
        poller_kick(&g_service.pollers[i]);
    }
}

int service_exit_status(void)
{
    return g_service.exit_status;
}

const struct platform_ops *service_platform(void)
{
    return g_service.cfg.platform;
}
