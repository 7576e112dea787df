/* SPDX-License-Identifier: Apache-2.0
 * p9fs_lock.c - locks of shared mounts, at the server: they bind processes of the host too.
 *
 * An inode has one opened fid for them while anything is held: the server keeps locks by fid. It is walked to
 * and opened apart from donated descriptors, which the server has let go. vfs/locks.c tells what all of
 * the sandbox holds together.
 *
 * The server may lie about locks: whoever can, holds them.
 * Locks: called with inode->lock held, which guards lock_fid and lock_held.
 */
#include <errno.h>
#include <fcntl.h>

#include <vfs/locks.h>

#include "p9fs_private.h"

#define CLIENT_ID "ringbox"

static int open_fid(struct p9_inode *pi, uint32_t flags, uint32_t *ret)
{
    struct p9_conn *conn = pi->fs->conn;
    struct p9_twalk w = {.newfid = p9_fid_new(conn)};
    struct p9_rwalk wr = {0};
    struct p9_tlopen m = {.fid = w.newfid, .flags = flags};
    struct p9_rlopen reply = {0};
    int r = p9_fid(pi, &w.fid);
    if (r == 0)
        r = P9_CALL(conn, twalk, rwalk, &w, &wr);
    if (r < 0)
        return r;
    r = P9_CALL(conn, tlopen, rlopen, &m, &reply);
    if (r == 0 && reply.qid.path != pi->path)
        r = p9_conn_fail(conn, "opened something else");
    if (r < 0) {
        p9_clunk(conn, w.newfid, false);
        return r;
    }
    *ret = w.newfid;
    return 0;
}

static int lock_fid(struct p9_inode *pi)
{
    if (pi->lock_fid != P9_NOFID)
        return 0;
    int r = open_fid(pi, O_RDWR, &pi->lock_fid);
    if (r == -EACCES || r == -EROFS || r == -EPERM)
        r = open_fid(pi, O_RDONLY, &pi->lock_fid); /* for read locks, and flock */
    return r;
}

static uint8_t wire_type(int type)
{
    return type == F_RDLCK ? P9_LOCK_RDLCK : type == F_WRLCK ? P9_LOCK_WRLCK : P9_LOCK_UNLCK;
}

static uint64_t wire_length(const struct lock_range *l)
{
    return l->end == INT64_MAX ? 0 : l->end - l->start + 1;
}

/* Nothing is held any more: the fid goes. */
static void fid_drop(struct p9_inode *pi)
{
    p9_clunk(pi->fs->conn, pi->lock_fid, true);
    pi->lock_fid = P9_NOFID;
}

int p9_lock(struct inode *i, const struct lock_range *l, bool flock)
{
    struct p9_inode *pi = p9_of(i);
    struct p9_rlock reply = {0};
    if (flock && !p9_conn_ringbox(pi->fs->conn))
        return 0; /* plain 9P has one kind only: flock stays inside */
    if (l->type == F_UNLCK && pi->lock_fid == P9_NOFID)
        return 0;
    int r = lock_fid(pi);
    if (r < 0)
        return r;
    struct p9_tlock m = {.fid = pi->lock_fid,
                         .type = wire_type(l->type),
                         .flags = flock ? P9_LOCK_FLOCK : 0,
                         .start = l->start,
                         .length = wire_length(l),
                         .client_id = p9_str_from(CLIENT_ID)};
    r = P9_CALL(pi->fs->conn, tlock, rlock, &m, &reply);
    if (r == 0 && reply.status == P9_LOCK_BLOCKED)
        r = -EBUSY;
    else if (r == 0 && reply.status != P9_LOCK_SUCCESS)
        r = -ENOLCK;
    else if (r == -EOPNOTSUPP ||
             r == -EBADF) /* no locks there; no right to write, which a write lock wants */
        r = -ENOLCK;
    if (l->type == F_UNLCK && l->start == 0 && l->end == INT64_MAX && r == 0)
        pi->lock_held &= flock ? ~2u : ~1u;
    else if (l->type != F_UNLCK && r == 0)
        pi->lock_held |= flock ? 2u : 1u;
    if (!pi->lock_held)
        fid_drop(pi);
    return r;
}

int p9_lock_test(struct inode *i, struct lock_range *l)
{
    struct p9_inode *pi = p9_of(i);
    uint8_t in[P9_IN_MAX];
    struct p9_rgetlock reply = {0};
    int r = lock_fid(pi);
    if (r < 0)
        return r;
    struct p9_tgetlock m = {.fid = pi->lock_fid,
                            .type = wire_type(l->type),
                            .start = l->start,
                            .length = wire_length(l),
                            .client_id = p9_str_from(CLIENT_ID)};
    r = P9_CALL_BUF(pi->fs->conn, tgetlock, rgetlock, &m, &reply, in, sizeof in);
    if (!pi->lock_held)
        fid_drop(pi);
    if (r < 0)
        return r == -EOPNOTSUPP || r == -EBADF ? -ENOLCK : r;
    bool sane = reply.type <= P9_LOCK_UNLCK && reply.start <= INT64_MAX &&
                reply.length <= INT64_MAX - reply.start;
    if (!sane)
        return p9_conn_fail(pi->fs->conn, "a lock beyond all limits");
    static const int16_t types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
    l->type = types[reply.type];
    l->start = reply.start;
    l->end = reply.length ? reply.start + reply.length - 1 : INT64_MAX;
    l->pid = 0; /* nobody who has a number here */
    return 0;
}
