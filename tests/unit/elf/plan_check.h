/* SPDX-License-Identifier: Apache-2.0
 * plan_check.h - what must hold for every plan that elf_parse() lets out. Also used by the fuzzer.
 */
#ifndef TEST_ELF_PLAN_CHECK_H
#define TEST_ELF_PLAN_CHECK_H

#include <string.h>
#include <sys/mman.h>

#include <base/compiler.h>
#include <elf/image.h>

#define PLAN_ADDRESS_MAX 0x7ffffffff000ULL

static inline bool plan_segment_ok(const struct elf_plan *p, const struct elf_segment *s,
                                   uint64_t file_size)
{
    if ((s->vaddr | s->file_off | s->file_bytes | s->mem_bytes) & (PAGE_SIZE - 1))
        return false;
    if (!s->mem_bytes || s->mem_bytes > PLAN_ADDRESS_MAX || s->file_bytes > s->mem_bytes)
        return false;
    if (s->vaddr < p->lo || s->vaddr + s->mem_bytes > p->hi)
        return false;
    if (s->file_bytes &&
        (s->file_off >= file_size || s->file_off + s->file_bytes - PAGE_SIZE >= file_size))
        return false;
    if (s->zero_from < s->vaddr || s->zero_from > s->vaddr + s->mem_bytes)
        return false;
    if (s->zero_bytes && (!(s->prot & PROT_WRITE) || s->zero_bytes >= PAGE_SIZE ||
                          (s->zero_from + s->zero_bytes) & (PAGE_SIZE - 1)))
        return false;
    if (!s->file_bytes && !(s->prot & PROT_WRITE))
        return false;
    if (s->file_bytes < s->mem_bytes && !(s->prot & PROT_WRITE))
        return false;
    return !(s->prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC));
}

static inline bool plan_ok(const struct elf_plan *p, uint64_t file_size)
{
    if (!p->segment_count || p->segment_count > ELF_SEGMENTS_MAX || !p->phnum ||
        p->phnum > ELF_PHNUM_MAX || p->phentsize != 56)
        return false;
    if (p->lo >= p->hi || p->hi > PLAN_ADDRESS_MAX || p->brk != p->hi ||
        (p->lo | p->hi) & (PAGE_SIZE - 1))
        return false;
    if (p->align < PAGE_SIZE || p->align & (p->align - 1) || p->align > 1ULL << 30)
        return false;
    if (!memchr(p->interp, 0, sizeof p->interp) || p->entry >= PLAN_ADDRESS_MAX)
        return false;
    if (p->phdr && (p->phdr < p->lo || p->phdr >= p->hi))
        return false;
    for (uint32_t i = 0; i < p->segment_count; i++)
        if (!plan_segment_ok(p, &p->segments[i], file_size))
            return false;
    return true;
}

#endif
