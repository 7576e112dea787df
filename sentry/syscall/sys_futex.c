/* SPDX-License-Identifier: Apache-2.0
 * sys_futex.c - futex(2), futex_waitv(2); set_robust_list and set_tid_address are the task's. */
#include <linux/futex.h>
#include <time.h>

#include <base/err.h>
#include <kernel/futex.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>

#define WAITV_SIZE_U32 2u /* FUTEX_32, FUTEX2_SIZE_U32 */

sysret_t sys_futex(struct call *c, uint64_t uaddr, int32_t op, uint32_t val, uint64_t timeout,
                   uint64_t uaddr2, uint32_t val3)
{
    return futex_op(c, UADDR(uaddr), op, val, timeout, UADDR(uaddr2), val3);
}

static int waitv_decode(const struct futex_waitv *w, struct futex_wait_entry *ret)
{
    if (w->flags & ~(WAITV_SIZE_U32 | FUTEX_PRIVATE_FLAG) || w->__reserved)
        return -EINVAL;
    if (!(w->flags & WAITV_SIZE_U32) || w->val > UINT32_MAX)
        return -EINVAL;
    *ret = (struct futex_wait_entry){.addr = UADDR(w->uaddr),
                                     .value = (uint32_t)w->val,
                                     .shared = !(w->flags & FUTEX_PRIVATE_FLAG)};
    return 0;
}

static int waitv_deadline(struct call *c, uaddr_t timeout, int32_t clock)
{
    struct timespec ts;

    if (uaddr_null(timeout) || c->started)
        return 0;
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
        return -EINVAL;
    if (copy_in_obj(c->task->mm, &ts, timeout))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    call_deadline(c, deadline_at(clock, timespec_to_ns(&ts)));
    return 0;
}

sysret_t sys_futex_waitv(struct call *c, uaddr_t waiters, uint32_t count, uint32_t flags,
                         uaddr_t timeout, int32_t clock)
{
    struct futex_waitv w[FUTEX_WAIT_MANY_MAX];
    struct futex_wait_entry e[FUTEX_WAIT_MANY_MAX];

    if (c->state) /* it waits already */
        return futex_wait_many(c, NULL, 0);
    if (flags || !count || count > FUTEX_WAIT_MANY_MAX || uaddr_null(waiters))
        return -EINVAL;
    int err = waitv_deadline(c, timeout, clock);
    if (err)
        return err;
    if (copy_in(c->task->mm, w, waiters, count * sizeof(w[0])))
        return -EFAULT;
    for (uint32_t i = 0; i < count; i++) {
        err = waitv_decode(&w[i], &e[i]);
        if (err)
            return err;
    }
    return futex_wait_many(c, e, count);
}
