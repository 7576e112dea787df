/* SPDX-License-Identifier: Apache-2.0
 * space.c - address spaces: stub processes forked from the template, a pool of them, and lists of
 * memory operations.
 *
 * The first thread of a stub is its mapper. It is stopped whenever it does not execute a list; it never
 * runs guest code. Template and stubs are children of the tracer (CLONE_PARENT), attached from
 * birth (CLONE_PTRACE), and killed by the host when the tracer ends (EXITKILL). The template attaches
 * by PTRACE_SEIZE, for which it has to be dumpable for a moment; the first list ends that.
 *
 * Who may lie: nobody; but the process can be dead at any time. All but the ptrace_as_ functions is the
 * tracer's.
 *
 * Host: ptrace [sentry-ptrace]
 * Host: kill, close, pidfd_open [sentry]
 * Host: clone, exit_group, mmap, munmap, prctl, sched_yield, waitpid [before confinement]
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/log.h>

#include "internal.h"

#define OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)
#define PROCESS_FLAGS ((uint32_t)(CLONE_PARENT | CLONE_FILES | CLONE_PTRACE | SIGCHLD))
#define REUSE_LANES 4u /* more lanes than that: not kept */

static struct {
    struct list_head ready, used;
    unsigned count, used_count;
} g_pool;

struct pf_as *tspace_new(void)
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
    spin_init(&as->lock, RANK_LEAF);
    list_init(&as->tracees);
    list_init(&as->parked);
    list_init(&as->pool_link);
    list_init(&as->threads);
    list_init(&as->mapper.hash_link);
    list_init(&as->mapper.late_link);
    return as;
}

void tspace_put(struct pf_as *as)
{
    if (!refcount_put(&as->refs))
        return;
    free(as->lanes);
    free(as);
}

void tspace_died(struct pf_as *as)
{
    atomic_store(&as->gone, true);
    tracee_forget(&as->mapper);
}

static void hosts_free(struct list_head *list)
{
    while (!list_empty(list))
        host_free(list_first_entry(list, struct tracee, link));
}

void tspace_kill(struct pf_as *as)
{
    atomic_store(&as->gone, true);
    as->destroyed = true;
    if (as->pid > 0 && !as->mapper.dead) {
        kill(as->pid, SIGKILL);
        while (!as->mapper.dead)
            (void)tracee_wait(&as->mapper); /* the last of its process to be heard of */
    }
    tracee_forget(&as->mapper);
    hosts_free(&as->tracees);
    hosts_free(&as->parked);
    fds_drop_all(as);
    for (unsigned i = 0; i < as->lane_count; i++) /* the others are given back with their threads */
        if (as->lanes[i].off && !as->lanes[i].refs) {
            range_put(RANGE_LANE, as->lanes[i].off);
            as->lanes[i].off = 0;
        }
    range_put(RANGE_REQ, as->req_off);
    tspace_put(as);
}

/* --- the template --- */

struct birth {
    _Atomic(int) state; /* 0: not yet; 1: ready to be attached; -errno */
};

static NORETURN void template_main(struct birth *birth, uint64_t req_off)
{
    static const int signals[] = FAULT_SIGNALS;
    uint64_t open = 1ULL << (SIGTRAP - 1);

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        open |= 1ULL << (signals[i] - 1);
    int r = birth_handlers(signals, ARRAY_SIZE(signals), stub_addr(stub_traced_fault), 0, ~open);
    if (!r)
        r = birth_drop_privilege();
    birth_forget_libc();
    if (!r)
        r = birth_map(req_off);
    if (!r && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
        r = -errno;
    atomic_store(&birth->state, r ? r : 1);
    if (r)
        for (;;)
            syscall(SYS_exit_group, 1);
    for (;;)
        syscall(SYS_sched_yield); /* until the tracer takes over */
}

/* It is ours from here on: attach, stop it wherever it is. */
static int template_attach(struct tracee *t)
{
    struct user_regs_struct regs;
    _Alignas(64) static uint8_t fpu[XSTATE_MAX];

    if (ptrace(PTRACE_SEIZE, t->tid, NULL, (void *)OPTIONS) ||
        ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL))
        return -errno;
    (void)tracee_wait(t);
    int r = t->dead ? -ESRCH : tracee_get_regs(t, &regs);
    if (r)
        return r;
    g_tracer.cs = regs.cs;
    g_tracer.ss = regs.ss;
    return tracee_get_fpu(t, fpu); /* learns its size */
}

static int template_strip(struct pf_as *as)
{
    unsigned done, n = birth_forget_memory(as->req, 0);
    int64_t val;

    as->req[n++] = (struct stub_op){SYS_prctl, {PR_SET_DUMPABLE, 0}, STUB_CTL_STRICT};
    return tracee_list(&as->mapper, n, &done, &val);
}

int tspace_first(void)
{
    struct pf_as *as = tspace_new();
    struct birth *birth =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r = -ENOMEM;

    list_init(&g_pool.ready);
    list_init(&g_pool.used);
    g_pool.count = g_pool.used_count = 0;
    if (!as || birth == MAP_FAILED)
        return r;
    g_tracer.template = as;
    if (birth_in_region(birth) || birth_in_region(&r))
        return -EADDRNOTAVAIL;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        template_main(birth, as->req_off);
    r = pid < 0 ? -errno : 0;
    if (!r) {
        as->pid = pid;
        tracee_add(&as->mapper, as, pid);
        while ((r = atomic_load(&birth->state)) == 0)
            sched_yield();
        r = MIN(r, 0);
    }
    munmap(birth, PAGE_SIZE);
    if (!r)
        r = template_attach(&as->mapper);
    return r ? r : template_strip(as);
}

/* --- pool --- */

/* Another stub process. Its first step is to replace the template's request pages by its own. */
static int tspace_fork(struct pf_as **ret)
{
    struct pf_as *tmpl = g_tracer.template, *as = tspace_new();
    unsigned done;
    int64_t pid = 0;

    if (!as)
        return -ENOMEM;
    tmpl->req[0] = (struct stub_op){SYS_clone, {PROCESS_FLAGS, 0, 0, 0, 0, 0}, STUB_CTL_STRICT};
    int r = atomic_load(&tmpl->gone) ? -ESRCH : tracee_list(&tmpl->mapper, 1, &done, &pid);
    if (!r && tracer_newborn((pid_t)pid)) {
        as->pid = (pid_t)pid;
        tracee_add(&as->mapper, as, as->pid);
        tmpl->req[0] = (struct stub_op){SYS_mmap,
                                        {STUB_REQ, STUB_REQ_BYTES, PROT_READ,
                                         MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                                         (uint64_t)g_stubs.memfd, as->req_off},
                                        STUB_CTL_STRICT};
        r = tracee_list(&as->mapper, 1, &done, &pid);
    } else if (!r) {
        r = -EAGAIN;
    }
    if (r) {
        tspace_kill(as);
        return r == -ENOMEM ? r : -EAGAIN;
    }
    *ret = as;
    return 0;
}

bool tspace_pool_refill(void)
{
    struct pf_as *as;

    if (!g_tracer.template || atomic_load(&g_tracer.template->gone) ||
        g_pool.count + g_pool.used_count >= POOL_MAX || tspace_fork(&as))
        return false;
    list_add_tail(&as->pool_link, &g_pool.ready);
    g_pool.count++;
    return true;
}

static struct pf_as *pool_take(struct list_head *list, unsigned *count)
{
    while (!list_empty(list)) {
        struct pf_as *as = list_first_entry(list, struct pf_as, pool_link);

        list_del(&as->pool_link);
        (*count)--;
        if (!atomic_load(&as->gone))
            return as;
        tspace_kill(as);
    }
    return NULL;
}

void tspace_pool_drain(void)
{
    for (struct pf_as *as; (as = pool_take(&g_pool.ready, &g_pool.count));)
        tspace_kill(as);
    for (struct pf_as *as; (as = pool_take(&g_pool.used, &g_pool.used_count));)
        tspace_kill(as);
}

/* --- lists --- */

int tspace_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done)
{
    size_t done = 0;
    int r = 0;

    while (done < n && !r) {
        unsigned extra = 0, k, stopped = 0;
        int64_t val;
        int bad = 0;

        if (atomic_load(&as->gone))
            return -ESRCH;
        for (size_t i = done; i < n && !as->sync_registered; i++) {
            if (ops[i].op != PF_SYNC)
                continue;
            as->req[extra++] =
                (struct stub_op){SYS_membarrier,
                                 {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
                                 STUB_CTL_LAX};
            as->sync_registered = true;
        }
        k = extra;
        for (size_t i = done; i < n && k < LIST_MAX && !bad; i++) {
            bad = list_translate(&ops[i], &as->req[k]);
            as->has_rings |= ops[i].addr >= STUB_RINGS;
            k += !bad;
        }
        if (k)
            r = tracee_list(&as->mapper, k, &stopped, &val);
        done += stopped > extra ? stopped - extra : 0;
        r = r ? r : bad;
    }
    *ret_done = done;
    return r;
}

struct run_request {
    struct request r;
    struct pf_as *as;
    const struct pf_memop *ops;
    size_t n, done;
    int result;
};

static void run_run(struct request *r)
{
    struct run_request *q = container_of(r, struct run_request, r);

    q->result = tspace_run(q->as, q->ops, q->n, &q->done);
}

int ptrace_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done)
{
    struct run_request q = {.r.run = run_run, .as = as, .ops = ops, .n = n};

    tracer_do(&q.r);
    if (ret_done)
        *ret_done = q.done;
    return q.result;
}

/* --- life --- */

struct life_request {
    struct request r;
    struct pf_as *as;
    int result;
};

static void create_run(struct request *r)
{
    struct life_request *q = container_of(r, struct life_request, r);

    q->as = pool_take(&g_pool.used, &g_pool.used_count);
    if (!q->as)
        q->as = pool_take(&g_pool.ready, &g_pool.count);
    q->result = q->as ? 0 : tspace_fork(&q->as);
}

static void pidfd_close(struct pf_as *as)
{
    if (as->pidfd >= 0)
        close(as->pidfd);
    as->pidfd = -1;
}

int ptrace_as_create(struct pf_as **ret)
{
    struct life_request q = {.r.run = create_run};

    tracer_do(&q.r);
    if (q.result)
        return q.result;
    /* here, because the tracer has other descriptors; a pid that is gone belongs to nobody yet */
    q.as->pidfd = (int)syscall(SYS_pidfd_open, q.as->pid, 0);
    if (q.as->pidfd < 0) {
        ptrace_as_destroy(q.as);
        return -EAGAIN;
    }
    *ret = q.as;
    return 0;
}

static void destroy_run(struct request *r)
{
    tspace_kill(container_of(r, struct life_request, r)->as);
}

void ptrace_as_destroy(struct pf_as *as)
{
    struct life_request q = {.r.run = destroy_run, .as = as};

    if (!as)
        return;
    pidfd_close(as);
    tracer_do(&q.r);
}

/* Forget the guest: nothing below the stub, no rings, nothing left in lanes and request pages. */
static int tspace_clean(struct pf_as *as)
{
    const struct pf_memop ops[2] = {
        {.op = PF_UNMAP, .addr = 0, .len = STUB_REGION},
        {.op = PF_UNMAP, .addr = STUB_RINGS, .len = STUB_REGION_END - STUB_RINGS},
    };
    size_t done;
    int r = tspace_run(as, ops, as->has_rings ? 2 : 1, &done);

    if (r)
        return r;
    as->has_rings = false;
    memset(as->req, 0, STUB_REQ_BYTES);
    for (unsigned i = 0; i < as->lane_count; i++)
        if (as->lanes[i].off)
            memset(memfile_ptr(g_stubs.mf, as->lanes[i].off), 0, LANE_SIZE);
    spin_lock(&as->lock);
    as->cpu_claimed_ns = stubs_cpu_ns(as->pid);
    spin_unlock(&as->lock);
    return 0;
}

static void release_run(struct request *r)
{
    struct pf_as *as = container_of(r, struct life_request, r)->as;

    if (atomic_load(&as->gone) || as->alive != as->park_count || as->lane_count > REUSE_LANES ||
        g_pool.used_count == USED_MAX || tspace_clean(as)) {
        tspace_kill(as);
        return;
    }
    list_add(&as->pool_link, &g_pool.used);
    g_pool.used_count++;
}

void ptrace_as_release(struct pf_as *as)
{
    struct life_request q = {.r.run = release_run, .as = as};

    pidfd_close(as);
    tracer_do(&q.r);
}

int ptrace_as_pidfd(struct pf_as *as)
{
    return as->pidfd;
}
