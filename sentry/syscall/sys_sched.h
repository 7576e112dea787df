/* SPDX-License-Identifier: Apache-2.0
 * sys_sched.h - what the scheduling calls share (sys_sched.c). */
#ifndef SYSCALL_SYS_SCHED_H
#define SYSCALL_SYS_SCHED_H

#include <syscall/sys.h>

bool sched_is_realtime(int policy);
/* 0 = the caller; a reference, or NULL. */
struct task *sched_task(struct call *c, int32_t pid);
/* Checks and stores. -EINVAL, -EPERM. */
int sched_policy_set(struct call *c, struct task *t, int policy, int32_t priority);
/* May the caller give @t the lower @nice? */
bool sched_may_nice(struct call *c, struct task *t, int32_t nice);

#endif
