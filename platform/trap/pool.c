/* SPDX-License-Identifier: Apache-2.0
 * pool.c - stub processes kept ready: forked ahead, and those whose address space has ended.
 *
 * Forking takes long, so POOL_MAX are kept ready; the next one is asked for when one is taken, and
 * nobody waits for it.
 *
 * One that ended in good order serves again when all of its threads are parked. The guest before may
 * have left them with any registers, flags, signal mask and alternate stack: with the trap flag set and
 * the alternate stack at an address of the next guest the host would write a signal frame there. So
 * they are sent through stub_park once more when nothing is mapped that a signal frame could be
 * written to: who comes back has the state of STUB_PARK_FRAME, and who would take another way dies.
 *
 * Who may lie: a thread of the guest before, about having ended (notify.c knows better).
 * Locks: template->lock guards all of it.
 *
 * Host: pidfd_open, clock_gettime [sentry]
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

static bool all_are(struct pf_as *as, bool (*state)(struct parked *p))
{
    struct parked *p;

    list_for_each_entry (p, &as->parked, link)
        if (!state(p))
            return false;
    return true;
}

/* All threads are here, nothing is mapped below the stub, lanes are read-only: no signal can be
 * delivered. So a thread that comes back has taken its state from the frame, whatever signal mask,
 * alternate stack and flags it was left with by the guest. */
static void threads_clean(struct pf_as *as)
{
    struct parked *p;

    list_for_each_entry (p, &as->parked, link)
        notify_park_again(p);
}

/* The same for one whose threads were late. */
static void late_clean(struct pf_as *as)
{
    unsigned done;
    int64_t val;

    if (mapper_wait(as) == 0 &&
        mapper_run(as, space_lanes_protect(as, 0, PROT_READ), &done, &val) == 0)
        threads_clean(as);
    else
        atomic_store(&as->gone, true);
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
        if (!gone && !as->lanes_ro && all_are(as, notify_park_here))
            late_clean(as);
        if (!gone && !all_are(as, notify_park_clean)) {
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

/* The guest's threads are all parked, or on their way there: no other one exists. */
static bool reusable(struct pf_as *as)
{
    spin_lock(&as->lanes_lock);
    bool ok = list_empty(&as->threads) && as->births && as->births == as->park_count &&
              as->lane_count <= REUSE_LANES;
    spin_unlock(&as->lanes_lock);
    return ok && !atomic_load(&as->gone);
}

/* Forget the guest: nothing below the stub, no rings, nothing left in the request pages. @here: its
 * threads need their lanes no more. */
static int space_clean(struct pf_as *as, bool here)
{
    unsigned done, n;
    int64_t val;
    int r = mapper_wait(as);

    if (r)
        return r;
    n = space_list_begin(as, NULL, 0);
    as->req[n++] = (struct stub_op){SYS_munmap, {0, STUB_REGION}, STUB_CTL_STRICT};
    if (as->has_rings)
        as->req[n++] = (struct stub_op){
            SYS_munmap, {STUB_RINGS, STUB_REGION_END - STUB_RINGS}, STUB_CTL_STRICT};
    as->has_rings = false;
    if (here)
        n = space_lanes_protect(as, n, PROT_READ);
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
    notify_collect();
    bool here = all_are(as, notify_park_here);
    fmutex_lock(&as->lock);
    int r = space_clean(as, here);
    fmutex_unlock(&as->lock);
    if (r) {
        trap_as_destroy(as);
        return;
    }
    fmutex_lock(&g_trap.template->lock);
    as->released_ns = now_ns();
    if (here)
        threads_clean(as);
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
