/* SPDX-License-Identifier: Apache-2.0
 * p9fs_dir.c - listing directories.
 *
 * An open directory takes a snapshot of all entries when it is read from the start; positions are
 * indices into it, so removing while listing skips nothing. On exclusive mounts the inode keeps the
 * snapshot until the directory changes. A directory with more than P9_LISTING_ENTRIES is streamed:
 * then positions are the server's cookies and nothing is kept.
 *
 * The server may lie: impossible names, an entry that does not end, a listing that never does fail
 * the connection.
 *
 * Locks: fs->lock for the inode's pointer; the file's pos_lock (held by the caller) for the rest.
 * Host: close [sentry]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/err.h>
#include <base/hash.h>

#include "p9fs_private.h"

#define P9_READDIR_BYTES (64u << 10)

struct p9_dirfile {
    struct p9_listing *snapshot; /* reference */
    uint32_t fid;                /* opened when streaming, else P9_NOFID */
    bool streaming;
};

void p9_listing_put(struct p9_listing *l)
{
    if (!l || !refcount_put(&l->ref))
        return;
    free(l->names);
    free(l->attrs);
    free(l->index);
    free(l->entries);
    free(l);
}

void p9_listing_drop(struct p9_inode *dir)
{
    spin_lock(&dir->fs->lock);
    struct p9_listing *l = steal(dir->listing);
    dir->listing_gen++;
    dir->listing_big = false;
    spin_unlock(&dir->fs->lock);
    p9_listing_put(l);
}

static int dir_open(struct p9_inode *pi, uint32_t *ret_fid)
{
    struct p9_conn *conn = pi->fs->conn;
    uint32_t own, fid = p9_fid_new(conn);
    int r = p9_fid(pi, &own);
    if (r < 0)
        return r;
    struct p9_twalk w = {.fid = own, .newfid = fid};
    struct p9_rwalk wr = {0};
    struct p9_tlopen m = {.fid = fid, .flags = O_RDONLY | O_DIRECTORY};
    struct p9_rlopen reply = {0};
    if (p9_conn_ringbox(conn)) {
        struct p9_topenat o = {.fid = own, .newfid = fid, .flags = O_RDONLY | O_DIRECTORY};
        struct p9_ropenat opened = {0};
        int fd;
        r = P9_CALL_FD(conn, topenat, ropenat, &o, &opened, &fd);
        if (r == 0 && fd >= 0) {
            close(fd);
            r = p9_conn_fail(conn, "a descriptor of a directory");
        }
    } else {
        r = P9_CALL(conn, twalk, rwalk, &w, &wr);
        if (r < 0)
            return r;
        r = P9_CALL(conn, tlopen, rlopen, &m, &reply);
        if (r < 0)
            p9_clunk(conn, fid, false);
    }
    *ret_fid = fid;
    return r;
}

/* One batch of entries at cookie @off into @buf; empty at the end. */
static int batch_read(struct p9_conn *conn, uint32_t fid, uint64_t off, bool with_attr,
                      uint8_t *buf, struct p9_data *ret)
{
    uint32_t count = MIN(P9_READDIR_BYTES, p9_conn_iounit(conn));
    int r;
    if (with_attr) {
        struct p9_treaddirattr m = {.fid = fid, .offset = off, .count = count};
        struct p9_rreaddirattr reply = {0};
        r = P9_CALL_BUF(conn, treaddirattr, rreaddirattr, &m, &reply, buf, count + P9_RREAD_HDR);
        if (r == 0)
            *ret = reply.data;
    } else {
        struct p9_treaddir m = {.fid = fid, .offset = off, .count = count};
        struct p9_rreaddir reply = {0};
        r = P9_CALL_BUF(conn, treaddir, rreaddir, &m, &reply, buf, count + P9_RREAD_HDR);
        if (r == 0)
            *ret = reply.data;
    }
    return r;
}

static bool is_dots(const struct p9_str *name)
{
    return p9_str_equal(name, ".") || p9_str_equal(name, "..");
}

/* Next entry of a batch: 1, 0 at its end, -EIO. */
static int entry_next(struct p9_conn *conn, const struct p9_data *data, uint32_t *at,
                      bool with_attr, struct p9_dirent *ret)
{
    int n = p9_decode_dirent((const uint8_t *)data->base + *at, data->len - *at, ret, with_attr);
    if (n == 0)
        return 0;
    if (n < 0 || (!is_dots(&ret->name) && !p9_name_ok(&ret->name)))
        return p9_conn_fail(conn, "bad directory entry");
    *at += (uint32_t)n;
    return 1;
}

struct builder {
    struct p9_listing *l;
    uint32_t entries_cap, names_cap;
    bool with_attr;
};

/* Attributes beside the entry; without memory, or for too many, the listing goes on without. */
static void builder_attr(struct builder *b, const struct p9_attr *a)
{
    struct p9_listing *l = b->l;
    if (!b->with_attr)
        return;
    if ((l->count & (l->count - 1)) == 0) { /* 0, 1, 2, 4, 8 ...: full */
        void *grown = NULL;
        if (l->count < P9_HINT_ENTRIES)
            grown = realloc(l->attrs, MAX(l->count * 2, 1u) * sizeof *l->attrs);
        if (!grown) {
            free(l->attrs);
            l->attrs = NULL;
            b->with_attr = false;
            return;
        }
        l->attrs = grown;
    }
    l->attrs[l->count] = *a;
}

/* -E2BIG: too much to keep. */
static int builder_add(struct builder *b, const struct p9_dirent *d)
{
    struct p9_listing *l = b->l;
    if (l->count >= P9_LISTING_ENTRIES || l->names_len + d->name.len > P9_LISTING_BYTES)
        return -E2BIG;
    if (l->count == b->entries_cap) {
        uint32_t cap = b->entries_cap ? b->entries_cap * 2 : 32;
        void *grown = realloc(l->entries, cap * sizeof *l->entries);
        if (!grown)
            return -ENOMEM;
        l->entries = grown;
        b->entries_cap = cap;
    }
    if (l->names_len + d->name.len > b->names_cap) {
        uint32_t cap = MAX(b->names_cap * 2, 1024u);
        char *grown = realloc(l->names, cap);
        if (!grown)
            return -ENOMEM;
        l->names = grown;
        b->names_cap = cap;
    }
    builder_attr(b, &d->attr);
    l->entries[l->count++] = (struct p9_entry){
        .ino = d->qid.path, .name = l->names_len, .len = (uint8_t)d->name.len, .type = d->type};
    memcpy(l->names + l->names_len, d->name.s, d->name.len);
    l->names_len += d->name.len;
    return 0;
}

static int listing_fill(struct p9_inode *pi, uint32_t fid, struct builder *b)
{
    struct p9_conn *conn = pi->fs->conn;
    uint8_t *buf autofree = malloc(P9_READDIR_BYTES + P9_RREAD_HDR);
    uint64_t off = 0;
    if (!buf)
        return -ENOMEM;
    for (uint32_t batches = 0;; batches++) {
        struct p9_data data = {0};
        struct p9_dirent d = {0};
        uint32_t at = 0;
        bool with_attr = b->with_attr; /* may end in the middle of a batch */
        int r = batch_read(conn, fid, off, with_attr, buf, &data);
        if (r < 0 || data.len == 0)
            return r;
        if (batches > P9_LISTING_ENTRIES)
            return p9_conn_fail(conn, "a directory without end");
        while ((r = entry_next(conn, &data, &at, with_attr, &d)) > 0) {
            off = d.offset;
            r = is_dots(&d.name) ? 0 : builder_add(b, &d);
            if (r < 0)
                return r;
        }
        if (r < 0)
            return r;
    }
}

/* --- hints: what a listing with attributes knows about names --- */

static void index_build(struct p9_listing *l)
{
    uint32_t n = 16;
    if (!l->attrs)
        return;
    while (n < l->count * 2)
        n *= 2;
    l->index = calloc(n, sizeof *l->index);
    l->index_mask = n - 1;
    for (uint32_t i = 0; l->index && i < l->count; i++) {
        uint64_t h = hash_bytes(l->names + l->entries[i].name, l->entries[i].len);
        while (l->index[h & l->index_mask])
            h++;
        l->index[h & l->index_mask] = i + 1;
    }
}

static int index_find(const struct p9_listing *l, const char *name, size_t len)
{
    for (uint64_t h = hash_bytes(name, len);; h++) {
        uint32_t at = l->index[h & l->index_mask];
        if (at == 0)
            return -1;
        const struct p9_entry *e = &l->entries[at - 1];
        if (e->len == len && memcmp(l->names + e->name, name, len) == 0)
            return (int)at - 1;
    }
}

int p9_hint(struct p9_inode *dir, const char *name, size_t len, struct p9_attr *ret)
{
    spin_lock(&dir->fs->lock);
    struct p9_listing *l = dir->listing && dir->listing->index ? dir->listing : NULL;
    if (l)
        refcount_get(&l->ref);
    spin_unlock(&dir->fs->lock);
    if (!l)
        return -1;
    int i = index_find(l, name, len), r = i < 0 ? 0 : l->attrs[i].valid ? 1 : -1;
    if (r == 1)
        *ret = l->attrs[i];
    p9_listing_put(l);
    return r;
}

/* All entries, fresh from the server; cached on exclusive mounts. -E2BIG: to be streamed. */
static int listing_load(struct p9_inode *pi, struct p9_listing **ret)
{
    struct p9fs *fs = pi->fs;
    struct builder b = {.l = calloc(1, sizeof *b.l)};
    struct p9_listing *old = NULL;
    uint32_t fid;
    if (!b.l)
        return -ENOMEM;
    refcount_init(&b.l->ref);
    /* Attributes of a listing are good for later lookups only where nothing changes them. */
    b.with_attr = fs->sb->exclusive && fs->sb->read_only && p9_conn_ringbox(fs->conn);
    spin_lock(&fs->lock);
    uint32_t gen = pi->listing_gen;
    spin_unlock(&fs->lock);
    int r = dir_open(pi, &fid);
    if (r == 0) {
        r = listing_fill(pi, fid, &b);
        p9_clunk(fs->conn, fid, false);
    }
    if (r == 0 && b.with_attr)
        index_build(b.l);
    spin_lock(&fs->lock);
    if (r == -E2BIG)
        pi->listing_big = true;
    if (r == 0 && fs->sb->exclusive && gen == pi->listing_gen) {
        refcount_get(&b.l->ref);
        old = pi->listing;
        pi->listing = b.l;
    }
    spin_unlock(&fs->lock);
    p9_listing_put(old);
    if (r < 0)
        p9_listing_put(b.l);
    else
        *ret = b.l;
    return r;
}

/* Snapshot for a file that starts to read; NULL in *ret: stream. */
static int snapshot_take(struct p9_inode *pi, struct p9_listing **ret)
{
    spin_lock(&pi->fs->lock);
    struct p9_listing *l = pi->listing;
    bool big = pi->listing_big;
    if (l)
        refcount_get(&l->ref);
    spin_unlock(&pi->fs->lock);
    *ret = l;
    if (l || big)
        return 0;
    int r = listing_load(pi, ret);
    if (r == -E2BIG) {
        *ret = NULL;
        return 0;
    }
    return r;
}

/* "." and ".." take positions 0 and 1; entry i ends at position i + 3. */
static int emit_snapshot(struct file *f, struct getdents_ctx *ctx, const struct p9_listing *l)
{
    if (!getdents_emit_dots(f, ctx))
        return 0;
    for (uint64_t i = ctx->pos > 2 ? (uint64_t)ctx->pos - 2 : 0; i < l->count; i++) {
        const struct p9_entry *e = &l->entries[i];
        if (!getdents_emit(ctx, l->names + e->name, e->len, e->ino, e->type, (int64_t)i + 3))
            break;
    }
    return 0;
}

static int emit_stream(struct p9_inode *pi, struct p9_dirfile *df, struct getdents_ctx *ctx)
{
    struct p9_conn *conn = pi->fs->conn;
    uint8_t *buf autofree = malloc(P9_READDIR_BYTES + P9_RREAD_HDR);
    if (!buf)
        return -ENOMEM;
    if (df->fid == P9_NOFID) {
        int r = dir_open(pi, &df->fid);
        if (r < 0) {
            df->fid = P9_NOFID;
            return r;
        }
    }
    for (;;) {
        struct p9_data data = {0};
        struct p9_dirent d = {0};
        uint32_t at = 0;
        int r = batch_read(conn, df->fid, (uint64_t)ctx->pos, false, buf, &data);
        if (r < 0 || data.len == 0)
            return r;
        while ((r = entry_next(conn, &data, &at, false, &d)) > 0)
            if (d.offset > INT64_MAX ||
                !getdents_emit(ctx, d.name.s, d.name.len, d.qid.path, d.type, (int64_t)d.offset))
                return 0;
        if (r < 0)
            return r;
    }
}

static int dir_readdir(struct file *f, struct getdents_ctx *ctx)
{
    struct p9_dirfile *df = f->private_data;
    struct p9_inode *pi = p9_of(f->inode);
    if (ctx->pos == 0 || (!df->snapshot && !df->streaming)) {
        struct p9_listing *l;
        int r = snapshot_take(pi, &l);
        if (r < 0)
            return r;
        p9_listing_put(df->snapshot);
        df->snapshot = l;
        df->streaming = !l;
    }
    return df->streaming ? emit_stream(pi, df, ctx) : emit_snapshot(f, ctx, df->snapshot);
}

static int64_t dir_seek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(f->pos, off, &off))
        return -EINVAL;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || off < 0)
        return -EINVAL;
    f->pos = off;
    return off;
}

static int dir_fsync(struct file *f, bool data_only)
{
    struct p9_inode *pi = p9_of(f->inode);
    struct p9_rfsync reply = {0};
    struct p9_tfsync m = {.datasync = data_only};
    int r = dir_open(pi, &m.fid);
    if (r < 0)
        return r;
    r = P9_CALL(pi->fs->conn, tfsync, rfsync, &m, &reply);
    p9_clunk(pi->fs->conn, m.fid, false);
    return r;
}

static void dir_release(struct file *f)
{
    struct p9_dirfile *df = f->private_data;
    p9_listing_put(df->snapshot);
    if (df->fid != P9_NOFID)
        p9_clunk(p9_of(f->inode)->fs->conn, df->fid, false);
    free(df);
}

static ssize_t dir_read(struct file *f, struct uio *u, int64_t *pos, unsigned flags)
{
    (void)f, (void)u, (void)pos, (void)flags;
    return -EISDIR;
}

static const struct file_ops p9_directory_ops = {
    .name = "9p",
    .read = dir_read,
    .seek = dir_seek,
    .readdir = dir_readdir,
    .fsync = dir_fsync,
    .release = dir_release,
};

int p9_open_dir(struct inode *i, struct file *f)
{
    struct p9_dirfile *df = calloc(1, sizeof *df);
    (void)i;
    if (!df)
        return -ENOMEM;
    df->fid = P9_NOFID;
    f->private_data = df;
    f->ops = &p9_directory_ops;
    return 0;
}
