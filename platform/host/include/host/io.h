/* SPDX-License-Identifier: Apache-2.0
 * io.h - host I/O from fibers: one engine per poller thread, io_uring (restricted, fixed set of
 * operations) or epoll with helper threads behind the same functions.
 *
 * The blocking-looking calls park the calling fiber until the host answers; the thread goes on.
 * They first try without waiting, so data at hand costs one host call and no park.
 * All results are -errno or a count.
 */
#ifndef HOST_IO_H
#define HOST_IO_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <base/compiler.h>
#include <base/list.h>

struct io;

enum io_engine { IO_AUTO, IO_URING, IO_EPOLL };

/**
 * io_create - engine of the calling poller thread; becomes io_self(). Before confinement.
 * Return: 0, -ENOSYS/-EPERM when the asked engine is refused by the host, -ENOMEM, -EMFILE.
 */
int io_create(enum io_engine want, struct io **ret);
void io_destroy(struct io *io);
/* Make an engine created by another thread the calling thread's. */
void io_bind(struct io *io);
struct io *io_self(void);
const char *io_name(const struct io *io);

/* off < 0: the descriptor's own position (streams): what came or went at once. off >= 0: everything
 * asked; a short count is the end of the file or an error after that much. n <= IOV_MAX. */
ssize_t io_preadv(int fd, const struct iovec *iov, int n, int64_t off);
ssize_t io_pwritev(int fd, const struct iovec *iov, int n, int64_t off);
/* MSG_WAITALL is -EINVAL; MSG_DONTWAIT never parks. Sending never raises SIGPIPE. */
ssize_t io_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t io_sendmsg(int fd, const struct msghdr *msg, int flags);
int io_fsync(int fd, bool data_only);
int io_fallocate(int fd, int mode, int64_t off, int64_t len);

/* One-shot readiness. The callback runs on the poller's loop and must not park; it may arm the same
 * structure again. Zero-initialise. The descriptor stays open until ready() or cancel. */
struct io_poll {
    void (*ready)(struct io_poll *p, uint32_t revents);
    struct list_head link; /* engine's */
    struct io *io;
    void *engine; /* engine's */
    int fd;
    uint32_t events; /* POLLIN ... */
    bool armed;
};
/* Poller thread: its engine watches. A file is ready at once. 0; -EBADF, -ENOMEM, -EOPNOTSUPP
 * thread without engine. */
int io_poll_arm(struct io_poll *p, int fd, uint32_t events,
                void (*ready)(struct io_poll *, uint32_t));
/* After it returns, ready() will not be called and does not run. Any thread; on another than the
 * one that armed it must not hold a lock that ready() takes, for it waits while ready() runs. */
void io_poll_cancel(struct io_poll *p);

/* For the poller: submit what was queued, run completions (unparks fibers, calls ready()).
 * Return: completions handled. Never waits. */
unsigned io_round(struct io *io);
/* Operations queued or in flight. */
unsigned io_pending(const struct io *io);

/**
 * io_sleep - wait until a completion, @timeout_ns passes (-1: none), or io_wake().
 * @word, @expect: futex word in shared memory: returns at once when *word != expect, and a
 * FUTEX_WAKE on it by a guest ends the wait.
 */
void io_sleep(struct io *io, _Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns);

#endif
