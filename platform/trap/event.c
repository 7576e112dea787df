/* SPDX-License-Identifier: Apache-2.0
 * event.c - what a guest thread's handler posts, the frame behind it, and the answer.
 *
 * The frame is the host's signal frame on the lane's own stack: the Sentry sees and edits it there,
 * rt_sigreturn loads it. Between thread_event() and thread_reply() the thread waits in the stub.
 *
 * Who may lie: the guest about all of it. It may post any words without a signal, move its signal
 * stack, and rewrite frame and slot while the Sentry reads them. So: the slot is copied once, the
 * frame's place is checked from the copy, a word of the frame is read once, and nothing read is
 * used as a pointer or index unchecked. A lie about registers is a statement about itself. What
 * cannot come from the handler is PF_EVENT_VIOLATION.
 *
 * Host: futex [sentry]
 */
#include <asm/prctl.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include <ring/slot.h>

#include "internal.h"

/* Kernel ucontext on x86-64 */
#define UC_FLAGS 0
#define UC_STACK 16 /* sp, flags, size */
#define UC_REGS 40
#define UC_REG_COUNT 18
#define UC_RDI (UC_REGS + 8 * 8)
#define UC_RSI (UC_REGS + 8 * 9)
#define UC_RDX (UC_REGS + 8 * 12)
#define UC_R10 (UC_REGS + 8 * 2)
#define UC_R8 (UC_REGS + 8 * 0)
#define UC_R9 (UC_REGS + 8 * 1)
#define UC_RCX (UC_REGS + 8 * 14)
#define UC_RIP (UC_REGS + 8 * 16)
#define UC_SEGMENTS 184
#define UC_FPSTATE 224
#define UC_SIGMASK 296
#define UC_SIZE 304
#define UC_STACK_DISABLE 2ULL

#define UC_F_XSTATE 1ULL
#define UC_F_SS 6ULL /* SIGCONTEXT_SS | STRICT_RESTORE_SS */
#define SEGMENTS (0x33ULL | 0x2bULL << 48)
#define EFLAGS_USER 0x250dd5ULL /* CF PF AF ZF SF TF DF OF RF AC ID */
#define EFLAGS_LAHF 0xd5ULL     /* CF PF AF ZF SF */
#define EFLAGS_OF 0x800ULL
#define EFLAGS_ALWAYS 0x202ULL

#define SYSCALL_SIZE 2
#define TRAP_PAGE_FAULT 14
#define PF_ERR_WRITE 2U
#define PF_ERR_FETCH 16U
#define NR_URETPROBE 335

static_assert(offsetof(struct pf_regs, eflags) == 8 * (UC_REG_COUNT - 1), "order of sigcontext");
static_assert(STUB_START_FRAME + UC_SIZE <= STUB_START_FPU, "frame and extended state");

static volatile uint64_t *frame_word(struct lane *lane, uint64_t frame, unsigned offset)
{
    return (volatile uint64_t *)(void *)((uint8_t *)lane + frame + offset);
}

static uint64_t read_word(struct pf_thread *t, unsigned offset)
{
    return *frame_word(t->lane, t->frame, offset);
}

/* --- events --- */

static bool in_stub(uint64_t rip)
{
    return rip >= STUB_TEXT && rip < STUB_TEXT + STUB_TEXT_SIZE;
}

static bool in_part(uint64_t rip, const uint8_t *from, const uint8_t *to)
{
    return rip >= stub_addr(from) && rip < stub_addr(to);
}

static void event_syscall(struct pf_thread *t, const struct lane_slot *s, struct pf_event *ret)
{
    ret->kind = PF_EVENT_SYSCALL;
    /* A guest that jumped into the stub made no call that a program can make. */
    ret->nr = in_stub(ret->rip) ? UINT32_MAX : s->nr;
    (void)t;
    memcpy(ret->args, s->arg, sizeof ret->args);
}

/* uretprobe passes every seccomp filter and answers a stray caller with a forced SIGILL; the number
 * must look as if it did not exist. */
static void event_uretprobe(struct pf_thread *t, struct pf_event *ret)
{
    static const unsigned args[6] = {UC_RDI, UC_RSI, UC_RDX, UC_R10, UC_R8, UC_R9};

    ret->kind = PF_EVENT_SYSCALL;
    ret->nr = NR_URETPROBE;
    for (unsigned i = 0; i < 6; i++)
        ret->args[i] = read_word(t, args[i]);
}

static void event_signal(struct pf_thread *t, int signo, const struct lane_slot *s,
                         struct pf_event *ret)
{
    ret->signo = signo;
    ret->addr = s->arg[0];
    ret->err = (uint32_t)s->arg[1];
    ret->si_code = (int32_t)s->arg[2];
    ret->trapno = (uint32_t)s->arg[3];
    if (signo == SIGILL && ret->si_code == SI_KERNEL) {
        event_uretprobe(t, ret);
        return;
    }
    ret->kind = PF_EVENT_EXCEPTION;
    ret->in_posted_call = signo == SIGTRAP && ret->si_code == TRAP_TRACE && in_stub(ret->rip);
    if ((signo == SIGSEGV || signo == SIGBUS) && ret->trapno == TRAP_PAGE_FAULT) {
        ret->kind = PF_EVENT_FAULT;
        ret->access = ret->err & PF_ERR_FETCH   ? PF_ACCESS_EXEC
                      : ret->err & PF_ERR_WRITE ? PF_ACCESS_WRITE
                                                : PF_ACCESS_READ;
    }
}

/* Place of the frame in the lane, or 0. The guest can have moved its signal stack. */
static uint64_t frame_check(const struct pf_thread *t, uint64_t addr)
{
    uint64_t off = addr - t->lane_addr;

    return off >= LANE_STACK && off <= LANE_SIZE - UC_SIZE && off % 8 == 0 ? off : 0;
}

static bool signal_known(uint32_t signo)
{
    static const int signals[] = HANDLED_SIGNALS;

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        if (signo == (uint32_t)signals[i])
            return true;
    return false;
}

/* The program has loaded a selector into GS, so the posted call cannot find its lane: GS base is set
 * again and the faulting store repeated. */
static bool fault_of_lost_base(struct pf_thread *t, const struct pf_event *e)
{
    if (e->kind != PF_EVENT_FAULT && e->kind != PF_EVENT_EXCEPTION)
        return false;
    if (!in_part(e->rip, stub_call, stub_call_posted) &&
        !in_part(e->rip, stub_local, stub_local_end))
        return false;
    if (e->addr - t->lane_addr < LANE_SIZE)
        return false;
    t->open = false;
    t->frame = 0;
    if (slot_reply(&t->lane->event, &t->lane->guest.event_parked, EVENT_RESUME | EVENT_SET_GS, 0))
        slot_wake(&t->lane->event);
    return true;
}

static uint64_t priv_word(struct pf_thread *t, unsigned offset)
{
    return ring_read64(&t->lane->priv[(offset - LANE_PRIV) / 8]);
}

/* The call that the thread waits for has been answered: do the rest of the stub's work for it. What
 * it was to do itself and has not yet goes with the answer to the event. */
static void posted_call_end(struct pf_thread *t, struct pf_event *ret)
{
    struct pf_regs regs;
    uint32_t reply = *(volatile uint32_t *)&t->lane->call.nr;

    trap_thread_get_regs(t, &regs);
    if (in_part(ret->rip, stub_self_saved, stub_self_end)) {
        regs.rdi = priv_word(t, PRIV_SAVE + 8);
        regs.rsi = priv_word(t, PRIV_SAVE + 16);
        regs.rdx = priv_word(t, PRIV_SAVE + 24);
    } else if (in_part(ret->rip, stub_call_saved, stub_call_exit)) {
        uint64_t flags = priv_word(t, PRIV_SAVE + 40); /* lahf in ah, overflow in al */
        regs.rdi = priv_word(t, PRIV_SAVE + 8);
        regs.rsi = priv_word(t, PRIV_SAVE + 16);
        regs.rdx = priv_word(t, PRIV_SAVE + 24);
        regs.r10 = priv_word(t, PRIV_SAVE + 32);
        regs.eflags = (regs.eflags & ~(EFLAGS_LAHF | EFLAGS_OF)) | (flags >> 8 & EFLAGS_LAHF) |
                      (flags & 1 ? EFLAGS_OF : 0);
    }
    regs.rip = priv_word(t, PRIV_RETURN);
    regs.rax = ring_read64(&t->lane->call.arg[0]);
    if (reply != CALL_DONE && reply != CALL_SELF) {
        regs.rip -= SYSCALL_SIZE;
        regs.rax = priv_word(t, PRIV_NR);
    }
    t->self_open = reply == CALL_SELF && !in_part(ret->rip, stub_self_done, stub_self_end);
    trap_thread_set_regs(t, &regs);
    ring_store_relaxed(&t->lane->guest.call_parked, 0);
    ret->rip = regs.rip;
}

/* Interrupted in a call that the guest answers itself: it has the answer, or starts again by trap. */
static void local_call_end(struct pf_thread *t, struct pf_event *ret)
{
    uint64_t at = (ret->rip - stub_addr(stub_local)) % STUB_LOCAL_SIZE;
    struct pf_regs regs;

    trap_thread_get_regs(t, &regs);
    regs.rip = at ? regs.r11 : regs.rcx; /* its first instruction moves the one to the other */
    if (at != (uint64_t)(stub_local_done - stub_local))
        regs.rip -= SYSCALL_SIZE;
    trap_thread_set_regs(t, &regs);
    ret->rip = regs.rip;
}

/* Interrupted in a posted call. On the way to the post nothing has happened yet, so the thread goes
 * back to the syscall instruction of its site, with number and arguments in place. Behind the post
 * the call ends first. */
static void interrupt_in_stub(struct pf_thread *t, struct pf_event *ret)
{
    uint64_t at = ret->rip;

    if (in_part(at, stub_local, stub_local_end)) {
        local_call_end(t, ret);
    } else if (in_part(at, stub_call_posted, stub_self_end)) {
        ret->in_posted_call = ring_load_acquire(&t->lane->call.state) != SLOT_FREE;
        if (!ret->in_posted_call)
            posted_call_end(t, ret);
    } else if (in_part(at, stub_call, stub_call_posted)) {
        ret->rip = read_word(t, UC_RCX) - SYSCALL_SIZE;
        *frame_word(t->lane, t->frame, UC_RIP) = ret->rip;
    }
}

bool trap_thread_event(struct pf_thread *t, struct pf_event *ret)
{
    struct lane_slot s;

    if (t->open)
        return false;
    slot_copy(&s, &t->lane->event);
    uint32_t signo = atomic_load(&s.state);
    if (signo == SLOT_FREE) {
        if (likely(!atomic_load(&t->as->gone)))
            return false;
        *ret = (struct pf_event){.kind = PF_EVENT_DIED};
        return true;
    }
    t->open = true;
    t->frame = frame_check(t, s.aux);
    *ret = (struct pf_event){.kind = PF_EVENT_VIOLATION};
    if (!t->frame || !signal_known(signo))
        return true;
    ret->rip = read_word(t, UC_RIP);
    if (signo == SIGSYS) {
        event_syscall(t, &s, ret);
    } else if (signo == TRAP_INTERRUPT) {
        ret->kind = PF_EVENT_INTERRUPTED;
        if (!atomic_exchange(&t->interrupting, false)) {
            /* not ours: the guest's invention, or meant for an earlier thread */
            trap_thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RESUME});
            return false;
        }
        interrupt_in_stub(t, ret);
    } else {
        event_signal(t, (int)signo, &s, ret);
        return !fault_of_lost_base(t, ret);
    }
    return true;
}

/* --- registers --- */

void trap_thread_get_regs(struct pf_thread *t, struct pf_regs *ret)
{
    uint64_t *word = (uint64_t *)ret;

    memset(ret, 0, sizeof *ret);
    if (!t->frame)
        return;
    for (unsigned i = 0; i < UC_REG_COUNT; i++)
        word[i] = read_word(t, UC_REGS + 8 * i);
    ret->fs_base = ring_read64(&t->lane->guest.fs_base);
}

/* A frame's registers, segments and flags as the host accepts them without a fault. */
static void write_regs(struct lane *lane, uint64_t frame, const struct pf_regs *regs)
{
    const uint64_t *word = (const uint64_t *)regs;

    for (unsigned i = 0; i < UC_REG_COUNT - 1; i++)
        *frame_word(lane, frame, UC_REGS + 8 * i) = word[i];
    *frame_word(lane, frame, UC_REGS + 8 * (UC_REG_COUNT - 1)) =
        (regs->eflags & EFLAGS_USER) | EFLAGS_ALWAYS;
    *frame_word(lane, frame, UC_SEGMENTS) = SEGMENTS;
}

void trap_thread_set_regs(struct pf_thread *t, const struct pf_regs *regs)
{
    if (t->frame)
        write_regs(t->lane, t->frame, regs);
}

/* Place of the extended state in the lane, or 0. */
static uint64_t fpu_check(struct pf_thread *t)
{
    if (!t->frame)
        return 0;
    uint64_t off = read_word(t, UC_FPSTATE) - t->lane_addr;
    return off >= LANE_STACK && off <= LANE_SIZE - g_stubs.fpu_size && off % 64 == 0 ? off : 0;
}

size_t trap_thread_get_fpu(struct pf_thread *t, void *buf, size_t size)
{
    uint64_t off = fpu_check(t);

    if (!off || size < g_stubs.fpu_size)
        return 0;
    memcpy(buf, (uint8_t *)t->lane + off, g_stubs.fpu_size);
    return g_stubs.fpu_size;
}

int trap_thread_set_fpu(struct pf_thread *t, const void *buf, size_t len)
{
    _Alignas(64) uint8_t image[PF_FPU_MAX];
    uint64_t off = fpu_check(t);

    if (!off || len != g_stubs.fpu_size)
        return -EINVAL;
    memcpy(image, buf, len);
    int r = fpu_sanitize(image, len);
    if (!r)
        memcpy((uint8_t *)t->lane + off, image, len);
    return r;
}

void frame_build_park(uint8_t *at)
{
    volatile uint64_t *word = (volatile uint64_t *)(void *)at;

    memset(at, 0, UC_SIZE);
    word[UC_FLAGS / 8] = UC_F_SS;
    word[(UC_STACK + 8) / 8] = UC_STACK_DISABLE;
    word[UC_RIP / 8] = stub_addr(stub_parked); /* rsp = 0, which is on no alternate stack */
    word[(UC_REGS + 8 * (UC_REG_COUNT - 1)) / 8] = EFLAGS_ALWAYS;
    word[UC_SEGMENTS / 8] = SEGMENTS;
    word[UC_SIGMASK / 8] = ~0ULL;
}

int frame_build(struct lane *lane, uint64_t lane_addr, const struct pf_regs *regs, const void *fpu,
                size_t fpu_len)
{
    static const int signals[] = HANDLED_SIGNALS;
    _Alignas(64) uint8_t image[PF_FPU_MAX];
    const uint64_t frame = STUB_START_FRAME;
    uint64_t mask = ~0ULL;

    if (fpu) {
        if (fpu_len != g_stubs.fpu_size)
            return -EINVAL;
        memcpy(image, fpu, fpu_len);
        int r = fpu_sanitize(image, fpu_len);
        if (r)
            return r;
        memcpy((uint8_t *)lane + STUB_START_FPU, image, fpu_len);
    }
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        mask &= ~(1ULL << (signals[i] - 1));
    memset((uint8_t *)lane + frame, 0, UC_SIZE);
    *frame_word(lane, frame, UC_FLAGS) = UC_F_SS | (fpu && g_stubs.fpu_features ? UC_F_XSTATE : 0);
    *frame_word(lane, frame, UC_STACK) = lane_addr + LANE_STACK;
    *frame_word(lane, frame, UC_STACK + 16) = LANE_SIZE - LANE_STACK;
    write_regs(lane, frame, regs);
    *frame_word(lane, frame, UC_FPSTATE) = fpu ? lane_addr + STUB_START_FPU : 0;
    *frame_word(lane, frame, UC_SIGMASK) = mask;
    return 0;
}

/* --- answers --- */

static const struct {
    uint64_t nr, arg2;
} self_calls[] = {
    [PF_SELF_UNMAP] = {SYS_munmap, 0},
    [PF_SELF_PROTECT_NONE] = {SYS_mprotect, 0 /* PROT_NONE */},
    [PF_SELF_PROTECT_READ] = {SYS_mprotect, 1 /* PROT_READ */},
    [PF_SELF_POPULATE] = {SYS_madvise, 23 /* MADV_POPULATE_WRITE */},
};

static uint32_t event_self(volatile uint64_t *arg, const struct pf_reply *r)
{
    uint32_t nr = 0;

    if (r->self_op) {
        BUG_ON(r->self_op >= ARRAY_SIZE(self_calls));
        nr |= EVENT_SELF;
        arg[1] = self_calls[r->self_op].nr;
        arg[2] = r->self_addr;
        arg[3] = r->self_len;
        arg[4] = self_calls[r->self_op].arg2;
    }
    BUG_ON(r->set_fs && r->set_gs);
    if (r->set_fs || r->set_gs) {
        nr |= r->set_fs ? EVENT_SET_FS : EVENT_OWN_GS;
        arg[5] = r->base;
    }
    return nr;
}

/* To the call slot. What the thread does itself is remembered, in case it is interrupted before. */
static void wake_if_parked(struct lane_slot *s, const _Atomic(uint32_t) *parked)
{
    ring_full_fence(); /* pairs with the mfence between parked = 1 and the re-check in the stub */
    if (ring_load_relaxed(parked))
        slot_wake(s);
}

static void reply_posted(struct pf_thread *t, const struct pf_reply *r)
{
    struct lane_slot *s = &t->lane->call;
    volatile uint64_t *arg = s->arg;
    uint32_t nr = CALL_DONE;

    BUG_ON(r->kind == PF_REPLY_RESUME || r->set_gs);
    if (r->kind == PF_REPLY_EXIT)
        nr = thread_park(t) ? CALL_PARK : CALL_EXIT;
    if (r->self_op || r->set_fs) {
        nr = CALL_SELF;
        t->self = *r;
        arg[1] = r->set_fs ? SYS_arch_prctl : self_calls[r->self_op].nr;
        arg[2] = r->set_fs ? ARCH_SET_FS : r->self_addr;
        arg[3] = r->set_fs ? r->base : r->self_len;
        arg[4] = r->set_fs ? 0 : self_calls[r->self_op].arg2;
    }
    slot_publish(s, nr, r->val);
    if (!r->wake_later)
        wake_if_parked(s, &t->lane->guest.call_parked);
}

void trap_thread_reply(struct pf_thread *t, const struct pf_reply *r)
{
    struct lane_slot *s = &t->lane->event;
    uint32_t nr = r->kind == PF_REPLY_RET ? EVENT_RET : EVENT_RESUME;

    if (r->posted) {
        reply_posted(t, r);
        return;
    }
    if (!t->open) /* told to exit while it runs: its process is being killed */
        return;
    if (r->kind == PF_REPLY_EXIT)
        nr = thread_park(t) ? EVENT_PARK : EVENT_EXIT;
    nr |= event_self(s->arg, t->self_open && !r->self_op ? &t->self : r);
    t->self_open = false;
    t->open = false;
    t->frame = 0;
    slot_publish(s, nr, r->val);
    if (!r->wake_later)
        wake_if_parked(s, &t->lane->guest.event_parked);
}
