/* SPDX-License-Identifier: Apache-2.0
 * lock.h - ranked spinning locks and fiber mutexes.
 *
 * A lock may be taken only while every lock held has a lower rank (debug builds stop the process
 * otherwise). A spin lock is never held across a park, a host call that can block, a gofer round
 * trip or a copy from guest memory; a fiber mutex (struct fmutex) may be.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <base/list.h>

/* Lock order of the whole Sentry, outermost first. Same-rank nesting only where said. */
enum lock_rank {
    RANK_NONE = 0,
    /* fiber mutexes */
    RANK_EXEC,       /* process: exec, exit and thread creation exclude each other */
    RANK_PIPE_READ,  /* pipe: its reader's side; splice holds it while it writes to another file */
    RANK_PIPE_WRITE, /* its writer's side; splice: while it reads from another file */
    RANK_FILE,       /* file position: held across the file's read, write, readdir */
    RANK_FS_RENAME,  /* superblock: renames */
    RANK_INODE,      /* directory contents, size; parent before child, else by address */
    RANK_MM,         /* address space; two at fork: parent first */
    RANK_TEXT,       /* text with changed call sites, of the whole sandbox */
    RANK_PAGES,      /* page cache, memory-file objects */
    RANK_9P,         /* 9P client writers */
    RANK_PLATFORM,   /* mapper of one address space */
    /* spin locks from here on */
    RANK_SPIN,
    RANK_PIDS = RANK_SPIN, /* pid table, process tree, groups, sessions */
    RANK_PROCESS,          /* process: threads, signals, children */
    RANK_FDTABLE,
    RANK_MOUNTS,
    RANK_DENTRY,
    RANK_NET,    /* port tables; TCP connections on their way to accept */
    RANK_OBJECT, /* pipe, eventfd, epoll, socket: state of one object */
    RANK_OBJECT_PEER,
    RANK_FUTEX,
    RANK_WAITQ,
    RANK_TIMER,
    RANK_CALL,
    RANK_MEMFILE,
    RANK_SCHED, /* innermost: run queues, inboxes */
    RANK_LEAF,
};

/* For readers and grep; clang's analysis cannot parse sibling members in C structs. */
#define GUARDED_BY(m)
#define REQUIRES(m)

struct spin {
    _Atomic(uint32_t) locked;
    uint16_t rank;
};

#define SPIN_INIT(r) \
    {                \
        .rank = (r)  \
    }

void spin_init(struct spin *l, enum lock_rank rank);
bool spin_trylock(struct spin *l);
#ifdef RINGBOX_LOCKDEP
void spin_lock(struct spin *l);
void spin_unlock(struct spin *l);
#else
void spin_wait(struct spin *l); /* it was held: until it is ours */

static inline void spin_lock(struct spin *l)
{
    if (unlikely(atomic_exchange_explicit(&l->locked, 1, memory_order_acquire)))
        spin_wait(l);
}

static inline void spin_unlock(struct spin *l)
{
    atomic_store_explicit(&l->locked, 0, memory_order_release);
}
#endif

/* Mutex that parks the calling fiber (or, outside a scheduler, the thread). FIFO hand-over. */
struct fmutex {
    struct spin lock;
    uint16_t rank;
    void *owner; /* GUARDED_BY(lock) */
    struct list_head waiters;
};

void fmutex_init(struct fmutex *m, enum lock_rank rank);
void fmutex_lock(struct fmutex *m);
bool fmutex_trylock(struct fmutex *m);
void fmutex_unlock(struct fmutex *m);
bool fmutex_is_mine(const struct fmutex *m);

#endif
