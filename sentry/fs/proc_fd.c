/* SPDX-License-Identifier: Apache-2.0
 * proc_fd.c - /proc/PID/fd, fdinfo and task.
 *
 * fd/N is a magic link: a walk lands on the open file's own place, whatever its path says now. A
 * file without a place (pipe, socket, host descriptor) is opened again by its own kind, through an
 * inode that stands for it (reopen.c).
 *
 * Names are numbers; the owner and ptrace-like permission are checked. Locks: none here. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <vfs/fdtable.h>

#include "proc.h"
#include "reopen.h"

/* The open file a key names: reference; ERR_PTR(-ENOENT, -EACCES). */
static struct file *key_file(const struct pseudo_key *k)
{
    struct task *t AUTO_PUT(task) = proc_task(k);

    if (!t)
        return ERR_PTR(-ENOENT);
    int err = proc_may_inspect(t);
    if (err)
        return ERR_PTR(err);
    struct fdtable *fds = proc_fdtable(t);
    if (!fds)
        return ERR_PTR(-ENOENT);
    struct file *f = fdtable_file(fds, k->fd);
    fdtable_put(fds);
    return IS_ERR(f) ? ERR_PTR(-ENOENT) : f;
}

/* The k-th descriptor's directory as one: key with fd set. -1 at the end. */
static int next_fd(const struct pseudo_key *k, int after)
{
    struct task *t AUTO_PUT(task) = proc_task(k);
    struct fdtable *fds = t && !proc_may_inspect(t) ? proc_fdtable(t) : NULL;
    struct file *f = NULL;

    if (!fds)
        return -1;
    int fd = fdtable_next(fds, after, &f);
    if (fd >= 0)
        file_put(f);
    fdtable_put(fds);
    return fd;
}

int proc_fd_emit(struct getdents_ctx *ctx, const struct pseudo_key *k)
{
    for (;;) {
        int fd = next_fd(k, (int)(ctx->pos - PSEUDO_DYNAMIC) - 1);
        char name[16];
        if (fd < 0)
            return 0;
        int n = snprintf(name, sizeof(name), "%d", fd);
        if (!getdents_emit(ctx, name, (size_t)n, (uint64_t)fd + PSEUDO_DYNAMIC, 10 /* DT_LNK */,
                           PSEUDO_DYNAMIC + fd + 1))
            return 0;
    }
}

static int show_fd(struct text *t, const struct pseudo_key *k)
{
    struct file *f AUTO_PUT(file) = key_file(k);

    if (IS_ERR(f))
        return PTR_ERR(f);
    if (f->path.dentry) {
        char *path = text_reserve(t, PATH_LEN_MAX);
        if (!path)
            return -ENOMEM;
        ssize_t n = path_format(task_current(), &f->path, path, PATH_LEN_MAX, true);
        if (n < 0)
            return (int)n;
        t->len += (size_t)n;
    } else if (strpbrk(f->ops->name, ":/")) {
        text_printf(t, "%s", f->ops->name);
    } else {
        text_printf(t, "%s:[%llu]", f->ops->name, (unsigned long long)f->ino);
    }
    return 0;
}

static int follow_fd(const struct pseudo_key *k, struct path *ret)
{
    struct file *f AUTO_PUT(file) = key_file(k);

    if (IS_ERR(f))
        return PTR_ERR(f);
    if (!f->path.dentry)
        return reopen_path(f, ret);
    *ret = f->path;
    path_get(ret);
    return 0;
}

/* Links show in their mode what the descriptor allows. */
static const struct pseudo_node fd_links[4] = {
    [O_RDONLY] = {.name = "", .mode = S_IFLNK | 0500, .show = show_fd, .follow = follow_fd},
    [O_WRONLY] = {.name = "", .mode = S_IFLNK | 0300, .show = show_fd, .follow = follow_fd},
    [O_RDWR] = {.name = "", .mode = S_IFLNK | 0700, .show = show_fd, .follow = follow_fd},
    [3] = {.name = "", .mode = S_IFLNK | 0700, .show = show_fd, .follow = follow_fd},
};

struct inode *proc_fd_lookup(struct inode *dir, const char *name, size_t len)
{
    struct pseudo_key k = *pseudo_key(dir);

    k.fd = pseudo_number(name, len);
    if (k.fd < 0)
        return ERR_PTR(-ENOENT);
    struct file *f AUTO_PUT(file) = key_file(&k);
    if (IS_ERR(f))
        return ERR_PTR(PTR_ERR(f));
    return pseudo_inode(dir->sb, &fd_links[f->flags & O_ACCMODE], &k);
}

static int show_fdinfo(struct text *t, const struct pseudo_key *k)
{
    struct file *f AUTO_PUT(file) = key_file(k);

    if (IS_ERR(f))
        return PTR_ERR(f);
    struct inode *i = file_inode(f);
    text_printf(t, "pos:\t%lld\nflags:\t0%o\nmnt_id:\t1\nino:\t%llu\n", (long long)f->pos, f->flags,
                (unsigned long long)(i ? i->attr.ino : f->ino));
    return 0;
}

static const struct pseudo_node fdinfo_file = {
    .name = "",
    .mode = S_IFREG | 0400,
    .show = show_fdinfo,
};

struct inode *proc_fdinfo_lookup(struct inode *dir, const char *name, size_t len)
{
    struct pseudo_key k = *pseudo_key(dir);

    k.fd = pseudo_number(name, len);
    if (k.fd < 0)
        return ERR_PTR(-ENOENT);
    struct file *f AUTO_PUT(file) = key_file(&k);
    if (IS_ERR(f))
        return ERR_PTR(PTR_ERR(f));
    return pseudo_inode(dir->sb, &fdinfo_file, &k);
}

/* --- threads --- */

struct inode *proc_task_lookup(struct inode *dir, const char *name, size_t len)
{
    struct pseudo_key k = *pseudo_key(dir);

    k.tid = pseudo_number(name, len);
    if (k.tid <= 0)
        return ERR_PTR(-ENOENT);
    struct task *t AUTO_PUT(task) = proc_task(&k);
    struct process *p AUTO_PUT(process) = k.tid == k.pid ? proc_process(&k) : NULL;
    if (!t && !p) /* a zombie has its leader's directory left */
        return ERR_PTR(-ENOENT);
    return pseudo_inode(dir->sb, &proc_tid_node, &k);
}

int proc_task_emit(struct getdents_ctx *ctx, const struct pseudo_key *k)
{
    struct process *p AUTO_PUT(process) = proc_process(k);

    while (p) {
        struct task *t AUTO_PUT(task) = process_task_next(p, (int32_t)(ctx->pos - PSEUDO_DYNAMIC));
        char name[16];
        if (!t)
            return 0;
        int n = snprintf(name, sizeof(name), "%d", t->tid);
        if (!getdents_emit(ctx, name, (size_t)n, (uint64_t)t->tid + PSEUDO_DYNAMIC, 4 /* DT_DIR */,
                           PSEUDO_DYNAMIC + t->tid))
            return 0;
    }
    return -ENOENT;
}
