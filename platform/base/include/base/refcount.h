/* SPDX-License-Identifier: Apache-2.0
 * refcount.h - reference counts that stop the process on underflow, overflow and get-from-zero. */
#ifndef BASE_REFCOUNT_H
#define BASE_REFCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>

#include <base/compiler.h>

struct refcount {
    _Atomic(int32_t) value;
};

static inline void refcount_init(struct refcount *r)
{
    atomic_init(&r->value, 1);
}

static inline void refcount_get(struct refcount *r)
{
    BUG_ON(atomic_fetch_add_explicit(&r->value, 1, memory_order_relaxed) <= 0);
}

/* For lookups that may race with the last put: false if the object is already dying. */
static inline bool refcount_get_unless_zero(struct refcount *r)
{
    int32_t v = atomic_load_explicit(&r->value, memory_order_relaxed);
    while (v > 0)
        if (atomic_compare_exchange_weak_explicit(&r->value, &v, v + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* True when the caller held the last reference and must destroy the object. */
NODISCARD static inline bool refcount_put(struct refcount *r)
{
    int32_t v = atomic_fetch_sub_explicit(&r->value, 1, memory_order_acq_rel);
    BUG_ON(v <= 0);
    return v == 1;
}

static inline int32_t refcount_read(const struct refcount *r)
{
    return atomic_load_explicit(&r->value, memory_order_relaxed);
}

#endif
