/* SPDX-License-Identifier: Apache-2.0
 * stub.h - what the stub text and the platform that copies it agree on; for C and assembler.
 *
 * The stub is linked into the Sentry and copied to STUB_TEXT of every address space. Its entry
 * points are offsets from stub_start.
 */
#ifndef GUESTLIB_STUB_H
#define GUESTLIB_STUB_H

#include <ring/abi.h>

/* The mapper's "give me work": a number Linux does not have, caught by user notification at exactly
 * one instruction. arg0 = address of the operation where the list stopped, arg1 = last result. */
#define STUB_NR_NOTIFY 1000
/* A guest thread's "I may be used again", also at one instruction. What it is answered with is the
 * address of its lane, where the frame of its next life lies; STUB_PARK_AGAIN: take the known state
 * and say it once more; less ends it. */
#define STUB_NR_PARK 1001
#define STUB_PARK_AGAIN 1
/* What a notification is answered with; anything else ends the process. */
#define STUB_NOTIFY_GO 1

/* Operation lists at STUB_REQ; one entry is a cache line. */
#define STUB_OP_SIZE 64
#define STUB_OP_END (-1) /* op.nr: end of the list */
/* op.ctl: what follows the call. Else: where the child of a clone goes on. */
#define STUB_CTL_STRICT 0 /* an error ends the list */
#define STUB_CTL_LAX 1    /* errors are ignored */
/* Bytes of STUB_REQ that are mapped: room for 127 operations and the end mark. */
#define STUB_REQ_BYTES 0x2000

/* STUB_RO: first page poller words, second page the words below, written once by the Sentry. */
#define STUB_GLOBALS (STUB_RO + 0x1000)
#define STUB_RO_BYTES 0x2000
#define STUB_POLLERS 64    /* RO_POLLERS, for the assembler */
#define GLOBALS_FLAGS 4    /* GLOBALS_F_* */
#define GLOBALS_CPUS_LEN 8 /* bytes of GLOBALS_CPUS */
#define GLOBALS_CPUS 64    /* affinity mask of guest threads, 1024 bits */
#define GLOBALS_FPROG 192  /* struct sock_fprog of the guest filter */
#define GLOBALS_FILTER 256
#define STUB_PARK_FRAME (STUB_GLOBALS + 0xe00) /* frame of a thread between two lives */
#define GLOBALS_F_FSGSBASE 1                   /* user code may use rdfsbase */
#define GLOBALS_F_AFFINITY 2                   /* new guest threads take GLOBALS_CPUS */

/* Posted calls (stub_call) are made by a jump to here; see stub.S for the registers. */
#define STUB_CALL STUB_TEXT
/* Calls answered in the guest: call i of LANE_LOCAL_NRS at stub_local + i * STUB_LOCAL_SIZE. */
#define STUB_LOCAL_SIZE 64

/* The stub's part of LANE_PRIV */
#define PRIV_SELF LANE_PRIV         /* guest address of the lane, set by the Sentry at start */
#define PRIV_RETURN (LANE_PRIV + 8) /* where the posted call goes on */
#define PRIV_NR (LANE_PRIV + 16)
#define PRIV_SAVE (LANE_PRIV + 24) /* 6 words */
#define PRIV_FS (LANE_PRIV + 72)   /* FS base that a parked thread starts with */

/* Where the frame that starts a guest thread lies in its lane; the extended state follows. */
#define STUB_START_FRAME (LANE_SIZE - 0x1400)
#define STUB_START_FPU (LANE_SIZE - 0xe00)

#ifndef __ASSEMBLER__
#include <stdint.h>

struct stub_op {
    uint64_t nr, arg[6];
    uint64_t ctl;
};

extern const uint8_t stub_start[], stub_end[];
extern const uint8_t stub_list[];      /* run the list at rbx = STUB_REQ */
extern const uint8_t stub_notify_ip[]; /* behind the notifying syscall instruction */
extern const uint8_t stub_fork[];      /* child of the template: r8 = memory file fd, r9 = offset of
                                          its own request pages */
extern const uint8_t stub_thread[];    /* new guest thread: rdx = frame, r9 = lane */
extern const uint8_t stub_traced_list[],
    stub_traced_ip[]; /* a tracer's list: rbx = its first operation; where it stops */
extern const uint8_t stub_traced_fault[],
    stub_traced_fault_ip[];         /* its signal handler; behind the syscall instruction of that */
extern const uint8_t stub_park[];   /* end of a life */
extern const uint8_t stub_parked[]; /* where STUB_PARK_FRAME leads */
extern const uint8_t stub_park_ip[]; /* behind the parking syscall instruction */
extern const uint8_t stub_call[], stub_call_posted[], stub_call_end[]; /* start, posted, copy end */
extern const uint8_t stub_call_saved[],
    stub_call_exit[];                              /* waiting part: from here on registers and
                                                             flags are in PRIV_SAVE; its end */
extern const uint8_t stub_self[], stub_self_end[]; /* answers that are more than a result */
extern const uint8_t stub_self_saved[], stub_self_done[]; /* registers in PRIV_SAVE; call made */
extern const uint8_t stub_local[], stub_local_end[];      /* calls answered in the guest */
extern const uint8_t stub_local_done[]; /* in the first of them: rax is the result */
extern const uint8_t stub_exit[];       /* end this thread */
extern const uint8_t stub_handler[];    /* of every signal */
extern const uint8_t stub_restorer[];

static inline uint64_t stub_addr(const uint8_t *entry)
{
    return STUB_TEXT + (uint64_t)(entry - stub_start);
}

static_assert(STUB_POLLERS == RO_POLLERS, "power of two, used as a mask");
static_assert(sizeof(struct stub_op) == STUB_OP_SIZE, "layout");
static_assert(LANE_SIZE - STUB_START_FPU >= 3072, "room for the extended state");
static_assert(STUB_START_FPU % 64 == 0, "XSAVE alignment");
#endif
#endif
