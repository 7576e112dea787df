/* SPDX-License-Identifier: Apache-2.0
 * guest.h - the frame of a guest test: named cases, checks that say where they failed.
 *
 * A program holds one family of cases. Without arguments every case runs in a child of its own;
 * with a name only that one, in the program itself; --list prints the names. Exit status: 0 passed,
 * 1 failed, 77 skipped. Nothing but the C library is used, so that the same program runs natively
 * (the oracle) and in the sandbox.
 */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct guest_case {
    const char *name;
    void (*run)(void);
};

#define GUEST_SKIP 77

/* The C library declares raise() and others as never calling back: handlers' variables must be read
 * again all the same. */
#define GUEST_REREAD() __asm__ volatile("" : : : "memory")

#define CHECK(cond)                                \
    do {                                           \
        GUEST_REREAD();                            \
        if (!(cond))                               \
            guest_fail(__FILE__, __LINE__, #cond); \
    } while (0)
/* Both sides as long long, printed on failure. */
#define CHECK_EQ(a, b)                                                                 \
    do {                                                                               \
        GUEST_REREAD();                                                                \
        guest_equal(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b)); \
    } while (0)
/* Returned -1 with this errno. */
#define CHECK_ERR(call, err)                                                 \
    do {                                                                     \
        errno = 0;                                                           \
        long long check_r = (long long)(call);                               \
        int check_e = errno;                                                 \
        guest_equal(__FILE__, __LINE__, #call " fails", check_r, -1);        \
        guest_equal(__FILE__, __LINE__, #call " errno " #err, check_e, err); \
    } while (0)
#define SKIP(why)                                                         \
    do {                                                                  \
        fprintf(stderr, "%s:%d: skipped: %s\n", __FILE__, __LINE__, why); \
        _exit(GUEST_SKIP);                                                \
    } while (0)

static inline void guest_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s (errno %d %s)\n", file, line, what, errno, strerror(errno));
    _exit(1);
}

static inline void guest_equal(const char *file, int line, const char *what, long long a,
                               long long b)
{
    if (a == b)
        return;
    fprintf(stderr, "%s:%d: failed: %s: %lld (0x%llx), %lld (0x%llx) (errno %d)\n", file, line,
            what, a, (unsigned long long)a, b, (unsigned long long)b, errno);
    _exit(1);
}

static inline int64_t guest_now_ns(clockid_t clock)
{
    struct timespec ts;
    CHECK(clock_gettime(clock, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline void guest_sleep_ms(long ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&ts, &ts) && errno == EINTR)
        ;
}

/* A template for mkstemp() and mkdtemp() below TMPDIR or /tmp. */
#define GUEST_TEMPLATE_MAX 256
static inline char *guest_template(char ret[GUEST_TEMPLATE_MAX], const char *name)
{
    const char *base = getenv("TMPDIR");
    snprintf(ret, GUEST_TEMPLATE_MAX, "%s/%s_XXXXXX", base ? base : "/tmp", name);
    return ret;
}

/* Until the condition holds, 10 s at most. */
#define WAIT_FOR(cond)                                                    \
    do {                                                                  \
        int64_t wait_end = guest_now_ns(CLOCK_MONOTONIC) + 10000000000LL; \
        while (!(cond)) {                                                 \
            CHECK(guest_now_ns(CLOCK_MONOTONIC) < wait_end);              \
            guest_sleep_ms(1);                                            \
        }                                                                 \
    } while (0)

/* A child that runs fn and exits with 0, or fails its checks. */
static inline pid_t guest_fork(void (*fn)(void *), void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        fn(arg);
        _exit(0);
    }
    return pid;
}

/* Wait status of a child. */
static inline int guest_wait(pid_t pid)
{
    int status = 0;
    pid_t r;
    do {
        r = waitpid(pid, &status, 0);
    } while (r < 0 && errno == EINTR);
    CHECK_EQ(r, pid);
    return status;
}

static inline pid_t guest_gettid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static inline int guest_run_all(const struct guest_case *cases, size_t count)
{
    int failed = 0, skipped = 0;
    for (size_t i = 0; i < count; i++) {
        fflush(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            cases[i].run();
            fflush(NULL);
            _exit(0);
        }
        int status = guest_wait(pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == GUEST_SKIP) {
            skipped++;
        } else if (status) {
            failed++;
            printf("FAILED %s (wait status 0x%x)\n", cases[i].name, (unsigned)status);
        }
    }
    printf("%zu cases, %d failed, %d skipped\n", count, failed, skipped);
    if (failed)
        return 1;
    return skipped && (size_t)skipped == count ? GUEST_SKIP : 0;
}

static inline int guest_main(int argc, char **argv, const struct guest_case *cases, size_t count)
{
    if (argc < 2)
        return guest_run_all(cases, count);
    bool list = !strcmp(argv[1], "--list");
    for (size_t i = 0; i < count; i++) {
        if (list)
            puts(cases[i].name);
        else if (!strcmp(cases[i].name, argv[1])) {
            cases[i].run();
            return 0;
        }
    }
    if (!list)
        fprintf(stderr, "%s: no case '%s'\n", argv[0], argv[1]);
    return list ? 0 : 2;
}

#define GUEST_MAIN(cases)                                                         \
    int main(int argc, char **argv)                                               \
    {                                                                             \
        return guest_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0])); \
    }

#endif
