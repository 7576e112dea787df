/* SPDX-License-Identifier: Apache-2.0
 * unixrandom.c - random operations on AF_UNIX sockets, one seed after the other.
 *
 * Without arguments every case is one seed; each checks invariants that hold everywhere. With
 * "print SEED COUNT" the operations and their results go to stdout: a transcript that has to be the same
 * natively and inside (e2e/transcript.sh). Sockets are not passed: when the collector finds them
 * is not determined. Nothing in it depends on time: all operations are
 * non-blocking and in one thread. */
#include "seeded.h"
#include "unixutil.h"

#define SOCKETS 12
#define NAMES 6

static int g_fd[SOCKETS], g_type[SOCKETS];
static int64_t g_sent, g_received; /* bytes of streams */

static const char *kind_of(int slot)
{
    if (slot < 0 || slot >= SOCKETS)
        return "";
    return g_type[slot] == SOCK_STREAM ? "s" : g_type[slot] == SOCK_DGRAM ? "d" : "p";
}

static void note(const char *what, int slot, long r)
{
    if (g_out)
        fprintf(g_out, "%s %d%s = %ld%s%s\n", what, slot, kind_of(slot), r, r < 0 ? " " : "",
                r < 0 ? strerrorname_np(errno) : "");
}

static struct address random_name(void)
{
    struct address a = {.un = {.sun_family = AF_UNIX}};
    unsigned k = pick(NAMES);
    if (k < NAMES / 2) {
        a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                            (size_t)snprintf(a.un.sun_path + 1, 60, "rr-%07d-%u", getpid(), k));
    } else {
        snprintf(a.un.sun_path, 60, "p%u", k);
        a.len = sizeof(a.un);
    }
    return a;
}

static int slot_free(void)
{
    int s = (int)pick(SOCKETS);
    if (g_fd[s] >= 0) {
        note("close", s, close(g_fd[s]));
        g_fd[s] = -1;
    }
    return s;
}

static void op_socket(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    int s = slot_free(), type = types[pick(3)];
    g_fd[s] = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    g_type[s] = type;
    CHECK(g_fd[s] >= 0);
    note("socket", s, type);
}

static void op_pair(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    int a = slot_free(), b = slot_free(), sp[2], type = types[pick(3)];
    CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, sp) == 0);
    if (a == b) {
        close(sp[1]);
        g_fd[a] = sp[0];
    } else {
        g_fd[a] = sp[0];
        g_fd[b] = sp[1];
        g_type[b] = type;
    }
    g_type[a] = type;
    note("pair", a * 100 + b, type);
}

static void op_name(int s)
{
    struct sockaddr_un un;
    socklen_t len = sizeof(un);
    int peer = (int)pick(2);
    long r = peer ? getpeername(g_fd[s], (struct sockaddr *)&un, &len)
                  : getsockname(g_fd[s], (struct sockaddr *)&un, &len);
    note(peer ? "getpeername" : "getsockname", s, r ? r : (long)len);
}

static void op_bind(int s)
{
    struct address a = random_name();
    note("bind", s, do_bind(g_fd[s], &a));
}

static void op_unlink(void)
{
    struct address a = random_name();
    if (a.un.sun_path[0])
        note("unlink", a.un.sun_path[1], unlink(a.un.sun_path));
}

static void op_connect(int s)
{
    struct address a = random_name();
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    if (pick(8))
        note("connect", s, do_connect(g_fd[s], &a));
    else
        note("connect none", s, connect(g_fd[s], &none, sizeof(none)));
}

static void op_listen(int s)
{
    note("listen", s, listen(g_fd[s], (int)pick(4)));
}

static void op_accept(int s)
{
    struct sockaddr_un un;
    socklen_t len = sizeof(un);
    int fd = accept4(g_fd[s], (struct sockaddr *)&un, &len, SOCK_NONBLOCK);
    note("accept", s, fd < 0 ? fd : (long)len);
    if (fd < 0)
        return;
    int to = (int)pick(SOCKETS);
    if (g_fd[to] >= 0)
        close(g_fd[to]);
    g_fd[to] = fd;
    g_type[to] = g_type[s];
}

static void op_send(int s)
{
    static char buf[3000];
    size_t n = pick(4) ? pick(20) : pick(sizeof(buf));
    struct address a = random_name();
    long r;
    for (size_t i = 0; i < n; i++)
        buf[i] = (char)(i + n);
    if (pick(3))
        r = send(g_fd[s], buf, n, MSG_NOSIGNAL);
    else
        r = sendto(g_fd[s], buf, n, MSG_NOSIGNAL, (struct sockaddr *)&a.un, a.len);
    note("send", s, r);
    if (r > 0 && g_type[s] == SOCK_STREAM)
        g_sent += r;
}

static void op_receive(int s)
{
    static char buf[4000];
    struct sockaddr_un un;
    size_t n = pick(3) ? pick(40) : pick(sizeof(buf));
    int flags = (pick(4) ? 0 : MSG_PEEK) | (pick(4) ? 0 : MSG_TRUNC);
    struct iovec iov = {buf, n};
    struct msghdr h = {
        .msg_name = &un, .msg_namelen = sizeof(un), .msg_iov = &iov, .msg_iovlen = 1};
    if (g_type[s] == SOCK_STREAM)
        flags &= ~MSG_TRUNC;
    long r = recvmsg(g_fd[s], &h, flags);
    note(flags & MSG_PEEK ? "peek" : "receive", s, r);
    if (r < 0)
        return;
    if (g_out)
        fprintf(g_out, "  flags %x name %u first %d last %d\n", (unsigned)h.msg_flags,
                h.msg_namelen, r && n ? buf[0] : -1,
                r && n ? buf[(r < (long)n ? r : (long)n) - 1] : -1);
    if (g_type[s] == SOCK_STREAM && !(flags & MSG_PEEK))
        g_received += r;
}

static void op_shutdown(int s)
{
    note("shutdown", s, shutdown(g_fd[s], (int)pick(3)));
}

static void op_poll(int s)
{
    struct pollfd p = {.fd = g_fd[s], .events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK(poll(&p, 1, 0) >= 0);
    note("poll", s, p.revents);
}

static void op_query(int s)
{
    int v = -1;
    socklen_t len = sizeof(v);
    static const int names[] = {SO_ERROR, SO_ACCEPTCONN, SO_TYPE};
    unsigned k = pick(4);
    if (k == 3)
        note("inq", s, ioctl(g_fd[s], FIONREAD, &v) ? -1 : v);
    else
        note("option", s, getsockopt(g_fd[s], SOL_SOCKET, names[k], &v, &len) ? -1 : v);
}

static void op_pass(int s)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {"d", 1};
    struct msghdr h = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    *c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &(int){0}, sizeof(int));
    long r = sendmsg(g_fd[s], &h, MSG_NOSIGNAL);
    note("pass", s, r);
    if (r > 0 && g_type[s] == SOCK_STREAM)
        g_sent += r;
}

static void operation(void)
{
    static void (*const ops[])(int) = {op_send,    op_send,  op_send,    op_send,    op_receive,
                                       op_receive, op_poll,  op_receive, op_bind,    op_connect,
                                       op_connect, op_poll,  op_listen,  op_accept,  op_accept,
                                       op_name,    op_query, op_pass,    op_shutdown};
    unsigned k = pick(26);
    int s = (int)pick(SOCKETS);
    if (k < 3)
        op_socket();
    else if (k < 5)
        op_pair();
    else if (k == 5)
        op_unlink();
    else if (k == 6)
        (void)slot_free();
    else if (g_fd[s] >= 0)
        ops[k - 7](s);
}

static void run(uint64_t seed, unsigned count)
{
    in_temp_dir();
    seed_set(seed);
    g_sent = g_received = 0;
    for (int i = 0; i < SOCKETS; i++)
        g_fd[i] = -1;
    for (unsigned i = 0; i < count; i++) {
        operation();
        CHECK(g_received <= g_sent);
    }
    for (int i = 0; i < SOCKETS; i++)
        if (g_fd[i] >= 0)
            close(g_fd[i]);
}

static void case_seeds(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        run(seed, 1000);
}

static const struct guest_case cases[] = {
    {"seeds", case_seeds},
};

int main(int argc, char **argv)
{
    return seeded_main(argc, argv, run, cases, sizeof(cases) / sizeof(cases[0]));
}
