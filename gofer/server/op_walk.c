/* SPDX-License-Identifier: Apache-2.0
 * op_walk.c - session, walking and attributes: version, attach, walk, clunk, getattr, setattr.
 *
 * A walk never leaves the export: ".." of a root is the root, names go through node_child(). What
 * cannot be changed on a read-only export is refused here and in op_name.c before any host call.
 * Host: fchmodat, fchownat, utimensat, ftruncate, fstatfs, readlinkat, close [gofer]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static uint64_t stx_dev(const struct statx *s)
{
    return makedev(s->stx_dev_major, s->stx_dev_minor);
}

/* One export can span file systems whose inode numbers collide. */
uint64_t qid_path(const struct conn *c, const struct gofer_export *e, uint64_t dev, uint64_t ino)
{
    bool other = dev != c->root_dev[e - c->config->exports];
    return other ? ino ^ ((dev * 0x9e3779b97f4a7c15ull) | 1ull << 63) : ino;
}

struct p9_qid qid_from_statx(const struct conn *c, const struct gofer_export *e,
                             const struct statx *stx)
{
    struct p9_qid q = {.path = qid_path(c, e, stx_dev(stx), stx->stx_ino)};
    if (S_ISDIR(stx->stx_mode))
        q.type = P9_QTDIR;
    else if (S_ISLNK(stx->stx_mode))
        q.type = P9_QTSYMLINK;
    q.version = (uint32_t)(stx->stx_ctime.tv_sec ^ (int64_t)stx->stx_ctime.tv_nsec << 2);
    return q;
}

static struct p9_time time_of(const struct statx_timestamp *t)
{
    return (struct p9_time){.sec = (uint64_t)t->tv_sec, .nsec = t->tv_nsec};
}

void attr_from_statx(const struct conn *c, const struct node *n, const struct statx *s,
                     struct p9_attr *ret)
{
    *ret = (struct p9_attr){
        .valid = 1,
        .qid = qid_from_statx(c, n->export, s),
        .dev = stx_dev(s),
        .ino = s->stx_ino,
        .mode = s->stx_mode,
        .uid = s->stx_uid,
        .gid = s->stx_gid,
        .nlink = s->stx_nlink,
        .rdev = makedev(s->stx_rdev_major, s->stx_rdev_minor),
        .size = s->stx_size,
        .blocks = s->stx_blocks,
        .blksize = s->stx_blksize,
        .atime = time_of(&s->stx_atime),
        .mtime = time_of(&s->stx_mtime),
        .ctime = time_of(&s->stx_ctime),
    };
    if (s->stx_mask & STATX_BTIME)
        ret->btime = time_of(&s->stx_btime);
}

OP(tversion)
{
    fid_drop_all(c);
    if (m->msize < P9_MSIZE_MIN)
        return -EINVAL;
    c->msize = MIN(m->msize, P9_MSIZE_MAX);
    c->ringbox = p9_str_equal(&m->version, P9_VERSION_RINGBOX);
    /* As the protocol says, a longer name falls back to the part before the dot. */
    bool plain = m->version.len >= strlen(P9_VERSION_PLAIN) &&
                 memcmp(m->version.s, P9_VERSION_PLAIN, strlen(P9_VERSION_PLAIN)) == 0;
    c->versioned = plain;
    struct p9_rversion r = {.tag = m->tag,
                            .msize = c->msize,
                            .version = p9_str_from(c->ringbox ? P9_VERSION_RINGBOX
                                                   : plain    ? P9_VERSION_PLAIN
                                                              : "unknown")};
    return p9_encode_rversion(out, cap, &r);
}

OP(tauth)
{
    (void)c, (void)m, (void)out, (void)cap;
    return -ENOENT; /* none is needed, holding the socket is the right; diod's clients want it said so */
}

OP(tflush)
{
    (void)c; /* requests are answered in order, so the old one has been answered */
    return p9_encode_rflush(out, cap, &(struct p9_rflush){.tag = m->tag});
}

OP(tattach)
{
    const struct gofer_export *e = NULL;
    for (unsigned i = 0; i < c->config->export_count; i++)
        if (p9_str_equal(&m->aname, c->config->exports[i].aname)) {
            e = &c->config->exports[i];
            break;
        }
    if (!e)
        return -ENOENT;
    if (m->afid != P9_NOFID)
        return -EINVAL;
    if (!fid_free_nr(c, m->fid))
        return -EBADF;
    struct node *n = NULL;
    struct statx stx;
    int r = node_root(c, e, &n);
    if (r < 0)
        return r;
    r = node_stat(c, n, &stx);
    if (r == 0) {
        c->root_dev[e - c->config->exports] = stx_dev(&stx);
        r = fid_add(c, m->fid, n, NULL);
    }
    if (r < 0) {
        node_put(c, n);
        return r;
    }
    struct p9_rattach reply = {.tag = m->tag, .qid = qid_from_statx(c, e, &stx)};
    return p9_encode_rattach(out, cap, &reply);
}

/* One step of a walk; replaces *at. */
static int walk_step(struct conn *c, struct node **at, const struct p9_str *name, struct statx *stx)
{
    struct node *next = NULL;
    int r = node_enterable(*at);
    if (r < 0)
        return r;
    if (p9_str_equal(name, "..") || p9_str_equal(name, ".")) {
        if ((*at)->detached)
            return -ENOENT;
        struct node *up = name->len == 2 && (*at)->parent ? (*at)->parent : *at;
        r = node_stat(c, up, stx);
        if (r < 0)
            return r;
        next = node_get(up);
    } else {
        r = node_child(c, *at, name, stx, &next);
        if (r < 0)
            return r;
    }
    node_put(c, *at);
    *at = next;
    return 0;
}

/* Give newfid the node (reference taken in any case); newfid may be the walked fid itself. */
static int walk_assign(struct conn *c, struct fid *f, uint32_t newfid, struct node *at)
{
    int r;
    if (newfid == f->nr) {
        struct node *old = f->node;
        f->node = at;
        node_put(c, old);
        return 0;
    }
    r = fid_add(c, newfid, at, NULL);
    if (r < 0)
        node_put(c, at);
    return r;
}

OP(twalk)
{
    struct p9_rwalk reply = {.tag = m->tag};
    struct statx stx;
    int r = 0;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    if (f->kind == FID_OPEN && m->newfid == m->fid)
        return -EBUSY;
    if (m->newfid != m->fid && !fid_free_nr(c, m->newfid))
        return -EBADF;
    struct node *at = node_get(f->node);
    for (unsigned i = 0; i < m->names.count; i++) {
        r = walk_step(c, &at, &m->names.name[i], &stx);
        if (r < 0)
            break;
        reply.qids.qid[reply.qids.count++] = qid_from_statx(c, at->export, &stx);
    }
    if (r < 0) {
        node_put(c, at);
        if (reply.qids.count == 0)
            return r;
    } else {
        r = walk_assign(c, f, m->newfid, at);
        if (r < 0)
            return r;
    }
    return p9_encode_rwalk(out, cap, &reply);
}

OP(twalkattr)
{
    struct p9_rwalkattr reply = {.tag = m->tag};
    struct statx stx;
    int r = 0;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    if (m->newfid != P9_NOFID && !fid_free_nr(c, m->newfid))
        return -EBADF;
    struct node *at = node_get(f->node);
    if (m->names.count == 0) {
        r = node_stat(c, at, &stx);
        if (r == 0)
            attr_from_statx(c, at, &stx, &reply.attrs.attr[reply.attrs.count++]);
    }
    for (unsigned i = 0; i < m->names.count && r == 0; i++) {
        r = walk_step(c, &at, &m->names.name[i], &stx);
        if (r == 0)
            attr_from_statx(c, at, &stx, &reply.attrs.attr[reply.attrs.count++]);
    }
    if (r < 0 || m->newfid == P9_NOFID)
        node_put(c, at);
    else
        r = walk_assign(c, f, m->newfid, at);
    reply.error = (uint32_t)-r;
    return p9_encode_rwalkattr(out, cap, &reply);
}

OP(tclunk)
{
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int r = fid_drop(c, f);
    return r < 0 ? r : p9_encode_rclunk(out, cap, &(struct p9_rclunk){.tag = m->tag});
}

OP(tgetattr)
{
    struct statx s;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int r = node_stat(c, f->node, &s);
    if (r < 0)
        return r;
    struct p9_rgetattr g = {
        .tag = m->tag,
        .valid = P9_STATS_BASIC | (s.stx_mask & STATX_BTIME ? P9_STATS_BTIME : 0),
        .qid = qid_from_statx(c, f->node->export, &s),
        .mode = s.stx_mode,
        .uid = s.stx_uid,
        .gid = s.stx_gid,
        .nlink = s.stx_nlink,
        .rdev = makedev(s.stx_rdev_major, s.stx_rdev_minor),
        .size = s.stx_size,
        .blksize = s.stx_blksize,
        .blocks = s.stx_blocks,
        .atime_sec = (uint64_t)s.stx_atime.tv_sec,
        .atime_nsec = s.stx_atime.tv_nsec,
        .mtime_sec = (uint64_t)s.stx_mtime.tv_sec,
        .mtime_nsec = s.stx_mtime.tv_nsec,
        .ctime_sec = (uint64_t)s.stx_ctime.tv_sec,
        .ctime_nsec = s.stx_ctime.tv_nsec,
        .btime_sec = (uint64_t)s.stx_btime.tv_sec,
        .btime_nsec = s.stx_btime.tv_nsec,
    };
    return p9_encode_rgetattr(out, cap, &g);
}

static int set_mode(struct conn *c, int fd, uint32_t mode)
{
    char name[FD_PATH_MAX];
    mode &= 07777;
    if (c->proc_fd < 0)
        return -EOPNOTSUPP;
    fd_name(fd, name);
    return fchmodat(c->proc_fd, name, mode, 0) < 0 ? -errno : 0;
}

static int set_size(struct conn *c, struct fid *f, uint64_t size)
{
    if (size > INT64_MAX)
        return -EINVAL;
    if (f->kind == FID_OPEN && (f->open_flags & O_ACCMODE) != O_RDONLY)
        return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
    int fd = node_open(c, f->node, O_WRONLY | O_NONBLOCK);
    if (fd < 0)
        return fd;
    int r = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static struct timespec wire_time(uint32_t valid, uint32_t bit, uint32_t set_bit, uint64_t sec,
                                 uint64_t nsec)
{
    if (!(valid & bit))
        return (struct timespec){.tv_nsec = UTIME_OMIT};
    if (!(valid & set_bit))
        return (struct timespec){.tv_nsec = UTIME_NOW};
    return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = (long)nsec};
}

static int set_times(struct conn *c, int fd, const struct p9_tsetattr *m)
{
    char name[FD_PATH_MAX];
    if (m->atime_nsec > 999999999 || m->mtime_nsec > 999999999)
        return -EINVAL;
    struct timespec t[2] = {
        wire_time(m->valid, P9_SETATTR_ATIME, P9_SETATTR_ATIME_SET, m->atime_sec, m->atime_nsec),
        wire_time(m->valid, P9_SETATTR_MTIME, P9_SETATTR_MTIME_SET, m->mtime_sec, m->mtime_nsec)};
    if (utimensat(fd, "", t, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != EINVAL || c->proc_fd < 0)
        return -errno;
    fd_name(fd, name);
    return utimensat(c->proc_fd, name, t, 0) < 0 ? -errno : 0;
}

OP(tsetattr)
{
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int r = node_writable(f->node);
    if (r == 0 && f->node->wall)
        r = -EACCES;
    if (r < 0)
        return r;
    int fd = node_fd(c, f->node);
    if (fd < 0)
        return fd;
    if (m->valid & (P9_SETATTR_UID | P9_SETATTR_GID)) {
        uid_t uid = m->valid & P9_SETATTR_UID ? m->uid : (uid_t)-1;
        gid_t gid = m->valid & P9_SETATTR_GID ? m->gid : (gid_t)-1;
        if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
    }
    if (m->valid & P9_SETATTR_MODE)
        r = set_mode(c, fd, m->mode);
    if (r == 0 && m->valid & P9_SETATTR_SIZE)
        r = set_size(c, f, m->size);
    if (r == 0 && m->valid & (P9_SETATTR_ATIME | P9_SETATTR_MTIME))
        r = set_times(c, fd, m);
    return r < 0 ? r : p9_encode_rsetattr(out, cap, &(struct p9_rsetattr){.tag = m->tag});
}

OP(tstatfs)
{
    struct statfs s;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int fd = node_fd(c, f->node);
    if (fd < 0)
        return fd;
    if (fstatfs(fd, &s) < 0)
        return -errno;
    uint64_t fsid;
    memcpy(&fsid, &s.f_fsid, sizeof fsid);
    struct p9_rstatfs r = {
        .tag = m->tag,
        .type = (uint32_t)s.f_type,
        .bsize = (uint32_t)s.f_bsize,
        .blocks = s.f_blocks,
        .bfree = s.f_bfree,
        .bavail = s.f_bavail,
        .files = s.f_files,
        .ffree = s.f_ffree,
        .fsid = fsid,
        .namelen = (uint32_t)s.f_namelen,
    };
    return p9_encode_rstatfs(out, cap, &r);
}

OP(treadlink)
{
    char target[P9_STR_MAX];
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    if (f->node->type != S_IFLNK)
        return -EINVAL;
    int fd = node_fd(c, f->node);
    if (fd < 0)
        return fd;
    ssize_t n = readlinkat(fd, "", target, sizeof target);
    if (n < 0)
        return -errno;
    struct p9_rreadlink r = {.tag = m->tag, .target = {.s = target, .len = (uint16_t)n}};
    return p9_encode_rreadlink(out, cap, &r);
}
