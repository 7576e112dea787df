/* SPDX-License-Identifier: Apache-2.0
 * fork.c - a copy of an address space.
 *
 * VMAs are copied; private memory becomes shared and copy-on-write in both (cow.c). The parent gets
 * one list that takes its rights to write; the child's mappings go on its first list. Memory never
 * touched is not shared, so later first touches copy nothing. Files: the child maps them at the
 * first touch, unless there are only a few.
 * Lock: the parent's; the child is not visible to anybody yet.
 */
#include <stdlib.h>
#include <string.h>

#include "mm_internal.h"

#define EAGER_FILES 4u /* descriptors donated to the child at once */
#define POPULATE_SEG (128ULL << 10)
#define POPULATE_BUDGET (1ULL << 20)
#define HOT_BUDGET (1ULL << 20)
#define HOT_WHOLE (128ULL << 10) /* VMAs this small are copied as a whole */
#define HOT_FORKS 4u             /* children that get everything before one tells what it touches */
#define HOT_GAP (64ULL << 10)    /* hot pages so near each other are copied together */

struct fork_state {
    struct mm *parent, *child;
    bool map_files; /* even if the child needs descriptors for them */
    bool sparse;    /* map what siblings of the child have touched */
    bool copy_hot;  /* nobody but the caller can write to the parent's memory */
    uint64_t populate_left;
    uint64_t hot_left; /* bytes that may still be copied ahead */
    unsigned block_count;
    struct hot_block { /* in order of address */
        uint64_t start, end;
    } block[HOT_PAGES];
};

/* --- hot pages --- */

struct mm_hot *mm_hot_get(struct mm *mm)
{
    if (!mm->hot) {
        mm->hot = calloc(1, sizeof *mm->hot);
        if (!mm->hot)
            return NULL;
        refcount_init(&mm->hot->ref);
        spin_init(&mm->hot->lock, RANK_LEAF);
    }
    refcount_get(&mm->hot->ref);
    return mm->hot;
}

void mm_hot_put(struct mm_hot *h)
{
    if (h && refcount_put(&h->ref))
        free(h);
}

void mm_hot_note(struct mm *mm, uint64_t addr)
{
    uint64_t page = align_down(addr, PAGE_SIZE);
    struct mm_hot *h = mm->hot;
    bool known = false;
    if (!h) /* never forked: written after something else */
        return;
    spin_lock(&h->lock);
    for (unsigned i = 0; i < HOT_PAGES && !known; i++)
        known = h->page[i] == page;
    if (!known)
        h->page[h->next++ % HOT_PAGES] = page;
    spin_unlock(&h->lock);
}

static bool hot_has_vma_locked(const struct mm_hot *h, const struct vma *v)
{
    for (unsigned i = 0; i < h->vma_count; i++)
        if (h->vma[i] == v->r.start)
            return true;
    return h->vma_count == HOT_VMAS;
}

void mm_hot_touched(struct mm *mm, const struct vma *v)
{
    struct mm_hot *h = mm->hot;
    if (!h)
        return;
    spin_lock(&h->lock);
    if (!hot_has_vma_locked(h, v))
        h->vma[h->vma_count++] = v->r.start;
    spin_unlock(&h->lock);
}

static bool hot_has_vma(struct mm_hot *h, const struct vma *v)
{
    spin_lock(&h->lock);
    bool has = hot_has_vma_locked(h, v);
    spin_unlock(&h->lock);
    return has;
}

/* Has one exec forked so often that it is worth knowing what its children touch? */
static bool hot_forks_often(struct mm_hot *h)
{
    if (!h)
        return false;
    spin_lock(&h->lock);
    bool often = h->forks == HOT_FORKS;
    h->forks += !often;
    spin_unlock(&h->lock);
    return often;
}

/* qsort() asks the host for the size of its memory. */
static unsigned hot_sorted(struct mm_hot *h, uint64_t page[HOT_PAGES])
{
    unsigned n = 0;
    spin_lock(&h->lock);
    for (unsigned i = 0; i < HOT_PAGES && h->page[i]; i++, n++) {
        unsigned at = n;
        for (; at && page[at - 1] > h->page[i]; at--)
            page[at] = page[at - 1];
        page[at] = h->page[i];
    }
    spin_unlock(&h->lock);
    return n;
}

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
        s->hprot = (int8_t)(s->hprot & (PROT_READ | PROT_EXEC));
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
    if (s->hprot <= 0 || prot == 0 ||
        (c->kind == SEG_FD && !f->map_files && !file_fd_known(cv->file)) ||
        (f->sparse && !hot_has_vma(f->child->hot, v)))
        return 0;
    uint64_t len = c->r.end - c->r.start;
    bool populate = c->kind != SEG_FD && len <= POPULATE_SEG && len <= f->populate_left;
    if (populate)
        f->populate_left -= len;
    return map_range(f->child, cv, c->r.start, c->r.end, false, populate);
}

/* Pages near each other are one block: an operation costs as much as a few pages. */
static void hot_blocks(struct fork_state *f)
{
    struct mm_hot *h = f->parent->hot;
    uint64_t page[HOT_PAGES];
    if (!h || !f->copy_hot)
        return;
    unsigned n = hot_sorted(h, page);
    for (unsigned i = 0; i < n; i++) {
        struct hot_block *l = f->block_count ? &f->block[f->block_count - 1] : NULL;
        if (l && page[i] <= l->end + HOT_GAP)
            l->end = page[i] + PAGE_SIZE;
        else
            f->block[f->block_count++] = (struct hot_block){page[i], page[i] + PAGE_SIZE};
    }
}

/* Where the piece that starts at @at must end: a hot block is a piece of its own, and a small VMA
 * with hot pages is one. */
static uint64_t piece_end(const struct fork_state *f, const struct vma *v, uint64_t at,
                          uint64_t end, bool *ret_hot)
{
    bool small = v->r.end - v->r.start <= HOT_WHOLE;
    *ret_hot = false;
    for (unsigned i = 0; i < f->block_count; i++) {
        const struct hot_block *b = &f->block[i];
        if (b->end <= (small ? v->r.start : at))
            continue;
        *ret_hot = small ? b->start < end : b->start <= at;
        if (small)
            return end;
        return MIN(end, *ret_hot ? b->end : b->start);
    }
    return end;
}

/* Pages that both will write at once: the child gets its own, the parent keeps its rights. Only
 * with one task: another one could write a page after it is copied and then a later page, and
 * the child would see the second write without the first. Lists that thread libraries mend in the
 * child count on that order. Pages that lose their rights keep it: who writes one waits for us. */
static int fork_hot(struct fork_state *f, struct vma *cv, uint64_t a, uint64_t b)
{
    struct seg *c = seg_from_pool(f->child, a, b, false);
    bool pooled = c != NULL;
    int r = pooled ? 0 : seg_alloc(f->child, a, b, &c);
    if (r < 0)
        return r;
    c->fresh = false;
    for (struct seg *s = seg_at(f->parent, a); s && s->r.start < b; s = seg_next(s)) {
        uint64_t at = MAX(a, s->r.start), len = MIN(b, s->r.end) - at, to = c->off + (at - a);
        uint64_t off = s->off + (at - s->r.start);
        present_want(off, len);
        void *from = memfile_ptr(g_mm.mf, off);
        if (pooled ? ua_copy(memfile_ptr(g_mm.mf, to), from, len) != 0
                   : memfile_write(g_mm.mf, to, from, len) < 0)
            return -ENOMEM;
    }
    return map_range(f->child, cv, a, b, false, true);
}

/* How far from @a on there is memory that the parent uses; at most to @b. */
static uint64_t hot_run(const struct fork_state *f, const struct vma *v, uint64_t a, uint64_t b)
{
    uint64_t at = a;
    if ((v->flags & VMA_SHARED) || !(v->prot & PROT_WRITE) || b - a > f->hot_left)
        return a;
    for (struct seg *s = seg_at(f->parent, a); s && s->r.start < b; s = seg_next(s)) {
        if (s->r.start > at || s->kind != SEG_MEM || s->fresh || s->hprot <= 0)
            break;
        at = MIN(b, s->r.end);
    }
    return at;
}

/* What the child gets of one VMA. */
static int fork_memory(struct fork_state *f, struct vma *v, struct vma *cv)
{
    uint64_t b = v->r.end;
    struct seg *s;
    int r = 0;
    for (uint64_t at = v->r.start; r == 0 && at < b;) {
        bool hot;
        s = seg_find(f->parent, at);
        if (!s || s->r.start >= b)
            break;
        if (mm_spares_fill(f->parent) < 0 || mm_spares_fill(f->child) < 0)
            return -ENOMEM;
        at = MAX(at, s->r.start);
        uint64_t end = piece_end(f, v, at, b, &hot);
        uint64_t run = hot ? hot_run(f, v, at, end) : at;
        if (run > at) {
            r = fork_hot(f, cv, at, run);
            f->hot_left -= run - at;
            at = run;
            continue;
        }
        s = seg_cut(f->parent, s, at, MIN(end, s->r.end));
        if (!s)
            return -ENOMEM;
        r = s->fresh ? 0 : fork_seg(f, v, cv, s);
        at = s->r.end;
    }
    return r;
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
    int r = fork_memory(f, v, cv);
    segs_merge(f->parent, a, b);
    return r;
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
    child->hot = mm_hot_get(parent);
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
                           .populate_left = POPULATE_BUDGET,
                           .hot_left = HOT_BUDGET};
    fork_fields(child, parent);
    hot_blocks(&f);
    f.sparse = child->sparse = hot_forks_often(child->hot);
    if (f.block_count) /* what is touched is copied; the rest is there by the host's faults */
        f.populate_left = 0;
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
