/* SPDX-License-Identifier: Apache-2.0
 * pledge.h - what a process has promised to need: a set of promises (pledge.def) that only shrinks.
 *
 * The dispatcher asks for every call whether its row's promises are among those of the caller's
 * process (syscall/promises.def); handlers ask again, with pledge_need(), where it depends on what
 * they have copied or looked up. Threads of a process share its promises, fork copies them, exec
 * keeps them or puts those for executed programs in their place. */
#ifndef KERNEL_PLEDGE_H
#define KERNEL_PLEDGE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/compiler.h>

struct process;
struct task;

enum pledge_index {
#define PROMISE(name, word, text) PLEDGE_INDEX_##name,
#include <kernel/pledge.def>
#undef PROMISE
    PLEDGE_WORDS
};
enum pledge_set { /* a set is a uint32_t of these */
#define PROMISE(name, word, text) PLEDGE_##name = 1 << PLEDGE_INDEX_##name,
#include <kernel/pledge.def>
#undef PROMISE
                  PLEDGE_KILL =
                      1 << 28, /* no promise: what is refused ends the process by SIGABRT */
                  PLEDGE_ALWAYS = 1 << 29, /* everybody has it: what nobody can be without */
                  PLEDGE_NEVER = 1 << 30,  /* nobody has it who has promised anything */
};
_Static_assert(PLEDGE_WORDS <= 28, "promises and flags share a word");
#define PLEDGE_ALL ((1u << PLEDGE_WORDS) - 1)
#define PLEDGE_NOTHING_PROMISED (PLEDGE_ALL | PLEDGE_ALWAYS | PLEDGE_NEVER)
#define PLEDGE_TEXT_MAX 512 /* bytes of a set in words, or of a guest's list of words */

/* Some process has promised something: until then nobody looks further than here. */
extern _Atomic(bool) g_pledge_used;
static inline bool pledge_used(void)
{
    return unlikely(atomic_load_explicit(&g_pledge_used, memory_order_relaxed));
}

/* Words separated by blanks; "kill" too. 0; -EINVAL with *ret_bad (may be NULL) at the word that is
 * none, *ret_len bytes long. */
int pledge_parse(const char *text, uint32_t *ret, const char **ret_bad, size_t *ret_len);
/* The words of @set, separated by blanks. Returns @buf. */
const char *pledge_format(uint32_t set, char *buf, size_t size);
/* What one promise means; NULL: @index is PLEDGE_WORDS or more. */
const char *pledge_word(unsigned index, const char **ret_text);

/**
 * pledge_restrict - the process promises to need no more than @now (NULL: as before), and what it
 * executes no more than @exec (NULL: as before; never set: what it itself has promised by then).
 * Return: 0; -EPERM: more than it has (nothing is changed).
 */
int pledge_restrict(struct process *p, const uint32_t *now, const uint32_t *exec);
/* It runs a new program. */
void pledge_exec(struct process *p);
/* @child is being made by @parent, whose lock is held. */
void pledge_inherit_locked(struct process *child, const struct process *parent);
/* Without any promise yet. */
void pledge_init(struct process *p);

uint32_t pledge_of(const struct task *t);
/* The task lacks some of @need (any of @need for a whole call): counted, remembered for the trace, and
 * perhaps the end of its process. -EPERM. */
int pledge_refuse(struct task *t, uint32_t need);
/* What the last refusal of this task lacked, once; 0: nothing. */
uint32_t pledge_refused(struct task *t);

/* 0, or -EPERM unless the task's process has all of @need. */
static inline int pledge_need(struct task *t, uint32_t need)
{
    if (!pledge_used())
        return 0;
    uint32_t lacks = need & ~pledge_of(t);
    return lacks ? pledge_refuse(t, lacks) : 0;
}

#endif
