/* SPDX-License-Identifier: Apache-2.0
 * fid.c - the client's handles: a chained hash that grows with use.
 *
 * The client may name any number; unknown ones are -EBADF, more than FIDS_MAX are -ENFILE. A fid
 * owns a reference to its node, its opened descriptor and a buffered extended attribute.
 * Host: close, fremovexattr, fsetxattr [gofer]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <base/hash.h>

static struct fid **bucket_of(struct conn *c, uint32_t nr)
{
    return &c->fids[hash_u64(nr) & (c->fid_buckets - 1)];
}

static void table_grow(struct conn *c)
{
    uint32_t n = c->fid_buckets ? c->fid_buckets * 2 : 256;
    struct fid **old = c->fids, **grown = calloc(n, sizeof *grown);
    uint32_t old_n = c->fid_buckets;
    if (!grown)
        return; /* longer chains are only slower */
    c->fids = grown;
    c->fid_buckets = n;
    for (uint32_t i = 0; i < old_n; i++)
        while (old[i]) {
            struct fid *f = old[i];
            old[i] = f->next;
            struct fid **b = bucket_of(c, f->nr);
            f->next = *b;
            *b = f;
        }
    free(old);
}

struct fid *fid_find(struct conn *c, uint32_t nr)
{
    if (!c->fid_buckets)
        return NULL;
    struct fid *f = *bucket_of(c, nr);
    while (f && f->nr != nr)
        f = f->next;
    return f;
}

bool fid_free_nr(struct conn *c, uint32_t nr)
{
    return nr != P9_NOFID && !fid_find(c, nr);
}

int fid_add(struct conn *c, uint32_t nr, struct node *n, struct fid **ret)
{
    if (!fid_free_nr(c, nr))
        return -EBADF;
    if (c->fid_count >= FIDS_MAX)
        return -ENFILE;
    if (c->fid_count >= c->fid_buckets)
        table_grow(c);
    struct fid *f = c->fid_buckets ? calloc(1, sizeof *f) : NULL;
    if (!f)
        return -ENOMEM;
    f->nr = nr;
    f->node = n;
    f->fd = -1;
    struct fid **b = bucket_of(c, nr);
    f->next = *b;
    *b = f;
    c->fid_count++;
    if (ret)
        *ret = f;
    return 0;
}

void fid_set_open(struct conn *c, struct fid *f, int fd, int flags)
{
    f->kind = FID_OPEN;
    f->fd = fd;
    f->open_flags = flags;
    c->open_fds++;
}

/* The value announced by Txattrcreate is stored when the fid is clunked. */
static int xattr_commit(struct conn *c, struct fid *f)
{
    struct xattr_buf *x = f->xattr;
    if (x->done != x->size)
        return -EINVAL;
    int fd = node_open(c, f->node, O_RDONLY);
    if (fd < 0)
        return fd;
    int r = x->size == 0 && x->flags == 0 ? fremovexattr(fd, x->name)
                                          : fsetxattr(fd, x->name, x->data, x->size, (int)x->flags);
    r = r < 0 ? -errno : 0;
    close(fd);
    return r;
}

int fid_drop(struct conn *c, struct fid *f)
{
    int r = 0;
    struct fid **link = bucket_of(c, f->nr);
    while (*link != f)
        link = &(*link)->next;
    *link = f->next;
    c->fid_count--;
    if (f->kind == FID_OPEN) {
        close(f->fd);
        c->open_fds--;
    } else if (f->kind == FID_XATTR_WRITE) {
        r = xattr_commit(c, f);
    }
    if (f->xattr)
        c->xattr_fids--;
    free(f->xattr);
    node_put(c, f->node);
    free(f);
    return r;
}

void fid_drop_all(struct conn *c)
{
    for (uint32_t i = 0; i < c->fid_buckets; i++)
        while (c->fids[i]) {
            if (c->fids[i]->kind == FID_XATTR_WRITE)
                c->fids[i]->kind = FID_XATTR_READ; /* not clunked: not stored */
            (void)fid_drop(c, c->fids[i]);
        }
    free(c->fids);
    c->fids = NULL;
    c->fid_buckets = 0;
}
