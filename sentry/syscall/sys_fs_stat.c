/* SPDX-License-Identifier: Apache-2.0
 * sys_fs_stat.c - stat and its family, access, statfs. */
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <vfs/unveil.h>

#include "sys_path.h"

static sysret_t stat_path(struct task *t, int dirfd, uaddr_t path, unsigned lookup, uaddr_t out)
{
    if (pledge_need(t, PLEDGE_RPATH))
        return -EPERM;
    struct path p AUTO_PATH = {0};
    struct stat st;
    int r = path_from_guest(t, dirfd, path, lookup, &p);
    if (r == 0)
        r = path_stat(&p, &st);
    return r < 0 ? r : copy_out_obj(t->mm, out, &st);
}

sysret_t sys_stat(struct call *c, uaddr_t path, uaddr_t out)
{
    return stat_path(c->task, AT_FDCWD, path, 0, out);
}

sysret_t sys_lstat(struct call *c, uaddr_t path, uaddr_t out)
{
    return stat_path(c->task, AT_FDCWD, path, LOOKUP_NOFOLLOW, out);
}

sysret_t sys_fstat(struct call *c, int32_t fd, uaddr_t out)
{
    struct file *f AUTO_PUT(file) = fdtable_file(c->task->fds, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct stat st;
    int r = vfs_fstat(f, &st);
    return r < 0 ? r : copy_out_obj(c->task->mm, out, &st);
}

/* AT_EMPTY_PATH with an empty (or, in newer kernels, NULL) path: the descriptor itself, whatever it
 * is. 1: not that case. */
static int is_empty_path(struct task *t, uaddr_t path, uint32_t flags)
{
    char first;
    if (!(flags & AT_EMPTY_PATH))
        return 1;
    if (uaddr_null(path))
        return 0;
    int r = copy_in(t->mm, &first, path, 1);
    return r < 0 ? r : first != 0;
}

sysret_t sys_newfstatat(struct call *c, int32_t dirfd, uaddr_t path, uaddr_t out, uint32_t flags)
{
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
        return -EINVAL;
    int r = is_empty_path(c->task, path, flags);
    if (r < 0)
        return r;
    if (r == 0 && dirfd >= 0)
        return sys_fstat(c, dirfd, out);
    return stat_path(c->task, dirfd, path, lookup_from_at(flags), out);
}

static struct statx_timestamp statx_time(struct timespec ts)
{
    return (struct statx_timestamp){.tv_sec = ts.tv_sec, .tv_nsec = (uint32_t)ts.tv_nsec};
}

static void statx_from_attr(const struct attr *a, struct statx *x)
{
    memset(x, 0, sizeof(*x));
    x->stx_mask = STATX_BASIC_STATS | (a->btime.tv_sec ? STATX_BTIME : 0);
    x->stx_blksize = (uint32_t)a->blksize;
    x->stx_nlink = a->nlink;
    x->stx_uid = a->uid;
    x->stx_gid = a->gid;
    x->stx_mode = (uint16_t)a->mode;
    x->stx_ino = a->ino;
    x->stx_size = a->size;
    x->stx_blocks = a->blocks;
    x->stx_atime = statx_time(a->atime);
    x->stx_mtime = statx_time(a->mtime);
    x->stx_ctime = statx_time(a->ctime);
    x->stx_btime = statx_time(a->btime);
    x->stx_dev_major = major(a->dev);
    x->stx_dev_minor = minor(a->dev);
    x->stx_rdev_major = major(a->rdev);
    x->stx_rdev_minor = minor(a->rdev);
}

/* Files without an inode have only a struct stat. */
static void attr_from_stat(const struct stat *st, struct attr *a)
{
    *a = (struct attr){.ino = st->st_ino,
                       .dev = st->st_dev,
                       .mode = st->st_mode,
                       .nlink = (uint32_t)st->st_nlink,
                       .uid = st->st_uid,
                       .gid = st->st_gid,
                       .rdev = st->st_rdev,
                       .size = (uint64_t)st->st_size,
                       .blocks = (uint64_t)st->st_blocks,
                       .blksize = (uint64_t)st->st_blksize,
                       .atime = st->st_atim,
                       .mtime = st->st_mtim,
                       .ctime = st->st_ctim};
}

static int statx_fd(struct task *t, int fd, struct attr *a)
{
    struct file *f AUTO_PUT(file) = fdtable_file(t->fds, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (file_inode(f))
        return inode_getattr(file_inode(f), a);
    struct stat st;
    int r = vfs_fstat(f, &st);
    if (r == 0)
        attr_from_stat(&st, a);
    return r;
}

sysret_t sys_statx(struct call *c, int32_t dirfd, uaddr_t path, uint32_t flags, uint32_t mask,
                   uaddr_t out)
{
    if (flags &
        ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE))
        return -EINVAL;
    if ((flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || (mask & STATX__RESERVED))
        return -EINVAL;
    struct task *t = c->task;
    struct attr a;
    int r = is_empty_path(t, path, flags);
    if (r < 0)
        return r;
    if (r == 0 && dirfd >= 0) {
        r = statx_fd(t, dirfd, &a);
    } else {
        struct path p AUTO_PATH = {0};
        r = pledge_need(t, PLEDGE_RPATH);
        if (r == 0)
            r = path_from_guest(t, dirfd, path, lookup_from_at(flags), &p);
        if (r == 0)
            r = inode_getattr(path_inode(&p), &a);
    }
    if (r < 0)
        return r;
    struct statx x;
    statx_from_attr(&a, &x);
    return copy_out_obj(t->mm, out, &x);
}

/* --- access --- */

/* Credentials as access(2) wants them: real ids, and capabilities only for a real root. */
static struct cred *access_cred(struct task *t)
{
    struct cred *n = cred_dup(t->cred);
    if (!n)
        return ERR_PTR(-ENOMEM);
    n->fsuid = n->uid;
    n->fsgid = n->gid;
    n->cap_effective = n->uid == 0 ? n->cap_permitted : 0;
    return n;
}

static int access_check(struct path *p, uint32_t mode, const struct cred *cred)
{
    struct inode *i = path_inode(p);
    if ((mode & MAY_EXEC) && S_ISREG(inode_type(i)) && (path_mount_flags(p) & MS_NOEXEC))
        return -EACCES;
    int r = inode_permission(i, (int)mode, cred);
    uint32_t type = inode_type(i);
    if (r == 0 && (mode & MAY_WRITE) && (S_ISREG(type) || S_ISDIR(type) || S_ISLNK(type)))
        r = path_want_write(p);
    return r;
}

/* Directories are searched wherever they are visible. */
static int access_unveiled(struct task *t, const struct path *p, uint32_t mode)
{
    bool runs = (mode & MAY_EXEC) && !S_ISDIR(inode_type(path_inode(p)));

    return unveil_check(t, p,
                        (mode & MAY_READ ? UNVEIL_READ : 0) |
                            (mode & MAY_WRITE ? UNVEIL_WRITE : 0) | (runs ? UNVEIL_EXEC : 0));
}

static sysret_t access_path(struct call *c, int dirfd, uaddr_t path, uint32_t mode, uint32_t flags)
{
    struct task *t = c->task;
    if (mode & ~7u)
        return -EINVAL;
    struct cred *cred = flags & AT_EACCESS ? cred_get(t->cred) : access_cred(t);
    if (IS_ERR(cred))
        return PTR_ERR(cred);
    struct path p AUTO_PATH = {0};
    int r = path_from_guest_as(t, cred, dirfd, path, lookup_from_at(flags), &p);
    if (r == 0)
        r = access_unveiled(t, &p, mode);
    if (r == 0)
        r = access_check(&p, mode, cred);
    cred_put(cred);
    return r;
}

sysret_t sys_access(struct call *c, uaddr_t path, uint32_t mode)
{
    return access_path(c, AT_FDCWD, path, mode, 0);
}

sysret_t sys_faccessat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t mode)
{
    return access_path(c, dirfd, path, mode, 0);
}

sysret_t sys_faccessat2(struct call *c, int32_t dirfd, uaddr_t path, uint32_t mode, uint32_t flags)
{
    if (flags & ~(uint32_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    return access_path(c, dirfd, path, mode, flags);
}

/* --- statfs --- */

#define ST_VALID_BIT 0x20 /* f_flags is filled */

static sysret_t statfs_out(struct task *t, const struct path *p, uaddr_t out)
{
    struct superblock *sb = path_inode(p)->sb;
    struct statfs s;
    memset(&s, 0, sizeof(s));
    int r = 0;
    if (sb->ops && sb->ops->statfs)
        r = sb->ops->statfs(sb, &s);
    if (r < 0)
        return r;
    if (!s.f_type)
        s.f_type = sb->magic;
    if (!s.f_bsize)
        s.f_bsize = 4096;
    if (!s.f_namelen)
        s.f_namelen = NAME_LEN_MAX;
    if (!s.f_frsize)
        s.f_frsize = s.f_bsize;
    uint32_t flags = path_mount_flags(p);
    s.f_flags = ST_VALID_BIT | (flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)) | 0x1000;
    s.f_fsid.__val[0] = (int)sb->dev;
    return copy_out_obj(t->mm, out, &s);
}

sysret_t sys_statfs(struct call *c, uaddr_t path, uaddr_t out)
{
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, AT_FDCWD, path, 0, &p);
    return r < 0 ? r : statfs_out(c->task, &p, out);
}

sysret_t sys_fstatfs(struct call *c, int32_t fd, uaddr_t out)
{
    struct file *f AUTO_PUT(file) = fdtable_file(c->task->fds, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (f->path.dentry)
        return statfs_out(c->task, &f->path, out);
    struct statfs s;
    memset(&s, 0, sizeof(s));
    s.f_type = 0x09041934; /* anonymous inodes */
    s.f_bsize = s.f_frsize = 4096;
    s.f_namelen = NAME_LEN_MAX;
    return copy_out_obj(c->task->mm, out, &s);
}
