/* SPDX-License-Identifier: Apache-2.0
 * latency_test.c - classes of latencies: no gap, no overlap, narrow enough; percentiles from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "latency.h"

static void test_classes(void **state)
{
    (void)state;
    assert_int_equal(latency_class(0), 0);
    for (unsigned c = 0; c + 1 < LATENCY_CLASSES; c++) {
        uint64_t bound = latency_bound(c);
        assert_int_equal(latency_class(bound - 1), c);
        assert_int_equal(latency_class(bound), c + 1);
        if (c >= 4) /* a quarter wide */
            assert_true(bound * 4 <= latency_bound(c - 1) * 5);
    }
    assert_int_equal(latency_class(UINT64_MAX), LATENCY_CLASSES - 1);
    assert_true(latency_bound(LATENCY_CLASSES - 1) > 30000000000); /* half a minute */
}

static void test_percentiles(void **state)
{
    uint64_t n[LATENCY_CLASSES] = {0};

    (void)state;
    assert_int_equal(latency_percentile(n, 500), 0);
    n[latency_class(100)] = 1;
    assert_int_equal(latency_percentile(n, 1), 112);
    assert_int_equal(latency_percentile(n, 999), 112);
    n[latency_class(100)] = 990;
    n[latency_class(1000000)] = 10;
    assert_int_equal(latency_percentile(n, 990), 112);
    assert_in_range(latency_percentile(n, 991), 1000001, 1250000);
    n[LATENCY_CLASSES - 1] = 1;
    assert_int_equal(latency_percentile(n, 1000), latency_bound(LATENCY_CLASSES - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_percentiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
