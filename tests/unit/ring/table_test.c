/* SPDX-License-Identifier: Apache-2.0
 * table_test.c - libringbox refuses outside what the Sentry's table refuses inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ringbox.h>
#include <syscall/sys.h>

static void same_calls(void **state)
{
    unsigned refused = 0;

    (void)state;
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        const struct sys_row *row = sys_row(nr);

        if (!row->run)
            continue;
        if ((row->sq == SQ_YES) != ringbox_queueable(nr))
            fail_msg("%s: table %d, libringbox %d", row->name, row->sq == SQ_YES,
                     ringbox_queueable(nr));
        refused += row->sq != SQ_YES;
    }
    assert_true(refused > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_calls)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
