/* SPDX-License-Identifier: Apache-2.0
 * async.h - SIGIO and SIGURG: an open file tells its owner by a signal that it is ready (fcntl(2):
 * F_SETOWN, F_SETSIG, O_ASYNC).
 *
 * A file gets a struct async when it is given an owner, a signal or O_ASYNC. It hangs on the file's
 * wait queue; whoever makes something ready calls async_notify() beside its wake. */
#ifndef KERNEL_ASYNC_H
#define KERNEL_ASYNC_H

#include <stdatomic.h>

#include <base/compiler.h>
#include <kernel/wait.h>

enum async_type { ASYNC_THREAD, ASYNC_PROCESS, ASYNC_GROUP }; /* F_OWNER_TID, _PID, _PGRP */

struct async_owner {
    int32_t type, id; /* id 0: nobody */
    int32_t signo;    /* F_SETSIG; 0: SIGIO without a description */
    int32_t fd;       /* as siginfo shows it */
    uint32_t uid, euid;
    bool on;       /* O_ASYNC */
    uint32_t mask; /* POLLIN, POLLOUT: what the file is for */
};

struct async {
    struct list_head link; /* queue->asyncs; queue->lock */
    struct wait_queue *queue;
    struct async_owner owner; /* queue->lock */
};

/* On @queue, without owner. NULL: no memory. */
struct async *async_new(struct wait_queue *queue, uint32_t mask);
void async_free(struct async *a); /* ignores NULL; the queue must still be there */
void async_owner_get(struct async *a, struct async_owner *ret);
/* All but mask. */
void async_owner_set(struct async *a, const struct async_owner *o);

/* Tells every owner on @q of @code: POLL_IN, POLL_OUT and so on, siginfo's si_code. No spin lock
 * held. */
void async_send(struct wait_queue *q, int code);
static inline void async_notify(struct wait_queue *q, int code)
{
    if (unlikely(atomic_load_explicit(&q->async_count, memory_order_relaxed)))
        async_send(q, code);
}
/* Urgent data has come: SIGURG, also without O_ASYNC. */
void async_urgent(struct wait_queue *q);

#endif
