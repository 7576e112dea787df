/* SPDX-License-Identifier: Apache-2.0
 * range.c - free ranges in a tree ordered by offset.
 *
 * A treap (search tree by offset, heap by a random priority, so its depth is logarithmic whatever
 * the order of calls); each node also knows the longest range below it, which makes "leftmost range
 * of at least n bytes" one descent. All walks are loops.
 *
 * A range of n bytes need not contain n bytes at the phase asked. So the leftmost RANGE_TRIES
 * candidates are looked at (this fills the gaps that congruent neighbours leave), then the leftmost
 * that is long enough for any phase is taken.
 * Host: getrandom [sentry]
 */
#include "range.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define RANGE_TRIES 8
#define RANGE_SPARES_MAX 256

struct range_node {
    struct range_node *parent, *left, *right;
    uint64_t off, len;
    uint64_t longest; /* of this node and all below */
    uint64_t priority;
};

void range_set_init(struct range_set *s)
{
    *s = (struct range_set){.root = NULL};
    if (getrandom(&s->seed, sizeof s->seed, GRND_NONBLOCK) != sizeof s->seed)
        s->seed = (uint64_t)time(NULL) ^ (uintptr_t)s;
    s->seed |= 1;
}

void range_set_free(struct range_set *s)
{
    struct range_node *n = s->root;
    while (n) {
        struct range_node *child = n->left ? n->left : n->right;
        if (child) {
            n = child;
            continue;
        }
        struct range_node *up = n->parent;
        if (up && up->left == n)
            up->left = NULL;
        else if (up)
            up->right = NULL;
        free(n);
        n = up;
    }
    while (s->spare) {
        n = s->spare;
        s->spare = n->left;
        free(n);
    }
    *s = (struct range_set){.root = NULL};
}

static struct range_node *node_new(struct range_set *s, uint64_t off, uint64_t len)
{
    struct range_node *n = s->spare;
    if (n) {
        s->spare = n->left;
        s->spares--;
    } else {
        n = malloc(sizeof *n);
        if (!n)
            return NULL;
    }
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    *n = (struct range_node){.off = off, .len = len, .longest = len, .priority = s->seed};
    return n;
}

static void node_release(struct range_set *s, struct range_node *n)
{
    if (s->spares >= RANGE_SPARES_MAX) {
        free(n);
        return;
    }
    n->left = s->spare;
    s->spare = n;
    s->spares++;
}

static uint64_t node_longest(const struct range_node *n)
{
    return n ? n->longest : 0;
}

static void node_update(struct range_node *n)
{
    uint64_t below = MAX(node_longest(n->left), node_longest(n->right));
    n->longest = MAX(n->len, below);
}

static void node_update_up(struct range_node *n)
{
    for (; n; n = n->parent)
        node_update(n);
}

/* Where the pointer to @n stands. */
static struct range_node **node_link(struct range_set *s, struct range_node *n)
{
    if (!n->parent)
        return &s->root;
    return n->parent->left == n ? &n->parent->left : &n->parent->right;
}

/* Lift @n over its parent; order stays. */
static void node_rotate_up(struct range_set *s, struct range_node *n)
{
    struct range_node *p = n->parent;
    struct range_node **link = node_link(s, p);
    struct range_node *middle;
    if (p->left == n) {
        middle = n->right;
        n->right = p;
        p->left = middle;
    } else {
        middle = n->left;
        n->left = p;
        p->right = middle;
    }
    if (middle)
        middle->parent = p;
    n->parent = p->parent;
    p->parent = n;
    *link = n;
    node_update(p);
    node_update(n);
}

static void node_insert(struct range_set *s, struct range_node *n)
{
    struct range_node **link = &s->root;
    while (*link) {
        n->parent = *link;
        link = n->off < n->parent->off ? &n->parent->left : &n->parent->right;
    }
    *link = n;
    while (n->parent && n->parent->priority < n->priority)
        node_rotate_up(s, n);
    node_update_up(n);
    s->count++;
}

static void node_remove(struct range_set *s, struct range_node *n)
{
    while (n->left || n->right) {
        struct range_node *child = n->left;
        if (!child || (n->right && n->right->priority > child->priority))
            child = n->right;
        node_rotate_up(s, child);
    }
    *node_link(s, n) = NULL;
    node_update_up(n->parent);
    s->count--;
    node_release(s, n);
}

int range_insert(struct range_set *s, uint64_t off, uint64_t len)
{
    struct range_node *before = NULL, *after = NULL;
    for (struct range_node *n = s->root; n;) {
        if (n->off <= off) {
            before = n;
            n = n->right;
        } else {
            after = n;
            n = n->left;
        }
    }
    BUG_ON(before && before->off + before->len > off);
    BUG_ON(after && off + len > after->off);
    bool joins_before = before && before->off + before->len == off;
    bool joins_after = after && off + len == after->off;

    if (joins_before) {
        before->len += len;
        if (joins_after) {
            before->len += after->len;
            node_remove(s, after);
        }
        node_update_up(before);
    } else if (joins_after) {
        after->off = off;
        after->len += len;
        node_update_up(after);
    } else {
        struct range_node *n = node_new(s, off, len);
        if (!n)
            return -ENOMEM;
        node_insert(s, n);
    }
    s->free_bytes += len;
    return 0;
}

/* Leftmost node of at least @len bytes. */
static struct range_node *range_first(struct range_node *n, uint64_t len)
{
    if (node_longest(n) < len)
        return NULL;
    for (;;) {
        if (node_longest(n->left) >= len)
            n = n->left;
        else if (n->len >= len)
            return n;
        else
            n = n->right;
    }
}

/* The next one to the right of @n of at least @len bytes. */
static struct range_node *range_next(struct range_node *n, uint64_t len)
{
    for (;;) {
        if (node_longest(n->right) >= len)
            return range_first(n->right, len);
        while (n->parent && n->parent->right == n)
            n = n->parent;
        n = n->parent;
        if (!n || n->len >= len)
            return n;
    }
}

/* First offset in the node that has the phase. */
static uint64_t node_start(const struct range_node *n, uint64_t phase)
{
    if (phase == RANGE_ANY)
        return n->off;
    return n->off + ((phase - n->off) & (RANGE_CONGRUENCE - 1));
}

static bool node_fits(const struct range_node *n, uint64_t len, uint64_t phase)
{
    uint64_t start = node_start(n, phase);
    return start - n->off <= n->len && n->len - (start - n->off) >= len;
}

static struct range_node *range_find(struct range_set *s, uint64_t len, uint64_t phase)
{
    struct range_node *n = range_first(s->root, len);
    for (int i = 0; n && i < RANGE_TRIES; i++) {
        if (node_fits(n, len, phase))
            return n;
        n = range_next(n, len);
    }
    if (!n)
        return NULL;
    struct range_node *wide = range_first(s->root, len + RANGE_CONGRUENCE);
    if (wide)
        return wide;
    for (; n; n = range_next(n, len)) /* nearly full: look at all that are left */
        if (node_fits(n, len, phase))
            return n;
    return NULL;
}

int range_take(struct range_set *s, uint64_t len, uint64_t phase, uint64_t *ret_off)
{
    struct range_node *n = range_find(s, len, phase);
    if (!n)
        return -ENOMEM;
    uint64_t start = node_start(n, phase);
    uint64_t head = start - n->off;
    uint64_t tail = n->len - head - len;
    if (head && tail) {
        struct range_node *rest = node_new(s, start + len, tail);
        if (!rest)
            return -ENOMEM;
        n->len = head;
        node_update_up(n);
        node_insert(s, rest);
    } else if (head) {
        n->len = head;
        node_update_up(n);
    } else if (tail) {
        n->off += len;
        n->len = tail;
        node_update_up(n);
    } else {
        node_remove(s, n);
    }
    s->free_bytes -= len;
    *ret_off = start;
    return 0;
}
