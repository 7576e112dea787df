/* SPDX-License-Identifier: Apache-2.0
 * pipe.c - pipes and fifos as programs use them. */
#include "guest.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

static void *volatile bad_address = (void *)8;

static void make(int p[2], int flags)
{
    CHECK(pipe2(p, flags) == 0);
}

static void bytes_go_through(void)
{
    int p[2];
    char buf[8];
    make(p, 0);
    CHECK(write(p[1], "hello", 5) == 5);
    CHECK(read(p[0], buf, 2) == 2);
    CHECK(read(p[0], buf + 2, 6) == 3);
    CHECK(!memcmp(buf, "hello", 5));
}

static void wrong_ends(void)
{
    int p[2];
    char c;
    make(p, 0);
    CHECK_ERR(read(p[1], &c, 1), EBADF);
    CHECK_ERR(write(p[0], "x", 1), EBADF);
    CHECK_ERR(lseek(p[0], 0, SEEK_SET), ESPIPE);
    CHECK_ERR(pread(p[0], &c, 1, 0), ESPIPE);
    CHECK_ERR(ftruncate(p[1], 0), EINVAL);
}

static void flags(void)
{
    int p[2];
    CHECK_ERR(pipe2(p, O_APPEND), EINVAL);
    make(p, O_CLOEXEC | O_NONBLOCK);
    CHECK(fcntl(p[0], F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(p[0], F_GETFL) == (O_RDONLY | O_NONBLOCK));
    CHECK(fcntl(p[1], F_GETFL) == (O_WRONLY | O_NONBLOCK));
    CHECK_ERR(pipe2(bad_address, 0), EFAULT);
}

static void nonblocking(void)
{
    static char big[1 << 17];
    int p[2];
    make(p, O_NONBLOCK);
    CHECK_ERR(read(p[0], big, 1), EAGAIN);
    CHECK_EQ(write(p[1], big, sizeof(big)), 65536);
    CHECK_ERR(write(p[1], big, 1), EAGAIN);
    int n = 0;
    CHECK(ioctl(p[0], FIONREAD, &n) == 0 && n == 65536);
    CHECK_EQ(read(p[0], big, sizeof(big)), 65536);
}

static void end_of_file(void)
{
    int p[2];
    char c;
    make(p, 0);
    CHECK(write(p[1], "x", 1) == 1);
    close(p[1]);
    CHECK(read(p[0], &c, 1) == 1);
    CHECK(read(p[0], &c, 1) == 0);
}

static void broken_pipe(void)
{
    int p[2];
    make(p, 0);
    close(p[0]);
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERR(write(p[1], "x", 1), EPIPE);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        (void)!write(p[1], "x", 1);
        _exit(0);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
}

static void reader_waits(void *arg)
{
    int *p = arg;
    char buf[4];
    close(p[1]);
    CHECK(read(p[0], buf, 4) == 3);
    CHECK(!memcmp(buf, "abc", 3));
    CHECK(read(p[0], buf, 4) == 0);
}

static void blocking_read(void)
{
    int p[2];
    make(p, 0);
    pid_t pid = guest_fork(reader_waits, p);
    close(p[0]);
    guest_sleep_ms(20);
    CHECK(write(p[1], "abc", 3) == 3);
    guest_sleep_ms(20);
    close(p[1]);
    CHECK_EQ(guest_wait(pid), 0);
}

#define MUCH (1 << 20)

static void much_writer(void *arg)
{
    int *p = arg;
    char *buf = malloc(MUCH);
    for (int i = 0; i < MUCH; i++)
        buf[i] = (char)(i * 31 >> 3);
    CHECK_EQ(write(p[1], buf, MUCH), MUCH); /* all of it, in one call */
}

static void large_write(void)
{
    static char buf[7001];
    int p[2];
    make(p, 0);
    pid_t pid = guest_fork(much_writer, p);
    close(p[1]);
    int at = 0;
    ssize_t n;
    while ((n = read(p[0], buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < n; i++, at++)
            CHECK(buf[i] == (char)(at * 31 >> 3));
    CHECK_EQ(at, MUCH);
    CHECK_EQ(guest_wait(pid), 0);
}

struct atomic_arg {
    int fd;
    char mark;
};

static void *atomic_writer(void *arg)
{
    struct atomic_arg *a = arg;
    char buf[PIPE_BUF];
    memset(buf, a->mark, sizeof(buf));
    for (int i = 0; i < 100; i++)
        CHECK(write(a->fd, buf, sizeof(buf)) == sizeof(buf));
    return NULL;
}

static void small_writes_are_atomic(void)
{
    int p[2];
    pthread_t t[3];
    struct atomic_arg a[3];
    make(p, 0);
    for (int i = 0; i < 3; i++) {
        a[i] = (struct atomic_arg){p[1], (char)('a' + i)};
        CHECK(pthread_create(&t[i], NULL, atomic_writer, &a[i]) == 0);
    }
    for (int i = 0; i < 300; i++) {
        char buf[PIPE_BUF];
        size_t got = 0;
        while (got < sizeof(buf)) {
            ssize_t n = read(p[0], buf + got, sizeof(buf) - got);
            CHECK(n > 0);
            got += (size_t)n;
        }
        for (size_t k = 1; k < sizeof(buf); k++)
            CHECK(buf[k] == buf[0]);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
}

static void sizes(void)
{
    int p[2];
    make(p, 0);
    CHECK_EQ(fcntl(p[1], F_GETPIPE_SZ), 65536);
    CHECK_EQ(fcntl(p[1], F_SETPIPE_SZ, 5000), 8192);
    CHECK_EQ(fcntl(p[0], F_GETPIPE_SZ), 8192);
    CHECK_EQ(fcntl(p[1], F_SETPIPE_SZ, 1 << 20), 1 << 20);
    int fd = open("/dev/null", O_RDONLY);
    CHECK_ERR(fcntl(fd, F_GETPIPE_SZ), EBADF);
}

static void stat_and_links(void)
{
    int p[2];
    struct stat a, b;
    char path[64], link[64] = {0};
    make(p, 0);
    CHECK(fstat(p[0], &a) == 0 && fstat(p[1], &b) == 0);
    CHECK(S_ISFIFO(a.st_mode) && a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
    CHECK(readlink(path, link, sizeof(link) - 1) > 0);
    snprintf(path, sizeof(path), "pipe:[%lu]", (unsigned long)a.st_ino);
    CHECK(!strcmp(path, link));
}

static void reopened(void)
{
    int p[2];
    char path[64], c;
    struct stat a, b;
    make(p, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p[1]);
    int w = open(path, O_WRONLY);
    CHECK(w >= 0);
    CHECK(stat(path, &a) == 0 && fstat(p[1], &b) == 0);
    CHECK(S_ISFIFO(a.st_mode) && a.st_ino == b.st_ino);
    close(p[1]);
    CHECK(write(w, "x", 1) == 1);
    CHECK(read(p[0], &c, 1) == 1 && c == 'x');
    close(w);
    CHECK(read(p[0], &c, 1) == 0);
}

static void vectors(void)
{
    int p[2];
    char a[3], b[5];
    struct iovec out[2] = {{"abc", 3}, {"defgh", 5}}, in[2] = {{b, 5}, {a, 3}};
    make(p, 0);
    CHECK_EQ(writev(p[1], out, 2), 8);
    CHECK_EQ(readv(p[0], in, 2), 8);
    CHECK(!memcmp(b, "abcde", 5) && !memcmp(a, "fgh", 3));
    CHECK_EQ(write(p[1], "", 0), 0);
}

static void bad_memory(void)
{
    int p[2];
    char c;
    make(p, 0);
    CHECK_ERR(write(p[1], bad_address, 1), EFAULT);
    CHECK(write(p[1], "x", 1) == 1);
    CHECK_ERR(read(p[0], bad_address, 1), EFAULT);
    CHECK(read(p[0], &c, 1) == 1 && c == 'x'); /* nothing was lost */
}

static void on_signal(int signo)
{
    (void)signo;
}

static void interrupted(void)
{
    int p[2];
    char c;
    struct sigaction sa = {.sa_handler = on_signal};
    make(p, 0);
    sigaction(SIGALRM, &sa, NULL);
    alarm(1);
    CHECK_ERR(read(p[0], &c, 1), EINTR);
}

static char fifo_path[] = "/tmp/guest-fifo-XXXXXX";

static void fifo_writer(void *arg)
{
    (void)arg;
    int fd = open(fifo_path, O_WRONLY); /* waits for the reader */
    CHECK(fd >= 0);
    CHECK(write(fd, "fifo", 4) == 4);
}

static void fifos(void)
{
    char buf[8];
    CHECK(mkdtemp(fifo_path));
    CHECK(rmdir(fifo_path) == 0);
    CHECK(mkfifo(fifo_path, 0600) == 0);
    CHECK_ERR(open(fifo_path, O_WRONLY | O_NONBLOCK), ENXIO);
    pid_t pid = guest_fork(fifo_writer, NULL);
    guest_sleep_ms(20);
    int fd = open(fifo_path, O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, buf, 8), 4);
    CHECK_EQ(read(fd, buf, 8), 0);
    CHECK_EQ(guest_wait(pid), 0);
    close(fd);
    fd = open(fifo_path, O_RDONLY | O_NONBLOCK);
    CHECK(fd >= 0);
    struct pollfd pf = {fd, POLLIN, 0};
    CHECK_EQ(poll(&pf, 1, 0), 0); /* no writer yet is no hangup */
    int w = open(fifo_path, O_WRONLY | O_NONBLOCK);
    CHECK(w >= 0);
    close(w);
    CHECK(poll(&pf, 1, 0) == 1 && pf.revents == POLLHUP);
    CHECK(unlink(fifo_path) == 0);
}

/* O_DIRECT: a write is a packet, a page of the pipe; a read takes at most one and drops its rest. */
static void packets(void)
{
    char buf[9000];
    int p[2], n;

    CHECK(pipe2(p, O_DIRECT | O_NONBLOCK) == 0);
    CHECK((fcntl(p[1], F_GETFL) & O_DIRECT) && !(fcntl(p[0], F_GETFL) & O_DIRECT));
    CHECK(write(p[1], "abc", 3) == 3 && write(p[1], "de", 2) == 2 && write(p[1], "", 0) == 0);
    CHECK(ioctl(p[0], FIONREAD, &n) == 0);
    CHECK_EQ(n, 5);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 3);
    CHECK_EQ(read(p[0], buf, 1), 1);
    CHECK_EQ(buf[0], 'd');
    CHECK_ERR(read(p[0], buf, 1), EAGAIN);
    CHECK_EQ(write(p[1], buf, 5000), 5000); /* more than PIPE_BUF: two of them */
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 4096);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 904);
    for (n = 0; write(p[1], "x", 1) == 1; n++)
        ;
    CHECK_EQ(n, 16);
    struct pollfd full = {.fd = p[1], .events = POLLOUT};
    CHECK_EQ(poll(&full, 1, 0), 0);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 1);
    CHECK_EQ(poll(&full, 1, 0), 1);
    CHECK_EQ(write(p[1], buf, 9000), 4096); /* what there is room for */
    for (n = 0; read(p[0], buf, sizeof(buf)) > 0; n++)
        ;
    CHECK_EQ(n, 16);
}

/* Bytes and packets in one pipe; a change of its size. */
static void packets_mixed(void)
{
    char buf[100];
    int p[2];

    CHECK(pipe2(p, O_NONBLOCK) == 0);
    CHECK(fcntl(p[1], F_SETFL, O_DIRECT | O_NONBLOCK) == 0);
    CHECK(write(p[1], "first", 5) == 5 && write(p[1], "second", 6) == 6);
    CHECK(fcntl(p[1], F_SETFL, O_NONBLOCK) == 0);
    CHECK(write(p[1], "123", 3) == 3);
    CHECK(fcntl(p[1], F_SETFL, O_DIRECT | O_NONBLOCK) == 0);
    CHECK(write(p[1], "joins", 5) == 5);
    CHECK_EQ(read(p[0], buf, 2), 2);
    CHECK(fcntl(p[1], F_SETPIPE_SZ, 131072) == 131072);
    CHECK_EQ(read(p[0], buf, 100), 6);
    CHECK_EQ(memcmp(buf, "second", 6), 0);
    CHECK_EQ(read(p[0], buf, 2), 2);
    CHECK_EQ(read(p[0], buf, 100), 6);
    CHECK_EQ(memcmp(buf, "3joins", 6), 0);
    CHECK(write(p[1], "last", 4) == 4);
    CHECK_EQ(read(p[0], buf, 1), 1);
    CHECK_ERR(read(p[0], buf, 1), EAGAIN);
    int sv[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    CHECK_ERR(fcntl(sv[0], F_SETFL, O_DIRECT), EINVAL);
}

static const struct guest_case cases[] = {
    {"packets", packets},
    {"packets_mixed", packets_mixed},
    {"bytes_go_through", bytes_go_through},
    {"wrong_ends", wrong_ends},
    {"flags", flags},
    {"nonblocking", nonblocking},
    {"end_of_file", end_of_file},
    {"broken_pipe", broken_pipe},
    {"blocking_read", blocking_read},
    {"large_write", large_write},
    {"small_writes_are_atomic", small_writes_are_atomic},
    {"sizes", sizes},
    {"stat_and_links", stat_and_links},
    {"reopened", reopened},
    {"vectors", vectors},
    {"bad_memory", bad_memory},
    {"interrupted", interrupted},
    {"fifos", fifos},
};
GUEST_MAIN(cases)
