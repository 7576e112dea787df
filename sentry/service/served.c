/* SPDX-License-Identifier: Apache-2.0
 * served.c - one guest task as its poller sees it: takes its calls, faults and signals, runs them,
 * replies.
 *
 * GUEST -> (slot or event taken) -> CALL -> reply -> GUEST
 *                                   CALL -> SYS_PARK -> PARKED -> fired -> CALL
 *                                   CALL -> stop signal -> STOPPED -> continued -> CALL
 * A task that exits or dies becomes GONE; the last frame that looks at it frees it.
 *
 * The guest may write its lane at any time: a slot is copied once (ring/slot.h, the platform), the
 * copy is used, and the reply is written without looking at what stands there. A thread that does
 * not answer an interrupt in time loses its process: it can block the host's signal.
 */
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/log.h>
#include <host/numa.h>
#include <mm/mm.h>
#include <ring/slot.h>

#include "private.h"

#define INTERRUPT_DEADLINE_NS 5000000000LL /* a loaded host may not run the thread for seconds */

void served_release_last(struct served *s)
{
    s->attached = false;
    task_put(s->task);
}

void served_move(struct served *s, uint8_t where)
{
    struct poller *p = s->poller;
    struct list_head *const lists[] = {&p->busy, &p->quiet, &p->rest};

    p->listed += (where != SERVED_ON_REST) - (s->where < SERVED_ON_REST);
    s->where = where;
    s->idle_rounds = 0;
    list_del(&s->link);
    list_add_tail(&s->link, lists[where]);
    if (where == SERVED_ON_BUSY)
        served_place(s);
}

/* --- arrival and departure --- */

static void interrupt_late(struct timer *t)
{
    struct served *s = container_of(t, struct served, deadline);

    /* It may have answered, or wait for a call: the answer is heard when that has ended. */
    if (s->state != SERVED_GUEST) {
        (void)timer_arm(t, NULL, clock_now_ns(CLOCK_MONOTONIC) + INTERRUPT_DEADLINE_NS);
        return;
    }
    log_info("service", "tid=%d does not answer its interrupt: killed", s->task->tid);
    mm_kill(s->task->mm);
}

/* Owner only. */
void served_add(struct served *s)
{
    served_move(s, SERVED_ON_BUSY);
}

int served_attach(struct task *t, struct task *near)
{
    struct served *s = t->service;
    struct poller *p = near && near->service ? ((struct served *)near->service)->poller : NULL;

    if (!p || (g_service.cfg.pollers > 1 && near != t))
        p = &g_service.pollers[atomic_fetch_add_explicit(&g_service.next, 1, memory_order_relaxed) %
                               g_service.cfg.pollers];
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return -ENOMEM;
        s->task = t;
        list_init(&s->link);
        list_init(&s->attention_link);
        list_init(&s->kick_link);
        timer_init(&s->deadline, interrupt_late);
    }
    if (!s->attached)
        task_get(t);
    s->attached = true;
    s->epoch++;
    memset(s->seen, 0, sizeof s->seen);
    s->poller = p;
    s->state = SERVED_GUEST;
    s->where = SERVED_ON_NONE;
    s->placed = 0;
    s->wait_short = false;
    t->service = s; /* freed with the task; from here on it can be kicked */
    s->interrupt_sent = false;
    s->lane = g_service.cfg.platform->thread_lane(t->thread);
    numa_place_near(s->lane, LANE_STACK, p->cpu);
    t->lane = s->lane;
    t->owner = p;
    g_service.cfg.platform->thread_set_owner(t->thread, p->index);
    if (p == poller_self()) {
        served_add(s);
    } else {
        spin_lock(&p->lock);
        list_add_tail(&s->link, &p->arriving);
        atomic_store_explicit(&p->inbox_full, true, memory_order_release);
        spin_unlock(&p->lock);
        poller_kick(p);
    }
    return 0;
}

/* Owner, in the task's own exit or exec. */
void served_detach(struct task *t)
{
    struct served *s = t->service;
    struct poller *p = s->poller;

    BUG_ON(p != poller_self());
    sq_destroy(s);
    timer_cancel(&s->deadline);
    served_unwatch(s);
    spin_lock(&p->lock);
    list_del(&s->attention_link);
    s->state = SERVED_GONE;
    spin_unlock(&p->lock);
    list_del(&s->link);
    stats_local_add(s);
    list_del(&s->kick_link);
    served_answered_drop(s);
    p->listed -= s->where < SERVED_ON_REST;
    s->where = SERVED_ON_NONE;
    t->lane = NULL;
    g_service.cfg.platform->thread_reply(
        t->thread, &(struct pf_reply){.kind = PF_REPLY_EXIT, .posted = s->slot_open});
    s->slot_open = false;
    g_service.cfg.platform->thread_destroy(t->thread);
    t->thread = NULL;
    if (!s->users) {
        s->users = 1;
        served_release(s);
    }
}

/* Owner, before the task's files or memory go. */
void served_quiesce(struct task *t)
{
    if (t->service)
        sq_quiesce(t->service);
}

/* Any thread: signals, exit or death to look at. */
void served_kick(struct task *t)
{
    struct served *s = t->service;

    if (!s)
        return;
    struct poller *p = s->poller;
    spin_lock(&p->lock);
    if (s->state != SERVED_GONE && list_empty(&s->attention_link)) {
        list_add_tail(&s->attention_link, &p->attention);
        atomic_store_explicit(&p->inbox_full, true, memory_order_release);
    }
    spin_unlock(&p->lock);
    poller_kick(p);
}

/* --- back to the guest --- */

/* What the thread is to do itself before it goes on. */
void reply_add_self(struct call *c, struct task *t, struct pf_reply *r)
{
    if (c->set_fs || c->set_gs) {
        r->set_fs = c->set_fs;
        r->set_gs = c->set_gs;
        r->base = c->set_fs ? t->fs_base : t->gs_base;
        c->set_fs = c->set_gs = false;
    }
    if (c->self.op) {
        r->self_op = c->self.op;
        r->self_addr = c->self.addr;
        r->self_len = c->self.len;
        c->self = (struct mm_self){0};
    }
}

static void reply_event(struct served *s, struct pf_reply *r)
{
    r->wake_later = true;
    reply_add_self(&s->task->call, s->task, r);
    if (unlikely(s->slot_rip || s->from_frame))
        patch_resume(s);
    s->event_open = false;
    g_service.cfg.platform->thread_reply(s->task->thread, r);
    served_answered(s);
    served_set_state(s, SERVED_GUEST);
}

/* The task leaves for good. */
static void served_exit(struct served *s, int32_t status)
{
    task_exit(s->task, status);
}

/* An open event ends: signals first. @in_call: @result and @nr count. */
static void event_finish(struct served *s, bool in_call, uint32_t nr, sysret_t result)
{
    struct task *t = s->task;
    struct pf_reply reply = {.kind = in_call ? PF_REPLY_RET : PF_REPLY_RESUME};
    int32_t status = 0;

    /* SYS_NORETURN: registers set by a handler's frame before a stop. */
    bool look = in_call && (is_restart(result) || result == SYS_NORETURN);

    for (unsigned rounds = 0; look || signal_work(t) || t->exit_requested; rounds++) {
        look = false;
        enum signal_outcome o = signal_deliver(t, in_call, nr, &result, &status);

        if (o == SIGNAL_EXIT) {
            served_exit(s, status);
            return;
        }
        if (o == SIGNAL_STOP) {
            t->call.nr = nr;
            t->call.args[0] = (uint64_t)result; /* kept until continued */
            t->call.how = in_call ? CALL_BY_TRAP : UINT8_MAX;
            served_set_state(s, SERVED_STOPPED);
            return;
        }
        if (o == SIGNAL_REGS) {
            in_call = false; /* the result is in the frame; further signals nest */
            reply.kind = PF_REPLY_RESUME;
        }
        if (o == SIGNAL_NONE || rounds > NSIGNALS)
            break;
    }
    reply.val = (uint64_t)result;
    reply_event(s, &reply);
}

static void call_finish(struct served *s, sysret_t result)
{
    struct call *c = &s->task->call;

    call_end(c, result);
    atomic_store_explicit(&s->task->in_call, false, memory_order_relaxed);
    s->task->syscalls++;
    if (unlikely(trace_wanted()))
        trace_call(c, result);
    if (unlikely(g_service.cfg.stats) && c->nr < SYS_NR_MAX) {
        stats_latency(s->poller->stats, c->nr, clock_now_ns(CLOCK_MONOTONIC) - s->call_start_ns);
    }
    if (s->by_trap)
        event_finish(s, true, c->nr, result);
    else
        posted_finish(s, result);
}

/* --- calls --- */

static sysret_t call_dispatch(struct served *s)
{
    struct call *c = &s->task->call;

    fiber_set_local(c);
    if (c->started && signal_pending(s->task))
        c->interrupted = true;
    sysret_t r = unlikely(c->nr == RING_CTL_NR) ? ring_ctl(c) : sys_dispatch(c);
    fiber_set_local(NULL);
    return r;
}

/* It runs again now, or when it has fired: false. */
static bool call_waits(struct served *s, unsigned runs)
{
    struct call *c = &s->task->call;

    tally_add(&s->poller->stats->parks, 1);
    served_set_state(s, SERVED_PARKED);
    served_wait_begins(s);
    if (signal_pending(s->task) && !c->interrupted)
        c->interrupted = true;
    else if (call_park_commit(c))
        return false;
    if (unlikely(runs == RUNS_AT_ONCE)) { /* it says that it can go on, and cannot */
        call_ready_hook(c);
        return false;
    }
    served_wait_ends(s);
    served_set_state(s, SERVED_CALL);
    call_disarm(c);
    tally_add(&s->poller->stats->again, 1);
    return true;
}

/* Runs on the loop's stack, or on a fiber when it has parked. s->users is held by the caller. */
void served_ran(struct served *s, uint32_t epoch, sysret_t r)
{
    struct task *t = s->task;
    struct call *c = &t->call;

    for (unsigned runs = 1;; runs++, r = call_dispatch(s)) {
        if (unlikely(s->state == SERVED_GONE || s->epoch != epoch)) /* exit; exec: a new thread */
            return;
        c->started = true;
        if (likely(r != SYS_PARK))
            break;
        if (!call_waits(s, runs))
            return;
    }
    if (r == SYS_NORETURN) { /* the registers are set */
        call_end(c, 0);
        atomic_store_explicit(&t->in_call, false, memory_order_relaxed);
        s->from_frame = g_service.cfg.patch;
        event_finish(s, false, c->nr, 0);
        return;
    }
    if (unlikely(r == SYS_BY_TRAP && !s->by_trap)) {
        call_end(c, r);
        atomic_store_explicit(&t->in_call, false, memory_order_relaxed);
        posted_refuse(s);
        return;
    }
    call_finish(s, r);
}

static void call_execute(struct served *s)
{
    uint32_t epoch = s->epoch;

    served_ran(s, epoch, call_dispatch(s));
}

void served_call(struct served *s, const uint64_t *args, uint32_t nr, uint8_t how)
{
    struct task *t = s->task;
    struct call *c = &t->call;

    served_set_state(s, SERVED_CALL);
    s->by_trap = how == CALL_BY_TRAP;
    s->slot_open = !s->by_trap;
    if (unlikely(s->slot_kept)) {
        if (s->by_trap && nr == RING_CTL_NR && args[0] == RING_CTL_IDLE && !task_must_die(t)) {
            /* It waited for the slot; the trap that wants the kept result comes next. */
            reply_event(s, &(struct pf_reply){.kind = PF_REPLY_RET});
            return;
        }
        s->slot_kept = false;
        if (s->by_trap && nr == s->slot_nr) {
            event_finish(s, true, nr, s->slot_result);
            return;
        }
    }
    s->call_clean = false;
    call_begin(c, t, nr, args == c->args ? NULL : args, how);
    atomic_store_explicit(&t->in_call, true, memory_order_relaxed);
    if (unlikely(s->sq) && sys_row(nr)->sq != SQ_YES)
        sq_settle(s->sq);
    if (nr < SYS_NR_MAX)
        tally_add(&s->poller->stats->calls[nr][s->by_trap ? CALL_WAY_TRAP : CALL_WAY_RING], 1);
    if (unlikely(trace_wanted() || g_service.cfg.stats)) {
        s->call_start_ns = clock_now_ns(CLOCK_MONOTONIC);
        s->poller->taken++;
    }
    call_execute(s);
}

void served_run_again(struct call *c)
{
    struct served *s = c->task->service;

    if (c->how == CALL_BY_SQ) {
        s->users++;
        sq_run_again(c);
        served_release(s);
        return;
    }
    if (s->state != SERVED_PARKED)
        return;
    s->users++;
    served_wait_ends(s);
    served_set_state(s, SERVED_CALL);
    call_disarm(c);
    call_execute(s);
    served_release(s);
}

/* --- events --- */

static void event_fault(struct served *s, const struct pf_event *e)
{
    struct task *t = s->task;
    struct pf_regs regs;
    int signo = SIGSEGV, code = SEGV_MAPERR;

    tally_add(&s->poller->stats->faults, 1);
    g_service.cfg.platform->thread_get_regs(t->thread, &regs);
    int r = mm_fault(t->mm, e->addr, e->access, regs.rsp, &signo, &code);
    if (unlikely(trace_wanted()))
        trace_event(t, "fault", e->addr, r);
    if (r == -ENOMEM) {
        log_warn("service", "pid=%d out of sandbox memory: killed", t->process->pid);
        process_kill(t->process, SIGKILL);
    } else if (r) {
        signal_force_fault(t, signo, code, e->addr, e->trapno, e->err);
    }
    event_finish(s, false, 0, 0);
}

static void event_run(struct served *s, struct pf_event *e)
{
    struct task *t = s->task;

    s->event_open = true;
    tally_add(&s->poller->stats->events, 1);
    if (s->interrupt_sent && e->kind == PF_EVENT_INTERRUPTED) {
        s->interrupt_sent = false;
        timer_cancel(&s->deadline);
    }
    if (g_service.cfg.patch || e->in_posted_call) {
        served_set_state(s, SERVED_CALL);
        if (patch_event(s, e)) {
            reply_event(s, &(struct pf_reply){.kind = PF_REPLY_RESUME});
            return;
        }
    }
    switch ((enum pf_event_kind)e->kind) {
    case PF_EVENT_SYSCALL:
        served_call(s, e->args, e->nr, CALL_BY_TRAP);
        return;
    case PF_EVENT_FAULT:
        served_set_state(s, SERVED_CALL);
        event_fault(s, e);
        return;
    case PF_EVENT_EXCEPTION:
        served_set_state(s, SERVED_CALL);
        signal_force_fault(t, e->signo, e->si_code, e->addr, e->trapno, e->err);
        event_finish(s, false, 0, 0);
        return;
    case PF_EVENT_INTERRUPTED:
    case PF_EVENT_NONE:
        served_set_state(s, SERVED_CALL);
        if (s->slot_kept && !task_must_die(t)) /* on its way to the trap: signals there */
            reply_event(s, &(struct pf_reply){.kind = PF_REPLY_RESUME});
        else
            event_finish(s, false, 0, 0);
        return;
    case PF_EVENT_VIOLATION:
        log_info("service", "pid=%d tid=%d lane protocol violation: killed", t->process->pid,
                 t->tid);
        FALLTHROUGH;
    case PF_EVENT_DIED:
        served_set_state(s, SERVED_CALL);
        process_kill(t->process, SIGKILL);
        event_finish(s, false, 0, 0);
        return;
    }
}

/* The lane has something. May park. */
void served_poll(struct served *s)
{
    struct pf_event e;

    policy_call(&s->poller->policy);
    s->users++;
    if (s->state == SERVED_GUEST) {
        if (ring_load_acquire(&s->lane->event.state) != SLOT_FREE) {
            if (g_service.cfg.platform->thread_event(s->task->thread, &e))
                event_run(s, &e);
        } else if (ring_load_acquire(&s->lane->call.state) == SLOT_POSTED) {
            posted_take(s);
        }
    }
    if (unlikely(s->sq) && fiber_is_loop() && sq_ready(s->sq))
        sq_run(s->sq);
    served_release(s);
}

/* --- attention --- */

static void stopped_continue(struct served *s)
{
    struct call *c = &s->task->call;

    served_set_state(s, SERVED_CALL);
    event_finish(s, c->how != UINT8_MAX, c->nr, (sysret_t)c->args[0]);
}

void served_attend(struct served *s)
{
    struct task *t = s->task;

    if (s->state == SERVED_GONE)
        return;
    s->users++;
    if (s->watch && s->watch->dead) {
        process_kill(t->process, SIGKILL);
        if (s->state == SERVED_GUEST) {
            served_set_state(s, SERVED_CALL);
            event_finish(s, false, 0, 0);
        }
    }
    if (s->state == SERVED_STOPPED) {
        stopped_continue(s);
    } else if (s->state == SERVED_PARKED && (signal_pending(t) || t->exit_requested)) {
        call_interrupt(&t->call);
    } else if (s->state == SERVED_GUEST && (signal_pending(t) || t->exit_requested) &&
               !s->interrupt_sent) {
        s->interrupt_sent = true;
        tally_add(&s->poller->stats->interrupts, 1);
        if (timer_arm(&s->deadline, NULL, clock_now_ns(CLOCK_MONOTONIC) + INTERRUPT_DEADLINE_NS))
            log_warn("service", "no deadline for an interrupt: no memory");
        g_service.cfg.platform->thread_interrupt(t->thread);
    }
    served_release(s);
}
