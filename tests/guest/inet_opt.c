/* SPDX-License-Identifier: Apache-2.0
 * inet_opt.c - options of AF_INET and AF_INET6 sockets: defaults, ranges, what is refused. */
#include "inetutil.h"

#include <netinet/udp.h>

static int t, u, t6;

static void sockets(void)
{
    t = tcp_new();
    u = socket(AF_INET, SOCK_DGRAM, 0);
    t6 = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(u >= 0 && t6 >= 0);
}

/* Keeps what is set. */
static void kept(int s, int level, int name, int start, int value)
{
    CHECK_EQ(sock_opt(s, level, name), start);
    CHECK(sock_set(s, level, name, value) == 0);
    CHECK_EQ(sock_opt(s, level, name), value);
}

static void flags(void)
{
    static const int names[] = {SO_DEBUG,     SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST,
                                SO_KEEPALIVE, SO_OOBINLINE, SO_REUSEPORT, SO_TIMESTAMP};
    sockets();
    for (size_t i = names[0] == SO_DEBUG && geteuid() != 0; i < sizeof(names) / sizeof(names[0]);
         i++) {
        kept(t, SOL_SOCKET, names[i], 0, 1);
        CHECK(sock_set(t, SOL_SOCKET, names[i], 77) == 0);
        CHECK_EQ(sock_opt(t, SOL_SOCKET, names[i]), 1);
        CHECK(sock_set(t, SOL_SOCKET, names[i], 0) == 0);
    }
}

static void identity(void)
{
    sockets();
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_DOMAIN), AF_INET);
    CHECK_EQ(sock_opt(t6, SOL_SOCKET, SO_DOMAIN), AF_INET6);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_ACCEPTCONN), 0);
    CHECK(listen(t, 1) == 0);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_ACCEPTCONN), 1);
    CHECK_ERR(sock_set(t, SOL_SOCKET, SO_TYPE, 1), ENOPROTOOPT);
    CHECK_ERR(sock_set(t, SOL_SOCKET, SO_ACCEPTCONN, 1), ENOPROTOOPT);
    CHECK_ERR(sock_set(t, SOL_SOCKET, SO_ERROR, 1), ENOPROTOOPT);
}

static void buffers(void)
{
    sockets();
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_SNDBUF), 16384);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_RCVBUF), 131072);
    CHECK_EQ(sock_opt(u, SOL_SOCKET, SO_RCVBUF), 212992);
    CHECK(sock_set(t, SOL_SOCKET, SO_SNDBUF, 10000) == 0);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_SNDBUF), 20000);
    CHECK(sock_set(t, SOL_SOCKET, SO_SNDBUF, 0) == 0);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_SNDBUF), 4608);
    CHECK(sock_set(t, SOL_SOCKET, SO_RCVBUF, 0) == 0);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_RCVBUF), 2304);
    CHECK(sock_set(t, SOL_SOCKET, SO_RCVBUF, 1 << 30) == 0);
    CHECK(sock_opt(t, SOL_SOCKET, SO_RCVBUF) >= 425984); /* rmem_max, doubled */
    CHECK(sock_set(u, SOL_SOCKET, SO_RCVBUF, 40000) == 0);
    CHECK_EQ(sock_opt(u, SOL_SOCKET, SO_RCVBUF), 80000);
}

static void tcp_numbers(void)
{
    sockets();
    kept(t, IPPROTO_TCP, TCP_NODELAY, 0, 1);
    kept(t, IPPROTO_TCP, TCP_CORK, 0, 1);
    kept(t, IPPROTO_TCP, TCP_KEEPIDLE, 7200, 60);
    kept(t, IPPROTO_TCP, TCP_KEEPINTVL, 75, 10);
    kept(t, IPPROTO_TCP, TCP_KEEPCNT, 9, 5);
    kept(t, IPPROTO_TCP, TCP_SYNCNT, 6, 3);
    kept(t, IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 5000);
    kept(t, IPPROTO_TCP, TCP_LINGER2, 60, 30);
    CHECK_ERR(sock_set(t, IPPROTO_TCP, TCP_KEEPIDLE, 0), EINVAL);
    CHECK_ERR(sock_set(t, IPPROTO_TCP, TCP_KEEPIDLE, 32768), EINVAL);
    CHECK_ERR(sock_set(t, IPPROTO_TCP, TCP_KEEPCNT, 128), EINVAL);
    CHECK_ERR(sock_set(t, IPPROTO_TCP, TCP_USER_TIMEOUT, -1), EINVAL);
    CHECK_ERR(sock_set(t, IPPROTO_TCP, TCP_MAXSEG, 1), EINVAL);
    CHECK_EQ(sock_opt(t, IPPROTO_TCP, TCP_QUICKACK), 1);
    CHECK_ERR(sock_set(t, IPPROTO_TCP, 999, 1), ENOPROTOOPT);
    CHECK_ERR(setsockopt(u, IPPROTO_TCP, TCP_NODELAY, &t, 4), ENOPROTOOPT);
}

static void tcp_names(void)
{
    char name[16] = {0};
    socklen_t len = sizeof(name);
    sockets();
    CHECK(getsockopt(t, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 && name[0]);
    CHECK(setsockopt(t, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
    CHECK(getsockopt(t, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 && !strcmp(name, "reno"));
    CHECK_ERR(setsockopt(t, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6), ENOENT);
}

static void tcp_information(void)
{
    struct tcp_info i;
    socklen_t len = sizeof(i);
    int s[2];
    sockets();
    CHECK(getsockopt(t, IPPROTO_TCP, TCP_INFO, &i, &len) == 0);
    CHECK_EQ(i.tcpi_state, TCP_CLOSE);
    CHECK(listen(t, 3) == 0 && getsockopt(t, IPPROTO_TCP, TCP_INFO, &i, &len) == 0);
    CHECK(i.tcpi_state == TCP_LISTEN && i.tcpi_unacked == 0 && i.tcpi_sacked == 3);
    tcp_pair(s);
    CHECK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &len) == 0);
    CHECK(i.tcpi_state == TCP_ESTABLISHED && i.tcpi_snd_mss > 1000 && i.tcpi_rtt > 0);
    CHECK(shutdown(s[0], SHUT_WR) == 0);
    WAIT_FOR(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &len) == 0 &&
             i.tcpi_state == TCP_FIN_WAIT2);
    CHECK(getsockopt(s[1], IPPROTO_TCP, TCP_INFO, &i, &len) == 0);
    CHECK_EQ(i.tcpi_state, TCP_CLOSE_WAIT);
    len = 1; /* the state alone */
    CHECK(getsockopt(s[1], IPPROTO_TCP, TCP_INFO, &i, &len) == 0 && len == 1);
}

static void ip_numbers(void)
{
    sockets();
    kept(u, IPPROTO_IP, IP_TTL, 64, 9);
    kept(u, IPPROTO_IP, IP_TOS, 0, 0x10);
    kept(u, IPPROTO_IP, IP_PKTINFO, 0, 1);
    kept(u, IPPROTO_IP, IP_RECVTTL, 0, 1);
    kept(u, IPPROTO_IP, IP_MTU_DISCOVER, 1, IP_PMTUDISC_DO);
    kept(u, IPPROTO_IP, IP_MULTICAST_TTL, 1, 5);
    kept(u, IPPROTO_IP, IP_MULTICAST_LOOP, 1, 0);
    CHECK_ERR(sock_set(u, IPPROTO_IP, IP_TTL, 256), EINVAL);
    CHECK_ERR(sock_set(u, IPPROTO_IP, IP_TTL, 0), EINVAL);
    CHECK_ERR(sock_set(u, IPPROTO_IP, IP_MTU_DISCOVER, 9), EINVAL);
    CHECK_ERR(sock_set(u, IPPROTO_IP, 199, 9), ENOPROTOOPT);
    int v;
    socklen_t len = sizeof(v);
    CHECK_ERR(getsockopt(u, IPPROTO_IP, IP_MTU, &v, &len), ENOTCONN);
    unsigned char one = 33;
    CHECK(setsockopt(u, IPPROTO_IP, IP_TTL, &one, 1) == 0);
    CHECK_EQ(sock_opt(u, IPPROTO_IP, IP_TTL), 33);
    len = 1;
    CHECK(getsockopt(u, IPPROTO_IP, IP_TTL, &one, &len) == 0 && one == 33 && len == 1);
}

static void ipv6_numbers(void)
{
    int v;
    socklen_t len = sizeof(v);
    sockets();
    kept(t6, IPPROTO_IPV6, IPV6_V6ONLY, 0, 1);
    kept(t6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, 9);
    kept(t6, IPPROTO_IPV6, IPV6_TCLASS, 0, 8);
    kept(t6, IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, 1);
    CHECK_ERR(sock_set(t6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256), EINVAL);
    CHECK_ERR(sock_set(t, IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT);
    CHECK_ERR(getsockopt(t, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len), EOPNOTSUPP);
}

static void structures(void)
{
    struct linger l = {1, 7}, m;
    struct timeval tv = {1, 500000}, w;
    struct ucred c;
    socklen_t len = sizeof(m);
    sockets();
    CHECK(setsockopt(t, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
    CHECK(getsockopt(t, SOL_SOCKET, SO_LINGER, &m, &len) == 0 && len == sizeof(m));
    CHECK(m.l_onoff == 1 && m.l_linger == 7);
    CHECK_ERR(setsockopt(t, SOL_SOCKET, SO_LINGER, &l, 4), EINVAL);
    CHECK(setsockopt(t, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    len = sizeof(w);
    CHECK(getsockopt(t, SOL_SOCKET, SO_RCVTIMEO, &w, &len) == 0);
    CHECK(w.tv_sec == 1 && w.tv_usec >= 500000 && w.tv_usec < 510000);
    tv.tv_usec = 1000000;
    CHECK_ERR(setsockopt(t, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), EDOM);
    len = sizeof(c);
    CHECK(getsockopt(t, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0 && c.pid == 0);
    CHECK(setsockopt(t, SOL_SOCKET, SO_BINDTODEVICE, "", 0) == 0);
    CHECK_ERR(setsockopt(t, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8), ENODEV);
    CHECK_ERR(sock_set(t, SOL_SOCKET, 999, 1), ENOPROTOOPT);
    CHECK_ERR(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, &l, 2), EINVAL);
    CHECK_ERR(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, (void *)8, 4), EFAULT);
    CHECK_ERR(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, &l, -1), EINVAL);
}

static void inherited(void)
{
    int l = tcp_listener(1), c = tcp_new();
    CHECK(sock_set(l, IPPROTO_TCP, TCP_NODELAY, 1) == 0);
    CHECK(sock_set(l, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
    CHECK(sock_set(l, SOL_SOCKET, SO_RCVBUF, 20000) == 0);
    CHECK(sock_connect(c, own_name(l)) == 0);
    int a = accept(l, NULL, NULL);
    CHECK_EQ(sock_opt(a, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(sock_opt(a, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(sock_opt(a, SOL_SOCKET, SO_RCVBUF), 40000);
    CHECK_EQ(sock_opt(a, SOL_SOCKET, SO_ACCEPTCONN), 0);
}

static void low_water(void)
{
    sockets();
    kept(t, SOL_SOCKET, SO_RCVLOWAT, 1, 100);
    CHECK(sock_set(t, SOL_SOCKET, SO_RCVLOWAT, 0) == 0);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_RCVLOWAT), 1);
    CHECK_EQ(sock_opt(t, SOL_SOCKET, SO_SNDLOWAT), 1);
}

static const struct guest_case cases[] = {
    {"flags", flags},           {"identity", identity},
    {"buffers", buffers},       {"tcp_numbers", tcp_numbers},
    {"tcp_names", tcp_names},   {"tcp_information", tcp_information},
    {"ip_numbers", ip_numbers}, {"ipv6_numbers", ipv6_numbers},
    {"structures", structures}, {"inherited", inherited},
    {"low_water", low_water},
};

GUEST_MAIN(cases)
