/* SPDX-License-Identifier: Apache-2.0
 * sys_file_data.c - size, allocation, syncing and listing of open files; memfd_create. */
#include <dirent.h>
#include <linux/memfd.h>

#include <fs/fs.h>

#include "sys_path.h"

#define GETDENTS_MAX 65536u
#define MEMFD_NAME_MAX 249

static int size_limit(struct task *t, int64_t size)
{
    uint64_t limit = t->process->rlimits[RLIMIT_FSIZE].rlim_cur;
    if (limit == RLIM_INFINITY || (uint64_t)size <= limit)
        return 0;
    (void)signal_send_task(t, SIGXFSZ, NULL);
    return -EFBIG;
}

sysret_t sys_ftruncate(struct call *c, int32_t fd, int64_t length)
{
    if (length < 0)
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct inode *i = file_inode(f);
    unsigned mode = f->flags & O_ACCMODE;
    if (!i || !S_ISREG(inode_type(i)) || (mode != O_WRONLY && mode != O_RDWR))
        return -EINVAL;
    int r = size_limit(c->task, length);
    return r < 0 ? r : vfs_truncate(c->task, &f->path, length);
}

sysret_t sys_truncate(struct call *c, uaddr_t path, int64_t length)
{
    if (length < 0)
        return -EINVAL;
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, AT_FDCWD, path, LOOKUP_MAY_WRITE, &p);
    if (r < 0)
        return r;
    struct inode *i = path_inode(&p);
    if (S_ISREG(inode_type(i)))
        r = inode_permission(i, MAY_WRITE, c->task->cred);
    if (r == 0 && S_ISREG(inode_type(i)))
        r = size_limit(c->task, length);
    return r < 0 ? r : vfs_truncate(c->task, &p, length);
}

sysret_t sys_fallocate(struct call *c, int32_t fd, int32_t mode, int64_t offset, int64_t len)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (offset < 0 || len <= 0)
        return -EINVAL;
    unsigned acc = f->flags & O_ACCMODE;
    if (acc != O_WRONLY && acc != O_RDWR)
        return -EBADF;
    int64_t end;
    if (add_overflow(offset, len, &end))
        return -EFBIG;
    if (f->ops->fallocate)
        return f->ops->fallocate(f, mode, offset, len);
    struct inode *i = file_inode(f);
    if (!i || S_ISFIFO(inode_type(i)))
        return -ESPIPE;
    return S_ISREG(inode_type(i)) ? -EOPNOTSUPP : -ENODEV;
}

static sysret_t file_sync(struct task *t, int fd, bool data_only)
{
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (f->ops->fsync)
        return f->ops->fsync(f, data_only);
    struct inode *i = file_inode(f);
    return i && (S_ISREG(inode_type(i)) || S_ISDIR(inode_type(i))) ? 0 : -EINVAL;
}

sysret_t sys_fsync(struct call *c, int32_t fd)
{
    return file_sync(c->task, fd, false);
}

sysret_t sys_fdatasync(struct call *c, int32_t fd)
{
    return file_sync(c->task, fd, true);
}

sysret_t sys_sync(struct call *c)
{
    (void)c;
    return 0;
}

sysret_t sys_syncfs(struct call *c, int32_t fd)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    return IS_ERR(f) ? PTR_ERR(f) : 0;
}

sysret_t sys_sync_file_range(struct call *c, int32_t fd, int64_t offset, int64_t len,
                             uint32_t flags)
{
    int64_t end;
    if ((flags & ~7u) || offset < 0 || len < 0 || add_overflow(offset, len, &end))
        return -EINVAL;
    sysret_t r = file_sync(c->task, fd, true);
    return r == -EINVAL ? -ESPIPE : r;
}

sysret_t sys_fadvise64(struct call *c, int32_t fd, int64_t offset, int64_t len, int32_t advice)
{
    (void)offset;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct inode *i = file_inode(f);
    if (!f->ops->seek || (i && S_ISFIFO(inode_type(i))))
        return -ESPIPE;
    return len < 0 || advice < 0 || advice > POSIX_FADV_NOREUSE ? -EINVAL : 0;
}

sysret_t sys_readahead(struct call *c, int32_t fd, int64_t offset, size_t count)
{
    (void)offset;
    (void)count;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct inode *i = file_inode(f);
    if ((f->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    return i && S_ISREG(inode_type(i)) ? 0 : -EINVAL;
}

/* --- getdents --- */

struct dents_buffer {
    struct getdents_ctx ctx;
    char *buf;
    size_t size, used;
    bool old_layout; /* struct linux_dirent: the type in the last byte */
    bool full;
};

struct old_dirent {
    uint64_t ino, off;
    uint16_t reclen;
};

static bool dents_emit(struct getdents_ctx *ctx, const char *name, size_t len, uint64_t ino,
                       uint8_t type, int64_t next_off)
{
    struct dents_buffer *b = container_of(ctx, struct dents_buffer, ctx);
    size_t head = b->old_layout ? 18 : offsetof(struct dirent64, d_name);
    size_t reclen = align_up(head + len + 1 + b->old_layout, 8);
    if (reclen > b->size - b->used) {
        b->full = true;
        return false;
    }
    char *p = b->buf + b->used;
    memset(p, 0, reclen);
    struct old_dirent d = {ino, (uint64_t)next_off, (uint16_t)reclen};
    memcpy(p, &d, 18);
    if (b->old_layout)
        p[reclen - 1] = (char)type;
    else
        p[18] = (char)type;
    memcpy(p + head, name, len);
    b->used += reclen;
    return true;
}

static sysret_t dents(struct call *c, int fd, uaddr_t buf, uint32_t len, bool old_layout)
{
    struct task *t = c->task;
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct dents_buffer b = {
        .ctx = {.emit = dents_emit}, .size = MIN(len, GETDENTS_MAX), .old_layout = old_layout};
    char *mem autofree = malloc(b.size + 1);
    if (!mem)
        return -ENOMEM;
    b.buf = mem;
    int64_t before = f->pos;
    int r = vfs_readdir(f, &b.ctx);
    if (r < 0 && !b.used)
        return r;
    if (!b.used)
        return b.full ? -EINVAL : 0;
    r = copy_out(t->mm, buf, b.buf, b.used);
    if (r < 0) {
        f->pos = before;
        return r;
    }
    return (sysret_t)b.used;
}

sysret_t sys_getdents(struct call *c, int32_t fd, uaddr_t buf, uint32_t len)
{
    return dents(c, fd, buf, len, true);
}

sysret_t sys_getdents64(struct call *c, int32_t fd, uaddr_t buf, uint32_t len)
{
    return dents(c, fd, buf, len, false);
}

sysret_t sys_memfd_create(struct call *c, uaddr_t name, uint32_t flags)
{
    if (flags & ~(uint32_t)(MFD_CLOEXEC | MFD_ALLOW_SEALING))
        return -EINVAL;
    char text[MEMFD_NAME_MAX + 2];
    ssize_t n = copy_in_string(c->task->mm, text, name, sizeof(text));
    if (n < 0 || n > MEMFD_NAME_MAX)
        return n == -EFAULT ? -EFAULT : -EINVAL;
    struct file *f AUTO_PUT(file) = memfd_new(text, flags, c->task->cred);
    if (IS_ERR(f))
        return PTR_ERR(f);
    return fd_install(c->task, f, flags & MFD_CLOEXEC ? O_CLOEXEC : 0, 0);
}
