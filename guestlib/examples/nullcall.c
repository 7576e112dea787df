/* SPDX-License-Identifier: Apache-2.0
 * nullcall.c - null-call meter: what a system call costs natively or trapped, through the call
 * slot, and in batches of 1..64 through the queue. Medians of 31 rounds; run it inside and outside.
 *
 *      nullcall [--json] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <ringbox.h>

#define ROUNDS 31
#define CALLS 2048
/* getppid-like and served by the table: no argument, no lock; and it never waits. */
#define NULL_CALL SYS_getppid

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, ROUNDS, sizeof *v, by_value);
    return v[ROUNDS / 2];
}

static double measure_direct(void)
{
    double v[ROUNDS];

    for (int r = 0; r < ROUNDS; r++) {
        double t = now_ns();
        for (int i = 0; i < CALLS / 8; i++)
            syscall(NULL_CALL);
        v[r] = (now_ns() - t) / (CALLS / 8);
    }
    return median(v);
}

static double measure_slot(struct ringbox *rb)
{
    double v[ROUNDS];

    for (int r = 0; r < ROUNDS; r++) {
        double t = now_ns();
        for (int i = 0; i < CALLS; i++)
            ringbox_call(rb, NULL_CALL, 0, 0, 0, 0, 0, 0);
        v[r] = (now_ns() - t) / CALLS;
    }
    return median(v);
}

static double measure_batch(struct ringbox *rb, int batch)
{
    double v[ROUNDS];

    for (int r = 0; r < ROUNDS; r++) {
        double t = now_ns();
        for (int done = 0; done < CALLS; done += batch) {
            for (int i = 0; i < batch; i++)
                ringbox_prep(ringbox_get(rb), NULL_CALL, 0, 0, 0, 0, 0, 0);
            ringbox_submit(rb);
            for (int i = 0; i < batch; i++) {
                const struct ringbox_result *c = ringbox_wait(rb);
                if (!c || c->result <= 0)
                    exit(2);
                ringbox_advance(rb, 1);
            }
        }
        v[r] = (now_ns() - t) / CALLS;
    }
    return median(v);
}

int main(int argc, char **argv)
{
    struct ringbox *rb;
    int json = argc > 1 && strcmp(argv[1], "--json") == 0;
    int r = ringbox_open(&rb, 256);

    if (r) {
        fprintf(stderr, "nullcall: ringbox_open: %s\n", strerror(-r));
        return 1;
    }
    double direct = measure_direct(), slot = measure_slot(rb);
    if (json)
        printf("{\"inside\":%d,\"direct_ns\":%.1f,\"slot_ns\":%.1f", ringbox_inside(rb), direct,
               slot);
    else
        printf("%s: direct call %.0f ns, slot %.0f ns\n", ringbox_inside(rb) ? "inside" : "native",
               direct, slot);
    for (int batch = 1; batch <= 64; batch *= 4) {
        double b = measure_batch(rb, batch);
        if (json)
            printf(",\"batch%d_ns\":%.1f", batch, b);
        else
            printf("batch of %2d: %.1f ns a call\n", batch, b);
    }
    if (json)
        printf("}\n");
    ringbox_close(rb);
    return 0;
}
