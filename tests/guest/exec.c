/* SPDX-License-Identifier: Apache-2.0
 * exec.c - execve: arguments, environment, descriptors, signals, scripts, errors; from threads.
 *
 * The program runs itself: `guest_exec --child WHAT ...` is what the cases execute. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>

extern char **environ;
static char g_self[512];

/* Run ourselves as a child program in a new process; its wait status. */
static int run_child(const char *what, const char *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl(g_self, "guest_exec", "--child", what, arg, (char *)NULL);
        _exit(111);
    }
    return guest_wait(pid);
}

/* --- what runs on the other side --- */

static int child_signals(void)
{
    struct sigaction a;
    sigset_t mask, pending;
    CHECK(sigaction(SIGUSR1, NULL, &a) == 0);
    CHECK(a.sa_handler == SIG_DFL); /* handlers are reset */
    CHECK(sigaction(SIGUSR2, NULL, &a) == 0);
    CHECK(a.sa_handler == SIG_IGN); /* ignoring stays */
    CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
    CHECK(sigismember(&mask, SIGTERM) == 1);
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGTERM) == 1);
    stack_t s;
    CHECK(sigaltstack(NULL, &s) == 0);
    CHECK_EQ(s.ss_flags, SS_DISABLE);
    return 0;
}

static int child_env(void)
{
    CHECK(getenv("GUEST_A") && !strcmp(getenv("GUEST_A"), "1 2"));
    CHECK(getenv("GUEST_B") && !strcmp(getenv("GUEST_B"), ""));
    CHECK(environ[2] == NULL);
    return 0;
}

static int child_auxv(void)
{
    CHECK_EQ(getauxval(AT_PAGESZ), 4096);
    CHECK_EQ(getauxval(AT_UID), getuid());
    CHECK_EQ(getauxval(AT_EGID), getegid());
    CHECK(getauxval(AT_RANDOM) != 0);
    CHECK(getauxval(AT_PHDR) != 0);
    CHECK(getauxval(AT_ENTRY) != 0);
    CHECK(getauxval(AT_EXECFN) != 0);
    CHECK(!strcmp((char *)getauxval(AT_EXECFN), g_self));
    CHECK_EQ((uintptr_t)__builtin_frame_address(0) & 15, 0);
    return 0;
}

static int child_main(int argc, char **argv)
{
    const char *what = argv[2], *arg = argc > 3 ? argv[3] : "";
    if (!strcmp(what, "code"))
        return atoi(arg);
    if (!strcmp(what, "signals"))
        return child_signals();
    if (!strcmp(what, "env"))
        return child_env();
    if (!strcmp(what, "auxv"))
        return child_auxv();
    if (!strcmp(what, "length"))
        return strlen(arg) == 100000 && argc == 4 ? 0 : 1;
    if (!strcmp(what, "count"))
        return argc == 2003 ? 0 : 1;
    if (!strcmp(what, "closed"))
        return fcntl(atoi(arg), F_GETFD) < 0 && errno == EBADF ? 0 : 1;
    if (!strcmp(what, "open"))
        return fcntl(atoi(arg), F_GETFD) == 0 ? 0 : 1;
    if (!strcmp(what, "pid"))
        return getpid() == atoi(arg) && guest_gettid() == atoi(arg) ? 0 : 1;
    return 99;
}

/* --- cases --- */

static void case_exit_code(void)
{
    CHECK_EQ(WEXITSTATUS(run_child("code", "0")), 0);
    CHECK_EQ(WEXITSTATUS(run_child("code", "57")), 57);
}

static void case_signals(void)
{
    static char stack[65536];
    stack_t s = {.ss_sp = stack, .ss_size = sizeof(stack)};
    sigset_t t;
    signal(SIGUSR1, (void (*)(int))(uintptr_t)exit);
    signal(SIGUSR2, SIG_IGN);
    CHECK(sigaltstack(&s, NULL) == 0);
    sigemptyset(&t);
    sigaddset(&t, SIGTERM);
    CHECK(sigprocmask(SIG_BLOCK, &t, NULL) == 0);
    raise(SIGTERM); /* pending signals survive exec, not fork: execute here */
    execl(g_self, "guest_exec", "--child", "signals", (char *)NULL);
    CHECK(!"exec");
}

static void case_environment(void)
{
    char *env[] = {"GUEST_A=1 2", "GUEST_B=", NULL};
    char *argv[] = {"guest_exec", "--child", "env", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execve(g_self, argv, env);
        _exit(111);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_auxv(void)
{
    CHECK_EQ(run_child("auxv", NULL), 0);
}

static void case_long_arguments(void)
{
    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = 0;
    CHECK_EQ(run_child("length", big), 0);
    char **argv = calloc(2004, sizeof(*argv));
    for (int i = 0; i < 2003; i++)
        argv[i] = "y";
    argv[0] = "guest_exec";
    argv[1] = "--child";
    argv[2] = "count";
    pid_t pid = fork();
    if (pid == 0) {
        execv(g_self, argv);
        _exit(111);
    }
    CHECK_EQ(guest_wait(pid), 0);
    char *huge = malloc(200000); /* one string: 128 KiB at most */
    memset(huge, 'z', 199999);
    huge[199999] = 0;
    CHECK_ERR(execl(g_self, "a", huge, (char *)NULL), E2BIG);
}

static void case_cloexec(void)
{
    char num[16];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    snprintf(num, sizeof(num), "%d", fd);
    CHECK_EQ(run_child("closed", num), 0);
    CHECK(fcntl(fd, F_SETFD, 0) == 0);
    CHECK_EQ(run_child("open", num), 0);
}

static void case_same_pid(void)
{
    char num[16];
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(num, sizeof(num), "%d", getpid());
        execl(g_self, "guest_exec", "--child", "pid", num, (char *)NULL);
        _exit(111);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, mode);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    CHECK(chmod(name, mode) == 0);
}

static void case_errors(void)
{
    char dir[] = "/tmp/guest_exec_XXXXXX", name[64];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(name, sizeof(name), "%s/f", dir);
    CHECK_ERR(execl(name, "x", (char *)NULL), ENOENT);
    CHECK_ERR(execl(dir, "x", (char *)NULL), EACCES);
    CHECK_ERR(execl("/dev/null/x", "x", (char *)NULL), ENOTDIR);
    write_file(name, "#!/bin/sh\n", 0644);
    CHECK_ERR(execl(name, "x", (char *)NULL), EACCES);
    write_file(name, "not a program", 0755);
    CHECK_ERR(execl(name, "x", (char *)NULL), ENOEXEC);
    write_file(name, "", 0755);
    CHECK_ERR(execl(name, "x", (char *)NULL), ENOEXEC);
    write_file(name, "\177ELF", 0755);
    CHECK_ERR(execl(name, "x", (char *)NULL), ENOEXEC);
    write_file(name, "#!/no/such/interpreter\n", 0755);
    CHECK_ERR(execl(name, "x", (char *)NULL), ENOENT);
    CHECK_ERR(syscall(SYS_execve, 8, NULL, NULL), EFAULT);
    CHECK_ERR(syscall(SYS_execve, g_self, 8, NULL), EFAULT);
    unlink(name);
    rmdir(dir);
}

static void case_script(void)
{
    char dir[] = "/tmp/guest_exec_XXXXXX", name[64], out[256] = "", want[256];
    int fd[2];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(name, sizeof(name), "%s/script", dir);
    write_file(name, "#! /bin/sh -e\necho \"$0|$1|$2\"\nexit 5\n", 0755);
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], 1);
        execl(name, "ignored", "a b", "c", (char *)NULL);
        _exit(111);
    }
    close(fd[1]);
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 5);
    CHECK(read(fd[0], out, sizeof(out) - 1) > 0);
    snprintf(want, sizeof(want), "%s|a b|c\n", name);
    CHECK(!strcmp(out, want));
    unlink(name);
    rmdir(dir);
}

static void case_vfork_exec(void)
{
    for (int i = 0; i < 10; i++) {
        char code[8];
        snprintf(code, sizeof(code), "%d", i);
        pid_t pid = vfork();
        if (pid == 0) {
            execl(g_self, "guest_exec", "--child", "code", code, (char *)NULL);
            _exit(111);
        }
        CHECK_EQ(WEXITSTATUS(guest_wait(pid)), i);
    }
}

static void case_fexecve(void)
{
    int fd = open(g_self, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    char *argv[] = {"guest_exec", "--child", "code", "41", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
        _exit(111);
    }
    CHECK_EQ(WEXITSTATUS(guest_wait(pid)), 41);
}

static void *sleeps(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return NULL;
}

static void *executes(void *arg)
{
    execl(g_self, "guest_exec", "--child", "pid", arg, (char *)NULL);
    _exit(111);
}

static void case_from_thread(void)
{
    char num[16];
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t th;
        snprintf(num, sizeof(num), "%d", getpid());
        for (int i = 0; i < 3; i++)
            CHECK(pthread_create(&th, NULL, sleeps, NULL) == 0);
        CHECK(pthread_create(&th, NULL, executes, num) == 0); /* becomes the leader */
        sleeps(NULL);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_from_leader(void)
{
    char num[16];
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t th;
        snprintf(num, sizeof(num), "%d", getpid());
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&th, NULL, sleeps, NULL) == 0);
        guest_sleep_ms(10);
        executes(num);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void case_memory_gone(void)
{
    /* Shared memory lives on in others, the new program has none of the old one's mappings. */
    int *p = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(p != MAP_FAILED);
    *p = 9;
    CHECK_EQ(WEXITSTATUS(run_child("code", "0")), 0);
    CHECK_EQ(*p, 9);
}

static void case_many(void)
{
    for (int i = 0; i < 30; i++)
        CHECK_EQ(WEXITSTATUS(run_child("code", "1")), 1);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(exit_code), CASE(signals),     CASE(environment), CASE(auxv),        CASE(long_arguments),
    CASE(cloexec),   CASE(same_pid),    CASE(errors),      CASE(script),      CASE(vfork_exec),
    CASE(fexecve),   CASE(from_thread), CASE(from_leader), CASE(memory_gone), CASE(many),
};

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", g_self, sizeof(g_self) - 1);
    if (n < 0)
        return 2;
    if (argc > 2 && !strcmp(argv[1], "--child"))
        return child_main(argc, argv);
    return guest_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
