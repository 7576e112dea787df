/* SPDX-License-Identifier: Apache-2.0
 * rmap.c - from a file to the address spaces that map it, for truncation.
 *
 * Each (address space, file) pair is on the file's list. Truncation takes the pairs one after the
 * other with a reference to the mm, because it must lock the mm, and mappings are registered with
 * that lock held. A pass number marks the pairs already seen.
 * Lock: g_lock, innermost.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "mm_internal.h"

struct mappable_maps {
    struct list_head files; /* struct mm_file */
};

static struct spin g_lock = SPIN_INIT(RANK_LEAF);
static uint64_t g_pass; /* GUARDED_BY(g_lock) */

void mappable_init(struct mappable *m, const struct mappable_ops *ops)
{
    static _Atomic(uint64_t) last;
    m->ops = ops;
    m->id = atomic_fetch_add(&last, 1) + 1;
    m->maps = NULL;
}

void mappable_fini(struct mappable *m)
{
    fwindow_forget(m);
    if (!m->maps)
        return;
    BUG_ON(!list_empty(&m->maps->files));
    free(m->maps);
    m->maps = NULL;
}

int rmap_add(struct mm_file *f)
{
    struct mappable_maps *fresh = NULL;
    if (!__atomic_load_n(&f->m->maps, __ATOMIC_ACQUIRE)) {
        fresh = malloc(sizeof *fresh);
        if (!fresh)
            return -ENOMEM;
        list_init(&fresh->files);
    }
    spin_lock(&g_lock);
    if (!f->m->maps) {
        __atomic_store_n(&f->m->maps, fresh, __ATOMIC_RELEASE);
        fresh = NULL;
    }
    list_add(&f->rmap_link, &f->m->maps->files);
    spin_unlock(&g_lock);
    free(fresh);
    return 0;
}

void rmap_del(struct mm_file *f)
{
    spin_lock(&g_lock);
    list_del(&f->rmap_link);
    spin_unlock(&g_lock);
}

uint64_t mappable_map_count(struct mappable *m)
{
    struct mm_file *f;
    uint64_t n = 0;
    if (!__atomic_load_n(&m->maps, __ATOMIC_ACQUIRE))
        return 0;
    spin_lock(&g_lock);
    list_for_each_entry (f, &m->maps->files, rmap_link)
        n += __atomic_load_n(&f->vmas, __ATOMIC_RELAXED);
    spin_unlock(&g_lock);
    return n;
}

static struct mm *next_mm(struct mappable *m, uint64_t pass)
{
    struct mm_file *f;
    struct mm *mm = NULL;
    spin_lock(&g_lock);
    list_for_each_entry (f, &m->maps->files, rmap_link) {
        if (f->visited == pass)
            continue;
        f->visited = pass;
        if (refcount_get_unless_zero(&f->mm->ref)) {
            mm = f->mm;
            break;
        }
    }
    spin_unlock(&g_lock);
    return mm;
}

static void truncate_mm(struct mm *mm, struct mappable *m, uint64_t size)
{
    uint64_t from = align_up(size, PAGE_SIZE);
    if (mm_lock_change(mm) < 0)
        return;
    for (struct vma *v = vma_of(rtree_first(&mm->vmas)); v; v = vma_next(v)) {
        struct seg_summary sum;
        if (!v->file || v->file->m != m)
            continue;
        uint64_t len = v->r.end - v->r.start;
        uint64_t skip = from > v->off ? from - v->off : 0;
        if (skip >= len || mm_spares_fill(mm) < 0)
            continue;
        uint64_t a = v->r.start + skip;
        segs_summary(mm, a, v->r.end, &sum);
        if (sum.any_mapped)
            ops_add(mm, PF_UNMAP, a, v->r.end - a, 0, 0);
        segs_drop(mm, a, v->r.end);
    }
    (void)ops_force(mm); /* pages are freed when we return: no deferring */
    mm_unlock(mm);
}

void mappable_truncated(struct mappable *m, uint64_t size)
{
    struct mm *mm;
    if (!__atomic_load_n(&m->maps, __ATOMIC_ACQUIRE))
        return;
    spin_lock(&g_lock);
    uint64_t pass = ++g_pass;
    spin_unlock(&g_lock);
    while ((mm = next_mm(m, pass))) {
        truncate_mm(mm, m, size);
        mm_put(mm);
    }
}
