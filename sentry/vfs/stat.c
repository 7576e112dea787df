/* SPDX-License-Identifier: Apache-2.0
 * stat.c - attributes by path and by file, and the checked changes: chmod, chown, truncate.
 *
 * Leaves out: file leases, RLIMIT_FSIZE on truncate is the handler's. */
#include <fcntl.h>
#include <linux/capability.h>

#include <vfs/notify.h>

#include "vfs_internal.h"

int path_stat(const struct path *p, struct stat *ret)
{
    struct inode *i = path_inode(p);
    if (!i)
        return -ENOENT;
    struct attr a;
    int r = inode_getattr(i, &a);
    if (r == 0)
        attr_to_stat(&a, ret);
    return r;
}

int vfs_stat(struct task *t, int dirfd, const char *name, unsigned lookup_flags, struct stat *ret)
{
    struct path p AUTO_PATH = {0};
    int r = path_lookup(t, dirfd, name, lookup_flags, &p);
    return r < 0 ? r : path_stat(&p, ret);
}

int vfs_fstat(struct file *f, struct stat *ret)
{
    if (f->path.dentry && f->path.dentry->inode)
        return path_stat(&f->path, ret);
    if (f->ops->getattr)
        return f->ops->getattr(f, ret);
    memset(ret, 0, sizeof(*ret));
    ret->st_dev = 0xd;
    ret->st_ino = f->ino;
    ret->st_mode = 0600; /* the anonymous inode has no type */
    ret->st_nlink = 1;
    ret->st_blksize = 4096;
    if (f->cred) {
        ret->st_uid = f->cred->uid;
        ret->st_gid = f->cred->gid;
    }
    return 0;
}

static int setattr_told(const struct path *p, const struct setattr *s, const struct cred *c)
{
    int r = inode_setattr(p->dentry->inode, s, c);
    if (r == 0)
        vfs_notify_path(p, s->valid & ATTR_SIZE ? IN_MODIFY : IN_ATTRIB);
    return r;
}

int vfs_chmod(struct task *t, const struct path *p, uint32_t mode)
{
    struct inode *i = p->dentry->inode;
    int r = unveil_check_open(t, p, UNVEIL_WRITE);
    if (r == 0)
        r = path_want_write(p);
    if (r < 0)
        return r;
    if (!inode_owner_or_capable(i, t->cred))
        return -EPERM;
    if (S_ISLNK(inode_type(i)))
        return -EOPNOTSUPP;
    struct attr a;
    inode_attr(i, &a);
    mode &= 07777;
    if ((mode & S_ISGID) && !cred_in_group(t->cred, a.gid) && !cred_capable(t->cred, CAP_FSETID))
        mode &= ~(uint32_t)S_ISGID;
    struct setattr s = {.valid = ATTR_MODE, .mode = mode};
    return setattr_told(p, &s, t->cred);
}

int vfs_chown(struct task *t, const struct path *p, uint32_t uid, uint32_t gid)
{
    struct inode *i = p->dentry->inode;
    const struct cred *c = t->cred;
    int r = unveil_check_open(t, p, UNVEIL_WRITE);
    if (r == 0)
        r = path_want_write(p);
    if (r < 0)
        return r;
    struct attr a;
    inode_attr(i, &a);
    struct setattr s = {.uid = uid, .gid = gid};
    bool capable = cred_capable(c, CAP_CHOWN);
    if (uid != UINT32_MAX) {
        s.valid |= ATTR_UID;
        if (!capable && !(a.uid == c->fsuid && uid == a.uid))
            return -EPERM;
    }
    if (gid != UINT32_MAX) {
        s.valid |= ATTR_GID;
        if (!capable && !(a.uid == c->fsuid && (cred_in_group(c, gid) || gid == a.gid)))
            return -EPERM;
    }
    if (S_ISREG(inode_type(i)) && (a.mode & (S_ISUID | S_ISGID))) {
        s.valid |= ATTR_MODE;
        s.mode = a.mode & 07777 & ~(uint32_t)S_ISUID;
        if (a.mode & S_IXGRP)
            s.mode &= ~(uint32_t)S_ISGID;
    }
    return s.valid ? setattr_told(p, &s, c) : 0;
}

int vfs_truncate(struct task *t, const struct path *p, int64_t size)
{
    struct inode *i = p->dentry->inode;
    if (size < 0)
        return -EINVAL;
    if (S_ISDIR(inode_type(i)))
        return -EISDIR;
    if (!S_ISREG(inode_type(i)))
        return -EINVAL;
    int r = path_want_write(p);
    if (r < 0)
        return r;
    struct setattr s = {.valid = ATTR_SIZE | ATTR_MTIME | ATTR_MTIME_NOW, .size = (uint64_t)size};
    return setattr_told(p, &s, t->cred);
}
