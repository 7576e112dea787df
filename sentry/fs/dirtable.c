/* SPDX-License-Identifier: Apache-2.0
 * dirtable.c - names of an in-memory directory (dirtable.h).
 *
 * A chained hash that doubles, and an array in cookie order that is searched by bisection; when
 * more than half of its slots are empty it is packed. Cookies never change, so a reader that
 * remembers one loses nothing. */
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/hash.h>

#include "dirtable.h"

struct dir_slot {
    int64_t cookie;
    struct dir_entry *entry; /* NULL: removed */
};

void dirtable_free(struct dirtable *t)
{
    for (uint32_t i = 0; i < t->slots; i++)
        free(t->order[i].entry);
    free(t->order);
    free(t->buckets);
    *t = (struct dirtable){0};
}

struct dir_entry *dirtable_find(struct dirtable *t, const char *name, size_t len)
{
    if (!t->count)
        return NULL;
    uint64_t h = hash_bytes(name, len);
    struct dir_entry *e = t->buckets[h & (t->bucket_count - 1)];
    while (e && !(e->hash == h && e->len == len && memcmp(e->name, name, len) == 0))
        e = e->next;
    return e;
}

static int table_grow(struct dirtable *t)
{
    if (t->count < t->bucket_count)
        return 0;
    uint32_t n = t->bucket_count ? t->bucket_count * 2 : 8;
    struct dir_entry **b = calloc(n, sizeof(struct dir_entry *));
    if (!b)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->bucket_count; i++)
        for (struct dir_entry *e = t->buckets[i], *next; e; e = next) {
            next = e->next;
            e->next = b[e->hash & (n - 1)];
            b[e->hash & (n - 1)] = e;
        }
    free(t->buckets);
    t->buckets = b;
    t->bucket_count = n;
    return 0;
}

static void order_pack(struct dirtable *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->slots; i++)
        if (t->order[i].entry)
            t->order[n++] = t->order[i];
    t->slots = n;
}

static int order_grow(struct dirtable *t)
{
    if (t->slots < t->slot_capacity)
        return 0;
    uint32_t n = t->slot_capacity ? t->slot_capacity * 2 : 8;
    struct dir_slot *o = realloc(t->order, n * sizeof(*o));
    if (!o)
        return -ENOMEM;
    t->order = o;
    t->slot_capacity = n;
    return 0;
}

int dirtable_insert(struct dirtable *t, const char *name, size_t len, struct inode *inode)
{
    return dirtable_add(t, name, len, inode) ? 0 : -ENOMEM;
}

struct dir_entry *dirtable_add(struct dirtable *t, const char *name, size_t len,
                               struct inode *inode)
{
    if (table_grow(t) < 0 || order_grow(t) < 0)
        return NULL;
    struct dir_entry *e = malloc(sizeof(*e) + len);
    if (!e)
        return NULL;
    if (!t->next_cookie)
        t->next_cookie = DIR_FIRST_COOKIE;
    e->hash = hash_bytes(name, len);
    e->cookie = t->next_cookie++;
    e->inode = inode;
    e->len = (uint16_t)len;
    e->over_lower = false;
    memcpy(e->name, name, len);
    struct dir_entry **b = &t->buckets[e->hash & (t->bucket_count - 1)];
    e->next = *b;
    *b = e;
    t->order[t->slots++] = (struct dir_slot){e->cookie, e};
    t->count++;
    return e;
}

/* Index of the first slot with cookie >= @cookie. */
static uint32_t order_find(const struct dirtable *t, int64_t cookie)
{
    uint32_t lo = 0, hi = t->slots;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->order[mid].cookie < cookie)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void dirtable_remove(struct dirtable *t, struct dir_entry *e)
{
    struct dir_entry **p = &t->buckets[e->hash & (t->bucket_count - 1)];
    while (*p != e)
        p = &(*p)->next;
    *p = e->next;
    t->order[order_find(t, e->cookie)].entry = NULL;
    free(e);
    t->count--;
    if (t->slots > 16 && t->count < t->slots / 2)
        order_pack(t);
}

struct dir_entry *dirtable_next(struct dirtable *t, int64_t cookie)
{
    for (uint32_t i = order_find(t, cookie); i < t->slots; i++)
        if (t->order[i].entry)
            return t->order[i].entry;
    return NULL;
}
