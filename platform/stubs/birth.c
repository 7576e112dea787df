/* SPDX-License-Identifier: Apache-2.0
 * birth.c - steps of the process that all stubs are forked from.
 *
 * They run on a copy of the Sentry and of its stack: raw system calls only, no allocation, no locks.
 * What is left is a process without capability or core dumps, with no_new_privs, that cannot be
 * traced by its own uid.
 *
 * Host: capset, mmap, munmap, prctl, rseq, rt_sigaction, rt_sigprocmask, set_robust_list, setresgid,
 *   setresuid, setrlimit [before confinement]
 */
#include <stubs/stubs.h>

#include <errno.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TASK_END 0x7ffffffff000ULL
#define RSEQ_SIG_GLIBC 0x53053053

struct ksigaction {
    uint64_t handler, flags, restorer, mask;
};
#define KSA_RESTORER 0x04000000

int birth_drop_privilege(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};

    for (int c = 0; c <= 63; c++)
        prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
    if (g_stubs.gid != UINT32_MAX && syscall(SYS_setresgid, g_stubs.gid, g_stubs.gid, g_stubs.gid))
        return -errno;
    if (g_stubs.uid != UINT32_MAX && syscall(SYS_setresuid, g_stubs.uid, g_stubs.uid, g_stubs.uid))
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
    return syscall(SYS_mmap, addr, len, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, g_stubs.memfd,
                   off) == (long)addr
               ? 0
               : -errno;
}

int birth_map(uint64_t req_off)
{
    /* the Sentry may have mappings of its own where the stub goes */
    int r = syscall(SYS_munmap, STUB_REGION, STUB_REGION_END - STUB_REGION) ? -errno : 0;

    if (!r)
        r = map_one(STUB_TEXT, g_stubs.text_len, PROT_READ | PROT_EXEC, g_stubs.text_off);
    if (!r)
        r = map_one(STUB_REQ, STUB_REQ_BYTES, PROT_READ, req_off);
    if (!r)
        r = map_one(STUB_RO, STUB_RO_BYTES, PROT_READ, g_stubs.ro_off);
    return r;
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

void birth_forget_libc(void)
{
    rseq_leave();
    syscall(SYS_set_robust_list, NULL, 24);
}

int birth_handlers(const int *signals, size_t n, uint64_t handler, uint64_t in_handler,
                   uint64_t mask)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    for (int s = 1; s <= 64; s++) {
        struct ksigaction dfl = {0};
        syscall(SYS_rt_sigaction, s, &dfl, NULL, 8);
    }
    for (size_t i = 0; i < n; i++) {
        struct ksigaction sa = {handler,
                                SA_SIGINFO | SA_ONSTACK | KSA_RESTORER |
                                    (in_handler ? 0 : (uint64_t)SA_NODEFER),
                                stub_addr(stub_restorer), in_handler};
        if (syscall(SYS_rt_sigaction, signals[i], &sa, NULL, 8))
            return -errno;
    }
    return 0;
}

unsigned birth_forget_memory(struct stub_op *op, unsigned n)
{
    uint64_t keep = g_stubs.limits.vdso_data, keep_end = g_stubs.limits.vdso_end;

    op[n++] = (struct stub_op){SYS_munmap, {0, STUB_REGION}, 0};
    if (keep) {
        op[n++] = (struct stub_op){SYS_munmap, {STUB_REGION_END, keep - STUB_REGION_END}, 0};
        op[n++] = (struct stub_op){SYS_munmap, {keep_end, TASK_END - keep_end}, 0};
    } else {
        op[n++] = (struct stub_op){SYS_munmap, {STUB_REGION_END, TASK_END - STUB_REGION_END}, 0};
    }
    return n;
}

unsigned birth_first_list(struct stub_op *op)
{
    uint64_t fd = (uint64_t)g_stubs.memfd;
    unsigned n = 0;

    /* close_range(fd, fd - 1) is no range; unshare with the one above, which always is */
    op[n++] = (struct stub_op){SYS_close_range, {fd + 1, ~0U, CLOSE_RANGE_UNSHARE}, 0};
    if (fd > 0)
        op[n++] = (struct stub_op){SYS_close_range, {0, fd - 1, 0}, 0};
    n = birth_forget_memory(op, n);
    op[n].nr = (uint64_t)STUB_OP_END;
    return n;
}

bool birth_in_region(const void *p)
{
    return (uint64_t)(uintptr_t)p >= STUB_REGION && (uint64_t)(uintptr_t)p < STUB_REGION_END;
}
