/* SPDX-License-Identifier: Apache-2.0
 * limits.c - reads the host's limits and derives the sandbox's (limits.h has the table).
 *
 * The cgroup's pids.max is looked for in the process's own cgroup v2 directory and its parents as
 * far as they are visible; with cgroup v1 or without a mount it does not count.
 * Host: getrlimit, setrlimit [before confinement]
 */
#include <host/limits.h>

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <base/compiler.h>

#define USUAL_MAX_MAP_COUNT 65530
#define USUAL_PID_MAX 32768
#define COUNT_MAX (1u << 24) /* cap on everything derived */

/* First word of a file as a number; "max" and what cannot be read give @otherwise. */
static uint64_t file_number(const char *path, uint64_t otherwise)
{
    char word[32], *end;
    FILE *f = fopen(path, "re");
    if (!f)
        return otherwise;
    bool got = fgets(word, sizeof word, f);
    fclose(f);
    if (!got || word[0] < '0' || word[0] > '9')
        return otherwise;
    unsigned long long v = strtoull(word, &end, 10);
    return end == word ? otherwise : v;
}

static uint64_t cgroup_tasks(void)
{
    char line[PATH_MAX], path[PATH_MAX + 64];
    uint64_t least = UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f))
        found = !strncmp(line, "0::/", 4);
    if (f)
        fclose(f);
    if (!found)
        return least;
    char *dir = line + 3;
    dir[strcspn(dir, "\n")] = 0;
    for (char *slash; (slash = strrchr(dir, '/')); *slash = 0) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/pids.max", dir);
        uint64_t v = file_number(path, UINT64_MAX);
        least = MIN(least, v);
    }
    return least;
}

static uint64_t rlimit_value(int which, bool raise)
{
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)which, &r))
        return UINT64_MAX;
    if (raise && r.rlim_cur < r.rlim_max) {
        rlim_t before = r.rlim_cur;
        r.rlim_cur = r.rlim_max;
        if (setrlimit((__rlimit_resource_t)which, &r))
            r.rlim_cur = before;
    }
    return r.rlim_cur == RLIM_INFINITY ? UINT64_MAX : r.rlim_cur;
}

void host_limits_read(struct host_limits *ret)
{
    uint64_t nproc = rlimit_value(RLIMIT_NPROC, false);
    uint64_t pid_max = file_number("/proc/sys/kernel/pid_max", USUAL_PID_MAX);
    uint64_t cgroup = cgroup_tasks();
    uint64_t least = MIN(nproc, pid_max);
    *ret = (struct host_limits){
        .nofile = rlimit_value(RLIMIT_NOFILE, true),
        .tasks = MIN(least, cgroup),
        .max_map_count = file_number("/proc/sys/vm/max_map_count", USUAL_MAX_MAP_COUNT),
        .memlock = rlimit_value(RLIMIT_MEMLOCK, false),
    };
}

static uint32_t less(uint64_t have, uint64_t own)
{
    uint64_t left = have > own ? have - own : 0;
    return (uint32_t)MIN(left, (uint64_t)COUNT_MAX);
}

void sandbox_limits_derive(const struct host_limits *host, struct sandbox_limits *ret)
{
    uint32_t fds = less(host->nofile, HOST_FD_OWN);
    uint32_t tasks = less(host->tasks, HOST_TASKS_OWN);
    uint32_t by_tasks = tasks / (HOST_TASKS_PER_AS + 1); /* each with at least one thread */
    uint32_t by_fds = fds / 2;
    uint32_t maps = less(host->max_map_count, HOST_MAPS_OWN);
    *ret = (struct sandbox_limits){
        .processes = MIN(by_tasks, by_fds),
        .tasks = tasks,
        .donated_fds = fds - fds / 2,
        .gofer_nodes = fds / 2,
        .maps = maps,
        .maps_blocks = maps / 4,
        .maps_huge = maps / 2,
    };
}

const char *host_limits_shortage(const struct host_limits *host)
{
    if (host->nofile < HOST_NOFILE_MIN)
        return "too few open files: raise `ulimit -Hn`";
    if (host->tasks < HOST_TASKS_MIN)
        return "too few processes: raise `ulimit -u` or the cgroup's pids.max";
    if (host->max_map_count < HOST_MAPS_MIN)
        return "too few mappings: raise the sysctl vm.max_map_count";
    return NULL;
}
