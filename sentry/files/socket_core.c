/* SPDX-License-Identifier: Apache-2.0
 * socket_core.c - what sockets of all families share: the table of families, dispatch, timeouts.
 *
 * Guests choose families and types; what no family knows is refused here. No locks: the table is
 * filled at boot, timeouts are atomic. */
#include <string.h>
#include <sys/time.h>

#include <kernel/ktime.h>
#include <kernel/timer.h>

#include "files_private.h"

#define NSEC 1000000000LL
#define FAMILIES 64

static const struct socket_family *g_families[FAMILIES] = {
    [AF_UNIX] = &unix_family,
};

static _Atomic(uint32_t) g_sockets;

bool socket_enter(void)
{
    if (atomic_fetch_add(&g_sockets, 1) < SOCKETS_MAX)
        return true;
    socket_leave();
    return false;
}

uint32_t sockets_count(void)
{
    return atomic_load(&g_sockets);
}

void socket_leave(void)
{
    atomic_fetch_sub(&g_sockets, 1);
}

sysret_t (*socket_interface_ioctl)(struct task *t, uint32_t cmd, uint64_t arg);

void socket_family_register(const struct socket_family *family)
{
    BUG_ON(family->domain < 0 || family->domain >= FAMILIES);
    g_families[family->domain] = family;
}

static const struct socket_family *family_find(int domain, int type)
{
    if (domain < 0 || domain >= FAMILIES)
        return ERR_PTR(-EAFNOSUPPORT);
    if (type & ~(0xf | SOCK_NONBLOCK | SOCK_CLOEXEC) || (type & 0xf) > SOCK_PACKET)
        return ERR_PTR(-EINVAL);
    return g_families[domain] ? g_families[domain] : ERR_PTR(-EAFNOSUPPORT);
}

struct file *socket_new(int domain, int type, int protocol)
{
    const struct socket_family *family = family_find(domain, type);

    return IS_ERR(family) ? ERR_PTR(PTR_ERR(family))
                          : family->create(domain, type & ~SOCK_CLOEXEC, protocol);
}

int socketpair_new(int domain, int type, int protocol, struct file **ret_a, struct file **ret_b)
{
    const struct socket_family *family = family_find(domain, type);

    if (IS_ERR(family))
        return PTR_ERR(family);
    if (!family->pair) { /* what socket() says comes first */
        struct file *f = family->create(domain, type & ~SOCK_CLOEXEC, protocol);
        if (IS_ERR(f))
            return PTR_ERR(f);
        file_put(f);
        return -EOPNOTSUPP;
    }
    return family->pair(type & ~SOCK_CLOEXEC, protocol, ret_a, ret_b);
}

ssize_t socket_send(struct file *f, struct socket_msg *m, int flags)
{
    if (!file_is_socket(f))
        return -ENOTSOCK;
    return f->ops->socket->send ? f->ops->socket->send(f, m, flags) : -EOPNOTSUPP;
}

ssize_t socket_receive(struct file *f, struct socket_msg *m, int flags)
{
    m->file_count = 0;
    m->flags = 0;
    m->has_cred = false;
    m->name_len = 0;
    if (!file_is_socket(f))
        return -ENOTSOCK;
    return f->ops->socket->receive ? f->ops->socket->receive(f, m, flags) : -EOPNOTSUPP;
}

int socket_shutdown(struct file *f, int how)
{
    if (!file_is_socket(f))
        return -ENOTSOCK;
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    return f->ops->socket->shutdown ? f->ops->socket->shutdown(f, how) : -EOPNOTSUPP;
}

int socket_option_get(struct file *f, int level, int name, void *buf, uint32_t *len)
{
    if (!file_is_socket(f))
        return -ENOTSOCK;
    return f->ops->socket->option_get ? f->ops->socket->option_get(f, level, name, buf, len)
                                      : -EOPNOTSUPP;
}

int socket_option_set(struct file *f, int level, int name, const void *buf, uint32_t len)
{
    if (!file_is_socket(f))
        return -ENOTSOCK;
    return f->ops->socket->option_set ? f->ops->socket->option_set(f, level, name, buf, len)
                                      : -EOPNOTSUPP;
}

/* --- timeouts --- */

int socket_timeout_set(struct socket *s, bool send, const void *buf, uint32_t len)
{
    struct timeval tv;

    if (len < sizeof(tv))
        return -EINVAL;
    memcpy(&tv, buf, sizeof(tv));
    if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
        return -EDOM;
    int64_t ns = tv.tv_sec < 0 || tv.tv_sec >= INT64_MAX / NSEC - 1
                     ? 0
                     : tv.tv_sec * NSEC + tv.tv_usec * 1000;
    *(send ? &s->send_timeout_ns : &s->recv_timeout_ns) = ns;
    return 0;
}

struct timeval socket_timeout_get(const struct socket *s, bool send)
{
    int64_t ns = send ? s->send_timeout_ns : s->recv_timeout_ns;

    return (struct timeval){.tv_sec = ns / NSEC, .tv_usec = ns % NSEC / 1000};
}

int64_t socket_file_timeout_ns(struct file *f, bool write)
{
    struct socket *s = file_socket(f);

    return write ? s->send_timeout_ns : s->recv_timeout_ns;
}

int socket_file_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, S_IFSOCK | 0777, ret);
    return 0;
}

/* --- control data --- */

bool control_append(struct control_out *o, int level, int type, const void *data, size_t len)
{
    struct cmsghdr h = {.cmsg_len = sizeof(h) + len, .cmsg_level = level, .cmsg_type = type};

    if (o->size - o->used < h.cmsg_len)
        return false;
    memcpy(o->buf + o->used, &h, sizeof(h));
    memcpy(o->buf + o->used + sizeof(h), data, len);
    o->used += MIN(align_up(h.cmsg_len, sizeof(uint64_t)), o->size - o->used);
    return true;
}

void control_append_time(struct control_out *o, struct socket_msg *m, bool ns, int64_t time_ns)
{
    struct timespec ts = timespec_from_ns(time_ns ? time_ns : clock_now_ns(CLOCK_REALTIME));

    if (!ns)
        ts.tv_nsec /= 1000; /* a timeval has the same two 64-bit fields */
    if (!control_append(o, SOL_SOCKET, ns ? SCM_TIMESTAMPNS : SCM_TIMESTAMP, &ts, sizeof(ts)))
        m->flags |= MSG_CTRUNC;
}
