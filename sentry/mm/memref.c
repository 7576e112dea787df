/* SPDX-License-Identifier: Apache-2.0
 * memref.c - how many address spaces own a range of the memory file.
 *
 * A range has one owner unless the tree says how many more there are. So memory that was never
 * shared by fork costs nothing here, and a copy-on-write break that leaves one owner removes its
 * node. Lock: g_lock, innermost; memory is returned to the file outside it.
 * Left out: when a node cannot be allocated while releasing, the range stays counted (a leak of
 * file space until the sandbox ends, never a double use).
 */
#include <stdlib.h>

#include <base/log.h>

#include "mm_internal.h"

struct memref {
    struct rnode r;
    uint64_t extra; /* owners beyond the first, > 0 */
};

static struct spin g_lock = SPIN_INIT(RANK_LEAF);
static struct rtree g_refs; /* GUARDED_BY(g_lock) */

static struct memref *memref_of(struct rnode *n)
{
    return n ? container_of(n, struct memref, r) : NULL;
}

static struct memref *memref_insert(uint64_t start, uint64_t end, uint64_t extra)
{
    struct memref *n = malloc(sizeof *n);
    if (!n)
        return NULL;
    n->r.start = start;
    n->r.end = end;
    n->extra = extra;
    rtree_insert(&g_refs, &n->r);
    return n;
}

/* Upper part of @n from @at on; NULL: no memory, unchanged. */
static struct memref *memref_split(struct memref *n, uint64_t at)
{
    uint64_t end = n->r.end;
    struct memref *up = malloc(sizeof *up);
    if (!up)
        return NULL;
    rtree_resize(&n->r, n->r.start, at);
    up->r.start = at;
    up->r.end = end;
    up->extra = n->extra;
    rtree_insert(&g_refs, &up->r);
    return up;
}

static void merge_around(uint64_t from, uint64_t to)
{
    struct memref *n = memref_of(rtree_find(&g_refs, from ? from - 1 : 0));
    while (n) {
        struct memref *next = memref_of(rtree_next(&n->r));
        if (!next || next->r.start > to)
            return;
        if (next->r.start == n->r.end && next->extra == n->extra) {
            uint64_t end = next->r.end;
            rtree_remove(&g_refs, &next->r);
            free(next);
            rtree_resize(&n->r, n->r.start, end);
        } else {
            n = next;
        }
    }
}

/* The node that starts exactly at @pos or the gap up to the next one. Splits. -ENOMEM. */
static int piece_at(uint64_t pos, uint64_t end, struct memref **ret, uint64_t *ret_end)
{
    struct memref *n = memref_of(rtree_find(&g_refs, pos));
    if (!n || n->r.start >= end) {
        *ret = NULL;
        *ret_end = end;
        return 0;
    }
    if (n->r.start > pos) {
        *ret = NULL;
        *ret_end = n->r.start;
        return 0;
    }
    if (n->r.start < pos) {
        n = memref_split(n, pos);
        if (!n)
            return -ENOMEM;
    }
    if (n->r.end > end && !memref_split(n, end))
        return -ENOMEM;
    *ret = n;
    *ret_end = n->r.end;
    return 0;
}

static void unshare_pieces(uint64_t off, uint64_t end)
{
    for (uint64_t pos = off; pos < end;) {
        struct memref *n;
        uint64_t to;
        if (piece_at(pos, end, &n, &to) < 0)
            return;
        if (n && --n->extra == 0) {
            rtree_remove(&g_refs, &n->r);
            free(n);
        }
        pos = to;
    }
}

int memref_share(uint64_t off, uint64_t len)
{
    uint64_t end = off + len, pos = off;
    int r = 0;
    spin_lock(&g_lock);
    while (pos < end) {
        struct memref *n;
        uint64_t to;
        r = piece_at(pos, end, &n, &to);
        if (r < 0)
            break;
        if (n)
            n->extra++;
        else if (!memref_insert(pos, to, 1)) {
            r = -ENOMEM;
            break;
        }
        pos = to;
    }
    if (r < 0)
        unshare_pieces(off, pos);
    merge_around(off, end);
    spin_unlock(&g_lock);
    return r;
}

void memref_release(uint64_t off, uint64_t len)
{
    uint64_t end = off + len, pos = off;
    while (pos < end) {
        uint64_t free_from = 0, free_to = 0;
        spin_lock(&g_lock);
        while (pos < end && free_to == 0) {
            struct memref *n;
            uint64_t to;
            if (piece_at(pos, end, &n, &to) < 0) {
                pos = end; /* stays counted */
                break;
            }
            if (!n) {
                free_from = pos;
                free_to = to;
            } else if (--n->extra == 0) {
                rtree_remove(&g_refs, &n->r);
                free(n);
            }
            pos = to;
        }
        if (pos >= end)
            merge_around(off, end);
        spin_unlock(&g_lock);
        if (free_to && !pool_put(free_from, free_to - free_from)) {
            present_forget(free_from, free_to - free_from);
            memfile_free(g_mm.mf, free_from, free_to - free_from);
        }
    }
}

bool memref_shared(uint64_t off, uint64_t max, uint64_t *ret_run)
{
    bool shared = false;
    uint64_t run = max;
    spin_lock(&g_lock);
    struct memref *n = memref_of(rtree_find(&g_refs, off));
    if (n && n->r.start <= off) {
        shared = true;
        uint64_t to = n->r.end;
        while (to < off + max) {
            n = memref_of(rtree_next(&n->r));
            if (!n || n->r.start != to)
                break;
            to = n->r.end;
        }
        run = MIN(max, to - off);
    } else if (n) {
        run = MIN(max, n->r.start - off);
    }
    spin_unlock(&g_lock);
    *ret_run = run;
    return shared;
}
