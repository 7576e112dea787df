/* SPDX-License-Identifier: Apache-2.0
 * route.c - what NETLINK_ROUTE answers: the interface lo, its addresses, its routes.
 *
 * Everything is constant, so a dump fits in one message. Nothing can be changed: -EPERM. Guests
 * give the request; it was copied and its lengths are checked before use. No locks. */
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>

#include <kernel/task.h>

#include "inet.h"
#include "netlink.h"

#define LO_NAME "lo"
#define LOWER_UP 0x10000u /* linux/if.h and net/if.h exclude each other */
#define TABLE_MAIN 254
#define ROUTE_LOCAL 0x80000000u /* RTCF_LOCAL */
#define TABLE_DEFAULT 253
#define TABLE_LOCAL 255

static void attr_u32(struct nl_out *o, uint16_t type, uint32_t v)
{
    nl_attr(o, type, &v, sizeof(v));
}

static void attr_u8(struct nl_out *o, uint16_t type, uint8_t v)
{
    nl_attr(o, type, &v, sizeof(v));
}

static void put_link(struct nl_out *o)
{
    static const uint8_t address[6];
    struct rtnl_link_stats64 stats = {0};
    struct ifinfomsg m = {.ifi_type = ARPHRD_LOOPBACK, .ifi_index = LO_INDEX};

    m.ifi_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | LOWER_UP;
    nl_begin(o, RTM_NEWLINK, &m, sizeof(m));
    nl_attr(o, IFLA_IFNAME, LO_NAME, sizeof(LO_NAME));
    attr_u32(o, IFLA_TXQLEN, 1000);
    attr_u8(o, IFLA_OPERSTATE, 0);
    attr_u8(o, IFLA_LINKMODE, 0);
    attr_u32(o, IFLA_MTU, LO_MTU);
    attr_u32(o, IFLA_MIN_MTU, 0);
    attr_u32(o, IFLA_MAX_MTU, 0);
    attr_u32(o, IFLA_GROUP, 0);
    attr_u32(o, IFLA_PROMISCUITY, 0);
    attr_u32(o, IFLA_NUM_TX_QUEUES, 1);
    attr_u32(o, IFLA_NUM_RX_QUEUES, 1);
    attr_u8(o, IFLA_CARRIER, 1);
    attr_u32(o, IFLA_CARRIER_CHANGES, 0);
    nl_attr(o, IFLA_QDISC, "noqueue", sizeof("noqueue"));
    nl_attr(o, IFLA_ADDRESS, address, sizeof(address));
    nl_attr(o, IFLA_BROADCAST, address, sizeof(address));
    nl_attr(o, IFLA_STATS64, &stats, sizeof(stats));
    nl_end(o);
}

static void put_address(struct nl_out *o, int family)
{
    struct ifaddrmsg m = {.ifa_family = (uint8_t)family, .ifa_index = LO_INDEX};
    struct in6_addr ip = ip_loopback(family == AF_INET);
    struct ifa_cacheinfo forever = {.ifa_prefered = UINT32_MAX, .ifa_valid = UINT32_MAX};
    const uint8_t *bytes = family == AF_INET ? &ip.s6_addr[12] : ip.s6_addr;
    size_t len = family == AF_INET ? 4 : 16;

    m.ifa_prefixlen = family == AF_INET ? 8 : 128;
    m.ifa_flags = IFA_F_PERMANENT;
    m.ifa_scope = RT_SCOPE_HOST;
    nl_begin(o, RTM_NEWADDR, &m, sizeof(m));
    nl_attr(o, IFA_ADDRESS, bytes, len);
    if (family == AF_INET) {
        nl_attr(o, IFA_LOCAL, bytes, len);
        nl_attr(o, IFA_LABEL, LO_NAME, sizeof(LO_NAME));
    }
    attr_u32(o, IFA_FLAGS, IFA_F_PERMANENT);
    nl_attr(o, IFA_CACHEINFO, &forever, sizeof(forever));
    nl_end(o);
}

struct route {
    uint8_t family, prefix, table, protocol, scope, type;
    uint8_t dst[16];
};
static const struct route g_routes[] = {
    {AF_INET, 8, TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_HOST, RTN_LOCAL, {127}},
    {AF_INET, 32, TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_HOST, RTN_LOCAL, {127, 0, 0, 1}},
    {AF_INET, 32, TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_LINK, RTN_BROADCAST, {127, 255, 255, 255}},
    {AF_INET6, 128, TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_UNIVERSE, RTN_LOCAL, {[15] = 1}},
};

/* @flags: of an answer to a question for one address. */
static void put_route(struct nl_out *o, const struct route *r, uint32_t flags)
{
    static const uint8_t source[4] = {127, 0, 0, 1};
    struct rtmsg m = {
        .rtm_family = r->family,
        .rtm_dst_len = r->prefix,
        .rtm_table = r->table,
        .rtm_protocol = r->protocol,
        .rtm_scope = r->scope,
        .rtm_type = r->type,
        .rtm_flags = flags,
    };

    nl_begin(o, RTM_NEWROUTE, &m, sizeof(m));
    attr_u32(o, RTA_TABLE, r->table);
    nl_attr(o, RTA_DST, r->dst, r->family == AF_INET ? 4 : 16);
    if (r->family == AF_INET)
        nl_attr(o, RTA_PREFSRC, source, sizeof(source));
    else
        attr_u32(o, RTA_PRIORITY, 0);
    attr_u32(o, RTA_OIF, LO_INDEX);
    if (r->family == AF_INET6)
        attr_u8(o, RTA_PREF, 0);
    if (flags) {
        struct rta_cacheinfo none = {0};
        attr_u32(o, RTA_UID, task_current() ? task_current()->cred->uid : 0);
        nl_attr(o, RTA_CACHEINFO, &none, sizeof(none));
    }
    nl_end(o);
}

/* An attribute of the request, behind a fixed part of @fixed bytes: its data, or NULL. */
static const void *attr_find(const void *body, size_t len, size_t fixed, uint16_t type,
                             size_t *ret_len)
{
    for (size_t at = NLMSG_ALIGN(fixed); at + sizeof(struct rtattr) <= len;) {
        struct rtattr a;
        memcpy(&a, (const char *)body + at, sizeof(a));
        if (a.rta_len < sizeof(a) || a.rta_len > len - at)
            return NULL;
        if (a.rta_type == type) {
            *ret_len = a.rta_len - sizeof(a);
            return (const char *)body + at + sizeof(a);
        }
        at += RTA_ALIGN(a.rta_len);
    }
    return NULL;
}

static int link_get(struct nl_out *o, const void *body, size_t len, bool dump)
{
    struct ifinfomsg m = {0};
    size_t n = 0;

    memcpy(&m, body, MIN(len, sizeof(m)));
    if (!dump && len < sizeof(m))
        return -EINVAL;
    if (!dump && m.ifi_index && m.ifi_index != LO_INDEX)
        return -ENODEV;
    if (!dump && !m.ifi_index) {
        const char *name = attr_find(body, len, sizeof(m), IFLA_IFNAME, &n);
        if (!name)
            return -EINVAL;
        if (n < sizeof(LO_NAME) || memcmp(name, LO_NAME, sizeof(LO_NAME)))
            return -ENODEV;
    }
    put_link(o);
    return 0;
}

static int address_get(struct nl_out *o, uint8_t family, bool dump)
{
    if (!dump)
        return -EOPNOTSUPP;
    if (family != AF_INET6)
        put_address(o, AF_INET);
    if (family != AF_INET)
        put_address(o, AF_INET6);
    return 0;
}

/* The route to one address, as `ip route get`. */
static int route_find(struct nl_out *o, const void *body, size_t len, uint8_t family)
{
    struct route r = {.family = family, .table = TABLE_MAIN, .type = RTN_LOCAL};
    struct in6_addr ip = {0};
    size_t n = 0, want = family == AF_INET ? 4 : 16;
    const void *dst = attr_find(body, len, sizeof(struct rtmsg), RTA_DST, &n);

    if (!dst || n < want)
        return -EINVAL;
    memcpy(r.dst, dst, want);
    if (family == AF_INET)
        ip.s6_addr32[2] = htonl(0xffff);
    memcpy(ip.s6_addr + (family == AF_INET ? 12 : 0), dst, want);
    if (!ip_is_local(&ip))
        return -ENETUNREACH;
    r.prefix = family == AF_INET ? 32 : 128;
    put_route(o, &r, RTM_F_CLONED | ROUTE_LOCAL);
    return 0;
}

static int route_get(struct nl_out *o, const void *body, size_t len, uint8_t family, bool dump)
{
    if (!dump)
        return family == AF_INET || family == AF_INET6 ? route_find(o, body, len, family)
                                                       : -EOPNOTSUPP;
    for (size_t i = 0; i < ARRAY_SIZE(g_routes); i++)
        if (!family || family == g_routes[i].family)
            put_route(o, &g_routes[i], 0);
    return 0;
}

/* Which tables are asked, in which order. */
static int rule_get(struct nl_out *o, uint8_t family, bool dump)
{
    static const struct {
        uint32_t priority;
        uint8_t table;
        bool v6;
    } rules[] = {{0, TABLE_LOCAL, true}, {32766, TABLE_MAIN, true}, {32767, TABLE_DEFAULT, false}};

    if (!dump)
        return -EOPNOTSUPP;
    for (unsigned v6 = 0; v6 < 2; v6++) {
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
            struct fib_rule_hdr h = {.family = v6 ? AF_INET6 : AF_INET, .table = rules[i].table};
            if ((family && family != h.family) || (v6 && !rules[i].v6))
                continue;
            h.action = FR_ACT_TO_TBL;
            nl_begin(o, RTM_NEWRULE, &h, sizeof(h));
            attr_u32(o, FRA_TABLE, h.table);
            attr_u32(o, FRA_SUPPRESS_PREFIXLEN, UINT32_MAX);
            attr_u8(o, FRA_PROTOCOL, RTPROT_KERNEL);
            if (rules[i].priority)
                attr_u32(o, FRA_PRIORITY, rules[i].priority);
            nl_end(o);
        }
    }
    return 0;
}

int route_answer(struct nl_out *o, const struct nlmsghdr *h, const void *body, size_t len,
                 bool *ret_dump)
{
    bool dump = (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    uint8_t family = len ? *(const uint8_t *)body : 0;
    int kind = (h->nlmsg_type - RTM_BASE) & 3; /* new, del, get, set */

    if (h->nlmsg_type < RTM_BASE || h->nlmsg_type > RTM_MAX)
        return -EOPNOTSUPP;
    if (kind != 2)
        return -EPERM;
    if (dump)
        o->flags = NLM_F_MULTI;
    *ret_dump = dump;
    switch (h->nlmsg_type) {
    case RTM_GETLINK:
        return link_get(o, body, len, dump);
    case RTM_GETADDR:
        return address_get(o, family, dump);
    case RTM_GETROUTE:
        return route_get(o, body, len, family, dump);
    case RTM_GETRULE:
        return rule_get(o, family, dump);
    case RTM_GETNEIGH:
    case RTM_GETQDISC:
        return dump ? 0 : -EOPNOTSUPP; /* lo has none */
    default:
        return -EOPNOTSUPP;
    }
}
