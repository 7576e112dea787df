/* SPDX-License-Identifier: Apache-2.0
 * ringbox.h - libringbox: system calls in batches for programs that opt in.
 *
 *      struct ringbox *rb;
 *      ringbox_open(&rb, 64);
 *      struct ringbox_entry *e = ringbox_get(rb);     // NULL: reap something first
 *      ringbox_prep_pread(e, fd, buf, sizeof buf, 0);
 *      ringbox_set_data(e, 42);
 *      ringbox_submit(rb);
 *      const struct ringbox_result *r = ringbox_wait(rb);
 *      ... r->user_data, r->result ...
 *      ringbox_advance(rb, 1);
 *
 * Inside a sandbox the entries go to the Sentry through shared memory, with no trap at all; outside
 * the same binary makes native calls at ringbox_submit(). A handle belongs to the thread that
 * opened it, and not to its signal handlers. Results are >= 0 or -errno. Unlinked entries have no
 * order; a call that may not come through a queue (ringbox_queueable) completes with -EINVAL. Signals
 * do not interrupt a queued call (outside they do). After fork the child has no queue: it must open
 * its own, and must not touch the parent's handle. */
#ifndef RINGBOX_H
#define RINGBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ringbox;
struct ringbox_entry;

struct ringbox_result {
    uint64_t user_data;
    int64_t result;
    uint32_t flags;
};

/* Flags of an entry: the next one starts when this one has succeeded, and gets -ECANCELED else; it
 * starts when everything before it has completed. */
#define RINGBOX_LINK 1u
#define RINGBOX_DRAIN 2u

/**
 * ringbox_open - a queue of @entries (rounded up to a power of two, at most 4096) for this thread.
 * Return: 0; -EINVAL size; -EBUSY the thread has one; -ENOMEM; -EAGAIN no room.
 */
int ringbox_open(struct ringbox **ret, unsigned entries);
/* Waits for what is in flight, then gives the queue back and frees the handle. */
void ringbox_close(struct ringbox *rb);

/* Do calls go through shared memory (true) or are they native (false)? */
bool ringbox_inside(const struct ringbox *rb);

/* May this call go through a queue? Not those that need the caller's registers or change who runs
 * (clone, execve, exit, rt_sigreturn, arch_prctl ...), nor those about signals, credentials, what
 * the thread shares, and the end of children. */
bool ringbox_queueable(unsigned nr);

/* Next entry to fill in, or NULL: the queue is full. Not visible before ringbox_submit(). */
struct ringbox_entry *ringbox_get(struct ringbox *rb);
/* Any call by number; flags and data start at 0. */
void ringbox_prep(struct ringbox_entry *e, unsigned nr, uint64_t a0, uint64_t a1, uint64_t a2,
                  uint64_t a3, uint64_t a4, uint64_t a5);
void ringbox_set_data(struct ringbox_entry *e, uint64_t user_data);
void ringbox_set_flags(struct ringbox_entry *e, unsigned flags);

void ringbox_prep_read(struct ringbox_entry *e, int fd, void *buf, size_t n);
void ringbox_prep_write(struct ringbox_entry *e, int fd, const void *buf, size_t n);
void ringbox_prep_pread(struct ringbox_entry *e, int fd, void *buf, size_t n, off_t off);
void ringbox_prep_pwrite(struct ringbox_entry *e, int fd, const void *buf, size_t n, off_t off);
void ringbox_prep_openat(struct ringbox_entry *e, int dirfd, const char *path, int flags,
                         mode_t mode);
void ringbox_prep_close(struct ringbox_entry *e, int fd);

/* Publish what was prepared. Returns how many entries. */
unsigned ringbox_submit(struct ringbox *rb);
/* Oldest completion or NULL; valid until ringbox_advance(). */
const struct ringbox_result *ringbox_peek(struct ringbox *rb);
/* The same, waiting for it. NULL only when nothing is in flight. */
const struct ringbox_result *ringbox_wait(struct ringbox *rb);
void ringbox_advance(struct ringbox *rb, unsigned n);

/* One call now, through the call slot (inside) or natively; -EINVAL for those that need the
 * caller's registers. */
int64_t ringbox_call(struct ringbox *rb, unsigned nr, uint64_t a0, uint64_t a1, uint64_t a2,
                     uint64_t a3, uint64_t a4, uint64_t a5);

/**
 * ringbox_pledge - the process promises to make no calls but those that belong to @promises, words separated by
 * blanks (`ringbox syscalls --promises`); programs it executes those of @exec_promises. Either may be
 * NULL: as before; @exec_promises never given: what the process itself has promised by then. What is
 * refused is -EPERM; with the word "kill" among the promises it ends the process by SIGABRT. All
 * threads share the promises, children have them.
 * Return: 0; -EPERM: more than was promised before; -EINVAL: an unknown word; -ENAMETOOLONG, -EFAULT;
 * -ENOSYS outside a sandbox.
 */
int ringbox_pledge(const char *promises, const char *exec_promises);
/**
 * ringbox_unveil - of all paths the process sees from now on only those it unveils and what is below:
 * @path to read ('r'), write ('w'), execute ('x'), make, remove and rename ('c'), of which @letters are any
 * or none (hidden). The nearest unveiled path counts. What is hidden is -ENOENT, what lacks a letter -EACCES.
 * Both NULL: no more can be unveiled. What was unveiled before an exec (or by --unveil) stays, and
 * what is unveiled after it can only narrow that.
 * Return: 0; -EPERM: no more, or @path has fewer letters already, or no promise "unveil"; -E2BIG: too many;
 * -EINVAL: other letters; what open(2) says of a path that cannot be resolved; -ENOSYS outside a sandbox.
 */
int ringbox_unveil(const char *path, const char *letters);

#ifdef __cplusplus
}
#endif
#endif
