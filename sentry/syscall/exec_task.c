/* SPDX-License-Identifier: Apache-2.0
 * exec_task.c - execve of a running task: arguments in, other threads out, the change.
 *
 * The new address space is complete before anything of the old program ends; it waits in c->state
 * while the other threads leave (the handler is run again then). After that nothing can fail but
 * the host thread's creation, which kills the process.
 *
 * The guest's vectors are read once; a thread that changes them meanwhile changes its own
 * arguments.
 */
#include <syscall/exec.h>

#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <kernel/signal.h>
#include <mm/mm.h>
#include <vfs/fdtable.h>

#define POINTERS_AT_ONCE 64u
#define STRINGS_FIRST 8192u
#define STRING_ROOM 1024u /* grow when less is left */

/* --- arguments --- */

struct strings {
    char *buf;
    size_t len, room;
};

static int strings_grow(struct strings *s)
{
    size_t room = s->room ? s->room * 2 : STRINGS_FIRST;
    if (room > 2 * EXEC_STRINGS_MAX)
        return -E2BIG;
    char *buf = realloc(s->buf, room);
    if (!buf)
        return -ENOMEM;
    s->buf = buf;
    s->room = room;
    return 0;
}

static int strings_add(struct strings *s, struct mm *mm, uaddr_t str)
{
    for (;;) {
        size_t left = s->room - s->len;
        if (left >= STRING_ROOM) {
            size_t most = MIN(left, (size_t)EXEC_STRING_MAX);
            ssize_t n = copy_in_string(mm, s->buf + s->len, str, most);
            if (n >= 0) {
                s->len += (size_t)n + 1;
                return s->len > EXEC_STRINGS_MAX ? -E2BIG : 0;
            }
            if (n != -ENAMETOOLONG)
                return (int)n;
            if (most == EXEC_STRING_MAX)
                return -E2BIG;
        }
        int err = strings_grow(s);
        if (err)
            return err;
    }
}

/* A NULL-terminated vector; read up to page ends, because behind the NULL there may be nothing. */
static int strings_add_vector(struct strings *s, struct mm *mm, uaddr_t v, uint32_t *ret_count)
{
    uint64_t ptrs[POINTERS_AT_ONCE];
    *ret_count = 0;
    if (uaddr_null(v))
        return 0;
    for (;;) {
        uint64_t n = MIN((PAGE_SIZE - v.va % PAGE_SIZE) / 8, (uint64_t)POINTERS_AT_ONCE);
        n = MAX(n, (uint64_t)1);
        int err = copy_in(mm, ptrs, v, n * 8);
        if (err)
            return err;
        for (uint64_t i = 0; i < n; i++) {
            if (!ptrs[i])
                return 0;
            if (++*ret_count > EXEC_ARGS_MAX)
                return -E2BIG;
            err = strings_add(s, mm, UADDR(ptrs[i]));
            if (err)
                return err;
        }
        v = uaddr_add(v, n * 8);
    }
}

int exec_args_copy_in(struct mm *mm, uaddr_t argv, uaddr_t envp, struct exec_args *ret)
{
    struct strings s = {0};
    uint32_t argc = 0, envc = 0;
    int err = strings_grow(&s);
    if (!err)
        err = strings_add_vector(&s, mm, argv, &argc);
    if (!err && !argc) { /* programs rely on an argv[0] */
        s.buf[s.len++] = '\0';
        argc = 1;
    }
    if (!err)
        err = strings_add_vector(&s, mm, envp, &envc);
    if (err) {
        free(s.buf);
        return err;
    }
    *ret = (struct exec_args){s.buf, s.len, argc, envc};
    return 0;
}

/* --- the change --- */

struct exec_state {
    struct mm *mm;
    struct pf_regs regs;
    char comm[TASK_COMM_LEN];
};

static void exec_state_free(void *state)
{
    struct exec_state *s = state;
    if (s->mm)
        mm_put(s->mm);
    free(s);
}

/* capabilities(7), "Transformation of capabilities during execve()", for files without any. */
static struct cred *exec_cred(const struct cred *old)
{
    struct cred *c = cred_dup(old);
    if (!c)
        return NULL;
    if (c->euid == 0 || c->uid == 0) {
        c->cap_permitted = c->cap_inheritable | c->cap_bounding;
        c->cap_effective = c->euid == 0 ? c->cap_permitted : 0;
    } else {
        c->cap_permitted = c->cap_effective = c->cap_ambient;
    }
    c->suid = c->fsuid = c->euid;
    c->sgid = c->fsgid = c->egid;
    return c;
}

int task_unshare_fds(struct task *t)
{
    spin_lock(&t->process->lock);
    struct fdtable *fds = steal(t->fds);
    spin_unlock(&t->process->lock);
    int err = fdtable_unshare(&fds);
    spin_lock(&t->process->lock);
    t->fds = fds;
    spin_unlock(&t->process->lock);
    return err;
}

static sysret_t exec_commit(struct call *c)
{
    struct task *t = c->task;
    struct exec_state *s = c->state;
    struct sighand *sighand = sighand_exec(t->process->sighand);
    struct cred *cred = exec_cred(t->cred);
    if (sighand && cred && g_kernel_hooks.task_quiesce)
        g_kernel_hooks.task_quiesce(t);
    int err = sighand && cred ? task_unshare_fds(t) : -ENOMEM;
    if (err) {
        sighand_put(sighand);
        cred_put(cred);
        process_exec_abort(t);
        return err;
    }
    c->state = NULL;
    c->state_free = NULL;
    task_become_leader(t);
    fdtable_close_on_exec(t->fds, t);
    task_cred_set(t, cred);
    task_exec_commit(t, s->mm, sighand, &s->regs, s->comm);
    free(s);
    return SYS_NORETURN;
}

sysret_t exec_task_again(struct call *c)
{
    struct task *t = c->task;
    if (process_exec_alone(t))
        return exec_commit(c);
    int err = call_arm(c, &t->process->exec_wait, 0);
    if (err)
        return err;
    if (process_exec_alone(t))
        return exec_commit(c);
    sysret_t r = call_wait_armed_killable(c);
    if (r != SYS_PARK)
        process_exec_abort(t);
    return r;
}

sysret_t exec_task(struct call *c, int dirfd, const char *path, unsigned lookup_flags,
                   struct exec_args *args)
{
    struct exec_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    int err = exec_load(c->task, dirfd, path, lookup_flags, args, &s->mm, &s->regs, s->comm);
    if (err) {
        free(s);
        return err;
    }
    c->state = s;
    c->state_free = exec_state_free;
    return exec_task_again(c);
}
