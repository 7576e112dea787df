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
 * Host: clone, exit_group, mmap, munmap, pidfd_open, sched_yield, seccomp [before confinement]
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <trap/filter.h>

#include "internal.h"

/* What the template reports before it gives up the Sentry's memory; anonymous and shared. */
struct birth {
    _Atomic(int) listener; /* -1: not yet; -errno - 1: failed */
};

static int install_handlers(void)
{
    static const int signals[] = HANDLED_SIGNALS;
    const uint64_t all = ~0ULL; /* a mapper never takes a signal */

    return birth_handlers(signals, ARRAY_SIZE(signals), stub_addr(stub_handler), all, all);
}

static NORETURN void template_main(struct birth *birth, uint64_t req_off,
                                   const struct sock_fprog *filter)
{
    int r = install_handlers();

    if (!r)
        r = birth_drop_privilege();
    birth_forget_libc();
    if (!r)
        r = birth_map(req_off);
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

void (*trap_meanwhile)(void);

int template_start(struct pf_as *as, int *ret_listener)
{
    static struct sock_filter insn[TRAP_FILTER_MAX]; /* copied by the clone */
    static struct sock_fprog prog;

    prog.len =
        (unsigned short)trap_filter_build(TRAP_FILTER_MAPPER, stub_addr(stub_notify_ip), insn);
    prog.filter = insn;
    unsigned n = birth_first_list(as->req);
    struct birth *birth =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (birth == MAP_FAILED)
        return -ENOMEM;
    atomic_store(&birth->listener, -1);
    /* what the template uses until it is in the stub must survive birth_map() */
    if (birth_in_region(birth) || birth_in_region(&n) || birth_in_region(insn)) {
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
    if (trap_meanwhile)
        trap_meanwhile();
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
