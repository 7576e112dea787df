/* SPDX-License-Identifier: Apache-2.0
 * node.c - objects beneath the exports and the only way to reach them.
 *
 * Resolution takes one component at a time with openat2 beneath the parent's descriptor and never
 * follows a symbolic link, so neither "..", nor an absolute link, nor a rename in between leads out
 * of an export. A node remembers (parent, name) and (dev, ino): under descriptor pressure its
 * O_PATH descriptor is closed and later reopened from the parent; if something else stands there
 * by then the answer is ESTALE. When a name goes away through this server its node is detached and
 * keeps its descriptor, pinned: open-but-unlinked files live by their fid.
 *
 * I/O descriptors are made from the O_PATH one through /proc/self/fd, so the object opened is the
 * object checked. Devices, fifos and sockets can be looked at but are never opened. Kernel file
 * systems (proc, sysfs ...) mounted inside an export are a wall: /proc holds this very process.
 *
 * Left out: noticing renames made by others (the node turns stale).
 * Host: openat2, openat, statx, fstatfs, fcntl, close [gofer]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <base/hash.h>

static int host_openat2(int dir, const char *name, int flags, uint64_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    long fd;
    do
        fd = syscall(SYS_openat2, dir, name, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return fd < 0 ? -errno : (int)fd;
}

static int host_statx(int fd, struct statx *ret)
{
    if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS | STATX_BTIME, ret) < 0)
        return -errno;
    return 0;
}

static uint64_t statx_dev(const struct statx *s)
{
    return makedev(s->stx_dev_major, s->stx_dev_minor);
}

void fd_name(int fd, char ret[FD_PATH_MAX])
{
    snprintf(ret, FD_PATH_MAX, "%d", fd);
}

void node_name_copy(const struct p9_str *name, char ret[P9_NAME_MAX + 1])
{
    memcpy(ret, name->s, name->len);
    ret[name->len] = 0;
}

/* --- hash under (parent, name) --- */

static uint64_t key_of(const struct node *dir, const char *name, size_t len)
{
    return hash_u64((uint64_t)(uintptr_t)dir) ^ hash_bytes(name, len);
}

static struct node **bucket_of(struct conn *c, const struct node *dir, const char *name, size_t len)
{
    return &c->nodes[key_of(dir, name, len) & (c->node_buckets - 1)];
}

static void table_grow(struct conn *c)
{
    uint32_t old_n = c->node_buckets, n = old_n ? old_n * 2 : 256;
    struct node **old = c->nodes, **grown = calloc(n, sizeof *grown);
    if (!grown)
        return;
    c->nodes = grown;
    c->node_buckets = n;
    for (uint32_t i = 0; i < old_n; i++)
        while (old[i]) {
            struct node *x = old[i];
            old[i] = x->hash_next;
            struct node **b = bucket_of(c, x->parent, x->name, x->name_len);
            x->hash_next = *b;
            *b = x;
        }
    free(old);
}

static void hash_insert(struct conn *c, struct node *n)
{
    struct node **b = bucket_of(c, n->parent, n->name, n->name_len);
    n->hash_next = *b;
    *b = n;
    c->node_count++;
}

static void hash_remove(struct conn *c, struct node *n)
{
    struct node **b = bucket_of(c, n->parent, n->name, n->name_len);
    while (*b != n)
        b = &(*b)->hash_next;
    *b = n->hash_next;
    c->node_count--;
}

struct node *node_find(struct conn *c, struct node *dir, const struct p9_str *name)
{
    if (!c->node_buckets)
        return NULL;
    struct node *n = *bucket_of(c, dir, name->s, name->len);
    while (n && !(n->parent == dir && n->name_len == name->len &&
                  memcmp(n->name, name->s, name->len) == 0))
        n = n->hash_next;
    return n;
}

/* --- descriptors --- */

static void fd_close(struct conn *c, struct node *n)
{
    if (n->fd < 0)
        return;
    close(n->fd);
    n->fd = -1;
    if (!list_empty(&n->lru)) {
        list_del(&n->lru);
        c->node_fds--;
    }
}

/* Give the node a descriptor, closing the least recently used ones beyond the limit. */
static void fd_adopt(struct conn *c, struct node *n, int fd)
{
    n->fd = fd;
    if (n->pins)
        return;
    list_add(&n->lru, &c->lru);
    c->node_fds++;
    while (c->node_fds > c->node_fds_max) {
        struct node *last = list_last_entry(&c->lru, struct node, lru);
        if (last == n)
            break;
        fd_close(c, last);
    }
}

static int reopen(struct conn *c, struct node *n)
{
    struct statx stx;
    int fd = host_openat2(n->parent->fd, n->name, O_PATH, 0);
    if (fd < 0)
        return fd == -ENOENT ? -ESTALE : fd;
    int r = host_statx(fd, &stx);
    if (r == 0 &&
        (statx_dev(&stx) != n->dev || stx.stx_ino != n->ino || (stx.stx_mode & S_IFMT) != n->type))
        r = -ESTALE;
    if (r < 0) {
        close(fd);
        return r;
    }
    fd_adopt(c, n, fd);
    return 0;
}

int node_fd(struct conn *c, struct node *n)
{
    if (n->fd >= 0) {
        if (!list_empty(&n->lru)) {
            list_del(&n->lru);
            list_add(&n->lru, &c->lru);
        }
        return n->fd;
    }
    struct node *at = n;
    for (; at->fd < 0; at = at->parent) {
        if (!at->parent)
            return -ESTALE;
        at->parent->walk_next = at;
    }
    while (at != n) {
        at = at->walk_next;
        int r = reopen(c, at);
        if (r < 0)
            return r;
    }
    return n->fd;
}

int node_pin(struct conn *c, struct node *n)
{
    int fd = node_fd(c, n);
    if (fd < 0)
        return fd;
    if (n->pins++ == 0 && !list_empty(&n->lru)) {
        list_del(&n->lru);
        c->node_fds--;
    }
    return fd;
}

void node_unpin(struct conn *c, struct node *n)
{
    if (--n->pins > 0 || n->fd < 0)
        return;
    int fd = n->fd;
    fd_adopt(c, n, fd);
}

/* --- life --- */

static struct node *node_new(const struct gofer_export *e, struct node *parent,
                             const struct p9_str *name, const struct statx *stx)
{
    struct node *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    if (name) {
        n->name = malloc(name->len + 1u);
        if (!n->name) {
            free(n);
            return NULL;
        }
        node_name_copy(name, n->name);
        n->name_len = (uint8_t)name->len;
    }
    n->refs = 1;
    n->fd = -1;
    n->export = e;
    n->parent = parent ? node_get(parent) : NULL;
    n->dev = statx_dev(stx);
    n->ino = stx->stx_ino;
    n->type = stx->stx_mode & S_IFMT;
    list_init(&n->lru);
    return n;
}

struct node *node_get(struct node *n)
{
    n->refs++;
    return n;
}

void node_put(struct conn *c, struct node *n)
{
    while (n && --n->refs == 0) {
        struct node *parent = n->parent;
        if (parent)
            hash_remove(c, n);
        if (n->detached && n->pins)
            c->open_fds--;
        fd_close(c, n);
        free(n->name);
        free(n);
        n = parent;
    }
}

void conn_nodes_fini(struct conn *c)
{
    free(c->nodes); /* fids are gone, so it is empty */
    c->nodes = NULL;
    c->node_buckets = 0;
}

int node_root(struct conn *c, const struct gofer_export *e, struct node **ret)
{
    struct statx stx;
    int r = host_statx(e->root_fd, &stx);
    if (r < 0)
        return r;
    int fd = fcntl(e->root_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    struct node *n = node_new(e, NULL, NULL, &stx);
    if (!n) {
        close(fd);
        return -ENOMEM;
    }
    n->pins = 1; /* for ever: nothing to reopen it from */
    fd_adopt(c, n, fd);
    *ret = n;
    return 0;
}

bool node_hidden(const struct gofer_export *e, uint64_t dev, uint64_t ino)
{
    for (unsigned i = 0; i < e->hidden_count; i++)
        if (e->hidden[i].ino == ino && e->hidden[i].dev == dev)
            return true;
    return false;
}

static bool kernel_fs(int fd)
{
    struct statfs s;
    if (fstatfs(fd, &s) < 0)
        return true;
    switch ((unsigned long)s.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case SELINUX_MAGIC:
    case SMACK_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case BPF_FS_MAGIC:
    case EFIVARFS_MAGIC:
    case BINFMTFS_MAGIC:
    case NSFS_MAGIC:
    case 0x62656570: /* configfs */
        return true;
    default:
        return false;
    }
}

/* Node for what @fd (taken) was opened on, under (dir, name). */
static int node_adopt(struct conn *c, struct node *dir, const struct p9_str *name, int fd,
                      const struct statx *stx, struct node **ret)
{
    struct node *n = node_find(c, dir, name);
    if (n && n->dev == statx_dev(stx) && n->ino == stx->stx_ino &&
        n->type == (stx->stx_mode & S_IFMT)) {
        if (n->fd >= 0)
            close(fd);
        else
            fd_adopt(c, n, fd);
        *ret = node_get(n);
        return 0;
    }
    if (n)
        node_detach(c, n); /* replaced behind our back */
    if (c->node_count >= c->node_buckets)
        table_grow(c);
    n = c->node_buckets ? node_new(dir->export, dir, name, stx) : NULL;
    if (!n) {
        close(fd);
        return -ENOMEM;
    }
    n->wall = node_hidden(dir->export, n->dev, n->ino) || (n->dev != dir->dev && kernel_fs(fd));
    hash_insert(c, n);
    fd_adopt(c, n, fd);
    *ret = n;
    return 0;
}

int node_child(struct conn *c, struct node *dir, const struct p9_str *name, struct statx *stx,
               struct node **ret)
{
    char text[P9_NAME_MAX + 1];
    struct statx own;
    if (!p9_name_ok(name))
        return name->len > P9_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
    int r = node_enterable(dir);
    if (r < 0)
        return r;
    int dirfd = node_fd(c, dir);
    if (dirfd < 0)
        return dirfd;
    watch_node(c, dir, dirfd);
    node_name_copy(name, text);
    int fd = host_openat2(dirfd, text, O_PATH, 0);
    if (fd < 0)
        return fd;
    if (!stx)
        stx = &own;
    r = host_statx(fd, stx);
    if (r < 0) {
        close(fd);
        return r;
    }
    return node_adopt(c, dir, name, fd, stx, ret);
}

int node_stat(struct conn *c, struct node *n, struct statx *ret)
{
    int fd = node_fd(c, n);
    return fd < 0 ? fd : host_statx(fd, ret);
}

/* Without /proc: by name again, and compare. Non-blocking in case a fifo was moved there. */
static int open_by_name(struct conn *c, struct node *n, int flags)
{
    struct statx stx;
    if (!n->parent)
        return host_openat2(n->fd, ".", flags, 0);
    int dirfd = node_fd(c, n->parent);
    if (dirfd < 0)
        return dirfd;
    int fd = host_openat2(dirfd, n->name, flags | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return fd;
    if (host_statx(fd, &stx) < 0 || statx_dev(&stx) != n->dev || stx.stx_ino != n->ino ||
        (stx.stx_mode & S_IFMT) != n->type || fcntl(fd, F_SETFL, flags & O_APPEND) < 0) {
        close(fd);
        return -ESTALE;
    }
    return fd;
}

int node_open(struct conn *c, struct node *n, int flags)
{
    char name[FD_PATH_MAX];
    if (n->wall || (n->type != S_IFREG && n->type != S_IFDIR))
        return n->type == S_IFLNK ? -ELOOP : -EACCES;
    if (c->open_fds >= c->open_fds_max)
        return -EMFILE;
    int fd = node_fd(c, n);
    if (fd < 0)
        return fd;
    if (c->proc_fd < 0)
        return open_by_name(c, n, flags);
    fd_name(fd, name);
    fd = openat(c->proc_fd, name, flags | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

int node_writable(const struct node *n)
{
    return n->export->read_only ? -EROFS : 0;
}

int node_enterable(const struct node *n)
{
    if (n->type != S_IFDIR)
        return -ENOTDIR;
    return n->wall ? -EACCES : 0;
}

int node_open_read(struct conn *c, struct node *dir, const struct p9_str *name, struct statx *stx)
{
    char text[P9_NAME_MAX + 1], path[FD_PATH_MAX];
    if (c->proc_fd < 0 || !p9_name_ok(name) || node_enterable(dir) < 0)
        return -EAGAIN;
    int dirfd = node_fd(c, dir);
    if (dirfd < 0)
        return dirfd;
    watch_node(c, dir, dirfd);
    node_name_copy(name, text);
    int at = host_openat2(dirfd, text, O_PATH, 0);
    if (at < 0)
        return at;
    int r = host_statx(at, stx);
    if (r == 0 && !S_ISREG(stx->stx_mode))
        r = -EAGAIN;
    if (r == 0) {
        fd_name(at, path);
        r = openat(c->proc_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        r = r < 0 ? -errno : r;
    }
    close(at);
    return r;
}

/* --- names that go away or move --- */

void node_prepare_loss(struct conn *c, struct node *n)
{
    /* Best effort: without a descriptor the fids on it will be stale, which is what is true. */
    if (n && c->open_fds < c->open_fds_max && n->pins == 0)
        (void)node_fd(c, n);
}

void node_detach(struct conn *c, struct node *n)
{
    struct node *parent = n->parent;
    if (!parent)
        return;
    hash_remove(c, n);
    n->parent = NULL;
    n->detached = true;
    if (n->fd >= 0 && c->open_fds < c->open_fds_max) {
        (void)node_pin(c, n);
        c->open_fds++;
    }
    node_put(c, parent);
}

int node_unnamed(struct conn *c, struct node *dir, int fd, struct statx *stx, struct node **ret)
{
    char name[FD_PATH_MAX];
    if (c->proc_fd < 0)
        return -EOPNOTSUPP;
    if (c->open_fds >= c->open_fds_max)
        return -EMFILE;
    int r = host_statx(fd, stx);
    if (r < 0)
        return r;
    fd_name(fd, name);
    int path = openat(c->proc_fd, name, O_PATH | O_CLOEXEC);
    if (path < 0)
        return -errno;
    struct node *n = node_new(dir->export, NULL, NULL, stx);
    if (!n) {
        close(path);
        return -ENOMEM;
    }
    n->detached = true;
    n->pins = 1;
    n->fd = path;
    c->open_fds++;
    *ret = n;
    return 0;
}

void node_move(struct conn *c, struct node *n, struct node *dir, const struct p9_str *name)
{
    /* A tree gone stale could make a loop of this; then the node lives by its descriptor. */
    for (struct node *up = dir; up; up = up->parent)
        if (up == n) {
            node_detach(c, n);
            return;
        }
    char *copy = malloc(name->len + 1u);
    if (!copy) {
        node_detach(c, n);
        return;
    }
    node_name_copy(name, copy);
    hash_remove(c, n);
    struct node *old = n->parent;
    free(n->name);
    n->name = copy;
    n->name_len = (uint8_t)name->len;
    n->parent = node_get(dir);
    hash_insert(c, n);
    node_put(c, old);
}
