/* SPDX-License-Identifier: Apache-2.0
 * p9fs_ahead.c - opening files by name in a directory that was scanned, and the next ones with them.
 *
 * Model: who opens the files of a directory one after the other will open the next ones too, so a request
 * for a descriptor carries others behind it, up to P9_AHEAD_BATCH. Descriptors that came so wait in a
 * queue of P9_AHEAD_FDS, found by the file's identity, the oldest closed when it is full. How many are
 * asked for doubles while most were used, and halves, to none, while they were not; it starts when a file
 * is opened right behind another one in one of the orders that programs take.
 *
 * The server may lie: a descriptor is checked like one that was asked for (p9_fd_verify).
 *
 * Locks: fs->lock for the queue and the counters.
 * Host: close [sentry]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/err.h>

#include "p9fs_private.h"

#define AHEAD_FIRST 4u
#define AHEAD_RECENT 256u /* descriptors after which older experience counts half */
#define OPEN_OUT 320u     /* Topenat */
#define OPEN_IN 192u      /* Ropenat */

struct open_one {
    struct p9_req req;
    uint32_t newfid;
    uint8_t out[OPEN_OUT], in[OPEN_IN];
};

struct batch {
    struct p9_inode *pi;
    struct p9_listing *peers; /* reference, or NULL */
    uint32_t pick[P9_AHEAD_BATCH];
    unsigned ahead;
    struct p9_fidwalk walk;
    uint8_t walk_out[P9_OUT_MAX], walk_in[P9_WALK_IN_MAX];
    struct open_one one[P9_AHEAD_BATCH + 1]; /* the first is what was asked for */
};

/* --- the queue --- */

struct p9_fd *p9_ahead_take_locked(struct p9_inode *pi)
{
    struct p9fs *fs = pi->fs;
    if (fs->ahead_fd_count == 0)
        return NULL;
    for (unsigned i = 0; i < P9_AHEAD_FDS; i++) {
        struct p9_ahead_fd *a = &fs->ahead_fds[i];
        if (a->fd && a->path == pi->path && a->dev == pi->dev) {
            fs->ahead_fd_count--;
            return steal(a->fd);
        }
    }
    return NULL;
}

static void queue_add(struct p9fs *fs, struct p9_fd *d, const struct p9_attr *a)
{
    spin_lock(&fs->lock);
    struct p9_ahead_fd *slot = &fs->ahead_fds[fs->ahead_fd_next++ % P9_AHEAD_FDS];
    struct p9_fd *old = slot->fd;
    *slot = (struct p9_ahead_fd){.fd = d, .path = a->qid.path, .dev = a->dev};
    fs->ahead_fd_count += old == NULL;
    fs->fds_given++;
    spin_unlock(&fs->lock);
    p9_fd_put(old);
}

bool p9_ahead_drop(struct p9fs *fs)
{
    bool any = false;
    for (unsigned i = 0; i < P9_AHEAD_FDS; i++) {
        spin_lock(&fs->lock);
        struct p9_fd *d = steal(fs->ahead_fds[i].fd);
        fs->ahead_fd_count -= d != NULL;
        spin_unlock(&fs->lock);
        any |= d != NULL;
        p9_fd_put(d);
    }
    return any;
}

/* --- what to ask for --- */

static bool file_wanted(struct p9fs *fs, const struct p9_attr *a)
{
    if (!a->valid || !S_ISREG(a->mode))
        return false;
    struct p9_inode *pi = p9_inode_find_locked(fs, a);
    if (pi && (pi->ro || pi->rw))
        return false;
    for (unsigned i = 0; fs->ahead_fd_count && i < P9_AHEAD_FDS; i++)
        if (fs->ahead_fds[i].fd && fs->ahead_fds[i].path == a->qid.path &&
            fs->ahead_fds[i].dev == a->dev)
            return false;
    return true;
}

static unsigned ahead_count(struct p9fs *fs, bool in_sequence)
{
    spin_lock(&fs->lock);
    if (fs->fds_given > AHEAD_RECENT)
        fs->fds_given /= 2;
    uint32_t n = fs->open_ahead;
    if (fs->ahead_fd_count > fs->fds_given / 2 + AHEAD_FIRST)
        n /= 2;
    else if (n || in_sequence)
        n = MIN(MAX(n * 2, AHEAD_FIRST), P9_AHEAD_BATCH);
    fs->open_ahead = n;
    spin_unlock(&fs->lock);
    return n;
}

static void batch_choose(struct batch *b, struct inode *dir, const char *name, size_t len)
{
    struct p9fs *fs = b->pi->fs;
    bool big, in_sequence;
    b->peers = p9_listing_cached(p9_of(dir), &big);
    if (!b->peers || !b->peers->index)
        return;
    int at = p9_listing_find(b->peers, name, len);
    if (at < 0)
        return;
    uint32_t n = p9_listing_after(fs, b->peers, (uint32_t)at, &b->peers->last_file, file_wanted,
                                  P9_AHEAD_BATCH, b->pick, &in_sequence);
    b->ahead = MIN(n, ahead_count(fs, in_sequence));
    uint32_t room = p9_fds_room();
    b->ahead = MIN(b->ahead, room > P9_AHEAD_FDS ? room - P9_AHEAD_FDS : 0);
}

static int open_encode(struct open_one *o, struct p9_conn *conn, uint32_t fid, struct p9_str name,
                       uint32_t flags)
{
    o->newfid = p9_fid_new(conn);
    struct p9_topenat m = {.fid = fid, .newfid = o->newfid, .flags = flags, .name = name};
    int n = p9_encode_topenat(o->out, sizeof o->out, &m);
    o->req = (struct p9_req){.out = o->out,
                             .out_len = n < 0 ? 0 : (size_t)n,
                             .in = o->in,
                             .in_cap = sizeof o->in,
                             .want = P9_ropenat};
    return n < 0 ? -ENAMETOOLONG : 0;
}

/* --- what came --- */

/* A descriptor nobody asked for. What stands there now may be something else than what was listed. */
static void ahead_came(struct batch *b, unsigned k)
{
    struct p9fs *fs = b->pi->fs;
    struct p9_req *req = &b->one[k + 1].req;
    const struct p9_attr *listed = &b->peers->attrs[b->pick[k]];
    struct p9_ropenat reply = {0};
    if (req->result < 0)
        return;
    if (p9_decode_ropenat(req->in, req->in_len, &reply) < 0) {
        (void)p9_conn_fail(fs->conn, "malformed ropenat");
        if (req->fd >= 0)
            close(req->fd);
        return;
    }
    if (req->fd < 0) { /* a server that does not donate has opened the fid */
        p9_clunk(fs->conn, b->one[k + 1].newfid, false);
        return;
    }
    if (reply.attr.qid.path != listed->qid.path || reply.attr.dev != listed->dev ||
        p9_fd_verify(fs, req->fd, false, &reply.attr) < 0) {
        close(req->fd);
        return;
    }
    struct p9_fd *d = p9_fd_new(req->fd, false);
    if (d)
        queue_add(fs, d, &reply.attr);
}

static int batch_run(struct batch *b, struct inode *dir, struct p9_str name, uint32_t flags)
{
    struct p9fs *fs = b->pi->fs;
    struct p9_req *req[P9_AHEAD_BATCH + 2];
    unsigned n = 0;
    b->walk.pi = p9_of(dir);
    int r = p9_fidwalk_start(&b->walk, b->walk_out, b->walk_in);
    if (r < 0)
        return r;
    if (b->walk.needed)
        req[n++] = &b->walk.req;
    r = open_encode(&b->one[0], fs->conn, b->walk.fid, name, flags);
    req[n++] = &b->one[0].req;
    for (unsigned k = 0; r == 0 && k < b->ahead; k++) {
        const struct p9_entry *e = &b->peers->entries[b->pick[k]];
        r = open_encode(&b->one[k + 1], fs->conn, b->walk.fid,
                        p9_name(b->peers->names + e->name, e->len), O_RDONLY);
        req[n++] = &b->one[k + 1].req;
    }
    if (r == 0)
        p9_transact_all(fs->conn, req, n);
    r = p9_fidwalk_end(&b->walk, r);
    if (r == 0 && b->one[0].req.result == -EAGAIN) /* there was no second tag */
        (void)p9_transact(fs->conn, &b->one[0].req);
    return r;
}

int p9_open_in(struct p9_inode *pi, struct inode *dir, const char *name, uint32_t flags,
               int *ret_fd, uint32_t *ret_fid, struct p9_ropenat *ret)
{
    struct batch *b autofree = malloc(sizeof *b);
    if (!b)
        return -ENOMEM;
    b->pi = pi;
    b->peers = NULL;
    b->ahead = 0;
    if ((flags & O_ACCMODE) == O_RDONLY)
        batch_choose(b, dir, name, strlen(name));
    int r = batch_run(b, dir, p9_str_from(name), flags);
    struct p9_req *own = &b->one[0].req;
    if (r == 0) {
        r = own->result;
        for (unsigned k = 0; k < b->ahead; k++)
            ahead_came(b, k);
    }
    if (r == 0) {
        *ret_fd = own->fd;
        *ret_fid = b->one[0].newfid;
        if (p9_decode_ropenat(own->in, own->in_len, ret) < 0)
            r = p9_conn_fail(pi->fs->conn, "malformed ropenat");
    }
    p9_listing_put(b->peers);
    return r;
}
