/* SPDX-License-Identifier: Apache-2.0
 * ktime.h - guest times to nanoseconds and deadlines, saturating: no guest value overflows. */
#ifndef KERNEL_KTIME_H
#define KERNEL_KTIME_H

#include <base/checked.h>
#include <kernel/timer.h>

#define NSEC_PER_SEC 1000000000LL
#define NSEC_PER_USEC 1000LL

static inline bool timespec_valid(const struct timespec *ts)
{
    return ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < NSEC_PER_SEC;
}

/* Of a valid one; INT64_MAX when it does not fit. */
static inline int64_t timespec_to_ns(const struct timespec *ts)
{
    int64_t ns;
    if (mul_overflow((int64_t)ts->tv_sec, NSEC_PER_SEC, &ns) ||
        add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
        return INT64_MAX;
    return ns;
}

static inline struct timespec timespec_from_ns(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};
}

/* CLOCK_MONOTONIC deadline @ns from now. */
static inline int64_t deadline_after(int64_t ns)
{
    int64_t at;
    return add_overflow(clock_now_ns(CLOCK_MONOTONIC), ns, &at) ? INT64_MAX : at;
}

/* CLOCK_MONOTONIC deadline for a time on another clock. Later steps of that clock are not
 * followed. */
static inline int64_t deadline_at(clockid_t clock, int64_t ns)
{
    if (clock == CLOCK_MONOTONIC || ns == INT64_MAX)
        return ns;
    return deadline_after(ns - clock_now_ns(clock));
}

#endif
