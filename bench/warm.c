/* SPDX-License-Identifier: Apache-2.0
 * warm.c - one file operation again and again: warm stat|open|pread|readdir DIR COUNT. Before that once,
 * so that everything is known. ns for each; DIR has at least the file "f", readdir lists all of it. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int g_fd = -1;

static int op_stat(const char *path)
{
    struct stat st;
    return stat(path, &st);
}

static int op_open(const char *path)
{
    int fd = open(path, O_RDONLY);
    return fd < 0 ? -1 : close(fd);
}

static int op_pread(const char *path)
{
    static char buf[4096];
    (void)path;
    return pread(g_fd, buf, sizeof buf, 0) == sizeof buf ? 0 : -1;
}

static int op_readdir(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    if (!d)
        return -1;
    while (readdir(d))
        n++;
    return closedir(d) < 0 || n < 3 ? -1 : 0;
}

static const struct op {
    const char *name;
    int (*run)(const char *path);
} ops[] = {{"stat", op_stat}, {"open", op_open}, {"pread", op_pread}, {"readdir", op_readdir}};

int main(int argc, char **argv)
{
    const struct op *op = ops, *end = ops + sizeof ops / sizeof *ops;
    struct timespec a, b;
    char path[4096];

    if (argc != 4)
        return 2;
    while (op < end && strcmp(op->name, argv[1]) != 0)
        op++;
    if (op == end)
        return 2;
    snprintf(path, sizeof path, op->run == op_readdir ? "%s" : "%s/f", argv[2]);
    g_fd = open(path, O_RDONLY);
    long n = atol(argv[3]);
    for (long i = 0; i < 2000 && i < n; i++) /* call sites are changed by then */
        if (op->run(path))
            return 1;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long i = 0; i < n; i++)
        if (op->run(path))
            return 1;
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%.1f\n",
           ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n);
    return 0;
}
