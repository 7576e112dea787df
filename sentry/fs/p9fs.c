/* SPDX-License-Identifier: Apache-2.0
 * p9fs.c - the 9P file system: superblock, lookup, attributes.
 *
 * Model: inodes as in p9fs_inode.c. Attributes are those of the last message about an inode; what
 * changes them marks them stale, and the next getattr asks again (or looks at a donated descriptor).
 * Exclusive mounts never ask otherwise; shared ones at every getattr and lookup.
 *
 * The server may lie: kinds that contradict each other, or names, fail the connection
 * (p9fs_conn.c). What it says about owners, times and sizes is only reported.
 *
 * Locks: those of p9fs_inode.c.
 * Left out: notification of changes on shared mounts; ACLs.
 * Host: fstat, newfstatat, ftruncate [sentry]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/err.h>
#include <fs/fs.h>

#include "p9fs_private.h"

#define V9FS_MAGIC_NR 0x01021997u

/* --- attributes --- */

int p9_attr_check(struct p9fs *fs, const struct p9_attr *a)
{
    bool dir = S_ISDIR(a->mode), lnk = S_ISLNK(a->mode);
    uint32_t type = a->mode & S_IFMT;
    static const uint32_t types[] = {S_IFREG,  S_IFDIR, S_IFLNK, S_IFIFO,
                                     S_IFSOCK, S_IFCHR, S_IFBLK};
    bool known = false;
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
        known |= types[i] == type;
    if (!a->valid || !known || dir != !!(a->qid.type & P9_QTDIR) ||
        lnk != !!(a->qid.type & P9_QTSYMLINK) || a->size > INT64_MAX)
        return p9_conn_fail(fs->conn, "attributes contradict the qid");
    return 0;
}

static struct timespec time_from(const struct p9_time *t)
{
    return (struct timespec){.tv_sec = (time_t)t->sec, .tv_nsec = (long)t->nsec};
}

void p9_attr_convert(struct p9fs *fs, const struct p9_attr *a, struct attr *ret)
{
    *ret = (struct attr){
        .ino = a->qid.path,
        .dev = fs->sb->dev,
        .mode = a->mode,
        .nlink = a->nlink,
        .uid = a->uid,
        .gid = a->gid,
        .rdev = a->rdev,
        .size = a->size,
        .blocks = a->blocks,
        .blksize = a->blksize ? a->blksize : 4096,
        .atime = time_from(&a->atime),
        .mtime = time_from(&a->mtime),
        .ctime = time_from(&a->ctime),
        .btime = time_from(&a->btime),
    };
}

void p9_attr_store(struct inode *i, const struct p9_attr *a)
{
    struct attr attr;
    p9_attr_convert(p9_of(i)->fs, a, &attr);
    spin_lock(&i->attr_lock);
    attr.mode = (attr.mode & ~(uint32_t)S_IFMT) | (i->attr.mode & S_IFMT);
    attr.ino = i->attr.ino;
    i->attr = attr;
    spin_unlock(&i->attr_lock);
}

void p9_stat_store(struct p9_inode *pi, int fd)
{
    struct inode *i = pi->vfs;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return;
    spin_lock(&i->attr_lock);
    i->attr.mode = (st.st_mode & 07777) | (i->attr.mode & S_IFMT);
    i->attr.nlink = (uint32_t)st.st_nlink;
    i->attr.size = (uint64_t)st.st_size;
    i->attr.blocks = (uint64_t)st.st_blocks;
    i->attr.atime = st.st_atim;
    i->attr.mtime = st.st_mtim;
    i->attr.ctime = st.st_ctim;
    spin_unlock(&i->attr_lock);
}

static void attr_from_getattr(const struct p9_rgetattr *g, struct p9_attr *ret)
{
    *ret = (struct p9_attr){
        .valid = (g->valid & P9_STATS_BASIC) == P9_STATS_BASIC,
        .qid = g->qid,
        .ino = g->qid.path,
        .mode = g->mode,
        .uid = g->uid,
        .gid = g->gid,
        .nlink = (uint32_t)g->nlink,
        .rdev = g->rdev,
        .size = g->size,
        .blocks = g->blocks,
        .blksize = (uint32_t)g->blksize,
        .atime = {g->atime_sec, (uint32_t)(g->atime_nsec % 1000000000u)},
        .mtime = {g->mtime_sec, (uint32_t)(g->mtime_nsec % 1000000000u)},
        .ctime = {g->ctime_sec, (uint32_t)(g->ctime_nsec % 1000000000u)},
    };
    if (g->valid & P9_STATS_BTIME)
        ret->btime = (struct p9_time){g->btime_sec, (uint32_t)(g->btime_nsec % 1000000000u)};
}

static int fid_attr_plain(struct p9fs *fs, uint32_t fid, struct p9_attr *ret)
{
    struct p9_tgetattr m = {.fid = fid, .mask = P9_STATS_BASIC | P9_STATS_BTIME};
    struct p9_rgetattr g = {0};
    int r = P9_CALL(fs->conn, tgetattr, rgetattr, &m, &g);
    if (r < 0)
        return r;
    attr_from_getattr(&g, ret);
    return p9_attr_check(fs, ret);
}

/* One attribute record, of the fid itself (name NULL) or of a name in it. */
static int walk_attr(struct p9fs *fs, uint32_t fid, uint32_t newfid, const struct p9_str *name,
                     struct p9_attr *ret)
{
    struct p9_twalkattr m = {.fid = fid, .newfid = newfid};
    struct p9_rwalkattr w = {0};
    if (name) {
        m.names.count = 1;
        m.names.name[0] = *name;
    }
    int r = P9_CALL(fs->conn, twalkattr, rwalkattr, &m, &w);
    if (r < 0)
        return r;
    if (w.error > MAX_ERRNO || w.attrs.count != (w.error ? 0 : 1))
        return p9_conn_fail(fs->conn, "walked farther than asked");
    if (w.error)
        return -(int)w.error;
    *ret = w.attrs.attr[0];
    return p9_attr_check(fs, ret);
}

int p9_fid_attr(struct p9fs *fs, uint32_t fid, struct p9_attr *ret)
{
    if (p9_conn_ringbox(fs->conn))
        return walk_attr(fs, fid, P9_NOFID, NULL, ret);
    return fid_attr_plain(fs, fid, ret);
}

int p9_walk(struct p9fs *fs, uint32_t dir_fid, const char *name, size_t len, uint32_t *ret_fid,
            struct p9_attr *ret)
{
    uint32_t fid = p9_fid_new(fs->conn);
    struct p9_str wire = p9_name(name, len);
    int r;
    if (p9_conn_ringbox(fs->conn)) {
        r = walk_attr(fs, dir_fid, fid, &wire, ret);
    } else {
        struct p9_twalk m = {.fid = dir_fid, .newfid = fid, .names = {.count = 1, .name = {wire}}};
        struct p9_rwalk w = {0};
        r = P9_CALL(fs->conn, twalk, rwalk, &m, &w);
        if (r == 0 && w.qids.count != 1)
            r = p9_conn_fail(fs->conn, "walked another distance");
        if (r < 0)
            return r;
        r = fid_attr_plain(fs, fid, ret);
        if (r == 0 && ret->qid.path != w.qids.qid[0].path)
            r = -EIO; /* replaced in between, on a shared mount */
        if (r < 0)
            p9_clunk(fs->conn, fid, false);
    }
    if (r == 0)
        *ret_fid = fid;
    return r;
}

/* --- operations --- */

struct inode *p9_lookup(struct inode *dir, const char *name, size_t len)
{
    struct p9_inode *pd = p9_of(dir);
    struct p9_listing *l = NULL;
    struct p9_attr a = {0};
    uint64_t seen;
    uint32_t fid;
    int r = p9_hint(pd, name, len, &a, &seen);
    if (r < 0 && p9_scan_pays(pd) && p9_scan(pd, true, &l) == 0) {
        r = p9_hint(pd, name, len, &a, &seen);
        p9_listing_put(l);
    }
    if (r == 0)
        return ERR_PTR(-ENOENT);
    if (r == 1)
        return p9_inode_hinted(dir, name, len, &a, seen);
    seen = pd->fs->changes;
    r = p9_walk_in(pd, name, len, &fid, &a);
    return r < 0 ? ERR_PTR(r) : p9_inode_obtain(pd->fs, fid, &a, seen);
}

int p9_getattr(struct inode *i, struct attr *ret)
{
    struct p9_inode *pi = p9_of(i);
    struct p9_attr a = {0};
    uint64_t seen = pi->fs->changes;
    /* A file mapped writable changes without anybody saying so. One that is open can be asked for nothing;
     * others are when their name is looked up. */
    spin_lock(&pi->fs->lock);
    bool ask = pi->map_rw || pi->attr_seen < pi->fs->all_changed ||
               (pi->attr_seen != seen && (pi->ro || pi->rw));
    spin_unlock(&pi->fs->lock);
    if (atomic_exchange(&pi->stale, false) || !i->sb->exclusive || ask) {
        struct p9_fd *d = p9_fd_any(pi);
        if (d) {
            p9_stat_store(pi, d->fd);
            p9_fd_put(d);
        } else {
            uint32_t fid;
            int r = p9_fid(pi, &fid);
            if (r == 0)
                r = p9_fid_attr(pi->fs, fid, &a);
            /* Servers that know files by their paths have lost a removed one: what is known stays. */
            bool gone = r == -ENOENT && i->attr.nlink == 0;
            if (r < 0 && !gone) {
                pi->stale = true;
                return r;
            }
            if (r == 0)
                p9_attr_store(i, &a);
        }
        pi->attr_seen = seen;
    }
    inode_attr(i, ret);
    return 0;
}

static void times_set(struct p9_tsetattr *m, const struct setattr *s)
{
    if (s->valid & (ATTR_ATIME | ATTR_ATIME_NOW))
        m->valid |= P9_SETATTR_ATIME;
    if (s->valid & (ATTR_MTIME | ATTR_MTIME_NOW))
        m->valid |= P9_SETATTR_MTIME;
    if ((s->valid & (ATTR_ATIME | ATTR_ATIME_NOW)) == ATTR_ATIME) {
        m->valid |= P9_SETATTR_ATIME_SET;
        m->atime_sec = (uint64_t)s->atime.tv_sec;
        m->atime_nsec = (uint64_t)s->atime.tv_nsec;
    }
    if ((s->valid & (ATTR_MTIME | ATTR_MTIME_NOW)) == ATTR_MTIME) {
        m->valid |= P9_SETATTR_MTIME_SET;
        m->mtime_sec = (uint64_t)s->mtime.tv_sec;
        m->mtime_nsec = (uint64_t)s->mtime.tv_nsec;
    }
}

/* The server may not open for writing what was opened for writing before: created so, or changed since. */
static int size_by_fd(struct p9_inode *pi, uint64_t size)
{
    int r = -EACCES;
    struct p9_fd *d = p9_fd_any(pi);
    if (d && d->writable)
        r = ftruncate(d->fd, (off_t)size) < 0 ? -errno : 0;
    p9_fd_put(d);
    return r;
}

int p9_setattr(struct inode *i, const struct setattr *s, const struct cred *c)
{
    struct p9_inode *pi = p9_of(i);
    struct p9_rsetattr reply = {0};
    struct p9_attr a = {0};
    (void)c; /* the vfs has checked; the server applies its own rules */
    if (i->sb->read_only)
        return -EROFS;
    struct p9_tsetattr m = {
        .fid = pi->fid, .mode = s->mode & 07777, .uid = s->uid, .gid = s->gid, .size = s->size};
    if (s->valid & ATTR_MODE)
        m.valid |= P9_SETATTR_MODE;
    if (s->valid & ATTR_UID)
        m.valid |= P9_SETATTR_UID;
    if (s->valid & ATTR_GID)
        m.valid |= P9_SETATTR_GID;
    if (s->valid & ATTR_SIZE)
        m.valid |= P9_SETATTR_SIZE;
    times_set(&m, s);
    int r = P9_CALL(pi->fs->conn, tsetattr, rsetattr, &m, &reply);
    if (r == -EACCES && m.valid & P9_SETATTR_SIZE)
        r = size_by_fd(pi, s->size);
    if (r < 0)
        return r;
    r = p9_fid_attr(pi->fs, pi->fid, &a);
    if (r < 0)
        pi->stale = true; /* it was changed all the same */
    else
        p9_attr_store(i, &a);
    if (s->valid & ATTR_SIZE)
        mappable_truncated(&pi->map, s->size);
    return p9_conn_dead(pi->fs->conn) ? -EIO : 0;
}

int p9_statfs(struct superblock *sb, struct statfs *ret)
{
    struct p9fs *fs = sb->private_data;
    struct p9_tstatfs m = {.fid = p9_of(sb->root)->fid};
    struct p9_rstatfs s = {0};
    int r = P9_CALL(fs->conn, tstatfs, rstatfs, &m, &s);
    if (r < 0)
        return r;
    *ret = (struct statfs){
        .f_type = (__fsword_t)s.type,
        .f_bsize = (__fsword_t)s.bsize,
        .f_blocks = s.blocks,
        .f_bfree = s.bfree,
        .f_bavail = s.bavail,
        .f_files = s.files,
        .f_ffree = s.ffree,
        .f_namelen = NAME_LEN_MAX,
        .f_frsize = (__fsword_t)s.bsize,
    };
    return 0;
}

const struct inode_ops p9_dir_ops = {
    .lookup = p9_lookup,
    .changed = p9_changed,
    .create = p9_create,
    .tmpfile = p9_tmpfile,
    .mknod = p9_mknod,
    .mkdir = p9_mkdir,
    .symlink = p9_symlink,
    .link = p9_link,
    .unlink = p9_unlink,
    .rmdir = p9_rmdir,
    .rename = p9_rename,
    .getattr = p9_getattr,
    .setattr = p9_setattr,
    .open = p9_open_dir,
    .statfs = p9_statfs,
    .getxattr = p9_getxattr,
    .setxattr = p9_setxattr,
    .listxattr = p9_listxattr,
    .removexattr = p9_removexattr,
    .release = p9_release,
};

const struct inode_ops p9_file_ops = {
    .getattr = p9_getattr,
    .setattr = p9_setattr,
    .open = p9_open_file,
    .statfs = p9_statfs,
    .getxattr = p9_getxattr,
    .setxattr = p9_setxattr,
    .listxattr = p9_listxattr,
    .removexattr = p9_removexattr,
    .mappable = p9_mappable,
    .lock = p9_lock,
    .lock_test = p9_lock_test,
    .release = p9_release,
};

const struct inode_ops p9_other_ops = {
    .readlink = p9_readlink,
    .getattr = p9_getattr,
    .setattr = p9_setattr,
    .statfs = p9_statfs,
    .release = p9_release,
};

/* --- superblock --- */

static void p9fs_free(struct p9fs *fs)
{
    p9_conn_free(fs->conn);
    (void)p9_ahead_drop(fs);
    p9_listings_free(fs);
    p9_scanbufs_free(fs);
    free(fs->hash);
    free(fs);
}

static void p9fs_release(struct superblock *sb)
{
    p9fs_free(sb->private_data);
}

static struct p9fs *p9fs_alloc(int sock)
{
    struct p9_conn *conn = p9_conn_new(sock);
    struct p9fs *fs = conn ? calloc(1, sizeof *fs) : NULL;
    if (!fs) {
        p9_conn_free(conn);
        return NULL;
    }
    fs->conn = conn;
    spin_init(&fs->lock, RANK_OBJECT);
    list_init(&fs->fd_lru);
    list_init(&fs->listings);
    for (unsigned i = 0; i < P9_WAITING_BUCKETS; i++)
        list_init(&fs->waiting[i]);
    fs->hash = calloc(P9_HASH_BUCKETS, sizeof *fs->hash);
    if (!fs->hash) {
        p9fs_free(fs);
        return NULL;
    }
    return fs;
}

/* Session, root fid, root inode. */
static int p9fs_attach(struct p9fs *fs, const struct p9fs_config *cfg, struct inode **ret)
{
    struct p9_tattach m = {.fid = 0,
                           .afid = P9_NOFID,
                           .uname = p9_str_from("ringbox"),
                           .aname = p9_str_from(cfg->aname),
                           .n_uname = cfg->uid};
    struct p9_rattach reply = {0};
    struct p9_attr a = {0};
    int r = p9_conn_start(fs->conn, P9_MSIZE_DEFAULT);
    if (r == 0)
        r = P9_CALL(fs->conn, tattach, rattach, &m, &reply);
    if (r == 0)
        r = p9_fid_attr(fs, 0, &a);
    bool fit = r == 0 && (S_ISDIR(a.mode) || S_ISREG(a.mode)); /* a file: bound over a file */
    if (r == 0 && (!fit || reply.qid.path != a.qid.path))
        r = p9_conn_fail(fs->conn, "the root is neither directory nor file");
    if (r < 0)
        return r;
    *ret = p9_inode_obtain(fs, 0, &a, fs->changes);
    return IS_ERR(*ret) ? PTR_ERR(*ret) : 0;
}

struct superblock *p9fs_new(int sock, const struct p9fs_config *cfg)
{
    struct p9fs *fs = p9fs_alloc(sock);
    if (!fs)
        return ERR_PTR(-ENOMEM);
    struct superblock *sb = superblock_new("9p", V9FS_MAGIC_NR);
    if (!sb) {
        p9fs_free(fs);
        return ERR_PTR(-ENOMEM);
    }
    fs->sb = sb;
    sb->private_data = fs;
    sb->release = p9fs_release;
    sb->ops = &p9_dir_ops;
    sb->exclusive = cfg->exclusive;
    sb->read_only = cfg->read_only;
    sb->changes = &fs->changes;
    p9_conn_on_change(fs->conn, p9_server_changed, fs);
    snprintf(sb->source, sizeof sb->source, "%s", cfg->source ? cfg->source : "9p");
    int r = p9fs_attach(fs, cfg, &sb->root);
    if (r < 0) {
        sb->root = NULL;
        superblock_put(sb);
        return ERR_PTR(r);
    }
    return sb;
}
