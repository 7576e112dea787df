/* SPDX-License-Identifier: Apache-2.0
 * fwindow.c - the Sentry's own view of files with donated descriptors, that guests map or read in small pieces: 1 MiB
 * windows, the least recently used of at most FWINDOWS_MAX given up first.
 *
 * The pages are the host's page cache, the same the guest sees. A file may shrink at any time: a
 * touch past its end is a SIGBUS that the copy routines survive (sigbus.c).
 * Windows hold no reference to the file: mappable_fini() removes them. Lock: g_lock, innermost;
 * mmap and munmap happen outside it.
 * Host: mmap, munmap [sentry]
 */
#include <stdlib.h>
#include <sys/mman.h>

#include <base/hash.h>

#include "mm_internal.h"

struct fwindow {
    struct list_head hash_link, lru_link;
    struct mappable *m; /* NULL: forgotten, freed at the last put */
    uint64_t index;
    bool write;
    uint8_t *base;
    unsigned pins;
};

#define BUCKETS 64u
static struct spin g_lock = SPIN_INIT(RANK_LEAF);
static struct list_head g_hash[BUCKETS]; /* GUARDED_BY(g_lock), all below */
static struct list_head g_lru = LIST_HEAD_INIT(g_lru);
static unsigned g_count;

static struct list_head *bucket_of(const struct mappable *m, uint64_t index)
{
    struct list_head *b =
        &g_hash[hash_u64((uint64_t)(uintptr_t)m + index * 0x9e3779b97f4a7c15ULL) % BUCKETS];
    if (!b->next)
        list_init(b);
    return b;
}

static struct fwindow *find_pinned(struct mappable *m, uint64_t index, bool write)
{
    struct fwindow *w;
    struct list_head *b = bucket_of(m, index);
    list_for_each_entry (w, b, hash_link) {
        if (w->m == m && w->index == index && w->write == write) {
            w->pins++;
            list_del(&w->lru_link);
            list_add_tail(&w->lru_link, &g_lru);
            return w;
        }
    }
    return NULL;
}

static void window_free(struct fwindow *w)
{
    (void)munmap(w->base, FWINDOW_SIZE);
    free(w);
}

static void unlink_window(struct fwindow *w)
{
    list_del(&w->hash_link);
    list_del(&w->lru_link);
    w->m = NULL;
    g_count--;
}

static struct fwindow *oldest_unpinned(void)
{
    struct fwindow *w;
    list_for_each_entry (w, &g_lru, lru_link) {
        if (w->pins == 0) {
            unlink_window(w);
            return w;
        }
    }
    return NULL;
}

/* @fd: -1: its own. */
static struct fwindow *window_get(struct mappable *m, int fd, uint64_t off, bool write)
{
    uint64_t index = off / FWINDOW_SIZE;
    spin_lock(&g_lock);
    struct fwindow *w = find_pinned(m, index, write);
    spin_unlock(&g_lock);
    if (w)
        return w;
    if (fd < 0 && m->ops->host_fd)
        fd = m->ops->host_fd(m, write);
    w = fd < 0 ? NULL : calloc(1, sizeof *w);
    if (!w)
        return ERR_PTR(fd < 0 ? -EFAULT : -ENOMEM);
    void *p = mmap(NULL, FWINDOW_SIZE, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd,
                   (off_t)(index * FWINDOW_SIZE));
    if (p == MAP_FAILED) {
        free(w);
        return ERR_PTR(-ENOMEM);
    }
    *w = (struct fwindow){.m = m, .index = index, .write = write, .base = p, .pins = 1};
    struct fwindow *old = NULL;
    spin_lock(&g_lock);
    list_add(&w->hash_link, bucket_of(m, index)); /* a twin made meanwhile does no harm */
    list_add_tail(&w->lru_link, &g_lru);
    if (++g_count > FWINDOWS_MAX)
        old = oldest_unpinned();
    spin_unlock(&g_lock);
    if (old)
        window_free(old);
    return w;
}

struct fwindow *fwindow_get(struct mappable *m, uint64_t off, bool write)
{
    return window_get(m, -1, off, write);
}

bool mappable_peek(struct mappable *m, int fd, uint64_t off, void *buf, size_t n)
{
    while (n) {
        size_t part = MIN(n, FWINDOW_SIZE - off % FWINDOW_SIZE);
        struct fwindow *w = window_get(m, fd, off, false);
        if (IS_ERR(w))
            return false;
        uint64_t left = ua_copy(buf, fwindow_ptr(w, off), part);
        fwindow_put(w);
        if (left)
            return false;
        off += part;
        buf = (uint8_t *)buf + part;
        n -= part;
    }
    return true;
}

void fwindow_hold(struct fwindow *w)
{
    spin_lock(&g_lock);
    w->pins++;
    spin_unlock(&g_lock);
}

void fwindow_put(struct fwindow *w)
{
    spin_lock(&g_lock);
    bool last = --w->pins == 0 && !w->m;
    spin_unlock(&g_lock);
    if (last)
        window_free(w);
}

uint8_t *fwindow_ptr(const struct fwindow *w, uint64_t off)
{
    return w->base + (off - w->index * FWINDOW_SIZE);
}

void fwindow_forget(struct mappable *m)
{
    for (;;) {
        struct fwindow *w, *found = NULL;
        bool unpinned = false;
        spin_lock(&g_lock);
        list_for_each_entry (w, &g_lru, lru_link) {
            if (w->m == m) {
                found = w;
                break;
            }
        }
        if (found) {
            unlink_window(found);
            unpinned = found->pins == 0;
        }
        spin_unlock(&g_lock);
        if (!found)
            return;
        if (unpinned)
            window_free(found);
    }
}
