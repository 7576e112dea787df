/* SPDX-License-Identifier: Apache-2.0
 * sys_pidfd.c - pidfd_open, pidfd_send_signal and the file behind them: readable when the process
 * has ended. The file holds a reference to the process, so its number cannot mean another one.
 *
 * clone makes the file before the process: until bound it is never ready. It is bound once, before
 * the parent's call returns; a thread of the parent that guesses the number may see it unbound. */
#include <syscall/sys.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include <linux/capability.h>

#include <base/err.h>
#include <fs/fs.h>
#include <mm/mm.h>
#include <vfs/fdtable.h>

#include "pidfd.h"

static struct process *pidfd_process(struct file *f)
{
    return __atomic_load_n((struct process **)&f->private_data, __ATOMIC_SEQ_CST);
}

static uint32_t pidfd_readiness(struct file *f)
{
    struct process *p = pidfd_process(f);
    if (!p)
        return 0;
    spin_lock(&p->lock);
    bool ended = p->state != PROCESS_RUNNING;
    spin_unlock(&p->lock);
    return ended ? POLLIN | POLLRDNORM : 0;
}

static struct wait_queue *pidfd_wait_queue(struct file *f)
{
    struct process *p = pidfd_process(f);
    return p ? &p->exit_wait : NULL;
}

static void pidfd_release(struct file *f)
{
    process_put(pidfd_process(f));
}

static const struct file_ops pidfd_ops = {
    .name = "[pidfd]",
    .readiness = pidfd_readiness,
    .wait_queue = pidfd_wait_queue,
    .release = pidfd_release,
};

struct file *pidfd_new(struct process *p, uint32_t flags)
{
    struct file *f = file_new(&pidfd_ops, p, O_RDWR | flags);
    if (IS_ERR(f))
        process_put(p);
    return f;
}

void pidfd_bind(struct file *f, struct process *p)
{
    __atomic_store_n((struct process **)&f->private_data, p, __ATOMIC_SEQ_CST);
}

/* Reference, or ERR_PTR. */
static struct process *pidfd_get(struct task *t, int fd)
{
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return ERR_PTR(PTR_ERR(f));
    if (f->ops != &pidfd_ops)
        return ERR_PTR(-EBADF);
    struct process *p = pidfd_process(f);
    return p ? process_get(p) : ERR_PTR(-ESRCH);
}

int32_t pidfd_pid(struct task *t, int fd)
{
    struct process *p AUTO_PUT(process) = pidfd_get(t, fd);
    return IS_ERR(p) ? PTR_ERR(p) : p->pid;
}

sysret_t sys_pidfd_open(struct call *c, int32_t pid, uint32_t flags)
{
    if (flags & ~(uint32_t)O_NONBLOCK) /* PIDFD_NONBLOCK */
        return -EINVAL;
    if (pid <= 0)
        return -EINVAL;
    struct process *p = process_find(pid);
    if (!p)
        return -ESRCH;
    struct file *f AUTO_PUT(file) = pidfd_new(p, flags);
    return IS_ERR(f) ? PTR_ERR(f) : fd_install(c->task, f, O_CLOEXEC, 0);
}

/* A pidfd or, as before there were any, a directory of proc. Reference, or ERR_PTR. */
static struct process *signal_target(struct task *t, int fd)
{
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    struct process *p = IS_ERR(f) ? NULL : procfs_process(f);
    return p ? p : pidfd_get(t, fd);
}

sysret_t sys_pidfd_send_signal(struct call *c, int32_t pidfd, int32_t sig, uaddr_t info,
                               uint32_t flags)
{
    siginfo_t si;
    struct task *t = c->task;
    if (flags)
        return -EINVAL;
    struct process *p AUTO_PUT(process) = signal_target(t, pidfd);
    if (IS_ERR(p))
        return PTR_ERR(p);
    if (uaddr_null(info)) {
        signal_info_user(&si, t, sig, SI_USER);
    } else {
        int err = copy_in_obj(t->mm, &si, info);
        if (err)
            return err;
        if (si.si_signo != sig)
            return -EINVAL;
        if (p != t->process && (si.si_code >= 0 || si.si_code == SI_TKILL))
            return -EPERM; /* would pretend to come from the kernel */
    }
    spin_lock(&p->lock);
    bool dead = p->state == PROCESS_DEAD;
    spin_unlock(&p->lock);
    if (dead)
        return -ESRCH;
    if (sig < 0 || sig > NSIGNALS)
        return -EINVAL;
    int err = signal_permitted(t, p, sig);
    return err ? err : signal_send_process(p, sig, &si);
}

/* May @c's task take descriptors of @p? As for tracing it: all its ids are the caller's real ones. */
static bool may_take_from(struct call *c, struct process *p, struct task *t)
{
    const struct cred *me = c->task->cred;
    if (p == c->task->process || cred_capable(me, CAP_SYS_PTRACE))
        return true;
    struct cred *his = task_cred_get(t);
    bool same = me->uid == his->uid && me->uid == his->euid && me->uid == his->suid &&
                me->gid == his->gid && me->gid == his->egid && me->gid == his->sgid;
    cred_put(his);
    return same && p->dumpable;
}

/* A thread of @p that runs: a reference, and its descriptors; NULL: it has ended. */
static struct task *process_files_get(struct process *p, struct fdtable **ret_fds)
{
    spin_lock(&p->lock);
    struct task *t = list_empty(&p->threads)
                         ? NULL
                         : task_get(list_first_entry(&p->threads, struct task, thread_link));
    *ret_fds = t && t->fds ? fdtable_get(t->fds) : NULL;
    spin_unlock(&p->lock);
    return t;
}

sysret_t sys_pidfd_getfd(struct call *c, int32_t pidfd, int32_t fd, uint32_t flags)
{
    struct fdtable *fds = NULL;
    if (flags)
        return -EINVAL;
    struct process *p AUTO_PUT(process) = pidfd_get(c->task, pidfd);
    if (IS_ERR(p))
        return PTR_ERR(p);
    struct task *t AUTO_PUT(task) = process_files_get(p, &fds);
    if (!t || !fds)
        return -ESRCH;
    struct file *f AUTO_PUT(file) =
        may_take_from(c, p, t) ? fdtable_file(fds, fd) : ERR_PTR(-EPERM);
    fdtable_put(fds);
    return IS_ERR(f) ? PTR_ERR(f) : fd_install(c->task, f, O_CLOEXEC, 0);
}
