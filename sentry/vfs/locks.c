/* SPDX-License-Identifier: Apache-2.0
 * locks.c - advisory locks, kept in the inode: byte ranges by owner, flock by open file.
 *
 * Ranges of one owner never overlap: setting one trims, splits or joins what the owner had. POSIX
 * locks belong to the descriptor table and go with any close of the file in it; OFD and flock locks
 * go with the open file.
 *
 * Where others outside lock too (inode_ops.lock), the server holds for all of the sandbox what its members
 * hold together: what one takes is first taken there, and when one lets go, what the others still hold stays.
 *
 * Locks: struct inode_locks.lock; inode->lock around what involves the server, which parks. Leaves out: EDEADLK detection, mandatory locks, leases. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include <vfs/fdtable.h>
#include <vfs/locks.h>

#include "vfs_internal.h"

struct lock_node {
    struct list_head link;
    struct lock_range l;
};

struct inode_locks {
    struct spin lock; /* RANK_OBJECT */
    struct list_head ranges, flocks;
    struct wait_queue queue;
};

static _Atomic(uint32_t) lock_count;

void locks_close(struct fdtable *t, struct file *f);

static struct inode_locks *locks_of(struct inode *i, bool make)
{
    spin_lock(&i->attr_lock);
    struct inode_locks *s = i->locks;
    spin_unlock(&i->attr_lock);
    if (s || !make)
        return s;
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    spin_init(&s->lock, RANK_OBJECT);
    list_init(&s->ranges);
    list_init(&s->flocks);
    wait_queue_init(&s->queue);
    spin_lock(&i->attr_lock);
    struct inode_locks *first = i->locks;
    if (!first)
        i->locks = s;
    spin_unlock(&i->attr_lock);
    if (first)
        free(s);
    return first ? first : s;
}

struct wait_queue *lock_queue(struct inode *i)
{
    struct inode_locks *s = locks_of(i, false);
    return s ? &s->queue : NULL;
}

static struct lock_node *node_new(void)
{
    if (++lock_count > FILE_LOCKS_MAX) {
        lock_count--;
        return NULL;
    }
    struct lock_node *n = calloc(1, sizeof(*n));
    if (!n)
        lock_count--;
    return n;
}

static void node_free(struct lock_node *n)
{
    if (!n)
        return;
    lock_count--;
    free(n);
}

static struct lock_node *conflict_locked(struct list_head *head, const struct lock_range *l)
{
    struct lock_node *n;
    list_for_each_entry (n, head, link)
        if (n->l.owner != l->owner && n->l.start <= l->end && l->start <= n->l.end &&
            (n->l.type == F_WRLCK || l->type == F_WRLCK))
            return n;
    return NULL;
}

/* Make room for [l->start, l->end] among the owner's ranges; *spare is used for a split. */
static void trim_locked(struct inode_locks *s, const struct lock_range *l, struct lock_node **spare)
{
    struct lock_node *n, *tmp;
    list_for_each_entry_safe (n, tmp, &s->ranges, link) {
        if (n->l.owner != l->owner || n->l.start > l->end || l->start > n->l.end)
            continue;
        if (n->l.start < l->start && n->l.end > l->end) {
            struct lock_node *right = steal(*spare);
            right->l = n->l;
            right->l.start = l->end + 1;
            n->l.end = l->start - 1;
            list_add(&right->link, &n->link);
        } else if (n->l.start < l->start) {
            n->l.end = l->start - 1;
        } else if (n->l.end > l->end) {
            n->l.start = l->end + 1;
        } else {
            list_del(&n->link);
            node_free(n);
        }
    }
}

/* Join with neighbours of the same owner and type. */
static void join_locked(struct inode_locks *s, struct lock_node *made)
{
    struct lock_node *n, *tmp;
    list_for_each_entry_safe (n, tmp, &s->ranges, link) {
        if (n == made || n->l.owner != made->l.owner || n->l.type != made->l.type)
            continue;
        if (n->l.end + 1 == made->l.start)
            made->l.start = n->l.start;
        else if (made->l.end + 1 == n->l.start)
            made->l.end = n->l.end;
        else
            continue;
        list_del(&n->link);
        node_free(n);
    }
}

static int range_set_inside(struct inode *i, const struct lock_range *l)
{
    struct inode_locks *s = locks_of(i, l->type != F_UNLCK);
    if (!s)
        return l->type == F_UNLCK ? 0 : -ENOMEM;
    struct lock_node *made = node_new(), *spare = node_new();
    if (!made || !spare) {
        node_free(made);
        node_free(spare);
        return -ENOLCK;
    }
    int r = 0;
    spin_lock(&s->lock);
    if (l->type != F_UNLCK && conflict_locked(&s->ranges, l)) {
        r = -EAGAIN;
    } else {
        trim_locked(s, l, &spare);
        if (l->type != F_UNLCK) {
            made->l = *l;
            list_add_tail(&made->link, &s->ranges);
            join_locked(s, made);
            made = NULL;
        }
    }
    spin_unlock(&s->lock);
    node_free(made);
    node_free(spare);
    if (r == 0)
        wake_all(&s->queue, 0); /* an unlock, or a write lock that became a read lock */
    return r;
}

/* --- at the server --- */

static bool has_outside(const struct inode *i)
{
    return i->ops->lock && !i->sb->exclusive;
}

/* What holds at l->start, in l->type, and up to where, in l->end. */
static void held_at(struct inode_locks *s, struct lock_range *l)
{
    struct lock_node *n;
    l->type = F_UNLCK;
    spin_lock(&s->lock);
    list_for_each_entry (n, &s->ranges, link) {
        if (n->l.start > l->start)
            l->end = MIN(l->end, n->l.start - 1);
        else if (n->l.end >= l->start) {
            l->end = MIN(l->end, n->l.end);
            if (l->type != F_WRLCK)
                l->type = n->l.type;
        }
    }
    spin_unlock(&s->lock);
}

/* After somebody let go: what the others hold there, piece by piece. */
static void outside_renew(struct inode *i, uint64_t start, uint64_t end)
{
    struct inode_locks *s = locks_of(i, false);
    struct lock_range l = {.start = start, .end = end};
    while (s && l.start <= end) {
        l.end = end;
        held_at(s, &l);
        if (i->ops->lock(i, &l, false) < 0)
            break; /* the connection is gone, and with it all locks */
        l.start = l.end + 1;
    }
}

static int range_set_outside(struct inode *i, const struct lock_range *l)
{
    int r = 0;
    fmutex_lock(&i->lock);
    if (l->type != F_UNLCK)
        r = lock_range_conflict(i, l, NULL) ? -EAGAIN : i->ops->lock(i, l, false);
    if (r == 0) {
        r = range_set_inside(i, l);
        struct inode_locks *s = locks_of(i, false);
        bool none = s && list_empty(&s->ranges); /* ... left: then it is one piece */
        if (none)
            outside_renew(i, 0, INT64_MAX);
        else if (r < 0 || l->type == F_UNLCK)
            outside_renew(i, l->start, l->end);
    }
    fmutex_unlock(&i->lock);
    return r;
}

int lock_range_set(struct inode *i, const struct lock_range *l)
{
    if (has_outside(i) && (l->type != F_UNLCK || locks_of(i, false)))
        return range_set_outside(i, l);
    return range_set_inside(i, l);
}

int lock_range_conflict_outside(struct inode *i, const struct lock_range *l, struct lock_range *ret)
{
    if (!has_outside(i) || !i->ops->lock_test)
        return 0;
    *ret = *l;
    fmutex_lock(&i->lock);
    int r = i->ops->lock_test(i, ret);
    fmutex_unlock(&i->lock);
    return r < 0 ? r : ret->type != F_UNLCK;
}

bool lock_range_conflict(struct inode *i, const struct lock_range *l, struct lock_range *ret)
{
    struct inode_locks *s = locks_of(i, false);
    if (!s)
        return false;
    spin_lock(&s->lock);
    struct lock_node *n = conflict_locked(&s->ranges, l);
    if (n && ret)
        *ret = n->l;
    spin_unlock(&s->lock);
    return n;
}

static struct lock_range flock_range(struct file *f, int op)
{
    return (struct lock_range){.owner = f,
                               .type = op == LOCK_EX   ? F_WRLCK
                                       : op == LOCK_SH ? F_RDLCK
                                                       : F_UNLCK,
                               .end = INT64_MAX};
}

static bool owner_remove_locked(struct list_head *head, const void *owner)
{
    struct lock_node *n, *tmp;
    bool any = false;
    list_for_each_entry_safe (n, tmp, head, link) {
        if (n->l.owner != owner)
            continue;
        list_del(&n->link);
        node_free(n);
        any = true;
    }
    return any;
}

static int flock_inside(struct file *f, int op)
{
    struct inode *i = file_inode(f);
    struct inode_locks *s = locks_of(i, op != LOCK_UN);
    if (!s)
        return op == LOCK_UN ? 0 : -ENOMEM;
    struct lock_range l = flock_range(f, op);
    struct lock_node *made = op == LOCK_UN ? NULL : node_new();
    if (!made && op != LOCK_UN)
        return -ENOLCK;
    int r = 0;
    spin_lock(&s->lock);
    bool removed = owner_remove_locked(&s->flocks, f);
    if (made && conflict_locked(&s->flocks, &l)) {
        r = -EAGAIN;
    } else if (made) {
        made->l = l;
        list_add_tail(&made->link, &s->flocks);
        made = NULL;
    }
    spin_unlock(&s->lock);
    node_free(made);
    if (removed)
        wake_all(&s->queue, 0);
    return r;
}

static int flock_outside_renew(struct inode *i)
{
    struct inode_locks *s = locks_of(i, false);
    struct lock_range l = {.type = F_UNLCK, .end = INT64_MAX};
    struct lock_node *n;
    if (!s)
        return 0;
    spin_lock(&s->lock);
    list_for_each_entry (n, &s->flocks, link)
        if (l.type != F_WRLCK)
            l.type = n->l.type;
    spin_unlock(&s->lock);
    return i->ops->lock(i, &l, true);
}

int lock_flock(struct file *f, int op)
{
    struct inode *i = file_inode(f);
    if (!has_outside(i))
        return flock_inside(f, op);
    fmutex_lock(&i->lock);
    int r = flock_inside(f, op);
    int outside = flock_outside_renew(i);
    if (r == 0 && outside < 0 && op != LOCK_UN) {
        r = outside;
        (void)flock_inside(f, LOCK_UN); /* what it had before went first, as on Linux */
        (void)flock_outside_renew(i);
    }
    fmutex_unlock(&i->lock);
    return r;
}

bool lock_flock_conflict(struct file *f, int op)
{
    struct inode_locks *s = locks_of(file_inode(f), false);
    if (!s)
        return false;
    struct lock_range l = flock_range(f, op);
    spin_lock(&s->lock);
    bool r = conflict_locked(&s->flocks, &l);
    spin_unlock(&s->lock);
    return r;
}

static void owner_gone(struct inode *i, const void *owner, bool flocks)
{
    struct inode_locks *s = i ? locks_of(i, false) : NULL;
    if (!s)
        return;
    bool outside = has_outside(i);
    if (outside)
        fmutex_lock(&i->lock);
    spin_lock(&s->lock);
    bool any = owner_remove_locked(&s->ranges, owner);
    bool any_flock = flocks && owner_remove_locked(&s->flocks, owner);
    spin_unlock(&s->lock);
    if (outside && any)
        outside_renew(i, 0, INT64_MAX);
    if (outside && any_flock)
        (void)flock_outside_renew(i);
    if (outside)
        fmutex_unlock(&i->lock);
    if (any || any_flock)
        wake_all(&s->queue, 0);
}

void locks_close(struct fdtable *t, struct file *f)
{
    owner_gone(file_inode(f), t, false);
}

void locks_file_gone(struct file *f)
{
    owner_gone(file_inode(f), f, true);
}

void locks_free(struct inode *i)
{
    struct inode_locks *s = i->locks;
    if (!s)
        return;
    struct lock_node *n, *tmp;
    list_for_each_entry_safe (n, tmp, &s->ranges, link)
        node_free(n);
    list_for_each_entry_safe (n, tmp, &s->flocks, link)
        node_free(n);
    free(s);
}
