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
#define TCP_FIN_SECONDS 60      /* net.ipv4.tcp_fin_timeout */
#define TCP_RECV_MOST 6291456u  /* the last of net.ipv4.tcp_rmem */
#define FASTOPEN_QUEUE_MAX 4096 /* net.core.somaxconn */
#define SYN_WAIT_MAX 120        /* seconds between two SYN-ACKs, at most */

/* SO_TIMESTAMPING: what asks for times of sending. */
#define STAMP_SENT                                                                             \
    (SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_SCHED | \
     SOF_TIMESTAMPING_TX_ACK)

enum who { WHO_ALL, WHO_T, WHO_U };
enum kind { KIND_FLAG, KIND_NUMBER, KIND_CLAMP, KIND_BYTE, KIND_READ, KIND_NONE };

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
        option_store_int(buf, len,
                         ip_is_v4(&s->remote.ip) && level == IPPROTO_IP ? MIN(LO_MTU, IP_MAXPACKET)
                                                                        : LO_MTU);
        return 0;
    }
    if (level == IPPROTO_IP && name == IP_MULTICAST_IF) {
        option_store(buf, len, &(uint32_t){s->multicast_from}, sizeof(uint32_t));
        return 0;
    }
    if (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_IF) {
        option_store_int(buf, len, s->multicast_index);
        return 0;
    }
    if (level == IPPROTO_IP && name == IP_OPTIONS) {
        *len = 0;
        return 0;
    }
    bool own = level == IPPROTO_IP || (level == IPPROTO_UDP && !inet_is_tcp(s));
    return own || s->base.domain == AF_INET6 ? -ENOPROTOOPT : -EOPNOTSUPP;
}

/* Kept numbers that are shown otherwise. */
static int32_t shown(const struct inet_sock *s, int i)
{
    int32_t v = inet_opt(s, (enum inet_option)i);

    if (i == OPT_UNICAST_HOPS && v < 0)
        return 64;
    if (i == OPT_MULTICAST_HOPS && v < 0)
        return 1;
    if (i == OPT_LINGER2 && v == 0)
        return TCP_FIN_SECONDS;
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
    if (i == OPT_TIMESTAMPING) {
        int32_t and_clock[2] = {v, 0};
        option_store(buf, len, and_clock, sizeof(and_clock));
        return 0;
    }
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
static int multicast_set_v4(struct inet_sock *s, int name, const void *buf, uint32_t len)
{
    struct ip_mreqn m = {0};
    bool join = name == IP_ADD_MEMBERSHIP || name == IP_ADD_SOURCE_MEMBERSHIP;

    if (name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP)
        return -ENODEV;
    if (name == MCAST_LEAVE_GROUP)
        return -EADDRNOTAVAIL;
    if (name == IP_MULTICAST_IF) {
        if (len < sizeof(m.imr_address) || inet_is_tcp(s))
            return -EINVAL;
        if (len < sizeof(struct ip_mreq))
            memcpy(&m.imr_address, buf, sizeof(m.imr_address));
        else
            memcpy(&m, buf, MIN(len, (uint32_t)sizeof(m)));
        bool lo = m.imr_ifindex ? m.imr_ifindex == LO_INDEX
                                : !m.imr_address.s_addr ||
                                      ntohl(m.imr_address.s_addr) >> 24 == IN_LOOPBACKNET;
        if (!lo)
            return -EADDRNOTAVAIL; /* where nothing is sent from */
        s->multicast_from = m.imr_address.s_addr;
        return 0;
    }
    if (!join && name != IP_DROP_MEMBERSHIP)
        return -ENOPROTOOPT;
    if (len < sizeof(struct ip_mreq))
        return -EINVAL;
    memcpy(&m, buf, MIN(len, (uint32_t)sizeof(m)));
    return !join ? -EADDRNOTAVAIL : IN_MULTICAST(ntohl(m.imr_multiaddr.s_addr)) ? -ENODEV : -EINVAL;
}

/* Groups: there is no interface that has any. */
static int multicast_set(struct inet_sock *s, int level, int name, const void *buf, uint32_t len)
{
    int32_t index = 0;

    if (level == IPPROTO_IP)
        return multicast_set_v4(s, name, buf, len);
    if (name == IPV6_JOIN_GROUP || name == MCAST_JOIN_GROUP)
        return -ENODEV;
    if (name == IPV6_LEAVE_GROUP || name == MCAST_LEAVE_GROUP)
        return -EADDRNOTAVAIL;
    if (name != IPV6_MULTICAST_IF || inet_is_tcp(s))
        return -ENOPROTOOPT;
    if (len < sizeof(index))
        return -EINVAL;
    memcpy(&index, buf, sizeof(index));
    if (index && index != LO_INDEX)
        return -ENODEV;
    s->multicast_index = index;
    return 0;
}

static int special_set(struct inet_sock *s, int level, int name, const void *buf, uint32_t len)
{
    if (level == SOL_SOCKET)
        return socket_level_set(s, name, buf, len);
    if (level == IPPROTO_TCP && inet_is_tcp(s))
        return tcp_option_set(s, name, buf, len);
    if (level == IPPROTO_UDP && !inet_is_tcp(s) && len < sizeof(int32_t))
        return -EINVAL;
    if (level == IPPROTO_IP || level == IPPROTO_IPV6)
        return multicast_set(s, level, name, buf, len);
    return -ENOPROTOOPT;
}

/* As Linux keeps the time to wait for data: so many SYN-ACKs, one second apart at first, then twice as long each
 * time. Returns the seconds after which the last of them is given up. */
static int32_t defer_seconds(int32_t asked)
{
    int32_t wait = 1, all = 1;

    if (asked <= 0)
        return 0;
    for (int sent = 1; asked > all && sent < UINT8_MAX; sent++) {
        wait = MIN(wait * 2, SYN_WAIT_MAX);
        all += wait;
    }
    return all;
}

/* TCP keeps the two bits of congestion for itself. */
static int32_t class_of_traffic(const struct inet_sock *s, int i, int32_t v)
{
    return inet_is_tcp(s) ? (v & ~3) | (inet_opt(s, (enum inet_option)i) & 3) : v;
}

static int kept_check_tcp(const struct inet_sock *s, int i, int32_t *v)
{
    switch (i) {
    case OPT_FASTOPEN:
        if (*v < 0 || s->remote.port)
            return -EINVAL;
        *v = MIN(*v, FASTOPEN_QUEUE_MAX);
        return 0;
    case OPT_DEFER_ACCEPT:
        *v = defer_seconds(*v);
        return 0;
    case OPT_MAXSEG:
        if (!*v)
            *v = g_options[i].start; /* as if never set */
        return 0;
    case OPT_WINDOW_CLAMP:
        if (!*v)
            return s->remote.port || tcp_is_listening(s) ? -EINVAL : 1;
        return 0;
    case OPT_RCVLOWAT:
        *v = *v < 0 ? INT32_MAX : *v ? *v : 1;
        if (inet_is_tcp(s)) /* no more than gets in */
            *v = MIN(*v, (int32_t)((s->recv_size_set ? s->recv_size : TCP_RECV_MOST) / 2));
        return 0;
    default:
        return 0;
    }
}

static int kept_check_ip(const struct inet_sock *s, int i, int32_t *v)
{
    switch (i) {
    case OPT_V6ONLY:
        return s->local.port ? -EINVAL : (*v = !!*v, 0);
    case OPT_MULTICAST_HOPS:
        return inet_is_tcp(s) ? -ENOPROTOOPT : 0;
    case OPT_IP_MULTICAST_TTL:
        if (inet_is_tcp(s))
            return -EINVAL;
        FALLTHROUGH;
    case OPT_TTL:
        if (*v == -1)
            *v = g_options[i].start;
        return 0;
    case OPT_TOS:
        *v = class_of_traffic(s, i, *v & UINT8_MAX);
        return 0;
    case OPT_TCLASS:
        if (*v < -1 || *v > UINT8_MAX)
            return -EINVAL;
        *v = class_of_traffic(s, i, MAX(*v, 0));
        return 0;
    case OPT_ROUTER_ALERT: /* of raw sockets */
        return -EINVAL;
    default:
        return 0;
    }
}

/* Numbers whose limits depend on more than themselves. 1: kept as it is now. */
static int kept_check_special(const struct inet_sock *s, int i, int32_t *v)
{
    switch (i) {
    case OPT_PRIORITY:
        return (*v < 0 || *v > 6) && !capable(CAP_NET_ADMIN) ? -EPERM : 1;
    case OPT_MARK:
        return capable(CAP_NET_ADMIN) || capable(CAP_NET_RAW) ? 0 : -EPERM;
    case OPT_BUSY_POLL:
        return *v > inet_opt(s, OPT_BUSY_POLL) && !capable(CAP_NET_ADMIN) ? -EPERM : 0;
    case OPT_TIMESTAMPING: /* times of sending are not told */
        return *v > 0 && (*v & STAMP_SENT) ? -EOPNOTSUPP : 0;
    default:
        return g_options[i].level == IPPROTO_TCP || i == OPT_RCVLOWAT ? kept_check_tcp(s, i, v)
                                                                      : kept_check_ip(s, i, v);
    }
}

static int kept_check(const struct inet_sock *s, int i, int32_t *v)
{
    const struct option *o = &g_options[i];
    int r = kept_check_special(s, i, v);

    if (r)
        return MIN(r, 0);
    switch ((enum kind)o->kind) {
    case KIND_READ:
        return -ENOPROTOOPT;
    case KIND_NONE:
        *v = o->start;
        return 0;
    case KIND_FLAG:
        *v = !!*v;
        return 0;
    case KIND_BYTE:
        *v &= UINT8_MAX;
        return 0;
    case KIND_CLAMP:
        *v = MAX(MIN(*v, o->most), o->least);
        return 0;
    default:
        return *v < o->least || *v > o->most ? -EINVAL : 0;
    }
}

/* Level IPPROTO_IP takes four bytes or one; many options also none, as 0. */
static bool option_needs_byte(int i)
{
    return i == OPT_IP_FREEBIND || i == OPT_IP_MINTTL || i == OPT_IP_MULTICAST_LOOP ||
           i == OPT_IP_MULTICAST_TTL || i == OPT_IP_MULTICAST_ALL;
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
    else if (level != IPPROTO_IP || option_needs_byte(i))
        return i == OPT_MULTICAST_HOPS && inet_is_tcp(s) ? -ENOPROTOOPT : -EINVAL;
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
