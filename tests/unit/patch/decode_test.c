/* SPDX-License-Identifier: Apache-2.0
 * decode_test.c - which code around a syscall instruction is taken for a site that can be changed,
 * which is not, and what stands in its slot. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <patch/patch.h>

#define END 0x1240ULL /* 16-aligned */

/* Functions in a row, as a compiler makes them; the site's own code comes behind. */
static const char before_all[] = "\x55\x48\x89\xe5\x53\x48\x83\xec\x18\x48\x89\xfb\x89\x75\xe8\x48"
                                 "\x8b\x43\x10\x48\x85\xc0\x74\x0c"
                                 "\x48\x8b\x7b\x08\xff\xd0\x85\xc0\x0f\x95\xc0\xeb\x03\x90\x31\xc0"
                                 "\x48\x83\xc4\x18\x5b\x5d\xc3\x90"
                                 "\x48\x89\xf8\x48\x8b\x57\x08\x48\x8d\x4a\x01\x48\x89\x4f\x08\x8b"
                                 "\x46\x04\x89\x47\x14\x53\x55\x57";
static uint8_t code[MM_TEXT_BEFORE + MM_TEXT_BEHIND];
static const struct mm_text_call call = {39, {1, 2, 3, 4, 5, 6}};
static const struct mm_text_call read_call = {0, {0}};
static uint64_t end_at = END;

static int decode_code(const struct mm_text_call *c, struct mm_text_site *ret)
{
    struct mm_text_code w = {
        .bytes = code, .before = MM_TEXT_BEFORE, .behind = MM_TEXT_BEHIND, .end = end_at};
    memset(ret, 0, sizeof *ret);
    return patch_decode(&w, c, ret);
}

/* @before ends at the site's end, @behind starts there. */
static int decode(const char *before, size_t nb, const char *behind, size_t na,
                  const struct mm_text_call *c, struct mm_text_site *ret)
{
    size_t n = sizeof before_all - 1;

    memset(code, 0x55, sizeof code);
    memcpy(code + MM_TEXT_BEFORE - nb - n, before_all, n);
    memcpy(code + MM_TEXT_BEFORE - nb, before, nb);
    memcpy(code + MM_TEXT_BEFORE, behind, na);
    return decode_code(c, ret);
}
#define DECODE(before, behind, c, ret) \
    decode(before, sizeof(before) - 1, behind, sizeof(behind) - 1, c, ret)

static void test_mov_number(void **state)
{
    struct mm_text_site s;

    (void)state;
    end_at = END + 7; /* mov at a multiple of 16 */
    assert_int_equal(DECODE("\xb8\x27\0\0\0\x0f\x05", "", &call, &s), 0);
    assert_int_equal(s.shape, MM_TEXT_IMM);
    assert_int_equal(s.len, 5);
    assert_memory_equal(s.moved, "\xb8\x27\0\0\0", 5);
    /* no syscall instruction in front of the end */
    assert_int_equal(DECODE("\xb8\x27\0\0\0\x0f\x34", "", &call, &s), MM_TEXT_SHAPE);
    assert_int_equal(DECODE("\xb8\x27\0\0\0\xcd\x80", "", &call, &s), MM_TEXT_SHAPE);
    /* all is data: by its value alone, then not */
    memset(code, 0x06, sizeof code);
    memcpy(code + MM_TEXT_BEFORE - 7, "\xb8\x27\0\0\0\x0f\x05", 7);
    assert_int_equal(decode_code(&call, &s), 0);
    struct mm_text_call other = {40, {0}};
    assert_int_equal(decode_code(&other, &s), MM_TEXT_SHAPE);
    end_at = END;
}

/* A jump that crosses a word of 8 cannot be one store: an instruction more, or padding. */
static void test_fit(void **state)
{
    struct mm_text_site s;

    (void)state;
    end_at = END + 12; /* mov 5 bytes behind a multiple of 8 */
    assert_int_equal(DECODE("\x48\x89\xf7\x89\xd0\xb8\x27\0\0\0\x0f\x05", "", &call, &s), 0);
    assert_int_equal(s.shape, MM_TEXT_MORE);
    assert_int_equal(s.len, 7);
    assert_int_equal(s.steps, 1 | 1 << 2);
    assert_int_equal(s.alone, 5);
    /* nothing that can move before it */
    assert_int_equal(DECODE("\xff\xd3\xb8\x27\0\0\0\x0f\x05", "", &call, &s), 0);
    assert_int_equal(s.len, 5);
    assert_int_equal(s.shape, MM_TEXT_IMM);
    end_at = 0x2003; /* and over the end of a page, not at all */
    assert_int_equal(DECODE("\xff\xd3\xb8\x27\0\0\0\x0f\x05", "", &call, &s), MM_TEXT_ROOM);
    end_at = END;
}

static void test_several(void **state)
{
    struct mm_text_site s;

    (void)state;
    end_at = END + 8;
    /* as in Go: mov %rcx,%rsi; mov %rbx,%rdi */
    assert_int_equal(DECODE("\x48\x89\xce\x48\x89\xdf\x0f\x05", "", &call, &s), 0);
    assert_int_equal(s.shape, MM_TEXT_MORE);
    assert_int_equal(s.len, 6);
    assert_int_equal(s.steps, 1 | 1 << 3);
    /* lea n(%rip),%rsi moves with its displacement, also as the first of two */
    assert_int_equal(DECODE("\x48\x8d\x35\x10\0\0\0\x0f\x05", "", &call, &s), 0);
    assert_int_equal(s.shape, MM_TEXT_ONE);
    assert_int_equal(s.disp_at, 3);
    end_at = END + 4;
    assert_int_equal(DECODE("\x48\x8d\x35\x10\0\0\0\x48\x89\xdf\x0f\x05", "", &call, &s), 0);
    assert_int_equal(s.len, 10);
    assert_int_equal(s.disp_at, 3);
    /* a call, a jump or padding does not move, and nothing moves across it */
    assert_int_equal(DECODE("\xff\xd3\x48\x89\xdf\x0f\x05", "", &call, &s), MM_TEXT_ROOM);
    assert_int_equal(DECODE("\x74\x10\x48\x89\xdf\x0f\x05", "", &call, &s), MM_TEXT_ROOM);
    assert_int_equal(DECODE("\x0f\x1f\x00\x48\x89\xdf\x0f\x05", "", &call, &s), MM_TEXT_ROOM);
    assert_int_equal(DECODE("\xe9\x10\0\0\0\x0f\x05", "", &call, &s), MM_TEXT_SHAPE);
    /* a jump between the two: from behind, from before, and through a table */
    end_at = END + 8;
    assert_int_equal(DECODE("\x48\x89\xce\x48\x89\xdf\x0f\x05", "\x75\xf9\xc3", &call, &s),
                     MM_TEXT_TARGET);
    assert_int_equal(DECODE("\x48\x89\xce\x48\x89\xdf\x0f\x05", "\x75\xf6\xc3", &call, &s), 0);
    assert_int_equal(DECODE("\x75\x03\x48\x89\xce\x48\x89\xdf\x0f\x05", "", &call, &s),
                     MM_TEXT_TARGET);
    assert_int_equal(DECODE("\x48\x89\xce\x48\x89\xdf\x0f\x05", "\x3e\xff\xe0", &call, &s),
                     MM_TEXT_TARGET);
    end_at = END;
}

#define TAIL "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3" /* 9 bytes: padding of 7 follows */

static void test_padding(void **state)
{
    struct mm_text_site s;

    (void)state;
    assert_int_equal(
        DECODE("\xff\xd3\x31\xc0\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &read_call, &s), 0);
    assert_int_equal(s.shape, MM_TEXT_PAD);
    assert_int_equal(s.len, 2);
    assert_int_equal(s.pad, 9);
    assert_int_equal(s.pad_len, 7);
    assert_int_equal(
        DECODE("\xff\xd3\x31\xc0\x0f\x05", TAIL "\xcc\xcc\xcc\xcc\xcc\xcc\xcc", &read_call, &s), 0);
    /* code, too little, or no return before it */
    assert_int_equal(
        DECODE("\xff\xd3\x31\xc0\x0f\x05", TAIL "\x48\x89\xc3\x90\x90\x90\x90", &read_call, &s),
        MM_TEXT_ROOM);
    assert_int_equal(
        DECODE("\xff\xd3\x31\xc0\x0f\x05", "\x90\x90\x90\x90" TAIL "\x0f\x1f\x00", &read_call, &s),
        MM_TEXT_ROOM);
    assert_int_equal(DECODE("\xff\xd3\x31\xc0\x0f\x05",
                            "\x48\x89\xc7\x48\x89\xc6\x48\x01\xc3\x0f\x1f\x80\0\0\0\0", &read_call,
                            &s),
                     MM_TEXT_ROOM); /* c3 is the tail of add %rax,%rbx */
    assert_int_equal(DECODE("\xff\xd3\x31\xc0\x0f\x05",
                            "\x48\x89\xc7\x48\x89\xc6\x89\xc2\xc3\x0f\x1f\x80\0\0\0\0", &read_call,
                            &s),
                     0);
}

/* The slot does what the site did: here by reading its bytes. */
static void test_slot(void **state)
{
    struct mm_text_site s;
    uint8_t b[MM_TEXT_SLOT];
    int32_t rel;

    (void)state;
    patch_init(0x1122334455667788, NULL, 1);
    end_at = END + 4;
    assert_int_equal(DECODE("\x48\x8d\x35\x10\0\0\0\x48\x89\xdf\x0f\x05", "", &call, &s), 0);
    patch_slot_fill(&s, 0x1000, 0x40001000, b);
    memcpy(&rel, b + 3, 4); /* lea: the same address */
    assert_int_equal(0x40001000 + 7 + rel, 0x1000 - 12 + 7 + 0x10);
    assert_memory_equal(b + 7, "\x48\x89\xdf\x48\x8d\x0d", 6);
    memcpy(&rel, b + 13, 4);
    assert_int_equal(0x40001000 + 17 + rel, 0x1000);
    assert_memory_equal(b + 17, "\x49\xbb\x88\x77\x66\x55\x44\x33\x22\x11\x41\xff\xe3", 13);
    end_at = END;
}

/* Any bytes: no answer that points outside the window. */
static void test_random(void **state)
{
    uint64_t x = 88172645463325252ULL;
    unsigned found = 0;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct mm_text_site s;

        for (unsigned i = 0; i < sizeof code; i += 8) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(code + i, &x, 8);
        }
        code[MM_TEXT_BEFORE - 2] = 0x0f, code[MM_TEXT_BEFORE - 1] = 0x05;
        if (round % 2)
            memcpy(code + (x >> 20) % (sizeof code - 32), TAIL "\xcc\xcc\xcc\xcc\xcc\xcc", 15);
        if (round % 3 == 0)
            memcpy(code + MM_TEXT_BEFORE - 5, "\x90\x31\xc0\x0f\x05", 5);
        struct mm_text_code w = {.bytes = code,
                                 .before = 16 + (unsigned)(x >> 8) % (MM_TEXT_BEFORE - 15),
                                 .behind = (unsigned)(x >> 40) % (MM_TEXT_BEHIND + 1),
                                 .end = 0x100000 + x % 4096};
        memset(&s, 0, sizeof s);
        if (patch_decode(&w, &read_call, &s))
            continue;
        found++;
        assert_in_range(s.len, 2, MM_TEXT_MOVED);
        assert_true(s.len + 2u <= w.before && (s.steps & 1) && s.steps >> s.len == 0);
        assert_memory_equal(s.moved, code + MM_TEXT_BEFORE - 2 - s.len, s.len);
        int from = -(int)s.len; /* behind a jump of 2 */
        if (s.shape == MM_TEXT_PAD) {
            assert_true(s.pad - from >= -128 && s.pad - from <= 127);
            assert_true(s.pad >= -(int)w.before && s.pad + (int)s.pad_len <= (int)w.behind);
            assert_true(s.pad >= 0 || s.pad + (int)s.pad_len <= from - 2);
        } else {
            assert_true(s.len >= MM_TEXT_JUMP);
        }
    }
    assert_true(found > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mov_number), cmocka_unit_test(test_fit),
        cmocka_unit_test(test_several),    cmocka_unit_test(test_padding),
        cmocka_unit_test(test_slot),       cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
