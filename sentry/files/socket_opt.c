/* SPDX-License-Identifier: Apache-2.0
 * socket_opt.c - getsockopt and setsockopt of AF_UNIX sockets.
 *
 * Options that only matter to a network are kept and read back; unknown ones are -ENOPROTOOPT.
 * Values arrive as copies of guest memory. Lock: sock.lock (RANK_OBJECT). */
#include <stdlib.h>
#include <sys/time.h>

#include <kernel/task.h>

#include "socket.h"

#define SOCKET_BUFFER_MIN 4608u /* Linux' SOCK_MIN_SNDBUF */

static int kept_option_bit(int name)
{
    static const int names[] = {SO_DEBUG,     SO_REUSEADDR, SO_DONTROUTE,
                                SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE,
                                SO_REUSEPORT, SO_TIMESTAMP, SO_TIMESTAMPNS};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i] == name)
            return 1 << i;
    return 0;
}

static int option_int_locked(struct sock *s, int name, int *ret)
{
    int bit = kept_option_bit(name);

    switch (name) {
    case SO_TYPE:
        *ret = s->base.type;
        return 0;
    case SO_DOMAIN:
        *ret = s->base.domain;
        return 0;
    case SO_ACCEPTCONN:
        *ret = s->listening;
        return 0;
    case SO_PROTOCOL:
    case SO_PRIORITY:
    case SO_MARK:
        *ret = 0;
        return 0;
    case SO_RCVLOWAT:
        *ret = 1;
        return 0;
    case SO_ERROR:
        *ret = s->error;
        s->error = 0;
        return 0;
    case SO_PASSCRED:
        *ret = s->pass_cred;
        return 0;
    case SO_RCVBUF:
        *ret = (int)s->recv_size;
        return 0;
    default:
        *ret = !!(s->flag_options & (uint32_t)bit);
        return bit ? 0 : -ENOPROTOOPT;
    }
}

static void option_store(void *buf, uint32_t *len, const void *value, uint32_t size)
{
    *len = MIN(*len, size);
    memcpy(buf, value, *len);
}

int unix_option_get(struct file *f, int level, int name, void *buf, uint32_t *len)
{
    struct sock *s = file_sock(f);
    int value = 0, err = 0;

    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (name == SO_PEERCRED) {
        struct ucred none = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
        option_store(buf, len, s->peer ? &s->peer_cred : &none, sizeof(none));
    } else if (name == SO_LINGER) {
        struct linger l = {0};
        option_store(buf, len, &l, sizeof(l));
    } else if (name == SO_RCVTIMEO || name == SO_SNDTIMEO) {
        struct timeval tv = socket_timeout_get(&s->base, name == SO_SNDTIMEO);
        option_store(buf, len, &tv, sizeof(tv));
    } else if (name == SO_SNDBUF) {
        struct sock *to = s->peer ? s->peer : s;
        spin_lock(&to->lock);
        value = (int)to->limit;
        spin_unlock(&to->lock);
        option_store(buf, len, &value, sizeof(value));
    } else {
        spin_lock(&s->lock);
        err = option_int_locked(s, name, &value);
        spin_unlock(&s->lock);
        if (!err)
            option_store(buf, len, &value, sizeof(value));
    }
    return err;
}

static uint32_t buffer_size(int asked)
{
    uint32_t n = asked < 0 ? SOCKET_BUFFER_MAX / 2 : (uint32_t)asked;

    n = MIN(n, SOCKET_BUFFER_DEFAULT) * 2; /* Linux doubles it, and shows it doubled */
    return MAX(n, SOCKET_BUFFER_MIN);
}

static int option_set_int(struct sock *s, int name, int value)
{
    int bit = kept_option_bit(name), err = 0;
    struct sock *at = name == SO_SNDBUF && s->peer ? s->peer : s;

    spin_lock(&at->lock);
    if (name == SO_SNDBUF)
        at->limit = buffer_size(value);
    else if (name == SO_RCVBUF)
        at->recv_size = buffer_size(value);
    else if (name == SO_PASSCRED)
        at->pass_cred = value;
    else if (bit)
        at->flag_options =
            value ? at->flag_options | (uint32_t)bit : at->flag_options & ~(uint32_t)bit;
    else if (name != SO_PRIORITY && name != SO_RCVLOWAT)
        err = -ENOPROTOOPT;
    spin_unlock(&at->lock);
    return err;
}

int unix_option_set(struct file *f, int level, int name, const void *buf, uint32_t len)
{
    struct sock *s = file_sock(f);
    int value;

    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (name == SO_RCVTIMEO || name == SO_SNDTIMEO)
        return socket_timeout_set(&s->base, name == SO_SNDTIMEO, buf, len);
    if (len < sizeof(value))
        return -EINVAL;
    if (name == SO_LINGER)
        return len < sizeof(struct linger) ? -EINVAL : 0;
    memcpy(&value, buf, sizeof(value));
    return option_set_int(s, name, value);
}

bool unix_wants_cred(struct file *f)
{
    return file_sock(f)->pass_cred;
}

struct ucred sock_cred_of_current(void)
{
    struct task *t = task_current();
    struct ucred c = {0};

    if (t) {
        c.pid = t->process->pid;
        c.uid = t->cred->euid;
        c.gid = t->cred->egid;
    }
    return c;
}
