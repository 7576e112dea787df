/* SPDX-License-Identifier: Apache-2.0
 * basic_test.c - address spaces case by case, with real mappings (fake.h). */
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

static void rights(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint8_t v;
    int64_t r = map_anon(mm, 0, 16 * K, PROT_READ, PRIV);
    uint64_t a = (uint64_t)r;
    assert_int_equal(guest_read(mm, a, &v), 0);
    assert_int_equal(guest_write(mm, a, 1), SIGSEGV);
    assert_int_equal(copy_out(mm, UADDR(a), "x", 1), -EFAULT);
    assert_int_equal(copy_out_force(mm, UADDR(a), "x", 1), 0);
    assert_int_equal(guest_read(mm, a, &v), 0);
    assert_int_equal(v, 'x');
    assert_int_equal(mm_mprotect(mm, a + 4096, 4096, RW, NULL), 0);
    assert_int_equal(guest_write(mm, a + 4096, 2), 0);
    assert_int_equal(guest_write(mm, a + 8192, 2), SIGSEGV);
    assert_int_equal(mm_mprotect(mm, a, 4096, PROT_NONE, NULL), 0);
    assert_int_equal(guest_read(mm, a, &v), SIGSEGV);
    assert_int_equal(copy_in(mm, &v, UADDR(a), 1), -EFAULT);
    assert_int_equal(mm_mprotect(mm, a, 4096, PROT_READ, NULL), 0);
    assert_int_equal(guest_read(mm, a, &v), 0);
    assert_int_equal(v, 'x');
    assert_int_equal(mm_mprotect(mm, a, 1 * M, RW, NULL), -ENOMEM);
    assert_int_equal(mm_mprotect(mm, a + 1, 4096, RW, NULL), -EINVAL);
    mm_put(mm);
}

static void self_unmap(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    struct mm_self self = {0};
    uint8_t v;
    int64_t a = map_anon(mm, 0, 64 * K, RW, PRIV);
    assert_int_equal(guest_write(mm, (uint64_t)a, 7), 0);
    unsigned long lists = fake.lists;
    assert_int_equal(mm_munmap(mm, (uint64_t)a, 64 * K, &self), 0);
    assert_int_equal(fake.lists, lists);
    assert_int_equal(self.op, PF_SELF_UNMAP);
    /* The guest does not do it: the memory must not be given to anybody before the next list. */
    int64_t b = map_anon(mm, 0, 64 * K, RW, PRIV);
    assert_int_equal(b, a);
    assert_int_equal(guest_read(mm, (uint64_t)b, &v), 0);
    assert_int_equal(v, 0);
    /* Late execution hits the new mapping: repaired by the fault. */
    assert_int_equal(guest_write(mm, (uint64_t)b, 9), 0);
    guest_self(mm, &self);
    assert_int_equal(guest_read(mm, (uint64_t)b, &v), 0);
    assert_int_equal(v, 9);
    memset(&self, 0, sizeof self);
    assert_int_equal(mm_mprotect(mm, (uint64_t)b, 4096, PROT_NONE, &self), 0);
    assert_int_equal(self.op, PF_SELF_UNMAP);
    guest_self(mm, &self);
    assert_int_equal(guest_read(mm, (uint64_t)b, &v), SIGSEGV);
    assert_int_equal(mm_mprotect(mm, (uint64_t)b, 4096, RW, NULL), 0);
    assert_int_equal(guest_read(mm, (uint64_t)b, &v), 0);
    assert_int_equal(v, 9);
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void fork_cow(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint8_t v;
    uint64_t a = (uint64_t)map_anon(mm, 0, 1 * M, RW, PRIV);
    uint64_t s = (uint64_t)map_anon(mm, 0, 64 * K, RW, MAP_SHARED);
    for (uint64_t i = 0; i < 1 * M; i += 4096)
        assert_int_equal(guest_write(mm, a + i, 5), 0);
    assert_int_equal(guest_write(mm, s, 50), 0);
    unsigned long lists = fake.lists;
    struct mm *child = mm_fork(mm);
    assert_false(IS_ERR(child));
    assert_int_equal(fake.lists, lists + 1); /* the parent's rights */
    assert_int_equal(guest_write(mm, a, 6), 0);
    assert_int_equal(guest_read(child, a, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(guest_write(child, a + 4096, 7), 0);
    assert_int_equal(guest_read(mm, a + 4096, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(copy_out(child, UADDR(a + 8192), "z", 1), 0);
    assert_int_equal(guest_read(child, a + 8192, &v), 0);
    assert_int_equal(v, 'z');
    assert_int_equal(guest_read(mm, a + 8192, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(guest_write(child, s, 51), 0);
    assert_int_equal(guest_read(mm, s, &v), 0);
    assert_int_equal(v, 51);
    /* The last owner takes over: no copies, few faults. */
    mm_put(child);
    uint64_t used = memfile_used(fake_mf);
    fake.faults = 0;
    for (uint64_t i = 0; i < 1 * M; i += 4096)
        assert_int_equal(guest_write(mm, a + i, 8), 0);
    assert_true(fake.faults <= 8);
    assert_true(memfile_used(fake_mf) <= used);
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void hot_pages(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 1 * M, RW, PRIV | MAP_POPULATE);
    for (uint64_t round = 1; round <= 3; round++) {
        struct mm *child = mm_fork(mm);
        uint64_t v;
        assert_non_null(mm_as(child));
        fake.faults = 0;
        for (uint64_t i = 0; i < 4; i++) {
            assert_int_equal(guest_write64(mm, a + i * 256 * K, round), 0);
            assert_int_equal(guest_read64(child, a + i * 256 * K, &v), 0);
            assert_int_equal(v, round - 1);
            assert_int_equal(guest_write64(child, a + i * 256 * K, 99), 0);
            assert_int_equal(guest_read64(mm, a + i * 256 * K, &v), 0);
            assert_int_equal(v, round);
        }
        assert_true(round == 1 || fake.faults == 0);
        mm_put(child);
    }
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

/* Parts of a library wait for each other, and for the first touch. */
static void lazy_parts(struct fake_file *f)
{
    struct mm *mm = new_mm();
    uint8_t v;
    assert_non_null(mm_as(mm));
    fake.lists = fake.maps = fake.unmaps = 0;
    uint64_t a = (uint64_t)map_file(mm, f, 0, 20 * 4096, PROT_READ, PRIV | MAP_DENYWRITE, 0);
    assert_int_equal(map_file(mm, f, a + 4 * 4096, 8 * 4096, PROT_READ | PROT_EXEC,
                              PRIV | MAP_FIXED | MAP_DENYWRITE, 4 * 4096),
                     (int64_t)(a + 4 * 4096));
    assert_int_equal(
        map_file(mm, f, a + 12 * 4096, 4 * 4096, RW, PRIV | MAP_FIXED | MAP_DENYWRITE, 12 * 4096),
        (int64_t)(a + 12 * 4096));
    assert_int_equal(fake.lists, 1); /* data is not waited for */
    assert_int_equal(fake.maps, 4);  /* each address once */
    assert_int_equal(fake.unmaps, 0);
    for (uint64_t i = 4; i < 20; i++) { /* others write to the first pages */
        assert_int_equal(guest_read(mm, a + i * 4096, &v), 0);
        assert_int_equal(v, i + 1);
        assert_int_equal(guest_write(mm, a + i * 4096, v) == 0, i >= 12 && i < 16);
    }
    fake.lists = 1; /* whatever the faults made */
    assert_int_equal(guest_read(mm, a + 5 * 4096, &v), 0);
    assert_int_equal(v, 6);
    assert_int_equal(fake.lists, 1);
    assert_int_equal(guest_write(mm, a + 13 * 4096, 77), 0);
    assert_int_equal(fake.lists, 1);
    /* over what is there nothing waits */
    assert_int_equal(
        map_file(mm, f, a + 5 * 4096, 4096, PROT_READ, PRIV | MAP_FIXED | MAP_DENYWRITE, 9 * 4096),
        (int64_t)(a + 5 * 4096));
    assert_int_equal(fake.lists, 2);
    assert_int_equal(guest_read(mm, a + 5 * 4096, &v), 0);
    assert_int_equal(v, 10);
    /* the first touch */
    uint64_t d = (uint64_t)map_file(mm, f, 0, 20 * 4096, PROT_READ, PRIV | MAP_DENYWRITE, 0);
    assert_int_equal(fake.lists, 2);
    assert_int_equal(guest_read(mm, d + 6 * 4096, &v), 0);
    assert_int_equal(v, 7);
    assert_int_equal(fake.lists, 3);
    /* unmapped before it was touched */
    uint64_t b = (uint64_t)map_file(mm, f, 0, 20 * 4096, PROT_READ, PRIV | MAP_DENYWRITE, 0);
    struct mm_self self = {0};
    assert_int_equal(mm_munmap(mm, b, 20 * 4096, &self), 0);
    guest_self(mm, &self);
    assert_int_not_equal(guest_read(mm, b, &v), 0);
    /* read by the Sentry, then by the guest */
    b = (uint64_t)map_file(mm, f, 0, 20 * 4096, PROT_READ, PRIV | MAP_DENYWRITE, 0);
    assert_int_equal(copy_in(mm, &v, UADDR(b + 7 * 4096), 1), 0);
    assert_int_equal(v, 8);
    struct mm *child = mm_fork(mm);
    assert_int_equal(guest_read(child, b + 7 * 4096, &v), 0);
    assert_int_equal(v, 8);
    assert_int_equal(guest_read(mm, b + 7 * 4096, &v), 0);
    assert_int_equal(v, 8);
    mm_put(child);
    mm_put(mm);
}

static void file_private(struct fake_file *f)
{
    struct mm *mm = new_mm();
    uint8_t v, w;
    uint64_t a = (uint64_t)map_file(mm, f, 0, 100 * 4096, RW, PRIV, 0);
    uint64_t b = (uint64_t)map_file(mm, f, 0, 8 * 4096, RW, PRIV, 4096);
    assert_int_equal(guest_read(mm, a + 5 * 4096, &v), 0);
    assert_int_equal(v, 6);
    assert_int_equal(copy_in(mm, &w, UADDR(a + 50 * 4096), 1), 0);
    assert_int_equal(w, 51);
    assert_int_equal(guest_write(mm, a + 5 * 4096, 99), 0);
    assert_int_equal(copy_out(mm, UADDR(a + 60 * 4096 + 1), "q", 1), 0);
    assert_int_equal(guest_read(mm, a + 60 * 4096, &v), 0);
    assert_int_equal(v, 61);
    assert_int_equal(guest_read(mm, a + 60 * 4096 + 1, &v), 0);
    assert_int_equal(v, 'q');
    assert_int_equal(guest_read(mm, b, &v), 0);
    assert_int_equal(v, 2);
    assert_int_equal(guest_write(mm, b, 3), 0);
    uint64_t c = (uint64_t)map_file(mm, f, 0, 100 * 4096, PROT_READ, MAP_SHARED, 0);
    assert_int_equal(guest_read(mm, c + 5 * 4096, &v), 0);
    assert_int_equal(v, 6);
    struct mm *child = mm_fork(mm);
    assert_int_equal(guest_read(child, a + 5 * 4096, &v), 0);
    assert_int_equal(v, 99);
    assert_int_equal(guest_read(child, a + 7 * 4096, &v), 0);
    assert_int_equal(v, 8);
    assert_int_equal(guest_write(child, a + 5 * 4096, 98), 0);
    assert_int_equal(guest_read(mm, a + 5 * 4096, &v), 0);
    assert_int_equal(v, 99);
    assert_int_equal(mm_madvise(mm, a, 100 * 4096, MADV_DONTNEED), 0);
    assert_int_equal(guest_read(mm, a + 5 * 4096, &v), 0);
    assert_int_equal(v, 6);
    mm_put(child);
    mm_put(mm);
}

static void file_shared(struct fake_file *f)
{
    struct mm *mm = new_mm();
    uint8_t v;
    uint64_t a = (uint64_t)map_file(mm, f, 0, 16 * 4096, RW, MAP_SHARED, 0);
    uint64_t b = (uint64_t)map_file(mm, f, 0, 16 * 4096, PROT_READ, MAP_SHARED, 0);
    assert_int_equal(guest_write(mm, a + 4096, 77), 0);
    assert_int_equal(guest_read(mm, b + 4096, &v), 0);
    assert_int_equal(v, 77);
    assert_int_equal(copy_out(mm, UADDR(a + 8192), "s", 1), 0);
    assert_int_equal(guest_read(mm, b + 8192, &v), 0);
    assert_int_equal(v, 's');
    assert_int_equal(mm_mprotect(mm, b, 16 * 4096, RW, NULL), 0);
    assert_int_equal(guest_write(mm, b + 3 * 4096, 78), 0);
    assert_int_equal(guest_read(mm, a + 3 * 4096, &v), 0);
    assert_int_equal(v, 78);
    struct futex_key ka, kb;
    assert_int_equal(mm_futex_key(mm, UADDR(a + 64), true, &ka), 0);
    assert_int_equal(mm_futex_key(mm, UADDR(b + 64), true, &kb), 0);
    assert_true(ka.object == kb.object && ka.offset == kb.offset);
    assert_int_equal(mm_futex_key(mm, UADDR(b + 64), false, &kb), 0);
    assert_true(ka.object != kb.object);
    mm_put(mm);
}

static void file_truncated(struct fake_file *f)
{
    struct mm *mm = new_mm();
    uint8_t v;
    uint64_t a = (uint64_t)map_file(mm, f, 0, 64 * 4096, PROT_READ, PRIV, 0);
    uint64_t b = (uint64_t)map_file(mm, f, 0, 64 * 4096, RW, MAP_SHARED, 0);
    assert_int_equal(guest_read(mm, a + 40 * 4096, &v), 0);
    assert_int_equal(guest_read(mm, b + 40 * 4096, &v), 0);
    assert_int_equal(copy_in(mm, &v, UADDR(a + 40 * 4096), 1), 0);
    fake_file_truncate(f, 10 * 4096);
    assert_int_equal(guest_read(mm, a + 40 * 4096, &v), SIGBUS);
    assert_int_equal(guest_write(mm, b + 40 * 4096, 1), SIGBUS);
    assert_int_equal(copy_in(mm, &v, UADDR(a + 40 * 4096), 1), -EFAULT);
    assert_int_equal(guest_read(mm, a + 9 * 4096, &v), 0);
    assert_int_equal(v, 10);
    mm_put(mm);
}

static void files(void **state)
{
    (void)state;
    for (int by_page = 0; by_page < 2; by_page++) {
        struct fake_file *f = fake_file_new(100, by_page);
        file_private(f);
        file_shared(f);
        if (!by_page)
            lazy_parts(f);
        file_truncated(f);
        assert_int_equal(f->refs, 1);
        fake_file_put(f);
    }
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void read_only_file(void **state)
{
    (void)state;
    struct fake_file *f = fake_file_new(4, false);
    struct mm *mm = new_mm();
    f->read_only = true;
    assert_int_equal(map_file(mm, f, 0, 4096, RW, MAP_SHARED, 0), -EACCES);
    uint64_t a = (uint64_t)map_file(mm, f, 0, 4096, PROT_READ, MAP_SHARED, 0);
    assert_int_equal(mm_mprotect(mm, a, 4096, RW, NULL), -EACCES);
    mm_put(mm);
    fake_file_put(f);
}

static void brk_and_stack(void **state)
{
    (void)state;
    fake_handlers();
    struct mm *mm = mm_new();
    struct mm_layout l = {.start_brk = 0x500123};
    unsigned long lists = fake.lists;
    mm_set_layout(mm, &l);
    int64_t top = mm_map_stack(mm, 8 * M, false);
    assert_true(top > 0);
    assert_int_equal(copy_out(mm, UADDR(top - 300 * 1024), "args", 4), 0);
    assert_int_equal(mm_brk(mm, 0), 0x500123);
    assert_int_equal(mm_brk(mm, 0x580000), 0x580000);
    assert_int_equal(fake.lists, lists); /* nothing runs before there can be a thread */
    assert_non_null(mm_as(mm));
    assert_int_equal(fake.lists, lists + 1);
    for (uint64_t x = 0x501000; x < 0x580000; x += 4096)
        assert_int_equal(guest_write(mm, x, 3), 0);
    assert_int_equal(mm_brk(mm, 0x540000), 0x540000);
    assert_int_equal(guest_write(mm, 0x540000, 3), SIGSEGV);
    assert_int_equal(mm_brk(mm, 0x640000), 0x640000);
    uint8_t v = 1;
    assert_int_equal(guest_read(mm, 0x540000, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(mm_brk(mm, 0x100), 0x640000);
    for (uint64_t d = 4096; d <= 4 * M; d += 4096)
        assert_int_equal(guest_write(mm, (uint64_t)top - d, 1), 0);
    assert_int_equal(guest_write(mm, (uint64_t)top - 9 * M, 1), SIGSEGV);
    struct mm_region reg;
    assert_true(mm_region_next(mm, (uint64_t)top - 1, &reg));
    assert_string_equal(reg.name, "[stack]");
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void mremap_moves(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint8_t v;
    uint64_t a = (uint64_t)map_anon(mm, 0x40000000, 9 * 4096, RW, PRIV);
    assert_int_equal(mm_mprotect(mm, a + 8 * 4096, 4096, PROT_NONE, NULL), 0);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(guest_write(mm, a + i * 4096, (uint8_t)(i + 1)), 0);
    assert_int_equal(mm_mremap(mm, a, 8 * 4096, 16 * 4096, 0, 0), -ENOMEM);
    int64_t b = mm_mremap(mm, a, 8 * 4096, 16 * 4096, MREMAP_MAYMOVE, 0);
    assert_true(b > 0 && (uint64_t)b != a);
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(guest_read(mm, (uint64_t)b + i * 4096, &v), 0);
        assert_int_equal(v, i < 8 ? i + 1 : 0);
    }
    assert_int_equal(guest_read(mm, a, &v), SIGSEGV);
    assert_int_equal(mm_mremap(mm, (uint64_t)b, 16 * 4096, 4 * 4096, 0, 0), b);
    assert_int_equal(guest_read(mm, (uint64_t)b + 4 * 4096, &v), SIGSEGV);
    int64_t c =
        mm_mremap(mm, (uint64_t)b, 4 * 4096, 4 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000000);
    assert_int_equal(c, 0x10000000);
    assert_int_equal(guest_read(mm, 0x10003000, &v), 0);
    assert_int_equal(v, 4);
    assert_int_equal(mm_mremap(mm, 0x10000000, 4096, 8192, 0x80, 0), -EINVAL);
    mm_put(mm);
}

static void strings(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    char buf[5000];
    uint64_t a = (uint64_t)map_anon(mm, 0x30000000, 8192, RW, PRIV | MAP_FIXED);
    char text[5000];
    memset(text, 'x', sizeof text);
    text[4999] = 0;
    assert_int_equal(copy_out(mm, UADDR(a + 8192 - 5000), text, 5000), 0);
    assert_int_equal(copy_in_string(mm, buf, UADDR(a + 8192 - 5000), sizeof buf), 4999);
    assert_int_equal(copy_in_string(mm, buf, UADDR(a + 8192 - 5000), 4999), -ENAMETOOLONG);
    assert_int_equal(copy_out(mm, UADDR(a + 8191), "x", 1), 0);
    assert_int_equal(copy_in_string(mm, buf, UADDR(a + 8190), sizeof buf), -EFAULT);
    assert_int_equal(copy_in(mm, buf, UADDR(UINT64_MAX - 3), 8), -EFAULT);
    assert_int_equal(copy_in(mm, buf, UADDR(a + 8190), 4), -EFAULT);
    uint32_t w = 0;
    bool done = false;
    assert_int_equal(user_load32(mm, UADDR(a), &w), 0);
    assert_int_equal(w, 0);
    assert_int_equal(user_cmpxchg32(mm, UADDR(a), &w, 17, &done), 0);
    assert_true(done);
    w = 3;
    assert_int_equal(user_cmpxchg32(mm, UADDR(a), &w, 18, &done), 0);
    assert_false(done);
    assert_int_equal(w, 17);
    assert_int_equal(user_load32(mm, UADDR(a + 2), &w), -EINVAL);
    mm_put(mm);
}

static void uios(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    struct uio u;
    char buf[64] = {0};
    uint64_t a = (uint64_t)map_anon(mm, 0x30000000, 8192, RW, PRIV | MAP_FIXED);
    assert_int_equal(uio_init_user(&u, mm, UADDR(a + 8190), 10), 0);
    assert_int_equal(uio_copy_to_user(&u, "abcdefghij", 10), 2);
    assert_int_equal(uio_copy_to_user(&u, "cdefghij", 8), -EFAULT);
    uio_rewind(&u);
    assert_int_equal(uio_copy_from_user(&u, buf, 10), 2);
    assert_memory_equal(buf, "ab", 2);
    uio_fini(&u);
    struct iovec v[12];
    for (unsigned i = 0; i < 12; i++)
        v[i] = (struct iovec){(void *)(a + 4096 + i * 16), i % 2 ? 0 : 4};
    assert_int_equal(copy_out(mm, UADDR(a), v, sizeof v), 0);
    assert_int_equal(uio_init_iovec(&u, mm, UADDR(a), 12), 0);
    assert_int_equal(u.left, 24);
    assert_int_equal(uio_copy_to_user(&u, "0123456789abcdefghijklmn", 24), 24);
    assert_int_equal(copy_in(mm, buf, UADDR(a + 4096 + 32), 4), 0);
    assert_memory_equal(buf, "4567", 4);
    uio_rewind(&u);
    uio_advance(&u, 6);
    struct iovec p[4];
    assert_int_equal(uio_pin(&u, true, 9, p, 4), 3);
    assert_int_equal(p[0].iov_len, 2);
    assert_memory_equal(p[0].iov_base, "67", 2);
    assert_int_equal(p[2].iov_len, 3);
    assert_int_equal(mm_munmap(mm, a, 8192, NULL), 0);
    memcpy(p[1].iov_base, "zzzz", 4); /* pinned: still there, nobody else's */
    uio_fini(&u);
    assert_int_equal(uio_init_iovec(&u, mm, UADDR(a), 1025), -EINVAL);
    assert_int_equal(uio_init_user(&u, mm, UADDR(GUEST_MAX - 4), 8), -EFAULT);
    mm_put(mm);
    assert_int_equal(memfile_used(fake_mf), 0);
}

static void advice(void **state)
{
    (void)state;
    struct mm *mm = new_mm();
    uint8_t v;
    uint64_t a = (uint64_t)map_anon(mm, 0, 1 * M, RW, PRIV);
    for (uint64_t i = 0; i < 1 * M; i += 4096)
        assert_int_equal(guest_write(mm, a + i, 1), 0);
    assert_int_equal(mm_madvise(mm, a, 8192, MADV_DONTNEED), 0);
    assert_int_equal(guest_read(mm, a + 4096, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(mm_madvise(mm, a + 512 * K, 512 * K, MADV_DONTNEED), 0);
    assert_int_equal(guest_read(mm, a + 600 * K, &v), 0);
    assert_int_equal(v, 0);
    assert_true(memfile_used(fake_mf) < 900 * K);
    assert_int_equal(mm_madvise(mm, a, 4096, 9999), -EINVAL);
    assert_int_equal(mm_madvise(mm, a, 64 * M, MADV_NORMAL), -ENOMEM);
    assert_int_equal(mm_madvise(mm, a, 4096, MADV_WIPEONFORK), 0);
    assert_int_equal(mm_madvise(mm, a + 4096, 4096, MADV_DONTFORK), 0);
    assert_int_equal(guest_write(mm, a, 9), 0);
    struct mm *child = mm_fork(mm);
    assert_int_equal(guest_read(child, a, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(guest_read(child, a + 4096, &v), SIGSEGV);
    assert_int_equal(guest_read(child, a + 8192, &v), 0);
    assert_int_equal(v, 1);
    mm_put(child);
    uint64_t out = (uint64_t)map_anon(mm, 0, 4096, RW, PRIV);
    uint8_t vec[4];
    uint64_t cold = (uint64_t)map_anon(mm, 0, 64 * M, RW, PRIV | MAP_NORESERVE);
    assert_int_equal(mm_mincore(mm, cold + 32 * M, 4 * 4096, UADDR(out)), 0);
    assert_int_equal(copy_in(mm, vec, UADDR(out), 4), 0);
    assert_int_equal(vec[0], 0);
    assert_int_equal(mm_madvise(mm, cold + 32 * M, 8192, 23 /* POPULATE_WRITE */), 0);
    assert_int_equal(mm_mincore(mm, cold + 32 * M, 4 * 4096, UADDR(out)), 0);
    assert_int_equal(copy_in(mm, vec, UADDR(out), 4), 0);
    assert_int_equal(vec[0], 1);
    assert_int_equal(vec[2], 0);
    struct mm_stats st;
    mm_stats_get(mm, &st);
    assert_true(st.rss > 300 * K && st.vsize >= 65 * M);
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
        cmocka_unit_test(rights),         cmocka_unit_test(self_unmap),
        cmocka_unit_test(fork_cow),       cmocka_unit_test(files),
        cmocka_unit_test(read_only_file), cmocka_unit_test(brk_and_stack),
        cmocka_unit_test(mremap_moves),   cmocka_unit_test(strings),
        cmocka_unit_test(uios),           cmocka_unit_test(advice),
        cmocka_unit_test(hot_pages),

    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
