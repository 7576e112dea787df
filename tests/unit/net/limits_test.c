/* SPDX-License-Identifier: Apache-2.0
 * limits_test.c - loopback sockets without a guest: rings, and every limit at its value and beyond. */
#include "files_test.h"

#include <kernel/timer.h>
#include <net/net.h>

#include "netlink.h"
#include "tcp.h"

static struct call none;

static void no_kick(void *arg)
{
    (void)arg;
}

static int setup(void **state)
{
    files_setup(state);
    timer_base_bind(timer_base_new(no_kick, NULL));
    net_init();
    return 0;
}

static struct file *fresh(int family, int type)
{
    struct file *f = socket_new(family, type | SOCK_NONBLOCK, 0);
    assert_false(IS_ERR(f));
    return f;
}

static struct file *listener(int backlog)
{
    struct file *l = fresh(AF_INET, SOCK_STREAM);
    assert_int_equal(l->ops->socket->listen(l, backlog), 0);
    return l;
}

static sysret_t knock(struct file *f, struct file *l)
{
    struct sockaddr_storage ss = {0};
    int n = l->ops->socket->name(l, false, &ss);
    memset(&none, 0, sizeof(none));
    return f->ops->socket->connect(&none, f, (struct sockaddr *)&ss, (uint32_t)n);
}

static void pair(struct file **ret_a, struct file **ret_b)
{
    struct file *l = listener(1);
    *ret_a = fresh(AF_INET, SOCK_STREAM);
    assert_int_equal(knock(*ret_a, l), -EINPROGRESS);
    *ret_b = l->ops->socket->accept(l, SOCK_NONBLOCK);
    assert_false(IS_ERR(*ret_b));
    file_put(l);
}

/* All that goes in at once. */
static size_t fill(struct file *f)
{
    static char block[65536];
    size_t sum = 0;
    ssize_t n;
    while ((n = put(f, block, sizeof(block))) > 0)
        sum += (size_t)n;
    assert_int_equal(n, -EAGAIN);
    return sum;
}

static void bytes_keep_their_order(void **state)
{
    static char in[30000], out[30000];
    struct file *a, *b;
    unsigned next_in = 0, next_out = 0;
    (void)state;
    pair(&a, &b);
    for (int round = 0; round < 400; round++) { /* laps, and growing in the middle of one */
        size_t n = 1 + (size_t)round * 7919 % sizeof(in);
        for (size_t i = 0; i < n; i++)
            in[i] = (char)(next_in++ * 31 >> 3);
        assert_int_equal(put(a, in, n), n);
        ssize_t got = take(b, out, round % 3 ? sizeof(out) : n / 2 + 1);
        for (ssize_t i = 0; i < got; i++)
            assert_int_equal(out[i], (char)(next_out++ * 31 >> 3));
    }
    file_put(a);
    file_put(b);
    assert_int_equal(net_ring_bytes(), 0);
}

static void a_ring_has_its_limit(void **state)
{
    struct file *a, *b;
    int32_t size = 1 << 30;
    (void)state;
    pair(&a, &b);
    assert_int_equal(fill(a), TCP_SEND_CONNECTED + TCP_RECV_SIZE);
    assert_false(file_readiness(a) & POLLOUT);
    file_put(a);
    file_put(b);
    pair(&a, &b);
    size = 8000;
    assert_int_equal(socket_option_set(a, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
    assert_int_equal(socket_option_set(b, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    assert_int_equal(fill(a), 16000);
    file_put(a);
    file_put(b);
    assert_int_equal(net_ring_bytes(), 0);
}

#define PAIRS 80

static void memory_of_all_is_bounded(void **state)
{
    struct file *a[PAIRS], *b[PAIRS];
    (void)state;
    for (int i = 0; i < PAIRS; i++) {
        pair(&a[i], &b[i]);
        assert_true(fill(a[i]) >= TCP_RING_MIN); /* a little always fits */
    }
    assert_in_range(net_ring_bytes(), NET_BUFFER_BYTES_MAX - TCP_RING_MAX,
                    NET_BUFFER_BYTES_MAX + PAIRS * TCP_RING_MIN);
    assert_int_equal(fill(a[PAIRS - 1]), 0);
    char c[TCP_RING_MIN];
    assert_true(take(b[PAIRS - 1], c, sizeof(c)) == (ssize_t)sizeof(c));
    for (int i = 0; i < PAIRS - 1; i++) {
        file_put(a[i]);
        file_put(b[i]);
    }
    assert_true(fill(a[PAIRS - 1]) > TCP_RING_MIN); /* and grows when there is room again */
    file_put(a[PAIRS - 1]);
    file_put(b[PAIRS - 1]);
    assert_int_equal(net_ring_bytes(), 0);
}

static void backlog_is_bounded(void **state)
{
    static struct file *c[SOCKET_BACKLOG_MAX + 2];
    struct file *l = listener(INT32_MAX);
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
        c[i] = fresh(AF_INET, SOCK_STREAM);
        assert_int_equal(knock(c[i], l), -EINPROGRESS);
        bool fits = i <= SOCKET_BACKLOG_MAX;
        assert_int_equal(file_readiness(c[i]), fits ? OUT_ : 0);
    }
    file_put(l->ops->socket->accept(l, 0));
    assert_ready(c[SOCKET_BACKLOG_MAX + 1], OUT_); /* let in */
    file_put(l);
    for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
        file_put(c[i]);
}

static void a_waiting_client_may_go(void **state)
{
    struct file *l = listener(0), *a = fresh(AF_INET, SOCK_STREAM),
                *b = fresh(AF_INET, SOCK_STREAM);
    (void)state;
    assert_int_equal(knock(a, l), -EINPROGRESS);
    assert_int_equal(knock(b, l), -EINPROGRESS);
    assert_ready(b, 0);
    file_put(b);
    file_put(a);
    file_put(l);
    l = listener(0), a = fresh(AF_INET, SOCK_STREAM), b = fresh(AF_INET, SOCK_STREAM);
    assert_int_equal(knock(a, l), -EINPROGRESS);
    assert_int_equal(knock(b, l), -EINPROGRESS);
    file_put(l); /* the listener first */
    assert_true(file_readiness(b) & POLLERR);
    file_put(a);
    file_put(b);
}

static void former_peers_are_bounded(void **state)
{
    struct sockaddr gone = {.sa_family = AF_UNSPEC};
    struct file *l = listener(1), *a = fresh(AF_INET, SOCK_STREAM);
    (void)state;
    for (unsigned i = 0; i <= TCP_FORMER_MAX; i++) {
        assert_int_equal(knock(a, l), -EINPROGRESS);
        file_put(l->ops->socket->accept(l, 0));
        assert_int_equal(a->ops->socket->connect(&none, a, &gone, sizeof(gone)),
                         i < TCP_FORMER_MAX ? 0 : -ENOBUFS);
    }
    file_put(a);
    file_put(l);
}

static void datagrams_are_bounded(void **state)
{
    struct file *a = fresh(AF_INET, SOCK_DGRAM), *b = fresh(AF_INET, SOCK_DGRAM);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_storage ss = {0};
    char block[1000] = {0};
    int got = 0;
    (void)state;
    assert_int_equal(a->ops->socket->bind(NULL, a, (struct sockaddr *)&in, sizeof(in)), 0);
    int n = a->ops->socket->name(a, false, &ss);
    assert_int_equal(b->ops->socket->connect(&none, b, (struct sockaddr *)&ss, (uint32_t)n), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(put(b, block, sizeof(block)), sizeof(block));
    while (take(a, block, sizeof(block)) > 0)
        got++;
    /* one may begin while there is room, and is charged its overhead */
    assert_int_equal(got, UDP_RECV_SIZE / (sizeof(block) + 768) + 1);
    file_put(a);
    file_put(b);
}

static void netlink_is_bounded(void **state)
{
    static char big[NETLINK_REQUEST_MAX + 1];
    struct nlmsghdr h = {.nlmsg_len = 20, .nlmsg_type = RTM_GETLINK};
    char buf[NETLINK_ANSWER_MAX];
    struct file *f = fresh(AF_NETLINK, SOCK_RAW);
    (void)state;
    assert_int_equal(put(f, big, NETLINK_REQUEST_MAX), NETLINK_REQUEST_MAX);
    assert_int_equal(put(f, big, NETLINK_REQUEST_MAX + 1), -EMSGSIZE);
    h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    memcpy(big, &h, sizeof(h));
    unsigned asked = 0, answers = 0;
    while (!(file_readiness(f) & POLLERR) && asked++ < 10000)
        assert_int_equal(put(f, big, 20), 20);
    assert_in_range(asked, 100, 9999);
    assert_int_equal(take(f, buf, sizeof(buf)), -ENOBUFS);
    while (take(f, buf, sizeof(buf)) > 0)
        answers++;
    assert_in_range(answers, asked, 2 * asked);
    file_put(f);
}

/* Every length that lies, in a request. */
static void netlink_reads_no_further(void **state)
{
    struct file *f = fresh(AF_NETLINK, SOCK_RAW);
    char buf[NETLINK_ANSWER_MAX];
    (void)state;
    for (uint32_t type = 0; type < 120; type++) {
        for (uint32_t len = 0; len < 80; len++) {
            char q[64] = {0};
            struct nlmsghdr h = {.nlmsg_len = len, .nlmsg_type = (uint16_t)type};
            h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (len & 1 ? NLM_F_DUMP : 0));
            memset(q, (int)(len * 37 + type), sizeof(q));
            memcpy(q, &h, sizeof(h));
            (void)put(f, q, MIN(len, (uint32_t)sizeof(q)));
            while (take(f, buf, sizeof(buf)) > 0)
                ;
        }
    }
    file_put(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_keep_their_order),   cmocka_unit_test(a_ring_has_its_limit),
        cmocka_unit_test(memory_of_all_is_bounded), cmocka_unit_test(backlog_is_bounded),
        cmocka_unit_test(a_waiting_client_may_go),  cmocka_unit_test(former_peers_are_bounded),
        cmocka_unit_test(datagrams_are_bounded),    cmocka_unit_test(netlink_is_bounded),
        cmocka_unit_test(netlink_reads_no_further),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
