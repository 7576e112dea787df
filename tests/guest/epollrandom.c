/* SPDX-License-Identifier: Apache-2.0
 * epollrandom.c - random operations on several epoll sets over pipes, eventfds, sockets and each other.
 *
 * Without arguments every case is some seeds, and checks that what a set reports is what poll() says now. With "print
 * SEED COUNT" the operations and their results go to stdout, what a set reports in order of the items: a transcript
 * that has to be the same natively and inside (e2e/transcript.sh). All of it is one thread that never waits; after what
 * TCP carries it sleeps for a moment, as natively that arrives a moment later. Descriptors are shared by dup(),
 * closed while they are watched, watched in several sets with every flag. */
#include "inetutil.h"
#include "seeded.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/param.h>

#define SLOTS 24
#define EVENTS_MAX 1000 /* more than are watched: which ones come first is not compared */

enum kind {
    KIND_NONE,
    KIND_PIPE_READ,
    KIND_PIPE_WRITE,
    KIND_EVENT,
    KIND_UNIX,
    KIND_TCP,
    KIND_EPOLL
};
static const char kind_letters[] = "-rweste";

static struct slot {
    int fd;
    enum kind kind;
    unsigned level; /* of a set: watches others of lower levels only, so that none is too deep */
} g_slot[SLOTS];
static uint64_t g_serial;

static void note(const char *what, int slot, int other, long r)
{
    if (g_out)
        fprintf(g_out, "%s %d%c %d%c = %ld%s%s\n", what, slot, kind_letters[g_slot[slot].kind],
                other, kind_letters[g_slot[other].kind], r, r < 0 ? " " : "",
                r < 0 ? strerrorname_np(errno) : "");
}

static void tcp_settle(int s)
{
    if (g_slot[s].kind == KIND_TCP)
        usleep(500);
}

static void slot_close(int s)
{
    if (g_slot[s].kind == KIND_NONE)
        return;
    long r = close(g_slot[s].fd);
    note("close", s, s, r);
    tcp_settle(s);
    g_slot[s].kind = KIND_NONE;
}

static int slot_put(int fd, enum kind kind)
{
    int s = (int)pick(SLOTS);
    CHECK(fd >= 0);
    slot_close(s);
    g_slot[s] = (struct slot){fd, kind, 0};
    return s;
}

/* One of that kind, or with KIND_NONE of any. -1: there is none. */
static int slot_of(enum kind kind)
{
    int s = (int)pick(SLOTS);
    for (int i = 0; i < SLOTS; i++, s = (s + 1) % SLOTS)
        if (kind == KIND_NONE ? g_slot[s].kind != KIND_NONE : g_slot[s].kind == kind)
            return s;
    return -1;
}

static void pair_put(int fds[2], enum kind a, enum kind b)
{
    int s = slot_put(fds[0], a), t = slot_put(fds[1], b);
    note("make", s, t, 0);
}

static void op_make(void)
{
    int fds[2];
    switch (pick(8)) {
    case 0:
    case 1:
        CHECK(pipe2(fds, O_NONBLOCK) == 0);
        pair_put(fds, KIND_PIPE_READ, KIND_PIPE_WRITE);
        break;
    case 2: {
        int s =
            slot_put(eventfd(pick(2), EFD_NONBLOCK | (pick(3) ? 0 : EFD_SEMAPHORE)), KIND_EVENT);
        note("event", s, s, 0);
        break;
    }
    case 3:
    case 4: {
        static const int types[] = {SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
        CHECK(socketpair(AF_UNIX, types[pick(4)] | SOCK_NONBLOCK, 0, fds) == 0);
        pair_put(fds, KIND_UNIX, KIND_UNIX);
        break;
    }
    case 5:
        tcp_pair(fds);
        CHECK(sock_set(fds[0], IPPROTO_TCP, TCP_NODELAY, 1) == 0);
        CHECK(sock_set(fds[1], IPPROTO_TCP, TCP_NODELAY, 1) == 0);
        nonblocking(fds[0]);
        nonblocking(fds[1]);
        usleep(500);
        pair_put(fds, KIND_TCP, KIND_TCP);
        break;
    default: {
        int s = slot_put(epoll_create1(0), KIND_EPOLL);
        g_slot[s].level = pick(3);
        note("set", s, s, 0);
    }
    }
}

static uint32_t random_events(void)
{
    static const uint32_t flags[] = {EPOLLET, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE};
    uint32_t e = 0;
    if (pick(5))
        e |= EPOLLIN;
    if (pick(3) == 0)
        e |= EPOLLOUT;
    if (pick(3) == 0)
        e |= EPOLLRDHUP;
    if (pick(8) == 0)
        e |= EPOLLPRI;
    if (pick(2))
        e |= flags[pick(4)];
    if (pick(12) == 0)
        e |= flags[pick(4)];
    return e & EPOLLET ? e & ~(uint32_t)EPOLLOUT
                       : e; /* each kernel tells again that there is room when it likes */
}

static void op_control(void)
{
    static const int ops[] = {EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_ADD,
                              EPOLL_CTL_MOD, EPOLL_CTL_MOD, EPOLL_CTL_DEL};
    int ep = slot_of(KIND_EPOLL), s = slot_of(KIND_NONE), op = ops[pick(6)];
    struct epoll_event e = {.events = random_events(), .data.u64 = ++g_serial};
    if (ep < 0 || (g_slot[s].kind == KIND_EPOLL && g_slot[s].level >= g_slot[ep].level))
        return;
    if (g_slot[s].kind == KIND_EPOLL) /* how often the inner one tells is not promised either */
        e.events &= ~(uint32_t)EPOLLET;
    long r = epoll_ctl(g_slot[ep].fd, op, g_slot[s].fd, &e);
    if (g_out)
        fprintf(g_out, "%d:%x:%lu ", op, e.events, (unsigned long)g_serial);
    note("ctl", ep, s, r);
}

static int event_order(const void *a, const void *b)
{
    const struct epoll_event *x = a, *y = b;
    return x->data.u64 < y->data.u64 ? -1 : x->data.u64 > y->data.u64;
}

static void op_wait(void)
{
    struct epoll_event e[EVENTS_MAX];
    int ep = slot_of(KIND_EPOLL);
    if (ep < 0)
        return;
    int n = epoll_wait(g_slot[ep].fd, e, EVENTS_MAX, 0);
    note("wait", ep, ep, n);
    CHECK(n >= 0 && n < EVENTS_MAX);
    qsort(e, (size_t)n, sizeof(e[0]), event_order);
    for (int i = 0; g_out && i < n; i++)
        fprintf(g_out, " %lu:%x", (unsigned long)e[i].data.u64, e[i].events);
    if (g_out)
        fprintf(g_out, "\n");
}

/* A write for which there is no room tells readers again natively, so none is tried. */
static bool pipe_has_room(int s)
{
    struct pollfd p = {.fd = g_slot[s].fd, .events = POLLOUT};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents & POLLOUT;
}

static void op_write(void)
{
    static const char data[3000];
    static const size_t sizes[] = {1, 8, 100, 3000};
    int s = slot_of(KIND_NONE);
    uint64_t value = 1 + pick(3);
    if (g_slot[s].kind == KIND_EPOLL || g_slot[s].kind == KIND_PIPE_READ)
        return;
    if (g_slot[s].kind == KIND_EVENT) {
        note("add", s, s, write(g_slot[s].fd, &value, 8));
        return;
    }
    size_t n = sizes[pick(4)];
    if (g_slot[s].kind != KIND_TCP && n > 100)
        n = 100; /* how much goes into pipes and AF_UNIX sockets depends on how it is cut */
    if (g_slot[s].kind == KIND_PIPE_WRITE && !pipe_has_room(s))
        return;
    note("write", s, s, write(g_slot[s].fd, data, n));
    tcp_settle(s);
}

static void op_fill(void)
{
    static const char data[65536];
    int s = slot_of(KIND_PIPE_WRITE), held = 0;
    if (s < 0)
        return;
    CHECK(ioctl(g_slot[s].fd, FIONREAD, &held) == 0);
    note("fill", s, s, held ? 0 : write(g_slot[s].fd, data, sizeof(data)));
}

static void op_read(void)
{
    static char data[70000];
    static const size_t sizes[] = {1, 8, 100, 5000, sizeof(data)};
    int s = slot_of(KIND_NONE);
    if (g_slot[s].kind == KIND_EPOLL || g_slot[s].kind == KIND_PIPE_WRITE)
        return;
    size_t n = g_slot[s].kind == KIND_PIPE_READ ? sizeof(data)
                                                : sizes[pick(5)]; /* a page comes free as a whole */
    long r = read(g_slot[s].fd, data, n);
    note("read", s, s, g_slot[s].kind == KIND_PIPE_READ ? MIN(r, 1) : r);
    tcp_settle(s);
}

/* All of it: then how a kernel cuts what it holds does not matter. */
static void op_drain(void)
{
    static char data[70000];
    int s = slot_of(KIND_NONE);
    ssize_t n;
    if (g_slot[s].kind == KIND_EPOLL || g_slot[s].kind == KIND_PIPE_WRITE)
        return;
    do
        n = read(g_slot[s].fd, data, sizeof(data));
    while (n > 0 && g_slot[s].kind != KIND_EVENT);
    note("drain", s, s, n);
    tcp_settle(s);
}

static void op_shutdown(void)
{
    int s = slot_of(pick(2) ? KIND_UNIX : KIND_TCP);
    if (s < 0 || pick(4))
        return;
    note("shutdown", s, s, shutdown(g_slot[s].fd, (int)pick(3)));
    tcp_settle(s);
}

static void op_dup(void)
{
    int from = slot_of(KIND_NONE);
    enum kind kind = g_slot[from].kind;
    unsigned level = g_slot[from].level;
    int s = slot_put(dup(g_slot[from].fd), kind);
    g_slot[s].level = level;
    note("dup", from, s, 0);
}

static void op_poll(void)
{
    struct pollfd p[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        p[i] = (struct pollfd){.fd = g_slot[i].kind ? g_slot[i].fd : -1,
                               .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP};
    CHECK(poll(p, SLOTS, 0) >= 0);
    if (!g_out)
        return;
    fprintf(g_out, "poll");
    for (int i = 0; i < SLOTS; i++)
        fprintf(g_out, " %x", (unsigned)p[i].revents);
    fprintf(g_out, "\n");
}

static void operation(void)
{
    static void (*const ops[])(void) = {op_make,  op_control,  op_control, op_control, op_control,
                                        op_wait,  op_wait,     op_wait,    op_wait,    op_write,
                                        op_write, op_write,    op_read,    op_read,    op_drain,
                                        op_fill,  op_shutdown, op_dup,     op_poll};
    unsigned k = pick(sizeof(ops) / sizeof(ops[0]) + 1);
    if (k == sizeof(ops) / sizeof(ops[0])) {
        if (pick(3) == 0)
            slot_close((int)pick(SLOTS));
    } else if (k == 0 || slot_of(KIND_NONE) >= 0) {
        ops[k]();
    }
}

static void run(uint64_t seed, unsigned count)
{
    signal(SIGPIPE, SIG_IGN);
    seed_set(seed);
    g_serial = 0;
    memset(g_slot, 0, sizeof(g_slot));
    for (unsigned i = 0; i < count; i++)
        operation();
    for (int i = 0; i < SLOTS; i++)
        slot_close(i);
}

static void case_seeds(void)
{
    for (uint64_t seed = 1000; seed <= 1010; seed++)
        run(seed, 1000);
}

static const struct guest_case cases[] = {
    {"seeds", case_seeds},
};

int main(int argc, char **argv)
{
    return seeded_main(argc, argv, run, cases, sizeof(cases) / sizeof(cases[0]));
}
