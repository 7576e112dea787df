/* SPDX-License-Identifier: Apache-2.0
 * op_misc.c - extended attributes and record locks.
 *
 * An attribute is buffered in the fid: read in one go by Txattrwalk, written when the fid that
 * Txattrcreate prepared is clunked. Only names in "user." can be written. Locks are OFD locks of
 * the fid's descriptor (or those of flock) and never wait here: a busy one is reported and the client asks again.
 * Host: fgetxattr, flistxattr, fsetxattr, fremovexattr, fcntl, flock, close [gofer]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct xattr_buf *xattr_buf_new(struct conn *c, uint64_t size, int *ret_err)
{
    *ret_err = -ENOSPC;
    if (c->xattr_fids >= XATTR_FIDS_MAX || size > XATTR_VALUE_MAX)
        return NULL;
    *ret_err = -ENOMEM;
    return calloc(1, sizeof(struct xattr_buf) + size);
}

/* Value of @name, or the list of names when it is empty. */
static int xattr_read(struct conn *c, struct node *n, const struct p9_str *name,
                      struct xattr_buf **ret)
{
    int err;
    if (name->len > 255)
        return -ERANGE;
    if (n->type != S_IFREG && n->type != S_IFDIR)
        return -EOPNOTSUPP;
    struct xattr_buf *x = xattr_buf_new(c, XATTR_VALUE_MAX, &err);
    if (!x)
        return err;
    memcpy(x->name, name->s, name->len);
    int fd = node_open(c, n, O_RDONLY);
    if (fd < 0) {
        free(x);
        return fd == -EACCES ? -ENODATA : fd;
    }
    ssize_t len = name->len ? fgetxattr(fd, x->name, x->data, XATTR_VALUE_MAX)
                            : flistxattr(fd, (char *)x->data, XATTR_VALUE_MAX);
    err = -errno;
    close(fd);
    if (len < 0) {
        free(x);
        return err;
    }
    x->size = (uint64_t)len;
    struct xattr_buf *fit = realloc(x, sizeof *x + (size_t)len);
    *ret = fit ? fit : x;
    return 0;
}

OP(txattrwalk)
{
    struct xattr_buf *x = NULL;
    struct fid *nf = NULL;
    struct fid *f = fid_find(c, m->fid);
    if (!f || !fid_free_nr(c, m->newfid))
        return -EBADF;
    int r = xattr_read(c, f->node, &m->name, &x);
    if (r < 0)
        return r;
    r = fid_add(c, m->newfid, node_get(f->node), &nf);
    if (r < 0) {
        node_put(c, f->node);
        free(x);
        return r;
    }
    nf->kind = FID_XATTR_READ;
    nf->xattr = x;
    c->xattr_fids++;
    struct p9_rxattrwalk reply = {.tag = m->tag, .size = x->size};
    return p9_encode_rxattrwalk(out, cap, &reply);
}

OP(txattrcreate)
{
    int err;
    struct fid *f = fid_find(c, m->fid);
    if (!f || f->kind != FID_PATH)
        return -EBADF;
    if (node_writable(f->node) < 0)
        return -EROFS;
    if (m->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    if (m->name.len > 255)
        return -ERANGE;
    if (m->name.len < 6 || memcmp(m->name.s, "user.", 5) != 0)
        return -EOPNOTSUPP;
    if (m->size > XATTR_VALUE_MAX)
        return -E2BIG;
    struct xattr_buf *x = xattr_buf_new(c, m->size, &err);
    if (!x)
        return err;
    memcpy(x->name, m->name.s, m->name.len);
    x->size = m->size;
    x->flags = m->flags;
    f->xattr = x;
    f->kind = FID_XATTR_WRITE;
    c->xattr_fids++;
    return p9_encode_rxattrcreate(out, cap, &(struct p9_rxattrcreate){.tag = m->tag});
}

static int flock_from(uint8_t type, uint64_t start, uint64_t length, struct flock *ret)
{
    static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
    if (type >= ARRAY_SIZE(types) || start > INT64_MAX || length > INT64_MAX)
        return -EINVAL;
    *ret = (struct flock){.l_type = types[type],
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)start,
                          .l_len = (off_t)length};
    return 0;
}

static int lockable(const struct node *n)
{
    return n->export->locks ? 0 : -EOPNOTSUPP;
}

static const int flock_ops[] = {
    [P9_LOCK_RDLCK] = LOCK_SH, [P9_LOCK_WRLCK] = LOCK_EX, [P9_LOCK_UNLCK] = LOCK_UN};

OP(tlock)
{
    struct flock l;
    struct p9_rlock reply = {.tag = m->tag, .status = P9_LOCK_SUCCESS};
    struct fid *f = fid_find(c, m->fid);
    if (!f || f->kind != FID_OPEN)
        return -EBADF;
    int r = lockable(f->node);
    if (r == 0)
        r = flock_from(m->type, m->start, m->length, &l);
    if (r < 0)
        return r;
    bool whole = c->ringbox && m->flags & P9_LOCK_FLOCK;
    if ((whole ? flock(f->fd, flock_ops[m->type] | LOCK_NB) : fcntl(f->fd, F_OFD_SETLK, &l)) < 0) {
        if (errno != EAGAIN && errno != EACCES)
            return -errno;
        reply.status = P9_LOCK_BLOCKED;
    }
    return p9_encode_rlock(out, cap, &reply);
}

OP(tgetlock)
{
    struct flock l;
    struct fid *f = fid_find(c, m->fid);
    if (!f || f->kind != FID_OPEN)
        return -EBADF;
    int r = lockable(f->node);
    if (r == 0)
        r = flock_from(m->type, m->start, m->length, &l);
    if (r < 0)
        return r;
    if (fcntl(f->fd, F_OFD_GETLK, &l) < 0)
        return -errno;
    struct p9_rgetlock reply = {
        .tag = m->tag,
        .type = (uint8_t)(l.l_type == F_RDLCK   ? P9_LOCK_RDLCK
                          : l.l_type == F_WRLCK ? P9_LOCK_WRLCK
                                                : P9_LOCK_UNLCK),
        .start = (uint64_t)l.l_start,
        .length = (uint64_t)l.l_len,
        .proc_id = m->proc_id,
        .client_id = m->client_id,
    };
    return p9_encode_rgetlock(out, cap, &reply);
}
