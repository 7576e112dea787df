/* SPDX-License-Identifier: Apache-2.0
 * timer_test.c - order of the heap, cancel, re-arm from fire(), move between bases, kicks. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <kernel/timer.h>

#define N 500
static struct timer timers[N];
static int64_t last_when;
static unsigned fire_count;

static void in_order(struct timer *t)
{
    assert_true(t->when_ns >= last_when);
    assert_false(timer_armed(t));
    last_when = t->when_ns;
    fire_count++;
}

static void test_order(void **state)
{
    (void)state;
    struct timer_base *b = timer_base_new(NULL, NULL);
    last_when = 0;
    fire_count = 0;
    srand(7);
    for (unsigned i = 0; i < N; i++) {
        timer_init(&timers[i], in_order);
        assert_int_equal(timer_arm(&timers[i], b, 1 + rand() % 1000), 0);
    }
    for (unsigned i = 0; i < N; i += 3)
        timer_cancel(&timers[i]);
    for (unsigned i = 1; i < N; i += 3)
        assert_int_equal(timer_arm(&timers[i], b, 1 + rand() % 1000), 0);
    assert_int_equal(timer_run(b, clock_now_ns(CLOCK_MONOTONIC)), INT64_MAX);
    assert_int_equal(fire_count, N - (N + 2) / 3);
    timer_base_free(b);
}

static void test_next(void **state)
{
    (void)state;
    struct timer_base *b = timer_base_new(NULL, NULL);
    struct timer t;
    timer_init(&t, in_order);
    timer_cancel(&t); /* never armed */
    assert_int_equal(timer_run(b, clock_now_ns(CLOCK_MONOTONIC)), INT64_MAX);
    int64_t now = clock_now_ns(CLOCK_MONOTONIC);
    assert_int_equal(timer_arm(&t, b, now + 3600000000000), 0);
    int64_t next = timer_run(b, clock_now_ns(CLOCK_MONOTONIC));
    assert_true(next > 3500000000000 && next <= 3600000000000);
    assert_true(timer_armed(&t));
    timer_cancel(&t);
    assert_int_equal(timer_run(b, clock_now_ns(CLOCK_MONOTONIC)), INT64_MAX);
    timer_base_free(b);
}

static void again(struct timer *t)
{
    fire_count++;
    timer_cancel(t); /* from fire itself: does not wait */
    assert_int_equal(timer_arm(t, t->home, 1), 0);
}

static void test_rearm_in_the_past_ends(void **state)
{
    (void)state;
    struct timer_base *b = timer_base_new(NULL, NULL);
    struct timer t;
    timer_init(&t, again);
    timer_arm(&t, b, 1);
    fire_count = 0;
    assert_int_equal(timer_run(b, clock_now_ns(CLOCK_MONOTONIC)), 0);
    assert_int_equal(fire_count, 1);
    timer_cancel(&t);
    timer_base_free(b);
}

static unsigned kicks;

static void kick(void *arg)
{
    assert_ptr_equal(arg, &kicks);
    kicks++;
}

static void test_kick_and_move(void **state)
{
    (void)state;
    struct timer_base *a = timer_base_new(kick, &kicks), *b = timer_base_new(NULL, NULL);
    struct timer t, u;
    int64_t far = clock_now_ns(CLOCK_MONOTONIC) + 3600000000000;
    timer_init(&t, in_order);
    timer_init(&u, in_order);
    kicks = 0;
    timer_arm(&t, a, far);
    assert_int_equal(kicks, 1);
    timer_arm(&u, a, far + 1);
    assert_int_equal(kicks, 1); /* not the first */
    timer_base_bind(a);
    timer_arm(&u, NULL, far - 1);
    assert_int_equal(kicks, 1); /* own base: the loop looks anyway */
    timer_base_bind(NULL);
    timer_arm(&u, b, far);
    timer_arm(&t, b, far);
    assert_int_equal(timer_run(a, clock_now_ns(CLOCK_MONOTONIC)), INT64_MAX);
    assert_true(timer_run(b, clock_now_ns(CLOCK_MONOTONIC)) < INT64_MAX);
    timer_cancel(&t);
    timer_cancel(&u);
    timer_base_free(a);
    timer_base_free(b);
}

static _Atomic(int) in_fire, after_cancel;

static void slow(struct timer *t)
{
    (void)t;
    atomic_store(&in_fire, 1);
    for (int i = 0; i < 1000; i++)
        sched_yield();
    assert_int_equal(atomic_load(&after_cancel), 0);
    atomic_store(&in_fire, 2);
}

static void *runner(void *base)
{
    while (timer_run(base, clock_now_ns(CLOCK_MONOTONIC)) != INT64_MAX)
        sched_yield();
    return NULL;
}

static void test_cancel_waits(void **state)
{
    (void)state;
    struct timer_base *b = timer_base_new(NULL, NULL);
    struct timer t;
    pthread_t th;
    timer_init(&t, slow);
    timer_arm(&t, b, 1);
    pthread_create(&th, NULL, runner, b);
    while (!atomic_load(&in_fire))
        sched_yield();
    timer_cancel(&t);
    atomic_store(&after_cancel, 1);
    assert_int_equal(atomic_load(&in_fire), 2);
    pthread_join(th, NULL);
    timer_base_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_rearm_in_the_past_ends),
        cmocka_unit_test(test_kick_and_move),
        cmocka_unit_test(test_cancel_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
