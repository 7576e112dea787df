/* SPDX-License-Identifier: Apache-2.0
 * barrier.h - the memory orders of the lane. Every use names its partner. */
#ifndef RING_BARRIER_H
#define RING_BARRIER_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint32_t ring_load_acquire(const _Atomic(uint32_t) *p)
{
    return atomic_load_explicit(p, memory_order_acquire);
}

static inline uint32_t ring_load_relaxed(const _Atomic(uint32_t) *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static inline void ring_store_release(_Atomic(uint32_t) *p, uint32_t v)
{
    atomic_store_explicit(p, v, memory_order_release);
}

static inline void ring_store_relaxed(_Atomic(uint32_t) *p, uint32_t v)
{
    atomic_store_explicit(p, v, memory_order_relaxed);
}

static inline void ring_full_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* One read of a 64-bit word that the other side may write at any time. */
static inline uint64_t ring_read64(const uint64_t *p)
{
    return *(const volatile uint64_t *)p;
}

/* Make a line this CPU's own before it is written. A hint; a no-op where unknown. */
static inline void ring_prefetch_write(const void *p)
{
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
}

static inline void ring_pause(void)
{
    __builtin_ia32_pause();
}

#endif
