/* SPDX-License-Identifier: Apache-2.0
 * posted.c - calls that come by the call slot: taken, run, answered.
 *
 * Most of them run to their end where they are taken, and nothing has to be known about them but the
 * result: posted_quick() does that much and no more before it answers. All that the guest need not
 * wait for comes behind the answer, and everything unusual goes the long way (served.c), before the
 * handler or after it.
 *
 * Answers are published at once; who has parked meanwhile is seen, behind one fence, and woken at the
 * end of the round. Until then a task stands in poller->answered.
 *
 * Who may lie: the guest, in its slot: copied once (ring/slot.h). Owner poller only, no locks. */
#include <base/log.h>
#include <ring/slot.h>

#include "private.h"

/* --- answers --- */

void served_answered(struct served *s)
{
    struct poller *p = s->poller;

    if (p->answered_count && p->answered[p->answered_count - 1] == s)
        return;
    if (unlikely(p->answered_count == ANSWERED_MAX))
        poller_wake_answered(p);
    p->answered[p->answered_count++] = s;
}

void served_answered_drop(const struct served *s)
{
    struct poller *p = s->poller;

    for (unsigned i = 0; i < p->answered_count; i++)
        if (p->answered[i] == s)
            p->answered[i--] = p->answered[--p->answered_count];
}

/* A thread that is seen parked here may have been answered and parked again: it looks, and sleeps on. */
static bool wake_parked(struct lane_slot *slot, const _Atomic(uint32_t) *parked)
{
    if (likely(ring_load_relaxed(parked) == 0))
        return false;
    slot_wake(slot);
    return true;
}

void poller_wake_answered(struct poller *p)
{
    struct served *woken[ANSWERED_MAX];
    unsigned n = 0;

    ring_full_fence(); /* pairs with the mfence between parked = 1 and the re-check in the stub */
    for (unsigned i = 0; i < p->answered_count; i++) {
        struct lane *l = p->answered[i]->lane;
        bool call = wake_parked(&l->call, &l->guest.call_parked);

        if (unlikely(wake_parked(&l->event, &l->guest.event_parked) || call))
            woken[n++] = p->answered[i];
    }
    p->answered_count = p->answered_rounds = 0;
    if (likely(!n))
        return;
    tally_add(&p->stats->wake_rounds, 1);
    for (unsigned i = 0; i < n; i++)
        served_woken(woken[i]);
}

static void slot_answer(struct served *s, uint32_t how, uint64_t val)
{
    slot_publish(&s->lane->call, how, val);
    served_answered(s);
}

/* One that the trap is to bring again. */
void posted_refuse(struct served *s)
{
    s->slot_open = false;
    served_set_state(s, SERVED_GUEST);
    slot_answer(s, CALL_SLOW, 0);
}

/* The result, and what the thread does itself first. */
static void finish_self(struct served *s, sysret_t result)
{
    struct pf_reply r = {.posted = true, .wake_later = true, .val = (uint64_t)result};

    reply_add_self(&s->task->call, s->task, &r);
    g_service.cfg.platform->thread_reply(s->task->thread, &r);
    served_answered(s);
}

/* With a signal to handle the result is kept and the guest sent to its trap, where the frame can be
 * made: the call has ended, and the handler runs before the caller sees the result. */
void posted_finish(struct served *s, sysret_t result)
{
    bool self = s->task->call.self.op || s->task->call.set_fs;
    bool slow = is_restart(result) || signal_work(s->task) ||
                unlikely(self && !g_service.cfg.platform->replies_posted);

    s->slot_kept = slow;
    s->slot_nr = s->task->call.nr;
    s->slot_result = result;
    s->slot_open = false;
    served_set_state(s, SERVED_GUEST);
    if (unlikely(self && !slow))
        finish_self(s, result);
    else
        slot_answer(s, slow ? CALL_SLOW : CALL_DONE, (uint64_t)result);
    if (slow ? task_must_die(s->task) : signal_work(s->task))
        served_kick(s->task);
}

/* --- calls --- */

void posted_take(struct served *s)
{
    uint64_t *args = s->task->call.args; /* nobody's while the guest runs */
    uint32_t nr = slot_take_call(&s->lane->call, args);
    const struct sys_row *row = sys_row(nr);

    if (unlikely(row->sq == SQ_NO && (row->run || nr == RING_CTL_NR)) ||
        unlikely(row->sq == SQ_LAST &&
                 (s->interrupt_sent || !g_service.cfg.platform->replies_posted))) {
        posted_refuse(s);
        return;
    }
    served_call(s, args, nr, CALL_BY_SLOT);
}

/* What the guest waits for: the result alone. */
static bool result_is_all(const struct call *c, sysret_t r)
{
    static_assert(ERESTARTSYS < -SYS_PARK && -SYS_PARK < -SYS_BY_TRAP, "one range of results");
    bool special = r >= SYS_BY_TRAP && r <= -ERESTARTSYS;

    return !(special || c->self.op || c->set_fs || c->set_gs || call_has_end(c) ||
             signal_work(c->task));
}

/* The lane has a call in its slot, and nothing else. May park. false: not taken, or not such a call. */
bool posted_quick(struct served *s, void **local)
{
    struct call *c = &s->task->call;
    uint32_t nr = *(const volatile uint32_t *)&s->lane->call.nr;
    const struct sys_row *row = sys_row_plain(nr);

    if (unlikely(!row || !row->run || row->sq == SQ_NO || row->sq == SQ_LAST || s->slot_kept))
        return false;
    slot_take_args(&s->lane->call, c->args);
    s->users++;
    atomic_store_explicit(&s->state, SERVED_CALL, memory_order_relaxed);
    s->by_trap = false;
    s->slot_open = true;
    if (likely(s->call_clean))
        call_begin_clean(c, nr);
    else
        call_begin(c, s->task, nr, NULL, CALL_BY_SLOT);
    s->call_clean = false;
    atomic_store_explicit(&s->task->in_call, true, memory_order_relaxed);
    uint32_t epoch = s->epoch;
    struct poller *p = s->poller;
    *local = c;
    sysret_t r = sys_run(c, row);
    *local = NULL;
    if (unlikely(s->state != SERVED_CALL || s->epoch != epoch || !result_is_all(c, r))) {
        served_ran(s, epoch, r);
    } else {
        s->slot_open = false;
        atomic_store_explicit(&s->task->in_call, false, memory_order_relaxed);
        atomic_store_explicit(&s->state, SERVED_GUEST, memory_order_relaxed);
        slot_answer(s, CALL_DONE, (uint64_t)r);
        s->task->syscalls++;
        call_begin(c, s->task, nr, NULL, CALL_BY_SLOT); /* the next one's */
        s->call_clean = true;
        if (unlikely(s->where != SERVED_ON_BUSY))
            served_move(s, SERVED_ON_BUSY);
        if (unlikely(signal_work(s->task)))
            served_kick(s->task);
    }
    policy_call(&p->policy);
    tally_add(&p->stats->calls[nr][CALL_WAY_RING], 1);
    served_release(s);
    return true;
}
