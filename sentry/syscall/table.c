/* SPDX-License-Identifier: Apache-2.0
 * table.c - what derives from table.def: wrappers that turn six raw words into typed arguments, the
 * row of each number, dispatch.
 *
 * The guest chooses nr and the words; nr is bounded (also under speculation), words are converted
 * here and checked by the handlers. No locks. The decoder for traces is format.c.
 */
#include <syscall/sys.h>

#include <asm/unistd_64.h>
#include <stdatomic.h>

#include <base/checked.h>
#include <base/err.h>
#include <base/log.h>

#include "sys_pledge.h"

/* Numbers that the build's headers may lack. */
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

#define RAW(k, i) from_raw_##k(c->args[i])

/* wrappers */
#define SYSCALL_NONE(n, err, note)
#define WRAPPER(n, ...)                     \
    static sysret_t run_##n(struct call *c) \
    {                                       \
        return sys_##n(__VA_ARGS__);        \
    }
#define SYSCALL0(n, when, sq, sup, note) WRAPPER(n, c)
#define SYSCALL1(n, when, sq, sup, note, k0, a0) WRAPPER(n, c, RAW(k0, 0))
#define SYSCALL2(n, when, sq, sup, note, k0, a0, k1, a1) WRAPPER(n, c, RAW(k0, 0), RAW(k1, 1))
#define SYSCALL3(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2) \
    WRAPPER(n, c, RAW(k0, 0), RAW(k1, 1), RAW(k2, 2))
#define SYSCALL4(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2, k3, a3) \
    WRAPPER(n, c, RAW(k0, 0), RAW(k1, 1), RAW(k2, 2), RAW(k3, 3))
#define SYSCALL5(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4) \
    WRAPPER(n, c, RAW(k0, 0), RAW(k1, 1), RAW(k2, 2), RAW(k3, 3), RAW(k4, 4))
#define SYSCALL6(n, when, sq, sup, note, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5) \
    WRAPPER(n, c, RAW(k0, 0), RAW(k1, 1), RAW(k2, 2), RAW(k3, 3), RAW(k4, 4), RAW(k5, 5))
#include "table.def"
#undef SYSCALL0
#undef SYSCALL1
#undef SYSCALL2
#undef SYSCALL3
#undef SYSCALL4
#undef SYSCALL5
#undef SYSCALL6
#undef SYSCALL_NONE

/* promises: of each call, the set as an enumerator (a row without its line does not compile) */
enum {
    ALWAYS = PLEDGE_ALWAYS,
    NEVER = PLEDGE_NEVER,
#define PROMISE(name, word, text) name = PLEDGE_##name,
#include <kernel/pledge.def>
#undef PROMISE
#define PROMISES(n, set) promises_##n = (set),
#define PROMISES_IN(n, set, words) promises_##n = (set),
#define PROMISES_BY(n, set, by, words) promises_##n = (set),
#include "promises.def"
#undef PROMISES
#undef PROMISES_IN
#undef PROMISES_BY
};

/* rows */
#define ROW(n, w, q, s, text, count, names, kinds) \
    [__NR_##n] = {.name = #n,                      \
                  .run = run_##n,                  \
                  .when = WHEN_##w,                \
                  .support = SUPPORT_##s,          \
                  .sq = q,                         \
                  .argc = count,                   \
                  .note = text,                    \
                  .arg_names = names,              \
                  .arg_kinds = kinds,              \
                  .promises = promises_##n},
#define LIST(...)   \
    {               \
        __VA_ARGS__ \
    }
#define SYSCALL_NONE(n, err, text) \
    [__NR_##n] = {.name = #n, .support = SUPPORT_NONE, .none_errno = err, .note = text},
#define SYSCALL0(n, w, q, s, t) ROW(n, w, q, s, t, 0, LIST(NULL), LIST(NULL))
#define SYSCALL1(n, w, q, s, t, k0, a0) ROW(n, w, q, s, t, 1, LIST(#a0), LIST(#k0))
#define SYSCALL2(n, w, q, s, t, k0, a0, k1, a1) \
    ROW(n, w, q, s, t, 2, LIST(#a0, #a1), LIST(#k0, #k1))
#define SYSCALL3(n, w, q, s, t, k0, a0, k1, a1, k2, a2) \
    ROW(n, w, q, s, t, 3, LIST(#a0, #a1, #a2), LIST(#k0, #k1, #k2))
#define SYSCALL4(n, w, q, s, t, k0, a0, k1, a1, k2, a2, k3, a3) \
    ROW(n, w, q, s, t, 4, LIST(#a0, #a1, #a2, #a3), LIST(#k0, #k1, #k2, #k3))
#define SYSCALL5(n, w, q, s, t, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4) \
    ROW(n, w, q, s, t, 5, LIST(#a0, #a1, #a2, #a3, #a4), LIST(#k0, #k1, #k2, #k3, #k4))
#define SYSCALL6(n, w, q, s, t, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5) \
    ROW(n, w, q, s, t, 6, LIST(#a0, #a1, #a2, #a3, #a4, #a5), LIST(#k0, #k1, #k2, #k3, #k4, #k5))

const struct sys_row sys_rows[SYS_NR_MAX] = {
#include "table.def"
};

static const char *const names[SYS_NR_MAX] = {
#define SYSCALL_NAME(nr, n) [nr] = #n,
#include "names.def"
};

static const struct sys_promise limits[SYS_NR_MAX] = {
#define PROMISES(n, set)
#define PROMISES_IN(n, set, text) [__NR_##n] = {.words = text},
#define PROMISES_BY(n, set, who, text) [__NR_##n] = {.by = promises_by_##who, .words = text},
#include "promises.def"
};

static const struct sys_row row_unknown = {.support = SUPPORT_NONE, .none_errno = ENOSYS};

const char *sys_name(uint32_t nr)
{
    return nr < SYS_NR_MAX ? names[nr] : NULL;
}

const struct sys_row *sys_row(uint32_t nr)
{
    const struct sys_row *r = sys_row_plain(nr);

    return r && r->name ? r : &row_unknown;
}

const struct sys_promise *sys_promise(uint32_t nr)
{
    return &limits[nr < SYS_NR_MAX ? index_nospec(nr, SYS_NR_MAX) : 0];
}

static void log_unknown_once(uint32_t nr)
{
    static _Atomic(uint64_t) seen[SYS_NR_MAX / 64];
    if (nr >= SYS_NR_MAX)
        return;
    uint64_t bit = 1ULL << nr % 64;
    if (!(atomic_fetch_or(&seen[nr / 64], bit) & bit))
        log_info("syscall", "nr=%u name=%s not implemented", nr, names[nr] ? names[nr] : "?");
}

sysret_t sys_dispatch(struct call *c)
{
    const struct sys_row *r = sys_row(c->nr);
    if (likely(r->run))
        return sys_run(c, r);
    if (!r->name)
        log_unknown_once(c->nr);
    return -(sysret_t)r->none_errno;
}
