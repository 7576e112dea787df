/* SPDX-License-Identifier: Apache-2.0
 * sigframe.c - the frame of a handler: registers, flags, floating point, red zone, alignment. */
#include "guest.h"

#include <fenv.h>
#include <math.h>
#include <ucontext.h>

static volatile sig_atomic_t g_hits;
static siginfo_t g_info;
static ucontext_t g_uc;

static void handle(int signo, void (*fn)(int, siginfo_t *, void *), int flags)
{
    struct sigaction a = {.sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    CHECK(sigaction(signo, &a, NULL) == 0);
}

static void record(int signo, siginfo_t *si, void *uc)
{
    (void)signo;
    g_info = *si;
    memcpy(&g_uc, uc, sizeof(g_uc));
    g_hits = g_hits + 1;
}

/* --- registers --- */

static void clobber(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    /* Everything a handler may use, and the vector registers. */
    __asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi; xor %%edi, %%edi;"
                     "xor %%r8d, %%r8d; xor %%r9d, %%r9d; xor %%r10d, %%r10d; xor %%r11d, %%r11d;"
                     "pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15; fninit"
                     :
                     :
                     : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm7",
                       "xmm15");
}

struct regs {
    uint64_t r[15];
};

/* kill(pid, signo) with known values in all registers; what they are afterwards goes to @out. */
__attribute__((noinline)) static void kill_with_regs(pid_t pid, int signo, struct regs *out)
{
    __asm__ volatile("push %%rbp; push %%rbx;"
                     "push %2;"
                     "mov $0x1111, %%edx; mov $0x2222, %%r8d; mov $0x3333, %%r9d;"
                     "mov $0x4444, %%r10d; mov $0x5555, %%r12d; mov $0x6666, %%r13d;"
                     "mov $0x7777, %%r14d; mov $0x8888, %%r15d; mov $0x9999, %%ebx;"
                     "mov $0xaaaa, %%ebp; mov $62, %%eax; syscall;"
                     "xchg (%%rsp), %%rax;" /* rax = out, result on the stack */
                     "mov %%rdx, 0(%%rax); mov %%r8, 8(%%rax); mov %%r9, 16(%%rax);"
                     "mov %%r10, 24(%%rax); mov %%r12, 32(%%rax); mov %%r13, 40(%%rax);"
                     "mov %%r14, 48(%%rax); mov %%r15, 56(%%rax); mov %%rbx, 64(%%rax);"
                     "mov %%rbp, 72(%%rax); mov %%rdi, 80(%%rax); mov %%rsi, 88(%%rax);"
                     "pop %%rcx; mov %%rcx, 96(%%rax);"
                     "pop %%rbx; pop %%rbp"
                     :
                     : "D"((long)pid), "S"((long)signo), "a"(out)
                     : "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
                       "cc");
}

static void case_registers(void)
{
    struct regs out;
    memset(&out, 0xff, sizeof(out));
    handle(SIGUSR1, clobber, 0);
    kill_with_regs(getpid(), SIGUSR1, &out);
    CHECK_EQ(g_hits, 1);
    static const uint64_t want[] = {0x1111, 0x2222, 0x3333, 0x4444, 0x5555,
                                    0x6666, 0x7777, 0x8888, 0x9999, 0xaaaa};
    for (int i = 0; i < 10; i++)
        CHECK_EQ(out.r[i], want[i]);
    CHECK_EQ(out.r[10], getpid());
    CHECK_EQ(out.r[11], SIGUSR1);
    CHECK_EQ(out.r[12], 0); /* the call's result */
    CHECK_EQ(g_uc.uc_mcontext.gregs[REG_R12], 0x5555);
    CHECK_EQ(g_uc.uc_mcontext.gregs[REG_RBP], 0xaaaa);
    CHECK_EQ(g_uc.uc_mcontext.gregs[REG_RAX], 0);
}

static void bump_rbx(int signo, siginfo_t *si, void *p)
{
    ucontext_t *uc = p;
    record(signo, si, p);
    uc->uc_mcontext.gregs[REG_R12] += 1;
    uc->uc_mcontext.gregs[REG_RAX] = 0x77;
}

static void case_registers_changed(void)
{
    struct regs out;
    handle(SIGUSR1, bump_rbx, 0);
    kill_with_regs(getpid(), SIGUSR1, &out);
    CHECK_EQ(out.r[4], 0x5556);
    CHECK_EQ(out.r[12], 0x77);
}

static void case_red_zone(void)
{
    unsigned long bad = 0;
    handle(SIGALRM, clobber, 0);
    struct timespec ts = {.tv_nsec = 1000000};
    timer_t id;
    CHECK(timer_create(CLOCK_MONOTONIC, NULL, &id) == 0);
    CHECK(timer_settime(id, 0, &(struct itimerspec){ts, ts}, NULL) == 0);
    while (g_hits < 30) {
        /* Values below rsp and in registers must survive handlers that come at any moment. */
        unsigned long got;
        __asm__ volatile("movq $0x1234567, -8(%%rsp); movq $0x89abcde, -128(%%rsp);"
                         "mov $20000, %%ecx; movq %%rcx, %%xmm9;"
                         "1: dec %%ecx; jnz 1b;"
                         "xor %0, %0; cmpq $0x1234567, -8(%%rsp); setne %b0;"
                         "cmpq $0x89abcde, -128(%%rsp); je 2f; or $2, %0; 2:"
                         "movq %%xmm9, %%rcx; cmp $20000, %%ecx; je 3f; or $4, %0; 3:"
                         : "=&r"(got)
                         :
                         : "rcx", "xmm9", "memory", "cc");
        bad |= got;
    }
    CHECK_EQ(bad, 0);
}

static void case_flags(void)
{
    unsigned long after;
    handle(SIGUSR1, record, 0);
    long pid = getpid();
    __asm__ volatile("std; mov $62, %%eax; syscall; pushf; pop %0; cld"
                     : "=r"(after)
                     : "D"(pid), "S"((long)SIGUSR1)
                     : "rax", "rcx", "r11", "memory", "cc");
    CHECK_EQ(g_hits, 1);
    CHECK(after & 0x400);                           /* restored */
    CHECK(g_uc.uc_mcontext.gregs[REG_EFL] & 0x400); /* seen in the frame */
}

/* --- floating point --- */

static void fp_handler(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    volatile double x = 1.0;
    for (int i = 0; i < 20; i++)
        x = sqrt(x + i) * 1.5;
    fesetround(FE_DOWNWARD);
    clobber(signo, si, uc);
}

static void case_fpu_preserved(void)
{
    uint64_t in[16][2], out[16][2];
    handle(SIGUSR1, fp_handler, 0);
    CHECK(fesetround(FE_UPWARD) == 0);
    for (int i = 0; i < 16; i++) {
        in[i][0] = 0x1111111111111111ULL * (uint64_t)i + 1;
        in[i][1] = ~in[i][0];
    }
    long pid = getpid(), one = SIGUSR1;
    long double x87_in = 3.25L, x87_out;
    __asm__ volatile(
        "fldt %[x87];"
        "movdqu 0(%[in]), %%xmm0; movdqu 16(%[in]), %%xmm1; movdqu 112(%[in]), %%xmm7;"
        "movdqu 128(%[in]), %%xmm8; movdqu 240(%[in]), %%xmm15;"
        "mov $62, %%eax; syscall;"
        "movdqu %%xmm0, 0(%[out]); movdqu %%xmm1, 16(%[out]); movdqu %%xmm7, 112(%[out]);"
        "movdqu %%xmm8, 128(%[out]); movdqu %%xmm15, 240(%[out]);"
        "fstpt %[x87o];"
        : [x87o] "=m"(x87_out)
        : [in] "r"(in), [out] "r"(out), [x87] "m"(x87_in), "D"(pid), "S"(one)
        : "rax", "rcx", "r11", "xmm0", "xmm1", "xmm7", "xmm8", "xmm15", "memory", "cc");
    CHECK_EQ(g_hits, 2);
    static const int used[] = {0, 1, 7, 8, 15};
    for (int i = 0; i < 5; i++)
        CHECK(!memcmp(in[used[i]], out[used[i]], 16));
    CHECK(x87_out == x87_in);
    CHECK_EQ(fegetround(), FE_UPWARD);
}

__attribute__((target("avx"))) static void case_avx_preserved(void)
{
    if (!__builtin_cpu_supports("avx"))
        SKIP("no AVX");
    uint64_t in[4] = {1, 2, 0xdeadbeefcafef00dULL, 4}, out[4] = {0};
    handle(SIGUSR1, fp_handler, 0);
    long pid = getpid(), one = SIGUSR1;
    __asm__ volatile("vmovdqu (%[in]), %%ymm3; mov $62, %%eax; syscall; vmovdqu %%ymm3, (%[out])"
                     :
                     : [in] "r"(in), [out] "r"(out), "D"(pid), "S"(one)
                     : "rax", "rcx", "r11", "xmm3", "memory", "cc");
    CHECK(!memcmp(in, out, sizeof(in)));
}

static void frame_fp(int signo, siginfo_t *si, void *p)
{
    ucontext_t *uc = p;
    record(signo, si, p);
    CHECK(uc->uc_mcontext.fpregs != NULL);
    CHECK_EQ((uintptr_t)uc->uc_mcontext.fpregs & 63, 0);
    CHECK_EQ(((uintptr_t)__builtin_frame_address(0) + 8) & 7, 0);
    uint32_t magic = ((uint32_t *)uc->uc_mcontext.fpregs)[464 / 4];
    uint32_t extended = ((uint32_t *)uc->uc_mcontext.fpregs)[468 / 4];
    if (uc->uc_flags & 1) { /* UC_FP_XSTATE */
        CHECK_EQ(magic, 0x46505853u);
        uint32_t last;
        memcpy(&last, (char *)uc->uc_mcontext.fpregs + extended - 4, 4);
        CHECK_EQ(last, 0x46505845u);
    }
    /* The handler may change what is restored. */
    uint32_t *xmm4 = (uint32_t *)((char *)uc->uc_mcontext.fpregs + 160 + 4 * 16);
    xmm4[0] = 0x12345678;
}

static void case_fpu_frame(void)
{
    uint64_t out = 0;
    handle(SIGUSR1, frame_fp, 0);
    long pid = getpid(), one = SIGUSR1;
    __asm__ volatile("pcmpeqd %%xmm4, %%xmm4; mov $62, %%eax; syscall; movq %%xmm4, %[out]"
                     : [out] "=r"(out)
                     : "D"(pid), "S"(one)
                     : "rax", "rcx", "r11", "xmm4", "memory", "cc");
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(out & 0xffffffff, 0x12345678);
    CHECK_EQ(out >> 32, 0xffffffff);
    CHECK(g_uc.uc_flags & 2); /* UC_SIGCONTEXT_SS */
    CHECK(g_uc.uc_flags & 4); /* UC_STRICT_RESTORE_SS */
}

static void aligned(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    _Alignas(16) volatile char buf[16];
    /* movaps faults when the stack is misaligned */
    __asm__ volatile("movaps %%xmm0, %0" : "=m"(*(volatile char(*)[16])buf));
}

static void case_stack_aligned(void)
{
    handle(SIGUSR1, aligned, 0);
    for (int i = 0; i < 8; i++) {
        /* whatever the alignment at the interruption */
        long pid = getpid(), one = SIGUSR1;
        __asm__ volatile("sub %[n], %%rsp; sub $128, %%rsp; mov $62, %%eax; syscall;"
                         "add $128, %%rsp; add %[n], %%rsp"
                         :
                         : [n] "r"((long)i), "D"(pid), "S"(one)
                         : "rax", "rcx", "r11", "memory", "cc");
    }
    CHECK_EQ(g_hits, 8);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(registers),     CASE(registers_changed), CASE(red_zone),  CASE(flags),
    CASE(fpu_preserved), CASE(avx_preserved),     CASE(fpu_frame), CASE(stack_aligned),
};
GUEST_MAIN(cases)
