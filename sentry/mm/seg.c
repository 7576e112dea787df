/* SPDX-License-Identifier: Apache-2.0
 * seg.c - the backing tree: which bytes stand behind which guest addresses.
 *
 * A seg is a run of addresses with one source (range of the memory file, or of a file), one
 * copy-on-write state and one set of rights in the host process. States of an address:
 *
 *   hole --touch--> seg, not mapped (hprot -1) --map_range--> mapped
 *   cow  --write--> own copy at shadow + distance, so that copied neighbours are one host mapping
 *
 * Nodes come from the mm's spares first, so the at most two splits of an operation do not fail.
 * Lock: mm->lock. Nothing here is visible to the guest: the host process follows by ops.c.
 */
#include <stdlib.h>

#include "mm_internal.h"

struct seg *seg_find(struct mm *mm, uint64_t addr)
{
    return seg_of(rtree_find(&mm->segs, addr));
}

struct seg *seg_at(struct mm *mm, uint64_t addr)
{
    struct seg *s = seg_find(mm, addr);
    return s && s->r.start <= addr ? s : NULL;
}

struct seg *seg_next(struct seg *s)
{
    return seg_of(rtree_next(&s->r));
}

struct seg *seg_prev(struct seg *s)
{
    return seg_of(rtree_prev(&s->r));
}

struct seg *seg_new(struct mm *mm)
{
    struct seg *s = mm->spare_segs ? mm->spare_seg[--mm->spare_segs] : malloc(sizeof *s);
    if (s)
        *s = (struct seg){.hprot = -1, .shadow = NO_OFF};
    return s;
}

void seg_insert(struct mm *mm, struct seg *s)
{
    rtree_insert(&mm->segs, &s->r);
}

static void seg_free(struct mm *mm, struct seg *s)
{
    if (mm->spare_segs < SPARE_SEGS)
        mm->spare_seg[mm->spare_segs++] = s;
    else
        free(s);
}

void seg_remove(struct mm *mm, struct seg *s)
{
    rtree_remove(&mm->segs, &s->r);
    seg_free(mm, s);
}

struct seg *seg_split(struct mm *mm, struct seg *s, uint64_t at)
{
    struct seg *up = seg_new(mm);
    if (!up)
        return NULL;
    BUG_ON(at <= s->r.start || at >= s->r.end);
    uint64_t d = at - s->r.start, end = s->r.end;
    *up = *s;
    up->off += d;
    if (up->shadow != NO_OFF)
        up->shadow += d;
    up->r.start = at;
    up->r.end = end;
    rtree_resize(&s->r, s->r.start, at);
    seg_insert(mm, up);
    return up;
}

static bool segs_mergeable(const struct seg *a, const struct seg *b)
{
    uint64_t len = a->r.end - a->r.start;
    if (a->r.end != b->r.start || a->kind != b->kind || a->hprot != b->hprot || a->cow != b->cow ||
        a->fresh != b->fresh || a->file != b->file || a->off + len != b->off)
        return false;
    if (a->shadow == NO_OFF || b->shadow == NO_OFF)
        return a->shadow == b->shadow;
    return a->shadow + len == b->shadow;
}

void segs_merge(struct mm *mm, uint64_t a, uint64_t b)
{
    struct seg *s = seg_find(mm, a ? a - 1 : 0);
    while (s) {
        struct seg *n = seg_next(s);
        if (!n || n->r.start > b)
            return;
        if (segs_mergeable(s, n)) {
            uint64_t end = n->r.end;
            seg_remove(mm, n);
            rtree_resize(&s->r, s->r.start, end);
        } else {
            s = n;
        }
    }
}

static void seg_give_up(struct mm *mm, struct seg *s)
{
    uint64_t len = s->r.end - s->r.start;
    if (s->shadow != NO_OFF) {
        memref_release(s->shadow, len);
        mm->reserved -= MIN(mm->reserved, len);
    }
    if (s->kind == SEG_MEM) {
        mm->reserved -= MIN(mm->reserved, len);
        /* With an unmap pending, even what is not mapped here may still be in the guest. */
        if (s->hprot >= 0 || mm->deferring || mm->pins || mm->pending_count)
            ops_dying(mm, s->off, len);
        else
            memref_release(s->off, len);
    }
    seg_remove(mm, s);
}

void segs_drop(struct mm *mm, uint64_t a, uint64_t b)
{
    struct seg *s = seg_at(mm, a);
    if (s && s->r.start < a)
        BUG_ON(!seg_split(mm, s, a));
    s = seg_at(mm, b);
    if (s && s->r.start < b)
        BUG_ON(!seg_split(mm, s, b));
    for (s = seg_find(mm, a); s && s->r.start < b;) {
        struct seg *n = seg_next(s);
        seg_give_up(mm, s);
        s = n;
    }
}

void segs_summary(struct mm *mm, uint64_t a, uint64_t b, struct seg_summary *ret)
{
    uint64_t at = a;
    *ret = (struct seg_summary){.all_mapped = true};
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s)) {
        if (s->r.start > at || s->hprot < 0)
            ret->all_mapped = false;
        if (s->hprot >= 0) {
            ret->any_mapped = true;
            ret->any_page |= s->kind == SEG_PAGE;
        }
        at = s->r.end;
    }
    if (at < b)
        ret->all_mapped = false;
}

int seg_wanted_prot(const struct vma *v, const struct seg *s)
{
    int prot = (int)(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
    if (prot & PROT_WRITE)
        prot |= PROT_READ;
    if (s->cow)
        prot &= ~PROT_WRITE;
    return prot;
}

#define HOLE_VMAS 32 /* neighbours looked at */

static bool vma_is_plain(const struct vma *v)
{
    return !v->file;
}

/* Long mappings get whole 2 MiB of the file, so that their first and last part can be in a large
 * page too. What lies outside the VMA is there for the next mapping. */
static void hole_round(struct mm *mm, uint64_t *a, uint64_t *b)
{
    uint64_t lo = align_down(*a, HUGE_SIZE), hi = align_up(*b, HUGE_SIZE);
    struct vma *v = vma_find(mm, lo);
    if (*b - *a < DENSE_MIN || mm_pressure())
        return;
    if (v && v->r.start >= *a && lo >= g_mm.limits.user_min)
        *a = lo;
    v = vma_find(mm, *b);
    if ((!v || v->r.start >= hi) && hi <= g_mm.limits.user_max)
        *b = hi;
}

void segs_trim(struct mm *mm, uint64_t a, uint64_t b)
{
    uint64_t lo = align_down(a, HUGE_SIZE), hi = align_up(b, HUGE_SIZE);
    struct vma *v = vma_find(mm, lo);
    if (v && v->r.start < a)
        lo = a;
    v = vma_find(mm, b);
    if (v && v->r.start < hi)
        hi = b;
    if (lo < a)
        segs_drop(mm, lo, a);
    if (hi > b)
        segs_drop(mm, b, hi);
}

/* Bounds of the hole in which @addr lies: private anonymous VMAs in a row, no segs, one chunk. */
static void hole_bounds(struct mm *mm, struct vma *v, uint64_t addr, uint64_t *ret_a,
                        uint64_t *ret_b)
{
    uint64_t len = v->r.end - v->r.start, chunk = len <= RESERVE_SMALL ? 0 : RESERVE_CHUNK;
    uint64_t a = v->r.start, b = v->r.end;
    if (mm->reserved > RESERVED_MAX)
        chunk = HUGE_SIZE;
    struct vma *n = vma_prev(v);
    int steps = HOLE_VMAS;
    for (; steps && n && vma_is_plain(n) && n->r.end == a && b - n->r.start <= RESERVE_SMALL;
         n = vma_prev(n), steps--)
        a = n->r.start;
    steps = HOLE_VMAS;
    for (n = vma_next(v);
         steps && n && vma_is_plain(n) && n->r.start == b && n->r.end - a <= RESERVE_SMALL;
         n = vma_next(n), steps--)
        b = n->r.end;
    if (v->flags & VMA_HEAP) {
        uint64_t limit = n ? n->r.start : g_mm.limits.user_max;
        b = MAX(b, MIN(b + RESERVE_AHEAD, limit));
    } else if (!(v->flags & (VMA_GROWSDOWN | VMA_STACK_HINT))) {
        hole_round(mm, &a, &b);
    }
    if (chunk) {
        a = MAX(a, align_down(addr, chunk));
        b = MIN(b, align_down(addr, chunk) + chunk);
    }
    struct seg *s = seg_find(mm, addr);
    struct seg *p = s ? seg_prev(s) : seg_of(rtree_last(&mm->segs));
    if (s)
        b = MIN(b, s->r.start);
    if (p)
        a = MAX(a, p->r.end);
    *ret_a = a;
    *ret_b = b;
}

int seg_alloc(struct mm *mm, uint64_t a, uint64_t b, struct seg **ret)
{
    struct seg *s = seg_new(mm);
    if (!s)
        return -ENOMEM;
    if (memfile_alloc(g_mm.mf, b - a, a & (HUGE_SIZE - 1), &s->off) < 0) {
        seg_free(mm, s);
        return -ENOMEM;
    }
    s->r.start = a;
    s->r.end = b;
    s->kind = SEG_MEM;
    s->fresh = true;
    seg_insert(mm, s);
    mm->reserved += b - a;
    *ret = s;
    return 0;
}

struct seg *seg_from_pool(struct mm *mm, uint64_t a, uint64_t b, bool zero)
{
    uint64_t off;
    struct seg *s = seg_new(mm);
    if (!s)
        return NULL;
    if (!pool_take(b - a, zero, &off)) {
        seg_free(mm, s);
        return NULL;
    }
    s->r.start = a;
    s->r.end = b;
    s->kind = SEG_MEM;
    s->off = off;
    seg_insert(mm, s);
    mm->reserved += b - a;
    return s;
}

int seg_reserve(struct mm *mm, struct vma *v, uint64_t addr, struct seg **ret)
{
    uint64_t a, b, page = align_down(addr, PAGE_SIZE);
    hole_bounds(mm, v, addr, &a, &b);
    int r = seg_alloc(mm, a, b, ret);
    if (r < 0 && b - a > HUGE_SIZE) { /* the file's address range is crowded: small pieces */
        a = MAX(a, align_down(addr, HUGE_SIZE));
        b = MIN(b, align_down(addr, HUGE_SIZE) + HUGE_SIZE);
        r = seg_alloc(mm, a, b, ret);
    }
    return r < 0 && b - a > PAGE_SIZE ? seg_alloc(mm, page, page + PAGE_SIZE, ret) : r;
}
