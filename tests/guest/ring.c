/* SPDX-License-Identifier: Apache-2.0
 * ring.c - libringbox: calls through the queue and the call slot. Natively the library makes the
 * calls itself, one after the other at submit; what only a real queue can do (calls in flight while
 * the thread does something else) is tried inside only. */
#include "ringutil.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <ring/queue.h>

/* --- the library's face --- */

static void open_close(void)
{
    struct ringbox *a, *b;

    CHECK_EQ(ringbox_open(&a, 0), -EINVAL);
    CHECK_EQ(ringbox_open(&a, 4097), -EINVAL);
    a = ring_open(5);
    CHECK_EQ(ringbox_open(&b, 8), -EBUSY);
    CHECK(ringbox_peek(a) == NULL && ringbox_wait(a) == NULL);
    CHECK_EQ(ringbox_submit(a), 0);
    ringbox_close(a);
    for (unsigned n = 1; n <= 4096; n *= 8) {
        a = ring_open(n);
        queue(a, n, 0, SYS_getpid, 0, 0, 0, 0);
        CHECK_EQ(ringbox_submit(a), 1);
        CHECK_EQ(wait_one(a, NULL), getpid());
        ringbox_close(a);
    }
    ringbox_close(NULL);
}

static void capacity(void)
{
    struct ringbox *rb = ring_open(8);
    int64_t r[8];

    for (int lap = 0; lap < 100; lap++) {
        for (unsigned i = 0; i < 8; i++)
            queue(rb, i, 0, SYS_getpid, 0, 0, 0, 0);
        CHECK(ringbox_get(rb) == NULL);
        CHECK_EQ(ringbox_submit(rb), 8);
        CHECK(ringbox_get(rb) == NULL);
        wait_all(rb, 8, r);
        for (unsigned i = 0; i < 8; i++)
            CHECK_EQ(r[i], getpid());
    }
    ringbox_close(rb);
}

static void prep_helpers(void)
{
    struct ringbox *rb = ring_open(8);
    char path[] = "/tmp/ring-test.XXXXXX", buf[16] = "";
    uint64_t d;
    int made = mkstemp(path);

    CHECK(made >= 0);
    struct ringbox_entry *e = ringbox_get(rb);
    ringbox_prep_openat(e, AT_FDCWD, path, O_RDWR | O_TRUNC, 0600);
    tagged(e, 11, 0);
    ringbox_submit(rb);
    int fd = (int)wait_one(rb, &d);
    CHECK_EQ(d, 11);
    CHECK(fd > made);

    ringbox_prep_write(ringbox_get(rb), fd, "hello ", 6);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, &d), 6);
    CHECK_EQ(d, 0);
    ringbox_prep_pwrite(ringbox_get(rb), fd, "world", 5, 6);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), 5);
    ringbox_prep_pread(ringbox_get(rb), fd, buf, sizeof buf, 3);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), 8);
    CHECK(memcmp(buf, "lo world", 8) == 0);
    ringbox_prep_read(ringbox_get(rb), fd, buf, sizeof buf);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), 5); /* behind what write() has written */
    CHECK(memcmp(buf, "world", 5) == 0);
    ringbox_prep_close(ringbox_get(rb), fd);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), 0);
    CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
    unlink(path);
    close(made);
    ringbox_close(rb);
}

static void errors(void)
{
    struct ringbox *rb = ring_open(64);
    int64_t r[8];
    char c;

    queue(rb, 0, 0, SYS_close, (uint64_t)-1, 0, 0, 0);
    queue(rb, 1, 0, SYS_openat, (uint64_t)AT_FDCWD, ADDR("/no/such"), O_RDONLY, 0);
    queue(rb, 2, 0, SYS_read, 0, 0x10, 1, 0);
    queue(rb, 3, 0, 511, 0, 0, 0, 0);
    queue(rb, 4, 0, 65535, 0, 0, 0, 0);
    queue(rb, 5, 0, 65536 + SYS_getpid, 0, 0, 0, 0);
    queue(rb, 6, 4, SYS_getpid, 0, 0, 0, 0);
    queue(rb, 7, 0x8000, SYS_read, (uint64_t)-1, ADDR(&c), 1, 0);
    ringbox_submit(rb);
    wait_all(rb, 8, r);
    CHECK_EQ(r[0], -EBADF);
    CHECK_EQ(r[1], -ENOENT);
    CHECK(r[2] <= 0); /* standard input may be anything */
    CHECK_EQ(r[3], -ENOSYS);
    CHECK_EQ(r[4], -ENOSYS);
    CHECK_EQ(r[5], -ENOSYS);
    CHECK_EQ(r[6], -EINVAL);
    CHECK_EQ(r[7], -EINVAL);
    ringbox_close(rb);
}

/* Every number: refused with -EINVAL exactly if ringbox_queueable() says so. */
static void refused(void)
{
    struct ringbox *rb = ring_open(64);
    unsigned tried = 0;

    for (unsigned nr = 0; nr < 512; nr++) {
        if (ringbox_queueable(nr))
            continue;
        queue(rb, nr, 0, nr, ~0ull, ~0ull, ~0ull, ~0ull);
        ringbox_submit(rb);
        CHECK_EQ(wait_one(rb, NULL), -EINVAL);
        tried++;
    }
    CHECK(tried > 30);
    CHECK(!ringbox_queueable(SYS_clone) && !ringbox_queueable(SYS_execve) &&
          !ringbox_queueable(SYS_exit_group) && !ringbox_queueable(SYS_rt_sigreturn) &&
          !ringbox_queueable(SYS_setuid) && ringbox_queueable(SYS_read));
    /* the slot refuses only what needs registers */
    CHECK_EQ(ringbox_call(rb, SYS_fork, 0, 0, 0, 0, 0, 0), -EINVAL);
    CHECK_EQ(ringbox_call(rb, SYS_execve, 0, 0, 0, 0, 0, 0), -EINVAL);
    CHECK_EQ(ringbox_call(rb, SYS_umask, 022, 0, 0, 0, 0, 0), umask(022));
    ringbox_close(rb);
}

/* --- order --- */

static void links_order(void)
{
    enum { N = 200 };
    struct ringbox *rb = ring_open(256);
    char text[N], got[N];
    int64_t r[N];
    int p[2];

    CHECK(pipe(p) == 0);
    for (unsigned i = 0; i < N; i++) {
        text[i] = (char)('a' + i % 26);
        struct ringbox_entry *e = ringbox_get(rb);
        ringbox_prep_write(e, p[1], &text[i], 1);
        tagged(e, i, i + 1 < N ? RINGBOX_LINK : 0);
    }
    ringbox_submit(rb);
    wait_all(rb, N, r);
    for (unsigned i = 0; i < N; i++)
        CHECK_EQ(r[i], 1);
    CHECK_EQ(read(p[0], got, N), N);
    CHECK(memcmp(text, got, N) == 0);
    ringbox_close(rb);
}

/* The middle of a chain fails; the chain behind it is not concerned. */
static void links_broken(void)
{
    struct ringbox *rb = ring_open(16);
    int64_t r[8];

    for (int lap = 0; lap < 20; lap++) {
        queue(rb, 0, RINGBOX_LINK, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 1, RINGBOX_LINK, SYS_close, (uint64_t)-1, 0, 0, 0);
        queue(rb, 2, RINGBOX_LINK, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 3, 0, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 4, 0, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 5, RINGBOX_LINK, SYS_execve, 0, 0, 0, 0);
        queue(rb, 6, 0, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 7, 0, SYS_getpid, 0, 0, 0, 0);
        ringbox_submit(rb);
        wait_all(rb, 8, r);
        CHECK_EQ(r[0], getpid());
        CHECK_EQ(r[1], -EBADF);
        CHECK_EQ(r[2], -ECANCELED);
        CHECK_EQ(r[3], -ECANCELED);
        CHECK_EQ(r[4], getpid());
        CHECK_EQ(r[5], -EINVAL);
        CHECK_EQ(r[6], -ECANCELED);
        CHECK_EQ(r[7], getpid());
    }
    ringbox_close(rb);
}

/* A chain may be submitted in pieces, also after its first part has ended. */
static void links_late(void)
{
    struct ringbox *rb = ring_open(16);
    struct timespec ms = {0, 3000000};

    queue(rb, 0, RINGBOX_LINK, SYS_close, (uint64_t)-1, 0, 0, 0);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), -EBADF);
    queue(rb, 1, RINGBOX_LINK, SYS_getpid, 0, 0, 0, 0);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), -ECANCELED);
    queue(rb, 2, 0, SYS_getpid, 0, 0, 0, 0);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), -ECANCELED);
    queue(rb, 3, RINGBOX_LINK, SYS_nanosleep, ADDR(&ms), 0, 0, 0);
    ringbox_submit(rb); /* still runs when the next comes */
    queue(rb, 4, RINGBOX_LINK, SYS_close, (uint64_t)-1, 0, 0, 0);
    ringbox_submit(rb);
    queue(rb, 5, 0, SYS_getpid, 0, 0, 0, 0);
    ringbox_submit(rb);
    const int64_t expect[] = {0, -EBADF, -ECANCELED};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t d;
        CHECK_EQ(wait_one(rb, &d), expect[i]);
        CHECK_EQ(d, 3 + i);
    }
    ringbox_close(rb);
}

static void drain(void)
{
    struct ringbox *rb = ring_open(32);
    struct timespec ms = {0, 20000000}, less = {0, 1000000};

    for (unsigned lap = 0; lap < 3; lap++) {
        queue(rb, 0, 0, SYS_nanosleep, ADDR(&ms), 0, 0, 0);
        queue(rb, 1, 0, SYS_nanosleep, ADDR(&less), 0, 0, 0);
        queue(rb, 2, RINGBOX_DRAIN, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 3, 0, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 4, RINGBOX_DRAIN | RINGBOX_LINK, SYS_close, (uint64_t)-1, 0, 0, 0);
        queue(rb, 5, RINGBOX_DRAIN, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 6, RINGBOX_DRAIN, SYS_getpid, 0, 0, 0, 0);
        ringbox_submit(rb);
        unsigned seen = 0;
        for (unsigned i = 0; i < 7; i++) {
            uint64_t d;
            int64_t r = wait_one(rb, &d);
            CHECK_EQ(r, d < 2 ? 0 : d == 4 ? -EBADF : d == 5 ? -ECANCELED : getpid());
            if (d == 2)
                CHECK_EQ(seen, 3);
            if (d >= 4)
                CHECK_EQ(seen, (1u << d) - 1);
            seen |= 1u << d;
        }
    }
    ringbox_close(rb);
}

/* --- waiting --- */

struct later {
    int fd;
    long ms;
    unsigned count;
};

static void *write_later(void *arg)
{
    struct later *l = arg;

    guest_sleep_ms(l->ms);
    for (unsigned i = 0; i < l->count; i++)
        CHECK_EQ(write(l->fd, "x", 1), 1);
    return NULL;
}

static void empty_pipe(void)
{
    struct ringbox *rb = ring_open(8);
    pthread_t t;
    char c = 0;
    int p[2];

    CHECK(pipe(p) == 0);
    for (int lap = 0; lap < 3; lap++) {
        struct later l = {p[1], 20, 2};
        pthread_create(&t, NULL, write_later, &l);
        ringbox_prep_read(ringbox_get(rb), p[0], &c, 1);
        ringbox_submit(rb);
        CHECK_EQ(wait_one(rb, NULL), 1);
        CHECK_EQ(c, 'x');
        CHECK_EQ(ringbox_call(rb, SYS_read, (uint64_t)p[0], ADDR(&c), 1, 0, 0, 0), 1);
        pthread_join(t, NULL);
    }
    ringbox_close(rb);
}

/* The thread waits in the slot's call while its queue is served. */
static void slot_waits(void)
{
    struct ringbox *rb = ring_open(8);
    struct timespec ms = {0, 60000000};
    int64_t t = guest_now_ns(CLOCK_MONOTONIC);

    CHECK_EQ(ringbox_call(rb, SYS_nanosleep, ADDR(&ms), 0, 0, 0, 0, 0), 0);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - t >= 60000000);
    if (ringbox_inside(rb)) {
        char c = 0;
        int p[2];
        CHECK(pipe(p) == 0);
        queue(rb, 0, 0, SYS_nanosleep, ADDR(&ms), 0, 0, 0);
        struct ringbox_entry *e = ringbox_get(rb);
        ringbox_prep_write(e, p[1], "x", 1);
        tagged(e, 1, RINGBOX_DRAIN);
        ringbox_submit(rb);
        CHECK_EQ(ringbox_call(rb, SYS_read, (uint64_t)p[0], ADDR(&c), 1, 0, 0, 0), 1);
        int64_t r[2];
        wait_all(rb, 2, r);
        CHECK(r[0] == 0 && r[1] == 1);
    }
    ringbox_close(rb);
}

static void other_waits(void)
{
    struct ringbox *rb = ring_open(8);
    static uint32_t word;
    struct timespec ms = {0, 15000000};
    int p[2];

    CHECK(pipe(p) == 0);
    struct pollfd pfd = {.fd = p[0], .events = POLLIN};
    int64_t t = guest_now_ns(CLOCK_MONOTONIC);
    queue(rb, 0, 0, SYS_poll, ADDR(&pfd), 1, 15, 0);
    queue(rb, 1, 0, SYS_futex, ADDR(&word), FUTEX_WAIT, 0, ADDR(&ms));
    queue(rb, 2, 0, SYS_futex, ADDR(&word), FUTEX_WAIT, 1, 0);
    queue(rb, 3, 0, SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, ADDR(&ms), 0);
    ringbox_submit(rb);
    int64_t r[4];
    wait_all(rb, 4, r);
    CHECK_EQ(r[0], 0);
    CHECK_EQ(r[1], -ETIMEDOUT);
    CHECK_EQ(r[2], -EAGAIN);
    CHECK_EQ(r[3], 0);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - t >= 15000000);
    ringbox_close(rb);
}

static void *write_everywhere(void *arg)
{
    const int *fds = arg;

    guest_sleep_ms(10);
    for (int i = 127; i >= 0; i--)
        CHECK_EQ(write(fds[i], &(uint64_t){(uint64_t)i + 1}, 8), 8);
    return NULL;
}

static void many_in_flight(void)
{
    enum { N = 128 };
    struct ringbox *rb = ring_open(N);
    uint64_t got[N] = {0};
    int64_t r[N];
    int fds[N];
    pthread_t t;

    for (unsigned i = 0; i < N; i++)
        CHECK((fds[i] = eventfd(0, 0)) >= 0);
    for (int lap = 0; lap < 3; lap++) {
        pthread_create(&t, NULL, write_everywhere, fds);
        for (unsigned i = 0; i < N; i++)
            queue(rb, i, 0, SYS_read, (uint64_t)fds[i], ADDR(&got[i]), 8, 0);
        ringbox_submit(rb);
        wait_all(rb, N, r);
        for (unsigned i = 0; i < N; i++)
            CHECK(r[i] == 8 && got[i] == i + 1);
        pthread_join(t, NULL);
    }
    ringbox_close(rb);
}

/* --- signals --- */

static volatile sig_atomic_t alarms;

static void on_alarm(int s)
{
    (void)s;
    alarms++;
}

static void arm(int flags, long ms)
{
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = flags};
    struct itimerval it = {.it_value = {0, ms * 1000}};

    alarms = 0;
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &it, NULL);
}

/* A handler runs meanwhile; the queued call goes on. */
static void signal_queue(void)
{
    struct ringbox *rb = ring_open(8);
    pthread_t t;
    sigset_t set, old;
    char c = 0;
    int p[2];

    CHECK(pipe(p) == 0);
    struct later l = {p[1], 60, 1};
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    pthread_create(&t, NULL, write_later, &l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    arm(ringbox_inside(rb) ? 0 : SA_RESTART, 20);
    ringbox_prep_read(ringbox_get(rb), p[0], &c, 1);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), 1);
    CHECK_EQ(alarms, 1);
    pthread_join(t, NULL);
    ringbox_close(rb);
}

/* The slot's call is interrupted and restarted like any other. */
static void signal_slot(void)
{
    struct ringbox *rb = ring_open(8);
    pthread_t t;
    sigset_t set, old;
    char c = 0;
    int p[2];

    CHECK(pipe(p) == 0);
    arm(0, 20);
    CHECK_EQ(ringbox_call(rb, SYS_read, (uint64_t)p[0], ADDR(&c), 1, 0, 0, 0), -EINTR);
    CHECK_EQ(alarms, 1);
    arm(SA_RESTART, 20);
    CHECK_EQ(ringbox_call(rb, SYS_pause, 0, 0, 0, 0, 0, 0), -EINTR);
    CHECK_EQ(alarms, 1);

    struct later l = {p[1], 60, 1};
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    pthread_create(&t, NULL, write_later, &l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    arm(SA_RESTART, 20);
    CHECK_EQ(ringbox_call(rb, SYS_read, (uint64_t)p[0], ADDR(&c), 1, 0, 0, 0), 1);
    CHECK_EQ(alarms, 1);
    pthread_join(t, NULL);
    ringbox_close(rb);
}

/* A signal that comes at any moment loses no call and no byte. */
static void signal_storm(void)
{
    struct ringbox *rb = ring_open(8);
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval it = {.it_value = {0, 500}, .it_interval = {0, 500}};
    int p[2];

    alarms = 0;
    CHECK(pipe(p) == 0);
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 150000000;
    for (uint32_t i = 0; guest_now_ns(CLOCK_MONOTONIC) < end; i++) {
        uint32_t got = ~i;
        CHECK_EQ(ringbox_call(rb, SYS_write, (uint64_t)p[1], ADDR(&i), 4, 0, 0, 0), 4);
        CHECK_EQ(ringbox_call(rb, SYS_read, (uint64_t)p[0], ADDR(&got), 4, 0, 0, 0), 4);
        CHECK_EQ(got, i);
        CHECK_EQ(ringbox_call(rb, SYS_getpid, 0, 0, 0, 0, 0, 0), getpid());
    }
    it = (struct itimerval){0};
    setitimer(ITIMER_REAL, &it, NULL);
    CHECK(alarms > 3);
    ringbox_close(rb);
}

static const struct guest_case cases[] = {
    {"open_close", open_close},
    {"capacity", capacity},
    {"prep_helpers", prep_helpers},
    {"errors", errors},
    {"refused", refused},
    {"links_order", links_order},
    {"links_broken", links_broken},
    {"links_late", links_late},
    {"drain", drain},
    {"empty_pipe", empty_pipe},
    {"slot_waits", slot_waits},
    {"other_waits", other_waits},
    {"many_in_flight", many_in_flight},
    {"signal_queue", signal_queue},
    {"signal_slot", signal_slot},
    {"signal_storm", signal_storm},
};
GUEST_MAIN(cases)
