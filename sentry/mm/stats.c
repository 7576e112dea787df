/* SPDX-License-Identifier: Apache-2.0
 * stats.c - what /proc tells about an address space, and mincore.
 *
 * Residency is asked from the host (mincore on the Sentry's mapping of the memory file), so it is
 * exact for memory-file pages; the result is kept for RSS_CACHE_NS since a scan costs a byte a
 * page. Pages of files mapped from descriptors are the host's page cache and count as not resident.
 * Host: mincore [sentry-run]
 */
#include <string.h>
#include <time.h>

#include "mm_internal.h"

#define RSS_CACHE_NS 200000000LL
#define SCAN_PAGES 4096u

/* Host residency of a memory-file range: one byte a page. */
static void scan(uint64_t off, size_t pages, unsigned char *vec)
{
    if (mincore(memfile_ptr(g_mm.mf, off), pages << PAGE_SHIFT, vec) < 0)
        memset(vec, 0, pages);
}

static uint64_t resident_pages(uint64_t off, uint64_t len)
{
    unsigned char vec[SCAN_PAGES];
    uint64_t sum = 0;
    while (len) {
        size_t pages = MIN(len >> PAGE_SHIFT, (uint64_t)SCAN_PAGES);
        scan(off, pages, vec);
        for (size_t i = 0; i < pages; i++)
            sum += vec[i] & 1;
        off += pages << PAGE_SHIFT;
        len -= pages << PAGE_SHIFT;
    }
    return sum;
}

static uint64_t seg_resident(const struct seg *s, uint64_t a, uint64_t b)
{
    if (s->kind == SEG_FD || s->fresh || a >= b)
        return 0;
    return resident_pages(s->off + (a - s->r.start), b - a) << PAGE_SHIFT;
}

static void rss_update(struct mm *mm)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    if (mm->rss_time_ns && now - mm->rss_time_ns < RSS_CACHE_NS)
        return;
    mm->rss_time_ns = now;
    mm->rss_cached = mm->rss_file_cached = 0;
    for (struct seg *s = seg_of(rtree_first(&mm->segs)); s; s = seg_next(s)) {
        uint64_t bytes = seg_resident(s, s->r.start, s->r.end);
        mm->rss_cached += bytes;
        if (s->kind == SEG_PAGE)
            mm->rss_file_cached += bytes;
    }
    mm->peak_rss = MAX(mm->peak_rss, mm->rss_cached);
}

void mm_stats_get(struct mm *mm, struct mm_stats *ret)
{
    memset(ret, 0, sizeof *ret);
    mm_lock(mm);
    rss_update(mm);
    ret->vsize = mm->vsize;
    ret->data = mm->data_size;
    ret->locked = mm->locked;
    ret->rss = mm->rss_cached;
    ret->rss_file = mm->rss_file_cached;
    ret->peak_rss = mm->peak_rss;
    ret->minflt = mm->minflt;
    ret->majflt = mm->majflt;
    for (struct vma *v = vma_of(rtree_first(&mm->vmas)); v; v = vma_next(v)) {
        uint64_t len = v->r.end - v->r.start;
        if (v->flags & VMA_GROWSDOWN)
            ret->stack += len;
        if ((v->prot & PROT_EXEC) && !(v->flags & VMA_HIDDEN))
            ret->text += len;
    }
    mm_unlock(mm);
}

/* The vDSO lies beyond what guests map. */
static bool region_vdso(uint64_t addr, struct mm_region *ret)
{
    const struct pf_limits *l = &g_mm.limits;
    if (addr >= l->vdso_end)
        return false;
    bool data = addr < l->vdso;
    *ret = (struct mm_region){.start = data ? l->vdso_data : l->vdso,
                              .end = data ? l->vdso : l->vdso_end,
                              .prot = data ? PROT_READ : PROT_READ | PROT_EXEC,
                              .flags = MAP_PRIVATE};
    strcpy(ret->name, data ? "[vvar]" : "[vdso]");
    return true;
}

bool mm_region_next(struct mm *mm, uint64_t addr, struct mm_region *ret)
{
    memset(ret, 0, sizeof *ret);
    mm_lock(mm);
    struct vma *v = vma_find(mm, addr);
    while (v && (v->flags & VMA_HIDDEN))
        v = vma_next(v);
    if (v) {
        ret->start = v->r.start;
        ret->end = v->r.end;
        ret->prot = v->prot;
        ret->flags = v->flags & VMA_SHARED ? MAP_SHARED : MAP_PRIVATE;
        ret->offset = v->file ? v->off : 0;
        if (v->file)
            v->file->m->ops->describe(v->file->m, ret->name, sizeof ret->name, &ret->dev,
                                      &ret->ino);
        else if (v->name)
            memcpy(ret->name, v->name, MIN(strlen(v->name), sizeof ret->name - 1));
        struct seg *s = seg_find(mm, v->r.start);
        for (; s && s->r.start < v->r.end; s = seg_next(s))
            ret->rss += seg_resident(s, MAX(s->r.start, v->r.start), MIN(s->r.end, v->r.end));
    }
    mm_unlock(mm);
    return v || region_vdso(addr, ret);
}

/* Residency of up to SCAN_PAGES pages from @addr; -ENOMEM: not mapped. */
static int mincore_piece(struct mm *mm, uint64_t addr, size_t pages, unsigned char *vec)
{
    uint64_t end = addr + (pages << PAGE_SHIFT);
    if (!vmas_cover(mm, addr, end))
        return -ENOMEM;
    memset(vec, 0, pages);
    for (struct seg *s = seg_find(mm, addr); s && s->r.start < end; s = seg_next(s)) {
        uint64_t a = MAX(addr, s->r.start), b = MIN(end, s->r.end);
        unsigned char *at = vec + ((a - addr) >> PAGE_SHIFT);
        if (s->kind == SEG_FD)
            memset(at, 1, (b - a) >> PAGE_SHIFT);
        else if (!s->fresh)
            scan(s->off + (a - s->r.start), (b - a) >> PAGE_SHIFT, at);
    }
    for (size_t i = 0; i < pages; i++)
        vec[i] &= 1;
    return 0;
}

int mm_mincore(struct mm *mm, uint64_t addr, uint64_t len, uaddr_t out)
{
    unsigned char vec[SCAN_PAGES];
    if (addr & ~PAGE_MASK)
        return -EINVAL;
    if (len > g_mm.limits.user_max || !guest_range_valid(addr, align_up(len, PAGE_SIZE)))
        return -ENOMEM;
    size_t left = align_up(len, PAGE_SIZE) >> PAGE_SHIFT;
    while (left) {
        size_t pages = MIN(left, (size_t)SCAN_PAGES);
        mm_lock(mm);
        int r = mincore_piece(mm, addr, pages, vec);
        mm_unlock(mm);
        if (r == 0)
            r = copy_out(mm, out, vec, pages);
        if (r < 0)
            return r;
        addr += pages << PAGE_SHIFT;
        out = uaddr_add(out, pages);
        left -= pages;
    }
    return 0;
}
