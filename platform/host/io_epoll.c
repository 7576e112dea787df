/* SPDX-License-Identifier: Apache-2.0
 * io_epoll.c - the engine for hosts that refuse io_uring: readiness from epoll, what cannot be
 * polled on helper threads.
 *
 * One slot per descriptor lists who waits for it; the epoll registration is one-shot, for the union
 * of their events, and set again for those who remain. Files are always ready (epoll refuses them):
 * such polls fire in the next round.
 *
 * epoll_wait costs a host call, so a poller that spins asks at most every ASK_CYCLES.
 *
 * Locks: io->lock guards slots and lists; epoll_ctl is called under it (it does not wait for I/O).
 *
 * Host: epoll_wait, epoll_ctl, poll [sentry gofer]
 * Host: epoll_create1 [before confinement]
 * Host: close [sentry gofer]
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "io_private.h"

#define EVENTS_PER_ROUND 64
#define ASK_CYCLES 25000 /* about 10 us */

/* The poll and epoll event bits are the same numbers. */
_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                   POLLHUP == EPOLLHUP && POLLPRI == EPOLLPRI && POLLRDHUP == EPOLLRDHUP,
               "poll and epoll bits");

struct fd_slot {
    struct list_head polls;
    bool known; /* to epoll, as far as we know */
};

struct epoll_engine {
    int epfd;
    struct fd_slot **slots; /* GUARDED_BY(io->lock), as all below */
    size_t slot_count;
    struct list_head always; /* polls of files */
    uint64_t asked_at;       /* owner thread */
};

static struct fd_slot *slot_get_locked(struct epoll_engine *e, int fd)
{
    size_t i = (size_t)fd;
    if (i >= e->slot_count) {
        size_t count = MAX(i + 1, e->slot_count * 2);
        struct fd_slot **slots = realloc(e->slots, count * sizeof(*slots));
        if (!slots)
            return NULL;
        for (size_t k = e->slot_count; k < count; k++)
            slots[k] = NULL;
        e->slots = slots;
        e->slot_count = count;
    }
    if (!e->slots[i]) {
        e->slots[i] = calloc(1, sizeof(*e->slots[i]));
        if (e->slots[i])
            list_init(&e->slots[i]->polls);
    }
    return e->slots[i];
}

/* Tell epoll what is waited for now; the descriptor's number may have changed its meaning. */
static int slot_register_locked(struct epoll_engine *e, struct fd_slot *slot, int fd, uint32_t more)
{
    struct epoll_event ev = {.events = EPOLLONESHOT | more, .data.fd = fd};
    struct io_poll *p;
    list_for_each_entry (p, &slot->polls, link)
        ev.events |= p->events;
    int first = slot->known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int second = slot->known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(e->epfd, first, fd, &ev)) {
        if (errno != EEXIST && errno != ENOENT)
            return -errno;
        if (epoll_ctl(e->epfd, second, fd, &ev))
            return -errno;
    }
    slot->known = true;
    return 0;
}

static int epoll_arm(struct io *io, struct io_poll *p, bool files)
{
    struct epoll_engine *e = io->engine;
    if (p->fd < 0)
        return -EBADF;
    spin_lock(&io->lock);
    struct fd_slot *slot = slot_get_locked(e, p->fd);
    int err = slot ? slot_register_locked(e, slot, p->fd, p->events) : -ENOMEM;
    if (!err)
        list_add_tail(&p->link, &slot->polls);
    else if (err == -EPERM && files)
        list_add_tail(&p->link, &e->always);
    if (!err || (err == -EPERM && files)) {
        err = 0;
        p->armed = true;
        io->polls++;
    }
    spin_unlock(&io->lock);
    return err;
}

static int epoll_poll_arm(struct io *io, struct io_poll *p)
{
    return epoll_arm(io, p, true);
}

static void epoll_poll_cancel_locked(struct io *io, struct io_poll *p)
{
    struct epoll_engine *e = io->engine;
    list_del(&p->link);
    struct fd_slot *slot = (size_t)p->fd < e->slot_count ? e->slots[p->fd] : NULL;
    if (slot && slot->known && list_empty(&slot->polls)) {
        /* The caller may close it now; epoll would not notice when a duplicate stays open. */
        epoll_ctl(e->epfd, EPOLL_CTL_DEL, p->fd, NULL);
        slot->known = false;
    }
}

static unsigned epoll_fire_list_locked(struct io *io, struct list_head *fired, uint32_t revents)
{
    unsigned n = 0;
    while (!list_empty(fired)) {
        struct io_poll *p = list_first_entry(fired, struct io_poll, link);
        list_del(&p->link);
        io_poll_fire_locked(io, p, revents ? revents : p->events & (POLLIN | POLLOUT));
        n++;
    }
    return n;
}

static unsigned epoll_fd_event(struct io *io, const struct epoll_event *ev)
{
    struct epoll_engine *e = io->engine;
    struct list_head fired;
    list_init(&fired);
    spin_lock(&io->lock);
    struct fd_slot *slot = e->slots[ev->data.fd];
    struct io_poll *p, *next;
    list_for_each_entry_safe (p, next, &slot->polls, link) {
        if (ev->events & (p->events | POLLERR | POLLHUP)) {
            list_del(&p->link);
            list_add_tail(&p->link, &fired);
        }
    }
    if (!list_empty(&slot->polls))
        slot_register_locked(e, slot, ev->data.fd, 0);
    unsigned n = epoll_fire_list_locked(io, &fired, ev->events);
    spin_unlock(&io->lock);
    return n;
}

static unsigned epoll_round(struct io *io)
{
    struct epoll_engine *e = io->engine;
    unsigned n = 0;
    if (!io->polls)
        return 0;
    spin_lock(&io->lock);
    if (!list_empty(&e->always)) {
        struct list_head fired;
        list_init(&fired);
        list_splice_tail(&e->always, &fired);
        n += epoll_fire_list_locked(io, &fired, 0);
    }
    spin_unlock(&io->lock);

    uint64_t now = __builtin_ia32_rdtsc();
    if (now - e->asked_at < ASK_CYCLES)
        return n;
    e->asked_at = now;
    struct epoll_event events[EVENTS_PER_ROUND];
    int got = epoll_wait(e->epfd, events, EVENTS_PER_ROUND, 0);
    for (int i = 0; i < got; i++)
        n += epoll_fd_event(io, &events[i]);
    return n;
}

static void epoll_op_ready(struct io_poll *p, uint32_t revents)
{
    struct io_op *op = container_of(p, struct io_op, poll);
    io_op_done(op->io, op, (ssize_t)revents);
}

static int epoll_start(struct io *io, struct io_op *op)
{
    if (op->kind != IO_WAIT) {
        io_helpers_queue(op);
        return 0;
    }
    op->poll =
        (struct io_poll){.ready = epoll_op_ready, .fd = op->fd, .events = op->events, .io = io};
    return epoll_arm(io, &op->poll, false);
}

static bool epoll_completed(struct io *io)
{
    struct epoll_engine *e = io->engine;
    struct pollfd p = {.fd = e->epfd, .events = POLLIN};
    if (atomic_load(&io->any_finished))
        return true;
    if (!io->polls)
        return false;
    spin_lock(&io->lock);
    bool always = !list_empty(&e->always);
    spin_unlock(&io->lock);
    return always || poll(&p, 1, 0) > 0;
}

static void epoll_destroy(struct io *io)
{
    struct epoll_engine *e = io->engine;
    io_waker_stop(io);
    io_helpers_put();
    for (size_t i = 0; i < e->slot_count; i++)
        free(e->slots[i]);
    free(e->slots);
    close(e->epfd);
    free(e);
}

static int epoll_create_engine(struct io *io)
{
    struct epoll_engine *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    list_init(&e->always);
    e->epfd = epoll_create1(EPOLL_CLOEXEC);
    int err = e->epfd < 0 ? -errno : io_helpers_get();
    if (err) {
        if (e->epfd >= 0)
            close(e->epfd);
        free(e);
        return err;
    }
    io->engine = e;
    err = io_waker_start(io, e->epfd);
    if (err)
        epoll_destroy(io);
    return err;
}

const struct io_backend io_backend_epoll = {
    .name = "epoll",
    .native_rw = false,
    .create = epoll_create_engine,
    .destroy = epoll_destroy,
    .start = epoll_start,
    .poll_arm = epoll_poll_arm,
    .poll_cancel_locked = epoll_poll_cancel_locked,
    .round = epoll_round,
    .completed = epoll_completed,
    .sleep = io_waker_sleep,
};
