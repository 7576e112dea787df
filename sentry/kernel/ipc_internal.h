/* SPDX-License-Identifier: Apache-2.0
 * ipc_internal.h - what the three kinds of System V objects share: numbers, keys, permission. */
#ifndef KERNEL_IPC_INTERNAL_H
#define KERNEL_IPC_INTERNAL_H

#include <base/err.h>
#include <kernel/ipc.h>

#define IPC_SLOT_BITS 15u
#define IPC_SLOTS (1u << IPC_SLOT_BITS)
#define IPC_HASH 256u

struct ipc_object {
    struct refcount ref; /* the table, who uses it */
    struct list_head key_link;
    int32_t key, id;
    uint32_t uid, gid, cuid, cgid, mode;
    bool removed; /* not in the table any more */
};

struct ipc_table {
    struct spin lock; /* RANK_OBJECT: the table and all objects in it */
    uint32_t max;     /* objects */
    void (*destroy)(struct ipc_object *o);
    /* --- lock --- */
    struct ipc_object **slots;
    uint32_t slot_count, used, seq, last;
    bool ready;
    struct list_head keys[IPC_HASH];
};

#define IPC_TABLE_INIT(most, end)                                       \
    {                                                                   \
        .lock = SPIN_INIT(RANK_OBJECT), .max = (most), .destroy = (end) \
    }

/* Fits the existing object what *get() asks for? 0 or -errno. */
typedef int (*ipc_check_fn)(const struct ipc_object *o, uint64_t arg);

/**
 * ipc_open - the object of @key, or @fresh under that key.
 * @fresh: NULL: -EAGAIN where one would be made: make one and ask again. Taken over when its id is
 * returned (then *ret_used).
 */
sysret_t ipc_open(struct ipc_table *t, struct task *task, int32_t key, int32_t flags,
                  ipc_check_fn check, uint64_t arg, struct ipc_object *fresh, bool *ret_used);
void ipc_object_init(struct ipc_object *o, struct task *task, int32_t key, int32_t flags);
/* By id; lock held. ERR_PTR(-EINVAL), -EIDRM when the slot has another object. */
struct ipc_object *ipc_find_locked(struct ipc_table *t, int32_t id);
/* For the calls that look: IPC_STAT takes an id, *_STAT a slot. Checks permission to read except
 * for *_STAT_ANY. */
struct ipc_object *ipc_find_stat_locked(struct ipc_table *t, struct task *task, int32_t id,
                                        bool by_slot, bool any);
/* 0 or -EACCES. @want: permission bits as in a mode. */
int ipc_permission(const struct ipc_object *o, struct task *task, uint32_t want);
/* IPC_SET, IPC_RMID: 0 or -EPERM. */
int ipc_owner(const struct ipc_object *o, struct task *task);
void ipc_perm_fill(const struct ipc_object *o, struct ipc_perm *ret);
void ipc_perm_set(struct ipc_object *o, const struct ipc_perm *p);
/* Key and slot are free; the table's reference is the caller's now. */
void ipc_take_out_locked(struct ipc_table *t, struct ipc_object *o);
void ipc_object_put(struct ipc_table *t, struct ipc_object *o); /* lock not held */
int32_t ipc_highest_locked(const struct ipc_table *t);
int64_t ipc_now_s(void);

#endif
