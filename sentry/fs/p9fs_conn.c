/* SPDX-License-Identifier: Apache-2.0
 * p9fs_conn.c - requests and replies over one stream socket, for many fibers at once.
 *
 * Model: a fiber takes a tag, sends its request under send_lock and parks. The poller that created
 * the connection polls the socket; its callback reads what is there without waiting, finds the
 * request by tag, copies the reply into the fiber's buffer and unparks it. Donated descriptors come
 * in the order of the replies that announce them. Clunks need no answer: they are gathered and sent
 * in front of the next request. A thread without a scheduler reads for itself while it waits.
 *
 * The server may lie in anything. An unknown tag, a wrong type, a length beyond what was asked for,
 * a descriptor too few or too many fails the connection for ever: the socket is shut down and every
 * request, waiting or new, is -EIO. So does silence for P9_DEADLINE_NS.
 *
 * Locks: send_lock (fiber mutex, RANK_9P) orders what is written; lock (spin) guards the tags,
 * clunks and queue of descriptors, and is never held across a host call that can block.
 * Left out: Tflush (a request is never abandoned).
 * Host: sendmsg, recvmsg, poll, shutdown, close [sentry]
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/count.h>
#include <base/err.h>
#include <base/log.h>

#include "p9fs_conn.h"

#define RX_READS 64u /* one after the other */
int64_t p9_deadline_ns = P9_DEADLINE_NS;

static struct p9_req g_clunk; /* stands in slots for requests nobody waits for */
#define CLUNK (&g_clunk)

struct tag_waiter {
    struct list_head link;
    struct fiber *fiber;
    uint16_t tag;
    _Atomic(bool) done;
};

bool p9_conn_ringbox(const struct p9_conn *c)
{
    return c->ringbox;
}

uint32_t p9_conn_iounit(const struct p9_conn *c)
{
    return c->msize - P9_IOHDR;
}

uint64_t p9_conn_messages(const struct p9_conn *c)
{
    return c->messages;
}

uint32_t p9_fid_new(struct p9_conn *c)
{
    uint32_t fid = c->next_fid++;
    return fid == P9_NOFID ? c->next_fid++ : fid;
}

bool p9_conn_dead(struct p9_conn *c)
{
    spin_lock(&c->lock);
    bool dead = c->dead;
    spin_unlock(&c->lock);
    return dead;
}

/* --- failure --- */

static void fds_close(int *fds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        close(fds[i]);
}

static void req_complete(struct p9_req *r, int result)
{
    struct fiber *f = r->fiber; /* r may be gone once done is seen */
    r->result = result;
    r->done = true;
    fiber_unpark(f);
}

int p9_conn_fail(struct p9_conn *c, const char *why)
{
    struct p9_req *waiting[P9_TAGS];
    struct list_head tag_waiters;
    int fds[P9_FDS_QUEUED];
    uint32_t n = 0, fd_count;
    list_init(&tag_waiters);
    spin_lock(&c->lock);
    bool first = !c->dead;
    c->dead = true;
    for (unsigned i = 0; i < P9_TAGS; i++) {
        if (c->slots[i] && c->slots[i] != CLUNK)
            waiting[n++] = c->slots[i];
        c->slots[i] = NULL;
    }
    list_splice_tail(&c->tag_waiters, &tag_waiters);
    fd_count = c->fd_count;
    memcpy(fds, c->fds, sizeof fds);
    c->fd_count = 0;
    spin_unlock(&c->lock);
    if (first) {
        log_debug("9p", "connection closed: %s", why);
        (void)shutdown(c->sock, SHUT_RDWR);
    }
    fds_close(fds, fd_count);
    for (uint32_t i = 0; i < n; i++)
        req_complete(waiting[i], -EIO);
    while (!list_empty(&tag_waiters)) {
        struct tag_waiter *w = list_first_entry(&tag_waiters, struct tag_waiter, link);
        struct fiber *f = w->fiber;
        list_del(&w->link);
        w->done = true;
        fiber_unpark(f);
    }
    return -EIO;
}

/* --- receiving --- */

static void fds_take(struct p9_conn *c, struct msghdr *msg)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        uint32_t n = (uint32_t)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (uint32_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            spin_lock(&c->lock);
            bool room = !c->dead && c->fd_count < P9_FDS_QUEUED;
            if (room)
                c->fds[c->fd_count++] = fd;
            spin_unlock(&c->lock);
            if (!room) {
                close(fd);
                (void)p9_conn_fail(c, "descriptors nobody asked for");
            }
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        c->fds_lost = true; /* our own limit: see message_done() */
}

/* Does this reply say that a descriptor comes with it? */
static bool announces_fd(const uint8_t *msg, size_t len)
{
    uint8_t type = p9_type_of(msg);
    return (type == P9_ropenat || type == P9_rcreateat) && len > P9_HDR && msg[P9_HDR] == 1;
}

static uint16_t tag_release_locked(struct p9_conn *c, uint16_t tag, struct tag_waiter **ret)
{
    c->slots[tag] = NULL;
    c->free_tags++;
    *ret = NULL;
    if (!list_empty(&c->tag_waiters)) {
        *ret = list_first_entry(&c->tag_waiters, struct tag_waiter, link);
        list_del(&(*ret)->link);
        c->slots[tag] = CLUNK; /* reserved for the waiter */
        c->free_tags--;
        (*ret)->tag = tag;
    }
    return tag;
}

static void tag_waiter_wake(struct tag_waiter *w)
{
    if (!w)
        return;
    struct fiber *f = w->fiber;
    w->done = true;
    fiber_unpark(f);
}

/* First descriptor of the queue; -1: none. */
static int fd_pop_locked(struct p9_conn *c)
{
    if (c->fd_count == 0)
        return -1;
    int fd = c->fds[0];
    memmove(c->fds, c->fds + 1, --c->fd_count * sizeof c->fds[0]);
    return fd;
}

/* One complete message. */
static int message_done(struct p9_conn *c, const uint8_t *msg, size_t len)
{
    uint16_t tag = p9_tag_of(msg);
    uint8_t type = p9_type_of(msg);
    struct p9_rlerror e = {0};
    struct tag_waiter *w;
    int result = 0, fd = -1;
    if (tag == P9_NOTAG && type == P9_rchanged)
        return p9_conn_told(c, msg, len);
    if (tag >= P9_TAGS)
        return p9_conn_fail(c, "unknown tag");
    spin_lock(&c->lock);
    struct p9_req *r = c->slots[tag];
    bool bad = !r || c->dead;
    if (!bad && r == CLUNK) {
        bad = type != P9_rclunk && type != P9_rlerror;
    } else if (!bad && type == P9_rlerror) {
        bad = p9_decode_rlerror(msg, len, &e) < 0 || e.ecode == 0 || e.ecode > MAX_ERRNO;
        result = bad ? 0 : -(int)e.ecode;
    } else if (!bad) {
        bad = type != r->want || len > r->in_cap;
        if (!bad && announces_fd(msg, len)) {
            fd = fd_pop_locked(c);
            if (fd < 0 && c->fds_lost)
                result = -ENFILE;
            else
                bad = fd < 0;
        }
    }
    if (!bad)
        tag_release_locked(c, tag, &w);
    spin_unlock(&c->lock);
    if (bad) {
        if (fd >= 0)
            close(fd);
        return p9_conn_fail(c, "a reply that was not asked for");
    }
    tag_waiter_wake(w);
    if (r == CLUNK)
        return 0;
    if (result == 0) {
        memcpy(r->in, msg, len);
        r->in_len = len;
    }
    r->fd = fd;
    req_complete(r, result);
    return 0;
}

static int messages_split(struct p9_conn *c)
{
    size_t at = 0;
    for (;;) {
        int64_t size = p9_frame(c->rx + at, c->rx_have - at, c->msize);
        if (size < 0)
            return p9_conn_fail(c, "bad length");
        if (size == 0 || (size_t)size > c->rx_have - at)
            break;
        int r = message_done(c, c->rx + at, (size_t)size);
        if (r < 0)
            return r;
        at += (size_t)size;
    }
    memmove(c->rx, c->rx + at, c->rx_have - at);
    c->rx_have -= at;
    return 0;
}

/* Read what is there, or much of it: others want to run. 0; -EIO: connection failed. */
static int receive(struct p9_conn *c)
{
    for (unsigned k = 0; k < RX_READS; k++) {
        union {
            char buf[CMSG_SPACE(sizeof(int) * P9_FDS_QUEUED)];
            struct cmsghdr align;
        } control;
        struct iovec iov = {.iov_base = c->rx + c->rx_have, .iov_len = c->msize - c->rx_have};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.buf,
                             .msg_controllen = sizeof control};
        ssize_t n = recvmsg(c->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return p9_conn_fail(c, n == 0 ? "the server has gone" : "socket error");
        fds_take(c, &msg);
        c->rx_have += (size_t)n;
        int r = messages_split(c);
        if (r < 0)
            return r;
    }
    return 0;
}

static void socket_ready(struct io_poll *p, uint32_t revents)
{
    struct p9_conn *c = container_of(p, struct p9_conn, poll);
    (void)revents;
    if (receive(c) == 0 && io_poll_arm(p, c->sock, POLLIN, socket_ready) < 0)
        (void)p9_conn_fail(c, "cannot poll");
}

/* The oldest request has had its time? Otherwise look again when it will have. */
static void deadline_passed(struct timer *t)
{
    struct p9_conn *c = container_of(t, struct p9_conn, timer);
    int64_t now = clock_now_ns(CLOCK_MONOTONIC), oldest = INT64_MAX;
    spin_lock(&c->lock);
    for (unsigned i = 0; i < P9_TAGS; i++)
        if (c->slots[i] && c->slots[i] != CLUNK)
            oldest = MIN(oldest, c->slots[i]->deadline_ns);
    bool again = oldest != INT64_MAX && oldest > now;
    c->timer_on = again;
    spin_unlock(&c->lock);
    if (again)
        (void)timer_arm(t, c->timer_base, oldest);
    else if (oldest <= now)
        (void)p9_conn_fail(c, "no reply in time");
}

/* A thread without a poller: read until the request is answered. */
static void wait_reading(struct p9_conn *c, struct p9_req *r)
{
    while (!r->done) {
        bool mine = false;
        if (c->io || !atomic_compare_exchange_strong(&c->reading, &mine, true)) {
            fiber_park();
            continue;
        }
        int64_t left = (r->deadline_ns - clock_now_ns(CLOCK_MONOTONIC)) / 1000000;
        struct pollfd p = {.fd = c->sock, .events = POLLIN};
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n == 0)
            (void)p9_conn_fail(c, "no reply in time");
        else
            (void)receive(c);
        c->reading = false;
    }
}

/* --- sending --- */

/* A tag for @r; waits while all are in use. -EIO when the connection is dead. */
static int tag_take(struct p9_conn *c, struct p9_req *r, bool may_wait)
{
    struct tag_waiter w = {.fiber = fiber_self()};
    int tag = -EAGAIN;
    spin_lock(&c->lock);
    if (c->dead) {
        tag = -EIO;
    } else if (c->free_tags) {
        for (tag = 0; c->slots[tag]; tag++)
            ;
        c->slots[tag] = r;
        c->free_tags--;
    } else if (may_wait) {
        list_add_tail(&w.link, &c->tag_waiters);
    }
    spin_unlock(&c->lock);
    if (tag != -EAGAIN || !may_wait)
        return tag;
    while (!w.done)
        fiber_park();
    spin_lock(&c->lock);
    tag = c->dead ? -EIO : w.tag;
    if (tag >= 0)
        c->slots[tag] = r;
    spin_unlock(&c->lock);
    return tag;
}

static void tag_set(uint8_t *msg, int tag)
{
    msg[5] = (uint8_t)tag;
    msg[6] = (uint8_t)(tag >> 8);
}

/* Encode gathered clunks, as many as there are tags to spare. send_lock held. */
static size_t clunks_encode(struct p9_conn *c, uint8_t *buf, size_t cap)
{
    size_t len = 0;
    spin_lock(&c->lock);
    for (unsigned tag = 0; tag < P9_TAGS && c->clunk_count && c->free_tags > P9_TAGS / 4; tag++) {
        struct p9_tclunk m = {.tag = (uint16_t)tag};
        if (c->dead || c->slots[tag])
            continue;
        m.fid = c->clunks[c->clunk_count - 1];
        int n = p9_encode_tclunk(buf + len, cap - len, &m);
        if (n < 0)
            break;
        c->clunk_count--;
        c->slots[tag] = CLUNK;
        c->free_tags--;
        len += (size_t)n;
        c->messages++;
        count_add(COUNT_p9_messages, 1);
    }
    spin_unlock(&c->lock);
    return len;
}

/* Write all of iov[0..n). send_lock held. */
static int send_all(struct p9_conn *c, struct iovec *iov, int n)
{
    while (n > 0) {
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t done = io_sendmsg(c->sock, &msg, MSG_NOSIGNAL);
        if (done <= 0)
            return p9_conn_fail(c, "cannot send");
        while (n > 0 && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return 0;
}

/* Tags for as many as can be had: how many of @r. */
static unsigned batch_start(struct p9_conn *c, struct p9_req *const *r, unsigned n)
{
    unsigned sent = 0;
    for (unsigned k = 0; k < n; k++) {
        r[k]->fiber = fiber_self();
        r[k]->done = false;
        r[k]->fd = -1;
        r[k]->deadline_ns = clock_now_ns(CLOCK_MONOTONIC) + p9_deadline_ns;
        int tag = sent == k ? tag_take(c, r[k], k == 0) : -EAGAIN;
        if (tag < 0) {
            r[k]->result = tag;
            continue;
        }
        tag_set(r[k]->out, tag);
        p9_request_begins(c, r[k]);
        sent++;
    }
    return sent;
}

void p9_transact_all(struct p9_conn *c, struct p9_req *const *r, unsigned n)
{
    uint8_t clunks[P9_CLUNKS * 11];
    struct iovec iov[1 + 2 * P9_BATCH_MAX];
    int v = 0;
    BUG_ON(n > P9_BATCH_MAX);
    n = batch_start(c, r, n);
    if (n == 0)
        return;
    fmutex_lock(&c->send_lock);
    size_t clunk_len = clunks_encode(c, clunks, sizeof clunks);
    if (clunk_len)
        iov[v++] = (struct iovec){clunks, clunk_len};
    for (unsigned k = 0; k < n; k++) {
        iov[v++] = (struct iovec){r[k]->out, r[k]->out_len};
        if (r[k]->data.iov_len)
            iov[v++] = r[k]->data;
    }
    c->messages += n;
    count_add(COUNT_p9_messages, n);
    (void)send_all(c, iov, v); /* a failure completes them as well */
    fmutex_unlock(&c->send_lock);
    for (unsigned k = 0; k < n; k++) {
        if (!c->io)
            wait_reading(c, r[k]);
        while (!r[k]->done)
            fiber_park();
        p9_request_ends(c);
    }
}

int p9_transact(struct p9_conn *c, struct p9_req *r)
{
    p9_transact_all(c, &r, 1);
    return r->result;
}

static void clunks_flush(struct p9_conn *c)
{
    uint8_t clunks[P9_CLUNKS * 11];
    fmutex_lock(&c->send_lock);
    size_t len = clunks_encode(c, clunks, sizeof clunks);
    struct iovec iov = {clunks, len};
    if (len)
        (void)send_all(c, &iov, 1);
    fmutex_unlock(&c->send_lock);
}

void p9_clunk(struct p9_conn *c, uint32_t fid, bool now)
{
    for (;;) {
        spin_lock(&c->lock);
        bool dead = c->dead, room = c->clunk_count < P9_CLUNKS;
        if (!dead && room)
            c->clunks[c->clunk_count++] = fid;
        now |= c->clunk_count == P9_CLUNKS;
        spin_unlock(&c->lock);
        if (dead)
            return;
        if (room)
            break;
        /* Every tag is busy: wait for an answer by asking something ourselves. */
        struct p9_tclunk m = {.fid = fid};
        struct p9_rclunk reply = {0};
        (void)P9_CALL(c, tclunk, rclunk, &m, &reply);
        return;
    }
    if (now)
        clunks_flush(c);
}

/* --- life --- */

struct p9_conn *p9_conn_new(int sock)
{
    struct p9_conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(sock);
        return NULL;
    }
    c->sock = sock;
    c->msize = P9_MSIZE_MIN; /* until agreed */
    c->next_fid = 1;
    c->free_tags = P9_TAGS;
    fmutex_init(&c->send_lock, RANK_9P);
    spin_init(&c->lock, RANK_OBJECT_PEER);
    list_init(&c->tag_waiters);
    timer_init(&c->timer, deadline_passed);
    return c;
}

void p9_conn_free(struct p9_conn *c)
{
    if (!c)
        return;
    if (c->io) {
        /* Callers are gone, so only the poll and the timer can still look at it. */
        io_poll_cancel(&c->poll);
        timer_cancel(&c->timer);
    }
    (void)p9_conn_fail(c, "unmounted");
    close(c->sock);
    free(c->rx);
    free(c);
}

/* -EPROTONOSUPPORT: the server does not know the version: by an error (diod does that), or in its answer. */
static int version_ask(struct p9_conn *c, uint32_t msize, const char *version)
{
    uint8_t in[128];
    struct p9_tversion m = {.msize = msize, .version = p9_str_from(version)};
    struct p9_rversion v = {0};
    int r = P9_CALL_BUF(c, tversion, rversion, &m, &v, in, sizeof in);
    if (r < 0 || p9_str_equal(&v.version, "unknown"))
        return p9_conn_dead(c) ? -EIO : -EPROTONOSUPPORT;
    if (v.msize < P9_MSIZE_MIN || v.msize > msize)
        return p9_conn_fail(c, "bad msize");
    c->ringbox = p9_str_equal(&v.version, P9_VERSION_RINGBOX);
    if (!p9_str_equal(&v.version, c->ringbox ? version : P9_VERSION_PLAIN))
        return p9_conn_fail(c, "not 9P2000.L");
    c->msize = v.msize;
    return 0;
}

int p9_conn_start(struct p9_conn *c, uint32_t msize)
{
    c->rx = malloc(msize);
    if (!c->rx)
        return -ENOMEM;
    if (fiber_sched_self() && io_self() && timer_base_self()) {
        c->timer_base = timer_base_self();
        int r = io_poll_arm(&c->poll, c->sock, POLLIN, socket_ready);
        if (r < 0)
            return r;
        c->io = io_self();
    }
    int r = version_ask(c, msize, P9_VERSION_RINGBOX);
    return r == -EPROTONOSUPPORT ? version_ask(c, msize, P9_VERSION_PLAIN) : r;
}
