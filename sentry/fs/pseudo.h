/* SPDX-License-Identifier: Apache-2.0
 * pseudo.h - file systems without storage: a tree of constant nodes whose content is generated.
 * proc, sysfs and devfs are such trees; proc adds directories that depend on processes. */
#ifndef FS_PSEUDO_H
#define FS_PSEUDO_H

#include <string.h>

#include <base/err.h>
#include <fs/fs.h>

#include "text.h"

struct pseudo_node;

/* What an inode of a dynamic directory stands for; zero elsewhere. Handed down to children. */
struct pseudo_key {
    int32_t pid, tid, fd;
    int32_t cpu, cache; /* sysfs */
    int64_t start_ns;   /* of the process: numbers are used again */
    uint32_t uid, gid;  /* owner */
};

struct pseudo_node {
    const char *name; /* NULL ends a list */
    uint32_t mode;    /* with type */
    uint64_t rdev;
    const struct pseudo_node *children;
    const char *fixed; /* constant content, or target of a link */
    /* Content, or target of a link. 0 or -errno. May park. */
    int (*show)(struct text *t, const struct pseudo_key *k);
    /* One write of at most PSEUDO_WRITE_MAX bytes, NUL-terminated. */
    int (*store)(const struct pseudo_key *k, const char *buf, size_t n);
    /* Magic link: the object itself, with references. */
    int (*follow)(const struct pseudo_key *k, struct path *ret);
    /* Children beyond the constant ones. lookup gives a reference; emit is called with ctx->pos >=
     * PSEUDO_DYNAMIC and emits what lies behind it. */
    struct inode *(*lookup)(struct inode *dir, const char *name, size_t len);
    /* Of a dynamic child: is what lookup gave for @k still what it would give? NULL: never known. */
    bool (*current)(const struct pseudo_key *k);
    int (*emit)(struct getdents_ctx *ctx, const struct pseudo_key *k);
    /* Devices: sets f->ops and f->private_data. */
    int (*open)(struct inode *i, struct file *f);
};
#define PSEUDO_DYNAMIC 0x10000 /* first readdir position of dynamic children */
#define PSEUDO_WRITE_MAX 4095u

#define PSEUDO_DIR(n, kids)                                     \
    {                                                           \
        .name = (n), .mode = S_IFDIR | 0555, .children = (kids) \
    }
#define PSEUDO_FILE(n, fn)                                \
    {                                                     \
        .name = (n), .mode = S_IFREG | 0444, .show = (fn) \
    }
#define PSEUDO_TEXT(n, text)                                 \
    {                                                        \
        .name = (n), .mode = S_IFREG | 0444, .fixed = (text) \
    }
#define PSEUDO_LINK(n, to)                                 \
    {                                                      \
        .name = (n), .mode = S_IFLNK | 0777, .fixed = (to) \
    }
#define PSEUDO_END   \
    {                \
        .name = NULL \
    }

/* Superblock whose root is @root (a directory). ERR_PTR(-ENOMEM). */
struct superblock *pseudo_superblock(const char *type, uint32_t magic, bool exclusive,
                                     const struct pseudo_node *root);
/* Inode of a node; ERR_PTR(-ENOMEM). */
struct inode *pseudo_inode(struct superblock *sb, const struct pseudo_node *node,
                           const struct pseudo_key *k);
const struct pseudo_key *pseudo_key(const struct inode *i);
const struct pseudo_node *pseudo_node(const struct inode *i);
/* A decimal number without sign or leading zeros, as names of dynamic directories. -1: it is none.
 */
int32_t pseudo_number(const char *name, size_t len);

#endif
