/* SPDX-License-Identifier: Apache-2.0
 * filemap.c - files behind addresses: donated descriptors, or pages the file keeps in the memory
 * file.
 *
 * With a descriptor the guest maps the host's file itself (one mapping for a whole VMA; the host's
 * page cache is the only cache). Without one the file hands out pages of the memory file, a window
 * at a time. Private mappings are read-only and copied on write (cow.c); small writable private
 * ones (data segments) are copied at mmap. Descriptors are donated once per file and address space.
 * Lock: mm->lock; ops of the mappable may park under it.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <host/io.h>

#include "mm_internal.h"

struct mm_file *mm_file_get(struct mm *mm, struct mappable *m)
{
    struct mm_file *f;
    list_for_each_entry (f, &mm->files, link) {
        if (f->m == m) {
            mm_file_hold(f);
            return f;
        }
    }
    f = calloc(1, sizeof *f);
    if (!f)
        return ERR_PTR(-ENOMEM);
    f->mm = mm;
    f->m = m;
    f->vmas = 1;
    f->slot_ro = f->slot_rw = -1;
    list_init(&f->rmap_link);
    int r = rmap_add(f);
    if (r < 0) {
        free(f);
        return ERR_PTR(r);
    }
    m->ops->get(m);
    list_add(&f->link, &mm->files);
    return f;
}

void mm_file_hold(struct mm_file *f)
{
    __atomic_store_n(&f->vmas, f->vmas + 1, __ATOMIC_RELAXED); /* mappable_map_count reads it */
}

void mm_file_drop(struct mm_file *f)
{
    struct mm *mm = f->mm;
    __atomic_store_n(&f->vmas, f->vmas - 1, __ATOMIC_RELAXED);
    if (f->vmas)
        return;
    rmap_del(f);
    if (!mm->dead && f->slot_ro >= 0)
        g_mm.ops->fd_drop(mm->as, f->slot_ro);
    if (!mm->dead && f->slot_rw >= 0)
        g_mm.ops->fd_drop(mm->as, f->slot_rw);
    list_del(&f->link);
    list_add(&f->link, &mm->dead_files); /* put after the lock is released */
}

int mm_file_slot(struct mm_file *f, bool write)
{
    int *slot = write ? &f->slot_rw : &f->slot_ro;
    bool *none = write ? &f->no_rw : &f->no_fd;
    if (*slot >= 0)
        return *slot;
    if (*none || !f->m->ops->host_fd)
        return -ENODEV;
    if (f->mm->dead)
        return -ESRCH;
    int fd = f->m->ops->host_fd(f->m, write);
    if (fd < 0) {
        *none = true;
        return -ENODEV;
    }
    int r = g_mm.ops->fd_donate(f->mm->as, fd, write ? 0 : f->m->id);
    if (r >= 0)
        *slot = r;
    return r >= 0 || r == -ESRCH ? r : -ENOMEM;
}

bool file_fd_known(const struct mm_file *f)
{
    return f->slot_ro >= 0 || (g_mm.ops->fd_known && g_mm.ops->fd_known(f->mm->as, f->m->id));
}

bool file_past_end(struct mappable *m, uint64_t off)
{
    int64_t size = m->ops->size(m);
    return size < 0 || off >= align_up((uint64_t)size, PAGE_SIZE);
}

static int read_pages(struct mappable *m, uint64_t off, uint8_t *dst, size_t len)
{
    while (len) {
        uint64_t poff, in = off & ~PAGE_MASK;
        uint64_t count = (in + len + PAGE_SIZE - 1) >> PAGE_SHIFT;
        int r = m->ops->page(m, off >> PAGE_SHIFT, false, &poff, &count);
        if (r == -ENXIO) {
            memset(dst, 0, len);
            return 0;
        }
        if (r < 0)
            return r == -ENOMEM ? r : -EIO;
        size_t n = MIN((size_t)((count << PAGE_SHIFT) - in), len);
        if (ua_copy(dst, memfile_ptr(g_mm.mf, poff + in), n))
            return -ENOMEM;
        off += n;
        dst += n;
        len -= n;
    }
    return 0;
}

int file_read(struct mappable *m, uint64_t off, void *dst, size_t len)
{
    uint8_t *to = dst;
    int fd = m->ops->host_fd ? m->ops->host_fd(m, false) : -1;
    if (fd < 0)
        return read_pages(m, off, to, len);
    while (len) {
        struct iovec iov = {.iov_base = to, .iov_len = len};
        ssize_t n = io_preadv(fd, &iov, 1, (int64_t)off);
        if (n == -EINTR)
            continue;
        if (n < 0)
            return -EIO;
        if (n == 0) {
            memset(to, 0, len);
            return 0;
        }
        off += (size_t)n;
        to += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Hole of @v around @addr. */
static void file_hole(struct mm *mm, struct vma *v, uint64_t addr, uint64_t *ret_a, uint64_t *ret_b)
{
    struct seg *n = seg_find(mm, addr);
    struct seg *p = n ? seg_prev(n) : seg_of(rtree_last(&mm->segs));
    *ret_a = p ? MAX(v->r.start, p->r.end) : v->r.start;
    *ret_b = n ? MIN(v->r.end, n->r.start) : v->r.end;
}

/* Whole hole from the descriptor. -ENODEV: none. */
static int backing_fd(struct mm *mm, struct vma *v, uint64_t addr, struct seg **ret)
{
    bool shared = v->flags & VMA_SHARED;
    bool write = shared && (v->flags & VMA_MAYWRITE) && (v->prot & PROT_WRITE);
    uint64_t a, b;
    int slot = mm_file_slot(v->file, write);
    if (slot < 0)
        return slot;
    struct seg *s = seg_new(mm);
    if (!s)
        return -ENOMEM;
    file_hole(mm, v, addr, &a, &b);
    s->r.start = a;
    s->r.end = b;
    s->kind = SEG_FD;
    s->cow = !write;
    s->off = vma_file_off(v, a);
    s->file = v->file;
    seg_insert(mm, s);
    *ret = s;
    return 0;
}

static int backing_pages(struct mm *mm, struct vma *v, uint64_t addr, bool write, struct seg **ret,
                         struct fault_info *fi)
{
    bool shared = v->flags & VMA_SHARED;
    uint64_t a, b, page = align_down(addr, PAGE_SIZE), off;
    file_hole(mm, v, addr, &a, &b);
    a = page;
    b = MIN(b, page + FILE_WINDOW);
    uint64_t count = (b - a) >> PAGE_SHIFT;
    bool for_write = shared && (v->flags & VMA_MAYWRITE) && (write || (v->prot & PROT_WRITE));
    int r = v->file->m->ops->page(v->file->m, vma_file_off(v, a) >> PAGE_SHIFT, for_write, &off,
                                  &count);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || count == 0) {
        *fi = (struct fault_info){SIGBUS, BUS_ADRERR};
        return -EFAULT;
    }
    struct seg *s = seg_new(mm);
    if (!s)
        return -ENOMEM;
    s->r.start = a;
    s->r.end = MIN(b, a + (count << PAGE_SHIFT));
    s->kind = SEG_PAGE;
    s->cow = !for_write;
    s->off = off;
    s->file = v->file;
    seg_insert(mm, s);
    *ret = s;
    return 0;
}

int file_backing(struct mm *mm, struct vma *v, uint64_t addr, bool write, struct seg **ret,
                 struct fault_info *fi)
{
    int r = backing_fd(mm, v, addr, ret);
    if (r != -ENODEV)
        return r;
    mm->majflt++;
    return backing_pages(mm, v, addr, write, ret, fi);
}

/* Copy a small private writable mapping now: data segments are about to be written. */
static int copy_small(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    int64_t size = v->file->m->ops->size(v->file->m);
    uint64_t off = vma_file_off(v, a), bytes = size < 0 ? 0 : align_up((uint64_t)size, PAGE_SIZE);
    if (bytes <= off)
        return 0;
    b = MIN(b, a + (bytes - off));
    struct seg *s = seg_from_pool(mm, a, b, false);
    bool pooled = s != NULL;
    int r = pooled ? 0 : seg_alloc(mm, a, b, &s);
    if (r < 0)
        return r;
    s->fresh = false;
    if (!pooled)
        r = memfile_populate(g_mm.mf, s->off, b - a);
    if (r == 0)
        r = file_read(v->file->m, off, memfile_ptr(g_mm.mf, s->off), b - a);
    return r < 0 ? r : map_range(mm, v, a, b, false, true);
}

int file_map_initial(struct mm *mm, struct vma *v, uint64_t a, uint64_t b)
{
    struct fault_info fi;
    struct seg *s;
    if (v->prot == PROT_NONE)
        return 0;
    if (!(v->flags & VMA_SHARED) && (v->prot & PROT_WRITE) && b - a <= SMALL_COPY)
        return copy_small(mm, v, a, b);
    int r = text_map_known(mm, v, a, b);
    if (r < 0)
        return r;
    for (s = seg_find(mm, a); s && s->r.start < b;) { /* pieces: the holes between them, too */
        if (s->r.start > a && (r = file_backing(mm, v, a, false, &s, &fi)) < 0)
            break;
        a = s->r.end;
        s = seg_find(mm, a);
        if (a < b && (!s || s->r.start >= b))
            s = NULL;
    }
    if (r < 0 || a >= b)
        return r == -EFAULT ? 0 : r;
    r = backing_fd(mm, v, a, &s);
    if (r == 0) {
        r = map_range(mm, v, a, b, false, false);
        /* No populating: the host maps 16 pages around each fault, for less than asking costs. */
        return r;
    }
    if (r != -ENODEV)
        return r;
    r = backing_pages(mm, v, a, false, &s, &fi);
    if (r == 0)
        r = map_range(mm, v, s->r.start, s->r.end, false, true);
    return r == -EFAULT ? 0 : r; /* an empty file may be mapped: SIGBUS comes at the touch */
}
