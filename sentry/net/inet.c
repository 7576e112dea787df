/* SPDX-License-Identifier: Apache-2.0
 * inet.c - what AF_INET and AF_INET6 sockets of both kinds share: life, names, the families.
 *
 * Locks: none of its own; inet.h says what guards a socket. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <kernel/task.h>
#include <net/net.h>
#include <vfs/vfs.h>

#include "inet.h"
#include "netlink.h"

void inet_init(struct inet_sock *s, int domain, int type, int protocol,
               void (*free_fn)(struct inet_sock *s))
{
    struct task *t = task_current();

    s->base.domain = domain;
    s->base.type = type;
    s->base.protocol = protocol;
    refcount_init(&s->ref);
    spin_init(&s->lock, RANK_OBJECT);
    wait_queue_init(&s->wait);
    s->uid = t && t->cred ? t->cred->euid : 0;
    s->free = free_fn;
    if (domain == AF_INET)
        s->local.ip.s6_addr32[2] = htonl(0xffff); /* mapped 0.0.0.0 */
    list_init(&s->port_link);
    list_init(&s->listen_link);
    s->linger_s = -1;
    inet_options_default(s);
    if (domain == AF_INET6)
        s->opt[OPT_IP_MULTICAST_ALL] = 0; /* an AF_INET socket's default only */
}

void inet_inherit(struct inet_sock *s, const struct inet_sock *from)
{
    for (int i = 0; i < OPT_COUNT; i++)
        atomic_store_explicit(&s->opt[i], inet_opt(from, i), memory_order_relaxed);
    s->send_size = from->send_size;
    s->recv_size = from->recv_size;
    s->send_size_set = from->send_size_set;
    s->recv_size_set = from->recv_size_set;
    s->linger_s = from->linger_s;
    s->wants_time = from->wants_time;
    s->base.send_timeout_ns = from->base.send_timeout_ns;
    s->base.recv_timeout_ns = from->base.recv_timeout_ns;
    s->uid = from->uid;
}

void inet_put(struct inet_sock *s)
{
    if (s && refcount_put(&s->ref))
        s->free(s);
}

int inet_error_take(struct inet_sock *s)
{
    if (!atomic_load_explicit(&s->error, memory_order_relaxed))
        return 0;
    return atomic_exchange(&s->error, 0);
}

int inet_file_name(struct file *f, bool peer, struct sockaddr_storage *ret)
{
    struct inet_sock *s = file_inet(f);

    return (int)inet_name_out(s->base.domain, peer ? &s->remote : &s->local, ret);
}

/* Takes over @s, only on success. */
struct file *inet_file_new(struct inet_sock *s, const struct file_ops *ops, int type)
{
    struct file *f = file_new(ops, s, O_RDWR | (type & SOCK_NONBLOCK ? O_NONBLOCK : 0u));

    if (!IS_ERR(f))
        s->ino = f->ino;
    return f;
}

static struct file *inet_create(int domain, int type, int protocol)
{
    struct task *t = task_current();

    switch (type & 0xf) {
    case SOCK_STREAM:
        if (protocol != 0 && protocol != IPPROTO_TCP)
            return ERR_PTR(-EPROTONOSUPPORT);
        return tcp_create(domain, IPPROTO_TCP, type);
    case SOCK_DGRAM:
        if (protocol != 0 && protocol != IPPROTO_UDP)
            return ERR_PTR(protocol == IPPROTO_ICMP ? -EACCES : -EPROTONOSUPPORT);
        return udp_create(domain, IPPROTO_UDP, type);
    case SOCK_RAW:
        return ERR_PTR(t && cred_capable(t->cred, 13 /* CAP_NET_RAW */) && !protocol
                           ? -EPROTONOSUPPORT
                           : -EPERM);
    default:
        return ERR_PTR(-ESOCKTNOSUPPORT);
    }
}

static const struct socket_family inet_family = {.domain = AF_INET, .create = inet_create};
static const struct socket_family inet6_family = {.domain = AF_INET6, .create = inet_create};

void net_init(void)
{
    ports_init();
    socket_family_register(&inet_family);
    socket_family_register(&inet6_family);
    socket_family_register(&netlink_family);
    socket_interface_ioctl = iface_ioctl;
}
