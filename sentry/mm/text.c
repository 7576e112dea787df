/* SPDX-License-Identifier: Apache-2.0
 * text.c - changed text in an address space.
 *
 * A mapping of a file's text is the file's own, or an image of it (textcache.c): then the seg is
 * memory of the image, copy-on-write as after fork, and at a fixed distance lies a mapping of the
 * image's slots that the guest is told nothing of. A mapping of known text is an image from the
 * start; a process that was there before changes over when it has trapped often enough, by one list
 * that puts one mapping over the other: threads go from the one to the other between two
 * instructions.
 *
 * What the guest sees is the file: reads by calls take the file's bytes (uaccess.c), a page that it
 * writes to is copied from the file (cow.c), text that it may write to, or moves, is the file's
 * again before that. A load from text sees the jumps. A mapping where the slots are, which only a
 * guest can make that does not ask where there is room, drives them away and with them the changes.
 *
 * Who may lie: the guest can unmap or replace anything; what is where is looked up in the trees, the
 * image's tables are ours. Lock: mm->lock, then the cache's.
 */
#include <stdlib.h>
#include <string.h>

#include "text_internal.h"

#define REACH_FAR (1ULL << 30)
#define REACH_LOW 0x70000000ULL /* text at 0x400000: above MAP_32BIT's usual place, below 2 GiB */
#define TRAPS_MIN 16u           /* an image costs two mappings and a list */
#define MAKE_MIN 32u            /* one start of the dynamic linker does not */
#define TRAPS_PER (32ULL << 10) /* making one: a trap each so many bytes */
#define LATE_MIN 16u

static void count(_Atomic(uint64_t) *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static uint32_t traps_wanted(uint32_t usual)
{
    return text_after() ? text_after() : usual;
}

/* --- lookup --- */

struct text_map *text_map_at(const struct mm *mm, uint64_t addr)
{
    struct text_map *m;

    if (!mm->text_map_count)
        return NULL;
    list_for_each_entry (m, &mm->text_maps, link)
        if (addr - m->start < m->img->len)
            return m;
    return NULL;
}

bool text_seg_is_image(const struct mm *mm, const struct seg *s, uint64_t addr)
{
    const struct text_map *m = s->kind == SEG_MEM && s->cow ? text_map_at(mm, addr) : NULL;

    return m && s->off - s->r.start == m->img->mem - m->start;
}

/* --- mapping --- */

static int64_t area_gap(struct mm *mm, uint64_t at, uint64_t area_len, int64_t delta)
{
    uint64_t area = at + (uint64_t)delta;

    if ((delta < 0 && area > at) || !vma_place_free(mm, area, area_len) ||
        area + area_len > mm->stack_top - mm->stack_limit - STACK_GUARD)
        return 0;
    return delta;
}

/* A distance at which the slots can be, 0: none; that of an image if there is one. */
static int64_t delta_choose(struct mm *mm, const struct text_file *f, uint64_t at, uint64_t off,
                            uint64_t len)
{
    uint64_t area_len = MIN(len, TEXT_AREA_MAX);
    int64_t d = 0;
    const struct text_image *img;
    /* Libraries lie at the top: above them nothing is mapped. Below a program nothing is. */
    const bool top = at + REACH_FAR >= mm->mmap_top;
    const int64_t far[] = {top ? (int64_t)REACH_FAR : -(int64_t)REACH_FAR, (int64_t)REACH_LOW,
                           top ? -(int64_t)REACH_FAR : (int64_t)REACH_FAR};

    list_for_each_entry (img, &f->images, link)
        if (!d && img->off == off && img->len == len)
            d = area_gap(mm, at, area_len, img->delta);
    for (unsigned i = 0; i < ARRAY_SIZE(far) && !d; i++)
        d = area_gap(mm, at, area_len, far[i]);
    return d;
}

/* Is [a, b) of @v all as the file has it, or an image's? */
static bool range_pure(struct mm *mm, uint64_t a, uint64_t b)
{
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s))
        if (s->kind == SEG_MEM && !text_seg_is_image(mm, s, MAX(a, s->r.start)))
            return false;
    return true;
}

static struct seg *seg_put(struct mm *mm, uint64_t a, uint64_t len, uint64_t off)
{
    struct seg *s = seg_new(mm);

    if (!s)
        return NULL;
    if (memref_share(off, len) < 0) {
        free(s);
        return NULL;
    }
    s->r.start = a;
    s->r.end = a + len;
    s->kind = SEG_MEM;
    s->cow = true;
    s->off = off;
    seg_insert(mm, s);
    mm->reserved += len;
    return s;
}

static int area_map(struct mm *mm, const struct text_image *img, uint64_t area)
{
    struct vma *v = vma_at(mm, area);

    if (!v) {
        v = vma_new(mm);
        if (!v)
            return -ENOMEM;
        v->r.start = area;
        v->r.end = area + img->area_len;
        v->prot = PROT_READ | PROT_EXEC;
        v->flags = VMA_HIDDEN;
        vma_insert(mm, v);
    }
    segs_drop(mm, area, area + img->area_len);
    if (!seg_put(mm, area, img->area_len, img->area))
        return -ENOMEM;
    int r = map_range(mm, v, area, area + img->area_len, false, false);
    uint64_t used = align_up(img->slot_count * MM_TEXT_SLOT, PAGE_SIZE);
    if (r == 0 && used)
        ops_add(mm, PF_POPULATE, area, used, PROT_READ, 0);
    return r;
}

void text_area_unmap(struct mm *mm, const struct text_map *m)
{
    struct vma *v = vma_at(mm, m->area);

    if (!v || !(v->flags & VMA_HIDDEN))
        return;
    ops_add(mm, PF_UNMAP, m->area, m->img->area_len, 0, 0);
    segs_drop(mm, m->area, m->area + m->img->area_len);
    vma_remove(mm, v);
}

void text_map_bury(struct mm *mm, struct text_map *m)
{
    list_del(&m->link);
    list_add(&m->link, &mm->dead_text_maps);
    mm->text_map_count--;
}

static void map_add(struct mm *mm, struct text_map *m)
{
    list_add(&m->link, &mm->text_maps);
    mm->text_map_count++;
}

/* @img takes the place of what is mapped in @v from @at on. Takes the reference. */
static int image_install(struct mm *mm, struct vma *v, uint64_t at, struct text_image *img)
{
    struct text_map *m = malloc(sizeof *m), *old = text_map_at(mm, at);
    uint64_t end = at + img->len;
    int r = mm_spares_fill(mm);

    if (!m || r < 0 || mm->text_map_count >= TEXT_MAPS_MAX || mm_may_grow(mm, 0, false) < 0) {
        text_image_put(img);
        free(m);
        return -ENOMEM;
    }
    *m = (struct text_map){.img = img, .start = at, .area = at + (uint64_t)img->delta};
    img->maps++;
    r = area_map(mm, img, m->area);
    if (r == 0) {
        segs_drop(mm, at, end);
        r = seg_put(mm, at, img->len, img->mem) ? map_range(mm, v, at, end, false, false) : -ENOMEM;
    }
    if (r < 0) {
        /* Without a seg the text comes back from its file by faults; nobody jumps to the slots. */
        ops_add(mm, PF_UNMAP, at, end - at, 0, 0);
        if (!old)
            text_area_unmap(mm, m);
        list_add(&m->link, &mm->dead_text_maps);
        return r;
    }
    ops_add(mm, PF_POPULATE, at, MIN(end - at, TEXT_WHOLE_MAX), PROT_READ, 0);
    if (old)
        text_map_bury(mm, old);
    map_add(mm, m);
    return 0;
}

/* An image for [at, at + len), if there can be one. NULL, and why. */
static struct text_image *image_for(struct mm *mm, struct mm_file *file, uint64_t at, uint64_t off,
                                    uint64_t len, bool make, int *ret_why)
{
    struct text_map *old = text_map_at(mm, at);
    int64_t delta = old ? old->img->delta : delta_choose(mm, file->text, at, off, len);

    *ret_why = MM_TEXT_REACH;
    if (!delta)
        return NULL;
    *ret_why = MM_TEXT_FULL;
    struct text_image *img = text_image_find(file->text, off, len, delta);
    if (img)
        return text_image_renew(img, traps_wanted(LATE_MIN));
    return make ? text_image_make(file->text, file->m, off, len, delta) : NULL;
}

/* The piece around file offset @at that one image covers. */
static void piece_of(const struct vma *v, uint64_t at, uint64_t *ret_off, uint64_t *ret_len)
{
    uint64_t lo = v->off, hi = v->off + (v->r.end - v->r.start);

    if (hi - lo > TEXT_WHOLE_MAX) {
        lo = MAX(lo, align_down(at, TEXT_PIECE));
        hi = MIN(hi, align_down(at, TEXT_PIECE) + TEXT_PIECE);
    }
    *ret_off = lo;
    *ret_len = hi - lo;
}

static bool text_vma(const struct mm *mm, const struct vma *v)
{
    return text_ops() && !mm->no_text && v->file && !(v->flags & VMA_SHARED) &&
           (v->prot & (PROT_EXEC | PROT_WRITE)) == PROT_EXEC;
}

/* What is known of the content of @f, which must not change unseen. */
static struct text_file *file_text(struct mm_file *f, bool create)
{
    struct mappable_id id;

    if (f->text || f->no_text)
        return f->text;
    if (!f->m->ops->identity || f->m->ops->identity(f->m, &id) < 0) {
        f->no_text = true;
        return NULL;
    }
    return f->text = text_file_find(&id, create);
}

static int pieces_map(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    struct text_file *f = v->file->text;
    uint64_t off, len;
    int r = 0, why;

    for (unsigned i = 0; i < f->site_count && r == 0; i++) {
        uint64_t end = f->sites[i].end;
        if (f->sites[i].refused || end < v->off || end - v->off > v->r.end - v->r.start)
            continue;
        piece_of(v, end - 1, &off, &len);
        uint64_t at = v->r.start + (off - v->off);
        if (at < a || at + len > b || text_map_at(mm, at))
            continue;
        bool make = f->traps >= traps_wanted((uint32_t)(TRAPS_MIN / 2 + len / TRAPS_PER));
        struct text_image *img = image_for(mm, v->file, at, off, len, make, &why);
        if (!img)
            continue;
        count(&mm_text_counters.mapped, 1);
        count(&mm_text_counters.mapped_sites, img->slot_count);
        r = image_install(mm, v, at, img);
    }
    return r == -ENOMEM ? 0 : r; /* then the file itself will do */
}

int text_map_known(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    int r = 0;

    if (!text_vma(mm, v))
        return 0;
    text_lock();
    if (v->file->text) { /* it may have changed since it was mapped first */
        text_file_put(v->file->text);
        v->file->text = NULL;
    }
    if (file_text(v->file, false))
        r = pieces_map(mm, v, a, b);
    text_unlock();
    return r;
}

/* --- fork and end --- */

int text_fork(struct mm *child, struct mm *parent)
{
    struct text_map *m, *c;

    child->no_text = parent->no_text;
    list_for_each_entry (m, &parent->text_maps, link) {
        c = malloc(sizeof *c);
        if (!c)
            return -ENOMEM;
        *c = *m;
        text_lock();
        text_image_get(c->img);
        c->img->maps++;
        text_unlock();
        map_add(child, c);
    }
    struct mm_file *f, *cf;
    list_for_each_entry (f, &parent->files, link) {
        if (!f->text)
            continue;
        list_for_each_entry (cf, &child->files, link) {
            if (cf->m != f->m || cf->text)
                continue;
            text_lock();
            cf->text = f->text;
            cf->text->refs++;
            text_unlock();
        }
    }
    return 0;
}

void text_free_dead(struct list_head *maps)
{
    struct text_map *m, *tmp;

    if (list_empty(maps))
        return;
    text_lock();
    list_for_each_entry_safe (m, tmp, maps, link) {
        list_del(&m->link);
        m->img->maps--;
        text_image_put(m->img);
        free(m);
    }
    text_unlock();
}

void text_file_forget(struct text_file *f)
{
    text_lock();
    text_file_put(f);
    text_unlock();
}

/* --- traps --- */

/* The site is known and could be changed, but is not where it has just trapped. 0: now it is. */
static int change_over(struct mm *mm, struct vma *v, uint64_t end, unsigned site)
{
    struct mm_file *file = v->file;
    struct text_file *f = file->text;
    struct text_map *m = text_map_at(mm, end - 1);
    uint64_t off, len, at;
    int why;

    if (m && text_seg_is_image(mm, seg_at(mm, end - 1), end - 1)) {
        if (m->img->slot_of[site] != TEXT_NO_SLOT)
            return MM_TEXT_SLOW;
        why = text_image_apply(m->img, site);
        if (why != MM_TEXT_LIVE)
            return why;
        if (f->sites[site].traps < traps_wanted(LATE_MIN))
            return why;
        m->img->late_traps += f->sites[site].traps;
    } else if (++file->text_traps < traps_wanted(TRAPS_MIN)) {
        return MM_TEXT_NEW;
    }
    piece_of(v, end - 1 - v->r.start + v->off, &off, &len);
    at = v->r.start + (off - v->off);
    if (!range_pure(mm, at, at + len))
        return MM_TEXT_OWN;
    bool make = f->traps >= traps_wanted((uint32_t)(MAKE_MIN + len / TRAPS_PER));
    struct text_image *img = image_for(mm, file, at, off, len, make, &why);
    if (!img)
        return make || why == MM_TEXT_REACH ? why : MM_TEXT_NEW;
    if (m && m->img == img) {
        text_image_put(img);
        return MM_TEXT_LIVE;
    }
    count(&mm_text_counters.switched, 1);
    return image_install(mm, v, at, img) < 0 ? MM_TEXT_FULL : 0;
}

static int trapped_locked(struct mm *mm, uint64_t end, const struct mm_text_call *call,
                          bool *ret_final)
{
    struct vma *v = vma_at(mm, end - 1);
    struct seg *s = v ? seg_at(mm, end - 1) : NULL;

    *ret_final = true;
    if (mm->no_text || mm->dead)
        return MM_TEXT_PROCESS;
    if (!v || !v->file || (v->flags & VMA_SHARED))
        return MM_TEXT_OWN;
    *ret_final = false;
    if (v->prot & PROT_WRITE)
        return MM_TEXT_WRITABLE;
    if (!s)
        return MM_TEXT_NEW;
    *ret_final = true;
    if (!text_vma(mm, v) || (s->kind == SEG_MEM && !text_seg_is_image(mm, s, end - 1)))
        return MM_TEXT_OWN;
    struct text_file *f = file_text(v->file, true);
    if (!f)
        return MM_TEXT_OWN;
    uint64_t at = vma_file_off(v, end - 1) + 1;
    int site = text_site_find(f, at);
    if (site < 0) {
        site = text_site_learn(f, v->file->m, at, v->off, v->off + (v->r.end - v->r.start), call);
        if (site < 0)
            return -site;
    }
    struct text_known *k = &f->sites[site];
    k->traps++;
    f->traps++;
    if (k->refused)
        return k->refused;
    *ret_final = false;
    if (v->file->text_failed)
        return MM_TEXT_FULL;
    int r = change_over(mm, v, end, (unsigned)site);
    if (r == 0 || r == MM_TEXT_LIVE || r == MM_TEXT_NEW || r == MM_TEXT_SLOW)
        return r == 0 ? MM_TEXT_NEW : r;
    if (r == MM_TEXT_SHAPE || r == MM_TEXT_ROOM || r == MM_TEXT_TARGET) {
        text_site_refuse(&f->sites[site], r);
        *ret_final = true;
    } else {
        v->file->text_failed = true;
    }
    return r;
}

int mm_text_trapped(struct mm *mm, uint64_t end, const struct mm_text_call *call, bool *ret_final)
{
    *ret_final = true;
    if (!text_ops())
        return MM_TEXT_OWN;
    mm_lock(mm);
    text_lock();
    int r = trapped_locked(mm, end, call, ret_final);
    text_unlock();
    if (mm->op_count) {
        tcache_flush(mm);
        (void)ops_run(mm);
    }
    mm_unlock(mm);
    return r;
}

/* --- places in slots and in what jumps have overwritten --- */

/* The slot that padding at @at of the text leads to; more than there are: none. */
static uint64_t slot_behind_padding(const struct text_image *img, uint64_t at)
{
    const uint8_t *p = (const uint8_t *)memfile_ptr(g_mm.mf, img->mem) + at;
    int32_t rel;

    if (at + MM_TEXT_JUMP > img->len || p[0] != 0xe9)
        return UINT64_MAX;
    memcpy(&rel, p + 1, sizeof rel);
    uint64_t slot = at + MM_TEXT_JUMP + (uint64_t)(int64_t)rel - (uint64_t)img->delta;
    if (slot % MM_TEXT_SLOT || slot / MM_TEXT_SLOT >= img->slot_count)
        return UINT64_MAX;
    const struct text_known *k = &img->file->sites[img->site_of[slot / MM_TEXT_SLOT]];
    return k->s.shape == MM_TEXT_PAD ? slot / MM_TEXT_SLOT : UINT64_MAX;
}

bool mm_text_site_of(struct mm *mm, uint64_t rip, uint64_t *ret, bool *ret_between)
{
    struct text_map *m;
    bool found = false;

    if (!atomic_load_explicit(&mm->text_map_count, memory_order_acquire))
        return false;
    mm_lock(mm);
    text_lock();
    list_for_each_entry (m, &mm->text_maps, link) {
        uint64_t at = rip - m->area, slot = at / MM_TEXT_SLOT;

        if (rip - m->start < m->img->len) {
            slot = slot_behind_padding(m->img, rip - m->start);
            at = 0;
        }
        if (found || slot >= m->img->slot_count)
            continue;
        const struct text_known *k = &m->img->file->sites[m->img->site_of[slot]];
        uint64_t end = m->start + (k->end - m->img->off), in = at % MM_TEXT_SLOT;
        *ret = in < k->s.len ? end - 2 - k->s.len + in : end - 2;
        *ret_between = in > 0 && in < k->s.len;
        found = true;
    }
    text_unlock();
    mm_unlock(mm);
    return found;
}

bool mm_text_slot_of(struct mm *mm, uint64_t rip, uint64_t *ret)
{
    bool found = false;

    if (!atomic_load_explicit(&mm->text_map_count, memory_order_acquire))
        return false;
    mm_lock(mm);
    struct text_map *m = text_map_at(mm, rip);
    struct seg *s = m ? seg_at(mm, rip) : NULL;
    if (s && text_seg_is_image(mm, s, rip)) {
        text_lock();
        uint64_t at = m->img->off + (rip - m->start);
        for (unsigned i = 0; i < m->img->slot_count && !found; i++) {
            const struct text_known *k = &m->img->file->sites[m->img->site_of[i]];
            uint64_t in = at - (k->end - 2 - k->s.len);

            if (in == 0 || in >= k->s.len || !(k->s.steps >> in & 1))
                continue;
            *ret = m->area + i * MM_TEXT_SLOT + in;
            found = true;
        }
        text_unlock();
    }
    mm_unlock(mm);
    return found;
}
