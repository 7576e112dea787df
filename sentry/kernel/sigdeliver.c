/* SPDX-License-Identifier: Apache-2.0
 * sigdeliver.c - what a task does about its signals on the way back to the guest.
 *
 * One pass takes pending signals in order and acts on each: ignore, end the group, stop it, or push
 * a handler's frame. Several handlers stack up, the last one taken runs first. Whether the
 * interrupted call is restarted is decided once, by the first handler (SA_RESTART) or, when none
 * runs, by the call's own code.
 *
 * Stopping: the thread that takes a stop signal marks the whole process and wakes the others, which
 * find the mark here. SIGCONT clears the mark at the sender; what the parent is to be told is left
 * in cld_notify for the first thread that comes by, because it needs the process tree's lock.
 * Deviation: the parent may learn of the stop before the last thread has reached its own.
 *
 * The registers come from the platform and go back to it; the guest may put anything there.
 *
 * Locks: process lock around each decision, never across a frame (guest memory).
 */
#include "signal_internal.h"

#include <asm/unistd.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#define SYSCALL_INSN_SIZE 2

struct delivery {
    struct task *t;
    struct pf_regs regs;
    bool have_regs; /* regs are loaded */
    bool changed;   /* and differ from the platform's */
    bool in_call;   /* the call's result has not been put into regs yet */
    uint32_t nr;
    sysret_t result;
};

static bool is_restart_code(sysret_t r)
{
    return r == -ERESTARTSYS || r == -ERESTARTNOINTR || r == -ERESTARTNOHAND ||
           r == -ERESTART_RESTARTBLOCK;
}

static void load_regs(struct delivery *d)
{
    if (!d->have_regs)
        g_platform->thread_get_regs(d->t->thread, &d->regs);
    d->have_regs = true;
}

static void restart_call(struct delivery *d, uint32_t nr)
{
    load_regs(d);
    d->regs.rax = nr;
    d->regs.rip -= SYSCALL_INSN_SIZE;
    d->changed = true;
    d->in_call = false;
}

/* A handler is about to run: settle the call before its registers go into the frame. */
static void settle_for_handler(struct delivery *d, const struct sigaction_abi *a)
{
    load_regs(d);
    d->changed = true;
    if (!d->in_call)
        return;
    if (d->result == -ERESTARTNOINTR || (d->result == -ERESTARTSYS && (a->flags & SA_RESTART))) {
        restart_call(d, d->nr);
        return;
    }
    if (is_restart_code(d->result))
        d->result = -EINTR;
    d->regs.rax = (uint64_t)d->result;
    d->in_call = false;
}

static void settle_without_handler(struct delivery *d)
{
    if (!d->in_call || !is_restart_code(d->result))
        return;
    restart_call(d, d->result == -ERESTART_RESTARTBLOCK ? (uint32_t)__NR_restart_syscall : d->nr);
}

/* --- stop and continue --- */

/* No member of its group has a parent in the same session but another group: nobody could continue
 * what the terminal stops. */
bool process_group_orphaned(struct process *p)
{
    bool orphaned = true;
    struct process *m;
    spin_lock(&g_pids);
    struct pgroup *g = p->group;
    if (!g) {
        spin_unlock(&g_pids);
        return true;
    }
    list_for_each_entry (m, &g->members, group_link) {
        struct process *parent = m->parent;
        if (parent && parent->group && parent->group != g && parent->group->sid == g->sid) {
            orphaned = false;
            break;
        }
    }
    spin_unlock(&g_pids);
    return orphaned;
}

static void parent_notify(struct process *p, int code, int stop_signal, uint32_t uid)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = code;
    info.si_pid = p->pid;
    info.si_uid = uid;
    info.si_status = code == CLD_CONTINUED ? SIGCONT : stop_signal;

    spin_lock(&g_pids);
    struct process *parent = p->parent ? process_get(p->parent) : NULL;
    spin_unlock(&g_pids);
    if (!parent)
        return;
    struct sigaction_abi a = {0};
    spin_lock(&parent->lock);
    if (parent->sighand)
        sighand_action(parent->sighand, SIGCHLD, &a);
    spin_unlock(&parent->lock);
    if (a.handler != (uint64_t)(uintptr_t)SIG_IGN && !(a.flags & SA_NOCLDSTOP))
        (void)signal_send_process(parent, SIGCHLD, &info);
    wake_all(&parent->child_wait, POLLIN);
    process_put(parent);
}

static void notify_pending(struct task *t)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    int code = p->cld_notify;
    int stop_signal = p->stop_signal;
    uint32_t uid = t->cred->uid;
    p->cld_notify = 0;
    spin_unlock(&p->lock);
    if (code)
        parent_notify(p, code, stop_signal, uid);
}

static void stop_locked(struct process *p, int signo)
{
    if (p->stopped)
        return;
    p->stopped = true;
    p->stop_signal = signo;
    p->stop_unreported = true;
    p->continued_unreported = false;
    p->cld_notify = CLD_STOPPED;
    signal_kick_all_locked(p);
}

/* --- one signal --- */

enum step { STEP_NONE, STEP_AGAIN, STEP_HANDLER, STEP_FATAL, STEP_EXIT, STEP_STOP };

/* Take the next signal and decide, under the lock. For STEP_HANDLER *info, *a and *ret_old (the
 * mask for the frame) are set, and t's mask is the handler's. */
static enum step step_locked(struct task *t, bool orphaned, siginfo_t *info,
                             struct sigaction_abi *a, sigset_t_abi *ret_old)
{
    struct process *p = t->process;
    if (p->group_exiting || t->exit_requested)
        return STEP_EXIT;
    bool kill = (t->pending.set | p->shared_pending.set) & SIGBIT(SIGKILL);
    if (p->stopped && !kill)
        return STEP_STOP;
    int signo = signal_dequeue_locked(t, kill ? SIGBIT(SIGKILL) : ~t->blocked, info);
    if (!signo)
        return STEP_NONE;

    struct sighand *s = p->sighand;
    spin_lock(&s->lock);
    *a = s->action[signo - 1];
    bool handler =
        a->handler != (uint64_t)(uintptr_t)SIG_DFL && a->handler != (uint64_t)(uintptr_t)SIG_IGN;
    if (handler && (a->flags & SA_RESETHAND))
        s->action[signo - 1].handler = (uint64_t)(uintptr_t)SIG_DFL;
    spin_unlock(&s->lock);

    if (handler) {
        *ret_old = t->restore_blocked ? t->saved_blocked : t->blocked;
        return STEP_HANDLER;
    }
    if (sigaction_ignores(a, signo))
        return STEP_AGAIN;
    if (!(SIGBIT(signo) & SIG_STOPS))
        return STEP_FATAL;
    if (orphaned && (SIGBIT(signo) & SIG_TTY_STOPS))
        return STEP_AGAIN;
    stop_locked(p, signo);
    return STEP_STOP;
}

static bool deliver_one(struct delivery *d, const siginfo_t *info, const struct sigaction_abi *a,
                        sigset_t_abi old)
{
    struct task *t = d->t;
    int signo = info->si_signo;
    settle_for_handler(d, a);
    if (signal_frame_push(t, &d->regs, signo, a, info, old)) {
        signal_force_segv(t, signo);
        return false;
    }
    t->restore_blocked = false;
    sigset_t_abi blocked = t->blocked | a->mask;
    if (!(a->flags & SA_NODEFER))
        blocked |= SIGBIT(signo);
    signal_set_blocked(t, blocked);
    return true;
}

static enum signal_outcome leave(struct delivery *d, int32_t *ret_status)
{
    struct process *p = d->t->process;
    spin_lock(&p->lock);
    *ret_status = p->group_exiting ? p->exit_status : 0;
    spin_unlock(&p->lock);
    return SIGNAL_EXIT;
}

enum signal_outcome signal_deliver(struct task *t, bool in_call, uint32_t nr, sysret_t *result,
                                   int32_t *ret_status)
{
    struct process *p = t->process;
    struct delivery d = {.t = t, .in_call = in_call, .nr = nr, .result = in_call ? *result : 0};
    /* Set by a pass before a stop, or by the call itself: the registers are final already. */
    bool set_before = in_call && *result == SYS_NORETURN;
    if (set_before)
        d.in_call = false;

    for (;;) {
        siginfo_t info;
        struct sigaction_abi a;
        sigset_t_abi old = 0;
        bool orphaned = (signal_pending_set(t) & SIG_TTY_STOPS) && process_group_orphaned(p);
        if (p->cld_notify)
            notify_pending(t);
        spin_lock(&p->lock);
        enum step step = step_locked(t, orphaned, &info, &a, &old);
        spin_unlock(&p->lock);

        if (step == STEP_AGAIN)
            continue;
        if (step == STEP_HANDLER) {
            (void)deliver_one(&d, &info, &a, old);
            continue;
        }
        if (step == STEP_FATAL) {
            process_exit_group(p, info.si_signo);
            return leave(&d, ret_status);
        }
        if (step == STEP_EXIT)
            return leave(&d, ret_status);
        if (step == STEP_NONE)
            settle_without_handler(&d);
        if (step == STEP_NONE && t->restore_blocked) {
            /* No handler ran: the old mask may let something through that was held back. */
            signal_mask_pop(t);
            continue;
        }
        if (step == STEP_STOP) {
            notify_pending(t);
            if (d.changed)
                g_platform->thread_set_regs(t->thread, &d.regs);
            if (in_call && d.changed)
                *result = SYS_NORETURN;
            return SIGNAL_STOP;
        }
        break;
    }
    if (d.changed)
        g_platform->thread_set_regs(t->thread, &d.regs);
    return d.changed || set_before ? SIGNAL_REGS : SIGNAL_NONE;
}
