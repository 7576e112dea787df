/* SPDX-License-Identifier: Apache-2.0
 * sys_fs_open.c - open, openat, openat2, creat; paths from the guest. */
#include <linux/openat2.h>

#include "sys_path.h"
#include "sys_pledge.h"

#define OPEN_FLAGS                                                                             \
    ((uint32_t)(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |    \
                O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | \
                O_CLOEXEC | O_PATH | O_TMPFILE) |                                              \
     FILE_LARGEFILE)

int path_from_fd(struct task *t, int fd, bool real, struct path *ret)
{
    struct file *f AUTO_PUT(file) = real ? fd_file(t, fd) : fdtable_file(t->fds, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (!f->path.dentry)
        return -EBADF;
    *ret = f->path;
    path_get(ret);
    return 0;
}

int path_from_guest(struct task *t, int dirfd, uaddr_t name, unsigned lookup, struct path *ret)
{
    return path_from_guest_as(t, t->cred, dirfd, name, lookup, ret);
}

int path_from_guest_as(struct task *t, struct cred *cred, int dirfd, uaddr_t name, unsigned lookup,
                       struct path *ret)
{
    char *s AUTO_STR = path_copy_in(t, name, (lookup & LOOKUP_EMPTY) != 0);
    if (IS_ERR(s))
        return PTR_ERR(s);
    if (!*s && dirfd != AT_FDCWD)
        return path_from_fd(t, dirfd, false, ret);
    return path_lookup_as(t, cred, dirfd, s, lookup, ret);
}

/* Linux accepts and ignores unknown bits in open and openat (not in openat2). */
static sysret_t open_common(struct call *c, int dirfd, uaddr_t path, uint32_t flags, uint32_t mode,
                            unsigned lookup)
{
    struct task *t = c->task;
    flags &= OPEN_FLAGS;
    if (flags & O_PATH)
        flags &= (uint32_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    else if ((flags & O_TMPFILE & ~(uint32_t)O_DIRECTORY) &&
             (!(flags & O_DIRECTORY) || (flags & O_CREAT)))
        return -EINVAL;
    if ((flags & O_CREAT) && (flags & O_DIRECTORY))
        return -EINVAL;
    if (pledge_need(t, promises_of_open(flags)))
        return -EPERM;
    char *s AUTO_STR = path_copy_in(t, path, false);
    if (IS_ERR(s))
        return PTR_ERR(s);
    struct file *f AUTO_PUT(file) = vfs_open_resolve(t, dirfd, s, flags, mode & 07777, lookup);
    if (IS_ERR(f))
        return PTR_ERR(f);
    return fd_install(t, f, flags, 0);
}

sysret_t sys_open(struct call *c, uaddr_t path, uint32_t flags, uint32_t mode)
{
    return open_common(c, AT_FDCWD, path, flags, mode, 0);
}

sysret_t sys_openat(struct call *c, int32_t dirfd, uaddr_t path, uint32_t flags, uint32_t mode)
{
    return open_common(c, dirfd, path, flags, mode, 0);
}

sysret_t sys_creat(struct call *c, uaddr_t path, uint32_t mode)
{
    return open_common(c, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0);
}

/* copy_in of a structure that may be longer in the future: what we do not know must be zero. */
static int how_copy_in(struct task *t, uaddr_t u, size_t size, struct open_how *ret)
{
    if (size < sizeof(*ret))
        return -EINVAL;
    if (size > PAGE_SIZE)
        return -E2BIG;
    int r = copy_in_obj(t->mm, ret, u);
    char tail[64];
    for (size_t at = sizeof(*ret); r == 0 && at < size; at += sizeof(tail)) {
        size_t n = MIN(sizeof(tail), size - at);
        r = copy_in(t->mm, tail, uaddr_add(u, at), n);
        for (size_t k = 0; r == 0 && k < n; k++)
            if (tail[k])
                r = -E2BIG;
    }
    return r;
}

sysret_t sys_openat2(struct call *c, int32_t dirfd, uaddr_t path, uaddr_t how, size_t size)
{
    static const struct {
        uint64_t resolve;
        unsigned lookup;
    } map[] = {
        {RESOLVE_NO_XDEV, LOOKUP_NO_XDEV},         {RESOLVE_NO_MAGICLINKS, LOOKUP_NO_MAGICLINKS},
        {RESOLVE_NO_SYMLINKS, LOOKUP_NO_SYMLINKS}, {RESOLVE_BENEATH, LOOKUP_BENEATH},
        {RESOLVE_IN_ROOT, LOOKUP_IN_ROOT},         {RESOLVE_CACHED, LOOKUP_CACHED}};
    struct open_how h;
    int r = how_copy_in(c->task, how, size, &h);
    if (r < 0)
        return r;
    unsigned lookup = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
        if (h.resolve & map[i].resolve) {
            lookup |= map[i].lookup;
            h.resolve &= ~map[i].resolve;
        }
    if (h.resolve || (h.flags & ~(uint64_t)OPEN_FLAGS) || (h.mode & ~07777ULL))
        return -EINVAL;
    bool creates = (h.flags & O_CREAT) || (h.flags & O_TMPFILE) == O_TMPFILE;
    if ((h.mode && !creates) || ((lookup & LOOKUP_BENEATH) && (lookup & LOOKUP_IN_ROOT)))
        return -EINVAL;
    if ((h.flags & O_PATH) &&
        (h.flags & ~(uint64_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | FILE_LARGEFILE)))
        return -EINVAL;
    if ((lookup & LOOKUP_CACHED) && (h.flags & (O_TRUNC | O_CREAT | (O_TMPFILE & ~O_DIRECTORY))))
        return -EAGAIN;
    return open_common(c, dirfd, path, (uint32_t)h.flags, (uint32_t)h.mode, lookup);
}
