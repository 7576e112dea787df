/* SPDX-License-Identifier: Apache-2.0
 * patch.c - calls that have trapped, and threads that are met in what was put in the place of their
 * call sites.
 *
 * Each trap is told to the text cache (mm/text.h), which changes the site or says why not. A site
 * that will never be changed is remembered here, by thread.
 *
 * Events from changed code. The guest must not see an address in a slot, nor be sent back to the
 * bytes that a jump has overwritten:
 *  - interrupted in a slot: the thread has posted nothing yet and is set back to its site, or on to
 *    the syscall instruction; between two instructions that have moved it goes on and is interrupted
 *    once more;
 *  - interrupted behind the post: its call comes first; with a signal to handle it is answered SLOW
 *    and the signal found at the site's trap;
 *  - a fault of an instruction in a slot: rip is the instruction's place in the file's text, for the
 *    signal frame; if the fault was none to the guest, the thread goes on in the slot;
 *  - a signal frame's rip between two instructions that have moved: on in the slot;
 *  - single steps: the process has its files' text from the first one on.
 *
 * Owner poller only. */
#include <string.h>

#include <base/log.h>
#include <mm/mm.h>
#include <patch/patch.h>

#include "private.h"

static void count_trap(unsigned reason)
{
    atomic_fetch_add_explicit(&mm_text_counters.traps[reason], 1, memory_order_relaxed);
}

static void patch_site(struct served *s, const struct pf_event *e)
{
    struct patch_seen *seen = &s->seen[(e->rip ^ e->rip >> 6) % PATCH_SEEN];
    struct mm_text_call c = {.nr = e->nr};
    bool final;

    if (e->nr >= SYS_NR_MAX || (sys_row(e->nr)->sq == SQ_NO && sys_row(e->nr)->run)) {
        count_trap(MM_TEXT_CALL);
        return;
    }
    if (seen->end == e->rip) {
        count_trap(seen->reason);
        return;
    }
    memcpy(c.args, e->args, sizeof c.args);
    int r = mm_text_trapped(s->task->mm, e->rip, &c, &final);
    count_trap((unsigned)r);
    if (final)
        *seen = (struct patch_seen){.end = e->rip, .reason = (uint8_t)r};
    if (unlikely(trace_wanted()))
        trace_event(s->task, "patch", e->rip, r);
    log_debug("patch", "pid=%d site=%#llx nr=%u: %s", s->task->process->pid,
              (unsigned long long)e->rip, e->nr, patch_reason_name((enum mm_text_reason)r));
}

static void set_rip(struct served *s, uint64_t rip)
{
    struct pf_regs regs;

    g_service.cfg.platform->thread_get_regs(s->task->thread, &regs);
    regs.rip = rip;
    g_service.cfg.platform->thread_set_regs(s->task->thread, &regs);
}

/* The thread is in a slot. true: it just goes on. */
static bool event_in_slot(struct served *s, struct pf_event *e, bool may_go_on)
{
    bool interrupted = e->kind == PF_EVENT_INTERRUPTED, between;
    uint64_t rip;

    if (!mm_text_site_of(s->task->mm, e->rip, &rip, &between))
        return false;
    if (interrupted && between && may_go_on) {
        served_kick(s->task); /* it is further by then */
        return true;
    }
    if (!interrupted) {
        s->slot_rip = e->rip;
        s->site_rip = rip;
    }
    e->rip = rip;
    set_rip(s, rip);
    return false;
}

void patch_resume(struct served *s)
{
    struct pf_regs regs;
    uint64_t rip;

    g_service.cfg.platform->thread_get_regs(s->task->thread, &regs);
    if (s->from_frame) {
        if (mm_text_slot_of(s->task->mm, regs.rip, &rip))
            set_rip(s, rip);
    } else if (regs.rip == s->site_rip) {
        set_rip(s, s->slot_rip);
    }
    s->slot_rip = 0;
    s->from_frame = false;
}

/* From the first step on the process has the text that its files have; that step may have led into a
 * slot. true: it was none. */
static bool event_step(struct served *s, struct pf_event *e)
{
    struct mm *mm = s->task->mm;
    bool between;
    uint64_t rip;

    if (e->in_posted_call)
        return true;
    if (!g_service.cfg.patch)
        return false;
    bool in_slot = mm_text_site_of(mm, e->rip, &rip, &between);
    mm_text_forbid(mm);
    if (in_slot && !between)
        set_rip(s, rip);
    return in_slot;
}

bool patch_event(struct served *s, struct pf_event *e)
{
    struct task *t = s->task;
    bool may_go_on = !t->exit_requested && !(signal_pending_set(t) & SIGBIT(SIGKILL));

    s->slot_rip = 0;
    if (e->in_posted_call && e->kind == PF_EVENT_INTERRUPTED && may_go_on)
        return true; /* its call is taken next, and answered SLOW */
    if (e->kind == PF_EVENT_EXCEPTION && e->si_code == TRAP_TRACE && e->signo == SIGTRAP)
        return event_step(s, e);
    if (!g_service.cfg.patch)
        return false;
    if (e->kind == PF_EVENT_SYSCALL)
        patch_site(s, e);
    else if (e->kind != PF_EVENT_DIED && e->kind != PF_EVENT_VIOLATION)
        return event_in_slot(s, e, may_go_on);
    return false;
}
