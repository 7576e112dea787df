/* SPDX-License-Identifier: Apache-2.0
 * fork.c - a copy of an address space.
 *
 * VMAs are copied; private memory becomes shared and copy-on-write in both (cow.c). The parent gets
 * one list that takes its rights to write; the child's mappings go on its first list. Memory never
 * touched is not shared, so later first touches copy nothing. Files: the child maps them at the
 * first touch, unless there are only a few.
 * Lock: the parent's; the child is not visible to anybody yet.
 */
#include <string.h>

#include "mm_internal.h"

#define EAGER_FILES 4u /* descriptors donated to the child at once */
#define POPULATE_SEG (128ULL << 10)
#define POPULATE_BUDGET (1ULL << 20)

struct fork_state {
    struct mm *parent, *child;
    bool map_files;
    bool copy_hot; /* nobody but the caller can write to the parent's memory */
    uint64_t populate_left;
};

static int fork_private(struct fork_state *f, struct seg *s, struct seg *c)
{
    uint64_t len = s->r.end - s->r.start;
    if (s->kind != SEG_MEM)
        return 0; /* read-only and copied on write already */
    int r = memref_share(s->off, len);
    if (r < 0)
        return r;
    f->child->reserved += len;
    s->cow = c->cow = true;
    if (s->hprot >= 0 && (s->hprot & PROT_WRITE)) {
        s->hprot = (int8_t)(s->hprot & ~PROT_WRITE);
        ops_add(f->parent, PF_PROTECT, s->r.start, len, s->hprot, 0);
    }
    return 0;
}

static int fork_seg(struct fork_state *f, struct vma *v, struct vma *cv, struct seg *s)
{
    struct seg *c = seg_new(f->child);
    if (!c)
        return -ENOMEM;
    *c = *s;
    c->hprot = -1;
    c->shadow = NO_OFF;
    c->file = s->file ? cv->file : NULL;
    if (!(v->flags & VMA_SHARED)) {
        int r = fork_private(f, s, c);
        if (r < 0) {
            seg_insert(f->child, c);
            seg_remove(f->child, c);
            return r;
        }
    }
    seg_insert(f->child, c);
    int prot = seg_wanted_prot(cv, c);
    if (s->hprot <= 0 || prot == 0 || (c->kind == SEG_FD && !f->map_files))
        return 0;
    uint64_t len = c->r.end - c->r.start;
    bool populate = c->kind != SEG_FD && len <= POPULATE_SEG && len <= f->populate_left;
    if (populate)
        f->populate_left -= len;
    return map_range(f->child, cv, c->r.start, c->r.end, false, populate);
}

/* Where the piece of a seg that starts at @at must end: a hot page is a piece of its own. */
static uint64_t piece_end(const struct mm *mm, uint64_t at, uint64_t end, bool *ret_hot)
{
    *ret_hot = false;
    for (unsigned i = 0; i < HOT_PAGES; i++) {
        uint64_t h = mm->hot[i];
        if (h == at && h) {
            *ret_hot = true;
            return MIN(end, at + PAGE_SIZE);
        }
        if (h > at)
            end = MIN(end, h);
    }
    return end;
}

/* A page that both will write at once: the child gets its own, the parent keeps its rights. Only
 * with one task: another one could write this page after it is copied and then a later page, and
 * the child would see the second write without the first. Lists that thread libraries mend in the
 * child count on that order. Pages that lose their rights keep it: who writes one waits for us. */
static int fork_hot(struct fork_state *f, struct vma *cv, const struct seg *s)
{
    uint64_t len = s->r.end - s->r.start;
    struct seg *c;
    int r = seg_alloc(f->child, s->r.start, s->r.end, &c);
    if (r < 0)
        return r;
    c->fresh = false;
    if (memfile_populate(g_mm.mf, c->off, len) < 0)
        return -ENOMEM;
    present_want(s->off, len);
    if (ua_copy(memfile_ptr(g_mm.mf, c->off), memfile_ptr(g_mm.mf, s->off), len))
        return -ENOMEM;
    return map_range(f->child, cv, c->r.start, c->r.end, false, true);
}

static int fork_vma(struct fork_state *f, struct vma *v)
{
    if (v->flags & VMA_DONTFORK)
        return 0;
    struct vma *cv = vma_new(f->child);
    if (!cv)
        return -ENOMEM;
    uint64_t a = v->r.start, b = v->r.end;
    v->cow_breaks = 0;
    *cv = *v;
    cv->flags &= ~VMA_LOCKED;
    if (v->file) {
        cv->file = mm_file_get(f->child, v->file->m);
        if (IS_ERR(cv->file)) {
            cv->file = NULL;
            vma_insert(f->child, cv);
            return -ENOMEM;
        }
    }
    vma_insert(f->child, cv);
    if (v->flags & VMA_WIPEONFORK)
        return 0;
    struct seg *s = seg_find(f->parent, a);
    while (s && s->r.start < b) {
        if (mm_spares_fill(f->parent) < 0 || mm_spares_fill(f->child) < 0)
            return -ENOMEM;
        uint64_t at = MAX(a, s->r.start);
        bool hot;
        uint64_t end = piece_end(f->parent, at, MIN(b, s->r.end), &hot);
        s = seg_cut(f->parent, s, at, end);
        if (!s)
            return -ENOMEM;
        hot = hot && f->copy_hot && s->kind == SEG_MEM && !s->cow && (s->hprot & PROT_WRITE) &&
              s->hprot > 0 && !(v->flags & VMA_SHARED);
        int r = s->fresh ? 0 : hot ? fork_hot(f, cv, s) : fork_seg(f, v, cv, s);
        if (r < 0)
            return r;
        s = seg_next(s);
    }
    segs_merge(f->parent, a, b);
    return 0;
}

static void fork_fields(struct mm *child, struct mm *parent)
{
    child->stack_limit = parent->stack_limit;
    child->stack_top = parent->stack_top;
    child->brk = parent->brk;
    child->mmap_top = parent->mmap_top;
    child->limits = parent->limits;
    child->counted = parent->counted;
    child->layout = parent->layout;
    memcpy(child->hot, parent->hot, sizeof child->hot);
    child->hot_next = parent->hot_next;
    child->exe = mm_exe_hold(parent);
}

struct mm *mm_fork(struct mm *parent)
{
    struct mm *child = mm_alloc_with_process();
    if (IS_ERR(child))
        return child;
    int r = mm_lock_change(parent);
    if (r < 0)
        goto fail;
    unsigned files = 0;
    struct mm_file *mf;
    list_for_each_entry (mf, &parent->files, link)
        files++;
    struct fork_state f = {.parent = parent,
                           .child = child,
                           .map_files = files <= EAGER_FILES,
                           .copy_hot = refcount_read(&parent->ref) == 1,
                           .populate_left = POPULATE_BUDGET};
    fork_fields(child, parent);
    for (struct vma *v = vma_of(rtree_first(&parent->vmas)); v && r == 0; v = vma_next(v))
        r = fork_vma(&f, v);
    if (r == 0)
        r = text_fork(child, parent);
    /* Also after an error, since the parent's trees have changed; and pending unmaps must be done
     * before memory is shared that the parent might still have mapped. */
    int r2 = ops_force(parent);
    mm_unlock(parent);
    if (r == 0)
        r = r2;
fail:
    if (r < 0) {
        mm_put(child);
        return ERR_PTR(r == -ESRCH ? -EAGAIN : r);
    }
    return child;
}
