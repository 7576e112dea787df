/* SPDX-License-Identifier: Apache-2.0
 * ELF headers to plans: what Linux accepts, refuses and clears. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan_check.h"

#define FILE_SIZE 0x100000

static struct {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[ELF_PHNUM_MAX];
    char rest[ELF_HEAD_BYTES * 2];
} img;
static struct elf_plan plan;

static int setup(void **state)
{
    (void)state;
    memset(&img, 0, sizeof img);
    memset(&plan, 0xee, sizeof plan);
    memcpy(img.eh.e_ident, ELFMAG, SELFMAG);
    img.eh.e_ident[EI_CLASS] = ELFCLASS64;
    img.eh.e_ident[EI_DATA] = ELFDATA2LSB;
    img.eh.e_type = ET_EXEC;
    img.eh.e_machine = EM_X86_64;
    img.eh.e_phentsize = sizeof(Elf64_Phdr);
    img.eh.e_phoff = sizeof img.eh;
    img.eh.e_phnum = 1;
    img.eh.e_entry = 0x401000;
    img.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                             .p_flags = PF_R | PF_X,
                             .p_vaddr = 0x400000,
                             .p_filesz = 0x1234,
                             .p_memsz = 0x1234,
                             .p_align = 0x1000};
    return 0;
}

static Elf64_Phdr *add(Elf64_Phdr ph)
{
    img.ph[img.eh.e_phnum] = ph;
    return &img.ph[img.eh.e_phnum++];
}

static int parse(void)
{
    int err = elf_parse(&img, ELF_HEAD_BYTES, NULL, 0, FILE_SIZE, &plan);
    if (!err)
        assert_true(plan_ok(&plan, FILE_SIZE));
    else
        assert_int_equal(*(unsigned char *)&plan, 0xee); /* outputs only on success */
    return err;
}

static void text_only(void **state)
{
    (void)state;
    assert_int_equal(parse(), 0);
    assert_false(plan.pie);
    assert_int_equal(plan.segment_count, 1);
    assert_int_equal(plan.segments[0].vaddr, 0x400000);
    assert_int_equal(plan.segments[0].file_bytes, 0x2000);
    assert_int_equal(plan.segments[0].mem_bytes, 0x2000);
    assert_int_equal(plan.segments[0].zero_bytes, 0);
    assert_int_equal(plan.segments[0].prot, PROT_READ | PROT_EXEC);
    assert_int_equal(plan.phdr, 0x400000 + sizeof img.eh);
    assert_int_equal(plan.entry, 0x401000);
    assert_int_equal(plan.code_start, 0x400000);
    assert_int_equal(plan.code_end, 0x401234);
    assert_false(plan.exec_stack);
    assert_string_equal(plan.interp, "");
}

static void bss_starts_in_the_last_file_page(void **state)
{
    (void)state;
    add((Elf64_Phdr){.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_W,
                     .p_offset = 0x2e10,
                     .p_vaddr = 0x403e10,
                     .p_filesz = 0x220,
                     .p_memsz = 0x5000});
    assert_int_equal(parse(), 0);
    const struct elf_segment *s = &plan.segments[1];
    assert_int_equal(plan.segment_count, 2);
    assert_int_equal(s->vaddr, 0x403000);
    assert_int_equal(s->file_off, 0x2000);
    assert_int_equal(s->file_bytes, 0x2000);
    assert_int_equal(s->mem_bytes, 0x6000);
    assert_int_equal(s->zero_from, 0x404030);
    assert_int_equal(s->zero_bytes, 0xfd0);
    assert_int_equal(plan.brk, 0x409000);
    assert_int_equal(plan.data_start, 0x403e10);
    assert_int_equal(plan.data_end, 0x404030);
}

static void small_bss_clears_the_page_to_its_end(void **state)
{
    (void)state;
    add((Elf64_Phdr){.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_W,
                     .p_offset = 0x2000,
                     .p_vaddr = 0x403000,
                     .p_filesz = 0x10,
                     .p_memsz = 0x18});
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.segments[1].mem_bytes, 0x1000);
    assert_int_equal(plan.segments[1].zero_bytes, 0xff0);
}

static void no_bss_keeps_what_follows_in_the_file(void **state)
{
    (void)state;
    add((Elf64_Phdr){.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_W,
                     .p_offset = 0x2000,
                     .p_vaddr = 0x403000,
                     .p_filesz = 0x10,
                     .p_memsz = 0x10});
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.segments[1].zero_bytes, 0);
}

static void pure_bss_segment(void **state)
{
    (void)state;
    add((Elf64_Phdr){.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_W,
                     .p_offset = 0x123, /* not congruent: does not matter without file bytes */
                     .p_vaddr = 0x500010,
                     .p_memsz = 0x2000});
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.segments[1].vaddr, 0x500000);
    assert_int_equal(plan.segments[1].mem_bytes, 0x3000);
    assert_int_equal(plan.segments[1].file_bytes, 0);
}

static void bss_of_a_read_only_segment_is_writable(void **state)
{
    (void)state;
    img.ph[0].p_memsz = 0x3000;
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.segment_count, 2);
    assert_int_equal(plan.segments[0].mem_bytes, 0x2000);
    assert_int_equal(plan.segments[0].zero_bytes, 0);
    assert_int_equal(plan.segments[0].prot, PROT_READ | PROT_EXEC);
    assert_int_equal(plan.segments[1].vaddr, 0x402000);
    assert_int_equal(plan.segments[1].mem_bytes, 0x1000);
    assert_int_equal(plan.segments[1].prot, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void empty_segments_do_not_count(void **state)
{
    (void)state;
    add((Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = 0x12345678});
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.segment_count, 1);
    assert_int_equal(plan.hi, 0x402000);
    img.ph[0].p_type = PT_NULL;
    memset(&plan, 0xee, sizeof plan);
    assert_int_equal(parse(), -ENOEXEC);
}

static void header_is_checked(void **state)
{
    (void)state;
    const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {
        {0, 'x'},
        {EI_CLASS, ELFCLASS32},
        {EI_DATA, ELFDATA2MSB},
        {offsetof(Elf64_Ehdr, e_type), ET_REL},
        {offsetof(Elf64_Ehdr, e_type), ET_CORE},
        {offsetof(Elf64_Ehdr, e_machine), EM_386},
        {offsetof(Elf64_Ehdr, e_phentsize), 55},
        {offsetof(Elf64_Ehdr, e_phnum), 0},
        {offsetof(Elf64_Ehdr, e_phnum), ELF_PHNUM_MAX + 1},
        {offsetof(Elf64_Ehdr, e_phoff) + 7, 0x7f},
        {offsetof(Elf64_Ehdr, e_phoff) + 7, 0xff},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        setup(NULL);
        ((uint8_t *)&img)[wrong[i].at] = wrong[i].value;
        assert_int_equal(parse(), -ENOEXEC);
    }
    setup(NULL);
    img.eh.e_phnum = ELF_PHNUM_MAX; /* 128 * 56 bytes: behind the head */
    assert_int_equal(parse(), -ENOEXEC);
    for (size_t len = 0; len < sizeof img.eh + sizeof img.ph[0]; len++) {
        setup(NULL);
        assert_int_equal(elf_parse(&img, len, NULL, 0, FILE_SIZE, &plan), -ENOEXEC);
    }
}

static void sizes_are_checked(void **state)
{
    (void)state;
    const struct {
        uint64_t off, vaddr, filesz, memsz;
        int err;
    } cases[] = {
        {0, 0x400000, 0x1001, 0x1000, -EINVAL},       /* file > memory */
        {0x10, 0x400000, 0x1000, 0x1000, -EINVAL},    /* not congruent */
        {0, 0x7ffffffff000, 0x1000, 0x1000, -EINVAL}, /* beyond user space */
        {0, 0xffffffffff600000, 0x1000, 0x1000, -EINVAL},
        {0, 0x400000, 0x1000, 0x7fffffffffff, -EINVAL},
        {0, 0x400000, 0x1000, UINT64_MAX, -EINVAL},
        {0, 0x7fffffffe000, 0x1000, 0x1000, 0}, /* last page */
        {0, 0x7fffffffe000, 0x1000, 0x1001, -EINVAL},
        {FILE_SIZE - 0x1000, 0x400000, 0x1000, 0x1000, 0},
        {FILE_SIZE - 0x1000, 0x400000, 0x1001, 0x1001, -ENOEXEC}, /* beyond the file */
        {0xfffffffffffff000, 0x400000, 0x1000, 0x1000, -ENOEXEC}, /* wraps */
        {0xfffffffffffff000, 0x400000, 0, 0x1000, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        setup(NULL);
        img.ph[0].p_offset = cases[i].off;
        img.ph[0].p_vaddr = cases[i].vaddr;
        img.ph[0].p_filesz = cases[i].filesz;
        img.ph[0].p_memsz = cases[i].memsz;
        assert_int_equal(parse(), cases[i].err);
    }
}

static void segment_limit(void **state)
{
    (void)state;
    for (int i = 1; i < ELF_SEGMENTS_MAX; i++)
        add((Elf64_Phdr){.p_type = PT_LOAD,
                         .p_flags = PF_R,
                         .p_vaddr = 0x400000 + (uint64_t)i * 0x10000,
                         .p_filesz = 1,
                         .p_memsz = 1});
    assert_int_equal(parse(), 0);
    add((Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = 0x900000, .p_memsz = 1});
    memset(&plan, 0xee, sizeof plan);
    assert_int_equal(parse(), -ENOEXEC);
}

static void stack_flags(void **state)
{
    (void)state;
    Elf64_Phdr *gnu = add((Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W | PF_X});
    assert_int_equal(parse(), 0);
    assert_true(plan.exec_stack);
    gnu->p_flags = PF_R | PF_W;
    assert_int_equal(parse(), 0);
    assert_false(plan.exec_stack);
}

static void interpreter_in_the_head(void **state)
{
    (void)state;
    static const char path[] = "/lib64/ld-linux-x86-64.so.2";
    size_t at = sizeof img.eh + 3 * sizeof img.ph[0];
    Elf64_Phdr *ph = add((Elf64_Phdr){
        .p_type = PT_INTERP, .p_offset = at, .p_filesz = sizeof path, .p_memsz = sizeof path});
    memcpy((char *)&img + at, path, sizeof path);
    assert_int_equal(parse(), 0);
    assert_string_equal(plan.interp, path);

    memset(&plan, 0xee, sizeof plan);
    ph->p_filesz--; /* no NUL at its end */
    assert_int_equal(parse(), -ENOEXEC);
    ph->p_filesz = 1;
    assert_int_equal(parse(), -ENOEXEC);
    ph->p_filesz = ELF_INTERP_MAX + 1;
    assert_int_equal(parse(), -ENOEXEC);
    ph->p_filesz = sizeof path;
    ph->p_offset = FILE_SIZE - 1;
    assert_int_equal(parse(), -ENOEXEC);
    ph->p_offset = UINT64_MAX - 1;
    assert_int_equal(parse(), -ENOEXEC);
}

static void interpreter_behind_the_head(void **state)
{
    (void)state;
    add((Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 0x8000, .p_filesz = 8});
    add((Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 0x9000, .p_filesz = 8});
    assert_int_equal(parse(), 0);
    assert_string_equal(plan.interp, "");
    uint64_t off;
    size_t len;
    assert_int_equal(elf_interp_range(img.ph, 3 * sizeof img.ph[0], &off, &len), 0);
    assert_int_equal(off, 0x8000);
    assert_int_equal(len, 8);
    assert_int_equal(elf_set_interp(&plan, "/lib/ld", 8), 0);
    assert_string_equal(plan.interp, "/lib/ld");
    assert_int_equal(elf_set_interp(&plan, "/l\0b/ld", 8), 0);
    assert_string_equal(plan.interp, "/l");
    assert_int_equal(elf_set_interp(&plan, "/lib/ldx", 8), -ENOEXEC);
    assert_int_equal(elf_set_interp(&plan, "", 1), -ENOEXEC);
    char longest[ELF_INTERP_MAX + 1];
    memset(longest, 'a', sizeof longest);
    longest[ELF_INTERP_MAX - 1] = 0;
    assert_int_equal(elf_set_interp(&plan, longest, ELF_INTERP_MAX), 0);
    longest[ELF_INTERP_MAX] = 0;
    assert_int_equal(elf_set_interp(&plan, longest, ELF_INTERP_MAX + 1), -ENOEXEC);
}

static void headers_elsewhere(void **state)
{
    (void)state;
    static Elf64_Phdr table[2];
    table[0] = img.ph[0];
    img.eh.e_phoff = 0x10000;
    assert_int_equal(parse(), -ENOEXEC); /* not in the head */
    uint64_t off;
    size_t len;
    assert_int_equal(elf_phdrs(&img, ELF_HEAD_BYTES, &off, &len), 0);
    assert_int_equal(off, 0x10000);
    assert_int_equal(len, sizeof table[0]);
    assert_int_equal(elf_parse(&img, ELF_HEAD_BYTES, table, len - 1, FILE_SIZE, &plan), -ENOEXEC);
    assert_int_equal(elf_parse(&img, ELF_HEAD_BYTES, table, len, 0x10000, &plan), -ENOEXEC);
    assert_int_equal(elf_parse(&img, ELF_HEAD_BYTES, table, len, FILE_SIZE, &plan), 0);
    assert_int_equal(plan.phdr, 0); /* no segment holds it */
    assert_int_equal(plan.segment_count, 1);
}

static void alignment(void **state)
{
    (void)state;
    img.eh.e_type = ET_DYN;
    img.ph[0].p_vaddr = 0;
    img.ph[0].p_align = 0x200000;
    assert_int_equal(parse(), 0);
    assert_true(plan.pie);
    assert_int_equal(plan.align, 0x200000);
    assert_int_equal(plan.lo, 0);
    img.ph[0].p_align = 0x300000; /* no power of two: ignored */
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.align, 0x1000);
    img.ph[0].p_align = 1ULL << 40;
    assert_int_equal(parse(), 0);
    assert_int_equal(plan.align, 0x1000);
}

/* Programs that are certainly there: this one, and the usual ones. */
static void real_programs(void **state)
{
    (void)state;
    const char *paths[] = {"/proc/self/exe", "/bin/sh", "/lib64/ld-linux-x86-64.so.2",
                           "/bin/busybox"};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        int fd = open(paths[i], O_RDONLY);
        if (fd < 0)
            continue;
        struct stat st;
        static char head[ELF_HEAD_BYTES];
        assert_int_equal(fstat(fd, &st), 0);
        ssize_t n = pread(fd, head, sizeof head, 0);
        assert_true(n > 0);
        close(fd);
        assert_int_equal(elf_parse(head, (size_t)n, NULL, 0, (uint64_t)st.st_size, &plan), 0);
        assert_true(plan_ok(&plan, (uint64_t)st.st_size));
        assert_true(plan.phdr == plan.lo + 64);
        assert_true(plan.segment_count >= 2);
    }
}

/* Bytes flipped at random: no crash (run under ASan too), and never a bad plan. */
static void mutations(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        setup(NULL);
        add((Elf64_Phdr){.p_type = PT_LOAD,
                         .p_flags = PF_R | PF_W,
                         .p_offset = 0x2e10,
                         .p_vaddr = 0x403e10,
                         .p_filesz = 0x220,
                         .p_memsz = 0x5000});
        add((Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 0x200, .p_filesz = 8});
        for (int i = rand() % 6; i >= 0; i--)
            ((uint8_t *)&img)[(size_t)rand() % (64 + 3 * 56)] = (uint8_t)rand();
        parse();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(text_only, setup),
        cmocka_unit_test_setup(bss_starts_in_the_last_file_page, setup),
        cmocka_unit_test_setup(small_bss_clears_the_page_to_its_end, setup),
        cmocka_unit_test_setup(no_bss_keeps_what_follows_in_the_file, setup),
        cmocka_unit_test_setup(pure_bss_segment, setup),
        cmocka_unit_test_setup(bss_of_a_read_only_segment_is_writable, setup),
        cmocka_unit_test_setup(empty_segments_do_not_count, setup),
        cmocka_unit_test_setup(header_is_checked, setup),
        cmocka_unit_test_setup(sizes_are_checked, setup),
        cmocka_unit_test_setup(segment_limit, setup),
        cmocka_unit_test_setup(stack_flags, setup),
        cmocka_unit_test_setup(interpreter_in_the_head, setup),
        cmocka_unit_test_setup(interpreter_behind_the_head, setup),
        cmocka_unit_test_setup(headers_elsewhere, setup),
        cmocka_unit_test_setup(alignment, setup),
        cmocka_unit_test_setup(real_programs, setup),
        cmocka_unit_test_setup(mutations, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
