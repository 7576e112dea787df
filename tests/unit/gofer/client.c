/* SPDX-License-Identifier: Apache-2.0
 * client.c - see client.h. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/hash.h>
#include <gofer/gofer.h>

/* Sanitizers make calls of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNCONFINED true
#else
#define UNCONFINED false
#endif

static void serve(int sock, const char *dir, bool donate)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct gofer_export exports[] = {{.root_fd = fd, .aname = "", .locks = true},
                                     {.root_fd = fd, .aname = "ro", .read_only = true}};
    struct gofer_config config = {.sock = sock,
                                  .exports = exports,
                                  .export_count = 2,
                                  .donate = donate,
                                  .unconfined = UNCONFINED};
    int r = gofer_serve(&config);
    _exit(r == 0 ? 0 : r == -EPROTO ? 3 : 4);
}

void client_start(struct client *c, const char *version, bool donate)
{
    int sv[2];
    memset(c, 0, sizeof *c);
    c->last_fd = -1;
    snprintf(c->dir, sizeof c->dir, "/tmp/gofer-test-XXXXXX");
    if (!mkdtemp(c->dir) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        abort();
    c->pid = fork();
    if (c->pid == 0) {
        close(sv[0]);
        serve(sv[1], c->dir, donate);
    }
    close(sv[1]);
    c->sock = sv[0];
    if (!version)
        return;
    struct p9_rversion v;
    struct p9_rattach a;
    if (rpc(c, tversion, rversion, &v, .msize = P9_MSIZE_DEFAULT, .version = STR(version)) < 0 ||
        rpc(c, tattach, rattach, &a, .fid = 0, .afid = P9_NOFID, .uname = STR("u"),
            .aname = STR("")) < 0 ||
        rpc(c, tattach, rattach, &a, .fid = 1, .afid = P9_NOFID, .uname = STR("u"),
            .aname = STR("ro")) < 0)
        abort();
}

int client_wait(struct client *c)
{
    int status = 0;
    waitpid(c->pid, &status, 0);
    c->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int client_stop(struct client *c)
{
    char cmd[128];
    if (c->last_fd >= 0)
        close(c->last_fd);
    close(c->sock);
    int r = c->pid ? client_wait(c) : 0;
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", c->dir);
    if (system(cmd) != 0)
        r = 99;
    return r;
}

void client_path(const struct client *c, const char *name, char ret[256])
{
    snprintf(ret, 256, "%s/%s", c->dir, name);
}

int client_receive(struct client *c)
{
    size_t have = 0;
    int64_t size = 0;
    if (c->last_fd >= 0)
        close(c->last_fd);
    c->last_fd = -1;
    while (size == 0 || have < (size_t)size) {
        union {
            char buf[CMSG_SPACE(sizeof(int) * 32)];
            struct cmsghdr align;
        } control;
        size_t want = size ? (size_t)size - have : 4 - have;
        struct iovec iov = {.iov_base = c->buf + have, .iov_len = want};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.buf,
                             .msg_controllen = sizeof control};
        ssize_t n = recvmsg(c->sock, &msg, MSG_CMSG_CLOEXEC);
        if (n <= 0)
            return -1;
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        if (h && h->cmsg_type == SCM_RIGHTS)
            memcpy(&c->last_fd, CMSG_DATA(h), sizeof(int));
        have += (size_t)n;
        if (size == 0 && have == 4)
            size = p9_frame(c->buf, have, sizeof c->buf);
        if (size < 0)
            return -1;
    }
    c->len = (size_t)size;
    return 0;
}

int client_exchange(struct client *c, const void *msg, size_t n)
{
    if (send(c->sock, msg, n, MSG_NOSIGNAL) != (ssize_t)n)
        return -1;
    int r;
    do
        r = client_receive(c);
    while (r == 0 && p9_tag_of(c->buf) == P9_NOTAG && p9_type_of(c->buf) == P9_rchanged);
    return r;
}

int client_result(struct client *c, uint8_t want)
{
    struct p9_rlerror e;
    if (p9_type_of(c->buf) == want)
        return 0;
    if (p9_decode_rlerror(c->buf, c->len, &e) < 0)
        return -1002;
    return -(int)e.ecode;
}
