/* SPDX-License-Identifier: Apache-2.0
 * rtree.h - balanced tree of disjoint ranges [start, end), intrusive.
 *
 * Used for VMAs, for backing, and for reference counts of memory-file ranges. Each node knows the
 * extent of its subtree and the widest gap inside it, so that a free address range is found in
 * logarithmic time. A treap: priorities are random, so no sequence of calls a guest can choose
 * makes it deep. No locks of its own.
 */
#ifndef MM_RTREE_H
#define MM_RTREE_H

#include <stdbool.h>

#include <base/compiler.h>

struct rnode {
    struct rnode *left, *right, *parent;
    uint64_t start, end;
    uint64_t lo, hi, gap; /* of the subtree: first start, last end, widest gap between nodes */
    uint64_t prio;
};

struct rtree {
    struct rnode *root;
    uint64_t count;
};

/* @n->start and end are set; must not overlap any other. */
void rtree_insert(struct rtree *t, struct rnode *n);
void rtree_remove(struct rtree *t, struct rnode *n);
/* Change the bounds in place; order in the tree must stay the same. */
void rtree_resize(struct rnode *n, uint64_t start, uint64_t end);

/* First node with end > @at (it contains @at or lies behind it); NULL: none. */
struct rnode *rtree_find(const struct rtree *t, uint64_t at);
struct rnode *rtree_first(const struct rtree *t);
struct rnode *rtree_last(const struct rtree *t);
struct rnode *rtree_next(const struct rnode *n);
struct rnode *rtree_prev(const struct rnode *n);

/**
 * rtree_find_gap - highest address a with [a, a+len) inside [lo, hi) and free, a % align == 0.
 * Return: true and the address.
 */
bool rtree_find_gap(const struct rtree *t, uint64_t len, uint64_t align, uint64_t lo, uint64_t hi,
                    uint64_t *ret);

#endif
