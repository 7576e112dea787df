/* SPDX-License-Identifier: Apache-2.0
 * inet_name.c - addresses and ports of TCP sockets: sharing, IPv4 within IPv6, who hears whom. */
#include "inetutil.h"

static void names_in_use(void)
{
    int a = tcp_new(), b = tcp_new(), c = tcp_new(), d = tcp_new();
    CHECK(sock_bind(a, v4("127.0.0.1", 0)) == 0);
    int port = own_port(a);
    CHECK(port >= 1024);
    CHECK_ERR(sock_bind(a, v4("127.0.0.1", 0)), EINVAL);
    CHECK_ERR(sock_bind(b, v4("127.0.0.1", port)), EADDRINUSE);
    CHECK_ERR(sock_bind(b, v4("0.0.0.0", port)), EADDRINUSE);
    CHECK(sock_bind(c, v4("127.0.0.2", port)) == 0);
    CHECK(sock_set(a, SOL_SOCKET, SO_REUSEADDR, 1) == 0);
    CHECK(sock_set(b, SOL_SOCKET, SO_REUSEADDR, 1) == 0);
    CHECK(sock_bind(b, v4("127.0.0.1", port)) == 0);
    CHECK(listen(a, 1) == 0);
    CHECK_ERR(listen(b, 1), EADDRINUSE);
    CHECK(sock_set(d, SOL_SOCKET, SO_REUSEADDR, 1) == 0);
    CHECK_ERR(sock_bind(d, v4("127.0.0.1", port)), EADDRINUSE); /* one listens */
    if (geteuid() != 0)
        CHECK_ERR(sock_bind(d, v4("127.0.0.1", 81)), EACCES);
}

static void reuse_port(void)
{
    int l[3], hits[3] = {0};
    for (int i = 0; i < 3; i++) {
        l[i] = tcp_new();
        CHECK(sock_set(l[i], SOL_SOCKET, SO_REUSEPORT, 1) == 0);
        CHECK(sock_bind(l[i], v4("127.0.0.1", i ? own_port(l[0]) : 0)) == 0);
        CHECK(listen(l[i], 100) == 0);
        nonblocking(l[i]);
    }
    for (int i = 0; i < 60; i++)
        CHECK(sock_connect(tcp_new(), own_name(l[0])) == 0);
    for (int i = 0; i < 3; i++)
        while (accept(l[i], NULL, NULL) >= 0)
            hits[i]++;
    CHECK_EQ(hits[0] + hits[1] + hits[2], 60);
    CHECK(hits[0] > 3 && hits[1] > 3 && hits[2] > 3);
}

static void dual_stack(void)
{
    int l = socket(AF_INET6, SOCK_STREAM, 0), c = tcp_new(), d = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a;
    socklen_t len = sizeof(a);
    CHECK(sock_bind6(l, v6("::", 0)) == 0 && listen(l, 5) == 0);
    int port = own_port(l);
    CHECK_ERR(sock_bind(tcp_new(), v4("0.0.0.0", port)), EADDRINUSE);
    CHECK(sock_connect(c, v4("127.0.0.1", port)) == 0);
    int t = accept(l, (struct sockaddr *)&a, &len);
    CHECK(t >= 0 && len == sizeof(a) && IN6_IS_ADDR_V4MAPPED(&a.sin6_addr));
    CHECK(sock_connect6(d, v6("::ffff:127.0.0.1", port)) == 0);
    CHECK(getpeername(d, (struct sockaddr *)&a, &len) == 0 && IN6_IS_ADDR_V4MAPPED(&a.sin6_addr));
    int only = socket(AF_INET6, SOCK_STREAM, 0), v = tcp_new();
    CHECK(sock_set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0);
    CHECK(sock_bind6(only, v6("::", 0)) == 0 && listen(only, 1) == 0);
    CHECK_ERR(sock_set(only, IPPROTO_IPV6, IPV6_V6ONLY, 0), EINVAL);
    CHECK_ERR(sock_connect(v, v4("127.0.0.1", own_port(only))), ECONNREFUSED);
    CHECK(sock_bind(tcp_new(), v4("0.0.0.0", own_port(only))) == 0);
    int w = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(sock_connect6(w, v6("::", own_port(only))) == 0);
    CHECK(getpeername(w, (struct sockaddr *)&a, &len) == 0 && IN6_IS_ADDR_LOOPBACK(&a.sin6_addr));
}

static void addresses(void)
{
    int l = tcp_new(), c = tcp_new(), d = tcp_new();
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    CHECK(sock_bind(l, v4("0.0.0.0", 0)) == 0 && listen(l, 5) == 0);
    CHECK(sock_connect(c, v4("127.0.0.5", own_port(l))) == 0);
    CHECK_EQ(own_name(c).sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    int t = accept(l, NULL, NULL);
    CHECK(own_name(t).sin_addr.s_addr == v4("127.0.0.5", 0).sin_addr.s_addr);
    CHECK(sock_connect(d, v4("0.0.0.0", own_port(l))) == 0);
    CHECK(getpeername(d, (struct sockaddr *)&a, &len) == 0);
    CHECK_EQ(a.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    len = 4; /* cut, but the full length is told */
    a.sin_port = 1;
    CHECK(getsockname(d, (struct sockaddr *)&a, &len) == 0 && len == sizeof(a));
    CHECK(a.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
}

static void same_pair(void)
{
    int l = tcp_listener(5), c = tcp_new(), d = tcp_new();
    CHECK(sock_set(c, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
          sock_set(d, SOL_SOCKET, SO_REUSEADDR, 1) == 0);
    CHECK(sock_bind(c, v4("127.0.0.1", 0)) == 0);
    CHECK(sock_bind(d, v4("127.0.0.1", own_port(c))) == 0);
    CHECK(sock_connect(c, own_name(l)) == 0);
    CHECK_ERR(sock_connect(d, own_name(l)), EADDRNOTAVAIL);
}

static void with_oneself(void)
{
    char buf[4];
    int c = tcp_new();
    CHECK(sock_bind(c, v4("127.0.0.1", 0)) == 0);
    CHECK(sock_connect(c, own_name(c)) == 0);
    CHECK(send(c, "abc", 3, 0) == 3);
    CHECK_EQ(recv(c, buf, 4, 0), 3);
}

static const struct guest_case cases[] = {
    {"names_in_use", names_in_use}, {"reuse_port", reuse_port}, {"dual_stack", dual_stack},
    {"addresses", addresses},       {"same_pair", same_pair},   {"with_oneself", with_oneself},
};

GUEST_MAIN(cases)
