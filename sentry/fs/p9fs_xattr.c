/* SPDX-License-Identifier: Apache-2.0
 * p9fs_xattr.c - extended attributes, each a small session of its own: walk, read or write, clunk.
 *
 * Programs ask for security and ACL names of every file they touch; those are never at the server
 * in a form that would mean something here, so they are answered without a message.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "p9fs_private.h"

#define P9_XATTR_MAX 65536u

static int name_check(const char *name)
{
    if (strncmp(name, "user.", 5) == 0)
        return strlen(name) > 255 ? -ERANGE : name[5] ? 0 : -EINVAL;
    if (strncmp(name, "security.", 9) == 0 || strncmp(name, "trusted.", 8) == 0)
        return -ENODATA;
    return -EOPNOTSUPP;
}

/* Read the value that @fid holds. */
static ssize_t value_read(struct p9_conn *conn, uint32_t fid, uint8_t *dst, size_t size)
{
    size_t cap = MIN(size, (size_t)p9_conn_iounit(conn)), done = 0;
    uint8_t *in autofree = malloc(cap + P9_RREAD_HDR);
    if (!in)
        return -ENOMEM;
    while (done < size) {
        struct p9_tread m = {.fid = fid, .offset = done, .count = (uint32_t)MIN(size - done, cap)};
        struct p9_rread reply = {0};
        int r = P9_CALL_BUF(conn, tread, rread, &m, &reply, in, m.count + P9_RREAD_HDR);
        if (r < 0)
            return r;
        if (reply.data.len == 0)
            break;
        memcpy(dst + done, reply.data.base, reply.data.len); /* <= count: checked by capacity */
        done += reply.data.len;
    }
    return (ssize_t)done;
}

/* @name "" asks for the list of names. */
static ssize_t xattr_fetch(struct p9_inode *pi, const char *name, void *buf, size_t size)
{
    struct p9_conn *conn = pi->fs->conn;
    struct p9_txattrwalk m = {.newfid = p9_fid_new(conn), .name = p9_str_from(name)};
    struct p9_rxattrwalk reply = {0};
    ssize_t r = p9_fid(pi, &m.fid);
    if (r == 0)
        r = P9_CALL(conn, txattrwalk, rxattrwalk, &m, &reply);
    if (r < 0)
        return r;
    if (reply.size > P9_XATTR_MAX)
        r = p9_conn_fail(conn, "an attribute beyond all limits");
    else if (size == 0)
        r = (ssize_t)reply.size;
    else if (reply.size > size)
        r = -ERANGE;
    else
        r = reply.size ? value_read(conn, m.newfid, buf, reply.size) : 0;
    p9_clunk(conn, m.newfid, false);
    return r;
}

ssize_t p9_getxattr(struct inode *i, const char *name, void *buf, size_t size)
{
    int r = name_check(name);
    return r < 0 ? r : xattr_fetch(p9_of(i), name, buf, size);
}

ssize_t p9_listxattr(struct inode *i, char *buf, size_t size)
{
    uint8_t *all autofree = malloc(P9_XATTR_MAX);
    size_t out = 0;
    if (!all)
        return -ENOMEM;
    ssize_t n = xattr_fetch(p9_of(i), "", all, P9_XATTR_MAX);
    if (n <= 0)
        return n == -EOPNOTSUPP ? 0 : n;
    /* Only what getxattr would answer. */
    for (size_t at = 0; at < (size_t)n;) {
        size_t len = strnlen((char *)all + at, (size_t)n - at);
        if (at + len == (size_t)n)
            return p9_conn_fail(p9_of(i)->fs->conn, "an attribute name that does not end");
        if (strncmp((char *)all + at, "user.", 5) == 0) {
            if (size && out + len + 1 > size)
                return -ERANGE;
            if (size)
                memcpy(buf + out, all + at, len + 1);
            out += len + 1;
        }
        at += len + 1;
    }
    return (ssize_t)out;
}

/* The value is stored, or refused, when the fid is clunked. */
static int value_write(struct p9_conn *conn, uint32_t fid, const uint8_t *buf, size_t size)
{
    uint8_t out[64], in[64];
    struct p9_rwrite reply = {0};
    for (size_t done = 0; done < size; done += reply.count) {
        uint32_t len = (uint32_t)MIN(size - done, (size_t)p9_conn_iounit(conn));
        struct p9_twrite m = {.fid = fid, .offset = done, .data = {.base = NULL, .len = len}};
        int n = p9_encode_twrite(out, sizeof out, &m);
        struct p9_req req = {.out = out,
                             .out_len = (size_t)n,
                             .data = {(void *)(uintptr_t)(buf + done), len},
                             .in = in,
                             .in_cap = sizeof in,
                             .want = P9_rwrite};
        int r = n < 0 ? n : p9_transact(conn, &req);
        if (r < 0)
            return r;
        if (p9_decode_rwrite(in, req.in_len, &reply) < 0 || reply.count == 0 || reply.count > len)
            return p9_conn_fail(conn, "wrote another amount");
    }
    return 0;
}

static int xattr_store(struct p9_inode *pi, const char *name, const void *buf, size_t size,
                       int flags)
{
    struct p9_conn *conn = pi->fs->conn;
    uint32_t fid = p9_fid_new(conn);
    struct p9_twalk w = {.fid = pi->fid, .newfid = fid};
    struct p9_rwalk wr = {0};
    struct p9_rxattrcreate reply = {0};
    struct p9_rclunk ck = {0};
    struct p9_tclunk clunk = {.fid = fid};
    if (pi->vfs->sb->read_only)
        return -EROFS;
    if (size > P9_XATTR_MAX)
        return -E2BIG;
    int r = P9_CALL(conn, twalk, rwalk, &w, &wr);
    if (r < 0)
        return r;
    struct p9_txattrcreate m = {
        .fid = fid, .name = p9_str_from(name), .size = size, .flags = (uint32_t)flags};
    r = P9_CALL(conn, txattrcreate, rxattrcreate, &m, &reply);
    if (r == 0)
        r = value_write(conn, fid, buf, size);
    int e = P9_CALL(conn, tclunk, rclunk, &clunk, &ck);
    pi->stale = true;
    return r < 0 ? r : e;
}

int p9_setxattr(struct inode *i, const char *name, const void *buf, size_t size, int flags)
{
    int r = name_check(name);
    if (r < 0)
        return r == -ENODATA ? -EPERM : r;
    bool either = size == 0 && flags == 0; /* which means removal on the wire */
    r = xattr_store(p9_of(i), name, buf, size, either ? XATTR_REPLACE : flags);
    if (r == -ENODATA && either)
        r = xattr_store(p9_of(i), name, buf, size, XATTR_CREATE);
    return r;
}

int p9_removexattr(struct inode *i, const char *name)
{
    char probe;
    int r = name_check(name);
    if (r < 0)
        return r;
    ssize_t n = xattr_fetch(p9_of(i), name, &probe, 0);
    return n < 0 ? (int)n : xattr_store(p9_of(i), name, "", 0, 0);
}
