/* SPDX-License-Identifier: Apache-2.0
 * uio.c - the data of one read or write: a list of guest (or kernel) ranges and a position in it.
 *
 * The iovec array is copied from the guest once. Progress is kept even when a copy stops at a
 * fault, so that a call returns the count that was moved, as Linux does.
 * A uio belongs to one call; no lock of its own.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <base/fiber.h>

#include "mm_internal.h"

#define UIO_MAX_BYTES ((size_t)INT_MAX & ~(size_t)4095)
#define UIO_MAX_SEGMENTS 1024u
#define UIO_TURN ((size_t)256 << 10) /* bytes until others on the poller have their turn */

static void uio_clear(struct uio *u, struct mm *mm)
{
    memset(u, 0, sizeof *u);
    u->mm = mm;
    u->iov = u->inline_iov;
}

int uio_init_user(struct uio *u, struct mm *mm, uaddr_t base, size_t len)
{
    uio_clear(u, mm);
    if ((ssize_t)len < 0)
        return -EINVAL;
    if (!guest_range_readable(base.va, len))
        return -EFAULT;
    u->iov[0].iov_base = (void *)(uintptr_t)base.va;
    u->iov[0].iov_len = MIN(len, UIO_MAX_BYTES);
    u->count = 1;
    u->left = u->iov[0].iov_len;
    return 0;
}

static int check_segments(struct uio *u)
{
    for (unsigned i = 0; i < u->count; i++) {
        struct iovec *v = &u->iov[i];
        if ((ssize_t)v->iov_len < 0)
            return -EINVAL;
        if (!guest_range_readable((uint64_t)(uintptr_t)v->iov_base, v->iov_len))
            return -EFAULT;
        v->iov_len = MIN(v->iov_len, UIO_MAX_BYTES - u->left);
        u->left += v->iov_len;
    }
    return 0;
}

int uio_init_iovec(struct uio *u, struct mm *mm, uaddr_t iov, uint64_t count)
{
    uio_clear(u, mm);
    if (count > UIO_MAX_SEGMENTS)
        return -EINVAL;
    if (count > UIO_INLINE) {
        struct iovec *v = malloc(count * sizeof *v);
        if (!v)
            return -ENOMEM;
        u->iov = v;
    }
    int r = count ? copy_in(mm, u->iov, iov, count * sizeof *u->iov) : 0;
    u->count = (unsigned)count;
    if (r == 0)
        r = check_segments(u);
    if (r < 0)
        uio_fini(u);
    return r;
}

void uio_init_kernel(struct uio *u, void *base, size_t len)
{
    uio_clear(u, NULL);
    u->iov[0].iov_base = base;
    u->iov[0].iov_len = len;
    u->count = 1;
    u->left = len;
}

void uio_fini(struct uio *u)
{
    uio_unpin(u);
    if (u->iov != u->inline_iov)
        free(u->iov);
    u->iov = u->inline_iov;
    u->count = 0;
    u->left = 0;
}

void uio_advance(struct uio *u, size_t n)
{
    BUG_ON(n > u->left);
    u->left -= n;
    while (n) {
        size_t rest = u->iov[u->index].iov_len - u->seg_done;
        if (n < rest) {
            u->seg_done += n;
            return;
        }
        n -= rest;
        u->index++;
        u->seg_done = 0;
    }
}

void uio_rewind(struct uio *u)
{
    u->left = 0;
    for (unsigned i = 0; i < u->count; i++)
        u->left += u->iov[i].iov_len;
    u->index = 0;
    u->seg_done = 0;
}

/* Two gigabytes in one call are no reason to keep others waiting. */
static void uio_turn(struct uio *u, size_t moved)
{
    u->since_turn += moved;
    if (likely(u->since_turn < UIO_TURN))
        return;
    u->since_turn = 0;
    if (u->left)
        fiber_yield();
}

/* @buf NULL with @to_user: zeros. */
static ssize_t uio_move(struct uio *u, uint8_t *buf, size_t n, bool to_user)
{
    size_t total = 0;
    n = MIN(n, u->left);
    while (total < n) {
        struct iovec *v = &u->iov[u->index];
        size_t want = MIN(MIN(n - total, v->iov_len - u->seg_done), UIO_TURN);
        if (want == 0) {
            u->index++;
            u->seg_done = 0;
            continue;
        }
        uint64_t addr = (uint64_t)(uintptr_t)v->iov_base + u->seg_done;
        uint8_t *at = (uint8_t *)(uintptr_t)addr, *b = buf ? buf + total : NULL;
        ssize_t got = (ssize_t)want;
        if (u->mm)
            got = user_copy_partial(u->mm, addr, b, want, to_user);
        else if (!to_user)
            memcpy(b, at, want);
        else if (b)
            memcpy(at, b, want);
        else
            memset(at, 0, want);
        if (got < 0)
            return total ? (ssize_t)total : got;
        uio_advance(u, (size_t)got);
        total += (size_t)got;
        if ((size_t)got < want)
            break;
        if (u->mm)
            uio_turn(u, (size_t)got);
    }
    return (ssize_t)total;
}

ssize_t uio_copy_to_user(struct uio *u, const void *src, size_t n)
{
    return uio_move(u, (uint8_t *)(uintptr_t)src, n, true);
}

ssize_t uio_copy_from_user(struct uio *u, void *dst, size_t n)
{
    return uio_move(u, dst, n, false);
}

ssize_t uio_zero_user(struct uio *u, size_t n)
{
    return uio_move(u, NULL, n, true);
}

void uio_expect(struct uio *u, size_t n)
{
    if (!u->mm || u->index >= u->count)
        return;
    uint64_t at = (uint64_t)(uintptr_t)u->iov[u->index].iov_base + u->seg_done;
    uint64_t end = at + MIN(n, u->iov[u->index].iov_len - u->seg_done);
    if (end - at <= WINDOW_MIN) /* one window has it */
        return;
    mm_lock(u->mm);
    while (at < end) {
        struct fwindow *win;
        uint8_t *host;
        uint64_t run = end - at;
        if (user_resolve(u->mm, at, PF_ACCESS_WRITE, false, &host, &run, &win) < 0)
            break;
        at += run;
    }
    mm_unlock(u->mm);
}

static int pin_kernel(struct uio *u, size_t n, struct iovec *ret_iov, int max)
{
    size_t skip = u->seg_done;
    int count = 0;
    for (unsigned i = u->index; i < u->count && count < max && n; i++, skip = 0) {
        size_t len = MIN(u->iov[i].iov_len - skip, n);
        if (len == 0)
            continue;
        ret_iov[count].iov_base = (uint8_t *)u->iov[i].iov_base + skip;
        ret_iov[count++].iov_len = len;
        n -= len;
    }
    return count;
}

static int pin_segment(struct uio *u, uint64_t at, size_t len, uint32_t access,
                       struct iovec *ret_iov, int max, size_t *ret_done)
{
    int count = 0, r = 0;
    size_t done = 0;
    while (done < len && count < max) {
        struct fwindow *win;
        uint8_t *host;
        uint64_t run = len - done;
        r = user_resolve(u->mm, at + done, access, false, &host, &run, &win);
        if (r < 0)
            break;
        if (win) {
            if (u->pinned_windows == UIO_INLINE)
                break;
            fwindow_hold(win);
            u->windows[u->pinned_windows++] = win;
        }
        ret_iov[count].iov_base = host;
        ret_iov[count++].iov_len = run;
        done += run;
    }
    *ret_done = done;
    return count ? count : r;
}

int uio_pin(struct uio *u, bool write, size_t n, struct iovec *ret_iov, int max)
{
    uint32_t access = write ? PF_ACCESS_WRITE : PF_ACCESS_READ;
    int count = 0, r = 0;
    n = MIN(n, u->left);
    if (!u->mm)
        return pin_kernel(u, n, ret_iov, max);
    size_t skip = u->seg_done;
    mm_lock(u->mm);
    for (unsigned i = u->index; i < u->count && count < max && n; i++, skip = 0) {
        size_t len = MIN(u->iov[i].iov_len - skip, n), done;
        if (len == 0)
            continue;
        r = pin_segment(u, (uint64_t)(uintptr_t)u->iov[i].iov_base + skip, len, access,
                        ret_iov + count, max - count, &done);
        if (r <= 0)
            break;
        count += r;
        n -= done;
        if (done < len)
            break;
    }
    if (count && !u->pinned) {
        u->pinned = true;
        u->mm->pins++;
    }
    mm_unlock(u->mm);
    return count ? count : r;
}

void uio_unpin(struct uio *u)
{
    while (u->pinned_windows)
        fwindow_put(u->windows[--u->pinned_windows]);
    if (!u->pinned)
        return;
    u->pinned = false;
    mm_lock(u->mm);
    if (--u->mm->pins == 0 && u->mm->pending_count == 0 && u->mm->op_count == 0)
        ops_release_dying(u->mm);
    mm_unlock(u->mm);
}
