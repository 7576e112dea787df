/* SPDX-License-Identifier: Apache-2.0
 * range.h - balanced tree of disjoint ranges [start, end), intrusive.
 *
 * Used for VMAs, for backing, and for reference counts of memory-file ranges. Each node knows the
 * extent of its subtree and the widest gap inside it, so that a free address range is found in
 * logarithmic time. A treap: priorities are random, so no sequence of calls a guest can choose makes
 * it deep. No locks of its own.
 */
#ifndef MM_RANGE_H
#define MM_RANGE_H

#include <stdbool.h>

#include <base/compiler.h>

struct range_node {
    struct range_node *left, *right, *parent;
    uint64_t start, end;
    uint64_t lo, hi, gap; /* of the subtree: first start, last end, widest gap between nodes */
    uint64_t prio;
};

struct range_tree {
    struct range_node *root;
    uint64_t count;
};

/* @n->start and end are set; must not overlap any other. */
void range_insert(struct range_tree *t, struct range_node *n);
void range_remove(struct range_tree *t, struct range_node *n);
/* Change the bounds in place; order in the tree must stay the same. */
void range_resize(struct range_node *n, uint64_t start, uint64_t end);

/* First node with end > @at (it contains @at or lies behind it); NULL: none. */
struct range_node *range_find(const struct range_tree *t, uint64_t at);
struct range_node *range_first(const struct range_tree *t);
struct range_node *range_last(const struct range_tree *t);
struct range_node *range_next(const struct range_node *n);
struct range_node *range_prev(const struct range_node *n);

/**
 * range_find_gap - highest address a with [a, a+len) inside [lo, hi) and free, a % align == 0.
 * Return: true and the address.
 */
bool range_find_gap(const struct range_tree *t, uint64_t len, uint64_t align, uint64_t lo,
                    uint64_t hi, uint64_t *ret);

#endif
