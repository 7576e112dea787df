/* SPDX-License-Identifier: Apache-2.0
 * sockets.c - every family, type, level and option with every kind of buffer; vectors and control data
 * that cannot be. Beside each case a bystander uses sockets of its own: how long its calls took is bounded. */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATE_MS 3000   /* a round of the bystander; it has to share CPUs */
#define LATE_ROUNDS 1U /* so many may take longer: the host itself stands still at times */
#define STALL_MS 20000 /* but not so long */

/* --- the bystander --- */

struct watch {
    _Atomic(bool) over;
    _Atomic(int64_t) worst_ms;
    _Atomic(unsigned) rounds, late;
};
static struct watch *g_watch;

void exchange(const int sv[2])
{
    char c = 'x';

    CHECK(send(sv[0], &c, 1, 0) == 1 && recv(sv[1], &c, 1, 0) == 1 && c == 'x');
}

static void bystander(void)
{
    int stream[2], packet[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet) == 0);
    while (!g_watch->over) {
        int64_t start = now_ms();
        exchange(stream);
        exchange(packet);
        int fresh[2]; /* the case may have taken all that there are */
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fresh) == 0) {
            exchange(fresh);
            close(fresh[0]);
            close(fresh[1]);
        } else {
            CHECK(errno == ENFILE || errno == ENOMEM);
        }
        int64_t took = now_ms() - start;
        if (took > g_watch->worst_ms)
            g_watch->worst_ms = took;
        g_watch->rounds++;
        g_watch->late += took >= LATE_MS;
        sleep_ms(3);
    }
    _exit(0);
}

pid_t watch_start(void)
{
    g_watch = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_watch != MAP_FAILED);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        bystander();
    while (!g_watch->rounds)
        sleep_ms(1);
    return pid;
}

void watch_end(pid_t pid)
{
    int status;

    g_watch->over = true;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    fprintf(stderr, "bystander: %u rounds, the slowest took %lld ms\n", g_watch->rounds,
            (long long)g_watch->worst_ms);
    CHECK(g_watch->late <= LATE_ROUNDS && g_watch->worst_ms < STALL_MS);
}

void run_well(void (*fn)(uint64_t arg), uint64_t arg, int ms)
{
    int64_t start = now_ms();
    int s = in_child(fn, arg, ms);

    fprintf(stderr, "part %llu: %lld ms\n", (unsigned long long)arg, (long long)(now_ms() - start));
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
}

/* --- options --- */

static const int levels[] = {SOL_SOCKET, 0,   1,   2,   6,   17,  33,      41, 58,
                             132,        136, 255, 263, 270, 271, INT_MAX, -1, INT_MIN};
static const socklen_t lengths[] = {0,  1,  2,   3,   4,    5,       8,       12,
                                    16, 40, 128, 255, 4096, INT_MAX, UINT_MAX};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static uint8_t *room; /* 16 KiB that may be written */
static void *bad[6];  /* places that may not, the first for writing only */
static const size_t room_size = 16384;

static void places_prepare(void)
{
    uint8_t *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    room = mmap(NULL, room_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bad[0] = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bad[1] = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(edge != MAP_FAILED && room != MAP_FAILED && bad[0] != MAP_FAILED && bad[1] != MAP_FAILED);
    munmap(edge + 4096, 4096);
    bad[2] = edge + 4096;
    bad[3] = NULL;
    bad[4] = (void *)0xffff888000000000;
    bad[5] = (void *)(STUB_TEXT + 8);
}

/* What is written stays within what was offered. */
static void option_get(int fd, int level, int name, socklen_t offered, unsigned shift)
{
    socklen_t len = offered;
    uint8_t *value = room + 64 + shift;

    memset(room, 0xa5, 512);
    int r = getsockopt(fd, level, name, value, &len);
    if (r == 0)
        CHECK(len <= offered);
    for (size_t i = 0; i < 64 + shift; i++)
        CHECK(room[i] == 0xa5);
    for (size_t i = 64 + shift + (offered < 300 ? offered : 300); i < 512 && offered < 300; i++)
        CHECK(room[i] == 0xa5);
}

static void option_attack(int fd, int level, int name, uint64_t *seed)
{
    socklen_t len = lengths[rnd(seed) % COUNT(lengths)];

    option_get(fd, level, name, len, (unsigned)(rnd(seed) % 8));
    for (unsigned i = 0; i < COUNT(bad); i++) {
        len = i == rnd(seed) % COUNT(bad) ? lengths[rnd(seed) % COUNT(lengths)] : 4;
        if (getsockopt(fd, level, name, bad[i], &len) == 0)
            CHECK(len == 0); /* an option without a value */
        CHECK(getsockopt(fd, level, name, room, bad[i]) < 0);
        if (i) /* zeros that can be read may be a value */
            (void)setsockopt(fd, level, name, bad[i], lengths[rnd(seed) % COUNT(lengths)]);
    }
    for (unsigned i = 0; i < 4; i++) {
        uint64_t v[2] = {rnd(seed) % 3 ? rnd(seed) % 4 : odd_value(seed), rnd(seed)};
        memcpy(room + i, v, sizeof v);
        if (level == SOL_SOCKET &&
            (name == SO_LINGER || name == SO_RCVTIMEO || name == SO_SNDTIMEO))
            continue; /* may make the next close wait */
        (void)setsockopt(fd, level, name, room + i,
                         i ? lengths[rnd(seed) % COUNT(lengths)] : (socklen_t)sizeof(int));
    }
}

static void options_attack(int fd, uint64_t *seed)
{
    for (unsigned l = 0; l < COUNT(levels); l++) {
        for (int name = -1; name < 100; name++)
            option_attack(fd, levels[l], name, seed);
        for (unsigned bit = 7; bit < 32; bit++)
            option_attack(fd, levels[l], (int)(1U << bit | (rnd(seed) & 3)), seed);
    }
}

static void child_options(uint64_t family)
{
    static const int protocols[] = {0, 1, 6, 17, 136, 255, 262, -1};
    uint64_t seed = family;

    odd_prepare();
    places_prepare();
    for (int type = 0; type < 16; type++) {
        for (unsigned p = 1; p < COUNT(protocols); p++)
            close(socket((int)family, type | (p & 1 ? SOCK_NONBLOCK : 0), protocols[p]));
        int fd = socket((int)family, type, 0), sv[2];
        if (fd < 0)
            continue;
        if (socketpair((int)family, type, 0, sv) == 0)
            options_attack(sv[0], &seed);
        options_attack(fd, &seed);
        if (listen(fd, 1) == 0)
            options_attack(fd, &seed);
    }
}

void case_socket_options(void)
{
    pid_t w = watch_start();

    CHECK(socket(-1, SOCK_STREAM, 0) < 0 && socket(INT_MAX, SOCK_STREAM, 0) < 0);
    CHECK(socket(AF_UNIX, 1 << 12, 0) < 0 && socket(AF_UNIX, -1, 0) < 0);
    for (uint64_t family = 0; family < 48; family++)
        run_well(child_options, family, 60000);
    watch_end(w);
}

/* --- vectors, control data --- */

enum { UNIX_STREAM, UNIX_DGRAM, UNIX_PACKET, TCP, UDP, NETLINK, KINDS };

int inet_bound(int type, struct sockaddr_in *a)
{
    int fd = socket(AF_INET, type, 0);
    socklen_t len = sizeof *a;

    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)a, len) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)a, &len) == 0);
    return fd;
}

static void pair_of(int kind, int sv[2])
{
    struct sockaddr_in a;

    if (kind == NETLINK) {
        sv[0] = sv[1] = socket(AF_NETLINK, SOCK_RAW, 0);
        CHECK(sv[0] >= 0);
    } else if (kind == TCP || kind == UDP) {
        int l = inet_bound(kind == TCP ? SOCK_STREAM : SOCK_DGRAM, &a);
        sv[0] = socket(AF_INET, kind == TCP ? SOCK_STREAM : SOCK_DGRAM, 0);
        CHECK(kind == UDP || listen(l, 1) == 0);
        CHECK(connect(sv[0], (struct sockaddr *)&a, sizeof a) == 0);
        sv[1] = kind == TCP ? accept(l, NULL, NULL) : l;
        CHECK(sv[1] >= 0);
        if (kind == TCP)
            close(l);
    } else {
        static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
        CHECK(socketpair(AF_UNIX, types[kind], 0, sv) == 0);
    }
    fcntl(sv[0], F_SETFL, O_NONBLOCK);
    fcntl(sv[1], F_SETFL, O_NONBLOCK);
}

/* At the limit, one past it, and sums that overflow. */
static void vectors_check(int kind, const int sv[2])
{
    static struct iovec v[IOV_MAX + 1];
    struct msghdr m = {.msg_iov = v, .msg_iovlen = IOV_MAX};

    for (unsigned i = 0; i <= IOV_MAX; i++)
        v[i] = (struct iovec){room + i, 1};
    if (kind != NETLINK) {
        CHECK(sendmsg(sv[0], &m, 0) == IOV_MAX);
        CHECK(recvmsg(sv[1], &m, 0) == IOV_MAX);
    }
    m.msg_iovlen = IOV_MAX + 1;
    CHECK(sendmsg(sv[0], &m, 0) < 0 && errno == EMSGSIZE);
    CHECK(recvmsg(sv[1], &m, 0) < 0 && errno == EMSGSIZE);
    m.msg_iovlen = SIZE_MAX;
    CHECK(sendmsg(sv[0], &m, 0) < 0 && recvmsg(sv[1], &m, 0) < 0);
    CHECK(writev(sv[0], v, IOV_MAX + 1) < 0 && errno == EINVAL);
    CHECK(readv(sv[1], v, IOV_MAX + 1) < 0 && errno == EINVAL);
    m.msg_iovlen = 2;
    v[0].iov_len = SSIZE_MAX;
    v[1].iov_len = SSIZE_MAX;
    (void)sendmsg(sv[0], &m, 0); /* up to where the memory ends, or nothing */
    (void)recvmsg(sv[1], &m, 0);
    v[1].iov_len = (size_t)SSIZE_MAX + 1;
    CHECK(sendmsg(sv[0], &m, 0) < 0 && recvmsg(sv[1], &m, 0) < 0);
    for (unsigned i = 1; i < COUNT(bad); i++) {
        v[0] = (struct iovec){bad[i], 64};
        m.msg_iovlen = 1;
        CHECK(sendmsg(sv[0], &m, 0) < 0);
        m.msg_iov = bad[i];
        CHECK(sendmsg(sv[0], &m, 0) < 0 && recvmsg(sv[1], &m, 0) < 0);
        m.msg_iov = v;
        CHECK(sendmsg(sv[0], bad[i], 0) < 0 && recvmsg(sv[1], bad[i], 0) < 0);
        CHECK(sendmmsg(sv[0], bad[i], 4, 0) < 0 && recvmmsg(sv[1], bad[i], 4, 0, NULL) < 0);
    }
}

static size_t odd_size(uint64_t *seed)
{
    static const size_t sizes[] = {0,    1,     15,    16,    17,         20,       24,       40,
                                   1024, 20480, 20481, 65536, 0x7fffffff, SIZE_MAX, SSIZE_MAX};
    return sizes[rnd(seed) % COUNT(sizes)];
}

static void control_fill(uint8_t *at, size_t size, const int sv[2], uint64_t *seed)
{
    for (size_t off = 0; off + 24 <= size;) {
        size_t body = rnd(seed) % 80, n = 16 + body;
        int head[2] = {rnd(seed) % 4 ? SOL_SOCKET : levels[rnd(seed) % COUNT(levels)],
                       (int)(rnd(seed) % 4)};
        if (rnd(seed) % 16 == 0)
            n = odd_size(seed);
        else if (rnd(seed) % 8 == 0)
            n = -(size_t)(rnd(seed) % 32);
        memcpy(at + off, &n, 8);
        memcpy(at + off + 8, head, 8);
        for (size_t i = 0; i < body / 4 && off + 20 + i * 4 <= size; i++) {
            int fd = rnd(seed) % 4 ? sv[rnd(seed) % 2] : (int)odd_value(seed);
            memcpy(at + off + 16 + i * 4, &fd, 4);
        }
        off += (16 + body + 7) & ~7UL;
    }
}

static void message_odd(struct msghdr *m, struct iovec v[4], const int sv[2], uint64_t *seed)
{
    size_t control = rnd(seed) % 4 ? rnd(seed) % 256 : odd_size(seed);

    for (unsigned i = 0; i < 4; i++)
        v[i] = (struct iovec){rnd(seed) % 8 ? room + rnd(seed) % 4096 : bad[rnd(seed) % COUNT(bad)],
                              rnd(seed) % 8 ? rnd(seed) % 300 : odd_size(seed)};
    control_fill(room + 8192, 256, sv, seed);
    memset(room + 4096, (int)(rnd(seed) % 3), 160);
    room[4096] = (uint8_t)(rnd(seed) % 20);
    *m = (struct msghdr){.msg_name = rnd(seed) % 3   ? NULL
                                     : rnd(seed) % 8 ? room + 4096
                                                     : bad[rnd(seed) % COUNT(bad)],
                         .msg_namelen = rnd(seed) % 8 ? (socklen_t)(rnd(seed) % 140)
                                                      : (socklen_t)odd_size(seed),
                         .msg_iov = v,
                         .msg_iovlen = rnd(seed) % 8   ? rnd(seed) % 5
                                       : rnd(seed) % 2 ? 0
                                                       : odd_size(seed),
                         .msg_control = rnd(seed) % 8 ? room + 8192 : bad[rnd(seed) % COUNT(bad)],
                         .msg_controllen = control};
    if (m->msg_iovlen > 4)
        m->msg_iovlen += IOV_MAX; /* else it is memory behind v */
}

static void child_vectors(uint64_t kind)
{
    struct rlimit rl = {512, 512}; /* what is received piles up */
    uint64_t seed = kind + 1;
    int sv[2], fresh[2];

    odd_prepare();
    places_prepare();
    setrlimit(RLIMIT_NOFILE, &rl);
    signal(SIGPIPE, SIG_IGN);
    pair_of((int)kind, sv);
    vectors_check((int)kind, sv);
    for (unsigned n = 0; n < 20000; n++) {
        struct mmsghdr mm[4];
        struct iovec v[4][4];
        struct timespec t = {(time_t)(rnd(&seed) % 3) - 1, (long)(rnd(&seed) % 2 ? 1 : 1 << 30)};
        for (unsigned i = 0; i < 4; i++)
            message_odd(&mm[i].msg_hdr, v[i], sv, &seed);
        int flags = MSG_DONTWAIT | (rnd(&seed) % 2 ? 0 : (int)(1U << rnd(&seed) % 31));
        switch (rnd(&seed) % 6) {
        case 0:
            (void)sendmmsg(sv[0], mm, rnd(&seed) % 8 ? 4 : 0, flags);
            break;
        case 1:
            (void)recvmmsg(sv[1], mm, 4, flags, rnd(&seed) % 2 ? &t : NULL);
            break;
        case 2:
        case 3:
            (void)sendmsg(sv[n & 1], &mm[0].msg_hdr, flags);
            break;
        default:
            (void)recvmsg(sv[!(n & 1)], &mm[0].msg_hdr, flags);
        }
        if (n % 256 == 0)
            syscall(SYS_close_range, 200, 511, 0);
        if (n % 1024 == 0) {
            close(sv[0]);
            if (sv[1] != sv[0])
                close(sv[1]);
            pair_of((int)kind, sv);
        }
    }
    if (kind != NETLINK) {
        pair_of((int)kind, fresh);
        exchange(fresh);
    }
}

void case_socket_vectors(void)
{
    pid_t w = watch_start();

    for (uint64_t kind = 0; kind < KINDS; kind++)
        run_well(child_vectors, kind, 60000);
    watch_end(w);
}
