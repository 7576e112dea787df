/* SPDX-License-Identifier: Apache-2.0
 * fiber_test.c - the scheduler: parking on the loop's stack, unparks from another thread, mutexes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/fiber.h>
#include <base/lock.h>

#define WORKERS 50
#define ROUNDS 200

struct bed {
    struct fiber_sched *sched;
    _Atomic(int) done;
    _Atomic(bool) stop;
    struct fmutex mutex;
    int counter;
    struct fiber *_Atomic parked[WORKERS];
};

static void kick(void *arg)
{
    (void)arg; /* the loop spins */
}

static void loop(void *arg)
{
    struct bed *b = arg;

    while (!atomic_load(&b->stop)) {
        if (fiber_any_ready())
            fiber_run_ready();
        if (fiber_loop_check())
            continue;
        if (atomic_load(&b->done) == WORKERS)
            atomic_store(&b->stop, true);
    }
}

static struct bed g_bed;

static void worker(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        atomic_store(&g_bed.parked[me], fiber_self());
        fiber_park();
        fmutex_lock(&g_bed.mutex);
        int seen = g_bed.counter;
        if (i % 3 == 0)
            fiber_yield();
        g_bed.counter = seen + 1;
        fmutex_unlock(&g_bed.mutex);
    }
    atomic_fetch_add(&g_bed.done, 1);
}

static void *waker(void *arg)
{
    (void)arg;
    while (!atomic_load(&g_bed.stop))
        for (int i = 0; i < WORKERS; i++) {
            struct fiber *f = atomic_exchange(&g_bed.parked[i], NULL);
            if (f)
                fiber_unpark(f);
        }
    return NULL;
}

static void *runner(void *arg)
{
    fiber_sched_run(arg);
    return NULL;
}

static void test_parks_and_mutex(void **state)
{
    pthread_t t, w;

    (void)state;
    fmutex_init(&g_bed.mutex, RANK_INODE);
    g_bed.sched = fiber_sched_new(loop, kick, &g_bed);
    assert_non_null(g_bed.sched);
    for (intptr_t i = 0; i < WORKERS; i++)
        assert_int_equal(fiber_spawn(g_bed.sched, worker, (void *)i), 0);
    pthread_create(&t, NULL, runner, g_bed.sched);
    pthread_create(&w, NULL, waker, NULL);
    pthread_join(t, NULL);
    pthread_join(w, NULL);
    assert_int_equal(g_bed.counter, WORKERS * ROUNDS);
    fiber_sched_free(g_bed.sched);
}

static _Atomic(int) g_flag;

static void *unparker(void *arg)
{
    usleep(1000);
    atomic_store(&g_flag, 1);
    fiber_unpark(arg);
    return NULL;
}

static void test_plain_thread_parks(void **state)
{
    pthread_t t;

    (void)state;
    pthread_create(&t, NULL, unparker, fiber_self());
    while (!atomic_load(&g_flag))
        fiber_park();
    pthread_join(t, NULL);
    fiber_unpark(fiber_self());
    fiber_park(); /* the token came first: must not block */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parks_and_mutex),
        cmocka_unit_test(test_plain_thread_parks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
