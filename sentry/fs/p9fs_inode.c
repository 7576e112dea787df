/* SPDX-License-Identifier: Apache-2.0
 * p9fs_inode.c - inodes of a 9P file system by identity, and their fids.
 *
 * Model: one inode per object at the server, keyed by (qid.path, dev), so hard links share it and its
 * caches. It owns an unopened fid from the lookup that made it until its last reference goes. An
 * inode found in a cached listing has none at first: it knows its directory and name, and walks when
 * a fid is wanted; it then lets the directory go. Directories may be so themselves, so a walk can start
 * some levels up: P9_CHAIN_MAX at most, since puts of parents nest as deep. Only read-only exclusive mounts have such inodes: names do not
 * move there.
 *
 * Locks: fs->lock (spin, RANK_OBJECT) for the hash, fids and all caches of inodes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/hash.h>

#include "p9fs_private.h"

static struct list_head *bucket_of(struct p9fs *fs, uint64_t path, uint64_t dev)
{
    return list_bucket(&fs->hash[hash_u64(path ^ hash_u64(dev)) % P9_HASH_BUCKETS]);
}

/* Of what is gone the number may be another's by now, unless the server still holds the file. */
static bool removed(const struct p9_inode *pi)
{
    struct attr a;
    if (!S_ISDIR(inode_type(pi->vfs)) && p9_conn_ringbox(pi->fs->conn))
        return false;
    inode_attr(pi->vfs, &a);
    return a.nlink == 0;
}

/* Reference to the live inode of this identity, or NULL. */
static struct inode *find_locked(struct p9fs *fs, const struct p9_attr *a)
{
    struct p9_inode *pi;
    list_for_each_entry (pi, bucket_of(fs, a->qid.path, a->dev), hash_link)
        if (pi->path == a->qid.path && pi->dev == a->dev) {
            if (inode_type(pi->vfs) != (a->mode & S_IFMT) || removed(pi))
                continue; /* the number was used again for something else */
            if (refcount_get_unless_zero(&pi->vfs->ref))
                return pi->vfs;
        }
    return NULL;
}

struct p9_inode *p9_inode_find_locked(struct p9fs *fs, const struct p9_attr *a)
{
    struct p9_inode *pi;
    list_for_each_entry (pi, bucket_of(fs, a->qid.path, a->dev), hash_link)
        if (pi->path == a->qid.path && pi->dev == a->dev &&
            inode_type(pi->vfs) == (a->mode & S_IFMT))
            return pi;
    return NULL;
}

static const struct inode_ops *ops_for(uint32_t mode)
{
    return S_ISDIR(mode) ? &p9_dir_ops : S_ISREG(mode) ? &p9_file_ops : &p9_other_ops;
}

/* @dir NULL: @fid is the inode's; else it is @name in @dir. */
static struct inode *inode_make(struct p9fs *fs, uint32_t fid, const struct p9_attr *a,
                                struct inode *dir, const char *name, size_t len)
{
    struct attr attr;
    struct p9_inode *pi = calloc(1, sizeof *pi);
    if (!pi)
        return NULL;
    pi->fs = fs;
    pi->fid = fid;
    pi->lock_fid = P9_NOFID;
    pi->path = a->qid.path;
    pi->dev = a->dev;
    list_init(&pi->hash_link);
    list_init(&pi->lru);
    fmutex_init(&pi->open_lock, RANK_PAGES);
    mappable_init(&pi->map, &p9_mappable_ops);
    if (dir) {
        pi->name = strndup(name, len);
        pi->name_len = (uint8_t)len;
        pi->chain = p9_of(dir)->chain + 1; /* less if it has got a fid since */
        pi->chain_bytes = (uint16_t)(p9_of(dir)->chain_bytes + len + 2);
    }
    p9_attr_convert(fs, a, &attr);
    struct inode *i = dir && !pi->name ? NULL : inode_new(fs->sb, ops_for(a->mode), &attr, pi);
    if (!i) {
        free(pi->name);
        free(pi);
        return NULL;
    }
    pi->vfs = i;
    pi->parent = dir ? inode_get(dir) : NULL;
    return i;
}

static void made_hash_locked(struct p9fs *fs, struct p9_inode *pi)
{
    list_add(&pi->hash_link, bucket_of(fs, pi->path, pi->dev));
    if (S_ISDIR(inode_type(pi->vfs)))
        p9_listing_claim_locked(fs, pi);
}

/* A lookup has brought a fid to an inode that has one. At plain servers the new one stays: fids may be
 * paths there, which others' renames make stale. */
static void fid_came(struct p9_inode *pi, uint32_t fid)
{
    if (p9_conn_ringbox(pi->fs->conn))
        p9_clunk(pi->fs->conn, fid, false);
    else
        p9_fid_renew(pi->fs->conn, &pi->fid, fid);
}

static struct inode *obtain(struct p9fs *fs, uint32_t fid, const struct p9_attr *a,
                            struct inode *dir, const char *name, size_t len, uint64_t seen)
{
    struct inode *made = NULL;
    for (;;) {
        spin_lock(&fs->lock);
        struct inode *i = find_locked(fs, a);
        if (!i && made)
            made_hash_locked(fs, p9_of(made));
        spin_unlock(&fs->lock);
        if (i && made)
            inode_put(made); /* clunks the fid */
        else if (i && fid != P9_NOFID)
            fid_came(p9_of(i), fid);
        /* What a listing said may be older than what is known. */
        if (i && (fid != P9_NOFID || seen > p9_of(i)->attr_seen)) {
            p9_attr_store(i, a);
            p9_of(i)->attr_seen = seen;
            p9_of(i)->stale = false;
        }
        if (i || made)
            return i ? i : made;
        made = inode_make(fs, fid, a, dir, name, len);
        if (!made) {
            if (fid != P9_NOFID)
                p9_clunk(fs->conn, fid, false);
            return ERR_PTR(-ENOMEM);
        }
        p9_of(made)->attr_seen = seen;
    }
}

struct inode *p9_inode_obtain(struct p9fs *fs, uint32_t fid, const struct p9_attr *a, uint64_t seen)
{
    return obtain(fs, fid, a, NULL, NULL, 0, seen);
}

struct inode *p9_fid_parent(struct p9_inode *pi, char ret_name[NAME_LEN_MAX + 1])
{
    spin_lock(&pi->fs->lock);
    struct inode *dir = pi->fid == P9_NOFID ? inode_get(pi->parent) : NULL;
    spin_unlock(&pi->fs->lock);
    if (dir) {
        memcpy(ret_name, pi->name, pi->name_len);
        ret_name[pi->name_len] = 0;
    }
    return dir;
}

/* Keep @fid as the inode's unless somebody was faster. */
static void fid_keep(struct p9_inode *pi, uint32_t fid)
{
    struct p9fs *fs = pi->fs;
    struct inode *parent = NULL;
    spin_lock(&fs->lock);
    bool keep = pi->fid == P9_NOFID;
    if (keep) {
        pi->fid = fid;
        parent = steal(pi->parent);
    }
    spin_unlock(&fs->lock);
    inode_put(parent);
    if (!keep)
        p9_clunk(fs->conn, fid, false);
}

/* --- walking from the nearest fid --- */

static void chain_put(struct p9_chain *ch)
{
    while (ch->count)
        inode_put(ch->held[--ch->count]);
}

/* The way to @pi; count 0: it has a fid. */
static void chain_get(struct p9_inode *pi, struct p9_chain *ch)
{
    struct p9fs *fs = pi->fs;
    ch->count = 0;
    spin_lock(&fs->lock);
    while (pi->fid == P9_NOFID) {
        BUG_ON(ch->count == P9_CHAIN_MAX);
        ch->held[ch->count++] = inode_get(pi->vfs);
        pi = p9_of(pi->parent);
    }
    ch->fid = pi->fid;
    spin_unlock(&fs->lock);
    ch->names.count = (uint16_t)ch->count;
    for (unsigned k = 0; k < ch->count; k++) {
        const struct p9_inode *at = p9_of(ch->held[ch->count - 1 - k]);
        ch->names.name[k] = p9_name(at->name, at->name_len);
    }
}

/* What a walk of @n names says about the last; @dir: what the last but one should be. */
static int walk_result(struct p9fs *fs, const struct p9_req *req, unsigned n,
                       const struct p9_inode *dir, struct p9_attr *ret)
{
    struct p9_rwalkattr w = {0};
    if (req->result < 0)
        return req->result;
    if (p9_decode_rwalkattr(req->in, req->in_len, &w) < 0 || w.error > MAX_ERRNO ||
        w.attrs.count > n || (w.attrs.count == n) != (w.error == 0))
        return p9_conn_fail(fs->conn, "walked another distance");
    if (w.error)
        return w.attrs.count + 1u < n ? -ESTALE : -(int)w.error; /* what was listed has gone */
    const struct p9_attr *up = n > 1 ? &w.attrs.attr[n - 2] : NULL;
    if (dir && up && (up->qid.path != dir->path || up->dev != dir->dev))
        return -ESTALE;
    *ret = w.attrs.attr[n - 1];
    return p9_attr_check(fs, ret);
}

int p9_fidwalk_start(struct p9_fidwalk *w, uint8_t out[P9_OUT_MAX], uint8_t in[P9_WALK_IN_MAX])
{
    chain_get(w->pi, &w->chain);
    w->needed = w->chain.count > 0;
    w->fid = w->chain.fid;
    if (!w->needed)
        return 0;
    w->fid = p9_fid_new(w->pi->fs->conn);
    struct p9_twalkattr m = {.fid = w->chain.fid, .newfid = w->fid, .names = w->chain.names};
    int n = p9_encode_twalkattr(out, P9_OUT_MAX, &m);
    w->req = (struct p9_req){
        .out = out, .out_len = (size_t)n, .in = in, .in_cap = P9_WALK_IN_MAX, .want = P9_rwalkattr};
    if (n < 0)
        chain_put(&w->chain);
    return n < 0 ? -ENAMETOOLONG : 0;
}

int p9_fidwalk_end(struct p9_fidwalk *w, int r)
{
    struct p9_inode *pi = w->pi;
    struct p9_attr a = {0};
    unsigned n = w->chain.count;
    if (!w->needed || r < 0) {
        chain_put(&w->chain);
        return r;
    }
    r = walk_result(pi->fs, &w->req, n, NULL, &a);
    chain_put(&w->chain);
    if (r == 0 && (a.qid.path != pi->path || a.dev != pi->dev)) {
        p9_clunk(pi->fs->conn, w->fid, false);
        r = -ESTALE;
    }
    if (r == 0)
        fid_keep(pi, w->fid);
    return r;
}

int p9_fid(struct p9_inode *pi, uint32_t *ret)
{
    uint8_t out[P9_OUT_MAX], in[P9_WALK_IN_MAX];
    struct p9_fidwalk w = {.pi = pi};
    int r = p9_fidwalk_start(&w, out, in);
    if (r == 0 && w.needed)
        (void)p9_transact(pi->fs->conn, &w.req);
    if (r == 0)
        r = p9_fidwalk_end(&w, 0);
    if (r < 0)
        return r;
    spin_lock(&pi->fs->lock);
    *ret = pi->fid;
    spin_unlock(&pi->fs->lock);
    return 0;
}

int p9_walk_in(struct p9_inode *dir, const char *name, size_t len, uint32_t *ret_fid,
               struct p9_attr *ret)
{
    uint8_t out[P9_OUT_MAX], in[P9_WALK_IN_MAX];
    struct p9fs *fs = dir->fs;
    struct p9_chain ch;
    chain_get(dir, &ch);
    if (ch.count == 0)
        return p9_walk(fs, ch.fid, name, len, ret_fid, ret);
    uint32_t fid = p9_fid_new(fs->conn);
    struct p9_twalkattr m = {.fid = ch.fid, .newfid = fid, .names = ch.names};
    m.names.name[m.names.count++] = p9_name(name, len);
    int n = p9_encode_twalkattr(out, sizeof out, &m);
    struct p9_req req = {
        .out = out, .out_len = (size_t)n, .in = in, .in_cap = sizeof in, .want = P9_rwalkattr};
    int r = n < 0 ? -ENAMETOOLONG : p9_transact(fs->conn, &req);
    if (n > 0)
        r = walk_result(fs, &req, m.names.count, dir, ret);
    chain_put(&ch);
    if (r == 0)
        *ret_fid = fid;
    else if (n > 0 && req.result == 0 && r == -ESTALE)
        p9_clunk(fs->conn, fid, false); /* unknown if the walk ended earlier: no harm */
    return r;
}

/* Known without a fid by another name, in a directory that others have changed: a hard link, or moved. */
static bool moved(struct p9_inode *pi, const struct inode *dir, const char *name, size_t len)
{
    spin_lock(&pi->fs->lock);
    bool other = pi->fid == P9_NOFID && p9_of(pi->parent)->changed &&
                 (pi->parent != dir || pi->name_len != len || memcmp(pi->name, name, len) != 0);
    spin_unlock(&pi->fs->lock);
    return other;
}

static int walk_anew(struct p9_inode *pi, struct p9_inode *dir, const char *name, size_t len)
{
    struct p9_attr a;
    uint32_t fid;
    int r = p9_walk_in(dir, name, len, &fid, &a);
    if (r < 0)
        return r;
    if (a.qid.path != pi->path || a.dev != pi->dev) {
        p9_clunk(pi->fs->conn, fid, false);
        return -ESTALE;
    }
    fid_keep(pi, fid);
    return 0;
}

struct inode *p9_inode_hinted(struct inode *dir, const char *name, size_t len,
                              const struct p9_attr *a, uint64_t seen)
{
    struct p9_inode *pd = p9_of(dir);
    struct p9fs *fs = pd->fs;
    uint32_t fid;
    int r = p9_attr_check(fs, a);
    if (r == 0 && (pd->chain >= P9_CHAIN_MAX || pd->chain_bytes + len + 2 > P9_CHAIN_BYTES))
        r = p9_fid(pd, &fid);
    struct inode *i = r < 0 ? ERR_PTR(r) : obtain(fs, P9_NOFID, a, dir, name, len, seen);
    if (!IS_ERR(i) && moved(p9_of(i), dir, name, len))
        (void)walk_anew(p9_of(i), pd, name, len); /* a failure shows when a fid is wanted */
    return i;
}

void p9_release(struct inode *i)
{
    struct p9_inode *pi = p9_of(i);
    struct p9fs *fs = pi->fs;
    spin_lock(&fs->lock);
    list_del(&pi->hash_link);
    spin_unlock(&fs->lock);
    p9_fds_drop(pi);
    p9_fd_put(pi->map_ro);
    p9_fd_put(pi->map_rw);
    p9_listing_drop(pi);
    mappable_fini(&pi->map);
    if (pi->lock_fid != P9_NOFID)
        p9_clunk(fs->conn, pi->lock_fid, true);
    if (pi->fid != P9_NOFID)
        p9_clunk(fs->conn, pi->fid, i->attr.nlink == 0);
    inode_put(pi->parent);
    free(pi->name);
    free(pi->link);
    free(pi->map_path);
    free(pi->warm);
    free(pi);
}
