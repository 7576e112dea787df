/* SPDX-License-Identifier: Apache-2.0
 * op_open.c - opening, creating, reading, writing, listing.
 *
 * A descriptor is opened with exactly the access asked for, never writable on a read-only export,
 * and only on regular files and directories (node_open). A ringbox client gets the descriptor of a
 * regular file itself and no fid is opened then: reading and writing need no message any more.
 * Host: openat2, pread64, pwrite64, read, splice, fsync, fdatasync, getdents64, lseek, fchown, statx, close [gofer]
 */
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WIRE_FLAGS_KEPT \
    (O_ACCMODE | O_APPEND | O_TRUNC | O_DIRECTORY | O_DSYNC | O_SYNC) /* the rest means nothing */

int node_open_flags(const struct node *n, uint32_t wire, int *ret_flags)
{
    int flags = (int)wire & WIRE_FLAGS_KEPT;
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    if (writes && n->type == S_IFDIR)
        return -EISDIR;
    if (writes && node_writable(n) < 0)
        return -EROFS;
    *ret_flags = flags;
    return 0;
}

static bool can_donate(const struct conn *c, const struct node *n)
{
    return c->config->donate && c->ringbox && n->type == S_IFREG;
}

OP(tlopen)
{
    struct statx stx;
    int flags;
    struct fid *f = fid_find(c, m->fid);
    if (!f || f->kind != FID_PATH)
        return -EBADF;
    int r = node_open_flags(f->node, m->flags, &flags);
    if (r == 0)
        r = node_stat(c, f->node, &stx);
    if (r < 0)
        return r;
    int fd = node_open(c, f->node, flags);
    if (fd < 0)
        return fd;
    fid_set_open(c, f, fd, flags);
    struct p9_rlopen reply = {
        .tag = m->tag, .qid = qid_from_statx(c, f->node->export, &stx), .iounit = conn_iounit(c)};
    return p9_encode_rlopen(out, cap, &reply);
}

/* Open @n (reference taken) for a ringbox client: donate, or open newfid. */
static int open_compound(struct conn *c, struct node *n, uint32_t newfid, int flags, int fd,
                         struct p9_ropenat *ret)
{
    struct statx stx;
    struct fid *nf = NULL;
    int r = 0;
    if (fd < 0)
        fd = r = node_open(c, n, flags);
    if (r >= 0)
        r = node_stat(c, n, &stx); /* after the open: O_TRUNC shows */
    if (r >= 0 && !can_donate(c, n))
        r = fid_add(c, newfid, n, &nf);
    if (r < 0) {
        node_put(c, n);
        if (fd >= 0)
            close(fd);
        return r;
    }
    attr_from_statx(c, n, &stx, &ret->attr);
    ret->iounit = conn_iounit(c);
    if (nf) {
        fid_set_open(c, nf, fd, flags);
    } else {
        ret->with_fd = 1;
        conn_donate(c, fd);
        node_put(c, n);
    }
    return 0;
}

/* The usual case in fewer host calls: a descriptor for reading of a name. -EAGAIN: not that case. */
static int open_donated(struct conn *c, const struct fid *f, const struct p9_topenat *m,
                        struct p9_ropenat *ret)
{
    struct statx stx;
    if (!c->config->donate || m->name.len == 0 ||
        (m->flags & (uint32_t)WIRE_FLAGS_KEPT) != O_RDONLY)
        return -EAGAIN;
    int fd = node_open_read(c, f->node, &m->name, &stx);
    if (fd < 0)
        return fd;
    attr_from_statx(c, f->node, &stx, &ret->attr);
    ret->iounit = conn_iounit(c);
    ret->with_fd = 1;
    conn_donate(c, fd);
    return 0;
}

OP(topenat)
{
    struct p9_ropenat reply = {.tag = m->tag};
    struct node *n = NULL;
    int flags, r;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    r = open_donated(c, f, m, &reply);
    if (r != -EAGAIN)
        return r < 0 ? r : p9_encode_ropenat(out, cap, &reply);
    if (m->name.len == 0) {
        n = node_get(f->node);
    } else {
        r = node_child(c, f->node, &m->name, NULL, &n);
        if (r < 0)
            return r;
    }
    r = node_open_flags(n, m->flags, &flags);
    if (r < 0) {
        node_put(c, n);
        return r;
    }
    r = open_compound(c, n, m->newfid, flags, -1, &reply);
    return r < 0 ? r : p9_encode_ropenat(out, cap, &reply);
}

/* Create (or, without O_EXCL, open) a regular file. Gives the node and an open descriptor. */
static int create_file(struct conn *c, struct node *dir, const struct p9_str *name, uint32_t wire,
                       uint32_t mode, uint32_t gid, struct node **ret_node, int *ret_flags)
{
    char text[P9_NAME_MAX + 1];
    struct statx stx;
    int r = node_enterable(dir);
    if (r == 0)
        r = node_writable(dir);
    if (r == 0 && !p9_name_ok(name))
        r = name->len > P9_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
    int dirfd = r < 0 ? r : node_fd(c, dir);
    if (dirfd < 0)
        return dirfd;
    if (c->open_fds >= c->open_fds_max)
        return -EMFILE;
    int flags = (int)wire & (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC);
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    node_name_copy(name, text);
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW),
        .mode = mode & 07777,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, dirfd, text, &how, sizeof how);
    if (fd < 0 && (errno != EEXIST || wire & O_EXCL))
        return -errno;
    bool created = fd >= 0;
    r = node_child(c, dir, name, NULL, ret_node);
    if (r == 0 && !created) {
        r = node_open_flags(*ret_node, wire, ret_flags);
        if (r == 0)
            r = node_open(c, *ret_node, *ret_flags);
        if (r < 0)
            node_put(c, *ret_node);
        return r;
    }
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    if (gid != UINT32_MAX && node_stat(c, *ret_node, &stx) == 0 && stx.stx_gid != gid)
        (void)!fchown(fd, (uid_t)-1, gid); /* as far as the server may */
    *ret_flags = flags;
    return fd;
}

/* A regular file without a name in @dir. Gives the node and an open descriptor. */
static int create_unnamed(struct conn *c, struct node *dir, uint32_t mode, uint32_t gid,
                          struct node **ret_node)
{
    struct statx stx;
    int r = node_enterable(dir);
    if (r == 0)
        r = node_writable(dir);
    int dirfd = r < 0 ? r : node_fd(c, dir);
    if (dirfd < 0)
        return dirfd;
    struct open_how how = {
        .flags = O_TMPFILE | O_RDWR | O_CLOEXEC,
        .mode = mode & 07777,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, dirfd, ".", &how, sizeof how);
    if (fd < 0)
        return -errno;
    r = node_unnamed(c, dir, fd, &stx, ret_node);
    if (r < 0) {
        close(fd);
        return r;
    }
    if (gid != UINT32_MAX && stx.stx_gid != gid)
        (void)!fchown(fd, (uid_t)-1, gid); /* as far as the server may */
    return fd;
}

OP(tlcreate)
{
    struct node *n = NULL;
    struct statx stx;
    int flags = 0;
    struct fid *f = fid_find(c, m->fid);
    if (!f || f->kind != FID_PATH)
        return -EBADF;
    int fd = create_file(c, f->node, &m->name, m->flags, m->mode, m->gid, &n, &flags);
    if (fd < 0)
        return fd;
    int r = node_stat(c, n, &stx);
    if (r < 0) {
        close(fd);
        node_put(c, n);
        return r;
    }
    struct node *dir = f->node;
    f->node = n; /* the fid stands for the new file from here on */
    fid_set_open(c, f, fd, flags);
    node_put(c, dir);
    struct p9_rlcreate reply = {
        .tag = m->tag, .qid = qid_from_statx(c, n->export, &stx), .iounit = conn_iounit(c)};
    return p9_encode_rlcreate(out, cap, &reply);
}

/* newfid becomes an unopened fid of the file, as a walk would give; the descriptor comes beside. */
OP(tcreateat)
{
    struct p9_rcreateat reply = {.tag = m->tag, .iounit = conn_iounit(c)};
    struct node *n = NULL;
    struct statx stx;
    int flags = 0;
    struct fid *f = fid_find(c, m->fid);
    if (!f || !fid_free_nr(c, m->newfid))
        return -EBADF;
    int fd = m->name.len == 0
                 ? create_unnamed(c, f->node, m->mode, m->gid, &n)
                 : create_file(c, f->node, &m->name, m->flags, m->mode, m->gid, &n, &flags);
    if (fd < 0)
        return fd;
    int r = node_stat(c, n, &stx);
    if (r == 0)
        r = fid_add(c, m->newfid, n, NULL);
    if (r < 0) {
        close(fd);
        node_put(c, n);
        return r;
    }
    attr_from_statx(c, n, &stx, &reply.attr);
    if (can_donate(c, n)) {
        reply.with_fd = 1;
        conn_donate(c, fd);
    } else {
        close(fd);
    }
    return p9_encode_rcreateat(out, cap, &reply);
}

static int read_xattr(const struct fid *f, uint64_t offset, uint8_t *dst, uint32_t count)
{
    const struct xattr_buf *x = f->xattr;
    if (offset >= x->size)
        return 0;
    uint32_t n = (uint32_t)MIN((uint64_t)count, x->size - offset);
    memcpy(dst, x->data + offset, n);
    return (int)n;
}

/* Pages of the file into the pipe instead of a copy: what is announced is there before. Bytes; *ret_all:
 * no more are to be had. */
static uint32_t read_piped(struct conn *c, int fd, uint64_t offset, uint32_t count, bool *ret_all)
{
    off_t at = (off_t)offset;
    uint32_t got = 0;
    *ret_all = false;
    /* A slot of the pipe holds a part of one page. */
    if (count < PIPE_READ_MIN || count + (offset & 4095) > c->pipe_bytes)
        return 0;
    while (got < count) {
        ssize_t n = splice(fd, &at, c->pipe[1], NULL, count - got, SPLICE_F_NONBLOCK);
        if (n <= 0) {
            *ret_all = n == 0;
            return got;
        }
        got += (uint32_t)n;
    }
    *ret_all = true;
    return got;
}

/* Data for a reply: behind its header at @dst, or in the pipe. Bytes, or -errno. */
static ssize_t read_file(struct conn *c, struct fid *f, uint64_t offset, uint32_t count,
                         uint8_t *dst)
{
    if (offset > INT64_MAX)
        return -EINVAL;
    bool all;
    uint32_t got = read_piped(c, f->fd, offset, count, &all);
    if (all) {
        c->piped = got;
        return got;
    }
    /* It cannot be had this way, or not all of it. */
    for (uint32_t done = 0; done < got;) {
        ssize_t n = read(c->pipe[0], dst + done, got - done);
        if (n <= 0) { /* what is left in it must not be another reply's */
            conn_pipe_close(c);
            return -EIO;
        }
        done += (uint32_t)n;
    }
    ssize_t n = pread(f->fd, dst + got, count - got, (off_t)offset + got);
    return n >= 0 ? n + got : got ? (ssize_t)got : -errno;
}

OP(tread)
{
    struct fid *f = fid_find(c, m->fid);
    uint32_t count = MIN(m->count, conn_iounit(c));
    ssize_t n;
    if (!f || cap < P9_RREAD_HDR + count)
        return -EBADF;
    if (f->kind == FID_XATTR_READ) {
        n = read_xattr(f, m->offset, out + P9_RREAD_HDR, count);
    } else if (f->kind == FID_OPEN && f->node->type == S_IFREG) {
        n = read_file(c, f, m->offset, count, out + P9_RREAD_HDR);
        if (n < 0)
            return (int)n;
    } else {
        return f->kind == FID_OPEN ? -EISDIR : -EBADF;
    }
    struct p9_rread r = {.tag = m->tag, .data = {.base = NULL, .len = (uint32_t)n}};
    int len = p9_encode_rread(out, cap, &r);
    return len < 0 || c->piped ? len : len + (int)n;
}

OP(twrite)
{
    ssize_t n;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int ro = node_writable(f->node);
    if (ro < 0)
        return ro;
    if (f->kind == FID_XATTR_WRITE) {
        struct xattr_buf *x = f->xattr;
        if (m->offset != x->done || m->data.len > x->size - x->done)
            return -EINVAL;
        memcpy(x->data + x->done, m->data.base, m->data.len);
        x->done += m->data.len;
        n = m->data.len;
    } else if (f->kind == FID_OPEN && f->node->type == S_IFREG) {
        if (m->offset > INT64_MAX)
            return -EINVAL;
        n = pwrite(f->fd, m->data.base, m->data.len, (off_t)m->offset);
        if (n < 0)
            return -errno;
    } else {
        return -EBADF;
    }
    struct p9_rwrite r = {.tag = m->tag, .count = (uint32_t)n};
    return p9_encode_rwrite(out, cap, &r);
}

OP(tfsync)
{
    struct fid *f = fid_find(c, m->fid);
    if (!f || f->kind != FID_OPEN)
        return -EBADF;
    if ((m->datasync ? fdatasync(f->fd) : fsync(f->fd)) < 0)
        return -errno;
    return p9_encode_rfsync(out, cap, &(struct p9_rfsync){.tag = m->tag});
}

struct host_dirent {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

static uint8_t qid_type(uint8_t d_type)
{
    return (uint8_t)(d_type == DT_DIR ? P9_QTDIR : d_type == DT_LNK ? P9_QTSYMLINK : P9_QTFILE);
}

/* Attributes of an entry; left invalid when it cannot be had (gone meanwhile, no permission). */
static void entry_attr(struct conn *c, const struct fid *f, const char *name, struct p9_dirent *d)
{
    struct statx stx;
    bool dotdot = strcmp(name, "..") == 0;
    if (dotdot && !f->node->parent)
        name = "."; /* nothing above the root is shown */
    else if (dotdot)
        return;
    if (statx(f->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
              &stx) < 0)
        return;
    attr_from_statx(c, f->node, &stx, &d->attr);
    d->qid = d->attr.qid;
}

/* Encode entries of one getdents buffer. Returns bytes; *ret_full when no more fit. */
static uint32_t entries_encode(struct conn *c, struct fid *f, long have, uint8_t *dst,
                               uint32_t room, bool with_attr, bool *ret_full)
{
    uint32_t used = 0;
    for (long at = 0; at < have;) {
        const struct host_dirent *h = (const void *)(c->dirents + at);
        size_t len = strlen(h->name);
        struct p9_dirent d = {
            .qid = {.type = qid_type(h->type), .path = h->ino},
            .offset = (uint64_t)h->off,
            .type = h->type,
            .name = {.s = h->name, .len = (uint16_t)MIN(len, (size_t)P9_NAME_MAX)},
        };
        if (with_attr)
            entry_attr(c, f, h->name, &d);
        if (!f->node->parent && strcmp(h->name, "..") == 0)
            d.qid.path = f->node->ino;
        int n = p9_encode_dirent(dst + used, room - used, &d, with_attr);
        if (n < 0) {
            *ret_full = true;
            break;
        }
        used += (uint32_t)n;
        f->dir_off = (uint64_t)h->off;
        at += h->reclen;
    }
    return used;
}

static int list_dir(struct conn *c, uint32_t nr, uint64_t offset, uint8_t *dst, uint32_t room,
                    bool with_attr)
{
    struct fid *f = fid_find(c, nr);
    if (!f || f->kind != FID_OPEN)
        return -EBADF;
    if (f->node->type != S_IFDIR)
        return -ENOTDIR;
    if (offset > INT64_MAX)
        return -EINVAL;
    /* The descriptor stands behind the last buffer read, which may not have fitted: seek always. */
    if (lseek(f->fd, (off_t)offset, SEEK_SET) < 0)
        return -errno;
    uint32_t used = 0;
    for (bool full = false; !full;) {
        long have = syscall(SYS_getdents64, f->fd, c->dirents, sizeof c->dirents);
        if (have < 0)
            return used ? (int)used : -errno;
        if (have == 0)
            break;
        used += entries_encode(c, f, have, dst + used, room - used, with_attr, &full);
        if (full && used == 0)
            return -EINVAL; /* not one entry fits */
    }
    return (int)used;
}

OP(treaddir)
{
    uint32_t room = MIN(m->count, conn_iounit(c));
    if (cap < P9_RREAD_HDR + room)
        return -EINVAL;
    int n = list_dir(c, m->fid, m->offset, out + P9_RREAD_HDR, room, false);
    if (n < 0)
        return n;
    struct p9_rreaddir r = {.tag = m->tag, .data = {.base = NULL, .len = (uint32_t)n}};
    int len = p9_encode_rreaddir(out, cap, &r);
    return len < 0 ? len : len + n;
}

OP(treaddirattr)
{
    uint32_t room = MIN(m->count, conn_iounit(c));
    if (cap < P9_RREAD_HDR + room)
        return -EINVAL;
    int n = list_dir(c, m->fid, m->offset, out + P9_RREAD_HDR, room, true);
    if (n < 0)
        return n;
    struct p9_rreaddirattr r = {.tag = m->tag, .data = {.base = NULL, .len = (uint32_t)n}};
    int len = p9_encode_rreaddirattr(out, cap, &r);
    return len < 0 ? len : len + n;
}
