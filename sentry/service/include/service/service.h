/* SPDX-License-Identifier: Apache-2.0
 * service.h - pollers: the loop that takes what lanes offer, runs handlers and replies. */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include <stdio.h>

#include <base/platform.h>

struct memfile;
struct task;

struct service_config {
    unsigned pollers;       /* 1..RO_POLLERS */
    const int *poller_cpus; /* one each, or NULL: not pinned */
    unsigned cpus;          /* that the sandbox may use */
    bool roam;              /* pollers and guest threads may use all of them where nobody spins */
    const struct platform_ops *platform;
    struct memfile *memfile;
    struct ring_poller_word *poller_words; /* in the page the stubs map read-only */
    int io_engine;                         /* enum io_engine */
    bool trace;
    int trace_fd;
    bool stats;
    bool patch;           /* call sites are changed so that they post */
    uint32_t patch_after; /* see patch_init() */
};

/* Creates pollers and their I/O engines (before confinement). */
int service_init(const struct service_config *cfg);
/* Start the threads of the other pollers. 0 or -EAGAIN. */
int service_start_threads(void);
/* Run poller 0 on the calling thread and the others on threads of their own, until
 * service_stop(). First runs fn(arg) on a fiber of poller 0 (boot: mounts, first process). */
int service_run(void (*fn)(void *arg), void *arg);
void service_stop(int exit_status);
int service_exit_status(void);

const struct platform_ops *service_platform(void);
/* Statistics so far as text or JSON (one object, a line). Any thread; may be torn between counters. */
void service_stats_write(FILE *to, bool json);
/* The same to a descriptor, at the end. */
void service_stats_print(int fd, bool json);

#endif
