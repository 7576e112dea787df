/* SPDX-License-Identifier: Apache-2.0
 * protect.c - mprotect.
 *
 * Rights in the VMA change first; the host process follows. Taking all rights away, or that to
 * write, is left to the calling thread where it can do it (mm_self); giving rights is the mapper's and waited for. Rights
 * of copy-on-write memory never include writing (seg_wanted_prot).
 */
#include "mm_internal.h"

/* What is mapped of [a, b) gets the rights it should have. */
static int protect_mapped(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s)) {
        int prot = seg_wanted_prot(v, s);
        if (s->hprot < 0 || s->hprot == prot)
            continue;
        if (mm_spares_fill(mm) < 0)
            return -ENOMEM;
        s = seg_cut(mm, s, MAX(a, s->r.start), MIN(b, s->r.end));
        if (!s)
            return -ENOMEM;
        ops_add(mm, PF_PROTECT, s->r.start, s->r.end - s->r.start, prot, 0);
        s->hprot = (int8_t)prot;
    }
    segs_merge(mm, a, b);
    return 0;
}

/* @self: the guest does it. */
static int protect_vma(struct mm *mm, struct vma *v, uint32_t prot, bool self)
{
    uint64_t a = v->r.start, b = v->r.end;
    vma_account(mm, v, -1);
    v->prot = prot;
    vma_account(mm, v, 1);
    int r = self ? 0 : protect_mapped(mm, v, a, b);
    if (r < 0 || self || v->file || prot == PROT_NONE)
        return r;
    /* Small pieces that get rights are about to be used (malloc arenas); of a stack, the top is. */
    if (b - a <= WINDOW_FIRST)
        return mm_pressure() ? 0 : map_range(mm, v, a, b, true, true);
    if (v->flags & VMA_STACK_HINT)
        return map_range(mm, v, b - WINDOW_MIN, b, true, true);
    return 0;
}

/* The caller takes all rights away itself, by munmap: the memory is known here, and the host's
 * mprotect would stop at a hole that another thread makes meanwhile. The trees say so at once. */
static void protect_by_self(struct mm *mm, uint64_t a, uint64_t b, struct mm_self *ret_self)
{
    struct seg_summary sum;
    segs_summary(mm, a, b, &sum);
    if (!sum.any_mapped || sum.any_page)
        return;
    ops_pending(mm, a, b - a);
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s)) {
        if (s->hprot < 0)
            continue;
        s = seg_cut(mm, s, MAX(a, s->r.start), MIN(b, s->r.end));
        BUG_ON(!s); /* at most two splits: spares */
        s->hprot = -1;
    }
    segs_merge(mm, a, b);
    *ret_self = (struct mm_self){.op = PF_SELF_UNMAP, .addr = a, .len = b - a};
}

/* Taking away the right to write (data that is constant once relocated) is done by the caller too,
 * with the host's mprotect: one mapping after the other, all there, and nobody else who could make
 * holes. That it has happened is taken for granted nowhere: in the trees the rights stay what they
 * may still be. */
static bool read_by_self(struct mm *mm, uint64_t a, uint64_t b, struct mm_self *ret_self)
{
    struct seg_summary sum;
    segs_summary(mm, a, b, &sum);
    if (refcount_read(&mm->ref) != 1 || !sum.all_mapped || sum.any_page)
        return false;
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s))
        if (s->kind != SEG_MEM || s->hprot < PROT_READ || (s->hprot & PROT_EXEC))
            return false;
    for (struct vma *v = vma_at(mm, a); v && v->r.start < b; v = vma_next(v))
        if ((v->flags & VMA_SHARED) || !(v->prot & PROT_WRITE))
            return false;
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s)) {
        if (!(s->hprot & PROT_WRITE))
            continue;
        s = seg_cut(mm, s, MAX(a, s->r.start), MIN(b, s->r.end));
        BUG_ON(!s); /* at most two splits: spares */
        s->hprot |= HPROT_LOOSE;
    }
    *ret_self = (struct mm_self){.op = PF_SELF_PROTECT_READ, .addr = a, .len = b - a};
    return true;
}

static int protect_check(const struct vma *v, uint32_t prot, const struct mm *mm)
{
    if ((v->flags & VMA_SHARED) && (prot & PROT_WRITE) && !(v->flags & VMA_MAYWRITE))
        return -EACCES;
    bool more = !(v->flags & VMA_SHARED) && (prot & PROT_WRITE) && !(v->prot & PROT_WRITE);
    if (more && mm->limits.data != UINT64_MAX &&
        mm->data_size + (v->r.end - v->r.start) > mm->limits.data)
        return -ENOMEM;
    return 0;
}

static int protect_locked(struct mm *mm, uint64_t a, uint64_t b, uint32_t prot,
                          struct mm_self *ret_self)
{
    struct vma *v = vma_at(mm, a);
    int r = v ? vmas_isolate(mm, a, b) : -ENOMEM;
    if (r < 0)
        return r;
    bool self = ret_self && prot == PROT_NONE && ops_may_self(mm, b - a) && vmas_cover(mm, a, b);
    if (self)
        protect_by_self(mm, a, b, ret_self);
    bool read = ret_self && prot == PROT_READ && ops_may_self(mm, b - a) && vmas_cover(mm, a, b) &&
                read_by_self(mm, a, b, ret_self);
    uint64_t at = a;
    while (at < b) {
        v = vma_at(mm, at);
        r = v ? protect_check(v, prot, mm) : -ENOMEM; /* as Linux: what came before stays changed */
        if (r < 0)
            break;
        at = v->r.end;
        if (v->prot == prot)
            continue;
        r = protect_vma(mm, v, prot, read);
        vma_merge(mm, v);
        if (r < 0)
            break;
    }
    v = vma_at(mm, a);
    if (v)
        vma_merge(mm, v);
    v = vma_at(mm, b);
    if (v && v->r.start == b)
        vma_merge(mm, v);
    return r;
}

int mm_mprotect(struct mm *mm, uint64_t addr, uint64_t len, uint32_t prot, struct mm_self *ret_self)
{
    if ((addr & ~PAGE_MASK) || (prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC | 8)))
        return -EINVAL; /* 8: PROT_SEM, means nothing here as on Linux/x86 */
    prot &= PROT_READ | PROT_WRITE | PROT_EXEC;
    if (len == 0)
        return 0;
    if (len > g_mm.limits.user_max || !guest_range_valid(addr, align_up(len, PAGE_SIZE)))
        return -ENOMEM;
    len = align_up(len, PAGE_SIZE);
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = text_yield(mm, addr, addr + len, (prot & PROT_WRITE) != 0);
    if (r == 0)
        r = protect_locked(mm, addr, addr + len, prot, ret_self);
    int r2 = ops_run(mm);
    mm_unlock(mm);
    return r < 0 ? r : r2;
}
