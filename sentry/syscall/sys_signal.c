/* SPDX-License-Identifier: Apache-2.0
 * sys_signal.c - system calls about signals: the ABI shell around kernel/signal.h.
 *
 * Rows that touch the thread's mask, stack or registers are SQ_NO. Waiting ones (sigtimedwait,
 * sigsuspend, pause) are re-run: they wait on the action table's queue or for a signal alone.
 */
#include <poll.h>
#include <string.h>

#include <kernel/ktime.h>
#include <syscall/sys.h>

static struct mm *mm_of(struct call *c)
{
    return c->task->mm;
}

sysret_t sys_rt_sigaction(struct call *c, int32_t signo, uaddr_t act, uaddr_t oldact, size_t size)
{
    struct sigaction_abi new, old;
    if (size != sizeof(sigset_t_abi))
        return -EINVAL;
    if (!uaddr_null(act) && copy_in_obj(mm_of(c), &new, act))
        return -EFAULT;
    int err = signal_action(c->task, signo, uaddr_null(act) ? NULL : &new, &old);
    if (!err && !uaddr_null(oldact))
        err = copy_out_obj(mm_of(c), oldact, &old);
    return err;
}

sysret_t sys_rt_sigprocmask(struct call *c, int32_t how, uaddr_t set, uaddr_t oldset, size_t size)
{
    sigset_t_abi old = c->task->blocked, mask;
    if (size != sizeof(sigset_t_abi))
        return -EINVAL;
    if (!uaddr_null(set)) {
        if (copy_in_obj(mm_of(c), &mask, set))
            return -EFAULT;
        switch (how) {
        case SIG_BLOCK:
            mask |= old;
            break;
        case SIG_UNBLOCK:
            mask = old & ~mask;
            break;
        case SIG_SETMASK:
            break;
        default:
            return -EINVAL;
        }
        signal_set_blocked(c->task, mask);
    }
    return uaddr_null(oldset) ? 0 : copy_out_obj(mm_of(c), oldset, &old);
}

sysret_t sys_rt_sigpending(struct call *c, uaddr_t set, size_t size)
{
    sigset_t_abi pending = signal_pending_set(c->task) & c->task->blocked;
    if (size > sizeof(pending))
        return -EINVAL;
    return copy_out(mm_of(c), set, &pending, size);
}

/* --- waiting --- */

static sysret_t timedwait_done(struct call *c, int signo, const siginfo_t *si, uaddr_t info)
{
    if (!uaddr_null(info) && copy_out_obj(mm_of(c), info, si))
        return -EFAULT;
    return signo;
}

sysret_t sys_rt_sigtimedwait(struct call *c, uaddr_t set, uaddr_t info, uaddr_t timeout,
                             size_t size)
{
    sigset_t_abi want;
    struct timespec ts;
    siginfo_t si;
    bool poll_only = false;
    if (size != sizeof(want))
        return -EINVAL;
    if (copy_in_obj(mm_of(c), &want, set))
        return -EFAULT;
    if (!uaddr_null(timeout)) {
        if (copy_in_obj(mm_of(c), &ts, timeout))
            return -EFAULT;
        if (!timespec_valid(&ts))
            return -EINVAL;
        poll_only = !ts.tv_sec && !ts.tv_nsec;
        if (!poll_only)
            call_deadline(c, deadline_after(timespec_to_ns(&ts)));
    }
    want &= ~SIG_UNBLOCKABLE;

    int signo = signal_dequeue(c->task, want, &si);
    if (signo)
        return timedwait_done(c, signo, &si, info);
    if (poll_only)
        return -EAGAIN;
    int err = call_arm(c, &c->task->process->sighand->wait, POLLIN);
    if (err)
        return err;
    signo = signal_dequeue(c->task, want, &si); /* one that came before the waiter was armed */
    if (signo)
        return timedwait_done(c, signo, &si, info);
    sysret_t r = call_wait_armed(c);
    if (r == -ETIMEDOUT)
        return -EAGAIN;
    return r == -ERESTARTSYS ? -EINTR : r;
}

static sysret_t wait_for_signal(struct call *c)
{
    sysret_t r = call_wait_none(c);
    return r == -ERESTARTSYS ? -ERESTARTNOHAND : r;
}

sysret_t sys_rt_sigsuspend(struct call *c, uaddr_t set, size_t size)
{
    sigset_t_abi mask;
    if (size != sizeof(mask))
        return -EINVAL;
    if (!c->progress) {
        if (copy_in_obj(mm_of(c), &mask, set))
            return -EFAULT;
        signal_mask_push(c->task, mask);
        c->progress = 1;
    }
    return wait_for_signal(c);
}

sysret_t sys_pause(struct call *c)
{
    return wait_for_signal(c);
}

sysret_t sys_restart_syscall(struct call *c)
{
    struct task *t = c->task;
    if (!t->restart_nr)
        return -EINTR; /* nothing was interrupted: the guest called it by itself */
    c->nr = t->restart_nr;
    t->restart_nr = 0;
    memcpy(c->args, t->restart_args, sizeof(c->args));
    /* The first deadline set counts: what the handler computes from its arguments does not. */
    call_deadline(c, t->restart_ns);
    return sys_dispatch(c);
}

/* --- frames --- */

sysret_t sys_rt_sigreturn(struct call *c)
{
    return signal_return(c->task);
}

sysret_t sys_sigaltstack(struct call *c, uaddr_t stack, uaddr_t old)
{
    stack_abi new_stack, old_stack;
    struct pf_regs regs;
    if (!uaddr_null(stack) && copy_in_obj(mm_of(c), &new_stack, stack))
        return -EFAULT;
    g_platform->thread_get_regs(c->task->thread, &regs);
    int err = signal_altstack(c->task, regs.rsp, uaddr_null(stack) ? NULL : &new_stack, &old_stack);
    if (!err && !uaddr_null(old))
        err = copy_out_obj(mm_of(c), old, &old_stack);
    return err;
}

/* --- sending --- */

static int signo_check(int32_t signo)
{
    return signo < 0 || signo > NSIGNALS ? -EINVAL : 0;
}

/* The process that @pid names: of a leader, or of any of its threads. */
static struct process *process_of(int32_t pid)
{
    struct process *p = process_find(pid);
    if (p)
        return p;
    struct task *t AUTO_PUT(task) = task_find(pid);
    return t ? process_get(t->process) : NULL;
}

static int send_process(struct task *t, int32_t pid, int32_t signo, const siginfo_t *info)
{
    struct process *p AUTO_PUT(process) = process_of(pid);
    if (!p)
        return -ESRCH;
    int err = signal_permitted(t, p, signo);
    return err ? err : signal_send_process(p, signo, info);
}

sysret_t sys_kill(struct call *c, int32_t pid, int32_t signo)
{
    struct task *t = c->task;
    siginfo_t info;
    int err = signo_check(signo);
    if (err)
        return err;
    signal_info_user(&info, t, signo, SI_USER);
    if (pid > 0)
        return send_process(t, pid, signo, &info);
    if (pid == -1)
        return signal_send_all_from(t, signo, &info);
    if (pid == INT32_MIN)
        return -ESRCH;
    return signal_send_group_from(t, pid ? -pid : process_pgid(t->process), signo, &info);
}

/* @pid 0: whatever process the thread is in. */
static int send_thread(struct task *t, int32_t pid, int32_t tid, int32_t signo,
                       const siginfo_t *info)
{
    struct task *target AUTO_PUT(task) = task_find(tid);
    if (!target || (pid && target->process->pid != pid))
        return -ESRCH;
    int err = signal_permitted(t, target->process, signo);
    return err ? err : signal_send_task(target, signo, info);
}

sysret_t sys_tgkill(struct call *c, int32_t pid, int32_t tid, int32_t signo)
{
    siginfo_t info;
    if (pid <= 0 || tid <= 0 || signo_check(signo))
        return -EINVAL;
    signal_info_user(&info, c->task, signo, SI_TKILL);
    return send_thread(c->task, pid, tid, signo, &info);
}

sysret_t sys_tkill(struct call *c, int32_t tid, int32_t signo)
{
    siginfo_t info;
    if (tid <= 0 || signo_check(signo))
        return -EINVAL;
    signal_info_user(&info, c->task, signo, SI_TKILL);
    return send_thread(c->task, 0, tid, signo, &info);
}

/* Codes that only the kernel gives are refused for others' processes. */
static int info_copy(struct call *c, uaddr_t from, int32_t signo, bool own, siginfo_t *ret)
{
    if (signo_check(signo))
        return -EINVAL;
    if (copy_in_obj(mm_of(c), ret, from))
        return -EFAULT;
    if (!own && (ret->si_code >= 0 || ret->si_code == SI_TKILL))
        return -EPERM;
    ret->si_signo = signo;
    return 0;
}

sysret_t sys_rt_sigqueueinfo(struct call *c, int32_t pid, int32_t signo, uaddr_t info)
{
    siginfo_t si;
    int err = info_copy(c, info, signo, pid == c->task->process->pid, &si);
    if (err)
        return err;
    return pid <= 0 ? -ESRCH : send_process(c->task, pid, signo, &si);
}

sysret_t sys_rt_tgsigqueueinfo(struct call *c, int32_t pid, int32_t tid, int32_t signo,
                               uaddr_t info)
{
    siginfo_t si;
    if (pid <= 0 || tid <= 0)
        return -EINVAL;
    int err = info_copy(c, info, signo, tid == c->task->tid, &si);
    return err ? err : send_thread(c->task, pid, tid, signo, &si);
}
