/* SPDX-License-Identifier: Apache-2.0
 * epoll_ready.c - which of an epoll's items are ready: noting, collecting.
 *
 * Who collects, or asks for the epoll's own readiness, takes items off the list and may put them
 * back. Somebody else who finds the list empty meanwhile is noted (missed) and woken at the end. Of
 * those in epoll_wait an event wakes one; what is left on the list wakes the next.
 *
 * Locks: epoll.c says which. */
#include <poll.h>
#include <sys/epoll.h>

#include "epoll.h"

static bool epitem_queue_locked(struct epitem *item)
{
    struct epoll *ep = item->ep;

    if (item->dead || !(item->events & ~EVENTS_CONTROL) || !list_empty(&item->ready_link))
        return false;
    list_add_tail(&item->ready_link, &ep->ready);
    ep->ready_count++;
    return true;
}

void epitem_unqueue_locked(struct epitem *item)
{
    if (list_empty(&item->ready_link))
        return;
    list_del(&item->ready_link);
    item->ep->ready_count--;
}

void epitem_queue(struct epitem *item)
{
    struct epoll *ep = item->ep;

    spin_lock(&ep->ready_lock);
    (void)epitem_queue_locked(item);
    spin_unlock(&ep->ready_lock);
    wake_one(&ep->wait, POLLIN | POLLRDNORM);
}

/* Has an exclusive item had use for @events? As Linux: somebody waits in epoll_wait, and it is about
 * what was asked for alone. */
static bool epitem_takes(const struct epitem *item, uint32_t events)
{
    uint32_t inout = events & (uint32_t)(EPOLLIN | EPOLLOUT);

    return !inout || (inout != (EPOLLIN | EPOLLOUT) && (inout & item->events));
}

/* The watched file's queue is locked. */
bool epitem_fire(struct waiter *w, uint32_t events)
{
    struct epitem *item = container_of(w, struct epitem, waiter);
    struct epoll *ep = item->ep;

    spin_lock(&ep->ready_lock);
    bool wanted = !events || (events & (item->events | EVENTS_ALWAYS));
    if (wanted)
        (void)epitem_queue_locked(item);
    bool takes = epitem_takes(item, events);
    spin_unlock(&ep->ready_lock);
    return wanted && wait_queue_wake(&ep->wait, POLLIN | POLLRDNORM, 1) && takes;
}

/* --- collecting --- */

/* The first ready item, off the list, with a reference to it and to its file. Items whose file is
 * dying are dropped. NULL: none. */
static struct epitem *epoll_take(struct epoll *ep, struct file **ret_file)
{
    for (;;) {
        struct epitem *item = NULL;

        spin_lock(&g_watch);
        spin_lock(&ep->ready_lock);
        if (!list_empty(&ep->ready)) {
            item = list_first_entry(&ep->ready, struct epitem, ready_link);
            epitem_unqueue_locked(item);
        }
        spin_unlock(&ep->ready_lock);
        bool alive = item && refcount_get_unless_zero(&item->file->ref);
        if (alive) {
            *ret_file = item->file;
            refcount_get(&item->ref);
        }
        spin_unlock(&g_watch);
        if (!item || alive)
            return item;
    }
}

/* Report what of @ready was asked for; false when nothing. Puts level-triggered items back. */
static bool epitem_report(struct epitem *item, uint32_t ready, uint64_t collect,
                          struct epoll_event *ret)
{
    struct epoll *ep = item->ep;

    spin_lock(&ep->ready_lock);
    ready = item->dead ? 0 : ready & item->events & ~EVENTS_CONTROL;
    if (ready && item->collect == collect) {
        (void)epitem_queue_locked(item);
        ready = 0;
    } else if (ready) {
        item->collect = collect;
        ret->events = ready;
        ret->data.u64 = item->data;
        if (item->events & (uint32_t)EPOLLONESHOT)
            item->events &= EVENTS_CONTROL;
        else if (!(item->events & (uint32_t)EPOLLET))
            (void)epitem_queue_locked(item);
    }
    spin_unlock(&ep->ready_lock);
    return ready;
}

/* @pass: what is left is for the next who waits. */
static void epoll_taken(struct epoll *ep, bool pass)
{
    spin_lock(&ep->ready_lock);
    bool more = ep->ready_count, missed = ep->missed;
    if (!--ep->takers)
        ep->missed = false;
    spin_unlock(&ep->ready_lock);
    if (more && missed)
        wake_one(&ep->wait, POLLIN | POLLRDNORM);
    else if (more && pass)
        wake_next(&ep->wait, POLLIN | POLLRDNORM);
}

int epoll_collect(struct file *file, struct epoll_event *ret, int max)
{
    struct epoll *ep = file_epoll(file);
    int n = 0;

    if (!ep)
        return -EINVAL;
    spin_lock(&ep->ready_lock);
    uint32_t rounds = ep->ready_count;
    uint64_t collect = ++ep->collects;
    ep->takers++;
    spin_unlock(&ep->ready_lock);
    while (n < max && rounds--) {
        struct file *f;
        struct epitem *item = epoll_take(ep, &f);
        if (!item)
            break;
        if (epitem_report(item, file_readiness(f), collect, &ret[n]))
            n++;
        epitem_put(item);
        file_put(f);
    }
    epoll_taken(ep, true);
    return n;
}

/* Is anything on the list really ready? Items that are not leave it. */
uint32_t epoll_readiness(struct file *file)
{
    struct epoll *ep = file->private_data;
    bool holds = false;

    spin_lock(&ep->ready_lock);
    uint32_t rounds = ep->ready_count;
    ep->missed |= ep->takers > 0;
    if (rounds)
        ep->takers++;
    spin_unlock(&ep->ready_lock);
    if (!rounds)
        return 0;
    while (!holds && rounds--) {
        struct file *f;
        struct epitem *item = epoll_take(ep, &f);
        if (!item)
            break;
        uint32_t ready = file_readiness(f); /* nested at most EPOLL_NEST_MAX deep */
        spin_lock(&ep->ready_lock);
        holds = ready & item->events & ~EVENTS_CONTROL;
        if (holds && list_empty(&item->ready_link) && !item->dead) {
            list_add(&item->ready_link, &ep->ready);
            ep->ready_count++;
        }
        spin_unlock(&ep->ready_lock);
        epitem_put(item);
        file_put(f);
    }
    epoll_taken(ep, false);
    return holds ? POLLIN | POLLRDNORM : 0;
}
