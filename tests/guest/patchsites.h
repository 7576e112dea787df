/* SPDX-License-Identifier: Apache-2.0
 * patchsites.h - call sites in the shapes of C libraries, as position-independent pieces of code that
 * a test copies to fresh places. Included once, by the test's only source. */
#ifndef PATCHSITES_H
#define PATCHSITES_H

#include <sys/mman.h>

#include "guest.h"

#define SITE_SIZE 128u /* room for one */

/* SITE(name, first bytes, what follows the syscall instruction) */
#define SITE(name, before, after)                                                            \
    __asm__(".section .rodata\n.p2align 6\n.globl site_" #name "\nsite_" #name ":\n" before  \
            "site_" #name "_call:\nsyscall\n" after ".globl site_" #name "_end\nsite_" #name \
            "_end:\n.globl site_" #name "_call\n.text\n");                                   \
    extern const char site_##name[], site_##name##_call[], site_##name##_end[]

/* lseek(rdi, rsi, rdx), but for those that say otherwise */
SITE(imm, "mov $8,%eax\n", "ret\n");
SITE(imm_late, "mov $8,%eax\nmov $0,%esi\n", "ret\n");
SITE(cancel, "mov $8,%eax\n", "cmp $-4096,%rax\nja 1f\nret\n.p2align 4\n1:ret\n");
/* read, as glibc has it */
SITE(xor, "xor %eax,%eax\n", "cmp $-4096,%rax\nja 1f\nret\n.p2align 4\n1:ret\n");
/* the C library's syscall() */
SITE(generic,
     "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nmov %r9,%r8\n"
     "mov 8(%rsp),%r9\n",
     "cmp $-4095,%rax\njae 1f\nret\n.p2align 4\n1:ret\n");
/* number early, a register moved last (musl) */
SITE(musl, "mov $8,%eax\nmov %r10,%rdx\n", "ret\n");
/* number in rax all along (Go) */
SITE(go, "mov %rdi,%rdi\nmov %r10,%rdx\n",
     "cmp $0xfffffffffffff001,%rax\njbe 1f\nret\n.p2align 4\n1:ret\n");

enum site_kind { SITE_SEEK, SITE_READ, SITE_GENERIC, SITE_R10 };

struct site {
    const char *name, *begin, *call, *end;
    enum site_kind kind;
};
#define SITE_ROW(n, k)                                          \
    {                                                           \
#n, site_##n, site_##n##_call, site_##n##_end, SITE_##k \
    }
static const struct site sites[] = {SITE_ROW(imm, SEEK),        SITE_ROW(imm_late, SEEK),
                                    SITE_ROW(cancel, SEEK),     SITE_ROW(xor, READ),
                                    SITE_ROW(generic, GENERIC), SITE_ROW(musl, R10),
                                    SITE_ROW(go, R10)};
#define SITES (sizeof sites / sizeof sites[0])

static inline size_t site_call_offset(const struct site *s)
{
    return (size_t)(s->call - s->begin);
}

/* Registers before and after a call to a site. */
struct site_regs {
    uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rcx;
    uint64_t ret_rax, ret_rdi, ret_rsi, ret_rdx, ret_r10, ret_r8, ret_r9;
};
/* Calls @entry with the registers, kept ones filled with patterns. Returns 0, or 1 when a kept one or
 * the red zone has changed. */
long site_run(struct site_regs *r, const void *entry);
__asm__(
    ".text\n.p2align 4\nsite_run:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rdi,%rbx\nmov %rsi,%r11\n"
    "lea 0x1111(%rbx),%rbp\nlea 0x2222(%rbx),%r12\nlea 0x3333(%rbx),%r13\n"
    "lea 0x4444(%rbx),%r14\nlea 0x5555(%rbx),%r15\n"
    "mov 8(%rbx),%rdi\nmov 16(%rbx),%rsi\nmov 24(%rbx),%rdx\nmov 32(%rbx),%r10\n"
    "mov 40(%rbx),%r8\nmov 48(%rbx),%r9\nmov 56(%rbx),%rcx\nmov 0(%rbx),%rax\n"
    "mov %rbp,-24(%rsp)\nmov %r12,-136(%rsp)\n" /* 8 more than the red zone: the return address */
    "call *%r11\n"
    "mov %rax,64(%rbx)\nmov %rdi,72(%rbx)\nmov %rsi,80(%rbx)\nmov %rdx,88(%rbx)\n"
    "mov %r10,96(%rbx)\nmov %r8,104(%rbx)\nmov %r9,112(%rbx)\n"
    "mov $1,%eax\n"
    "cmp %rbp,-24(%rsp)\njne 9f\ncmp %r12,-136(%rsp)\njne 9f\n"
    "lea 0x1111(%rbx),%rcx\ncmp %rcx,%rbp\njne 9f\nlea 0x2222(%rbx),%rcx\ncmp %rcx,%r12\njne 9f\n"
    "lea 0x3333(%rbx),%rcx\ncmp %rcx,%r13\njne 9f\nlea 0x4444(%rbx),%rcx\ncmp %rcx,%r14\njne 9f\n"
    "lea 0x5555(%rbx),%rcx\ncmp %rcx,%r15\njne 9f\nxor %eax,%eax\n"
    "9: pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");

/* What one thread calls with: a file whose offset nobody else's has, and /dev/zero. */
struct site_thread {
    int seek_fd, zero_fd;
    long offset, tid, count;
    char buf[256];
};

/* Runs a copy of @s at @at once and checks what comes back. */
static inline void site_check(const struct site *s, const char *at, struct site_thread *t)
{
    struct site_regs r = {.rax = 8,
                          .rdi = (uint64_t)t->seek_fd,
                          .rsi = 0,
                          .rdx = SEEK_CUR,
                          .r10 = 0xa5a5000000000010,
                          .r8 = 0xa5a5000000000008,
                          .r9 = 0xa5a5000000000009};
    long want = t->offset;

    if (s->kind == SITE_READ) {
        r.rdi = (uint64_t)t->zero_fd;
        r.rsi = (uint64_t)(uintptr_t)t->buf;
        r.rdx = (uint64_t)t->count;
        want = t->count;
    } else if (s->kind == SITE_GENERIC) {
        r = (struct site_regs){.rdi = 8, .rsi = (uint64_t)t->seek_fd, .rcx = SEEK_CUR};
    } else if (s->kind == SITE_R10) {
        r.r10 = SEEK_CUR;
    }
    if (site_run(&r, at))
        guest_fail(s->name, 0, "a kept register or the red zone");
    if ((long)r.ret_rax != want)
        guest_equal(s->name, 0, "result", (long)r.ret_rax, want);
    if (s->kind == SITE_GENERIC)
        return;
    if (r.ret_rdi != r.rdi || r.ret_rsi != r.rsi || r.ret_r10 != r.r10 || r.ret_r8 != r.r8 ||
        r.ret_r9 != r.r9 || r.ret_rdx != (s->kind == SITE_R10 ? r.r10 : r.rdx))
        guest_fail(s->name, 0, "an argument register");
}

/* Jumps straight to the syscall instruction with another number. */
static inline void site_jump(const struct site *s, const char *at, struct site_thread *t)
{
    struct site_regs r = {
        .rax = SYS_gettid, .rdi = 1, .rsi = 2, .rdx = 3, .r10 = 4, .r8 = 5, .r9 = 6};

    if (site_run(&r, at + site_call_offset(s)))
        guest_fail(s->name, 0, "a kept register or the red zone, after a jump");
    if ((long)r.ret_rax != t->tid)
        guest_equal(s->name, 0, "gettid by a jump", (long)r.ret_rax, t->tid);
    if (r.ret_rdi != 1 || r.ret_rsi != 2 || r.ret_rdx != 3 || r.ret_r10 != 4 || r.ret_r8 != 5 ||
        r.ret_r9 != 6)
        guest_fail(s->name, 0, "an argument register, after a jump");
}

static inline void site_thread_init(struct site_thread *t, unsigned index)
{
    char name[] = "/tmp/sites.XXXXXX";

    t->seek_fd = mkstemp(name);
    CHECK(t->seek_fd >= 0);
    unlink(name);
    t->offset = 1000 + 7 * (long)index;
    CHECK_EQ(lseek(t->seek_fd, t->offset, SEEK_SET), t->offset);
    FILE *f = fopen("/dev/zero", "r");
    CHECK(f);
    t->zero_fd = dup(fileno(f));
    fclose(f);
    t->count = 1 + (long)index;
    t->tid = guest_gettid();
}

static inline void site_thread_fini(struct site_thread *t)
{
    close(t->seek_fd);
    close(t->zero_fd);
}

#endif
