/* SPDX-License-Identifier: Apache-2.0
 * mounts.h - what the caller wants mounted: options of `run`, and the file servers behind them. */
#ifndef CMD_MOUNTS_H
#define CMD_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <service/boot.h>

#define MOUNTS_GIVEN_MAX 64u /* --bind, --tmpfs and --mount together */

/* One option. */
struct mount_arg {
    enum boot_mount_kind kind;
    const char *option, *text; /* for messages: "--bind", "SRC:DST" */
    char *source, *target; /* allocated; target: absolute, no "." or "..", no slash at the end */
    char *aname;           /* allocated, or NULL: "" */
    bool read_only, exclusive;
    uint64_t size_bytes; /* tmpfs; 0: as much as --memory allows */
};

/* A process that serves one directory or file. */
struct export
{
    int fd;      /* O_PATH: what is served */
    int sock[2]; /* the server's end, the Sentry's */
    bool read_only, shared;
    pid_t pid; /* 0: not started */
};

struct mounts {
    struct mount_arg arg[MOUNTS_GIVEN_MAX];
    struct boot_mount boot[MOUNTS_GIVEN_MAX];
    struct export export[MOUNTS_GIVEN_MAX + 1]; /* the first is that of the root */
    unsigned count, exports;
};

/* Setters of options: 0, or EXIT_FAILED with a message. */
int mounts_add_bind(struct mounts *m, const char *value);
int mounts_add_tmpfs(struct mounts *m, const char *value);
int mounts_add_server(struct mounts *m, const char *value);

/* Open sources, connect to servers, make sockets. As above. */
int mounts_prepare(struct mounts *m, const char *rootfs, bool root_rw, bool root_exclusive);
/* Fork the file servers; close_others(keep, n) closes what is not theirs. As above. */
int mounts_start(struct mounts *m, void (*child)(const int *keep, int n));
/* Descriptors that are the Sentry's; returns how many. */
#define MOUNTS_FDS_MAX (MOUNTS_GIVEN_MAX + 1)
int mounts_sentry_fds(const struct mounts *m, int ret[MOUNTS_FDS_MAX]);
/* The Sentry has its ends: let go of the servers'. */
void mounts_started(struct mounts *m);
/* The sandbox has ended: so do the servers. SIGCHLD is blocked. */
void mounts_reap(struct mounts *m);
/* At once. */
void mounts_kill(struct mounts *m);

#endif
