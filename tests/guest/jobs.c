/* SPDX-License-Identifier: Apache-2.0
 * jobs.c - stopping and continuing, what the parent hears of it, groups, sessions, orphans. */
#include "guest.h"

#include <pthread.h>
#include <sys/mman.h>

static volatile sig_atomic_t g_hits;
static siginfo_t g_info;

static void record(int signo, siginfo_t *si, void *uc)
{
    (void)signo;
    (void)uc;
    g_info = *si;
    g_hits = g_hits + 1;
}

static void handle(int signo, int flags)
{
    struct sigaction a = {.sa_sigaction = record, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    CHECK(sigaction(signo, &a, NULL) == 0);
}

static void forever(void *arg)
{
    (void)arg;
    for (;;)
        pause();
}

static void spin(void *arg)
{
    volatile unsigned long *n = arg;
    for (;;)
        ++*n;
}

static int wait_for(pid_t pid, int options)
{
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, options), pid);
    return status;
}

/* --- stop and continue --- */

static void case_stop_continue(void)
{
    handle(SIGCHLD, SA_RESTART);
    pid_t pid = guest_fork(forever, NULL);
    CHECK(kill(pid, SIGSTOP) == 0);
    int status = wait_for(pid, WUNTRACED);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGSTOP);
    WAIT_FOR(g_hits == 1);
    CHECK_EQ(g_info.si_code, CLD_STOPPED);
    CHECK_EQ(g_info.si_pid, pid);
    CHECK_EQ(g_info.si_status, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0); /* told once */

    CHECK(kill(pid, SIGCONT) == 0);
    status = wait_for(pid, WCONTINUED);
    CHECK(WIFCONTINUED(status));
    WAIT_FOR(g_hits == 2);
    CHECK_EQ(g_info.si_code, CLD_CONTINUED);
    CHECK_EQ(g_info.si_status, SIGCONT);

    CHECK(kill(pid, SIGTERM) == 0);
    status = wait_for(pid, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void case_stop_spinning(void)
{
    unsigned long *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = guest_fork(spin, n);
    WAIT_FOR(*(volatile unsigned long *)n > 0);
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    guest_sleep_ms(10);
    unsigned long before = *(volatile unsigned long *)n;
    guest_sleep_ms(30);
    CHECK_EQ(*(volatile unsigned long *)n, before); /* really stopped */
    CHECK(kill(pid, SIGCONT) == 0);
    WAIT_FOR(*(volatile unsigned long *)n > before);
    kill(pid, SIGKILL);
    CHECK_EQ(WTERMSIG(guest_wait(pid)), SIGKILL);
}

static void case_stop_kill(void)
{
    pid_t pid = guest_fork(forever, NULL);
    kill(pid, SIGSTOP);
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    kill(pid, SIGTERM); /* waits until it is continued */
    guest_sleep_ms(20);
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    kill(pid, SIGKILL); /* does not */
    CHECK_EQ(WTERMSIG(guest_wait(pid)), SIGKILL);
}

static void case_stop_signals(void)
{
    static const int stops[] = {SIGTSTP, SIGTTIN, SIGTTOU};
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            setpgid(0, 0); /* its parent is in another group of the session: not orphaned */
            forever(NULL);
        }
        WAIT_FOR(getpgid(pid) == pid);
        kill(pid, stops[i]);
        int status = wait_for(pid, WUNTRACED);
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(WSTOPSIG(status), stops[i]);
        kill(pid, SIGCONT);
        CHECK(WIFCONTINUED(wait_for(pid, WCONTINUED)));
        kill(pid, SIGKILL);
        guest_wait(pid);
    }
}

static void case_stop_self(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGSTOP);
        _exit(4);
    }
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    kill(pid, SIGCONT);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 4);
}

/* SIGCONT takes pending stops away, and a stop a pending SIGCONT. */
static void case_opposites(void)
{
    sigset_t s, pending;
    sigemptyset(&s);
    sigaddset(&s, SIGTSTP);
    sigaddset(&s, SIGCONT);
    CHECK(sigprocmask(SIG_BLOCK, &s, NULL) == 0);
    handle(SIGCONT, 0);
    raise(SIGTSTP);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGTSTP));
    raise(SIGCONT);
    CHECK(sigpending(&pending) == 0);
    CHECK(!sigismember(&pending, SIGTSTP) && sigismember(&pending, SIGCONT));
    raise(SIGTSTP);
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGTSTP) && !sigismember(&pending, SIGCONT));
}

static void case_cont_handler(void)
{
    int *hits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        handle(SIGCONT, 0);
        raise(SIGSTOP);
        *hits = g_hits; /* the handler ran before raise returned */
        _exit(0);
    }
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    kill(pid, SIGCONT);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(*hits, 1);
}

static void case_nocldstop(void)
{
    handle(SIGCHLD, SA_RESTART | SA_NOCLDSTOP);
    pid_t pid = guest_fork(forever, NULL);
    kill(pid, SIGSTOP);
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    kill(pid, SIGCONT);
    CHECK(WIFCONTINUED(wait_for(pid, WCONTINUED)));
    guest_sleep_ms(10);
    CHECK_EQ(g_hits, 0);
    kill(pid, SIGKILL);
    guest_wait(pid);
    WAIT_FOR(g_hits == 1);
}

static void *count_thread(void *arg)
{
    for (volatile unsigned long *n = arg;; ++*n)
        sched_yield();
    return NULL;
}

static void case_stop_threads(void)
{
    unsigned long *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t th[3];
        for (int i = 0; i < 3; i++)
            pthread_create(&th[i], NULL, count_thread, &n[i * 8]);
        forever(NULL);
    }
    volatile unsigned long *v = n;
    WAIT_FOR(v[0] && v[8] && v[16]);
    kill(pid, SIGSTOP);
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    guest_sleep_ms(20);
    unsigned long before = v[0] + v[8] + v[16];
    guest_sleep_ms(30);
    CHECK_EQ(v[0] + v[8] + v[16], before);
    kill(pid, SIGCONT);
    WAIT_FOR(v[0] + v[8] + v[16] > before);
    kill(pid, SIGKILL);
    guest_wait(pid);
}

/* A read survives being stopped; so does a sleep. */
static void case_stop_in_calls(void)
{
    int fd[2];
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c = 0;
        CHECK_EQ(read(fd[0], &c, 1), 1);
        CHECK_EQ(c, 'z');
        int64_t start = guest_now_ns(CLOCK_MONOTONIC);
        struct timespec ts = {.tv_nsec = 100000000};
        CHECK(nanosleep(&ts, NULL) == 0);
        CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 100000000);
        _exit(0);
    }
    guest_sleep_ms(20);
    kill(pid, SIGSTOP);
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    CHECK(write(fd[1], "z", 1) == 1);
    kill(pid, SIGCONT);
    CHECK(WIFCONTINUED(wait_for(pid, WCONTINUED)));
    guest_sleep_ms(30);
    kill(pid, SIGSTOP);
    CHECK(WIFSTOPPED(wait_for(pid, WUNTRACED)));
    kill(pid, SIGCONT);
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_waitid_states(void)
{
    siginfo_t si;
    pid_t pid = guest_fork(forever, NULL);
    kill(pid, SIGSTOP);
    CHECK(waitid(P_PID, (id_t)pid, &si, WSTOPPED | WNOWAIT) == 0);
    CHECK_EQ(si.si_code, CLD_STOPPED);
    CHECK_EQ(si.si_status, SIGSTOP);
    CHECK_EQ(si.si_pid, pid);
    CHECK_EQ(si.si_signo, SIGCHLD);
    CHECK(waitid(P_PID, (id_t)pid, &si, WSTOPPED) == 0); /* still there */
    kill(pid, SIGCONT);
    CHECK(waitid(P_PID, (id_t)pid, &si, WCONTINUED) == 0);
    CHECK_EQ(si.si_code, CLD_CONTINUED);
    CHECK_EQ(si.si_status, SIGCONT);
    si.si_pid = 99;
    CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WSTOPPED | WCONTINUED | WNOHANG) == 0);
    CHECK_EQ(si.si_pid, 0); /* nothing */
    kill(pid, SIGKILL);
    CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED) == 0);
    CHECK_EQ(si.si_code, CLD_KILLED);
    CHECK_EQ(si.si_status, SIGKILL);
}

/* --- groups and sessions --- */

static void case_group_kill(void)
{
    pid_t leader = guest_fork(forever, NULL);
    CHECK(setpgid(leader, leader) == 0);
    pid_t second = guest_fork(forever, NULL);
    CHECK(setpgid(second, leader) == 0);
    pid_t other = guest_fork(forever, NULL);
    CHECK_EQ(getpgid(second), leader);
    CHECK(kill(-leader, 0) == 0);
    CHECK(kill(-leader, SIGTERM) == 0);
    int status;
    for (int i = 0; i < 2; i++) {
        pid_t got = waitpid(-leader, &status, 0);
        CHECK(got == leader || got == second);
        CHECK_EQ(WTERMSIG(status), SIGTERM);
    }
    CHECK_ERR(waitpid(-leader, &status, 0), ECHILD);
    CHECK_ERR(kill(-leader, 0), ESRCH);
    CHECK_EQ(waitpid(other, &status, WNOHANG), 0);
    kill(other, SIGKILL);
    guest_wait(other);
}

static void case_own_group_kill(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(setpgid(0, 0) == 0);
        pid_t child = guest_fork(forever, NULL);
        handle(SIGUSR1, 0);
        CHECK(kill(0, SIGUSR1) == 0); /* oneself too */
        CHECK_EQ(g_hits, 1);
        CHECK_EQ(WTERMSIG(guest_wait(child)), SIGUSR1);
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_setpgid_rules(void)
{
    CHECK_ERR(setpgid(0, -1), EINVAL);
    CHECK_ERR(setpgid(0x3fffffff, 0), ESRCH);
    CHECK_ERR(setpgid(0, 0x3fffffff), EPERM); /* no such group in the session */
    CHECK_ERR(getpgid(0x3fffffff), ESRCH);
    CHECK_ERR(getsid(0x3fffffff), ESRCH);
    CHECK_EQ(getpgid(0), getpgrp());
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(getsid(0), getsid(getppid()));
        CHECK_EQ(setsid(), getpid());
        CHECK_EQ(getsid(0), getpid());
        CHECK_EQ(getpgrp(), getpid());
        CHECK_ERR(setsid(), EPERM);      /* a leader already */
        CHECK_ERR(setpgid(0, 0), EPERM); /* a session's leader */
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_setsid_leader(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(setpgid(0, 0) == 0);
        CHECK_ERR(setsid(), EPERM); /* leader of a group */
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

/* --- orphans --- */

static void case_orphan_stopped(void)
{
    int fd[2];
    char c = 0;
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t child = fork();
        if (child == 0) {
            setpgid(0, 0);
            handle(SIGHUP, 0);
            handle(SIGCONT, 0);
            raise(SIGSTOP);
            /* Its parent has ended while it was stopped: SIGHUP, SIGCONT. */
            WAIT_FOR(g_hits == 2);
            CHECK(write(fd[1], "o", 1) == 1);
            _exit(0);
        }
        CHECK(WIFSTOPPED(wait_for(child, WUNTRACED)));
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    close(fd[1]);
    CHECK_EQ(read(fd[0], &c, 1), 1);
    CHECK_EQ(c, 'o');
}

static void case_orphan_tstp(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        setsid(); /* alone in its session: orphaned, so the terminal cannot stop it */
        raise(SIGTSTP);
        raise(SIGTTIN);
        _exit(6);
    }
    int status = wait_for(pid, WUNTRACED);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 6);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(stop_continue),  CASE(stop_spinning), CASE(stop_kill),     CASE(stop_signals),
    CASE(stop_self),      CASE(opposites),     CASE(cont_handler),  CASE(nocldstop),
    CASE(stop_threads),   CASE(stop_in_calls), CASE(waitid_states), CASE(group_kill),
    CASE(own_group_kill), CASE(setpgid_rules), CASE(setsid_leader), CASE(orphan_stopped),
    CASE(orphan_tstp),
};
GUEST_MAIN(cases)
