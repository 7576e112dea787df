/* SPDX-License-Identifier: Apache-2.0
 * cmd.h - verbs of the command line; one file each. Only this folder builds messages for people. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include <base/compiler.h>

#include <service/boot.h>

#include "mounts.h"

#define EXIT_FAILED 125 /* ringbox itself failed */

/* The gofer process' body; set by main.c, which alone links the server. Gives its exit status. */
extern int (*cmd_gofer)(const struct export *e);

int cmd_run(int argc, char **argv);
int cmd_syscalls(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_serve(int argc, char **argv);

/* Print what a sandbox answers (stats.c). An exit status. */
int cmd_ask(const char *name, const char *request, int timeout_ms);

/* @request with one end of a channel, and the Sentry's first words (attach.c). 0, or an exit status after a
 * message. */
int cmd_attach(const char *name, const char *request, int *ret_channel);

/* "ringbox: <text>" on stderr; returns EXIT_FAILED. */
PRINTF_LIKE(1, 2) int cmd_error(const char *fmt, ...);

/* --- run's options (options.c) --- */

struct run_options {
    const char *name;                    /* of the sandbox; NULL: none given */
    const char *rootfs, *cwd, *hostname; /* rootfs NULL: the default view of / */
    bool root_rw, root_exclusive, show_view;
    struct mounts mounts;
    char **env; /* caller's environment with --env applied */
    uint32_t uid, gid;
    bool user_given;
    uint64_t memory_bytes;
    uint32_t pids;
    double timeout_s; /* 0: none */
    int pollers;      /* 0: auto */
    int sentry_cpus[64];
    int sentry_cpu_count; /* 0: chosen */
    const char *guest_cpus;
    int io_engine;
    const char *platform;   /* NULL: the first that works */
    const char *trace_file; /* "" = stderr, NULL = off */
    bool stats, stats_json;
    bool no_patch;
    uint32_t patch_after;   /* see patch_init() */
    const char *stats_file; /* NULL: stderr */
    uint32_t pledge;        /* PLEDGE_*, if given */
    bool pledge_given;
    struct boot_unveil *unveil;
    unsigned unveil_count;
    char **command;
};
/* 0, or an exit status after one line on stderr; *ret_done: help was printed, exit with the result.
 */
int run_options_parse(int argc, char **argv, struct run_options *ret, bool *ret_done);

/* For verbs that have some of run's options: set one (as above); its line of --help, with @help instead of
 * run's unless NULL. */
int run_option_set(struct run_options *o, const char *name, const char *value);
void run_option_print(const char *name, const char *help);

/* platforms.c. In the order of preference; NULL: no more. */
struct platform_ops;
struct memfile;
const struct platform_ops *platform_at(unsigned i);
const struct platform_ops *platform_named(const char *name);
bool platform_traces(
    const struct platform_ops *pf); /* its guests by ptrace: see isolate_sentry() */
/* Starts it in a process of its own: NULL, or why it does not work here. */
const char *platform_probe(const struct platform_ops *pf);
/* @name: NULL for the first that works. 0, or EXIT_FAILED after one line on stderr. */
int platform_start(const char *name, struct memfile *mf, const char *cpus,
                   const struct platform_ops **ret);

#endif
