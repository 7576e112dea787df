/* SPDX-License-Identifier: Apache-2.0
 * stubs.c - pages of the memory file taken for good, which all stub processes map: the stub text and
 * the read-only pages (poller words; globals: CPU set, guest filter); facts about the host.
 *
 * Host: clock_gettime [sentry]
 * Host: getrlimit, sched_getaffinity [before confinement] */
#include <stubs/stubs.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <time.h>

#define HWCAP2_FSGSBASE 2
#define FDS_RESERVED 512 /* of the Sentry's limit, for everything but pidfds */
#define PROCESSES_MAX 16384

struct stubs g_stubs = {.uid = UINT32_MAX, .gid = UINT32_MAX};

static_assert(RO_POLLERS * sizeof(struct ring_poller_word) <= STUB_GLOBALS - STUB_RO,
              "poller words");

/* "0-2,5": 0 or -EINVAL. */
static int cpus_parse(const char *list, cpu_set_t *ret)
{
    CPU_ZERO(ret);
    while (*list) {
        char *end;
        unsigned long from = strtoul(list, &end, 10), to = from;

        if (end == list)
            return -EINVAL;
        if (*end == '-') {
            list = end + 1;
            to = strtoul(list, &end, 10);
            if (end == list)
                return -EINVAL;
        }
        if (from > to || to >= CPU_SETSIZE || (*end && *end != ','))
            return -EINVAL;
        for (unsigned long c = from; c <= to; c++)
            CPU_SET(c, ret);
        list = *end ? end + 1 : end;
    }
    return CPU_COUNT(ret) ? 0 : -EINVAL;
}

/* Where vDSO and its data lie; without /proc it is not kept. */
static void vdso_find(void)
{
    uint64_t vdso = getauxval(AT_SYSINFO_EHDR), from = 0, to = 0;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");

    if (!f)
        return;
    while (vdso && fgets(line, sizeof line, f)) {
        unsigned long long lo, hi;
        if ((!strstr(line, "[vvar") && !strstr(line, "[vdso]")) ||
            sscanf(line, "%llx-%llx", &lo, &hi) != 2)
            continue;
        from = from && lo == to ? from : lo; /* only what is contiguous with the vDSO */
        to = hi;
        if (lo == vdso) {
            if (from >= STUB_REGION_END) {
                g_stubs.limits.vdso_data = from;
                g_stubs.limits.vdso = vdso;
                g_stubs.limits.vdso_end = to;
            }
            break;
        }
    }
    fclose(f);
}

/* Take pages of the memory file for good. */
static int pages_take(uint64_t len, uint64_t *ret_off)
{
    int r = memfile_alloc(g_stubs.mf, len, MEMFILE_ANY, ret_off);

    return r ? r : memfile_populate(g_stubs.mf, *ret_off, len);
}

static int text_write(void)
{
    size_t len = (size_t)(stub_end - stub_start);

    BUG_ON(len > STUB_TEXT_SIZE);
    g_stubs.text_len = align_up(len, PAGE_SIZE);
    int r = pages_take(g_stubs.text_len, &g_stubs.text_off);
    if (r)
        return r;
    uint8_t *text = memfile_ptr(g_stubs.mf, g_stubs.text_off);
    memset(text, 0xcc, g_stubs.text_len);
    memcpy(text, stub_start, len);
    return 0;
}

static void limits_find(void)
{
    struct rlimit files;
    uint64_t processes = PROCESSES_MAX;

    /* a pidfd for each; twice as much so that their files do not starve */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        processes = files.rlim_cur > 2 * FDS_RESERVED ? (files.rlim_cur - FDS_RESERVED) / 2
                                                      : FDS_RESERVED / 2;
    g_stubs.limits = (struct pf_limits){
        .user_min = 0x10000,
        .user_max = STUB_REGION,
        .max_processes = (uint32_t)MIN(processes, (uint64_t)PROCESSES_MAX),
        .max_threads_per_as = LANE_COUNT,
    };
}

uint8_t *stubs_globals(void)
{
    return g_stubs.ro + (STUB_GLOBALS - STUB_RO);
}

static void globals_write(void)
{
    uint8_t *g = stubs_globals();
    uint32_t cpus_len = 128, flags = 0;

    if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)
        flags |= GLOBALS_F_FSGSBASE;
    if (g_stubs.pin)
        flags |= GLOBALS_F_AFFINITY;
    memcpy(g + GLOBALS_FLAGS, &flags, 4);
    memcpy(g + GLOBALS_CPUS_LEN, &cpus_len, 4);
    memcpy(g + GLOBALS_CPUS, &g_stubs.guest_cpus, 128);
}

int stubs_init(struct memfile *mf, const char *guest_cpus)
{
    int r = 0;

    BUG_ON(g_stubs.mf);
    g_stubs.mf = mf;
    g_stubs.memfd = memfile_fd(mf);
    g_stubs.pin = guest_cpus != NULL;
    if (guest_cpus)
        r = cpus_parse(guest_cpus, &g_stubs.guest_cpus);
    if (sched_getaffinity(0, sizeof g_stubs.all_cpus, &g_stubs.all_cpus))
        g_stubs.all_cpus = g_stubs.guest_cpus;
    if (!r)
        r = text_write();
    if (!r)
        r = pages_take(STUB_RO_BYTES, &g_stubs.ro_off);
    if (r)
        return r;
    g_stubs.ro = memfile_ptr(mf, g_stubs.ro_off);
    globals_write();
    limits_find();
    fpu_init();
    BUG_ON(g_stubs.fpu_size > PF_FPU_MAX);
    vdso_find();
    return 0;
}

void stubs_fini(void)
{
    if (!g_stubs.mf)
        return;
    ranges_free_all();
    if (g_stubs.ro)
        memfile_free(g_stubs.mf, g_stubs.ro_off, STUB_RO_BYTES);
    if (g_stubs.text_off)
        memfile_free(g_stubs.mf, g_stubs.text_off, g_stubs.text_len);
    g_stubs = (struct stubs){.uid = UINT32_MAX, .gid = UINT32_MAX};
}

void stubs_roam(bool roam)
{
    if (!g_stubs.pin)
        return;
    g_stubs.roam = roam;
    memcpy(stubs_globals() + GLOBALS_CPUS, roam ? &g_stubs.all_cpus : &g_stubs.guest_cpus, 128);
}

uint64_t stubs_cpu_ns(pid_t pid)
{
    clockid_t clock = (clockid_t)((~(uint32_t)pid << 3) | 2 /* CPUCLOCK_SCHED */);
    struct timespec ts;

    if (clock_gettime(clock, &ts))
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
