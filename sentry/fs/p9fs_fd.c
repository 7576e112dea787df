/* SPDX-License-Identifier: Apache-2.0
 * p9fs_fd.c - descriptors that a ringbox server donates: checked, counted, cached.
 *
 * An inode keeps one for reading and one for reading and writing on an LRU of its mount; open files
 * and mappings hold references of their own. So a file seen before is opened without a message.
 *
 * The server may lie: a donated descriptor must be a regular file with the identity and access
 * announced, else the connection fails.
 *
 * Locks: open_lock (fiber mutex, RANK_PAGES) while one is fetched; fs->lock for pointers and LRU.
 * Host: fstat, fcntl, close [sentry]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/err.h>
#include <fs/fs.h>

#include "p9fs_private.h"

static struct {
    _Atomic(uint32_t) count;
    uint32_t max, cached_max; /* immutable after boot */
} g_fds = {.max = P9_FDS_DEFAULT, .cached_max = P9_FDS_DEFAULT - P9_FDS_DEFAULT / 8};

void p9fs_limit_fds(uint32_t fds)
{
    g_fds.max = MIN(fds, P9_FDS_MAX);
    g_fds.cached_max = MIN(g_fds.max - g_fds.max / 8, P9_CACHED_FDS);
}

uint32_t p9_fds_count(void)
{
    return g_fds.count;
}

uint32_t p9_fds_room(void)
{
    uint32_t n = g_fds.count;
    return n < g_fds.max ? g_fds.max - n : 0;
}

void p9_fd_put(struct p9_fd *d)
{
    if (!d || !refcount_put(&d->ref))
        return;
    close(d->fd);
    free(d);
    g_fds.count--;
}

struct p9_fd *p9_fd_new(int fd, bool writable)
{
    struct p9_fd *d = calloc(1, sizeof *d);
    if (!d) {
        close(fd);
        return NULL;
    }
    refcount_init(&d->ref);
    d->fd = fd;
    d->writable = writable;
    g_fds.count++;
    return d;
}

static struct p9_fd *fd_get(struct p9_fd *d)
{
    if (d)
        refcount_get(&d->ref);
    return d;
}

/* Cached descriptors of the inode leave it; the caller puts them. */
static void fds_take_locked(struct p9_inode *pi, struct p9_fd *ret[2])
{
    ret[0] = pi->ro;
    ret[1] = pi->rw;
    pi->fs->fd_cached -= (pi->ro != NULL) + (pi->rw != NULL);
    pi->ro = pi->rw = NULL;
    list_del(&pi->lru);
}

void p9_fds_drop(struct p9_inode *pi)
{
    struct p9_fd *d[2];
    spin_lock(&pi->fs->lock);
    fds_take_locked(pi, d);
    spin_unlock(&pi->fs->lock);
    p9_fd_put(d[0]);
    p9_fd_put(d[1]);
}

/* A cached descriptor that serves, with a reference; it becomes the most recently used. */
static struct p9_fd *fd_cached(struct p9_inode *pi, bool writable)
{
    struct p9fs *fs = pi->fs;
    spin_lock(&fs->lock);
    struct p9_fd *d = fd_get(pi->rw || writable ? pi->rw : pi->ro);
    if (d) {
        list_del(&pi->lru);
        list_add(&pi->lru, &fs->fd_lru);
    }
    spin_unlock(&fs->lock);
    return d;
}

struct p9_fd *p9_fd_any(struct p9_inode *pi)
{
    return fd_cached(pi, false);
}

int p9_fd_verify(struct p9fs *fs, int fd, bool writable, const struct p9_attr *a)
{
    struct stat st;
    int want = writable ? O_RDWR : O_RDONLY;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != a->ino || st.st_dev != a->dev ||
        (fcntl(fd, F_GETFL) & O_ACCMODE) != want)
        return p9_conn_fail(fs->conn, "a descriptor of something else");
    return 0;
}

/* Cache @d (taken) and let the oldest go beyond the limit. */
static void fd_keep(struct p9_inode *pi, struct p9_fd *d)
{
    struct p9fs *fs = pi->fs;
    struct p9_fd *old, *evicted[2] = {NULL, NULL};
    spin_lock(&fs->lock);
    struct p9_fd **slot = d->writable ? &pi->rw : &pi->ro;
    old = *slot;
    if (!old)
        fs->fd_cached++;
    *slot = d;
    list_del(&pi->lru);
    list_add(&pi->lru, &fs->fd_lru);
    if (fs->fd_cached > g_fds.cached_max) {
        struct p9_inode *last = list_last_entry(&fs->fd_lru, struct p9_inode, lru);
        if (last != pi)
            fds_take_locked(last, evicted);
    }
    spin_unlock(&fs->lock);
    p9_fd_put(old);
    p9_fd_put(evicted[0]);
    p9_fd_put(evicted[1]);
}

int p9_fd_adopt(struct p9_inode *pi, int fd, bool writable, const struct p9_attr *a)
{
    struct p9fs *fs = pi->fs;
    int r = a->qid.path == pi->path && a->dev == pi->dev
                ? p9_fd_verify(fs, fd, writable, a)
                : p9_conn_fail(fs->conn, "a descriptor of something else");
    if (r < 0) {
        close(fd);
        return r;
    }
    struct p9_fd *d = p9_fd_new(fd, writable);
    if (!d)
        return -ENOMEM;
    fd_keep(pi, d);
    return 0;
}

/* A descriptor that came before it was asked for, as if it came now. */
static struct p9_fd *fd_came_ahead(struct p9_inode *pi)
{
    spin_lock(&pi->fs->lock);
    struct p9_fd *d = p9_ahead_take_locked(pi);
    if (d) {
        refcount_get(&d->ref); /* the caller's, beside the cache's */
        p9_listing_opened_locked(pi);
    }
    spin_unlock(&pi->fs->lock);
    if (d)
        fd_keep(pi, d);
    return d;
}

/* May one more be taken? Lets go of one that no open file uses if need be. */
static bool fds_room(struct p9fs *fs)
{
    struct p9_fd *d[2] = {NULL, NULL};
    if (g_fds.count < g_fds.max)
        return true;
    spin_lock(&fs->lock);
    if (!list_empty(&fs->fd_lru))
        fds_take_locked(list_last_entry(&fs->fd_lru, struct p9_inode, lru), d);
    spin_unlock(&fs->lock);
    p9_fd_put(d[0]);
    p9_fd_put(d[1]);
    if (!d[0] && !d[1])
        (void)p9_ahead_drop(fs);
    return g_fds.count < g_fds.max;
}

static int server_open_ringbox(struct p9_inode *pi, uint32_t flags, int *ret_fd, uint32_t *fid,
                               struct p9_ropenat *reply)
{
    struct p9_conn *conn = pi->fs->conn;
    char name[NAME_LEN_MAX + 1];
    struct inode *dir AUTO_PUT(inode) = p9_fid_parent(pi, name);
    int r;
    if (dir) {
        r = p9_open_in(pi, dir, name, flags, ret_fd, fid, reply);
    } else {
        struct p9_topenat m = {.fid = pi->fid, .newfid = *fid, .flags = flags};
        r = P9_CALL_FD(conn, topenat, ropenat, &m, reply, ret_fd);
    }
    if (r == 0 && reply->with_fd > 1)
        r = p9_conn_fail(conn, "opened something else");
    if (r == 0 && (reply->attr.qid.path != pi->path || reply->attr.dev != pi->dev)) {
        if (*ret_fd < 0)
            p9_clunk(conn, *fid, false);
        /* A name may stand for another file than when it was listed; a fid may not. */
        r = dir ? -ESTALE : p9_conn_fail(conn, "opened something else");
    }
    if (r < 0 && *ret_fd >= 0) {
        close(*ret_fd);
        *ret_fd = -1;
    }
    return r;
}

int p9_server_open(struct p9_inode *pi, uint32_t flags, int *ret_fd, uint32_t *ret_fid,
                   struct p9_attr *ret_attr)
{
    struct p9_conn *conn = pi->fs->conn;
    uint32_t fid = p9_fid_new(conn);
    int r;
    *ret_fd = -1;
    if (p9_conn_ringbox(conn)) {
        struct p9_ropenat reply = {0};
        if (!fds_room(pi->fs))
            return -ENFILE;
        r = server_open_ringbox(pi, flags, ret_fd, &fid, &reply);
        *ret_attr = reply.attr;
    } else {
        struct p9_twalk w = {.fid = pi->fid, .newfid = fid};
        struct p9_rwalk wr = {0};
        struct p9_tlopen m = {.fid = fid, .flags = flags};
        struct p9_rlopen reply = {0};
        r = P9_CALL(conn, twalk, rwalk, &w, &wr);
        if (r < 0)
            return r;
        r = P9_CALL(conn, tlopen, rlopen, &m, &reply);
        if (r < 0)
            p9_clunk(conn, fid, false);
    }
    *ret_fid = fid;
    return r;
}

int p9_fd_obtain(struct p9_inode *pi, bool writable, struct p9_fd **ret, uint32_t *ret_fid)
{
    struct p9_attr a = {0};
    int fd, r = 0;
    *ret = fd_cached(pi, writable);
    if (*ret)
        return 0;
    fmutex_lock(&pi->open_lock);
    *ret = fd_cached(pi, writable);
    if (!*ret && !writable)
        *ret = fd_came_ahead(pi);
    if (!*ret)
        r = p9_server_open(pi, writable ? O_RDWR : O_RDONLY, &fd, ret_fid, &a);
    if (!*ret && r == 0 && fd >= 0) {
        r = p9_fd_adopt(pi, fd, writable, &a);
        *ret = r == 0 ? fd_cached(pi, writable) : NULL;
        if (r == 0 && !*ret)
            r = -ENFILE; /* evicted at once: pressure */
    }
    fmutex_unlock(&pi->open_lock);
    return r;
}
