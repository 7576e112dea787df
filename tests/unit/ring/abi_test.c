/* SPDX-License-Identifier: Apache-2.0
 * abi_test.c - the lane's layout as numbers. Programs with libringbox inside are compiled against
 * them: whoever changes one must raise RING_ABI_VERSION, and is told so here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ring/abi.h>
#include <ring/queue.h>

#define OFFSET(type, member, at) assert_int_equal(offsetof(struct type, member), at)

static void version(void **state)
{
    (void)state;
    assert_int_equal(RING_ABI_VERSION, 2);
    assert_int_equal(RING_CTL_NR, 4095);
    assert_int_equal(RING_CTL_VERSION, 0);
    assert_int_equal(RING_CTL_SETUP, 1);
    assert_int_equal(RING_CTL_KICK, 2);
    assert_int_equal(RING_CTL_WAIT, 3);
    assert_int_equal(RING_CTL_IDLE, 4);
    assert_int_equal(RING_CTL_CLOSE, 5);
    assert_int_equal(SLOT_FREE, 0);
    assert_int_equal(SLOT_POSTED, 1);
    assert_int_equal(CALL_DONE, 0);
    assert_int_equal(CALL_SLOW, 1);
    assert_int_equal(SQE_LINK, 1);
    assert_int_equal(SQE_DRAIN, 2);
}

static void lane(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct lane_slot), 64);
    OFFSET(lane_slot, state, 0);
    OFFSET(lane_slot, nr, 4);
    OFFSET(lane_slot, arg, 8);
    OFFSET(lane_slot, aux, 56);
    OFFSET(lane, call, 0);
    OFFSET(lane, event, 64);
    OFFSET(lane, guest, 128);
    OFFSET(lane, sentry, 192);
    OFFSET(lane, priv, 256);
    OFFSET(lane, tid, 512);
    OFFSET(lane, ident, 576);
    OFFSET(lane, local, 640);
    OFFSET(lane_ident, valid, 0);
    OFFSET(lane_ident, id, 4);
    assert_int_equal(sizeof(struct lane_ident), 64);
    OFFSET(lane_guest, call_parked, 0);
    OFFSET(lane_guest, event_parked, 4);
    OFFSET(lane_guest, doorbell, 8);
    OFFSET(lane_guest, fs_base, 16);
    OFFSET(lane_sentry, demoted, 0);
    OFFSET(lane_sentry, poller, 4);
    OFFSET(lane_sentry, sq_taken, 8);
    assert_true(sizeof(struct lane) <= LANE_STACK);
}

static void queues(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct ring_sqe), 64);
    OFFSET(ring_sqe, tag, 0);
    OFFSET(ring_sqe, nr, 4);
    OFFSET(ring_sqe, flags, 6);
    OFFSET(ring_sqe, args, 8);
    OFFSET(ring_sqe, user_data, 56);
    assert_int_equal(sizeof(struct ring_cqe), 32);
    OFFSET(ring_cqe, user_data, 0);
    OFFSET(ring_cqe, result, 8);
    OFFSET(ring_cqe, flags, 16);
    OFFSET(ring_cqe, sq_taken, 20);
    OFFSET(ring_cqe, tag, 28);
    assert_int_equal(sizeof(struct ring_setup), 40);
    OFFSET(ring_setup, sq_addr, 8);
    OFFSET(ring_setup, lane_addr, 24);
    OFFSET(ring_setup, pollers_addr, 32);
    assert_int_equal(sizeof(struct ring_poller_word), 64);
}

/* One high word for the filter; nothing overlaps; the biggest queues fit their place. */
static void region(void **state)
{
    (void)state;
    assert_true(STUB_TEXT + STUB_TEXT_SIZE <= STUB_REQ);
    assert_true(STUB_REQ + STUB_REQ_SIZE <= STUB_RO);
    assert_true(STUB_RO + STUB_RO_SIZE <= STUB_LANES);
    assert_true(STUB_LANES_END <= STUB_RINGS);
    assert_true(STUB_RINGS < STUB_REGION_END);
    assert_int_equal(STUB_REGION >> 32, (STUB_REGION_END - 1) >> 32);
    assert_true(RO_POLLERS * sizeof(struct ring_poller_word) <= STUB_RO_SIZE);
    assert_true(RING_MAX_ENTRIES * (sizeof(struct ring_sqe) + sizeof(struct ring_cqe)) <=
                RING_SLOT_SIZE);
    assert_int_equal(LANE_SIZE % 4096, 0);
}

static void sizes(void **state)
{
    (void)state;
    assert_false(ring_size_valid(0));
    assert_false(ring_size_valid(3));
    assert_false(ring_size_valid(RING_MAX_ENTRIES * 2));
    assert_false(ring_size_valid(UINT32_MAX));
    assert_false(ring_size_valid(0x80000000u));
    for (uint32_t n = 1; n <= RING_MAX_ENTRIES; n *= 2) {
        assert_true(ring_size_valid(n));
        assert_int_equal(1u << ring_shift(n), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version), cmocka_unit_test(lane),  cmocka_unit_test(queues),
        cmocka_unit_test(region),  cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
