/* SPDX-License-Identifier: Apache-2.0
 * pipe_test.c - pipes and eventfds without a guest. */
#include "files_test.h"

#include <limits.h>
#include <sys/eventfd.h>

static struct file *r, *w;

static int open_pipe(void **state)
{
    (void)state;
    return pipe_new(0, &r, &w);
}

static int close_pipe(void **state)
{
    (void)state;
    file_put(r);
    file_put(w);
    return 0;
}

static void moves_bytes_in_order(void **state)
{
    char in[3000], out[3000];
    (void)state;
    unsigned next_in = 0, next_out = 0;
    for (int round = 0; round < 200; round++) { /* laps around the ring many times */
        for (size_t i = 0; i < sizeof(in); i++)
            in[i] = (char)(next_in++ % 251);
        assert_int_equal(put(w, in, sizeof(in)), sizeof(in));
        if (round % 3 == 0)
            continue; /* keep some inside */
        while (take(r, out, 1) == 1 && (uint8_t)out[0] == next_out % 251) {
            next_out++;
            if (next_out % 4999 == 0)
                break;
        }
    }
    while (take(r, out, 1) == 1)
        assert_int_equal((uint8_t)out[0], next_out++ % 251);
    assert_int_equal(next_in, next_out);
}

static void empty_and_full_say_eagain(void **state)
{
    static char big[PIPE_SIZE_DEFAULT + 100];
    (void)state;
    assert_int_equal(take(r, big, 10), -EAGAIN);
    assert_ready(r, 0);
    assert_ready(w, OUT_);
    assert_int_equal(put(w, big, sizeof(big)), PIPE_SIZE_DEFAULT);
    assert_int_equal(put(w, big, 1), -EAGAIN);
    assert_ready(w, 0);
    assert_ready(r, IN_);
}

static void small_writes_are_whole(void **state)
{
    static char big[PIPE_SIZE_DEFAULT];
    (void)state;
    assert_int_equal(put(w, big, PIPE_SIZE_DEFAULT - 100), PIPE_SIZE_DEFAULT - 100);
    assert_int_equal(put(w, big, 101), -EAGAIN); /* would be split */
    assert_int_equal(put(w, big, 100), 100);
    assert_int_equal(take(r, big, 200), 200);
    assert_int_equal(put(w, big, PIPE_BUF + 1), 200); /* larger ones may be */
}

static void pollout_means_room_for_pipe_buf(void **state)
{
    static char big[PIPE_SIZE_DEFAULT];
    struct counter c;
    (void)state;
    assert_int_equal(put(w, big, PIPE_SIZE_DEFAULT), PIPE_SIZE_DEFAULT);
    counter_arm(&c, w, POLLOUT);
    assert_int_equal(take(r, big, PIPE_BUF - 1), PIPE_BUF - 1);
    assert_int_equal(c.fired, 0);
    assert_ready(w, 0);
    assert_int_equal(take(r, big, 1), 1);
    assert_true(c.fired);
    assert_ready(w, OUT_);
    waiter_disarm(&c.w);
}

static void closing_tells_the_other_side(void **state)
{
    struct counter c;
    char b;
    (void)state;
    counter_arm(&c, r, POLLIN);
    file_put(w);
    w = NULL;
    assert_true(c.fired);
    waiter_disarm(&c.w);
    assert_ready(r, POLLHUP);
    assert_int_equal(take(r, &b, 1), 0);
}

static void data_survives_the_writer(void **state)
{
    char b[4];
    (void)state;
    assert_int_equal(put(w, "abc", 3), 3);
    file_put(w);
    w = NULL;
    assert_ready(r, IN_ | POLLHUP);
    assert_int_equal(take(r, b, 4), 3);
    assert_int_equal(take(r, b, 4), 0);
}

static void no_reader_is_epipe(void **state)
{
    (void)state;
    file_put(r);
    r = NULL;
    assert_ready(w, OUT_ | POLLERR);
    assert_int_equal(put(w, "x", 1), -EPIPE);
}

static void resize_limits(void **state)
{
    static char big[8192], out[8192];
    (void)state;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7);
    assert_int_equal(put(w, big, 5000), 5000);
    assert_int_equal(pipe_size_set(w, 4096), -EBUSY);
    assert_int_equal(take(r, out, 1000), 1000);
    assert_int_equal(pipe_size_set(w, 1), 4096);
    assert_int_equal(take(r, out, sizeof(out)), 4000);
    assert_memory_equal(out, big + 1000, 4000);
    assert_int_equal(pipe_size_set(w, PIPE_SIZE_MAX), PIPE_SIZE_MAX);
    assert_int_equal(pipe_size_set(w, PIPE_SIZE_MAX + 1), -EPERM);
    assert_int_equal(pipe_size_set(w, UINT32_MAX), -EINVAL);
}

static void all_pipes_have_a_limit(void **state)
{
    enum { MANY = PIPES_BYTES_MAX / PIPE_SIZE_MAX };
    static struct file *rs[MANY + 1], *ws[MANY + 1];
    unsigned n = 0;
    (void)state;
    for (; n <= MANY; n++) {
        assert_int_equal(pipe_new(0, &rs[n], &ws[n]), 0);
        if (pipe_size_set(ws[n], PIPE_SIZE_MAX) < 0)
            break;
    }
    assert_in_range(n, MANY - 2, MANY);
    struct file *r2, *w2;
    assert_int_equal(pipe_new(0, &r2, &w2), 0);
    assert_int_equal(pipe_size_set(w2, PIPE_SIZE_MAX), -EPERM);
    file_put(r2);
    file_put(w2);
    for (unsigned i = 0; i <= n; i++) {
        file_put(rs[i]);
        file_put(ws[i]);
    }
    assert_int_equal(pipe_new(0, &r2, &w2), 0);
    assert_int_equal(pipe_size_get(w2), PIPE_SIZE_DEFAULT);
    file_put(r2);
    file_put(w2);
}

static void eventfd_counts(void **state)
{
    struct file *e AUTO_PUT(file) = eventfd_new(2, 0);
    uint64_t v = 5;
    struct counter c;
    (void)state;
    assert_ready(e, IN_ | OUT_);
    assert_int_equal(put(e, &v, 8), 8);
    assert_int_equal(take(e, &v, 8), 8);
    assert_int_equal(v, 7);
    assert_int_equal(take(e, &v, 8), -EAGAIN);
    assert_int_equal(take(e, &v, 7), -EINVAL);
    counter_arm(&c, e, POLLIN);
    v = UINT64_MAX;
    assert_int_equal(put(e, &v, 8), -EINVAL);
    assert_int_equal(c.fired, 0);
    v = UINT64_MAX - 1;
    assert_int_equal(put(e, &v, 8), 8);
    assert_int_equal(c.fired, 1);
    waiter_disarm(&c.w);
    assert_ready(e, IN_);
    v = 1;
    assert_int_equal(put(e, &v, 8), -EAGAIN);
}

static void eventfd_semaphore(void **state)
{
    struct file *e AUTO_PUT(file) = eventfd_new(2, EFD_SEMAPHORE);
    uint64_t v = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(take(e, &v, 8), 8);
        assert_int_equal(v, 1);
    }
    assert_int_equal(take(e, &v, 8), -EAGAIN);
}

#define PIPE_TEST(fn) cmocka_unit_test_setup_teardown(fn, open_pipe, close_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PIPE_TEST(moves_bytes_in_order),
        PIPE_TEST(empty_and_full_say_eagain),
        PIPE_TEST(small_writes_are_whole),
        PIPE_TEST(pollout_means_room_for_pipe_buf),
        PIPE_TEST(closing_tells_the_other_side),
        PIPE_TEST(data_survives_the_writer),
        PIPE_TEST(no_reader_is_epipe),
        PIPE_TEST(resize_limits),
        cmocka_unit_test(all_pipes_have_a_limit),
        cmocka_unit_test(eventfd_counts),
        cmocka_unit_test(eventfd_semaphore),
    };
    return cmocka_run_group_tests(tests, files_setup, NULL);
}
