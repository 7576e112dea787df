/* SPDX-License-Identifier: Apache-2.0
 * stack.c - the stack a program finds at its first instruction.
 *
 * From the top down, as Linux lays it out: 8 zero bytes, the executed file's name, environment
 * strings, argument strings (these ascending: argv[0] lowest), platform name, 16 random bytes,
 * padding, auxiliary vector, envp, argv, argc. The stack pointer is a multiple of 16.
 *
 * Sizes are computed first and compared with the buffer, then bytes are written.
 */
#include <elf/image.h>

#include <elf.h>
#include <errno.h>
#include <string.h>

#include <base/checked.h>
#include <base/compiler.h>

#define STACK_AUX_OWN 3 /* AT_RANDOM, AT_EXECFN, AT_PLATFORM */
#define STACK_AUX_MAX (sizeof(((struct elf_stack_result *)0)->auxv) / 16)
#define RANDOM_BYTES 16

static const char stack_platform[] = "x86_64";

/* Writes ascending words into the image. */
struct words {
    uint8_t *at;
};

static void word_put(struct words *w, uint64_t v)
{
    memcpy(w->at, &v, sizeof v);
    w->at += sizeof v;
}

/* Exactly @count strings in @len bytes? *ret_split = length of the first @first ones. */
static bool strings_check(const char *s, size_t len, uint64_t count, uint64_t first,
                          size_t *ret_split)
{
    size_t at = 0;
    *ret_split = 0;
    for (uint64_t i = 0; i < count; i++) {
        const char *end = at < len ? memchr(s + at, 0, len - at) : NULL;
        if (!end)
            return false;
        at = (size_t)(end - s) + 1;
        if (i + 1 == first)
            *ret_split = at;
    }
    return at == len;
}

static const char *pointers_put(struct words *w, const char *s, uint32_t count, uint64_t *addr)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t len = strlen(s) + 1;
        word_put(w, *addr);
        *addr += len;
        s += len;
    }
    word_put(w, 0);
    return s;
}

static size_t auxv_fill(const struct elf_stack *s, uint64_t random, uint64_t execfn,
                        uint64_t platform, uint64_t (*out)[2])
{
    const uint64_t own[STACK_AUX_OWN + 1][2] = {
        {AT_RANDOM, random}, {AT_EXECFN, execfn}, {AT_PLATFORM, platform}, {AT_NULL, 0}};
    if (s->auxc)
        memcpy(out, s->auxv, s->auxc * sizeof *out);
    memcpy(out + s->auxc, own, sizeof own);
    return s->auxc + ARRAY_SIZE(own);
}

int elf_stack_build(const struct elf_stack *s, uint8_t *buf, size_t buf_size,
                    struct elf_stack_result *ret)
{
    size_t args_len, execfn_len = strlen(s->execfn) + 1;
    uint64_t count = (uint64_t)s->argc + s->envc;
    if (s->auxc > STACK_AUX_MAX - STACK_AUX_OWN - 1)
        return -E2BIG;
    if (!strings_check(s->strings, s->strings_len, count, s->argc, &args_len))
        return -EINVAL;

    /* Offsets below the top. */
    uint64_t strings_below, random_below, words_len;
    if (add_overflow(s->strings_len, sizeof(uint64_t) + execfn_len, &strings_below))
        return -E2BIG;
    uint64_t platform_below = strings_below + sizeof stack_platform;
    random_below = align_up(platform_below, 16) + RANDOM_BYTES;
    words_len = (count + 3) * 8 + (s->auxc + STACK_AUX_OWN + 1) * 16;
    uint64_t top = s->top;
    if (random_below < strings_below || random_below + words_len + 32 > MIN(top, buf_size))
        return -E2BIG;
    uint64_t sp = align_down(top - random_below - words_len, 16);

    uint64_t auxv[STACK_AUX_MAX][2] = {{0}};
    uint64_t execfn = top - 8 - execfn_len, strings = top - strings_below;
    size_t aux_total = auxv_fill(s, top - random_below, execfn, top - platform_below, auxv);

    uint8_t *end = buf + buf_size, *image = end - (top - sp);
    memset(image, 0, top - sp);
    memcpy(end - 8 - execfn_len, s->execfn, execfn_len);
    if (s->strings_len)
        memcpy(end - strings_below, s->strings, s->strings_len);
    memcpy(end - platform_below, stack_platform, sizeof stack_platform);
    memcpy(end - random_below, s->random16, RANDOM_BYTES);

    struct words w = {image};
    uint64_t addr = strings;
    word_put(&w, s->argc);
    const char *env = pointers_put(&w, s->strings, s->argc, &addr);
    pointers_put(&w, env, s->envc, &addr);
    uint64_t auxv_addr = sp + (uint64_t)(w.at - image);
    for (size_t i = 0; i < aux_total; i++) {
        word_put(&w, auxv[i][0]);
        word_put(&w, auxv[i][1]);
    }

    *ret = (struct elf_stack_result){
        .sp = sp,
        .arg_start = strings,
        .arg_end = strings + args_len,
        .env_start = strings + args_len,
        .env_end = strings + s->strings_len,
        .auxv_addr = auxv_addr,
        .bytes = top - sp,
    };
    memcpy(ret->auxv, auxv, sizeof auxv);
    return 0;
}
