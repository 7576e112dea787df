/* SPDX-License-Identifier: Apache-2.0
 * p9fs_conn.h - private to p9fs_conn.c: the state of one connection. */
#ifndef FS_P9FS_CONN_H
#define FS_P9FS_CONN_H

#include "p9fs_private.h"

struct p9_conn {
    int sock; /* immutable until free */
    uint32_t msize;
    bool ringbox;
    struct io *io;                 /* polls the socket; NULL: waiters read for themselves */
    struct timer_base *timer_base; /* of the same poller */
    struct io_poll poll;
    struct timer timer;
    _Atomic(uint32_t) next_fid;
    _Atomic(uint64_t) messages;
    void (*changed)(void *arg, uint64_t path, uint64_t dev);
    void *changed_arg;

    struct fmutex send_lock;

    struct spin lock; /* RANK_OBJECT_PEER */
    bool dead, fds_lost, timer_on;
    uint32_t transacting;          /* requests between start and end */
    struct p9_req *slots[P9_TAGS]; /* by tag; CLUNK: answer ignored */
    uint32_t free_tags;
    struct list_head tag_waiters;
    uint32_t clunks[P9_CLUNKS];
    uint32_t clunk_count;
    uint32_t retired[P9_RETIRED]; /* clunks for when nothing is on its way */
    uint32_t retired_count;
    int fds[P9_FDS_QUEUED];
    uint32_t fd_count;

    /* the reader's alone */
    _Atomic(bool) reading;
    uint8_t *rx;
    size_t rx_have;
};

/* p9fs_quiet.c: around every request that has a tag. */
void p9_request_begins(struct p9_conn *c, struct p9_req *r);
void p9_request_ends(struct p9_conn *c);

/* p9fs_changed.c: a message that answers nothing. 0, -EIO. */
int p9_conn_told(struct p9_conn *c, const uint8_t *msg, size_t len);

#endif
