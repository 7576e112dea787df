/* SPDX-License-Identifier: Apache-2.0
 * policy.c - when a poller spins and when calls are handed over.
 *
 * SPIN: the poller has a CPU of its own and looks at lanes there; guest threads keep off it and spin
 * for their answers. A call costs a cache-line round trip, and a CPU.
 * HANDOVER: nobody spins. A caller wakes the poller and parks; all may run on all CPUs, and the
 * poller sleeps as soon as it has answered. A call costs two switches, and no CPU when nobody calls.
 *
 * Nobody minds a poller that spins where there are CPUs to spare, if calls come before it gives up:
 * when most find it asleep, they are handed over, which on the caller's own CPU costs less than waking
 * another. Where others want the CPU, calls must come so densely that handing them over would cost
 * more than the CPU is worth. So:
 *
 *   contended  more guest threads run than there are CPUs beside the pollers' (for a while), or the
 *              poller lost its CPU to others while it spun (then for a time that doubles while it
 *              happens again)
 *   sparse     most calls of the last window found the poller asleep, or would have if it had spun;
 *              until POLICY_QUICK calls on end would have met it awake
 *   dense      in the last window the poller lay idle for less time than handing over would cost
 *   mode       SPIN when contended ? dense : not sparse, and there is a CPU for guests besides
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
    int64_t passed = now - p->looked, most = p->crowded ? POLICY_ALONE_NS : POLICY_CROWD_NS;

    p->crowd_ns += too_many(p, p->active) ? passed : -passed;
    p->crowd_ns = MAX(MIN(p->crowd_ns, most), (int64_t)0);
    if (!p->crowded && p->crowd_ns == most) {
        p->crowded = true;
        p->crowd_ns = POLICY_ALONE_NS;
    } else if (p->crowd_ns == 0) {
        p->crowded = false;
    }
}

static void taken_note(struct policy *p, int64_t now)
{
    if (now > p->taken_until + p->taken_for)
        p->taken_for = POLICY_TAKEN_NS; /* the last time is long past */
    else if (!taken(p, now))
        p->taken_for = MIN(2 * p->taken_for, (int64_t)POLICY_TAKEN_MAX);
    p->taken_until = now + p->taken_for;
}

/* While it spins, a poller takes its CPU from guests asleep or not, so all of it counts. */
static void idle_account(struct policy *p, int64_t passed, bool all)
{
    p->window_idle += passed;
    p->window_gaps += all ? passed : MIN(passed, (int64_t)POLICY_IDLE_MAX);
}

/* Would a poller on a CPU of its own lie idle there for less time than handing over its calls costs? A
 * sleep between two calls that are handed over is longer than the guest's own time, by about that
 * cost less what the two judgements differ by, so that the mode does not flutter. */
static void window_judge(struct policy *p, int64_t now)
{
    int64_t length = now - p->window;
    int64_t each = p->crowded ? POLICY_WORTH_CROWD_NS : POLICY_WORTH_NS;
    int64_t worth = each * (p->mode == POLICY_SPIN ? 12 : 14) / 8;

    if (length < POLICY_WINDOW_NS)
        return;
    p->dense = p->window_gaps < (int64_t)p->window_calls * worth || p->window_idle < length / 16;
    p->sparse = (p->mode == POLICY_SPIN ? 2 : 3) * p->window_missed > p->window_calls;
    if (!p->window_calls) /* nobody to spin for: handing over needs no deadline */
        p->sparse = true;
    if (p->window_idle < length / 16) /* it is not even asleep between them */
        p->sparse = false;
    p->window = now;
    p->window_idle = p->window_gaps = 0;
    p->window_calls = p->window_missed = 0;
}

bool policy_look(struct policy *p, int64_t now, unsigned active, bool work, bool lost)
{
    crowd_account(p, now);
    if (lost && p->mode == POLICY_SPIN)
        taken_note(p, now);
    if (lost)
        p->window += now - p->looked; /* as if it had not been */
    else if (!work)
        idle_account(p, now - p->looked, p->mode == POLICY_SPIN);
    p->looked = now;
    p->active = active;
    window_judge(p, now);

    if (p->mode == POLICY_HANDOVER && p->quick >= POLICY_QUICK)
        p->sparse = false;

    bool contended = p->crowded || taken(p, now), spin = contended ? p->dense : !p->sparse;
    enum policy_mode want = p->left > 0 && spin ? POLICY_SPIN : POLICY_HANDOVER;
    int64_t stay = contended || want == POLICY_HANDOVER ? POLICY_WINDOW_NS : POLICY_QUICK_STAY_NS;
    if (want == p->mode || now - p->since < stay)
        return false;
    p->mode = want;
    p->since = now;
    p->quick = 0;
    p->changes++;
    return true;
}

void policy_slept(struct policy *p, int64_t now, bool called)
{
    int64_t passed = now - p->looked;

    crowd_account(p, now);
    p->looked = now;
    idle_account(p, passed, p->mode == POLICY_SPIN);
    if (!called)
        return;
    bool quick = p->mode == POLICY_HANDOVER && passed < POLICY_SPIN_NS;
    p->window_missed += !quick;
    p->quick = quick ? p->quick + 1 : 0;
}

int64_t policy_deadline(const struct policy *p, int64_t now, unsigned active)
{
    if (p->mode == POLICY_HANDOVER)
        return INT64_MAX;
    int64_t idle = MAX(now, p->since) + POLICY_WINDOW_NS;
    return too_many(p, active) && !p->crowded ? MIN(idle, now + POLICY_CROWD_NS - p->crowd_ns)
                                              : idle;
}

int64_t policy_spin_ns(const struct policy *p, int64_t now)
{
    if (p->mode == POLICY_HANDOVER)
        return 0;
    if (p->dense && (p->crowded || !taken(p, now)))
        return POLICY_SPIN_LONG_NS; /* guests keep off this CPU all the same */
    return p->crowded || taken(p, now) ? POLICY_SPIN_SHORT_NS : POLICY_SPIN_NS;
}
