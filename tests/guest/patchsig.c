/* SPDX-License-Identifier: Apache-2.0
 * patchsig.c - signals every 50 us into threads that loop over call sites with all registers loaded:
 * general registers, flags, vector registers to their full width and mxcsr are what they were after
 * each call, and in the frame of every handler that has interrupted the loaded stretch. No frame shows
 * an address that is not the program's own. Handlers call, overwrite the vector registers, run on an
 * alternate stack, jump out; waiting calls are restarted or not, as asked. */
#include <cpuid.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "guest.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define FLAGS 0x8d5 /* CF PF AF ZF SF OF */
#define PERIOD_NS 50000
#define REGS 12 /* rdi rsi rdx r8 r9 r10 rbp r12 r13 r14 r15 rbx */

struct load {
    uint64_t in[REGS], out[REGS];
    uint64_t flags_in, flags_out, rax;
    uint32_t mxcsr_in, mxcsr_out;
    uint8_t vec_in[16 * 32], vec_out[16 * 32];
};
_Static_assert(offsetof(struct load, out) == 96, "asm");
_Static_assert(offsetof(struct load, flags_in) == 192, "asm");
_Static_assert(offsetof(struct load, mxcsr_in) == 216, "asm");
_Static_assert(offsetof(struct load, vec_in) == 224, "asm");
_Static_assert(offsetof(struct load, vec_out) == 736, "asm");

#define VEC(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define SSE_IN(n) "movups 224+32*" #n "(%rbx),%xmm" #n "\n"
#define SSE_OUT(n) "movups %xmm" #n ",736+32*" #n "(%rax)\n"
#define AVX_IN(n) "vmovups 224+32*" #n "(%rbx),%ymm" #n "\n"
#define AVX_OUT(n) "vmovups %ymm" #n ",736+32*" #n "(%rax)\n"

/* void NAME(struct load *): between NAME_loaded and NAME_done every register but rax, rcx and r11 holds
 * its pattern. The structure's address waits on the stack. */
#define LOOP(name, vec_in, vec_out, site)                                                         \
    __asm__(                                                                                      \
        ".text\n.p2align 6\n.globl " #name "\n" #name ":\n"                                       \
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n"           \
        "mov %rdi,%rbx\n" VEC(                                                                    \
            vec_in) "ldmxcsr 216(%rbx)\n"                                                         \
                    "mov 0(%rbx),%rdi\nmov 8(%rbx),%rsi\nmov 16(%rbx),%rdx\nmov 24(%rbx),%r8\n"   \
                    "mov 32(%rbx),%r9\nmov 40(%rbx),%r10\nmov 48(%rbx),%rbp\nmov 56(%rbx),%r12\n" \
                    "mov 64(%rbx),%r13\nmov 72(%rbx),%r14\nmov 80(%rbx),%r15\n"                   \
                    "push 192(%rbx)\nmov 88(%rbx),%rbx\npopf\n"                                   \
                    ".globl " #name "_loaded\n" #name "_loaded:\n" site ".globl " #name           \
                    "_done\n" #name "_done:\n"                                                    \
                    "mov %rax,%r11\nmov 0(%rsp),%rax\nmov %r11,208(%rax)\n"                       \
                    "mov %rdi,96(%rax)\nmov %rsi,104(%rax)\nmov %rdx,112(%rax)\nmov "             \
                    "%r8,120(%rax)\n"                                                             \
                    "mov %r9,128(%rax)\nmov %r10,136(%rax)\nmov %rbp,144(%rax)\nmov "             \
                    "%r12,152(%rax)\n"                                                            \
                    "mov %r13,160(%rax)\nmov %r14,168(%rax)\nmov %r15,176(%rax)\nmov "            \
                    "%rbx,184(%rax)\n"                                                            \
                    "pushf\npop 200(%rax)\nstmxcsr 220(%rax)\n" VEC(                              \
                        vec_out) "pop %rdi\npop %r15\npop %r14\npop %r13\npop %r12\npop "         \
                                 "%rbp\npop %rbx\nret\n");                                        \
    void name(struct load *);                                                                     \
    extern const char name##_loaded[], name##_done[]

#define GETPPID "mov $110,%eax\nsyscall\n"
#define FAILS "mov $32,%eax\nsyscall\n" /* dup of a number that is none */
LOOP(sse_one, SSE_IN, SSE_OUT, GETPPID);
LOOP(sse_fails, SSE_IN, SSE_OUT, FAILS);
LOOP(avx_one, AVX_IN, AVX_OUT, GETPPID);
LOOP(avx_fails, AVX_IN, AVX_OUT, FAILS);
LOOP(avx_three, AVX_IN, AVX_OUT, FAILS GETPPID "nop\n" GETPPID);

static const struct loop {
    void (*run)(struct load *);
    const char *loaded, *done;
    bool avx, fails;
} loops[] = {{sse_one, sse_one_loaded, sse_one_done, false, false},
             {sse_fails, sse_fails_loaded, sse_fails_done, false, true},
             {avx_one, avx_one_loaded, avx_one_done, true, false},
             {avx_fails, avx_fails_loaded, avx_fails_done, true, true},
             {avx_three, avx_three_loaded, avx_three_done, true, false}};
#define LOOPS (sizeof loops / sizeof loops[0])

static bool has_avx(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) && (c & bit_AVX);
}

static void load_fill(struct load *l, uint64_t seed)
{
    for (unsigned i = 0; i < REGS; i++)
        l->in[i] = (seed + i + 1) * 0x9e3779b97f4a7c15ULL;
    l->in[0] |= 1ULL << 40; /* no descriptor even as 32 bits */
    l->in[0] |= 0x40000000;
    l->flags_in = 0x202 | (seed * 0x1d3 & FLAGS);
    l->mxcsr_in = 0x1f80 | (uint32_t)(seed % 4) << 13 | (uint32_t)(seed % 2) << 15;
    for (unsigned i = 0; i < sizeof l->vec_in; i++)
        l->vec_in[i] = (uint8_t)(seed * 13 + i * 7 + 1);
}

static long parent_pid;

static void load_check(const struct load *l, const struct loop *how)
{
    unsigned width = how->avx ? 32 : 16;

    if ((long)l->rax != (how->fails ? -EBADF : parent_pid))
        guest_equal(__FILE__, __LINE__, "result", (long)l->rax, how->fails ? -EBADF : parent_pid);
    for (unsigned i = 0; i < REGS; i++)
        if (l->out[i] != l->in[i])
            guest_equal(__FILE__, (int)i, "register", (long)l->out[i], (long)l->in[i]);
    if ((l->flags_out & FLAGS) != (l->flags_in & FLAGS))
        guest_equal(__FILE__, __LINE__, "flags", (long)l->flags_out, (long)l->flags_in);
    if (l->mxcsr_out != l->mxcsr_in)
        guest_equal(__FILE__, __LINE__, "mxcsr", l->mxcsr_out, l->mxcsr_in);
    for (unsigned n = 0; n < 16; n++)
        if (memcmp(l->vec_out + 32 * n, l->vec_in + 32 * n, width))
            guest_equal(__FILE__, (int)n, "vector register", 0, 1);
}

/* --- handlers --- */

static _Thread_local struct load *current;
static _Thread_local volatile unsigned long handled, handled_loaded;
static _Thread_local const struct loop *current_loop;
static _Thread_local char *alt_stack;
#define ALT_SIZE 65536u

/* Where frames may say that the program was: its own file, a library's, the vDSO's. */
static uint64_t own[256][2];
static unsigned own_count;

static void own_read(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], perms[8];
    unsigned long a, b;

    CHECK(f);
    own[0][0] = getauxval(AT_SYSINFO_EHDR); /* the vDSO: 0 or two pages */
    own[0][1] = own[0][0] + 8192;
    own_count = 1;
    while (fgets(line, sizeof line, f) && own_count < 256) {
        if (sscanf(line, "%lx-%lx %7s", &a, &b, perms) != 3 || perms[2] != 'x' ||
            strstr(line, "[patch]") || !strchr(line, '/'))
            continue;
        own[own_count][0] = a;
        own[own_count++][1] = b;
    }
    fclose(f);
}

static void frame_vectors(const ucontext_t *uc, const struct load *l, bool avx)
{
    const struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;
    uint32_t magic;

    for (unsigned n = 0; n < 16; n++)
        if (memcmp(&fp->_xmm[n], l->vec_in + 32 * n, 16))
            guest_equal(__FILE__, (int)n, "xmm in the frame", 0, 1);
    if (fp->mxcsr != l->mxcsr_in)
        guest_equal(__FILE__, __LINE__, "mxcsr in the frame", fp->mxcsr, l->mxcsr_in);
    memcpy(&magic, (const char *)fp + 464, sizeof magic);
    if (!avx || magic != 0x46505853U)
        return;
    for (unsigned n = 0; n < 16; n++) /* upper halves: component 2, at 576 in the standard format */
        if (memcmp((const char *)fp + 576 + 16 * n, l->vec_in + 32 * n + 16, 16))
            guest_equal(__FILE__, (int)n, "ymm in the frame", 0, 1);
}

static void frame_check(const ucontext_t *uc)
{
    static const int order[REGS] = {REG_RDI, REG_RSI, REG_RDX, REG_R8,  REG_R9,  REG_R10,
                                    REG_RBP, REG_R12, REG_R13, REG_R14, REG_R15, REG_RBX};
    const greg_t *g = uc->uc_mcontext.gregs;
    uint64_t rip = (uint64_t)g[REG_RIP];
    const struct loop *how = current_loop;
    bool known = false;

    for (unsigned i = 0; i < own_count; i++)
        known |= rip >= own[i][0] && rip < own[i][1];
    if (!known)
        guest_equal(__FILE__, __LINE__, "rip is not the program's", (long)rip, 0);
    if (!how || rip < (uint64_t)(uintptr_t)how->loaded || rip > (uint64_t)(uintptr_t)how->done)
        return;
    handled_loaded++;
    for (unsigned i = 0; i < REGS; i++)
        if ((uint64_t)g[order[i]] != current->in[i])
            guest_equal(__FILE__, (int)i, "register in the frame", (long)g[order[i]],
                        (long)current->in[i]);
    if (((uint64_t)g[REG_EFL] & FLAGS) != (current->flags_in & FLAGS))
        guest_equal(__FILE__, __LINE__, "flags in the frame", (long)g[REG_EFL],
                    (long)current->flags_in);
    frame_vectors(uc, current, how->avx);
}

/* The next signal comes 50 us after this handler: a host that is slow for once does not leave the
 * program nothing but handlers. */
static _Thread_local timer_t again;
static _Thread_local bool again_set;

static void signal_again(void)
{
    const struct itimerspec it = {{0, 0}, {0, PERIOD_NS}};

    if (again_set)
        CHECK(timer_settime(again, 0, &it, NULL) == 0);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    char here;
    struct load l;
    const struct loop *outer = current_loop;
    struct load *outer_load = current;

    (void)sig, (void)info;
    frame_check(context);
    if (alt_stack && (&here < alt_stack || &here >= alt_stack + ALT_SIZE))
        guest_fail(__FILE__, __LINE__, "the handler is not on its stack");
    load_fill(&l, 0x7777 + handled);
    current = &l;
    current_loop = &loops[handled % 2];
    current_loop->run(&l); /* other values in every register */
    load_check(&l, current_loop);
    current_loop = outer;
    current = outer_load;
    handled++;
    signal_again();
}

static void handler_install(int sig, int flags)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};

    CHECK(sigaction(sig, &sa, NULL) == 0);
}

/* Signals for the calling thread. */
static void signals_start(int sig)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = sig};
    ev.sigev_notify_thread_id = guest_gettid();
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &again) == 0);
    again_set = true;
    signal_again();
}

static void signals_stop(void)
{
    again_set = false;
    GUEST_REREAD();
    timer_delete(again);
}

static void loops_run(uint64_t from, unsigned n)
{
    struct load l;

    for (uint64_t i = from; i < from + n; i++) {
        const struct loop *how = &loops[i % LOOPS];
        if (how->avx && !has_avx())
            continue;
        load_fill(&l, i);
        current = &l;
        GUEST_REREAD();
        current_loop = how;
        how->run(&l);
        current_loop = NULL;
        load_check(&l, how);
    }
}

/* Sites are changed now, if they are to be. */
static void warm_up(void)
{
    parent_pid = getppid();
    loops_run(1, 100);
    own_read();
}

#define RUN_NS 500000000LL

static void *storm(void *arg)
{
    uint64_t n = (uint64_t)(uintptr_t)arg << 32;

    if (n) {
        alt_stack =
            mmap(NULL, ALT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(alt_stack != MAP_FAILED);
        stack_t ss = {.ss_sp = alt_stack, .ss_size = ALT_SIZE};
        CHECK(sigaltstack(&ss, NULL) == 0);
    }
    signals_start(SIGRTMIN);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + RUN_NS;
    while (guest_now_ns(CLOCK_MONOTONIC) < end)
        loops_run(n += 50, 50);
    signals_stop();
    if (handled < 20)
        guest_equal(__FILE__, __LINE__, "signals handled", (long)handled, 20);
    return (void *)handled_loaded;
}

static void case_registers(void)
{
    warm_up();
    handler_install(SIGRTMIN, SA_RESTART | SA_ONSTACK);
    (void)storm(NULL);
}

static void case_threads(void)
{
    pthread_t t[3];
    unsigned long loaded = 0;
    void *got;

    warm_up();
    handler_install(SIGRTMIN, SA_RESTART | SA_ONSTACK);
    for (uintptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&t[i], NULL, storm, (void *)i) == 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(pthread_join(t[i], &got) == 0);
        loaded += (unsigned long)(uintptr_t)got;
    }
    CHECK(loaded > 0); /* some frames were of the loaded stretch */
}

/* --- waiting calls --- */

struct writer {
    int fd;
    unsigned count;
};

static void *writer_run(void *arg)
{
    struct writer *w = arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (unsigned i = 0; i < w->count; i++) {
        guest_sleep_ms(1);
        CHECK_EQ(write(w->fd, &i, sizeof i), sizeof i);
    }
    return NULL;
}

/* Reads that wait about 1 ms, 20 signals each: all data in order, no EINTR unless asked for. */
static void pipe_reads(int flags)
{
    struct writer w = {.count = 60};
    unsigned got, interrupted = 0;
    pthread_t thread;
    int p[2];

    CHECK(pipe(p) == 0);
    w.fd = p[1];
    warm_up();
    handler_install(SIGRTMIN, flags);
    CHECK(pthread_create(&thread, NULL, writer_run, &w) == 0);
    signals_start(SIGRTMIN);
    for (unsigned i = 0; i < w.count;) {
        ssize_t n = read(p[0], &got, sizeof got);
        if (n < 0) {
            CHECK_EQ(errno, EINTR);
            interrupted++;
            continue;
        }
        CHECK_EQ(n, sizeof got);
        CHECK_EQ(got, i);
        i++;
    }
    signals_stop();
    pthread_join(thread, NULL);
    CHECK(flags & SA_RESTART ? interrupted == 0 : interrupted > 0);
    CHECK(handled > 0);
}

static void case_restart(void)
{
    pipe_reads(SA_RESTART);
}

static void case_eintr(void)
{
    pipe_reads(0);
}

/* A sleep is never restarted, and what is left adds up. (What is left counts the timer's slack, so
 * it may be a little more than what was asked for.) */
static void case_sleep(void)
{
    struct timespec left = {0, 60000000}, rem;
    unsigned n = 0;

    warm_up();
    handler_install(SIGRTMIN, SA_RESTART);
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    signals_start(SIGRTMIN);
    while (nanosleep(&left, &rem)) {
        CHECK_EQ(errno, EINTR);
        CHECK_EQ(rem.tv_sec, 0);
        CHECK(rem.tv_nsec <= left.tv_nsec + 1000000);
        left = rem;
        if (++n == 100)
            signals_stop();
    }
    CHECK(n > 0);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 60000000);
}

static sigjmp_buf out;
static volatile sig_atomic_t may_jump;

static void on_jump(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    frame_check(context);
    signal_again();
    if (may_jump) {
        may_jump = 0;
        siglongjmp(out, 1);
    }
}

/* Out of handlers that have interrupted calls, waiting and not; whatever the call was in, the next is
 * right. */
static void case_jump(void)
{
    struct sigaction sa = {.sa_sigaction = on_jump, .sa_flags = SA_SIGINFO};
    volatile unsigned jumps = 0;
    volatile uint64_t n = 1;
    char c;
    int p[2];

    CHECK(pipe(p) == 0);
    warm_up();
    CHECK(sigaction(SIGRTMIN, &sa, NULL) == 0);
    signals_start(SIGRTMIN);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 60 * RUN_NS;
    while (jumps < 200 && guest_now_ns(CLOCK_MONOTONIC) < end) {
        if (sigsetjmp(out, 1) == 0) {
            may_jump = 1;
            if (n % 4 == 0)
                (void)!read(p[0], &c, 1); /* only a jump ends it */
            for (;;)
                loops_run(n += 7, 7);
        }
        current_loop = NULL;
        jumps = jumps + 1;
        n = n + 1;
        CHECK_EQ(write(p[1], "x", 1), 1);
        CHECK_EQ(read(p[0], &c, 1), 1);
        CHECK_EQ(getppid(), parent_pid);
    }
    signals_stop();
    CHECK(jumps == 200);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {CASE(registers), CASE(threads), CASE(restart),
                                          CASE(eintr),     CASE(sleep),   CASE(jump)};
GUEST_MAIN(cases)
