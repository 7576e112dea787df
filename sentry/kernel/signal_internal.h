/* SPDX-License-Identifier: Apache-2.0
 * signal_internal.h - what the files of the signal code share: queues, actions, frames. */
#ifndef KERNEL_SIGNAL_INTERNAL_H
#define KERNEL_SIGNAL_INTERNAL_H

#include <kernel/signal.h>
#include <kernel/task.h>

/* uapi bits that the C library's headers do not define the kernel's way */
#define SIGACT_RESTORER 0x04000000ULL
#define SIGALT_AUTODISARM (1U << 31)
#define SIGALT_MIN 2048u /* MINSIGSTKSZ of the ABI; glibc's is larger */

#define SIG_REALTIME_MIN 32 /* SIGRTMIN of the ABI; the C library keeps two for itself */

#define SIG_SYNCHRONOUS                                                                     \
    (SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGFPE) | \
     SIGBIT(SIGSYS))
#define SIG_STOPS (SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))
#define SIG_TTY_STOPS (SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))
#define SIG_DEFAULT_IGNORED (SIGBIT(SIGCONT) | SIGBIT(SIGCHLD) | SIGBIT(SIGWINCH) | SIGBIT(SIGURG))

struct sig_queued {
    struct list_head link;
    siginfo_t info;
    bool from_timer; /* a POSIX timer's: re-armed when taken */
};

/* sighand.c */
bool sig_valid(int signo);
bool sigaction_ignores(const struct sigaction_abi *a, int signo);
/* Drop all of @mask. */
void sig_pending_remove(struct sig_pending *p, sigset_t_abi mask);
/* Take the next of @set (synchronous ones first, then the lowest). 0 none. */
int sig_pending_take(struct sig_pending *p, sigset_t_abi set, siginfo_t *ret, bool *ret_timer);

/* signal.c; process lock held */
int signal_dequeue_locked(struct task *t, sigset_t_abi set, siginfo_t *ret);
void signal_set_blocked_locked(struct task *t, sigset_t_abi blocked);
void signal_kick_all_locked(struct process *p);
/* As signal_send_*, for a POSIX timer. 0 queued, 1 discarded because ignored, -EAGAIN. */
int signal_send_timer_locked(struct process *p, struct task *t, int signo, const siginfo_t *info,
                             bool posix);
void signal_force_segv(struct task *t, int failed_signo);

/* sigframe.c: push a frame for @signo and make @regs enter the handler. 0, -EFAULT. */
int signal_frame_push(struct task *t, struct pf_regs *regs, int signo,
                      const struct sigaction_abi *a, const siginfo_t *info, sigset_t_abi old_mask);

#endif
