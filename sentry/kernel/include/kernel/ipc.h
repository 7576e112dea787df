/* SPDX-License-Identifier: Apache-2.0
 * ipc.h - System V shared memory, semaphores and message queues: what the calls of the same names
 * do, behind the copies from and to guest memory. Sources: the man pages of section 2, and sysvipc(7).
 */
#ifndef KERNEL_IPC_H
#define KERNEL_IPC_H

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include <kernel/task.h>

#define IPC_SHM_MAX 4096u                    /* segments of a sandbox, as SHMMNI */
#define IPC_SHM_BYTES_MAX (64ULL << 30)      /* of all segments: address range, not memory */
#define IPC_SEM_SETS_MAX 32000u              /* as SEMMNI */
#define IPC_SEMS_PER_SET_MAX 32000u          /* as SEMMSL */
#define IPC_SEMS_MAX (1u << 20)              /* in all sets */
#define IPC_SEM_OPS_MAX 500u                 /* of one semop, as SEMOPM */
#define IPC_SEM_VALUE_MAX 32767              /* as SEMVMX */
#define IPC_SEM_UNDO_BYTES_MAX (64ULL << 20) /* what SEM_UNDO remembers for all processes */
#define IPC_MSG_QUEUES_MAX 32000u            /* as MSGMNI */
#define IPC_MSG_SIZE_MAX 8192u               /* as MSGMAX */
#define IPC_MSG_QUEUE_BYTES 16384u           /* as MSGMNB */
#define IPC_MSG_BYTES_MAX (64ULL << 20)      /* in all queues, with what each message costs */

/* --- shared memory (ipc_shm.c) --- */

/* The id, or -EEXIST, -ENOENT, -EACCES, -EINVAL (size), -ENOSPC, -ENOMEM. */
sysret_t ipc_shmget(struct task *t, int32_t key, uint64_t size, int32_t flags);
/* The address, or -EINVAL, -EIDRM, -EACCES, -ENOMEM. */
sysret_t ipc_shmat(struct task *t, int32_t id, uint64_t addr, int32_t flags);
int ipc_shmdt(struct task *t, uint64_t addr, struct mm_self *ret_self);
/* IPC_STAT, SHM_STAT, SHM_STAT_ANY: fills @d, returns 0 or the id. */
sysret_t ipc_shm_stat(struct task *t, int32_t id, int32_t cmd, struct shmid_ds *d);
int ipc_shm_set(struct task *t, int32_t id, const struct shmid_ds *d);
int ipc_shm_remove(struct task *t, int32_t id);
int ipc_shm_lock(struct task *t, int32_t id, bool lock); /* SHM_LOCK, SHM_UNLOCK */
/* Both return the highest slot in use. */
int32_t ipc_shm_info(struct shm_info *ret);

/* --- semaphores (ipc_sem.c) --- */

sysret_t ipc_semget(struct task *t, int32_t key, int32_t count, int32_t flags);
/* @ops: a copy. Waits: may return SYS_PARK, is run again. -E2BIG and the deadline are the caller's.
 * -EFBIG, -EACCES, -EAGAIN, -ERANGE, -EIDRM, -EINVAL, -EINTR, -ENOMEM. */
sysret_t ipc_semop(struct call *c, int32_t id, const struct sembuf *ops, uint32_t count);
sysret_t ipc_sem_stat(struct task *t, int32_t id, int32_t cmd, struct semid_ds *d);
int ipc_sem_set(struct task *t, int32_t id, const struct semid_ds *d);
int ipc_sem_remove(struct task *t, int32_t id);
/* GETVAL, GETPID, GETNCNT, GETZCNT */
sysret_t ipc_sem_get_one(struct task *t, int32_t id, uint32_t number, int32_t cmd);
int ipc_sem_set_one(struct task *t, int32_t id, uint32_t number, int32_t value);
/* GETALL: *ret_values is malloc()ed, *ret_count of them. */
int ipc_sem_get_all(struct task *t, int32_t id, uint16_t **ret_values, uint32_t *ret_count);
/* How many values SETALL reads. -errno. */
sysret_t ipc_sem_count(struct task *t, int32_t id);
int ipc_sem_set_all(struct task *t, int32_t id, const uint16_t *values, uint32_t count);
int32_t ipc_sem_info(uint32_t *ret_sets, uint32_t *ret_sems);
/* The process has ended: what SEM_UNDO promised. */
void ipc_process_exit(struct process *p);

/* --- message queues (ipc_msg.c) --- */

struct ipc_msg {
    struct list_head link;
    int64_t type;
    size_t size;
    char data[];
};
struct ipc_msg *ipc_msg_new(size_t size); /* NULL: no memory, or IPC_MSG_BYTES_MAX */
void ipc_msg_free(struct ipc_msg *m);     /* ignores NULL */
sysret_t ipc_msgget(struct task *t, int32_t key, int32_t flags);
/* Takes over @m when it returns 0. May return SYS_PARK. */
sysret_t ipc_msgsnd(struct call *c, int32_t id, struct ipc_msg *m, int32_t flags);
/* 0 with *ret_msg, which is the caller's; may return SYS_PARK. -ENOMSG, -E2BIG, -EIDRM ... */
sysret_t ipc_msgrcv(struct call *c, int32_t id, size_t size, int64_t type, int32_t flags,
                    struct ipc_msg **ret_msg);
sysret_t ipc_msg_stat(struct task *t, int32_t id, int32_t cmd, struct msqid_ds *d);
int ipc_msg_set(struct task *t, int32_t id, const struct msqid_ds *d);
int ipc_msg_remove(struct task *t, int32_t id);
int32_t ipc_msg_info(uint32_t *ret_queues, uint32_t *ret_messages, uint64_t *ret_bytes);

#endif
