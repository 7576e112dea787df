/* SPDX-License-Identifier: Apache-2.0
 * sys_clone.c - clone, clone3, fork, vfork, exit, wait4, waitid: decoding; the work is kernel/.
 *
 * A vfork parent waits by being run again: c->progress is the child's tid and c->state a reference
 * to its process, so the second run makes no second child. */
#include <syscall/sys.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/wait.h>

#include <base/err.h>
#include <mm/mm.h>
#include <vfs/fdtable.h>

#include "pidfd.h"
#include "sys_pledge.h"

#define CLONE_LEGACY_SIGNAL 0xffu
#define CLONE3_SIZE_MIN 64u /* of struct clone_args when it came */

static void process_put_void(void *p)
{
    process_put(p);
}

static sysret_t vfork_wait(struct call *c)
{
    struct process *child = c->state;
    if (process_vfork_done(child))
        return (sysret_t)c->progress;
    int err = call_arm(c, &child->vfork_wait, 0);
    if (err)
        return err;
    if (process_vfork_done(child))
        return (sysret_t)c->progress;
    return call_wait_armed_killable(c);
}

/* @ret_child: NULL, or a reference when a child was made (also when the call waits for vfork). */
static sysret_t clone_run(struct call *c, struct clone_args_k *a, struct process **ret_child)
{
    struct pf_regs regs;
    if (c->progress)
        return vfork_wait(c);
    g_platform->thread_get_regs(c->task->thread, &regs);
    struct process *child = NULL;
    a->ret_process = &child;
    int64_t tid = task_clone(c->task, a, &regs);
    if (tid < 0)
        return tid;
    if (ret_child)
        *ret_child = process_get(child);
    if (!(a->flags & CLONE_VFORK) || (a->flags & CLONE_THREAD)) {
        process_put(child);
        return tid;
    }
    c->progress = (uint64_t)tid;
    c->state = child;
    c->state_free = process_put_void;
    return vfork_wait(c);
}

/* The descriptor is there before the child is, so that nothing can fail afterwards. */
static sysret_t clone_run_pidfd(struct call *c, struct clone_args_k *a, uaddr_t pidfd)
{
    struct process *child = NULL;
    if (c->progress)
        return vfork_wait(c);
    if (a->flags & (CLONE_THREAD | CLONE_DETACHED))
        return -EINVAL;
    struct file *f AUTO_PUT(file) = pidfd_new(NULL, 0);
    if (IS_ERR(f))
        return PTR_ERR(f);
    int fd = fd_install(c->task, f, O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    int err = copy_out_obj(c->task->mm, pidfd, &fd);
    a->flags &= ~(uint64_t)CLONE_PIDFD;
    sysret_t r = err ? err : clone_run(c, a, &child);
    if (child)
        pidfd_bind(f, child);
    else
        (void)fd_close(c->task, fd);
    return r;
}

sysret_t sys_clone(struct call *c, uint64_t flags, uint64_t stack, uaddr_t parent_tid,
                   uaddr_t child_tid, uint64_t tls)
{
    uint32_t low = (uint32_t)flags; /* the upper half has never been looked at */
    struct clone_args_k a = {.flags = low & ~CLONE_LEGACY_SIGNAL,
                             .exit_signal = (int32_t)(low & CLONE_LEGACY_SIGNAL),
                             .stack = stack,
                             .tls = tls,
                             .parent_tid = parent_tid.va,
                             .child_tid = child_tid.va};
    if (low & CLONE_PIDFD) {
        if (low & CLONE_PARENT_SETTID)
            return -EINVAL; /* one word for two answers */
        return clone_run_pidfd(c, &a, parent_tid);
    }
    return clone_run(c, &a, NULL);
}

static int clone3_copy_in(struct mm *mm, uaddr_t uargs, size_t size, struct clone_args *ret)
{
    uint8_t extra[64];
    memset(ret, 0, sizeof(*ret));
    if (size < CLONE3_SIZE_MIN)
        return -EINVAL;
    if (size > PAGE_SIZE)
        return -E2BIG;
    int err = copy_in(mm, ret, uargs, MIN(size, sizeof(*ret)));
    for (size_t done = sizeof(*ret); !err && done < size;) {
        size_t n = MIN(size - done, sizeof(extra));
        err = copy_in(mm, extra, uaddr_add(uargs, done), n);
        for (size_t i = 0; !err && i < n; i++)
            if (extra[i])
                err = -E2BIG; /* asks for what did not exist yet */
        done += n;
    }
    return err;
}

static int clone3_decode(const struct clone_args *u, struct clone_args_k *ret)
{
    if (u->flags & (CLONE_LEGACY_SIGNAL | CLONE_DETACHED))
        return -EINVAL;
    if (u->exit_signal > NSIGNALS)
        return -EINVAL;
    if ((u->flags & (CLONE_THREAD | CLONE_PARENT)) && u->exit_signal)
        return -EINVAL;
    if (!u->stack != !u->stack_size)
        return -EINVAL;
    if (u->set_tid_size || u->set_tid)
        return -EINVAL;
    *ret = (struct clone_args_k){.flags = u->flags,
                                 .exit_signal = (int32_t)u->exit_signal,
                                 .stack = u->stack + u->stack_size,
                                 .tls = u->tls,
                                 .parent_tid = u->parent_tid,
                                 .child_tid = u->child_tid};
    return 0;
}

sysret_t sys_clone3(struct call *c, uaddr_t uargs, size_t size)
{
    struct clone_args u;
    struct clone_args_k a;
    if (c->progress)
        return vfork_wait(c);
    int err = clone3_copy_in(c->task->mm, uargs, size, &u);
    if (!err)
        err = clone3_decode(&u, &a);
    if (!err)
        err = pledge_need(c->task, promises_of_clone(a.flags));
    if (err)
        return err;
    return a.flags & CLONE_PIDFD ? clone_run_pidfd(c, &a, UADDR(u.pidfd)) : clone_run(c, &a, NULL);
}

sysret_t sys_fork(struct call *c)
{
    return clone_run(c, &(struct clone_args_k){.exit_signal = SIGCHLD}, NULL);
}

sysret_t sys_vfork(struct call *c)
{
    return clone_run(
        c, &(struct clone_args_k){.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD}, NULL);
}

/* --- end --- */

sysret_t sys_exit(struct call *c, int32_t status)
{
    task_exit(c->task, (status & 0xff) << 8);
    return SYS_NORETURN;
}

sysret_t sys_exit_group(struct call *c, int32_t status)
{
    process_exit_group(c->task->process, (status & 0xff) << 8);
    task_exit(c->task, (status & 0xff) << 8);
    return SYS_NORETURN;
}

/* --- waiting for children --- */

/* > 0: *ret is filled. 0: nothing (WNOHANG). SYS_PARK or -errno. */
static sysret_t wait_run(struct call *c, int kind, int32_t id, int options, struct wait_result *ret)
{
    struct process *p = c->task->process;
    int64_t r = process_wait(p, kind, id, options, ret);
    if (r || (options & WNOHANG))
        return r;
    int err = call_arm(c, &p->child_wait, 0);
    if (err)
        return err;
    r = process_wait(p, kind, id, options, ret);
    return r ? r : call_wait_armed(c);
}

#define WAIT4_OPTIONS (WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL)
#define WAITID_OPTIONS \
    (WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL)

sysret_t sys_wait4(struct call *c, int32_t pid, uaddr_t status, uint32_t options, uaddr_t usage)
{
    struct wait_result w;
    int kind = WAIT_FOR_ANY;
    int32_t id = 0;
    if (options & ~(uint32_t)WAIT4_OPTIONS)
        return -EINVAL;
    if (pid == INT_MIN)
        return -ESRCH;
    if (pid > 0) {
        kind = WAIT_FOR_PID;
        id = pid;
    } else if (pid != -1) {
        kind = WAIT_FOR_PGID;
        id = pid ? -pid : process_pgid_of(c->task->process->pid);
    }
    memset(&w, 0, sizeof(w));
    sysret_t r = wait_run(c, kind, id, (int)options | WEXITED, &w);
    if (r <= 0)
        return r;
    int err = 0;
    if (!uaddr_null(status))
        err = copy_out_obj(c->task->mm, status, &w.status);
    if (!err && !uaddr_null(usage))
        err = copy_out_obj(c->task->mm, usage, &w.usage);
    return err ? err : r;
}

/* What Linux writes of a siginfo here: three words, a gap, three words. */
struct waitid_info {
    int32_t signo, err, code, pad, pid, uid, status;
};

static int waitid_target(struct call *c, int32_t which, int32_t id, int *ret_kind, int32_t *ret_id)
{
    *ret_id = id;
    switch (which) {
    case P_ALL:
        *ret_kind = WAIT_FOR_ANY;
        return 0;
    case P_PID:
        *ret_kind = WAIT_FOR_PID;
        return id > 0 ? 0 : -EINVAL;
    case P_PGID:
        *ret_kind = WAIT_FOR_PGID;
        if (!id)
            *ret_id = process_pgid_of(c->task->process->pid);
        return id >= 0 ? 0 : -EINVAL;
    case P_PIDFD:
        *ret_kind = WAIT_FOR_PID;
        if (id < 0)
            return -EINVAL;
        *ret_id = pidfd_pid(c->task, id);
        return *ret_id > 0 ? 0 : *ret_id;
    default:
        return -EINVAL;
    }
}

sysret_t sys_waitid(struct call *c, int32_t which, int32_t id, uaddr_t info, uint32_t options,
                    uaddr_t usage)
{
    struct wait_result w;
    struct waitid_info out = {0};
    int kind;
    if (options & ~(uint32_t)WAITID_OPTIONS)
        return -EINVAL;
    if (!(options & (WEXITED | WSTOPPED | WCONTINUED)))
        return -EINVAL;
    int err = waitid_target(c, which, id, &kind, &id);
    if (err)
        return err;
    memset(&w, 0, sizeof(w));
    sysret_t r = wait_run(c, kind, id, (int)options, &w);
    if (r < 0)
        return r;
    if (r > 0) {
        out = (struct waitid_info){
            .signo = SIGCHLD, .code = w.code, .pid = w.pid, .uid = w.uid, .status = w.value};
        if (!uaddr_null(usage))
            err = copy_out_obj(c->task->mm, usage, &w.usage);
    }
    if (!err && !uaddr_null(info))
        err = copy_out_obj(c->task->mm, info, &out);
    return err;
}
