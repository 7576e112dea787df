/* SPDX-License-Identifier: Apache-2.0
 * sys_futex.c - futex(2); set_robust_list and set_tid_address are the task's. */
#include <kernel/futex.h>
#include <syscall/sys.h>

sysret_t sys_futex(struct call *c, uint64_t uaddr, int32_t op, uint32_t val, uint64_t timeout,
                   uint64_t uaddr2, uint32_t val3)
{
    return futex_op(c, UADDR(uaddr), op, val, timeout, UADDR(uaddr2), val3);
}
