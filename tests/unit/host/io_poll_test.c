/* SPDX-License-Identifier: Apache-2.0
 * Readiness, cancelling it, and sleeping, on every engine. */
#include "io_fixture.h"

/* --- polls --- */

static void polls(void **state)
{
    (void)state;
    int fd[2];
    struct watch in = {.fired = 0}, in2 = {.fired = 0}, out = {.fired = 0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(io_poll_arm(&in.poll, fd[0], POLLIN, watch_fired), 0);
    assert_int_equal(io_poll_arm(&in2.poll, fd[0], POLLIN, watch_fired), 0);
    assert_int_equal(io_poll_arm(&out.poll, fd[0], POLLOUT, watch_fired), 0);
    assert_int_equal(io_pending(io), 3);
    assert_int_equal(rounds(), 1);
    assert_int_equal(out.fired, 1);
    assert_true(out.revents & POLLOUT);
    assert_false(out.poll.armed);
    settle();
    assert_int_equal(in.fired, 0);

    io_poll_cancel(&in2.poll);
    io_poll_cancel(&in2.poll); /* twice is harmless */
    assert_int_equal(write(fd[1], "x", 1), 1);
    settle();
    assert_int_equal(in.fired, 1);
    assert_true(in.revents & POLLIN);
    assert_int_equal(in2.fired, 0);
    settle(); /* one-shot */
    assert_int_equal(in.fired, 1);
    assert_int_equal(io_pending(io), 0);

    assert_int_equal(io_poll_arm(&in.poll, fd[0], POLLIN, watch_fired), 0);
    settle();
    assert_int_equal(in.fired, 2);
    close(fd[1]);
    assert_int_equal(io_poll_arm(&out.poll, fd[0], POLLRDHUP, watch_fired), 0);
    settle();
    assert_int_equal(out.fired, 2);
    assert_true(out.revents & (POLLHUP | POLLRDHUP));
    close(fd[0]);
}

static void poll_of_a_file_is_ready(void **state)
{
    (void)state;
    struct watch w = {.fired = 0};
    int fd = temp_file();
    assert_int_equal(io_poll_arm(&w.poll, fd, POLLIN, watch_fired), 0);
    settle();
    assert_int_equal(w.fired, 1);
    assert_true(w.revents & POLLIN);
    close(fd);
}

/* The number of a cancelled descriptor comes back as another file. */
static void cancel_close_reuse(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct watch a = {.fired = 0}, b = {.fired = 0};
        int one[2], two[2];
        assert_int_equal(pipe(one), 0);
        int keep = dup(one[0]);
        assert_int_equal(io_poll_arm(&a.poll, one[0], POLLIN, watch_fired), 0);
        io_round(io);
        io_poll_cancel(&a.poll);
        close(one[0]);
        assert_int_equal(pipe(two), 0);
        assert_int_equal(two[0], one[0]);
        assert_int_equal(io_poll_arm(&b.poll, two[0], POLLIN, watch_fired), 0);
        assert_int_equal(write(one[1], "x", 1), 1); /* must not fire b */
        settle();
        assert_int_equal(a.fired + b.fired, 0);
        assert_int_equal(write(two[1], "x", 1), 1);
        settle();
        assert_int_equal(b.fired, 1);
        close(keep);
        close(one[1]);
        close(two[0]);
        close(two[1]);
    }
}

/* The host lets go of a cancelled descriptor. */
static void cancel_releases_the_file(void **state)
{
    (void)state;
    struct watch w = {.fired = 0};
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(io_poll_arm(&w.poll, fd[0], POLLIN, watch_fired), 0);
    io_round(io);
    io_poll_cancel(&w.poll);
    close(fd[0]);
    settle();
    struct pollfd p = {.fd = fd[1], .events = POLLOUT};
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_true(p.revents & POLLERR); /* no reader is left */
    close(fd[1]);
}

static struct watch rearmed;

static void rearm(struct io_poll *p, uint32_t revents)
{
    char c;
    watch_fired(p, revents);
    assert_int_equal(read(p->fd, &c, 1), 1);
    assert_int_equal(io_poll_arm(p, p->fd, POLLIN, rearm), 0);
}

static void rearm_in_callback(void **state)
{
    (void)state;
    int fd[2];
    memset(&rearmed, 0, sizeof rearmed);
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(io_poll_arm(&rearmed.poll, fd[0], POLLIN, rearm), 0);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(write(fd[1], "x", 1), 1);
        settle();
        assert_int_equal(rearmed.fired, i);
    }
    io_poll_cancel(&rearmed.poll);
    assert_int_equal(io_pending(io), 0);
    close(fd[0]);
    close(fd[1]);
}

/* Another thread cancels while events pour in: never a call after it. */
static _Atomic(unsigned) late;
static _Atomic(bool) cancelled;

static void race_fired(struct io_poll *p, uint32_t revents)
{
    (void)p;
    (void)revents;
    if (atomic_load(&cancelled))
        atomic_fetch_add(&late, 1);
}

static void *race_cancel(void *arg)
{
    sched_yield();
    io_poll_cancel(arg);
    atomic_store(&cancelled, true);
    return NULL;
}

static void cancel_from_another_thread(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    atomic_store(&late, 0);
    for (int i = 0; i < 100; i++) {
        struct watch w = {.fired = 0};
        pthread_t t;
        atomic_store(&cancelled, false);
        assert_int_equal(io_poll_arm(&w.poll, fd[0], POLLIN, race_fired), 0);
        assert_int_equal(pthread_create(&t, NULL, race_cancel, &w.poll), 0);
        if (i % 2)
            assert_int_equal(write(fd[1], "x", 1), 1);
        while (!atomic_load(&cancelled))
            io_round(io);
        pthread_join(t, NULL);
        settle();
        assert_int_equal(io_pending(io), 0);
        char c;
        if (i % 2)
            assert_int_equal(read(fd[0], &c, 1), 1);
    }
    assert_int_equal(atomic_load(&late), 0);
    close(fd[0]);
    close(fd[1]);
}

/* --- sleeping --- */

static void sleep_ends(void **state)
{
    (void)state;
    atomic_store(word, 0);
    int64_t start = now_ns();
    io_sleep(io, word, 1, -1); /* the word differs */
    assert_true(now_ns() - start < 100000000);

    atomic_store(word, 1);
    start = now_ns();
    io_sleep(io, word, 1, 30000000);
    assert_true(now_ns() - start >= 29000000);

    for (int i = 0; i < 3; i++) { /* again: a wait may still be queued */
        atomic_store(word, 1);
        start = now_ns();
        io_sleep(io, word, 1, 5000000);
        assert_true(now_ns() - start < 1000000000);
    }
}

/* A guest rings through a read-only mapping in another process. */
static void guest_rings(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        atomic_store(word, 1);
        pid_t pid = fork();
        if (!pid) {
            mprotect((void *)(uintptr_t)word, 4096, PROT_READ);
            while (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
                sched_yield();
            _exit(0);
        }
        int64_t start = now_ns();
        io_sleep(io, word, 1, 3000000000);
        assert_true(now_ns() - start < 2900000000);
        atomic_store(word, 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        io_round(io);
    }
}

static void *store_and_wake(void *arg)
{
    struct timespec ts = {.tv_nsec = 5000000};
    nanosleep(&ts, NULL);
    kick(arg);
    return NULL;
}

static void kick_ends_sleep(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        pthread_t t;
        atomic_store(word, 1);
        pthread_create(&t, NULL, store_and_wake, NULL);
        int64_t start = now_ns();
        while (atomic_load(word))
            io_sleep(io, word, 1, 3000000000);
        assert_true(now_ns() - start < 2900000000);
        pthread_join(t, NULL);
        io_round(io);
    }
}

static void poll_ends_sleep(void **state)
{
    (void)state;
    struct watch w = {.fired = 0};
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    for (unsigned i = 1; i <= 3; i++) {
        pthread_t t;
        char buf[8];
        assert_int_equal(io_poll_arm(&w.poll, fd[0], POLLIN, watch_fired), 0);
        io_round(io);
        pthread_create(&t, NULL, write_later, &fd[1]);
        int64_t start = now_ns();
        while (w.fired < i && now_ns() - start < 2500000000) {
            atomic_store(word, 1);
            io_sleep(io, word, 1, 3000000000);
            io_round(io);
        }
        assert_int_equal(w.fired, i);
        pthread_join(t, NULL);
        assert_int_equal(read(fd[0], buf, sizeof buf), 5);
    }
    close(fd[0]);
    close(fd[1]);
}

/* Pending operations, nothing happens: nobody wakes up. */
static void idle_is_idle(void **state)
{
    (void)state;
    struct watch w = {.fired = 0};
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(io_poll_arm(&w.poll, fd[0], POLLIN, watch_fired), 0);
    io_round(io);
    atomic_store(word, 1);
    for (int i = 0; i < 3; i++) {
        int64_t start = now_ns();
        io_sleep(io, word, 1, 20000000);
        assert_true(now_ns() - start >= 19000000);
    }
    io_poll_cancel(&w.poll);
    io_round(io);
    close(fd[0]);
    close(fd[1]);
}

#define ENGINE_TESTS(setup)                                                           \
    cmocka_unit_test_setup_teardown(polls, setup, teardown),                          \
        cmocka_unit_test_setup_teardown(poll_of_a_file_is_ready, setup, teardown),    \
        cmocka_unit_test_setup_teardown(cancel_close_reuse, setup, teardown),         \
        cmocka_unit_test_setup_teardown(cancel_releases_the_file, setup, teardown),   \
        cmocka_unit_test_setup_teardown(rearm_in_callback, setup, teardown),          \
        cmocka_unit_test_setup_teardown(cancel_from_another_thread, setup, teardown), \
        cmocka_unit_test_setup_teardown(sleep_ends, setup, teardown),                 \
        cmocka_unit_test_setup_teardown(guest_rings, setup, teardown),                \
        cmocka_unit_test_setup_teardown(kick_ends_sleep, setup, teardown),            \
        cmocka_unit_test_setup_teardown(poll_ends_sleep, setup, teardown),            \
        cmocka_unit_test_setup_teardown(idle_is_idle, setup, teardown)

int main(void)
{
    const struct CMUnitTest epoll[] = {ENGINE_TESTS(setup_epoll)};
    const struct CMUnitTest uring[] = {ENGINE_TESTS(setup_uring)};
    const struct CMUnitTest waker[] = {ENGINE_TESTS(setup_uring_waker)};
    int failed = 0;
    RUN_ENGINES(epoll, uring, waker);
    return failed;
}
