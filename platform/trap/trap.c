/* SPDX-License-Identifier: Apache-2.0
 * trap.c - the trap platform: start, end, and the table of operations.
 *
 * See README.md for the processes involved.
 *
 * Host: close [sentry]
 * Host: seccomp [before confinement] */
#include <trap/trap.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <base/log.h>
#include <trap/filter.h>

#include "internal.h"

#define HWCAP2_FSGSBASE 2
#define FDS_RESERVED 512 /* of the Sentry's limit, for everything but pidfds */
#define PROCESSES_MAX 16384

struct trap_state g_trap = {.listener = -1};

static_assert(GLOBALS_FILTER + TRAP_FILTER_MAX * sizeof(struct sock_filter) <=
                  STUB_PARK_FRAME - STUB_GLOBALS,
              "globals page");
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

static void filter_write(void)
{
    uint8_t *g = stubs_globals();
    struct sock_filter insn[TRAP_FILTER_MAX];
    size_t n = trap_filter_build(TRAP_FILTER_GUEST, stub_addr(stub_park_ip), insn);
    struct sock_fprog prog = {(unsigned short)n, (void *)(STUB_GLOBALS + GLOBALS_FILTER)};

    memcpy(g + GLOBALS_FPROG, &prog, sizeof prog);
    memcpy(g + GLOBALS_FILTER, insn, n * sizeof *insn);
    frame_build_park(g + (STUB_PARK_FRAME - STUB_GLOBALS));
}

static void trap_fini(void)
{
    if (g_trap.template) {
        if (g_trap.listener >= 0)
            space_pool_drain();
        space_kill(g_trap.template);
    }
    if (g_trap.listener >= 0)
        close(g_trap.listener);
    stubs_fini();
    g_trap = (struct trap_state){.listener = -1};
}

static int trap_init(struct memfile *mf, const char *guest_cpus)
{
    int r = stubs_init(mf, guest_cpus);

    if (r)
        goto fail;
    filter_write();
    notify_init();
    g_trap.template = space_new();
    r = g_trap.template ? template_start(g_trap.template, &g_trap.listener) : -ENOMEM;
    if (r)
        goto fail;
    space_pool_start();
    log_debug("trap", "template pid=%d fpu=%u vdso=%#llx", g_trap.template->pid, g_stubs.fpu_size,
              (unsigned long long)g_stubs.limits.vdso);
    return 0;
fail:
    trap_fini();
    return r;
}

static void trap_limits(struct pf_limits *ret)
{
    *ret = g_stubs.limits;
}

static int trap_print_filters(void)
{
    return trap_filter_print(stdout);
}

void trap_set_ids(uint32_t uid, uint32_t gid)
{
    g_stubs.uid = uid;
    g_stubs.gid = gid;
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
    return (struct ring_poller_word *)(void *)g_stubs.ro;
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
        .threads_roam = stubs_roam,
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
        .post_addr = trap_post_addr,
        .replies_posted = true,
        .local_addr = trap_local_addr,
        .poller_words = trap_poller_words,
        .print_filters = trap_print_filters,
    };
    return &ops;
}
