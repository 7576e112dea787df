/* SPDX-License-Identifier: Apache-2.0
 * pseudo.c - trees of generated files (pseudo.h).
 *
 * An inode points to its constant node and carries a key (which process, which descriptor). The
 * content of a file is generated at the first read and again whenever somebody reads from position
 * 0, so a program that keeps /proc/stat open and rewinds sees new numbers, and one that reads in
 * pieces sees one consistent text.
 *
 * Names come from the guest and are compared with constants or parsed as numbers; writes are
 * bounded copies. Locks: the open file's text_lock (RANK_FILE) around generating. */
#include "pseudo.h"

#include <stdlib.h>

#include <base/hash.h>
#include <kernel/task.h>

struct pseudo_inode_data {
    const struct pseudo_node *node;
    struct pseudo_key key;
};

struct pseudo_open {
    struct fmutex text_lock;
    struct text text;
    bool filled;
};

static const struct inode_ops pseudo_dir_ops, pseudo_file_inode_ops, pseudo_link_ops,
    pseudo_magic_ops;

const struct pseudo_node *pseudo_node(const struct inode *i)
{
    return ((const struct pseudo_inode_data *)i->private_data)->node;
}

const struct pseudo_key *pseudo_key(const struct inode *i)
{
    return &((const struct pseudo_inode_data *)i->private_data)->key;
}

int32_t pseudo_number(const char *name, size_t len)
{
    int32_t n = 0;

    if (!len || len > 9 || (name[0] == '0' && len > 1))
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9')
            return -1;
        n = n * 10 + (name[i] - '0');
    }
    return n;
}

/* The same object has the same number as long as it lives. */
static uint64_t pseudo_ino(const struct pseudo_node *node, const struct pseudo_key *k)
{
    uint64_t h = hash_u64((uint64_t)(uintptr_t)node);

    h = hash_u64(h ^ ((uint64_t)(uint32_t)k->pid << 32 | (uint32_t)k->tid));
    h = hash_u64(h ^ (uint64_t)k->start_ns ^ (uint64_t)(uint32_t)k->fd);
    h = hash_u64(h ^ ((uint64_t)(uint32_t)k->cpu << 32 | (uint32_t)k->cache));
    return (h & 0xffffffffffff) | 1;
}

struct inode *pseudo_inode(struct superblock *sb, const struct pseudo_node *node,
                           const struct pseudo_key *k)
{
    static const struct pseudo_key none;
    struct pseudo_inode_data *d = calloc(1, sizeof(*d));

    if (!d)
        return ERR_PTR(-ENOMEM);
    d->node = node;
    d->key = k ? *k : none;
    int64_t now = clock_now_ns(CLOCK_REALTIME);
    struct attr a = {.ino = pseudo_ino(node, &d->key),
                     .dev = sb->dev,
                     .mode = node->mode,
                     .nlink = S_ISDIR(node->mode) ? 2 : 1,
                     .uid = d->key.uid,
                     .gid = d->key.gid,
                     .rdev = node->rdev,
                     .blksize = 4096};
    a.mtime = (struct timespec){now / 1000000000, now % 1000000000};
    a.atime = a.ctime = a.btime = a.mtime;
    const struct inode_ops *ops = S_ISDIR(node->mode)    ? &pseudo_dir_ops
                                  : !S_ISLNK(node->mode) ? &pseudo_file_inode_ops
                                  : node->follow         ? &pseudo_magic_ops
                                                         : &pseudo_link_ops;
    struct inode *i = inode_new(sb, ops, &a, d);
    if (!i) {
        free(d);
        return ERR_PTR(-ENOMEM);
    }
    return i;
}

static void pseudo_release(struct inode *i)
{
    free(i->private_data);
}

/* --- directories --- */

static struct inode *pseudo_lookup(struct inode *dir, const char *name, size_t len)
{
    const struct pseudo_node *node = pseudo_node(dir), *n;

    for (n = node->children; n && n->name; n++)
        if (strlen(n->name) == len && !memcmp(n->name, name, len))
            return pseudo_inode(dir->sb, n, pseudo_key(dir));
    return node->lookup ? node->lookup(dir, name, len) : ERR_PTR(-ENOENT);
}

/* Constant children stay; the others are asked, or looked up anew. Children of a process's directory
 * depend on the process, which its directory's own lookup has found alive. */
static bool pseudo_revalidate(struct inode *dir, const char *name UNUSED, size_t len UNUSED,
                              struct inode *child)
{
    const struct pseudo_node *n;

    if (!child)
        return !pseudo_node(dir)->lookup;
    if (pseudo_node(child)->current)
        return pseudo_node(child)->current(pseudo_key(child));
    if (pseudo_key(dir)->uid != pseudo_key(child)->uid ||
        pseudo_key(dir)->gid != pseudo_key(child)->gid)
        return false; /* the process has changed its owner */
    for (n = pseudo_node(dir)->children; n && n->name; n++)
        if (n == pseudo_node(child))
            return true;
    return false;
}

static int pseudo_readdir(struct file *f, struct getdents_ctx *ctx)
{
    const struct pseudo_node *node = pseudo_node(f->inode), *n;
    int64_t at = 2;

    if (!getdents_emit_dots(f, ctx))
        return 0;
    for (n = node->children; n && n->name; n++, at++) {
        if (ctx->pos > at)
            continue;
        if (!getdents_emit(ctx, n->name, strlen(n->name), pseudo_ino(n, pseudo_key(f->inode)),
                           (uint8_t)(n->mode >> 12), at + 1))
            return 0;
    }
    if (!node->emit)
        return 0;
    if (ctx->pos < PSEUDO_DYNAMIC)
        ctx->pos = PSEUDO_DYNAMIC;
    return node->emit(ctx, pseudo_key(f->inode));
}

static int64_t pseudo_dir_seek(struct file *f, int64_t off, int whence)
{
    return whence == SEEK_END ? -EINVAL : file_seek_size(f, off, whence, 0);
}

static const struct file_ops pseudo_dir_file_ops = {
    .name = "dir",
    .readdir = pseudo_readdir,
    .seek = pseudo_dir_seek,
};

static int pseudo_dir_open(struct inode *i UNUSED, struct file *f)
{
    f->ops = &pseudo_dir_file_ops;
    return 0;
}

/* --- files --- */

static int pseudo_fill(struct file *f, struct pseudo_open *o)
{
    const struct pseudo_node *n = pseudo_node(f->inode);

    text_clear(&o->text);
    o->filled = false;
    int err = 0;
    if (n->fixed)
        text_add(&o->text, n->fixed, strlen(n->fixed));
    else
        err = n->show ? n->show(&o->text, pseudo_key(f->inode)) : -EINVAL;
    if (!err && o->text.failed && !o->text.len)
        err = -ENOMEM;
    o->filled = !err;
    return err;
}

static ssize_t pseudo_read(struct file *f, struct uio *u, int64_t *pos, unsigned flags UNUSED)
{
    struct pseudo_open *o = f->private_data;
    ssize_t r = 0;

    fmutex_lock(&o->text_lock);
    if (!o->filled || *pos == 0)
        r = pseudo_fill(f, o);
    if (!r && (uint64_t)*pos < o->text.len && u->left) {
        size_t n = MIN(o->text.len - (size_t)*pos, u->left);
        r = uio_copy_to_user(u, o->text.buf + *pos, n);
        if (r > 0)
            *pos += r;
    }
    fmutex_unlock(&o->text_lock);
    return r;
}

static ssize_t pseudo_write(struct file *f, struct uio *u, int64_t *pos, unsigned flags UNUSED)
{
    const struct pseudo_node *n = pseudo_node(f->inode);
    char buf[PSEUDO_WRITE_MAX + 1];
    size_t len = MIN(u->left, PSEUDO_WRITE_MAX);

    if (!n->store)
        return -EINVAL;
    if (!len)
        return 0;
    ssize_t r = uio_copy_from_user(u, buf, len);
    if (r < 0)
        return r;
    buf[r] = 0;
    int err = n->store(pseudo_key(f->inode), buf, (size_t)r);
    if (err)
        return err;
    *pos += r;
    return r;
}

static int64_t pseudo_seek(struct file *f, int64_t off, int whence)
{
    if (whence != SEEK_SET && whence != SEEK_CUR)
        return -EINVAL;
    return file_seek_size(f, off, whence, 0);
}

static void pseudo_file_release(struct file *f)
{
    struct pseudo_open *o = f->private_data;

    text_fini(&o->text);
    free(o);
}

static const struct file_ops pseudo_file_ops = {
    .name = "pseudo",
    .read = pseudo_read,
    .write = pseudo_write,
    .seek = pseudo_seek,
    .release = pseudo_file_release,
};

static int pseudo_open(struct inode *i, struct file *f)
{
    const struct pseudo_node *n = pseudo_node(i);

    if (n->open)
        return n->open(i, f);
    if (!S_ISREG(n->mode))
        return -ENXIO;
    struct pseudo_open *o = calloc(1, sizeof(*o));
    if (!o)
        return -ENOMEM;
    fmutex_init(&o->text_lock, RANK_FILE);
    text_init(&o->text);
    f->ops = &pseudo_file_ops;
    f->private_data = o;
    return 0;
}

/* Opening with O_TRUNC is fine; owners, modes and times do not change. */
static int pseudo_setattr(struct inode *i UNUSED, const struct setattr *s,
                          const struct cred *c UNUSED)
{
    return s->valid & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
}

/* --- links --- */

static ssize_t pseudo_readlink(struct inode *i, char *buf, size_t size)
{
    const struct pseudo_node *n = pseudo_node(i);
    struct text t;

    text_init(&t);
    int err = 0;
    if (n->fixed)
        text_add(&t, n->fixed, strlen(n->fixed));
    else
        err = n->show(&t, pseudo_key(i));
    ssize_t len = (ssize_t)MIN(t.len, size);
    if (!err && t.failed)
        err = -ENOMEM;
    if (!err && len)
        memcpy(buf, t.buf, (size_t)len);
    text_fini(&t);
    return err ? err : len;
}

static int pseudo_follow(struct inode *i, struct path *ret)
{
    return pseudo_node(i)->follow(pseudo_key(i), ret);
}

static int pseudo_statfs(struct superblock *sb, struct statfs *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->f_type = sb->magic;
    ret->f_bsize = ret->f_frsize = 4096;
    ret->f_namelen = NAME_LEN_MAX;
    return 0;
}

static const struct inode_ops pseudo_dir_ops = {
    .lookup = pseudo_lookup,
    .revalidate = pseudo_revalidate,
    .open = pseudo_dir_open,
    .setattr = pseudo_setattr,
    .statfs = pseudo_statfs,
    .release = pseudo_release,
};

static const struct inode_ops pseudo_file_inode_ops = {
    .open = pseudo_open,
    .setattr = pseudo_setattr,
    .release = pseudo_release,
};

static const struct inode_ops pseudo_link_ops = {
    .readlink = pseudo_readlink,
    .setattr = pseudo_setattr,
    .release = pseudo_release,
};

static const struct inode_ops pseudo_magic_ops = {
    .readlink = pseudo_readlink,
    .follow = pseudo_follow,
    .setattr = pseudo_setattr,
    .release = pseudo_release,
};

struct superblock *pseudo_superblock(const char *type, uint32_t magic, bool exclusive,
                                     const struct pseudo_node *root)
{
    struct superblock *sb = superblock_new(type, magic);

    if (!sb)
        return ERR_PTR(-ENOMEM);
    sb->exclusive = exclusive;
    sb->ops = &pseudo_dir_ops;
    memcpy(sb->source, type, MIN(strlen(type) + 1, sizeof(sb->source) - 1));
    struct inode *i = pseudo_inode(sb, root, NULL);
    if (IS_ERR(i)) {
        superblock_put(sb);
        return ERR_PTR(PTR_ERR(i));
    }
    sb->root = i;
    return sb;
}
