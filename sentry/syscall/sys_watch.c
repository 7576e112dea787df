/* SPDX-License-Identifier: Apache-2.0
 * sys_watch.c - inotify and signalfd: the ABI shells. */
#include <sys/inotify.h>
#include <sys/signalfd.h>

#include <files/files.h>
#include <kernel/signal.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#include "sys_path.h"

static sysret_t install(struct task *t, struct file *f, bool cloexec)
{
    if (IS_ERR(f))
        return PTR_ERR(f);
    sysret_t fd = fd_install(t, f, cloexec ? O_CLOEXEC : 0u, 0);
    file_put(f);
    return fd;
}

sysret_t sys_inotify_init1(struct call *c, uint32_t flags)
{
    if (flags & ~(uint32_t)(IN_CLOEXEC | IN_NONBLOCK))
        return -EINVAL;
    return install(c->task, inotify_new(flags & IN_NONBLOCK), flags & IN_CLOEXEC);
}

sysret_t sys_inotify_init(struct call *c)
{
    return sys_inotify_init1(c, 0);
}

#define WATCH_MODIFIERS \
    (IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD | IN_MASK_CREATE | IN_ONESHOT)
#define WATCH_IGNORED (IN_ISDIR | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED) /* accepted */

sysret_t sys_inotify_add_watch(struct call *c, int32_t fd, uaddr_t path, uint32_t mask)
{
    struct path p AUTO_PATH = {0};

    if ((mask & ~(uint32_t)(IN_ALL_EVENTS | WATCH_MODIFIERS | WATCH_IGNORED)) ||
        !(mask & (IN_ALL_EVENTS | WATCH_IGNORED)) ||
        ((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE)))
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    int r = path_from_guest(c->task, AT_FDCWD, path,
                            LOOKUP_MAY_READ | (mask & IN_DONT_FOLLOW ? LOOKUP_NOFOLLOW : 0u) |
                                (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0u),
                            &p);
    if (r == 0)
        r = inode_permission(path_inode(&p), MAY_READ, c->task->cred);
    return r < 0 ? r : inotify_watch(f, &p, mask);
}

sysret_t sys_inotify_rm_watch(struct call *c, int32_t fd, int32_t wd)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);

    return IS_ERR(f) ? PTR_ERR(f) : inotify_unwatch(f, wd);
}

sysret_t sys_signalfd4(struct call *c, int32_t fd, uaddr_t mask, size_t size, uint32_t flags)
{
    sigset_t_abi set;

    if ((flags & ~(uint32_t)(SFD_CLOEXEC | SFD_NONBLOCK)) || size != sizeof(set))
        return -EINVAL;
    if (copy_in_obj(c->task->mm, &set, mask))
        return -EFAULT;
    if (fd == -1)
        return install(c->task, signalfd_new(set, flags & SFD_NONBLOCK), flags & SFD_CLOEXEC);
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    int r = signalfd_change(f, set);
    return r < 0 ? r : fd;
}

sysret_t sys_signalfd(struct call *c, int32_t fd, uaddr_t mask, size_t size)
{
    return sys_signalfd4(c, fd, mask, size, 0);
}
