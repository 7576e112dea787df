/* SPDX-License-Identifier: Apache-2.0
 * proc_net.c - the lines of /proc/net/tcp, tcp6, udp, udp6.
 *
 * The sockets are copied out of a port table first, then written as text without its lock. What
 * fits is what was there when they were counted. Readers are guests; they give nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <net/net.h>

#include "tcp.h"

#define LINE_MAX 320u
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

int proc_net_show(const char *name, char **ret_text, size_t *ret_len)
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
    char *text = malloc(c.size * LINE_MAX);
    if (!c.rows || !text) {
        free(c.rows);
        free(text);
        return -ENOMEM;
    }
    port_each(t, collect, &c);
    size_t len = 0;
    for (size_t i = 0; i < c.count; i++) {
        int n = row_format(text + len, i, &c, &c.rows[i]);
        len += MIN((size_t)MAX(n, 0), (size_t)LINE_MAX - 1);
    }
    free(c.rows);
    *ret_text = text;
    *ret_len = len;
    return 0;
}
