/* SPDX-License-Identifier: Apache-2.0
 * inet_addr.c - addresses: decoding, which ones are here, which sockets share one.
 *
 * A socket covers some IPv4 addresses (none, one, all) and some IPv6 ones; two conflict when they
 * share any. AF_INET covers IPv4 only; AF_INET6 at :: covers both unless IPV6_V6ONLY.
 * Guests give the bytes; they were copied before. No locks. */
#include <string.h>

#include "inet.h"

#define LO_BROADCAST 0x7fffffffu /* 127.255.255.255 */

bool ip_equal(const struct in6_addr *a, const struct in6_addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool ip_is_any(const struct in6_addr *a)
{
    return IN6_IS_ADDR_UNSPECIFIED(a) || (ip_is_v4(a) && a->s6_addr32[3] == 0);
}

bool ip_is_local(const struct in6_addr *a)
{
    return ip_is_v4(a) ? a->s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(a);
}

static struct in6_addr ip_mapped(uint32_t v4_be)
{
    struct in6_addr a = {0};

    a.s6_addr32[2] = htonl(0xffff);
    a.s6_addr32[3] = v4_be;
    return a;
}

struct in6_addr ip_loopback(bool v4)
{
    return v4 ? ip_mapped(htonl(INADDR_LOOPBACK)) : in6addr_loopback;
}

struct in6_addr ip_any(int domain)
{
    return domain == AF_INET ? ip_mapped(0) : (struct in6_addr){0};
}

int inet_name_in(int domain, const struct sockaddr *addr, uint32_t len, bool bind,
                 struct inet_name *ret)
{
    if (domain == AF_INET) {
        struct sockaddr_in in;
        if (len < sizeof(in))
            return -EINVAL;
        memcpy(&in, addr, sizeof(in));
        bool unspec = bind && in.sin_family == AF_UNSPEC && !in.sin_addr.s_addr;
        if (in.sin_family != AF_INET && !unspec)
            return -EAFNOSUPPORT;
        ret->ip = ip_mapped(in.sin_addr.s_addr);
        ret->port = ntohs(in.sin_port);
        return 0;
    }
    struct sockaddr_in6 in6;
    if (len < offsetof(struct sockaddr_in6, sin6_scope_id)) /* as of RFC 2133 */
        return -EINVAL;
    memcpy(&in6, addr, offsetof(struct sockaddr_in6, sin6_scope_id));
    if (in6.sin6_family != AF_INET6)
        return -EAFNOSUPPORT;
    ret->ip = in6.sin6_addr;
    ret->port = ntohs(in6.sin6_port);
    return 0;
}

uint32_t inet_name_out(int domain, const struct inet_name *n, struct sockaddr_storage *ret)
{
    if (domain == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(n->port)};
        in.sin_addr.s_addr = ip_is_v4(&n->ip) ? n->ip.s6_addr32[3] : 0;
        memcpy(ret, &in, sizeof(in));
        return sizeof(in);
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(n->port)};
    in6.sin6_addr = n->ip;
    memcpy(ret, &in6, sizeof(in6));
    return sizeof(in6);
}

int inet_destination(const struct inet_sock *s, struct inet_name *n)
{
    bool v4 = ip_is_v4(&n->ip);

    if (s->base.domain == AF_INET6) {
        bool only = inet_opt(s, OPT_V6ONLY);
        bool bound_v4 = ip_is_v4(&s->local.ip);
        if (ip_is_any(&n->ip) && !v4)
            v4 = bound_v4;
        else if (!v4 && bound_v4)
            return -EAFNOSUPPORT;
        else if (v4 && (only || (s->ip_fixed && !bound_v4)))
            return -ENETUNREACH;
    }
    if (ip_is_any(&n->ip))
        n->ip = ip_loopback(v4);
    if (v4 && n->ip.s6_addr32[3] == htonl(LO_BROADCAST) && !inet_opt(s, OPT_BROADCAST))
        return -EACCES;
    return ip_is_local(&n->ip) ? 0 : -ENETUNREACH;
}

struct in6_addr inet_source(const struct inet_name *to)
{
    return ip_loopback(ip_is_v4(&to->ip));
}

/* Which addresses of one version @s covers: NULL none, *ret_all. */
static bool covers(const struct inet_sock *s, bool v4, bool *ret_all)
{
    bool own_v4 = ip_is_v4(&s->local.ip), any = ip_is_any(&s->local.ip);

    *ret_all = any;
    if (s->base.domain == AF_INET)
        return v4;
    if (any && !own_v4)
        return !v4 || !inet_opt(s, OPT_V6ONLY);
    return own_v4 == v4;
}

bool inet_conflict(const struct inet_sock *a, const struct inet_sock *b)
{
    for (int v4 = 0; v4 < 2; v4++) {
        bool all_a, all_b;
        if (covers(a, v4, &all_a) && covers(b, v4, &all_b) &&
            (all_a || all_b || ip_equal(&a->local.ip, &b->local.ip)))
            return true;
    }
    return false;
}

unsigned inet_match(const struct inet_sock *s, const struct in6_addr *ip)
{
    bool v4 = ip_is_v4(ip), all;

    if (!covers(s, v4, &all))
        return 0;
    if (all)
        return s->base.domain == AF_INET || !v4 ? 2 : 1;
    return ip_equal(&s->local.ip, ip) ? 3 : 0;
}
