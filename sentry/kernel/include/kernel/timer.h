/* SPDX-License-Identifier: Apache-2.0
 * timer.h - host clocks and timers that fire on the poller that armed them. */
#ifndef KERNEL_TIMER_H
#define KERNEL_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <base/list.h>

int64_t clock_now_ns(clockid_t clock); /* CLOCK_REALTIME, MONOTONIC, BOOTTIME ... (vDSO) */

struct timer_base; /* one per poller */
struct timer {
    void (*fire)(struct timer *t); /* on the poller's loop; must not park; may re-arm */
    int64_t when_ns;               /* CLOCK_MONOTONIC */
    struct timer_base *base;       /* NULL: not armed; under home's lock */
    uint32_t heap_index;
    _Atomic(struct timer_base *) home; /* where it was armed last */
};

struct timer_base *timer_base_new(void (*kick)(void *), void *arg); /* kick: earlier first timer */
void timer_base_free(struct timer_base *b);
struct timer_base *timer_base_self(void); /* of the calling poller */
void timer_base_bind(struct timer_base *b);

void timer_init(struct timer *t, void (*fire)(struct timer *));
/* (Re)arm on @b (NULL: the calling poller's). 0 or -ENOMEM. Any thread. */
int timer_arm(struct timer *t, struct timer_base *b, int64_t when_ns);
/* After it returns fire() is not running (unless called from it) and will not run. Waits for a
 * running fire(): the caller holds no lock that fire() takes. */
void timer_cancel(struct timer *t);
/* Without waiting: false when fire() is running on another thread now (it will run once more). */
bool timer_cancel_nowait(struct timer *t);
bool timer_armed(struct timer *t);
uint32_t timer_count(struct timer_base *b); /* armed there. Any thread */

/* CLOCK_MONOTONIC of the first one armed there; INT64_MAX: none. Any thread. */
int64_t timer_first(const struct timer_base *b);

/* Fire what is due at @now. Return: ns until the next (INT64_MAX none). */
int64_t timer_run(struct timer_base *b, int64_t now);

#endif
