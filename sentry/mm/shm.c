/* SPDX-License-Identifier: Apache-2.0
 * shm.c - memory behind MAP_SHARED | MAP_ANONYMOUS: a file without a name, whose pages are one
 * range of the memory file. Its size never changes.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "mm_internal.h"

struct shm {
    struct mappable m;
    struct refcount ref;
    uint64_t off, len, ino;
};

static struct shm *shm_of(struct mappable *m)
{
    return container_of(m, struct shm, m);
}

static void shm_get(struct mappable *m)
{
    refcount_get(&shm_of(m)->ref);
}

static void shm_put(struct mappable *m)
{
    struct shm *s = shm_of(m);
    if (!refcount_put(&s->ref))
        return;
    mappable_fini(m);
    memref_release(s->off, s->len);
    free(s);
}

static int shm_page(struct mappable *m, uint64_t index, bool write, uint64_t *ret_off,
                    uint64_t *ret_count)
{
    struct shm *s = shm_of(m);
    uint64_t pages = s->len >> PAGE_SHIFT;
    (void)write;
    if (index >= pages)
        return -ENXIO;
    *ret_off = s->off + (index << PAGE_SHIFT);
    *ret_count = MIN(*ret_count, pages - index);
    return 0;
}

static int64_t shm_size(struct mappable *m)
{
    return (int64_t)shm_of(m)->len;
}

static void shm_describe(struct mappable *m, char *buf, size_t len, uint64_t *ret_dev,
                         uint64_t *ret_ino)
{
    (void)snprintf(buf, len, "/dev/zero (deleted)");
    *ret_dev = 1;
    *ret_ino = shm_of(m)->ino;
}

static const struct mappable_ops shm_ops = {
    .get = shm_get,
    .put = shm_put,
    .page = shm_page,
    .size = shm_size,
    .describe = shm_describe,
};

struct mappable *shm_new(uint64_t len)
{
    static _Atomic(uint64_t) next_ino = 1;
    struct shm *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_PTR(-ENOMEM);
    if (memfile_alloc(g_mm.mf, len, 0, &s->off) < 0) {
        free(s);
        return ERR_PTR(-ENOMEM);
    }
    mappable_init(&s->m, &shm_ops);
    refcount_init(&s->ref);
    s->len = len;
    s->ino = atomic_fetch_add(&next_ino, 1);
    return &s->m;
}

int shm_remove(struct mappable *m, uint64_t off, uint64_t len)
{
    struct shm *s = shm_of(m);
    if (m->ops != &shm_ops)
        return -EOPNOTSUPP;
    if (off >= s->len)
        return 0;
    len = MIN(len, s->len - off);
    present_forget(s->off + off, len);
    memfile_decommit(g_mm.mf, s->off + off, len);
    return 0;
}

bool mm_attach_next(struct mm *mm, uint64_t addr, uint64_t from, uint64_t end,
                    const struct mappable_ops *ops, const struct mappable *file,
                    uint64_t *ret_start, uint64_t *ret_end, struct mappable **ret_file)
{
    bool found = false;
    mm_lock(mm);
    for (struct vma *v = vma_find(mm, from); v && v->r.start < end && !found; v = vma_next(v)) {
        if (!v->file || v->file->m->ops != ops || (file && v->file->m != file) ||
            v->r.start - addr != v->off)
            continue;
        *ret_start = v->r.start;
        *ret_end = v->r.end;
        *ret_file = v->file->m;
        found = true;
    }
    mm_unlock(mm);
    return found;
}

void mm_set_counted(struct mm *mm)
{
    mm->counted = true;
}

bool mm_counted(const struct mm *mm)
{
    return mm->counted;
}
