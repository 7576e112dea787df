/* SPDX-License-Identifier: Apache-2.0
 * io_fixture.h - an engine, a small poller and helpers for the io tests. */
#ifndef TEST_HOST_IO_FIXTURE_H
#define TEST_HOST_IO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/fiber.h>
#include <host/io.h>

#include "io_private.h"
#include "io_uring_private.h"

static struct io *io;
static struct fiber_sched *sched;
static _Atomic(uint32_t) *word; /* in shared memory, as guests see it */
static unsigned running;        /* fibers not done */
static _Atomic(bool) stop;

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void kick(void *arg)
{
    (void)arg;
    atomic_store(word, 0);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* A small poller: it sleeps whenever nothing is ready. */
static void loop(void *arg)
{
    (void)arg;
    int64_t deadline = now_ns() + 20000000000LL;
    while (running && !atomic_load(&stop)) {
        if (now_ns() > deadline)
            fail_msg("nothing happened for 20 s");
        unsigned n = io_round(io) + fiber_run_ready();
        fiber_loop_check();
        if (n || !running)
            continue;
        atomic_store(word, 1);
        if (!fiber_any_ready())
            io_sleep(io, word, 1, 2000000000);
        atomic_store(word, 0);
    }
}

static UNUSED void run(void (*fn)(void *), void *arg)
{
    running++;
    assert_int_equal(fiber_spawn(sched, fn, arg), 0);
}

static UNUSED void run_all(void)
{
    atomic_store(&stop, false);
    fiber_sched_run(sched);
    assert_int_equal(running, 0);
    assert_int_equal(io->inflight, 0);
}

static UNUSED int setup_engine(enum io_engine engine)
{
    word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (io_create(engine, &io))
        return -1;
    sched = fiber_sched_new(loop, kick, NULL);
    running = 0;
    return sched ? 0 : -1;
}

static UNUSED int setup_uring(void **state)
{
    (void)state;
    return setup_engine(IO_URING);
}

/* As on hosts before 6.7: the waker thread beside the ring. */
static UNUSED int setup_uring_waker(void **state)
{
    (void)state;
    if (setup_engine(IO_URING))
        return -1;
    struct uring *u = io->engine;
    if (u->futex_op) {
        u->futex_op = false;
        return io_waker_start(io, u->ring.ring_fd);
    }
    return 0;
}

static UNUSED int setup_epoll(void **state)
{
    (void)state;
    return setup_engine(IO_EPOLL);
}

static int teardown(void **state)
{
    (void)state;
    io_destroy(io);
    fiber_sched_free(sched);
    munmap((void *)(uintptr_t)word, 4096);
    assert_null(io_self());
    return 0;
}

static UNUSED void *write_later(void *arg)
{
    struct timespec ts = {.tv_nsec = 20000000};
    nanosleep(&ts, NULL);
    assert_int_equal(write(*(int *)arg, "hello", 5), 5);
    return NULL;
}

static UNUSED int temp_file(void)
{
    char path[] = "/tmp/ringbox-io-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

struct watch {
    struct io_poll poll;
    uint32_t revents;
    unsigned fired;
};

static UNUSED void watch_fired(struct io_poll *p, uint32_t revents)
{
    struct watch *w = container_of(p, struct watch, poll);
    w->revents = revents;
    w->fired++;
}

/* Rounds until something was handled or 1 s is over. */
static UNUSED unsigned rounds(void)
{
    int64_t end = now_ns() + 1000000000;
    unsigned n;
    while (!(n = io_round(io)) && now_ns() < end)
        sched_yield();
    return n;
}

/* Long enough for anything that could still come. */
static UNUSED void settle(void)
{
    int64_t end = now_ns() + 3000000;
    while (now_ns() < end)
        io_round(io);
}

/* Every engine this host has. */
#define RUN_ENGINES(epoll, uring, waker)                                                 \
    do {                                                                                 \
        struct io *probe;                                                                \
        failed += cmocka_run_group_tests_name("epoll", epoll, NULL, NULL);               \
        if (io_create(IO_URING, &probe)) {                                               \
            printf("io_uring: refused by this host, skipped\n");                         \
        } else {                                                                         \
            io_destroy(probe);                                                           \
            failed += cmocka_run_group_tests_name("io_uring", uring, NULL, NULL);        \
            failed += cmocka_run_group_tests_name("io_uring, waker", waker, NULL, NULL); \
        }                                                                                \
    } while (0)

#endif
