/* SPDX-License-Identifier: Apache-2.0
 * epoll.h - an epoll and its items, for epoll.c (what is watched) and epoll_ready.c (what is ready). */
#ifndef FILES_EPOLL_H
#define FILES_EPOLL_H

#include <sys/epoll.h>

#include "files_private.h"

/* Always reported, asked for or not. */
#define EVENTS_ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))
#define EVENTS_CONTROL ((uint32_t)(EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE))

struct epoll {
    struct refcount ref; /* the file, each item */
    /* --- g_watch --- */
    struct file *file; /* NULL once released */
    struct list_head *buckets;
    uint32_t bucket_count, count;
    uint32_t level; /* 1: watches no epoll */
    /* --- ready_lock --- */
    struct spin ready_lock;
    struct list_head ready; /* epitem.ready_link */
    uint32_t ready_count;
    uint64_t collects; /* numbers the collections */
    uint32_t takers;   /* who have taken items off the list and may put them back */
    bool missed;       /* meanwhile somebody found it empty: is told at the end */

    struct wait_queue wait;
};

struct epitem {
    struct refcount ref; /* the tables; who collects */
    struct epoll *ep;
    struct waiter waiter;
    struct list_head hash_link, file_link; /* g_watch */
    struct file *file;                     /* g_watch; NULL: removed */
    int fd;
    /* --- ready_lock --- */
    uint32_t events; /* asked for, with EPOLLET and the like; without event bits: disabled */
    uint64_t data;
    bool dead;
    uint64_t collect; /* that reported it last: none reports an item twice */
    struct list_head ready_link;
};

extern struct spin g_watch; /* RANK_OBJECT */

void epitem_put(struct epitem *item);
struct epoll *file_epoll(const struct file *f); /* NULL: it is none */

/* --- epoll_ready.c --- */

bool epitem_fire(struct waiter *w, uint32_t events); /* the waiter's */
void epitem_queue(struct epitem *item);              /* it may be ready */
void epitem_unqueue_locked(struct epitem *item);     /* ready_lock held */
uint32_t epoll_readiness(struct file *file);

#endif
