/* SPDX-License-Identifier: Apache-2.0
 * checked.h - arithmetic on values that a guest, a peer or a file supplied. True = overflow. */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <base/compiler.h>

#define add_overflow(a, b, ret) __builtin_add_overflow(a, b, ret)
#define sub_overflow(a, b, ret) __builtin_sub_overflow(a, b, ret)
#define mul_overflow(a, b, ret) __builtin_mul_overflow(a, b, ret)

/* Index masked under speculation: 0 when i >= n, else i. n > 0. */
static inline size_t index_nospec(size_t i, size_t n)
{
    size_t mask;
    __asm__ volatile("cmp %1, %2; sbb %0, %0" : "=r"(mask) : "g"(n), "r"(i) : "cc");
    return i & mask;
}

#endif
