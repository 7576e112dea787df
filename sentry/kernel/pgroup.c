/* SPDX-License-Identifier: Apache-2.0
 * pgroup.c - process groups and sessions, as setpgid(2), setsid(2) and credentials(7) have them.
 *
 * A group lives while it has members; it holds its own number and its session's. There is no
 * session object: a session is the groups with the same sid.
 *
 * Locks: g_pids. Terminals name sessions by number (files/tty_job.c).
 */
#include "task_internal.h"

#include <stdlib.h>

#include <base/err.h>
#include <base/hash.h>

#define BUCKETS 64u

static struct list_head groups[BUCKETS]; /* GUARDED_BY(g_pids); zero until first used */

static struct list_head *bucket(int32_t pgid)
{
    struct list_head *b = &groups[hash_u64((uint64_t)pgid) % BUCKETS];
    if (!b->next)
        list_init(b);
    return b;
}

struct pgroup *pgroup_find_locked(int32_t pgid)
{
    struct pgroup *g;
    list_for_each_entry (g, bucket(pgid), hash_link)
        if (g->pgid == pgid)
            return g;
    return NULL;
}

struct pgroup *pgroup_new(int32_t pgid, int32_t sid)
{
    struct pgroup *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->pgid = pgid;
    g->sid = sid;
    list_init(&g->members);
    list_init(&g->hash_link);
    return g;
}

static void pgroup_leave_locked(struct process *p)
{
    struct pgroup *g = p->group;
    if (!g)
        return;
    list_del(&p->group_link);
    p->group = NULL;
    if (!list_empty(&g->members))
        return;
    list_del(&g->hash_link);
    pid_drop_locked(g->pgid);
    pid_drop_locked(g->sid);
    free(g);
}

void pgroup_move_locked(struct process *p, struct pgroup *g)
{
    if (g && list_empty(&g->members)) {
        pid_hold_locked(g->pgid);
        pid_hold_locked(g->sid);
        list_add(&g->hash_link, bucket(g->pgid));
    }
    if (g == p->group)
        return;
    pgroup_leave_locked(p);
    p->group = g;
    if (g)
        list_add_tail(&p->group_link, &g->members);
    process_ident_update_locked(p);
}

/* POSIX 3.93: every member's parent is in the group itself or of another session. */
bool pgroup_orphaned_locked(struct pgroup *g, const struct process *ignored)
{
    struct process *p;
    list_for_each_entry (p, &g->members, group_link) {
        if (p == ignored || p->state != PROCESS_RUNNING || !p->parent ||
            p->parent == process_init())
            continue;
        const struct pgroup *pg = p->parent->group;
        if (p->parent != ignored && pg && pg != g && pg->sid == g->sid)
            return false;
    }
    return true;
}

bool pgroup_has_stopped_locked(struct pgroup *g)
{
    struct process *p;
    bool stopped = false;
    list_for_each_entry (p, &g->members, group_link) {
        spin_lock(&p->lock);
        stopped |= p->stopped;
        spin_unlock(&p->lock);
    }
    return stopped;
}

static int setpgid_check_locked(const struct process *self, const struct process *p, int32_t pgid)
{
    if (p != self) {
        if (p->parent != self || p->state == PROCESS_DEAD)
            return -ESRCH;
        if (p->group->sid != self->group->sid)
            return -EPERM;
        if (p->did_exec)
            return -EACCES;
    }
    if (p->group->sid == p->pid)
        return -EPERM; /* session leader */
    if (pgid != p->pid) {
        const struct pgroup *g = pgroup_find_locked(pgid);
        if (!g || g->sid != self->group->sid)
            return -EPERM;
    }
    return 0;
}

int process_setpgid(struct process *self, int32_t pid, int32_t pgid)
{
    if (pid < 0)
        return -ESRCH;
    if (pgid < 0)
        return -EINVAL;
    if (!pid)
        pid = self->pid;
    if (!pgid)
        pgid = pid;
    struct pgroup *fresh = pgroup_new(pgid, 0);
    if (!fresh)
        return -ENOMEM;
    spin_lock(&g_pids);
    struct process *p = pids_process_locked(pid);
    int err = p ? setpgid_check_locked(self, p, pgid) : -ESRCH;
    if (!err) {
        struct pgroup *g = pgroup_find_locked(pgid);
        if (!g) {
            g = steal(fresh);
            g->sid = self->group->sid;
        }
        pgroup_move_locked(p, g);
    }
    spin_unlock(&g_pids);
    free(fresh);
    return err;
}

int32_t process_setsid(struct process *p)
{
    struct pgroup *g = pgroup_new(p->pid, p->pid);
    if (!g)
        return -ENOMEM;
    spin_lock(&g_pids);
    int32_t r = p->pid;
    if (pgroup_find_locked(p->pid))
        r = -EPERM; /* already a group leader, or the group has outlived it */
    else
        pgroup_move_locked(p, steal(g));
    spin_unlock(&g_pids);
    if (r > 0)
        p->tty_given_up = false;
    free(g);
    return r;
}

bool pgroup_exists(int32_t pgid)
{
    spin_lock(&g_pids);
    bool there = pgroup_find_locked(pgid);
    spin_unlock(&g_pids);
    return there;
}

int32_t process_pgid_of(int32_t pid)
{
    spin_lock(&g_pids);
    const struct process *p = pids_process_locked(pid);
    int32_t r = p && p->group ? p->group->pgid : -ESRCH;
    spin_unlock(&g_pids);
    return r;
}

int32_t process_sid_of(int32_t pid)
{
    spin_lock(&g_pids);
    const struct process *p = pids_process_locked(pid);
    int32_t r = p && p->group ? p->group->sid : -ESRCH;
    spin_unlock(&g_pids);
    return r;
}

int32_t process_ppid(struct process *p)
{
    return atomic_load_explicit(&p->ppid, memory_order_relaxed);
}
