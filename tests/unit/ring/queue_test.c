/* SPDX-License-Identifier: Apache-2.0
 * queue_test.c - both ends of a queue in one thread: laps, wrap of the counters, credit, full
 * queues, violation, entries that a guest made up; then random steps against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ring/queue.h>

#define MOST 64u

struct pair {
    _Alignas(64) struct ring_sqe sq[MOST];
    struct ring_cqe cq[MOST];
    struct lane_sentry sentry;
    struct ring_producer p;
    struct ring_consumer c;
};

/* @start: position at which both sides are; the memory as it would be there. */
static void pair_init(struct pair *t, uint32_t sq, uint32_t cq, uint64_t start)
{
    uint32_t ss = ring_shift(sq), cs = ring_shift(cq);

    memset(t, 0, sizeof *t);
    t->p = (struct ring_producer){.sq = t->sq,
                                  .cq = t->cq,
                                  .sentry = &t->sentry,
                                  .sq_entries = sq,
                                  .cq_entries = cq,
                                  .sq_shift = ss,
                                  .cq_shift = cs,
                                  .prepared = start,
                                  .submitted = start,
                                  .reaped = start,
                                  .sq_taken = (uint32_t)start};
    t->c = (struct ring_consumer){.sq = t->sq,
                                  .cq = t->cq,
                                  .sentry = &t->sentry,
                                  .sq_entries = sq,
                                  .cq_entries = cq,
                                  .sq_shift = ss,
                                  .cq_shift = cs,
                                  .taken = start,
                                  .completed = start};
    for (uint64_t i = start < sq ? 0 : start - sq; i < start; i++)
        t->sq[i & (sq - 1)].tag = ring_tag(i, ss);
    for (uint64_t i = start < cq ? 0 : start - cq; i < start; i++)
        t->cq[i & (cq - 1)].tag = ring_tag(i, cs);
    ring_store_relaxed(&t->sentry.sq_taken, (uint32_t)start);
}

static bool put(struct pair *t, uint64_t data)
{
    struct ring_sqe *e = ring_producer_get(&t->p);

    if (!e)
        return false;
    e->nr = (uint16_t)(data & 0x1ff);
    e->flags = (uint16_t)(data & 3);
    for (unsigned i = 0; i < 6; i++)
        e->args[i] = data * 7 + i;
    e->user_data = data;
    return true;
}

static enum ring_take take(struct pair *t, uint64_t *ret_data)
{
    struct ring_sqe_head h;
    uint64_t args[6];
    enum ring_take r = ring_consumer_take(&t->c, &h, args);

    if (r != RING_TAKEN)
        return r;
    assert_int_equal(h.nr, h.user_data & 0x1ff);
    assert_int_equal(h.flags, h.user_data & 3);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(args[i], h.user_data * 7 + i);
    *ret_data = h.user_data;
    return r;
}

static void expect_take(struct pair *t, uint64_t data)
{
    uint64_t got = ~data;

    assert_true(ring_consumer_ready(&t->c));
    assert_int_equal(take(t, &got), RING_TAKEN);
    assert_int_equal(got, data);
}

static void expect_completion(struct pair *t, uint64_t data, int64_t result)
{
    const struct ring_cqe *e = ring_producer_peek(&t->p);

    assert_non_null(e);
    assert_int_equal(e->user_data, data);
    assert_int_equal(e->result, result);
    ring_producer_advance(&t->p, 1);
}

static void empty(void **state)
{
    struct pair t;
    uint64_t d;

    (void)state;
    pair_init(&t, 8, 8, 0);
    assert_false(ring_consumer_ready(&t.c));
    assert_int_equal(take(&t, &d), RING_EMPTY);
    assert_null(ring_producer_peek(&t.p));
    assert_int_equal(ring_producer_submit(&t.p), 0);
}

static void not_visible_before_submit(void **state)
{
    struct pair t;
    uint64_t d;

    (void)state;
    pair_init(&t, 8, 8, 0);
    assert_true(put(&t, 1));
    assert_true(put(&t, 2));
    assert_int_equal(take(&t, &d), RING_EMPTY);
    assert_int_equal(ring_producer_submit(&t.p), 2);
    assert_int_equal(ring_producer_submit(&t.p), 0);
    expect_take(&t, 1);
    expect_take(&t, 2);
    assert_int_equal(take(&t, &d), RING_EMPTY);
}

/* Many laps, in batches that do not divide the size. */
static void laps(void **state)
{
    struct pair t;
    uint64_t next = 0;

    (void)state;
    pair_init(&t, 8, 16, 0);
    for (int round = 0; round < 1000; round++) {
        unsigned n = 1 + (unsigned)round % 7;
        for (unsigned i = 0; i < n; i++)
            assert_true(put(&t, next + i));
        assert_int_equal(ring_producer_submit(&t.p), n);
        for (unsigned i = 0; i < n; i++)
            expect_take(&t, next + i);
        for (unsigned i = 0; i < n; i++)
            ring_consumer_complete(&t.c, next + i, -(int64_t)i, 0);
        for (unsigned i = 0; i < n; i++)
            expect_completion(&t, next + i, -(int64_t)i);
        assert_null(ring_producer_peek(&t.p));
        next += n;
    }
}

/* The 32-bit words (sq_taken, lap tags) pass their limits. */
static void wrap_at(uint64_t start, uint32_t sq, uint32_t cq)
{
    struct pair t;

    pair_init(&t, sq, cq, start);
    for (uint64_t i = 0; i < 8 * cq; i++) {
        assert_true(put(&t, i));
        ring_producer_submit(&t.p);
        expect_take(&t, i);
        ring_consumer_complete(&t.c, i, 5, 0);
        expect_completion(&t, i, 5);
    }
}

static void wrap(void **state)
{
    (void)state;
    wrap_at(UINT32_MAX - 20ull, 4, 8);
    wrap_at(((uint64_t)UINT32_MAX << 2) - 20, 4, 4); /* tag: last lap, then 1 again */
    wrap_at(((uint64_t)UINT32_MAX << 3) - 20, 4, 8);
    wrap_at((uint64_t)UINT32_MAX * 5 - 3, 1, 1);
    for (uint32_t shift = 0; shift < 7; shift++) {
        uint64_t last = ((uint64_t)UINT32_MAX << shift) - 1;
        assert_int_equal(ring_tag(last, shift), UINT32_MAX);
        assert_int_equal(ring_tag(last + 1, shift), 1);
        assert_int_equal(ring_tag(0, shift), 1);
    }
}

static void full_by_sq(void **state)
{
    struct pair t;

    (void)state;
    pair_init(&t, 4, 16, 0);
    for (uint64_t i = 0; i < 4; i++)
        assert_true(put(&t, i));
    assert_false(put(&t, 4));
    ring_producer_submit(&t.p);
    assert_false(put(&t, 4));
    expect_take(&t, 0);
    expect_take(&t, 1);
    assert_false(put(&t, 4)); /* taken, but the producer has not been told */
    ring_consumer_publish_taken(&t.c);
    assert_true(put(&t, 4));
    assert_true(put(&t, 5));
    assert_false(put(&t, 6));
    ring_producer_submit(&t.p);
    expect_take(&t, 2); /* credit with a completion as well */
    ring_consumer_complete(&t.c, 2, 0, 0);
    expect_completion(&t, 2, 0);
    assert_true(put(&t, 6));
    assert_false(put(&t, 7));
}

static void full_by_cq(void **state)
{
    struct pair t;

    (void)state;
    pair_init(&t, 4, 4, 0);
    for (uint64_t i = 0; i < 4; i++)
        assert_true(put(&t, i));
    ring_producer_submit(&t.p);
    for (uint64_t i = 0; i < 4; i++)
        expect_take(&t, i);
    ring_consumer_publish_taken(&t.c);
    assert_false(put(&t, 4)); /* four in flight */
    ring_consumer_complete(&t.c, 3, 0, 0);
    assert_false(put(&t, 4)); /* completed, not reaped */
    expect_completion(&t, 3, 0);
    assert_true(put(&t, 4));
    assert_false(put(&t, 5));
}

/* A guest that submits more than the CQ can answer. */
static void violation(void **state)
{
    struct pair t;
    uint64_t d;

    (void)state;
    pair_init(&t, 4, 8, 0);
    for (uint64_t i = 0; i < 8; i++) {
        t.sq[i & 3].tag = ring_tag(i, t.c.sq_shift);
        t.sq[i & 3].user_data = 0;
        t.sq[i & 3].nr = t.sq[i & 3].flags = 0;
        for (unsigned k = 0; k < 6; k++)
            t.sq[i & 3].args[k] = k;
        expect_take(&t, 0);
    }
    assert_int_equal(take(&t, &d), RING_EMPTY);
    t.sq[0].tag = ring_tag(8, t.c.sq_shift);
    assert_int_equal(take(&t, &d), RING_VIOLATION);
    assert_int_equal(t.c.taken, 8); /* nothing was taken by it */
    assert_int_equal(take(&t, &d), RING_VIOLATION);
}

/* Any tag but the one of this lap is nothing, also one ahead or behind. */
static void garbage_tags(void **state)
{
    struct pair t;
    uint64_t d;

    (void)state;
    pair_init(&t, 4, 8, 4000);
    const uint32_t right = ring_tag(4000, 2);
    const uint32_t wrong[] = {0,          1,        2,         right - 1,         right + 1,
                              UINT32_MAX, 1u << 31, right + 4, right ^ (1u << 7), ~right};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        t.sq[0].tag = wrong[i];
        assert_false(ring_consumer_ready(&t.c));
        assert_int_equal(take(&t, &d), RING_EMPTY);
    }
    for (unsigned i = 1; i < 4; i++)
        t.sq[i].tag = right; /* entries behind a hole are not looked at */
    assert_int_equal(take(&t, &d), RING_EMPTY);
    t.sq[0].tag = right;
    t.sq[0].user_data = 9;
    t.sq[0].nr = 9;
    t.sq[0].flags = 1;
    for (unsigned k = 0; k < 6; k++)
        t.sq[0].args[k] = 63 + k;
    expect_take(&t, 9);
}

/* What a guest writes anywhere never moves the Sentry's side out of its arrays or past its limit. */
static void hostile_memory(void **state)
{
    struct pair t;
    uint32_t seed = 12345, flying = 0;

    (void)state;
    pair_init(&t, 8, 16, 0);
    for (int i = 0; i < 300000; i++) {
        struct ring_sqe_head h;
        uint64_t args[6];

        seed = seed * 1103515245 + 12345;
        t.sq[seed >> 8 & 7].tag = seed >> 12 & 1 ? ring_tag(t.c.taken, 3) : seed;
        t.cq[seed >> 16 & 15].tag = seed;
        t.sentry.sq_taken = seed;
        enum ring_take r = ring_consumer_take(&t.c, &h, args);
        if (r == RING_TAKEN)
            flying++;
        assert_true(flying <= 16);
        assert_true(r != RING_VIOLATION || flying == 16);
        if (flying && seed >> 20 & 1) {
            ring_consumer_complete(&t.c, 0, 0, 0);
            flying--;
        }
        assert_int_equal(t.c.taken - t.c.completed, flying);
    }
}

/* --- random steps against a model: calls complete in any order --- */

struct model {
    uint64_t prepared[MOST], submitted[MOST], flying[MOST], done[MOST]; /* queues of user_data */
    unsigned n_prepared, n_submitted, n_flying, n_done;
};

static uint64_t shift_out(uint64_t *q, unsigned *n, unsigned at)
{
    uint64_t v = q[at];

    memmove(q + at, q + at + 1, (--*n - at) * sizeof *q);
    return v;
}

static void random_step(struct pair *t, struct model *m, uint32_t r, uint64_t *next)
{
    uint64_t d;

    switch (r % 5) {
    case 0: {
        unsigned all = m->n_prepared + m->n_submitted + m->n_flying + m->n_done;
        bool ok = put(t, *next);
        if (ok)
            m->prepared[m->n_prepared++] = (*next)++;
        else /* never refused without reason: SQ credit may lag, CQ credit is exact */
            assert_true(all == t->p.cq_entries ||
                        m->n_prepared + m->n_submitted + m->n_flying + m->n_done >=
                            t->p.sq_entries);
        assert_true(m->n_prepared + m->n_submitted <= t->p.sq_entries);
        break;
    }
    case 1:
        assert_int_equal(ring_producer_submit(&t->p), m->n_prepared);
        memcpy(m->submitted + m->n_submitted, m->prepared, m->n_prepared * sizeof(uint64_t));
        m->n_submitted += m->n_prepared;
        m->n_prepared = 0;
        break;
    case 2:
        if (m->n_submitted) {
            d = shift_out(m->submitted, &m->n_submitted, 0);
            expect_take(t, d);
            m->flying[m->n_flying++] = d;
        } else {
            assert_int_equal(take(t, &d), RING_EMPTY);
        }
        if (r & 0x1000)
            ring_consumer_publish_taken(&t->c);
        break;
    case 3:
        if (m->n_flying) {
            d = shift_out(m->flying, &m->n_flying, (r >> 8) % m->n_flying);
            ring_consumer_complete(&t->c, d, (int64_t)(d ^ 0x55), 0);
            m->done[m->n_done++] = d;
        }
        break;
    default:
        if (m->n_done) {
            d = shift_out(m->done, &m->n_done, 0);
            expect_completion(t, d, (int64_t)(d ^ 0x55));
        } else {
            assert_null(ring_producer_peek(&t->p));
        }
    }
}

static void random_steps(void **state)
{
    static const struct {
        uint32_t sq, cq;
        uint64_t start;
    } shapes[] = {{1, 1, 0},   {1, 8, 0},   {8, 8, UINT32_MAX - 1000ull},
                  {4, 32, 77}, {64, 64, 0}, {16, 64, ((uint64_t)UINT32_MAX << 4) - 99}};

    (void)state;
    for (unsigned s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct pair t;
        struct model m = {0};
        uint64_t next = 0;
        uint32_t x = 2463534242u + s;

        pair_init(&t, shapes[s].sq, shapes[s].cq, shapes[s].start);
        for (int i = 0; i < 1000000 / 6 + 1; i++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            random_step(&t, &m, x, &next);
        }
        assert_true(next > 5000); /* it did move */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty),          cmocka_unit_test(not_visible_before_submit),
        cmocka_unit_test(laps),           cmocka_unit_test(wrap),
        cmocka_unit_test(full_by_sq),     cmocka_unit_test(full_by_cq),
        cmocka_unit_test(violation),      cmocka_unit_test(garbage_tags),
        cmocka_unit_test(hostile_memory), cmocka_unit_test(random_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
