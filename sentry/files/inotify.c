/* SPDX-License-Identifier: Apache-2.0
 * inotify.c - watches on files and directories (inotify(7)).
 *
 * A watch hangs in two places: in its instance, by number, and in a table by inode, where the vfs's
 * notifications find it. It holds a reference to the path, which keeps the inode the one that
 * every walk finds. Events queue on the instance; one equal to the last queued is dropped, beyond
 * INOTIFY_EVENTS_MAX one IN_Q_OVERFLOW stands for the rest.
 *
 * Guests choose masks and paths; permission to read is checked by the caller. One lock for all
 * (g_lock, RANK_OBJECT): watches are few and events rare beside the operations they tell of.
 * References are dropped outside it.
 *
 * Left out: IN_UNMOUNT; IN_DELETE_SELF comes when the last name goes, also if the file is open;
 * IN_EXCL_UNLINK is accepted (entries without a name are never told to the directory). */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <base/checked.h>
#include <kernel/task.h>
#include <vfs/notify.h>

#include "files_private.h"

#define BUCKETS 256u
#define MASK_ALWAYS (IN_IGNORED | IN_Q_OVERFLOW | IN_UNMOUNT)

/* struct inotify_event without its flexible end. */
struct event_head {
    int32_t wd;
    uint32_t mask, cookie, len;
};
_Static_assert(sizeof(struct event_head) == sizeof(struct inotify_event), "ABI");

struct event {
    struct list_head link;
    struct event_head e; /* len: of the name with its padding */
    size_t name_len;
    char name[];
};

struct inotify {
    struct list_head watches; /* struct watch.in_instance */
    struct list_head events;
    uint32_t event_count, event_bytes;
    int32_t next_wd;
    bool overflown;
    struct wait_queue wait;
};

struct watch {
    struct list_head in_instance, in_bucket;
    struct inotify *instance;
    struct path path; /* reference */
    uint32_t mask;    /* IN_ONESHOT and IN_EXCL_UNLINK included */
    int32_t wd;
};

static struct spin g_lock = SPIN_INIT(RANK_OBJECT);
static struct list_head g_buckets[BUCKETS]; /* g_lock; initialised with the first instance */
static bool g_ready;
static uint32_t g_instances;

static const struct file_ops inotify_ops;

static struct list_head *bucket_of(const struct inode *i)
{
    return &g_buckets[((uintptr_t)i >> 6) % BUCKETS];
}

static struct inode *watch_inode(const struct watch *w)
{
    return path_inode(&w->path);
}

/* --- events; g_lock held --- */

static bool event_same(const struct event *e, int32_t wd, uint32_t mask, uint32_t cookie,
                       const char *name, size_t len)
{
    return e->e.wd == wd && e->e.mask == mask && e->e.cookie == cookie && e->name_len == len &&
           (!len || memcmp(e->name, name, len) == 0);
}

static void event_add_locked(struct inotify *n, int32_t wd, uint32_t mask, uint32_t cookie,
                             const char *name, size_t len)
{
    if (!list_empty(&n->events) &&
        event_same(list_last_entry(&n->events, struct event, link), wd, mask, cookie, name, len))
        return;
    if (n->event_count >= INOTIFY_EVENTS_MAX) {
        if (n->overflown)
            return;
        n->overflown = true;
        wd = -1;
        mask = IN_Q_OVERFLOW;
        cookie = 0;
        len = 0;
    }
    size_t padded = len ? align_up(len + 1, sizeof(struct inotify_event)) : 0;
    struct event *e = calloc(1, sizeof(*e) + padded);
    if (!e)
        return;
    e->e = (struct event_head){.wd = wd, .mask = mask, .cookie = cookie, .len = (uint32_t)padded};
    e->name_len = len;
    if (len)
        memcpy(e->name, name, len);
    list_add_tail(&e->link, &n->events);
    n->event_count++;
    n->event_bytes += (uint32_t)(sizeof(struct inotify_event) + padded);
    wake_one(&n->wait, POLLIN | POLLRDNORM);
}

/* --- watches --- */

/* Out of both lists, onto @gone, whose references the caller drops without the lock. */
static void watch_remove_locked(struct watch *w, struct list_head *gone)
{
    list_del(&w->in_bucket);
    list_del(&w->in_instance);
    list_add(&w->in_instance, gone);
    atomic_fetch_sub_explicit(&g_vfs_watches, 1, memory_order_relaxed);
}

static void watches_free(struct list_head *gone)
{
    struct watch *w, *next;

    list_for_each_entry_safe (w, next, gone, in_instance) {
        list_del(&w->in_instance);
        path_put(&w->path);
        free(w);
    }
}

static void inotify_tell(struct inode *i, uint32_t mask, uint32_t cookie, const char *name,
                         size_t len)
{
    struct list_head gone = LIST_HEAD_INIT(gone);
    struct list_head *bucket = bucket_of(i);
    struct watch *w, *next;
    bool last = !name && (mask & IN_DELETE_SELF);

    spin_lock(&g_lock);
    list_for_each_entry_safe (w, next, bucket, in_bucket) {
        if (watch_inode(w) != i)
            continue;
        bool wanted = (mask & w->mask & IN_ALL_EVENTS) != 0;
        if (wanted) /* the end of the file itself is told without IN_ISDIR */
            event_add_locked(w->instance, w->wd, last ? IN_DELETE_SELF : mask, cookie, name, len);
        if (last || (wanted && (w->mask & IN_ONESHOT))) {
            event_add_locked(w->instance, w->wd, IN_IGNORED, 0, NULL, 0);
            watch_remove_locked(w, &gone);
        }
    }
    spin_unlock(&g_lock);
    watches_free(&gone);
}

static struct watch *watch_find_locked(struct inotify *n, const struct inode *i, int32_t wd)
{
    struct watch *w;

    list_for_each_entry (w, &n->watches, in_instance) {
        if (i ? watch_inode(w) == i : w->wd == wd)
            return w;
    }
    return NULL;
}

static int watch_change_locked(struct watch *w, uint32_t mask)
{
    if (mask & IN_MASK_CREATE)
        return -EEXIST;
    uint32_t kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
    w->mask = mask & IN_MASK_ADD ? w->mask | kept : kept;
    return w->wd;
}

int inotify_watch(struct file *f, const struct path *p, uint32_t mask)
{
    struct inode *i = path_inode(p);
    struct inotify *n = f->private_data;
    struct watch *fresh, *old;

    if (f->ops != &inotify_ops)
        return -EINVAL;
    fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return -ENOMEM;
    path_get(p);
    fresh->path = *p;
    fresh->instance = n;
    fresh->mask = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
    spin_lock(&g_lock);
    old = watch_find_locked(n, i, 0);
    int r = -ENOSPC;
    if (old) {
        r = watch_change_locked(old, mask);
    } else if (atomic_load(&g_vfs_watches) < INOTIFY_WATCHES_MAX && n->next_wd < INT32_MAX) {
        r = fresh->wd = n->next_wd++;
        list_add_tail(&fresh->in_instance, &n->watches);
        list_add_tail(&fresh->in_bucket, bucket_of(i));
        atomic_fetch_add(&g_vfs_watches, 1);
        fresh = NULL;
    }
    spin_unlock(&g_lock);
    if (fresh) {
        path_put(&fresh->path);
        free(fresh);
    }
    return r;
}

int inotify_unwatch(struct file *f, int32_t wd)
{
    struct list_head gone = LIST_HEAD_INIT(gone);
    struct inotify *n = f->private_data;

    if (f->ops != &inotify_ops)
        return -EINVAL;
    spin_lock(&g_lock);
    struct watch *w = watch_find_locked(n, NULL, wd);
    if (w) {
        event_add_locked(n, wd, IN_IGNORED, 0, NULL, 0);
        watch_remove_locked(w, &gone);
    }
    spin_unlock(&g_lock);
    watches_free(&gone);
    return w ? 0 : -EINVAL;
}

/* --- the file --- */

/* The first event if it fits into @room: 1, off the queue; 0: there is none; -EINVAL: too long. */
static int event_take(struct inotify *n, size_t room, struct event **ret)
{
    int r = 0;

    spin_lock(&g_lock);
    if (!list_empty(&n->events)) {
        struct event *e = list_first_entry(&n->events, struct event, link);
        size_t size = sizeof(e->e) + e->e.len;
        r = -EINVAL;
        if (size <= room) {
            list_del(&e->link);
            n->event_count--;
            n->event_bytes -= (uint32_t)size;
            if (e->e.mask & IN_Q_OVERFLOW)
                n->overflown = false;
            *ret = e;
            r = 1;
        }
    }
    spin_unlock(&g_lock);
    return r;
}

static ssize_t inotify_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                            unsigned flags UNUSED)
{
    struct inotify *n = f->private_data;
    ssize_t done = 0, r = -EAGAIN;
    struct event *e;

    for (;;) {
        int got = event_take(n, u->left, &e);
        if (got <= 0) {
            r = got ? got : -EAGAIN;
            break;
        }
        r = uio_copy_to_user(u, &e->e, sizeof(e->e));
        if (r >= 0 && e->e.len)
            r = uio_copy_to_user(u, e->name, e->e.len);
        size_t size = sizeof(e->e) + e->e.len;
        free(e);
        if (r < 0)
            break;
        done += (ssize_t)size;
    }
    return done ? done : r;
}

static uint32_t inotify_readiness(struct file *f)
{
    struct inotify *n = f->private_data;

    spin_lock(&g_lock);
    bool any = !list_empty(&n->events);
    spin_unlock(&g_lock);
    return any ? POLLIN | POLLRDNORM : 0;
}

static struct wait_queue *inotify_wait_queue(struct file *f)
{
    return &((struct inotify *)f->private_data)->wait;
}

static sysret_t inotify_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct inotify *n = f->private_data;

    if (cmd != FIONREAD)
        return -ENOTTY;
    spin_lock(&g_lock);
    int32_t held = (int32_t)n->event_bytes;
    spin_unlock(&g_lock);
    return copy_out_obj(t->mm, UADDR(arg), &held);
}

static int inotify_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, 0600, ret);
    return 0;
}

static void inotify_release(struct file *f)
{
    struct list_head gone = LIST_HEAD_INIT(gone);
    struct inotify *n = f->private_data;
    struct watch *w, *next_w;
    struct event *e, *next_e;

    spin_lock(&g_lock);
    list_for_each_entry_safe (w, next_w, &n->watches, in_instance)
        watch_remove_locked(w, &gone);
    g_instances--;
    spin_unlock(&g_lock);
    watches_free(&gone);
    list_for_each_entry_safe (e, next_e, &n->events, link)
        free(e);
    free(n);
}

static const struct file_ops inotify_ops = {
    .name = "anon_inode:inotify",
    .read = inotify_read,
    .readiness = inotify_readiness,
    .wait_queue = inotify_wait_queue,
    .ioctl = inotify_ioctl,
    .getattr = inotify_getattr,
    .release = inotify_release,
};

struct file *inotify_new(uint32_t flags)
{
    struct inotify *n = calloc(1, sizeof(*n));

    if (!n)
        return ERR_PTR(-ENOMEM);
    list_init(&n->watches);
    list_init(&n->events);
    wait_queue_init(&n->wait);
    n->next_wd = 1;
    spin_lock(&g_lock);
    for (unsigned i = 0; !g_ready && i < BUCKETS; i++)
        list_init(&g_buckets[i]);
    g_ready = true;
    g_vfs_notify = inotify_tell;
    bool room = g_instances < INOTIFY_INSTANCES_MAX;
    g_instances += room;
    spin_unlock(&g_lock);
    if (!room) {
        free(n);
        return ERR_PTR(-EMFILE);
    }
    struct file *f = file_new(&inotify_ops, n, O_RDONLY | (flags & O_NONBLOCK));
    if (!IS_ERR(f))
        return f;
    spin_lock(&g_lock);
    g_instances--;
    spin_unlock(&g_lock);
    free(n);
    return f;
}
