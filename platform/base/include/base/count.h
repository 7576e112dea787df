/* SPDX-License-Identifier: Apache-2.0
 * count.h - counters of the whole sandbox that lower layers keep and `--stats` shows. */
#ifndef BASE_COUNT_H
#define BASE_COUNT_H

#include <stdatomic.h>
#include <stdint.h>

enum count_kind {
#define COUNT(name, text) COUNT_##name,
#include <base/counts.def>
#undef COUNT
    COUNT_KINDS
};

extern _Atomic(uint64_t) g_counts[COUNT_KINDS];

/* Any thread. A line shared by all pollers: for what costs a microsecond anyway. */
static inline void count_add(enum count_kind kind, uint64_t n)
{
    atomic_fetch_add_explicit(&g_counts[kind], n, memory_order_relaxed);
}

static inline uint64_t count_get(enum count_kind kind)
{
    return atomic_load_explicit(&g_counts[kind], memory_order_relaxed);
}

#endif
