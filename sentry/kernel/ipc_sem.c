/* SPDX-License-Identifier: Apache-2.0
 * ipc_sem.c - System V semaphores.
 *
 * The operations of one semop happen all or not at all. Who cannot go on queues on the set, as the
 * state of its call; whoever changes a value tries the queue from its front and performs what has
 * become possible on behalf of the sleepers, so values change in an order that nobody can get
 * between. A waiter leaves the queue with its call, whatever ends that.
 *
 * SEM_UNDO: one record for each process and set, linked in both; the process's exit adds it up, the
 * set's removal empties it. (Linux keeps one for each group of threads that share it by
 * CLONE_SYSVSEM, which the C library always asks for.)
 *
 * Guests choose counts and values; all are bounded (ipc.h). A change tries each waiter at most once
 * for each waiter it lets go. Lock: the table's. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ipc_internal.h"

struct sem {
    uint16_t value;
    int32_t pid; /* last that changed it */
};

struct sem_set {
    struct ipc_object o;
    /* --- table lock --- */
    struct list_head waiters, undos;
    int64_t otime, ctime;
    uint32_t count;
    struct sem sems[];
};

struct sem_undo {
    struct list_head in_process, in_set; /* in_set alone: the set has gone */
    struct sem_set *set;                 /* good while in_set is linked */
    uint32_t count;
    int16_t adjust[];
};

struct sem_waiter {
    struct list_head link; /* set->waiters; alone when done */
    struct sem_set *set;   /* reference */
    struct sem_undo *undo; /* NULL: no operation asks for it */
    int32_t pid;
    sysret_t result; /* once done */
    bool done;
    struct wait_queue queue; /* one: the call */
    uint32_t blocked_at;     /* the operation that cannot go on */
    uint32_t count;
    struct sembuf ops[];
};

static void set_destroy(struct ipc_object *o);

static struct ipc_table g_sets = IPC_TABLE_INIT(IPC_SEM_SETS_MAX, set_destroy);
static _Atomic(uint32_t) g_sem_count;
static _Atomic(uint64_t) g_undo_bytes;

static struct sem_set *set_of(struct ipc_object *o)
{
    return container_of(o, struct sem_set, o);
}

static void set_destroy(struct ipc_object *o)
{
    struct sem_set *s = set_of(o);

    atomic_fetch_sub(&g_sem_count, s->count);
    free(s);
}

/* --- semget --- */

static int set_check(const struct ipc_object *o, uint64_t count)
{
    return container_of(o, const struct sem_set, o)->count < count ? -EINVAL : 0;
}

sysret_t ipc_semget(struct task *t, int32_t key, int32_t count, int32_t flags)
{
    bool used;

    if (count < 0 || (uint32_t)count > IPC_SEMS_PER_SET_MAX)
        return -EINVAL;
    sysret_t r = ipc_open(&g_sets, t, key, flags, set_check, (uint64_t)count, NULL, &used);
    if (r != -EAGAIN)
        return r;
    if (!count)
        return -EINVAL;
    struct sem_set *s = calloc(1, sizeof(*s) + (size_t)count * sizeof(s->sems[0]));
    if (!s)
        return -ENOMEM;
    ipc_object_init(&s->o, t, key, flags);
    list_init(&s->waiters);
    list_init(&s->undos);
    s->count = (uint32_t)count;
    s->ctime = ipc_now_s();
    if (atomic_fetch_add(&g_sem_count, s->count) + s->count > IPC_SEMS_MAX)
        r = -ENOSPC;
    else
        r = ipc_open(&g_sets, t, key, flags, set_check, (uint64_t)count, &s->o, &used);
    if (!used)
        ipc_object_put(&g_sets, &s->o);
    return r;
}

/* --- operations (lock held) --- */

static sysret_t op_apply(struct sem_set *s, const struct sembuf *op, struct sem_undo *u)
{
    struct sem *m = &s->sems[op->sem_num];
    int value = m->value + op->sem_op;

    if ((!op->sem_op && m->value) || value < 0)
        return -EAGAIN;
    if (value > IPC_SEM_VALUE_MAX)
        return -ERANGE;
    if (op->sem_flg & SEM_UNDO) {
        int adjust = u->adjust[op->sem_num] - op->sem_op;
        if (adjust < -IPC_SEM_VALUE_MAX - 1 || adjust > IPC_SEM_VALUE_MAX)
            return -ERANGE;
        u->adjust[op->sem_num] = (int16_t)adjust;
    }
    m->value = (uint16_t)value;
    return 0;
}

/* All or nothing. *ret_at: the operation that said no. */
static sysret_t ops_perform(struct sem_set *s, const struct sembuf *ops, uint32_t count,
                            struct sem_undo *u, int32_t pid, uint32_t *ret_at)
{
    uint32_t i = 0;
    sysret_t r = 0;

    while (i < count && !(r = op_apply(s, &ops[i], u)))
        i++;
    *ret_at = i;
    if (!r) {
        for (i = 0; i < count; i++)
            s->sems[ops[i].sem_num].pid = pid;
        s->otime = ipc_now_s();
        return 0;
    }
    while (i-- > 0) {
        s->sems[ops[i].sem_num].value = (uint16_t)(s->sems[ops[i].sem_num].value - ops[i].sem_op);
        if (ops[i].sem_flg & SEM_UNDO)
            u->adjust[ops[i].sem_num] = (int16_t)(u->adjust[ops[i].sem_num] + ops[i].sem_op);
    }
    return r;
}

static void waiter_finish(struct sem_waiter *w, sysret_t result)
{
    list_del(&w->link);
    w->done = true;
    w->result = result;
    wake_all(&w->queue, 0);
}

static bool ops_alter(const struct sembuf *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ops[i].sem_op)
            return true;
    return false;
}

/* Values have changed: let go who can. */
static void set_update(struct sem_set *s)
{
    struct sem_waiter *w, *next;
    bool again = true;

    while (again) {
        again = false;
        list_for_each_entry_safe (w, next, &s->waiters, link) {
            sysret_t r = ops_perform(s, w->ops, w->count, w->undo, w->pid, &w->blocked_at);
            if (r == -EAGAIN && !(w->ops[w->blocked_at].sem_flg & IPC_NOWAIT))
                continue;
            bool changed = !r && ops_alter(w->ops, w->count);
            waiter_finish(w, r);
            if (changed) { /* those in front may be able to go on now */
                again = true;
                break;
            }
        }
    }
}

/* --- undo records --- */

static size_t undo_bytes(uint32_t count)
{
    return sizeof(struct sem_undo) + count * sizeof(int16_t);
}

static void undo_free(struct sem_undo *u)
{
    atomic_fetch_sub(&g_undo_bytes, undo_bytes(u->count));
    free(u);
}

static struct sem_undo *undo_find_locked(struct process *p, const struct sem_set *s,
                                         struct list_head *stale)
{
    struct sem_undo *u, *next, *found = NULL;

    list_for_each_entry_safe (u, next, &p->sem_undos, in_process) {
        if (list_empty(&u->in_set)) {
            list_del(&u->in_process);
            list_add(&u->in_process, stale);
        } else if (u->set == s) {
            found = u;
        }
    }
    return found;
}

/* The process's record for @s. */
static int undo_get(struct process *p, struct sem_set *s, struct sem_undo **ret)
{
    struct list_head stale = LIST_HEAD_INIT(stale);
    struct sem_undo *fresh = NULL;

    if (atomic_fetch_add(&g_undo_bytes, undo_bytes(s->count)) + undo_bytes(s->count) <=
        IPC_SEM_UNDO_BYTES_MAX)
        fresh = calloc(1, undo_bytes(s->count));
    if (!fresh)
        atomic_fetch_sub(&g_undo_bytes, undo_bytes(s->count));
    spin_lock(&g_sets.lock);
    struct sem_undo *u = undo_find_locked(p, s, &stale);
    if (!u && fresh && !s->o.removed) {
        u = fresh;
        fresh = NULL;
        u->set = s;
        u->count = s->count;
        list_add(&u->in_process, &p->sem_undos);
        list_add(&u->in_set, &s->undos);
    }
    bool removed = s->o.removed;
    spin_unlock(&g_sets.lock);
    if (fresh) {
        fresh->count = s->count;
        undo_free(fresh);
    }
    while (!list_empty(&stale)) {
        struct sem_undo *old = list_first_entry(&stale, struct sem_undo, in_process);
        list_del(&old->in_process);
        undo_free(old);
    }
    *ret = u;
    return u ? 0 : removed ? -EIDRM : -ENOMEM;
}

static void undo_apply(struct sem_undo *u, int32_t pid)
{
    struct sem_set *s = u->set;

    for (uint32_t i = 0; i < u->count; i++) {
        if (!u->adjust[i])
            continue;
        int value = s->sems[i].value + u->adjust[i];
        value = MAX(0, MIN(value, IPC_SEM_VALUE_MAX));
        s->sems[i].value = (uint16_t)value;
        s->sems[i].pid = pid;
    }
    s->otime = ipc_now_s();
    set_update(s);
}

void ipc_process_exit(struct process *p)
{
    for (;;) {
        struct sem_undo *u = NULL;
        spin_lock(&g_sets.lock);
        if (!list_empty(&p->sem_undos)) {
            u = list_first_entry(&p->sem_undos, struct sem_undo, in_process);
            list_del(&u->in_process);
            if (!list_empty(&u->in_set)) {
                list_del(&u->in_set);
                undo_apply(u, p->pid);
            }
        }
        spin_unlock(&g_sets.lock);
        if (!u)
            return;
        undo_free(u);
    }
}

/* --- semop --- */

static void waiter_free(void *state)
{
    struct sem_waiter *w = state;

    spin_lock(&g_sets.lock);
    list_del(&w->link);
    spin_unlock(&g_sets.lock);
    ipc_object_put(&g_sets, &w->set->o);
    free(w);
}

static int ops_check(struct sem_set *s, struct task *t, const struct sembuf *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ops[i].sem_num >= s->count)
            return -EFBIG;
    return ipc_permission(&s->o, t, ops_alter(ops, count) ? 0222 : 0444);
}

static bool ops_undo(const struct sembuf *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ops[i].sem_flg & SEM_UNDO)
            return true;
    return false;
}

/* First try; queues @w when it has to wait. */
static sysret_t semop_try_locked(struct sem_set *s, struct sem_waiter *w)
{
    if (s->o.removed)
        return -EIDRM;
    sysret_t r = ops_perform(s, w->ops, w->count, w->undo, w->pid, &w->blocked_at);
    if (!r && ops_alter(w->ops, w->count))
        set_update(s);
    if (r != -EAGAIN || (w->ops[w->blocked_at].sem_flg & IPC_NOWAIT))
        return r;
    list_add_tail(&w->link, &s->waiters);
    return SYS_PARK;
}

static sysret_t semop_begin(struct call *c, int32_t id, const struct sembuf *ops, uint32_t count)
{
    struct task *t = c->task;

    struct sem_waiter *w = calloc(1, sizeof(*w) + count * sizeof(*ops));
    if (!w)
        return -ENOMEM;
    spin_lock(&g_sets.lock);
    struct ipc_object *o = ipc_find_locked(&g_sets, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ops_check(set_of(o), t, ops, count);
    if (!r)
        refcount_get(&o->ref);
    spin_unlock(&g_sets.lock);
    if (r) {
        free(w);
        return r;
    }
    list_init(&w->link);
    wait_queue_init(&w->queue);
    w->set = set_of(o);
    w->pid = t->process->pid;
    w->count = count;
    memcpy(w->ops, ops, count * sizeof(*ops));
    c->state = w;
    c->state_free = waiter_free;
    r = ops_undo(ops, count) ? undo_get(t->process, w->set, &w->undo) : 0;
    if (r)
        return r;
    spin_lock(&g_sets.lock);
    sysret_t done = semop_try_locked(w->set, w);
    spin_unlock(&g_sets.lock);
    return done;
}

sysret_t ipc_semop(struct call *c, int32_t id, const struct sembuf *ops, uint32_t count)
{
    if (!c->state) {
        sysret_t r = semop_begin(c, id, ops, count);
        if (r != SYS_PARK)
            return r;
    }
    struct sem_waiter *w = c->state;
    int err = call_arm(c, &w->queue, 0);
    if (err)
        return err;
    spin_lock(&g_sets.lock);
    bool done = w->done;
    spin_unlock(&g_sets.lock);
    if (done)
        return w->result;
    sysret_t r = call_wait_armed(c);
    if (r == SYS_PARK)
        return r;
    spin_lock(&g_sets.lock);
    if (w->done)
        r = w->result; /* what was done on our behalf stays done */
    else
        list_del(&w->link);
    spin_unlock(&g_sets.lock);
    if (r == -ETIMEDOUT)
        return -EAGAIN;
    return r == -ERESTARTSYS ? -EINTR : r;
}

/* --- semctl --- */

static void set_stat_locked(struct sem_set *s, struct semid_ds *d)
{
    memset(d, 0, sizeof(*d));
    ipc_perm_fill(&s->o, &d->sem_perm);
    d->sem_otime = s->otime;
    d->sem_ctime = s->ctime;
    d->sem_nsems = s->count;
}

sysret_t ipc_sem_stat(struct task *t, int32_t id, int32_t cmd, struct semid_ds *d)
{
    sysret_t r;

    spin_lock(&g_sets.lock);
    struct ipc_object *o =
        ipc_find_stat_locked(&g_sets, t, id, cmd != IPC_STAT, cmd == SEM_STAT_ANY);
    if (IS_ERR(o)) {
        r = PTR_ERR(o);
    } else {
        set_stat_locked(set_of(o), d);
        r = cmd == IPC_STAT ? 0 : o->id;
    }
    spin_unlock(&g_sets.lock);
    return r;
}

int ipc_sem_set(struct task *t, int32_t id, const struct semid_ds *d)
{
    spin_lock(&g_sets.lock);
    struct ipc_object *o = ipc_find_locked(&g_sets, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ipc_owner(o, t);
    if (!r) {
        ipc_perm_set(o, &d->sem_perm);
        set_of(o)->ctime = ipc_now_s();
    }
    spin_unlock(&g_sets.lock);
    return r;
}

int ipc_sem_remove(struct task *t, int32_t id)
{
    spin_lock(&g_sets.lock);
    struct ipc_object *o = ipc_find_locked(&g_sets, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ipc_owner(o, t);
    if (!r) {
        struct sem_set *s = set_of(o);
        ipc_take_out_locked(&g_sets, o);
        while (!list_empty(&s->waiters))
            waiter_finish(list_first_entry(&s->waiters, struct sem_waiter, link), -EIDRM);
        while (!list_empty(&s->undos))
            list_del(s->undos.next);
    }
    spin_unlock(&g_sets.lock);
    if (!r)
        ipc_object_put(&g_sets, o);
    return r;
}

/* The set, with the permission wanted. Lock held. */
static struct sem_set *set_find_locked(struct task *t, int32_t id, uint32_t want)
{
    struct ipc_object *o = ipc_find_locked(&g_sets, id);

    if (IS_ERR(o))
        return ERR_PTR(PTR_ERR(o));
    int err = ipc_permission(o, t, want);
    return err ? ERR_PTR(err) : set_of(o);
}

static sysret_t waiting_count(const struct sem_set *s, uint32_t number, bool for_zero)
{
    struct sem_waiter *w;
    sysret_t n = 0;

    list_for_each_entry (w, &s->waiters, link) {
        const struct sembuf *op = &w->ops[w->blocked_at];
        n += op->sem_num == number && !op->sem_op == for_zero;
    }
    return n;
}

sysret_t ipc_sem_get_one(struct task *t, int32_t id, uint32_t number, int32_t cmd)
{
    sysret_t r;

    spin_lock(&g_sets.lock);
    struct sem_set *s = set_find_locked(t, id, 0444);
    if (IS_ERR(s))
        r = PTR_ERR(s);
    else if (number >= s->count)
        r = -EINVAL;
    else if (cmd == GETVAL)
        r = s->sems[number].value;
    else if (cmd == GETPID)
        r = s->sems[number].pid;
    else
        r = waiting_count(s, number, cmd == GETZCNT);
    spin_unlock(&g_sets.lock);
    return r;
}

int ipc_sem_set_one(struct task *t, int32_t id, uint32_t number, int32_t value)
{
    struct sem_undo *u;
    int r = 0;

    if (value < 0 || value > IPC_SEM_VALUE_MAX)
        return -ERANGE;
    spin_lock(&g_sets.lock);
    struct sem_set *s = set_find_locked(t, id, 0222);
    if (IS_ERR(s)) {
        r = PTR_ERR(s);
    } else if (number >= s->count) {
        r = -EINVAL;
    } else {
        list_for_each_entry (u, &s->undos, in_set)
            u->adjust[number] = 0;
        s->sems[number] = (struct sem){.value = (uint16_t)value, .pid = t->process->pid};
        s->ctime = ipc_now_s();
        set_update(s);
    }
    spin_unlock(&g_sets.lock);
    return r;
}

sysret_t ipc_sem_count(struct task *t, int32_t id)
{
    spin_lock(&g_sets.lock);
    struct sem_set *s = set_find_locked(t, id, 0222);
    sysret_t r = IS_ERR(s) ? PTR_ERR(s) : (sysret_t)s->count;
    spin_unlock(&g_sets.lock);
    return r;
}

int ipc_sem_get_all(struct task *t, int32_t id, uint16_t **ret_values, uint32_t *ret_count)
{
    uint16_t *values = malloc(IPC_SEMS_PER_SET_MAX * sizeof(*values));
    int r = 0;

    if (!values)
        return -ENOMEM;
    spin_lock(&g_sets.lock);
    struct sem_set *s = set_find_locked(t, id, 0444);
    if (IS_ERR(s)) {
        r = PTR_ERR(s);
    } else {
        for (uint32_t i = 0; i < s->count; i++)
            values[i] = s->sems[i].value;
        *ret_count = s->count;
        *ret_values = values;
    }
    spin_unlock(&g_sets.lock);
    if (r)
        free(values);
    return r;
}

int ipc_sem_set_all(struct task *t, int32_t id, const uint16_t *values, uint32_t count)
{
    struct sem_undo *u;
    int r = 0;

    for (uint32_t i = 0; i < count; i++)
        if (values[i] > IPC_SEM_VALUE_MAX)
            return -ERANGE;
    spin_lock(&g_sets.lock);
    struct sem_set *s = set_find_locked(t, id, 0222);
    if (IS_ERR(s)) {
        r = PTR_ERR(s);
    } else if (s->count != count) {
        r = -EIDRM; /* another set by now */
    } else {
        for (uint32_t i = 0; i < count; i++)
            s->sems[i] = (struct sem){.value = values[i], .pid = t->process->pid};
        list_for_each_entry (u, &s->undos, in_set)
            memset(u->adjust, 0, u->count * sizeof(u->adjust[0]));
        s->ctime = ipc_now_s();
        set_update(s);
    }
    spin_unlock(&g_sets.lock);
    return r;
}

int32_t ipc_sem_info(uint32_t *ret_sets, uint32_t *ret_sems)
{
    spin_lock(&g_sets.lock);
    *ret_sets = g_sets.used;
    *ret_sems = atomic_load(&g_sem_count);
    int32_t highest = ipc_highest_locked(&g_sets);
    spin_unlock(&g_sets.lock);
    return highest;
}
