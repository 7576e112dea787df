/* SPDX-License-Identifier: Apache-2.0
 * lane_storm.c - mutated lane entries for the Sentry's real dispatcher.
 *
 *   lane_storm [--entries N] [--seed S] [--min COUNT] [--jobs GENERATIONS AT A TIME]
 *
 * Each generation is a process of its own with a fresh sandbox (fakebox.h), whose guests post what a
 * hostile program could: calls of every row of the table with arguments that are nearly right, by call
 * slot, by event slot and by submission queue; signals and frames that nobody raised; broken tags and
 * states. Every second generation has a thread that writes the lanes while they are read. At the end
 * of a generation every process must die when it is killed, and a new one be served correctly.
 *
 * Passed: no generation died, and each row was posted at least COUNT times by each way. A generation
 * that died is run again by --seed with the number printed. */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/err.h>
#include <base/fiber.h>
#include <host/io.h>
#include <kernel/signal.h>
#include <mm/mm.h>
#include <syscall/sys.h>

#include "fakebox.h"
#include "values.h"

#define GENERATION 500000ULL /* entries of one process */
#define POPULATION 20        /* guests at least, when spawning works */
#define WAITS_SIGNAL 300     /* visits without an answer until it gets a signal */
#define WAITS_KILL 700
#define WAITS_LOST 3000000 /* a killed process has not gone: failure */
#define STILL_MAX 12000    /* looks, 5 ms each, at a generation that does not go on */
#define JOBS_MAX 16u
#define MEMORY (192ULL << 20)
#define MEMORY_HIGH (150ULL << 20)

#define SETUP 0xe000ULL /* struct ring_setup */
#define STACK 0xf800ULL

enum way { BY_SLOT, BY_EVENT, BY_QUEUE, WAYS };

/* Shared by the generations. */
struct totals {
    _Atomic(uint64_t) posted, spawned, spawn_failed, signals, violations, full;
    _Atomic(uint64_t) counts[SYS_NR_MAX][WAYS];
    _Atomic(uint64_t) succeeded[SYS_NR_MAX]; /* by slot */
    _Atomic(uint64_t) progress[JOBS_MAX];    /* entries of the generation in that place */
};
static struct totals *g_totals;
static unsigned g_place;
static uint64_t g_seed, g_target, g_posted;
static bool g_scribble, g_full;

/* --- posting --- */

static void count(uint32_t nr, enum way way)
{
    g_posted++;
    g_totals->posted++;
    g_totals->progress[g_place] = g_posted;
    if (nr < SYS_NR_MAX)
        g_totals->counts[nr][way]++;
}

static void post_slot(struct guest *g)
{
    struct lane_slot *s = &g->thread.lane->call;
    uint64_t args[6];
    uint32_t nr = any_call(args);

    s->nr = nr;
    memcpy(s->arg, args, sizeof args);
    s->aux = rnd();
    atomic_store(&s->state, SLOT_POSTED);
    g->slot_nr = nr;
    g->slot_posted = true;
    count(nr, BY_SLOT);
}

static void slot_answered(struct guest *g)
{
    const struct lane_slot *s = &g->thread.lane->call;

    if (g->slot_posted && g->slot_nr < SYS_NR_MAX && s->nr == CALL_DONE && (int64_t)s->arg[0] >= 0)
        g_totals->succeeded[g->slot_nr]++;
    g->slot_posted = false;
}

/* A frame as the host makes it, with registers of the guest's choice; sometimes not. */
static void frame_fill(struct guest *g)
{
    struct pf_regs regs;

    for (unsigned i = 0; i < sizeof regs / 8; i++)
        ((uint64_t *)&regs)[i] = any_word();
    regs.rip = chance(8) ? any_address() : PROGRAM_TEXT + (below(PROGRAM_TEXT_SIZE / 8) * 8 + 7);
    if (chance(50))
        regs.rip = STUB_TEXT + below(STUB_TEXT_SIZE);
    regs.rsp = chance(16) ? any_address() : PROGRAM_DATA + STACK;
    regs.fs_base = 0;
    (void)frame_build(g->thread.lane, g->thread.lane_addr, &regs, NULL, 0);
    if (chance(4)) {
        uint64_t *w = (uint64_t *)(void *)((uint8_t *)g->thread.lane + STUB_START_FRAME);
        for (uint64_t n = below(8); n; n--)
            w[below(38)] = chance(2) ? any_word() : g->thread.lane_addr + STUB_START_FPU;
    }
}

static void post_event(struct guest *g, uint32_t signo, uint32_t nr, const uint64_t args[6])
{
    struct lane_slot *s = &g->thread.lane->event;

    frame_fill(g);
    s->nr = nr;
    memcpy(s->arg, args, 6 * sizeof *args);
    s->aux = g->thread.lane_addr + STUB_START_FRAME;
    if (chance(2000)) {
        s->aux = chance(2) ? any_address() : g->thread.lane_addr + below(LANE_SIZE + 64);
        g_totals->violations++;
    }
    atomic_store(&s->state, signo);
    count(nr, BY_EVENT);
}

static void post_any_event(struct guest *g)
{
    static const uint32_t others[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, TRAP_INTERRUPT};
    uint64_t args[6];
    uint32_t nr = any_call(args), signo = SIGSYS;

    if (atomic_load(&g->thread.interrupting) && !chance(8)) {
        signo = TRAP_INTERRUPT;
    } else if (chance(64)) {
        signo = others[below(ARRAY_SIZE(others))];
        if (chance(2)) { /* a page fault */
            args[0] = any_address();
            args[1] = below(32);
            args[2] = below(3);
            args[3] = 14;
        }
    } else if (chance(3000)) {
        signo = chance(2) ? (uint32_t)rnd() | 1 : 1 + (uint32_t)below(64);
        g_totals->violations++;
    }
    post_event(g, signo, nr, args);
}

static void ring_setup_post(struct guest *g)
{
    static const uint32_t sizes[][2] = {{64, 64}, {8, 32}, {1, 1}, {256, 256}, {16, 8}, {3, 8}};
    const uint32_t *size = sizes[chance(8) ? below(ARRAY_SIZE(sizes)) : below(2)];
    struct ring_setup u = {.sq_entries = size[0], .cq_entries = size[1]};
    struct mm *mm = g->task ? task_mm_get(g->task) : NULL;

    if (!mm)
        return;
    int r = copy_out(mm, UADDR(PROGRAM_DATA + SETUP), &u, sizeof u); /* may park */
    mm_put(mm);
    if (r || !g->used || atomic_load(&g->thread.lane->event.state) != SLOT_FREE)
        return;
    memcpy(g->ring_asked, size, sizeof g->ring_asked);
    g->ring_open = false;
    post_event(g, SIGSYS, RING_CTL_NR,
               (uint64_t[6]){RING_CTL_SETUP, PROGRAM_DATA + SETUP, 0, 0, 0, 0});
}

static bool ring_ready(struct guest *g)
{
    uint64_t sq = g->ring_asked[0], cq = g->ring_asked[1];
    uint64_t cq_at = (sq * sizeof(struct ring_sqe) + 4095) & ~4095ULL;

    if (!g->ring || cq_at + cq * sizeof(struct ring_cqe) > g->ring_bytes || !sq || !cq)
        return false;
    if (!g->ring_open)
        g->producer = (struct ring_producer){.sq = (struct ring_sqe *)(void *)g->ring,
                                             .cq = (struct ring_cqe *)(void *)(g->ring + cq_at),
                                             .sentry = &g->thread.lane->sentry,
                                             .sq_entries = g->ring_asked[0],
                                             .cq_entries = g->ring_asked[1],
                                             .sq_shift = ring_shift(g->ring_asked[0]),
                                             .cq_shift = ring_shift(g->ring_asked[1])};
    g->ring_open = true;
    return true;
}

static bool post_queue(struct guest *g)
{
    bool any = false;

    while (ring_producer_peek(&g->producer))
        ring_producer_advance(&g->producer, 1);
    for (uint64_t n = 1 + below(16); n; n--) {
        struct ring_sqe *e = ring_producer_get(&g->producer);
        uint64_t args[6];
        if (!e && chance(500)) { /* more than there is room for */
            e = &g->producer.sq[g->producer.prepared++ & (g->producer.sq_entries - 1)];
            g_totals->violations++;
        }
        if (!e)
            break;
        uint32_t nr = any_call(args);
        e->nr = (uint16_t)nr;
        e->flags = (uint16_t)(chance(100) ? rnd() : below(8) ? 0 : below(4));
        memcpy(e->args, args, sizeof args);
        e->user_data = rnd();
        count(e->nr, BY_QUEUE);
        any = true;
    }
    ring_producer_submit(&g->producer);
    if (chance(5000))
        g->producer.sq[below(g->producer.sq_entries)].tag = (uint32_t)rnd();
    return any;
}

/* --- the driver --- */

static void send_signal(struct guest *g, int signo)
{
    g_totals->signals++;
    if (g->task)
        (void)signal_send_process(g->task->process, signo, NULL);
}

static void wait_too_long(struct guest *g)
{
    static const int gentle[] = {SIGUSR1, SIGCONT, SIGALRM, SIGCHLD, SIGTERM, SIGSTOP};

    if (++g->waits == WAITS_SIGNAL)
        send_signal(g, gentle[below(ARRAY_SIZE(gentle))]);
    else if (g->waits % WAITS_KILL == 0)
        send_signal(g, SIGKILL);
    if (g->waits > WAITS_LOST) {
        fprintf(stderr, "a killed process has not gone: seed %llu, nr %u, call %u, event %u\n",
                (unsigned long long)g_seed, g->task ? g->task->call.nr : 0,
                g->thread.lane->call.state, g->thread.lane->event.state);
        abort();
    }
}

static void visit(struct guest *g)
{
    struct lane *l = g->thread.lane;
    bool slot_busy = atomic_load(&l->call.state) != SLOT_FREE;

    if (g->replied_exit)
        return;
    if (atomic_load(&l->event.state) != SLOT_FREE) {
        wait_too_long(g);
        return;
    }
    if (slot_busy) {
        if (atomic_load(&l->call.state) != SLOT_POSTED || chance(500))
            atomic_store(&l->call.state, SLOT_FREE); /* the guest's word may be anything */
        else if (atomic_load(&g->thread.interrupting))
            post_any_event(g);
        wait_too_long(g);
        return;
    }
    g->waits = 0;
    slot_answered(g);
    if (ring_ready(g) && chance(6) && post_queue(g))
        return;
    if (atomic_load(&g->thread.interrupting) || chance(2))
        post_any_event(g);
    else if (!g->ring && chance(20))
        ring_setup_post(g);
    else
        post_slot(g);
}

static unsigned alive(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < BOX_GUESTS; i++)
        n += box_guests[i].used;
    return n;
}

static void kill_all(void)
{
    for (unsigned i = 0; i < BOX_GUESTS; i++)
        if (box_guests[i].used)
            send_signal(&box_guests[i], SIGKILL);
}

static void population_keep(void)
{
    static unsigned failures;

    if (alive() >= POPULATION)
        return;
    int r = box_spawn(chance(4) ? 0 : 1000);
    g_totals->spawned += r == 0;
    g_totals->spawn_failed += r != 0;
    failures = r ? failures + 1 : 0;
    if (failures % 1000 == 999)
        kill_all();
    if (failures > 20000 &&
        r == -ENOMEM) { /* what outlives processes (shared memory, files) fills it */
        g_full = true;
    } else if (failures > 200000) {
        fprintf(stderr, "no process can be made any more: %d, seed %llu\n", r,
                (unsigned long long)g_seed);
        abort();
    }
}

static void interrupt_answer(struct guest *g)
{
    if (g->used && !g->replied_exit && atomic_load(&g->thread.interrupting) &&
        atomic_load(&g->thread.lane->event.state) == SLOT_FREE)
        post_event(g, TRAP_INTERRUPT, 0, (uint64_t[6]){0});
}

/* All die; then a new process gets right answers. */
static void generation_end(void)
{
    for (unsigned n = 0; alive(); n++) {
        if (n % 1000 == 0)
            kill_all();
        if (n > WAITS_LOST) {
            fprintf(stderr, "%u guests do not die, seed %llu\n", alive(),
                    (unsigned long long)g_seed);
            abort();
        }
        for (unsigned i = 0; i < BOX_GUESTS; i++)
            interrupt_answer(&box_guests[i]);
        fiber_yield();
    }
    if (g_full) {
        g_totals->full++;
        box_stop();
        return;
    }
    int r = -1;
    for (unsigned n = 0; r && n < 1000; n++, fiber_yield())
        r = box_spawn(0);
    struct guest *g = &box_guests[0];
    for (unsigned i = 0; i < BOX_GUESTS; i++)
        if (box_guests[i].used)
            g = &box_guests[i];
    if (r || !g->task) {
        fprintf(stderr, "no new process: %d\n", r);
        abort();
    }
    struct lane_slot *s = &g->thread.lane->call;
    s->nr = 39; /* getpid */
    atomic_store(&s->state, SLOT_POSTED);
    for (unsigned n = 0; atomic_load(&s->state) != SLOT_FREE && n < 1000000; n++)
        fiber_yield();
    if (atomic_load(&s->state) != SLOT_FREE || s->nr != CALL_DONE ||
        s->arg[0] != (uint64_t)g->task->process->pid) {
        fprintf(stderr, "getpid: %llu\n", (unsigned long long)s->arg[0]);
        abort();
    }
    box_stop();
}

static _Atomic(bool) g_over;

/* Another thread of the guests: words change while they are read. */
static void *scribbler(void *arg)
{
    uint64_t x = g_seed | 1;

    (void)arg;
    while (!atomic_load(&g_over)) {
        for (unsigned n = 0; n < 60; n++) {
            x = x * 6364136223846793005ULL + 1442695040888963407ULL;
            struct guest *g = &box_guests[(x >> 33) % BOX_GUESTS];
            if (!g->used || !g->thread.lane)
                continue;
            volatile uint64_t *w = (volatile uint64_t *)(void *)g->thread.lane;
            uint64_t at = x >> 40 & 1 ? (x >> 41) % 24 : STUB_START_FRAME / 8 + (x >> 41) % 38;
            if (at % 8 == 0 && at < 16 && (x >> 20) % 500)
                continue; /* a state word: seldom, since it mostly ends the process */
            w[at] = x >> 55 & 1 ? x : PROGRAM_DATA + (x & 0xfff8);
        }
        usleep(100);
    }
    return NULL;
}

static void drive(void)
{
    pthread_t t;
    unsigned next = 0;

    if (g_scribble && pthread_create(&t, NULL, scribbler, NULL))
        abort();
    for (uint64_t round = 0; g_posted < g_target && !g_full; round++) {
        if (round % 8 == 0)
            population_keep();
        if (round % 4096 == 0 && memfile_used(box_memfile()) > MEMORY_HIGH)
            kill_all();
        for (unsigned n = 0; n < 4; n++) {
            struct guest *g = &box_guests[next++ % BOX_GUESTS];
            if (g->used)
                visit(g);
        }
        fiber_yield();
    }
    atomic_store(&g_over, true);
    if (g_scribble)
        pthread_join(t, NULL);
    generation_end();
}

static void aborted(int signo)
{
    (void)signo;
    fprintf(stderr, "seed %llu, %llu of %llu entries\n", (unsigned long long)g_seed,
            (unsigned long long)g_posted, (unsigned long long)g_target);
    box_dump();
    _exit(134);
}

struct generation {
    pid_t pid; /* 0: none */
    uint64_t seed, entries, last;
    unsigned still;
};
static struct generation g_running[JOBS_MAX];

static void generation_start(unsigned place, uint64_t seed, uint64_t entries)
{
    fflush(NULL);
    g_totals->progress[place] = 0;
    pid_t pid = fork();

    if (pid == 0) {
        g_seed = seed;
        chance_seed(seed);
        g_target = entries;
        g_place = place;
        signal(SIGABRT, aborted);
        g_scribble = seed % 2;
        program_make();
        box_run(&(struct box_config){.memory_bytes = MEMORY,
                                     .io_engine = seed % 3 ? IO_EPOLL : IO_URING,
                                     .stats = seed / 2 %
                                              2, /* 0: calls are answered where they are taken */
                                     .patch_after = seed % 4 ? (uint32_t)(seed % 4) : 0,
                                     .text = program_text,
                                     .data = program_data},
                drive);
        _exit(0);
    }
    if (pid < 0)
        abort();
    g_running[place] = (struct generation){.pid = pid, .seed = seed, .entries = entries};
}

/* Has it ended? Then 1 if it failed. One that posts nothing any more is killed with SIGABRT. */
static unsigned generation_look(unsigned place)
{
    struct generation *g = &g_running[place];
    uint64_t now = g_totals->progress[place];
    int status = 0;

    if (!g->pid)
        return 0;
    if (waitpid(g->pid, &status, WNOHANG) == g->pid) {
        g->pid = 0;
        if (status)
            printf("seed %llu: wait status 0x%x\n", (unsigned long long)g->seed, (unsigned)status);
        return status != 0;
    }
    g->still = g->last == now ? g->still + 1 : 0;
    g->last = now;
    if (g->still == STILL_MAX)
        kill(g->pid, SIGABRT); /* says what it does */
    else if (g->still > STILL_MAX * 2)
        kill(g->pid, SIGKILL);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static unsigned report(int64_t ms, uint64_t min)
{
    unsigned rows = 0, rare = 0, succeeded = 0;
    uint64_t least[WAYS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        if (!sys_row(nr)->name)
            continue;
        rows++;
        succeeded += g_totals->succeeded[nr] != 0;
        for (unsigned w = 0; w < WAYS; w++) {
            least[w] = MIN(least[w], g_totals->counts[nr][w]);
            if (g_totals->counts[nr][w] < min) {
                printf("%s: %llu times by way %u\n", sys_row(nr)->name,
                       (unsigned long long)g_totals->counts[nr][w], w);
                rare++;
            }
        }
    }
    printf("%u rows succeeded by slot; ", succeeded);
    printf(
        "%llu entries in %.1f s (%.0f a second); %u rows, each at least %llu times by slot, %llu "
        "by "
        "event, %llu by queue; %llu processes (%llu could not be), %llu signals, %llu violations, "
        "%llu generations ended by full memory\n",
        (unsigned long long)g_totals->posted, (double)ms / 1e3,
        (double)g_totals->posted * 1e3 / (double)(ms + 1), rows, (unsigned long long)least[BY_SLOT],
        (unsigned long long)least[BY_EVENT], (unsigned long long)least[BY_QUEUE],
        (unsigned long long)g_totals->spawned, (unsigned long long)g_totals->spawn_failed,
        (unsigned long long)g_totals->signals, (unsigned long long)g_totals->violations,
        (unsigned long long)g_totals->full);
    fflush(stdout);
    return rare;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"entries", required_argument, NULL, 'n'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"min", required_argument, NULL, 'm'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {0}};
    uint64_t entries = 300000, seed = 1, min = 20, jobs = 1;
    int64_t start = now_ms(), told = start;
    unsigned failed = 0;

    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == '?')
            return 2;
        *(o == 'n'   ? &entries
          : o == 's' ? &seed
          : o == 'j' ? &jobs
                     : &min) = strtoull(optarg, NULL, 0);
    }
    jobs = MIN(MAX(jobs, 1UL), (uint64_t)JOBS_MAX);
    g_totals =
        mmap(NULL, sizeof *g_totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g_totals == MAP_FAILED)
        return 1;
    for (uint64_t given = 0, running = 1; given < entries || running; usleep(5000)) {
        running = 0;
        for (unsigned i = 0; i < jobs; i++) {
            bool runs = g_running[i].pid;
            failed += generation_look(i);
            if (runs && !g_running[i].pid) /* one that ended early */
                given -= g_running[i].entries - MIN(g_totals->progress[i], g_running[i].entries);
            if (!g_running[i].pid && given < entries && failed < 10) {
                generation_start(i, seed++, MIN(GENERATION, entries - given));
                given += MIN(GENERATION, entries - given);
            }
            running += g_running[i].pid != 0;
        }
        if (failed >= 10)
            given = entries;
        if (now_ms() - told > 60000) {
            told = now_ms();
            (void)report(told - start, 0);
        }
    }
    failed += report(now_ms() - start, min);
    return failed ? 1 : 0;
}
