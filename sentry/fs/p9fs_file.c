/* SPDX-License-Identifier: Apache-2.0
 * p9fs_file.c - regular files: donated descriptors, reading, writing, mapping.
 *
 * With a ringbox server an open file holds a donated descriptor (p9fs_fd.c), and reads, writes and
 * mappings need no message. Otherwise it has a fid and moves bytes with Tread and Twrite.
 *
 * Appends: under the inode's lock at the size the host reports; on shared mounts through a descriptor
 * (or fid) of its own with O_APPEND.
 *
 * Locks: inode->lock around writes; fs->lock for what mappings keep.
 * Left out: mapping files of servers that do not donate (-ENODEV).
 * Host: fstat, lseek, close [sentry]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/err.h>
#include <kernel/task.h>

#include "p9fs_private.h"

#define P9_IOVS 16
#define P9_IO_CHUNK (1u << 20) /* bytes pinned at a time */

struct p9_file {
    struct p9_fd *fd; /* reference; NULL: no donation */
    uint32_t fid;     /* opened; used when fd is NULL */
    bool appends;     /* the server appends whatever the offset */
};

/* --- reading and writing --- */

static uint64_t size_now(struct p9_inode *pi, const struct p9_file *pf)
{
    struct attr a;
    if (pf->fd)
        p9_stat_store(pi, pf->fd->fd);
    else
        (void)p9_getattr(pi->vfs, &a);
    inode_attr(pi->vfs, &a);
    return a.size;
}

static ssize_t read_direct(const struct p9_file *pf, struct uio *u, int64_t off)
{
    ssize_t total = 0;
    while (u->left) {
        struct iovec iov[P9_IOVS];
        size_t want = 0;
        int n = uio_pin(u, true, MIN(u->left, (size_t)P9_IO_CHUNK), iov, P9_IOVS);
        if (n <= 0)
            return total ? total : n < 0 ? n : -EFAULT;
        for (int k = 0; k < n; k++)
            want += iov[k].iov_len;
        ssize_t r = io_preadv(pf->fd->fd, iov, n, off + total);
        uio_unpin(u);
        if (r <= 0)
            return total ? total : r;
        uio_advance(u, (size_t)r);
        total += r;
        if ((size_t)r < want)
            break;
    }
    return total;
}

static ssize_t write_direct(const struct p9_file *pf, struct uio *u, int64_t off)
{
    ssize_t total = 0;
    while (u->left) {
        struct iovec iov[P9_IOVS];
        size_t want = 0;
        int n = uio_pin(u, false, MIN(u->left, (size_t)P9_IO_CHUNK), iov, P9_IOVS);
        if (n <= 0)
            return total ? total : n < 0 ? n : -EFAULT;
        for (int k = 0; k < n; k++)
            want += iov[k].iov_len;
        ssize_t r = io_pwritev(pf->fd->fd, iov, n, off + total);
        uio_unpin(u);
        if (r <= 0)
            return total ? total : r;
        uio_advance(u, (size_t)r);
        total += r;
        if ((size_t)r < want)
            break;
    }
    return total;
}

static ssize_t read_message(struct p9_inode *pi, uint32_t fid, struct uio *u, int64_t off)
{
    struct p9_conn *conn = pi->fs->conn;
    uint32_t chunk = (uint32_t)MIN(u->left, (size_t)p9_conn_iounit(conn));
    uint8_t *in autofree = malloc(chunk + P9_RREAD_HDR);
    ssize_t total = 0;
    if (!in)
        return -ENOMEM;
    while (u->left) {
        struct p9_tread m = {.fid = fid,
                             .offset = (uint64_t)(off + total),
                             .count = (uint32_t)MIN(u->left, (size_t)chunk)};
        struct p9_rread reply = {0};
        int r = P9_CALL_BUF(conn, tread, rread, &m, &reply, in, m.count + P9_RREAD_HDR);
        if (r < 0)
            return total ? total : r;
        if (reply.data.len == 0)
            break;
        ssize_t n = uio_copy_to_user(u, reply.data.base, reply.data.len);
        if (n <= 0)
            return total ? total : n;
        total += n;
        if ((uint32_t)n < m.count)
            break;
    }
    return total;
}

/* One Twrite. */
static ssize_t write_one(struct p9_conn *conn, uint32_t fid, const void *data, uint32_t len,
                         uint64_t off)
{
    uint8_t out[64], in[64];
    struct p9_twrite m = {.fid = fid, .offset = off, .data = {.base = NULL, .len = len}};
    struct p9_rwrite reply = {0};
    int n = p9_encode_twrite(out, sizeof out, &m);
    if (n < 0)
        return n;
    struct p9_req req = {.out = out,
                         .out_len = (size_t)n,
                         .data = {(void *)(uintptr_t)data, len},
                         .in = in,
                         .in_cap = sizeof in,
                         .want = P9_rwrite};
    int r = p9_transact(conn, &req);
    if (r == 0 && (p9_decode_rwrite(in, req.in_len, &reply) < 0 || reply.count > len))
        r = p9_conn_fail(conn, "wrote more than was sent");
    return r < 0 ? r : (ssize_t)reply.count;
}

static ssize_t write_message(struct p9_inode *pi, uint32_t fid, struct uio *u, int64_t off)
{
    struct p9_conn *conn = pi->fs->conn;
    uint32_t chunk = (uint32_t)MIN(u->left, (size_t)p9_conn_iounit(conn));
    uint8_t *buf autofree = malloc(chunk ? chunk : 1);
    ssize_t total = 0;
    if (!buf)
        return -ENOMEM;
    while (u->left) {
        ssize_t n = uio_copy_from_user(u, buf, MIN(u->left, (size_t)chunk));
        if (n <= 0)
            return total ? total : n;
        ssize_t r = write_one(conn, fid, buf, (uint32_t)n, (uint64_t)(off + total));
        if (r < 0)
            return total ? total : r;
        total += r;
        if (r < n)
            break;
    }
    return total;
}

static ssize_t file_read(struct file *f, struct uio *u, int64_t *pos, unsigned flags)
{
    struct p9_file *pf = f->private_data;
    struct p9_inode *pi = p9_of(f->inode);
    (void)flags;
    if (u->left == 0)
        return 0;
    ssize_t n = pf->fd ? p9_read_warm(pi, pf->fd->fd, u, *pos) : 0;
    if (n == 0) {
        n = pf->fd ? read_direct(pf, u, *pos) : read_message(pi, pf->fid, u, *pos);
        if (n > 0 && pf->fd)
            p9_warm_note(pi, *pos, (size_t)n);
    }
    if (n > 0)
        *pos += n;
    return n;
}

static void written(struct p9_inode *pi, uint64_t end)
{
    struct inode *i = pi->vfs;
    inode_touch(i, TOUCH_MTIME | TOUCH_CTIME);
    spin_lock(&i->attr_lock);
    i->attr.size = MAX(i->attr.size, end);
    spin_unlock(&i->attr_lock);
    pi->stale = true; /* blocks, exact times: when somebody asks */
}

static ssize_t file_write(struct file *f, struct uio *u, int64_t *pos, unsigned flags)
{
    struct p9_file *pf = f->private_data;
    struct p9_inode *pi = p9_of(f->inode);
    int64_t end;
    (void)flags;
    if (u->left == 0)
        return 0;
    fmutex_lock(&pi->vfs->lock);
    int64_t at = f->flags & O_APPEND ? (int64_t)size_now(pi, pf) : *pos;
    ssize_t n;
    if (__builtin_add_overflow(at, (int64_t)u->left, &end))
        n = -EFBIG;
    else
        n = pf->fd ? write_direct(pf, u, at) : write_message(pi, pf->fid, u, at);
    if (n > 0) {
        struct attr a;
        inode_attr(pi->vfs, &a);
        if (pf->appends && a.nlink) /* others append, too; to a removed file they cannot */
            at = (int64_t)size_now(pi, pf) - n;
        *pos = at + n;
        written(pi, (uint64_t)*pos);
    }
    fmutex_unlock(&pi->vfs->lock);
    return n;
}

/* Holes are known by descriptor only. Its own position, which lseek moves, nobody uses. */
static int64_t file_seek(struct file *f, int64_t off, int whence)
{
    struct p9_file *pf = f->private_data;
    struct attr a;
    if ((whence == SEEK_DATA || whence == SEEK_HOLE) && pf->fd) {
        int64_t at = lseek(pf->fd->fd, off, whence);
        return at < 0 ? -errno : file_seek_size(f, at, SEEK_SET, INT64_MAX);
    }
    int r = p9_getattr(f->inode, &a);
    return r < 0 ? r : file_seek_size(f, off, whence, a.size);
}

static int file_fsync(struct file *f, bool data_only)
{
    struct p9_file *pf = f->private_data;
    struct p9_rfsync reply = {0};
    if (pf->fd)
        return io_fsync(pf->fd->fd, data_only);
    struct p9_tfsync m = {.fid = pf->fid, .datasync = data_only};
    return P9_CALL(p9_of(f->inode)->fs->conn, tfsync, rfsync, &m, &reply);
}

static int file_fallocate(struct file *f, int mode, int64_t off, int64_t len)
{
    struct p9_file *pf = f->private_data;
    struct p9_inode *pi = p9_of(f->inode);
    if (!pf->fd)
        return -EOPNOTSUPP;
    fmutex_lock(&pi->vfs->lock);
    int r = io_fallocate(pf->fd->fd, mode, off, len);
    p9_stat_store(pi, pf->fd->fd);
    fmutex_unlock(&pi->vfs->lock);
    return r;
}

static void file_release(struct file *f)
{
    struct p9_file *pf = f->private_data;
    if (pf->fd)
        p9_fd_put(pf->fd);
    else
        p9_clunk(p9_of(f->inode)->fs->conn, pf->fid, false);
    free(pf);
}

/* What /proc/PID/maps shows: the path by which the file was mapped first. */
static void map_name(struct p9_inode *pi, struct file *f)
{
    if (pi->map_path || !f->path.dentry)
        return;
    char *buf autofree = malloc(PATH_LEN_MAX);
    char *none = NULL;
    ssize_t n = buf ? path_format(task_current(), &f->path, buf, PATH_LEN_MAX, false) : -ENOMEM;
    char *path = n > 0 ? strndup(buf, (size_t)n) : NULL;
    if (path && !atomic_compare_exchange_strong(&pi->map_path, &none, path))
        free(path);
}

static struct mappable *file_mappable(struct file *f)
{
    struct p9_file *pf = f->private_data;
    if (!pf->fd)
        return ERR_PTR(-ENODEV);
    map_name(p9_of(f->inode), f);
    return &p9_of(f->inode)->map;
}

static const struct file_ops p9_regular_ops = {
    .name = "9p",
    .read = file_read,
    .write = file_write,
    .seek = file_seek,
    .fsync = file_fsync,
    .fallocate = file_fallocate,
    .mappable = file_mappable,
    .release = file_release,
};

/* A descriptor or fid of its own: appends of shared mounts (the server finds the end), and files
 * that may be written but not read. */
static int open_private(struct p9_inode *pi, uint32_t flags, struct p9_file *pf)
{
    struct p9_attr a = {0};
    struct stat st;
    int fd;
    int r = p9_server_open(pi, flags, &fd, &pf->fid, &a);
    if (r < 0)
        return r;
    pf->appends = flags & O_APPEND;
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != a.ino || st.st_dev != a.dev) {
        close(fd);
        return p9_conn_fail(pi->fs->conn, "a descriptor of something else");
    }
    pf->fd = p9_fd_new(fd, true);
    return pf->fd ? 0 : -ENOMEM;
}

int p9_open_file(struct inode *i, struct file *f)
{
    struct p9_inode *pi = p9_of(i);
    uint32_t acc = f->flags & O_ACCMODE;
    bool writable = acc != O_RDONLY;
    int r;
    if (writable && i->sb->read_only)
        return -EROFS;
    struct p9_file *pf = calloc(1, sizeof *pf);
    if (!pf)
        return -ENOMEM;
    if (writable && f->flags & O_APPEND && !i->sb->exclusive) {
        r = open_private(pi, acc | O_APPEND, pf);
    } else {
        r = p9_fd_obtain(pi, writable, &pf->fd, &pf->fid);
        if (r == -EACCES && acc == O_WRONLY)
            r = open_private(pi, acc, pf);
    }
    if (r < 0) {
        free(pf);
        return r;
    }
    f->private_data = pf;
    f->ops = &p9_regular_ops;
    return 0;
}

/* --- mapping --- */

static struct p9_inode *of_map(struct mappable *m)
{
    return container_of(m, struct p9_inode, map);
}

static void map_get(struct mappable *m)
{
    (void)inode_get(of_map(m)->vfs);
}

static void map_put(struct mappable *m)
{
    inode_put(of_map(m)->vfs);
}

/* The descriptor must stay while the mappable lives, so the inode keeps it beside the LRU. */
static int map_host_fd(struct mappable *m, bool write)
{
    struct p9_inode *pi = of_map(m);
    struct p9fs *fs = pi->fs;
    struct p9_fd **slot = write ? &pi->map_rw : &pi->map_ro, *d;
    uint32_t fid;
    spin_lock(&fs->lock);
    int fd = *slot ? (*slot)->fd : -1;
    spin_unlock(&fs->lock);
    if (fd >= 0)
        return fd;
    if (write && pi->vfs->sb->read_only)
        return -1;
    if (p9_fd_obtain(pi, write, &d, &fid) < 0)
        return -1;
    if (!d) {
        p9_clunk(fs->conn, fid, false);
        return -1;
    }
    spin_lock(&fs->lock);
    if (!*slot)
        *slot = steal(d);
    fd = (*slot)->fd;
    spin_unlock(&fs->lock);
    p9_fd_put(d);
    if (write)
        pi->stale = true;
    return fd;
}

static int map_page(struct mappable *m, uint64_t index, bool write, uint64_t *ret_off,
                    uint64_t *ret_count)
{
    (void)m, (void)index, (void)write, (void)ret_off, (void)ret_count;
    return -ENODEV; /* only files with a descriptor are mapped */
}

static int64_t map_size(struct mappable *m)
{
    struct attr a;
    int r = p9_getattr(of_map(m)->vfs, &a);
    return r < 0 ? r : (int64_t)a.size;
}

static void map_describe(struct mappable *m, char *buf, size_t len, uint64_t *ret_dev,
                         uint64_t *ret_ino)
{
    struct attr a;
    inode_attr(of_map(m)->vfs, &a);
    const char *path = of_map(m)->map_path;
    snprintf(buf, len, "%s", path ? path : "");
    *ret_dev = a.dev;
    *ret_ino = a.ino;
}

/* From the host: also what has changed behind our back is seen. */
static int map_identity(struct mappable *m, struct mappable_id *ret)
{
    struct stat st;
    int fd = map_host_fd(m, false);
    if (fd < 0 || of_map(m)->map_rw || fstat(fd, &st) < 0) /* written to by mappings, perhaps */
        return -ENODEV;
    *ret = (struct mappable_id){
        .dev = st.st_dev,
        .ino = st.st_ino,
        .size = (uint64_t)st.st_size,
        .mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec,
        .ctime_ns = st.st_ctim.tv_sec * 1000000000LL + st.st_ctim.tv_nsec,
    };
    return 0;
}

const struct mappable_ops p9_mappable_ops = {
    .get = map_get,
    .put = map_put,
    .host_fd = map_host_fd,
    .page = map_page,
    .size = map_size,
    .describe = map_describe,
    .identity = map_identity,
};

struct mappable *p9_mappable(struct inode *i)
{
    return p9_conn_ringbox(p9_of(i)->fs->conn) ? &p9_of(i)->map : ERR_PTR(-ENODEV);
}
