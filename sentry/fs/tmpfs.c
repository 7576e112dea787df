/* SPDX-License-Identifier: Apache-2.0
 * tmpfs.c - file system in memory: inodes, directories, attributes; memfds.
 *
 * A directory's table holds a reference to each child, so an inode lives while it has a name or is
 * open. Attributes are the cached ones. Contents are in tmpfs_data.c.
 *
 * Locks: inode->lock, held by the vfs for directory operations and taken for the rest.
 * Leaves out: quotas by inode count other than TMPFS_INODES_MAX. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tmpfs.h"

struct memfile *g_fs_memfile;
static struct path memfd_root;
static struct superblock *memfd_sb;

static const struct inode_ops tmpfs_ops;
static const struct file_ops tmpfs_dir_ops;

static struct timespec time_now(void)
{
    int64_t ns = clock_now_ns(CLOCK_REALTIME);
    return (struct timespec){ns / 1000000000, ns % 1000000000};
}

struct inode *tmpfs_inode_new(struct superblock *sb, uint32_t mode, uint32_t uid, uint32_t gid,
                              uint32_t nlink, uint64_t rdev)
{
    struct tmpfs_sb *s = tmpfs_s(sb);
    if (s->inodes >= TMPFS_INODES_MAX)
        return ERR_PTR(-ENOSPC);
    struct tmpfs_inode *ti = calloc(1, sizeof(*ti));
    if (!ti)
        return ERR_PTR(-ENOMEM);
    struct timespec now = time_now();
    struct attr a = {.ino = ++s->next_ino,
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
    ti->vfs = inode_new(sb, &tmpfs_ops, &a, ti);
    if (!ti->vfs) {
        free(ti);
        return ERR_PTR(-ENOMEM);
    }
    tmpfs_data_init(ti);
    s->inodes++;
    return ti->vfs;
}

static void tmpfs_release(struct inode *i)
{
    struct tmpfs_inode *ti = tmpfs_i(i);
    struct dir_entry *e;
    /* only when the whole file system goes: then children go with their directory */
    for (int64_t at = 0; (e = dirtable_next(&ti->dir, at));) {
        struct inode *child = e->inode;
        at = e->cookie + 1;
        dirtable_remove(&ti->dir, e);
        inode_put(child);
    }
    dirtable_free(&ti->dir);
    xattrs_free(&ti->xattrs);
    tmpfs_data_free(ti);
    free(ti->target);
    tmpfs_s(i->sb)->inodes--;
    free(ti);
}

static struct inode *tmpfs_lookup(struct inode *dir, const char *name, size_t len)
{
    struct dir_entry *e = dirtable_find(&tmpfs_i(dir)->dir, name, len);
    return e ? inode_get(e->inode) : ERR_PTR(-ENOENT);
}

static void dir_changed(struct inode *dir, int nlink)
{
    inode_touch(dir, TOUCH_MTIME | TOUCH_CTIME);
    if (nlink)
        inode_add_nlink(dir, nlink);
}

/* New inode under a name; one reference for the table, one for the caller. */
static struct inode *tmpfs_make(struct inode *dir, const char *name, size_t len, uint32_t mode,
                                uint64_t rdev, const struct cred *c)
{
    uint32_t uid, gid;
    inode_init_owner(dir, &mode, c, &uid, &gid);
    bool is_dir = S_ISDIR(mode);
    struct inode *i = tmpfs_inode_new(dir->sb, mode, uid, gid, is_dir ? 2 : 1, rdev);
    if (IS_ERR(i))
        return i;
    if (dirtable_insert(&tmpfs_i(dir)->dir, name, len, i) < 0) {
        inode_put(i);
        return ERR_PTR(-ENOSPC);
    }
    dir_changed(dir, is_dir);
    return inode_get(i);
}

static struct inode *tmpfs_create(struct inode *dir, const char *name, size_t len, uint32_t mode,
                                  const struct cred *c)
{
    return tmpfs_make(dir, name, len, mode, 0, c);
}

static struct inode *tmpfs_mknod(struct inode *dir, const char *name, size_t len, uint32_t mode,
                                 uint64_t rdev, const struct cred *c)
{
    return tmpfs_make(dir, name, len, mode, rdev, c);
}

static struct inode *tmpfs_symlink(struct inode *dir, const char *name, size_t len,
                                   const char *target, const struct cred *c)
{
    char *copy = strdup(target);
    if (!copy)
        return ERR_PTR(-ENOMEM);
    struct inode *i = tmpfs_make(dir, name, len, S_IFLNK | 0777, 0, c);
    if (IS_ERR(i)) {
        free(copy);
        return i;
    }
    tmpfs_i(i)->target = copy;
    i->attr.size = strlen(copy);
    return i;
}

static ssize_t tmpfs_readlink(struct inode *i, char *buf, size_t size)
{
    size_t n = MIN((size_t)i->attr.size, size);
    memcpy(buf, tmpfs_i(i)->target, n);
    return (ssize_t)n;
}

static struct inode *tmpfs_tmpfile(struct inode *dir, uint32_t mode, const struct cred *c)
{
    uint32_t uid, gid;
    inode_init_owner(dir, &mode, c, &uid, &gid);
    return tmpfs_inode_new(dir->sb, mode, uid, gid, 0, 0);
}

static int tmpfs_link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
    if (dirtable_insert(&tmpfs_i(dir)->dir, name, len, target) < 0)
        return -ENOSPC;
    inode_get(target);
    inode_add_nlink(target, 1);
    dir_changed(dir, 0);
    return 0;
}

static void entry_drop(struct inode *dir, struct dir_entry *e)
{
    struct inode *i = e->inode;
    bool is_dir = S_ISDIR(inode_type(i));
    dirtable_remove(&tmpfs_i(dir)->dir, e);
    inode_add_nlink(i, is_dir ? -2 : -1);
    dir_changed(dir, is_dir ? -1 : 0);
    inode_put(i);
}

static int tmpfs_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    struct dir_entry *e = dirtable_find(&tmpfs_i(dir)->dir, name, len);
    if (!e || e->inode != victim)
        return -ENOENT;
    entry_drop(dir, e);
    return 0;
}

static int tmpfs_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    if (tmpfs_i(victim)->dir.count)
        return -ENOTEMPTY;
    return tmpfs_unlink(dir, name, len, victim);
}

static int tmpfs_exchange(struct inode *odir, struct dir_entry *a, struct inode *ndir,
                          struct dir_entry *b)
{
    struct inode *i = a->inode, *j = b->inode;
    a->inode = j;
    b->inode = i;
    int moved = S_ISDIR(inode_type(i)) - S_ISDIR(inode_type(j));
    dir_changed(odir, odir == ndir ? 0 : -moved);
    dir_changed(ndir, odir == ndir ? 0 : moved);
    inode_touch(i, TOUCH_CTIME);
    inode_touch(j, TOUCH_CTIME);
    return 0;
}

static int tmpfs_rename(struct inode *odir, const char *oname, size_t olen, struct inode *src,
                        struct inode *ndir, const char *nname, size_t nlen, struct inode *dst,
                        uint32_t flags)
{
    struct dirtable *ot = &tmpfs_i(odir)->dir, *nt = &tmpfs_i(ndir)->dir;
    struct dir_entry *from = dirtable_find(ot, oname, olen), *to = dirtable_find(nt, nname, nlen);
    if (!from || from->inode != src || (to ? to->inode : NULL) != dst)
        return -ENOENT;
    if (flags & RENAME_EXCHANGE)
        return tmpfs_exchange(odir, from, ndir, to);
    if (dst && S_ISDIR(inode_type(dst)) && tmpfs_i(dst)->dir.count)
        return -ENOTEMPTY;
    bool is_dir = S_ISDIR(inode_type(src));
    if (to) { /* nothing below can fail: the entry changes hands */
        to->inode = src;
        inode_add_nlink(dst, is_dir ? -2 : -1);
        dir_changed(ndir, is_dir ? -1 : 0);
        inode_put(dst);
    } else if (dirtable_insert(nt, nname, nlen, src) < 0) {
        return -ENOSPC;
    }
    dirtable_remove(ot, dirtable_find(ot, oname, olen)); /* its reference went to the new entry */
    dir_changed(odir, is_dir ? -1 : 0);
    dir_changed(ndir, is_dir ? 1 : 0);
    inode_touch(src, TOUCH_CTIME);
    return 0;
}

int tmpfs_setattr(struct inode *i, const struct setattr *s, const struct cred *c)
{
    (void)c;
    if (s->valid & ATTR_SIZE) {
        int r = tmpfs_data_resize(i, s->size);
        if (r < 0)
            return r;
    }
    struct timespec now = time_now();
    spin_lock(&i->attr_lock);
    struct attr *a = &i->attr;
    if (s->valid & ATTR_MODE)
        a->mode = (a->mode & S_IFMT) | (s->mode & 07777);
    if (s->valid & ATTR_UID)
        a->uid = s->uid;
    if (s->valid & ATTR_GID)
        a->gid = s->gid;
    if (s->valid & (ATTR_ATIME | ATTR_ATIME_NOW))
        a->atime = s->valid & ATTR_ATIME_NOW ? now : s->atime;
    if (s->valid & (ATTR_MTIME | ATTR_MTIME_NOW))
        a->mtime = s->valid & ATTR_MTIME_NOW ? now : s->mtime;
    a->ctime = now;
    spin_unlock(&i->attr_lock);
    return 0;
}

static int tmpfs_open(struct inode *i, struct file *f)
{
    if (S_ISREG(inode_type(i)))
        f->ops = &tmpfs_file_ops;
    else if (S_ISDIR(inode_type(i)))
        f->ops = &tmpfs_dir_ops;
    else
        return -ENXIO;
    return 0;
}

static int tmpfs_readdir(struct file *f, struct getdents_ctx *ctx)
{
    struct inode *dir = f->inode;
    if (!getdents_emit_dots(f, ctx))
        return 0;
    fmutex_lock(&dir->lock);
    struct dir_entry *e;
    int64_t at = MAX(ctx->pos, (int64_t)DIR_FIRST_COOKIE);
    while ((e = dirtable_next(&tmpfs_i(dir)->dir, at))) {
        at = e->cookie + 1;
        if (!getdents_emit(ctx, e->name, e->len, e->inode->attr.ino,
                           (uint8_t)IFTODT(inode_type(e->inode)), at))
            break;
    }
    fmutex_unlock(&dir->lock);
    return 0;
}

static int64_t tmpfs_dir_seek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR)
        off += f->pos;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || off < 0)
        return -EINVAL;
    return f->pos = off;
}

static const struct file_ops tmpfs_dir_ops = {
    .name = "tmpfs",
    .readdir = tmpfs_readdir,
    .seek = tmpfs_dir_seek,
};

static int tmpfs_statfs(struct superblock *sb, struct statfs *ret)
{
    struct tmpfs_sb *s = tmpfs_s(sb);
    uint64_t limit = memfile_limit(g_fs_memfile) / PAGE_SIZE;
    if (s->limit_pages && s->limit_pages < limit)
        limit = s->limit_pages;
    uint64_t used = MIN((uint64_t)s->used_pages, limit);
    memset(ret, 0, sizeof(*ret));
    ret->f_type = TMPFS_MAGIC;
    ret->f_bsize = ret->f_frsize = (long)PAGE_SIZE;
    ret->f_blocks = limit;
    ret->f_bfree = ret->f_bavail = limit - used;
    ret->f_files = TMPFS_INODES_MAX;
    ret->f_ffree = TMPFS_INODES_MAX - s->inodes;
    ret->f_namelen = NAME_LEN_MAX;
    return 0;
}

static ssize_t tmpfs_getxattr(struct inode *i, const char *name, void *buf, size_t size)
{
    return xattrs_get(&tmpfs_i(i)->xattrs, name, buf, size);
}

static int tmpfs_setxattr(struct inode *i, const char *name, const void *buf, size_t size,
                          int flags)
{
    int r = xattrs_set(&tmpfs_i(i)->xattrs, name, buf, size, flags);
    if (r == 0)
        inode_touch(i, TOUCH_CTIME);
    return r;
}

static ssize_t tmpfs_listxattr(struct inode *i, char *buf, size_t size)
{
    return xattrs_list(&tmpfs_i(i)->xattrs, buf, size);
}

static int tmpfs_removexattr(struct inode *i, const char *name)
{
    int r = xattrs_remove(&tmpfs_i(i)->xattrs, name);
    if (r == 0)
        inode_touch(i, TOUCH_CTIME);
    return r;
}

static const struct inode_ops tmpfs_ops = {
    .lookup = tmpfs_lookup,
    .create = tmpfs_create,
    .mknod = tmpfs_mknod,
    .mkdir = tmpfs_create,
    .symlink = tmpfs_symlink,
    .tmpfile = tmpfs_tmpfile,
    .link = tmpfs_link,
    .unlink = tmpfs_unlink,
    .rmdir = tmpfs_rmdir,
    .rename = tmpfs_rename,
    .readlink = tmpfs_readlink,
    .setattr = tmpfs_setattr,
    .open = tmpfs_open,
    .statfs = tmpfs_statfs,
    .getxattr = tmpfs_getxattr,
    .setxattr = tmpfs_setxattr,
    .listxattr = tmpfs_listxattr,
    .removexattr = tmpfs_removexattr,
    .mappable = tmpfs_mappable,
    .release = tmpfs_release,
};

void tmpfs_flatten(struct dirtable *to, struct dirtable *dir)
{
    struct dir_entry *e;
    for (int64_t at = 0; (e = dirtable_next(dir, at));) {
        struct inode *i = e->inode;
        at = e->cookie + 1;
        if (i && !dirtable_add(to, "", 0, i))
            return; /* no memory: the release goes down here instead */
        dirtable_remove(dir, e);
    }
}

/* Nobody can reach the tree any more: take it apart level by level. */
static void tmpfs_shutdown(struct superblock *sb)
{
    if (!sb->root)
        return;
    struct dirtable *t = &tmpfs_i(sb->root)->dir;
    struct dir_entry *e;
    for (int64_t at = 0; (e = dirtable_next(t, at));) {
        struct inode *i = e->inode;
        at = e->cookie + 1; /* those of the next level come behind */
        dirtable_remove(t, e);
        tmpfs_flatten(t, &tmpfs_i(i)->dir);
        inode_put(i);
    }
}

static void tmpfs_sb_release(struct superblock *sb)
{
    free(sb->private_data);
}

struct superblock *tmpfs_new(uint64_t limit_bytes, uint32_t mode, uint32_t uid, uint32_t gid)
{
    struct superblock *sb = superblock_new("tmpfs", TMPFS_MAGIC);
    struct tmpfs_sb *s = calloc(1, sizeof(*s));
    if (!sb || !s) {
        free(s);
        superblock_put(sb);
        return ERR_PTR(-ENOMEM);
    }
    s->limit_pages = (limit_bytes + PAGE_SIZE - 1) / PAGE_SIZE;
    sb->private_data = s;
    sb->shutdown = tmpfs_shutdown;
    sb->release = tmpfs_sb_release;
    sb->exclusive = true;
    sb->ops = &tmpfs_ops;
    snprintf(sb->source, sizeof(sb->source), "tmpfs");
    struct inode *root = tmpfs_inode_new(sb, S_IFDIR | (mode & 07777), uid, gid, 2, 0);
    if (IS_ERR(root)) {
        superblock_put(sb);
        return ERR_PTR(PTR_ERR(root));
    }
    sb->root = root;
    return sb;
}

int fs_init(struct memfile *mf)
{
    g_fs_memfile = mf;
    struct superblock *sb = tmpfs_new(0, 0700, 0, 0);
    if (IS_ERR(sb))
        return PTR_ERR(sb);
    memfd_sb = sb;
    return mount_internal(sb, &memfd_root);
}

/* --- memfd --- */

struct file *memfd_new(const char *name, uint32_t flags, struct cred *c)
{
    struct inode *i = tmpfs_inode_new(memfd_sb, S_IFREG | 0777, c->fsuid, c->fsgid, 0, 0);
    if (IS_ERR(i))
        return ERR_PTR(PTR_ERR(i));
    struct tmpfs_inode *ti = tmpfs_i(i);
    ti->sealable = true;
    ti->seals = flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL;
    char full[NAME_LEN_MAX + 1];
    snprintf(full, sizeof(full), "memfd:%s", name);
    return vfs_open_unnamed(&memfd_root, i, full, O_RDWR, c);
}

static struct tmpfs_inode *memfd_of(struct file *f)
{
    struct inode *i = f->inode;
    bool ours = f->ops == &tmpfs_file_ops && i && tmpfs_i(i)->sealable;
    return ours ? tmpfs_i(i) : NULL;
}

int memfd_seals_add(struct file *f, uint32_t seals)
{
    struct tmpfs_inode *ti = memfd_of(f);
    if (!ti || (seals & ~(uint32_t)(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
                                    F_SEAL_FUTURE_WRITE)))
        return -EINVAL;
    if ((f->flags & O_ACCMODE) == O_RDONLY)
        return -EPERM;
    fmutex_lock(&f->inode->lock);
    int r = ti->seals & F_SEAL_SEAL ? -EPERM : 0;
    if (r == 0)
        ti->seals |= seals;
    fmutex_unlock(&f->inode->lock);
    return r;
}

int memfd_seals_get(struct file *f)
{
    struct tmpfs_inode *ti = memfd_of(f);
    return ti ? (int)ti->seals : -EINVAL;
}
