/* SPDX-License-Identifier: Apache-2.0
 * control_fds.c - packets with descriptors, for the sockets of control.c and the Sentry's.
 *
 * Who may lie: nobody but this user, who may send too many: those are closed here.
 *
 * Host: close, recvmsg, sendmsg [not confined] */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/compiler.h>

#include "control.h"

union room {
    char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS)];
    struct cmsghdr align;
};

bool control_send(int fd, const void *buf, size_t size, const int *fds, unsigned n)
{
    union room room = {0};
    struct iovec v = {(void *)(uintptr_t)buf, size};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

    if (n) {
        m.msg_control = &room;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    }
    return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

static unsigned take(struct msghdr *m, int *fds)
{
    unsigned count = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && count < CONTROL_FDS; i++, count++)
            memcpy(&fds[count], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
    }
    return count;
}

ssize_t control_receive(int fd, char *buf, size_t size, int *fds, unsigned *ret_n)
{
    union room room;
    struct iovec v = {buf, size};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &room,
                       .msg_controllen = CMSG_LEN(sizeof(int) * CONTROL_FDS)}; /* not one more */
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

    *ret_n = n < 0 ? 0 : take(&m, fds);
    if (n < 0 || !(m.msg_flags & MSG_CTRUNC))
        return n;
    for (unsigned i = 0; i < *ret_n; i++)
        close(fds[i]);
    *ret_n = CONTROL_FDS + 1;
    return n;
}
