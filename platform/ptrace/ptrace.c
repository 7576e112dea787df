/* SPDX-License-Identifier: Apache-2.0
 * ptrace.c - the ptrace platform: start, end, and the table of operations. See README.md.
 *
 * Host: close [sentry]
 * Host: fork, ptrace, seccomp, waitpid, kill [before confinement] */
#include <ptrace/ptrace.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/log.h>

#include "internal.h"

#define PROBE_NR 4095 /* no call: does it stop? */

static NORETURN void probe_child(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(1);
    raise(SIGSTOP);
    syscall(PROBE_NR);
    _exit(1);
}

/* Is tracing, and stopping at calls that are not made, allowed here? */
static bool probe(void)
{
    struct user_regs_struct regs = {0};
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return false;
    if (pid == 0)
        probe_child();
    bool ok = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) &&
              ptrace(PTRACE_SYSEMU, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
              WIFSTOPPED(status) && ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0;
    /* raise() makes calls after its stop, too */
    for (int i = 0; ok && regs.orig_rax != PROBE_NR && i < 8; i++)
        ok = ptrace(PTRACE_SYSEMU, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
             WIFSTOPPED(status) && ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0;
    kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return ok && regs.orig_rax == PROBE_NR;
}

static const char *ptrace_unavailable(void)
{
    struct utsname u;
    unsigned major = 0, minor = 0;

    if (uname(&u) || strcmp(u.machine, "x86_64") != 0)
        return "the host is not x86-64";
    if (sscanf(u.release, "%u.%u", &major, &minor) != 2 || major < 5 || (major == 5 && minor < 9))
        return "Linux 5.9 or newer is needed";
    return probe() ? NULL : "tracing is refused";
}

/* --- the wall behind the tracer --- */

#define DATA(field) offsetof(struct seccomp_data, field)
#define HI(x) ((uint32_t)((uint64_t)(x) >> 32))
#define LO(x) ((uint32_t)(uint64_t)(x))

/* Under PTRACE_SYSEMU no call of a guest thread gets as far as a filter. Should one ever run otherwise,
 * it may end itself and nothing else. The vsyscall page's time, gettimeofday and getcpu are calls that
 * the host answers without stopping for a tracer. */
static const struct sock_filter wall[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 9),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(instruction_pointer) + 4),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX, 6, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HI(STUB_TEXT), 0, 6),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(instruction_pointer)),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, LO(STUB_TEXT), 0, 4),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, LO(STUB_TEXT + STUB_TEXT_SIZE), 3, 0),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};
static_assert(GLOBALS_FILTER + sizeof wall <= STUB_RO_BYTES - (STUB_GLOBALS - STUB_RO), "globals");

/* Where new threads find it. A host without seccomp gives no second wall. */
static void wall_write(void)
{
    const struct sock_fprog prog = {ARRAY_SIZE(wall), (void *)(STUB_GLOBALS + GLOBALS_FILTER)};
    uint32_t action = SECCOMP_RET_KILL_PROCESS;

    memcpy(stubs_globals() + GLOBALS_FPROG, &prog, sizeof prog);
    memcpy(stubs_globals() + GLOBALS_FILTER, wall, sizeof wall);
    g_tracer.wall = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

static int ptrace_print_filters(void)
{
    printf("guest threads, platform ptrace (no call gets that far):\n"
           "  %-18s from stub text: allowed\n"
           "  %-18s vsyscall page: allowed, the host answers them itself\n"
           "  %-18s everything else\n",
           "exit", "time and the like", "kill");
    return 4;
}

struct start_request {
    struct request r;
    int result;
};

static void start_run(struct request *r)
{
    struct start_request *q = container_of(r, struct start_request, r);

    q->result = tspace_first();
}

static void end_run(struct request *r)
{
    (void)r;
    tspace_pool_drain();
    if (g_tracer.template)
        tspace_kill(g_tracer.template);
    g_tracer.template = NULL;
}

static void ptrace_fini(void)
{
    struct request end = {.run = end_run};

    if (!g_stubs.mf)
        return;
    if (g_tracer.tid) {
        tracer_do(&end);
        tracer_stop();
    }
    fds_close();
    stubs_fini();
}

static int ptrace_init(struct memfile *mf, const char *guest_cpus)
{
    struct start_request q = {.r.run = start_run};
    int r = stubs_init(mf, guest_cpus);

    if (!r) {
        wall_write();
        r = fds_open();
    }
    if (!r)
        r = tracer_start();
    if (!r) {
        tracer_do(&q.r);
        r = q.result;
    }
    if (r) {
        ptrace_fini();
        return r;
    }
    log_debug("ptrace", "tracer tid=%d template pid=%d xstate=%u", g_tracer.tid,
              g_tracer.template->pid, g_tracer.xstate_size);
    return 0;
}

static void ptrace_limits(struct pf_limits *ret)
{
    *ret = g_stubs.limits;
}

static struct ring_poller_word *ptrace_poller_words(void)
{
    return (struct ring_poller_word *)(void *)g_stubs.ro;
}

static void ptrace_threads_roam(bool roam)
{
    stubs_roam(roam);
    tracer_roam(roam);
}

const struct platform_ops *ptrace_platform(void)
{
    static const struct platform_ops ops = {
        .name = "ptrace",
        .unavailable = ptrace_unavailable,
        .init = ptrace_init,
        .fini = ptrace_fini,
        .limits = ptrace_limits,
        .as_create = ptrace_as_create,
        .as_destroy = ptrace_as_destroy,
        .as_release = ptrace_as_release,
        .as_run = ptrace_as_run,
        .fd_donate = ptrace_fd_donate,
        .fd_drop = ptrace_fd_drop,
        .fd_known = ptrace_fd_known,
        .thread_create = ptrace_thread_create,
        .thread_destroy = ptrace_thread_destroy,
        .thread_lane = ptrace_thread_lane,
        .thread_lane_addr = ptrace_thread_lane_addr,
        .thread_set_owner = ptrace_thread_set_owner,
        .threads_roam = ptrace_threads_roam,
        .thread_place = ptrace_thread_place,
        .thread_interrupt = ptrace_thread_interrupt,
        .thread_event = ptrace_thread_event,
        .thread_get_regs = ptrace_thread_get_regs,
        .thread_set_regs = ptrace_thread_set_regs,
        .thread_get_fpu = ptrace_thread_get_fpu,
        .thread_set_fpu = ptrace_thread_set_fpu,
        .thread_reply = ptrace_thread_reply,
        .as_pidfd = ptrace_as_pidfd,
        .thread_cpu_ns = ptrace_thread_cpu_ns,
        .poller_words = ptrace_poller_words,
        .print_filters = ptrace_print_filters,
    };
    return &ops;
}
