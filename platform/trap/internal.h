/* SPDX-License-Identifier: Apache-2.0
 * internal.h - shared by the files of the trap platform. */
#ifndef TRAP_INTERNAL_H
#define TRAP_INTERNAL_H

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include <base/list.h>
#include <base/lock.h>
#include <base/platform.h>
#include <base/refcount.h>
#include <ring/abi.h>
#include <stubs/stubs.h>

/* The two clones that the mapper's filter lets through (the second also with CLONE_SETTLS). */
#define TRAP_CLONE_PROCESS ((uint32_t)(CLONE_PARENT | SIGCHLD))
#define TRAP_CLONE_THREAD                                                            \
    ((uint32_t)(CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
                CLONE_CHILD_CLEARTID))

#define TRAP_INTERRUPT SIGUSR1

#define POOL_MAX 3                /* stub processes forked ahead */
#define USED_MAX 6                /* stub processes kept from address spaces that ended */
#define PARK_LATE_NS 1000000000LL /* a thread that takes so long to park never will */
#define PARKS_MAX 4               /* threads of one address space kept after their end */
#define REUSE_LANES 4u            /* more lanes than that: not kept */
#define FDS_KEPT 24u              /* donated descriptors of one stub that may be used again */
#define DROPS_MAX 16              /* descriptors waiting to be closed with the next list */

enum lane_state {
    LANE_UNMAPPED, /* not mapped in the process */
    LANE_IDLE,     /* mapped, no thread */
    LANE_USED,
    LANE_LEAVING, /* its thread was told to exit: usable again when its tid word is 0 */
    LANE_PARKED,  /* its thread was told to wait for another life */
};

struct lane_slot_info {
    uint64_t off; /* in the memory file */
    enum lane_state state;
};

/* A thread between two lives. Only the notified call at stub_park proves that it is there. */
struct parked {
    struct list_head link;      /* as->parked; GUARDED_BY(lanes_lock) */
    struct list_head hash_link; /* notify.c */
    struct pf_as *as;
    pid_t tid;
    unsigned slot;
    bool roams; /* as pf_thread's */
    bool here;  /* it waits in notification @id; GUARDED_BY(notify.c's lock), as are: */
    bool clean; /* it was sent to take the state of a thread between two lives (space.c) */
    uint64_t id;
};

/* A donated descriptor with a name. */
struct kept_fd {
    uint64_t key;
    int fd;
    bool used; /* a slot the owner has */
};

/* A mapper's notification: list stopped at op (guest address), last result val. */
struct said {
    pid_t pid;
    uint64_t id, op, val;
};

struct pf_as {
    struct refcount refs; /* the owner and every thread */
    pid_t pid;            /* of the process and of its mapper thread */
    int pidfd;

    /* idle: the mapper waits for a list, and @said is what it said last; a second notification
     * of the same (after SIGSTOP and SIGCONT) replaces it. GUARDED_BY(notify.c's lock) */
    struct said said;
    _Atomic(bool) idle;         /* read without the lock too */
    _Atomic(bool) gone;         /* the process is dead or must not be talked to */
    struct list_head hash_link; /* notify.c */
    struct list_head pool_link; /* space.c; GUARDED_BY(template lock) */
    int64_t released_ns;        /* when it came into the pool; GUARDED_BY(template lock) */
    bool lanes_ro;              /* lanes are mapped without the right to write; GUARDED_BY(lock) */
    bool has_rings;             /* something was mapped at STUB_RINGS; GUARDED_BY(lock) */

    struct fmutex lock; /* RANK_PLATFORM: one list at a time */
    uint64_t req_off;
    struct stub_op *req;           /* GUARDED_BY(lock) */
    int mapper_cpu;                /* -1: not pinned yet; GUARDED_BY(lock) */
    bool sync_registered;          /* membarrier; GUARDED_BY(lock) */
    int drops[DROPS_MAX];          /* GUARDED_BY(lock) */
    unsigned drop_count;           /* GUARDED_BY(lock) */
    struct kept_fd kept[FDS_KEPT]; /* GUARDED_BY(lock) */
    unsigned kept_count, kept_next;

    struct spin lanes_lock;       /* RANK_LEAF */
    struct lane_slot_info *lanes; /* GUARDED_BY(lanes_lock); grown with lock held too */
    unsigned lane_count, lane_room;
    struct list_head threads; /* GUARDED_BY(lanes_lock) */
    struct list_head parked;  /* GUARDED_BY(lanes_lock) */
    unsigned births;         /* guest threads that the host was asked for; GUARDED_BY(lanes_lock) */
    unsigned park_count;     /* GUARDED_BY(lanes_lock) */
    bool released;           /* by as_destroy; GUARDED_BY(lanes_lock) */
    uint64_t cpu_claimed_ns; /* of threads that have left; GUARDED_BY(lanes_lock) */
};

struct pf_thread {
    struct pf_as *as;   /* reference */
    struct lane *lane;  /* shared with the guest */
    uint64_t lane_addr; /* in the guest */
    uint64_t lane_off;  /* in the memory file */
    unsigned slot;      /* index in as->lanes */
    pid_t tid;
    struct parked *park; /* memory for when it is told to park */
    bool parking;
    bool open;      /* an event was taken and not answered; owner only */
    uint64_t frame; /* offset of its ucontext in the lane, checked; 0: none; owner only */
    /* what the last posted call left for the thread to do; self_open: and it did not. owner only */
    struct pf_reply self;
    bool self_open;
    _Atomic(bool) interrupting;
    bool roams;            /* its CPUs are all_cpus; owner only */
    struct list_head link; /* as->threads */
    uint64_t cpu_reported_ns;
};

struct trap_state {
    int listener;
    struct pf_as *template;
};
extern struct trap_state g_trap;

/* template.c: start of the template process. 0 or -errno; *ret_listener is the descriptor. */
int template_start(struct pf_as *as, int *ret_listener);

/* notify.c */
void notify_init(void);
void notify_register(struct pf_as *as);   /* pid known: deliver what it has already said */
void notify_unregister(struct pf_as *as); /* dead, not yet reaped */
bool process_gone(struct pf_as *as);
/* Start the list of n operations in as->req. 0, -ESRCH. Lock held, mapper idle. */
int mapper_post(struct pf_as *as, unsigned n);
int mapper_wait(struct pf_as *as);
struct said mapper_said(struct pf_as *as);
void mapper_forget(struct pf_as *as, uint64_t id); /* that notification is void: await another */
/* Threads that will park: expected before they are told. */
void notify_park_expect(struct parked *p);
void notify_park_forget(struct parked *p);
bool notify_park_here(struct parked *p);
/* Send it to its next life, with its lane's guest address. -EAGAIN: it is not here. */
int notify_park_send(struct parked *p, uint64_t lane_addr);
/* Send it to take a known state and come back; has it? Caller: template->lock. */
void notify_park_again(struct parked *p);
bool notify_park_clean(struct parked *p);
void notify_collect(void); /* hand over what has come so far; does not wait */
/* Both. ret_done: operations completed; 0, -errno of the failed one, -ESRCH. */
int mapper_run(struct pf_as *as, unsigned n, unsigned *ret_done, int64_t *ret_val);

/* space.c */
struct pf_as *space_new(void);
void space_put(struct pf_as *as);
void space_kill(struct pf_as *as); /* SIGKILL, wait, reap, release; nobody uses its mapper */
/* What goes before a list's operations @ops, into as->req; operations that change the rights to all
 * lanes, from the n-th on. The count so far. Lock held, mapper idle. */
unsigned space_list_begin(struct pf_as *as, const struct pf_memop *ops, size_t n);
unsigned space_lanes_protect(struct pf_as *as, unsigned n, int prot);
int space_lanes_open(struct pf_as *as); /* threads may write to them again; lock held */
void trap_as_destroy(struct pf_as *as);
int trap_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done);
int trap_fd_donate(struct pf_as *as, int fd, uint64_t key);
bool trap_fd_known(struct pf_as *as, uint64_t key);
void trap_fd_drop(struct pf_as *as, int slot);
int trap_as_pidfd(struct pf_as *as);

/* pool.c */
void space_pool_start(void);
void space_pool_drain(void);
int trap_as_create(struct pf_as **ret);
void trap_as_release(struct pf_as *as);

/* thread.c */
int trap_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                       size_t fpu_len, struct pf_thread **ret);
void trap_thread_destroy(struct pf_thread *t);
struct lane *trap_thread_lane(struct pf_thread *t);
uint64_t trap_thread_lane_addr(struct pf_thread *t);
void trap_thread_set_owner(struct pf_thread *t, uint32_t poller);
void trap_thread_place(struct pf_thread *t);
void trap_thread_interrupt(struct pf_thread *t);
uint64_t trap_thread_cpu_ns(struct pf_thread *t);
/* It is about to be told to end: may it wait for another life instead? */
bool thread_park(struct pf_thread *t);
/* CPU time so far belongs to threads that are gone; clean lanes. All threads are parked and here. */
void threads_renew(struct pf_as *as);

/* event.c */
bool trap_thread_event(struct pf_thread *t, struct pf_event *ret);
void trap_thread_get_regs(struct pf_thread *t, struct pf_regs *ret);
void trap_thread_set_regs(struct pf_thread *t, const struct pf_regs *regs);
size_t trap_thread_get_fpu(struct pf_thread *t, void *buf, size_t size);
int trap_thread_set_fpu(struct pf_thread *t, const void *buf, size_t len);
void trap_thread_reply(struct pf_thread *t, const struct pf_reply *r);
/* Frame that starts a thread. 0, -EINVAL (extended state). */
int frame_build(struct lane *lane, uint64_t lane_addr, const struct pf_regs *regs, const void *fpu,
                size_t fpu_len);
/* The frame that a thread between two lives takes its state from. */
void frame_build_park(uint8_t *at);
#define HANDLED_SIGNALS                                                  \
    {                                                                    \
        SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, TRAP_INTERRUPT \
    }

#endif
