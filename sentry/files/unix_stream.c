/* SPDX-License-Identifier: Apache-2.0
 * unix_stream.c - what queues on an AF_UNIX stream.
 *
 * Bytes towards a socket lie in a list of chunks, each filled at its end and read from its start. A
 * sender copies from guest memory behind the end of the last chunk and then moves the end; a
 * receiver copies from the start of the first one; both without the spin lock, so they overlap. When
 * the last chunk runs empty it is used again from its beginning: small messages stay in one warm
 * page and nothing is allocated for them. Long sends take large chunks from a pool.
 *
 * Descriptors and credentials belong to a range of bytes: a mark. Nearly all streams have none. As on
 * Linux a receive ends behind bytes that had descriptors, and, where the receiver wants credentials,
 * before bytes of another sender.
 *
 * How much queues is bounded by the sender's send_size, of all by UNIX_BYTES_MAX; a send takes what fits, and waiting for
 * POLLOUT waits until a quarter of it is used (sock_writable), so that there are few wakes.
 *
 * Locks: the receiver's send_lock (senders) and recv_lock (receivers), RANK_FILE, one of them at a
 * time; its lock for the lists; g_pool_lock inside.
 *
 * The last byte of a send with MSG_OOB is urgent until the next such byte comes: unix_stream_receive_urgent()
 * takes it aside; else a receive ends before it and the next one passes over it, unless the receiver
 * wants it inline. */
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "unix.h"

#define CHUNK_SMALL (4096u - (uint32_t)sizeof(struct unix_chunk))
#define CHUNK_LARGE 65536u
#define POOL_MAX 64u /* large chunks kept */

static struct spin g_pool_lock = SPIN_INIT(RANK_LEAF);
static struct unix_chunk *g_pool[POOL_MAX]; /* g_pool_lock */
static unsigned g_pool_count;

static struct unix_chunk *chunk_new(size_t want)
{
    struct unix_chunk *c = NULL;
    uint32_t size = want > CHUNK_SMALL ? CHUNK_LARGE : CHUNK_SMALL;

    if (size == CHUNK_LARGE) {
        spin_lock(&g_pool_lock);
        if (g_pool_count)
            c = g_pool[--g_pool_count];
        spin_unlock(&g_pool_lock);
    }
    if (!c)
        c = malloc(sizeof(*c) + size);
    if (c) {
        unix_bytes_take(sizeof(*c) + size);
        list_init(&c->link);
        c->size = size;
        c->start = c->end = 0;
    }
    return c;
}

static void chunk_free(struct unix_chunk *c)
{
    if (c)
        unix_bytes_give(sizeof(*c) + c->size);
    if (c && c->size == CHUNK_LARGE) {
        spin_lock(&g_pool_lock);
        if (g_pool_count < POOL_MAX) {
            g_pool[g_pool_count++] = c;
            c = NULL;
        }
        spin_unlock(&g_pool_lock);
    }
    free(c);
}

void unix_pool_trim(void)
{
    struct unix_chunk *c;

    do {
        spin_lock(&g_pool_lock);
        c = g_pool_count ? g_pool[--g_pool_count] : NULL;
        spin_unlock(&g_pool_lock);
        free(c);
    } while (c);
}

static void chunks_free(struct list_head *dead)
{
    while (!list_empty(dead)) {
        struct unix_chunk *c = list_first_entry(dead, struct unix_chunk, link);
        list_del(&c->link);
        chunk_free(c);
    }
}

static void mark_free(struct unix_mark *k)
{
    if (!k)
        return;
    unix_fds_free(&k->fds);
    free(k);
}

void unix_stream_drop(struct sock *s)
{
    struct list_head chunks = LIST_HEAD_INIT(chunks), marks = LIST_HEAD_INIT(marks);

    fmutex_lock(&s->send_lock); /* nobody copies into a chunk */
    spin_lock(&s->lock);
    list_splice_tail(&s->chunks, &chunks);
    list_splice_tail(&s->marks, &marks);
    size_t unread = s->tail - s->head;
    s->head = s->tail;
    spin_unlock(&s->lock);
    fmutex_unlock(&s->send_lock);
    chunks_free(&chunks);
    if (unread && s->peer)
        sock_uncharge(s->peer, unread); /* who sent it may see room: for writing, and in SIOCOUTQ */
    while (!list_empty(&marks)) {
        struct unix_mark *k = list_first_entry(&marks, struct unix_mark, link);
        list_del(&k->link);
        mark_free(k);
    }
}

/* --- sending (the receiver's send_lock held) --- */

static int stream_may_send_locked(const struct sock *to)
{
    return to->dead || to->rcv_shut ? -EPIPE : 0;
}

/* Has @c room for them, or, if they have to stay together, for all? */
static bool chunk_fits(const struct unix_chunk *c, size_t want, bool together)
{
    size_t room = c->size - c->end;

    return together ? room >= MIN(want, (size_t)CHUNK_LARGE) : room;
}

/* Room for up to @want bytes at the end of *ret; the chunk stays while to->writing. -EPIPE,
 * -ENOBUFS. */
static ssize_t stream_reserve(struct sock *to, size_t want, bool together, struct unix_chunk **ret)
{
    struct unix_chunk *c = NULL, *fresh = NULL;
    int err;

    for (;;) {
        spin_lock(&to->lock);
        err = stream_may_send_locked(to);
        if (!list_empty(&to->chunks))
            c = list_last_entry(&to->chunks, struct unix_chunk, link);
        if (!err && (!c || !chunk_fits(c, want, together)) && fresh) {
            c = fresh;
            fresh = NULL;
            list_add_tail(&c->link, &to->chunks);
        }
        bool found = !err && c && chunk_fits(c, want, together);
        to->writing = found;
        spin_unlock(&to->lock);
        if (err || found || fresh)
            break;
        c = NULL;
        fresh = chunk_new(want);
        if (!fresh)
            return -ENOBUFS;
    }
    chunk_free(fresh);
    if (err)
        return err;
    *ret = c;
    return (ssize_t)MIN(want, (size_t)(c->size - c->end));
}

/* @n bytes are behind the end of @c; @mark covers the first of them. */
static int stream_publish(struct sock *to, struct unix_chunk *c, size_t n, struct unix_mark *mark,
                          bool urgent)
{
    if (mark && mark->fds.count)
        unix_fds_lock();
    spin_lock(&to->lock);
    to->writing = false;
    int err = n ? stream_may_send_locked(to) : 0;
    if (!err && n) {
        if (mark) {
            mark->from = to->tail;
            mark->to = to->tail + n;
            list_add_tail(&mark->link, &to->marks);
            unix_fds_enter_locked(&mark->fds);
        }
        c->end += (uint32_t)n;
        to->tail += n;
        if (unlikely(urgent)) {
            to->urgent = true;
            to->urgent_taken = false;
            to->urgent_at = to->tail - 1;
            to->urgent_byte = c->data[c->end - 1];
        }
    }
    spin_unlock(&to->lock);
    if (mark && mark->fds.count)
        unix_fds_unlock();
    return err;
}

static ssize_t stream_send_piece(struct sock *s, struct sock *to, struct uio *u,
                                 struct unix_mark **mark, int flags)
{
    struct unix_chunk *c;
    size_t charged = s->charged, size = sock_send_size(s);

    if (charged >= size) {
        s->no_space = true;
        return -EAGAIN;
    }
    ssize_t n = stream_reserve(to, MIN(u->left, size - charged), *mark, &c);
    if (n < 0)
        return n;
    ssize_t r = uio_copy_from_user(u, c->data + c->end, (size_t)n);
    size_t got = r > 0 ? (size_t)r : 0;
    atomic_fetch_add(&s->charged, got);
    bool urgent = (flags & MSG_OOB) && got && !u->left;
    int err = stream_publish(to, c, got, *mark, urgent);
    if (err) {
        atomic_fetch_sub(&s->charged, got);
        return err;
    }
    if (got) {
        *mark = NULL;
        wake_one(&to->wait, POLLIN | POLLRDNORM | (urgent ? POLLPRI : 0));
        if (unlikely(urgent))
            async_urgent(&to->wait);
        async_notify(&to->wait, POLL_IN);
    }
    return r;
}

/* The mark that what @s sends needs; NULL with 0: none. Descriptors are only with the first. */
static int stream_mark(struct sock *s, struct sock *to, const struct socket_msg *m, bool first,
                       struct unix_mark **ret)
{
    *ret = NULL;
    if (!s->pass_cred && !to->pass_cred && !(m && (m->has_cred || (first && m->file_count))))
        return 0;
    struct unix_mark *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    list_init(&k->link);
    k->cred = sock_cred_to_send(s, to, m);
    int err = first ? unix_fds_attach(&k->fds, m) : 0;
    if (err) {
        free(k);
        return err;
    }
    *ret = k;
    return 0;
}

ssize_t unix_stream_send(struct sock *s, struct uio *u, const struct socket_msg *m, int flags)
{
    struct sock *to = s->peer;
    struct unix_mark *mark;
    ssize_t done = 0, r = 0;

    if (!to)
        return -ENOTCONN;
    r = sock_send_check(s);
    if (!r)
        r = stream_mark(s, to, m, true, &mark);
    if (r)
        return r;
    fmutex_lock(&to->send_lock);
    while (u->left) {
        bool marked = mark;
        r = stream_send_piece(s, to, u, &mark, flags);
        if (r <= 0)
            break;
        done += r;
        if (marked && u->left && stream_mark(s, to, m, false, &mark))
            break;
    }
    fmutex_unlock(&to->send_lock);
    if (mark) { /* it went with nothing */
        unix_fds_abandon(&mark->fds);
        free(mark);
    }
    if (!done && !r && m) /* no byte that could carry them */
        for (unsigned i = 0; i < m->file_count; i++)
            file_put(m->files[i]);
    return done ? done : r;
}

/* --- receiving (recv_lock held) --- */

struct cursor {
    struct unix_chunk *chunk;
    uint32_t off; /* in chunk->data */
    uint64_t at;
};

/* One stretch of bytes with the same mark. false: nothing there. lock held. */
static bool stretch_find_locked(struct sock *s, struct cursor *cur, size_t *ret_n,
                                struct unix_mark **ret_mark)
{
    struct unix_mark *k;
    uint64_t end = s->tail;

    *ret_mark = NULL;
    while (cur->chunk && cur->off == cur->chunk->end && cur->at < s->tail) {
        cur->chunk = list_entry(cur->chunk->link.next, struct unix_chunk, link);
        cur->off = cur->chunk->start;
    }
    if (cur->at == s->tail)
        return false;
    list_for_each_entry (k, &s->marks, link) {
        if (k->to <= cur->at)
            continue;
        end = k->from > cur->at ? k->from : k->to;
        *ret_mark = k->from > cur->at ? NULL : k;
        break;
    }
    if (unlikely(s->urgent) && s->urgent_at > cur->at)
        end = MIN(end, s->urgent_at);
    *ret_n = MIN((size_t)(end - cur->at), (size_t)(cur->chunk->end - cur->off));
    return true;
}

/* Why there is nothing: 0 end of stream, -errno. lock held. */
static ssize_t stream_empty_locked(struct sock *s)
{
    if (s->error) {
        int err = s->error;
        s->error = 0;
        return -err;
    }
    return s->rcv_shut ? 0 : -EAGAIN;
}

static void cursor_begin_locked(struct sock *s, struct cursor *cur)
{
    cur->chunk =
        list_empty(&s->chunks) ? NULL : list_first_entry(&s->chunks, struct unix_chunk, link);
    cur->off = cur->chunk ? cur->chunk->start : 0;
    cur->at = s->head;
}

/* Chunks in front of @c are empty: they were passed over. */
static void chunks_before_locked(struct sock *s, struct unix_chunk *c, struct list_head *dead)
{
    while (s->chunks.next != &c->link) {
        struct unix_chunk *old = list_first_entry(&s->chunks, struct unix_chunk, link);
        list_del(&old->link);
        list_add(&old->link, dead);
    }
}

/* @n bytes at the start of @c are used up. What became free: @dead (chunks), *ret_mark. */
static void stream_consume(struct sock *s, struct unix_chunk *c, size_t n, struct list_head *dead,
                           struct unix_mark **ret_mark)
{
    *ret_mark = NULL;
    spin_lock(&s->lock);
    chunks_before_locked(s, c, dead);
    c->start += (uint32_t)n;
    s->head += n;
    if (c->start == c->end) {
        bool last = c->link.next == &s->chunks;
        if (!last || (c->size == CHUNK_LARGE && !s->writing)) {
            list_del(&c->link);
            list_add(&c->link, dead);
        } else if (!s->writing) {
            c->start = c->end = 0;
        }
    }
    if (!list_empty(&s->marks)) {
        struct unix_mark *k = list_first_entry(&s->marks, struct unix_mark, link);
        if (k->to <= s->head) {
            list_del(&k->link);
            *ret_mark = k;
        }
    }
    spin_unlock(&s->lock);
    if (s->peer)
        sock_uncharge(s->peer, n);
}

static bool cred_same(const struct ucred *a, const struct ucred *b)
{
    return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/* May the next stretch be glued to what has been taken? Notes its credentials. */
static bool stretch_fits(struct sock *s, struct socket_msg *m, const struct unix_mark *k)
{
    static const struct ucred none = {.pid = 0, .uid = 65534, .gid = 65534};
    const struct ucred *c = k ? &k->cred : &none;

    if (!m || !s->pass_cred)
        return true;
    if (m->has_cred)
        return cred_same(&m->cred, c);
    m->cred = *c;
    m->has_cred = true;
    return true;
}

/* A receive is at the urgent byte: does it go on? Then it takes it as a byte like others. */
static bool urgent_begins_locked(struct sock *s, bool first, bool peek)
{
    if (!first)
        return false;
    if (!peek)
        s->urgent = false;
    return true;
}

/* A receive that begins at an urgent byte passes over it, if it was taken aside or is not wanted. */
static void urgent_pass(struct sock *s, bool peek, struct cursor *cur)
{
    struct list_head chunks = LIST_HEAD_INIT(chunks);
    struct unix_mark *k, *dead = NULL;
    size_t n;

    spin_lock(&s->lock);
    if (!peek)
        cursor_begin_locked(s, cur);
    bool pass = s->urgent && s->urgent_at == cur->at && (s->urgent_taken || !unix_oob_inline(s)) &&
                stretch_find_locked(s, cur, &n, &k);
    if (pass && !peek)
        s->urgent = false;
    spin_unlock(&s->lock);
    if (!pass)
        return;
    if (peek) {
        cur->off++;
        cur->at++;
        return;
    }
    stream_consume(s, cur->chunk, 1, &chunks, &dead);
    chunks_free(&chunks);
    mark_free(dead);
}

ssize_t unix_stream_receive_urgent(struct sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    spin_lock(&s->lock);
    char byte = s->urgent_byte;
    bool there = s->urgent && !s->urgent_taken && !unix_oob_inline(s);
    if (there && !(flags & MSG_PEEK))
        s->urgent_taken = true;
    spin_unlock(&s->lock);
    if (!there)
        return -EINVAL;
    m->flags |= MSG_OOB;
    return u->left ? uio_copy_to_user(u, &byte, 1) : 0;
}

/* One stretch, copied and used up or passed by. Bytes; 0: stop here; -errno with nothing taken. */
static ssize_t stretch_take(struct sock *s, struct uio *u, struct socket_msg *m, bool peek,
                            bool first, struct cursor *cur, bool *ret_stop)
{
    struct list_head chunks = LIST_HEAD_INIT(chunks);
    struct unix_mark *k, *dead;
    size_t n;

    spin_lock(&s->lock);
    if (!peek)
        cursor_begin_locked(s, cur);
    bool there = stretch_find_locked(s, cur, &n, &k);
    ssize_t why = there || !first ? 0 : stream_empty_locked(s);
    bool mark = there && unlikely(s->urgent) && s->urgent_at == cur->at &&
                !urgent_begins_locked(s, first, peek);
    spin_unlock(&s->lock);
    if (!there || mark || !stretch_fits(s, m, k)) {
        *ret_stop = true;
        return why;
    }
    if (m && first)
        unix_name_copy(s->peer, m);
    n = MIN(n, u->left);
    ssize_t r = n ? uio_copy_to_user(u, cur->chunk->data + cur->off, n) : 0;
    if (r < 0)
        return r;
    if (k && k->fds.count && m) {
        unix_fds_give(&k->fds, m, peek);
        *ret_stop = true;
    } else if (k && k->fds.count && !peek) {
        unix_fds_free(&k->fds); /* read() does not take them */
        *ret_stop = true;
    }
    cur->off += (uint32_t)r;
    cur->at += (uint64_t)r;
    if (!peek) {
        stream_consume(s, cur->chunk, (size_t)r, &chunks, &dead);
        chunks_free(&chunks);
        mark_free(dead);
    }
    *ret_stop |= (size_t)r < n;
    return r;
}

/* Pass by @skip bytes (SO_PEEK_OFF). */
static void cursor_skip(struct sock *s, struct cursor *cur, size_t skip)
{
    struct unix_mark *k;
    size_t n;

    spin_lock(&s->lock);
    cursor_begin_locked(s, cur);
    while (skip && stretch_find_locked(s, cur, &n, &k)) {
        n = MIN(n, skip);
        cur->off += (uint32_t)n;
        cur->at += n;
        skip -= n;
    }
    spin_unlock(&s->lock);
}

/* A look ahead does not stop where the buffer is full: it tells the next descriptors, as Linux'. */
static void peek_fds_ahead(struct sock *s, struct socket_msg *m, uint64_t at)
{
    struct unix_mark *k, *found = NULL;

    spin_lock(&s->lock);
    list_for_each_entry (k, &s->marks, link) {
        if (k->to > at && k->fds.count) {
            found = k;
            break;
        }
    }
    spin_unlock(&s->lock);
    if (found)
        unix_fds_give(&found->fds, m, true);
}

ssize_t unix_stream_receive(struct sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    struct cursor cur = {0};
    bool peek = flags & MSG_PEEK, stop = false;
    ssize_t done = 0, r = 0;

    if (!s->peer)
        return -EINVAL;
    fmutex_lock(&s->recv_lock);
    int32_t offset = s->peek_offset;
    if (peek)
        cursor_skip(s, &cur, offset > 0 ? (size_t)offset : 0);
    if (unlikely(s->urgent))
        urgent_pass(s, peek, &cur);
    do {
        r = stretch_take(s, u, m, peek, !done, &cur, &stop);
        if (r <= 0)
            break;
        done += r;
    } while (u->left && !stop);
    if (peek && m && !m->file_count && done && !u->left)
        peek_fds_ahead(s, m, cur.at);
    if (offset >= 0 && done)
        s->peek_offset = peek ? offset + (int32_t)done : MAX(0, offset - (int32_t)done);
    fmutex_unlock(&s->recv_lock);
    return done ? done : r;
}
