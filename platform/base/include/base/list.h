/* SPDX-License-Identifier: Apache-2.0
 * list.h - intrusive doubly linked lists; the head is a node of its own. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include <base/compiler.h>

struct list_head {
    struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name) \
    {                        \
        &(name), &(name)     \
    }

static inline void list_init(struct list_head *h)
{
    h->next = h->prev = h;
}

/* A head in zeroed memory, made where it is first used: a large table is not touched for nothing. */
static inline struct list_head *list_bucket(struct list_head *h)
{
    if (!h->next)
        list_init(h);
    return h;
}

static inline bool list_empty(const struct list_head *h)
{
    return h->next == h;
}

static inline void list_insert(struct list_head *n, struct list_head *prev, struct list_head *next)
{
    next->prev = n;
    n->next = next;
    n->prev = prev;
    prev->next = n;
}

/* At the front. */
static inline void list_add(struct list_head *n, struct list_head *h)
{
    list_insert(n, h, h->next);
}

/* At the end. */
static inline void list_add_tail(struct list_head *n, struct list_head *h)
{
    list_insert(n, h->prev, h);
}

/* Leaves the node initialised, so that deleting twice is harmless and list_empty(n) tells. */
static inline void list_del(struct list_head *n)
{
    n->next->prev = n->prev;
    n->prev->next = n->next;
    list_init(n);
}

/* Move all of `from` to the end of `to`. */
static inline void list_splice_tail(struct list_head *from, struct list_head *to)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first_entry(h, type, member) list_entry((h)->next, type, member)
#define list_last_entry(h, type, member) list_entry((h)->prev, type, member)
#define list_for_each_entry(pos, h, member)                                                \
    for ((pos) = list_entry((h)->next, __typeof__(*(pos)), member); &(pos)->member != (h); \
         (pos) = list_entry((pos)->member.next, __typeof__(*(pos)), member))
#define list_for_each_entry_safe(pos, tmp, h, member)                       \
    for ((pos) = list_entry((h)->next, __typeof__(*(pos)), member),         \
        (tmp) = list_entry((pos)->member.next, __typeof__(*(pos)), member); \
         &(pos)->member != (h);                                             \
         (pos) = (tmp), (tmp) = list_entry((tmp)->member.next, __typeof__(*(tmp)), member))

#endif
