/* SPDX-License-Identifier: Apache-2.0
 * socketpair.c - AF_UNIX pairs: streams, messages, descriptors, credentials. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

static int s[2];

static void pair(int type)
{
    CHECK(socketpair(AF_UNIX, type, 0, s) == 0);
}

static void streams(void)
{
    char buf[16];
    struct stat st;
    pair(SOCK_STREAM);
    CHECK(write(s[0], "abc", 3) == 3 && send(s[0], "de", 2, 0) == 2);
    CHECK(recv(s[1], buf, 16, MSG_PEEK) >= 3);
    CHECK_EQ(recv(s[1], buf, 16, 0), 5);
    CHECK(!memcmp(buf, "abcde", 5));
    CHECK_ERR(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
    CHECK(fstat(s[0], &st) == 0 && S_ISSOCK(st.st_mode));
    CHECK_ERR(lseek(s[0], 0, SEEK_SET), ESPIPE);
}

static void packets(void)
{
    char buf[16];
    pair(SOCK_SEQPACKET);
    CHECK(send(s[0], "abc", 3, 0) == 3 && send(s[0], "de", 2, 0) == 2);
    CHECK_EQ(recv(s[1], buf, 16, 0), 3);
    CHECK_EQ(recv(s[1], buf, 1, MSG_TRUNC), 2);
    close(s[0]);
    CHECK_EQ(recv(s[1], buf, 16, 0), 0);
}

static void datagrams(void)
{
    char buf[16];
    pair(SOCK_DGRAM);
    CHECK(send(s[0], "abc", 3, 0) == 3 && send(s[0], "", 0, 0) == 0);
    struct iovec iov = {buf, 2};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    CHECK_EQ(recvmsg(s[1], &m, 0), 2);
    CHECK(m.msg_flags == MSG_TRUNC);
    CHECK_EQ(recv(s[1], buf, 16, 0), 0);
    close(s[1]);
    CHECK_ERR(send(s[0], "x", 1, 0), ECONNREFUSED);
}

static void flags(void)
{
    int v[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, v) == 0);
    CHECK(fcntl(v[0], F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(v[1], F_GETFL) == (O_RDWR | O_NONBLOCK));
    CHECK_ERR(socketpair(AF_UNIX, SOCK_RDM, 0, v), ESOCKTNOSUPPORT);
    CHECK_ERR(socketpair(AF_UNIX, SOCK_STREAM, 5, v), EPROTONOSUPPORT);
}

static void closing(void)
{
    char c;
    pair(SOCK_STREAM);
    close(s[1]);
    CHECK_EQ(read(s[0], &c, 1), 0);
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    pid_t pid = fork();
    if (pid == 0) {
        (void)!write(s[0], "x", 1);
        _exit(0);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    struct pollfd p = {s[0], POLLIN | POLLRDHUP, 0};
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLIN | POLLRDHUP | POLLHUP);
}

static void half_closing(void)
{
    char c;
    pair(SOCK_STREAM);
    CHECK(shutdown(s[0], SHUT_WR) == 0);
    CHECK_EQ(read(s[1], &c, 1), 0);
    CHECK(write(s[1], "x", 1) == 1 && read(s[0], &c, 1) == 1);
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_ERR(shutdown(s[0], 5), EINVAL);
    CHECK_ERR(shutdown(open("/dev/null", O_RDONLY), 0), ENOTSOCK);
}

static void send_fd(int sock, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {"f", 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    CHECK_EQ(sendmsg(sock, &m, 0), 1);
}

static int receive_fd(int sock, size_t room, int *flags)
{
    char control[CMSG_SPACE(sizeof(int) * 4)] = {0}, byte;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    CHECK_EQ(recvmsg(sock, &m, MSG_CMSG_CLOEXEC), 1);
    *flags = m.msg_flags;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c)
        return -1;
    int fd;
    CHECK(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
    memcpy(&fd, CMSG_DATA(c), sizeof(int));
    return fd;
}

static void descriptors(void)
{
    int p[2], f;
    char c;
    pair(SOCK_STREAM);
    CHECK(pipe(p) == 0);
    send_fd(s[0], p[1]);
    close(p[1]);
    int fd = receive_fd(s[1], CMSG_SPACE(sizeof(int)), &f);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(!(f & MSG_CTRUNC));
    CHECK(write(fd, "x", 1) == 1 && read(p[0], &c, 1) == 1);
    send_fd(s[0], fd);
    CHECK_EQ(receive_fd(s[1], 0, &f), -1);
    CHECK(f & MSG_CTRUNC);
    close(fd);
    CHECK_EQ(read(p[0], &c, 1), 0); /* the one that did not fit is closed */
}

static void bad_descriptor(void)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {"f", 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int fd = 999;
    pair(SOCK_STREAM);
    *c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    CHECK_ERR(sendmsg(s[0], &m, 0), EBADF);
    c->cmsg_len = 5;
    CHECK_ERR(sendmsg(s[0], &m, 0), EINVAL);
    c->cmsg_len = 100000;
    CHECK_ERR(sendmsg(s[0], &m, 0), EINVAL);
}

static void credentials(void)
{
    char control[256] = {0}, byte;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct ucred u;
    socklen_t len = sizeof(u);
    int on = 1;
    pair(SOCK_STREAM);
    CHECK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &len) == 0);
    CHECK(u.pid == getpid() && u.uid == geteuid());
    CHECK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
    CHECK(write(s[0], "x", 1) == 1);
    CHECK_EQ(recvmsg(s[1], &m, 0), 1);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    CHECK(c && c->cmsg_type == SCM_CREDENTIALS);
    memcpy(&u, CMSG_DATA(c), sizeof(u));
    CHECK(u.pid == getpid() && u.uid == geteuid() && u.gid == getegid());
}

static void options(void)
{
    int v = 0;
    socklen_t len = sizeof(v);
    pair(SOCK_STREAM);
    CHECK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &len) == 0 && v == SOCK_STREAM);
    CHECK(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &len) == 0 && v == AF_UNIX);
    CHECK(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &v, &len) == 0 && v == 0);
    v = 10000;
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)) == 0);
    CHECK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &len) == 0 && v == 20000);
    CHECK_ERR(getsockopt(s[0], SOL_SOCKET, 9999, &v, &len), ENOPROTOOPT);
    struct sockaddr_un a;
    len = sizeof(a);
    CHECK(getsockname(s[0], (struct sockaddr *)&a, &len) == 0);
    CHECK(len == sizeof(a.sun_family) && a.sun_family == AF_UNIX);
    struct timeval tv = {0, 20000};
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    CHECK_ERR(recv(s[0], &v, 1, 0), EAGAIN);
}

#define MUCH (1 << 20)

static void much_writer(void *arg)
{
    char *buf = malloc(MUCH);
    (void)arg;
    close(s[0]);
    memset(buf, 'm', MUCH);
    CHECK_EQ(send(s[1], buf, MUCH, 0), MUCH);
}

static void much(void)
{
    static char buf[MUCH];
    pair(SOCK_STREAM);
    pid_t pid = guest_fork(much_writer, NULL);
    close(s[1]);
    CHECK_EQ(recv(s[0], buf, MUCH, MSG_WAITALL), MUCH);
    CHECK_EQ(recv(s[0], buf, 1, 0), 0);
    CHECK_EQ(guest_wait(pid), 0);
}

static void unconnected(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/tmp/nobody-listens-here"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_ERR(connect(fd, (struct sockaddr *)&a, sizeof(a)), ENOENT);
    CHECK_ERR(send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    CHECK_ERR(getpeername(fd, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}), ENOTCONN);
}

/* What the other end had not read is no longer the sender's. */
static void full_then_gone(void)
{
    static const char data[4096];
    for (int round = 0; round < 3; round++) {
        static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_STREAM};
        int sp[2], queued = -1;
        struct pollfd p = {.events = POLLIN | POLLOUT | POLLRDHUP};
        CHECK(socketpair(AF_UNIX, types[round] | SOCK_NONBLOCK, 0, sp) == 0);
        p.fd = sp[0];
        while (send(sp[0], data, round == 2 ? 100 : sizeof(data), 0) > 0)
            ;
        CHECK(errno == EAGAIN && poll(&p, 1, 0) == 0);
        CHECK(ioctl(sp[0], TIOCOUTQ, &queued) == 0 && queued > 0);
        CHECK(close(sp[1]) == 0 && poll(&p, 1, 0) == 1);
        CHECK_EQ(p.revents, POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
        CHECK(ioctl(sp[0], TIOCOUTQ, &queued) == 0);
        CHECK_EQ(queued, 0);
    }
}

static const struct guest_case cases[] = {
    {"full_then_gone", full_then_gone},
    {"streams", streams},
    {"packets", packets},
    {"datagrams", datagrams},
    {"flags", flags},
    {"closing", closing},
    {"half_closing", half_closing},
    {"descriptors", descriptors},
    {"bad_descriptor", bad_descriptor},
    {"credentials", credentials},
    {"options", options},
    {"much", much},
    {"unconnected", unconnected},
};
GUEST_MAIN(cases)
