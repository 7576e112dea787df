/* SPDX-License-Identifier: Apache-2.0
 * Host limits as read here, and what follows from given ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/resource.h>

#include <host/limits.h>

static void reads_this_host(void **state)
{
    (void)state;
    struct host_limits l;
    struct rlimit r;
    host_limits_read(&l);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    assert_true(r.rlim_cur == r.rlim_max); /* raised */
    assert_true(l.nofile == r.rlim_max || r.rlim_max == RLIM_INFINITY);
    assert_true(l.tasks > 0 && l.max_map_count > 0);
}

static void derives(void **state)
{
    (void)state;
    struct host_limits l = {.nofile = HOST_FD_OWN + 1000, .tasks = 364, .max_map_count = 65536};
    struct sandbox_limits s;
    sandbox_limits_derive(&l, &s);
    assert_int_equal(s.tasks, 300);
    assert_int_equal(s.processes, 100);
    assert_int_equal(s.donated_fds + s.gofer_nodes, 1000);
    assert_int_equal(s.maps, 65536 - HOST_MAPS_OWN);
    assert_true(s.maps_blocks < s.maps_huge && s.maps_huge < s.maps);
}

static void survives_extremes(void **state)
{
    (void)state;
    struct host_limits none = {0}, all = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct sandbox_limits s;
    sandbox_limits_derive(&none, &s);
    assert_int_equal(s.processes + s.tasks + s.donated_fds + s.gofer_nodes + s.maps, 0);
    assert_non_null(host_limits_shortage(&none));
    sandbox_limits_derive(&all, &s);
    assert_true(s.processes > 1000 && s.maps > 1000000);
    assert_null(host_limits_shortage(&all));
}

static void shortage_at_the_limit(void **state)
{
    (void)state;
    struct host_limits l = {
        .nofile = HOST_NOFILE_MIN, .tasks = HOST_TASKS_MIN, .max_map_count = HOST_MAPS_MIN};
    assert_null(host_limits_shortage(&l));
    l.nofile--;
    assert_non_null(host_limits_shortage(&l));
    l.nofile++;
    l.tasks--;
    assert_non_null(host_limits_shortage(&l));
    l.tasks++;
    l.max_map_count--;
    assert_non_null(host_limits_shortage(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_this_host),
        cmocka_unit_test(derives),
        cmocka_unit_test(survives_extremes),
        cmocka_unit_test(shortage_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
