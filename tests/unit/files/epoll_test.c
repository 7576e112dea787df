/* SPDX-License-Identifier: Apache-2.0
 * epoll_test.c - triggers, one-shot, nesting, removal. */
#include "files_test.h"

#include <sys/epoll.h>

static struct file *ep, *ev;

static int open_both(void **state)
{
    (void)state;
    ep = epoll_new(0);
    ev = eventfd_new(0, 0);
    return IS_ERR(ep) || IS_ERR(ev);
}

static int close_both(void **state)
{
    (void)state;
    file_put(ev);
    file_put(ep);
    return 0;
}

static int ctl(struct file *e, int op, int fd, struct file *f, uint32_t events)
{
    struct epoll_event v = {.events = events, .data.u64 = 1000 + (uint64_t)fd};
    return epoll_control(e, op, fd, f, &v);
}

static void signal_event(struct file *f)
{
    uint64_t one = 1;
    assert_int_equal(put(f, &one, 8), 8);
}

static void drain(struct file *f)
{
    uint64_t v;
    assert_int_equal(take(f, &v, 8), 8);
}

/* Events of one collect; the first one's bits. */
static int collect(struct file *e, uint32_t *bits)
{
    struct epoll_event v[8];
    int n = epoll_collect(e, v, 8);
    *bits = n > 0 ? v[0].events : 0;
    return n;
}

static void level_triggered(void **state)
{
    uint32_t bits;
    (void)state;
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN), 0);
    assert_int_equal(collect(ep, &bits), 0);
    signal_event(ev);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(collect(ep, &bits), 1);
        assert_int_equal(bits, EPOLLIN);
        assert_ready(ep, IN_);
    }
    drain(ev);
    assert_int_equal(collect(ep, &bits), 0);
    assert_ready(ep, 0);
}

static void edge_triggered(void **state)
{
    uint32_t bits;
    (void)state;
    signal_event(ev);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN | EPOLLET), 0);
    assert_int_equal(collect(ep, &bits), 1); /* ready when added */
    assert_int_equal(collect(ep, &bits), 0);
    signal_event(ev); /* a new event, though it was ready all the time */
    assert_int_equal(collect(ep, &bits), 1);
    assert_int_equal(collect(ep, &bits), 0);
}

static void one_shot(void **state)
{
    uint32_t bits;
    (void)state;
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN | EPOLLONESHOT), 0);
    signal_event(ev);
    assert_int_equal(collect(ep, &bits), 1);
    signal_event(ev);
    assert_int_equal(collect(ep, &bits), 0);
    assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 3, ev, EPOLLIN | EPOLLONESHOT), 0);
    assert_int_equal(collect(ep, &bits), 1);
    assert_int_equal(collect(ep, &bits), 0);
}

static void control_errors(void **state)
{
    (void)state;
    assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 3, ev, EPOLLIN), -ENOENT);
    assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 3, ev, 0), -ENOENT);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN), 0);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN), -EEXIST);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 4, ev, EPOLLIN), 0); /* another number */
    assert_int_equal(ctl(ep, 99, 4, ev, EPOLLIN), -EINVAL);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, ep, EPOLLIN), -EINVAL);
    assert_int_equal(ctl(ev, EPOLL_CTL_ADD, 5, ep, EPOLLIN), -EINVAL);
    assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 3, ev, 0), 0);
    assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 3, ev, 0), -ENOENT);
}

static void closing_removes(void **state)
{
    uint32_t bits;
    int fd;
    uint64_t data;
    (void)state;
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN), 0);
    assert_true(epoll_item_get(ep, 0, &fd, &bits, &data));
    assert_int_equal(data, 1003);
    signal_event(ev);
    file_put(ev);
    ev = NULL;
    assert_int_equal(collect(ep, &bits), 0);
    assert_false(epoll_item_get(ep, 0, &fd, &bits, &data));
}

static void epoll_goes_first(void **state)
{
    (void)state;
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN), 0);
    file_put(ep);
    ep = NULL;
    signal_event(ev); /* its queue has no waiter any more */
}

static void many_items_are_found_again(void **state)
{
    enum { MANY = 500 };
    static struct epoll_event v[MANY];
    (void)state;
    signal_event(ev);
    for (int fd = 0; fd < MANY; fd++)
        assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, ev, EPOLLIN), 0);
    assert_int_equal(epoll_collect(ep, v, MANY), MANY);
    char seen[MANY] = {0};
    for (int i = 0; i < MANY; i++)
        seen[v[i].data.u64 - 1000]++;
    for (int i = 0; i < MANY; i++)
        assert_int_equal(seen[i], 1);
    for (int fd = 0; fd < MANY; fd++)
        assert_int_equal(ctl(ep, EPOLL_CTL_DEL, fd, ev, 0), 0);
    assert_int_equal(epoll_collect(ep, v, MANY), 0);
}

static void fair_order(void **state)
{
    struct file *other AUTO_PUT(file) = eventfd_new(1, 0);
    struct epoll_event v;
    (void)state;
    signal_event(ev);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 1, ev, EPOLLIN), 0);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 2, other, EPOLLIN), 0);
    for (int i = 0; i < 6; i++) { /* one at a time: both get their turn */
        assert_int_equal(epoll_collect(ep, &v, 1), 1);
        assert_int_equal(v.data.u64, i % 2 ? 1002 : 1001);
    }
}

static void nested(void **state)
{
    struct file *outer AUTO_PUT(file) = epoll_new(0);
    struct counter c;
    uint32_t bits;
    (void)state;
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, ev, EPOLLIN), 0);
    assert_int_equal(ctl(outer, EPOLL_CTL_ADD, 4, ep, EPOLLIN), 0);
    counter_arm(&c, outer, POLLIN);
    assert_int_equal(collect(outer, &bits), 0);
    signal_event(ev);
    assert_true(c.fired);
    waiter_disarm(&c.w);
    assert_int_equal(collect(outer, &bits), 1);
    drain(ev);
    assert_int_equal(collect(outer, &bits), 0);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, outer, EPOLLIN), -ELOOP);
}

static void nesting_has_a_limit(void **state)
{
    enum { DEEP = EPOLL_NEST_MAX + 1 };
    struct file *e[DEEP];
    (void)state;
    for (int i = 0; i < DEEP; i++)
        e[i] = epoll_new(0);
    for (int i = 1; i < DEEP; i++)
        assert_int_equal(ctl(e[i], EPOLL_CTL_ADD, i, e[i - 1], EPOLLIN),
                         i < EPOLL_NEST_MAX ? 0 : -ELOOP);
    /* from below: a chain that is already deep cannot be lengthened at its end either */
    assert_int_equal(ctl(e[0], EPOLL_CTL_ADD, 9, e[DEEP - 1], EPOLLIN), -ELOOP);
    for (int i = 0; i < DEEP; i++)
        file_put(e[i]);
}

static void hup_is_always_reported(void **state)
{
    struct file *r, *w;
    uint32_t bits;
    (void)state;
    assert_int_equal(pipe_new(0, &r, &w), 0);
    assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, r, 0), 0);
    assert_int_equal(put(w, "x", 1), 1);
    assert_int_equal(collect(ep, &bits), 0);
    file_put(w);
    assert_int_equal(collect(ep, &bits), 1);
    assert_int_equal(bits, EPOLLHUP);
    file_put(r);
}

#define EPOLL_TEST(fn) cmocka_unit_test_setup_teardown(fn, open_both, close_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EPOLL_TEST(level_triggered),
        EPOLL_TEST(edge_triggered),
        EPOLL_TEST(one_shot),
        EPOLL_TEST(control_errors),
        EPOLL_TEST(closing_removes),
        EPOLL_TEST(epoll_goes_first),
        EPOLL_TEST(many_items_are_found_again),
        EPOLL_TEST(fair_order),
        EPOLL_TEST(nested),
        EPOLL_TEST(nesting_has_a_limit),
        EPOLL_TEST(hup_is_always_reported),
    };
    return cmocka_run_group_tests(tests, files_setup, NULL);
}
