/* SPDX-License-Identifier: Apache-2.0
 * io.c - host I/O that looks blocking: try without waiting, else hand over to the engine and park.
 *
 * An operation lives on its caller's stack and belongs to the engine of the poller thread that
 * started it: only that thread starts and completes operations (io_round). Threads without an
 * engine or without a scheduler make the plain call instead.
 *
 * A try that moves part of a positioned transfer is continued, so that a short count means what it
 * means on Linux: the end of the file or an error. Streams return what came.
 *
 * Who may lie: the host is trusted. Buffers are the Sentry's.
 * Locks: io->lock (RANK_LEAF) guards polls and what helpers hand back; ready() runs without it.
 * Left out: cancelling an operation in flight; MSG_WAITALL.
 *
 * Host: preadv2, pwritev2, recvmsg, sendmsg, fsync, fdatasync, fallocate, poll, futex [sentry
 * gofer]
 * Host: sched_yield [sentry gofer]
 */
#include <host/io.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/fiber.h>
#include <base/log.h>

#include "io_private.h"

static _Thread_local struct io *tls_io;

/* A fiber never changes its thread, but the compiler may not keep the address across a park. */
static NOINLINE struct io *io_current(void)
{
    return tls_io;
}

struct io *io_self(void)
{
    return io_current();
}

/* The engine to use for a call that may park; NULL: block the thread. */
static struct io *io_for_call(void)
{
    return fiber_sched_self() ? io_current() : NULL;
}

void io_bind(struct io *io)
{
    tls_io = io;
}

const char *io_name(const struct io *io)
{
    return io->backend->name;
}

static int io_create_with(const struct io_backend *backend, struct io **ret)
{
    struct io *io = calloc(1, sizeof *io);
    if (!io)
        return -ENOMEM;
    io->backend = backend;
    io->waker = (struct io_waker){.epfd = -1, .quit = -1, .watched = -1};
    spin_init(&io->lock, RANK_LEAF);
    list_init(&io->finished);
    int err = backend->create(io);
    if (err) {
        free(io);
        return err;
    }
    io_bind(io);
    *ret = io;
    return 0;
}

int io_create(enum io_engine want, struct io **ret)
{
    int err = -ENOSYS;
    if (want != IO_EPOLL)
        err = io_create_with(&io_backend_uring, ret);
    if (want == IO_EPOLL || (want == IO_AUTO && err))
        err = io_create_with(&io_backend_epoll, ret);
    return err;
}

void io_destroy(struct io *io)
{
    if (!io)
        return;
    BUG_ON(io->inflight);
    while (atomic_load(&io->at_helpers))
        sched_yield();
    io->backend->destroy(io);
    if (tls_io == io)
        tls_io = NULL;
    free(io);
}

/* --- operations --- */

void io_op_done(struct io *io, struct io_op *op, ssize_t result)
{
    op->result = result;
    op->done = true;
    io->inflight--;
    fiber_unpark(op->fiber);
}

unsigned io_reap_finished(struct io *io)
{
    if (!atomic_load(&io->any_finished))
        return 0;
    struct list_head done;
    list_init(&done);
    spin_lock(&io->lock);
    list_splice_tail(&io->finished, &done);
    atomic_store(&io->any_finished, false);
    spin_unlock(&io->lock);

    unsigned n = 0;
    struct io_op *op, *next;
    list_for_each_entry_safe (op, next, &done, link) {
        list_del(&op->link);
        io_op_done(io, op, op->result);
        n++;
    }
    return n;
}

static ssize_t io_run(struct io *io, struct io_op *op)
{
    op->io = io;
    op->fiber = fiber_self();
    op->done = false;
    int err = io->backend->start(io, op);
    if (err)
        return err;
    io->inflight++;
    while (!op->done)
        fiber_park();
    return op->result;
}

static ssize_t io_result(ssize_t r)
{
    return r < 0 ? -errno : r;
}

ssize_t io_op_call(const struct io_op *op)
{
    ssize_t r;
    do {
        switch (op->kind) {
        case IO_READV:
            r = io_result(preadv2(op->fd, op->rw.iov, op->rw.n, op->rw.off, 0));
            break;
        case IO_WRITEV:
            r = io_result(pwritev2(op->fd, op->rw.iov, op->rw.n, op->rw.off, 0));
            break;
        case IO_RECVMSG:
            r = io_result(recvmsg(op->fd, op->sock.msg, op->sock.flags));
            break;
        case IO_SENDMSG:
            r = io_result(sendmsg(op->fd, op->sock.msg, op->sock.flags | MSG_NOSIGNAL));
            break;
        case IO_FSYNC:
            r = io_result(fsync(op->fd));
            break;
        case IO_FDATASYNC:
            r = io_result(fdatasync(op->fd));
            break;
        case IO_FALLOCATE:
            r = io_result(fallocate(op->fd, op->alloc.mode, op->alloc.off, op->alloc.len));
            break;
        default:
            r = -EINVAL;
        }
    } while (r == -EINTR);
    return r;
}

/* The same without waiting: -EAGAIN, or -EOPNOTSUPP where the descriptor cannot be asked so. */
static ssize_t io_op_try(const struct io_op *op)
{
    struct io_op now = *op;
    switch (op->kind) {
    case IO_READV:
        return io_result(preadv2(op->fd, op->rw.iov, op->rw.n, op->rw.off, RWF_NOWAIT));
    case IO_WRITEV:
        return io_result(pwritev2(op->fd, op->rw.iov, op->rw.n, op->rw.off, RWF_NOWAIT));
    case IO_RECVMSG:
    case IO_SENDMSG:
        now.sock.flags |= MSG_DONTWAIT;
        return io_op_call(&now);
    default:
        return -EOPNOTSUPP;
    }
}

static uint32_t io_op_events(const struct io_op *op)
{
    return op->kind == IO_READV || op->kind == IO_RECVMSG ? POLLIN : POLLOUT;
}

/* No engine: the thread itself waits; O_NONBLOCK descriptors are polled. */
static ssize_t io_op_block(const struct io_op *op)
{
    for (;;) {
        ssize_t r = io_op_call(op);
        if (r != -EAGAIN)
            return r;
        struct pollfd p = {.fd = op->fd, .events = (short)io_op_events(op)};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return -errno;
    }
}

/* The try said -EAGAIN or -EOPNOTSUPP. -EAGAIN: now try again. */
static ssize_t io_op_wait(struct io *io, struct io_op *op, bool can_try)
{
    struct io_op wait = {.kind = IO_WAIT, .fd = op->fd, .events = io_op_events(op)};
    if (io->backend->native_rw) {
        ssize_t r = io_run(io, op);
        if (r != -EAGAIN)
            return r;
        r = io_run(io, &wait); /* an O_NONBLOCK descriptor */
        return r < 0 ? r : -EAGAIN;
    }
    ssize_t r = io_run(io, &wait);
    if (r == -EPERM || (r >= 0 && !can_try))
        return io_run(io, op); /* a file, or a device like a tty that now has something: helper */
    return r < 0 ? r : -EAGAIN;
}

static ssize_t io_op_transfer(struct io_op *op)
{
    struct io *io = io_for_call();
    if (!io)
        return io_op_block(op);
    for (;;) {
        ssize_t r = io_op_try(op);
        if (r == -EINTR)
            continue;
        if (r == -EOPNOTSUPP && io_op_direct(io, op, &r))
            return r;
        if (r != -EAGAIN && r != -EOPNOTSUPP)
            return r;
        r = io_op_wait(io, op, r == -EAGAIN);
        if (r != -EAGAIN)
            return r;
    }
}

/* Step over @bytes. A piece left over from the middle of an element goes to *piece. */
static void iov_advance(const struct iovec **iov, int *n, struct iovec *piece, size_t bytes)
{
    while (*n && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    piece->iov_len = 0;
    if (bytes) {
        piece->iov_base = (char *)(*iov)->iov_base + bytes;
        piece->iov_len = (*iov)->iov_len - bytes;
        (*iov)++;
        (*n)--;
    }
}

static ssize_t io_transfer_all(enum io_kind kind, int fd, const struct iovec *iov, int n,
                               int64_t off)
{
    ssize_t total = 0;
    struct iovec piece = {.iov_len = 0};
    if (n < 0 || n > IOV_MAX)
        return -EINVAL;
    do {
        bool rest = piece.iov_len > 0;
        struct io_op op = {.kind = kind, .fd = fd};
        op.rw.iov = rest ? &piece : iov;
        op.rw.n = rest ? 1 : n;
        op.rw.off = off < 0 ? -1 : off + total;
        ssize_t r = io_op_transfer(&op);
        if (r <= 0)
            return total ? total : r;
        total += r;
        if (off < 0)
            break;
        if (!rest) {
            iov_advance(&iov, &n, &piece, (size_t)r);
        } else {
            piece.iov_base = (char *)piece.iov_base + r;
            piece.iov_len -= (size_t)r;
        }
    } while (piece.iov_len || n);
    return total;
}

ssize_t io_preadv(int fd, const struct iovec *iov, int n, int64_t off)
{
    return io_transfer_all(IO_READV, fd, iov, n, off);
}

ssize_t io_pwritev(int fd, const struct iovec *iov, int n, int64_t off)
{
    return io_transfer_all(IO_WRITEV, fd, iov, n, off);
}

static ssize_t io_message(enum io_kind kind, int fd, struct msghdr *msg, int flags)
{
    struct io_op op = {.kind = kind, .fd = fd};
    op.sock.msg = msg;
    op.sock.flags = flags;
    if (flags & MSG_WAITALL)
        return -EINVAL;
    return flags & MSG_DONTWAIT ? io_op_call(&op) : io_op_transfer(&op);
}

ssize_t io_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return io_message(IO_RECVMSG, fd, msg, flags);
}

ssize_t io_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return io_message(IO_SENDMSG, fd, (struct msghdr *)(uintptr_t)msg, flags | MSG_NOSIGNAL);
}

static int io_run_or_block(struct io_op *op)
{
    struct io *io = io_for_call();
    return (int)(io ? io_run(io, op) : io_op_call(op));
}

int io_fsync(int fd, bool data_only)
{
    struct io_op op = {.kind = data_only ? IO_FDATASYNC : IO_FSYNC, .fd = fd};
    return io_run_or_block(&op);
}

int io_fallocate(int fd, int mode, int64_t off, int64_t len)
{
    struct io_op op = {.kind = IO_FALLOCATE, .fd = fd};
    op.alloc.mode = mode;
    op.alloc.off = off;
    op.alloc.len = len;
    return io_run_or_block(&op);
}

/* --- readiness --- */

int io_poll_arm(struct io_poll *p, int fd, uint32_t events,
                void (*ready)(struct io_poll *, uint32_t))
{
    struct io *io = io_current();
    if (!io)
        return -EOPNOTSUPP;
    BUG_ON(p->armed);
    p->ready = ready;
    p->fd = fd;
    p->events = events;
    p->io = io;
    p->engine = NULL;
    list_init(&p->link);
    return io->backend->poll_arm(io, p);
}

void io_poll_fire_locked(struct io *io, struct io_poll *p, uint32_t revents)
{
    p->armed = false;
    io->polls--;
    io->running = p;
    spin_unlock(&io->lock);
    p->ready(p, revents);
    spin_lock(&io->lock);
    io->running = NULL;
}

void io_poll_cancel(struct io_poll *p)
{
    struct io *io = p->io;
    if (!io)
        return;
    bool mine = io == io_current();
    spin_lock(&io->lock);
    while (io->running == p && !mine) {
        spin_unlock(&io->lock);
        __builtin_ia32_pause();
        spin_lock(&io->lock);
    }
    bool was_armed = p->armed;
    if (was_armed) {
        io->backend->poll_cancel_locked(io, p);
        p->armed = false;
        io->polls--;
    }
    spin_unlock(&io->lock);
    if (was_armed && !mine)
        io_wake_owner(io); /* it may have to tell the host */
}

/* --- rounds --- */

unsigned io_round(struct io *io)
{
    return io_reap_finished(io) + io->backend->round(io);
}

unsigned io_pending(const struct io *io)
{
    return io->inflight + io->polls;
}
