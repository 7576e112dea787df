/* SPDX-License-Identifier: Apache-2.0
 * patched.c - attacks on what makes calls fast: the code that changed call sites jump to, the segment
 * base by which it finds its lane, the lane's words while such calls are in flight. Where sites are
 * not changed, the attacks find less to attack. */
#include "hostile.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ATTACK_MS 250
#define CALLERS 3
#define HWCAP2_FSGSBASE 2UL
#define ARCH_SET_GS 0x1001

/* Sites of our own, two lines apart. */
#define SITE(name, nr)                                                                          \
    __asm__(".text\n.p2align 7\n" #name ":\nmov $" #nr ",%eax\nsyscall\nret\n.skip 64,0x90\n"); \
    long name(long a, void *b, long c)
SITE(site_getppid, 110);
SITE(site_dup, 32);
SITE(site_lseek, 8);
SITE(site_umask, 95);

static void call_all(void)
{
    char b[8];

    site_getppid(0, NULL, 0);
    site_dup(-1, NULL, 0);
    site_lseek(-1, NULL, 1);
    site_umask(022, NULL, 0);
    (void)!read(-1, b, sizeof b);
    (void)!write(-1, b, sizeof b);
}

static void *caller(void *arg)
{
    for (;;)
        call_all();
    return arg;
}

/* Where a changed site leads to, or 0. */
static uintptr_t slot_of(const void *site)
{
    const unsigned char *p = site;
    int32_t rel;

    if (p[0] != 0xe9)
        return 0;
    memcpy(&rel, p + 1, sizeof rel);
    return (uintptr_t)(p + 5 + rel);
}

static void callers_start(void)
{
    for (int i = 0; i < CALLERS; i++)
        thread_start(caller, NULL);
    for (int i = 0; i < 300; i++)
        call_all();
}

/* --- the code behind the jumps --- */

static void slots_attack(uint64_t seed, uintptr_t page)
{
    char *at = (char *)page;

    switch (rnd(&seed) % 7) {
    case 0:
        (void)mprotect(at, 4096, PROT_READ | PROT_WRITE);
        break;
    case 1:
        (void)mprotect(at, 4096, PROT_NONE);
        break;
    case 2:
        (void)munmap(at, 4096);
        break;
    case 3: { /* our own code there: straight into the stub */
        char *p = mmap(at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        for (unsigned i = 0; p != MAP_FAILED && i + 14 <= 4096; i += 14) {
            uint64_t to = STUB_TEXT + rnd(&seed) % 0x800;
            memcpy(p + i, "\xff\x25\0\0\0\0", 6);
            memcpy(p + i + 6, &to, 8);
        }
        break;
    }
    case 4: {
        char *p = mmap(at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (p != MAP_FAILED)
            memset(p, (int)rnd(&seed), 4096);
        break;
    }
    case 5:
        (void)mremap(at, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at + (1 << 20));
        break;
    default:
        (void)madvise(at, 4096, MADV_DONTNEED);
    }
    (void)mprotect(at, 4096, PROT_READ | PROT_EXEC);
}

static void child_slots(uint64_t seed)
{
    int64_t end = now_ms() + ATTACK_MS;

    callers_start();
    uintptr_t slot = slot_of((const void *)site_getppid);
    if (!slot) /* not changed: the text itself, then */
        slot = (uintptr_t)site_getppid;
    do {
        slots_attack(rnd(&seed), slot & ~4095UL);
        pid_t pid = fork(); /* and children inherit the mess */
        if (pid == 0) {
            call_all();
            _exit(0);
        }
        sleep_ms(1);
    } while (now_ms() < end);
}

void case_patch_slots(void)
{
    in_children(child_slots, 16, 6000);
}

/* --- the segment base --- */

static __attribute__((target("fsgsbase"))) void base_set(uint64_t base)
{
    __asm__ volatile("wrgsbase %0" : : "r"(base));
}

static uint64_t base_odd(uint64_t *seed)
{
    static _Alignas(4096) unsigned char fake[LANE_SIZE];
    uint64_t r = rnd(seed);

    switch (r % 8) {
    case 0:
        return 0;
    case 1: /* another thread's lane, or none's */
        return (uint64_t)(uintptr_t)own_lane() + (r >> 8) % 8 * LANE_SIZE;
    case 2:
        memset(fake, (int)(r >> 8), 1024);
        return (uint64_t)(uintptr_t)fake;
    case 3:
        return STUB_RO;
    case 4:
        return STUB_TEXT + (r >> 8) % 4096;
    case 5:
        return (uint64_t)(uintptr_t)own_lane() + (r >> 8) % LANE_SIZE;
    case 6:
        return 0x7fffffffe000;
    default:
        return odd_value(seed) & 0x7fffffffffff;
    }
}

static uint64_t base_seed;

static void *base_changer(void *arg)
{
    uint64_t seed = base_seed + (uint64_t)(uintptr_t)arg;
    bool direct = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;

    for (;;) {
        uint64_t base = base_odd(&seed);
        if (direct && rnd(&seed) % 4)
            base_set(base);
        else if (rnd(&seed) % 2)
            __asm__ volatile("mov %0,%%gs" : : "r"((unsigned)(rnd(&seed) % 4 ? 0 : 0x2b)));
        else
            raw_call(SYS_arch_prctl, ARCH_SET_GS, base, 0, 0, 0, 0);
        for (uint64_t n = rnd(&seed) % 8; n; n--)
            call_all();
    }
    return NULL;
}

static void child_base(uint64_t seed)
{
    odd_prepare();
    for (int i = 0; i < 300; i++)
        call_all();
    base_seed = seed * 8;
    thread_start(caller, NULL);
    for (uintptr_t i = 0; i < 3; i++)
        thread_start(base_changer, (void *)i);
    sleep_ms(ATTACK_MS);
}

void case_patch_gs(void)
{
    in_children(child_base, 16, 6000);
}

/* --- words of the lanes of threads whose calls are in flight --- */

static bool sends_signals(uint64_t nr)
{
    return nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_rt_sigqueueinfo ||
           nr == SYS_rt_tgsigqueueinfo || nr == SYS_pidfd_send_signal;
}

static void child_flight(uint64_t seed)
{
    struct lane *own = own_lane();
    int64_t end = now_ms() + ATTACK_MS;

    callers_start();
    while (now_ms() < end) {
        for (unsigned n = 0; n < 500; n++) {
            uint64_t r = rnd(&seed);
            volatile uint8_t *lane = (volatile uint8_t *)own + (1 + r % CALLERS) * LANE_SIZE;
            uint64_t low = r >> 16;
            switch ((r >> 8) % 6) {
            case 0: /* the state word: a post of ours in the middle of theirs, or their reply taken away */
                *(volatile uint32_t *)(lane + LANE_CALL) = (uint32_t)(low % 3);
                break;
            case 1:
                /* not what sends signals: it would rightly hit the sibling */
                if (!sends_signals(low % 512))
                    *(volatile uint32_t *)(lane + LANE_CALL + 4) = (uint32_t)(low % 512);
                break;
            case 2:
                *(volatile uint64_t *)(lane + LANE_CALL + 8 + low % 7 * 8) = odd_value(&seed);
                break;
            case 3:
                *(volatile uint64_t *)(lane + LANE_GUEST + low % 8 * 8) = low % 3;
                break;
            case 4: /* what the posting code has saved there, its return address too */
                *(volatile uint64_t *)(lane + LANE_PRIV + low % 32 * 8) = odd_value(&seed);
                break;
            default:
                *(volatile uint64_t *)(lane + LANE_STACK +
                                       low % ((LANE_SIZE - LANE_STACK) / 8) * 8) = odd_value(&seed);
            }
        }
        sched_yield();
    }
}

static void child_flight_start(uint64_t seed)
{
    odd_prepare();
    child_flight(seed);
}

void case_patch_flight(void)
{
    in_children(child_flight_start, 24, 6000);
}
