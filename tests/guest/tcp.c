/* SPDX-License-Identifier: Apache-2.0
 * tcp.c - TCP on loopback: connecting, names, queues, closing, resets, urgent data. */
#include "inetutil.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/uio.h>

static int s[2];

static void fresh(void)
{
    char c;
    int f = tcp_new();
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    CHECK_EQ(poll_now(f), INET_OUT | POLLHUP);
    CHECK_ERR(recv(f, &c, 1, 0), ENOTCONN);
    CHECK_ERR(send(f, &c, 1, MSG_NOSIGNAL), EPIPE);
    CHECK_ERR(shutdown(f, SHUT_RDWR), ENOTCONN);
    CHECK_ERR(getpeername(f, (struct sockaddr *)&a, &len), ENOTCONN);
    CHECK_ERR(accept(f, NULL, NULL), EINVAL);
    CHECK_ERR(shutdown(f, 3), EINVAL);
    CHECK_EQ(own_port(f), 0);
    CHECK_ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    CHECK_ERR(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
    CHECK_ERR(socketpair(AF_INET, SOCK_STREAM, 0, s), EOPNOTSUPP);
    CHECK_ERR(socket(AF_INET, 77, 0), EINVAL);
    CHECK_ERR(socket(46, SOCK_STREAM, 0), EAFNOSUPPORT);
}

static void connecting(void)
{
    int l = tcp_listener(5), c = tcp_new(), d = tcp_new(), e = tcp_new();
    struct sockaddr_in a = own_name(l), b;
    socklen_t len = sizeof(b);
    CHECK_EQ(poll_now(l), 0);
    CHECK(sock_connect(c, a) == 0);
    CHECK_EQ(poll_now(l), INET_IN);
    CHECK_ERR(sock_connect(c, a), EISCONN);
    int t = accept4(l, (struct sockaddr *)&b, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(t >= 0 && len == sizeof(b));
    CHECK(fcntl(t, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(t, F_GETFD) == FD_CLOEXEC);
    CHECK(b.sin_port == own_name(c).sin_port && own_name(t).sin_port == a.sin_port);
    CHECK(getpeername(c, (struct sockaddr *)&b, &len) == 0 && b.sin_port == a.sin_port);
    CHECK_EQ(poll_now(c), INET_OUT);
    CHECK_EQ(poll_now(t), INET_OUT);
    CHECK_ERR(sock_connect(l, a), EISCONN);
    nonblocking(d);
    CHECK_ERR(sock_connect(d, a), EINPROGRESS);
    POLL_BECOMES(d, INET_OUT);
    CHECK(sock_connect(d, a) == 0);
    CHECK_ERR(sock_connect(d, a), EISCONN);
    CHECK_ERR(connect(e, (struct sockaddr *)&a, 8), EINVAL);
    a.sin_family = AF_INET6;
    CHECK_ERR(sock_connect(e, a), EAFNOSUPPORT);
}

static void refused(void)
{
    int l = tcp_listener(5), c = tcp_new(), d = tcp_new();
    struct sockaddr_in a = own_name(l);
    close(l);
    CHECK_ERR(sock_connect(c, a), ECONNREFUSED);
    CHECK_ERR(sock_connect(c, a), ECONNREFUSED);
    nonblocking(d);
    CHECK_ERR(sock_connect(d, a), EINPROGRESS);
    POLL_BECOMES(d, INET_IN | INET_OUT | POLLERR | POLLHUP | POLLRDHUP);
    CHECK_EQ(sock_opt(d, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    CHECK_EQ(sock_opt(d, SOL_SOCKET, SO_ERROR), 0);
    CHECK_ERR(sock_connect(d, a), ECONNABORTED);
    l = tcp_listener(5);
    CHECK(sock_connect(c, own_name(l)) == 0); /* a socket that was refused can be used again */
}

static void unreachable(void)
{
    int u = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(u >= 0);
    CHECK_ERR(sock_bind(tcp_new(), v4("8.8.8.8", 0)), EADDRNOTAVAIL);
    CHECK_ERR(sock_bind6(u, v6("2001:db8::1", 0)), EADDRNOTAVAIL);
    CHECK_ERR(sock_connect(tcp_new(), v4("224.0.0.1", 9)), ENETUNREACH);
}

static void backlog(void)
{
    int l = tcp_listener(1), c[4];
    for (int i = 0; i < 4; i++) {
        c[i] = tcp_new();
        nonblocking(c[i]);
        CHECK_ERR(sock_connect(c[i], own_name(l)), EINPROGRESS);
    }
    POLL_BECOMES(c[0], INET_OUT);
    POLL_BECOMES(c[1], INET_OUT);
    CHECK_EQ(poll_now(c[2]), 0); /* backlog + 1 fit */
    CHECK_ERR(sock_connect(c[2], own_name(l)), EALREADY);
    CHECK_ERR(send(c[2], "x", 1, MSG_DONTWAIT), EAGAIN);
    CHECK_ERR(recv(c[2], c, 1, MSG_DONTWAIT), EAGAIN);
    CHECK(accept(l, NULL, NULL) >= 0);
    POLL_BECOMES(c[2], INET_OUT);
    close(l);
    int all = INET_IN | INET_OUT | POLLERR | POLLHUP | POLLRDHUP;
    POLL_BECOMES(c[1], all);
    CHECK_EQ(sock_opt(c[1], SOL_SOCKET, SO_ERROR), ECONNRESET);
    POLL_BECOMES(c[3], all);
    int err = sock_opt(c[3], SOL_SOCKET, SO_ERROR); /* natively it may have come in at the last */
    CHECK(err == ECONNREFUSED || err == ECONNRESET);
}

static void *connect_later(void *arg)
{
    guest_sleep_ms(30);
    CHECK(sock_connect(s[0], *(struct sockaddr_in *)arg) == 0);
    return NULL;
}

static void accept_waits(void)
{
    int l = tcp_listener(1);
    struct sockaddr_in a = own_name(l);
    pthread_t t;
    struct timeval tv = {.tv_usec = 20000};
    s[0] = tcp_new();
    CHECK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
    tv.tv_usec = 0;
    CHECK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    CHECK(pthread_create(&t, NULL, connect_later, &a) == 0);
    CHECK(accept(l, NULL, NULL) >= 0);
    CHECK(pthread_join(t, NULL) == 0);
    nonblocking(l);
    CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
    CHECK(shutdown(l, SHUT_RD) == 0);
    CHECK_ERR(accept(l, NULL, NULL), EINVAL);
    CHECK_EQ(poll_now(l), INET_OUT | POLLHUP);
}

static void half_close(void)
{
    char buf[8];
    tcp_pair(s);
    CHECK(send(s[0], "abc", 3, 0) == 3 && shutdown(s[0], SHUT_WR) == 0);
    POLL_BECOMES(s[1], INET_IN | INET_OUT | POLLRDHUP);
    CHECK_EQ(recv(s[1], buf, 8, 0), 3);
    CHECK_EQ(recv(s[1], buf, 8, 0), 0);
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(send(s[1], "de", 2, 0), 2);
    CHECK_EQ(recv(s[0], buf, 8, 0), 2);
    CHECK(shutdown(s[1], SHUT_WR) == 0);
    int done = INET_IN | INET_OUT | POLLRDHUP | POLLHUP;
    POLL_BECOMES(s[0], done);
    POLL_BECOMES(s[1], done);
    CHECK_ERR(shutdown(s[1], SHUT_WR), ENOTCONN);
}

static void shut_for_reading(void)
{
    char buf[8];
    tcp_pair(s);
    CHECK(shutdown(s[0], SHUT_RD) == 0);
    CHECK_EQ(poll_now(s[0]), INET_IN | INET_OUT | POLLRDHUP);
    CHECK_EQ(recv(s[0], buf, 8, 0), 0);
    CHECK_EQ(send(s[1], "hello", 5, 0), 5);
    CHECK_EQ(recv(s[0], buf, 8, 0), 5);
}

/* The peer closes in order: what it sent can be read, what is sent to it comes back as a reset. */
static void closed_by_peer(void)
{
    char buf[8];
    tcp_pair(s);
    CHECK(send(s[0], "abc", 3, 0) == 3);
    close(s[0]);
    POLL_BECOMES(s[1], INET_IN | INET_OUT | POLLRDHUP);
    CHECK_EQ(recv(s[1], buf, 8, 0), 3);
    CHECK_EQ(recv(s[1], buf, 8, 0), 0);
    CHECK_EQ(send(s[1], "a", 1, 0), 1);
    POLL_BECOMES(s[1], INET_IN | INET_OUT | POLLRDHUP | POLLHUP | POLLERR);
    CHECK_EQ(recv(s[1], buf, 8, 0), 0);
    CHECK_ERR(send(s[1], "a", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(poll_now(s[1]), INET_IN | INET_OUT | POLLRDHUP | POLLHUP);
    pid_t pid = fork();
    if (pid == 0) {
        (void)!write(s[1], "x", 1);
        _exit(0);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
}

static void closed_with_unread(void)
{
    char buf[8];
    tcp_pair(s);
    CHECK(send(s[0], "abc", 3, 0) == 3 && send(s[1], "xyz", 3, 0) == 3);
    WAIT_FOR(poll_now(s[0]) & POLLIN);
    close(s[0]);
    POLL_BECOMES(s[1], INET_IN | INET_OUT | POLLRDHUP | POLLHUP | POLLERR);
    CHECK_EQ(recv(s[1], buf, 8, 0), 3);
    CHECK_ERR(recv(s[1], buf, 8, 0), ECONNRESET);
    CHECK_EQ(recv(s[1], buf, 8, 0), 0);
    CHECK_ERR(send(s[1], "a", 1, MSG_NOSIGNAL), EPIPE);
}

static void reset_by_linger(void)
{
    char buf[8];
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    struct linger l = {.l_onoff = 1};
    tcp_pair(s);
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
    close(s[0]);
    POLL_BECOMES(s[1], INET_IN | INET_OUT | POLLRDHUP | POLLHUP | POLLERR);
    CHECK_ERR(send(s[1], "a", 1, 0), ECONNRESET);
    CHECK_ERR(send(s[1], "a", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(recv(s[1], buf, 8, 0), 0);
    CHECK_ERR(getpeername(s[1], (struct sockaddr *)&a, &len), ENOTCONN);
    tcp_pair(s);
    l.l_linger = 1;
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
    CHECK(send(s[0], "abc", 3, 0) == 3);
    close(s[0]);
    CHECK_EQ(recv(s[1], buf, 8, 0), 3);
}

/* Who waits for room is told, however full it was. */
static void reset_when_full(void)
{
    static const char data[65536];
    struct linger l = {1, 0};
    int s[2];
    tcp_pair(s);
    nonblocking(s[0]);
    WAIT_FOR(((void)send(s[0], data, sizeof(data), 0), poll_now(s[0]) == 0));
    CHECK(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0 && close(s[1]) == 0);
    POLL_BECOMES(s[0], INET_IN | INET_OUT | POLLERR | POLLHUP | POLLRDHUP);
    CHECK_ERR(send(s[0], data, 1, MSG_NOSIGNAL), ECONNRESET);
    CHECK_ERR(send(s[0], data, 1, MSG_NOSIGNAL), EPIPE);
}

static void reset_before_accept(void)
{
    char c;
    int l = tcp_listener(1);
    struct linger now = {.l_onoff = 1};
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    s[0] = tcp_new();
    CHECK(sock_connect(s[0], own_name(l)) == 0);
    int port = own_port(s[0]);
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
    close(s[0]);
    guest_sleep_ms(5);
    int t = accept(l, (struct sockaddr *)&a, &len);
    CHECK(t >= 0 && ntohs(a.sin_port) == port);
    CHECK_ERR(recv(t, &c, 1, 0), ECONNRESET);
}

static void disconnected(void)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    char c;
    int l = tcp_listener(1);
    tcp_pair(s);
    CHECK(connect(s[0], &none, sizeof(none)) == 0);
    CHECK_ERR(recv(s[1], &c, 1, 0), ECONNRESET);
    CHECK_EQ(poll_now(s[0]), INET_OUT | POLLHUP | POLLERR);
    CHECK_EQ(sock_opt(s[0], SOL_SOCKET, SO_ERROR), ECONNRESET);
    CHECK(sock_connect(s[0], own_name(l)) == 0);
    int t = accept(l, NULL, NULL);
    CHECK(send(s[0], "a", 1, 0) == 1 && recv(t, &c, 1, 0) == 1);
}

/* A sender without a reader comes to an end, and goes on when there is room. */
static void back_pressure(void)
{
    static char big[65536];
    size_t sent = 0, got = 0;
    ssize_t n;
    tcp_pair(s);
    CHECK(sock_set(s[0], SOL_SOCKET, SO_SNDBUF, 16384) == 0);
    CHECK_EQ(sock_opt(s[0], SOL_SOCKET, SO_SNDBUF), 32768);
    nonblocking(s[0]);
    while ((n = send(s[0], big, sizeof(big), 0)) > 0 && sent < (64u << 20))
        sent += (size_t)n;
    CHECK(errno == EAGAIN && sent >= 32768 && sent < (32u << 20));
    CHECK(!(poll_now(s[0]) & POLLOUT));
    while (!(poll_now(s[0]) & POLLOUT) && got < sent) {
        n = recv(s[1], big, sizeof(big), 0);
        CHECK(n > 0);
        got += (size_t)n;
        guest_sleep_ms(1);
    }
    CHECK(send(s[0], big, 100, 0) > 0);
}

#define STREAM_BYTES (24u << 20)

static void *pour(void *arg)
{
    static unsigned char buf[100000];
    (void)arg;
    for (size_t done = 0; done < STREAM_BYTES;) {
        size_t want = 1 + (done * 7919) % sizeof(buf);
        want = want < STREAM_BYTES - done ? want : STREAM_BYTES - done;
        for (size_t i = 0; i < want; i++)
            buf[i] = (unsigned char)((done + i) * 2654435761u >> 13);
        CHECK_EQ(send(s[0], buf, want, 0), (ssize_t)want);
        done += want;
    }
    CHECK(shutdown(s[0], SHUT_WR) == 0);
    return NULL;
}

static void stream_is_whole(void)
{
    static unsigned char buf[77777];
    size_t got = 0;
    ssize_t n;
    pthread_t t;
    tcp_pair(s);
    CHECK(pthread_create(&t, NULL, pour, NULL) == 0);
    while ((n = recv(s[1], buf, 1 + got % sizeof(buf), 0)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            CHECK(buf[i] == (unsigned char)((got + (size_t)i) * 2654435761u >> 13));
        got += (size_t)n;
    }
    CHECK(n == 0 && got == STREAM_BYTES);
    CHECK(pthread_join(t, NULL) == 0);
}

static void *send_slowly(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++) {
        guest_sleep_ms(10);
        CHECK_EQ(send(s[0], "0123456789", 10, 0), 10);
    }
    return NULL;
}

static void flags(void)
{
    char buf[64];
    int n;
    pthread_t t;
    tcp_pair(s);
    CHECK_ERR(recv(s[1], buf, 8, MSG_DONTWAIT), EAGAIN);
    CHECK(send(s[0], "abcdef", 6, 0) == 6);
    CHECK_EQ(recv(s[1], buf, 8, MSG_PEEK), 6);
    CHECK(ioctl(s[1], FIONREAD, &n) == 0 && n == 6);
    CHECK_EQ(recv(s[1], NULL, 2, MSG_TRUNC), 2); /* discarded */
    CHECK(recv(s[1], buf, 8, 0) == 4 && !memcmp(buf, "cdef", 4));
    CHECK(pthread_create(&t, NULL, send_slowly, NULL) == 0);
    CHECK_EQ(recv(s[1], buf, 40, MSG_WAITALL), 40);
    CHECK(pthread_join(t, NULL) == 0);
    CHECK(send(s[0], "abc", 3, 0) == 3 && shutdown(s[0], SHUT_WR) == 0);
    CHECK_EQ(recv(s[1], buf, 40, MSG_WAITALL), 3);
    CHECK_ERR(recv(s[1], buf, 1, MSG_OOB), EINVAL);
}

static void low_water(void)
{
    char buf[64];
    pthread_t t;
    tcp_pair(s);
    CHECK(sock_set(s[1], SOL_SOCKET, SO_RCVLOWAT, 15) == 0);
    CHECK(send(s[0], "0123456789", 10, 0) == 10);
    guest_sleep_ms(5);
    CHECK_EQ(poll_now(s[1]), INET_OUT);
    CHECK_EQ(recv(s[1], buf, 4, MSG_DONTWAIT), 4);
    CHECK(pthread_create(&t, NULL, send_slowly, NULL) == 0);
    CHECK(recv(s[1], buf, 64, 0) >= 15);
    CHECK(pthread_join(t, NULL) == 0);
}

static void vectors(void)
{
    char a[4], b[8];
    struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdefg", 5}}, in[2] = {{a, 4}, {b, 8}};
    struct msghdr m = {.msg_iov = in, .msg_iovlen = 2};
    struct sockaddr_in name;
    tcp_pair(s);
    CHECK_EQ(writev(s[0], out, 3), 7);
    m.msg_name = &name;
    m.msg_namelen = sizeof(name);
    CHECK_EQ(recvmsg(s[1], &m, 0), 7);
    CHECK(!memcmp(a, "abcd", 4) && !memcmp(b, "efg", 3) && m.msg_namelen == 0);
    CHECK_ERR(send(s[0], (void *)8, 10, 0), EFAULT);
    CHECK_EQ(sendto(s[0], "x", 1, 0, (struct sockaddr *)&name, sizeof(name)), 1);
}

static void urgent(void)
{
    char buf[8];
    int at;
    tcp_pair(s);
    CHECK(send(s[0], "ab", 2, 0) == 2 && send(s[0], "cd", 2, MSG_OOB) == 2);
    CHECK(send(s[0], "e", 1, 0) == 1);
    POLL_BECOMES(s[1], INET_IN | INET_OUT | POLLPRI);
    CHECK(ioctl(s[1], SIOCATMARK, &at) == 0 && at == 0);
    CHECK_EQ(recv(s[1], buf, 8, 0), 3);
    CHECK(!memcmp(buf, "abc", 3));
    CHECK(ioctl(s[1], SIOCATMARK, &at) == 0 && at == 1);
    CHECK(recv(s[1], buf, 8, MSG_OOB) == 1 && buf[0] == 'd');
    CHECK_ERR(recv(s[1], buf, 8, MSG_OOB), EINVAL);
    CHECK(recv(s[1], buf, 8, 0) == 1 && buf[0] == 'e');
    CHECK(sock_set(s[1], SOL_SOCKET, SO_OOBINLINE, 1) == 0);
    CHECK(send(s[0], "xy", 2, MSG_OOB) == 2);
    WAIT_FOR(poll_now(s[1]) & POLLPRI);
    CHECK_EQ(recv(s[1], buf, 8, 0), 1);
    CHECK(recv(s[1], buf, 8, 0) == 1 && buf[0] == 'y');
}

static void deferred(void)
{
    int l = tcp_listener(5), c = tcp_new();
    CHECK(sock_set(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5) == 0);
    nonblocking(l);
    CHECK(sock_connect(c, own_name(l)) == 0);
    guest_sleep_ms(10);
    CHECK_EQ(poll_now(l), 0);
    CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
    CHECK(send(c, "x", 1, 0) == 1);
    POLL_BECOMES(l, INET_IN);
    CHECK(accept(l, NULL, NULL) >= 0);
}

static void timeouts(void)
{
    char c;
    struct timeval tv = {.tv_usec = 30000};
    static char big[1 << 20];
    tcp_pair(s);
    CHECK(setsockopt(s[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    int64_t t = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(recv(s[1], &c, 1, 0), EAGAIN);
    CHECK_ERR(read(s[1], &c, 1), EAGAIN);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - t >= 55000000);
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
    ssize_t n = 0;
    for (int i = 0; i < 100 && n >= 0; i++)
        n = send(s[0], big, sizeof(big), 0);
    CHECK(n < 0 && errno == EAGAIN);
}

static void edges(void)
{
    char buf[8];
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET}, got;
    int ep = epoll_create1(0);
    tcp_pair(s);
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &e) == 0);
    CHECK(epoll_wait(ep, &got, 1, 0) == 1 && got.events == EPOLLOUT);
    CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
    CHECK(send(s[0], "abcd", 4, 0) == 4);
    CHECK(epoll_wait(ep, &got, 1, 1000) == 1 && got.events == (EPOLLIN | EPOLLOUT));
    CHECK_EQ(recv(s[1], buf, 2, 0), 2);
    CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0); /* some is left, but nothing new came */
    CHECK(send(s[0], "ef", 2, 0) == 2);
    CHECK(epoll_wait(ep, &got, 1, 1000) == 1 && got.events == (EPOLLIN | EPOLLOUT));
    CHECK(shutdown(s[0], SHUT_WR) == 0);
    CHECK(epoll_wait(ep, &got, 1, 1000) == 1);
    CHECK_EQ(got.events, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}

static void *reader(void *arg)
{
    char c;
    CHECK_EQ(recv(s[1], &c, 1, 0), (ssize_t)(intptr_t)arg);
    return NULL;
}

static void waiters_learn(void)
{
    pthread_t t;
    tcp_pair(s);
    CHECK(pthread_create(&t, NULL, reader, (void *)0) == 0);
    guest_sleep_ms(20);
    CHECK(shutdown(s[1], SHUT_RD) == 0); /* by the same side */
    CHECK(pthread_join(t, NULL) == 0);
    tcp_pair(s);
    CHECK(pthread_create(&t, NULL, reader, (void *)0) == 0);
    guest_sleep_ms(20);
    close(s[0]);
    CHECK(pthread_join(t, NULL) == 0);
}

static void many(void)
{
    enum { MANY = 400 };
    static int c[MANY], a[MANY];
    char b;
    int l = tcp_listener(MANY);
    for (int i = 0; i < MANY; i++) {
        c[i] = tcp_new();
        CHECK(sock_connect(c[i], own_name(l)) == 0);
        a[i] = accept(l, NULL, NULL);
        CHECK(a[i] >= 0);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(send(c[i], "x", 1, 0) == 1 && recv(a[(i)], &b, 1, 0) == 1);
    for (int i = 0; i < MANY; i++) {
        close(c[i]);
        close(a[i]);
    }
    for (int i = 0; i < MANY; i++) { /* and again, on the same listener */
        int d = tcp_new();
        CHECK(sock_connect(d, own_name(l)) == 0);
        close(accept(l, NULL, NULL));
        close(d);
    }
}

static const struct guest_case cases[] = {
    {"fresh", fresh},
    {"connecting", connecting},
    {"refused", refused},
    {"unreachable", unreachable},
    {"backlog", backlog},
    {"accept_waits", accept_waits},
    {"half_close", half_close},
    {"shut_for_reading", shut_for_reading},
    {"closed_by_peer", closed_by_peer},
    {"closed_with_unread", closed_with_unread},
    {"reset_by_linger", reset_by_linger},
    {"reset_when_full", reset_when_full},
    {"reset_before_accept", reset_before_accept},
    {"disconnected", disconnected},
    {"back_pressure", back_pressure},
    {"stream_is_whole", stream_is_whole},
    {"flags", flags},
    {"low_water", low_water},
    {"vectors", vectors},
    {"urgent", urgent},
    {"deferred", deferred},
    {"timeouts", timeouts},
    {"edges", edges},
    {"waiters_learn", waiters_learn},
    {"many", many},
};

GUEST_MAIN(cases)
