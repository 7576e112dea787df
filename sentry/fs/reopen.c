/* SPDX-License-Identifier: Apache-2.0
 * reopen.c - /proc/PID/fd/N and /dev/stdin of pipes and host descriptors.
 *
 * The link's target is an unnamed inode on an internal mount. It holds the open file; opening it
 * asks the file's own kind for another one (file_ops.reopen), stat() asks for its attributes. Its
 * inode's type is that of a device, whatever the file is: a fifo would be opened by the vfs itself.
 *
 * g_anon is written once, at boot: no locks. */
#include "reopen.h"

#include <base/err.h>
#include <kernel/task.h>
#include <stdlib.h>

#define ANON_MAGIC 0x09041934 /* ANON_INODE_FS_MAGIC */

static struct {
    struct superblock *sb;
    struct path root;
} g_anon;

static int reopen_open(struct inode *i, struct file *f)
{
    struct file *old = i->private_data;

    return old->ops->reopen(old, f);
}

static int reopen_getattr(struct inode *i, struct attr *ret)
{
    struct stat st;
    int err = vfs_fstat(i->private_data, &st);

    if (err)
        return err;
    inode_attr(i, ret);
    ret->ino = st.st_ino;
    ret->dev = st.st_dev;
    ret->mode = st.st_mode;
    ret->nlink = (uint32_t)st.st_nlink;
    ret->uid = st.st_uid;
    ret->gid = st.st_gid;
    ret->rdev = st.st_rdev;
    ret->size = (uint64_t)st.st_size;
    ret->blocks = (uint64_t)st.st_blocks;
    ret->mtime = st.st_mtim;
    ret->atime = st.st_atim;
    ret->ctime = st.st_ctim;
    return 0;
}

static int reopen_setattr(struct inode *i, const struct setattr *s, const struct cred *c)
{
    (void)i;
    (void)c;
    return s->valid & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
}

static void reopen_release(struct inode *i)
{
    file_put(i->private_data);
}

static const struct inode_ops reopen_ops = {
    .open = reopen_open,
    .getattr = reopen_getattr,
    .setattr = reopen_setattr,
    .release = reopen_release,
};

static const struct inode_ops anon_root_ops = {.lookup = NULL};

static struct superblock *anon_superblock(void)
{
    struct superblock *sb = superblock_new("anon_inodefs", ANON_MAGIC);

    if (!sb)
        return ERR_PTR(-ENOMEM);
    struct attr a = {.ino = 1, .dev = sb->dev, .mode = S_IFDIR | 0555, .nlink = 2};
    sb->exclusive = true;
    sb->root = inode_new(sb, &anon_root_ops, &a, NULL);
    if (sb->root)
        return sb;
    superblock_put(sb);
    return ERR_PTR(-ENOMEM);
}

int reopen_init(void)
{
    if (g_anon.sb)
        return 0;
    struct superblock *sb = anon_superblock();
    if (IS_ERR(sb))
        return PTR_ERR(sb);
    int err = mount_internal(sb, &g_anon.root);
    if (!err)
        g_anon.sb = sb;
    return err;
}

int reopen_path(struct file *f, struct path *ret)
{
    struct stat st;

    if (!f->ops->reopen || !g_anon.sb)
        return -ENXIO;
    int err = vfs_fstat(f, &st);
    if (err)
        return err;
    struct attr a = {.ino = st.st_ino,
                     .dev = st.st_dev,
                     .mode = S_IFCHR | 0600,
                     .nlink = 1,
                     .uid = f->cred ? f->cred->fsuid : 0,
                     .gid = f->cred ? f->cred->fsgid : 0};
    struct inode *i = inode_new(g_anon.sb, &reopen_ops, &a, file_get(f));
    if (!i) {
        file_put(f);
        return -ENOMEM;
    }
    return path_unnamed(&g_anon.root, i, f->ops->name, ret);
}
