/* SPDX-License-Identifier: Apache-2.0
 * command.h - what is asked from outside to run inside: the sandbox's command, and each `ringbox exec`. */
#ifndef SERVICE_COMMAND_H
#define SERVICE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_terminal;
struct path;
struct process;

#define COMMAND_FAILED 125
#define COMMAND_NOEXEC 126
#define COMMAND_NOTFOUND 127

struct command {
    char **argv, **envp; /* NULL-terminated; argv[0] is there */
    const char *cwd;
    uint32_t uid, gid;
    const uint32_t *groups;
    uint32_t group_count;
    uint32_t umask;
    int32_t nice;
    int stdio[3];  /* descriptors of the host; -1: closed. Those that were taken over become -1 */
    bool terminal; /* the first of them that is one becomes its session's */
};

/* Why a command did not start. */
struct command_error {
    int status;              /* COMMAND_* */
    const char *what, *name; /* of what, "" or ending with a space; which */
};

#define COMMAND_ERROR_MAX 512 /* bytes of its text */

/* In words. @err: -errno. As snprintf. */
int command_error_text(const struct command_error *e, int err, char *buf, size_t size);

/**
 * command_start - look for the command under @root as execvp does and start it in a session of its own.
 * @ret_terminal: the terminal it has been given, a reference; NULL if there was none
 * @ret: a reference
 * Return: 0, or -errno with *error. On a fiber; may park.
 */
int command_start(struct command *c, const struct path *root, struct host_terminal **ret_terminal,
                  struct process **ret, struct command_error *error);

#endif
