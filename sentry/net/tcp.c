/* SPDX-License-Identifier: Apache-2.0
 * tcp.c - TCP sockets on loopback, without packets: connect, shutdown, close, readiness.
 *
 * Two joined sockets know each other; bytes go straight into the peer's ring (tcp_data.c). What
 * would be a segment is a change of the peer's state:
 *
 *      FIN     peer.fin, peer.rcv_shut; when both sides have sent one both are CLOSE
 *      RST     peer.error = ECONNRESET, or EPIPE after a FIN; peer is CLOSE, shut both ways
 *
 * close() sends a FIN; with unread data, or SO_LINGER at 0, an RST. A send to a closed socket is
 * taken and answered with an RST, as if it had been on its way. Data counts as acknowledged once it
 * lies in the peer's ring, so a lingering close never waits, and there is no TIME_WAIT.
 *
 * A connect waits only for room in the listener's queue; non-blocking it is EINPROGRESS even when it
 * has come about at once, as on Linux, where the answer comes a moment later.
 *
 * Locks: one socket's lock at a time. Left out: TCP_FASTOPEN for clients, TCP_REPAIR, TCP_ULP. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <kernel/ktime.h>
#include <kernel/task.h>

#include "tcp.h"

static void tcp_free(struct inet_sock *i)
{
    struct tcp_sock *s = inet_tcp(i);

    tcp_ring_free(s);
    free(s->former);
    free(s);
    socket_leave();
}

struct tcp_sock *tcp_alloc(int domain, int protocol)
{
    if (!socket_enter())
        return NULL;
    struct tcp_sock *s = calloc(1, sizeof(*s));
    if (!s) {
        socket_leave();
        return NULL;
    }
    inet_init(&s->i, domain, SOCK_STREAM, protocol, tcp_free);
    fmutex_init(&s->read_lock, RANK_FILE);
    fmutex_init(&s->write_lock, RANK_FILE);
    s->cap = TCP_RING_MAX;
    s->i.send_size = TCP_SEND_SIZE;
    s->i.recv_size = TCP_RECV_SIZE;
    list_init(&s->pending);
    list_init(&s->syns);
    list_init(&s->deferred);
    list_init(&s->link);
    return s;
}

struct file *tcp_create(int domain, int protocol, int type)
{
    struct tcp_sock *s = tcp_alloc(domain, protocol);

    if (!s)
        return ERR_PTR(-ENOMEM);
    struct file *f = inet_file_new(&s->i, &tcp_ops, type);
    if (IS_ERR(f))
        tcp_put(s);
    return f;
}

void tcp_wake(struct tcp_sock *s)
{
    wake_all(&s->i.wait,
             POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLERR | POLLRDHUP);
}

/* --- what comes from the peer --- */

void tcp_finish(struct tcp_sock *s, const struct tcp_sock *from)
{
    spin_lock(&s->i.lock);
    bool there = s->peer == from && s->state == TCP_ST_CONNECTED;
    bool over = there && s->fin_sent;
    if (there)
        s->fin = s->rcv_shut = true;
    if (over)
        s->state = TCP_ST_CLOSE;
    spin_unlock(&s->i.lock);
    if (over)
        port_detach(&g_tcp_ports, &s->i);
    if (there && s->listener)
        tcp_arrived(s);
    if (there) {
        tcp_wake(s);
        async_notify(&s->i.wait, over ? POLL_HUP : POLL_IN);
        async_notify(&s->i.wait, POLL_IN); /* and as data that has come */
    }
}

void tcp_reset(struct tcp_sock *s, const struct tcp_sock *from)
{
    spin_lock(&s->i.lock);
    bool there = s->peer == from && s->state == TCP_ST_CONNECTED;
    if (there) {
        s->i.error = s->fin ? EPIPE : ECONNRESET;
        s->state = TCP_ST_CLOSE;
        s->rcv_shut = s->snd_shut = true;
    }
    spin_unlock(&s->i.lock);
    if (!there)
        return;
    port_detach(&g_tcp_ports, &s->i);
    tcp_wake(s);
    async_notify(&s->i.wait, POLL_ERR);
}

void tcp_fail(struct tcp_sock *s, int error)
{
    spin_lock(&s->i.lock);
    s->state = TCP_ST_CLOSE;
    s->i.error = error;
    s->rcv_shut = s->snd_shut = true;
    spin_unlock(&s->i.lock);
    port_detach(&g_tcp_ports, &s->i);
    tcp_wake(s);
    async_notify(&s->i.wait, POLL_ERR);
}

/* --- connect --- */

/* -ECONNREFUSED and the like become the socket's error; others are the call's. */
static int connect_knock(struct tcp_sock *s, const struct inet_name *to)
{
    struct inet_sock *l = port_find_listener(&g_tcp_ports, to, &s->i.local);
    int r;

    if (l) {
        r = tcp_knock(s, inet_tcp(l));
        inet_put(l);
    } else if (to->port == s->i.local.port && ip_equal(&to->ip, &s->i.local.ip)) {
        spin_lock(&s->i.lock);
        inet_get(&s->i);
        s->peer = s; /* a simultaneous open with oneself */
        s->state = TCP_ST_CONNECTED;
        spin_unlock(&s->i.lock);
        r = 0;
    } else {
        r = -ECONNREFUSED;
    }
    if (r)
        tcp_fail(s, -r);
    return 0;
}

static int connect_begin(struct tcp_sock *s, const struct sockaddr *addr, uint32_t len)
{
    struct inet_name to;
    int r = inet_name_in(s->i.base.domain, addr, len, false, &to);

    if (!r)
        r = inet_destination(&s->i, &to);
    if (r)
        return r;
    spin_lock(&s->i.lock);
    if (s->phase != PHASE_UNCONNECTED) {
        r = -EALREADY;
    } else {
        s->phase = PHASE_CONNECTING;
        s->fin_sent = s->fin = false; /* a shutdown of before stays, as on Linux */
        s->i.error = 0;
    }
    spin_unlock(&s->i.lock);
    if (r)
        return r;
    r = port_connect(&g_tcp_ports, &s->i, &to);
    if (r) {
        s->phase = PHASE_UNCONNECTED;
        return r;
    }
    return connect_knock(s, &to);
}

/* Remember the peer that is no more, for those who still look at it. */
static int former_keep(struct tcp_sock *s)
{
    if (s->former_count == TCP_FORMER_MAX)
        return -ENOBUFS;
    if (!s->former) {
        s->former = calloc(TCP_FORMER_MAX, sizeof(*s->former));
        if (!s->former)
            return -ENOBUFS;
    }
    s->former[s->former_count++] = s->peer;
    return 0;
}

/* connect(AF_UNSPEC): as if closed, and fresh again. */
static int tcp_disconnect(struct tcp_sock *s)
{
    struct tcp_sock *peer = s->peer;

    bool open = s->state != TCP_ST_CLOSE; /* else a port has gone already, or was chosen since */
    bool reset = s->state == TCP_ST_CONNECTED || s->state == TCP_ST_SYN_SENT;

    if (s->state == TCP_ST_LISTEN)
        tcp_listener_end(s);
    (void)tcp_halfway_leave(s);
    fmutex_lock(&s->write_lock);
    fmutex_lock(&s->read_lock);
    spin_lock(&s->i.lock);
    int r = peer ? former_keep(s) : 0;
    if (!r) {
        s->peer = NULL;
        s->state = TCP_ST_CLOSE;
        s->phase = PHASE_UNCONNECTED;
        s->rcv_shut = s->snd_shut = s->fin_sent = s->fin = s->urgent = false;
        s->head = s->tail = 0;
        s->i.error = reset ? ECONNRESET : 0; /* as Linux leaves it */
    }
    spin_unlock(&s->i.lock);
    fmutex_unlock(&s->read_lock);
    fmutex_unlock(&s->write_lock);
    if (r)
        return r;
    if (peer)
        tcp_reset(peer, s);
    port_disconnect(&g_tcp_ports, &s->i, open);
    tcp_wake(s);
    return 0;
}

/* The connect that has begun: where it stands. @err: what a call says that does not wait. */
static sysret_t connect_state(struct call *c, struct file *f, int err)
{
    struct tcp_sock *s = file_tcp(f);
    int64_t limit = s->i.base.send_timeout_ns;

    if (s->state == TCP_ST_SYN_SENT) {
        if (f->flags & O_NONBLOCK)
            return err;
        if (limit)
            call_deadline(c, deadline_after(limit));
        sysret_t r = call_wait_file(c, f, POLLOUT);
        return r == -ETIMEDOUT ? err : limit && r == -ERESTARTSYS ? -EINTR : r;
    }
    spin_lock(&s->i.lock);
    bool failed = s->state == TCP_ST_CLOSE && s->phase == PHASE_CONNECTING;
    int r = failed ? atomic_exchange(&s->i.error, 0) : 0;
    if (!failed)
        s->phase = PHASE_CONNECTED;
    spin_unlock(&s->i.lock);
    if (!failed)
        return 0;
    (void)tcp_disconnect(s); /* to be used again */
    return r ? -r : -ECONNABORTED;
}

static sysret_t tcp_connect(struct call *c, struct file *f, const struct sockaddr *addr,
                            uint32_t len)
{
    struct tcp_sock *s = file_tcp(f);
    bool fresh = s->phase == PHASE_UNCONNECTED;

    if (len < sizeof(addr->sa_family))
        return -EINVAL;
    if (addr->sa_family == AF_UNSPEC)
        return tcp_disconnect(s);
    if (s->phase == PHASE_CONNECTED || s->state == TCP_ST_LISTEN)
        return -EISCONN;
    if (s->phase == PHASE_DISCONNECTING)
        return -EINVAL;
    if (fresh) {
        int r = connect_begin(s, addr, len);
        if (r)
            return r;
        if (f->flags & O_NONBLOCK)
            return -EINPROGRESS;
        c->progress = 1; /* this call's own */
    }
    return connect_state(c, f, c->progress ? -EINPROGRESS : -EALREADY);
}

/* --- bind, names, sending, receiving --- */

static int tcp_bind(struct task *t UNUSED, struct file *f, const struct sockaddr *addr,
                    uint32_t len)
{
    struct tcp_sock *s = file_tcp(f);
    struct inet_name name;
    int r = inet_name_in(s->i.base.domain, addr, len, true, &name);

    if (r)
        return r;
    if (s->state != TCP_ST_CLOSE)
        return -EINVAL;
    return port_bind(&g_tcp_ports, &s->i, &name);
}

static int tcp_name(struct file *f, bool peer, struct sockaddr_storage *ret)
{
    struct tcp_sock *s = file_tcp(f);

    if (peer && s->state != TCP_ST_CONNECTED)
        return -ENOTCONN;
    return inet_file_name(f, peer, ret);
}

static int tcp_accept_name(struct file *f, struct sockaddr_storage *ret)
{
    return inet_file_name(f, true, ret);
}

static ssize_t tcp_send(struct file *f, struct socket_msg *m, int flags)
{
    struct tcp_sock *s = file_tcp(f);

    if (flags & MSG_FASTOPEN) /* as with net.ipv4.tcp_fastopen = 0 */
        return s->state == TCP_ST_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    return tcp_send_uio(s, m->data, flags);
}

static ssize_t tcp_receive(struct file *f, struct socket_msg *m, int flags)
{
    return tcp_receive_uio(file_tcp(f), m->data, flags, &m->flags);
}

static ssize_t tcp_file_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                             unsigned flags UNUSED)
{
    int ignored = 0;

    return tcp_receive_uio(file_tcp(f), u, f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0, &ignored);
}

static ssize_t tcp_file_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                              unsigned flags UNUSED)
{
    return tcp_send_uio(file_tcp(f), u, 0);
}

/* --- shutdown, close --- */

static int tcp_shutdown(struct file *f, int how)
{
    struct tcp_sock *s = file_tcp(f);
    struct tcp_sock *peer = s->peer;
    bool finish = false;

    if (s->state == TCP_ST_LISTEN) {
        if (how != SHUT_WR) {
            tcp_listener_end(s);
            s->rcv_shut = s->snd_shut = false;
        }
        tcp_wake(s);
        return 0;
    }
    if (s->state == TCP_ST_SYN_SENT && how != SHUT_WR && tcp_halfway_leave(s)) {
        tcp_fail(s, ECONNRESET);
        return 0;
    }
    spin_lock(&s->i.lock);
    int r = s->state == TCP_ST_CONNECTED ? 0 : -ENOTCONN;
    if (s->phase == PHASE_CONNECTING)
        s->phase = r ? PHASE_DISCONNECTING : PHASE_CONNECTED;
    if (how != SHUT_WR)
        s->rcv_shut = true;
    if (how != SHUT_RD) {
        finish = !r && !s->fin_sent;
        s->fin_sent |= finish;
        s->snd_shut = true;
    }
    bool over = s->fin && s->fin_sent && s->state == TCP_ST_CONNECTED;
    if (over)
        s->state = TCP_ST_CLOSE;
    spin_unlock(&s->i.lock);
    if (over)
        port_detach(&g_tcp_ports, &s->i);
    if (finish && peer)
        tcp_finish(peer, s);
    tcp_wake(s);
    return r;
}

static void former_put(struct tcp_sock *s)
{
    while (s->former_count)
        tcp_put(s->former[--s->former_count]);
}

void tcp_end(struct tcp_sock *s, bool reset)
{
    struct tcp_sock *peer = s->peer;

    (void)tcp_halfway_leave(s);
    if (s->timer_used)
        timer_cancel(&s->timer);
    spin_lock(&s->i.lock);
    s->dead = true;
    reset |= s->head != s->tail || s->i.linger_s == 0;
    bool finished = s->fin_sent;
    spin_unlock(&s->i.lock);
    if (peer && peer != s) {
        if (reset)
            tcp_reset(peer, s);
        else if (!finished)
            tcp_finish(peer, s);
        wake_all(&peer->i.wait, POLLOUT | POLLWRNORM); /* who waits for room need not */
    }
    port_release(&g_tcp_ports, &s->i);
    if (fmutex_trylock(
            &s->write_lock)) { /* else a peer is in the middle of a send: with the last reference */
        tcp_ring_free(s);
        fmutex_unlock(&s->write_lock);
    }
    former_put(s);
    tcp_put(peer);
    tcp_put(s);
}

static void tcp_release(struct file *f)
{
    struct tcp_sock *s = file_tcp(f);

    if (s->state == TCP_ST_LISTEN)
        tcp_listener_end(s);
    tcp_end(s, false);
}

/* --- readiness --- */

static uint32_t tcp_readiness(struct file *f)
{
    struct tcp_sock *s = file_tcp(f), *peer = s->peer;
    uint32_t ready = 0;

    spin_lock(&s->i.lock);
    enum tcp_state state = s->state;
    bool snd_shut = s->snd_shut;
    if (state == TCP_ST_LISTEN) {
        ready = list_empty(&s->pending) ? 0 : POLLIN | POLLRDNORM;
        spin_unlock(&s->i.lock);
        return ready;
    }
    if (s->rcv_shut)
        ready |= POLLIN | POLLRDNORM | POLLRDHUP;
    if ((s->rcv_shut && snd_shut) || state == TCP_ST_CLOSE)
        ready |= POLLHUP;
    uint32_t held = tcp_held_locked(s), low = (uint32_t)inet_opt(&s->i, OPT_RCVLOWAT);
    if (s->urgent && s->urgent_taken && s->urgent_at >= s->tail && s->urgent_at < s->head)
        held--;
    if (held && held >= MIN(low, TCP_RECV_SIZE))
        ready |= POLLIN | POLLRDNORM;
    if (s->urgent && !s->urgent_taken)
        ready |= POLLPRI;
    if (s->i.error)
        ready |= POLLERR;
    spin_unlock(&s->i.lock);
    if (state == TCP_ST_SYN_SENT)
        return ready & ~(uint32_t)(POLLIN | POLLRDNORM);
    bool room = snd_shut || !peer || state == TCP_ST_CLOSE; /* a reset comes at once */
    if (!room) {
        spin_lock(&peer->i.lock);
        room = peer->dead || tcp_writable_locked(s, peer);
        spin_unlock(&peer->i.lock);
    }
    return ready | (room ? POLLOUT | POLLWRNORM : 0u);
}

static struct wait_queue *tcp_wait_queue(struct file *f)
{
    return &file_tcp(f)->i.wait;
}

void tcp_show(struct inet_sock *i, unsigned *ret_state, uint32_t *ret_tx, uint32_t *ret_rx)
{
    struct tcp_sock *s = inet_tcp(i);

    *ret_state = tcp_state_number(s);
    *ret_tx = s->state == TCP_ST_LISTEN ? s->backlog : 0;
    *ret_rx = s->state == TCP_ST_LISTEN ? s->pending_count : tcp_held_locked(s);
}

bool tcp_is_listening(const struct inet_sock *s)
{
    return container_of(s, const struct tcp_sock, i)->state == TCP_ST_LISTEN;
}

void tcp_buffers_changed(struct inet_sock *i)
{
    wake_all(&i->wait, POLLOUT | POLLWRNORM);
}

static sysret_t tcp_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct tcp_sock *s = file_tcp(f), *peer = s->peer;
    int32_t value = 0;

    if (cmd == FIONREAD || cmd == SIOCATMARK) {
        if (cmd == FIONREAD && s->state == TCP_ST_LISTEN)
            return -EINVAL;
        spin_lock(&s->i.lock);
        uint32_t held = tcp_held_locked(s);
        bool marked = s->urgent && s->urgent_at >= s->tail && s->urgent_at < s->head;
        if (cmd == SIOCATMARK)
            value = marked && s->urgent_at == s->tail;
        else
            value = (int32_t)held - (marked && !inet_opt(&s->i, OPT_OOBINLINE));
        spin_unlock(&s->i.lock);
    } else if (cmd == TIOCOUTQ || cmd == SIOCOUTQNSD) {
        if (s->state == TCP_ST_LISTEN)
            return -EINVAL;
        (void)peer; /* what was sent has arrived */
    } else {
        return iface_ioctl(t, cmd, arg);
    }
    return copy_out_obj(t->mm, UADDR(arg), &value);
}

static const struct socket_ops tcp_socket_ops = {
    .bind = tcp_bind,
    .connect = tcp_connect,
    .listen = tcp_listen,
    .accept = tcp_accept,
    .name = tcp_name,
    .accept_name = tcp_accept_name,
    .send = tcp_send,
    .receive = tcp_receive,
    .shutdown = tcp_shutdown,
    .option_get = inet_option_get,
    .option_set = inet_option_set,
};

const struct file_ops tcp_ops = {
    .name = "socket",
    .socket = &tcp_socket_ops,
    .timeout_ns = socket_file_timeout_ns,
    .read = tcp_file_read,
    .write = tcp_file_write,
    .readiness = tcp_readiness,
    .wait_queue = tcp_wait_queue,
    .async = true,
    .ioctl = tcp_ioctl,
    .getattr = socket_file_getattr,
    .release = tcp_release,
};
