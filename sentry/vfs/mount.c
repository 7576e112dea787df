/* SPDX-License-Identifier: Apache-2.0
 * mount.c - the tree of mounts, and struct path.
 *
 * A mount is a superblock's dentry tree (or part of it) put on a place of another mount. The walk
 * asks only where dentry.mounts says that something is mounted. A removed mount leaves the tree at
 * once and lives on while paths hold it.
 *
 * Locks: g_mounts (spin, RANK_MOUNTS) guards the list, parents and places.
 * Leaves out: propagation, mount namespaces. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "vfs_internal.h"

static struct spin g_mounts = SPIN_INIT(RANK_MOUNTS);
static struct list_head mounts = LIST_HEAD_INIT(mounts);
static uint32_t mount_count;
static uint32_t mount_next_id = 20;

void mount_init(void)
{
    spin_init(&g_mounts, RANK_MOUNTS);
}

struct mount *mount_get(struct mount *m)
{
    refcount_get(&m->ref);
    return m;
}

void mount_put(struct mount *m)
{
    while (m && refcount_put(&m->ref)) {
        struct mount *parent = m->parent;
        if (m->at) {
            m->at->mounts--;
            dentry_put(m->at);
        }
        if (!m->root->parent && refcount_read(&m->sb->ref) == 1)
            dentry_prune_all(m->root);
        dentry_put(m->root);
        superblock_put(m->sb);
        free(m);
        m = parent;
    }
}

void path_get(const struct path *p)
{
    if (p->mnt)
        mount_get(p->mnt);
    if (p->dentry)
        dentry_get(p->dentry);
}

void path_put(struct path *p)
{
    struct path old = *p;
    *p = (struct path){0};
    dentry_put(old.dentry);
    mount_put(old.mnt);
}

struct inode *path_inode(const struct path *p)
{
    return p->dentry ? p->dentry->inode : NULL;
}

uint32_t path_mount_flags(const struct path *p)
{
    return (p->mnt->flags) | (p->mnt->sb->read_only ? (uint32_t)MS_RDONLY : 0);
}

bool path_deleted(const struct path *p)
{
    spin_lock(&g_dentry_tree);
    bool r = p->dentry->deleted;
    spin_unlock(&g_dentry_tree);
    return r;
}

int path_want_write(const struct path *p)
{
    return path_mount_flags(p) & MS_RDONLY ? -EROFS : 0;
}

/* Takes the superblock; root: reference taken over. */
static struct mount *mount_new(struct superblock *sb, struct dentry *root, uint32_t flags)
{
    struct mount *m = root ? calloc(1, sizeof(*m)) : NULL;
    if (!m) {
        dentry_put(root);
        superblock_put(sb);
        return ERR_PTR(-ENOMEM);
    }
    refcount_init(&m->ref);
    m->sb = sb;
    m->root = root;
    m->flags = flags;
    list_init(&m->link);
    return m;
}

static struct dentry *root_dentry(struct superblock *sb)
{
    struct dentry *d = dentry_new(NULL, "/", 1, inode_get(sb->root));
    if (!d)
        inode_put(sb->root);
    return d;
}

/* Into the tree. Consumes the reference of m, which becomes the tree's. */
static int mount_attach(struct mount *m, const struct path *at)
{
    int r = 0;
    struct path place = {0};
    if (at) {
        place = *at;
        path_get(&place);
        mount_follow_down(&place);
    }
    spin_lock(&g_mounts);
    if (mount_count >= MOUNTS_MAX)
        r = -ENOSPC;
    else if (at && (!place.mnt->attached || place.dentry->deleted))
        r = -ENOENT;
    if (r == 0) {
        mount_count++;
        m->id = mount_next_id++;
        m->attached = true;
        if (at) {
            m->parent = place.mnt;
            m->at = place.dentry;
            m->at->mounts++;
            place = (struct path){0};
        }
        list_add_tail(&m->link, &mounts);
    }
    spin_unlock(&g_mounts);
    path_put(&place);
    if (r < 0)
        mount_put(m);
    return r;
}

int mount_root(struct superblock *sb, struct path *ret)
{
    struct mount *m = mount_new(sb, root_dentry(sb), 0);
    if (IS_ERR(m))
        return PTR_ERR(m);
    mount_get(m);
    int r = mount_attach(m, NULL);
    if (r < 0) {
        mount_put(m);
        return r;
    }
    *ret = (struct path){m, dentry_get(m->root)};
    return 0;
}

int mount_internal(struct superblock *sb, struct path *ret_root)
{
    struct mount *m = mount_new(sb, root_dentry(sb), 0);
    if (IS_ERR(m))
        return PTR_ERR(m);
    m->internal = true;
    *ret_root = (struct path){m, dentry_get(m->root)};
    return 0;
}

int mount_add(struct superblock *sb, const struct path *at, uint32_t flags)
{
    if (S_ISDIR(inode_type(sb->root)) != path_is_dir(at)) {
        superblock_put(sb);
        return -ENOTDIR;
    }
    struct mount *m = mount_new(sb, root_dentry(sb), flags);
    return IS_ERR(m) ? PTR_ERR(m) : mount_attach(m, at);
}

int mount_bind(const struct path *src, const struct path *at, uint32_t flags)
{
    if (path_is_dir(src) != path_is_dir(at))
        return -ENOTDIR;
    struct mount *m =
        mount_new(superblock_get(src->mnt->sb), dentry_get(src->dentry), src->mnt->flags | flags);
    return IS_ERR(m) ? PTR_ERR(m) : mount_attach(m, at);
}

static bool mount_has_children(const struct mount *m)
{
    struct mount *c;
    list_for_each_entry (c, &mounts, link)
        if (c->parent == m)
            return true;
    return false;
}

int mount_remove(const struct path *at, int flags)
{
    struct mount *m = at->mnt;
    int r = 0;
    spin_lock(&g_mounts);
    if (at->dentry != m->root || !m->attached)
        r = -EINVAL;
    else if (!m->parent || mount_has_children(m))
        r = -EBUSY;
    else if (!(flags & MNT_DETACH) && refcount_read(&m->ref) > 2) /* the tree's and @at's */
        r = -EBUSY;
    if (r == 0) {
        list_del(&m->link);
        m->attached = false;
        mount_count--;
        m->at->mounts--;
    }
    struct mount *parent = NULL;
    struct dentry *place = NULL;
    if (r == 0) {
        parent = steal(m->parent);
        place = steal(m->at);
    }
    spin_unlock(&g_mounts);
    if (r < 0)
        return r;
    dentry_put(place);
    mount_put(parent);
    mount_put(m);
    return 0;
}

int mount_remount(const struct path *at, uint32_t flags)
{
    if (at->dentry != at->mnt->root)
        return -EINVAL;
    spin_lock(&g_mounts);
    at->mnt->flags = flags;
    spin_unlock(&g_mounts);
    return 0;
}

bool mount_follow_down(struct path *p)
{
    bool crossed = false;
    while (p->dentry->mounts) {
        struct mount *found = NULL, *m;
        spin_lock(&g_mounts);
        list_for_each_entry (m, &mounts, link)
            if (m->parent == p->mnt && m->at == p->dentry)
                found = m;
        if (found)
            mount_get(found);
        spin_unlock(&g_mounts);
        if (!found)
            return crossed;
        path_put(p);
        *p = (struct path){found, dentry_get(found->root)};
        crossed = true;
    }
    return crossed;
}

bool mount_follow_up(struct path *p)
{
    struct path up = {0};
    spin_lock(&g_mounts);
    if (p->mnt->parent) {
        up = (struct path){p->mnt->parent, p->mnt->at};
        path_get(&up);
    }
    spin_unlock(&g_mounts);
    if (!up.mnt)
        return false;
    path_put(p);
    *p = up;
    return true;
}

bool mount_beneath(struct dentry *d)
{
    struct mount *m;
    bool found = false;
    spin_lock(&g_dentry_tree);
    bool leaf = list_empty(&d->children);
    spin_unlock(&g_dentry_tree);
    if (leaf)
        return false;
    spin_lock(&g_mounts);
    list_for_each_entry (m, &mounts, link)
        found |= m->at && dentry_is_ancestor(d, m->at);
    spin_unlock(&g_mounts);
    return found;
}

void mount_forget(const char *type, const char *name)
{
    for (unsigned n = 0;; n++) {
        struct mount *m, *found = NULL;
        unsigned i = 0;
        spin_lock(&g_mounts);
        list_for_each_entry (m, &mounts, link)
            if (!m->root->parent && strcmp(m->sb->type, type) == 0 && i++ == n)
                found = mount_get(m);
        spin_unlock(&g_mounts);
        if (!found)
            return;
        struct dentry *d = dentry_find(found->root, name, strlen(name));
        if (d && !d->mounts && !mount_beneath(d)) {
            dentry_prune_all(d);
            dentry_drop(d);
        }
        dentry_put(d);
        mount_put(found);
    }
}

bool mount_info(unsigned n, struct mount_info *ret)
{
    struct mount *m, *found = NULL;
    spin_lock(&g_mounts);
    list_for_each_entry (m, &mounts, link)
        if (n-- == 0) {
            found = mount_get(m);
            break;
        }
    uint32_t parent = found && found->parent ? found->parent->id : 0;
    spin_unlock(&g_mounts);
    if (!found)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->id = found->id;
    ret->parent = parent ? parent : found->id;
    ret->dev = found->sb->dev;
    ret->type = found->sb->type;
    snprintf(ret->source, sizeof(ret->source), "%s",
             found->sb->source[0] ? found->sb->source : found->sb->type);
    struct path p = {found, dentry_get(found->root)};
    if (path_format(NULL, &p, ret->target, sizeof(ret->target), false) < 0)
        snprintf(ret->target, sizeof(ret->target), "/");
    bool ro = (path_mount_flags(&p) & MS_RDONLY) != 0;
    snprintf(ret->options, sizeof(ret->options), "%s%s%s%s,relatime", ro ? "ro" : "rw",
             found->flags & MS_NOSUID ? ",nosuid" : "", found->flags & MS_NODEV ? ",nodev" : "",
             found->flags & MS_NOEXEC ? ",noexec" : "");
    path_put(&p);
    return true;
}

/* --- fs_struct --- */

struct fs_struct *fs_struct_new(const struct path *root, const struct path *cwd, uint32_t umask)
{
    struct fs_struct *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    refcount_init(&f->ref);
    spin_init(&f->lock, RANK_LEAF);
    f->root = *root;
    f->cwd = *cwd;
    f->umask = umask;
    path_get(&f->root);
    path_get(&f->cwd);
    return f;
}

struct fs_struct *fs_struct_copy(struct fs_struct *f)
{
    struct path root, cwd;
    spin_lock(&f->lock);
    root = f->root;
    cwd = f->cwd;
    path_get(&root);
    path_get(&cwd);
    uint32_t umask = f->umask;
    spin_unlock(&f->lock);
    struct fs_struct *n = fs_struct_new(&root, &cwd, umask);
    path_put(&root);
    path_put(&cwd);
    return n;
}

struct fs_struct *fs_struct_get(struct fs_struct *f)
{
    refcount_get(&f->ref);
    return f;
}

void fs_struct_put(struct fs_struct *f)
{
    if (!f || !refcount_put(&f->ref))
        return;
    path_put(&f->cwd);
    path_put(&f->root);
    free(f);
}

int vfs_init(void)
{
    dentry_init();
    mount_init();
    return 0;
}
