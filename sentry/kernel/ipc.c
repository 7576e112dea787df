/* SPDX-License-Identifier: Apache-2.0
 * ipc.c - System V objects: numbers, keys and permission, the same for all three kinds.
 *
 * A number is a slot and a sequence number above it, which grows whenever slots are used again: an
 * old number finds nothing, or another object, which is told apart (EIDRM). An object in the table
 * has one reference from it. Guests choose keys, sizes and permissions; how many objects there are
 * is bounded by the table's max.
 *
 * Lock: the table's (RANK_OBJECT), for the table and everything in its objects. */
#include <linux/capability.h>
#include <stdlib.h>
#include <time.h>

#include <base/hash.h>

#include "ipc_internal.h"

#define MODE_BITS 0777u

int64_t ipc_now_s(void)
{
    return clock_now_ns(CLOCK_REALTIME) / 1000000000;
}

int ipc_permission(const struct ipc_object *o, struct task *task, uint32_t want)
{
    const struct cred *c = task->cred;
    uint32_t granted = o->mode;

    want = (want >> 6 | want >> 3 | want) & 7;
    if (c->euid == o->cuid || c->euid == o->uid)
        granted >>= 6;
    else if (cred_in_group(c, o->cgid) || cred_in_group(c, o->gid))
        granted >>= 3;
    return (want & ~granted) && !cred_capable(c, CAP_IPC_OWNER) ? -EACCES : 0;
}

int ipc_owner(const struct ipc_object *o, struct task *task)
{
    const struct cred *c = task->cred;

    return c->euid == o->cuid || c->euid == o->uid || cred_capable(c, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

void ipc_perm_fill(const struct ipc_object *o, struct ipc_perm *ret)
{
    ret->__key = o->key;
    ret->uid = o->uid;
    ret->gid = o->gid;
    ret->cuid = o->cuid;
    ret->cgid = o->cgid;
    ret->mode = (__typeof__(ret->mode))o->mode;
    ret->__seq = (unsigned short)((uint32_t)o->id >> IPC_SLOT_BITS);
}

void ipc_perm_set(struct ipc_object *o, const struct ipc_perm *p)
{
    o->uid = p->uid;
    o->gid = p->gid;
    o->mode = (o->mode & ~MODE_BITS) | ((uint32_t)p->mode & MODE_BITS);
}

void ipc_object_init(struct ipc_object *o, struct task *task, int32_t key, int32_t flags)
{
    refcount_init(&o->ref);
    list_init(&o->key_link);
    o->key = key;
    o->uid = o->cuid = task->cred->euid;
    o->gid = o->cgid = task->cred->egid;
    o->mode = (uint32_t)flags & MODE_BITS;
}

void ipc_object_put(struct ipc_table *t, struct ipc_object *o)
{
    if (o && refcount_put(&o->ref))
        t->destroy(o);
}

static struct list_head *key_bucket(struct ipc_table *t, int32_t key)
{
    if (!t->ready) {
        for (unsigned i = 0; i < IPC_HASH; i++)
            list_init(&t->keys[i]);
        t->ready = true;
    }
    return &t->keys[hash_u64((uint32_t)key) % IPC_HASH];
}

static struct ipc_object *key_find_locked(struct ipc_table *t, int32_t key)
{
    struct ipc_object *o;

    if (key == IPC_PRIVATE)
        return NULL;
    list_for_each_entry (o, key_bucket(t, key), key_link) {
        if (o->key == key)
            return o;
    }
    return NULL;
}

/* A free slot below slot_count, or the next one. */
static uint32_t slot_free_locked(const struct ipc_table *t)
{
    if (t->used == t->slot_count)
        return t->slot_count;
    for (uint32_t i = 0; i < t->slot_count; i++)
        if (!t->slots[i])
            return i;
    return t->slot_count;
}

/* The array has room for one more after this. Called without the lock. */
static int slots_grow(struct ipc_table *t)
{
    spin_lock(&t->lock);
    uint32_t count = t->slot_count;
    bool full = t->used == count;
    spin_unlock(&t->lock);
    if (!full || count >= IPC_SLOTS)
        return 0;
    uint32_t more = count ? count * 2 : 16;
    struct ipc_object **fresh = calloc(more, sizeof(struct ipc_object *));
    if (!fresh)
        return -ENOMEM;
    struct ipc_object **old = fresh;
    spin_lock(&t->lock);
    if (t->slot_count == count) {
        old = t->slots;
        for (uint32_t i = 0; i < count; i++)
            fresh[i] = old[i];
        t->slots = fresh;
        t->slot_count = more;
    }
    spin_unlock(&t->lock);
    free((void *)old);
    return 0;
}

static sysret_t insert_locked(struct ipc_table *t, struct ipc_object *o)
{
    if (t->used >= t->max)
        return -ENOSPC;
    uint32_t slot = slot_free_locked(t);
    if (slot >= t->slot_count)
        return -ENOSPC; /* others were faster than slots_grow */
    if (t->used && slot <= t->last)
        t->seq = (t->seq + 1) & 0xffff;
    t->last = slot;
    t->used++;
    t->slots[slot] = o;
    o->id = (int32_t)(t->seq << IPC_SLOT_BITS | slot);
    if (o->key != IPC_PRIVATE)
        list_add(&o->key_link, key_bucket(t, o->key));
    return o->id;
}

sysret_t ipc_open(struct ipc_table *t, struct task *task, int32_t key, int32_t flags,
                  ipc_check_fn check, uint64_t arg, struct ipc_object *fresh, bool *ret_used)
{
    sysret_t r = fresh ? slots_grow(t) : 0;

    *ret_used = false;
    if (r < 0)
        return r;
    spin_lock(&t->lock);
    struct ipc_object *o = key_find_locked(t, key);
    if (o && (flags & IPC_CREAT) && (flags & IPC_EXCL)) {
        r = -EEXIST;
    } else if (o) {
        r = check ? check(o, arg) : 0;
        if (!r)
            r = ipc_permission(o, task, (uint32_t)flags);
        if (!r)
            r = o->id;
    } else if (key != IPC_PRIVATE && !(flags & IPC_CREAT)) {
        r = -ENOENT;
    } else if (!fresh) {
        r = -EAGAIN;
    } else {
        r = insert_locked(t, fresh);
        *ret_used = r >= 0;
    }
    spin_unlock(&t->lock);
    return r;
}

struct ipc_object *ipc_find_locked(struct ipc_table *t, int32_t id)
{
    uint32_t slot = (uint32_t)id & (IPC_SLOTS - 1);

    if (id < 0 || slot >= t->slot_count || !t->slots[slot])
        return ERR_PTR(-EINVAL);
    return t->slots[slot]->id == id ? t->slots[slot] : ERR_PTR(-EIDRM);
}

struct ipc_object *ipc_find_stat_locked(struct ipc_table *t, struct task *task, int32_t id,
                                        bool by_slot, bool any)
{
    struct ipc_object *o;

    if (!by_slot)
        o = ipc_find_locked(t, id);
    else if (id < 0 || (uint32_t)id >= t->slot_count || !t->slots[id])
        o = ERR_PTR(-EINVAL);
    else
        o = t->slots[id];
    if (IS_ERR(o) || any)
        return o;
    int err = ipc_permission(o, task, 0444);
    return err ? ERR_PTR(err) : o;
}

void ipc_take_out_locked(struct ipc_table *t, struct ipc_object *o)
{
    t->slots[(uint32_t)o->id & (IPC_SLOTS - 1)] = NULL;
    t->used--;
    list_del(&o->key_link);
    o->removed = true;
}

int32_t ipc_highest_locked(const struct ipc_table *t)
{
    for (uint32_t i = t->slot_count; i-- > 0;)
        if (t->slots[i])
            return (int32_t)i;
    return 0;
}
