/* SPDX-License-Identifier: Apache-2.0
 * mqueue.c - POSIX message queues. */
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

#include "guest.h"

static char g_name[64];

static mqd_t queue(int flags, long count, long size)
{
    struct mq_attr a = {.mq_maxmsg = count, .mq_msgsize = size};
    snprintf(g_name, sizeof(g_name), "/ringbox-%d", getpid());
    mqd_t q = mq_open(g_name, O_CREAT | O_RDWR | flags, 0600, &a);
    CHECK(q >= 0);
    return q;
}

static void case_basic(void)
{
    mqd_t q = queue(0, 4, 100);
    char buf[100] = {0};
    unsigned prio = 0;
    struct mq_attr a;

    CHECK_EQ(mq_send(q, "low", 3, 1), 0);
    CHECK_EQ(mq_send(q, "high", 4, 9), 0);
    CHECK_EQ(mq_send(q, "high2", 5, 9), 0);
    CHECK(mq_getattr(q, &a) == 0);
    CHECK_EQ(a.mq_curmsgs, 3);
    CHECK_EQ(a.mq_maxmsg, 4);
    CHECK_EQ(a.mq_msgsize, 100);
    CHECK_EQ(mq_receive(q, buf, 100, &prio), 4);
    CHECK(prio == 9 && !memcmp(buf, "high", 4));
    CHECK_EQ(mq_receive(q, buf, 100, &prio), 5);
    CHECK_EQ(mq_receive(q, buf, 100, NULL), 3);
    CHECK_ERR(mq_receive(q, buf, 99, NULL), EMSGSIZE);
    CHECK_ERR(mq_send(q, buf, 101, 0), EMSGSIZE);
    CHECK_ERR(mq_send(q, buf, 1, 32768), EINVAL);
    CHECK_EQ(mq_send(q, buf, 0, 32767), 0);
    CHECK_EQ(mq_receive(q, buf, 100, &prio), 0);
    CHECK_EQ(prio, 32767);
    CHECK_ERR(mq_open(g_name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL), EEXIST);
    mqd_t r = mq_open(g_name, O_RDONLY);
    CHECK(r >= 0);
    CHECK_ERR(mq_send(r, "x", 1, 0), EBADF);
    CHECK_ERR(mq_send(0, "x", 1, 0), EBADF);
    CHECK(mq_unlink(g_name) == 0);
    CHECK_ERR(mq_unlink(g_name), ENOENT);
    CHECK_ERR(mq_open(g_name, O_RDONLY), ENOENT);
    CHECK_EQ(mq_send(q, "still", 5, 0), 0); /* alive while open */
    CHECK_EQ(mq_receive(r, buf, 100, NULL), 5);
    CHECK_ERR(mq_open("/a/b", O_CREAT | O_RDWR, 0600, NULL), EACCES);
    CHECK_ERR(mq_open("noslash", O_CREAT | O_RDWR, 0600, NULL), EINVAL);
}

static void case_full(void)
{
    mqd_t q = queue(O_NONBLOCK, 2, 10);
    char buf[10];
    struct pollfd p = {.fd = q, .events = POLLIN | POLLOUT};
    struct mq_attr a = {0}, old;

    CHECK_ERR(mq_receive(q, buf, 10, NULL), EAGAIN);
    CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLOUT);
    CHECK(mq_send(q, "a", 1, 0) == 0 && mq_send(q, "b", 1, 0) == 0);
    CHECK_ERR(mq_send(q, "c", 1, 0), EAGAIN);
    CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLIN);
    CHECK(mq_setattr(q, &a, &old) == 0 && old.mq_flags == O_NONBLOCK);
    struct timespec ts;
    CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    CHECK_ERR(mq_timedsend(q, "c", 1, 0, &ts), ETIMEDOUT);
    ts.tv_nsec = -1;
    CHECK_ERR(mq_timedsend(q, "c", 1, 0, &ts), EINVAL);
    CHECK(mq_unlink(g_name) == 0);
}

static void *receiver(void *arg)
{
    mqd_t q = *(mqd_t *)arg;
    char buf[10];
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(mq_receive(q, buf, 10, NULL), 4);
        int v;
        memcpy(&v, buf, 4);
        CHECK_EQ(v, i);
    }
    return NULL;
}

static void case_flow(void)
{
    mqd_t q = queue(0, 3, 10);
    pthread_t th;

    CHECK(pthread_create(&th, NULL, receiver, &q) == 0);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(mq_send(q, (char *)&i, 4, 0), 0);
    CHECK(pthread_join(th, NULL) == 0);
    CHECK(mq_unlink(g_name) == 0);
}

static volatile int g_value;

static void told(int signo, siginfo_t *si, void *ctx)
{
    (void)signo;
    (void)ctx;
    if (si->si_code == SI_MESGQ)
        g_value = si->si_value.sival_int;
}

static void case_notify(void)
{
    mqd_t q = queue(0, 4, 10);
    struct sigaction sa = {.sa_sigaction = told, .sa_flags = SA_SIGINFO};
    struct sigevent e = {
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value = {.sival_int = 77}};
    char buf[10];

    CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
    CHECK(mq_notify(q, &e) == 0);
    CHECK_ERR(mq_notify(q, &e), EBUSY);
    CHECK(mq_send(q, "x", 1, 0) == 0);
    WAIT_FOR(g_value == 77);
    g_value = 0;
    CHECK(mq_notify(q, &e) == 0); /* once; and only when it was empty */
    CHECK(mq_send(q, "x", 1, 0) == 0);
    guest_sleep_ms(20);
    CHECK_EQ(g_value, 0);
    CHECK_EQ(mq_receive(q, buf, 10, NULL), 1);
    CHECK_EQ(mq_receive(q, buf, 10, NULL), 1);
    CHECK(mq_send(q, "x", 1, 0) == 0);
    WAIT_FOR(g_value == 77);
    CHECK(mq_notify(q, &e) == 0);
    CHECK(mq_notify(q, NULL) == 0);
    CHECK(mq_notify(q, &e) == 0);
    CHECK(mq_unlink(g_name) == 0);
}

static void case_hard_limits(void)
{
    struct mq_attr a = {.mq_maxmsg = 65536, .mq_msgsize = 10};
    struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};

    if (setrlimit(RLIMIT_MSGQUEUE, &r))
        SKIP("needs CAP_SYS_RESOURCE");
    CHECK(mq_open("/rb-many", O_CREAT | O_RDWR, 0600, &a) >= 0);
    CHECK(mq_unlink("/rb-many") == 0);
    a.mq_maxmsg = 65537;
    CHECK_ERR(mq_open("/rb-many", O_CREAT | O_RDWR, 0600, &a), EINVAL);
    a.mq_maxmsg = 1;
    a.mq_msgsize = (16 << 20) + 1;
    CHECK_ERR(mq_open("/rb-many", O_CREAT | O_RDWR, 0600, &a), EINVAL);
    a.mq_msgsize = 0;
    CHECK_ERR(mq_open("/rb-many", O_CREAT | O_RDWR, 0600, &a), EINVAL);
}

static void case_usual_limits(void)
{
    struct mq_attr a;

    if (geteuid())
        SKIP("needs root");
    CHECK(setresuid(12345, 12345, 0) == 0); /* without capabilities */
    a = (struct mq_attr){.mq_maxmsg = 10, .mq_msgsize = 8192};
    CHECK(mq_open("/rb-usual", O_CREAT | O_RDWR, 0600, &a) >= 0);
    CHECK(mq_unlink("/rb-usual") == 0);
    a.mq_maxmsg = 11;
    CHECK_ERR(mq_open("/rb-usual", O_CREAT | O_RDWR, 0600, &a), EINVAL);
    a = (struct mq_attr){.mq_maxmsg = 10, .mq_msgsize = 8193};
    CHECK_ERR(mq_open("/rb-usual", O_CREAT | O_RDWR, 0600, &a), EINVAL);
}

static const struct guest_case cases[] = {
    {"basic", case_basic},
    {"full", case_full},
    {"flow", case_flow},
    {"notify", case_notify},
    {"hard_limits", case_hard_limits},
    {"usual_limits", case_usual_limits},
};
GUEST_MAIN(cases)
