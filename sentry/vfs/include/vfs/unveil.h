/* SPDX-License-Identifier: Apache-2.0
 * unveil.h - which names a process sees: none but those it has unveiled, once it has unveiled one.
 *
 * A right belongs to a name, that is to a place in the tree of mounts (mount, directory, name), and to all
 * below it unless a name further down was unveiled too: the nearest counts. Where a walk has come
 * by is of no account: links, "..", magic links, other mounts of the same tree and descriptors end at
 * a place, and the place decides. Names on the way to an unveiled one can be looked at and walked
 * through, nothing else; every other name does not exist (-ENOENT).
 *
 * What is open stays open. Threads share the view, fork copies it. An executed program keeps it and
 * may only put a narrower one over it. */
#ifndef VFS_UNVEIL_H
#define VFS_UNVEIL_H

#include <kernel/task.h>
#include <vfs/vfs.h>

#define UNVEIL_READ 1u
#define UNVEIL_WRITE 2u
#define UNVEIL_EXEC 4u
#define UNVEIL_CREATE 8u /* make, remove and rename */
#define UNVEIL_VISIBLE 16u
#define UNVEIL_EVERYTHING 31u

#define UNVEIL_MAX 128u        /* names a view unveils; beyond: -E2BIG */
#define UNVEIL_NAMES_MAX 1024u /* the same with those on the way to them */
#define UNVEIL_LAYERS_MAX 8u   /* views over one another; beyond: -E2BIG */

struct unveil;

/* Letters of "rwxc", each at most once; none at all hides. 0, -EINVAL. */
int unveil_parse(const char *letters, unsigned *ret);
/**
 * unveil_add - the task's process sees @name, a path as in open(), with @may (UNVEIL_* but VISIBLE).
 * Links are followed. The last component need not exist. May park.
 * Return: 0; -EPERM: the view is locked, or @name has less already; -E2BIG: a limit above; errors of
 * the walk.
 */
int unveil_add(struct task *t, const char *name, unsigned may);
/* Nothing can be added any more. */
void unveil_lock(struct process *p);

/* UNVEIL_* of what stands at @p, for the task's process. */
unsigned unveil_may(struct task *t, const struct path *p);
/* 0; -ENOENT: not visible; -EACCES: without some of @need. */
int unveil_check(struct task *t, const struct path *p, unsigned need);
/* The same for attributes of what is open: hidden or not, -EACCES. */
int unveil_check_open(struct task *t, const struct path *p, unsigned need);
static inline bool unveil_active(const struct task *t)
{
    return unlikely(atomic_load_explicit(&t->process->unveil, memory_order_relaxed) != NULL);
}

/* For kernel/: what a child gets; NULL: nothing is hidden. */
struct unveil *unveil_get_of(struct process *p);
void unveil_put(struct unveil *u); /* ignores NULL; may park */

#endif
