/* SPDX-License-Identifier: Apache-2.0
 * itimer_internal.h - what interval and POSIX timers share. */
#ifndef KERNEL_ITIMER_INTERNAL_H
#define KERNEL_ITIMER_INTERNAL_H

#include "signal_internal.h"

#include <kernel/itimer.h>
#include <kernel/ktime.h>

#define CPU_POLL_MIN_NS 4000000LL       /* CPU timers look at most this often */
#define TIMER_IGNORED_MIN_NS 10000000LL /* a periodic timer whose signal is ignored */

int64_t task_cpu_ns_locked(struct task *t);
int64_t process_cpu_ns_locked(struct process *p);
/* When to look again at a CPU clock with @left to go. */
int64_t cpu_poll_at(int64_t left, uint32_t threads);
/* First expiry after @now; @interval > 0. */
int64_t timer_forward(int64_t next, int64_t interval, int64_t now, int64_t *ret_missed);

#endif
