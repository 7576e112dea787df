/* SPDX-License-Identifier: Apache-2.0
 * clone.c - clone and clone3 without the thread library: what is shared and what is not, tids,
 * thread-local storage, the words that are set and cleared, pidfds, invalid combinations. */
#include "guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define STACK 65536
#define THREAD_FLAGS \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static char *new_stack(void)
{
    char *p = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p + STACK;
}

/* A bare child (no C library state of its own): only system calls and its argument. */
struct bare {
    volatile int value, done;
    volatile pid_t tid, pid, ppid;
    volatile int fd, ready;
};

static long raw(long nr, long a, long b, long c)
{
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return r;
}

static int bare_run(void *arg)
{
    struct bare *b = arg;
    b->tid = (pid_t)raw(SYS_gettid, 0, 0, 0);
    b->pid = (pid_t)raw(SYS_getpid, 0, 0, 0);
    b->ppid = (pid_t)raw(SYS_getppid, 0, 0, 0);
    b->value = 77;
    raw(SYS_chdir, (long)"/", 0, 0);
    raw(SYS_close, b->fd, 0, 0);
    b->done = 1;
    raw(SYS_exit, 5, 0, 0);
    return 0;
}

static struct bare *new_bare(void)
{
    struct bare *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(b != MAP_FAILED);
    b->fd = open("/dev/null", O_RDONLY);
    return b;
}

static bool cwd_is_root(void)
{
    char buf[512];
    CHECK(getcwd(buf, sizeof(buf)) != NULL);
    return !strcmp(buf, "/");
}

/* --- what is shared --- */

static void case_thread(void)
{
    struct bare *b = new_bare();
    volatile pid_t set = 0, clear = 1;
    CHECK(chdir("/tmp") == 0);
    pid_t tid =
        clone(bare_run, new_stack(), THREAD_FLAGS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, b,
              &set, NULL, &clear);
    CHECK(tid > 0);
    CHECK_EQ(set, tid); /* before clone returns */
    while (clear)       /* cleared and woken at its end */
        syscall(SYS_futex, &clear, FUTEX_WAIT, 1, NULL, NULL, 0);
    CHECK_EQ(b->done, 1);
    CHECK_EQ(b->tid, tid);
    CHECK_EQ(b->pid, getpid());
    CHECK(fcntl(b->fd, F_GETFD) < 0); /* one table */
    CHECK(cwd_is_root());             /* one directory */
    CHECK_ERR(waitpid(-1, NULL, __WALL), ECHILD);
    WAIT_FOR(syscall(SYS_tkill, tid, 0) < 0);
    CHECK_EQ(errno, ESRCH);
}

static void case_process_apart(void)
{
    struct bare *b = new_bare();
    CHECK(chdir("/tmp") == 0);
    pid_t pid = clone(bare_run, new_stack(), SIGCHLD, b);
    CHECK(pid > 0);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 5);
    CHECK_EQ(b->pid, pid);
    CHECK_EQ(b->ppid, getpid());
    CHECK(fcntl(b->fd, F_GETFD) >= 0);
    CHECK(!cwd_is_root());
}

static volatile int g_value;

static int set_value(void *arg)
{
    g_value = (int)(long)arg;
    raw(SYS_exit, 0, 0, 0);
    return 0;
}

static void case_shared_memory(void)
{
    pid_t pid = clone(set_value, new_stack(), CLONE_VM | SIGCHLD, (void *)3);
    CHECK(pid > 0);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(g_value, 3);
    pid = clone(set_value, new_stack(), SIGCHLD, (void *)4);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(g_value, 3);
}

static void case_shared_files(void)
{
    struct bare *b = new_bare();
    CHECK(chdir("/tmp") == 0);
    pid_t pid = clone(bare_run, new_stack(), CLONE_FILES | CLONE_FS | SIGCHLD, b);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 5);
    CHECK(fcntl(b->fd, F_GETFD) < 0);
    CHECK(cwd_is_root());
}

static int install_handler(void *arg)
{
    (void)arg;
    uint64_t act[4] = {(uint64_t)(uintptr_t)SIG_IGN, 0, 0, 0};
    __asm__ volatile("mov $8, %%r10d; syscall"
                     :
                     : "a"(SYS_rt_sigaction), "D"(SIGUSR1), "S"(act), "d"(0)
                     : "rcx", "r10", "r11", "memory");
    raw(SYS_exit, 0, 0, 0);
    return 0;
}

static void case_shared_handlers(void)
{
    struct sigaction a;
    pid_t pid = clone(install_handler, new_stack(), CLONE_VM | SIGCHLD, NULL);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(sigaction(SIGUSR1, NULL, &a) == 0);
    CHECK(a.sa_handler == SIG_DFL);
    pid = clone(install_handler, new_stack(), CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(sigaction(SIGUSR1, NULL, &a) == 0);
    CHECK(a.sa_handler == SIG_IGN);
}

/* --- details --- */

static void case_errors(void)
{
    struct clone_args ca;
    CHECK_ERR(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), EINVAL);
    CHECK_ERR(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
    CHECK_ERR(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0), EINVAL);
    CHECK_ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0), EINVAL);
    memset(&ca, 0, sizeof(ca));
    CHECK_ERR(syscall(SYS_clone3, &ca, 8), EINVAL);
    ca.exit_signal = 200;
    CHECK_ERR(syscall(SYS_clone3, &ca, sizeof(ca)), EINVAL);
    ca.exit_signal = SIGCHLD;
    ca.stack = 4096;
    CHECK_ERR(syscall(SYS_clone3, &ca, sizeof(ca)), EINVAL); /* stack without size */
    ca.stack = 0;
    ca.flags = 1ULL << 63;
    CHECK_ERR(syscall(SYS_clone3, &ca, sizeof(ca)), EINVAL);
    CHECK_ERR(syscall(SYS_clone3, 8, sizeof(ca)), EFAULT);
}

static void case_clone3(void)
{
    struct clone_args ca;
    volatile pid_t parent_tid = 0;
    pid_t *child_tid = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(&ca, 0, sizeof(ca));
    ca.flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID;
    ca.exit_signal = SIGCHLD;
    ca.parent_tid = (uintptr_t)&parent_tid;
    ca.child_tid = (uintptr_t)child_tid;
    long pid = syscall(SYS_clone3, &ca, sizeof(ca));
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(*child_tid == guest_gettid() ? 14 : 1);
    CHECK_EQ(parent_tid, pid);
    CHECK_EQ(WEXITSTATUS(guest_wait((pid_t)pid)), 14);
}

static void case_pidfd(void)
{
    struct clone_args ca;
    int pidfd = -1;
    memset(&ca, 0, sizeof(ca));
    ca.flags = CLONE_PIDFD;
    ca.exit_signal = SIGCHLD;
    ca.pidfd = (uintptr_t)&pidfd;
    long pid = syscall(SYS_clone3, &ca, sizeof(ca));
    CHECK(pid >= 0);
    if (pid == 0) {
        pause();
        _exit(0);
    }
    CHECK(pidfd >= 0);
    struct pollfd pf = {.fd = pidfd, .events = POLLIN};
    CHECK_EQ(poll(&pf, 1, 0), 0);
    char name[32];
    snprintf(name, sizeof(name), "/proc/%ld", pid);
    int dir = open(name, O_RDONLY | O_DIRECTORY), fds = open("/proc/self/fd", O_RDONLY);
    CHECK(dir >= 0 && fds >= 0);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, fds, 0, NULL, 0), EBADF);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, 0x3fffffff, 0, NULL, 0), EBADF);
    CHECK(syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0) == 0);
    CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) == 0);
    CHECK_EQ(poll(&pf, 1, 5000), 1);
    CHECK(pf.revents & POLLIN);
    siginfo_t si;
    CHECK(waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) == 0);
    CHECK_EQ(si.si_pid, pid);
    CHECK_EQ(si.si_status, SIGTERM);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0), ESRCH);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, dir, SIGTERM, NULL, 0), ESRCH);
    int other = (int)syscall(SYS_pidfd_open, getpid(), 0);
    CHECK(other >= 0);
    CHECK_ERR(syscall(SYS_pidfd_open, 0x3fffffff, 0), ESRCH);
    CHECK_ERR(syscall(SYS_pidfd_open, getpid(), 0xff), EINVAL);
}

static void case_exit_signal(void)
{
    int status;
    pid_t pid = clone(set_value, new_stack(), CLONE_VM, (void *)9); /* no signal at its end */
    CHECK(pid > 0);
    CHECK_ERR(waitpid(pid, &status, 0), ECHILD); /* a "clone" child: not for plain waits */
    CHECK_EQ(waitpid(pid, &status, __WCLONE), pid);
    signal(SIGUSR2, SIG_IGN);
    pid = clone(set_value, new_stack(), CLONE_VM | SIGUSR2, (void *)9);
    CHECK_EQ(waitpid(pid, &status, __WALL), pid);
}

static void case_clone_parent(void)
{
    pid_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        long sibling = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        if (sibling == 0)
            _exit(6);
        p[0] = (pid_t)sibling;
        CHECK_ERR(waitpid((pid_t)sibling, NULL, 0), ECHILD);
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(WEXITSTATUS(guest_wait(p[0])), 6); /* our child */
}

static void case_tls(void)
{
    unsigned long fs, back;
    CHECK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs) == 0);
    CHECK_EQ(fs, (unsigned long)pthread_self());
    CHECK(syscall(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, fs) == 0);
    __asm__("mov %%fs:0x10, %0" : "=r"(back));
    CHECK_EQ(back, fs);
    CHECK_ERR(syscall(SYS_arch_prctl, 0x1002, 0x8000000000000000UL), EPERM);
    CHECK_ERR(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
}

static void case_set_tid_address(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        static int word;
        CHECK_EQ(syscall(SYS_set_tid_address, &word), getpid());
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void *keep_busy(void *arg)
{
    volatile int *stop = arg;
    while (!*stop)
        sched_yield();
    return NULL;
}

static void case_tids_unique(void)
{
    pid_t seen[64];
    for (int i = 0; i < 64; i++) {
        struct bare *b = new_bare();
        seen[i] = clone(bare_run, new_stack(), THREAD_FLAGS, b);
        CHECK(seen[i] > 0);
        for (int k = 0; k < i; k++)
            CHECK(seen[k] != seen[i]);
        WAIT_FOR(b->done);
        close(b->fd);
    }
}

static void case_many_threads(void)
{
    static volatile int stop;
    pthread_t th[100];
    pthread_attr_t at;
    pthread_attr_init(&at);
    pthread_attr_setstacksize(&at, 65536);
    for (int i = 0; i < 100; i++)
        CHECK(pthread_create(&th[i], &at, keep_busy, (void *)&stop) == 0);
    stop = 1;
    for (int i = 0; i < 100; i++)
        CHECK(pthread_join(th[i], NULL) == 0);
}

static void case_unshare(void)
{
    CHECK(unshare(CLONE_FILES) == 0);
    CHECK(unshare(CLONE_FS) == 0);
    CHECK_ERR(unshare((int)0x80000000u), EINVAL);
}

static void case_vfork_memory(void)
{
    /* CLONE_VM | CLONE_VFORK with a stack of its own, as posix_spawn does it. */
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    g_value = 0;
    pid_t pid = clone(set_value, new_stack(), CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)8);
    CHECK_EQ(g_value, 8); /* it has ended before we go on */
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start < 5000000000LL);
    CHECK_EQ(guest_wait(pid), 0);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(thread),          CASE(process_apart), CASE(shared_memory), CASE(shared_files),
    CASE(shared_handlers), CASE(errors),        CASE(clone3),        CASE(pidfd),
    CASE(exit_signal),     CASE(clone_parent),  CASE(tls),           CASE(set_tid_address),
    CASE(tids_unique),     CASE(many_threads),  CASE(unshare),       CASE(vfork_memory),
};
GUEST_MAIN(cases)
