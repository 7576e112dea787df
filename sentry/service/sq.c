/* SPDX-License-Identifier: Apache-2.0
 * sq.c - submission queues: many calls of one task in flight, completed in any order.
 *
 * An entry becomes a struct sq_call, runs like any call (parks on a fiber, waits in wait queues)
 * and ends as a completion. Signals neither interrupt nor restart it. Entries behind one with
 * SQE_LINK wait for it and are cancelled when it fails; one with SQE_DRAIN waits until everything
 * before it is done, and nothing is taken meanwhile.
 *
 * A queue is served whatever its task does: runs, waits in a call, is stopped. So a thread may wait
 * for its completions in a call of its own.
 *
 * The guest may write both queues at any time. An entry is copied once; tags only say that one is
 * there; more calls in flight than the CQ has room for kill the process. In flight: at most
 * cq_entries, which bounds the memory of a queue; all queues together: SQ_ENTRIES_MAX.
 *
 * References: a call uses the task's files, credentials, directory and memory. What replaces them
 * are rows with SQ_NO, and those wait in sq_settle() until no call of the queue is in the middle of
 * its handler; exec and exit come to sq_quiesce() first, which cancels what waits and parks until
 * nothing is in flight. (Calls that merely wait hold no pointer into the task: they are run again.)
 *
 * Owner poller only, so no locks. Any function here that runs or ends a call may park, and then
 * other frames work on the same queue: state is read after such a call, not kept across it. */
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/log.h>
#include <host/memfile.h>
#include <ring/queue.h>

#include "private.h"

#define SQ_BUDGET 64          /* entries taken from one lane before the others have their turn */
#define SQ_AHEAD 4            /* entries fetched ahead of the one that runs */
#define SQ_ENTRIES_MAX 131072 /* CQ entries of all queues: their calls take <= 64 MiB */

struct sq_call {
    struct call call;
    struct sq_call *next; /* linked behind this one; the next free one when it is free */
    bool link;            /* has SQE_LINK: `next` depends on the result */
    uint16_t flags;       /* SQE_*, as the guest wrote them */
    struct sq *sq;
    struct list_head parked; /* in sq->parked while it waits in wait queues */
    int64_t start_ns;        /* --stats */
};

/* How the next entry depends on the one taken last. */
enum sq_chain {
    CHAIN_NONE,   /* not at all, or that one has succeeded */
    CHAIN_OPEN,   /* it is linked to it, and that one (sq->last) has not ended */
    CHAIN_BROKEN, /* it is linked to it, and that one has failed */
};

struct sq {
    struct ring_consumer ring;
    struct served *served;
    struct sq_call *free;
    struct sq_call *last;
    enum sq_chain chain;
    unsigned running; /* calls in the middle of their handler: on this stack or on fibers */
    bool flush_due;   /* completions that nobody has been told of */
    bool dead;        /* nothing is taken any more */
    uint64_t mem_off, mem_len, guest_addr;
    struct list_head parked;
    struct wait_queue waiters; /* RING_CTL_WAIT */
    struct sq_call *held;      /* the draining entry */
    struct fiber *settling;    /* waits for running == 0, or for nothing in flight if dead */
};

static _Atomic(uint32_t) sq_entries_used; /* of SQ_ENTRIES_MAX */

static void complete(struct sq *q, uint64_t user_data, int64_t result)
{
    ring_consumer_complete(&q->ring, user_data, result, 0);
    q->flush_due = true;
}

static bool in_flight(const struct sq *q)
{
    return q->ring.taken != q->ring.completed;
}

/* After completions: who waits for them may look. Nothing of @q may be used after it by a frame
 * that has parked: the queue can be gone. */
static void flush(struct sq *q)
{
    q->flush_due = false;
    if (!list_empty(&q->waiters.waiters))
        wake_all(&q->waiters, 0);
    if (unlikely(q->settling) && (q->dead ? !in_flight(q) : !q->running))
        fiber_unpark(q->settling);
}

static struct sq_call *sq_call_get(struct sq *q)
{
    struct sq_call *sc = q->free;

    if (likely(sc)) {
        q->free = sc->next;
    } else {
        sc = calloc(1, sizeof *sc);
        if (!sc)
            return NULL;
        sc->sq = q;
        list_init(&sc->parked);
    }
    sc->next = NULL;
    return sc;
}

static void sq_call_put(struct sq *q, struct sq_call *sc)
{
    sc->next = q->free;
    q->free = sc;
}

static void account(struct sq *q, struct sq_call *sc, int64_t result)
{
    struct poller_stats *stats = q->served->poller->stats;

    if (trace_wanted())
        trace_call(&sc->call, result);
    if (g_service.cfg.stats && sc->call.nr < SYS_NR_MAX && sc->start_ns)
        stats_latency(stats, sc->call.nr, clock_now_ns(CLOCK_MONOTONIC) - sc->start_ns);
}

/* A call has ended, and with it those linked behind it if it failed. Returns the one to start now.
 * May park. */
static struct sq_call *sq_end(struct sq *q, struct sq_call *sc, int64_t result)
{
    for (;;) {
        call_end(&sc->call,
                 result); /* may park: until here entries may be linked behind this one */
        if (unlikely(trace_wanted() || g_service.cfg.stats))
            account(q, sc, result);

        struct sq_call *next = sc->next;
        bool broken = sc->link && (result < 0 || q->dead);

        if (q->chain == CHAIN_OPEN && q->last == sc)
            q->chain = broken ? CHAIN_BROKEN : CHAIN_NONE;
        complete(q, sc->call.user_data, result);
        sq_call_put(q, sc);
        if (!next || !broken)
            return next;
        sc = next; /* cancelled, and so is what hangs on it */
        result = -ECANCELED;
    }
}

/* Run until it ends or waits; returns the linked one to start now, if any. */
static struct sq_call *sq_execute(struct sq *q, struct sq_call *sc, const struct sys_row *row)
{
    struct call *c = &sc->call;
    sysret_t r;

    for (unsigned runs = 1;; runs++) {
        fiber_set_local(c);
        q->running++;
        r = sys_run(c, row);
        q->running--;
        c->started = true;
        if (likely(r != SYS_PARK))
            break;
        tally_add(&q->served->poller->stats->parks, 1);
        list_add_tail(&sc->parked, &q->parked);
        if (!q->dead && call_park_commit(c))
            return NULL;
        if (unlikely(runs == RUNS_AT_ONCE && !q->dead)) {
            call_ready_hook(c);
            return NULL;
        }
        list_del(&sc->parked);
        if (q->dead) /* cancelled before it could wait */
            c->interrupted = true;
        call_disarm(c);
    }
    if (unlikely(r <= -ERESTARTSYS && r >= -ERESTART_RESTARTBLOCK))
        r = -EINTR; /* cancelled */
    return sq_end(q, sc, r);
}

/* A chain may be as long as the queue: a loop, not recursion. */
static void sq_start(struct sq *q, struct sq_call *sc)
{
    while (sc) {
        const struct sys_row *row = sys_row(sc->call.nr);

        if (likely(row->run && row->sq == SQ_YES))
            sc = sq_execute(q, sc, row);
        else
            sc = sq_end(q, sc, row->run ? -EINVAL : row->none_errno ? -row->none_errno : -ENOSYS);
    }
}

/* An entry that does not become a call. */
static void sq_refuse(struct sq *q, struct sq_call *sc, int err)
{
    q->chain = sc->flags & SQE_LINK ? CHAIN_BROKEN : CHAIN_NONE;
    complete(q, sc->call.user_data, err);
    sq_call_put(q, sc);
}

/* Decide what a taken entry depends on, then start it or queue it. */
static void sq_accept(struct sq *q, struct sq_call *sc)
{
    struct sq_call *before = q->last;
    enum sq_chain chain = q->chain;

    if (unlikely(sc->flags & ~(SQE_LINK | SQE_DRAIN))) {
        sq_refuse(q, sc, -EINVAL);
        return;
    }
    if (unlikely(chain == CHAIN_BROKEN)) {
        sq_refuse(q, sc, -ECANCELED);
        return;
    }
    sc->link = sc->flags & SQE_LINK;
    q->last = sc;
    q->chain = sc->link ? CHAIN_OPEN : CHAIN_NONE;
    if (unlikely(g_service.cfg.stats)) {
        sc->start_ns = clock_now_ns(CLOCK_MONOTONIC);
        q->served->poller->taken++;
    }
    if (unlikely(chain == CHAIN_OPEN))
        before->next = sc;
    else
        sq_start(q, sc);
}

bool sq_ready(const struct sq *q)
{
    if (q->flush_due)
        return true;
    if (q->dead || q->settling)
        return false;
    return q->held ? q->ring.taken - 1 == q->ring.completed : ring_consumer_ready(&q->ring);
}

static void sq_violation(struct sq *q)
{
    struct task *t = q->served->task;

    log_info("service", "tid=%d more entries than its queue holds: killed", t->tid);
    q->dead = true;
    process_kill(t->process, SIGKILL);
}

/* Take one entry, or the one that was held. NULL: there is none to run now. */
static struct sq_call *sq_take(struct sq *q)
{
    struct sq_call *sc = q->held;
    struct ring_sqe_head e;

    if (unlikely(q->dead || q->settling))
        return NULL;
    if (unlikely(sc)) {
        if (q->ring.taken - 1 != q->ring.completed)
            return NULL;
        q->held = NULL;
        return sc;
    }
    if (!ring_consumer_ready(&q->ring))
        return NULL;
    sc = sq_call_get(q);
    if (unlikely(!sc)) /* tried again in the next round */
        return NULL;
    enum ring_take t = ring_consumer_take(&q->ring, &e, sc->call.args);
    if (unlikely(t != RING_TAKEN)) {
        sq_call_put(q, sc);
        if (t == RING_VIOLATION)
            sq_violation(q);
        return NULL;
    }
    ring_consumer_prefetch(&q->ring, SQ_AHEAD);
    call_begin(&sc->call, q->served->task, e.nr, NULL, CALL_BY_SQ);
    sc->call.user_data = e.user_data;
    sc->flags = e.flags;
    if (e.nr < SYS_NR_MAX)
        tally_add(&q->served->poller->stats->calls[e.nr][CALL_WAY_RING], 1);
    if (unlikely((e.flags & SQE_DRAIN) && q->ring.taken - 1 != q->ring.completed)) {
        q->held = sc;
        return NULL;
    }
    return sc;
}

/* Take and run up to SQ_BUDGET entries. May park; then another stack goes on with the queue. */
void sq_run(struct sq *q)
{
    struct sq_call *sc;

    for (unsigned n = 0; n < SQ_BUDGET && (sc = sq_take(q)) != NULL; n++) {
        sq_accept(q, sc);
        if (unlikely(!fiber_is_loop())) {
            fiber_set_local(NULL);
            flush(q);
            return;
        }
    }
    fiber_set_local(NULL);
    if (in_flight(q)) /* else the completions have brought the credit */
        ring_consumer_publish_taken(&q->ring);
    flush(q);
}

/* A waiting call fired. */
void sq_run_again(struct call *c)
{
    struct sq_call *sc = container_of(c, struct sq_call, call);
    struct sq *q = sc->sq;

    list_del(&sc->parked);
    call_disarm(c);
    sq_start(q, sq_execute(q, sc, sys_row(c->nr)));
    fiber_set_local(NULL);
    flush(q);
}

/* --- life --- */

static int sq_map(struct served *s, struct sq *q)
{
    struct memfile *mf = g_service.cfg.memfile;
    struct pf_memop op = {.op = PF_MAP,
                          .prot = 3,
                          .flags = PF_MAP_POPULATE,
                          .fd = PF_FD_MEMFILE,
                          .addr = q->guest_addr,
                          .len = q->mem_len};
    int r = memfile_alloc(mf, q->mem_len, MEMFILE_ANY, &q->mem_off);

    if (r)
        return r;
    op.off = q->mem_off;
    r = memfile_populate(mf, q->mem_off, q->mem_len);
    if (r == 0)
        r = g_service.cfg.platform->as_run(mm_as(s->task->mm), &op, 1, NULL);
    if (r)
        memfile_free(mf, q->mem_off, q->mem_len);
    return r;
}

/* Of SQ_ENTRIES_MAX; false: there is no room. */
static bool entries_reserve(uint32_t n)
{
    uint32_t used = atomic_fetch_add_explicit(&sq_entries_used, n, memory_order_relaxed);

    if (used + n <= SQ_ENTRIES_MAX)
        return true;
    atomic_fetch_sub_explicit(&sq_entries_used, n, memory_order_relaxed);
    return false;
}

static void entries_release(uint32_t n)
{
    atomic_fetch_sub_explicit(&sq_entries_used, n, memory_order_relaxed);
}

/* @u is checked. */
static struct sq *sq_new(struct served *s, struct ring_setup *u)
{
    uint64_t lane = g_service.cfg.platform->thread_lane_addr(s->task->thread);
    struct sq *q = calloc(1, sizeof *q);

    if (!q)
        return ERR_PTR(-ENOMEM);
    uint64_t cq_at = align_up(u->sq_entries * sizeof(struct ring_sqe), PAGE_SIZE);
    q->mem_len = cq_at + align_up(u->cq_entries * sizeof(struct ring_cqe), PAGE_SIZE);
    q->guest_addr = STUB_RINGS + (lane - STUB_LANES) / LANE_SIZE * RING_SLOT_SIZE;
    int r = q->guest_addr + RING_SLOT_SIZE > STUB_REGION_END ? -EAGAIN : sq_map(s, q);
    if (r) {
        free(q);
        return ERR_PTR(r);
    }
    char *mem = memfile_ptr(g_service.cfg.memfile, q->mem_off);
    q->served = s;
    q->ring = (struct ring_consumer){.sq = (struct ring_sqe *)(void *)mem,
                                     .cq = (struct ring_cqe *)(void *)(mem + cq_at),
                                     .sentry = &s->lane->sentry,
                                     .sq_entries = u->sq_entries,
                                     .cq_entries = u->cq_entries,
                                     .sq_shift = ring_shift(u->sq_entries),
                                     .cq_shift = ring_shift(u->cq_entries)};
    list_init(&q->parked);
    wait_queue_init(&q->waiters);
    ring_store_relaxed(&s->lane->sentry.sq_taken, 0);
    u->sq_addr = q->guest_addr;
    u->cq_addr = q->guest_addr + cq_at;
    u->lane_addr = lane;
    u->pollers_addr = STUB_RO;
    return q;
}

static int sq_setup(struct served *s, uaddr_t arg)
{
    struct ring_setup u;
    int r = copy_in_obj(s->task->mm, &u, arg);

    if (r)
        return r;
    if (!ring_size_valid(u.sq_entries) || !ring_size_valid(u.cq_entries) ||
        u.cq_entries < u.sq_entries)
        return -EINVAL;
    if (s->sq)
        return -EBUSY;
    if (!entries_reserve(u.cq_entries))
        return -EAGAIN;
    struct sq *q = sq_new(s, &u);
    if (IS_ERR(q)) {
        entries_release(u.cq_entries);
        return PTR_ERR(q);
    }
    s->sq = q;
    r = copy_out_obj(s->task->mm, arg, &u);
    if (r)
        sq_destroy(s);
    return r;
}

/* A call is about to change what the queue's calls use: let those end that are in the middle. */
void sq_settle(struct sq *q)
{
    while (q->running) {
        q->settling = fiber_self();
        fiber_park();
    }
    q->settling = NULL;
}

/* The task gives up its files and memory: take no more, cancel, wait. May park. */
void sq_quiesce(struct served *s)
{
    struct sq *q = s->sq;
    struct sq_call *sc;

    if (!q)
        return;
    q->dead = true;
    if (q->held) {
        sq_refuse(q, q->held, -ECANCELED);
        q->held = NULL;
    }
    list_for_each_entry (sc, &q->parked, parked)
        call_interrupt(&sc->call);
    while (in_flight(q)) {
        q->settling = fiber_self();
        fiber_park();
    }
    q->settling = NULL;
}

/* May park. */
void sq_destroy(struct served *s)
{
    struct sq *q = s->sq;
    struct sq_call *sc, *next;

    if (!q)
        return;
    sq_quiesce(s);
    s->sq = NULL;
    const struct pf_memop op = {.op = PF_UNMAP, .addr = q->guest_addr, .len = q->mem_len};
    int r = g_service.cfg.platform->as_run(mm_as(s->task->mm), &op, 1, NULL);
    if (r == 0 || r == -ESRCH)
        memfile_free(g_service.cfg.memfile, q->mem_off, q->mem_len);
    else
        log_warn("service", "a ring stays mapped: errno=%d", -r); /* and is not given away */
    for (sc = q->free; sc; sc = next) {
        next = sc->next;
        free(sc);
    }
    entries_release(q->ring.cq_entries);
    free(q);
}

/* The reserved call number (ring/abi.h). */
sysret_t ring_ctl(struct call *c)
{
    struct served *s = c->task->service;
    struct sq *q = s->sq;

    if (c->how == CALL_BY_TRAP && c->args[0] == RING_CTL_PLEDGE)
        return policy_pledge(c, UADDR(c->args[1]), UADDR(c->args[2]));
    if (c->how == CALL_BY_TRAP && c->args[0] == RING_CTL_UNVEIL)
        return policy_unveil(c, UADDR(c->args[1]), UADDR(c->args[2]));
    if (!g_service.cfg.platform
             ->post_addr) /* no code there that posts: plain calls for everybody */
        return -ENOSYS;
    if (c->how != CALL_BY_TRAP)
        return -EINVAL;
    switch (c->args[0]) {
    case RING_CTL_VERSION:
        return RING_ABI_VERSION;
    case RING_CTL_SETUP:
        return sq_setup(s, UADDR(c->args[1]));
    case RING_CTL_CLOSE:
        sq_destroy(s);
        return q ? 0 : -EINVAL;
    case RING_CTL_KICK:
    case RING_CTL_IDLE: /* events are taken only when the slot's call has ended */
        return 0;
    case RING_CTL_WAIT:
        if (!q)
            return -EINVAL;
        if ((uint32_t)q->ring.completed != (uint32_t)c->args[1])
            return 0;
        return call_wait(c, &q->waiters, 0);
    default:
        return -EINVAL;
    }
}
