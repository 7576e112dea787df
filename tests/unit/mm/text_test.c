/* SPDX-License-Identifier: Apache-2.0
 * text_test.c - images of text with changed call sites: who sees them, who sees the file, when they
 * go, and their limits. Sites here are 5 bytes that move whole, wherever the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "fake.h"
#include "text_internal.h"

#define RX (PROT_READ | PROT_EXEC)
#define AT 0x40000000ULL
#define AFTER 3

static bool refuse, in;

static int decode(const struct mm_text_code *c, const struct mm_text_call *call,
                  struct mm_text_site *ret)
{
    (void)call;
    if (refuse)
        return MM_TEXT_SHAPE;
    *ret = (struct mm_text_site){.len = 5, .shape = MM_TEXT_IMM, .steps = 1};
    memcpy(ret->moved, c->bytes + MM_TEXT_BEFORE - 7, 5);
    return 0;
}

static void slot_fill(const struct mm_text_site *s, uint64_t end, uint64_t slot,
                      uint8_t b[MM_TEXT_SLOT])
{
    memcpy(b, s->moved, 5);
    uint64_t back = end - slot;
    memcpy(b + 8, &back, 8);
}

static struct fake_file *text_new(uint64_t pages, bool by_page)
{
    struct fake_file *f = fake_file_new(pages, by_page);
    fake_handlers(); /* cmocka sets its own before each test */
    refuse = false;
    fake_file_write(f, 0, "\x90", 1);
    return f;
}

static int64_t map_text(struct mm *mm, struct fake_file *f, uint64_t at)
{
    return map_file(mm, f, at, f->size, RX, MAP_PRIVATE | (at ? MAP_FIXED : 0), 0);
}

static int trap(struct mm *mm, uint64_t end)
{
    const struct mm_text_call call = {.nr = 1};
    bool final;

    (void)mm_as(mm);
    return mm_text_trapped(mm, end, &call, &final);
}

/* First byte of the jump of the site that ends at @end, as the guest runs it. */
static uint8_t byte_run(struct mm *mm, uint64_t end)
{
    uint8_t b = 0;
    assert_int_equal(guest_read(mm, end - 7, &b), 0);
    return b;
}

static uint8_t byte_told(struct mm *mm, uint64_t end)
{
    uint8_t b = 0;
    assert_int_equal(copy_in(mm, &b, UADDR(end - 7), 1), 0);
    return b;
}

static uint64_t jump_target(struct mm *mm, uint64_t end)
{
    int32_t rel;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(guest_read(mm, end - 6 + i, (uint8_t *)&rel + i), 0);
    return end - 2 + (uint64_t)(int64_t)rel;
}

static unsigned regions(struct mm *mm)
{
    struct mm_region r;
    unsigned n = 0;
    for (uint64_t at = 0; mm_region_next(mm, at, &r); at = r.end)
        n++;
    return n;
}

static void change_over(struct mm *mm, uint64_t end)
{
    for (unsigned i = 0; i < AFTER && byte_run(mm, end) != 0xe9; i++)
        assert_int_equal(trap(mm, end), MM_TEXT_NEW);
    assert_int_equal(byte_run(mm, end), 0xe9);
}

static void test_shared(void **state)
{
    (void)state;
    for (unsigned by_page = 0; by_page < 2; by_page++) {
        struct fake_file *f = text_new(20, by_page);
        struct mm *a = mm_new(), *b = mm_new();
        uint64_t end = AT + 0x2000 + 7, back, rip;

        assert_int_equal(map_text(a, f, AT), AT);
        assert_int_equal(trap(a, end), MM_TEXT_NEW);
        assert_int_equal(byte_run(a, end), 3);
        change_over(a, end + 64); /* two more, and AFTER is reached */
        assert_int_equal(byte_run(a, end), 0xe9);
        assert_int_equal(byte_told(a, end), 3);
        assert_int_equal(byte_run(a, end + 128), 3);
        assert_int_equal(trap(a, end + 128), MM_TEXT_NEW); /* now at once */
        assert_int_equal(byte_run(a, end + 128), 0xe9);
        assert_int_equal(trap(a, end), MM_TEXT_SLOW);
        uint64_t slot = jump_target(a, end);
        assert_int_equal(guest_read64(a, slot + 8, &back), 0);
        assert_int_equal(slot + back, end);
        assert_true(mm_text_site_of(a, slot, &rip, &in) && rip == end - 7 && !in);
        assert_true(mm_text_site_of(a, slot + 5, &rip, &in) && rip == end - 2 && !in);
        assert_true(mm_text_site_of(a, slot + 3, &rip, &in) && in);
        assert_false(mm_text_site_of(a, AT, &rip, &in));
        /* slots: told to nobody */
        assert_int_equal(regions(a), 1);
        assert_int_equal(copy_in(a, &rip, UADDR(slot), 8), -EFAULT);
        /* another address space, another place */
        assert_int_equal(map_text(b, f, 2 * AT), 2 * AT);
        assert_int_equal(byte_run(b, end + AT), 0xe9);
        assert_int_equal(byte_told(b, end + AT), 3);
        slot = jump_target(b, end + AT + 128);
        assert_int_equal(guest_read64(b, slot + 8, &back), 0);
        assert_int_equal(slot + back, end + AT + 128);
        mm_put(a);
        struct mm *c = mm_fork(b);
        mm_put(b);
        assert_int_equal(byte_run(c, end + AT), 0xe9);
        assert_true(mm_text_site_of(c, slot, &rip, &in));
        assert_int_equal(trap(c, end + AT + 256), MM_TEXT_NEW);
        assert_int_equal(byte_run(c, end + AT + 256), 0xe9);
        mm_put(c);
        fake_file_put(f);
    }
}

static void test_file_changed(void **state)
{
    struct fake_file *f = text_new(4, false);
    struct mm *a = mm_new(), *b = mm_new();
    uint64_t end = AT + 0x1000 + 7;

    (void)state;
    map_text(a, f, AT);
    change_over(a, end);
    fake_file_write(f, 0x3000, "x", 1);
    map_text(b, f, AT);
    assert_int_equal(byte_run(b, end), 2);
    change_over(b, end);
    mm_put(a);
    mm_put(b);
    fake_file_put(f);
}

/* What the guest does to its text finds, and leaves, what the file has. */
static void test_guest_changes(void **state)
{
    struct fake_file *f = text_new(8, false);
    struct mm *a = mm_new();
    struct mm_self self;
    uint64_t end = AT + 0x1000 + 7, slot;
    uint8_t b;

    (void)state;
    map_text(a, f, AT);
    change_over(a, end);
    assert_int_equal(trap(a, end + 0x1000), MM_TEXT_NEW);
    assert_int_equal(trap(a, end + 0x2000), MM_TEXT_NEW);
    /* one page may be written to: it is the file's again, and then its own */
    assert_int_equal(mm_mprotect(a, AT + 0x1000, 0x1000, RX | PROT_WRITE, &self), 0);
    assert_int_equal(byte_run(a, end), 2);
    assert_int_equal(trap(a, end), MM_TEXT_WRITABLE);
    assert_int_equal(guest_write(a, AT + 0x1100, 7), 0);
    assert_int_equal(byte_run(a, end), 2);
    assert_int_equal(mm_mprotect(a, AT + 0x1000, 0x1000, RX, &self), 0);
    assert_int_equal(trap(a, end), MM_TEXT_OWN);
    assert_int_equal(byte_run(a, end + 0x1000), 0xe9);
    /* written by force: the page is a copy of the file's */
    assert_int_equal(copy_out_force(a, UADDR(AT + 0x2800), "z", 1), 0);
    assert_int_equal(byte_run(a, end + 0x1000), 3);
    assert_int_equal(guest_read(a, AT + 0x2800, &b), 0);
    assert_int_equal(b, 'z');
    /* a mapping where the slots are drives them away */
    assert_int_equal(byte_run(a, end + 0x2000), 0xe9);
    slot = jump_target(a, end + 0x2000) & PAGE_MASK;
    assert_int_equal(
        map_anon(a, slot, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE), slot);
    assert_int_equal(byte_run(a, end + 0x2000), 4);
    assert_int_equal(guest_read(a, slot, &b), 0);
    assert_int_equal(b, 0);
    assert_false(mm_text_site_of(a, slot, &slot, &in));
    mm_put(a);
    fake_file_put(f);
}

static void test_unmapped_moved_forbidden(void **state)
{
    struct fake_file *f = text_new(8, false);
    struct mm *a = mm_new();
    struct mm_self self;
    uint64_t end = AT + 0x1000 + 7, slot, rip;

    (void)state;
    map_text(a, f, AT);
    change_over(a, end);
    slot = jump_target(a, end);
    assert_int_equal(mm_munmap(a, AT + 0x4000, 0x1000, &self), 0);
    assert_true(mm_text_site_of(a, slot, &rip, &in));
    assert_int_equal(mm_munmap(a, AT, 0x8000, &self), 0);
    guest_self(a, &self);
    assert_false(mm_text_site_of(a, slot, &rip, &in));
    assert_int_equal(regions(a), 0);
    map_text(a, f, AT);
    assert_int_equal(byte_run(a, end), 0xe9);
    int64_t to = mm_mremap(a, AT, 0x8000, 0x8000, MREMAP_MAYMOVE | MREMAP_FIXED, 3 * AT);
    assert_int_equal(to, 3 * AT);
    assert_int_equal(byte_run(a, end + 2 * AT), 2);
    change_over(a, end + 2 * AT);
    mm_text_forbid(a);
    assert_int_equal(byte_run(a, end + 2 * AT), 2);
    assert_int_equal(trap(a, end + 2 * AT), MM_TEXT_PROCESS);
    mm_put(a);
    fake_file_put(f);
}

/* A jump that is no one store waits while threads may run the image. */
static void test_live(void **state)
{
    struct fake_file *f = text_new(8, false);
    struct mm *a = mm_new(), *b = mm_new(), *c = mm_new();
    uint64_t end = AT + 0x1000 + 7, odd = end + 4 + 64;
    unsigned n = 0;

    (void)state;
    map_text(a, f, AT);
    change_over(a, end);
    map_text(b, f, AT);
    assert_int_equal(trap(a, odd), MM_TEXT_LIVE);
    assert_int_equal(byte_run(a, odd), 2);
    while (trap(a, odd) == MM_TEXT_LIVE)
        assert_true(++n < 20);
    assert_int_equal(byte_run(a, odd), 0xe9); /* in an image after the first */
    assert_int_equal(byte_run(a, end), 0xe9);
    assert_int_equal(byte_run(b, odd), 2);
    map_text(c, f, AT);
    assert_int_equal(byte_run(c, odd), 0xe9);
    assert_int_equal(jump_target(c, end), jump_target(b, end)); /* slots keep their numbers */
    mm_put(a);
    mm_put(b);
    mm_put(c);
    fake_file_put(f);
}

static void test_limits(void **state)
{
    struct fake_file *f = text_new(2, false);
    struct mm *a = mm_new();
    uint64_t full = mm_text_counters.refused[MM_TEXT_FULL];
    unsigned slots = 2 * PAGE_SIZE / MM_TEXT_SLOT;

    (void)state;
    map_text(a, f, AT);
    change_over(a, AT + 7);
    for (unsigned i = 1; i < slots; i++)
        assert_int_equal(trap(a, AT + 7 + i * 8), MM_TEXT_NEW);
    assert_int_equal(byte_run(a, AT + 7 + (slots - 1) * 8), 0xe9);
    assert_int_equal(trap(a, AT + 7 + slots * 8), MM_TEXT_FULL); /* of slots */
    assert_int_equal(byte_run(a, AT + 7 + slots * 8), 1);
    fake_file_put(f);

    f = text_new(8, false);
    refuse = true;
    map_text(a, f, 2 * AT);
    for (unsigned i = 0; i < TEXT_SITES_MAX; i++)
        assert_int_equal(trap(a, 2 * AT + 7 + i), MM_TEXT_SHAPE);
    assert_int_equal(trap(a, 2 * AT + 7 + TEXT_SITES_MAX), MM_TEXT_FULL);
    assert_int_equal(mm_text_counters.refused[MM_TEXT_FULL], full + 1);
    refuse = false;
    fake_file_put(f);

    for (unsigned i = 0; i < TEXT_MAPS_MAX; i++) { /* one is there: the last is too many */
        f = text_new(1, false);
        uint64_t at = 3 * AT + i * 0x10000;
        assert_int_equal(map_text(a, f, at), at);
        for (unsigned k = 1; k < AFTER; k++)
            assert_int_equal(trap(a, at + 7), MM_TEXT_NEW);
        bool last = i + 1 == TEXT_MAPS_MAX;
        assert_int_equal(trap(a, at + 7), last ? MM_TEXT_FULL : MM_TEXT_NEW);
        assert_int_equal(byte_run(a, at + 7), last ? 0x90 : 0xe9);
        fake_file_put(f);
    }
    mm_put(a);
}

/* More images than are kept, and more files: the oldest go, and live on where they are mapped. */
static void test_cache_limits(void **state)
{
    uint64_t dropped = mm_text_counters.dropped, max = memfile_limit(fake_mf) / 8;
    unsigned n = (unsigned)(max / (HUGE_SIZE + 16 * PAGE_SIZE)), i;
    struct mm *a = mm_new(), *b = mm_new();
    struct fake_file *first = text_new(256, false), *f;

    (void)state;
    map_text(a, first, AT);
    change_over(a, AT + 7);
    for (i = 1; mm_text_counters.dropped == dropped; i++) {
        struct mm *c = mm_new();
        assert_true(i <= n + 1);
        f = text_new(256, false);
        map_text(c, f, AT);
        change_over(c, AT + 7);
        mm_put(c);
        fake_file_put(f);
    }
    assert_int_equal(byte_run(a, AT + 7), 0xe9);
    assert_int_equal(byte_told(a, AT + 7), 0x90);
    map_text(b, first, AT); /* made anew: its sites are known still */
    assert_int_equal(byte_run(b, AT + 7), 0xe9);
    mm_put(b);
    for (i = 0; i <= TEXT_FILES_MAX; i++) {
        struct mm *c = mm_new();
        f = text_new(1, false);
        map_text(c, f, AT);
        assert_int_equal(trap(c, AT + 7), MM_TEXT_NEW);
        mm_put(c);
        fake_file_put(f);
    }
    b = mm_new();
    map_text(b, first, AT);
    assert_int_equal(byte_run(b, AT + 7), 0x90); /* forgotten */
    mm_put(b);
    mm_put(a);
    fake_file_put(first);
}

/* Text of more than 4 MiB: pieces. */
static void test_pieces(void **state)
{
    struct fake_file *f = text_new(2048, false);
    struct mm *a = mm_new(), *b = mm_new();
    uint64_t one = AT + 0x10000 + 7, other = AT + 0x500000 + 7;
    uint64_t bytes = mm_text_counters.image_bytes;
    uint8_t v;

    (void)state;
    map_text(a, f, AT);
    change_over(a, one);
    assert_int_equal(mm_text_counters.image_bytes - bytes, TEXT_PIECE + TEXT_AREA_MAX);
    change_over(a, other);
    map_text(b, f, AT);
    assert_int_equal(byte_run(b, one), 0xe9);
    assert_int_equal(byte_run(b, other), 0xe9);
    for (uint64_t at = 0; at < f->size; at += 0x40000) {
        assert_int_equal(guest_read(b, AT + at + 0x1000, &v), 0);
        assert_int_equal(v, (uint8_t)(at / PAGE_SIZE + 2));
    }
    mm_put(a);
    mm_put(b);
    fake_file_put(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),        cmocka_unit_test(test_file_changed),
        cmocka_unit_test(test_guest_changes), cmocka_unit_test(test_unmapped_moved_forbidden),
        cmocka_unit_test(test_live),          cmocka_unit_test(test_limits),
        cmocka_unit_test(test_cache_limits),  cmocka_unit_test(test_pieces),
    };
    static const struct mm_text_ops ops = {decode, slot_fill};
    fake_setup(64ULL << 20);
    mm_text_init(&ops, AFTER);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
