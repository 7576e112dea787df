/* SPDX-License-Identifier: Apache-2.0
 * futex.h - futexes on memory keys (mm/mm.h futex_key). */
#ifndef KERNEL_FUTEX_H
#define KERNEL_FUTEX_H

#include <mm/mm.h>

struct task;
struct call;

void futex_init(void);
/* All operations of futex(2) except FD; PI ones: -ENOSYS. May return SYS_PARK. */
sysret_t futex_op(struct call *c, uaddr_t uaddr, int op, uint32_t val, uint64_t timeout_or_val2,
                  uaddr_t uaddr2, uint32_t val3);
/* futex_waitv(2), decoded; the deadline is the caller's. Index of one that was woken, -EAGAIN (another
 * value), -ETIMEDOUT, -ERESTARTSYS ... @e is looked at in the first run only. */
#define FUTEX_WAIT_MANY_MAX 128u /* as FUTEX_WAITV_MAX */
struct futex_wait_entry {
    uaddr_t addr;
    uint32_t value;
    bool shared;
};
sysret_t futex_wait_many(struct call *c, const struct futex_wait_entry *e, unsigned count);
/* Wake up to @count waiters on the word; returns how many, or -EFAULT. */
int futex_wake(struct mm *mm, uaddr_t uaddr, bool shared, unsigned count, uint32_t bitset);
/* Task exit: robust list, then clear_child_tid store and wake. May park. */
void futex_task_exit(struct task *t);

#endif
