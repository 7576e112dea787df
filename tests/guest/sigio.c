/* SPDX-License-Identifier: Apache-2.0
 * sigio.c - O_ASYNC, F_SETOWN, F_SETSIG: files that tell their owner by a signal. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "guest.h"

#define SIG (SIGRTMIN + 3)
#define QUIET_MS 60

/* The next of the signals, blocked before, with its description; 0: none within the time. */
static int next_signal(siginfo_t *info, long ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIG);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGURG);
    memset(info, 0, sizeof(*info));
    int r = sigtimedwait(&set, info, &ts);
    return r < 0 ? 0 : r;
}

static void block(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIG);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGURG);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

static void expect(int fd, int code, long band)
{
    siginfo_t i;

    CHECK_EQ(next_signal(&i, 5000), SIG);
    CHECK_EQ(i.si_code, code);
    CHECK_EQ(i.si_band, band);
    CHECK_EQ(i.si_fd, fd);
}

static void expect_none(void)
{
    siginfo_t i;

    CHECK_EQ(next_signal(&i, QUIET_MS), 0);
}

static void async_on(int fd, int sig)
{
    CHECK(fcntl(fd, F_SETOWN, getpid()) == 0);
    CHECK(fcntl(fd, F_SETSIG, sig) == 0);
    CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0);
    CHECK(fcntl(fd, F_GETFL) & O_ASYNC);
}

#define BAND_IN (POLLIN | POLLRDNORM)
#define BAND_OUT (POLLOUT | POLLWRNORM | POLLWRBAND)
#define BAND_HUP (POLLHUP | POLLERR)

static void owners(void)
{
    struct f_owner_ex ex;
    int sv[2], none;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    CHECK_EQ(fcntl(sv[0], F_GETOWN), 0);
    CHECK_EQ(fcntl(sv[0], F_GETSIG), 0);
    CHECK(syscall(SYS_fcntl, sv[0], F_GETOWN_EX, &ex) == 0);
    CHECK_EQ(ex.type, F_OWNER_TID);
    CHECK_EQ(ex.pid, 0);
    CHECK(fcntl(sv[0], F_SETOWN, getpid()) == 0);
    CHECK_EQ(fcntl(sv[0], F_GETOWN), getpid());
    CHECK(syscall(SYS_fcntl, sv[0], F_GETOWN_EX, &ex) == 0);
    CHECK_EQ(ex.type, F_OWNER_PID);
    CHECK(fcntl(sv[0], F_SETOWN, -getpgrp()) == 0);
    CHECK(syscall(SYS_fcntl, sv[0], F_GETOWN_EX, &ex) == 0);
    CHECK_EQ(ex.type, F_OWNER_PGRP);
    CHECK_EQ(ex.pid, getpgrp());
    ex = (struct f_owner_ex){F_OWNER_TID, guest_gettid()};
    CHECK(fcntl(sv[0], F_SETOWN_EX, &ex) == 0);
    CHECK_EQ(fcntl(sv[0], F_GETOWN), guest_gettid());
    CHECK_EQ(fcntl(sv[1], F_GETOWN), 0);
    ex.type = 7;
    CHECK_ERR(fcntl(sv[0], F_SETOWN_EX, &ex), EINVAL);
    ex = (struct f_owner_ex){F_OWNER_PID, 0x3fffff};
    CHECK_ERR(fcntl(sv[0], F_SETOWN_EX, &ex), ESRCH);
    CHECK_ERR(fcntl(sv[0], F_SETOWN, 0x3fffff), ESRCH);
    CHECK_ERR(fcntl(sv[0], F_SETOWN, -0x3fffff), ESRCH);
    CHECK_EQ(fcntl(sv[0], F_GETOWN), guest_gettid()); /* it stays */
    CHECK_ERR(fcntl(sv[0], F_SETSIG, 65), EINVAL);
    CHECK(fcntl(sv[0], F_SETSIG, 64) == 0);
    CHECK_EQ(fcntl(sv[0], F_GETSIG), 64);
    int pid = getpid();
    CHECK(ioctl(sv[0], SIOCSPGRP, &pid) == 0);
    CHECK(ioctl(sv[0], SIOCGPGRP, &none) == 0);
    CHECK_EQ(none, pid);
    CHECK(fcntl(sv[0], F_SETOWN, 0) == 0);
    CHECK_EQ(fcntl(sv[0], F_GETOWN), 0);
    int p[2];
    CHECK(pipe(p) == 0);
    CHECK_ERR(ioctl(p[0], SIOCSPGRP, &pid), ENOTTY);
    pid_t child = fork();
    if (!child)
        _exit(0);
    CHECK(fcntl(p[0], F_SETOWN, child) == 0);
    guest_wait(child);
    CHECK_EQ(fcntl(p[0], F_GETOWN), 0); /* it is no more */
}

static void pipes(void)
{
    int p[2];
    char c;

    block();
    CHECK(pipe(p) == 0);
    async_on(p[0], SIG);
    expect_none();
    CHECK(write(p[1], "a", 1) == 1);
    expect(p[0], POLL_IN, BAND_IN);
    CHECK(write(p[1], "b", 1) == 1); /* each write, also when something lay there */
    expect(p[0], POLL_IN, BAND_IN);
    CHECK(read(p[0], &c, 1) == 1);
    expect_none();
    async_on(p[1], SIG);
    CHECK(read(p[0], &c, 1) == 1);
    expect(p[1], POLL_OUT, BAND_OUT);
    CHECK(fcntl(p[1], F_SETFL, 0) == 0);
    int fd = dup(p[0]);
    CHECK(write(p[1], "c", 1) == 1); /* it names the descriptor it was asked on */
    expect(p[0], POLL_IN, BAND_IN);
    CHECK(close(fd) == 0);
    CHECK(close(p[1]) == 0);
    expect(p[0], POLL_IN, BAND_IN);
    expect_none();
}

/* Without F_SETSIG: SIGIO, which does not say why. */
static void plain(void)
{
    siginfo_t i;
    int p[2], on = 1;

    block();
    CHECK(pipe(p) == 0);
    CHECK(fcntl(p[0], F_SETOWN, getpid()) == 0);
    CHECK(ioctl(p[0], FIOASYNC, &on) == 0);
    CHECK(fcntl(p[0], F_GETFL) & O_ASYNC);
    CHECK(write(p[1], "a", 1) == 1);
    CHECK_EQ(next_signal(&i, 5000), SIGIO);
    CHECK_EQ(i.si_code, SI_KERNEL);
    CHECK(fcntl(p[0], F_SETSIG, SIGIO) == 0); /* asked for by name it does */
    CHECK(write(p[1], "a", 1) == 1);
    CHECK_EQ(next_signal(&i, 5000), SIGIO);
    CHECK_EQ(i.si_code, POLL_IN);
    CHECK_EQ(i.si_fd, p[0]);
    on = 0;
    CHECK(ioctl(p[0], FIOASYNC, &on) == 0);
    CHECK(!(fcntl(p[0], F_GETFL) & O_ASYNC));
    CHECK(write(p[1], "a", 1) == 1);
    expect_none();
    CHECK(fcntl(p[0], F_SETFL, O_ASYNC) == 0);
    CHECK(fcntl(p[0], F_SETOWN, 0) == 0); /* nobody */
    CHECK(write(p[1], "a", 1) == 1);
    expect_none();
    on = 1;
    CHECK_ERR(ioctl(eventfd(0, 0), FIOASYNC, &on), ENOTTY);
}

static void unix_stream(void)
{
    static char big[300000];
    int sv[2];

    block();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    async_on(sv[0], SIG);
    CHECK(write(sv[1], "ab", 2) == 2);
    expect(sv[0], POLL_IN, BAND_IN);
    CHECK(read(sv[0], big, 1) == 1);
    expect_none();
    CHECK(write(sv[0], big, 100) == 100);
    CHECK(read(sv[1], big, 100) == 100); /* there was room all the time */
    expect_none();
    while (send(sv[0], big, sizeof(big), MSG_DONTWAIT) > 0)
        ;
    expect_none();
    while (recv(sv[1], big, sizeof(big), MSG_DONTWAIT) > 0)
        ;
    expect(sv[0], POLL_OUT, BAND_OUT);
    CHECK(shutdown(sv[1], SHUT_WR) == 0);
    expect(sv[0], POLL_IN, BAND_IN);
    CHECK(close(sv[1]) == 0);
    expect(sv[0], POLL_HUP, BAND_HUP);
    expect_none();
}

static void unix_dgram(void)
{
    int sv[2];

    block();
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    async_on(sv[0], SIG);
    CHECK(send(sv[1], "x", 1, 0) == 1 && send(sv[1], "y", 1, 0) == 1);
    expect(sv[0], POLL_IN, BAND_IN);
    expect(sv[0], POLL_IN, BAND_IN);
    expect_none();
}

static int bound(int type, struct sockaddr_in *sa)
{
    socklen_t len = sizeof(*sa);
    int s = socket(AF_INET, type, 0);

    *sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(bind(s, (struct sockaddr *)sa, sizeof(*sa)) == 0);
    CHECK(getsockname(s, (struct sockaddr *)sa, &len) == 0);
    return s;
}

static void tcp(void)
{
    struct sockaddr_in sa;
    int l = bound(SOCK_STREAM, &sa), c = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    char buf[10];

    block();
    CHECK(listen(l, 5) == 0);
    async_on(l, SIG);
    async_on(c, SIG);
    CHECK(connect(c, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    siginfo_t i[2];
    CHECK_EQ(next_signal(&i[0], 5000), SIG);
    CHECK_EQ(next_signal(&i[1], 5000), SIG);
    int at = i[0].si_fd == l ? 0 : 1;
    CHECK_EQ(i[at].si_fd, l);
    CHECK_EQ(i[at].si_code, POLL_IN);
    CHECK_EQ(i[!at].si_fd, c);
    CHECK_EQ(i[!at].si_code, POLL_OUT);
    int s = accept(l, NULL, NULL);
    CHECK(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    CHECK(send(s, "abc", 3, 0) == 3);
    expect(c, POLL_IN, BAND_IN);
    CHECK(recv(c, buf, 10, 0) == 3);
    expect_none();
    CHECK(shutdown(s, SHUT_WR) == 0);
    expect(c, POLL_IN, BAND_IN);
    expect(c, POLL_IN, BAND_IN); /* both as the end and as data */
    CHECK(close(s) == 0);
    expect_none();
}

static void tcp_reset(void)
{
    struct sockaddr_in sa;
    int l = bound(SOCK_STREAM, &sa), c = socket(AF_INET, SOCK_STREAM, 0);
    struct linger hard = {1, 0};

    block();
    CHECK(listen(l, 5) == 0);
    CHECK(connect(c, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    int s = accept(l, NULL, NULL);
    async_on(c, SIG);
    CHECK(setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
    CHECK(close(s) == 0);
    expect(c, POLL_ERR, POLLERR);
    expect_none();
}

static void udp(void)
{
    struct sockaddr_in sa, gone;
    int r = bound(SOCK_DGRAM, &sa), s = socket(AF_INET, SOCK_DGRAM, 0);

    block();
    async_on(r, SIG);
    CHECK(sendto(s, "x", 1, 0, (struct sockaddr *)&sa, sizeof(sa)) == 1);
    expect(r, POLL_IN, BAND_IN);
    int g = bound(SOCK_DGRAM, &gone);
    CHECK(close(g) == 0);
    async_on(s, SIG);
    CHECK(connect(s, (struct sockaddr *)&gone, sizeof(gone)) == 0);
    CHECK(send(s, "x", 1, 0) == 1);
    expect(s, POLL_ERR, POLLERR);
    expect_none();
}

/* Urgent data: SIGURG without O_ASYNC; with F_SETSIG and O_ASYNC its signal too. */
static void urgent(void)
{
    struct sockaddr_in sa;
    int l = bound(SOCK_STREAM, &sa), c = socket(AF_INET, SOCK_STREAM, 0);
    siginfo_t i;

    block();
    CHECK(listen(l, 5) == 0);
    CHECK(connect(c, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    int s = accept(l, NULL, NULL);
    CHECK(send(s, "a", 1, MSG_OOB) == 1);
    expect_none();
    CHECK(fcntl(c, F_SETOWN, getpid()) == 0);
    CHECK(send(s, "b", 1, MSG_OOB) == 1);
    CHECK_EQ(next_signal(&i, 5000), SIGURG);
    CHECK_EQ(i.si_code, SI_KERNEL);
    expect_none();
}

static _Atomic int g_thread_got;

static void on_signal(int sig)
{
    (void)sig;
    g_thread_got = guest_gettid();
}

static void *thread_waits(void *p)
{
    (void)p;
    while (!g_thread_got)
        guest_sleep_ms(1);
    return NULL;
}

/* F_OWNER_TID: that thread and no other; a group: every process of it. */
static void thread_owner(void)
{
    struct f_owner_ex ex = {F_OWNER_TID, guest_gettid()};
    pthread_t t;
    int p[2];

    CHECK(signal(SIG, on_signal) != SIG_ERR);
    CHECK(pipe(p) == 0);
    CHECK(pthread_create(&t, NULL, thread_waits, NULL) == 0);
    CHECK(fcntl(p[0], F_SETOWN_EX, &ex) == 0 && fcntl(p[0], F_SETSIG, SIG) == 0);
    CHECK(fcntl(p[0], F_SETFL, O_ASYNC) == 0);
    CHECK(write(p[1], "x", 1) == 1);
    WAIT_FOR(g_thread_got);
    CHECK_EQ(g_thread_got, guest_gettid());
    CHECK(pthread_join(t, NULL) == 0);
}

static void child_expects(void *p)
{
    siginfo_t i;

    CHECK_EQ(next_signal(&i, 8000), SIGIO);
    (void)p;
}

static void group_owner(void)
{
    siginfo_t i;
    int p[2];

    block();
    CHECK(setpgid(0, 0) == 0 || getpgrp() == getpid());
    CHECK(pipe(p) == 0);
    pid_t a = guest_fork(child_expects, NULL), b = guest_fork(child_expects, NULL);
    CHECK(fcntl(p[0], F_SETOWN, -getpgrp()) == 0);
    CHECK(fcntl(p[0], F_SETFL, O_ASYNC) == 0);
    CHECK(write(p[1], "x", 1) == 1);
    CHECK_EQ(next_signal(&i, 5000), SIGIO);
    CHECK_EQ(guest_wait(a), 0);
    CHECK_EQ(guest_wait(b), 0);
}

/* A queue that is full: SIGIO instead. */
static void overflow(void)
{
    int p[2];
    char c;

    block();
    CHECK(pipe(p) == 0);
    async_on(p[0], SIG);
    for (int i = 0; i < 300000; i++) {
        CHECK(write(p[1], "x", 1) == 1 && read(p[0], &c, 1) == 1);
        sigset_t set;
        CHECK(sigpending(&set) == 0);
        if (sigismember(&set, SIGIO) == 1)
            return;
    }
    SKIP("no limit of queued signals");
}

/* The file goes: nobody is told any more, though the other side goes on. */
static void closed(void)
{
    char name[] = "/tmp/sigioXXXXXX";

    block();
    CHECK(mkdtemp(name) && chdir(name) == 0 && mkfifo("f", 0600) == 0);
    int r = open("f", O_RDONLY | O_NONBLOCK), other = open("f", O_RDONLY | O_NONBLOCK);
    int w = open("f", O_WRONLY);
    CHECK(r >= 0 && other >= 0 && w >= 0);
    async_on(r, SIG);
    CHECK(write(w, "x", 1) == 1);
    expect(r, POLL_IN, BAND_IN);
    CHECK(close(r) == 0);
    CHECK(write(w, "x", 1) == 1);
    expect_none();
    CHECK(!(fcntl(other, F_GETFL) & O_ASYNC));
    CHECK(unlink("f") == 0 && chdir("/") == 0 && rmdir(name) == 0);
}

static const struct guest_case cases[] = {
    {"owners", owners},
    {"pipes", pipes},
    {"plain", plain},
    {"unix_stream", unix_stream},
    {"unix_dgram", unix_dgram},
    {"tcp", tcp},
    {"tcp_reset", tcp_reset},
    {"udp", udp},
    {"urgent", urgent},
    {"thread_owner", thread_owner},
    {"group_owner", group_owner},
    {"overflow", overflow},
    {"closed", closed},
};
GUEST_MAIN(cases)
