/* SPDX-License-Identifier: Apache-2.0
 * textyield.c - where the guest changes what is mapped, images of text (text.c) give way: text that
 * it may write to, or moves, is the file's again; a mapping over the slots drives them away and with
 * them the changes that need them.
 *
 * Before the guest's own change, so that a list that fails leaves either the image or the file.
 * Lock: mm->lock.
 */
#include "text_internal.h"

/* The file itself again, where the image is mapped. The slots stay: threads may be in them. */
static int map_revert(struct mm *mm, struct text_map *m, uint64_t a, uint64_t b)
{
    struct fault_info fi;
    int r = 0;

    a = MAX(a, m->start);
    b = MIN(b, m->start + m->img->len);
    for (uint64_t at = a; at < b;) {
        struct seg *s = seg_find(mm, at), *fresh;
        if (!s || s->r.start >= b)
            break;
        uint64_t from = MAX(at, s->r.start), to = MIN(b, s->r.end);
        struct vma *v = vma_at(mm, from);
        at = to;
        if (!v || !v->file || !text_seg_is_image(mm, s, from))
            continue;
        to = at = MIN(to, v->r.end);
        if (mm_spares_fill(mm) < 0)
            return -ENOMEM;
        segs_drop(mm, from, to);
        for (uint64_t p = from; p < to && r == 0; p = fresh->r.end) {
            r = file_backing(mm, v, p, false, &fresh, &fi);
            if (r < 0)
                break;
        }
        if (r == 0)
            r = map_range(mm, v, from, to, false, false);
        else
            ops_add(mm, PF_UNMAP, from, to - from, 0, 0); /* by faults, then */
        r = r == -ENOMEM ? r : 0;
    }
    return r;
}

int text_yield(struct mm *mm, uint64_t a, uint64_t b, bool text)
{
    struct text_map *m, *tmp;
    int r = 0;

    if (!mm->text_map_count)
        return 0;
    list_for_each_entry_safe (m, tmp, &mm->text_maps, link) {
        bool slots = a < m->area + m->img->area_len && b > m->area;

        if (slots)
            r = map_revert(mm, m, m->start, m->start + m->img->len);
        else if (text && a < m->start + m->img->len && b > m->start)
            r = map_revert(mm, m, a, b);
        if (r < 0)
            return r;
        if (slots) {
            text_area_unmap(mm, m);
            text_map_bury(mm, m);
        }
    }
    return 0;
}

void text_unmapped(struct mm *mm, uint64_t a, uint64_t b)
{
    struct text_map *m, *tmp;

    if (!mm->text_map_count)
        return;
    list_for_each_entry_safe (m, tmp, &mm->text_maps, link) {
        uint64_t end = m->start + m->img->len;
        bool left = false;

        if (a >= end || b <= m->start)
            continue;
        for (struct seg *s = seg_find(mm, m->start); s && s->r.start < end && !left;
             s = seg_next(s))
            left = text_seg_is_image(mm, s, MAX(s->r.start, m->start));
        if (!left) {
            text_area_unmap(mm, m);
            text_map_bury(mm, m);
        }
    }
}

void mm_text_forbid(struct mm *mm)
{
    struct text_map *m;

    if (__atomic_load_n(&mm->no_text, __ATOMIC_RELAXED) || mm_lock_change(mm) < 0)
        return;
    __atomic_store_n(&mm->no_text, true, __ATOMIC_RELAXED);
    list_for_each_entry (m, &mm->text_maps, link)
        (void)map_revert(mm, m, m->start, m->start + m->img->len);
    (void)ops_run(mm);
    mm_unlock(mm);
}
