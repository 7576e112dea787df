/* SPDX-License-Identifier: Apache-2.0
 * overlay.c - superblock and inodes of the overlay.
 *
 * Model. The lower file system is never written. One overlay inode stands for one lower file,
 * found by the lower's (dev, ino), so that all hard links of a file change together. An inode
 * nobody changed is only a reference to its lower and goes with the cache. At the first change it
 * becomes `own`: its attributes count from then on, and it holds itself (pinned) until its last
 * name is gone. Directories keep a table of the names that differ from the lower: a name with an
 * inode, or a whiteout. Since inodes point at their lower and not at paths, renaming a directory is
 * two table entries. Data of regular files is copied at the first open for writing into an unnamed
 * tmpfs file; chmod and the like copy nothing.
 *
 * st_ino is the lower's, st_dev the overlay's, before and after.
 *
 * The lower may be a 9P server: what it says is bounded by its client; here its names are only
 * compared and its attributes copied.
 *
 * Locks: as inodes; attr_lock for own, pinned, upper; ov_sb.lock for the hash. Lower and upper
 * inode locks are taken inside the overlay's of the same object. Leaves out: a file open for
 * reading before copy-up goes on reading the lower. */
#include <stdlib.h>
#include <string.h>

#include <base/hash.h>

#include "overlay.h"

static struct list_head *ov_bucket(struct ov_sb *s, uint64_t dev, uint64_t ino)
{
    return list_bucket(&s->buckets[hash_u64(ino ^ dev << 40) % OVERLAY_BUCKETS]);
}

static struct inode *ov_inode_make(struct superblock *sb, const struct attr *a, struct inode *lower)
{
    struct ov_inode *oi = calloc(1, sizeof(*oi));
    if (!oi)
        return NULL;
    oi->lower = lower;
    oi->own = !lower;
    list_init(&oi->hash_link);
    oi->vfs = inode_new(sb, &ov_ops, a, oi);
    if (!oi->vfs) {
        free(oi);
        return NULL;
    }
    return oi->vfs;
}

static struct inode *ov_find_locked(struct list_head *bucket, const struct attr *a)
{
    struct ov_inode *oi;
    list_for_each_entry (oi, bucket, hash_link) {
        const struct attr *l = &oi->lower->attr;
        if (l->ino == a->ino && l->dev == a->dev && (l->mode & S_IFMT) == (a->mode & S_IFMT) &&
            refcount_get_unless_zero(&oi->vfs->ref))
            return oi->vfs;
    }
    return NULL;
}

/* The lower has been asked again. */
static void ov_refresh(struct inode *i, const struct attr *lower)
{
    spin_lock(&i->attr_lock);
    if (!ov_i(i)->own) {
        i->attr = *lower;
        i->attr.dev = i->sb->dev;
    }
    spin_unlock(&i->attr_lock);
}

struct inode *ov_from_lower(struct superblock *sb, struct inode *lower)
{
    struct ov_sb *s = ov_s(sb);
    struct attr a;
    inode_attr(lower, &a);
    struct list_head *bucket = ov_bucket(s, a.dev, a.ino);
    spin_lock(&s->lock);
    struct inode *found = ov_find_locked(bucket, &a), *made = NULL;
    spin_unlock(&s->lock);
    if (!found) {
        struct attr own = a;
        own.dev = sb->dev;
        made = ov_inode_make(sb, &own, lower);
        if (!made) {
            inode_put(lower);
            return ERR_PTR(-ENOMEM);
        }
        spin_lock(&s->lock);
        found = ov_find_locked(bucket, &a);
        if (!found)
            list_add(&ov_i(made)->hash_link, bucket);
        spin_unlock(&s->lock);
        if (!found)
            return made;
        inode_put(made); /* with its lower */
        return found;
    }
    inode_put(lower);
    ov_refresh(found, &a);
    return found;
}

struct inode *ov_new(struct superblock *sb, uint32_t mode, uint32_t uid, uint32_t gid,
                     uint32_t nlink, uint64_t rdev)
{
    struct ov_sb *s = ov_s(sb);
    int64_t ns = clock_now_ns(CLOCK_REALTIME);
    struct timespec now = {ns / 1000000000, ns % 1000000000};
    struct attr a = {.ino = sb->dev << OVERLAY_INO_SHIFT | s->next_ino++,
                     .dev = sb->dev,
                     .mode = mode,
                     .nlink = nlink,
                     .uid = uid,
                     .gid = gid,
                     .rdev = rdev,
                     .blksize = PAGE_SIZE,
                     .atime = now,
                     .mtime = now,
                     .ctime = now,
                     .btime = now};
    struct inode *upper = NULL;
    if (S_ISREG(mode)) {
        upper = tmpfs_inode_new(s->upper, mode, uid, gid, 1, 0);
        if (IS_ERR(upper))
            return upper;
    }
    struct inode *i = ov_inode_make(sb, &a, NULL);
    if (!i) {
        inode_put(upper);
        return ERR_PTR(-ENOMEM);
    }
    ov_i(i)->upper = upper;
    return i;
}

struct inode *ov_upper(struct inode *i)
{
    spin_lock(&i->attr_lock);
    struct inode *upper = ov_i(i)->upper;
    spin_unlock(&i->attr_lock);
    return upper;
}

int ov_own(struct inode *i)
{
    struct ov_inode *oi = ov_i(i);
    if (oi->own) /* never goes back */
        return 0;
    struct attr a;
    int r = inode_getattr(oi->lower, &a);
    if (r < 0)
        return r;
    a.dev = i->sb->dev;
    spin_lock(&i->attr_lock);
    if (!oi->own) {
        i->attr = a;
        oi->own = true;
        oi->pinned = true;
        inode_get(i);
    }
    spin_unlock(&i->attr_lock);
    return 0;
}

void ov_unpin(struct inode *i)
{
    spin_lock(&i->attr_lock);
    bool was = ov_i(i)->pinned;
    ov_i(i)->pinned = false;
    spin_unlock(&i->attr_lock);
    if (was)
        inode_put(i);
}

static ssize_t ov_readlink(struct inode *i, char *buf, size_t size)
{
    struct ov_inode *oi = ov_i(i);
    if (!oi->target)
        return oi->lower->ops->readlink(oi->lower, buf, size);
    size_t n = MIN(strlen(oi->target), size);
    memcpy(buf, oi->target, n);
    return (ssize_t)n;
}

static uint64_t ov_changed(struct inode *dir)
{
    struct inode *lower = ov_i(dir)->lower;
    return lower && lower->ops->changed ? lower->ops->changed(lower) : 0;
}

static int ov_statfs(struct superblock *sb, struct statfs *ret)
{
    struct superblock *upper = ov_s(sb)->upper;
    int r = upper->ops->statfs(upper, ret);
    ret->f_type = OVERLAY_MAGIC;
    return r;
}

static struct mappable *ov_mappable(struct inode *i)
{
    struct inode *data = ov_upper(i);
    if (!data)
        data = ov_i(i)->lower;
    return data && data->ops->mappable ? data->ops->mappable(data) : ERR_PTR(-ENODEV);
}

static void ov_release(struct inode *i)
{
    struct ov_inode *oi = ov_i(i);
    struct ov_sb *s = ov_s(i->sb);
    spin_lock(&s->lock);
    list_del(&oi->hash_link);
    spin_unlock(&s->lock);
    struct dir_entry *e;
    for (int64_t at = 0; (e = dirtable_next(&oi->dir, at));) {
        struct inode *child = e->inode;
        at = e->cookie + 1;
        dirtable_remove(&oi->dir, e);
        inode_put(child);
    }
    dirtable_free(&oi->dir);
    xattrs_free(&oi->xattrs);
    inode_put(oi->upper);
    inode_put(oi->lower);
    free(oi->target);
    free(oi);
}

const struct inode_ops ov_ops = {
    .lookup = ov_lookup,
    .changed = ov_changed,
    .create = ov_create,
    .mknod = ov_mknod,
    .mkdir = ov_create,
    .symlink = ov_symlink,
    .tmpfile = ov_tmpfile,
    .link = ov_link,
    .unlink = ov_unlink,
    .rmdir = ov_rmdir,
    .rename = ov_rename,
    .readlink = ov_readlink,
    .getattr = ov_getattr,
    .setattr = ov_setattr,
    .open = ov_open,
    .statfs = ov_statfs,
    .getxattr = ov_getxattr,
    .setxattr = ov_setxattr,
    .listxattr = ov_listxattr,
    .removexattr = ov_removexattr,
    .mappable = ov_mappable,
    .release = ov_release,
};

/* Pinned inodes hold themselves: let them go, one at a time since that may change the lists. */
static void ov_shutdown(struct superblock *sb)
{
    struct ov_sb *s = ov_s(sb);
    if (!sb->root)
        return;
    struct dirtable *t = &ov_i(sb->root)->dir;
    struct dir_entry *e;
    for (unsigned b = 0; b < OVERLAY_BUCKETS; b++) {
        struct inode *i;
        do {
            struct ov_inode *oi;
            i = NULL;
            spin_lock(&s->lock);
            list_for_each_entry (oi, list_bucket(&s->buckets[b]), hash_link)
                if (oi->pinned) {
                    i = oi->vfs;
                    break;
                }
            spin_unlock(&s->lock);
            if (i && i != sb->root)
                tmpfs_flatten(t, &ov_i(i)->dir);
            if (i)
                ov_unpin(i);
        } while (i);
    }
    for (int64_t at = 0; (e = dirtable_next(t, at));) {
        struct inode *i = e->inode;
        at = e->cookie + 1;
        dirtable_remove(t, e);
        if (i)
            tmpfs_flatten(t, &ov_i(i)->dir);
        inode_put(i);
    }
}

static void ov_sb_release(struct superblock *sb)
{
    struct ov_sb *s = ov_s(sb);
    superblock_put(s->upper);
    superblock_put(s->lower);
    free(s);
}

struct superblock *overlay_new(struct superblock *lower, uint64_t upper_limit_bytes)
{
    struct superblock *sb = superblock_new("overlay", OVERLAY_MAGIC);
    struct superblock *upper = tmpfs_new(upper_limit_bytes, 0700, 0, 0);
    struct ov_sb *s = calloc(1, sizeof(*s));
    if (!sb || IS_ERR(upper) || !s) {
        free(s);
        if (!IS_ERR(upper))
            superblock_put(upper);
        superblock_put(sb);
        superblock_put(lower);
        return ERR_PTR(-ENOMEM);
    }
    s->lower = lower;
    s->upper = upper;
    spin_init(&s->lock, RANK_OBJECT);
    sb->private_data = s;
    sb->shutdown = ov_shutdown;
    sb->release = ov_sb_release;
    sb->exclusive = true; /* what changes in the lower behind our back, it says */
    sb->changes = lower->changes;
    sb->ops = &ov_ops;
    memcpy(sb->source, "overlay", 8);
    struct inode *root = ov_from_lower(sb, inode_get(lower->root));
    if (IS_ERR(root)) {
        superblock_put(sb);
        return ERR_PTR(PTR_ERR(root));
    }
    sb->root = root;
    return sb;
}
