/* SPDX-License-Identifier: Apache-2.0
 * udpmsg.c - what comes beside datagrams: errors, times, addresses, losses; looking ahead. */
#include <time.h>

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "guest.h"

static char g_control[1024], g_data[4096];

struct got {
    struct msghdr h;
    struct iovec iov;
    struct sockaddr_storage name;
};

static ssize_t receive(int fd, struct got *g, size_t room, int flags)
{
    memset(g, 0, sizeof(*g));
    memset(g_control, 0, sizeof(g_control));
    g->iov = (struct iovec){g_data, room};
    g->h = (struct msghdr){.msg_name = &g->name,
                           .msg_namelen = sizeof(g->name),
                           .msg_iov = &g->iov,
                           .msg_iovlen = 1,
                           .msg_control = g_control,
                           .msg_controllen = sizeof(g_control)};
    return recvmsg(fd, &g->h, flags);
}

/* The @n-th control message; its data. */
static void *control(struct got *g, int n, int level, int type, size_t len)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(&g->h);

    while (c && n--)
        c = CMSG_NXTHDR(&g->h, c);
    if (level < 0) {
        CHECK(!c);
        return NULL;
    }
    CHECK(c);
    CHECK_EQ(c->cmsg_level, level);
    CHECK_EQ(c->cmsg_type, type);
    CHECK_EQ(c->cmsg_len, CMSG_LEN(len));
    return CMSG_DATA(c);
}

static void no_more(struct got *g, int n)
{
    control(g, n, -1, 0, 0);
}

static void on(int fd, int level, int name)
{
    int one = 1;

    CHECK(setsockopt(fd, level, name, &one, sizeof(one)) == 0);
}

static int value(int fd, int level, int name)
{
    int v = -1;
    socklen_t len = sizeof(v);

    CHECK(getsockopt(fd, level, name, &v, &len) == 0);
    return v;
}

static int udp(struct sockaddr_in *sa)
{
    socklen_t len = sizeof(*sa);
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    *sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(bind(s, (struct sockaddr *)sa, sizeof(*sa)) == 0);
    CHECK(getsockname(s, (struct sockaddr *)sa, &len) == 0);
    return s;
}

static int udp6(struct sockaddr_in6 *sa)
{
    socklen_t len = sizeof(*sa);
    int s = socket(AF_INET6, SOCK_DGRAM, 0);

    *sa = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (s < 0 || bind(s, (struct sockaddr *)sa, sizeof(*sa)))
        SKIP("no IPv6");
    CHECK(getsockname(s, (struct sockaddr *)sa, &len) == 0);
    return s;
}

static int events(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

/* Nobody listens: the error, the datagram and where it went. */
static void errors(void)
{
    struct sockaddr_in gone;
    struct got g;
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    close(udp(&gone));
    CHECK_ERR(receive(s, &g, 100, MSG_ERRQUEUE), EAGAIN);
    CHECK(sendto(s, "quiet", 5, 0, (struct sockaddr *)&gone, sizeof(gone)) == 5);
    guest_sleep_ms(5);
    CHECK_EQ(events(s), POLLOUT);
    on(s, IPPROTO_IP, IP_RECVERR);
    CHECK(sendto(s, "hello", 5, 0, (struct sockaddr *)&gone, sizeof(gone)) == 5);
    WAIT_FOR(events(s) == (POLLOUT | POLLERR));
    CHECK_EQ(receive(s, &g, 100, MSG_ERRQUEUE), 5);
    CHECK_EQ(memcmp(g_data, "hello", 5), 0);
    CHECK_EQ(g.h.msg_flags, MSG_ERRQUEUE);
    CHECK_EQ(((struct sockaddr_in *)&g.name)->sin_port, gone.sin_port);
    CHECK_EQ(g.h.msg_namelen, sizeof(gone));
    struct {
        struct sock_extended_err e;
        struct sockaddr_in from;
    } *e = control(&g, 0, IPPROTO_IP, IP_RECVERR, sizeof(*e));
    CHECK_EQ(e->e.ee_errno, ECONNREFUSED);
    CHECK_EQ(e->e.ee_origin, SO_EE_ORIGIN_ICMP);
    CHECK_EQ(e->e.ee_type, ICMP_DEST_UNREACH);
    CHECK_EQ(e->e.ee_code, ICMP_PORT_UNREACH);
    CHECK_EQ(e->e.ee_info, 0);
    CHECK_EQ(e->from.sin_family, AF_INET);
    CHECK_EQ(e->from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_EQ(e->from.sin_port, 0);
    no_more(&g, 1);
    CHECK_EQ(events(s), POLLOUT); /* the error went with it */
    CHECK_EQ(value(s, SOL_SOCKET, SO_ERROR), 0);
    CHECK(sendto(s, "one", 3, 0, (struct sockaddr *)&gone, sizeof(gone)) == 3);
    WAIT_FOR(events(s) & POLLERR);
    CHECK_EQ(value(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    CHECK_EQ(events(s), POLLOUT | POLLERR); /* it is still in the queue */
    CHECK(sendto(s, "second", 6, 0, (struct sockaddr *)&gone, sizeof(gone)) == 6);
    guest_sleep_ms(5);
    CHECK_ERR(sendto(s, "x", 1, 0, (struct sockaddr *)&gone, sizeof(gone)), ECONNREFUSED);
    CHECK_EQ(receive(s, &g, 2, MSG_ERRQUEUE), 2);
    CHECK_EQ(g.h.msg_flags, MSG_ERRQUEUE | MSG_TRUNC);
    CHECK_EQ(value(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED); /* the next one's */
    CHECK_EQ(receive(s, &g, 100, MSG_ERRQUEUE), 6);
    CHECK_ERR(receive(s, &g, 100, MSG_ERRQUEUE), EAGAIN);
    CHECK_EQ(value(s, SOL_SOCKET, SO_ERROR), 0);
    int off = 0;
    CHECK(sendto(s, "last", 4, 0, (struct sockaddr *)&gone, sizeof(gone)) == 4);
    WAIT_FOR(events(s) & POLLERR);
    CHECK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &off, sizeof(off)) == 0); /* throws them away */
    CHECK_ERR(receive(s, &g, 100, MSG_ERRQUEUE), EAGAIN);
}

static void errors6(void)
{
    struct sockaddr_in6 gone;
    struct got g;
    int s = socket(AF_INET6, SOCK_DGRAM, 0);

    close(udp6(&gone));
    on(s, IPPROTO_IPV6, IPV6_RECVERR);
    CHECK(sendto(s, "hello", 5, 0, (struct sockaddr *)&gone, sizeof(gone)) == 5);
    WAIT_FOR(events(s) & POLLERR);
    CHECK_EQ(receive(s, &g, 100, MSG_ERRQUEUE), 5);
    struct {
        struct sock_extended_err e;
        struct sockaddr_in6 from;
    } *e = control(&g, 0, IPPROTO_IPV6, IPV6_RECVERR, sizeof(*e));
    CHECK_EQ(e->e.ee_errno, ECONNREFUSED);
    CHECK_EQ(e->e.ee_origin, SO_EE_ORIGIN_ICMP6);
    CHECK_EQ(e->e.ee_type, 1);
    CHECK_EQ(e->e.ee_code, 4);
    CHECK_EQ(e->from.sin6_family, AF_INET6);
    CHECK_EQ(memcmp(&e->from.sin6_addr, &gone.sin6_addr, 16), 0);
    CHECK_EQ(((struct sockaddr_in6 *)&g.name)->sin6_port, gone.sin6_port);
}

static void recent(const struct timespec *ts)
{
    int64_t now = guest_now_ns(CLOCK_REALTIME);
    int64_t t = (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;

    CHECK(t <= now && t > now - 10000000000LL);
}

static void times_on(int s, int peer, const struct sockaddr *to, socklen_t len)
{
    struct got g;
    struct timespec ts;
    struct timeval tv;

    CHECK(sendto(peer, "x", 1, 0, to, len) == 1); /* before it is asked for */
    on(s, SOL_SOCKET, SO_TIMESTAMPNS);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    memcpy(&ts, control(&g, 0, SOL_SOCKET, SCM_TIMESTAMPNS, sizeof(ts)), sizeof(ts));
    recent(&ts);
    no_more(&g, 1);
    on(s, SOL_SOCKET, SO_TIMESTAMP); /* one of the two */
    CHECK_EQ(value(s, SOL_SOCKET, SO_TIMESTAMP), 1);
    CHECK_EQ(value(s, SOL_SOCKET, SO_TIMESTAMPNS), 0);
    CHECK(sendto(peer, "x", 1, 0, to, len) == 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    memcpy(&tv, control(&g, 0, SOL_SOCKET, SCM_TIMESTAMP, sizeof(tv)), sizeof(tv));
    ts = (struct timespec){tv.tv_sec, tv.tv_usec * 1000};
    CHECK(tv.tv_usec < 1000000);
    recent(&ts);
    no_more(&g, 1);
    on(s, SOL_SOCKET, SO_TIMESTAMPNS);
    CHECK_EQ(value(s, SOL_SOCKET, SO_TIMESTAMP), 0);
    int off = 0;
    CHECK(setsockopt(s, SOL_SOCKET, SO_TIMESTAMP, &off, sizeof(off)) == 0);
    CHECK_EQ(value(s, SOL_SOCKET, SO_TIMESTAMPNS), 0);
    CHECK(sendto(peer, "x", 1, 0, to, len) == 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    no_more(&g, 0);
}

static void times(void)
{
    struct sockaddr_in sa;
    int s = udp(&sa), c = socket(AF_INET, SOCK_DGRAM, 0), sv[2];

    times_on(s, c, (struct sockaddr *)&sa, sizeof(sa));
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    times_on(sv[0], sv[1], NULL, 0);
}

/* SO_TIMESTAMPING: three times, of which software's is the first. */
static void timestamping(void)
{
    struct sockaddr_in sa;
    struct got g;
    int s = udp(&sa), c = socket(AF_INET, SOCK_DGRAM, 0);
    int v = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

    CHECK_EQ(value(s, SOL_SOCKET, SO_TIMESTAMPING), 0);
    CHECK(setsockopt(s, SOL_SOCKET, SO_TIMESTAMPING, &v, sizeof(v)) == 0);
    CHECK_EQ(value(s, SOL_SOCKET, SO_TIMESTAMPING), v);
    CHECK(sendto(c, "x", 1, 0, (struct sockaddr *)&sa, sizeof(sa)) == 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    struct timespec ts[3];
    memcpy(ts, control(&g, 0, SOL_SOCKET, SCM_TIMESTAMPING, sizeof(ts)), sizeof(ts));
    recent(&ts[0]);
    CHECK(!ts[1].tv_sec && !ts[2].tv_sec && !ts[2].tv_nsec);
    v = 1 << 30;
    CHECK_ERR(setsockopt(s, SOL_SOCKET, SO_TIMESTAMPING, &v, sizeof(v)), EINVAL);
}

/* Where a datagram came to, and what its header said. */
static void addresses(void)
{
    struct sockaddr_in sa, any;
    socklen_t len = sizeof(any);
    struct got g;
    int c = udp(&sa), s = socket(AF_INET, SOCK_DGRAM, 0), v = 17;

    any = (struct sockaddr_in){.sin_family = AF_INET};
    CHECK(bind(s, (struct sockaddr *)&any, len) == 0 &&
          getsockname(s, (struct sockaddr *)&any, &len) == 0);
    any.sin_addr.s_addr = htonl(0x7f000005);
    on(s, IPPROTO_IP, IP_PKTINFO);
    on(s, IPPROTO_IP, IP_RECVTTL);
    on(s, IPPROTO_IP, IP_RECVTOS);
    on(s, IPPROTO_IP, IP_RECVORIGDSTADDR);
    CHECK(setsockopt(c, IPPROTO_IP, IP_TTL, &v, sizeof(v)) == 0);
    v = 8;
    CHECK(setsockopt(c, IPPROTO_IP, IP_TOS, &v, sizeof(v)) == 0);
    CHECK(sendto(c, "x", 1, 0, (struct sockaddr *)&any, len) == 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    struct in_pktinfo *info = control(&g, 0, IPPROTO_IP, IP_PKTINFO, sizeof(*info));
    CHECK_EQ(info->ipi_addr.s_addr, any.sin_addr.s_addr);
    CHECK_EQ(info->ipi_spec_dst.s_addr, any.sin_addr.s_addr);
    CHECK_EQ(info->ipi_ifindex, 1);
    CHECK_EQ(*(int *)control(&g, 1, IPPROTO_IP, IP_TTL, 4), 17);
    CHECK_EQ(*(uint8_t *)control(&g, 2, IPPROTO_IP, IP_TOS, 1), 8);
    struct sockaddr_in *orig = control(&g, 3, IPPROTO_IP, IP_ORIGDSTADDR, sizeof(*orig));
    CHECK_EQ(orig->sin_port, any.sin_port);
    CHECK_EQ(orig->sin_addr.s_addr, any.sin_addr.s_addr);
    no_more(&g, 4);
}

static ssize_t send_with(int fd, const void *to, socklen_t tolen, int level, int type,
                         const void *data, size_t len)
{
    char c[CMSG_SPACE(40)] __attribute__((aligned(8))) = {0};
    struct cmsghdr head = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type};
    struct iovec iov = {"x", 1};
    struct msghdr h = {.msg_name = (void *)(uintptr_t)to,
                       .msg_namelen = tolen,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = c,
                       .msg_controllen = CMSG_SPACE(len)};

    memcpy(c, &head, sizeof(head));
    memcpy(CMSG_DATA((struct cmsghdr *)(void *)c), data, len);
    return sendmsg(fd, &h, 0);
}

/* One datagram's own source, TTL and TOS. */
static void sending(void)
{
    struct sockaddr_in sa;
    struct got g;
    struct in_pktinfo info = {.ipi_spec_dst = {htonl(0x7f000009)}};
    int s = udp(&sa), c = socket(AF_INET, SOCK_DGRAM, 0), v = 33;

    on(s, IPPROTO_IP, IP_RECVTTL);
    on(s, IPPROTO_IP, IP_RECVTOS);
    CHECK_EQ(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_PKTINFO, &info, sizeof(info)), 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    CHECK_EQ(((struct sockaddr_in *)&g.name)->sin_addr.s_addr, htonl(0x7f000009));
    CHECK_EQ(*(int *)control(&g, 0, IPPROTO_IP, IP_TTL, 4), 64);
    CHECK_EQ(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_TTL, &v, sizeof(v)), 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    CHECK_EQ(*(int *)control(&g, 0, IPPROTO_IP, IP_TTL, 4), 33);
    v = 16;
    CHECK_EQ(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_TOS, &v, sizeof(v)), 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    CHECK_EQ(*(uint8_t *)control(&g, 1, IPPROTO_IP, IP_TOS, 1), 16);
    v = 0;
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_TTL, &v, sizeof(v)), EINVAL);
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_TTL, &v, 2), EINVAL);
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IP, 99, &v, 4), EINVAL);
    CHECK_ERR(send_with(c, &sa, sizeof(sa), SOL_SOCKET, 99, &v, 4), EINVAL);
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_PKTINFO, &info, 4), EINVAL);
    v = 256;
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IP, IP_TTL, &v, sizeof(v)), EINVAL);
    CHECK_EQ(events(s), POLLOUT);
}

static void sending6(void)
{
    struct sockaddr_in6 sa;
    struct got g;
    struct in6_pktinfo info = {.ipi6_addr = IN6ADDR_LOOPBACK_INIT, .ipi6_ifindex = 1};
    int s = udp6(&sa), c = socket(AF_INET6, SOCK_DGRAM, 0), v = 33;

    on(s, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    on(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT);
    on(s, IPPROTO_IPV6, IPV6_RECVTCLASS);
    CHECK_EQ(send_with(c, &sa, sizeof(sa), IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info)), 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    struct in6_pktinfo *got = control(&g, 0, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(*got));
    CHECK_EQ(memcmp(&got->ipi6_addr, &sa.sin6_addr, 16), 0);
    CHECK_EQ(got->ipi6_ifindex, 1);
    CHECK_EQ(*(int *)control(&g, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, 4), 64);
    CHECK_EQ(*(int *)control(&g, 2, IPPROTO_IPV6, IPV6_TCLASS, 4), 0);
    no_more(&g, 3);
    CHECK_EQ(send_with(c, &sa, sizeof(sa), IPPROTO_IPV6, IPV6_HOPLIMIT, &v, sizeof(v)), 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    CHECK_EQ(*(int *)control(&g, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, 4), 33);
    CHECK_EQ(send_with(c, &sa, sizeof(sa), IPPROTO_IPV6, IPV6_TCLASS, &v, sizeof(v)), 1);
    CHECK_EQ(receive(s, &g, 10, 0), 1);
    CHECK_EQ(*(int *)control(&g, 2, IPPROTO_IPV6, IPV6_TCLASS, 4), 33);
    v = 256;
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IPV6, IPV6_HOPLIMIT, &v, sizeof(v)), EINVAL);
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IPV6, IPV6_PKTINFO, &info, 4), EINVAL);
    CHECK_ERR(send_with(c, &sa, sizeof(sa), IPPROTO_IPV6, 199, &v, 4), EINVAL);
}

/* How many were lost before this one. */
static void losses(void)
{
    struct sockaddr_in sa;
    struct got g;
    int s = udp(&sa), c = socket(AF_INET, SOCK_DGRAM, 0), small = 2304;

    on(s, SOL_SOCKET, SO_RXQ_OVFL);
    CHECK(setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
    for (int i = 0; i < 50; i++)
        CHECK(sendto(c, g_data, 1000, 0, (struct sockaddr *)&sa, sizeof(sa)) == 1000);
    CHECK_EQ(receive(s, &g, 4000, 0), 1000);
    no_more(&g, 0);
    int n = 1;
    while (recv(s, g_data, 4000, MSG_DONTWAIT) > 0)
        n++;
    CHECK(n < 50);
    CHECK(sendto(c, "x", 1, 0, (struct sockaddr *)&sa, sizeof(sa)) == 1);
    CHECK_EQ(receive(s, &g, 4000, 0), 1);
    CHECK_EQ(*(int *)control(&g, 0, SOL_SOCKET, SO_RXQ_OVFL, 4), 50 - n);
}

/* SO_PEEK_OFF: each look goes on where the last one ended, from datagram to datagram. */
static void peeking(void)
{
    struct sockaddr_in sa;
    int s = udp(&sa), c = socket(AF_INET, SOCK_DGRAM, 0), off = 0;
    char buf[10] = "";

    CHECK_EQ(value(s, SOL_SOCKET, SO_PEEK_OFF), -1);
    CHECK(sendto(c, "abcdef", 6, 0, (struct sockaddr *)&sa, sizeof(sa)) == 6);
    CHECK(sendto(c, "ghi", 3, 0, (struct sockaddr *)&sa, sizeof(sa)) == 3);
    CHECK_EQ(recv(s, buf, 2, MSG_PEEK), 2);
    CHECK_EQ(recv(s, buf, 2, MSG_PEEK | MSG_TRUNC), 6);
    CHECK(setsockopt(s, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0);
    CHECK_EQ(recv(s, buf, 2, MSG_PEEK), 2);
    CHECK_EQ(memcmp(buf, "ab", 2), 0);
    CHECK_EQ(value(s, SOL_SOCKET, SO_PEEK_OFF), 2);
    CHECK_EQ(recv(s, buf, 10, MSG_PEEK), 4);
    CHECK_EQ(memcmp(buf, "cdef", 4), 0);
    CHECK_EQ(recv(s, buf, 10, MSG_PEEK), 3);
    CHECK_EQ(memcmp(buf, "ghi", 3), 0);
    CHECK_ERR(recv(s, buf, 10, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(recv(s, buf, 10, 0), 6);
    CHECK_EQ(memcmp(buf, "abcdef", 6), 0);
    CHECK_EQ(value(s, SOL_SOCKET, SO_PEEK_OFF), 3);
    CHECK_EQ(recv(s, buf, 10, 0), 3);
    CHECK_EQ(value(s, SOL_SOCKET, SO_PEEK_OFF), 0);
}

/* No interface has groups, nothing is broadcast. */
static void refused(void)
{
    struct sockaddr_in sa,
        group = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(0x7fffffff)}};
    struct ip_mreqn m = {.imr_multiaddr = {htonl(0xe0000105)}, .imr_ifindex = 99};
    int s = udp(&sa), v = 9;

    CHECK_ERR(sendto(s, "x", 1, 0, (struct sockaddr *)&group, sizeof(group)), EACCES);
    CHECK_ERR(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), ENODEV);
    CHECK_ERR(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 4), EINVAL);
    m.imr_multiaddr.s_addr = htonl(0x7f000001);
    CHECK_ERR(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), EINVAL);
    CHECK_ERR(setsockopt(s, IPPROTO_IP, 199, &v, sizeof(v)), ENOPROTOOPT);
    CHECK_ERR(setsockopt(s, SOL_SOCKET, 999, &v, sizeof(v)), ENOPROTOOPT);
    CHECK_ERR(setsockopt(s, 77, 1, &v, sizeof(v)), ENOPROTOOPT);
}

static const struct guest_case cases[] = {
    {"errors", errors},   {"errors6", errors6},
    {"times", times},     {"addresses", addresses},
    {"sending", sending}, {"sending6", sending6},
    {"losses", losses},   {"peeking", peeking},
    {"refused", refused}, {"timestamping", timestamping},
};
GUEST_MAIN(cases)
