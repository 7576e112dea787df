/* SPDX-License-Identifier: Apache-2.0
 * attach.h - attach.c: verbs that look into or work in the running sandbox. */
#ifndef SERVICE_ATTACH_PRIVATE_H
#define SERVICE_ATTACH_PRIVATE_H

#include <stdbool.h>
#include <sys/types.h>

#include <service/attach.h>
#include <service/command.h>

/* attach.c: requests come through @fd. @root, @like: borrowed for good; the sandbox's root, and the command
 * whose identity, directory and the like others have unless told otherwise. */
void attach_start(int fd, const struct path *root, const struct command *like);
/* Send a reply; one that cannot be sent is nobody's loss. @text: NULL or why. */
void attach_reply(int channel, uint32_t kind, int32_t value, const char *text);

/* exec.c: takes over @fds[ATTACH_FDS]. */
void exec_begin(const int *fds, const struct path *root, const struct command *like);

/* exec_args.c: what the bytes of a request for exec say, if they say anything. */
struct exec_request {
    struct attach_command head;
    const char *cwd;     /* into the bytes */
    char **argv, **envp; /* one allocation, argv; NULL-terminated; into the bytes */
};
/* @buf: @n bytes nobody changes any more. 0, -EINVAL, -ENOMEM. */
int exec_request_parse(char *buf, size_t n, struct exec_request *ret);

/* trace.c: takes over @channel. */
void trace_attach(int channel, int32_t pid);

#endif
