/* SPDX-License-Identifier: Apache-2.0
 * slot_test.c - the Sentry's end of a slot: what is copied, what a reply leaves, when to wake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <ring/slot.h>

static void fill(struct lane_slot *s, uint64_t seed)
{
    s->nr = (uint32_t)seed;
    for (unsigned i = 0; i < 6; i++)
        s->arg[i] = seed * 3 + i;
    s->aux = ~seed;
    ring_store_release(&s->state, SLOT_POSTED);
}

static void copy(void **state)
{
    struct lane_slot from = {0}, to;

    (void)state;
    slot_copy(&to, &from);
    assert_int_equal(ring_load_relaxed(&to.state), SLOT_FREE);
    fill(&from, 77);
    slot_copy(&to, &from);
    assert_memory_equal(&to, &from, sizeof to);
    fill(&from, 78); /* the guest goes on writing: the copy stays */
    assert_int_equal(to.nr, 77);
    assert_int_equal(to.arg[5], 77 * 3 + 5);
}

static void take_call(void **state)
{
    struct lane_slot from = {0};
    uint64_t args[6];

    (void)state;
    fill(&from, 1234);
    assert_int_equal(slot_take_call(&from, args), 1234);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(args[i], 1234 * 3 + i);
    assert_int_equal(ring_load_relaxed(&from.state), SLOT_POSTED); /* the guest's until replied */
}

static void reply(void **state)
{
    struct lane_slot s = {0};
    _Atomic(uint32_t) parked = 0;

    (void)state;
    fill(&s, 5);
    assert_false(slot_reply(&s, &parked, CALL_DONE, (uint64_t)-38));
    assert_int_equal(ring_load_relaxed(&s.state), SLOT_FREE);
    assert_int_equal(s.nr, CALL_DONE);
    assert_int_equal((int64_t)s.arg[0], -38);
    fill(&s, 6);
    parked = 1;
    assert_true(slot_reply(&s, &parked, CALL_SLOW, 0));
    assert_int_equal(s.nr, CALL_SLOW);
    fill(&s, 7);
    assert_true(slot_release(&s, &parked));
    assert_int_equal(s.nr, 7); /* release alone changes no reply word */
}

static void wake_nobody(void **state)
{
    _Atomic(uint32_t) word = 0;

    (void)state;
    assert_int_equal(ring_futex_wake(&word), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy),
        cmocka_unit_test(take_call),
        cmocka_unit_test(reply),
        cmocka_unit_test(wake_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
