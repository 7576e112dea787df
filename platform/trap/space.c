/* SPDX-License-Identifier: Apache-2.0
 * space.c - address spaces: stub processes forked from the template, a pool of them, and the lists
 * of memory operations their mappers execute.
 *
 * A stub is born holding only the stub's pages and the memory file's descriptor. It is a child of
 * the Sentry (CLONE_PARENT). Forking takes long, so POOL_MAX are kept ready; the next one is asked
 * for when one is taken, and nobody waits for it.
 *
 * Donated descriptors: slot = descriptor number in the stub + 1, slot 0 is the memory file. A
 * dropped one is closed with the next list.
 *
 * Who may lie: nobody; but the process can be dead at any time.
 * Locks: template->lock guards template and pool; as->lock (RANK_PLATFORM, a fiber mutex) one list
 * of one address space. Never both.
 *
 * Host: ioctl, pidfd_open, kill, waitid, close [sentry]
 */
#include <errno.h>
#include <linux/close_range.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/log.h>

#include "internal.h"

static struct {
    struct list_head ready; /* GUARDED_BY(template->lock), as all here */
    unsigned count;
    struct list_head used; /* of address spaces that have ended, the last one first */
    unsigned used_count;
    struct pf_as *forking; /* asked for, pid not known yet */
} g_pool;

struct pf_as *space_new(void)
{
    struct pf_as *as = calloc(1, sizeof *as);

    if (!as)
        return NULL;
    if (range_get(RANGE_REQ, &as->req_off)) {
        free(as);
        return NULL;
    }
    refcount_init(&as->refs);
    as->req = memfile_ptr(g_stubs.mf, as->req_off);
    as->pid = -1;
    as->pidfd = -1;
    as->mapper_cpu = -1;
    fmutex_init(&as->lock, RANK_PLATFORM);
    spin_init(&as->lanes_lock, RANK_LEAF);
    list_init(&as->hash_link);
    list_init(&as->pool_link);
    list_init(&as->threads);
    list_init(&as->parked);
    return as;
}

void space_put(struct pf_as *as)
{
    if (!refcount_put(&as->refs))
        return;
    free(as->lanes);
    free(as);
}

/* Lanes without a thread go back; those in use are given back by their threads. */
static void lanes_release(struct pf_as *as)
{
    spin_lock(&as->lanes_lock);
    as->released = true;
    for (unsigned i = 0; i < as->lane_count; i++) {
        uint64_t off = as->lanes[i].off;

        if (as->lanes[i].state == LANE_USED || !off)
            continue;
        as->lanes[i].off = 0;
        as->lanes[i].state = LANE_UNMAPPED;
        spin_unlock(&as->lanes_lock);
        range_put(RANGE_LANE, off);
        spin_lock(&as->lanes_lock);
    }
    spin_unlock(&as->lanes_lock);
}

/* The process is dead. */
static void parked_free(struct pf_as *as)
{
    struct parked *p, *next;

    list_for_each_entry_safe (p, next, &as->parked, link) {
        notify_park_forget(p);
        list_del(&p->link);
        free(p);
    }
}

void space_kill(struct pf_as *as)
{
    siginfo_t si;

    atomic_store(&as->gone, true);
    if (as->pid > 0) {
        kill(as->pid, SIGKILL);
        /* dead first, then unknown to notify.c, then its pid may be used again */
        while (waitid(P_PID, (id_t)as->pid, &si, WEXITED | WNOWAIT | __WALL) && errno == EINTR)
            ;
        notify_unregister(as);
        parked_free(as);
        while (waitid(P_PID, (id_t)as->pid, &si, WEXITED | __WALL) && errno == EINTR)
            ;
    }
    if (as->pidfd >= 0)
        close(as->pidfd);
    as->pidfd = -1;
    lanes_release(as);
    range_put(RANGE_REQ, as->req_off);
    space_put(as);
}

/* --- pool --- */

/* Ask the template for one more; nothing is waited for but its previous list. */
static int fork_start(void)
{
    struct pf_as *tmpl = g_trap.template, *as = space_new();

    if (!as)
        return -ENOMEM;
    int r = mapper_wait(tmpl);
    if (!r) {
        tmpl->req[0] =
            (struct stub_op){SYS_clone,
                             {TRAP_CLONE_PROCESS, 0, 0, 0, (uint64_t)g_stubs.memfd, as->req_off},
                             stub_addr(stub_fork)};
        r = mapper_post(tmpl, 1);
    }
    if (r) {
        log_error("trap", "the template process is gone");
        space_kill(as);
        return -EAGAIN;
    }
    g_pool.forking = as;
    return 0;
}

/* Wait for the pid of the one asked for; into the pool. */
static int fork_finish(void)
{
    struct pf_as *tmpl = g_trap.template, *as = g_pool.forking;

    g_pool.forking = NULL;
    int64_t pid = mapper_wait(tmpl) ? -EAGAIN : (int64_t)mapper_said(tmpl).val;
    if (pid > 0) {
        as->pid = (pid_t)pid;
        as->pidfd = (int)syscall(SYS_pidfd_open, as->pid, 0);
        notify_register(as);
        if (as->pidfd < 0)
            pid = -EAGAIN;
    }
    if (pid <= 0) {
        space_kill(as);
        return pid == -ENOMEM ? -ENOMEM : -EAGAIN;
    }
    list_add_tail(&as->pool_link, &g_pool.ready);
    g_pool.count++;
    return 0;
}

static struct pf_as *pool_take(void)
{
    while (!list_empty(&g_pool.ready)) {
        struct pf_as *as = list_first_entry(&g_pool.ready, struct pf_as, pool_link);

        list_del(&as->pool_link);
        g_pool.count--;
        if (!process_gone(as))
            return as;
        space_kill(as);
    }
    return NULL;
}

static bool all_here(struct pf_as *as)
{
    struct parked *p;

    list_for_each_entry (p, &as->parked, link)
        if (!notify_park_here(p))
            return false;
    return true;
}

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* A used one whose threads have all arrived. */
static struct pf_as *used_take(void)
{
    struct pf_as *as, *next;

    if (!list_empty(&g_pool.used))
        notify_collect();
    list_for_each_entry_safe (as, next, &g_pool.used, pool_link) {
        bool gone = process_gone(as);
        if (!gone && !all_here(as)) {
            if (now_ns() - as->released_ns < PARK_LATE_NS)
                continue;
            gone = true; /* it lies about its end */
        }
        list_del(&as->pool_link);
        g_pool.used_count--;
        if (gone) {
            space_kill(as);
            continue;
        }
        threads_renew(as);
        return as;
    }
    return NULL;
}

/* Keep one fork going while the pool is not full. */
static void pool_refill(void)
{
    if (g_pool.forking)
        notify_collect();
    if (g_pool.forking && atomic_load(&g_trap.template->idle))
        (void)fork_finish();
    if (!g_pool.forking && g_pool.count + g_pool.used_count < POOL_MAX)
        (void)fork_start();
}

void space_pool_start(void)
{
    list_init(&g_pool.ready);
    list_init(&g_pool.used);
    g_pool.count = g_pool.used_count = 0;
    g_pool.forking = NULL;
    fmutex_lock(&g_trap.template->lock);
    pool_refill();
    fmutex_unlock(&g_trap.template->lock);
}

void space_pool_drain(void)
{
    fmutex_lock(&g_trap.template->lock);
    if (g_pool.forking)
        (void)fork_finish();
    for (struct pf_as *as; (as = pool_take());)
        space_kill(as);
    while (!list_empty(&g_pool.used)) {
        struct pf_as *as = list_first_entry(&g_pool.used, struct pf_as, pool_link);
        list_del(&as->pool_link);
        space_kill(as);
    }
    g_pool.used_count = 0;
    fmutex_unlock(&g_trap.template->lock);
}

int trap_as_create(struct pf_as **ret)
{
    struct pf_as *as;
    int r = 0;

    fmutex_lock(&g_trap.template->lock);
    as = used_take();
    if (!as)
        as = pool_take();
    if (!as) {
        r = g_pool.forking ? 0 : fork_start();
        if (!r)
            r = fork_finish();
        as = pool_take();
    }
    if (as)
        pool_refill();
    fmutex_unlock(&g_trap.template->lock);
    if (!as)
        return r ? r : -EAGAIN;
    *ret = as;
    return 0;
}

void trap_as_destroy(struct pf_as *as)
{
    if (!as)
        return;
    atomic_store(&as->gone, true);
    kill(as->pid, SIGKILL);
    fmutex_lock(&as->lock); /* whoever runs a list sees the end */
    fmutex_unlock(&as->lock);
    space_kill(as);
}

static unsigned list_prologue(struct pf_as *as, const struct pf_memop *ops, size_t n);

/* The guest's threads are all parked, or on their way there: no other one exists. */
static bool reusable(struct pf_as *as)
{
    spin_lock(&as->lanes_lock);
    bool ok = list_empty(&as->threads) && as->births && as->births == as->park_count &&
              as->lane_count <= REUSE_LANES;
    spin_unlock(&as->lanes_lock);
    return ok && !atomic_load(&as->gone);
}

/* Forget the guest: nothing below the stub, no rings, nothing left in the request pages. */
static int space_clean(struct pf_as *as)
{
    unsigned done, n;
    int64_t val;
    int r = mapper_wait(as);

    if (r)
        return r;
    n = list_prologue(as, NULL, 0);
    as->req[n++] = (struct stub_op){SYS_munmap, {0, STUB_REGION}, STUB_CTL_STRICT};
    if (as->has_rings)
        as->req[n++] = (struct stub_op){
            SYS_munmap, {STUB_RINGS, STUB_REGION_END - STUB_RINGS}, STUB_CTL_STRICT};
    as->has_rings = false;
    r = mapper_run(as, n, &done, &val);
    if (!r)
        memset(as->req, 0, STUB_REQ_BYTES);
    return r;
}

void trap_as_release(struct pf_as *as)
{
    struct pf_as *surplus = NULL;

    if (!reusable(as)) {
        trap_as_destroy(as);
        return;
    }
    fmutex_lock(&as->lock);
    int r = space_clean(as);
    fmutex_unlock(&as->lock);
    if (r) {
        trap_as_destroy(as);
        return;
    }
    fmutex_lock(&g_trap.template->lock);
    as->released_ns = now_ns();
    list_add(&as->pool_link, &g_pool.used);
    if (++g_pool.used_count > USED_MAX) {
        surplus = list_last_entry(&g_pool.used, struct pf_as, pool_link);
        list_del(&surplus->pool_link);
        g_pool.used_count--;
    }
    fmutex_unlock(&g_trap.template->lock);
    if (surplus)
        space_kill(surplus);
}

int trap_as_pidfd(struct pf_as *as)
{
    return as->pidfd;
}

/* --- lists --- */

/* What goes before the caller's operations: descriptors to close, membarrier's registration. */
static unsigned list_prologue(struct pf_as *as, const struct pf_memop *ops, size_t n)
{
    unsigned k = 0;

    while (as->drop_count) {
        uint64_t fd = (uint64_t)as->drops[--as->drop_count];
        as->req[k++] = (struct stub_op){SYS_close_range, {fd, fd, 0}, STUB_CTL_LAX};
    }
    for (size_t i = 0; i < n && !as->sync_registered; i++) {
        if (ops[i].op != PF_SYNC)
            continue;
        as->req[k++] = (struct stub_op){
            SYS_membarrier, {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE}, STUB_CTL_LAX};
        as->sync_registered = true;
    }
    return k;
}

static int run_locked(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *done)
{
    while (*done < n) {
        int r = mapper_wait(as);
        if (r)
            return r;
        unsigned extra = list_prologue(as, ops + *done, n - *done), k = extra, stopped;
        int64_t val;
        int bad = 0;
        for (size_t i = *done; i < n && k < LIST_MAX && !bad; i++) {
            bad = list_translate(&ops[i], &as->req[k]);
            as->has_rings |= ops[i].addr >= STUB_RINGS;
            k += !bad;
        }
        r = mapper_run(as, k, &stopped, &val);
        if (r == -ESRCH && atomic_load(&as->gone))
            return r;
        *done += stopped > extra ? stopped - extra : 0;
        if (r || bad)
            return r ? r : bad;
    }
    return 0;
}

int trap_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done)
{
    size_t done = 0;

    fmutex_lock(&as->lock);
    int r = run_locked(as, ops, n, &done);
    fmutex_unlock(&as->lock);
    if (ret_done)
        *ret_done = done;
    return r;
}

static struct kept_fd *kept_find(struct pf_as *as, uint64_t key)
{
    for (unsigned i = 0; key && i < as->kept_count; i++)
        if (as->kept[i].key == key && !as->kept[i].used)
            return &as->kept[i];
    return NULL;
}

bool trap_fd_known(struct pf_as *as, uint64_t key)
{
    fmutex_lock(&as->lock);
    bool known = kept_find(as, key) != NULL;
    fmutex_unlock(&as->lock);
    return known;
}

/* Closed with the next list. as->lock held. */
static void drop_add(struct pf_as *as, int fd)
{
    unsigned stopped;
    int64_t val;

    as->drops[as->drop_count++] = fd;
    if (as->drop_count == DROPS_MAX && mapper_wait(as) == 0)
        (void)mapper_run(as, list_prologue(as, NULL, 0), &stopped, &val);
    as->drop_count %= DROPS_MAX; /* the process is dead: nothing to close */
}

/* Remember @fd by name, in a free place or that of one nobody uses. */
static void kept_add(struct pf_as *as, int fd, uint64_t key)
{
    struct kept_fd *k = NULL;

    if (as->kept_count < FDS_KEPT)
        k = &as->kept[as->kept_count++];
    for (unsigned i = 0; i < FDS_KEPT && !k; i++) {
        struct kept_fd *old = &as->kept[as->kept_next++ % FDS_KEPT];
        if (!old->used) {
            k = old;
            drop_add(as, k->fd);
        }
    }
    if (k)
        *k = (struct kept_fd){key, fd, true};
}

int trap_fd_donate(struct pf_as *as, int fd, uint64_t key)
{
    fmutex_lock(&as->lock);
    struct kept_fd *kept = kept_find(as, key);
    int r = kept ? kept->fd + 1 : 0;
    if (kept)
        kept->used = true;
    while (!kept) {
        r = mapper_wait(as);
        if (r)
            break;
        struct seccomp_notif_addfd add = {.id = mapper_said(as).id, .srcfd = (uint32_t)fd};
        r = ioctl(g_trap.listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
        if (r >= 0) {
            if (key)
                kept_add(as, r, key);
            r++; /* slot */
            break;
        }
        r = -errno;
        if (r == -ENOENT && !process_gone(as)) { /* stopped and continued: it calls again */
            mapper_forget(as, add.id);
            continue;
        }
        if (r != -EINTR)
            break;
    }
    fmutex_unlock(&as->lock);
    return r == -ENOENT ? -ESRCH : r;
}

void trap_fd_drop(struct pf_as *as, int slot)
{
    bool kept = false;

    if (slot <= PF_FD_MEMFILE || list_host_fd(slot) == g_stubs.memfd)
        return;
    fmutex_lock(&as->lock);
    for (unsigned i = 0; i < as->kept_count && !kept; i++) {
        struct kept_fd *k = &as->kept[i];
        kept = k->used && k->fd == list_host_fd(slot);
        if (kept)
            k->used = false;
    }
    if (!kept)
        drop_add(as, list_host_fd(slot));
    fmutex_unlock(&as->lock);
}
