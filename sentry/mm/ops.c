/* SPDX-License-Identifier: Apache-2.0
 * ops.c - the list of operations for the host process, and what may be reused when it has run.
 *
 * A call changes the trees and collects operations; one list then makes the host process follow.
 * Three rules keep memory from being reused while somebody maps it:
 *
 *  1. A range of the memory file whose mapping goes is put on `dying` and returned only after a
 *     list that removed (or replaced) the mapping has run, or the host process is gone.
 *  2. Where the calling thread unmaps by itself (mm_self) the address range is put on `pending`:
 * the guest's word is not trusted, so the next list begins with the mapper's own unmap of it,
 * unless the list maps over the whole of it. Only then are the dying ranges returned.
 *  3. If a list fails half-way, everything it would have touched is unmapped by a second list and
 *     the segs are marked unmapped; if that fails too, the host process is killed.
 *
 * A self-unmap that the guest executes late may hit a newer mapping at the same address: the guest
 * then faults and mm_fault() maps it again, since its memory is known here. A change of rights over
 * the hole fails on the host (-ENOMEM): the range is then unmapped and comes back by faults too.
 *
 * Private mappings of libraries come in rows: the whole, then text, data over it. All but the last
 * are lazy: their operations wait in the list for the next one that must be done (mm_lock_change
 * runs them) or for the fault of whoever touches them first. That is only for what lies over
 * nothing, or over what waits itself: no touch can then find an old mapping.
 *
 * While no thread exists yet (exec, fork) lists are only collected; mm_as() runs them as one.
 * Lock: mm->lock.
 */
#include <stdlib.h>
#include <string.h>

#include <base/log.h>

#include "mm_internal.h"

#define DEFER_MAX_OPS 400u
#define GIVE_WAY_MAX 16u /* operations looked at for what a new one covers */

static bool ops_room(struct mm *mm, size_t n)
{
    size_t want = mm->op_count + n + PENDING_MAX;
    if (want <= mm->op_cap)
        return true;
    size_t cap = MAX(want * 2, (size_t)64);
    struct pf_memop *ops = realloc(mm->ops, cap * sizeof *ops);
    if (!ops)
        return false;
    mm->ops = ops;
    mm->op_cap = cap;
    return true;
}

/* Extend the last operation if @o continues it. */
static bool ops_extend(struct mm *mm, const struct pf_memop *o)
{
    if (mm->op_count == 0)
        return false;
    struct pf_memop *l = &mm->ops[mm->op_count - 1];
    if (l->op == PF_UNMAP && o->op == PF_MAP && o->addr <= l->addr &&
        o->addr + o->len >= l->addr + l->len) {
        *l = *o; /* mapping replaces what was there */
        return true;
    }
    if (l->op != o->op || l->prot != o->prot || l->flags != o->flags || l->fd != o->fd ||
        l->addr + l->len != o->addr)
        return false;
    if (o->op == PF_MAP ? l->off + l->len != o->off : l->off != o->off)
        return false;
    l->len += o->len;
    return true;
}

static uint64_t op_end(const struct pf_memop *o)
{
    return o->addr + o->len;
}

static void ops_remove(struct mm *mm, size_t i)
{
    mm->op_count--;
    memmove(mm->ops + i, mm->ops + i + 1, (mm->op_count - i) * sizeof *mm->ops);
}

/* Take [a, b) out of the mapping at @i. false: that needs an operation more, and there is no room. */
static bool ops_cut(struct mm *mm, size_t i, uint64_t a, uint64_t b)
{
    struct pf_memop *l = &mm->ops[i], tail = *l;
    uint64_t end = op_end(l);

    if (a <= l->addr && b >= end) {
        ops_remove(mm, i);
        return true;
    }
    tail.addr = b;
    tail.len = b < end ? end - b : 0;
    tail.off += b - l->addr;
    if (a <= l->addr) {
        *l = tail;
        return true;
    }
    if (tail.len) {
        if (!ops_room(mm, 1))
            return false;
        l = &mm->ops[i];
        memmove(l + 2, l + 1, (mm->op_count - i - 1) * sizeof *l);
        l[1] = tail;
        mm->op_count++;
    }
    l->len = a - l->addr;
    return true;
}

/* A library is mapped as a whole and then again in parts: to map over a mapping costs the host twice
 * what the mapping costs, so the last operations of the list give way to mapping @o. Whatever was
 * there before the list is covered by @o, or was by what stays. true: @o itself is not needed. */
static bool ops_give_way(struct mm *mm, const struct pf_memop *o)
{
    for (size_t i = mm->op_count; i-- > 0 && mm->op_count - i < GIVE_WAY_MAX;) {
        const struct pf_memop *l = &mm->ops[i];

        if (l->op == PF_SYNC)
            return false;
        if (l->addr >= op_end(o) || op_end(l) <= o->addr)
            continue;
        bool inside = l->addr >= o->addr && op_end(l) <= op_end(o);
        if (l->op == PF_UNMAP && inside) {
            ops_remove(mm, i);
            continue;
        }
        if (l->op != PF_MAP)
            return false;
        if (!inside && l->addr <= o->addr && op_end(l) >= op_end(o) && l->fd == o->fd &&
            l->prot == o->prot && l->flags == o->flags && l->off + (o->addr - l->addr) == o->off)
            return true;
        if (!ops_cut(mm, i, o->addr, op_end(o)))
            return false;
    }
    return false;
}

static void ops_push(struct mm *mm, const struct pf_memop *o)
{
    if (mm->dead || (o->op == PF_MAP && ops_give_way(mm, o)) || ops_extend(mm, o))
        return;
    if (!ops_room(mm, 1)) {
        /* No memory for a longer list: run what is there, and if not even that, give up on the
         * guest process rather than let it see a wrong mapping. */
        if (ops_force(mm) < 0 || !ops_room(mm, 1)) {
            mm_kill_locked(mm);
            return;
        }
    }
    mm->ops[mm->op_count++] = *o;
}

void ops_map(struct mm *mm, const struct seg *s, uint64_t a, uint64_t b, int prot, bool populate)
{
    struct pf_memop o = {
        .op = PF_MAP,
        .prot = prot,
        .flags = populate ? PF_MAP_POPULATE : 0,
        .fd = PF_FD_MEMFILE,
        .addr = a,
        .len = b - a,
        .off = s->off + (a - s->r.start),
    };
    if (s->kind == SEG_FD)
        o.fd = s->cow ? s->file->slot_ro
                      : (s->file->slot_rw >= 0 ? s->file->slot_rw : s->file->slot_ro);
    ops_push(mm, &o);
}

void ops_add(struct mm *mm, uint32_t op, uint64_t addr, uint64_t len, int prot, uint64_t off)
{
    if (op == PF_ADVISE && g_mm.no_advise)
        return;
    const struct pf_memop o = {.op = op, .prot = prot, .addr = addr, .len = len, .off = off};
    ops_push(mm, &o);
}

void ops_release_dying(struct mm *mm)
{
    if (mm->pins)
        return;
    for (size_t i = 0; i < mm->dying_count; i++)
        memref_release(mm->dying[i].off, mm->dying[i].len);
    mm->dying_count = 0;
    mm->pending_bytes = 0;
}

void ops_dying(struct mm *mm, uint64_t off, uint64_t len)
{
    mm->pending_bytes += len;
    if (mm->dying_count) {
        struct dying_range *l = &mm->dying[mm->dying_count - 1];
        if (l->off + l->len == off) {
            l->len += len;
            return;
        }
        if (off + len == l->off) { /* freed in parts a large page would be split */
            l->off = off;
            l->len += len;
            return;
        }
    }
    if (mm->dying_count == mm->dying_cap) {
        size_t cap = MAX(mm->dying_cap * 2, (size_t)32);
        struct dying_range *d = realloc(mm->dying, cap * sizeof *d);
        if (!d) {
            log_warn("mm", "no memory: %llu bytes of the memory file leak",
                     (unsigned long long)len);
            return;
        }
        mm->dying = d;
        mm->dying_cap = cap;
    }
    mm->dying[mm->dying_count++] = (struct dying_range){.off = off, .len = len};
}

void ops_pending(struct mm *mm, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < mm->pending_count; i++) {
        struct pending_unmap *p = &mm->pending[i];
        if (p->addr + p->len == addr) {
            p->len += len;
            return;
        }
        if (addr + len == p->addr) {
            p->addr = addr;
            p->len += len;
            return;
        }
    }
    BUG_ON(mm->pending_count == PENDING_MAX);
    mm->pending[mm->pending_count++] = (struct pending_unmap){.addr = addr, .len = len};
}

bool ops_may_self(const struct mm *mm, uint64_t len)
{
    return !mm->deferring && !mm->dead && mm->op_count == 0 && len <= SELF_UNMAP_MAX &&
           mm->pending_count < PENDING_MAX && mm->pending_bytes + len <= PENDING_MAX_BYTES;
}

static bool list_maps_over(const struct mm *mm, const struct pending_unmap *p)
{
    for (size_t i = 0; i < mm->op_count; i++) {
        const struct pf_memop *o = &mm->ops[i];
        if ((o->op == PF_MAP || o->op == PF_UNMAP) && o->addr <= p->addr &&
            o->addr + o->len >= p->addr + p->len)
            return true;
    }
    return false;
}

/* Rule 2: put the mapper's unmaps of what guests unmapped themselves in front. */
static void ops_prepend_pending(struct mm *mm)
{
    struct pf_memop front[PENDING_MAX];
    size_t n = 0;
    for (unsigned i = 0; i < mm->pending_count; i++) {
        const struct pending_unmap *p = &mm->pending[i];
        if (!list_maps_over(mm, p))
            front[n++] = (struct pf_memop){.op = PF_UNMAP, .addr = p->addr, .len = p->len};
    }
    mm->pending_count = 0;
    if (n == 0)
        return;
    /* ops_room() always leaves space for PENDING_MAX more. */
    memmove(mm->ops + n, mm->ops, mm->op_count * sizeof *mm->ops);
    memcpy(mm->ops, front, n * sizeof *front);
    mm->op_count += n;
}

static void mark_unmapped(struct mm *mm, uint64_t a, uint64_t b)
{
    for (struct seg *s = seg_find(mm, a); s && s->r.start < b; s = seg_next(s)) {
        if (s->r.start < a) {
            struct seg *up = seg_split(mm, s, a);
            if (up)
                s = up;
        }
        if (s->r.end > b)
            (void)seg_split(mm, s, b);
        s->hprot = -1; /* if a split failed, too much is mapped again at the next fault: harmless */
    }
}

/* Rule 3. */
static void ops_undo(struct mm *mm, size_t from)
{
    size_t n = 0;
    for (size_t i = from; i < mm->op_count; i++) {
        struct pf_memop o = mm->ops[i];
        if (o.op != PF_MAP && o.op != PF_UNMAP && o.op != PF_PROTECT)
            continue;
        mark_unmapped(mm, o.addr, o.addr + o.len);
        mm->ops[n++] = (struct pf_memop){.op = PF_UNMAP, .addr = o.addr, .len = o.len};
    }
    if (n && g_mm.ops->as_run(mm->as, mm->ops, n, NULL) < 0)
        mm_kill_locked(mm);
}

static int ops_submit(struct mm *mm)
{
    size_t from = 0;
    while (from < mm->op_count) {
        size_t done = 0;
        int r = g_mm.ops->as_run(mm->as, mm->ops + from, mm->op_count - from, &done);
        if (r == 0)
            return 0;
        from += done;
        if (r == -ESRCH || from >= mm->op_count)
            return r;
        if (mm->ops[from].op == PF_ADVISE) {
            g_mm.no_advise = true;
            from++;
            continue;
        }
        if (mm->ops[from].op == PF_POPULATE) {
            from++;
            continue;
        }
        if (mm->ops[from].op == PF_PROTECT && r == -ENOMEM) {
            /* A late self-unmap has made a hole: unmapped altogether it comes back by faults. */
            struct pf_memop *o = &mm->ops[from];
            o->op = PF_UNMAP;
            o->prot = 0;
            mark_unmapped(mm, o->addr, o->addr + o->len);
            continue;
        }
        ops_undo(mm, from);
        return r;
    }
    return 0;
}

bool ops_all_wait(struct mm *mm, uint64_t a, uint64_t b)
{
    struct seg_summary sum;
    segs_summary(mm, a, b, &sum);
    if (!sum.any_mapped)
        return true;
    for (size_t i = 0; i < mm->op_count; i++) {
        const struct pf_memop *o = &mm->ops[i];
        if (o->op == PF_MAP && o->addr <= a && o->addr + o->len >= b)
            return true;
    }
    return false;
}

int ops_force(struct mm *mm)
{
    int r = 0;
    if (mm->dead) {
        r = -ESRCH;
    } else if (mm->op_count || mm->pending_count) {
        if (mm->op_count == 0 && !ops_room(mm, 0))
            return -ENOMEM;
        ops_prepend_pending(mm);
        if (mm->op_count)
            r = ops_submit(mm);
        if (r == -ESRCH)
            mm_gone_locked(mm);
    }
    mm->op_count = 0;
    mm->pending_count = 0;
    ops_release_dying(mm);
    return r;
}

int ops_run(struct mm *mm)
{
    if (mm->dead)
        return ops_force(mm);
    if (mm->op_count == 0 || (mm->deferring && mm->op_count < DEFER_MAX_OPS)) {
        if (mm->op_count == 0 && mm->pending_count == 0)
            ops_release_dying(mm);
        return 0;
    }
    return ops_force(mm);
}
