/* SPDX-License-Identifier: Apache-2.0
 * private.h - pollers and the tasks they serve; shared by the files of this folder. */
#ifndef SERVICE_PRIVATE_H
#define SERVICE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <base/fiber.h>
#include <base/list.h>
#include <base/lock.h>
#include <host/io.h>
#include <kernel/task.h>
#include <ring/abi.h>
#include <ring/barrier.h>
#include <service/service.h>
#include <syscall/sys.h>

#include "latency.h"
#include "policy.h"

enum served_state {
    SERVED_GUEST,   /* runs guest code: its slots are polled (its queue always is) */
    SERVED_CALL,    /* a call or fault is being worked on; nothing to take */
    SERVED_PARKED,  /* its call waits in wait queues */
    SERVED_STOPPED, /* by a stop signal, on the way back to the guest */
    SERVED_GONE,    /* host thread released */
};

/* Runs of a call that need not wait, until the others have their turn. */
#define RUNS_AT_ONCE 16u

/* Call sites that have trapped and always will: the addresses behind them, and why. */
#define PATCH_SEEN 64u
struct patch_seen {
    uint64_t end;
    uint8_t reason;
};

/* One task as its poller sees it; freed with the task. Only the owner's thread touches it, but for
 * attention_link and the change to SERVED_GONE (poller->lock). */
struct served {
    struct task *task; /* a reference while attached */
    struct poller *poller;
    struct lane *lane;                /* shared with the guest */
    _Atomic(enum served_state) state; /* the owner's; served_kick() reads it */
    bool by_trap;                     /* the call in work came as an event, which is still open */
    bool slot_open;                   /* ... or as a posted one, not answered yet */
    bool event_open;
    bool call_clean; /* the task's call is as call_begin() makes it, but for what comes with each */
    bool interrupt_sent;
    bool slot_kept; /* a slot call has ended with slot_result; told at the trap it was sent to */
    uint32_t slot_nr;
    sysret_t slot_result;
    unsigned users; /* frames of this poller that still look at it */
    uint32_t idle_rounds;
    uint8_t where;               /* SERVED_ON_* */
    bool wait_short;             /* its last wait was shorter than a sleep and a wake */
    uint32_t placed;             /* poller->placing when its CPUs and its spins were set last */
    int64_t parked_ns;           /* when its call began to wait */
    struct list_head kick_link;  /* poller->kicked */
    int64_t kick_ns, kick_again; /* when the wake is repeated, and how long it waits after that */
    struct list_head link;       /* in the poller's list that `where` names */
    struct list_head attention_link;
    bool attached;
    uint32_t epoch;        /* attachments so far: a change during a call means exec */
    struct timer deadline; /* of an interrupt that is not answered */
    struct as_watch *watch;
    struct sq *sq;         /* submission queue, if it asked for one */
    int64_t call_start_ns; /* --trace and --stats */
    struct patch_seen seen[PATCH_SEEN];
    uint64_t slot_rip, site_rip; /* this event came from a slot: where, and what stands for it */
    bool from_frame;             /* rip is what a signal frame says */
};

/* --- where a task stands --- */

#define SERVED_ON_BUSY 0
#define SERVED_ON_QUIET 1
#define SERVED_ON_REST 2
#define SERVED_ON_NONE 3

/* Notices the death of a host process. */
struct as_watch {
    struct io_poll poll;
    struct pf_as *as;
    struct poller *poller;
    unsigned refs;
    bool dead;
    struct list_head link; /* poller->watches */
};

/* A counter with one writer, its poller; anybody reads it. */
struct tally {
    _Atomic(uint64_t) value;
};

static inline uint64_t tally_get(const struct tally *s)
{
    return atomic_load_explicit(&s->value, memory_order_relaxed);
}

static inline void tally_add(struct tally *s, uint64_t n)
{
    atomic_store_explicit(&s->value, tally_get(s) + n, memory_order_relaxed);
}

/* How a call arrived. */
enum call_way {
    CALL_WAY_RING, /* call slot or queue */
    CALL_WAY_TRAP,
    CALL_WAY_LOCAL, /* answered in the guest, of which only the guest knows; added when it ends */
    CALL_WAYS,
};

#define BATCH_BUCKETS 16u

struct poller_stats {
#define STAT(section, name, text) struct tally name;
#include "stats.def"
#undef STAT
    struct tally calls[SYS_NR_MAX][CALL_WAYS];
    struct tally call_ns[SYS_NR_MAX];
    struct tally
        batches[BATCH_BUCKETS]; /* --stats: by log2 of the calls between two looks at the clock */
    struct tally (*latency)[LATENCY_CLASSES]; /* --stats: of each call number; else NULL */
};

/* Rounds between looks at clock, timers, completions, quiet lanes: the first behind an answer, at last
 * where a call may come. */
#define CLOCK_ROUNDS 32
#define CLOCK_ROUNDS_LATE 64
#define ANSWERED_MAX 32       /* tasks answered and not looked at yet */
#define ANSWERED_ROUNDS_MAX 4 /* rounds with work that a wake may be put off */

struct poller {
    unsigned index;
    int cpu; /* -1: not pinned */
    pthread_t thread;
    struct fiber_sched *sched;
    struct timer_base *timers;
    struct io *io;
    bool quick; /* calls need be neither shown nor timed */
    struct ring_poller_word *word;

    struct list_head busy;  /* polled every round */
    struct list_head quiet; /* polled a few a round; all before and after sleep */
    struct list_head rest;  /* parked, stopped: nothing to poll */
    struct list_head watches;
    unsigned listed; /* on busy and quiet */
    int64_t last_work_ns;
    bool trim_owed; /* there was work since memory_trim() did its */
    int64_t worked_ns, trimmed_ns;
    int64_t accounted_ns; /* up to here its time is in the statistics */
    uint64_t taken;       /* --stats: calls since the clock was last looked at */
    unsigned rounds;      /* since the clock was looked at */
    unsigned answered_count,
        answered_rounds;                   /* tasks in answered; rounds with work since the first */
    struct served *answered[ANSWERED_MAX]; /* whose threads may have parked before they were */
    struct policy policy;
    uint32_t spins;   /* of guest threads, for the mode */
    uint32_t placing; /* changes with the mode */
    struct lost {     /* as last asked: */
        int64_t asked_ns, asleep_ns;
        int64_t delay_ns; /* that its thread waited for a CPU */
    } lost;
    bool waited_for; /* calls waited in the middle of something at the last look at the clock */
    struct follow {  /* handing over: where the callers are */
        int home;    /* the CPU this poller keeps to; -1: any */
        int from;    /* that of the last caller */
        unsigned run, mixed; /* callers on end from there; changes, lately */
        int64_t moved_ns;
    } follow;
    struct list_head kicked; /* woken and not yet seen awake: served.kick_link */
    struct timer rekick;

    /* Inbox: filled by anybody, emptied by the owner. */
    _Alignas(CACHE_LINE) struct spin lock;
    struct list_head again;     /* calls that fired: call.ready_link; GUARDED_BY(lock) */
    struct list_head attention; /* served.attention_link; GUARDED_BY(lock) */
    struct list_head arriving;  /* served.link; GUARDED_BY(lock) */
    _Atomic(bool) inbox_full;
    _Atomic(bool) stop;

    struct poller_stats *stats;
};

struct service {
    struct service_config cfg;
    uint32_t spins;  /* looks of a guest thread that cost about as much as a park and a wake */
    uint32_t yields; /* and looks with a yield before each */
    struct poller pollers[RO_POLLERS];
    _Atomic(unsigned) next; /* round robin of new processes */
    _Atomic(bool) tracing;  /* --trace, or somebody has attached: trace.c */
    int exit_status;
    void (*boot)(void *arg);
    void *boot_arg;
};
extern struct service g_service;

struct poller *poller_self(void);
void poller_kick(void *poller);

/* place.c: what the mode means for threads, and wakes that are repeated */
void place_init(void);
void place_poller_init(struct poller *p);
void place_pin(struct poller *p);
void place_mode(struct poller *p); /* the policy has changed its mind */
bool place_lost_cpu(struct poller *p, int64_t now);
void served_place(struct served *s); /* CPUs and spins of a task that runs again */
void served_wait_begins(struct served *s);
void served_wait_ends(struct served *s);
void served_woken(struct served *s); /* its thread was parked when it was answered */

/* served.c */
void served_poll(struct served *s); /* take what the lane offers; may park */
/* A call taken from slot or event: runs it. */
void served_call(struct served *s, const uint64_t *args, uint32_t nr, uint8_t how);
/* Its handler has run, in life @epoch of the task, and gave @r: goes on from there. May park. */
void served_ran(struct served *s, uint32_t epoch, sysret_t r);
void served_release_last(struct served *s);
void served_run_again(struct call *c); /* fired call; may park */
void served_attend(struct served *s);  /* signals or exit pending; may park */
void served_add(struct served *s);
void served_move(struct served *s, uint8_t where); /* to the end of another list */
int served_attach(struct task *t, struct task *near);
void served_detach(struct task *t);
void served_quiesce(struct task *t);
void served_kick(struct task *t);

/* posted.c */
void posted_take(struct served *s);
bool posted_quick(struct served *s, void **local); /* local: fiber_local_slot() of this stack */
void posted_refuse(struct served *s);
void posted_finish(struct served *s, sysret_t result);
void served_answered(struct served *s); /* its slot or event: wake its thread if that has parked */
void served_answered_drop(const struct served *s);
void poller_wake_answered(struct poller *p); /* end of a round */

/* watch.c */
void served_watch(struct served *s);
void served_unwatch(struct served *s);

/* patch.c: before an event is acted on, in SERVED_CALL; may park. true: the thread just goes on. */
bool patch_event(struct served *s, struct pf_event *e);
/* The thread goes back to the guest, perhaps to where a jump stands now. */
void patch_resume(struct served *s);

/* sq.c */
bool sq_ready(const struct sq *q);
void sq_run(struct sq *q);
void sq_run_again(struct call *c);
void sq_settle(struct sq *q);
void sq_quiesce(struct served *s);
void sq_destroy(struct served *s);
sysret_t ring_ctl(struct call *c);

/* trace.c */
void trace_init(void);
void trace_end(void); /* no poller runs: readers get what is left */
void trace_call(struct call *c, sysret_t result);
void trace_event(struct task *t, const char *what, uint64_t a, int64_t b);
/* Does anybody look? */
static inline bool trace_wanted(void)
{
    return atomic_load_explicit(&g_service.tracing, memory_order_relaxed);
}

/* stats.c; all by the poller itself */
int stats_init(struct poller_stats *s, bool latency);
void stats_latency(struct poller_stats *s, uint32_t nr, int64_t ns);
/* Calls that the guest has answered itself, before its lane goes. */
void stats_local_add(struct served *s);
/* The time since the last one goes to @to. */
void stats_time(struct poller *p, struct tally *to, int64_t now_ns);
/* --stats: the calls taken since the last one are a batch. */
void stats_batch(struct poller *p);

/* control.c: signals, the end and questions come through @fd. Takes over references to @first, @terminal
 * (or NULL). */
struct host_terminal;
void control_start(int fd, int answers, struct process *first, struct host_terminal *terminal);
/* A signal that a caller outside passes on to its command. */
void command_signal(struct process *p, struct host_terminal *terminal, int signo);
/* Has the command stopped in the foreground of its terminal? */
bool command_stopped(struct process *p, struct host_terminal *terminal);

/* boot_mounts.c: 0 or -errno. */
struct boot_config;
struct path;
int boot_mount_root(const struct boot_config *cfg, struct path *ret); /* gives references */
void boot_mount_system(struct task *t); /* a root without the places goes without those mounts */
/* *ret_name: the place that an error is about. */
int boot_mount_given(struct task *t, const struct boot_config *cfg, const char **ret_name);
/* --unveil; *ret_name: of which there is an error. */
int boot_unveil_given(struct task *t, const struct boot_config *cfg, const char **ret_name);

/* --- what every call passes --- */

/* Lists change only where a wait begins or ends: a call that does not wait leaves its task where it
 * is. Waiting tasks are not looked at, unless they have a queue. */
static inline void served_set_state(struct served *s, enum served_state state)
{
    atomic_store_explicit(&s->state, state, memory_order_relaxed);
    if (state == SERVED_GUEST) {
        if (s->where != SERVED_ON_BUSY)
            served_move(s, SERVED_ON_BUSY);
    } else if (state != SERVED_CALL && s->where != SERVED_ON_REST && !s->sq) {
        served_move(s, SERVED_ON_REST);
    }
}

/* A frame of this poller is done with @s; the last one after detach drops the attachment's task
 * reference, and with it perhaps @s itself. */
static inline void served_release(struct served *s)
{
    if (--s->users == 0 && unlikely(s->state == SERVED_GONE && s->attached))
        served_release_last(s);
}

static inline bool served_has_work(const struct served *s)
{
    if (s->state == SERVED_GUEST && (ring_load_relaxed(&s->lane->call.state) == SLOT_POSTED ||
                                     ring_load_relaxed(&s->lane->event.state) != SLOT_FREE))
        return true;
    return unlikely(s->sq) && sq_ready(s->sq);
}

static inline bool is_restart(sysret_t r)
{
    return r <= -ERESTARTSYS && r >= -ERESTART_RESTARTBLOCK;
}

static inline bool task_must_die(struct task *t)
{
    return t->exit_requested || (signal_pending_set(t) & SIGBIT(SIGKILL));
}

struct pf_reply;
/* What the thread is to do itself before it goes on. */
void reply_add_self(struct call *c, struct task *t, struct pf_reply *r);

#endif
