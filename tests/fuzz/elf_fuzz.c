/* SPDX-License-Identifier: Apache-2.0
 * elf_fuzz.c - hostile executables and scripts. Input: the file; the head is cut to ELF_HEAD_BYTES,
 * program headers beyond it are handed over separately, as the Sentry does. */
#include <stdlib.h>
#include <string.h>

#include "plan_check.h"

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void fuzz_image(const uint8_t *data, size_t size)
{
    size_t head_len = size < ELF_HEAD_BYTES ? size : ELF_HEAD_BYTES;
    uint64_t off, interp_off;
    size_t len, interp_len;
    if (elf_phdrs(data, head_len, &off, &len))
        return;
    /* A file that may be longer than the bytes at hand. */
    uint64_t file_size = size % 3 ? size : (uint64_t)size << (size % 40);
    struct elf_plan plan;
    const uint8_t *phdrs = NULL;
    if (off <= size && len <= size - off)
        phdrs = data + off;
    int err = elf_parse(data, head_len, phdrs, phdrs ? len : 0, file_size, &plan);
    if (err)
        return;
    check(plan_ok(&plan, file_size));
    if (!phdrs)
        phdrs = data + off;
    check(!elf_interp_range(phdrs, len, &interp_off, &interp_len));
    if (interp_len && interp_off <= size && interp_len <= size - interp_off &&
        !elf_set_interp(&plan, (const char *)data + interp_off, interp_len))
        check(strlen(plan.interp) < interp_len);
}

static void fuzz_script(const uint8_t *data, size_t size)
{
    struct script_plan s;
    if (script_parse(data, size, &s))
        return;
    check(s.interp[0] && memchr(s.interp, 0, sizeof s.interp) && memchr(s.arg, 0, sizeof s.arg));
    check(!strpbrk(s.interp, " \t\n") && (s.has_arg || !s.arg[0]));
}

/* argc, envc, buffer size and auxv count from the input, strings from the rest. */
static void fuzz_stack(const uint8_t *data, size_t size)
{
    static uint8_t buf[4096];
    static const uint64_t auxv[40][2];
    if (size < 6)
        return;
    struct elf_stack s = {.top = 0x7ffffffff000,
                          .argc = data[0],
                          .envc = data[1],
                          .strings = (const char *)data + 5,
                          .strings_len = size - 5,
                          .execfn = "/x",
                          .random16 = (const uint8_t *)"0123456789abcdef",
                          .auxv = auxv,
                          .auxc = data[2] % 40};
    size_t room = (size_t)(data[3] | data[4] << 8) % sizeof buf;
    struct elf_stack_result r;
    if (elf_stack_build(&s, buf, room, &r))
        return;
    check(r.sp % 16 == 0 && r.bytes <= room && r.bytes == s.top - r.sp);
    check(r.arg_start <= r.arg_end && r.env_end <= s.top && r.auxv_addr < s.top);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_image(data, size);
    fuzz_script(data, size);
    fuzz_stack(data, size);
    return 0;
}
