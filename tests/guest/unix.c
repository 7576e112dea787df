/* SPDX-License-Identifier: Apache-2.0
 * unix.c - AF_UNIX connections: listening, streams, descriptors under way, options. */
#include "unixutil.h"

#include <sys/resource.h>

/* --- connections --- */

static void case_listen(void)
{
    struct address a = name_of("a"), none = name_of("none");
    int l = sock(SOCK_STREAM), c = sock(SOCK_STREAM), value = 0;
    socklen_t len = sizeof(value);

    CHECK_EQ(ready(l), POLLOUT | POLLHUP);
    CHECK_ERR(listen(l, 1), EINVAL);
    CHECK(do_bind(l, &a) == 0);
    CHECK_ERR(do_connect(c, &a), ECONNREFUSED); /* it does not listen */
    CHECK_ERR(accept(l, NULL, NULL), EINVAL);
    CHECK(listen(l, 1) == 0);
    CHECK(getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value == 1);
    CHECK_EQ(ready(l), 0);
    CHECK_ERR(do_connect(l, &a), EINVAL);
    CHECK_ERR(do_connect(c, &none), ECONNREFUSED);
    CHECK(do_connect(c, &a) == 0);
    CHECK_EQ(ready(l), POLLIN);
    CHECK_EQ(ready(c), POLLOUT);
    CHECK_ERR(do_connect(c, &a), EISCONN);
    CHECK_EQ(send(c, "early", 5, 0), 5);
    struct sockaddr_un who;
    len = sizeof(who);
    int s = accept(l, (struct sockaddr *)&who, &len);
    CHECK(s >= 0);
    CHECK_EQ(len, 2);
    char buf[8];
    CHECK_EQ(recv(s, buf, 8, 0), 5);
    len = sizeof(who);
    CHECK(getsockname(s, (struct sockaddr *)&who, &len) == 0);
    CHECK_EQ(len, a.len);
    len = sizeof(who);
    CHECK(getpeername(c, (struct sockaddr *)&who, &len) == 0);
    CHECK_EQ(len, a.len);
    CHECK_ERR(listen(c, 1), EINVAL);
    CHECK_ERR(sendto(c, "x", 1, 0, (struct sockaddr *)&a.un, a.len), EISCONN);
    CHECK_ERR(sendto(sock(SOCK_STREAM), "x", 1, 0, (struct sockaddr *)&a.un, a.len), EOPNOTSUPP);
    CHECK_ERR(recv(sock(SOCK_STREAM), buf, 8, 0), EINVAL);
    CHECK_ERR(recv(sock(SOCK_SEQPACKET), buf, 8, 0), ENOTCONN);
    CHECK_ERR(send(sock(SOCK_STREAM), "x", 1, 0), ENOTCONN);
    int un = sock(SOCK_STREAM);
    CHECK(shutdown(un, SHUT_RDWR) == 0);
    CHECK_ERR(shutdown(un, 3), EINVAL);
}

/* Without a descriptor for it a connection stays in the queue. */
static void case_accept_no_room(void)
{
    struct address a = name_of("a");
    int l = bound(SOCK_STREAM, &a), c = sock(SOCK_STREAM);
    struct rlimit usual, few;
    char byte;

    CHECK(listen(l, 2) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    few = (struct rlimit){(rlim_t)c + 1, usual.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_ERR(accept(l, NULL, NULL), EMFILE); /* also when nobody is there */
    CHECK(do_connect(c, &a) == 0 && send(c, "x", 1, 0) == 1);
    CHECK_ERR(accept(l, NULL, NULL), EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    int s = accept(l, NULL, NULL);
    CHECK(s >= 0 && recv(s, &byte, 1, 0) == 1);
}

static void case_backlog(void)
{
    struct address a = name_of("a");
    int l = bound(SOCK_STREAM, &a), c[8], n = 0;

    CHECK(listen(l, 2) == 0);
    for (; n < 8; n++) {
        c[n] = sock(SOCK_STREAM | SOCK_NONBLOCK);
        if (do_connect(c[n], &a))
            break;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(n, 3);
    close(accept(l, NULL, NULL));
    CHECK(do_connect(c[n], &a) == 0);
    CHECK(listen(l, 3) == 0); /* more room */
    CHECK(do_connect(sock(SOCK_STREAM | SOCK_NONBLOCK), &a) == 0);
    CHECK_ERR(do_connect(sock(SOCK_STREAM | SOCK_NONBLOCK), &a), EAGAIN);
}

static void *connector(void *arg)
{
    struct address *a = arg;
    return (void *)(intptr_t)(do_connect(sock(SOCK_STREAM), a) ? errno : 0);
}

static void case_connect_waits(void)
{
    struct address a = name_of("a");
    int l = bound(SOCK_STREAM, &a);
    pthread_t th;
    void *r;

    CHECK(listen(l, 0) == 0);
    CHECK(do_connect(sock(SOCK_STREAM), &a) == 0);
    CHECK(pthread_create(&th, NULL, connector, &a) == 0);
    guest_sleep_ms(50);
    CHECK(accept(l, NULL, NULL) >= 0);
    CHECK(pthread_join(th, &r) == 0);
    CHECK_EQ((intptr_t)r, 0);
    CHECK(pthread_create(&th, NULL, connector, &a) == 0);
    guest_sleep_ms(50);
    close(l);
    CHECK(pthread_join(th, &r) == 0);
    CHECK_EQ((intptr_t)r, ECONNREFUSED);
    struct timeval tv = {0, 50000};
    struct address b = name_of("b");
    l = bound(SOCK_STREAM, &b);
    CHECK(listen(l, 0) == 0);
    CHECK(do_connect(sock(SOCK_STREAM), &b) == 0);
    int c = sock(SOCK_STREAM);
    CHECK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
    CHECK_ERR(do_connect(c, &b), EAGAIN);
}

static void case_listener_ends(void)
{
    struct address a = name_of("a");
    int l = bound(SOCK_STREAM, &a), c = sock(SOCK_STREAM);
    char buf[4];

    CHECK(listen(l, 5) == 0);
    CHECK(do_connect(c, &a) == 0);
    close(l);
    CHECK_ERR(recv(c, buf, 4, 0), ECONNRESET);
    CHECK_EQ(recv(c, buf, 4, 0), 0);
    CHECK_ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_ERR(do_connect(sock(SOCK_STREAM), &a), ECONNREFUSED);
    l = bound(SOCK_STREAM, &a); /* the name is free */
    CHECK(listen(l, 5) == 0);
    CHECK(shutdown(l, SHUT_RD) == 0);
    CHECK_ERR(do_connect(sock(SOCK_STREAM), &a), ECONNREFUSED);
    CHECK_ERR(accept(l, NULL, NULL), EINVAL);
}

static void case_seqpacket(void)
{
    struct address a = name_of("a");
    int l = bound(SOCK_SEQPACKET, &a), c = sock(SOCK_SEQPACKET), s;
    char buf[16];
    struct iovec iov = {buf, 3};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

    CHECK(listen(l, 5) == 0 && do_connect(c, &a) == 0);
    s = accept(l, NULL, NULL);
    CHECK_EQ(send(c, "first", 5, MSG_EOR), 5);
    CHECK_EQ(sendto(c, "2nd", 3, 0, (struct sockaddr *)&a.un, a.len), 3); /* the name counts not */
    int inq;
    CHECK(ioctl(s, FIONREAD, &inq) == 0);
    CHECK_EQ(inq, 8);
    CHECK_EQ(recvmsg(s, &h, 0), 3);
    CHECK_EQ(h.msg_flags & (MSG_TRUNC | MSG_EOR), MSG_TRUNC);
    CHECK_EQ(recv(s, buf, sizeof(buf), 0), 3);
    signal(SIGPIPE, SIG_DFL);
    close(s);
    CHECK_EQ(recv(c, buf, 4, 0), 0);
    CHECK_ERR(send(c, "x", 1, 0), EPIPE); /* without the signal */
    CHECK_EQ(ready(c), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
}

/* --- streams --- */

static void case_stream_bounds(void)
{
    int sp[2], n = 0;
    static char big[500000];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sp) == 0);
    ssize_t r = send(sp[0], big, sizeof(big), 0);
    CHECK(r > 100000 && r < 300000);
    CHECK_ERR(send(sp[0], big, 1, 0), EAGAIN);
    CHECK_EQ(ready(sp[0]), 0);
    CHECK_EQ(recv(sp[1], big, 1, 0), 1);
    CHECK_EQ(ready(sp[0]), 0); /* not before three quarters are free */
    while (recv(sp[1], big, 10000, 0) > 0)
        n++;
    CHECK(n > 10);
    CHECK_EQ(ready(sp[0]), POLLOUT);
}

static void *stream_writer(void *arg)
{
    int fd = *(int *)arg;
    uint32_t x = 1;
    static char buf[200000];
    for (int i = 0; i < 60; i++) {
        size_t n = 1 + (x = x * 1664525 + 1013904223) % sizeof(buf);
        for (size_t k = 0; k < n; k++)
            buf[k] = (char)(k * 7 + (size_t)i);
        CHECK_EQ(write(fd, buf, n), (ssize_t)n);
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static void case_stream_bulk(void)
{
    int sp[2];
    pthread_t th;
    static char buf[200000], want[200000];
    uint32_t x = 1;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK(pthread_create(&th, NULL, stream_writer, &sp[0]) == 0);
    for (int i = 0; i < 60; i++) {
        size_t n = 1 + (x = x * 1664525 + 1013904223) % sizeof(buf);
        for (size_t k = 0; k < n; k++)
            want[k] = (char)(k * 7 + (size_t)i);
        CHECK_EQ(recv(sp[1], buf, n, MSG_WAITALL), (ssize_t)n);
        CHECK(!memcmp(buf, want, n));
    }
    CHECK_EQ(recv(sp[1], buf, 1, 0), 0);
    CHECK(pthread_join(th, NULL) == 0);
}

static void case_peek(void)
{
    int sp[2], off = 0;
    char buf[16] = {0};

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK_EQ(send(sp[0], "abc", 3, 0), 3);
    CHECK_EQ(send(sp[0], "defg", 4, 0), 4);
    CHECK_EQ(recv(sp[1], buf, 16, MSG_PEEK), 7); /* over both sends */
    CHECK(!memcmp(buf, "abcdefg", 7));
    CHECK(setsockopt(sp[1], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0);
    CHECK_EQ(recv(sp[1], buf, 2, MSG_PEEK), 2);
    CHECK_EQ(recv(sp[1], buf, 3, MSG_PEEK), 3);
    CHECK(!memcmp(buf, "cde", 3));
    CHECK_EQ(recv(sp[1], buf, 1, 0), 1);
    socklen_t len = sizeof(off);
    CHECK(getsockopt(sp[1], SOL_SOCKET, SO_PEEK_OFF, &off, &len) == 0);
    CHECK_EQ(off, 4);
    CHECK_EQ(recv(sp[1], buf, 16, MSG_PEEK), 2);
    CHECK(!memcmp(buf, "fg", 2));
    CHECK_ERR(recv(sp[1], buf, 16, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(recv(sp[1], buf, 16, 0), 6);
    /* Datagrams: the offset goes over whole ones. */
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    off = 0;
    CHECK(setsockopt(sp[1], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0);
    CHECK_EQ(send(sp[0], "abc", 3, 0), 3);
    CHECK_EQ(send(sp[0], "defg", 4, 0), 4);
    CHECK_EQ(recv(sp[1], buf, 2, MSG_PEEK), 2);
    CHECK_EQ(recv(sp[1], buf, 16, MSG_PEEK), 1);
    CHECK_EQ(recv(sp[1], buf, 16, MSG_PEEK), 4);
    CHECK_EQ(recv(sp[1], buf, 16, 0), 3);
}

static void case_reset(void)
{
    int sp[2], err = 0;
    socklen_t len = sizeof(err);
    char buf[4];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK_EQ(send(sp[0], "unread", 6, 0), 6);
    CHECK_EQ(send(sp[1], "mine", 4, 0), 4);
    close(sp[1]);
    CHECK_EQ(ready(sp[0]), POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    CHECK_EQ(recv(sp[0], buf, 4, 0), 4);
    CHECK(getsockopt(sp[0], SOL_SOCKET, SO_ERROR, &err, &len) == 0);
    CHECK_EQ(err, ECONNRESET);
    CHECK_EQ(recv(sp[0], buf, 4, 0), 0);
    CHECK_ERR(recv(sp[0], buf, 4, MSG_OOB), EINVAL);
}

static void case_half_close(void)
{
    int sp[2];
    char buf[4];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK(shutdown(sp[0], SHUT_WR) == 0);
    CHECK_EQ(ready(sp[1]), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQ(recv(sp[1], buf, 4, 0), 0);
    CHECK_EQ(send(sp[1], "x", 1, 0), 1);
    CHECK_EQ(recv(sp[0], buf, 4, 0), 1);
    CHECK_ERR(send(sp[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(shutdown(sp[0], SHUT_RD) == 0);
    CHECK_ERR(send(sp[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(ready(sp[0]), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
}

/* --- credentials and descriptors --- */

static ssize_t send_fds(int to, const void *data, size_t n, const int *fds, int count)
{
    char control[CMSG_SPACE(254 * sizeof(int))];
    struct iovec iov = {(void *)(uintptr_t)data, n};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

    if (count) {
        h.msg_control = control;
        h.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)count * sizeof(int));
    }
    return sendmsg(to, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Bytes; *count descriptors in @fds; @cred filled if one came. */
static ssize_t take(int from, void *data, size_t n, int flags, int *fds, int *count,
                    struct ucred *cred)
{
    char control[CMSG_SPACE(254 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {data, n};
    struct msghdr h = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    ssize_t r = recvmsg(from, &h, flags);

    *count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); r >= 0 && c; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_type == SCM_RIGHTS) {
            *count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(c), (size_t)*count * sizeof(int));
        } else if (c->cmsg_type == SCM_CREDENTIALS && cred) {
            memcpy(cred, CMSG_DATA(c), sizeof(*cred));
        }
    }
    return r;
}

/* Descriptors stay with their bytes: a receive goes up to the end of theirs. */
static void case_fds_in_stream(void)
{
    int sp[2], fds[8], count, p[2];
    char buf[32];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0 && pipe(p) == 0);
    CHECK_EQ(send(sp[0], "abc", 3, 0), 3);
    CHECK_EQ(send_fds(sp[0], "defg", 4, p, 2), 4);
    CHECK_EQ(send(sp[0], "hij", 3, 0), 3);
    CHECK_EQ(take(sp[1], buf, 32, MSG_PEEK, fds, &count, NULL), 7);
    CHECK_EQ(count, 2);
    close(fds[0]);
    close(fds[1]);
    CHECK_EQ(take(sp[1], buf, 32, 0, fds, &count, NULL), 7);
    CHECK_EQ(count, 2);
    CHECK(!memcmp(buf, "abcdefg", 7));
    CHECK_EQ(write(fds[1], "!", 1), 1);
    CHECK_EQ(read(p[0], buf, 1), 1);
    CHECK_EQ(take(sp[1], buf, 32, 0, fds, &count, NULL), 3);
    CHECK_EQ(count, 0);
    CHECK_EQ(send_fds(sp[0], "abcdef", 6, p, 1), 6);
    CHECK_EQ(take(sp[1], buf, 2, 0, fds, &count, NULL), 2); /* with the first byte */
    CHECK_EQ(count, 1);
    CHECK_EQ(send_fds(sp[0], "x", 1, p, 1), 1);
    CHECK_EQ(take(sp[1], buf, 32, 0, fds, &count, NULL), 5);
    CHECK_EQ(count, 1);
    CHECK_EQ(send_fds(sp[0], "", 0, p, 1), 0); /* no byte, no descriptor */
    CHECK_ERR(take(sp[1], buf, 32, MSG_DONTWAIT, fds, &count, NULL), EAGAIN);
    /* Thousands of bytes stay together too. */
    static char big[5000];
    CHECK_EQ(send(sp[0], big, 3000, 0), 3000);
    CHECK_EQ(send_fds(sp[0], big, 5000, p, 1), 5000);
    CHECK_EQ(recv(sp[1], big, 3000, 0), 3000);
    CHECK_EQ(take(sp[1], big, 5000, 0, fds, &count, NULL), 5000);
    CHECK_EQ(count, 1);
    CHECK_EQ(send_fds(sp[0], "x", 1, p, 2), 1);
    CHECK_EQ(read(sp[1], buf, 1), 1); /* lost */
    /* The same behind an emptied buffer, and again with plain bytes behind it. */
    CHECK_EQ(send_fds(sp[0], big, 5000, p, 1), 5000);
    CHECK_EQ(send(sp[0], "tail", 4, 0), 4);
    CHECK_EQ(take(sp[1], big, 5000, 0, fds, &count, NULL), 5000);
    CHECK_EQ(count, 1);
    CHECK_EQ(recv(sp[1], buf, 32, 0), 4);
    CHECK(!memcmp(buf, "tail", 4));
    CHECK_EQ(send(sp[0], "more", 4, 0), 4);
    CHECK_EQ(recv(sp[1], buf, 32, 0), 4);
    CHECK(!memcmp(buf, "more", 4));
}

static void case_fds_limit(void)
{
    int sp[2], fds[256], got[256], count;
    char c;

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    for (int i = 0; i < 254; i++)
        fds[i] = 0;
    CHECK_EQ(send_fds(sp[0], "x", 1, fds, 253), 1);
    CHECK_ERR(send_fds(sp[0], "x", 1, fds, 254), EINVAL);
    CHECK_EQ(take(sp[1], &c, 1, 0, got, &count, NULL), 1);
    CHECK_EQ(count, 253);
    fds[0] = 999;
    CHECK_ERR(send_fds(sp[0], "x", 1, fds, 1), EBADF);
}

/* As many as may be open, and what one message brings. */
static void case_flight_limit(void)
{
    int sp[2], fds[10] = {0}, got[16], count, n = 0;
    struct rlimit r = {300, 300};
    char c;

    if (geteuid())
        SKIP("needs root, to be somebody else");
    CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
    CHECK(setresgid(12345, 12345, 12345) == 0 && setresuid(12345, 12345, 12345) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    while (send_fds(sp[0], "x", 1, fds, 10) == 1)
        n++;
    CHECK_EQ(errno, ETOOMANYREFS);
    CHECK_EQ(n, 31);
    CHECK_EQ(take(sp[1], &c, 1, 0, got, &count, NULL), 1);
    CHECK_EQ(count, 10);
    CHECK_EQ(send_fds(sp[0], "x", 1, fds, 1), 1);
    CHECK_ERR(send_fds(sp[0], "x", 1, fds, 1), ETOOMANYREFS);
}

static void case_creds(void)
{
    int sp[2], on = 1, off = 0, fds[4], count;
    struct ucred cred = {1, 1, 1};
    char buf[16];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK_EQ(send(sp[0], "a", 1, 0), 1); /* nobody asked yet */
    CHECK(setsockopt(sp[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
    CHECK_EQ(send(sp[0], "b", 1, 0), 1);
    CHECK_EQ(take(sp[1], buf, 16, 0, fds, &count, &cred), 1); /* not glued */
    CHECK_EQ(cred.pid, 0);
    CHECK_EQ(cred.uid, 65534);
    CHECK_EQ(cred.gid, 65534);
    CHECK_EQ(send(sp[0], "c", 1, 0), 1);
    CHECK_EQ(take(sp[1], buf, 16, 0, fds, &count, &cred), 2); /* glued: the same sender */
    CHECK_EQ(cred.pid, getpid());
    CHECK_EQ(cred.uid, getuid());
    CHECK_EQ(cred.gid, getgid());
    CHECK(setsockopt(sp[1], SOL_SOCKET, SO_PASSCRED, &off, sizeof(off)) == 0);
    CHECK_EQ(send(sp[0], "a", 1, 0), 1);
    CHECK_EQ(send(sp[0], "b", 1, 0), 1);
    CHECK_EQ(recv(sp[1], buf, 16, 0), 2);
    socklen_t len = sizeof(cred);
    CHECK(getsockopt(sp[0], SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0);
    CHECK_EQ(cred.pid, getpid());
    len = sizeof(cred);
    CHECK(getsockopt(sock(SOCK_STREAM), SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0);
    CHECK_EQ(cred.pid, 0);
    CHECK_EQ(cred.uid, (uid_t)-1);
}

/* Sockets that are only in each other's queues go; what they held is closed. */
static void case_cycles(void)
{
    for (int kind = 0; kind < 3; kind++) {
        int a[2], p[2], type = kind == 1 ? SOCK_DGRAM : SOCK_STREAM;
        char c;
        CHECK(pipe2(p, O_NONBLOCK) == 0);
        CHECK(socketpair(AF_UNIX, type, 0, a) == 0);
        int one[2] = {a[0], p[1]}, two[1] = {a[1]};
        CHECK_EQ(send_fds(a[1], "x", 1, one, 2), 1); /* into its own queue */
        if (kind != 2)
            CHECK_EQ(send_fds(a[0], "x", 1, two, 1), 1);
        close(a[0]);
        close(a[1]);
        close(p[1]);
        int b[2]; /* any socket's end lets the others be looked for */
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, b) == 0);
        close(b[0]);
        close(b[1]);
        WAIT_FOR(read(p[0], &c, 1) == 0);
        close(p[0]);
    }
}

/* A cycle that can still be reached stays whole. */
static void case_cycle_alive(void)
{
    int a[2], b[2], fds[4], count;
    char c;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, a) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, b) == 0);
    CHECK_EQ(send_fds(a[1], "x", 1, a, 1), 1); /* a[0] in its own queue */
    CHECK_EQ(send_fds(b[1], "y", 1, a, 1), 1); /* and in that of b[0] */
    close(a[0]);
    close(b[1]);
    for (int i = 0; i < 4; i++) {
        int t[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, t) == 0);
        close(t[0]);
        close(t[1]);
    }
    CHECK_EQ(take(b[0], &c, 1, 0, fds, &count, NULL), 1);
    CHECK_EQ(count, 1);
    CHECK_EQ(take(fds[0], &c, 1, 0, fds + 1, &count, NULL), 1);
    CHECK_EQ(count, 1);
    CHECK_EQ(send(a[1], "z", 1, 0), 1);
    CHECK_EQ(recv(fds[1], &c, 1, 0), 1);
}

/* A long chain, each in the queue of the next: it is closed without deep recursion. */
static void case_chain(void)
{
    int next[2], prev = -1, p[2];
    struct rlimit most; /* of an ordinary user's descriptors in messages, too */
    char c;

    CHECK(getrlimit(RLIMIT_NOFILE, &most) == 0);
    most.rlim_cur = most.rlim_max;
    CHECK(most.rlim_cur > 3000 && setrlimit(RLIMIT_NOFILE, &most) == 0);
    CHECK(pipe(p) == 0);
    prev = p[1];
    for (int i = 0; i < 3000; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, next) == 0);
        CHECK_EQ(send_fds(next[0], "x", 1, &prev, 1), 1);
        close(prev);
        close(next[0]);
        prev = next[1];
    }
    close(prev);
    CHECK_EQ(read(p[0], &c, 1), 0);
}

static void case_options(void)
{
    int fd = sock(SOCK_STREAM), v, in;
    socklen_t len;

#define GET(name) (len = sizeof(v), v = -7, getsockopt(fd, SOL_SOCKET, name, &v, &len), v)
#define SET(name, x) (in = (x), setsockopt(fd, SOL_SOCKET, name, &in, sizeof(in)))
    CHECK_EQ(GET(SO_TYPE), SOCK_STREAM);
    CHECK_EQ(GET(SO_DOMAIN), AF_UNIX);
    CHECK_EQ(GET(SO_PROTOCOL), 0);
    CHECK_EQ(GET(SO_ERROR), 0);
    CHECK_EQ(GET(SO_RCVLOWAT), 1);
    CHECK(SET(SO_RCVLOWAT, 5) == 0 && GET(SO_RCVLOWAT) == 5);
    CHECK_EQ(GET(SO_PRIORITY), 0);
    CHECK(SET(SO_PRIORITY, 3) == 0 && GET(SO_PRIORITY) == 3);
    CHECK(SET(SO_SNDBUF, 0) == 0 && GET(SO_SNDBUF) == 4608);
    CHECK(SET(SO_SNDBUF, 10000) == 0 && GET(SO_SNDBUF) == 20000);
    CHECK(SET(SO_RCVBUF, 0) == 0 && GET(SO_RCVBUF) == 2304);
    CHECK(SET(SO_KEEPALIVE, 5) == 0 && GET(SO_KEEPALIVE) == 1);
    CHECK_EQ(GET(SO_PEEK_OFF), -1);
    CHECK_ERR(SET(SO_REUSEPORT, 1), EOPNOTSUPP);
    CHECK_ERR(SET(SO_TYPE, 1), ENOPROTOOPT);
    CHECK_ERR(SET(SO_ERROR, 1), ENOPROTOOPT);
    CHECK_ERR(SET(9999, 1), ENOPROTOOPT);
    CHECK_ERR(setsockopt(fd, 6, 1, &in, sizeof(in)), EOPNOTSUPP);
    CHECK_ERR(getsockopt(fd, 6, 1, &v, &len), EOPNOTSUPP);
    CHECK_ERR(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &in, 3), EINVAL);
    struct linger l = {1, 5}, got;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
    len = sizeof(got);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &len) == 0);
    CHECK(got.l_onoff == 1 && got.l_linger == 5);
    CHECK_ERR(socket(AF_UNIX, SOCK_STREAM, 5), EPROTONOSUPPORT);
    CHECK_ERR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_ERR(socket(AF_UNIX, 77, 0), EINVAL);
}

static const struct guest_case cases[] = {
    {"listen", case_listen},
    {"accept_no_room", case_accept_no_room},
    {"backlog", case_backlog},
    {"connect_waits", case_connect_waits},
    {"listener_ends", case_listener_ends},
    {"seqpacket", case_seqpacket},
    {"stream_bounds", case_stream_bounds},
    {"stream_bulk", case_stream_bulk},
    {"peek", case_peek},
    {"reset", case_reset},
    {"half_close", case_half_close},
    {"fds_in_stream", case_fds_in_stream},
    {"fds_limit", case_fds_limit},
    {"flight_limit", case_flight_limit},
    {"creds", case_creds},
    {"cycles", case_cycles},
    {"cycle_alive", case_cycle_alive},
    {"chain", case_chain},
    {"options", case_options},
};
GUEST_MAIN(cases)
