/* SPDX-License-Identifier: Apache-2.0
 * pids.c - numbers and the two tables: tasks by tid, processes by pid.
 *
 * Numbers are given in rising order and wrap, as programs expect; each has a count of holders (its
 * task, its process, a group or session of that name), and is free when that is zero. Guests fill
 * the table up to pid_max tasks; then -EAGAIN.
 *
 * Locks: g_pids guards all of it; references taken under it keep what was found.
 */
#include "task_internal.h"

#include <stdlib.h>

#include <base/err.h>
#include <base/hash.h>

#define PID_FIRST 2 /* 1 is the Sentry */
#define PID_FIRST_WRAPPED 300
#define PID_SPACE_MIN 32768u
#define PID_SPACE_MAX 4194304u
#define BUCKETS 1024u

struct spin g_pids = SPIN_INIT(RANK_PIDS);

static struct {
    uint32_t *holders; /* [space] */
    uint32_t space;
    int32_t next;
    uint32_t tasks, tasks_max; /* zombies included */
    struct list_head processes[BUCKETS], by_tid[BUCKETS];
} pids;

int pids_init(uint32_t task_max)
{
    uint32_t space = PID_SPACE_MIN;
    while (space < PID_SPACE_MAX && space / 4 < task_max)
        space *= 2;
    if (task_max > space / 2)
        task_max = space / 2;
    free(pids.holders);
    pids.holders = calloc(space, sizeof(*pids.holders));
    if (!pids.holders)
        return -ENOMEM;
    pids.space = space;
    pids.next = PID_FIRST;
    pids.tasks = 0;
    pids.tasks_max = task_max;
    for (unsigned i = 0; i < BUCKETS; i++) {
        list_init(&pids.processes[i]);
        list_init(&pids.by_tid[i]);
    }
    return 0;
}

static struct list_head *bucket(struct list_head *table, int32_t pid)
{
    return &table[hash_u64((uint64_t)pid) % BUCKETS];
}

int32_t pid_alloc_locked(void)
{
    if (pids.tasks >= pids.tasks_max)
        return -EAGAIN;
    for (uint32_t tries = 0; tries < pids.space; tries++) {
        int32_t pid = pids.next++;
        if ((uint32_t)pids.next >= pids.space)
            pids.next = PID_FIRST_WRAPPED;
        if (!pids.holders[pid]) {
            pids.holders[pid] = 1;
            return pid;
        }
    }
    return -EAGAIN;
}

void pid_hold_locked(int32_t pid)
{
    pids.holders[pid]++;
}

void pid_drop_locked(int32_t pid)
{
    BUG_ON(!pids.holders[pid]);
    pids.holders[pid]--;
}

void pids_enter_process_locked(struct process *p)
{
    list_add(&p->pid_link, bucket(pids.processes, p->pid));
}

void pids_remove_process_locked(struct process *p)
{
    list_del(&p->pid_link);
    pid_drop_locked(p->pid);
}

void pids_enter_task_locked(struct task *t)
{
    pids.tasks++;
    list_add(&t->pid_link, bucket(pids.by_tid, t->tid));
}

void pids_remove_task_locked(struct task *t)
{
    pids.tasks--;
    list_del(&t->pid_link);
    pid_drop_locked(t->tid);
}

void pids_zombies_locked(int32_t more)
{
    pids.tasks += (uint32_t)more;
}

struct process *pids_process_locked(int32_t pid)
{
    struct process *p;
    list_for_each_entry (p, bucket(pids.processes, pid), pid_link)
        if (p->pid == pid)
            return p;
    return NULL;
}

struct process *process_find(int32_t pid)
{
    spin_lock(&g_pids);
    struct process *p = pids_process_locked(pid);
    if (p)
        process_get(p);
    spin_unlock(&g_pids);
    return p;
}

struct task *task_find(int32_t tid)
{
    struct task *t, *found = NULL;
    spin_lock(&g_pids);
    list_for_each_entry (t, bucket(pids.by_tid, tid), pid_link)
        if (t->tid == tid) {
            found = task_get(t);
            break;
        }
    spin_unlock(&g_pids);
    return found;
}

struct process *process_next(int32_t after)
{
    struct process *p = NULL;
    spin_lock(&g_pids);
    for (int64_t pid = MAX((int64_t)after + 1, (int64_t)1); pid < pids.space && !p; pid++)
        if (pids.holders[pid])
            p = pids_process_locked((int32_t)pid);
    if (p)
        process_get(p);
    spin_unlock(&g_pids);
    return p;
}

struct task *process_task_next(struct process *p, int32_t after_tid)
{
    struct task *t, *best = NULL;
    spin_lock(&p->lock);
    list_for_each_entry (t, &p->threads, thread_link)
        if (t->tid > after_tid && (!best || t->tid < best->tid))
            best = t;
    if (best)
        task_get(best);
    spin_unlock(&p->lock);
    return best;
}

uint32_t kernel_task_count(void)
{
    spin_lock(&g_pids);
    uint32_t n = pids.tasks;
    spin_unlock(&g_pids);
    return n;
}
