/* SPDX-License-Identifier: Apache-2.0
 * oob.c - urgent data on AF_UNIX streams and TCP: MSG_OOB, SO_OOBINLINE, SIOCATMARK, SIGURG, POLLPRI. */
#include "inetutil.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

static char buf[100];

static void unix_pair(int sv[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    if (send(sv[0], "x", 1, MSG_OOB) < 0)
        SKIP("no urgent data on AF_UNIX");
    CHECK(close(sv[0]) == 0 && close(sv[1]) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
}

static int at_mark(int fd)
{
    int v = -1;

    CHECK(ioctl(fd, SIOCATMARK, &v) == 0);
    return v;
}

static int events(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI};

    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static void expect(int fd, int flags, size_t room, const char *what)
{
    memset(buf, 0, sizeof(buf));
    CHECK_EQ(recv(fd, buf, room, flags), strlen(what));
    CHECK_EQ(memcmp(buf, what, strlen(what)), 0);
}

static void arrived(int fd, int what)
{
    WAIT_FOR((events(fd) & what) == what);
    guest_sleep_ms(2);
}

/* The last byte is urgent: it is taken aside, or passed over. */
static void aside(int sv[2])
{
    CHECK_EQ(events(sv[1]), 0);
    CHECK_ERR(recv(sv[1], buf, 1, MSG_OOB | MSG_DONTWAIT), EINVAL);
    CHECK_EQ(send(sv[0], "hello", 5, MSG_OOB), 5);
    arrived(sv[1], POLLPRI);
    CHECK_EQ(events(sv[1]), POLLIN | POLLPRI);
    CHECK_EQ(at_mark(sv[1]), 0);
    expect(sv[1], MSG_OOB | MSG_PEEK, 10, "o");
    expect(sv[1], MSG_OOB, 10, "o");
    CHECK_ERR(recv(sv[1], buf, 1, MSG_OOB), EINVAL);
    CHECK_EQ(events(sv[1]), POLLIN);
    CHECK_EQ(send(sv[0], "more", 4, 0), 4);
    guest_sleep_ms(5);
    expect(sv[1], 0, 100, "hell"); /* a read ends at the mark */
    CHECK_EQ(at_mark(sv[1]), 1);
    expect(sv[1], 0, 100, "more");
    CHECK_EQ(at_mark(sv[1]), 0);
}

static void passed(int sv[2])
{
    CHECK_EQ(send(sv[0], "ab", 2, MSG_OOB), 2);
    CHECK_EQ(send(sv[0], "cd", 2, 0), 2);
    arrived(sv[1], POLLPRI);
    guest_sleep_ms(5);
    expect(sv[1], 0, 100, "a");
    CHECK_EQ(at_mark(sv[1]), 1);
    CHECK_EQ(events(sv[1]), POLLIN | POLLPRI);
    expect(sv[1], 0, 100, "cd"); /* nobody wanted it */
    CHECK_ERR(recv(sv[1], buf, 1, MSG_DONTWAIT), EAGAIN);
}

static void inlined(int sv[2])
{
    int one = 1;

    CHECK(setsockopt(sv[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) == 0);
    CHECK_EQ(send(sv[0], "abc", 3, MSG_OOB), 3);
    CHECK_EQ(send(sv[0], "de", 2, 0), 2);
    arrived(sv[1], POLLPRI);
    guest_sleep_ms(5);
    CHECK_ERR(recv(sv[1], buf, 1, MSG_OOB), EINVAL);
    expect(sv[1], 0, 100, "ab");
    CHECK_EQ(at_mark(sv[1]), 1);
    expect(sv[1], 0, 100, "cde");
    CHECK_EQ(at_mark(sv[1]), 0);
}

/* A second one: the first is a byte like others. */
static void second(int sv[2])
{
    CHECK_EQ(send(sv[0], "ab", 2, MSG_OOB), 2);
    CHECK_EQ(send(sv[0], "cd", 2, MSG_OOB), 2);
    arrived(sv[1], POLLPRI);
    guest_sleep_ms(5);
    expect(sv[1], MSG_OOB, 10, "d");
    expect(sv[1], 0, 100, "abc");
    CHECK_ERR(recv(sv[1], buf, 1, MSG_DONTWAIT), EAGAIN);
}

static volatile sig_atomic_t g_urgent;

static void on_urgent(int sig)
{
    (void)sig;
    g_urgent++;
}

static void told(int sv[2])
{
    CHECK(signal(SIGURG, on_urgent) != SIG_ERR);
    CHECK(fcntl(sv[1], F_SETOWN, getpid()) == 0);
    CHECK_EQ(send(sv[0], "x", 1, MSG_OOB), 1);
    WAIT_FOR(g_urgent == 1);
    CHECK_EQ(send(sv[0], "x", 1, 0), 1);
    guest_sleep_ms(20);
    CHECK_EQ(g_urgent, 1);
}

#define BOTH(name)                \
    static void unix_##name(void) \
    {                             \
        int sv[2];                \
        unix_pair(sv);            \
        name(sv);                 \
    }                             \
    static void tcp_##name(void)  \
    {                             \
        int sv[2];                \
        tcp_pair(sv);             \
        name(sv);                 \
    }
BOTH(aside)
BOTH(passed)
BOTH(inlined)
BOTH(second)
BOTH(told)

static void refused(void)
{
    int sv[2];

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    CHECK_ERR(send(sv[0], "x", 1, MSG_OOB), EOPNOTSUPP);
    CHECK_ERR(recv(sv[0], buf, 1, MSG_OOB), EOPNOTSUPP);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv) == 0);
    CHECK_ERR(send(sv[0], "x", 1, MSG_OOB), EOPNOTSUPP);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    CHECK_ERR(send(sv[0], "", 0, MSG_OOB), EOPNOTSUPP);
}

static const struct guest_case cases[] = {
    {"unix_aside", unix_aside},   {"unix_passed", unix_passed}, {"unix_inlined", unix_inlined},
    {"unix_second", unix_second}, {"unix_told", unix_told},     {"tcp_aside", tcp_aside},
    {"tcp_passed", tcp_passed},   {"tcp_inlined", tcp_inlined}, {"tcp_second", tcp_second},
    {"tcp_told", tcp_told},       {"refused", refused},
};
GUEST_MAIN(cases)
