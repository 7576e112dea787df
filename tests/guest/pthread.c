/* SPDX-License-Identifier: Apache-2.0
 * pthread.c - the thread library on top: mutexes of all kinds, conditions, barriers, semaphores,
 * rwlocks, cancellation, thread-local storage; many threads that come and go. */
#include "guest.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define THREADS 8

static pthread_t g_th[64];

static void start(int n, void *(*fn)(void *))
{
    for (long i = 0; i < n; i++)
        CHECK(pthread_create(&g_th[i], NULL, fn, (void *)i) == 0);
}

static void join(int n)
{
    for (int i = 0; i < n; i++)
        CHECK(pthread_join(g_th[i], NULL) == 0);
}

/* --- mutexes --- */

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static long g_count;

static void *add(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&g_mutex);
        g_count++;
        pthread_mutex_unlock(&g_mutex);
    }
    return NULL;
}

static void case_mutex(void)
{
    start(THREADS, add);
    join(THREADS);
    CHECK_EQ(g_count, THREADS * 5000);
}

static void case_mutex_kinds(void)
{
    pthread_mutexattr_t at;
    pthread_mutex_t m;
    pthread_mutexattr_init(&at);
    pthread_mutexattr_settype(&at, PTHREAD_MUTEX_RECURSIVE);
    CHECK(pthread_mutex_init(&m, &at) == 0);
    CHECK(pthread_mutex_lock(&m) == 0 && pthread_mutex_lock(&m) == 0);
    CHECK(pthread_mutex_unlock(&m) == 0 && pthread_mutex_unlock(&m) == 0);
    CHECK_EQ(pthread_mutex_unlock(&m), EPERM);
    pthread_mutexattr_settype(&at, PTHREAD_MUTEX_ERRORCHECK);
    CHECK(pthread_mutex_init(&m, &at) == 0);
    CHECK(pthread_mutex_lock(&m) == 0);
    CHECK_EQ(pthread_mutex_lock(&m), EDEADLK);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    CHECK(pthread_mutex_unlock(&m) == 0);
    pthread_mutexattr_settype(&at, PTHREAD_MUTEX_NORMAL);
    CHECK(pthread_mutex_init(&m, &at) == 0);
    CHECK(pthread_mutex_lock(&m) == 0);
    ts.tv_nsec += 20000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }
    CHECK_EQ(pthread_mutex_timedlock(&m, &ts), ETIMEDOUT);
}

static void *die_locked(void *arg)
{
    pthread_mutex_lock(arg);
    return NULL;
}

static void case_mutex_robust(void)
{
    pthread_mutexattr_t at;
    pthread_mutex_t *m =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    volatile int *locked = (volatile int *)(void *)(m + 1);
    CHECK((void *)m != MAP_FAILED);
    pthread_mutexattr_init(&at);
    pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED);
    CHECK(pthread_mutex_init(m, &at) == 0);
    CHECK(pthread_create(&g_th[0], NULL, die_locked, m) == 0);
    join(1);
    CHECK_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    CHECK(pthread_mutex_consistent(m) == 0);
    CHECK(pthread_mutex_unlock(m) == 0);

    pid_t pid = fork(); /* a process that dies with it, while we wait */
    if (pid == 0) {
        CHECK(pthread_mutex_lock(m) == 0);
        *locked = 1;
        guest_sleep_ms(50);
        kill(getpid(), SIGKILL);
    }
    while (!*locked)
        guest_sleep_ms(1);
    int r = pthread_mutex_lock(m);
    CHECK_EQ(r, EOWNERDEAD);
    CHECK(pthread_mutex_consistent(m) == 0);
    CHECK(pthread_mutex_unlock(m) == 0);
    guest_wait(pid);
}

static void case_mutex_shared(void)
{
    struct {
        pthread_mutex_t m;
        pthread_cond_t c;
        int turn;
    } *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t at;
    pthread_condattr_t ca;
    pthread_mutexattr_init(&at);
    pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED);
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&s->m, &at);
    pthread_cond_init(&s->c, &ca);
    pid_t pid = fork();
    int me = pid == 0;
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&s->m);
        while (s->turn % 2 != me)
            pthread_cond_wait(&s->c, &s->m);
        s->turn++;
        pthread_cond_signal(&s->c);
        pthread_mutex_unlock(&s->m);
    }
    if (pid == 0)
        _exit(0);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(s->turn, 1000);
}

/* --- conditions --- */

static pthread_cond_t g_cond = PTHREAD_COND_INITIALIZER, g_room = PTHREAD_COND_INITIALIZER;
static int g_queue[16], g_fill, g_taken, g_put;
#define ITEMS 4000

static void *producer(void *arg)
{
    (void)arg;
    for (;;) {
        pthread_mutex_lock(&g_mutex);
        while (g_fill == 16 && g_put < ITEMS)
            pthread_cond_wait(&g_room, &g_mutex);
        if (g_put == ITEMS) {
            pthread_cond_broadcast(&g_room);
            pthread_cond_broadcast(&g_cond);
            pthread_mutex_unlock(&g_mutex);
            return NULL;
        }
        g_queue[g_fill++] = 1;
        g_put++;
        pthread_cond_signal(&g_cond);
        pthread_mutex_unlock(&g_mutex);
    }
}

static void *consumer(void *arg)
{
    (void)arg;
    for (;;) {
        pthread_mutex_lock(&g_mutex);
        while (g_fill == 0 && g_taken < ITEMS && !(g_put == ITEMS && g_fill == 0))
            pthread_cond_wait(&g_cond, &g_mutex);
        if (g_fill == 0) {
            pthread_cond_broadcast(&g_cond);
            pthread_mutex_unlock(&g_mutex);
            return NULL;
        }
        g_taken += g_queue[--g_fill];
        pthread_cond_signal(&g_room);
        pthread_mutex_unlock(&g_mutex);
    }
}

static void case_cond_queue(void)
{
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&g_th[i], NULL, producer, NULL) == 0);
        CHECK(pthread_create(&g_th[4 + i], NULL, consumer, NULL) == 0);
    }
    join(8);
    CHECK_EQ(g_taken, ITEMS);
}

static int g_ready, g_go;

static void *wait_go(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&g_mutex);
    g_ready++;
    while (!g_go)
        pthread_cond_wait(&g_cond, &g_mutex);
    g_ready--;
    pthread_mutex_unlock(&g_mutex);
    return NULL;
}

static void case_cond_broadcast(void)
{
    for (int round = 0; round < 5; round++) {
        g_go = 0;
        start(20, wait_go);
        WAIT_FOR(__atomic_load_n(&g_ready, __ATOMIC_SEQ_CST) == 20);
        pthread_mutex_lock(&g_mutex);
        g_go = 1;
        pthread_cond_broadcast(&g_cond);
        pthread_mutex_unlock(&g_mutex);
        join(20);
        CHECK_EQ(g_ready, 0);
    }
}

static void case_cond_timeout(void)
{
    pthread_condattr_t ca;
    pthread_cond_t c;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&c, &ca);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 30000000;
    struct timespec ts = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    pthread_mutex_lock(&g_mutex);
    CHECK_EQ(pthread_cond_timedwait(&c, &g_mutex, &ts), ETIMEDOUT);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) >= end);
    pthread_mutex_unlock(&g_mutex);
}

/* --- barriers, semaphores, rwlocks --- */

static pthread_barrier_t g_barrier;
static int g_phase[THREADS];

static void *phases(void *arg)
{
    long me = (long)arg;
    for (int i = 1; i <= 200; i++) {
        __atomic_store_n(&g_phase[me], i, __ATOMIC_SEQ_CST);
        pthread_barrier_wait(&g_barrier);
        for (int k = 0; k < THREADS; k++)
            CHECK(__atomic_load_n(&g_phase[k], __ATOMIC_SEQ_CST) == i);
        pthread_barrier_wait(&g_barrier);
    }
    return NULL;
}

static void case_barrier(void)
{
    CHECK(pthread_barrier_init(&g_barrier, NULL, THREADS) == 0);
    start(THREADS, phases);
    join(THREADS);
}

static sem_t g_sem, g_back;

static void *sem_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        CHECK(sem_wait(&g_sem) == 0);
        CHECK(sem_post(&g_back) == 0);
    }
    return NULL;
}

static void case_semaphore(void)
{
    sem_init(&g_sem, 0, 0);
    sem_init(&g_back, 0, 0);
    start(1, sem_thread);
    for (int i = 0; i < 1000; i++) {
        CHECK(sem_post(&g_sem) == 0);
        CHECK(sem_wait(&g_back) == 0);
    }
    join(1);
    CHECK_ERR(sem_trywait(&g_sem), EAGAIN);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    CHECK_ERR(sem_timedwait(&g_sem, &ts), ETIMEDOUT);
}

static pthread_rwlock_t g_rw = PTHREAD_RWLOCK_INITIALIZER;
static volatile int g_a, g_b;

static void *rw(void *arg)
{
    long me = (long)arg;
    for (int i = 0; i < 2000; i++) {
        if (me < 2) {
            pthread_rwlock_wrlock(&g_rw);
            g_a++;
            g_b++;
        } else {
            pthread_rwlock_rdlock(&g_rw);
            CHECK(g_a == g_b);
        }
        pthread_rwlock_unlock(&g_rw);
    }
    return NULL;
}

static void case_rwlock(void)
{
    start(6, rw);
    join(6);
    CHECK_EQ(g_a, 4000);
}

/* --- threads that come and go --- */

static __thread int t_value = 7;

static void *short_life(void *arg)
{
    CHECK(t_value == 7);
    t_value = (int)(long)arg;
    sched_yield();
    CHECK(t_value == (int)(long)arg);
    return arg;
}

static void case_create_join(void)
{
    for (int round = 0; round < 20; round++) {
        start(16, short_life);
        for (long i = 0; i < 16; i++) {
            void *r;
            CHECK(pthread_join(g_th[i], &r) == 0);
            CHECK_EQ((long)r, i);
        }
    }
    CHECK_EQ(t_value, 7);
}

static int g_left;

static void *detached(void *arg)
{
    (void)arg;
    __atomic_sub_fetch(&g_left, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void case_detached(void)
{
    pthread_attr_t at;
    pthread_t th;
    pthread_attr_init(&at);
    pthread_attr_setdetachstate(&at, PTHREAD_CREATE_DETACHED);
    g_left = 50;
    for (int i = 0; i < 50; i++)
        CHECK(pthread_create(&th, &at, detached, NULL) == 0);
    WAIT_FOR(__atomic_load_n(&g_left, __ATOMIC_SEQ_CST) == 0);
}

static void *sleep_long(void *arg)
{
    (void)arg;
    for (;;)
        sleep(100);
    return NULL;
}

static void case_cancel(void)
{
    void *r;
    start(4, sleep_long);
    guest_sleep_ms(10);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_cancel(g_th[i]) == 0);
        CHECK(pthread_join(g_th[i], &r) == 0);
        CHECK(r == PTHREAD_CANCELED);
    }
}

static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static pthread_key_t g_key;
static int g_once_count, g_destroyed;

static void once(void)
{
    g_once_count++;
    guest_sleep_ms(5);
}

static void destroy(void *v)
{
    (void)v;
    __atomic_add_fetch(&g_destroyed, 1, __ATOMIC_SEQ_CST);
}

static void *keyed(void *arg)
{
    pthread_once(&g_once, once);
    CHECK(pthread_getspecific(g_key) == NULL);
    pthread_setspecific(g_key, (char *)arg + 1);
    return NULL;
}

static void case_once_keys(void)
{
    CHECK(pthread_key_create(&g_key, destroy) == 0);
    start(THREADS, keyed);
    join(THREADS);
    CHECK_EQ(g_once_count, 1);
    CHECK_EQ(g_destroyed, THREADS);
}

static void *exits_process(void *arg)
{
    (void)arg;
    guest_sleep_ms(10);
    exit(33);
}

static void case_exit_from_thread(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        start(3, sleep_long);
        CHECK(pthread_create(&g_th[3], NULL, exits_process, NULL) == 0);
        pause();
        _exit(1);
    }
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 33);
}

static int g_release[2];

static void *outlives(void *arg)
{
    char c;
    (void)arg;
    CHECK_EQ(read(g_release[0], &c, 1), 1);
    _exit(44);
}

static void case_leader_exits_first(void)
{
    CHECK_EQ(pipe(g_release), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        start(1, outlives);
        pthread_exit(NULL); /* the process lives on */
    }
    guest_sleep_ms(10);
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    CHECK_EQ(write(g_release[1], "x", 1), 1);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 44);
}

static void *forker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(i);
        CHECK_EQ(guest_wait(pid), i << 8);
    }
    return NULL;
}

static void case_fork_in_threads(void)
{
    start(4, forker);
    join(4);
}

#define ORDER_PAGES 257
#define ORDER_FORKS 64

static volatile unsigned *g_ordered[2]; /* pages far apart */
static atomic_bool g_order_end;

/* Steps through both pages in turn: none is ever more than one ahead, and the first is never behind. */
static void *order_writer(void *arg)
{
    (void)arg;
    for (unsigned n = 1; !atomic_load_explicit(&g_order_end, memory_order_relaxed); n++) {
        *g_ordered[0] = n;
        *g_ordered[1] = n;
    }
    return NULL;
}

/* What a child sees of two pages that another thread writes is from one moment: never the second
 * write without the first. */
static void case_fork_write_order(void)
{
    pthread_t t;
    char *m = mmap(NULL, ORDER_PAGES * 4096UL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    CHECK(m != MAP_FAILED);
    memset(m, 1, ORDER_PAGES * 4096UL);
    for (int i = 1; i < ORDER_PAGES - 1; i += 2) /* to give fork work between the two */
        CHECK_EQ(mprotect(m + i * 4096L, 4096, PROT_READ), 0);
    g_ordered[0] = (volatile unsigned *)(void *)m;
    g_ordered[1] = (volatile unsigned *)(void *)(m + (ORDER_PAGES - 1) * 4096L);
    *g_ordered[0] = *g_ordered[1] = 0;
    CHECK_EQ(pthread_create(&t, NULL, order_writer, NULL), 0);
    WAIT_FOR(*g_ordered[1]);
    for (int i = 0; i < ORDER_FORKS; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            unsigned first = *g_ordered[0], second = *g_ordered[1];
            _exit(first - second > 1);
        }
        CHECK_EQ(guest_wait(pid), 0);
    }
    atomic_store(&g_order_end, true);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(munmap(m, ORDER_PAGES * 4096UL), 0);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(mutex),           CASE(mutex_kinds),      CASE(mutex_robust),     CASE(mutex_shared),
    CASE(cond_queue),      CASE(cond_broadcast),   CASE(cond_timeout),     CASE(barrier),
    CASE(semaphore),       CASE(rwlock),           CASE(create_join),      CASE(detached),
    CASE(cancel),          CASE(once_keys),        CASE(exit_from_thread), CASE(leader_exits_first),
    CASE(fork_in_threads), CASE(fork_write_order),
};
GUEST_MAIN(cases)
