/* SPDX-License-Identifier: Apache-2.0
 * tcp_data.c - the bytes of TCP connections.
 *
 * Each socket has one ring, for what arrives. A sender copies from guest memory straight into its
 * peer's ring behind head, then moves head; the reader empties at tail: both without the spin lock,
 * so they overlap on two pollers, and no send allocates. The ring begins small and doubles when it
 * is full, up to what SO_SNDBUF and SO_RCVBUF allow together; while its reader keeps up it stays at
 * TCP_RING_ACTIVE, which the caches hold. An empty ring starts again at its beginning, so small
 * messages always use the same warm lines.
 *
 * The urgent byte has its place in the stream; reads stop before it and step over it unless
 * SO_OOBINLINE is set.
 *
 * Guests may lie about lengths and addresses (uio answers -EFAULT); nothing here is an index that a
 * guest wrote. Memory is bounded by NET_BUFFER_BYTES_MAX: beyond, rings do not grow over
 * TCP_RING_MIN, and senders wait.
 *
 * Locks: write_lock, read_lock (RANK_FILE, in this order), the receiving socket's lock. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <kernel/task.h>
#include <net/net.h>

#include "tcp.h"

static _Atomic(uint64_t) g_ring_bytes;

uint64_t net_ring_bytes(void)
{
    return atomic_load(&g_ring_bytes);
}

void tcp_ring_free(struct tcp_sock *s)
{
    spin_lock(&s->i.lock);
    char *ring = s->ring;
    atomic_fetch_sub(&g_ring_bytes, s->size);
    s->ring = NULL;
    s->size = 0;
    s->head = s->tail = 0;
    spin_unlock(&s->i.lock);
    free(ring);
}

/* Both mutexes held: nobody copies. */
static void ring_replace(struct tcp_sock *to, char *ring, uint32_t size)
{
    spin_lock(&to->i.lock);
    uint32_t held = tcp_held_locked(to);
    for (uint32_t done = 0; done < held;) {
        uint32_t off = (uint32_t)(to->tail + done) & (to->size - 1);
        uint32_t n = MIN(held - done, to->size - off);
        memcpy(ring + done, to->ring + off, n);
        done += n;
    }
    char *old = to->ring;
    if (to->urgent)
        to->urgent_at -= to->tail;
    to->ring = ring;
    to->size = size;
    to->cap = TCP_RING_MAX;
    to->tail = to->full_tail = 0;
    to->head = held;
    spin_unlock(&to->i.lock);
    free(old);
}

/* A larger ring, for @want bytes more if that is not too large. write_lock held. */
static int ring_grow(struct tcp_sock *to, size_t want, uint32_t limit)
{
    uint32_t size = MAX(to->size * 2, TCP_RING_MIN);
    uint32_t old = to->size;

    spin_lock(&to->i.lock);
    uint64_t held = tcp_held_locked(to);
    spin_unlock(&to->i.lock);
    while (size < TCP_RING_ACTIVE && size < limit && size < held + want)
        size *= 2;
    if (size > TCP_RING_MIN && atomic_load(&g_ring_bytes) + (size - old) > NET_BUFFER_BYTES_MAX)
        size = TCP_RING_MIN;
    if (size <= old)
        return -EAGAIN;
    char *ring = malloc(size);
    if (!ring)
        return -ENOBUFS;
    atomic_fetch_add(&g_ring_bytes, size - old);
    fmutex_lock(&to->read_lock);
    ring_replace(to, ring, size);
    fmutex_unlock(&to->read_lock);
    return 0;
}

/* What a look at the ring tells a sender. */
enum put { PUT_GO, PUT_FULL, PUT_GROW, PUT_GONE };

/* Full, or too small for @want. It grows unless its reader, another thread, has been here since it
 * was so last. to->i.lock held. */
static enum put put_no_room_locked(struct tcp_sock *to, uint32_t held, uint32_t limit, bool grow)
{
    struct task *t = task_current();
    bool active = to->size >= TCP_RING_ACTIVE && to->full_tail != to->tail &&
                  (!t || to->reader_tid != t->tid);

    to->full_tail = to->tail;
    if (grow && to->size < limit && !active)
        return PUT_GROW;
    if (held < to->size)
        return PUT_GO;
    to->cap = to->size;
    return PUT_FULL;
}

/* Where and how much to copy for up to @want bytes. PUT_GO leaves writing set. */
static enum put put_begin(struct tcp_sock *s, struct tcp_sock *to, size_t want, uint32_t limit,
                          bool grow, char **ret_at, uint32_t *ret_n)
{
    enum put r = PUT_GO;

    spin_lock(&to->i.lock);
    uint32_t held = tcp_held_locked(to);
    if (to->dead || to->peer != s || (to->rcv_shut && to->fin_sent)) {
        r = PUT_GONE; /* shut both ways it answers data with a reset, too */
    } else if (held >= limit) {
        r = PUT_FULL;
    } else if (held == to->size || (to->size < TCP_RING_ACTIVE && want > to->size - held)) {
        r = put_no_room_locked(to, held, limit, grow);
    }
    if (r == PUT_GO) {
        uint32_t off = (uint32_t)to->head & (to->size - 1);
        uint32_t n = MIN(MIN(to->size - held, limit - held), to->size - off);
        *ret_n = (uint32_t)MIN((size_t)n, want);
        *ret_at = to->ring + off;
        to->writing = true;
    }
    spin_unlock(&to->i.lock);
    return r;
}

static void put_end(struct tcp_sock *to, uint32_t n, bool urgent, char last)
{
    spin_lock(&to->i.lock);
    to->head += n;
    to->writing = false;
    if (urgent) {
        to->urgent = true;
        to->urgent_taken = false;
        to->urgent_at = to->head - 1;
        to->urgent_byte = last;
    }
    spin_unlock(&to->i.lock);
}

/* Into the ring, as much as fits. write_lock held. */
static ssize_t ring_put(struct tcp_sock *s, struct tcp_sock *to, struct uio *u, int flags)
{
    uint32_t limit = tcp_limit(s, to), n = 0;
    ssize_t done = 0, r = 0;
    bool grow = true;
    char *at = NULL;

    while (u->left) {
        enum put p = put_begin(s, to, u->left, limit, grow, &at, &n);
        if (p == PUT_GROW) {
            r = ring_grow(to, u->left, limit);
            if (r < 0 && r != -EAGAIN)
                break;
            grow = r == 0;
            continue;
        }
        if (p != PUT_GO) {
            r = p == PUT_GONE ? -EPIPE : -EAGAIN;
            s->no_space = p == PUT_FULL;
            break;
        }
        r = uio_copy_from_user(u, at, n);
        uint32_t moved = r > 0 ? (uint32_t)r : 0;
        bool urgent = (flags & MSG_OOB) && moved && !u->left;
        put_end(to, moved, urgent, urgent ? at[moved - 1] : 0);
        if (r < 0)
            break;
        done += r;
        if (moved < n)
            break;
    }
    return done ? done : r;
}

/* Why nothing can be sent: 0 it can. */
static ssize_t send_refused(struct tcp_sock *s)
{
    int err = inet_error_take(&s->i);

    if (err)
        return -err;
    if (s->state == TCP_ST_SYN_SENT)
        return -EAGAIN;
    return s->state != TCP_ST_CONNECTED || s->snd_shut ? -EPIPE : 0;
}

ssize_t tcp_send_uio(struct tcp_sock *s, struct uio *u, int flags)
{
    ssize_t r = send_refused(s);
    struct tcp_sock *to = s->peer;

    if (r || !to)
        return r ? r : -EPIPE;
    if (!u->left)
        return 0;
    fmutex_lock(&to->write_lock);
    r = ring_put(s, to, u, flags);
    fmutex_unlock(&to->write_lock);
    if (r == -EPIPE && s->peer == to) { /* into the void: the reset comes back after the send */
        r = (ssize_t)u->left;
        uio_advance(u, u->left);
        tcp_reset(s, to);
        tcp_reset(to, s);
        return r;
    }
    if (r > 0) {
        if (unlikely(to->listener))
            tcp_arrived(to);
        wake_one(&to->i.wait,
                 flags & MSG_OOB ? POLLIN | POLLRDNORM | POLLPRI : POLLIN | POLLRDNORM);
        if (unlikely(flags & MSG_OOB))
            async_urgent(&to->i.wait);
        async_notify(&to->i.wait, POLL_IN);
    }
    return r;
}

/* --- receiving --- */

/* Why there is nothing to read: 0 the end, -errno. s->i.lock held. */
static ssize_t nothing_locked(struct tcp_sock *s)
{
    if (s->fin)
        return 0;
    int err = atomic_exchange(&s->i.error, 0);
    if (err)
        return -err;
    if (s->rcv_shut)
        return 0;
    return s->state == TCP_ST_CLOSE || s->state == TCP_ST_LISTEN ? -ENOTCONN : -EAGAIN;
}

/* The next stretch to copy behind @skip bytes: its length, 0 with *ret_why. Steps over an urgent
 * byte at the tail. s->i.lock held. */
static uint32_t stretch_locked(struct tcp_sock *s, uint64_t skip, size_t want, bool first,
                               char **ret_at, ssize_t *ret_why)
{
    uint64_t from = s->tail + skip, held = s->head - from;
    bool marked = s->urgent && s->urgent_at >= from && s->urgent_at < s->head;

    if (marked && s->urgent_at == from && !first) {
        *ret_why = 0; /* a read stops before the mark */
        return 0;
    }
    if (marked && s->urgent_at == from && !inet_opt(&s->i, OPT_OOBINLINE)) {
        if (!skip) {
            s->tail++;
            s->urgent = s->urgent && !s->urgent_taken;
        }
        from++;
        held--;
        marked = false;
    }
    if (!held) {
        *ret_why = first ? nothing_locked(s) : 0; /* an error is told to who gets no data */
        return 0;
    }
    if (marked && s->urgent_at > from)
        held = MIN(held, s->urgent_at - from);
    uint32_t off = (uint32_t)from & (s->size - 1);
    *ret_at = s->ring + off;
    return (uint32_t)MIN(MIN(held, (uint64_t)s->size - off), (uint64_t)want);
}

/* @n bytes are used up; true: senders may have room now. */
static bool ring_taken(struct tcp_sock *s, const struct tcp_sock *peer, uint32_t n)
{
    struct task *t = task_current();

    spin_lock(&s->i.lock);
    bool before = peer && tcp_writable_locked(peer, s);
    s->tail += n;
    s->reader_tid = t ? t->tid : 0;
    bool after = peer && tcp_writable_locked(peer, s);
    if (s->urgent && s->urgent_at < s->tail)
        s->urgent = false;
    if (s->head == s->tail && !s->writing && !s->urgent)
        s->head = s->tail = s->full_tail = 0;
    spin_unlock(&s->i.lock);
    return after && !before;
}

/* Not enough for a caller that waits: SO_RCVLOWAT. read_lock held. */
static bool too_little(struct tcp_sock *s, size_t want, int flags)
{
    uint32_t low = (uint32_t)inet_opt(&s->i, OPT_RCVLOWAT);

    if (low <= 1 || (flags & MSG_DONTWAIT))
        return false;
    spin_lock(&s->i.lock);
    uint32_t held = tcp_held_locked(s);
    bool r =
        held && !s->rcv_shut && held < MIN((uint64_t)low, (uint64_t)want) && held < TCP_RECV_SIZE;
    spin_unlock(&s->i.lock);
    return r;
}

static ssize_t ring_get(struct tcp_sock *s, struct uio *u, int flags, bool *ret_room)
{
    struct tcp_sock *peer = s->peer;
    ssize_t done = 0, r = 0;
    bool peek = flags & MSG_PEEK, discard = flags & MSG_TRUNC;

    while (u->left) {
        char *at = NULL;
        spin_lock(&s->i.lock);
        uint32_t n = stretch_locked(s, peek ? (uint64_t)done : 0, u->left, !done, &at, &r);
        spin_unlock(&s->i.lock);
        if (!n)
            break;
        if (discard) {
            uio_advance(u, n);
            r = (ssize_t)n;
        } else {
            r = uio_copy_to_user(u, at, n);
        }
        if (r < 0)
            break;
        done += r;
        if (!peek && ring_taken(s, peer, (uint32_t)r))
            *ret_room = true;
        if ((size_t)r < n)
            break;
    }
    return done ? done : r;
}

static ssize_t receive_urgent(struct tcp_sock *s, struct uio *u, int flags, int *ret_flags)
{
    spin_lock(&s->i.lock);
    char byte = s->urgent_byte;
    bool there = s->urgent && !s->urgent_taken && !inet_opt(&s->i, OPT_OOBINLINE);
    if (there && !(flags & MSG_PEEK))
        s->urgent_taken = true;
    spin_unlock(&s->i.lock);
    if (!there)
        return -EINVAL;
    *ret_flags |= MSG_OOB;
    return u->left ? uio_copy_to_user(u, &byte, 1) : 0;
}

ssize_t tcp_receive_uio(struct tcp_sock *s, struct uio *u, int flags, int *ret_flags)
{
    bool room = false;

    if (s->state == TCP_ST_LISTEN)
        return -ENOTCONN;
    if (flags & MSG_OOB)
        return receive_urgent(s, u, flags, ret_flags);
    if (!u->left)
        return 0;
    fmutex_lock(&s->read_lock);
    ssize_t r = too_little(s, u->left, flags) ? -EAGAIN : ring_get(s, u, flags, &room);
    fmutex_unlock(&s->read_lock);
    struct tcp_sock *peer = s->peer;
    if (room && peer) {
        wake_one(&peer->i.wait, POLLOUT | POLLWRNORM);
        if (unlikely(peer->no_space) && atomic_exchange(&peer->no_space, false))
            async_notify(&peer->i.wait, POLL_OUT);
    }
    return r;
}
