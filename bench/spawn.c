/* SPDX-License-Identifier: Apache-2.0
 * spawn.c - `spawn N PROGRAM`: N times fork, exec, wait; prints us each, the first ten not counted. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    const int warm = 10;
    int n = argc > 2 ? atoi(argv[1]) : 0, status;
    int64_t start = 0;

    if (n <= 0)
        return 2;
    for (int i = -warm; i < n; i++) {
        if (i == 0)
            start = now_ns();
        pid_t pid = fork();
        if (pid == 0) {
            execv(argv[2], argv + 2);
            _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
            return 1;
    }
    printf("%.1f\n", (double)(now_ns() - start) / 1e3 / n);
    return 0;
}
