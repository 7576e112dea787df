/* SPDX-License-Identifier: Apache-2.0
 * op_name.c - requests that change names: mkdir, mknod, symlink, link, rename, unlink.
 *
 * Every one works on a single component beneath a directory descriptor and is refused with EROFS on
 * a read-only export. Two directories in one request must be of one export, else a file of a
 * read-only export could be linked into a writable one. Device nodes are not made.
 * Host: mkdirat, mknodat, symlinkat, linkat, renameat2, unlinkat, fchownat [gofer]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE 2u
#endif

/* Directory of fid @nr, fit for changing @name in it. */
static int dir_of(struct conn *c, uint32_t nr, const struct p9_str *name, struct node **ret_dir,
                  char ret_name[P9_NAME_MAX + 1])
{
    struct fid *f = fid_find(c, nr);
    if (!f)
        return -EBADF;
    int r = node_enterable(f->node);
    if (r == 0)
        r = node_writable(f->node);
    if (r == 0 && !p9_name_ok(name))
        r = name->len > P9_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
    if (r < 0)
        return r;
    node_name_copy(name, ret_name);
    *ret_dir = f->node;
    return node_fd(c, f->node);
}

/* After a creation: group as asked (best effort), and the qid. */
static int finish_new(struct conn *c, struct node *dir, const struct p9_str *name, uint32_t gid,
                      uint32_t mode, struct p9_qid *ret)
{
    struct node *n = NULL;
    struct statx stx;
    int r = node_child(c, dir, name, &stx, &n);
    if (r < 0)
        return r;
    int fd = node_fd(c, n);
    if (fd >= 0 && gid != UINT32_MAX && stx.stx_gid != gid && !(mode & 06000))
        (void)!fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    *ret = qid_from_statx(c, n->export, &stx);
    node_put(c, n);
    return 0;
}

OP(tmkdir)
{
    char name[P9_NAME_MAX + 1];
    struct node *dir = NULL;
    struct p9_rmkdir reply = {.tag = m->tag};
    int fd = dir_of(c, m->dfid, &m->name, &dir, name);
    if (fd < 0)
        return fd;
    if (mkdirat(fd, name, m->mode & 07777) < 0)
        return -errno;
    int r = finish_new(c, dir, &m->name, m->gid, m->mode, &reply.qid);
    return r < 0 ? r : p9_encode_rmkdir(out, cap, &reply);
}

OP(tmknod)
{
    char name[P9_NAME_MAX + 1];
    struct node *dir = NULL;
    struct p9_rmknod reply = {.tag = m->tag};
    uint32_t type = m->mode & S_IFMT;
    int fd = dir_of(c, m->dfid, &m->name, &dir, name);
    if (fd < 0)
        return fd;
    if (type == S_IFCHR || type == S_IFBLK)
        return -EPERM;
    if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && type != 0)
        return -EINVAL;
    if (mknodat(fd, name, type | (m->mode & 07777), 0) < 0)
        return -errno;
    int r = finish_new(c, dir, &m->name, m->gid, m->mode, &reply.qid);
    return r < 0 ? r : p9_encode_rmknod(out, cap, &reply);
}

OP(tsymlink)
{
    char name[P9_NAME_MAX + 1], target[P9_STR_MAX + 1];
    struct node *dir = NULL;
    struct p9_rsymlink reply = {.tag = m->tag};
    int fd = dir_of(c, m->dfid, &m->name, &dir, name);
    if (fd < 0)
        return fd;
    if (m->target.len == 0)
        return -ENOENT;
    snprintf(target, sizeof target, "%.*s", (int)m->target.len, m->target.s);
    if (symlinkat(target, fd, name) < 0)
        return -errno;
    int r = finish_new(c, dir, &m->name, m->gid, 0, &reply.qid);
    return r < 0 ? r : p9_encode_rsymlink(out, cap, &reply);
}

/* By descriptor where the host lets us, so that the object linked is the one the fid stands for. */
static int link_node(struct conn *c, struct node *n, int dirfd, const char *name)
{
    char num[FD_PATH_MAX];
    int fd = node_fd(c, n);
    if (fd < 0)
        return fd;
    if (c->proc_fd < 0)
        return linkat(fd, "", dirfd, name, AT_EMPTY_PATH) < 0 ? -errno : 0;
    fd_name(fd, num);
    return linkat(c->proc_fd, num, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

OP(tlink)
{
    char name[P9_NAME_MAX + 1];
    struct node *dir = NULL;
    struct fid *f = fid_find(c, m->fid);
    int fd = dir_of(c, m->dfid, &m->name, &dir, name);
    if (fd < 0)
        return fd;
    if (!f)
        return -EBADF;
    if (f->node->export != dir->export)
        return -EXDEV;
    if (f->node->wall || f->node->type == S_IFDIR)
        return -EPERM;
    fd = node_pin(c, dir);
    int r = fd < 0 ? fd : link_node(c, f->node, fd, name);
    if (fd >= 0)
        node_unpin(c, dir);
    return r < 0 ? r : p9_encode_rlink(out, cap, &(struct p9_rlink){.tag = m->tag});
}

/* The tree of names after a successful rename. */
static void renamed(struct conn *c, struct node *odir, const struct p9_str *oname,
                    struct node *ndir, const struct p9_str *nname, uint32_t flags)
{
    struct node *moved = node_find(c, odir, oname);
    struct node *other = node_find(c, ndir, nname);
    if (moved == other)
        return;
    if (moved)
        node_get(moved);
    if (other)
        node_get(other);
    if (other && !(flags & RENAME_EXCHANGE))
        node_detach(c, other);
    if (moved)
        node_move(c, moved, ndir, nname);
    if (other && flags & RENAME_EXCHANGE)
        node_move(c, other, odir, oname);
    if (other)
        node_put(c, other);
    if (moved)
        node_put(c, moved);
}

/* Are the two names links to one file? Then rename() does nothing. */
static bool same_object(struct conn *c, struct node *a, struct node *b)
{
    (void)c;
    return a && b && a->dev == b->dev && a->ino == b->ino;
}

static int rename_names(struct conn *c, struct node *odir, const struct p9_str *oname,
                        struct node *ndir, const struct p9_str *nname, uint32_t flags)
{
    char from[P9_NAME_MAX + 1], to[P9_NAME_MAX + 1];
    if (odir->export != ndir->export)
        return -EXDEV;
    if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    node_name_copy(oname, from);
    node_name_copy(nname, to);
    node_prepare_loss(c, node_find(c, odir, oname));
    node_prepare_loss(c, node_find(c, ndir, nname));
    int ofd = node_pin(c, odir);
    if (ofd < 0)
        return ofd;
    int nfd = node_fd(c, ndir);
    int r = nfd;
    if (nfd >= 0)
        r = syscall(SYS_renameat2, ofd, from, nfd, to, flags) < 0 ? -errno : 0;
    node_unpin(c, odir);
    if (r < 0)
        return r;
    if (flags & RENAME_EXCHANGE ||
        !same_object(c, node_find(c, odir, oname), node_find(c, ndir, nname)))
        renamed(c, odir, oname, ndir, nname, flags);
    return 0;
}

static int rename_request(struct conn *c, uint32_t odfid, const struct p9_str *oname,
                          uint32_t ndfid, const struct p9_str *nname, uint32_t flags)
{
    char unused[P9_NAME_MAX + 1];
    struct node *odir = NULL, *ndir = NULL;
    int r = dir_of(c, odfid, oname, &odir, unused);
    if (r >= 0)
        r = dir_of(c, ndfid, nname, &ndir, unused);
    return r < 0 ? r : rename_names(c, odir, oname, ndir, nname, flags);
}

OP(trenameat)
{
    int r = rename_request(c, m->odfid, &m->oname, m->ndfid, &m->nname, 0);
    return r < 0 ? r : p9_encode_rrenameat(out, cap, &(struct p9_rrenameat){.tag = m->tag});
}

OP(trenameat2)
{
    int r = rename_request(c, m->odfid, &m->oname, m->ndfid, &m->nname, m->flags);
    return r < 0 ? r : p9_encode_rrenameat2(out, cap, &(struct p9_rrenameat2){.tag = m->tag});
}

/* Own name of a node as wire string; false for roots and detached nodes. */
static bool own_name(const struct node *n, char buf[P9_NAME_MAX + 1], struct p9_str *ret)
{
    if (!n->parent)
        return false;
    *ret = (struct p9_str){.s = n->name, .len = n->name_len};
    node_name_copy(ret, buf);
    ret->s = buf;
    return true;
}

OP(trename)
{
    char buf[P9_NAME_MAX + 1], unused[P9_NAME_MAX + 1];
    struct p9_str from;
    struct node *ndir = NULL;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int r = dir_of(c, m->dfid, &m->name, &ndir, unused);
    if (r >= 0)
        r = node_writable(f->node);
    if (r < 0)
        return r;
    if (!own_name(f->node, buf, &from))
        return f->node->detached ? -ENOENT : -EBUSY;
    if (node_enterable(f->node->parent) < 0)
        return -EACCES;
    struct node *odir = node_get(f->node->parent);
    r = rename_names(c, odir, &from, ndir, &m->name, 0);
    node_put(c, odir);
    return r < 0 ? r : p9_encode_rrename(out, cap, &(struct p9_rrename){.tag = m->tag});
}

static int unlink_name(struct conn *c, struct node *dir, const struct p9_str *name, bool is_dir)
{
    char text[P9_NAME_MAX + 1];
    node_name_copy(name, text);
    struct node *n = node_find(c, dir, name);
    node_prepare_loss(c, n);
    int fd = node_fd(c, dir);
    if (fd < 0)
        return fd;
    if (unlinkat(fd, text, is_dir ? AT_REMOVEDIR : 0) < 0)
        return -errno;
    if (n)
        node_detach(c, n);
    return 0;
}

OP(tunlinkat)
{
    char unused[P9_NAME_MAX + 1];
    struct node *dir = NULL;
    if (m->flags & ~P9_UNLINK_REMOVEDIR)
        return -EINVAL;
    int r = dir_of(c, m->dfid, &m->name, &dir, unused);
    if (r >= 0)
        r = unlink_name(c, dir, &m->name, m->flags & P9_UNLINK_REMOVEDIR);
    return r < 0 ? r : p9_encode_runlinkat(out, cap, &(struct p9_runlinkat){.tag = m->tag});
}

/* Removes and clunks; the fid is gone whatever the result. */
OP(tremove)
{
    char buf[P9_NAME_MAX + 1];
    struct p9_str name;
    struct fid *f = fid_find(c, m->fid);
    if (!f)
        return -EBADF;
    int r = node_writable(f->node);
    if (r == 0 && !own_name(f->node, buf, &name))
        r = f->node->detached ? -ENOENT : -EBUSY;
    if (r == 0)
        r = node_enterable(f->node->parent);
    if (r == 0)
        r = unlink_name(c, f->node->parent, &name, f->node->type == S_IFDIR);
    if (f->kind == FID_XATTR_WRITE)
        f->kind = FID_XATTR_READ;
    (void)fid_drop(c, f);
    return r < 0 ? r : p9_encode_rremove(out, cap, &(struct p9_rremove){.tag = m->tag});
}
