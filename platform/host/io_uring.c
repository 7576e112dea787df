/* SPDX-License-Identifier: Apache-2.0
 * io_uring.c - the engine on a restricted io_uring.
 *
 * The ring is created disabled, told which operations it will ever carry, then enabled: a Sentry
 * that has been taken over can do through it only what it can do by calls of its own. No registered
 * files: the Sentry cannot open anything, so every descriptor it has it may read and write anyway.
 *
 * Operations are queued and go to the host together, once a round. A poll has a record of its own,
 * because the host's answer may come after the poll was cancelled and its owner is gone.
 *
 * Sleeping: where the host has IORING_OP_FUTEX_WAIT (6.7) one io_uring_enter waits for completions
 * and for the guests' futex word; the wait stays queued when something else ends the sleep.
 * Elsewhere the waker thread of io_wake.c watches the ring.
 *
 * user_data: a pointer and a tag in its low bits, or TAG_FUTEX and a generation.
 *
 * Locks: the ring belongs to its poller thread. io->lock guards poll records and the list of
 * cancelled ones, which other threads add to.
 *
 * Host: io_uring_enter [sentry]
 * Host: io_uring_register [before confinement]
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/count.h>

#include "io_private.h"
#include "io_uring_private.h"

#define RING_ENTRIES 256
#define CQES_PER_ROUND 512
#define FUTEX2_SIZE_U32_SHARED \
    2                  /* flags of the futex operation: 32-bit word, between processes \
                        */
#define IOWQ_FILES 4   /* host worker threads: for files, */
#define IOWQ_OTHERS 16 /* for all else */

enum { TAG_NONE, TAG_OP, TAG_POLL, TAG_FUTEX, TAG_MASK = 7 };

struct uring_poll {
    struct list_head all;  /* owner thread */
    struct io_poll *poll;  /* GUARDED_BY(io->lock); NULL: cancelled */
    struct list_head link; /* GUARDED_BY(io->lock); in uring.cancelled */
};

static struct io_uring_sqe *uring_sqe(struct uring *u, const void *ptr, uint64_t tag)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (!sqe) {
        count_add(COUNT_host_enters, 1);
        io_uring_submit(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
        if (!sqe)
            return NULL;
    }
    memset(sqe, 0, sizeof *sqe);
    sqe->user_data = (uintptr_t)ptr | tag;
    return sqe;
}

/* --- operations --- */

static void sqe_prepare(struct io_uring_sqe *sqe, const struct io_op *op)
{
    uint64_t user_data = sqe->user_data;
    switch (op->kind) {
    case IO_READV:
        io_uring_prep_readv(sqe, op->fd, op->rw.iov, (unsigned)op->rw.n, (__u64)op->rw.off);
        break;
    case IO_WRITEV:
        io_uring_prep_writev(sqe, op->fd, op->rw.iov, (unsigned)op->rw.n, (__u64)op->rw.off);
        break;
    case IO_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->sock.msg, (unsigned)op->sock.flags);
        break;
    case IO_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->sock.msg, (unsigned)op->sock.flags);
        break;
    case IO_FSYNC:
        io_uring_prep_fsync(sqe, op->fd, 0);
        break;
    case IO_FDATASYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case IO_FALLOCATE:
        io_uring_prep_fallocate(sqe, op->fd, op->alloc.mode, op->alloc.off, op->alloc.len);
        break;
    case IO_WAIT:
        io_uring_prep_poll_add(sqe, op->fd, op->events);
        break;
    }
    sqe->user_data = user_data;
}

static int uring_start(struct io *io, struct io_op *op)
{
    struct uring *u = io->engine;
    struct io_uring_sqe *sqe = uring_sqe(u, op, TAG_OP);
    if (!sqe)
        return -ENOMEM;
    sqe_prepare(sqe, op);
    return 0;
}

/* --- polls --- */

static int uring_poll_arm(struct io *io, struct io_poll *p)
{
    struct uring *u = io->engine;
    struct uring_poll *rec = calloc(1, sizeof *rec);
    struct io_uring_sqe *sqe = rec ? uring_sqe(u, rec, TAG_POLL) : NULL;
    if (!sqe) {
        free(rec);
        return -ENOMEM;
    }
    uint64_t user_data = sqe->user_data;
    io_uring_prep_poll_add(sqe, p->fd, p->events);
    sqe->user_data = user_data;
    list_init(&rec->link);
    list_add_tail(&rec->all, &u->polls);
    spin_lock(&io->lock);
    rec->poll = p;
    p->engine = rec;
    p->armed = true;
    io->polls++;
    spin_unlock(&io->lock);
    return 0;
}

static void uring_poll_cancel_locked(struct io *io, struct io_poll *p)
{
    struct uring *u = io->engine;
    struct uring_poll *rec = p->engine;
    rec->poll = NULL;
    list_add_tail(&rec->link, &u->cancelled);
    atomic_store(&io->any_cancelled, true);
}

/* Tell the host about cancelled polls, so that it lets go of their files. */
static void uring_send_cancels(struct io *io)
{
    struct uring *u = io->engine;
    if (!atomic_load(&io->any_cancelled))
        return;
    spin_lock(&io->lock);
    while (!list_empty(&u->cancelled)) {
        struct uring_poll *rec = list_first_entry(&u->cancelled, struct uring_poll, link);
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
        if (!sqe)
            break; /* next round; the queue is full and about to be submitted */
        io_uring_prep_poll_remove(sqe, (uintptr_t)rec | TAG_POLL);
        sqe->user_data = TAG_NONE;
        list_del(&rec->link);
    }
    atomic_store(&io->any_cancelled, !list_empty(&u->cancelled));
    spin_unlock(&io->lock);
}

static void uring_poll_done(struct io *io, struct uring_poll *rec, int result)
{
    spin_lock(&io->lock);
    struct io_poll *p = rec->poll;
    list_del(&rec->link);
    list_del(&rec->all);
    free(rec);
    if (p) {
        p->engine = NULL;
        io_poll_fire_locked(io, p, result < 0 ? POLLERR : (uint32_t)result);
    }
    spin_unlock(&io->lock);
}

/* --- completions --- */

static unsigned uring_complete(struct io *io, uint64_t user_data, int result)
{
    struct uring *u = io->engine;
    void *ptr = (void *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK);
    switch (user_data & TAG_MASK) {
    case TAG_OP:
        io_op_done(io, ptr, result);
        return 1;
    case TAG_POLL:
        uring_poll_done(io, ptr, result);
        return 1;
    case TAG_FUTEX:
        if (user_data == u->futex_data)
            u->futex_word = NULL;
        return 0;
    default:
        return 0;
    }
}

static void uring_submit(struct io *io)
{
    struct uring *u = io->engine;
    uring_send_cancels(io);
    if (io_uring_sq_ready(&u->ring)) {
        count_add(COUNT_host_enters, 1);
        io_uring_submit(&u->ring); /* what the host refuses now stays queued */
    }
}

static unsigned uring_round(struct io *io)
{
    struct uring *u = io->engine;
    struct io_uring_cqe *cqe;
    unsigned n = 0;
    uring_submit(io);
    for (int i = 0; i < CQES_PER_ROUND && !io_uring_peek_cqe(&u->ring, &cqe); i++) {
        uint64_t user_data = cqe->user_data;
        int result = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        n += uring_complete(io, user_data, result);
    }
    return n;
}

static bool uring_completed(struct io *io)
{
    struct uring *u = io->engine;
    uring_send_cancels(io);
    if (!u->futex_op)
        uring_submit(io);
    return io_uring_cq_ready(&u->ring) > 0;
}

/* --- sleeping --- */

static void uring_sleep(struct io *io, _Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns)
{
    struct uring *u = io->engine;
    struct io_uring_cqe *cqe;
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000,
                                   .tv_nsec = timeout_ns % 1000000000};
    if (!u->futex_op) {
        io_waker_sleep(io, word, expect, timeout_ns);
        return;
    }
    if (u->futex_word != word || u->futex_expect != expect) {
        u->futex_data += TAG_MASK + 1;
        struct io_uring_sqe *sqe = uring_sqe(u, NULL, u->futex_data);
        if (!sqe)
            return;
        sqe->opcode = URING_OP_FUTEX_WAIT;
        sqe->fd = FUTEX2_SIZE_U32_SHARED;
        sqe->addr = (uintptr_t)word;
        sqe->off = expect;       /* the operation's "addr2" */
        sqe->addr3 = UINT32_MAX; /* its "addr3": any waker */
        u->futex_word = word;
        u->futex_expect = expect;
    }
    count_add(COUNT_host_enters, 1);
    io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
}

/* --- creation --- */

static const uint8_t uring_ops[] = {
    IORING_OP_READV, IORING_OP_WRITEV,    IORING_OP_RECVMSG,  IORING_OP_SENDMSG,
    IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE,
};

/* The required operations exist? Notes whether the futex one does. */
static int uring_probe(struct uring *u)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
    if (!probe)
        return -ENOSYS;
    int err = 0;
    for (size_t i = 0; i < ARRAY_SIZE(uring_ops); i++)
        if (!io_uring_opcode_supported(probe, uring_ops[i]))
            err = -ENOSYS;
    u->futex_op = io_uring_opcode_supported(probe, URING_OP_FUTEX_WAIT);
    io_uring_free_probe(probe);
    return err;
}

/* liburing 2.3 declares wrappers for these two calls, but its library does not export them. */
static int uring_register(const struct uring *u, unsigned what, const void *arg, unsigned n)
{
    return syscall(SYS_io_uring_register, u->ring.ring_fd, what, arg, n) < 0 ? -errno : 0;
}

static int uring_restrict(struct uring *u)
{
    struct io_uring_restriction r[ARRAY_SIZE(uring_ops) + 1];
    unsigned n = 0;
    memset(r, 0, sizeof r);
    for (; n < ARRAY_SIZE(uring_ops); n++) {
        r[n].opcode = IORING_RESTRICTION_SQE_OP;
        r[n].sqe_op = uring_ops[n];
    }
    if (u->futex_op) {
        r[n].opcode = IORING_RESTRICTION_SQE_OP;
        r[n++].sqe_op = URING_OP_FUTEX_WAIT;
    }
    int err = uring_register(u, IORING_REGISTER_RESTRICTIONS, r, n);
    return err ? err : uring_register(u, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int uring_setup(struct uring *u)
{
    /* Completions need no interrupt: the poller looks at a flag. Before 5.19: refused. */
    struct io_uring_params p = {.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN |
                                         IORING_SETUP_TASKRUN_FLAG};
    int err = io_uring_queue_init_params(RING_ENTRIES, &u->ring, &p);
    if (err == -EINVAL) {
        p = (struct io_uring_params){.flags = IORING_SETUP_R_DISABLED};
        err = io_uring_queue_init_params(RING_ENTRIES, &u->ring, &p);
    }
    if (err)
        return err == -EMFILE || err == -ENOMEM || err == -EPERM ? err : -ENOSYS;
    unsigned workers[2] = {IOWQ_FILES, IOWQ_OTHERS};
    io_uring_register_iowq_max_workers(&u->ring, workers); /* before 5.15: the host's defaults */
    if (!(p.features & IORING_FEAT_NODROP) || !(p.features & IORING_FEAT_EXT_ARG))
        err = -ENOSYS;
    if (!err)
        err = uring_probe(u);
    if (!err)
        err = uring_restrict(u);
    if (err)
        io_uring_queue_exit(&u->ring);
    return err;
}

static void uring_destroy(struct io *io)
{
    struct uring *u = io->engine;
    struct uring_poll *rec, *next;
    io_waker_stop(io);
    io_uring_queue_exit(&u->ring);
    list_for_each_entry_safe (rec, next, &u->polls, all)
        free(rec);
    free(u);
}

static int uring_create(struct io *io)
{
    struct uring *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    list_init(&u->cancelled);
    list_init(&u->polls);
    u->futex_data = TAG_FUTEX;
    int err = uring_setup(u);
    if (err) {
        free(u);
        return err;
    }
    io->engine = u;
    if (!u->futex_op)
        err = io_waker_start(io, u->ring.ring_fd);
    if (err)
        uring_destroy(io);
    return err;
}

const struct io_backend io_backend_uring = {
    .name = "io_uring",
    .native_rw = true,
    .create = uring_create,
    .destroy = uring_destroy,
    .start = uring_start,
    .poll_arm = uring_poll_arm,
    .poll_cancel_locked = uring_poll_cancel_locked,
    .round = uring_round,
    .completed = uring_completed,
    .sleep = uring_sleep,
};
