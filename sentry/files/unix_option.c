/* SPDX-License-Identifier: Apache-2.0
 * unix_option.c - getsockopt and setsockopt of AF_UNIX sockets.
 *
 * Options that only matter to a network are kept and read back; unknown ones are -ENOPROTOOPT.
 * Values arrive as copies of guest memory. Lock: sock.lock (RANK_OBJECT). */
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>

#include <linux/capability.h>

#include <kernel/task.h>

#include "unix.h"

#define SEND_SIZE_MIN 4608u /* Linux' SOCK_MIN_SNDBUF and SOCK_MIN_RCVBUF */
#define RECV_SIZE_MIN 2304u
#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

static int kept_option_bit(int name)
{
    static const int names[] = {SO_DEBUG,     SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST,
                                SO_KEEPALIVE, SO_OOBINLINE, SO_TIMESTAMP, SO_TIMESTAMPNS};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i] == name)
            return 1 << i;
    return 0;
}

#define TIME_BITS ((uint32_t)(kept_option_bit(SO_TIMESTAMP) | kept_option_bit(SO_TIMESTAMPNS)))

bool unix_wants_time(const struct sock *s)
{
    return s->flag_options && (s->flag_options & TIME_BITS);
}

bool unix_oob_inline(const struct sock *s)
{
    return s->flag_options & (uint32_t)kept_option_bit(SO_OOBINLINE);
}

/* Of datagrams and packets. */
void unix_control_out(struct file *f, struct socket_msg *m, struct control_out *o)
{
    struct sock *s = file_sock(f);

    if (m->family_data[UNIX_DATA_TIMED] && unix_wants_time(s))
        control_append_time(o, m, s->flag_options & (uint32_t)kept_option_bit(SO_TIMESTAMPNS),
                            (int64_t)m->family_data[UNIX_DATA_TIME]);
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
    case SO_REUSEPORT:
        *ret = 0;
        return 0;
    case SO_MARK:
        *ret = s->mark;
        return 0;
    case SO_PRIORITY:
        *ret = s->priority;
        return 0;
    case SO_RCVLOWAT:
        *ret = s->low_water;
        return 0;
    case SO_ERROR:
        *ret = s->error;
        s->error = 0;
        return 0;
    case SO_PASSCRED:
        *ret = s->pass_cred;
        return 0;
    case SO_SNDBUF:
        *ret = (int)s->send_size;
        return 0;
    case SO_RCVBUF:
        *ret = (int)s->recv_size;
        return 0;
    case SO_PEEK_OFF:
        *ret = s->peek_offset;
        return 0;
    default:
        *ret = !!(s->flag_options & (uint32_t)bit);
        return bit ? 0 : -ENOPROTOOPT;
    }
}

static int option_store(void *buf, uint32_t *len, const void *value, uint32_t size)
{
    *len = MIN(*len, size);
    memcpy(buf, value, *len);
    return 0;
}

int unix_option_get(struct file *f, int level, int name, void *buf, uint32_t *len)
{
    struct sock *s = file_sock(f);
    struct timeval tv;
    int value = 0;

    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    switch (name) {
    case SO_PEERCRED:
        return option_store(buf, len, &s->peer_cred, sizeof(s->peer_cred));
    case SO_LINGER:
        return option_store(buf, len, &s->linger, sizeof(s->linger));
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
        tv = socket_timeout_get(&s->base, name == SO_SNDTIMEO);
        return option_store(buf, len, &tv, sizeof(tv));
    case SO_COOKIE:
        if (*len < sizeof(s->cookie))
            return -EINVAL;
        return option_store(buf, len, &s->cookie, sizeof(s->cookie));
    default:
        spin_lock(&s->lock);
        int err = option_int_locked(s, name, &value);
        spin_unlock(&s->lock);
        return err ? err : option_store(buf, len, &value, sizeof(value));
    }
}

/* Linux doubles what is asked for, and shows it doubled. */
static uint32_t buffer_size(int asked, bool force, uint32_t least)
{
    uint32_t most = force ? SOCKET_BUFFER_MAX / 2 : SOCKET_BUFFER_DEFAULT;

    return MAX(MIN((uint32_t)asked, most) * 2, least);
}

static int option_flag_locked(struct sock *s, int name, int value)
{
    int bit = kept_option_bit(name);

    if (!bit)
        return -ENOPROTOOPT;
    if (name == SO_TIMESTAMP || name == SO_TIMESTAMPNS) /* one of the two */
        s->flag_options &= ~TIME_BITS;
    s->flag_options = value ? s->flag_options | (uint32_t)bit : s->flag_options & ~(uint32_t)bit;
    return 0;
}

static int option_set_locked(struct sock *s, int name, int value)
{
    switch (name) {
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
        s->send_size = buffer_size(value, name == SO_SNDBUFFORCE, SEND_SIZE_MIN);
        return 0;
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
        s->recv_size = buffer_size(value, name == SO_RCVBUFFORCE, RECV_SIZE_MIN);
        return 0;
    case SO_PASSCRED:
        s->pass_cred = value;
        return 0;
    case SO_MARK:
        s->mark = value;
        return 0;
    case SO_PRIORITY:
        s->priority = value;
        return 0;
    case SO_RCVLOWAT:
        s->low_water = value < 0 ? INT32_MAX : value ? value : 1;
        return 0;
    case SO_PEEK_OFF:
        s->peek_offset = value;
        return 0;
    case SO_REUSEPORT:
        return value ? -EOPNOTSUPP : 0;
    default:
        return option_flag_locked(s, name, value);
    }
}

static int option_set_linger(struct sock *s, const void *buf, uint32_t len)
{
    if (len < sizeof(s->linger))
        return -EINVAL;
    spin_lock(&s->lock);
    memcpy(&s->linger, buf, sizeof(s->linger));
    s->linger.l_onoff = !!s->linger.l_onoff;
    if (!s->linger.l_onoff)
        s->linger.l_linger = 0;
    spin_unlock(&s->lock);
    return 0;
}

int unix_option_set(struct file *f, int level, int name, const void *buf, uint32_t len)
{
    struct sock *s = file_sock(f);
    bool force = name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE;
    int value;

    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (name == SO_RCVTIMEO || name == SO_SNDTIMEO)
        return socket_timeout_set(&s->base, name == SO_SNDTIMEO, buf, len);
    if (len < sizeof(value))
        return -EINVAL;
    if (name == SO_LINGER)
        return option_set_linger(s, buf, len);
    memcpy(&value, buf, sizeof(value));
    if ((force || name == SO_MARK) && !cred_capable(task_current()->cred, CAP_NET_ADMIN))
        return -EPERM;
    spin_lock(&s->lock);
    int err = option_set_locked(s, name, value);
    spin_unlock(&s->lock);
    if (name == SO_SNDBUF || name == SO_SNDBUFFORCE)
        wake_all(&s->wait, POLLOUT | POLLWRNORM);
    return err;
}

bool unix_wants_cred(struct file *f)
{
    return file_sock(f)->pass_cred;
}
