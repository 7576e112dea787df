/* SPDX-License-Identifier: Apache-2.0
 * process.c - fork, vfork, exit codes, the wait family, orphans, identity, limits, usage. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/times.h>
#include <sys/utsname.h>

static void *shared(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static pid_t fork_exit(int code)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(code);
    return pid;
}

/* --- fork and exit --- */

static void case_exit_codes(void)
{
    static const int codes[] = {0, 1, 77, 127, 128, 255, 256 + 3};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        int status = guest_wait(fork_exit(codes[i]));
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), codes[i] & 255);
    }
}

static void case_fork_ids(void)
{
    pid_t parent = getpid(), *seen = shared(4096);
    pid_t pid = fork();
    if (pid == 0) {
        seen[0] = getpid();
        seen[1] = getppid();
        seen[2] = guest_gettid();
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(seen[0], pid);
    CHECK_EQ(seen[1], parent);
    CHECK_EQ(seen[2], pid);
    CHECK(pid != parent);
}

static int g_data = 5;

static void case_fork_memory(void)
{
    int *heap = malloc(sizeof(*heap)), stack = 7;
    *heap = 6;
    int *both = shared(4096);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(g_data == 5 && *heap == 6 && stack == 7);
        g_data = *heap = stack = 1;
        *both = 42;
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(g_data, 5);
    CHECK_EQ(*heap, 6);
    CHECK_EQ(stack, 7);
    CHECK_EQ(*both, 42);
}

static void case_fork_files(void)
{
    char name[] = "/tmp/guest_process_XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(write(fd, "abc", 3) == 3);
        close(fd);
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3); /* one open file, one position */
    CHECK(fcntl(fd, F_GETFD) >= 0);
}

static void case_fork_deep(void)
{
    int *n = shared(4096);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 15; i++) {
            pid_t child = fork();
            CHECK(child >= 0);
            if (child) {
                int status = guest_wait(child);
                _exit(WEXITSTATUS(status));
            }
            ++*n;
        }
        _exit(9);
    }
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 9);
    CHECK_EQ(*n, 15);
}

static void case_fork_many(void)
{
    pid_t pid[40];
    for (int i = 0; i < 40; i++)
        pid[i] = fork_exit(i);
    for (int i = 39; i >= 0; i--)
        CHECK_EQ(WEXITSTATUS(guest_wait(pid[i])), i);
    CHECK_ERR(wait(NULL), ECHILD);
}

static void case_vfork(void)
{
    volatile int shared_value = 1;
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    pid_t pid = vfork();
    if (pid == 0) {
        struct timespec ts = {.tv_nsec = 50000000};
        shared_value = 2; /* the parent's memory */
        nanosleep(&ts, NULL);
        _exit(3);
    }
    CHECK(pid > 0);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 50000000); /* the parent waited */
    CHECK_EQ(shared_value, 2);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 3);
}

static void case_atexit(void)
{
    int fd[2];
    char buf[8] = "";
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        FILE *f = fdopen(fd[1], "w");
        fprintf(f, "bye"); /* flushed by exit, not by _exit */
        exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(read(fd[0], buf, 7), 3);
    CHECK(!strcmp(buf, "bye"));
}

/* --- waiting --- */

static void case_wait_any(void)
{
    int status, sum = 0;
    for (int i = 1; i <= 4; i++)
        fork_exit(i);
    for (int i = 0; i < 4; i++) {
        CHECK(wait(&status) > 0);
        sum += WEXITSTATUS(status);
    }
    CHECK_EQ(sum, 10);
    CHECK_ERR(wait(&status), ECHILD);
}

static void case_wait_nohang(void)
{
    int fd[2];
    char c;
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(read(fd[0], &c, 1), 1);
        _exit(8);
    }
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), 0);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 8);
    CHECK_ERR(waitpid(pid, NULL, WNOHANG), ECHILD);
}

static void case_wait_errors(void)
{
    siginfo_t si;
    pid_t pid = fork_exit(0);
    CHECK_ERR(waitpid(getpid(), NULL, 0), ECHILD);
    CHECK_ERR(waitpid(pid, NULL, 0x4000), EINVAL);
    CHECK_ERR(waitid(P_PID, (id_t)pid, &si, 0), EINVAL);
    CHECK_ERR(waitid(9, (id_t)pid, &si, WEXITED), EINVAL);
    CHECK_ERR(waitpid(pid, (int *)8, 0), EFAULT);
}

static void case_waitid(void)
{
    siginfo_t si;
    pid_t pid = fork_exit(21);
    CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
    CHECK_EQ(si.si_pid, pid);
    CHECK_EQ(si.si_code, CLD_EXITED);
    CHECK_EQ(si.si_status, 21);
    CHECK_EQ(si.si_signo, SIGCHLD);
    CHECK_EQ(si.si_uid, getuid());
    CHECK(waitid(P_ALL, 0, &si, WEXITED) == 0);
    CHECK_EQ(si.si_pid, pid);
    CHECK_ERR(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        _exit(1);
    }
    setpgid(pid, pid);
    CHECK(waitid(P_PGID, (id_t)pid, &si, WEXITED) == 0);
    CHECK_EQ(si.si_pid, pid);
}

static void case_wait_rusage(void)
{
    struct rusage ru;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        for (volatile unsigned long i = 0; i < 60000000; i++)
            ;
        _exit(0);
    }
    memset(&ru, 0xff, sizeof(ru));
    CHECK_EQ(wait4(pid, &status, 0, &ru), pid);
    CHECK(ru.ru_utime.tv_sec * 1000000L + ru.ru_utime.tv_usec > 5000);
    struct rusage children;
    CHECK(getrusage(RUSAGE_CHILDREN, &children) == 0);
    CHECK(children.ru_utime.tv_sec * 1000000L + children.ru_utime.tv_usec > 5000);
    struct tms t;
    CHECK(times(&t) != -1);
    CHECK(t.tms_cutime > 0);
}

static void case_zombie(void)
{
    pid_t pid = fork_exit(2);
    siginfo_t si;
    CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
    CHECK(kill(pid, 0) == 0); /* a zombie exists */
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK_EQ(getpgid(pid), getpgrp());
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 2);
    CHECK_ERR(kill(pid, 0), ESRCH);
}

static void case_sigchld_ignored(void)
{
    signal(SIGCHLD, SIG_IGN); /* children leave no zombie */
    pid_t pid = fork();
    if (pid == 0) {
        guest_sleep_ms(30);
        _exit(1);
    }
    CHECK_ERR(wait(NULL), ECHILD); /* returns when the last is gone */
    CHECK_ERR(kill(pid, 0), ESRCH);
    struct sigaction a = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    CHECK(sigaction(SIGCHLD, &a, NULL) == 0);
    fork_exit(0);
    CHECK_ERR(wait(NULL), ECHILD);
}

static void *wait_thread(void *arg)
{
    int status = guest_wait(*(pid_t *)arg);
    CHECK_EQ(WEXITSTATUS(status), 12);
    return NULL;
}

static void case_wait_from_thread(void)
{
    pthread_t th;
    pid_t pid = fork();
    if (pid == 0) {
        guest_sleep_ms(20);
        _exit(12);
    }
    CHECK(pthread_create(&th, NULL, wait_thread, &pid) == 0);
    CHECK(pthread_join(th, NULL) == 0);
}

/* --- orphans --- */

static void case_orphan(void)
{
    pid_t *p = shared(4096);
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            pid_t parent = getppid();
            p[1] = parent;
            __atomic_store_n(&p[0], getpid(), __ATOMIC_SEQ_CST);
            WAIT_FOR(getppid() != parent);
            p[2] = getppid();
            __atomic_store_n(&p[3], 1, __ATOMIC_SEQ_CST);
            _exit(0);
        }
        WAIT_FOR(__atomic_load_n(&p[0], __ATOMIC_SEQ_CST));
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    WAIT_FOR(__atomic_load_n(&p[3], __ATOMIC_SEQ_CST));
    CHECK_EQ(p[1], pid);
    CHECK(p[2] != getpid()); /* init, or a subreaper above us */
    CHECK_ERR(waitpid(p[0], NULL, 0), ECHILD);
}

static void case_subreaper(void)
{
    pid_t *p = shared(4096);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t child = fork();
        if (child == 0) {
            guest_sleep_ms(30);
            _exit(13);
        }
        p[0] = child;
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(WEXITSTATUS(guest_wait(p[0])), 13); /* it is ours now */
}

static void case_pdeathsig(void)
{
    int fd[2];
    char c;
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            CHECK(write(fd[1], "r", 1) == 1);
            for (;;)
                pause();
        }
        close(fd[1]);
        CHECK_EQ(read(fd[0], &c, 1), 1);
        _exit(0);
    }
    close(fd[1]);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(read(fd[0], &c, 1), 0); /* end: the grandchild died with its parent */
}

/* --- identity, limits --- */

static void case_ids(void)
{
    uid_t r, e, s;
    gid_t gr, ge, gs, groups[256];
    CHECK(getresuid(&r, &e, &s) == 0);
    CHECK(r == getuid() && e == geteuid());
    CHECK(getresgid(&gr, &ge, &gs) == 0);
    CHECK(gr == getgid() && ge == getegid());
    int n = getgroups(256, groups);
    CHECK(n >= 0);
    CHECK_EQ(getgroups(0, NULL), n);
    CHECK(setuid(getuid()) == 0);
    CHECK(setgid(getgid()) == 0);
    if (geteuid() != 0)
        CHECK_ERR(setuid(getuid() + 1), EPERM);
}

static void case_rlimits(void)
{
    struct rlimit rl, old;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    rl = old;
    rl.rlim_cur = 64;
    CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0);
    CHECK_EQ(rl.rlim_cur, 64);
    int fd, last = -1;
    while ((fd = dup(0)) >= 0)
        last = fd;
    CHECK_EQ(errno, EMFILE);
    CHECK_EQ(last, 63);
    rl.rlim_cur = rl.rlim_max + 1;
    if (rl.rlim_max != RLIM_INFINITY)
        CHECK_ERR(setrlimit(RLIMIT_NOFILE, &rl), EINVAL);
    CHECK_ERR(getrlimit(99, &rl), EINVAL);
    struct rlimit stack;
    CHECK(prlimit(0, RLIMIT_STACK, NULL, &stack) == 0);
    CHECK(stack.rlim_cur > 65536);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0);
        CHECK_EQ(rl.rlim_cur, 64);
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_prctl_name(void)
{
    char name[16] = "";
    CHECK(prctl(PR_SET_NAME, "a-name-that-is-too-long") == 0);
    CHECK(prctl(PR_GET_NAME, name) == 0);
    CHECK(!strcmp(name, "a-name-that-is-"));
}

static void case_uname(void)
{
    struct utsname u;
    CHECK(uname(&u) == 0);
    CHECK(!strcmp(u.sysname, "Linux"));
    CHECK(!strcmp(u.machine, "x86_64"));
    CHECK(u.release[0] >= '3' && u.release[0] <= '9');
}

static void case_umask_cwd(void)
{
    char before[512], after[512];
    mode_t old = umask(027);
    CHECK(getcwd(before, sizeof(before)) != NULL);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(umask(0), 027);
        CHECK(chdir("/") == 0);
        CHECK(getcwd(after, sizeof(after)) != NULL);
        CHECK(!strcmp(after, "/"));
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(getcwd(after, sizeof(after)) != NULL);
    CHECK(!strcmp(before, after));
    CHECK_EQ(umask(old), 027);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(exit_codes),  CASE(fork_ids),    CASE(fork_memory),     CASE(fork_files),
    CASE(fork_deep),   CASE(fork_many),   CASE(vfork),           CASE(atexit),
    CASE(wait_any),    CASE(wait_nohang), CASE(wait_errors),     CASE(waitid),
    CASE(wait_rusage), CASE(zombie),      CASE(sigchld_ignored), CASE(wait_from_thread),
    CASE(orphan),      CASE(subreaper),   CASE(pdeathsig),       CASE(ids),
    CASE(rlimits),     CASE(prctl_name),  CASE(uname),           CASE(umask_cwd),
};
GUEST_MAIN(cases)
