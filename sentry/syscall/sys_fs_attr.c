/* SPDX-License-Identifier: Apache-2.0
 * sys_fs_attr.c - chmod, chown, times; extended attributes. */
#include <linux/capability.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

#include <vfs/notify.h>
#include <vfs/unveil.h>

#include "sys_path.h"

sysret_t sys_fchmodat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t mode)
{
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, dirfd, path, 0, &p);
    return r < 0 ? r : vfs_chmod(c->task, &p, mode);
}

sysret_t sys_chmod(struct call *c, uaddr_t path, uint32_t mode)
{
    return sys_fchmodat(c, AT_FDCWD, path, mode);
}

/* Descriptors without a path (pipes, sockets) have nothing that could change. */
static int fd_path(struct task *t, int fd, struct path *ret)
{
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (!f->path.dentry)
        return -EPERM;
    *ret = f->path;
    path_get(ret);
    return 0;
}

sysret_t sys_fchmod(struct call *c, int32_t fd, uint32_t mode)
{
    struct path p AUTO_PATH = {0};
    int r = fd_path(c->task, fd, &p);
    return r < 0 ? r : vfs_chmod(c->task, &p, mode);
}

sysret_t sys_fchownat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t uid, uint32_t gid,
                      uint32_t flags)
{
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, dirfd, path, lookup_from_at(flags), &p);
    return r < 0 ? r : vfs_chown(c->task, &p, uid, gid);
}

sysret_t sys_chown(struct call *c, uaddr_t path, uint32_t uid, uint32_t gid)
{
    return sys_fchownat(c, AT_FDCWD, path, uid, gid, 0);
}

sysret_t sys_lchown(struct call *c, uaddr_t path, uint32_t uid, uint32_t gid)
{
    return sys_fchownat(c, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_fchown(struct call *c, int32_t fd, uint32_t uid, uint32_t gid)
{
    struct path p AUTO_PATH = {0};
    int r = fd_path(c->task, fd, &p);
    return r < 0 ? r : vfs_chown(c->task, &p, uid, gid);
}

/* --- times --- */

/* Both NULL: now. */
static int set_times(struct task *t, const struct path *p, const struct timespec *ts)
{
    struct inode *i = path_inode(p);
    struct setattr s = {0};
    bool exact = false; /* sets another time than now: only the owner may */
    const uint32_t set[2] = {ATTR_ATIME, ATTR_MTIME}, now[2] = {ATTR_ATIME_NOW, ATTR_MTIME_NOW};
    bool all_now = !ts || (ts[0].tv_nsec == UTIME_NOW && ts[1].tv_nsec == UTIME_NOW);
    for (unsigned k = 0; k < 2; k++) {
        if (!ts || ts[k].tv_nsec == UTIME_NOW) {
            s.valid |= set[k] | now[k];
        } else if (ts[k].tv_nsec != UTIME_OMIT) {
            if (ts[k].tv_nsec < 0 || ts[k].tv_nsec > 999999999)
                return -EINVAL;
            s.valid |= set[k];
            *(k ? &s.mtime : &s.atime) = ts[k];
            exact = true;
        }
    }
    if (!s.valid)
        return 0;
    int r = unveil_check_open(t, p, UNVEIL_WRITE);
    if (r == 0)
        r = path_want_write(p);
    if (r < 0)
        return r;
    if (!inode_owner_or_capable(i, t->cred)) {
        if (exact || !all_now)
            return -EPERM;
        r = inode_permission(i, MAY_WRITE, t->cred);
        if (r < 0)
            return r;
    }
    r = inode_setattr(i, &s, t->cred);
    if (r == 0)
        vfs_notify_path(p, IN_ATTRIB);
    return r;
}

static sysret_t times_path(struct task *t, int dirfd, uaddr_t path, uint32_t flags,
                           const struct timespec *ts)
{
    struct path p AUTO_PATH = {0};
    int r;
    if (uaddr_null(path) && dirfd != AT_FDCWD)
        r = path_from_fd(t, dirfd, true, &p);
    else
        r = path_from_guest(t, dirfd, path, lookup_from_at(flags), &p);
    return r < 0 ? r : set_times(t, &p, ts);
}

sysret_t sys_utimensat(struct call *c, int32_t dirfd, uaddr_t path, uaddr_t times, uint32_t flags)
{
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    struct timespec ts[2];
    if (!uaddr_null(times)) {
        int r = copy_in(c->task->mm, ts, times, sizeof(ts));
        if (r < 0)
            return r;
        if (ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
            return 0;
    }
    return times_path(c->task, dirfd, path, flags, uaddr_null(times) ? NULL : ts);
}

sysret_t sys_futimesat(struct call *c, int32_t dirfd, uaddr_t path, uaddr_t times)
{
    struct timeval tv[2];
    struct timespec ts[2];
    if (uaddr_null(times))
        return times_path(c->task, dirfd, path, 0, NULL);
    int r = copy_in(c->task->mm, tv, times, sizeof(tv));
    if (r < 0)
        return r;
    for (unsigned k = 0; k < 2; k++) {
        if (tv[k].tv_usec < 0 || tv[k].tv_usec > 999999)
            return -EINVAL;
        ts[k] = (struct timespec){tv[k].tv_sec, tv[k].tv_usec * 1000};
    }
    return times_path(c->task, dirfd, path, 0, ts);
}

sysret_t sys_utimes(struct call *c, uaddr_t path, uaddr_t times)
{
    return sys_futimesat(c, AT_FDCWD, path, times);
}

sysret_t sys_utime(struct call *c, uaddr_t path, uaddr_t times)
{
    struct utimbuf b;
    if (uaddr_null(times))
        return times_path(c->task, AT_FDCWD, path, 0, NULL);
    int r = copy_in_obj(c->task->mm, &b, times);
    if (r < 0)
        return r;
    struct timespec ts[2] = {{.tv_sec = b.actime}, {.tv_sec = b.modtime}};
    return times_path(c->task, AT_FDCWD, path, 0, ts);
}

/* --- extended attributes --- */

static int xattr_name_in(struct task *t, uaddr_t u, char name[XATTR_NAME_MAX + 1])
{
    ssize_t n = copy_in_string(t->mm, name, u, XATTR_NAME_MAX + 1);
    return n == 0 || n == -ENAMETOOLONG ? -ERANGE : n < 0 ? (int)n : 0;
}

/* user.* needs the mode bits' permission, trusted.* CAP_SYS_ADMIN. */
static int xattr_permission(struct task *t, const struct path *p, const char *name, int mask)
{
    struct inode *i = path_inode(p);
    if (mask & MAY_WRITE) {
        int r = unveil_check_open(t, p, UNVEIL_WRITE);
        if (r == 0)
            r = path_want_write(p);
        if (r < 0)
            return r;
    }
    if (strncmp(name, "trusted.", 8) == 0)
        return cred_capable(t->cred, CAP_SYS_ADMIN) ? 0 : mask & MAY_WRITE ? -EPERM : -ENODATA;
    if (strncmp(name, "user.", 5) == 0) {
        if (!S_ISREG(inode_type(i)) && !S_ISDIR(inode_type(i)))
            return mask & MAY_WRITE ? -EPERM : -ENODATA;
        return inode_permission(i, mask, t->cred);
    }
    if ((mask & MAY_WRITE) && !inode_owner_or_capable(i, t->cred))
        return -EPERM;
    return 0;
}

static sysret_t xattr_get(struct task *t, const struct path *p, uaddr_t name, uaddr_t value,
                          size_t size)
{
    char key[XATTR_NAME_MAX + 1];
    struct inode *i = path_inode(p);
    int r = xattr_name_in(t, name, key);
    if (r == 0)
        r = xattr_permission(t, p, key, MAY_READ);
    if (r < 0)
        return r;
    if (!i->ops->getxattr)
        return -EOPNOTSUPP;
    size = MIN(size, (size_t)XATTR_SIZE_MAX);
    char *buf autofree = malloc(size + 1);
    if (!buf)
        return -ENOMEM;
    fmutex_lock(&i->lock);
    ssize_t n = i->ops->getxattr(i, key, buf, size);
    fmutex_unlock(&i->lock);
    if (n > 0 && size)
        r = copy_out(t->mm, value, buf, (size_t)n);
    return r < 0 ? r : n;
}

static sysret_t xattr_set(struct task *t, const struct path *p, uaddr_t name, uaddr_t value,
                          size_t size, uint32_t flags)
{
    char key[XATTR_NAME_MAX + 1];
    struct inode *i = path_inode(p);
    if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    int r = xattr_name_in(t, name, key);
    if (r < 0)
        return r;
    if (size > XATTR_SIZE_MAX)
        return -E2BIG;
    char *buf autofree = malloc(size + 1);
    if (!buf)
        return -ENOMEM;
    r = copy_in(t->mm, buf, value, size);
    if (r == 0)
        r = xattr_permission(t, p, key, MAY_WRITE);
    if (r < 0)
        return r;
    if (!i->ops->setxattr)
        return -EOPNOTSUPP;
    fmutex_lock(&i->lock);
    r = i->ops->setxattr(i, key, buf, size, (int)flags);
    fmutex_unlock(&i->lock);
    return r;
}

static sysret_t xattr_list(struct task *t, const struct path *p, uaddr_t list, size_t size)
{
    struct inode *i = path_inode(p);
    if (!i->ops->listxattr)
        return 0;
    size = MIN(size, (size_t)XATTR_LIST_MAX);
    char *buf autofree = malloc(size + 1);
    if (!buf)
        return -ENOMEM;
    fmutex_lock(&i->lock);
    ssize_t n = i->ops->listxattr(i, buf, size);
    fmutex_unlock(&i->lock);
    if (n > 0 && size) {
        int r = copy_out(t->mm, list, buf, (size_t)n);
        if (r < 0)
            return r;
    }
    return n;
}

static sysret_t xattr_remove(struct task *t, const struct path *p, uaddr_t name)
{
    char key[XATTR_NAME_MAX + 1];
    struct inode *i = path_inode(p);
    int r = xattr_name_in(t, name, key);
    if (r == 0)
        r = xattr_permission(t, p, key, MAY_WRITE);
    if (r < 0)
        return r;
    if (!i->ops->removexattr)
        return -EOPNOTSUPP;
    fmutex_lock(&i->lock);
    r = i->ops->removexattr(i, key);
    fmutex_unlock(&i->lock);
    return r;
}

/* Each call in its three forms: following links, not following, by descriptor. */
#define XATTR_PATH(expr, lookup)                                  \
    struct path p AUTO_PATH = {0};                                \
    int r = path_from_guest(c->task, AT_FDCWD, path, lookup, &p); \
    return r < 0 ? r : (expr)
#define XATTR_FD(expr)                \
    struct path p AUTO_PATH = {0};    \
    int r = fd_path(c->task, fd, &p); \
    return r < 0 ? (r == -EPERM ? -EOPNOTSUPP : r) : (expr)

sysret_t sys_getxattr(struct call *c, uaddr_t path, uaddr_t name, uaddr_t value, size_t size)
{
    XATTR_PATH(xattr_get(c->task, &p, name, value, size), LOOKUP_MAY_READ);
}

sysret_t sys_lgetxattr(struct call *c, uaddr_t path, uaddr_t name, uaddr_t value, size_t size)
{
    XATTR_PATH(xattr_get(c->task, &p, name, value, size), LOOKUP_NOFOLLOW | LOOKUP_MAY_READ);
}

sysret_t sys_fgetxattr(struct call *c, int32_t fd, uaddr_t name, uaddr_t value, size_t size)
{
    XATTR_FD(xattr_get(c->task, &p, name, value, size));
}

sysret_t sys_setxattr(struct call *c, uaddr_t path, uaddr_t name, uaddr_t value, size_t size,
                      uint32_t flags)
{
    XATTR_PATH(xattr_set(c->task, &p, name, value, size, flags), 0);
}

sysret_t sys_lsetxattr(struct call *c, uaddr_t path, uaddr_t name, uaddr_t value, size_t size,
                       uint32_t flags)
{
    XATTR_PATH(xattr_set(c->task, &p, name, value, size, flags), LOOKUP_NOFOLLOW);
}

sysret_t sys_fsetxattr(struct call *c, int32_t fd, uaddr_t name, uaddr_t value, size_t size,
                       uint32_t flags)
{
    XATTR_FD(xattr_set(c->task, &p, name, value, size, flags));
}

sysret_t sys_listxattr(struct call *c, uaddr_t path, uaddr_t list, size_t size)
{
    XATTR_PATH(xattr_list(c->task, &p, list, size), LOOKUP_MAY_READ);
}

sysret_t sys_llistxattr(struct call *c, uaddr_t path, uaddr_t list, size_t size)
{
    XATTR_PATH(xattr_list(c->task, &p, list, size), LOOKUP_NOFOLLOW | LOOKUP_MAY_READ);
}

sysret_t sys_flistxattr(struct call *c, int32_t fd, uaddr_t list, size_t size)
{
    XATTR_FD(xattr_list(c->task, &p, list, size));
}

sysret_t sys_removexattr(struct call *c, uaddr_t path, uaddr_t name)
{
    XATTR_PATH(xattr_remove(c->task, &p, name), 0);
}

sysret_t sys_lremovexattr(struct call *c, uaddr_t path, uaddr_t name)
{
    XATTR_PATH(xattr_remove(c->task, &p, name), LOOKUP_NOFOLLOW);
}

sysret_t sys_fremovexattr(struct call *c, int32_t fd, uaddr_t name)
{
    XATTR_FD(xattr_remove(c->task, &p, name));
}
