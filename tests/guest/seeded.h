/* SPDX-License-Identifier: Apache-2.0
 * seeded.h - for programs that do random operations from a seed, as a case of their own or, as
 * "PROGRAM print SEED COUNT", with a transcript to compare. One such program is one source file. */
#ifndef GUEST_SEEDED_H
#define GUEST_SEEDED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

static uint64_t g_random;
static FILE *g_out; /* NULL: no transcript */

static inline void seed_set(uint64_t seed)
{
    g_random = seed * 2654435761u + 1;
}

static inline unsigned pick(unsigned n)
{
    g_random = g_random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(g_random >> 33) % n;
}

static inline int seeded_main(int argc, char **argv, void (*run)(uint64_t seed, unsigned count),
                              const struct guest_case *cases, size_t n)
{
    if (argc == 4 && !strcmp(argv[1], "print")) {
        g_out = stdout;
        run(strtoull(argv[2], NULL, 0), (unsigned)atoi(argv[3]));
        return 0;
    }
    return guest_main(argc, argv, cases, n);
}

#endif
