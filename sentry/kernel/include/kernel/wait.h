/* SPDX-License-Identifier: Apache-2.0
 * wait.h - wait queues, and the one place where system calls wait, time out, are interrupted and
 * run again.
 *
 * A handler never sleeps in a loop. It tries; if it got -EAGAIN it arms waiters with call_wait*()
 * and returns what that returned (SYS_PARK). When a waiter fires, the deadline passes or a signal
 * comes, the dispatcher runs the same handler again with the same arguments. So until it commits a
 * handler must be safe to run again; what it must remember it keeps in call->progress.
 *
 *      r = pipe_read(...);
 *      if (r != -EAGAIN || nonblock)
 *          return r;
 *      return call_wait(c, &pipe->readers, POLLIN);
 *
 * Lost wakes: call_wait() arms first; the caller then must be certain that the condition is
 * re-examined: either arm under the object's lock under which the condition was tested, or
 * call_arm(), test again, and then call_run_again() or call_wait_armed().
 *
 * Lifetime: a queue must outlive what is armed on it. A handler that waits on an object which
 * others may free passes a reference with call_arm_ref(); call_disarm() drops it.
 */
#ifndef KERNEL_WAIT_H
#define KERNEL_WAIT_H

#include <stdatomic.h>
#include <string.h>

#include <base/list.h>
#include <base/lock.h>

#include <abi/types.h>
#include <kernel/timer.h>
#include <mm/mm.h>

struct task;
struct call;
struct waiter;

struct wait_queue {
    struct spin lock;                  /* RANK_WAITQ */
    _Atomic(uint32_t) exclusive_count; /* of exclusive; changes under lock, as async_count */
    struct list_head waiters, exclusive;
    _Atomic(uint32_t) async_count;
    struct list_head asyncs; /* kernel/async.h */
};

/* fire() is called with the queue's lock held, any thread; it must only take inner locks. It tells
 * whether it had any use for the wake: an exclusive waiter that had none leaves it to the next. */
struct waiter {
    struct list_head link;
    struct wait_queue *queue; /* NULL: not armed */
    uint32_t mask;            /* POLL* bits wanted; 0 = any */
    bool exclusive;           /* counts for wake's limit */
    bool (*fire)(struct waiter *w, uint32_t events);
};

void wait_queue_init(struct wait_queue *q);
void waiter_init(struct waiter *w, bool (*fire)(struct waiter *, uint32_t));
void waiter_arm(struct waiter *w, struct wait_queue *q, uint32_t mask);
void waiter_disarm(struct waiter *w); /* after it, fire() is not running and will not */

/* Fire waiters whose mask meets @events: all that are not exclusive, then exclusive ones, first come
 * first, until @max_exclusive of them had use for it. Returns how many had. */
unsigned wait_queue_wake(struct wait_queue *q, uint32_t events, unsigned max_exclusive);
static inline void wake_all(struct wait_queue *q, uint32_t events)
{
    (void)wait_queue_wake(q, events, ~0u);
}
/* Something has come that one can take. */
static inline void wake_one(struct wait_queue *q, uint32_t events)
{
    (void)wait_queue_wake(q, events, 1);
}
/* The one that was woken has left something: for the next exclusive one; nobody else is told. The
 * caller has looked under the lock under which waiters look after arming. */
unsigned wait_queue_wake_exclusive(struct wait_queue *q, uint32_t events);
static inline void wake_next(struct wait_queue *q, uint32_t events)
{
    if (atomic_load_explicit(&q->exclusive_count, memory_order_relaxed))
        (void)wait_queue_wake_exclusive(q, events);
}

#define CALL_WAITERS 2
struct call_waiter {
    struct waiter w;
    bool woken; /* its fire() took a wake; the queue's lock */
    struct call *call;
    void *ref; /* dropped by put(ref) after disarming */
    void (*put)(void *ref);
};
struct call_waiters;            /* wait.c: a block of more waiters */
#define CALL_WAITERS_MAX 65536u /* queues one call can wait on; beyond: -ENOMEM */

/* One system call from entry to reply. Slot calls embed it in their task. */
struct call {
    struct task *task;
    uint32_t nr;
    uint8_t how;               /* CALL_BY_* */
    bool started;              /* set by the dispatcher after the first run */
    bool timed_out;            /* the deadline has passed */
    _Atomic(bool) interrupted; /* a signal is pending, or an SQ call is cancelled: finish now */
    bool has_deadline;
    uint64_t args[6];
    int64_t deadline_ns; /* CLOCK_MONOTONIC */
    uint64_t progress;   /* handler's memory across runs; 0 at first */
    void *state;         /* handler's allocation across runs, released by state_free */
    void (*state_free)(void *);
    uint64_t user_data;  /* SQ */
    struct mm_self self; /* not for CALL_BY_SQ: what the thread does itself before it goes on */
    bool set_fs, set_gs; /* load task->fs_base, gs_base on return */

    /* service's and wait.c's */
    struct call_waiter waiters[CALL_WAITERS];
    unsigned armed;
    struct call_waiters *more; /* poll with many descriptors */
    struct wait_queue *owed;   /* where this call took a wake alone: it uses it or passes it on */
    uint32_t owed_mask;
    void *owed_ref;
    void (*owed_put)(void *ref);
    _Atomic(uint32_t) state_word; /* CALL_RUNNING ... */
    struct list_head ready_link;  /* poller's run-again list */
    struct timer timer;           /* the deadline's */
    int64_t entered_ns;
};
#define CALL_BY_SLOT 0
#define CALL_BY_SQ 1
#define CALL_BY_TRAP 2
enum { CALL_RUNNING, CALL_PARKED, CALL_FIRED }; /* state_word */

/**
 * call_wait - wait on @q for @mask (POLL* or 0).
 * Return: SYS_PARK; -ETIMEDOUT if the deadline has passed; -ERESTARTSYS if interrupted. Handlers
 * with other answers (-EINTR, 0 for poll, partial counts) look at c->timed_out and c->interrupted.
 */
sysret_t call_wait(struct call *c, struct wait_queue *q, uint32_t mask);

/* Several queues: arm each, then return call_wait_armed(c). Errors: -ENOMEM. */
int call_arm(struct call *c, struct wait_queue *q, uint32_t mask);
/* The same, taking over the reference @ref, which call_disarm() drops with put(ref) (that may
 * park), at once on error. */
int call_arm_ref(struct call *c, struct wait_queue *q, uint32_t mask, void *ref,
                 void (*put)(void *ref));
/* As call_arm_ref; of those who wait so on @q each wake_one() reaches one. When the call then ends
 * with an error, the wake goes on to the next. @ref must keep @q. */
int call_arm_exclusive(struct call *c, struct wait_queue *q, uint32_t mask, void *ref,
                       void (*put)(void *ref));
sysret_t call_wait_armed(struct call *c);
/* Wait for deadline or signal only. */
sysret_t call_wait_none(struct call *c);
/* As call_wait_armed, but only the task's forced end interrupts (-EINTR): for waits that a handled
 * signal must not end (vfork, exec). */
sysret_t call_wait_armed_killable(struct call *c);
/* Run the handler again after @ns, or when what is armed fires: for conditions outside that tell nobody.
 * Not for calls with a deadline of their own. */
sysret_t call_wait_retry(struct call *c, int64_t ns);
/* Run the handler again at once (a re-check after arming found the condition true). */
sysret_t call_run_again(struct call *c);

/* Deadline; only the first run's call counts. INT64_MAX = none. */
void call_deadline(struct call *c, int64_t monotonic_ns);
/* A deadline that moves with what happens meanwhile; any run's call counts. */
void call_deadline_move(struct call *c, int64_t monotonic_ns);

/* --- dispatcher side (service/) ---
 *
 *      call_begin(c, ...);
 *  run: r = sys_dispatch(c);
 *      if (r == SYS_PARK) {
 *          if (call_park_commit(c))
 *              return;               // call_ready_hook(c) will queue it; then: goto again
 *  again:  call_disarm(c);
 *          goto run;
 *      }
 *      call_end(c, r);
 */

/* A new call: clears everything a call of before has left. @args may be NULL (set by the caller).
 */
static inline void call_begin(struct call *c, struct task *t, uint32_t nr, const uint64_t *args,
                              uint8_t how)
{
    c->task = t;
    c->nr = nr;
    c->how = how;
    c->started = c->timed_out = c->has_deadline = c->set_fs = c->set_gs = false;
    /* Relaxed, here and below: only the owner's thread touches what is neither armed nor parked. */
    atomic_store_explicit(&c->interrupted, false, memory_order_relaxed);
    if (args)
        memcpy(c->args, args, sizeof(c->args));
    c->deadline_ns = 0;
    c->progress = 0;
    c->state = NULL;
    c->state_free = NULL;
    c->user_data = 0;
    c->self = (struct mm_self){0};
    c->armed = 0;
    c->more = NULL;
    c->owed = NULL;
    atomic_store_explicit(&c->state_word, CALL_RUNNING, memory_order_relaxed);
    c->entered_ns = 0;
}

/* The same where a call_begin() for the same task and way was the last that happened to @c. */
static inline void call_begin_clean(struct call *c, uint32_t nr)
{
    c->nr = nr;
    /* call_interrupt() may have come since */
    atomic_store_explicit(&c->interrupted, false, memory_order_relaxed);
    atomic_store_explicit(&c->state_word, CALL_RUNNING, memory_order_relaxed);
}

/* The handler returned SYS_PARK. true: parked, call_ready_hook() comes exactly once when it is to
 * run again; false: it has fired meanwhile: disarm and run it again now. */
bool call_park_commit(struct call *c);
/* Disarm everything after a wake, before running again or ending; drops references: may park. Also
 * notes a passed deadline in c->timed_out. */
void call_disarm(struct call *c);
/* Is there anything for call_end() to do? */
static inline bool call_has_end(const struct call *c)
{
    return c->armed || c->has_deadline || c->owed || c->state_free;
}

void call_end_more(struct call *c, sysret_t result);
/* After the last run, which gave @result: disarm, release c->state. May park. */
static inline void call_end(struct call *c, sysret_t result)
{
    if (call_has_end(c))
        call_end_more(c, result);
}

/* Wake a parked call from outside (signal, cancel): the handler runs again with interrupted set.
 * Any thread; a call that runs or is none is marked only. */
void call_interrupt(struct call *c);
/* Set by service/: queue a fired call on its owner poller. Called with the lock of a wait queue
 * held. */
extern void (*call_ready_hook)(struct call *c);

#endif
