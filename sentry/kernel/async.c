/* SPDX-License-Identifier: Apache-2.0
 * async.c - SIGIO and SIGURG to the owners of files.
 *
 * Owners are copied out of the queue's list a few at a time and sent to without its lock, which is
 * inside those of processes. Somebody who is added or removed meanwhile may be left out or told
 * once more. Who may be told is decided as on Linux, by the user who made the owner.
 *
 * A guest chooses owners and may reopen one pipe as often as it has descriptors; so long is the
 * list. Lock: the wait queue's. */
#include <kernel/async.h>

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <kernel/signal.h>
#include <kernel/task.h>

#define BATCH 8u

struct async *async_new(struct wait_queue *queue, uint32_t mask)
{
    struct async *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->queue = queue;
    a->owner.mask = mask;
    spin_lock(&queue->lock);
    list_add_tail(&a->link, &queue->asyncs);
    atomic_fetch_add_explicit(&queue->async_count, 1, memory_order_relaxed);
    spin_unlock(&queue->lock);
    return a;
}

void async_free(struct async *a)
{
    if (!a)
        return;
    spin_lock(&a->queue->lock);
    list_del(&a->link);
    atomic_fetch_sub_explicit(&a->queue->async_count, 1, memory_order_relaxed);
    spin_unlock(&a->queue->lock);
    free(a);
}

void async_owner_get(struct async *a, struct async_owner *ret)
{
    spin_lock(&a->queue->lock);
    *ret = a->owner;
    spin_unlock(&a->queue->lock);
}

void async_owner_set(struct async *a, const struct async_owner *o)
{
    spin_lock(&a->queue->lock);
    uint32_t mask = a->owner.mask;
    a->owner = *o;
    a->owner.mask = mask;
    spin_unlock(&a->queue->lock);
}

/* --- sending --- */

static bool owner_may(const struct async_owner *o, struct process *p)
{
    spin_lock(&p->lock);
    struct task *t = p->leader;
    if (!t && !list_empty(&p->threads))
        t = list_first_entry(&p->threads, struct task, thread_link);
    bool may = !o->euid || !t || o->euid == t->cred->suid || o->euid == t->cred->uid ||
               o->uid == t->cred->suid || o->uid == t->cred->uid;
    spin_unlock(&p->lock);
    return may;
}

static int64_t band_of(int code)
{
    switch (code) {
    case POLL_IN:
        return POLLIN | POLLRDNORM;
    case POLL_OUT:
        return POLLOUT | POLLWRNORM | POLLWRBAND;
    case POLL_ERR:
        return POLLERR;
    case POLL_PRI:
        return POLLPRI | POLLRDBAND;
    case POLL_HUP:
        return POLLHUP | POLLERR;
    default:
        return POLLIN | POLLRDNORM | POLLMSG;
    }
}

/* Signals whose si_code already means something else. */
static bool has_own_codes(int signo)
{
    return signo == SIGILL || signo == SIGFPE || signo == SIGSEGV || signo == SIGBUS ||
           signo == SIGTRAP || signo == SIGCHLD || signo == SIGSYS;
}

/* One signal to thread @t or process @p. */
static int deliver(struct process *p, struct task *t, int signo, const siginfo_t *info)
{
    return t ? signal_send_task(t, signo, info) : signal_send_process(p, signo, info);
}

/* @plain: this signal without a description; else what the owner chose. */
static void tell(const struct async_owner *o, struct process *p, struct task *t, int code,
                 int plain)
{
    siginfo_t info;

    if (!owner_may(o, p))
        return;
    if (!plain && o->signo) {
        memset(&info, 0, sizeof(info));
        info.si_signo = o->signo;
        info.si_code = has_own_codes(o->signo) ? SI_SIGIO : code;
        info.si_band = band_of(code);
        info.si_fd = o->fd;
        if (!deliver(p, t, o->signo, &info))
            return; /* else its queue is full: the simple signal */
    }
    (void)deliver(p, t, plain ? plain : SIGIO, NULL);
}

static void tell_group(const struct async_owner *o, int code, int plain)
{
    int32_t pid = 0;

    for (struct process *p; (p = process_next(pid)); process_put(p)) {
        pid = p->pid;
        if (process_pgid(p) == o->id)
            tell(o, p, NULL, code, plain);
    }
}

static void owner_tell(const struct async_owner *o, int code, int plain)
{
    if (o->type == ASYNC_GROUP) {
        tell_group(o, code, plain);
    } else if (o->type == ASYNC_THREAD) {
        struct task *t = task_find(o->id);
        if (t)
            tell(o, t->process, t, code, plain);
        task_put(t);
    } else {
        struct process *p = process_find(o->id);
        if (p)
            tell(o, p, NULL, code, plain);
        process_put(p);
    }
}

/* Up to BATCH owners behind the first @skip. */
static unsigned owners_copy(struct wait_queue *q, unsigned skip, struct async_owner *ret)
{
    struct async *a;
    unsigned n = 0;

    spin_lock(&q->lock);
    list_for_each_entry (a, &q->asyncs, link) {
        if (skip) {
            skip--;
            continue;
        }
        if (n == BATCH)
            break;
        ret[n++] = a->owner;
    }
    spin_unlock(&q->lock);
    return n;
}

static void send_all(struct wait_queue *q, int code, bool urgent)
{
    struct async_owner some[BATCH];
    unsigned n, done = 0;
    uint32_t side = code == POLL_IN ? POLLIN : code == POLL_OUT ? POLLOUT : POLLIN | POLLOUT;

    do {
        n = owners_copy(q, done, some);
        for (unsigned i = 0; i < n; i++) {
            const struct async_owner *o = &some[i];
            if (o->id && urgent)
                owner_tell(o, code, SIGURG);
            if (o->id && o->on && (o->mask & side) && (!urgent || o->signo))
                owner_tell(o, code, 0);
        }
        done += n;
    } while (n == BATCH);
}

void async_send(struct wait_queue *q, int code)
{
    send_all(q, code, false);
}

void async_urgent(struct wait_queue *q)
{
    if (unlikely(atomic_load_explicit(&q->async_count, memory_order_relaxed)))
        send_all(q, POLL_PRI, true);
}
