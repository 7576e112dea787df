/* SPDX-License-Identifier: Apache-2.0
 * sys_sched.c - limits, resource use, scheduling parameters. The host schedules; what a guest sets
 * is kept and told, nothing more. */
#include "sys_sched.h"

#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/times.h>

#include <base/err.h>
#include <kernel/itimer.h>
#include <mm/mm.h>
#include <vfs/fdtable.h>

/* --- limits --- */

static int rlimit_check(struct call *c, const struct rlimit *old, const struct rlimit *n,
                        uint32_t resource)
{
    if (n->rlim_cur > n->rlim_max)
        return -EINVAL;
    if (n->rlim_max > old->rlim_max && !cred_capable(c->task->cred, CAP_SYS_RESOURCE))
        return -EPERM;
    if (resource == RLIMIT_NOFILE && n->rlim_max > FDTABLE_MAX)
        return -EPERM;
    return 0;
}

/* @n may be NULL. */
static int rlimit_exchange(struct call *c, struct process *p, uint32_t resource,
                           const struct rlimit *n, struct rlimit *ret_old)
{
    int err = 0;
    spin_lock(&p->lock);
    *ret_old = p->rlimits[resource];
    if (n) {
        err = rlimit_check(c, ret_old, n, resource);
        if (!err)
            p->rlimits[resource] = *n;
    }
    struct mm_limits limits = {p->rlimits[RLIMIT_AS].rlim_cur, p->rlimits[RLIMIT_DATA].rlim_cur,
                               p->rlimits[RLIMIT_STACK].rlim_cur};
    struct task *t = p->leader ? task_get(p->leader) : NULL;
    spin_unlock(&p->lock);
    bool of_memory = resource == RLIMIT_AS || resource == RLIMIT_DATA || resource == RLIMIT_STACK;
    if (n && !err && of_memory && t) {
        struct mm *mm = task_mm_get(t);
        if (mm) {
            mm_set_limits(mm, &limits);
            mm_put(mm);
        }
    }
    task_put(t);
    return err;
}

static int rlimit_permitted(struct call *c, struct process *p)
{
    if (p == c->task->process || cred_capable(c->task->cred, CAP_SYS_RESOURCE))
        return 0;
    return signal_permitted(c->task, p, SIGKILL);
}

sysret_t sys_prlimit64(struct call *c, int32_t pid, uint32_t resource, uaddr_t new_limit,
                       uaddr_t old_limit)
{
    struct rlimit n, old;
    if (resource >= RLIM_NLIMITS)
        return -EINVAL;
    struct process *p AUTO_PUT(process) = pid ? process_find(pid) : process_get(c->task->process);
    if (!p)
        return -ESRCH;
    int err = rlimit_permitted(c, p);
    if (!err && !uaddr_null(new_limit))
        err = copy_in_obj(c->task->mm, &n, new_limit);
    if (!err)
        err = rlimit_exchange(c, p, resource, uaddr_null(new_limit) ? NULL : &n, &old);
    if (!err && !uaddr_null(old_limit))
        err = copy_out_obj(c->task->mm, old_limit, &old);
    return err;
}

sysret_t sys_getrlimit(struct call *c, uint32_t resource, uaddr_t limit)
{
    struct rlimit old;
    if (resource >= RLIM_NLIMITS)
        return -EINVAL;
    (void)rlimit_exchange(c, c->task->process, resource, NULL, &old);
    return copy_out_obj(c->task->mm, limit, &old);
}

sysret_t sys_setrlimit(struct call *c, uint32_t resource, uaddr_t limit)
{
    struct rlimit n, old;
    if (resource >= RLIM_NLIMITS)
        return -EINVAL;
    int err = copy_in_obj(c->task->mm, &n, limit);
    return err ? err : rlimit_exchange(c, c->task->process, resource, &n, &old);
}

/* --- use --- */

static void usage_memory(struct call *c, struct rusage *u)
{
    struct mm_stats s;
    mm_stats_get(c->task->mm, &s);
    u->ru_maxrss = MAX(u->ru_maxrss, (long)(s.peak_rss / 1024));
    u->ru_minflt += (long)s.minflt;
    u->ru_majflt += (long)s.majflt;
}

sysret_t sys_getrusage(struct call *c, int32_t who, uaddr_t usage)
{
    struct rusage u;
    struct process *p = c->task->process;
    int64_t us;
    memset(&u, 0, sizeof(u));
    switch (who) {
    case RUSAGE_SELF:
        process_usage(p, &u);
        usage_memory(c, &u);
        break;
    case RUSAGE_THREAD:
        us = task_cpu_ns(c->task) / 1000;
        u.ru_utime.tv_sec = us / 1000000;
        u.ru_utime.tv_usec = us % 1000000;
        usage_memory(c, &u);
        break;
    case RUSAGE_CHILDREN:
        spin_lock(&p->lock);
        u = p->children_usage;
        spin_unlock(&p->lock);
        break;
    default:
        return -EINVAL;
    }
    return copy_out_obj(c->task->mm, usage, &u);
}

#define TICK_NS 10000000 /* USER_HZ = 100 */

static clock_t timeval_ticks(const struct timeval *tv)
{
    return tv->tv_sec * 100 + tv->tv_usec / (TICK_NS / 1000);
}

sysret_t sys_times(struct call *c, uaddr_t buf)
{
    struct process *p = c->task->process;
    struct tms t = {.tms_utime = process_cpu_ns(p) / TICK_NS};
    spin_lock(&p->lock);
    t.tms_cutime = timeval_ticks(&p->children_usage.ru_utime);
    t.tms_cstime = timeval_ticks(&p->children_usage.ru_stime);
    spin_unlock(&p->lock);
    if (!uaddr_null(buf)) {
        int err = copy_out_obj(c->task->mm, buf, &t);
        if (err)
            return err;
    }
    return clock_now_ns(CLOCK_BOOTTIME) / TICK_NS;
}

/* --- CPUs --- */

sysret_t sys_sched_yield(struct call *c)
{
    (void)c; /* the thread has given its CPU up while the call went round */
    return 0;
}

/* Reference; 0 is the caller. */
struct task *sched_task(struct call *c, int32_t pid)
{
    return pid ? task_find(pid) : task_get(c->task);
}

static size_t cpu_mask_bytes(void)
{
    return (g_kernel.cpus + 63) / 64 * 8;
}

sysret_t sys_sched_getaffinity(struct call *c, int32_t pid, size_t len, uaddr_t mask)
{
    uint64_t m[TASK_CPU_WORDS];
    if (len % 8 || len * 8 < g_kernel.cpus)
        return -EINVAL;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    if (!t)
        return -ESRCH;
    spin_lock(&t->process->lock);
    memcpy(m, t->cpu_mask, sizeof(m));
    spin_unlock(&t->process->lock);
    size_t n = MIN(len, cpu_mask_bytes());
    int err = copy_out(c->task->mm, mask, m, n);
    return err ? err : (sysret_t)n;
}

sysret_t sys_sched_setaffinity(struct call *c, int32_t pid, size_t len, uaddr_t mask)
{
    uint64_t m[TASK_CPU_WORDS] = {0}, any = 0;
    int err = copy_in(c->task->mm, m, mask, MIN(len, cpu_mask_bytes()));
    if (err)
        return err;
    for (uint32_t i = 0; i < TASK_CPU_WORDS; i++) {
        if (i * 64 + 64 > g_kernel.cpus)
            m[i] &= i * 64 >= g_kernel.cpus ? 0 : (1ULL << g_kernel.cpus % 64) - 1;
        any |= m[i];
    }
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    if (!t)
        return -ESRCH;
    if (signal_permitted(c->task, t->process, SIGKILL) &&
        !cred_capable(c->task->cred, CAP_SYS_NICE))
        return -EPERM;
    if (!any)
        return -EINVAL;
    spin_lock(&t->process->lock);
    memcpy(t->cpu_mask, m, sizeof(m));
    spin_unlock(&t->process->lock);
    return 0;
}

sysret_t sys_getcpu(struct call *c, uaddr_t cpu, uaddr_t node, uint64_t unused)
{
    uint32_t first = 0, zero = 0;
    (void)unused;
    while (first < g_kernel.cpus - 1 && !(c->task->cpu_mask[first / 64] >> first % 64 & 1))
        first++;
    int err = uaddr_null(cpu) ? 0 : copy_out_obj(c->task->mm, cpu, &first);
    if (!err && !uaddr_null(node))
        err = copy_out_obj(c->task->mm, node, &zero);
    return err;
}

/* --- policies and priorities --- */

#define POLICY_RESET_ON_FORK 0x40000000
#define RT_PRIORITY_MAX 99

bool sched_is_realtime(int policy)
{
    return policy == SCHED_FIFO || policy == SCHED_RR;
}

int sched_policy_set(struct call *c, struct task *t, int policy, int32_t priority)
{
    bool rt = sched_is_realtime(policy);
    if (!rt && policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE)
        return -EINVAL;
    if (rt ? priority < 1 || priority > RT_PRIORITY_MAX : priority != 0)
        return -EINVAL;
    if (rt && !cred_capable(c->task->cred, CAP_SYS_NICE) &&
        (rlim_t)priority > t->process->rlimits[RLIMIT_RTPRIO].rlim_cur)
        return -EPERM;
    t->sched_policy = policy;
    t->sched_priority = priority;
    return 0;
}

/* @policy -1: the one it has. */
static int policy_set(struct call *c, int32_t pid, int policy, uaddr_t param)
{
    int32_t priority;
    if (uaddr_null(param) || pid < 0)
        return -EINVAL;
    int err = copy_in_obj(c->task->mm, &priority, param);
    if (err)
        return err;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    if (!t)
        return -ESRCH;
    return sched_policy_set(c, t, policy < 0 ? t->sched_policy : policy, priority);
}

sysret_t sys_sched_getscheduler(struct call *c, int32_t pid)
{
    if (pid < 0)
        return -EINVAL;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    return t ? t->sched_policy : -ESRCH;
}

sysret_t sys_sched_setscheduler(struct call *c, int32_t pid, int32_t policy, uaddr_t param)
{
    if (policy < 0)
        return -EINVAL;
    return policy_set(c, pid, policy & ~POLICY_RESET_ON_FORK, param);
}

sysret_t sys_sched_getparam(struct call *c, int32_t pid, uaddr_t param)
{
    if (uaddr_null(param) || pid < 0)
        return -EINVAL;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    if (!t)
        return -ESRCH;
    int32_t priority = t->sched_priority;
    return copy_out_obj(c->task->mm, param, &priority);
}

sysret_t sys_sched_setparam(struct call *c, int32_t pid, uaddr_t param)
{
    return policy_set(c, pid, -1, param);
}

static sysret_t priority_bound(int policy, int bound)
{
    if (sched_is_realtime(policy))
        return bound;
    return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE ||
                   policy == 6 /* SCHED_DEADLINE */
               ? 0
               : -EINVAL;
}

sysret_t sys_sched_get_priority_max(struct call *c, int32_t policy)
{
    (void)c;
    return priority_bound(policy, RT_PRIORITY_MAX);
}

sysret_t sys_sched_get_priority_min(struct call *c, int32_t policy)
{
    (void)c;
    return priority_bound(policy, 1);
}

sysret_t sys_sched_rr_get_interval(struct call *c, int32_t pid, uaddr_t interval)
{
    struct timespec slice = {.tv_nsec = 4000000};
    if (pid < 0)
        return -EINVAL;
    struct task *t AUTO_PUT(task) = sched_task(c, pid);
    return t ? copy_out_obj(c->task->mm, interval, &slice) : -ESRCH;
}

#define NICE_MIN (-20)
#define NICE_MAX 19

/* The task meant by PRIO_PROCESS, or the caller itself for its own group and user. */
static struct task *priority_target(struct call *c, int32_t which, int32_t who)
{
    if (which < PRIO_PROCESS || which > PRIO_USER)
        return ERR_PTR(-EINVAL);
    struct task *t = which == PRIO_PROCESS ? sched_task(c, who) : task_get(c->task);
    return t ? t : ERR_PTR(-ESRCH);
}

sysret_t sys_getpriority(struct call *c, int32_t which, int32_t who)
{
    struct task *t AUTO_PUT(task) = priority_target(c, which, who);
    return IS_ERR(t) ? PTR_ERR(t) : 20 - t->nice;
}

bool sched_may_nice(struct call *c, struct task *t, int32_t nice)
{
    return cred_capable(c->task->cred, CAP_SYS_NICE) ||
           (rlim_t)(20 - nice) <= t->process->rlimits[RLIMIT_NICE].rlim_cur;
}

sysret_t sys_setpriority(struct call *c, int32_t which, int32_t who, int32_t nice)
{
    struct task *t AUTO_PUT(task) = priority_target(c, which, who);
    if (IS_ERR(t))
        return PTR_ERR(t);
    nice = nice < NICE_MIN ? NICE_MIN : nice > NICE_MAX ? NICE_MAX : nice;
    if (signal_permitted(c->task, t->process, SIGKILL))
        return -EPERM;
    if (nice < t->nice && !sched_may_nice(c, t, nice))
        return -EACCES;
    t->nice = nice;
    return 0;
}

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_WHO_USER 3
#define IOPRIO_CLASS(v) ((v) >> 13)
#define IOPRIO_CLASS_RT 1
#define IOPRIO_CLASS_IDLE 3

sysret_t sys_ioprio_get(struct call *c, int32_t which, int32_t who)
{
    if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
        return -EINVAL;
    struct task *t AUTO_PUT(task) =
        which == IOPRIO_WHO_PROCESS ? sched_task(c, who) : task_get(c->task);
    return t ? t->ioprio : -ESRCH;
}

sysret_t sys_ioprio_set(struct call *c, int32_t which, int32_t who, int32_t ioprio)
{
    if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER || ioprio < 0 ||
        IOPRIO_CLASS(ioprio) > IOPRIO_CLASS_IDLE)
        return -EINVAL;
    if (IOPRIO_CLASS(ioprio) == IOPRIO_CLASS_RT && !cred_capable(c->task->cred, CAP_SYS_NICE))
        return -EPERM;
    struct task *t AUTO_PUT(task) =
        which == IOPRIO_WHO_PROCESS ? sched_task(c, who) : task_get(c->task);
    if (!t)
        return -ESRCH;
    t->ioprio = ioprio;
    return 0;
}
