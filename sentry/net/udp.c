/* SPDX-License-Identifier: Apache-2.0
 * udp.c - UDP sockets on loopback.
 *
 * A datagram is looked up by its destination and queues on the receiver, whole or not at all. A full
 * receiver (SO_RCVBUF) loses it, as a network would; nothing waits for room. Where nobody listens
 * a connected sender gets ECONNREFUSED at its next call, what an ICMP message would bring.
 *
 * The receiver's queue holds at most SO_RCVBUF, all queues at most NET_BUFFER_BYTES_MAX.
 *
 * Locks: the port table's for lookups, the receiver's for its queue; recv_lock (RANK_FILE) orders
 * receivers, who copy out of the first datagram without the spin lock. Left out: broadcast and
 * multicast (ENETUNREACH), UDP_CORK, UDP_SEGMENT. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <kernel/ktime.h>
#include <kernel/task.h>
#include <net/net.h>

#include "udp.h"

#define MSG_PROBE 0x10 /* the kernel's; libc has another name for it */

static _Atomic(uint64_t) g_queued_bytes;

uint64_t net_datagram_bytes(void)
{
    return atomic_load(&g_queued_bytes);
}

static void udp_free(struct inet_sock *s)
{
    free(inet_udp(s));
}

void datagram_free(struct datagram *d)
{
    atomic_fetch_sub(&g_queued_bytes, d->size + DATAGRAM_OVERHEAD);
    free(d);
}

/* --- names --- */

static int udp_bind(struct task *t UNUSED, struct file *f, const struct sockaddr *addr,
                    uint32_t len)
{
    struct inet_sock *s = file_inet(f);
    struct inet_name name;
    int r = inet_name_in(s->base.domain, addr, len, true, &name);

    return r ? r : port_bind(&g_udp_ports, s, &name);
}

static sysret_t udp_connect(struct call *c UNUSED, struct file *f, const struct sockaddr *addr,
                            uint32_t len)
{
    struct inet_sock *s = file_inet(f);
    struct inet_name to;

    if (len < sizeof(addr->sa_family))
        return -EINVAL;
    if (addr->sa_family == AF_UNSPEC) {
        port_disconnect(&g_udp_ports, s, true);
        return 0;
    }
    int r = inet_name_in(s->base.domain, addr, len, false, &to);
    if (!r)
        r = inet_destination(s, &to);
    if (!r)
        r = port_connect(&g_udp_ports, s, &to);
    return r == -EADDRNOTAVAIL ? -EAGAIN : r;
}

static int udp_name(struct file *f, bool peer, struct sockaddr_storage *ret)
{
    if (peer && !file_inet(f)->remote.port)
        return -ENOTCONN;
    return inet_file_name(f, peer, ret);
}

/* --- sending --- */

static struct datagram *datagram_new(struct uio *u)
{
    uint32_t size = (uint32_t)u->left;

    if (u->left > UDP_PAYLOAD_MAX)
        return ERR_PTR(-EMSGSIZE);
    if (atomic_fetch_add(&g_queued_bytes, size + DATAGRAM_OVERHEAD) > NET_BUFFER_BYTES_MAX) {
        atomic_fetch_sub(&g_queued_bytes, size + DATAGRAM_OVERHEAD);
        return ERR_PTR(-ENOBUFS);
    }
    struct datagram *d = malloc(sizeof(*d) + size);
    if (!d) {
        atomic_fetch_sub(&g_queued_bytes, size + DATAGRAM_OVERHEAD);
        return ERR_PTR(-ENOBUFS);
    }
    *d = (struct datagram){.size = size};
    list_init(&d->link);
    ssize_t r = size ? uio_copy_from_user(u, d->data, size) : 0;
    if (r >= 0 && (uint32_t)r == size)
        return d;
    datagram_free(d);
    return ERR_PTR(r < 0 ? (int)r : -EFAULT);
}

/* Takes over @d: on the queue, or lost. */
static void datagram_deliver(struct udp_sock *to, struct datagram *d)
{
    if (unlikely(to->i.wants_time))
        d->time_ns = clock_now_ns(CLOCK_REALTIME);
    spin_lock(&to->i.lock);
    bool room = !to->dead && to->queued <= to->i.recv_size;
    if (!room)
        to->drops++;
    if (inet_opt(&to->i, OPT_RXQ_OVFL))
        d->drops = to->drops;
    if (room) {
        to->queued += d->size + DATAGRAM_OVERHEAD;
        list_add_tail(&d->link, &to->queue);
    }
    spin_unlock(&to->i.lock);
    if (!room) {
        datagram_free(d);
        return;
    }
    wake_one(&to->i.wait, POLLIN | POLLRDNORM);
    async_notify(&to->i.wait, POLL_IN);
}

/* Where to: the message's destination, or the peer. */
static int send_name(struct inet_sock *s, const struct socket_msg *m, struct inet_name *ret)
{
    if (!m || !m->name_len) {
        *ret = s->remote;
        return ret->port ? 0 : -EDESTADDRREQ;
    }
    int r = inet_name_in(s->base.domain, (const struct sockaddr *)&m->name, m->name_len, true, ret);
    if (r)
        return r;
    if (!ret->port)
        return -EINVAL;
    return inet_destination(s, ret);
}

/* Nobody receives at @to: is it this socket that an ICMP message would find? */
static bool refusal_reaches(const struct udp_sock *s, const struct inet_name *to)
{
    if (s->i.remote.port)
        return s->i.remote.port == to->port && ip_equal(&s->i.remote.ip, &to->ip);
    return inet_opt(&s->i, ip_is_v4(&to->ip) ? OPT_IP_RECVERR : OPT_RECVERR6);
}

static ssize_t udp_send_msg(struct udp_sock *s, struct uio *u, const struct socket_msg *m,
                            int flags)
{
    struct inet_name to, from;
    int r = list_empty(&s->i.port_link) ? port_auto(&g_udp_ports, &s->i) : 0;

    if (!r && (flags & MSG_MORE)) /* nothing is collected, as with UDP_CORK */
        r = -EOPNOTSUPP;
    if (!r && (flags & MSG_OOB) && s->i.base.domain == AF_INET)
        r = -EOPNOTSUPP;
    if (!r && u->left > 0xffff)
        r = -EMSGSIZE;
    if (!r)
        r = send_name(&s->i, m, &to);
    if (!r && (flags & MSG_OOB) && ip_is_v4(&to.ip))
        r = -EOPNOTSUPP;
    if (!r && u->left > UDP_PAYLOAD_MAX)
        r = -EMSGSIZE;
    if (!r)
        r = -inet_error_take(&s->i);
    if (!r && s->snd_shut)
        r = -EPIPE;
    if (r)
        return r;
    struct udp_with with = {0};
    if (m)
        memcpy(&with, m->family_data, sizeof(with));
    from = s->i.local;
    if (with.has_source && ip_is_v4(&with.source) == ip_is_v4(&to.ip))
        from.ip = with.source;
    else if (ip_is_any(&from.ip) || ip_is_v4(&from.ip) != ip_is_v4(&to.ip))
        from.ip = inet_source(&to);
    if (flags & MSG_PROBE)
        return (ssize_t)u->left; /* asks only whether there is a way */
    struct datagram *d = datagram_new(u);
    if (IS_ERR(d))
        return PTR_ERR(d);
    bool v4 = ip_is_v4(&to.ip);
    d->from = from;
    d->to = to;
    d->tos = with.has_tos ? with.tos : inet_opt(&s->i, v4 ? OPT_TOS : OPT_TCLASS);
    d->ttl = with.has_ttl ? with.ttl : inet_opt(&s->i, v4 ? OPT_TTL : OPT_UNICAST_HOPS);
    if (d->ttl < 0)
        d->ttl = 64;
    d->tos = MAX(d->tos, 0);
    ssize_t n = (ssize_t)d->size;
    struct inet_sock *receiver = port_find_receiver(&g_udp_ports, &to, &from);
    if (receiver) {
        datagram_deliver(inet_udp(receiver), d);
        inet_put(receiver);
    } else {
        if (refusal_reaches(s, &to))
            udp_refused(s, d);
        else
            datagram_free(d);
    }
    return n;
}

static ssize_t udp_send(struct file *f, struct socket_msg *m, int flags)
{
    return udp_send_msg(file_udp(f), m->data, m, flags);
}

static ssize_t udp_file_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                              unsigned flags UNUSED)
{
    return udp_send_msg(file_udp(f), u, NULL, 0);
}

/* --- receiving --- */

/* The first one; with SO_PEEK_OFF the one that *offset lies in, and where. An error comes first. Shut
 * for reading, a call that would wait is told the end; another one nothing, as on Linux. */
static struct datagram *first(struct udp_sock *s, int flags, uint32_t *offset, ssize_t *ret_why)
{
    struct datagram *d, *found = NULL;

    spin_lock(&s->i.lock);
    int err = atomic_exchange(&s->i.error, 0);
    *ret_why = err ? -err : s->rcv_shut && !(flags & MSG_DONTWAIT) ? 0 : -EAGAIN;
    list_for_each_entry (d, &s->queue, link) {
        if (err)
            break;
        if ((flags & MSG_PEEK) && *offset >= d->size && (d->size || *offset || d->peeked)) {
            *offset -= d->size;
            continue;
        }
        found = d;
        break;
    }
    if (found && (flags & MSG_PEEK) && s->peek_offset >= 0)
        found->peeked = true;
    spin_unlock(&s->i.lock);
    return found;
}

/* recv_lock held. */
static ssize_t datagram_take(struct udp_sock *s, struct datagram *d, uint32_t offset, struct uio *u,
                             struct socket_msg *m, int flags)
{
    size_t n = MIN((size_t)(d->size - offset), u->left);
    ssize_t r = n ? uio_copy_to_user(u, d->data + offset, n) : 0;

    if (r >= 0) {
        r = (ssize_t)(flags & MSG_TRUNC ? d->size : n);
        if (m) {
            m->flags |= n < d->size - offset ? MSG_TRUNC : 0;
            udp_describe(s, d, m);
        }
        if (unlikely(s->peek_offset >= 0))
            s->peek_offset = flags & MSG_PEEK ? s->peek_offset + (int32_t)n
                                              : MAX(0, s->peek_offset - (int32_t)d->size);
    }
    if (!(flags & MSG_PEEK)) {
        spin_lock(&s->i.lock);
        list_del(&d->link);
        s->queued -= d->size + DATAGRAM_OVERHEAD;
        spin_unlock(&s->i.lock);
        datagram_free(d);
    }
    return r;
}

static ssize_t udp_take(struct udp_sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    ssize_t r = 0;

    fmutex_lock(&s->recv_lock);
    uint32_t offset = (uint32_t)MAX(s->peek_offset, 0);
    if (!(flags & MSG_PEEK))
        offset = 0;
    struct datagram *d = first(s, flags, &offset, &r);
    if (d)
        r = datagram_take(s, d, offset, u, m, flags);
    fmutex_unlock(&s->recv_lock);
    return r;
}

static ssize_t udp_receive(struct file *f, struct socket_msg *m, int flags)
{
    return udp_take(file_udp(f), m->data, m, flags);
}

static ssize_t udp_file_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                             unsigned flags UNUSED)
{
    return udp_take(file_udp(f), u, NULL, f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0);
}

/* --- the rest --- */

static int udp_shutdown(struct file *f, int how)
{
    struct udp_sock *s = file_udp(f);

    spin_lock(&s->i.lock);
    s->rcv_shut |= how != SHUT_WR;
    s->snd_shut |= how != SHUT_RD;
    spin_unlock(&s->i.lock);
    wake_all(&s->i.wait, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLRDHUP);
    return s->i.remote.port ? 0 : -ENOTCONN;
}

static void udp_release(struct file *f)
{
    struct udp_sock *s = file_udp(f);
    struct list_head rest = LIST_HEAD_INIT(rest);

    port_release(&g_udp_ports, &s->i);
    spin_lock(&s->i.lock);
    s->dead = true;
    list_splice_tail(&s->queue, &rest);
    list_splice_tail(&s->errors, &rest);
    s->queued = 0;
    spin_unlock(&s->i.lock);
    while (!list_empty(&rest)) {
        struct datagram *d = list_first_entry(&rest, struct datagram, link);
        list_del(&d->link);
        datagram_free(d);
    }
    inet_put(&s->i);
}

static uint32_t udp_readiness(struct file *f)
{
    struct udp_sock *s = file_udp(f);
    uint32_t ready = POLLOUT | POLLWRNORM | POLLWRBAND;

    spin_lock(&s->i.lock);
    if (!list_empty(&s->queue) || s->rcv_shut)
        ready |= POLLIN | POLLRDNORM;
    if (s->rcv_shut)
        ready |= POLLRDHUP;
    if (s->rcv_shut && s->snd_shut)
        ready |= POLLHUP;
    if (s->i.error || !list_empty(&s->errors))
        ready |= POLLERR;
    spin_unlock(&s->i.lock);
    return ready;
}

static struct wait_queue *udp_wait_queue(struct file *f)
{
    return &file_inet(f)->wait;
}

void udp_show(struct inet_sock *s, unsigned *ret_state, uint32_t *ret_tx, uint32_t *ret_rx)
{
    *ret_state = s->remote.port ? 1 : 7; /* as TCP_ESTABLISHED, TCP_CLOSE */
    *ret_tx = 0;
    *ret_rx = inet_udp(s)->queued;
}

static sysret_t udp_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct udp_sock *s = file_udp(f);
    int32_t value = 0;

    if (cmd != FIONREAD && cmd != TIOCOUTQ)
        return iface_ioctl(t, cmd, arg);
    spin_lock(&s->i.lock);
    if (cmd == FIONREAD && !list_empty(&s->queue))
        value = (int32_t)list_first_entry(&s->queue, struct datagram, link)->size;
    spin_unlock(&s->i.lock);
    return copy_out_obj(t->mm, UADDR(arg), &value);
}

static const struct socket_ops udp_socket_ops = {
    .bind = udp_bind,
    .connect = udp_connect,
    .name = udp_name,
    .send = udp_send,
    .receive = udp_receive,
    .receive_error = udp_receive_error,
    .control_in = udp_control_in,
    .control_out = udp_control_out,
    .shutdown = udp_shutdown,
    .option_get = inet_option_get,
    .option_set = inet_option_set,
};

static const struct file_ops udp_ops = {
    .name = "socket",
    .socket = &udp_socket_ops,
    .timeout_ns = socket_file_timeout_ns,
    .wait_one = POLLIN,
    .read = udp_file_read,
    .write = udp_file_write,
    .readiness = udp_readiness,
    .wait_queue = udp_wait_queue,
    .async = true,
    .ioctl = udp_ioctl,
    .getattr = socket_file_getattr,
    .release = udp_release,
};

struct file *udp_create(int domain, int protocol, int type)
{
    struct udp_sock *s = calloc(1, sizeof(*s));

    if (!s)
        return ERR_PTR(-ENOMEM);
    inet_init(&s->i, domain, SOCK_DGRAM, protocol, udp_free);
    fmutex_init(&s->recv_lock, RANK_FILE);
    list_init(&s->queue);
    list_init(&s->errors);
    s->peek_offset = -1;
    s->i.send_size = s->i.recv_size = UDP_RECV_SIZE;
    struct file *f = inet_file_new(&s->i, &udp_ops, type);
    if (IS_ERR(f))
        udp_free(&s->i);
    return f;
}
