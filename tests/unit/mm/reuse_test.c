/* SPDX-License-Identifier: Apache-2.0
 * reuse_test.c - memory and address spaces that are used again or end late, and what the guest does
 * to itself (fake.h). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>

#include <base/err.h>

#include "fake.h"

#define RW (PROT_READ | PROT_WRITE)
#define PRIV MAP_PRIVATE
#define K 1024ULL
#define M (1024ULL * 1024)

static struct mm *new_mm(void)
{
    fake_handlers();
    struct mm *mm = mm_new();
    assert_false(IS_ERR(mm));
    assert_non_null(mm_as(mm));
    return mm;
}

/* What guests gave up serves others, and shows nothing of what it held. */
static void pool(void **state)
{
    (void)state;
    mm_pool_limit(1 * M);
    for (unsigned round = 0; round < 20; round++) {
        struct mm *mm = new_mm();
        uint64_t a = (uint64_t)map_anon(mm, 0, 128 * K, RW, PRIV), v;
        for (uint64_t i = 0; i < 128 * K; i += 4096) {
            assert_int_equal(guest_read64(mm, a + i + 8 * round, &v), 0);
            assert_int_equal(v, 0);
            assert_int_equal(guest_write64(mm, a + i + 8 * (round + 1), 0x5ec2e7), 0);
        }
        struct mm *child = mm_fork(mm);
        assert_int_equal(guest_read64(child, a + 8 * (round + 1), &v), 0);
        assert_int_equal(v, 0x5ec2e7);
        assert_int_equal(guest_write64(child, a, 1), 0);
        mm_put(child);
        mm_put(mm);
        uint64_t used = memfile_used(fake_mf);
        assert_true(used > 0 && used <= 1 * M);
    }
    struct mm *mm = new_mm();
    assert_true(map_anon(mm, 0, 512 * K, RW, PRIV | MAP_POPULATE) > 0); /* too long to be kept */
    mm_put(mm);
    assert_true(memfile_used(fake_mf) <= 1 * M);
    mm_pool_limit(0);
    assert_int_equal(memfile_used(fake_mf), 0);
}

/* Three ends may wait; a fourth makes the first one real, large ones never wait. */
static void ends_wait(void **state)
{
    (void)state;
    unsigned long alive = fake.alive;
    assert_false(mm_later_any());
    for (unsigned i = 0; i < 4; i++) {
        struct mm *mm = new_mm();
        assert_true(map_anon(mm, 0, 64 * K, RW, PRIV | MAP_POPULATE) > 0);
        mm_put_later(mm);
        assert_true(mm_later_any());
        assert_int_equal(fake.alive, alive + (i < 3 ? i + 1 : 3));
    }
    struct mm *large = new_mm();
    assert_true(map_anon(large, 0, 65 * M, RW, PRIV) > 0);
    mm_put_later(large);
    assert_int_equal(fake.alive, alive + 3);
    while (mm_later_run())
        ;
    assert_false(mm_later_any());
    assert_int_equal(fake.alive, alive);
    assert_int_equal(memfile_used(fake_mf), 0);
}

/* Constant after relocation: the guest takes the right to write itself. */
static void read_by_self(void **state)
{
    (void)state;
    for (int lies = 0; lies < 2; lies++) {
        struct mm *mm = new_mm();
        struct mm_self self = {0};
        uint64_t a = (uint64_t)map_anon(mm, 0, 8 * 4096, RW, PRIV), v;
        assert_int_equal(guest_write64(mm, a, 1), 0);
        fake.lists = 0;
        assert_int_equal(mm_mprotect(mm, a, 2 * 4096, PROT_READ, &self), 0);
        assert_int_equal(self.op, PF_SELF_PROTECT_READ);
        assert_int_equal(fake.lists, 0);
        if (!lies) {
            guest_self(mm, &self);
            assert_int_not_equal(guest_write64(mm, a, 2), 0);
        }
        assert_int_equal(guest_write64(mm, a + 2 * 4096, 2), 0);
        /* whatever the guest has done: what it shares it cannot write */
        struct mm *child = mm_fork(mm);
        assert_int_equal(guest_read64(child, a, &v), 0);
        assert_int_not_equal(guest_write64(mm, a, 3), 0);
        assert_int_not_equal(guest_write64(child, a, 3), 0);
        assert_int_equal(guest_read64(child, a, &v), 0);
        assert_int_equal(v, 1);
        mm_put(child);
        /* and back */
        assert_int_equal(mm_mprotect(mm, a, 2 * 4096, PROT_READ, &self), 0);
        assert_int_equal(mm_mprotect(mm, a, 2 * 4096, RW, &self), 0);
        fake.faults = 0;
        assert_int_equal(guest_write64(mm, a + 4096, 4), 0);
        self = (struct mm_self){0};
        assert_int_equal(mm_mprotect(mm, a + 4096, 4096, PROT_READ, &self), 0);
        guest_self(mm, &self);
        int64_t to = mm_mremap(mm, a + 4096, 4096, 8 * 4096, MREMAP_MAYMOVE, 0);
        assert_true(to > 0);
        assert_int_not_equal(guest_write64(mm, (uint64_t)to, 5), 0);
        assert_int_equal(guest_read64(mm, (uint64_t)to, &v), 0);
        assert_int_equal(v, 4);
        mm_put(mm);
        assert_int_equal(memfile_used(fake_mf), 0);
    }
}

static int setup(void **state)
{
    (void)state;
    fake_setup(192 * M);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool),
        cmocka_unit_test(ends_wait),
        cmocka_unit_test(read_by_self),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
