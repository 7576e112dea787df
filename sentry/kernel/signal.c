/* SPDX-License-Identifier: Apache-2.0
 * signal.c - sending signals: discarding, queueing, the choice of a thread, waking it; masks.
 *
 * A sender works under the target process's lock: stop and continue signals remove each other,
 * ignored ones are dropped unless blocked, standard ones are kept once, real-time ones are queued
 * up to a limit. A process-directed signal stays with the process and one thread that does not
 * block it is woken: its call is interrupted and its owner told to look. When that thread then
 * blocks the signal or ends, another one is woken (retarget). SIGKILL wakes them all.
 *
 * A guest can make others' signal queues grow only to SIG_QUEUE_LIMIT, and wake only whom
 * signal_permitted() allows.
 *
 * Locks: process lock, in it the action table's. Callers may hold the pid table's. Waking takes
 * wait-queue and scheduler locks inside.
 */
#include "signal_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <kernel/itimer.h>
#include <linux/capability.h>

/* Read without the lock by signal_pending(); a sender publishes first and interrupts afterwards. */
static sigset_t_abi set_read(const _Atomic(sigset_t_abi) *set)
{
    return atomic_load_explicit(set, memory_order_acquire);
}

/* --- state of one thread --- */

sigset_t_abi signal_pending_set(struct task *t)
{
    return set_read(&t->pending.set) | set_read(&t->process->shared_pending.set);
}

/* --- waking --- */

/* The owner looks: it interrupts the task's call, or the guest. */
static void task_wake(struct task *t)
{
    if (g_kernel_hooks.task_kick)
        g_kernel_hooks.task_kick(t);
}

static bool task_wants_locked(struct task *t, int signo)
{
    if (t->state == TASK_EXITING || t->state == TASK_ZOMBIE || t->exit_requested)
        return false;
    return signo == SIGKILL || !(t->blocked & SIGBIT(signo));
}

void signal_kick_all_locked(struct process *p)
{
    struct task *t;
    list_for_each_entry (t, &p->threads, thread_link)
        if (t->state != TASK_ZOMBIE)
            task_wake(t);
}

/* The leader if it can, else a thread with nothing to do yet, else any that can. */
static struct task *thread_choose_locked(struct process *p, int signo)
{
    struct task *t, *busy = NULL;
    if (p->leader && task_wants_locked(p->leader, signo))
        return p->leader;
    list_for_each_entry (t, &p->threads, thread_link) {
        if (!task_wants_locked(t, signo))
            continue;
        if (!(signal_pending_set(t) & ~t->blocked & ~SIGBIT(signo)))
            return t;
        busy = t;
    }
    return busy;
}

static void wake_for_locked(struct process *p, struct task *t, int signo)
{
    wake_all(&p->sighand->wait, POLLIN);
    if (signo == SIGKILL) {
        signal_kick_all_locked(p);
        return;
    }
    if (!t)
        t = thread_choose_locked(p, signo);
    else if (!task_wants_locked(t, signo))
        t = NULL;
    if (t)
        task_wake(t);
}

/* @t does not take the @set of process signals any more: offer them to others. */
static void retarget_locked(struct task *t, sigset_t_abi set)
{
    struct process *p = t->process;
    struct task *other;
    set &= p->shared_pending.set;
    list_for_each_entry (other, &p->threads, thread_link) {
        if (!set)
            return;
        if (other == t || other->state == TASK_EXITING || other->state == TASK_ZOMBIE)
            continue;
        if (!(set & ~other->blocked))
            continue;
        set &= other->blocked;
        task_wake(other);
    }
}

/* --- sending --- */

static void discard_all_locked(struct process *p, sigset_t_abi mask)
{
    struct task *t;
    sig_pending_remove(&p->shared_pending, mask);
    list_for_each_entry (t, &p->threads, thread_link)
        sig_pending_remove(&t->pending, mask);
}

static void continue_locked(struct process *p)
{
    if (!p->stopped)
        return;
    p->stopped = false;
    p->stop_unreported = false;
    p->continued_unreported = true;
    p->cld_notify = CLD_CONTINUED;
    signal_kick_all_locked(p);
}

/* Effects at once, whether or not it will be delivered. false: drop it. */
static bool prepare_locked(struct process *p, struct task *t, int signo)
{
    if (SIGBIT(signo) & SIG_STOPS)
        discard_all_locked(p, SIGBIT(SIGCONT));
    if (signo == SIGCONT) {
        discard_all_locked(p, SIG_STOPS);
        continue_locked(p);
    }
    if (signo == SIGKILL)
        p->stopped = false;

    if (!t)
        t = p->leader;
    if (!t && !list_empty(&p->threads))
        t = list_first_entry(&p->threads, struct task, thread_link);
    if (t && (t->blocked & SIGBIT(signo)))
        return true;
    struct sigaction_abi a;
    sighand_action(p->sighand, signo, &a);
    return !sigaction_ignores(&a, signo);
}

static uint32_t queue_limit(const struct process *p)
{
    rlim_t most = p->rlimits[RLIMIT_SIGPENDING].rlim_cur;
    return most < SIG_QUEUE_LIMIT ? (uint32_t)most : SIG_QUEUE_LIMIT;
}

static int enqueue_locked(struct process *p, struct sig_pending *q, int signo,
                          const siginfo_t *info, bool from_timer)
{
    if (signo < SIG_REALTIME_MIN && (q->set & SIGBIT(signo)) && !from_timer)
        return 0; /* kept once; a timer waits for its own to be taken */
    /* SIGKILL needs no description; a standard signal has at most one and is not counted out. */
    bool room = signo < SIG_REALTIME_MIN || q->count < queue_limit(p);
    struct sig_queued *e = room && signo != SIGKILL ? calloc(1, sizeof(*e)) : NULL;
    if (!e && signo >= SIG_REALTIME_MIN && info && info->si_code != SI_USER)
        return -EAGAIN;
    if (e) {
        if (info)
            e->info = *info;
        else
            e->info.si_code = SI_KERNEL;
        e->info.si_signo = signo;
        e->from_timer = from_timer;
        list_add_tail(&e->link, &q->queue);
        q->count++;
    }
    q->set |= SIGBIT(signo);
    return 0;
}

int signal_send_timer_locked(struct process *p, struct task *t, int signo, const siginfo_t *info,
                             bool posix)
{
    if (p->state != PROCESS_RUNNING || !p->thread_count || p->group_exiting)
        return 0;
    if (!prepare_locked(p, t, signo))
        return 1;
    int r = enqueue_locked(p, t ? &t->pending : &p->shared_pending, signo, info, posix);
    if (!r)
        wake_for_locked(p, t, signo);
    return r;
}

static int send(struct process *p, struct task *t, int signo, const siginfo_t *info)
{
    if (signo == 0)
        return 0;
    if (!sig_valid(signo))
        return -EINVAL;
    spin_lock(&p->lock);
    int r = signal_send_timer_locked(p, t, signo, info, false);
    spin_unlock(&p->lock);
    return r > 0 ? 0 : r;
}

int signal_send_task(struct task *t, int signo, const siginfo_t *info)
{
    return send(t->process, t, signo, info);
}

int signal_send_process(struct process *p, int signo, const siginfo_t *info)
{
    return send(p, NULL, signo, info);
}

int32_t process_pgid(struct process *p)
{
    spin_lock(&g_pids);
    int32_t pgid = p->group ? p->group->pgid : 0;
    spin_unlock(&g_pids);
    return pgid;
}

/* The next process behind @p, whose reference is dropped; NULL starts. */
static struct process *process_step(struct process *p)
{
    struct process *next = process_next(p ? p->pid : 0);
    process_put(p);
    return next;
}

int signal_send_group(int32_t pgid, int signo, const siginfo_t *info)
{
    return signal_send_group_from(NULL, pgid, signo, info);
}

int signal_send_group_from(struct task *sender, int32_t pgid, int signo, const siginfo_t *info)
{
    int r = -ESRCH;
    for (struct process *p = process_step(NULL); p; p = process_step(p)) {
        if (process_pgid(p) != pgid)
            continue;
        int one = sender ? signal_permitted(sender, p, signo) : 0;
        if (!one)
            one = send(p, NULL, signo, info);
        if (!one || r)
            r = one; /* one success is a success */
    }
    return r;
}

int signal_send_all_from(struct task *sender, int signo, const siginfo_t *info)
{
    int r = -ESRCH;
    for (struct process *p = process_step(NULL); p; p = process_step(p)) {
        if (p == process_init() || p == sender->process)
            continue;
        int one = signal_permitted(sender, p, signo);
        if (!one)
            one = send(p, NULL, signo, info);
        if (one != -EPERM)
            r = one;
        else if (r == -ESRCH)
            r = -EPERM;
    }
    return r;
}

void signal_info_user(siginfo_t *ret, struct task *sender, int signo, int code)
{
    memset(ret, 0, sizeof(*ret));
    ret->si_signo = signo;
    ret->si_code = code;
    ret->si_pid = sender->process->pid;
    ret->si_uid = sender->cred->uid;
}

/* --- faults --- */

void signal_force(struct task *t, const siginfo_t *info)
{
    struct process *p = t->process;
    int signo = info->si_signo;
    BUG_ON(!sig_valid(signo));
    spin_lock(&p->lock);
    struct sighand *s = p->sighand;
    spin_lock(&s->lock);
    bool blocked = t->blocked & SIGBIT(signo);
    if (blocked || s->action[signo - 1].handler == (uint64_t)(uintptr_t)SIG_IGN)
        s->action[signo - 1].handler = (uint64_t)(uintptr_t)SIG_DFL;
    spin_unlock(&s->lock);
    t->blocked &= ~SIGBIT(signo);
    (void)enqueue_locked(p, &t->pending, signo, info, false);
    spin_unlock(&p->lock);
}

void signal_force_fault(struct task *t, int signo, int code, uint64_t addr, uint32_t trapno,
                        uint32_t err)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = signo;
    info.si_code = code;
    info.si_addr = (void *)(uintptr_t)addr; /* a number for the guest; never followed here */
    t->trap_nr = trapno;
    t->trap_err = err;
    t->trap_addr = addr;
    signal_force(t, &info);
}

/* A frame could not be written: SIGSEGV, and death if that was what should have been handled. */
void signal_force_segv(struct task *t, int failed_signo)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGSEGV;
    info.si_code = SI_KERNEL;
    if (failed_signo == SIGSEGV) {
        struct sighand *s = t->process->sighand;
        spin_lock(&s->lock);
        s->action[SIGSEGV - 1].handler = (uint64_t)(uintptr_t)SIG_DFL;
        spin_unlock(&s->lock);
    }
    signal_force(t, &info);
}

/* --- permission --- */

static int32_t session_of_locked(const struct process *p)
{
    return p->group ? p->group->sid : 0;
}

int signal_permitted(struct task *sender, struct process *p, int signo)
{
    const struct cred *c = sender->cred;
    if (p == sender->process || cred_capable(c, CAP_KILL))
        return 0;
    spin_lock(&p->lock);
    struct task *t = p->leader;
    if (!t && !list_empty(&p->threads))
        t = list_first_entry(&p->threads, struct task, thread_link);
    bool same = !t || c->euid == t->cred->suid || c->euid == t->cred->uid ||
                c->uid == t->cred->suid || c->uid == t->cred->uid;
    spin_unlock(&p->lock);
    if (same)
        return 0;
    if (signo != SIGCONT)
        return -EPERM;
    spin_lock(&g_pids);
    same = session_of_locked(p) == session_of_locked(sender->process);
    spin_unlock(&g_pids);
    return same ? 0 : -EPERM;
}

/* --- taking, masks --- */

int signal_dequeue_locked(struct task *t, sigset_t_abi set, siginfo_t *ret)
{
    struct process *p = t->process;
    bool timer;
    int signo = sig_pending_take(&t->pending, set, ret, &timer);
    if (!signo) {
        signo = sig_pending_take(&p->shared_pending, set, ret, &timer);
        if (signo == SIGALRM)
            itimer_signal_taken_locked(p);
    }
    if (signo && timer)
        posix_timer_signal_taken_locked(p, ret);
    return signo;
}

int signal_dequeue(struct task *t, sigset_t_abi set, siginfo_t *ret)
{
    struct process *p = t->process;
    if (!(signal_pending_set(t) & set))
        return 0;
    spin_lock(&p->lock);
    int signo = signal_dequeue_locked(t, set & ~SIG_UNBLOCKABLE, ret);
    spin_unlock(&p->lock);
    return signo;
}

void signal_set_blocked_locked(struct task *t, sigset_t_abi blocked)
{
    blocked &= ~SIG_UNBLOCKABLE;
    sigset_t_abi newly = blocked & ~t->blocked;
    t->blocked = blocked;
    if (newly)
        retarget_locked(t, newly);
}

void signal_set_blocked(struct task *t, sigset_t_abi blocked)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    signal_set_blocked_locked(t, blocked);
    spin_unlock(&p->lock);
}

void signal_mask_push(struct task *t, sigset_t_abi mask)
{
    struct process *p = t->process;
    if (t->restore_blocked)
        return;
    spin_lock(&p->lock);
    t->saved_blocked = t->blocked;
    t->restore_blocked = true;
    signal_set_blocked_locked(t, mask);
    spin_unlock(&p->lock);
}

void signal_mask_pop(struct task *t)
{
    if (!t->restore_blocked)
        return;
    t->restore_blocked = false;
    signal_set_blocked(t, t->saved_blocked);
}

sysret_t signal_restart_block(struct call *c)
{
    struct task *t = c->task;
    if (c->how == CALL_BY_SQ)
        return -EINTR;
    if (!c->has_deadline)
        return -ERESTARTNOHAND; /* for ever: the arguments say all */
    t->restart_nr = c->nr;
    t->restart_ns = c->deadline_ns;
    memcpy(t->restart_args, c->args, sizeof(t->restart_args));
    return -ERESTART_RESTARTBLOCK;
}

void signal_task_exit(struct task *t)
{
    struct process *p = t->process;
    spin_lock(&p->lock);
    sig_pending_flush(&t->pending);
    if (!p->group_exiting)
        retarget_locked(t, ~t->blocked);
    spin_unlock(&p->lock);
}
