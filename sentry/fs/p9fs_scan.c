/* SPDX-License-Identifier: Apache-2.0
 * p9fs_scan.c - whole directories with attributes in one message, and more than was asked for.
 *
 * Model: a directory is scanned when it is listed, or when so many of its names were asked for that one
 * message with all costs less than the next ones (scan_pays). Who goes on to directories found by a scan
 * is walking a tree: then the request also names siblings and lets the server add what is beneath, and
 * those listings wait (p9fs_listing.c) until somebody comes. How many bytes may come unasked follows
 * from use: it doubles while most of what came was used and halves while it was not.
 *
 * A program that only wants names, such as find, gets attributes of directories alone: they are what a
 * scan costs most.
 *
 * Only read-only exclusive mounts do this: there what a listing says stays true.
 *
 * The server may lie: impossible names, listings of what is no directory, a scan that does not advance
 * fail the connection.
 *
 * Locks: fs->lock for the buffers, the counters and the choice of siblings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>

#include "p9fs_private.h"

#define SCAN_OUT_BYTES (P9_LIST_MAX * (P9_NAME_MAX + 2u) + 64u)
#define SCAN_AHEAD_FIRST (16u << 10) /* bytes of listings nobody asked for */
#define SCAN_AHEAD_MAX (192u << 10)
#define SCAN_WALK 4u
#define SCAN_EARLY 16u /* names asked for, of the mount: those of the start of one program */
#define SCAN_RECENT 256u /* listings after which older experience counts half */
#define SCAN_BARE 64u    /* listings without use of a file's attributes, then they come without */
#define SCAN_BYTES_NAME 2048u /* of a directory's size: what costs about as much as one walk */

/* Buffers of one scan; some are kept, since fresh memory costs more than the message. */
struct p9_scanbuf {
    struct p9_scanbuf *next;
    struct p9_builder builder;
    uint32_t cap;
    uint8_t walk_out[P9_OUT_MAX], walk_in[P9_WALK_IN_MAX], out[SCAN_OUT_BYTES];
    uint8_t in[];
};

struct scan {
    struct p9_inode *pi;
    struct p9fs *fs;
    struct p9_scanbuf *buf;
    struct inode *parent;       /* reference; the request is (parent, names) when there is one */
    struct p9_listing *peers;   /* reference: of the parent */
    uint32_t pick[P9_LIST_MAX]; /* entries of peers that names stand for; the first is pi's own */
    uint64_t seen;              /* fs->changes before it was asked for */
    struct p9_tscan m;
    struct p9_rscan reply;
    struct p9_listing *blocks[P9_SCAN_BLOCKS_MAX]; /* borrowed or waiting: see scan_blocks() */
};

bool p9_scans(const struct p9fs *fs)
{
    return fs->sb->exclusive && fs->sb->read_only && p9_conn_ringbox(fs->conn);
}

bool p9_scan_pays(struct p9_inode *dir)
{
    struct p9fs *fs = dir->fs;
    struct attr a;
    if (!p9_scans(fs))
        return false;
    inode_attr(dir->vfs, &a);
    spin_lock(&fs->lock);
    uint32_t misses = ++dir->misses;
    bool early = ++fs->misses < SCAN_EARLY;
    bool refused = dir->listing_big || dir->scan_refused, walked = dir->name && fs->ahead_bytes;
    spin_unlock(&fs->lock);
    uint64_t enough = walked ? 1 : early ? 3 : 2;
    return !refused && misses >= MAX(enough, a.size / SCAN_BYTES_NAME);
}

static struct p9_scanbuf *buf_get(struct p9fs *fs)
{
    uint32_t cap = p9_conn_iounit(fs->conn) + P9_IOHDR;
    spin_lock(&fs->lock);
    struct p9_scanbuf *b = fs->scanbufs;
    if (b) {
        fs->scanbufs = b->next;
        fs->scanbuf_count--;
    }
    spin_unlock(&fs->lock);
    if (!b) {
        b = malloc(sizeof *b + cap);
        if (b)
            b->builder = (struct p9_builder){0};
    }
    if (b)
        b->cap = cap;
    return b;
}

static void buf_free(struct p9_scanbuf *b)
{
    p9_builder_fini(&b->builder);
    free(b);
}

static void buf_put(struct p9fs *fs, struct p9_scanbuf *b)
{
    if (b->builder.entries_cap > P9_HINT_ENTRIES)
        p9_builder_fini(&b->builder);
    spin_lock(&fs->lock);
    bool keep = fs->scanbuf_count < P9_SCANBUFS_KEPT;
    if (keep) {
        b->next = fs->scanbufs;
        fs->scanbufs = b;
        fs->scanbuf_count++;
    }
    spin_unlock(&fs->lock);
    if (!keep)
        buf_free(b);
}

void p9_scanbufs_free(struct p9fs *fs)
{
    while (fs->scanbufs) {
        struct p9_scanbuf *b = fs->scanbufs;
        fs->scanbufs = b->next;
        buf_free(b);
    }
}

/* --- what to ask for --- */

/* Bytes that may come unasked with the scan of a directory found by another scan. */
static uint32_t ahead_bytes(struct p9fs *fs)
{
    spin_lock(&fs->lock);
    if (fs->ahead_given > SCAN_RECENT)
        fs->ahead_given /= 2;
    bool unused = fs->ahead_waiting > fs->ahead_given / 2 + 8;
    uint32_t n = unused ? fs->ahead_bytes / 2 : MIN(fs->ahead_bytes * 2, SCAN_AHEAD_MAX);
    fs->ahead_bytes = MAX(n, SCAN_AHEAD_FIRST);
    n = fs->ahead_bytes;
    spin_unlock(&fs->lock);
    return n;
}

static bool sibling_wanted(struct p9fs *fs, const struct p9_attr *a)
{
    return a->valid && S_ISDIR(a->mode) && !p9_listing_known_locked(fs, a);
}

static bool walks(struct p9fs *fs, bool lookup)
{
    spin_lock(&fs->lock);
    bool yes = !lookup || fs->ahead_bytes || ++fs->lookup_scans > SCAN_WALK;
    spin_unlock(&fs->lock);
    return yes;
}

static void scan_names(struct scan *s, bool lookup)
{
    struct p9fs *fs = s->fs;
    bool big, in_sequence;
    s->m.names.count = 1;
    s->m.names.name[0] = p9_name(s->pi->name, s->pi->name_len);
    if (!walks(fs, lookup))
        return;
    s->peers = p9_listing_cached(p9_of(s->parent), &big);
    s->m.ahead = ahead_bytes(fs);
    if (!s->peers || !s->peers->index)
        return;
    int own = p9_listing_find(s->peers, s->pi->name, s->pi->name_len);
    if (own < 0)
        return;
    uint32_t n = p9_listing_after(fs, s->peers, (uint32_t)own, &s->peers->last_dir, sibling_wanted,
                                  P9_LIST_MAX - 1, s->pick + 1, &in_sequence);
    for (uint32_t k = 1; k <= n; k++) {
        const struct p9_entry *e = &s->peers->entries[s->pick[k]];
        s->m.names.name[k] = p9_name(s->peers->names + e->name, e->len);
    }
    s->m.names.count = (uint16_t)(n + 1);
}

/* One Tscan, behind the walk to the directory it names if that has no fid yet. */
static int scan_ask(struct scan *s)
{
    struct p9fs *fs = s->fs;
    struct p9_inode *base = s->parent ? p9_of(s->parent) : s->pi;
    struct p9_scanbuf *b = s->buf;
    struct p9_fidwalk w = {.pi = base};
    int r = p9_fidwalk_start(&w, b->walk_out, b->walk_in);
    if (r < 0)
        return r;
    s->m.fid = w.fid;
    s->m.count = b->cap - P9_IOHDR;
    int n = p9_encode_tscan(b->out, sizeof b->out, &s->m);
    struct p9_req scan = {
        .out = b->out, .out_len = (size_t)n, .in = b->in, .in_cap = b->cap, .want = P9_rscan};
    struct p9_req *both[2] = {&w.req, &scan};
    if (n < 0)
        r = -ENAMETOOLONG;
    else
        p9_transact_all(fs->conn, both + !w.needed, 1 + w.needed);
    r = p9_fidwalk_end(&w, r);
    if (r == 0 && scan.result == -EAGAIN) /* there was no second tag */
        (void)p9_transact(fs->conn, &scan);
    if (r == 0)
        r = scan.result;
    if (r < 0)
        return r;
    if (p9_decode_rscan(b->in, scan.in_len, &s->reply) < 0 || s->reply.own > s->reply.data.len ||
        s->reply.data.len > s->m.count || (s->reply.next && s->reply.own < s->reply.data.len))
        return p9_conn_fail(fs->conn, "malformed rscan");
    return 0;
}

/* --- what came --- */

/* @len bytes of entries into @b. */
static int entries_take(struct p9fs *fs, const uint8_t *data, uint32_t len, struct p9_builder *b)
{
    for (uint32_t at = 0; at < len;) {
        struct p9_dirent d;
        int n = p9_decode_dirent(data + at, len - at, &d, true);
        if (n <= 0 || !p9_name_ok(&d.name))
            return p9_conn_fail(fs->conn, "bad directory entry");
        int r = p9_builder_add(b, &d);
        if (r < 0)
            return r;
        at += (uint32_t)n;
    }
    return 0;
}

/* The directory that a block's header speaks of, or NULL: not one that can be. */
static const struct p9_attr *block_dir(const struct scan *s, const struct p9_scan_block *h,
                                       uint32_t count)
{
    const struct p9_listing *l = NULL;
    uint32_t entry = h->entry;
    if (h->block == P9_SCAN_NAMED) {
        if (entry == 0 || entry >= s->m.names.count)
            return NULL;
        l = s->peers;
        entry = s->pick[entry];
    } else if (h->block < count) {
        l = s->blocks[h->block];
    }
    if (!l || !l->attrs || entry >= l->count || !l->attrs[entry].valid ||
        !S_ISDIR(l->attrs[entry].mode))
        return NULL;
    return &l->attrs[entry];
}

static int block_take(struct scan *s, const struct p9_scan_block *h, const uint8_t *data,
                      uint32_t *count)
{
    const struct p9_attr *dir = block_dir(s, h, *count);
    struct p9_builder *b = &s->buf->builder;
    if (!dir || *count == P9_SCAN_BLOCKS_MAX)
        return p9_conn_fail(s->fs->conn, "a listing of no directory");
    p9_builder_start(b, true);
    int r = entries_take(s->fs, data, h->len, b);
    if (r < 0)
        return r;
    struct p9_listing *l = p9_builder_done(b);
    if (!l)
        return -ENOMEM;
    l->seen = s->seen;
    s->blocks[(*count)++] = l;
    p9_listing_ahead(s->fs, l, dir);
    return 0;
}

/* Listings behind the one asked for. Losing them is no failure, lies are. */
static void scan_blocks(struct scan *s, struct p9_listing *own)
{
    const uint8_t *data = s->reply.data.base;
    uint32_t at = s->reply.own, count = 0;
    s->blocks[count++] = own;
    while (at < s->reply.data.len) {
        struct p9_scan_block h;
        int n = p9_decode_scan_block(data + at, s->reply.data.len - at, &h);
        if (n <= 0) {
            (void)p9_conn_fail(s->fs->conn, "malformed rscan");
            break;
        }
        at += (uint32_t)n;
        if (block_take(s, &h, data + at, &count) < 0)
            break;
        at += h.len;
    }
    for (uint32_t k = 1; k < count; k++)
        p9_listing_put(s->blocks[k]);
}

/* All of the directory into the builder. -E2BIG: too long, or (lookup) too long to be of use. */
static int scan_own(struct scan *s, bool lookup)
{
    struct p9_builder *b = &s->buf->builder;
    uint64_t was = 0;
    p9_builder_start(b, true);
    for (;;) {
        int r = scan_ask(s);
        if (r == 0)
            r = entries_take(s->fs, s->reply.data.base, s->reply.own, b);
        if (r == 0 && lookup && !b->with_attr)
            r = -E2BIG;
        if (r < 0 || s->reply.next == 0)
            return r;
        if (s->reply.own == 0 || s->reply.next == was)
            return p9_conn_fail(s->fs->conn, "a scan that does not advance");
        was = s->m.offset = s->reply.next;
        s->m.ahead = 0;
        s->m.names.count = s->m.names.count > 0;
    }
}

static int scan_run(struct scan *s, bool lookup, struct p9_listing **ret)
{
    struct p9fs *fs = s->fs;
    char name[NAME_LEN_MAX + 1];
    s->parent = p9_fid_parent(s->pi, name);
    s->m.bare = !lookup && fs->attrs_unused >= SCAN_BARE;
    if (s->parent)
        scan_names(s, lookup);
    spin_lock(&fs->lock);
    uint32_t gen = s->pi->listing_gen;
    s->seen = fs->changes;
    spin_unlock(&fs->lock);
    int r = scan_own(s, lookup);
    struct p9_listing *l = r == 0 ? p9_builder_done(&s->buf->builder) : NULL;
    if (l) {
        l->seen = s->seen;
        scan_blocks(s, l);
        p9_listing_keep(s->pi, l, gen);
        *ret = l;
    } else if (r == 0) {
        r = -ENOMEM;
    }
    p9_listing_put(s->peers);
    inode_put(s->parent);
    return r;
}

int p9_scan(struct p9_inode *pi, bool lookup, struct p9_listing **ret)
{
    struct p9fs *fs = pi->fs;
    struct scan *s autofree = calloc(1, sizeof *s);
    struct p9_scanbuf *b = buf_get(fs);
    int r = -ENOMEM;
    if (s && b) {
        s->pi = pi;
        s->fs = fs;
        s->buf = b;
        r = scan_run(s, lookup, ret);
    }
    if (b)
        buf_put(fs, b);
    spin_lock(&fs->lock);
    if (r == -E2BIG)
        pi->listing_big = true;
    else if (r < 0 && lookup)
        pi->scan_refused = true;
    spin_unlock(&fs->lock);
    return r;
}
