/* SPDX-License-Identifier: Apache-2.0
 * wait.c - single figures about waiting, the same natively and inside; bench/load runs it.
 *
 *   calls SECONDS [GAP_US]  umask() after umask(), or with so much computing between:
 *                           ns: mean, median, 99 %, 99.9 %, most; then calls a second
 *   handoff SECONDS         futex round trip of two processes on one CPU, the same figures
 *   compute THREADS SECONDS rounds of a loop a second, of all threads
 *   first SECONDS           umask() after sleeping so long, five times: median ns
 *   crowd ROUNDS            eight threads that sleep are woken by one call: median us until the last has run
 *   spin CPU                computes on that CPU until it is killed */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 16000000
#define THREADS_MAX 64

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static float *samples_new(void)
{
    float *s = malloc(SAMPLES * sizeof *s);

    if (!s)
        exit(1);
    memset(s, 0, SAMPLES * sizeof *s); /* its faults are not to be measured */
    return s;
}

static void print(float *s, long n, double passed)
{
    double sum = 0;

    for (long i = 0; i < n; i++)
        sum += (double)s[i];
    qsort(s, (size_t)n, sizeof *s, compare);
    printf("%.0f %.0f %.0f %.0f %.0f %.0f\n", sum / (double)n, (double)s[n / 2],
           (double)s[n * 99 / 100], (double)s[n * 999 / 1000], (double)s[n - 1],
           (double)n / passed * 1e9);
}

static void compute_for(double ns)
{
    volatile unsigned x = 1;

    for (double end = now_ns() + ns; now_ns() < end;)
        for (int i = 0; i < 100; i++)
            x = x * 1664525 + 1013904223;
}

static void calls(double seconds, double gap_us)
{
    float *s = samples_new();
    long n = 0;

    for (int i = 0; i < 1000; i++) /* patched, if it is going to be */
        umask(022);
    double start = now_ns(), end = start + seconds * 1e9, from = start, to = start;
    while (n < SAMPLES && to < end) {
        if (gap_us > 0) {
            compute_for(gap_us * 1e3);
            from = now_ns();
        }
        umask(022);
        to = now_ns();
        s[n++] = (float)(to - from);
        from = to;
    }
    print(s, n, to - start);
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void futex(_Atomic(uint32_t) *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void take(_Atomic(uint32_t) *word)
{
    while (!atomic_exchange(word, 0))
        futex(word, FUTEX_WAIT, 0);
}

static void give(_Atomic(uint32_t) *word)
{
    atomic_store(word, 1);
    futex(word, FUTEX_WAKE, 1);
}

static void handoff(double seconds)
{
    _Atomic(uint32_t) *words =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    float *s = samples_new();
    long n = 0;

    pin(sched_getcpu());
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            take(&words[0]);
            give(&words[64]);
        }
    }
    double start = now_ns(), from = start, to = start;
    while (n < SAMPLES && to < start + seconds * 1e9) {
        give(&words[0]);
        take(&words[64]);
        to = now_ns();
        s[n++] = (float)(to - from);
        from = to;
    }
    kill(child, SIGKILL);
    print(s, n, to - start);
}

static double g_end;

static void *compute_thread(void *arg)
{
    long *rounds = arg;
    volatile unsigned x = 1;

    do {
        for (int i = 0; i < 20000; i++)
            x = x * 1664525 + 1013904223;
        ++*rounds;
    } while (now_ns() < g_end);
    return NULL;
}

static void compute(int threads, double seconds)
{
    static long rounds[THREADS_MAX][8];
    pthread_t t[THREADS_MAX];
    long sum = 0;

    g_end = now_ns() + seconds * 1e9;
    for (int i = 0; i < threads; i++)
        if (pthread_create(&t[i], NULL, compute_thread, rounds[i]))
            exit(1);
    for (int i = 0; i < threads; i++) {
        pthread_join(t[i], NULL);
        sum += rounds[i][0];
    }
    printf("%.0f\n", (double)sum / seconds);
}

static void first(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    float s[5];

    for (int i = 0; i < 5; i++) {
        nanosleep(&t, NULL);
        compute_for(500e3); /* the poller, woken by the sleep's end, sleeps again */
        double from = now_ns();
        umask(022);
        s[i] = (float)(now_ns() - from);
    }
    qsort(s, 5, sizeof *s, compare);
    printf("%.0f\n", (double)s[2]);
}

#define CROWD 8
#define ROUNDS_MAX 10000
static _Atomic(uint32_t) crowd_round, crowd_here;

static void *crowd_thread(void *arg)
{
    for (uint32_t seen = 0;;) {
        while (atomic_load(&crowd_round) == seen)
            futex(&crowd_round, FUTEX_WAIT_PRIVATE, seen);
        seen = atomic_load(&crowd_round);
        if (seen == UINT32_MAX)
            return arg;
        atomic_fetch_add(&crowd_here, 1);
    }
}

static void crowd(int rounds)
{
    static float took[ROUNDS_MAX];
    pthread_t threads[CROWD];

    for (int i = 0; i < CROWD; i++)
        if (pthread_create(&threads[i], NULL, crowd_thread, NULL))
            exit(1);
    for (int i = 0; i < rounds; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); /* they sleep */
        atomic_store(&crowd_here, 0);
        double from = now_ns();
        atomic_fetch_add(&crowd_round, 1);
        futex(&crowd_round, FUTEX_WAKE_PRIVATE, INT32_MAX);
        while (atomic_load(&crowd_here) < CROWD)
            sched_yield();
        took[i] = (float)((now_ns() - from) / 1e3);
    }
    atomic_store(&crowd_round, UINT32_MAX);
    futex(&crowd_round, FUTEX_WAKE_PRIVATE, INT32_MAX);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    qsort(took, (size_t)rounds, sizeof *took, compare);
    printf("%.1f\n", (double)took[rounds / 2]);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    double value = argc > 2 ? atof(argv[2]) : 0;

    if (!strcmp(what, "calls")) {
        calls(value, argc > 3 ? atof(argv[3]) : 0);
    } else if (!strcmp(what, "handoff")) {
        handoff(value);
    } else if (!strcmp(what, "compute") && argc > 3 && value >= 1 && value <= THREADS_MAX) {
        compute((int)value, atof(argv[3]));
    } else if (!strcmp(what, "first")) {
        first(value);
    } else if (!strcmp(what, "crowd") && value >= 1 && value <= ROUNDS_MAX) {
        crowd((int)value);
    } else if (!strcmp(what, "spin")) {
        pin((int)value);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        compute_for(1e15);
    } else {
        fprintf(stderr, "usage: wait calls|handoff|compute|first|spin ...; see wait.c\n");
        return 2;
    }
    return 0;
}
