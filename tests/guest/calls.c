/* SPDX-License-Identifier: Apache-2.0
 * calls.c - single calls that have no family here: futex_waitv, sched_setattr, pidfd_getfd. */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "guest.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* --- futex_waitv --- */

struct waitv {
    uint64_t val, addr;
    uint32_t flags, reserved;
};
static uint32_t g_words[200];

static void waitv_init(struct waitv *w, int count)
{
    memset(g_words, 0, sizeof(g_words));
    for (int i = 0; i < count; i++)
        w[i] = (struct waitv){0, (uintptr_t)&g_words[i], 2 | 128, 0};
}

static long waitv(struct waitv *w, unsigned count, struct timespec *at, int clock)
{
    return syscall(SYS_futex_waitv, w, count, 0, at, clock);
}

static void *wake_later(void *arg)
{
    uint32_t *word = arg;
    guest_sleep_ms(50);
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1), 1);
    return NULL;
}

static void case_waitv(void)
{
    struct waitv w[129];
    struct timespec ts;
    pthread_t th;

    waitv_init(w, 129);
    if (waitv(w, 0, NULL, 0) < 0 && errno == ENOSYS)
        SKIP("no futex_waitv");
    CHECK_ERR(waitv(w, 0, NULL, 0), EINVAL);
    CHECK_ERR(waitv(w, 129, NULL, 0), EINVAL);
    CHECK_ERR(waitv(NULL, 1, NULL, 0), EINVAL);
    CHECK_ERR(waitv((struct waitv *)8, 1, NULL, 0), EFAULT);
    w[1].val = 5;
    CHECK_ERR(waitv(w, 2, NULL, 0), EAGAIN);
    w[1].val = 0;
    w[1].flags = 128;
    CHECK_ERR(waitv(w, 2, NULL, 0), EINVAL);
    w[1].flags = 2 | 128;
    w[1].reserved = 1;
    CHECK_ERR(waitv(w, 2, NULL, 0), EINVAL);
    w[1].reserved = 0;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    CHECK_ERR(waitv(w, 2, &ts, CLOCK_MONOTONIC), ETIMEDOUT);
    CHECK_ERR(waitv(w, 2, &ts, CLOCK_BOOTTIME), EINVAL);
    CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    ts.tv_nsec += 20000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    CHECK_ERR(waitv(w, 128, &ts, CLOCK_REALTIME), ETIMEDOUT);
    for (int i = 0; i < 128; i += 42) {
        waitv_init(w, 128);
        CHECK(pthread_create(&th, NULL, wake_later, &g_words[i]) == 0);
        CHECK_EQ(waitv(w, 128, NULL, 0), i);
        CHECK(pthread_join(th, NULL) == 0);
    }
    CHECK_EQ(syscall(SYS_futex, &g_words[3], FUTEX_WAKE_PRIVATE, 1), 0); /* none is left behind */
}

/* --- sched_setattr --- */

struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
    char more[64];
};

static void case_sched_attr(void)
{
    struct attr a = {.size = 56}, got;

    CHECK_EQ(syscall(SYS_sched_getattr, 0, &got, 56, 0), 0);
    CHECK_EQ(got.size, 56);
    CHECK_EQ(got.policy, SCHED_OTHER);
    a.policy = SCHED_BATCH;
    a.nice = 7;
    CHECK_EQ(syscall(SYS_sched_setattr, 0, &a, 0), 0);
    CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 7);
    CHECK_EQ(syscall(SYS_sched_getattr, 0, &got, 48, 0), 0);
    CHECK_EQ(got.size, 48);
    CHECK_EQ(got.nice, 7);
    CHECK_ERR(syscall(SYS_sched_getattr, 0, &got, 47, 0), EINVAL);
    CHECK_ERR(syscall(SYS_sched_setattr, 0, &a, 1), EINVAL);
    CHECK_ERR(syscall(SYS_sched_setattr, 0, NULL, 0), EINVAL);
    CHECK_ERR(syscall(SYS_sched_setattr, 99999999, &a, 0), ESRCH);
    a.size = 64;
    CHECK_EQ(syscall(SYS_sched_setattr, 0, &a, 0), 0); /* what is behind is zero */
    a.more[0] = 1;
    CHECK_ERR(syscall(SYS_sched_setattr, 0, &a, 0), E2BIG);
    a.size = 10;
    CHECK_ERR(syscall(SYS_sched_setattr, 0, &a, 0), E2BIG);
    a.size = 56;
    a.policy = 77;
    CHECK_ERR(syscall(SYS_sched_setattr, 0, &a, 0), EINVAL);
}

/* --- pidfd_getfd --- */

static int g_pipe[2];

static void child_pipe(void *arg)
{
    int p[2];
    (void)arg;
    CHECK(pipe(p) == 0 && dup2(p[1], 100) == 100);
    CHECK_EQ(write(p[1], "secret", 6), 6);
    CHECK(dup2(p[0], 101) == 101);
    CHECK_EQ(write(g_pipe[1], "x", 1), 1);
    for (;;)
        pause();
}

static void case_pidfd_getfd(void)
{
    char buf[8];
    CHECK(pipe(g_pipe) == 0);
    pid_t pid = guest_fork(child_pipe, NULL);
    CHECK_EQ(read(g_pipe[0], buf, 1), 1);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(pidfd >= 0);
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, 101, 0);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(read(fd, buf, 8), 6);
    CHECK(!memcmp(buf, "secret", 6));
    CHECK_ERR(syscall(SYS_pidfd_getfd, pidfd, 102, 0), EBADF);
    CHECK_ERR(syscall(SYS_pidfd_getfd, pidfd, 101, 1), EINVAL);
    CHECK_ERR(syscall(SYS_pidfd_getfd, 0, 101, 0), EBADF);
    if (!geteuid()) { /* root's child, asked by somebody else */
        pid_t other = fork();
        CHECK(other >= 0);
        if (!other) {
            CHECK(setresgid(12345, 12345, 12345) == 0 && setresuid(12345, 12345, 12345) == 0);
            CHECK_ERR(syscall(SYS_pidfd_getfd, pidfd, 101, 0), EPERM);
            _exit(0);
        }
        CHECK_EQ(guest_wait(other), 0);
    }
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK_EQ(guest_wait(pid), SIGKILL);
    CHECK_ERR(syscall(SYS_pidfd_getfd, pidfd, 101, 0), ESRCH);
}

static const struct guest_case cases[] = {
    {"waitv", case_waitv},
    {"sched_attr", case_sched_attr},
    {"pidfd_getfd", case_pidfd_getfd},
};
GUEST_MAIN(cases)
