/* SPDX-License-Identifier: Apache-2.0
 * internal.h - shared by the files of the ptrace platform. */
#ifndef PTRACE_INTERNAL_H
#define PTRACE_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* <sys/user.h> has another PAGE_SIZE and PAGE_MASK than base/compiler.h. */
#pragma push_macro("PAGE_SIZE")
#pragma push_macro("PAGE_MASK")
#undef PAGE_SIZE
#undef PAGE_MASK
#include <sys/user.h>
#pragma pop_macro("PAGE_SIZE")
#pragma pop_macro("PAGE_MASK")

#include <base/list.h>
#include <base/lock.h>
#include <base/platform.h>
#include <base/refcount.h>
#include <ring/abi.h>
#include <stubs/stubs.h>

#define PARKS_MAX 4         /* host threads of one address space kept after their end */
#define POOL_MAX 3          /* stub processes forked ahead */
#define USED_MAX 6          /* stub processes kept from address spaces that ended */
#define XSTATE_MAX 16384    /* bytes of the host's extended state */
#define TRACER_KICK SIGUSR1 /* to the tracer */
#define FAULT_SIGNALS                   \
    {                                   \
        SIGSEGV, SIGBUS, SIGILL, SIGFPE \
    }

/* A host thread of a stub process. All of it is the tracer's alone. */
struct tracee {
    struct list_head hash_link; /* by tid */
    struct list_head link;      /* as->tracees; as->parked when it waits for another life */
    struct list_head late_link; /* its status came while the tracer waited for another one */
    int late_status;
    struct pf_as *as;
    struct pf_thread *thread; /* NULL: mapper, or between two lives */
    pid_t tid;
    unsigned slot; /* its lane's; not the mapper's */
    bool running, dead, parked;
};

struct lane_info {
    uint64_t off;  /* in the memory file; 0: none yet */
    unsigned refs; /* its host thread's and its lives' */
};

struct pf_as {
    struct refcount refs; /* the owner and every thread */
    pid_t pid;            /* of the process and of its mapper thread */
    int pidfd;
    _Atomic(bool) gone; /* the process is dead or must not be talked to */

    /* the tracer's alone */
    struct tracee mapper;
    struct list_head tracees, parked;
    struct list_head pool_link;
    unsigned alive, park_count; /* host threads but the mapper; of these parked */
    uint64_t req_off;
    struct stub_op *req;
    struct lane_info *lanes;
    unsigned lane_count, lane_room;
    struct host_file **files; /* fds.c */
    unsigned file_count, file_room;
    bool has_rings;       /* something was mapped at STUB_RINGS */
    bool sync_registered; /* membarrier */
    bool destroyed;

    struct spin lock;         /* RANK_LEAF: for the CPU time */
    struct list_head threads; /* GUARDED_BY(lock) */
    uint64_t cpu_claimed_ns;  /* of threads that have left; GUARDED_BY(lock) */
};

#define WANT_RESUME 1u
#define WANT_INTERRUPT 2u
#define WANT_FREE 4u

#define DIRTY_RAX 1u
#define DIRTY_REGS 2u
#define DIRTY_FPU 4u

/* A guest thread. Between tracer and owner goes one token: who has it owns event, regs, fpu, reply. The
 * tracer gives it with `posted`, the owner gives it back with WANT_RESUME. */
struct pf_thread {
    struct pf_as *as; /* reference */
    struct lane *lane;
    uint64_t lane_addr;
    struct tracee *host; /* the tracer's; NULL: it has left */
    pid_t tid;
    bool roams; /* its CPUs are all_cpus; owner only */
    _Atomic(uint32_t) poller;
    _Atomic(bool) posted;
    _Atomic(bool) interrupting;
    bool open; /* an event was taken and not answered; owner only */

    struct pf_event event;
    struct user_regs_struct regs;
    uint32_t dirty;
    struct pf_reply reply;
    uint8_t *fpu; /* as the host gives it; valid with DIRTY_FPU or fpu_known */
    bool fpu_known;

    struct list_head want_link; /* GUARDED_BY(queue's lock) */
    uint32_t wants;             /* GUARDED_BY(queue's lock) */

    bool interrupt_pending; /* came while it was stopped; the tracer's */
    struct list_head link;  /* as->threads */
    uint64_t cpu_reported_ns;
};

/* Something the tracer is to do while the caller waits. */
struct request {
    struct list_head link;
    void (*run)(struct request *r);
    _Atomic(uint32_t) state;
};

/* --- tracer.c --- */
struct tracer {
    pthread_t thread;
    pid_t tid;
    bool spin; /* it may look for answers a while: nobody else needs its CPU */
    struct pf_as *template;
    uint32_t xstate_size; /* of NT_X86_XSTATE here */
    uint64_t cs, ss;      /* user code's */
    bool wall;            /* guest threads install the filter at GLOBALS_FPROG */
    unsigned open_events; /* posted and not answered */
    unsigned running;     /* guest threads that run */
};
extern struct tracer g_tracer;

int tracer_start(void);
void tracer_stop(void);
void tracer_do(struct request *r); /* any thread but the tracer: returns when it is done */
void tracer_want(struct pf_thread *t, uint32_t want);
void tracer_roam(bool roam);

void tracee_add(struct tracee *t, struct pf_as *as, pid_t tid);
void tracee_forget(struct tracee *t);

/**
 * tracee_wait - until @t stops or dies; what others say meanwhile is kept.
 * Return: wait status; it is dead when it says so (t->dead).
 */
int tracee_wait(struct tracee *t);
/* A thread that nobody knows stopped: the child of the clone that was just made. Its tid, 0: gone. */
bool tracer_newborn(pid_t tid);

/* --- tracee.c: all of the tracer's thread. 0, -ESRCH: it is dead or dying. --- */
int tracee_get_regs(struct tracee *t, struct user_regs_struct *ret);
int tracee_set_regs(struct tracee *t, const struct user_regs_struct *regs);
int tracee_get_fpu(struct tracee *t, uint8_t *buf);
int tracee_set_fpu(struct tracee *t, const uint8_t *buf);
/* The state of a new thread: nothing of the Sentry's. */
void xstate_init(uint8_t *buf);
/* To and from the format of a signal frame (base/platform.h). -EINVAL. */
void xstate_to_frame(const uint8_t *buf, uint8_t *frame);
int xstate_from_frame(uint8_t *buf, const uint8_t *frame, size_t len);
void regs_init(struct user_regs_struct *r);
/**
 * tracee_list - let a stopped thread execute the list of @n operations in its address space's request
 * pages. Nothing of the guest's is used: register-only code, read-only pages.
 * @ret_done: operations completed; @ret_val: result of the last one
 * Return: 0, -errno of the failed one, -ESRCH.
 */
int tracee_list(struct tracee *t, unsigned n, unsigned *ret_done, int64_t *ret_val);
void tracee_exit(struct tracee *t);      /* let it end itself; that will be heard */
void tracee_interrupt(struct tracee *t); /* one that runs */
/* What the frame of a pending fault signal says that the tracer is not told otherwise. False: died. */
bool tracee_fault_detail(struct tracee *t, struct pf_thread *g, int signo, uint32_t *ret_trapno,
                         uint32_t *ret_err);

/* --- space.c --- */
struct pf_as *tspace_new(void);
void tspace_put(struct pf_as *as);
int tspace_first(void);
void tspace_pool_drain(void);
bool tspace_pool_refill(void); /* one more, if there is room; true: it made one */
void tspace_died(struct pf_as *as);
void tspace_kill(struct pf_as *as); /* and release */
int ptrace_as_create(struct pf_as **ret);
void ptrace_as_destroy(struct pf_as *as);
void ptrace_as_release(struct pf_as *as);
int ptrace_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done);
int ptrace_as_pidfd(struct pf_as *as);
int tspace_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done);

/* --- fds.c --- */
int fds_open(void);
int fds_leave(void);
void fds_close(void);
void fds_drop_all(struct pf_as *as);
int ptrace_fd_donate(struct pf_as *as, int fd, uint64_t key);
bool ptrace_fd_known(struct pf_as *as, uint64_t key);
void ptrace_fd_drop(struct pf_as *as, int slot);

/* --- thread.c --- */
int ptrace_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                         size_t fpu_len, struct pf_thread **ret);
void ptrace_thread_destroy(struct pf_thread *t);
struct lane *ptrace_thread_lane(struct pf_thread *t);
uint64_t ptrace_thread_lane_addr(struct pf_thread *t);
void ptrace_thread_set_owner(struct pf_thread *t, uint32_t poller);
void ptrace_thread_interrupt(struct pf_thread *t);
uint64_t ptrace_thread_cpu_ns(struct pf_thread *t);
void thread_wanted(struct pf_thread *t, uint32_t wants); /* tracer */
void thread_free(struct pf_thread *t);                   /* tracer */
void host_free(struct tracee *host);                     /* tracer: it is dead */
void ptrace_thread_place(struct pf_thread *t);

/* --- event.c --- */
void event_stopped(struct tracee *t, int status); /* tracer: a guest thread stopped or died */
void event_resume(struct pf_thread *t); /* tracer: let it run, or tell that it was interrupted */
bool ptrace_thread_event(struct pf_thread *t, struct pf_event *ret);
void ptrace_thread_get_regs(struct pf_thread *t, struct pf_regs *ret);
void ptrace_thread_set_regs(struct pf_thread *t, const struct pf_regs *regs);
size_t ptrace_thread_get_fpu(struct pf_thread *t, void *buf, size_t size);
int ptrace_thread_set_fpu(struct pf_thread *t, const void *buf, size_t len);
void ptrace_thread_reply(struct pf_thread *t, const struct pf_reply *r);
void regs_from_guest(struct user_regs_struct *to, const struct pf_regs *from);

#endif
