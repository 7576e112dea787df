/* SPDX-License-Identifier: Apache-2.0
 * relay.c - see relay.h. */
#include "relay.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <p9/wire.h>

struct direction {
    int from, to;
    relay_fn *fn;
    size_t have;
    int fds[128];
    unsigned fd_count;
    uint8_t buf[P9_MSIZE_MAX];
};

static struct direction g_up, g_down;

static int send_message(struct direction *d, const uint8_t *msg, size_t len)
{
    union {
        char buf[CMSG_SPACE(sizeof(int) * 128)];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (len == 0)
        return 0;
    if (d->fd_count) {
        m.msg_control = control.buf;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * d->fd_count);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int) * d->fd_count);
        memcpy(CMSG_DATA(h), d->fds, sizeof(int) * d->fd_count);
    }
    ssize_t n = sendmsg(d->to, &m, MSG_NOSIGNAL);
    for (unsigned i = 0; i < d->fd_count; i++)
        close(d->fds[i]);
    d->fd_count = 0;
    while (n >= 0 && (size_t)n < len) {
        ssize_t more = send(d->to, msg + n, len - (size_t)n, MSG_NOSIGNAL);
        if (more < 0)
            return -1;
        n += more;
    }
    return n < 0 ? -1 : 0;
}

static int pump(struct direction *d, uint64_t *seed, int drop_fds)
{
    static uint8_t work[P9_MSIZE_MAX + 4096];
    union {
        char buf[CMSG_SPACE(sizeof(int) * 128)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = d->buf + d->have, .iov_len = sizeof d->buf - d->have};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.buf,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(d->from, &m, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return -1;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (drop_fds || d->fd_count == 128)
                close(fd);
            else
                d->fds[d->fd_count++] = fd;
        }
    }
    d->have += (size_t)n;
    size_t at = 0;
    int64_t size;
    while ((size = p9_frame(d->buf + at, d->have - at, sizeof d->buf)) > 0 &&
           (size_t)size <= d->have - at) {
        int64_t len = size;
        memcpy(work, d->buf + at, (size_t)size);
        *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
        if (d->fn)
            len = d->fn(work, (size_t)size, sizeof work, *seed);
        if (len < 0 || send_message(d, work, (size_t)len) < 0)
            return -1;
        at += (size_t)size;
    }
    memmove(d->buf, d->buf + at, d->have - at);
    d->have -= at;
    return size < 0 ? -1 : 0;
}

static void relay_run(int client, int server, uint64_t seed, int drop_fds)
{
    g_up.from = g_down.to = client;
    g_up.to = g_down.from = server;
    for (;;) {
        struct pollfd p[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
        if (poll(p, 2, 120000) <= 0)
            return;
        if (p[0].revents && pump(&g_up, &seed, 0) < 0)
            return;
        if (p[1].revents && pump(&g_down, &seed, drop_fds) < 0)
            return;
    }
}

void relay_start(struct relay *r, int server_sock, relay_fn *request, relay_fn *reply,
                 uint64_t seed, int drop_fds)
{
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        abort();
    r->pid = fork();
    if (r->pid == 0) {
        close(sv[0]);
        g_up.fn = request;
        g_down.fn = reply;
        relay_run(sv[1], server_sock, seed, drop_fds);
        _exit(0);
    }
    close(sv[1]);
    r->sock = sv[0];
}

void relay_stop(struct relay *r)
{
    waitpid(r->pid, NULL, 0);
}

int64_t relay_plain(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_tversion v;
    (void)seed;
    if (p9_type_of(msg) != P9_tversion || p9_decode_tversion(msg, len, &v) < 0)
        return (int64_t)len;
    v.version = p9_str_from(P9_VERSION_PLAIN);
    return p9_encode_tversion(msg, cap, &v);
}
