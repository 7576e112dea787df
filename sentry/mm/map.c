/* SPDX-License-Identifier: Apache-2.0
 * map.c - mmap and munmap.
 *
 * Decode and check, make room (split, unmap), insert the VMA, map its first window: the trees
 * change first, then one list makes the host process follow (ops.c). Private anonymous memory
 * arrives in windows: a host fault costs as much as populating ten pages, so the first 256 KiB
 * come populated and later ones by fault.c.
 * Everything here comes from the guest: addresses and lengths are checked before any arithmetic.
 */
#include <base/checked.h>

#include "mm_internal.h"

#define MAP_KNOWN                                                                            \
    (MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE |      \
     MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | \
     MAP_FIXED_NOREPLACE)
#define LAZY_OPS_MAX 32u              /* operations that wait for a touch */
#define NORESERVE_QUIET (64ULL << 20) /* MAP_NORESERVE this large is not populated ahead */

int mm_may_grow(const struct mm *mm, uint64_t len, bool data)
{
    if (len > MM_VSIZE_MAX || mm->vsize + len > MM_VSIZE_MAX)
        return -ENOMEM;
    if (mm->limits.as != UINT64_MAX && mm->vsize + len > mm->limits.as)
        return -ENOMEM;
    if (data && mm->limits.data != UINT64_MAX && mm->data_size + len > mm->limits.data)
        return -ENOMEM;
    return mm->vmas.count + 2 > MM_VMAS_MAX ? -ENOMEM : 0;
}

struct seg *seg_cut(struct mm *mm, struct seg *s, uint64_t a, uint64_t b)
{
    if (s->r.start < a) {
        s = seg_split(mm, s, a);
        if (!s)
            return NULL;
    }
    if (s->r.end > b && !seg_split(mm, s, b))
        return NULL;
    return s;
}

static int map_seg(struct mm *mm, struct seg *s, uint64_t a, uint64_t b, int prot, bool populate)
{
    if (s->kind == SEG_FD) {
        int slot = mm_file_slot(s->file, !s->cow);
        if (slot < 0)
            return slot == -ENODEV ? -ENOMEM : slot;
    }
    s = seg_cut(mm, s, a, b);
    if (!s)
        return -ENOMEM;
    if (s->hprot >= 0) {
        ops_add(mm, PF_PROTECT, a, b - a, prot, 0);
        if (populate && s->kind == SEG_MEM)
            ops_add(mm, PF_POPULATE, a, b - a, prot, 0);
    } else {
        ops_map(mm, s, a, b, prot, populate);
    }
    s->hprot = (int8_t)prot;
    s->fresh = false;
    return 0;
}

int map_range(struct mm *mm, struct vma *v, uint64_t a, uint64_t b, bool fill, bool populate)
{
    int r = 0;
    a = MAX(a, v->r.start);
    b = MIN(b, v->r.end);
    for (uint64_t at = a; at < b && r == 0;) {
        struct seg *s = seg_find(mm, at);
        if (!s || s->r.start > at) {
            if (!fill || v->file) {
                at = s ? s->r.start : b;
                continue;
            }
            r = seg_reserve(mm, v, at, &s);
            if (r < 0)
                break;
        }
        uint64_t end = MIN(s->r.end, b);
        int prot = seg_wanted_prot(v, s);
        if (prot != 0 && s->hprot != prot)
            r = map_seg(mm, s, at, end, prot, populate);
        at = end;
    }
    segs_merge(mm, a, b);
    return r;
}

int map_first_window(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    uint64_t len = b - a;
    bool stack = v->flags & (VMA_STACK_HINT | VMA_GROWSDOWN);
    if (v->prot == PROT_NONE || len > RESERVE_SMALL ||
        ((v->flags & VMA_NORESERVE) && len > NORESERVE_QUIET) || mm_pressure())
        return 0;
    if (len >= LAZY_MIN && !stack && !(v->flags & VMA_HEAP))
        return 0; /* who knows how it will be touched */
    if (stack) {
        a = b - MIN(len, WINDOW_MIN);
    } else {
        b = a + MIN(len, WINDOW_FIRST);
    }
    struct seg *s = seg_find(mm, a);
    if ((!s || s->r.start >= b) && b - a <= POOL_RUN_MAX && len < DENSE_MIN)
        (void)seg_from_pool(mm, a, b, true); /* else new memory */
    return map_range(mm, v, a, b, true, true);
}

void unmap_range(struct mm *mm, uint64_t a, uint64_t b)
{
    struct seg_summary sum;
    segs_summary(mm, a, b, &sum);
    if (sum.any_mapped)
        ops_add(mm, PF_UNMAP, a, b - a, 0, 0);
    segs_drop(mm, a, b);
    for (struct vma *v = vma_find(mm, a); v && v->r.start < b;) {
        struct vma *n = vma_next(v);
        vma_remove(mm, v);
        v = n;
    }
    text_unmapped(mm, a, b);
}

static uint32_t vma_flags(const struct mm_map_args *a, bool lock_future)
{
    uint32_t f = 0;
    if ((a->flags & MAP_TYPE) != MAP_PRIVATE)
        f |= VMA_SHARED;
    if ((f & VMA_SHARED) && (!a->file || a->file_writable))
        f |= VMA_MAYWRITE;
    if (a->flags & MAP_GROWSDOWN)
        f |= VMA_GROWSDOWN;
    if (a->flags & MAP_NORESERVE)
        f |= VMA_NORESERVE;
    if ((a->flags & MAP_STACK) && !a->file)
        f |= VMA_STACK_HINT;
    if ((a->flags & MAP_LOCKED) || lock_future)
        f |= VMA_LOCKED;
    return f;
}

static int map_check(const struct mm_map_args *a, uint64_t *ret_len)
{
    uint32_t type = a->flags & MAP_TYPE;
    uint64_t end;
    if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
        return -EINVAL;
    if (type == MAP_SHARED_VALIDATE && (a->flags & ~(uint32_t)MAP_KNOWN))
        return -EOPNOTSUPP;
    if (a->flags & MAP_HUGETLB)
        return -ENOMEM; /* as with an empty huge page pool */
    if (a->len == 0 || (a->offset & ~PAGE_MASK))
        return -EINVAL;
    if (a->len > g_mm.limits.user_max)
        return -ENOMEM;
    *ret_len = align_up(a->len, PAGE_SIZE);
    if (add_overflow(a->offset, *ret_len, &end) || end > INT64_MAX)
        return -EOVERFLOW;
    if (a->file && type != MAP_PRIVATE && (a->prot & PROT_WRITE) && !a->file_writable)
        return -EACCES;
    if (a->flags & MAP_GROWSDOWN && (a->file || type != MAP_PRIVATE))
        return -EINVAL;
    return 0;
}

static int map_choose(struct mm *mm, const struct mm_map_args *a, uint64_t len, uint64_t *ret)
{
    if (a->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (a->addr & ~PAGE_MASK)
            return -EINVAL;
        if (!guest_range_valid(a->addr, len))
            return -ENOMEM;
        if (a->addr < g_mm.limits.user_min)
            return -EPERM;
        int r = text_yield(mm, a->addr, a->addr + len, false);
        if (r < 0)
            return r;
        struct vma *v = vma_find(mm, a->addr);
        if ((a->flags & MAP_FIXED_NOREPLACE) && v && v->r.start < a->addr + len)
            return -EEXIST;
        *ret = a->addr;
        return 0;
    }
    uint64_t align = PAGE_SIZE;
    if (!a->file && len >= LAZY_MIN)
        align = len > LAZY_MIN ? HUGE_SIZE : LAZY_MIN; /* two of 1 MiB share a large page */
    return vma_place(mm, a->addr, len, align, a->flags, ret);
}

/* A part of a library that others follow. Data comes last and is written at once. */
static bool map_lazy(const struct mm *mm, const struct mm_map_args *a)
{
    return a->file && (a->flags & MAP_DENYWRITE) && (a->flags & MAP_TYPE) == MAP_PRIVATE &&
           !(a->prot & PROT_WRITE) && !(a->flags & (MAP_POPULATE | MAP_LOCKED)) &&
           !mm->lock_future && !mm->deferring && mm->op_count < LAZY_OPS_MAX;
}

static int map_backing(struct mm *mm, struct vma *v, uint64_t addr, uint64_t len, uint32_t flags,
                       bool lazy)
{
    int r = v->file ? file_map_initial(mm, v, addr, addr + len)
                    : map_first_window(mm, v, addr, addr + len);
    if (r == 0 && ((flags & MAP_POPULATE) || (v->flags & VMA_LOCKED)) && v->prot != PROT_NONE)
        (void)populate_range(mm, addr, addr + len, (v->prot & PROT_WRITE) != 0);
    int r2 = lazy && r == 0 ? 0 : ops_run(mm);
    return r < 0 ? r : r2;
}

static int map_insert(struct mm *mm, const struct mm_map_args *a, uint64_t addr, uint64_t len)
{
    bool data = (a->flags & MAP_TYPE) == MAP_PRIVATE && (a->prot & PROT_WRITE);
    struct mm_file *f = NULL;
    int r = mm_may_grow(mm, len, data);
    if (r == 0)
        r = vmas_isolate(mm, addr, addr + len);
    if (r < 0)
        return r;
    if (a->file) {
        f = mm_file_get(mm, a->file);
        if (IS_ERR(f))
            return PTR_ERR(f);
    }
    struct vma *v = vma_new(mm);
    if (!v) {
        if (f)
            mm_file_drop(f);
        return -ENOMEM;
    }
    bool lazy = map_lazy(mm, a) && ops_all_wait(mm, addr, addr + len);
    unmap_range(mm, addr, addr + len);
    v->r.start = addr;
    v->r.end = addr + len;
    v->prot = a->prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
    v->flags = vma_flags(a, mm->lock_future);
    v->file = f;
    v->off = f ? a->offset : 0;
    v->name = a->name;
    vma_insert(mm, v);
    v = vma_merge(mm, v);
    r = map_backing(mm, v, addr, len, a->flags, lazy);
    if (r < 0) {
        (void)vmas_isolate(mm, addr, addr + len);
        unmap_range(mm, addr, addr + len);
        (void)ops_run(mm);
    }
    return r;
}

int64_t mm_mmap(struct mm *mm, const struct mm_map_args *args)
{
    struct mm_map_args a = *args;
    struct mappable *shm = NULL;
    uint64_t len = 0, addr = 0;
    int r = map_check(&a, &len);
    if (r < 0)
        return r;
    if (!a.file && (a.flags & MAP_TYPE) != MAP_PRIVATE) {
        shm = shm_new(len);
        if (IS_ERR(shm))
            return PTR_ERR(shm);
        a.file = shm;
        a.file_writable = true;
        a.offset = 0;
    }
    r = mm_lock_add(mm);
    if (r == 0) {
        r = map_choose(mm, &a, len, &addr);
        if (r == 0)
            r = map_insert(mm, &a, addr, len);
        mm_unlock(mm);
    }
    if (shm)
        shm->ops->put(shm);
    return r < 0 ? r : (int64_t)addr;
}

int mm_munmap(struct mm *mm, uint64_t addr, uint64_t len, struct mm_self *ret_self)
{
    struct seg_summary sum;
    if ((addr & ~PAGE_MASK) || len == 0 || len > g_mm.limits.user_max)
        return -EINVAL;
    len = align_up(len, PAGE_SIZE);
    if (!guest_range_valid(addr, len))
        return -EINVAL;
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = text_yield(mm, addr, addr + len, false);
    if (r == 0)
        r = vmas_isolate(mm, addr, addr + len);
    if (r < 0)
        goto out;
    segs_summary(mm, addr, addr + len, &sum);
    if (ret_self && sum.any_mapped && !sum.any_page && ops_may_self(mm, len)) {
        *ret_self = (struct mm_self){.op = PF_SELF_UNMAP, .addr = addr, .len = len};
        ops_pending(mm, addr, len);
        segs_drop(mm, addr, addr + len);
    }
    unmap_range(mm, addr, addr + len);
    segs_trim(mm, addr, addr + len);
    r = ops_run(mm);
out:
    mm_unlock(mm);
    return r == -ESRCH ? 0 : r;
}
