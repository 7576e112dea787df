/* SPDX-License-Identifier: Apache-2.0
 * patch.c - when call sites are changed, and threads that are met in what was put there.
 *
 * A site is changed when it has trapped PATCH_AFTER times in one thread: the change costs about as
 * much as that many traps. Each thread counts its own sites in a small table, in which a site that
 * keeps coming drives out one that does not.
 *
 * Events from changed code: a thread in a trampoline has posted nothing yet and is set back to its
 * site, so that nobody ever sees a trampoline's address. A thread behind the post waits for its
 * call, which comes first: with a signal to handle the call is answered SLOW and the signal is found
 * at the site's trap (served.c).
 *
 * Owner poller only. */
#include <string.h>

#include <base/log.h>
#include <mm/mm.h>
#include <patch/patch.h>

#include "private.h"

#define NEVER UINT32_MAX

static struct patch_seen *seen_at(struct served *s, uint64_t end)
{
    struct patch_seen *e = &s->seen[(end ^ end >> 6) % PATCH_SEEN];

    if (e->end == end)
        return e;
    if (e->count && e->count != NEVER) {
        e->count--;
        return NULL;
    }
    *e = (struct patch_seen){.end = end};
    return e;
}

static void patch_site(struct served *s, const struct pf_event *e)
{
    struct patch_seen *seen;

    if (e->nr >= SYS_NR_MAX || sys_row(e->nr)->sq == SQ_NO || !sys_row(e->nr)->run)
        return;
    seen = seen_at(s, e->rip);
    if (!seen || seen->count == NEVER || ++seen->count < g_service.cfg.patch_after)
        return;
    struct patch_call c = {.nr = e->nr};
    memcpy(c.args, e->args, sizeof c.args);
    const struct platform_ops *pf = g_service.cfg.platform;
    /* a traced call has to come here */
    uint64_t local = pf->local_addr && !g_service.cfg.trace ? pf->local_addr(e->nr) : 0;
    int r = patch_install(s->task->mm, e->rip, &c, pf->post_addr(), local);
    seen->count = r ? NEVER : 0; /* when it traps again it has been mapped anew, or had a signal */
    tally_add(r ? &s->poller->stats->patch_fails : &s->poller->stats->patches, 1);
    if (unlikely(g_service.cfg.trace))
        trace_event(s->task, "patch", e->rip, r);
    log_debug("patch", "pid=%d site=%#llx nr=%u: %d", s->task->process->pid,
              (unsigned long long)e->rip, e->nr, r);
}

/* Where the original code would be. */
static void translate(struct served *s, struct pf_event *e)
{
    struct pf_regs regs;
    uint64_t rip;

    if (!patch_translate(s->task->mm, e->rip, &rip))
        return;
    e->rip = rip;
    g_service.cfg.platform->thread_get_regs(s->task->thread, &regs);
    regs.rip = rip;
    g_service.cfg.platform->thread_set_regs(s->task->thread, &regs);
}

bool patch_event(struct served *s, struct pf_event *e)
{
    struct task *t = s->task;

    if (e->in_posted_call && e->kind == PF_EVENT_INTERRUPTED && !t->exit_requested &&
        !(signal_pending_set(t) & SIGBIT(SIGKILL)))
        return true; /* its call is taken next, and answered SLOW */
    if (e->kind == PF_EVENT_EXCEPTION && e->si_code == TRAP_TRACE && e->signo == SIGTRAP) {
        uint64_t rip;
        /* single steps through what the guest knows as one instruction */
        return e->in_posted_call || patch_translate(t->mm, e->rip, &rip);
    }
    if (g_service.cfg.patch_after) {
        if (e->kind == PF_EVENT_SYSCALL)
            patch_site(s, e);
        else if (e->kind != PF_EVENT_DIED && e->kind != PF_EVENT_VIOLATION)
            translate(s, e);
    }
    return false;
}
