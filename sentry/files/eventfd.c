/* SPDX-License-Identifier: Apache-2.0
 * eventfd.c - a counter that can be waited for (eventfd(2)).
 *
 * write adds, read takes all (or one with EFD_SEMAPHORE). A write that would pass UINT64_MAX - 1
 * and a read of 0 answer -EAGAIN. Guests give values, nothing else. Lock: RANK_OBJECT. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <kernel/task.h>

#include "files_private.h"

#define EVENTFD_MAX (UINT64_MAX - 1)

struct eventfd {
    struct spin lock;
    uint64_t count; /* lock */
    bool semaphore;
    struct wait_queue wait;
};

static ssize_t eventfd_file_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                                 unsigned flags UNUSED)
{
    struct eventfd *e = f->private_data;
    uint64_t value;

    if (u->left < sizeof(value))
        return -EINVAL;
    spin_lock(&e->lock);
    value = e->semaphore ? e->count != 0 : e->count;
    e->count -= value;
    spin_unlock(&e->lock);
    if (!value)
        return -EAGAIN;
    wake_one(&e->wait, POLLOUT | POLLWRNORM);
    ssize_t r = uio_copy_to_user(u, &value, sizeof(value));
    return r < 0 ? r : (ssize_t)sizeof(value);
}

static ssize_t eventfd_file_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                                  unsigned flags UNUSED)
{
    struct eventfd *e = f->private_data;
    uint64_t value;

    if (u->left < sizeof(value))
        return -EINVAL;
    ssize_t r = uio_copy_from_user(u, &value, sizeof(value));
    if (r != sizeof(value))
        return -EFAULT;
    if (value == UINT64_MAX)
        return -EINVAL;
    spin_lock(&e->lock);
    bool fits = EVENTFD_MAX - e->count >= value;
    if (fits)
        e->count += value;
    spin_unlock(&e->lock);
    if (!fits) {
        uio_rewind(u); /* the call runs again when somebody has read */
        return -EAGAIN;
    }
    if (value)
        wake_one(&e->wait, POLLIN | POLLRDNORM);
    return sizeof(value);
}

static uint32_t eventfd_file_readiness(struct file *f)
{
    struct eventfd *e = f->private_data;

    spin_lock(&e->lock);
    uint64_t count = e->count;
    spin_unlock(&e->lock);
    return (count ? POLLIN | POLLRDNORM : 0u) | (count < EVENTFD_MAX ? POLLOUT | POLLWRNORM : 0u);
}

static struct wait_queue *eventfd_wait_queue(struct file *f)
{
    return &((struct eventfd *)f->private_data)->wait;
}

static int eventfd_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, 0600, ret);
    return 0;
}

static void eventfd_release(struct file *f)
{
    free(f->private_data);
}

static const struct file_ops eventfd_ops = {
    .name = "anon_inode:[eventfd]",
    .read = eventfd_file_read,
    .write = eventfd_file_write,
    .readiness = eventfd_file_readiness,
    .wait_queue = eventfd_wait_queue,
    .getattr = eventfd_getattr,
    .release = eventfd_release,
};

struct file *eventfd_new(uint32_t initval, uint32_t flags)
{
    struct eventfd *e = calloc(1, sizeof(*e));

    if (!e)
        return ERR_PTR(-ENOMEM);
    spin_init(&e->lock, RANK_OBJECT);
    wait_queue_init(&e->wait);
    e->count = initval;
    e->semaphore = flags & EFD_SEMAPHORE;
    struct file *f = file_new(&eventfd_ops, e, O_RDWR | (flags & O_NONBLOCK));
    if (IS_ERR(f))
        free(e);
    return f;
}
