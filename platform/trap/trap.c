/* SPDX-License-Identifier: Apache-2.0
 * trap.c - the trap platform: start, end, and the table of operations.
 *
 * See README.md for the processes involved. Pages of the memory file taken here for good: the stub
 * text, and the read-only pages (poller words; globals: CPU set, guest filter) that all
 * stubs share.
 *
 * Host: close [sentry]
 * Host: getrlimit, sched_getaffinity, seccomp [before confinement] */
#include <trap/trap.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <base/log.h>
#include <trap/filter.h>

#include "internal.h"

#define HWCAP2_FSGSBASE 2
#define FDS_RESERVED 512 /* of the Sentry's limit, for everything but pidfds */
#define PROCESSES_MAX 16384

struct trap_state g_trap = {.uid = UINT32_MAX, .gid = UINT32_MAX, .listener = -1};

static_assert(GLOBALS_FILTER + TRAP_FILTER_MAX * sizeof(struct sock_filter) <=
                  STUB_PARK_FRAME - STUB_GLOBALS,
              "globals page");
static_assert(RO_POLLERS * sizeof(struct ring_poller_word) <= STUB_GLOBALS - STUB_RO,
              "poller words");

static const char *trap_unavailable(void)
{
    struct seccomp_notif_sizes sizes;
    uint32_t notify = SECCOMP_RET_USER_NOTIF, trap = SECCOMP_RET_TRAP;
    struct utsname u;
    unsigned major = 0, minor = 0;

    if (uname(&u) || strcmp(u.machine, "x86_64") != 0)
        return "the host is not x86-64";
    if (sscanf(u.release, "%u.%u", &major, &minor) != 2 || major < 5 || (major == 5 && minor < 14))
        return "Linux 5.14 or newer is needed";
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &notify) ||
        syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) ||
        syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes))
        return "seccomp user notification is not available";
    return NULL;
}

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

    g_trap.vdso = g_trap.vdso_keep = 0;
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
                g_trap.vdso = vdso;
                g_trap.vdso_keep = from;
                g_trap.vdso_keep_end = to;
            }
            break;
        }
    }
    fclose(f);
}

/* Take pages of the memory file for good. */
static int pages_take(uint64_t len, uint64_t *ret_off)
{
    int r = memfile_alloc(g_trap.mf, len, MEMFILE_ANY, ret_off);

    return r ? r : memfile_populate(g_trap.mf, *ret_off, len);
}

static int text_write(void)
{
    size_t len = (size_t)(stub_end - stub_start);

    BUG_ON(len > STUB_TEXT_SIZE);
    g_trap.text_len = align_up(len, PAGE_SIZE);
    int r = pages_take(g_trap.text_len, &g_trap.text_off);
    if (r)
        return r;
    uint8_t *text = memfile_ptr(g_trap.mf, g_trap.text_off);
    memset(text, 0xcc, g_trap.text_len);
    memcpy(text, stub_start, len);
    return 0;
}

static void globals_write(void)
{
    uint8_t *g = g_trap.ro + (STUB_GLOBALS - STUB_RO);
    struct sock_filter insn[TRAP_FILTER_MAX];
    size_t n = trap_filter_build(TRAP_FILTER_GUEST, stub_addr(stub_park_ip), insn);
    struct sock_fprog prog = {(unsigned short)n, (void *)(STUB_GLOBALS + GLOBALS_FILTER)};
    uint32_t cpus_len = 128, flags = 0;

    if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)
        flags |= GLOBALS_F_FSGSBASE;
    if (g_trap.pin)
        flags |= GLOBALS_F_AFFINITY;
    memcpy(g + GLOBALS_FLAGS, &flags, 4);
    memcpy(g + GLOBALS_CPUS_LEN, &cpus_len, 4);
    memcpy(g + GLOBALS_CPUS, &g_trap.guest_cpus, 128);
    memcpy(g + GLOBALS_FPROG, &prog, sizeof prog);
    memcpy(g + GLOBALS_FILTER, insn, n * sizeof *insn);
    frame_build_park(g + (STUB_PARK_FRAME - STUB_GLOBALS));
}

static void trap_fini(void)
{
    if (!g_trap.mf)
        return;
    if (g_trap.template) {
        if (g_trap.listener >= 0)
            space_pool_drain();
        space_kill(g_trap.template);
    }
    if (g_trap.listener >= 0)
        close(g_trap.listener);
    ranges_free_all();
    if (g_trap.ro)
        memfile_free(g_trap.mf, g_trap.ro_off, STUB_RO_BYTES);
    if (g_trap.text_off)
        memfile_free(g_trap.mf, g_trap.text_off, g_trap.text_len);
    g_trap = (struct trap_state){.uid = UINT32_MAX, .gid = UINT32_MAX, .listener = -1};
}

static void limits_find(void)
{
    struct rlimit files;
    uint64_t processes = PROCESSES_MAX;

    /* a pidfd for each; twice as much so that their files do not starve */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        processes = files.rlim_cur > 2 * FDS_RESERVED ? (files.rlim_cur - FDS_RESERVED) / 2
                                                      : FDS_RESERVED / 2;
    g_trap.limits = (struct pf_limits){
        .user_min = 0x10000,
        .user_max = STUB_REGION,
        .max_processes = (uint32_t)MIN(processes, (uint64_t)PROCESSES_MAX),
        .max_threads_per_as = LANE_COUNT,
    };
}

static int trap_init(struct memfile *mf, const char *guest_cpus)
{
    int r = 0;

    BUG_ON(g_trap.mf);
    g_trap.mf = mf;
    g_trap.memfd = memfile_fd(mf);
    g_trap.pin = guest_cpus != NULL;
    if (guest_cpus)
        r = cpus_parse(guest_cpus, &g_trap.guest_cpus);
    if (sched_getaffinity(0, sizeof g_trap.all_cpus, &g_trap.all_cpus))
        g_trap.all_cpus = g_trap.guest_cpus;
    if (!r)
        r = text_write();
    if (!r)
        r = pages_take(STUB_RO_BYTES, &g_trap.ro_off);
    if (r)
        goto fail;
    g_trap.ro = memfile_ptr(mf, g_trap.ro_off);
    globals_write();
    limits_find();
    fpu_init();
    BUG_ON(g_trap.fpu_size > PF_FPU_MAX);
    vdso_find();
    notify_init();
    g_trap.template = space_new();
    r = g_trap.template ? template_start(g_trap.template, &g_trap.listener) : -ENOMEM;
    if (r)
        goto fail;
    space_pool_start();
    log_debug("trap", "template pid=%d fpu=%u vdso=%#llx", g_trap.template->pid, g_trap.fpu_size,
              (unsigned long long)g_trap.vdso);
    return 0;
fail:
    trap_fini();
    return r;
}

static void trap_limits(struct pf_limits *ret)
{
    *ret = g_trap.limits;
}

static int trap_print_filters(void)
{
    return trap_filter_print(stdout);
}

void trap_set_ids(uint32_t uid, uint32_t gid)
{
    g_trap.uid = uid;
    g_trap.gid = gid;
}

void trap_threads_roam(bool roam)
{
    uint8_t *g = g_trap.ro + (STUB_GLOBALS - STUB_RO);

    if (!g_trap.pin)
        return;
    g_trap.roam = roam;
    memcpy(g + GLOBALS_CPUS, roam ? &g_trap.all_cpus : &g_trap.guest_cpus, 128);
}

uint64_t trap_vdso_addr(void)
{
    return g_trap.vdso;
}

static uint64_t trap_post_addr(void)
{
    return STUB_CALL;
}

static uint64_t trap_local_addr(uint32_t nr)
{
    static const uint32_t calls[LANE_LOCAL_COUNT] = LANE_LOCAL_NRS;

    for (unsigned i = 0; i < LANE_LOCAL_COUNT; i++)
        if (calls[i] == nr)
            return stub_addr(stub_local) + (uint64_t)i * STUB_LOCAL_SIZE;
    return 0;
}

struct ring_poller_word *trap_poller_words(void)
{
    return (struct ring_poller_word *)(void *)g_trap.ro;
}

const struct platform_ops *trap_platform(void)
{
    static const struct platform_ops ops = {
        .name = "trap",
        .unavailable = trap_unavailable,
        .init = trap_init,
        .fini = trap_fini,
        .limits = trap_limits,
        .as_create = trap_as_create,
        .as_destroy = trap_as_destroy,
        .as_release = trap_as_release,
        .as_run = trap_as_run,
        .fd_donate = trap_fd_donate,
        .fd_drop = trap_fd_drop,
        .fd_known = trap_fd_known,
        .thread_create = trap_thread_create,
        .thread_destroy = trap_thread_destroy,
        .thread_lane = trap_thread_lane,
        .thread_lane_addr = trap_thread_lane_addr,
        .thread_set_owner = trap_thread_set_owner,
        .threads_roam = trap_threads_roam,
        .thread_place = trap_thread_place,
        .thread_interrupt = trap_thread_interrupt,
        .thread_event = trap_thread_event,
        .thread_get_regs = trap_thread_get_regs,
        .thread_set_regs = trap_thread_set_regs,
        .thread_get_fpu = trap_thread_get_fpu,
        .thread_set_fpu = trap_thread_set_fpu,
        .thread_reply = trap_thread_reply,
        .as_pidfd = trap_as_pidfd,
        .thread_cpu_ns = trap_thread_cpu_ns,
        .vdso_addr = trap_vdso_addr,
        .post_addr = trap_post_addr,
        .local_addr = trap_local_addr,
        .print_filters = trap_print_filters,
    };
    return &ops;
}
