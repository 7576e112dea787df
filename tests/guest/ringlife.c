/* SPDX-License-Identifier: Apache-2.0
 * ringlife.c - libringbox beside threads, fork, exec and exit, and queues of a guest that does not
 * keep to the rules (inside only). */
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
