/* SPDX-License-Identifier: Apache-2.0
 * unixdgram.c - AF_UNIX datagrams: names, peers, queues; paths. */
#include "unixutil.h"

/* --- datagrams --- */

static void case_dgram_names(void)
{
    struct address a = name_of("a"), b = name_of("b");
    int fa = bound(SOCK_DGRAM, &a), fb = bound(SOCK_DGRAM, &b), anon = sock(SOCK_DGRAM);
    struct sockaddr_un from;
    socklen_t len = sizeof(from);
    char buf[16] = {0};

    CHECK_EQ(send_to(fa, "one", 0, &b), 3);
    CHECK_EQ(send_to(anon, "two!", 0, &b), 4);
    CHECK_EQ(recvfrom(fb, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 3);
    CHECK_EQ(len, a.len);
    CHECK(!memcmp(&from, &a.un, len));
    len = sizeof(from);
    CHECK_EQ(recvfrom(fb, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 4);
    CHECK_EQ(len, 0); /* it has no name */
    CHECK_ERR(recv(fb, buf, 1, MSG_DONTWAIT), EAGAIN);
    CHECK_ERR(send(fa, "x", 1, 0), ENOTCONN);
    struct address none = name_of("none");
    CHECK_ERR(send_to(fa, "x", 0, &none), ECONNREFUSED);
    CHECK_ERR(do_connect(fa, &none), ECONNREFUSED);
    CHECK_ERR(listen(fa, 1), EOPNOTSUPP);
    CHECK_ERR(accept(fa, NULL, NULL), EOPNOTSUPP);
    struct address other = name_of("a");
    CHECK_ERR(do_bind(fb, &other), EINVAL);
    CHECK_ERR(do_bind(anon, &other), EADDRINUSE);
}

static void case_dgram_connect(void)
{
    struct address a = name_of("a"), b = name_of("b"), c = name_of("c");
    int fa = bound(SOCK_DGRAM, &a), fb = bound(SOCK_DGRAM, &b), fc = bound(SOCK_DGRAM, &c);
    struct sockaddr_un peer;
    socklen_t len = sizeof(peer);
    char buf[16];

    CHECK(do_connect(fa, &b) == 0);
    CHECK(getpeername(fa, (struct sockaddr *)&peer, &len) == 0);
    CHECK_EQ(len, b.len);
    len = sizeof(peer);
    CHECK_ERR(getpeername(fb, (struct sockaddr *)&peer, &len), ENOTCONN);
    CHECK_EQ(send(fa, "hi", 2, 0), 2);
    CHECK_EQ(recv(fb, buf, sizeof(buf), 0), 2);
    CHECK_EQ(send_to(fb, "back", 0, &a), 4);
    CHECK_EQ(recv(fa, buf, sizeof(buf), 0), 4);
    CHECK_ERR(send_to(fc, "x", 0, &a), EPERM); /* a hears b only */
    CHECK_ERR(do_connect(fc, &a), EPERM);
    CHECK_EQ(send_to(fa, "to c", 0, &c), 4); /* a may still name others */
    CHECK(do_connect(fa, &c) == 0);          /* and change its mind */
    CHECK_EQ(send(fa, "c", 1, 0), 1);
    CHECK_EQ(recv(fc, buf, sizeof(buf), 0), 4);
    CHECK_EQ(recv(fc, buf, sizeof(buf), 0), 1);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CHECK(connect(fa, &none, sizeof(none)) == 0);
    CHECK_ERR(send(fa, "x", 1, 0), ENOTCONN);
    CHECK_EQ(send_to(fb, "now", 0, &a), 3);
}

static void case_dgram_peer_gone(void)
{
    struct address a = name_of("a"), b = name_of("b");
    int fa = bound(SOCK_DGRAM, &a), fb = bound(SOCK_DGRAM, &b);

    signal(SIGPIPE, SIG_DFL);
    CHECK(do_connect(fa, &b) == 0);
    close(fb);
    CHECK_EQ(ready(fa), POLLOUT);
    CHECK_ERR(send(fa, "x", 1, 0), ECONNREFUSED);
    CHECK_ERR(send(fa, "x", 1, 0), ENOTCONN);
    int sp[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    CHECK_EQ(send(sp[0], "left", 4, 0), 4);
    close(sp[0]);
    char buf[8];
    CHECK_EQ(recv(sp[1], buf, 8, 0), 4);
    CHECK_ERR(recv(sp[1], buf, 8, MSG_DONTWAIT), EAGAIN);
    CHECK_ERR(send(sp[1], "x", 1, 0), ECONNREFUSED);
}

/* A peer that turns away: what it had sent goes, and who was connected back hears of it. */
static void case_dgram_reset(void)
{
    struct address a = name_of("a"), b = name_of("b"), c = name_of("c");
    int fa = bound(SOCK_DGRAM, &a), fb = bound(SOCK_DGRAM, &b);
    char buf[8];

    bound(SOCK_DGRAM, &c);
    CHECK(do_connect(fa, &b) == 0 && do_connect(fb, &a) == 0);
    CHECK_EQ(send(fb, "x", 1, 0), 1);
    CHECK(do_connect(fa, &c) == 0);
    CHECK_ERR(recv(fa, buf, 8, MSG_DONTWAIT), EAGAIN);
    CHECK(ready(fb) & POLLERR);
    CHECK_ERR(recv(fb, buf, 8, MSG_DONTWAIT), ECONNRESET);
    CHECK_ERR(recv(fb, buf, 8, MSG_DONTWAIT), EAGAIN);
}

static int queue_length(void)
{
    FILE *f = fopen("/proc/sys/net/unix/max_dgram_qlen", "r");
    int n = 10;
    if (f) {
        CHECK(fscanf(f, "%d", &n) == 1);
        fclose(f);
    }
    return n;
}

static void case_dgram_queue(void)
{
    struct address a = name_of("a");
    int rx = bound(SOCK_DGRAM, &a), tx = sock(SOCK_DGRAM), n = 0;
    char buf[8];

    while (send_to(tx, "x", MSG_DONTWAIT, &a) == 1)
        n++;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(n, queue_length() + 1);
    CHECK_EQ(ready(tx), POLLOUT); /* not connected: who knows where it will send */
    CHECK(do_connect(tx, &a) == 0);
    CHECK_EQ(ready(tx), 0);
    CHECK_ERR(send(tx, "x", 1, MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(recv(rx, buf, 8, 0), 1);
    CHECK_EQ(ready(tx), POLLOUT);
    CHECK_EQ(send(tx, "x", 1, MSG_DONTWAIT), 1);
    CHECK_EQ(ready(tx), 0);
    /* A pair has no such limit: only the sender's buffer. */
    int sp[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, sp) == 0);
    for (n = 0; send(sp[0], "x", 1, 0) == 1; n++)
        ;
    CHECK_EQ(errno, EAGAIN);
    CHECK(n > 200);
    CHECK_EQ(ready(sp[0]), 0);
}

struct flow {
    int fd, epfd;
    struct address to;
    bool connected;
    int sent;
};

static void *flow_sender(void *arg)
{
    struct flow *f = arg;
    for (int i = 0; i < 200; i++) {
        char c = (char)i;
        ssize_t r = f->connected ? send(f->fd, &c, 1, 0)
                                 : sendto(f->fd, &c, 1, 0, (struct sockaddr *)&f->to.un, f->to.len);
        CHECK_EQ(r, 1);
        __atomic_add_fetch(&f->sent, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* A sender waits for room, whether it names the receiver or is connected to it. */
static void case_dgram_blocks(void)
{
    for (int connected = 0; connected < 2; connected++) {
        struct flow f = {.to = name_of(connected ? "c" : "u"), .connected = connected};
        int rx = bound(SOCK_DGRAM, &f.to);
        f.fd = sock(SOCK_DGRAM);
        if (connected)
            CHECK(do_connect(f.fd, &f.to) == 0);
        pthread_t th;
        CHECK(pthread_create(&th, NULL, flow_sender, &f) == 0);
        WAIT_FOR(__atomic_load_n(&f.sent, __ATOMIC_SEQ_CST) == queue_length() + 1);
        guest_sleep_ms(20);
        CHECK_EQ(f.sent, queue_length() + 1);
        for (int i = 0; i < 200; i++) {
            char c;
            CHECK_EQ(recv(rx, &c, 1, 0), 1);
            CHECK_EQ(c, (char)i);
        }
        CHECK(pthread_join(th, NULL) == 0);
        close(rx);
        close(f.fd);
    }
}

static void case_dgram_send_timeout(void)
{
    struct address a = name_of("a");
    struct timeval tv = {0, 50000};
    int tx = sock(SOCK_DGRAM);

    bound(SOCK_DGRAM, &a);
    CHECK(setsockopt(tx, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
    while (send_to(tx, "x", MSG_DONTWAIT, &a) == 1)
        ;
    int64_t t0 = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(send_to(tx, "x", 0, &a), EAGAIN);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - t0 >= 50000000);
}

static void *close_later(void *arg)
{
    guest_sleep_ms(50);
    close(*(int *)arg);
    return NULL;
}

static void case_dgram_receiver_closes(void)
{
    struct address a = name_of("a");
    int rx = bound(SOCK_DGRAM, &a), tx = sock(SOCK_DGRAM);
    pthread_t th;

    CHECK(do_connect(tx, &a) == 0);
    while (send(tx, "x", 1, MSG_DONTWAIT) == 1)
        ;
    CHECK(pthread_create(&th, NULL, close_later, &rx) == 0);
    CHECK_ERR(send(tx, "x", 1, 0), ECONNREFUSED);
    CHECK(pthread_join(th, NULL) == 0);
}

static void case_dgram_epoll(void)
{
    struct address a = name_of("a");
    int rx = bound(SOCK_DGRAM, &a), tx = sock(SOCK_DGRAM), ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLOUT | EPOLLET};
    char buf[4];

    CHECK(do_connect(tx, &a) == 0);
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, tx, &e) == 0);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
    while (send(tx, "x", 1, MSG_DONTWAIT) == 1)
        ;
    CHECK_EQ(ready(tx), 0);
    CHECK_EQ(recv(rx, buf, 4, 0), 1);
    CHECK_EQ(epoll_wait(ep, &e, 1, 1000), 1);
    CHECK(e.events & EPOLLOUT);
}

static void case_dgram_shutdown(void)
{
    int sp[2];
    char buf[8];

    signal(SIGPIPE, SIG_DFL); /* never comes for datagrams */
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    CHECK(shutdown(sp[0], SHUT_RD) == 0);
    CHECK_ERR(send(sp[1], "x", 1, 0), EPIPE);
    CHECK_ERR(write(sp[1], "x", 1), EPIPE);
    CHECK_ERR(recv(sp[0], buf, 8, MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(recv(sp[0], buf, 8, 0), 0);
    CHECK(shutdown(sp[1], SHUT_WR) == 0);
    CHECK_ERR(send(sp[1], "x", 1, 0), EPIPE);
    CHECK_EQ(send(sp[0], "y", 1, 0), 1);
    CHECK_EQ(recv(sp[1], buf, 8, 0), 1);
}

static void case_dgram_sizes(void)
{
    int sp[2], size = 0, outq;
    socklen_t len = sizeof(size);
    static char buf[300000];
    struct iovec iov = {buf, 10};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    CHECK(getsockopt(sp[0], SOL_SOCKET, SO_SNDBUF, &size, &len) == 0);
    CHECK_ERR(send(sp[0], buf, (size_t)size - 31, 0), EMSGSIZE);
    CHECK_EQ(send(sp[0], buf, (size_t)size - 32, 0), size - 32);
    CHECK(ioctl(sp[1], FIONREAD, &outq) == 0);
    CHECK_EQ(outq, size - 32);
    CHECK_EQ(recv(sp[1], buf, 4, MSG_TRUNC), size - 32);
    CHECK_EQ(send(sp[0], buf, 0, 0), 0); /* an empty one is one */
    CHECK_EQ(ready(sp[1]) & POLLIN, POLLIN);
    CHECK_EQ(recv(sp[1], buf, 4, 0), 0);
    CHECK_EQ(send(sp[0], buf, 100, 0), 100);
    CHECK(ioctl(sp[0], TIOCOUTQ, &outq) == 0);
    CHECK_EQ(outq, 768);
    CHECK_EQ(recvmsg(sp[1], &h, MSG_PEEK), 10);
    CHECK_EQ(h.msg_flags, MSG_TRUNC);
    CHECK_EQ(recvmsg(sp[1], &h, 0), 10);
    CHECK_ERR(recvmsg(sp[1], &h, MSG_DONTWAIT), EAGAIN);
    CHECK(ioctl(sp[0], TIOCOUTQ, &outq) == 0);
    CHECK_EQ(outq, 0);
    /* The fill depends on the size. */
    static const struct {
        int size, count;
    } fills[] = {{1, 278},    {300, 167}, {1000, 93}, {2000, 49},
                 {16000, 13}, {40000, 6}, {150000, 2}};
    for (size_t i = 0; size == 212992 && i < sizeof(fills) / sizeof(fills[0]); i++) {
        int fd[2], n = 0;
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fd) == 0);
        while (send(fd[0], buf, (size_t)fills[i].size, 0) > 0)
            n++;
        CHECK_EQ(n, fills[i].count);
        close(fd[0]);
        close(fd[1]);
    }
}

/* --- paths --- */

static void case_paths(void)
{
    in_temp_dir();
    struct address a = path_of("sock");
    struct stat st;
    umask(027);
    int fd = bound(SOCK_DGRAM, &a), tx = sock(SOCK_DGRAM), other = sock(SOCK_STREAM);
    char buf[4];

    CHECK(stat("sock", &st) == 0 && S_ISSOCK(st.st_mode));
    CHECK_EQ(st.st_mode & 07777, 0750);
    CHECK_EQ(send_to(tx, "x", 0, &a), 1);
    CHECK_EQ(recv(fd, buf, 4, 0), 1);
    CHECK_ERR(do_connect(other, &a), EPROTOTYPE);
    CHECK_ERR(do_bind(other, &a), EADDRINUSE);
    CHECK_ERR(open("sock", O_RDWR), ENXIO);
    CHECK(rename("sock", "moved") == 0);
    struct address m = path_of("moved");
    CHECK_ERR(send_to(tx, "x", 0, &a), ENOENT);
    CHECK_EQ(send_to(tx, "x", 0, &m), 1); /* the file counts, not the name */
    CHECK(link("moved", "sock") == 0);
    CHECK_EQ(send_to(tx, "x", 0, &a), 1);
    close(fd);
    CHECK_ERR(send_to(tx, "x", 0, &a), ECONNREFUSED); /* stale */
    CHECK_ERR(do_bind(other, &a), EADDRINUSE);
    CHECK(unlink("sock") == 0);
    CHECK(do_bind(other, &a) == 0);
    close(open("file", O_CREAT | O_RDWR, 0600));
    struct address f = path_of("file"), d = path_of("missing/x");
    CHECK_ERR(send_to(tx, "x", 0, &f), ECONNREFUSED);
    CHECK_ERR(do_bind(sock(SOCK_STREAM), &d), ENOENT);
    struct sockaddr_un got;
    socklen_t len = sizeof(got);
    CHECK(getsockname(other, (struct sockaddr *)&got, &len) == 0);
    CHECK_EQ(len, offsetof(struct sockaddr_un, sun_path) + 5);
    CHECK(!strcmp(got.sun_path, "sock"));
}

static void case_path_permission(void)
{
    if (geteuid())
        SKIP("needs root");
    in_temp_dir();
    CHECK(chmod(".", 0755) == 0);
    struct address a = path_of("sock");
    int fd = bound(SOCK_STREAM, &a);
    CHECK(listen(fd, 5) == 0 && chmod("sock", 0700) == 0);
    CHECK(setresuid(12345, 12345, 0) == 0);
    CHECK_ERR(do_connect(sock(SOCK_STREAM), &a), EACCES);
    CHECK(setresuid(0, 0, 0) == 0);
    CHECK(do_connect(sock(SOCK_STREAM), &a) == 0);
}

static void case_autobind(void)
{
    int fd = sock(SOCK_DGRAM), one = 1;
    struct sockaddr_un got = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(got);

    CHECK(bind(fd, (struct sockaddr *)&got, sizeof(sa_family_t)) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&got, &len) == 0);
    CHECK_EQ(len, 8);
    CHECK_EQ(got.sun_path[0], 0);
    CHECK(bind(fd, (struct sockaddr *)&got, sizeof(sa_family_t)) == 0); /* has one: fine */
    CHECK_ERR(bind(fd, (struct sockaddr *)&got, 1), EINVAL);
    CHECK_ERR(bind(fd, (struct sockaddr *)&got, 111), EINVAL);
    /* Who wants credentials gets a name when it connects or sends. */
    struct address a = name_of("a");
    bound(SOCK_DGRAM, &a);
    int tx = sock(SOCK_DGRAM);
    CHECK(setsockopt(tx, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) == 0);
    CHECK_EQ(send_to(tx, "x", 0, &a), 1);
    len = sizeof(got);
    CHECK(getsockname(tx, (struct sockaddr *)&got, &len) == 0);
    CHECK_EQ(len, 8);
}

/* --- many messages at once --- */

#define MANY 5

struct many {
    struct mmsghdr h[1025];
    struct iovec iov[1025];
    char buf[1025][8];
};

static void many_init(struct many *m, int count)
{
    memset(m, 0, sizeof(*m));
    for (int i = 0; i < count; i++) {
        m->iov[i] = (struct iovec){m->buf[i], sizeof(m->buf[i])};
        m->h[i].msg_hdr.msg_iov = &m->iov[i];
        m->h[i].msg_hdr.msg_iovlen = 1;
    }
}

static void *many_sender(void *arg)
{
    for (int i = 0; i < MANY; i++) {
        guest_sleep_ms(20);
        CHECK_EQ(send(*(int *)arg, "late", 4, 0), 4);
    }
    return NULL;
}

static void case_many(void)
{
    static struct many tx, rx;
    int sp[2];
    struct timespec none = {0, 0}, bad = {0, -1}, hour = {3600, 0};
    pthread_t th;

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp) == 0);
    many_init(&tx, MANY);
    many_init(&rx, 8);
    for (int i = 0; i < MANY; i++)
        tx.iov[i].iov_len = (size_t)i;
    CHECK_EQ(sendmmsg(sp[0], tx.h, MANY, 0), MANY);
    CHECK_EQ(tx.h[4].msg_len, 4);
    CHECK_EQ(recvmmsg(sp[1], rx.h, 8, MSG_DONTWAIT, NULL), MANY);
    CHECK_EQ(rx.h[3].msg_len, 3);
    CHECK_ERR(recvmmsg(sp[1], rx.h, 8, MSG_DONTWAIT, NULL), EAGAIN);
    CHECK_ERR(recvmmsg(sp[1], rx.h, 8, MSG_DONTWAIT, &bad), EINVAL);
    CHECK_EQ(recvmmsg(sp[1], rx.h, 0, 0, NULL), 0);
    CHECK_EQ(sendmmsg(sp[0], tx.h, 2, 0), 2);
    CHECK_EQ(recvmmsg(sp[1], rx.h, 8, MSG_WAITFORONE, &hour), 2);
    CHECK(hour.tv_sec == 3599);
    CHECK_EQ(sendmmsg(sp[0], tx.h, 2, 0), 2);
    CHECK_EQ(recvmmsg(sp[1], rx.h, 8, 0, &none), 1); /* time is looked at after each */
    CHECK_EQ(recvmmsg(sp[1], rx.h, 1, 0, NULL), 1);
    /* It waits for all of them. */
    CHECK(pthread_create(&th, NULL, many_sender, &sp[0]) == 0);
    CHECK_EQ(recvmmsg(sp[1], rx.h, MANY, 0, NULL), MANY);
    for (int i = 0; i < MANY; i++)
        CHECK(rx.h[i].msg_len == 4 && !memcmp(rx.buf[i], "late", 4));
    CHECK(pthread_join(th, NULL) == 0);
    CHECK(pthread_create(&th, NULL, many_sender, &sp[0]) == 0);
    struct timespec short_time = {0, 30000000};
    int n = recvmmsg(sp[1], rx.h, MANY, 0, &short_time);
    CHECK(n >= 1 && n < MANY);
    CHECK(pthread_join(th, NULL) == 0);
    /* An error behind the first is not told. */
    tx.h[1].msg_hdr.msg_iov = (struct iovec *)8;
    CHECK_EQ(sendmmsg(sp[0], tx.h, 3, 0), 1);
    CHECK_ERR(sendmmsg(sp[0], tx.h + 1, 2, 0), EFAULT);
    CHECK_ERR(sendmmsg(0, tx.h, 1, 0), ENOTSOCK);
}

static void case_many_limit(void)
{
    static struct many tx;
    int sp[2], n = 0;
    char c[8];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    many_init(&tx, 1025);
    for (int i = 0; i < 1025; i++)
        tx.iov[i].iov_len = 0;
    CHECK_EQ(sendmmsg(sp[0], tx.h, 1024, 0), 1024);
    CHECK_EQ(sendmmsg(sp[0], tx.h, 1025, 0), 1024);
    for (int i = 0; i < 100; i++)
        tx.iov[i].iov_len = 8;
    CHECK_EQ(sendmmsg(sp[0], tx.h, 100, 0), 100);
    while (recv(sp[1], c, 8, MSG_DONTWAIT) == 8)
        n++;
    CHECK_EQ(n, 100);
}

static const struct guest_case cases[] = {
    {"dgram_names", case_dgram_names},
    {"dgram_connect", case_dgram_connect},
    {"dgram_peer_gone", case_dgram_peer_gone},
    {"dgram_reset", case_dgram_reset},
    {"dgram_queue", case_dgram_queue},
    {"dgram_blocks", case_dgram_blocks},
    {"dgram_send_timeout", case_dgram_send_timeout},
    {"dgram_receiver_closes", case_dgram_receiver_closes},
    {"dgram_epoll", case_dgram_epoll},
    {"dgram_shutdown", case_dgram_shutdown},
    {"dgram_sizes", case_dgram_sizes},
    {"paths", case_paths},
    {"path_permission", case_path_permission},
    {"autobind", case_autobind},
    {"many", case_many},
    {"many_limit", case_many_limit},
};
GUEST_MAIN(cases)
