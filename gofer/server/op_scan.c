/* SPDX-License-Identifier: Apache-2.0
 * op_scan.c - a directory's entries with their attributes, and those of directories beneath, in one
 * reply.
 *
 * Model: the listing asked for comes first, from @offset; when all that remained of it fits, listings
 * of directories in it follow, the first one's before its sibling's as a program that walks a tree wants
 * them, each complete, until @ahead bytes are used or one does not fit. No state is kept: a listing
 * that did not fit is continued by the next request, which opens the directory again.
 *
 * What is beneath is reached by name, one step, as everything here: a directory that is replaced by a
 * symbolic link in between is not entered. Another file system is never entered ahead: it may be one of
 * the kernel's.
 * Host: openat2, getdents64, lseek, statx, fstat, newfstatat, close [gofer]
 */
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct host_dirent {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

/* A directory whose entries are in the reply, while directories beneath it are looked for there. */
struct scan_dir {
    int fd;
    uint32_t at, end; /* entries not looked at yet, in the data */
    uint32_t block, entry;
};

struct scan {
    struct conn *c;
    const struct node *node;
    uint8_t *data;
    uint32_t used, room;
    uint32_t blocks;
    bool bare;
    unsigned depth;
    struct scan_dir stack[SCAN_DEPTH_MAX];
};

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int entry_put(struct scan *s, int fd, const struct host_dirent *h)
{
    struct statx stx;
    struct p9_dirent d = {
        .qid = {.path = h->ino},
        .offset = (uint64_t)h->off,
        .type = h->type,
        .name = {.s = h->name, .len = (uint16_t)MIN(strlen(h->name), (size_t)P9_NAME_MAX)},
    };
    if (s->room - s->used < d.name.len)
        return -EMSGSIZE;
    bool wanted = !s->bare || h->type == DT_DIR || h->type == DT_UNKNOWN;
    if (wanted && statx(fd, h->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
                        STATX_BASIC_STATS | STATX_BTIME, &stx) == 0) {
        attr_from_statx(s->c, s->node, &stx, &d.attr);
        d.qid = d.attr.qid;
        d.type = (uint8_t)IFTODT(stx.stx_mode);
    }
    int n = p9_encode_dirent(s->data + s->used, s->room - s->used, &d, true);
    if (n > 0)
        s->used += (uint32_t)n;
    return n < 0 ? n : 0;
}

/* Entries of @fd, which stands at *next. -EMSGSIZE: cut, to be continued at *next; 0: all. */
static int block_put(struct scan *s, int fd, uint64_t *next)
{
    for (;;) {
        long have = syscall(SYS_getdents64, fd, s->c->dirents, sizeof s->c->dirents);
        if (have <= 0)
            return have < 0 ? -errno : 0;
        for (long at = 0; at < have;) {
            const struct host_dirent *h = (const void *)(s->c->dirents + at);
            int r = is_dots(h->name) ? 0 : entry_put(s, fd, h);
            if (r < 0)
                return r;
            *next = (uint64_t)h->off;
            at += h->reclen;
        }
    }
}

static int dir_beneath(int dirfd, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
}

static bool dir_hidden(const struct gofer_export *e, int fd)
{
    struct stat st;
    return e->hidden_count && (fstat(fd, &st) < 0 || node_hidden(e, st.st_dev, st.st_ino));
}

static void scan_push(struct scan *s, int fd, uint32_t from)
{
    s->stack[s->depth++] =
        (struct scan_dir){.fd = fd, .at = from, .end = s->used, .block = s->blocks++};
}

/* Before it is read. Where another directory took the name since, its parent tells of that. */
static void scan_watch(struct scan *s, int dirfd, const char *name, int fd,
                       const struct p9_attr *known)
{
    struct p9_attr a;
    struct statx st;
    if (s->c->watches.fd < 0)
        return;
    if (!known) {
        if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0)
            return;
        attr_from_statx(s->c, s->node, &st, &a);
        known = &a;
    }
    (void)watch_dir(s->c, s->node->export, dirfd, name, fd, known->qid.path, known->dev);
}

/* The listing of directory @name in @dirfd, @known from its parent's or NULL, if it can be had. false: no more room, nothing was added. */
static bool child_put(struct scan *s, int dirfd, const struct p9_str *name,
                      const struct p9_attr *known, uint32_t block, uint32_t entry)
{
    char text[P9_NAME_MAX + 1];
    struct p9_scan_block b = {.block = block, .entry = entry};
    uint32_t start = s->used;
    uint64_t next = 0;
    if (s->room - start < P9_SCAN_BLOCK_BYTES || s->blocks == P9_SCAN_BLOCKS_MAX)
        return false;
    node_name_copy(name, text);
    int fd = dir_beneath(dirfd, text);
    if (fd < 0)
        return true;
    if (dir_hidden(s->node->export, fd)) {
        close(fd);
        return true;
    }
    scan_watch(s, dirfd, text, fd, known);
    s->used += P9_SCAN_BLOCK_BYTES;
    int r = block_put(s, fd, &next);
    if (r < 0) {
        s->used = start;
        close(fd);
        return r != -EMSGSIZE;
    }
    b.len = s->used - start - P9_SCAN_BLOCK_BYTES;
    (void)p9_encode_scan_block(s->data + start, P9_SCAN_BLOCK_BYTES, &b);
    if (s->depth < SCAN_DEPTH_MAX) {
        scan_push(s, fd, start + P9_SCAN_BLOCK_BYTES);
    } else {
        s->blocks++;
        close(fd);
    }
    return true;
}

/* Directories beneath what is on the stack, depth first. false: no more room. */
static bool scan_beneath(struct scan *s)
{
    bool more = true;
    while (more && s->depth) {
        struct scan_dir *d = &s->stack[s->depth - 1];
        struct p9_dirent e;
        int n = p9_decode_dirent(s->data + d->at, d->end - d->at, &e, true);
        if (n <= 0) {
            close(d->fd);
            s->depth--;
            continue;
        }
        d->at += (uint32_t)n;
        uint32_t entry = d->entry++;
        if (e.attr.valid && S_ISDIR(e.attr.mode))
            more = child_put(s, d->fd, &e.name, &e.attr, d->block, entry);
    }
    while (s->depth)
        close(s->stack[--s->depth].fd);
    return more;
}

/* The directory asked for: @dir itself, or the first name in it. A reference. */
static int scan_node(struct conn *c, struct node *dir, const struct p9_list *names,
                     struct node **ret)
{
    int r = node_enterable(dir);
    if (r < 0)
        return r;
    if (names->count == 0) {
        *ret = node_get(dir);
        return 0;
    }
    r = node_child(c, dir, &names->name[0], NULL, ret);
    if (r == 0 && (*ret)->type != S_IFDIR) {
        node_put(c, *ret);
        r = -ENOTDIR;
    }
    return r;
}

/* Its siblings that were named too, after what is beneath it. */
static void scan_ahead(struct scan *s, struct node *dir, const struct p9_list *names)
{
    int dirfd = names->count > 1 ? node_fd(s->c, dir) : -1;
    bool more = scan_beneath(s);
    for (uint32_t i = 1; more && dirfd >= 0 && i < names->count; i++)
        if (p9_name_ok(&names->name[i]))
            more = child_put(s, dirfd, &names->name[i], NULL, P9_SCAN_NAMED, i) && scan_beneath(s);
}

OP(tscan)
{
    struct p9_rscan reply = {.tag = m->tag};
    struct fid *f = fid_find(c, m->fid);
    uint32_t count = MIN(m->count, conn_iounit(c));
    struct node *n;
    if (!f)
        return -EBADF;
    if (cap < P9_RSCAN_HDR + count || m->offset > INT64_MAX)
        return -EINVAL;
    int r = scan_node(c, f->node, &m->names, &n);
    if (r < 0)
        return r;
    int fd = node_open(c, n, O_RDONLY | O_DIRECTORY);
    struct scan s = {
        .c = c, .node = n, .data = out + P9_RSCAN_HDR, .room = count, .bare = m->bare != 0};
    uint64_t next = m->offset;
    if (fd >= 0)
        watch_node(c, n, fd);
    r = fd < 0 ? fd : lseek(fd, (off_t)m->offset, SEEK_SET) < 0 ? -errno : block_put(&s, fd, &next);
    if (r == -EMSGSIZE) { /* cut; not one entry fits: an error */
        reply.next = next;
        r = s.used ? 1 : -EINVAL;
    }
    reply.own = s.used;
    if (r == 0 && m->ahead) {
        s.room = s.used + MIN(m->ahead, count - s.used);
        scan_push(&s, fd, 0);
        scan_ahead(&s, f->node, &m->names);
    } else if (fd >= 0) {
        close(fd);
    }
    node_put(c, n);
    if (r < 0)
        return r;
    reply.data = (struct p9_data){.base = NULL, .len = s.used};
    int len = p9_encode_rscan(out, cap, &reply);
    return len < 0 ? len : len + (int)s.used;
}
