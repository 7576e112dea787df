/* SPDX-License-Identifier: Apache-2.0
 * options.c - options of `ringbox run`: one table row each. A row without a setter is an option of
 * the design that has no meaning yet: it is refused, never ignored.
 *
 * Host: sched_getaffinity [not confined] */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <host/io.h>
#include <kernel/pledge.h>
#include <vfs/unveil.h>

#include "cmd.h"
#include "control.h"

#define PIDS_DEFAULT 4096
#define PIDS_MAX 30000
#define MEMORY_MAX (64ULL << 40)
#define CPUS_LIST_MAX 256 /* as in run.c */

struct option_row {
    const char *name, *argument;                          /* NULL: takes none; "[X]": optional */
    int (*set)(struct run_options *o, const char *value); /* 0, or EXIT_FAILED with a message */
    const char *help;
};

static int bad(const char *name, const char *value, const char *want)
{
    return cmd_error("--%s: '%s' is not %s", name, value, want);
}

static int set_platform(struct run_options *o, const char *v)
{
    o->platform = strcmp(v, "auto") == 0 ? NULL : v;
    if (!o->platform || platform_named(v))
        return 0;
    if (strcmp(v, "kvm") == 0)
        return cmd_error("--platform %s is not built into this version; use auto", v);
    return bad("platform", v, "auto, trap or ptrace");
}

static int set_name(struct run_options *o, const char *v)
{
    if (!control_name_valid(v))
        return bad("name", v, "a name: 1 to 64 letters, digits, '_', '-', '.', a letter first");
    o->name = v;
    return 0;
}

static int set_rootfs(struct run_options *o, const char *v)
{
    o->rootfs = v;
    return 0;
}

static int set_cwd(struct run_options *o, const char *v)
{
    if (v[0] != '/')
        return bad("cwd", v, "an absolute path");
    o->cwd = v;
    return 0;
}

static int set_hostname(struct run_options *o, const char *v)
{
    if (!*v || strlen(v) > 64)
        return bad("hostname", v, "a name of 1 to 64 bytes");
    o->hostname = v;
    return 0;
}

static int set_env(struct run_options *o, const char *v)
{
    size_t n = 0, key = strcspn(v, "=");

    if (v[key] != '=' || key == 0)
        return bad("env", v, "NAME=VALUE");
    for (; o->env[n]; n++)
        if (strncmp(o->env[n], v, key + 1) == 0) {
            o->env[n] = (char *)(uintptr_t)v;
            return 0;
        }
    char **grown = calloc(n + 2, sizeof *grown);
    if (!grown)
        return cmd_error("out of memory");
    memcpy(grown, o->env, n * sizeof *grown);
    grown[n] = (char *)(uintptr_t)v;
    o->env = grown;
    return 0;
}

static bool parse_number(const char *s, uint64_t max, uint64_t *ret)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno || end == s || *end || !isdigit((unsigned char)*s) || v > max)
        return false;
    *ret = v;
    return true;
}

static int set_user(struct run_options *o, const char *v)
{
    uint64_t uid, gid = 0;
    char part[32];
    size_t n = strcspn(v, ":");

    if (n >= sizeof part)
        return bad("user", v, "UID[:GID]");
    memcpy(part, v, n);
    part[n] = 0;
    if (!parse_number(part, UINT32_MAX - 1, &uid) ||
        (v[n] && !parse_number(v + n + 1, UINT32_MAX - 1, &gid)))
        return bad("user", v, "UID[:GID] in numbers");
    o->uid = (uint32_t)uid;
    o->gid = v[n] ? (uint32_t)gid : (uint32_t)uid;
    o->user_given = true;
    return 0;
}

static int set_memory(struct run_options *o, const char *v)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(v, &end, 10);
    unsigned shift = *end == 'k' || *end == 'K'   ? 10
                     : *end == 'm' || *end == 'M' ? 20
                     : *end == 'g' || *end == 'G' ? 30
                     : *end == 't' || *end == 'T' ? 40
                                                  : 0;

    if (shift)
        end++;
    if (errno || *end || !isdigit((unsigned char)*v) || n > (UINT64_MAX >> shift) ||
        (n << shift) < (16ULL << 20) || (n << shift) > MEMORY_MAX)
        return bad("memory", v, "a size from 16M to 64T, such as 512M or 4G");
    o->memory_bytes = n << shift;
    return 0;
}

static int set_pids(struct run_options *o, const char *v)
{
    uint64_t n;

    if (!parse_number(v, PIDS_MAX, &n) || n == 0)
        return bad("pids", v, "a number from 1 to 30000");
    o->pids = (uint32_t)n;
    return 0;
}

static int set_timeout(struct run_options *o, const char *v)
{
    char *end;
    double s = strtod(v, &end);

    if (end == v || *end || !(s > 0) || s > 1e9)
        return bad("timeout", v, "a number of seconds above 0");
    o->timeout_s = s;
    return 0;
}

/* "0,2-3": 0, or what is wrong with it in words. */
static const char *parse_cpus(const char *v, cpu_set_t *ret)
{
    cpu_set_t allowed;
    const char *p = v;

    CPU_ZERO(ret);
    if (!*v || strspn(v, "0123456789,-") != strlen(v) || strlen(v) >= CPUS_LIST_MAX)
        return "a list such as 0,2-3";
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        memset(&allowed, 0xff, sizeof allowed);
    while (*p) {
        char *end;
        unsigned long lo = strtoul(p, &end, 10), hi = lo;
        bool number = end != p;
        if (number && *end == '-') {
            p = end + 1;
            hi = strtoul(p, &end, 10);
            number = end != p;
        }
        if (!number || hi < lo || (*end && (*end != ',' || !end[1])))
            return "a list such as 0,2-3";
        if (hi >= CPU_SETSIZE)
            return "a list of CPUs that this process may use";
        for (; lo <= hi; lo++) {
            if (!CPU_ISSET(lo, &allowed))
                return "a list of CPUs that this process may use";
            CPU_SET(lo, ret);
        }
        p = *end ? end + 1 : end;
    }
    return NULL;
}

static int set_sentry_cores(struct run_options *o, const char *v)
{
    uint64_t n;

    if (strcmp(v, "auto") == 0)
        return 0;
    if (!strpbrk(v, ",-") && parse_number(v, 64, &n) && n) {
        o->pollers = (int)n;
        return 0;
    }
    cpu_set_t set;
    const char *wrong = parse_cpus(v, &set);
    if (wrong)
        return bad("sentry-cores", v, wrong);
    o->sentry_cpu_count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && o->sentry_cpu_count < 64; cpu++)
        if (CPU_ISSET((unsigned)cpu, &set))
            o->sentry_cpus[o->sentry_cpu_count++] = cpu;
    o->pollers = o->sentry_cpu_count;
    return 0;
}

static int set_guest_cores(struct run_options *o, const char *v)
{
    cpu_set_t set;
    const char *wrong = parse_cpus(v, &set);

    if (wrong)
        return bad("guest-cores", v, wrong);
    o->guest_cpus = v;
    return 0;
}

static int set_io(struct run_options *o, const char *v)
{
    o->io_engine = strcmp(v, "uring") == 0   ? IO_URING
                   : strcmp(v, "epoll") == 0 ? IO_EPOLL
                                             : IO_AUTO;
    return o->io_engine != IO_AUTO || strcmp(v, "auto") == 0 ? 0
                                                             : bad("io", v, "auto, uring or epoll");
}

static int set_trace(struct run_options *o, const char *v)
{
    o->trace_file = v ? v : "";
    return 0;
}

static int set_stats(struct run_options *o, const char *v)
{
    o->stats = true;
    if (!v)
        return 0;
    size_t n = strcspn(v, ",");
    if (n == 4 && memcmp(v, "json", 4) == 0)
        o->stats_json = true;
    else if (n != 4 || memcmp(v, "text", 4) != 0)
        return bad("stats", v, "text or json, then perhaps ,FILE");
    o->stats_file = v[n] ? v + n + 1 : NULL;
    return 0;
}

static int set_patch(struct run_options *o, const char *v)
{
    uint64_t n = 0;

    if (v && (!parse_number(v, 1000000, &n) || n == 0))
        return bad("patch", v, "a number of calls");
    o->patch_after = (uint32_t)n;
    o->no_patch = false;
    return 0;
}

static int set_no_patch(struct run_options *o, const char *v)
{
    (void)v;
    o->no_patch = true;
    return 0;
}

static int set_net(struct run_options *o, const char *v)
{
    (void)o;
    return strcmp(v, "none") == 0
               ? 0
               : cmd_error("--net %s is not built into this version; only none is", v);
}

static int set_pledge(struct run_options *o, const char *v)
{
    const char *wrong;
    size_t len;

    if (pledge_parse(v, &o->pledge, &wrong, &len))
        return cmd_error("--pledge: '%.*s' is no promise; see ringbox syscalls --promises",
                         (int)MIN(len, (size_t)40), wrong);
    o->pledge_given = true;
    return 0;
}

static int set_unveil(struct run_options *o, const char *v)
{
    const char *colon = strrchr(v, ':');
    struct boot_unveil u = {0};

    if (v[0] != '/' || !colon || unveil_parse(colon + 1, &u.may))
        return bad("unveil", v, "an absolute path, ':' and letters of rwxc");
    if (o->unveil_count == UNVEIL_MAX)
        return cmd_error("--unveil: more than %u paths", UNVEIL_MAX);
    u.path = strndup(v, (size_t)(colon - v));
    struct boot_unveil *grown =
        realloc(o->unveil, (o->unveil_count + 1) * sizeof *grown); /* few, at the start */
    if (!u.path || !grown)
        return cmd_error("out of memory");
    grown[o->unveil_count++] = u;
    o->unveil = grown;
    return 0;
}

static int set_rw(struct run_options *o, const char *v)
{
    if (v && strcmp(v, "shared") != 0 && strcmp(v, "exclusive") != 0)
        return bad("rw", v, "shared or exclusive");
    o->root_rw = true;
    o->root_exclusive = v && *v == 'e';
    return 0;
}

static int set_show_view(struct run_options *o, const char *v)
{
    (void)v;
    o->show_view = true;
    return 0;
}

static int set_bind(struct run_options *o, const char *v)
{
    return mounts_add_bind(&o->mounts, v);
}

static int set_tmpfs(struct run_options *o, const char *v)
{
    return mounts_add_tmpfs(&o->mounts, v);
}

static int set_mount(struct run_options *o, const char *v)
{
    return mounts_add_server(&o->mounts, v);
}

static const struct option_row rows[] = {
    {"platform", "auto|trap|ptrace", set_platform, "how system calls are caught"},
    {"name", "ID", set_name, "name for ringbox exec, ps, kill, ... (default: the process id)"},
    {"rootfs", "DIR", set_rootfs, "directory that becomes / (default: what everybody sees of /)"},
    {"rw", "[shared|exclusive]", set_rw, "changes of / go to the host (default: to memory)"},
    {"bind", "SRC:DST[:ro|rw]", set_bind, "the host's SRC at DST (default: read-only)"},
    {"tmpfs", "DST[:size=SIZE]", set_tmpfs, "an empty directory in memory at DST"},
    {"mount", "9p:SOCKET:DST[:ro|rw]", set_mount, "a 9P2000.L server at DST"},
    {"show-view", NULL, set_show_view, "print what would be seen where, and run nothing"},
    {"cwd", "DIR", set_cwd, "working directory (default: the caller's)"},
    {"env", "NAME=VALUE", set_env, "set an environment variable"},
    {"hostname", "NAME", set_hostname, "host name inside"},
    {"user", "UID[:GID]", set_user, "identity inside (default: the caller's)"},
    {"memory", "SIZE", set_memory, "most memory, e.g. 512M (default: 3/4 of the host's)"},
    {"pids", "N", set_pids, "most processes and threads (default 4096)"},
    {"timeout", "SECONDS", set_timeout, "kill the sandbox after this time (status 137)"},
    {"sentry-cores", "auto|N|LIST", set_sentry_cores, "CPUs or number of pollers of the Sentry"},
    {"guest-cores", "LIST", set_guest_cores, "CPUs of guest threads"},
    {"io", "auto|uring|epoll", set_io, "engine of host I/O"},
    {"net", "none", set_net, "network"},
    {"pledge", "PROMISES", set_pledge, "only calls of these promises, e.g. 'stdio rpath'"},
    {"unveil", "PATH:rwxc", set_unveil, "of all paths only this and what is below; repeatable"},
    {"trace", "[FILE]", set_trace, "print every system call (default: to stderr)"},
    {"stats", "[text|json][,FILE]", set_stats, "print counters at the end"},
    {"no-patch", NULL, set_no_patch, "every system call traps: no call site is changed"},
    {"patch", "[N]", set_patch, "change call sites after N traps (default: when it pays)"},
    {"publish", "[ADDR:]HOST:GUEST", NULL, NULL},
    {"tty", "auto|yes|no", NULL, NULL},
};

static const struct option_row *row_named(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

int run_option_set(struct run_options *o, const char *name, const char *value)
{
    return row_named(name)->set(o, value);
}

void run_option_print(const char *name, const char *help)
{
    const struct option_row *r = row_named(name);
    const char *a = r->argument ? r->argument : "";
    bool optional = *a == '[' && !strchr(a, ':');
    char left[48];

    snprintf(left, sizeof left, "--%s%s%s", name, optional ? "[=" : *a ? " " : "", a + optional);
    printf("  %-34s %s\n", left, help ? help : r->help);
}

static void print_help(void)
{
    printf("usage: ringbox run [OPTION...] [--] COMMAND [ARGUMENT...]\n\n"
           "Runs COMMAND inside a user-space kernel. / is the host's, read-only, under an overlay\n"
           "in memory that ends with the sandbox.\n\n");
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].set)
            run_option_print(rows[i].name, NULL);
    printf("\nExit status: the command's; 128+N killed by signal N; 125 ringbox failed;\n"
           "126 not executable; 127 not found.\n");
}

static void defaults(struct run_options *o)
{
    *o = (struct run_options){
        .rootfs = NULL, .hostname = NULL, .env = environ, .uid = getuid(), .gid = getgid()};
    o->pids = PIDS_DEFAULT;
}

int run_options_parse(int argc, char **argv, struct run_options *ret, bool *ret_done)
{
    struct option longs[ARRAY_SIZE(rows) + 2] = {0};
    int c, index = 0, r = 0;

    *ret_done = false;
    defaults(ret);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *a = rows[i].argument;
        longs[i] = (struct option){rows[i].name,
                                   !a                               ? no_argument
                                   : a[0] == '[' && !strchr(a, ':') ? optional_argument
                                                                    : required_argument,
                                   NULL, 256};
    }
    longs[ARRAY_SIZE(rows)] = (struct option){"help", no_argument, NULL, 'h'};
    opterr = 0;
    optind = 1;
    while (r == 0 && (c = getopt_long(argc, argv, "+:hp:", longs, &index)) != -1) {
        if (c == 'h') {
            print_help();
            *ret_done = true;
            return 0;
        }
        if (c == ':')
            return cmd_error("%s needs a value; see ringbox run --help", argv[optind - 1]);
        if (c == 'p')
            return cmd_error("-p is not built into this version");
        if (c != 256)
            return cmd_error("unknown option %s; see ringbox run --help", argv[optind - 1]);
        if (!rows[index].set)
            return cmd_error("--%s is not built into this version", rows[index].name);
        r = rows[index].set(ret, optarg);
    }
    if (r)
        return r;
    if (optind >= argc && ret->show_view)
        return 0;
    if (optind >= argc)
        return cmd_error("run: no command given; see ringbox run --help");
    ret->command = argv + optind;
    return 0;
}
