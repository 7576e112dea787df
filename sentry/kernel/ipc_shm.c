/* SPDX-License-Identifier: Apache-2.0
 * ipc_shm.c - System V shared memory.
 *
 * A segment is a file for the address spaces (a mappable) over a range of the memory file, which
 * costs memory only where it is touched. How often it is attached is how many mappings mm counts;
 * a removed segment stays, by its number, until the last of them has gone: then put() finds it
 * without mappings. The segment's references: the table, each address space that maps it, who is
 * attaching.
 *
 * Guests choose sizes: all together at most IPC_SHM_BYTES_MAX of address range.
 * Lock: the table's. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/capability.h>

#include <base/checked.h>

#include "ipc_internal.h"

#define SHM_SIZE_MAX (UINT64_MAX - (1ULL << 24)) /* Linux' SHMMAX */

struct segment {
    struct ipc_object o;
    struct mappable m;
    struct mappable *memory; /* reference */
    uint64_t size, bytes;    /* as asked; whole pages */
    /* --- table lock --- */
    unsigned attaching; /* found and about to be mapped */
    int64_t atime, dtime, ctime;
    int32_t cpid, lpid;
};

static void segment_destroy(struct ipc_object *o);

static struct ipc_table g_segments = IPC_TABLE_INIT(IPC_SHM_MAX, segment_destroy);
static _Atomic(uint64_t) g_bytes;

static struct segment *segment_of(struct mappable *m)
{
    return container_of(m, struct segment, m);
}

static struct segment *segment_of_object(struct ipc_object *o)
{
    return container_of(o, struct segment, o);
}

static void segment_destroy(struct ipc_object *o)
{
    struct segment *s = segment_of_object(o);

    if (s->memory) {
        mappable_fini(&s->m);
        s->memory->ops->put(s->memory);
    }
    atomic_fetch_sub(&g_bytes, s->bytes);
    free(s);
}

/* --- as a file of address spaces --- */

static void segment_get(struct mappable *m)
{
    refcount_get(&segment_of(m)->o.ref);
}

/* A removed segment goes with its last mapping. True: the table's reference is the caller's. */
static bool segment_reap_locked(struct segment *s)
{
    if (s->o.removed || !(s->o.mode & SHM_DEST) || s->attaching || mappable_map_count(&s->m))
        return false;
    ipc_take_out_locked(&g_segments, &s->o);
    return true;
}

static void segment_put(struct mappable *m)
{
    struct segment *s = segment_of(m);
    struct task *t = task_current();

    spin_lock(&g_segments.lock);
    s->dtime = ipc_now_s();
    if (t)
        s->lpid = t->process->pid;
    bool reaped = segment_reap_locked(s);
    spin_unlock(&g_segments.lock);
    if (reaped)
        ipc_object_put(&g_segments, &s->o);
    ipc_object_put(&g_segments, &s->o);
}

static int segment_page(struct mappable *m, uint64_t index, bool write, uint64_t *ret_off,
                        uint64_t *ret_count)
{
    struct mappable *memory = segment_of(m)->memory;

    return memory->ops->page(memory, index, write, ret_off, ret_count);
}

static int64_t segment_size(struct mappable *m)
{
    return (int64_t)segment_of(m)->bytes;
}

static void segment_describe(struct mappable *m, char *buf, size_t len, uint64_t *ret_dev,
                             uint64_t *ret_ino)
{
    (void)snprintf(buf, len, "/SYSV%08x (deleted)", (uint32_t)segment_of(m)->o.key);
    *ret_dev = 1;
    *ret_ino = (uint64_t)segment_of(m)->o.id;
}

static const struct mappable_ops segment_ops = {
    .get = segment_get,
    .put = segment_put,
    .page = segment_page,
    .size = segment_size,
    .describe = segment_describe,
};

/* --- shmget --- */

static struct segment *segment_new(struct task *t, int32_t key, uint64_t size, int32_t flags)
{
    uint64_t bytes = align_up(size, PAGE_SIZE);

    if (bytes > IPC_SHM_BYTES_MAX)
        return ERR_PTR(-ENOSPC);
    struct segment *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_PTR(-ENOMEM);
    s->size = size;
    s->bytes = bytes;
    ipc_object_init(&s->o, t, key, flags);
    if (atomic_fetch_add(&g_bytes, bytes) + bytes > IPC_SHM_BYTES_MAX) {
        segment_destroy(&s->o);
        return ERR_PTR(-ENOSPC);
    }
    struct mappable *memory = shm_new(bytes);
    if (IS_ERR(memory)) {
        segment_destroy(&s->o);
        return ERR_PTR(PTR_ERR(memory));
    }
    s->memory = memory;
    mappable_init(&s->m, &segment_ops);
    s->ctime = ipc_now_s();
    s->cpid = t->process->pid;
    return s;
}

static int segment_check(const struct ipc_object *o, uint64_t size)
{
    return container_of(o, const struct segment, o)->size < size ? -EINVAL : 0;
}

sysret_t ipc_shmget(struct task *t, int32_t key, uint64_t size, int32_t flags)
{
    bool used;
    sysret_t r = ipc_open(&g_segments, t, key, flags, segment_check, size, NULL, &used);

    if (r != -EAGAIN)
        return r;
    if (size < 1 || size > SHM_SIZE_MAX)
        return -EINVAL;
    if (flags & SHM_HUGETLB)
        return -ENOMEM; /* as with an empty huge page pool */
    struct segment *s = segment_new(t, key, size, flags);
    if (IS_ERR(s))
        return PTR_ERR(s);
    r = ipc_open(&g_segments, t, key, flags, segment_check, size, &s->o, &used);
    if (!used)
        ipc_object_put(&g_segments, &s->o);
    return r;
}

/* --- shmat, shmdt --- */

static struct segment *attach_begin(struct task *t, int32_t id, uint32_t want)
{
    spin_lock(&g_segments.lock);
    struct ipc_object *o = ipc_find_locked(&g_segments, id);
    int err = IS_ERR(o) ? PTR_ERR(o) : ipc_permission(o, t, want);
    if (!err) {
        segment_of_object(o)->attaching++;
        refcount_get(&o->ref);
    }
    spin_unlock(&g_segments.lock);
    return err ? ERR_PTR(err) : segment_of_object(o);
}

static void attach_end(struct segment *s, bool attached)
{
    spin_lock(&g_segments.lock);
    s->attaching--;
    if (attached) {
        s->atime = ipc_now_s();
        s->lpid = task_current()->process->pid;
    }
    bool reaped = segment_reap_locked(s);
    spin_unlock(&g_segments.lock);
    if (reaped)
        ipc_object_put(&g_segments, &s->o);
    ipc_object_put(&g_segments, &s->o);
}

sysret_t ipc_shmat(struct task *t, int32_t id, uint64_t addr, int32_t flags)
{
    bool write = !(flags & SHM_RDONLY), exec = flags & SHM_EXEC, remap = flags & SHM_REMAP;

    if (addr & ~PAGE_MASK) {
        if (!(flags & SHM_RND))
            return -EINVAL;
        addr &= PAGE_MASK;
    }
    if (!addr && remap)
        return -EINVAL;
    struct segment *s = attach_begin(t, id, 0444 | (write ? 0222u : 0) | (exec ? 0111u : 0));
    if (IS_ERR(s))
        return PTR_ERR(s);
    struct mm_map_args a = {
        .addr = addr,
        .len = s->bytes,
        .prot = PROT_READ | (write ? PROT_WRITE : 0u) | (exec ? PROT_EXEC : 0u),
        .flags = MAP_SHARED | (!addr   ? 0u
                               : remap ? MAP_FIXED
                                       : MAP_FIXED_NOREPLACE),
        .file = &s->m,
        .file_writable = write,
    };
    mm_set_counted(t->mm);
    sysret_t r = mm_mmap(t->mm, &a);
    attach_end(s, r >= 0);
    return r == -EEXIST ? -EINVAL : r;
}

int ipc_shmdt(struct task *t, uint64_t addr, struct mm_self *ret_self)
{
    struct mappable *file = NULL;
    uint64_t end = UINT64_MAX, from = addr, a, b;
    int r = -EINVAL;

    if (addr & ~PAGE_MASK)
        return -EINVAL;
    while (mm_attach_next(t->mm, addr, from, end, &segment_ops, file, &a, &b, &file)) {
        if (r) /* it may be gone after the first piece has been unmapped */
            end = addr + segment_size(file);
        r = mm_munmap(t->mm, a, b - a, b == end ? ret_self : NULL);
        if (r || b >= end)
            break;
        from = b;
    }
    return r;
}

/* --- shmctl --- */

static void segment_stat_locked(struct segment *s, struct shmid_ds *d)
{
    memset(d, 0, sizeof(*d));
    ipc_perm_fill(&s->o, &d->shm_perm);
    d->shm_segsz = s->size;
    d->shm_atime = s->atime;
    d->shm_dtime = s->dtime;
    d->shm_ctime = s->ctime;
    d->shm_cpid = s->cpid;
    d->shm_lpid = s->lpid;
    d->shm_nattch = mappable_map_count(&s->m);
}

sysret_t ipc_shm_stat(struct task *t, int32_t id, int32_t cmd, struct shmid_ds *d)
{
    sysret_t r;

    spin_lock(&g_segments.lock);
    struct ipc_object *o =
        ipc_find_stat_locked(&g_segments, t, id, cmd != IPC_STAT, cmd == SHM_STAT_ANY);
    if (IS_ERR(o)) {
        r = PTR_ERR(o);
    } else {
        segment_stat_locked(segment_of_object(o), d);
        r = cmd == IPC_STAT ? 0 : o->id;
    }
    spin_unlock(&g_segments.lock);
    return r;
}

int ipc_shm_set(struct task *t, int32_t id, const struct shmid_ds *d)
{
    spin_lock(&g_segments.lock);
    struct ipc_object *o = ipc_find_locked(&g_segments, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ipc_owner(o, t);
    if (!r) {
        ipc_perm_set(o, &d->shm_perm);
        segment_of_object(o)->ctime = ipc_now_s();
    }
    spin_unlock(&g_segments.lock);
    return r;
}

int ipc_shm_remove(struct task *t, int32_t id)
{
    bool reaped = false;

    spin_lock(&g_segments.lock);
    struct ipc_object *o = ipc_find_locked(&g_segments, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : ipc_owner(o, t);
    if (!r) {
        o->mode |= SHM_DEST;
        o->key = IPC_PRIVATE; /* nobody finds it by the key any more */
        list_del(&o->key_link);
        reaped = segment_reap_locked(segment_of_object(o));
    }
    spin_unlock(&g_segments.lock);
    if (reaped)
        ipc_object_put(&g_segments, o);
    return r;
}

int ipc_shm_lock(struct task *t, int32_t id, bool lock)
{
    spin_lock(&g_segments.lock);
    struct ipc_object *o = ipc_find_locked(&g_segments, id);
    int r = IS_ERR(o) ? PTR_ERR(o) : 0;
    if (!r && !cred_capable(t->cred, CAP_IPC_LOCK)) {
        const struct cred *c = t->cred;
        if (c->euid != o->uid && c->euid != o->cuid)
            r = -EPERM;
        else if (lock && !t->process->rlimits[RLIMIT_MEMLOCK].rlim_cur)
            r = -EPERM;
    }
    if (!r)
        o->mode = lock ? o->mode | SHM_LOCKED : o->mode & ~(uint32_t)SHM_LOCKED;
    spin_unlock(&g_segments.lock);
    return r;
}

int32_t ipc_shm_info(struct shm_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    spin_lock(&g_segments.lock);
    ret->used_ids = (int)g_segments.used;
    ret->shm_tot = atomic_load(&g_bytes) >> PAGE_SHIFT;
    int32_t highest = ipc_highest_locked(&g_segments);
    spin_unlock(&g_segments.lock);
    return highest;
}
