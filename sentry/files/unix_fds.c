/* SPDX-License-Identifier: Apache-2.0
 * unix_fds.c - descriptors in messages, and the sockets that only messages know.
 *
 * A socket can be sent through itself, or two through each other, and then be closed: its file
 * lives by the references in queues that nobody can read any more. The collector finds them: a
 * socket is suspect when all references to its file come from queues (ref == in_flight). Of each
 * suspect it counts how many of them come from queues of suspects; who has others is alive, and so
 * is what stands in its queue, and so on. What is left is thrown out of its queues.
 *
 * Entering and leaving queues is under g_fds_lock, so what the collector sees does not move: a
 * suspect's file can get a new reference only from a queue. References held by a call in progress
 * make a socket look alive; it is found at the next collection. It runs when a socket ends, so rarely that
 * its cost for each end is bounded (COLLECT_SHARE), and before a send is refused for too many.
 *
 * Guests send what they like: SOCKET_INFLIGHT_MAX descriptors, of a user RLIMIT_NOFILE.
 * Locks: g_fds_lock (RANK_OBJECT), then a socket's, then that of one of its pending connections;
 * g_users_lock alone. */
#include <stdatomic.h>
#include <stdlib.h>

#include <linux/capability.h>

#include <kernel/task.h>

#include "unix.h"

#define COLLECT_SHARE 16u /* sockets looked at for each close, on average */

static struct spin g_fds_lock = SPIN_INIT(RANK_OBJECT);
static _Atomic(uint32_t) g_count;        /* files in messages, those about to be included */
static struct list_head g_flying;        /* sock.flight_link; g_fds_lock; lazily initialised */
static _Atomic(uint32_t) g_flying_count; /* sockets in it */
static _Atomic(uint32_t) g_closes_since; /* last collection */

static struct sock *fds_sock(const struct file *f)
{
    return file_is_socket(f) && file_socket(f)->domain == AF_UNIX ? f->private_data : NULL;
}

/* --- how many --- */

/* What a user has under way; there while it is any. */
struct unix_flight_user {
    struct unix_flight_user *next;
    uint32_t uid, count;
};
#define FLIGHT_BUCKETS 64u
static struct spin g_users_lock = SPIN_INIT(RANK_LEAF);
static struct unix_flight_user *g_users[FLIGHT_BUCKETS]; /* g_users_lock */

static struct unix_flight_user *user_find_locked(uint32_t uid)
{
    struct unix_flight_user *u = g_users[uid % FLIGHT_BUCKETS];

    while (u && u->uid != uid)
        u = u->next;
    return u;
}

/* The caller's user, charged with @more; *ret_before: with how many it was. NULL: no memory. */
static struct unix_flight_user *user_charge(uint32_t uid, uint32_t more, uint32_t *ret_before)
{
    struct unix_flight_user *fresh = NULL, *u;

    spin_lock(&g_users_lock);
    u = user_find_locked(uid);
    if (!u) {
        spin_unlock(&g_users_lock);
        fresh = calloc(1, sizeof(*fresh));
        spin_lock(&g_users_lock);
        u = user_find_locked(uid);
    }
    if (!u && fresh) {
        u = fresh;
        fresh = NULL;
        u->uid = uid;
        u->next = g_users[uid % FLIGHT_BUCKETS];
        g_users[uid % FLIGHT_BUCKETS] = u;
    }
    if (u) {
        *ret_before = u->count;
        u->count += more;
    }
    spin_unlock(&g_users_lock);
    free(fresh);
    return u;
}

static void user_uncharge(struct unix_flight_user *u, uint32_t less)
{
    struct unix_flight_user **at;

    spin_lock(&g_users_lock);
    u->count -= less;
    bool last = !u->count;
    for (at = &g_users[u->uid % FLIGHT_BUCKETS]; last && *at; at = &(*at)->next) {
        if (*at == u) {
            *at = u->next;
            break;
        }
    }
    spin_unlock(&g_users_lock);
    if (last)
        free(u);
}

static void flight_leave(const struct unix_fd_array *a)
{
    atomic_fetch_sub(&g_count, a->count);
    user_uncharge(a->user, a->count);
}

/* As Linux: of a user no more than the sender may have open, unless it has the right to more. */
static bool user_has_too_many(const struct task *t, uint32_t before)
{
    return t && before > t->process->rlimits[RLIMIT_NOFILE].rlim_cur &&
           !cred_capable(t->cred, CAP_SYS_RESOURCE) && !cred_capable(t->cred, CAP_SYS_ADMIN);
}

/* @a is charged with its files. -ETOOMANYREFS, -ENOMEM: it is not. */
static int flight_enter(struct unix_fd_array *a)
{
    struct task *t = task_current();
    uint32_t before = 0;

    a->user = user_charge(t ? t->cred->uid : 0, a->count, &before);
    if (!a->user)
        return -ENOMEM;
    if (atomic_fetch_add(&g_count, a->count) + a->count <= SOCKET_INFLIGHT_MAX &&
        !user_has_too_many(t, before))
        return 0;
    flight_leave(a);
    return -ETOOMANYREFS;
}

static void collect(void);

int unix_fds_attach(struct unix_fds *fds, const struct socket_msg *m)
{
    *fds = (struct unix_fds){0};
    if (!m || !m->file_count)
        return 0;
    struct unix_fd_array *a = malloc(sizeof(*a) + m->file_count * sizeof(struct file *));
    if (!a)
        return -ENOMEM;
    a->count = m->file_count;
    int err = flight_enter(a);
    if (err == -ETOOMANYREFS) { /* sockets may be among them that nobody knows any more */
        collect();
        err = flight_enter(a);
    }
    if (err) {
        free(a);
        return err;
    }
    memcpy(a->files, m->files, m->file_count * sizeof(struct file *));
    fds->array = a;
    fds->count = m->file_count;
    return 0;
}

void unix_fds_abandon(struct unix_fds *fds)
{
    if (fds->array)
        flight_leave(fds->array);
    free(fds->array);
    *fds = (struct unix_fds){0};
}

void unix_fds_lock(void)
{
    spin_lock(&g_fds_lock);
    if (!g_flying.next)
        list_init(&g_flying);
}

void unix_fds_unlock(void)
{
    spin_unlock(&g_fds_lock);
}

void unix_fds_enter_locked(const struct unix_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++) {
        struct sock *s = fds_sock(fds->array->files[i]);
        if (!s || s->in_flight++)
            continue;
        list_add_tail(&s->flight_link, &g_flying);
        g_flying_count++;
    }
}

void unix_fds_leave_locked(const struct unix_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++) {
        struct sock *s = fds_sock(fds->array->files[i]);
        if (!s || --s->in_flight)
            continue;
        list_del(&s->flight_link);
        g_flying_count--;
    }
}

/* Out of the queue: the array is the caller's. */
static struct unix_fds fds_take(struct unix_fds *fds)
{
    unix_fds_lock();
    struct unix_fds taken = *fds;
    unix_fds_leave_locked(fds);
    *fds = (struct unix_fds){0};
    unix_fds_unlock();
    return taken;
}

static void fds_peek(struct unix_fds *fds, struct socket_msg *m)
{
    unix_fds_lock();
    for (unsigned i = 0; i < fds->count; i++)
        m->files[i] = file_get(fds->array->files[i]);
    m->file_count = fds->count;
    unix_fds_unlock();
}

void unix_fds_give(struct unix_fds *fds, struct socket_msg *m, bool peek)
{
    if (!fds->count)
        return;
    if (peek) {
        fds_peek(fds, m);
        return;
    }
    struct unix_fds taken = fds_take(fds);
    memcpy(m->files, taken.array->files, taken.count * sizeof(struct file *));
    m->file_count = taken.count;
    unix_fds_abandon(&taken);
}

/* Arrays whose files are to be put. A socket that goes puts what is in its queue, which may be
 * sockets again: one after the other, not one in the other. */
static struct unix_fd_array *g_dropped; /* g_fds_lock */
static bool g_dropping;                 /* g_fds_lock: somebody will take them all */

static struct unix_fd_array *dropped_take(void)
{
    unix_fds_lock();
    struct unix_fd_array *a = g_dropped;
    if (a)
        g_dropped = a->next;
    else
        g_dropping = false;
    unix_fds_unlock();
    return a;
}

void unix_fds_free(struct unix_fds *fds)
{
    struct unix_fd_array *a;

    if (!fds->count)
        return;
    struct unix_fds taken = fds_take(fds);
    unix_fds_lock();
    taken.array->next = g_dropped;
    g_dropped = taken.array;
    bool mine = !g_dropping;
    g_dropping = true;
    unix_fds_unlock();
    while (mine && (a = dropped_take())) {
        for (unsigned i = 0; i < a->count; i++)
            file_put(a->files[i]);
        flight_leave(a);
        free(a);
    }
}

/* --- the collector (g_fds_lock held) --- */

/* sock.scan of a suspect: SCAN_SUSPECT + references found in queues of suspects */
enum { SCAN_ALIVE, SCAN_SUSPECT };

typedef void (*visit_fn)(struct sock *s);

static void fds_visit(const struct unix_fds *fds, visit_fn visit)
{
    for (unsigned i = 0; i < fds->count; i++) {
        struct sock *s = fds_sock(fds->array->files[i]);
        if (s && s->scan != SCAN_ALIVE)
            visit(s);
    }
}

static void queue_visit(struct sock *s, visit_fn visit)
{
    struct unix_message *m;
    struct unix_mark *k;

    spin_lock(&s->lock);
    list_for_each_entry (m, &s->messages, link)
        fds_visit(&m->fds, visit);
    list_for_each_entry (k, &s->marks, link)
        fds_visit(&k->fds, visit);
    spin_unlock(&s->lock);
}

/* Everything in the queue of @s, and in those of connections that it has not accepted. */
static void sock_visit(struct sock *s, visit_fn visit)
{
    struct sock *p;

    queue_visit(s, visit);
    spin_lock(&s->lock);
    list_for_each_entry (p, &s->pending, name_link)
        queue_visit(p, visit);
    spin_unlock(&s->lock);
}

static void visit_count(struct sock *s)
{
    s->scan++; /* one reference less from outside */
}

static struct list_head g_alive; /* suspects that are not, their queues still to be looked at */

static void visit_revive(struct sock *s)
{
    s->scan = SCAN_ALIVE;
    list_del(&s->flight_link);
    list_add_tail(&s->flight_link, &g_alive);
}

/* Leaves in g_flying what cannot be reached; the others in @rest. */
static void suspects_sort(struct list_head *rest)
{
    struct sock *s, *next;

    list_for_each_entry (s, &g_flying, flight_link)
        s->scan = s->file && refcount_read(&s->file->ref) == (int32_t)s->in_flight ? SCAN_SUSPECT
                                                                                   : SCAN_ALIVE;
    list_for_each_entry (s, &g_flying, flight_link) {
        if (s->scan != SCAN_ALIVE)
            sock_visit(s, visit_count);
    }
    list_init(&g_alive);
    list_for_each_entry_safe (s, next, &g_flying, flight_link) {
        if (s->scan != SCAN_ALIVE && s->scan - SCAN_SUSPECT == s->in_flight)
            continue;
        if (s->scan != SCAN_ALIVE) {
            visit_revive(s);
        } else {
            list_del(&s->flight_link);
            list_add_tail(&s->flight_link, rest);
        }
    }
    while (!list_empty(&g_alive)) {
        s = list_first_entry(&g_alive, struct sock, flight_link);
        list_del(&s->flight_link);
        list_add_tail(&s->flight_link, rest);
        sock_visit(s, visit_revive);
    }
}

static void queue_take(struct sock *s, struct list_head *messages, struct list_head *marks)
{
    spin_lock(&s->lock);
    list_splice_tail(&s->messages, messages);
    list_splice_tail(&s->marks, marks);
    s->message_count = 0;
    spin_unlock(&s->lock);
}

/* What is in the queues of those that are left in g_flying. */
static void garbage_take(struct list_head *messages, struct list_head *marks)
{
    struct sock *s, *p;

    list_for_each_entry (s, &g_flying, flight_link) {
        queue_take(s, messages, marks);
        spin_lock(&s->lock);
        list_for_each_entry (p, &s->pending, name_link)
            queue_take(p, messages, marks);
        spin_unlock(&s->lock);
    }
}

static void collect(void)
{
    struct list_head rest = LIST_HEAD_INIT(rest), messages = LIST_HEAD_INIT(messages),
                     marks = LIST_HEAD_INIT(marks);

    unix_fds_lock();
    suspects_sort(&rest);
    garbage_take(&messages, &marks);
    list_splice_tail(&rest, &g_flying);
    unix_fds_unlock();
    while (!list_empty(&messages)) {
        struct unix_message *m = list_first_entry(&messages, struct unix_message, link);
        list_del(&m->link);
        unix_message_free(m);
    }
    while (!list_empty(&marks)) {
        struct unix_mark *k = list_first_entry(&marks, struct unix_mark, link);
        list_del(&k->link);
        unix_fds_free(&k->fds);
        free(k);
    }
}

void unix_fds_collect(void)
{
    uint32_t flying = g_flying_count;

    if (!flying || atomic_fetch_add(&g_closes_since, 1) < flying / COLLECT_SHARE)
        return;
    g_closes_since = 0;
    collect();
}
