/* SPDX-License-Identifier: Apache-2.0
 * textcache.c - text with changed call sites, kept for the whole sandbox.
 *
 * A file is known by what its content is known by (device, inode, size, times), so a file that has
 * changed is another one. Of a file are kept the sites that have trapped in any process, and images:
 * its text in the memory file with these sites changed, and their slots. Slots lie at a fixed
 * distance from the text, so one image serves wherever the file is mapped and the place at that
 * distance is free; for other distances there are other images.
 *
 * Running threads: an image nobody has mapped is changed at will. In one that is mapped, a site is
 * changed only where its jump lies in an aligned word of 8 bytes, by one store, which every thread
 * fetches whole; slot and padding come before and nobody runs them yet. Other sites wait: for a time
 * when nobody maps the image, or, when they have trapped often enough for what copying costs, for a
 * copy of the image that takes its place for later mappings. Slots keep their numbers in the copy.
 *
 * Who may lie: code is the guest's file, any bytes; every offset taken from it is checked. Guests
 * never have a right to write to an image.
 * Limits: TEXT_*_MAX; the images and files longest not used go. Images in use live on without the
 * cache. Lock: g_lock (RANK_TEXT, below an address space), for everything here.
 */
#include <stdlib.h>
#include <string.h>

#include <base/hash.h>

#include "text_internal.h"

#define INDEX_SIZE (2 * TEXT_SITES_MAX)
#define GEN_SHIFT_MAX 10u

struct mm_text_counters mm_text_counters;

static struct {
    struct fmutex lock;
    const struct mm_text_ops *ops;
    uint32_t after;
    struct list_head files, lru;
    unsigned file_count;
    uint64_t bytes;
} g_text;

static void count(_Atomic(uint64_t) *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

void mm_text_init(const struct mm_text_ops *ops, uint32_t after)
{
    fmutex_init(&g_text.lock, RANK_TEXT);
    list_init(&g_text.files);
    list_init(&g_text.lru);
    g_text.ops = ops;
    g_text.after = after;
}

void text_lock(void)
{
    fmutex_lock(&g_text.lock);
}

void text_unlock(void)
{
    fmutex_unlock(&g_text.lock);
}

const struct mm_text_ops *text_ops(void)
{
    return g_text.ops;
}

uint32_t text_after(void)
{
    return g_text.after;
}

/* --- files --- */

static void file_uncache(struct text_file *f)
{
    f->cached = false;
    list_del(&f->link);
    g_text.file_count--;
    text_file_put(f);
}

void text_file_put(struct text_file *f)
{
    if (--f->refs)
        return;
    free(f->sites);
    free(f->index);
    free(f);
}

static void files_trim(void)
{
    while (g_text.file_count > TEXT_FILES_MAX) {
        struct text_file *f = container_of(g_text.files.prev, struct text_file, link);
        struct text_image *img, *tmp;

        list_for_each_entry_safe (img, tmp, &f->images, link) {
            text_image_get(img);
            img->cached = false;
            g_text.bytes -= img->mem_len + img->area_len;
            list_del(&img->link);
            list_del(&img->lru);
            text_image_put(img);
            text_image_put(img);
        }
        file_uncache(f);
    }
}

static bool id_equal(const struct mappable_id *a, const struct mappable_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

struct text_file *text_file_find(const struct mappable_id *id, bool create)
{
    struct text_file *f;

    list_for_each_entry (f, &g_text.files, link) {
        if (id_equal(&f->id, id)) {
            list_del(&f->link);
            list_add(&f->link, &g_text.files);
            f->refs++;
            return f;
        }
    }
    if (!create)
        return NULL;
    f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->id = *id;
    f->refs = 2;
    f->cached = true;
    list_init(&f->images);
    list_add(&f->link, &g_text.files);
    g_text.file_count++;
    files_trim();
    return f;
}

/* --- sites --- */

static unsigned index_at(const struct text_file *f, uint64_t end)
{
    unsigned i = (unsigned)hash_u64(end) % INDEX_SIZE;

    while (f->index[i] && f->sites[f->index[i] - 1].end != end)
        i = (i + 1) % INDEX_SIZE;
    return i;
}

int text_site_find(const struct text_file *f, uint64_t end)
{
    return f->index ? (int)f->index[index_at(f, end)] - 1 : -1;
}

static bool sites_room(struct text_file *f)
{
    if (!f->index)
        f->index = calloc(INDEX_SIZE, sizeof *f->index);
    if (!f->index || f->site_count == TEXT_SITES_MAX)
        return false;
    if (f->site_count < f->site_cap)
        return true;
    unsigned cap = f->site_cap ? f->site_cap * 2 : 16;
    struct text_known *s = realloc(f->sites, cap * sizeof *s);
    if (!s)
        return false;
    f->sites = s;
    f->site_cap = cap;
    return true;
}

int text_site_learn(struct text_file *f, struct mappable *m, uint64_t end, uint64_t lo, uint64_t hi,
                    const struct mm_text_call *call)
{
    uint8_t bytes[MM_TEXT_BEFORE + MM_TEXT_BEHIND];
    struct mm_text_code code = {.bytes = bytes, .end = end};

    if (!sites_room(f)) {
        count(&mm_text_counters.refused[MM_TEXT_FULL], 1);
        return -MM_TEXT_FULL;
    }
    code.before = (unsigned)MIN(end - lo, (uint64_t)MM_TEXT_BEFORE);
    code.behind = (unsigned)MIN(hi - end, (uint64_t)MM_TEXT_BEHIND);
    memset(bytes, 0xcc, sizeof bytes);
    if (file_read(m, end - code.before, bytes + MM_TEXT_BEFORE - code.before,
                  code.before + code.behind) < 0)
        return -MM_TEXT_SHAPE;
    struct text_known *k = &f->sites[f->site_count];
    memset(k, 0, sizeof *k);
    k->end = end;
    int r = g_text.ops->decode(&code, call, &k->s);
    k->refused = (uint8_t)r;
    if (r)
        count(&mm_text_counters.refused[r], 1);
    else
        f->version++;
    f->index[index_at(f, end)] = (uint16_t)++f->site_count;
    return (int)f->site_count - 1;
}

void text_site_refuse(struct text_known *k, int reason)
{
    if (k->refused || k->applied)
        return;
    k->refused = (uint8_t)reason;
    count(&mm_text_counters.refused[reason], 1);
}

/* --- images --- */

void text_image_get(struct text_image *img)
{
    img->refs++;
}

void text_image_put(struct text_image *img)
{
    if (--img->refs)
        return;
    if (img->mem != NO_OFF)
        memref_release(img->mem, img->mem_len);
    if (img->area != NO_OFF)
        memref_release(img->area, img->area_len);
    text_file_put(img->file);
    free(img->slot_of);
    free(img->site_of);
    free(img->targets);
    free(img);
}

static void image_uncache(struct text_image *img)
{
    if (!img->cached)
        return;
    img->cached = false;
    g_text.bytes -= img->mem_len + img->area_len;
    list_del(&img->link);
    list_del(&img->lru);
    text_image_put(img);
}

static uint64_t bytes_max(void)
{
    return MIN(TEXT_BYTES_MAX, memfile_limit(g_mm.mf) / 8);
}

static void image_cache(struct text_image *img)
{
    img->cached = true;
    img->refs++;
    g_text.bytes += img->mem_len + img->area_len;
    list_add(&img->link, &img->file->images);
    list_add(&img->lru, &g_text.lru);
    while (g_text.bytes > bytes_max()) {
        struct text_image *last = container_of(g_text.lru.prev, struct text_image, lru);
        if (last == img)
            break;
        count(&mm_text_counters.dropped, 1);
        image_uncache(last);
    }
    count(&mm_text_counters.images, 1);
    count(&mm_text_counters.image_bytes, img->mem_len + img->area_len);
}

/* Large pages: address spaces map and unmap them in fewer steps. */
static int text_populate(uint64_t off, uint64_t len)
{
    for (uint64_t at = 0; at + DENSE_MIN <= len; at += HUGE_SIZE)
        (void)memfile_populate_huge(g_mm.mf, off + at);
    return memfile_populate(g_mm.mf, off, len);
}

static struct text_image *image_alloc(struct text_file *f, uint64_t off, uint64_t len,
                                      int64_t delta)
{
    struct text_image *img = calloc(1, sizeof *img);

    if (!img)
        return NULL;
    img->refs = 1;
    img->file = f;
    f->refs++;
    list_init(&img->link);
    list_init(&img->lru);
    img->off = off;
    img->len = len;
    img->mem_len = len < DENSE_MIN ? len : align_up(len, HUGE_SIZE);
    img->delta = delta;
    img->area_len = MIN(len, TEXT_AREA_MAX);
    img->mem = img->area = NO_OFF;
    img->slot_of = malloc(TEXT_SITES_MAX * sizeof *img->slot_of);
    img->site_of = malloc(img->area_len / MM_TEXT_SLOT * sizeof *img->site_of);
    if (img->slot_of)
        memset(img->slot_of, 0xff, TEXT_SITES_MAX * sizeof *img->slot_of);
    if (!img->slot_of || !img->site_of || memfile_alloc(g_mm.mf, img->mem_len, 0, &img->mem) < 0 ||
        memfile_alloc(g_mm.mf, img->area_len, MEMFILE_ANY, &img->area) < 0 ||
        text_populate(img->mem, len) < 0) {
        text_image_put(img);
        return NULL;
    }
    return img;
}

static uint8_t *image_text(const struct text_image *img)
{
    return memfile_ptr(g_mm.mf, img->mem);
}

static uint8_t *image_slot(const struct text_image *img, unsigned slot)
{
    return (uint8_t *)memfile_ptr(g_mm.mf, img->area) + slot * MM_TEXT_SLOT;
}

struct text_image *text_image_find(struct text_file *f, uint64_t off, uint64_t len, int64_t delta)
{
    struct text_image *img;

    list_for_each_entry (img, &f->images, link) {
        if (img->off == off && img->len == len && img->delta == delta) {
            list_del(&img->lru);
            list_add(&img->lru, &g_text.lru);
            img->refs++;
            return img;
        }
    }
    return NULL;
}

/* Where direct jumps and calls of 5 and 6 bytes lead, wherever one may start: more than there are. */
static bool targets_find(struct text_image *img)
{
    const uint8_t *p = image_text(img);

    img->targets = calloc(1, img->len / 8 + 1);
    if (!img->targets)
        return false;
    for (uint64_t i = 0; i + MM_TEXT_JUMP <= img->len; i++) {
        int32_t rel;

        if ((p[i] & 0xfe) != 0xe8 && !(i && (p[i] & 0xf0) == 0x80 && p[i - 1] == 0x0f))
            continue;
        memcpy(&rel, p + i + 1, sizeof rel);
        uint64_t to = i + MM_TEXT_JUMP + (uint64_t)(int64_t)rel;
        if (to < img->len)
            img->targets[to / 8] |= (uint8_t)(1u << to % 8);
    }
    return true;
}

static bool entered_inside(struct text_image *img, const struct mm_text_site *s, uint64_t start)
{
    if (!img->targets && !targets_find(img))
        return true;
    for (unsigned n = 1; n < s->len; n++) {
        uint64_t at = start + n;

        if (s->steps >> n & 1 && img->targets[at / 8] >> at % 8 & 1)
            return true;
    }
    return false;
}

static void jump_write(uint8_t at[MM_TEXT_JUMP], uint64_t pc, uint64_t to)
{
    uint32_t rel = (uint32_t)(to - (pc + MM_TEXT_JUMP));

    at[0] = 0xe9;
    memcpy(at + 1, &rel, sizeof rel);
}

/* Threads may run it: whole or not at all. */
static void store_word(uint8_t *text, uint64_t at, const uint8_t *bytes, size_t n)
{
    uint64_t word;
    uint8_t *p = text + align_down(at, 8ULL);

    memcpy(&word, p, sizeof word);
    memcpy((uint8_t *)&word + (at & 7), bytes, n);
    __atomic_store_n((uint64_t *)(void *)p, word, __ATOMIC_RELEASE);
}

/* Padding for a jump of 5 bytes: another site may have the first. 0: none. */
static uint64_t pad_choose(const struct text_image *img, const struct mm_text_site *s, uint64_t end)
{
    const uint8_t *text = image_text(img);
    uint64_t pad = end + (uint64_t)(int64_t)s->pad, from = end - s->len; /* behind a jump of 2 */

    for (unsigned i = 0; i < 2; i++, pad += MM_TEXT_JUMP) {
        int64_t jump = (int64_t)(pad - from);
        bool room = i == 0 || s->pad_len >= 2 * MM_TEXT_JUMP;

        if (room && pad + MM_TEXT_JUMP <= img->len && jump >= -128 && jump <= 127 &&
            text[pad] != 0xe9)
            return pad;
    }
    return 0;
}

/* Moving several instructions cannot be: the last one alone, perhaps. */
static bool site_shorten(struct text_known *k)
{
    struct mm_text_site *s = &k->s;

    if (!s->alone || k->applied)
        return false;
    memmove(s->moved, s->moved + s->len - s->alone, s->alone);
    s->disp_at = s->disp_at > s->len - s->alone ? (uint8_t)(s->disp_at - (s->len - s->alone)) : 0;
    s->len = s->alone;
    s->alone = 0;
    s->steps = 1;
    s->shape = MM_TEXT_ONE;
    return true;
}

static int apply_once(struct text_image *img, unsigned site)
{
    const struct mm_text_site *s = &img->file->sites[site].s;
    uint64_t end = img->file->sites[site].end - img->off, start = end - 2 - s->len, pad = 0;
    unsigned slot = img->slot_count, jump_len = s->shape == MM_TEXT_PAD ? 2 : MM_TEXT_JUMP;
    uint8_t *text = image_text(img), jump[MM_TEXT_JUMP];

    if (img->slot_of[site] != TEXT_NO_SLOT)
        return 0;
    if (end > img->len || start > end || memcmp(text + start, s->moved, s->len) != 0)
        return MM_TEXT_SHAPE;
    if ((slot + 1) * MM_TEXT_SLOT > img->area_len)
        return MM_TEXT_FULL;
    if (img->maps && (start & 7) + jump_len > 8)
        return MM_TEXT_LIVE;
    if (s->shape == MM_TEXT_MORE && entered_inside(img, s, start))
        return MM_TEXT_TARGET;
    if (s->shape == MM_TEXT_PAD && !(pad = pad_choose(img, s, end)))
        return MM_TEXT_ROOM;
    if (slot * MM_TEXT_SLOT % PAGE_SIZE == 0 &&
        memfile_populate(g_mm.mf, img->area + slot * MM_TEXT_SLOT, PAGE_SIZE) < 0)
        return MM_TEXT_FULL;
    uint64_t at = (uint64_t)img->delta + slot * MM_TEXT_SLOT;
    memset(image_slot(img, slot), 0xcc, MM_TEXT_SLOT);
    g_text.ops->slot_fill(s, end, at, image_slot(img, slot));
    if (pad) {
        jump_write(text + pad, pad, at);
        jump[0] = 0xeb;
        jump[1] = (uint8_t)(pad - (start + 2));
    } else {
        jump_write(jump, start, at);
    }
    if ((start & 7) + jump_len <= 8)
        store_word(text, start, jump, jump_len);
    else
        memcpy(text + start, jump, jump_len);
    img->slot_of[site] = (uint16_t)slot;
    img->site_of[slot] = (uint16_t)site;
    img->slot_count++;
    img->file->sites[site].applied = true;
    count(&mm_text_counters.sites[s->shape], 1);
    return 0;
}

int text_image_apply(struct text_image *img, unsigned site)
{
    int r = apply_once(img, site);

    if (r == MM_TEXT_TARGET && site_shorten(&img->file->sites[site]))
        r = apply_once(img, site);
    return r;
}

static void image_apply_all(struct text_image *img)
{
    struct text_file *f = img->file;

    img->late_traps = 0;
    for (unsigned i = 0; i < f->site_count; i++) {
        struct text_known *k = &f->sites[i];

        if (k->refused || img->slot_of[i] != TEXT_NO_SLOT || k->end < img->off ||
            k->end > img->off + img->len)
            continue;
        int r = text_image_apply(img, i);
        if (r == MM_TEXT_LIVE) {
            img->late_traps += k->traps;
        } else if (r && r != MM_TEXT_FULL) {
            text_site_refuse(k, r);
        }
    }
    img->version = f->version;
}

struct text_image *text_image_make(struct text_file *f, struct mappable *m, uint64_t off,
                                   uint64_t len, int64_t delta)
{
    struct mappable_id id;

    if (align_up(len, HUGE_SIZE) + TEXT_AREA_MAX > bytes_max())
        return NULL;
    struct text_image *img = image_alloc(f, off, len, delta);
    if (!img)
        return NULL;
    if (file_read(m, off, image_text(img), len) < 0 || m->ops->identity(m, &id) < 0 ||
        !id_equal(&id, &f->id)) {
        text_image_put(img);
        return NULL;
    }
    image_apply_all(img);
    if (f->cached)
        image_cache(img);
    return img;
}

/* The same once more, for nobody's threads yet. */
static struct text_image *image_copy(struct text_image *old)
{
    struct text_image *img = image_alloc(old->file, old->off, old->len, old->delta);
    uint64_t used = align_up(old->slot_count * MM_TEXT_SLOT, PAGE_SIZE);

    if (!img)
        return NULL;
    if (used && memfile_populate(g_mm.mf, img->area, used) < 0) {
        text_image_put(img);
        return NULL;
    }
    memcpy(image_text(img), image_text(old), old->len);
    memcpy(image_slot(img, 0), image_slot(old, 0), used);
    memcpy(img->slot_of, old->slot_of, TEXT_SITES_MAX * sizeof *img->slot_of);
    memcpy(img->site_of, old->site_of, old->slot_count * sizeof *img->site_of);
    img->slot_count = old->slot_count;
    img->gen = old->gen + 1;
    return img;
}

struct text_image *text_image_renew(struct text_image *img, uint64_t late_max)
{
    if (img->version != img->file->version || (img->late_traps && !img->maps))
        image_apply_all(img);
    if (!img->cached || img->late_traps < late_max << MIN(img->gen, GEN_SHIFT_MAX))
        return img;
    struct text_image *new = image_copy(img);
    if (!new)
        return img;
    image_apply_all(new);
    image_uncache(img);
    text_image_put(img);
    image_cache(new);
    return new;
}
