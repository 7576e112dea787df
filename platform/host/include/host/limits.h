/* SPDX-License-Identifier: Apache-2.0
 * limits.h - every limit the host sets to a sandbox: what uses it up, the limit of the sandbox that
 * follows from it, the errno a guest sees, the test.
 *
 * | host limit                | used by                                    | derived        | guest
 * sees |
 * |---------------------------|--------------------------------------------|----------------|------------|
 * | RLIMIT_NOFILE, Sentry     | a pidfd per process; a donated fd per open | processes,     |
 * -EAGAIN    | |                           | host file or socket; HOST_FD_OWN           |
 * donated_fds    | none: 9P   | | RLIMIT_NOFILE, gofer      | an O_PATH fd per cached node, an fd
 * per    | gofer_nodes    | none: LRU  | |                           | open file |                |
 * -ENFILE    | | RLIMIT_NPROC, pid_max,    | a process and its mapper per address space,| tasks |
 * -EAGAIN    | | cgroup pids.max           | a thread per guest thread; HOST_TASKS_OWN  | | | |
 * vm.max_map_count, a stub  | a host mapping per separately backed piece | maps (and the  | -ENOMEM
 * | |                           | of guest memory                            | COW block size)| |
 * | vm.max_map_count, Sentry  | two per fiber stack, windows of host files | not reached    | | |
 * RLIMIT_MEMLOCK            | rings of an engine before Linux 5.12       | engine choice  | none |
 * | tmpfs size=               | all guest memory (host/memfile.h)          | --memory       |
 * SIGBUS ->  | |                           |                                            | | OOM
 * kill   |
 *
 * Tests: tests/unit/host/limits_test.c (values and derivation), memfile_test.c (size=).
 */
#ifndef HOST_LIMITS_H
#define HOST_LIMITS_H

#include <stdint.h>

#define HOST_FD_OWN 212 /* stdio, memory file, listener, engines, gofer connections, exec, trace */
#define HOST_TASKS_OWN 64   /* pollers, wakers, helpers, io_uring workers, template, pool */
#define HOST_TASKS_PER_AS 2 /* leader and mapper, before the first guest thread */
#define HOST_MAPS_OWN 256   /* of a stub: stub text, lanes, pages read-only, vsyscall */
#define HOST_MEMLOCK_PER_RING (64u << 10) /* bytes, before Linux 5.12 */

/* The least that is of any use; below it the sandbox refuses to start. */
#define HOST_NOFILE_MIN 256
#define HOST_TASKS_MIN 128
#define HOST_MAPS_MIN 4096

struct host_limits {
    uint64_t nofile;        /* RLIMIT_NOFILE, soft limit after raising it to the hard one */
    uint64_t tasks;         /* least of RLIMIT_NPROC, kernel.pid_max, cgroup pids.max */
    uint64_t max_map_count; /* vm.max_map_count */
    uint64_t memlock;       /* RLIMIT_MEMLOCK, bytes */
};

struct sandbox_limits {
    uint32_t processes;   /* guest processes at once */
    uint32_t tasks;       /* guest threads of all processes */
    uint32_t donated_fds; /* host files the Sentry holds for guests */
    uint32_t gofer_nodes; /* O_PATH descriptors the gofer caches */
    uint32_t maps;        /* host mappings of one stub */
    uint32_t maps_blocks; /* from here on copy-on-write blocks are at least 64 KiB: a quarter */
    uint32_t maps_huge;   /* from here on 2 MiB: half */
};

/**
 * host_limits_read - before confinement: reads /proc and /sys, raises the soft RLIMIT_NOFILE.
 * What cannot be read counts with the host's usual value. Never fails.
 */
void host_limits_read(struct host_limits *ret);

/* Pure. */
void sandbox_limits_derive(const struct host_limits *host, struct sandbox_limits *ret);

/**
 * host_limits_shortage - NULL, or which limit is too low for a sandbox and how to raise it.
 */
const char *host_limits_shortage(const struct host_limits *host);

#endif
