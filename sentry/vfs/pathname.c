/* SPDX-License-Identifier: Apache-2.0
 * pathname.c - places to strings (getcwd, /proc/PID/fd) and the guest's strings into the kernel.
 *
 * path_format builds from the end of the buffer upwards, one component at a time, crossing mounts,
 * until the task's root. Names may change meanwhile: each component is right at some moment. */
#include <stdlib.h>

#include <mm/mm.h>

#include "vfs_internal.h"

struct builder {
    char *buf;
    size_t size, at; /* text lies in [at, size) */
};

static bool put_front(struct builder *b, const char *s, size_t len)
{
    if (b->at < len)
        return false;
    b->at -= len;
    memcpy(b->buf + b->at, s, len);
    return true;
}

/* "/name" of p.dentry, and p moved to its parent. 1: done, at a root without parent. */
static int put_component(struct builder *b, struct path *p)
{
    char name[NAME_LEN_MAX + 1];
    spin_lock(&g_dentry_tree);
    struct dentry *d = p->dentry, *up = d->parent ? dentry_get(d->parent) : NULL;
    size_t len = MIN((size_t)d->len, sizeof(name));
    memcpy(name, d->name, len);
    spin_unlock(&g_dentry_tree);
    if (!up && len == 1 && name[0] == '/')
        return 1;
    if (!put_front(b, name, len) || !put_front(b, "/", 1)) {
        dentry_put(up);
        return -ENAMETOOLONG;
    }
    if (!up)
        return 1;
    dentry_put(p->dentry);
    p->dentry = up;
    return 0;
}

/* @root may be empty: up to the top. */
static int format_up(struct builder *b, struct path *p, const struct path *root, bool *ret_reached)
{
    *ret_reached = false;
    for (;;) {
        if (p->mnt == root->mnt && p->dentry == root->dentry) {
            *ret_reached = true;
            return 0;
        }
        if (p->dentry == p->mnt->root) {
            if (mount_follow_up(p))
                continue;
            *ret_reached = !root->mnt;
            return 0;
        }
        int r = put_component(b, p);
        if (r == 1)
            *ret_reached = true; /* an unnamed file: shown as below the root */
        if (r != 0)
            return r < 0 ? r : 0;
    }
}

ssize_t path_format(struct task *t, const struct path *path, char *buf, size_t size,
                    bool deleted_mark)
{
    if (size < 2)
        return -ENAMETOOLONG;
    struct path root = {0}, p = *path;
    if (t) {
        spin_lock(&t->fs->lock);
        root = t->fs->root;
        path_get(&root);
        spin_unlock(&t->fs->lock);
    }
    path_get(&p);
    struct builder b = {.buf = buf, .size = size, .at = size - 1};
    buf[b.at] = 0;
    bool reached = false, ok = true;
    if (deleted_mark && path->dentry->deleted)
        ok = put_front(&b, " (deleted)", 10);
    size_t tail = b.at;
    int r = ok ? format_up(&b, &p, &root, &reached) : -ENAMETOOLONG;
    if (r == 0 && b.at == tail && !put_front(&b, "/", 1))
        r = -ENAMETOOLONG;
    if (r == 0 && !reached && !put_front(&b, "(unreachable)", 13))
        r = -ENAMETOOLONG;
    path_put(&p);
    path_put(&root);
    if (r < 0)
        return r;
    memmove(buf, buf + b.at, size - b.at);
    return (ssize_t)(size - 1 - b.at);
}

char *path_copy_in(struct task *t, uaddr_t u, bool allow_empty)
{
    char *s = malloc(PATH_LEN_MAX);
    if (!s)
        return ERR_PTR(-ENOMEM);
    ssize_t n = copy_in_string(t->mm, s, u, PATH_LEN_MAX);
    if (n == 0 && !allow_empty)
        n = -ENOENT;
    if (n >= 0)
        return s;
    free(s);
    return ERR_PTR(n);
}
