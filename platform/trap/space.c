/* SPDX-License-Identifier: Apache-2.0
 * space.c - address spaces: stub processes forked from the template, and the lists of memory
 * operations their mappers execute. Which one serves whom: pool.c.
 *
 * A stub is born holding only the stub's pages and the memory file's descriptor. It is a child of
 * the Sentry (CLONE_PARENT).
 *
 * Donated descriptors: slot = descriptor number in the stub + 1, slot 0 is the memory file. A
 * dropped one is closed with the next list.
 *
 * Who may lie: nobody; but the process can be dead at any time.
 * Locks: as->lock (RANK_PLATFORM, a fiber mutex): one list of one address space.
 *
 * Host: ioctl, kill, waitid, close [sentry]
 */
#include <errno.h>
#include <linux/close_range.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/log.h>

#include "internal.h"

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

int trap_as_pidfd(struct pf_as *as)
{
    return as->pidfd;
}

/* --- lists --- */

/* Operations that change the rights to all lanes, into the list from @n on. The new count. */
unsigned space_lanes_protect(struct pf_as *as, unsigned n, int prot)
{
    for (unsigned i = 0; i < as->lane_count; i++)
        if (as->lanes[i].state != LANE_UNMAPPED)
            as->req[n++] = (struct stub_op){
                SYS_mprotect,
                {STUB_LANES + (uint64_t)i * LANE_SIZE, LANE_SIZE, (uint64_t)(uint32_t)prot},
                STUB_CTL_STRICT};
    as->lanes_ro = !(prot & PROT_WRITE);
    return n;
}

/* What goes before the caller's operations: descriptors to close, lanes to open, membarrier's
 * registration. */
unsigned space_list_begin(struct pf_as *as, const struct pf_memop *ops, size_t n)
{
    unsigned k = 0;

    while (as->drop_count) {
        uint64_t fd = (uint64_t)as->drops[--as->drop_count];
        as->req[k++] = (struct stub_op){SYS_close_range, {fd, fd, 0}, STUB_CTL_LAX};
    }
    if (as->lanes_ro)
        k = space_lanes_protect(as, k, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < n && !as->sync_registered; i++) {
        if (ops[i].op != PF_SYNC)
            continue;
        as->req[k++] = (struct stub_op){
            SYS_membarrier, {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE}, STUB_CTL_LAX};
        as->sync_registered = true;
    }
    return k;
}

int space_lanes_open(struct pf_as *as)
{
    unsigned done;
    int64_t val;
    int r = as->lanes_ro ? mapper_wait(as) : 0;

    return r || !as->lanes_ro ? r : mapper_run(as, space_list_begin(as, NULL, 0), &done, &val);
}

static int run_locked(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *done)
{
    while (*done < n) {
        int r = mapper_wait(as);
        if (r)
            return r;
        unsigned extra = space_list_begin(as, ops + *done, n - *done), k = extra, stopped;
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
        (void)mapper_run(as, space_list_begin(as, NULL, 0), &stopped, &val);
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
