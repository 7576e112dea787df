/* SPDX-License-Identifier: Apache-2.0
 * fiber.h - stacks that can be left in the middle of a call.
 *
 * One scheduler per poller thread. The poller's loop runs on a fiber; a system call runs on the
 * loop's own stack. Only when it parks does that stack become a fiber of its own: the loop goes on
 * with a fresh stack from the pool, so a call that does not park pays nothing. When the parked
 * call has been resumed and is done, fiber_loop_check() sees that the loop runs elsewhere, gives
 * the stack back to the pool and leaves it.
 *
 * park/unpark carry one token: an unpark that comes first is not lost. Outside a scheduler (helper
 * threads, unit tests) they park the thread itself.
 */
#ifndef BASE_FIBER_H
#define BASE_FIBER_H

#include <stdbool.h>
#include <stdint.h>

struct fiber;
struct fiber_sched;

/**
 * fiber_self - the fiber that runs now; never NULL. Valid until its call ends.
 */
struct fiber *fiber_self(void);

/**
 * fiber_park - leave until somebody calls fiber_unpark() on this fiber.
 *
 * Spurious returns do not happen, but callers loop over their condition all the same.
 * Context: no spin lock held; any handler or fmutex holder; not from I/O or timer callbacks.
 */
void fiber_park(void);

/**
 * fiber_unpark - make @f runnable on its own poller, which is kicked if it sleeps. Any thread.
 */
void fiber_unpark(struct fiber *f);

/**
 * fiber_yield - let the loop and the other ready fibers run once.
 */
void fiber_yield(void);

/* One pointer of the fiber's user that follows it across parks (the Sentry: the current task). */
void *fiber_local(void);
void fiber_set_local(void *p);
/* Where it is kept: for a frame that sets it often. Valid as long as the caller's frame lives. */
void **fiber_local_slot(void);

/**
 * fiber_spawn - run fn(arg) on scheduler @s soon, on a stack where it may park. Any thread.
 * Return: 0, -ENOMEM.
 */
int fiber_spawn(struct fiber_sched *s, void (*fn)(void *arg), void *arg);

/**
 * fiber_sched_new - scheduler for the calling poller thread.
 * @loop: body; called on a fresh stack whenever a new loop stack is needed: it must keep its state
 *        in @arg, call fiber_loop_check() after everything that may have parked, and return only
 *        when the poller is to end
 * @kick: called by other threads after queueing work for this scheduler; must wake the thread
 * Return: the scheduler or NULL.
 */
struct fiber_sched *fiber_sched_new(void (*loop)(void *arg), void (*kick)(void *arg), void *arg);
void fiber_sched_free(struct fiber_sched *s);

/* Scheduler of the calling thread, or NULL. */
struct fiber_sched *fiber_sched_self(void);

/* Bind to the calling thread and run the loop until it returns. */
void fiber_sched_run(struct fiber_sched *s);

/**
 * fiber_run_ready - run every fiber and spawned function that is ready now, each until it parks or
 * ends. Loop only. Return: how many ran.
 */
unsigned fiber_run_ready(void);

/* Is there anything for fiber_run_ready()? Loop only; also looks at the inbox. */
bool fiber_any_ready(void);

/**
 * fiber_loop_check - to be called by the loop after each thing it served.
 * Return: false: nothing happened. true: this stack had parked and has just been reused as a new
 * loop stack; start the round again.
 */
bool fiber_loop_check(void);

/* Does the caller run on the loop's stack, i.e. has it not parked since the loop called it? */
bool fiber_is_loop(void);

struct fiber_stats {
    uint64_t parks, spawned;
    uint32_t stacks, stacks_in_use;
};
/* Any thread. */
void fiber_stats_get(const struct fiber_sched *s, struct fiber_stats *ret);

#endif
