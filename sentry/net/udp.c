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
 * multicast (ENETUNREACH), UDP_CORK, UDP_SEGMENT, error queues. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <kernel/ktime.h>
#include <kernel/task.h>
#include <net/net.h>

#include "inet.h"

#define UDP_PAYLOAD_MAX 65507u /* 65,535 without the headers */
#define DATAGRAM_OVERHEAD 768u /* charged for each beside its bytes, as Linux' sk_buff */

static _Atomic(uint64_t) g_queued_bytes;

uint64_t net_datagram_bytes(void)
{
    return atomic_load(&g_queued_bytes);
}

struct datagram {
    struct list_head link;
    struct inet_name from, to;
    int32_t tos, ttl;
    int64_t time_ns; /* CLOCK_REALTIME, when the receiver wants to know */
    uint32_t size;
    char data[];
};

struct udp_sock {
    struct inet_sock i;
    struct fmutex recv_lock;
    /* Below i.lock: */
    struct list_head queue;
    uint32_t queued; /* bytes charged */
    _Atomic(bool) rcv_shut, snd_shut, dead;
};

static struct udp_sock *file_udp(const struct file *f)
{
    return f->private_data;
}

static struct udp_sock *inet_udp(struct inet_sock *s)
{
    return container_of(s, struct udp_sock, i);
}

static void udp_free(struct inet_sock *s)
{
    free(inet_udp(s));
}

static void datagram_free(struct datagram *d)
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
        port_disconnect(&g_udp_ports, s);
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
    list_init(&d->link);
    d->size = size;
    ssize_t r = size ? uio_copy_from_user(u, d->data, size) : 0;
    if (r >= 0 && (uint32_t)r == size)
        return d;
    datagram_free(d);
    return ERR_PTR(r < 0 ? (int)r : -EFAULT);
}

/* Takes over @d: on the queue, or lost. */
static void datagram_deliver(struct udp_sock *to, struct datagram *d)
{
    if (inet_opt(&to->i, OPT_TIMESTAMP) || inet_opt(&to->i, OPT_TIMESTAMPNS))
        d->time_ns = clock_now_ns(CLOCK_REALTIME);
    spin_lock(&to->i.lock);
    bool room = !to->dead && to->queued <= to->i.recv_size;
    if (room) {
        to->queued += d->size + DATAGRAM_OVERHEAD;
        list_add_tail(&d->link, &to->queue);
    }
    spin_unlock(&to->i.lock);
    if (room)
        wake_one(&to->i.wait, POLLIN | POLLRDNORM);
    else
        datagram_free(d);
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

    if (!r && (flags & MSG_OOB))
        r = -EOPNOTSUPP;
    if (!r)
        r = -inet_error_take(&s->i);

    if (!r && s->snd_shut)
        r = -EPIPE;
    if (!r && u->left > 0xffff)
        r = -EMSGSIZE;
    if (!r)
        r = send_name(&s->i, m, &to);
    if (r)
        return r;
    from = s->i.local;
    if (ip_is_any(&from.ip))
        from.ip = inet_source(&to);
    struct datagram *d = datagram_new(u);
    if (IS_ERR(d))
        return PTR_ERR(d);
    bool v4 = ip_is_v4(&to.ip);
    d->from = from;
    d->to = to;
    d->tos = inet_opt(&s->i, v4 ? OPT_TOS : OPT_TCLASS);
    d->ttl = inet_opt(&s->i, v4 ? OPT_TTL : OPT_UNICAST_HOPS);
    if (d->ttl < 0)
        d->ttl = 64;
    ssize_t n = (ssize_t)d->size;
    struct inet_sock *receiver = port_find_receiver(&g_udp_ports, &to, &from);
    if (receiver) {
        datagram_deliver(inet_udp(receiver), d);
        inet_put(receiver);
    } else {
        datagram_free(d);
        if (refusal_reaches(s, &to)) {
            s->i.error = ECONNREFUSED;
            wake_all(&s->i.wait, POLLERR);
        }
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

/* What control_out needs of the datagram. */
struct received {
    struct in6_addr to;
    int32_t tos, ttl;
    int64_t time_ns;
};
_Static_assert(sizeof(struct received) <= sizeof(((struct socket_msg *)0)->family_data), "");

/* Shut for reading, a call that would wait is told the end; another one nothing, as on Linux. */
static struct datagram *first(struct udp_sock *s, bool wait, ssize_t *ret_why)
{
    struct datagram *d = NULL;

    spin_lock(&s->i.lock);
    int err = atomic_exchange(&s->i.error, 0);
    if (err)
        *ret_why = -err;
    else if (!list_empty(&s->queue))
        d = list_first_entry(&s->queue, struct datagram, link);
    else
        *ret_why = s->rcv_shut && wait ? 0 : -EAGAIN;
    spin_unlock(&s->i.lock);
    return d;
}

static void describe(const struct udp_sock *s, const struct datagram *d, struct socket_msg *m)
{
    struct received got = {.to = d->to.ip, .tos = d->tos, .ttl = d->ttl, .time_ns = d->time_ns};

    m->name_len = inet_name_out(s->i.base.domain, &d->from, &m->name);
    memcpy(m->family_data, &got, sizeof(got));
}

static ssize_t udp_take(struct udp_sock *s, struct uio *u, struct socket_msg *m, int flags)
{
    ssize_t r = 0;

    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    fmutex_lock(&s->recv_lock);
    struct datagram *d = first(s, !(flags & MSG_DONTWAIT), &r);
    if (d) {
        size_t n = MIN((size_t)d->size, u->left);
        r = n ? uio_copy_to_user(u, d->data, n) : 0;
        if (r >= 0) {
            r = (ssize_t)(flags & MSG_TRUNC ? d->size : n);
            if (m) {
                m->flags |= n < d->size ? MSG_TRUNC : 0;
                describe(s, d, m);
            }
        }
        if (!(flags & MSG_PEEK)) {
            spin_lock(&s->i.lock);
            list_del(&d->link);
            s->queued -= d->size + DATAGRAM_OVERHEAD;
            spin_unlock(&s->i.lock);
            datagram_free(d);
        }
    }
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

static void put_control(struct control_out *o, struct socket_msg *m, int level, int type,
                        const void *data, size_t len)
{
    if (!control_append(o, level, type, data, len))
        m->flags |= MSG_CTRUNC;
}

static void control_out_v4(struct inet_sock *s, struct socket_msg *m, const struct received *got,
                           struct control_out *o)
{
    if (inet_opt(s, OPT_IP_PKTINFO)) {
        struct in_pktinfo info = {.ipi_ifindex = LO_INDEX};
        info.ipi_addr.s_addr = info.ipi_spec_dst.s_addr = got->to.s6_addr32[3];
        put_control(o, m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    }
    if (inet_opt(s, OPT_IP_RECVTTL))
        put_control(o, m, IPPROTO_IP, IP_TTL, &got->ttl, sizeof(got->ttl));
    if (inet_opt(s, OPT_IP_RECVTOS)) {
        uint8_t tos = (uint8_t)got->tos;
        put_control(o, m, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
    }
}

static void control_out_v6(struct inet_sock *s, struct socket_msg *m, const struct received *got,
                           struct control_out *o)
{
    if (inet_opt(s, OPT_RECVPKTINFO6)) {
        struct in6_pktinfo info = {.ipi6_addr = got->to, .ipi6_ifindex = LO_INDEX};
        put_control(o, m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    if (ip_is_v4(&got->to))
        return;
    if (inet_opt(s, OPT_RECVHOPLIMIT))
        put_control(o, m, IPPROTO_IPV6, IPV6_HOPLIMIT, &got->ttl, sizeof(got->ttl));
    if (inet_opt(s, OPT_RECVTCLASS))
        put_control(o, m, IPPROTO_IPV6, IPV6_TCLASS, &got->tos, sizeof(got->tos));
}

static void udp_control_out(struct file *f, struct socket_msg *m, struct control_out *o)
{
    struct inet_sock *s = file_inet(f);
    struct received got;

    memcpy(&got, m->family_data, sizeof(got));
    if (!m->name_len)
        return;
    struct timespec ts = timespec_from_ns(got.time_ns);
    if (got.time_ns && inet_opt(s, OPT_TIMESTAMPNS)) {
        put_control(o, m, SOL_SOCKET, SCM_TIMESTAMPNS, &ts, sizeof(ts));
    } else if (got.time_ns && inet_opt(s, OPT_TIMESTAMP)) {
        ts.tv_nsec /= 1000; /* a timeval */
        put_control(o, m, SOL_SOCKET, SCM_TIMESTAMP, &ts, sizeof(ts));
    }
    if (s->base.domain == AF_INET6)
        control_out_v6(s, m, &got, o);
    if (ip_is_v4(&got.to))
        control_out_v4(s, m, &got, o);
}

/* A source address must be ours; TTL and TOS of one datagram are not carried. */
static int udp_control_in(struct file *f UNUSED, struct socket_msg *m UNUSED, int level, int type,
                          const void *data UNUSED, size_t len)
{
    if (level == SOL_SOCKET)
        return -EINVAL;
    if (level == IPPROTO_IP && type == IP_PKTINFO && len != sizeof(struct in_pktinfo))
        return -EINVAL;
    if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO && len < sizeof(struct in6_pktinfo))
        return -EINVAL;
    return 0;
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
    if (s->i.error)
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
    s->i.send_size = s->i.recv_size = UDP_RECV_SIZE;
    struct file *f = inet_file_new(&s->i, &udp_ops, type);
    if (IS_ERR(f))
        udp_free(&s->i);
    return f;
}
