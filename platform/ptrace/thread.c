/* SPDX-License-Identifier: Apache-2.0
 * thread.c - guest threads: a lane, a host thread, its end.
 *
 * The mapper maps the lane and clones; the host stops the child before its first instruction. It then
 * executes one list, which takes its descriptors away, gives it an alternate stack, its CPUs and a filter
 * that lets it end itself and no more, and is never continued again but by SYSEMU, so that no call it makes reaches the host. A thread that ends
 * stays stopped where it is, for another life, or executes its own end.
 *
 * struct pf_thread is the life, struct tracee the host thread. The owner gives a life back with
 * WANT_FREE; the tracer frees it.
 *
 * Host: sched_setaffinity [sentry]
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/log.h>

#include "internal.h"

#define THREAD_FLAGS \
    ((uint32_t)(CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PTRACE))
#define STACK_OP (LIST_MAX - 1) /* in the place of this operation lies a new thread's stack_t */

static struct lane *lane_ptr(uint64_t off)
{
    return memfile_ptr(g_stubs.mf, off);
}

static uint64_t lane_addr(unsigned slot)
{
    return STUB_LANES + (uint64_t)slot * LANE_SIZE;
}

static int lanes_grow(struct pf_as *as)
{
    if (as->lane_count == LANE_COUNT)
        return -EAGAIN;
    if (as->lane_count == as->lane_room) {
        unsigned room = as->lane_room ? as->lane_room * 2 : 4;
        struct lane_info *bigger = realloc(as->lanes, room * sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        as->lanes = bigger;
        as->lane_room = room;
    }
    as->lanes[as->lane_count++] = (struct lane_info){0};
    return 0;
}

/* A free slot with memory; *ret_mapped: in the process too. */
static int lane_take(struct pf_as *as, unsigned *ret_slot, bool *ret_mapped)
{
    unsigned i = 0;

    while (i < as->lane_count && as->lanes[i].refs)
        i++;
    int r = i == as->lane_count ? lanes_grow(as) : 0;
    if (r)
        return r;
    *ret_mapped = as->lanes[i].off != 0;
    if (!*ret_mapped)
        r = range_get(RANGE_LANE, &as->lanes[i].off);
    if (r)
        return r;
    memset(lane_ptr(as->lanes[i].off), 0, LANE_SIZE);
    as->lanes[i].refs = 1; /* the host thread's */
    *ret_slot = i;
    return 0;
}

/* Host thread or life gives its lane back. An unmapped one's memory is of no use. */
static void lane_put(struct pf_as *as, unsigned slot, bool mapped)
{
    struct lane_info *l = &as->lanes[slot];

    if (--l->refs || (mapped && !as->destroyed))
        return;
    range_put(RANGE_LANE, l->off);
    l->off = 0;
}

/* Clone; its tid or -errno. *ret_mapped: the lane is in the process now. */
static int64_t host_clone(struct pf_as *as, unsigned slot, bool *ret_mapped)
{
    unsigned n = 0, done = 0;
    int64_t tid = 0;

    if (!*ret_mapped)
        as->req[n++] = (struct stub_op){SYS_mmap,
                                        {lane_addr(slot), LANE_SIZE, PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                                         (uint64_t)g_stubs.memfd, as->lanes[slot].off},
                                        STUB_CTL_STRICT};
    as->req[n++] = (struct stub_op){SYS_clone, {THREAD_FLAGS, 0, 0, 0, 0, 0}, STUB_CTL_STRICT};
    int r = tracee_list(&as->mapper, n, &done, &tid);
    *ret_mapped = *ret_mapped || done;
    if (r)
        return r == -ENOMEM || r == -ESRCH ? r : -EAGAIN;
    return tracer_newborn((pid_t)tid) ? tid : -ESRCH;
}

/* What a new host thread does before it is a guest. */
static int host_prepare(struct tracee *t)
{
    struct stub_op *op = t->as->req;
    const stack_t stack = {.ss_sp = (void *)(uintptr_t)(lane_addr(t->slot) + LANE_STACK),
                           .ss_size = LANE_SIZE - LANE_STACK};
    unsigned n = 0, done;
    int64_t val;

    memcpy(&op[STACK_OP], &stack, sizeof stack);
    op[n++] = (struct stub_op){SYS_close_range, {0, ~0U, 0}, STUB_CTL_STRICT};
    op[n++] =
        (struct stub_op){SYS_sigaltstack, {STUB_REQ + STACK_OP * STUB_OP_SIZE, 0}, STUB_CTL_STRICT};
    if (g_stubs.pin)
        op[n++] = (struct stub_op){
            SYS_sched_setaffinity, {0, 128, STUB_GLOBALS + GLOBALS_CPUS}, STUB_CTL_LAX};
    if (g_tracer.wall)
        op[n++] = (struct stub_op){
            SYS_seccomp,
            {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, STUB_GLOBALS + GLOBALS_FPROG},
            STUB_CTL_STRICT};
    return tracee_list(t, n, &done, &val);
}

static int host_new(struct pf_as *as, struct tracee **ret)
{
    bool mapped;
    unsigned slot;
    struct tracee *t = calloc(1, sizeof *t);
    int r = t ? lane_take(as, &slot, &mapped) : -ENOMEM;

    if (r) {
        free(t);
        return r;
    }
    int64_t tid = host_clone(as, slot, &mapped);
    if (tid < 0) {
        lane_put(as, slot, mapped);
        free(t);
        return (int)tid;
    }
    t->slot = slot;
    tracee_add(t, as, (pid_t)tid);
    list_add(&t->link, &as->tracees);
    as->alive++;
    *ret = t;
    return host_prepare(t) ? -ESRCH : 0; /* it goes with its process */
}

static struct tracee *host_parked(struct pf_as *as)
{
    struct tracee *t, *found = NULL;

    list_for_each_entry (t, &as->parked, link) {
        if (!t->dead) {
            found = t;
            break;
        }
    }
    if (!found)
        return NULL;
    list_del(&found->link);
    list_add(&found->link, &as->tracees);
    found->parked = false;
    as->park_count--;
    memset(lane_ptr(as->lanes[found->slot].off), 0, LANE_STACK);
    return found;
}

struct create_request {
    struct request r;
    struct pf_as *as;
    const struct pf_regs *regs;
    struct pf_thread *t;
    int result;
};

static void create_run(struct request *r)
{
    struct create_request *q = container_of(r, struct create_request, r);
    struct pf_as *as = q->as;
    struct pf_thread *t = q->t;
    struct tracee *host = NULL;

    q->result = -ESRCH;
    if (atomic_load(&as->gone))
        return;
    host = host_parked(as);
    q->result = host ? 0 : host_new(as, &host);
    if (q->result)
        return;
    host->thread = t;
    as->lanes[host->slot].refs++;
    t->host = host;
    t->as = as;
    t->lane = lane_ptr(as->lanes[host->slot].off);
    t->lane_addr = lane_addr(host->slot);
    t->tid = host->tid;
    regs_init(&t->regs);
    regs_from_guest(&t->regs, q->regs);
    t->regs.fs_base = q->regs->fs_base;
    t->regs.gs_base = q->regs->gs_base;
    t->dirty = DIRTY_REGS | DIRTY_FPU;
    refcount_get(&as->refs);
    spin_lock(&as->lock);
    list_add_tail(&t->link, &as->threads);
    spin_unlock(&as->lock);
    event_resume(t);
}

int ptrace_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                         size_t fpu_len, struct pf_thread **ret)
{
    autofree struct pf_thread *t = calloc(1, sizeof *t);
    autofree uint8_t *state = calloc(1, g_tracer.xstate_size);
    struct create_request q = {.r.run = create_run, .as = as, .regs = regs, .t = t};

    if (!t || !state)
        return -ENOMEM;
    if (regs->fs_base >= 1ULL << 47 || regs->gs_base >= 1ULL << 47)
        return -EINVAL; /* no thread pointer of user space */
    t->fpu = state;
    xstate_init(state);
    if (fpu) {
        int r = xstate_from_frame(state, fpu, fpu_len);
        if (r)
            return r;
    }
    tracer_do(&q.r);
    if (q.result) {
        log_debug("ptrace", "pid=%d no thread: errno=%d", as->pid, -q.result);
        return q.result;
    }
    steal(state);
    *ret = steal(t);
    return 0;
}

void host_free(struct tracee *host)
{
    struct pf_as *as = host->as;

    if (host->thread)
        host->thread->host = NULL;
    if (host->running)
        g_tracer.running--;
    if (host->parked)
        as->park_count--;
    tracee_forget(host);
    list_del(&host->link);
    lane_put(as, host->slot, true);
    as->alive--;
    free(host);
}

void thread_free(struct pf_thread *t)
{
    struct pf_as *as = t->as;

    if (t->host) /* stays where it is until its process ends */
        t->host->thread = NULL;
    if (atomic_load(&t->posted))
        g_tracer.open_events--;
    spin_lock(&as->lock);
    list_del(&t->link);
    as->cpu_claimed_ns += t->cpu_reported_ns;
    spin_unlock(&as->lock);
    lane_put(as, (unsigned)((t->lane_addr - STUB_LANES) / LANE_SIZE), true);
    tspace_put(as);
    free(t->fpu);
    free(t);
}

/* The life is over: the host thread waits for another one, or ends. */
static void host_end(struct pf_thread *t)
{
    struct tracee *host = t->host;
    struct pf_as *as = t->as;

    if (!host || host->dead || atomic_load(&as->gone))
        return;
    t->host = NULL;
    host->thread = NULL;
    if (as->park_count < PARKS_MAX) {
        list_del(&host->link);
        list_add(&host->link, &as->parked);
        host->parked = true;
        as->park_count++;
    } else {
        tracee_exit(host);
    }
}

static void self_run(struct pf_thread *t)
{
    static const struct {
        uint32_t op;
        int32_t prot;
    } ops[] = {
        [PF_SELF_UNMAP] = {PF_UNMAP, 0},
        [PF_SELF_PROTECT_NONE] = {PF_PROTECT, PROT_NONE},
        [PF_SELF_POPULATE] = {PF_POPULATE, PROT_WRITE},
        [PF_SELF_PROTECT_READ] = {PF_PROTECT, PROT_READ},
    };
    const struct pf_reply *r = &t->reply;
    size_t done;

    BUG_ON(r->self_op >= ARRAY_SIZE(ops));
    struct pf_memop op = {.op = ops[r->self_op].op,
                          .prot = ops[r->self_op].prot,
                          .addr = r->self_addr,
                          .len = r->self_len};
    (void)tspace_run(t->as, &op, 1, &done);
}

void thread_wanted(struct pf_thread *t, uint32_t wants)
{
    if (wants & WANT_INTERRUPT) {
        struct tracee *host = t->host;
        if (host && !host->dead && host->running)
            tracee_interrupt(host);
        else
            t->interrupt_pending = true;
    }
    if (wants & WANT_RESUME) {
        g_tracer.open_events--;
        if (t->reply.self_op)
            self_run(t);
        if (t->reply.kind == PF_REPLY_EXIT)
            host_end(t);
        else
            event_resume(t);
    }
    if (wants & WANT_FREE)
        thread_free(t);
}

void ptrace_thread_destroy(struct pf_thread *t)
{
    tracer_want(t, WANT_FREE);
}

struct lane *ptrace_thread_lane(struct pf_thread *t)
{
    return t->lane;
}

uint64_t ptrace_thread_lane_addr(struct pf_thread *t)
{
    return t->lane_addr;
}

void ptrace_thread_set_owner(struct pf_thread *t, uint32_t poller)
{
    atomic_store(&t->poller, poller % RO_POLLERS);
    atomic_store(&t->lane->sentry.poller, poller % RO_POLLERS); /* libringbox rings it */
}

void ptrace_thread_interrupt(struct pf_thread *t)
{
    if (!atomic_exchange(&t->interrupting, true))
        tracer_want(t, WANT_INTERRUPT);
}

void ptrace_thread_place(struct pf_thread *t)
{
    if (t->roams == g_stubs.roam || atomic_load(&t->as->gone))
        return;
    t->roams = g_stubs.roam;
    /* Best effort: a thread that has left, or a cpuset that has changed. */
    (void)sched_setaffinity(t->tid, sizeof g_stubs.all_cpus,
                            t->roams ? &g_stubs.all_cpus : &g_stubs.guest_cpus);
}

/* The host tells the time of another process as a whole. All of it is reported by the process's
 * oldest thread, so that the sum over the threads is right. */
uint64_t ptrace_thread_cpu_ns(struct pf_thread *t)
{
    struct pf_as *as = t->as;

    if (atomic_load(&as->gone))
        return t->cpu_reported_ns;
    uint64_t ns = stubs_cpu_ns(as->pid);
    spin_lock(&as->lock);
    if (list_first_entry(&as->threads, struct pf_thread, link) == t && ns > as->cpu_claimed_ns)
        t->cpu_reported_ns = ns - as->cpu_claimed_ns;
    ns = t->cpu_reported_ns;
    spin_unlock(&as->lock);
    return ns;
}
