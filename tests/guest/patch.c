/* SPDX-License-Identifier: Apache-2.0
 * patch.c - call sites at every alignment, run by many threads, under signals and single steps:
 * registers, flags, vectors and the red zone are what they were, results are right, and no handler
 * ever sees an address that is not the program's. Natively trivial; meant for a sandbox that
 * changes call sites while they run (ringbox run --patch). */
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include <ring/abi.h>

#include "guest.h"

#define RED 16
#define FLAGS 0xcd5 /* CF PF AF ZF SF DF OF */

struct probe {
    uint64_t in[12], out[12]; /* rdi rsi rdx r8 r9 r10 rbp r12 r13 r14 r15 flags */
    uint64_t red[RED];
    uint64_t rax;
    uint8_t xmm_in[256], xmm_out[256];
};
_Static_assert(offsetof(struct probe, out) == 96, "asm");
_Static_assert(offsetof(struct probe, red) == 192, "asm");
_Static_assert(offsetof(struct probe, rax) == 320, "asm");
_Static_assert(offsetof(struct probe, xmm_in) == 328, "asm");

#define XMM(op, n, at)             \
#op " " at "+16*" #n "(%rbx)," \
        "%xmm" #n "\n"
#define XMM_OUT(n) "movups %xmm" #n ",584+16*" #n "(%rbx)\n"
#define EACH(f) \
    f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define XMM_IN(n) XMM(movups, n, "328")
#define RED_IN(n) "mov 192+8*" #n "(%rbx),%rax\nmov %rax,-128+8*" #n "(%rsp)\n"
#define RED_OUT(n) "mov -128+8*" #n "(%rsp),%rcx\nmov %rcx,192+8*" #n "(%rbx)\n"

/* void NAME(struct probe *): loads everything, calls, stores everything. */
#define PROBE(name, align, skip, site)                                                             \
    __asm__(                                                                                       \
        ".text\n.p2align " #align "\n.skip " #skip ",0x90\n.globl " #name "\n" #name ":\n"         \
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rdi,%rbx\n" EACH(  \
            XMM_IN) "mov 8(%rbx),%rsi\nmov 16(%rbx),%rdx\nmov 24(%rbx),%r8\n"                      \
                    "mov 32(%rbx),%r9\nmov 40(%rbx),%r10\nmov 48(%rbx),%rbp\nmov 56(%rbx),%r12\n"  \
                    "mov 64(%rbx),%r13\nmov 72(%rbx),%r14\nmov 80(%rbx),%r15\nmov 0(%rbx),%rdi\n"  \
                    "push 88(%rbx)\npopf\n" EACH(RED_IN) #name                                     \
        "_site:\n" site #name                                                                      \
        "_end:\n" EACH(RED_OUT) "mov %rax,320(%rbx)\nmov %rdi,96(%rbx)\nmov %rsi,104(%rbx)\n"      \
                                "mov %rdx,112(%rbx)\nmov %r8,120(%rbx)\nmov %r9,128(%rbx)\nmov "   \
                                "%r10,136(%rbx)\n"                                                 \
                                "mov %rbp,144(%rbx)\nmov %r12,152(%rbx)\nmov %r13,160(%rbx)\nmov " \
                                "%r14,168(%rbx)\n"                                                 \
                                "mov %r15,176(%rbx)\npushf\npop 184(%rbx)\ncld\n" EACH(            \
                                    XMM_OUT) "pop %r15\npop %r14\npop %r13\npop %r12\npop "        \
                                             "%rbp\npop %rbx\nret\n");                             \
    void name(struct probe *)

#define GETPPID "mov $110,%eax\nsyscall\n" /* answered in the guest */
#define YIELD "mov $24,%eax\nsyscall\n"    /* posted, as are those with another move in between */
/* Two in each page, so that the second one is changed in a page that others run. */
PROBE(probe0, 12, 0, GETPPID);
PROBE(probe1, 6, 1, YIELD);
PROBE(probe2, 12, 2, GETPPID);
PROBE(probe3, 6, 3, YIELD);
PROBE(probe4, 12, 4, GETPPID);
PROBE(probe5, 6, 5, YIELD);
PROBE(probe6, 12, 6, GETPPID);
PROBE(probe7, 6, 7, YIELD);
PROBE(probe8, 12, 0, "mov $110,%eax\nmov $0x1234567,%edi\nsyscall\n");
PROBE(probe9, 6, 5, "mov $110,%eax\nmov $0x2345678,%r8d\nsyscall\n");
/* read(-1): fails with EBADF, in the form of the C library, with its padding */
__asm__(".text\n.p2align 6\n.skip 8,0x90\n.globl read_short\nread_short:\nxor %eax,%eax\nsyscall\n"
        "cmp $-4096,%rax\nja 1f\nret\n.p2align 4\n1:ret\n");
long read_short(long fd, void *buf, size_t n);

typedef void probe_fn(struct probe *);
static probe_fn *const probes[] = {probe0, probe1, probe2, probe3, probe4,
                                   probe5, probe6, probe7, probe8, probe9};
#define PROBES (sizeof probes / sizeof probes[0])

static bool is_yield(unsigned which)
{
    return which < 8 && which % 2;
}

static void probe_fill(struct probe *p, uint64_t seed)
{
    for (unsigned i = 0; i < 12; i++)
        p->in[i] = (seed + i) * 0x9e3779b97f4a7c15ULL;
    p->in[11] = 0x202 | (p->in[11] & FLAGS & ~0x400ULL);
    for (unsigned i = 0; i < RED; i++)
        p->red[i] = seed * 31 + i;
    for (unsigned i = 0; i < sizeof p->xmm_in; i++)
        p->xmm_in[i] = (uint8_t)(seed + i * 7);
}

static void probe_run(unsigned which, uint64_t seed, long parent)
{
    struct probe p;

    probe_fill(&p, seed);
    probes[which](&p);
    if (which == 8)
        p.in[0] = 0x1234567;
    if (which == 9)
        p.in[3] = 0x2345678;
    CHECK_EQ(p.rax, is_yield(which) ? 0 : parent);
    for (unsigned i = 0; i < 11; i++)
        CHECK_EQ(p.out[i], p.in[i]);
    CHECK_EQ(p.out[11] & FLAGS, p.in[11] & FLAGS);
    for (unsigned i = 0; i < RED; i++)
        CHECK_EQ(p.red[i], seed * 31 + i);
    CHECK(memcmp(p.xmm_in, p.xmm_out, sizeof p.xmm_in) == 0);
}

/* --- addresses --- */

static uint64_t areas[64][2];
static unsigned area_count;

static void areas_read(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];

    area_count = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long a, b;
        if (strstr(line, "[patch]") && sscanf(line, "%lx-%lx", &a, &b) == 2 && area_count < 64) {
            areas[area_count][0] = a;
            areas[area_count++][1] = b;
        }
    }
    if (f)
        fclose(f);
}

static void rip_check(const ucontext_t *uc)
{
    uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];

    if (rip >= STUB_REGION && rip < STUB_REGION_END)
        guest_equal(__FILE__, __LINE__, "rip in the stub", (long long)rip, 0);
    for (unsigned i = 0; i < area_count; i++)
        if (rip >= areas[i][0] && rip < areas[i][1])
            guest_equal(__FILE__, __LINE__, "rip in a trampoline", (long long)rip, 0);
}

static volatile sig_atomic_t handled;
static long parent_pid;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    rip_check(context);
    probe_run((unsigned)handled % PROBES, (uint64_t)handled, parent_pid);
    handled++;
}

static void on_signal_install(int sig)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

    parent_pid = getppid();
    sigaction(sig, &sa, NULL);
}

/* --- cases --- */

static void case_plain(void)
{
    for (unsigned which = 0; which < PROBES; which++)
        for (unsigned i = 0; i < 40; i++)
            probe_run(which, i, getppid());
    for (unsigned i = 0; i < 40; i++)
        CHECK_EQ(read_short(-1, NULL, 0), -EBADF);
}

struct racer {
    pthread_barrier_t *barrier;
    long parent;
};

static void *race_thread(void *arg)
{
    struct racer *r = arg;

    for (unsigned which = 0; which < PROBES; which++) {
        pthread_barrier_wait(r->barrier);
        for (unsigned i = 0; i < 300; i++)
            probe_run(which, i, r->parent);
    }
    pthread_barrier_wait(r->barrier);
    for (unsigned i = 0; i < 300; i++)
        if (read_short(-1, NULL, 0) != -EBADF)
            guest_fail(__FILE__, __LINE__, "read");
    return NULL;
}

/* Eight threads meet each site before it has been changed. */
static void case_race(void)
{
    pthread_barrier_t barrier;
    struct racer r = {&barrier, getppid()};
    pthread_t t[8];

    pthread_barrier_init(&barrier, NULL, 8);
    for (unsigned i = 0; i < 8; i++)
        CHECK(pthread_create(&t[i], NULL, race_thread, &r) == 0);
    for (unsigned i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
}

/* A timer of 50 us into loops of calls; the handler calls too. */
static void case_signals(void)
{
    struct itimerval it = {{0, 50}, {0, 50}}, off = {0};
    int p[2], got;

    CHECK(pipe(p) == 0);
    case_plain();
    areas_read();
    on_signal_install(SIGALRM);
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 400000000;
    for (int i = 0; guest_now_ns(CLOCK_MONOTONIC) < end; i++) {
        probe_run((unsigned)i % PROBES, (uint64_t)i, parent_pid);
        CHECK_EQ(read_short(-1, NULL, 0), -EBADF);
        CHECK_EQ(write(p[1], &i, sizeof i), sizeof i);
        CHECK_EQ(read(p[0], &got, sizeof got), sizeof got);
        CHECK_EQ(got, i);
    }
    setitimer(ITIMER_REAL, &off, NULL);
    CHECK(handled > 10);
}

static volatile int storm_over;

static void *storm_thread(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; !storm_over; i++)
        probe_run((unsigned)i % PROBES, i, parent_pid);
    return NULL;
}

/* Signals from another thread into threads that only call. */
static void case_thread_signals(void)
{
    pthread_t t[3];

    case_plain();
    areas_read();
    on_signal_install(SIGUSR1);
    for (unsigned i = 0; i < 3; i++)
        CHECK(pthread_create(&t[i], NULL, storm_thread, NULL) == 0);
    int64_t end = guest_now_ns(CLOCK_MONOTONIC) + 300000000;
    for (unsigned i = 0; guest_now_ns(CLOCK_MONOTONIC) < end; i++) {
        pthread_kill(t[i % 3], SIGUSR1);
        if (i % 16 == 0)
            sched_yield();
    }
    storm_over = 1;
    for (unsigned i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK(handled > 0);
}

/* A call that waits is interrupted, and restarted. */
static void case_waiting(void)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    struct itimerval once = {{0, 0}, {0, 20000}};
    struct timespec ts = {0, 60000000};
    char c;
    int p[2];

    parent_pid = getppid();
    CHECK(pipe(p) == 0);
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(write(p[1], "x", 1), 1);
        CHECK_EQ(read(p[0], &c, 1), 1);
    }
    areas_read();
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &once, NULL);
    CHECK_ERR(read(p[0], &c, 1), EINTR);
    CHECK_EQ(handled, 1);
    on_signal_install(SIGALRM);
    pid_t pid = fork();
    if (pid == 0) {
        guest_sleep_ms(60);
        _exit(write(p[1], "y", 1) != 1);
    }
    setitimer(ITIMER_REAL, &once, NULL);
    CHECK_EQ(read(p[0], &c, 1), 1);
    CHECK_EQ(handled, 2);
    CHECK_EQ(guest_wait(pid), 0);
    signal(SIGALRM, SIG_IGN);
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    setitimer(ITIMER_REAL, &once, NULL);
    CHECK_EQ(nanosleep(&ts, NULL), 0);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 60000000);
}

static void child_calls(void *arg)
{
    for (unsigned which = 0; which < PROBES; which++)
        for (unsigned i = 0; i < 20; i++)
            probe_run(which, i, *(long *)arg);
    CHECK_EQ(read_short(-1, NULL, 0), -EBADF);
}

/* Children inherit what has been changed, and change the rest. */
static void case_fork(void)
{
    long self = getpid();

    for (unsigned i = 0; i < 40; i++)
        probe_run(i % 5, i, getppid());
    for (unsigned i = 0; i < 4; i++) {
        pid_t pid = guest_fork(child_calls, &self);
        for (unsigned k = 0; k < 40; k++)
            probe_run(5 + k % 5, k, getppid());
        CHECK_EQ(guest_wait(pid), 0);
    }
}

/* The program's own selector in GS takes away the base. */
static void case_gs(void)
{
    case_plain();
    for (unsigned i = 0; i < 20; i++) {
        __asm__ volatile("mov %0,%%gs" : : "r"(0));
        probe_run(i % PROBES, i, getppid());
    }
}

static uint64_t gs_word(void)
{
    uint64_t v;

    __asm__ volatile("mov %%gs:8,%0" : "=r"(v));
    return v;
}

static uint64_t gs_block[4] = {1, 0x1234567812345678, 3, 4};

static void gs_child(void *arg)
{
    uint64_t base = 0;

    for (unsigned i = 0; i < 40; i++)
        probe_run(i % PROBES, i, *(long *)arg);
    CHECK_EQ(gs_word(), gs_block[1]);
    CHECK_EQ(syscall(SYS_arch_prctl, 0x1004, &base), 0);
    CHECK_EQ(base, (uint64_t)(uintptr_t)gs_block);
}

static void *gs_thread(void *arg)
{
    gs_child(arg);
    return NULL;
}

/* A base of its own, set when sites have been changed: kept by signals, threads and children. */
static void case_gs_base(void)
{
    long parent = getppid(), self = getpid();
    pthread_t t;

    case_plain();
    CHECK_EQ(syscall(SYS_arch_prctl, 0x1001, gs_block), 0);
    gs_child(&parent);
    on_signal_install(SIGUSR1);
    for (unsigned i = 0; i < 20; i++) {
        raise(SIGUSR1);
        CHECK_EQ(gs_word(), gs_block[1]);
    }
    CHECK_EQ(handled, 20);
    CHECK(pthread_create(&t, NULL, gs_thread, &parent) == 0);
    pthread_join(t, NULL);
    CHECK_EQ(guest_wait(guest_fork(gs_child, &self)), 0);
    CHECK_EQ(gs_block[0] == 1 && gs_block[2] == 3 && gs_block[3] == 4, 1);
    CHECK_ERR(syscall(SYS_arch_prctl, 0x1001, 1UL << 63), EPERM);
}

static void on_step(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    rip_check(context);
    handled++;
}

static void case_single_step(void)
{
    struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    struct probe p;

    case_plain();
    areas_read();
    sigaction(SIGTRAP, &sa, NULL);
    for (unsigned i = 0; i < PROBES; i++) {
        probe_fill(&p, i);
        p.in[11] |= 0x100;
        handled = 0;
        probes[i](&p);
        __asm__ volatile("pushf\nandq $~0x100,(%%rsp)\npopf" : : : "memory", "cc");
        CHECK_EQ(p.rax, is_yield(i) ? 0 : getppid());
        CHECK(handled > 10);
    }
}

static void overwrite(void *arg)
{
    long how = *(long *)arg;

    case_plain();
    areas_read();
    for (unsigned i = 0; i < area_count; i++) {
        size_t len = areas[i][1] - areas[i][0];
        void *at = (void *)areas[i][0];
        if (how == 0)
            CHECK(munmap(at, len) == 0);
        else if (how == 1)
            memset(mmap(at, len, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                   0xcc, len);
        else
            memset(mmap(at, len, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                   0x0f, len);
    }
    for (unsigned i = 0; i < PROBES; i++)
        probe_run(i, i, getppid());
}

/* A guest that takes its trampolines away dies by it, alone. */
static void case_overwrite(void)
{
    for (long how = 0; how < 3; how++) {
        int status = guest_wait(guest_fork(overwrite, &how));
        CHECK(status == 0 || WIFSIGNALED(status));
    }
    case_plain();
}

/* Text that is mapped anew at the same place is changed anew. */
static void case_remapped(void)
{
    static const uint8_t code[] = {0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3};
    uint8_t page[4096];

    memset(page, 0x90, sizeof page);
    memcpy(page + 1024, code, sizeof code);
    char name[] = "/tmp/patch.XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, page, sizeof page), sizeof page);
    uint8_t *at = NULL;
    for (unsigned i = 0; i < 6; i++) {
        uint8_t *p =
            mmap(at, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | (at ? MAP_FIXED : 0), fd, 0);
        CHECK(p != MAP_FAILED);
        at = p;
        for (unsigned k = 0; k < 20; k++)
            CHECK_EQ(((long (*)(void))(uintptr_t)(p + 1024))(), getppid());
        if (i % 2)
            CHECK(munmap(p, 4096) == 0);
    }
    unlink(name);
    close(fd);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(plain), CASE(race),    CASE(signals),     CASE(thread_signals), CASE(waiting),  CASE(fork),
    CASE(gs),    CASE(gs_base), CASE(single_step), CASE(overwrite),      CASE(remapped),
};
GUEST_MAIN(cases)
