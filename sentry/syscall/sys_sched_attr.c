/* SPDX-License-Identifier: Apache-2.0
 * sys_sched_attr.c - sched_setattr, sched_getattr: what sched_setscheduler and setpriority set, in one
 * structure that may grow. As there, stored and told without effect; deadlines are refused. */
#include <string.h>

#include <linux/capability.h>

#include "sys_sched.h"

/* struct sched_attr; the C library may not have it. */
struct attr_abi {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};
#define ATTR_SIZE_FIRST 48u
#define ATTR_SIZE_MAX 4096u /* of a structure from the future: zeros behind what is known */
#define ATTR_FLAG_RESET_ON_FORK 1u
#define ATTR_FLAG_KEEP_POLICY 8u
#define ATTR_FLAG_KEEP_PARAMS 16u
#define POLICY_DEADLINE 6
_Static_assert(sizeof(struct attr_abi) == 56, "ABI");

static int attr_in(struct call *c, uaddr_t u, struct attr_abi *ret)
{
    char rest[64];
    uint32_t size;

    memset(ret, 0, sizeof(*ret));
    if (copy_in_obj(c->task->mm, &size, u))
        return -EFAULT;
    if (!size)
        size = ATTR_SIZE_FIRST;
    if (size < ATTR_SIZE_FIRST || size > ATTR_SIZE_MAX)
        return -E2BIG;
    if (copy_in(c->task->mm, ret, u, MIN((size_t)size, sizeof(*ret))))
        return -EFAULT;
    for (uint32_t at = sizeof(*ret); at < size; at += (uint32_t)sizeof(rest)) {
        size_t n = MIN((size_t)(size - at), sizeof(rest));
        if (copy_in(c->task->mm, rest, uaddr_add(u, at), n))
            return -EFAULT;
        for (size_t i = 0; i < n; i++)
            if (rest[i])
                return -E2BIG;
    }
    return 0;
}

static int attr_apply(struct call *c, struct task *t, const struct attr_abi *a)
{
    bool keep = a->flags & ATTR_FLAG_KEEP_POLICY;
    int policy = keep ? t->sched_policy : (int)a->policy;
    int32_t nice = MAX(-20, MIN(a->nice, 19));
    bool other = !sched_is_realtime(policy);

    if (a->flags & ATTR_FLAG_KEEP_PARAMS)
        return sched_policy_set(c, t, policy, t->sched_priority);
    if (other && nice < t->nice && !sched_may_nice(c, t, nice))
        return -EPERM;
    int err = sched_policy_set(c, t, policy, (int32_t)a->priority);
    if (!err && other)
        t->nice = nice;
    return err;
}

sysret_t sys_sched_setattr(struct call *c, int32_t pid, uaddr_t attr, uint32_t flags)
{
    struct attr_abi a;

    if (uaddr_null(attr) || pid < 0 || flags)
        return -EINVAL;
    int err = attr_in(c, attr, &a);
    if (err)
        return err;
    if ((int32_t)a.policy < 0)
        return -EINVAL;
    if (a.flags &
        ~(uint64_t)(ATTR_FLAG_RESET_ON_FORK | ATTR_FLAG_KEEP_POLICY | ATTR_FLAG_KEEP_PARAMS))
        return -EINVAL;
    if (a.policy == POLICY_DEADLINE)
        return -EPERM;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    return t ? attr_apply(c, t, &a) : -ESRCH;
}

sysret_t sys_sched_getattr(struct call *c, int32_t pid, uaddr_t attr, uint32_t size, uint32_t flags)
{
    struct attr_abi a = {.size = MIN(size, (uint32_t)sizeof(a))};

    if (uaddr_null(attr) || pid < 0 || flags || size < ATTR_SIZE_FIRST || size > PAGE_SIZE)
        return -EINVAL;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    if (!t)
        return -ESRCH;
    a.policy = (uint32_t)t->sched_policy;
    if (sched_is_realtime(t->sched_policy))
        a.priority = (uint32_t)t->sched_priority;
    else
        a.nice = t->nice;
    return copy_out(c->task->mm, attr, &a, a.size);
}
