/* SPDX-License-Identifier: Apache-2.0
 * p9fs_name.c - operations that make, remove and move names, and readlink.
 *
 * The vfs has checked rights and its cache and holds the directories' locks. After a change the
 * directory's attributes are stale and its cached listing is dropped. New objects get the owner the
 * guest expects as far as the server may give it (EPERM is not an error then: an ordinary user's
 * server owns all it makes).
 * Host: close [sentry]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <base/err.h>

#include "p9fs_private.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE 2u
#endif

static void dir_changed(struct inode *dir)
{
    p9_of(dir)->stale = true;
    p9_listing_drop(p9_of(dir));
}

/* Owner as Linux would have it; @a follows. */
static int owner_fix(struct p9fs *fs, uint32_t fid, uint32_t uid, uint32_t gid, uint32_t mode,
                     struct p9_attr *a)
{
    struct p9_rsetattr reply = {0};
    struct p9_tsetattr m = {.fid = fid, .uid = uid, .gid = gid, .mode = mode & 07777};
    if (a->uid != uid)
        m.valid |= P9_SETATTR_UID;
    if (a->gid != gid)
        m.valid |= P9_SETATTR_GID;
    if (!m.valid)
        return 0;
    if (mode & 06000 && !S_ISLNK(a->mode))
        m.valid |= P9_SETATTR_MODE; /* a change of owner takes them away */
    int r = P9_CALL(fs->conn, tsetattr, rsetattr, &m, &reply);
    if (r == -EPERM || r == -EINVAL)
        return 0;
    return r < 0 ? r : p9_fid_attr(fs, fid, a);
}

/* Inode of a name just made by a message that does not give its attributes. */
static struct inode *made(struct inode *dir, const char *name, size_t len, uint32_t mode,
                          uint32_t uid, uint32_t gid)
{
    struct p9fs *fs = p9_of(dir)->fs;
    struct p9_attr a = {0};
    uint32_t fid;
    dir_changed(dir);
    int r = p9_walk(fs, p9_of(dir)->fid, name, len, &fid, &a);
    if (r < 0)
        return ERR_PTR(r);
    r = owner_fix(fs, fid, uid, gid, mode, &a);
    if (r < 0) {
        p9_clunk(fs->conn, fid, false);
        return ERR_PTR(r);
    }
    return p9_inode_obtain(fs, fid, &a, fs->changes);
}

/* Plain 9P: the fid walked to the directory becomes the opened file, so walk to it afresh. */
static struct inode *create_plain(struct inode *dir, const char *name, size_t len, uint32_t mode,
                                  uint32_t uid, uint32_t gid)
{
    struct p9fs *fs = p9_of(dir)->fs;
    uint32_t fid = p9_fid_new(fs->conn);
    struct p9_twalk w = {.fid = p9_of(dir)->fid, .newfid = fid};
    struct p9_rwalk wr = {0};
    int r = P9_CALL(fs->conn, twalk, rwalk, &w, &wr);
    if (r < 0)
        return ERR_PTR(r);
    struct p9_tlcreate m = {.fid = fid,
                            .name = p9_name(name, len),
                            .flags = O_CREAT | O_EXCL | O_RDWR,
                            .mode = mode & 07777,
                            .gid = gid};
    struct p9_rlcreate reply = {0};
    r = P9_CALL(fs->conn, tlcreate, rlcreate, &m, &reply);
    p9_clunk(fs->conn, fid, false);
    return r < 0 ? ERR_PTR(r) : made(dir, name, len, mode, uid, gid);
}

/* @len 0: without a name (O_TMPFILE). */
static struct inode *create_ringbox(struct inode *dir, const char *name, size_t len, uint32_t mode,
                                    const struct cred *c)
{
    struct p9fs *fs = p9_of(dir)->fs;
    uint32_t uid, gid;
    int fd = -1;
    inode_init_owner(dir, &mode, c, &uid, &gid);
    struct p9_tcreateat m = {.fid = p9_of(dir)->fid,
                             .newfid = p9_fid_new(fs->conn),
                             .flags = O_CREAT | O_EXCL | O_RDWR,
                             .mode = mode & 07777,
                             .gid = gid,
                             .name = p9_name(name, len)};
    struct p9_rcreateat reply = {0};
    int r = P9_CALL_FD(fs->conn, tcreateat, rcreateat, &m, &reply, &fd);
    if (r == 0) {
        if (len)
            dir_changed(dir);
        r = p9_attr_check(fs, &reply.attr);
        if (r == 0 && !S_ISREG(reply.attr.mode))
            r = p9_conn_fail(fs->conn, "made something else");
        if (r == 0)
            r = owner_fix(fs, m.newfid, uid, gid, mode, &reply.attr);
    }
    struct inode *i = r < 0 ? ERR_PTR(r) : p9_inode_obtain(fs, m.newfid, &reply.attr, fs->changes);
    if (fd < 0)
        return i;
    if (IS_ERR(i)) {
        close(fd);
        return i;
    }
    r = p9_fd_adopt(p9_of(i), fd, true, &reply.attr);
    if (r < 0 && p9_conn_dead(fs->conn)) {
        inode_put(i);
        return ERR_PTR(r);
    }
    return i;
}

struct inode *p9_create(struct inode *dir, const char *name, size_t len, uint32_t mode,
                        const struct cred *c)
{
    uint32_t uid, gid;
    if (dir->sb->read_only)
        return ERR_PTR(-EROFS);
    if (p9_conn_ringbox(p9_of(dir)->fs->conn))
        return create_ringbox(dir, name, len, mode, c);
    inode_init_owner(dir, &mode, c, &uid, &gid);
    return create_plain(dir, name, len, mode, uid, gid);
}

struct inode *p9_tmpfile(struct inode *dir, uint32_t mode, const struct cred *c)
{
    if (dir->sb->read_only)
        return ERR_PTR(-EROFS);
    if (!p9_conn_ringbox(p9_of(dir)->fs->conn))
        return ERR_PTR(-EOPNOTSUPP); /* plain 9P cannot say it */
    return create_ringbox(dir, "", 0, mode, c);
}

struct inode *p9_mkdir(struct inode *dir, const char *name, size_t len, uint32_t mode,
                       const struct cred *c)
{
    uint32_t uid, gid;
    struct p9_rmkdir reply = {0};
    if (dir->sb->read_only)
        return ERR_PTR(-EROFS);
    inode_init_owner(dir, &mode, c, &uid, &gid);
    struct p9_tmkdir m = {
        .dfid = p9_of(dir)->fid, .name = p9_name(name, len), .mode = mode & 07777, .gid = gid};
    int r = P9_CALL(p9_of(dir)->fs->conn, tmkdir, rmkdir, &m, &reply);
    return r < 0 ? ERR_PTR(r) : made(dir, name, len, mode, uid, gid);
}

struct inode *p9_mknod(struct inode *dir, const char *name, size_t len, uint32_t mode,
                       uint64_t rdev, const struct cred *c)
{
    uint32_t uid, gid;
    struct p9_rmknod reply = {0};
    if (dir->sb->read_only)
        return ERR_PTR(-EROFS);
    inode_init_owner(dir, &mode, c, &uid, &gid);
    struct p9_tmknod m = {.dfid = p9_of(dir)->fid,
                          .name = p9_name(name, len),
                          .mode = mode,
                          .major = major(rdev),
                          .minor = minor(rdev),
                          .gid = gid};
    int r = P9_CALL(p9_of(dir)->fs->conn, tmknod, rmknod, &m, &reply);
    return r < 0 ? ERR_PTR(r) : made(dir, name, len, mode, uid, gid);
}

struct inode *p9_symlink(struct inode *dir, const char *name, size_t len, const char *target,
                         const struct cred *c)
{
    uint32_t uid, gid, mode = S_IFLNK | 0777;
    struct p9fs *fs = p9_of(dir)->fs;
    struct p9_rsymlink reply = {0};
    uint8_t in[P9_IN_MAX];
    if (dir->sb->read_only)
        return ERR_PTR(-EROFS);
    if (strlen(target) >= PATH_LEN_MAX)
        return ERR_PTR(-ENAMETOOLONG);
    inode_init_owner(dir, &mode, c, &uid, &gid);
    struct p9_tsymlink m = {.dfid = p9_of(dir)->fid,
                            .name = p9_name(name, len),
                            .target = p9_str_from(target),
                            .gid = gid};
    size_t cap = P9_OUT_MAX + PATH_LEN_MAX;
    uint8_t *out autofree = malloc(cap);
    int n = out ? p9_encode_tsymlink(out, cap, &m) : -ENOMEM;
    if (n < 0)
        return ERR_PTR(n);
    struct p9_req req = {
        .out = out, .out_len = (size_t)n, .in = in, .in_cap = sizeof in, .want = P9_rsymlink};
    int r = p9_transact(fs->conn, &req);
    if (r == 0 && p9_decode_rsymlink(in, req.in_len, &reply) < 0)
        r = p9_conn_fail(fs->conn, "malformed rsymlink");
    return r < 0 ? ERR_PTR(r) : made(dir, name, len, mode, uid, gid);
}

int p9_link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
    struct p9_rlink reply = {0};
    if (dir->sb->read_only)
        return -EROFS;
    struct p9_tlink m = {
        .dfid = p9_of(dir)->fid, .fid = p9_of(target)->fid, .name = p9_name(name, len)};
    int r = P9_CALL(p9_of(dir)->fs->conn, tlink, rlink, &m, &reply);
    if (r < 0)
        return r;
    dir_changed(dir);
    p9_of(target)->stale = true;
    return 0;
}

/* For servers without Tunlinkat: a fid of the name, which Tremove takes away in any case. */
static int remove_plain(struct inode *dir, const char *name, size_t len)
{
    struct p9_conn *conn = p9_of(dir)->fs->conn;
    struct p9_twalk w = {.fid = p9_of(dir)->fid,
                         .newfid = p9_fid_new(conn),
                         .names = {.count = 1, .name = {p9_name(name, len)}}};
    struct p9_rwalk wr = {0};
    struct p9_tremove m = {.fid = w.newfid};
    struct p9_rremove reply = {0};
    int r = P9_CALL(conn, twalk, rwalk, &w, &wr);
    if (r == 0 && wr.qids.count != 1)
        r = p9_conn_fail(conn, "walked another distance");
    return r < 0 ? r : P9_CALL(conn, tremove, rremove, &m, &reply);
}

static int remove_name(struct inode *dir, const char *name, size_t len, struct inode *victim,
                       uint32_t flags)
{
    struct p9_runlinkat reply = {0};
    if (dir->sb->read_only)
        return -EROFS;
    struct p9_tunlinkat m = {.dfid = p9_of(dir)->fid, .name = p9_name(name, len), .flags = flags};
    int r = P9_CALL(p9_of(dir)->fs->conn, tunlinkat, runlinkat, &m, &reply);
    if (r == -EOPNOTSUPP)
        r = remove_plain(dir, name, len);
    if (r < 0)
        return r;
    dir_changed(dir);
    /* Right at once, for p9_release(); the rest when somebody asks. */
    inode_add_nlink(victim, flags ? -(int)victim->attr.nlink : victim->attr.nlink ? -1 : 0);
    p9_of(victim)->stale = true;
    return 0;
}

int p9_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    return remove_name(dir, name, len, victim, 0);
}

int p9_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    return remove_name(dir, name, len, victim, P9_UNLINK_REMOVEDIR);
}

/* For servers without Trenameat. */
static int rename_plain(struct p9_conn *conn, struct inode *src, struct inode *ndir,
                        const struct p9_str *name)
{
    struct p9_trename m = {.fid = p9_of(src)->fid, .dfid = p9_of(ndir)->fid, .name = *name};
    struct p9_rrename reply = {0};
    return P9_CALL(conn, trename, rrename, &m, &reply);
}

int p9_rename(struct inode *odir, const char *oname, size_t olen, struct inode *src,
              struct inode *ndir, const char *nname, size_t nlen, struct inode *dst, uint32_t flags)
{
    struct p9_conn *conn = p9_of(odir)->fs->conn;
    struct p9_rrenameat2 reply2;
    struct p9_rrenameat reply = {0};
    int r;
    if (odir->sb->read_only)
        return -EROFS;
    if (flags && p9_conn_ringbox(conn)) {
        struct p9_trenameat2 m = {.odfid = p9_of(odir)->fid,
                                  .oname = p9_name(oname, olen),
                                  .ndfid = p9_of(ndir)->fid,
                                  .nname = p9_name(nname, nlen),
                                  .flags = flags};
        r = P9_CALL(conn, trenameat2, rrenameat2, &m, &reply2);
    } else if (flags & ~RENAME_NOREPLACE || (flags && !odir->sb->exclusive)) {
        return -EINVAL; /* plain 9P cannot say it */
    } else {
        struct p9_trenameat m = {.odfid = p9_of(odir)->fid,
                                 .oname = p9_name(oname, olen),
                                 .ndfid = p9_of(ndir)->fid,
                                 .nname = p9_name(nname, nlen)};
        r = P9_CALL(conn, trenameat, rrenameat, &m, &reply);
        if (r == -EOPNOTSUPP)
            r = rename_plain(conn, src, ndir, &m.nname);
    }
    if (r < 0)
        return r;
    dir_changed(odir);
    dir_changed(ndir);
    p9_of(src)->stale = true;
    if (dst) {
        if (!(flags & RENAME_EXCHANGE))
            inode_add_nlink(dst, S_ISDIR(inode_type(dst)) ? -(int)dst->attr.nlink
                                 : dst->attr.nlink        ? -1
                                                          : 0);
        p9_of(dst)->stale = true;
    }
    return 0;
}

/* --- readlink: asked once --- */

static int link_fetch(struct p9_inode *pi)
{
    size_t cap = P9_STR_MAX + P9_IOHDR;
    uint8_t *in autofree = malloc(cap);
    struct p9_treadlink m = {0};
    struct p9_rreadlink reply = {0};
    if (!in)
        return -ENOMEM;
    int r = p9_fid(pi, &m.fid);
    if (r == 0)
        r = P9_CALL_BUF(pi->fs->conn, treadlink, rreadlink, &m, &reply, in, cap);
    if (r < 0)
        return r;
    if (reply.target.len == 0)
        return p9_conn_fail(pi->fs->conn, "empty link");
    char *copy = malloc(reply.target.len);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, reply.target.s, reply.target.len);
    spin_lock(&pi->fs->lock);
    if (!pi->link) {
        pi->link_len = reply.target.len;
        pi->link = steal(copy);
    }
    spin_unlock(&pi->fs->lock);
    free(copy);
    return 0;
}

ssize_t p9_readlink(struct inode *i, char *buf, size_t size)
{
    struct p9_inode *pi = p9_of(i);
    if (!S_ISLNK(inode_type(i)))
        return -EINVAL;
    spin_lock(&pi->fs->lock);
    bool have = pi->link;
    spin_unlock(&pi->fs->lock);
    if (!have) {
        int r = link_fetch(pi);
        if (r < 0)
            return r;
    }
    /* A link's target never changes, so what was set once may be read without the lock. */
    size_t n = MIN(size, pi->link_len);
    memcpy(buf, pi->link, n);
    return (ssize_t)n;
}
