/* SPDX-License-Identifier: Apache-2.0
 * diag.c - NETLINK_SOCK_DIAG: lists of TCP, UDP and AF_UNIX sockets, as `ss` asks for them.
 *
 * Only dumps, without a filter program (-EINVAL: `ss` then reads /proc and filters by itself). A dump
 * goes through the tables piece by piece; sockets that come or go meanwhile may be in it or not.
 *
 * Guests give the request: copied, its length is checked. Locks: the tables', one at a time. */
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>

#include "netlink.h"
#include "tcp.h"

#define UNIX_BATCH 16u

/* Attributes behind the request. */
static int inet_request_attrs(struct nl_dump *d, const char *body, size_t len, size_t at)
{
    struct rtattr a;
    uint32_t protocol = d->protocol;

    for (; at + sizeof(a) <= len; at += RTA_ALIGN(a.rta_len)) {
        memcpy(&a, body + at, sizeof(a));
        if (a.rta_len < sizeof(a) || a.rta_len > len - at)
            return -EINVAL;
        if (a.rta_type == INET_DIAG_REQ_BYTECODE)
            return -EINVAL;
        if (a.rta_type == INET_DIAG_REQ_PROTOCOL && a.rta_len >= sizeof(a) + sizeof(protocol))
            memcpy(&protocol, body + at + sizeof(a), sizeof(protocol));
    }
    if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
        d->error = -ENOENT;
    return 0;
}

static int inet_request(struct nl_dump *d, const void *body, size_t len)
{
    struct inet_diag_req_v2 q;

    if (len < sizeof(q))
        return -EINVAL;
    memcpy(&q, body, sizeof(q));
    d->protocol = q.sdiag_protocol;
    d->ext = q.idiag_ext;
    d->states = q.idiag_states;
    return inet_request_attrs(d, body, len, NLMSG_ALIGN(sizeof(q)));
}

static int unix_request(struct nl_dump *d, const void *body, size_t len)
{
    struct unix_diag_req q;

    if (len < sizeof(q))
        return -EINVAL;
    memcpy(&q, body, sizeof(q));
    d->show = q.udiag_show;
    d->states = q.udiag_states;
    return 0;
}

int diag_request(struct nl_dump *ret, const struct nlmsghdr *h, const void *body, size_t len)
{
    int r = -ENOENT;

    if (len && *(const uint8_t *)body >= AF_MAX)
        return -EINVAL;
    if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || len < sizeof(struct sock_diag_req))
        return -EINVAL;
    if ((h->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
        return -EOPNOTSUPP;
    ret->family = *(const uint8_t *)body;
    if (ret->family == AF_INET || ret->family == AF_INET6)
        r = inet_request(ret, body, len);
    else if (ret->family == AF_UNIX)
        r = unix_request(ret, body, len);
    ret->on = !r;
    return r;
}

/* --- TCP, UDP --- */

struct piece {
    struct nl_dump *d;
    struct nl_out *o;
};

static bool asked(const struct nl_dump *d, int what)
{
    return d->ext >> (what - 1) & 1;
}

static void put_id(struct inet_diag_sockid *id, const struct inet_sock *s)
{
    bool v4 = s->base.domain == AF_INET;

    id->idiag_sport = htons(s->local.port);
    id->idiag_dport = htons(s->remote.port);
    memcpy(id->idiag_src, &s->local.ip.s6_addr[v4 ? 12 : 0], v4 ? 4 : 16);
    if (!v4 || ip_is_v4(&s->remote.ip))
        memcpy(id->idiag_dst, &s->remote.ip.s6_addr[v4 ? 12 : 0], v4 ? 4 : 16);
    id->idiag_cookie[0] = (uint32_t)s->ino;
    id->idiag_cookie[1] = (uint32_t)(s->ino >> 32);
}

static void put_tcp(struct nl_out *o, const struct nl_dump *d, struct inet_sock *s)
{
    struct tcp_info info;
    char congestion[16];
    uint32_t len = sizeof(info);

    if (asked(d, INET_DIAG_INFO) && !tcp_option_get(s, TCP_INFO, &info, &len))
        nl_attr(o, INET_DIAG_INFO, &info, len);
    len = sizeof(congestion);
    if (asked(d, INET_DIAG_CONG) && !tcp_option_get(s, TCP_CONGESTION, congestion, &len))
        nl_attr(o, INET_DIAG_CONG, congestion, strnlen(congestion, sizeof(congestion) - 1) + 1);
}

static void put_attributes(struct nl_out *o, const struct nl_dump *d, struct inet_sock *s,
                           const struct inet_diag_msg *m)
{
    bool listens = m->idiag_state == TCP_LISTEN;
    uint32_t memory[SK_MEMINFO_VARS] = {[SK_MEMINFO_RMEM_ALLOC] = listens ? 0 : m->idiag_rqueue,
                                        [SK_MEMINFO_RCVBUF] = s->recv_size,
                                        [SK_MEMINFO_SNDBUF] = s->send_size};
    uint8_t only = (uint8_t)inet_opt(s, OPT_V6ONLY), shutdown = 0;

    if (inet_is_tcp(s))
        shutdown = tcp_shutdown_bits(s);
    nl_attr(o, INET_DIAG_SHUTDOWN, &shutdown, sizeof(shutdown));
    if (s->base.domain == AF_INET6 && (listens || m->idiag_state == TCP_CLOSE))
        nl_attr(o, INET_DIAG_SKV6ONLY, &only, sizeof(only));
    if (asked(d, INET_DIAG_SKMEMINFO))
        nl_attr(o, INET_DIAG_SKMEMINFO, memory, sizeof(memory));
    if (inet_is_tcp(s))
        put_tcp(o, d, s);
}

/* One socket; false: it did not fit any more. */
static bool inet_put_one(struct inet_sock *s, void *arg)
{
    struct piece *p = arg;
    struct nl_out *o = p->o;
    struct inet_diag_msg m = {.idiag_family = (uint8_t)s->base.domain};
    size_t before = o->used;
    unsigned state;

    spin_lock(&s->lock);
    if (inet_is_tcp(s))
        tcp_show(s, &state, &m.idiag_wqueue, &m.idiag_rqueue);
    else
        udp_show(s, &state, &m.idiag_wqueue, &m.idiag_rqueue);
    spin_unlock(&s->lock);
    p->d->skip++;
    if (s->base.domain != p->d->family || !(p->d->states >> state & 1))
        return true;
    put_id(&m.id, s);
    m.idiag_state = (uint8_t)state;
    m.idiag_uid = s->uid;
    m.idiag_inode = (uint32_t)s->ino;
    nl_begin(o, SOCK_DIAG_BY_FAMILY, &m, sizeof(m));
    put_attributes(o, p->d, s, &m);
    nl_end(o);
    if (!o->failed)
        return true;
    o->failed = false;
    o->used = before;
    p->d->skip--;
    return false;
}

static bool inet_more(struct nl_dump *d, struct nl_out *o)
{
    struct port_table *t = d->protocol == IPPROTO_TCP ? &g_tcp_ports : &g_udp_ports;
    struct piece p = {d, o};

    for (; d->at < PORT_BUCKETS; d->at++, d->skip = 0)
        if (!port_bucket_each(t, (uint32_t)d->at, (uint32_t)d->skip, inet_put_one, &p))
            return false;
    return true;
}

/* --- AF_UNIX --- */

/* false: it did not fit. */
static bool unix_put_one(const struct nl_dump *d, struct nl_out *o, const struct unix_info *u)
{
    struct unix_diag_msg m = {.udiag_family = AF_UNIX, .udiag_type = (uint8_t)u->type};
    struct unix_diag_vfs vfs = {(uint32_t)u->file_ino, (uint32_t)u->file_dev};
    struct unix_diag_rqlen queues = {u->receive, u->send};
    unsigned state = u->listening ? TCP_LISTEN : u->connected ? TCP_ESTABLISHED : TCP_CLOSE;
    uint32_t peer = (uint32_t)u->peer_ino, family = offsetof(struct sockaddr_un, sun_path);
    size_t before = o->used;

    if (!(d->states >> state & 1))
        return true;
    m.udiag_state = (uint8_t)state;
    m.udiag_ino = (uint32_t)u->ino;
    m.udiag_cookie[0] = (uint32_t)u->cookie;
    m.udiag_cookie[1] = (uint32_t)(u->cookie >> 32);
    nl_begin(o, SOCK_DIAG_BY_FAMILY, &m, sizeof(m));
    if ((d->show & UDIAG_SHOW_NAME) && u->name_len > family)
        nl_attr(o, UNIX_DIAG_NAME, u->name.sun_path, u->name_len - family);
    if ((d->show & UDIAG_SHOW_VFS) && u->file_ino)
        nl_attr(o, UNIX_DIAG_VFS, &vfs, sizeof(vfs));
    if ((d->show & UDIAG_SHOW_PEER) && u->connected)
        nl_attr(o, UNIX_DIAG_PEER, &peer, sizeof(peer));
    if (d->show & UDIAG_SHOW_RQLEN)
        nl_attr(o, UNIX_DIAG_RQLEN, &queues, sizeof(queues));
    nl_attr(o, UNIX_DIAG_SHUTDOWN, &u->shutdown, sizeof(u->shutdown));
    nl_end(o);
    if (!o->failed)
        return true;
    o->failed = false;
    o->used = before;
    return false;
}

static bool unix_more(struct nl_dump *d, struct nl_out *o)
{
    struct unix_info some[UNIX_BATCH];
    unsigned n;

    while ((n = unix_infos(d->at, some, UNIX_BATCH))) {
        for (unsigned i = 0; i < n; i++) {
            if (!unix_put_one(d, o, &some[i]))
                return false;
            d->at = some[i].cookie;
        }
    }
    return true;
}

bool diag_more(struct nl_dump *d, struct nl_out *o)
{
    return d->error || (d->family == AF_UNIX ? unix_more(d, o) : inet_more(d, o));
}
