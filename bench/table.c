/* SPDX-License-Identifier: Apache-2.0
 * table.c - what single system calls cost, run natively and inside by bench/run table. `table NAME
 * [MS]` prints the median ns of a call, measured for MS milliseconds (50) after a warm-up in which a
 * sandbox that changes call sites does so. `table --list` prints the names.
 *
 * All of it through the C library, as programs do. */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES_MAX 4096
#define WARM_UP 2000
#define FILE_BYTES (1 << 20)

static int fd, fd2, pipes[2][2];
static char buf[4096], path[64];
static uint64_t eight = 1;
static uint32_t word;
static struct stat st;
static struct epoll_event event;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void must(long got, long want, const char *what)
{
    if (got != want)
        die(what);
}

/* --- preparation --- */

static void file_open(void)
{
    strcpy(path, "/tmp/ringbox-table.XXXXXX");
    fd = mkstemp(path);
    if (fd < 0)
        die(path);
    for (int i = 0; i < FILE_BYTES / (int)sizeof buf; i++)
        must(write(fd, buf, sizeof buf), sizeof buf, "write");
    lseek(fd, 0, SEEK_SET);
}

static void pipe_open(void)
{
    if (pipe(pipes[0]) || pipe(pipes[1]))
        die("pipe");
}

static void epoll_open(void)
{
    fd = epoll_create1(0);
    fd2 = eventfd(1, 0);
    event = (struct epoll_event){.events = EPOLLIN};
    if (epoll_ctl(fd, EPOLL_CTL_ADD, fd2, &event))
        die("epoll_ctl");
}

static void eventfd_open(void)
{
    fd = eventfd(0, 0);
}

static void echo(void)
{
    while (read(pipes[0][0], buf, 1) == 1)
        if (write(pipes[1][1], buf, 1) != 1)
            break;
}

static void *echo_thread(void *arg)
{
    echo();
    return arg;
}

static void threads_open(void)
{
    pthread_t t;

    pipe_open();
    if (pthread_create(&t, NULL, echo_thread, NULL))
        die("pthread_create");
}

static void processes_open(void)
{
    pipe_open();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        close(pipes[0][1]);
        close(pipes[1][0]);
        echo();
        _exit(0);
    }
}

static void nothing(void)
{
}

/* --- one of each; the number of the call lets files be read and written in a circle --- */

static void do_umask(unsigned i)
{
    (void)i;
    umask(022);
}

static void do_getpid(unsigned i)
{
    (void)i;
    must(getpid() > 0, 1, "getpid");
}

static void do_clock(unsigned i)
{
    struct timespec t;

    (void)i;
    clock_gettime(CLOCK_MONOTONIC, &t);
}

static void do_read(unsigned i, size_t n)
{
    if (i % 128 == 0)
        lseek(fd, 0, SEEK_SET);
    must(read(fd, buf, n), (long)n, "read");
}

static void do_write(unsigned i, size_t n)
{
    if (i % 128 == 0)
        lseek(fd, 0, SEEK_SET);
    must(write(fd, buf, n), (long)n, "write");
}

static void do_read_1(unsigned i)
{
    do_read(i, 1);
}

static void do_read_4k(unsigned i)
{
    do_read(i, 4096);
}

static void do_write_1(unsigned i)
{
    do_write(i, 1);
}

static void do_write_4k(unsigned i)
{
    do_write(i, 4096);
}

static void do_pread_1(unsigned i)
{
    must(pread(fd, buf, 1, i % 256 * 4096), 1, "pread");
}

static void do_pread_4k(unsigned i)
{
    must(pread(fd, buf, 4096, i % 256 * 4096), 4096, "pread");
}

static void do_pwrite_1(unsigned i)
{
    must(pwrite(fd, buf, 1, i % 256 * 4096), 1, "pwrite");
}

static void do_pwrite_4k(unsigned i)
{
    must(pwrite(fd, buf, 4096, i % 256 * 4096), 4096, "pwrite");
}

static void do_stat(unsigned i)
{
    (void)i;
    must(stat(path, &st), 0, "stat");
}

static void do_fstat(unsigned i)
{
    (void)i;
    must(fstat(fd, &st), 0, "fstat");
}

static void do_open_close(unsigned i)
{
    (void)i;
    must(close(open(path, O_RDONLY)), 0, "open");
}

static void do_lseek(unsigned i)
{
    must(lseek(fd, (off_t)i % 4096, SEEK_SET), (long)i % 4096, "lseek");
}

static void do_pipe(unsigned i)
{
    (void)i;
    must(write(pipes[0][1], buf, 1), 1, "write");
    must(read(pipes[0][0], buf, 1), 1, "read");
}

static void do_ping(unsigned i)
{
    (void)i;
    must(write(pipes[0][1], buf, 1), 1, "write");
    must(read(pipes[1][0], buf, 1), 1, "read");
}

static void do_epoll(unsigned i)
{
    struct epoll_event e;

    (void)i;
    must(epoll_wait(fd, &e, 1, 0), 1, "epoll_wait");
}

static void do_futex(unsigned i)
{
    (void)i;
    must(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0, "futex");
}

static void do_eventfd(unsigned i)
{
    (void)i;
    must(write(fd, &eight, 8), 8, "write");
    must(read(fd, &eight, 8), 8, "read");
}

static const struct row {
    const char *name;
    void (*open)(void);
    void (*call)(unsigned i);
    unsigned batch, warm_up;
} rows[] = {
    {"umask", nothing, do_umask, 200, WARM_UP},
    {"getpid", nothing, do_getpid, 1000, WARM_UP},
    {"clock_gettime", nothing, do_clock, 1000, WARM_UP},
    {"read_1", file_open, do_read_1, 128, WARM_UP},
    {"read_4k", file_open, do_read_4k, 128, WARM_UP},
    {"write_1", file_open, do_write_1, 128, WARM_UP},
    {"write_4k", file_open, do_write_4k, 128, WARM_UP},
    {"pread_1", file_open, do_pread_1, 128, WARM_UP},
    {"pread_4k", file_open, do_pread_4k, 128, WARM_UP},
    {"pwrite_1", file_open, do_pwrite_1, 128, WARM_UP},
    {"pwrite_4k", file_open, do_pwrite_4k, 128, WARM_UP},
    {"lseek", file_open, do_lseek, 200, WARM_UP},
    {"stat", file_open, do_stat, 100, WARM_UP},
    {"fstat", file_open, do_fstat, 100, WARM_UP},
    {"open_close", file_open, do_open_close, 50, WARM_UP},
    {"pipe_write_read", pipe_open, do_pipe, 100, WARM_UP},
    {"eventfd_write_read", eventfd_open, do_eventfd, 100, WARM_UP},
    {"epoll_wait_ready", epoll_open, do_epoll, 100, WARM_UP},
    {"futex_wake", nothing, do_futex, 200, WARM_UP},
    {"ping_threads", threads_open, do_ping, 20, 400},
    {"ping_processes", processes_open, do_ping, 20, 400},
};
#define ROWS (sizeof rows / sizeof rows[0])

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double measure(const struct row *r, int64_t ns)
{
    static double took[BATCHES_MAX];
    unsigned n = 0;

    r->open();
    for (unsigned i = 0; i < r->warm_up; i++)
        r->call(i);
    int64_t at = now_ns(), end = at + ns;
    while (at < end && n < BATCHES_MAX) {
        for (unsigned i = 0; i < r->batch; i++)
            r->call(i);
        int64_t next = now_ns();
        took[n++] = (double)(next - at) / r->batch;
        at = next;
    }
    if (path[0])
        unlink(path);
    qsort(took, n, sizeof took[0], compare);
    return took[n / 2];
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--list";

    for (unsigned i = 0; i < ROWS; i++) {
        if (!strcmp(name, "--list"))
            puts(rows[i].name);
        if (strcmp(name, rows[i].name))
            continue;
        printf("%.1f\n", measure(&rows[i], (argc > 2 ? atoi(argv[2]) : 50) * 1000000LL));
        fflush(stdout);
        _exit(0);
    }
    return strcmp(name, "--list") ? 2 : 0;
}
