/* SPDX-License-Identifier: Apache-2.0
 * attach.h - what `ringbox exec`, `trace` and `kill --pid` say to a running Sentry.
 *
 * `ringbox run`, which alone knows who is asking, sends one packet of one of these for each, with
 * descriptors (ATTACH_FD_*), over a socket pair. From then on verb and Sentry talk through the descriptor
 * ATTACH_FD_CHANNEL, one end of a SOCK_SEQPACKET pair of the verb's:
 *
 *   exec    verb: bytes, a signal number each, or ATTACH_ASK_STOPPED. Sentry: struct attach_reply
 *           ATTACH_STARTED, then ATTACH_STOPPED for each question, then ATTACH_ENDED; or ATTACH_FAILED.
 *   trace   Sentry: struct attach_reply ATTACH_STARTED, then packets of text; or ATTACH_FAILED.
 *   kill    Sentry: struct attach_reply ATTACH_STARTED, or ATTACH_FAILED; then the end.
 *
 * The end of the channel is the end of the other side: a caller that has gone, or the sandbox. */
#ifndef SERVICE_ATTACH_H
#define SERVICE_ATTACH_H

#include <stdint.h>

#define ATTACH_EXECS_MAX 16u /* `exec`s at once */
#define ATTACH_TRACES_MAX 4u /* `trace`s at once */
#define ATTACH_HOSTFILES_MAX \
    51u /* descriptors of callers held by guests: 3 for each exec and for run */
#define ATTACH_COMMAND_MAX (4u << 20) /* bytes that say what to run */
#define ATTACH_STRINGS_MAX 65536u     /* arguments, and variables */
#define ATTACH_TRACE_BUFFER \
    (512u << 10)               /* bytes of a trace that wait for its reader; beyond: dropped */
#define ATTACH_TEXT_MAX 16384u /* bytes of a packet of trace */

enum attach_kind { ATTACH_EXEC = 1, ATTACH_TRACE, ATTACH_KILL };

enum attach_fd {
    ATTACH_FD_CHANNEL,
    /* exec */
    ATTACH_FD_COMMAND, /* a sealed memfd: struct attach_command, cwd, argv, envp, each with its NUL */
    ATTACH_FD_STDIO,   /* three */
    ATTACH_FDS = ATTACH_FD_STDIO + 3,
};
#define ATTACH_FDS_OF(kind) ((kind) == ATTACH_EXEC ? ATTACH_FDS : 1)

struct attach_request {
    uint32_t kind;
    int32_t pid;   /* trace: of this process only; 0: of all. kill: to this one */
    int32_t signo; /* kill */
};

#define ATTACH_COMMAND_VERSION 0x72620001u
#define ATTACH_TERMINAL 1u /* the caller's terminal becomes the command's */
#define ATTACH_USER 2u     /* uid and gid are given; else the sandbox's own identity */
struct attach_command {
    uint32_t version, flags;
    uint32_t uid, gid;
    uint32_t argc, envc; /* cwd: empty for the sandbox's own */
};

#define ATTACH_ASK_STOPPED 128u /* has the command stopped in its terminal's foreground? */

enum attach_reply_kind { ATTACH_STARTED = 1, ATTACH_FAILED, ATTACH_STOPPED, ATTACH_ENDED };
struct attach_reply {
    uint32_t kind;
    int32_t
        value; /* STARTED: pid inside; FAILED: exit status; STOPPED: 0, 1; ENDED: as of wait4() */
    char text[504]; /* FAILED: why */
};

#endif
