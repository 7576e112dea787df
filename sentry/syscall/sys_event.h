/* SPDX-License-Identifier: Apache-2.0
 * sys_event.h - what the calls that wait for several things share (sys_poll.c). */
#ifndef SYSCALL_SYS_EVENT_H
#define SYSCALL_SYS_EVENT_H

#include <syscall/sys.h>

/* A timeout of the guest (timespec, or timeval) as the call's deadline; none when the address is
 * NULL. -EFAULT, -EINVAL. *ret_no_wait: it is zero. */
int wait_timeout_in(struct call *c, uaddr_t u, bool timeval, bool *ret_no_wait);
/* The signal mask for the duration of the call, if there is one. -EINVAL, -EFAULT. */
int wait_mask_push(struct call *c, uaddr_t mask, size_t size);
/* Puts the old mask back unless the call parks or was interrupted; passes @result through. */
sysret_t wait_mask_pop(struct call *c, uaddr_t mask, sysret_t result);

#endif
