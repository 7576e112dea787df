/* SPDX-License-Identifier: Apache-2.0
 * p9fs_inode.c - inodes of a 9P file system by identity, and their fids.
 *
 * Model: one inode per object at the server, keyed by (qid.path, dev), so hard links share it and its
 * caches. It owns an unopened fid from the lookup that made it until its last reference goes. An
 * inode found in a cached listing has none at first: it knows its directory and name, and walks when
 * a fid is wanted. It then lets the directory go, so that no chain of parents can grow (their puts
 * would nest as deep as the tree). Only read-only exclusive mounts have such inodes: names do not
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
    return &fs->hash[hash_u64(path ^ hash_u64(dev)) % P9_HASH_BUCKETS];
}

/* Reference to the live inode of this identity, or NULL. */
static struct inode *find_locked(struct p9fs *fs, const struct p9_attr *a)
{
    struct p9_inode *pi;
    list_for_each_entry (pi, bucket_of(fs, a->qid.path, a->dev), hash_link)
        if (pi->path == a->qid.path && pi->dev == a->dev) {
            if (inode_type(pi->vfs) != (a->mode & S_IFMT))
                continue; /* the number was used again for something else */
            if (refcount_get_unless_zero(&pi->vfs->ref))
                return pi->vfs;
        }
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
    pi->path = a->qid.path;
    pi->dev = a->dev;
    list_init(&pi->hash_link);
    list_init(&pi->lru);
    fmutex_init(&pi->open_lock, RANK_PAGES);
    mappable_init(&pi->map, &p9_mappable_ops);
    if (dir) {
        pi->name = strndup(name, len);
        pi->name_len = (uint8_t)len;
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

static struct inode *obtain(struct p9fs *fs, uint32_t fid, const struct p9_attr *a,
                            struct inode *dir, const char *name, size_t len)
{
    struct inode *made = NULL;
    for (;;) {
        spin_lock(&fs->lock);
        struct inode *i = find_locked(fs, a);
        if (!i && made)
            list_add(&p9_of(made)->hash_link, bucket_of(fs, a->qid.path, a->dev));
        spin_unlock(&fs->lock);
        if (i && made)
            inode_put(made); /* clunks the fid */
        else if (i && fid != P9_NOFID)
            p9_clunk(fs->conn, fid, false);
        if (i && fid != P9_NOFID) { /* what a listing said may be older than what is known */
            p9_attr_store(i, a);
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
    }
}

struct inode *p9_inode_obtain(struct p9fs *fs, uint32_t fid, const struct p9_attr *a)
{
    return obtain(fs, fid, a, NULL, NULL, 0);
}

struct inode *p9_inode_hinted(struct inode *dir, const char *name, size_t len,
                              const struct p9_attr *a)
{
    struct p9fs *fs = p9_of(dir)->fs;
    int r = p9_attr_check(fs, a);
    return r < 0 ? ERR_PTR(r) : obtain(fs, P9_NOFID, a, dir, name, len);
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

int p9_fid(struct p9_inode *pi, uint32_t *ret)
{
    struct p9fs *fs = pi->fs;
    char name[NAME_LEN_MAX + 1];
    struct p9_attr a = {0};
    uint32_t fid;
    struct inode *dir = p9_fid_parent(pi, name);
    if (dir) {
        /* It has been listed, so it has a fid. */
        int r = p9_walk(fs, p9_of(dir)->fid, name, strlen(name), &fid, &a);
        inode_put(dir);
        if (r == 0 && (a.qid.path != pi->path || a.dev != pi->dev)) {
            p9_clunk(fs->conn, fid, false);
            r = -ESTALE;
        }
        if (r < 0)
            return r;
        fid_keep(pi, fid);
    }
    spin_lock(&fs->lock);
    *ret = pi->fid;
    spin_unlock(&fs->lock);
    return 0;
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
    p9_listing_put(pi->listing);
    mappable_fini(&pi->map);
    if (pi->fid != P9_NOFID)
        p9_clunk(fs->conn, pi->fid, i->attr.nlink == 0);
    inode_put(pi->parent);
    free(pi->name);
    free(pi->link);
    free(pi->map_path);
    free(pi);
}
