/* SPDX-License-Identifier: Apache-2.0
 * sys_splice.c - splice, tee, vmsplice: the ABI shells, and waiting.
 *
 * Nothing is moved before the call is sure to return, or it returns what has been moved: as on Linux
 * it waits for the first byte only. A pipe that a guest gives is one of ours; all copies are bounded
 * by its size. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/uio.h>

#include <files/files.h>

#include "sys_path.h"

#define SPLICE_FLAGS (uint32_t)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)

static bool mode_has(const struct file *f, uint32_t want)
{
    uint32_t mode = f->flags & O_ACCMODE;

    return mode == O_RDWR || mode == want;
}

/* Nothing could be moved: wait for the side that is not ready. */
static sysret_t splice_wait(struct call *c, struct file *in, struct file *out, uint32_t flags)
{
    bool source = !(file_readiness(in) & (POLLIN | POLLHUP | POLLERR | POLLRDHUP));
    struct file *f = source ? in : out;

    if ((flags & SPLICE_F_NONBLOCK) || (f->flags & O_NONBLOCK))
        return -EAGAIN;
    return call_wait_file(c, f, source ? POLLIN : POLLOUT);
}

static int offset_in(struct task *t, uaddr_t u, const struct file *f, int64_t *pos, int64_t **ret)
{
    *ret = NULL;
    if (uaddr_null(u))
        return 0;
    if (file_is_pipe(f))
        return -ESPIPE;
    if (!f->ops->seek)
        return -EINVAL;
    if (copy_in_obj(t->mm, pos, u))
        return -EFAULT;
    *ret = pos;
    return *pos < 0 ? -EINVAL : 0;
}

static sysret_t splice_run(struct task *t, struct file *in, int64_t *in_pos, struct file *out,
                           int64_t *out_pos, size_t len)
{
    bool from = file_is_pipe(in), to = file_is_pipe(out);

    if (from && to)
        return pipe_same(in, out) ? -EINVAL : splice_pipes(t, in, out, len, false);
    if (to)
        return splice_to_pipe(in, in_pos, out, len);
    if (!from || (out->flags & O_APPEND))
        return -EINVAL;
    return splice_from_pipe(t, in, out, out_pos, len);
}

sysret_t sys_splice(struct call *c, int32_t in_fd, uaddr_t off_in, int32_t out_fd, uaddr_t off_out,
                    size_t len, uint32_t flags)
{
    struct task *t = c->task;
    int64_t in_at, out_at, *in_pos, *out_pos;

    if (flags & ~SPLICE_FLAGS)
        return -EINVAL;
    if (!len)
        return 0;
    struct file *in AUTO_PUT(file) = fd_file(t, in_fd);
    struct file *out AUTO_PUT(file) = fd_file(t, out_fd);
    if (IS_ERR(in) || IS_ERR(out) || !mode_has(in, O_RDONLY) || !mode_has(out, O_WRONLY))
        return -EBADF;
    int err = offset_in(t, off_in, in, &in_at, &in_pos);
    if (!err)
        err = offset_in(t, off_out, out, &out_at, &out_pos);
    if (err)
        return err;
    sysret_t r = splice_run(t, in, in_pos, out, out_pos, MIN(len, (size_t)INT_MAX));
    if (r == -EAGAIN)
        return splice_wait(c, in, out, flags);
    if (r > 0 && in_pos && copy_out_obj(t->mm, off_in, &in_at))
        return -EFAULT;
    if (r > 0 && out_pos && copy_out_obj(t->mm, off_out, &out_at))
        return -EFAULT;
    return r;
}

sysret_t sys_tee(struct call *c, int32_t in_fd, int32_t out_fd, size_t len, uint32_t flags)
{
    struct task *t = c->task;

    if (flags & ~SPLICE_FLAGS)
        return -EINVAL;
    if (!len)
        return 0;
    struct file *in AUTO_PUT(file) = fd_file(t, in_fd);
    struct file *out AUTO_PUT(file) = fd_file(t, out_fd);
    if (IS_ERR(in) || IS_ERR(out) || !mode_has(in, O_RDONLY) || !mode_has(out, O_WRONLY))
        return -EBADF;
    if (!file_is_pipe(in) || !file_is_pipe(out) || pipe_same(in, out))
        return -EINVAL;
    sysret_t r = splice_pipes(t, in, out, MIN(len, (size_t)INT_MAX), true);
    return r == -EAGAIN ? splice_wait(c, in, out, flags) : r;
}

/* Guest memory into a pipe, or out of one: copied, like writev and readv. */
sysret_t sys_vmsplice(struct call *c, int32_t fd, uaddr_t iov, uint64_t count, uint32_t flags)
{
    struct task *t = c->task;
    struct uio u;

    if (flags & ~SPLICE_FLAGS)
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    bool write = mode_has(f, O_WRONLY);
    if (!file_is_pipe(f))
        return -EBADF;
    int err = uio_init_iovec(&u, t->mm, iov, count);
    if (err)
        return err;
    sysret_t r;
    if (!u.left)
        r = 0;
    else if (flags & SPLICE_F_NONBLOCK)
        r = write ? vfs_write_nowait(t, f, &u, -1) : vfs_read_nowait(f, &u, -1);
    else
        r = write ? vfs_write(c, f, &u, -1) : vfs_read(c, f, &u, -1);
    uio_fini(&u);
    return r;
}
