/* SPDX-License-Identifier: Apache-2.0
 * netlink.c - AF_NETLINK sockets of NETLINK_ROUTE and NETLINK_SOCK_DIAG.
 *
 * A send is a list of requests, answered at once into the sender's own queue (route.c says what);
 * a receive takes one message. Lists of sockets are long: a dump of them (diag.c) makes the next piece
 * when its reader has taken the last one. Groups can be joined and nothing ever comes from them: interfaces do
 * not change.
 *
 * Guests choose every byte of a request and how many answers pile up: NETLINK_REQUEST_MAX,
 * NETLINK_QUEUE_MAX. Locks: the socket's (RANK_OBJECT) for its queue; g_lock (RANK_NET) for
 * addresses. Left out: other protocols, messages between processes. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include <kernel/task.h>

#include "inet.h"
#include "netlink.h"

struct nl_message {
    struct list_head link;
    size_t size;
    char data[];
};

struct nl_sock {
    struct socket base;
    struct spin lock; /* below: */
    struct list_head queue;
    size_t queued;
    bool overrun;            /* an answer was lost: ENOBUFS to the next receive */
    uint32_t portid, groups; /* g_lock */
    struct list_head bound_link;
    _Atomic(uint32_t) options; /* SOL_NETLINK, bit by number: kept */
    _Atomic(bool) pass_cred;
    struct wait_queue wait;
    struct fmutex dump_lock; /* RANK_FILE */
    struct nl_dump dump;     /* dump_lock; on is also read without */
};

static struct spin g_lock = SPIN_INIT(RANK_NET);
static struct list_head g_bound = LIST_HEAD_INIT(g_bound);

static struct nl_sock *file_nl(const struct file *f)
{
    return f->private_data;
}

/* --- building answers --- */

static void nl_raw(struct nl_out *o, const void *data, size_t len)
{
    size_t room = align_up(len, NLMSG_ALIGNTO);

    if (o->failed || NETLINK_ANSWER_MAX - o->used < room) {
        o->failed = true;
        return;
    }
    memset(o->buf + o->used, 0, room);
    memcpy(o->buf + o->used, data, len);
    o->used += room;
}

void nl_begin(struct nl_out *o, uint16_t type, const void *body, size_t len)
{
    struct nlmsghdr h = {
        .nlmsg_type = type,
        .nlmsg_flags = o->flags,
        .nlmsg_seq = o->seq,
        .nlmsg_pid = o->portid,
    };

    o->message = o->used;
    nl_raw(o, &h, sizeof(h));
    nl_raw(o, body, len);
}

void nl_attr(struct nl_out *o, uint16_t type, const void *data, size_t len)
{
    struct rtattr a = {.rta_len = (uint16_t)(sizeof(a) + len), .rta_type = type};

    nl_raw(o, &a, sizeof(a));
    nl_raw(o, data, len);
}

void nl_end(struct nl_out *o)
{
    uint32_t len = (uint32_t)(o->used - o->message);

    if (!o->failed)
        memcpy(o->buf + o->message, &len, sizeof(len));
}

/* --- the queue --- */

static void queue_add(struct nl_sock *s, struct nl_out *o)
{
    struct nl_message *m = o->used && !o->failed ? malloc(sizeof(*m) + o->used) : NULL;
    bool lost = o->used && !m;

    spin_lock(&s->lock);
    if (m && s->queued + o->used <= NETLINK_QUEUE_MAX) {
        list_init(&m->link);
        m->size = o->used;
        memcpy(m->data, o->buf, o->used);
        s->queued += m->size;
        list_add_tail(&m->link, &s->queue);
        m = NULL;
    } else if (o->used) {
        lost = true;
    }
    s->overrun |= lost;
    spin_unlock(&s->lock);
    free(m);
    o->used = 0;
    wake_all(&s->wait, lost ? POLLERR : POLLIN | POLLRDNORM);
}

static void put_error(struct nl_out *o, const struct nlmsghdr *h, int err)
{
    struct nlmsgerr e = {.error = err, .msg = *h};

    o->flags = 0;
    nl_begin(o, NLMSG_ERROR, &e, sizeof(e));
    nl_end(o);
}

static int dump_begin(struct nl_sock *s, const struct nlmsghdr *h, const void *body, size_t len)
{
    struct nl_dump d = {.seq = h->nlmsg_seq};
    int r = diag_request(&d, h, body, len);

    if (r)
        return r;
    fmutex_lock(&s->dump_lock);
    if (s->dump.on)
        r = -EBUSY;
    else
        s->dump = d;
    fmutex_unlock(&s->dump_lock);
    if (!r)
        wake_all(&s->wait, POLLIN | POLLRDNORM);
    return r;
}

/* The next piece of the dump, when there is nothing else to read. */
static void dump_step(struct nl_sock *s)
{
    char *buf autofree = malloc(NETLINK_ANSWER_MAX);
    struct nl_out o = {.buf = buf, .portid = s->portid, .flags = NLM_F_MULTI};

    if (!buf)
        return;
    fmutex_lock(&s->dump_lock);
    spin_lock(&s->lock);
    bool empty = list_empty(&s->queue);
    spin_unlock(&s->lock);
    if (s->dump.on && empty) {
        o.seq = s->dump.seq;
        bool all = diag_more(&s->dump, &o);
        queue_add(s, &o);
        if (all) {
            nl_begin(&o, NLMSG_DONE, &s->dump.error, sizeof(s->dump.error));
            nl_end(&o);
            queue_add(s, &o);
            s->dump.on = false;
        }
    }
    fmutex_unlock(&s->dump_lock);
}

static void request_answer(struct nl_sock *s, struct nl_out *o, const struct nlmsghdr *h,
                           const void *body, size_t len)
{
    bool dump = false;
    int32_t none = 0;

    o->seq = h->nlmsg_seq;
    o->flags = 0;
    o->used = 0;
    o->failed = false;
    bool diag = s->base.protocol == NETLINK_SOCK_DIAG;
    int err = diag ? dump_begin(s, h, body, len) : route_answer(o, h, body, len, &dump);
    if (diag && !err)
        return;
    if (err) {
        o->used = 0;
        put_error(o, h, err);
    } else if (dump) {
        queue_add(s, o);
        nl_begin(o, NLMSG_DONE, &none, sizeof(none));
        nl_end(o);
    } else if (h->nlmsg_flags & NLM_F_ACK) {
        queue_add(s, o);
        put_error(o, h, 0);
    }
    queue_add(s, o);
}

static void requests_walk(struct nl_sock *s, const char *buf, size_t n, struct nl_out *o)
{
    for (size_t at = 0; n - at >= sizeof(struct nlmsghdr);) {
        struct nlmsghdr h;
        memcpy(&h, buf + at, sizeof(h));
        if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > n - at)
            return;
        if ((h.nlmsg_flags & NLM_F_REQUEST) && h.nlmsg_type >= NLMSG_MIN_TYPE)
            request_answer(s, o, &h, buf + at + sizeof(h), h.nlmsg_len - sizeof(h));
        at += MIN((size_t)NLMSG_ALIGN(h.nlmsg_len), n - at);
    }
}

/* --- names --- */

static bool portid_free_locked(uint32_t portid)
{
    struct nl_sock *s;

    list_for_each_entry (s, &g_bound, bound_link) {
        if (s->portid == portid)
            return false;
    }
    return true;
}

/* Gives @s an address: @portid, or the process's number, or one that is free. */
static int address_take(struct nl_sock *s, uint32_t portid, uint32_t groups)
{
    struct task *t = task_current();
    uint32_t other = 0;
    int r = 0;

    spin_lock(&g_lock);
    if (s->portid) {
        r = portid && portid != s->portid ? -EINVAL : 0;
    } else {
        uint32_t chosen = portid ? portid : t ? (uint32_t)t->process->pid : 1;
        while (!portid && !portid_free_locked(chosen))
            chosen = (uint32_t)-4096 - other++;
        if (!portid_free_locked(chosen)) {
            r = -EADDRINUSE;
        } else {
            s->portid = chosen;
            list_add_tail(&s->bound_link, &g_bound);
        }
    }
    if (!r)
        s->groups = groups;
    spin_unlock(&g_lock);
    return r;
}

static int name_in(const struct sockaddr *addr, uint32_t len, struct sockaddr_nl *ret)
{
    if (len < sizeof(*ret))
        return -EINVAL;
    memcpy(ret, addr, sizeof(*ret));
    return ret->nl_family == AF_NETLINK ? 0 : -EINVAL;
}

static int nl_bind(struct task *t UNUSED, struct file *f, const struct sockaddr *addr, uint32_t len)
{
    struct sockaddr_nl nl;
    int r = name_in(addr, len, &nl);

    return r ? r : address_take(file_nl(f), nl.nl_pid, nl.nl_groups);
}

static sysret_t nl_connect(struct call *c UNUSED, struct file *f, const struct sockaddr *addr,
                           uint32_t len)
{
    struct sockaddr_nl nl;

    if (len >= sizeof(addr->sa_family) && addr->sa_family == AF_UNSPEC)
        return 0;
    int r = name_in(addr, len, &nl);
    if (!r && (nl.nl_pid || nl.nl_groups))
        r = -EPERM; /* only the kernel can be talked to */
    return r ? r : address_take(file_nl(f), 0, file_nl(f)->groups);
}

static int nl_name(struct file *f, bool peer, struct sockaddr_storage *ret)
{
    struct sockaddr_nl nl = {.nl_family = AF_NETLINK};

    spin_lock(&g_lock);
    if (!peer) {
        nl.nl_pid = file_nl(f)->portid;
        nl.nl_groups = file_nl(f)->groups;
    }
    spin_unlock(&g_lock);
    memcpy(ret, &nl, sizeof(nl));
    return sizeof(nl);
}

/* --- sending, receiving --- */

static ssize_t nl_send_uio(struct nl_sock *s, struct uio *u)
{
    size_t n = u->left;
    struct nl_out o = {0};

    if (n > NETLINK_REQUEST_MAX)
        return -EMSGSIZE;
    int r = address_take(s, 0, s->groups);
    if (r)
        return r;
    char *buf autofree = malloc(n + 1);
    char *answer autofree = malloc(NETLINK_ANSWER_MAX);
    if (!buf || !answer)
        return -ENOBUFS;
    ssize_t got = n ? uio_copy_from_user(u, buf, n) : 0;
    if (got < 0 || (size_t)got < n)
        return -EFAULT;
    o.buf = answer;
    o.portid = s->portid;
    requests_walk(s, buf, n, &o);
    return (ssize_t)n;
}

static ssize_t nl_send(struct file *f, struct socket_msg *m, int flags)
{
    struct sockaddr_nl nl;

    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (m->name_len) {
        int r = name_in((const struct sockaddr *)&m->name, m->name_len, &nl);
        if (r)
            return r;
        if (nl.nl_groups)
            return -EPERM;
        if (nl.nl_pid)
            return -ECONNREFUSED;
    }
    return nl_send_uio(file_nl(f), m->data);
}

static ssize_t nl_write(struct file *f, struct uio *u, int64_t *pos UNUSED, unsigned flags UNUSED)
{
    return nl_send_uio(file_nl(f), u);
}

/* Takes the first message off the queue. */
static struct nl_message *message_take(struct nl_sock *s, int *ret_err)
{
    struct nl_message *m = NULL;

    spin_lock(&s->lock);
    if (s->overrun) {
        s->overrun = false;
        *ret_err = -ENOBUFS;
    } else if (list_empty(&s->queue)) {
        *ret_err = -EAGAIN;
    } else {
        m = list_first_entry(&s->queue, struct nl_message, link);
        list_del(&m->link);
        s->queued -= m->size;
    }
    spin_unlock(&s->lock);
    return m;
}

static void message_return(struct nl_sock *s, struct nl_message *m)
{
    spin_lock(&s->lock);
    list_add(&m->link, &s->queue);
    s->queued += m->size;
    spin_unlock(&s->lock);
}

static ssize_t nl_take(struct nl_sock *s, struct uio *u, struct socket_msg *msg, int flags)
{
    struct sockaddr_nl nl = {.nl_family = AF_NETLINK};
    int err = 0;

    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (unlikely(s->dump.on))
        dump_step(s);
    struct nl_message *m = message_take(s, &err);
    if (!m)
        return err;
    size_t n = MIN(m->size, u->left);
    ssize_t r = n ? uio_copy_to_user(u, m->data, n) : 0;
    if (r >= 0)
        r = (ssize_t)(flags & MSG_TRUNC ? m->size : n);
    if (msg) {
        msg->flags |= n < m->size ? MSG_TRUNC : 0;
        memcpy(&msg->name, &nl, sizeof(nl));
        msg->name_len = sizeof(nl);
        msg->cred = (struct ucred){0};
        msg->has_cred = true;
    }
    if (flags & MSG_PEEK)
        message_return(s, m);
    else
        free(m);
    return r;
}

static ssize_t nl_receive(struct file *f, struct socket_msg *m, int flags)
{
    return nl_take(file_nl(f), m->data, m, flags);
}

static ssize_t nl_read(struct file *f, struct uio *u, int64_t *pos UNUSED, unsigned flags UNUSED)
{
    return nl_take(file_nl(f), u, NULL, 0);
}

static bool nl_wants_cred(struct file *f)
{
    return file_nl(f)->pass_cred;
}

/* --- options --- */

static int socket_level_get(struct nl_sock *s, int name, void *buf, uint32_t *len)
{
    struct timeval tv;
    int32_t v = 0;

    switch (name) {
    case SO_TYPE:
        v = s->base.type;
        break;
    case SO_DOMAIN:
        v = AF_NETLINK;
        break;
    case SO_PROTOCOL:
        v = s->base.protocol;
        break;
    case SO_SNDBUF:
    case SO_RCVBUF:
        v = (int32_t)NETLINK_QUEUE_MAX;
        break;
    case SO_PASSCRED:
        v = s->pass_cred;
        break;
    case SO_ERROR:
    case SO_ACCEPTCONN:
        break;
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
        tv = socket_timeout_get(&s->base, name == SO_SNDTIMEO);
        option_store(buf, len, &tv, sizeof(tv));
        return 0;
    default:
        return -ENOPROTOOPT;
    }
    option_store(buf, len, &v, sizeof(v));
    return 0;
}

static bool kept_flag(int name)
{
    return name == NETLINK_PKTINFO || name == NETLINK_BROADCAST_ERROR ||
           name == NETLINK_NO_ENOBUFS || name == NETLINK_CAP_ACK || name == NETLINK_EXT_ACK ||
           name == NETLINK_GET_STRICT_CHK;
}

static int nl_option_get(struct file *f, int level, int name, void *buf, uint32_t *len)
{
    struct nl_sock *s = file_nl(f);

    if (level == SOL_SOCKET)
        return socket_level_get(s, name, buf, len);
    if (level != SOL_NETLINK || !kept_flag(name))
        return -ENOPROTOOPT;
    int32_t v = s->options >> name & 1;
    option_store(buf, len, &v, sizeof(v));
    return 0;
}

static int nl_option_set(struct file *f, int level, int name, const void *buf, uint32_t len)
{
    struct nl_sock *s = file_nl(f);
    int32_t v;

    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        return socket_timeout_set(&s->base, name == SO_SNDTIMEO, buf, len);
    if (len < sizeof(v))
        return -EINVAL;
    memcpy(&v, buf, sizeof(v));
    if (level == SOL_SOCKET) {
        if (name == SO_PASSCRED)
            s->pass_cred = v;
        else if (name != SO_SNDBUF && name != SO_RCVBUF) /* the limit stays */
            return -ENOPROTOOPT;
        return 0;
    }
    if (level != SOL_NETLINK)
        return -ENOPROTOOPT;
    if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP)
        return v > 0 && v <= RTNLGRP_MAX ? 0 : -EINVAL;
    if (!kept_flag(name))
        return -ENOPROTOOPT;
    if (v)
        atomic_fetch_or(&s->options, 1u << name);
    else
        atomic_fetch_and(&s->options, ~(1u << name));
    return 0;
}

/* --- the file --- */

static uint32_t nl_readiness(struct file *f)
{
    struct nl_sock *s = file_nl(f);
    uint32_t ready = POLLOUT | POLLWRNORM | POLLWRBAND;

    spin_lock(&s->lock);
    if (!list_empty(&s->queue) || s->dump.on)
        ready |= POLLIN | POLLRDNORM;
    if (s->overrun)
        ready |= POLLERR;
    spin_unlock(&s->lock);
    return ready;
}

static struct wait_queue *nl_wait_queue(struct file *f)
{
    return &file_nl(f)->wait;
}

static sysret_t nl_ioctl(struct file *f UNUSED, struct task *t, uint32_t cmd, uint64_t arg)
{
    return iface_ioctl(t, cmd, arg);
}

static void nl_release(struct file *f)
{
    struct nl_sock *s = file_nl(f);
    struct nl_message *m, *next;

    spin_lock(&g_lock);
    list_del(&s->bound_link);
    spin_unlock(&g_lock);
    list_for_each_entry_safe (m, next, &s->queue, link)
        free(m);
    free(s);
}

static const struct socket_ops nl_socket_ops = {
    .bind = nl_bind,
    .connect = nl_connect,
    .name = nl_name,
    .send = nl_send,
    .receive = nl_receive,
    .wants_cred = nl_wants_cred,
    .option_get = nl_option_get,
    .option_set = nl_option_set,
};

static const struct file_ops nl_ops = {
    .name = "socket",
    .socket = &nl_socket_ops,
    .timeout_ns = socket_file_timeout_ns,
    .read = nl_read,
    .write = nl_write,
    .readiness = nl_readiness,
    .wait_queue = nl_wait_queue,
    .ioctl = nl_ioctl,
    .getattr = socket_file_getattr,
    .release = nl_release,
};

static struct file *nl_create(int domain UNUSED, int type, int protocol)
{
    int kind = type & 0xf;

    if (kind != SOCK_RAW && kind != SOCK_DGRAM)
        return ERR_PTR(-ESOCKTNOSUPPORT);
    if (protocol != NETLINK_ROUTE && protocol != NETLINK_SOCK_DIAG)
        return ERR_PTR(-EPROTONOSUPPORT);
    struct nl_sock *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_PTR(-ENOMEM);
    s->base.domain = AF_NETLINK;
    s->base.type = kind;
    s->base.protocol = protocol;
    spin_init(&s->lock, RANK_OBJECT);
    fmutex_init(&s->dump_lock, RANK_FILE);
    list_init(&s->queue);
    list_init(&s->bound_link);
    wait_queue_init(&s->wait);
    struct file *f = file_new(&nl_ops, s, O_RDWR | (type & SOCK_NONBLOCK ? O_NONBLOCK : 0u));
    if (IS_ERR(f))
        free(s);
    return f;
}

const struct socket_family netlink_family = {.domain = AF_NETLINK, .create = nl_create};
