/* SPDX-License-Identifier: Apache-2.0
 * sigframe.c - the x86-64 signal frame on the guest's stack, and the way back from it.
 *
 *      high   floating-point state (XSAVE image, 64-byte aligned, closed by a magic word)
 *             siginfo
 *             ucontext: flags, alternate stack, registers, mask
 *      low    address of the restorer: the handler's return address; rsp points here
 *
 * 128 bytes below the interrupted rsp are left alone (red zone) unless the handler has a stack of
 * its own. What comes back through rt_sigreturn is entirely the guest's: flags are masked, the
 * floating-point image is laid into the platform's own (layout words and reserved bits stay ours),
 * an unreadable frame is a SIGSEGV. Segment registers are ignored: the platform's stay.
 *
 * Source: signal(7), sigaltstack(2), the psABI, and the uapi headers asm/sigcontext.h,
 * asm/ucontext.h.
 */
#include "signal_internal.h"

#include <errno.h>
#include <string.h>

#include <mm/mm.h>

#define RED_ZONE 128
#define FPU_ALIGN 64

#define FLAG_TF 0x100ULL
#define FLAG_DF 0x400ULL
#define FLAG_RF 0x10000ULL
/* CF PF AF ZF SF TF DF OF RF AC: what a frame may set */
#define FLAGS_RESTORABLE 0x50dd5ULL

#define UCONTEXT_FP_XSTATE 1u
#define UCONTEXT_SIGCONTEXT_SS 2u
#define UCONTEXT_STRICT_RESTORE_SS 4u

#define USER_CS 0x33
#define USER_SS 0x2b

struct frame_sigcontext {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
        eflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate;
    uint64_t reserved[8];
};

struct frame_ucontext {
    uint64_t flags, link;
    stack_abi stack;
    struct frame_sigcontext mc;
    sigset_t_abi mask;
};

struct frame {
    uint64_t restorer;
    struct frame_ucontext uc;
    siginfo_t info;
};
_Static_assert(sizeof(struct frame_sigcontext) == 256, "ABI");
_Static_assert(sizeof(struct frame_ucontext) == 304, "ABI");
_Static_assert(sizeof(struct frame) == 440, "ABI");
_Static_assert(offsetof(struct pf_regs, fs_base) == offsetof(struct frame_sigcontext, cs),
               "the registers of both have one order");

/* --- floating-point image --- */

#define FX_SIZE 512 /* legacy area */
#define FX_SW 464   /* its last 48 bytes describe the whole */
#define XHDR 512
#define XHDR_SIZE 64
#define FPU_BUF (PF_FPU_MAX + 64)
#define XSTATE_LEGACY 3ULL /* x87, SSE */

struct fx_sw { /* at FX_SW */
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size;
    uint32_t padding[7];
};
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* The thread's image in @buf, its description filled in; *ret_len is what the platform gave and
 * wants back. Returns the state's size without the closing magic, 0 if there is none. */
static size_t fpu_fetch(struct task *t, uint8_t buf[FPU_BUF], struct fx_sw *ret_sw, size_t *ret_len)
{
    memset(buf, 0, FPU_BUF);
    size_t len = g_platform->thread_get_fpu(t->thread, buf, PF_FPU_MAX);
    if (len < FX_SIZE || len > PF_FPU_MAX)
        return 0;
    struct fx_sw sw;
    memcpy(&sw, buf + FX_SW, sizeof(sw));
    bool described =
        sw.magic1 == MAGIC1 && sw.xstate_size >= XHDR + XHDR_SIZE && sw.xstate_size <= len;
    if (!described) {
        memset(&sw, 0, sizeof(sw));
        sw.xstate_size = (uint32_t)len;
        if (len >= XHDR + XHDR_SIZE)
            sw.xfeatures = load64(buf + XHDR) | XSTATE_LEGACY;
    }
    if (sw.xstate_size >= XHDR + XHDR_SIZE) {
        sw.magic1 = MAGIC1;
        sw.extended_size = sw.xstate_size + (uint32_t)sizeof(uint32_t);
        memcpy(buf + FX_SW, &sw, sizeof(sw));
        memcpy(buf + sw.xstate_size, &(uint32_t){MAGIC2}, sizeof(uint32_t));
    }
    *ret_sw = sw;
    *ret_len = len;
    return sw.xstate_size;
}

static size_t fpu_frame_size(const struct fx_sw *sw)
{
    return sw->magic1 == MAGIC1 ? sw->extended_size : sw->xstate_size;
}

/* The state a handler starts with, and a frame without an image restores. */
static void fpu_set_initial(uint8_t *buf, size_t size)
{
    memset(buf, 0, FX_SW);
    memcpy(buf, &(uint16_t){0x37f}, sizeof(uint16_t));
    memcpy(buf + 24, &(uint32_t){0x1f80}, sizeof(uint32_t));
    if (size > XHDR)
        memset(buf + XHDR, 0, size - XHDR);
}

static int fpu_restore(struct task *t, uaddr_t from)
{
    uint8_t buf[FPU_BUF], in[FPU_BUF];
    struct fx_sw sw, in_sw;
    size_t len = 0, size = fpu_fetch(t, buf, &sw, &len);
    if (!size)
        return 0;
    uint32_t mxcsr_mask = load32(buf + 28);
    if (!mxcsr_mask)
        mxcsr_mask = 0xffbf;
    fpu_set_initial(buf, size);
    if (!uaddr_null(from)) {
        if (copy_in(t->mm, in, from, FX_SIZE))
            return -EFAULT;
        memcpy(&in_sw, in + FX_SW, sizeof(in_sw));
        memcpy(buf, in, FX_SW);
        uint32_t mxcsr = load32(in + 24) & mxcsr_mask;
        memcpy(buf + 24, &mxcsr, sizeof(mxcsr));
        memcpy(buf + 28, &mxcsr_mask, sizeof(mxcsr_mask));
        uint64_t features = XSTATE_LEGACY;
        size_t in_size = MIN((size_t)in_sw.xstate_size, size);
        if (in_sw.magic1 == MAGIC1 && in_size >= XHDR + XHDR_SIZE && size >= XHDR + XHDR_SIZE) {
            if (copy_in(t->mm, in + XHDR, uaddr_add(from, XHDR), in_size - XHDR))
                return -EFAULT;
            features = load64(in + XHDR) & sw.xfeatures;
            memcpy(buf + XHDR + XHDR_SIZE, in + XHDR + XHDR_SIZE, in_size - XHDR - XHDR_SIZE);
        }
        if (size >= XHDR + XHDR_SIZE)
            memcpy(buf + XHDR, &features, sizeof(features));
    }
    if (sw.magic1 == MAGIC1)
        memcpy(buf + sw.xstate_size, &(uint32_t){MAGIC2}, sizeof(uint32_t));
    (void)g_platform->thread_set_fpu(t->thread, buf, len);
    return 0;
}

/* --- alternate stack --- */

static bool on_altstack(const struct task *t, uint64_t sp)
{
    const stack_abi *s = &t->altstack;
    if ((uint32_t)s->flags & SIGALT_AUTODISARM)
        return false;
    return sp > s->sp && sp - s->sp <= s->size;
}

static bool within_altstack(const struct task *t, uint64_t sp)
{
    return sp > t->altstack.sp && sp - t->altstack.sp <= t->altstack.size;
}

int signal_altstack(struct task *t, uint64_t sp, const stack_abi *new, stack_abi *ret_old)
{
    stack_abi old = t->altstack;
    old.flags = (int32_t)((uint32_t)old.flags & SIGALT_AUTODISARM);
    if (!old.size)
        old.flags |= SS_DISABLE;
    else if (on_altstack(t, sp))
        old.flags |= SS_ONSTACK;
    old.pad = 0;

    if (new) {
        if (on_altstack(t, sp))
            return -EPERM;
        uint32_t mode = (uint32_t) new->flags & ~SIGALT_AUTODISARM;
        if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
            return -EINVAL;
        stack_abi s = *new;
        if (mode == SS_DISABLE)
            s.sp = s.size = 0;
        else if (s.size < SIGALT_MIN)
            return -ENOMEM;
        s.pad = 0;
        t->altstack = s;
    }
    if (ret_old)
        *ret_old = old;
    return 0;
}

/* --- push --- */

/* Where the frame goes; false: the alternate stack would overflow. */
static bool frame_place(const struct task *t, uint64_t rsp, const struct sigaction_abi *a,
                        size_t fpu_size, uint64_t *ret_fpu, uint64_t *ret_frame)
{
    uint64_t sp = rsp - RED_ZONE;
    bool nested = on_altstack(t, rsp), entering = false;
    if ((a->flags & SA_ONSTACK) && t->altstack.size && !nested) {
        sp = t->altstack.sp + t->altstack.size;
        entering = true;
    }
    *ret_fpu = sp = align_down(sp - fpu_size, FPU_ALIGN);
    /* rsp + 8 is 16-byte aligned at a function's entry */
    *ret_frame = sp = align_down(sp - sizeof(struct frame), 16) - 8;
    return !(nested || entering) || within_altstack(t, sp);
}

static void frame_fill(struct task *t, const struct pf_regs *regs, struct frame *f, bool xsave)
{
    memcpy(&f->uc.mc, regs, offsetof(struct pf_regs, fs_base));
    f->uc.mc.cs = USER_CS;
    f->uc.mc.ss = USER_SS;
    f->uc.mc.err = t->trap_err;
    f->uc.mc.trapno = t->trap_nr;
    f->uc.mc.cr2 = t->trap_addr;
    f->uc.flags = UCONTEXT_SIGCONTEXT_SS | UCONTEXT_STRICT_RESTORE_SS;
    if (xsave)
        f->uc.flags |= UCONTEXT_FP_XSTATE;
    f->uc.stack = t->altstack;
    if (!t->altstack.size)
        f->uc.stack.flags |= SS_DISABLE;
}

int signal_frame_push(struct task *t, struct pf_regs *regs, int signo,
                      const struct sigaction_abi *a, const siginfo_t *info, sigset_t_abi old_mask)
{
    uint8_t fpu[FPU_BUF];
    struct fx_sw sw = {0};
    struct frame f;
    uint64_t fpu_at, at;

    if (!(a->flags & SIGACT_RESTORER))
        return -EFAULT;
    size_t len = 0, fpu_size = fpu_fetch(t, fpu, &sw, &len) ? fpu_frame_size(&sw) : 0;
    if (!frame_place(t, regs->rsp, a, fpu_size, &fpu_at, &at))
        return -EFAULT;

    memset(&f, 0, sizeof(f));
    frame_fill(t, regs, &f, sw.magic1 == MAGIC1);
    f.restorer = a->restorer;
    f.uc.mask = f.uc.mc.oldmask = old_mask;
    f.info = *info;
    if (fpu_size) {
        f.uc.mc.fpstate = fpu_at;
        if (copy_out(t->mm, UADDR(fpu_at), fpu, fpu_size))
            return -EFAULT;
    }
    if (copy_out(t->mm, UADDR(at), &f, sizeof(f)))
        return -EFAULT;

    if ((uint32_t)t->altstack.flags & SIGALT_AUTODISARM)
        t->altstack = (stack_abi){.flags = SS_DISABLE};
    if (fpu_size) {
        fpu_set_initial(fpu, sw.xstate_size);
        if (sw.magic1 == MAGIC1)
            memcpy(fpu + sw.xstate_size, &(uint32_t){MAGIC2}, sizeof(uint32_t));
        (void)g_platform->thread_set_fpu(t->thread, fpu, len);
    }
    regs->rdi = (uint64_t)signo;
    regs->rsi = at + offsetof(struct frame, info);
    regs->rdx = at + offsetof(struct frame, uc);
    regs->rax = 0;
    regs->rsp = at;
    regs->rip = a->handler;
    regs->eflags &= ~(FLAG_DF | FLAG_RF | FLAG_TF);
    return 0;
}

/* --- return --- */

sysret_t signal_return(struct task *t)
{
    struct pf_regs regs;
    struct frame_ucontext uc;

    g_platform->thread_get_regs(t->thread, &regs);
    /* The handler's ret took the restorer off the stack. */
    uaddr_t at = UADDR(regs.rsp - sizeof(uint64_t) + offsetof(struct frame, uc));
    if (copy_in_obj(t->mm, &uc, at) || fpu_restore(t, UADDR(uc.mc.fpstate))) {
        signal_force_segv(t, 0);
        return SYS_NORETURN;
    }
    signal_set_blocked(t, uc.mask);

    uint64_t flags = regs.eflags;
    memcpy(&regs, &uc.mc, offsetof(struct pf_regs, fs_base));
    regs.eflags = (flags & ~FLAGS_RESTORABLE) | (uc.mc.eflags & FLAGS_RESTORABLE);
    /* A stack of the frame that is refused is no error, as in Linux. */
    (void)signal_altstack(t, regs.rsp, &uc.stack, NULL);
    g_platform->thread_set_regs(t->thread, &regs);
    return SYS_NORETURN;
}
