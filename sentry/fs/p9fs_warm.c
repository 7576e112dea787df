/* SPDX-License-Identifier: Apache-2.0
 * p9fs_warm.c - small reads that come again, from the host's page cache without a host call.
 *
 * Model: a file that is read in small pieces for the WARM_AFTER-th time gets a record of one window (1 MiB) of
 * it: the pages that a read by descriptor has found in the host's cache. A read of such pages is a copy
 * from the Sentry's view of the file (mm/fwindow.c), the same pages. One that the host has let go of since
 * is read by the fault: rare, and then the poller waits for it, as it does for files that guests map.
 *
 * Only where the size is known without asking (exclusive mounts, nothing told since it was), and only
 * wholly before the end, so that a file that grows is read by descriptor at its end. One that has shrunk meanwhile
 * is SIGBUS in the copy, and read by descriptor, or zeros in the rest of its last page until the change is told.
 *
 * Locks: none. The record's words are stored singly: at worst a page is taken for cached that is not.
 */
#include <stdlib.h>

#include "p9fs_private.h"

#define WARM_AFTER 4u
#define WARM_WINDOW (1ull << 20)
#define WARM_WORDS (WARM_WINDOW / PAGE_SIZE / 64)

struct p9_warm {
    _Atomic(uint64_t) window;
    _Atomic(uint64_t) pages[WARM_WORDS];
};

/* Is it a piece of one window? Its first and last page in it. */
static bool piece(int64_t off, size_t len, unsigned *ret_first, unsigned *ret_last)
{
    uint64_t at = (uint64_t)off % WARM_WINDOW;
    if (off < 0 || len == 0 || len > P9_WARM_BYTES || at + len > WARM_WINDOW)
        return false;
    *ret_first = (unsigned)(at / PAGE_SIZE);
    *ret_last = (unsigned)((at + len - 1) / PAGE_SIZE);
    return true;
}

static bool known(const struct p9_inode *pi, int64_t off, size_t len)
{
    struct p9_warm *w = pi->warm;
    unsigned first, last;
    struct attr a;
    if (!w || !piece(off, len, &first, &last) || w->window != (uint64_t)off / WARM_WINDOW)
        return false;
    for (unsigned k = first; k <= last; k++)
        if (!(w->pages[k / 64] >> k % 64 & 1))
            return false;
    if (!pi->vfs->sb->exclusive || pi->stale || pi->map_rw || pi->attr_seen != pi->fs->changes)
        return false;
    inode_attr(pi->vfs, &a);
    return (uint64_t)off + len <= a.size;
}

ssize_t p9_read_warm(struct p9_inode *pi, int fd, struct uio *u, int64_t off)
{
    uint8_t buf[PAGE_SIZE];
    ssize_t total = 0;
    size_t len = u->left;
    if (!known(pi, off, len))
        return 0;
    while ((size_t)total < len) {
        size_t n = MIN(len - (size_t)total, sizeof buf);
        if (!mappable_peek(&pi->map, fd, (uint64_t)(off + total), buf, n))
            return total;
        ssize_t r = uio_copy_to_user(u, buf, n);
        if (r <= 0)
            return total ? total : r;
        total += r;
        if ((size_t)r < n)
            break;
    }
    return total;
}

void p9_warm_note(struct p9_inode *pi, int64_t off, size_t len)
{
    unsigned first, last;
    if (!piece(off, len, &first, &last) || !pi->vfs->sb->exclusive)
        return;
    if (!pi->warm) {
        struct p9_warm *none = NULL, *w = NULL;
        if (pi->small_reads++ >= WARM_AFTER)
            w = calloc(1, sizeof *w);
        if (!w || !atomic_compare_exchange_strong(&pi->warm, &none, w))
            free(w);
        return;
    }
    struct p9_warm *w = pi->warm;
    uint64_t window = (uint64_t)off / WARM_WINDOW;
    if (w->window != window) {
        for (unsigned i = 0; i < WARM_WORDS; i++)
            w->pages[i] = 0;
        w->window = window;
    }
    for (unsigned k = first; k <= last; k++)
        w->pages[k / 64] |= 1ull << k % 64;
}
