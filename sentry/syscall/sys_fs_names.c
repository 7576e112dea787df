/* SPDX-License-Identifier: Apache-2.0
 * sys_fs_names.c - calls that make, remove and read names; mounts. */
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/mount.h>

#include <fs/fs.h>
#include <vfs/unveil.h>

#include "sys_path.h"

sysret_t sys_mkdirat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t mode)
{
    char *s AUTO_STR = path_copy_in(c->task, path, false);
    return IS_ERR(s) ? PTR_ERR(s) : vfs_mkdir(c->task, dirfd, s, mode);
}

sysret_t sys_mkdir(struct call *c, uaddr_t path, uint32_t mode)
{
    return sys_mkdirat(c, AT_FDCWD, path, mode);
}

sysret_t sys_mknodat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t mode, uint64_t dev)
{
    char *s AUTO_STR = path_copy_in(c->task, path, false);
    return IS_ERR(s) ? PTR_ERR(s) : vfs_mknod(c->task, dirfd, s, mode, (uint32_t)dev);
}

sysret_t sys_mknod(struct call *c, uaddr_t path, uint32_t mode, uint64_t dev)
{
    return sys_mknodat(c, AT_FDCWD, path, mode, dev);
}

sysret_t sys_unlinkat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t flags)
{
    if (flags & ~(uint32_t)AT_REMOVEDIR)
        return -EINVAL;
    char *s AUTO_STR = path_copy_in(c->task, path, false);
    if (IS_ERR(s))
        return PTR_ERR(s);
    return flags & AT_REMOVEDIR ? vfs_rmdir(c->task, dirfd, s) : vfs_unlink(c->task, dirfd, s);
}

sysret_t sys_unlink(struct call *c, uaddr_t path)
{
    return sys_unlinkat(c, AT_FDCWD, path, 0);
}

sysret_t sys_rmdir(struct call *c, uaddr_t path)
{
    return sys_unlinkat(c, AT_FDCWD, path, AT_REMOVEDIR);
}

sysret_t sys_renameat2(struct call *c, int32_t fromfd, uaddr_t from, int32_t tofd, uaddr_t to,
                       uint32_t flags)
{
    if ((flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    char *a AUTO_STR = path_copy_in(c->task, from, false);
    if (IS_ERR(a))
        return PTR_ERR(a);
    char *b AUTO_STR = path_copy_in(c->task, to, false);
    if (IS_ERR(b))
        return PTR_ERR(b);
    return vfs_rename(c->task, fromfd, a, tofd, b, flags);
}

sysret_t sys_renameat(struct call *c, int32_t fromfd, uaddr_t from, int32_t tofd, uaddr_t to)
{
    return sys_renameat2(c, fromfd, from, tofd, to, 0);
}

sysret_t sys_rename(struct call *c, uaddr_t from, uaddr_t to)
{
    return sys_renameat2(c, AT_FDCWD, from, AT_FDCWD, to, 0);
}

sysret_t sys_linkat(struct call *c, int32_t fromfd, uaddr_t from, int32_t tofd, uaddr_t to,
                    uint32_t flags)
{
    if (flags & ~(uint32_t)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if ((flags & AT_EMPTY_PATH) && !cred_capable(c->task->cred, CAP_DAC_READ_SEARCH))
        return -ENOENT;
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, fromfd, from,
                            (flags & AT_SYMLINK_FOLLOW ? 0 : LOOKUP_NOFOLLOW) |
                                (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
                            &p);
    if (r < 0)
        return r;
    char *s AUTO_STR = path_copy_in(c->task, to, false);
    return IS_ERR(s) ? PTR_ERR(s) : vfs_link(c->task, &p, tofd, s);
}

sysret_t sys_link(struct call *c, uaddr_t from, uaddr_t to)
{
    return sys_linkat(c, AT_FDCWD, from, AT_FDCWD, to, 0);
}

sysret_t sys_symlinkat(struct call *c, uaddr_t target, int32_t dirfd, uaddr_t path)
{
    char *a AUTO_STR = path_copy_in(c->task, target, false);
    if (IS_ERR(a))
        return PTR_ERR(a);
    char *b AUTO_STR = path_copy_in(c->task, path, false);
    return IS_ERR(b) ? PTR_ERR(b) : vfs_symlink(c->task, a, dirfd, b);
}

sysret_t sys_symlink(struct call *c, uaddr_t target, uaddr_t path)
{
    return sys_symlinkat(c, target, AT_FDCWD, path);
}

sysret_t sys_readlinkat(struct call *c, int32_t dirfd, uaddr_t path, uaddr_t buf, int32_t size)
{
    if (size <= 0)
        return -EINVAL;
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, dirfd, path, LOOKUP_NOFOLLOW | LOOKUP_EMPTY, &p);
    if (r < 0)
        return r;
    struct inode *i = path_inode(&p);
    if (!S_ISLNK(inode_type(i)) || !i->ops->readlink)
        return dirfd != AT_FDCWD && !S_ISLNK(inode_type(i)) && uaddr_null(path) ? -ENOENT : -EINVAL;
    char *text autofree = malloc(PATH_LEN_MAX);
    if (!text)
        return -ENOMEM;
    ssize_t n = i->ops->readlink(i, text, MIN((size_t)size, (size_t)PATH_LEN_MAX));
    if (n < 0)
        return n;
    r = copy_out(c->task->mm, buf, text, (size_t)n);
    return r < 0 ? r : n;
}

sysret_t sys_readlink(struct call *c, uaddr_t path, uaddr_t buf, int32_t size)
{
    return sys_readlinkat(c, AT_FDCWD, path, buf, size);
}

/* --- mounts --- */

#define MOUNT_KEPT (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RELATIME)
#define MOUNT_IGNORED (MS_SILENT | MS_STRICTATIME | MS_NODIRATIME | MS_MGC_VAL | MS_REC)

/* "size=64m,mode=755" */
static struct superblock *tmpfs_from_options(const char *o)
{
    uint64_t limit = 0;
    uint32_t mode = 01777;
    for (; *o; o = strchrnul(o, ','), o += *o == ',') {
        char *end;
        if (strncmp(o, "size=", 5) == 0) {
            limit = strtoull(o + 5, &end, 10);
            unsigned shift = *end == 'k' || *end == 'K'   ? 10
                             : *end == 'm' || *end == 'M' ? 20
                             : *end == 'g' || *end == 'G' ? 30
                                                          : 0;
            if (*end == '%' || limit >> (63 - shift))
                limit = 0;
            limit <<= shift;
        } else if (strncmp(o, "mode=", 5) == 0) {
            mode = (uint32_t)strtoul(o + 5, &end, 8) & 07777;
        }
    }
    return tmpfs_new(limit, mode, 0, 0);
}

static sysret_t mount_new_fs(struct task *t, uaddr_t type, uaddr_t data, const struct path *at,
                             uint32_t flags)
{
    char *name AUTO_STR = path_copy_in(t, type, true);
    if (IS_ERR(name))
        return PTR_ERR(name);
    struct superblock *sb;
    if (strcmp(name, "tmpfs") == 0 || strcmp(name, "ramfs") == 0) {
        char *options AUTO_STR = uaddr_null(data) ? strdup("") : path_copy_in(t, data, true);
        if (IS_ERR_OR_NULL(options))
            return options ? PTR_ERR(options) : -ENOMEM;
        sb = tmpfs_from_options(options);
    } else if (strcmp(name, "proc") == 0) {
        sb = procfs_new();
    } else if (strcmp(name, "sysfs") == 0) {
        sb = sysfs_new();
    } else {
        return -ENODEV;
    }
    return IS_ERR(sb) ? PTR_ERR(sb) : mount_add(sb, at, flags);
}

sysret_t sys_mount(struct call *c, uaddr_t source, uaddr_t target, uaddr_t type, uint64_t flags,
                   uaddr_t data)
{
    struct task *t = c->task;
    if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
        flags &= ~(uint64_t)MS_MGC_MSK;
    if (!cred_capable(t->cred, CAP_SYS_ADMIN) || unveil_active(t))
        return -EPERM; /* names would lead elsewhere */
    uint64_t propagation = MS_PRIVATE | MS_SHARED | MS_SLAVE | MS_UNBINDABLE;
    if (flags & ~(uint64_t)(MOUNT_KEPT | MOUNT_IGNORED | MS_BIND | MS_REMOUNT | propagation))
        return -EINVAL;
    struct path at AUTO_PATH = {0};
    int r = path_from_guest(t, AT_FDCWD, target, 0, &at);
    if (r < 0)
        return r;
    uint32_t keep = (uint32_t)flags & MOUNT_KEPT;
    if (flags & MS_REMOUNT)
        return mount_remount(&at, keep);
    if (flags & propagation)
        return 0; /* there is one namespace: nothing propagates whatever is asked */
    if (!(flags & MS_BIND))
        return mount_new_fs(t, type, data, &at, keep);
    struct path from AUTO_PATH = {0};
    r = path_from_guest(t, AT_FDCWD, source, 0, &from);
    return r < 0 ? r : mount_bind(&from, &at, keep);
}

sysret_t sys_umount2(struct call *c, uaddr_t target, uint32_t flags)
{
    if (flags & ~(uint32_t)(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
        return -EINVAL;
    if (!cred_capable(c->task->cred, CAP_SYS_ADMIN) || unveil_active(c->task))
        return -EPERM;
    if (flags & MNT_EXPIRE)
        return flags & (MNT_FORCE | MNT_DETACH) ? -EINVAL : -EAGAIN;
    struct path at AUTO_PATH = {0};
    unsigned lookup = flags & UMOUNT_NOFOLLOW ? LOOKUP_NOFOLLOW : 0;
    int r = path_from_guest(c->task, AT_FDCWD, target, lookup, &at);
    return r < 0 ? r : mount_remove(&at, (int)flags);
}
