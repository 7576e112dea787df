/* SPDX-License-Identifier: Apache-2.0
 * wait.S - sleep until a tracee stops or somebody wants something, without losing the latter.
 *
 * long tracer_sleep(_Atomic(uint32_t) *asleep, int *status, int options)
 *
 * wait4(-1, status, options, NULL), unless *asleep is 0 already. Who wants something sets *asleep to 0
 * and then signals the thread; the handler sends one that is between look and call to
 * tracer_sleep_end, so that the signal either cuts the call short (-EINTR) or the call is not made. */
#define NR_WAIT4 61
#define EINTR 4

        .text
        .globl  tracer_sleep
        .type   tracer_sleep, @function
        .p2align 4
tracer_sleep:
        mov     %rdi, %r8
        mov     $-1, %rdi
        xor     %r10d, %r10d
tracer_sleep_look:
        cmpl    $0, (%r8)
        je      tracer_sleep_end
        mov     $NR_WAIT4, %eax
tracer_sleep_call:
        syscall
        ret
tracer_sleep_end:
        mov     $-EINTR, %rax
        ret
        .size   tracer_sleep, . - tracer_sleep

/* Handler of the tracer's signal: rdx = ucontext. In assembler, so that no sanitizer takes part. */
#define UC_RIP 168
        .globl  tracer_kicked, tracer_restorer
        .type   tracer_kicked, @function
        .p2align 4
tracer_kicked:
        mov     UC_RIP(%rdx), %rax
        lea     tracer_sleep_look(%rip), %rcx
        cmp     %rcx, %rax
        jb      1f
        lea     tracer_sleep_call(%rip), %rcx
        cmp     %rcx, %rax
        ja      1f
        lea     tracer_sleep_end(%rip), %rcx
        mov     %rcx, UC_RIP(%rdx)
1:      ret
        .size   tracer_kicked, . - tracer_kicked
tracer_restorer:
        mov     $15, %eax               /* rt_sigreturn */
        syscall
        .section .note.GNU-stack, "", @progbits
