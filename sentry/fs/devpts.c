/* SPDX-License-Identifier: Apache-2.0
 * devpts.c - /dev/pts: a node for each pseudo terminal, named by its number, and ptmx (pts(4)).
 *
 * The nodes' numbers, owners and modes are the terminals' own: devpts_hooks asks for them every
 * time. A node may go at any moment; then what was cached of it is told. No locks. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "pseudo.h"

#define DEVPTS_MAGIC 0x1cd1
#define INO_ROOT 1
#define INO_PTMX 2
#define INO_FIRST 3 /* of terminal 0 */
#define INDEX_PTMX (-1)
#define INDEX_ROOT (-2)

struct devpts_hooks devpts_hooks;

static const struct inode_ops devpts_dir_ops, devpts_node_ops;

static int32_t node_index(const struct inode *i)
{
    return (int32_t)(intptr_t)i->private_data;
}

static struct inode *devpts_inode(struct superblock *sb, int32_t index, const struct attr *a)
{
    struct attr with_dev = *a;

    with_dev.dev = sb->dev;
    const struct inode_ops *ops = index == INDEX_ROOT ? &devpts_dir_ops : &devpts_node_ops;
    struct inode *i = inode_new(sb, ops, &with_dev, (void *)(intptr_t)index);
    return i ? i : ERR_PTR(-ENOMEM);
}

static struct inode *devpts_lookup(struct inode *dir, const char *name, size_t len)
{
    struct attr a;

    if (len == 4 && !memcmp(name, "ptmx", 4)) {
        a = (struct attr){
            .ino = INO_PTMX, .mode = S_IFCHR, .nlink = 1, .rdev = makedev(5, 2), .blksize = 1024};
        return devpts_inode(dir->sb, INDEX_PTMX, &a);
    }
    int32_t index = pseudo_number(name, len);
    if (index < 0 || !devpts_hooks.node || devpts_hooks.node(index, NULL, &a))
        return ERR_PTR(-ENOENT);
    a.ino = (uint64_t)index + INO_FIRST;
    return devpts_inode(dir->sb, index, &a);
}

/* The cache, which permission checks look at, follows the terminal. */
static int node_refresh(struct inode *i, const struct setattr *set)
{
    struct attr now;
    int r = devpts_hooks.node(node_index(i), set, &now);

    if (r)
        return r;
    spin_lock(&i->attr_lock);
    i->attr.uid = now.uid;
    i->attr.gid = now.gid;
    i->attr.mode = now.mode;
    spin_unlock(&i->attr_lock);
    return 0;
}

static int devpts_node_getattr(struct inode *i, struct attr *ret)
{
    if (node_index(i) >= 0)
        (void)node_refresh(i, NULL); /* gone: as it was */
    inode_attr(i, ret);
    return 0;
}

static int devpts_node_setattr(struct inode *i, const struct setattr *s,
                               const struct cred *c UNUSED)
{
    if (!(s->valid & (ATTR_UID | ATTR_GID | ATTR_MODE)))
        return 0; /* times stay */
    return node_index(i) < 0 ? -EPERM : node_refresh(i, s);
}

static int devpts_node_open(struct inode *i, struct file *f)
{
    int32_t index = node_index(i);

    if (!devpts_hooks.open_slave)
        return -ENXIO;
    return index == INDEX_PTMX ? devpts_hooks.open_master(f) : devpts_hooks.open_slave(index, f);
}

static int devpts_readdir(struct file *f, struct getdents_ctx *ctx)
{
    char name[16];

    if (!getdents_emit_dots(f, ctx))
        return 0;
    if (ctx->pos == 2 && !getdents_emit(ctx, "ptmx", 4, INO_PTMX, S_IFCHR >> 12, 3))
        return 0;
    while (devpts_hooks.next) {
        int32_t index = devpts_hooks.next((int32_t)(ctx->pos - INO_FIRST) - 1);
        if (index < 0)
            break;
        int n = snprintf(name, sizeof(name), "%d", index);
        if (!getdents_emit(ctx, name, (size_t)n, (uint64_t)index + INO_FIRST, S_IFCHR >> 12,
                           index + INO_FIRST + 1))
            break;
    }
    return 0;
}

static int64_t devpts_seek(struct file *f, int64_t off, int whence)
{
    return whence == SEEK_END ? -EINVAL : file_seek_size(f, off, whence, 0);
}

static const struct file_ops devpts_dir_file_ops = {
    .name = "devpts",
    .readdir = devpts_readdir,
    .seek = devpts_seek,
};

static int devpts_dir_open(struct inode *i UNUSED, struct file *f)
{
    f->ops = &devpts_dir_file_ops;
    return 0;
}

static int devpts_statfs(struct superblock *sb, struct statfs *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->f_type = sb->magic;
    ret->f_bsize = ret->f_frsize = 4096;
    ret->f_namelen = NAME_LEN_MAX;
    return 0;
}

static void devpts_release(struct inode *i UNUSED)
{
}

static const struct inode_ops devpts_dir_ops = {
    .lookup = devpts_lookup,
    .open = devpts_dir_open,
    .statfs = devpts_statfs,
    .release = devpts_release,
};

static const struct inode_ops devpts_node_ops = {
    .getattr = devpts_node_getattr,
    .setattr = devpts_node_setattr,
    .open = devpts_node_open,
    .statfs = devpts_statfs,
    .release = devpts_release,
};

struct superblock *devpts_new(void)
{
    struct superblock *sb = superblock_new("devpts", DEVPTS_MAGIC);
    struct attr a = {.ino = INO_ROOT, .mode = S_IFDIR | 0755, .nlink = 2, .blksize = 1024};

    if (!sb)
        return ERR_PTR(-ENOMEM);
    sb->ops = &devpts_dir_ops;
    memcpy(sb->source, "devpts", sizeof("devpts"));
    int64_t now = clock_now_ns(CLOCK_REALTIME);
    a.mtime = (struct timespec){now / 1000000000, now % 1000000000};
    a.atime = a.ctime = a.btime = a.mtime;
    struct inode *i = devpts_inode(sb, INDEX_ROOT, &a);
    if (IS_ERR(i)) {
        superblock_put(sb);
        return ERR_PTR(PTR_ERR(i));
    }
    sb->root = i;
    return sb;
}
