/* SPDX-License-Identifier: Apache-2.0
 * pledge_test.c - sets of promises: words, shrinking, exec, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include <base/count.h>
#include <kernel/pledge.h>
#include <kernel/task.h>

static struct process process;
static struct task task = {.process = &process};

static int setup(void **state)
{
    (void)state;
    memset(&process, 0, sizeof(process));
    spin_init(&process.lock, RANK_PROCESS);
    list_init(&process.threads);
    pledge_init(&process);
    process.sighand = sighand_new();
    assert_non_null(process.sighand);
    process.state = PROCESS_RUNNING;
    task.thread_link = (struct list_head){0};
    list_init(&task.thread_link);
    sig_pending_init(&task.pending);
    sig_pending_init(&process.shared_pending);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sig_pending_flush(&task.pending);
    sighand_put(process.sighand);
    return 0;
}

static uint32_t set_of(const char *words)
{
    uint32_t set = 0xdead;
    assert_int_equal(pledge_parse(words, &set, NULL, NULL), 0);
    return set;
}

static void test_words(void **state)
{
    (void)state;
    static const char *const wrong[] = {"x",           "stdi",   "stdioo",      "Stdio",
                                        "stdio,rpath", "stdio ", "stdio rpat ", "\tstdio"};
    const char *bad;
    char buf[PLEDGE_TEXT_MAX], small[8];
    size_t len;
    uint32_t set = 7;
    assert_int_equal(set_of(""), 0);
    assert_int_equal(set_of("   "), 0);
    assert_int_equal(set_of("stdio"), PLEDGE_STDIO);
    assert_int_equal(set_of("  rpath   stdio stdio "), PLEDGE_STDIO | PLEDGE_RPATH);
    assert_int_equal(set_of("kill prot_exec"), PLEDGE_KILL | PLEDGE_PROT_EXEC);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (i != 5) /* a blank at the end is none */
            assert_int_equal(pledge_parse(wrong[i], &set, NULL, NULL), -EINVAL);
    assert_int_equal(set, 7);
    assert_int_equal(pledge_parse("stdio  oops rpath", &set, &bad, &len), -EINVAL);
    assert_int_equal(len, 4);
    assert_memory_equal(bad, "oops", 4);
    /* every word, there and back */
    assert_int_equal(set_of(pledge_format(PLEDGE_ALL, buf, sizeof(buf))), PLEDGE_ALL);
    assert_string_equal(pledge_format(PLEDGE_RPATH | PLEDGE_STDIO, buf, sizeof(buf)),
                        "stdio rpath");
    assert_string_equal(pledge_format(PLEDGE_ALL, small, sizeof(small)), "stdio");
    assert_string_equal(pledge_format(0, small, sizeof(small)), "");
}

static int restrict_to(const char *now, const char *exec)
{
    uint32_t n = now ? set_of(now) : 0, e = exec ? set_of(exec) : 0;
    return pledge_restrict(&process, now ? &n : NULL, exec ? &e : NULL);
}

static void test_only_shrinks(void **state)
{
    (void)state;
    assert_int_equal(pledge_need(&task, PLEDGE_NEVER), 0);
    assert_int_equal(restrict_to("stdio rpath exec", NULL), 0);
    assert_true(pledge_used());
    assert_int_equal(pledge_of(&task), PLEDGE_STDIO | PLEDGE_RPATH | PLEDGE_EXEC | PLEDGE_ALWAYS);
    assert_int_equal(restrict_to("stdio wpath", NULL), -EPERM);
    assert_int_equal(restrict_to("stdio", "stdio wpath"), -EPERM); /* both or neither */
    assert_int_equal(pledge_need(&task, PLEDGE_RPATH), 0);
    assert_int_equal(pledge_need(&task, PLEDGE_NEVER), -EPERM);
    assert_int_equal(restrict_to("stdio", NULL), 0);
    assert_int_equal(pledge_need(&task, PLEDGE_RPATH), -EPERM);
    assert_int_equal(pledge_refused(&task), PLEDGE_RPATH);
    assert_int_equal(pledge_refused(&task), 0);
    assert_int_equal(restrict_to("stdio rpath", NULL), -EPERM);
    assert_int_equal(restrict_to("", NULL), 0);
    assert_int_equal(pledge_of(&task), PLEDGE_ALWAYS);
    assert_int_equal(restrict_to("stdio", NULL), -EPERM);
    assert_int_equal(restrict_to(NULL, NULL), 0);
}

static void test_exec(void **state)
{
    (void)state;
    /* never said: kept */
    assert_int_equal(restrict_to("stdio rpath exec", NULL), 0);
    pledge_exec(&process);
    assert_int_equal(pledge_of(&task), PLEDGE_STDIO | PLEDGE_RPATH | PLEDGE_EXEC | PLEDGE_ALWAYS);
    /* for executed programs what it had when it said so, and less each time */
    assert_int_equal(restrict_to("stdio exec", "stdio rpath"), 0);
    assert_int_equal(restrict_to(NULL, "stdio rpath exec"), -EPERM);
    assert_int_equal(restrict_to("exec", NULL), 0);
    struct process child = {0};
    pledge_inherit_locked(&child, &process);
    pledge_exec(&process);
    assert_int_equal(pledge_of(&task), PLEDGE_STDIO | PLEDGE_RPATH | PLEDGE_ALWAYS);
    pledge_exec(&process);
    assert_int_equal(pledge_of(&task), PLEDGE_STDIO | PLEDGE_RPATH | PLEDGE_ALWAYS);
    assert_int_equal(restrict_to(NULL, "exec"), -EPERM);
    assert_int_equal(child.pledge, PLEDGE_EXEC | PLEDGE_ALWAYS);
    assert_true(child.pledge_exec_set);
}

static void test_kill(void **state)
{
    (void)state;
    uint64_t before = count_get(COUNT_pledge_refused);
    process.thread_count = 1;
    assert_int_equal(restrict_to("stdio kill", "stdio"), 0);
    assert_int_equal(restrict_to("stdio", NULL), 0); /* once said it stays */
    assert_int_equal(pledge_need(&task, PLEDGE_STDIO), 0);
    assert_false(process.group_exiting);
    assert_int_equal(pledge_need(&task, PLEDGE_INET), -EPERM);
    assert_true(process.group_exiting);
    assert_true(task.pending.set & SIGBIT(SIGKILL)); /* seen before the call is answered */
    assert_int_equal(process.exit_status, SIGABRT);
    assert_int_equal(count_get(COUNT_pledge_refused), before + 1);
    pledge_exec(&process);
    assert_true(pledge_of(&task) & PLEDGE_KILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_shrinks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exec, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
