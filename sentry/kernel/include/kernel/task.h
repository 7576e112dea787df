/* SPDX-License-Identifier: Apache-2.0
 * task.h - guest threads (struct task) and processes (struct process), their tree and life.
 *
 * A task is one guest thread: one lane, one host thread, one poller that owns it. A process is a
 * thread group. vfork and CLONE_VM children are processes of their own that share the mm (their
 * threads are host threads of the same stub).
 *
 * Life of a task: task_new (no host thread) -> task_start -> runs -> task_exit (state ZOMBIE once
 * its host thread is told to leave) -> released when reaped (leader) or at once. Process 1 is the
 * Sentry itself: it has no task, adopts orphans and reaps them.
 *
 * Locks: g_pids (RANK_PIDS) guards the pid table, parent/children/group/session links.
 * process->lock (RANK_PROCESS) guards its thread list, signals, exit state. What only the owning
 * task touches needs none and says so.
 */
#ifndef KERNEL_TASK_H
#define KERNEL_TASK_H

#include <stdatomic.h>

#include <signal.h>
#include <sys/resource.h>

#include <abi/types.h>
#include <base/list.h>
#include <base/lock.h>
#include <base/platform.h>
#include <base/refcount.h>
#include <kernel/signal.h>
#include <kernel/timer.h>
#include <kernel/wait.h>

struct mm;
struct memfile;   /* host/memfile.h */
struct fdtable;   /* vfs/fdtable.h */
struct fs_struct; /* vfs/vfs.h: root, cwd, umask */
struct unveil;    /* vfs/unveil.h */
struct file;
struct poller; /* service/ */

#define TASK_CPU_WORDS 16  /* 1024 CPUs */
#define NGROUPS_LIMIT 1024 /* as many as a guest may set; Linux allows 65536 */

struct cred { /* immutable once published; replaced as a whole */
    struct refcount ref;
    uint32_t uid, euid, suid, fsuid;
    uint32_t gid, egid, sgid, fsgid;
    uint64_t cap_permitted, cap_effective, cap_inheritable, cap_bounding, cap_ambient;
    uint32_t securebits;
    uint32_t group_count;
    uint32_t groups[]; /* sorted */
};
struct cred *cred_new(uint32_t uid, uint32_t gid, const uint32_t *groups, uint32_t count);
struct cred *cred_dup(const struct cred *c); /* writable copy; NULL no memory */
struct cred *cred_get(struct cred *c);
void cred_put(struct cred *c);
bool cred_in_group(const struct cred *c, uint32_t gid);
bool cred_capable(const struct cred *c, int cap); /* CAP_* in effective set */

struct pgroup {          /* process group; session leader's is the session's */
    struct refcount ref; /* one a member */
    int32_t pgid, sid;
    struct list_head members; /* process.group_link; g_pids */
    struct list_head hash_link;
};

enum process_state { PROCESS_RUNNING, PROCESS_ZOMBIE, PROCESS_DEAD };

struct process {
    struct refcount ref;
    int32_t pid;
    /* --- g_pids --- */
    struct process *parent; /* holds no reference while alive: reparented before parent dies */
    _Atomic(int32_t) ppid;  /* parent's pid, for readers without the lock */
    struct list_head children, sibling;
    struct pgroup *group;
    struct list_head group_link;
    struct list_head pid_link;
    struct wait_queue child_wait; /* a child changed state */
    struct wait_queue exit_wait;  /* POLLIN: it has become a zombie (pidfds) */

    struct spin lock; /* RANK_PROCESS; below it: */
    enum process_state state;
    struct list_head threads; /* task.thread_link */
    uint32_t thread_count;
    struct task *leader; /* NULL once it has exited and been released */
    struct sig_pending shared_pending;
    bool group_exiting;
    int32_t exit_status;   /* as wait4 reports it */
    _Atomic(bool) stopped; /* written under the lock, read without */
    bool continued_unreported, stop_unreported;
    int32_t stop_signal;
    _Atomic(int32_t)
        cld_notify;       /* CLD_STOPPED, CLD_CONTINUED to tell the parent; 0 (sigdeliver.c) */
    struct task *execing; /* task that waits for the others to leave */
    struct wait_queue exec_wait; /* fires when thread_count becomes 1 */

    struct sighand *sighand; /* shared by CLONE_SIGHAND; own lock */
    struct rlimit rlimits[RLIM_NLIMITS];
    int32_t exit_signal; /* sent to the parent */
    bool vfork_child;    /* parent's task waits in vfork_wait */
    struct wait_queue vfork_wait;
    bool did_exec;
    bool dumpable;
    bool child_subreaper;
    int32_t oom_score_adj;
    struct rusage children_usage; /* reaped children */
    struct rusage own_usage;      /* exited threads */
    int64_t start_ns;             /* monotonic */
    struct itimers *itimers;      /* kernel/itimer.c */
    void *posix_timers;
    struct list_head sem_undos; /* kernel/ipc_sem.c */
    bool tty_given_up;          /* TIOCNOTTY: its session's terminal is not its own any more */
    int32_t tty_old_pgid;       /* leaders: foreground group of a terminal that hung up */
    char comm[TASK_COMM_LEN];   /* of the leader, kept for zombies */
    uint32_t exit_uid;          /* real uid when the last thread left */
    _Atomic(uint32_t) pledge;   /* kernel/pledge.h; written under the lock, read without */
    uint32_t pledge_exec;       /* of what it executes, if set */
    bool pledge_exec_set;
    /* vfs/unveil.h: reference; written under the lock; NULL: nothing is hidden, or no thread is left */
    struct unveil *_Atomic unveil;
    bool unveil_locked; /* nothing is added */
    bool unveil_kept;   /* from before exec: what is added goes over it */
};

enum task_state { TASK_NEW, TASK_RUNNING, TASK_EXITING, TASK_ZOMBIE };

struct task {
    struct refcount ref;
    int32_t tid;
    struct list_head pid_link;    /* g_pids */
    struct list_head thread_link; /* process->lock */
    struct process *process;      /* holds a reference */

    /* owner only (the task's own calls); readers elsewhere take task_*_get() */
    struct mm *mm;
    struct fdtable *fds;
    struct fs_struct *fs;
    struct cred *cred; /* replaced under process->lock */

    struct poller *owner;
    struct pf_thread *thread;
    struct lane *lane;
    struct list_head poll_link; /* service/ */
    _Atomic(void *) service;    /* service/'s own state of this task; free()d with the task */

    /* --- process->lock --- */
    struct lane_ident *ident;      /* in the lane, shared with the guest; NULL: no host thread */
    enum task_state state;         /* RUNNING: thread is there and may be asked for its CPU time */
    _Atomic(sigset_t_abi) blocked; /* written under the lock, read without */
    sigset_t_abi saved_blocked;
    bool restore_blocked; /* sigsuspend, ppoll...: put saved_blocked back after delivery */
    struct sig_pending pending;
    _Atomic(bool) exit_requested; /* leave at the next chance: group exit or exec */

    /* owner only */
    struct call call;      /* the slot call in progress */
    _Atomic(bool) in_call; /* the owner's; /proc reads it */
    stack_abi altstack;
    uint64_t fs_base;
    uint64_t gs_base; /* what the guest has set; 0: never, it is the lane's */
    uint64_t clear_child_tid, set_child_tid;
    uint64_t robust_list;
    uint64_t rseq_addr;
    int32_t pdeath_signal;
    int32_t exit_code;
    bool no_new_privs;
    bool keep_caps;
    uint64_t timer_slack_ns;
    int32_t nice;
    int32_t sched_policy, sched_priority, ioprio; /* stored and told, without effect */
    uint64_t cpu_mask[TASK_CPU_WORDS];            /* the same */
    uint32_t personality;
    char comm[TASK_COMM_LEN]; /* process->lock for other readers */
    int64_t start_ns;
    uint64_t syscalls;  /* served */
    int64_t restart_ns; /* restart_syscall: remaining deadline of nanosleep, poll, futex */
    uint64_t restart_args[6];
    uint32_t restart_nr;
    uint64_t trap_nr, trap_err, trap_addr; /* last fault, for signal frames */
    uint32_t pledge_refused;               /* kernel/pledge.h: for the trace */
};

/* Is a deliverable (unblocked, not ignored) signal or an exit request pending? Owner or any thread; a
 * sender publishes first and interrupts afterwards. */
static inline bool signal_pending(const struct task *t)
{
    const struct process *p = t->process;
    sigset_t_abi pending = atomic_load_explicit(&t->pending.set, memory_order_acquire) |
                           atomic_load_explicit(&p->shared_pending.set, memory_order_acquire);

    return (pending & ~atomic_load_explicit(&t->blocked, memory_order_acquire)) ||
           t->exit_requested || p->stopped;
}

/* Must signal_deliver() run before the guest goes on? Owner only. */
static inline bool signal_work(const struct task *t)
{
    return t->restore_blocked || t->process->cld_notify || signal_pending(t);
}

/* --- table --- */

struct kernel_config {
    uint32_t pid_max; /* most processes + threads at once (--pids) */
    uint32_t uid, gid;
    const char *hostname;
};
int kernel_init(const struct kernel_config *cfg);

struct process *process_init(void); /* pid 1; borrowed */
/* References; NULL if there is none (a zombie is found). */
struct process *process_find(int32_t pid);
struct task *task_find(int32_t tid);
struct process *process_get(struct process *p);
void process_put(struct process *p);
struct task *task_get(struct task *t);
void task_put(struct task *t);
DEFINE_AUTO_PUT(process)
DEFINE_AUTO_PUT(task)
/* Iterate: the process with the lowest pid > after; reference, or NULL. For /proc and kill(-1). */
struct process *process_next(int32_t after);
/* Same for the threads of a process. */
struct task *process_task_next(struct process *p, int32_t after_tid);
/* A reference to what another task's owner may replace; NULL when it has none any more. */
struct mm *task_mm_get(struct task *t);
/* Tasks and zombies now. */
uint32_t kernel_task_count(void);
/* rusage of a process without its children. */
void process_usage(struct process *p, struct rusage *ret);
void rusage_add(struct rusage *sum, const struct rusage *r);
/* Snapshot of another task's credentials: a reference. */
struct cred *task_cred_get(struct task *t);
/* Replace the calling task's; takes over @c. */
void task_cred_set(struct task *t, struct cred *c);
/* Add to @sum how often the guest says to have answered each of LANE_LOCAL_NRS itself; the task's
 * while it runs. */
void lane_local_counts(const struct lane *lane, uint64_t *sum);
void task_local_counts(struct task *t, uint64_t *sum);
/* Name of a thread; @comm is cut to 15 bytes. */
void task_set_comm(struct task *t, const char *comm);
void task_get_comm(struct task *t, char ret[TASK_COMM_LEN]);

/* --- groups and sessions (pgroup.c) --- */

int process_setpgid(struct process *self, int32_t pid, int32_t pgid);
int32_t process_setsid(struct process *p);
/* No member has a parent in another group of the session: nobody would continue it. */
bool process_group_orphaned(struct process *p);
/* -ESRCH: none. */
int32_t process_pgid_of(int32_t pid);
bool pgroup_exists(int32_t pgid);
int32_t process_sid_of(int32_t pid);
int32_t process_ppid(struct process *p);

extern struct spin g_pids;
extern struct kernel_state {
    char hostname[65], domainname[65];
    uint32_t pid_max;
    uint32_t cpus; /* that guests see; kernel_init: the host's online ones */
    int64_t boot_monotonic_ns;
    uint64_t host_memory_bytes; /* all of the host's, as told at the start */
    struct memfile *memfile;    /* set by boot; NULL: sysinfo tells the host's memory */
    struct spin lock;           /* RANK_LEAF: the names */
} g_kernel;

/* While it is on, no guest answers getpid and its like itself: each comes as a call, for those who
 * look at calls (ident.c). Any thread, one at a time. */
void task_ident_withhold(bool on);

/* The call that runs on this stack now (the dispatcher has put it there as the fiber's pointer),
 * and its task; NULL outside one. */
struct call *call_current(void);
struct task *task_current(void);

/* --- creation (clone.c) --- */

struct clone_args_k { /* decoded clone, clone3, fork, vfork */
    uint64_t flags;
    int32_t exit_signal;
    uint64_t stack; /* top; 0 = parent's */
    uint64_t tls, parent_tid, child_tid;
    struct process **ret_process; /* NULL, or set to a reference to the child's process */
};
/* Child of @parent as asked; regs are the parent's at the call. Returns the child's tid or -errno
 * (-EINVAL flag combinations, -EAGAIN limits, -ENOMEM). */
int64_t task_clone(struct task *parent, const struct clone_args_k *a, const struct pf_regs *regs);

/* vfork: has the child let go of the memory (exec or exit)? */
bool process_vfork_done(struct process *child);
/* exec, exit: the parent that waits may go on. */
void process_vfork_release(struct process *p);

/* exec by a thread group: make the other threads leave. true: @t is alone. @t waits on exec_wait
 * otherwise and asks again. */
bool process_exec_alone(struct task *t);
void process_exec_abort(struct task *t);
/* The lone thread takes over the leader's tid. */
void task_become_leader(struct task *t);
/* The point of no return: gives up what the old program had in the kernel (alternate stack, robust
 * list, pending vfork ...), takes over @mm and starts it. After it the task runs the new program,
 * or, on error, is gone. May park. */
void task_exec_commit(struct task *t, struct mm *mm, struct sighand *sighand,
                      const struct pf_regs *regs, const char *comm);

/* A process that nobody inside has made, in a session of its own; when the first one of them ends,
 * init_exited is called. Takes over mm, fds, fs, cred, also on error: -EAGAIN limits, -ENOMEM. May park. */
int process_create_root(struct mm *mm, struct fdtable *fds, struct fs_struct *fs, struct cred *cred,
                        const struct pf_regs *regs, const char *comm, int32_t nice,
                        struct process **ret);

/* --- end (exit.c) --- */

/* Ends the calling task. May park. After it the task does not run again; the dispatcher must not
 * touch its lane any more: it returns SYS_NORETURN. */
void task_exit(struct task *t, int32_t status);
/* Whole group: marks it, makes the other threads leave; caller still calls task_exit for itself. */
void process_exit_group(struct process *p, int32_t status);
/* Has this task been told to leave (group exit, another thread's exec)? Any thread. */
bool task_must_exit(struct task *t);
/* From any context, e.g. the stub died, protocol violation, OOM: as by a fatal signal. */
void process_kill(struct process *p, int32_t signo);

/* wait4/waitid: see exit.c */
struct wait_result {
    int32_t pid, status, uid;
    int32_t code, value; /* CLD_*, exit status or signal */
    struct rusage usage;
};
#define WAIT_FOR_ANY 0 /* not WAIT_ANY: sys/wait.h has one */
#define WAIT_FOR_PID 1
#define WAIT_FOR_PGID 2
/* > 0 pid with *ret filled; 0 nothing yet (WNOHANG or park); -ECHILD. @options: WNOHANG WEXITED ...
 */
int64_t process_wait(struct process *p, int kind, int32_t id, int options, struct wait_result *ret);

/* Hooks into higher layers (set once at boot; vfs, files and service are above the kernel). */
struct kernel_hooks {
    /* references for a child: share or copy */
    int (*fds_clone)(struct fdtable *from, bool share, struct fdtable **ret);
    void (*fds_put)(struct fdtable *f);
    int (*fs_clone)(struct fs_struct *from, bool share, struct fs_struct **ret);
    void (*fs_put)(struct fs_struct *f);
    struct unveil *(*unveil_get)(struct process *p); /* NULL, both: nothing is ever hidden */
    void (*unveil_put)(struct unveil *u);
    /* service/ */
    int (*task_attach)(struct task *t,
                       struct task *near_or_null); /* choose an owner, begin polling its lane */
    void (*task_detach)(struct task *t); /* stop polling; releases the host thread (reply EXIT) */
    /* Before the task gives up files, credentials or memory for good: its calls in submission
     * queues are cancelled and have ended on return. May park. */
    void (*task_quiesce)(struct task *t);
    void (*task_kick)(struct task *t); /* something is pending: its owner must look (any thread) */
    /* The leader of session @sid has ended. May park. */
    void (*session_ended)(struct process *leader, int32_t sid);
    void (*process_gone)(int32_t pid); /* it has left the tables. May park. */
    void (*init_exited)(struct process *first,
                        int32_t status); /* the sandbox's command has ended */
    /* robust futex list and clear_child_tid at exit: kernel/futex.c, same layer */
};
extern struct kernel_hooks g_kernel_hooks;

/* Backend in use; set by kernel_init's caller before the first task. Handlers that need registers
 * (rows with SQ_NO) find them through it: the call came by trap. */
extern const struct platform_ops *g_platform;

#endif
