/* SPDX-License-Identifier: Apache-2.0
 * p9fs_listing.c - listings of directories in memory: made, kept, and asked about names.
 *
 * Model: a listing is immutable once published. One with attributes answers lookups: a name it has, and
 * just as well one it has not. All kept listings of a mount are on one LRU, bounded by
 * p9_listings_max bytes: those of inodes, and `waiting` ones, which came before anybody asked
 * (p9fs_scan.c) and are found by the directory's identity when its inode is made.
 *
 * Locks: fs->lock for what is kept, for all links and counters here.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/hash.h>

#include "p9fs_private.h"

uint64_t p9_listings_max = P9_LISTINGS_BYTES;

void p9_listing_put(struct p9_listing *l)
{
    if (l && refcount_put(&l->ref))
        free(l);
}

/* --- making one --- */

void p9_builder_start(struct p9_builder *b, bool with_attr)
{
    b->count = b->names_len = 0;
    b->with_attr = with_attr;
}

void p9_builder_fini(struct p9_builder *b)
{
    free(b->entries);
    free(b->attrs);
    free(b->names);
    *b = (struct p9_builder){0};
}

/* Room for @need of what has @size bytes each. */
static bool room_make(void *array, uint32_t *cap, uint32_t need, size_t size)
{
    void **a = array;
    if (need <= *cap)
        return true;
    uint32_t n = MAX(*cap * 2, MAX(need, 64u));
    void *grown = realloc(*a, n * size);
    if (!grown)
        return false;
    *a = grown;
    *cap = n;
    return true;
}

int p9_builder_add(struct p9_builder *b, const struct p9_dirent *d)
{
    uint32_t n = b->count;
    if (n >= P9_LISTING_ENTRIES || b->names_len + d->name.len > P9_LISTING_BYTES)
        return -E2BIG;
    if (!room_make(&b->entries, &b->entries_cap, n + 1, sizeof *b->entries) ||
        !room_make(&b->names, &b->names_cap, b->names_len + d->name.len, 1))
        return -ENOMEM;
    /* Without memory for attributes, or with too many, it goes on without. */
    b->with_attr = b->with_attr && n < P9_HINT_ENTRIES &&
                   room_make(&b->attrs, &b->attrs_cap, n + 1, sizeof *b->attrs);
    if (b->with_attr)
        b->attrs[n] = d->attr;
    b->entries[b->count++] = (struct p9_entry){
        .ino = d->qid.path, .name = b->names_len, .len = (uint8_t)d->name.len, .type = d->type};
    memcpy(b->names + b->names_len, d->name.s, d->name.len);
    b->names_len += d->name.len;
    return 0;
}

static void index_build(struct p9_listing *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        uint64_t h = hash_bytes(l->names + l->entries[i].name, l->entries[i].len);
        while (l->index[h & l->index_mask])
            h++;
        l->index[h & l->index_mask] = i + 1;
    }
}

struct p9_listing *p9_builder_done(const struct p9_builder *b)
{
    uint32_t slots = b->with_attr ? 4 : 0;
    while (slots && slots < b->count + b->count / 2 + 1)
        slots *= 2;
    size_t attrs = b->with_attr ? b->count * sizeof *b->attrs : 0;
    size_t entries = b->count * sizeof *b->entries, index = slots * sizeof(uint32_t);
    size_t bytes = sizeof(struct p9_listing) + attrs + entries + index + b->names_len;
    struct p9_listing *l = malloc(bytes);
    if (!l)
        return NULL;
    char *at = (char *)(l + 1);
    *l = (struct p9_listing){.count = b->count, .bytes = bytes};
    refcount_init(&l->ref);
    list_init(&l->lru);
    list_init(&l->waiting);
    l->entries = (struct p9_entry *)(at + attrs);
    l->names = at + attrs + entries + index;
    if (b->count) {
        memcpy(l->entries, b->entries, entries);
        memcpy(l->names, b->names, b->names_len);
    }
    if (!b->with_attr)
        return l;
    l->attrs = (struct p9_attr *)at;
    l->index = (uint32_t *)(at + attrs + entries);
    l->index_mask = slots - 1;
    if (b->count)
        memcpy(l->attrs, b->attrs, attrs);
    memset(l->index, 0, index);
    index_build(l);
    return l;
}

/* --- keeping --- */

/* Out of the cache; the caller puts the cache's reference. */
static struct p9_listing *forget_locked(struct p9fs *fs, struct p9_listing *l)
{
    if (l->owner)
        l->owner->listing = NULL;
    else
        fs->ahead_waiting--;
    l->owner = NULL;
    list_del(&l->lru);
    list_del(&l->waiting);
    fs->listing_bytes -= l->bytes;
    return l;
}

static void keep_locked(struct p9fs *fs, struct p9_listing *l, struct p9_inode *owner)
{
    refcount_get(&l->ref);
    list_add(&l->lru, &fs->listings);
    fs->attrs_unused++;
    fs->listing_bytes += l->bytes;
    l->owner = owner;
    if (owner)
        owner->listing = l;
    else
        fs->ahead_waiting++;
}

/* Old ones go until the limit is kept; the one just added stays if it fits at all. */
static void listings_trim(struct p9fs *fs)
{
    struct p9_listing *old;
    do {
        spin_lock(&fs->lock);
        old = NULL;
        if (fs->listing_bytes > p9_listings_max)
            old = forget_locked(fs, list_last_entry(&fs->listings, struct p9_listing, lru));
        spin_unlock(&fs->lock);
        p9_listing_put(old);
    } while (old);
}

void p9_listings_free(struct p9fs *fs)
{
    while (!list_empty(&fs->listings))
        p9_listing_put(forget_locked(fs, list_first_entry(&fs->listings, struct p9_listing, lru)));
}

void p9_listing_keep(struct p9_inode *pi, struct p9_listing *l, uint32_t gen)
{
    struct p9fs *fs = pi->fs;
    struct p9_listing *old = NULL;
    spin_lock(&fs->lock);
    if (gen == pi->listing_gen && l->seen >= fs->all_changed) {
        if (pi->listing)
            old = forget_locked(fs, pi->listing);
        keep_locked(fs, l, pi);
    }
    spin_unlock(&fs->lock);
    p9_listing_put(old);
    listings_trim(fs);
}

void p9_listing_drop(struct p9_inode *dir)
{
    spin_lock(&dir->fs->lock);
    struct p9_listing *l = dir->listing ? forget_locked(dir->fs, dir->listing) : NULL;
    dir->listing_gen++;
    dir->listing_big = false;
    spin_unlock(&dir->fs->lock);
    p9_listing_put(l);
}

void p9_listing_too_big(struct p9_inode *dir)
{
    spin_lock(&dir->fs->lock);
    dir->listing_big = true;
    spin_unlock(&dir->fs->lock);
}

struct p9_listing *p9_listing_cached(struct p9_inode *dir, bool *ret_big)
{
    struct p9fs *fs = dir->fs;
    spin_lock(&fs->lock);
    struct p9_listing *l = dir->listing, *old = NULL;
    if (l && l->seen < fs->all_changed) {
        old = forget_locked(fs, l);
        l = NULL;
    }
    *ret_big = dir->listing_big;
    if (l) {
        refcount_get(&l->ref);
        list_del(&l->lru);
        list_add(&l->lru, &fs->listings);
    }
    spin_unlock(&fs->lock);
    p9_listing_put(old);
    return l;
}

/* --- listings that nobody asked for yet --- */

static struct list_head *waiting_bucket(struct p9fs *fs, uint64_t path, uint64_t dev)
{
    return &fs->waiting[hash_u64(path ^ hash_u64(dev)) % P9_WAITING_BUCKETS];
}

static struct p9_listing *waiting_find_locked(struct p9fs *fs, uint64_t path, uint64_t dev)
{
    struct p9_listing *l;
    list_for_each_entry (l, waiting_bucket(fs, path, dev), waiting)
        if (l->path == path && l->dev == dev)
            return l;
    return NULL;
}

void p9_listing_forget(struct p9fs *fs, uint64_t path, uint64_t dev)
{
    struct p9_attr dir = {.qid.path = path, .dev = dev, .mode = S_IFDIR};
    spin_lock(&fs->lock);
    struct p9_inode *pi = p9_inode_find_locked(fs, &dir);
    struct p9_listing *l = pi ? pi->listing : waiting_find_locked(fs, path, dev);
    if (l)
        l = forget_locked(fs, l);
    spin_unlock(&fs->lock);
    p9_listing_put(l);
}

bool p9_listing_known_locked(struct p9fs *fs, const struct p9_attr *dir)
{
    struct p9_inode *pi = p9_inode_find_locked(fs, dir);
    return pi ? pi->listing != NULL : waiting_find_locked(fs, dir->qid.path, dir->dev) != NULL;
}

void p9_listing_ahead(struct p9fs *fs, struct p9_listing *l, const struct p9_attr *dir)
{
    l->path = dir->qid.path;
    l->dev = dir->dev;
    spin_lock(&fs->lock);
    fs->ahead_given++;
    if (l->seen == fs->changes && !p9_listing_known_locked(fs, dir)) {
        struct p9_inode *pi = p9_inode_find_locked(fs, dir);
        keep_locked(fs, l, pi);
        if (!pi)
            list_add(&l->waiting, waiting_bucket(fs, l->path, l->dev));
    }
    spin_unlock(&fs->lock);
    listings_trim(fs);
}

void p9_listing_claim_locked(struct p9fs *fs, struct p9_inode *dir)
{
    struct p9_listing *l = waiting_find_locked(fs, dir->path, dir->dev);
    if (!l)
        return;
    list_del(&l->waiting);
    fs->ahead_waiting--;
    l->owner = dir;
    dir->listing = l;
}

/* --- hints: what a listing with attributes knows about names --- */

int p9_listing_find(const struct p9_listing *l, const char *name, size_t len)
{
    for (uint64_t h = hash_bytes(name, len);; h++) {
        uint32_t at = l->index[h & l->index_mask];
        if (at == 0)
            return -1;
        const struct p9_entry *e = &l->entries[at - 1];
        if (e->len == len && memcmp(l->names + e->name, name, len) == 0)
            return (int)at - 1;
    }
}

int p9_hint(struct p9_inode *dir, const char *name, size_t len, struct p9_attr *ret,
            uint64_t *ret_seen)
{
    bool big;
    struct p9_listing *l = p9_listing_cached(dir, &big);
    int r = -1;
    if (l && l->index) {
        int i = p9_listing_find(l, name, len);
        r = i < 0 ? 0 : l->attrs[i].valid ? 1 : -1;
        if (i >= 0 && l->entries[i].type != DT_DIR && dir->fs->attrs_unused)
            dir->fs->attrs_unused = 0;
        if (r == 1)
            *ret = l->attrs[i];
        *ret_seen = l->seen;
    }
    p9_listing_put(l);
    return r;
}

/* --- which entries come next --- */

enum order { ORDER_LISTED, ORDER_INO, ORDER_NAME, ORDERS };

/* Programs take files as listed, by number (tar, to spare the disk) or by name (shells). */
static int entry_compare(const struct p9_listing *l, enum order o, uint32_t a, uint32_t b)
{
    const struct p9_entry *x = &l->entries[a], *y = &l->entries[b];
    if (o == ORDER_INO && x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    if (o == ORDER_NAME) {
        int r = memcmp(l->names + x->name, l->names + y->name, MIN(x->len, y->len));
        return r ? r : (int)x->len - (int)y->len;
    }
    return a < b ? -1 : a > b;
}

/* How many of their type are between @last and @at; UINT32_MAX: @at is not behind it. */
static uint32_t entries_between(const struct p9_listing *l, enum order o, uint32_t last,
                                uint32_t at)
{
    uint32_t n = 0;
    if (entry_compare(l, o, last, at) >= 0)
        return UINT32_MAX;
    for (uint32_t i = 0; i < l->count; i++)
        n += l->entries[i].type == l->entries[at].type && entry_compare(l, o, last, i) < 0 &&
             entry_compare(l, o, i, at) < 0;
    return n;
}

/* The order in which the fewest are between @last and @at; of equals the one it was before. */
static enum order order_guess(struct p9_listing *l, uint32_t last, uint32_t at,
                              bool *ret_in_sequence)
{
    enum order best = (enum order)l->order;
    uint32_t least = entries_between(l, best, last, at);
    for (enum order o = 0; o < ORDERS; o++) {
        uint32_t n = entries_between(l, o, last, at);
        if (n < least) {
            least = n;
            best = o;
        }
    }
    *ret_in_sequence = least == 0;
    l->order = (uint8_t)best;
    return best;
}

uint32_t p9_listing_after(struct p9fs *fs, struct p9_listing *l, uint32_t at, uint32_t *last,
                          bool (*wanted)(struct p9fs *fs, const struct p9_attr *a), uint32_t max,
                          uint32_t *ret, bool *ret_in_sequence)
{
    uint32_t n = 0;
    *ret_in_sequence = false;
    spin_lock(&fs->lock);
    enum order o = *last && *last - 1 < l->count ? order_guess(l, *last - 1, at, ret_in_sequence)
                                                 : ORDER_LISTED;
    *last = at + 1;
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->entries[i].type != l->entries[at].type || entry_compare(l, o, at, i) >= 0 ||
            (n == max && entry_compare(l, o, i, ret[n - 1]) >= 0) || !wanted(fs, &l->attrs[i]))
            continue;
        uint32_t k = n < max ? n++ : n - 1;
        for (; k > 0 && entry_compare(l, o, i, ret[k - 1]) < 0; k--)
            ret[k] = ret[k - 1];
        ret[k] = i;
    }
    spin_unlock(&fs->lock);
    return n;
}

void p9_listing_opened_locked(struct p9_inode *file)
{
    struct p9_listing *l = file->parent ? p9_of(file->parent)->listing : NULL;
    int at = l && l->index ? p9_listing_find(l, file->name, file->name_len) : -1;
    if (at >= 0)
        l->last_file = (uint32_t)at + 1;
}
