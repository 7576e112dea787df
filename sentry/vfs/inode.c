/* SPDX-License-Identifier: Apache-2.0
 * inode.c - inodes and superblocks: life, cached attributes, permission.
 *
 * An inode holds its superblock; the superblock's users (mounts, stacked file systems) are counted
 * apart, so that the root inode can be let go when the last user leaves and the superblock ends
 * with its last inode (a mapping may outlive the mount). Attributes are cached in the inode under
 * attr_lock; the file systems that learn them elsewhere provide getattr.
 *
 * Locks: attr_lock (spin) for attr; inode->lock (fiber mutex) for contents, taken by setattr.
 * Leaves out: ACLs. */
#include <linux/capability.h>
#include <stdlib.h>

#include <kernel/timer.h>

#include "vfs_internal.h"

struct superblock *superblock_new(const char *type, uint32_t magic)
{
    static _Atomic(uint64_t) next_dev = 0x20;
    static const _Atomic(uint64_t) no_changes;
    struct superblock *sb = calloc(1, sizeof(*sb));
    if (!sb)
        return NULL;
    refcount_init(&sb->ref);
    refcount_init(&sb->inodes);
    sb->type = type;
    sb->magic = magic;
    sb->changes = &no_changes;
    sb->dev = next_dev++;
    fmutex_init(&sb->rename_lock, RANK_FS_RENAME);
    return sb;
}

struct superblock *superblock_get(struct superblock *sb)
{
    refcount_get(&sb->ref);
    return sb;
}

static void superblock_inode_gone(struct superblock *sb)
{
    if (!refcount_put(&sb->inodes))
        return;
    if (sb->release)
        sb->release(sb);
    free(sb);
}

void superblock_put(struct superblock *sb)
{
    if (IS_ERR_OR_NULL(sb) || !refcount_put(&sb->ref))
        return;
    if (sb->shutdown)
        sb->shutdown(sb);
    struct inode *root = steal(sb->root);
    inode_put(root);
    superblock_inode_gone(sb);
}

struct inode *inode_new(struct superblock *sb, const struct inode_ops *ops, const struct attr *a,
                        void *private_data)
{
    struct inode *i = calloc(1, sizeof(*i));
    if (!i)
        return NULL;
    refcount_init(&i->ref);
    fmutex_init(&i->lock, RANK_INODE);
    spin_init(&i->attr_lock, RANK_LEAF);
    i->ops = ops;
    i->sb = sb;
    i->attr = *a;
    i->type = a->mode & S_IFMT;
    i->private_data = private_data;
    refcount_get(&sb->inodes);
    return i;
}

struct inode *inode_get(struct inode *i)
{
    refcount_get(&i->ref);
    return i;
}

void inode_put(struct inode *i)
{
    if (IS_ERR_OR_NULL(i) || !refcount_put(&i->ref))
        return;
    struct superblock *sb = i->sb;
    if (i->special && i->special_put)
        i->special_put(i->special);
    locks_free(i);
    if (i->ops->release)
        i->ops->release(i);
    free(i);
    superblock_inode_gone(sb);
}

void inode_attr(struct inode *i, struct attr *ret)
{
    spin_lock(&i->attr_lock);
    *ret = i->attr;
    spin_unlock(&i->attr_lock);
}

int inode_getattr(struct inode *i, struct attr *ret)
{
    if (i->ops->getattr)
        return i->ops->getattr(i, ret);
    inode_attr(i, ret);
    return 0;
}

static struct timespec now_timespec(void)
{
    int64_t ns = clock_now_ns(CLOCK_REALTIME);
    return (struct timespec){ns / 1000000000, ns % 1000000000};
}

void inode_touch(struct inode *i, unsigned which)
{
    struct timespec now = now_timespec();
    spin_lock(&i->attr_lock);
    if (which & TOUCH_ATIME)
        i->attr.atime = now;
    if (which & TOUCH_MTIME)
        i->attr.mtime = now;
    if (which & TOUCH_CTIME)
        i->attr.ctime = now;
    spin_unlock(&i->attr_lock);
}

void inode_add_nlink(struct inode *i, int delta)
{
    struct timespec now = now_timespec();
    spin_lock(&i->attr_lock);
    i->attr.nlink = (uint32_t)((int)i->attr.nlink + delta);
    i->attr.ctime = now;
    spin_unlock(&i->attr_lock);
}

int inode_setattr(struct inode *i, const struct setattr *s, const struct cred *c)
{
    if (!i->ops->setattr)
        return -EPERM;
    fmutex_lock(&i->lock);
    int r = i->ops->setattr(i, s, c);
    fmutex_unlock(&i->lock);
    return r;
}

int inode_permission(struct inode *i, int mask, const struct cred *c)
{
    if (i->ops->permission)
        return i->ops->permission(i, mask, c);
    spin_lock(&i->attr_lock);
    uint32_t mode = i->attr.mode, uid = i->attr.uid, gid = i->attr.gid;
    spin_unlock(&i->attr_lock);
    if (uid == c->fsuid)
        mode >>= 6;
    else if (((mode >> 3) & 7) != (mode & 7) && cred_in_group(c, gid))
        mode >>= 3;
    if (((uint32_t)mask & ~mode & 7) == 0)
        return 0;
    bool dir = S_ISDIR(inode_type(i));
    if (cred_capable(c, CAP_DAC_OVERRIDE)) {
        if (dir || !(mask & MAY_EXEC))
            return 0;
        spin_lock(&i->attr_lock);
        bool any_exec = (i->attr.mode & 0111) != 0;
        spin_unlock(&i->attr_lock);
        if (any_exec)
            return 0;
    }
    if (cred_capable(c, CAP_DAC_READ_SEARCH) && (mask == MAY_READ || (dir && !(mask & MAY_WRITE))))
        return 0;
    return -EACCES;
}

bool inode_owner_or_capable(struct inode *i, const struct cred *c)
{
    struct attr a;
    inode_attr(i, &a);
    return a.uid == c->fsuid || cred_capable(c, CAP_FOWNER);
}

void inode_init_owner(struct inode *dir, uint32_t *mode, const struct cred *c, uint32_t *ret_uid,
                      uint32_t *ret_gid)
{
    struct attr a;
    inode_attr(dir, &a);
    *ret_uid = c->fsuid;
    *ret_gid = c->fsgid;
    if (!(a.mode & S_ISGID))
        return;
    *ret_gid = a.gid;
    if (S_ISDIR(*mode))
        *mode |= S_ISGID;
    else if ((*mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !cred_in_group(c, a.gid) &&
             !cred_capable(c, CAP_FSETID))
        *mode &= ~(uint32_t)S_ISGID;
}

void attr_to_stat(const struct attr *a, struct stat *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->st_dev = a->dev;
    ret->st_ino = a->ino;
    ret->st_mode = a->mode;
    ret->st_nlink = a->nlink;
    ret->st_uid = a->uid;
    ret->st_gid = a->gid;
    ret->st_rdev = a->rdev;
    ret->st_size = (off_t)a->size;
    ret->st_blksize = (blksize_t)a->blksize;
    ret->st_blocks = (blkcnt_t)a->blocks;
    ret->st_atim = a->atime;
    ret->st_mtim = a->mtime;
    ret->st_ctim = a->ctime;
}
