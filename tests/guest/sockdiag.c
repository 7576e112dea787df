/* SPDX-License-Identifier: Apache-2.0
 * sockdiag.c - NETLINK_SOCK_DIAG: lists of sockets. */
#include "inetutil.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

static char answer[65536];

static int diag_socket(void)
{
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    CHECK(s >= 0);
    return s;
}

static void diag_ask(int s, const void *q, size_t len)
{
    struct {
        struct nlmsghdr h;
        char q[64];
    } m = {.h = {.nlmsg_len = (uint32_t)(sizeof(m.h) + len),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                 .nlmsg_seq = 7}};
    memcpy(m.q, q, len);
    CHECK_EQ(send(s, &m, m.h.nlmsg_len, 0), m.h.nlmsg_len);
}

/* Calls fn for each message of the dump; its errno, or 0. */
static int diag_each(int s, void (*fn)(const struct nlmsghdr *h))
{
    for (;;) {
        ssize_t got = recv(s, answer, sizeof(answer), 0);
        CHECK(got > 0);
        unsigned len = (unsigned)got;
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
            CHECK_EQ(h->nlmsg_seq, 7);
            if (h->nlmsg_type == NLMSG_DONE) {
                int err;
                memcpy(&err, NLMSG_DATA(h), sizeof(err));
                return -err;
            }
            if (h->nlmsg_type == NLMSG_ERROR)
                return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
            CHECK_EQ(h->nlmsg_type, SOCK_DIAG_BY_FAMILY);
            fn(h);
        }
    }
}

static uint64_t inode_of(int fd)
{
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    return st.st_ino;
}

static struct inet_diag_msg g_inet;
static bool g_has_info;
static int g_found;
static uint64_t g_wanted;

static void find_inet(const struct nlmsghdr *h)
{
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    if (m->idiag_inode != (uint32_t)g_wanted)
        return;
    g_inet = *m;
    g_found++;
    g_has_info = false;
    int len = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
    for (struct rtattr *a = (void *)(uintptr_t)(m + 1); RTA_OK(a, len); a = RTA_NEXT(a, len))
        g_has_info |= a->rta_type == INET_DIAG_INFO;
}

static void inet_find(int family, int protocol, int fd, uint32_t states, int times)
{
    struct inet_diag_req_v2 q = {.sdiag_family = (uint8_t)family,
                                 .sdiag_protocol = (uint8_t)protocol,
                                 .idiag_ext = 1 << (INET_DIAG_INFO - 1),
                                 .idiag_states = states};
    int s = diag_socket();
    g_wanted = inode_of(fd);
    g_found = 0;
    diag_ask(s, &q, sizeof(q));
    CHECK_EQ(diag_each(s, find_inet), 0);
    CHECK_EQ(g_found, times);
    close(s);
}

static void diag_inet(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
    int u = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK(bind(l, (struct sockaddr *)&sa, len) == 0 && listen(l, 9) == 0);
    CHECK(getsockname(l, (struct sockaddr *)&sa, &len) == 0);
    CHECK(connect(c, (struct sockaddr *)&sa, len) == 0);
    guest_sleep_ms(20);
    inet_find(AF_INET, IPPROTO_TCP, l, ~0u, 1);
    CHECK_EQ(g_inet.idiag_state, TCP_LISTEN);
    CHECK_EQ(g_inet.idiag_rqueue, 1);
    CHECK_EQ(g_inet.idiag_wqueue, 9);
    CHECK_EQ(g_inet.id.idiag_sport, sa.sin_port);
    CHECK_EQ(g_inet.id.idiag_src[0], sa.sin_addr.s_addr);
    CHECK_EQ(g_inet.idiag_uid, geteuid());
    int a = accept(l, NULL, NULL);
    CHECK(send(c, "abc", 3, 0) == 3);
    guest_sleep_ms(20);
    inet_find(AF_INET, IPPROTO_TCP, a, 1u << TCP_ESTABLISHED, 1);
    CHECK_EQ(g_inet.idiag_rqueue, 3);
    CHECK_EQ(g_inet.id.idiag_sport, sa.sin_port);
    CHECK(g_has_info);
    inet_find(AF_INET, IPPROTO_TCP, a, 1u << TCP_LISTEN, 0);
    inet_find(AF_INET6, IPPROTO_TCP, a, ~0u, 0);
    CHECK(shutdown(c, SHUT_WR) == 0);
    guest_sleep_ms(150); /* it is acknowledged late */
    inet_find(AF_INET, IPPROTO_TCP, a, ~0u, 1);
    CHECK_EQ(g_inet.idiag_state, TCP_CLOSE_WAIT);
    inet_find(AF_INET, IPPROTO_TCP, c, ~0u, 1);
    CHECK_EQ(g_inet.idiag_state, TCP_FIN_WAIT2);
    sa.sin_port = 0;
    CHECK(bind(u, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    inet_find(AF_INET, IPPROTO_UDP, u, ~0u, 1);
    CHECK_EQ(g_inet.idiag_state, TCP_CLOSE);
    CHECK(!g_has_info);
}

static void count_inet(const struct nlmsghdr *h)
{
    (void)h;
    g_found++;
}

/* More than one piece. */
static void diag_many(void)
{
    enum { MANY = 600 };
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct inet_diag_req_v2 q = {
        .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_UDP, .idiag_states = ~0u};
    int s = diag_socket();

    for (int i = 0; i < MANY; i++)
        CHECK(bind(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&sa, sizeof(sa)) == 0);
    diag_ask(s, &q, sizeof(q));
    CHECK_EQ(diag_each(s, count_inet), 0);
    CHECK(g_found >= MANY);
}

static struct unix_diag_msg g_unix;
static char g_unix_name[200];
static uint32_t g_unix_peer, g_unix_rqlen[2];

static void find_unix(const struct nlmsghdr *h)
{
    const struct unix_diag_msg *m = NLMSG_DATA(h);
    if (m->udiag_ino != (uint32_t)g_wanted)
        return;
    g_found++;
    g_unix = *m;
    memset(g_unix_name, 0, sizeof(g_unix_name));
    int len = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
    for (struct rtattr *a = (void *)(uintptr_t)(m + 1); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        if (a->rta_type == UNIX_DIAG_NAME)
            memcpy(g_unix_name, RTA_DATA(a), RTA_PAYLOAD(a));
        if (a->rta_type == UNIX_DIAG_PEER)
            memcpy(&g_unix_peer, RTA_DATA(a), 4);
        if (a->rta_type == UNIX_DIAG_RQLEN)
            memcpy(g_unix_rqlen, RTA_DATA(a), 8);
    }
}

static void unix_find(int fd)
{
    struct unix_diag_req q = {.sdiag_family = AF_UNIX,
                              .udiag_states = ~0u,
                              .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN};
    int s = diag_socket();
    g_wanted = inode_of(fd);
    g_found = 0;
    diag_ask(s, &q, sizeof(q));
    int err = diag_each(s, find_unix);
    if (err == ENOENT)
        SKIP("no unix_diag");
    CHECK_EQ(err, 0);
    CHECK_EQ(g_found, 1);
    close(s);
}

static void diag_unix(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "\0some name"};
    int sv[2], l = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0 && write(sv[0], "abcd", 4) == 4);
    unix_find(sv[1]);
    CHECK_EQ(g_unix.udiag_type, SOCK_STREAM);
    CHECK_EQ(g_unix.udiag_state, TCP_ESTABLISHED);
    CHECK_EQ(g_unix_peer, inode_of(sv[0]));
    CHECK_EQ(g_unix_rqlen[0], 4);
    CHECK(bind(l, (struct sockaddr *)&sa, 12) == 0 && listen(l, 3) == 0);
    unix_find(l);
    CHECK_EQ(g_unix.udiag_state, TCP_LISTEN);
    CHECK_EQ(memcmp(g_unix_name, sa.sun_path, 10), 0);
    CHECK_EQ(g_unix_rqlen[0], 0);
    CHECK_EQ(g_unix_rqlen[1], 3);
}

static void diag_refused(void)
{
    struct inet_diag_req_v2 q = {.sdiag_family = 199, .sdiag_protocol = IPPROTO_TCP};
    int s = diag_socket();

    diag_ask(s, &q, sizeof(q));
    CHECK_EQ(diag_each(s, find_inet), EINVAL);
    q.sdiag_family = AF_INET;
    q.sdiag_protocol = 222;
    diag_ask(s, &q, sizeof(q));
    CHECK_EQ(diag_each(s, find_inet), ENOENT);
    q.sdiag_protocol = IPPROTO_TCP;
    diag_ask(s, &q, 3);
    CHECK_EQ(diag_each(s, find_inet), EINVAL);
}

/* Binding to an IPv6 address makes the socket one of IPv6 alone. */
static void v6only(void)
{
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int s = socket(AF_INET6, SOCK_DGRAM, 0), v = -1;
    socklen_t len = sizeof(v);

    if (s < 0 || bind(s, (struct sockaddr *)&sa, sizeof(sa)))
        SKIP("no IPv6");
    CHECK(getsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len) == 0);
    CHECK_EQ(v, 1);
}

static const struct guest_case cases[] = {
    {"diag_inet", diag_inet},       {"diag_many", diag_many}, {"diag_unix", diag_unix},
    {"diag_refused", diag_refused}, {"v6only", v6only},
};
GUEST_MAIN(cases)
