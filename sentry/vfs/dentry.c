/* SPDX-License-Identifier: Apache-2.0
 * dentry.c - the cache of names: positive and negative, one hash for all directories, LRU-bounded.
 *
 * Model: a hashed dentry carries one reference of the cache, so a warm lookup is one bucket lock
 * and one increment. A name that comes to exist or ceases to gets a new dentry; the inode of a
 * dentry never changes. Children hold their parent, so eviction goes leaf first. Insertions and
 * removals of a directory's names happen under the directory's inode lock; rename unhashes, changes
 * name and parent under the tree lock, hashes again: a lookup in between misses and waits for the
 * inode lock.
 *
 * Guests choose the names: the hash is keyed, the count is bounded by DENTRIES_MAX (entries in use
 * by open files and directories beyond it are bounded by those).
 *
 * Locks: bucket locks (256, shared by the buckets) and g_dentry_tree, both RANK_DENTRY, never
 * nested. */
#include <stdlib.h>

#include <base/hash.h>

#include "vfs_internal.h"

#define DENTRY_BUCKETS 65536u
#define DENTRY_LOCKS 256u
#define EVICT_BATCH 16u

static struct dentry *buckets[DENTRY_BUCKETS];
static struct spin bucket_locks[DENTRY_LOCKS];
struct spin g_dentry_tree = SPIN_INIT(RANK_DENTRY);
static struct list_head lru = LIST_HEAD_INIT(lru);
static _Atomic(uint32_t) lru_count; /* written under g_dentry_tree */

void dentry_init(void)
{
    for (unsigned i = 0; i < DENTRY_LOCKS; i++)
        spin_init(&bucket_locks[i], RANK_DENTRY);
}

static uint64_t name_hash(const struct dentry *parent, const char *name, size_t len)
{
    return hash_u64((uint64_t)(uintptr_t)parent ^ hash_bytes(name, len));
}

static struct spin *bucket_lock(uint64_t hash)
{
    return &bucket_locks[hash % DENTRY_LOCKS];
}

static int name_set(struct dentry *d, const char *name, size_t len)
{
    char *n = d->short_name;
    if (len >= sizeof(d->short_name)) {
        n = malloc(len + 1);
        if (!n)
            return -ENOMEM;
    }
    memcpy(n, name, len);
    n[len] = 0;
    if (d->name && d->name != d->short_name)
        free(d->name);
    d->name = n;
    d->len = (uint16_t)len;
    return 0;
}

struct dentry *dentry_new(struct dentry *parent, const char *name, size_t len, struct inode *inode)
{
    struct dentry *d = calloc(1, sizeof(*d));
    if (!d || name_set(d, name, len) < 0) {
        free(d);
        return NULL;
    }
    refcount_init(&d->ref);
    d->parent = parent ? dentry_get(parent) : NULL;
    d->inode = inode;
    list_init(&d->children);
    list_init(&d->child_link);
    list_init(&d->lru_link);
    return d;
}

struct dentry *dentry_get(struct dentry *d)
{
    refcount_get(&d->ref);
    return d;
}

void dentry_put(struct dentry *d)
{
    while (!IS_ERR_OR_NULL(d) && refcount_put(&d->ref)) {
        struct dentry *parent = d->parent;
        inode_put(d->inode);
        if (d->name != d->short_name)
            free(d->name);
        free(d);
        d = parent;
    }
}

struct dentry *dentry_find(struct dentry *parent, const char *name, size_t len)
{
    uint64_t hash = name_hash(parent, name, len);
    struct spin *lock = bucket_lock(hash);
    spin_lock(lock);
    struct dentry *d = buckets[hash % DENTRY_BUCKETS];
    while (d && !(d->hash == hash && d->parent == parent && d->len == len &&
                  memcmp(d->name, name, len) == 0))
        d = d->hash_next;
    if (d) {
        refcount_get(&d->ref);
        if (!d->used)
            d->used = true;
    }
    spin_unlock(lock);
    return d;
}

/* Out of its bucket. @max_refs: only when at most so many references are held (0: always). */
static bool dentry_unhash(struct dentry *d, int32_t max_refs)
{
    struct spin *lock = bucket_lock(d->hash);
    spin_lock(lock);
    bool take = d->hashed && (!max_refs || refcount_read(&d->ref) <= max_refs);
    if (take) {
        struct dentry **p = &buckets[d->hash % DENTRY_BUCKETS];
        while (*p != d)
            p = &(*p)->hash_next;
        *p = d->hash_next;
        d->hash_next = NULL;
        d->hashed = false;
    }
    spin_unlock(lock);
    if (!take)
        return false;
    spin_lock(&g_dentry_tree);
    list_del(&d->child_link);
    list_del(&d->lru_link);
    lru_count--;
    spin_unlock(&g_dentry_tree);
    return true;
}

void dentry_drop(struct dentry *d)
{
    if (dentry_unhash(d, 0))
        dentry_put(d); /* the cache's */
}

static void dentry_hash(struct dentry *d)
{
    d->hash = name_hash(d->parent, d->name, d->len);
    dentry_get(d); /* the cache's */
    spin_lock(&g_dentry_tree);
    list_add(&d->child_link, &d->parent->children);
    list_add_tail(&d->lru_link, &lru);
    lru_count++;
    spin_unlock(&g_dentry_tree);
    struct spin *lock = bucket_lock(d->hash);
    spin_lock(lock);
    struct dentry **b = &buckets[d->hash % DENTRY_BUCKETS];
    d->hash_next = *b;
    *b = d;
    d->hashed = true;
    spin_unlock(lock);
}

/* Second chance for those used since; the others go when nobody else holds them. */
static void dentry_evict(void)
{
    struct dentry *batch[EVICT_BATCH];
    unsigned n = 0;
    spin_lock(&g_dentry_tree);
    for (unsigned seen = 0; n < EVICT_BATCH && seen < 4 * EVICT_BATCH && !list_empty(&lru);
         seen++) {
        struct dentry *d = list_first_entry(&lru, struct dentry, lru_link);
        list_del(&d->lru_link);
        list_add_tail(&d->lru_link, &lru);
        if (d->used) {
            d->used = false;
            continue;
        }
        dentry_get(d); /* listed: the cache's reference is still there */
        batch[n++] = d;
    }
    spin_unlock(&g_dentry_tree);
    for (unsigned i = 0; i < n; i++) {
        if (dentry_unhash(batch[i], 2))
            dentry_put(batch[i]);
        dentry_put(batch[i]);
    }
}

static uint64_t changes_now(const struct inode *dir)
{
    return atomic_load_explicit(dir->sb->changes, memory_order_acquire);
}

static struct dentry *add_seen(struct dentry *parent, const char *name, size_t len,
                               struct inode *inode, uint64_t seen)
{
    struct dentry *d = dentry_new(parent, name, len, inode);
    if (!d) {
        inode_put(inode);
        return ERR_PTR(-ENOMEM);
    }
    d->used = true;
    d->seen = seen;
    dentry_hash(d);
    if (lru_count > DENTRIES_MAX) /* a stale read only shifts the moment */
        dentry_evict();
    return d;
}

struct dentry *dentry_add(struct dentry *parent, const char *name, size_t len, struct inode *inode)
{
    return add_seen(parent, name, len, inode, changes_now(parent->inode));
}

bool dentry_current(struct dentry *d, const struct dentry *parent)
{
    struct inode *dir = parent->inode;
    uint64_t now = changes_now(dir), seen = atomic_load_explicit(&d->seen, memory_order_relaxed);
    if (likely(seen == now))
        return true;
    if (dir->ops->changed && dir->ops->changed(dir) > seen)
        return false;
    atomic_store_explicit(&d->seen, now, memory_order_relaxed);
    return true;
}

/* Cached and known to be right: the dentry; otherwise NULL. */
static struct dentry *dentry_cached(struct dentry *parent, const char *name, size_t len)
{
    struct dentry *d = dentry_find(parent, name, len);
    struct inode *dir = parent->inode;
    if (!d || d->mounts || (dir->sb->exclusive && dentry_current(d, parent)))
        return d;
    if (!dir->sb->exclusive && dir->ops->revalidate &&
        dir->ops->revalidate(dir, name, len, d->inode))
        return d;
    dentry_put(d);
    return NULL;
}

struct dentry *dentry_lookup_locked(struct dentry *parent, const char *name, size_t len)
{
    struct inode *dir = parent->inode;
    struct dentry *old = dentry_find(parent, name, len);
    if (old && (old->mounts || (dir->sb->exclusive && dentry_current(old, parent))))
        return old;
    uint64_t seen = changes_now(dir); /* before the question: the answer may be older than now */
    struct inode *i = ERR_PTR(-ENOENT);
    if (!dir->dead && dir->ops->lookup)
        i = dir->ops->lookup(dir, name, len);
    if (PTR_ERR(i) == -ENOENT)
        i = NULL;
    if (IS_ERR(i)) {
        dentry_put(old);
        return ERR_PTR(PTR_ERR(i));
    }
    if (old && old->inode == i) {
        atomic_store_explicit(&old->seen, seen, memory_order_relaxed);
        inode_put(i);
        return old;
    }
    if (old) {
        if (!mount_beneath(old))
            dentry_prune_all(old); /* nobody asks for them any more, but they hold it */
        dentry_drop(old);
        dentry_put(old);
    }
    return add_seen(parent, name, len, i, seen);
}

struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t len)
{
    struct dentry *d = dentry_cached(parent, name, len);
    if (d)
        return d;
    fmutex_lock(&parent->inode->lock);
    d = dentry_lookup_locked(parent, name, len);
    fmutex_unlock(&parent->inode->lock);
    return d;
}

void dentry_prune(struct dentry *d)
{
    for (;;) {
        spin_lock(&g_dentry_tree);
        struct dentry *child = NULL;
        if (!list_empty(&d->children))
            child = dentry_get(list_first_entry(&d->children, struct dentry, child_link));
        spin_unlock(&g_dentry_tree);
        if (!child)
            return;
        dentry_drop(child);
        dentry_put(child);
    }
}

/* Depth first without a stack: go down while there are children, drop, go up. */
void dentry_prune_all(struct dentry *top)
{
    struct dentry *d = dentry_get(top);
    for (;;) {
        spin_lock(&g_dentry_tree);
        struct dentry *child = NULL;
        if (!list_empty(&d->children))
            child = dentry_get(list_first_entry(&d->children, struct dentry, child_link));
        spin_unlock(&g_dentry_tree);
        if (child) {
            dentry_put(d);
            d = child;
            continue;
        }
        if (d == top)
            break;
        struct dentry *up = dentry_parent(d);
        dentry_drop(d);
        dentry_put(d);
        d = up;
    }
    dentry_put(d);
}

int dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len)
{
    bool was_hashed = dentry_unhash(d, 0);
    dentry_get(parent);
    spin_lock(&g_dentry_tree);
    struct dentry *old = d->parent;
    int r = name_set(d, name, len);
    if (r == 0)
        d->parent = parent;
    spin_unlock(&g_dentry_tree);
    dentry_put(r == 0 ? old : parent);
    if (r == 0)
        dentry_hash(d);
    if (was_hashed)
        dentry_put(d); /* the old one of the cache */
    return r;
}

void dentry_mark_deleted(struct dentry *d)
{
    spin_lock(&g_dentry_tree);
    d->deleted = true;
    spin_unlock(&g_dentry_tree);
    dentry_drop(d);
}

struct dentry *dentry_parent(struct dentry *d)
{
    spin_lock(&g_dentry_tree);
    struct dentry *p = d->parent ? dentry_get(d->parent) : NULL;
    spin_unlock(&g_dentry_tree);
    return p;
}

bool dentry_is_ancestor(struct dentry *a, struct dentry *d)
{
    spin_lock(&g_dentry_tree);
    while (d && d != a)
        d = d->parent;
    spin_unlock(&g_dentry_tree);
    return d == a && a;
}
