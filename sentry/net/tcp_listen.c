/* SPDX-License-Identifier: Apache-2.0
 * tcp_listen.c - listening sockets: connections on their way to accept.
 *
 * connect() makes the server's socket (child), joins both, and puts it among the listener's pending
 * ones; what is sent before accept lies in its ring. More than backlog + 1 do not fit: then the
 * client waits in the listener's syns, as if its SYN had been dropped, and accept lets the next one
 * in. With TCP_DEFER_ACCEPT a child stays in deferred until its first byte or FIN, or until the
 * time is over.
 *
 * A listener that goes resets its children, as if accepted and closed with data, and refuses those
 * who wait.
 *
 * Guests choose backlogs and the order of everything. Locks: g_halfway_lock (RANK_NET) for syns,
 * deferred and who is in them; a listener's lock for pending; never two sockets' at once. Whoever
 * takes a socket off syns or deferred decides alone what becomes of it. */
#include <poll.h>

#include <kernel/ktime.h>
#include <kernel/task.h>

#include "tcp.h"

#define SYN_TIMEOUT_NS (127LL * 1000000000) /* of six retries */
#define NS_PER_S 1000000000LL

static struct spin g_halfway_lock = SPIN_INIT(RANK_NET);

/* --- the two lists --- */

/* Takes a reference to both. */
static void halfway_join(struct tcp_sock *s, struct tcp_sock *l, struct list_head *list)
{
    inet_get(&s->i);
    inet_get(&l->i);
    spin_lock(&g_halfway_lock);
    s->listener = l;
    list_add_tail(&s->link, list);
    spin_unlock(&g_halfway_lock);
}

bool tcp_halfway_leave(struct tcp_sock *s)
{
    spin_lock(&g_halfway_lock);
    struct tcp_sock *l = s->listener;
    if (l) {
        list_del(&s->link);
        s->listener = NULL;
    }
    spin_unlock(&g_halfway_lock);
    if (!l)
        return false;
    tcp_put(l);
    tcp_put(s); /* the caller has one of its own */
    return true;
}

/* The first of a list, off it; its reference is the caller's. */
static struct tcp_sock *halfway_take(struct list_head *list)
{
    struct tcp_sock *s = NULL, *l = NULL;

    spin_lock(&g_halfway_lock);
    if (!list_empty(list)) {
        s = list_first_entry(list, struct tcp_sock, link);
        list_del(&s->link);
        l = s->listener;
        s->listener = NULL;
    }
    spin_unlock(&g_halfway_lock);
    tcp_put(l);
    return s;
}

static bool halfway_empty(struct list_head *list)
{
    spin_lock(&g_halfway_lock);
    bool r = list_empty(list);
    spin_unlock(&g_halfway_lock);
    return r;
}

/* --- children --- */

/* @child, joined, to the pending ones: takes the caller's reference. The listener may have gone. */
static void pending_add(struct tcp_sock *l, struct tcp_sock *child)
{
    spin_lock(&l->i.lock);
    bool there = l->state == TCP_ST_LISTEN;
    if (there)
        list_add_tail(&child->link, &l->pending);
    else
        l->pending_count--;
    spin_unlock(&l->i.lock);
    if (there) {
        wake_one(&l->i.wait, POLLIN | POLLRDNORM);
        async_notify(&l->i.wait, POLL_IN);
        return;
    }
    tcp_end(child, true);
}

void tcp_arrived(struct tcp_sock *child)
{
    struct tcp_sock *l = NULL;

    inet_get(&child->i);
    spin_lock(&g_halfway_lock);
    if (child->listener) {
        l = child->listener;
        list_del(&child->link);
        child->listener = NULL;
    }
    spin_unlock(&g_halfway_lock);
    if (l) {
        pending_add(l, child); /* with the list's reference */
        tcp_put(l);
    }
    tcp_put(child);
}

static void defer_over(struct timer *t)
{
    tcp_arrived(container_of(t, struct tcp_sock, timer));
}

static void child_deliver(struct tcp_sock *l, struct tcp_sock *child)
{
    int32_t seconds = inet_opt(&l->i, OPT_DEFER_ACCEPT);

    if (!seconds) {
        pending_add(l, child);
        return;
    }
    timer_init(&child->timer, defer_over);
    child->timer_used = true;
    halfway_join(child, l, &l->deferred);
    if (timer_arm(&child->timer, NULL, clock_now_ns(CLOCK_MONOTONIC) + seconds * NS_PER_S) < 0)
        tcp_arrived(child);
    tcp_put(child);
}

/* --- connecting --- */

/* A place in the queue. -ECONNREFUSED, -EAGAIN (full). */
static int pending_reserve(struct tcp_sock *l)
{
    int r = 0;

    spin_lock(&l->i.lock);
    if (l->state != TCP_ST_LISTEN)
        r = -ECONNREFUSED;
    else if (l->pending_count > l->backlog)
        r = -EAGAIN;
    else
        l->pending_count++;
    spin_unlock(&l->i.lock);
    return r;
}

static void pending_unreserve(struct tcp_sock *l)
{
    spin_lock(&l->i.lock);
    l->pending_count--;
    spin_unlock(&l->i.lock);
}

/* Both know each other from here on. @s may have been closed or reset meanwhile. */
static bool join(struct tcp_sock *s, struct tcp_sock *child)
{
    child->peer = s;
    inet_get(&s->i);
    spin_lock(&s->i.lock);
    bool wanted = !s->dead && s->phase == PHASE_CONNECTING && !s->peer;
    if (wanted) {
        inet_get(&child->i);
        s->peer = child;
        s->state = TCP_ST_CONNECTED;
        if (!s->i.send_size_set)
            s->i.send_size = TCP_SEND_CONNECTED;
    }
    spin_unlock(&s->i.lock);
    return wanted;
}

/* A place is reserved. */
static int establish(struct tcp_sock *s, struct tcp_sock *l)
{
    struct tcp_sock *child = tcp_alloc(l->i.base.domain, l->i.base.protocol);

    if (!child) {
        pending_unreserve(l);
        return -ENOBUFS;
    }
    inet_inherit(&child->i, &l->i);
    if (!child->i.send_size_set)
        child->i.send_size = TCP_SEND_CONNECTED;
    child->state = TCP_ST_CONNECTED;
    child->phase = PHASE_CONNECTED;
    child->rcv_shut = atomic_load(&l->rcv_shut);
    child->snd_shut = atomic_load(&l->snd_shut);
    port_join(&g_tcp_ports, &child->i, &s->i.remote, &s->i.local);
    if (!join(s, child)) {
        pending_unreserve(l);
        tcp_end(child, false);
        return -ECONNREFUSED;
    }
    if (unlikely(l->snd_shut)) {
        child->fin_sent = true;
        tcp_finish(s, child);
    }
    child_deliver(l, child);
    tcp_wake(s);
    async_notify(&s->i.wait, POLL_OUT);
    return 0;
}

static void syn_timeout(struct timer *t)
{
    struct tcp_sock *s = container_of(t, struct tcp_sock, timer);

    inet_get(&s->i);
    if (tcp_halfway_leave(s))
        tcp_fail(s, ETIMEDOUT);
    tcp_put(s); /* its file holds another: closing it waits for this timer */
}

static int64_t syn_time_ns(const struct tcp_sock *s)
{
    int32_t user_ms = inet_opt(&s->i, OPT_USER_TIMEOUT), tries = inet_opt(&s->i, OPT_SYNCNT);

    if (user_ms)
        return user_ms * 1000000LL;
    return tries >= 6 ? SYN_TIMEOUT_NS : ((2LL << tries) - 1) * NS_PER_S;
}

/* Let in who waits, as far as there is room. */
static void syns_serve(struct tcp_sock *l)
{
    while (!halfway_empty(&l->syns) && pending_reserve(l) == 0) {
        struct tcp_sock *s = halfway_take(&l->syns);
        if (!s) {
            pending_unreserve(l);
            break;
        }
        int r = establish(s, l);
        if (r)
            tcp_fail(s, -r);
        tcp_put(s);
    }
}

static int syn_wait(struct tcp_sock *s, struct tcp_sock *l)
{
    if (!s->timer_used)
        timer_init(&s->timer, syn_timeout);
    s->timer_used = true;
    spin_lock(&s->i.lock);
    s->state = TCP_ST_SYN_SENT;
    spin_unlock(&s->i.lock);
    halfway_join(s, l, &l->syns);
    if (timer_arm(&s->timer, NULL, clock_now_ns(CLOCK_MONOTONIC) + syn_time_ns(s)) < 0 &&
        tcp_halfway_leave(s))
        return -ENOBUFS;
    syns_serve(l); /* room that came before we stood there */
    spin_lock(&l->i.lock);
    bool gone = l->state != TCP_ST_LISTEN;
    spin_unlock(&l->i.lock);
    return gone && tcp_halfway_leave(s) ? -ECONNREFUSED : 0;
}

int tcp_knock(struct tcp_sock *s, struct tcp_sock *l)
{
    int r = pending_reserve(l);

    if (r == 0)
        return establish(s, l);
    return r == -EAGAIN ? syn_wait(s, l) : r;
}

/* --- the listener --- */

int tcp_listen(struct file *f, int backlog)
{
    struct tcp_sock *s = file_tcp(f);
    bool again;
    int r = 0;

    spin_lock(&s->i.lock);
    again = s->state == TCP_ST_LISTEN;
    if (again)
        s->backlog = MIN((uint32_t)backlog, SOCKET_BACKLOG_MAX);
    else if (s->state != TCP_ST_CLOSE || s->phase != PHASE_UNCONNECTED)
        r = -EINVAL;
    spin_unlock(&s->i.lock);
    if (r || again)
        return r;
    r = port_listen(&g_tcp_ports, &s->i);
    if (r)
        return r;
    spin_lock(&s->i.lock);
    s->state = TCP_ST_LISTEN;
    s->fin_sent = false; /* a shutdown of before is its children's too, as on Linux */
    s->backlog = MIN((uint32_t)backlog, SOCKET_BACKLOG_MAX);
    spin_unlock(&s->i.lock);
    return 0;
}

struct file *tcp_accept(struct file *f, uint32_t flags)
{
    struct tcp_sock *l = file_tcp(f), *child = NULL;
    int r = -EAGAIN;

    spin_lock(&l->i.lock);
    if (l->state != TCP_ST_LISTEN) {
        r = -EINVAL;
    } else if (!list_empty(&l->pending)) {
        child = list_first_entry(&l->pending, struct tcp_sock, link);
        list_del(&child->link);
        l->pending_count--;
    }
    spin_unlock(&l->i.lock);
    if (!child)
        return ERR_PTR(r);
    syns_serve(l);
    struct file *a = inet_file_new(&child->i, &tcp_ops, flags & SOCK_NONBLOCK);
    if (IS_ERR(a)) {
        tcp_end(child, true);
    }
    return a;
}

void tcp_listener_end(struct tcp_sock *l)
{
    struct list_head rest = LIST_HEAD_INIT(rest);
    struct tcp_sock *s;

    port_unlisten(&g_tcp_ports, &l->i);
    spin_lock(&l->i.lock);
    l->state = TCP_ST_CLOSE;
    list_splice_tail(&l->pending, &rest);
    l->pending_count = 0;
    spin_unlock(&l->i.lock);
    port_detach(&g_tcp_ports, &l->i);
    while ((s = halfway_take(&l->deferred)))
        list_add_tail(&s->link, &rest);
    while ((s = halfway_take(&l->syns))) {
        tcp_fail(s, ECONNREFUSED);
        tcp_put(s);
    }
    while (!list_empty(&rest)) {
        s = list_first_entry(&rest, struct tcp_sock, link);
        list_del(&s->link);
        tcp_end(s, true);
    }
}
