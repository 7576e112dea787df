/* SPDX-License-Identifier: Apache-2.0
 * sys_ipc.c - System V shared memory, semaphores and message queues: the ABI shells.
 *
 * The C library's structures have the kernel's layout on x86-64. A message is copied in again each
 * time a sender that waited tries anew; one that was taken and cannot be copied out is lost, as it
 * is on Linux. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <kernel/ipc.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>

_Static_assert(sizeof(struct shmid_ds) == 112 && sizeof(struct semid_ds) == 104 &&
                   sizeof(struct msqid_ds) == 120,
               "ABI");

/* --- shared memory --- */

sysret_t sys_shmget(struct call *c, int32_t key, size_t size, int32_t flags)
{
    return ipc_shmget(c->task, key, size, flags);
}

sysret_t sys_shmat(struct call *c, int32_t id, uint64_t addr, int32_t flags)
{
    return ipc_shmat(c->task, id, addr, flags);
}

sysret_t sys_shmdt(struct call *c, uint64_t addr)
{
    return ipc_shmdt(c->task, addr, c->how == CALL_BY_SQ ? NULL : &c->self);
}

static sysret_t shm_limits(struct call *c, uaddr_t buf)
{
    struct shm_info used;
    struct shminfo i = {
        .shmmax = ULONG_MAX - (1UL << 24),
        .shmmin = 1,
        .shmmni = IPC_SHM_MAX,
        .shmseg = IPC_SHM_MAX,
        .shmall = IPC_SHM_BYTES_MAX >> PAGE_SHIFT,
    };
    int32_t highest = ipc_shm_info(&used);
    int err = copy_out_obj(c->task->mm, buf, &i);
    return err ? err : highest;
}

static sysret_t shm_used(struct call *c, uaddr_t buf)
{
    struct shm_info i;
    int32_t highest = ipc_shm_info(&i);
    int err = copy_out_obj(c->task->mm, buf, &i);
    return err ? err : highest;
}

sysret_t sys_shmctl(struct call *c, int32_t id, int32_t cmd, uaddr_t buf)
{
    struct task *t = c->task;
    struct shmid_ds d;
    sysret_t r;

    if (cmd < 0 || id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
        return shm_limits(c, buf);
    case SHM_INFO:
        return shm_used(c, buf);
    case IPC_STAT:
    case SHM_STAT:
    case SHM_STAT_ANY:
        r = ipc_shm_stat(t, id, cmd, &d);
        return r >= 0 && copy_out_obj(t->mm, buf, &d) ? -EFAULT : r;
    case IPC_SET:
        return copy_in_obj(t->mm, &d, buf) ? -EFAULT : ipc_shm_set(t, id, &d);
    case IPC_RMID:
        return ipc_shm_remove(t, id);
    case SHM_LOCK:
    case SHM_UNLOCK:
        return ipc_shm_lock(t, id, cmd == SHM_LOCK);
    default:
        return -EINVAL;
    }
}

/* --- semaphores --- */

sysret_t sys_semget(struct call *c, int32_t key, int32_t count, int32_t flags)
{
    return ipc_semget(c->task, key, count, flags);
}

static sysret_t semop_run(struct call *c, int32_t id, uaddr_t uops, uint32_t count)
{
    struct sembuf few[16], *ops = few, *many autofree = NULL;

    if (c->state) /* it waits: what it does has been copied */
        return ipc_semop(c, id, NULL, 0);
    if (count < 1 || id < 0)
        return -EINVAL;
    if (count > IPC_SEM_OPS_MAX)
        return -E2BIG;
    if (count > ARRAY_SIZE(few)) {
        many = malloc(count * sizeof(*many));
        if (!many)
            return -ENOMEM;
        ops = many;
    }
    if (copy_in(c->task->mm, ops, uops, count * sizeof(*ops)))
        return -EFAULT;
    return ipc_semop(c, id, ops, count);
}

sysret_t sys_semop(struct call *c, int32_t id, uaddr_t ops, uint64_t count)
{
    return semop_run(c, id, ops, (uint32_t)count);
}

sysret_t sys_semtimedop(struct call *c, int32_t id, uaddr_t ops, uint32_t count, uaddr_t timeout)
{
    struct timespec ts;

    if (!c->started && !uaddr_null(timeout)) {
        if (copy_in_obj(c->task->mm, &ts, timeout))
            return -EFAULT;
        if (!timespec_valid(&ts))
            return -EINVAL;
        call_deadline(c, deadline_after(timespec_to_ns(&ts)));
    }
    return semop_run(c, id, ops, count);
}

static sysret_t sem_limits(struct call *c, int32_t cmd, uaddr_t buf)
{
    uint32_t sets, sems;
    int32_t highest = ipc_sem_info(&sets, &sems);
    struct seminfo i = {
        .semmap = IPC_SEMS_MAX,
        .semmni = IPC_SEM_SETS_MAX,
        .semmns = IPC_SEMS_MAX,
        .semmnu = IPC_SEMS_MAX,
        .semmsl = IPC_SEMS_PER_SET_MAX,
        .semopm = IPC_SEM_OPS_MAX,
        .semume = IPC_SEM_OPS_MAX,
        .semusz = 20,
        .semvmx = IPC_SEM_VALUE_MAX,
        .semaem = IPC_SEM_VALUE_MAX,
    };
    if (cmd == SEM_INFO) {
        i.semusz = (int)sets;
        i.semaem = (int)sems;
    }
    int err = copy_out_obj(c->task->mm, buf, &i);
    return err ? err : highest;
}

static sysret_t sem_get_all(struct call *c, int32_t id, uaddr_t buf)
{
    uint16_t *values autofree = NULL;
    uint32_t count;
    int err = ipc_sem_get_all(c->task, id, &values, &count);

    return err ? err : copy_out(c->task->mm, buf, values, count * sizeof(*values));
}

static sysret_t sem_set_all(struct call *c, int32_t id, uaddr_t buf)
{
    sysret_t n = ipc_sem_count(c->task, id);

    if (n < 0)
        return n;
    uint16_t *values autofree = malloc((size_t)n * sizeof(*values));
    if (!values)
        return -ENOMEM;
    if (copy_in(c->task->mm, values, buf, (size_t)n * sizeof(*values)))
        return -EFAULT;
    return ipc_sem_set_all(c->task, id, values, (uint32_t)n);
}

sysret_t sys_semctl(struct call *c, int32_t id, int32_t number, int32_t cmd, uint64_t arg)
{
    struct task *t = c->task;
    struct semid_ds d;
    sysret_t r;

    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
    case SEM_INFO:
        return sem_limits(c, cmd, UADDR(arg));
    case IPC_STAT:
    case SEM_STAT:
    case SEM_STAT_ANY:
        r = ipc_sem_stat(t, id, cmd, &d);
        return r >= 0 && copy_out_obj(t->mm, UADDR(arg), &d) ? -EFAULT : r;
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
        return ipc_sem_get_one(t, id, (uint32_t)number, cmd);
    case SETVAL:
        return ipc_sem_set_one(t, id, (uint32_t)number, (int32_t)arg);
    case GETALL:
        return sem_get_all(c, id, UADDR(arg));
    case SETALL:
        return sem_set_all(c, id, UADDR(arg));
    case IPC_SET:
        return copy_in_obj(t->mm, &d, UADDR(arg)) ? -EFAULT : ipc_sem_set(t, id, &d);
    case IPC_RMID:
        return ipc_sem_remove(t, id);
    default:
        return -EINVAL;
    }
}

/* --- messages --- */

sysret_t sys_msgget(struct call *c, int32_t key, int32_t flags)
{
    return ipc_msgget(c->task, key, flags);
}

sysret_t sys_msgsnd(struct call *c, int32_t id, uaddr_t msg, size_t size, int32_t flags)
{
    struct mm *mm = c->task->mm;
    int64_t type;

    if (size > IPC_MSG_SIZE_MAX || id < 0)
        return -EINVAL;
    if (copy_in_obj(mm, &type, msg))
        return -EFAULT;
    if (type < 1)
        return -EINVAL;
    struct ipc_msg *m = ipc_msg_new(size);
    if (!m)
        return -ENOMEM;
    m->type = type;
    sysret_t r = copy_in(mm, m->data, uaddr_add(msg, sizeof(type)), size);
    if (!r)
        r = ipc_msgsnd(c, id, m, flags);
    if (r)
        ipc_msg_free(m);
    return r;
}

sysret_t sys_msgrcv(struct call *c, int32_t id, uaddr_t msg, size_t size, int64_t type,
                    int32_t flags)
{
    struct mm *mm = c->task->mm;
    struct ipc_msg *m;

    if (id < 0 || (int64_t)size < 0)
        return -EINVAL;
    if (flags & MSG_COPY)
        return (flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT) ? -EINVAL : -ENOSYS;
    sysret_t r = ipc_msgrcv(c, id, size, type, flags, &m);
    if (r)
        return r;
    size_t n = MIN(size, m->size);
    r = copy_out_obj(mm, msg, &m->type);
    if (!r)
        r = copy_out(mm, uaddr_add(msg, sizeof(m->type)), m->data, n);
    ipc_msg_free(m);
    return r ? -EFAULT : (sysret_t)n;
}

static sysret_t msg_limits(struct call *c, int32_t cmd, uaddr_t buf)
{
    uint32_t queues, messages;
    uint64_t bytes;
    int32_t highest = ipc_msg_info(&queues, &messages, &bytes);
    struct msginfo i = {
        .msgpool = IPC_MSG_BYTES_MAX / 1024,
        .msgmap = IPC_MSG_QUEUE_BYTES,
        .msgmax = IPC_MSG_SIZE_MAX,
        .msgmnb = IPC_MSG_QUEUE_BYTES,
        .msgmni = IPC_MSG_QUEUES_MAX,
        .msgssz = 16,
        .msgtql = IPC_MSG_QUEUE_BYTES,
        .msgseg = 0xffff,
    };
    if (cmd == MSG_INFO) {
        i.msgpool = (int)queues;
        i.msgmap = (int)messages;
        i.msgtql = (int)bytes;
    }
    int err = copy_out_obj(c->task->mm, buf, &i);
    return err ? err : highest;
}

sysret_t sys_msgctl(struct call *c, int32_t id, int32_t cmd, uaddr_t buf)
{
    struct task *t = c->task;
    struct msqid_ds d;
    sysret_t r;

    if (id < 0 || cmd < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
    case MSG_INFO:
        return msg_limits(c, cmd, buf);
    case IPC_STAT:
    case MSG_STAT:
    case MSG_STAT_ANY:
        r = ipc_msg_stat(t, id, cmd, &d);
        return r >= 0 && copy_out_obj(t->mm, buf, &d) ? -EFAULT : r;
    case IPC_SET:
        return copy_in_obj(t->mm, &d, buf) ? -EFAULT : ipc_msg_set(t, id, &d);
    case IPC_RMID:
        return ipc_msg_remove(t, id);
    default:
        return -EINVAL;
    }
}
