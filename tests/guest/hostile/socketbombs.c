/* SPDX-License-Identifier: Apache-2.0
 * socketbombs.c - taking all sockets, ports, buffers and places in queues; descriptors in circles;
 * listeners that nobody accepts from. Limits must hold, all must be there again afterwards, and the
 * bystander (sockets.c) must get on. */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_MAX 100000   /* what a sandbox may have open */
#define SOCKETS_MAX 200000 /* the same with connections that nobody has accepted */
#define BACKLOG_MAX 4096
#define UNIX_BYTES_MAX (256L << 20) /* in AF_UNIX queues, and UNIX_BYTES_EACH in each socket */
#define UNIX_BYTES_EACH 2048L
#define INFLIGHT_MAX 16384 /* descriptors in messages */

static void many_files(void)
{
    struct rlimit rl = {1 << 20, 1 << 20};

    if (setrlimit(RLIMIT_NOFILE, &rl)) { /* not root: what is allowed */
        getrlimit(RLIMIT_NOFILE, &rl);
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

/* --- circles --- */

static int fds_send(int sock, const int *fds, unsigned n)
{
    char c = 'x', room[CMSG_SPACE(4 * sizeof *fds)] = {0};
    struct iovec iov = {&c, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = room,
                         .msg_controllen = CMSG_SPACE(n * sizeof *fds)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof *fds);
    memcpy(CMSG_DATA(h), fds, n * sizeof *fds);
    return (int)sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Pairs in themselves and in each other, then a ring of them; all closed: only messages know them. */
static bool circle(int type)
{
    int sv[8][2], ok = 1;

    for (int i = 0; i < 8; i++)
        CHECK(socketpair(AF_UNIX, type, 0, sv[i]) == 0);
    for (int i = 0; i < 8; i++) {
        ok &= fds_send(sv[i][0], sv[i], 2) == 1;
        ok &= fds_send(sv[i][1], sv[(i + 1) % 8], 2) == 1;
    }
    for (int i = 0; i < 8; i++) {
        close(sv[i][0]);
        close(sv[i][1]);
    }
    return ok;
}

/* Far more than could stand in messages at once: so they are collected. */
static void child_circles(uint64_t type)
{
    for (unsigned n = 0; n < 4 * INFLIGHT_MAX / 32; n++)
        CHECK(circle((int)type));
}

/* A chain: each socket stands in the next one's queue. */
static void child_chain(uint64_t arg)
{
    int before = -1;

    (void)arg;
    for (unsigned n = 0; n < 8000; n++) {
        int sv[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
        if (before >= 0)
            CHECK(fds_send(sv[0], &before, 1) == 1);
        close(sv[0]);
        if (before >= 0)
            close(before);
        before = sv[1];
    }
}

static unsigned fill_flight(int fd)
{
    unsigned n = 0;

    for (;;) {
        int sv[2];
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
        int fds[4] = {fd, fd, fd, fd};
        while (fds_send(sv[0], fds, 4) == 1)
            n += 4;
        if (errno == ETOOMANYREFS)
            return n;
        CHECK(errno == EAGAIN && n <= INFLIGHT_MAX);
    }
}

#define USER_LIMIT 600U
/* A user without rights: RLIMIT_NOFILE bounds what all its processes have under way. */
static void user_fills(void)
{
    struct rlimit rl = {USER_LIMIT, USER_LIMIT};
    int sv[2];

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0 && setresuid(4001, 4001, 4001) == 0);
    unsigned n = fill_flight(0);
    CHECK(n >= USER_LIMIT && n <= USER_LIMIT + 4);
    pid_t same = fork();
    if (same == 0)
        _exit(fds_send(sv[0], sv, 1) < 0 && errno == ETOOMANYREFS ? 0 : 1);
    int status;
    CHECK(waitpid(same, &status, 0) == same && status == 0);
}

static void child_flight(uint64_t arg)
{
    struct rlimit rl = {USER_LIMIT, USER_LIMIT};
    int sv[2], ready[2], status;
    char c;

    (void)arg;
    if (getuid() == 0) {
        CHECK(pipe(ready) == 0);
        pid_t filler = fork();
        if (filler == 0) {
            user_fills();
            CHECK(write(ready[1], "x", 1) == 1);
            pause();
        }
        close(ready[1]);
        CHECK(read(ready[0], &c, 1) == 1);
        pid_t other = fork(); /* another user has a limit of its own */
        if (other == 0) {
            CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
            CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0 && setresuid(4002, 4002, 4002) == 0);
            _exit(fds_send(sv[0], sv, 1) == 1 ? 0 : 1);
        }
        CHECK(waitpid(other, &status, 0) == other && status == 0);
        kill(filler, SIGKILL);
        CHECK(waitpid(filler, NULL, 0) == filler);
    }
    many_files();
    for (int i = 0; i < 2; i++) { /* the sandbox's own limit, and all comes back */
        pid_t pid = fork();
        if (pid == 0)
            _exit(fill_flight(0) >= (getuid() ? 1000U : INFLIGHT_MAX - 4U) ? 0 : 1);
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    }
}

void case_socket_cycles(void)
{
    pid_t w = watch_start();

    run_well(child_circles, SOCK_STREAM, 60000);
    run_well(child_circles, SOCK_DGRAM, 60000);
    run_well(child_chain, 0, 60000);
    run_well(child_flight, 0, 60000);
    run_well(child_circles, SOCK_SEQPACKET, 60000);
    watch_end(w);
}

/* --- floods --- */

static void unix_name(struct sockaddr_un *a, unsigned n)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "flood-%d-%u", (int)getpid(), n);
}

static const int backlogs[] = {0, 1, 128, BACKLOG_MAX, BACKLOG_MAX + 1, INT_MAX, -1};

/* As many as the backlog says are let in, and one. */
static void child_unix_flood(uint64_t arg)
{
    struct sockaddr_un a;
    int l = socket(AF_UNIX, SOCK_STREAM, 0), backlog = backlogs[arg], n = 0;

    unix_name(&a, 0);
    many_files();
    CHECK(bind(l, (struct sockaddr *)&a, sizeof a) == 0 && listen(l, backlog) == 0);
    for (;; n++) {
        int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(c >= 0);
        if (connect(c, (struct sockaddr *)&a, sizeof a))
            break;
        CHECK(send(c, "x", 1, 0) == 1);
        if (n % 2)
            close(c);
    }
    CHECK(errno == EAGAIN);
    CHECK(n == (backlog < 0 || backlog > BACKLOG_MAX ? BACKLOG_MAX : backlog) + 1);
    if (n > 100)
        return;
    for (; n; n--)
        CHECK(accept(l, NULL, NULL) >= 0);
}

static void *connector(void *arg)
{
    const struct sockaddr_in *a = arg;

    for (;;) { /* waits as if its SYN was lost; refused when the listener goes */
        int c = socket(AF_INET, SOCK_STREAM, 0);
        (void)connect(c, (const struct sockaddr *)a, sizeof *a);
        close(c);
    }
    return NULL;
}

static void child_tcp_flood(uint64_t arg)
{
    struct sockaddr_in a;
    int l = inet_bound(SOCK_STREAM, &a), c[3000], in = 0;

    many_files();
    CHECK(listen(l, backlogs[arg]) == 0);
    for (int i = 0; i < 3000; i++) {
        c[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(c[i] >= 0);
        CHECK(connect(c[i], (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS);
        in += send(c[i], "x", 1, MSG_NOSIGNAL) == 1;
        if (i % 3 == 0)
            close(c[i]);
        else if (i % 3 == 1)
            shutdown(c[i], i / 3 % 3);
    }
    if (backlogs[arg] >= 0 && backlogs[arg] < 3000)
        CHECK(in == backlogs[arg] + 1);
    for (int i = 0; i < 8; i++)
        thread_start(connector, &a);
    sleep_ms(100);
    for (int i = 0; i < 200; i++) /* places become free, and are taken at once */
        close(accept4(l, NULL, NULL, SOCK_NONBLOCK));
    close(l);
    sleep_ms(50);
}

static struct sockaddr_un g_storm;

static void *shutter(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;

    for (;;) {
        int fd = 3 + (int)(rnd(&seed) % 40);
        switch (rnd(&seed) % 8) {
        case 0:
            (void)shutdown(fd, (int)(rnd(&seed) % 3));
            break;
        case 1:
            close(fd);
            break;
        case 2:
            (void)listen(fd, (int)(rnd(&seed) % 4));
            break;
        case 3:
            (void)accept4(fd, NULL, NULL, SOCK_NONBLOCK);
            break;
        case 4:
            (void)bind(fd, (struct sockaddr *)&g_storm, sizeof g_storm);
            break;
        case 5:
            (void)send(fd, &seed, 8, MSG_DONTWAIT | MSG_NOSIGNAL);
            break;
        case 6:
            (void)socket(rnd(&seed) % 2 ? AF_UNIX : AF_INET,
                         (rnd(&seed) % 2 ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
            break;
        default:
            (void)connect(fd, (struct sockaddr *)&g_storm, sizeof g_storm);
        }
    }
    return NULL;
}

static void child_shutdowns(uint64_t arg)
{
    struct rlimit rl = {64, 64};

    setrlimit(RLIMIT_NOFILE, &rl);
    if (arg % 2)
        unix_name(&g_storm, 1);
    else
        *(struct sockaddr_in *)(void *)&g_storm = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(7777), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (uintptr_t i = 0; i < 4; i++)
        thread_start(shutter, (void *)(i + 1 + arg * 4));
    sleep_ms(700);
}

void case_socket_floods(void)
{
    pid_t w = watch_start();

    for (uint64_t i = 0; i < sizeof backlogs / sizeof *backlogs; i++) {
        run_well(child_unix_flood, i, 60000);
        run_well(child_tcp_flood, i, 60000);
    }
    for (uint64_t i = 0; i < 6; i++)
        run_well(child_shutdowns, i, 10000);
    watch_end(w);
}

/* --- ports --- */

static void child_ports(uint64_t type)
{
    struct sockaddr_in a, any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int l = inet_bound((int)type, &a), last = -1, n = 0;

    many_files();
    CHECK(type == SOCK_DGRAM || listen(l, 10) == 0);
    for (;; n++) {
        int fd = socket(AF_INET, (int)type, 0);
        CHECK(fd >= 0);
        if (bind(fd, (struct sockaddr *)&any, sizeof any)) {
            CHECK(errno == EADDRINUSE && n > 20000 && n < 65536);
            break;
        }
        last = fd;
    }
    for (int i = 0; i < 200; i++) { /* in vain, and not for long */
        int fd = socket(AF_INET, (int)type, 0);
        CHECK(bind(fd, (struct sockaddr *)&any, sizeof any) < 0 && errno == EADDRINUSE);
        close(fd);
    }
    int fd = socket(AF_INET, (int)type, 0);
    socklen_t len = sizeof a;
    close(last);
    CHECK(bind(fd, (struct sockaddr *)&any, sizeof any) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0 && a.sin_port);
}

void case_socket_ports(void)
{
    pid_t w = watch_start();

    for (int i = 0; i < 2; i++) {
        run_well(child_ports, SOCK_STREAM, 60000);
        run_well(child_ports, SOCK_DGRAM, 60000);
    }
    watch_end(w);
}

/* --- all sockets --- */

static void child_all(uint64_t arg)
{
    static const int kinds[][2] = {{AF_UNIX, SOCK_STREAM},
                                   {AF_UNIX, SOCK_DGRAM},
                                   {AF_INET, SOCK_STREAM},
                                   {AF_INET6, SOCK_DGRAM},
                                   {AF_NETLINK, SOCK_RAW}};
    int n = 0;

    (void)arg;
    many_files();
    while (socket(kinds[n % 5][0], kinds[n % 5][1], 0) >= 0)
        n++;
    fprintf(stderr, "%d sockets\n", n);
    CHECK(errno == ENFILE ? n > FILES_MAX - 2000 && n <= FILES_MAX : errno == EMFILE);
    close(1000);
    CHECK(socket(AF_UNIX, SOCK_STREAM, 0) == 1000);
}

/* Connections that no file stands for: the clients are closed. */
static void child_pending(uint64_t domain)
{
    struct sockaddr_un un;
    struct sockaddr_in in;
    struct sockaddr *a = domain == AF_UNIX ? (struct sockaddr *)&un : (struct sockaddr *)&in;
    socklen_t len = domain == AF_UNIX ? sizeof un : sizeof in;
    int n = 0;

    many_files();
    for (unsigned k = 0; n <= SOCKETS_MAX; k++) {
        int i = 0,
            l = domain == AF_UNIX ? socket(AF_UNIX, SOCK_STREAM, 0) : inet_bound(SOCK_STREAM, &in);
        unix_name(&un, k);
        CHECK(l >= 0 && (domain != AF_UNIX || bind(l, a, len) == 0) && listen(l, BACKLOG_MAX) == 0);
        for (; i <= BACKLOG_MAX; i++) {
            int c = socket((int)domain, SOCK_STREAM | SOCK_NONBLOCK, 0);
            if (c < 0 || (connect(c, a, len) && errno != EINPROGRESS)) {
                fprintf(stderr, "%d connections, errno %d\n", n, errno);
                CHECK(n > FILES_MAX / 2 &&
                      (errno == ENFILE || errno == ENOMEM || errno == ENOBUFS));
                return;
            }
            (void)send(c, "x", 1, MSG_NOSIGNAL);
            close(c);
            n++;
        }
    }
    _exit(1);
}

void case_socket_limit(void)
{
    pid_t w = watch_start();

    for (int i = 0; i < 2; i++) {
        run_well(child_all, 0, 100000);
        run_well(child_pending, AF_UNIX, 100000);
        run_well(child_pending, AF_INET, 100000);
    }
    watch_end(w);
}

/* --- all buffers --- */

static void child_buffers(uint64_t type)
{
    static char block[32768];
    long bytes = 0;
    int sv[2], pairs = 0;

    many_files();
    for (; pairs < 3000; pairs++) {
        CHECK(socketpair(AF_UNIX, (int)type, 0, sv) == 0);
        for (ssize_t r; (r = send(sv[0], block, sizeof block, MSG_DONTWAIT)) > 0;)
            bytes += r;
        CHECK(errno == EAGAIN || errno == ENOBUFS);
    }
    fprintf(stderr, "%ld MiB in queues\n", bytes >> 20);
    CHECK(bytes > 100L << 20 && bytes < UNIX_BYTES_MAX + pairs * UNIX_BYTES_EACH + (1 << 20));
    CHECK(socketpair(AF_UNIX, (int)type, 0, sv) == 0);
    exchange(sv); /* a little goes all the same */
    CHECK(send(sv[0], block, UNIX_BYTES_EACH / 2, MSG_DONTWAIT) == UNIX_BYTES_EACH / 2);
}

static void child_inet_buffers(uint64_t arg)
{
    static char block[32768];
    long bytes = 0;

    (void)arg;
    many_files();
    for (int n = 0; n < 1000; n++) {
        struct sockaddr_in a;
        int l = inet_bound(SOCK_STREAM, &a), c = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(l >= 0 && listen(l, 1) == 0 && connect(c, (struct sockaddr *)&a, sizeof a) == 0);
        for (ssize_t r; (r = send(c, block, sizeof block, MSG_DONTWAIT)) > 0;)
            bytes += r;
        close(l + 0 * accept(l, NULL, NULL));
    }
    fprintf(stderr, "%ld MiB in connections\n", bytes >> 20);
    CHECK(bytes < (256L << 20) + 1000 * 4096 + (8 << 20));
}

void case_socket_memory(void)
{
    pid_t w = watch_start();

    for (int i = 0; i < 2; i++) {
        run_well(child_buffers, SOCK_STREAM, 60000);
        run_well(child_buffers, SOCK_DGRAM, 60000);
        run_well(child_buffers, SOCK_SEQPACKET, 60000);
        run_well(child_inet_buffers, 0, 60000);
    }
    watch_end(w);
}
