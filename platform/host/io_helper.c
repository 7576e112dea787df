/* SPDX-License-Identifier: Apache-2.0
 * io_helper.c - threads that make host calls which may block, for the epoll engine.
 *
 * One queue for the process, IO_HELPERS threads, started with the first engine and ended with the
 * last. An operation belongs to the helper from queueing until it stands on its engine's finished
 * list. The queue holds at most one operation a fiber.
 *
 * Locks: pool.mutex, an ordinary one (pollers hold it for a few instructions).
 *
 * Host: futex [sentry gofer]
 */
#include <errno.h>
#include <signal.h>

#include "io_private.h"

#define IO_HELPERS 2
#define HELPER_STACK (128u << 10)

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct list_head queue; /* GUARDED_BY(mutex), as all below */
    unsigned users, threads;
    bool quit;
    pthread_t thread[IO_HELPERS];
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
          .work = PTHREAD_COND_INITIALIZER,
          .queue = LIST_HEAD_INIT(pool.queue)};

static void helper_finish(struct io_op *op)
{
    struct io *io = op->io;
    spin_lock(&io->lock);
    list_add_tail(&op->link, &io->finished);
    atomic_store(&io->any_finished, true);
    spin_unlock(&io->lock);
    io_wake_owner(io);
    atomic_fetch_sub(&io->at_helpers, 1); /* from here on the engine may go */
}

static void *helper_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&pool.mutex);
    for (;;) {
        while (list_empty(&pool.queue) && !pool.quit)
            pthread_cond_wait(&pool.work, &pool.mutex);
        if (list_empty(&pool.queue))
            break;
        struct io_op *op = list_first_entry(&pool.queue, struct io_op, link);
        list_del(&op->link);
        pthread_mutex_unlock(&pool.mutex);
        op->result = io_op_call(op);
        helper_finish(op);
        pthread_mutex_lock(&pool.mutex);
    }
    pthread_mutex_unlock(&pool.mutex);
    return NULL;
}

void io_helpers_queue(struct io_op *op)
{
    atomic_fetch_add(&op->io->at_helpers, 1);
    pthread_mutex_lock(&pool.mutex);
    list_add_tail(&op->link, &pool.queue);
    pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
}

static int helpers_start_locked(void)
{
    pthread_attr_t attr;
    sigset_t all, old;
    if (pthread_attr_init(&attr))
        return -ENOMEM;
    pthread_attr_setstacksize(&attr, HELPER_STACK);
    sigfillset(&all);
    sigdelset(&all, SIGSYS); /* a seccomp violation shall be reported */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = 0;
    while (!err && pool.threads < IO_HELPERS) {
        err = pthread_create(&pool.thread[pool.threads], &attr, helper_main, NULL);
        pool.threads += !err;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return pool.threads ? 0 : -err;
}

int io_helpers_get(void)
{
    pthread_mutex_lock(&pool.mutex);
    int err = pool.users ? 0 : helpers_start_locked();
    pool.users += !err;
    pthread_mutex_unlock(&pool.mutex);
    return err;
}

void io_helpers_put(void)
{
    pthread_mutex_lock(&pool.mutex);
    unsigned threads = --pool.users ? 0 : pool.threads;
    pool.quit = threads > 0;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(pool.thread[i], NULL);
    if (threads) {
        pthread_mutex_lock(&pool.mutex);
        pool.threads = 0;
        pool.quit = false;
        pthread_mutex_unlock(&pool.mutex);
    }
}
