/* SPDX-License-Identifier: Apache-2.0
 * attach.c - a channel to a running Sentry, for what `ringbox run` hands on to it.
 *
 * Who may lie: the sandbox; its words are cleaned.
 *
 * Host: close, poll, recv, socketpair [not confined] */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <service/attach.h>

#include "cmd.h"
#include "control.h"

#define ASK_MS 6000 /* more than a living `run` takes, and a living Sentry */

/* The Sentry's first words. 0 or an exit status. */
static int first_reply(const char *name, int channel)
{
    struct pollfd p = {channel, POLLIN, 0};
    struct attach_reply r;

    if (poll(&p, 1, ASK_MS) == 0)
        return cmd_error("sandbox '%s' does not answer; ringbox kill %s ends it", name, name);
    if (recv(channel, &r, sizeof r, MSG_DONTWAIT) != (ssize_t)sizeof r)
        return cmd_error("the sandbox has ended");
    r.text[sizeof r.text - 1] = 0;
    return r.kind == ATTACH_STARTED ? 0 : cmd_error("%s", r.text);
}

int cmd_attach(const char *name, const char *request, int *ret_channel)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return cmd_error("cannot create sockets: %s", strerror(errno));
    int at = control_connect(name);
    if (at < 0)
        return EXIT_FAILED;
    int r = control_ask_fds(at, request, &ends[1], 1, ASK_MS);
    close(at);
    close(ends[1]);
    *ret_channel = ends[0];
    if (r == CONTROL_SILENT)
        return cmd_error("sandbox '%s' does not answer; ringbox kill %s ends it", name, name);
    return r == CONTROL_OK ? first_reply(name, ends[0]) : EXIT_FAILED;
}
