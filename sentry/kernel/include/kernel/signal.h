/* SPDX-License-Identifier: Apache-2.0
 * signal.h - pending signals, handlers, delivery with real x86-64 frames.
 *
 * Senders queue under the target process's lock and call signal_wake(); delivery happens only on
 * the owner's way back to the guest (signal_deliver), on registers that the platform holds.
 *
 * The dispatcher calls signal_deliver() whenever signal_work() holds or the result is an internal
 * restart code, before it replies. A call that came by the lane's slot is answered SLOW instead.
 */
#ifndef KERNEL_SIGNAL_H
#define KERNEL_SIGNAL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <abi/types.h>
#include <base/list.h>
#include <base/lock.h>
#include <base/platform.h>
#include <base/refcount.h>
#include <kernel/wait.h>

struct task;
struct process;

typedef uint64_t sigset_t_abi; /* bit n-1 = signal n */
#define NSIGNALS 64
#define SIGBIT(n) (1ULL << ((n)-1))
#define SIG_UNBLOCKABLE (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define SIG_QUEUE_LIMIT 1024 /* queued real-time signals a process; RLIMIT_SIGPENDING lowers it */

typedef struct {
    uint64_t sp;
    int32_t flags;
    int32_t pad;
    uint64_t size;
} stack_abi;

struct sigaction_abi { /* rt_sigaction's */
    uint64_t handler, flags, restorer;
    sigset_t_abi mask;
};

struct sig_pending {
    _Atomic(sigset_t_abi) set; /* read without the lock by signal_pending() */
    struct list_head queue;    /* struct sig_queued: siginfo of each */
    uint32_t count;
};

struct sighand {
    struct refcount ref;
    struct spin lock;                      /* SIGHAND_RANK: taken inside a process lock */
    struct sigaction_abi action[NSIGNALS]; /* [signo-1] */
    struct wait_queue wait; /* POLLIN at every signal queued: sigtimedwait, signalfd */
};
#define SIGHAND_RANK RANK_FDTABLE /* never held together with a descriptor table's lock */
struct sighand *sighand_new(void);
struct sighand *sighand_dup(struct sighand *s);
struct sighand *sighand_get(struct sighand *s);
void sighand_put(struct sighand *s);
/* exec: handlers that are not SIG_IGN become SIG_DFL; returns a private one. */
struct sighand *sighand_exec(struct sighand *s);

/* The action of @signo now. */
void sighand_action(struct sighand *s, int signo, struct sigaction_abi *ret);
/* rt_sigaction for the calling task: @new or @ret_old may be NULL. Setting "ignore" discards what
 * is pending. -EINVAL: bad number, or SIGKILL and SIGSTOP changed. */
int signal_action(struct task *t, int signo, const struct sigaction_abi *new,
                  struct sigaction_abi *ret_old);

void sig_pending_init(struct sig_pending *p);
void sig_pending_flush(struct sig_pending *p);

/* Host siginfo_t has the guest's layout. @info NULL = SI_USER from the kernel. */
int signal_send_task(struct task *t, int signo, const siginfo_t *info);       /* tgkill */
int signal_send_process(struct process *p, int signo, const siginfo_t *info); /* kill */
int signal_send_group(int32_t pgid, int signo, const siginfo_t *info);        /* kill(-pgid) */
/* The same with the permission of @sender checked for each: 0 if one could be sent, -EPERM, -ESRCH.
 * all: kill(-1): everybody but process 1 and the sender's own. Context: g_pids not held. */
int signal_send_group_from(struct task *sender, int32_t pgid, int signo, const siginfo_t *info);
int signal_send_all_from(struct task *sender, int signo, const siginfo_t *info);
int32_t process_pgid(struct process *p);
/* Synchronous fault: cannot be ignored or blocked (then SIG_DFL). Owner only. */
void signal_force(struct task *t, const siginfo_t *info);
/* The same for a hardware fault: also sets what the frame reports as trapno, err and cr2. */
void signal_force_fault(struct task *t, int signo, int code, uint64_t addr, uint32_t trapno,
                        uint32_t err);
/* info of kill(2) by @sender. */
void signal_info_user(siginfo_t *ret, struct task *sender, int signo, int code);
/* Task exit: what was meant for this thread goes, what the process has pending is offered to the
 * other threads. Call when the task can take no signal any more (state EXITING), lock not held. */
void signal_task_exit(struct task *t);

/* May @sender (cred of the current task) signal @p? 0, -EPERM. */
int signal_permitted(struct task *sender, struct process *p, int signo);

/* Pending and unblocked set, for sigpending and sigtimedwait. */
sigset_t_abi signal_pending_set(struct task *t);
/* Take one of @set; 0 none, else signo with info. */
int signal_dequeue(struct task *t, sigset_t_abi set, siginfo_t *ret);
/* ppoll, pselect6, epoll_pwait, sigsuspend: a mask for the duration of the call. push again in a
 * re-run does nothing. pop: the call ended without being interrupted. If it was interrupted, leave
 * it: signal_deliver() puts the old mask back. */
void signal_mask_push(struct task *t, sigset_t_abi mask);
void signal_mask_pop(struct task *t);
/* -ERESTART_RESTARTBLOCK: an interrupted relative wait continues, when no handler runs, with the
 * deadline it has now (restart_syscall dispatches c->nr and c->args again). Without a deadline:
 * -ERESTARTNOHAND. -EINTR for SQ calls. */
sysret_t signal_restart_block(struct call *c);
/* Change the mask; recomputes and wakes others for signals that moved. */
void signal_set_blocked(struct task *t, sigset_t_abi blocked);

enum signal_outcome { SIGNAL_NONE, SIGNAL_REGS, SIGNAL_EXIT, SIGNAL_STOP };

/**
 * signal_deliver - on the way back to the guest: take pending signals; stop, continue, kill, or set
 * up a handler's frame and change the registers.
 * @t: its owner runs this
 * @in_call: the regs are those of a system call that ended with @result (perhaps -ERESTART*):
 *           decides restart (rip - 2, rax = nr) or -EINTR
 * @nr: the call's number, for restart
 * Return: SIGNAL_NONE: no change (result stands; an -ERESTART* must have been resolved: see
 * signal_result), SIGNAL_REGS: registers were set by platform thread_set_regs, SIGNAL_EXIT: the
 * task must exit with *ret_status (group), SIGNAL_STOP: stopped; wait until continued, call again.
 * Context: may park (writes guest memory).
 */
enum signal_outcome signal_deliver(struct task *t, bool in_call, uint32_t nr, sysret_t *result,
                                   int32_t *ret_status);

/* Alternate stack: sigaltstack(2) with the stack pointer at the call. 0, -EPERM, -EINVAL, -ENOMEM
 */
int signal_altstack(struct task *t, uint64_t sp, const stack_abi *new, stack_abi *ret_old);

/* rt_sigreturn: restore registers, mask, alternate stack, FPU from the guest's frame. SYS_NORETURN
 * or a forced SIGSEGV. */
sysret_t signal_return(struct task *t);

#endif
