/* SPDX-License-Identifier: Apache-2.0
 * itimer.h - interval timers (setitimer, alarm) and POSIX timers of a process; CPU clocks.
 *
 * Both send signals; a periodic one is armed again only when its signal has been taken, so that a
 * tiny interval costs its owner and nobody else. Guarded by the process lock.
 */
#ifndef KERNEL_ITIMER_H
#define KERNEL_ITIMER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct process;
struct task;

#define POSIX_TIMERS_MAX 1024 /* of a process; RLIMIT_SIGPENDING is the signals' own limit */

struct timer_spec { /* ns; 0 = off */
    int64_t value, interval;
};

/* setitimer: @which ITIMER_*; @new may be NULL (getitimer). -EINVAL, -ENOMEM. */
int itimer_set(struct process *p, int which, const struct timer_spec *new,
               struct timer_spec *ret_old);

/* @notify SIGEV_*, @target a tid of this process for SIGEV_THREAD_ID. Returns the timer's id,
 * -EINVAL, -EAGAIN (limit), -ENOMEM. */
int posix_timer_create(struct task *t, int32_t clock, int notify, int signo, uint64_t value,
                       bool value_is_id, int32_t target);
int posix_timer_set(struct task *t, int id, bool absolute, const struct timer_spec *new,
                    struct timer_spec *ret_old); /* -EINVAL */
int posix_timer_get(struct task *t, int id, struct timer_spec *ret);
int posix_timer_overrun(struct task *t, int id);
int posix_timer_delete(struct task *t, int id);

/* exec deletes the POSIX timers; the end of a process both kinds. Context: no lock held. */
void posix_timers_exec(struct process *p);
void timers_process_exit(struct process *p);

/* CPU time in ns: of a thread, of a process with its ended threads. 0 where the platform cannot
 * say. */
int64_t task_cpu_ns(struct task *t);
int64_t process_cpu_ns(struct process *p);

/* Signal code only; process lock held. */
void itimer_signal_taken_locked(struct process *p);
void posix_timer_signal_taken_locked(struct process *p, siginfo_t *info);

#endif
