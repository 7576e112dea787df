/* SPDX-License-Identifier: Apache-2.0
 * sigwait.c - waiting for signals, interrupted and restarted calls, the choice of a thread. */
#include "sigutil.h"

#include <pthread.h>

/* --- waiting for signals --- */

static void case_sigsuspend(void)
{
    sigset_t mask, now;
    handle(SIGUSR1, count, 0);
    block(SIGUSR1, SIGUSR2);
    raise(SIGUSR1);
    mask = set_of(SIGUSR2, 0);
    CHECK_ERR(sigsuspend(&mask), EINTR); /* pending already */
    CHECK_EQ(g_hits, 1);
    pid_t pid = later(20, SIGUSR1, 1);
    CHECK_ERR(sigsuspend(&mask), EINTR);
    CHECK_EQ(g_hits, 2);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGUSR2) == 1);
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_sigsuspend_ignored(void)
{
    sigset_t none;
    sigemptyset(&none);
    handle(SIGUSR1, count, 0);
    block(SIGUSR1, 0);
    pid_t pid = guest_fork(later_run, &(struct later){20, SIGWINCH, 1});
    pid_t second = later(60, SIGUSR1, 1);
    CHECK_ERR(sigsuspend(&none), EINTR); /* the ignored signal does not end it */
    CHECK_EQ(g_hits, 1);
    guest_wait(pid);
    guest_wait(second);
}

static void case_pause(void)
{
    handle(SIGUSR1, count, SA_RESTART);
    pid_t pid = later(30, SIGUSR1, 1);
    CHECK_ERR(pause(), EINTR);
    CHECK_EQ(g_hits, 1);
    guest_wait(pid);
}

static void case_sigtimedwait(void)
{
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    siginfo_t si;
    struct timespec zero = {0}, some = {.tv_nsec = 50000000};
    block(SIGUSR1, SIGUSR2);
    CHECK_ERR(sigtimedwait(&set, &si, &zero), EAGAIN);
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(sigtimedwait(&set, &si, &some), EAGAIN);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 50000000);
    raise(SIGUSR2);
    CHECK_EQ(sigtimedwait(&set, &si, &zero), SIGUSR2);
    CHECK_EQ(si.si_signo, SIGUSR2);
    pid_t pid = later(30, SIGUSR1, 1);
    CHECK_EQ(sigwaitinfo(&set, &si), SIGUSR1);
    CHECK_EQ(si.si_pid, pid);
    guest_wait(pid);
    struct timespec bad = {.tv_nsec = 1000000000};
    CHECK_ERR(sigtimedwait(&set, &si, &bad), EINVAL);
}

static void case_sigtimedwait_interrupted(void)
{
    sigset_t set = set_of(SIGUSR1, 0);
    handle(SIGUSR2, count, SA_RESTART);
    block(SIGUSR1, 0);
    pid_t pid = later(30, SIGUSR2, 1);
    CHECK_ERR(sigwaitinfo(&set, NULL), EINTR);
    CHECK_EQ(g_hits, 1);
    guest_wait(pid);
}

static void case_sigwait_chld(void)
{
    sigset_t set = set_of(SIGCHLD, 0);
    siginfo_t si;
    block(SIGCHLD, 0); /* ignored by default, but blocked: waited for */
    pid_t pid = fork();
    if (pid == 0) {
        guest_sleep_ms(20);
        _exit(3);
    }
    CHECK_EQ(sigwaitinfo(&set, &si), SIGCHLD);
    CHECK_EQ(si.si_pid, pid);
    CHECK_EQ(si.si_status, 3);
    guest_wait(pid);
}

/* --- interrupted calls --- */

static void case_read_eintr(void)
{
    int fd[2];
    char c;
    CHECK(pipe(fd) == 0);
    handle(SIGUSR1, count, 0);
    pid_t pid = later(30, SIGUSR1, 1);
    CHECK_ERR(read(fd[0], &c, 1), EINTR);
    CHECK_EQ(g_hits, 1);
    guest_wait(pid);
}

static int g_write_fd;

static void write_in_handler(int signo)
{
    count(signo);
    if (g_hits == 3)
        CHECK(write(g_write_fd, "r", 1) == 1);
}

static void case_read_restart(void)
{
    int fd[2];
    char c = 0;
    CHECK(pipe(fd) == 0);
    g_write_fd = fd[1];
    handle(SIGUSR1, write_in_handler, SA_RESTART);
    pid_t pid = later(20, SIGUSR1, 3);
    CHECK_EQ(read(fd[0], &c, 1), 1);
    CHECK_EQ(c, 'r');
    CHECK_EQ(g_hits, 3);
    guest_wait(pid);
}

static void case_wait_restart(void)
{
    handle(SIGUSR1, count, SA_RESTART);
    pid_t other = later(20, SIGUSR1, 2);
    pid_t pid = fork();
    if (pid == 0) {
        guest_sleep_ms(120);
        _exit(5);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 5);
    CHECK_EQ(g_hits, 2);
    guest_wait(other);
}

static void case_nanosleep_eintr(void)
{
    struct timespec ts = {.tv_sec = 5}, rem = {0};
    handle(SIGUSR1, count, SA_RESTART);
    pid_t pid = later(50, SIGUSR1, 1);
    CHECK_ERR(nanosleep(&ts, &rem), EINTR); /* never restarted after a handler */
    CHECK_EQ(rem.tv_sec, 4);
    CHECK(rem.tv_nsec > 0 && rem.tv_nsec < 1000000000);
    guest_wait(pid);
}

static void case_sleep_ignored_signal(void)
{
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    pid_t pid = later(20, SIGWINCH, 3);
    struct timespec ts = {.tv_nsec = 150000000}, rem;
    CHECK(nanosleep(&ts, &rem) == 0);
    int64_t took = guest_now_ns(CLOCK_MONOTONIC) - start;
    CHECK(took >= 150000000);
    CHECK(took < 2000000000);
    guest_wait(pid);
}

/* Heavy traffic both ways: nothing may be lost or doubled. */
static void case_ping_pong(void)
{
    sigset_t usr1 = set_of(SIGUSR1, 0), usr2 = set_of(SIGUSR2, 0);
    int signo;
    block(SIGUSR1, SIGUSR2);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 300; i++) {
            CHECK(sigwait(&usr1, &signo) == 0);
            kill(parent, SIGUSR2);
        }
        _exit(0);
    }
    for (int i = 0; i < 300; i++) {
        CHECK(kill(pid, SIGUSR1) == 0);
        CHECK(sigwait(&usr2, &signo) == 0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

/* --- threads --- */

static volatile pid_t g_handler_tid;

static void note_tid(int signo)
{
    g_handler_tid = guest_gettid();
    count(signo);
}

static volatile pid_t g_thread_tid;
static volatile int g_stop;

static void *spin_thread(void *arg)
{
    sigset_t s = set_of(SIGUSR1, 0);
    if (arg)
        pthread_sigmask(SIG_UNBLOCK, &s, NULL);
    g_thread_tid = guest_gettid();
    while (!g_stop)
        guest_sleep_ms(1);
    return NULL;
}

static void case_thread_choice(void)
{
    pthread_t th;
    handle(SIGUSR1, note_tid, SA_RESTART);
    block(SIGUSR1, 0);
    CHECK(pthread_create(&th, NULL, spin_thread, (void *)1) == 0);
    WAIT_FOR(g_thread_tid);
    CHECK(kill(getpid(), SIGUSR1) == 0); /* only the other thread takes it */
    WAIT_FOR(g_hits == 1);
    CHECK_EQ(g_handler_tid, g_thread_tid);
    CHECK(pthread_kill(th, SIGUSR1) == 0);
    WAIT_FOR(g_hits == 2);
    CHECK_EQ(g_handler_tid, g_thread_tid);
    g_stop = 1;
    CHECK(pthread_join(th, NULL) == 0);
}

static void case_thread_directed(void)
{
    pthread_t th;
    sigset_t pending;
    handle(SIGUSR1, note_tid, SA_RESTART);
    block(SIGUSR1, 0);
    CHECK(pthread_create(&th, NULL, spin_thread, NULL) == 0); /* inherits the mask */
    WAIT_FOR(g_thread_tid);
    CHECK(pthread_kill(th, SIGUSR1) == 0);
    guest_sleep_ms(20);
    CHECK_EQ(g_hits, 0);
    CHECK(sigpending(&pending) == 0); /* pending there, not here */
    CHECK(sigismember(&pending, SIGUSR1) == 0);
    unblock(SIGUSR1, 0);
    CHECK_EQ(g_hits, 0);
    g_stop = 1;
    CHECK(pthread_join(th, NULL) == 0);
    CHECK_EQ(g_hits, 0);
}

static void case_thread_retarget(void)
{
    pthread_t th;
    handle(SIGUSR1, note_tid, SA_RESTART);
    block(SIGUSR1, 0);
    kill(getpid(), SIGUSR1); /* blocked by everybody: stays with the process */
    CHECK(pthread_create(&th, NULL, spin_thread, (void *)1) == 0);
    WAIT_FOR(g_hits == 1);
    WAIT_FOR(g_thread_tid); /* told behind the mask's change */
    CHECK_EQ(g_handler_tid, g_thread_tid);
    g_stop = 1;
    CHECK(pthread_join(th, NULL) == 0);
}

static void case_kill_threads(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t th[4];
        for (int i = 0; i < 4; i++)
            pthread_create(&th[i], NULL, spin_thread, NULL);
        for (;;)
            pause();
    }
    guest_sleep_ms(30);
    CHECK(kill(pid, SIGKILL) == 0);
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void case_kill_spinning(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        for (volatile unsigned long i = 0;; i++)
            ;
    }
    guest_sleep_ms(20);
    CHECK(kill(pid, SIGTERM) == 0); /* blocked */
    guest_sleep_ms(20);
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    CHECK(kill(pid, SIGKILL) == 0);
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void case_fork_pending(void)
{
    sigset_t pending;
    block(SIGUSR1, 0);
    raise(SIGUSR1);
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t mask;
        CHECK(sigpending(&pending) == 0);
        CHECK(sigismember(&pending, SIGUSR1) == 0); /* not inherited */
        CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
        CHECK(sigismember(&mask, SIGUSR1) == 1); /* inherited */
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1) == 1);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(sigsuspend),
    CASE(sigsuspend_ignored),
    CASE(pause),
    CASE(sigtimedwait),
    CASE(sigtimedwait_interrupted),
    CASE(sigwait_chld),
    CASE(read_eintr),
    CASE(read_restart),
    CASE(wait_restart),
    CASE(nanosleep_eintr),
    CASE(sleep_ignored_signal),
    CASE(ping_pong),
    CASE(thread_choice),
    CASE(thread_directed),
    CASE(thread_retarget),
    CASE(kill_threads),
    CASE(kill_spinning),
    CASE(fork_pending),
};
GUEST_MAIN(cases)
