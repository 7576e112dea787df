/* SPDX-License-Identifier: Apache-2.0
 * ident.c - what a lane says its thread is: ids, parent, group, session, credentials.
 *
 * Guests answer getpid and its like from these words, without a message (guestlib/stub.S). So a word
 * changes before anybody can know of its cause: every change is written here under the locks that the
 * change itself is made under, and those are left before the call that made it is answered.
 *
 * A new lane says nothing (valid = 0) until the task is known here: a host thread runs before that,
 * and what it asks then comes as a message.
 *
 * The guest may overwrite the words; nothing reads them back. Its counters are its own word.
 *
 * Locks: g_pids for parent, group, session; process->lock for credentials and for the pointer.
 */
#include "task_internal.h"

#include <ring/abi.h>
#include <ring/barrier.h>

/* What a thread may claim: more than it can do, and sums do not overflow. */
#define LOCAL_COUNT_MAX (1ULL << 44)

/* A task that is published after it has changed sees it; those before are in the tables and are walked. */
static _Atomic(bool) g_withheld;

static void ident_set(struct lane_ident *i, unsigned word, uint32_t value)
{
    ring_store_relaxed(&i->id[word], value);
}

/* g_pids and process->lock held. */
static void ident_family_locked(const struct process *p, struct lane_ident *i)
{
    ident_set(i, IDENT_PPID, (uint32_t)p->ppid);
    if (p->group) { /* none: it is being reaped, and has no threads */
        ident_set(i, IDENT_PGID, (uint32_t)p->group->pgid);
        ident_set(i, IDENT_SID, (uint32_t)p->group->sid);
    }
}

void process_ident_update_locked(struct process *p)
{
    struct task *t;

    spin_lock(&p->lock);
    list_for_each_entry (t, &p->threads, thread_link)
        if (t->ident)
            ident_family_locked(p, t->ident);
    spin_unlock(&p->lock);
}

void task_ident_cred_locked(struct task *t)
{
    struct lane_ident *i = t->ident;

    if (!i)
        return;
    ident_set(i, IDENT_UID, t->cred->uid);
    ident_set(i, IDENT_EUID, t->cred->euid);
    ident_set(i, IDENT_GID, t->cred->gid);
    ident_set(i, IDENT_EGID, t->cred->egid);
}

void task_ident_publish(struct task *t)
{
    struct process *p = t->process;

    if (!t->lane)
        return;
    spin_lock(&g_pids);
    spin_lock(&p->lock);
    t->ident = &t->lane->ident;
    ident_set(t->ident, IDENT_PID, (uint32_t)p->pid);
    ident_set(t->ident, IDENT_TID, (uint32_t)t->tid);
    ident_family_locked(p, t->ident);
    task_ident_cred_locked(t);
    /* pairs with the stub's look at it before any other word (x86: in order) */
    ring_store_release(&t->ident->valid, !atomic_load(&g_withheld));
    spin_unlock(&p->lock);
    spin_unlock(&g_pids);
}

void task_ident_withhold(bool on)
{
    int32_t pid = process_init()->pid;
    struct task *t;

    atomic_store(&g_withheld, on);
    for (;;) {
        struct process *p AUTO_PUT(process) = process_next(pid);
        if (!p)
            return;
        pid = p->pid;
        spin_lock(&p->lock);
        list_for_each_entry (t, &p->threads, thread_link)
            if (t->ident) /* pairs as above */
                ring_store_release(&t->ident->valid, !on);
        spin_unlock(&p->lock);
    }
}

void lane_local_counts(const struct lane *lane, uint64_t *sum)
{
    for (unsigned i = 0; i < LANE_LOCAL_COUNT; i++) {
        uint64_t n = ring_read64(&lane->local[i]);
        sum[i] += MIN(n, LOCAL_COUNT_MAX);
    }
}

void task_local_counts(struct task *t, uint64_t *sum)
{
    spin_lock(&t->process->lock);
    if (t->ident)
        lane_local_counts(container_of(t->ident, const struct lane, ident), sum);
    spin_unlock(&t->process->lock);
}
