/* SPDX-License-Identifier: Apache-2.0
 * inet_port.c - who has which port: one table for TCP, one for UDP.
 *
 * A bound socket stands in the bucket of its port, accepted ones too, in the order of binding. Who
 * listens stands in a second, shorter list as well: connects look only there. What binding refuses
 * is Linux' rule: two sockets that share an address need SO_REUSEADDR on both, none of them
 * listening, or SO_REUSEPORT on both and one owner.
 *
 * No TIME_WAIT: without packets there is nothing to wait for. A port is free as soon as the last
 * socket on it is closed.
 *
 * Guests choose names; sockets are bounded by the files of the sandbox. Lock: table.lock
 * (RANK_NET), around everything, outside sockets' locks. */
#include <linux/capability.h>
#include <string.h>

#include <base/hash.h>
#include <kernel/task.h>

#include "inet.h"

struct port_table {
    struct spin lock;
    uint32_t next; /* where the search for a free port begins */
    struct list_head bound[PORT_BUCKETS], listeners[PORT_BUCKETS];
};

struct port_table g_tcp_ports, g_udp_ports;

static void table_init(struct port_table *t)
{
    spin_init(&t->lock, RANK_NET);
    t->next = (uint32_t)hash_u64((uintptr_t)t);
}

void ports_init(void)
{
    table_init(&g_tcp_ports);
    table_init(&g_udp_ports);
}

/* May @s stand beside @o? Both have the port. */
static bool may_share(const struct inet_sock *s, const struct inet_sock *o)
{
    if (!inet_conflict(s, o))
        return true;
    if (inet_opt(s, OPT_REUSEADDR) && inet_opt(o, OPT_REUSEADDR) && !o->listening)
        return true;
    return inet_opt(s, OPT_REUSEPORT) && inet_opt(o, OPT_REUSEPORT) && s->uid == o->uid;
}

static bool port_free_locked(struct port_table *t, const struct inet_sock *s, uint16_t port)
{
    struct inet_sock *o;

    list_for_each_entry (o, list_bucket(&t->bound[port % PORT_BUCKETS]), port_link) {
        if (o != s && o->local.port == port && !may_share(s, o))
            return false;
    }
    return true;
}

static bool port_unused_locked(struct port_table *t, uint16_t port)
{
    struct inet_sock *o;

    list_for_each_entry (o, list_bucket(&t->bound[port % PORT_BUCKETS]), port_link) {
        if (o->local.port == port)
            return false;
    }
    return true;
}

/* A port that nobody has; 0: none. */
static uint16_t port_choose_locked(struct port_table *t)
{
    const uint32_t range = PORT_LAST - PORT_FIRST + 1;

    for (uint32_t i = 0; i < range; i++) {
        uint16_t port = (uint16_t)(PORT_FIRST + (t->next + i) % range);
        if (port_unused_locked(t, port)) {
            t->next += i + 1;
            return port;
        }
    }
    return 0;
}

static void port_take_locked(struct port_table *t, struct inet_sock *s, uint16_t port)
{
    s->local.port = port;
    list_add_tail(&s->port_link, list_bucket(&t->bound[port % PORT_BUCKETS]));
}

int port_bind(struct port_table *t, struct inet_sock *s, const struct inet_name *name)
{
    struct task *task = task_current();
    int r = 0;

    if (!ip_is_any(&name->ip) && !ip_is_local(&name->ip))
        return -EADDRNOTAVAIL;
    if (ip_is_v4(&name->ip) && s->base.domain == AF_INET6 && inet_opt(s, OPT_V6ONLY))
        return -EINVAL;
    if (name->port && name->port < PORT_UNPRIVILEGED && task &&
        !cred_capable(task->cred, CAP_NET_BIND_SERVICE))
        return -EACCES;
    spin_lock(&t->lock);
    if (!list_empty(&s->port_link)) {
        r = -EINVAL;
    } else {
        s->local.ip = name->ip;
        uint16_t port = name->port ? name->port : port_choose_locked(t);
        if (!port || (name->port && !port_free_locked(t, s, port)))
            r = -EADDRINUSE;
        else
            port_take_locked(t, s, port);
        if (r)
            s->local.ip = ip_any(s->base.domain);
        s->port_fixed = !r && name->port;
        s->ip_fixed = !r && !ip_is_any(&name->ip);
        if (s->ip_fixed && !ip_is_v4(&name->ip))
            s->opt[OPT_V6ONLY] = 1; /* as Linux shows it */
    }
    spin_unlock(&t->lock);
    return r;
}

/* Another connection between the same two names? */
static bool pair_exists_locked(struct port_table *t, const struct inet_sock *s)
{
    struct inet_sock *o;

    list_for_each_entry (o, list_bucket(&t->bound[s->local.port % PORT_BUCKETS]), port_link) {
        if (o != s && o->local.port == s->local.port && o->remote.port == s->remote.port &&
            ip_equal(&o->remote.ip, &s->remote.ip) && ip_equal(&o->local.ip, &s->local.ip))
            return true;
    }
    return false;
}

int port_connect(struct port_table *t, struct inet_sock *s, const struct inet_name *remote)
{
    int r = 0;

    spin_lock(&t->lock);
    struct inet_name before = s->local;
    if (ip_is_any(&s->local.ip)) /* a second connect keeps what the first has chosen */
        s->local.ip = inet_source(remote);
    s->remote = *remote;
    if (list_empty(&s->port_link)) {
        uint16_t port = port_choose_locked(t);
        if (port)
            port_take_locked(t, s, port);
        else
            r = -EADDRNOTAVAIL;
    } else if (t == &g_tcp_ports && pair_exists_locked(t, s)) {
        r = -EADDRNOTAVAIL;
    }
    if (r) {
        s->local = before;
        memset(&s->remote, 0, sizeof(s->remote));
    }
    spin_unlock(&t->lock);
    return r;
}

void port_join(struct port_table *t, struct inet_sock *s, const struct inet_name *local,
               const struct inet_name *remote)
{
    spin_lock(&t->lock);
    s->local = *local;
    s->remote = *remote;
    s->port_fixed = false; /* the listener's */
    s->ip_fixed = true;
    port_take_locked(t, s, local->port);
    spin_unlock(&t->lock);
}

void port_disconnect(struct port_table *t, struct inet_sock *s, bool port)
{
    spin_lock(&t->lock);
    memset(&s->remote, 0, sizeof(s->remote));
    if (!s->ip_fixed) {
        s->local.ip = ip_any(s->base.domain);
    }
    if (port && !s->port_fixed) {
        list_del(&s->port_link);
        if (t == &g_udp_ports)
            s->local.port = 0;
    }
    spin_unlock(&t->lock);
}

void port_detach(struct port_table *t, struct inet_sock *s)
{
    spin_lock(&t->lock);
    if (!s->port_fixed)
        list_del(&s->port_link);
    spin_unlock(&t->lock);
}

int port_auto(struct port_table *t, struct inet_sock *s)
{
    int r = 0;

    spin_lock(&t->lock);
    if (list_empty(&s->port_link)) {
        uint16_t port = port_choose_locked(t);
        if (port)
            port_take_locked(t, s, port);
        else
            r = -EAGAIN;
    }
    spin_unlock(&t->lock);
    return r;
}

int port_listen(struct port_table *t, struct inet_sock *s)
{
    int r = 0;

    spin_lock(&t->lock);
    if (list_empty(&s->port_link)) {
        uint16_t port = port_choose_locked(t);
        if (port)
            port_take_locked(t, s, port);
        else
            r = -EADDRINUSE;
    } else if (!port_free_locked(t, s, s->local.port)) {
        r = -EADDRINUSE;
    }
    if (!r && !s->listening) {
        s->listening = true;
        list_add_tail(&s->listen_link, list_bucket(&t->listeners[s->local.port % PORT_BUCKETS]));
    }
    spin_unlock(&t->lock);
    return r;
}

void port_unlisten(struct port_table *t, struct inet_sock *s)
{
    spin_lock(&t->lock);
    s->listening = false;
    list_del(&s->listen_link);
    spin_unlock(&t->lock);
}

void port_release(struct port_table *t, struct inet_sock *s)
{
    spin_lock(&t->lock);
    s->listening = false;
    list_del(&s->listen_link);
    list_del(&s->port_link);
    spin_unlock(&t->lock);
}

/* Which of several equally good ones with SO_REUSEPORT: by the sender's port. */
static bool group_replaces(const struct inet_sock *s, const struct inet_name *from, unsigned *seen)
{
    (*seen)++;
    return inet_opt(s, OPT_REUSEPORT) && hash_u64(from->port * 64u + *seen) % *seen == 0;
}

struct inet_sock *port_find_listener(struct port_table *t, const struct inet_name *to,
                                     const struct inet_name *from)
{
    struct inet_sock *s, *best = NULL;
    unsigned best_match = 0, seen = 0;

    spin_lock(&t->lock);
    list_for_each_entry (s, list_bucket(&t->listeners[to->port % PORT_BUCKETS]), listen_link) {
        unsigned match = s->local.port == to->port ? inet_match(s, &to->ip) : 0;
        if (match > best_match) {
            best = s;
            best_match = match;
            seen = 1;
        } else if (match && match == best_match && group_replaces(s, from, &seen)) {
            best = s;
        }
    }
    if (best)
        inet_get(best);
    spin_unlock(&t->lock);
    return best;
}

/* A connected socket receives from its peer only, and before the others. */
static unsigned receiver_match(const struct inet_sock *s, const struct inet_name *to,
                               const struct inet_name *from)
{
    unsigned match = s->local.port == to->port ? inet_match(s, &to->ip) : 0;

    if (!match || !s->remote.port)
        return match;
    return s->remote.port == from->port && ip_equal(&s->remote.ip, &from->ip) ? match + 4 : 0;
}

struct inet_sock *port_find_receiver(struct port_table *t, const struct inet_name *to,
                                     const struct inet_name *from)
{
    struct inet_sock *s, *best = NULL;
    unsigned best_match = 0, seen = 0;

    spin_lock(&t->lock);
    list_for_each_entry (s, list_bucket(&t->bound[to->port % PORT_BUCKETS]), port_link) {
        unsigned match = receiver_match(s, to, from);
        if (!match || match < best_match)
            continue;
        if (match > best_match)
            seen = 1;
        else if (inet_opt(s, OPT_REUSEPORT) && !group_replaces(s, from, &seen))
            continue;
        best = s; /* without SO_REUSEPORT the one bound last */
        best_match = match;
    }
    if (best)
        inet_get(best);
    spin_unlock(&t->lock);
    return best;
}

void port_each(struct port_table *t, void (*fn)(struct inet_sock *s, void *arg), void *arg)
{
    struct inet_sock *s;

    spin_lock(&t->lock);
    for (unsigned i = 0; i < PORT_BUCKETS; i++) {
        list_for_each_entry (s, list_bucket(&t->bound[i]), port_link)
            fn(s, arg);
    }
    spin_unlock(&t->lock);
}

bool port_bucket_each(struct port_table *t, uint32_t bucket, uint32_t skip,
                      bool (*fn)(struct inet_sock *s, void *arg), void *arg)
{
    struct inet_sock *s;
    bool on = true;

    spin_lock(&t->lock);
    list_for_each_entry (s, list_bucket(&t->bound[bucket % PORT_BUCKETS]), port_link) {
        if (skip) {
            skip--;
            continue;
        }
        on = fn(s, arg);
        if (!on)
            break;
    }
    spin_unlock(&t->lock);
    return on;
}
