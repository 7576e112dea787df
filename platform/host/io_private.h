/* SPDX-License-Identifier: Apache-2.0
 * io_private.h - what io.c and the two engines share. */
#ifndef HOST_IO_PRIVATE_H
#define HOST_IO_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <base/lock.h>
#include <host/io.h>

struct fiber;

enum io_kind {
    IO_READV,
    IO_WRITEV,
    IO_RECVMSG,
    IO_SENDMSG,
    IO_FSYNC,
    IO_FDATASYNC,
    IO_FALLOCATE,
    IO_WAIT
};

/* One operation; lives on the stack of the fiber that waits for it. */
struct io_op {
    enum io_kind kind;
    int fd;
    union {
        struct {
            const struct iovec *iov;
            int n;
            int64_t off;
        } rw;
        struct {
            struct msghdr *msg;
            int flags;
        } sock;
        struct {
            int mode;
            int64_t off, len;
        } alloc;
        uint32_t events; /* IO_WAIT: POLLIN ... */
    };
    struct io *io;
    struct fiber *fiber;
    struct list_head link; /* engine's queue */
    struct io_poll poll;   /* epoll engine */
    ssize_t result;        /* owner thread, except while a helper has it */
    bool done;             /* owner thread */
};

/* Wakes a poller that sleeps on its futex word when descriptors become readable. */
struct io_waker {
    int epfd;    /* what it watches */
    int watched; /* the engine's descriptor in it */
    int quit;    /* eventfd */
    pthread_t thread;
    bool started;
    _Atomic(uint32_t) armed; /* 1: the watch will fire once */
};

struct io_backend {
    const char *name;
    /* Reads, writes and messages are handed over at once; else only after readiness. */
    bool native_rw;
    int (*create)(struct io *io);
    void (*destroy)(struct io *io);
    /* 0: io_op_done() follows in some round. Else the result, at once: -ENOMEM, -EPERM (IO_WAIT on
     * what cannot be polled). */
    int (*start)(struct io *io, struct io_op *op);
    int (*poll_arm)(struct io *io, struct io_poll *p);
    void (*poll_cancel_locked)(struct io *io, struct io_poll *p); /* REQUIRES(io->lock) */
    unsigned (*round)(struct io *io);
    /* Before sleeping: hand over what is queued. Would round() find something? */
    bool (*completed)(struct io *io);
    void (*sleep)(struct io *io, _Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns);
};

struct io {
    const struct io_backend *backend;
    void *engine;            /* struct uring, struct epoll_engine */
    unsigned inflight;       /* owner thread */
    _Atomic(unsigned) polls; /* written under lock */

    int64_t direct_after_ns; /* io_direct.c; owner thread */

    /* Sleep protocol, see io_wake.c. */
    struct io_waker waker;
    _Atomic(uint32_t) asleep;
    _Atomic(uint32_t) *_Atomic sleep_word; /* where it sleeps, or slept last */

    struct spin lock;          /* polls of the engine, results of helpers */
    struct list_head finished; /* GUARDED_BY(lock): ops a helper is done with */
    _Atomic(bool) any_finished;
    _Atomic(uint32_t) at_helpers; /* helpers that still use this engine */
    _Atomic(bool) any_cancelled;  /* the owner has to tell the host about cancelled polls */
    struct io_poll *running;      /* GUARDED_BY(lock): its ready() is being called by the owner */
};

extern const struct io_backend io_backend_uring, io_backend_epoll;

/* Owner thread: the operation's result is known. */
void io_op_done(struct io *io, struct io_op *op, ssize_t result);
/* Owner thread: @p, which is armed and on no list, becomes unarmed and its ready() is called.
 * REQUIRES(io->lock); releases and retakes it. */
void io_poll_fire_locked(struct io *io, struct io_poll *p, uint32_t revents);
/* Owner thread: complete what helpers finished. */
unsigned io_reap_finished(struct io *io);

int io_waker_start(struct io *io, int watched);
void io_waker_stop(struct io *io);
/* Sleep on the word; the waker adds the watched descriptor. */
void io_waker_sleep(struct io *io, _Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns);
/* Any thread: end the owner's sleep, now or the one it is about to enter. */
void io_wake_owner(struct io *io);

/* Two threads for calls that may block, shared by all engines of the process. */
int io_helpers_get(void);
void io_helpers_put(void);
void io_helpers_queue(struct io_op *op);

#define IO_DIRECT_BYTES_MAX (256u << 10)
/* Owner thread: what could not be tried is made here and now (*ret); false: it is not to be. */
bool io_op_direct(struct io *io, const struct io_op *op, ssize_t *ret);

/* The call itself, blocking; result or -errno. */
ssize_t io_op_call(const struct io_op *op);

int io_futex_wait(_Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns);
int io_futex_wake(_Atomic(uint32_t) *word);

#endif
