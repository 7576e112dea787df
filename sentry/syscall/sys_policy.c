/* SPDX-License-Identifier: Apache-2.0
 * sys_policy.c - a process gives rights up: the calls behind ringbox_pledge() and ringbox_unveil().
 *
 * They come by the reserved number (ring/abi.h) and are let in whatever was promised; what they can do is
 * shrink. Strings are copied once. */
#include <vfs/unveil.h>

#include "sys_path.h"

#define LETTERS_MAX 8u

/* 1: a set, 0: NULL. */
static int promises_in(struct task *t, uaddr_t u, uint32_t *ret)
{
    char text[PLEDGE_TEXT_MAX];

    if (uaddr_null(u))
        return 0;
    ssize_t n = copy_in_string(t->mm, text, u, sizeof(text));
    if (n < 0)
        return (int)n;
    int err = pledge_parse(text, ret, NULL, NULL);
    return err ? err : 1;
}

sysret_t policy_pledge(struct call *c, uaddr_t promises, uaddr_t exec_promises)
{
    uint32_t now, exec;
    int has_now = promises_in(c->task, promises, &now);
    if (has_now < 0)
        return has_now;
    int has_exec = promises_in(c->task, exec_promises, &exec);
    if (has_exec < 0)
        return has_exec;
    if (!has_now && !has_exec)
        return 0;
    return pledge_restrict(c->task->process, has_now ? &now : NULL, has_exec ? &exec : NULL);
}

sysret_t policy_unveil(struct call *c, uaddr_t path, uaddr_t letters)
{
    struct task *t = c->task;
    char text[LETTERS_MAX];
    unsigned may;

    if (pledge_need(t, PLEDGE_UNVEIL))
        return -EPERM;
    if (uaddr_null(path) && uaddr_null(letters)) {
        unveil_lock(t->process);
        return 0;
    }
    if (uaddr_null(path) || uaddr_null(letters))
        return -EINVAL;
    ssize_t n = copy_in_string(t->mm, text, letters, sizeof(text));
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    if (unveil_parse(text, &may))
        return -EINVAL;
    char *s AUTO_STR = path_copy_in(t, path, false);
    return IS_ERR(s) ? PTR_ERR(s) : unveil_add(t, s, may);
}
