/* SPDX-License-Identifier: Apache-2.0
 * wakeone.c - several wait for the same thing: one of them is woken, none is forgotten. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "guest.h"

#define CROWD 8
#define QUIET_MS 150 /* whoever is not woken by then is not woken */

static _Atomic int g_in, g_out, g_hits;

struct arg {
    int fd, other;
};

static void crowd_start(pthread_t *t, int n, void *(*fn)(void *), struct arg *a)
{
    for (int i = 0; i < n; i++)
        CHECK(pthread_create(&t[i], NULL, fn, &a[i]) == 0);
    WAIT_FOR(g_in == n);
    guest_sleep_ms(50);
}

static void crowd_join(pthread_t *t, int n)
{
    for (int i = 0; i < n; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
}

static int listener(struct sockaddr_in *sa)
{
    socklen_t len = sizeof(*sa);
    int l = socket(AF_INET, SOCK_STREAM, 0);

    *sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(bind(l, (struct sockaddr *)sa, sizeof(*sa)) == 0 && listen(l, 64) == 0);
    CHECK(getsockname(l, (struct sockaddr *)sa, &len) == 0);
    return l;
}

static int joined(const struct sockaddr_in *sa)
{
    int s = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(connect(s, (const struct sockaddr *)sa, sizeof(*sa)) == 0);
    return s;
}

static void *accept_one(void *p)
{
    struct arg *a = p;

    g_in++;
    CHECK(accept(a->fd, NULL, NULL) >= 0);
    g_out++;
    return NULL;
}

/* Connections in a burst: each finds its thread. */
static void accepts(void)
{
    struct sockaddr_in sa;
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int l = listener(&sa);

    for (int i = 0; i < CROWD; i++)
        a[i].fd = l;
    crowd_start(t, CROWD, accept_one, a);
    CHECK(joined(&sa) >= 0);
    WAIT_FOR(g_out == 1);
    guest_sleep_ms(QUIET_MS);
    CHECK_EQ(g_out, 1);
    for (int i = 1; i < CROWD; i++)
        CHECK(joined(&sa) >= 0);
    crowd_join(t, CROWD);
    CHECK_EQ(g_out, CROWD);
}

static void child_accepts(void *p)
{
    accept_one(p);
}

/* The process at the head of the queue dies, or is killed when a connection has come. */
static void accept_killed(void)
{
    struct sockaddr_in sa;
    int l = listener(&sa);

    for (int round = 0; round < 20; round++) {
        struct arg a = {.fd = l};
        pid_t first = guest_fork(child_accepts, &a);
        guest_sleep_ms(5);
        pid_t second = guest_fork(child_accepts, &a);
        guest_sleep_ms(5);
        if (round % 2) {
            CHECK(kill(first, SIGKILL) == 0);
            guest_wait(first);
            CHECK(joined(&sa) >= 0);
        } else {
            CHECK(joined(&sa) >= 0);
            CHECK(kill(first, SIGKILL) == 0);
            CHECK(joined(&sa) >= 0); /* the first may have taken the other one */
            guest_wait(first);
        }
        CHECK_EQ(guest_wait(second), 0);
        struct pollfd left = {.fd = l, .events = POLLIN};
        while (poll(&left, 1, 0) == 1)
            close(accept(l, NULL, NULL));
    }
}

static void *read_one(void *p)
{
    struct arg *a = p;
    char c;

    g_in++;
    CHECK(read(a->fd, &c, 1) == 1);
    g_out++;
    return NULL;
}

/* One write, several readers: each leaves the rest to the next. */
static void pipe_readers(void)
{
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int fd[2];

    CHECK(pipe(fd) == 0);
    for (int i = 0; i < CROWD; i++)
        a[i].fd = fd[0];
    crowd_start(t, CROWD, read_one, a);
    CHECK(write(fd[1], "x", 1) == 1);
    WAIT_FOR(g_out == 1);
    guest_sleep_ms(QUIET_MS);
    CHECK_EQ(g_out, 1);
    CHECK(write(fd[1], "1234567", CROWD - 1) == CROWD - 1);
    crowd_join(t, CROWD);
}

static void *write_page(void *p)
{
    struct arg *a = p;
    static char page[4096];

    g_in++;
    CHECK(write(a->fd, page, sizeof(page)) == sizeof(page));
    g_out++;
    return NULL;
}

static void pipe_writers(void)
{
    static char all[65536];
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int fd[2];

    CHECK(pipe(fd) == 0);
    CHECK(write(fd[1], all, sizeof(all)) == sizeof(all));
    for (int i = 0; i < CROWD; i++)
        a[i].fd = fd[1];
    crowd_start(t, CROWD, write_page, a);
    CHECK_EQ(g_out, 0);
    CHECK(read(fd[0], all, sizeof(all)) == sizeof(all));
    crowd_join(t, CROWD);
}

/* Who waits is told of the end, all of them. */
static void *read_end(void *p)
{
    struct arg *a = p;
    char c;

    g_in++;
    CHECK(read(a->fd, &c, 1) == 0);
    g_out++;
    return NULL;
}

static void pipe_end(void)
{
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int fd[2];

    CHECK(pipe(fd) == 0);
    for (int i = 0; i < CROWD; i++)
        a[i].fd = fd[0];
    crowd_start(t, CROWD, read_end, a);
    CHECK(close(fd[1]) == 0);
    crowd_join(t, CROWD);
}

static void datagrams_for(int rfd, int wfd)
{
    pthread_t t[CROWD];
    struct arg a[CROWD];

    g_in = g_out = 0;
    for (int i = 0; i < CROWD; i++)
        a[i].fd = rfd;
    crowd_start(t, CROWD, read_one, a);
    for (int i = 0; i < CROWD; i++)
        CHECK(send(wfd, "y", 1, 0) == 1);
    crowd_join(t, CROWD);
}

static void datagrams(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int sv[2], u = socket(AF_INET, SOCK_DGRAM, 0), v = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    datagrams_for(sv[0], sv[1]);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv) == 0);
    datagrams_for(sv[0], sv[1]);
    CHECK(bind(u, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    CHECK(getsockname(u, (struct sockaddr *)&sa, &len) == 0);
    CHECK(connect(v, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    datagrams_for(u, v);
}

/* --- epoll --- */

static void *epoll_some(void *p)
{
    struct arg *a = p;
    struct epoll_event e;

    g_in++;
    int n = epoll_wait(a->fd, &e, 1, a->other);
    CHECK(n == 0 || n == 1);
    g_hits += n;
    g_out++;
    return NULL;
}

static int watched_by(int fd, uint32_t events)
{
    struct epoll_event e = {.events = events};
    int ep = epoll_create1(0);

    CHECK(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
    return ep;
}

/* Of many epolls that watch a descriptor exclusively, one that waits is told; of the others all. */
static void exclusive(void)
{
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int e = eventfd(0, 0);
    uint64_t one = 1;

    int idle = watched_by(e, EPOLLIN | EPOLLEXCLUSIVE); /* nobody waits there */
    for (int i = 0; i < CROWD; i++)
        a[i] = (struct arg){watched_by(e, EPOLLIN | EPOLLEXCLUSIVE), 8 * QUIET_MS};
    crowd_start(t, CROWD, epoll_some, a);
    CHECK(write(e, &one, 8) == 8);
    crowd_join(t, CROWD);
    CHECK_EQ(g_hits, 1);
    struct epoll_event ev;
    CHECK_EQ(epoll_wait(idle, &ev, 1, 0), 1); /* it knows nevertheless */

    CHECK(read(e, &one, 8) == 8);
    g_in = g_out = g_hits = 0;
    for (int i = 0; i < CROWD; i++)
        a[i] = (struct arg){watched_by(e, EPOLLIN | (i < 3 ? 0u : EPOLLEXCLUSIVE)), 8 * QUIET_MS};
    crowd_start(t, CROWD, epoll_some, a);
    CHECK(write(e, &one, 8) == 8);
    crowd_join(t, CROWD);
    CHECK_EQ(g_hits, 4);
}

/* A connection and who watches its listener exclusively. */
static void exclusive_listener(void)
{
    struct sockaddr_in sa;
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int l = listener(&sa);

    for (int i = 0; i < CROWD; i++)
        a[i] = (struct arg){watched_by(l, EPOLLIN | EPOLLEXCLUSIVE), 8 * QUIET_MS};
    crowd_start(t, CROWD, epoll_some, a);
    CHECK(joined(&sa) >= 0);
    crowd_join(t, CROWD);
    CHECK_EQ(g_hits, 1);
}

/* Many in one epoll: an edge is one thread's. */
static void one_epoll(void)
{
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int e = eventfd(0, 0), ep = watched_by(e, EPOLLIN | EPOLLET);
    uint64_t one = 1;

    for (int i = 0; i < CROWD; i++)
        a[i] = (struct arg){ep, 8 * QUIET_MS};
    crowd_start(t, CROWD, epoll_some, a);
    CHECK(write(e, &one, 8) == 8);
    crowd_join(t, CROWD);
    CHECK_EQ(g_hits, 1);
}

/* Level: what the first does not take wakes the next, until all know. */
static void one_epoll_level(void)
{
    pthread_t t[CROWD];
    struct arg a[CROWD];
    int e = eventfd(0, 0), ep = watched_by(e, EPOLLIN);
    uint64_t one = 1;

    for (int i = 0; i < CROWD; i++)
        a[i] = (struct arg){ep, -1};
    crowd_start(t, CROWD, epoll_some, a);
    CHECK(write(e, &one, 8) == 8);
    crowd_join(t, CROWD);
    CHECK_EQ(g_hits, CROWD);
}

static void *drain(void *p)
{
    struct arg *a = p;
    struct epoll_event e;

    while (g_out < a->other) {
        int n = epoll_wait(a->fd, &e, 1, 20);
        char c;
        if (n == 1 && read(e.data.fd, &c, 1) == 1)
            g_out++;
    }
    return NULL;
}

/* Nothing is forgotten when many take from one epoll while events come. */
static void one_epoll_drain(void)
{
    enum { PIPES = 16, ROUNDS = 400 };
    pthread_t t[3];
    struct arg a[3];
    int fd[PIPES][2], ep = epoll_create1(0);

    for (int i = 0; i < PIPES; i++) {
        CHECK(pipe2(fd[i], O_NONBLOCK) == 0);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd[i][0]};
        CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd[i][0], &e) == 0);
    }
    for (int i = 0; i < 3; i++) {
        a[i] = (struct arg){ep, PIPES * ROUNDS};
        CHECK(pthread_create(&t[i], NULL, drain, &a[i]) == 0);
    }
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < PIPES; i++)
            CHECK(write(fd[i][1], "z", 1) == 1);
    crowd_join(t, 3);
    CHECK_EQ(g_out, PIPES * ROUNDS);
}

static const struct guest_case cases[] = {
    {"accepts", accepts},
    {"accept_killed", accept_killed},
    {"pipe_readers", pipe_readers},
    {"pipe_writers", pipe_writers},
    {"pipe_end", pipe_end},
    {"datagrams", datagrams},
    {"exclusive", exclusive},
    {"exclusive_listener", exclusive_listener},
    {"one_epoll", one_epoll},
    {"one_epoll_level", one_epoll_level},
    {"one_epoll_drain", one_epoll_drain},
};
GUEST_MAIN(cases)
