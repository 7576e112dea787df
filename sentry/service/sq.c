/* SPDX-License-Identifier: Apache-2.0
 * sq.c - submission queues: many calls of one task in flight, completed in any order.
 *
 * An entry becomes a struct sq_call, runs like any call (parks on a fiber, waits in wait queues)
 * and ends as a completion. Signals neither interrupt nor restart it. Entries behind one with
 * SQE_LINK wait for it and are cancelled when it fails; one with SQE_DRAIN waits until everything
 * before it is done, and nothing is taken meanwhile.
 *
 * The guest may write both queues at any time. An entry is copied once; tags only say that one is
 * there; more calls in flight than the CQ has room for kill the process. In flight: at most
 * cq_entries, which bounds the memory too.
 *
 * Owner poller only, so no locks. On exit and exec sq_quiesce() cancels what waits and parks until
 * nothing is in flight. */
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/log.h>
#include <host/memfile.h>
#include <ring/queue.h>

#include "private.h"

#define SQ_BUDGET 64 /* entries taken from one lane before the others have their turn */

struct sq_call {
    struct call call;
    struct sq *sq;
    struct sq_call *next;    /* linked behind this one */
    bool link;               /* has SQE_LINK: `next` depends on the result */
    struct list_head active; /* sq->active while it runs or waits, sq->free else */
};

struct sq {
    struct ring_consumer ring;
    struct served *served;
    uint64_t mem_off, mem_len, guest_addr;
    struct list_head active, free;
    struct wait_queue waiters;   /* RING_CTL_WAIT */
    struct sq_call *open_link;   /* last entry taken, if the next one is linked to it */
    bool open_failed, open_done; /* it has ended already: badly */
    bool drain_held, dead;
    struct ring_sqe_copy held; /* the draining entry */
    struct fiber *quiescing;
};

static void complete(struct sq *q, uint64_t user_data, int64_t result)
{
    ring_consumer_complete(&q->ring, user_data, result, 0);
}

static void wake_waiters(struct sq *q)
{
    (void)ring_consumer_flush(&q->ring, &q->served->lane->guest);
    if (!list_empty(&q->waiters.waiters))
        wake_all(&q->waiters, 0);
    if (q->quiescing && q->ring.taken == q->ring.completed)
        fiber_unpark(q->quiescing);
}

static struct sq_call *sq_call_take(struct sq *q)
{
    struct sq_call *sc;

    if (!list_empty(&q->free)) {
        sc = list_first_entry(&q->free, struct sq_call, active);
        list_del(&sc->active);
    } else {
        sc = calloc(1, sizeof *sc);
        if (!sc)
            return NULL;
        list_init(&sc->active);
    }
    sc->sq = q;
    sc->next = NULL;
    list_add_tail(&sc->active, &q->active);
    return sc;
}

static void sq_call_free(struct sq *q, struct sq_call *sc)
{
    list_del(&sc->active);
    list_add(&sc->active, &q->free);
}

/* A call has ended, and with it those linked behind it if it failed. Returns the one to start now.
 */
static struct sq_call *sq_end(struct sq *q, struct sq_call *sc, int64_t result)
{
    struct call *c = &sc->call;

    for (;;) {
        struct sq_call *next = sc->next;
        bool broken = sc->link && (result < 0 || q->dead);

        call_end(c);
        complete(q, c->user_data, result);
        if (q->open_link == sc) {
            q->open_done = true;
            q->open_failed = broken;
        }
        sq_call_free(q, sc);
        if (!next || !broken)
            return next;
        sc = next; /* cancelled, and so is what hangs on it */
        c = &sc->call;
        result = -ECANCELED;
    }
}

/* Run until it ends or waits; returns the linked one to start now, if any. */
static struct sq_call *sq_execute(struct sq *q, struct sq_call *sc)
{
    struct call *c = &sc->call;
    sysret_t r;

    for (;;) {
        fiber_set_local(c->task);
        r = sys_dispatch(c);
        fiber_set_local(NULL);
        c->started = true;
        if (r != SYS_PARK)
            break;
        if (q->dead)
            c->interrupted = true;
        else if (call_park_commit(c))
            return NULL;
        call_disarm(c);
    }
    if (r <= -ERESTARTSYS && r >= -ERESTART_RESTARTBLOCK)
        r = -EINTR; /* cancelled */
    return sq_end(q, sc, r);
}

/* A chain may be as long as the queue: a loop, not recursion. */
static void sq_start(struct sq *q, struct sq_call *sc)
{
    while (sc) {
        const struct sys_row *row = sys_row(sc->call.nr);

        if (!row->run)
            sc = sq_end(q, sc, row->none_errno ? -(int64_t)row->none_errno : -ENOSYS);
        else if (row->sq != SQ_YES)
            sc = sq_end(q, sc, -EINVAL);
        else
            sc = sq_execute(q, sc);
    }
}

/* Decide what the copied entry depends on, then start it or queue it. */
static void sq_accept(struct sq *q, const struct ring_sqe_copy *e)
{
    struct sq_call *before = q->open_link;
    bool cancelled = before && q->open_done && q->open_failed;
    bool behind = before && !q->open_done;
    struct sq_call *sc = e->flags & ~(SQE_LINK | SQE_DRAIN) ? NULL : sq_call_take(q);

    if (!sc) {
        q->open_link = NULL;
        complete(q, e->user_data, e->flags & ~(SQE_LINK | SQE_DRAIN) ? -EINVAL : -ENOMEM);
        return;
    }
    call_begin(&sc->call, q->served->task, e->nr, e->args, CALL_BY_SQ);
    sc->call.user_data = e->user_data;
    sc->link = e->flags & SQE_LINK;
    q->open_link = sc->link ? sc : NULL;
    q->open_done = q->open_failed = false;
    if (cancelled)
        (void)sq_end(q, sc, -ECANCELED);
    else if (behind)
        before->next = sc;
    else
        sq_start(q, sc);
}

bool sq_ready(const struct sq *q)
{
    return !q->dead &&
           (q->drain_held ? q->ring.taken - 1 == q->ring.completed : ring_consumer_ready(&q->ring));
}

/* Take and run up to SQ_BUDGET entries. May park; then another stack goes on with the queue. */
void sq_run(struct sq *q)
{
    struct ring_sqe_copy e;
    uint64_t before = q->ring.completed;

    for (unsigned n = 0; n < SQ_BUDGET && sq_ready(q); n++) {
        if (q->drain_held) {
            q->drain_held = false;
            sq_accept(q, &q->held);
        } else {
            enum ring_take t = ring_consumer_take(&q->ring, &e);
            if (t == RING_EMPTY) /* the guest took back what sq_ready() saw */
                break;
            if (t == RING_VIOLATION) {
                log_info("service", "tid=%d more entries than its queue holds: killed",
                         q->served->task->tid);
                q->dead = true;
                process_kill(q->served->task->process, SIGKILL);
                return;
            }
            if ((e.flags & SQE_DRAIN) && q->ring.taken - 1 != q->ring.completed) {
                q->held = e;
                q->drain_held = true;
                break;
            }
            sq_accept(q, &e);
        }
        if (!fiber_is_loop())
            break;
    }
    ring_consumer_publish_taken(&q->ring);
    if (q->ring.completed != before)
        wake_waiters(q);
}

/* A waiting call fired. */
void sq_run_again(struct call *c)
{
    struct sq_call *sc = container_of(c, struct sq_call, call);
    struct sq *q = sc->sq;

    call_disarm(c);
    sq_start(q, sq_execute(q, sc));
    wake_waiters(q);
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

static int sq_setup(struct served *s, uaddr_t arg)
{
    struct ring_setup u;
    uint64_t lane = g_service.cfg.platform->thread_lane_addr(s->task->thread);
    int r = copy_in_obj(s->task->mm, &u, arg);

    if (r)
        return r;
    if (!ring_size_valid(u.sq_entries) || !ring_size_valid(u.cq_entries) ||
        u.cq_entries < u.sq_entries)
        return -EINVAL;
    if (s->sq)
        return -EBUSY;
    struct sq *q = calloc(1, sizeof *q);
    if (!q)
        return -ENOMEM;
    uint64_t cq_at = align_up(u.sq_entries * sizeof(struct ring_sqe), PAGE_SIZE);
    q->mem_len = cq_at + align_up(u.cq_entries * sizeof(struct ring_cqe), PAGE_SIZE);
    q->guest_addr = STUB_RINGS + (lane - STUB_LANES) / LANE_SIZE * RING_SLOT_SIZE;
    r = q->guest_addr + RING_SLOT_SIZE > STUB_REGION_END ? -EAGAIN : sq_map(s, q);
    if (r) {
        free(q);
        return r;
    }
    char *mem = memfile_ptr(g_service.cfg.memfile, q->mem_off);
    q->served = s;
    q->ring = (struct ring_consumer){.sq = (struct ring_sqe *)(void *)mem,
                                     .cq = (struct ring_cqe *)(void *)(mem + cq_at),
                                     .sentry = &s->lane->sentry,
                                     .sq_entries = u.sq_entries,
                                     .cq_entries = u.cq_entries,
                                     .sq_shift = ring_shift(u.sq_entries),
                                     .cq_shift = ring_shift(u.cq_entries)};
    list_init(&q->active);
    list_init(&q->free);
    wait_queue_init(&q->waiters);
    ring_store_relaxed(&s->lane->sentry.sq_taken, 0);
    ring_store_relaxed(&s->lane->sentry.cq_seq, 0);
    u.sq_addr = q->guest_addr;
    u.cq_addr = q->guest_addr + cq_at;
    u.lane_addr = lane;
    s->sq = q;
    return copy_out_obj(s->task->mm, arg, &u);
}

/* The task leaves its address space: cancel, wait, unmap. May park. */
void sq_quiesce(struct served *s)
{
    struct sq *q = s->sq;
    struct sq_call *sc, *tmp;

    if (!q)
        return;
    q->dead = true;
    if (q->drain_held) {
        q->drain_held = false;
        complete(q, q->held.user_data, -ECANCELED);
    }
    q->quiescing = fiber_self();
    list_for_each_entry_safe (sc, tmp, &q->active, active)
        call_interrupt(&sc->call);
    while (q->ring.taken != q->ring.completed)
        fiber_park();
    q->quiescing = NULL;
    const struct pf_memop op = {.op = PF_UNMAP, .addr = q->guest_addr, .len = q->mem_len};
    int r = g_service.cfg.platform->as_run(mm_as(s->task->mm), &op, 1, NULL);
    if (r == 0 || r == -ESRCH)
        memfile_free(g_service.cfg.memfile, q->mem_off, q->mem_len);
    else
        log_warn("service", "a ring stays mapped: errno=%d", -r); /* and is not given away */
    list_for_each_entry_safe (sc, tmp, &q->free, active)
        free(sc);
    free(q);
    s->sq = NULL;
}

/* The reserved call number (ring/abi.h). */
sysret_t ring_ctl(struct call *c)
{
    struct served *s = c->task->service;
    struct sq *q = s->sq;

    if (c->how != CALL_BY_TRAP)
        return -EINVAL;
    switch (c->args[0]) {
    case RING_CTL_VERSION:
        return RING_ABI_VERSION;
    case RING_CTL_SETUP:
        return sq_setup(s, UADDR(c->args[1]));
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
