/* SPDX-License-Identifier: Apache-2.0
 * sigstack.c - alternate stacks, returning otherwise than by return, what faults report. */
#include "guest.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

static volatile sig_atomic_t g_hits;
static siginfo_t g_info;
static ucontext_t g_uc;
static uintptr_t g_sp;
static sigjmp_buf g_jump;

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
    g_sp = (uintptr_t)__builtin_frame_address(0);
    g_hits = g_hits + 1;
}

static void record_jump(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    siglongjmp(g_jump, 1);
}

/* --- alternate stack --- */

static char g_stack[65536] __attribute__((aligned(16)));
static stack_t g_seen;

static bool on_stack(uintptr_t sp)
{
    return sp > (uintptr_t)g_stack && sp <= (uintptr_t)g_stack + sizeof(g_stack);
}

static void alt_handler(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    CHECK(sigaltstack(NULL, &g_seen) == 0);
    if (g_seen.ss_flags & SS_ONSTACK) {
        stack_t s = {.ss_sp = g_stack, .ss_size = sizeof(g_stack)};
        CHECK_ERR(sigaltstack(&s, NULL), EPERM); /* not while it is in use */
    }
}

static void set_altstack(int flags)
{
    stack_t s = {.ss_sp = g_stack, .ss_size = sizeof(g_stack), .ss_flags = flags};
    CHECK(sigaltstack(&s, NULL) == 0);
}

static void case_altstack(void)
{
    stack_t old;
    CHECK(sigaltstack(NULL, &old) == 0);
    CHECK_EQ(old.ss_flags, SS_DISABLE);
    set_altstack(0);
    CHECK(sigaltstack(NULL, &old) == 0);
    CHECK_EQ(old.ss_flags, 0);
    CHECK(old.ss_sp == g_stack);
    CHECK_EQ(old.ss_size, sizeof(g_stack));
    handle(SIGUSR1, alt_handler, SA_ONSTACK);
    handle(SIGUSR2, alt_handler, 0);
    raise(SIGUSR1);
    CHECK(on_stack(g_sp));
    CHECK_EQ(g_seen.ss_flags, SS_ONSTACK);
    CHECK(g_uc.uc_stack.ss_sp == g_stack);
    raise(SIGUSR2); /* did not ask for it */
    CHECK(!on_stack(g_sp));
    CHECK_EQ(g_seen.ss_flags, 0);
    stack_t off = {.ss_flags = SS_DISABLE};
    CHECK(sigaltstack(&off, &old) == 0);
    CHECK(old.ss_sp == g_stack);
    raise(SIGUSR1);
    CHECK(!on_stack(g_sp));
}

static void case_altstack_errors(void)
{
    stack_t s = {.ss_sp = g_stack, .ss_size = 100};
    CHECK_ERR(sigaltstack(&s, NULL), ENOMEM);
    s.ss_size = sizeof(g_stack);
    s.ss_flags = 0x40;
    CHECK_ERR(sigaltstack(&s, NULL), EINVAL);
    CHECK_ERR(sigaltstack((stack_t *)8, NULL), EFAULT);
}

static void nested_alt(int signo, siginfo_t *si, void *uc)
{
    uintptr_t outer = (uintptr_t)__builtin_frame_address(0);
    CHECK(on_stack(outer));
    if (signo == SIGUSR1) {
        raise(SIGUSR2);
        CHECK(on_stack(g_sp));
        CHECK(g_sp < outer); /* continues below, does not start again at the top */
    }
    record(signo, si, uc);
}

static void case_altstack_nested(void)
{
    set_altstack(0);
    handle(SIGUSR1, nested_alt, SA_ONSTACK);
    handle(SIGUSR2, nested_alt, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK_EQ(g_hits, 2);
}

static void disarmed(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    CHECK(sigaltstack(NULL, &g_seen) == 0);
}

static void case_altstack_autodisarm(void)
{
    stack_t now;
    set_altstack((int)(1U << 31)); /* SS_AUTODISARM */
    handle(SIGUSR1, disarmed, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(on_stack(g_sp));
    CHECK_EQ(g_seen.ss_flags & SS_DISABLE, SS_DISABLE);
    CHECK(sigaltstack(NULL, &now) == 0); /* comes back with the frame */
    CHECK(now.ss_sp == g_stack);
    CHECK_EQ(now.ss_size, sizeof(g_stack));
}

/* Stack exhausted: the fault can only be handled elsewhere. */
__attribute__((noinline)) static int recurse(int n)
{
    volatile char page[4096];
    page[0] = (char)n;
    return n < 0 ? 0 : recurse(n + 1) + page[0];
}

static void *overflow_thread(void *arg)
{
    static char small[32768];
    (void)arg;
    stack_t s = {.ss_sp = small, .ss_size = sizeof(small)};
    CHECK(sigaltstack(&s, NULL) == 0);
    if (sigsetjmp(g_jump, 1) == 0)
        recurse(0);
    return NULL;
}

static void case_stack_overflow(void)
{
    pthread_t th;
    handle(SIGSEGV, record_jump, SA_ONSTACK);
    CHECK(pthread_create(&th, NULL, overflow_thread, NULL) == 0);
    CHECK(pthread_join(th, NULL) == 0);
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_signo, SIGSEGV);
}

static void case_no_room_for_frame(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        handle(SIGUSR1, record, 0);
        handle(SIGSEGV, record, 0); /* has no room either */
        __asm__ volatile("mov $8, %%rsp; mov $62, %%eax; syscall; ud2"
                         :
                         : "D"((long)getpid()), "S"((long)SIGUSR1)
                         : "memory");
        _exit(1);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

static void case_bad_sigreturn(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        __asm__ volatile("mov $64, %%rsp; mov $15, %%eax; syscall; ud2" : : : "memory");
        _exit(1);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

/* --- jumps --- */

static void case_siglongjmp(void)
{
    sigset_t now;
    handle(SIGUSR1, record_jump, 0);
    for (int i = 0; i < 100; i++)
        if (sigsetjmp(g_jump, 1) == 0) {
            raise(SIGUSR1);
            CHECK(!"reached");
        }
    CHECK_EQ(g_hits, 100);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR1) == 0);
    if (sigsetjmp(g_jump, 0) == 0)
        raise(SIGUSR1);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR1) == 1); /* not restored without savemask */
}

static ucontext_t g_main, g_co;
static int g_steps;

static void coroutine(void)
{
    for (int i = 0; i < 3; i++) {
        g_steps++;
        CHECK(swapcontext(&g_co, &g_main) == 0);
    }
}

static void case_swapcontext(void)
{
    CHECK(getcontext(&g_co) == 0);
    g_co.uc_stack.ss_sp = g_stack;
    g_co.uc_stack.ss_size = sizeof(g_stack);
    g_co.uc_link = &g_main;
    makecontext(&g_co, coroutine, 0);
    for (int i = 0; i < 3; i++) {
        CHECK(swapcontext(&g_main, &g_co) == 0);
        CHECK_EQ(g_steps, i + 1);
    }
}

/* --- faults --- */

static void skip_to(int signo, siginfo_t *si, void *p)
{
    record(signo, si, p);
    ((ucontext_t *)p)->uc_mcontext.gregs[REG_RIP] += g_steps; /* over the instruction */
}

static void case_segv_info(void)
{
    handle(SIGSEGV, record_jump, 0);
    char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(ro != MAP_FAILED && gone != MAP_FAILED);
    munmap(gone, 4096);

    if (sigsetjmp(g_jump, 1) == 0)
        *(volatile char *)(gone + 5) = 1;
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_code, SEGV_MAPERR);
    CHECK(g_info.si_addr == gone + 5);
    CHECK_EQ(g_uc.uc_mcontext.gregs[REG_TRAPNO], 14);
    CHECK(g_uc.uc_mcontext.gregs[REG_ERR] & 2); /* a write */
    CHECK_EQ(g_uc.uc_mcontext.gregs[REG_CR2], (uintptr_t)gone + 5);

    if (sigsetjmp(g_jump, 1) == 0)
        *(volatile char *)(ro + 7) = 1;
    CHECK_EQ(g_hits, 2);
    CHECK_EQ(g_info.si_code, SEGV_ACCERR);
    CHECK(g_info.si_addr == ro + 7);

    if (sigsetjmp(g_jump, 1) == 0)
        (void)*(volatile char *)16;
    CHECK_EQ(g_info.si_code, SEGV_MAPERR);
    CHECK_EQ((uintptr_t)g_info.si_addr, 16);
    CHECK(!(g_uc.uc_mcontext.gregs[REG_ERR] & 2));
}

static void case_segv_exec(void)
{
    handle(SIGSEGV, record_jump, 0);
    char *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data[0] = (char)0xc3;
    if (sigsetjmp(g_jump, 1) == 0)
        ((void (*)(void))(uintptr_t)data)();
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_code, SEGV_ACCERR);
    CHECK(g_info.si_addr == data);
}

static void case_segv_noncanonical(void)
{
    handle(SIGSEGV, record_jump, 0);
    if (sigsetjmp(g_jump, 1) == 0)
        (void)*(volatile char *)0x8000000000000000ULL;
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_code, SI_KERNEL);
    CHECK_EQ((uintptr_t)g_info.si_addr, 0);
}

static void case_fpe_ill_trap(void)
{
    handle(SIGFPE, record_jump, 0);
    handle(SIGILL, record_jump, 0);
    handle(SIGTRAP, record, 0);
    if (sigsetjmp(g_jump, 1) == 0)
        __asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" : : "a"(1) : "rcx", "rdx");
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_signo, SIGFPE);
    CHECK_EQ(g_info.si_code, FPE_INTDIV);
    CHECK(g_info.si_addr != NULL);
    if (sigsetjmp(g_jump, 1) == 0)
        __asm__ volatile("ud2");
    CHECK_EQ(g_info.si_signo, SIGILL);
    CHECK_EQ(g_info.si_code, ILL_ILLOPN);
    __asm__ volatile("int3");
    CHECK_EQ(g_info.si_signo, SIGTRAP);
    CHECK_EQ(g_info.si_code, SI_KERNEL);
    CHECK_EQ(g_hits, 3);
}

static void case_skip_instruction(void)
{
    handle(SIGILL, skip_to, 0);
    g_steps = 2;
    for (int i = 0; i < 50; i++)
        __asm__ volatile("ud2");
    CHECK_EQ(g_hits, 50);
}

static char *g_page;

static void open_page(int signo, siginfo_t *si, void *uc)
{
    record(signo, si, uc);
    CHECK(mprotect(g_page, 4096, PROT_READ | PROT_WRITE) == 0);
}

static void case_segv_repaired(void)
{
    handle(SIGSEGV, open_page, 0);
    g_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 20; i++) {
        g_page[i] = (char)i; /* made again after the handler */
        CHECK_EQ(g_page[i], i);
        CHECK(mprotect(g_page, 4096, PROT_NONE) == 0);
    }
    CHECK_EQ(g_hits, 20);
}

static void case_segv_blocked(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t s;
        sigemptyset(&s);
        sigaddset(&s, SIGSEGV);
        handle(SIGSEGV, record, 0);
        sigprocmask(SIG_BLOCK, &s, NULL);
        *(volatile char *)8 = 1; /* blocked: fatal, the handler is not used */
        _exit(1);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
    pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_IGN);
        *(volatile char *)8 = 1;
        _exit(1);
    }
    status = guest_wait(pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

static void case_segv_in_handler(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction a = {.sa_handler = (void (*)(int))(uintptr_t)0x10};
        sigaction(SIGUSR1, &a, NULL);
        raise(SIGUSR1); /* jumps to nowhere */
        _exit(1);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(altstack),        CASE(altstack_errors),
    CASE(altstack_nested), CASE(altstack_autodisarm),
    CASE(stack_overflow),  CASE(no_room_for_frame),
    CASE(bad_sigreturn),   CASE(siglongjmp),
    CASE(swapcontext),     CASE(segv_info),
    CASE(segv_exec),       CASE(segv_noncanonical),
    CASE(fpe_ill_trap),    CASE(skip_instruction),
    CASE(segv_repaired),   CASE(segv_blocked),
    CASE(segv_in_handler),
};
GUEST_MAIN(cases)
