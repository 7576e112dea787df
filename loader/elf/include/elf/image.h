/* SPDX-License-Identifier: Apache-2.0
 * image.h - ELF64 executables: bytes in, plan out. Pure: no I/O, no allocation; fuzzed.
 *
 * Every field of the file is a lie until checked here; a plan that comes out holds only values that
 * fit each other, the file size and the address range given.
 */
#ifndef ELF_IMAGE_H
#define ELF_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_HEAD_BYTES 4096 /* read this much of the file's start first */
#define ELF_SEGMENTS_MAX 64
#define ELF_PHNUM_MAX 128
#define ELF_INTERP_MAX 256
#define SCRIPT_LINE_MAX 256

struct elf_segment {
    uint64_t vaddr;      /* page-aligned start, before the load bias */
    uint64_t file_off;   /* page-aligned, congruent */
    uint64_t file_bytes; /* to map from file_off: page-aligned up; 0 = anonymous only */
    uint64_t mem_bytes;  /* page-aligned total */
    uint64_t zero_from;  /* address of the first byte after file contents (bss start) */
    uint64_t zero_bytes; /* to clear up to the page end, 0 if none */
    uint32_t prot;       /* PROT_* */
};

struct elf_plan {
    bool pie;       /* ET_DYN: choose a bias */
    uint64_t entry; /* before bias */
    uint64_t phdr;  /* address of the program headers in memory, before bias; 0 unknown */
    uint16_t phnum, phentsize;
    uint64_t lo, hi; /* span of all segments, page-aligned */
    uint64_t align;  /* of the largest PT_LOAD, >= 4096 */
    bool exec_stack;
    char interp[ELF_INTERP_MAX]; /* "" = none */
    uint32_t segment_count;
    struct elf_segment segments[ELF_SEGMENTS_MAX];
    uint64_t brk; /* end of the highest segment, page-aligned, before bias */
    uint64_t code_start, code_end, data_start, data_end;
};

/**
 * elf_parse - from the first @head_len bytes and the program headers.
 * @phdrs: bytes of the program header table when it does not lie within the head (see elf_phdrs), or NULL
 * Segments are to be mapped (and cleared from zero_from) in order: a later one may replace pages of
 * an earlier one, as on Linux. entry, lo.. are unbiased.
 * Return: 0, -ENOEXEC not an ELF64 x86-64 executable or malformed, -EINVAL nonsense sizes. For an
 * interpreter the caller turns -ENOEXEC into -ELIBBAD.
 */
int elf_parse(const void *head, size_t head_len, const void *phdrs, size_t phdrs_len,
              uint64_t file_size, struct elf_plan *ret);
/* Where the program headers lie in the file. 0 or -ENOEXEC. */
int elf_phdrs(const void *head, size_t head_len, uint64_t *ret_off, size_t *ret_len);
/* PT_INTERP path beyond the head: where; 0 when none. elf_parse fills interp only from the head,
 * else leaves interp_off/len for the caller, who checks it with elf_set_interp. */
int elf_interp_range(const void *phdrs, size_t phdrs_len, uint64_t *ret_off, size_t *ret_len);
int elf_set_interp(struct elf_plan *plan, const char *bytes, size_t len);

/* "#!": interpreter and at most one argument, as Linux splits them. -ENOEXEC not a script. */
struct script_plan {
    char interp[SCRIPT_LINE_MAX];
    char arg[SCRIPT_LINE_MAX]; /* may be "" even when there is one */
    bool has_arg;
};
int script_parse(const void *head, size_t head_len, struct script_plan *ret);

struct elf_stack {
    uint64_t top; /* guest address behind the stack */
    uint32_t argc, envc;
    const char *strings;
    size_t strings_len;
    const char *execfn;
    const uint8_t *random16;
    const uint64_t (*auxv)[2];
    size_t auxc;
};
struct elf_stack_result {
    uint64_t sp, arg_start, arg_end, env_start, env_end, auxv_addr;
    size_t bytes;      /* of the image, ends at top */
    uint64_t auxv[64]; /* the pairs as written, AT_NULL terminated */
};

/**
 * elf_stack_build - the initial stack: strings, auxv, envp, argv, argc.
 * @buf: receives the image of [ret_sp, top); @buf_size bounds it
 * @execfn, @random16, AT_PLATFORM strings go on the stack too
 * @strings: argc + envc NUL-terminated strings one after the other, @strings_len bytes in all
 * @auxv: pairs without AT_NULL, AT_RANDOM, AT_EXECFN and AT_PLATFORM, which are added here
 * Return: 0 and the image in the last ret->bytes bytes of @buf (16-aligned sp); -E2BIG when it or
 * auxv does not fit; -EINVAL when @strings does not hold exactly argc + envc strings.
 */
int elf_stack_build(const struct elf_stack *s, uint8_t *buf, size_t buf_size,
                    struct elf_stack_result *ret);

#endif
