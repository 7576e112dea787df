/* SPDX-License-Identifier: Apache-2.0
 * ipc_msg.c - System V message queues.
 *
 * A queue is a list of messages that have been copied in before. Senders wait for room, receivers
 * for a message of their type, both on the queue's wait queue; who is woken tries again, so of
 * several receivers any may be served (Linux hands a message to the one that has waited longest).
 *
 * Guests choose sizes and types; a queue holds msg_qbytes, all of them IPC_MSG_BYTES_MAX.
 * Lock: the table's. */
#include <linux/capability.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ipc_internal.h"

struct queue {
    struct ipc_object o;
    struct wait_queue wait;
    /* --- table lock --- */
    struct list_head messages;
    uint64_t bytes, bytes_max;
    uint64_t count;
    int64_t stime, rtime, ctime;
    int32_t lspid, lrpid;
};

static void queue_destroy(struct ipc_object *o);

static struct ipc_table g_queues = IPC_TABLE_INIT(IPC_MSG_QUEUES_MAX, queue_destroy);
static _Atomic(uint64_t) g_bytes;    /* of all messages, with their heads */
static _Atomic(uint32_t) g_messages; /* in queues */

static struct queue *queue_of(struct ipc_object *o)
{
    return container_of(o, struct queue, o);
}

struct ipc_msg *ipc_msg_new(size_t size)
{
    size_t cost = sizeof(struct ipc_msg) + size;

    if (atomic_fetch_add(&g_bytes, cost) + cost <= IPC_MSG_BYTES_MAX) {
        struct ipc_msg *m = malloc(cost);
        if (m) {
            list_init(&m->link);
            m->size = size;
            return m;
        }
    }
    atomic_fetch_sub(&g_bytes, cost);
    return NULL;
}

void ipc_msg_free(struct ipc_msg *m)
{
    if (!m)
        return;
    atomic_fetch_sub(&g_bytes, sizeof(*m) + m->size);
    free(m);
}

static void queue_destroy(struct ipc_object *o)
{
    struct queue *q = queue_of(o);

    while (!list_empty(&q->messages)) {
        struct ipc_msg *m = list_first_entry(&q->messages, struct ipc_msg, link);
        list_del(&m->link);
        atomic_fetch_sub(&g_messages, 1);
        ipc_msg_free(m);
    }
    free(q);
}

sysret_t ipc_msgget(struct task *t, int32_t key, int32_t flags)
{
    bool used;
    sysret_t r = ipc_open(&g_queues, t, key, flags, NULL, 0, NULL, &used);

    if (r != -EAGAIN)
        return r;
    struct queue *q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    ipc_object_init(&q->o, t, key, flags);
    wait_queue_init(&q->wait);
    list_init(&q->messages);
    q->bytes_max = IPC_MSG_QUEUE_BYTES;
    q->ctime = ipc_now_s();
    r = ipc_open(&g_queues, t, key, flags, NULL, 0, &q->o, &used);
    if (!used)
        ipc_object_put(&g_queues, &q->o);
    return r;
}

/* --- waiting --- */

static void queue_put(void *o)
{
    ipc_object_put(&g_queues, o);
}

/* A reference. A call that is run again and finds the queue gone was waiting on it: EIDRM. */
static struct queue *queue_get(struct call *c, int32_t id, uint32_t want)
{
    spin_lock(&g_queues.lock);
    struct ipc_object *o = ipc_find_locked(&g_queues, id);
    int err = IS_ERR(o) ? PTR_ERR(o) : ipc_permission(o, c->task, want);
    if (!err)
        refcount_get(&o->ref);
    spin_unlock(&g_queues.lock);
    if (IS_ERR(o) && c->started)
        err = -EIDRM;
    return err ? ERR_PTR(err) : queue_of(o);
}

/* Arms @q; the caller looks once more and then returns call_wait_armed()'s answer. */
static int queue_arm(struct call *c, struct queue *q, uint32_t mask)
{
    refcount_get(&q->o.ref);
    return call_arm_ref(c, &q->wait, mask, &q->o, queue_put);
}

static sysret_t queue_wait(struct call *c)
{
    sysret_t r = call_wait_armed(c);

    return r == -ERESTARTSYS ? -EINTR : r;
}

/* --- msgsnd --- */

static int send_locked(struct queue *q, struct task *t, struct ipc_msg *m)
{
    if (q->o.removed)
        return -EIDRM;
    if (m->size + q->bytes > q->bytes_max || q->count + 1 > q->bytes_max)
        return -EAGAIN;
    list_add_tail(&m->link, &q->messages);
    q->bytes += m->size;
    q->count++;
    q->lspid = t->process->pid;
    q->stime = ipc_now_s();
    atomic_fetch_add(&g_messages, 1);
    return 0;
}

static int send_try(struct queue *q, struct task *t, struct ipc_msg *m)
{
    spin_lock(&g_queues.lock);
    int r = send_locked(q, t, m);
    spin_unlock(&g_queues.lock);
    if (!r)
        wake_all(&q->wait, POLLIN);
    return r;
}

sysret_t ipc_msgsnd(struct call *c, int32_t id, struct ipc_msg *m, int32_t flags)
{
    struct queue *q = queue_get(c, id, 0222);

    if (IS_ERR(q))
        return PTR_ERR(q);
    sysret_t r = send_try(q, c->task, m);
    if (r == -EAGAIN && !(flags & IPC_NOWAIT)) {
        r = queue_arm(c, q, POLLOUT);
        if (!r)
            r = send_try(q, c->task, m);
        if (r == -EAGAIN)
            r = queue_wait(c);
    }
    ipc_object_put(&g_queues, &q->o);
    return r;
}

/* --- msgrcv --- */

static bool type_fits(const struct ipc_msg *m, int64_t type, int32_t flags)
{
    if (!type)
        return true;
    if (type > 0)
        return (m->type == type) != !!(flags & MSG_EXCEPT);
    return m->type <= (type == INT64_MIN ? INT64_MAX : -type);
}

/* Of a negative type, the first of the lowest. */
static struct ipc_msg *message_find_locked(struct queue *q, int64_t type, int32_t flags)
{
    struct ipc_msg *m, *found = NULL;

    list_for_each_entry (m, &q->messages, link) {
        if (!type_fits(m, type, flags))
            continue;
        if (type >= 0)
            return m;
        if (!found || m->type < found->type)
            found = m;
    }
    return found;
}

static int receive_locked(struct queue *q, struct task *t, size_t size, int64_t type, int32_t flags,
                          struct ipc_msg **ret)
{
    if (q->o.removed)
        return -EIDRM;
    struct ipc_msg *m = message_find_locked(q, type, flags);
    if (!m)
        return -ENOMSG;
    if (m->size > size && !(flags & MSG_NOERROR))
        return -E2BIG;
    list_del(&m->link);
    q->bytes -= m->size;
    q->count--;
    q->lrpid = t->process->pid;
    q->rtime = ipc_now_s();
    atomic_fetch_sub(&g_messages, 1);
    *ret = m;
    return 0;
}

static int receive_try(struct queue *q, struct task *t, size_t size, int64_t type, int32_t flags,
                       struct ipc_msg **ret)
{
    spin_lock(&g_queues.lock);
    int r = receive_locked(q, t, size, type, flags, ret);
    spin_unlock(&g_queues.lock);
    if (!r)
        wake_all(&q->wait, POLLOUT);
    return r;
}

sysret_t ipc_msgrcv(struct call *c, int32_t id, size_t size, int64_t type, int32_t flags,
                    struct ipc_msg **ret_msg)
{
    struct queue *q = queue_get(c, id, 0444);

    if (IS_ERR(q))
        return PTR_ERR(q);
    sysret_t r = receive_try(q, c->task, size, type, flags, ret_msg);
    if (r == -ENOMSG && !(flags & IPC_NOWAIT)) {
        r = queue_arm(c, q, POLLIN);
        if (!r)
            r = receive_try(q, c->task, size, type, flags, ret_msg);
        if (r == -ENOMSG)
            r = queue_wait(c);
    }
    ipc_object_put(&g_queues, &q->o);
    return r;
}

/* --- msgctl --- */

static void queue_stat_locked(struct queue *q, struct msqid_ds *d)
{
    memset(d, 0, sizeof(*d));
    ipc_perm_fill(&q->o, &d->msg_perm);
    d->msg_stime = q->stime;
    d->msg_rtime = q->rtime;
    d->msg_ctime = q->ctime;
    d->__msg_cbytes = q->bytes;
    d->msg_qnum = q->count;
    d->msg_qbytes = q->bytes_max;
    d->msg_lspid = q->lspid;
    d->msg_lrpid = q->lrpid;
}

sysret_t ipc_msg_stat(struct task *t, int32_t id, int32_t cmd, struct msqid_ds *d)
{
    sysret_t r;

    spin_lock(&g_queues.lock);
    struct ipc_object *o =
        ipc_find_stat_locked(&g_queues, t, id, cmd != IPC_STAT, cmd == MSG_STAT_ANY);
    if (IS_ERR(o)) {
        r = PTR_ERR(o);
    } else {
        queue_stat_locked(queue_of(o), d);
        r = cmd == IPC_STAT ? 0 : o->id;
    }
    spin_unlock(&g_queues.lock);
    return r;
}

int ipc_msg_set(struct task *t, int32_t id, const struct msqid_ds *d)
{
    struct queue *q = NULL;

    spin_lock(&g_queues.lock);
    struct ipc_object *o = ipc_find_locked(&g_queues, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ipc_owner(o, t);
    if (!r && d->msg_qbytes > IPC_MSG_QUEUE_BYTES && !cred_capable(t->cred, CAP_SYS_RESOURCE))
        r = -EPERM;
    if (!r) {
        q = queue_of(o);
        ipc_perm_set(o, &d->msg_perm);
        q->bytes_max = d->msg_qbytes;
        q->ctime = ipc_now_s();
        refcount_get(&o->ref);
    }
    spin_unlock(&g_queues.lock);
    if (r)
        return r;
    wake_all(&q->wait, 0); /* permission or room may have changed */
    ipc_object_put(&g_queues, &q->o);
    return 0;
}

int ipc_msg_remove(struct task *t, int32_t id)
{
    spin_lock(&g_queues.lock);
    struct ipc_object *o = ipc_find_locked(&g_queues, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ipc_owner(o, t);
    if (!r)
        ipc_take_out_locked(&g_queues, o);
    spin_unlock(&g_queues.lock);
    if (r)
        return r;
    wake_all(&queue_of(o)->wait, 0);
    ipc_object_put(&g_queues, o);
    return 0;
}

int32_t ipc_msg_info(uint32_t *ret_queues, uint32_t *ret_messages, uint64_t *ret_bytes)
{
    spin_lock(&g_queues.lock);
    *ret_queues = g_queues.used;
    *ret_messages = atomic_load(&g_messages);
    *ret_bytes = atomic_load(&g_bytes);
    int32_t highest = ipc_highest_locked(&g_queues);
    spin_unlock(&g_queues.lock);
    return highest;
}
