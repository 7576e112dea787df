/* SPDX-License-Identifier: Apache-2.0
 * life.c - address spaces: creation, references, layout, heap, stack, end.
 *
 * An mm is one host process. Until mm_as() is first asked for it (to start a thread) no guest code
 * can run in it, so operations are only collected, and the whole of an exec or fork is one list.
 * Lock: mm->lock (RANK_MM). References to files are put after it is released (mm_unlock), since
 * that may take locks that come before it.
 * Host: getrandom [sentry]
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <base/fiber.h>
#include <base/hash.h>
#include <base/log.h>

#include "mm_internal.h"

struct mm_state g_mm;
static _Atomic(uint64_t) g_next_id = 1;

#define LAYOUT_GAP (16ULL << 30) /* kept free for the main stack */
/* The top of mappings is random in this range; not more, or a guest's ThreadSanitizer, which allows
 * mappings from 0x7e8000000000 on, finds them too low. */
#define LAYOUT_SPREAD (256ULL << 30)
#define STACK_INITIAL (128ULL << 10)

int mm_init(const struct platform_ops *ops, struct memfile *mf)
{
    g_mm.ops = ops;
    g_mm.mf = mf;
    ops->limits(&g_mm.limits);
    return sigbus_init();
}

static void exe_ref_put(struct mm_exe_ref *e);

static uint64_t random_pages(uint64_t max)
{
    uint64_t v;
    if (getrandom(&v, sizeof v, GRND_NONBLOCK) != sizeof v)
        v = hash_u64(atomic_fetch_add(&g_next_id, 2)); /* keyed: still not guessable by a guest */
    return v % (max / PAGE_SIZE + 1) * PAGE_SIZE;
}

static struct mm *mm_alloc(void)
{
    struct mm *mm = calloc(1, sizeof *mm);
    if (!mm)
        return NULL;
    refcount_init(&mm->ref);
    mm->id = atomic_fetch_add(&g_next_id, 2);
    fmutex_init(&mm->lock, RANK_MM);
    mm->deferring = true;
    list_init(&mm->files);
    list_init(&mm->dead_files);
    list_init(&mm->text_maps);
    list_init(&mm->dead_text_maps);
    mm->limits = (struct mm_limits){UINT64_MAX, UINT64_MAX, UINT64_MAX};
    return mm;
}

struct mm *mm_alloc_with_process(void)
{
    struct mm *mm = mm_alloc();
    if (!mm)
        return ERR_PTR(-ENOMEM);
    int r = g_mm.ops->as_create(&mm->as);
    if (r < 0) {
        free(mm);
        return ERR_PTR(r);
    }
    return mm;
}

struct mm *mm_new(void)
{
    struct mm *mm = mm_alloc_with_process();
    if (IS_ERR(mm))
        return mm;
    uint64_t span = g_mm.limits.user_max - g_mm.limits.user_min;
    uint64_t gap = align_down(MIN(LAYOUT_GAP, span / 16), PAGE_SIZE);
    uint64_t spread = MIN(span / 256, LAYOUT_SPREAD);
    mm->stack_limit = gap - STACK_GUARD;
    mm->stack_top = g_mm.limits.user_max - PAGE_SIZE - random_pages(gap / 2);
    mm->mmap_top = g_mm.limits.user_max - 2 * gap - random_pages(spread);
    return mm;
}

struct mm *mm_get(struct mm *mm)
{
    refcount_get(&mm->ref);
    return mm;
}

void mm_lock(struct mm *mm)
{
    fmutex_lock(&mm->lock);
}

int mm_spares_fill(struct mm *mm)
{
    while (mm->spare_vmas < SPARE_VMAS) {
        struct vma *v = malloc(sizeof *v);
        if (!v)
            return -ENOMEM;
        mm->spare_vma[mm->spare_vmas++] = v;
    }
    while (mm->spare_segs < SPARE_SEGS) {
        struct seg *s = malloc(sizeof *s);
        if (!s)
            return -ENOMEM;
        mm->spare_seg[mm->spare_segs++] = s;
    }
    return 0;
}

int mm_lock_change(struct mm *mm)
{
    int r = mm_lock_add(mm);
    if (r < 0)
        return r;
    mm->lazy_done = mm->op_count && !mm->deferring;
    if (mm->lazy_done && ops_force(mm) == -ESRCH) {
        mm_unlock(mm);
        return -ESRCH;
    }
    return 0;
}

int mm_lock_add(struct mm *mm)
{
    mm_lock(mm);
    tcache_flush(mm);
    int r = mm->dead ? -ESRCH : mm_spares_fill(mm);
    if (r < 0)
        mm_unlock(mm);
    return r;
}

void mm_unlock(struct mm *mm)
{
    struct list_head dead, dead_maps;
    struct mm_file *f, *tmp;
    list_init(&dead);
    list_init(&dead_maps);
    list_splice_tail(&mm->dead_files, &dead);
    list_splice_tail(&mm->dead_text_maps, &dead_maps);
    fmutex_unlock(&mm->lock);
    text_free_dead(&dead_maps);
    list_for_each_entry_safe (f, tmp, &dead, link) {
        list_del(&f->link);
        if (f->text)
            text_file_forget(f->text);
        f->m->ops->put(f->m);
        free(f);
    }
}

void mm_kill_locked(struct mm *mm)
{
    if (!mm->destroyed)
        g_mm.ops->as_destroy(mm->as);
    mm->destroyed = true;
    mm_gone_locked(mm);
}

void mm_gone_locked(struct mm *mm)
{
    mm->dead = true;
    mm->op_count = 0;
    mm->pending_count = 0;
    for (struct seg *s = seg_of(rtree_first(&mm->segs)); s; s = seg_next(s))
        s->hprot = -1;
}

/* The end in good order: the host process may serve another address space. */
static void mm_release_locked(struct mm *mm)
{
    struct mm_file *f;
    if (mm->dead || mm->destroyed || !g_mm.ops->as_release) {
        mm_kill_locked(mm);
        return;
    }
    list_for_each_entry (f, &mm->files, link) {
        if (f->slot_ro >= 0)
            g_mm.ops->fd_drop(mm->as, f->slot_ro);
        if (f->slot_rw >= 0)
            g_mm.ops->fd_drop(mm->as, f->slot_rw);
        f->slot_ro = f->slot_rw = -1;
    }
    g_mm.ops->as_release(mm->as);
    mm->destroyed = true;
    mm_gone_locked(mm);
}

void mm_kill(struct mm *mm)
{
    mm_lock(mm);
    mm_kill_locked(mm);
    mm_unlock(mm);
}

/* Nobody has the address space any more. Punching holes takes time: others get the poller in
 * between. */
static void dying_free(struct mm *mm)
{
    for (size_t i = 0; i < mm->dying_count; i++) {
        if (i % 4 == 3 && fiber_sched_self())
            fiber_yield();
        memref_release(mm->dying[i].off, mm->dying[i].len);
    }
}

void mm_put(struct mm *mm)
{
    if (!mm || IS_ERR(mm) || !refcount_put(&mm->ref))
        return;
    mm_lock(mm);
    tcache_flush(mm);
    mm_release_locked(mm);
    mm->pins = 0;
    mm->deferring = true; /* what it gives up is collected */
    for (struct seg *s; (s = seg_of(mm->segs.root));)
        segs_drop(mm, s->r.start, s->r.end);
    for (struct vma *v; (v = vma_of(mm->vmas.root));)
        vma_remove(mm, v);
    list_splice_tail(&mm->text_maps, &mm->dead_text_maps);
    mm_unlock(mm);
    exe_ref_put(mm->exe);
    dying_free(mm);
    mm_hot_put(mm->hot);
    while (mm->spare_vmas)
        free(mm->spare_vma[--mm->spare_vmas]);
    while (mm->spare_segs)
        free(mm->spare_seg[--mm->spare_segs]);
    free(mm->ops);
    free(mm->dying);
    free(mm);
}

/* --- ends that wait for an idle moment --- */

#define LATER_MAX 3u             /* address spaces */
#define LATER_DATA (64ULL << 20) /* larger ones do not wait */

static struct {
    struct spin lock; /* RANK_LEAF */
    struct mm *mm[LATER_MAX];
    _Atomic(unsigned) count;
} g_later = {.lock = SPIN_INIT(RANK_LEAF)};

void mm_put_later(struct mm *mm)
{
    mm_lock(mm); /* others may still use it */
    bool large = mm->data_size > LATER_DATA;
    mm_unlock(mm);
    if (large || mm_pressure()) {
        mm_put(mm);
        return;
    }
    struct mm *first = NULL;
    spin_lock(&g_later.lock);
    unsigned n = atomic_load_explicit(&g_later.count, memory_order_relaxed);
    if (n == LATER_MAX) {
        first = g_later.mm[0];
        memmove(g_later.mm, g_later.mm + 1, (--n) * sizeof *g_later.mm);
    }
    g_later.mm[n++] = mm;
    atomic_store_explicit(&g_later.count, n, memory_order_relaxed);
    spin_unlock(&g_later.lock);
    mm_put(first);
}

bool mm_later_any(void)
{
    return atomic_load_explicit(&g_later.count, memory_order_relaxed) != 0;
}

bool mm_later_run(void)
{
    struct mm *mm = NULL;
    spin_lock(&g_later.lock);
    unsigned n = atomic_load_explicit(&g_later.count, memory_order_relaxed);
    if (n) {
        mm = g_later.mm[0];
        memmove(g_later.mm, g_later.mm + 1, (--n) * sizeof *g_later.mm);
        atomic_store_explicit(&g_later.count, n, memory_order_relaxed);
    }
    spin_unlock(&g_later.lock);
    mm_put(mm);
    return mm != NULL;
}

struct pf_as *mm_as(struct mm *mm)
{
    if (__atomic_load_n(&mm->deferring, __ATOMIC_ACQUIRE)) {
        mm_lock(mm);
        if (mm->deferring && !mm->dead) {
            int r = ops_force(mm);
            if (r < 0) /* what could not be mapped is tried again when it is touched */
                log_debug("mm", "first list failed: %d", r);
            __atomic_store_n(&mm->deferring, false, __ATOMIC_RELEASE);
        }
        mm_unlock(mm);
    }
    return mm->as;
}

void mm_set_layout(struct mm *mm, const struct mm_layout *l)
{
    mm_lock(mm);
    mm->layout = *l;
    mm->brk = l->start_brk;
    mm_unlock(mm);
}

void mm_get_layout(struct mm *mm, struct mm_layout *ret)
{
    mm_lock(mm);
    *ret = mm->layout;
    mm_unlock(mm);
}

void mm_set_limits(struct mm *mm, const struct mm_limits *l)
{
    mm_lock(mm);
    mm->limits = *l;
    mm_unlock(mm);
}

static void exe_ref_put(struct mm_exe_ref *e)
{
    if (!e || !refcount_put(&e->ref))
        return;
    if (e->exe && e->put)
        e->put(e->exe);
    free(e);
}

struct mm_exe_ref *mm_exe_hold(struct mm *mm)
{
    if (mm->exe)
        refcount_get(&mm->exe->ref);
    return mm->exe;
}

void mm_set_exe(struct mm *mm, void *exe, void (*put)(void *))
{
    struct mm_exe_ref *e = malloc(sizeof *e);
    if (!e) { /* /proc/PID/exe is then missing */
        if (exe && put)
            put(exe);
        return;
    }
    refcount_init(&e->ref);
    e->exe = exe;
    e->put = put;
    mm_lock(mm);
    struct mm_exe_ref *old = mm->exe;
    mm->exe = e;
    mm_unlock(mm);
    exe_ref_put(old);
}

void *mm_exe(struct mm *mm)
{
    return mm->exe ? mm->exe->exe : NULL;
}

int64_t mm_map_stack(struct mm *mm, uint64_t limit, bool exec)
{
    uint64_t top = mm->stack_top, len = MIN(STACK_INITIAL, align_down(limit, PAGE_SIZE));
    const struct mm_map_args a = {
        .addr = top - len,
        .len = len,
        .prot = PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0u),
        .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE,
        .name = "[stack]",
    };
    if (len == 0)
        return -ENOMEM;
    mm->stack_limit = MIN(mm->stack_limit, limit);
    int64_t r = mm_mmap(mm, &a);
    return r < 0 ? r : (int64_t)top;
}

/* --- brk --- */

static int brk_shrink(struct mm *mm, uint64_t from, uint64_t to)
{
    int r = vmas_isolate(mm, to, from);
    if (r < 0)
        return r;
    unmap_range(mm, to, from);
    return ops_run(mm);
}

static int brk_grow(struct mm *mm, uint64_t from, uint64_t to)
{
    int r = mm_may_grow(mm, to - from, true);
    if (r < 0)
        return r;
    r = text_yield(mm, from, to, false);
    if (r < 0)
        return r;
    struct vma *n = vma_find(mm, from);
    if (n && n->r.start < to + (n->flags & VMA_GROWSDOWN ? STACK_GUARD : 0))
        return -ENOMEM;
    struct vma *v = vma_new(mm);
    if (!v)
        return -ENOMEM;
    v->r.start = from;
    v->r.end = to;
    v->prot = PROT_READ | PROT_WRITE;
    v->flags = VMA_HEAP | (mm->lock_future ? VMA_LOCKED : 0u);
    v->name = "[heap]";
    vma_insert(mm, v);
    v = vma_merge(mm, v);
    r = map_first_window(mm, v, from, to);
    if (r == 0)
        r = ops_run(mm);
    if (r < 0)
        (void)brk_shrink(mm, to, from);
    return r;
}

int64_t mm_brk(struct mm *mm, uint64_t addr)
{
    if (mm_lock_change(mm) < 0)
        return 0;
    uint64_t start = align_up(mm->layout.start_brk, PAGE_SIZE);
    if (addr >= mm->layout.start_brk && start != 0 && guest_range_valid(addr, PAGE_SIZE) &&
        addr - mm->layout.start_brk <= mm->limits.data) {
        uint64_t old = MAX(align_up(mm->brk, PAGE_SIZE), start);
        uint64_t new = MAX(align_up(addr, PAGE_SIZE), start);
        int r = new == old ? 0 : new > old ? brk_grow(mm, old, new) : brk_shrink(mm, old, new);
        if (r == 0)
            mm->brk = addr;
    }
    int64_t r = (int64_t)mm->brk;
    mm_unlock(mm);
    return r;
}
