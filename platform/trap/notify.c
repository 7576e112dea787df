/* SPDX-License-Identifier: Apache-2.0
 * notify.c - driving the mappers: one listener for all address spaces, many pollers that wait.
 *
 * A mapper sleeps inside a notified call. Answering it starts the list in its request pages; its
 * next notification brings the result. Whoever waits for any mapper may receive, one at a time, and
 * hands what it gets to the address space it belongs to (the notifying pid cannot be forged). The
 * others sleep on a sequence number that changes with every hand-over.
 *
 * A guest can end its process at any moment, so no wait is unbounded: the receiver polls the
 * process's pidfd beside the listener, the others look at it every WAIT_NS. A host SIGSTOP and
 * SIGCONT interrupts the notified call; it is restarted and notifies again under another id.
 *
 * Guest threads that have ended park in a notified call of their own number. One that was not told
 * to loses its process. A tid alone does not name one: a thread that was told to park and ended
 * otherwise has left its tid to others.
 *
 * Who may lie: nobody in here. A process we do not know is a fork not yet registered; what it says
 * is kept until it is.
 * Locks: g_hub.lock (RANK_LEAF) guards the table and the stash; the right to receive is a flag, not
 * a lock, since it is held across host calls.
 *
 * Host: ioctl, ppoll, poll, futex, waitid, kill, tgkill, sched_setaffinity, getcpu [sentry]
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/count.h>
#include <base/hash.h>
#include <base/log.h>

#include "internal.h"

#define BUCKETS 256
#define STASH_MAX 16
#define WAIT_NS 10000000
#define POLL_MS 100

static struct {
    struct spin lock;
    struct list_head bucket[BUCKETS]; /* GUARDED_BY(lock) */
    struct list_head parks[BUCKETS];  /* GUARDED_BY(lock): threads told to park, by tid */
    struct said stash[STASH_MAX];     /* GUARDED_BY(lock) */
    unsigned stashed;                 /* GUARDED_BY(lock) */
    _Atomic(uint32_t) receiving;      /* somebody polls the listener */
    _Atomic(uint32_t) seq;            /* futex: changes when that ends */
    _Atomic(uint32_t) waiters;
} g_hub = {.lock = SPIN_INIT(RANK_LEAF)};

void notify_init(void)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        list_init(&g_hub.bucket[i]);
        list_init(&g_hub.parks[i]);
    }
    g_hub.stashed = 0;
}

static struct list_head *bucket_of(pid_t pid)
{
    return &g_hub.bucket[hash_u64((uint64_t)pid) % BUCKETS];
}

static struct pf_as *lookup_locked(pid_t pid)
{
    struct pf_as *as;

    list_for_each_entry (as, bucket_of(pid), hash_link) {
        if (as->pid == pid)
            return as;
    }
    return NULL;
}

static void deliver_locked(struct pf_as *as, const struct said *s)
{
    as->said = *s;
    atomic_store(&as->idle, true);
}

struct said mapper_said(struct pf_as *as)
{
    spin_lock(&g_hub.lock);
    struct said s = as->said;
    spin_unlock(&g_hub.lock);
    return s;
}

/* The same, and the mapper is no longer idle. */
static struct said mapper_take(struct pf_as *as)
{
    spin_lock(&g_hub.lock);
    struct said s = as->said;
    atomic_store(&as->idle, false);
    spin_unlock(&g_hub.lock);
    return s;
}

void mapper_forget(struct pf_as *as, uint64_t id)
{
    spin_lock(&g_hub.lock);
    if (as->said.id == id)
        atomic_store(&as->idle, false);
    spin_unlock(&g_hub.lock);
}

/* Takes entry i out. */
static struct said unstash_locked(unsigned i)
{
    struct said s = g_hub.stash[i];

    g_hub.stash[i] = g_hub.stash[--g_hub.stashed];
    return s;
}

/* A process not yet registered that was stopped and continued says the same again under another id:
 * only the last counts. */
static bool stash_locked(const struct said *s)
{
    unsigned i = 0;

    while (i < g_hub.stashed && g_hub.stash[i].pid != s->pid)
        i++;
    if (i == STASH_MAX)
        return false;
    g_hub.stash[i] = *s;
    g_hub.stashed += i == g_hub.stashed;
    return true;
}

void notify_register(struct pf_as *as)
{
    spin_lock(&g_hub.lock);
    list_add(&as->hash_link, bucket_of(as->pid));
    for (unsigned i = 0; i < g_hub.stashed; i++) {
        if (g_hub.stash[i].pid == as->pid) {
            struct said s = unstash_locked(i);
            deliver_locked(as, &s);
            break;
        }
    }
    spin_unlock(&g_hub.lock);
}

void notify_unregister(struct pf_as *as)
{
    spin_lock(&g_hub.lock);
    list_del(&as->hash_link);
    for (unsigned i = g_hub.stashed; i-- > 0;)
        if (g_hub.stash[i].pid == as->pid)
            (void)unstash_locked(i);
    spin_unlock(&g_hub.lock);
}

bool process_gone(struct pf_as *as)
{
    if (atomic_load(&as->gone))
        return true;
    siginfo_t si = {0};
    if (waitid(P_PID, (id_t)as->pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && !si.si_pid)
        return false;
    atomic_store(&as->gone, true);
    return true;
}

/* --- guest threads between two lives --- */

static struct list_head *parks_of(pid_t tid)
{
    return &g_hub.parks[hash_u64((uint64_t)tid) % BUCKETS];
}

void notify_park_expect(struct parked *p)
{
    spin_lock(&g_hub.lock);
    p->here = p->clean = false;
    list_add(&p->hash_link, parks_of(p->tid));
    spin_unlock(&g_hub.lock);
}

void notify_park_forget(struct parked *p)
{
    spin_lock(&g_hub.lock);
    list_del(&p->hash_link);
    spin_unlock(&g_hub.lock);
}

bool notify_park_here(struct parked *p)
{
    spin_lock(&g_hub.lock);
    bool here = p->here;
    spin_unlock(&g_hub.lock);
    return here;
}

static int park_answer(struct parked *p, uint64_t val)
{
    spin_lock(&g_hub.lock);
    struct seccomp_notif_resp resp = {.id = p->id, .val = (int64_t)val};
    bool here = p->here;
    p->here = false;
    spin_unlock(&g_hub.lock);
    /* ENOENT: stopped and continued, it calls again; or dead, as will be seen */
    return here && ioctl(g_trap.listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) == 0 ? 0 : -EAGAIN;
}

int notify_park_send(struct parked *p, uint64_t lane_addr)
{
    return park_answer(p, lane_addr);
}

void notify_park_again(struct parked *p)
{
    bool sent = park_answer(p, STUB_PARK_AGAIN) == 0;

    spin_lock(&g_hub.lock);
    p->clean = sent;
    spin_unlock(&g_hub.lock);
}

bool notify_park_clean(struct parked *p)
{
    spin_lock(&g_hub.lock);
    bool clean = p->here && p->clean;
    spin_unlock(&g_hub.lock);
    return clean;
}

static void park_arrived(pid_t tid, uint64_t id)
{
    struct parked *p, *found = NULL;

    spin_lock(&g_hub.lock);
    list_for_each_entry (p, parks_of(tid), hash_link) {
        if (p->tid == tid && syscall(SYS_tgkill, p->as->pid, tid, 0) == 0) {
            found = p;
            p->id = id;
            p->here = true;
        }
    }
    spin_unlock(&g_hub.lock);
    if (!found && ioctl(g_trap.listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0) {
        log_info("trap", "tid=%d parks unasked: killed", tid);
        kill(tid, SIGKILL);
    }
}

/* Take one notification and hand it over. */
static void receive_one(void)
{
    /* the kernel writes as much as it knows of the structure */
    union {
        struct seccomp_notif n;
        char room[512];
    } u;

    memset(&u, 0, sizeof u);
    if (ioctl(g_trap.listener, SECCOMP_IOCTL_NOTIF_RECV, &u.n)) {
        /* ENOENT: the notifier died meanwhile */
        BUG_ON(errno != ENOENT && errno != EINTR);
        return;
    }
    if (u.n.data.nr == STUB_NR_PARK) {
        park_arrived((pid_t)u.n.pid, u.n.id);
        return;
    }
    struct said s = {(pid_t)u.n.pid, u.n.id, u.n.data.args[0], u.n.data.args[1]};
    spin_lock(&g_hub.lock);
    struct pf_as *as = lookup_locked(s.pid);
    bool kept = as || stash_locked(&s);
    if (as)
        deliver_locked(as, &s);
    spin_unlock(&g_hub.lock);
    if (!kept) {
        log_warn("trap", "pid=%d notifies and is unknown: killed", s.pid);
        kill(s.pid, SIGKILL);
    }
}

/* May receive: wait for a notification of anybody or the end of this process. */
static void receive_or_end(struct pf_as *as)
{
    struct pollfd p[2] = {{g_trap.listener, POLLIN, 0}, {as->pidfd, POLLIN, 0}};

    if (poll(p, 2, POLL_MS) > 0 && (p[0].revents & POLLIN))
        receive_one();
    else
        (void)process_gone(as);
}

static bool receive_begin(void)
{
    uint32_t none = 0;

    return atomic_compare_exchange_strong(&g_hub.receiving, &none, 1);
}

static void receive_end(void)
{
    atomic_store(&g_hub.receiving, 0);
    atomic_fetch_add(&g_hub.seq, 1);
    if (atomic_load(&g_hub.waiters))
        syscall(SYS_futex, &g_hub.seq, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void notify_collect(void)
{
    struct pollfd p = {g_trap.listener, POLLIN, 0};

    if (!receive_begin())
        return;
    while (poll(&p, 1, 0) > 0 && (p.revents & POLLIN))
        receive_one();
    receive_end();
}

int mapper_wait(struct pf_as *as)
{
    while (!atomic_load(&as->idle)) {
        if (atomic_load(&as->gone))
            return -ESRCH;
        uint32_t seq = atomic_load(&g_hub.seq);
        if (atomic_load(&as->idle))
            break;
        if (receive_begin()) {
            if (!atomic_load(&as->idle)) /* delivered by the receiver before us? */
                receive_or_end(as);
            receive_end();
        } else {
            struct timespec ts = {0, WAIT_NS};
            atomic_fetch_add(&g_hub.waiters, 1);
            if (syscall(SYS_futex, &g_hub.seq, FUTEX_WAIT_PRIVATE, seq, &ts, NULL, 0) &&
                errno == ETIMEDOUT)
                (void)process_gone(as);
            atomic_fetch_sub(&g_hub.waiters, 1);
        }
    }
    return atomic_load(&as->gone) ? -ESRCH : 0;
}

/* A list is a hand-over to a sleeping thread: cheap on the caller's own CPU, dear on another. */
static void mapper_pin(struct pf_as *as)
{
    if (!g_stubs.pin)
        return;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu == as->mapper_cpu || cpu >= CPU_SETSIZE)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(as->pid, sizeof set, &set) == 0)
        as->mapper_cpu = cpu;
}

int mapper_post(struct pf_as *as, unsigned n)
{
    BUG_ON(n > LIST_MAX);
    as->req[n].nr = (uint64_t)STUB_OP_END;
    mapper_pin(as);
    for (;;) {
        int r = mapper_wait(as);
        if (r)
            return r;
        /* taken before it is answered: the next one may come at once, through another poller */
        struct seccomp_notif_resp resp = {.id = mapper_take(as).id, .val = STUB_NOTIFY_GO};
        if (ioctl(g_trap.listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) == 0)
            return 0;
        BUG_ON(errno != ENOENT && errno != EINPROGRESS && errno != EINTR);
        if (process_gone(as))
            return -ESRCH;
        /* it was stopped and continued: wait for the call that it makes again */
    }
}

int mapper_run(struct pf_as *as, unsigned n, unsigned *ret_done, int64_t *ret_val)
{
    int r = mapper_post(as, n);

    if (!r)
        r = mapper_wait(as);
    if (r)
        return r;
    struct said s = mapper_said(as);
    uint64_t done = (s.op - STUB_REQ) / STUB_OP_SIZE;
    if (s.op < STUB_REQ || done > n) {
        atomic_store(&as->gone, true); /* no mapper says this */
        return -ESRCH;
    }
    count_add(COUNT_mapper_lists, 1);
    count_add(COUNT_mapper_ops, done);
    *ret_done = (unsigned)done;
    *ret_val = (int64_t)s.val;
    return done < n ? (int)s.val : 0;
}
