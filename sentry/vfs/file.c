/* SPDX-License-Identifier: Apache-2.0
 * file.c - open files: life, position, reads and writes with waiting, readdir.
 *
 * File operations never wait; here -EAGAIN becomes waiting on the file's queue, O_NONBLOCK's
 * answer, or an interruption. A handler that waits is run again from its start, so nothing may have
 * been moved when -EAGAIN comes.
 *
 * Locks: pos_lock around operations at the shared position. */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/err.h>
#include <kernel/async.h>
#include <kernel/ktime.h>
#include <vfs/fdtable.h>

#include <vfs/notify.h>

#include "vfs_internal.h"

struct vfs_hooks g_vfs_hooks;
static _Atomic(uint64_t) open_files;

uint64_t anon_ino_next(void)
{
    static _Atomic(uint64_t) next = 1000;
    return next++;
}

uint64_t file_count(void)
{
    return open_files;
}

struct file *file_new(const struct file_ops *ops, void *private_data, uint32_t flags)
{
    if (++open_files > FILES_MAX) {
        open_files--;
        return ERR_PTR(-ENFILE);
    }
    struct file *f = calloc(1, sizeof(*f));
    if (!f) {
        open_files--;
        return ERR_PTR(-ENOMEM);
    }
    refcount_init(&f->ref);
    f->ops = ops;
    f->private_data = private_data;
    f->flags = flags & ~(uint32_t)O_CLOEXEC;
    fmutex_init(&f->pos_lock, RANK_FILE);
    f->ino = anon_ino_next();
    list_init(&f->epitems);
    struct task *t = task_current();
    if (t && t->cred)
        f->cred = cred_get(t->cred);
    return f;
}

struct file *file_get(struct file *f)
{
    refcount_get(&f->ref);
    return f;
}

static bool can_read(const struct file *f)
{
    unsigned mode = f->flags & O_ACCMODE;
    return mode == O_RDONLY || mode == O_RDWR;
}

static bool can_write(const struct file *f)
{
    unsigned mode = f->flags & O_ACCMODE;
    return mode == O_WRONLY || mode == O_RDWR;
}

void file_put(struct file *f)
{
    if (IS_ERR_OR_NULL(f) || !refcount_put(&f->ref))
        return;
    if (f->inode && !(f->flags & O_PATH))
        vfs_notify_path(&f->path, can_write(f) ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
    if (g_vfs_hooks.file_gone)
        g_vfs_hooks.file_gone(f);
    locks_file_gone(f);
    async_free(f->async);
    if (f->ops && f->ops->release)
        f->ops->release(f);
    inode_put(f->inode);
    path_put(&f->path);
    if (f->cred)
        cred_put(f->cred);
    free(f);
    open_files--;
}

struct inode *file_inode(const struct file *f)
{
    return f->path.dentry ? f->path.dentry->inode : NULL;
}

struct async *file_async(struct file *f)
{
    struct async *a = atomic_load(&f->async);
    struct wait_queue *q = f->ops->wait_queue ? f->ops->wait_queue(f) : NULL;
    if (a || !q)
        return a;
    struct async *fresh = async_new(q, (can_read(f) ? POLLIN : 0u) | (can_write(f) ? POLLOUT : 0u));
    if (!fresh)
        return ERR_PTR(-ENOMEM);
    if (atomic_compare_exchange_strong(&f->async, &a, fresh))
        return fresh;
    async_free(fresh);
    return a;
}

uint32_t file_readiness(struct file *f)
{
    if (f->ops->readiness)
        return f->ops->readiness(f);
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

static void file_put_ref(void *ref)
{
    file_put(ref);
}

/* The queue lives in the file. */
static int file_arm(struct call *c, struct file *f, uint32_t mask, bool one)
{
    struct wait_queue *q = f->ops->wait_queue(f);
    return one ? call_arm_exclusive(c, q, mask, file_get(f), file_put_ref)
               : call_arm_ref(c, q, mask, file_get(f), file_put_ref);
}

static sysret_t wait_file(struct call *c, struct file *f, uint32_t mask, bool one)
{
    if (!f->ops->wait_queue || !f->ops->wait_queue(f))
        return call_run_again(c);
    int r = file_arm(c, f, mask, one);
    if (r < 0)
        return r;
    if (file_readiness(f) & (mask | POLLERR | POLLHUP))
        return call_run_again(c);
    return call_wait_armed(c);
}

sysret_t call_wait_file(struct call *c, struct file *f, uint32_t mask)
{
    return wait_file(c, f, mask, false);
}

sysret_t call_wait_file_one(struct call *c, struct file *f, uint32_t mask)
{
    return wait_file(c, f, mask, true);
}

/* A read or write waits, at most as long as the file says. */
static sysret_t io_wait(struct call *c, struct file *f, uint32_t mask)
{
    bool one = f->ops->wait_one & mask;
    if (!f->ops->timeout_ns)
        return wait_file(c, f, mask, one);
    int64_t limit = f->ops->timeout_ns(f, mask == POLLOUT);
    if (limit)
        call_deadline(c, deadline_after(limit));
    sysret_t r = wait_file(c, f, mask, one);
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

typedef ssize_t (*io_fn)(struct file *f, struct uio *u, int64_t *pos, unsigned flags);

/* At @pos, at the file's position (-1), or on a stream. */
static ssize_t file_io(struct file *f, io_fn fn, struct uio *u, int64_t pos)
{
    if (!f->ops->seek)
        return pos >= 0 ? -ESPIPE : fn(f, u, NULL, 0);
    if (pos >= 0)
        return fn(f, u, &pos, 0);
    fmutex_lock(&f->pos_lock);
    pos = f->pos;
    ssize_t n = fn(f, u, &pos, 0);
    if (n >= 0)
        f->pos = pos;
    fmutex_unlock(&f->pos_lock);
    return n;
}

ssize_t vfs_read_nowait(struct file *f, struct uio *u, int64_t pos)
{
    if (!can_read(f))
        return -EBADF;
    if (!f->ops->read)
        return f->inode && S_ISDIR(inode_type(f->inode)) ? -EISDIR : -EINVAL;
    ssize_t n = file_io(f, f->ops->read, u, pos);
    if (n > 0)
        vfs_notify_path(&f->path, IN_ACCESS);
    return n;
}

sysret_t vfs_read(struct call *c, struct file *f, struct uio *u, int64_t pos)
{
    ssize_t n = vfs_read_nowait(f, u, pos);
    if (n != -EAGAIN || (f->flags & O_NONBLOCK))
        return n;
    return io_wait(c, f, POLLIN);
}

/* A write by somebody who may not keep them takes the set-id bits away. */
static void file_drop_setid(struct file *f)
{
    struct inode *i = file_inode(f);
    if (!i || !S_ISREG(inode_type(i)))
        return;
    struct task *t = task_current();
    struct attr a;
    inode_attr(i, &a);
    uint32_t kill = a.mode & S_ISUID;
    if ((a.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        kill |= S_ISGID;
    if (!kill || !t || cred_capable(t->cred, CAP_FSETID))
        return;
    struct setattr s = {.valid = ATTR_MODE, .mode = a.mode & 07777 & ~kill};
    (void)inode_setattr(i, &s, t->cred);
}

/* RLIMIT_FSIZE: cuts the write, or -EFBIG and SIGXFSZ. */
static int write_limit(struct task *t, struct file *f, struct uio *u, int64_t pos)
{
    uint64_t limit = t->process->rlimits[RLIMIT_FSIZE].rlim_cur;
    if (limit == RLIM_INFINITY || !f->inode || !S_ISREG(inode_type(f->inode)) || !u->left)
        return 0;
    uint64_t at = pos >= 0 ? (uint64_t)pos : (uint64_t)f->pos;
    if (at >= limit) {
        (void)signal_send_task(t, SIGXFSZ, NULL);
        return -EFBIG;
    }
    if (u->left > limit - at)
        u->left = limit - at;
    return 0;
}

ssize_t vfs_write_nowait(struct task *t, struct file *f, struct uio *u, int64_t pos)
{
    if (!can_write(f))
        return -EBADF;
    if (!f->ops->write)
        return -EINVAL;
    file_drop_setid(f);
    int r = write_limit(t, f, u, pos);
    if (r < 0)
        return r;
    ssize_t n = file_io(f, f->ops->write, u, pos);
    if (n > 0)
        vfs_notify_path(&f->path, IN_MODIFY);
    if (n == -EPIPE && !f->ops->no_sigpipe)
        (void)signal_send_task(t, SIGPIPE, NULL);
    return n;
}

/* Nothing fitted: armed, it is tried once more, since POLLOUT is about some write and not about this
 * one (an eventfd near its maximum). */
static sysret_t write_wait(struct call *c, struct file *f, struct uio *u, int64_t pos)
{
    if (!f->ops->wait_queue || !f->ops->wait_queue(f))
        return call_run_again(c);
    int r = file_arm(c, f, POLLOUT, f->ops->wait_one & POLLOUT);
    if (r < 0)
        return r;
    sysret_t n = vfs_write_nowait(c->task, f, u, pos);
    if (n == -EAGAIN)
        return call_wait_armed(c);
    if (n <= 0 || f->ops->seek || !u->left) {
        c->progress += (uint64_t)MAX(n, (sysret_t)0);
        return n;
    }
    c->progress += (uint64_t)n;
    return call_run_again(c);
}

/* A blocking write into a stream moves everything before it returns; what earlier runs have moved
 * stands in c->progress. Interrupted after the first byte, it is a short write. */
sysret_t vfs_write(struct call *c, struct file *f, struct uio *u, int64_t pos)
{
    bool stream = !f->ops->seek, wait = !(f->flags & O_NONBLOCK);

    if (c->progress)
        uio_advance(u, c->progress);
    sysret_t n = vfs_write_nowait(c->task, f, u, pos);
    if (!wait || !(n == -EAGAIN || (stream && n > 0 && u->left)))
        return c->progress ? (sysret_t)c->progress + MAX(n, (sysret_t)0) : n;
    if (n > 0)
        c->progress += (uint64_t)n;
    n = n > 0 || f->ops->timeout_ns ? io_wait(c, f, POLLOUT) : write_wait(c, f, u, pos);
    return n == SYS_PARK || !c->progress ? n : (sysret_t)c->progress;
}

ssize_t file_pread_kernel(struct file *f, void *buf, size_t n, int64_t off)
{
    if (!f->ops->read || !f->ops->seek)
        return -EINVAL;
    size_t done = 0;
    while (done < n) {
        struct uio u;
        uio_init_kernel(&u, (char *)buf + done, n - done);
        int64_t pos = off + (int64_t)done;
        ssize_t r = f->ops->read(f, &u, &pos, 0);
        uio_fini(&u);
        if (r <= 0)
            return done || r == 0 ? (ssize_t)done : r;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

ssize_t file_pwrite_kernel(struct file *f, const void *buf, size_t n, int64_t off)
{
    if (!f->ops->write || !f->ops->seek)
        return -EINVAL;
    size_t done = 0;
    while (done < n) {
        struct uio u;
        uio_init_kernel(&u, (char *)(uintptr_t)buf + done, n - done);
        int64_t pos = off + (int64_t)done;
        ssize_t r = f->ops->write(f, &u, &pos, 0);
        uio_fini(&u);
        if (r <= 0)
            return done || r == 0 ? (ssize_t)done : r;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int64_t file_seek_size(struct file *f, int64_t off, int whence, uint64_t size)
{
    int64_t to;
    switch (whence) {
    case SEEK_SET:
        to = off;
        break;
    case SEEK_CUR:
        if (__builtin_add_overflow(f->pos, off, &to))
            return -EOVERFLOW;
        break;
    case SEEK_END:
        if (__builtin_add_overflow((int64_t)size, off, &to))
            return -EOVERFLOW;
        break;
    case SEEK_DATA:
    case SEEK_HOLE:
        if (off < 0 || (uint64_t)off >= size)
            return -ENXIO;
        to = whence == SEEK_DATA ? off : (int64_t)size;
        break;
    default:
        return -EINVAL;
    }
    if (to < 0)
        return -EINVAL;
    f->pos = to;
    return to;
}

bool getdents_emit(struct getdents_ctx *ctx, const char *name, size_t len, uint64_t ino,
                   uint8_t type, int64_t next_off)
{
    if (!ctx->emit(ctx, name, len, ino, type, next_off))
        return false;
    ctx->pos = next_off;
    return true;
}

bool getdents_emit_dots(struct file *f, struct getdents_ctx *ctx)
{
    struct attr a = {0};
    if (ctx->pos == 0) {
        if (f->inode)
            inode_attr(f->inode, &a);
        if (!getdents_emit(ctx, ".", 1, a.ino, 4 /* DT_DIR */, 1))
            return false;
    }
    if (ctx->pos == 1) {
        struct path up = {0};
        if (f->path.dentry) {
            up = f->path;
            path_get(&up);
            if (up.dentry == up.mnt->root)
                mount_follow_up(&up);
            struct dentry *d = dentry_parent(up.dentry);
            if (d) {
                dentry_put(up.dentry);
                up.dentry = d;
            }
            inode_attr(up.dentry->inode, &a);
        }
        path_put(&up);
        if (!getdents_emit(ctx, "..", 2, a.ino, 4, 2))
            return false;
    }
    return true;
}

int vfs_readdir(struct file *f, struct getdents_ctx *ctx)
{
    if (!f->ops->readdir)
        return -ENOTDIR;
    fmutex_lock(&f->pos_lock);
    ctx->pos = f->pos;
    int r = -ENOENT;
    struct inode *i = file_inode(f);
    if (!i || !i->dead)
        r = f->ops->readdir(f, ctx);
    f->pos = ctx->pos;
    fmutex_unlock(&f->pos_lock);
    if (r >= 0)
        vfs_notify_path(&f->path, IN_ACCESS);
    return r;
}
