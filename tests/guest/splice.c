/* SPDX-License-Identifier: Apache-2.0
 * splice.c - splice, tee, vmsplice, sendfile among files, pipes and sockets. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "guest.h"

static int file_new(const char *text)
{
    char name[GUEST_TEMPLATE_MAX];
    guest_template(name, "splice");
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void case_file_to_pipe(void)
{
    int p[2], fd = file_new("0123456789");
    char buf[32] = {0};
    loff_t off = 2;

    CHECK(pipe(p) == 0);
    CHECK_EQ(splice(fd, NULL, p[1], NULL, 4, 0), 4);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4);
    CHECK_EQ(splice(fd, &off, p[1], NULL, 3, SPLICE_F_MOVE), 3);
    CHECK_EQ(off, 5);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4);
    CHECK_EQ(splice(fd, NULL, p[1], NULL, 100, 0), 6);
    CHECK_EQ(splice(fd, NULL, p[1], NULL, 100, 0), 0);
    CHECK_EQ(read(p[0], buf, 32), 13);
    CHECK(!strcmp(buf, "0123234456789"));
    CHECK_EQ(splice(fd, NULL, p[1], NULL, 0, 0), 0);
}

static void case_pipe_to_file(void)
{
    int p[2], fd = file_new("..........");
    char buf[32] = {0};
    loff_t off = 5;

    CHECK(pipe(p) == 0);
    CHECK_EQ(write(p[1], "abcdef", 6), 6);
    CHECK_EQ(splice(p[0], NULL, fd, &off, 3, 0), 3);
    CHECK_EQ(off, 8);
    CHECK_EQ(splice(p[0], NULL, fd, NULL, 100, 0), 3);
    CHECK_EQ(pread(fd, buf, 32, 0), 10);
    CHECK(!strcmp(buf, "def..abc.."));
    CHECK_ERR(splice(p[0], NULL, fd, NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
    close(p[1]);
    CHECK_EQ(splice(p[0], NULL, fd, NULL, 1, 0), 0);
}

static void case_errors(void)
{
    int p[2], q[2], fd = file_new("x"), fd2 = file_new("y"), sp[2];
    loff_t off = 0, bad = -1;

    CHECK(pipe(p) == 0 && pipe(q) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK_ERR(splice(fd, NULL, fd2, NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(p[0], NULL, p[1], NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(p[1], NULL, q[1], NULL, 1, 0), EBADF);
    CHECK_ERR(splice(p[0], NULL, q[0], NULL, 1, 0), EBADF);
    CHECK_ERR(splice(p[0], &off, fd, NULL, 1, 0), ESPIPE);
    CHECK_ERR(splice(fd, NULL, p[1], &off, 1, 0), ESPIPE);
    CHECK_ERR(splice(fd, &bad, p[1], NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(sp[0], &off, p[1], NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(fd, NULL, p[1], NULL, 1, 16), EINVAL);
    CHECK_ERR(splice(99, NULL, p[1], NULL, 1, 0), EBADF);
    CHECK_ERR(tee(p[0], p[1], 1, 0), EINVAL);
    CHECK_ERR(tee(fd, p[1], 1, 0), EINVAL);
    CHECK_ERR(vmsplice(fd, &(struct iovec){&off, 1}, 1, 0), EBADF);
    CHECK(write(p[1], "z", 1) == 1);
    CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0);
    CHECK_ERR(splice(p[0], NULL, fd, NULL, 1, 0), EINVAL);
    close(q[0]);
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERR(splice(p[0], NULL, q[1], NULL, 1, 0), EPIPE);
    CHECK_ERR(splice(fd2, NULL, q[1], NULL, 1, 0), EPIPE);
    CHECK(lseek(fd2, 0, SEEK_CUR) == 0); /* nothing was taken */
}

static void case_pipes(void)
{
    int p[2], q[2];
    char buf[32] = {0};

    CHECK(pipe(p) == 0 && pipe(q) == 0);
    CHECK_EQ(write(p[1], "hello", 5), 5);
    CHECK_EQ(tee(p[0], q[1], 3, 0), 3);
    CHECK_EQ(tee(p[0], q[1], 100, 0), 5); /* from the start again */
    CHECK_EQ(read(q[0], buf, 32), 8);
    CHECK(!strcmp(buf, "helhello"));
    CHECK_EQ(splice(p[0], NULL, q[1], NULL, 2, 0), 2);
    CHECK_EQ(splice(p[0], NULL, q[1], NULL, 100, 0), 3);
    memset(buf, 0, sizeof(buf));
    CHECK_EQ(read(q[0], buf, 32), 5);
    CHECK(!strcmp(buf, "hello"));
    CHECK_ERR(tee(p[0], q[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
    close(p[1]);
    CHECK_EQ(tee(p[0], q[1], 1, 0), 0);
}

static void case_full(void)
{
    int p[2], fd = file_new("data");
    static char big[1 << 17];

    CHECK(pipe2(p, O_NONBLOCK) == 0);
    while (write(p[1], big, sizeof(big)) > 0)
        ;
    CHECK_ERR(splice(fd, NULL, p[1], NULL, 4, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
}

static void *drain_later(void *arg)
{
    static char buf[1 << 17];
    guest_sleep_ms(50);
    CHECK(read(*(int *)arg, buf, sizeof(buf)) > 0);
    return NULL;
}

static void *feed_later(void *arg)
{
    guest_sleep_ms(50);
    CHECK_EQ(write(*(int *)arg, "late", 4), 4);
    return NULL;
}

static void case_waits(void)
{
    int p[2], q[2], fd = file_new("data");
    static char big[65536];
    pthread_t th;

    CHECK(pipe(p) == 0 && pipe(q) == 0);
    CHECK_EQ(write(p[1], big, sizeof(big)), (ssize_t)sizeof(big));
    CHECK(pthread_create(&th, NULL, drain_later, &p[0]) == 0);
    CHECK_EQ(splice(fd, NULL, p[1], NULL, 4, 0), 4);
    CHECK(pthread_join(th, NULL) == 0);
    CHECK(pthread_create(&th, NULL, feed_later, &q[1]) == 0);
    CHECK_EQ(splice(q[0], NULL, fd, NULL, 100, 0), 4);
    CHECK(pthread_join(th, NULL) == 0);
}

static void case_sockets(void)
{
    int p[2], sp[2], tp[2];
    char buf[16] = {0};
    pthread_t th;

    CHECK(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, tp) == 0);
    CHECK(pthread_create(&th, NULL, feed_later, &sp[1]) == 0);
    CHECK_EQ(splice(sp[0], NULL, p[1], NULL, 100, 0), 4);
    CHECK(pthread_join(th, NULL) == 0);
    CHECK_EQ(splice(p[0], NULL, tp[0], NULL, 100, 0), 4);
    CHECK_EQ(read(tp[1], buf, 16), 4);
    CHECK(!strcmp(buf, "late"));
    CHECK_ERR(splice(sp[0], NULL, p[1], NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
    close(sp[1]);
    CHECK_EQ(splice(sp[0], NULL, p[1], NULL, 1, 0), 0);
}

static void case_vmsplice(void)
{
    int p[2];
    char a[] = "abc", b[] = "defg", got[16] = {0}, x[3], y[10] = {0};
    struct iovec in[2] = {{a, 3}, {b, 4}}, out[2] = {{x, 3}, {y, 10}};

    CHECK(pipe(p) == 0);
    CHECK_EQ(vmsplice(p[1], in, 2, 0), 7);
    CHECK_EQ(read(p[0], got, 16), 7);
    CHECK(!strcmp(got, "abcdefg"));
    CHECK_EQ(vmsplice(p[1], in, 2, SPLICE_F_GIFT), 7);
    CHECK_EQ(vmsplice(p[0], out, 2, 0), 7);
    CHECK(!memcmp(x, "abc", 3) && !strcmp(y, "defg"));
    CHECK_ERR(vmsplice(p[0], out, 2, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_EQ(vmsplice(p[1], in, 0, 0), 0);
}

/* Through file, pipe, pipe, socket: what goes in comes out. */
static void *chain_reader(void *arg)
{
    uint32_t sum = 0;
    unsigned char buf[5000];
    ssize_t n;
    while ((n = read(*(int *)arg, buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + buf[i];
    return (void *)(uintptr_t)sum;
}

static void case_chain(void)
{
    int p[2], q[2], sp[2], fd = file_new("");
    static unsigned char data[300000];
    uint32_t want = 0;
    pthread_t th;
    void *got;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 13 + i / 251);
        want = want * 31 + data[i];
    }
    CHECK_EQ(write(fd, data, sizeof(data)), (ssize_t)sizeof(data));
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    CHECK(pipe(p) == 0 && pipe(q) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK(pthread_create(&th, NULL, chain_reader, &sp[1]) == 0);
    for (;;) {
        ssize_t n = splice(fd, NULL, p[1], NULL, 40000, 0);
        if (!n)
            break;
        CHECK(n > 0);
        while (n) {
            ssize_t k = splice(p[0], NULL, q[1], NULL, (size_t)n, 0);
            CHECK(k > 0);
            n -= k;
            while (k) {
                ssize_t w = splice(q[0], NULL, sp[0], NULL, (size_t)k, 0);
                CHECK(w > 0);
                k -= w;
            }
        }
    }
    close(sp[0]);
    CHECK(pthread_join(th, &got) == 0);
    CHECK_EQ((uint32_t)(uintptr_t)got, want);
    /* sendfile to a socket that blocks sends all. */
    off_t off = 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK(pthread_create(&th, NULL, chain_reader, &sp[1]) == 0);
    CHECK_EQ(sendfile(sp[0], fd, &off, sizeof(data)), (ssize_t)sizeof(data));
    CHECK_EQ(off, sizeof(data));
    close(sp[0]);
    CHECK(pthread_join(th, &got) == 0);
    CHECK_EQ((uint32_t)(uintptr_t)got, want);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sp) == 0);
    CHECK(pthread_create(&th, NULL, chain_reader, &sp[1]) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    CHECK_EQ(sendfile(sp[0], fd, NULL, sizeof(data) + 5), (ssize_t)sizeof(data));
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), sizeof(data));
    close(sp[0]);
    CHECK(pthread_join(th, &got) == 0);
    CHECK_EQ((uint32_t)(uintptr_t)got, want);
}

static const struct guest_case cases[] = {
    {"file_to_pipe", case_file_to_pipe},
    {"pipe_to_file", case_pipe_to_file},
    {"errors", case_errors},
    {"pipes", case_pipes},
    {"full", case_full},
    {"waits", case_waits},
    {"sockets", case_sockets},
    {"vmsplice", case_vmsplice},
    {"chain", case_chain},
};
GUEST_MAIN(cases)
