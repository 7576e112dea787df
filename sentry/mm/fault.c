/* SPDX-License-Identifier: Apache-2.0
 * fault.c - a guest touched an address: give it memory, or say which signal it gets.
 *
 * Memory arrives in windows. A touch just behind (or before) a mapped run gets a window as long as
 * the run, between 64 KiB and 2 MiB (4 MiB in long runs): dense access doubles, and at most twice
 * the memory touched is committed. Aligned 2 MiB windows ask for huge pages. A touch away from any
 * run starts an island of 64 KiB; a VMA that collects many islands is being accessed in a scattered
 * way: all that has a range of the file is mapped but not populated, and host faults do the rest, at
 * the native price.
 *
 * A fault on a page that is mapped as it should be is another thread's that came first, a late
 * self-unmap (ops.c), or the memory limit: the first one just retries, the next repairs.
 */
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include <base/count.h>
#include <base/fiber.h>

#include "mm_internal.h"

#define PRESSURE_LOOK_NS 1000000

/* Asking the host costs as much as a page. While more than half is free, an answer holds for a
 * millisecond. */
bool mm_pressure(void)
{
    static _Atomic(int64_t) good_until;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now = ts.tv_sec * 1000000000LL + ts.tv_nsec;
    if (now < atomic_load_explicit(&good_until, memory_order_relaxed))
        return false;
    uint64_t limit = memfile_limit(g_mm.mf), used = memfile_used(g_mm.mf);
    if (used < limit / 2)
        atomic_store_explicit(&good_until, now + PRESSURE_LOOK_NS, memory_order_relaxed);
    if (used <= limit - limit / 8)
        return false;
    pool_drain();
    return true;
}

bool vma_allows(const struct vma *v, uint32_t access)
{
    if ((access & PF_ACCESS_WRITE) && !(v->prot & PROT_WRITE))
        return false;
    if ((access & PF_ACCESS_EXEC) && !(v->prot & PROT_EXEC))
        return false;
    return (v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) != 0;
}

struct vma *vma_fault_find(struct mm *mm, uint64_t addr)
{
    struct vma *v = vma_find(mm, addr);
    if (!v || v->r.start <= addr)
        return v;
    if (!(v->flags & VMA_GROWSDOWN) || addr < g_mm.limits.user_min)
        return NULL;
    uint64_t limit = MIN(mm->stack_limit, mm->limits.stack);
    struct vma *p = vma_prev(v);
    uint64_t floor = p ? p->r.end : g_mm.limits.user_min;
    uint64_t start = align_down(addr, WINDOW_MIN);
    if (v->r.end - start > limit || start < floor || start - floor < STACK_GUARD)
        start = align_down(addr, PAGE_SIZE);
    if (v->r.end - start > limit || start < floor || start - floor < STACK_GUARD ||
        mm_may_grow(mm, v->r.start - start, false) < 0)
        return NULL;
    vma_account(mm, v, -1);
    rtree_resize(&v->r, start, v->r.end);
    vma_account(mm, v, 1);
    return v;
}

int seg_ensure(struct mm *mm, struct vma *v, uint64_t addr, bool write, bool map, struct seg **ret,
               struct fault_info *fi)
{
    for (int tries = 0; tries < 4; tries++) {
        struct seg *s = seg_at(mm, addr);
        int r = 0;
        if (!s)
            r = v->file ? file_backing(mm, v, addr, write, &s, fi) : seg_reserve(mm, v, addr, &s);
        if (r < 0)
            return r;
        if (!write || !s->cow) {
            *ret = s;
            return 0;
        }
        r = seg_break(mm, v, s, addr, map, fi);
        if (r < 0)
            return r;
    }
    return -ENOMEM;
}

struct window {
    uint64_t a, b;
    bool populate, huge;
};

static uint64_t window_size(uint64_t run)
{
    if (run >= 8 * WINDOW_LONG)
        return WINDOW_LONG;
    if (run < WINDOW_MIN)
        return WINDOW_MIN;
    return MIN(run, WINDOW_MAX);
}

/* @s is unmapped memory around @addr. */
static struct window window_choose(struct vma *v, struct seg *s, uint64_t addr)
{
    uint64_t page = align_down(addr, PAGE_SIZE);
    uint64_t lo = MAX(s->r.start, v->r.start), hi = MIN(s->r.end, v->r.end);
    struct seg *p = seg_prev(s), *n = seg_next(s);
    struct window w = {.a = page, .b = page + PAGE_SIZE, .populate = true};
    if (mm_pressure())
        return w;
    if (v->islands >= ISLANDS_MAX) {
        w.a = lo;
        w.b = hi;
        w.populate = false;
    } else if (p && p->hprot >= 0 && p->r.end == lo && page - lo < WINDOW_NEAR) {
        uint64_t size = window_size(p->r.end - p->r.start);
        w.a = lo;
        /* Up to the next block of 2 MiB, then whole ones: a large page costs as much as 24 small. */
        if (size >= HUGE_SIZE / 2 && !(lo & (HUGE_SIZE - 1)))
            size = MAX(size, HUGE_SIZE);
        w.b = lo + size;
        if (lo & (HUGE_SIZE - 1))
            w.b = MIN(w.b, align_up(lo, HUGE_SIZE));
        v->islands -= MIN(v->islands, 2u);
    } else if (n && n->hprot >= 0 && n->r.start == hi && hi - page <= WINDOW_MIN) {
        uint64_t size = window_size(n->r.end - n->r.start);
        w.b = hi;
        w.a = hi - MIN(size, hi - lo);
        v->islands -= MIN(v->islands, 2u);
    } else if (page == lo) {
        w.b = page + WINDOW_FIRST;
        v->islands++;
    } else {
        w.a = align_down(addr, WINDOW_MIN);
        w.b = w.a + WINDOW_MIN;
        v->islands++;
    }
    w.a = MAX(w.a, lo);
    /* Ends where a regular stride does not land: it would look dense. */
    if (w.populate && w.b < hi && (w.b & (HUGE_SIZE - 1)) && page + WINDOW_TRIM < w.b)
        w.b -= WINDOW_TRIM;
    w.b = MIN(w.b, hi);
    w.b = MAX(w.b, page + PAGE_SIZE);
    w.huge = w.populate && w.b - w.a >= HUGE_SIZE && !((w.a | w.b) & (HUGE_SIZE - 1)) &&
             !(v->flags & VMA_NOHUGE);
    return w;
}

static int map_window(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr)
{
    struct window w = window_choose(v, s, addr);
    int prot = seg_wanted_prot(v, s);
    uint64_t page = align_down(addr, PAGE_SIZE);
    int r = map_range(mm, v, w.a, w.b, false, w.populate && !w.huge);
    if (r < 0)
        return r;
    count_add(COUNT_windows, 1);
    if (w.huge) {
        ops_add(mm, PF_ADVISE, w.a, w.b - w.a, 0, MADV_HUGEPAGE);
        ops_add(mm, PF_POPULATE, w.a, w.b - w.a, prot, 0);
    } else if (!w.populate) {
        ops_add(mm, PF_POPULATE, page, PAGE_SIZE, prot, 0);
    }
    return 0;
}

/* All of a file that lies in a row comes with its first touch: text, then data, as libraries do. */
static int map_file_row(struct mm *mm, struct vma *v)
{
    struct vma *first = v, *p;
    int r = 0;
    for (int i = 0; i < 4 && (p = vma_prev(first)) && p->file == v->file; i++)
        first = p;
    for (int i = 0; i < 8 && r == 0 && first && first->file == v->file; i++) {
        r = map_range(mm, first, first->r.start, first->r.end, false, false);
        first = vma_next(first);
    }
    return r;
}

int map_for_fault(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr)
{
    uint64_t a = MAX(s->r.start, v->r.start), b = MIN(s->r.end, v->r.end);
    int prot = seg_wanted_prot(v, s);
    if (s->hprot == prot)
        return 0;
    if (s->hprot >= 0)
        return map_range(mm, v, a, b, false, false);
    if (s->kind == SEG_FD)
        return map_file_row(mm, v);
    if (s->kind == SEG_PAGE)
        return map_range(mm, v, a, b, false, true);
    if (!s->cow)
        return map_window(mm, v, s, addr);
    int r = map_range(mm, v, a, b, false, false);
    uint64_t from = MAX(align_down(addr, WINDOW_MIN), a);
    uint64_t to = MIN(align_down(addr, WINDOW_MIN) + WINDOW_MIN, b);
    ops_add(mm, PF_POPULATE, from, to - from, prot, 0);
    return r;
}

/* 2 MiB pages where [a, b) fills a good part of one that is all @s and holds nothing yet. */
static void fill_huge(const struct vma *v, const struct seg *s, uint64_t a, uint64_t b)
{
    if ((v->flags & VMA_NOHUGE) || ((s->off - s->r.start) & (HUGE_SIZE - 1)))
        return;
    for (uint64_t at = align_down(a, HUGE_SIZE); at < b; at += HUGE_SIZE) {
        uint64_t part = MIN(b, at + HUGE_SIZE) - MAX(a, at);
        if (part >= DENSE_MIN && at >= s->r.start && at + HUGE_SIZE <= s->r.end)
            (void)memfile_populate_huge(g_mm.mf, s->off + (at - s->r.start));
    }
}

int map_for_copy(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr, uint64_t len)
{
    uint64_t lo = MAX(s->r.start, v->r.start), hi = MIN(s->r.end, v->r.end);
    uint64_t a = MAX(align_down(addr, PAGE_SIZE), lo);
    uint64_t b = MIN(align_up(addr + MIN(len, POPULATE_PIECE), PAGE_SIZE), hi);
    if (b - a <= WINDOW_MIN || s->hprot >= 0 || s->cow || mm_pressure() || !(v->prot & PROT_WRITE))
        return map_for_fault(mm, v, s, addr);
    fill_huge(v, s, a, b);
    present_want(s->off + (a - s->r.start), b - a); /* then the guest's side is cheap */
    return map_range(mm, v, a, b, false, true);
}

static int fault_repair(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr,
                        struct fault_info *fi)
{
    uint64_t page = align_down(addr, PAGE_SIZE);
    if (s->kind == SEG_FD || s->kind == SEG_PAGE) {
        if (file_past_end(s->file->m, vma_file_off(v, page))) {
            *fi = (struct fault_info){SIGBUS, BUS_ADRERR};
            return -EFAULT;
        }
    } else if (memfile_populate(g_mm.mf, s->off + (page - s->r.start), PAGE_SIZE) < 0) {
        return -ENOMEM;
    }
    if (mm->spurious_page != page) {
        mm->spurious_page = page;
        mm->spurious_count = 0;
        return 0;
    }
    if (++mm->spurious_count > 64) {
        *fi = (struct fault_info){SIGSEGV, SEGV_ACCERR};
        return -EFAULT;
    }
    uint64_t lo = MAX(s->r.start, v->r.start), hi = MIN(s->r.end, v->r.end);
    uint64_t a = align_down(addr, WINDOW_MIN);
    ops_map(mm, s, MAX(a, lo), MIN(a + WINDOW_MIN, hi), seg_wanted_prot(v, s), false);
    return 0;
}

static int fault_locked(struct mm *mm, uint64_t addr, uint32_t access, struct fault_info *fi)
{
    bool write = (access & PF_ACCESS_WRITE) != 0;
    struct seg *s;
    struct vma *v = addr < g_mm.limits.user_max ? vma_fault_find(mm, addr) : NULL;
    if (!v) {
        *fi = (struct fault_info){SIGSEGV, SEGV_MAPERR};
        return -EFAULT;
    }
    if (!vma_allows(v, access)) {
        *fi = (struct fault_info){SIGSEGV, SEGV_ACCERR};
        return -EFAULT;
    }
    s = seg_at(mm, addr);
    if (s && !(write && s->cow) && s->hprot == seg_wanted_prot(v, s))
        return fault_repair(mm, v, s, addr, fi);
    mm->minflt++;
    if (mm->sparse)
        mm_hot_touched(mm, v);
    bool copied = s && write && s->cow && s->kind == SEG_MEM;
    int r = seg_ensure(mm, v, addr, write, true, &s, fi);
    if (r < 0)
        return r;
    if (copied && !(v->flags & VMA_SHARED) && v->cow_size <= HOT_RUN_MAX)
        mm_hot_note(mm, addr);
    return map_for_fault(mm, v, s, addr);
}

/* A memory file without a limit of its own: here is where it is enforced. */
static bool over_limit(void)
{
    return !memfile_limit_is_hard(g_mm.mf) && memfile_used(g_mm.mf) > memfile_limit(g_mm.mf);
}

/* The operations that have just been run have mapped it. */
static bool fault_is_lazy(struct mm *mm, uint64_t addr, uint32_t access)
{
    struct vma *v = vma_at(mm, addr);
    struct seg *s = seg_at(mm, addr);
    return v && s && vma_allows(v, access) && !((access & PF_ACCESS_WRITE) && s->cow) &&
           s->hprot == seg_wanted_prot(v, s);
}

int mm_fault(struct mm *mm, uint64_t addr, uint32_t access, uint64_t sp, int *ret_signo,
             int *ret_code)
{
    struct fault_info fi = {SIGSEGV, SEGV_MAPERR};
    (void)sp; /* Linux no longer compares it when a stack grows */
    int r = mm_lock_change(mm);
    if (r < 0)
        return r == -ESRCH ? 0 : r; /* dead: its event comes */
    r = over_limit()                                       ? -ENOMEM
        : mm->lazy_done && fault_is_lazy(mm, addr, access) ? 0
                                                           : fault_locked(mm, addr, access, &fi);
    int r2 = ops_run(mm);
    mm_unlock(mm);
    if (r == 0)
        r = r2 == -ESRCH ? 0 : r2;
    if (r == -ENOMEM && mm_later_run())
        return 0; /* that memory was not lost: try again */
    if (r == -EFAULT) {
        *ret_signo = fi.signo;
        *ret_code = fi.code;
    } else if (r < 0) {
        r = -ENOMEM;
    }
    return r;
}

static int populate_vma(struct mm *mm, struct vma *v, uint64_t a, uint64_t b, bool write)
{
    struct fault_info fi;
    struct seg *s;
    int r = 0;
    write = write && (v->prot & PROT_WRITE);
    for (uint64_t at = a; at < b && r == 0;) {
        if (mm_spares_fill(mm) < 0)
            return -ENOMEM;
        r = seg_ensure(mm, v, at, write, true, &s, &fi);
        if (r < 0)
            break;
        uint64_t end = MIN(s->r.end, b);
        if (s->hprot == seg_wanted_prot(v, s))
            ops_add(mm, PF_POPULATE, at, end - at, s->hprot, 0);
        else
            r = map_range(mm, v, at, end, false, true);
        at = end;
    }
    return r;
}

int populate_range(struct mm *mm, uint64_t a, uint64_t b, bool write)
{
    while (a < b) {
        struct vma *v = vma_at(mm, a);
        if (!v)
            return -ENOMEM;
        uint64_t end = MIN(b, a + POPULATE_PIECE);
        end = MIN(end, v->r.end);
        if (!(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
            return -EFAULT;
        int r = populate_vma(mm, v, a, end, write);
        int r2 = end < b ? ops_run(mm) : 0;
        if (r < 0 || r2 < 0)
            return r < 0 ? r : r2;
        a = end;
        if (a < b && fiber_sched_self())
            fiber_yield(); /* the mm stays locked: trees do not change */
    }
    return 0;
}
