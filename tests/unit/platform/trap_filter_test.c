/* SPDX-License-Identifier: Apache-2.0
 * trap_filter_test.c - both seccomp filters, executed number by number on an interpreter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <guestlib/stub.h>
#include <trap/filter.h>

static struct sock_filter guest[TRAP_FILTER_MAX], mapper[TRAP_FILTER_MAX];
static size_t guest_len, mapper_len;

static bool jump(uint16_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BPF_JEQ:
        return a == b;
    case BPF_JGE:
        return a >= b;
    case BPF_JGT:
        return a > b;
    default:
        fail_msg("jump %x", op);
        return false;
    }
}

static uint32_t run(const struct sock_filter *f, size_t n, const struct seccomp_data *d)
{
    uint32_t a = 0, x = 0, m[16] = {0};

    for (size_t pc = 0; pc < n; pc++) {
        const struct sock_filter *i = &f[pc];
        uint32_t src = i->code & BPF_X ? x : i->k;
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof *d);
            memcpy(&a, (const char *)d + i->k, 4);
            break;
        case BPF_LD | BPF_IMM:
            a = i->k;
            break;
        case BPF_LD | BPF_MEM:
            a = m[i->k];
            break;
        case BPF_ST:
            m[i->k] = a;
            break;
        case BPF_MISC | BPF_TAX:
            x = a;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            break;
        case BPF_ALU | BPF_ADD | BPF_X:
            a += x;
            break;
        default:
            if (BPF_CLASS(i->code) != BPF_JMP)
                fail_msg("instruction %x", i->code);
            pc += jump(BPF_OP(i->code), a, src) ? i->jt : i->jf;
        }
    }
    fail_msg("ran off the end");
    return 0;
}

#define IP (STUB_TEXT + 0x123)

static uint32_t guest_says(uint32_t nr, uint64_t ip, uint64_t a0, uint64_t a1, uint64_t a2)
{
    struct seccomp_data d = {(int)nr, AUDIT_ARCH_X86_64, ip, {a0, a1, a2, 0, 0, 0}};
    return run(guest, guest_len, &d);
}

static uint32_t mapper_says(uint32_t nr, uint64_t ip, uint64_t a0)
{
    struct seccomp_data d = {(int)nr, AUDIT_ARCH_X86_64, ip, {a0, 0, 0, 0, 0, 0}};
    return run(mapper, mapper_len, &d);
}

#define ALLOWED(...) assert_int_equal(guest_says(__VA_ARGS__), SECCOMP_RET_ALLOW)
#define TRAPPED(...) assert_int_equal(guest_says(__VA_ARGS__), SECCOMP_RET_TRAP)

static int setup(void **state)
{
    (void)state;
    guest_len = trap_filter_build(TRAP_FILTER_GUEST, stub_addr(stub_park_ip), guest);
    mapper_len = trap_filter_build(TRAP_FILTER_MAPPER, stub_addr(stub_notify_ip), mapper);
    return 0;
}

static bool is(uint32_t nr, const int *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint32_t)list[i] == nr)
            return true;
    return false;
}

/* Arguments zero: what needs arguments traps as well, but for munmap and mprotect(0, 0). */
static void numbers_of_guest(void **state)
{
    static const int ok[] = {SYS_rt_sigreturn, SYS_restart_syscall, SYS_exit,
                             SYS_sched_yield,  SYS_munmap,          SYS_mprotect};
    (void)state;
    for (uint32_t nr = 0; nr <= 600; nr++) {
        assert_int_equal(guest_says(nr, IP, 0, 0, 0),
                         is(nr, ok, 6) ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP);
        TRAPPED(nr | 0x40000000, IP, 0, 0, 0);
        TRAPPED(nr | 0x80000000, IP, 0, 0, 0);
        TRAPPED(nr, STUB_TEXT - 1, 0, 0, 0);
        TRAPPED(nr, STUB_TEXT + STUB_TEXT_SIZE, 0, 0, 0);
        TRAPPED(nr, 0x400000, 0, 0, 0);
        TRAPPED(nr, IP + (1ULL << 32), 0, 0, 0);
        TRAPPED(nr, IP - (1ULL << 32), 0, 0, 0);
        TRAPPED(nr, IP & 0xffffffff, 0, 0, 0);
        TRAPPED(nr, IP | 1ULL << 63, 0, 0, 0);
        struct seccomp_data d = {(int)nr, AUDIT_ARCH_I386, IP, {0}};
        assert_int_equal(run(guest, guest_len, &d), SECCOMP_RET_TRAP);
    }
    TRAPPED(0xffffffff, IP, 0, 0, 0);
    TRAPPED(STUB_NR_NOTIFY, stub_addr(stub_notify_ip), 0, 0, 0);
    ALLOWED(SYS_exit, STUB_TEXT, 0, 0, 0);
    ALLOWED(SYS_exit, STUB_TEXT + STUB_TEXT_SIZE - 1, 0, 0, 0);
}

static void futex_of_guest(void **state)
{
    static const uint64_t bad[] = {0,
                                   0x400000,
                                   STUB_LANES - 4,
                                   STUB_LANES_END,
                                   STUB_REQ,
                                   STUB_TEXT,
                                   STUB_RO - 4,
                                   STUB_RO + STUB_RO_SIZE,
                                   STUB_LANES + (1ULL << 32),
                                   STUB_LANES - (1ULL << 32),
                                   STUB_LANES | 1ULL << 63,
                                   STUB_LANES & 0xffffffff,
                                   STUB_RINGS,
                                   ~0ULL,
                                   STUB_RO + (1ULL << 32)};
    (void)state;
    for (uint64_t op = FUTEX_WAIT; op <= FUTEX_WAKE; op++) {
        ALLOWED(SYS_futex, IP, STUB_LANES, op, 0);
        ALLOWED(SYS_futex, IP, STUB_LANES_END - 4, op, 0);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            TRAPPED(SYS_futex, IP, bad[i], op, 0);
    }
    ALLOWED(SYS_futex, IP, STUB_RO, FUTEX_WAKE, 1);
    ALLOWED(SYS_futex, IP, STUB_RO + STUB_RO_SIZE - 4, FUTEX_WAKE, 1);
    TRAPPED(SYS_futex, IP, STUB_RO, FUTEX_WAIT, 1); /* would swallow wakes of the pollers */
    for (uint32_t op = 2; op < 600; op++) {
        TRAPPED(SYS_futex, IP, STUB_LANES, op, 0);
        TRAPPED(SYS_futex, IP, STUB_RO, op, 0);
    }
    TRAPPED(SYS_futex, IP, STUB_LANES, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0);
    TRAPPED(SYS_futex, IP, STUB_LANES, 0xffffffff, 0);
}

static void memory_of_guest(void **state)
{
    static const struct {
        uint64_t addr, len;
        bool ok;
    } c[] = {
        {0, 0, true},
        {0x1000, 0x1000, true},
        {0, STUB_REGION - 1, true},
        {STUB_REGION - 0x1000, 0x1000, true},
        {STUB_REGION - 0x1000, 0x1001, false},
        {STUB_REGION - 0x1000, 0x2000, false},
        {STUB_REGION - (1ULL << 32), 1ULL << 32, true},
        {STUB_REGION - (1ULL << 32), (1ULL << 32) + 1, false},
        {STUB_REGION - (1ULL << 33) + 0xfffff000, 0x1000, true},
        {STUB_REGION - (1ULL << 33) + 0xfffff000, (1ULL << 32) + 0x1000, true},
        {STUB_REGION - (1ULL << 33) + 0xfffff000, (1ULL << 32) + 0x2000, false},
        {STUB_REGION, 0, false},
        {STUB_REGION, 0x1000, false},
        {STUB_LANES, 0x1000, false},
        {0x1000, STUB_REGION, false},
        {0x1000, ~0ULL, false},
        {0x1000, -0x1000ULL, false},
        {STUB_REGION_END, 0x1000, false},
        {1ULL << 63, 0x1000, false},
        {~0xfffULL, 0x1000, false},
        {~0xfffULL, 0x2000, false},
        {STUB_REGION / 2, STUB_REGION / 2, true},
        {STUB_REGION / 2, STUB_REGION / 2 + 1, false},
        {STUB_REGION / 2 + 0xffffffff, STUB_REGION / 2 - 0xffffffff, true},
        {STUB_REGION / 2 + 0xffffffff, STUB_REGION / 2 - 0xfffffffe, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        uint64_t addr = c[i].addr, len = c[i].len;
        uint32_t want = c[i].ok ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP;
        assert_int_equal(guest_says(SYS_munmap, IP, addr, len, 99), want);
        assert_int_equal(guest_says(SYS_mprotect, IP, addr, len, PROT_NONE), want);
        assert_int_equal(guest_says(SYS_madvise, IP, addr, len, MADV_POPULATE_WRITE), want);
        assert_int_equal(guest_says(SYS_mprotect, IP, addr, len, PROT_READ), want);
        for (uint64_t prot = 2; prot < 16; prot++)
            TRAPPED(SYS_mprotect, IP, addr, len, prot);
        TRAPPED(SYS_mprotect, IP, addr, len, 1ULL << 32);
        for (uint64_t advice = 0; advice < 120; advice++)
            if (advice != MADV_POPULATE_WRITE)
                TRAPPED(SYS_madvise, IP, addr, len, advice);
    }
}

static void base_of_guest(void **state)
{
    (void)state;
    for (uint32_t op = 0x1000; op < 0x4010; op++)
        assert_int_equal(guest_says(SYS_arch_prctl, IP, op, 0, 0),
                         op == ARCH_SET_FS || op == ARCH_SET_GS ? SECCOMP_RET_ALLOW
                                                                : SECCOMP_RET_TRAP);
}

static void numbers_of_mapper(void **state)
{
    static const int ok[] = {SYS_futex,   SYS_rt_sigreturn, SYS_restart_syscall,
                             SYS_exit,    SYS_sched_yield,  SYS_arch_prctl,
                             SYS_munmap,  SYS_mprotect,     SYS_madvise,
                             SYS_mmap,    SYS_close_range,  SYS_membarrier,
                             SYS_seccomp, SYS_exit_group,   SYS_sched_setaffinity};
    (void)state;
    for (uint32_t nr = 0; nr <= 1200; nr++) {
        bool allowed = is(nr, ok, sizeof ok / sizeof *ok);
        assert_int_equal(mapper_says(nr, IP, 0), nr == STUB_NR_PARK ? SECCOMP_RET_USER_NOTIF
                                                 : allowed          ? SECCOMP_RET_ALLOW
                                                                    : SECCOMP_RET_TRAP);
        assert_int_equal(mapper_says(nr | 0x40000000, IP, 0), SECCOMP_RET_TRAP);
        assert_int_equal(mapper_says(nr, 0x400000, 0), SECCOMP_RET_TRAP);
    }
    assert_int_equal(mapper_says(STUB_NR_NOTIFY, stub_addr(stub_notify_ip), 0),
                     SECCOMP_RET_USER_NOTIF);
    assert_int_equal(mapper_says(SYS_clone, IP, CLONE_PARENT | SIGCHLD), SECCOMP_RET_ALLOW);
    assert_int_equal(mapper_says(SYS_clone, IP, CLONE_PARENT | SIGCHLD | CLONE_NEWUSER),
                     SECCOMP_RET_TRAP);
    assert_int_equal(mapper_says(SYS_clone, IP, (CLONE_PARENT | SIGCHLD) + (1ULL << 32)),
                     SECCOMP_RET_TRAP);
}

/* To park is allowed at one instruction, where the mapper's filter makes it a notification. */
static void park_of_guest(void **state)
{
    uint64_t at = stub_addr(stub_park_ip);
    (void)state;
    for (uint64_t ip = STUB_TEXT; ip < STUB_TEXT + STUB_TEXT_SIZE; ip++)
        assert_int_equal(guest_says(STUB_NR_PARK, ip, 0, 0, 0),
                         ip == at ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP);
    TRAPPED(STUB_NR_PARK, at + (1ULL << 32), 0, 0, 0);
    TRAPPED(STUB_NR_PARK | 0x40000000, at, 0, 0, 0);
    for (uint32_t nr = 600; nr < 1200; nr++)
        if (nr != STUB_NR_PARK)
            TRAPPED(nr, at, 0, 0, 0);
    assert_int_equal(mapper_says(STUB_NR_PARK, at, 0), SECCOMP_RET_USER_NOTIF);
}

/* Filters stack: the mapper's must let through what the guest's does. */
static void guest_within_mapper(void **state)
{
    (void)state;
    for (uint32_t nr = 0; nr <= 1200; nr++)
        for (unsigned i = 0; i < 3; i++) {
            uint64_t a0 = i == 0 ? 0 : i == 1 ? STUB_LANES : ARCH_SET_FS;
            if (guest_says(nr, IP, a0, 0, 0) == SECCOMP_RET_ALLOW)
                assert_int_equal(mapper_says(nr, IP, a0), SECCOMP_RET_ALLOW);
        }
}

static void prints(void **state)
{
    (void)state;
    FILE *null = fopen("/dev/null", "w");
    assert_non_null(null);
    assert_true(trap_filter_print(null) > 20);
    fclose(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_guest),    cmocka_unit_test(futex_of_guest),
        cmocka_unit_test(memory_of_guest),     cmocka_unit_test(base_of_guest),
        cmocka_unit_test(numbers_of_mapper),   cmocka_unit_test(park_of_guest),
        cmocka_unit_test(guest_within_mapper), cmocka_unit_test(prints),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
