/* SPDX-License-Identifier: Apache-2.0
 * latency.h - classes in which latencies are counted: four below 16 ns, then four for each power of
 * two, the last one for all above. Pure. */
#ifndef SERVICE_LATENCY_H
#define SERVICE_LATENCY_H

#include <base/compiler.h>

#define LATENCY_CLASSES 128u

static inline unsigned latency_class(uint64_t ns)
{
    if (ns < 16)
        return (unsigned)ns / 4;
    unsigned top = 63 - (unsigned)__builtin_clzll(ns);
    unsigned class = (top - 4) * 4 + (unsigned)(ns >> (top - 2) & 3) + 4;
    return MIN(class, LATENCY_CLASSES - 1);
}

/* The least latency above the class: at most a quarter more than any in it. */
static inline uint64_t latency_bound(unsigned class)
{
    if (class < 4)
        return 4 * (class + 1ULL);
    unsigned top = (class - 4) / 4 + 4, part = (class - 4) % 4;
    return (5ULL + part) << (top - 2);
}

/* The bound of the class in which the @per_mille-th of 1000 latencies lies; 0: there are none. */
static inline uint64_t latency_percentile(const uint64_t count[LATENCY_CLASSES], unsigned per_mille)
{
    uint64_t all = 0, seen = 0;

    for (unsigned i = 0; i < LATENCY_CLASSES; i++)
        all += count[i];
    for (unsigned i = 0; all && i < LATENCY_CLASSES; i++) {
        seen += count[i];
        if (seen * 1000 >= all * per_mille)
            return latency_bound(i);
    }
    return 0;
}

#endif
