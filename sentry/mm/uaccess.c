/* SPDX-License-Identifier: Apache-2.0
 * uaccess.c - the only place where a guest address becomes a pointer.
 *
 * An address is resolved as the guest's own access would be: rights of the VMA, memory given at
 * first touch, copy-on-write broken. Then the bytes are copied once, under the mm's lock, from the
 * Sentry's mapping of the memory file or from a window of the host file. What the guest does to the
 * bytes meanwhile is its own race; callers use their copy only.
 * A few translations are remembered per mm, so that repeated copies to one stack, heap and string
 * table walk no tree. They are dropped whenever a tree changes (mm_lock_change).
 * SIGBUS (memory limit, file that shrank): -ENOMEM or -EFAULT.
 */
#include <string.h>

#include "mm_internal.h"

#define PIECE (64ULL << 10)

static void tcache_drop(struct tcache *t)
{
    if (t->win)
        fwindow_put(t->win);
    *t = (struct tcache){0};
}

void tcache_flush(struct mm *mm)
{
    for (unsigned i = 0; i < TCACHE_SIZE; i++)
        tcache_drop(&mm->tc[i]);
    tcache_drop(&mm->tc_forced);
}

static void tcache_fill(struct mm *mm, const struct tcache *t, bool forced)
{
    struct tcache *slot = &mm->tc_forced;
    if (!forced) {
        slot = &mm->tc[mm->tc_next];
        mm->tc_next = (mm->tc_next + 1) % TCACHE_SIZE;
    }
    tcache_drop(slot);
    *slot = *t;
}

/* The Sentry's side of the pieces around [addr, addr+len) in one host call, if not there yet. */
static void want_around(const struct tcache *t, uint64_t addr, uint64_t len)
{
    uint64_t off = (uint64_t)(t->ptr - (uint8_t *)memfile_ptr(g_mm.mf, 0));
    uint64_t lo = off, hi = off + (t->end - t->start);
    uint64_t at = off + (addr - t->start);
    uint64_t a = MAX(lo, align_down(at, PIECE)), b = MIN(hi, align_up(at + len, PIECE));
    present_want(a, b - a);
}

static bool may_access(const struct vma *v, uint32_t access, bool force)
{
    if (v->flags & VMA_HIDDEN)
        return false;
    if (!force)
        return vma_allows(v, access);
    return !(access & PF_ACCESS_WRITE) || !(v->flags & VMA_SHARED) ||
           ((v->flags & VMA_MAYWRITE) && (v->prot & PROT_WRITE));
}

/* Window of a file mapped from a descriptor. */
static int resolve_file(struct vma *v, uint64_t addr, bool write, struct tcache *t)
{
    uint64_t off = vma_file_off(v, addr);
    struct fwindow *w = fwindow_get(v->file->m, off, write);
    if (IS_ERR(w))
        return PTR_ERR(w);
    uint64_t win = align_down(off, FWINDOW_SIZE);
    uint64_t before = MIN(off - win, addr - t->start);
    t->end = MIN(t->end, addr + (win + FWINDOW_SIZE - off));
    t->start = addr - before;
    t->ptr = fwindow_ptr(w, off - before);
    t->win = w;
    t->writable = write;
    return 0;
}

/* Text with changed call sites: what its file has. */
static int resolve_text(struct vma *v, uint64_t addr, struct tcache *t)
{
    struct mappable *m = v->file->m;
    uint64_t page = align_down(addr, PAGE_SIZE), off, count = 1;
    t->writable = false;
    if (m->ops->host_fd && m->ops->host_fd(m, false) >= 0)
        return resolve_file(v, addr, false, t);
    if (m->ops->page(m, vma_file_off(v, page) >> PAGE_SHIFT, false, &off, &count) < 0)
        return -EFAULT;
    t->start = page;
    t->end = page + PAGE_SIZE;
    t->ptr = memfile_ptr(g_mm.mf, off);
    return 0;
}

/* The vDSO is no memory of ours, but a string in it may be written to a file like any other. */
static bool resolve_vdso(uint64_t addr, uint32_t access, struct tcache *t)
{
    const struct pf_limits *l = &g_mm.limits;
    if (addr < l->vdso || addr >= l->vdso_end || (access & PF_ACCESS_WRITE))
        return false;
    *t =
        (struct tcache){.start = l->vdso, .end = l->vdso_end, .ptr = (uint8_t *)(uintptr_t)l->vdso};
    return true;
}

static int resolve_slow(struct mm *mm, uint64_t addr, uint64_t len, uint32_t access, bool force,
                        struct tcache *t)
{
    struct fault_info fi;
    bool write = (access & PF_ACCESS_WRITE) != 0;
    struct vma *v = addr < g_mm.limits.user_max ? vma_fault_find(mm, addr) : NULL;
    if (!v || !may_access(v, access, force) || mm->dead)
        return -EFAULT;
    struct seg *s = seg_at(mm, addr);
    if (!s || (write && s->cow) || (s->kind == SEG_MEM && s->fresh)) {
        tcache_flush(mm);
        int r = mm_spares_fill(mm);
        if (r == 0)
            r = seg_ensure(mm, v, addr, write, false, &s, &fi);
        /* The guest is about to use what it asked for: map the window as its own touch would. */
        if (r == 0 && s->kind == SEG_MEM && s->fresh)
            r = write ? map_for_copy(mm, v, s, addr, len) : map_for_fault(mm, v, s, addr);
        int r2 = ops_run(mm);
        if (r < 0 || r2 < 0)
            return r == -ENOMEM || r2 == -ENOMEM ? -ENOMEM : -EFAULT;
        s = seg_at(mm, addr);
        if (!s)
            return -EFAULT;
        s->fresh = false; /* PROT_NONE memory written by force has content all the same */
    }
    t->start = MAX(s->r.start, v->r.start);
    t->end = MIN(s->r.end, v->r.end);
    t->writable = !s->cow && (v->prot & PROT_WRITE);
    if (s->kind == SEG_FD)
        return resolve_file(v, addr, write, t);
    if (!write && text_seg_is_image(mm, s, addr))
        return resolve_text(v, addr, t);
    t->ptr = (uint8_t *)memfile_ptr(g_mm.mf, s->off) + (t->start - s->r.start);
    return 0;
}

int user_resolve(struct mm *mm, uint64_t addr, uint32_t access, bool force, uint8_t **ret_ptr,
                 uint64_t *ret_len, struct fwindow **ret_win)
{
    bool write = (access & PF_ACCESS_WRITE) != 0;
    struct tcache fresh = {0}, *t = NULL;
    for (unsigned i = 0; i < TCACHE_SIZE && !t; i++)
        if (addr >= mm->tc[i].start && addr < mm->tc[i].end && (!write || mm->tc[i].writable))
            t = &mm->tc[i];
    if (!t) {
        bool vdso = resolve_vdso(addr, access, &fresh);
        int r = vdso ? 0 : resolve_slow(mm, addr, *ret_len, access, force, &fresh);
        if (r < 0)
            return r;
        t = &fresh;
        struct vma *v = vma_at(mm, addr);
        if (!vdso)
            tcache_fill(mm, t, force && !(v && vma_allows(v, access)));
    }
    *ret_len = MIN(*ret_len, t->end - addr);
    *ret_ptr = t->ptr + (addr - t->start);
    *ret_win = t->win;
    if (!t->win && t->start < g_mm.limits.user_max)
        want_around(t, addr, *ret_len);
    return 0;
}

enum copy_kind { COPY_IN, COPY_OUT, COPY_ZERO };

/* Bytes done in *ret_done also on error. */
static int copy_user(struct mm *mm, uint64_t addr, void *buf, size_t n, enum copy_kind kind,
                     bool force, size_t *ret_done)
{
    uint32_t access = kind == COPY_IN ? PF_ACCESS_READ : PF_ACCESS_WRITE;
    uint8_t *p = buf;
    size_t done = 0;
    int r = 0;
    mm_lock(mm);
    while (done < n && r == 0) {
        struct fwindow *win;
        uint8_t *host;
        uint64_t len = n - done, left;
        r = user_resolve(mm, addr + done, access, force, &host, &len, &win);
        if (r < 0)
            break;
        if (kind == COPY_IN)
            left = ua_copy(p + done, host, len);
        else if (kind == COPY_OUT)
            left = ua_copy(host, p + done, len);
        else
            left = ua_zero(host, len);
        done += len - left;
        if (left)
            r = win ? -EFAULT : -ENOMEM;
    }
    mm_unlock(mm);
    if (ret_done)
        *ret_done = done;
    return r;
}

static bool wraps(uaddr_t a, size_t n)
{
    return !guest_range_readable(a.va, n);
}

int copy_in(struct mm *mm, void *dst, uaddr_t src, size_t n)
{
    return wraps(src, n) ? -EFAULT : copy_user(mm, src.va, dst, n, COPY_IN, false, NULL);
}

int copy_out(struct mm *mm, uaddr_t dst, const void *src, size_t n)
{
    return wraps(dst, n) ? -EFAULT
                         : copy_user(mm, dst.va, (void *)(uintptr_t)src, n, COPY_OUT, false, NULL);
}

int clear_user(struct mm *mm, uaddr_t dst, size_t n)
{
    return wraps(dst, n) ? -EFAULT : copy_user(mm, dst.va, NULL, n, COPY_ZERO, false, NULL);
}

int copy_in_force(struct mm *mm, void *dst, uaddr_t src, size_t n)
{
    return wraps(src, n) ? -EFAULT : copy_user(mm, src.va, dst, n, COPY_IN, true, NULL);
}

int copy_out_force(struct mm *mm, uaddr_t dst, const void *src, size_t n)
{
    return wraps(dst, n) ? -EFAULT
                         : copy_user(mm, dst.va, (void *)(uintptr_t)src, n, COPY_OUT, true, NULL);
}

ssize_t user_copy_partial(struct mm *mm, uint64_t addr, void *buf, size_t n, bool to_user)
{
    size_t done = 0;
    int r =
        copy_user(mm, addr, buf, n, to_user ? (buf ? COPY_OUT : COPY_ZERO) : COPY_IN, false, &done);
    return done ? (ssize_t)done : r;
}

ssize_t copy_in_string(struct mm *mm, char *dst, uaddr_t src, size_t size)
{
    size_t done = 0;
    ssize_t r = -ENAMETOOLONG;
    mm_lock(mm);
    while (done < size) {
        struct fwindow *win;
        uint8_t *host;
        uint64_t at = src.va + done;
        /* Not across a page: the string may end just before memory that is not there. */
        uint64_t len = MIN(size - done, PAGE_SIZE - (at & ~PAGE_MASK));
        len = MIN(len, 256ULL);
        r = user_resolve(mm, at, PF_ACCESS_READ, false, &host, &len, &win);
        if (r < 0)
            break;
        r = -ENAMETOOLONG;
        uint64_t got = len - ua_copy(dst + done, host, len);
        char *nul = memchr(dst + done, 0, got);
        if (nul) {
            r = nul - dst;
            break;
        }
        if (got < len) {
            r = win ? -EFAULT : -ENOMEM;
            break;
        }
        done += len;
    }
    mm_unlock(mm);
    return r;
}

static int resolve_word(struct mm *mm, uaddr_t a, uint32_t access, uint8_t **ret)
{
    struct fwindow *win;
    uint64_t len = 4;
    return user_resolve(mm, a.va, access, false, ret, &len, &win);
}

int user_load32(struct mm *mm, uaddr_t a, uint32_t *ret)
{
    uint8_t *p;
    if (a.va & 3)
        return -EINVAL;
    mm_lock(mm);
    int r = resolve_word(mm, a, PF_ACCESS_READ, &p);
    if (r == 0 && ua_load32(p, ret))
        r = -EFAULT;
    mm_unlock(mm);
    return r;
}

int user_cmpxchg32(struct mm *mm, uaddr_t a, uint32_t *expected, uint32_t desired, bool *ret_done)
{
    uint32_t done = 0;
    uint8_t *p;
    if (a.va & 3)
        return -EINVAL;
    mm_lock(mm);
    int r = resolve_word(mm, a, PF_ACCESS_READ | PF_ACCESS_WRITE, &p);
    if (r == 0 && ua_cmpxchg32(p, expected, desired, &done))
        r = -EFAULT;
    mm_unlock(mm);
    if (r == 0)
        *ret_done = done;
    return r;
}

int mm_futex_key(struct mm *mm, uaddr_t a, bool shared, struct futex_key *ret)
{
    if (a.va & 3)
        return -EINVAL;
    if (!guest_range_valid(a.va, 4))
        return -EFAULT;
    ret->object = mm->id;
    ret->offset = a.va;
    if (!shared)
        return 0;
    mm_lock(mm);
    struct vma *v = vma_at(mm, a.va);
    if (v && (v->flags & VMA_SHARED)) {
        ret->object = (uint64_t)(uintptr_t)v->file->m; /* even; mm ids are odd */
        ret->offset = vma_file_off(v, a.va);
    }
    bool allowed = v && vma_allows(v, PF_ACCESS_READ);
    mm_unlock(mm);
    return allowed ? 0 : -EFAULT;
}
