/* SPDX-License-Identifier: Apache-2.0
 * event.c - what a stopped guest thread has to say, its registers, and how it goes on.
 *
 * The tracer reads the registers, makes the event and posts it: `posted` hands the thread to its owner,
 * the lane's event word makes the owner look. The guest can write that word too; without `posted` it is
 * a lie, and the process is killed. Everything else in an event comes from the host.
 *
 * A guest thread is let go in one place, guest_run(), by PTRACE_SYSEMU. Signals sent to it by anybody
 * but the host's own faults are dropped there.
 *
 * Host: ptrace [sentry-ptrace]
 * Host: futex, getcpu [sentry]
 */
#include <errno.h>
#include <linux/audit.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <base/log.h>
#include <ring/slot.h>

#include "internal.h"

#define EFLAGS_USER 0x250dd5ULL /* CF PF AF ZF SF TF DF OF RF AC ID */
#define EFLAGS_ALWAYS 0x202ULL
#define TRAP_DEBUG 1U
#define TRAP_BREAKPOINT 3U
#define TRAP_PAGE_FAULT 14U
#define PF_ERR_PRESENT 1U
#define PF_ERR_WRITE 2U
#define PF_ERR_USER 4U
#define PF_ERR_FETCH 16U
#define RESTART_FIRST (-516LL) /* results that mean something to the host */
#define RESTART_LAST (-512LL)

/* --- to the owner --- */

static void post(struct pf_thread *t)
{
    struct ring_poller_word *words = (struct ring_poller_word *)(void *)g_stubs.ro;
    struct ring_poller_word *word = &words[atomic_load(&t->poller)];

    g_tracer.open_events++;
    /* The word last: the owner looks at it first, so it cannot overtake us with its reply. */
    atomic_store(&t->posted, true);
    ring_store_release(&t->lane->event.state, SLOT_POSTED);
    ring_full_fence(); /* pairs with the poller's between asleep = 1 and its last look at the lanes */
    if (!ring_load_relaxed(&word->asleep))
        return;
    /* as a guest would that parks: the poller keeps to the CPU of those who call it */
    ring_store_relaxed(&t->lane->guest.cpu, (uint32_t)sched_getcpu());
    ring_store_relaxed(&t->lane->guest.event_parked, 1);
    ring_store_release(&word->asleep, 0);
    (void)ring_futex_wake(&word->asleep);
}

static void post_interrupted(struct pf_thread *t)
{
    t->interrupt_pending = false;
    atomic_store(&t->interrupting, false);
    t->event = (struct pf_event){.kind = PF_EVENT_INTERRUPTED, .rip = t->regs.rip};
    post(t);
}

/* --- letting it go --- */

static void guest_run(struct tracee *host)
{
    if (ptrace(PTRACE_SYSEMU, host->tid, NULL, NULL))
        return; /* dying: that will be heard */
    host->running = true;
    g_tracer.running++;
}

static int regs_write(struct pf_thread *t)
{
    int64_t val = (int64_t)t->regs.rax;
    int r = 0;

    if (t->dirty == DIRTY_RAX && (val < RESTART_FIRST || val > RESTART_LAST)) {
        void *at = (void *)offsetof(struct user_regs_struct, rax);
        r = ptrace(PTRACE_POKEUSER, t->host->tid, at, (void *)(uintptr_t)t->regs.rax) ? -errno : 0;
    } else if (t->dirty & (DIRTY_RAX | DIRTY_REGS)) {
        t->regs.orig_rax = ~0ULL; /* no call to restart */
        r = tracee_set_regs(t->host, &t->regs);
    }
    if (!r && (t->dirty & DIRTY_FPU))
        r = tracee_set_fpu(t->host, t->fpu);
    return r;
}

void event_resume(struct pf_thread *t)
{
    if (!t->host || t->host->dead)
        return;
    if (t->interrupt_pending && atomic_load(&t->interrupting)) {
        post_interrupted(t);
        return;
    }
    int r = regs_write(t);
    if (r && r != -ESRCH) { /* the host refuses these registers: nobody else would take them */
        log_info("ptrace", "tid=%d registers refused: errno=%d", t->host->tid, -r);
        t->event = (struct pf_event){.kind = PF_EVENT_VIOLATION};
        post(t);
        return;
    }
    t->dirty = 0;
    t->fpu_known = false;
    ring_store_relaxed(&t->lane->guest.event_parked, 0);
    guest_run(t->host);
}

/* --- from the host --- */

/* By `syscall` in 64-bit code the host leaves the address in rcx. What does not look so is asked for. */
static bool call_is_x86_64(struct tracee *host, const struct user_regs_struct *regs)
{
    struct __ptrace_syscall_info info = {0};

    if (regs->rcx == regs->rip && regs->cs == g_tracer.cs)
        return true;
    return ptrace(PTRACE_GET_SYSCALL_INFO, host->tid, sizeof info, &info) >= 0 &&
           info.arch == AUDIT_ARCH_X86_64;
}

static void stopped_call(struct tracee *host, struct pf_thread *t)
{
    const struct user_regs_struct *r = &t->regs;

    t->event = (struct pf_event){.kind = PF_EVENT_SYSCALL,
                                 .nr = (uint32_t)r->orig_rax,
                                 .args = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9},
                                 .rip = r->rip};
    /* A guest that jumped into the stub made no call that a program can make. */
    if (r->rip - STUB_TEXT < STUB_TEXT_SIZE || !call_is_x86_64(host, r))
        t->event.nr = UINT32_MAX;
    t->regs.rax = t->regs.orig_rax; /* the host has put -ENOSYS there */
    t->dirty = DIRTY_RAX;
    post(t);
}

/* What a frame would say, where it is plain. */
static bool fault_is_plain(const siginfo_t *si, uint64_t rip, uint32_t *ret_trapno,
                           uint32_t *ret_err)
{
    bool fetch = (uint64_t)(uintptr_t)si->si_addr == rip;

    *ret_trapno = TRAP_PAGE_FAULT;
    *ret_err = 0;
    if (si->si_signo == SIGTRAP) {
        *ret_trapno = si->si_code == SI_KERNEL ? TRAP_BREAKPOINT : TRAP_DEBUG;
        return true;
    }
    if (si->si_signo != SIGSEGV)
        return false;
    if (si->si_code == SEGV_ACCERR) /* all that is mapped can be read */
        *ret_err = PF_ERR_USER | PF_ERR_PRESENT | (fetch ? PF_ERR_FETCH : PF_ERR_WRITE);
    else if (si->si_code == SEGV_MAPERR && fetch)
        *ret_err = PF_ERR_USER | PF_ERR_FETCH;
    return *ret_err != 0;
}

static void stopped_fault(struct tracee *host, struct pf_thread *t, int signo)
{
    struct pf_event *e = &t->event;
    siginfo_t si;

    if (ptrace(PTRACE_GETSIGINFO, host->tid, NULL, &si))
        return;            /* dying */
    if (si.si_code <= 0) { /* sent by somebody outside */
        guest_run(host);
        return;
    }
    *e = (struct pf_event){.kind = PF_EVENT_EXCEPTION,
                           .rip = t->regs.rip,
                           .addr = (uint64_t)(uintptr_t)si.si_addr,
                           .signo = signo,
                           .si_code = si.si_code};
    if (!fault_is_plain(&si, t->regs.rip, &e->trapno, &e->err) &&
        !tracee_fault_detail(host, t, signo, &e->trapno, &e->err)) {
        if (host->dead)
            return;
        *e = (struct pf_event){.kind = PF_EVENT_VIOLATION}; /* no frame where one must fit */
    } else if ((signo == SIGSEGV || signo == SIGBUS) && e->trapno == TRAP_PAGE_FAULT) {
        e->kind = PF_EVENT_FAULT;
        e->access = e->err & PF_ERR_FETCH   ? PF_ACCESS_EXEC
                    : e->err & PF_ERR_WRITE ? PF_ACCESS_WRITE
                                            : PF_ACCESS_READ;
    }
    post(t);
}

void event_stopped(struct tracee *host, int status)
{
    struct pf_thread *t = host->thread;
    int signo = WSTOPSIG(status);

    if (host->dead) {
        host_free(host);
        return;
    }
    if (!t) /* its life was taken away: it stays where it is until its process ends */
        return;
    if (status >> 16) { /* an interrupt, or a stop of the whole process from outside */
        if (!atomic_load(&t->interrupting))
            guest_run(host);
        else if (tracee_get_regs(host, &t->regs) == 0)
            post_interrupted(t);
        return;
    }
    bool ours = signo == (SIGTRAP | 0x80) || signo == SIGSEGV || signo == SIGBUS ||
                signo == SIGILL || signo == SIGFPE || signo == SIGTRAP;
    if (!ours) {
        guest_run(host);
        return;
    }
    if (tracee_get_regs(host, &t->regs))
        return; /* dying */
    if (signo == (SIGTRAP | 0x80))
        stopped_call(host, t);
    else
        stopped_fault(host, t, signo);
}

/* --- the owner's side --- */

bool ptrace_thread_event(struct pf_thread *t, struct pf_event *ret)
{
    if (t->open)
        return false;
    /* The word first: while the tracer has yet to write it, the event is not the owner's. */
    if (ring_load_acquire(&t->lane->event.state) == SLOT_FREE) {
        *ret = (struct pf_event){.kind = PF_EVENT_DIED};
        return atomic_load(&t->as->gone);
    }
    if (!atomic_load(&t->posted)) { /* the guest's invention */
        *ret = (struct pf_event){.kind = PF_EVENT_VIOLATION};
        return true;
    }
    t->open = true;
    *ret = t->event;
    return true;
}

void ptrace_thread_get_regs(struct pf_thread *t, struct pf_regs *ret)
{
    const struct user_regs_struct *r = &t->regs;

    memset(ret, 0, sizeof *ret);
    if (!t->open)
        return;
    *ret = (struct pf_regs){.r8 = r->r8,
                            .r9 = r->r9,
                            .r10 = r->r10,
                            .r11 = r->r11,
                            .r12 = r->r12,
                            .r13 = r->r13,
                            .r14 = r->r14,
                            .r15 = r->r15,
                            .rdi = r->rdi,
                            .rsi = r->rsi,
                            .rbp = r->rbp,
                            .rbx = r->rbx,
                            .rdx = r->rdx,
                            .rax = r->rax,
                            .rcx = r->rcx,
                            .rsp = r->rsp,
                            .rip = r->rip,
                            .eflags = r->eflags,
                            .fs_base = r->fs_base,
                            .gs_base = r->gs_base};
}

/* All but the bases; segments and flags as user code may have them. */
void regs_from_guest(struct user_regs_struct *to, const struct pf_regs *from)
{
    to->r8 = from->r8;
    to->r9 = from->r9;
    to->r10 = from->r10;
    to->r11 = from->r11;
    to->r12 = from->r12;
    to->r13 = from->r13;
    to->r14 = from->r14;
    to->r15 = from->r15;
    to->rdi = from->rdi;
    to->rsi = from->rsi;
    to->rbp = from->rbp;
    to->rbx = from->rbx;
    to->rdx = from->rdx;
    to->rax = from->rax;
    to->rcx = from->rcx;
    to->rsp = from->rsp;
    to->rip = from->rip;
    to->eflags = (from->eflags & EFLAGS_USER) | EFLAGS_ALWAYS;
    to->cs = g_tracer.cs;
    to->ss = g_tracer.ss;
}

void ptrace_thread_set_regs(struct pf_thread *t, const struct pf_regs *regs)
{
    if (!t->open)
        return;
    regs_from_guest(&t->regs, regs);
    t->dirty |= DIRTY_REGS;
}

struct fpu_request {
    struct request r;
    struct pf_thread *t;
    int result;
};

static void fpu_run(struct request *r)
{
    struct fpu_request *q = container_of(r, struct fpu_request, r);

    q->result = q->t->host ? tracee_get_fpu(q->t->host, q->t->fpu) : -ESRCH;
}

/* The state of an open event is here, or fetched. */
static int fpu_fetch(struct pf_thread *t)
{
    struct fpu_request q = {.r.run = fpu_run, .t = t};

    if (!t->open)
        return -EINVAL;
    if (t->fpu_known)
        return 0;
    tracer_do(&q.r);
    t->fpu_known = q.result == 0;
    return q.result;
}

size_t ptrace_thread_get_fpu(struct pf_thread *t, void *buf, size_t size)
{
    if (size < g_stubs.fpu_size || fpu_fetch(t))
        return 0;
    xstate_to_frame(t->fpu, buf);
    return g_stubs.fpu_size;
}

int ptrace_thread_set_fpu(struct pf_thread *t, const void *buf, size_t len)
{
    int r = fpu_fetch(t);

    if (!r)
        r = xstate_from_frame(t->fpu, buf, len);
    if (!r)
        t->dirty |= DIRTY_FPU;
    return r;
}

void ptrace_thread_reply(struct pf_thread *t, const struct pf_reply *r)
{
    if (!t->open) /* told to exit while it runs: its process is being killed */
        return;
    BUG_ON(r->set_fs && r->set_gs);
    t->reply = *r;
    if (r->kind == PF_REPLY_RET) {
        t->regs.rax = r->val;
        t->dirty |= DIRTY_RAX;
    }
    if ((r->set_fs || r->set_gs) && r->base < 1ULL << 47) {
        *(r->set_fs ? &t->regs.fs_base : &t->regs.gs_base) = r->base;
        t->dirty |= DIRTY_REGS;
    }
    t->open = false;
    atomic_store(&t->posted, false);
    ring_store_release(&t->lane->event.state, SLOT_FREE);
    tracer_want(t, WANT_RESUME);
}
