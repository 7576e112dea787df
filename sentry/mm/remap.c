/* SPDX-License-Identifier: Apache-2.0
 * remap.c - mremap: backing moves in the tree, bytes never do.
 *
 * One list removes the old host mappings and makes the new ones. A large mapping moves by a
 * multiple of 2 MiB where there is room, so that its huge pages stay usable.
 */
#include "mm_internal.h"

#define MREMAP_KNOWN (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)
#define MOVE_POPULATE_MAX (64ULL << 20)

struct remap {
    uint64_t addr, old_len, new_len, dest;
    uint32_t flags;
};

static int remap_check(struct remap *q, uint64_t new_addr)
{
    if ((q->flags & ~(uint32_t)MREMAP_KNOWN) || (q->addr & ~PAGE_MASK))
        return -EINVAL;
    if ((q->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(q->flags & MREMAP_MAYMOVE))
        return -EINVAL;
    if (q->new_len == 0 || q->new_len > g_mm.limits.user_max || q->old_len > g_mm.limits.user_max)
        return -EINVAL;
    q->old_len = align_up(q->old_len, PAGE_SIZE);
    q->new_len = align_up(q->new_len, PAGE_SIZE);
    if ((q->flags & MREMAP_DONTUNMAP) && q->old_len != q->new_len)
        return -EINVAL;
    if (!guest_range_valid(q->addr, q->old_len))
        return -EFAULT;
    if (q->flags & MREMAP_FIXED) {
        if ((new_addr & ~PAGE_MASK) || !guest_range_valid(new_addr, q->new_len) ||
            new_addr < g_mm.limits.user_min)
            return -EINVAL;
        if (new_addr < q->addr + q->old_len && q->addr < new_addr + q->new_len)
            return -EINVAL;
        q->dest = new_addr;
    }
    return 0;
}

static int grow_in_place(struct mm *mm, struct vma *v, uint64_t end)
{
    uint64_t old = v->r.end;
    int r = mm_may_grow(mm, end - old, !(v->flags & VMA_SHARED) && (v->prot & PROT_WRITE));
    if (r < 0)
        return r;
    if (v->file)
        segs_drop(mm, old, end); /* a range reserved for the heap */
    vma_account(mm, v, -1);
    rtree_resize(&v->r, v->r.start, end);
    vma_account(mm, v, 1);
    if (!v->file)
        r = map_first_window(mm, v, old, end);
    vma_merge(mm, v);
    return r;
}

static bool room_behind(struct vma *v, uint64_t end)
{
    struct vma *n = vma_next(v);
    if (end > g_mm.limits.user_max)
        return false;
    return !n || n->r.start >= end + (n->flags & VMA_GROWSDOWN ? STACK_GUARD : 0);
}

static int choose_dest(struct mm *mm, struct remap *q)
{
    uint64_t a, extra = q->new_len >= HUGE_SIZE ? HUGE_SIZE : 0;
    if (q->flags & MREMAP_FIXED) {
        int r = vmas_isolate(mm, q->dest, q->dest + q->new_len);
        if (r == 0)
            unmap_range(mm, q->dest, q->dest + q->new_len);
        return r;
    }
    if (extra && vma_place(mm, 0, q->new_len + extra, PAGE_SIZE, 0, &a) == 0) {
        q->dest = a + ((q->addr - a) & (HUGE_SIZE - 1));
        return 0;
    }
    return vma_place(mm, 0, q->new_len, PAGE_SIZE, 0, &q->dest);
}

static int move_segs(struct mm *mm, const struct remap *q)
{
    uint64_t a = q->addr, b = q->addr + q->old_len, mapped = 0;
    struct seg_summary sum;
    segs_summary(mm, a, b, &sum);
    if (sum.any_mapped)
        ops_add(mm, PF_UNMAP, a, b - a, 0, 0);
    struct seg *s = seg_find(mm, a), *n;
    for (; s && s->r.start < b; s = n) {
        s = seg_cut(mm, s, MAX(a, s->r.start), MIN(b, s->r.end));
        if (!s)
            return -ENOMEM;
        n = seg_next(s);
        rtree_remove(&mm->segs, &s->r);
        s->r.start = s->r.start - a + q->dest;
        s->r.end = s->r.end - a + q->dest;
        seg_insert(mm, s);
        if (s->hprot <= 0) {
            s->hprot = -1;
            continue;
        }
        mapped += s->r.end - s->r.start;
        if (s->hprot & HPROT_LOOSE)
            s->hprot = (int8_t)(s->hprot & (PROT_READ | PROT_EXEC));
        ops_map(mm, s, s->r.start, s->r.end, s->hprot,
                s->kind == SEG_MEM && mapped <= MOVE_POPULATE_MAX);
    }
    return 0;
}

/* @v is exactly the old range. */
static int move(struct mm *mm, struct vma *v, struct remap *q)
{
    bool data = !(v->flags & VMA_SHARED) && (v->prot & PROT_WRITE);
    bool keep = (q->flags & MREMAP_DONTUNMAP) || q->old_len == 0;
    int r = mm_may_grow(mm, keep || q->new_len < q->old_len ? q->new_len : q->new_len - q->old_len,
                        data);
    if (r == 0)
        r = choose_dest(mm, q);
    if (r < 0)
        return r;
    struct vma *d = vma_new(mm);
    if (!d)
        return -ENOMEM;
    segs_drop(mm, q->dest, q->dest + q->new_len); /* ranges reserved for the heap */
    *d = *v;
    d->r.start = q->dest;
    d->r.end = q->dest + q->new_len;
    d->off = v->file ? vma_file_off(v, q->addr) : 0;
    if (d->file)
        mm_file_hold(d->file);
    if (q->old_len)
        r = move_segs(mm, q);
    if (!keep)
        vma_remove(mm, v);
    vma_insert(mm, d);
    if (!keep)
        segs_trim(mm, q->addr, q->addr + q->old_len);
    if (r == 0 && !d->file && q->new_len > q->old_len)
        r = map_first_window(mm, d, q->dest + q->old_len, q->dest + q->new_len);
    segs_merge(mm, q->dest, q->dest + q->new_len);
    vma_merge(mm, d);
    return r;
}

static int remap_locked(struct mm *mm, struct remap *q)
{
    struct vma *v = vma_at(mm, q->addr);
    int r;
    if (!v)
        return -EFAULT;
    if (q->old_len == 0 && !(v->flags & VMA_SHARED))
        return -EINVAL;
    if (q->addr + q->old_len > v->r.end)
        return -EFAULT;
    if ((q->flags & MREMAP_DONTUNMAP) && v->file)
        return -EINVAL;
    bool must_move = q->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
    if (q->old_len > q->new_len) {
        uint64_t a = q->addr + q->new_len, b = q->addr + q->old_len;
        r = vmas_isolate(mm, a, b);
        if (r < 0)
            return r;
        unmap_range(mm, a, b);
        q->old_len = q->new_len;
        v = vma_at(mm, q->addr);
    }
    if (q->old_len == q->new_len && !must_move) {
        q->dest = q->addr;
        return 0;
    }
    if (!must_move && q->old_len && q->addr + q->old_len == v->r.end &&
        room_behind(v, q->addr + q->new_len)) {
        q->dest = q->addr;
        return grow_in_place(mm, v, q->addr + q->new_len);
    }
    if (!(q->flags & MREMAP_MAYMOVE))
        return -ENOMEM;
    if (q->old_len) {
        r = vmas_isolate(mm, q->addr, q->addr + q->old_len);
        if (r < 0)
            return r;
    }
    if (mm_spares_fill(mm) < 0)
        return -ENOMEM;
    return move(mm, vma_at(mm, q->addr), q);
}

int64_t mm_mremap(struct mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, uint32_t flags,
                  uint64_t new_addr)
{
    struct remap q = {.addr = addr, .old_len = old_len, .new_len = new_len, .flags = flags};
    int r = remap_check(&q, new_addr);
    if (r == 0)
        r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = text_yield(mm, addr, addr + MAX(old_len, new_len), true);
    if (r == 0 && (flags & MREMAP_FIXED))
        r = text_yield(mm, new_addr, new_addr + new_len, false);
    if (r == 0)
        r = remap_locked(mm, &q);
    int r2 = ops_run(mm);
    mm_unlock(mm);
    if (r < 0 || r2 < 0)
        return r < 0 ? r : r2;
    return (int64_t)q.dest;
}
