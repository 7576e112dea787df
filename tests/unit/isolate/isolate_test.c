/* SPDX-License-Identifier: Apache-2.0
 * The stages of the Sentry, each in a child, as root and as an ordinary user; what the lists have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/log.h>
#include <host/io.h>
#include <host/memfile.h>
#include <isolate/isolate.h>

#include "isolate_fixture.h"

static void lists_hold_what_they_must(void **state)
{
    (void)state;
    const char *must[] = {"futex",           "write",      "mmap",
                          "rt_sigreturn",    "exit_group", "restart_syscall",
                          "clock_nanosleep", "preadv2"};
    const char *never[] = {"openat",
                           "open",
                           "openat2",
                           "socket",
                           "connect",
                           "execve",
                           "execveat",
                           "io_uring_setup",
                           "io_uring_register",
                           "ptrace",
                           "mount",
                           "bpf",
                           "seccomp",
                           "prctl",
                           "setns",
                           "unshare",
                           "clone3",
                           "fork",
                           "vfork",
                           "process_vm_writev",
                           "pidfd_getfd",
                           "memfd_create",
                           "chroot"};
    for (size_t i = 0; i < ARRAY_SIZE(must); i++)
        assert_true(has_word(isolate_list("sentry"), must[i]));
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        if (has_word(isolate_list("sentry"), never[i]))
            fail_msg("%s is on the Sentry's list", never[i]);
    const char *gofer_never[] = {"socket",         "connect", "execve", "ptrace",
                                 "mount",          "seccomp", "setns",  "unshare",
                                 "io_uring_setup", "kill",    "bpf"};
    for (size_t i = 0; i < ARRAY_SIZE(gofer_never); i++)
        if (has_word(isolate_list("gofer"), gofer_never[i]))
            fail_msg("%s is on the gofer's list", gofer_never[i]);
    assert_true(has_word(isolate_list("gofer"), "futex"));
}

/* --- the Sentry --- */

#define BY_RIGHT 90

static void as_init_how(enum isolate_user how, void (*fn)(void *), void *arg)
{
    const char *what = "";
    int sv[2], err = isolate_namespaces(how, &what);
    if (err == -EOPNOTSUPP)
        _exit(BY_RIGHT);
    if (err) {
        dprintf(2, "namespaces: %s: %s\n", what, strerror(-err));
        _exit(SKIPPED);
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        CHECK(getpid() == 1);
        struct stat before, after;
        CHECK(stat("/proc/thread-self/ns/net", &before) == 0);
        CHECK(isolate_net_take(sv[1], &what) == 0);
        CHECK(stat("/proc/thread-self/ns/net", &after) == 0);
        CHECK(TSAN || before.st_ino != after.st_ino);
        fn(arg);
        _exit(0);
    }
    int status;
    CHECK(isolate_net_give(sv[0], &what) == 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* Runs fn(arg) as pid 1 of new namespaces. */
static void as_init(bool ordinary, void (*fn)(void *), void *arg)
{
    CHECK(!ordinary || become_ordinary());
    as_init_how(ISOLATE_OWN_USER, fn, arg);
}

static void *thread_body(void *arg)
{
    atomic_store((_Atomic(int) *)arg, 1);
    return NULL;
}

static void uses_allowed_calls(struct memfile *mf, struct io *io)
{
    uint64_t off;
    CHECK(!memfile_alloc(mf, 1 << 20, MEMFILE_ANY, &off));
    CHECK(!memfile_populate(mf, off, 1 << 20));
    *(char *)memfile_ptr(mf, off) = 1;
    CHECK(memfile_used(mf) >= 1 << 20);
    memfile_free(mf, off, 1 << 20);

    _Atomic(uint32_t) word = 1;
    io_sleep(io, &word, 1, 1000000);
    io_round(io);

    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && !mprotect(p, 4096, PROT_NONE) && !munmap(p, 1 << 20));
    char random[8];
    CHECK(getrandom(random, sizeof random, 0) == sizeof random);
    void *big = malloc(8 << 20);
    CHECK(big);
    memset(big, 1, 8 << 20);
    free(big);
    pthread_t t;
    _Atomic(int) ran = 0;
    CHECK(!pthread_create(&t, NULL, thread_body, &ran) && !pthread_join(t, NULL) && ran == 1);
    struct timespec ts = {.tv_nsec = 1000};
    nanosleep(&ts, NULL);
}

struct plan {
    enum io_engine engine;
    bool staged;
    int pipe[2];
};

static void sentry_stages(void *arg)
{
    struct plan *plan = arg;
    const char *what = "";
    struct memfile *mf;
    struct io *io;
    CHECK(!memfile_create(64 << 20, &mf));
    CHECK(memfile_limit_is_hard(mf));
    if (plan->staged) {
        CHECK(!isolate_drop(&what));
        CHECK(prctl(PR_CAPBSET_READ, 0, 0, 0, 0) == 0);
        CHECK(setresuid(0, 0, 0));
        int fd = open("/proc/self/maps", O_RDONLY); /* still there */
        CHECK(fd >= 0 && !close(fd));
    }
    int err = io_create(plan->engine, &io);
    if (err)
        _exit(SKIPPED);
    err = isolate_sentry(false, &what);
    if (err) {
        dprintf(2, "isolate_sentry: %s: %d\n", what, err);
        CHECK(!err);
    }
    uses_allowed_calls(mf, io);
    /* The parent looks at us from outside. */
    char c = 0;
    CHECK(write(plan->pipe[1], &c, 1) == 1);
    struct iovec iov = {&c, 1};
    CHECK(preadv2(plan->pipe[0], &iov, 1, -1, 0) == 1);
}

static void sentry_root(void *arg)
{
    as_init(false, sentry_stages, arg);
}

static void sentry_ordinary(void *arg)
{
    as_init(true, sentry_stages, arg);
}

static void stage_check(void (*fn)(void *), enum io_engine engine, bool staged)
{
    int up[2], down[2];
    assert_int_equal(pipe(up), 0);
    assert_int_equal(pipe(down), 0);
    struct plan plan = {engine, staged, {down[0], up[1]}};
    pid_t pid = fork();
    if (!pid) {
        close(up[0]);
        close(down[1]);
        fn(&plan);
        _exit(0);
    }
    close(up[1]);
    close(down[0]);
    char path[64], line[256];
    char c;
    if (read(up[0], &c, 1) == 1) {
        /* its child is the confined one */
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
        FILE *f = fopen(path, "re");
        int sentry = 0;
        if (f && fgets(line, sizeof line, f))
            sentry = atoi(line);
        if (f)
            fclose(f);
        snprintf(path, sizeof path, "/proc/%d/status", sentry);
        f = sentry ? fopen(path, "re") : NULL;
        while (f && fgets(line, sizeof line, f)) {
            unsigned long long v;
            if (sscanf(line, "Cap%*[A-Za-z]: %llx", &v) == 1 && v)
                fail_msg("capabilities left: %s", line);
            if (!strncmp(line, "NoNewPrivs:", 11))
                assert_int_equal(atoi(line + 11), 1);
            if (!strncmp(line, "Seccomp:", 8))
                assert_int_equal(atoi(line + 8), 2);
            if (!strncmp(line, "Uid:", 4))
                assert_int_not_equal(atoi(line + 4), 0);
        }
        if (f)
            fclose(f);
        snprintf(path, sizeof path, "/proc/%d/root", sentry);
        DIR *d = geteuid() == 0 ? opendir(path) : NULL;
        struct dirent *e;
        while (d && (e = readdir(d)))
            assert_int_equal(e->d_name[0], '.');
        if (d)
            closedir(d);
        assert_int_equal(write(down[1], &c, 1), 1);
    }
    int status = child_status(pid);
    close(up[0]);
    close(down[1]);
    if (status == SKIPPED)
        skip();
    assert_int_equal(status, 0);
}

static void sentry_as_root(void **state)
{
    (void)state;
    if (geteuid())
        skip();
    stage_check(sentry_root, IO_AUTO, true);
}

/* Hosts that keep user namespaces from ordinary uids. */
static void sentry_no_userns(void *arg)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(ctx);
    CHECK(!seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
                            SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER)));
    CHECK(!seccomp_load(ctx));
    int status;
    pid_t pid = fork();
    if (!pid)
        as_init_how(ISOLATE_OWN_USER, sentry_stages, arg);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == BY_RIGHT);
    as_init_how(ISOLATE_BY_RIGHT, sentry_stages, arg);
}

static void sentry_as_root_without_user_namespaces(void **state)
{
    (void)state;
    if (geteuid())
        skip();
    stage_check(sentry_no_userns, IO_EPOLL, true);
}

static void sentry_as_ordinary_user(void **state)
{
    (void)state;
    stage_check(sentry_ordinary, IO_AUTO, true);
}

static void sentry_with_epoll(void **state)
{
    (void)state;
    stage_check(sentry_ordinary, IO_EPOLL, true);
}

static void sentry_in_one_step(void **state)
{
    (void)state;
    stage_check(sentry_ordinary, IO_URING, false);
}

/* Threads exist before capabilities are dropped: refused. */
static void *thread_waits(void *arg)
{
    pause();
    return arg;
}

static void threads_first(void *arg)
{
    const char *what = "";
    pthread_t t;
    (void)arg;
    CHECK(!pthread_create(&t, NULL, thread_waits, NULL));
    CHECK(isolate_drop(&what) == -EBUSY);
    CHECK(isolate_sentry(false, &what) == -EBUSY);
    CHECK(*what);
}

static void threads_first_body(void *arg)
{
    as_init(true, threads_first, arg);
}

static void threads_before_the_drop_are_refused(void **state)
{
    (void)state;
    int status = in_child(threads_first_body, NULL);
    if (status == SKIPPED)
        skip();
    assert_int_equal(status, 0);
}

/* --- violations --- */

static void v_open(void)
{
    syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY);
}

static void v_socket(void)
{
    socket(AF_UNIX, SOCK_STREAM, 0);
}

static void v_fork(void)
{
    syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void v_mmap_exec(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void v_mprotect_exec(void)
{
    static char page[8192] __attribute__((aligned(4096)));
    mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void v_unshare(void)
{
    unshare(CLONE_NEWUSER);
}

static void v_uring(void)
{
    syscall(SYS_io_uring_setup, 1, NULL);
}

static void v_tiocsti(void)
{
    ioctl(0, TIOCSTI, "x");
}

static void v_tiocsti_high_bits(void)
{
    syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, "x");
}

static void v_x32(void)
{
    syscall(0x40000000L | SYS_getpid);
}

static void violates(void *arg)
{
    void (*fn)(void);
    const char *what = "";
    memcpy(&fn, arg, sizeof fn);
    log_fd = open("/dev/null", O_WRONLY);
    CHECK(!isolate_sentry(false, &what));
    fn();
}

static void violates_body(void *arg)
{
    as_init(true, violates, arg);
}

static void violations_kill(void **state)
{
    (void)state;
    void (*const all[])(void) = {v_open,      v_socket,
                                 v_exec,      v_fork,
                                 v_mmap_exec, v_mprotect_exec,
                                 v_unshare,   v_uring,
                                 v_tiocsti,   v_tiocsti_high_bits,
                                 v_x32};
    for (size_t i = ASAN ? 1 : 0; i < ARRAY_SIZE(all); i++) { /* ASan opens files itself */
        void (*fn)(void) = all[i];
        int status = in_child(violates_body, &fn);
        if (status == SKIPPED)
            skip();
        if (status != 128 + SIGSYS)
            fail_msg("violation %zu: status %d", i, status);
    }
}

int main(void)
{
    if (TSAN) {
        printf("isolation is off in ThreadSanitizer builds, skipped\n");
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_hold_what_they_must),
        cmocka_unit_test(sentry_as_root),
        cmocka_unit_test(sentry_as_root_without_user_namespaces),
        cmocka_unit_test(sentry_as_ordinary_user),
        cmocka_unit_test(sentry_with_epoll),
        cmocka_unit_test(sentry_in_one_step),
        cmocka_unit_test(threads_before_the_drop_are_refused),
        cmocka_unit_test(violations_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
