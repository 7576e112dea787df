/* SPDX-License-Identifier: Apache-2.0
 * unix.c - AF_UNIX sockets as files: creation, reading and writing, readiness, shutdown, the end.
 *
 * What is sent queues on the receiver: bytes of streams in unix_stream.c, datagrams and packets in
 * unix_message.c, descriptors in both in unix_fds.c; names in unix_name.c. A sender is charged for what
 * it has sent and nobody has received, and may send while that is below its send_size.
 *
 * The two ends of a connection keep references to each other: closing drops the closer's own and its
 * reference to the peer; the struct stays until the peer is closed too.
 *
 * Who may lie: guests, with lengths, addresses, names and the order of things.
 * Locks: recv_lock, send_lock (RANK_FILE), sock.lock (RANK_OBJECT), one socket's at a time; where two
 * are held, unix_fds.c says so. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <kernel/ktime.h>
#include <kernel/task.h>

#include "unix.h"

static const struct file_ops stream_file_ops, message_file_ops;

struct sock *file_sock(const struct file *f)
{
    return f->private_data;
}

struct ucred sock_cred_of_current(void)
{
    struct task *t = task_current();
    struct ucred c = {0};

    if (t) {
        c.pid = t->process->pid;
        c.uid = t->cred->euid;
        c.gid = t->cred->egid;
    }
    return c;
}

/* With data go the real ids, and 65534 where nobody asked for any. */
struct ucred sock_cred_to_send(const struct sock *s, const struct sock *to,
                               const struct socket_msg *m)
{
    struct task *t = task_current();

    if (m && m->has_cred)
        return m->cred;
    if (!t || (!s->pass_cred && !to->pass_cred))
        return (struct ucred){.pid = 0, .uid = 65534, .gid = 65534};
    return (struct ucred){.pid = t->process->pid, .uid = t->cred->uid, .gid = t->cred->gid};
}

int sock_send_check(struct sock *s)
{
    bool stream = s->base.type == SOCK_STREAM;

    spin_lock(&s->lock);
    int err = stream && s->snd_shut ? 0 : s->error; /* a stream keeps it for the receiver */
    if (err)
        s->error = 0;
    else if (s->snd_shut)
        err = EPIPE;
    spin_unlock(&s->lock);
    return -err;
}

static _Atomic(size_t) g_bytes;
static _Atomic(bool)
    g_was_short; /* since then senders may wait although their buffers are not full */

void unix_bytes_take(size_t n)
{
    if (unlikely(atomic_fetch_add(&g_bytes, n) + n > UNIX_BYTES_MAX))
        atomic_store(&g_was_short, true);
}

void unix_bytes_give(size_t n)
{
    atomic_fetch_sub(&g_bytes, n);
}

uint64_t unix_bytes(void)
{
    return atomic_load(&g_bytes);
}

bool unix_bytes_short(void)
{
    return atomic_load_explicit(&g_bytes, memory_order_relaxed) > UNIX_BYTES_MAX;
}

static bool becomes_writable(size_t before, size_t after, uint32_t size)
{
    return before * 4 > size && after * 4 <= size;
}

void sock_uncharge(struct sock *s, size_t n)
{
    size_t before = atomic_fetch_sub(&s->charged, n);

    if (becomes_writable(before, before - n, s->send_size) ||
        (unlikely(atomic_load_explicit(&g_was_short, memory_order_relaxed)) &&
         becomes_writable(before, before - n, UNIX_BYTES_EACH)))
        wake_one(&s->wait, POLLOUT | POLLWRNORM);
    if (unlikely(s->no_space) && (before - n) * 4 <= s->send_size &&
        atomic_exchange(&s->no_space, false))
        async_notify(&s->wait, POLL_OUT);
}

/* --- sending and receiving --- */

static ssize_t unix_send(struct file *f, struct socket_msg *m, int flags)
{
    struct sock *s = file_sock(f), *full = NULL;

    if ((flags & MSG_OOB) && (s->base.type != SOCK_STREAM || !m->data->left))
        return -EOPNOTSUPP;
    if (s->base.type == SOCK_STREAM)
        return unix_stream_send(s, m->data, m, flags);
    ssize_t r = unix_message_send(s, m->data, m, &full);
    if (full && (flags & MSG_DONTWAIT))
        sock_put(full);
    else /* a reference for unix_send_wait, which follows */
        m->family_data[0] = (uintptr_t)full;
    return r;
}

static void sock_put_ref(void *ref)
{
    sock_put(ref);
}

/* The buffer of the sender is full, or the queue of the receiver. */
static sysret_t unix_send_wait(struct call *c, struct file *f, struct socket_msg *m)
{
    struct sock *s = file_sock(f), *full = (struct sock *)(uintptr_t)m->family_data[0];

    if (!full)
        return call_wait_file(c, f, POLLOUT);
    m->family_data[0] = 0;
    int err = call_arm_ref(c, &full->room_wait, POLLOUT, full, sock_put_ref);
    if (err)
        return err;
    return unix_message_full(s, full) ? call_wait_armed(c) : call_run_again(c);
}

static ssize_t unix_receive(struct file *f, struct socket_msg *m, int flags)
{
    struct sock *s = file_sock(f);

    if (flags & MSG_OOB)
        return s->base.type == SOCK_STREAM ? unix_stream_receive_urgent(s, m->data, m, flags)
                                           : -EOPNOTSUPP;
    return s->base.type == SOCK_STREAM ? unix_stream_receive(s, m->data, m, flags)
                                       : unix_message_receive(s, m->data, m, flags);
}

static int read_flags(const struct file *f)
{
    return f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0;
}

static ssize_t stream_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                           unsigned flags UNUSED)
{
    return u->left ? unix_stream_receive(f->private_data, u, NULL, read_flags(f)) : 0;
}

static ssize_t stream_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                            unsigned flags UNUSED)
{
    return unix_stream_send(f->private_data, u, NULL, 0);
}

static ssize_t message_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                            unsigned flags UNUSED)
{
    return u->left ? unix_message_receive(f->private_data, u, NULL, read_flags(f)) : 0;
}

static ssize_t message_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                             unsigned flags UNUSED)
{
    struct sock *full = NULL;
    ssize_t r = unix_message_send(f->private_data, u, NULL, &full);

    sock_put(full); /* the peer's: readiness knows */
    return r;
}

/* --- readiness --- */

static uint32_t listener_readiness_locked(const struct sock *s)
{
    uint32_t ready = list_empty(&s->pending) ? 0 : POLLIN | POLLRDNORM;

    return ready | (s->rcv_shut ? POLLIN | POLLRDNORM | POLLRDHUP : 0u) |
           (s->rcv_shut && s->snd_shut ? POLLHUP : 0u);
}

/* Can a datagram socket send to the one it is connected to? */
static bool dgram_has_place(struct sock *s)
{
    struct sock *peer = s->base.type == SOCK_DGRAM ? sock_peer_get(s) : NULL;
    bool full = peer && unix_message_full(s, peer);

    sock_put(peer);
    return !full;
}

static uint32_t sock_readiness(struct file *f)
{
    struct sock *s = f->private_data;
    uint32_t ready = 0;

    spin_lock(&s->lock);
    if (s->listening) {
        ready = listener_readiness_locked(s);
        spin_unlock(&s->lock);
        return ready;
    }
    if (s->head != s->tail || !list_empty(&s->messages) || s->rcv_shut)
        ready |= POLLIN | POLLRDNORM;
    if (s->rcv_shut)
        ready |= POLLRDHUP;
    if (unlikely(s->urgent) && !s->urgent_taken)
        ready |= POLLPRI;
    if ((s->rcv_shut && s->snd_shut) || (!s->peer && s->base.type != SOCK_DGRAM))
        ready |= POLLHUP;
    if (s->error)
        ready |= POLLERR;
    spin_unlock(&s->lock);
    if (sock_writable(s) && dgram_has_place(s))
        ready |= POLLOUT | POLLWRNORM | POLLWRBAND;
    return ready;
}

static struct wait_queue *sock_wait_queue(struct file *f)
{
    return &((struct sock *)f->private_data)->wait;
}

/* Bytes to read: all of a connection, the next datagram's. */
int32_t sock_bytes_queued_locked(const struct sock *s)
{
    struct unix_message *b;
    uint64_t bytes = s->tail - s->head;

    list_for_each_entry (b, &s->messages, link) {
        bytes += b->size;
        if (s->base.type == SOCK_DGRAM)
            break;
    }
    return (int32_t)MIN(bytes, (uint64_t)INT32_MAX);
}

static sysret_t sock_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct sock *s = f->private_data;
    int32_t bytes = (int32_t)s->charged;
    bool mark = cmd == SIOCATMARK && s->base.type == SOCK_STREAM;

    if (cmd != FIONREAD && cmd != TIOCOUTQ && !mark)
        return socket_interface_ioctl ? socket_interface_ioctl(t, cmd, arg) : -ENOTTY;
    spin_lock(&s->lock);
    bool listening = s->listening, at_mark = s->urgent && s->urgent_at == s->head;
    if (cmd == FIONREAD)
        bytes = sock_bytes_queued_locked(s);
    spin_unlock(&s->lock);
    if (mark)
        bytes = at_mark;
    if (cmd == FIONREAD && listening)
        return -EINVAL;
    return copy_out_obj(t->mm, UADDR(arg), &bytes);
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
    if (rcv)
        wake_all(&s->room_wait, POLLOUT); /* who waited for room will not get any */
}

static int unix_shutdown(struct file *f, int how)
{
    struct sock *s = f->private_data;
    bool rcv = how != SHUT_WR, snd = how != SHUT_RD;

    sock_shut(s, rcv, snd, 0);
    if (s->base.type != SOCK_DGRAM && s->peer) {
        sock_shut(s->peer, snd, rcv, 0);
        if (snd)
            async_notify(&s->peer->wait, rcv ? POLL_HUP : POLL_IN);
    }
    return 0;
}

void sock_put(struct sock *s)
{
    if (s && refcount_put(&s->ref)) {
        unix_list_remove(s);
        free(s);
        socket_leave();
    }
}

/* An empty message alone does not count. */
static bool messages_unread_locked(const struct sock *s)
{
    if (list_empty(&s->messages))
        return false;
    return s->message_count > 1 || list_first_entry(&s->messages, struct unix_message, link)->size;
}

void sock_end(struct sock *s)
{
    unix_list_remove(s);
    sock_name_end(s);
    spin_lock(&s->lock);
    s->dead = true;
    s->file = NULL;
    bool unread = s->head != s->tail || messages_unread_locked(s);
    spin_unlock(&s->lock);
    if (s->base.type == SOCK_DGRAM)
        (void)unix_dgram_connect(s, NULL);
    else if (s->peer)
        sock_shut(s->peer, true, true, unread ? ECONNRESET : 0);
    if (s->base.type != SOCK_DGRAM && s->peer)
        async_notify(&s->peer->wait, POLL_HUP);
    unix_stream_drop(s);
    (void)unix_message_drop(s);
    if (s->base.type != SOCK_DGRAM)
        sock_put(s->peer);
    sock_put(s);
}

static void sock_release(struct file *f)
{
    sock_end(f->private_data);
    unix_fds_collect();
}

static const struct socket_ops unix_ops = {
    .bind = unix_bind,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .name = unix_name,
    .destination = unix_destination,
    .send = unix_send,
    .send_wait = unix_send_wait,
    .receive = unix_receive,
    .wants_cred = unix_wants_cred,
    .control_out = unix_control_out,
    .shutdown = unix_shutdown,
    .option_get = unix_option_get,
    .option_set = unix_option_set,
};

static const struct file_ops stream_file_ops = {
    .name = "socket",
    .socket = &unix_ops,
    .timeout_ns = socket_file_timeout_ns,
    .read = stream_read,
    .write = stream_write,
    .readiness = sock_readiness,
    .wait_queue = sock_wait_queue,
    .async = true,
    .ioctl = sock_ioctl,
    .getattr = socket_file_getattr,
    .release = sock_release,
};

static const struct file_ops message_file_ops = {
    .name = "socket",
    .socket = &unix_ops,
    .timeout_ns = socket_file_timeout_ns,
    .wait_one = POLLIN,
    .read = message_read,
    .write = message_write,
    .no_sigpipe = true,
    .readiness = sock_readiness,
    .wait_queue = sock_wait_queue,
    .async = true,
    .ioctl = sock_ioctl,
    .getattr = socket_file_getattr,
    .release = sock_release,
};

/* --- creation --- */

struct sock *sock_alloc(int type)
{
    if (!socket_enter())
        return NULL;
    struct sock *s = calloc(1, sizeof(*s));
    if (!s) {
        socket_leave();
        return NULL;
    }
    refcount_init(&s->ref);
    s->base.domain = AF_UNIX;
    s->base.type = type;
    s->send_size = SOCKET_BUFFER_DEFAULT;
    s->recv_size = SOCKET_BUFFER_DEFAULT;
    s->low_water = 1;
    s->peek_offset = -1;
    s->peer_cred = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    fmutex_init(&s->recv_lock, RANK_FILE);
    fmutex_init(&s->send_lock, RANK_FILE);
    spin_init(&s->lock, RANK_OBJECT);
    list_init(&s->messages);
    list_init(&s->chunks);
    list_init(&s->marks);
    list_init(&s->flight_link);
    list_init(&s->name_link);
    list_init(&s->pending);
    wait_queue_init(&s->wait);
    wait_queue_init(&s->room_wait);
    list_init(&s->all_link);
    unix_list_add(s);
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
    struct file *f = file_new(s->base.type == SOCK_STREAM ? &stream_file_ops : &message_file_ops, s,
                              O_RDWR | (type & SOCK_NONBLOCK ? O_NONBLOCK : 0u));

    if (IS_ERR(f)) {
        sock_end(s);
        return f;
    }
    spin_lock(&s->lock);
    s->file = f;
    s->ino = f->ino;
    spin_unlock(&s->lock);
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

/* Each the other's peer. */
static void pair_join(struct sock *a, struct sock *b)
{
    refcount_get(&a->ref);
    refcount_get(&b->ref);
    a->peer_cred = b->peer_cred = sock_cred_of_current();
    if (a->base.type == SOCK_DGRAM) {
        (void)unix_dgram_connect(a, b);
        (void)unix_dgram_connect(b, a);
    } else {
        a->peer = b;
        b->peer = a;
    }
}

static int unix_pair(int type, int protocol, struct file **ret_a, struct file **ret_b)
{
    struct file *fa = unix_create(AF_UNIX, type, protocol);

    if (IS_ERR(fa))
        return PTR_ERR(fa);
    struct file *fb = unix_create(AF_UNIX, type, protocol);
    if (IS_ERR(fb)) {
        file_put(fa);
        return PTR_ERR(fb);
    }
    pair_join(file_sock(fa), file_sock(fb));
    *ret_a = fa;
    *ret_b = fb;
    return 0;
}

const struct socket_family unix_family = {
    .domain = AF_UNIX,
    .create = unix_create,
    .pair = unix_pair,
};
