/* SPDX-License-Identifier: Apache-2.0
 * tracee.c - commands to one stopped thread: registers, extended state, a list to execute, the frame
 * of a fault. The tracer's thread only.
 *
 * Two ways to let a thread go, and only these: PTRACE_SYSEMU, under which none of its system calls
 * happens (event.c and the frame of a fault here), and PTRACE_CONT for the lists of tracee_list(), with
 * registers set here and nowhere else, in code and on pages that no guest can write, and for tracee_exit().
 *
 * Who may lie: the guest, about the frame on its lane's stack; it is its own access it lies about.
 *
 * Host: ptrace [sentry-ptrace]
 */
#include <errno.h>
#include <linux/elf.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <base/count.h>
#include <base/log.h>

#include "internal.h"

#define FX_CW 0
#define FX_MXCSR 24
#define FX_SIZE 512
#define UC_ERR 192
#define UC_TRAPNO 200
#define UC_SIZE 304
#define STOPS_MAX 16 /* other stops on the way to one that must come */

static int result(long r)
{
    return r < 0 ? -errno : 0;
}

int tracee_get_regs(struct tracee *t, struct user_regs_struct *ret)
{
    return result(ptrace(PTRACE_GETREGS, t->tid, NULL, ret));
}

int tracee_set_regs(struct tracee *t, const struct user_regs_struct *regs)
{
    return result(ptrace(PTRACE_SETREGS, t->tid, NULL, regs));
}

static void *regset(void)
{
    return (void *)(uintptr_t)(g_stubs.fpu_features ? NT_X86_XSTATE : NT_PRFPREG);
}

int tracee_get_fpu(struct tracee *t, uint8_t *buf)
{
    struct iovec iov = {buf, g_tracer.xstate_size ? g_tracer.xstate_size : XSTATE_MAX};
    int r = result(ptrace(PTRACE_GETREGSET, t->tid, regset(), &iov));

    if (r == 0 && !g_tracer.xstate_size)
        g_tracer.xstate_size = (uint32_t)iov.iov_len;
    return r;
}

int tracee_set_fpu(struct tracee *t, const uint8_t *buf)
{
    struct iovec iov = {(void *)(uintptr_t)buf, g_tracer.xstate_size};

    return result(ptrace(PTRACE_SETREGSET, t->tid, regset(), &iov));
}

/* --- extended state --- */

void xstate_init(uint8_t *buf)
{
    const uint16_t cw = 0x37f;
    const uint32_t mxcsr = 0x1f80;
    const uint64_t present = 3; /* FPU and SSE, all zero; the rest is in its initial state */

    memset(buf, 0, g_tracer.xstate_size);
    memcpy(buf + FX_CW, &cw, sizeof cw);
    memcpy(buf + FX_MXCSR, &mxcsr, sizeof mxcsr);
    if (g_stubs.fpu_features)
        memcpy(buf + FX_SIZE, &present, sizeof present);
}

/* Both are images in standard format; a frame ends with a mark, and may hold fewer parts. */
static uint32_t image_size(void)
{
    uint32_t size = g_stubs.fpu_size - (g_stubs.fpu_features ? (uint32_t)sizeof(uint32_t) : 0);

    return MIN(size, g_tracer.xstate_size);
}

void xstate_to_frame(const uint8_t *buf, uint8_t *frame)
{
    memset(frame, 0, g_stubs.fpu_size);
    memcpy(frame, buf, image_size());
    (void)fpu_sanitize(frame, g_stubs.fpu_size);
}

int xstate_from_frame(uint8_t *buf, const uint8_t *frame, size_t len)
{
    _Alignas(64) uint8_t image[PF_FPU_MAX];

    if (len != g_stubs.fpu_size)
        return -EINVAL;
    memcpy(image, frame, len);
    int r = fpu_sanitize(image, len);
    if (!r)
        memcpy(buf, image, image_size());
    return r;
}

/* --- lists --- */

void regs_init(struct user_regs_struct *r)
{
    *r = (struct user_regs_struct){
        .cs = g_tracer.cs, .ss = g_tracer.ss, .eflags = 0x202, .orig_rax = ~0ULL};
}

/* Until it stops at @ip behind a stop of the kind @want; other stops are passed over. */
static int run_until(struct tracee *t, int request, int want, uint64_t ip,
                     struct user_regs_struct *regs)
{
    for (unsigned i = 0; i < STOPS_MAX; i++) {
        int status = tracee_wait(t);
        if (t->dead)
            return -ESRCH;
        if (WSTOPSIG(status) == want && status >> 16 == 0) {
            int r = tracee_get_regs(t, regs);
            if (r || regs->rip == ip)
                return r;
        }
        if (t->thread && status >> 16 == PTRACE_EVENT_STOP)
            t->thread->interrupt_pending = true;
        if (ptrace((enum __ptrace_request)request, t->tid, NULL, NULL))
            return -errno;
    }
    return -ELOOP;
}

int tracee_list(struct tracee *t, unsigned n, unsigned *ret_done, int64_t *ret_val)
{
    struct pf_as *as = t->as;
    struct user_regs_struct regs;

    BUG_ON(n > LIST_MAX);
    as->req[n].nr = (uint64_t)STUB_OP_END;
    regs_init(&regs);
    regs.rbx = STUB_REQ;
    regs.rip = stub_addr(stub_traced_list);
    int r = tracee_set_regs(t, &regs);
    if (!r)
        r = result(ptrace(PTRACE_CONT, t->tid, NULL, NULL));
    if (!r)
        r = run_until(t, PTRACE_CONT, SIGTRAP, stub_addr(stub_traced_ip), &regs);
    uint64_t done = (regs.rbx - STUB_REQ) / STUB_OP_SIZE;
    if (r || regs.rbx < STUB_REQ || done > n) {
        if (!t->dead)
            log_info("ptrace", "tid=%d does not execute its list: errno=%d", t->tid, -r);
        atomic_store(&as->gone, true);
        return -ESRCH;
    }
    count_add(COUNT_mapper_lists, 1);
    count_add(COUNT_mapper_ops, done);
    *ret_done = (unsigned)done;
    *ret_val = (int64_t)regs.r12;
    return done < n ? (int)*ret_val : 0;
}

void tracee_exit(struct tracee *t)
{
    struct user_regs_struct regs;

    regs_init(&regs);
    regs.rip = stub_addr(stub_exit);
    if (tracee_set_regs(t, &regs) == 0)
        (void)ptrace(PTRACE_CONT, t->tid, NULL, NULL);
}

void tracee_interrupt(struct tracee *t)
{
    (void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
}

/* --- faults --- */

bool tracee_fault_detail(struct tracee *t, struct pf_thread *g, int signo, uint32_t *ret_trapno,
                         uint32_t *ret_err)
{
    struct user_regs_struct regs;
    uint64_t word[2];

    if (tracee_get_fpu(t, g->fpu) || ptrace(PTRACE_SYSEMU, t->tid, NULL, (void *)(uintptr_t)signo))
        return false;
    g->fpu_known = true;
    g->dirty |= DIRTY_REGS | DIRTY_FPU; /* the host has set them for the handler */
    if (run_until(t, PTRACE_SYSEMU, SIGTRAP | 0x80, stub_addr(stub_traced_fault_ip), &regs))
        return false;
    uint64_t off = regs.rdx - g->lane_addr;
    if (off < LANE_STACK || off > LANE_SIZE - UC_SIZE)
        return false;
    memcpy(word, (const uint8_t *)g->lane + off + UC_ERR, sizeof word);
    static_assert(UC_TRAPNO == UC_ERR + 8, "one copy");
    *ret_err = (uint32_t)word[0];
    *ret_trapno = (uint32_t)word[1];
    return true;
}
