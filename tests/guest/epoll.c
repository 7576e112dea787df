/* SPDX-License-Identifier: Apache-2.0
 * epoll.c - triggers, one-shot, nesting, many threads. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int ep;

static void add(int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void create(void)
{
    ep = epoll_create1(EPOLL_CLOEXEC);
    CHECK(ep >= 0);
}

static void arguments(void)
{
    struct epoll_event e = {.events = EPOLLIN};
    create();
    int fd = eventfd(0, 0);
    CHECK_ERR(epoll_create1(1), EINVAL);
    CHECK_ERR(epoll_create(0), EINVAL);
    CHECK(fcntl(ep, F_GETFD) == FD_CLOEXEC);
    CHECK_ERR(epoll_wait(ep, &e, 0, 0), EINVAL);
    CHECK_ERR(epoll_wait(fd, &e, 1, 0), EINVAL);
    CHECK_ERR(epoll_wait(-1, &e, 1, 0), EBADF);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, -1, &e), EBADF);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e), ENOENT);
    CHECK_ERR(epoll_ctl(ep, 77, fd, &e), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, fd, NULL), EFAULT);
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), EEXIST);
    int file = open("/proc/self/exe", O_RDONLY);
    CHECK(file >= 0);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, file, &e), EPERM);
}

static void level_and_edge(void)
{
    int p[2];
    struct epoll_event e[4];
    create();
    CHECK(pipe(p) == 0);
    add(p[0], EPOLLIN);
    CHECK_EQ(epoll_wait(ep, e, 4, 0), 0);
    CHECK(write(p[1], "xx", 2) == 2);
    for (int i = 0; i < 3; i++)
        CHECK(epoll_wait(ep, e, 4, -1) == 1 && e[0].events == EPOLLIN && e[0].data.fd == p[0]);
    e[0] = (struct epoll_event){.events = EPOLLIN | EPOLLET};
    CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], e) == 0);
    CHECK_EQ(epoll_wait(ep, e, 4, 0), 1);
    CHECK_EQ(epoll_wait(ep, e, 4, 0), 0);
    CHECK(write(p[1], "x", 1) == 1);
    CHECK_EQ(epoll_wait(ep, e, 4, 0), 1);
    CHECK_EQ(epoll_wait(ep, e, 4, 10), 0);
}

static void one_shot(void)
{
    int fd = eventfd(1, 0);
    struct epoll_event e;
    create();
    add(fd, EPOLLIN | EPOLLONESHOT);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
    e.events = EPOLLIN | EPOLLONESHOT;
    CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e) == 0);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
}

static void hangup(void)
{
    int s[2];
    struct epoll_event e;
    create();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    add(s[0], EPOLLIN | EPOLLRDHUP | EPOLLET);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
    CHECK(shutdown(s[1], SHUT_WR) == 0);
    CHECK_EQ(epoll_wait(ep, &e, 1, 1000), 1);
    CHECK_EQ(e.events, EPOLLIN | EPOLLRDHUP);
    close(s[1]);
    CHECK_EQ(epoll_wait(ep, &e, 1, 1000), 1);
    CHECK_EQ(e.events, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
}

static void closing_removes(void)
{
    int fd = eventfd(1, 0), copy = dup(fd);
    struct epoll_event e;
    create();
    add(fd, EPOLLIN);
    close(fd);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1); /* the description lives on */
    close(copy);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
}

static void nested(void)
{
    int inner = epoll_create1(0), fd = eventfd(0, EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN};
    uint64_t v = 1;
    create();
    CHECK(epoll_ctl(inner, EPOLL_CTL_ADD, fd, &e) == 0);
    add(inner, EPOLLIN);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
    CHECK(write(fd, &v, 8) == 8);
    CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
    struct pollfd p = {ep, POLLIN, 0};
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK(read(fd, &v, 8) == 8);
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_ERR(epoll_ctl(inner, EPOLL_CTL_ADD, ep, &e), ELOOP);
}

static void *write_later(void *arg)
{
    uint64_t one = 1;
    guest_sleep_ms(20);
    CHECK(write(*(int *)arg, &one, 8) == 8);
    return NULL;
}

static void waits(void)
{
    int fd = eventfd(0, 0);
    struct epoll_event e;
    pthread_t t;
    create();
    add(fd, EPOLLIN);
    int64_t at = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(epoll_wait(ep, &e, 1, 30), 0);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - at >= 29000000);
    CHECK(pthread_create(&t, NULL, write_later, &fd) == 0);
    CHECK_EQ(epoll_wait(ep, &e, 1, 10000), 1);
    pthread_join(t, NULL);
}

static void *add_later(void *arg)
{
    guest_sleep_ms(20);
    add(*(int *)arg, EPOLLIN);
    return NULL;
}

static void added_while_waiting(void)
{
    int fd = eventfd(1, 0);
    struct epoll_event e;
    pthread_t t;
    create();
    CHECK(pthread_create(&t, NULL, add_later, &fd) == 0);
    CHECK_EQ(epoll_wait(ep, &e, 1, 10000), 1);
    pthread_join(t, NULL);
}

#define TOKENS 300

static _Atomic(int) taken;

static void *token_taker(void *arg)
{
    int fd = *(int *)arg;
    while (taken < TOKENS) {
        struct epoll_event e;
        uint64_t v;
        if (epoll_wait(ep, &e, 1, 50) == 1 && read(fd, &v, 8) == 8)
            taken++;
    }
    return NULL;
}

static void many_threads(void)
{
    int fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK);
    pthread_t t[4];
    create();
    add(fd, EPOLLIN);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, token_taker, &fd) == 0);
    for (int i = 0; i < TOKENS; i++) {
        uint64_t one = 1;
        CHECK(write(fd, &one, 8) == 8);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(taken, TOKENS);
}

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
    (void)signo;
    signals++;
}

static void pwait_mask(void)
{
    sigset_t block, none;
    struct epoll_event e;
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    create();
    sigaction(SIGUSR1, &sa, NULL);
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(epoll_wait(ep, &e, 1, 1), 0);
    CHECK_ERR(epoll_pwait(ep, &e, 1, 5000, &none), EINTR);
    CHECK(signals == 1);
}

static const struct guest_case cases[] = {
    {"arguments", arguments},
    {"level_and_edge", level_and_edge},
    {"one_shot", one_shot},
    {"hangup", hangup},
    {"closing_removes", closing_removes},
    {"nested", nested},
    {"waits", waits},
    {"added_while_waiting", added_while_waiting},
    {"many_threads", many_threads},
    {"pwait_mask", pwait_mask},
};
GUEST_MAIN(cases)
