/* SPDX-License-Identifier: Apache-2.0
 * range.h - a set of free ranges: first fit at a given phase, merging on insert. No locks. */
#ifndef HOST_RANGE_H
#define HOST_RANGE_H

#include <base/compiler.h>

#define RANGE_CONGRUENCE (2ULL << 20)
#define RANGE_ANY UINT64_MAX

struct range_node;
struct range_set {
    struct range_node *root;
    struct range_node *spare; /* released nodes, linked by `left` */
    uint64_t seed;
    uint64_t free_bytes;
    uint32_t count, spares;
};

void range_set_init(struct range_set *s);
void range_set_free(struct range_set *s);

/**
 * range_insert - add [off, off+len), merging with neighbours. Overlap is a bug of the caller.
 * Return: 0, -ENOMEM (set unchanged).
 */
int range_insert(struct range_set *s, uint64_t off, uint64_t len);

/**
 * range_take - remove @len bytes that start at @phase modulo RANGE_CONGRUENCE (or RANGE_ANY).
 * Return: 0, -ENOMEM no such range, or no memory to split one.
 */
int range_take(struct range_set *s, uint64_t len, uint64_t phase, uint64_t *ret_off);

#endif
