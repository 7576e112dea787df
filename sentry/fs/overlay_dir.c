/* SPDX-License-Identifier: Apache-2.0
 * overlay_dir.c - names in the overlay: lookup through table and lower, and their changes.
 *
 * An entry of the table says what the name means now; over_lower says that the lower has the name
 * too, so that its removal must leave a whiteout. A name without an entry means what the lower
 * says. */
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "overlay.h"

struct inode *ov_lookup(struct inode *dir, const char *name, size_t len)
{
    struct ov_inode *oi = ov_i(dir);
    struct dir_entry *e = dirtable_find(&oi->dir, name, len);
    if (e)
        return e->inode ? inode_get(e->inode) : ERR_PTR(-ENOENT);
    struct inode *lower = oi->lower;
    if (!lower || !lower->ops->lookup)
        return ERR_PTR(-ENOENT);
    fmutex_lock(&lower->lock);
    struct inode *i = lower->ops->lookup(lower, name, len);
    fmutex_unlock(&lower->lock);
    return IS_ERR(i) ? i : ov_from_lower(dir->sb, i);
}

static void dir_changed(struct inode *dir, int nlink)
{
    spin_lock(&dir->attr_lock);
    bool counts = dir->attr.nlink > 1; /* 1: the lower does not count subdirectories */
    spin_unlock(&dir->attr_lock);
    inode_touch(dir, TOUCH_MTIME | TOUCH_CTIME);
    if (nlink && counts)
        inode_add_nlink(dir, nlink);
}

/* The entry of a name, made if need be so that it says what is true now: @current (NULL: nothing).
 * NULL: no memory. */
static struct dir_entry *entry_get(struct inode *dir, const char *name, size_t len,
                                   struct inode *current)
{
    struct dirtable *t = &ov_i(dir)->dir;
    struct dir_entry *e = dirtable_find(t, name, len);
    if (e)
        return e;
    e = dirtable_add(t, name, len, NULL);
    if (!e)
        return NULL;
    if (current) { /* there was no entry: the lower's */
        e->inode = inode_get(current);
        e->over_lower = true;
    }
    return e;
}

/* The name means nothing now: a whiteout, or no entry at all. */
static void entry_clear(struct inode *dir, struct dir_entry *e)
{
    struct inode *i = e->inode;
    e->inode = NULL;
    if (!e->over_lower)
        dirtable_remove(&ov_i(dir)->dir, e);
    inode_put(i);
}

/* New object under a name that means nothing now; takes over @i, gives a reference. */
static struct inode *entry_make(struct inode *dir, const char *name, size_t len, struct inode *i)
{
    if (IS_ERR(i))
        return i;
    int r = ov_own(dir);
    struct dir_entry *e = r == 0 ? entry_get(dir, name, len, NULL) : NULL;
    if (!e) {
        inode_put(i);
        return ERR_PTR(r < 0 ? r : -ENOSPC);
    }
    e->inode = i;
    dir_changed(dir, S_ISDIR(inode_type(i)) ? 1 : 0);
    return inode_get(i);
}

struct inode *ov_mknod(struct inode *dir, const char *name, size_t len, uint32_t mode,
                       uint64_t rdev, const struct cred *c)
{
    uint32_t uid, gid;
    inode_init_owner(dir, &mode, c, &uid, &gid);
    return entry_make(dir, name, len, ov_new(dir->sb, mode, uid, gid, S_ISDIR(mode) ? 2 : 1, rdev));
}

struct inode *ov_create(struct inode *dir, const char *name, size_t len, uint32_t mode,
                        const struct cred *c)
{
    return ov_mknod(dir, name, len, mode, 0, c);
}

struct inode *ov_symlink(struct inode *dir, const char *name, size_t len, const char *target,
                         const struct cred *c)
{
    uint32_t uid, gid, mode = S_IFLNK | 0777;
    inode_init_owner(dir, &mode, c, &uid, &gid);
    struct inode *i = ov_new(dir->sb, mode, uid, gid, 1, 0);
    if (IS_ERR(i))
        return i;
    ov_i(i)->target = strdup(target);
    i->attr.size = strlen(target);
    if (!ov_i(i)->target) {
        inode_put(i);
        return ERR_PTR(-ENOMEM);
    }
    return entry_make(dir, name, len, i);
}

struct inode *ov_tmpfile(struct inode *dir, uint32_t mode, const struct cred *c)
{
    uint32_t uid, gid;
    inode_init_owner(dir, &mode, c, &uid, &gid);
    return ov_new(dir->sb, mode, uid, gid, 0, 0);
}

int ov_link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
    int r = ov_own(dir);
    if (r == 0)
        r = ov_own(target);
    if (r < 0)
        return r;
    struct dir_entry *e = entry_get(dir, name, len, NULL);
    if (!e)
        return -ENOSPC;
    e->inode = inode_get(target);
    inode_add_nlink(target, 1);
    dir_changed(dir, 0);
    return 0;
}

/* One name of @i fewer. It is own already. */
static void name_lost(struct inode *i)
{
    spin_lock(&i->attr_lock);
    uint32_t nlink = i->attr.nlink;
    spin_unlock(&i->attr_lock);
    bool last = S_ISDIR(inode_type(i)) || nlink <= 1;
    inode_add_nlink(i, last ? -(int)nlink : -1);
    if (last)
        ov_unpin(i);
}

static int entry_remove(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    int r = ov_own(dir);
    if (r == 0)
        r = ov_own(victim);
    if (r < 0)
        return r;
    struct dir_entry *e = entry_get(dir, name, len, victim);
    if (!e)
        return -ENOSPC;
    if (e->inode != victim)
        return -ENOENT;
    entry_clear(dir, e);
    name_lost(victim);
    dir_changed(dir, S_ISDIR(inode_type(victim)) ? -1 : 0);
    return 0;
}

int ov_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    return entry_remove(dir, name, len, victim);
}

int ov_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    int r = ov_dir_empty(victim);
    return r < 0 ? r : entry_remove(dir, name, len, victim);
}

static int own_all(struct inode *const list[4])
{
    int r = 0;
    for (unsigned k = 0; k < 4 && r == 0; k++)
        if (list[k])
            r = ov_own(list[k]);
    return r;
}

int ov_rename(struct inode *odir, const char *oname, size_t olen, struct inode *src,
              struct inode *ndir, const char *nname, size_t nlen, struct inode *dst, uint32_t flags)
{
    bool src_dir = S_ISDIR(inode_type(src)), dst_dir = dst && S_ISDIR(inode_type(dst));
    bool exchange = (flags & RENAME_EXCHANGE) != 0;
    int r = dst_dir && !exchange ? ov_dir_empty(dst) : 0;
    if (r == 0)
        r = own_all((struct inode *const[4]){odir, ndir, src, dst});
    if (r < 0)
        return r;
    struct dir_entry *from = entry_get(odir, oname, olen, src);
    struct dir_entry *to = from ? entry_get(ndir, nname, nlen, dst) : NULL;
    if (!to)
        return -ENOSPC;
    if (from->inode != src || to->inode != dst)
        return -ENOENT;
    to->inode = src; /* from here nothing fails: references change hands */
    from->inode = exchange ? dst : NULL;
    if (!exchange && !from->over_lower)
        dirtable_remove(&ov_i(odir)->dir, from);
    if (dst && !exchange) {
        name_lost(dst);
        inode_put(dst);
    }
    int moved = src_dir - (exchange && dst_dir);
    bool same = odir == ndir;
    dir_changed(odir, same ? 0 : -moved);
    dir_changed(ndir, (same ? 0 : moved) - (dst_dir && !exchange));
    inode_touch(src, TOUCH_CTIME);
    if (exchange)
        inode_touch(dst, TOUCH_CTIME);
    return 0;
}
