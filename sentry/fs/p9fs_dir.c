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

#include "p9fs_private.h"

#define P9_READDIR_BYTES (64u << 10)

struct p9_dirfile {
    struct p9_listing *snapshot; /* reference */
    uint32_t fid;                /* opened when streaming, else P9_NOFID */
    bool streaming;
};

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
static int batch_read(struct p9_conn *conn, uint32_t fid, uint64_t off, uint8_t *buf,
                      struct p9_data *ret)
{
    uint32_t count = MIN(P9_READDIR_BYTES, p9_conn_iounit(conn));
    struct p9_treaddir m = {.fid = fid, .offset = off, .count = count};
    struct p9_rreaddir reply = {0};
    int r = P9_CALL_BUF(conn, treaddir, rreaddir, &m, &reply, buf, count + P9_RREAD_HDR);
    if (r == 0)
        *ret = reply.data;
    return r;
}

static bool is_dots(const struct p9_str *name)
{
    return p9_str_equal(name, ".") || p9_str_equal(name, "..");
}

/* Next entry of a batch: 1, 0 at its end, -EIO. */
static int entry_next(struct p9_conn *conn, const struct p9_data *data, uint32_t *at,
                      struct p9_dirent *ret)
{
    int n = p9_decode_dirent((const uint8_t *)data->base + *at, data->len - *at, ret, false);
    if (n == 0)
        return 0;
    if (n < 0 || (!is_dots(&ret->name) && !p9_name_ok(&ret->name)))
        return p9_conn_fail(conn, "bad directory entry");
    *at += (uint32_t)n;
    return 1;
}

static int listing_fill(struct p9_inode *pi, uint32_t fid, struct p9_builder *b)
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
        int r = batch_read(conn, fid, off, buf, &data);
        if (r < 0 || data.len == 0)
            return r;
        if (batches > P9_LISTING_ENTRIES)
            return p9_conn_fail(conn, "a directory without end");
        while ((r = entry_next(conn, &data, &at, &d)) > 0) {
            off = d.offset;
            r = is_dots(&d.name) ? 0 : p9_builder_add(b, &d);
            if (r < 0)
                return r;
        }
        if (r < 0)
            return r;
    }
}

/* All entries by Treaddir, which any server knows. */
static int listing_read(struct p9_inode *pi, struct p9_listing **ret)
{
    struct p9_builder b = {0};
    uint32_t fid;
    int r = dir_open(pi, &fid);
    if (r == 0) {
        r = listing_fill(pi, fid, &b);
        p9_clunk(pi->fs->conn, fid, false);
    }
    if (r == 0) {
        *ret = p9_builder_done(&b);
        r = *ret ? 0 : -ENOMEM;
    }
    p9_builder_fini(&b);
    return r;
}

/* All entries, fresh from the server; cached on exclusive mounts. -E2BIG: to be streamed. */
static int listing_load(struct p9_inode *pi, struct p9_listing **ret)
{
    struct p9fs *fs = pi->fs;
    if (p9_scans(fs))
        return p9_scan(pi, false, ret);
    spin_lock(&fs->lock);
    uint32_t gen = pi->listing_gen;
    spin_unlock(&fs->lock);
    int r = listing_read(pi, ret);
    if (r == 0 && fs->sb->exclusive)
        p9_listing_keep(pi, *ret, gen);
    if (r == -E2BIG)
        p9_listing_too_big(pi);
    return r;
}

/* Snapshot for a file that starts to read; NULL in *ret: stream. */
static int snapshot_take(struct p9_inode *pi, struct p9_listing **ret)
{
    bool big;
    *ret = p9_listing_cached(pi, &big);
    if (*ret || big)
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
        int r = batch_read(conn, df->fid, (uint64_t)ctx->pos, buf, &data);
        if (r < 0 || data.len == 0)
            return r;
        while ((r = entry_next(conn, &data, &at, &d)) > 0)
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
