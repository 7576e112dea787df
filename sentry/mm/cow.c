/* SPDX-License-Identifier: Apache-2.0
 * cow.c - first write to memory that is shared after fork, or to a private file mapping.
 *
 * The last owner takes the memory over as it is, as far as it is the last owner. Others copy a
 * block into the seg's shadow range: same layout, so blocks copied one after the other lie next to
 * each other in the file and the host keeps one mapping. Blocks start at 4 KiB and double to 2 MiB
 * while writes come near each other; where scattered writes have become many for the size of the
 * VMA or of one 2 MiB block, the rest follows at once, since a break costs as much as copying a
 * dozen pages; a process with many host mappings gets larger ones, so that the host's limit is not
 * reached. Copies read guest memory: bytes may change meanwhile, which is
 * the guest's own race.
 */
#include <signal.h>

#include "mm_internal.h"

uint64_t cow_min_block(const struct mm *mm)
{
    if (mm->segs.count > HOST_MAPS_MAX / 2)
        return HUGE_SIZE;
    return mm->segs.count > HOST_MAPS_MAX / 4 ? WINDOW_MIN : PAGE_SIZE;
}

static int bus_error(struct fault_info *fi)
{
    *fi = (struct fault_info){SIGBUS, BUS_ADRERR};
    return -EFAULT;
}

/* Writing to a shared file mapping: ask the file. */
static int break_shared(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr,
                        struct fault_info *fi)
{
    bool mapped = s->hprot >= 0;
    uint64_t page = align_down(addr, PAGE_SIZE), a = page, b = page + PAGE_SIZE;
    if (s->kind == SEG_FD) {
        int slot = mm_file_slot(s->file, true);
        if (slot < 0)
            return bus_error(fi);
        a = MAX(s->r.start, v->r.start);
        b = MIN(s->r.end, v->r.end);
    }
    s = seg_cut(mm, s, a, b);
    if (!s)
        return -ENOMEM;
    if (s->kind == SEG_PAGE) {
        uint64_t off, count = 1;
        int r = s->file->m->ops->page(s->file->m, vma_file_off(v, page) >> PAGE_SHIFT, true, &off,
                                      &count);
        if (r < 0)
            return r == -ENOMEM ? r : bus_error(fi);
        s->off = off;
    }
    s->cow = false;
    s->hprot = -1;
    if (mapped) {
        s->hprot = (int8_t)seg_wanted_prot(v, s);
        ops_map(mm, s, a, b, s->hprot, s->kind == SEG_PAGE);
    }
    return 0;
}

/* Nobody else has [addr's page ...): as far as that is so, the memory becomes ours. */
static int take_over(struct mm *mm, struct vma *v, struct seg *s, uint64_t a, uint64_t b)
{
    s = seg_cut(mm, s, a, b);
    if (!s)
        return -ENOMEM;
    if (s->shadow != NO_OFF) {
        memref_release(s->shadow, b - a);
        mm->reserved -= MIN(mm->reserved, b - a);
        s->shadow = NO_OFF;
    }
    s->cow = false;
    if (s->hprot >= 0) {
        s->hprot = (int8_t)seg_wanted_prot(v, s);
        ops_add(mm, PF_PROTECT, a, b - a, s->hprot, 0);
    }
    segs_merge(mm, a, b);
    return 0;
}

#define BREAKS_MANY 8u     /* in one 2 MiB block: all of it is copied */
#define BREAKS_PER_HUGE 4u /* the same on average over the VMA */

/* Pieces of the 2 MiB around @addr that have been copied already. */
static unsigned broken_around(struct mm *mm, const struct vma *v, uint64_t addr)
{
    uint64_t a = MAX(align_down(addr, HUGE_SIZE), v->r.start);
    uint64_t b = MIN(align_down(addr, HUGE_SIZE) + HUGE_SIZE, v->r.end);
    unsigned n = 0;
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b && n < BREAKS_MANY; s = seg_next(s))
        n += s->kind == SEG_MEM && !s->cow && !s->fresh;
    return n;
}

/* Block for a write that is near no other. */
static uint64_t scattered_size(struct mm *mm, struct vma *v, uint64_t addr)
{
    uint64_t blocks = (v->r.end - v->r.start + HUGE_SIZE - 1) / HUGE_SIZE;
    uint64_t n = ++v->cow_breaks;
    if (broken_around(mm, v, addr) >= BREAKS_MANY ||
        (n >= 2 * BREAKS_MANY && n >= BREAKS_PER_HUGE * blocks))
        return HUGE_SIZE;
    return n >= BREAKS_MANY && n >= blocks ? WINDOW_MIN : PAGE_SIZE;
}

static void block_choose(struct mm *mm, struct vma *v, const struct seg *s, uint64_t addr,
                         uint64_t *ret_a, uint64_t *ret_b)
{
    uint64_t size = v->cow_size;
    bool near = size && addr + 2 * size >= v->cow_next - size && addr < v->cow_next + 2 * size;
    size = near ? MIN(size * 2, HUGE_SIZE) : scattered_size(mm, v, addr);
    size = MAX(size, cow_min_block(mm));
    if (mm_pressure())
        size = PAGE_SIZE;
    uint64_t lo = MAX(s->r.start, v->r.start), hi = MIN(s->r.end, v->r.end);
    uint64_t a = align_down(addr, size);
    *ret_a = MAX(a, lo);
    *ret_b = MIN(a + size, hi);
    v->cow_next = *ret_b;
    v->cow_size = size;
}

static int copy_block(struct mm *mm, struct vma *v, const struct seg *s, uint64_t a, uint64_t b,
                      uint64_t dst)
{
    const bool file =
        s->kind == SEG_FD || text_seg_is_image(mm, s, a); /* text: as the file has it */
    uint64_t src = s->off + (a - s->r.start), len = b - a;
    bool huge = len == HUGE_SIZE && !(dst & (HUGE_SIZE - 1)) && !(v->flags & VMA_NOHUGE);
    if (!file) {
        present_want(src, len);
        if (!huge)
            return memfile_write(g_mm.mf, dst, memfile_ptr(g_mm.mf, src), len);
    }
    int r = huge ? memfile_populate_huge(g_mm.mf, dst) : memfile_populate(g_mm.mf, dst, len);
    if (r < 0)
        return -ENOMEM;
    if (file)
        return file_read(v->file->m, vma_file_off(v, a), memfile_ptr(g_mm.mf, dst), len);
    return ua_copy(memfile_ptr(g_mm.mf, dst), memfile_ptr(g_mm.mf, src), len) ? -ENOMEM : 0;
}

static int shadow_alloc(struct mm *mm, struct seg *s)
{
    uint64_t off, len = s->r.end - s->r.start;
    if (s->shadow != NO_OFF)
        return 0;
    if (memfile_alloc(g_mm.mf, len, s->r.start & (HUGE_SIZE - 1), &off) < 0)
        return -ENOMEM;
    s->shadow = off;
    mm->reserved += len;
    return 0;
}

static int copy_to_shadow(struct mm *mm, struct vma *v, struct seg *s, uint64_t a, uint64_t b,
                          bool map)
{
    bool whole = shadow_alloc(mm, s) == 0;
    s = seg_cut(mm, s, a, b);
    if (!s || (!whole && shadow_alloc(mm, s) < 0))
        return -ENOMEM;
    int r = copy_block(mm, v, s, a, b, s->shadow);
    if (r < 0)
        return r;
    if (s->kind == SEG_MEM) {
        mm->reserved -= MIN(mm->reserved, b - a);
        ops_dying(mm, s->off, b - a);
    }
    bool mapped = s->hprot >= 0;
    s->kind = SEG_MEM;
    s->off = s->shadow;
    s->shadow = NO_OFF;
    s->file = NULL;
    s->cow = false;
    s->hprot = -1;
    if (mapped || map) {
        s->hprot = (int8_t)seg_wanted_prot(v, s);
        if (s->hprot > 0) {
            ops_map(mm, s, a, b, s->hprot, true);
        } else { /* written by force behind PROT_NONE */
            ops_add(mm, PF_UNMAP, a, b - a, 0, 0);
            s->hprot = -1;
        }
    }
    segs_merge(mm, a, b);
    return 0;
}

int seg_break(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr, bool map,
              struct fault_info *fi)
{
    uint64_t page = align_down(addr, PAGE_SIZE), a, b, run;
    if (v->flags & VMA_SHARED)
        return break_shared(mm, v, s, addr, fi);
    if (s->kind == SEG_MEM) {
        uint64_t max = MIN(s->r.end, v->r.end) - page;
        if (!memref_shared(s->off + (page - s->r.start), max, &run) &&
            !text_seg_is_image(mm, s, page))
            return take_over(mm, v, s, page, page + run);
    } else if (file_past_end(s->file->m, vma_file_off(v, page))) {
        return bus_error(fi);
    }
    block_choose(mm, v, s, addr, &a, &b);
    int r = copy_to_shadow(mm, v, s, a, b, map);
    return r == -EIO ? bus_error(fi) : r;
}
