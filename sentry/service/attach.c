/* SPDX-License-Identifier: Apache-2.0
 * attach.c - takes the requests of `ringbox exec` and `ringbox trace` (service/attach.h).
 *
 * They come from `ringbox run`, which has checked that who asks is the sandbox's owner or root, as one
 * packet with its descriptors. Descriptors are owned from here on; a packet that is not as it should
 * be has them closed and is forgotten, and whoever sent it sees the end of its channel.
 *
 * Owner: poller 0. Who may lie: the caller, about anything but who they are. What a descriptor is, is
 * asked of the host (exec.c); none of them is ever opened, searched, connected or run.
 *
 * Host: recvmsg, close, sendto [sentry] */
#include "attach.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "private.h"

static struct attach_state {
    struct io_poll poll;
    const struct path *root;
    const struct command *like;
} g_attach;

void attach_reply(int channel, uint32_t kind, int32_t value, const char *text)
{
    struct attach_reply r = {.kind = kind, .value = value};

    if (text)
        snprintf(r.text, sizeof r.text, "%s", text);
    (void)send(channel, &r, sizeof r, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* All descriptors of a message; those beyond @max are closed. Returns how many there were. */
static unsigned fds_take(struct msghdr *m, int *fds, unsigned max)
{
    unsigned count = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++, count++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (count < max)
                fds[count] = fd;
            else
                (void)close(fd);
        }
    }
    return count;
}

static void kill_one(int channel, int32_t pid, int32_t signo)
{
    struct process *p AUTO_PUT(process) = pid > 1 ? process_find(pid) : NULL;

    if (!p || signo < 1 || signo > NSIGNALS) {
        attach_reply(channel, ATTACH_FAILED, COMMAND_FAILED, "no such process in this sandbox");
    } else {
        signal_send_process(p, signo, NULL);
        attach_reply(channel, ATTACH_STARTED, pid, NULL);
    }
    (void)close(channel);
}

/* One packet; false: there is none. *ret_end: there will be no more. */
static bool request_take(int fd, bool *ret_end)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * ATTACH_FDS)];
        struct cmsghdr align;
    } control;
    struct attach_request q = {0};
    struct iovec v = {&q, sizeof q};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = CMSG_LEN(sizeof(int) * ATTACH_FDS)}; /* not one more */
    int fds[ATTACH_FDS];

    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *ret_end = n == 0;
    if (n <= 0)
        return false;
    unsigned count = fds_take(&m, fds, ATTACH_FDS);
    bool whole = n == sizeof q && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
                 q.kind >= ATTACH_EXEC && q.kind <= ATTACH_KILL &&
                 count == (unsigned)ATTACH_FDS_OF(q.kind);
    if (!whole) {
        for (unsigned i = 0; i < MIN(count, (unsigned)ATTACH_FDS); i++)
            (void)close(fds[i]);
    } else if (q.kind == ATTACH_EXEC) {
        exec_begin(fds, g_attach.root, g_attach.like);
    } else if (q.kind == ATTACH_KILL) {
        kill_one(fds[ATTACH_FD_CHANNEL], q.pid, q.signo);
    } else {
        trace_attach(fds[ATTACH_FD_CHANNEL], q.pid);
    }
    return true;
}

static void attach_ready(struct io_poll *p, uint32_t revents)
{
    int fd = p->fd;
    bool end;

    (void)revents;
    while (request_take(fd, &end))
        ;
    if (!end) /* without memory for it nobody can attach any more: their channels end */
        (void)io_poll_arm(p, fd, POLLIN, attach_ready);
}

void attach_start(int fd, const struct path *root, const struct command *like)
{
    g_attach.root = root;
    g_attach.like = like;
    (void)io_poll_arm(&g_attach.poll, fd, POLLIN, attach_ready);
}
