/* SPDX-License-Identifier: Apache-2.0
 * sys_mm.c - system calls about memory: the ABI shell around mm/.
 *
 * A call that its thread waits for lets it unmap by itself (c->self): the reply says so. For those of
 * a queue the mapper does it. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>

#include <base/err.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#include "sys_pledge.h"

#define VM_BOUNCE (64u << 10) /* process_vm_*: bytes copied at a time */

static struct mm_self *self_of(struct call *c)
{
    return c->how == CALL_BY_SQ ? NULL : &c->self;
}

/* Executable memory: the text of a file that the process cannot change through this descriptor, as a
 * dynamic loader maps it, or what only prot_exec allows. */
static int may_execute(struct task *t, const struct mm_map_args *a, const struct file *f)
{
    bool text = f && f->path.dentry && !path_deleted(&f->path) &&
                (f->flags & O_ACCMODE) == O_RDONLY && !(a->prot & PROT_WRITE) &&
                (a->flags & MAP_TYPE) == MAP_PRIVATE;

    if (!(a->prot & PROT_EXEC) || !pledge_used() || (pledge_of(t) & PLEDGE_PROT_EXEC))
        return 0;
    return pledge_need(t, text ? PLEDGE_RPATH : PLEDGE_PROT_EXEC);
}

static sysret_t map_file(struct call *c, struct mm_map_args *a, int fd)
{
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    uint32_t acc = f->flags & O_ACCMODE;
    if (acc == O_WRONLY)
        return -EACCES;
    a->file = f->ops->mappable ? f->ops->mappable(f) : ERR_PTR(-ENODEV);
    if (IS_ERR_OR_NULL(a->file))
        return a->file ? PTR_ERR(a->file) : -ENODEV;
    a->file_writable = acc == O_RDWR;
    int r = may_execute(c->task, a, f);
    return r < 0 ? r : mm_mmap(c->task->mm, a);
}

sysret_t sys_mmap(struct call *c, uint64_t addr, size_t len, uint32_t prot, uint32_t flags,
                  int32_t fd, int64_t offset)
{
    struct mm_map_args a = {
        .addr = addr, .len = len, .prot = prot, .flags = flags, .offset = (uint64_t)offset};
    if (a.offset & ~PAGE_MASK)
        return -EINVAL;
    if (flags & MAP_ANONYMOUS) {
        a.offset = 0;
        int r = may_execute(c->task, &a, NULL);
        return r < 0 ? r : mm_mmap(c->task->mm, &a);
    }
    return map_file(c, &a, fd);
}

sysret_t sys_munmap(struct call *c, uint64_t addr, size_t len)
{
    return mm_munmap(c->task->mm, addr, len, self_of(c));
}

sysret_t sys_mprotect(struct call *c, uint64_t addr, size_t len, uint64_t prot)
{
    if (prot > UINT32_MAX)
        return -EINVAL;
    return mm_mprotect(c->task->mm, addr, len, (uint32_t)prot, self_of(c));
}

sysret_t sys_pkey_mprotect(struct call *c, uint64_t addr, size_t len, uint64_t prot, int32_t pkey)
{
    return pkey == -1 ? sys_mprotect(c, addr, len, prot) : -EINVAL;
}

sysret_t sys_mremap(struct call *c, uint64_t addr, size_t old_len, size_t new_len, uint64_t flags,
                    uint64_t new_addr)
{
    if (flags > UINT32_MAX)
        return -EINVAL;
    return mm_mremap(c->task->mm, addr, old_len, new_len, (uint32_t)flags, new_addr);
}

sysret_t sys_brk(struct call *c, uint64_t addr)
{
    return mm_brk(c->task->mm, addr);
}

sysret_t sys_madvise(struct call *c, uint64_t addr, size_t len, int32_t advice)
{
    return mm_madvise(c->task->mm, addr, len, advice);
}

sysret_t sys_msync(struct call *c, uint64_t addr, size_t len, int32_t flags)
{
    return mm_msync(c->task->mm, addr, len, flags);
}

sysret_t sys_mincore(struct call *c, uint64_t addr, size_t len, uaddr_t vec)
{
    return mm_mincore(c->task->mm, addr, len, vec);
}

/* --- locking --- */

/* May @more bytes be locked beyond what is? */
static int may_lock(struct call *c, uint64_t more)
{
    uint64_t limit = c->task->process->rlimits[RLIMIT_MEMLOCK].rlim_cur;
    if (cred_capable(c->task->cred, CAP_IPC_LOCK) || limit == RLIM_INFINITY)
        return 0;
    if (limit == 0)
        return -EPERM;
    uint64_t now = mm_locked_bytes(c->task->mm);
    return more > limit || now > limit - more ? -ENOMEM : 0;
}

sysret_t sys_mlock(struct call *c, uint64_t addr, size_t len)
{
    int r = may_lock(c, len);
    return r < 0 ? r : mm_mlock(c->task->mm, addr, len, true);
}

sysret_t sys_mlock2(struct call *c, uint64_t addr, size_t len, uint32_t flags)
{
    if (flags & ~1u) /* MLOCK_ONFAULT */
        return -EINVAL;
    return sys_mlock(c, addr, len);
}

sysret_t sys_munlock(struct call *c, uint64_t addr, size_t len)
{
    return mm_mlock(c->task->mm, addr, len, false);
}

sysret_t sys_mlockall(struct call *c, uint32_t flags)
{
    const uint32_t known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
    struct mm_stats s = {0};
    if ((flags & ~known) || !(flags & (MCL_CURRENT | MCL_FUTURE)))
        return -EINVAL;
    if (flags & MCL_CURRENT)
        mm_stats_get(c->task->mm, &s);
    int r = may_lock(c, s.vsize);
    return r < 0 ? r : mm_mlockall(c->task->mm, flags & MCL_CURRENT, flags & MCL_FUTURE);
}

sysret_t sys_munlockall(struct call *c)
{
    return mm_mlockall(c->task->mm, false, false);
}

/* --- membarrier --- */

sysret_t sys_membarrier(struct call *c, int32_t cmd, uint32_t flags, int32_t cpu)
{
    (void)cpu; /* only with MEMBARRIER_CMD_FLAG_CPU, which comes with the rseq command */
    if (flags)
        return -EINVAL;
    switch (cmd) {
    case MEMBARRIER_CMD_QUERY:
        return MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
               MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE |
               MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE:
        mm_barrier_register(c->task->mm, (uint32_t)cmd);
        return 0;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
        return mm_barrier(c->task->mm, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE:
        return mm_barrier(c->task->mm, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
    default:
        return -EINVAL;
    }
}

/* --- process_vm_readv, process_vm_writev --- */

static bool may_access(struct task *t, struct task *target)
{
    if (t->process == target->process || cred_capable(t->cred, CAP_SYS_PTRACE))
        return true;
    struct cred *o = task_cred_get(target);
    const struct cred *c = t->cred;
    bool ok = c->uid == o->euid && c->uid == o->suid && c->uid == o->uid && c->gid == o->egid &&
              c->gid == o->sgid && c->gid == o->gid && target->process->dumpable;
    cred_put(o);
    return ok;
}

/* Bytes from @from to @to until one ends or faults. */
static sysret_t move_bytes(struct uio *to, struct uio *from)
{
    char *buf autofree = malloc(VM_BOUNCE);
    size_t total = 0;
    if (!buf)
        return -ENOMEM;
    while (to->left && from->left) {
        size_t want = MIN((size_t)VM_BOUNCE, to->left);
        ssize_t n = uio_copy_from_user(from, buf, want);
        ssize_t m = n > 0 ? uio_copy_to_user(to, buf, (size_t)n) : n;
        if (m > 0)
            total += (size_t)m;
        if (m < n || n <= 0 || ((size_t)n < want && from->left))
            return total ? (sysret_t)total : (m < 0 ? m : -EFAULT);
    }
    return (sysret_t)total;
}

/* The address space of another process, if the caller may look into it. */
static struct mm *target_mm(struct call *c, int pid)
{
    struct task *t AUTO_PUT(task) = task_find(pid);
    if (!t)
        return ERR_PTR(-ESRCH);
    if (!may_access(c->task, t))
        return ERR_PTR(-EPERM);
    struct mm *mm = task_mm_get(t);
    return mm ? mm : ERR_PTR(-ESRCH);
}

static sysret_t vm_move(struct call *c, int pid, uaddr_t local, uint64_t local_count,
                        uaddr_t remote, uint64_t remote_count, uint64_t flags, bool write)
{
    struct uio l, r;
    if (flags)
        return -EINVAL;
    sysret_t ret = uio_init_iovec(&l, c->task->mm, local, local_count);
    if (ret < 0)
        return ret;
    ret = uio_init_iovec(&r, c->task->mm, remote, remote_count);
    if (ret < 0) {
        uio_fini(&l);
        return ret;
    }
    struct mm *mm = target_mm(c, pid);
    if (IS_ERR(mm)) {
        ret = PTR_ERR(mm);
    } else {
        r.mm = mm;
        ret = write ? move_bytes(&r, &l) : move_bytes(&l, &r);
        mm_put(mm);
    }
    uio_fini(&r);
    uio_fini(&l);
    return ret;
}

sysret_t sys_process_vm_readv(struct call *c, int32_t pid, uaddr_t local, uint64_t local_count,
                              uaddr_t remote, uint64_t remote_count, uint64_t flags)
{
    return vm_move(c, pid, local, local_count, remote, remote_count, flags, false);
}

sysret_t sys_process_vm_writev(struct call *c, int32_t pid, uaddr_t local, uint64_t local_count,
                               uaddr_t remote, uint64_t remote_count, uint64_t flags)
{
    return vm_move(c, pid, local, local_count, remote, remote_count, flags, true);
}

/* --- memory policy: one node, number 0 --- */

#define NODES_MAX 1024u /* as many as a mask may have bits */

static int check_nodes(struct call *c, int mode, uaddr_t mask, uint64_t maxnode)
{
    uint64_t words[NODES_MAX / 64] = {0};
    uint64_t m = (uint32_t)mode & ~(uint32_t)(MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES);
    if (m >= MPOL_MAX)
        return -EINVAL;
    if (maxnode > NODES_MAX + 1)
        return -EINVAL;
    if (!uaddr_null(mask) && maxnode > 1) {
        uint64_t bits = maxnode - 1, count = (bits + 63) / 64;
        if (copy_in(c->task->mm, words, mask, count * 8))
            return -EFAULT;
        if (bits % 64)
            words[count - 1] &= (1ULL << bits % 64) - 1;
    }
    for (size_t i = 1; i < ARRAY_SIZE(words); i++)
        if (words[i])
            return -EINVAL;
    if (words[0] & ~1ULL)
        return -EINVAL;
    bool needs_nodes = m == MPOL_BIND || m == MPOL_INTERLEAVE;
    return (needs_nodes && !words[0]) || (m == MPOL_DEFAULT && words[0]) ? -EINVAL : 0;
}

sysret_t sys_set_mempolicy(struct call *c, int32_t mode, uaddr_t nodemask, uint64_t maxnode)
{
    return check_nodes(c, mode, nodemask, maxnode);
}

sysret_t sys_mbind(struct call *c, uint64_t addr, size_t len, int32_t mode, uaddr_t nodemask,
                   uint64_t maxnode, uint32_t flags)
{
    (void)len;
    if ((flags & ~(uint32_t)(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL)) ||
        (addr & ~PAGE_MASK))
        return -EINVAL;
    return check_nodes(c, mode, nodemask, maxnode);
}

sysret_t sys_get_mempolicy(struct call *c, uaddr_t mode, uaddr_t nodemask, uint64_t maxnode,
                           uint64_t addr, uint64_t flags)
{
    const uint64_t known = MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED;
    int32_t policy = MPOL_DEFAULT; /* also the number of the node, for MPOL_F_NODE */
    if ((flags & ~known) ||
        ((flags & MPOL_F_MEMS_ALLOWED) && (flags & (MPOL_F_NODE | MPOL_F_ADDR))))
        return -EINVAL;
    if (!uaddr_null(nodemask) && maxnode < 1)
        return -EINVAL;
    if ((flags & MPOL_F_ADDR)) {
        struct mm_region reg;
        if (!mm_region_next(c->task->mm, addr, &reg) || reg.start > addr)
            return -EFAULT;
    } else if (addr) {
        return -EINVAL;
    }
    if (!uaddr_null(mode) && copy_out_obj(c->task->mm, mode, &policy))
        return -EFAULT;
    if (!uaddr_null(nodemask)) {
        uint64_t words[NODES_MAX / 64] = {flags & MPOL_F_MEMS_ALLOWED ? 1 : 0};
        uint64_t bytes = MIN((maxnode + 63) / 64 * 8, (uint64_t)sizeof words);
        if (copy_out(c->task->mm, nodemask, words, bytes))
            return -EFAULT;
    }
    return 0;
}
