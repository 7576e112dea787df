/* SPDX-License-Identifier: Apache-2.0
 * udp.c - UDP on loopback: names, connected sockets, truncation, errors, packet information. */
#include "inetutil.h"

#include <pthread.h>
#include <sys/uio.h>

static int udp_new(int family)
{
    int s = socket(family, SOCK_DGRAM, 0);
    CHECK(s >= 0);
    return s;
}

static int udp_bound(void)
{
    int s = udp_new(AF_INET);
    CHECK(sock_bind(s, v4("127.0.0.1", 0)) == 0);
    return s;
}

static ssize_t send_to(int s, const void *buf, size_t n, struct sockaddr_in a)
{
    return sendto(s, buf, n, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof(a));
}

static void fresh(void)
{
    int u = udp_new(AF_INET);
    char c;
    CHECK_EQ(poll_now(u), INET_OUT);
    CHECK_ERR(recv(u, &c, 1, MSG_DONTWAIT), EAGAIN);
    CHECK_ERR(send(u, &c, 1, 0), EDESTADDRREQ);
    CHECK_ERR(listen(u, 1), EOPNOTSUPP);
    CHECK_ERR(accept(u, NULL, NULL), EOPNOTSUPP);
    CHECK_ERR(shutdown(u, SHUT_WR), ENOTCONN);
    CHECK_EQ(sock_opt(u, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
    CHECK_EQ(sock_opt(u, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP);
}

static void datagrams(void)
{
    char buf[16];
    int a = udp_bound(), b = udp_new(AF_INET), n;
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    CHECK_EQ(send_to(b, "abcdef", 6, own_name(a)), 6);
    CHECK(own_port(b) != 0);
    CHECK_EQ(send_to(b, "", 0, own_name(a)), 0);
    CHECK_EQ(send_to(b, "gh", 2, own_name(a)), 2);
    WAIT_FOR(poll_now(a) & POLLIN);
    CHECK(ioctl(a, FIONREAD, &n) == 0 && n == 6);
    CHECK_EQ(recvfrom(a, buf, 16, MSG_PEEK, (struct sockaddr *)&from, &len), 6);
    CHECK(from.sin_port == own_name(b).sin_port && len == sizeof(from));
    CHECK_EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    struct iovec iov[2] = {{buf, 2}, {buf + 2, 1}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    CHECK_EQ(recvmsg(a, &m, 0), 3);
    CHECK_EQ(m.msg_flags, MSG_TRUNC);
    CHECK_EQ(recv(a, buf, 16, 0), 0);
    CHECK_EQ(recv(a, buf, 1, MSG_TRUNC), 2);
    CHECK_ERR(recv(a, buf, 1, MSG_DONTWAIT), EAGAIN);
}

static void sizes(void)
{
    static char big[70000], in[70000];
    int a = udp_bound(), b = udp_new(AF_INET);
    CHECK_EQ(send_to(b, big, 65507, own_name(a)), 65507);
    CHECK_EQ(recv(a, in, sizeof(in), 0), 65507);
    CHECK_ERR(send_to(b, big, 65508, own_name(a)), EMSGSIZE);
    CHECK_ERR(send_to(b, big, 70000, own_name(a)), EMSGSIZE);
    CHECK_ERR(send_to(b, (void *)8, 10, own_name(a)), EFAULT);
    struct sockaddr_in to = own_name(a);
    to.sin_port = 0;
    CHECK_ERR(send_to(b, "x", 1, to), EINVAL);
    to.sin_family = AF_INET6;
    CHECK_ERR(send_to(b, "x", 1, to), EAFNOSUPPORT);
    CHECK_ERR(sendto(b, "x", 1, 0, (struct sockaddr *)&to, 8), EINVAL);
}

static void connected(void)
{
    char buf[4];
    int a = udp_bound(), b = udp_bound(), c = udp_bound();
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    CHECK_ERR(getpeername(b, (struct sockaddr *)&from, &len), ENOTCONN);
    CHECK(sock_connect(b, own_name(a)) == 0);
    CHECK(getpeername(b, (struct sockaddr *)&from, &len) == 0);
    CHECK(from.sin_port == own_name(a).sin_port);
    CHECK(send(b, "x", 1, 0) == 1 && recv(a, buf, 4, 0) == 1);
    CHECK(send_to(c, "y", 1, own_name(b)) == 1); /* not from the peer: lost */
    CHECK(send_to(a, "z", 1, own_name(b)) == 1);
    CHECK(recv(b, buf, 4, 0) == 1 && buf[0] == 'z');
    CHECK_EQ(send_to(b, "w", 1, own_name(c)), 1); /* a connected one may send elsewhere */
    CHECK(recv(c, buf, 4, 0) == 1 && buf[0] == 'w');
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CHECK(connect(b, &none, sizeof(none)) == 0);
    CHECK_ERR(send(b, "x", 1, 0), EDESTADDRREQ);
    CHECK(write(a, "x", 0) <= 0);
}

static void refused(void)
{
    char buf[4];
    int a = udp_bound(), b = udp_new(AF_INET), c = udp_new(AF_INET);
    struct sockaddr_in gone = own_name(a);
    close(a);
    CHECK(sock_connect(b, gone) == 0);
    CHECK_EQ(send(b, "x", 1, 0), 1);
    POLL_BECOMES(b, INET_OUT | POLLERR);
    CHECK_ERR(recv(b, buf, 4, 0), ECONNREFUSED);
    CHECK_EQ(send(b, "x", 1, 0), 1);
    WAIT_FOR(poll_now(b) & POLLERR);
    CHECK_ERR(send(b, "x", 1, 0), ECONNREFUSED);
    CHECK_EQ(send(b, "x", 1, 0), 1);
    WAIT_FOR(poll_now(b) & POLLERR);
    CHECK_EQ(sock_opt(b, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    CHECK_EQ(send_to(c, "x", 1, gone), 1); /* unconnected: nobody tells */
    guest_sleep_ms(5);
    CHECK_EQ(poll_now(c), INET_OUT);
}

static void names_in_use(void)
{
    int a = udp_bound(), b = udp_new(AF_INET);
    CHECK_ERR(sock_bind(b, own_name(a)), EADDRINUSE);
    CHECK_ERR(sock_bind(b, v4("0.0.0.0", own_port(a))), EADDRINUSE);
    CHECK_ERR(sock_bind(a, v4("127.0.0.1", 0)), EINVAL);
    CHECK_ERR(sock_bind(b, v4("9.9.9.9", 0)), EADDRNOTAVAIL);
    CHECK(sock_set(a, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
          sock_set(b, SOL_SOCKET, SO_REUSEADDR, 1) == 0);
    CHECK(sock_bind(b, own_name(a)) == 0);
    int t = tcp_new(); /* another protocol, other ports */
    CHECK(sock_bind(t, own_name(a)) == 0);
}

static void overflow(void)
{
    static char block[8192];
    int a = udp_bound(), b = udp_new(AF_INET), got = 0;
    CHECK(sock_set(a, SOL_SOCKET, SO_RCVBUF, 16384) == 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(send_to(b, block, sizeof(block), own_name(a)), (ssize_t)sizeof(block));
    guest_sleep_ms(5);
    while (recv(a, block, sizeof(block), MSG_DONTWAIT) > 0)
        got++;
    CHECK(got >= 1 && got <= 8); /* the rest was lost */
    CHECK_EQ(send_to(b, "x", 1, own_name(a)), 1);
    CHECK_EQ(recv(a, block, sizeof(block), 0), 1);
}

static void shut(void)
{
    char c;
    int a = udp_bound(), b = udp_new(AF_INET);
    CHECK(sock_connect(b, own_name(a)) == 0);
    CHECK(shutdown(b, SHUT_RD) == 0);
    CHECK_EQ(recv(b, &c, 1, 0), 0);
    CHECK_EQ(poll_now(b), INET_IN | INET_OUT | POLLRDHUP);
    CHECK(shutdown(b, SHUT_WR) == 0);
    CHECK_ERR(send(b, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(poll_now(b), INET_IN | INET_OUT | POLLRDHUP | POLLHUP);
}

static void dual_stack(void)
{
    char buf[4];
    int a = udp_new(AF_INET6), b = udp_new(AF_INET), c = udp_new(AF_INET6);
    struct sockaddr_in6 from;
    socklen_t len = sizeof(from);
    CHECK(sock_bind6(a, v6("::", 0)) == 0);
    CHECK_EQ(send_to(b, "x", 1, v4("127.0.0.1", own_port(a))), 1);
    CHECK_EQ(recvfrom(a, buf, 4, 0, (struct sockaddr *)&from, &len), 1);
    CHECK(len == sizeof(from) && IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
    CHECK_EQ(sendto(a, "y", 1, 0, (struct sockaddr *)&from, sizeof(from)), 1);
    CHECK(recv(b, buf, 4, 0) == 1 && buf[0] == 'y');
    CHECK(sock_connect6(c, v6("::1", own_port(a))) == 0);
    CHECK(send(c, "z", 1, 0) == 1);
    CHECK_EQ(recvfrom(a, buf, 4, 0, (struct sockaddr *)&from, &len), 1);
    CHECK(IN6_IS_ADDR_LOOPBACK(&from.sin6_addr));
}

static void packet_info(void)
{
    char buf[4], control[256];
    int a = udp_new(AF_INET), b = udp_new(AF_INET), seen = 0;
    struct iovec iov = {buf, 4};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    CHECK(sock_bind(a, v4("0.0.0.0", 0)) == 0);
    CHECK(sock_set(a, IPPROTO_IP, IP_PKTINFO, 1) == 0 &&
          sock_set(a, IPPROTO_IP, IP_RECVTTL, 1) == 0);
    CHECK(sock_set(a, IPPROTO_IP, IP_RECVTOS, 1) == 0);
    CHECK(sock_set(b, IPPROTO_IP, IP_TOS, 0x10) == 0 && sock_set(b, IPPROTO_IP, IP_TTL, 7) == 0);
    CHECK_EQ(send_to(b, "x", 1, v4("127.0.0.3", own_port(a))), 1);
    m.msg_control = control;
    m.msg_controllen = sizeof(control);
    CHECK_EQ(recvmsg(a, &m, 0), 1);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        struct in_pktinfo info;
        int ttl;
        CHECK_EQ(c->cmsg_level, IPPROTO_IP);
        if (c->cmsg_type == IP_PKTINFO) {
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            CHECK(info.ipi_ifindex == 1);
            CHECK(info.ipi_addr.s_addr == v4("127.0.0.3", 0).sin_addr.s_addr);
            seen |= 1;
        } else if (c->cmsg_type == IP_TTL) {
            memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
            CHECK_EQ(ttl, 7);
            seen |= 2;
        } else if (c->cmsg_type == IP_TOS) {
            CHECK_EQ(*(unsigned char *)CMSG_DATA(c), 0x10);
            seen |= 4;
        }
    }
    CHECK_EQ(seen, 7);
    m.msg_controllen = 20; /* too little for anything */
    CHECK_EQ(send_to(b, "x", 1, v4("127.0.0.3", own_port(a))), 1);
    CHECK_EQ(recvmsg(a, &m, 0), 1);
    CHECK(m.msg_flags & MSG_CTRUNC);
}

static void packet_info6(void)
{
    char buf[4], control[256];
    int a = udp_new(AF_INET6), b = udp_new(AF_INET6);
    struct iovec iov = {buf, 4};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    CHECK(sock_bind6(a, v6("::", 0)) == 0);
    CHECK(sock_set(a, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0);
    CHECK(sock_connect6(b, v6("::1", own_port(a))) == 0 && send(b, "x", 1, 0) == 1);
    CHECK_EQ(recvmsg(a, &m, 0), 1);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    struct in6_pktinfo info;
    CHECK(c && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO);
    memcpy(&info, CMSG_DATA(c), sizeof(info));
    CHECK(info.ipi6_ifindex == 1 && IN6_IS_ADDR_LOOPBACK(&info.ipi6_addr));
}

static void *send_later(void *arg)
{
    guest_sleep_ms(20);
    CHECK_EQ(send(*(int *)arg, "x", 1, 0), 1);
    return NULL;
}

static void waiting(void)
{
    char c;
    int a = udp_bound(), b = udp_new(AF_INET);
    struct timeval tv = {.tv_usec = 20000}, none = {0};
    pthread_t t;
    CHECK(sock_connect(b, own_name(a)) == 0);
    CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    CHECK_ERR(recv(a, &c, 1, 0), EAGAIN);
    CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)) == 0);
    CHECK(pthread_create(&t, NULL, send_later, &b) == 0);
    CHECK_EQ(read(a, &c, 1), 1);
    CHECK(pthread_join(t, NULL) == 0);
}

/* A socket of both versions keeps the address that its first connect has chosen, and sends to the other version
 * from that one's. */
static void both_versions(void)
{
    struct sockaddr_in6 name, from;
    struct sockaddr_in from4;
    socklen_t len = sizeof(name);
    char c;
    int s = socket(AF_INET6, SOCK_DGRAM, 0), to4 = socket(AF_INET, SOCK_DGRAM, 0),
        to6 = socket(AF_INET6, SOCK_DGRAM, 0);
    CHECK(s >= 0 && to4 >= 0 && to6 >= 0);
    CHECK(sock_bind(to4, v4("127.0.0.1", 0)) == 0 && sock_bind6(to6, v6("::1", 0)) == 0);
    CHECK(sock_connect6(s, v6("::1", own_port(to6))) == 0);
    struct sockaddr_in6 mapped = v6("::ffff:127.0.0.1", own_port(to4)),
                        real = v6("::1", own_port(to6));
    CHECK(sendto(s, "a", 1, 0, (struct sockaddr *)&mapped, sizeof(mapped)) == 1);
    len = sizeof(from4);
    CHECK(recvfrom(to4, &c, 1, 0, (struct sockaddr *)&from4, &len) == 1);
    CHECK(from4.sin_addr.s_addr == htonl(INADDR_LOOPBACK) && ntohs(from4.sin_port) == own_port(s));
    CHECK(sock_connect6(s, mapped) == 0);
    len = sizeof(name);
    CHECK(getsockname(s, (struct sockaddr *)&name, &len) == 0);
    CHECK(IN6_IS_ADDR_LOOPBACK(&name.sin6_addr));
    CHECK(sendto(s, "b", 1, 0, (struct sockaddr *)&real, sizeof(real)) == 1);
    len = sizeof(from);
    CHECK(recvfrom(to6, &c, 1, 0, (struct sockaddr *)&from, &len) == 1 && c == 'b');
    CHECK(IN6_IS_ADDR_LOOPBACK(&from.sin6_addr));
}

static const struct guest_case cases[] = {
    {"both_versions", both_versions},
    {"fresh", fresh},
    {"datagrams", datagrams},
    {"sizes", sizes},
    {"connected", connected},
    {"refused", refused},
    {"names_in_use", names_in_use},
    {"overflow", overflow},
    {"shut", shut},
    {"dual_stack", dual_stack},
    {"packet_info", packet_info},
    {"packet_info6", packet_info6},
    {"waiting", waiting},
};

GUEST_MAIN(cases)
