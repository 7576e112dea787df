/* SPDX-License-Identifier: Apache-2.0
 * sockopts.c - every socket option there is a claim about: what it is at first, what it becomes, what is refused.
 *
 * "print STATE COUNT" writes a transcript that has to be the same natively and inside (e2e/transcript.sh): for each
 * kind of socket and option what reads with several lengths, what setting each of some values and lengths gives, and
 * what reads then. STATE: 1 new, 2 connected, 3 listening or bound; 4: what each flag of send and recv does. All inet options that are numbers come from the
 * table itself, so none can be added without being compared. Left out are values that are the machine's
 * (net.core.*mem_max, interfaces) and those that README of the table's folder says are refused. */
#include "inetutil.h"

#include <netinet/udp.h>
#include <sys/un.h>

#define STATE_CONNECTED 2
#define STATE_LISTENING 3
#define STATE_FLAGS 4
#define PAST_OURS 100000 /* more than a machine of which nothing is known takes, or less */

struct option {
    int level, name;
};
static const struct option g_options[] = {
#define OPTION(id, level, name, ...) {level, name},
#include "options.def"
#undef OPTION
    {SOL_SOCKET, SO_TYPE},
    {SOL_SOCKET, SO_DOMAIN},
    {SOL_SOCKET, SO_PROTOCOL},
    {SOL_SOCKET, SO_ACCEPTCONN},
    {SOL_SOCKET, SO_ERROR},
    {SOL_SOCKET, SO_SNDBUF},
    {SOL_SOCKET, SO_RCVBUF},
    {SOL_SOCKET, SO_LINGER},
    {SOL_SOCKET, SO_RCVTIMEO},
    {SOL_SOCKET, SO_SNDTIMEO},
    {SOL_SOCKET, SO_PEEK_OFF},
    {SOL_SOCKET, SO_PASSCRED},
    {SOL_SOCKET, SO_PEERSEC},
    {SOL_SOCKET, 999},
    {IPPROTO_IP, IP_MULTICAST_IF},
    {IPPROTO_IP, IP_MTU},
    {IPPROTO_IP, 199},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF},
    {IPPROTO_IPV6, IPV6_MTU},
    {IPPROTO_IPV6, 199},
    {IPPROTO_TCP, 199},
    {IPPROTO_UDP, 199},
    {77, 1},
};
static const struct kind {
    const char *name;
    int domain, type;
} g_kinds[] = {
    {"tcp", AF_INET, SOCK_STREAM},       {"udp", AF_INET, SOCK_DGRAM},
    {"tcp6", AF_INET6, SOCK_STREAM},     {"udp6", AF_INET6, SOCK_DGRAM},
    {"stream", AF_UNIX, SOCK_STREAM},    {"dgram", AF_UNIX, SOCK_DGRAM},
    {"packet", AF_UNIX, SOCK_SEQPACKET},
};
static const int g_values[] = {0,     1,     -1,    2,         6,         7,        88,
                               127,   128,   255,   256,       3000,      4097,     32767,
                               32768, 65535, 65536, PAST_OURS, INT32_MAX, INT32_MIN};

/* --- which are compared --- */

/* Not on AF_UNIX: there most read 0 and are refused inside. */
static bool known(const struct kind *k, const struct option *o)
{
    static const int of_unix[] = {
        SO_DEBUG,     SO_REUSEADDR, SO_DONTROUTE,   SO_BROADCAST, SO_KEEPALIVE,
        SO_OOBINLINE, SO_TIMESTAMP, SO_TIMESTAMPNS, SO_PRIORITY,  SO_RCVLOWAT,
        SO_SNDBUF,    SO_RCVBUF,    SO_LINGER,      SO_RCVTIMEO,  SO_SNDTIMEO,
        SO_PASSCRED,  SO_PEEK_OFF,  SO_MARK,        SO_TYPE,      SO_DOMAIN,
        SO_PROTOCOL,  SO_ERROR,     SO_ACCEPTCONN,  SO_REUSEPORT, 999};
    if (o->level != SOL_SOCKET)
        return true;
    if (k->domain != AF_UNIX) /* newer kernels have them here too */
        return o->name != SO_PASSCRED && (o->name != SO_PEEK_OFF || k->type != SOCK_STREAM);
    for (size_t i = 0; i < sizeof(of_unix) / sizeof(of_unix[0]); i++)
        if (of_unix[i] == o->name)
            return true;
    return false;
}

/* Of a connection these depend on the kernel's version and on the machine. */
static bool of_machine(const struct option *o)
{
    return (o->level == SOL_SOCKET && (o->name == SO_INCOMING_CPU || o->name == SO_SNDBUF)) ||
           (o->level == IPPROTO_TCP && (o->name == TCP_MAXSEG || o->name == TCP_WINDOW_CLAMP));
}

static bool comparable(const struct option *o, int value)
{
    if (o->level == SOL_SOCKET) {
        bool size = o->name == SO_SNDBUF || o->name == SO_RCVBUF || o->name == SO_RCVLOWAT;
        if (o->name == SO_TIMESTAMPING) /* of receiving, with nothing newer */
            return !(value & ~(8 | 16));
        return !size || (value >= 0 && value <= PAST_OURS);
    }
    if ((o->level == IPPROTO_UDP && o->name == UDP_CORK) ||
        (o->level == IPPROTO_IPV6 && o->name == IPV6_MTU))
        return false;
    if (o->level == IPPROTO_IPV6 && o->name == IPV6_MULTICAST_IF)
        return value >= -1 && value < 2;
    return true;
}

/* --- sockets --- */

static void names(const struct kind *k, struct sockaddr_storage *a, socklen_t *len)
{
    memset(a, 0, sizeof(*a));
    a->ss_family = (sa_family_t)k->domain;
    *len = k->domain == AF_INET    ? sizeof(struct sockaddr_in)
           : k->domain == AF_INET6 ? sizeof(struct sockaddr_in6)
                                   : sizeof(sa_family_t);
    if (k->domain == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_addr = in6addr_loopback;
    if (k->domain == AF_INET)
        ((struct sockaddr_in *)a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

/* In this state. ret[1], ret[2]: others that keep it there, or -1. */
static void made(const struct kind *k, int state, int ret[3])
{
    struct sockaddr_storage a;
    socklen_t len;
    ret[0] = socket(k->domain, k->type, 0);
    ret[1] = ret[2] = -1;
    CHECK(ret[0] >= 0);
    if (state != STATE_CONNECTED && state != STATE_LISTENING)
        return;
    int other = state == STATE_LISTENING ? ret[0] : (ret[1] = socket(k->domain, k->type, 0));
    names(k, &a, &len);
    CHECK(bind(other, (struct sockaddr *)&a, len) == 0);
    CHECK(k->type == SOCK_DGRAM || listen(other, 3) == 0);
    if (state == STATE_LISTENING)
        return;
    len = sizeof(a);
    CHECK(getsockname(other, (struct sockaddr *)&a, &len) == 0);
    CHECK(connect(ret[0], (struct sockaddr *)&a, len) == 0);
    if (k->type != SOCK_DGRAM)
        CHECK((ret[2] = accept(other, NULL, NULL)) >= 0);
}

/* --- the transcript --- */

static const char *result(int r)
{
    return r < 0 ? strerrorname_np(errno) : "ok";
}

static void show(int s, const struct option *o, socklen_t len)
{
    unsigned char buf[64];
    memset(buf, 0xee, sizeof(buf));
    socklen_t n = len;
    int r = getsockopt(s, o->level, o->name, buf, &n);
    printf(" get[%u]=%s", len, result(r));
    for (socklen_t i = 0; r == 0 && i < n && i < sizeof(buf); i++)
        printf("%s%02x", i ? "" : ":", buf[i]);
}

static void compare(const struct kind *k, int state, const struct option *o)
{
    static const char zeros[16];
    static const socklen_t lengths[] = {4, 1, 0, 64};
    int s[3];
    made(k, state, s);
    printf("%s %d %d:", k->name, o->level, o->name);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        show(s[0], o, lengths[i]);
    for (size_t i = 0; i < sizeof(g_values) / sizeof(g_values[0]); i++) {
        if (!comparable(o, g_values[i]))
            continue;
        printf(" set(%d)=%s", g_values[i],
               result(setsockopt(s[0], o->level, o->name, &g_values[i], 4)));
        show(s[0], o, 4);
    }
    for (socklen_t n = 0; n <= 16 && comparable(o, 0); n += n < 4 ? 1 : 4)
        printf(" set[%u]=%s", n, result(setsockopt(s[0], o->level, o->name, zeros, n)));
    printf("\n");
    for (int i = 0; i < 3; i++)
        if (s[i] >= 0)
            close(s[i]);
}

static void transcript(int state)
{
    for (size_t k = 0; k < sizeof(g_kinds) / sizeof(g_kinds[0]); k++)
        for (size_t i = 0; i < sizeof(g_options) / sizeof(g_options[0]); i++)
            if (known(&g_kinds[k], &g_options[i]) &&
                (state != STATE_CONNECTED || !of_machine(&g_options[i])))
                compare(&g_kinds[k], state, &g_options[i]);
}

/* --- flags of send and recv --- */

/* Those of the kernel's own and of newer ones are left out, and MSG_MORE of datagrams, which is refused. */
static bool flag_comparable(const struct kind *k, unsigned flag)
{
    return flag != 0x20000 && flag != 0x40000 && flag != 0x8000000 &&
           (flag != MSG_MORE || k->domain == AF_UNIX || k->type == SOCK_STREAM);
}

static void flag_show(const char *what, long r)
{
    if (r < 0)
        printf(" %s=%s", what, strerrorname_np(errno));
    else
        printf(" %s=%ld", what, r);
}

static void flag_compare(const struct kind *k, unsigned flag)
{
    char buf[9];
    int s[3];
    made(k, STATE_CONNECTED, s);
    if (k->domain == AF_UNIX) {
        close(s[0]);
        close(s[1]);
        CHECK(socketpair(AF_UNIX, k->type, 0, s) == 0);
    }
    int to = s[2] >= 0 && k->domain != AF_UNIX ? s[2] : s[1];
    nonblocking(s[0]);
    nonblocking(to);
    printf("%s flag %x:", k->name, flag);
    flag_show("send", send(s[0], "abcd", 4, (int)flag | MSG_NOSIGNAL));
    flag_show("send", send(s[0], "efgh", 4, MSG_NOSIGNAL));
    usleep(1000);
    flag_show("recv", recv(to, buf, 2, (int)flag));
    flag_show("recv", recv(to, buf, 9, (int)flag));
    flag_show("recv", recv(to, buf, 9, 0));
    flag_show("recv", recv(to, buf, 9, 0));
    printf("\n");
    for (int i = 0; i < 3; i++)
        if (s[i] >= 0)
            close(s[i]);
}

static void flags_transcript(void)
{
    for (size_t k = 0; k < sizeof(g_kinds) / sizeof(g_kinds[0]); k++)
        for (unsigned flag = 1; flag; flag <<= 1)
            if (flag_comparable(&g_kinds[k], flag))
                flag_compare(&g_kinds[k], flag);
}

/* --- what holds everywhere --- */

static void pointers(void)
{
    for (size_t k = 0; k < sizeof(g_kinds) / sizeof(g_kinds[0]); k++)
        for (size_t i = 0; i < sizeof(g_options) / sizeof(g_options[0]); i++) {
            const struct option *o = &g_options[i];
            char byte;
            int s[3];
            if (!known(&g_kinds[k], o))
                continue;
            made(&g_kinds[k], 1, s);
            CHECK(getsockopt(s[0], o->level, o->name, &byte, (void *)8) < 0);
            CHECK_ERR(setsockopt(s[0], o->level, o->name, &byte, -1), EINVAL);
            CHECK(setsockopt(s[0], o->level, o->name, (void *)8, 4) < 0);
            close(s[0]);
        }
}

static const struct guest_case cases[] = {
    {"pointers", pointers},
};

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "print")) {
        if (atoi(argv[2]) == STATE_FLAGS)
            flags_transcript();
        else
            transcript(atoi(argv[2]));
        return 0;
    }
    return guest_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
