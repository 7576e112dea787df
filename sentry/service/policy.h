/* SPDX-License-Identifier: Apache-2.0
 * policy.h - when a poller spins and when calls are handed over; see policy.c. */
#ifndef SERVICE_POLICY_H
#define SERVICE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_SPIN_NS 60000        /* about what a sleep and a wake cost where IPIs are dear */
#define POLICY_SPIN_SHORT_NS 15000  /* the same where somebody else wants the CPU */
#define POLICY_SPIN_LONG_NS 300000  /* while calls are dense */
#define POLICY_GAP_NS 500000        /* between two looks of a poller that is not asleep */
#define POLICY_CROWD_NS 1000000     /* more guest threads than CPUs for so long: crowded, */
#define POLICY_ALONE_NS 20000000    /* and not any more when there were not for so long */
#define POLICY_WORTH_NS 8000        /* of a hand-over: two switches, on one CPU */
#define POLICY_WORTH_CROWD_NS 16000 /* the same where callers are on several CPUs */
#define POLICY_WINDOW_NS 5000000 /* over which calls are judged dense; also a mode's least stay */
#define POLICY_IDLE_MAX 100000   /* of one sleep: what is longer says no more */
#define POLICY_QUICK 24          /* so many calls on end make it worth while to spin */
#define POLICY_QUICK_STAY_NS 1000000 /* and a mode's least stay then */
#define POLICY_TAKEN_NS 50000000     /* after losing the CPU to others: first, */
#define POLICY_TAKEN_MAX 1600000000  /* and longest time until it is tried again */

enum policy_mode { POLICY_SPIN, POLICY_HANDOVER };

struct policy {
    enum policy_mode mode;
    int left;                    /* CPUs for guests while pollers spin; <= 0: they never do */
    unsigned active;             /* guest threads that run, at the last look */
    bool crowded, dense, sparse; /* judged */
    int64_t crowd_ns;            /* how long there were too many; crowded: were lately */
    int64_t taken_until;         /* others use this CPU: until then nobody thinks of it as ours */
    int64_t taken_for;           /* length of that time */
    int64_t looked;              /* clock at the last look */
    int64_t since;               /* of the mode */
    int64_t window;              /* start of what follows */
    int64_t window_idle;         /* ns without work, awake or asleep */
    int64_t window_gaps;         /* the same, of a sleep at most POLICY_IDLE_MAX */
    uint32_t window_calls;
    uint32_t window_missed; /* sleeps that spinning does not or would not spare */
    uint32_t quick;         /* handed over: calls on end that spinning would have met */
    uint64_t changes;       /* of mode */
};

/* @cpus: that this sandbox may use; @pollers: that would spin on them. */
void policy_init(struct policy *p, unsigned cpus, unsigned pollers, int64_t now);

/* A guest thread's message has been taken. */
static inline void policy_call(struct policy *p)
{
    p->window_calls++;
}

/**
 * policy_look - to be called at every look at the clock, awake.
 * @active: guest threads that run now
 * @work: there was something to do since the last look
 * @lost: the thread was without a CPU for a while since the last look (asked when that is
 *        POLICY_GAP_NS ago)
 * Return: true when the mode has changed.
 */
bool policy_look(struct policy *p, int64_t now, unsigned active, bool work, bool lost);

/* A sleep ends; it began at the last look. @called: by a guest's call, not by the host, which answers in
 * its own time however the poller waits. */
void policy_slept(struct policy *p, int64_t now, bool called);

/* When a poller that goes to sleep now has to look again though nobody wakes it; INT64_MAX: never. */
int64_t policy_deadline(const struct policy *p, int64_t now, unsigned active);

/* How long to go on looking after the last work. */
int64_t policy_spin_ns(const struct policy *p, int64_t now);

#endif
