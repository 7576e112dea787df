/* SPDX-License-Identifier: Apache-2.0
 * walk.c - from a path string to a place.
 *
 * Model: struct walk holds the place reached (cur) and the text still to go (rest). Components are
 * taken one by one; a symbolic link puts its target before the rest (at most SYMLINK_MAX times, so
 * the text stays below 41 * 4 KiB), a magic link replaces the place. Nothing recurses.
 *
 * The guest chooses the string; link targets come from file systems and are bounded by
 * PATH_LEN_MAX. Locks: none held here; dentry_lookup takes the directory's on a miss. */
#include <fcntl.h>
#include <stdlib.h>

#include <vfs/fdtable.h>

#include "vfs_internal.h"

#define LOOKUP_FENCED (LOOKUP_BENEATH | LOOKUP_IN_ROOT)

static int walk_start_dir(struct walk *w, int dirfd, bool may_be_file)
{
    if (dirfd == AT_FDCWD) {
        struct fs_struct *fs = w->t->fs;
        spin_lock(&fs->lock);
        w->cur = fs->cwd;
        path_get(&w->cur);
        spin_unlock(&fs->lock);
        return 0;
    }
    struct file *f AUTO_PUT(file) = fdtable_file(w->t->fds, dirfd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    if (!f->path.dentry || (!may_be_file && !path_is_dir(&f->path)))
        return -ENOTDIR;
    w->cur = f->path;
    path_get(&w->cur);
    return 0;
}

int walk_start(struct walk *w, struct task *t, int dirfd, const char *name, unsigned flags)
{
    return walk_start_as(w, t, t->cred, dirfd, name, flags);
}

int walk_start_as(struct walk *w, struct task *t, struct cred *cred, int dirfd, const char *name,
                  unsigned flags)
{
    memset(w, 0, sizeof(*w));
    w->t = t;
    w->flags = flags;
    w->rest = name;
    if (!*name && !(flags & LOOKUP_EMPTY))
        return -ENOENT;
    w->cred = cred_get(cred); /* the walk may park while the task changes its own */
    spin_lock(&t->fs->lock);
    w->root = t->fs->root;
    path_get(&w->root);
    spin_unlock(&t->fs->lock);
    int r = 0;
    if (*name == '/' && !(flags & LOOKUP_FENCED)) {
        w->cur = w->root;
        path_get(&w->cur);
    } else if (*name == '/' && (flags & LOOKUP_BENEATH)) {
        r = -EXDEV;
    } else {
        r = walk_start_dir(w, dirfd, !*name);
    }
    if (r == 0 && (flags & LOOKUP_FENCED)) {
        w->fence = w->cur;
        path_get(&w->fence);
        if (flags & LOOKUP_IN_ROOT) {
            path_put(&w->root);
            w->root = w->cur;
            path_get(&w->root);
        }
    }
    if (r < 0) {
        walk_end(w);
    } else if (unveil_active(t) && !(flags & LOOKUP_UNVEILED)) {
        walk_unveil_start(w);
        if (w->unveil)
            walk_unveil_here(w);
    }
    return r;
}

void walk_end(struct walk *w)
{
    path_put(&w->root);
    path_put(&w->cur);
    path_put(&w->fence);
    free(w->buf);
    w->buf = NULL;
    if (unlikely(w->unveil))
        walk_unveil_end(w);
    if (w->cred)
        cred_put(w->cred);
    w->cred = NULL;
}

static bool same_path(const struct path *a, const struct path *b)
{
    return a->mnt == b->mnt && a->dentry == b->dentry;
}

static int walk_up(struct walk *w)
{
    if (w->fence.mnt && same_path(&w->cur, &w->fence))
        return w->flags & LOOKUP_BENEATH ? -EXDEV : 0;
    if (same_path(&w->cur, &w->root))
        return 0;
    while (w->cur.dentry == w->cur.mnt->root) {
        struct mount *was = w->cur.mnt;
        if (!mount_follow_up(&w->cur))
            return 0;
        if ((w->flags & LOOKUP_NO_XDEV) && w->cur.mnt != was)
            return -EXDEV;
        if (same_path(&w->cur, &w->root))
            return 0;
    }
    struct dentry *up = dentry_parent(w->cur.dentry);
    if (up) {
        dentry_put(w->cur.dentry);
        w->cur.dentry = up;
    }
    if (mount_follow_down(&w->cur) && (w->flags & LOOKUP_NO_XDEV))
        return -EXDEV;
    return 0;
}

int walk_may_search(struct walk *w)
{
    if (!path_is_dir(&w->cur))
        return -ENOTDIR;
    return inode_permission(w->cur.dentry->inode, MAY_EXEC, w->cred);
}

int walk_dots(struct walk *w, int kind)
{
    if (kind == LAST_ROOT)
        return 0;
    int r = walk_may_search(w);
    if (r < 0 || kind == LAST_DOT)
        return r;
    r = walk_up(w);
    if (unlikely(w->unveil))
        walk_unveil_here(w);
    return r;
}

int walk_child(struct walk *w, const char *name, size_t len, struct path *ret)
{
    if (unlikely(w->unveil) && !walk_unveil_child(w, name, len))
        return -ENOENT;
    if (unlikely(w->trail))
        walk_unveil_note(w, name, len);
    int r = walk_may_search(w);
    if (r < 0)
        return r;
    struct dentry *d;
    if (w->flags & LOOKUP_CACHED) {
        d = dentry_find(w->cur.dentry, name, len);
        if (!d || !w->cur.dentry->inode->sb->exclusive || !dentry_current(d, w->cur.dentry)) {
            dentry_put(d);
            return -EAGAIN;
        }
    } else {
        d = dentry_lookup(w->cur.dentry, name, len);
        if (IS_ERR(d))
            return PTR_ERR(d);
    }
    struct path p = {mount_get(w->cur.mnt), d};
    if (d->mounts && mount_follow_down(&p) && (w->flags & LOOKUP_NO_XDEV)) {
        path_put(&p);
        return -EXDEV;
    }
    *ret = p;
    return 0;
}

static int walk_magic(struct walk *w, struct inode *i)
{
    if (w->flags & (LOOKUP_NO_MAGICLINKS | LOOKUP_FENCED))
        return w->flags & LOOKUP_NO_MAGICLINKS ? -ELOOP : -EXDEV;
    struct path p = {0};
    int r = i->ops->follow(i, &p);
    if (r < 0)
        return r;
    if ((w->flags & LOOKUP_NO_XDEV) && p.mnt != w->cur.mnt) {
        path_put(&p);
        return -EXDEV;
    }
    path_put(&w->cur);
    w->cur = p;
    if (unlikely(w->unveil))
        walk_unveil_here(w);
    return 0;
}

int walk_link(struct walk *w, const struct path *link)
{
    struct inode *i = link->dentry->inode;
    if (++w->links > SYMLINK_MAX || (w->flags & LOOKUP_NO_SYMLINKS))
        return -ELOOP;
    if (i->ops->follow) {
        int r = walk_magic(w, i);
        if (r != -EOPNOTSUPP) /* this one of the file system's links is an ordinary one */
            return r;
    }
    if (!i->ops->readlink)
        return -EINVAL;
    size_t rest_len = strlen(w->rest);
    char *text = malloc(PATH_LEN_MAX + rest_len + 2);
    if (!text)
        return -ENOMEM;
    ssize_t n = i->ops->readlink(i, text, PATH_LEN_MAX);
    if (n <= 0 || n >= PATH_LEN_MAX) {
        free(text);
        return n == 0 ? -ENOENT : n < 0 ? (int)n : -ENAMETOOLONG;
    }
    if (memchr(text, 0, (size_t)n)) { /* only a lying file system does that */
        free(text);
        return -EIO;
    }
    size_t len = (size_t)n;
    if (rest_len)
        text[len++] = '/';
    memcpy(text + len, w->rest, rest_len + 1);
    free(w->buf);
    w->buf = text;
    w->rest = text;
    if (*text == '/') {
        if (w->flags & LOOKUP_BENEATH)
            return -EXDEV;
        if ((w->flags & LOOKUP_NO_XDEV) && w->root.mnt != w->cur.mnt)
            return -EXDEV;
        path_put(&w->cur);
        w->cur = w->root;
        path_get(&w->cur);
        if (unlikely(w->unveil))
            walk_unveil_here(w);
    }
    return 0;
}

static int name_kind(const char *p, size_t len)
{
    if (*p == '.' && len == 1)
        return LAST_DOT;
    return len == 2 && p[0] == '.' && p[1] == '.' ? LAST_DOTDOT : LAST_NORM;
}

/* One component that is not the last: links are followed, the result must exist. */
static int walk_step(struct walk *w, const char *name, size_t len, int kind)
{
    if (kind != LAST_NORM)
        return walk_dots(w, kind);
    struct path child;
    int r = walk_child(w, name, len, &child);
    if (r < 0)
        return r;
    struct inode *i = child.dentry->inode;
    if (!i) {
        r = -ENOENT;
    } else if (S_ISLNK(inode_type(i))) {
        r = walk_link(w, &child);
    } else {
        walk_enter(w, &child);
        return 0;
    }
    path_put(&child);
    return r;
}

int walk_parent(struct walk *w, const char **ret_name, size_t *ret_len, int *ret_kind,
                bool *ret_slash)
{
    for (;;) {
        const char *p = w->rest;
        while (*p == '/')
            p++;
        if (!*p) {
            if (p != w->rest)
                w->need_dir = true;
            w->rest = p;
            *ret_kind = LAST_ROOT;
            *ret_slash = false;
            *ret_name = p;
            *ret_len = 0;
            return 0;
        }
        const char *end = strchrnul(p, '/');
        size_t len = (size_t)(end - p);
        if (len > NAME_LEN_MAX)
            return -ENAMETOOLONG;
        int kind = name_kind(p, len);
        const char *next = end;
        while (*next == '/')
            next++;
        w->rest = next;
        if (!*next) {
            *ret_name = p;
            *ret_len = len;
            *ret_kind = kind;
            *ret_slash = *end == '/';
            return 0;
        }
        int r = walk_step(w, p, len, kind);
        if (r < 0)
            return r;
    }
}

int walk_finish(struct walk *w)
{
    for (;;) {
        const char *name;
        size_t len;
        int kind;
        bool slash;
        int r = walk_parent(w, &name, &len, &kind, &slash);
        if (r < 0)
            return r;
        w->need_dir |= slash;
        if (kind != LAST_NORM) {
            r = walk_dots(w, kind);
            if (r < 0)
                return r;
            break;
        }
        struct path child;
        r = walk_child(w, name, len, &child);
        if (r < 0)
            return r;
        struct inode *i = child.dentry->inode;
        if (!i) {
            path_put(&child);
            return -ENOENT;
        }
        if (S_ISLNK(inode_type(i)) && (!(w->flags & LOOKUP_NOFOLLOW) || w->need_dir)) {
            r = walk_link(w, &child);
            path_put(&child);
            if (r < 0)
                return r;
            continue;
        }
        walk_enter(w, &child);
        break;
    }
    if ((w->need_dir || (w->flags & LOOKUP_DIRECTORY)) && !path_is_dir(&w->cur))
        return -ENOTDIR;
    return 0;
}

int path_lookup(struct task *t, int dirfd, const char *name, unsigned flags, struct path *ret)
{
    return path_lookup_as(t, t->cred, dirfd, name, flags, ret);
}

int path_lookup_as(struct task *t, struct cred *cred, int dirfd, const char *name, unsigned flags,
                   struct path *ret)
{
    struct walk w;
    int r = walk_start_as(&w, t, cred, dirfd, name, flags);
    if (r < 0)
        return r;
    r = walk_finish(&w);
    if (r == 0 && unlikely(w.unveil))
        r = walk_unveil_check(&w, false, flags / LOOKUP_MAY_READ);
    if (r == 0) {
        *ret = w.cur;
        w.cur = (struct path){0};
    }
    walk_end(&w);
    return r;
}

int path_lookup_parent(struct task *t, int dirfd, const char *name, unsigned flags,
                       struct path *ret_dir, struct last_name *ret_last)
{
    struct walk w;
    int r = walk_start(&w, t, dirfd, name, flags);
    if (r < 0)
        return r;
    const char *last;
    size_t len;
    r = walk_parent(&w, &last, &len, &ret_last->kind, &ret_last->trailing_slash);
    if (r == 0)
        r = walk_may_search(&w);
    if (r == 0) {
        memcpy(ret_last->name, last, len);
        ret_last->name[len] = 0;
        ret_last->len = len;
        ret_last->may = UNVEIL_EVERYTHING;
        if (unlikely(w.unveil))
            ret_last->may = walk_unveil_child(&w, last, len) ? walk_unveil_may(&w, true) : 0;
        *ret_dir = w.cur;
        w.cur = (struct path){0};
    }
    walk_end(&w);
    return r;
}
