/* SPDX-License-Identifier: Apache-2.0
 * unix_message.c - AF_UNIX datagrams and sequenced packets.
 *
 * A message is one allocation that queues on its receiver and is charged to its sender until it is
 * received. A datagram socket's peer is only where it sends to: it changes, and the peer need not know.
 * Who is not a socket's peer finds at most DGRAM_QUEUE_MAX + 1 messages in its queue, then waits on
 * the receiver's room_wait; a socket connected to it has a waiter there all the time, which tells
 * those who poll it.
 *
 * Locks: recv_lock (RANK_FILE), sock.lock one at a time, unix_fds_lock around it. */
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <kernel/timer.h>

#include "unix.h"

/* --- the peer of a datagram socket --- */

struct sock *sock_peer_get(struct sock *s)
{
    spin_lock(&s->lock);
    struct sock *peer = s->peer;
    if (peer)
        refcount_get(&peer->ref);
    spin_unlock(&s->lock);
    return peer;
}

/* The peer's queue has room again: so has, perhaps, the watcher. Lock of room_wait held. */
static bool peer_room_fire(struct waiter *w, uint32_t events UNUSED)
{
    struct sock *s = container_of(w, struct sock, peer_room);

    wake_one(&s->wait, POLLOUT | POLLWRNORM);
    return true;
}

/* @s has left @old: what @old sent is gone, and @old learns it if it was connected back (not when @s
 * is closed: then its next send will). */
static void dgram_left(struct sock *s, struct sock *old)
{
    bool lost = unix_message_drop(s);
    spin_lock(&old->lock);
    bool told = lost && !s->dead && !old->dead && old->peer == s;
    if (told)
        old->error = ECONNRESET;
    spin_unlock(&old->lock);
    if (told)
        wake_all(&old->wait, POLLERR | POLLIN | POLLOUT);
}

int unix_dgram_connect(struct sock *s, struct sock *to)
{
    spin_lock(&s->lock);
    struct sock *old = s->peer;
    if (old)
        waiter_disarm(&s->peer_room);
    s->peer = to;
    if (to) {
        waiter_init(&s->peer_room, peer_room_fire);
        waiter_arm(&s->peer_room, &to->room_wait, POLLOUT);
    }
    spin_unlock(&s->lock);
    if (old && old != to)
        dgram_left(s, old);
    sock_put(old);
    wake_all(&s->wait, POLLOUT | POLLWRNORM);
    return 0;
}

static bool message_full_locked(const struct sock *s, const struct sock *to)
{
    return to != s && to->peer != s && to->message_count > DGRAM_QUEUE_MAX;
}

bool unix_message_full(struct sock *s, struct sock *to)
{
    spin_lock(&to->lock);
    bool full = !to->dead && !to->rcv_shut && message_full_locked(s, to);
    spin_unlock(&to->lock);
    return full;
}

/* --- sending --- */

/* As Linux counts: a head of 256 bytes, memory in powers of two, what is long in pages. So buffers
 * are full after as many messages as there. */
size_t unix_message_charge(size_t size)
{
    size_t paged = size > 16064 ? MIN(align_up(size - 16064, PAGE_SIZE), 17 * PAGE_SIZE) : 0;
    size_t block = 512;

    while (block < size - MIN(paged, size) + 320)
        block *= 2;
    return 256 + block + paged;
}

static void message_memory_free(struct unix_message *b)
{
    unix_bytes_give(sizeof(*b) + b->size);
    free(b);
}

void unix_message_free(struct unix_message *b)
{
    unix_fds_free(&b->fds);
    sock_uncharge(b->from, unix_message_charge(b->size));
    sock_put(b->from);
    message_memory_free(b);
}

static int message_may_send_locked(const struct sock *s, const struct sock *to)
{
    if (s->base.type == SOCK_SEQPACKET)
        return to->dead || to->rcv_shut ? -EPIPE : 0;
    if (to->dead)
        return -ECONNREFUSED;
    if (to->peer && to->peer != s)
        return -EPERM;
    if (to->rcv_shut)
        return -EPIPE;
    return message_full_locked(s, to) ? -EAGAIN : 0;
}

static int message_append(struct sock *s, struct sock *to, struct unix_message *b)
{
    const bool fds = b->fds.count; /* once it is in the queue the receiver may free it */

    if (fds)
        unix_fds_lock();
    spin_lock(&to->lock);
    int err = message_may_send_locked(s, to);
    if (!err) {
        list_add_tail(&b->link, &to->messages);
        to->message_count++;
        unix_fds_enter_locked(&b->fds);
    }
    spin_unlock(&to->lock);
    if (fds)
        unix_fds_unlock();
    if (!err)
        wake_one(&to->wait, POLLIN | POLLRDNORM);
    if (!err)
        async_notify(&to->wait, POLL_IN);
    return err;
}

/* What can be said before it is known where to. */
static ssize_t message_check(struct sock *s, size_t n)
{
    if (s->base.type == SOCK_SEQPACKET && !s->peer)
        return -ENOTCONN;
    if (n > s->send_size - 32)
        return -EMSGSIZE;
    ssize_t r = sock_send_check(s);
    if (!r && s->charged >= sock_send_size(s)) {
        s->no_space = true;
        r = -EAGAIN;
    }
    if (!r && n > UNIX_BYTES_EACH && unix_bytes_short())
        r = -ENOBUFS;
    return r;
}

static ssize_t message_send_to(struct sock *s, struct sock *to, struct uio *u,
                               const struct socket_msg *m)
{
    size_t n = u->left;
    ssize_t r;

    if (unix_message_full(s, to))
        return -EAGAIN;
    struct unix_message *b = malloc(sizeof(*b) + n);
    if (!b)
        return -ENOBUFS;
    unix_bytes_take(sizeof(*b) + n);
    list_init(&b->link);
    b->size = n;
    b->from = s;
    b->peeked = false;
    b->time_ns = unlikely(unix_wants_time(to)) ? clock_now_ns(CLOCK_REALTIME) : 0;
    b->cred = sock_cred_to_send(s, to, m);
    r = unix_fds_attach(&b->fds, m);
    if (r) {
        message_memory_free(b);
        return r;
    }
    if (n && uio_copy_from_user(u, b->data, n) != (ssize_t)n)
        r = -EFAULT; /* whole or not at all */
    if (!r) {
        refcount_get(&s->ref);
        atomic_fetch_add(&s->charged, unix_message_charge(n));
        r = message_append(s, to, b);
        if (!r)
            return (ssize_t)n;
        atomic_fetch_sub(&s->charged, unix_message_charge(n));
        sock_put(s);
    }
    unix_fds_abandon(&b->fds);
    message_memory_free(b);
    return r;
}

/* The peer has been closed: a datagram socket forgets it. */
static void dgram_peer_gone(struct sock *s, struct sock *to)
{
    spin_lock(&s->lock);
    bool ours = s->peer == to;
    spin_unlock(&s->lock);
    if (ours)
        (void)unix_dgram_connect(s, NULL);
}

static struct sock *message_destination(struct sock *s, const struct socket_msg *m)
{
    if (s->base.type == SOCK_DGRAM && m && m->name_len)
        return unix_find((const struct sockaddr_un *)&m->name, m->name_len, SOCK_DGRAM);
    struct sock *to = sock_peer_get(s);
    return to ? to : ERR_PTR(-ENOTCONN);
}

ssize_t unix_message_send(struct sock *s, struct uio *u, const struct socket_msg *m,
                          struct sock **ret_full)
{
    *ret_full = NULL;
    if (s->pass_cred && !s->name_len && s->base.type == SOCK_DGRAM) {
        int err = unix_bind_auto(s);
        if (err)
            return err;
    }
    ssize_t r = message_check(s, u->left);
    if (r)
        return r;
    struct sock *to = message_destination(s, m);
    if (IS_ERR(to))
        return PTR_ERR(to);
    r = message_send_to(s, to, u, m);
    if (r == -ECONNREFUSED && s->base.type == SOCK_DGRAM)
        dgram_peer_gone(s, to);
    if (r == -EAGAIN && unix_message_full(s, to))
        *ret_full = to;
    else
        sock_put(to);
    return r;
}

/* --- receiving (recv_lock held) --- */

/* Why there is nothing: 0 end, -EAGAIN. lock held. */
static ssize_t message_empty_locked(const struct sock *s, int flags)
{
    if (s->rcv_shut && (s->base.type == SOCK_SEQPACKET || !(flags & MSG_DONTWAIT)))
        return 0;
    return -EAGAIN;
}

/* The first one; with SO_PEEK_OFF the one that *offset lies in, and where. An error comes first. */
static struct unix_message *message_first(struct sock *s, int flags, size_t *offset,
                                          ssize_t *ret_why)
{
    struct unix_message *b, *found = NULL;

    spin_lock(&s->lock);
    int error = s->error;
    s->error = 0;
    list_for_each_entry (b, &s->messages, link) {
        if (error)
            break;
        if ((flags & MSG_PEEK) && *offset >= b->size && (b->size || *offset || b->peeked)) {
            *offset -= b->size;
            continue;
        }
        found = b;
        break;
    }
    if (found)
        found->peeked |= (flags & MSG_PEEK) != 0;
    else
        *ret_why = error ? -error : message_empty_locked(s, flags);
    spin_unlock(&s->lock);
    return found;
}

static void message_consume(struct sock *s, struct unix_message *b)
{
    spin_lock(&s->lock);
    list_del(&b->link);
    bool room = s->message_count-- == DGRAM_QUEUE_MAX + 1;
    spin_unlock(&s->lock);
    if (room)
        wake_all(&s->room_wait, POLLOUT);
    unix_message_free(b);
}

static ssize_t message_take(struct sock *s, struct unix_message *b, struct uio *u,
                            struct socket_msg *m, int flags, size_t offset)
{
    size_t n = MIN(b->size - offset, u->left);
    ssize_t r = n ? uio_copy_to_user(u, b->data + offset, n) : 0;

    if (r >= 0) {
        r = (ssize_t)((flags & MSG_TRUNC) ? b->size - offset : n);
        if (m) {
            m->flags |= n < b->size - offset ? MSG_TRUNC : 0;
            m->family_data[UNIX_DATA_TIME] = (uint64_t)b->time_ns;
            m->family_data[UNIX_DATA_TIMED] = true;
            m->cred = b->cred;
            m->has_cred = true;
            unix_name_copy(b->from, m);
            unix_fds_give(&b->fds, m, flags & MSG_PEEK);
        }
        if (s->peek_offset >= 0)
            s->peek_offset = flags & MSG_PEEK ? s->peek_offset + (int32_t)n
                                              : MAX(0, s->peek_offset - (int32_t)b->size);
    }
    if (!(flags & MSG_PEEK))
        message_consume(s, b);
    return r;
}

ssize_t unix_message_receive(struct sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    ssize_t r = 0;

    if (s->base.type == SOCK_SEQPACKET && !s->peer)
        return -ENOTCONN;
    fmutex_lock(&s->recv_lock);
    int32_t peek_offset = s->peek_offset;
    size_t offset = (flags & MSG_PEEK) && peek_offset > 0 ? (size_t)peek_offset : 0;
    struct unix_message *b = message_first(s, flags, &offset, &r);
    if (b)
        r = message_take(s, b, u, m, flags, offset);
    fmutex_unlock(&s->recv_lock);
    return r;
}

bool unix_message_drop(struct sock *s)
{
    struct list_head all = LIST_HEAD_INIT(all);

    fmutex_lock(&s->recv_lock); /* nobody copies out of one */
    spin_lock(&s->lock);
    list_splice_tail(&s->messages, &all);
    s->message_count = 0;
    spin_unlock(&s->lock);
    fmutex_unlock(&s->recv_lock);
    bool any = !list_empty(&all);
    wake_all(&s->room_wait, POLLOUT);
    while (!list_empty(&all)) {
        struct unix_message *b = list_first_entry(&all, struct unix_message, link);
        list_del(&b->link);
        unix_message_free(b);
    }
    return any;
}
