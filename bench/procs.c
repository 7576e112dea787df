/* SPDX-License-Identifier: Apache-2.0
 * procs.c - what processes cost; run natively and inside by bench/run. Linked statically, so that it
 * is the small static program whose execution it times. Prints the median of the rounds after the
 * first ones, which warm what there is to warm.
 *
 *   fork_exit         us  fork, _exit in the child, wait
 *   vfork_exec        us  vfork, execve of `procs nop`, wait
 *   fork_exec         us  fork, execve of `procs nop`, wait
 *   thread            us  clone of a thread that ends at once, joined by its tid word
 *   run CMD [ARG...]  ms  vfork, execve of CMD with its output to /dev/null, wait
 *   nop                   nothing */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM 8
#define ROUNDS 120
#define RUN_WARM 2
#define RUN_ROUNDS 5

extern char **environ;
static char *const g_nop[] = {"/proc/self/exe", "nop", NULL};
static char g_self[4096];

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void reap(pid_t pid)
{
    int status;

    if (pid < 0)
        die("fork");
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "child ended with status 0x%x\n", (unsigned)status);
        exit(1);
    }
}

static void fork_exit(char **arg)
{
    (void)arg;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    reap(pid);
}

static void vfork_exec(char **arg)
{
    (void)arg;
    pid_t pid = vfork();
    if (pid == 0) {
        execve(g_self, g_nop, environ);
        _exit(126);
    }
    reap(pid);
}

static void fork_exec(char **arg)
{
    (void)arg;
    pid_t pid = fork();
    if (pid == 0) {
        execve(g_self, g_nop, environ);
        _exit(126);
    }
    reap(pid);
}

static void *thread_main(void *arg)
{
    return arg;
}

static void thread(char **arg)
{
    (void)arg;
    pthread_t t;
    if (pthread_create(&t, NULL, thread_main, NULL) || pthread_join(t, NULL))
        die("thread");
}

static void run(char **arg)
{
    pid_t pid = vfork();
    if (pid == 0) {
        int fd = open("/dev/null", O_RDWR);
        dup2(fd, 0);
        dup2(fd, 1);
        execvp(arg[0], arg);
        _exit(126);
    }
    reap(pid);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(char **arg);
    } cases[] = {{"fork_exit", fork_exit},
                 {"vfork_exec", vfork_exec},
                 {"fork_exec", fork_exec},
                 {"thread", thread},
                 {"run", run}};
    double us[WARM + ROUNDS];

    if (argc == 2 && !strcmp(argv[1], "nop"))
        return 0;
    if (readlink("/proc/self/exe", g_self, sizeof g_self - 1) < 0)
        die("/proc/self/exe");
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(cases[i].name, argv[1]))
            continue;
        int is_run = cases[i].fn == run;
        int warm = is_run ? RUN_WARM : WARM, rounds = is_run ? RUN_ROUNDS : ROUNDS;
        if (is_run && argc < 3)
            break;
        for (int n = 0; n < warm + rounds; n++) {
            double start = now_us();
            cases[i].fn(argv + 2);
            us[n] = now_us() - start;
        }
        qsort(us + warm, (size_t)rounds, sizeof *us, compare);
        printf("%.2f\n", us[warm + rounds / 2] / (is_run ? 1000 : 1));
        return 0;
    }
    fprintf(stderr, "usage: procs fork_exit|vfork_exec|fork_exec|thread|nop|run CMD [ARG...]\n");
    return 2;
}
