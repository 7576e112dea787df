/* SPDX-License-Identifier: Apache-2.0
 * fiber_switch.S - void fiber_switch_raw(void **save_sp, void *load_sp): callee-saved registers and
 * the stack pointer; a new stack starts at fiber_trampoline with rbx = entry. */
        .text
        .globl fiber_switch_raw, fiber_trampoline
        .type fiber_switch_raw, @function
        .type fiber_trampoline, @function
        .p2align 4
fiber_switch_raw:
        .cfi_startproc
        push    %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, (%rdi)
        mov     %rsi, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        ret
        .cfi_endproc
        .size fiber_switch_raw, . - fiber_switch_raw

fiber_trampoline:
        .cfi_startproc
        .cfi_undefined rip
        xor     %ebp, %ebp
        call    *%rbx
        ud2
        .cfi_endproc
        .size fiber_trampoline, . - fiber_trampoline
        .section .note.GNU-stack, "", @progbits
