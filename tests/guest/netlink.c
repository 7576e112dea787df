/* SPDX-License-Identifier: Apache-2.0
 * netlink.c - NETLINK_ROUTE dumps and the interface ioctls, as far as they concern lo. */
#include "inetutil.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

static char answer[65536];

static int route_socket(void)
{
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CHECK(s >= 0);
    return s;
}

static void ask(int s, int type, int flags, int family)
{
    struct {
        struct nlmsghdr h;
        struct rtgenmsg g;
    } q = {.h = {.nlmsg_len = sizeof(q), .nlmsg_type = (unsigned short)type, .nlmsg_seq = 7},
           .g = {(unsigned char)family}};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    q.h.nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags);
    CHECK_EQ(sendto(s, &q, sizeof(q), 0, (struct sockaddr *)&kernel, sizeof(kernel)), sizeof(q));
}

/* Messages of a type in a dump, up to its end. */
static int count(int s, int type)
{
    int n = 0;
    for (;;) {
        ssize_t got = recv(s, answer, sizeof(answer), 0);
        CHECK(got > 0);
        unsigned len = (unsigned)got;
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
            CHECK_EQ(h->nlmsg_seq, 7);
            if (h->nlmsg_type == NLMSG_DONE)
                return n;
            CHECK_EQ(h->nlmsg_type, type);
            CHECK(h->nlmsg_flags & NLM_F_MULTI);
            n++;
        }
    }
}

static void dumps(void)
{
    int s = route_socket();
    ask(s, RTM_GETLINK, NLM_F_DUMP, AF_UNSPEC);
    CHECK(count(s, RTM_NEWLINK) >= 1);
    ask(s, RTM_GETADDR, NLM_F_DUMP, AF_INET);
    CHECK(count(s, RTM_NEWADDR) >= 1);
    ask(s, RTM_GETADDR, NLM_F_DUMP, AF_INET6);
    CHECK(count(s, RTM_NEWADDR) >= 1);
    ask(s, RTM_GETROUTE, NLM_F_DUMP, AF_INET);
    CHECK(count(s, RTM_NEWROUTE) >= 2);
    ask(s, RTM_GETROUTE, NLM_F_DUMP, AF_INET6);
    CHECK(count(s, RTM_NEWROUTE) >= 1);
}

static int error_of(int s)
{
    struct nlmsghdr *h = (void *)answer;
    CHECK(recv(s, answer, sizeof(answer), 0) >= (ssize_t)sizeof(*h));
    CHECK_EQ(h->nlmsg_type, NLMSG_ERROR);
    return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
}

static void errors(void)
{
    int s = route_socket();
    char c;
    struct ifinfomsg want = {.ifi_index = 9999};
    struct {
        struct nlmsghdr h;
        struct ifinfomsg m;
    } q = {.h = {.nlmsg_len = sizeof(q), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST},
           .m = want};
    CHECK(send(s, &q, sizeof(q), 0) == sizeof(q));
    CHECK_EQ(error_of(s), -ENODEV);
    q.m.ifi_index = 1;
    q.h.nlmsg_flags |= NLM_F_ACK;
    CHECK(send(s, &q, sizeof(q), 0) == sizeof(q));
    struct nlmsghdr *h = (void *)answer;
    CHECK(recv(s, answer, sizeof(answer), MSG_PEEK) > 0 && h->nlmsg_type == RTM_NEWLINK);
    ssize_t whole = recv(s, answer, 10, MSG_TRUNC);
    CHECK(whole > 100);
    CHECK_EQ(error_of(s), 0);
    CHECK_ERR(recv(s, &c, 1, MSG_DONTWAIT), EAGAIN);
    q.h.nlmsg_len = 4; /* shorter than its head: ignored */
    CHECK(send(s, &q, sizeof(q), 0) == sizeof(q));
    CHECK_ERR(recv(s, &c, 1, MSG_DONTWAIT), EAGAIN);
    CHECK_ERR(socket(AF_NETLINK, SOCK_STREAM, 0), ESOCKTNOSUPPORT);
    CHECK_ERR(socket(AF_NETLINK, SOCK_RAW, 31), EPROTONOSUPPORT);
}

static void names(void)
{
    int s = route_socket(), t = route_socket();
    struct sockaddr_nl a = {.nl_family = AF_NETLINK}, b;
    socklen_t len = sizeof(b);
    CHECK(bind(s, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(getsockname(s, (struct sockaddr *)&b, &len) == 0 && len == sizeof(b));
    CHECK_EQ(b.nl_pid, (unsigned)getpid());
    CHECK(bind(t, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(getsockname(t, (struct sockaddr *)&b, &len) == 0);
    CHECK(b.nl_pid && b.nl_pid != (unsigned)getpid());
    a.nl_pid = (unsigned)getpid();
    CHECK_ERR(bind(route_socket(), (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
    a.nl_family = AF_INET;
    CHECK_ERR(bind(route_socket(), (struct sockaddr *)&a, sizeof(a)), EINVAL);
    CHECK_EQ(poll_now(s), INET_OUT);
    int one = 1;
    CHECK(setsockopt(s, 270 /* SOL_NETLINK */, NETLINK_EXT_ACK, &one, sizeof(one)) == 0);
}

static void library(void)
{
    struct ifaddrs *list, *i;
    int seen = 0;
    char name[IF_NAMESIZE];
    CHECK(getifaddrs(&list) == 0);
    for (i = list; i; i = i->ifa_next) {
        if (strcmp(i->ifa_name, "lo") || !i->ifa_addr)
            continue;
        CHECK((i->ifa_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING)) ==
              (IFF_UP | IFF_LOOPBACK | IFF_RUNNING));
        if (i->ifa_addr->sa_family == AF_INET) {
            struct sockaddr_in *in = (void *)i->ifa_addr, *mask = (void *)i->ifa_netmask;
            CHECK(in->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
            CHECK(mask->sin_addr.s_addr == htonl(0xff000000));
            seen |= 1;
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 *in6 = (void *)i->ifa_addr;
            CHECK(IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
            seen |= 2;
        } else if (i->ifa_addr->sa_family == AF_PACKET) {
            seen |= 4;
        }
    }
    freeifaddrs(list);
    CHECK_EQ(seen, 7);
    CHECK_EQ(if_nametoindex("lo"), 1);
    CHECK(if_indextoname(1, name) && !strcmp(name, "lo"));
    CHECK_EQ(if_nametoindex("nosuch0"), 0);
}

static void ioctls(void)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0), un = socket(AF_UNIX, SOCK_STREAM, 0);
    struct ifreq r = {.ifr_name = "lo"}, list[16];
    struct ifconf conf = {.ifc_len = sizeof(list), .ifc_req = list};
    CHECK(ioctl(s, SIOCGIFFLAGS, &r) == 0);
    CHECK((r.ifr_flags & (IFF_UP | IFF_LOOPBACK)) == (IFF_UP | IFF_LOOPBACK));
    CHECK(ioctl(s, SIOCGIFADDR, &r) == 0);
    struct sockaddr_in *in = (void *)&r.ifr_addr;
    CHECK(in->sin_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(ioctl(s, SIOCGIFNETMASK, &r) == 0 && in->sin_addr.s_addr == htonl(0xff000000));
    CHECK(ioctl(s, SIOCGIFMTU, &r) == 0 && r.ifr_mtu == 65536);
    CHECK(ioctl(un, SIOCGIFINDEX, &r) == 0 && r.ifr_ifindex == 1);
    CHECK(ioctl(s, SIOCGIFHWADDR, &r) == 0 && r.ifr_hwaddr.sa_family == 772);
    CHECK(ioctl(s, SIOCGIFCONF, &conf) == 0 && conf.ifc_len >= (int)sizeof(list[0]));
    CHECK(!strcmp(list[0].ifr_name, "lo"));
    conf.ifc_req = NULL;
    CHECK(ioctl(s, SIOCGIFCONF, &conf) == 0 && conf.ifc_len >= (int)sizeof(list[0]));
    strcpy(r.ifr_name, "nosuch0");
    CHECK_ERR(ioctl(s, SIOCGIFFLAGS, &r), ENODEV);
    CHECK_ERR(ioctl(s, SIOCGIFFLAGS, (void *)8), EFAULT);
}

static bool table_has(const char *path, int port, int state)
{
    char line[512], want[16], st[8];
    FILE *f = fopen(path, "r");
    bool seen = false;
    CHECK(f);
    snprintf(want, sizeof(want), ":%04X ", port);
    snprintf(st, sizeof(st), " %02X ", state);
    while (fgets(line, sizeof(line), f))
        seen |= strstr(line, want) && strstr(line, st);
    fclose(f);
    return seen;
}

static void tables(void)
{
    int l = tcp_listener(3), u = socket(AF_INET, SOCK_DGRAM, 0), s[2];
    int l6 = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(sock_bind(u, v4("127.0.0.1", 0)) == 0);
    CHECK(listen(l6, 1) == 0);
    tcp_pair(s);
    CHECK(table_has("/proc/net/tcp", own_port(l), TCP_LISTEN));
    CHECK(table_has("/proc/net/tcp", own_port(s[0]), TCP_ESTABLISHED));
    CHECK(table_has("/proc/net/tcp6", own_port(l6), TCP_LISTEN));
    CHECK(table_has("/proc/net/udp", own_port(u), TCP_CLOSE));
    int port = own_port(l);
    close(l);
    CHECK(!table_has("/proc/net/tcp", port, TCP_LISTEN));
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
    int first, last;
    CHECK(f && fscanf(f, "%d %d", &first, &last) == 2);
    CHECK(own_port(s[0]) >= first && own_port(s[0]) <= last);
}

static const struct guest_case cases[] = {
    {"dumps", dumps},     {"errors", errors}, {"names", names},
    {"library", library}, {"ioctls", ioctls}, {"tables", tables},
};

GUEST_MAIN(cases)
