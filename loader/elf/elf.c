/* SPDX-License-Identifier: Apache-2.0
 * elf.c - checks an ELF64 executable and turns it into a plan of mappings.
 *
 * Model: header -> program headers -> plan; each step reads bytes at offsets that were compared
 * with the buffer before. Every field may be a lie (a guest wrote the file); a lie is -ENOEXEC or
 * -EINVAL, or one segment that the guest's own accesses fault on.
 *
 * What Linux does (fs/binfmt_elf.c of 6.x, from its observable behaviour): a segment is mapped from
 * the page of its first byte; the rest of its last file page is cleared if the segment is writable;
 * what lies beyond is anonymous, readable and writable whatever the flags; the first PT_INTERP and
 * the last PT_GNU_STACK count; without PT_GNU_STACK an x86-64 stack is not executable; AT_PHDR is
 * where the PT_LOAD that covers e_phoff puts it.
 *
 * Left out: segments that reach beyond the end of the file (Linux maps them, faults come later), an
 * interpreter path longer than ELF_INTERP_MAX, PT_GNU_PROPERTY (IBT, SHSTK), core files.
 */
#include <elf/image.h>

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <base/checked.h>
#include <base/compiler.h>

#define ELF_ADDRESS_MAX 0x7ffffffff000ULL /* 47 bits less the guard page */
#define ELF_ALIGN_MAX (1ULL << 30)        /* larger alignments are ignored */

static int elf_header(const void *head, size_t head_len, Elf64_Ehdr *ret)
{
    if (head_len < sizeof *ret)
        return -ENOEXEC;
    memcpy(ret, head, sizeof *ret);
    if (memcmp(ret->e_ident, ELFMAG, SELFMAG) || ret->e_ident[EI_CLASS] != ELFCLASS64 ||
        ret->e_ident[EI_DATA] != ELFDATA2LSB)
        return -ENOEXEC;
    if (ret->e_type != ET_EXEC && ret->e_type != ET_DYN)
        return -ENOEXEC;
    if (ret->e_machine != EM_X86_64 || ret->e_phentsize != sizeof(Elf64_Phdr))
        return -ENOEXEC;
    if (!ret->e_phnum || ret->e_phnum > ELF_PHNUM_MAX)
        return -ENOEXEC;
    return 0;
}

int elf_phdrs(const void *head, size_t head_len, uint64_t *ret_off, size_t *ret_len)
{
    Elf64_Ehdr eh;
    int err = elf_header(head, head_len, &eh);
    if (err)
        return err;
    size_t len = eh.e_phnum * sizeof(Elf64_Phdr);
    uint64_t end;
    if (add_overflow(eh.e_phoff, len, &end) || end > INT64_MAX)
        return -ENOEXEC;
    *ret_off = eh.e_phoff;
    *ret_len = len;
    return 0;
}

static Elf64_Phdr elf_phdr_at(const void *phdrs, size_t i)
{
    Elf64_Phdr ph;
    memcpy(&ph, (const char *)phdrs + i * sizeof ph, sizeof ph);
    return ph;
}

int elf_interp_range(const void *phdrs, size_t phdrs_len, uint64_t *ret_off, size_t *ret_len)
{
    for (size_t i = 0; i < phdrs_len / sizeof(Elf64_Phdr); i++) {
        Elf64_Phdr ph = elf_phdr_at(phdrs, i);
        if (ph.p_type != PT_INTERP)
            continue;
        uint64_t end;
        if (ph.p_filesz < 2 || ph.p_filesz > ELF_INTERP_MAX ||
            add_overflow(ph.p_offset, ph.p_filesz, &end) || end > INT64_MAX)
            return -ENOEXEC;
        *ret_off = ph.p_offset;
        *ret_len = ph.p_filesz;
        return 0;
    }
    *ret_off = 0;
    *ret_len = 0;
    return 0;
}

int elf_set_interp(struct elf_plan *plan, const char *bytes, size_t len)
{
    if (len < 2 || len > ELF_INTERP_MAX || bytes[len - 1] || !bytes[0])
        return -ENOEXEC;
    memset(plan->interp, 0, sizeof plan->interp);
    memcpy(plan->interp, bytes, strnlen(bytes, len));
    return 0;
}

static uint32_t elf_prot(uint32_t flags)
{
    return (flags & PF_R ? PROT_READ : 0u) | (flags & PF_W ? PROT_WRITE : 0u) |
           (flags & PF_X ? PROT_EXEC : 0u);
}

static int plan_add(struct elf_plan *plan, const struct elf_segment *seg)
{
    if (!seg->mem_bytes)
        return 0;
    if (plan->segment_count == ELF_SEGMENTS_MAX)
        return -ENOEXEC;
    plan->segments[plan->segment_count++] = *seg;
    return 0;
}

static int elf_load_check(const Elf64_Phdr *ph, uint64_t file_size)
{
    uint64_t file_end;
    if (ph->p_filesz > ph->p_memsz || ph->p_vaddr >= ELF_ADDRESS_MAX ||
        ph->p_memsz > ELF_ADDRESS_MAX - ph->p_vaddr)
        return -EINVAL;
    if (!ph->p_filesz)
        return 0;
    if ((ph->p_offset ^ ph->p_vaddr) & (PAGE_SIZE - 1))
        return -EINVAL;
    if (add_overflow(ph->p_offset, ph->p_filesz, &file_end) || file_end > file_size)
        return -ENOEXEC;
    return 0;
}

/* Addresses for /proc and brk; file mapping, the page shared by file and bss, anonymous rest. */
static int elf_load(struct elf_plan *plan, const Elf64_Phdr *ph, uint64_t file_size)
{
    int err = elf_load_check(ph, file_size);
    if (err || !ph->p_memsz)
        return err;
    uint64_t start = align_down(ph->p_vaddr, PAGE_SIZE);
    uint64_t file_end = ph->p_vaddr + ph->p_filesz;
    uint64_t end = align_up(ph->p_vaddr + ph->p_memsz, PAGE_SIZE);
    uint64_t anon = ph->p_filesz ? align_up(file_end, PAGE_SIZE) : start;
    struct elf_segment seg = {
        .vaddr = start, .mem_bytes = end - start, .prot = elf_prot(ph->p_flags)};

    if (ph->p_filesz) {
        seg.file_off = align_down(ph->p_offset, PAGE_SIZE);
        seg.file_bytes = anon - start;
        seg.zero_from = file_end;
        if (ph->p_memsz > ph->p_filesz && ph->p_flags & PF_W)
            seg.zero_bytes = anon - file_end; /* to the page's end, even if memory ends before */
    } else {
        seg.zero_from = start;
    }
    if (anon < end && seg.file_bytes && !(ph->p_flags & PF_W)) {
        /* bss of a read-only segment: writable all the same */
        struct elf_segment bss = {.vaddr = anon,
                                  .mem_bytes = end - anon,
                                  .zero_from = anon,
                                  .prot = seg.prot | PROT_READ | PROT_WRITE};
        seg.mem_bytes = seg.file_bytes;
        err = plan_add(plan, &seg);
        return err ? err : plan_add(plan, &bss);
    }
    if (!seg.file_bytes)
        seg.prot |= PROT_READ | PROT_WRITE;
    return plan_add(plan, &seg);
}

static void plan_account(struct elf_plan *plan, const Elf64_Phdr *ph, uint64_t phoff)
{
    uint64_t file_end = ph->p_vaddr + ph->p_filesz;
    uint64_t mem_end = ph->p_vaddr + ph->p_memsz;
    bool exec = ph->p_flags & PF_X;

    plan->lo = MIN(plan->lo, align_down(ph->p_vaddr, PAGE_SIZE));
    plan->hi = MAX(plan->hi, align_up(mem_end, PAGE_SIZE));
    plan->brk = MAX(plan->brk, align_up(mem_end, PAGE_SIZE));
    if (exec) {
        plan->code_start = MIN(plan->code_start, ph->p_vaddr);
        plan->code_end = MAX(plan->code_end, file_end);
    }
    plan->data_start = MAX(plan->data_start, ph->p_vaddr);
    plan->data_end = MAX(plan->data_end, file_end);
    if (ph->p_align > plan->align && ph->p_align <= ELF_ALIGN_MAX &&
        !(ph->p_align & (ph->p_align - 1)))
        plan->align = ph->p_align;
    if (ph->p_offset <= phoff && phoff - ph->p_offset < ph->p_filesz)
        plan->phdr = phoff - ph->p_offset + ph->p_vaddr;
}

static int plan_phdrs(struct elf_plan *plan, const void *phdrs, uint64_t phoff, uint64_t file_size)
{
    for (size_t i = 0; i < plan->phnum; i++) {
        Elf64_Phdr ph = elf_phdr_at(phdrs, i);
        if (ph.p_type == PT_GNU_STACK)
            plan->exec_stack = ph.p_flags & PF_X;
        if (ph.p_type != PT_LOAD)
            continue;
        int err = elf_load(plan, &ph, file_size);
        if (err)
            return err;
        if (ph.p_memsz)
            plan_account(plan, &ph, phoff);
    }
    return plan->segment_count ? 0 : -ENOEXEC;
}

/* The interpreter's path, when it lies within the head. */
static int plan_interp(struct elf_plan *plan, const void *head, size_t head_len, const void *phdrs,
                       uint64_t file_size)
{
    uint64_t off;
    size_t len;
    int err = elf_interp_range(phdrs, plan->phnum * sizeof(Elf64_Phdr), &off, &len);
    if (err || !len)
        return err;
    if (off > file_size || len > file_size - off)
        return -ENOEXEC;
    if (off > head_len || len > head_len - off)
        return 0;
    return elf_set_interp(plan, (const char *)head + off, len);
}

int elf_parse(const void *head, size_t head_len, const void *phdrs, size_t phdrs_len,
              uint64_t file_size, struct elf_plan *ret)
{
    Elf64_Ehdr eh;
    uint64_t off;
    size_t len;
    int err = elf_header(head, head_len, &eh);
    if (!err)
        err = elf_phdrs(head, head_len, &off, &len);
    if (err)
        return err;
    if (off > file_size || len > file_size - off)
        return -ENOEXEC;
    if (!phdrs) {
        if (off > head_len || len > head_len - off)
            return -ENOEXEC;
        phdrs = (const char *)head + off;
    } else if (phdrs_len < len) {
        return -ENOEXEC;
    }

    struct elf_plan plan = {
        .pie = eh.e_type == ET_DYN,
        .entry = eh.e_entry,
        .phnum = eh.e_phnum,
        .phentsize = eh.e_phentsize,
        .lo = UINT64_MAX,
        .align = PAGE_SIZE,
        .code_start = UINT64_MAX,
    };
    err = plan_phdrs(&plan, phdrs, off, file_size);
    if (!err)
        err = plan_interp(&plan, head, head_len, phdrs, file_size);
    if (err)
        return err;
    if (plan.code_start == UINT64_MAX)
        plan.code_start = 0;
    if (plan.entry >= ELF_ADDRESS_MAX)
        return -EINVAL;
    *ret = plan;
    return 0;
}
