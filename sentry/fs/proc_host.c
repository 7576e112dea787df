/* SPDX-License-Identifier: Apache-2.0
 * proc_host.c - the machine as guests see it: what the host said before the Sentry confined itself,
 * and the sandbox's own counters.
 *
 * cpuinfo is the host's text, cut to the CPUs that guests see. Memory is the memory file's: its
 * limit is the total. Times of CPUs come from the processes, the load is not measured.
 *
 * The host is trusted; its text is bounded. Written once at boot, read-only afterwards: no locks.
 * Host: openat, read, close [sentry-boot] */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <host/memfile.h>

#include "proc.h"
#include "tmpfs.h"

#define HOST_TEXT_MAX (1u << 20)

static struct {
    char *cpuinfo;            /* NUL-terminated; NULL: unreadable */
    struct cpu_place *places; /* of @cpus CPUs */
    uint64_t mem_total_kb;
    unsigned cpus;
} g_host;

static char *host_read(const char *path)
{
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0, size = 16384;
    char *buf = fd < 0 ? NULL : malloc(size);

    while (buf) {
        ssize_t n = read(fd, buf + len, size - len - 1);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (len + 1 < size)
            continue;
        char *more = size < HOST_TEXT_MAX ? realloc(buf, size * 2) : NULL;
        if (!more)
            break;
        buf = more;
        size *= 2;
    }
    if (buf)
        buf[len] = 0;
    return buf;
}

/* The number after @name in one processor's paragraph of cpuinfo, or @otherwise. */
static unsigned cpuinfo_number(const char *at, const char *end, const char *name,
                               unsigned otherwise)
{
    for (const char *line = at; line && line < end; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, strlen(name)))
            return (unsigned)strtoul(line + strcspn(line, ":\n") + 1, NULL, 10);
    }
    return otherwise;
}

static struct cpu_place *places_parse(const char *at, unsigned cpus)
{
    struct cpu_place *p = calloc(cpus, sizeof(*p));

    for (unsigned i = 0; p && i < cpus; i++) {
        const char *end = at ? strstr(at, "\n\n") : NULL;
        p[i] = (struct cpu_place){.core = i, .apic = i};
        if (!end)
            continue;
        p[i].package = cpuinfo_number(at, end, "physical id\t", 0);
        p[i].core = cpuinfo_number(at, end, "core id\t", i);
        p[i].apic = cpuinfo_number(at, end, "apicid\t", i);
        at = end + 2;
    }
    return p;
}

void procfs_capture_host(void)
{
    char *mem autofree = host_read("/proc/meminfo");
    unsigned long long kb = 0;

    if (mem && sscanf(mem, "MemTotal: %llu", &kb) == 1)
        g_host.mem_total_kb = kb;
    g_host.cpuinfo = host_read("/proc/cpuinfo");
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    g_host.cpus = n > 0 ? (unsigned)n : 1;
    g_host.places = places_parse(g_host.cpuinfo, g_host.cpus);
}

struct cpu_place proc_cpu_place(unsigned cpu)
{
    if (g_host.places && cpu < g_host.cpus)
        return g_host.places[cpu];
    return (struct cpu_place){.core = cpu, .apic = cpu};
}

unsigned proc_cpus(void)
{
    if (g_kernel.cpus)
        return g_kernel.cpus;
    return g_host.cpus ? g_host.cpus : 1;
}

int proc_show_cpuinfo(struct text *t, const struct pseudo_key *k UNUSED)
{
    const char *at = g_host.cpuinfo;
    unsigned left = proc_cpus();

    if (!at) {
        for (unsigned i = 0; i < left; i++)
            text_printf(t, "processor\t: %u\nvendor_id\t: unknown\n\n", i);
        return 0;
    }
    while (left-- && *at) {
        const char *end = strstr(at, "\n\n");
        size_t n = end ? (size_t)(end + 2 - at) : strlen(at);
        text_add(t, at, n);
        at += n;
    }
    return 0;
}

void proc_memory_kb(uint64_t *ret_total, uint64_t *ret_used)
{
    uint64_t total = g_host.mem_total_kb, used = 0;

    if (g_fs_memfile) {
        uint64_t limit = memfile_limit(g_fs_memfile) / 1024;
        if (limit && (limit < total || !total))
            total = limit;
        used = memfile_used(g_fs_memfile) / 1024;
    }
    *ret_total = total;
    *ret_used = MIN(used, total);
}

/* What there is not, swapping and a page cache that is counted, is 0; the rest is left out. */
int proc_show_vmstat(struct text *t, const struct pseudo_key *k UNUSED)
{
    uint64_t total, used;

    proc_memory_kb(&total, &used);
    text_printf(t,
                "nr_free_pages %llu\nnr_inactive_anon 0\nnr_active_anon %llu\n"
                "nr_inactive_file 0\nnr_active_file 0\npgpgin 0\npgpgout 0\npswpin 0\n"
                "pswpout 0\n",
                (unsigned long long)(total - used) / 4, (unsigned long long)used / 4);
    return 0;
}

int proc_show_meminfo(struct text *t, const struct pseudo_key *k UNUSED)
{
    uint64_t total, used;

    proc_memory_kb(&total, &used);
    uint64_t free_kb = total - used;
    const struct {
        const char *name;
        uint64_t kb;
    } lines[] = {
        {"MemTotal", total},
        {"MemFree", free_kb},
        {"MemAvailable", free_kb},
        {"Buffers", 0},
        {"Cached", 0},
        {"SwapCached", 0},
        {"Active", used},
        {"Inactive", 0},
        {"Active(anon)", used},
        {"Inactive(anon)", 0},
        {"Active(file)", 0},
        {"Inactive(file)", 0},
        {"Unevictable", 0},
        {"Mlocked", 0},
        {"SwapTotal", 0},
        {"SwapFree", 0},
        {"Dirty", 0},
        {"Writeback", 0},
        {"AnonPages", used},
        {"Mapped", 0},
        {"Shmem", 0},
        {"KReclaimable", 0},
        {"Slab", 0},
        {"SReclaimable", 0},
        {"SUnreclaim", 0},
        {"KernelStack", 0},
        {"PageTables", 0},
        {"CommitLimit", total},
        {"Committed_AS", used},
        {"VmallocTotal", 34359738367},
        {"VmallocUsed", 0},
        {"VmallocChunk", 0},
        {"AnonHugePages", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        text_printf(t, "%s:%*llu kB\n", lines[i].name, (int)(23 - strlen(lines[i].name)),
                    (unsigned long long)lines[i].kb);
    text_printf(t, "HugePages_Total:       0\nHugePages_Free:        0\n"
                   "HugePages_Rsvd:        0\nHugePages_Surp:        0\n"
                   "Hugepagesize:       2048 kB\n");
    return 0;
}

static void count_processes(unsigned *ret_running, unsigned *ret_all, int32_t *ret_last,
                            uint64_t *ret_cpu_ns)
{
    int32_t pid = 0;

    *ret_running = *ret_all = 0;
    *ret_cpu_ns = 0;
    for (;;) {
        struct process *p AUTO_PUT(process) = process_next(pid);
        if (!p)
            break;
        pid = p->pid;
        *ret_cpu_ns += (uint64_t)process_cpu_ns(p);
        ++*ret_all;
    }
    *ret_running = *ret_all ? 1 : 0;
    *ret_last = pid;
}

int proc_show_stat(struct text *t, const struct pseudo_key *k UNUSED)
{
    unsigned running, all, cpus = proc_cpus();
    uint64_t cpu_ns;
    int32_t last;

    count_processes(&running, &all, &last, &cpu_ns);
    int64_t up = clock_now_ns(CLOCK_BOOTTIME);
    uint64_t user = cpu_ns / NSEC_PER_TICK;
    uint64_t ticks = (uint64_t)(up / NSEC_PER_TICK);
    uint64_t idle = ticks * cpus > user ? ticks * cpus - user : 0;
    text_printf(t, "cpu  %llu 0 0 %llu 0 0 0 0 0 0\n", (unsigned long long)user,
                (unsigned long long)idle);
    for (unsigned i = 0; i < cpus; i++)
        text_printf(t, "cpu%u %llu 0 0 %llu 0 0 0 0 0 0\n", i, (unsigned long long)(user / cpus),
                    (unsigned long long)(idle / cpus));
    text_printf(t,
                "intr 0\nctxt 0\nbtime %lld\nprocesses %d\nprocs_running %u\nprocs_blocked 0\n"
                "softirq 0 0 0 0 0 0 0 0 0 0 0\n",
                (long long)((clock_now_ns(CLOCK_REALTIME) - up) / 1000000000), last, running);
    return 0;
}

int proc_show_uptime(struct text *t, const struct pseudo_key *k UNUSED)
{
    int64_t cs = clock_now_ns(CLOCK_BOOTTIME) / 10000000;

    text_printf(t, "%lld.%02lld %lld.%02lld\n", (long long)cs / 100, (long long)cs % 100,
                (long long)cs / 100 * proc_cpus(), 0LL);
    return 0;
}

int proc_show_loadavg(struct text *t, const struct pseudo_key *k UNUSED)
{
    unsigned running, all;
    uint64_t cpu_ns;
    int32_t last;

    count_processes(&running, &all, &last, &cpu_ns);
    text_printf(t, "0.00 0.00 0.00 %u/%u %d\n", running, all, last);
    return 0;
}

int proc_show_osrelease(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, KERNEL_RELEASE "\n");
    return 0;
}

int proc_show_version(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, "Linux version " KERNEL_RELEASE " " KERNEL_VERSION "\n");
    return 0;
}

int proc_show_filesystems(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tpipefs\n"
                   "nodev\tsockfs\nnodev\toverlay\nnodev\t9p\n");
    return 0;
}
