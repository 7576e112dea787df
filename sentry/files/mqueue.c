/* SPDX-License-Identifier: Apache-2.0
 * mqueue.c - POSIX message queues (mq_overview(7)).
 *
 * A queue has a name in one flat table, and lives as long as that or an open file has it. Messages
 * stand in order of priority, then of arrival. Who finds the queue full or empty waits on its wait
 * queue and tries again. One process at a time may ask to be told when a message comes to an empty
 * queue that nobody waits for.
 *
 * Guests choose names, sizes and permissions; how many queues, messages and bytes is bounded, as on
 * Linux (files.h), and all queues together by MQ_BYTES_MAX.
 *
 * Locks: g_lock (RANK_OBJECT) for the table and all queues; copies are made before and after.
 * Left out: the mqueue file system; SIGEV_THREAD (it needs a netlink socket: -EINVAL). */
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/capability.h>

#include <kernel/task.h>
#include <vfs/vfs.h>

#include "files_private.h"

struct mq_message {
    struct list_head link;
    uint32_t priority;
    size_t size;
    char data[];
};

struct mq {
    struct refcount ref;   /* files, the table */
    struct list_head link; /* g_queues; alone: unlinked */
    char name[MQ_NAME_MAX + 1];
    uint32_t uid, gid, mode;
    /* --- g_lock --- */
    struct list_head messages; /* highest first */
    int64_t count, bytes, message_max, size_max;
    uint32_t receivers;     /* that wait */
    struct process *notify; /* reference; NULL: nobody */
    struct sigevent event;

    struct wait_queue wait;
};

static struct spin g_lock = SPIN_INIT(RANK_OBJECT);
static struct list_head g_queues; /* g_lock; lazily initialised */
static uint32_t g_count;          /* g_lock */
static _Atomic(int64_t) g_bytes;  /* of all messages, as they could be: message_max * size_max */

static const struct file_ops mqueue_ops;

static int64_t mqueue_cost(const struct mq *q)
{
    return q->message_max * (q->size_max + (int64_t)sizeof(struct mq_message));
}

static void mqueue_put(struct mq *q)
{
    if (!q || !refcount_put(&q->ref))
        return;
    while (!list_empty(&q->messages)) {
        struct mq_message *m = list_first_entry(&q->messages, struct mq_message, link);
        list_del(&m->link);
        free(m);
    }
    atomic_fetch_sub(&g_bytes, mqueue_cost(q));
    process_put(q->notify);
    free(q);
}

static struct mq *mqueue_find_locked(const char *name)
{
    struct mq *q;

    if (!g_queues.next)
        list_init(&g_queues);
    list_for_each_entry (q, &g_queues, link) {
        if (strcmp(q->name, name) == 0)
            return q;
    }
    return NULL;
}

/* --- open, unlink --- */

static int attr_check(const struct mq_attr *a, const struct cred *c)
{
    bool privileged = cred_capable(c, CAP_SYS_RESOURCE);

    if (a->mq_maxmsg <= 0 || a->mq_msgsize <= 0)
        return -EINVAL;
    if (a->mq_maxmsg > (privileged ? MQ_MESSAGES_HARD : MQ_MESSAGES_MAX) ||
        a->mq_msgsize > (privileged ? MQ_SIZE_HARD : MQ_SIZE_MAX))
        return -EINVAL;
    return 0;
}

static struct mq *mqueue_new(struct task *t, const char *name, uint32_t mode,
                             const struct mq_attr *a)
{
    struct mq_attr usual = {.mq_maxmsg = MQ_MESSAGES_MAX, .mq_msgsize = MQ_SIZE_MAX};
    int err = attr_check(a ? a : &usual, t->cred);

    if (err)
        return ERR_PTR(err);
    struct mq *q = calloc(1, sizeof(*q));
    if (!q)
        return ERR_PTR(-ENOMEM);
    refcount_init(&q->ref);
    list_init(&q->link);
    list_init(&q->messages);
    wait_queue_init(&q->wait);
    strcpy(q->name, name);
    q->uid = t->cred->fsuid;
    q->gid = t->cred->fsgid;
    q->mode = mode & 0777 & ~t->fs->umask;
    q->message_max = (a ? a : &usual)->mq_maxmsg;
    q->size_max = (a ? a : &usual)->mq_msgsize;
    int64_t cost = mqueue_cost(q);
    bool beyond = (uint64_t)cost > t->process->rlimits[RLIMIT_MSGQUEUE].rlim_cur &&
                  !cred_capable(t->cred, CAP_SYS_RESOURCE);
    if (atomic_fetch_add(&g_bytes, cost) + cost > MQ_BYTES_MAX || beyond) {
        mqueue_put(q);
        return ERR_PTR(-EMFILE);
    }
    return q;
}

static int mqueue_permission(const struct mq *q, const struct cred *c, uint32_t oflag)
{
    static const uint32_t wanted[] = {4, 2, 6, 0};
    uint32_t want = wanted[oflag & O_ACCMODE], granted = q->mode;

    if ((oflag & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    if (c->fsuid == q->uid)
        granted >>= 6;
    else if (cred_in_group(c, q->gid))
        granted >>= 3;
    return (want & ~granted & 7) && !cred_capable(c, CAP_DAC_OVERRIDE) ? -EACCES : 0;
}

/* The queue of that name, a reference, or @fresh under it (then *ret_used). */
static struct mq *mqueue_take(struct task *t, const char *name, uint32_t oflag, struct mq *fresh,
                              bool *ret_used)
{
    int err = 0;

    spin_lock(&g_lock);
    struct mq *q = mqueue_find_locked(name);
    if (q) {
        err =
            (oflag & O_CREAT) && (oflag & O_EXCL) ? -EEXIST : mqueue_permission(q, t->cred, oflag);
    } else if (!(oflag & O_CREAT)) {
        err = -ENOENT;
    } else if (fresh && g_count >= MQ_QUEUES_MAX && !cred_capable(t->cred, CAP_SYS_RESOURCE)) {
        err = -ENOSPC;
    } else if (fresh && g_count >= MQ_QUEUES_HARD) {
        err = -ENOSPC;
    } else if (fresh) {
        q = fresh;
        *ret_used = true;
        list_add(&q->link, &g_queues);
        g_count++;
    }
    if (!err && q)
        refcount_get(&q->ref);
    spin_unlock(&g_lock);
    return err ? ERR_PTR(err) : q;
}

struct file *mqueue_open_file(struct task *t, const char *name, uint32_t oflag, uint32_t mode,
                              const struct mq_attr *attr)
{
    bool used = false;
    struct mq *fresh = NULL, *q = mqueue_take(t, name, oflag, NULL, &used);

    if (!q) {
        fresh = mqueue_new(t, name, mode, attr);
        if (IS_ERR(fresh))
            return ERR_PTR(PTR_ERR(fresh));
        q = mqueue_take(t, name, oflag, fresh, &used);
        if (!used)
            mqueue_put(fresh);
    }
    if (IS_ERR(q))
        return ERR_PTR(PTR_ERR(q));
    struct file *f = file_new(&mqueue_ops, q, oflag & (uint32_t)(O_ACCMODE | O_NONBLOCK));
    if (IS_ERR(f))
        mqueue_put(q);
    return f;
}

int mqueue_unlink_name(struct task *t, const char *name)
{
    int err = 0;

    spin_lock(&g_lock);
    struct mq *q = mqueue_find_locked(name);
    if (!q)
        err = -ENOENT;
    else if (t->cred->fsuid != q->uid && !cred_capable(t->cred, CAP_FOWNER))
        err = -EACCES;
    if (!err) {
        list_del(&q->link);
        g_count--;
    }
    spin_unlock(&g_lock);
    if (!err)
        mqueue_put(q);
    return err;
}

/* --- send, receive --- */

static struct mq *file_mq(const struct file *f)
{
    return f->ops == &mqueue_ops ? f->private_data : NULL;
}

/* Behind those of the same priority. */
static void message_insert(struct mq *q, struct mq_message *m)
{
    struct list_head *at = &q->messages;

    while (at->prev != &q->messages &&
           list_entry(at->prev, struct mq_message, link)->priority < m->priority)
        at = at->prev;
    list_add_tail(&m->link, at);
}

/* Who asked to be told, once: a reference with *ret_event. */
static struct process *notify_take_locked(struct mq *q, struct sigevent *ret_event)
{
    struct process *p = q->notify;

    q->notify = NULL;
    *ret_event = q->event;
    return p;
}

static void notify_send(struct process *p, const struct sigevent *e)
{
    struct task *t = task_current();
    siginfo_t si;

    if (!p)
        return;
    if (e->sigev_notify == SIGEV_SIGNAL) {
        memset(&si, 0, sizeof(si));
        si.si_signo = e->sigev_signo;
        si.si_code = SI_MESGQ;
        si.si_value = e->sigev_value;
        si.si_pid = t ? t->process->pid : 0;
        si.si_uid = t ? t->cred->uid : 0;
        (void)signal_send_process(p, e->sigev_signo, &si);
    }
    process_put(p);
}

int mqueue_send(struct file *f, const char *data, size_t size, uint32_t priority)
{
    struct mq *q = file_mq(f);
    struct process *told = NULL;
    struct sigevent event;

    if (!q || (f->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    if ((int64_t)size > q->size_max)
        return -EMSGSIZE;
    struct mq_message *m = malloc(sizeof(*m) + size);
    if (!m)
        return -ENOMEM;
    list_init(&m->link);
    m->priority = priority;
    m->size = size;
    memcpy(m->data, data, size);
    spin_lock(&g_lock);
    bool full = q->count >= q->message_max;
    if (!full) {
        if (!q->count && !q->receivers)
            told = notify_take_locked(q, &event);
        message_insert(q, m);
        q->count++;
        q->bytes += (int64_t)size;
    }
    spin_unlock(&g_lock);
    if (full) {
        free(m);
        return -EAGAIN;
    }
    wake_all(&q->wait, POLLIN | POLLRDNORM);
    notify_send(told, &event);
    return 0;
}

ssize_t mqueue_receive_message(struct file *f, size_t room, char **ret_data, uint32_t *ret_priority)
{
    struct mq *q = file_mq(f);
    struct mq_message *m = NULL;

    if (!q || (f->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    if ((int64_t)MIN(room, (size_t)INT64_MAX) < q->size_max)
        return -EMSGSIZE;
    spin_lock(&g_lock);
    if (q->count) {
        m = list_first_entry(&q->messages, struct mq_message, link);
        list_del(&m->link);
        q->count--;
        q->bytes -= (int64_t)m->size;
    }
    spin_unlock(&g_lock);
    if (!m)
        return -EAGAIN;
    wake_all(&q->wait, POLLOUT | POLLWRNORM);
    size_t size = m->size;
    *ret_priority = m->priority;
    memmove(m, m->data, size); /* the caller's buffer begins where the message did */
    *ret_data = (char *)m;
    return (ssize_t)size;
}

void mqueue_receiver_waits(struct file *f, bool begins)
{
    struct mq *q = file_mq(f);

    spin_lock(&g_lock);
    q->receivers += begins ? 1u : (uint32_t)-1;
    spin_unlock(&g_lock);
}

int mqueue_notify_set(struct task *t, struct file *f, const struct sigevent *e)
{
    struct mq *q = file_mq(f);
    struct process *old = NULL;
    int err = 0;

    if (!q)
        return -EBADF;
    spin_lock(&g_lock);
    if (!e) {
        if (q->notify == t->process) {
            old = q->notify;
            q->notify = NULL;
        }
    } else if (q->notify) {
        err = -EBUSY;
    } else {
        q->notify = process_get(t->process);
        q->event = *e;
    }
    spin_unlock(&g_lock);
    process_put(old);
    return err;
}

int mqueue_attr(struct file *f, const struct mq_attr *new, struct mq_attr *ret_old)
{
    struct mq *q = file_mq(f);

    if (!q)
        return -EBADF;
    memset(ret_old, 0, sizeof(*ret_old));
    spin_lock(&g_lock);
    ret_old->mq_flags = f->flags & O_NONBLOCK;
    ret_old->mq_maxmsg = q->message_max;
    ret_old->mq_msgsize = q->size_max;
    ret_old->mq_curmsgs = q->count;
    if (new)
        f->flags = (f->flags & ~(uint32_t)O_NONBLOCK) | ((uint32_t) new->mq_flags &O_NONBLOCK);
    spin_unlock(&g_lock);
    return 0;
}

/* --- as a file --- */

static ssize_t mqueue_read(struct file *f, struct uio *u, int64_t *pos, unsigned flags UNUSED)
{
    struct mq *q = f->private_data;
    char text[128];

    spin_lock(&g_lock);
    int n = snprintf(text, sizeof(text), "QSIZE:%-10lld NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n",
                     (long long)q->bytes, q->notify ? q->event.sigev_notify : 0,
                     q->notify && q->event.sigev_notify == SIGEV_SIGNAL ? q->event.sigev_signo : 0,
                     q->notify ? q->notify->pid : 0);
    spin_unlock(&g_lock);
    if (*pos >= n)
        return 0;
    ssize_t r = uio_copy_to_user(u, text + *pos, (size_t)(n - *pos));
    if (r > 0)
        *pos += r;
    return r;
}

static int64_t mqueue_seek(struct file *f, int64_t off, int whence)
{
    return file_seek_size(f, off, whence, 0);
}

static uint32_t mqueue_readiness(struct file *f)
{
    struct mq *q = f->private_data;
    uint32_t ready = 0;

    spin_lock(&g_lock);
    if (q->count)
        ready |= POLLIN | POLLRDNORM;
    if (q->count < q->message_max)
        ready |= POLLOUT | POLLWRNORM;
    spin_unlock(&g_lock);
    return ready;
}

static struct wait_queue *mqueue_wait_queue(struct file *f)
{
    return &((struct mq *)f->private_data)->wait;
}

static int mqueue_flush(struct file *f, struct task *t)
{
    return mqueue_notify_set(t, f, NULL); /* a process that closes it is not told any more */
}

static int mqueue_getattr(struct file *f, struct stat *ret)
{
    struct mq *q = f->private_data;

    files_anon_stat(f, S_IFREG | q->mode, ret);
    ret->st_uid = q->uid;
    ret->st_gid = q->gid;
    ret->st_size = 80;
    return 0;
}

static void mqueue_release(struct file *f)
{
    mqueue_put(f->private_data);
}

static const struct file_ops mqueue_ops = {
    .name = "mqueue",
    .read = mqueue_read,
    .seek = mqueue_seek,
    .readiness = mqueue_readiness,
    .wait_queue = mqueue_wait_queue,
    .flush = mqueue_flush,
    .getattr = mqueue_getattr,
    .release = mqueue_release,
};
