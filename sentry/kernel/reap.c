/* SPDX-License-Identifier: Apache-2.0
 * reap.c - zombies: telling the parent, wait4 and waitid, release.
 *
 * A process that has ended stays in table, group and tree until its parent has waited for it, or at
 * once goes when nobody will: the parent is process 1, ignores SIGCHLD or said SA_NOCLDWAIT.
 *
 * Locks: g_pids around everything; process->lock for one process at a time below it.
 */
#include "task_internal.h"

#include <string.h>
#include <sys/wait.h>

#include <base/err.h>
#include <kernel/itimer.h>

static void exit_decode(int32_t status, int32_t *ret_code, int32_t *ret_value)
{
    if (!(status & 0x7f)) {
        *ret_code = CLD_EXITED;
        *ret_value = status >> 8 & 0xff;
    } else {
        *ret_code = status & 0x80 ? CLD_DUMPED : CLD_KILLED;
        *ret_value = status & 0x7f;
    }
}

bool process_notify_exit_locked(struct process *p)
{
    struct process *parent = p->parent;
    int32_t signo = p->exit_signal;
    bool unwanted = parent == process_init();
    if (unwanted)
        return true;
    if (signo == SIGCHLD) {
        struct sigaction_abi a;
        spin_lock(&parent->sighand->lock);
        a = parent->sighand->action[SIGCHLD - 1];
        spin_unlock(&parent->sighand->lock);
        if (a.handler == (uint64_t)(uintptr_t)SIG_IGN) {
            unwanted = true;
            signo = 0;
        } else if (a.flags & SA_NOCLDWAIT) {
            unwanted = true;
        }
    }
    if (signo) {
        siginfo_t info;
        int32_t code, value;
        int64_t ticks = process_cpu_ns(p) / 10000000; /* of USER_HZ = 100 */
        exit_decode(p->exit_status, &code, &value);
        memset(&info, 0, sizeof(info));
        info.si_signo = signo;
        info.si_code = code;
        info.si_pid = p->pid;
        info.si_uid = p->exit_uid;
        info.si_status = value;
        info.si_utime = ticks;
        (void)signal_send_process(parent, signo, &info);
    }
    wake_all(&parent->child_wait, 0);
    return unwanted;
}

static void usage_with_children(struct process *p, struct rusage *ret)
{
    process_usage(p, ret);
    rusage_add(ret, &p->children_usage);
}

void process_reap_locked(struct process *p)
{
    struct process *parent = p->parent;
    struct rusage usage;
    usage_with_children(p, &usage);
    spin_lock(&parent->lock);
    rusage_add(&parent->children_usage, &usage);
    spin_unlock(&parent->lock);
    if (p->state == PROCESS_ZOMBIE)
        pids_zombies_locked(-1);
    spin_lock(&p->lock);
    p->state = PROCESS_DEAD;
    spin_unlock(&p->lock);
    pgroup_move_locked(p, NULL);
    list_del(&p->sibling);
    p->parent = NULL;
    atomic_store_explicit(&p->ppid, 0, memory_order_relaxed);
    pids_remove_process_locked(p);
}

void process_reaped(struct process *p)
{
    if (g_kernel_hooks.process_gone)
        g_kernel_hooks.process_gone(p->pid);
    process_put(p);
}

static bool child_matches(const struct process *child, int kind, int32_t id, int options)
{
    if (kind == WAIT_FOR_PID && child->pid != id)
        return false;
    if (kind == WAIT_FOR_PGID && (!child->group || child->group->pgid != id))
        return false;
    if (options & __WALL)
        return true;
    return (child->exit_signal != SIGCHLD) == !!(options & __WCLONE);
}

/* Has @child something to tell? Fills @ret and, unless WNOWAIT, takes it. */
static bool child_report_locked(struct process *child, int options, struct wait_result *ret)
{
    bool keep = options & WNOWAIT, found = true;
    spin_lock(&child->lock);
    struct task *t = child->leader;
    uint32_t uid = t ? t->cred->uid : child->exit_uid;
    if (child->state == PROCESS_ZOMBIE) {
        found = options & WEXITED;
        ret->status = child->exit_status;
        exit_decode(child->exit_status, &ret->code, &ret->value);
    } else if ((options & WSTOPPED) && child->stopped && child->stop_unreported) {
        ret->status = child->stop_signal << 8 | 0x7f;
        ret->code = CLD_STOPPED;
        ret->value = child->stop_signal;
        child->stop_unreported = keep;
    } else if ((options & WCONTINUED) && child->continued_unreported) {
        ret->status = 0xffff;
        ret->code = CLD_CONTINUED;
        ret->value = SIGCONT;
        child->continued_unreported = keep;
    } else {
        found = false;
    }
    spin_unlock(&child->lock);
    if (found) {
        ret->pid = child->pid;
        ret->uid = (int32_t)uid;
        usage_with_children(child, &ret->usage);
    }
    return found;
}

int64_t process_wait(struct process *p, int kind, int32_t id, int options, struct wait_result *ret)
{
    struct process *child, *reaped = NULL;
    int64_t r = -ECHILD;
    spin_lock(&g_pids);
    list_for_each_entry (child, &p->children, sibling) {
        if (!child_matches(child, kind, id, options))
            continue;
        r = 0;
        if (!child_report_locked(child, options, ret))
            continue;
        r = ret->pid;
        if (child->state == PROCESS_ZOMBIE && !(options & WNOWAIT)) {
            process_reap_locked(child);
            reaped = child;
        }
        break;
    }
    spin_unlock(&g_pids);
    if (reaped)
        process_reaped(reaped);
    return r;
}
