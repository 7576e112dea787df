/* SPDX-License-Identifier: Apache-2.0
 * sys_task.c - who a task is: ids, groups, sessions, per-thread addresses, arch_prctl, prctl,
 * personality, unshare. */
#include <syscall/sys.h>

#include <linux/capability.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/prctl.h>

#include <base/err.h>
#include <mm/mm.h>
#include <mm/text.h>
#include <ring/abi.h>
#include <syscall/exec.h>
#include <vfs/vfs.h>

sysret_t sys_getpid(struct call *c)
{
    return c->task->process->pid;
}

sysret_t sys_getppid(struct call *c)
{
    return process_ppid(c->task->process);
}

sysret_t sys_gettid(struct call *c)
{
    return c->task->tid;
}

/* A tid names its process here, as in Linux. */
static int32_t pid_or_self(struct call *c, int32_t pid)
{
    return pid ? pid : c->task->process->pid;
}

sysret_t sys_getpgid(struct call *c, int32_t pid)
{
    return process_pgid_of(pid_or_self(c, pid));
}

sysret_t sys_getpgrp(struct call *c)
{
    return process_pgid_of(c->task->process->pid);
}

sysret_t sys_setpgid(struct call *c, int32_t pid, int32_t pgid)
{
    return process_setpgid(c->task->process, pid, pgid);
}

sysret_t sys_setsid(struct call *c)
{
    return process_setsid(c->task->process);
}

sysret_t sys_getsid(struct call *c, int32_t pid)
{
    return process_sid_of(pid_or_self(c, pid));
}

/* --- per-thread addresses --- */

sysret_t sys_set_tid_address(struct call *c, uint64_t tidptr)
{
    c->task->clear_child_tid = tidptr;
    return c->task->tid;
}

#define ROBUST_HEAD_SIZE 24 /* struct robust_list_head */

sysret_t sys_set_robust_list(struct call *c, uint64_t head, size_t len)
{
    if (len != ROBUST_HEAD_SIZE)
        return -EINVAL;
    c->task->robust_list = head;
    return 0;
}

sysret_t sys_get_robust_list(struct call *c, int32_t pid, uaddr_t head, uaddr_t len)
{
    struct task *t AUTO_PUT(task) = pid ? task_find(pid) : task_get(c->task);
    if (!t)
        return -ESRCH;
    if (t->process != c->task->process && !cred_capable(c->task->cred, CAP_SYS_PTRACE))
        return -EPERM;
    uint64_t size = ROBUST_HEAD_SIZE, list = t->robust_list;
    int err = copy_out_obj(c->task->mm, len, &size);
    return err ? err : copy_out_obj(c->task->mm, head, &list);
}

/* --- arch_prctl --- */

#define ARCH_SET_GS_CODE 0x1001
#define ARCH_SET_FS_CODE 0x1002
#define ARCH_GET_FS_CODE 0x1003
#define ARCH_GET_GS_CODE 0x1004

static uint64_t fs_base_now(struct task *t)
{
    struct pf_regs regs = {0};
    g_platform->thread_get_regs(t->thread, &regs);
    return regs.fs_base ? regs.fs_base : t->fs_base;
}

sysret_t sys_arch_prctl(struct call *c, int32_t code, uint64_t addr)
{
    uint64_t base;
    if (c->how == CALL_BY_SLOT && code != ARCH_SET_FS_CODE)
        return SYS_BY_TRAP; /* the end of a posted call needs its GS base; FS base is in the frame */
    switch (code) {
    case ARCH_SET_FS_CODE:
        if (addr >= STUB_REGION)
            return -EPERM;
        c->task->fs_base = addr;
        c->set_fs = true;
        return 0;
    case ARCH_GET_FS_CODE:
        base = fs_base_now(c->task);
        return copy_out_obj(c->task->mm, UADDR(addr), &base);
    case ARCH_GET_GS_CODE:
        base = c->task->gs_base;
        return copy_out_obj(c->task->mm, UADDR(addr), &base);
    case ARCH_SET_GS_CODE:
        if (addr >= STUB_REGION)
            return -EPERM;
        if (addr == c->task->gs_base)
            return 0;
        mm_text_forbid(c->task->mm); /* posted calls need the base */
        c->task->gs_base = addr;
        c->set_gs = true;
        return 0;
    default:
        return -EINVAL;
    }
}

/* --- prctl --- */

static sysret_t prctl_name(struct call *c, int32_t option, uint64_t addr)
{
    char name[TASK_COMM_LEN] = {0};
    if (option == PR_GET_NAME) {
        task_get_comm(c->task, name);
        return copy_out(c->task->mm, UADDR(addr), name, sizeof(name));
    }
    ssize_t n = copy_in_string(c->task->mm, name, UADDR(addr), sizeof(name));
    if (n == -ENAMETOOLONG)
        n = copy_in(c->task->mm, name, UADDR(addr), sizeof(name) - 1);
    if (n < 0)
        return n;
    name[sizeof(name) - 1] = '\0';
    task_set_comm(c->task, name);
    return 0;
}

static sysret_t prctl_capbset(struct call *c, int32_t option, uint64_t cap)
{
    if (cap > CAP_LAST_CAP)
        return -EINVAL;
    if (option == PR_CAPBSET_READ)
        return !!(c->task->cred->cap_bounding & 1ULL << cap);
    if (!cred_capable(c->task->cred, CAP_SETPCAP))
        return -EPERM;
    struct cred *n = cred_dup(c->task->cred);
    if (!n)
        return -ENOMEM;
    n->cap_bounding &= ~(1ULL << cap);
    task_cred_set(c->task, n);
    return 0;
}

static sysret_t prctl_ambient(struct call *c, uint64_t what, uint64_t cap, uint64_t a4, uint64_t a5)
{
    const struct cred *old = c->task->cred;
    if (a4 || a5)
        return -EINVAL;
    if (what == PR_CAP_AMBIENT_CLEAR_ALL ? cap != 0 : cap > CAP_LAST_CAP)
        return -EINVAL;
    uint64_t bit = 1ULL << cap;
    if (what == PR_CAP_AMBIENT_IS_SET)
        return !!(old->cap_ambient & bit);
    if (what == PR_CAP_AMBIENT_RAISE && !(old->cap_permitted & old->cap_inheritable & bit))
        return -EPERM;
    if (what != PR_CAP_AMBIENT_RAISE && what != PR_CAP_AMBIENT_LOWER &&
        what != PR_CAP_AMBIENT_CLEAR_ALL)
        return -EINVAL;
    struct cred *n = cred_dup(old);
    if (!n)
        return -ENOMEM;
    if (what == PR_CAP_AMBIENT_RAISE)
        n->cap_ambient |= bit;
    else
        n->cap_ambient &= what == PR_CAP_AMBIENT_LOWER ? ~bit : 0;
    task_cred_set(c->task, n);
    return 0;
}

static sysret_t prctl_no_new_privs(struct call *c, int32_t option, uint64_t a2, uint64_t a3,
                                   uint64_t a4, uint64_t a5)
{
    if (a3 || a4 || a5)
        return -EINVAL;
    if (option == PR_GET_NO_NEW_PRIVS)
        return a2 ? -EINVAL : c->task->no_new_privs;
    if (a2 != 1)
        return -EINVAL;
    c->task->no_new_privs = true;
    return 0;
}

static sysret_t put_int(struct call *c, uint64_t addr, int32_t v)
{
    return copy_out_obj(c->task->mm, UADDR(addr), &v);
}

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#define TIMER_SLACK_DEFAULT_NS 50000u

static sysret_t prctl_process(struct call *c, int32_t option, uint64_t a2)
{
    struct process *p = c->task->process;
    switch (option) {
    case PR_GET_DUMPABLE:
        return p->dumpable;
    case PR_SET_DUMPABLE:
        if (a2 > 1)
            return -EINVAL;
        p->dumpable = a2;
        return 0;
    case PR_SET_CHILD_SUBREAPER:
        p->child_subreaper = a2;
        return 0;
    case PR_GET_CHILD_SUBREAPER:
        return put_int(c, a2, p->child_subreaper);
    default:
        return -EINVAL;
    }
}

static sysret_t prctl_task(struct call *c, int32_t option, uint64_t a2)
{
    struct task *t = c->task;
    switch (option) {
    case PR_SET_PDEATHSIG:
        if (a2 > NSIGNALS)
            return -EINVAL;
        t->pdeath_signal = (int32_t)a2;
        return 0;
    case PR_GET_PDEATHSIG:
        return put_int(c, a2, t->pdeath_signal);
    case PR_GET_KEEPCAPS:
        return t->keep_caps;
    case PR_SET_KEEPCAPS:
        if (a2 > 1)
            return -EINVAL;
        t->keep_caps = a2;
        return 0;
    case PR_SET_TIMERSLACK:
        t->timer_slack_ns = (int64_t)a2 > 0 ? a2 : TIMER_SLACK_DEFAULT_NS;
        return 0;
    case PR_GET_TIMERSLACK:
        return (sysret_t)t->timer_slack_ns;
    case PR_GET_TID_ADDRESS:
        return copy_out_obj(t->mm, UADDR(a2), &t->clear_child_tid);
    case PR_GET_SECUREBITS:
        return t->cred->securebits;
    default:
        return prctl_process(c, option, a2);
    }
}

sysret_t sys_prctl(struct call *c, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5)
{
    switch (option) {
    case PR_SET_NAME:
    case PR_GET_NAME:
        return prctl_name(c, option, a2);
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
        return prctl_capbset(c, option, a2);
    case PR_CAP_AMBIENT:
        return prctl_ambient(c, a2, a3, a4, a5);
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
        return prctl_no_new_privs(c, option, a2, a3, a4, a5);
    case PR_GET_SECCOMP:
    case PR_GET_TIMING: /* PR_TIMING_STATISTICAL */
        return 0;
    case PR_GET_THP_DISABLE:
        return a2 || a3 || a4 || a5 ? -EINVAL : 0;
    case PR_SET_VMA:
        return a2 == PR_SET_VMA_ANON_NAME ? 0 : -EINVAL;
    default:
        return prctl_task(c, option, a2);
    }
}

/* --- personality, unshare --- */

#define PERSONALITY_QUERY 0xffffffffu
#define PERSONALITY_DOMAIN 0xffu

sysret_t sys_personality(struct call *c, uint32_t persona)
{
    uint32_t old = c->task->personality;
    if (persona != PERSONALITY_QUERY) {
        if (persona & PERSONALITY_DOMAIN)
            return -EINVAL;
        c->task->personality = persona;
    }
    return old;
}

#define UNSHARE_NAMESPACES                                                                        \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET | CLONE_NEWTIME)
#define UNSHARE_ALONE (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) /* fine for a lone thread */

sysret_t sys_unshare(struct call *c, uint32_t flags)
{
    struct task *t = c->task;
    if (flags &
        ~(uint32_t)(UNSHARE_NAMESPACES | UNSHARE_ALONE | CLONE_FILES | CLONE_FS | CLONE_SYSVSEM))
        return -EINVAL;
    if (flags & UNSHARE_NAMESPACES)
        return -EPERM;
    if ((flags & UNSHARE_ALONE) && t->process->thread_count > 1)
        return -EINVAL;
    if (flags & CLONE_FS) {
        struct fs_struct *fs = fs_struct_copy(t->fs), *old;
        if (IS_ERR_OR_NULL(fs))
            return -ENOMEM;
        spin_lock(&t->process->lock);
        old = t->fs;
        t->fs = fs;
        spin_unlock(&t->process->lock);
        fs_struct_put(old);
    }
    return flags & CLONE_FILES ? task_unshare_fds(t) : 0;
}
