/* SPDX-License-Identifier: Apache-2.0
 * policy.c - when a poller spins and when calls are handed over.
 *
 * SPIN: the poller has a CPU of its own and looks at lanes there; guest threads keep off it and spin
 * for their answers. A call costs a cache-line round trip, and a CPU.
 * HANDOVER: nobody spins. A caller wakes the poller and parks; all may run on all CPUs, and the
 * poller sleeps as soon as it has answered. A call costs two switches, and no CPU when nobody calls.
 *
 * SPIN is for a machine with CPUs to spare, and for calls that come so densely that two switches a
 * call would cost more than the poller's CPU is worth. So:
 *
 *   contended  more guest threads run than there are CPUs beside the pollers' (for POLICY_CROWD_NS),
 *              or the poller was switched out for others while it spun (then for a time that doubles
 *              while it happens again)
 *   dense      in the last window the poller was awake most of the time, and not for nothing
 *   mode       HANDOVER when contended and not dense, or with no CPU left for guests; else SPIN
 *
 * Pure: clock and facts come from the caller. Who may lie: nobody; guests decide by what they do,
 * and get what they pay for: time spun is time of their sandbox. */
#include <base/compiler.h>

#include "policy.h"

void policy_init(struct policy *p, unsigned cpus, unsigned pollers, int64_t now)
{
    *p = (struct policy){.left = (int)cpus - (int)pollers, .taken_for = POLICY_TAKEN_NS};
    p->mode = p->left > 0 ? POLICY_SPIN : POLICY_HANDOVER;
    p->looked = p->since = p->window = now;
}

static bool too_many(const struct policy *p, unsigned active)
{
    return (int64_t)active > p->left;
}

static bool taken(const struct policy *p, int64_t now)
{
    return now < p->taken_until;
}

/* What held since the last look ends now. */
static void crowd_account(struct policy *p, int64_t now)
{
    int64_t passed = now - p->looked;

    if (too_many(p, p->active))
        p->crowd_ns = MIN(p->crowd_ns + passed, (int64_t)POLICY_CROWD_NS);
    else
        p->crowd_ns = MAX(p->crowd_ns - passed, (int64_t)0);
    if (p->crowd_ns == POLICY_CROWD_NS)
        p->crowded = true;
    else if (p->crowd_ns == 0)
        p->crowded = false;
}

static void taken_note(struct policy *p, int64_t now)
{
    if (now > p->taken_until + p->taken_for)
        p->taken_for = POLICY_TAKEN_NS; /* the last time is long past */
    else if (!taken(p, now))
        p->taken_for = MIN(2 * p->taken_for, (int64_t)POLICY_TAKEN_MAX);
    p->taken_until = now + p->taken_for;
}

/* Handed over, a poller is asleep between any two calls: short sleeps are what counts there. */
static void window_judge(struct policy *p, int64_t now)
{
    int64_t length = now - p->window, wasted = (int64_t)p->window_sleeps * POLICY_SPIN_SHORT_NS;
    bool awake = length - p->window_asleep > length / 4;

    if (length < POLICY_WINDOW_NS)
        return;
    if (p->mode == POLICY_SPIN)
        p->dense = awake && wasted < length / 4;
    else
        p->dense = (awake && wasted < length / 4) ||
                   ((int64_t)p->window_short > length / (8 * POLICY_SPIN_SHORT_NS) &&
                    p->window_short >= p->window_sleeps - p->window_sleeps / 4);
    p->window = now;
    p->window_asleep = 0;
    p->window_sleeps = p->window_short = 0;
}

bool policy_look(struct policy *p, int64_t now, unsigned active, bool lost)
{
    crowd_account(p, now);
    if (lost) {
        p->window_asleep += now - p->looked; /* no time that calls filled */
        if (p->mode == POLICY_SPIN)
            taken_note(p, now);
    }
    p->looked = now;
    p->active = active;
    window_judge(p, now);

    bool contended = p->left <= 0 || p->crowded || taken(p, now);
    enum policy_mode want = p->left > 0 && (!contended || p->dense) ? POLICY_SPIN : POLICY_HANDOVER;
    if (want == p->mode || now - p->since < POLICY_WINDOW_NS)
        return false;
    p->mode = want;
    p->since = now;
    p->changes++;
    return true;
}

void policy_slept(struct policy *p, int64_t now)
{
    int64_t passed = now - p->looked;

    crowd_account(p, now);
    p->looked = now;
    p->window_asleep += passed;
    p->window_sleeps++;
    p->window_short += passed < POLICY_SPIN_SHORT_NS;
}

int64_t policy_deadline(const struct policy *p, int64_t now, unsigned active)
{
    if (p->mode == POLICY_HANDOVER || !too_many(p, active))
        return INT64_MAX;
    return MAX(now + POLICY_CROWD_NS - p->crowd_ns, p->since + POLICY_WINDOW_NS);
}

int64_t policy_spin_ns(const struct policy *p, int64_t now)
{
    if (p->mode == POLICY_HANDOVER)
        return 0;
    return p->crowded || taken(p, now) ? POLICY_SPIN_SHORT_NS : POLICY_SPIN_NS;
}
