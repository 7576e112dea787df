/* SPDX-License-Identifier: Apache-2.0
 * overlay.h - private: a lower file system that is never written, changes in memory. */
#ifndef FS_OVERLAY_H
#define FS_OVERLAY_H

#include "tmpfs.h"

#define OVERLAY_MAGIC 0x794c7630u
#define OVERLAY_BUCKETS 4096u
#define OVERLAY_INO_SHIFT \
    40                           /* numbers of files without a lower: superblock << 40 | n, so that
                              * overlays can be stacked */
#define OVERLAY_DIR_MAX 4000000u /* names of one listing */

struct ov_sb {
    struct superblock *lower, *upper; /* references */
    _Atomic(uint64_t) next_ino;
    struct spin lock; /* RANK_OBJECT: buckets */
    struct list_head buckets[OVERLAY_BUCKETS];
};

struct ov_inode {
    struct inode *vfs;
    struct inode *lower;        /* reference or NULL; never changes */
    struct inode *upper;        /* data of a regular file, once written; vfs->attr_lock */
    _Atomic(bool) own;          /* vfs->attr counts, not the lower's; attr_lock */
    bool pinned;                /* holds a reference to itself; attr_lock */
    struct list_head hash_link; /* by lower's (dev, ino); ov_sb.lock */
    struct dirtable dir;        /* changed names; NULL inode: whiteout. vfs->lock */
    struct xattrs xattrs;       /* vfs->lock */
    bool own_xattrs;
    char *target;
};

static inline struct ov_inode *ov_i(const struct inode *i)
{
    return i->private_data;
}
static inline struct ov_sb *ov_s(const struct superblock *sb)
{
    return sb->private_data;
}

extern const struct inode_ops ov_ops;
extern const struct file_ops ov_dir_ops;

/* Overlay inode of a lower one (reference taken over), the same for the same file. ERR_PTR. */
struct inode *ov_from_lower(struct superblock *sb, struct inode *lower);
/* New object without lower. */
struct inode *ov_new(struct superblock *sb, uint32_t mode, uint32_t uid, uint32_t gid,
                     uint32_t nlink, uint64_t rdev);
/* From now on the overlay's attributes count and the inode stays in memory. 0, -errno. */
int ov_own(struct inode *i);
void ov_unpin(struct inode *i);          /* no name leads to it any more */
struct inode *ov_upper(struct inode *i); /* borrowed, or NULL */
/* Regular file: data into memory, at most @size bytes of it. i->lock held. */
int ov_copy_up(struct inode *i, uint64_t size);

/* --- overlay_attr.c --- */
int ov_getattr(struct inode *i, struct attr *ret);
int ov_setattr(struct inode *i, const struct setattr *s, const struct cred *c);
int ov_open(struct inode *i, struct file *f);
ssize_t ov_getxattr(struct inode *i, const char *name, void *buf, size_t size);
int ov_setxattr(struct inode *i, const char *name, const void *buf, size_t size, int flags);
ssize_t ov_listxattr(struct inode *i, char *buf, size_t size);
int ov_removexattr(struct inode *i, const char *name);

/* --- overlay_dir.c --- */
struct inode *ov_lookup(struct inode *dir, const char *name, size_t len);
struct inode *ov_create(struct inode *dir, const char *name, size_t len, uint32_t mode,
                        const struct cred *c);
struct inode *ov_mknod(struct inode *dir, const char *name, size_t len, uint32_t mode,
                       uint64_t rdev, const struct cred *c);
struct inode *ov_symlink(struct inode *dir, const char *name, size_t len, const char *target,
                         const struct cred *c);
struct inode *ov_tmpfile(struct inode *dir, uint32_t mode, const struct cred *c);
int ov_link(struct inode *dir, const char *name, size_t len, struct inode *target);
int ov_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim);
int ov_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim);
int ov_rename(struct inode *odir, const char *oname, size_t olen, struct inode *src,
              struct inode *ndir, const char *nname, size_t nlen, struct inode *dst,
              uint32_t flags);

/* --- overlay_list.c --- */
struct ov_list;
void ov_list_free(struct ov_list *l);
/* Is the merged directory empty? 0, -ENOTEMPTY, -errno. dir->lock held. */
int ov_dir_empty(struct inode *dir);

#endif
