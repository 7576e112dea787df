/* SPDX-License-Identifier: Apache-2.0
 * clone.c - new tasks: threads, forked processes, vfork children, the first process.
 *
 * Order: check the flags, reserve everything that can fail (memory, tables, host process), enter
 * the tables, create the host thread, attach it to a poller. The host thread may run guest code
 * before it is attached; its first call waits in its lane until then.
 *
 * All flags and addresses are the guest's. Limits: pids.c (-EAGAIN), RLIMIT_NPROC, the platform's
 * host processes (mm_fork's -EAGAIN).
 *
 * Locks: g_pids, then process->lock, for the moment of entering. Left out: namespaces (-EPERM),
 * CLONE_INTO_CGROUP (-EINVAL). CLONE_PIDFD is the caller's.
 */
#include "task_internal.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <mm/mm.h>

#define CLONE_NEW_ANY                                                                             \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET | CLONE_NEWTIME)
#define CLONE_KNOWN                                                                           \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_PTRACE | CLONE_VFORK |         \
     CLONE_PARENT | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |       \
     CLONE_CHILD_CLEARTID | CLONE_DETACHED | CLONE_UNTRACED | CLONE_CHILD_SETTID | CLONE_IO | \
     CLONE_CLEAR_SIGHAND | CLONE_NEW_ANY)

static int clone_check(const struct clone_args_k *a)
{
    uint64_t f = a->flags;
    if (f & ~(uint64_t)CLONE_KNOWN)
        return -EINVAL;
    if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
        return -EINVAL;
    if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
        return -EINVAL;
    if ((f & CLONE_CLEAR_SIGHAND) && (f & CLONE_SIGHAND))
        return -EINVAL;
    if ((f & CLONE_FS) && (f & (CLONE_NEWNS | CLONE_NEWUSER)))
        return -EINVAL;
    if ((f & CLONE_THREAD) && (f & (CLONE_NEWUSER | CLONE_NEWPID)))
        return -EINVAL;
    if (a->exit_signal < 0 || a->exit_signal > NSIGNALS)
        return -EINVAL;
    return f & CLONE_NEW_ANY ? -EPERM : 0;
}

void task_drop_resources(struct task *t)
{
    /* Off the task before they are dropped: /proc takes references through it under this lock. */
    spin_lock(&t->process->lock);
    struct fdtable *fds = steal(t->fds);
    struct fs_struct *fs = steal(t->fs);
    struct mm *mm = steal(t->mm);
    spin_unlock(&t->process->lock);
    if (t->tid == t->process->pid) /* of a process that was to be */
        process_unveil_drop(t->process);
    if (fds)
        g_kernel_hooks.fds_put(fds);
    if (fs)
        g_kernel_hooks.fs_put(fs);
    if (mm)
        mm_put(mm);
}

static int clone_sighand(struct process *p, struct task *parent, uint64_t flags)
{
    struct sighand *from = parent->process->sighand;
    if (flags & CLONE_SIGHAND)
        p->sighand = sighand_get(from);
    else
        p->sighand = flags & CLONE_CLEAR_SIGHAND ? sighand_exec(from) : sighand_dup(from);
    return p->sighand ? 0 : -ENOMEM;
}

/* A new process sees what the other does. */
static void clone_unveil(struct process *p, struct process *from)
{
    if (!g_kernel_hooks.unveil_get)
        return;
    p->unveil = g_kernel_hooks.unveil_get(from);
    p->unveil_locked = from->unveil_locked;
    p->unveil_kept = from->unveil_kept;
}

static int clone_resources(struct task *t, struct task *parent, uint64_t flags)
{
    if (t->process != parent->process)
        clone_unveil(t->process, parent->process);
    t->cred = cred_get(parent->cred);
    int err = g_kernel_hooks.fds_clone(parent->fds, flags & CLONE_FILES, &t->fds);
    if (err)
        return err;
    err = g_kernel_hooks.fs_clone(parent->fs, flags & CLONE_FS, &t->fs);
    if (err)
        return err;
    struct mm *mm = flags & CLONE_VM ? mm_get(parent->mm) : mm_fork(parent->mm);
    if (IS_ERR(mm))
        return PTR_ERR(mm);
    t->mm = mm;
    return 0;
}

/* A new task with its resources, known to nobody yet. ERR_PTR. */
static struct task *clone_gather(struct task *parent, const struct clone_args_k *a)
{
    struct process *p = parent->process, *fresh = NULL;
    int err = 0;
    if (!(a->flags & CLONE_THREAD)) {
        p = fresh = process_new(parent->process);
        if (!p)
            return ERR_PTR(-ENOMEM);
        err = clone_sighand(p, parent, a->flags);
        p->exit_signal = a->exit_signal;
        p->vfork_child = a->flags & CLONE_VFORK;
    }
    struct task *t = err ? NULL : task_new(p, parent);
    process_put(fresh); /* the task holds it */
    if (!t)
        return ERR_PTR(-ENOMEM);
    /* Linux keeps the alternate stack unless the memory is shared by running threads. */
    if (!(a->flags & CLONE_VM) || (a->flags & CLONE_VFORK))
        t->altstack = parent->altstack;
    err = clone_resources(t, parent, a->flags);
    if (err) {
        task_drop_resources(t);
        task_put(t);
        return ERR_PTR(err);
    }
    return t;
}

static bool clone_over_limit(struct task *parent)
{
    rlim_t most = parent->process->rlimits[RLIMIT_NPROC].rlim_cur;
    if (most >= g_kernel.pid_max || cred_capable(parent->cred, CAP_SYS_RESOURCE) ||
        cred_capable(parent->cred, CAP_SYS_ADMIN))
        return false;
    return kernel_task_count() >= most;
}

static void thread_add_locked(struct process *p, struct task *t)
{
    list_add_tail(&t->thread_link, &p->threads);
    p->thread_count++;
    if (!p->leader && t->tid == p->pid)
        p->leader = t;
    if (p->leader == t)
        memcpy(p->comm, t->comm, sizeof(p->comm));
}

/* Give it numbers and make it visible. The tables take a reference each. */
static int clone_enter(struct task *parent, struct task *t, uint64_t flags)
{
    struct process *p = t->process, *self = parent->process;
    spin_lock(&g_pids);
    spin_lock(&self->lock);
    int32_t pid = self->group_exiting || parent->exit_requested || self->execing
                      ? -ERESTARTNOINTR
                      : pid_alloc_locked();
    if (pid > 0) {
        t->tid = pid;
        if (p == self)
            thread_add_locked(p, task_get(t));
    }
    spin_unlock(&self->lock);
    if (pid > 0) {
        pids_enter_task_locked(task_get(t));
        if (p != self) {
            p->pid = pid;
            pid_hold_locked(pid);
            pids_enter_process_locked(process_get(p));
            p->parent = flags & CLONE_PARENT && self->parent ? self->parent : self;
            atomic_store_explicit(&p->ppid, p->parent->pid, memory_order_relaxed);
            list_add_tail(&p->sibling, &p->parent->children);
            pgroup_move_locked(p, self->group);
            spin_lock(&p->lock);
            thread_add_locked(p, task_get(t));
            spin_unlock(&p->lock);
        }
    }
    spin_unlock(&g_pids);
    return pid > 0 ? 0 : pid;
}

/* Undo clone_enter for a task that never ran. */
static void clone_leave(struct task *t)
{
    struct process *p = t->process;
    bool last;
    spin_lock(&g_pids);
    spin_lock(&p->lock);
    list_del(&t->thread_link);
    last = --p->thread_count == 0;
    if (p->leader == t)
        p->leader = NULL;
    t->state = TASK_ZOMBIE;
    bool alone = p->execing && p->thread_count == 1;
    spin_unlock(&p->lock);
    pids_remove_task_locked(t);
    if (last)
        process_reap_locked(p);
    spin_unlock(&g_pids);
    if (alone)
        wake_all(&p->exec_wait, 0);
    if (last)
        process_put(p);
    task_put(t); /* threads list */
    task_put(t); /* table */
}

/* The ids that parent and child find in memory. Faults are ignored, as Linux does for the child. */
static void clone_write_tids(struct task *parent, struct task *t, const struct clone_args_k *a)
{
    int ignored = 0;
    if (a->flags & CLONE_PARENT_SETTID)
        ignored |= copy_out(parent->mm, UADDR(a->parent_tid), &t->tid, sizeof(t->tid));
    if (a->flags & CLONE_CHILD_SETTID) {
        t->set_child_tid = a->child_tid;
        ignored |= copy_out(t->mm, UADDR(a->child_tid), &t->tid, sizeof(t->tid));
    }
    if (a->flags & CLONE_CHILD_CLEARTID)
        t->clear_child_tid = a->child_tid;
    (void)ignored;
}

static int clone_start_thread(struct task *parent, struct task *t, const struct clone_args_k *a,
                              const struct pf_regs *parent_regs)
{
    struct pf_regs regs = *parent_regs;
    uint8_t *fpu = malloc(PF_FPU_MAX);
    if (!fpu)
        return -ENOMEM;
    size_t fpu_len = g_platform->thread_get_fpu(parent->thread, fpu, PF_FPU_MAX);
    regs.rax = 0;
    if (a->stack)
        regs.rsp = a->stack;
    if (a->flags & CLONE_SETTLS)
        regs.fs_base = a->tls;
    else if (!regs.fs_base) /* a host without rdfsbase: what arch_prctl has set */
        regs.fs_base = parent->fs_base;
    t->fs_base = regs.fs_base;
    t->gs_base = regs.gs_base = parent->gs_base;
    int err =
        g_platform->thread_create(mm_as(t->mm), &regs, fpu_len ? fpu : NULL, fpu_len, &t->thread);
    free(fpu);
    return err;
}

int task_start(struct task *t, struct task *near)
{
    t->lane = g_platform->thread_lane(t->thread);
    spin_lock(&t->process->lock);
    t->state = TASK_RUNNING;
    spin_unlock(&t->process->lock);
    task_ident_publish(t);
    int err = g_kernel_hooks.task_attach(t, near);
    if (!err && signal_pending(t))
        g_kernel_hooks.task_kick(t);
    return err;
}

/* The host thread exists but cannot be served: it goes with its process. */
static void task_start_failed(struct task *t)
{
    spin_lock(&t->process->lock);
    t->state = TASK_EXITING;
    t->ident = NULL;
    spin_unlock(&t->process->lock);
    mm_kill(t->mm);
    g_platform->thread_destroy(t->thread);
    t->thread = NULL;
}

int64_t task_clone(struct task *parent, const struct clone_args_k *a, const struct pf_regs *regs)
{
    int err = clone_check(a);
    if (err)
        return err;
    if (clone_over_limit(parent))
        return -EAGAIN;
    struct task *t AUTO_PUT(task) = clone_gather(parent, a);
    if (IS_ERR(t))
        return PTR_ERR(t);
    err = clone_enter(parent, t, a->flags);
    if (err) {
        task_drop_resources(t);
        return err;
    }
    int32_t tid = t->tid;
    struct process *p AUTO_PUT(process) = process_get(t->process);
    clone_write_tids(parent, t, a);
    err = clone_start_thread(parent, t, a, regs);
    if (!err) {
        err = task_start(t, parent);
        if (err)
            task_start_failed(t);
    }
    if (err) {
        task_drop_resources(t);
        clone_leave(t);
        return err == -ESRCH ? -EAGAIN : err;
    }
    if (a->ret_process)
        *a->ret_process = steal(p);
    return tid;
}

/* A process that nobody inside has made: a child of process 1, leader of a session. */
static int root_enter(struct task *t, struct pgroup *g)
{
    struct process *p = t->process, *init = process_init();

    spin_lock(&g_pids);
    int32_t pid = pid_alloc_locked();
    if (pid > 0) {
        g->pgid = g->sid = pid;
        t->tid = p->pid = pid;
        pids_enter_task_locked(task_get(t));
        pid_hold_locked(pid);
        pids_enter_process_locked(process_get(p));
        p->parent = init;
        atomic_store_explicit(&p->ppid, init->pid, memory_order_relaxed);
        if (!g_first_process)
            g_first_process = p;
        list_add_tail(&p->sibling, &init->children);
        pgroup_move_locked(p, g);
        spin_lock(&p->lock);
        p->did_exec = true;
        thread_add_locked(p, task_get(t));
        spin_unlock(&p->lock);
    }
    spin_unlock(&g_pids);
    return pid > 0 ? 0 : pid;
}

static int root_start(struct task *t, const struct pf_regs *regs)
{
    t->fs_base = regs->fs_base;
    int err = g_platform->thread_create(mm_as(t->mm), regs, NULL, 0, &t->thread);
    if (err)
        return err;
    err = task_start(t, NULL);
    if (err)
        task_start_failed(t);
    return err;
}

int process_create_root(struct mm *mm, struct fdtable *fds, struct fs_struct *fs, struct cred *cred,
                        const struct pf_regs *regs, const char *comm, int32_t nice,
                        struct process **ret)
{
    struct process *p AUTO_PUT(process) = process_new(process_init());
    struct task *t AUTO_PUT(task) = p ? task_new(p, NULL) : NULL;
    struct pgroup *g = pgroup_new(0, 0);
    if (p)
        p->sighand = sighand_new();
    if (!t || !g || !p->sighand) {
        free(g);
        mm_put(mm);
        g_kernel_hooks.fds_put(fds);
        g_kernel_hooks.fs_put(fs);
        cred_put(cred);
        return -ENOMEM;
    }
    t->mm = mm;
    t->fds = fds;
    t->fs = fs;
    t->cred = cred;
    t->nice = nice;
    memcpy(t->comm, comm, strnlen(comm, TASK_COMM_LEN - 1));
    clone_unveil(p, process_init());
    int err = root_enter(t, g);
    if (err) {
        free(g);
        task_drop_resources(t);
        return err;
    }
    err = root_start(t, regs);
    if (err) {
        task_drop_resources(t);
        clone_leave(t);
        return err == -ESRCH ? -EAGAIN : err;
    }
    *ret = process_get(p);
    return 0;
}
