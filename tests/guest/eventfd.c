/* SPDX-License-Identifier: Apache-2.0
 * eventfd.c - eventfd and timerfd. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static void counting(void)
{
    uint64_t v = 7;
    int fd = eventfd(3, EFD_NONBLOCK);
    CHECK(fd >= 0);
    CHECK(write(fd, &v, 8) == 8);
    CHECK(read(fd, &v, 8) == 8 && v == 10);
    CHECK_ERR(read(fd, &v, 8), EAGAIN);
    CHECK_ERR(read(fd, &v, 4), EINVAL);
    v = UINT64_MAX;
    CHECK_ERR(write(fd, &v, 8), EINVAL);
    v = UINT64_MAX - 1;
    CHECK(write(fd, &v, 8) == 8);
    v = 1;
    CHECK_ERR(write(fd, &v, 8), EAGAIN);
    CHECK_ERR(eventfd(0, 2), EINVAL);
}

static void semaphore(void)
{
    uint64_t v;
    int fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    CHECK(read(fd, &v, 8) == 8 && v == 1);
    CHECK(read(fd, &v, 8) == 8 && v == 1);
    CHECK_ERR(read(fd, &v, 8), EAGAIN);
}

static void *write_later(void *arg)
{
    uint64_t v = 5;
    guest_sleep_ms(20);
    CHECK(write(*(int *)arg, &v, 8) == 8);
    return NULL;
}

static void blocking(void)
{
    uint64_t v;
    pthread_t t;
    int fd = eventfd(0, 0);
    CHECK(pthread_create(&t, NULL, write_later, &fd) == 0);
    CHECK(read(fd, &v, 8) == 8 && v == 5);
    pthread_join(t, NULL);
}

static void *read_later(void *arg)
{
    uint64_t v;
    guest_sleep_ms(20);
    CHECK(read(*(int *)arg, &v, 8) == 8);
    return NULL;
}

static void blocking_write(void)
{
    uint64_t v = UINT64_MAX - 1;
    pthread_t t;
    int fd = eventfd(0, 0);
    CHECK(write(fd, &v, 8) == 8);
    CHECK(pthread_create(&t, NULL, read_later, &fd) == 0);
    v = 3;
    CHECK(write(fd, &v, 8) == 8);
    pthread_join(t, NULL);
    CHECK(read(fd, &v, 8) == 8 && v == 3);
}

static void *read_nearly_full(void *arg)
{
    uint64_t v;

    guest_sleep_ms(40);
    CHECK(read(*(int *)arg, &v, 8) == 8 && v == UINT64_MAX - 3);
    return NULL;
}

/* POLLOUT says that 1 fits; a write of more waits all the same, and nobody else does. */
static void write_too_much(void)
{
    uint64_t v = UINT64_MAX - 3;
    int fd = eventfd(0, 0);
    struct pollfd p = {fd, POLLOUT, 0};
    struct sigaction sa = {.sa_handler = SIG_DFL};
    pthread_t t;

    CHECK(write(fd, &v, 8) == 8);
    CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLOUT);
    CHECK(pthread_create(&t, NULL, read_nearly_full, &fd) == 0);
    v = 5;
    CHECK(write(fd, &v, 8) == 8);
    pthread_join(t, NULL);
    CHECK(read(fd, &v, 8) == 8 && v == 5);
    v = UINT64_MAX - 3;
    CHECK(write(fd, &v, 8) == 8);
    sigaction(SIGALRM, &sa, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        v = 5;
        (void)!write(fd, &v, 8);
        _exit(1);
    }
    guest_sleep_ms(30);
    kill(pid, SIGKILL);
    CHECK_EQ(guest_wait(pid), SIGKILL);
}

static void timer_once(void)
{
    struct itimerspec ts = {.it_value = {0, 20000000}}, now;
    uint64_t v;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_ERR(read(fd, &v, 8), EAGAIN);
    CHECK(timerfd_settime(fd, 0, &ts, NULL) == 0);
    CHECK(timerfd_gettime(fd, &now) == 0 && now.it_value.tv_nsec > 0);
    struct pollfd p = {fd, POLLIN, 0};
    CHECK_EQ(poll(&p, 1, 5000), 1);
    CHECK(read(fd, &v, 8) == 8 && v == 1);
    CHECK_ERR(read(fd, &v, 8), EAGAIN);
    CHECK(timerfd_gettime(fd, &now) == 0 && now.it_value.tv_nsec == 0);
}

static void timer_interval(void)
{
    struct itimerspec ts = {.it_value = {0, 5000000}, .it_interval = {0, 5000000}}, old;
    uint64_t v, sum = 0;
    int fd = timerfd_create(CLOCK_REALTIME, 0);
    CHECK(timerfd_settime(fd, 0, &ts, NULL) == 0);
    guest_sleep_ms(30);
    CHECK(read(fd, &v, 8) == 8 && v >= 4);
    while (sum < 3) {
        CHECK(read(fd, &v, 8) == 8 && v >= 1);
        sum += v;
    }
    ts = (struct itimerspec){0};
    CHECK(timerfd_settime(fd, 0, &ts, &old) == 0);
    CHECK(old.it_interval.tv_nsec == 5000000);
}

static void timer_absolute(void)
{
    struct itimerspec ts = {0};
    uint64_t v;
    int fd = timerfd_create(CLOCK_REALTIME, 0);
    CHECK(clock_gettime(CLOCK_REALTIME, &ts.it_value) == 0);
    ts.it_value.tv_sec -= 1; /* long past */
    CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &ts, NULL) == 0);
    CHECK(read(fd, &v, 8) == 8 && v == 1);
}

static void timer_arguments(void)
{
    struct itimerspec ts = {.it_value = {0, 1000000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    CHECK_ERR(timerfd_create(99, 0), EINVAL);
    CHECK_ERR(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
    CHECK_ERR(timerfd_settime(fd, 0, &ts, NULL), EINVAL);
    ts.it_value.tv_nsec = 0;
    CHECK_ERR(timerfd_settime(fd, 8, &ts, NULL), EINVAL);
    CHECK_ERR(timerfd_settime(eventfd(0, 0), 0, &ts, NULL), EINVAL);
}

static const struct guest_case cases[] = {
    {"counting", counting},
    {"semaphore", semaphore},
    {"blocking", blocking},
    {"blocking_write", blocking_write},
    {"write_too_much", write_too_much},
    {"timer_once", timer_once},
    {"timer_interval", timer_interval},
    {"timer_absolute", timer_absolute},
    {"timer_arguments", timer_arguments},
};
GUEST_MAIN(cases)
