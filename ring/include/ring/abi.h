/* SPDX-License-Identifier: Apache-2.0
 * abi.h - layout of the lane: the memory shared by one guest thread and the Sentry.
 *
 * Read by C and by the assembler. A lane is a page of message lines followed by the alternate
 * signal stack of its thread. Every line has one writer at a time:
 *
 *   call   slot of synchronous calls: the guest writes it and sets state = POSTED; the Sentry
 *          overwrites it with the reply and sets state = FREE
 *   event  the same for what the signal handler posts (trapped call, fault, interrupt)
 *   guest  words the guest writes and the Sentry reads: parked flags, doorbell
 *   sentry words the Sentry writes (demoted, SQ credit, spins, yields): for the guest's eyes, never read
 *          back
 *   priv   private to the guest thread
 *   ident  what the thread is (pid, uid ...), written by the Sentry: calls that only ask for it are
 *          answered from here without a message. A thread that overwrites it deceives its own process
 *   local  how often it did so; the guest counts, the Sentry shows it
 *
 * The Sentry copies a slot once, checks the copy and uses the copy.
 */
#ifndef RING_ABI_H
#define RING_ABI_H

/* Raise it with every change of what a program with libringbox inside relies on: another number, and
 * it makes plain calls. Addresses are told by RING_CTL_SETUP and may change without. */
#define RING_ABI_VERSION 2
/* Reserved call number: ENOSYS natively; inside a sandbox arg0 = a RING_CTL_* command. */
#define RING_CTL_NR 4095
#define RING_CTL_VERSION 0 /* returns RING_ABI_VERSION */
#define RING_CTL_SETUP 1   /* arg1 = struct ring_setup *: creates and maps SQ and CQ */
#define RING_CTL_KICK 2    /* the poller may sleep: this call's own trap wakes it */
#define RING_CTL_WAIT 3    /* until more than arg1 (modulo 2^32) completions have been written */
#define RING_CTL_IDLE 4    /* until the call in the call slot has been answered */
#define RING_CTL_CLOSE 5   /* cancels what is in flight, unmaps SQ and CQ */
/* Where nothing posts, too: strings or NULL (sentry/syscall/sys_policy.c). */
#define RING_CTL_PLEDGE 6 /* arg1 = promises, arg2 = those of executed programs */
#define RING_CTL_UNVEIL 7 /* arg1 = path, arg2 = letters; both NULL: no more */

/* One region, the same in every stub, sharing its upper 32 address bits below (seccomp compares
 * one high word and a range of low words). Guests may use addresses below STUB_REGION. It lies below
 * where the host puts its own mappings (they begin within 1 TiB + 32 GiB of the end), and so high that
 * a guest's stack and mappings are where ThreadSanitizer wants them, above 0x7e8000000000. */
#define STUB_REGION 0x7ef000000000
#define STUB_TEXT STUB_REGION /* read, execute */
#define STUB_TEXT_SIZE 0x10000
#define STUB_REQ 0x7ef000010000 /* mapper lists and filters; read-only to the guest */
#define STUB_REQ_SIZE 0x10000
#define STUB_RO 0x7ef000020000 /* read-only page of the process; poller words */
#define STUB_RO_SIZE 0x10000
#define STUB_LANES 0x7ef000100000
#define LANE_SIZE 0x8000 /* lane and alternate stack */
#define LANE_COUNT 4096
#define STUB_LANES_END (STUB_LANES + LANE_COUNT * LANE_SIZE)
#define STUB_RINGS \
    0x7ef010000000 /* SQ and CQ of lanes that asked: lane i's at i * RING_SLOT_SIZE */
#define RING_SLOT_SIZE 0x80000
#define STUB_REGION_END 0x7ef080000000

/* Offsets in a lane */
#define LANE_CALL 0
#define LANE_EVENT 64
#define LANE_GUEST 128
#define LANE_SENTRY 192
#define LANE_SPINS (LANE_SENTRY + 12)
#define LANE_YIELDS (LANE_SENTRY + 16)
#define LANE_PRIV 256
#define LANE_PRIV_SIZE 256
#define LANE_TID 512    /* cleared by the host when the thread is gone */
#define LANE_IDENT 576  /* valid, then a word for each IDENT_* */
#define LANE_LOCAL 640  /* a counter for each LANE_LOCAL_NRS */
#define LANE_STACK 4096 /* alternate stack to the end of the lane */

/* slot.state */
#define SLOT_FREE 0
#define SLOT_POSTED 1 /* event slot: the host signal number instead */

/* call slot reply, in slot.nr */
#define CALL_DONE 0 /* arg[0] is the result */
#define CALL_SLOW 1 /* not taken: make the call again by trap */
#define CALL_SELF \
    2 /* first execute syscall arg[1] with arguments arg[2..4]; arg[0] is the result */
#define CALL_PARK 3 /* as EVENT_PARK */
#define CALL_EXIT 4 /* as EVENT_EXIT */

/* event slot reply, in slot.nr */
#define EVENT_RET 0    /* rax = arg[0] */
#define EVENT_RESUME 1 /* frame edited or unchanged */
#define EVENT_EXIT 2   /* end this thread */
#define EVENT_PARK 3   /* wait for another life of this thread, where only the Sentry can end it */
/* or-ed to the above: first execute syscall arg[1] with arguments arg[2..4] (munmap, mprotect,
 * madvise: what the filter allows) */
#define EVENT_SELF 0x100
#define EVENT_SET_FS 0x200  /* first arch_prctl(ARCH_SET_FS, arg[5]) */
#define EVENT_SET_GS 0x400  /* first point GS base at the lane */
#define EVENT_OWN_GS 0x1000 /* first arch_prctl(ARCH_SET_GS, arg[5]) */

/* Words of the identity. */
#define IDENT_PID 0
#define IDENT_TID 1
#define IDENT_PPID 2
#define IDENT_UID 3
#define IDENT_EUID 4
#define IDENT_GID 5
#define IDENT_EGID 6
#define IDENT_PGID 7
#define IDENT_SID 8
#define IDENT_COUNT 9

/* Calls answered from the identity, in the order of their counters: getpid, gettid, getppid, getuid,
 * geteuid, getgid, getegid, getpgrp (each asks for the identity word of its own place), getpgid(0),
 * getsid(0). */
#define LANE_LOCAL_NRS                                  \
    {                                                   \
        39, 186, 110, 102, 107, 104, 108, 111, 121, 124 \
    }
#define LANE_LOCAL_COUNT 10

#ifndef __ASSEMBLER__
#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct lane_slot {
    _Atomic(uint32_t) state;
    uint32_t nr;
    uint64_t arg[6];
    uint64_t aux; /* events: guest address of the ucontext */
};

/* Written by the guest. */
struct lane_guest {
    _Atomic(uint32_t) call_parked;  /* about to sleep on call.state */
    _Atomic(uint32_t) event_parked; /* about to sleep on event.state */
    _Atomic(uint32_t) doorbell;     /* set when the poller sleeps */
    _Atomic(uint32_t) cpu;          /* where it last rang or parked, low 12 bits: a hint */
    uint64_t fs_base;               /* read by the handler where rdfsbase exists */
    uint64_t reserved[5];
};

/* Written by the Sentry. */
struct lane_sentry {
    _Atomic(uint32_t) demoted; /* this lane is not polled: ring the bell */
    _Atomic(uint32_t) poller;  /* index of the owner's word in the read-only page */
    _Atomic(uint32_t) sq_taken;
    _Atomic(uint32_t)
        spins; /* looks for an answer before the thread parks; 0: it parks at once, also
                                when it has already begun to look */
    _Atomic(uint32_t)
        yields; /* after these so many more with a sched_yield before each; 0 as above */
    uint32_t reserved4;
    uint64_t reserved[5];
};

/* Written by the Sentry. valid = 0 (a new lane): ask by a message. */
struct lane_ident {
    _Atomic(uint32_t) valid;
    _Atomic(uint32_t) id[IDENT_COUNT];
    uint32_t reserved[6];
};

struct lane {
    struct lane_slot call;
    struct lane_slot event;
    struct lane_guest guest;
    struct lane_sentry sentry;
    uint64_t priv[LANE_PRIV_SIZE / 8];
    _Atomic(uint32_t) tid;
    uint32_t reserved[15];
    struct lane_ident ident;
    uint64_t local[LANE_LOCAL_COUNT]; /* written by the guest */
};

/* Sentry-written, mapped read-only at STUB_RO in every stub. One word a poller: 0 = awake,
 * 1 = asleep (or about to): FUTEX_WAKE it. Each on its own line. */
#define RO_POLLERS 64
struct ring_poller_word {
    _Atomic(uint32_t) asleep;
    uint32_t pad[15];
};

/* Submission entry and completion. tag = lap number of the ring, stored last with release; the
 * consumer looks at the entry itself. Lap 0 is never used (zeroed memory is empty). */
struct ring_sqe {
    _Atomic(uint32_t) tag;
    uint16_t nr;
    uint16_t flags; /* SQE_* */
    uint64_t args[6];
    uint64_t user_data;
};
#define SQE_LINK 1u  /* the next entry starts when this one has succeeded, else -ECANCELED */
#define SQE_DRAIN 2u /* starts when all earlier entries have completed */

struct ring_cqe {
    uint64_t user_data;
    int64_t result;
    uint32_t flags;
    uint32_t sq_taken; /* entries taken so far: credit for the producer */
    uint32_t reserved;
    _Atomic(uint32_t) tag;
};

struct ring_setup {
    uint32_t sq_entries, cq_entries; /* in: powers of two, 1..RING_MAX_ENTRIES; cq >= sq */
    uint64_t sq_addr, cq_addr;       /* out */
    uint64_t lane_addr;              /* out */
    uint64_t pollers_addr;           /* out: RO_POLLERS struct ring_poller_word */
};
#define RING_MAX_ENTRIES 4096u

static_assert(sizeof(struct lane_slot) == 64, "one line");
static_assert(sizeof(struct lane_guest) == 64, "one line");
static_assert(sizeof(struct lane_sentry) == 64, "one line");
static_assert(sizeof(struct ring_sqe) == 64, "one line");
static_assert(sizeof(struct ring_cqe) == 32, "half a line");
static_assert(sizeof(struct ring_poller_word) == 64, "one line");
static_assert(offsetof(struct lane, call) == LANE_CALL, "ABI");
static_assert(offsetof(struct lane, event) == LANE_EVENT, "ABI");
static_assert(offsetof(struct lane, guest) == LANE_GUEST, "ABI");
static_assert(offsetof(struct lane, sentry) == LANE_SENTRY, "ABI");
static_assert(offsetof(struct lane, sentry.spins) == LANE_SPINS, "ABI");
static_assert(offsetof(struct lane, sentry.yields) == LANE_YIELDS, "ABI");
static_assert(offsetof(struct lane, priv) == LANE_PRIV, "ABI");
static_assert(offsetof(struct lane, tid) == LANE_TID, "ABI");
static_assert(offsetof(struct lane, ident) == LANE_IDENT, "ABI");
static_assert(offsetof(struct lane, local) == LANE_LOCAL, "ABI");
static_assert(sizeof(struct lane_ident) == 64, "one line");
static_assert(sizeof(struct lane) <= LANE_STACK, "below the alternate stack");
#endif
#endif
