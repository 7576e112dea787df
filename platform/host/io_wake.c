/* SPDX-License-Identifier: Apache-2.0
 * io_wake.c - sleeping on a futex word and on the host's completions at the same time.
 *
 * The poller sleeps in FUTEX_WAIT on the word that guests ring. Beside it a waker thread waits in
 * epoll for the engine's descriptor and, when that becomes readable, wakes the futex. The watch is
 * one-shot: the poller arms it only when it goes to sleep and operations are pending, and it stays
 * armed until it fires, so an idle sandbox wakes nobody and a busy one pays for at most one
 * needless wake of the waker per sleep.
 *
 * Protocol: the poller sets asleep, then looks at armed and at what helpers finished; the waker
 * clears armed, then looks at asleep; a helper publishes its result, then looks at asleep. All
 * sequentially consistent, so one of each pair sees the other. Between asleep = 1 and FUTEX_WAIT a
 * wake would find nobody: the waker repeats until it reports one or asleep is 0 again. The waker
 * writes nothing but `armed`: the word itself belongs to its poller.
 *
 * Host: futex, epoll_wait, epoll_ctl, read, sched_yield [sentry gofer]
 * Host: epoll_create1, eventfd [before confinement]
 * Host: close [sentry gofer]
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "io_private.h"

#define WAKER_STACK (128u << 10)

int io_futex_wait(_Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    long r = syscall(SYS_futex, word, FUTEX_WAIT, expect, timeout_ns < 0 ? NULL : &ts, NULL, 0);
    return r < 0 ? -errno : 0;
}

int io_futex_wake(_Atomic(uint32_t) *word)
{
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void io_wake_owner(struct io *io)
{
    while (atomic_load(&io->asleep)) {
        if (io_futex_wake(io->sleep_word) > 0)
            break;
        sched_yield();
    }
}

static void *waker_main(void *arg)
{
    struct io *io = arg;
    struct io_waker *w = &io->waker;
    for (;;) {
        struct epoll_event ev;
        int n = epoll_wait(w->epfd, &ev, 1, -1);
        if (n < 0 && errno != EINTR)
            return NULL;
        if (n != 1)
            continue;
        if (ev.data.fd == w->quit)
            return NULL;
        atomic_store(&w->armed, 0);
        io_wake_owner(io);
    }
}

static int waker_add(struct io_waker *w, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    return epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int waker_thread(struct io *io)
{
    pthread_attr_t attr;
    sigset_t all, old;
    if (pthread_attr_init(&attr))
        return -ENOMEM;
    pthread_attr_setstacksize(&attr, WAKER_STACK);
    sigfillset(&all);
    sigdelset(&all, SIGSYS); /* a seccomp violation shall be reported */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&io->waker.thread, &attr, waker_main, io);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    io->waker.started = !err;
    return -err;
}

int io_waker_start(struct io *io, int watched)
{
    struct io_waker *w = &io->waker;
    w->watched = watched;
    w->epfd = epoll_create1(EPOLL_CLOEXEC);
    w->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = w->epfd < 0 || w->quit < 0 ? -errno : 0;
    if (!err)
        err = waker_add(w, w->quit, EPOLLIN);
    if (!err)
        err = waker_add(w, watched, EPOLLONESHOT); /* nothing but errors */
    if (!err)
        err = waker_thread(io);
    if (err)
        io_waker_stop(io);
    return err;
}

void io_waker_stop(struct io *io)
{
    struct io_waker *w = &io->waker;
    if (w->started) {
        eventfd_write(w->quit, 1);
        pthread_join(w->thread, NULL);
        w->started = false;
    }
    if (w->quit >= 0)
        close(w->quit);
    if (w->epfd >= 0)
        close(w->epfd);
    w->quit = w->epfd = -1;
}

static void waker_arm(struct io_waker *w)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = w->watched};
    if (!atomic_exchange(&w->armed, 1) && epoll_ctl(w->epfd, EPOLL_CTL_MOD, w->watched, &ev))
        BUG_ON(true); /* the descriptor is ours and registered */
}

void io_waker_sleep(struct io *io, _Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns)
{
    if (io_pending(io))
        waker_arm(&io->waker);
    io_futex_wait(word, expect, timeout_ns);
}

void io_sleep(struct io *io, _Atomic(uint32_t) *word, uint32_t expect, int64_t timeout_ns)
{
    if (io->backend->completed(io) || atomic_load(word) != expect)
        return;
    io->sleep_word = word;
    atomic_store(&io->asleep, 1);
    if (!atomic_load(&io->any_finished) && !atomic_load(&io->any_cancelled))
        io->backend->sleep(io, word, expect, timeout_ns);
    atomic_store(&io->asleep, 0);
}
