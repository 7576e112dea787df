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
    const char *aname; /* another name to attach to than "", or NULL */
    bool as_nobody;    /* served as an ordinary user, of whom nothing here is */
    struct file_id {
        uint64_t dev, ino;
    } hidden[2]; /* directories that are not entered */
    unsigned hidden_count;
    pid_t pid; /* 0: not started */
};

/* Of the default view: /root, /home, the caller's home, the way to the current directory, and that. */
#define MOUNTS_VIEW_MAX 5u

struct mounts {
    struct mount_arg arg[MOUNTS_GIVEN_MAX];
    struct boot_mount boot[MOUNTS_VIEW_MAX + MOUNTS_GIVEN_MAX];
    struct export export[MOUNTS_GIVEN_MAX + 2]; /* the first is that of the root */
    unsigned count, boots, exports;
    bool ordinary; /* the default view */
};

/* Setters of options: 0, or EXIT_FAILED with a message. */
int mounts_add_bind(struct mounts *m, const char *value);
int mounts_add_tmpfs(struct mounts *m, const char *value);
int mounts_add_server(struct mounts *m, const char *value);

/* Open sources, connect to servers, make sockets. rootfs NULL: the default view of /. As above. */
int mounts_prepare(struct mounts *m, const char *rootfs, bool root_rw, bool root_exclusive);
/* view.c: what the default view adds, first of all; 0, or EXIT_FAILED with a message. */
int view_prepare(struct mounts *m, int (*export_add)(struct mounts *, int fd, bool read_only,
                                                     bool shared, int *ret_sock));
void view_show(const struct mounts *m, const char *rootfs, bool root_rw, bool root_exclusive);
/* Fork the file servers; close_others(keep, n) closes what is not theirs. As above. */
int mounts_start(struct mounts *m, void (*child)(const int *keep, int n));
/* Descriptors that are the Sentry's; returns how many. */
#define MOUNTS_FDS_MAX (MOUNTS_GIVEN_MAX + 2)
int mounts_sentry_fds(const struct mounts *m, int ret[MOUNTS_FDS_MAX]);
/* The Sentry has its ends: let go of the servers'. */
void mounts_started(struct mounts *m);
/* The sandbox is ending: so do the servers. */
void mounts_end(struct mounts *m);
/* Wait for that. SIGCHLD is blocked. */
void mounts_reap(struct mounts *m);
/* At once. */
void mounts_kill(struct mounts *m);

#endif
