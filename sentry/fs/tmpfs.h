/* SPDX-License-Identifier: Apache-2.0
 * tmpfs.h - private: in-memory inodes, also the upper side of the overlay. */
#ifndef FS_TMPFS_H
#define FS_TMPFS_H

#include <base/checked.h>
#include <base/err.h>
#include <fs/fs.h>
#include <host/memfile.h>
#include <kernel/task.h>

#include "dirtable.h"
#include "xattr.h"

#define TMPFS_MAGIC 0x01021994u
#define TMPFS_FILE_MAX INT64_MAX
#define TMPFS_INODES_MAX 1000000u /* of one superblock */

/* One contiguous range of the memory file. */
struct tmpfs_chunk {
    uint64_t index;  /* chunk number, see tmpfs_data.c */
    uint64_t off;    /* in the memory file */
    uint64_t used[]; /* bitmap: pages that hold data; the others are holes */
};

struct tmpfs_sb {
    uint64_t limit_pages; /* 0: none */
    _Atomic(uint64_t) used_pages, inodes, next_ino;
};

struct tmpfs_inode {
    struct inode *vfs; /* the inode this belongs to */
    struct mappable map;
    struct spin lock;            /* RANK_OBJECT: chunks, seals */
    struct tmpfs_chunk **chunks; /* by index */
    size_t chunk_count, chunk_capacity;
    uint32_t seals;
    bool sealable;
    char *map_path; /* for /proc/PID/maps, with the next two; lock */
    uint64_t map_dev, map_ino;
    _Atomic(bool) map_written; /* may have been, through a mapping: times do not tell */
    struct dirtable dir;       /* vfs->lock */
    struct xattrs xattrs;      /* vfs->lock */
    char *target;              /* symlink */
};

extern struct memfile *g_fs_memfile;

static inline struct tmpfs_inode *tmpfs_i(const struct inode *i)
{
    return i->private_data;
}
static inline struct tmpfs_sb *tmpfs_s(const struct superblock *sb)
{
    return sb->private_data;
}

/* Inode without a name; nlink as given. ERR_PTR(-ENOSPC, -ENOMEM). */
struct inode *tmpfs_inode_new(struct superblock *sb, uint32_t mode, uint32_t uid, uint32_t gid,
                              uint32_t nlink, uint64_t rdev);
/* Move the children of @dir into @to's table under no names: a tree is taken apart without recursion. */
void tmpfs_flatten(struct dirtable *to, struct dirtable *dir);
int tmpfs_setattr(struct inode *i, const struct setattr *s, const struct cred *c);

/* --- tmpfs_data.c --- */
extern const struct file_ops tmpfs_file_ops;
void tmpfs_data_init(struct tmpfs_inode *ti);
void tmpfs_data_free(struct tmpfs_inode *ti);
/* i->lock held. */
int tmpfs_data_resize(struct inode *i, uint64_t size);
struct mappable *tmpfs_mappable(struct inode *i);

#endif
