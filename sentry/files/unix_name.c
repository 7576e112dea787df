/* SPDX-License-Identifier: Apache-2.0
 * unix_name.c - AF_UNIX sockets by name: bind, listen, connect, accept.
 *
 * Bound sockets stand in one table, g_names, by the inode of their file (held by its path, so that
 * every walk finds the same inode) or by their abstract name. connect makes the server's socket,
 * joins both, and puts it among the listener's pending ones; what is sent before accept queues on
 * it. A listener that goes ends its pending sockets as if they had been accepted and closed.
 *
 * Guests choose names, backlogs and order of calls. Locks: g_names_lock (RANK_OBJECT) and sock.lock
 * (RANK_OBJECT), one at a time.
 *
 * What waits for a listener's room is on its room_wait. */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <kernel/ktime.h>
#include <kernel/task.h>

#include "unix.h"

#define BUCKETS 64u

static struct spin g_names_lock = SPIN_INIT(RANK_OBJECT);
static struct list_head g_names[BUCKETS]; /* g_names_lock; empty ones may be all zero */
static _Atomic(uint32_t) g_next_auto;

static struct list_head *bucket_get(unsigned hash)
{
    struct list_head *b = &g_names[hash % BUCKETS];

    if (!b->next)
        list_init(b);
    return b;
}

static unsigned name_hash(const struct inode *i, const struct sockaddr_un *name, uint32_t len)
{
    unsigned h = 5381;

    if (i)
        return (unsigned)((uintptr_t)i >> 6);
    for (uint32_t at = 0; at < len - UNIX_FAMILY_LEN; at++)
        h = h * 33 + (unsigned char)name->sun_path[at];
    return h;
}

/* Each type has abstract names of its own. */
static bool name_is(const struct sock *s, const struct inode *i, const struct sockaddr_un *name,
                    uint32_t len, int type)
{
    if (i)
        return s->path.dentry && path_inode(&s->path) == i;
    return !s->path.dentry && s->base.type == type && s->name_len == len &&
           memcmp(&s->name, name, len) == 0;
}

/* By file (@i) or abstract name; borrowed. g_names_lock held. */
static struct sock *name_find_locked(const struct inode *i, const struct sockaddr_un *name,
                                     uint32_t len, int type)
{
    struct list_head *b = bucket_get(name_hash(i, name, len));
    struct sock *s;

    list_for_each_entry (s, b, name_link) {
        if (name_is(s, i, name, len, type))
            return s;
    }
    return NULL;
}

/* --- bind --- */

/* Gives @s its name if it has none and the name is free. */
static int name_take(struct sock *s, const struct path *p, const struct sockaddr_un *name,
                     uint32_t len)
{
    struct inode *i = p ? path_inode(p) : NULL;
    struct attr at = {0};
    int r = 0;

    if (i)
        inode_attr(i, &at);
    spin_lock(&g_names_lock);
    if (s->name_len) {
        r = -EINVAL;
    } else if (name_find_locked(i, name, len, s->base.type)) {
        r = -EADDRINUSE;
    } else {
        s->name = *name;
        s->file_ino = at.ino;
        s->file_dev = at.dev;
        if (p) {
            path_get(p);
            s->path = *p;
        }
        atomic_store(&s->name_len, len);
        list_add(&s->name_link, bucket_get(name_hash(i, name, len)));
    }
    spin_unlock(&g_names_lock);
    return r;
}

int unix_bind_auto(struct sock *s)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int r = s->name_len ? 0 : -EADDRINUSE;

    for (unsigned tries = 0; r == -EADDRINUSE && tries < 4096; tries++) {
        snprintf(name.sun_path + 1, 6, "%05x", atomic_fetch_add(&g_next_auto, 1) & 0xfffff);
        r = name_take(s, NULL, &name, UNIX_FAMILY_LEN + 6);
    }
    return r;
}

/* A copy of the guest's, zeros behind it. */
static int name_check(const struct sockaddr *addr, uint32_t len)
{
    if (len < UNIX_FAMILY_LEN || len > sizeof(struct sockaddr_un) || addr->sa_family != AF_UNIX)
        return -EINVAL;
    return 0;
}

int unix_bind(struct task *t, struct file *f, const struct sockaddr *addr, uint32_t len)
{
    const struct sockaddr_un *name = (const void *)addr;
    struct sock *s = file_sock(f);
    struct path p AUTO_PATH = {0};
    int r = name_check(addr, len);

    if (r)
        return r;
    if (len == UNIX_FAMILY_LEN)
        return unix_bind_auto(s);
    if (!name->sun_path[0])
        return s->name_len ? -EINVAL : name_take(s, NULL, name, len);
    char path[sizeof(name->sun_path) + 1] = {0};
    memcpy(path, name->sun_path, len - UNIX_FAMILY_LEN);
    if (s->name_len) { /* the file comes first, and is tried for */
        r = path_lookup(t, AT_FDCWD, path, LOOKUP_NOFOLLOW, &p);
        return r ? -EINVAL : -EADDRINUSE;
    }
    struct sockaddr_un shown = {.sun_family = AF_UNIX};
    memcpy(shown.sun_path, path, sizeof(shown.sun_path));
    r = vfs_mknod(t, AT_FDCWD, path, S_IFSOCK | 0777, 0);
    if (r)
        return r == -EEXIST ? -EADDRINUSE : r;
    r = path_lookup(t, AT_FDCWD, path, LOOKUP_NOFOLLOW, &p);
    if (r)
        return r;
    return name_take(s, &p, &shown, UNIX_FAMILY_LEN + (uint32_t)strlen(path) + 1);
}

/* --- listen, connect, accept --- */

int unix_listen(struct file *f, int backlog)
{
    struct sock *s = file_sock(f);

    if (s->base.type == SOCK_DGRAM)
        return -EOPNOTSUPP;
    if (!s->name_len || s->peer)
        return -EINVAL;
    spin_lock(&s->lock);
    s->listening = true;
    s->backlog = MIN((uint32_t)backlog, SOCKET_BACKLOG_MAX);
    s->peer_cred = sock_cred_of_current();
    spin_unlock(&s->lock);
    wake_all(&s->room_wait, POLLOUT);
    return 0;
}

static void sock_put_ref(void *ref)
{
    sock_put(ref);
}

/* The inode of a path name, with permission to write: a reference in @p. */
static int path_find(const struct sockaddr_un *name, uint32_t len, struct path *p)
{
    struct task *t = task_current();
    char path[sizeof(name->sun_path) + 1] = {0};

    memcpy(path, name->sun_path, len - UNIX_FAMILY_LEN);
    int r = path_lookup(t, AT_FDCWD, path, LOOKUP_MAY_WRITE, p);
    return r ? r : inode_permission(path_inode(p), MAY_WRITE, t->cred);
}

struct sock *unix_find(const struct sockaddr_un *name, uint32_t len, int type)
{
    struct path p AUTO_PATH = {0};
    struct inode *i = NULL;

    if (len <= UNIX_FAMILY_LEN)
        return ERR_PTR(-EINVAL);
    if (name->sun_path[0]) {
        int r = path_find(name, len, &p);
        if (r)
            return ERR_PTR(r);
        i = path_inode(&p);
    }
    spin_lock(&g_names_lock);
    struct sock *s = name_find_locked(i, name, len, type);
    bool fits = s && s->base.type == type;
    if (fits)
        refcount_get(&s->ref);
    spin_unlock(&g_names_lock);
    return fits ? s : ERR_PTR(s ? -EPROTOTYPE : -ECONNREFUSED);
}

/* A place among the pending ones of @l, counted. */
static int pending_reserve(struct sock *l, struct ucred *ret_cred)
{
    int r = 0;

    spin_lock(&l->lock);
    if (!l->listening || l->dead || l->rcv_shut)
        r = -ECONNREFUSED;
    else if (l->pending_count > l->backlog)
        r = -EAGAIN;
    else
        l->pending_count++;
    *ret_cred = l->peer_cred;
    spin_unlock(&l->lock);
    return r;
}

/* @server, joined, to @l's pending ones; false: @l went meanwhile. */
static bool pending_add(struct sock *l, struct sock *server)
{
    spin_lock(&l->lock);
    bool there = !l->dead;
    if (there)
        list_add_tail(&server->name_link, &l->pending);
    else
        l->pending_count--;
    spin_unlock(&l->lock);
    if (there)
        wake_one(&l->wait, POLLIN | POLLRDNORM);
    if (there)
        async_notify(&l->wait, POLL_IN);
    return there;
}

/* Both know each other from here on. */
static int sock_join(struct sock *s, struct sock *server, const struct ucred *listener)
{
    spin_lock(&s->lock);
    int r = s->listening ? -EINVAL : s->peer ? -EISCONN : 0;
    if (!r) {
        s->peer_cred = *listener;
        refcount_get(&s->ref);
        server->peer = s;
        refcount_get(&server->ref);
        s->peer = server;
    }
    spin_unlock(&s->lock);
    return r;
}

static void pending_give_back(struct sock *l)
{
    spin_lock(&l->lock);
    l->pending_count--;
    spin_unlock(&l->lock);
    wake_all(&l->room_wait, POLLOUT);
}

static int connect_to(struct sock *s, struct sock *l)
{
    struct ucred cred;

    struct sock *server = sock_alloc(s->base.type);
    if (!server)
        return -ENOMEM;
    server->peer_cred = sock_cred_of_current();
    server->pass_cred = l->pass_cred;
    server->name = l->name;
    server->name_len = l->name_len;
    int r = pending_reserve(l, &cred);
    if (!r) {
        r = sock_join(s, server, &cred);
        if (r)
            pending_give_back(l);
    }
    if (r) {
        sock_put(server);
        return r;
    }
    if (!pending_add(l, server)) {
        sock_end(server);
        return 0; /* connected and reset at once */
    }
    wake_all(&s->wait, POLLOUT | POLLWRNORM);
    return 0;
}

/* -EAGAIN: the listener's queue is full; then *ret_l is it, a reference. */
static int connect_once(struct sock *s, const struct sockaddr_un *name, uint32_t len,
                        struct sock **ret_l)
{
    int r = s->pass_cred ? unix_bind_auto(s) : 0;

    if (r)
        return r;
    struct sock *l = unix_find(name, len, s->base.type);
    if (IS_ERR(l))
        return PTR_ERR(l);
    r = connect_to(s, l);
    if (r == -EAGAIN)
        *ret_l = l;
    else
        sock_put(l);
    return r;
}

static bool connect_full(struct sock *l)
{
    spin_lock(&l->lock);
    bool full = l->listening && !l->dead && !l->rcv_shut && l->pending_count > l->backlog;
    spin_unlock(&l->lock);
    return full;
}

/* A datagram socket only notes where it sends to. */
static int dgram_connect(struct sock *s, const struct sockaddr *addr, uint32_t len)
{
    if (len >= sizeof(addr->sa_family) && addr->sa_family == AF_UNSPEC)
        return unix_dgram_connect(s, NULL);
    int r = name_check(addr, len);
    if (!r && s->pass_cred)
        r = unix_bind_auto(s);
    if (r)
        return r;
    struct sock *to = unix_find((const void *)addr, len, SOCK_DGRAM);
    if (IS_ERR(to))
        return PTR_ERR(to);
    if (to->peer && to->peer != s) {
        sock_put(to);
        return -EPERM;
    }
    return unix_dgram_connect(s, to);
}

sysret_t unix_connect(struct call *c, struct file *f, const struct sockaddr *addr, uint32_t len)
{
    struct sock *s = file_sock(f), *l = NULL;

    if (s->base.type == SOCK_DGRAM)
        return dgram_connect(s, addr, len);
    int r = name_check(addr, len);
    if (!r)
        r = connect_once(s, (const void *)addr, len, &l);
    if (r != -EAGAIN || !l)
        return r;
    if (f->flags & O_NONBLOCK) {
        sock_put(l);
        return -EAGAIN;
    }
    if (s->base.send_timeout_ns)
        call_deadline(c, deadline_after(s->base.send_timeout_ns));
    r = call_arm_ref(c, &l->room_wait, POLLOUT, l, sock_put_ref);
    if (r)
        return r;
    if (!connect_full(l)) /* room that came before the waiter */
        return call_run_again(c);
    sysret_t w = call_wait_armed(c);
    return w == -ETIMEDOUT ? -EAGAIN : w;
}

/* Before anything of a message is looked at. */
int unix_destination(struct file *f, const struct sockaddr *addr, uint32_t len)
{
    struct sock *s = file_sock(f);

    if (s->base.type == SOCK_STREAM)
        return s->peer ? -EISCONN : -EOPNOTSUPP;
    return s->base.type == SOCK_DGRAM ? name_check(addr, len) : 0;
}

struct file *unix_accept(struct file *f, uint32_t flags)
{
    struct sock *s = file_sock(f), *server = NULL;
    int r = -EAGAIN;

    if (s->base.type == SOCK_DGRAM)
        return ERR_PTR(-EOPNOTSUPP);
    spin_lock(&s->lock);
    bool ended = s->rcv_shut && !(f->flags & O_NONBLOCK); /* else it might have waited */
    if (!s->listening || (ended && list_empty(&s->pending))) {
        r = -EINVAL;
    } else if (!list_empty(&s->pending)) {
        server = list_first_entry(&s->pending, struct sock, name_link);
        list_del(&server->name_link);
        s->pending_count--;
    }
    spin_unlock(&s->lock);
    if (!server)
        return ERR_PTR(r);
    wake_all(&s->room_wait, POLLOUT);
    struct file *a = sock_file_new(server, flags & SOCK_NONBLOCK ? SOCK_NONBLOCK : 0);
    return a;
}

/* --- names, the end --- */

int unix_name(struct file *f, bool peer, struct sockaddr_storage *ret)
{
    struct sock *s = file_sock(f), *other = peer ? sock_peer_get(s) : NULL;

    ret->ss_family = AF_UNIX;
    if (peer && !other)
        return -ENOTCONN;
    if (peer)
        s = other;
    uint32_t len = atomic_load(&s->name_len);
    if (len)
        memcpy(ret, &s->name, sizeof(s->name));
    sock_put(other);
    return (int)(len ? len : UNIX_FAMILY_LEN);
}

void unix_name_copy(const struct sock *s, struct socket_msg *m)
{
    uint32_t len = atomic_load(&s->name_len);

    m->name_len = len;
    if (len)
        memcpy(&m->name, &s->name, sizeof(s->name));
}

void sock_name_end(struct sock *s)
{
    struct list_head rest = LIST_HEAD_INIT(rest);
    struct path p = {0};

    if (s->name_len) {
        spin_lock(&g_names_lock);
        list_del(&s->name_link);
        p = s->path;
        s->path = (struct path){0};
        spin_unlock(&g_names_lock);
        path_put(&p);
    }
    spin_lock(&s->lock);
    s->dead = true;
    list_splice_tail(&s->pending, &rest);
    s->pending_count = 0;
    spin_unlock(&s->lock);
    while (!list_empty(&rest)) {
        struct sock *server = list_first_entry(&rest, struct sock, name_link);
        list_del(&server->name_link);
        sock_shut(server->peer, false, false, ECONNRESET);
        sock_end(server);
    }
    wake_all(&s->wait, POLLIN | POLLOUT | POLLHUP);
    wake_all(&s->room_wait, POLLOUT);
}
