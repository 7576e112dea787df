/* SPDX-License-Identifier: Apache-2.0
 * inetutil.h - loopback sockets for tests: pairs, addresses, what poll() says now. */
#ifndef INETUTIL_H
#define INETUTIL_H

#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define INET_IN (POLLIN | POLLRDNORM)
#define INET_OUT (POLLOUT | POLLWRNORM)
#define INET_ALL (INET_IN | INET_OUT | POLLPRI | POLLERR | POLLHUP | POLLRDHUP)

static inline struct sockaddr_in v4(const char *ip, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    CHECK(inet_pton(AF_INET, ip, &a.sin_addr) == 1);
    return a;
}

static inline struct sockaddr_in6 v6(const char *ip, int port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    CHECK(inet_pton(AF_INET6, ip, &a.sin6_addr) == 1);
    return a;
}

static inline int sock_bind(int s, struct sockaddr_in a)
{
    return bind(s, (struct sockaddr *)&a, sizeof(a));
}

static inline int sock_connect(int s, struct sockaddr_in a)
{
    return connect(s, (struct sockaddr *)&a, sizeof(a));
}

static inline int sock_bind6(int s, struct sockaddr_in6 a)
{
    return bind(s, (struct sockaddr *)&a, sizeof(a));
}

static inline int sock_connect6(int s, struct sockaddr_in6 a)
{
    return connect(s, (struct sockaddr *)&a, sizeof(a));
}

static inline struct sockaddr_in own_name(int s)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    CHECK(getsockname(s, (struct sockaddr *)&a, &len) == 0);
    return a;
}

static inline int own_port(int s)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    CHECK(getsockname(s, (struct sockaddr *)&ss, &len) == 0);
    return ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

static inline int sock_opt(int s, int level, int name)
{
    int v = -1;
    socklen_t len = sizeof(v);
    CHECK(getsockopt(s, level, name, &v, &len) == 0);
    return v;
}

static inline int sock_set(int s, int level, int name, int v)
{
    return setsockopt(s, level, name, &v, sizeof(v));
}

static inline int tcp_new(void)
{
    int s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s >= 0);
    return s;
}

static inline void nonblocking(int s)
{
    CHECK(fcntl(s, F_SETFL, O_NONBLOCK) == 0);
}

static inline int tcp_listener(int backlog)
{
    int l = tcp_new();
    CHECK(sock_bind(l, v4("127.0.0.1", 0)) == 0);
    CHECK(listen(l, backlog) == 0);
    return l;
}

/* s[0] the client, s[1] the server's side. */
static inline void tcp_pair(int s[2])
{
    int l = tcp_listener(1);
    s[0] = tcp_new();
    CHECK(sock_connect(s[0], own_name(l)) == 0);
    s[1] = accept(l, NULL, NULL);
    CHECK(s[1] >= 0);
    close(l);
}

static inline int poll_now(int s)
{
    struct pollfd p = {.fd = s, .events = INET_ALL};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

/* Natively what the other side did arrives a moment later. */
#define POLL_BECOMES(s, bits)                                                     \
    do {                                                                          \
        int64_t poll_end = guest_now_ns(CLOCK_MONOTONIC) + 5000000000LL;          \
        while (poll_now(s) != (bits) && guest_now_ns(CLOCK_MONOTONIC) < poll_end) \
            guest_sleep_ms(1);                                                    \
        CHECK_EQ(poll_now(s), bits);                                              \
    } while (0)

#endif
