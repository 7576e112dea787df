/* SPDX-License-Identifier: Apache-2.0
 * place.c - what the policy's mode means for threads: which CPUs they may use, how long a guest
 * thread looks for its answer, how the host's scheduler treats a poller; and wakes that are repeated.
 *
 * Spinning: the poller is pinned to its CPU, guest threads keep off it and look for about as long as
 * a park and a wake cost. Handing over: guest threads may be anywhere and park at once; the poller keeps
 * to the CPU that calls come from, or to none when they come from several. A task that rests is not
 * touched by a change; it is placed when it runs again.
 *
 * A thread whose call begins to wait is told to stop looking, by the spins word in its lane: nobody
 * knows better than we that it takes long. Where its last wait was short, it does not park at once:
 * with a CPU free it looks on, else it looks after yielding its CPU, for whoever is to answer it runs
 * there, and each passes the CPU to the other without a sleep and a wake.
 *
 * Repeated wakes: a reply that finds its thread parked wakes it, and the task goes on a list until it
 * has been seen awake. What is still parked after REKICK_NS is woken again, later and later.
 * Empty list, no timer.
 *
 * Host: sched_setaffinity, preadv2 [sentry]
 * Host: open, sched_yield, sched_getaffinity, sched_getattr, sched_setattr [before confinement] */
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <base/log.h>
#include <ring/slot.h>

#include "private.h"

#define GUEST_SPIN_NS 30000
#define PAUSES 300 /* of which the length is measured, */
#define YIELDS 15  /* and of these, of a thread that is alone */
#define SPINS_MAX 20000
#define SLICE_NS 100000   /* what a poller asks for at a time: who asks for less comes sooner */
#define FOLLOW_RUN 8      /* callers on end from one CPU, until the poller goes there */
#define FOLLOW_MIXED 16   /* and changes between CPUs, until it goes anywhere */
#define FOLLOW_NS 1000000 /* between two moves, at least */
#define CPU_MASK 0xfffu
#define REKICK_NS 10000000
#define REKICK_MAX_NS 1280000000

static cpu_set_t g_cpus; /* that this process was given */
static int g_schedstat;  /* of the thread that becomes the first poller; -1: the host has none */

/* linux/sched/types.h does not go together with sched.h. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* Threads made later inherit it. Hosts before 6.12 take no notice. */
static void ask_for_short_slices(void)
{
    struct attributes a = {.size = sizeof a};

    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) || a.policy != SCHED_OTHER)
        return;
    a.size = sizeof a;
    a.flags = 0;
    a.runtime = SLICE_NS;
    if (syscall(SYS_sched_setattr, 0, &a, 0))
        log_debug("service", "the host takes no slice length");
}

static void pause_once(void)
{
    ring_pause();
}

static void yield_once(void)
{
    (void)sched_yield();
}

/* How many of them take GUEST_SPIN_NS. */
static uint32_t looks_measure(void (*look)(void), int times)
{
    int64_t best = INT64_MAX;

    for (int tries = 0; tries < 3; tries++) {
        int64_t start = clock_now_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < times; i++)
            look();
        best = MIN(best, clock_now_ns(CLOCK_MONOTONIC) - start);
    }
    int64_t looks = (int64_t)GUEST_SPIN_NS * times / MAX(best, (int64_t)1);
    return (uint32_t)MIN(MAX(looks, (int64_t)1), (int64_t)SPINS_MAX);
}

void place_init(void)
{
    g_service.spins = looks_measure(pause_once, PAUSES);
    g_service.yields = looks_measure(yield_once, YIELDS);
    g_schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (sched_getaffinity(0, sizeof g_cpus, &g_cpus))
        g_service.cfg.roam = false;
    ask_for_short_slices();
}

static void pin_to(const struct poller *p, int cpu)
{
    cpu_set_t set = g_cpus;

    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)cpu, &set);
    }
    if (sched_setaffinity(0, sizeof set, &set))
        log_warn("service", "poller=%u cannot be pinned to cpu=%d", p->index, cpu);
}

/* A caller on its own CPU costs a poller half of what one elsewhere does: go where they come from. The
 * CPU is what the guest says; one that lies slows its own sandbox. */
static void follow(struct poller *p, int cpu, int64_t now)
{
    struct follow *f = &p->follow;

    if (cpu != f->from) {
        f->from = cpu;
        f->run = 0;
        f->mixed += 4;
    } else if (++f->run % 4 == 0 && f->mixed) {
        f->mixed--;
    }
    bool settle = f->run >= FOLLOW_RUN || f->moved_ns == 0; /* the first decides */
    int want = f->mixed > FOLLOW_MIXED ? -1 : settle ? cpu : f->home;
    if (want == f->home || now - f->moved_ns < FOLLOW_NS)
        return;
    pin_to(p, want);
    f->home = want;
    f->mixed = 0;
    f->moved_ns = now;
}

static bool handing_over(const struct poller *p)
{
    return p->policy.mode == POLICY_HANDOVER;
}

void place_pin(struct poller *p)
{
    p->follow = (struct follow){.home = -1, .from = -1};
    if (p->cpu >= 0)
        pin_to(p, handing_over(p) && g_service.cfg.roam ? -1 : p->cpu);
}

void place_mode(struct poller *p)
{
    struct list_head *const lists[] = {&p->busy, &p->quiet};
    struct served *s;

    tally_add(&p->stats->mode_changes, 1);
    p->spins = handing_over(p) ? 0 : g_service.spins;
    p->placing++;
    if (g_service.cfg.roam) {
        g_service.cfg.platform->threads_roam(handing_over(p));
        place_pin(p);
    }
    for (unsigned i = 0; i < 2; i++)
        list_for_each_entry (s, lists[i], link)
            served_place(s);
}

void served_place(struct served *s)
{
    const struct poller *p = s->poller;

    if (likely(s->placed == p->placing))
        return;
    s->placed = p->placing;
    ring_store_relaxed(&s->lane->sentry.spins, p->spins);
    if (g_service.cfg.roam)
        g_service.cfg.platform->thread_place(s->task->thread);
}

/* Asked once a window: did others have this poller's CPU for a good part of the time since, that it was
 * awake and could have run? What it blocks for, such as a mapper, does not count: the host knows. Only of
 * the first poller's thread; others notice by gaps alone. */
bool place_lost_cpu(struct poller *p, int64_t now)
{
    char text[96];
    struct iovec v = {.iov_base = text, .iov_len = sizeof text - 1};
    struct lost *last = &p->lost;

    if (p->index || g_schedstat < 0 || now - last->asked_ns < POLICY_WINDOW_NS)
        return false;
    ssize_t n = preadv2(g_schedstat, &v, 1, 0, 0);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char *second = strchr(text, ' '); /* time run, time it waited for a CPU, times it ran */
    struct lost t = {.asked_ns = now,
                     .asleep_ns = (int64_t)tally_get(&p->stats->asleep_ns),
                     .delay_ns = second ? strtoll(second, NULL, 10) : 0};
    int64_t awake = now - last->asked_ns - (t.asleep_ns - last->asleep_ns);
    int64_t others = t.delay_ns - last->delay_ns;
    bool lost = last->asked_ns && others > POLICY_GAP_NS && others > awake / 8;
    *last = t;
    return lost;
}

/* --- waits of a call --- */

void served_wait_begins(struct served *s)
{
    const struct poller *p = s->poller;

    s->parked_ns = clock_now_ns(CLOCK_MONOTONIC);
    if (p->spins && s->wait_short && (int)p->listed < p->policy.left)
        return;
    ring_store_relaxed(&s->lane->sentry.yields, p->spins && s->wait_short ? g_service.yields : 0);
    ring_store_relaxed(&s->lane->sentry.spins, 0);
    s->placed = p->placing - 1;
}

void served_wait_ends(struct served *s)
{
    s->wait_short = clock_now_ns(CLOCK_MONOTONIC) - s->parked_ns < GUEST_SPIN_NS;
    served_place(s);
}

/* --- wakes --- */

/* Answered, and its thread has not been seen awake since. */
static bool still_parked(const struct lane_slot *slot, const _Atomic(uint32_t) *parked)
{
    return ring_load_relaxed(parked) != 0 && ring_load_acquire(&slot->state) == SLOT_FREE;
}

static bool rekick_one(struct served *s, int64_t now)
{
    bool call = still_parked(&s->lane->call, &s->lane->guest.call_parked);
    bool event = still_parked(&s->lane->event, &s->lane->guest.event_parked);

    if (!call && !event)
        return false;
    if (now < s->kick_ns)
        return true;
    if (call)
        slot_wake(&s->lane->call);
    if (event)
        slot_wake(&s->lane->event);
    tally_add(&s->poller->stats->rekicks, 1);
    s->kick_again = MIN(2 * s->kick_again, (int64_t)REKICK_MAX_NS);
    s->kick_ns = now + s->kick_again;
    return true;
}

static void rekick_run(struct timer *t)
{
    struct poller *p = container_of(t, struct poller, rekick);
    int64_t now = clock_now_ns(CLOCK_MONOTONIC), next = INT64_MAX;
    struct served *s, *tmp;

    list_for_each_entry_safe (s, tmp, &p->kicked, kick_link) {
        if (rekick_one(s, now))
            next = MIN(next, s->kick_ns);
        else
            list_del(&s->kick_link);
    }
    if (next != INT64_MAX && timer_arm(t, NULL, next))
        log_warn("service", "wakes are not repeated: no memory");
}

void served_woken(struct served *s)
{
    struct poller *p = s->poller;

    tally_add(&p->stats->wakes, 1);
    s->kick_again = REKICK_NS;
    int64_t now = clock_now_ns(CLOCK_MONOTONIC);
    s->kick_ns = now + REKICK_NS;
    unsigned cpu = ring_load_relaxed(&s->lane->guest.cpu) & CPU_MASK;
    if (g_service.cfg.roam && handing_over(p) && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &g_cpus))
        follow(p, (int)cpu, now);
    if (list_empty(&s->kick_link))
        list_add_tail(&s->kick_link, &p->kicked);
    if (!timer_armed(&p->rekick) && timer_arm(&p->rekick, NULL, s->kick_ns))
        log_warn("service", "wakes are not repeated: no memory");
}

void place_poller_init(struct poller *p)
{
    policy_init(&p->policy, g_service.cfg.cpus, g_service.cfg.pollers,
                clock_now_ns(CLOCK_MONOTONIC));
    p->spins = handing_over(p) ? 0 : g_service.spins;
    p->placing = 1;
    list_init(&p->kicked);
    timer_init(&p->rekick, rekick_run);
}
