/* SPDX-License-Identifier: Apache-2.0
 * fakebox.h - a whole sandbox in the test process but for its machine: the real pollers, dispatcher,
 * kernel and memory file systems, and the trap platform's own reading of events and frames. Guest
 * threads do not run: the test writes their lanes and memory as a hostile program could. */
#ifndef SERVICE_TEST_FAKEBOX_H
#define SERVICE_TEST_FAKEBOX_H

#include <stdbool.h>
#include <stdint.h>

#include <kernel/task.h>

#include <ring/queue.h>

#include "internal.h" /* of platform/trap: struct pf_thread */

#define BOX_GUESTS 48 /* threads at a time; one more is -EAGAIN */

/* The program that every new process has: one page of code, then writable memory. */
#define PROGRAM_TEXT 0x10000000ULL
#define PROGRAM_TEXT_SIZE 0x1000ULL
#define PROGRAM_DATA (PROGRAM_TEXT + PROGRAM_TEXT_SIZE)
#define PROGRAM_DATA_SIZE 0x10000ULL

struct guest {
    struct pf_thread thread; /* first: the platform's view */
    struct task *task;       /* while it is served; borrowed */
    bool used, replied_exit;
    bool slot_posted;
    uint32_t slot_nr;
    unsigned waits; /* visits without an answer */
    uint8_t *ring;  /* its queues, in the Sentry's mapping; NULL: none */
    uint64_t ring_bytes;
    bool ring_open; /* @producer is about @ring */
    uint32_t ring_asked[2];
    struct ring_producer producer;
};
extern struct guest box_guests[BOX_GUESTS];

struct box_config {
    uint64_t memory_bytes;
    int io_engine;
    bool stats;
    uint32_t patch_after;
    const void *text, *data; /* of the program */
};

/* Everything up to a mounted root with /proc, /sys, /dev and the program /x; then runs @fn on a fiber
 * of the only poller until box_stop(). */
void box_run(const struct box_config *cfg, void (*fn)(void));
void box_stop(void);
/* A new process, child of process 1, that is about to start the program. 0 or -errno. */
int box_spawn(uint32_t uid);
struct memfile *box_memfile(void);
/* What runs and what every guest waits for, on standard error; from a signal handler of the poller's. */
void box_dump(void);

#endif
