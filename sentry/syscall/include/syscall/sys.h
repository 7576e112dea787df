/* SPDX-License-Identifier: Apache-2.0
 * sys.h - the system call table: prototypes, rows, and dispatch, all derived from table.def.
 *
 * A handler is `sysret_t sys_NAME(struct call *c, typed arguments)`. It is the ABI shell: checks
 * flags first, copies in, calls object_verb() functions, copies out. NOW rows never return
 * SYS_PARK.
 */
#ifndef SYSCALL_SYS_H
#define SYSCALL_SYS_H

#include <abi/types.h>
#include <base/checked.h>
#include <kernel/pledge.h>
#include <kernel/task.h>

/* C type of each argument kind. */
typedef int32_t arg_FD;
typedef int32_t arg_INT;
typedef uint32_t arg_UINT;
typedef uint32_t arg_FLAGS;
typedef uint32_t arg_MODE;
typedef int32_t arg_PID;
typedef int32_t arg_SIG;
typedef int64_t arg_LONG;
typedef uint64_t arg_ULONG;
typedef size_t arg_SIZE;
typedef int64_t arg_OFF;
typedef uint64_t arg_ADDR; /* address of a mapping: never dereferenced */
typedef uaddr_t arg_PATH;
typedef uaddr_t arg_STR;
typedef uaddr_t arg_IN;
typedef uaddr_t arg_OUT;
typedef uaddr_t arg_INOUT;
typedef uaddr_t arg_BUF_OUT; /* filled by the call; its size is the next argument */
typedef uaddr_t arg_BUF_IN;

#define from_raw_INT(v) ((int32_t)(v))
#define from_raw_FD(v) ((int32_t)(v))
#define from_raw_UINT(v) ((uint32_t)(v))
#define from_raw_FLAGS(v) ((uint32_t)(v))
#define from_raw_MODE(v) ((uint32_t)(v))
#define from_raw_PID(v) ((int32_t)(v))
#define from_raw_SIG(v) ((int32_t)(v))
#define from_raw_LONG(v) ((int64_t)(v))
#define from_raw_ULONG(v) ((uint64_t)(v))
#define from_raw_SIZE(v) ((size_t)(v))
#define from_raw_OFF(v) ((int64_t)(v))
#define from_raw_ADDR(v) ((uint64_t)(v))
#define from_raw_PATH(v) UADDR(v)
#define from_raw_STR(v) UADDR(v)
#define from_raw_IN(v) UADDR(v)
#define from_raw_OUT(v) UADDR(v)
#define from_raw_INOUT(v) UADDR(v)
#define from_raw_BUF_OUT(v) UADDR(v)
#define from_raw_BUF_IN(v) UADDR(v)

/* prototypes */
#define SYSCALL0(n, when, sq, sup, note) sysret_t sys_##n(struct call *c);
#define SYSCALL1(n, when, sq, sup, note, k0, a0) sysret_t sys_##n(struct call *c, arg_##k0 a0);
#define SYSCALL2(n, when, sq, sup, note, k0, a0, k1, a1) \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1);
#define SYSCALL3(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2) \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2);
#define SYSCALL4(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2, k3, a3) \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2, arg_##k3 a3);
#define SYSCALL5(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4)         \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2, arg_##k3 a3, \
                     arg_##k4 a4);
#define SYSCALL6(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5) \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2, arg_##k3 a3, \
                     arg_##k4 a4, arg_##k5 a5);
#define SYSCALL_NONE(n, err, note)
#include "table.def"
#undef SYSCALL0
#undef SYSCALL1
#undef SYSCALL2
#undef SYSCALL3
#undef SYSCALL4
#undef SYSCALL5
#undef SYSCALL6
#undef SYSCALL_NONE

enum sys_when { WHEN_NOW, WHEN_WAIT };
enum sys_support { SUPPORT_NONE, SUPPORT_PARTIAL, SUPPORT_FULL };
/* SQ_YES: needs no registers, may come through a submission queue or the call slot. SQ_SLOT: acts on
 * the caller's signals or identity, so it must be the caller's only call: by the slot, but no SQ.
 * SQ_LAST: the same, and the thread may not come back: not while an interrupt is on its way to it.
 * SQ_NO: through an SQ it completes with -EINVAL; through the call slot it is answered SLOW and
 * comes again by trap. */
enum sys_sq { SQ_NO, SQ_YES, SQ_SLOT, SQ_LAST };

struct sys_row {
    const char *name;
    sysret_t (*run)(struct call *c); /* NULL: none; for sys_run() alone, which asks first */
    uint8_t when, support, sq;
    uint8_t argc;
    uint16_t none_errno;
    const char *note;
    const char *arg_names[6];
    const char *arg_kinds[6];
    uint32_t promises; /* PLEDGE_*: one of these lets it in (promises.def) */
};
/* What the arguments of a call may need besides. */
struct sys_promise {
    uint32_t (*by)(struct call *c); /* all of these, by the registers; NULL: no more */
    const char *words;              /* NULL: nothing */
};

#define SYS_NR_MAX 512
/* Name of a number, whether it has a row or not; NULL: no such call. */
const char *sys_name(uint32_t nr);
extern const struct sys_row sys_rows[SYS_NR_MAX];
/* Row of a number, empty where the table has none; NULL: beyond all. Not by guesses either. */
static inline const struct sys_row *sys_row_plain(uint32_t nr)
{
    return nr < SYS_NR_MAX ? &sys_rows[index_nospec(nr, SYS_NR_MAX)] : NULL;
}
/* Row of a number; never NULL (numbers without a row: SUPPORT_NONE, ENOSYS, name NULL). */
const struct sys_row *sys_row(uint32_t nr);
const struct sys_promise *sys_promise(uint32_t nr); /* never NULL */
/* 0, or -EPERM: the caller's process has promised to do without (@r: a row that runs). */
int sys_refused(struct call *c, const struct sys_row *r);
/* Run a call whose row has a handler, unless it is refused. What waited has been let in already. */
static inline sysret_t sys_run(struct call *c, const struct sys_row *r)
{
    if (pledge_used() && !c->started) {
        int err = sys_refused(c, r);
        if (err)
            return err;
    }
    return r->run(c);
}
/* Run c->nr. Unknown numbers: -ENOSYS, logged once. */
sysret_t sys_dispatch(struct call *c);
/* The calls of libringbox about what the process may do from now on (sys_policy.c). */
sysret_t policy_pledge(struct call *c, uaddr_t promises, uaddr_t exec_promises);
sysret_t policy_unveil(struct call *c, uaddr_t path, uaddr_t letters);
/* Decoder for --trace: "openat(AT_FDCWD, \"/etc\", ...)" of a call; bounded, never faults. */
int sys_format(struct call *c, char *buf, size_t size);

#endif
