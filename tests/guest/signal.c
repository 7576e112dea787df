/* SPDX-License-Identifier: Apache-2.0
 * signal.c - sending, masks, queues, information, default actions. */
#include "sigutil.h"

#include <sys/resource.h>

/* --- delivery --- */

static void case_deliver_self(void)
{
    handle(SIGUSR1, count, 0);
    CHECK(raise(SIGUSR1) == 0);
    CHECK_EQ(g_hits, 1); /* before raise returns */
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQ(g_hits, 2);
    CHECK(syscall(SYS_tkill, guest_gettid(), SIGUSR1) == 0);
    CHECK_EQ(g_hits, 3);
    CHECK(syscall(SYS_tgkill, getpid(), guest_gettid(), SIGUSR1) == 0);
    CHECK_EQ(g_hits, 4);
}

static void case_deliver_spinning(void)
{
    handle(SIGUSR1, count, 0);
    pid_t pid = later(20, SIGUSR1, 1);
    for (volatile unsigned long i = 0; !g_hits; i++)
        ; /* no system call: the signal must break in */
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_errors(void)
{
    struct sigaction a = {.sa_handler = SIG_IGN};
    CHECK_ERR(kill(getpid(), 65), EINVAL);
    CHECK_ERR(kill(getpid(), -1), EINVAL);
    CHECK_ERR(kill(0x3fffffff, 0), ESRCH);
    CHECK(kill(getpid(), 0) == 0);
    CHECK_ERR(syscall(SYS_tgkill, getpid(), 0, SIGUSR1), EINVAL);
    CHECK_ERR(syscall(SYS_tgkill, 0, getpid(), SIGUSR1), EINVAL);
    CHECK_ERR(syscall(SYS_tkill, -1, SIGUSR1), EINVAL);
    CHECK_ERR(sigaction(SIGKILL, &a, NULL), EINVAL);
    CHECK_ERR(sigaction(SIGSTOP, &a, NULL), EINVAL);
    CHECK(sigaction(SIGKILL, NULL, &a) == 0);
    CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 4), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
    uint64_t set = 0;
    CHECK_ERR(syscall(SYS_rt_sigprocmask, 77, &set, NULL, 8), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void *)8, NULL, 8), EFAULT);
}

static void case_old_action(void)
{
    struct sigaction a, old;
    memset(&a, 0, sizeof(a));
    a.sa_handler = count;
    a.sa_flags = SA_RESTART | SA_NODEFER;
    sigaddset(&a.sa_mask, SIGUSR2);
    sigaddset(&a.sa_mask, SIGKILL);
    CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
    CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
    CHECK(old.sa_handler == count);
    CHECK_EQ(old.sa_flags & (SA_RESTART | SA_NODEFER), SA_RESTART | SA_NODEFER);
    CHECK(sigismember(&old.sa_mask, SIGUSR2) == 1);
    CHECK(sigismember(&old.sa_mask, SIGKILL) == 0);
}

/* --- masks --- */

static void case_mask_pending(void)
{
    sigset_t pending, old, none;
    sigemptyset(&none);
    handle(SIGUSR1, count, 0);
    block(SIGUSR1, 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    CHECK_EQ(g_hits, 0);
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1) == 1);
    CHECK(sigismember(&pending, SIGUSR2) == 0);
    CHECK(sigprocmask(SIG_SETMASK, &none, &old) == 0);
    CHECK_EQ(g_hits, 1); /* a standard signal is kept once, and delivered before the return */
    CHECK(sigismember(&old, SIGUSR1) == 1);
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1) == 0);
}

static void case_mask_unblockable(void)
{
    sigset_t all, now;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGKILL) == 0);
    CHECK(sigismember(&now, SIGSTOP) == 0);
    CHECK(sigismember(&now, SIGTERM) == 1);
}

static void mask_in_handler(int signo)
{
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    g_order[0] = sigismember(&now, signo);
    g_order[1] = sigismember(&now, SIGUSR2);
    g_order[2] = sigismember(&now, SIGTERM);
    g_hits = g_hits + 1;
}

static void case_mask_in_handler(void)
{
    struct sigaction a = {.sa_handler = mask_in_handler};
    sigset_t now;
    sigemptyset(&a.sa_mask);
    sigaddset(&a.sa_mask, SIGUSR2);
    CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
    block(SIGTERM, 0);
    raise(SIGUSR1);
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_order[0], 1);
    CHECK_EQ(g_order[1], 1);
    CHECK_EQ(g_order[2], 1);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR1) == 0 && sigismember(&now, SIGUSR2) == 0);
    CHECK(sigismember(&now, SIGTERM) == 1);
    a.sa_flags = SA_NODEFER;
    CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
    raise(SIGUSR1);
    CHECK_EQ(g_order[0], 0);
}

static void case_resethand(void)
{
    struct sigaction old;
    handle(SIGUSR1, count, SA_RESETHAND);
    raise(SIGUSR1);
    CHECK_EQ(g_hits, 1);
    CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
    CHECK(old.sa_handler == SIG_DFL);
}

static void case_ignore_discards(void)
{
    handle(SIGUSR1, count, 0);
    block(SIGUSR1, 0);
    raise(SIGUSR1);
    handle(SIGUSR1, SIG_IGN, 0); /* discards what is pending */
    handle(SIGUSR1, count, 0);
    unblock(SIGUSR1, 0);
    CHECK_EQ(g_hits, 0);

    handle(SIGUSR1, SIG_IGN, 0); /* ignored but blocked: kept */
    block(SIGUSR1, 0);
    raise(SIGUSR1);
    handle(SIGUSR1, count, 0);
    unblock(SIGUSR1, 0);
    CHECK_EQ(g_hits, 1);
    raise(SIGCHLD); /* ignored by default */
    raise(SIGWINCH);
    raise(SIGURG);
    raise(SIGCONT);
}

static void nested_outer(int signo)
{
    g_order[g_hits] = signo;
    g_hits = g_hits + 1;
    raise(SIGUSR2);
    g_order[g_hits] = -signo;
    g_hits = g_hits + 1;
}

static void case_nested(void)
{
    handle(SIGUSR1, nested_outer, 0);
    handle(SIGUSR2, count, 0);
    raise(SIGUSR1);
    CHECK_EQ(g_hits, 3);
    CHECK_EQ(g_order[0], SIGUSR1);
    CHECK_EQ(g_order[1], SIGUSR2);
    CHECK_EQ(g_order[2], -SIGUSR1);
}

static void case_two_at_once(void)
{
    handle(SIGUSR1, count, 0);
    handle(SIGUSR2, count, 0);
    block(SIGUSR1, SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR2);
    unblock(SIGUSR1, SIGUSR2);
    CHECK_EQ(g_hits, 2);
    /* Both frames stand on the stack; the one made last (higher number) runs first. */
    CHECK_EQ(g_order[0], SIGUSR2);
    CHECK_EQ(g_order[1], SIGUSR1);
}

/* --- information --- */

static void case_info_kill(void)
{
    handle_info(SIGUSR1, 0);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(g_info.si_signo, SIGUSR1);
    CHECK_EQ(g_info.si_code, SI_USER);
    CHECK_EQ(g_info.si_pid, getpid());
    CHECK_EQ(g_info.si_uid, getuid());
    raise(SIGUSR1);
    CHECK_EQ(g_info.si_code, SI_TKILL);
    CHECK_EQ(g_info.si_pid, getpid());
}

static void case_info_queue(void)
{
    handle_info(SIGRTMIN, 0);
    union sigval v = {.sival_ptr = (void *)0x123456789abcULL};
    CHECK(sigqueue(getpid(), SIGRTMIN, v) == 0);
    CHECK_EQ(g_info.si_code, SI_QUEUE);
    CHECK_EQ((uintptr_t)g_info.si_value.sival_ptr, 0x123456789abcULL);
    CHECK_EQ(g_info.si_pid, getpid());
    CHECK_EQ(g_info.si_uid, getuid());
}

static void case_info_forged(void)
{
    siginfo_t si;
    memset(&si, 0, sizeof(si));
    si.si_code = SI_USER;
    CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGURG, &si), EPERM);
    si.si_code = SI_TKILL;
    CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGURG, &si), EPERM);
    handle_info(SIGUSR1, 0);
    si.si_code = 77; /* to oneself everything is allowed */
    CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &si) == 0);
    CHECK_EQ(g_info.si_code, 77);
    si.si_code = SI_QUEUE;
    si.si_value.sival_int = 5;
    CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), guest_gettid(), SIGUSR1, &si) == 0);
    CHECK_EQ(g_info.si_value.sival_int, 5);
}

static void case_queue_order(void)
{
    int lo = SIGRTMIN + 1, hi = SIGRTMIN + 2;
    sigset_t set = set_of(lo, hi);
    siginfo_t si;
    struct timespec zero = {0};
    block(lo, hi);
    for (int i = 0; i < 5; i++) {
        CHECK(sigqueue(getpid(), hi, (union sigval){.sival_int = i}) == 0);
        CHECK(sigqueue(getpid(), lo, (union sigval){.sival_int = 10 + i}) == 0);
    }
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(sigtimedwait(&set, &si, &zero), i < 5 ? lo : hi);
        CHECK_EQ(si.si_value.sival_int, i < 5 ? 10 + i : i - 5);
    }
    CHECK_ERR(sigtimedwait(&set, &si, &zero), EAGAIN);
}

static void case_queue_limit(void)
{
    struct rlimit rl;
    int n = 0;
    CHECK(getrlimit(RLIMIT_SIGPENDING, &rl) == 0);
    if (rl.rlim_cur > 1000) {
        rl.rlim_cur = 1000;
        CHECK(setrlimit(RLIMIT_SIGPENDING, &rl) == 0);
    }
    block(SIGRTMIN, 0);
    while (n < 2000 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = n}) == 0)
        n++;
    CHECK(n > 0 && n <= 1000);
    CHECK_EQ(errno, EAGAIN);
    CHECK(kill(getpid(), SIGRTMIN) == 0); /* kill never fails for that */
}

static void case_sigchld_info(void)
{
    handle_info(SIGCHLD, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(7);
    WAIT_FOR(g_hits == 1);
    CHECK_EQ(g_info.si_code, CLD_EXITED);
    CHECK_EQ(g_info.si_pid, pid);
    CHECK_EQ(g_info.si_status, 7);
    CHECK_EQ(g_info.si_uid, getuid());
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 7);

    g_hits = 0;
    pid = fork();
    if (pid == 0) {
        raise(SIGTERM);
        _exit(0);
    }
    WAIT_FOR(g_hits == 1);
    CHECK_EQ(g_info.si_code, CLD_KILLED);
    CHECK_EQ(g_info.si_status, SIGTERM);
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void case_sigpipe(void)
{
    int fd[2];
    handle_info(SIGPIPE, 0);
    CHECK(pipe(fd) == 0);
    close(fd[0]);
    CHECK_ERR(write(fd[1], "x", 1), EPIPE);
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_signo, SIGPIPE);
}

/* --- default actions --- */

static void case_default_actions(void)
{
    static const int fatal[] = {SIGHUP,  SIGINT,  SIGKILL, SIGUSR1, SIGUSR2,  SIGPIPE,
                                SIGALRM, SIGTERM, SIGIO,   SIGPROF, SIGVTALRM};
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            signal(fatal[i], SIG_DFL);
            kill(getpid(), fatal[i]);
            _exit(99);
        }
        int status = guest_wait(pid);
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), fatal[i]);
    }
    static const int core[] = {SIGQUIT, SIGILL, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof(core) / sizeof(core[0]); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            signal(core[i], SIG_DFL);
            kill(getpid(), core[i]);
            _exit(99);
        }
        int status = guest_wait(pid);
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), core[i]);
    }
}

/* A read from a pipe, a signal, then data: with SA_RESTART the data, without it EINTR. */
static void case_restart(void)
{
    for (int restart = 0; restart < 2; restart++) {
        char c = 0;
        int p[2];
        CHECK(pipe(p) == 0);
        g_hits = 0;
        handle(SIGUSR1, count, restart ? SA_RESTART : 0);
        pid_t pid = fork();
        if (pid == 0) {
            guest_sleep_ms(30);
            kill(getppid(), SIGUSR1);
            guest_sleep_ms(60);
            _exit(write(p[1], "x", 1) == 1 ? 0 : 1);
        }
        errno = 0;
        ssize_t n = read(p[0], &c, 1);
        CHECK_EQ(n, restart ? 1 : -1);
        CHECK_EQ(errno, restart ? 0 : EINTR);
        CHECK_EQ(g_hits, 1);
        CHECK_EQ(guest_wait(pid), 0);
        close(p[0]);
        close(p[1]);
    }
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(deliver_self),    CASE(deliver_spinning), CASE(errors),          CASE(old_action),
    CASE(mask_pending),    CASE(mask_unblockable), CASE(mask_in_handler), CASE(resethand),
    CASE(ignore_discards), CASE(nested),           CASE(two_at_once),     CASE(info_kill),
    CASE(info_queue),      CASE(info_forged),      CASE(queue_order),     CASE(queue_limit),
    CASE(sigchld_info),    CASE(sigpipe),          CASE(default_actions), CASE(restart),
};
GUEST_MAIN(cases)
