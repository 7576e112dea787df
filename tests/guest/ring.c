/* SPDX-License-Identifier: Apache-2.0
 * ring.c - libringbox: calls through the queue and the call slot. Natively the library makes the
 * calls itself, one after the other at submit; what only a real queue can do (calls in flight while
 * the thread does something else) is tried inside only. */
#include "guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <ring/queue.h>
#include <ringbox.h>

static struct ringbox *ring_open(unsigned entries)
{
    struct ringbox *rb = NULL;

    CHECK_EQ(ringbox_open(&rb, entries), 0);
    return rb;
}

/* For prep helpers, which start flags and data at 0. */
static void tagged(struct ringbox_entry *e, uint64_t data, unsigned flags)
{
    ringbox_set_data(e, data);
    ringbox_set_flags(e, flags);
}

static void queue(struct ringbox *rb, uint64_t data, unsigned flags, unsigned nr, uint64_t a0,
                  uint64_t a1, uint64_t a2, uint64_t a3)
{
    struct ringbox_entry *e = ringbox_get(rb);

    CHECK(e != NULL);
    ringbox_prep(e, nr, a0, a1, a2, a3, 0, 0);
    tagged(e, data, flags);
}

static int64_t wait_one(struct ringbox *rb, uint64_t *ret_data)
{
    const struct ringbox_result *r = ringbox_wait(rb);

    CHECK(r != NULL);
    int64_t result = r->result;
    if (ret_data)
        *ret_data = r->user_data;
    ringbox_advance(rb, 1);
    return result;
}

/* Results by user_data, 0..n-1, in whatever order they come. */
static void wait_all(struct ringbox *rb, unsigned n, int64_t *ret)
{
    for (unsigned i = 0; i < n; i++)
        ret[i] = INT64_MIN;
    for (unsigned i = 0; i < n; i++) {
        uint64_t data;
        int64_t result = wait_one(rb, &data);
        CHECK(data < n && ret[data] == INT64_MIN);
        ret[data] = result;
    }
    CHECK(ringbox_peek(rb) == NULL);
    CHECK(ringbox_wait(rb) == NULL);
}

#define ADDR(p) ((uint64_t)(uintptr_t)(p))

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

/* --- threads, fork, exec, exit --- */

static void *thread_ring(void *arg)
{
    struct ringbox *rb = ring_open(16);
    int64_t r[16];

    (void)arg;
    for (int lap = 0; lap < 100; lap++) {
        for (unsigned i = 0; i < 16; i++)
            queue(rb, i, 0, SYS_gettid, 0, 0, 0, 0);
        ringbox_submit(rb);
        CHECK_EQ(ringbox_call(rb, SYS_gettid, 0, 0, 0, 0, 0, 0), guest_gettid());
        wait_all(rb, 16, r);
        for (unsigned i = 0; i < 16; i++)
            CHECK_EQ(r[i], guest_gettid());
    }
    ringbox_close(rb);
    return NULL;
}

static void threads(void)
{
    pthread_t t[6];

    for (int lap = 0; lap < 3; lap++) {
        for (unsigned i = 0; i < 6; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, thread_ring, NULL), 0);
        thread_ring(NULL);
        for (unsigned i = 0; i < 6; i++)
            pthread_join(t[i], NULL);
    }
}

static void child_ring(void *arg)
{
    (void)arg;
    thread_ring(NULL);
}

static void fork_child(void)
{
    struct ringbox *rb = ring_open(16);
    struct timespec ms = {0, 20000000};

    queue(rb, 7, 0, SYS_nanosleep, ADDR(&ms), 0, 0, 0);
    ringbox_submit(rb);
    pid_t pid = guest_fork(child_ring, NULL);
    queue(rb, 8, RINGBOX_DRAIN, SYS_getpid, 0, 0, 0, 0);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), 0);
    CHECK_EQ(wait_one(rb, NULL), getpid());
    CHECK_EQ(guest_wait(pid), 0);
    ringbox_close(rb);
}

/* Something of every kind in flight: never completes by itself. Inside only. */
static struct ringbox *busy_ring(void)
{
    struct ringbox *rb = ring_open(64);
    static uint32_t word;
    static char c;
    static struct timespec forever = {1000, 0};
    int p[2];

    if (!ringbox_inside(rb))
        return NULL;
    CHECK(pipe(p) == 0);
    struct pollfd *pfd = malloc(sizeof *pfd);
    *pfd = (struct pollfd){.fd = p[0], .events = POLLIN};
    for (unsigned i = 0; i < 8; i++) {
        queue(rb, 0, RINGBOX_LINK, SYS_read, (uint64_t)p[0], ADDR(&c), 1, 0);
        queue(rb, 1, RINGBOX_LINK, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 2, 0, SYS_getpid, 0, 0, 0, 0);
        queue(rb, 3, 0, SYS_poll, ADDR(pfd), 1, (uint64_t)-1, 0);
        queue(rb, 4, 0, SYS_futex, ADDR(&word), FUTEX_WAIT, 0, 0);
        queue(rb, 5, 0, SYS_nanosleep, ADDR(&forever), 0, 0, 0);
    }
    queue(rb, 6, RINGBOX_DRAIN, SYS_getpid, 0, 0, 0, 0);
    queue(rb, 7, 0, SYS_getpid, 0, 0, 0, 0);
    ringbox_submit(rb);
    return rb;
}

static void exit_busy(void *arg)
{
    (void)arg;
    busy_ring();
    guest_sleep_ms(2);
}

static void exec_busy(void *arg)
{
    (void)arg;
    busy_ring();
    CHECK_ERR(execl("/no/such", "x", (char *)NULL), ENOENT); /* which cancels nothing */
    execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
}

static void *thread_busy(void *arg)
{
    (void)arg;
    busy_ring();
    return NULL;
}

static void threads_busy(void *arg)
{
    pthread_t t;

    for (int i = 0; i < 4; i++) {
        pthread_create(&t, NULL, thread_busy, NULL);
        if (i < 2) /* ends with calls in flight; the others go down with the process */
            pthread_join(t, NULL);
    }
    if (arg)
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
}

static void kill_busy(void *arg)
{
    (void)arg;
    busy_ring();
    kill(getpid(), SIGKILL);
}

static void wait_busy(void *arg)
{
    struct ringbox *rb = busy_ring();

    (void)arg;
    if (rb)
        for (;;)
            wait_one(rb, NULL);
    pause();
}

static void end_in_flight(void)
{
    for (int lap = 0; lap < 3; lap++) {
        CHECK_EQ(guest_wait(guest_fork(exit_busy, NULL)), 0);
        CHECK_EQ(guest_wait(guest_fork(exec_busy, NULL)), 7 << 8);
        CHECK_EQ(guest_wait(guest_fork(threads_busy, NULL)), 0);
        CHECK_EQ(guest_wait(guest_fork(threads_busy, (void *)1)), 7 << 8);
        CHECK_EQ(guest_wait(guest_fork(kill_busy, NULL)), SIGKILL);
        pid_t pid = guest_fork(wait_busy, NULL);
        guest_sleep_ms(10);
        kill(pid, SIGKILL);
        CHECK_EQ(guest_wait(pid), SIGKILL);
    }
}

/* Close of a handle waits; but the queue itself can be closed under calls in flight. */
static void close_in_flight(void)
{
    struct ringbox *rb = busy_ring();

    if (!rb)
        SKIP("native calls are never in flight");
    CHECK_EQ(syscall(RING_CTL_NR, RING_CTL_CLOSE), 0);
    CHECK_ERR(syscall(RING_CTL_NR, RING_CTL_CLOSE), EINVAL);
    rb = ring_open(4);
    queue(rb, 0, 0, SYS_getpid, 0, 0, 0, 0);
    ringbox_submit(rb);
    CHECK_EQ(wait_one(rb, NULL), getpid());
}

/* --- a guest that does not keep to the rules (inside only) --- */

struct raw {
    struct ring_setup u;
    struct ring_sqe *sq;
};

static void raw_open(struct raw *w, uint32_t sq, uint32_t cq)
{
    w->u = (struct ring_setup){.sq_entries = sq, .cq_entries = cq};
    if (syscall(RING_CTL_NR, RING_CTL_VERSION) != RING_ABI_VERSION)
        _exit(GUEST_SKIP);
    CHECK_EQ(syscall(RING_CTL_NR, RING_CTL_SETUP, &w->u), 0);
    w->sq = (struct ring_sqe *)(uintptr_t)w->u.sq_addr;
}

static void violate(void *arg)
{
    struct raw w;
    int p[2];
    char c;

    (void)arg;
    raw_open(&w, 4, 4);
    CHECK(pipe(p) == 0);
    for (uint64_t i = 0; i < 8; i++) {
        struct ring_sqe *e = &w.sq[i & 3];
        e->nr = SYS_read;
        e->flags = 0;
        e->args[0] = (uint64_t)p[0];
        e->args[1] = ADDR(&c);
        e->args[2] = 1;
        ring_store_release(&e->tag, ring_tag(i, 2));
        if (i % 4 == 3)
            guest_sleep_ms(20);
    }
    guest_sleep_ms(2000);
}

static void violation(void)
{
    int status = guest_wait(guest_fork(violate, NULL));

    if (status == GUEST_SKIP << 8)
        SKIP("no queue outside");
    CHECK_EQ(status, SIGKILL);
}

static void garbage(void *arg)
{
    struct raw w;
    uint32_t x = 2463534242u;

    (void)arg;
    raw_open(&w, 16, 64);
    for (int i = 0; i < 200000; i++) {
        x = x * 1103515245 + 12345;
        struct ring_sqe *e = &w.sq[x >> 8 & 15];
        e->nr = (uint16_t)(x >> 3 & 1 ? SYS_getpid : SYS_close);
        e->flags = (uint16_t)(x >> 20);
        e->args[0] = ~0ull;
        ring_store_release(&e->tag, x >> 4 & 3 ? x >> 12 : ring_tag((uint64_t)i / 3, 4));
    }
    memset(w.sq, 0xff, 16 * sizeof *w.sq);
    memset((void *)(uintptr_t)w.u.cq_addr, 0xff, 64 * sizeof(struct ring_cqe));
}

static void garbage_entries(void)
{
    int status = guest_wait(guest_fork(garbage, NULL));

    if (status == GUEST_SKIP << 8)
        SKIP("no queue outside");
    CHECK(status == 0 || status == SIGKILL);
}

static void bad_control(void)
{
    struct ring_setup u = {.sq_entries = 4, .cq_entries = 4};

    if (syscall(RING_CTL_NR, RING_CTL_VERSION) != RING_ABI_VERSION)
        SKIP("no queue outside");
    CHECK_ERR(syscall(RING_CTL_NR, RING_CTL_SETUP, 0x10), EFAULT);
    CHECK_ERR(syscall(RING_CTL_NR, RING_CTL_WAIT, 0), EINVAL);
    CHECK_ERR(syscall(RING_CTL_NR, 77), EINVAL);
    const uint32_t bad[][2] = {{0, 4}, {4, 0}, {8, 4}, {3, 4}, {4, 5}, {8192, 8192}, {4, 8192}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ring_setup b = {.sq_entries = bad[i][0], .cq_entries = bad[i][1]};
        CHECK_ERR(syscall(RING_CTL_NR, RING_CTL_SETUP, &b), EINVAL);
    }
    void *ro = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(ro, &u, sizeof u);
    CHECK(mprotect(ro, 4096, PROT_READ) == 0);
    CHECK_ERR(syscall(RING_CTL_NR, RING_CTL_SETUP, ro), EFAULT);
    CHECK_EQ(syscall(RING_CTL_NR, RING_CTL_SETUP, &u), 0);
    CHECK_ERR(syscall(RING_CTL_NR, RING_CTL_SETUP, &u), EBUSY);
    CHECK_EQ(syscall(RING_CTL_NR, RING_CTL_WAIT, 77), 0);
}

/* All rings together have a limit; who asks for more is told so. */
static void *big_ring(void *arg)
{
    struct ringbox *rb;
    int r = ringbox_open(&rb, 4096);

    pthread_barrier_wait(arg);
    return (void *)(intptr_t)r;
}

static void ring_limit(void)
{
    enum { N = 40 };
    static pthread_barrier_t b;
    pthread_t t[N];
    unsigned ok = 0;

    if (syscall(RING_CTL_NR, RING_CTL_VERSION) != RING_ABI_VERSION)
        SKIP("no limit outside");
    pthread_barrier_init(&b, NULL, N);
    for (unsigned i = 0; i < N; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, big_ring, &b), 0);
    for (unsigned i = 0; i < N; i++) {
        void *r;
        pthread_join(t[i], &r);
        CHECK((intptr_t)r == 0 || (intptr_t)r == -EAGAIN);
        ok += r == NULL;
    }
    CHECK_EQ(ok, 32);               /* 131072 entries */
    ringbox_close(ring_open(4096)); /* given back by the threads' ends */
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
    {"threads", threads},
    {"fork_child", fork_child},
    {"end_in_flight", end_in_flight},
    {"close_in_flight", close_in_flight},
    {"violation", violation},
    {"garbage_entries", garbage_entries},
    {"bad_control", bad_control},
    {"ring_limit", ring_limit},
};
GUEST_MAIN(cases)
