/* SPDX-License-Identifier: Apache-2.0
 * types.h - types of the guest ABI (x86-64 Linux) and the Sentry's own result codes.
 *
 * The Sentry runs on the same ABI it serves, so kernel structures come from the host's headers
 * where those define exactly what crosses the boundary; this folder adds what they lack. */
#ifndef ABI_TYPES_H
#define ABI_TYPES_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* Guest address. A struct, so that it cannot be dereferenced or computed with by accident; only
 * mm/ turns it into memory. */
typedef struct {
    uint64_t va;
} uaddr_t;

#define UADDR(x) ((uaddr_t){(uint64_t)(x)})
static inline uaddr_t uaddr_add(uaddr_t u, uint64_t n)
{
    return UADDR(u.va + n); /* a wrapped address is not mapped: the copy fails with -EFAULT */
}
static inline bool uaddr_null(uaddr_t u)
{
    return u.va == 0;
}

/* Result of a handler: >= 0 or -errno as the guest will see it, or one of the codes below, which
 * never reach a guest. */
typedef int64_t sysret_t;

/* As in Linux: what happens when a signal interrupts the call. */
#define ERESTARTSYS 512           /* restart if SA_RESTART, else EINTR */
#define ERESTARTNOINTR 513        /* always restart */
#define ERESTARTNOHAND 514        /* restart only if no handler runs, else EINTR */
#define ERESTART_RESTARTBLOCK 516 /* like NOHAND, but restarts through restart_syscall */

#define SYS_PARK (-600) /* waiters are armed: run the handler again when one fires */
#define SYS_NORETURN \
    (-601) /* the task's registers are set (execve, rt_sigreturn) or it is gone \
                             */

#define SYS_BY_TRAP (-602) /* nothing has changed: a posted call is to come again by trap */

#define TASK_COMM_LEN 16

/* What uname() and /proc tell: the version whose behaviour is followed. */
#define KERNEL_RELEASE "6.1.0-ringbox"
#define KERNEL_VERSION "#1 SMP ringbox"

#endif
