/* SPDX-License-Identifier: Apache-2.0
 * rtree.c - treap of disjoint ranges with subtree extent and widest gap.
 *
 * Insertion descends to a leaf and rotates up while the priority is higher than the parent's;
 * removal rotates down to a leaf. After every structural change the summary fields are recomputed
 * from the place of change to the root. The owner of a tree serialises access.
 */
#include "rtree.h"

#include <base/hash.h>

static uint64_t next_prio(void)
{
    /* Thread-local, seeded by address: only balance depends on it. hash_u64 is keyed. */
    static _Thread_local uint64_t counter;
    return hash_u64(++counter ^ (uint64_t)(uintptr_t)&counter);
}

static void summarise(struct rnode *n)
{
    uint64_t gap = 0;
    n->lo = n->start;
    n->hi = n->end;
    if (n->left) {
        n->lo = n->left->lo;
        gap = MAX(n->left->gap, n->start - n->left->hi);
    }
    if (n->right) {
        n->hi = n->right->hi;
        gap = MAX(gap, n->right->gap);
        gap = MAX(gap, n->right->lo - n->end);
    }
    n->gap = gap;
}

static void summarise_up(struct rnode *n)
{
    for (; n; n = n->parent)
        summarise(n);
}

static void replace_child(struct rtree *t, struct rnode *parent, struct rnode *old,
                          struct rnode *new)
{
    if (!parent)
        t->root = new;
    else if (parent->left == old)
        parent->left = new;
    else
        parent->right = new;
    if (new)
        new->parent = parent;
}

/* Bring @n, a child, above its parent. */
static void rotate_up(struct rtree *t, struct rnode *n)
{
    struct rnode *p = n->parent, *g = p->parent;
    if (p->left == n) {
        p->left = n->right;
        if (p->left)
            p->left->parent = p;
        n->right = p;
    } else {
        p->right = n->left;
        if (p->right)
            p->right->parent = p;
        n->left = p;
    }
    replace_child(t, g, p, n);
    p->parent = n;
    summarise(p);
    summarise(n);
}

void rtree_insert(struct rtree *t, struct rnode *n)
{
    struct rnode *parent = NULL, **link = &t->root;
    BUG_ON(n->start >= n->end);
    while (*link) {
        parent = *link;
        if (n->end <= parent->start) {
            link = &parent->left;
        } else {
            BUG_ON(n->start < parent->end);
            link = &parent->right;
        }
    }
    n->left = n->right = NULL;
    n->parent = parent;
    n->prio = next_prio();
    *link = n;
    t->count++;
    summarise(n);
    while (n->parent && n->prio > n->parent->prio)
        rotate_up(t, n);
    summarise_up(n->parent);
}

void rtree_remove(struct rtree *t, struct rnode *n)
{
    while (n->left && n->right)
        rotate_up(t, n->left->prio > n->right->prio ? n->left : n->right);
    replace_child(t, n->parent, n, n->left ? n->left : n->right);
    summarise_up(n->parent);
    t->count--;
    n->left = n->right = n->parent = NULL;
}

void rtree_resize(struct rnode *n, uint64_t start, uint64_t end)
{
    BUG_ON(start >= end);
    n->start = start;
    n->end = end;
    summarise_up(n);
}

struct rnode *rtree_find(const struct rtree *t, uint64_t at)
{
    struct rnode *n = t->root, *best = NULL;
    while (n) {
        if (n->end > at) {
            best = n;
            if (n->start <= at)
                break;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

struct rnode *rtree_first(const struct rtree *t)
{
    struct rnode *n = t->root;
    while (n && n->left)
        n = n->left;
    return n;
}

struct rnode *rtree_last(const struct rtree *t)
{
    struct rnode *n = t->root;
    while (n && n->right)
        n = n->right;
    return n;
}

struct rnode *rtree_next(const struct rnode *n)
{
    if (n->right) {
        struct rnode *m = n->right;
        while (m->left)
            m = m->left;
        return m;
    }
    while (n->parent && n->parent->right == n)
        n = n->parent;
    return n->parent;
}

struct rnode *rtree_prev(const struct rnode *n)
{
    if (n->left) {
        struct rnode *m = n->left;
        while (m->right)
            m = m->right;
        return m;
    }
    while (n->parent && n->parent->left == n)
        n = n->parent;
    return n->parent;
}

struct gap_query {
    uint64_t len, align, lo, hi;
};

static bool gap_fits(const struct gap_query *q, uint64_t from, uint64_t to, uint64_t *ret)
{
    from = MAX(from, q->lo);
    to = MIN(to, q->hi);
    if (to <= from || to - from < q->len)
        return false;
    uint64_t a = (to - q->len) & ~(q->align - 1);
    if (a < from)
        return false;
    *ret = a;
    return true;
}

/* @before, @after: end and start of the subtree's neighbours. Depth is the treap's: logarithmic
 * with random priorities, whatever the guest does. */
static bool gap_search(const struct gap_query *q, const struct rnode *n, uint64_t before,
                       uint64_t after, uint64_t *ret)
{
    if (!n)
        return gap_fits(q, before, after, ret);
    if (before >= q->hi || after <= q->lo)
        return false;
    if (n->gap < q->len && n->lo - before < q->len && after - n->hi < q->len)
        return false;
    return gap_search(q, n->right, n->end, after, ret) ||
           gap_search(q, n->left, before, n->start, ret);
}

bool rtree_find_gap(const struct rtree *t, uint64_t len, uint64_t align, uint64_t lo, uint64_t hi,
                    uint64_t *ret)
{
    const struct gap_query q = {.len = len, .align = align, .lo = lo, .hi = hi};
    if (len == 0 || lo >= hi)
        return false;
    return gap_search(&q, t->root, 0, UINT64_MAX, ret);
}
