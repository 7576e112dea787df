/* SPDX-License-Identifier: Apache-2.0
 * Copies that survive SIGBUS: the handler (sigbus.c) sends a fault between ua_text_begin and
 * ua_text_end to ua_text_fault. All routines use no stack and keep the bytes not yet done in rcx,
 * so the fault path is "return rcx". Results: 0, or bytes not done (never 0 after a fault).
 */
    .text
    .globl ua_copy, ua_zero, ua_load32, ua_cmpxchg32
    .globl ua_text_begin, ua_text_end, ua_text_fault
    .type ua_copy, @function
    .type ua_zero, @function
    .type ua_load32, @function
    .type ua_cmpxchg32, @function

    .balign 64
ua_text_begin:

/* ua_copy(rdi dst, rsi src, rdx n) */
ua_copy:
    endbr64
    mov %rdx, %rcx
    cmp $256, %rcx
    jae 3f
1:  cmp $8, %rcx
    jb 2f
    mov (%rsi), %rax
    mov %rax, (%rdi)
    add $8, %rsi
    add $8, %rdi
    sub $8, %rcx
    jmp 1b
2:  test %rcx, %rcx
    jz 4f
    movzbl (%rsi), %eax
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %rcx
    jmp 2b
3:  rep movsb
4:  xor %eax, %eax
    ret

/* ua_zero(rdi dst, rsi n) */
ua_zero:
    endbr64
    mov %rsi, %rcx
    xor %eax, %eax
    rep stosb
    ret

/* ua_load32(rdi src, rsi ret) */
ua_load32:
    endbr64
    mov $4, %ecx
    mov (%rdi), %eax
    mov %eax, (%rsi)
    xor %eax, %eax
    ret

/* ua_cmpxchg32(rdi p, rsi expected in/out, edx desired, rcx ret_done) */
ua_cmpxchg32:
    endbr64
    mov %rcx, %r8
    mov $4, %ecx
    mov (%rsi), %eax
    lock cmpxchg %edx, (%rdi)
    mov %eax, (%rsi)
    setz %al
    movzbl %al, %eax
    mov %eax, (%r8)
    xor %eax, %eax
    ret

ua_text_end:
ua_text_fault:
    mov %rcx, %rax
    ret

    .section .note.GNU-stack, "", @progbits
