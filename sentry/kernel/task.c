/* SPDX-License-Identifier: Apache-2.0
 * task.c - tasks and processes as objects: allocation, references, what others may read of them,
 * process 1, and the kernel's start.
 *
 * Guests cause everything here but supply no data. Limits: pids.c.
 *
 * Locks: process->lock for what another thread may look at (task.h says which); a task's own fields
 * belong to its owner.
 */
#include "task_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <base/err.h>
#include <base/fiber.h>
#include <kernel/itimer.h>
#include <kernel/pledge.h>
#include <mm/mm.h>

struct kernel_hooks g_kernel_hooks;
const struct platform_ops *g_platform;
struct kernel_state g_kernel;
struct process *g_first_process;

static struct process init_process;

#define STACK_DEFAULT (8UL << 20)
#define MEMLOCK_DEFAULT (8UL << 20)
#define NOFILE_SOFT 1024UL
#define NOFILE_HARD 1048576UL
#define MSGQUEUE_DEFAULT 819200UL
#define TIMER_SLACK_NS 50000u
#define PID_MAX_DEFAULT 4096u

/* --- process --- */

static void process_setup(struct process *p)
{
    refcount_init(&p->ref);
    list_init(&p->children);
    list_init(&p->sibling);
    list_init(&p->group_link);
    list_init(&p->pid_link);
    list_init(&p->threads);
    wait_queue_init(&p->child_wait);
    wait_queue_init(&p->exit_wait);
    wait_queue_init(&p->exec_wait);
    wait_queue_init(&p->vfork_wait);
    list_init(&p->sem_undos);
    spin_init(&p->lock, RANK_PROCESS);
    sig_pending_init(&p->shared_pending);
    p->state = PROCESS_RUNNING;
    p->exit_signal = SIGCHLD;
    p->dumpable = true;
    pledge_init(p);
    p->start_ns = clock_now_ns(CLOCK_MONOTONIC);
}

struct process *process_new(struct process *like)
{
    struct process *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    process_setup(p);
    spin_lock(&like->lock);
    memcpy(p->rlimits, like->rlimits, sizeof(p->rlimits));
    p->dumpable = like->dumpable;
    p->oom_score_adj = like->oom_score_adj;
    p->tty_given_up = like->tty_given_up;
    pledge_inherit_locked(p, like);
    spin_unlock(&like->lock);
    return p;
}

struct process *process_get(struct process *p)
{
    refcount_get(&p->ref);
    return p;
}

void process_put(struct process *p)
{
    if (IS_ERR_OR_NULL(p) || !refcount_put(&p->ref))
        return;
    BUG_ON(p == &init_process);
    sig_pending_flush(&p->shared_pending);
    sighand_put(p->sighand);
    free(p);
}

struct process *process_init(void)
{
    return &init_process;
}

/* --- task --- */

struct task *task_new(struct process *p, const struct task *like)
{
    struct task *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    refcount_init(&t->ref);
    list_init(&t->pid_link);
    list_init(&t->thread_link);
    list_init(&t->poll_link);
    sig_pending_init(&t->pending);
    call_begin(&t->call, t, 0, NULL, CALL_BY_SLOT);
    t->process = process_get(p);
    t->state = TASK_NEW;
    t->start_ns = clock_now_ns(CLOCK_MONOTONIC);
    if (like) {
        t->blocked = like->blocked;
        t->no_new_privs = like->no_new_privs;
        t->keep_caps = like->keep_caps;
        t->timer_slack_ns = like->timer_slack_ns;
        t->nice = like->nice;
        t->sched_policy = like->sched_policy;
        t->sched_priority = like->sched_priority;
        t->ioprio = like->ioprio;
        t->personality = like->personality;
        memcpy(t->cpu_mask, like->cpu_mask, sizeof(t->cpu_mask));
        memcpy(t->comm, like->comm, sizeof(t->comm));
    } else {
        t->timer_slack_ns = TIMER_SLACK_NS;
        for (uint32_t i = 0; i < g_kernel.cpus; i++)
            t->cpu_mask[i / 64] |= 1ULL << i % 64;
    }
    return t;
}

struct task *task_get(struct task *t)
{
    refcount_get(&t->ref);
    return t;
}

void task_put(struct task *t)
{
    if (IS_ERR_OR_NULL(t) || !refcount_put(&t->ref))
        return;
    BUG_ON(t->thread || t->mm || t->fds || t->fs);
    sig_pending_flush(&t->pending);
    cred_put(t->cred);
    free(t->service);
    process_put(t->process);
    free(t);
}

struct call *call_current(void)
{
    return fiber_local();
}

struct task *task_current(void)
{
    struct call *c = fiber_local();

    return c ? c->task : NULL;
}

/* --- what others read --- */

struct mm *task_mm_get(struct task *t)
{
    spin_lock(&t->process->lock);
    struct mm *mm = t->mm ? mm_get(t->mm) : NULL;
    spin_unlock(&t->process->lock);
    return mm;
}

void task_set_comm(struct task *t, const char *comm)
{
    spin_lock(&t->process->lock);
    memset(t->comm, 0, sizeof(t->comm));
    memcpy(t->comm, comm, strnlen(comm, sizeof(t->comm) - 1));
    if (t->process->leader == t)
        memcpy(t->process->comm, t->comm, sizeof(t->comm));
    spin_unlock(&t->process->lock);
}

void task_get_comm(struct task *t, char ret[TASK_COMM_LEN])
{
    spin_lock(&t->process->lock);
    memcpy(ret, t->comm, TASK_COMM_LEN);
    spin_unlock(&t->process->lock);
}

void rusage_add(struct rusage *sum, const struct rusage *r)
{
    timeradd(&sum->ru_utime, &r->ru_utime, &sum->ru_utime);
    timeradd(&sum->ru_stime, &r->ru_stime, &sum->ru_stime);
    sum->ru_maxrss = MAX(sum->ru_maxrss, r->ru_maxrss);
    sum->ru_minflt += r->ru_minflt;
    sum->ru_majflt += r->ru_majflt;
    sum->ru_nvcsw += r->ru_nvcsw;
    sum->ru_nivcsw += r->ru_nivcsw;
}

void process_usage(struct process *p, struct rusage *ret)
{
    int64_t us = process_cpu_ns(p) / 1000;
    spin_lock(&p->lock);
    *ret = p->own_usage;
    spin_unlock(&p->lock);
    ret->ru_utime.tv_sec = us / 1000000;
    ret->ru_utime.tv_usec = us % 1000000;
}

/* --- start --- */

static void rlimits_default(struct rlimit *r)
{
    for (int i = 0; i < (int)RLIM_NLIMITS; i++)
        r[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    r[RLIMIT_STACK].rlim_cur = STACK_DEFAULT;
    r[RLIMIT_CORE].rlim_cur = 0;
    r[RLIMIT_NPROC] = (struct rlimit){g_kernel.pid_max, g_kernel.pid_max};
    r[RLIMIT_NOFILE] = (struct rlimit){NOFILE_SOFT, NOFILE_HARD};
    r[RLIMIT_MEMLOCK] = (struct rlimit){MEMLOCK_DEFAULT, MEMLOCK_DEFAULT};
    r[RLIMIT_SIGPENDING] = (struct rlimit){SIG_QUEUE_LIMIT, SIG_QUEUE_LIMIT};
    r[RLIMIT_MSGQUEUE] = (struct rlimit){MSGQUEUE_DEFAULT, MSGQUEUE_DEFAULT};
    r[RLIMIT_NICE] = r[RLIMIT_RTPRIO] = (struct rlimit){0, 0};
}

static int init_process_start(void)
{
    struct process *p = &init_process;
    memset(p, 0, sizeof(*p));
    process_setup(p);
    rlimits_default(p->rlimits);
    p->pid = 1;
    p->child_subreaper = true;
    memcpy(p->comm, "init", sizeof("init"));
    p->sighand = sighand_new();
    struct pgroup *g = pgroup_new(1, 1);
    if (!p->sighand || !g)
        return -ENOMEM;
    spin_lock(&g_pids);
    pid_hold_locked(1);
    pids_enter_process_locked(p);
    pgroup_move_locked(p, g);
    spin_unlock(&g_pids);
    return 0;
}

int kernel_init(const struct kernel_config *cfg)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    spin_init(&g_kernel.lock, RANK_LEAF);
    g_first_process = NULL;
    g_kernel.pid_max = cfg->pid_max ? cfg->pid_max : PID_MAX_DEFAULT;
    g_kernel.cpus = (uint32_t)MAX(online, 1L);
    g_kernel.cpus = MIN(g_kernel.cpus, TASK_CPU_WORDS * 64u);
    long pages = sysconf(_SC_PHYS_PAGES);
    g_kernel.host_memory_bytes = (uint64_t)MAX(pages, 1L) * PAGE_SIZE;
    g_kernel.boot_monotonic_ns = clock_now_ns(CLOCK_MONOTONIC);
    const char *host = cfg->hostname ? cfg->hostname : "ringbox";
    memcpy(g_kernel.hostname, host, strnlen(host, sizeof(g_kernel.hostname) - 1));
    memcpy(g_kernel.domainname, "(none)", sizeof("(none)"));
    int err = pids_init(g_kernel.pid_max);
    return err ? err : init_process_start();
}
