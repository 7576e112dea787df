/* SPDX-License-Identifier: Apache-2.0
 * thread.c - guest threads: a lane, a host thread cloned by the mapper, its end.
 *
 * The mapper maps the lane and clones; the child (stub_thread) takes everything it needs from
 * registers, so no list has to stay untouched for it. It gives up all descriptors, installs the
 * guest filter from the read-only page and becomes the guest by rt_sigreturn from the frame that
 * frame_build() left in its lane. Other threads of the same process could scribble over that frame
 * meanwhile, which concerns nobody but this process.
 *
 * A thread that ends parks instead, if there is room: it goes to stub_park and notifies from there,
 * which is proof that it is in no guest code, whatever the guest has done to lane and stub. Until
 * then it is nobody's. Its next life begins like its first, from a frame in its lane. A stub whose
 * threads are all parked can serve another address space (space.c).
 *
 * A lane stays mapped when its thread exits and is used again once the host has cleared its tid
 * word. A guest can clear that word itself; then two threads of that process share a lane, to its
 * own harm only. Lane memory goes back when the process is dead and the thread released.
 *
 * Locks: as->lock for the list, as->lanes_lock for lane states and the list of threads.
 *
 * Host: tgkill, sched_setaffinity [sentry]
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* Grow the table by one entry. as->lock held. */
static int lanes_grow(struct pf_as *as)
{
    if (as->lane_count == LANE_COUNT)
        return -EAGAIN;
    if (as->lane_count == as->lane_room) {
        unsigned room = as->lane_room ? as->lane_room * 2 : 4;
        struct lane_slot_info *bigger = calloc(room, sizeof *bigger), *old = as->lanes;

        if (!bigger)
            return -ENOMEM;
        spin_lock(&as->lanes_lock);
        if (as->lane_count)
            memcpy(bigger, old, as->lane_count * sizeof *bigger);
        as->lanes = bigger;
        as->lane_room = room;
        spin_unlock(&as->lanes_lock);
        free(old);
    }
    spin_lock(&as->lanes_lock);
    as->lanes[as->lane_count++] = (struct lane_slot_info){0, LANE_UNMAPPED};
    spin_unlock(&as->lanes_lock);
    return 0;
}

static struct lane *lane_ptr(uint64_t off)
{
    return memfile_ptr(g_stubs.mf, off);
}

/* A slot for a new thread, now LANE_USED and with memory. *ret_mapped: already in the process. */
static int lane_take(struct pf_as *as, unsigned *ret_slot, bool *ret_mapped)
{
    unsigned i;

    spin_lock(&as->lanes_lock);
    for (i = 0; i < as->lane_count; i++) {
        struct lane_slot_info *l = &as->lanes[i];

        if (l->state == LANE_LEAVING && atomic_load(&lane_ptr(l->off)->tid) == 0)
            l->state = LANE_IDLE;
        if (l->state == LANE_IDLE || l->state == LANE_UNMAPPED)
            break;
    }
    unsigned count = as->lane_count;
    spin_unlock(&as->lanes_lock);
    int r = i == count ? lanes_grow(as) : 0;
    if (r)
        return r;
    struct lane_slot_info *l = &as->lanes[i];
    if (!l->off) {
        uint64_t off;
        r = range_get(RANGE_LANE, &off);
        if (r)
            return r;
        memset(lane_ptr(off), 0, LANE_SIZE); /* another process's once */
        l->off = off;
    } else {
        memset(lane_ptr(l->off), 0, LANE_STACK);
    }
    *ret_mapped = l->state == LANE_IDLE;
    *ret_slot = i;
    spin_lock(&as->lanes_lock);
    l->state = LANE_USED;
    spin_unlock(&as->lanes_lock);
    return 0;
}

/* --- threads that wait for another life --- */

bool thread_park(struct pf_thread *t)
{
    struct pf_as *as = t->as;
    struct parked *p = t->park;

    if (!p || atomic_load(&as->gone))
        return false;
    p->as = as;
    p->tid = t->tid;
    p->slot = t->slot;
    p->roams = t->roams;
    spin_lock(&as->lanes_lock);
    bool room = as->park_count < PARKS_MAX && !as->released;
    if (room) {
        as->park_count++;
        list_add(&p->link, &as->parked);
    }
    spin_unlock(&as->lanes_lock);
    if (!room)
        return false;
    notify_park_expect(p);
    t->parking = true;
    t->park = NULL;
    return true;
}

/* One that is here, off the list: its lane is ours. NULL: none. as->lock held. */
static struct parked *parked_take(struct pf_as *as)
{
    struct parked *p, *found = NULL;

    spin_lock(&as->lanes_lock);
    list_for_each_entry (p, &as->parked, link) {
        if (as->lanes[p->slot].state == LANE_PARKED) {
            found = p;
            break;
        }
    }
    spin_unlock(&as->lanes_lock);
    if (found && !notify_park_here(found))
        notify_collect();
    if (!found || !notify_park_here(found))
        return NULL;
    spin_lock(&as->lanes_lock);
    list_del(&found->link);
    as->park_count--;
    as->lanes[found->slot].state = LANE_USED;
    spin_unlock(&as->lanes_lock);
    return found;
}

static void parked_return(struct pf_as *as, struct parked *p)
{
    spin_lock(&as->lanes_lock);
    list_add(&p->link, &as->parked);
    as->park_count++;
    as->lanes[p->slot].state = LANE_PARKED;
    spin_unlock(&as->lanes_lock);
}

void threads_renew(struct pf_as *as)
{
    uint64_t ns = stubs_cpu_ns(as->pid);

    spin_lock(&as->lanes_lock);
    as->cpu_claimed_ns = ns;
    spin_unlock(&as->lanes_lock);
    for (unsigned i = 0; i < as->lane_count; i++)
        if (as->lanes[i].off)
            memset(lane_ptr(as->lanes[i].off), 0, LANE_SIZE);
}

static void lane_set(struct pf_as *as, unsigned slot, enum lane_state state)
{
    spin_lock(&as->lanes_lock);
    as->lanes[slot].state = state;
    spin_unlock(&as->lanes_lock);
}

/* Map the lane if need be, clone. Returns the tid or -errno. as->lock held. */
static int64_t thread_spawn(struct pf_as *as, struct pf_thread *t, bool mapped, uint64_t fs_base,
                            uint64_t gs_base)
{
    unsigned n = 0, done;
    int64_t tid = 0;
    uint64_t flags = TRAP_CLONE_THREAD | (fs_base ? (uint64_t)CLONE_SETTLS : 0);

    int r = mapper_wait(as);
    if (r)
        return r;
    if (!mapped)
        as->req[n++] = (struct stub_op){SYS_mmap,
                                        {t->lane_addr, LANE_SIZE, PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                                         (uint64_t)g_stubs.memfd, t->lane_off},
                                        STUB_CTL_STRICT};
    as->req[n++] = (struct stub_op){
        SYS_clone,
        {flags, 0, t->lane_addr + STUB_START_FRAME, t->lane_addr + LANE_TID, fs_base, gs_base},
        stub_addr(stub_thread)};
    r = mapper_run(as, n, &done, &tid);
    if (r) {
        lane_set(as, t->slot, mapped || done ? LANE_IDLE : LANE_UNMAPPED);
        return r == -ENOMEM ? -ENOMEM : r == -ESRCH ? -ESRCH : -EAGAIN;
    }
    return tid;
}

/* Lane and frame for @t, which has its slot. */
static int thread_prepare(struct pf_as *as, struct pf_thread *t, const struct pf_regs *regs,
                          const void *fpu, size_t fpu_len)
{
    t->as = as;
    t->lane_off = as->lanes[t->slot].off;
    t->lane = lane_ptr(t->lane_off);
    t->lane_addr = STUB_LANES + (uint64_t)t->slot * LANE_SIZE;
    atomic_store(&t->lane->tid, 1);
    t->lane->priv[(PRIV_SELF - LANE_PRIV) / 8] = t->lane_addr;
    t->lane->priv[(PRIV_FS - LANE_PRIV) / 8] = regs->fs_base;
    return frame_build(t->lane, t->lane_addr, regs, fpu, fpu_len);
}

/* With a thread that waits. Its tid, 0: there is none, -errno. */
static int64_t thread_revive(struct pf_as *as, struct pf_thread *t, const struct pf_regs *regs,
                             const void *fpu, size_t fpu_len)
{
    struct parked *p =
        regs->gs_base ? NULL : parked_take(as); /* one serving again has its lane's */

    if (!p)
        return 0;
    int r = space_lanes_open(as);
    if (r) {
        parked_return(as, p);
        return r;
    }
    t->slot = p->slot;
    t->roams = p->roams;
    memset(lane_ptr(as->lanes[t->slot].off), 0, LANE_STACK);
    r = thread_prepare(as, t, regs, fpu, fpu_len);
    if (!r)
        r = notify_park_send(p, t->lane_addr);
    if (r) {
        parked_return(as, p);
        return r == -EAGAIN ? 0 : r;
    }
    notify_park_forget(p);
    free(t->park);
    t->park = p;
    return p->tid;
}

/* With a new one. */
static int64_t thread_make(struct pf_as *as, struct pf_thread *t, const struct pf_regs *regs,
                           const void *fpu, size_t fpu_len)
{
    bool mapped;
    int r = lane_take(as, &t->slot, &mapped);

    if (r)
        return r;
    r = thread_prepare(as, t, regs, fpu, fpu_len);
    if (r) {
        lane_set(as, t->slot, mapped ? LANE_IDLE : LANE_UNMAPPED);
        return r;
    }
    t->roams = g_stubs.roam;
    spin_lock(&as->lanes_lock);
    as->births++;
    spin_unlock(&as->lanes_lock);
    return thread_spawn(as, t, mapped, regs->fs_base, regs->gs_base ? regs->gs_base : t->lane_addr);
}

int trap_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                       size_t fpu_len, struct pf_thread **ret)
{
    autofree struct pf_thread *t = calloc(1, sizeof *t);

    if (!t)
        return -ENOMEM;
    if (regs->fs_base >= 1ULL << 47 || regs->gs_base >= 1ULL << 47)
        return -EINVAL; /* no thread pointer of user space: the host would refuse the clone */
    autofree struct parked *park = calloc(1, sizeof *park); /* for its end; may be missing */
    t->park = park;
    fmutex_lock(&as->lock);
    int64_t r = atomic_load(&as->gone) ? -ESRCH : thread_revive(as, t, regs, fpu, fpu_len);
    if (!r)
        r = thread_make(as, t, regs, fpu, fpu_len);
    if (r > 0)
        steal(park);
    else
        park = t->park;
    if (r > 0) {
        t->tid = (pid_t)r;
        refcount_get(&as->refs);
        spin_lock(&as->lanes_lock);
        list_add_tail(&t->link, &as->threads);
        spin_unlock(&as->lanes_lock);
    }
    fmutex_unlock(&as->lock);
    if (r <= 0)
        return r ? (int)r : -EAGAIN;
    *ret = steal(t);
    return 0;
}

void trap_thread_destroy(struct pf_thread *t)
{
    struct pf_as *as = t->as;
    uint64_t off = 0;

    spin_lock(&as->lanes_lock);
    list_del(&t->link);
    as->cpu_claimed_ns += t->cpu_reported_ns;
    as->lanes[t->slot].state = t->parking ? LANE_PARKED : LANE_LEAVING;
    if (as->released) { /* destroyed: the lane was left for us */
        off = t->lane_off;
        as->lanes[t->slot] = (struct lane_slot_info){0, LANE_UNMAPPED};
    }
    spin_unlock(&as->lanes_lock);
    if (off)
        range_put(RANGE_LANE, off);
    space_put(as);
    free(t->park);
    free(t);
}

struct lane *trap_thread_lane(struct pf_thread *t)
{
    return t->lane;
}

uint64_t trap_thread_lane_addr(struct pf_thread *t)
{
    return t->lane_addr;
}

void trap_thread_set_owner(struct pf_thread *t, uint32_t poller)
{
    atomic_store(&t->lane->sentry.poller, poller % RO_POLLERS);
}

void trap_thread_place(struct pf_thread *t)
{
    /* A thread that began while the choice changed may have the wrong CPUs until the next change. */
    if (t->roams == g_stubs.roam || atomic_load(&t->as->gone))
        return;
    t->roams = g_stubs.roam;
    /* Best effort: where it fails (a cpuset that has changed) calls cost more, and no more. */
    (void)sched_setaffinity(t->tid, sizeof g_stubs.all_cpus,
                            t->roams ? &g_stubs.all_cpus : &g_stubs.guest_cpus);
}

void trap_thread_interrupt(struct pf_thread *t)
{
    /* The pid cannot be another process's: it is reaped by as_destroy, after which nobody calls
     * this. The tid may be that of a later thread of the same process, which goes on unharmed. */
    if (!atomic_exchange(&t->interrupting, true) && !atomic_load(&t->as->gone))
        syscall(SYS_tgkill, t->as->pid, t->tid, TRAP_INTERRUPT);
}

/* The host tells the time of another process as a whole. All of it is reported by the process's
 * oldest thread, so that the sum over the threads is right. */
uint64_t trap_thread_cpu_ns(struct pf_thread *t)
{
    struct pf_as *as = t->as;

    if (atomic_load(&as->gone))
        return t->cpu_reported_ns;
    uint64_t ns = stubs_cpu_ns(as->pid);
    spin_lock(&as->lanes_lock);
    if (list_first_entry(&as->threads, struct pf_thread, link) == t && ns > as->cpu_claimed_ns)
        t->cpu_reported_ns = ns - as->cpu_claimed_ns;
    ns = t->cpu_reported_ns;
    spin_unlock(&as->lanes_lock);
    return ns;
}
