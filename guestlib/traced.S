/* SPDX-License-Identifier: Apache-2.0
 * traced.S - the stub's code for threads that a tracer drives (platform/ptrace); part of stub.S. */

/* A list of operations (stub_list): the tracer sets rbx and lets the thread go; it stops
 * with rbx = operation where it ended, r12 = last result. The child of a clone never gets here: its
 * tracer has it before its first instruction. */
stub_traced_list:
        mov     (%rbx), %rax
        cmp     $STUB_OP_END, %rax
        je      3f
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        mov     40(%rbx), %r8
        mov     48(%rbx), %r9
        mov     56(%rbx), %r13
        syscall
        mov     %rax, %r12
        cmp     $STUB_CTL_LAX, %r13
        je      2f
        cmp     $-4095, %rax
        jae     3f
2:      add     $STUB_OP_SIZE, %rbx
        jmp     stub_traced_list
3:      int3
stub_traced_ip:
        ud2

/* Where a traced guest thread takes a signal whose frame its tracer wants to read: a call by number -1,
 * which it sees and nobody makes. */
stub_traced_fault:
        mov     $-1, %eax
        syscall
stub_traced_fault_ip:
        ud2
