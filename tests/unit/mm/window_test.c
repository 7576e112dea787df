/* SPDX-License-Identifier: Apache-2.0
 * window_test.c - how much memory arrives at once, and at what cost (fake.h). */
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

static void anon_windows(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint8_t v = 1;
    unsigned long lists = fake.lists;
    int64_t a = map_anon(mm, 0, 64 * M, RW, PRIV);
    assert_true(a > 0 && a % (int64_t)(2 * M) == 0);
    assert_int_equal(fake.lists, lists); /* long ones wait for the first touch */
    fake.faults = 0;
    for (uint64_t i = 0; i < 64 * M; i += 4096)
        assert_int_equal(guest_write(mm, (uint64_t)a + i, (uint8_t)(i >> 12)), 0);
    assert_true(fake.faults < 42); /* 236K, 216K, ... then 2M */
    for (uint64_t i = 0; i < 64 * M; i += 61 * 4096) {
        assert_int_equal(guest_read(mm, (uint64_t)a + i, &v), 0);
        assert_int_equal(v, (uint8_t)(i >> 12));
    }
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void scattered_is_cheap(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    int64_t a = map_anon(mm, 0, 512 * M, RW, PRIV);
    for (uint64_t i = 0; i < 2000; i++)
        assert_int_equal(guest_write(mm, (uint64_t)a + (i * 7919 % 131072) * 4096, 1), 0);
    assert_true(memfile_used(fake_mf) < 2 * 2000 * 4096);
    mm_put(mm);
}

/* A stride is not a dense run, whatever power of two it is. */
static void strides_are_cheap(void **state)
{
    (void)state;
    for (uint64_t pages = 32; pages <= 1024; pages *= 2) {
        struct mm *mm = new_mm();
        int64_t a = map_anon(mm, 0, 512 * M, RW, PRIV);
        uint64_t n = 512 * M / 4096 / pages;
        for (uint64_t i = 0; i < n; i++)
            assert_int_equal(guest_write(mm, (uint64_t)a + i * pages * 4096, 1), 0);
        assert_true(memfile_used(fake_mf) < 2 * M + n * 4096);
        mm_put(mm);
    }
}

/* Data the Sentry puts into fresh memory arrives by one list, in one large page, and both go. */
static void copy_to_fresh(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    static uint8_t data[1 << 20], back[1 << 20];
    memset(data, 7, sizeof data);
    for (int round = 0; round < 3; round++) {
        int64_t a = map_anon(mm, 0, M, RW, PRIV), b = map_anon(mm, 0, M, RW, PRIV);
        unsigned long lists = fake.lists;
        assert_int_equal(copy_out(mm, UADDR((uint64_t)a), data, M), 0);
        assert_int_equal(fake.lists, lists + 1);
        assert_int_equal(copy_in(mm, back, UADDR((uint64_t)a), M), 0);
        assert_memory_equal(data, back, M);
        assert_int_equal(copy_in(mm, back, UADDR((uint64_t)b), M), 0);
        assert_int_equal(back[M - 1], 0);
        assert_int_equal(mm_munmap(mm, (uint64_t)a, M, NULL), 0);
        assert_int_equal(copy_out(mm, UADDR((uint64_t)b), data, M), 0);
        assert_int_equal(mm_munmap(mm, (uint64_t)b, M, NULL), 0);
    }
    assert_int_equal(memfile_used(fake_mf), 0);
    mm_put(mm);
}

static void cow_blocks_double(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 8 * M, RW, PRIV);
    for (uint64_t i = 0; i < 8 * M; i += 4096)
        assert_int_equal(guest_write(mm, a + i, 5), 0);
    struct mm *child = mm_fork(mm);
    fake.faults = 0;
    for (uint64_t i = 0; i < 8 * M; i += 4096)
        assert_int_equal(guest_write(mm, a + i, 6), 0);
    assert_true(fake.faults < 30);
    uint8_t v;
    for (uint64_t i = 0; i < 8 * M; i += 4096) {
        assert_int_equal(guest_read(child, a + i, &v), 0);
        assert_int_equal(v, 5);
    }
    mm_put(mm);
    mm_put(child);
    assert_int_equal(memfile_used(fake_mf), 0);
}

/* Writes all over memory shared by fork cost few faults, and a few in a large range few copies. */
static void cow_scattered(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 64 * M, RW, PRIV);
    for (uint64_t i = 0; i < 64 * M; i += 4096)
        assert_int_equal(guest_write(mm, a + i, 5), 0);
    struct mm *child = mm_fork(mm);
    uint64_t before = memfile_used(fake_mf);
    for (uint64_t i = 0; i < 15; i++) /* fewer than there are blocks of 2 MiB */
        assert_int_equal(guest_write(child, a + i * 7919 % 16384 * 4096, 6), 0);
    assert_true(memfile_used(fake_mf) - before <= 15 * 4096);
    fake.faults = 0;
    for (uint64_t i = 15; i < 8192; i++)
        assert_int_equal(guest_write(child, a + i * 7919 % 16384 * 4096, 6), 0);
    assert_true(fake.faults < 600);
    uint8_t v;
    for (uint64_t i = 0; i < 16384; i++) {
        uint64_t at = a + i * 7919 % 16384 * 4096;
        assert_int_equal(guest_read(child, at, &v), 0);
        assert_int_equal(v, i < 8192 ? 6 : 5);
        assert_int_equal(guest_read(mm, at, &v), 0);
        assert_int_equal(v, 5);
    }
    mm_put(mm);
    mm_put(child);
    assert_int_equal(memfile_used(fake_mf), 0);
}

/* Of many mappings the children of one that forks often get what their siblings have touched. */
static void sparse_children(void **state)
{
    enum { VMAS = 16, FORKS = 12 };
    struct mm *mm = new_mm();
    uint64_t at[VMAS];
    unsigned long maps[FORKS], faults[FORKS];
    (void)state;

    for (unsigned i = 0; i < VMAS; i++) { /* apart from each other */
        at[i] = (uint64_t)map_anon(mm, 0, 256 * K, RW, PRIV | MAP_POPULATE);
        assert_true(map_anon(mm, 0, 4 * K, PROT_NONE, PRIV) > 0);
        assert_int_equal(guest_write(mm, at[i], (uint8_t)i), 0);
    }
    for (unsigned n = 0; n < FORKS; n++) {
        uint8_t v;
        struct mm *child = mm_fork(mm);
        assert_false(IS_ERR(child));
        fake.maps = fake.faults = 0;
        assert_non_null(mm_as(child));
        maps[n] = fake.maps;
        for (unsigned i = 0; i < VMAS; i += 4) {
            assert_int_equal(guest_read(child, at[i] + 128 * K, &v), 0);
            assert_int_equal(guest_read(child, at[i], &v), 0);
            assert_int_equal(v, i);
        }
        faults[n] = fake.faults;
        if (n == FORKS - 1) /* what was not mapped is there all the same */
            for (unsigned i = 0; i < VMAS; i++) {
                assert_int_equal(guest_read(child, at[i], &v), 0);
                assert_int_equal(v, i);
                assert_int_equal(guest_write(child, at[i], 99), 0);
                assert_int_equal(guest_read(mm, at[i], &v), 0);
                assert_int_equal(v, i);
            }
        mm_put(child);
    }
    assert_true(maps[0] >= VMAS);
    assert_int_equal(faults[0], 0);
    assert_true(maps[FORKS - 1] <= VMAS / 4);
    assert_int_equal(faults[FORKS - 1], 0);
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
        cmocka_unit_test(anon_windows),      cmocka_unit_test(scattered_is_cheap),
        cmocka_unit_test(strides_are_cheap), cmocka_unit_test(copy_to_fresh),
        cmocka_unit_test(cow_blocks_double), cmocka_unit_test(cow_scattered),
        cmocka_unit_test(sparse_children),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
