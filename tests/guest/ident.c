/* SPDX-License-Identifier: Apache-2.0
 * ident.c - who a thread is: pid, tid, parent, users, groups, session, asked again and again from
 * one place, across everything that changes it. The new value is there when the change can be
 * known, never later. Natively trivial; meant for a sandbox that answers such calls without asking
 * its kernel. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>

#include "guest.h"

#define OFTEN 200 /* calls until a site has surely been noticed */

/* One call site each, in the form of the C library's wrappers. */
#define SITE(name, nr)                                                                          \
    static __attribute__((noinline)) long name(void)                                            \
    {                                                                                           \
        long r;                                                                                 \
        __asm__ volatile("mov %1,%%eax\nsyscall" : "=a"(r) : "i"(nr) : "rcx", "r11", "memory"); \
        return r;                                                                               \
    }
#define SITE1(name, nr)                                  \
    static __attribute__((noinline)) long name(long arg) \
    {                                                    \
        long r;                                          \
        __asm__ volatile("mov %1,%%eax\nsyscall"         \
                         : "=a"(r)                       \
                         : "i"(nr), "D"(arg)             \
                         : "rcx", "r11", "memory");      \
        return r;                                        \
    }
SITE(get_pid, SYS_getpid)
SITE(get_tid, SYS_gettid)
SITE(get_ppid, SYS_getppid)
SITE(get_uid, SYS_getuid)
SITE(get_euid, SYS_geteuid)
SITE(get_gid, SYS_getgid)
SITE(get_egid, SYS_getegid)
SITE(get_pgrp, SYS_getpgrp)
SITE1(get_pgid, SYS_getpgid)
SITE1(get_sid, SYS_getsid)

/* The same by another way: the C library's syscall() makes any call from one place. */
static void check_all(void)
{
    CHECK_EQ(get_pid(), syscall(SYS_getpid));
    CHECK_EQ(get_tid(), syscall(SYS_gettid));
    CHECK_EQ(get_ppid(), syscall(SYS_getppid));
    CHECK_EQ(get_uid(), syscall(SYS_getuid));
    CHECK_EQ(get_euid(), syscall(SYS_geteuid));
    CHECK_EQ(get_gid(), syscall(SYS_getgid));
    CHECK_EQ(get_egid(), syscall(SYS_getegid));
    CHECK_EQ(get_pgrp(), syscall(SYS_getpgrp));
    CHECK_EQ(get_pgid(0), syscall(SYS_getpgid, 0));
    CHECK_EQ(get_sid(0), syscall(SYS_getsid, 0));
    CHECK_EQ(get_pgrp(), get_pgid(get_pid()));
}

static void warm(void)
{
    for (int i = 0; i < OFTEN; i++)
        check_all();
}

static void byte_send(int fd)
{
    CHECK_EQ(write(fd, "x", 1), 1);
}

static void byte_wait(int fd)
{
    char c;
    CHECK_EQ(read(fd, &c, 1), 1);
}

static void values(void)
{
    warm();
    CHECK_EQ(get_pid(), get_tid());
    CHECK_EQ(get_pgid(-1), -ESRCH);
    CHECK_EQ(get_sid(-1), -ESRCH);
    CHECK_EQ(get_pgid(0x7fffffff), -ESRCH);
    CHECK_EQ(get_pgid(1L << 32), get_pgrp()); /* an int: the upper half does not count */
    CHECK_EQ(get_sid(1L << 32), get_sid(0));
}

/* --- new processes and threads --- */

static void forked(void)
{
    warm();
    for (int i = 0; i < 20; i++) {
        long parent = get_pid();
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            long self = get_pid();
            CHECK(self != parent);
            CHECK_EQ(get_ppid(), parent);
            CHECK_EQ(get_tid(), self);
            check_all();
            pid_t grandchild = fork();
            if (grandchild == 0) {
                CHECK_EQ(get_ppid(), self);
                _exit(0);
            }
            CHECK_EQ(guest_wait(grandchild), 0);
            CHECK_EQ(get_pid(), self);
            _exit(0);
        }
        CHECK_EQ(guest_wait(pid), 0);
        CHECK_EQ(get_pid(), parent);
    }
}

static void vforked(void)
{
    static volatile long child_pid, child_ppid, child_tid;

    warm();
    for (int i = 0; i < 20; i++) {
        long parent = get_pid();
        pid_t pid = vfork();
        if (pid == 0) {
            child_pid = get_pid();
            child_ppid = get_ppid();
            child_tid = get_tid();
            _exit(0);
        }
        CHECK_EQ(guest_wait(pid), 0);
        CHECK_EQ(child_pid, pid);
        CHECK_EQ(child_tid, pid);
        CHECK_EQ(child_ppid, parent);
        CHECK_EQ(get_pid(), parent);
        check_all();
    }
}

static void *thread_body(void *arg)
{
    long *ret_tid = arg, pid = get_pid();

    *ret_tid = get_tid();
    for (int i = 0; i < OFTEN; i++) {
        CHECK_EQ(get_pid(), pid);
        CHECK_EQ(get_tid(), *ret_tid);
    }
    check_all();
    return NULL;
}

static void threads(void)
{
    enum { N = 16 };
    pthread_t th[N];
    long tid[N];

    warm();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < N; i++)
            CHECK(pthread_create(&th[i], NULL, thread_body, &tid[i]) == 0);
        for (int i = 0; i < N; i++)
            CHECK(pthread_join(th[i], NULL) == 0);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < i; j++)
                CHECK(tid[i] != get_tid());
    }
}

static void *fork_body(void *arg)
{
    (void)arg;
    long pid = get_pid(), tid = get_tid();
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(get_ppid(), pid); /* the process's, not the thread's number */
        CHECK(get_tid() != tid);
        CHECK_EQ(get_tid(), get_pid());
        _exit(0);
    }
    CHECK_EQ(guest_wait(child), 0);
    CHECK_EQ(get_tid(), tid);
    return NULL;
}

static void forked_by_thread(void)
{
    pthread_t th;

    warm();
    for (int i = 0; i < 5; i++) {
        CHECK(pthread_create(&th, NULL, fork_body, NULL) == 0);
        CHECK(pthread_join(th, NULL) == 0);
    }
}

/* --- parents --- */

/* The middle process ends; its child has the reaper for a parent by the time the reaper knows. */
static void orphaned(void)
{
    long self = get_pid();

    warm();
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    for (int round = 0; round < 20; round++) {
        int go[2], done[2];
        CHECK(pipe(go) == 0 && pipe(done) == 0);
        pid_t middle = fork();
        CHECK(middle >= 0);
        if (middle == 0) {
            long mid = get_pid();
            pid_t last = fork();
            if (last == 0) {
                for (int i = 0; i < OFTEN; i++)
                    CHECK_EQ(get_ppid(), mid);
                byte_send(done[1]);
                byte_wait(go[0]);
                CHECK_EQ(get_ppid(), self);
                _exit(7);
            }
            byte_wait(done[0]); /* not before it has seen us */
            _exit(0);
        }
        CHECK_EQ(guest_wait(middle), 0);
        byte_send(go[1]);
        int status;
        CHECK(waitpid(-1, &status, 0) > 0);
        CHECK_EQ(WEXITSTATUS(status), 7);
        close(go[0]);
        close(go[1]);
        close(done[0]);
        close(done[1]);
    }
}

/* One that spins on getppid() hears of it too, in all its threads. */
static void *spin_parent(void *arg)
{
    long old = *(long *)arg;

    while (get_ppid() == old)
        sched_yield();
    return (void *)get_ppid();
}

static void orphaned_spinning(void)
{
    int done[2];
    long self = get_pid();

    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe(done) == 0);
    pid_t middle = fork();
    if (middle == 0) {
        long mid = get_pid();
        pid_t last = fork();
        if (last == 0) {
            pthread_t th[3];
            void *r;
            for (int i = 0; i < 3; i++)
                CHECK(pthread_create(&th[i], NULL, spin_parent, &mid) == 0);
            byte_send(done[1]);
            for (int i = 0; i < 3; i++) {
                CHECK(pthread_join(th[i], &r) == 0);
                CHECK_EQ((long)r, self);
            }
            _exit(7);
        }
        byte_wait(done[0]);
        guest_sleep_ms(20);
        _exit(0);
    }
    CHECK_EQ(guest_wait(middle), 0);
    int status;
    CHECK(waitpid(-1, &status, 0) > 0);
    CHECK_EQ(WEXITSTATUS(status), 7);
}

/* --- groups and sessions --- */

static void group_by_parent(void)
{
    warm();
    for (int round = 0; round < 10; round++) {
        int go[2];
        CHECK(pipe(go) == 0);
        long group = get_pgrp();
        pid_t pid = fork();
        if (pid == 0) {
            byte_wait(go[0]);
            CHECK_EQ(get_pgrp(), get_pid());
            CHECK_EQ(get_pgid(0), get_pid());
            _exit(0);
        }
        CHECK(setpgid(pid, pid) == 0);
        byte_send(go[1]);
        CHECK_EQ(guest_wait(pid), 0);
        CHECK_EQ(get_pgrp(), group);
        close(go[0]);
        close(go[1]);
    }
}

static void *ask_group(void *arg)
{
    int *fds = arg;

    byte_wait(fds[0]);
    CHECK_EQ(get_pgrp(), get_pid());
    CHECK_EQ(get_sid(0), get_pid());
    return NULL;
}

static void session(void)
{
    warm();
    pid_t pid = fork();
    if (pid == 0) {
        int go[2];
        pthread_t th;
        CHECK(pipe(go) == 0);
        CHECK(pthread_create(&th, NULL, ask_group, go) == 0);
        CHECK_EQ(setsid(), get_pid());
        CHECK_EQ(get_sid(0), get_pid());
        CHECK_EQ(get_pgrp(), get_pid());
        byte_send(go[1]);
        CHECK(pthread_join(th, NULL) == 0);
        check_all();
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

/* --- credentials --- */

struct other {
    pthread_barrier_t *turn;
    long uid, euid, gid, egid;
};

static void *other_thread(void *arg)
{
    struct other *o = arg;

    pthread_barrier_wait(o->turn);
    for (int i = 0; i < OFTEN; i++) {
        CHECK_EQ(get_uid(), o->uid);
        CHECK_EQ(get_euid(), o->euid);
        CHECK_EQ(get_gid(), o->gid);
        CHECK_EQ(get_egid(), o->egid);
    }
    pthread_barrier_wait(o->turn);
    check_all();
    return NULL;
}

/* Linux has credentials by thread; the C library hides it, the bare calls do not. */
static void one_thread_only(void)
{
    pthread_barrier_t turn;
    pthread_t th;

    if (geteuid() != 0)
        SKIP("needs uid 0");
    warm();
    pthread_barrier_init(&turn, NULL, 2);
    struct other o = {&turn, get_uid(), get_euid(), get_gid(), get_egid()};
    CHECK(pthread_create(&th, NULL, other_thread, &o) == 0);
    CHECK_EQ(syscall(SYS_setresgid, 11, 12, 13), 0);
    CHECK_EQ(get_gid(), 11);
    CHECK_EQ(get_egid(), 12);
    CHECK_EQ(syscall(SYS_setresuid, 21, 22, 0), 0);
    CHECK_EQ(get_uid(), 21);
    CHECK_EQ(get_euid(), 22);
    pthread_barrier_wait(&turn);
    check_all();
    pthread_barrier_wait(&turn);
    CHECK(pthread_join(th, NULL) == 0);
    CHECK_EQ(syscall(SYS_setresuid, -1, 0, -1), 0);
    CHECK_EQ(get_euid(), 0);
    CHECK_EQ(get_uid(), 21);
    CHECK_EQ(syscall(SYS_setfsuid, 5), 0); /* changes neither */
    CHECK_EQ(get_euid(), 0);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(get_uid(), 21);
        CHECK_EQ(get_egid(), 12);
        CHECK_EQ(syscall(SYS_setuid, 33), 0);
        CHECK_EQ(get_uid(), 33);
        CHECK_EQ(get_euid(), 33);
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(get_uid(), 21);
}

/* All threads at once, as the C library does it: nobody sees the old value afterwards. */
static void *set_and_ask(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        uint32_t id = (uint32_t)(100 + i);
        CHECK_EQ(syscall(SYS_setresuid, id, 0, 0), 0);
        CHECK_EQ(get_uid(), id);
        CHECK_EQ(get_euid(), 0);
    }
    return NULL;
}

static void many_threads(void)
{
    pthread_t th[8];

    if (geteuid() != 0)
        SKIP("needs uid 0");
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&th[i], NULL, set_and_ask, NULL) == 0);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_join(th[i], NULL) == 0);
    CHECK_EQ(get_uid(), 0);
}

static void ids_of_user(void)
{
    warm();
    CHECK_EQ(syscall(SYS_setuid, getuid()), 0); /* allowed to everybody */
    check_all();
}

/* --- signals --- */

extern char __executable_start[], etext[];
static volatile uint64_t ticks, elsewhere;

static void on_tick(int signo, siginfo_t *si, void *context)
{
    const ucontext_t *uc = context;
    uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];

    (void)signo;
    (void)si;
    ticks++;
    /* the program, its libraries (which lie above it, stacks still further): nothing that has no
     * name natively */
    if (rip < (uint64_t)__executable_start || (rip >= 0x7ef000000000 && rip < 0x7ef080000000))
        elsewhere++;
}

/* Interrupted at every instruction sooner or later; results and registers stay right. */
static void under_signals(void)
{
    struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval every = {{0, 100}, {0, 100}}, off = {0};
    long pid = get_pid(), ppid = get_ppid(), sid = get_sid(0);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 1000000000;

    sa.sa_sigaction = on_tick;
    CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (guest_now_ns(CLOCK_MONOTONIC) < end) {
        for (int i = 0; i < 2000; i++) {
            CHECK_EQ(get_pid(), pid);
            CHECK_EQ(get_ppid(), ppid);
            CHECK_EQ(get_sid(0), sid);
        }
    }
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK(ticks > 10);
    CHECK_EQ(elsewhere, 0);
}

/* A handler that asks in the middle of asking. */
static volatile long asked;

static void on_ask(int signo)
{
    (void)signo;
    asked = get_pid();
}

static void asked_in_handler(void)
{
    struct itimerval every = {{0, 200}, {0, 200}}, off = {0};
    long pid = get_pid(), tid = get_tid();
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 300000000;

    CHECK(signal(SIGALRM, on_ask) != SIG_ERR);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (guest_now_ns(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < 2000; i++)
            CHECK_EQ(get_tid(), tid);
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK_EQ(asked, pid);
}

/* --- exec --- */

static void execed(void)
{
    static char path[4096], self[32];

    if (readlink("/proc/self/exe", path, sizeof path - 1) < 0)
        SKIP("no /proc");
    warm();
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(self, sizeof self, "%ld", get_pid());
        CHECK(setenv("IDENT_PID", self, 1) == 0);
        execl(path, path, "after_exec", NULL);
        _exit(9);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void after_exec(void)
{
    const char *was = getenv("IDENT_PID");

    if (was) /* run by itself it has nothing to compare with */
        CHECK_EQ(get_pid(), atol(was));
    warm();
    CHECK_EQ(get_tid(), get_pid());
}

static const struct guest_case cases[] = {
    {"values", values},
    {"forked", forked},
    {"vforked", vforked},
    {"threads", threads},
    {"forked_by_thread", forked_by_thread},
    {"orphaned", orphaned},
    {"orphaned_spinning", orphaned_spinning},
    {"group_by_parent", group_by_parent},
    {"session", session},
    {"one_thread_only", one_thread_only},
    {"many_threads", many_threads},
    {"ids_of_user", ids_of_user},
    {"under_signals", under_signals},
    {"asked_in_handler", asked_in_handler},
    {"execed", execed},
    {"after_exec", after_exec},
};

GUEST_MAIN(cases)
