/* SPDX-License-Identifier: Apache-2.0
 * limits_test.c - address spaces at their limits, and with a guest or host that does not play along. */
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

static void memory_limit(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint64_t limit = memfile_limit(fake_mf);
    uint64_t a = (uint64_t)map_anon(mm, 0, 2 * limit, RW, PRIV);
    int r = 0;
    uint64_t i;
    for (i = 0; i < 2 * limit && r == 0; i += 4096)
        r = guest_write(mm, a + i, 1);
    assert_int_equal(r, -ENOMEM);
    assert_true(i > limit / 2);
    char *big = calloc(1, 4 * M);
    assert_int_equal(copy_out(mm, UADDR(a + limit + 64 * M), big, 4 * M), -ENOMEM);
    free(big);
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void limits(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    mm_set_limits(mm, &(struct mm_limits){.as = 1 * M, .data = 512 * K, .stack = 64 * K});
    assert_int_equal(map_anon(mm, 0, 2 * M, PROT_NONE, PRIV), -ENOMEM);
    assert_int_equal(map_anon(mm, 0, 516 * K, RW, PRIV), -ENOMEM);
    assert_true(map_anon(mm, 0, 512 * K, RW, PRIV) > 0);
    assert_int_equal(map_anon(mm, 0, 4096, RW, PRIV), -ENOMEM);
    assert_true(map_anon(mm, 0, 512 * K, PROT_NONE, PRIV) > 0);
    assert_int_equal(map_anon(mm, 0, 4096, PROT_NONE, PRIV), -ENOMEM);
    mm_set_limits(mm, &(struct mm_limits){UINT64_MAX, UINT64_MAX, UINT64_MAX});
    /* Holes in a reservation: VMAs without host mappings, of which this process may have as many. */
    int64_t big = map_anon(mm, 0, 1ULL << 30, PROT_NONE, PRIV | MAP_NORESERVE);
    assert_true(big > 0);
    int64_t r = 0;
    unsigned n = 0;
    for (; n < 70000 && r >= 0; n++)
        r = mm_munmap(mm, (uint64_t)big + n * 8192ULL + 4096, 4096, NULL);
    assert_int_equal(r, -ENOMEM);
    assert_in_range(n, 65500, 65530);
    mm_put(mm);
}

static void host_map_fails(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint8_t v;
    fake_fail_map = 1;
    assert_int_equal(map_anon(mm, 0x20000000, 64 * K, RW, PRIV | MAP_FIXED), -ENOMEM);
    assert_int_equal(guest_read(mm, 0x20000000, &v), SIGSEGV);
    assert_int_equal(map_anon(mm, 0x20000000, 64 * K, RW, PRIV | MAP_FIXED), 0x20000000);
    assert_int_equal(guest_read(mm, 0x20000000, &v), 0);
    mm_put(mm);
}

static void exhausted_self_unmaps(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 4 * M, RW, PRIV | MAP_POPULATE);
    for (uint64_t i = 0; i < 500; i++) {
        struct mm_self self = {0};
        assert_int_equal(mm_munmap(mm, a + i * 8192, 4096, &self), 0);
        /* never executed */
    }
    assert_int_equal(mm_munmap(mm, a, 4 * M, NULL), 0);
    assert_int_equal(memfile_used(fake_mf), 0);
    mm_put(mm);
}

/* A guest that is told to unmap and does not: it must never see memory that belongs to another. */
static void lying_guest(void **state)
{
    (void)state;
    struct mm *mm = new_mm(), *other = new_mm();
    struct mm_self self = {0};
    uint64_t v = 0, a = (uint64_t)map_anon(mm, 0, 64 * K, RW, PRIV);
    assert_int_equal(guest_write(mm, a, 7), 0);
    assert_int_equal(mm_mprotect(mm, a, 64 * K, PROT_NONE, &self), 0);
    assert_int_equal(self.op, PF_SELF_UNMAP);
    assert_int_equal(mm_munmap(mm, a, 64 * K, &self), 0);
    assert_int_equal(guest_peek(mm, a, &v), 0);
    for (int i = 0; i < 64; i++) {
        uint64_t b = (uint64_t)map_anon(other, 0, 64 * K, RW, PRIV);
        for (uint64_t k = 0; k < 64 * K; k += 4096)
            assert_int_equal(guest_write(other, b + k, 9), 0);
    }
    for (uint64_t k = 0; k < 64 * K; k += 4096) {
        assert_int_equal(guest_peek(mm, a + k, &v), 0);
        assert_true((v & 255) != 9);
    }
    struct mm *child = mm_fork(mm);
    assert_int_equal(guest_peek(mm, a, &v), SIGSEGV); /* the mapper has done it */
    mm_put(child);
    mm_put(other);
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
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
        cmocka_unit_test(memory_limit),   cmocka_unit_test(limits),
        cmocka_unit_test(host_map_fails), cmocka_unit_test(exhausted_self_unmaps),
        cmocka_unit_test(lying_guest),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
