/* SPDX-License-Identifier: Apache-2.0
 * futex.c - futex(2) itself: every operation, timeouts, sharing between processes, robust lists. */
#include "guest.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>

static int private_flag = FUTEX_PRIVATE_FLAG;

static long futex(volatile uint32_t *u, int op, uint32_t val, const void *timeout_or_val2,
                  volatile uint32_t *u2, uint32_t val3)
{
    return syscall(SYS_futex, u, op, val, timeout_or_val2, u2, val3);
}

static long fwait(volatile uint32_t *u, uint32_t val, const struct timespec *ts)
{
    return futex(u, FUTEX_WAIT | private_flag, val, ts, NULL, 0);
}

static long fwake(volatile uint32_t *u, int n)
{
    return futex(u, FUTEX_WAKE | private_flag, (uint32_t)n, NULL, NULL, 0);
}

static volatile uint32_t g_word, g_word2;
static volatile int g_woken, g_waiting;

struct waiter {
    pthread_t th;
    volatile uint32_t *word;
    int op;
    uint32_t bitset;
    long result;
    int err;
    volatile pid_t tid;
    volatile int done;
};

static void *waiter_run(void *arg)
{
    struct waiter *w = arg;
    w->tid = guest_gettid();
    __atomic_add_fetch(&g_waiting, 1, __ATOMIC_SEQ_CST);
    w->result = futex(w->word, w->op, 0, NULL, NULL, w->bitset);
    w->err = errno;
    w->done = 1;
    __atomic_add_fetch(&g_woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void waiter_start(struct waiter *w, volatile uint32_t *word, int op, uint32_t bitset)
{
    memset((void *)w, 0, sizeof(*w));
    w->word = word;
    w->op = op;
    w->bitset = bitset;
    CHECK(pthread_create(&w->th, NULL, waiter_run, w) == 0);
}

static void waiters_start(struct waiter *w, int n, volatile uint32_t *word)
{
    for (int i = 0; i < n; i++)
        waiter_start(&w[i], word, FUTEX_WAIT | private_flag, 0);
    WAIT_FOR(g_waiting == n);
    guest_sleep_ms(20); /* asleep by now */
}

static void waiters_join(struct waiter *w, int n)
{
    for (int i = 0; i < n; i++)
        CHECK(pthread_join(w[i].th, NULL) == 0);
}

static void case_value_differs(void)
{
    struct timespec ts = {.tv_nsec = 1000000};
    g_word = 5;
    CHECK_ERR(fwait(&g_word, 4, NULL), EAGAIN);
    CHECK_ERR(fwait(&g_word, 5, &ts), ETIMEDOUT);
    CHECK_EQ(fwake(&g_word, 1), 0);
}

static void case_errors(void)
{
    struct timespec bad = {.tv_nsec = 1000000000}, neg = {.tv_sec = -1};
    CHECK_ERR(fwait((volatile uint32_t *)((uintptr_t)&g_word + 1), 0, NULL), EINVAL);
    CHECK_ERR(fwait((volatile uint32_t *)4096, 0, NULL), EFAULT);
    CHECK_ERR(fwait(&g_word, 0, &bad), EINVAL);
    CHECK_ERR(fwait(&g_word, 0, &neg), EINVAL);
    CHECK_ERR(futex(&g_word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&g_word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&g_word, 77, 1, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(futex(&g_word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(fwait(&g_word, 0, (void *)8), EFAULT);
}

static void case_wake_count(void)
{
    struct waiter w[5];
    waiters_start(w, 5, &g_word);
    CHECK_EQ(fwake(&g_word2, 10), 0);
    CHECK_EQ(fwake(&g_word, 2), 2);
    WAIT_FOR(g_woken == 2);
    guest_sleep_ms(10);
    CHECK_EQ(g_woken, 2);
    CHECK_EQ(fwake(&g_word, INT_MAX), 3);
    waiters_join(w, 5);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(w[i].result, 0);
    CHECK_EQ(fwake(&g_word, INT_MAX), 0);
}

static void case_wake_order(void)
{
    struct waiter w[3];
    for (int i = 0; i < 3; i++) {
        waiter_start(&w[i], &g_word, FUTEX_WAIT | private_flag, 0);
        WAIT_FOR(g_waiting == i + 1);
        guest_sleep_ms(20);
    }
    for (int i = 0; i < 3; i++) { /* first come, first served */
        CHECK_EQ(fwake(&g_word, 1), 1);
        WAIT_FOR(w[i].done);
        guest_sleep_ms(5);
        CHECK_EQ(g_woken, i + 1);
    }
    waiters_join(w, 3);
}

static void case_timeout(void)
{
    struct timespec ts = {.tv_nsec = 30000000};
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(fwait(&g_word, 0, &ts), ETIMEDOUT);
    int64_t took = guest_now_ns(CLOCK_MONOTONIC) - start;
    CHECK(took >= 30000000 && took < 3000000000);

    static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME};
    for (int i = 0; i < 2; i++) {
        int op = FUTEX_WAIT_BITSET | private_flag | (i ? FUTEX_CLOCK_REALTIME : 0);
        int64_t end = guest_now_ns(clocks[i]) + 30000000;
        struct timespec abs = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
        CHECK_ERR(futex(&g_word, op, 0, &abs, NULL, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
        took = guest_now_ns(clocks[i]) - end;
        CHECK(took >= 0 && took < 3000000000);
        abs.tv_sec = 1; /* long ago */
        CHECK_ERR(futex(&g_word, op, 0, &abs, NULL, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
    }
}

static void case_bitset(void)
{
    struct waiter w[2];
    waiter_start(&w[0], &g_word, FUTEX_WAIT_BITSET | private_flag, 1);
    waiter_start(&w[1], &g_word, FUTEX_WAIT_BITSET | private_flag, 2);
    WAIT_FOR(g_waiting == 2);
    guest_sleep_ms(20);
    int wake = FUTEX_WAKE_BITSET | private_flag;
    CHECK_EQ(futex(&g_word, wake, INT_MAX, NULL, NULL, 4), 0);
    CHECK_EQ(futex(&g_word, wake, INT_MAX, NULL, NULL, 2), 1);
    WAIT_FOR(w[1].done);
    CHECK_EQ(w[0].done, 0);
    CHECK_EQ(futex(&g_word, wake, INT_MAX, NULL, NULL, 3), 1);
    waiters_join(w, 2);
}

static void case_requeue(void)
{
    struct waiter w[4];
    waiters_start(w, 4, &g_word);
    int op = FUTEX_CMP_REQUEUE | private_flag;
    CHECK_ERR(futex(&g_word, op, 1, (void *)10, &g_word2, 7), EAGAIN);
    CHECK_EQ(futex(&g_word, op, 1, (void *)2, &g_word2, 0), 3); /* 1 woken, 2 moved */
    WAIT_FOR(g_woken == 1);
    CHECK_EQ(fwake(&g_word, 10), 1);
    CHECK_EQ(fwake(&g_word2, 10), 2);
    waiters_join(w, 4);

    g_waiting = g_woken = 0;
    waiters_start(w, 2, &g_word);
    CHECK_EQ(futex(&g_word, FUTEX_REQUEUE | private_flag, 0, (void *)10, &g_word2, 0), 2);
    CHECK_EQ(fwake(&g_word, 10), 0);
    CHECK_EQ(fwake(&g_word2, 10), 2);
    waiters_join(w, 2);
    CHECK_ERR(futex(&g_word, FUTEX_REQUEUE | private_flag, (uint32_t)-1, (void *)1, &g_word2, 0),
              EINVAL);
}

static long wake_op(uint32_t op, uint32_t arg, uint32_t cmp, uint32_t cmparg)
{
    return futex(&g_word, FUTEX_WAKE_OP | private_flag, 1, (void *)1, &g_word2,
                 FUTEX_OP(op, arg, cmp, cmparg));
}

static void case_wake_op(void)
{
    g_word2 = 10;
    CHECK_EQ(wake_op(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 10), 0);
    CHECK_EQ(g_word2, 15);
    CHECK_EQ(wake_op(FUTEX_OP_SET, 3, FUTEX_OP_CMP_EQ, 0), 0);
    CHECK_EQ(g_word2, 3);
    CHECK_EQ(wake_op(FUTEX_OP_OR, 8, FUTEX_OP_CMP_EQ, 0), 0);
    CHECK_EQ(g_word2, 11);
    CHECK_EQ(wake_op(FUTEX_OP_ANDN, 1, FUTEX_OP_CMP_EQ, 0), 0);
    CHECK_EQ(g_word2, 10);
    CHECK_EQ(wake_op(FUTEX_OP_XOR, 2, FUTEX_OP_CMP_EQ, 0), 0);
    CHECK_EQ(g_word2, 8);
    CHECK_EQ(wake_op(FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_EQ, 0), 0);
    CHECK_EQ(g_word2, 16);
    CHECK_EQ(wake_op(FUTEX_OP_ADD, 0xfff, FUTEX_OP_CMP_EQ, 0), 0); /* -1 */
    CHECK_EQ(g_word2, 15);
    CHECK_ERR(wake_op(5, 0, 0, 0), ENOSYS);

    struct waiter w[2];
    g_word = g_word2 = 0;
    waiter_start(&w[0], &g_word, FUTEX_WAIT | private_flag, 0);
    waiter_start(&w[1], &g_word2, FUTEX_WAIT | private_flag, 0);
    WAIT_FOR(g_waiting == 2);
    guest_sleep_ms(20);
    CHECK_EQ(wake_op(FUTEX_OP_SET, 1, FUTEX_OP_CMP_GT, 0), 1); /* comparison fails */
    WAIT_FOR(w[0].done);
    guest_sleep_ms(5);
    CHECK_EQ(w[1].done, 0);
    CHECK_EQ(wake_op(FUTEX_OP_SET, 2, FUTEX_OP_CMP_EQ, 1), 1);
    waiters_join(w, 2);
}

/* --- between processes --- */

static void shared_between(volatile uint32_t *a, volatile uint32_t *b)
{
    pid_t pid = fork();
    if (pid == 0) {
        while (*b == 0)
            if (futex(b, FUTEX_WAIT, 0, NULL, NULL, 0))
                CHECK(errno == EAGAIN || errno == EINTR);
        __atomic_store_n(b, 2, __ATOMIC_SEQ_CST);
        futex(b, FUTEX_WAKE, 1, NULL, NULL, 0);
        _exit(0);
    }
    guest_sleep_ms(20);
    __atomic_store_n(a, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(futex(a, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
    while (*a == 1)
        if (futex(a, FUTEX_WAIT, 1, NULL, NULL, 0))
            CHECK(errno == EAGAIN || errno == EINTR);
    CHECK_EQ(*a, 2);
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_shared_anonymous(void)
{
    uint32_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    shared_between(p + 1030, p + 1030);
}

static void case_shared_file(void)
{
    char name[] = "/tmp/guest_futex_XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    CHECK(ftruncate(fd, 8192) == 0);
    /* Two mappings of one page: different addresses, the same word. */
    uint32_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    uint32_t *q = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED && q != MAP_FAILED);
    shared_between(p + 3, q + 1024 + 3);
}

static void case_private_not_shared(void)
{
    struct timespec ts = {.tv_nsec = 60000000};
    uint32_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        guest_sleep_ms(20);
        CHECK_EQ(futex(p, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0), 0);
        _exit(0);
    }
    CHECK_ERR(futex(p, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &ts, NULL, 0), ETIMEDOUT);
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_cow_not_shared(void)
{
    struct timespec ts = {.tv_nsec = 60000000};
    g_word = 0;
    pid_t pid = fork(); /* the child's copy is another word */
    if (pid == 0) {
        guest_sleep_ms(20);
        CHECK_EQ(futex(&g_word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
        _exit(0);
    }
    CHECK_ERR(futex(&g_word, FUTEX_WAIT, 0, &ts, NULL, 0), ETIMEDOUT);
    CHECK_EQ(guest_wait(pid), 0);
}

/* --- signals --- */

static volatile sig_atomic_t g_hits;

static void hit(int signo)
{
    (void)signo;
    g_hits = g_hits + 1;
}

static void *signal_later(void *arg)
{
    guest_sleep_ms(20);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void case_interrupted(void)
{
    pthread_t self = pthread_self(), th;
    struct sigaction a = {.sa_handler = hit};
    struct timespec ts = {.tv_sec = 5};
    CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
    CHECK(pthread_create(&th, NULL, signal_later, &self) == 0);
    CHECK_ERR(fwait(&g_word, 0, NULL), EINTR);
    pthread_join(th, NULL);
    CHECK(pthread_create(&th, NULL, signal_later, &self) == 0);
    CHECK_ERR(fwait(&g_word, 0, &ts), EINTR);
    pthread_join(th, NULL);

    a.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
    CHECK(pthread_create(&th, NULL, signal_later, &self) == 0);
    CHECK_ERR(fwait(&g_word, 0, &ts), EINTR); /* with a timeout: not after a handler */
    pthread_join(th, NULL);
    CHECK_EQ(g_hits, 3);
}

static void *wake_later(void *arg)
{
    (void)arg;
    guest_sleep_ms(60);
    g_word = 1;
    fwake(&g_word, 1);
    return NULL;
}

static void case_restarted(void)
{
    pthread_t self = pthread_self(), th, waker;
    struct sigaction a = {.sa_handler = hit, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
    CHECK(pthread_create(&th, NULL, signal_later, &self) == 0);
    CHECK(pthread_create(&waker, NULL, wake_later, NULL) == 0);
    CHECK_EQ(fwait(&g_word, 0, NULL), 0);
    CHECK_EQ(g_hits, 1);
    pthread_join(th, NULL);
    pthread_join(waker, NULL);
}

/* --- storms --- */

#define STORM_THREADS 8
#define STORM_ROUNDS 2000
static volatile uint32_t g_lock;
static long g_counter;

static void lock(volatile uint32_t *l)
{
    uint32_t c = 0;
    if (__atomic_compare_exchange_n(l, &c, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    if (c != 2)
        c = __atomic_exchange_n(l, 2, __ATOMIC_ACQUIRE);
    while (c) {
        fwait(l, 2, NULL);
        c = __atomic_exchange_n(l, 2, __ATOMIC_ACQUIRE);
    }
}

static void unlock(volatile uint32_t *l)
{
    if (__atomic_exchange_n(l, 0, __ATOMIC_RELEASE) == 2)
        fwake(l, 1);
}

static void *storm(void *arg)
{
    (void)arg;
    for (int i = 0; i < STORM_ROUNDS; i++) {
        lock(&g_lock);
        long c = g_counter;
        if (i % 64 == 0)
            sched_yield();
        g_counter = c + 1;
        unlock(&g_lock);
    }
    return NULL;
}

static void case_mutex_storm(void)
{
    pthread_t th[STORM_THREADS];
    for (int i = 0; i < STORM_THREADS; i++)
        CHECK(pthread_create(&th[i], NULL, storm, NULL) == 0);
    for (int i = 0; i < STORM_THREADS; i++)
        CHECK(pthread_join(th[i], NULL) == 0);
    CHECK_EQ(g_counter, STORM_THREADS * STORM_ROUNDS);
}

/* Two threads hand a token to and fro: a single lost wake hangs it. */
static void *pong(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 2000; i++) {
        while (__atomic_load_n(&g_word, __ATOMIC_SEQ_CST) != 2 * i + 1)
            fwait(&g_word, 2 * i, NULL);
        __atomic_store_n(&g_word, 2 * i + 2, __ATOMIC_SEQ_CST);
        fwake(&g_word, 1);
    }
    return NULL;
}

static void case_ping_pong(void)
{
    pthread_t th;
    CHECK(pthread_create(&th, NULL, pong, NULL) == 0);
    for (uint32_t i = 0; i < 2000; i++) {
        __atomic_store_n(&g_word, 2 * i + 1, __ATOMIC_SEQ_CST);
        fwake(&g_word, 1);
        while (__atomic_load_n(&g_word, __ATOMIC_SEQ_CST) != 2 * i + 2)
            fwait(&g_word, 2 * i + 1, NULL);
    }
    CHECK(pthread_join(th, NULL) == 0);
}

static void case_timeout_storm(void)
{
    /* Wakes race with timeouts: each wake that says 1 was seen by a waiter as 0. */
    long woken = 0, seen = 0;
    uint32_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        while (!__atomic_load_n(&p[1], __ATOMIC_SEQ_CST))
            woken += futex(p, FUTEX_WAKE, 1, NULL, NULL, 0);
        p[2] = (uint32_t)woken;
        _exit(0);
    }
    struct timespec ts = {.tv_nsec = 50000};
    for (int i = 0; i < 1000; i++) {
        long r = futex(p, FUTEX_WAIT, 0, &ts, NULL, 0);
        if (r == 0)
            seen++;
        else
            CHECK_EQ(errno, ETIMEDOUT);
    }
    __atomic_store_n(&p[1], 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(p[2], seen);
}

/* --- the end of threads --- */

static struct {
    void *next;
    long offset;
    void *pending;
} g_head;

struct robust {
    void *next;
    volatile uint32_t word;
};

static struct robust *g_robust;

static void *robust_owner(void *arg)
{
    (void)arg;
    CHECK(syscall(SYS_set_robust_list, &g_head, sizeof(g_head)) == 0);
    g_head.offset = offsetof(struct robust, word);
    g_head.next = &g_robust[0];
    g_robust[0].next = &g_robust[1];
    g_robust[1].next = &g_head;
    g_robust[0].word = (uint32_t)guest_gettid() | FUTEX_WAITERS;
    g_robust[1].word = 12345; /* not mine: left alone */
    g_robust[2].word = (uint32_t)guest_gettid();
    g_head.pending = &g_robust[2];
    guest_sleep_ms(40);
    syscall(SYS_exit, 0);
    return NULL;
}

static void case_robust_list(void)
{
    pthread_t th;
    g_robust = calloc(3, sizeof(*g_robust));
    CHECK(pthread_create(&th, NULL, robust_owner, NULL) == 0);
    WAIT_FOR(g_robust[0].word);
    uint32_t held = g_robust[0].word;
    CHECK_EQ(futex(&g_robust[0].word, FUTEX_WAIT, held, NULL, NULL, 0), 0);
    CHECK_EQ(g_robust[0].word, FUTEX_WAITERS | FUTEX_OWNER_DIED);
    CHECK(pthread_join(th, NULL) == 0);
    CHECK_EQ(g_robust[1].word, 12345);
    CHECK_EQ(g_robust[2].word, FUTEX_OWNER_DIED);
}

static void case_robust_list_hostile(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct robust *loop = calloc(1, sizeof(*loop));
        loop->next = loop;
        g_head.next = loop;
        g_head.offset = (long)0x7000000000000000;
        g_head.pending = (void *)0x10;
        CHECK(syscall(SYS_set_robust_list, &g_head, sizeof(g_head)) == 0);
        CHECK_ERR(syscall(SYS_set_robust_list, &g_head, 1), EINVAL);
        _exit(5);
    }
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 5);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(value_differs),
    CASE(errors),
    CASE(wake_count),
    CASE(wake_order),
    CASE(timeout),
    CASE(bitset),
    CASE(requeue),
    CASE(wake_op),
    CASE(shared_anonymous),
    CASE(shared_file),
    CASE(private_not_shared),
    CASE(cow_not_shared),
    CASE(interrupted),
    CASE(restarted),
    CASE(mutex_storm),
    CASE(ping_pong),
    CASE(timeout_storm),
    CASE(robust_list),
    CASE(robust_list_hostile),
};
GUEST_MAIN(cases)
