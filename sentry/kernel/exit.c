/* SPDX-License-Identifier: Apache-2.0
 * exit.c - the end of tasks and processes, and what exec ends of the old program.
 *
 *   task_exit: memory words of the thread (robust futexes, clear_child_tid), descriptors, host
 *   thread, then out of the tables; the last one makes the process a zombie: its children get a new
 *   parent, orphaned stopped groups are woken, the parent is told. The address space goes last, so
 *   that the parent runs early.
 *
 * Only the owner ends a task; others ask (exit_requested, kick). A guest thread that does not come
 * is the service's to kill with its host process.
 *
 * Locks: g_pids, then process->lock. 
 */
#include "task_internal.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <base/err.h>
#include <base/fiber.h>
#include <kernel/futex.h>
#include <kernel/ipc.h>
#include <kernel/itimer.h>
#include <kernel/pledge.h>
#include <mm/mm.h>

/* --- asking --- */

static void task_ask_to_leave_locked(struct task *t)
{
    t->exit_requested = true;
    g_kernel_hooks.task_kick(t);
}

void process_exit_group(struct process *p, int32_t status)
{
    struct task *t;
    spin_lock(&p->lock);
    if (!p->group_exiting && p->thread_count) {
        p->group_exiting = true;
        p->exit_status = status;
        p->stopped = false;
        list_for_each_entry (t, &p->threads, thread_link)
            task_ask_to_leave_locked(t);
    }
    spin_unlock(&p->lock);
}

void process_kill(struct process *p, int32_t signo)
{
    if (p != process_init())
        process_exit_group(p, signo & 0x7f);
}

bool task_must_exit(struct task *t)
{
    spin_lock(&t->process->lock);
    bool must = t->exit_requested;
    spin_unlock(&t->process->lock);
    return must;
}

/* --- leaving --- */

/* The host thread is about to go: from here on nobody asks it anything. true: no other thread of
 * the process goes on, so that of two that leave at once exactly one is the last. */
static bool task_stop_running(struct task *t, enum task_state state)
{
    struct rusage *sum = &t->process->own_usage;
    struct task *other;
    bool last = true;
    spin_lock(&t->process->lock);
    if (t->state == TASK_RUNNING && g_platform->thread_cpu_ns) {
        uint64_t us = g_platform->thread_cpu_ns(t->thread) / 1000;
        struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
        timeradd(&sum->ru_utime, &tv, &sum->ru_utime);
    }
    t->state = state;
    t->ident = NULL;
    list_for_each_entry (other, &t->process->threads, thread_link)
        last &= other == t || other->state == TASK_EXITING;
    spin_unlock(&t->process->lock);
    return last;
}

static void task_release_files(struct task *t)
{
    spin_lock(&t->process->lock);
    struct fdtable *fds = steal(t->fds);
    struct fs_struct *fs = steal(t->fs);
    spin_unlock(&t->process->lock);
    if (fds)
        g_kernel_hooks.fds_put(fds);
    if (fs)
        g_kernel_hooks.fs_put(fs);
}

void process_unveil_drop(struct process *p)
{
    spin_lock(&p->lock);
    struct unveil *u = p->unveil;
    p->unveil = NULL;
    spin_unlock(&p->lock);
    if (u)
        g_kernel_hooks.unveil_put(u);
}

static struct mm *task_take_mm(struct task *t, struct mm *new)
{
    spin_lock(&t->process->lock);
    struct mm *old = t->mm;
    t->mm = new;
    spin_unlock(&t->process->lock);
    return old;
}

bool process_vfork_done(struct process *child)
{
    spin_lock(&child->lock);
    bool done = !child->vfork_child;
    spin_unlock(&child->lock);
    return done;
}

void process_vfork_release(struct process *p)
{
    spin_lock(&p->lock);
    bool waited = p->vfork_child;
    p->vfork_child = false;
    spin_unlock(&p->lock);
    if (waited)
        wake_all(&p->vfork_wait, 0);
}

/* --- a process without threads --- */

#define ORPHANS_MAX 32
struct exit_work {                /* what cannot be done under g_pids */
    struct list_head dead;        /* process.sibling: references to drop */
    int32_t orphans[ORPHANS_MAX]; /* stopped groups that have lost their shell */
    unsigned orphan_count;
};

static void orphan_check_locked(struct exit_work *w, struct pgroup *g, const struct process *parent,
                                const struct process *ignored)
{
    if (!g || !parent->group || parent->group == g || parent->group->sid != g->sid)
        return;
    for (unsigned i = 0; i < w->orphan_count; i++)
        if (w->orphans[i] == g->pgid)
            return;
    if (w->orphan_count < ORPHANS_MAX && pgroup_orphaned_locked(g, ignored) &&
        pgroup_has_stopped_locked(g))
        w->orphans[w->orphan_count++] = g->pgid;
}

static struct process *new_parent_locked(const struct process *p)
{
    struct process *a = p->parent;
    while (a && a != process_init() &&
           !(a->child_subreaper && a->state == PROCESS_RUNNING && !a->group_exiting))
        a = a->parent;
    return a ? a : process_init();
}

static void child_parent_died_locked(struct process *child)
{
    spin_lock(&child->lock);
    struct task *t = child->leader ? task_get(child->leader) : NULL;
    spin_unlock(&child->lock);
    if (t && t->pdeath_signal)
        signal_send_task(t, t->pdeath_signal, NULL);
    /* Never the last reference: the thread list, whose process cannot end under g_pids, has one. */
    task_put(t);
}

static void children_reparent_locked(struct process *p, struct exit_work *w)
{
    struct process *to = new_parent_locked(p), *child, *next;
    list_for_each_entry_safe (child, next, &p->children, sibling) {
        list_del(&child->sibling);
        list_add_tail(&child->sibling, &to->children);
        child->parent = to;
        atomic_store_explicit(&child->ppid, to->pid, memory_order_relaxed);
        process_ident_update_locked(child);
        child->exit_signal = SIGCHLD;
        child_parent_died_locked(child);
        if (child->state == PROCESS_ZOMBIE) {
            if (process_notify_exit_locked(child)) {
                process_reap_locked(child);
                list_add_tail(&child->sibling, &w->dead);
            }
            continue;
        }
        orphan_check_locked(w, child->group, p, p);
    }
}

static void process_end_locked(struct process *p, struct exit_work *w)
{
    children_reparent_locked(p, w);
    spin_lock(&p->lock);
    p->state = PROCESS_ZOMBIE;
    spin_unlock(&p->lock);
    pids_zombies_locked(1);
    wake_all(&p->exit_wait, POLLIN | POLLRDNORM);
    orphan_check_locked(w, p->group, p->parent, p);
    if (process_notify_exit_locked(p)) {
        process_reap_locked(p);
        list_add_tail(&p->sibling, &w->dead);
    }
}

static void exit_work_finish(struct exit_work *w)
{
    while (!list_empty(&w->dead)) {
        struct process *p = list_first_entry(&w->dead, struct process, sibling);
        list_del(&p->sibling);
        process_reaped(p);
    }
    for (unsigned i = 0; i < w->orphan_count; i++) {
        (void)signal_send_group(w->orphans[i], SIGHUP, NULL);
        (void)signal_send_group(w->orphans[i], SIGCONT, NULL);
    }
}

/* Out of the tables. Returns true for the last thread. */
static bool task_leave(struct task *t, int32_t status, struct exit_work *w)
{
    struct process *p = t->process;
    spin_lock(&g_pids);
    spin_lock(&p->lock);
    list_del(&t->thread_link);
    bool last = --p->thread_count == 0;
    if (p->leader == t) {
        p->leader = NULL;
        if (!p->group_exiting)
            p->exit_status = status; /* the leader's counts, also when others end later */
    }
    if (p->execing == t)
        p->execing = NULL;
    t->state = TASK_ZOMBIE;
    if (last)
        p->exit_uid = t->cred->uid;
    bool alone = p->execing && p->thread_count == 1;
    spin_unlock(&p->lock);
    pids_remove_task_locked(t);
    if (last)
        process_end_locked(p, w);
    spin_unlock(&g_pids);
    if (alone)
        wake_all(&p->exec_wait, 0);
    return last;
}

void task_exit(struct task *t, int32_t status)
{
    struct process *p AUTO_PUT(process) = process_get(t->process);
    struct exit_work work = {.orphan_count = 0};
    list_init(&work.dead);
    task_get(t);
    call_end(&t->call, -EINTR);
    t->in_call = false;
    /* What closes its files asks who the current task is, also when a signal ends it. */
    void *outer = fiber_local();
    t->call.task = t;
    fiber_set_local(&t->call);
    if (g_kernel_hooks.task_quiesce)
        g_kernel_hooks.task_quiesce(t);
    t->exit_code = status;
    if (t->mm)
        futex_task_exit(t);
    bool last = task_stop_running(t, TASK_EXITING);
    signal_task_exit(t);
    if (last)
        timers_process_exit(p);
    task_release_files(t);
    if (last)
        process_unveil_drop(p);
    if (last && g_kernel_hooks.session_ended && process_sid_of(p->pid) == p->pid)
        g_kernel_hooks.session_ended(p, p->pid);
    if (t->thread)
        g_kernel_hooks.task_detach(t);
    struct mm *mm = task_take_mm(t, NULL);
    if (last) {
        process_vfork_release(p);
        ipc_process_exit(p);
    }
    if (last && mm && mm_counted(mm)) {
        mm_put(mm); /* who waits for the process finds its shared memory detached */
        mm = NULL;
    }
    bool first = task_leave(t, status, &work) && p == g_first_process;
    exit_work_finish(&work);
    if (mm)
        mm_put_later(mm);
    if (first)
        g_kernel_hooks.init_exited(p, p->exit_status);
    fiber_set_local(outer == &t->call ? NULL : outer);
    task_put(t); /* the thread list's */
    task_put(t); /* the table's */
    task_put(t);
}

/* --- exec --- */

bool process_exec_alone(struct task *t)
{
    struct process *p = t->process;
    struct task *other;
    spin_lock(&p->lock);
    bool alone = p->thread_count == 1;
    if (!t->exit_requested && !p->execing && !alone) {
        p->execing = t;
        list_for_each_entry (other, &p->threads, thread_link)
            if (other != t)
                task_ask_to_leave_locked(other);
    }
    if (t->exit_requested)
        alone = false;
    spin_unlock(&p->lock);
    return alone;
}

void process_exec_abort(struct task *t)
{
    spin_lock(&t->process->lock);
    if (t->process->execing == t)
        t->process->execing = NULL;
    spin_unlock(&t->process->lock);
}

void task_become_leader(struct task *t)
{
    struct process *p = t->process;
    if (p->leader == t)
        return;
    spin_lock(&g_pids);
    pids_remove_task_locked(t);
    spin_lock(&p->lock);
    t->tid = p->pid;
    p->leader = t;
    spin_unlock(&p->lock);
    pid_hold_locked(t->tid);
    pids_enter_task_locked(t);
    spin_unlock(&g_pids);
}

static void exec_forget(struct task *t, struct sighand *sighand, const char *comm)
{
    struct process *p = t->process;
    spin_lock(&g_pids);
    spin_lock(&p->lock);
    struct sighand *old = p->sighand;
    p->sighand = sighand;
    p->execing = NULL;
    p->did_exec = true;
    p->dumpable = true;
    p->unveil_kept = p->unveil != NULL;
    p->unveil_locked = false;
    p->exit_signal = SIGCHLD;
    spin_unlock(&p->lock);
    spin_unlock(&g_pids);
    sighand_put(old);
    pledge_exec(p);
    task_set_comm(t, comm);
    t->altstack = (stack_abi){.flags = SS_DISABLE};
    t->clear_child_tid = t->set_child_tid = 0;
    t->robust_list = 0;
    t->rseq_addr = 0;
    t->keep_caps = false;
}

void task_exec_commit(struct task *t, struct mm *mm, struct sighand *sighand,
                      const struct pf_regs *regs, const char *comm)
{
    call_end(&t->call, 0);
    t->in_call = false;
    futex_task_exit(t);
    posix_timers_exec(t->process);
    exec_forget(t, sighand, comm);
    (void)task_stop_running(t, TASK_NEW);
    g_kernel_hooks.task_detach(t);
    struct mm *old = task_take_mm(t, mm);
    process_vfork_release(t->process);
    t->fs_base = regs->fs_base;
    t->gs_base = regs->gs_base;
    int err = g_platform->thread_create(mm_as(mm), regs, NULL, 0, &t->thread);
    if (!err) {
        err = task_start(t, t);
        BUG_ON(err); /* the poller has served this task before */
    }
    mm_put_later(old);
    if (err)
        task_exit(t, SIGKILL);
}
