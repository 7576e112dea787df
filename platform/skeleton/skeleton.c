/* SPDX-License-Identifier: Apache-2.0
 * skeleton.c - a platform backend without a machine behind it, to copy.
 *
 * Model: address spaces accept any list and hold nothing; a thread has a lane in the memory file
 * and never runs. A real backend says here how its guests stop and go on.
 *
 * Who may lie: the guest, about all it can write (its lane, its frame, its registers).
 * Locks: a real backend has one for each address space (fmutex, RANK_PLATFORM), since several
 * pollers may run lists. Leaves out: everything.
 */
#include <skeleton/skeleton.h>

#include <errno.h>
#include <stdlib.h>

#include <base/err.h>
#include <host/memfile.h>
#include <ring/slot.h>

struct pf_as {
    unsigned lanes; /* addresses handed out; a real backend uses those of ended threads again */
};

struct pf_thread {
    struct pf_as *as;
    struct lane *lane; /* the Sentry's view */
    uint64_t lane_off, lane_addr;
    struct pf_regs regs;
    bool open; /* an event was taken and waits for its reply */
};

static struct memfile *g_mf;

/* One phrase for `ringbox doctor`; no side effects, may be called before anything else. */
static const char *skeleton_unavailable(void)
{
    return "it is an example";
}

/* Everything that needs privilege, /proc or a second process happens here: afterwards the Sentry
 * gives all of it up. */
static int skeleton_init(struct memfile *mf, const char *guest_cpus)
{
    (void)guest_cpus;
    g_mf = mf;
    return 0;
}

static void skeleton_fini(void)
{
    g_mf = NULL;
}

static void skeleton_limits(struct pf_limits *ret)
{
    *ret = (struct pf_limits){.user_min = 0x10000,
                              .user_max = STUB_REGION,
                              .max_processes = 1,
                              .max_threads_per_as = LANE_COUNT};
}

static int skeleton_as_create(struct pf_as **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

/* Returns when no thread of it can run any more: the caller then reuses its memory. Threads are
 * released afterwards, one by one, so what they point to must outlive this. */
static void skeleton_as_destroy(struct pf_as *as)
{
    free(as);
}

/* In order, stop at the first failure; never below or above what a guest may use; PF_POPULATE never
 * fails. May block for microseconds, never for long: the process may die meanwhile (-ESRCH). */
static int skeleton_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done)
{
    (void)as;
    (void)ops;
    if (ret_done)
        *ret_done = n;
    return 0;
}

/* The caller keeps its own descriptor. Slot 0 is the memory file. */
static int skeleton_fd_donate(struct pf_as *as, int fd, uint64_t key)
{
    (void)as;
    (void)fd;
    (void)key;
    return -EOPNOTSUPP;
}

static void skeleton_fd_drop(struct pf_as *as, int slot)
{
    (void)as;
    (void)slot;
}

/* The thread runs when this returns, unless it has already stopped again. */
static int skeleton_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                                  size_t fpu_len, struct pf_thread **ret)
{
    autofree struct pf_thread *t = calloc(1, sizeof *t);

    (void)fpu;
    (void)fpu_len;
    if (!t)
        return -ENOMEM;
    if (as->lanes == LANE_COUNT)
        return -EAGAIN;
    int r = memfile_alloc(g_mf, LANE_SIZE, MEMFILE_ANY, &t->lane_off);
    if (r)
        return r;
    t->as = as;
    t->lane = memfile_ptr(g_mf, t->lane_off);
    t->lane_addr = STUB_LANES + (uint64_t)as->lanes++ * LANE_SIZE;
    t->regs = *regs;
    *ret = steal(t);
    return 0;
}

static void skeleton_thread_destroy(struct pf_thread *t)
{
    memfile_free(g_mf, t->lane_off, LANE_SIZE);
    free(t);
}

static struct lane *skeleton_thread_lane(struct pf_thread *t)
{
    return t->lane;
}

static uint64_t skeleton_thread_lane_addr(struct pf_thread *t)
{
    return t->lane_addr;
}

static void skeleton_thread_set_owner(struct pf_thread *t, uint32_t poller)
{
    ring_store_relaxed(&t->lane->sentry.poller, poller % RO_POLLERS);
}

/* Any thread. Once until it is answered, however often it is called. */
static void skeleton_thread_interrupt(struct pf_thread *t)
{
    (void)t;
}

/* The one place where the event slot is read: copy, check, translate. */
static bool skeleton_thread_event(struct pf_thread *t, struct pf_event *ret)
{
    struct lane_slot s;

    if (t->open)
        return false;
    slot_copy(&s, &t->lane->event);
    if (ring_load_relaxed(&s.state) == SLOT_FREE)
        return false;
    t->open = true;
    *ret = (struct pf_event){.kind = PF_EVENT_VIOLATION}; /* nothing here could have posted it */
    return true;
}

static void skeleton_thread_get_regs(struct pf_thread *t, struct pf_regs *ret)
{
    *ret = t->regs;
}

static void skeleton_thread_set_regs(struct pf_thread *t, const struct pf_regs *regs)
{
    t->regs = *regs; /* eflags and segments forced to what user mode may have */
}

static size_t skeleton_thread_get_fpu(struct pf_thread *t, void *buf, size_t size)
{
    (void)t;
    (void)buf;
    (void)size;
    return 0;
}

static int skeleton_thread_set_fpu(struct pf_thread *t, const void *buf, size_t len)
{
    (void)t;
    (void)buf;
    (void)len;
    return -EINVAL;
}

/* Release, full fence, wake a parked thread: ring/slot.h. PF_REPLY_EXIT may come without an open
 * event, for a thread of a process that is being destroyed. */
static void skeleton_thread_reply(struct pf_thread *t, const struct pf_reply *r)
{
    if (!t->open)
        return;
    t->open = false;
    if (slot_reply(&t->lane->event, &t->lane->guest.event_parked,
                   r->kind == PF_REPLY_EXIT ? EVENT_EXIT : EVENT_RESUME, r->val))
        slot_wake(&t->lane->event);
}

static int skeleton_as_pidfd(struct pf_as *as)
{
    (void)as;
    return -1;
}

static uint64_t skeleton_thread_cpu_ns(struct pf_thread *t)
{
    (void)t;
    return 0;
}

static struct ring_poller_word *skeleton_poller_words(void)
{
    static struct ring_poller_word words[RO_POLLERS]; /* a real one shows them to its guests */

    return words;
}

static int skeleton_print_filters(void)
{
    return 0;
}

const struct platform_ops *skeleton_platform(void)
{
    static const struct platform_ops ops = {
        .name = "skeleton",
        .unavailable = skeleton_unavailable,
        .init = skeleton_init,
        .fini = skeleton_fini,
        .limits = skeleton_limits,
        .as_create = skeleton_as_create,
        .as_destroy = skeleton_as_destroy,
        .as_run = skeleton_as_run,
        .fd_donate = skeleton_fd_donate,
        .fd_drop = skeleton_fd_drop,
        .thread_create = skeleton_thread_create,
        .thread_destroy = skeleton_thread_destroy,
        .thread_lane = skeleton_thread_lane,
        .thread_lane_addr = skeleton_thread_lane_addr,
        .thread_set_owner = skeleton_thread_set_owner,
        .thread_interrupt = skeleton_thread_interrupt,
        .thread_event = skeleton_thread_event,
        .thread_get_regs = skeleton_thread_get_regs,
        .thread_set_regs = skeleton_thread_set_regs,
        .thread_get_fpu = skeleton_thread_get_fpu,
        .thread_set_fpu = skeleton_thread_set_fpu,
        .thread_reply = skeleton_thread_reply,
        .as_pidfd = skeleton_as_pidfd,
        .thread_cpu_ns = skeleton_thread_cpu_ns,
        .poller_words = skeleton_poller_words,
        .print_filters = skeleton_print_filters,
    };
    return &ops;
}
