/* SPDX-License-Identifier: Apache-2.0
 * udp_msg.c - what comes beside datagrams: control messages of both directions, datagrams that came back.
 *
 * A datagram that nobody receives comes back to its sender's error queue if it asked for that
 * (IP_RECVERR), with what an ICMP message would have said. It counts against SO_RCVBUF like others.
 *
 * Guests give control messages; they were copied and each length is checked. Lock: the socket's.
 * Left out: UDP_SEGMENT, times of sending. */
#include <time.h>

#include <linux/errqueue.h>
#include <linux/icmpv6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

#include <kernel/ktime.h>

#include "udp.h"

/* What control_out needs of the datagram. */
struct received {
    struct inet_name to;
    int32_t tos, ttl;
    int64_t time_ns;
    uint32_t drops;
    uint8_t err, err_type, err_code; /* it came back */
    bool there;
};
_Static_assert(sizeof(struct received) <= sizeof(((struct socket_msg *)0)->family_data), "");

/* --- sending --- */

static int take_int(const void *data, size_t len, int32_t least, int32_t most, int32_t *ret)
{
    if (len != sizeof(*ret))
        return -EINVAL;
    memcpy(ret, data, sizeof(*ret));
    return *ret < least || *ret > most ? -EINVAL : 0;
}

static int take_source(struct udp_with *w, const struct in6_addr *ip, int32_t ifindex)
{
    if (ifindex && ifindex != LO_INDEX)
        return -ENODEV;
    if (ip_is_any(ip))
        return 0;
    w->has_source = true;
    w->source = *ip;
    return ip_is_local(ip) ? 0 : -EINVAL;
}

static int control_in_v4(struct udp_with *w, int type, const void *data, size_t len)
{
    struct in_pktinfo info;
    struct in6_addr ip = {0};

    switch (type) {
    case IP_TTL:
        w->has_ttl = true;
        return take_int(data, len, 1, 255, &w->ttl);
    case IP_TOS:
        w->has_tos = true;
        if (len != sizeof(uint8_t))
            return take_int(data, len, 0, 255, &w->tos);
        w->tos = *(const uint8_t *)data;
        return 0;
    case IP_PKTINFO:
        if (len != sizeof(info))
            return -EINVAL;
        memcpy(&info, data, sizeof(info));
        ip.s6_addr32[2] = htonl(0xffff);
        ip.s6_addr32[3] = info.ipi_spec_dst.s_addr;
        return take_source(w, &ip, info.ipi_ifindex);
    default:
        return -EINVAL;
    }
}

static int control_in_v6(struct udp_with *w, int type, const void *data, size_t len)
{
    struct in6_pktinfo info;
    int32_t ignored;

    switch (type) {
    case IPV6_HOPLIMIT:
        w->has_ttl = true;
        return take_int(data, len, -1, 255, &w->ttl);
    case IPV6_TCLASS:
        w->has_tos = true;
        return take_int(data, len, -1, 255, &w->tos);
    case IPV6_DONTFRAG: /* nothing is */
        return take_int(data, len, 0, 1, &ignored);
    case IPV6_PKTINFO:
        if (len < sizeof(info))
            return -EINVAL;
        memcpy(&info, data, sizeof(info));
        return take_source(w, &info.ipi6_addr, (int32_t)info.ipi6_ifindex);
    default:
        return -EINVAL;
    }
}

int udp_control_in(struct file *f, struct socket_msg *m, int level, int type, const void *data,
                   size_t len)
{
    bool v6 = file_inet(f)->base.domain == AF_INET6;
    struct udp_with w;
    int r = 0;

    memcpy(&w, m->family_data, sizeof(w));
    if (level == SOL_SOCKET)
        r = type == SCM_RIGHTS || type == SCM_CREDENTIALS ? 0 : -EINVAL;
    else if (level == IPPROTO_UDP)
        r = -EINVAL;
    else if (level == IPPROTO_IP)
        r = control_in_v4(&w, type, data, len);
    else if (level == IPPROTO_IPV6 && v6)
        r = control_in_v6(&w, type, data, len);
    memcpy(m->family_data, &w, sizeof(w));
    return r;
}

/* --- receiving --- */

void udp_describe(const struct udp_sock *s, const struct datagram *d, struct socket_msg *m)
{
    struct received got = {.to = d->to,
                           .tos = d->tos,
                           .ttl = d->ttl,
                           .time_ns = d->time_ns,
                           .drops = d->drops,
                           .err = d->err,
                           .err_type = d->err_type,
                           .err_code = d->err_code,
                           .there = true};

    m->name_len = inet_name_out(s->i.base.domain, &d->from, &m->name);
    memcpy(m->family_data, &got, sizeof(got));
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
        info.ipi_addr.s_addr = info.ipi_spec_dst.s_addr = got->to.ip.s6_addr32[3];
        put_control(o, m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    }
    if (inet_opt(s, OPT_IP_RECVTTL))
        put_control(o, m, IPPROTO_IP, IP_TTL, &got->ttl, sizeof(got->ttl));
    if (inet_opt(s, OPT_IP_RECVTOS)) {
        uint8_t tos = (uint8_t)got->tos;
        put_control(o, m, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
    }
    if (inet_opt(s, OPT_IP_RECVORIGDST)) {
        struct sockaddr_storage to;
        uint32_t len = inet_name_out(AF_INET, &got->to, &to);
        put_control(o, m, IPPROTO_IP, IP_ORIGDSTADDR, &to, len);
    }
}

static void control_out_v6(struct inet_sock *s, struct socket_msg *m, const struct received *got,
                           struct control_out *o)
{
    if (inet_opt(s, OPT_RECVPKTINFO6)) {
        struct in6_pktinfo info = {.ipi6_addr = got->to.ip, .ipi6_ifindex = LO_INDEX};
        put_control(o, m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    if (ip_is_v4(&got->to.ip))
        return;
    if (inet_opt(s, OPT_RECVHOPLIMIT))
        put_control(o, m, IPPROTO_IPV6, IPV6_HOPLIMIT, &got->ttl, sizeof(got->ttl));
    if (inet_opt(s, OPT_RECVTCLASS))
        put_control(o, m, IPPROTO_IPV6, IPV6_TCLASS, &got->tos, sizeof(got->tos));
}

/* Who said so is the destination itself. */
static void control_out_error(struct inet_sock *s, struct socket_msg *m, const struct received *got,
                              struct control_out *o)
{
    bool v4 = s->base.domain == AF_INET;
    struct {
        struct sock_extended_err e;
        struct sockaddr_storage from;
    } shown = {0};
    struct inet_name from = {.ip = got->to.ip};

    shown.e.ee_errno = got->err;
    shown.e.ee_origin = ip_is_v4(&got->to.ip) ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6;
    shown.e.ee_type = got->err_type;
    shown.e.ee_code = got->err_code;
    uint32_t len = inet_name_out(s->base.domain, &from, &shown.from);
    _Static_assert(offsetof(__typeof__(shown), from) == sizeof(shown.e), "SO_EE_OFFENDER");
    put_control(o, m, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, &shown,
                sizeof(shown.e) + len);
}

void udp_control_out(struct file *f, struct socket_msg *m, struct control_out *o)
{
    struct inet_sock *s = file_inet(f);
    struct received got;

    memcpy(&got, m->family_data, sizeof(got));
    if (!got.there)
        return;
    if (got.err) {
        control_out_error(s, m, &got, o);
        return;
    }
    if (s->wants_time)
        inet_times_out(s, m, o, got.time_ns);
    if (got.drops)
        put_control(o, m, SOL_SOCKET, SO_RXQ_OVFL, &got.drops, sizeof(got.drops));
    if (s->base.domain == AF_INET6)
        control_out_v6(s, m, &got, o);
    if (ip_is_v4(&got.to.ip))
        control_out_v4(s, m, &got, o);
}

/* --- what came back --- */

void udp_refused(struct udp_sock *s, struct datagram *d)
{
    bool v4 = ip_is_v4(&d->to.ip);

    d->err = ECONNREFUSED;
    d->err_type = v4 ? ICMP_DEST_UNREACH : ICMPV6_DEST_UNREACH;
    d->err_code = v4 ? ICMP_PORT_UNREACH : ICMPV6_PORT_UNREACH;
    spin_lock(&s->i.lock);
    s->i.error = ECONNREFUSED;
    bool kept = inet_opt(&s->i, v4 ? OPT_IP_RECVERR : OPT_RECVERR6) &&
                s->queued + d->size + DATAGRAM_OVERHEAD < s->i.recv_size;
    if (kept) {
        s->queued += d->size + DATAGRAM_OVERHEAD;
        list_add_tail(&d->link, &s->errors);
    }
    spin_unlock(&s->i.lock);
    if (!kept)
        datagram_free(d);
    wake_all(&s->i.wait, POLLERR);
    async_notify(&s->i.wait, POLL_ERR);
}

/* The first, off the queue; the next one's errno becomes the socket's. */
static struct datagram *error_take(struct udp_sock *s)
{
    struct datagram *d = NULL;

    spin_lock(&s->i.lock);
    if (!list_empty(&s->errors)) {
        d = list_first_entry(&s->errors, struct datagram, link);
        list_del(&d->link);
        s->queued -= d->size + DATAGRAM_OVERHEAD;
        s->i.error =
            list_empty(&s->errors) ? 0 : list_first_entry(&s->errors, struct datagram, link)->err;
    }
    spin_unlock(&s->i.lock);
    return d;
}

void udp_errors_off(struct inet_sock *s)
{
    struct datagram *d;

    while ((d = error_take(inet_udp(s))))
        datagram_free(d);
}

int udp_peek_offset(struct inet_sock *s, const int32_t *set)
{
    if (set)
        inet_udp(s)->peek_offset = *set;
    return inet_udp(s)->peek_offset;
}

ssize_t udp_receive_error(struct file *f, struct socket_msg *m, int flags UNUSED)
{
    struct udp_sock *s = file_udp(f);
    struct datagram *d = error_take(s);

    if (!d)
        return -EAGAIN;
    size_t n = MIN((size_t)d->size, m->data->left);
    ssize_t r = n ? uio_copy_to_user(m->data, d->data, n) : 0;
    if (r >= 0) {
        m->flags |= MSG_ERRQUEUE | (n < d->size ? MSG_TRUNC : 0);
        udp_describe(s, d, m);
        m->name_len = inet_name_out(s->i.base.domain, &d->to, &m->name);
    }
    datagram_free(d);
    return r;
}
