/* SPDX-License-Identifier: Apache-2.0
 * socket_name.c - AF_UNIX sockets by name: bind, listen, connect, accept.
 *
 * Bound sockets stand in one table, g_names, by the inode of their file (held by its path, so that
 * every walk finds the same inode) or by their abstract name. connect makes the server's socket,
 * joins both, and puts it among the listener's pending ones; what is sent before accept queues on
 * it. A listener that goes ends its pending sockets as if they had been accepted and closed.
 *
 * Guests choose names, backlogs and order of calls. Locks: g_names_lock (RANK_OBJECT) and sock.lock
 * (RANK_OBJECT), one at a time.
 * Left out: names of datagram sockets; a listening socket's POLLOUT for connectors is not said to
 * poll. */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <kernel/task.h>

#include "socket.h"

#define FAMILY_LEN ((uint32_t)offsetof(struct sockaddr_un, sun_path))
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
    for (uint32_t at = 0; at < len - FAMILY_LEN; at++)
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
    const struct inode *i = p ? path_inode(p) : NULL;
    int r = 0;

    spin_lock(&g_names_lock);
    if (s->name_len) {
        r = -EINVAL;
    } else if (name_find_locked(i, name, len, s->base.type)) {
        r = -EADDRINUSE;
    } else {
        s->name = *name;
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

static int bind_auto(struct sock *s)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int r = -EADDRINUSE;

    for (unsigned tries = 0; r == -EADDRINUSE && tries < 4096; tries++) {
        snprintf(name.sun_path + 1, 6, "%05x", atomic_fetch_add(&g_next_auto, 1) & 0xfffff);
        r = name_take(s, NULL, &name, FAMILY_LEN + 6);
    }
    return r;
}

/* A copy of the guest's, zeros behind it. */
static int name_check(const struct sockaddr *addr, uint32_t len)
{
    if (len < FAMILY_LEN || len > sizeof(struct sockaddr_un) || addr->sa_family != AF_UNIX)
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
    if (s->name_len)
        return -EINVAL;
    if (s->base.type == SOCK_DGRAM)
        return -EOPNOTSUPP;
    if (len == FAMILY_LEN)
        return bind_auto(s);
    if (!name->sun_path[0])
        return name_take(s, NULL, name, len);
    char path[sizeof(name->sun_path) + 1] = {0};
    memcpy(path, name->sun_path, len - FAMILY_LEN);
    struct sockaddr_un shown = {.sun_family = AF_UNIX};
    memcpy(shown.sun_path, path, sizeof(shown.sun_path));
    r = vfs_mknod(t, AT_FDCWD, path, S_IFSOCK | 0777, 0);
    if (r)
        return r == -EEXIST ? -EADDRINUSE : r;
    r = path_lookup(t, AT_FDCWD, path, LOOKUP_NOFOLLOW, &p);
    if (r)
        return r;
    return name_take(s, &p, &shown, FAMILY_LEN + (uint32_t)strlen(path) + 1);
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
    wake_all(&s->wait, POLLOUT | POLLWRNORM);
    return 0;
}

static void sock_put_ref(void *ref)
{
    sock_put(ref);
}

/* The socket of that name, a reference. */
static struct sock *listener_find(struct task *t, const struct sockaddr_un *name, uint32_t len,
                                  int type)
{
    struct path p AUTO_PATH = {0};
    struct inode *i = NULL;

    if (len == FAMILY_LEN)
        return ERR_PTR(-EINVAL);
    if (name->sun_path[0]) {
        char path[sizeof(name->sun_path) + 1] = {0};
        memcpy(path, name->sun_path, len - FAMILY_LEN);
        int r = path_lookup(t, AT_FDCWD, path, 0, &p);
        if (r)
            return ERR_PTR(r);
        i = path_inode(&p);
        r = inode_permission(i, MAY_WRITE, t->cred);
        if (r)
            return ERR_PTR(r);
    }
    spin_lock(&g_names_lock);
    struct sock *s = name_find_locked(i, name, len, type);
    if (s)
        refcount_get(&s->ref);
    spin_unlock(&g_names_lock);
    return s ? s : ERR_PTR(-ECONNREFUSED);
}

/* A place among the pending ones of @l, counted. */
static int pending_reserve(struct sock *l, struct ucred *ret_cred)
{
    int r = 0;

    spin_lock(&l->lock);
    if (!l->listening || l->dead)
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
        wake_all(&l->wait, POLLIN | POLLRDNORM);
    return there;
}

/* Both know each other from here on. */
static int sock_join(struct sock *s, struct sock *server, const struct ucred *listener)
{
    spin_lock(&s->lock);
    int r = s->peer ? -EISCONN : 0;
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

static int connect_to(struct sock *s, struct sock *l)
{
    struct ucred cred;

    if (s->base.type != l->base.type)
        return -EPROTOTYPE;
    struct sock *server = sock_alloc(s->base.type);
    if (!server)
        return -ENOMEM;
    server->peer_cred = sock_cred_of_current();
    server->name = l->name;
    server->name_len = l->name_len;
    int r = pending_reserve(l, &cred);
    if (r) {
        sock_put(server);
        return r;
    }
    r = sock_join(s, server, &cred);
    if (r) {
        spin_lock(&l->lock);
        l->pending_count--;
        spin_unlock(&l->lock);
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
static int connect_once(struct task *t, struct sock *s, const struct sockaddr_un *name,
                        uint32_t len, struct sock **ret_l)
{
    if (s->listening)
        return -EINVAL;
    if (s->peer && s->base.type != SOCK_DGRAM)
        return -EISCONN;
    struct sock *l = listener_find(t, name, len, s->base.type);
    if (IS_ERR(l))
        return PTR_ERR(l);
    int r = connect_to(s, l);
    if (r == -EAGAIN)
        *ret_l = l;
    else
        sock_put(l);
    return r;
}

sysret_t unix_connect(struct call *c, struct file *f, const struct sockaddr *addr, uint32_t len)
{
    const struct sockaddr_un *name = (const void *)addr;
    struct sock *s = file_sock(f), *l;
    int r = name_check(addr, len);

    if (!r)
        r = connect_once(c->task, s, name, len, &l);
    if (r != -EAGAIN)
        return r;
    if (f->flags & O_NONBLOCK) {
        sock_put(l);
        return -EAGAIN;
    }
    r = call_arm_ref(c, &l->wait, POLLOUT, l, sock_put_ref);
    if (r)
        return r;
    r = connect_once(c->task, s, name, len, &l); /* room that came before the waiter */
    if (r != -EAGAIN)
        return r;
    sock_put(l);
    return call_wait_armed(c);
}

/* Nobody has a name to send to: what a look at the path says, else ECONNREFUSED. */
int unix_destination(struct file *f, const struct sockaddr *addr, uint32_t len)
{
    const struct sockaddr_un *un = (const void *)addr;
    struct sock *s = file_sock(f);
    struct path p AUTO_PATH = {0};

    if (s->base.type == SOCK_STREAM)
        return s->peer ? -EISCONN : -EOPNOTSUPP;
    int err = name_check(addr, len);
    if (err)
        return err;
    char name[sizeof(un->sun_path) + 1] = {0};
    memcpy(name, un->sun_path, len - FAMILY_LEN);
    err = name[0] ? path_lookup(task_current(), AT_FDCWD, name, 0, &p) : 0;
    return err ? err : -ECONNREFUSED;
}

struct file *unix_accept(struct file *f, uint32_t flags)
{
    struct sock *s = file_sock(f), *server = NULL;
    int r = -EAGAIN;

    if (s->base.type == SOCK_DGRAM)
        return ERR_PTR(-EOPNOTSUPP);
    spin_lock(&s->lock);
    if (!s->listening) {
        r = -EINVAL;
    } else if (!list_empty(&s->pending)) {
        server = list_first_entry(&s->pending, struct sock, name_link);
        list_del(&server->name_link);
        s->pending_count--;
    }
    spin_unlock(&s->lock);
    if (!server)
        return ERR_PTR(r);
    wake_all(&s->wait, POLLOUT | POLLWRNORM);
    refcount_get(&server->ref);
    struct file *a = sock_file_new(server, flags & SOCK_NONBLOCK ? SOCK_NONBLOCK : 0);
    if (IS_ERR(a)) /* its references went, also the one to the peer */
        sock_shut(server->peer, true, true, ECONNRESET);
    sock_put(server);
    return a;
}

/* --- names, the end --- */

int unix_name(struct file *f, bool peer, struct sockaddr_storage *ret)
{
    struct sock *s = file_sock(f);

    ret->ss_family = AF_UNIX;
    if (peer)
        s = s->peer;
    if (!s)
        return -ENOTCONN;
    uint32_t len = atomic_load(&s->name_len);
    if (!len)
        return (int)FAMILY_LEN;
    memcpy(ret, &s->name, sizeof(s->name));
    return (int)len;
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
}
