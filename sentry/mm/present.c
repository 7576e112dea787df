/* SPDX-License-Identifier: Apache-2.0
 * present.c - which 64 KiB pieces of the memory file the Sentry has already faulted in.
 *
 * The first touch of a page by the Sentry costs a host fault (4-13 us) even when the guest has it;
 * populating costs a tenth. One bit per piece remembers what has been populated, so that a warm
 * copy makes no host call. Bits are hints: a wrong one costs a fault or a host call.
 * Lock: none; leaves are published with compare-and-swap, bits with atomic or.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "mm_internal.h"

#define PIECE_SHIFT 16
#define LEAF_SHIFT 30 /* bytes of file a leaf covers */
#define LEAF_WORDS (1u << (LEAF_SHIFT - PIECE_SHIFT - 6))
#define LEAVES (1u << 16) /* 64 TiB */

struct leaf {
    _Atomic(uint64_t) bits[LEAF_WORDS];
};
static _Atomic(struct leaf *) g_leaves[LEAVES];

static _Atomic(uint64_t) *word_of(uint64_t piece, bool create)
{
    uint64_t index = piece >> (LEAF_SHIFT - PIECE_SHIFT);
    if (index >= LEAVES)
        return NULL;
    struct leaf *l = atomic_load(&g_leaves[index]);
    if (!l && create) {
        struct leaf *fresh = calloc(1, sizeof *fresh);
        if (fresh && !atomic_compare_exchange_strong(&g_leaves[index], &l, fresh))
            free(fresh);
        else
            l = fresh;
    }
    return l ? &l->bits[piece >> 6 & (LEAF_WORDS - 1)] : NULL;
}

void present_want(uint64_t off, uint64_t len)
{
    uint64_t first = off >> PIECE_SHIFT, last = (off + len - 1) >> PIECE_SHIFT;
    uint64_t from = NO_OFF;
    for (uint64_t p = first; p <= last + 1; p++) {
        bool absent = false;
        if (p <= last) {
            _Atomic(uint64_t) *w = word_of(p, true);
            uint64_t bit = 1ULL << (p & 63);
            absent = w && !(atomic_load(w) & bit) && !(atomic_fetch_or(w, bit) & bit);
        }
        if (absent && from == NO_OFF) {
            from = p;
        } else if (!absent && from != NO_OFF) {
            uint64_t a = MAX(from << PIECE_SHIFT, off & PAGE_MASK);
            uint64_t b = MIN(p << PIECE_SHIFT, align_up(off + len, PAGE_SIZE));
            (void)memfile_populate(g_mm.mf, a, b - a); /* a failure shows again in the copy */
            from = NO_OFF;
        }
    }
}

void present_forget(uint64_t off, uint64_t len)
{
    uint64_t last = (off + len - 1) >> PIECE_SHIFT;
    for (uint64_t p = off >> PIECE_SHIFT; p <= last; p++) {
        _Atomic(uint64_t) *w = word_of(p, false);
        if (!w) { /* nothing was ever noted in this GiB */
            p |= (1u << (LEAF_SHIFT - PIECE_SHIFT)) - 1;
            continue;
        }
        atomic_fetch_and(w, ~(1ULL << (p & 63)));
    }
}
