/* SPDX-License-Identifier: Apache-2.0
 * server.c - one connection: bytes in, requests in order, replies out in batches.
 *
 * Model: read what the socket has, answer every complete message into the output buffer, send it
 * when it is full or when nothing complete is left. The client may pipeline as much as it likes;
 * it is read only as fast as it takes the answers. The client may send anything: a message that
 * is malformed, too long, or comes before Tversion ends the connection; all else is an Rlerror.
 * Memory is bounded: two buffers of a few msize, FIDS_MAX fids and as many nodes.
 *
 * Left out: parallel requests (a slow disk delays the connection), change notification.
 * Host: recvfrom, sendmsg, splice, close, exit_group [gofer]
 * Host: pipe2, fcntl, getrlimit, setrlimit, open, sched_setattr, getpriority [before confinement]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <base/hash.h>
#include <base/log.h>
#include <isolate/isolate.h>

#define SLICE_NS 100000u /* the least there is */

uint32_t conn_iounit(const struct conn *c)
{
    return c->msize - P9_IOHDR;
}

void conn_donate(struct conn *c, int fd)
{
    BUG_ON(c->out_fd_count >= FDS_PENDING_MAX); /* handle() flushes before it is full */
    c->out_fds[c->out_fd_count++] = fd;
}

static void donated_close(struct conn *c)
{
    for (unsigned i = 0; i < c->out_fd_count; i++)
        close(c->out_fds[i]);
    c->out_fd_count = 0;
}

static int conn_flush(struct conn *c)
{
    union {
        char buf[CMSG_SPACE(sizeof(int) * FDS_PENDING_MAX)];
        struct cmsghdr align;
    } control;
    size_t done = 0;
    while (done < c->out_have) {
        struct iovec iov = {.iov_base = c->out + done, .iov_len = c->out_have - done};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        if (c->out_fd_count) {
            memset(&control, 0, sizeof control);
            msg.msg_control = control.buf;
            msg.msg_controllen = CMSG_SPACE(sizeof(int) * c->out_fd_count);
            struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
            h->cmsg_level = SOL_SOCKET;
            h->cmsg_type = SCM_RIGHTS;
            h->cmsg_len = CMSG_LEN(sizeof(int) * c->out_fd_count);
            memcpy(CMSG_DATA(h), c->out_fds, sizeof(int) * c->out_fd_count);
        }
        ssize_t n = sendmsg(c->config->sock, &msg, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
        donated_close(c); /* they went with the first bytes */
    }
    c->out_have = 0;
    return 0;
}

/* What the last reply announced goes after it. */
static int piped_send(struct conn *c)
{
    int r = conn_flush(c);
    while (r == 0 && c->piped) {
        ssize_t n = splice(c->pipe[0], NULL, c->config->sock, NULL, c->piped, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        c->piped -= (uint32_t)n;
    }
    return r;
}

int conn_send(struct conn *c, const uint8_t *msg, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct iovec iov = {.iov_base = (uint8_t *)(uintptr_t)msg + done, .iov_len = len - done};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = sendmsg(c->config->sock, &m, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n < 0 ? 0 : (size_t)n;
    }
    return 0;
}

#define MALFORMED (-EPROTO - 100000) /* no host call returns it */

#define WRAP(name)                                                                          \
    static int run_##name(struct conn *c, const uint8_t *msg, size_t len, uint8_t *out,     \
                          size_t cap)                                                       \
    {                                                                                       \
        struct p9_##name m;                                                                 \
        return p9_decode_##name(msg, len, &m) < 0 ? MALFORMED : op_##name(c, &m, out, cap); \
    }
REQUESTS(WRAP)
REQUESTS_RINGBOX(WRAP)
#undef WRAP

static int dispatch(struct conn *c, const uint8_t *msg, size_t len, uint8_t *out, size_t cap)
{
    uint8_t type = p9_type_of(msg);
    if (!c->versioned && type != P9_tversion)
        return MALFORMED;
#define CASE(name)  \
    case P9_##name: \
        return run_##name(c, msg, len, out, cap);
    switch (type) {
        REQUESTS(CASE)
    default:
        break;
    }
    if (c->ringbox)
        switch (type) {
            REQUESTS_RINGBOX(CASE)
        default:
            break;
        }
#undef CASE
    return -EOPNOTSUPP;
}

/* Answer one complete message. */
static int handle(struct conn *c, const uint8_t *msg, size_t len)
{
    if (c->buf_cap - c->out_have < c->msize || c->out_fd_count == FDS_PENDING_MAX) {
        int r = conn_flush(c);
        if (r < 0)
            return r;
    }
    uint8_t *out = c->out + c->out_have;
    unsigned fds = c->out_fd_count;
    int r = dispatch(c, msg, len, out, c->msize);
    if (r == MALFORMED)
        return -EPROTO;
    if (r <= 0) {
        while (c->out_fd_count > fds)
            close(c->out_fds[--c->out_fd_count]);
        struct p9_rlerror e = {.tag = p9_tag_of(msg), .ecode = r == 0 ? EIO : (uint32_t)-r};
        r = p9_encode_rlerror(out, c->msize, &e);
    }
    c->out_have += (size_t)r;
    return c->piped ? piped_send(c) : 0;
}

/* All complete messages of the input buffer, then send. */
static int handle_all(struct conn *c)
{
    size_t at = 0;
    int r = 0;
    for (;;) {
        int64_t size = p9_frame(c->in + at, c->in_have - at, c->msize);
        if (size < 0)
            r = -EPROTO;
        if (size <= 0 || (size_t)size > c->in_have - at)
            break;
        r = handle(c, c->in + at, (size_t)size);
        if (r < 0)
            break;
        at += (size_t)size;
    }
    memmove(c->in, c->in + at, c->in_have - at);
    c->in_have -= at;
    int sent = conn_flush(c); /* what was answered before a violation still goes out */
    return r < 0 ? r : sent;
}

static int conn_run(struct conn *c)
{
    for (;;) {
        int w = watch_wait(c);
        if (w < 0)
            return w == -EPIPE || w == -ECONNRESET ? 0 : w;
        ssize_t n = recv(c->config->sock, c->in + c->in_have, c->buf_cap - c->in_have, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ECONNRESET ? 0 : -errno;
        if (n == 0)
            return 0;
        c->in_have += (size_t)n;
        int r = handle_all(c);
        if (r < 0)
            return r == -EPIPE || r == -ECONNRESET ? 0 : r;
    }
}

static void limits_set(struct conn *c)
{
    struct rlimit l = {.rlim_cur = 1024, .rlim_max = 1024};
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
        (void)getrlimit(RLIMIT_NOFILE, &l);
    }
    uint32_t n = (uint32_t)MIN(l.rlim_cur, (rlim_t)1 << 20);
    c->node_fds_max = MAX(n / 2, NODE_FDS_MIN + 32) - 32;
    c->open_fds_max = n / 2 > 64 ? n / 2 - 64 : 16;
    c->watches.late_max = MIN(n / 32, WATCH_LATE_MAX);
}

void conn_pipe_close(struct conn *c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(c->pipe); i++) {
        if (c->pipe[i] >= 0)
            close(c->pipe[i]);
        c->pipe[i] = -1;
    }
    c->pipe_bytes = 0;
}

static void conn_free(struct conn *c)
{
    if (!c)
        return;
    fid_drop_all(c);
    conn_nodes_fini(c);
    donated_close(c);
    watch_fini(c);
    conn_pipe_close(c);
    if (c->proc_fd >= 0)
        close(c->proc_fd);
    free(c->root_dev);
    free(c->in);
    free(c->out);
    free(c);
}

/* For long reads without a copy; without it they are copied. */
static void pipe_make(struct conn *c)
{
    int n = pipe2(c->pipe, O_CLOEXEC) == 0 ? fcntl(c->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) : 0;
    c->pipe_bytes = n < 0 ? 0 : (uint32_t)n;
}

static struct conn *conn_new(const struct gofer_config *config)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->config = config;
    c->proc_fd = c->watches.fd = c->pipe[0] = c->pipe[1] = -1;
    list_init(&c->lru);
    /* Untouched pages of the buffers cost nothing until a client negotiates that much. */
    c->msize = P9_MSIZE_MAX;
    c->buf_cap = 2 * (size_t)P9_MSIZE_MAX;
    c->in = malloc(c->buf_cap);
    c->out = malloc(c->buf_cap);
    c->root_dev = calloc(config->export_count + 1, sizeof *c->root_dev);
    if (!c->in || !c->out || !c->root_dev) {
        conn_free(c);
        return NULL;
    }
    limits_set(c);
    c->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    watch_init(c);
    pipe_make(c);
    return c;
}

/* Requests are short and somebody spins while they are answered: with a short slice the scheduler lets
 * this process run at once where it would wait for the spinner's slice to end. Older kernels ignore it. */
static void slice_set(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = {.size = sizeof attr, .runtime = SLICE_NS};
    attr.nice = getpriority(PRIO_PROCESS, 0);
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

static bool any_writable(const struct gofer_config *config)
{
    for (unsigned i = 0; i < config->export_count; i++)
        if (!config->exports[i].read_only)
            return true;
    return false;
}

static int confine(const struct gofer_config *config, const char **ret_what)
{
    for (unsigned i = 0; i < config->export_count; i++) {
        int r = isolate_gofer_allow(config->exports[i].root_fd, !config->exports[i].read_only);
        if (r < 0)
            return r;
    }
    return isolate_gofer(any_writable(config), ret_what);
}

int gofer_serve(const struct gofer_config *config)
{
    if (hash_key == 0)
        hash_init();
    (void)umask(0); /* modes come complete from the client */
    (void)signal(SIGPIPE, SIG_IGN);
    struct conn *c = conn_new(config);
    if (!c)
        return -ENOMEM;
    slice_set();
    const char *what = "exports";
    int r = config->unconfined ? 0 : confine(config, &what);
    if (r < 0)
        log_error("gofer", "confinement failed: step=%s err=%d", what, -r);
    else
        r = conn_run(c);
    conn_free(c);
    return r;
}
