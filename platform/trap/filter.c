/* SPDX-License-Identifier: Apache-2.0
 * filter.c - the seccomp filters of the trap platform.
 *
 * One table of rows. A row of the guest is allowed to both filters (filters stack: what one forbids
 * the other cannot allow), with its check in the guest's only; a row of the mapper to the mapper
 * alone. Everything else, and everything from outside the stub text or by another ABI, is a trap,
 * which the Sentry turns into a call or -ENOSYS.
 *
 * The guest filter is the boundary: guest code may jump to any syscall instruction of the stub with
 * registers of its choice. What remains is to sleep and wake on its own lanes, to wake a poller, to
 * end or yield itself, to load FS and GS base, to take away its own memory, and to wait for the
 * Sentry at one instruction, which ends its process if it was not told to.
 *
 * A check falls through when it is satisfied and returns TRAP inline when not, so jumps are local.
 */
#include <trap/filter.h>

#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <base/compiler.h>
#include <guestlib/stub.h>

#include "internal.h"

#define HI(x) ((uint32_t)((uint64_t)(x) >> 32))
#define LO(x) ((uint32_t)(uint64_t)(x))

static_assert(HI(STUB_REGION) == HI(STUB_LANES_END), "one high word");
static_assert(LO(STUB_REGION) == 0, "the region starts a high word");
static_assert(STUB_TEXT == STUB_REGION, "nothing below the text");

enum check {
    CHECK_NONE,
    CHECK_FUTEX,
    CHECK_BASE,
    CHECK_BELOW,
    CHECK_BELOW_LESS,
    CHECK_BELOW_POPULATE,
    CHECK_CLONE,
    CHECK_NOTIFY,
    CHECK_PARK,
};

static const char *const check_text[] = {
    [CHECK_NONE] = "",
    [CHECK_FUTEX] = "FUTEX_WAIT on lanes, FUTEX_WAKE on lanes or the read-only page",
    [CHECK_BASE] = "ARCH_SET_FS, ARCH_SET_GS",
    [CHECK_BELOW] = "range below the stub",
    [CHECK_BELOW_LESS] = "PROT_NONE or PROT_READ, range below the stub",
    [CHECK_BELOW_POPULATE] = "MADV_POPULATE_WRITE, range below the stub",
    [CHECK_CLONE] = "a process of the Sentry's, or a thread of this one",
    [CHECK_NOTIFY] = "user notification, at one instruction",
    [CHECK_PARK] = "user notification, at one instruction",
};

struct row {
    uint32_t nr;
    const char *name;
    enum check check;
    bool guest;
};

static const struct row rows[] = {
    {SYS_futex, "futex", CHECK_FUTEX, true},
    {SYS_rt_sigreturn, "rt_sigreturn", CHECK_NONE, true},
    {SYS_restart_syscall, "restart_syscall", CHECK_NONE, true},
    {SYS_exit, "exit", CHECK_NONE, true},
    {SYS_sched_yield, "sched_yield", CHECK_NONE, true},
    {SYS_arch_prctl, "arch_prctl", CHECK_BASE, true},
    {SYS_munmap, "munmap", CHECK_BELOW, true},
    {SYS_mprotect, "mprotect", CHECK_BELOW_LESS, true},
    {SYS_madvise, "madvise", CHECK_BELOW_POPULATE, true},
    {STUB_NR_PARK, "(park)", CHECK_PARK, true},
    {STUB_NR_NOTIFY, "(notify)", CHECK_NOTIFY, false},
    {SYS_mmap, "mmap", CHECK_NONE, false},
    {SYS_clone, "clone", CHECK_CLONE, false},
    {SYS_close_range, "close_range", CHECK_NONE, false},
    {SYS_membarrier, "membarrier", CHECK_NONE, false},
    {SYS_sched_setaffinity, "sched_setaffinity", CHECK_NONE, false},
    {SYS_seccomp, "seccomp", CHECK_NONE, false},
    {SYS_exit_group, "exit_group", CHECK_NONE, false},
};

struct prog {
    struct sock_filter *insn;
    size_t n;
};

static void emit(struct prog *p, uint16_t code, uint32_t k)
{
    BUG_ON(p->n == TRAP_FILTER_MAX);
    p->insn[p->n++] = (struct sock_filter)BPF_STMT(code, k);
}

static void emit_jump(struct prog *p, uint16_t op, uint32_t k, uint8_t if_true, uint8_t if_false)
{
    BUG_ON(p->n == TRAP_FILTER_MAX);
    p->insn[p->n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | op, k, if_true, if_false);
}

static void emit_load(struct prog *p, size_t offset)
{
    emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
}

static void emit_trap(struct prog *p)
{
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_TRAP);
}

#define DATA(field) offsetof(struct seccomp_data, field)
#define ARG_LO(i) (DATA(args) + 8 * (i))
#define ARG_HI(i) (DATA(args) + 8 * (i) + 4)

/* Go on only if the word loaded satisfies the comparison (or does not). */
static void require(struct prog *p, uint16_t op, uint32_t k, bool want)
{
    emit_jump(p, op, k, want ? 1 : 0, want ? 0 : 1);
    emit_trap(p);
}

/* Words at @lo and @hi: a 64-bit value in [from, to), which share their high word. */
static void require_range(struct prog *p, size_t lo, size_t hi, uint64_t from, uint64_t to)
{
    emit_load(p, hi);
    require(p, BPF_JEQ | BPF_K, HI(from), true);
    emit_load(p, lo);
    require(p, BPF_JGE | BPF_K, LO(from), true);
    require(p, BPF_JGE | BPF_K, LO(to), false);
}

/* arg0 + arg1 <= STUB_REGION, without wrapping: both high words are small, so their sum and the
 * carry of the low words cannot overflow 32 bits. */
static void require_below(struct prog *p)
{
    emit_load(p, ARG_HI(0));
    require(p, BPF_JGE | BPF_K, HI(STUB_REGION), false);
    emit_load(p, ARG_HI(1));
    require(p, BPF_JGE | BPF_K, HI(STUB_REGION), false);
    emit_load(p, ARG_LO(0));
    emit(p, BPF_MISC | BPF_TAX, 0);
    emit_load(p, ARG_LO(1));
    emit(p, BPF_ALU | BPF_ADD | BPF_X, 0);
    emit(p, BPF_ST, 0); /* low word of the end */
    emit_jump(p, BPF_JGE | BPF_X, 0, 2, 0);
    emit(p, BPF_LD | BPF_IMM, 1); /* sum < addend: it wrapped */
    emit_jump(p, BPF_JA, 1, 0, 0);
    emit(p, BPF_LD | BPF_IMM, 0);
    emit(p, BPF_MISC | BPF_TAX, 0);
    emit_load(p, ARG_HI(0));
    emit(p, BPF_ALU | BPF_ADD | BPF_X, 0);
    emit(p, BPF_MISC | BPF_TAX, 0);
    emit_load(p, ARG_HI(1));
    emit(p, BPF_ALU | BPF_ADD | BPF_X, 0);
    require(p, BPF_JGT | BPF_K, HI(STUB_REGION), false);
    emit_jump(p, BPF_JEQ | BPF_K, HI(STUB_REGION), 0, 3);
    emit(p, BPF_LD | BPF_MEM, 0);
    require(p, BPF_JEQ | BPF_K, 0, true);
}

/* The kernel looks at the low word of a futex operation. */
static void check_futex(struct prog *p)
{
    emit_load(p, ARG_LO(1));
    /* WAIT, on lanes: a guest asleep on a poller's word would swallow wakes meant for the poller */
    emit_jump(p, BPF_JEQ | BPF_K, FUTEX_WAIT, 0, 9);
    require_range(p, ARG_LO(0), ARG_HI(0), STUB_LANES, STUB_LANES_END); /* 8 instructions */
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    require(p, BPF_JEQ | BPF_K, FUTEX_WAKE, true);
    emit_load(p, ARG_HI(0));
    require(p, BPF_JEQ | BPF_K, HI(STUB_RO), true);
    emit_load(p, ARG_LO(0));
    require(p, BPF_JGE | BPF_K, LO(STUB_RO), true);
    emit_jump(p, BPF_JGE | BPF_K, LO(STUB_RO + STUB_RO_SIZE), 0, 4); /* in the page: done */
    require(p, BPF_JGE | BPF_K, LO(STUB_LANES), true);
    require(p, BPF_JGE | BPF_K, LO(STUB_LANES_END), false);
}

static void check_clone(struct prog *p)
{
    emit_load(p, ARG_HI(0));
    require(p, BPF_JEQ | BPF_K, 0, true);
    emit_load(p, ARG_LO(0));
    emit_jump(p, BPF_JEQ | BPF_K, TRAP_CLONE_PROCESS, 3, 0);
    emit_jump(p, BPF_JEQ | BPF_K, TRAP_CLONE_THREAD, 2, 0);
    require(p, BPF_JEQ | BPF_K, TRAP_CLONE_THREAD | CLONE_SETTLS, true);
}

static void emit_check(struct prog *p, enum check check, uint64_t ip)
{
    switch (check) {
    case CHECK_NONE:
        break;
    case CHECK_FUTEX:
        check_futex(p);
        break;
    case CHECK_BASE:
        emit_load(p, ARG_LO(0));
        emit_jump(p, BPF_JEQ | BPF_K, ARCH_SET_GS, 2, 0);
        require(p, BPF_JEQ | BPF_K, ARCH_SET_FS, true);
        break;
    case CHECK_BELOW_LESS:
        emit_load(p, ARG_HI(2));
        require(p, BPF_JEQ | BPF_K, 0, true);
        emit_load(p, ARG_LO(2));
        emit_jump(p, BPF_JEQ | BPF_K, PROT_NONE, 2, 0);
        require(p, BPF_JEQ | BPF_K, PROT_READ, true); /* all that is mapped can be read already */
        require_below(p);
        break;
    case CHECK_BELOW_POPULATE:
        emit_load(p, ARG_LO(2));
        require(p, BPF_JEQ | BPF_K, MADV_POPULATE_WRITE, true);
        FALLTHROUGH;
    case CHECK_BELOW:
        require_below(p);
        break;
    case CHECK_CLONE:
        check_clone(p);
        break;
    case CHECK_PARK:
    case CHECK_NOTIFY: /* the rest of the address is the head's matter */
        emit_load(p, DATA(instruction_pointer));
        require(p, BPF_JEQ | BPF_K, LO(ip), true);
        break;
    }
}

size_t trap_filter_build(enum trap_filter which, uint64_t ip, struct sock_filter *out)
{
    struct prog p = {out, 0};
    bool guest = which == TRAP_FILTER_GUEST;

    emit_load(&p, DATA(arch));
    require(&p, BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, true);
    require_range(&p, DATA(instruction_pointer), DATA(instruction_pointer) + 4, STUB_TEXT,
                  STUB_TEXT + STUB_TEXT_SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (guest && !rows[i].guest)
            continue;
        emit_load(&p, DATA(nr)); /* x32 numbers have bit 30 set: equal to none */
        size_t skip = p.n;
        emit_jump(&p, BPF_JEQ | BPF_K, rows[i].nr, 0, 0);
        if (guest || !rows[i].guest)
            emit_check(&p, rows[i].check, ip);
        bool notifies = rows[i].check == CHECK_NOTIFY || rows[i].check == CHECK_PARK;
        emit(&p, BPF_RET | BPF_K, notifies && !guest ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW);
        BUG_ON(p.n - skip - 1 > UINT8_MAX);
        p.insn[skip].jf = (uint8_t)(p.n - skip - 1);
    }
    emit_trap(&p);
    return p.n;
}

int trap_filter_print(FILE *out)
{
    int lines = 0;

    for (int which = TRAP_FILTER_GUEST; which <= TRAP_FILTER_MAPPER; which++) {
        bool guest = which == TRAP_FILTER_GUEST;

        fprintf(out, "%s:\n", guest ? "guest threads" : "mapper (and, beneath, guest threads)");
        fprintf(out, "  %-18s not x86-64, x32, or not from stub text\n", "trap");
        lines += 2;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            if (guest && !rows[i].guest)
                continue;
            bool checked = guest || !rows[i].guest;
            fprintf(out, "  %-18s allowed%s%s\n", rows[i].name,
                    checked && rows[i].check ? ": " : "", checked ? check_text[rows[i].check] : "");
            lines++;
        }
        fprintf(out, "  %-18s everything else\n", "trap");
        lines++;
    }
    return lines;
}
