/* SPDX-License-Identifier: Apache-2.0
 * sys_file.c - reading, writing, seeking.
 *
 * Shells over vfs_read() and vfs_write(), which wait. Calls that move data between two files copy
 * through a kernel buffer and have advanced the input only by what the output took. */
#include <limits.h>
#include <poll.h>
#include <sys/uio.h>

#include <base/fiber.h>

#include "sys_path.h"

#define MOVE_CHUNK 65536u
#define MOVE_TURN 16u /* chunks until others have their turn, and signals a look */

sysret_t sys_read(struct call *c, int32_t fd, uaddr_t buf, size_t len)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct uio u;
    int r = uio_init_user(&u, c->task->mm, buf, len);
    if (r < 0)
        return r;
    sysret_t n = vfs_read(c, f, &u, -1);
    uio_fini(&u);
    return n;
}

sysret_t sys_write(struct call *c, int32_t fd, uaddr_t buf, size_t len)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct uio u;
    int r = uio_init_user(&u, c->task->mm, buf, len);
    if (r < 0)
        return r;
    sysret_t n = vfs_write(c, f, &u, -1);
    uio_fini(&u);
    return n;
}

sysret_t sys_pread64(struct call *c, int32_t fd, uaddr_t buf, size_t len, int64_t pos)
{
    if (pos < 0)
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct uio u;
    int r = uio_init_user(&u, c->task->mm, buf, len);
    if (r < 0)
        return r;
    sysret_t n = vfs_read(c, f, &u, pos);
    uio_fini(&u);
    return n;
}

sysret_t sys_pwrite64(struct call *c, int32_t fd, uaddr_t buf, size_t len, int64_t pos)
{
    if (pos < 0)
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct uio u;
    int r = uio_init_user(&u, c->task->mm, buf, len);
    if (r < 0)
        return r;
    sysret_t n = vfs_write(c, f, &u, pos);
    uio_fini(&u);
    return n;
}

/* pos -1: the file's own. */
static sysret_t vector_io(struct call *c, int fd, uaddr_t iov, uint64_t count, int64_t pos,
                          bool write, bool sync)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct uio u;
    int r = uio_init_iovec(&u, c->task->mm, iov, count);
    if (r < 0)
        return r;
    sysret_t n = write ? vfs_write(c, f, &u, pos) : vfs_read(c, f, &u, pos);
    uio_fini(&u);
    if (n > 0 && sync && f->ops->fsync) {
        r = f->ops->fsync(f, true);
        if (r < 0)
            return r;
    }
    return n;
}

sysret_t sys_readv(struct call *c, int32_t fd, uaddr_t iov, uint64_t count)
{
    return vector_io(c, fd, iov, count, -1, false, false);
}

sysret_t sys_writev(struct call *c, int32_t fd, uaddr_t iov, uint64_t count)
{
    return vector_io(c, fd, iov, count, -1, true, false);
}

sysret_t sys_preadv(struct call *c, int32_t fd, uaddr_t iov, uint64_t count, int64_t pos)
{
    return pos < 0 ? -EINVAL : vector_io(c, fd, iov, count, pos, false, false);
}

sysret_t sys_pwritev(struct call *c, int32_t fd, uaddr_t iov, uint64_t count, int64_t pos)
{
    return pos < 0 ? -EINVAL : vector_io(c, fd, iov, count, pos, true, false);
}

sysret_t sys_preadv2(struct call *c, int32_t fd, uaddr_t iov, uint64_t count, int64_t pos,
                     uint64_t pos_high, uint32_t flags)
{
    (void)pos_high; /* the low word holds all 64 bits */
    if (flags & ~(uint32_t)(RWF_HIPRI | RWF_NOWAIT))
        return -EOPNOTSUPP;
    if (pos < -1)
        return -EINVAL;
    if (flags & RWF_NOWAIT) {
        struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
        if (!IS_ERR(f) && !f->ops->seek)
            return -EOPNOTSUPP;
    }
    return vector_io(c, fd, iov, count, pos, false, false);
}

sysret_t sys_pwritev2(struct call *c, int32_t fd, uaddr_t iov, uint64_t count, int64_t pos,
                      uint64_t pos_high, uint32_t flags)
{
    (void)pos_high;
    if (flags & ~(uint32_t)(RWF_HIPRI | RWF_DSYNC | RWF_SYNC))
        return -EOPNOTSUPP;
    if (pos < -1)
        return -EINVAL;
    return vector_io(c, fd, iov, count, pos, true, (flags & (RWF_DSYNC | RWF_SYNC)) != 0);
}

sysret_t sys_lseek(struct call *c, int32_t fd, int64_t offset, int32_t whence)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (whence < SEEK_SET || whence > SEEK_HOLE)
        return -EINVAL;
    if (!f->ops->seek)
        return -ESPIPE;
    fmutex_lock(&f->pos_lock);
    int64_t r = f->ops->seek(f, offset, whence);
    fmutex_unlock(&f->pos_lock);
    return r;
}

/* --- between two files --- */

struct move {
    struct file *in, *out;
    int64_t in_pos, out_pos; /* -1: the file's own */
    size_t left;
    char *buf;
};

/* One chunk: bytes moved, 0 at the end of the input, -errno. */
static ssize_t move_chunk(struct task *t, struct move *m)
{
    struct uio u;
    size_t n = MIN(m->left, (size_t)MOVE_CHUNK);
    bool own = m->in_pos < 0;
    int64_t pos = own ? m->in->pos : m->in_pos;
    uio_init_kernel(&u, m->buf, n);
    ssize_t got = vfs_read_nowait(m->in, &u, pos);
    uio_fini(&u);
    if (got <= 0)
        return got;
    uio_init_kernel(&u, m->buf, (size_t)got);
    ssize_t put = vfs_write_nowait(t, m->out, &u, m->out_pos);
    uio_fini(&u);
    if (put <= 0)
        return put;
    if (own) {
        fmutex_lock(&m->in->pos_lock);
        m->in->pos = pos + put;
        fmutex_unlock(&m->in->pos_lock);
    } else {
        m->in_pos += put;
    }
    if (m->out_pos >= 0)
        m->out_pos += put;
    m->left -= (size_t)put;
    return put;
}

static ssize_t move_all(struct task *t, struct move *m)
{
    ssize_t done = 0;
    m->buf = malloc(MIN(m->left, (size_t)MOVE_CHUNK) + 1);
    if (!m->buf)
        return -ENOMEM;
    for (unsigned chunks = 1; m->left; chunks++) {
        ssize_t n = move_chunk(t, m);
        if (n <= 0) {
            if (!done)
                done = n;
            break;
        }
        done += n;
        if (chunks % MOVE_TURN == 0) {
            fiber_yield();
            if (signal_pending(t))
                break;
        }
    }
    free(m->buf);
    return done;
}

/* Position argument: -1 when the pointer is NULL. */
static int pos_copy_in(struct task *t, uaddr_t u, int64_t *ret)
{
    *ret = -1;
    if (uaddr_null(u))
        return 0;
    int r = copy_in_obj(t->mm, ret, u);
    return r < 0 ? r : *ret < 0 ? -EINVAL : 0;
}

sysret_t sys_sendfile(struct call *c, int32_t out_fd, int32_t in_fd, uaddr_t offset, size_t count)
{
    struct task *t = c->task;
    struct file *in AUTO_PUT(file) = fd_file(t, in_fd);
    struct file *out AUTO_PUT(file) = fd_file(t, out_fd);
    if (IS_ERR(in) || IS_ERR(out))
        return -EBADF;
    struct move m = {.in = in, .out = out, .out_pos = -1, .left = MIN(count, (size_t)INT_MAX)};
    int r = pos_copy_in(t, offset, &m.in_pos);
    if (r < 0)
        return r;
    if (!in->ops->seek)
        return m.in_pos >= 0 ? -ESPIPE : -EINVAL;
    if (out->flags & O_APPEND)
        return -EINVAL;
    /* What earlier runs have moved; the file's own position stands behind it already. */
    m.left -= MIN(m.left, c->progress);
    if (m.in_pos >= 0)
        m.in_pos += (int64_t)c->progress;
    ssize_t n = m.left || !c->progress ? move_all(t, &m) : 0;
    if (n > 0)
        c->progress += (uint64_t)n;
    bool full = n == -EAGAIN || (n > 0 && m.left && !(file_readiness(out) & POLLOUT));
    if (full && !(out->flags & O_NONBLOCK)) {
        sysret_t w = call_wait_file(c, out, POLLOUT);
        if (w == SYS_PARK || !c->progress)
            return w;
    }
    if (c->progress && m.in_pos >= 0 && copy_out_obj(t->mm, offset, &m.in_pos) < 0)
        return -EFAULT;
    return c->progress ? (sysret_t)c->progress : n;
}

/* What is copied ends where the source ends now; within one file it may not overlap. */
static int copy_bounds(struct file *in, struct file *out, struct move *m)
{
    uint64_t from = (uint64_t)(m->in_pos < 0 ? in->pos : m->in_pos);
    uint64_t to = (uint64_t)(m->out_pos < 0 ? out->pos : m->out_pos);
    struct attr attr;
    int r = inode_getattr(file_inode(in), &attr);
    if (r < 0)
        return r;
    m->left = from >= attr.size ? 0 : MIN(m->left, attr.size - from);
    bool same = file_inode(in) == file_inode(out);
    return same && from < to + m->left && to < from + m->left ? -EINVAL : 0;
}

sysret_t sys_copy_file_range(struct call *c, int32_t in_fd, uaddr_t off_in, int32_t out_fd,
                             uaddr_t off_out, size_t len, uint32_t flags)
{
    if (flags)
        return -EINVAL;
    struct task *t = c->task;
    struct file *in AUTO_PUT(file) = fd_file(t, in_fd);
    struct file *out AUTO_PUT(file) = fd_file(t, out_fd);
    if (IS_ERR(in) || IS_ERR(out))
        return -EBADF;
    struct inode *a = file_inode(in), *b = file_inode(out);
    if ((a && S_ISDIR(inode_type(a))) || (b && S_ISDIR(inode_type(b))))
        return -EISDIR;
    if (!a || !b || !S_ISREG(inode_type(a)) || !S_ISREG(inode_type(b)))
        return -EINVAL;
    if ((in->flags & O_ACCMODE) == O_WRONLY || (out->flags & O_ACCMODE) == O_RDONLY ||
        out->flags & O_APPEND)
        return -EBADF;
    struct move m = {.in = in, .out = out, .left = MIN(len, (size_t)INT_MAX)};
    int r = pos_copy_in(t, off_in, &m.in_pos);
    if (r == 0)
        r = pos_copy_in(t, off_out, &m.out_pos);
    if (r < 0)
        return r;
    r = copy_bounds(in, out, &m);
    if (r < 0 || m.left == 0)
        return r;
    ssize_t n = move_all(t, &m);
    if (n > 0 && m.in_pos >= 0 && copy_out_obj(t->mm, off_in, &m.in_pos) < 0)
        return -EFAULT;
    if (n > 0 && m.out_pos >= 0 && copy_out_obj(t->mm, off_out, &m.out_pos) < 0)
        return -EFAULT;
    return n;
}
