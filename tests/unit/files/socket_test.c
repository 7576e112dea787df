/* SPDX-License-Identifier: Apache-2.0
 * socket_test.c - AF_UNIX pairs: streams, messages, descriptors, closing. */
#include "files_test.h"

/* Sockets say POLLWRBAND too. */
#define ROOM (OUT_ | POLLWRBAND)

static struct file *a, *b;

static void pair(int type)
{
    assert_int_equal(socketpair_new(AF_UNIX, type, 0, &a, &b), 0);
}

static int close_pair(void **state)
{
    (void)state;
    file_put(a);
    file_put(b);
    a = b = NULL;
    return 0;
}

static ssize_t send_files(struct file *f, const void *data, size_t n, struct file *passed)
{
    struct socket_msg m = {0};
    struct uio u;
    uio_init_kernel(&u, (void *)(uintptr_t)data, n);
    m.data = &u;
    if (passed)
        m.files[m.file_count++] = passed;
    ssize_t r = socket_send(f, &m, 0);
    uio_fini(&u);
    return r;
}

static ssize_t receive(struct file *f, void *data, size_t n, struct socket_msg *m, int flags)
{
    struct uio u;
    uio_init_kernel(&u, data, n);
    m->data = &u;
    ssize_t r = socket_receive(f, m, flags);
    uio_fini(&u);
    return r;
}

static void stream_joins_and_splits(void **state)
{
    char buf[16];
    (void)state;
    pair(SOCK_STREAM);
    assert_ready(a, ROOM);
    assert_int_equal(put(a, "abc", 3), 3);
    assert_int_equal(put(a, "defg", 4), 4);
    assert_ready(b, IN_ | ROOM);
    assert_int_equal(take(b, buf, 2), 2);
    assert_int_equal(take(b, buf + 2, 14), 5);
    assert_memory_equal(buf, "abcdefg", 7);
    assert_int_equal(take(b, buf, 1), -EAGAIN);
}

static void messages_keep_their_bounds(void **state)
{
    char buf[16];
    struct socket_msg m;
    (void)state;
    pair(SOCK_SEQPACKET);
    assert_int_equal(put(a, "abc", 3), 3);
    assert_int_equal(put(a, "defg", 4), 4);
    assert_int_equal(receive(b, buf, 2, &m, 0), 2);
    assert_int_equal(m.flags & MSG_TRUNC, MSG_TRUNC);
    assert_int_equal(receive(b, buf, 2, &m, MSG_TRUNC | MSG_PEEK), 4);
    assert_int_equal(receive(b, buf, 16, &m, 0), 4);
    assert_int_equal(m.flags, 0);
    assert_memory_equal(buf, "defg", 4);
}

static void full_queue(void **state)
{
    static char big[SOCKET_BUFFER_DEFAULT * 2];
    struct counter c;
    ssize_t n;
    (void)state;
    pair(SOCK_STREAM);
    while ((n = put(a, big, sizeof(big))) > 0)
        ;
    assert_int_equal(n, -EAGAIN);
    assert_ready(a, 0);
    counter_arm(&c, a, POLLOUT);
    while ((n = take(b, big, 4096)) > 0 && !c.fired)
        ;
    assert_true(c.fired);
    assert_ready(a, ROOM);
    waiter_disarm(&c.w);
}

static void too_long_messages(void **state)
{
    static char big[SOCKET_BUFFER_DEFAULT + 1];
    (void)state;
    pair(SOCK_DGRAM);
    assert_int_equal(put(a, big, SOCKET_BUFFER_DEFAULT - 31), -EMSGSIZE);
    assert_int_equal(put(a, big, SOCKET_BUFFER_DEFAULT - 32), SOCKET_BUFFER_DEFAULT - 32);
    assert_int_equal(put(a, big, 0), -EAGAIN); /* empty ones count too */
}

static void closing(void **state)
{
    char buf[4];
    (void)state;
    pair(SOCK_STREAM);
    assert_int_equal(put(a, "x", 1), 1);
    file_put(a);
    a = NULL;
    assert_ready(b, IN_ | POLLRDHUP | POLLHUP | ROOM);
    assert_int_equal(take(b, buf, 4), 1);
    assert_int_equal(take(b, buf, 4), 0);
    assert_int_equal(put(b, "x", 1), -EPIPE);
}

static void closing_with_unread_data_resets(void **state)
{
    char buf[4];
    (void)state;
    pair(SOCK_STREAM);
    assert_int_equal(put(b, "x", 1), 1);
    file_put(a);
    a = NULL;
    assert_int_equal(take(b, buf, 4), -ECONNRESET);
    assert_int_equal(take(b, buf, 4), 0);
}

static void shutting_down(void **state)
{
    char buf[4];
    (void)state;
    pair(SOCK_STREAM);
    assert_int_equal(socket_shutdown(a, 3), -EINVAL);
    assert_int_equal(socket_shutdown(a, SHUT_WR), 0);
    assert_int_equal(put(a, "x", 1), -EPIPE);
    assert_int_equal(take(b, buf, 4), 0);
    assert_ready(b, IN_ | POLLRDHUP | ROOM);
    assert_int_equal(put(b, "x", 1), 1);
    assert_int_equal(take(a, buf, 4), 1);
}

static void descriptors_travel(void **state)
{
    struct file *r, *w;
    struct socket_msg m;
    char buf[16];
    (void)state;
    pair(SOCK_STREAM);
    assert_int_equal(pipe_new(0, &r, &w), 0);
    assert_int_equal(put(a, "1", 1), 1);
    assert_int_equal(send_files(a, "23", 2, w), 2); /* gives w away */
    assert_int_equal(put(a, "4", 1), 1);
    assert_int_equal(receive(b, buf, 16, &m, 0), 3); /* up to the end of the descriptor's bytes */
    assert_int_equal(m.file_count, 1);
    assert_ptr_equal(m.files[0], w);
    assert_ready(r, 0);
    file_put(m.files[0]);
    assert_ready(r, POLLHUP);
    file_put(r);
}

static void descriptors_in_flight_are_closed(void **state)
{
    struct file *r, *w;
    (void)state;
    pair(SOCK_DGRAM);
    assert_int_equal(pipe_new(0, &r, &w), 0);
    assert_int_equal(send_files(a, "x", 1, w), 1);
    assert_ready(r, 0);
    file_put(b);
    b = NULL;
    assert_ready(r, POLLHUP);
    assert_int_equal(put(a, "x", 1), -ECONNREFUSED);
    file_put(r);
}

/* SOCKET_INFLIGHT_MAX, at the limit and one past it. */
static void descriptors_in_flight_are_bounded(void **state)
{
    struct file *r, *w;
    char buf[4];
    struct socket_msg m;
    (void)state;
    pair(SOCK_STREAM);
    assert_int_equal(pipe_new(0, &r, &w), 0);
    for (unsigned i = 0; i < 16384; i++) /* SOCKET_INFLIGHT_MAX */
        assert_int_equal(send_files(a, "x", 1, file_get(w)), 1);
    assert_int_equal(send_files(a, "x", 1, file_get(w)), -ETOOMANYREFS);
    file_put(w); /* was not taken */
    assert_int_equal(receive(b, buf, 1, &m, 0), 1);
    assert_int_equal(m.file_count, 1);
    file_put(m.files[0]);
    assert_int_equal(send_files(a, "x", 1, file_get(w)), 1);
    file_put(w);
    assert_ready(r, 0);
    file_put(b);
    b = NULL;
    assert_ready(r, POLLHUP);
    file_put(r);
}

/* Both ends only in the queue of the other. */
static void cycles_are_collected(void **state)
{
    struct file *r, *w, *x, *y;
    (void)state;
    pair(SOCK_STREAM);
    assert_int_equal(pipe_new(0, &r, &w), 0);
    assert_int_equal(send_files(a, "p", 1, w), 1);
    assert_int_equal(send_files(a, "x", 1, a), 1); /* a, b: their last references */
    assert_int_equal(send_files(b, "x", 1, b), 1);
    a = b = NULL;
    assert_ready(r, 0);
    assert_int_equal(socketpair_new(AF_UNIX, SOCK_STREAM, 0, &x, &y), 0);
    file_put(x);
    assert_ready(r, POLLHUP);
    file_put(y);
    file_put(r);
}

static void options(void **state)
{
    int v = 1;
    uint32_t len = sizeof(v);
    (void)state;
    pair(SOCK_DGRAM);
    assert_int_equal(socket_option_get(a, SOL_SOCKET, SO_TYPE, &v, &len), 0);
    assert_int_equal(v, SOCK_DGRAM);
    v = 1 << 30;
    assert_int_equal(socket_option_set(a, SOL_SOCKET, SO_SNDBUF, &v, 4), 0);
    assert_int_equal(socket_option_get(a, SOL_SOCKET, SO_SNDBUF, &v, &len), 0);
    assert_int_equal(v, SOCKET_BUFFER_DEFAULT * 2);
    assert_int_equal(socket_option_set(a, SOL_SOCKET, 9999, &v, 4), -ENOPROTOOPT);
    assert_int_equal(socket_option_set(a, SOL_SOCKET, SO_SNDBUF, &v, 3), -EINVAL);
    v = 1;
    assert_int_equal(socket_option_set(a, SOL_SOCKET, SO_KEEPALIVE, &v, 4), 0);
    v = 0;
    assert_int_equal(socket_option_get(a, SOL_SOCKET, SO_KEEPALIVE, &v, &len), 0);
    assert_int_equal(v, 1);
}

static void wrong_kinds(void **state)
{
    (void)state;
    assert_int_equal(socketpair_new(AF_INET, SOCK_STREAM, 0, &a, &b), -EAFNOSUPPORT);
    assert_int_equal(socketpair_new(AF_UNIX, SOCK_RDM, 0, &a, &b), -ESOCKTNOSUPPORT);
    assert_int_equal(socketpair_new(AF_UNIX, SOCK_STREAM, 7, &a, &b), -EPROTONOSUPPORT);
    assert_int_equal(socketpair_new(AF_UNIX, SOCK_STREAM | 0x100, 0, &a, &b), -EINVAL);
    struct file *s AUTO_PUT(file) = socket_new(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(put(s, "x", 1), -ENOTCONN);
    assert_int_equal(file_readiness(s), ROOM | POLLHUP);
}

#define SOCKET_TEST(fn) cmocka_unit_test_teardown(fn, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCKET_TEST(stream_joins_and_splits),
        SOCKET_TEST(messages_keep_their_bounds),
        SOCKET_TEST(full_queue),
        SOCKET_TEST(too_long_messages),
        SOCKET_TEST(closing),
        SOCKET_TEST(closing_with_unread_data_resets),
        SOCKET_TEST(shutting_down),
        SOCKET_TEST(descriptors_travel),
        SOCKET_TEST(descriptors_in_flight_are_closed),
        SOCKET_TEST(descriptors_in_flight_are_bounded),
        SOCKET_TEST(cycles_are_collected),
        SOCKET_TEST(options),
        SOCKET_TEST(wrong_kinds),
    };
    return cmocka_run_group_tests(tests, files_setup, NULL);
}
