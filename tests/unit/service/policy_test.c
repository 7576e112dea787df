/* SPDX-License-Identifier: Apache-2.0
 * policy_test.c - the policy against made-up loads: a simulated clock, a poller that looks every
 * LOOK_NS and sleeps when it may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy.h"

#define LOOK_NS 2000
#define MS 1000000LL

struct sim {
    struct policy p;
    int64_t now, last_work, slept_ns;
    unsigned active;
    int64_t call_every; /* ns between an answer and the next call; 0: no calls */
    unsigned burst;     /* and so many more, which find the poller awake */
    int64_t lose_after; /* spinning for so long costs the CPU for 4 ms; 0: never */
    int64_t spun;
    bool woken; /* by a call */
};

static struct sim sim_new(unsigned cpus, unsigned pollers, unsigned active)
{
    struct sim s = {.active = active, .now = MS, .last_work = MS};

    policy_init(&s.p, cpus, pollers, s.now);
    return s;
}

/* Sleep until the next call, or until the policy wants to look. */
static void sim_sleep(struct sim *s, int64_t end)
{
    int64_t until = policy_deadline(&s->p, s->now, s->active), start = s->now;

    if (s->call_every && s->last_work + s->call_every < until)
        until = s->last_work + s->call_every;
    s->now = until < end ? (until > s->now ? until : s->now + 1) : end;
    s->slept_ns += s->now - start;
    s->woken = s->call_every && s->now >= s->last_work + s->call_every;
    policy_slept(&s->p, s->now, s->woken); /* the deadline is no call */
    if (s->woken)
        s->last_work = s->now;
}

static void sim_run(struct sim *s, int64_t ns)
{
    int64_t end = s->now + ns;

    s->slept_ns = 0;
    while (s->now < end) {
        bool lost = s->lose_after && s->spun >= s->lose_after;
        s->now += lost ? 4 * MS : LOOK_NS;
        s->spun = lost ? 0 : s->spun + LOOK_NS;
        bool work = s->woken || (s->call_every && s->now - s->last_work >= s->call_every);
        s->woken = false;
        for (unsigned i = 0; work && i < 1 + s->burst; i++)
            policy_call(&s->p);
        policy_look(&s->p, s->now, s->active, work, lost);
        if (work)
            s->last_work = s->now;
        else if (s->now - s->last_work >= policy_spin_ns(&s->p, s->now))
            sim_sleep(s, end);
    }
}

static void one_cpu_never_spins(void **state)
{
    struct sim s = sim_new(1, 1, 1);

    (void)state;
    s.call_every = 1000;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    assert_int_equal(s.p.changes, 0);
    assert_int_equal(policy_spin_ns(&s.p, s.now), 0);
    s = sim_new(2, 3, 0);
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.changes, 0);
}

static void one_caller_on_two_cpus_keeps_its_poller(void **state)
{
    struct sim s = sim_new(2, 1, 1);

    (void)state;
    s.call_every = 1000;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    assert_int_equal(s.slept_ns, 0);
    s.call_every = 500000; /* rare: each would have to wake it on another CPU */
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    assert_int_equal(s.p.changes, 1);
    assert_true(s.slept_ns > 900 * MS);
    s.call_every = 8000;
    sim_run(&s, 2 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN); /* again at once */
    s.call_every = 300000;
    sim_run(&s, 20 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    s.call_every = 1000;
    sim_run(&s, 20 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    s.call_every = 0;
    sim_run(&s, 20 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    assert_int_equal(policy_deadline(&s.p, s.now, s.active), INT64_MAX); /* idle is not woken */
}

/* An interpreter: some calls on end, then it computes. The poller sleeps once a burst, not once a call. */
static void bursts_are_spun_for(void **state)
{
    struct sim s = sim_new(2, 1, 1);

    (void)state;
    s.call_every = 200000;
    s.burst = 9;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    assert_int_equal(s.p.changes, 0);
    s.burst = 0;
    sim_run(&s, 100 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    s.burst = 9; /* handed over, too, it is seen what spinning would spare */
    sim_run(&s, 100 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
}

static void computing_threads_get_all_cpus(void **state)
{
    struct sim s = sim_new(2, 1, 2);

    (void)state;
    sim_run(&s, 10 * MS); /* without one call: the deadline alone must do it */
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    assert_int_equal(policy_deadline(&s.p, s.now, s.active), INT64_MAX); /* idle is not woken */
    s.call_every = MS;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    assert_int_equal(s.p.changes, 1);
    s.active = 1;
    s.call_every = 50000; /* worth nothing to a crowd */
    sim_run(&s, POLICY_ALONE_NS / 2);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    sim_run(&s, POLICY_ALONE_NS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
}

static void dense_calls_are_worth_a_cpu(void **state)
{
    struct sim s = sim_new(2, 1, 2);

    (void)state;
    s.call_every = 3000;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    s.call_every = 200000;
    sim_run(&s, 50 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
    s.call_every = 8000;
    sim_run(&s, 50 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
}

/* A server and its clients: several threads that compute between calls. Handing over takes their calls from
 * one CPU to another, so they are spun for where those of one thread would not be, without sleeps. */
static void calls_of_a_crowd_are_worth_more(void **state)
{
    struct sim s = sim_new(2, 1, 4);
    int64_t worth = POLICY_WORTH_CROWD_NS * 12 / 8;

    (void)state;
    s.call_every = worth - 4000;
    sim_run(&s, 50 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    assert_int_equal(policy_spin_ns(&s.p, s.now), POLICY_SPIN_LONG_NS);
    assert_int_equal(s.slept_ns, 0);
    s.call_every = POLICY_WORTH_CROWD_NS * 14 / 8 + 10000;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.mode, POLICY_HANDOVER);
}

static void a_short_crowd_is_none(void **state)
{
    struct sim s = sim_new(2, 1, 1);

    (void)state;
    s.call_every = 5000;
    for (int i = 0; i < 200; i++) {
        s.active = 2;
        sim_run(&s, POLICY_CROWD_NS / 2);
        s.active = 1;
        sim_run(&s, POLICY_CROWD_NS);
    }
    assert_int_equal(s.p.changes, 0);
}

static void a_cpu_that_others_take_is_tried_ever_less(void **state)
{
    struct sim s = sim_new(2, 1, 1);

    (void)state;
    s.call_every = 40000; /* not dense: each would be spun for */
    s.lose_after = 3 * MS;
    sim_run(&s, 2000 * MS);
    assert_true(s.p.changes > 3);
    uint64_t before = s.p.changes;
    sim_run(&s, 10000 * MS);
    assert_in_range(s.p.changes - before, 2, 20);
    s.lose_after = 0; /* they have gone */
    sim_run(&s, 4000 * MS);
    assert_int_equal(s.p.mode, POLICY_SPIN);
    before = s.p.changes;
    sim_run(&s, 1000 * MS);
    assert_int_equal(s.p.changes, before);
}

static void modes_do_not_flutter(void **state)
{
    struct sim s = sim_new(2, 1, 2);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        s.active = 1 + i % 2;
        s.call_every = i % 3 ? 5000 : 0;
        sim_run(&s, MS);
    }
    assert_true(s.p.changes <= 1000 * MS / POLICY_WINDOW_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_cpu_never_spins),
        cmocka_unit_test(one_caller_on_two_cpus_keeps_its_poller),
        cmocka_unit_test(bursts_are_spun_for),
        cmocka_unit_test(computing_threads_get_all_cpus),
        cmocka_unit_test(dense_calls_are_worth_a_cpu),
        cmocka_unit_test(calls_of_a_crowd_are_worth_more),
        cmocka_unit_test(a_short_crowd_is_none),
        cmocka_unit_test(a_cpu_that_others_take_is_tried_ever_less),
        cmocka_unit_test(modes_do_not_flutter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
