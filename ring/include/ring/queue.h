/* SPDX-License-Identifier: Apache-2.0
 * queue.h - submission and completion queue of a lane: producer (guest) and consumer (Sentry).
 *
 * Both are rings of entries whose last-written word is a tag: the number of the lap, 1 in the
 * first. The consumer looks at the next entry itself and knows by its tag whether it is new; no
 * head or tail is shared, so an entry costs one cache-line transfer and nothing the other side
 * writes is an index.
 *
 * Flow control. The producer may have at most cq_entries calls submitted and not reaped, so the CQ
 * cannot overflow and the Sentry never waits for room; the Sentry counts too, and more is a
 * violation. An SQ entry may be reused once the Sentry has taken it: the number taken so far comes
 * with every completion (sq_taken), and stands in the lane's Sentry-written line for a producer
 * without credit.
 *
 * Waiting. The queue has no parked flag: a producer that has looked for completions long enough
 * waits in a call (RING_CTL_WAIT), whose own message also wakes the poller.
 *
 * Freestanding; each side is used by one thread at a time. */
#ifndef RING_QUEUE_H
#define RING_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include <ring/abi.h>
#include <ring/barrier.h>

/* Lap tag of position @pos in a ring of 2^shift entries. Never 0: zeroed memory is empty. */
static inline uint32_t ring_tag(uint64_t pos, uint32_t shift)
{
    return (uint32_t)((pos >> shift) % UINT32_MAX) + 1;
}

static inline bool ring_size_valid(uint32_t entries)
{
    return entries && entries <= RING_MAX_ENTRIES && (entries & (entries - 1)) == 0;
}

static inline uint32_t ring_shift(uint32_t entries)
{
    return (uint32_t)__builtin_ctz(entries);
}

/* --- guest side --- */

struct ring_producer {
    struct ring_sqe *sq;
    const struct ring_cqe *cq;
    const struct lane_sentry *sentry; /* credit when no completion has brought any */
    uint32_t sq_entries, cq_entries, sq_shift, cq_shift;
    uint64_t prepared;  /* entries handed out by ring_producer_get() */
    uint64_t submitted; /* entries published */
    uint64_t reaped;    /* completions consumed */
    uint32_t sq_taken;  /* as last heard, modulo 2^32 */
};

/* Next free entry to fill in, or NULL: no credit (reap or wait first). Not yet visible. */
static inline struct ring_sqe *ring_producer_get(struct ring_producer *p)
{
    if (p->prepared - p->reaped >= p->cq_entries)
        return NULL;
    if ((uint32_t)p->prepared - p->sq_taken >= p->sq_entries) {
        p->sq_taken = ring_load_acquire(&p->sentry->sq_taken);
        if ((uint32_t)p->prepared - p->sq_taken >= p->sq_entries)
            return NULL;
    }
    return &p->sq[p->prepared++ & (p->sq_entries - 1)];
}

/* Publish what was prepared. Returns how many. The caller then rings if the poller sleeps. */
static inline uint32_t ring_producer_submit(struct ring_producer *p)
{
    uint32_t n = 0;

    for (; p->submitted < p->prepared; p->submitted++, n++) {
        struct ring_sqe *e = &p->sq[p->submitted & (p->sq_entries - 1)];
        ring_store_release(&e->tag, ring_tag(p->submitted, p->sq_shift)); /* pairs with take */
    }
    return n;
}

/* The oldest completion not yet reaped, or NULL. Stays valid until ring_producer_advance(). */
static inline const struct ring_cqe *ring_producer_peek(struct ring_producer *p)
{
    const struct ring_cqe *c = &p->cq[p->reaped & (p->cq_entries - 1)];

    if (ring_load_acquire(&c->tag) != ring_tag(p->reaped, p->cq_shift)) /* pairs with complete */
        return NULL;
    return c;
}

static inline void ring_producer_advance(struct ring_producer *p, uint32_t n)
{
    for (; n; n--)
        p->sq_taken = p->cq[p->reaped++ & (p->cq_entries - 1)].sq_taken;
}

/* --- Sentry side --- */

struct ring_consumer {
    struct ring_sqe *sq; /* guest-written: copied once */
    struct ring_cqe *cq;
    struct lane_sentry *sentry;
    uint32_t sq_entries, cq_entries, sq_shift, cq_shift;
    uint64_t taken, completed;
};

/* Private copy of an entry, but for the arguments. */
struct ring_sqe_head {
    uint16_t nr, flags;
    uint64_t user_data;
};

enum ring_take { RING_EMPTY, RING_TAKEN, RING_VIOLATION };

static inline bool ring_consumer_ready(const struct ring_consumer *c)
{
    const struct ring_sqe *e = &c->sq[c->taken & (c->sq_entries - 1)];
    return ring_load_relaxed(&e->tag) == ring_tag(c->taken, c->sq_shift);
}

/* Copy the next entry: the arguments go straight to where the call wants them. RING_VIOLATION: more
 * calls in flight than the CQ has room for. */
static inline enum ring_take ring_consumer_take(struct ring_consumer *c, struct ring_sqe_head *ret,
                                                uint64_t ret_args[6])
{
    const struct ring_sqe *e = &c->sq[c->taken & (c->sq_entries - 1)];

    if (ring_load_acquire(&e->tag) != ring_tag(c->taken, c->sq_shift)) /* pairs with submit */
        return RING_EMPTY;
    if (c->taken - c->completed >= c->cq_entries)
        return RING_VIOLATION;
    ret->nr = *(const volatile uint16_t *)&e->nr;
    ret->flags = *(const volatile uint16_t *)&e->flags;
    for (int i = 0; i < 6; i++)
        ret_args[i] = ring_read64(&e->args[i]);
    ret->user_data = ring_read64(&e->user_data);
    c->taken++;
    return RING_TAKEN;
}

/* Ask for the entry @ahead places behind the next one, so that lines of a batch travel together. */
static inline void ring_consumer_prefetch(const struct ring_consumer *c, unsigned ahead)
{
    __builtin_prefetch(&c->sq[(c->taken + ahead) & (c->sq_entries - 1)], 0);
    ring_prefetch_write(&c->cq[(c->completed + ahead) & (c->cq_entries - 1)]);
}

/* Credit for a producer that waits without completions; once per batch. */
static inline void ring_consumer_publish_taken(struct ring_consumer *c)
{
    ring_store_release(&c->sentry->sq_taken, (uint32_t)c->taken);
}

static inline void ring_consumer_complete(struct ring_consumer *c, uint64_t user_data,
                                          int64_t result, uint32_t flags)
{
    struct ring_cqe *e = &c->cq[c->completed & (c->cq_entries - 1)];

    e->user_data = user_data;
    e->result = result;
    e->flags = flags;
    e->sq_taken = (uint32_t)c->taken;
    ring_store_release(&e->tag, ring_tag(c->completed, c->cq_shift)); /* pairs with peek */
    c->completed++;
}

#endif
