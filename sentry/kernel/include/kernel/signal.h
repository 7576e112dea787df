/* SPDX-License-Identifier: Apache-2.0
 * signal.h - pending signals, handlers, delivery with real x86-64 frames.
 *
 * Senders queue under the target process's lock and call signal_wake(); delivery happens only on
 * the owner's way back to the guest (signal_deliver), on registers that the platform holds.
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
    sigset_t_abi set;
    struct list_head queue; /* struct sig_queued: siginfo of each */
    uint32_t count;
};

struct sighand {
    struct refcount ref;
    struct spin lock;                      /* RANK_PROCESS + taken inside a process lock */
    struct sigaction_abi action[NSIGNALS]; /* [signo-1] */
};
struct sighand *sighand_new(void);
struct sighand *sighand_dup(struct sighand *s);
struct sighand *sighand_get(struct sighand *s);
void sighand_put(struct sighand *s);
/* exec: handlers that are not SIG_IGN become SIG_DFL; returns a private one. */
struct sighand *sighand_exec(struct sighand *s);

void sig_pending_init(struct sig_pending *p);
void sig_pending_flush(struct sig_pending *p);

/* Host siginfo_t has the guest's layout. @info NULL = SI_USER from the kernel. */
int signal_send_task(struct task *t, int signo, const siginfo_t *info);       /* tgkill */
int signal_send_process(struct process *p, int signo, const siginfo_t *info); /* kill */
int signal_send_group(int32_t pgid, int signo, const siginfo_t *info);        /* kill(-pgid) */
/* Synchronous fault: cannot be ignored or blocked (then SIG_DFL). */
void signal_force(struct task *t, const siginfo_t *info);

/* May @sender (cred of the current task) signal @p? 0, -EPERM. */
int signal_permitted(struct task *sender, struct process *p, int signo);

/* Is a deliverable (unblocked, not ignored) signal or an exit request pending? Owner or any thread.
 */
bool signal_pending(struct task *t);
/* Pending and unblocked set, for sigpending and sigtimedwait. */
sigset_t_abi signal_pending_set(struct task *t);
/* Take one of @set; 0 none, else signo with info. */
int signal_dequeue(struct task *t, sigset_t_abi set, siginfo_t *ret);
/* Change the mask; recomputes and wakes others for signals that moved. */
void signal_set_blocked(struct task *t, sigset_t_abi blocked);

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
enum signal_outcome { SIGNAL_NONE, SIGNAL_REGS, SIGNAL_EXIT, SIGNAL_STOP };
enum signal_outcome signal_deliver(struct task *t, bool in_call, uint32_t nr, sysret_t *result,
                                   int32_t *ret_status);

/* rt_sigreturn: restore registers, mask, alternate stack, FPU from the guest's frame. SYS_NORETURN
 * or a forced SIGSEGV. */
sysret_t signal_return(struct task *t);

#endif
