/* SPDX-License-Identifier: Apache-2.0
 * pool.c - memory that was a guest's, kept to be another's.
 *
 * Giving a page back to the host and taking, clearing and mapping another costs 2-3 us and most of
 * it is the host's; one that stays in the memory file, and in the Sentry's own mapping, costs the
 * copy or the clearing alone. Short-lived processes live on a few dozen pages, always the same
 * number, so a small pool serves them all.
 *
 * Ranges lie here with what the last owner wrote. pool_take() is the only way out: its caller
 * overwrites all of it, or asks for zeros. A range in the pool has one owner (memref.c), the pool.
 * Under memory pressure the pool is emptied.
 * Lock: g_pool.lock, innermost; memory is returned to the file outside it.
 */
#include <stdlib.h>

#include "mm_internal.h"

#define RUNS_MAX 128u

static struct {
    struct spin lock;
    struct rtree runs; /* GUARDED_BY(lock), as all here; neighbours are one */
    uint64_t max;
    _Atomic(uint64_t) bytes; /* written under the lock, looked at without */
} g_pool = {.lock = SPIN_INIT(RANK_LEAF)};

static uint64_t bytes_now(void)
{
    return atomic_load_explicit(&g_pool.bytes, memory_order_relaxed);
}

static void bytes_add_locked(uint64_t n)
{
    atomic_store_explicit(&g_pool.bytes, bytes_now() + n, memory_order_relaxed);
}

void mm_pool_limit(uint64_t bytes)
{
    spin_lock(&g_pool.lock);
    g_pool.max = bytes;
    spin_unlock(&g_pool.lock);
    if (bytes == 0)
        pool_drain();
}

/* Extend a neighbour, or two, by [off, end). */
static bool join_locked(uint64_t off, uint64_t end)
{
    struct rnode *n = rtree_find(&g_pool.runs, off ? off - 1 : 0);
    struct rnode *before = n && n->end == off ? n : NULL;
    struct rnode *after = before ? rtree_next(before) : n;
    if (after && after->start != end)
        after = NULL;
    if (before && after) {
        end = after->end;
        rtree_remove(&g_pool.runs, after);
        free(after);
    }
    if (before)
        rtree_resize(before, before->start, end);
    else if (after)
        rtree_resize(after, off, after->end);
    return before || after;
}

bool pool_put(uint64_t off, uint64_t len)
{
    bool kept = false;
    if (len > POOL_RUN_MAX)
        return false;
    spin_lock(&g_pool.lock);
    if (bytes_now() + len <= g_pool.max) {
        kept = join_locked(off, off + len);
        struct rnode *n = kept || g_pool.runs.count >= RUNS_MAX ? NULL : calloc(1, sizeof *n);
        if (n) {
            n->start = off;
            n->end = off + len;
            rtree_insert(&g_pool.runs, n);
            kept = true;
        }
        if (kept)
            bytes_add_locked(len);
    }
    spin_unlock(&g_pool.lock);
    return kept;
}

static bool take_locked(uint64_t len, uint64_t *ret_off)
{
    struct rnode *best = NULL;
    for (struct rnode *n = rtree_first(&g_pool.runs); n; n = rtree_next(n)) {
        uint64_t has = n->end - n->start;
        if (has >= len && (!best || has < best->end - best->start))
            best = n;
    }
    if (!best)
        return false;
    *ret_off = best->start;
    bytes_add_locked(-len);
    if (best->end - best->start > len) {
        rtree_resize(best, best->start + len, best->end);
        return true;
    }
    rtree_remove(&g_pool.runs, best);
    free(best);
    return true;
}

bool pool_take(uint64_t len, bool zero, uint64_t *ret_off)
{
    uint64_t off;
    if (len > POOL_RUN_MAX || !bytes_now())
        return false;
    spin_lock(&g_pool.lock);
    bool found = take_locked(len, &off);
    spin_unlock(&g_pool.lock);
    if (!found)
        return false;
    present_want(off, len);
    if (zero && ua_zero(memfile_ptr(g_mm.mf, off), len)) { /* it had holes, and the limit is here */
        memref_release(off, len);
        return false;
    }
    *ret_off = off;
    return true;
}

void pool_drain(void)
{
    for (;;) {
        spin_lock(&g_pool.lock);
        struct rnode *n = rtree_first(&g_pool.runs);
        if (n) {
            rtree_remove(&g_pool.runs, n);
            bytes_add_locked(n->start - n->end);
        }
        spin_unlock(&g_pool.lock);
        if (!n)
            return;
        present_forget(n->start, n->end - n->start);
        memfile_free(g_mm.mf, n->start, n->end - n->start);
        free(n);
    }
}
