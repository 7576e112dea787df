/* SPDX-License-Identifier: Apache-2.0
 * files_test.h - kernel buffers as uios, waiters that count. */
#ifndef FILES_TEST_H
#define FILES_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <base/hash.h>
#include <files/files.h>
#include <kernel/task.h>
#include <vfs/vfs.h>

static inline ssize_t put(struct file *f, const void *data, size_t n)
{
    struct uio u;
    uio_init_kernel(&u, (void *)(uintptr_t)data, n);
    ssize_t r = f->ops->write(f, &u, NULL, 0);
    uio_fini(&u);
    return r;
}

static inline ssize_t take(struct file *f, void *data, size_t n)
{
    struct uio u;
    uio_init_kernel(&u, data, n);
    ssize_t r = f->ops->read(f, &u, NULL, 0);
    uio_fini(&u);
    return r;
}

struct counter {
    struct waiter w;
    unsigned fired;
    uint32_t events;
};

static inline bool counter_fire(struct waiter *w, uint32_t events)
{
    struct counter *c = container_of(w, struct counter, w);
    c->fired++;
    c->events |= events;
    return true;
}

static inline void counter_arm(struct counter *c, struct file *f, uint32_t mask)
{
    memset(c, 0, sizeof(*c));
    waiter_init(&c->w, counter_fire);
    waiter_arm(&c->w, f->ops->wait_queue(f), mask);
}

static inline int files_setup(void **state)
{
    (void)state;
    hash_init();
    g_vfs_hooks.file_gone = epoll_file_gone;
    return 0;
}

#define assert_ready(f, bits) assert_int_equal(file_readiness(f), (bits))
#define IN_ (POLLIN | POLLRDNORM)
#define OUT_ (POLLOUT | POLLWRNORM)

#endif
