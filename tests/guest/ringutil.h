/* SPDX-License-Identifier: Apache-2.0
 * ringutil.h - what the tests of libringbox share: entries in short, results in any order. */
#ifndef RINGUTIL_H
#define RINGUTIL_H

#include "guest.h"

#include <ringbox.h>

#define ADDR(p) ((uint64_t)(uintptr_t)(p))

static inline struct ringbox *ring_open(unsigned entries)
{
    struct ringbox *rb = NULL;

    CHECK_EQ(ringbox_open(&rb, entries), 0);
    return rb;
}

/* For prep helpers, which start flags and data at 0. */
static inline void tagged(struct ringbox_entry *e, uint64_t data, unsigned flags)
{
    ringbox_set_data(e, data);
    ringbox_set_flags(e, flags);
}

static inline void queue(struct ringbox *rb, uint64_t data, unsigned flags, unsigned nr,
                         uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
    struct ringbox_entry *e = ringbox_get(rb);

    CHECK(e != NULL);
    ringbox_prep(e, nr, a0, a1, a2, a3, 0, 0);
    tagged(e, data, flags);
}

static inline int64_t wait_one(struct ringbox *rb, uint64_t *ret_data)
{
    const struct ringbox_result *r = ringbox_wait(rb);

    CHECK(r != NULL);
    int64_t result = r->result;
    if (ret_data)
        *ret_data = r->user_data;
    ringbox_advance(rb, 1);
    return result;
}

/* Results by user_data, 0..n-1, in whatever order they come. */
static inline void wait_all(struct ringbox *rb, unsigned n, int64_t *ret)
{
    for (unsigned i = 0; i < n; i++)
        ret[i] = INT64_MIN;
    for (unsigned i = 0; i < n; i++) {
        uint64_t data;
        int64_t result = wait_one(rb, &data);
        CHECK(data < n && ret[data] == INT64_MIN);
        ret[data] = result;
    }
    CHECK(ringbox_peek(rb) == NULL);
    CHECK(ringbox_wait(rb) == NULL);
}

#endif
