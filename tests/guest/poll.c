/* SPDX-License-Identifier: Apache-2.0
 * poll.c - poll, ppoll, select, pselect. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/select.h>

static struct pollfd *volatile bad_address = (void *)8;

static void what_holds(void)
{
    int p[2];
    CHECK(pipe(p) == 0);
    struct pollfd f[4] = {
        {p[0], POLLIN, -1}, {p[1], POLLOUT, -1}, {-1, POLLIN, -1}, {999, POLLIN, -1}};
    CHECK_EQ(poll(f, 4, 0), 2);
    CHECK(f[0].revents == 0 && f[1].revents == POLLOUT && f[2].revents == 0);
    CHECK(f[3].revents == POLLNVAL);
    CHECK(write(p[1], "x", 1) == 1);
    CHECK_EQ(poll(f, 2, -1), 2);
    CHECK(f[0].revents == POLLIN);
    close(p[1]);
    f[0].events = 0;
    CHECK_EQ(poll(f, 1, 0), 1);
    CHECK(f[0].revents == POLLHUP);
}

static void regular_files_are_ready(void)
{
    struct pollfd f = {open("/dev/null", O_RDWR), POLLIN | POLLOUT, 0};
    CHECK(f.fd >= 0);
    CHECK_EQ(poll(&f, 1, 0), 1);
    CHECK_EQ(f.revents, POLLIN | POLLOUT);
}

static void times_out(void)
{
    int p[2];
    CHECK(pipe(p) == 0);
    struct pollfd f = {p[0], POLLIN, 0};
    int64_t t = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(poll(&f, 1, 30), 0);
    t = guest_now_ns(CLOCK_MONOTONIC) - t;
    CHECK(t >= 29000000 && t < 5000000000LL);
    CHECK_EQ(poll(NULL, 0, 1), 0);
}

static void *write_later(void *arg)
{
    guest_sleep_ms(20);
    CHECK(write(*(int *)arg, "x", 1) == 1);
    return NULL;
}

static void wakes_up(void)
{
    int p[2], q[2];
    pthread_t t;
    CHECK(pipe(p) == 0 && pipe(q) == 0);
    CHECK(pthread_create(&t, NULL, write_later, &q[1]) == 0);
    struct pollfd f[2] = {{p[0], POLLIN, 0}, {q[0], POLLIN, 0}};
    CHECK_EQ(poll(f, 2, 10000), 1);
    CHECK(f[0].revents == 0 && f[1].revents == POLLIN);
    pthread_join(t, NULL);
}

static void many_descriptors(void)
{
    enum { MANY = 200 };
    int p[MANY][2];
    struct pollfd f[MANY];
    pthread_t t;
    for (int i = 0; i < MANY; i++) {
        CHECK(pipe(p[i]) == 0);
        f[i] = (struct pollfd){p[i][0], POLLIN, 0};
    }
    CHECK(pthread_create(&t, NULL, write_later, &p[MANY - 1][1]) == 0);
    CHECK_EQ(poll(f, MANY, -1), 1);
    CHECK(f[MANY - 1].revents == POLLIN);
    pthread_join(t, NULL);
}

static void too_many(void)
{
    struct rlimit r;
    static struct pollfd f[64];
    CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
    r.rlim_cur = 32;
    CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
    CHECK_ERR(poll(f, 33, 0), EINVAL);
    CHECK_ERR(poll(bad_address, 1, 0), EFAULT);
}

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
    (void)signo;
    signals++;
}

static void interrupted_by_signal(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, NULL);
    alarm(1);
    CHECK_ERR(poll(NULL, 0, -1), EINTR); /* never restarted */
    CHECK(signals == 1);
}

static void ppoll_mask(void)
{
    sigset_t block, none, now;
    struct sigaction sa = {.sa_handler = on_signal};
    struct timespec ts = {5, 0};
    sigaction(SIGUSR1, &sa, NULL);
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    kill(getpid(), SIGUSR1);
    CHECK(signals == 0);
    CHECK_ERR(ppoll(NULL, 0, &ts, &none), EINTR);
    CHECK(signals == 1);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1)); /* the old mask is back */
    ts = (struct timespec){0, 1000000};
    CHECK_EQ(ppoll(NULL, 0, &ts, &none), 0);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1));
    ts.tv_nsec = 1000000000;
    CHECK_ERR(ppoll(NULL, 0, &ts, NULL), EINVAL);
}

static void select_bits(void)
{
    int p[2];
    fd_set r, w;
    struct timeval tv = {0, 0};
    CHECK(pipe(p) == 0);
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_SET(p[0], &r);
    FD_SET(p[1], &w);
    CHECK_EQ(select(p[1] + 1, &r, &w, NULL, &tv), 1);
    CHECK(!FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w));
    CHECK(write(p[1], "x", 1) == 1);
    FD_SET(p[0], &r);
    CHECK_EQ(select(p[1] + 1, &r, &w, NULL, NULL), 2);
    FD_SET(20, &r);
    CHECK_ERR(select(21, &r, NULL, NULL, &tv), EBADF);
    CHECK_ERR(select(-1, NULL, NULL, NULL, &tv), EINVAL);
}

static void select_time_left(void)
{
    int p[2];
    fd_set r;
    pthread_t t;
    struct timeval tv = {5, 0};
    CHECK(pipe(p) == 0);
    CHECK(pthread_create(&t, NULL, write_later, &p[1]) == 0);
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    CHECK_EQ(select(p[0] + 1, &r, NULL, NULL, &tv), 1);
    CHECK(tv.tv_sec < 5 && tv.tv_sec >= 1);
    pthread_join(t, NULL);
    tv = (struct timeval){0, 20000};
    CHECK_EQ(select(0, NULL, NULL, NULL, &tv), 0);
    CHECK(tv.tv_sec == 0 && tv.tv_usec == 0);
}

static void pselect_mask(void)
{
    sigset_t block, none;
    struct sigaction sa = {.sa_handler = on_signal};
    struct timespec ts = {5, 0};
    sigaction(SIGUSR1, &sa, NULL);
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    kill(getpid(), SIGUSR1);
    CHECK_ERR(pselect(0, NULL, NULL, NULL, &ts, &none), EINTR);
    CHECK(signals == 1);
}

static const struct guest_case cases[] = {
    {"what_holds", what_holds},
    {"regular_files_are_ready", regular_files_are_ready},
    {"times_out", times_out},
    {"wakes_up", wakes_up},
    {"many_descriptors", many_descriptors},
    {"too_many", too_many},
    {"interrupted_by_signal", interrupted_by_signal},
    {"ppoll_mask", ppoll_mask},
    {"select_bits", select_bits},
    {"select_time_left", select_time_left},
    {"pselect_mask", pselect_mask},
};
GUEST_MAIN(cases)
