/* SPDX-License-Identifier: Apache-2.0
 * futex.c - waiting on words of guest memory, and what a task's end does to them.
 *
 * One table of waiters by memory key under one spin lock: the sections are short and the pollers
 * few. Guest memory cannot be read under a spin lock, so a waiter queues first and looks at the
 * word afterwards. A waker stores first and searches afterwards, therefore one of the two sees the
 * other. A waiter that finds another value leaves; if a wake had reached it meanwhile, it passes
 * that on.
 *
 * A waiter is the call's state: it lives from the first run to the call's end, and leaves the table
 * with it whatever ends the call. Requeueing changes its key.
 *
 * The guest may lie about everything: values, lists, alignment. Walks and retries are bounded.
 *
 * Left out: priority inheritance (-ENOSYS: the C library then uses none), FUTEX_FD.
 * Deviation: CMP_REQUEUE compares just before, not under, the lock.
 */
#include <kernel/futex.h>

#include <linux/futex.h>
#include <stdlib.h>
#include <time.h>

#include <base/err.h>
#include <base/hash.h>
#include <kernel/ktime.h>
#include <kernel/task.h>

#define FUTEX_BUCKETS 1024u
#define FUTEX_RETRIES 64u     /* of an atomic operation that other threads disturb */
#define ROBUST_WALK_MAX 2048u /* entries looked at */

struct futex_waiter {
    struct list_head link; /* in its bucket; alone when woken */
    struct futex_key key;
    uint32_t bitset;
    bool woken;
    struct wait_queue queue; /* one: the call */
};

static struct futex_table {
    struct spin lock;
    struct list_head buckets[FUTEX_BUCKETS]; /* GUARDED_BY(lock), and the waiters in them */
} g_futexes;

void futex_init(void)
{
    spin_init(&g_futexes.lock, RANK_FUTEX);
    for (unsigned i = 0; i < FUTEX_BUCKETS; i++)
        list_init(&g_futexes.buckets[i]);
}

static struct list_head *bucket_of(const struct futex_key *k)
{
    return &g_futexes.buckets[hash_u64(k->object ^ hash_u64(k->offset)) % FUTEX_BUCKETS];
}

static bool key_equal(const struct futex_key *a, const struct futex_key *b)
{
    return a->object == b->object && a->offset == b->offset;
}

/* --- waking --- */

static void waiter_wake_locked(struct futex_waiter *w)
{
    list_del(&w->link);
    w->woken = true;
    wake_all(&w->queue, 0);
}

static int key_wake(const struct futex_key *key, unsigned count, uint32_t bitset)
{
    struct futex_waiter *w, *tmp;
    struct list_head *b = bucket_of(key);
    int woken = 0;
    spin_lock(&g_futexes.lock);
    list_for_each_entry_safe (w, tmp, b, link) {
        if ((unsigned)woken >= count)
            break;
        if (!key_equal(&w->key, key) || !(w->bitset & bitset))
            continue;
        waiter_wake_locked(w);
        woken++;
    }
    spin_unlock(&g_futexes.lock);
    return woken;
}

int futex_wake(struct mm *mm, uaddr_t uaddr, bool shared, unsigned count, uint32_t bitset)
{
    struct futex_key key;
    int r = mm_futex_key(mm, uaddr, shared, &key);
    return r ? r : key_wake(&key, count, bitset);
}

/* --- waiting --- */

static void waiter_free(void *state)
{
    struct futex_waiter *w = state;
    spin_lock(&g_futexes.lock);
    list_del(&w->link);
    spin_unlock(&g_futexes.lock);
    free(w);
}

/* Off the table; true: a wake came first. */
static bool waiter_leave(struct futex_waiter *w)
{
    spin_lock(&g_futexes.lock);
    bool woken = w->woken;
    list_del(&w->link);
    spin_unlock(&g_futexes.lock);
    return woken;
}

static sysret_t wait_begin(struct call *c, uaddr_t uaddr, bool shared, uint32_t val,
                           uint32_t bitset)
{
    struct mm *mm = c->task->mm;
    struct futex_key key;
    uint32_t now;
    int err = mm_futex_key(mm, uaddr, shared, &key);
    if (err)
        return err;
    struct futex_waiter *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->key = key;
    w->bitset = bitset;
    wait_queue_init(&w->queue);
    list_init(&w->link);
    c->state = w;
    c->state_free = waiter_free;

    spin_lock(&g_futexes.lock);
    list_add_tail(&w->link, bucket_of(&key));
    spin_unlock(&g_futexes.lock);
    err = user_load32(mm, uaddr, &now);
    if (err || now != val) {
        if (waiter_leave(w))
            (void)key_wake(&key, 1, bitset);
        return err ? err : -EAGAIN;
    }
    return 0;
}

static sysret_t futex_wait(struct call *c, uaddr_t uaddr, bool shared, uint32_t val,
                           uint32_t bitset)
{
    if (!bitset)
        return -EINVAL;
    if (!c->state) {
        sysret_t r = wait_begin(c, uaddr, shared, val, bitset);
        if (r)
            return r;
    }
    struct futex_waiter *w = c->state;
    /* Arm before looking: a wake between the two fires the call. */
    int err = call_arm(c, &w->queue, 0);
    if (err)
        return err;
    spin_lock(&g_futexes.lock);
    bool woken = w->woken;
    spin_unlock(&g_futexes.lock);
    if (woken)
        return 0;
    sysret_t r = call_wait_armed(c);
    if (r == SYS_PARK)
        return r;
    if (waiter_leave(w))
        return 0;
    if (r == -ERESTARTSYS && c->has_deadline)
        return signal_restart_block(c);
    return r;
}

/* --- waiting for one of several --- */

struct futex_vector {
    unsigned count;
    struct futex_waiter w[];
};

/* All off the table. The first that a wake had reached, or -1. */
static int vector_leave(struct futex_vector *v)
{
    int woken = -1;
    spin_lock(&g_futexes.lock);
    for (unsigned i = v->count; i-- > 0;) {
        if (v->w[i].woken)
            woken = (int)i;
        list_del(&v->w[i].link);
    }
    spin_unlock(&g_futexes.lock);
    return woken;
}

static void vector_free(void *state)
{
    (void)vector_leave(state);
    free(state);
}

static sysret_t vector_begin(struct call *c, const struct futex_wait_entry *e, unsigned count)
{
    struct mm *mm = c->task->mm;
    uint32_t now;
    int err = 0;
    struct futex_vector *v = calloc(1, sizeof(*v) + count * sizeof(v->w[0]));
    if (!v)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        list_init(&v->w[i].link);
        wait_queue_init(&v->w[i].queue);
        v->w[i].bitset = FUTEX_BITSET_MATCH_ANY;
    }
    v->count = count;
    c->state = v;
    c->state_free = vector_free;
    for (unsigned i = 0; i < count && !err; i++)
        err = mm_futex_key(mm, e[i].addr, e[i].shared, &v->w[i].key);
    if (err)
        return err;
    spin_lock(&g_futexes.lock);
    for (unsigned i = 0; i < count; i++)
        list_add_tail(&v->w[i].link, bucket_of(&v->w[i].key));
    spin_unlock(&g_futexes.lock);
    for (unsigned i = 0; i < count; i++) {
        err = user_load32(mm, e[i].addr, &now);
        if (!err && now == e[i].value)
            continue;
        int woken = vector_leave(v);
        return woken >= 0 ? woken : err ? err : -EAGAIN;
    }
    return SYS_PARK;
}

sysret_t futex_wait_many(struct call *c, const struct futex_wait_entry *e, unsigned count)
{
    if (!c->state) {
        sysret_t r = vector_begin(c, e, count);
        if (r != SYS_PARK)
            return r;
    }
    struct futex_vector *v = c->state;
    bool woken = false;
    for (unsigned i = 0; i < v->count; i++) {
        int err = call_arm(c, &v->w[i].queue, 0);
        if (err)
            return err;
    }
    spin_lock(&g_futexes.lock);
    for (unsigned i = 0; i < v->count; i++)
        woken |= v->w[i].woken;
    spin_unlock(&g_futexes.lock);
    sysret_t r = woken ? 0 : call_wait_armed(c);
    if (r == SYS_PARK)
        return r;
    int index = vector_leave(v);
    return index >= 0 ? index : r;
}

/* --- requeue --- */

static sysret_t futex_requeue(struct mm *mm, uaddr_t from, uaddr_t to, bool shared, uint32_t wake,
                              uint32_t move, const uint32_t *expected)
{
    struct futex_key a, b;
    struct futex_waiter *w, *tmp;
    uint32_t now;
    if ((int32_t)wake < 0 || (int32_t)move < 0)
        return -EINVAL;
    int err = mm_futex_key(mm, from, shared, &a);
    if (!err)
        err = mm_futex_key(mm, to, shared, &b);
    if (err)
        return err;
    if (expected) {
        err = user_load32(mm, from, &now);
        if (err)
            return err;
        if (now != *expected)
            return -EAGAIN;
    }
    uint32_t woken = 0, moved = 0;
    struct list_head *target = bucket_of(&b);
    struct list_head taken;
    list_init(&taken);
    spin_lock(&g_futexes.lock);
    list_for_each_entry_safe (w, tmp, bucket_of(&a), link) {
        if (!key_equal(&w->key, &a))
            continue;
        if (woken < wake) {
            waiter_wake_locked(w);
            woken++;
        } else if (moved < move) {
            moved++;
            if (key_equal(&a, &b))
                continue;
            list_del(&w->link);
            w->key = b;
            list_add_tail(&w->link, &taken);
        } else {
            break;
        }
    }
    list_splice_tail(&taken, target);
    spin_unlock(&g_futexes.lock);
    return (sysret_t)woken + moved;
}

/* --- wake with operation --- */

static uint32_t op_apply(uint32_t op, uint32_t old, uint32_t arg)
{
    switch (op) {
    case FUTEX_OP_SET:
        return arg;
    case FUTEX_OP_ADD:
        return old + arg;
    case FUTEX_OP_OR:
        return old | arg;
    case FUTEX_OP_ANDN:
        return old & ~arg;
    default:
        return old ^ arg;
    }
}

static bool op_compare(uint32_t cmp, int32_t old, int32_t arg)
{
    switch (cmp) {
    case FUTEX_OP_CMP_EQ:
        return old == arg;
    case FUTEX_OP_CMP_NE:
        return old != arg;
    case FUTEX_OP_CMP_LT:
        return old < arg;
    case FUTEX_OP_CMP_LE:
        return old <= arg;
    case FUTEX_OP_CMP_GT:
        return old > arg;
    default:
        return old >= arg;
    }
}

/* 12-bit signed operand of the encoded operation. */
static int32_t op_operand(uint32_t v)
{
    return (int32_t)((v & 0xfff) ^ 0x800) - 0x800;
}

static sysret_t futex_wake_op(struct call *c, uaddr_t uaddr, uaddr_t uaddr2, bool shared,
                              uint32_t wake, uint32_t wake2, uint32_t encoded)
{
    struct mm *mm = c->task->mm;
    uint32_t op = encoded >> 28 & 7, cmp = encoded >> 24 & 15;
    bool shift = encoded >> 31;
    int32_t arg = op_operand(encoded >> 12), cmp_arg = op_operand(encoded);
    struct futex_key key, key2;
    uint32_t old;
    bool done = false;

    if (op > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GE)
        return -ENOSYS;
    int err = mm_futex_key(mm, uaddr, shared, &key);
    if (!err)
        err = mm_futex_key(mm, uaddr2, shared, &key2);
    if (!err)
        err = user_load32(mm, uaddr2, &old);
    uint32_t operand = shift ? 1u << (arg & 31) : (uint32_t)arg;
    for (unsigned i = 0; !err && !done; i++) {
        if (i == FUTEX_RETRIES)
            return call_run_again(c); /* nothing has been done yet */
        err = user_cmpxchg32(mm, uaddr2, &old, op_apply(op, old, operand), &done);
    }
    if (err)
        return err;
    int woken = key_wake(&key, wake, FUTEX_BITSET_MATCH_ANY);
    if (op_compare(cmp, (int32_t)old, cmp_arg))
        woken += key_wake(&key2, wake2, FUTEX_BITSET_MATCH_ANY);
    return woken;
}

/* --- system call --- */

/* Deadline of a waiting operation from the guest's timespec. */
static int futex_deadline(struct call *c, int cmd, bool realtime, uint64_t timeout)
{
    struct timespec ts;
    if (!timeout || c->started || c->has_deadline)
        return 0;
    if (copy_in_obj(c->task->mm, &ts, UADDR(timeout)))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    int64_t ns = timespec_to_ns(&ts);
    clockid_t clock = realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    call_deadline(c, cmd == FUTEX_WAIT ? deadline_after(ns) : deadline_at(clock, ns));
    return 0;
}

/* A count of waiters as the guest gives it: 0 and less wake one, as Linux does. */
static uint32_t wake_count(uint32_t v)
{
    return (int32_t)v > 0 ? v : 1;
}

sysret_t futex_op(struct call *c, uaddr_t uaddr, int op, uint32_t val, uint64_t timeout_or_val2,
                  uaddr_t uaddr2, uint32_t val3)
{
    int cmd = op & FUTEX_CMD_MASK;
    bool shared = !(op & FUTEX_PRIVATE_FLAG);
    bool realtime = op & FUTEX_CLOCK_REALTIME;
    struct mm *mm = c->task->mm;
    uint32_t val2 = (uint32_t)timeout_or_val2;

    if (realtime && cmd != FUTEX_WAIT && cmd != FUTEX_WAIT_BITSET)
        return -ENOSYS;
    switch (cmd) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
        int err = futex_deadline(c, cmd, realtime, timeout_or_val2);
        uint32_t bitset = cmd == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : val3;
        return err ? err : futex_wait(c, uaddr, shared, val, bitset);
    }
    case FUTEX_WAKE:
        return futex_wake(mm, uaddr, shared, wake_count(val), FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return val3 ? futex_wake(mm, uaddr, shared, wake_count(val), val3) : -EINVAL;
    case FUTEX_REQUEUE:
        return futex_requeue(mm, uaddr, uaddr2, shared, val, val2, NULL);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(mm, uaddr, uaddr2, shared, val, val2, &val3);
    case FUTEX_WAKE_OP:
        return futex_wake_op(c, uaddr, uaddr2, shared, wake_count(val), wake_count(val2), val3);
    default:
        return -ENOSYS;
    }
}

/* --- the end of a task --- */

/* One robust mutex: if the task holds it, mark the owner dead and wake one waiter. */
static int robust_release(struct task *t, uint64_t uaddr, bool pending)
{
    uint32_t word;
    bool done = false;
    int err = user_load32(t->mm, UADDR(uaddr), &word);
    if (err)
        return err;
    /* Unlocked but perhaps without the wake that follows an unlock. */
    if (pending && !word)
        return futex_wake(t->mm, UADDR(uaddr), true, 1, FUTEX_BITSET_MATCH_ANY) < 0 ? -EFAULT : 0;
    for (unsigned i = 0; i < FUTEX_RETRIES && !done; i++) {
        if ((word & FUTEX_TID_MASK) != (uint32_t)t->tid)
            return 0;
        uint32_t dead = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        err = user_cmpxchg32(t->mm, UADDR(uaddr), &word, dead, &done);
        if (err)
            return err;
    }
    if (word & FUTEX_WAITERS) {
        /* A process-private mutex waits under the private key. */
        (void)futex_wake(t->mm, UADDR(uaddr), true, 1, FUTEX_BITSET_MATCH_ANY);
        (void)futex_wake(t->mm, UADDR(uaddr), false, 1, FUTEX_BITSET_MATCH_ANY);
    }
    return 0;
}

static void robust_walk(struct task *t)
{
    struct {
        uint64_t next, offset, pending;
    } head;
    uint64_t list = t->robust_list;
    if (!list || copy_in_obj(t->mm, &head, UADDR(list)))
        return;
    uint64_t pending = head.pending & ~1ULL;
    uint64_t at = head.next;
    for (unsigned i = 0; i < ROBUST_WALK_MAX && (at & ~1ULL) != list; i++) {
        uint64_t entry = at & ~1ULL, next;
        /* The link first: the owner of the mutex may reuse it once it is released. */
        bool more = !copy_in_obj(t->mm, &next, UADDR(entry));
        bool pi = at & 1;
        if (entry != pending && !pi && robust_release(t, entry + head.offset, false))
            return;
        if (!more)
            break;
        at = next;
    }
    if (pending && !(head.pending & 1))
        (void)robust_release(t, pending + head.offset, true);
}

void futex_task_exit(struct task *t)
{
    if (!t->mm)
        return;
    robust_walk(t);
    t->robust_list = 0;
    if (t->clear_child_tid) {
        uaddr_t at = UADDR(t->clear_child_tid);
        t->clear_child_tid = 0;
        if (!copy_out(t->mm, at, &(uint32_t){0}, sizeof(uint32_t)))
            (void)futex_wake(t->mm, at, true, 1, FUTEX_BITSET_MATCH_ANY);
    }
}
