/* SPDX-License-Identifier: Apache-2.0
 * text.c - code that the Sentry writes into a guest: changes of its text, and slots beside it.
 *
 * Text is changed through the Sentry's own mapping of the memory file, never by giving the guest a
 * right to write. A page of a file, or one shared after fork, is copied first, changed, and then
 * mapped in place of the old one: other threads go from the one to the other between two
 * instructions. A page that is this address space's own already is live: bytes inside an aligned
 * word of 8 are changed by one store, which every thread fetches whole; others by one more copy of
 * the page. So no thread ever meets half of a change and none has to be stopped.
 *
 * Slots lie in small mappings below the text, in reach of its jumps. What stands in them is the
 * guest's word (it can map something else there), good only for itself.
 *
 * Who may lie: the guest unmaps or replaces text and slots at will; so rights, kind and old bytes
 * are checked under the lock each time. Left out: text that the guest may write, shared mappings.
 * Lock: mm->lock; area_count is read without.
 */
#include <string.h>

#include "mm_internal.h"

#define REACH (1ULL << 30) /* half of what a jump reaches, so that all of a large text does */

static const char area_name[] = "[patch]";

/* --- changes --- */

static bool edit_checked(const struct mm_text_edit *e, uint64_t page)
{
    return e->len && e->len <= sizeof e->bytes && e->addr >= page &&
           e->addr + e->len <= page + PAGE_SIZE;
}

static bool edits_fit(const uint8_t *text, uint64_t page, const struct mm_text_edit *e, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (memcmp(text + (e[i].addr - page), e[i].was, e[i].len) != 0)
            return false;
    return true;
}

static bool one_store(const struct mm_text_edit *e)
{
    return (e->addr & 7) + e->len <= 8;
}

/* Into a page that threads run. */
static void edits_store(uint8_t *text, uint64_t page, const struct mm_text_edit *e, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t word, at = align_down(e[i].addr, 8UL);
        uint8_t *p = text + (at - page);

        memcpy(&word, p, sizeof word);
        memcpy((uint8_t *)&word + (e[i].addr - at), e[i].bytes, e[i].len);
        __atomic_store_n((uint64_t *)(void *)p, word, __ATOMIC_RELEASE);
    }
}

static void edits_copy(uint8_t *text, uint64_t page, const struct mm_text_edit *e, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        memcpy(text + (e[i].addr - page), e[i].bytes, e[i].len);
}

/* Another copy of a page of our own; nobody runs it before the list does. */
static int page_renew(struct mm *mm, struct seg *s, uint64_t page, struct seg **ret)
{
    uint64_t off;

    s = seg_cut(mm, s, page, page + PAGE_SIZE);
    if (!s || memfile_alloc(g_mm.mf, PAGE_SIZE, page & (HUGE_SIZE - 1), &off) < 0)
        return -ENOMEM;
    if (memfile_populate(g_mm.mf, off, PAGE_SIZE) < 0) {
        memref_release(off, PAGE_SIZE);
        return -ENOMEM;
    }
    memcpy(memfile_ptr(g_mm.mf, off), memfile_ptr(g_mm.mf, s->off), PAGE_SIZE);
    ops_dying(mm, s->off, PAGE_SIZE);
    s->off = off;
    ops_map(mm, s, page, page + PAGE_SIZE, s->hprot, true);
    *ret = s;
    return 0;
}

static int editable_locked(struct mm *mm, uint64_t page, struct vma **ret_v, struct seg **ret_s)
{
    struct vma *v = vma_at(mm, page);
    struct seg *s = v ? seg_at(mm, page) : NULL;

    if (!v || (v->prot & (PROT_WRITE | PROT_EXEC)) != PROT_EXEC || (v->flags & VMA_SHARED))
        return -EACCES;
    if (!s || s->hprot <= 0)
        return -EAGAIN;
    *ret_v = v;
    *ret_s = s;
    return 0;
}

int mm_text_editable(struct mm *mm, uint64_t addr)
{
    struct vma *v;
    struct seg *s;

    mm_lock(mm);
    int r = editable_locked(mm, align_down(addr, PAGE_SIZE), &v, &s);
    mm_unlock(mm);
    return r;
}

static int edit_locked(struct mm *mm, uint64_t page, const struct mm_text_edit *e, unsigned n)
{
    struct fault_info fi;
    struct vma *v;
    struct seg *s;
    bool live, simple = true;

    int r = editable_locked(mm, page, &v, &s);
    if (r < 0)
        return r;
    uint64_t was_off = s->kind == SEG_MEM ? s->off + (page - s->r.start) : NO_OFF;
    r = seg_ensure(mm, v, page, true, true, &s, &fi);
    if (r < 0)
        return r;
    uint64_t off = s->off + (page - s->r.start);
    live = off == was_off;
    present_want(off, PAGE_SIZE);
    if (!edits_fit(memfile_ptr(g_mm.mf, off), page, e, n))
        return -EAGAIN;
    for (unsigned i = 0; i < n; i++)
        simple = simple && one_store(&e[i]);
    if (live && !simple) {
        r = mm_spares_fill(mm);
        if (r == 0)
            r = page_renew(mm, s, page, &s);
        if (r < 0)
            return r;
        live = false;
        off = s->off;
    }
    if (live)
        edits_store(memfile_ptr(g_mm.mf, off), page, e, n);
    else
        edits_copy(memfile_ptr(g_mm.mf, off), page, e, n);
    return 0;
}

int mm_text_edit(struct mm *mm, const struct mm_text_edit *e, unsigned n)
{
    uint64_t page = align_down(e[0].addr, PAGE_SIZE);

    for (unsigned i = 0; i < n; i++)
        if (!edit_checked(&e[i], page))
            return -EACCES;
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = edit_locked(mm, page, e, n);
    int r2 = ops_run(mm); /* also after an error: the page may have been copied already */
    mm_unlock(mm);
    return r < 0 ? r : r2;
}

/* --- slots --- */

static bool in_reach(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) < REACH;
}

/* Is it still what we have mapped there? */
static bool area_ours(struct mm *mm, const struct mm_text_area *a)
{
    struct vma *v = vma_at(mm, a->start);

    return v && v->name == area_name && v->r.end >= a->start + TEXT_AREA_SIZE &&
           v->prot == (PROT_READ | PROT_EXEC);
}

static int area_new(struct mm *mm, uint64_t near)
{
    struct mm_map_args args = {.len = TEXT_AREA_SIZE,
                               .prot = PROT_READ | PROT_EXEC,
                               .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                               .name = area_name};
    uint64_t lo = MAX(near > REACH ? near - REACH : 0, MAX(g_mm.limits.user_min, 65536ULL));

    mm_lock(mm);
    bool found = rtree_find_gap(&mm->vmas, TEXT_AREA_SIZE, PAGE_SIZE, lo, near, &args.addr);
    mm_unlock(mm);
    if (!found)
        return -ENOMEM;
    int64_t r = mm_mmap(mm, &args);
    if (r < 0)
        return (int)r;
    mm_lock(mm);
    unsigned n = atomic_load(&mm->area_count);
    if (n < TEXT_AREAS_MAX) {
        mm->areas[n] = (struct mm_text_area){.start = args.addr};
        atomic_store(&mm->area_count, n + 1);
    }
    mm_unlock(mm);
    return n < TEXT_AREAS_MAX ? 0 : -ENOMEM; /* a race of several threads: it stays unused */
}

static uint64_t slot_take(struct mm *mm, uint64_t near)
{
    uint64_t addr = 0;

    mm_lock(mm);
    for (unsigned i = 0; i < atomic_load(&mm->area_count) && !addr; i++) {
        struct mm_text_area *a = &mm->areas[i];

        if (a->used + MM_TEXT_SLOT > TEXT_AREA_SIZE || !in_reach(a->start, near) ||
            !area_ours(mm, a))
            continue;
        addr = a->start + a->used;
        a->used += MM_TEXT_SLOT;
    }
    mm_unlock(mm);
    return addr;
}

int mm_text_slot(struct mm *mm, uint64_t near,
                 void (*fill)(uint64_t addr, uint8_t bytes[MM_TEXT_SLOT], void *arg), void *arg,
                 uint64_t *ret_addr)
{
    uint8_t bytes[MM_TEXT_SLOT];
    uint64_t addr = slot_take(mm, near);

    if (!addr) {
        if (atomic_load(&mm->area_count) >= TEXT_AREAS_MAX)
            return -ENOMEM;
        int r = area_new(mm, near);
        if (r < 0)
            return r;
        addr = slot_take(mm, near);
        if (!addr)
            return -ENOMEM;
    }
    memset(bytes, 0xcc, sizeof bytes);
    fill(addr, bytes, arg);
    int r = copy_out_force(mm, UADDR(addr), bytes, sizeof bytes);
    if (r == 0)
        *ret_addr = addr;
    return r;
}

bool mm_text_slot_at(struct mm *mm, uint64_t addr, uint64_t *ret_addr, uint8_t ret[MM_TEXT_SLOT])
{
    unsigned n = atomic_load_explicit(&mm->area_count, memory_order_acquire);

    for (unsigned i = 0; i < n; i++) {
        struct mm_text_area *a = &mm->areas[i];

        if (addr - a->start >= TEXT_AREA_SIZE)
            continue;
        mm_lock(mm);
        bool ours = area_ours(mm, a);
        mm_unlock(mm);
        *ret_addr = align_down(addr, (uint64_t)MM_TEXT_SLOT);
        return ours && copy_in(mm, ret, UADDR(*ret_addr), MM_TEXT_SLOT) == 0;
    }
    return false;
}
