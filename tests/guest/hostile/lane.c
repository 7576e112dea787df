/* SPDX-License-Identifier: Apache-2.0
 * lane.c - lies in shared memory: lane words, signal frames, stub text, queues. */
#include "hostile.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/futex.h>

#define LIE_MS 250
#define STUB_BYTES 0xb00
#define UC_REGS 40
#define UC_RSP 160
#define UC_RIP 168
#define UC_EFLAGS 176
#define UC_SEGMENTS 184
#define UC_FPSTATE 224
#define UC_SIGMASK 296

static const int host_signals[] = {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, 64, 63, 0, 9};

static void on_signal(int signo)
{
    (void)signo;
}

/* --- a victim thread makes calls of every kind while others write its lane --- */

static void *quiet_thread(void *arg)
{
    return arg;
}

static void victim(int ms)
{
    struct sigaction sa = {.sa_handler = on_signal};
    int64_t end = now_ms() + ms;
    char buf[256] = {0};
    int p[2] = {-1, -1};

    sigaction(SIGUSR1, &sa, NULL);
    (void)!pipe(p);
    for (unsigned n = 0; now_ms() < end; n++) {
        getppid();
        (void)!write(p[1], buf, sizeof buf);
        (void)!read(p[0], buf, sizeof buf);
        if (n % 4 == 1)
            kill(getpid(), SIGUSR1);
        if (n % 16 == 3) {
            pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            if (pid > 0)
                waitpid(pid, NULL, 0);
        }
        if (n % 16 == 9) {
            pthread_t t;
            if (pthread_create(&t, NULL, quiet_thread, NULL) == 0)
                pthread_join(t, NULL);
        }
        if (n % 8 == 5) {
            volatile char *m =
                mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (m != MAP_FAILED) {
                m[700000] = 1; /* a fault */
                munmap((void *)m, 1 << 20);
            }
        }
    }
}

struct lie {
    volatile uint8_t *lane;
    uint64_t seed;
    uint64_t pause; /* at most, between two lies */
};

static uint64_t lie_value(struct lie *l)
{
    uint64_t r = rnd(&l->seed), low = r >> 8;

    switch (r % 10) {
    case 0:
        return 0;
    case 1:
        return low % 3;
    case 2:
        return UINT64_MAX;
    case 3:
        return (uint64_t)(uintptr_t)l->lane + low % LANE_SIZE;
    case 4:
        return (uint64_t)(uintptr_t)l->lane + (low % LANE_SIZE & ~63ULL);
    case 5:
        return (uint64_t)host_signals[low % 10];
    case 6:
        return (uint64_t)(uintptr_t)l->lane + LANE_SIZE - low % 512;
    case 7:
        return low % 512;
    case 8:
        return STUB_TEXT + low % STUB_BYTES;
    default:
        return rnd(&l->seed);
    }
}

/* Everything, at random. */
static void *liar_random(void *arg)
{
    struct lie *l = arg;

    for (;;) {
        uint64_t r = rnd(&l->seed);
        uint64_t off = r & 1 ? r % 1024 : r % LANE_SIZE;
        *(volatile uint64_t *)(l->lane + (off & ~7ULL)) = lie_value(l);
        if (r % 64 == 0)
            sched_yield();
    }
    return NULL;
}

/* The words that mean something, plausible values. */
static void *liar_words(void *arg)
{
    static const unsigned words32[] = {
        LANE_CALL,       LANE_CALL + 4,    LANE_EVENT,      LANE_EVENT + 4, LANE_GUEST,
        LANE_GUEST + 4,  LANE_GUEST + 8,   LANE_GUEST + 12, LANE_SENTRY,    LANE_SENTRY + 4,
        LANE_SENTRY + 8, LANE_SENTRY + 12, LANE_TID};
    struct lie *l = arg;

    for (;;) {
        uint64_t r = rnd(&l->seed), low = r >> 16;
        if (r & 1)
            *(volatile uint32_t *)(l->lane + words32[low % 13]) = (uint32_t)lie_value(l);
        else
            *(volatile uint64_t *)(l->lane + (r & 2 ? LANE_CALL : LANE_EVENT) + 8 + low % 7 * 8) =
                lie_value(l);
        for (unsigned i = 0; i < (r >> 4) % l->pause; i++)
            __builtin_ia32_pause();
    }
    return NULL;
}

/* The frame of an open event: found as the Sentry finds it. */
static void *liar_frame(void *arg)
{
    static const unsigned fx_words[] = {0, 24, 464, 472, 480, 512, 520, 528, 576};
    struct lie *l = arg;
    struct lane *lane = (struct lane *)(uintptr_t)l->lane;

    for (;;) {
        uint64_t r = rnd(&l->seed), low = r >> 16;
        uint64_t frame = *(volatile uint64_t *)&lane->event.aux - (uint64_t)(uintptr_t)l->lane;
        if (frame >= LANE_SIZE - 304)
            continue;
        volatile uint8_t *uc = l->lane + frame;
        if (r % 4 == 0) {
            *(volatile uint64_t *)(uc + (low % 304 & ~7ULL)) = lie_value(l);
        } else if (r % 4 == 1) {
            *(volatile uint64_t *)(uc + UC_FPSTATE) = lie_value(l);
        } else {
            uint64_t fp = *(volatile uint64_t *)(uc + UC_FPSTATE) - (uint64_t)(uintptr_t)l->lane;
            if (fp < LANE_SIZE - 600)
                *(volatile uint64_t *)(l->lane + fp + fx_words[low % 9]) = lie_value(l);
        }
        for (unsigned i = 0; i < (r >> 4) % l->pause; i++)
            __builtin_ia32_pause();
    }
    return NULL;
}

static void lie_with(void *(*liar)(void *arg), uint64_t seed)
{
    static struct lie lies[2];

    for (int i = 0; i < 2; i++) {
        lies[i] = (struct lie){(volatile uint8_t *)own_lane(), seed * 2 + (uint64_t)i,
                               100ULL << seed % 12};
        if (i == 0 || seed & 1)
            thread_start(liar, &lies[i]);
    }
    victim(LIE_MS);
}

static void child_random(uint64_t seed)
{
    lie_with(liar_random, seed);
}

static void child_words(uint64_t seed)
{
    lie_with(liar_words, seed);
}

static void child_frame(uint64_t seed)
{
    lie_with(liar_frame, seed);
}

void case_lane_random(void)
{
    in_children(child_random, 60, 3000);
}

void case_lane_words(void)
{
    in_children(child_words, 90, 3000);
}

void case_lane_frame(void)
{
    in_children(child_frame, 90, 3000);
}

/* --- slots by hand --- */

/* Post what no stub would post. */
static void child_slot(uint64_t seed)
{
    struct lane *lane = own_lane();
    const struct ring_poller_word *pollers = (const void *)(uintptr_t)STUB_RO;
    struct lie l = {(volatile uint8_t *)lane, seed, 0};
    int64_t end = now_ms() + LIE_MS;
    uint64_t state = seed;

    odd_prepare();
    while (now_ms() < end) {
        struct lane_slot *s = rnd(&state) % 64 ? &lane->call : &lane->event;
        uint32_t nr = rnd(&state) % 3 ? (uint32_t)(rnd(&state) % 460) : (uint32_t)lie_value(&l);
        if (nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_reboot)
            continue;
        s->nr = nr;
        for (int i = 0; i < 6; i++)
            s->arg[i] = odd_value(&state);
        s->aux = lie_value(&l);
        atomic_store(&s->state, s == &lane->call ? SLOT_POSTED : (uint32_t)lie_value(&l));
        atomic_store(&lane->guest.doorbell, 1);
        for (unsigned i = 0; i < 64; i++)
            if (atomic_load(&pollers[i].asleep))
                syscall(SYS_futex, &pollers[i], FUTEX_WAKE, 1, 0, 0, 0);
        for (unsigned i = 0; i < 20000 && atomic_load(&s->state); i++)
            __builtin_ia32_pause();
        if (rnd(&state) % 4 == 0)
            getppid(); /* a trap while the slot is busy */
    }
}

void case_slot(void)
{
    in_children(child_slot, 60, 3000);
}

/* --- the stub --- */

/* Random registers, own lane often; jump. */
static void child_jump(uint64_t arg)
{
    uint64_t seed = arg * 3 + 1, regs[15];
    uint64_t to = STUB_TEXT + arg % STUB_BYTES;
    static char stack[65536];

    odd_prepare();
    for (int i = 0; i < 15; i++)
        regs[i] = odd_value(&seed);
    if (seed & 1)
        regs[1] = (uint64_t)(uintptr_t)own_lane(); /* rbx, as in the handler */
    regs[4] = (uint64_t)(uintptr_t)(rnd(&seed) & 1 ? stack + 32768 : (char *)own_lane() + 0x6000);
    __asm__ volatile("mov %0, %%r15\n"
                     "mov %1, %%rax\n"
                     "push %%rax\n"
                     "mov 0(%%r15), %%rax\n mov 8(%%r15), %%rbx\n mov 16(%%r15), %%rcx\n"
                     "mov 24(%%r15), %%rdx\n mov 40(%%r15), %%rsi\n mov 48(%%r15), %%rdi\n"
                     "mov 56(%%r15), %%r8\n mov 64(%%r15), %%r9\n mov 72(%%r15), %%r10\n"
                     "mov 80(%%r15), %%r11\n mov 88(%%r15), %%r12\n mov 96(%%r15), %%r13\n"
                     "mov 104(%%r15), %%r14\n"
                     "ret\n"
                     :
                     : "r"(regs), "r"(to)
                     : "memory");
}

void case_stub_jump(void)
{
    in_children(child_jump, STUB_BYTES, 60);
    in_children(child_jump, 64, 60);
}

static void child_write(uint64_t at)
{
    *(volatile uint8_t *)(uintptr_t)at = 1;
}

static void child_read_in(uint64_t at)
{
    int p[2];

    if (pipe(p) || write(p[1], "x", 1) != 1)
        _exit(2);
    _exit(read(p[0], (void *)(uintptr_t)at, 1) == -1 && errno == EFAULT ? 0 : 1);
}

static void child_write_out(uint64_t at)
{
    int p[2];

    if (pipe(p))
        _exit(2);
    _exit(write(p[1], (void *)(uintptr_t)at, 8) == -1 && errno == EFAULT ? 0 : 1);
}

void case_stub_write(void)
{
    static const uint64_t places[] = {STUB_TEXT,         STUB_TEXT + 0x100, STUB_REQ,
                                      STUB_REQ + 0x1000, STUB_RO,           STUB_RO + 0x1000,
                                      STUB_RO + 0x1100};

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        int s = in_child(child_write, places[i], 5000);
        CHECK(WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV);
        s = in_child(child_read_in, places[i], 5000); /* nor does the Sentry write there */
        CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
        s = in_child(child_write_out, places[i], 5000);
        CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
    }
    int s = in_child(child_read_in, (uint64_t)(uintptr_t)own_lane(), 5000);
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
}

static void child_unmap(uint64_t arg)
{
    static const uint64_t places[] = {STUB_TEXT,  STUB_REQ,        STUB_RO,        STUB_LANES,
                                      STUB_RINGS, STUB_REGION_END, 0x7ffff7fc0000, 0x7fffffffe000};
    uint64_t seed = arg;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t a = places[i], len = 0x1000ULL << rnd(&seed) % 20;
        raw_call(SYS_munmap, a, len, 0, 0, 0, 0);
        raw_call(SYS_munmap, a - 0x10000, len + 0x20000, 0, 0, 0, 0);
        raw_call(SYS_mprotect, a, len, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0);
        raw_call(SYS_mprotect, a, len, PROT_NONE, 0, 0, 0);
        raw_call(SYS_mremap, a, 0x1000, len, 1, 0, 0);
        raw_call(SYS_mremap, a, 0x1000, 0x1000, 3, 0x10000000, 0);
        raw_call(SYS_madvise, a, len, rnd(&seed) % 26, 0, 0, 0);
        raw_call(SYS_mmap, a, len, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, UINT64_MAX, 0);
        raw_call(SYS_mmap, a, len, 7, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, UINT64_MAX, 0);
        raw_call(SYS_mlock, a, len, 0, 0, 0, 0);
        raw_call(SYS_msync, a, len, 4, 0, 0, 0);
        raw_call(SYS_mincore, a, 0x1000, (uint64_t)(uintptr_t)&seed, 0, 0, 0);
        if (getppid() <= 0 && arg == UINT64_MAX)
            _exit(1);
    }
    raw_call(SYS_munmap, 0, 0x7f0000000000, 0, 0, 0, 0);
}

/* The same through the stub's own syscall instruction, which the filter judges. */
static void child_unmap_in_stub(uint64_t arg)
{
    static const uint32_t calls[] = {
        SYS_munmap, SYS_mprotect,    SYS_madvise,          SYS_mmap,    SYS_arch_prctl, SYS_futex,
        SYS_clone,  SYS_close_range, SYS_exit_group,       SYS_seccomp, SYS_execve,     SYS_openat,
        SYS_kill,   SYS_write,       SYS_process_vm_readv, 1000 /* notify */};
    const uint8_t *text = (const uint8_t *)(uintptr_t)STUB_TEXT;
    uint64_t seed = arg, site = 0, n = 0;
    register uint64_t r10 __asm__("r10"), r8 __asm__("r8"), r9 __asm__("r9");

    odd_prepare();
    for (uint64_t i = 0; i < STUB_BYTES; i++) /* the arg-th syscall instruction */
        if (text[i] == 0x0f && text[i + 1] == 0x05 && n++ == arg % 16)
            site = STUB_TEXT + i;
    if (!site)
        _exit(0);
    uint64_t nr = calls[rnd(&seed) % 16];
    uint64_t a = nr <= 28 && rnd(&seed) & 1 ? STUB_TEXT : odd_value(&seed);
    r10 = odd_value(&seed), r8 = odd_value(&seed), r9 = odd_value(&seed);
    uint64_t b = odd_value(&seed), d = odd_value(&seed);
    __asm__ volatile("jmp *%%rbx"
                     :
                     : "a"(nr), "D"(a), "S"(b), "d"(d), "r"(r10), "r"(r8), "r"(r9), "b"(site)
                     : "memory");
}

void case_stub_unmap(void)
{
    in_children(child_unmap, 24, 3000);
    in_children(child_unmap_in_stub, 400, 80);
}

/* --- futexes on the stub's words --- */

static void *waiter_of_stub(void *arg)
{
    struct timespec t = {0, 50000000};

    for (;;)
        syscall(SYS_futex, arg, FUTEX_WAIT, *(volatile uint32_t *)arg, &t, NULL, 0);
    return NULL;
}

static void child_futex(uint64_t arg)
{
    uint64_t places[] = {STUB_TEXT,
                         STUB_REQ,
                         STUB_RO,
                         STUB_RO + 0x1000,
                         (uint64_t)(uintptr_t)own_lane(),
                         (uint64_t)(uintptr_t)own_lane() + LANE_EVENT,
                         (uint64_t)(uintptr_t)own_lane() + LANE_TID,
                         STUB_REGION_END};
    uint64_t seed = arg;
    int64_t end = now_ms() + LIE_MS;

    for (unsigned i = 0; i < 7; i++)
        thread_start(waiter_of_stub, (void *)(uintptr_t)places[i]);
    while (now_ms() < end) {
        uint64_t a = places[rnd(&seed) % 8], b = places[rnd(&seed) % 8];
        syscall(SYS_futex, a, rnd(&seed) % 14 | (rnd(&seed) & 0x180), rnd(&seed) % 3, 1, b, 3);
        syscall(SYS_set_robust_list, a, 24);
        syscall(SYS_set_tid_address, b);
    }
    syscall(SYS_set_robust_list, places[arg % 8], 24);
}

void case_stub_futex(void)
{
    in_children(child_futex, 16, 3000);
}

/* --- no interrupt gets through --- */

static void spin_for_ever(void)
{
    for (;;)
        __builtin_ia32_pause();
}

/* Jump to the stub's rt_sigreturn with a frame that blocks every signal. */
static void child_mask(uint64_t arg)
{
    static const uint8_t code[] = {0xb8, SYS_rt_sigreturn, 0, 0, 0, 0x0f, 0x05};
    static uint8_t frame[1024] __attribute__((aligned(64)));
    static uint8_t stack[65536] __attribute__((aligned(64)));
    const uint8_t *text = (const uint8_t *)(uintptr_t)STUB_TEXT;
    uint64_t segments = 0x33ULL | 0x2bULL << 48, flags = 0x202, mask = UINT64_MAX;
    uint64_t rip = (uint64_t)(uintptr_t)spin_for_ever, rsp = (uint64_t)(uintptr_t)stack + 65528;

    memcpy(frame + UC_SEGMENTS, &segments, 8);
    memcpy(frame + UC_EFLAGS, &flags, 8);
    memcpy(frame + UC_SIGMASK, &mask, 8);
    memcpy(frame + UC_RIP, &rip, 8);
    memcpy(frame + UC_RSP, &rsp, 8);
    if (arg & 1)
        alarm(1); /* a signal of its own, never taken */
    for (uint64_t i = 0; i < STUB_BYTES; i++)
        if (memcmp(text + i, code, sizeof code) == 0)
            __asm__ volatile("mov %0, %%rsp\n jmp *%1" : : "r"(frame), "r"(text + i) : "memory");
    _exit(1);
}

static void *mask_thread(void *arg)
{
    child_mask(0);
    return arg;
}

/* One thread is deaf, the others go on until the process is told to exit. */
static void child_mask_thread(uint64_t arg)
{
    thread_start(mask_thread, NULL);
    sleep_ms(50);
    for (int i = 0; i < 20; i++)
        getppid();
    if (arg)
        execl("/proc/self/exe", "guest_hostile", "--nothing", (char *)NULL);
    _exit(0);
}

void case_mask_spin(void)
{
    for (uint64_t i = 0; i < 3; i++) {
        int64_t begin = now_ms();
        int s = in_child(child_mask, i, 300);
        /* SIGILL: a platform that makes no call of the stub's comes to what stands behind it */
        CHECK(WIFSIGNALED(s) &&
              (WTERMSIG(s) == SIGKILL || WTERMSIG(s) == SIGALRM || WTERMSIG(s) == SIGILL));
        CHECK(now_ms() - begin < 8000);
    }
    for (uint64_t i = 0; i < 2; i++) {
        int64_t begin = now_ms();
        (void)in_child(child_mask_thread, i, 1000);
        CHECK(now_ms() - begin < 8000);
    }
}

/* --- queues --- */

static struct ring_setup g_queue;

static uint32_t ring_shift_of(uint32_t entries)
{
    return (uint32_t)__builtin_ctz(entries);
}

static void *liar_queue(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    volatile uint8_t *sq = (volatile uint8_t *)(uintptr_t)g_queue.sq_addr;
    volatile uint8_t *cq = (volatile uint8_t *)(uintptr_t)g_queue.cq_addr;

    for (;;) {
        uint64_t r = rnd(&seed);
        if (r % 4)
            *(volatile uint64_t *)(sq + (r >> 8) % (g_queue.sq_entries * 8) * 8) =
                rnd(&seed) >> (r % 64);
        else
            *(volatile uint64_t *)(cq + (r >> 8) % (g_queue.cq_entries * 4) * 8) = rnd(&seed);
    }
    return NULL;
}

static void child_queue(uint64_t seed)
{
    static const unsigned sizes[] = {1, 2, 8, 64, 4096};
    int64_t end = now_ms() + LIE_MS;
    uint64_t state = seed, pos = 0;

    odd_prepare();
    g_queue = (struct ring_setup){.sq_entries = sizes[seed % 5], .cq_entries = sizes[seed % 5]};
    struct ring_setup bad = {.sq_entries = 3, .cq_entries = 1};
    CHECK(raw_call(RING_CTL_NR, RING_CTL_SETUP, (uint64_t)(uintptr_t)&bad, 0, 0, 0, 0) == -EINVAL);
    CHECK(raw_call(RING_CTL_NR, RING_CTL_SETUP, STUB_RO, 0, 0, 0, 0) < 0);
    CHECK(raw_call(RING_CTL_NR, RING_CTL_SETUP, (uint64_t)(uintptr_t)&g_queue, 0, 0, 0, 0) == 0);
    if (seed % 3 == 1)
        thread_start(liar_queue, (void *)(uintptr_t)seed);
    struct ring_sqe *sq = (struct ring_sqe *)(uintptr_t)g_queue.sq_addr;
    uint32_t shift = ring_shift_of(g_queue.sq_entries);
    while (now_ms() < end) {
        unsigned n = 1 + (unsigned)(rnd(&state) % (g_queue.sq_entries * 2));
        for (unsigned i = 0; i < n; i++, pos++) {
            struct ring_sqe *e = &sq[pos & (g_queue.sq_entries - 1)];
            uint32_t nr = (uint32_t)(rnd(&state) % 470);
            if (nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_reboot)
                nr = SYS_getppid;
            e->nr = (uint16_t)nr;
            e->flags = (uint16_t)(rnd(&state) % 8 ? rnd(&state) % 4 : rnd(&state));
            for (int a = 0; a < 6; a++)
                e->args[a] = odd_value(&state);
            e->user_data = rnd(&state);
            uint32_t tag = (uint32_t)(pos >> shift) + 1;
            atomic_store(&e->tag, rnd(&state) % 32 ? tag : (uint32_t)rnd(&state));
        }
        raw_call(RING_CTL_NR, rnd(&state) % 4 ? RING_CTL_KICK : rnd(&state) % 9, 0, 0, 0, 0, 0);
        if (seed % 3 != 2)
            pos = rnd(&state) % 64 ? pos : rnd(&state);
    }
    if (seed % 4 == 0)
        execl("/proc/self/exe", "guest_hostile", "--nothing", (char *)NULL);
}

void case_queue(void)
{
    in_children(child_queue, 75, 3000);
}
