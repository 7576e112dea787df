/* SPDX-License-Identifier: Apache-2.0
 * platform.h - what a platform backend offers the Sentry: host processes as address spaces, host
 * threads as guest threads, and their events as messages.
 *
 * Everything a guest thread reports (registers, frame, event words) may be a lie; the backend
 * copies it once, checks it, and answers PF_EVENT_VIOLATION when it cannot be true. What the guest
 * may say about itself (its own registers) is passed on as it stands.
 */
#ifndef BASE_PLATFORM_H
#define BASE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/compiler.h>

struct lane;    /* ring/abi.h */
struct memfile; /* host/memfile.h */
struct ring_poller_word;
struct pf_as;     /* address space: one host process */
struct pf_thread; /* guest thread: one host thread of it */

/* x86-64 registers in the order of the kernel's struct sigcontext. */
struct pf_regs {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
        eflags;
    uint64_t fs_base, gs_base;
};

/* Extended state: XSAVE image in the kernel's signal-frame format. */
#define PF_FPU_MAX 3072

enum pf_op {
    PF_MAP,      /* map [addr, addr+len) from fd slot `fd` at `off`, MAP_SHARED|MAP_FIXED */
    PF_UNMAP,    /* remove mappings */
    PF_PROTECT,  /* change rights */
    PF_POPULATE, /* MADV_POPULATE_WRITE (prot has PROT_WRITE) or _READ; failure is not an error */
    PF_ADVISE,   /* madvise(addr, len, off) */
    PF_SYNC,     /* membarrier: all threads of the process see text written before */
};
#define PF_MAP_POPULATE 1u /* op.flags */
#define PF_FD_MEMFILE 0    /* op.fd: the memory file; others come from fd_donate */

struct pf_memop {
    uint32_t op; /* enum pf_op */
    int32_t prot;
    uint32_t flags;
    int32_t fd;
    uint64_t addr, len, off;
};

enum pf_event_kind {
    PF_EVENT_NONE,
    PF_EVENT_SYSCALL,     /* nr, args; regs in the frame; rip behind the syscall instruction */
    PF_EVENT_FAULT,       /* addr, access, signo (SIGSEGV or SIGBUS), si_code, trapno */
    PF_EVENT_EXCEPTION,   /* signo (ILL, FPE, TRAP, SEGV without address), si_code, addr */
    PF_EVENT_INTERRUPTED, /* answer to thread_interrupt */
    PF_EVENT_DIED,        /* the thread's process is gone */
    PF_EVENT_VIOLATION,   /* protocol violation: kill the process that owns the lane */
};

#define PF_ACCESS_READ 1u
#define PF_ACCESS_WRITE 2u
#define PF_ACCESS_EXEC 4u

struct pf_event {
    uint32_t kind;
    uint32_t nr;      /* SYSCALL; UINT32_MAX when it did not come by the x86-64 ABI */
    uint64_t args[6]; /* SYSCALL */
    uint64_t rip;
    uint64_t addr;
    uint32_t access;
    int32_t signo, si_code;
    uint32_t trapno, err; /* as in the host frame */
    bool in_posted_call;  /* INTERRUPTED: its call waits to be taken. EXCEPTION: step in the stub */
};

/* What the thread does before it goes on. Zero-initialise; PF_REPLY_RET is the common case. */
enum pf_reply_kind {
    PF_REPLY_RET,    /* rax = val in the frame, go on behind the syscall */
    PF_REPLY_RESUME, /* go on with the registers as set by thread_set_regs (or untouched) */
    PF_REPLY_EXIT,   /* end this host thread; its slots answer no more */
};
struct pf_reply {
    uint32_t kind;
    bool posted;     /* to the call slot, not to an event: no RESUME, no set_gs */
    bool wake_later; /* the caller wakes the thread if it has parked: lane->guest says */
    uint64_t val;
    bool set_fs, set_gs; /* load base first: one of them at most */
    uint64_t base;
    uint32_t self_op; /* 0 or what the thread does to itself first: PF_SELF_* */
    uint64_t self_addr, self_len;
};
#define PF_SELF_UNMAP 1u        /* munmap(addr, len) */
#define PF_SELF_PROTECT_NONE 2u /* mprotect(addr, len, PROT_NONE) */
#define PF_SELF_POPULATE 3u     /* madvise(addr, len, MADV_POPULATE_WRITE) */
#define PF_SELF_PROTECT_READ 4u /* mprotect(addr, len, PROT_READ) */

struct pf_limits {
    uint64_t user_min, user_max; /* addresses a guest may use: [user_min, user_max) */
    uint32_t max_processes;
    uint32_t max_threads_per_as;
    /* The host's vDSO, which stays mapped in every address space, beyond user_max: its data in [vdso_data,
     * vdso), its code in [vdso, vdso_end), which the Sentry has at the same addresses. vdso 0: none.
     * Its fallback calls arrive like any other. */
    uint64_t vdso_data, vdso, vdso_end;
};

struct platform_ops {
    const char *name;

    /* Why it cannot work on this host, or NULL. Pure check, for doctor and auto choice. */
    const char *(*unavailable)(void);

    /* Before the Sentry confines itself: template process, filters. @mf is the memory file. */
    int (*init)(struct memfile *mf, const char *guest_cpus);
    void (*fini)(void);
    void (*limits)(struct pf_limits *ret);

    /* Address spaces. as_create: 0, -EAGAIN (host limit), -ENOMEM. as_destroy kills every thread
     * in it and returns when none can run any more. Both may take milliseconds? no: <= 300 us. */
    int (*as_create)(struct pf_as **ret);
    void (*as_destroy)(struct pf_as *as);
    /* The same for a process that ended in good order: all of its threads were told to exit, no
     * pf_thread is left. What it had mapped is gone when it returns; the host process may be kept
     * for another address space. NULL member: as_destroy. */
    void (*as_release)(struct pf_as *as);

    /* Execute a list in order, stop at the first error; blocks the poller (20..90 us). *ret_done
     * (may be NULL) = operations completed. 0, -errno of the failed one, -ESRCH process gone.
     * Serialised per address space by the backend. */
    int (*as_run)(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done);

    /* Give the address space a duplicate of host descriptor @fd for PF_MAP. Returns slot or -errno.
     * @key: names the open file for ever, and one that was dropped may be kept and used again
     * under that name, also by a later address space; 0: not to be kept. */
    int (*fd_donate)(struct pf_as *as, int fd, uint64_t key);
    void (*fd_drop)(struct pf_as *as, int slot);
    /* Would fd_donate() with this key cost nothing? NULL member: no. */
    bool (*fd_known)(struct pf_as *as, uint64_t key);

    /* Guest threads. The new thread starts with @regs (fs_base included) and, when @fpu is not
     * NULL, extended state. -EAGAIN at a host limit, -ESRCH. */
    int (*thread_create)(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                         size_t fpu_len, struct pf_thread **ret);
    /* After PF_REPLY_EXIT or as_destroy: release. */
    void (*thread_destroy)(struct pf_thread *t);
    struct lane *(*thread_lane)(struct pf_thread *t);               /* the Sentry's mapping */
    uint64_t (*thread_lane_addr)(struct pf_thread *t);              /* guest address of the lane */
    void (*thread_set_owner)(struct pf_thread *t, uint32_t poller); /* whose doorbell it rings */

    /* May guest threads use the CPUs of the pollers too? Holds for threads to come; others follow
     * when they are placed. NULL members: threads are where the host puts them. */
    void (*threads_roam)(bool roam);
    void (*thread_place)(struct pf_thread *t);

    /* Make a running thread report PF_EVENT_INTERRUPTED. Idempotent until answered. The caller
     * enforces a deadline (then kills the process): the guest can block the host signal. */
    void (*thread_interrupt)(struct pf_thread *t);

    /* Take the pending event, if any: false when the event slot is empty. The event stays open
     * until thread_reply. Poller that owns the thread only, as for all below. */
    bool (*thread_event)(struct pf_thread *t, struct pf_event *ret);
    void (*thread_get_regs)(struct pf_thread *t, struct pf_regs *ret);
    void (*thread_set_regs)(struct pf_thread *t, const struct pf_regs *regs);
    /* Extended state of the open event's frame: copies out / in. get returns the length. */
    size_t (*thread_get_fpu)(struct pf_thread *t, void *buf, size_t size);
    int (*thread_set_fpu)(struct pf_thread *t, const void *buf, size_t len);
    void (*thread_reply)(struct pf_thread *t, const struct pf_reply *r);

    /* Host-side handles: descriptor that polls readable when the process has died; -1 if none. */
    int (*as_pidfd)(struct pf_as *as);
    /* User CPU time used by the thread, ns (0 if unknown). */
    uint64_t (*thread_cpu_ns)(struct pf_thread *t);

    /* RO_POLLERS words that say which pollers sleep, for whoever posts; valid after init(). */
    struct ring_poller_word *(*poller_words)(void);

    /* Guest address to which code may jump to post a call instead of trapping (rax = number, rcx =
     * address behind the site's own syscall instruction, where it goes on; preserves all but rax,
     * rcx, r11), the same in every address space. NULL member or 0: calls only trap. */
    uint64_t (*post_addr)(void);
    /* thread_reply() answers posted calls too. Else such a call is answered with a result or SLOW only. */
    bool replies_posted;

    /* Where the jump goes instead when the number is known to be @nr: code that answers from what the
     * lane's ident says (ring/abi.h), with the same registers. NULL member or 0: none for this call. */
    uint64_t (*local_addr)(uint32_t nr);

    /* Print filters for `doctor --filters`; returns lines printed. */
    int (*print_filters)(void);
};

#endif
