/* SPDX-License-Identifier: Apache-2.0
 * wait_test.c - wait queues and calls: masks, exclusive waiters, references, deadlines, and the
 * race between arming and waking with a second thread. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include <kernel/task.h>
#include <kernel/wait.h>

static bool fake_exit;

bool task_must_exit(struct task *t)
{
    (void)t;
    return fake_exit;
}

static _Atomic(unsigned) ready_count;

static void ready(struct call *c)
{
    (void)c;
    atomic_fetch_add(&ready_count, 1);
}

static unsigned fired;

static bool count_fire(struct waiter *w, uint32_t events)
{
    (void)w;
    (void)events;
    fired++;
    return true;
}

static bool refuse_fire(struct waiter *w, uint32_t events)
{
    (void)count_fire(w, events);
    return false;
}

static struct call call;
static struct process process;
static struct task task = {.process = &process};

static void begin(void)
{
    memset(&call, 0, sizeof(call));
    fake_exit = false;
    task.pending.set = 0;
    atomic_store(&ready_count, 0);
    call_ready_hook = ready;
    call_begin(&call, &task, 1, NULL, CALL_BY_SLOT);
}

static void test_mask_and_exclusive(void **state)
{
    (void)state;
    struct wait_queue q;
    struct waiter in, out, x1, x2;
    wait_queue_init(&q);
    waiter_init(&in, count_fire);
    waiter_init(&out, count_fire);
    waiter_init(&x1, refuse_fire);
    waiter_init(&x2, count_fire);
    x1.exclusive = x2.exclusive = true;
    waiter_arm(&in, &q, 1);
    waiter_arm(&out, &q, 4);
    fired = 0;
    wake_all(&q, 1);
    assert_int_equal(fired, 1);
    wake_all(&q, 0);
    assert_int_equal(fired, 3);
    waiter_disarm(&in);
    waiter_disarm(&in);
    waiter_disarm(&out);
    waiter_arm(&x1, &q, 0);
    waiter_arm(&x2, &q, 0);
    fired = 0;
    assert_int_equal(wait_queue_wake(&q, 1, 1),
                     1); /* the second took what the first did not need */
    assert_int_equal(fired, 2);
    waiter_disarm(&x1);
    waiter_init(&x1, count_fire);
    x1.exclusive = true;
    waiter_arm(&x1, &q, 0);
    fired = 0;
    assert_int_equal(wait_queue_wake(&q, 1, 1), 1);
    assert_int_equal(fired, 1);
    wake_all(&q, 1);
    assert_int_equal(fired, 3);
    waiter_disarm(&x1);
    waiter_disarm(&x2);
    assert_int_equal(q.exclusive_count, 0);
    assert_true(list_empty(&q.waiters) && list_empty(&q.exclusive));
}

static void test_wake_before_and_after_commit(void **state)
{
    (void)state;
    struct wait_queue q;
    wait_queue_init(&q);
    begin();
    assert_int_equal(call_wait(&call, &q, 0), SYS_PARK);
    wake_all(&q, 1);
    assert_false(call_park_commit(&call));
    assert_int_equal(ready_count, 0);
    call_disarm(&call);
    assert_int_equal(call_wait(&call, &q, 0), SYS_PARK);
    assert_true(call_park_commit(&call));
    wake_all(&q, 1);
    wake_all(&q, 1);
    assert_int_equal(ready_count, 1);
    call_end(&call, 0);
    wake_all(&q, 1);
    assert_int_equal(ready_count, 1);
    assert_true(list_empty(&q.waiters));
}

/* A wake that one call took alone and did not use reaches the next; one it used does not. */
static void test_owed(void **state)
{
    (void)state;
    struct wait_queue q;
    struct waiter next;
    wait_queue_init(&q);
    waiter_init(&next, count_fire);
    next.exclusive = true;
    for (int result = -1; result <= 0; result++) {
        begin();
        fired = 0;
        assert_int_equal(call_arm_exclusive(&call, &q, 1, NULL, NULL), 0);
        assert_true(call_park_commit(&call));
        waiter_arm(&next, &q, 0);
        wake_one(&q, 1);
        assert_int_equal(ready_count, 1);
        assert_int_equal(fired, 0);
        call_disarm(&call);
        call_end(&call, result);
        assert_int_equal(fired, result < 0);
        waiter_disarm(&next);
    }
    begin(); /* it waits again on the same queue, then on another one */
    fired = 0;
    assert_int_equal(call_arm_exclusive(&call, &q, 1, NULL, NULL), 0);
    assert_true(call_park_commit(&call));
    waiter_arm(&next, &q, 0);
    wake_one(&q, 1);
    call_disarm(&call);
    assert_int_equal(call_arm_exclusive(&call, &q, 1, NULL, NULL), 0);
    assert_int_equal(fired, 0);
    wake_one(&q, 1);
    assert_int_equal(fired, 1); /* it stands behind that one now */
    wake_all(&q, 1);
    call_disarm(&call);
    struct wait_queue other;
    wait_queue_init(&other);
    fired = 0;
    assert_int_equal(call_arm_exclusive(&call, &other, 1, NULL, NULL), 0);
    assert_int_equal(fired, 1);
    call_end(&call, 0);
    waiter_disarm(&next);
}

static void test_interrupt(void **state)
{
    (void)state;
    struct wait_queue q;
    wait_queue_init(&q);
    begin();
    assert_int_equal(call_wait(&call, &q, 0), SYS_PARK);
    assert_true(call_park_commit(&call));
    call_interrupt(&call);
    assert_int_equal(ready_count, 1);
    call_disarm(&call);
    assert_int_equal(call_wait(&call, &q, 0), -ERESTARTSYS);
    assert_true(list_empty(&q.waiters));

    /* a signal that came before the call waits */
    begin();
    task.pending.set = SIGBIT(SIGUSR1);
    assert_int_equal(call_wait(&call, &q, 0), -ERESTARTSYS);
    begin();
    task.pending.set = SIGBIT(SIGUSR1);
    call_arm(&call, &q, 0);
    assert_int_equal(call_wait_armed_killable(&call), SYS_PARK);
    fake_exit = true;
    assert_int_equal(call_wait_armed_killable(&call), -EINTR);
    /* queue calls are not interrupted by signals */
    begin();
    task.pending.set = SIGBIT(SIGUSR1);
    call.how = CALL_BY_SQ;
    assert_int_equal(call_wait(&call, &q, 0), SYS_PARK);
    call_end(&call, 0);
}

static unsigned puts_done;

static void put(void *ref)
{
    (void)ref;
    puts_done++;
}

static void test_many_waiters_and_references(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct wait_queue q[N];
    begin();
    puts_done = 0;
    for (unsigned i = 0; i < N; i++) {
        wait_queue_init(&q[i]);
        assert_int_equal(call_arm_ref(&call, &q[i], 0, &q[i], put), 0);
    }
    assert_int_equal(call_wait_armed(&call), SYS_PARK);
    assert_true(call_park_commit(&call));
    wake_all(&q[N - 1], 0);
    assert_int_equal(ready_count, 1);
    assert_int_equal(puts_done, 0);
    call_disarm(&call);
    assert_int_equal(puts_done, N);
    for (unsigned i = 0; i < N; i++)
        assert_true(list_empty(&q[i].waiters));
    call_end(&call, 0);
    assert_int_equal(puts_done, N);
}

static void test_limit(void **state)
{
    (void)state;
    static struct wait_queue q;
    wait_queue_init(&q);
    begin();
    puts_done = 0;
    for (unsigned i = 0; i < CALL_WAITERS_MAX; i++)
        assert_int_equal(call_arm_ref(&call, &q, 0, &q, put), 0);
    assert_int_equal(call_arm_ref(&call, &q, 0, &q, put), -ENOMEM);
    assert_int_equal(puts_done, 1);
    call_end(&call, 0);
    assert_int_equal(puts_done, CALL_WAITERS_MAX + 1);
}

static void test_deadline(void **state)
{
    (void)state;
    struct timer_base *b = timer_base_new(NULL, NULL);
    timer_base_bind(b);
    begin();
    call_deadline(&call, clock_now_ns(CLOCK_MONOTONIC) + 1000000);
    assert_int_equal(call_wait_none(&call), SYS_PARK);
    assert_true(call_park_commit(&call));
    call_deadline(&call, INT64_MAX - 1); /* only the first run's counts */
    while (timer_run(b, clock_now_ns(CLOCK_MONOTONIC)) != INT64_MAX)
        sched_yield();
    assert_int_equal(ready_count, 1);
    call_disarm(&call);
    assert_true(call.timed_out);
    assert_int_equal(call_wait_none(&call), -ETIMEDOUT);
    call_end(&call, 0);
    begin();
    call_deadline(&call, 1);
    assert_int_equal(call_wait_none(&call), -ETIMEDOUT);
    assert_true(call.timed_out);
    call_end(&call, 0);
    timer_base_bind(NULL);
    timer_base_free(b);
}

/* Two threads: one produces tokens and wakes, one consumes as the dispatcher does. No wake may be
 * lost: a lost one hangs the test. */
#define ROUNDS 20000
static struct wait_queue race_queue;
static _Atomic(unsigned) produced, consumed;

static void *producer(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        while (atomic_load(&consumed) != i)
            sched_yield();
        atomic_fetch_add(&produced, 1);
        wake_all(&race_queue, 1);
    }
    return NULL;
}

static sysret_t consume(struct call *c)
{
    if (atomic_load(&produced) > atomic_load(&consumed))
        return 0;
    if (call_arm(c, &race_queue, 1))
        return -ENOMEM;
    if (atomic_load(&produced) > atomic_load(&consumed))
        return call_run_again(c);
    return call_wait_armed(c);
}

static void test_race(void **state)
{
    (void)state;
    pthread_t th;
    wait_queue_init(&race_queue);
    begin();
    assert_int_equal(pthread_create(&th, NULL, producer, NULL), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        call_begin(&call, &task, 1, NULL, CALL_BY_SLOT);
        unsigned seen = atomic_load(&ready_count);
        while (consume(&call) == SYS_PARK) {
            if (call_park_commit(&call)) {
                while (atomic_load(&ready_count) == seen)
                    sched_yield();
                seen++;
            }
            call_disarm(&call);
        }
        assert_int_equal(atomic_load(&ready_count), seen);
        call_end(&call, 0);
        atomic_fetch_add(&consumed, 1);
    }
    pthread_join(th, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_and_exclusive),
        cmocka_unit_test(test_owed),
        cmocka_unit_test(test_wake_before_and_after_commit),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_many_waiters_and_references),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
