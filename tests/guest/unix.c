/* SPDX-License-Identifier: Apache-2.0
 * unix.c - AF_UNIX: datagrams by name, connections, queues, options, descriptors under way. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "guest.h"

#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif

struct address {
    struct sockaddr_un un;
    socklen_t len;
};

/* Abstract, and of this process only. */
static struct address name_of(const char *tag)
{
    struct address a = {.un = {.sun_family = AF_UNIX}};
    int n = snprintf(a.un.sun_path + 1, sizeof(a.un.sun_path) - 1, "ringbox-%d-%s", getpid(), tag);
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    return a;
}

static struct address path_of(const char *path)
{
    struct address a = {.un = {.sun_family = AF_UNIX}, .len = sizeof(a.un)};
    strcpy(a.un.sun_path, path);
    return a;
}

static int do_bind(int fd, const struct address *a)
{
    return bind(fd, (const struct sockaddr *)&a->un, a->len);
}

static int do_connect(int fd, const struct address *a)
{
    return connect(fd, (const struct sockaddr *)&a->un, a->len);
}

static ssize_t send_to(int fd, const char *text, int flags, const struct address *a)
{
    return sendto(fd, text, strlen(text), flags, (const struct sockaddr *)&a->un, a->len);
}

static int sock(int type)
{
    int fd = socket(AF_UNIX, type, 0);
    CHECK(fd >= 0);
    return fd;
}

static int bound(int type, const struct address *a)
{
    int fd = sock(type);
    CHECK(do_bind(fd, a) == 0);
    return fd;
}

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static void in_temp_dir(void)
{
    char dir[] = "/tmp/unixXXXXXX";
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
}

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
    } fills[] = {{1, 278}, {300, 167}, {1000, 93}, {2000, 49}, {16000, 13}, {40000, 6}, {150000, 2}};
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
    char c;

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
    {"listen", case_listen},
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
    {"creds", case_creds},
    {"cycles", case_cycles},
    {"cycle_alive", case_cycle_alive},
    {"chain", case_chain},
    {"options", case_options},
};
GUEST_MAIN(cases)
