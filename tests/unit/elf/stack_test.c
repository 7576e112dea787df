/* SPDX-License-Identifier: Apache-2.0
 * The initial stack, read back as a program would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <string.h>

#include <base/compiler.h>
#include <elf/image.h>

#define TOP 0x7ffffffff000ULL

static uint8_t buf[8192];
static const uint8_t random16[16] = "0123456789abcde";
static const uint64_t aux[][2] = {{AT_PAGESZ, 4096}, {AT_ENTRY, 0x401000}};

static struct elf_stack stack(uint32_t argc, uint32_t envc, const char *strings, size_t len)
{
    return (struct elf_stack){.top = TOP,
                              .argc = argc,
                              .envc = envc,
                              .strings = strings,
                              .strings_len = len,
                              .execfn = "/bin/prog",
                              .random16 = random16,
                              .auxv = aux,
                              .auxc = ARRAY_SIZE(aux)};
}

static const void *at(uint64_t addr)
{
    assert_true(addr < TOP && addr >= TOP - sizeof buf);
    return buf + sizeof buf - (TOP - addr);
}

static uint64_t word(uint64_t addr)
{
    uint64_t v;
    memcpy(&v, at(addr), 8);
    return v;
}

static void layout(void **state)
{
    (void)state;
    static const char strings[] = "prog\0one\0\0A=1\0BB=22";
    struct elf_stack s = stack(3, 2, strings, sizeof strings);
    struct elf_stack_result r;
    memset(buf, 0xcc, sizeof buf);
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), 0);
    assert_int_equal(r.sp % 16, 0);
    assert_int_equal(r.bytes, TOP - r.sp);
    assert_int_equal(buf[sizeof buf - r.bytes - 1], 0xcc);

    uint64_t p = r.sp;
    assert_int_equal(word(p), 3);
    p += 8;
    const char *want[] = {"prog", "one", "", NULL, "A=1", "BB=22", NULL};
    for (size_t i = 0; i < ARRAY_SIZE(want); i++, p += 8) {
        if (want[i])
            assert_string_equal(at(word(p)), want[i]);
        else
            assert_int_equal(word(p), 0);
    }
    assert_int_equal(p, r.auxv_addr);
    size_t n = 0;
    uint64_t random = 0, execfn = 0, platform = 0, entry = 0;
    for (;; p += 16, n += 2) {
        assert_int_equal(r.auxv[n], word(p));
        assert_int_equal(r.auxv[n + 1], word(p + 8));
        uint64_t v = word(p + 8);
        switch (word(p)) {
        case AT_RANDOM:
            random = v;
            break;
        case AT_EXECFN:
            execfn = v;
            break;
        case AT_PLATFORM:
            platform = v;
            break;
        case AT_ENTRY:
            entry = v;
            break;
        }
        if (word(p) == AT_NULL)
            break;
    }
    assert_int_equal(entry, 0x401000);
    assert_memory_equal(at(random), random16, 16);
    assert_string_equal(at(execfn), "/bin/prog");
    assert_string_equal(at(platform), "x86_64");
    assert_int_equal(execfn + sizeof "/bin/prog" + 8, TOP);
    assert_int_equal(word(TOP - 8), 0);
    assert_string_equal(at(r.arg_start), "prog");
    assert_int_equal(r.arg_end, r.env_start);
    assert_string_equal(at(r.env_start), "A=1");
    assert_int_equal(r.env_end, execfn);
}

static void nothing_at_all(void **state)
{
    (void)state;
    struct elf_stack s = stack(0, 0, "", 0);
    s.auxc = 0;
    s.auxv = NULL;
    struct elf_stack_result r;
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), 0);
    assert_int_equal(word(r.sp), 0);
    assert_int_equal(word(r.sp + 8), 0);
    assert_int_equal(word(r.sp + 16), 0);
    assert_int_equal(r.auxv_addr, r.sp + 24);
}

static void limits(void **state)
{
    (void)state;
    static char strings[6000];
    memset(strings, 'a', sizeof strings - 1);
    struct elf_stack s = stack(1, 0, strings, sizeof strings);
    struct elf_stack_result r = {.sp = 1};
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), 0);
    size_t need = r.bytes;
    uint8_t tight[8192];
    int err = 0;
    for (size_t size = 0; size < need; size++) {
        err = elf_stack_build(&s, tight, size, &r);
        assert_int_equal(err, -E2BIG);
    }
    s.top = 4096;
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), -E2BIG);
    static const uint64_t many[40][2];
    s = stack(0, 0, "", 0);
    s.auxv = many;
    s.auxc = 28;
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), 0);
    s.auxc = 29;
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), -E2BIG);
}

static void strings_must_match(void **state)
{
    (void)state;
    struct elf_stack_result r;
    struct elf_stack s = stack(2, 0, "a\0b", 3); /* last one not terminated */
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), -EINVAL);
    s = stack(2, 1, "a\0b", 4);
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), -EINVAL);
    s = stack(1, 0, "a\0b", 4);
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), -EINVAL);
    s = stack(UINT32_MAX, UINT32_MAX, "a", 2);
    assert_int_equal(elf_stack_build(&s, buf, sizeof buf, &r), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout),
        cmocka_unit_test(nothing_at_all),
        cmocka_unit_test(limits),
        cmocka_unit_test(strings_must_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
