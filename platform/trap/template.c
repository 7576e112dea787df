/* SPDX-License-Identifier: Apache-2.0
 * template.c - the process all stubs are forked from.
 *
 * Starts as a clone of the Sentry that shares its descriptor table, so that the listener of the
 * filter it installs on itself appears in the Sentry without being sent. It then leaves the table,
 * keeps the memory file alone, unmaps everything but the stub's pages and the vDSO, and is a
 * mapper like any other. Until it jumps to the stub it runs Sentry code on a copy of the Sentry's
 * stack: raw system calls only, no allocation, no locks.
 *
 * It has no capability, no core dumps, cannot be traced by its own uid, and no_new_privs. When the
 * Sentry dies the listener closes and every mapper ends its process.
 * Host: capset, clone, exit_group, mmap, munmap, pidfd_open, prctl, rseq, rt_sigaction,
 *   rt_sigprocmask, sched_yield, seccomp, set_robust_list, setresgid, setresuid, setrlimit
 *   [before confinement]
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/close_range.h>
#include <trap/filter.h>

#include "internal.h"

#define TASK_END 0x7ffffffff000ULL
#define RSEQ_SIG_GLIBC 0x53053053

/* What the template reports before it gives up the Sentry's memory; anonymous and shared. */
struct birth {
    _Atomic(int) listener; /* -1: not yet; -errno - 1: failed */
};

struct ksigaction {
    uint64_t handler, flags, restorer, mask;
};
#define KSA_RESTORER 0x04000000

static int drop_privilege(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};

    for (int c = 0; c <= 63; c++)
        prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
    if (g_trap.gid != UINT32_MAX && syscall(SYS_setresgid, g_trap.gid, g_trap.gid, g_trap.gid))
        return -errno;
    if (g_trap.uid != UINT32_MAX && syscall(SYS_setresuid, g_trap.uid, g_trap.uid, g_trap.uid))
        return -errno;
    if (syscall(SYS_capset, &h, none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return -errno;
    struct rlimit no_core = {0, 0};
    return setrlimit(RLIMIT_CORE, &no_core) ? -errno : 0;
}

/* Not mmap(): sanitizers have their own opinion of fixed addresses. */
static int map_one(uint64_t addr, uint64_t len, int prot, uint64_t off)
{
    return syscall(SYS_mmap, addr, len, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, g_trap.memfd,
                   off) == (long)addr
               ? 0
               : -errno;
}

static int map_stub(uint64_t req_off)
{
    /* the Sentry may have mappings of its own where the stub goes */
    int r = syscall(SYS_munmap, STUB_REGION, STUB_REGION_END - STUB_REGION) ? -errno : 0;

    if (!r)
        r = map_one(STUB_TEXT, g_trap.text_len, PROT_READ | PROT_EXEC, g_trap.text_off);
    if (!r)
        r = map_one(STUB_REQ, STUB_REQ_BYTES, PROT_READ, req_off);
    if (!r)
        r = map_one(STUB_RO, STUB_RO_BYTES, PROT_READ, g_trap.ro_off);
    return r;
}

static int install_handlers(void)
{
    static const int signals[] = HANDLED_SIGNALS;
    uint64_t all = ~0ULL;

    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8); /* a mapper never takes a signal */
    for (int s = 1; s <= 64; s++) {
        struct ksigaction dfl = {0};
        syscall(SYS_rt_sigaction, s, &dfl, NULL, 8);
    }
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct ksigaction sa = {stub_addr(stub_handler), SA_SIGINFO | SA_ONSTACK | KSA_RESTORER,
                                stub_addr(stub_restorer), all};
        if (syscall(SYS_rt_sigaction, signals[i], &sa, NULL, 8))
            return -errno;
    }
    return 0;
}

/* Registered by libc at start and kept by fork: this memory is about to go. The length must be the
 * registered one, which depends on libc and kernel. */
static void rseq_leave(void)
{
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

    for (unsigned len = 32; len <= 1024; len += 32)
        if (syscall(SYS_rseq, area, len, 1 /* unregister */, RSEQ_SIG_GLIBC) == 0)
            return;
}

static NORETURN void template_main(struct birth *birth, uint64_t req_off,
                                   const struct sock_fprog *filter)
{
    int r = install_handlers();

    if (!r)
        r = drop_privilege();
    rseq_leave();
    syscall(SYS_set_robust_list, NULL, 24);
    if (!r)
        r = map_stub(req_off);
    if (!r) {
        long fd =
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, filter);
        r = fd < 0 ? -errno : (int)fd;
    }
    atomic_store(&birth->listener, r < 0 ? r - 1 : r);
    if (r < 0)
        for (;;)
            syscall(SYS_exit_group, 1);
    __asm__ volatile("mov %0, %%rbx\n\t"
                     "xor %%r12d, %%r12d\n\t"
                     "jmp *%1"
                     :
                     : "r"(STUB_REQ), "r"(stub_addr(stub_list))
                     : "rbx", "r12");
    __builtin_unreachable();
}

/* The first list: leave the shared descriptor table, forget the Sentry's memory. */
static unsigned first_list(struct stub_op *op)
{
    uint64_t fd = (uint64_t)g_trap.memfd, keep = g_trap.vdso_keep, keep_end = g_trap.vdso_keep_end;
    unsigned n = 0;

    /* close_range(fd, fd - 1) is no range; unshare with the one above, which always is */
    op[n++] = (struct stub_op){SYS_close_range, {fd + 1, ~0U, CLOSE_RANGE_UNSHARE}, 0};
    if (fd > 0)
        op[n++] = (struct stub_op){SYS_close_range, {0, fd - 1, 0}, 0};
    op[n++] = (struct stub_op){SYS_munmap, {0, STUB_REGION}, 0};
    if (keep) {
        op[n++] = (struct stub_op){SYS_munmap, {STUB_REGION_END, keep - STUB_REGION_END}, 0};
        op[n++] = (struct stub_op){SYS_munmap, {keep_end, TASK_END - keep_end}, 0};
    } else {
        op[n++] = (struct stub_op){SYS_munmap, {STUB_REGION_END, TASK_END - STUB_REGION_END}, 0};
    }
    op[n].nr = (uint64_t)STUB_OP_END;
    return n;
}

static bool in_region(const void *p)
{
    return (uint64_t)(uintptr_t)p >= STUB_REGION && (uint64_t)(uintptr_t)p < STUB_REGION_END;
}

int template_start(struct pf_as *as, int *ret_listener)
{
    static struct sock_filter insn[TRAP_FILTER_MAX]; /* copied by the clone */
    static struct sock_fprog prog;

    prog.len =
        (unsigned short)trap_filter_build(TRAP_FILTER_MAPPER, stub_addr(stub_notify_ip), insn);
    prog.filter = insn;
    unsigned n = first_list(as->req);
    struct birth *birth =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (birth == MAP_FAILED)
        return -ENOMEM;
    atomic_store(&birth->listener, -1);
    /* what the template uses until it is in the stub must survive map_stub() */
    if (in_region(birth) || in_region(&n) || in_region(insn)) {
        munmap(birth, PAGE_SIZE);
        return -EADDRNOTAVAIL;
    }
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) {
        munmap(birth, PAGE_SIZE);
        return -errno;
    }
    if (pid == 0)
        template_main(birth, as->req_off, &prog);
    as->pid = pid;
    as->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int r;
    while ((r = atomic_load(&birth->listener)) == -1 && !process_gone(as))
        sched_yield();
    munmap(birth, PAGE_SIZE);
    if (r < 0 || as->pidfd < 0)
        return r == -1 ? -ESRCH : r < 0 ? r + 1 : -EMFILE;
    *ret_listener = g_trap.listener = r;
    notify_register(as);
    r = mapper_wait(as);
    if (r)
        return r;
    struct said said = mapper_said(as);
    return said.op == (uint64_t)STUB_REQ + n * STUB_OP_SIZE ? 0 : (int)said.val;
}
