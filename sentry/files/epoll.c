/* SPDX-License-Identifier: Apache-2.0
 * epoll.c - epoll(7): level and edge triggered, one-shot, nested.
 *
 * An item watches one (file, descriptor number) for one epoll. Its waiter sits on the file's wait
 * queue as long as the item lives; fire() only puts the item on the epoll's ready list and wakes
 * who waits for the epoll. Collecting (epoll_ready.c) takes items off the list one by one, asks the
 * file what holds now (the list is a hint), reports, and puts level-triggered items back at the end.
 *
 * An item holds no reference to its file: the file's last reference removes it (epoll_file_gone).
 * It does hold one to its epoll's memory. While a file's readiness is asked without locks the
 * file is pinned by a reference taken only if it is not already dying.
 *
 * Nesting: an epoll's level is one more than that of the epolls in it, at most EPOLL_NEST_MAX, and
 * never falls; an epoll that would be reached from itself is refused. So waking goes up a finite
 * chain of queues: the same rank nests there, always from the watched to the watcher.
 *
 * Guests choose which descriptors and how many (EPOLL_ITEMS_MAX in the sandbox).
 *
 * Locks: g_watch (RANK_OBJECT) guards all structure: hash tables, files' epitems lists, levels, and
 * covers arming and disarming, so that a file cannot go away in between. ready_lock (RANK_WAITQ,
 * inside a watched queue's lock, outside its own wait queue's) guards the ready list and what
 * fire() reads. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/hash.h>
#include <kernel/task.h>

#include "epoll.h"

#define BUCKETS_FIRST 8u
#define NEST_VISITS_MAX 1000u /* epolls looked at when one is put into another */

struct spin g_watch = SPIN_INIT(RANK_OBJECT);
static uint32_t g_item_count; /* g_watch */

static const struct file_ops epoll_ops;

static void epoll_put(struct epoll *ep)
{
    if (!refcount_put(&ep->ref))
        return;
    free(ep->buckets);
    free(ep);
}

void epitem_put(struct epitem *item)
{
    if (!refcount_put(&item->ref))
        return;
    epoll_put(item->ep);
    free(item);
}

/* --- tables (g_watch held) --- */

static struct list_head *epoll_bucket(struct epoll *ep, const struct file *f, int fd)
{
    uint64_t h = hash_u64((uint64_t)(uintptr_t)f + (uint64_t)(uint32_t)fd);

    return &ep->buckets[h & (ep->bucket_count - 1)];
}

static struct epitem *epoll_find_locked(struct epoll *ep, const struct file *f, int fd)
{
    struct epitem *item;

    list_for_each_entry (item, epoll_bucket(ep, f, fd), hash_link) {
        if (item->file == f && item->fd == fd)
            return item;
    }
    return NULL;
}

/* @fresh: a table of twice the size, used when the old one is full; ownership moves. */
static struct list_head *epoll_grow_locked(struct epoll *ep, struct list_head *fresh,
                                           uint32_t fresh_count)
{
    struct list_head *old = ep->buckets;
    uint32_t old_count = ep->bucket_count;

    if (!fresh || ep->count < old_count || fresh_count != old_count * 2)
        return fresh;
    for (uint32_t i = 0; i < fresh_count; i++)
        list_init(&fresh[i]);
    ep->buckets = fresh;
    ep->bucket_count = fresh_count;
    for (uint32_t i = 0; i < old_count; i++) {
        struct epitem *item, *next;
        list_for_each_entry_safe (item, next, &old[i], hash_link) {
            list_del(&item->hash_link);
            list_add_tail(&item->hash_link, epoll_bucket(ep, item->file, item->fd));
        }
    }
    return old;
}

static void epitem_remove_locked(struct epitem *item)
{
    struct epoll *ep = item->ep;

    waiter_disarm(&item->waiter);
    spin_lock(&ep->ready_lock);
    item->dead = true;
    epitem_unqueue_locked(item);
    spin_unlock(&ep->ready_lock);
    list_del(&item->hash_link);
    list_del(&item->file_link);
    item->file = NULL;
    ep->count--;
    g_item_count--;
}

/* --- nesting (g_watch held) --- */

struct epoll *file_epoll(const struct file *f)
{
    return f->ops == &epoll_ops ? f->private_data : NULL;
}

/* Would @ep and all that watch it stay within the limit at @level? Also finds loops: a chain of
 * watchers that meets @inner. Depth is bounded by EPOLL_NEST_MAX, breadth by @budget. */
static bool epoll_level_fits(struct epoll *ep, struct epoll *inner, uint32_t level,
                             unsigned *budget)
{
    struct epitem *item;

    if (ep == inner || level > EPOLL_NEST_MAX || !(*budget)--)
        return false;
    if (!ep->file)
        return true;
    list_for_each_entry (item, &ep->file->epitems, file_link) {
        if (!epoll_level_fits(item->ep, inner, MAX(item->ep->level, level + 1), budget))
            return false;
    }
    return true;
}

static void epoll_level_raise(struct epoll *ep, uint32_t level)
{
    struct epitem *item;

    if (ep->level >= level)
        return;
    ep->level = level;
    list_for_each_entry (item, &ep->file->epitems, file_link) {
        epoll_level_raise(item->ep, level + 1);
    }
}

static int epoll_nest_locked(struct epoll *outer, struct file *target)
{
    struct epoll *inner = file_epoll(target);

    unsigned budget = NEST_VISITS_MAX;

    if (!inner)
        return 0;
    if (!epoll_level_fits(outer, inner, MAX(outer->level, inner->level + 1), &budget))
        return -ELOOP;
    epoll_level_raise(outer, inner->level + 1);
    return 0;
}

/* --- control --- */

static int epoll_insert_locked(struct epoll *ep, struct epitem *item, struct file *target)
{
    if (!ep->file)
        return -EBADF;
    if (epoll_find_locked(ep, target, item->fd))
        return -EEXIST;
    if (g_item_count >= EPOLL_ITEMS_MAX)
        return -ENOSPC;
    int err = epoll_nest_locked(ep, target);
    if (err)
        return err;
    g_item_count++;
    ep->count++;
    item->file = target;
    refcount_get(&ep->ref);
    list_add_tail(&item->hash_link, epoll_bucket(ep, target, item->fd));
    list_add_tail(&item->file_link, &target->epitems);
    waiter_arm(&item->waiter, target->ops->wait_queue(target), 0);
    return 0;
}

static int epoll_add(struct epoll *ep, int fd, struct file *target, const struct epoll_event *event)
{
    struct epitem *item = calloc(1, sizeof(*item));
    uint32_t fresh_count = 0;

    if (!item)
        return -ENOMEM;
    refcount_init(&item->ref);
    item->ep = ep;
    item->fd = fd;
    item->events = event->events | EVENTS_ALWAYS;
    item->data = event->data.u64;
    list_init(&item->ready_link);
    waiter_init(&item->waiter, epitem_fire);
    item->waiter.exclusive = event->events & (uint32_t)EPOLLEXCLUSIVE;

    spin_lock(&g_watch);
    if (ep->count >= ep->bucket_count)
        fresh_count = ep->bucket_count * 2;
    spin_unlock(&g_watch);
    struct list_head *fresh = fresh_count ? malloc(fresh_count * sizeof(*fresh)) : NULL;

    spin_lock(&g_watch);
    fresh = epoll_grow_locked(ep, fresh, fresh_count);
    int err = epoll_insert_locked(ep, item, target);
    if (!err)
        refcount_get(&item->ref);
    spin_unlock(&g_watch);
    free(fresh);
    if (err) {
        free(item);
        return err;
    }
    if (file_readiness(target) & item->events)
        epitem_queue(item);
    epitem_put(item);
    return 0;
}

static int epoll_modify(struct epoll *ep, int fd, struct file *target,
                        const struct epoll_event *event)
{
    int err = 0;

    spin_lock(&g_watch);
    struct epitem *item = epoll_find_locked(ep, target, fd);
    if (!item) {
        err = -ENOENT;
    } else if ((item->events | event->events) & (uint32_t)EPOLLEXCLUSIVE) {
        err = -EINVAL;
    } else {
        spin_lock(&ep->ready_lock);
        item->events = event->events | EVENTS_ALWAYS;
        item->data = event->data.u64;
        spin_unlock(&ep->ready_lock);
        refcount_get(&item->ref);
    }
    spin_unlock(&g_watch);
    if (err)
        return err;
    if (file_readiness(target) & (event->events | EVENTS_ALWAYS))
        epitem_queue(item);
    epitem_put(item);
    return 0;
}

static int epoll_remove(struct epoll *ep, int fd, struct file *target)
{
    spin_lock(&g_watch);
    struct epitem *item = epoll_find_locked(ep, target, fd);
    if (item)
        epitem_remove_locked(item);
    spin_unlock(&g_watch);
    if (!item)
        return -ENOENT;
    epitem_put(item);
    return 0;
}

int epoll_control(struct file *file, int op, int fd, struct file *target,
                  const struct epoll_event *event)
{
    struct epoll *ep = file_epoll(file);

    if (!target->ops->readiness || !target->ops->wait_queue || !target->ops->wait_queue(target))
        return -EPERM;
    if (!ep || target == file)
        return -EINVAL;
    if (op == EPOLL_CTL_DEL)
        return epoll_remove(ep, fd, target);
    if (event->events & (uint32_t)EPOLLEXCLUSIVE) {
        uint32_t allowed = (uint32_t)(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP |
                                      EPOLLET | EPOLLEXCLUSIVE);
        if (op == EPOLL_CTL_MOD || file_epoll(target) || (event->events & ~allowed))
            return -EINVAL;
    }
    if (op == EPOLL_CTL_ADD)
        return epoll_add(ep, fd, target, event);
    if (op == EPOLL_CTL_MOD)
        return epoll_modify(ep, fd, target, event);
    return -EINVAL;
}

uint32_t epoll_items(void)
{
    spin_lock(&g_watch);
    uint32_t n = g_item_count;
    spin_unlock(&g_watch);
    return n;
}

void epoll_file_gone(struct file *f)
{
    if (list_empty(&f->epitems)) /* nobody else has a reference with which to add one */
        return;
    for (;;) {
        struct epitem *item = NULL;
        spin_lock(&g_watch);
        if (!list_empty(&f->epitems)) {
            item = list_first_entry(&f->epitems, struct epitem, file_link);
            epitem_remove_locked(item);
        }
        spin_unlock(&g_watch);
        if (!item)
            return;
        epitem_put(item);
    }
}

/* --- the epoll as a file --- */

static struct wait_queue *epoll_wait_queue(struct file *file)
{
    return &((struct epoll *)file->private_data)->wait;
}

static int epoll_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, 0600, ret);
    return 0;
}

static void epoll_release(struct file *file)
{
    struct epoll *ep = file->private_data;

    spin_lock(&g_watch);
    ep->file = NULL;
    spin_unlock(&g_watch);
    for (uint32_t i = 0; i < ep->bucket_count;) {
        struct epitem *item = NULL;
        spin_lock(&g_watch);
        if (!list_empty(&ep->buckets[i])) {
            item = list_first_entry(&ep->buckets[i], struct epitem, hash_link);
            epitem_remove_locked(item);
        }
        spin_unlock(&g_watch);
        if (item)
            epitem_put(item);
        else
            i++;
    }
    epoll_put(ep);
}

static const struct file_ops epoll_ops = {
    .name = "anon_inode:[eventpoll]",
    .readiness = epoll_readiness,
    .wait_queue = epoll_wait_queue,
    .getattr = epoll_getattr,
    .release = epoll_release,
};

bool file_is_epoll(const struct file *f)
{
    return f->ops == &epoll_ops;
}

bool epoll_item_get(struct file *file, unsigned n, int *ret_fd, uint32_t *ret_events,
                    uint64_t *ret_data)
{
    struct epoll *ep = file_epoll(file);
    bool found = false;

    if (!ep)
        return false;
    spin_lock(&g_watch);
    for (uint32_t i = 0; i < ep->bucket_count && !found; i++) {
        struct epitem *item;
        list_for_each_entry (item, &ep->buckets[i], hash_link) {
            if (n--)
                continue;
            *ret_fd = item->fd;
            *ret_events = item->events;
            *ret_data = item->data;
            found = true;
            break;
        }
    }
    spin_unlock(&g_watch);
    return found;
}

struct file *epoll_new(uint32_t flags)
{
    struct epoll *ep = calloc(1, sizeof(*ep));

    if (!ep)
        return ERR_PTR(-ENOMEM);
    refcount_init(&ep->ref);
    spin_init(&ep->ready_lock, RANK_WAITQ);
    list_init(&ep->ready);
    wait_queue_init(&ep->wait);
    ep->level = 1;
    ep->bucket_count = BUCKETS_FIRST;
    ep->buckets = malloc(BUCKETS_FIRST * sizeof(*ep->buckets));
    if (!ep->buckets) {
        free(ep);
        return ERR_PTR(-ENOMEM);
    }
    for (uint32_t i = 0; i < BUCKETS_FIRST; i++)
        list_init(&ep->buckets[i]);
    struct file *f = file_new(&epoll_ops, ep, O_RDWR | (flags & O_NONBLOCK));
    if (IS_ERR(f)) {
        free(ep->buckets);
        free(ep);
        return f;
    }
    ep->file = f;
    return f;
}
