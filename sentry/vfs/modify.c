/* SPDX-License-Identifier: Apache-2.0
 * modify.c - what changes names: mkdir, mknod, symlink, link, unlink, rmdir, rename.
 *
 * Each resolves to the parent, takes its inode lock, decides with the cache, asks the file system,
 * then brings the cache up to date: new names get new dentries, removed ones leave a negative one.
 *
 * Locks: superblock rename_lock (renames between directories), then directories ancestor first or
 * by address. */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <stdio.h>

#include <vfs/notify.h>

#include "vfs_internal.h"

/* A name about to be made or removed: its directory (locked) and its dentry. */
struct target {
    struct path dir;
    struct last_name last;
    struct dentry *d;
};

static void target_end(struct target *x)
{
    fmutex_unlock(&x->dir.dentry->inode->lock);
    dentry_put(x->d);
    path_put(&x->dir);
}

/* Parent of a name to be created, locked, all checks done: d is negative. */
static int target_create(struct task *t, int dirfd, const char *name, bool dir_ok, struct target *x)
{
    int r = path_lookup_parent(t, dirfd, name, 0, &x->dir, &x->last);
    if (r < 0)
        return r;
    if (x->last.kind != LAST_NORM) {
        path_put(&x->dir);
        return -EEXIST;
    }
    if (!(x->last.may & UNVEIL_VISIBLE)) {
        path_put(&x->dir);
        return -ENOENT;
    }
    struct inode *dir = x->dir.dentry->inode;
    fmutex_lock(&dir->lock);
    x->d = dentry_lookup_locked(x->dir.dentry, x->last.name, x->last.len);
    if (IS_ERR(x->d))
        r = PTR_ERR(x->d);
    else if (x->d->inode)
        r = -EEXIST;
    else if (x->last.trailing_slash && !dir_ok)
        r = -ENOENT;
    else if (!(x->last.may & UNVEIL_CREATE))
        r = -EACCES;
    else if ((r = path_want_write(&x->dir)) == 0)
        r = dir->dead ? -ENOENT : inode_permission(dir, MAY_WRITE | MAY_EXEC, t->cred);
    if (r < 0)
        target_end(x);
    return r;
}

/* The name exists now with @i (reference taken over). Ends the target. */
static int target_made(struct target *x, struct inode *i)
{
    int r = IS_ERR(i) ? PTR_ERR(i) : 0;
    if (r == 0) {
        dentry_drop(x->d);
        struct dentry *d = dentry_add(x->dir.dentry, x->last.name, x->last.len, i);
        vfs_notify_entry(x->dir.dentry->inode, IN_CREATE | (S_ISDIR(inode_type(i)) ? IN_ISDIR : 0u),
                         0, x->last.name, x->last.len);
        dentry_put(d); /* no memory: it only is not cached */
    }
    target_end(x);
    return r;
}

int vfs_mkdir(struct task *t, int dirfd, const char *name, uint32_t mode)
{
    struct target x;
    int r = target_create(t, dirfd, name, true, &x);
    if (r < 0)
        return r;
    struct inode *dir = x.dir.dentry->inode;
    mode = (mode & 01777 & ~t->fs->umask) | S_IFDIR;
    struct inode *i = ERR_PTR(-EPERM);
    if (dir->ops->mkdir)
        i = dir->ops->mkdir(dir, x.last.name, x.last.len, mode, t->cred);
    return target_made(&x, i);
}

int vfs_mknod(struct task *t, int dirfd, const char *name, uint32_t mode, uint64_t rdev)
{
    uint32_t type = mode & S_IFMT;
    if (type == 0)
        mode |= type = S_IFREG;
    if (S_ISDIR(type))
        return -EPERM;
    if (!S_ISREG(type) && !S_ISCHR(type) && !S_ISBLK(type) && !S_ISFIFO(type) && !S_ISSOCK(type))
        return -EINVAL;
    struct target x;
    int r = target_create(t, dirfd, name, false, &x);
    if (r < 0)
        return r;
    struct inode *dir = x.dir.dentry->inode;
    mode = type | (mode & 07777 & ~t->fs->umask);
    struct inode *i = ERR_PTR(-EPERM);
    if ((S_ISCHR(type) || S_ISBLK(type)) && !cred_capable(t->cred, CAP_MKNOD))
        i = ERR_PTR(-EPERM);
    else if (S_ISREG(type) && dir->ops->create)
        i = dir->ops->create(dir, x.last.name, x.last.len, mode, t->cred);
    else if (!S_ISREG(type) && dir->ops->mknod)
        i = dir->ops->mknod(dir, x.last.name, x.last.len, mode, rdev, t->cred);
    return target_made(&x, i);
}

int vfs_symlink(struct task *t, const char *target, int dirfd, const char *name)
{
    if (!*target)
        return -ENOENT;
    struct target x;
    int r = target_create(t, dirfd, name, false, &x);
    if (r < 0)
        return r;
    struct inode *dir = x.dir.dentry->inode;
    struct inode *i = ERR_PTR(-EPERM);
    if (dir->ops->symlink)
        i = dir->ops->symlink(dir, x.last.name, x.last.len, target, t->cred);
    return target_made(&x, i);
}

int vfs_link(struct task *t, const struct path *target, int dirfd, const char *name)
{
    struct inode *i = target->dentry->inode;
    struct target x;
    int r = target_create(t, dirfd, name, false, &x);
    if (r < 0)
        return r;
    struct inode *dir = x.dir.dentry->inode;
    if (x.dir.mnt->sb != target->mnt->sb || x.dir.mnt != target->mnt ||
        (x.last.may & ~unveil_may(t, target)))
        r = -EXDEV; /* also: by the new name it could do more */
    else if (S_ISDIR(inode_type(i)) || !dir->ops->link)
        r = -EPERM;
    else
        r = dir->ops->link(dir, x.last.name, x.last.len, i);
    if (r == 0)
        vfs_notify_inode(i, IN_ATTRIB);
    return target_made(&x, r < 0 ? ERR_PTR(r) : inode_get(i));
}

static int may_delete(struct task *t, const struct path *dir, struct inode *victim)
{
    struct inode *i = dir->dentry->inode;
    int r = path_want_write(dir);
    if (r == 0)
        r = inode_permission(i, MAY_WRITE | MAY_EXEC, t->cred);
    if (r < 0 || !victim)
        return r;
    struct attr d, v;
    inode_attr(i, &d);
    if (!(d.mode & S_ISVTX))
        return 0;
    inode_attr(victim, &v);
    if (v.uid == t->cred->fsuid || d.uid == t->cred->fsuid || cred_capable(t->cred, CAP_FOWNER))
        return 0;
    return -EPERM;
}

/* Parent locked, d positive and the task may remove it. */
static int target_remove(struct task *t, int dirfd, const char *name, bool want_dir,
                         struct target *x)
{
    int r = path_lookup_parent(t, dirfd, name, 0, &x->dir, &x->last);
    if (r < 0)
        return r;
    if (x->last.kind != LAST_NORM) {
        path_put(&x->dir);
        static const int dir_errors[] = {
            [LAST_DOT] = -EINVAL, [LAST_DOTDOT] = -ENOTEMPTY, [LAST_ROOT] = -EBUSY};
        return want_dir ? dir_errors[x->last.kind] : -EISDIR;
    }
    struct inode *dir = x->dir.dentry->inode;
    fmutex_lock(&dir->lock);
    x->d = dentry_lookup_locked(x->dir.dentry, x->last.name, x->last.len);
    struct inode *victim = IS_ERR(x->d) ? NULL : x->d->inode;
    if (IS_ERR(x->d))
        r = PTR_ERR(x->d);
    else if (!victim || !(x->last.may & UNVEIL_VISIBLE))
        r = -ENOENT;
    else if (!(x->last.may & UNVEIL_CREATE))
        r = -EACCES;
    else if (!want_dir && x->last.trailing_slash)
        r = S_ISDIR(inode_type(victim)) ? -EISDIR : -ENOTDIR;
    else if ((r = may_delete(t, &x->dir, victim)) < 0)
        ;
    else if (S_ISDIR(inode_type(victim)) != want_dir)
        r = want_dir ? -ENOTDIR : -EISDIR;
    else if (x->d->mounts)
        r = -EBUSY;
    if (r < 0)
        target_end(x);
    return r;
}

/* The name is gone: the old dentry lives on for those who hold it, a negative one takes its place.
 */
static void target_removed(struct target *x)
{
    dentry_mark_deleted(x->d);
    dentry_put(dentry_add(x->dir.dentry, x->last.name, x->last.len, NULL));
}

/* Ends the target; tells watchers if it was removed (@r is 0). @last: no other name is left. */
static int target_gone(struct target *x, int r, bool last)
{
    if (r != 0 || !vfs_watched()) {
        target_end(x);
        return r;
    }
    struct inode *dir = inode_get(x->dir.dentry->inode), *victim = inode_get(x->d->inode);
    uint32_t kind = S_ISDIR(inode_type(victim)) ? IN_ISDIR : 0u;
    target_end(x);
    if (!kind)
        vfs_notify_inode(victim, IN_ATTRIB);
    if (last)
        vfs_notify_inode(victim, IN_DELETE_SELF);
    vfs_notify_entry(dir, IN_DELETE | kind, 0, x->last.name, x->last.len);
    inode_put(victim);
    inode_put(dir);
    return r;
}

int vfs_unlink(struct task *t, int dirfd, const char *name)
{
    struct target x;
    int r = target_remove(t, dirfd, name, false, &x);
    if (r < 0)
        return r;
    struct inode *dir = x.dir.dentry->inode;
    struct attr a;
    inode_attr(x.d->inode, &a);
    uint32_t nlink = a.nlink;
    r = -EPERM;
    if (dir->ops->unlink)
        r = dir->ops->unlink(dir, x.last.name, x.last.len, x.d->inode);
    if (r == 0)
        target_removed(&x);
    return target_gone(&x, r, nlink <= 1);
}

int vfs_rmdir(struct task *t, int dirfd, const char *name)
{
    struct target x;
    int r = target_remove(t, dirfd, name, true, &x);
    if (r < 0)
        return r;
    struct inode *dir = x.dir.dentry->inode, *victim = x.d->inode;
    r = -EPERM;
    if (dir->ops->rmdir) {
        fmutex_lock(&victim->lock);
        r = dir->ops->rmdir(dir, x.last.name, x.last.len, victim);
        if (r == 0)
            victim->dead = true;
        fmutex_unlock(&victim->lock);
    }
    if (r == 0) {
        dentry_prune(x.d);
        target_removed(&x);
    }
    return target_gone(&x, r, true);
}

/* --- rename --- */

struct renaming {
    struct task *t;
    struct path odir, ndir;
    struct last_name olast, nlast;
    struct dentry *old, *new;
    uint32_t flags;
};

static void rename_lock(struct renaming *x)
{
    struct inode *a = x->odir.dentry->inode, *b = x->ndir.dentry->inode;
    if (a == b) {
        fmutex_lock(&a->lock);
        return;
    }
    fmutex_lock(&a->sb->rename_lock);
    if (dentry_is_ancestor(x->ndir.dentry, x->odir.dentry) ||
        (!dentry_is_ancestor(x->odir.dentry, x->ndir.dentry) && a > b)) {
        struct inode *swap = a;
        a = b;
        b = swap;
    }
    fmutex_lock(&a->lock);
    fmutex_lock(&b->lock);
}

static void rename_unlock(struct renaming *x)
{
    struct inode *a = x->odir.dentry->inode, *b = x->ndir.dentry->inode;
    fmutex_unlock(&a->lock);
    if (a == b)
        return;
    fmutex_unlock(&b->lock);
    fmutex_unlock(&a->sb->rename_lock);
}

static int rename_find(struct renaming *x)
{
    x->old = dentry_lookup_locked(x->odir.dentry, x->olast.name, x->olast.len);
    if (IS_ERR(x->old))
        return PTR_ERR(x->old);
    x->new = dentry_lookup_locked(x->ndir.dentry, x->nlast.name, x->nlast.len);
    return IS_ERR(x->new) ? PTR_ERR(x->new) : 0;
}

/* Names, kinds and loops. 1: both are the same file, nothing to do. */
static int rename_check(struct renaming *x)
{
    struct inode *from = x->old->inode, *to = x->new->inode;
    bool exchange = (x->flags & RENAME_EXCHANGE) != 0;
    if (!from)
        return -ENOENT;
    if (to && (x->flags & RENAME_NOREPLACE))
        return -EEXIST;
    if (!to && exchange)
        return -ENOENT;
    bool from_dir = S_ISDIR(inode_type(from)), to_dir = to && S_ISDIR(inode_type(to));
    if (!from_dir && (x->olast.trailing_slash || (!exchange && x->nlast.trailing_slash)))
        return -ENOTDIR;
    if (exchange && !to_dir && x->nlast.trailing_slash)
        return -ENOTDIR;
    if (from_dir && dentry_is_ancestor(x->old, x->ndir.dentry))
        return -EINVAL;
    if (to_dir && dentry_is_ancestor(x->new, x->odir.dentry))
        return exchange ? -EINVAL : -ENOTEMPTY;
    if (from == to)
        return 1;
    int r = may_delete(x->t, &x->odir, from);
    if (r == 0)
        r = may_delete(x->t, &x->ndir, to);
    if (r < 0)
        return r;
    if (x->ndir.dentry->inode->dead)
        return -ENOENT;
    if (to && !exchange && from_dir != to_dir)
        return from_dir ? -ENOTDIR : -EISDIR;
    if (x->old->mounts || x->new->mounts)
        return -EBUSY;
    /* ".." of a moved directory changes: it must be writable */
    if (from_dir && x->odir.dentry != x->ndir.dentry)
        r = inode_permission(from, MAY_WRITE, x->t->cred);
    if (r == 0 && exchange && to_dir && x->odir.dentry != x->ndir.dentry)
        r = inode_permission(to, MAY_WRITE, x->t->cred);
    return r;
}

static void rename_cache(struct renaming *x)
{
    struct dentry *od = x->odir.dentry, *nd = x->ndir.dentry;
    if (x->flags & RENAME_EXCHANGE) {
        dentry_drop(x->new);
        if (dentry_move(x->old, nd, x->nlast.name, x->nlast.len) < 0)
            dentry_drop(x->old);
        (void)dentry_move(x->new, od, x->olast.name, x->olast.len);
        return;
    }
    if (x->new->inode) {
        if (S_ISDIR(inode_type(x->new->inode))) {
            dentry_prune(x->new);
            x->new->inode->dead = true;
        }
        dentry_mark_deleted(x->new);
    } else {
        dentry_drop(x->new);
    }
    if (dentry_move(x->old, nd, x->nlast.name, x->nlast.len) == 0)
        dentry_put(dentry_add(od, x->olast.name, x->olast.len, NULL));
}

/* As unveiled: both names may change, and what is moved cannot do more where it is then. */
static int rename_unveiled(const struct renaming *x)
{
    unsigned from = x->olast.may, to = x->nlast.may;

    if (!(from & UNVEIL_VISIBLE) || !(to & UNVEIL_VISIBLE) || !x->old->inode)
        return -ENOENT;
    if (!(from & UNVEIL_CREATE) || !(to & UNVEIL_CREATE))
        return -EACCES;
    return (to & ~from) || ((x->flags & RENAME_EXCHANGE) && (from & ~to)) ? -EXDEV : 0;
}

static int rename_locked(struct renaming *x)
{
    int r = rename_find(x);
    if (r == 0)
        r = rename_unveiled(x);
    if (r == 0)
        r = rename_check(x);
    if (r != 0)
        return r < 0 ? r : 0;
    struct inode *od = x->odir.dentry->inode, *nd = x->ndir.dentry->inode;
    struct inode *to = x->new->inode;
    if (!od->ops->rename)
        return -EPERM;
    bool lock_victim = to && S_ISDIR(inode_type(to));
    if (lock_victim)
        fmutex_lock(&to->lock);
    r = od->ops->rename(od, x->olast.name, x->olast.len, x->old->inode, nd, x->nlast.name,
                        x->nlast.len, to, x->flags);
    if (lock_victim)
        fmutex_unlock(&to->lock);
    if (r == 0)
        rename_cache(x);
    return r;
}

static void rename_tell(struct renaming *x)
{
    static _Atomic(uint32_t) cookies;
    struct inode *moved = x->old->inode;
    uint32_t kind = S_ISDIR(inode_type(moved)) ? IN_ISDIR : 0u;
    uint32_t cookie = atomic_fetch_add_explicit(&cookies, 1, memory_order_relaxed) + 1;

    if (moved == x->new->inode)
        return; /* both names were one file's: nothing happened */
    vfs_notify_entry(x->odir.dentry->inode, IN_MOVED_FROM | kind, cookie, x->olast.name,
                     x->olast.len);
    vfs_notify_entry(x->ndir.dentry->inode, IN_MOVED_TO | kind, cookie, x->nlast.name,
                     x->nlast.len);
    vfs_notify_inode(moved, IN_MOVE_SELF);
    if (x->new->inode && !(x->flags & RENAME_EXCHANGE)) {
        vfs_notify_inode(x->new->inode, IN_ATTRIB);
        vfs_notify_inode(x->new->inode, IN_DELETE_SELF);
    }
}

int vfs_rename(struct task *t, int odirfd, const char *oname, int ndirfd, const char *nname,
               uint32_t flags)
{
    struct renaming x = {.t = t, .flags = flags};
    int r = path_lookup_parent(t, odirfd, oname, 0, &x.odir, &x.olast);
    if (r < 0)
        return r;
    r = path_lookup_parent(t, ndirfd, nname, 0, &x.ndir, &x.nlast);
    if (r == 0 && x.odir.mnt != x.ndir.mnt)
        r = -EXDEV;
    if (r == 0 && x.olast.kind != LAST_NORM)
        r = -EBUSY;
    if (r == 0 && x.nlast.kind != LAST_NORM)
        r = flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    if (r == 0) {
        rename_lock(&x);
        r = rename_locked(&x);
        rename_unlock(&x);
        if (r == 0 && vfs_watched())
            rename_tell(&x);
        dentry_put(x.old);
        dentry_put(x.new);
    }
    path_put(&x.odir);
    path_put(&x.ndir);
    return r;
}
