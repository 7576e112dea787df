/* SPDX-License-Identifier: Apache-2.0
 * fdtable.c - descriptor tables.
 *
 * An array of files with two bitmaps (used, close-on-exec) that grow by doubling; a hint remembers
 * the lowest number that may be free. A slot can be reserved (used, no file) while a pair is
 * installed.
 *
 * Locks: the table's spin lock for everything but the reference count; files are put outside it. */
#include <fcntl.h>
#include <stdlib.h>

#include <vfs/fdtable.h>

#include "vfs_internal.h"

#define FDTABLE_START 64u

struct fdtable {
    struct refcount ref;
    struct spin lock;
    uint32_t size, count;
    uint32_t free_hint; /* nothing free below */
    struct file **files;
    uint64_t *used, *cloexec;
};

void locks_close(struct fdtable *t, struct file *f); /* locks.c: POSIX locks of the table's owner */

static bool bit_test(const uint64_t *m, uint32_t i)
{
    return m[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *m, uint32_t i, bool on)
{
    if (on)
        m[i / 64] |= 1ULL << (i % 64);
    else
        m[i / 64] &= ~(1ULL << (i % 64));
}

static int table_alloc(struct fdtable *t, uint32_t size)
{
    t->files = calloc(size, sizeof(*t->files));
    t->used = calloc(size / 64, sizeof(uint64_t));
    t->cloexec = calloc(size / 64, sizeof(uint64_t));
    t->size = size;
    if (t->files && t->used && t->cloexec)
        return 0;
    free(t->files);
    free(t->used);
    free(t->cloexec);
    return -ENOMEM;
}

static struct fdtable *table_new(uint32_t size)
{
    struct fdtable *t = calloc(1, sizeof(*t));
    if (!t || table_alloc(t, size) < 0) {
        free(t);
        return NULL;
    }
    refcount_init(&t->ref);
    spin_init(&t->lock, RANK_FDTABLE);
    return t;
}

struct fdtable *fdtable_new(void)
{
    return table_new(FDTABLE_START);
}

/* Room for descriptor @fd. Lock held on entry and return, dropped in between. */
static int table_grow(struct fdtable *t, uint32_t fd)
{
    while (fd >= t->size) {
        uint32_t size = t->size;
        while (size <= fd)
            size *= 2;
        spin_unlock(&t->lock);
        struct fdtable n = {0};
        int r = table_alloc(&n, size);
        spin_lock(&t->lock);
        if (r < 0)
            return r;
        if (t->size < size) {
            memcpy(n.files, t->files, t->size * sizeof(*n.files));
            memcpy(n.used, t->used, t->size / 8);
            memcpy(n.cloexec, t->cloexec, t->size / 8);
            struct fdtable old = {.files = t->files, .used = t->used, .cloexec = t->cloexec};
            t->files = n.files;
            t->used = n.used;
            t->cloexec = n.cloexec;
            t->size = size;
            n = old;
        }
        free(n.files);
        free(n.used);
        free(n.cloexec);
    }
    return 0;
}

struct fdtable *fdtable_copy(struct fdtable *t)
{
    uint32_t size = t->size;
    for (;;) {
        struct fdtable *n = table_new(size);
        if (!n)
            return ERR_PTR(-ENOMEM);
        spin_lock(&t->lock);
        if (t->size > size) {
            size = t->size;
            spin_unlock(&t->lock);
            fdtable_put(n);
            continue;
        }
        for (uint32_t i = 0; i < t->size; i++) {
            if (!t->files[i])
                continue; /* free, or reserved by a call in progress */
            n->files[i] = file_get(t->files[i]);
            bit_set(n->used, i, true);
            bit_set(n->cloexec, i, bit_test(t->cloexec, i));
            n->count++;
        }
        spin_unlock(&t->lock);
        return n;
    }
}

struct fdtable *fdtable_get(struct fdtable *t)
{
    refcount_get(&t->ref);
    return t;
}

void fdtable_put(struct fdtable *t)
{
    if (IS_ERR_OR_NULL(t) || !refcount_put(&t->ref))
        return;
    struct task *task = task_current();
    for (uint32_t i = 0; i < t->size; i++) {
        struct file *f = t->files[i];
        if (!f)
            continue;
        locks_close(t, f);
        if (f->ops->flush && task) /* none: a table that no task has used */
            (void)f->ops->flush(f, task);
        file_put(f);
    }
    free(t->files);
    free(t->used);
    free(t->cloexec);
    free(t);
}

int fdtable_unshare(struct fdtable **t)
{
    if (refcount_read(&(*t)->ref) == 1)
        return 0;
    struct fdtable *n = fdtable_copy(*t);
    if (IS_ERR(n))
        return PTR_ERR(n);
    fdtable_put(*t);
    *t = n;
    return 0;
}

struct file *fdtable_file(struct fdtable *t, int fd)
{
    struct file *f = NULL;
    spin_lock(&t->lock);
    if (fd >= 0 && (uint32_t)fd < t->size) {
        f = t->files[index_nospec((size_t)fd, t->size)];
        if (f)
            refcount_get(&f->ref);
    }
    spin_unlock(&t->lock);
    return f ? f : ERR_PTR(-EBADF);
}

struct file *fd_file(struct task *t, int fd)
{
    struct file *f = fdtable_file(t->fds, fd);
    if (!IS_ERR(f) && (f->flags & O_PATH)) {
        file_put(f);
        return ERR_PTR(-EBADF);
    }
    return f;
}

static uint32_t fd_limit(struct task *t)
{
    uint64_t limit = t->process->rlimits[RLIMIT_NOFILE].rlim_cur;
    return limit < FDTABLE_MAX ? (uint32_t)limit : FDTABLE_MAX;
}

/* Lowest free number >= min, marked used. Lock held. */
static int fd_reserve_locked(struct fdtable *tab, uint32_t min, uint32_t limit)
{
    uint32_t i;
again:
    for (i = MAX(min, tab->free_hint); i < tab->size; i++) {
        if (i % 64 == 0 && tab->used[i / 64] == UINT64_MAX) {
            i += 63;
            continue;
        }
        if (!bit_test(tab->used, i))
            break;
    }
    if (i >= limit)
        return -EMFILE;
    if (i >= tab->size) {
        int r = table_grow(tab, i);
        if (r < 0)
            return r;
        if (bit_test(tab->used, i)) /* taken while the lock was dropped */
            goto again;
    }
    bit_set(tab->used, i, true);
    if (min <= tab->free_hint)
        tab->free_hint = i + 1;
    tab->count++;
    return (int)i;
}

static void fd_unreserve_locked(struct fdtable *tab, uint32_t fd)
{
    bit_set(tab->used, fd, false);
    bit_set(tab->cloexec, fd, false);
    tab->files[fd] = NULL;
    tab->free_hint = MIN(tab->free_hint, fd);
    tab->count--;
}

int fd_install(struct task *t, struct file *f, uint32_t flags, int min)
{
    struct fdtable *tab = t->fds;
    uint32_t limit = fd_limit(t);
    if (min < 0 || (uint32_t)min >= limit)
        return min < 0 ? -EINVAL : -EMFILE;
    spin_lock(&tab->lock);
    int fd = fd_reserve_locked(tab, (uint32_t)min, limit);
    if (fd >= 0) {
        tab->files[fd] = file_get(f);
        bit_set(tab->cloexec, (uint32_t)fd, (flags & O_CLOEXEC) != 0);
    }
    spin_unlock(&tab->lock);
    return fd;
}

int fd_room(struct task *t)
{
    struct fdtable *tab = t->fds;

    spin_lock(&tab->lock);
    int fd = fd_reserve_locked(tab, 0, fd_limit(t));
    if (fd >= 0)
        fd_unreserve_locked(tab, (uint32_t)fd);
    spin_unlock(&tab->lock);
    return fd < 0 ? fd : file_count() < FILES_MAX ? 0 : -ENFILE;
}

int fd_install_pair(struct task *t, struct file *a, struct file *b, uint32_t flags, int ret_fds[2])
{
    int x = fd_install(t, a, flags, 0);
    if (x < 0)
        return x;
    int y = fd_install(t, b, flags, 0);
    if (y < 0) {
        (void)fd_close(t, x);
        return y;
    }
    ret_fds[0] = x;
    ret_fds[1] = y;
    return 0;
}

int fd_install_at(struct task *t, int fd, struct file *f, uint32_t flags, struct file **ret_old)
{
    struct fdtable *tab = t->fds;
    if (fd < 0 || (uint32_t)fd >= fd_limit(t))
        return -EBADF;
    spin_lock(&tab->lock);
    int r = table_grow(tab, (uint32_t)fd);
    struct file *old = NULL;
    if (r == 0) {
        old = tab->files[fd];
        if (!old && bit_test(tab->used, (uint32_t)fd))
            r = -EBUSY; /* another thread is about to install there */
    }
    if (r == 0) {
        if (!old)
            tab->count++;
        tab->files[fd] = file_get(f);
        bit_set(tab->used, (uint32_t)fd, true);
        bit_set(tab->cloexec, (uint32_t)fd, (flags & O_CLOEXEC) != 0);
    }
    spin_unlock(&tab->lock);
    if (r < 0)
        return r;
    if (old) {
        locks_close(tab, old);
        if (old->ops->flush)
            (void)old->ops->flush(old, t);
    }
    *ret_old = old;
    return fd;
}

static struct file *fd_take(struct fdtable *tab, uint32_t fd)
{
    struct file *f = NULL;
    spin_lock(&tab->lock);
    if (fd < tab->size && (f = tab->files[fd]))
        fd_unreserve_locked(tab, fd);
    spin_unlock(&tab->lock);
    return f;
}

static int file_close(struct fdtable *tab, struct file *f, struct task *t)
{
    locks_close(tab, f);
    int r = f->ops->flush ? f->ops->flush(f, t) : 0;
    file_put(f);
    return r;
}

int fd_close(struct task *t, int fd)
{
    struct file *f = fd < 0 ? NULL : fd_take(t->fds, (uint32_t)fd);
    return f ? file_close(t->fds, f, t) : -EBADF;
}

int fd_get_cloexec(struct task *t, int fd)
{
    struct fdtable *tab = t->fds;
    int r = -EBADF;
    spin_lock(&tab->lock);
    if (fd >= 0 && (uint32_t)fd < tab->size && tab->files[fd])
        r = bit_test(tab->cloexec, (uint32_t)fd);
    spin_unlock(&tab->lock);
    return r;
}

int fd_set_cloexec(struct task *t, int fd, bool on)
{
    struct fdtable *tab = t->fds;
    int r = -EBADF;
    spin_lock(&tab->lock);
    if (fd >= 0 && (uint32_t)fd < tab->size && tab->files[fd]) {
        bit_set(tab->cloexec, (uint32_t)fd, on);
        r = 0;
    }
    spin_unlock(&tab->lock);
    return r;
}

void fdtable_close_on_exec(struct fdtable *tab, struct task *task)
{
    for (uint32_t i = 0; i < tab->size; i++) {
        if (!bit_test(tab->cloexec, i))
            continue;
        struct file *f = fd_take(tab, i);
        if (f)
            (void)file_close(tab, f, task);
    }
}

int fdtable_close_range(struct task *t, uint32_t first, uint32_t last, bool cloexec_only)
{
    struct fdtable *tab = t->fds;
    for (uint32_t i = first; i < tab->size && i <= last; i++) {
        if (cloexec_only) {
            (void)fd_set_cloexec(t, (int)i, true);
            continue;
        }
        struct file *f = fd_take(tab, i);
        if (f)
            (void)file_close(tab, f, t);
    }
    return 0;
}

int fdtable_next(struct fdtable *tab, int after, struct file **ret)
{
    int fd = -1;
    spin_lock(&tab->lock);
    for (uint32_t i = (uint32_t)(after + 1); i < tab->size; i++)
        if (tab->files[i]) {
            *ret = file_get(tab->files[i]);
            fd = (int)i;
            break;
        }
    spin_unlock(&tab->lock);
    return fd;
}

uint32_t fdtable_count(struct fdtable *t)
{
    spin_lock(&t->lock);
    uint32_t n = t->count;
    spin_unlock(&t->lock);
    return n;
}
