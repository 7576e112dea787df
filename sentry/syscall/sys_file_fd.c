/* SPDX-License-Identifier: Apache-2.0
 * sys_file_fd.c - descriptors: close, dup, fcntl, flock, ioctl. */
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include <files/files.h>
#include <fs/fs.h>
#include <vfs/locks.h>

#include "sys_path.h"

#define LOCK_RETRY_MIN_NS 1000000
#define LOCK_RETRY_MAX_NS 50000000
#define SETFL_MASK ((uint32_t)(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC))

sysret_t sys_close(struct call *c, int32_t fd)
{
    return fd_close(c->task, fd);
}

sysret_t sys_close_range(struct call *c, uint32_t first, uint32_t last, uint32_t flags)
{
    if (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC))
        return -EINVAL;
    if (first > last)
        return -EINVAL;
    if (flags & CLOSE_RANGE_UNSHARE) {
        int r = fdtable_unshare(&c->task->fds);
        if (r < 0)
            return r;
    }
    return fdtable_close_range(c->task, first, last, (flags & CLOSE_RANGE_CLOEXEC) != 0);
}

sysret_t sys_dup(struct call *c, int32_t fd)
{
    struct file *f AUTO_PUT(file) = fdtable_file(c->task->fds, fd);
    return IS_ERR(f) ? PTR_ERR(f) : fd_install(c->task, f, 0, 0);
}

static sysret_t dup_to(struct task *t, int fd, int to, uint32_t flags)
{
    struct file *f AUTO_PUT(file) = fdtable_file(t->fds, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct file *old = NULL;
    int r = fd_install_at(t, to, f, flags, &old);
    file_put(old);
    return r;
}

sysret_t sys_dup2(struct call *c, int32_t fd, int32_t to)
{
    if (fd == to) {
        struct file *f AUTO_PUT(file) = fdtable_file(c->task->fds, fd);
        return IS_ERR(f) ? PTR_ERR(f) : to;
    }
    return dup_to(c->task, fd, to, 0);
}

sysret_t sys_dup3(struct call *c, int32_t fd, int32_t to, uint32_t flags)
{
    if (flags & ~(uint32_t)O_CLOEXEC)
        return -EINVAL;
    return fd == to ? -EINVAL : dup_to(c->task, fd, to, flags);
}

/* --- fcntl --- */

static sysret_t setfl(struct file *f, int fd, uint32_t arg)
{
    uint32_t old = f->flags;
    struct inode *i = file_inode(f);
    if ((arg & ~old & O_NOATIME) && i && task_current() &&
        !inode_owner_or_capable(i, task_current()->cred))
        return -EPERM;
    if ((arg & O_DIRECT) && !i && !file_is_pipe(f))
        return -EINVAL;
    f->flags = (old & ~SETFL_MASK) | (arg & SETFL_MASK);
    int r = (old ^ arg) & O_ASYNC ? async_switch(f, fd, arg & O_ASYNC) : 0;
    if (!r && f->ops->flags_changed)
        r = f->ops->flags_changed(f, old);
    if (r < 0)
        f->flags = old;
    return r;
}

/* struct flock to a range of absolute bytes. */
static int range_from_flock(struct file *f, const struct flock *fl, struct lock_range *ret)
{
    int64_t base = 0, start, end;
    struct attr a;
    switch (fl->l_whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = f->pos;
        break;
    case SEEK_END:
        if (inode_getattr(file_inode(f), &a) < 0)
            return -EINVAL;
        base = (int64_t)a.size;
        break;
    default:
        return -EINVAL;
    }
    if (fl->l_type != F_RDLCK && fl->l_type != F_WRLCK && fl->l_type != F_UNLCK)
        return -EINVAL;
    if (add_overflow(base, fl->l_start, &start))
        return -EOVERFLOW;
    if (fl->l_len > 0) {
        if (add_overflow(start, fl->l_len - 1, &end))
            return -EOVERFLOW;
    } else if (fl->l_len < 0) {
        end = start - 1;
        if (add_overflow(start, fl->l_len, &start))
            return -EINVAL;
    } else {
        end = INT64_MAX;
    }
    if (start < 0)
        return -EINVAL;
    ret->type = fl->l_type;
    ret->start = (uint64_t)start;
    ret->end = (uint64_t)end;
    return 0;
}

static sysret_t lock_get(struct task *t, struct file *f, struct lock_range *l, struct flock *fl,
                         uaddr_t arg)
{
    struct lock_range found;
    if (l->type == F_UNLCK)
        return -EINVAL;
    int r = lock_range_conflict(file_inode(f), l, &found)
                ? 1
                : lock_range_conflict_outside(file_inode(f), l, &found);
    if (r < 0)
        return r;
    if (r == 0) {
        fl->l_type = F_UNLCK;
    } else {
        fl->l_type = found.type;
        fl->l_whence = SEEK_SET;
        fl->l_start = (int64_t)found.start;
        fl->l_len = found.end == INT64_MAX ? 0 : (int64_t)(found.end - found.start + 1);
        fl->l_pid = found.pid;
    }
    return copy_out_obj(t->mm, arg, fl);
}

/* Nobody tells when a lock outside goes: ask again, ever more seldom. */
static sysret_t outside_wait(struct call *c)
{
    c->progress =
        MIN(MAX(c->progress * 2, (uint64_t)LOCK_RETRY_MIN_NS), (uint64_t)LOCK_RETRY_MAX_NS);
    return call_wait_retry(c, (int64_t)c->progress);
}

static sysret_t fcntl_lock(struct call *c, struct file *f, uint32_t cmd, uaddr_t arg)
{
    struct task *t = c->task;
    bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
    struct flock fl;
    int r = copy_in_obj(t->mm, &fl, arg);
    if (r < 0)
        return r;
    if (!file_inode(f))
        return -EINVAL;
    if (ofd && fl.l_pid != 0)
        return -EINVAL;
    struct lock_range l = {.owner = ofd ? (void *)f : (void *)t->fds,
                           .pid = ofd ? -1 : t->process->pid};
    r = range_from_flock(f, &fl, &l);
    if (r < 0)
        return r;
    if (cmd == F_GETLK || cmd == F_OFD_GETLK)
        return lock_get(t, f, &l, &fl, arg);
    unsigned mode = f->flags & O_ACCMODE;
    if ((l.type == F_RDLCK && mode == O_WRONLY) || (l.type == F_WRLCK && mode == O_RDONLY))
        return -EBADF;
    r = lock_range_set(file_inode(f), &l);
    if (cmd == F_SETLK || cmd == F_OFD_SETLK)
        return r == -EBUSY ? -EAGAIN : r;
    if (r == -EBUSY)
        return outside_wait(c);
    if (r != -EAGAIN)
        return r;
    r = call_arm(c, lock_queue(file_inode(f)), 0);
    if (r < 0)
        return r;
    return lock_range_conflict(file_inode(f), &l, NULL) ? call_wait_armed(c) : call_run_again(c);
}

/* Those allowed on O_PATH descriptors too; *ret_done false: not one of them. */
static sysret_t fcntl_descriptor(struct task *t, struct file *f, int fd, uint32_t cmd, uint64_t arg,
                                 bool *ret_done)
{
    *ret_done = true;
    switch (cmd) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        if (arg > INT32_MAX || arg >= t->process->rlimits[RLIMIT_NOFILE].rlim_cur)
            return -EINVAL;
        return fd_install(t, f, cmd == F_DUPFD_CLOEXEC ? O_CLOEXEC : 0, (int)arg);
    case F_GETFD:
        return fd_get_cloexec(t, fd);
    case F_SETFD:
        return fd_set_cloexec(t, fd, (arg & FD_CLOEXEC) != 0);
    case F_GETFL:
        return f->flags;
    default:
        *ret_done = false;
        return 0;
    }
}

sysret_t sys_fcntl(struct call *c, int32_t fd, uint32_t cmd, uint64_t arg)
{
    struct task *t = c->task;
    struct file *f AUTO_PUT(file) = fdtable_file(t->fds, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    bool done;
    sysret_t r = fcntl_descriptor(t, f, fd, cmd, arg, &done);
    if (done)
        return r;
    if (f->flags & O_PATH)
        return -EBADF;
    switch (cmd) {
    case F_SETFL:
        return setfl(f, fd, (uint32_t)arg);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return fcntl_lock(c, f, cmd, UADDR(arg));
    case F_SETOWN:
    case F_GETOWN:
    case F_SETSIG:
    case F_GETSIG:
    case F_SETOWN_EX:
    case F_GETOWN_EX:
        return fcntl_owner(t, f, cmd, arg);
    case F_GETPIPE_SZ:
        return pipe_size_get(f);
    case F_SETPIPE_SZ:
        return arg > INT32_MAX ? -EINVAL : pipe_size_set(f, (uint32_t)arg);
    case F_ADD_SEALS:
        return memfd_seals_add(f, (uint32_t)arg);
    case F_GET_SEALS:
        return memfd_seals_get(f);
    default:
        return -EINVAL;
    }
}

sysret_t sys_flock(struct call *c, int32_t fd, uint32_t op)
{
    int kind = (int)(op & ~(uint32_t)LOCK_NB);
    if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (!file_inode(f))
        return kind == LOCK_UN ? 0 : -EBADF;
    int r = lock_flock(f, kind);
    if (op & LOCK_NB)
        return r == -EBUSY ? -EAGAIN : r;
    if (r == -EBUSY)
        return outside_wait(c);
    if (r != -EAGAIN)
        return r;
    r = call_arm(c, lock_queue(file_inode(f)), 0);
    if (r < 0)
        return r;
    return lock_flock_conflict(f, kind) ? call_wait_armed(c) : call_run_again(c);
}

static sysret_t ioctl_flag(struct task *t, struct file *f, int fd, uint32_t flag, uint64_t arg)
{
    int32_t on;
    if (copy_in_obj(t->mm, &on, UADDR(arg)) < 0)
        return -EFAULT;
    uint32_t want = on ? flag : 0;
    if (flag == O_ASYNC && (f->flags & O_ASYNC) != want && !f->ops->async)
        return -ENOTTY;
    return setfl(f, fd, on ? f->flags | flag : f->flags & ~flag);
}

static sysret_t ioctl_readable(struct task *t, struct file *f, uint64_t arg)
{
    struct attr a;
    int r = inode_getattr(file_inode(f), &a);
    if (r < 0)
        return r;
    int32_t n = (int32_t)((int64_t)a.size - f->pos);
    return copy_out_obj(t->mm, UADDR(arg), &n);
}

sysret_t sys_ioctl(struct call *c, int32_t fd, uint32_t cmd, uint64_t arg)
{
    struct task *t = c->task;
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct inode *i = file_inode(f);
    switch (cmd) {
    case FIOCLEX:
    case FIONCLEX:
        return fd_set_cloexec(t, fd, cmd == FIOCLEX);
    case FIONBIO:
        return ioctl_flag(t, f, fd, O_NONBLOCK, arg);
    case FIOASYNC:
        return ioctl_flag(t, f, fd, O_ASYNC, arg);
    case FIOSETOWN:
    case SIOCSPGRP:
    case FIOGETOWN:
    case SIOCGPGRP:
        if (file_is_socket(f))
            return ioctl_owner(t, f, cmd, arg);
        break;
    case FIONREAD:
        if (i && S_ISREG(inode_type(i)))
            return ioctl_readable(t, f, arg);
        break;
    default:
        break;
    }
    return f->ops->ioctl ? f->ops->ioctl(f, t, cmd, arg) : -ENOTTY;
}
