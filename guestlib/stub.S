/* SPDX-License-Identifier: Apache-2.0
 * stub.S - all code that runs in a guest process on the Sentry's behalf: the posted call, the
 * mapper's loop, the start of guest threads, the signal handler with its wait.
 *
 * Position independent, no data, copied to STUB_TEXT (read, execute). Guest code may jump to any
 * byte in here with any registers: the filters, not this code, are the boundary. The mapper and a
 * starting thread use registers only, since every page they could write is the guest's too.
 *
 * Who may lie: the guest about its lane and its signal stack; what is read back from there in the
 * handler affects that guest alone.
 */
#include <guestlib/stub.h>

#define NR_MMAP 9
#define NR_RT_SIGRETURN 15
#define NR_SCHED_YIELD 24
#define NR_EXIT 60
#define NR_ARCH_PRCTL 158
#define NR_FUTEX 202
#define NR_SCHED_SETAFFINITY 203
#define NR_EXIT_GROUP 231
#define NR_SECCOMP 317
#define NR_CLOSE_RANGE 436

#define FUTEX_WAKE 1
#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define SIGSYS 31
#define AUDIT_ARCH_X86_64 0xc000003e
#define MAP_OF_REQ 0x8011 /* MAP_SHARED | MAP_FIXED | MAP_POPULATE */

#define UC_R8 40
#define UC_R9 48
#define UC_R10 56
#define UC_RDI 104
#define UC_RSI 112
#define UC_RDX 136
#define UC_RAX 144
#define UC_RSP 160
#define UC_RIP 168
#define UC_ERR 192
#define UC_TRAPNO 200
#define SI_CODE 8
#define SI_ADDR 16
#define SI_ARCH 28

#define EV_STATE LANE_EVENT
#define EV_NR (LANE_EVENT + 4)
#define EV_ARG(n) (LANE_EVENT + 8 + 8 * (n))
#define EV_AUX (LANE_EVENT + 56)
#define CALL_PARKED LANE_GUEST
#define EVENT_PARKED (LANE_GUEST + 4)
#define DOORBELL (LANE_GUEST + 8)
#define ON_CPU (LANE_GUEST + 12)
#define FS_BASE (LANE_GUEST + 16)
#define CPU_SEGMENT 0x7b /* whose limit tells CPU and node, as the vDSO's getcpu reads it */
#define DEMOTED LANE_SENTRY
#define POLLER (LANE_SENTRY + 4)

        .section .stub, "ax", @progbits
        .globl  stub_start, stub_end, stub_list, stub_notify_ip, stub_fork, stub_thread, stub_self
        .globl  stub_local, stub_local_done, stub_local_end, stub_park, stub_park_ip, stub_parked, stub_self_saved, stub_self_done, stub_self_end
        .globl  stub_traced_list, stub_traced_ip, stub_traced_fault, stub_traced_fault_ip, stub_exit
        .globl  stub_handler, stub_restorer, stub_call, stub_call_posted, stub_call_end, stub_call_saved, stub_call_exit
        .p2align 6
stub_start:

/* A posted call, at STUB_CALL; position independent up to stub_call_end, so that it can also be
 * copied beside the text that uses it. Reached by a jump: rax = number, rcx = where to go on, which
 * follows a syscall instruction; arguments as for syscall; GS base = lane. Preserves everything but
 * rax, rcx, r11. No stack, no vector register; on the fast path no instruction that writes flags
 * (jrcxz reads none and writes none). */
stub_call:
        mov     %rcx, %gs:PRIV_RETURN
        mov     %rax, %gs:PRIV_NR
        mov     %eax, %gs:LANE_CALL + 4
        mov     %rdi, %gs:LANE_CALL + 8
        mov     %rsi, %gs:LANE_CALL + 16
        mov     %rdx, %gs:LANE_CALL + 24
        mov     %r10, %gs:LANE_CALL + 32
        mov     %r8, %gs:LANE_CALL + 40
        mov     %r9, %gs:LANE_CALL + 48
        movl    $SLOT_POSTED, %gs:LANE_CALL /* plain: a locked store would be late, and the poller have
                                           taken the line away before it */
stub_call_posted:
        xchg    %r11, %gs:PRIV_SAVE     /* a full fence, pairs with the poller's between asleep = 1
                                           and its last look at the lanes */
        movzbl  %gs:POLLER, %ecx
        movabs  $STUB_RO, %r11
        lea     0(,%rcx,8), %rcx
        mov     (%r11,%rcx,8), %ecx     /* the poller sleeps: ring */
        jrcxz   1f
        jmp     6f
1:      mov     %gs:DEMOTED, %ecx
        jrcxz   2f
        jmp     6f
2:      mov     %gs:LANE_SPINS, %r11d
3:      mov     %gs:LANE_CALL, %ecx
        jrcxz   4f
        mov     %r11, %rcx
        jrcxz   6f
        mov     %gs:LANE_SPINS, %ecx    /* the Sentry has seen that it takes long: park */
        jrcxz   6f
        pause
        lea     -1(%r11), %r11
        jmp     3b
4:      mov     %gs:LANE_CALL + 4, %ecx
        jrcxz   5f
        lea     -CALL_SLOW(%rcx), %rcx
        jrcxz   8f
        jmp     *9f(%rip)
8:      mov     %gs:PRIV_NR, %rax       /* CALL_SLOW: the site's own syscall instruction traps */
        mov     %gs:PRIV_RETURN, %rcx
        lea     -2(%rcx), %rcx
        jmp     *%rcx
5:      mov     %gs:LANE_CALL + 8, %rax
        jmp     *%gs:PRIV_RETURN
6:      lea     4b(%rip), %r11
        jmp     *7f(%rip)
        .p2align 3
7:      .quad   STUB_TEXT + (stub_call_wait - stub_start)
9:      .quad   STUB_TEXT + (stub_self - stub_start)
stub_call_end:

/* Ring if need be, then sleep on the call slot. Its syscalls must stand in stub text to pass the
 * filter, so this part is not copied. r11 = where to go on. */
stub_call_wait:
        mov     %r11, %gs:PRIV_SAVE
        mov     %rdi, %gs:PRIV_SAVE + 8
        mov     %rsi, %gs:PRIV_SAVE + 16
        mov     %rdx, %gs:PRIV_SAVE + 24
        mov     %r10, %gs:PRIV_SAVE + 32
        lahf
        seto    %al
        mov     %rax, %gs:PRIV_SAVE + 40
stub_call_saved:
        mov     $CPU_SEGMENT, %eax
        lsl     %eax, %eax
        mov     %eax, %gs:ON_CPU
        movzbl  %gs:POLLER, %eax
        shl     $6, %eax
        movabs  $STUB_RO, %rdi
        add     %rax, %rdi
        mov     (%rdi), %eax
        or      %gs:DEMOTED, %eax
        jz      3f                      /* spun long enough */
        movl    $1, %gs:DOORBELL
        mfence                          /* the bell rings before the poller's word is read again */
1:      cmpl    $0, (%rdi)
        je      2f
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $NR_FUTEX, %eax
        syscall
        test    %eax, %eax
        jg      2f
        mov     $NR_SCHED_YIELD, %eax
        syscall
        jmp     1b
2:      mov     %gs:LANE_SPINS, %ecx
4:      mov     %gs:LANE_CALL, %eax
        test    %eax, %eax
        jz      6f
        cmpl    $0, %gs:LANE_SPINS
        je      3f
        pause
        dec     %ecx
        jg      4b
3:      mov     %gs:LANE_YIELDS, %edx   /* who is to answer may need this CPU */
7:      test    %edx, %edx
        jle     8f
        cmpl    $0, %gs:LANE_YIELDS     /* not any more */
        je      8f
        dec     %edx
        mov     $NR_SCHED_YIELD, %eax
        syscall
        mov     %gs:LANE_CALL, %eax
        test    %eax, %eax
        jz      6f
        jmp     7b
8:      movl    $1, %gs:CALL_PARKED
        mfence                          /* pairs with the Sentry's after its answer */
        mov     %gs:LANE_CALL, %edx
        test    %edx, %edx
        jz      5f
        mov     %gs:PRIV_SELF, %rdi     /* + LANE_CALL, which is 0 */
        xor     %esi, %esi              /* FUTEX_WAIT */
        xor     %r10d, %r10d
        mov     $NR_FUTEX, %eax
        syscall
        jmp     8b
5:      movl    $0, %gs:CALL_PARKED
6:      mov     %gs:PRIV_SAVE + 8, %rdi
        mov     %gs:PRIV_SAVE + 16, %rsi
        mov     %gs:PRIV_SAVE + 24, %rdx
        mov     %gs:PRIV_SAVE + 32, %r10
        mov     %gs:PRIV_SAVE + 40, %rax
        add     $127, %al               /* overflow again if it was set */
        sahf
        jmp     *%gs:PRIV_SAVE
stub_call_exit:

/* The answer is more than a result. rcx = what it is less CALL_SLOW. */
stub_self:
        lea     -(CALL_SELF - CALL_SLOW)(%rcx), %rcx
        jrcxz   1f
        cmp     $CALL_PARK - CALL_SELF, %ecx
        je      stub_park
        jmp     stub_exit
1:      mov     %rdi, %gs:PRIV_SAVE + 8
        mov     %rsi, %gs:PRIV_SAVE + 16
        mov     %rdx, %gs:PRIV_SAVE + 24
stub_self_saved:
        mov     %gs:LANE_CALL + 16, %rax
        mov     %gs:LANE_CALL + 24, %rdi
        mov     %gs:LANE_CALL + 32, %rsi
        mov     %gs:LANE_CALL + 40, %rdx
        syscall
stub_self_done:
        mov     %gs:PRIV_SAVE + 8, %rdi
        mov     %gs:PRIV_SAVE + 16, %rsi
        mov     %gs:PRIV_SAVE + 24, %rdx
        mov     %gs:LANE_CALL + 8, %rax
        jmp     *%gs:PRIV_RETURN
stub_self_end:

/* Calls answered here, from the lane's identity: as a posted call, but nothing is posted. One entry
 * of STUB_LOCAL_SIZE bytes for each call of LANE_LOCAL_NRS, in that order; what the last ones go on to
 * follows. All that go on alike have the same bytes up to the answer, so that one offset
 * (stub_local_done) tells whether a thread met here has it. r11 = where to go on. No flags. */
        .macro  local_answer call, id
        .p2align 6
        mov     %rcx, %r11
        mov     %gs:LANE_IDENT, %ecx
        jrcxz   1f                      /* not told yet */
        mov     %gs:LANE_LOCAL + 8 * \call, %rcx
        lea     1(%rcx), %rcx
        mov     %rcx, %gs:LANE_LOCAL + 8 * \call
        mov     %gs:LANE_IDENT + 4 + 4 * \id, %eax
        .ifeq   \call
stub_local_done:
        .endif
        jmp     *%r11
1:      mov     %r11, %rcx
        jmp     stub_call
        .endm

        .macro  local_if_self answer    /* the caller may ask for others by argument */
        .p2align 6
        mov     %rcx, %r11
        mov     %edi, %ecx
        jrcxz   1f
        mov     %r11, %rcx
        jmp     stub_call
1:      mov     %r11, %rcx
        jmp     \answer
        .endm

        .p2align 6
stub_local:
        local_answer 0, IDENT_PID
        local_answer 1, IDENT_TID
        local_answer 2, IDENT_PPID
        local_answer 3, IDENT_UID
        local_answer 4, IDENT_EUID
        local_answer 5, IDENT_GID
        local_answer 6, IDENT_EGID
        local_answer 7, IDENT_PGID
        local_if_self local_pgid
        local_if_self local_sid
        .p2align 6
local_pgid:
        local_answer 8, IDENT_PGID
        .p2align 6
local_sid:
        local_answer 9, IDENT_SID
        .org    stub_local + (LANE_LOCAL_COUNT + 2) * STUB_LOCAL_SIZE /* else: one is too long */
stub_local_end:

/* The mapper. rbx = operation, r12 = result of the last call. */
stub_notify:
        mov     %rbx, %rdi
        mov     %r12, %rsi
        mov     $STUB_NR_NOTIFY, %eax
        syscall
stub_notify_ip:
        cmp     $STUB_NOTIFY_GO, %rax
        jne     stub_die                /* no listener any more: the Sentry is gone */
        movabs  $STUB_REQ, %rbx
stub_list:
        mov     (%rbx), %rax
        cmp     $STUB_OP_END, %rax
        je      stub_notify
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        mov     40(%rbx), %r8
        mov     48(%rbx), %r9
        mov     56(%rbx), %r13          /* now: the child of a clone must not look at a list that
                                           may be another one by the time it runs */
        syscall
        mov     %rax, %r12
        cmp     $STUB_CTL_LAX, %r13
        je      2f
        jb      1f
        test    %rax, %rax
        jnz     1f
        jmp     *%r13                   /* child of a clone */
1:      cmp     $-4095, %rax
        jae     stub_notify
2:      add     $STUB_OP_SIZE, %rbx
        jmp     stub_list

#include "traced.S"

/* First steps of a new address space: its own request pages instead of the template's. */
stub_fork:
        movabs  $STUB_REQ, %rdi
        mov     $STUB_REQ_BYTES, %esi
        mov     $1, %edx                /* PROT_READ */
        mov     $MAP_OF_REQ, %r10d
        mov     $NR_MMAP, %eax
        syscall
        cmp     %rdi, %rax
        jne     stub_die
        mov     %rdi, %rbx
        xor     %r12d, %r12d
        jmp     stub_notify

/* First steps of a guest thread: no descriptors, CPU set, GS base, filter; then it becomes the guest
 * by returning from a signal that never was. */
stub_thread:
        mov     %rdx, %r14
        mov     %r9, %r13
        movabs  $STUB_GLOBALS, %r15
        xor     %edi, %edi
        mov     $-1, %esi
        xor     %edx, %edx
        mov     $NR_CLOSE_RANGE, %eax
        syscall
        test    %rax, %rax
        jnz     stub_die
        testl   $GLOBALS_F_AFFINITY, GLOBALS_FLAGS(%r15)
        jz      1f
        xor     %edi, %edi
        mov     GLOBALS_CPUS_LEN(%r15), %esi
        lea     GLOBALS_CPUS(%r15), %rdx
        mov     $NR_SCHED_SETAFFINITY, %eax
        syscall                         /* a failure costs speed only */
1:      mov     $ARCH_SET_GS, %edi
        mov     %r13, %rsi
        mov     $NR_ARCH_PRCTL, %eax
        syscall
        mov     $1, %edi                /* SECCOMP_SET_MODE_FILTER */
        xor     %esi, %esi
        lea     GLOBALS_FPROG(%r15), %rdx
        mov     $NR_SECCOMP, %eax
        syscall
        test    %rax, %rax
        jnz     stub_die
        mov     %r14, %rsp
        jmp     stub_restorer

/* A guest thread between two lives. It takes a known state from a frame no guest can write: signals
 * blocked, no alternate stack. The notification tells the Sentry that it is here and nowhere else.
 * It is sent here again when its memory has been taken away, so that it cannot have come by another
 * way than through the frame; then the answer is the lane of its next life. */
stub_park:
        movabs  $STUB_PARK_FRAME, %rsp
        jmp     stub_restorer
stub_parked:
        mov     $STUB_NR_PARK, %eax
        syscall
stub_park_ip:
        cmp     $STUB_PARK_AGAIN, %rax
        je      stub_park
        jl      stub_exit               /* no listener any more */
        mov     %rax, %r13
        xor     %eax, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     $ARCH_SET_GS, %edi
        mov     %r13, %rsi
        mov     $NR_ARCH_PRCTL, %eax
        syscall
        mov     $ARCH_SET_FS, %edi
        mov     PRIV_FS(%r13), %rsi
        mov     $NR_ARCH_PRCTL, %eax
        syscall
        lea     LANE_SIZE(%r13), %rsp
        pushq   $2                      /* no flag ID, which rt_sigreturn leaves as it is */
        popfq
        lea     STUB_START_FRAME(%r13), %rsp
        jmp     stub_restorer

stub_die:
        mov     $NR_EXIT_GROUP, %eax
        xor     %edi, %edi
        syscall
        ud2

/* Handler of every signal, all signals blocked: rdi = number, rsi = siginfo, rdx = ucontext, on the
 * lane's own stack, which tells the lane. The kernel has saved every register, vector state
 * included.
 *
 * Posted: state = signal, aux = ucontext;
 *   SIGSYS: nr, arg = the call; nr = ~0 when it came by another ABI
 *   others: arg0 = si_addr, arg1 = page-fault error code, arg2 = si_code, arg3 = trap number */
        .p2align 6
stub_handler:
        mov     %rdx, %r14
        mov     %edi, %r15d
        mov     %rsp, %rbx
        and     $-LANE_SIZE, %rbx
        movabs  $STUB_GLOBALS, %r13
        testl   $GLOBALS_F_FSGSBASE, GLOBALS_FLAGS(%r13)
        jz      1f
        rdfsbase %rax
        mov     %rax, FS_BASE(%rbx)
1:      mov     %rdx, EV_AUX(%rbx)
        cmp     $SIGSYS, %edi
        jne     3f

        mov     UC_RIP(%rdx), %rax      /* a call through the vsyscall page: also return from it */
        sar     $12, %rax
        cmp     $-2560, %rax
        jne     2f
        mov     UC_RSP(%rdx), %rax
        mov     (%rax), %rcx            /* a bad stack ends the process, as it would natively */
        mov     %rcx, UC_RIP(%rdx)
        addq    $8, UC_RSP(%rdx)
2:      mov     UC_RAX(%rdx), %eax
        mov     $-1, %ecx               /* by int $0x80 the numbers mean other calls */
        cmpl    $AUDIT_ARCH_X86_64, SI_ARCH(%rsi)
        cmovne  %ecx, %eax
        mov     %eax, EV_NR(%rbx)
        mov     UC_RDI(%rdx), %rax
        mov     UC_RSI(%rdx), %rcx
        mov     UC_RDX(%rdx), %r8
        mov     UC_R10(%rdx), %r9
        mov     %rax, EV_ARG(0)(%rbx)
        mov     %rcx, EV_ARG(1)(%rbx)
        mov     %r8, EV_ARG(2)(%rbx)
        mov     %r9, EV_ARG(3)(%rbx)
        mov     UC_R8(%rdx), %rax
        mov     UC_R9(%rdx), %rcx
        mov     %rax, EV_ARG(4)(%rbx)
        mov     %rcx, EV_ARG(5)(%rbx)
        jmp     4f

3:      mov     SI_ADDR(%rsi), %rax
        mov     UC_ERR(%rdx), %rcx
        movslq  SI_CODE(%rsi), %r8
        mov     UC_TRAPNO(%rdx), %r9
        mov     %rax, EV_ARG(0)(%rbx)
        mov     %rcx, EV_ARG(1)(%rbx)
        mov     %r8, EV_ARG(2)(%rbx)
        mov     %r9, EV_ARG(3)(%rbx)

4:      mov     %r15d, EV_STATE(%rbx)   /* post */
        mfence                          /* pairs with the poller's fence between asleep = 1 and its
                                           last look at the lanes */
        mov     POLLER(%rbx), %r12d
        and     $(STUB_POLLERS - 1), %r12d
        shl     $6, %r12d
        lea     (STUB_RO - STUB_GLOBALS)(%r13, %r12), %r12
        mov     (%r12), %eax
        or      DEMOTED(%rbx), %eax
        jz      6f
        mov     $CPU_SEGMENT, %eax
        lsl     %eax, %eax
        mov     %eax, ON_CPU(%rbx)
        movl    $1, DOORBELL(%rbx)
        mfence                          /* the bell rings before the poller's word is read again */
5:      cmpl    $0, (%r12)
        je      6f
        mov     %r12, %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $NR_FUTEX, %eax
        syscall
        test    %eax, %eax
        jg      6f
        mov     $NR_SCHED_YIELD, %eax   /* it has announced its sleep and not begun it */
        syscall
        jmp     5b

6:      mov     LANE_SPINS(%rbx), %ecx
7:      mov     EV_STATE(%rbx), %eax
        test    %eax, %eax
        jz      10f
        cmpl    $0, LANE_SPINS(%rbx)    /* cut while we look: the answer takes long */
        je      8f
        pause
        dec     %ecx
        jg      7b
8:      mov     LANE_YIELDS(%rbx), %edx
15:     test    %edx, %edx
        jle     16f
        cmpl    $0, LANE_YIELDS(%rbx)
        je      16f
        dec     %edx
        mov     $NR_SCHED_YIELD, %eax
        syscall
        mov     EV_STATE(%rbx), %eax
        test    %eax, %eax
        jz      10f
        jmp     15b
16:     mov     $CPU_SEGMENT, %eax
        lsl     %eax, %eax
        mov     %eax, ON_CPU(%rbx)
        movl    $1, EVENT_PARKED(%rbx)
        mfence                          /* pairs with the Sentry's after its answer */
        mov     EV_STATE(%rbx), %edx
        test    %edx, %edx
        jz      9f
        lea     EV_STATE(%rbx), %rdi
        xor     %esi, %esi              /* FUTEX_WAIT */
        xor     %r10d, %r10d
        mov     $NR_FUTEX, %eax
        syscall
        jmp     16b
9:      movl    $0, EVENT_PARKED(%rbx)

10:     mov     EV_NR(%rbx), %r12d
        test    $EVENT_SET_GS, %r12d
        jz      11f
        mov     $ARCH_SET_GS, %edi
        mov     %rbx, %rsi
        mov     $NR_ARCH_PRCTL, %eax
        syscall
11:     test    $(EVENT_SET_FS | EVENT_OWN_GS), %r12d
        jz      12f
        mov     $ARCH_SET_FS, %edi
        test    $EVENT_SET_FS, %r12d
        jnz     18f
        mov     $ARCH_SET_GS, %edi
18:     mov     EV_ARG(5)(%rbx), %rsi
        mov     $NR_ARCH_PRCTL, %eax
        syscall
12:     test    $EVENT_SELF, %r12d
        jz      13f
        mov     EV_ARG(1)(%rbx), %rax
        mov     EV_ARG(2)(%rbx), %rdi
        mov     EV_ARG(3)(%rbx), %rsi
        mov     EV_ARG(4)(%rbx), %rdx
        syscall
13:     cmp     $EVENT_PARK, %r12b
        je      stub_park
        cmp     $EVENT_EXIT, %r12b
        je      stub_exit
        cmp     $EVENT_RET, %r12b
        jne     14f
        mov     EV_ARG(0)(%rbx), %rax
        mov     %rax, UC_RAX(%r14)
14:     mov     %r14, %rsp
stub_restorer:
        mov     $NR_RT_SIGRETURN, %eax
        syscall
        ud2
stub_exit:
        xor     %edi, %edi
        mov     $NR_EXIT, %eax
        syscall
        ud2
stub_end:
        .section .note.GNU-stack, "", @progbits
