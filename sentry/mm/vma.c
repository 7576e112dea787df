/* SPDX-License-Identifier: Apache-2.0
 * vma.c - the tree of what the guest asked for.
 *
 * Disjoint VMAs; neighbours that could be one are one. Splitting a VMA takes a node from the mm's
 * spares, which are filled before a call changes anything, so splitting never fails half-way. What
 * a guest can make grow is bounded by MM_VMAS_MAX and MM_VSIZE_MAX. Lock: mm->lock.
 */
#include <stdlib.h>
#include <string.h>

#include <base/checked.h>

#include "mm_internal.h"

struct vma *vma_find(struct mm *mm, uint64_t addr)
{
    return vma_of(rtree_find(&mm->vmas, addr));
}

struct vma *vma_at(struct mm *mm, uint64_t addr)
{
    struct vma *v = vma_find(mm, addr);
    return v && v->r.start <= addr ? v : NULL;
}

struct vma *vma_next(struct vma *v)
{
    return vma_of(rtree_next(&v->r));
}

struct vma *vma_prev(struct vma *v)
{
    return vma_of(rtree_prev(&v->r));
}

struct vma *vma_new(struct mm *mm)
{
    struct vma *v = mm->spare_vmas ? mm->spare_vma[--mm->spare_vmas] : malloc(sizeof *v);
    if (v)
        memset(v, 0, sizeof *v);
    return v;
}

void vma_account(struct mm *mm, const struct vma *v, int sign)
{
    uint64_t len = v->r.end - v->r.start;
    bool data = !(v->flags & VMA_SHARED) && (v->prot & PROT_WRITE) && !(v->flags & VMA_GROWSDOWN);
    uint64_t delta = sign < 0 ? -len : len;
    if (v->flags & VMA_HIDDEN)
        return;
    mm->vsize += delta;
    if (data)
        mm->data_size += delta;
    if (v->flags & VMA_LOCKED)
        mm->locked += delta;
}

void vma_insert(struct mm *mm, struct vma *v)
{
    rtree_insert(&mm->vmas, &v->r);
    vma_account(mm, v, 1);
}

/* Free the node and its share of the file. */
static void vma_free(struct mm *mm, struct vma *v)
{
    if (v->file)
        mm_file_drop(v->file);
    if (mm->spare_vmas < SPARE_VMAS)
        mm->spare_vma[mm->spare_vmas++] = v;
    else
        free(v);
}

void vma_remove(struct mm *mm, struct vma *v)
{
    vma_account(mm, v, -1);
    rtree_remove(&mm->vmas, &v->r);
    vma_free(mm, v);
}

uint64_t vma_file_off(const struct vma *v, uint64_t addr)
{
    return v->off + (addr - v->r.start);
}

struct vma *vma_split(struct mm *mm, struct vma *v, uint64_t at)
{
    struct vma *up = vma_new(mm);
    if (!up)
        return NULL;
    BUG_ON(at <= v->r.start || at >= v->r.end);
    uint64_t end = v->r.end;
    *up = *v;
    up->off = v->file ? vma_file_off(v, at) : 0;
    up->r.start = at;
    up->r.end = end;
    rtree_resize(&v->r, v->r.start, at);
    rtree_insert(&mm->vmas, &up->r);
    if (up->file)
        mm_file_hold(up->file);
    return up;
}

static bool vmas_mergeable(const struct vma *a, const struct vma *b)
{
    return a->r.end == b->r.start && a->prot == b->prot && a->flags == b->flags &&
           a->file == b->file && a->name == b->name &&
           (!a->file || vma_file_off(a, a->r.end) == b->off);
}

static void vma_absorb_next(struct mm *mm, struct vma *a, struct vma *b)
{
    uint64_t end = b->r.end;
    rtree_remove(&mm->vmas, &b->r);
    rtree_resize(&a->r, a->r.start, end);
    vma_free(mm, b);
}

struct vma *vma_merge(struct mm *mm, struct vma *v)
{
    struct vma *p = vma_prev(v);
    if (p && vmas_mergeable(p, v)) {
        vma_absorb_next(mm, p, v);
        v = p;
    }
    struct vma *n = vma_next(v);
    if (n && vmas_mergeable(v, n))
        vma_absorb_next(mm, v, n);
    return v;
}

static int isolate_at(struct mm *mm, uint64_t at)
{
    struct vma *v = vma_at(mm, at);
    if (!v || v->r.start == at)
        return 0;
    if (mm->vmas.count >= MM_VMAS_MAX || !vma_split(mm, v, at))
        return -ENOMEM;
    return 0;
}

int vmas_isolate(struct mm *mm, uint64_t a, uint64_t b)
{
    int r = isolate_at(mm, a);
    return r < 0 ? r : isolate_at(mm, b);
}

bool vmas_cover(struct mm *mm, uint64_t a, uint64_t b)
{
    struct vma *v = vma_at(mm, a);
    while (v && v->r.end < b) {
        struct vma *n = vma_next(v);
        if (!n || n->r.start != v->r.end)
            return false;
        v = n;
    }
    return v != NULL;
}

bool guest_range_valid(uint64_t addr, uint64_t len)
{
    uint64_t end;
    return !add_overflow(addr, len, &end) && end <= g_mm.limits.user_max;
}

bool guest_range_readable(uint64_t addr, uint64_t len)
{
    const struct pf_limits *l = &g_mm.limits;
    return guest_range_valid(addr, len) ||
           (addr >= l->vdso && addr < l->vdso_end && len <= l->vdso_end - addr);
}

bool vma_place_free(struct mm *mm, uint64_t addr, uint64_t len)
{
    if (addr < g_mm.limits.user_min || !guest_range_valid(addr, len))
        return false;
    struct vma *v = vma_find(mm, addr);
    if (!v)
        return true;
    uint64_t guard = v->flags & VMA_GROWSDOWN ? STACK_GUARD : 0;
    return v->r.start >= addr + len && v->r.start - (addr + len) >= guard;
}

/* A mapping shorter than 2 MiB gets a large page only in a block without files. */
static bool block_has_file(struct mm *mm, uint64_t at)
{
    uint64_t a = align_down(at, HUGE_SIZE);
    for (struct vma *v = vma_find(mm, a); v && v->r.start < a + HUGE_SIZE; v = vma_next(v))
        if (v->file)
            return true;
    return false;
}

int vma_place(struct mm *mm, uint64_t hint, uint64_t len, uint64_t align, uint32_t flags,
              uint64_t *ret)
{
    uint64_t lo = MAX(g_mm.limits.user_min, 65536ULL), hi = mm->mmap_top;
    hint = align_down(hint, PAGE_SIZE);
    if (hint && vma_place_free(mm, hint, len)) {
        *ret = hint;
        return 0;
    }
    if (flags & MAP_32BIT)
        hi = MIN(hi, 1ULL << 31);
    if (rtree_find_gap(&mm->vmas, len, align, lo, hi, ret)) {
        uint64_t below;
        if (align > PAGE_SIZE && align < HUGE_SIZE && block_has_file(mm, *ret) &&
            rtree_find_gap(&mm->vmas, len, align, lo, align_down(*ret, HUGE_SIZE), &below))
            *ret = below;
        return 0;
    }
    if (align > PAGE_SIZE && rtree_find_gap(&mm->vmas, len, PAGE_SIZE, lo, hi, ret))
        return 0;
    /* Above the usual top, but never into what the main stack may grow over. */
    uint64_t above = mm->stack_top - mm->stack_limit - STACK_GUARD;
    if (!(flags & MAP_32BIT) && rtree_find_gap(&mm->vmas, len, PAGE_SIZE, hi, above, ret))
        return 0;
    return -ENOMEM;
}
