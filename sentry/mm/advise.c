/* SPDX-License-Identifier: Apache-2.0
 * advise.c - madvise, msync, mlock: what a guest says about memory it has.
 *
 * Freed private memory keeps its place in the memory file and loses its pages; a larger piece is
 * also unmapped, so that its next use comes in windows again instead of host faults.
 * Left out: merging (KSM), poisoning, MADV_COLLAPSE (all -EINVAL, as a kernel without them
 * answers).
 */
#include <host/io.h>

#include "mm_internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define UNMAP_FROM WINDOW_FIRST /* freed pieces from this size on are unmapped */

/* Private anonymous memory of one seg loses its content. */
static int free_seg(struct mm *mm, struct seg *s, uint64_t a, uint64_t b)
{
    uint64_t run;
    if (s->fresh)
        return 0;
    if (memref_shared(s->off + (a - s->r.start), b - a, &run) || run < b - a) {
        if (s->hprot >= 0)
            ops_add(mm, PF_UNMAP, a, b - a, 0, 0);
        segs_drop(mm, a, b);
        return 0;
    }
    bool unmap = b - a >= UNMAP_FROM || s->hprot < 0;
    if (unmap) {
        s = seg_cut(mm, s, a, b);
        if (!s)
            return -ENOMEM;
        if (s->hprot >= 0)
            ops_add(mm, PF_UNMAP, a, b - a, 0, 0);
        s->hprot = -1;
        s->fresh = true;
        if (s->shadow != NO_OFF) {
            memref_release(s->shadow, b - a);
            s->shadow = NO_OFF;
        }
        s->cow = false; /* nobody shares it */
    }
    uint64_t off = s->off + (a - s->r.start);
    present_forget(off, b - a);
    memfile_decommit(g_mm.mf, off, b - a);
    return 0;
}

static int dontneed_vma(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    if (v->flags & VMA_SHARED)
        return 0; /* the file keeps the data */
    for (uint64_t at = a; at < b;) {
        if (mm_spares_fill(mm) < 0)
            return -ENOMEM;
        struct seg *s = seg_find(mm, at);
        if (!s || s->r.start >= b)
            break;
        uint64_t from = MAX(at, s->r.start), to = MIN(b, s->r.end);
        int r = 0;
        if (!v->file) {
            r = free_seg(mm, s, from, to);
        } else if (s->kind == SEG_MEM) { /* copied pages: the file's content again */
            if (s->hprot >= 0)
                ops_add(mm, PF_UNMAP, from, to - from, 0, 0);
            segs_drop(mm, from, to);
        }
        if (r < 0)
            return r;
        at = to;
    }
    segs_merge(mm, a, b);
    return 0;
}

static int set_flags(struct mm *mm, uint64_t a, uint64_t b, uint32_t set, uint32_t clear)
{
    int r = vmas_isolate(mm, a, b);
    if (r < 0)
        return r;
    struct vma *v = vma_at(mm, a);
    vma_account(mm, v, -1);
    v->flags = (v->flags | set) & ~clear;
    vma_account(mm, v, 1);
    vma_merge(mm, v);
    return 0;
}

/* [a, b) lies inside @v. */
static int advise_vma(struct mm *mm, struct vma *v, uint64_t a, uint64_t b, int advice)
{
    bool anon = !v->file, shared = v->flags & VMA_SHARED;
    switch (advice) {
    case MADV_DONTNEED:
        return v->flags & VMA_LOCKED ? -EINVAL : dontneed_vma(mm, v, a, b);
    case MADV_FREE:
        return !anon || (v->flags & VMA_LOCKED) ? -EINVAL : dontneed_vma(mm, v, a, b);
    case MADV_REMOVE:
        if (!shared || !(v->flags & VMA_MAYWRITE))
            return -EINVAL;
        return shm_remove(v->file->m, vma_file_off(v, a), b - a);
    case MADV_DONTFORK:
        return set_flags(mm, a, b, VMA_DONTFORK, 0);
    case MADV_DOFORK:
        return set_flags(mm, a, b, 0, VMA_DONTFORK);
    case MADV_WIPEONFORK:
        return anon ? set_flags(mm, a, b, VMA_WIPEONFORK, 0) : -EINVAL;
    case MADV_KEEPONFORK:
        return set_flags(mm, a, b, 0, VMA_WIPEONFORK);
    case MADV_HUGEPAGE:
        return set_flags(mm, a, b, VMA_HUGE, VMA_NOHUGE);
    case MADV_NOHUGEPAGE:
        return set_flags(mm, a, b, VMA_NOHUGE, VMA_HUGE);
    case MADV_POPULATE_READ:
        return populate_range(mm, a, b, false);
    case MADV_POPULATE_WRITE:
        return v->prot & PROT_WRITE ? populate_range(mm, a, b, true) : -EFAULT;
    default:
        return 0; /* hints about access patterns: windows find out by themselves */
    }
}

static bool advice_known(int advice)
{
    switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_DONTNEED:
    case MADV_FREE:
    case MADV_REMOVE:
    case MADV_DONTFORK:
    case MADV_DOFORK:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
        return true;
    default:
        return false;
    }
}

int mm_madvise(struct mm *mm, uint64_t addr, uint64_t len, int advice)
{
    bool hole = false;
    if (!advice_known(advice) || (addr & ~PAGE_MASK))
        return -EINVAL;
    if (len > UINT64_MAX - PAGE_SIZE || !guest_range_valid(addr, align_up(len, PAGE_SIZE)))
        return len == 0 ? 0 : -EINVAL;
    uint64_t end = addr + align_up(len, PAGE_SIZE);
    if (len == 0)
        return 0;
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = text_yield(mm, addr, end, false);
    for (uint64_t at = addr; at < end && r == 0;) {
        struct vma *v = vma_find(mm, at);
        if (!v || v->r.start >= end) {
            hole = true;
            break;
        }
        hole |= v->r.start > at;
        uint64_t a = MAX(at, v->r.start), b = MIN(end, v->r.end);
        r = mm_spares_fill(mm);
        if (r == 0)
            r = advise_vma(mm, v, a, b, advice);
        at = b;
    }
    int r2 = ops_run(mm);
    mm_unlock(mm);
    if (r == 0)
        r = r2 < 0 ? r2 : hole ? -ENOMEM : 0;
    return r;
}

int mm_msync(struct mm *mm, uint64_t addr, uint64_t len, int flags)
{
    if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (addr & ~PAGE_MASK) ||
        ((flags & MS_ASYNC) && (flags & MS_SYNC)))
        return -EINVAL;
    if (len > UINT64_MAX - PAGE_SIZE || !guest_range_valid(addr, align_up(len, PAGE_SIZE)))
        return -ENOMEM;
    uint64_t end = addr + align_up(len, PAGE_SIZE);
    if (addr == end)
        return 0;
    mm_lock(mm);
    int r = vmas_cover(mm, addr, end) ? 0 : -ENOMEM;
    for (struct vma *v = vma_find(mm, addr); v && v->r.start < end; v = vma_next(v)) {
        if ((flags & MS_INVALIDATE) && (v->flags & VMA_LOCKED))
            r = -EBUSY;
        if (!(flags & MS_SYNC) || !(v->flags & VMA_SHARED) || !v->file->m->ops->host_fd)
            continue;
        int fd = v->file->m->ops->host_fd(v->file->m, true);
        if (fd >= 0 && io_fsync(fd, true) < 0 && r == 0)
            r = -EIO;
    }
    mm_unlock(mm);
    return r;
}

static int lock_range(struct mm *mm, uint64_t a, uint64_t b, bool lock)
{
    for (uint64_t at = a; at < b;) {
        struct vma *v = vma_at(mm, at);
        if (!v)
            return -ENOMEM;
        uint64_t end = MIN(b, v->r.end);
        int r = mm_spares_fill(mm);
        if (r == 0)
            r = set_flags(mm, at, end, lock ? VMA_LOCKED : 0, lock ? 0 : VMA_LOCKED);
        if (r < 0)
            return r;
        v = vma_at(mm, at);
        if (lock && v->prot != PROT_NONE) {
            r = populate_range(mm, at, MIN(end, at + POPULATE_HINT_MAX), v->prot & PROT_WRITE);
            if (r < 0)
                return -ENOMEM;
        }
        at = end;
    }
    return 0;
}

int mm_mlock(struct mm *mm, uint64_t addr, uint64_t len, bool lock)
{
    uint64_t a = align_down(addr, PAGE_SIZE);
    if (len > g_mm.limits.user_max || addr > g_mm.limits.user_max)
        return -EINVAL;
    uint64_t b = align_up(addr + len, PAGE_SIZE);
    if (len == 0)
        return 0;
    if (b > g_mm.limits.user_max)
        return -ENOMEM;
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = lock_range(mm, a, b, lock);
    int r2 = ops_run(mm);
    mm_unlock(mm);
    return r < 0 ? r : r2;
}

int mm_mlockall(struct mm *mm, bool current_too, bool future)
{
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    mm->lock_future = future;
    for (struct vma *v = vma_of(rtree_first(&mm->vmas)); v; v = vma_next(v)) {
        if (current_too && v->prot != PROT_NONE)
            (void)populate_range(mm, v->r.start, MIN(v->r.end, v->r.start + POPULATE_HINT_MAX),
                                 false);
        vma_account(mm, v, -1);
        if (current_too)
            v->flags |= VMA_LOCKED;
        else if (!future)
            v->flags &= ~VMA_LOCKED;
        vma_account(mm, v, 1);
    }
    r = ops_run(mm);
    mm_unlock(mm);
    return r;
}
