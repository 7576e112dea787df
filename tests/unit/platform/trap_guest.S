/* SPDX-License-Identifier: Apache-2.0
 * trap_guest.S - what the guest threads of trap_live_test execute. Position independent; copied to
 * guest memory by the test. Most entries end in guest_done: call 600 with rax in rdi, for ever. */
        .section .guest, "ax", @progbits
        .globl  guest_start, guest_end, guest_echo, guest_load, guest_store, guest_spin
        .globl  guest_int80, guest_uretprobe, guest_vsyscall, guest_jump, guest_tls, guest_count
        .globl  guest_call, guest_ud2, guest_int3, guest_gp, guest_div, guest_lie
        .globl  guest_xmm, guest_posted, guest_sigreturn, guest_lost_gs, guest_function
        .globl  guest_soil, guest_state, guest_dirty, guest_leave
guest_start:
guest_echo:                             /* call 500 for ever, rdi counts */
        mov     $500, %eax
        syscall
        inc     %rdi
        jmp     guest_echo
guest_call:                             /* call rax */
        syscall
guest_done:
        mov     %rax, %rdi
        mov     $600, %eax
        syscall
        jmp     guest_done
guest_load:                             /* read (rdi) */
        mov     (%rdi), %rax
        jmp     guest_done
guest_store:                            /* write rsi to (rdi) */
        mov     %rsi, (%rdi)
        mov     (%rdi), %rax
        jmp     guest_done
guest_spin:
        jmp     guest_spin
guest_count:                            /* count at (rdi) */
        incq    (%rdi)
        jmp     guest_count
guest_int80:
        int     $0x80
        jmp     guest_done
guest_uretprobe:
        mov     $335, %eax
        syscall
        jmp     guest_done
guest_vsyscall:                         /* time() of the vsyscall page, needs a stack */
        mov     $0xffffffffff600400, %rax
        call    *%rax
        jmp     guest_done
guest_jump:
        jmp     *%rdi
guest_tls:                              /* what FS base points to */
        mov     %fs:0, %rax
        jmp     guest_done
guest_ud2:
        ud2
guest_int3:
        int3
        jmp     guest_done
guest_gp:
        hlt
guest_div:
        xor     %ecx, %ecx
        div     %ecx
guest_lie:                              /* post event rsi with frame rdx in lane rdi */
        mov     %rdx, 120(%rdi)
        mov     %esi, 64(%rdi)
        jmp     guest_spin
guest_sigreturn:                        /* from the frame at rdi, by the syscall at rsi */
        mov     %rdi, %rsp
        mov     $15, %eax
        jmp     *%rsi
guest_xmm:                              /* xmm0 after a call */
        mov     $700, %eax
        syscall
        movq    %xmm0, %rax
        jmp     guest_done
guest_posted:                           /* as guest_echo, by the call slot; checks what it must */
        mov     %rsp, %r15
        mov     $0x7fffffff, %r14d
1:      mov     $500, %eax
        lea     2f(%rip), %rcx
        mov     $0x7ef000000000, %r11
        mov     %r14d, %r13d
        add     $1, %r13d               /* overflow, sign; no carry */
        stc
        jmp     *%r11
        syscall
2:      jnc     3f
        jno     3f
        jns     3f
        cmp     %rsp, %r15
        jne     3f
        cmp     $0x51, %rsi
        jne     3f
        cmp     $0x52, %rdx
        jne     3f
        cmp     $0x53, %r10
        jne     3f
        inc     %rdi
        jmp     1b
3:      ud2
guest_lost_gs:                          /* a posted call after GS was loaded */
        xor     %eax, %eax
        mov     %eax, %gs
        mov     $500, %eax
        lea     1f(%rip), %rcx
        mov     $0x7ef000000000, %r11
        jmp     *%r11
        syscall
1:      jmp     guest_done
guest_function:                         /* call the function at rax */
        call    *%rax
        jmp     guest_done
guest_soil:                             /* leave as much as can be left, then call 500 */
        mov     $0x7b, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     $0x5ec2e7, %eax
        movq    %rax, %xmm0
        movq    %rax, %xmm15
        movq    %rax, %mm3
        pushq   $0x1fa0                 /* MXCSR: denormals are zeros, flag of inexact results */
        ldmxcsr (%rsp)
        pushq   $0x07f                  /* x87: single precision */
        fldcw   (%rsp)
        pushfq
        orq     $0x240400, (%rsp)       /* AC, ID, DF */
        popfq
        jmp     guest_echo
guest_state:                            /* what a thread starts with, to (rdi); call 600 */
        mov     %r15, 8(%rdi)
        pushfq
        pop     %r15
        mov     %r15, (%rdi)
        mov     %rax, 16(%rdi)
        mov     %rbx, 24(%rdi)
        mov     %rcx, 32(%rdi)
        mov     %rdx, 40(%rdi)
        mov     %rsi, 48(%rdi)
        mov     %rbp, 56(%rdi)
        mov     %r8, 64(%rdi)
        mov     %r9, 72(%rdi)
        mov     %r10, 80(%rdi)
        mov     %r11, 88(%rdi)
        mov     %r12, 96(%rdi)
        mov     %r13, 104(%rdi)
        mov     %r14, 112(%rdi)
        mov     %ds, 120(%rdi)
        mov     %es, 122(%rdi)
        mov     %fs, 124(%rdi)
        mov     %gs, 126(%rdi)
        fxsave  128(%rdi)
        jmp     guest_done
guest_dirty:                            /* post event rsi with frame rdx in lane rdi; when that is
                                           answered, rt_sigreturn from the frame at r8 by r9 */
        mov     %rdx, 120(%rdi)
        mov     %esi, 64(%rdi)
1:      pause
        cmpl    $0, 64(%rdi)
        jne     1b
        mov     %r8, %rsp
        mov     $15, %eax
        jmp     *%r9
guest_leave:                            /* the same, and then exit by the syscall at r9 */
        mov     %rdx, 120(%rdi)
        mov     %esi, 64(%rdi)
1:      pause
        cmpl    $0, 64(%rdi)
        jne     1b
        mov     $60, %eax
        jmp     *%r9
guest_end:
        .section .note.GNU-stack, "", @progbits
