/* SPDX-License-Identifier: Apache-2.0
 * Calls that park, on every engine and without one. */
#include "io_fixture.h"

/* --- a stream that is empty at first --- */

struct stream {
    int fd[2];
    char got[64];
    ssize_t result;
    bool messages;
};

static void stream_reader(void *arg)
{
    struct stream *s = arg;
    struct iovec iov = {s->got, sizeof s->got};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    s->result = s->messages ? io_recvmsg(s->fd[0], &msg, 0) : io_preadv(s->fd[0], &iov, 1, -1);
    running--;
}

static void stream_writer(void *arg)
{
    struct stream *s = arg;
    struct iovec iov = {"hello", 5};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t r = s->messages ? io_sendmsg(s->fd[1], &msg, 0) : io_pwritev(s->fd[1], &iov, 1, -1);
    assert_int_equal(r, 5);
    running--;
}

static void stream_check(int flags, bool messages)
{
    struct stream s = {.messages = messages};
    if (messages)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | flags, 0, s.fd), 0);
    else
        assert_int_equal(pipe2(s.fd, flags), 0);
    run(stream_reader, &s);
    run(stream_writer, &s);
    run_all();
    assert_int_equal(s.result, 5);
    assert_memory_equal(s.got, "hello", 5);

    run(stream_reader, &s); /* the end of the stream */
    close(s.fd[1]);
    run_all();
    assert_int_equal(s.result, 0);
    close(s.fd[0]);
}

static void streams(void **state)
{
    (void)state;
    stream_check(0, false);
    stream_check(O_NONBLOCK, false);
    stream_check(0, true);
    stream_check(SOCK_NONBLOCK, true);
}

/* --- data from outside while the poller sleeps --- */

static void wakes_from_sleep(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct stream s = {.messages = i == 1};
        pthread_t t;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s.fd), 0);
        run(stream_reader, &s);
        pthread_create(&t, NULL, write_later, &s.fd[1]);
        int64_t start = now_ns();
        run_all();
        assert_int_equal(s.result, 5);
        assert_true(now_ns() - start < 1900000000); /* not the timeout of the sleep */
        pthread_join(t, NULL);
        close(s.fd[0]);
        close(s.fd[1]);
    }
}

static void terminal(void **state)
{
    (void)state;
    struct stream s = {.messages = false};
    pthread_t t;
    if (openpty(&s.fd[1], &s.fd[0], NULL, NULL, NULL))
        skip();
    run(stream_reader, &s);
    pthread_create(&t, NULL, write_later, &s.fd[1]);
    struct timespec ts = {.tv_nsec = 1000000};
    nanosleep(&ts, NULL);
    assert_int_equal(write(s.fd[1], "\n", 1), 1);
    run_all();
    assert_int_equal(s.result, 1);
    pthread_join(t, NULL);
    close(s.fd[0]);
    close(s.fd[1]);
}

/* --- files --- */

static void file_body(void *arg)
{
    int fd = *(int *)arg;
    static char a[5000], b[100000], back[105000];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    struct iovec out[] = {{a, sizeof a}, {NULL, 0}, {b, sizeof b}};
    assert_int_equal(io_pwritev(fd, out, 3, 10), 105000);
    assert_int_equal(io_fsync(fd, false), 0);
    assert_int_equal(io_fsync(fd, true), 0);
    struct iovec in[] = {{back, 1}, {back + 1, 6999}, {back + 7000, 98000}};
    assert_int_equal(io_preadv(fd, in, 3, 10), 105000);
    assert_memory_equal(back, a, sizeof a);
    assert_memory_equal(back + sizeof a, b, sizeof b);
    assert_int_equal(io_preadv(fd, in, 3, 105000), 10); /* short at the end */
    assert_int_equal(io_preadv(fd, in, 3, 200000), 0);
    assert_int_equal(io_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 300000), 0);
    assert_int_equal(io_preadv(-1, in, 3, 0), -EBADF);
    assert_int_equal(io_fsync(-1, false), -EBADF);
    assert_int_equal(io_preadv(fd, in, -1, 0), -EINVAL);
    struct msghdr msg = {.msg_iov = in, .msg_iovlen = 1};
    assert_int_equal(io_recvmsg(fd, &msg, 0), -ENOTSOCK);
    assert_int_equal(io_recvmsg(fd, &msg, MSG_WAITALL), -EINVAL);
    running--;
}

static void files(void **state)
{
    (void)state;
    /* By the poller itself where that is allowed; then by the engine. */
    for (int i = 0; i < 2; i++) {
        int fd = temp_file();
        io->direct_after_ns = i ? INT64_MAX : 0;
        run(file_body, &fd);
        run_all();
        close(fd);
    }
}

static bool direct(enum io_kind kind, int fd, size_t bytes, ssize_t *ret)
{
    static char buf[IO_DIRECT_BYTES_MAX + 1];
    const struct iovec iov[] = {{buf, 1}, {buf + 1, bytes - 1}};
    const struct io_op op = {.kind = kind, .fd = fd, .rw = {.iov = iov, .n = 2, .off = 0}};
    return io_op_direct(io, &op, ret);
}

static void direct_or_not(void **state)
{
    (void)state;
    char name[32];
    ssize_t r = 0;
    int pipes[2], fd = memfd_create("direct", MFD_CLOEXEC);
    assert_true(direct(IO_WRITEV, fd, IO_DIRECT_BYTES_MAX, &r));
    assert_int_equal(r, IO_DIRECT_BYTES_MAX);
    assert_true(direct(IO_READV, fd, IO_DIRECT_BYTES_MAX, &r));
    assert_int_equal(r, IO_DIRECT_BYTES_MAX);
    assert_false(direct(IO_WRITEV, fd, IO_DIRECT_BYTES_MAX + 1, &r));
    assert_false(direct(IO_FSYNC, fd, 2, &r));
    io->direct_after_ns = now_ns() + 1000000000000; /* it was slow */
    assert_false(direct(IO_WRITEV, fd, 2, &r));
    io->direct_after_ns = now_ns();
    assert_true(direct(IO_WRITEV, fd, 2, &r));
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int sync = open(name, O_RDWR | O_DSYNC | O_CLOEXEC);
    assert_false(direct(IO_WRITEV, sync, 2, &r));
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_false(direct(IO_WRITEV, pipes[1], 2, &r)); /* no such file system */
    assert_false(direct(IO_WRITEV, -1, 2, &r));
    close(pipes[0]);
    close(pipes[1]);
    close(sync);
    close(fd);
}

static void many_readers_at_once(void **state)
{
    (void)state;
    static struct stream s[600];
    for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
        s[i] = (struct stream){.messages = i % 2};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i].fd), 0);
        run(stream_reader, &s[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(s); i++)
        run(stream_writer, &s[i]);
    run_all();
    for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
        assert_int_equal(s[i].result, 5);
        close(s[i].fd[0]);
        close(s[i].fd[1]);
    }
}

/* --- the ring's restrictions --- */

static void uring_refuses_other_operations(void **state)
{
    (void)state;
    struct uring *u = io->engine;
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
    sqe = io_uring_get_sqe(&u->ring);
    io_uring_prep_openat(sqe, AT_FDCWD, "/", O_RDONLY, 0);
    sqe->user_data = 0;
    io_uring_submit(&u->ring);
    assert_int_equal(io_uring_wait_cqe(&u->ring, &cqe), 0);
    assert_int_equal(cqe->res, -EACCES);
    io_uring_cqe_seen(&u->ring, cqe);
    int fd = 0;
    assert_true(io_uring_register_files(&u->ring, &fd, 1) < 0);
}

/* --- no engine, no scheduler --- */

static void plain_thread(void **state)
{
    (void)state;
    struct stream s = {.messages = false};
    pthread_t t;
    running = 1;
    assert_int_equal(pipe2(s.fd, O_NONBLOCK), 0);
    pthread_create(&t, NULL, write_later, &s.fd[1]);
    stream_reader(&s);
    assert_int_equal(s.result, 5);
    pthread_join(t, NULL);
    int fd = temp_file();
    running = 1;
    file_body(&fd);
    close(fd);
    struct watch w = {.fired = 0};
    assert_int_equal(io_poll_arm(&w.poll, s.fd[0], POLLIN, watch_fired), -EOPNOTSUPP);
    io_poll_cancel(&w.poll);
    close(s.fd[0]);
    close(s.fd[1]);
}

static void names(void **state)
{
    (void)state;
    struct io *a;
    assert_int_equal(io_create(IO_AUTO, &a), 0);
    assert_ptr_equal(io_self(), a);
    assert_true(!strcmp(io_name(a), "io_uring") || !strcmp(io_name(a), "epoll"));
    io_destroy(a);
}

#define ENGINE_TESTS(setup)                                                 \
    cmocka_unit_test_setup_teardown(streams, setup, teardown),              \
        cmocka_unit_test_setup_teardown(wakes_from_sleep, setup, teardown), \
        cmocka_unit_test_setup_teardown(terminal, setup, teardown),         \
        cmocka_unit_test_setup_teardown(files, setup, teardown),            \
        cmocka_unit_test_setup_teardown(direct_or_not, setup, teardown),    \
        cmocka_unit_test_setup_teardown(many_readers_at_once, setup, teardown)

int main(void)
{
    const struct CMUnitTest plain[] = {cmocka_unit_test(plain_thread), cmocka_unit_test(names)};
    const struct CMUnitTest epoll[] = {ENGINE_TESTS(setup_epoll)};
    const struct CMUnitTest uring[] = {
        ENGINE_TESTS(setup_uring),
        cmocka_unit_test_setup_teardown(uring_refuses_other_operations, setup_uring, teardown)};
    const struct CMUnitTest waker[] = {ENGINE_TESTS(setup_uring_waker)};
    int failed = cmocka_run_group_tests_name("plain", plain, NULL, NULL);
    RUN_ENGINES(epoll, uring, waker);
    return failed;
}
