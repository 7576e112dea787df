/* SPDX-License-Identifier: Apache-2.0
 * socketpair.c - connected AF_UNIX sockets: stream, datagram, sequenced packets, with descriptors
 * and credentials in their messages.
 *
 * What a socket receives queues on itself as a list of buffers; a sender reserves room on the peer,
 * copies from guest memory without a lock, then appends. Receivers take turns (recv_lock) and copy
 * out of the first buffer, which nobody else touches. A send begins only while a quarter of the
 * limit is free, which is also what POLLOUT says, and then is taken whole (datagrams) or up to the
 * limit (streams): waiting for POLLOUT always leads on.
 *
 * A pair keeps references to each other: closing drops the closer's own and its reference to the
 * peer; the struct stays until the peer is closed too.
 *
 * Guests can put sockets into their own queues and close them; such files stay until the sandbox
 * ends, bounded by SOCKET_INFLIGHT_MAX.
 *
 * Locks: recv_lock (RANK_FILE), sock.lock (RANK_OBJECT); never two sockets' locks at once.
 * Left out: MSG_OOB, SO_PEEK_OFF; names: socket_name.c. */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <kernel/task.h>

#include "socket.h"

#define STREAM_BUF_MAX 65536u      /* one buffer of a stream */
#define SOCKET_INFLIGHT_MAX 16384u /* files inside messages of the sandbox */

static _Atomic(uint32_t) g_inflight;

static const struct file_ops socket_ops;

struct sock *file_sock(const struct file *f)
{
    return f->ops == &socket_ops ? f->private_data : NULL;
}

/* --- buffers --- */

static void sock_buf_free(struct sock_buf *b)
{
    for (unsigned i = 0; i < b->file_count; i++)
        file_put(b->files[i]);
    atomic_fetch_sub(&g_inflight, b->file_count);
    free(b->files);
    free(b);
}

/* Copies of the pointers: references move only when the send has succeeded. */
static int sock_buf_attach(struct sock_buf *b, const struct socket_msg *m)
{
    if (!m->file_count)
        return 0;
    if (atomic_fetch_add(&g_inflight, m->file_count) + m->file_count > SOCKET_INFLIGHT_MAX) {
        atomic_fetch_sub(&g_inflight, m->file_count);
        return -ETOOMANYREFS;
    }
    b->files = malloc(m->file_count * sizeof(*b->files));
    if (!b->files) {
        atomic_fetch_sub(&g_inflight, m->file_count);
        return -ENOMEM;
    }
    memcpy(b->files, m->files, m->file_count * sizeof(*b->files));
    b->file_count = m->file_count;
    return 0;
}

/* The references were not given after all. */
static void sock_buf_drop(struct sock_buf *b)
{
    atomic_fetch_sub(&g_inflight, b->file_count);
    free(b->files);
    free(b);
}

static size_t sock_buf_charge(const struct sock_buf *b)
{
    return b->size + SOCK_BUF_OVERHEAD;
}

/* --- sending --- */

/* Reserve room on @to for up to @n bytes; the charge of them is added to queued. */
static ssize_t sock_reserve(struct sock *to, int type, size_t n)
{
    ssize_t r;

    spin_lock(&to->lock);
    if (to->dead)
        r = type == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE;
    else if (to->rcv_shut)
        r = -EPIPE;
    else if (type != SOCK_STREAM && n > to->limit)
        r = -EMSGSIZE;
    else if (!sock_has_room_locked(to))
        r = -EAGAIN;
    else
        r = (ssize_t)(type == SOCK_STREAM ? MIN(MIN(n, to->limit - to->queued), STREAM_BUF_MAX)
                                          : n);
    if (r >= 0)
        to->queued += (size_t)r + SOCK_BUF_OVERHEAD;
    spin_unlock(&to->lock);
    return r;
}

static void sock_unreserve(struct sock *to, size_t charge)
{
    spin_lock(&to->lock);
    to->queued -= charge;
    spin_unlock(&to->lock);
}

/* Appends b, or says why not (the other side was closed meanwhile). */
static int sock_append(struct sock *to, struct sock_buf *b, size_t reserved)
{
    int err = 0;

    spin_lock(&to->lock);
    to->queued -= reserved;
    if (to->dead || to->rcv_shut) {
        err = -EPIPE;
    } else {
        to->queued += sock_buf_charge(b);
        list_add_tail(&b->link, &to->queue);
    }
    spin_unlock(&to->lock);
    if (!err)
        wake_all(&to->wait, POLLIN | POLLRDNORM);
    return err;
}

/* One buffer of at most what fits. @m: NULL for data only. */
static ssize_t sock_send_one(struct sock *s, struct uio *u, const struct socket_msg *m, int flags)
{
    struct sock *to = s->peer;
    ssize_t n = sock_reserve(to, s->base.type, u->left);

    if (n < 0)
        return n;
    size_t reserved = (size_t)n + SOCK_BUF_OVERHEAD;
    struct sock_buf *b = malloc(sizeof(*b) + (size_t)n);
    if (!b) {
        sock_unreserve(to, reserved);
        return -ENOBUFS;
    }
    memset(b, 0, sizeof(*b));
    list_init(&b->link);
    b->cred = m && m->has_cred ? m->cred : sock_cred_of_current();
    b->end_of_record = s->base.type == SOCK_SEQPACKET && (flags & MSG_EOR);
    ssize_t r = m ? sock_buf_attach(b, m) : 0;
    if (!r && n)
        r = uio_copy_from_user(u, b->data, (size_t)n);
    if (r >= 0 && r < n && s->base.type != SOCK_STREAM)
        r = -EFAULT; /* a message goes whole or not at all */
    if (r >= 0) {
        b->size = (size_t)r;
        int err = sock_append(to, b, reserved);
        if (!err)
            return r;
        r = err;
    } else {
        sock_unreserve(to, reserved);
    }
    sock_buf_drop(b);
    return r;
}

static ssize_t sock_send(struct sock *s, struct uio *u, const struct socket_msg *m, int flags)
{
    ssize_t done = 0, r = 0;

    if (!s->peer)
        return -ENOTCONN;
    spin_lock(&s->lock);
    int err = s->error ? s->error : s->snd_shut ? EPIPE : 0;
    s->error = 0;
    spin_unlock(&s->lock);
    if (err)
        return -err;
    if (s->base.type != SOCK_STREAM)
        return sock_send_one(s, u, m, flags);
    while (u->left) {
        r = sock_send_one(s, u, m, flags);
        if (r <= 0)
            break;
        done += r;
        m = NULL; /* descriptors go with the first byte */
    }
    return done ? done : r;
}

static ssize_t unix_send(struct file *f, struct socket_msg *m, int flags)
{
    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    return sock_send(f->private_data, m->data, m->file_count || m->has_cred ? m : NULL, flags);
}

/* --- receiving --- */

/* The first buffer, or why there is none: 0 end of stream, -errno. recv_lock held. */
static struct sock_buf *sock_first(struct sock *s, ssize_t *ret_why)
{
    struct sock_buf *b = NULL;

    spin_lock(&s->lock);
    if (!list_empty(&s->queue)) {
        b = list_first_entry(&s->queue, struct sock_buf, link);
    } else if (s->error) {
        *ret_why = -s->error;
        s->error = 0;
    } else if (s->rcv_shut) {
        *ret_why = 0;
    } else if (!s->peer && s->base.type != SOCK_DGRAM) {
        *ret_why = s->base.type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
    } else {
        *ret_why = -EAGAIN;
    }
    spin_unlock(&s->lock);
    return b;
}

/* @b is used up: off the queue; senders may have room now. */
static void sock_consume(struct sock *s, struct sock_buf *b)
{
    spin_lock(&s->lock);
    bool had_room = sock_has_room_locked(s);
    list_del(&b->link);
    s->queued -= sock_buf_charge(b);
    bool room = !had_room && sock_has_room_locked(s);
    spin_unlock(&s->lock);
    if (room && s->peer)
        wake_all(&s->peer->wait, POLLOUT | POLLWRNORM);
}

/* Give the buffer's credentials and descriptors to the receiver. */
static void sock_buf_give(struct sock_buf *b, struct socket_msg *m, bool peek)
{
    if (!m)
        return;
    m->cred = b->cred;
    m->has_cred = true;
    for (unsigned i = 0; i < b->file_count; i++)
        m->files[i] = peek ? file_get(b->files[i]) : b->files[i];
    m->file_count = b->file_count;
    if (!peek) {
        atomic_fetch_sub(&g_inflight, b->file_count);
        b->file_count = 0;
    }
}

static ssize_t sock_receive_message(struct sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    ssize_t r = 0;
    struct sock_buf *b = sock_first(s, &r);

    if (!b)
        return r;
    size_t n = MIN(b->size, u->left);
    if (n)
        r = uio_copy_to_user(u, b->data, n);
    if (r >= 0) {
        r = (ssize_t)((flags & MSG_TRUNC) ? b->size : n);
        if (m)
            m->flags |= (n < b->size ? MSG_TRUNC : 0) | (b->end_of_record ? MSG_EOR : 0);
        sock_buf_give(b, m, flags & MSG_PEEK);
    }
    if (!(flags & MSG_PEEK)) {
        sock_consume(s, b);
        sock_buf_free(b);
    }
    return r;
}

static bool same_cred(const struct ucred *a, const struct ucred *b)
{
    return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

static ssize_t sock_receive_stream(struct sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    ssize_t done = 0, r = 0;
    bool had_files = false;

    while (u->left && !had_files) {
        struct sock_buf *b = sock_first(s, &r);
        if (!b || (done && b->file_count))
            break;
        if (done && m && s->pass_cred && !same_cred(&m->cred, &b->cred))
            break;
        size_t n = MIN(b->size - b->taken, u->left);
        r = n ? uio_copy_to_user(u, b->data + b->taken, n) : 0;
        if (r < 0)
            break;
        done += r;
        had_files = b->file_count;
        if (!done || b->file_count || done == r)
            sock_buf_give(b, m, flags & MSG_PEEK);
        if (flags & MSG_PEEK)
            break;
        b->taken += (size_t)r;
        if (b->taken < b->size)
            break;
        sock_consume(s, b);
        sock_buf_free(b);
    }
    return done ? done : r;
}

static ssize_t sock_receive(struct sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    fmutex_lock(&s->recv_lock);
    ssize_t r = s->base.type == SOCK_STREAM ? sock_receive_stream(s, u, m, flags)
                                            : sock_receive_message(s, u, m, flags);
    fmutex_unlock(&s->recv_lock);
    return r;
}

static ssize_t unix_receive(struct file *f, struct socket_msg *m, int flags)
{
    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    return sock_receive(f->private_data, m->data, m, flags);
}

/* --- shutdown, close --- */

void sock_shut(struct sock *s, bool rcv, bool snd, int error)
{
    spin_lock(&s->lock);
    s->rcv_shut |= rcv;
    s->snd_shut |= snd;
    if (error)
        s->error = error;
    spin_unlock(&s->lock);
    wake_all(&s->wait, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLERR | POLLRDHUP);
}

static int unix_shutdown(struct file *f, int how)
{
    struct sock *s = f->private_data;

    if (!s->peer)
        return s->base.type == SOCK_DGRAM ? 0 : -ENOTCONN;
    bool rcv = how != SHUT_WR, snd = how != SHUT_RD;
    sock_shut(s, rcv, snd, 0);
    if (s->base.type != SOCK_DGRAM)
        sock_shut(s->peer, snd, rcv, 0);
    return 0;
}

void sock_put(struct sock *s)
{
    if (s && refcount_put(&s->ref))
        free(s);
}

void sock_end(struct sock *s)
{
    struct list_head rest = LIST_HEAD_INIT(rest);

    sock_name_end(s);
    spin_lock(&s->lock);
    s->dead = true;
    bool unread = !list_empty(&s->queue);
    list_splice_tail(&s->queue, &rest);
    s->queued = 0;
    spin_unlock(&s->lock);
    if (s->peer) {
        if (s->base.type != SOCK_DGRAM)
            sock_shut(s->peer, true, true, unread ? ECONNRESET : 0);
        else
            wake_all(&s->peer->wait, POLLOUT | POLLWRNORM);
    }
    while (!list_empty(&rest)) {
        struct sock_buf *b = list_first_entry(&rest, struct sock_buf, link);
        list_del(&b->link);
        sock_buf_free(b);
    }
    sock_put(s->peer);
    sock_put(s);
}

/* --- file operations --- */

static void sock_release(struct file *f)
{
    sock_end(f->private_data);
}

static ssize_t sock_file_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                              unsigned flags UNUSED)
{
    if (!u->left)
        return 0;
    return sock_receive(f->private_data, u, NULL, 0);
}

static ssize_t sock_file_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                               unsigned flags UNUSED)
{
    return sock_send(f->private_data, u, NULL, 0);
}

static uint32_t sock_readiness(struct file *f)
{
    struct sock *s = f->private_data;
    uint32_t ready = 0;
    bool room = true;

    spin_lock(&s->lock);
    if (!list_empty(&s->queue) || s->rcv_shut)
        ready |= POLLIN | POLLRDNORM;
    if (s->rcv_shut)
        ready |= POLLRDHUP;
    if (s->listening) {
        ready = list_empty(&s->pending) ? 0 : POLLIN | POLLRDNORM;
        spin_unlock(&s->lock);
        return ready;
    }
    if ((s->rcv_shut && s->snd_shut) || (!s->peer && s->base.type == SOCK_STREAM))
        ready |= POLLHUP;
    if (s->error)
        ready |= POLLERR;
    spin_unlock(&s->lock);
    if (s->peer) {
        spin_lock(&s->peer->lock);
        room = s->peer->dead || s->peer->rcv_shut || sock_has_room_locked(s->peer);
        spin_unlock(&s->peer->lock);
    }
    return ready | (room ? POLLOUT | POLLWRNORM : 0u);
}

static struct wait_queue *sock_wait_queue(struct file *f)
{
    return &((struct sock *)f->private_data)->wait;
}

static sysret_t sock_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct sock *s = f->private_data, *queue = s;
    struct sock_buf *b;
    int32_t bytes = 0;

    if (cmd == TIOCOUTQ)
        queue = s->peer;
    else if (cmd != FIONREAD)
        return socket_interface_ioctl ? socket_interface_ioctl(t, cmd, arg) : -ENOTTY;
    if (queue) {
        spin_lock(&queue->lock);
        list_for_each_entry (b, &queue->queue, link) {
            bytes += (int32_t)(b->size - b->taken);
            if (cmd == FIONREAD && s->base.type != SOCK_STREAM)
                break;
        }
        spin_unlock(&queue->lock);
    }
    return copy_out_obj(t->mm, UADDR(arg), &bytes);
}

static const struct socket_ops unix_ops = {
    .bind = unix_bind,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .name = unix_name,
    .destination = unix_destination,
    .send = unix_send,
    .receive = unix_receive,
    .wants_cred = unix_wants_cred,
    .shutdown = unix_shutdown,
    .option_get = unix_option_get,
    .option_set = unix_option_set,
};

static const struct file_ops socket_ops = {
    .name = "socket",
    .socket = &unix_ops,
    .timeout_ns = socket_file_timeout_ns,
    .read = sock_file_read,
    .write = sock_file_write,
    .readiness = sock_readiness,
    .wait_queue = sock_wait_queue,
    .ioctl = sock_ioctl,
    .getattr = socket_file_getattr,
    .release = sock_release,
};

/* --- creation --- */

struct sock *sock_alloc(int type)
{
    struct sock *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    refcount_init(&s->ref);
    s->base.domain = AF_UNIX;
    s->base.type = type;
    s->limit = SOCKET_BUFFER_DEFAULT;
    s->recv_size = SOCKET_BUFFER_DEFAULT;
    fmutex_init(&s->recv_lock, RANK_FILE);
    spin_init(&s->lock, RANK_OBJECT);
    list_init(&s->queue);
    list_init(&s->name_link);
    list_init(&s->pending);
    wait_queue_init(&s->wait);
    return s;
}

static int socket_check(int type, int protocol)
{
    int kind = type & 0xf;

    if (protocol && protocol != AF_UNIX)
        return -EPROTONOSUPPORT;
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM && kind != SOCK_SEQPACKET && kind != SOCK_RAW)
        return -ESOCKTNOSUPPORT;
    return kind == SOCK_RAW ? SOCK_DGRAM : kind;
}

struct file *sock_file_new(struct sock *s, int type)
{
    struct file *f = file_new(&socket_ops, s, O_RDWR | (type & SOCK_NONBLOCK ? O_NONBLOCK : 0u));

    if (IS_ERR(f)) {
        sock_put(s->peer);
        sock_put(s);
    }
    return f;
}

static struct file *unix_create(int domain UNUSED, int type, int protocol)
{
    int kind = socket_check(type, protocol);

    if (kind < 0)
        return ERR_PTR(kind);
    struct sock *s = sock_alloc(kind);
    return s ? sock_file_new(s, type) : ERR_PTR(-ENOMEM);
}

static int unix_pair(int type, int protocol, struct file **ret_a, struct file **ret_b)
{
    int kind = socket_check(type, protocol);

    if (kind < 0)
        return kind;
    struct sock *a = sock_alloc(kind), *b = sock_alloc(kind);
    if (!a || !b) {
        free(a);
        free(b);
        return -ENOMEM;
    }
    a->peer = b;
    b->peer = a;
    refcount_get(&a->ref);
    refcount_get(&b->ref);
    a->peer_cred = b->peer_cred = sock_cred_of_current();
    struct file *fa = sock_file_new(a, type);
    if (IS_ERR(fa)) { /* dropped a's own reference and a's to b: b still holds one to a */
        sock_put(a);
        sock_put(b);
        return PTR_ERR(fa);
    }
    struct file *fb = sock_file_new(b, type);
    if (IS_ERR(fb)) {
        file_put(fa);
        return PTR_ERR(fb);
    }
    *ret_a = fa;
    *ret_b = fb;
    return 0;
}

const struct socket_family unix_family = {
    .domain = AF_UNIX,
    .create = unix_create,
    .pair = unix_pair,
};
