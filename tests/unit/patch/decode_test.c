/* SPDX-License-Identifier: Apache-2.0
 * decode_test.c - which code around a syscall instruction is taken for a site that can be changed,
 * and which is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <patch/patch.h>

#define END 0x401230ULL /* 16-aligned */

static uint8_t code[PATCH_BEFORE + PATCH_BEHIND];
static const struct patch_call call = {39, {1, 2, 3, 4, 5, 6}};

/* @before ends at the site's end, @behind starts there. */
static bool decode(const char *before, size_t nb, const char *behind, size_t na,
                   const struct patch_call *c, struct patch_site *ret)
{
    memset(code, 0x55, sizeof code);
    memcpy(code + PATCH_BEFORE - nb, before, nb);
    memcpy(code + PATCH_BEFORE, behind, na);
    memset(ret, 0, sizeof *ret);
    return patch_decode(code, END, c, ret);
}
#define DECODE(before, behind, c, ret) \
    decode(before, sizeof(before) - 1, behind, sizeof(behind) - 1, c, ret)

static void test_mov_number(void **state)
{
    struct patch_site s;
    struct patch_call other = call;

    (void)state;
    assert_true(DECODE("\x90\xb8\x27\0\0\0\x0f\x05", "", &call, &s));
    assert_int_equal(s.moved_len, 5);
    assert_int_equal(s.pad, 0);
    assert_memory_equal(s.moved, "\xb8\x27\0\0\0", 5);
    other.nr = 40; /* the bytes are something else: eax holds another value */
    assert_false(DECODE("\x90\xb8\x27\0\0\0\x0f\x05", "", &other, &s));
    /* mov $39,%r8d: not the number */
    assert_false(DECODE("\x41\xb8\x27\0\0\0\x0f\x05", "", &call, &s));
    /* no syscall instruction in front of the end */
    assert_false(DECODE("\x90\xb8\x27\0\0\0\x0f\x34", "", &call, &s));
    assert_false(DECODE("\xb8\x27\0\0\0\xcd\x80", "", &call, &s));
}

static void test_mov_argument(void **state)
{
    struct patch_call c = {257, {0xffffff9c, 2, 0x80000, 4, 7, 6}};
    struct patch_site s;

    (void)state;
    assert_true(DECODE("\x90\xbf\x9c\xff\xff\xff\x0f\x05", "", &c, &s));
    assert_int_equal(s.moved_len, 5);
    assert_true(DECODE("\x90\xba\0\0\x08\0\x0f\x05", "", &c, &s));
    assert_true(DECODE("\x41\xb8\7\0\0\0\x0f\x05", "", &c, &s));
    assert_int_equal(s.moved_len, 6);
    assert_true(DECODE("\x41\xba\4\0\0\0\x0f\x05", "", &c, &s));
    assert_int_equal(s.moved_len, 6);
    assert_false(DECODE("\x90\xbf\x9d\xff\xff\xff\x0f\x05", "", &c, &s));
    assert_false(DECODE("\x90\xb9\6\0\0\0\x0f\x05", "", &c, &s)); /* ecx */
    assert_false(DECODE("\x90\xbb\6\0\0\0\x0f\x05", "", &c, &s)); /* ebx */
}

static void test_load(void **state)
{
    struct patch_site s;

    (void)state;
    assert_true(DECODE("\x4c\x8b\x4c\x24\x08\x0f\x05", "", &call, &s));
    assert_int_equal(s.moved_len, 5);
    assert_true(DECODE("\x48\x8b\x74\x24\x18\x0f\x05", "", &call, &s));
    assert_false(DECODE("\x48\x8b\x74\x25\x18\x0f\x05", "", &call, &s));
    /* relative to rip: means something else elsewhere */
    assert_false(DECODE("\x48\x8b\x05\x10\0\0\0\x0f\x05", "", &call, &s));
    /* jumps and calls */
    assert_false(DECODE("\xe9\x10\0\0\0\x0f\x05", "", &call, &s));
    assert_false(DECODE("\xe8\x10\0\0\0\x0f\x05", "", &call, &s));
}

#define TAIL "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3" /* 9 bytes: padding of 7 follows */
static const struct patch_call read_call = {0, {0}};

static void test_short(void **state)
{
    struct patch_site s;

    (void)state;
    assert_true(DECODE("\x90\x31\xc0\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &read_call, &s));
    assert_int_equal(s.moved_len, 2);
    assert_int_equal(s.pad, 9);
    assert_true(
        DECODE("\x90\x31\xc0\x0f\x05", TAIL "\xcc\xcc\xcc\xcc\xcc\xcc\xcc", &read_call, &s));
    /* xor %r8d,%r8d */
    assert_false(DECODE("\x45\x31\xc0\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &read_call, &s));
    /* eax is not 0, so it was none */
    assert_false(DECODE("\x90\x31\xc0\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &call, &s));
    /* no padding: code, too little, or no tail before it */
    assert_false(
        DECODE("\x90\x31\xc0\x0f\x05", TAIL "\x48\x89\xc3\x90\x90\x90\x90", &read_call, &s));
    assert_false(
        DECODE("\x90\x31\xc0\x0f\x05", "\x90\x90\x90\x90" TAIL "\x0f\x1f\x00", &read_call, &s));
    assert_false(DECODE("\x90\x31\xc0\x0f\x05",
                        "\x90\x90\x90\x90\x90\x90\x90\x90\xc3\x0f\x1f\x80\0\0\0\0", &read_call,
                        &s));
    /* mov %edx,%eax; mov %r8d,%eax */
    assert_true(DECODE("\x90\x89\xd0\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &call, &s));
    assert_int_equal(s.moved_len, 2);
    assert_true(DECODE("\x44\x89\xc0\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &call, &s));
    assert_int_equal(s.moved_len, 3);
    assert_false(DECODE("\x44\x89\xc8\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &call, &s));
    assert_true(DECODE("\x90\x8b\x7c\x24\x08\x0f\x05", TAIL "\x0f\x1f\x80\0\0\0\0", &call, &s));
    assert_int_equal(s.moved_len, 4);
}

/* A pad of 10 bytes holds two jumps, not three. */
static void test_shared_pad(void **state)
{
    static const char two[] = "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90" TAIL;
    uint8_t behind[32];
    struct patch_site s;

    (void)state;
    memcpy(behind, two, 22);
    memset(behind + 22, 0x90, 10);
    patch_jump_write(behind + 22, END + 22, END - 0x1000);
    assert_true(decode("\x90\x31\xc0\x0f\x05", 5, (char *)behind, 32, &read_call, &s));
    assert_int_equal(s.pad, 27);
    patch_jump_write(behind + 27, END + 27, END - 0x1000);
    assert_false(decode("\x90\x31\xc0\x0f\x05", 5, (char *)behind, 32, &read_call, &s));
}

/* Any bytes: no answer that points outside the window. */
static void test_random(void **state)
{
    uint64_t x = 88172645463325252ULL;
    struct patch_site s;

    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        for (unsigned i = 0; i < sizeof code; i += 8) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(code + i, &x, 8);
        }
        code[PATCH_BEFORE - 2] = 0x0f, code[PATCH_BEFORE - 1] = 0x05;
        if (round % 2)
            memcpy(code + (x >> 20) % (sizeof code - 32), TAIL "\xcc\xcc\xcc\xcc\xcc\xcc", 15);
        if (round % 3 == 0)
            memcpy(code + PATCH_BEFORE - 5, "\x90\x31\xc0\x0f\x05", 5);
        memset(&s, 0, sizeof s);
        if (!patch_decode(code, END + x % 16, &read_call, &s))
            continue;
        assert_in_range(s.moved_len, 2, 8);
        int from = -2 - (int)s.moved_len;
        if (s.pad) {
            assert_true(s.pad - (from + 2) >= -128 && s.pad - (from + 2) <= 127);
            assert_true(s.pad >= -(int)PATCH_BEFORE &&
                        s.pad + (int)PATCH_JUMP <= (int)PATCH_BEHIND);
            assert_true(s.pad >= 0 || s.pad + (int)PATCH_JUMP <= from);
        } else {
            assert_true(s.moved_len >= PATCH_JUMP);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mov_number), cmocka_unit_test(test_mov_argument),
        cmocka_unit_test(test_load),       cmocka_unit_test(test_short),
        cmocka_unit_test(test_shared_pad), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
