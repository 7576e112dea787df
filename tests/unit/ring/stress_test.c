/* SPDX-License-Identifier: Apache-2.0
 * stress_test.c - a guest and a Sentry at one lane, each on its own: two processes that share
 * nothing but the mapping, and two threads (the same code, so that ThreadSanitizer sees it).
 *
 * The guest posts calls in the slot and batches in the queue, waits by looking or by sleeping; the
 * Sentry answers, completes out of order, sleeps at random as its poller does, and lets the guest look
 * for its answers for a while, or not at all, which it changes while the guest looks. Some of its
 * wakes it forgets; they are repeated until the guest has been seen awake. Every reply must belong to
 * its call; a wake that gets lost shows as a hang, which the alarm ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ring/queue.h>
#include <ring/slot.h>

#define SQ_ENTRIES 32u
#define CQ_ENTRIES 64u
#define ROUNDS 150000
#define LIMIT_NS 2500000000LL /* of one variant, however busy the machine is */
#define LOOKS 200             /* at a word before the CPU is given up */
#define SPINS_MAX 300         /* looks that the guest is allowed before it parks */
#define REKICK_NS 200000

/* Numbers the "Sentry" understands. */
#define NR_ECHO 1 /* result = 3 * arg[0] + 1 */
#define NR_WAIT 2 /* event: answered when more than arg[0] completions have been written */
#define NR_QUIT 3

struct shared {
    struct lane lane;
    struct ring_poller_word poller;
    _Alignas(64) struct ring_sqe sq[SQ_ENTRIES];
    _Alignas(64) struct ring_cqe cq[CQ_ENTRIES];
    _Alignas(64) char failed[128]; /* by the Sentry's side, which has no cmocka */
    _Atomic(uint32_t) repeated;    /* wakes; read when it has ended */
};

static uint32_t random_next(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void relax(unsigned *n)
{
    ring_pause();
    if (++*n % LOOKS == 0)
        sched_yield();
}

static void futex_wait(_Atomic(uint32_t) *word, uint32_t expect, const struct timespec *most)
{
    syscall(SYS_futex, word, FUTEX_WAIT, expect, most, NULL, 0);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- the Sentry's side --- */

struct sentry {
    struct shared *m;
    struct ring_consumer c;
    uint32_t seed;
    uint64_t flying[CQ_ENTRIES], args[CQ_ENTRIES]; /* taken, not completed: user_data */
    unsigned n;
    bool event_open; /* a WAIT that is not answered yet */
    uint64_t wait_for;
    struct kick {
        struct lane_slot *slot;
        _Atomic(uint32_t) *parked;
        bool waiting; /* woken, or not, and not seen awake since */
        int64_t since;
    } kicks[2];
    unsigned repeated;
    bool last; /* nobody would repeat this wake */
};

static bool has_work(const struct sentry *s)
{
    return ring_load_relaxed(&s->m->lane.call.state) == SLOT_POSTED ||
           (!s->event_open && ring_load_relaxed(&s->m->lane.event.state) != SLOT_FREE) ||
           ring_consumer_ready(&s->c) || s->n;
}

static void answer(struct sentry *s, struct kick *k, uint64_t value)
{
    if (!slot_reply(k->slot, k->parked, CALL_DONE, value))
        return;
    k->waiting = true;
    k->since = now_ns();
    if (s->last || random_next(&s->seed) % 64)
        slot_wake(k->slot);
}

static void rekick(struct sentry *s)
{
    for (unsigned i = 0; i < 2; i++) {
        struct kick *k = &s->kicks[i];
        if (!k->waiting)
            continue;
        if (!ring_load_relaxed(k->parked) || ring_load_acquire(&k->slot->state) != SLOT_FREE) {
            k->waiting = false;
        } else if (now_ns() - k->since > REKICK_NS) {
            slot_wake(k->slot);
            s->repeated++;
            k->since = now_ns();
        }
    }
}

static void sentry_queue(struct sentry *s)
{
    struct ring_sqe_head h = {0};
    uint64_t args[6];
    enum ring_take r;

    for (unsigned most = random_next(&s->seed) % 40; most; most--) {
        r = ring_consumer_take(&s->c, &h, args);
        if (r == RING_EMPTY)
            break;
        if (r == RING_VIOLATION || h.nr != NR_ECHO || args[5] != args[0] + 5) {
            snprintf(s->m->failed, sizeof s->m->failed, "take: %d nr %u", (int)r, h.nr);
            return;
        }
        s->flying[s->n] = h.user_data;
        s->args[s->n++] = args[0];
        ring_consumer_prefetch(&s->c, 4);
    }
    for (unsigned most = random_next(&s->seed) % 40; most && s->n; most--) {
        unsigned i = random_next(&s->seed) % s->n;
        ring_consumer_complete(&s->c, s->flying[i], (int64_t)(3 * s->args[i] + 1), 0);
        s->flying[i] = s->flying[--s->n];
        s->args[i] = s->args[s->n];
    }
    ring_consumer_publish_taken(&s->c);
}

/* One look at everything. false: the guest has said to quit. */
static bool sentry_round(struct sentry *s)
{
    struct lane *l = &s->m->lane;
    uint64_t args[6];

    if (ring_load_acquire(&l->call.state) == SLOT_POSTED) {
        uint32_t nr = slot_take_call(&l->call, args);
        s->last = nr == NR_QUIT;
        answer(s, &s->kicks[0], 3 * args[0] + 1);
        if (nr == NR_QUIT)
            return false;
    }
    if (!s->event_open && ring_load_acquire(&l->event.state) != SLOT_FREE) {
        struct lane_slot e;
        slot_copy(&e, &l->event);
        s->event_open = true;
        s->wait_for = e.arg[0];
    }
    sentry_queue(s);
    if (s->event_open && s->c.completed > s->wait_for) {
        s->event_open = false;
        answer(s, &s->kicks[1], 0);
    }
    rekick(s);
    if (random_next(&s->seed) % 8 == 0)
        ring_store_relaxed(&l->sentry.spins,
                           random_next(&s->seed) % 2 ? random_next(&s->seed) % SPINS_MAX : 0);
    if (random_next(&s->seed) % 8 == 0)
        ring_store_relaxed(&l->sentry.yields, random_next(&s->seed) % 4);
    return true;
}

/* As poller_sleep() does it. */
static void sentry_sleep(struct sentry *s)
{
    _Atomic(uint32_t) *asleep = &s->m->poller.asleep;
    bool waiting = s->kicks[0].waiting || s->kicks[1].waiting;
    struct timespec most = {0, REKICK_NS};

    ring_store_relaxed(asleep, 1);
    ring_full_fence(); /* pairs with the one in ring_bell() */
    if (!has_work(s))
        futex_wait(asleep, 1, waiting ? &most : NULL);
    ring_store_release(asleep, 0);
}

static void *sentry_main(void *arg)
{
    struct shared *m = arg;
    struct sentry s = {.m = m,
                       .seed = 88172645,
                       .kicks = {{&m->lane.call, &m->lane.guest.call_parked, false, 0},
                                 {&m->lane.event, &m->lane.guest.event_parked, false, 0}},
                       .c = {.sq = m->sq,
                             .cq = m->cq,
                             .sentry = &m->lane.sentry,
                             .sq_entries = SQ_ENTRIES,
                             .cq_entries = CQ_ENTRIES,
                             .sq_shift = ring_shift(SQ_ENTRIES),
                             .cq_shift = ring_shift(CQ_ENTRIES)}};
    unsigned looks = 0;

    while (sentry_round(&s) && !m->failed[0]) {
        if (has_work(&s))
            continue;
        if (random_next(&s.seed) % 16 == 0)
            sentry_sleep(&s);
        else
            relax(&looks);
    }
    ring_store_relaxed(&m->repeated, s.repeated);
    return NULL;
}

/* --- the guest's side --- */

struct guest {
    struct shared *m;
    struct ring_producer p;
    uint32_t seed;
    uint64_t next, expected_sum, sum;
};

static void ring_bell(struct shared *m)
{
    ring_full_fence(); /* pairs with the one in sentry_sleep() */
    while (ring_load_relaxed(&m->poller.asleep) && ring_futex_wake(&m->poller.asleep) != 1)
        ;
}

/* Until the slot is free again: by looking, or asleep. */
static void slot_wait(struct guest *g, struct lane_slot *s, _Atomic(uint32_t) *parked)
{
    const struct lane_sentry *told = &g->m->lane.sentry;
    uint32_t looks = 0, yields = 0, most = ring_load_relaxed(&told->spins);

    while (ring_load_acquire(&s->state) != SLOT_FREE) {
        if (looks < most && ring_load_relaxed(&told->spins)) {
            relax(&looks);
            continue;
        }
        if (yields++ < ring_load_relaxed(&told->yields)) {
            sched_yield();
            continue;
        }
        ring_store_relaxed(parked, 1);
        ring_full_fence(); /* pairs with the one in slot_release() */
        if (ring_load_acquire(&s->state) != SLOT_FREE)
            futex_wait(&s->state, SLOT_POSTED, NULL);
        ring_store_relaxed(parked, 0);
    }
}

static uint64_t post(struct guest *g, struct lane_slot *s, _Atomic(uint32_t) *parked, uint32_t nr,
                     uint64_t arg)
{
    s->nr = nr;
    s->arg[0] = arg;
    ring_store_release(&s->state, SLOT_POSTED);
    ring_bell(g->m);
    slot_wait(g, s, parked);
    return s->arg[0];
}

static uint64_t guest_call(struct guest *g, uint32_t nr, uint64_t arg)
{
    return post(g, &g->m->lane.call, &g->m->lane.guest.call_parked, nr, arg);
}

static void guest_submit(struct guest *g)
{
    struct ring_sqe *e;
    unsigned n = random_next(&g->seed) % 48;

    for (; n && (e = ring_producer_get(&g->p)) != NULL; n--) {
        e->nr = NR_ECHO;
        e->flags = 0;
        e->args[0] = g->next;
        e->args[5] = g->next + 5;
        e->user_data = g->next++;
    }
    if (ring_producer_submit(&g->p))
        ring_bell(g->m);
}

static void guest_reap(struct guest *g)
{
    const struct ring_cqe *c;
    uint64_t leave = random_next(&g->seed) % 20;

    while (g->p.submitted - g->p.reaped > leave) {
        if ((c = ring_producer_peek(&g->p)) != NULL) {
            assert_int_equal(c->result, 3 * c->user_data + 1);
            g->sum += c->user_data;
            ring_producer_advance(&g->p, 1);
        } else if (random_next(&g->seed) % 64 == 0) {
            post(g, &g->m->lane.event, &g->m->lane.guest.event_parked, NR_WAIT, g->p.reaped);
        } else {
            ring_pause();
        }
    }
}

static void guest_main(struct shared *m)
{
    struct guest g = {.m = m,
                      .seed = 2463534242u,
                      .p = {.sq = m->sq,
                            .cq = m->cq,
                            .sentry = &m->lane.sentry,
                            .sq_entries = SQ_ENTRIES,
                            .cq_entries = CQ_ENTRIES,
                            .sq_shift = ring_shift(SQ_ENTRIES),
                            .cq_shift = ring_shift(CQ_ENTRIES)}};
    int64_t end = now_ns() + LIMIT_NS;
    int rounds = 0;

    for (; rounds < ROUNDS && now_ns() < end; rounds++) {
        if (random_next(&g.seed) % 2) {
            uint64_t x = g.next * 17;
            assert_int_equal(guest_call(&g, NR_ECHO, x), 3 * x + 1);
        } else {
            guest_submit(&g);
            guest_reap(&g);
        }
        if (random_next(&g.seed) % 256 == 0) {
            struct timespec nap = {0, 100000};
            nanosleep(&nap, NULL);
        }
    }
    while (g.p.submitted != g.p.reaped)
        guest_reap(&g);
    assert_int_equal(g.sum, g.next * (g.next - 1) / 2); /* each once */
    guest_call(&g, NR_QUIT, 0);
    assert_string_equal(m->failed, "");
    assert_true(rounds > 50);
}

static struct shared *shared_new(void)
{
    struct shared *m =
        mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(m, MAP_FAILED);
    return m;
}

static void two_processes(void **state)
{
    struct shared *m = shared_new();
    int status;

    (void)state;
    alarm(50);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sentry_main(m);
        _exit(m->failed[0] != 0);
    }
    guest_main(m);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(ring_load_relaxed(&m->repeated) > 0); /* what was forgotten was also missed */
    munmap(m, sizeof *m);
}

static void two_threads(void **state)
{
    struct shared *m = shared_new();
    pthread_t t;

    (void)state;
    alarm(50);
    assert_int_equal(pthread_create(&t, NULL, sentry_main, m), 0);
    guest_main(m);
    pthread_join(t, NULL);
    munmap(m, sizeof *m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_processes), /* before there are threads */
        cmocka_unit_test(two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
