/* SPDX-License-Identifier: Apache-2.0
 * turns.c - one call that takes long, and somebody else's calls meanwhile: they get their turns. */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define MIB (1L << 20)

struct shared {
    _Atomic(int) state; /* 0, 1: the long call runs, 2: it is over */
    int64_t began, took;
};

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

/* Holes and nothing else: long to read, short to make. */
static int sparse(const char *name, long bytes)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && ftruncate(fd, bytes) == 0);
    unlink(name);
    return fd;
}

static long send_to_null(void)
{
    int in = sparse("turns-in", 1024 * MIB), out = open("/dev/null", O_WRONLY);
    off_t at = 0;

    CHECK(out >= 0);
    return sendfile(out, in, &at, 1024 * MIB);
}

static long copy_range(void)
{
    int in = sparse("turns-in", 96 * MIB), out = sparse("turns-out", 0);
    long n, done = 0;

    while ((n = syscall(SYS_copy_file_range, in, NULL, out, NULL, 96 * MIB - done, 0)) > 0)
        done += n;
    return done;
}

static long read_zeros(void)
{
    char *m = mmap(NULL, 96 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int in = sparse("turns-in", 96 * MIB);

    CHECK(m != MAP_FAILED);
    return read(in, m, 96 * MIB);
}

/* Beside fn(): short calls of this process, one after the other; fn() must not hold them up. */
static void beside(long (*fn)(void), long want)
{
    struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int64_t worst = 0, last;
    unsigned calls = 0;
    int status;

    CHECK(s != MAP_FAILED);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        s->state = 1;
        s->began = now_us();
        long n = fn();
        s->took = now_us() - s->began;
        s->state = 2;
        _exit(n == want ? 0 : 1);
    }
    while (s->state == 0)
        sched_yield();
    last = now_us();
    while (s->state == 1) {
        umask(022);
        int64_t now = now_us();
        if (now - last > worst)
            worst = now - last;
        last = now;
        calls++;
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    fprintf(stderr, "%u calls in %lld us, the slowest %lld us\n", calls, (long long)s->took,
            (long long)worst);
    if (s->took < 20000)
        return;         /* too fast to be in anybody's way */
    CHECK(calls >= 20); /* how long each took depends on who else uses the CPUs, too */
}

static void case_sendfile(void)
{
    beside(send_to_null, 1024 * MIB);
}

static void case_copy_file_range(void)
{
    beside(copy_range, 96 * MIB);
}

static void case_read(void)
{
    beside(read_zeros, 96 * MIB);
}

static const struct guest_case cases[] = {
    {"sendfile", case_sendfile},
    {"copy_file_range", case_copy_file_range},
    {"read", case_read},
};
GUEST_MAIN(cases)
