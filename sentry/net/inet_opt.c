/* SPDX-License-Identifier: Apache-2.0
 * inet_opt.c - socket options of AF_INET and AF_INET6.
 *
 * Numbers that are only kept stand in options.def; the rest has code here or in tcp_opt.c. Values
 * arrive as copies of guest memory; unknown options are -ENOPROTOOPT. No locks: each option is one
 * atomic word. */
#include <time.h>

#include <linux/capability.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/time.h>

#include <kernel/ktime.h>
#include <kernel/task.h>

#include "tcp.h"

#define SEND_SIZE_MIN 4608u /* Linux' SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF */
#define RECV_SIZE_MIN 2304u
#define SIZE_MAX_ASKED 212992u /* net.core.wmem_max, rmem_max */
#define SIZE_MAX_FORCED (INT32_MAX / 2)

/* SO_TIMESTAMPING: what asks for times of sending. */
#define STAMP_SENT                                                                             \
    (SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_SCHED | \
     SOF_TIMESTAMPING_TX_ACK)

enum who { WHO_ALL, WHO_T, WHO_U };
enum kind { KIND_FLAG, KIND_NUMBER, KIND_CLAMP, KIND_READ };

static const struct option {
    int level, name;
    uint8_t who, kind;
    int32_t least, most, start;
} g_options[OPT_COUNT] = {
#define OPTION(id, level, name, who, kind, least, most, start) \
    [OPT_##id] = {level, name, WHO_##who, KIND_##kind, least, most, start},
#include "options.def"
#undef OPTION
};

void inet_options_default(struct inet_sock *s)
{
    for (int i = 0; i < OPT_COUNT; i++)
        atomic_store_explicit(&s->opt[i], g_options[i].start, memory_order_relaxed);
}

/* Index of a kept option; -1 none. */
static int option_find(const struct inet_sock *s, int level, int name)
{
    for (int i = 0; i < OPT_COUNT; i++) {
        const struct option *o = &g_options[i];
        if (o->level != level || o->name != name)
            continue;
        if ((o->who == WHO_T && !inet_is_tcp(s)) || (o->who == WHO_U && inet_is_tcp(s)))
            return -1;
        return i;
    }
    return -1;
}

void option_store(void *buf, uint32_t *len, const void *value, uint32_t size)
{
    *len = MIN(*len, size);
    memcpy(buf, value, *len);
}

static void option_store_int(void *buf, uint32_t *len, int32_t value)
{
    option_store(buf, len, &value, sizeof(value));
}

/* --- reading --- */

static int socket_level_get(struct inet_sock *s, int name, void *buf, uint32_t *len)
{
    static const struct ucred nobody = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct linger l = {.l_onoff = s->linger_s >= 0, .l_linger = MAX(s->linger_s, 0)};
    uint64_t cookie = (uint64_t)s->ino;
    struct timeval tv;

    switch (name) {
    case SO_TYPE:
        option_store_int(buf, len, s->base.type);
        return 0;
    case SO_DOMAIN:
        option_store_int(buf, len, s->base.domain);
        return 0;
    case SO_PROTOCOL:
        option_store_int(buf, len, s->base.protocol);
        return 0;
    case SO_ACCEPTCONN:
        option_store_int(buf, len, inet_is_tcp(s) && tcp_is_listening(s));
        return 0;
    case SO_ERROR:
        option_store_int(buf, len, inet_error_take(s));
        return 0;
    case SO_SNDBUF:
        option_store_int(buf, len, (int32_t)s->send_size);
        return 0;
    case SO_RCVBUF:
        option_store_int(buf, len, (int32_t)s->recv_size);
        return 0;
    case SO_LINGER:
        option_store(buf, len, &l, sizeof(l));
        return 0;
    case SO_PEERCRED:
        option_store(buf, len, &nobody, sizeof(nobody));
        return 0;
    case SO_COOKIE:
        if (*len < sizeof(cookie))
            return -EINVAL;
        option_store(buf, len, &cookie, sizeof(cookie));
        return 0;
    case SO_PEEK_OFF:
        if (inet_is_tcp(s))
            return -EOPNOTSUPP;
        option_store_int(buf, len, udp_peek_offset(s, NULL));
        return 0;
    case SO_BINDTODEVICE:
        *len = 0;
        return 0;
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
        tv = socket_timeout_get(&s->base, name == SO_SNDTIMEO);
        option_store(buf, len, &tv, sizeof(tv));
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int special_get(struct inet_sock *s, int level, int name, void *buf, uint32_t *len)
{
    if (level == SOL_SOCKET)
        return socket_level_get(s, name, buf, len);
    if (level == IPPROTO_TCP && inet_is_tcp(s))
        return tcp_option_get(s, name, buf, len);
    if ((level == IPPROTO_IP && name == IP_MTU) || (level == IPPROTO_IPV6 && name == IPV6_MTU)) {
        if (!s->remote.port)
            return -ENOTCONN;
        option_store_int(buf, len, LO_MTU);
        return 0;
    }
    if (level == IPPROTO_IP && name == IP_OPTIONS) {
        *len = 0;
        return 0;
    }
    return level == IPPROTO_IP || level == IPPROTO_IPV6 || level == IPPROTO_UDP ? -ENOPROTOOPT
                                                                                : -EOPNOTSUPP;
}

/* Kept numbers that are shown otherwise. */
static int32_t shown(const struct inet_sock *s, int i)
{
    int32_t v = inet_opt(s, (enum inet_option)i);

    if (i == OPT_UNICAST_HOPS && v < 0)
        return 64;
    if (i == OPT_MULTICAST_HOPS && v < 0)
        return 1;
    if (i == OPT_MAXSEG && container_of(s, const struct tcp_sock, i)->peer)
        return 65483; /* lo's MTU without headers */
    return v;
}

int inet_option_get(struct file *f, int level, int name, void *buf, uint32_t *len)
{
    struct inet_sock *s = file_inet(f);

    if (level == IPPROTO_IPV6 && s->base.domain != AF_INET6)
        return -EOPNOTSUPP;
    int i = option_find(s, level, name);
    if (i < 0)
        return special_get(s, level, name, buf, len);
    int32_t v = shown(s, i);
    if (level == IPPROTO_IP && *len < sizeof(v) && *len > 0 && v >= 0 && v <= 255) {
        *(uint8_t *)buf = (uint8_t)v; /* IP options may be asked for as one byte */
        *len = 1;
        return 0;
    }
    option_store_int(buf, len, v);
    return 0;
}

/* --- writing --- */

static void size_set(struct inet_sock *s, bool send, int32_t asked, bool force)
{
    uint32_t most = force ? SIZE_MAX_FORCED : SIZE_MAX_ASKED;
    uint32_t n = asked < 0 ? most : MIN((uint32_t)asked, most);

    n *= 2; /* Linux doubles it, and shows it doubled */
    if (send) {
        s->send_size = MAX(n, SEND_SIZE_MIN);
        s->send_size_set = true;
    } else {
        s->recv_size = MAX(n, RECV_SIZE_MIN);
        s->recv_size_set = true;
    }
    if (inet_is_tcp(s))
        tcp_buffers_changed(s);
}

static bool capable(int cap)
{
    struct task *t = task_current();

    return t && cred_capable(t->cred, cap);
}

static int linger_set(struct inet_sock *s, const void *buf, uint32_t len)
{
    struct linger l;

    if (len < sizeof(l))
        return -EINVAL;
    memcpy(&l, buf, sizeof(l));
    s->linger_s = l.l_onoff ? (int32_t)MIN((uint32_t)l.l_linger, (uint32_t)INT32_MAX) : -1;
    return 0;
}

static int device_set(const char *name, uint32_t len)
{
    char dev[16] = {0};

    memcpy(dev, name, MIN(len, (uint32_t)sizeof(dev) - 1));
    return !dev[0] || !strcmp(dev, "lo") ? 0 : -ENODEV;
}

static int socket_level_set(struct inet_sock *s, int name, const void *buf, uint32_t len)
{
    int32_t v;

    if (name == SO_RCVTIMEO || name == SO_SNDTIMEO)
        return socket_timeout_set(&s->base, name == SO_SNDTIMEO, buf, len);
    if (name == SO_LINGER)
        return linger_set(s, buf, len);
    if (name == SO_BINDTODEVICE)
        return device_set(buf, len);
    if (len < sizeof(v))
        return -EINVAL;
    memcpy(&v, buf, sizeof(v));
    switch (name) {
    case SO_SNDBUF:
    case SO_RCVBUF:
        size_set(s, name == SO_SNDBUF, v, false);
        return 0;
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
        if (!capable(CAP_NET_ADMIN))
            return -EPERM;
        size_set(s, name == SO_SNDBUFFORCE, v, true);
        return 0;
    case SO_PEEK_OFF:
        return inet_is_tcp(s) ? -EOPNOTSUPP : (udp_peek_offset(s, &v), 0);
    default:
        return -ENOPROTOOPT;
    }
}

/* The old structs of two or three members, by length, of an interface and perhaps a group. */
static int multicast_set_v4(int name, const void *buf, uint32_t len)
{
    struct ip_mreqn m = {0};
    bool join = name == IP_ADD_MEMBERSHIP || name == IP_ADD_SOURCE_MEMBERSHIP;

    if (name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP)
        return -ENODEV;
    if (name == MCAST_LEAVE_GROUP)
        return -EADDRNOTAVAIL;
    if (name == IP_MULTICAST_IF) {
        if (len < sizeof(m.imr_address))
            return -EINVAL;
        if (len < sizeof(struct ip_mreq))
            memcpy(&m.imr_address, buf, sizeof(m.imr_address));
        else
            memcpy(&m, buf, MIN(len, (uint32_t)sizeof(m)));
        bool lo = m.imr_ifindex
                      ? m.imr_ifindex == LO_INDEX
                      : !m.imr_address.s_addr || m.imr_address.s_addr == htonl(INADDR_LOOPBACK);
        return lo ? 0 : -EADDRNOTAVAIL; /* where nothing is sent from */
    }
    if (!join && name != IP_DROP_MEMBERSHIP)
        return -ENOPROTOOPT;
    if (len < sizeof(struct ip_mreq))
        return -EINVAL;
    memcpy(&m, buf, MIN(len, (uint32_t)sizeof(m)));
    return !join ? -EADDRNOTAVAIL : IN_MULTICAST(ntohl(m.imr_multiaddr.s_addr)) ? -ENODEV : -EINVAL;
}

/* Groups: there is no interface that has any. */
static int multicast_set(int level, int name, const void *buf, uint32_t len)
{
    int32_t index = 0;

    if (level == IPPROTO_IP)
        return multicast_set_v4(name, buf, len);
    if (name == IPV6_JOIN_GROUP || name == MCAST_JOIN_GROUP)
        return -ENODEV;
    if (name == IPV6_LEAVE_GROUP || name == MCAST_LEAVE_GROUP)
        return -EADDRNOTAVAIL;
    if (name != IPV6_MULTICAST_IF)
        return -ENOPROTOOPT;
    memcpy(&index, buf, MIN(len, (uint32_t)sizeof(index)));
    return len < sizeof(index) ? -EINVAL : !index || index == LO_INDEX ? 0 : -ENODEV;
}

static int special_set(struct inet_sock *s, int level, int name, const void *buf, uint32_t len)
{
    if (level == SOL_SOCKET)
        return socket_level_set(s, name, buf, len);
    if (level == IPPROTO_TCP && inet_is_tcp(s))
        return tcp_option_set(s, name, buf, len);
    if (level == IPPROTO_IP || level == IPPROTO_IPV6)
        return multicast_set(level, name, buf, len);
    return -ENOPROTOOPT;
}

/* Numbers whose limits depend on more than themselves. */
static int kept_check(const struct inet_sock *s, int i, int32_t *v)
{
    const struct option *o = &g_options[i];

    switch (i) {
    case OPT_RCVLOWAT:
        *v = *v < 0 ? INT32_MAX : *v ? *v : 1;
        return 0;
    case OPT_PRIORITY:
        return (*v < 0 || *v > 6) && !capable(CAP_NET_ADMIN) ? -EPERM : 0;
    case OPT_V6ONLY:
        return s->local.port ? -EINVAL : (*v = !!*v, 0);
    case OPT_TTL:
        if (*v == -1)
            *v = 64;
        break;
    case OPT_TIMESTAMPING: /* times of sending are not told */
        if (*v > 0 && (*v & STAMP_SENT))
            return -EOPNOTSUPP;
        break;
    case OPT_FASTOPEN:
        return *v < 0 ? -EINVAL : 0;
    default:
        break;
    }
    if (o->kind == KIND_READ)
        return -ENOPROTOOPT;
    if (o->kind == KIND_FLAG)
        *v = !!*v;
    if (o->kind == KIND_CLAMP)
        *v = MAX(MIN(*v, o->most), o->least);
    return *v < o->least || *v > o->most ? -EINVAL : 0;
}

int inet_option_set(struct file *f, int level, int name, const void *buf, uint32_t len)
{
    struct inet_sock *s = file_inet(f);
    int32_t v = 0;

    if (level == IPPROTO_IPV6 && s->base.domain != AF_INET6)
        return -ENOPROTOOPT;
    int i = option_find(s, level, name);
    if (i < 0)
        return special_set(s, level, name, buf, len);
    if (len >= sizeof(v))
        memcpy(&v, buf, sizeof(v));
    else if (level == IPPROTO_IP && len)
        v = *(const uint8_t *)buf;
    else if (level != IPPROTO_IP)
        return -EINVAL;
    int r = kept_check(s, i, &v);
    if (r)
        return r;
    s->opt[i] = v;
    if (i == OPT_TIMESTAMP || i == OPT_TIMESTAMPNS) /* one of the two */
        s->opt[i == OPT_TIMESTAMP ? OPT_TIMESTAMPNS : OPT_TIMESTAMP] = 0;
    s->wants_time =
        inet_opt(s, OPT_TIMESTAMP) || inet_opt(s, OPT_TIMESTAMPNS) || inet_opt(s, OPT_TIMESTAMPING);
    if ((i == OPT_IP_RECVERR || i == OPT_RECVERR6) && !v && !inet_is_tcp(s))
        udp_errors_off(s);
    return 0;
}

void inet_times_out(struct inet_sock *s, struct socket_msg *m, struct control_out *o, int64_t ns)
{
    int32_t kinds = inet_opt(s, OPT_TIMESTAMPING);
    struct timespec ts[3] = {timespec_from_ns(ns)}; /* software's; others are of hardware */

    if (inet_opt(s, OPT_TIMESTAMP) || inet_opt(s, OPT_TIMESTAMPNS))
        control_append_time(o, m, inet_opt(s, OPT_TIMESTAMPNS), ns);
    if ((kinds & SOF_TIMESTAMPING_SOFTWARE) && (kinds & SOF_TIMESTAMPING_RX_SOFTWARE) && ns &&
        !control_append(o, SOL_SOCKET, SCM_TIMESTAMPING, ts, sizeof(ts)))
        m->flags |= MSG_CTRUNC;
}
