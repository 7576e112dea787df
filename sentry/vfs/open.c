/* SPDX-License-Identifier: Apache-2.0
 * open.c - open by path: creation, permission, truncation; opens for exec and of unnamed files.
 *
 * Locks: the directory's inode lock around a creation. The file system's open may park. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <vfs/notify.h>

#include "vfs_internal.h"

#define OPEN_ONLY_FLAGS ((uint32_t)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC))

static const struct file_ops path_only_ops = {.name = "path"};

static int open_mask(uint32_t flags)
{
    static const int masks[] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE};
    int m = masks[flags & O_ACCMODE];
    return flags & O_TRUNC ? m | MAY_WRITE : m;
}

/* UNVEIL_* that opening takes. */
static unsigned open_need(uint32_t flags)
{
    if (flags & O_PATH)
        return 0;
    int mask = open_mask(flags);
    return (mask & MAY_READ ? UNVEIL_READ : 0) | (mask & MAY_WRITE ? UNVEIL_WRITE : 0);
}

/* May @c open what stands at @p with @flags? */
static int open_check(const struct path *p, uint32_t flags, const struct cred *c)
{
    struct inode *i = p->dentry->inode;
    uint32_t type = inode_type(i);
    int mask = open_mask(flags);
    if (S_ISLNK(type))
        return -ELOOP;
    if (S_ISDIR(type) && ((mask & MAY_WRITE) || (flags & O_CREAT)))
        return -EISDIR;
    if ((S_ISCHR(type) || S_ISBLK(type)) && (path_mount_flags(p) & MS_NODEV))
        return -EACCES;
    if (S_ISSOCK(type))
        return -ENXIO;
    int r = inode_permission(i, mask, c);
    if (r < 0)
        return r;
    if ((mask & MAY_WRITE) && S_ISREG(type) && path_want_write(p) < 0)
        return -EROFS;
    if ((flags & O_NOATIME) && !inode_owner_or_capable(i, c))
        return -EPERM;
    return 0;
}

struct file *file_open_path(const struct path *p, uint32_t flags, struct cred *c)
{
    struct inode *i = p->dentry->inode;
    bool path_only = (flags & O_PATH) != 0;
    struct file *f = file_new(path_only ? &path_only_ops : NULL, NULL, flags);
    if (IS_ERR(f))
        return f;
    f->path = *p;
    path_get(&f->path);
    f->inode = inode_get(i);
    if (c && !f->cred)
        f->cred = cred_get(c);
    if (path_only)
        return f;
    int r = -ENXIO;
    if (S_ISFIFO(inode_type(i)))
        r = g_vfs_hooks.fifo_open ? g_vfs_hooks.fifo_open(i, f) : -ENXIO;
    else if (i->ops->open)
        r = i->ops->open(i, f);
    if (r == 0 && !f->ops)
        r = -ENXIO;
    if (r < 0) {
        f->ops = &path_only_ops; /* nothing to release */
        file_put(f);
        return ERR_PTR(r);
    }
    f->flags = (f->flags & ~OPEN_ONLY_FLAGS) | FILE_LARGEFILE;
    vfs_notify_path(&f->path, IN_OPEN);
    return f;
}

static struct file *open_checked(const struct path *p, uint32_t flags, struct cred *c)
{
    struct file *f = file_open_path(p, flags, c);
    struct inode *i = p->dentry->inode;
    if (IS_ERR(f) || !(flags & O_TRUNC) || !S_ISREG(inode_type(i)))
        return f;
    struct setattr s = {.valid = ATTR_SIZE | ATTR_MTIME | ATTR_MTIME_NOW};
    int r = inode_setattr(i, &s, c);
    if (r < 0) {
        file_put(f);
        return ERR_PTR(r);
    }
    vfs_notify_path(p, IN_MODIFY);
    return f;
}

struct file *vfs_open_path(const struct path *p, uint32_t flags, struct cred *c)
{
    if (!(flags & O_PATH)) {
        int r = open_check(p, flags, c);
        if (r < 0)
            return ERR_PTR(r);
    }
    return open_checked(p, flags, c);
}

/* Create the regular file that w->cur lacks. 1: somebody else was faster. */
static int open_create(struct walk *w, const char *name, size_t len, uint32_t mode,
                       struct path *ret)
{
    struct dentry *dir = w->cur.dentry, *d;
    struct inode *i = dir->inode;
    fmutex_lock(&i->lock);
    d = dentry_lookup_locked(dir, name, len);
    int r = IS_ERR(d) ? PTR_ERR(d) : d->inode ? 1 : path_want_write(&w->cur);
    if (r == 0)
        r = i->dead ? -ENOENT : inode_permission(i, MAY_WRITE | MAY_EXEC, w->cred);
    if (r == 0 && !i->ops->create)
        r = -EACCES;
    struct inode *made = NULL;
    if (r == 0) {
        made = i->ops->create(i, name, len, (mode & 07777) | S_IFREG, w->cred);
        r = IS_ERR(made) ? PTR_ERR(made) : 0;
    }
    if (r == 0) {
        dentry_drop(d);
        dentry_put(d);
        d = dentry_add(dir, name, len, made);
        r = IS_ERR(d) ? PTR_ERR(d) : 0;
    }
    fmutex_unlock(&i->lock);
    if (r == 0)
        vfs_notify_entry(i, IN_CREATE, 0, name, len);
    if (r == 0)
        *ret = (struct path){mount_get(w->cur.mnt), d};
    else
        dentry_put(d);
    return r;
}

/* O_TMPFILE: w->cur is the directory. */
static struct file *open_tmpfile(struct walk *w, uint32_t flags, uint32_t mode, struct task *t)
{
    struct inode *dir = w->cur.dentry->inode;
    int r = path_want_write(&w->cur);
    if (r == 0)
        r = inode_permission(dir, MAY_WRITE | MAY_EXEC, w->cred);
    if (r == 0 && !(flags & (O_WRONLY | O_RDWR)))
        r = -EINVAL;
    if (r == 0 && !dir->ops->tmpfile)
        r = -EOPNOTSUPP;
    if (r < 0)
        return ERR_PTR(r);
    fmutex_lock(&dir->lock);
    struct inode *i = dir->ops->tmpfile(dir, (mode & 07777 & ~t->fs->umask) | S_IFREG, w->cred);
    fmutex_unlock(&dir->lock);
    if (IS_ERR(i))
        return ERR_PTR(PTR_ERR(i));
    return vfs_open_unnamed(&w->cur, i, "#tmpfile", flags & ~(uint32_t)(O_TMPFILE | O_DIRECTORY),
                            t->cred);
}

struct file *vfs_open_unnamed(const struct path *root, struct inode *i, const char *name,
                              uint32_t flags, struct cred *c)
{
    struct dentry *parent =
        S_ISDIR(inode_type(root->dentry->inode)) && root->dentry->parent ? root->dentry : NULL;
    struct dentry *d = dentry_new(parent, name, strlen(name), i);
    if (!d) {
        inode_put(i);
        return ERR_PTR(-ENOMEM);
    }
    d->deleted = true;
    struct path p = {root->mnt, d};
    struct file *f = file_open_path(&p, flags, c);
    dentry_put(d);
    return f;
}

int path_unnamed(const struct path *root, struct inode *i, const char *name, struct path *ret)
{
    struct dentry *d = dentry_new(NULL, name, strlen(name), i);
    if (!d) {
        inode_put(i);
        return -ENOMEM;
    }
    d->deleted = true;
    *ret = (struct path){mount_get(root->mnt), d};
    return 0;
}

/* What stands at the last component. 0: w->cur is it (*ret_created tells); 1: followed a link, walk
 * on. */
static int open_last(struct walk *w, uint32_t flags, uint32_t mode, bool *ret_created)
{
    const char *name;
    size_t len;
    int kind;
    bool slash;
    int r = walk_parent(w, &name, &len, &kind, &slash);
    if (r < 0)
        return r;
    w->need_dir |= slash;
    if (kind != LAST_NORM) {
        r = walk_dots(w, kind);
        return r == 0 && (flags & O_CREAT) && (flags & O_EXCL) ? -EEXIST : r;
    }
    if (slash && (flags & O_CREAT)) {
        r = walk_may_search(w);
        return r < 0 ? r : -EISDIR;
    }
    struct path child;
    r = walk_child(w, name, len, &child);
    if (r == 0 && !child.dentry->inode && (flags & O_CREAT)) {
        path_put(&child);
        r = walk_unveil_check(w, true, open_need(flags) | UNVEIL_CREATE);
        if (r == 0)
            r = open_create(w, name, len, mode & ~w->t->fs->umask, &child);
        *ret_created = r == 0;
        if (r == 1)
            r = walk_child(w, name, len, &child);
    }
    if (r < 0)
        return r;
    struct inode *i = child.dentry->inode;
    if (!i)
        r = -ENOENT;
    else if (!*ret_created && (flags & O_CREAT) && (flags & O_EXCL))
        r = -EEXIST;
    else if (S_ISLNK(inode_type(i)) && (w->need_dir || !(flags & O_NOFOLLOW))) {
        r = walk_link(w, &child);
        if (r == 0)
            r = 1;
    }
    if (r != 0) {
        path_put(&child);
        return r;
    }
    walk_enter(w, &child);
    return 0;
}

static struct file *open_walked(struct walk *w, uint32_t flags, uint32_t mode)
{
    struct task *t = w->t;
    bool created = false;
    int r;
    do
        r = open_last(w, flags, mode, &created);
    while (r == 1);
    if (r == 0 && unlikely(w->unveil))
        r = walk_unveil_check(
            w, false, open_need(flags) | ((flags & O_TMPFILE) == O_TMPFILE ? UNVEIL_CREATE : 0));
    if (r < 0)
        return ERR_PTR(r);
    if ((w->need_dir || (flags & O_DIRECTORY)) && !path_is_dir(&w->cur))
        return ERR_PTR(-ENOTDIR);
    if (created) {
        flags &= ~(uint32_t)O_TRUNC;
        return file_open_path(&w->cur, flags, t->cred);
    }
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return open_tmpfile(w, flags, mode, t);
    return vfs_open_path(&w->cur, flags, t->cred);
}

struct file *vfs_open_resolve(struct task *t, int dirfd, const char *name, uint32_t flags,
                              uint32_t mode, unsigned lookup_flags)
{
    if (flags & O_PATH)
        flags &= (uint32_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct walk w;
    int r = walk_start(&w, t, dirfd, name, lookup_flags);
    if (r < 0)
        return ERR_PTR(r);
    struct file *f = open_walked(&w, flags, mode);
    walk_end(&w);
    return f;
}

struct file *vfs_open(struct task *t, int dirfd, const char *name, uint32_t flags, uint32_t mode)
{
    return vfs_open_resolve(t, dirfd, name, flags, mode, 0);
}

struct file *vfs_open_exec(struct task *t, int dirfd, const char *name, unsigned lookup_flags)
{
    struct path p = {0};
    int r = path_lookup(t, dirfd, name, lookup_flags | LOOKUP_MAY_EXEC, &p);
    if (r < 0)
        return ERR_PTR(r);
    struct inode *i = p.dentry->inode;
    if (S_ISLNK(inode_type(i)))
        r = -ELOOP;
    else if (!S_ISREG(inode_type(i)) || (path_mount_flags(&p) & MS_NOEXEC))
        r = -EACCES;
    else
        r = inode_permission(i, MAY_EXEC, t->cred);
    struct file *f = r < 0 ? ERR_PTR(r) : file_open_path(&p, O_RDONLY, t->cred);
    path_put(&p);
    return f;
}
