/* SPDX-License-Identifier: Apache-2.0
 * proc_net.c - /proc/net/tcp, udp, raw and the like, unix, sockstat, snmp.
 *
 * The sockets are copied out of a port table first, then written as text without its lock. What
 * fits is what was there when they were counted. Readers are guests; they give nothing. */
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <net/net.h>

#include "tcp.h"

#define LINE_MAX 320u
#define NUMBERS_MAX 1024u
#define SPARE 64u /* sockets that may come between counting and copying */

struct row {
    struct inet_name local, remote;
    unsigned state;
    uint32_t tx, rx, uid;
    uint64_t ino;
};

struct collection {
    int domain;
    bool tcp;
    size_t count, size;
    struct row *rows; /* NULL: count only */
};

static void collect(struct inet_sock *s, void *arg)
{
    struct collection *c = arg;

    if (s->base.domain != c->domain)
        return;
    if (c->rows && c->count < c->size) {
        struct row *r = &c->rows[c->count];
        r->local = s->local;
        r->remote = s->remote;
        r->uid = s->uid;
        r->ino = s->ino;
        spin_lock(&s->lock);
        if (c->tcp)
            tcp_show(s, &r->state, &r->tx, &r->rx);
        else
            udp_show(s, &r->state, &r->tx, &r->rx);
        spin_unlock(&s->lock);
    }
    if (!c->rows || c->count < c->size)
        c->count++;
}

static int name_format(char *buf, size_t size, int domain, const struct inet_name *n)
{
    const uint32_t *w = n->ip.s6_addr32;

    if (domain == AF_INET)
        return snprintf(buf, size, "%08X:%04X", n->port || ip_is_v4(&n->ip) ? w[3] : 0, n->port);
    return snprintf(buf, size, "%08X%08X%08X%08X:%04X", w[0], w[1], w[2], w[3], n->port);
}

static int row_format(char *buf, size_t at, const struct collection *c, const struct row *r)
{
    char local[48], remote[48];

    name_format(local, sizeof(local), c->domain, &r->local);
    name_format(remote, sizeof(remote), c->domain, &r->remote);
    if (c->tcp)
        return snprintf(buf, LINE_MAX,
                        "%4zu: %s %s %02X %08X:%08X 00:00000000 00000000 %5u        0 %lu 1 "
                        "0000000000000000 %s\n",
                        at, local, remote, r->state, r->tx, r->rx, r->uid, (unsigned long)r->ino,
                        "100 0 0 10 0");
    return snprintf(buf, LINE_MAX,
                    "%5zu: %s %s %02X %08X:%08X 00:00000000 00000000 %5u        0 %lu 2 "
                    "0000000000000000 0\n",
                    at, local, remote, r->state, r->tx, r->rx, r->uid, (unsigned long)r->ino);
}

#define HEAD_V4 \
    "local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
#define HEAD_V6                                                                             \
    "  sl  local_address                         remote_address                        st " \
    "tx_queue "                                                                             \
    "rx_queue tr tm->when retrnsmt   uid  timeout inode"
#define HEAD_DATAGRAM " ref pointer drops"

/* Linux pads these lines with blanks. */
static unsigned line_width(const struct collection *c)
{
    return c->domain == AF_INET6 ? 0 : c->tcp ? 149 : 127;
}

static size_t line_end(char *line, int n, unsigned width)
{
    size_t len = MIN((size_t)MAX(n, 0), (size_t)LINE_MAX - 1);

    if (len && line[len - 1] == '\n')
        len--;
    while (len < width)
        line[len++] = ' ';
    line[len++] = '\n';
    return len;
}

static size_t head_format(char *buf, const struct collection *c)
{
    int n = c->domain == AF_INET6
                ? snprintf(buf, LINE_MAX, HEAD_V6 "%s", c->tcp ? "" : HEAD_DATAGRAM)
                : snprintf(buf, LINE_MAX, "%s  sl  " HEAD_V4 "%s", c->tcp ? "" : " ",
                           c->tcp ? "" : HEAD_DATAGRAM);
    return line_end(buf, n, line_width(c));
}

/* tcp, tcp6, udp, udp6. */
static int inet_show(const char *name, char **ret_text, size_t *ret_len)
{
    struct collection c = {
        .domain = strchr(name, '6') ? AF_INET6 : AF_INET,
        .tcp = name[0] == 't',
    };
    struct port_table *t = c.tcp ? &g_tcp_ports : &g_udp_ports;

    port_each(t, collect, &c);
    c.size = c.count + SPARE;
    c.count = 0;
    c.rows = calloc(c.size, sizeof(*c.rows));
    char *text = malloc((c.size + 1) * LINE_MAX);
    if (!c.rows || !text) {
        free(c.rows);
        free(text);
        return -ENOMEM;
    }
    port_each(t, collect, &c);
    size_t len = head_format(text, &c);
    for (size_t i = 0; i < c.count; i++)
        len += line_end(text + len, row_format(text + len, i, &c, &c.rows[i]), line_width(&c));
    free(c.rows);
    *ret_text = text;
    *ret_len = len;
    return 0;
}

/* --- unix --- */

#define UNIX_BATCH 16u
#define ACCEPTS 0x10000u /* __SO_ACCEPTCON */

static int unix_row(char *buf, const struct unix_info *u)
{
    unsigned state = u->listening || !u->connected ? 1 : 3; /* SS_UNCONNECTED, SS_CONNECTED */
    char path[sizeof(u->name.sun_path) + 2] = "";
    size_t len = u->name_len > offsetof(struct sockaddr_un, sun_path)
                     ? u->name_len - offsetof(struct sockaddr_un, sun_path)
                     : 0;

    if (len)
        memcpy(path + 1, u->name.sun_path, MIN(len, sizeof(path) - 2));
    for (size_t i = 1; i <= len && i < sizeof(path) - 1; i++)
        if (!path[i] && (i < len || !u->file_ino))
            path[i] = '@'; /* abstract names may hold zeros */
    if (len)
        path[0] = ' ';
    return snprintf(buf, LINE_MAX, "%016lx: %08X %08X %08X %04X %02X %5lu%s\n", (unsigned long)0,
                    u->references, 0u, u->listening ? ACCEPTS : 0u, (unsigned)u->type, state,
                    (unsigned long)u->ino, path);
}

static int unix_show(char **ret_text, size_t *ret_len)
{
    struct unix_info some[UNIX_BATCH];
    uint64_t after = 0;
    size_t len, size = 0;
    char *text = NULL;
    unsigned n;

    len = 0;
    do {
        n = unix_infos(after, some, UNIX_BATCH);
        if (size < len + (n + 1) * LINE_MAX) {
            size = 2 * size + (UNIX_BATCH + 1) * LINE_MAX;
            char *more = realloc(text, size);
            if (!more) {
                free(text);
                return -ENOMEM;
            }
            text = more;
        }
        if (!after)
            len = (size_t)snprintf(text, LINE_MAX,
                                   "Num       RefCount Protocol Flags    Type St Inode Path\n");
        for (unsigned i = 0; i < n; i++) {
            len += MIN((size_t)unix_row(text + len, &some[i]), (size_t)LINE_MAX - 1);
            after = some[i].cookie;
        }
    } while (n == UNIX_BATCH);
    *ret_text = text;
    *ret_len = len;
    return 0;
}

/* --- numbers --- */

struct numbers {
    int domain;
    unsigned sockets, established;
};

static void count(struct inet_sock *s, void *arg)
{
    struct numbers *n = arg;

    if (n->domain && s->base.domain != n->domain)
        return;
    n->sockets++;
    if (inet_is_tcp(s)) {
        unsigned state = tcp_state_number(inet_tcp(s));
        n->established += state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT;
    }
}

/* Of packets and segments there is nothing to count. */
static int numbers_format(const char *name, char *buf, size_t size)
{
    struct numbers tcp = {0}, udp = {0};

    tcp.domain = udp.domain = !strcmp(name, "sockstat")    ? AF_INET
                              : !strcmp(name, "sockstat6") ? AF_INET6
                                                           : 0;
    port_each(&g_tcp_ports, count, &tcp);
    port_each(&g_udp_ports, count, &udp);
    if (tcp.domain == AF_INET6)
        return snprintf(buf, size,
                        "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\nRAW6: inuse 0\n"
                        "FRAG6: inuse 0 memory 0\n",
                        tcp.sockets, udp.sockets);
    if (tcp.domain == AF_INET)
        return snprintf(
            buf, size,
            "sockets: used %u\nTCP: inuse %u orphan 0 tw 0 alloc %u mem 0\n"
            "UDP: inuse %u mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
            tcp.sockets + udp.sockets, tcp.sockets, tcp.sockets, udp.sockets);
    return snprintf(buf, size,
                    "Ip: Forwarding DefaultTTL\nIp: 2 64\n"
                    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails "
                    "EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n"
                    "Tcp: 1 200 120000 -1 0 0 0 0 %u 0 0 0 0 0 0\n",
                    tcp.established);
}

int proc_net_show(const char *name, char **ret_text, size_t *ret_len)
{
    if (name[0] == 't' || (name[0] == 'u' && name[1] == 'd'))
        return inet_show(name, ret_text, ret_len);
    if (name[0] == 'u')
        return unix_show(ret_text, ret_len);
    char *text = malloc(NUMBERS_MAX);
    if (!text)
        return -ENOMEM;
    int n = name[0] == 'r' /* there are no raw ones */
                ? snprintf(text, NUMBERS_MAX, "%s" HEAD_DATAGRAM "\n",
                           name[3] ? HEAD_V6 : "  sl  " HEAD_V4)
                : numbers_format(name, text, NUMBERS_MAX);
    *ret_text = text;
    *ret_len = (size_t)MAX(n, 0);
    return 0;
}
