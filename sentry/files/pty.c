/* SPDX-License-Identifier: Apache-2.0
 * pty.c - pseudo terminals: pairs, their numbers, the files of both sides (pty(7), pts(4)).
 *
 * Opening ptmx makes a pair with a number; the slave is opened by that number (fs/devpts.c) until
 * the master closes, which hangs the slave up: reads give 0, writes -EIO. When the last slave
 * closes, the master reads what is left and then -EIO, until a slave is opened again.
 *
 * A pair lives as long as a file of it. It is listed while its master is open, so a listed pair has
 * a reference. Guests give bytes and lengths; TTYS_MAX bounds what all pairs may hold (30 KiB each).
 *
 * Locks: g_pairs.lock (RANK_OBJECT, never with a pair's), a pair's fiber mutexes (RANK_FILE) around
 * copies, its spin lock (RANK_OBJECT). */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include <vfs/vfs.h>

#include "tty.h"

#define PTS_MAJOR 136
#define TTY_GROUP 5 /* as distributions mount devpts */

static struct {
    struct spin lock;
    struct tty *used[PTYS_MAX]; /* numbers that exist */
    bool listed[PTYS_MAX];      /* and can be opened */
} g_pairs = {.lock = SPIN_INIT(RANK_OBJECT)};

struct tty *tty_get(struct tty *t)
{
    refcount_get(&t->ref);
    return t;
}

void tty_put(struct tty *t)
{
    if (!refcount_put(&t->ref))
        return;
    spin_lock(&g_pairs.lock);
    g_pairs.used[t->index] = NULL;
    spin_unlock(&g_pairs.lock);
    free(t);
}

void tty_unlist(struct tty *t)
{
    spin_lock(&g_pairs.lock);
    g_pairs.listed[t->index] = false;
    spin_unlock(&g_pairs.lock);
}

void tty_effects_do(struct tty *t, struct tty_effects *e)
{
    if (e->wake_slave)
        wake_all(&t->slave_wait, e->wake_slave);
    if (e->wake_master)
        wake_all(&t->master_wait, e->wake_master);
    for (int signo = 1; e->signals; signo++) {
        if (e->signals & SIGBIT(signo))
            tty_job_signal(&t->job, signo);
        e->signals &= ~SIGBIT(signo);
    }
    *e = (struct tty_effects){0};
}

/* --- opening --- */

static struct tty *pair_find(int32_t index)
{
    struct tty *t = NULL;

    if (index < 0 || index >= PTYS_MAX)
        return NULL;
    spin_lock(&g_pairs.lock);
    if (g_pairs.listed[index])
        t = tty_get(g_pairs.used[index]);
    spin_unlock(&g_pairs.lock);
    return t;
}

int pty_slave_open(int32_t index, struct file *f)
{
    struct tty *t = pair_find(index);
    struct task *task = task_current();

    if (!t)
        return -EIO;
    int r = tty_slave_attach(t, f);
    if (!r && task && !(f->flags & O_NOCTTY))
        (void)tty_job_take(&t->job, task, false);
    return r;
}

static void pair_job_get(struct tty_job *j)
{
    (void)tty_get(container_of(j, struct tty, job));
}

static int pair_job_open(struct tty_job *j, struct file *f)
{
    return tty_slave_attach(container_of(j, struct tty, job), f);
}

static void pair_init(struct tty *t, const struct task *task)
{
    int64_t now = clock_now_ns(CLOCK_REALTIME);

    refcount_init(&t->ref);
    spin_init(&t->lock, RANK_OBJECT);
    fmutex_init(&t->master_read, RANK_FILE);
    fmutex_init(&t->master_write, RANK_FILE);
    fmutex_init(&t->slave_read, RANK_FILE);
    fmutex_init(&t->slave_write, RANK_FILE);
    wait_queue_init(&t->master_wait);
    wait_queue_init(&t->slave_wait);
    t->job.get = pair_job_get;
    t->job.open = pair_job_open;
    t->locked = t->master_open = true;
    t->uid = task ? task->cred->fsuid : 0;
    t->gid = TTY_GROUP;
    t->mode = 0620;
    t->made = (struct timespec){now / 1000000000, now % 1000000000};
    tty_settings_default(t);
}

/* A number for the pair; it can be opened from now on. -ENOSPC. */
static int pair_list(struct tty *t)
{
    int r = -ENOSPC;

    spin_lock(&g_pairs.lock);
    for (int i = 0; i < PTYS_MAX && r; i++) {
        if (g_pairs.used[i])
            continue;
        t->index = i;
        t->job.rdev = (uint32_t)makedev(PTS_MAJOR, i);
        g_pairs.used[i] = t;
        g_pairs.listed[i] = true;
        r = 0;
    }
    spin_unlock(&g_pairs.lock);
    return r;
}

int pty_master_open(struct file *f)
{
    struct tty *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    pair_init(t, task_current());
    int r = pair_list(t);
    if (r) {
        free(t);
        return r;
    }
    tty_job_add(&t->job);
    f->ops = &tty_master_ops;
    f->private_data = t;
    return 0;
}

int32_t pty_next(int32_t after)
{
    int32_t found = -1;

    spin_lock(&g_pairs.lock);
    for (int32_t i = MAX(after + 1, 0); i < PTYS_MAX && found < 0; i++)
        if (g_pairs.listed[i])
            found = i;
    spin_unlock(&g_pairs.lock);
    return found;
}

int pty_node(int32_t index, const struct setattr *set, struct attr *ret)
{
    struct tty *t = pair_find(index);

    if (!t)
        return -ENOENT;
    spin_lock(&t->lock);
    if (set && (set->valid & ATTR_UID))
        t->uid = set->uid;
    if (set && (set->valid & ATTR_GID))
        t->gid = set->gid;
    if (set && (set->valid & ATTR_MODE))
        t->mode = set->mode & 07777;
    *ret = (struct attr){.mode = S_IFCHR | t->mode,
                         .nlink = 1,
                         .uid = t->uid,
                         .gid = t->gid,
                         .rdev = t->job.rdev,
                         .blksize = 1024};
    ret->atime = ret->mtime = ret->ctime = ret->btime = t->made;
    spin_unlock(&t->lock);
    tty_put(t);
    return 0;
}
