/* SPDX-License-Identifier: Apache-2.0
 * tracer.c - the thread that traces all guests: what it waits for, what others want of it.
 *
 * Only the thread that attached may command a tracee, so everything that touches one happens here, one
 * thing after the other. Pollers put requests (which they wait for) and wants (which they do not) into
 * a queue; the tracer takes from the queue and from wait4() in turn. When it has nothing to do and
 * events are in the hands of pollers it looks at the queue a while, then sleeps in wait4();
 * who wants something then sends it a signal (wait.S has how none is lost).
 *
 * Waiting for one tracee takes what others say too, since the host reports the end of a process's
 * first thread only after the others' has been heard. What they say is kept until the loop comes to it.
 *
 * Who may lie: nobody in here; a tracee can be dead at any time.
 * Locks: g_queue.lock (RANK_LEAF). The rest is the tracer's alone.
 *
 * Host: waitpid, ptrace [sentry-ptrace]
 * Host: tgkill, futex, sched_setaffinity, getpid [sentry]
 * Host: capset, gettid, rt_sigaction, sched_yield [before confinement]
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/hash.h>
#include <base/log.h>

#include "internal.h"

#define BUCKETS 256
#define SPIN_NS 30000       /* about what a wake on another CPU costs */
#define SPIN_ROUNDS 64      /* looks between two at the clock */
#define REQUEST_SPINS 20000 /* looks for an answer before the thread sleeps */
#define REQUEST_WAIT_NS 100000000

long tracer_sleep(_Atomic(uint32_t) *asleep, int *status, int options);
void tracer_kicked(int signo, siginfo_t *si, void *context);
void tracer_restorer(void);

struct tracer g_tracer;

static struct {
    struct spin lock;
    struct list_head requests, wants; /* GUARDED_BY(lock) */
    _Atomic(bool) full;
    _Atomic(uint32_t) asleep;
    _Atomic(bool) stop;
    pid_t pid;
} g_queue = {.lock = SPIN_INIT(RANK_LEAF)};

/* The tracer's. */
static struct list_head g_tracees[BUCKETS], g_late;
static pid_t g_newborn;

/* --- what others want --- */

static void kick(void)
{
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in sleep_or_stop() */
    if (atomic_load_explicit(&g_queue.asleep, memory_order_relaxed) &&
        atomic_exchange(&g_queue.asleep, 0))
        syscall(SYS_tgkill, g_queue.pid, g_tracer.tid, TRACER_KICK);
}

void tracer_want(struct pf_thread *t, uint32_t want)
{
    spin_lock(&g_queue.lock);
    if (!t->wants)
        list_add_tail(&t->want_link, &g_queue.wants);
    t->wants |= want;
    atomic_store(&g_queue.full, true);
    spin_unlock(&g_queue.lock);
    kick();
}

/* state: 0 waiting, 1 asleep, 2 done */
void tracer_do(struct request *r)
{
    const struct timespec ts = {0, REQUEST_WAIT_NS};
    uint32_t waiting = 0;

    atomic_store(&r->state, 0);
    spin_lock(&g_queue.lock);
    list_add_tail(&r->link, &g_queue.requests);
    atomic_store(&g_queue.full, true);
    spin_unlock(&g_queue.lock);
    kick();
    for (unsigned i = 0; g_tracer.spin && i < REQUEST_SPINS; i++) {
        if (atomic_load_explicit(&r->state, memory_order_acquire) == 2)
            return;
        __builtin_ia32_pause();
    }
    if (atomic_compare_exchange_strong(&r->state, &waiting, 1))
        while (atomic_load(&r->state) != 2)
            syscall(SYS_futex, &r->state, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0);
}

static void request_run(struct request *r)
{
    r->run(r);
    /* the caller's stack is gone as soon as it reads this; waking its address then wakes nobody */
    if (atomic_exchange(&r->state, 2) == 1)
        syscall(SYS_futex, &r->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool queue_run(void)
{
    bool any = false;

    while (atomic_load(&g_queue.full)) {
        struct request *r = NULL;
        struct pf_thread *t = NULL;
        uint32_t wants = 0;

        spin_lock(&g_queue.lock);
        if (!list_empty(&g_queue.wants)) {
            t = list_first_entry(&g_queue.wants, struct pf_thread, want_link);
            list_del(&t->want_link);
            wants = t->wants;
            t->wants = 0;
        } else if (!list_empty(&g_queue.requests)) {
            r = list_first_entry(&g_queue.requests, struct request, link);
            list_del(&r->link);
        } else {
            atomic_store(&g_queue.full, false);
        }
        spin_unlock(&g_queue.lock);
        if (t)
            thread_wanted(t, wants);
        else if (r)
            request_run(r);
        any |= t || r;
    }
    return any;
}

/* --- what tracees say --- */

static struct list_head *bucket_of(pid_t tid)
{
    return &g_tracees[hash_u64((uint64_t)tid) % BUCKETS];
}

static struct tracee *tracee_find(pid_t tid)
{
    struct tracee *t;

    list_for_each_entry (t, bucket_of(tid), hash_link) {
        if (t->tid == tid)
            return t;
    }
    return NULL;
}

void tracee_add(struct tracee *t, struct pf_as *as, pid_t tid)
{
    t->as = as;
    t->tid = tid;
    list_init(&t->late_link);
    list_init(&t->link);
    list_add(&t->hash_link, bucket_of(tid));
}

void tracee_forget(struct tracee *t)
{
    list_del(&t->hash_link);
    list_del(&t->late_link);
    list_init(&t->hash_link);
    list_init(&t->late_link);
}

/* Wait for anything. Its tid, 0 (@options), -ECHILD. */
static pid_t wait_any(int *status, int options)
{
    pid_t tid;

    do
        tid = (pid_t)waitpid(-1, status, __WALL | __WNOTHREAD | options);
    while (tid < 0 && errno == EINTR);
    return tid < 0 ? -errno : tid;
}

/* Note what @status says about life and death. NULL: of nobody we know. */
static struct tracee *status_note(pid_t tid, int status)
{
    struct tracee *t = tracee_find(tid);

    if (!t) {
        if (WIFSTOPPED(status))
            g_newborn = tid;
        return NULL;
    }
    if (t->running) {
        t->running = false;
        g_tracer.running--;
    }
    if (!WIFSTOPPED(status)) {
        log_debug("ptrace", "tid=%d ended: status %#x", tid, (unsigned)status);
        t->dead = true;
        if (t == &t->as->mapper)
            atomic_store(&t->as->gone, true);
    }
    return t;
}

int tracee_wait(struct tracee *t)
{
    int status = 0;

    if (!list_empty(&t->late_link)) {
        list_del(&t->late_link);
        list_init(&t->late_link);
        return t->late_status;
    }
    while (!t->dead) {
        pid_t tid = wait_any(&status, 0);
        if (tid < 0) { /* it was waited for by nobody else */
            t->dead = true;
            break;
        }
        struct tracee *other = status_note(tid, status);
        if (other == t)
            break;
        if (!other)
            continue;
        other->late_status = status;
        list_del(&other->late_link);
        list_add_tail(&other->late_link, &g_late);
    }
    return status;
}

bool tracer_newborn(pid_t tid)
{
    int status;
    pid_t r = tid;

    if (g_newborn != tid) {
        do
            r = waitpid(tid, &status, __WALL | __WNOTHREAD);
        while (r < 0 && errno == EINTR);
        if (r != tid || !WIFSTOPPED(status))
            return false;
    }
    g_newborn = 0;
    return true;
}

static void status_handle(struct tracee *t, int status)
{
    if (t == &t->as->mapper)
        tspace_died(t->as);
    else
        event_stopped(t, status);
}

static bool late_run(void)
{
    bool any = false;

    while (!list_empty(&g_late)) {
        struct tracee *t = list_first_entry(&g_late, struct tracee, late_link);

        list_del(&t->late_link);
        list_init(&t->late_link);
        status_handle(t, t->late_status);
        any = true;
    }
    return any;
}

/* Take what has been said, until nobody says anything. */
static bool wait_run(void)
{
    int status;
    bool any = false;

    while (g_tracer.running) {
        pid_t tid = wait_any(&status, WNOHANG);
        if (tid <= 0)
            break;
        struct tracee *t = status_note(tid, status);
        if (t)
            status_handle(t, status);
        any = true;
        any |= late_run();
    }
    return any;
}

/* --- the loop --- */

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Answers to events come soon: true when something came. */
static bool spin(void)
{
    if (!g_tracer.spin || !g_tracer.open_events)
        return false;
    int64_t end = now_ns() + SPIN_NS;
    do {
        for (unsigned i = 0; i < SPIN_ROUNDS; i++) {
            if (atomic_load_explicit(&g_queue.full, memory_order_acquire))
                return true;
            __builtin_ia32_pause();
        }
    } while (now_ns() < end);
    return false;
}

static void sleep_or_stop(void)
{
    const struct timespec ts = {0, REQUEST_WAIT_NS};
    int status;
    long tid = -EINTR;

    atomic_store_explicit(&g_queue.asleep, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in kick() */
    if (!atomic_load(&g_queue.full))
        tid = tracer_sleep(&g_queue.asleep, &status, __WALL | __WNOTHREAD);
    if (tid == -ECHILD) /* even the template has died */
        syscall(SYS_futex, &g_queue.asleep, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0);
    atomic_store_explicit(&g_queue.asleep, 0, memory_order_relaxed);
    if (tid <= 0)
        return;
    struct tracee *t = status_note((pid_t)tid, status);
    if (t)
        status_handle(t, status);
}

static void signals_prepare(void)
{
    struct {
        void (*handler)(int, siginfo_t *, void *);
        uint64_t flags;
        void (*restorer)(void);
        uint64_t mask;
    } sa = {tracer_kicked, SA_SIGINFO | 0x04000000 /* SA_RESTORER */, tracer_restorer, ~0ULL};
    sigset_t set;

    syscall(SYS_rt_sigaction, TRACER_KICK, &sa, NULL, 8);
    sigfillset(&set);
    const int open[] = {TRACER_KICK, SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
    for (size_t i = 0; i < ARRAY_SIZE(open); i++)
        sigdelset(&set, open[i]);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void *tracer_main(void *arg)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};

    (void)arg;
    signals_prepare();
    syscall(SYS_capset, &h, none); /* for tracing its own it needs none */
    while (!atomic_load(&g_queue.stop)) {
        bool any = queue_run();

        any |= late_run();
        any |= wait_run();
        if (any || spin() || tspace_pool_refill())
            continue;
        sleep_or_stop();
    }
    return NULL;
}

struct hello {
    struct request r;
    int result;
};

static void say_hello(struct request *r)
{
    g_tracer.tid = (pid_t)syscall(SYS_gettid);
    container_of(r, struct hello, r)->result = fds_leave();
}

int tracer_start(void)
{
    struct hello hello = {.r.run = say_hello};

    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&g_tracees[i]);
    list_init(&g_late);
    list_init(&g_queue.requests);
    list_init(&g_queue.wants);
    atomic_store(&g_queue.stop, false);
    atomic_store(&g_queue.asleep, 0);
    g_queue.pid = getpid();
    g_tracer.spin = g_stubs.pin;
    /* queued before it is there: its tid is known before anybody can want to wake it */
    list_add(&hello.r.link, &g_queue.requests);
    atomic_store(&g_queue.full, true);
    if (pthread_create(&g_tracer.thread, NULL, tracer_main, NULL))
        return -EAGAIN;
    while (atomic_load(&hello.r.state) != 2)
        sched_yield();
    tracer_roam(false);
    return hello.result;
}

static void say_stop(struct request *r)
{
    (void)r;
    atomic_store(&g_queue.stop, true);
}

void tracer_stop(void)
{
    struct request stop = {.run = say_stop};

    tracer_do(&stop);
    pthread_join(g_tracer.thread, NULL);
    g_tracer = (struct tracer){0};
}

/* It works where guests run: a hand-over on one CPU costs less than one across. */
void tracer_roam(bool roam)
{
    if (!g_stubs.pin)
        return;
    g_tracer.spin = !roam;
    (void)sched_setaffinity(g_tracer.tid, sizeof g_stubs.all_cpus,
                            roam ? &g_stubs.all_cpus : &g_stubs.guest_cpus);
}
