/* SPDX-License-Identifier: Apache-2.0
 * "#!" lines: each case was first tried natively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <base/compiler.h>
#include <elf/image.h>

static void lines(void **state)
{
    (void)state;
    const struct {
        const char *line;
        size_t len; /* 0: strlen */
        const char *interp, *arg;
    } cases[] = {
        {"#!/bin/sh\n", 0, "/bin/sh", NULL},
        {"#!/bin/sh", 0, "/bin/sh", NULL},
        {"#! \t/bin/sh \t \nnext line", 0, "/bin/sh", NULL},
        {"#!/usr/bin/env  python3 -u \n", 0, "/usr/bin/env", "python3 -u"},
        {"#!/bin/sh -x\n", 0, "/bin/sh", "-x"},
        {"#!/bin/sh\t-x", 0, "/bin/sh", "-x"},
        {"#!/bin/sh a b  ", 0, "/bin/sh", "a b  "}, /* blanks stay before the end of the file */
        {"#!/bin/sh  ", 0, "/bin/sh", ""},
        {"#!/bin/sh a\0b\n", 14, "/bin/sh", "a"},
        {"#!/bin/sh\0 a\n", 13, "/bin/sh", NULL},
        {"#!a\n", 0, "a", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct script_plan p;
        size_t len = cases[i].len ? cases[i].len : strlen(cases[i].line);
        assert_int_equal(script_parse(cases[i].line, len, &p), 0);
        assert_string_equal(p.interp, cases[i].interp);
        assert_int_equal(p.has_arg, cases[i].arg != NULL);
        assert_string_equal(p.arg, cases[i].arg ? cases[i].arg : "");
    }
}

static void refused(void **state)
{
    (void)state;
    const char *cases[] = {"", "#", "#!", "#!\n", "#!   \t\n", "#! ", " #!/bin/sh\n", "\177ELF"};
    struct script_plan p;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(script_parse(cases[i], strlen(cases[i]), &p), -ENOEXEC);
}

static void long_lines(void **state)
{
    (void)state;
    char head[512];
    struct script_plan p;
    memset(head, 'a', sizeof head);
    memcpy(head, "#!/x", 4);
    assert_int_equal(script_parse(head, sizeof head, &p), -ENOEXEC); /* name cut off */
    head[254] = '\n';                                                /* longest name */
    assert_int_equal(script_parse(head, sizeof head, &p), 0);
    assert_int_equal(strlen(p.interp), 252);
    head[254] = 'a';
    head[255] = '\n'; /* still within the 256 bytes */
    assert_int_equal(script_parse(head, sizeof head, &p), 0);
    assert_int_equal(strlen(p.interp), 253);
    head[255] = 'a';
    head[10] = ' '; /* argument cut off: accepted */
    assert_int_equal(script_parse(head, sizeof head, &p), 0);
    assert_string_equal(p.interp, "/xaaaaaa");
    assert_int_equal(strlen(p.arg), 255 - 11);
    memset(head + 2, ' ', sizeof head - 2);
    assert_int_equal(script_parse(head, sizeof head, &p), -ENOEXEC);
    memcpy(head + 2, "/bin/sh", 7); /* blanks to the end */
    assert_int_equal(script_parse(head, sizeof head, &p), 0);
    assert_false(p.has_arg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(refused),
        cmocka_unit_test(long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
