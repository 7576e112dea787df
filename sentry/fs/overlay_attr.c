/* SPDX-License-Identifier: Apache-2.0
 * overlay_attr.c - attributes, copy-up, opening, extended attributes of the overlay.
 *
 * Of a regular file with data in memory, size, blocks and times are the upper's; owner, mode, link
 * count and numbers are the overlay inode's. Files are opened on the lower or the upper directly:
 * the open file's inode is replaced, so reads and writes cost nothing more. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "overlay.h"

#define COPY_CHUNK (256u << 10)
#define XATTR_LIST_BYTES 65536u

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

int ov_getattr(struct inode *i, struct attr *ret)
{
    struct ov_inode *oi = ov_i(i);
    spin_lock(&i->attr_lock);
    *ret = i->attr;
    bool own = oi->own;
    struct inode *upper = oi->upper;
    spin_unlock(&i->attr_lock);
    if (upper) {
        struct attr u;
        inode_attr(upper, &u);
        ret->size = u.size;
        ret->blocks = u.blocks;
        ret->atime = u.atime;
        ret->mtime = u.mtime;
        if (later(u.ctime, ret->ctime))
            ret->ctime = u.ctime;
    } else if (!own) {
        int r = inode_getattr(oi->lower, ret);
        if (r < 0)
            return r;
        ret->dev = i->sb->dev;
    }
    return 0;
}

/* An open file on a bare inode, for the kernel's own use. */
static struct file *inode_open(struct inode *i, uint32_t flags)
{
    struct file *f = file_new(NULL, NULL, flags);
    if (IS_ERR(f))
        return f;
    f->inode = inode_get(i);
    int r = i->ops->open ? i->ops->open(i, f) : -ENXIO;
    if (r == 0)
        return f;
    static const struct file_ops none = {.name = "none"};
    f->ops = &none;
    file_put(f);
    return ERR_PTR(r);
}

static bool all_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int copy_data(struct inode *lower, struct inode *upper, uint64_t size)
{
    struct file *from AUTO_PUT(file) = inode_open(lower, O_RDONLY);
    struct file *to AUTO_PUT(file) = inode_open(upper, O_RDWR);
    if (IS_ERR(from) || IS_ERR(to))
        return IS_ERR(from) ? PTR_ERR(from) : PTR_ERR(to);
    char *buf autofree = malloc(MIN(size, (uint64_t)COPY_CHUNK) + 1);
    if (!buf)
        return -ENOMEM;
    for (uint64_t off = 0; off < size;) {
        size_t want = (size_t)MIN(size - off, (uint64_t)COPY_CHUNK);
        ssize_t n = file_pread_kernel(from, buf, want, (int64_t)off);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break; /* shorter than it said */
        if (!all_zero(buf, (size_t)n)) {
            ssize_t w = file_pwrite_kernel(to, buf, (size_t)n, (int64_t)off);
            if (w != n)
                return w < 0 ? (int)w : -ENOSPC;
        }
        off += (uint64_t)n;
    }
    return 0;
}

int ov_copy_up(struct inode *i, uint64_t size)
{
    struct ov_inode *oi = ov_i(i);
    if (oi->upper)
        return 0;
    int r = ov_own(i);
    if (r < 0)
        return r;
    struct attr a;
    inode_attr(i, &a);
    struct inode *upper = tmpfs_inode_new(ov_s(i->sb)->upper, a.mode, a.uid, a.gid, 1, 0);
    if (IS_ERR(upper))
        return PTR_ERR(upper);
    size = MIN(size, a.size);
    r = copy_data(oi->lower, upper, size);
    if (r == 0) {
        struct setattr s = {.valid = ATTR_SIZE | ATTR_ATIME | ATTR_MTIME,
                            .size = size,
                            .atime = a.atime,
                            .mtime = a.mtime};
        r = inode_setattr(upper, &s, NULL);
    }
    if (r < 0) {
        inode_put(upper);
        return r;
    }
    spin_lock(&i->attr_lock);
    oi->upper = upper;
    spin_unlock(&i->attr_lock);
    return 0;
}

int ov_setattr(struct inode *i, const struct setattr *s, const struct cred *c)
{
    int r = ov_own(i);
    if (r == 0 && (s->valid & ATTR_SIZE))
        r = ov_copy_up(i, s->size);
    struct inode *upper = ov_upper(i);
    if (r == 0 && upper)
        r = inode_setattr(upper, s, c);
    if (r < 0)
        return r;
    int64_t ns = clock_now_ns(CLOCK_REALTIME);
    struct timespec now = {ns / 1000000000, ns % 1000000000};
    spin_lock(&i->attr_lock);
    struct attr *a = &i->attr;
    if (s->valid & ATTR_MODE)
        a->mode = (a->mode & S_IFMT) | (s->mode & 07777);
    if (s->valid & ATTR_UID)
        a->uid = s->uid;
    if (s->valid & ATTR_GID)
        a->gid = s->gid;
    if (s->valid & (ATTR_ATIME | ATTR_ATIME_NOW))
        a->atime = s->valid & ATTR_ATIME_NOW ? now : s->atime;
    if (s->valid & (ATTR_MTIME | ATTR_MTIME_NOW))
        a->mtime = s->valid & ATTR_MTIME_NOW ? now : s->mtime;
    a->ctime = now;
    spin_unlock(&i->attr_lock);
    return 0;
}

int ov_open(struct inode *i, struct file *f)
{
    struct ov_inode *oi = ov_i(i);
    if (S_ISDIR(inode_type(i))) {
        f->ops = &ov_dir_ops;
        return 0;
    }
    if (S_ISREG(inode_type(i)) && ((f->flags & O_ACCMODE) != O_RDONLY || (f->flags & O_TRUNC))) {
        fmutex_lock(&i->lock);
        int r = ov_copy_up(i, f->flags & O_TRUNC ? 0 : UINT64_MAX);
        fmutex_unlock(&i->lock);
        if (r < 0)
            return r;
    }
    struct inode *data = ov_upper(i);
    if (!data)
        data = oi->lower;
    if (!data || !data->ops->open)
        return -ENXIO;
    inode_get(data);
    inode_put(f->inode);
    f->inode = data;
    return data->ops->open(data, f);
}

/* --- extended attributes --- */

ssize_t ov_getxattr(struct inode *i, const char *name, void *buf, size_t size)
{
    struct ov_inode *oi = ov_i(i);
    struct inode *l = oi->lower;
    if (oi->own_xattrs || !l)
        return xattrs_get(&oi->xattrs, name, buf, size);
    return l->ops->getxattr ? l->ops->getxattr(l, name, buf, size) : -EOPNOTSUPP;
}

static int copy_xattr(struct ov_inode *oi, const char *name, char *buf)
{
    struct inode *l = oi->lower;
    if (!xattr_name_supported(name))
        return 0;
    ssize_t n = l->ops->getxattr(l, name, buf, XATTR_LIST_BYTES);
    if (n < 0)
        return n == -ENODATA || n == -EOPNOTSUPP ? 0 : (int)n;
    return xattrs_set(&oi->xattrs, name, buf, (size_t)n, 0);
}

/* All of the lower's into memory. */
static int own_xattrs(struct inode *i)
{
    struct ov_inode *oi = ov_i(i);
    struct inode *l = oi->lower;
    if (oi->own_xattrs)
        return 0;
    int r = ov_own(i);
    if (r == 0 && l && l->ops->listxattr && l->ops->getxattr) {
        char *list autofree = malloc(XATTR_LIST_BYTES + 1);
        char *value autofree = malloc(XATTR_LIST_BYTES);
        if (!list || !value)
            return -ENOMEM;
        ssize_t n = l->ops->listxattr(l, list, XATTR_LIST_BYTES);
        if (n < 0 && n != -EOPNOTSUPP)
            return (int)n;
        list[n < 0 ? 0 : n] = 0; /* the lower's list may lack the last NUL */
        for (char *p = list; r == 0 && p < list + n; p += strlen(p) + 1)
            r = copy_xattr(oi, p, value);
    }
    if (r == 0)
        oi->own_xattrs = true;
    else
        xattrs_free(&oi->xattrs);
    return r;
}

int ov_setxattr(struct inode *i, const char *name, const void *buf, size_t size, int flags)
{
    int r = own_xattrs(i);
    if (r == 0)
        r = xattrs_set(&ov_i(i)->xattrs, name, buf, size, flags);
    if (r == 0)
        inode_touch(i, TOUCH_CTIME);
    return r;
}

ssize_t ov_listxattr(struct inode *i, char *buf, size_t size)
{
    struct ov_inode *oi = ov_i(i);
    struct inode *l = oi->lower;
    if (oi->own_xattrs || !l)
        return xattrs_list(&oi->xattrs, buf, size);
    return l->ops->listxattr ? l->ops->listxattr(l, buf, size) : 0;
}

int ov_removexattr(struct inode *i, const char *name)
{
    int r = own_xattrs(i);
    if (r == 0)
        r = xattrs_remove(&ov_i(i)->xattrs, name);
    if (r == 0)
        inode_touch(i, TOUCH_CTIME);
    return r;
}
