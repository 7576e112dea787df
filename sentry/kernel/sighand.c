/* SPDX-License-Identifier: Apache-2.0
 * sighand.c - tables of signal actions, and queues of pending signals.
 *
 * A table is shared by the threads of a process and by CLONE_SIGHAND children, hence its own lock
 * below the process lock. A pending set is a bit per signal plus a siginfo per queued one: a bit
 * without an entry is a signal whose information was not worth the memory (limit, no memory).
 *
 * Left out: core dumps (the default "core" actions only terminate).
 */
#include "signal_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool sig_valid(int signo)
{
    return signo >= 1 && signo <= NSIGNALS;
}

struct sighand *sighand_new(void)
{
    struct sighand *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    refcount_init(&s->ref);
    spin_init(&s->lock, SIGHAND_RANK);
    wait_queue_init(&s->wait);
    return s;
}

struct sighand *sighand_dup(struct sighand *s)
{
    struct sighand *n = sighand_new();
    if (!n)
        return NULL;
    spin_lock(&s->lock);
    memcpy(n->action, s->action, sizeof(n->action));
    spin_unlock(&s->lock);
    return n;
}

struct sighand *sighand_get(struct sighand *s)
{
    refcount_get(&s->ref);
    return s;
}

void sighand_put(struct sighand *s)
{
    if (s && refcount_put(&s->ref))
        free(s);
}

struct sighand *sighand_exec(struct sighand *s)
{
    struct sighand *n = sighand_new();
    if (!n)
        return NULL;
    spin_lock(&s->lock);
    for (int i = 0; i < NSIGNALS; i++)
        if (s->action[i].handler == (uint64_t)(uintptr_t)SIG_IGN)
            n->action[i].handler = s->action[i].handler;
    spin_unlock(&s->lock);
    return n;
}

void sighand_action(struct sighand *s, int signo, struct sigaction_abi *ret)
{
    spin_lock(&s->lock);
    *ret = s->action[signo - 1];
    spin_unlock(&s->lock);
}

bool sigaction_ignores(const struct sigaction_abi *a, int signo)
{
    if (a->handler == (uint64_t)(uintptr_t)SIG_IGN)
        return true;
    return a->handler == (uint64_t)(uintptr_t)SIG_DFL && (SIG_DEFAULT_IGNORED & SIGBIT(signo));
}

static void discard_everywhere_locked(struct process *p, sigset_t_abi mask)
{
    struct task *each;
    sig_pending_remove(&p->shared_pending, mask);
    list_for_each_entry (each, &p->threads, thread_link)
        sig_pending_remove(&each->pending, mask);
}

int signal_action(struct task *t, int signo, const struct sigaction_abi *new,
                  struct sigaction_abi *ret_old)
{
    if (!sig_valid(signo) || (new && (SIG_UNBLOCKABLE & SIGBIT(signo))))
        return -EINVAL;

    struct process *p = t->process;
    struct sigaction_abi old;
    spin_lock(&p->lock);
    struct sighand *s = p->sighand;
    spin_lock(&s->lock);
    old = s->action[signo - 1];
    if (new) {
        s->action[signo - 1] = *new;
        s->action[signo - 1].mask &= ~SIG_UNBLOCKABLE;
        if (sigaction_ignores(new, signo))
            discard_everywhere_locked(p, SIGBIT(signo));
    }
    spin_unlock(&s->lock);
    spin_unlock(&p->lock);
    if (ret_old)
        *ret_old = old;
    return 0;
}

void sig_pending_init(struct sig_pending *p)
{
    p->set = 0;
    p->count = 0;
    list_init(&p->queue);
}

void sig_pending_flush(struct sig_pending *p)
{
    sig_pending_remove(p, ~0ULL);
}

void sig_pending_remove(struct sig_pending *p, sigset_t_abi mask)
{
    struct sig_queued *q, *tmp;
    if (!(p->set & mask))
        return;
    p->set &= ~mask;
    list_for_each_entry_safe (q, tmp, &p->queue, link) {
        if (!(mask & SIGBIT(q->info.si_signo)))
            continue;
        list_del(&q->link);
        p->count--;
        free(q);
    }
}

static int first_of(sigset_t_abi set)
{
    if (set & SIG_SYNCHRONOUS)
        set &= SIG_SYNCHRONOUS;
    return __builtin_ctzll(set) + 1;
}

int sig_pending_take(struct sig_pending *p, sigset_t_abi set, siginfo_t *ret, bool *ret_timer)
{
    struct sig_queued *q, *found = NULL;
    bool more = false;

    set &= p->set;
    if (!set)
        return 0;
    int signo = first_of(set);
    list_for_each_entry (q, &p->queue, link) {
        if (q->info.si_signo != signo)
            continue;
        if (found) {
            more = true;
            break;
        }
        found = q;
    }
    if (!more)
        p->set &= ~SIGBIT(signo);
    *ret_timer = false;
    if (!found) {
        memset(ret, 0, sizeof(*ret));
        ret->si_signo = signo;
        ret->si_code = SI_USER;
        return signo;
    }
    *ret = found->info;
    *ret_timer = found->from_timer;
    list_del(&found->link);
    p->count--;
    free(found);
    return signo;
}
