/* SPDX-License-Identifier: Apache-2.0
 * p9.c - a client that loads a server of 9P2000.L: p9 SOCKET ANAME getattr|read NAME COUNT
 *   getattr  COUNT Tgetattr of NAME, 64 under way: ns for each
 *   read     COUNT MiB of NAME from its start again and again, as many Tread as the server's msize
 *            makes of one MiB under way: us for each MiB
 * Plain protocol, no descriptors, one connection. Requests go out in one send for as many replies as came. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <p9/wire.h>

#define DEPTH 64u
#define MIB (1u << 20)

static uint8_t g_in[4u << 20], g_out[64u << 10];
static size_t g_have;
static int g_sock = -1;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void send_all(const uint8_t *b, size_t n)
{
    while (n) {
        ssize_t r = send(g_sock, b, n, 0);
        if (r <= 0)
            die("send");
        b += r;
        n -= (size_t)r;
    }
}

/* At least one complete reply stands in g_in. */
static void fill(void)
{
    int64_t size;
    while ((size = p9_frame(g_in, g_have, sizeof g_in)) == 0 || (size_t)size > g_have) {
        ssize_t n = recv(g_sock, g_in + g_have, sizeof g_in - g_have, 0);
        if (size < 0 || n <= 0)
            die("recv");
        g_have += (size_t)n;
    }
}

static size_t take(size_t at, uint8_t type)
{
    int64_t size = p9_frame(g_in + at, g_have - at, sizeof g_in);
    if (size < 0) {
        fprintf(stderr, "a malformed reply\n");
        exit(1);
    }
    if (size == 0 || (size_t)size > g_have - at)
        return 0;
    if (p9_type_of(g_in + at) != type) {
        fprintf(stderr, "reply of type %u, not %u\n", p9_type_of(g_in + at), type);
        exit(1);
    }
    return (size_t)size;
}

static void drop(size_t n)
{
    memmove(g_in, g_in + n, g_have - n);
    g_have -= n;
}

/* One request, whose reply is left at the start of g_in. Returns its length. */
static size_t call(int len, uint8_t type)
{
    if (len < 0)
        exit(1);
    send_all(g_out, (size_t)len);
    fill();
    return take(0, type);
}

static uint32_t session(const char *aname, const char *name, bool open)
{
    struct p9_rversion v;
    struct p9_tversion tv = {
        .tag = P9_NOTAG, .msize = MIB, .version = p9_str_from(P9_VERSION_PLAIN)};
    size_t n = call(p9_encode_tversion(g_out, sizeof g_out, &tv), P9_rversion);
    if (p9_decode_rversion(g_in, n, &v) < 0)
        exit(1);
    drop(n);
    struct p9_tattach ta = {.fid = 0,
                            .afid = P9_NOFID,
                            .uname = p9_str_from("root"),
                            .aname = p9_str_from(aname),
                            .n_uname = getuid()};
    drop(call(p9_encode_tattach(g_out, sizeof g_out, &ta), P9_rattach));
    struct p9_twalk tw = {
        .fid = 0, .newfid = 1, .names = {.count = 1, .name = {p9_str_from(name)}}};
    drop(call(p9_encode_twalk(g_out, sizeof g_out, &tw), P9_rwalk));
    struct p9_tlopen to = {.fid = 1};
    if (open)
        drop(call(p9_encode_tlopen(g_out, sizeof g_out, &to), P9_rlopen));
    return v.msize;
}

struct load {
    uint64_t total, sent, done; /* requests */
    uint32_t depth, count;      /* under way; bytes of a Tread, 0: Tgetattr */
};

static int encode(const struct load *l, uint8_t *to, size_t cap)
{
    uint16_t tag = (uint16_t)(l->sent % 60000);
    if (l->count) {
        struct p9_tread m = {
            .tag = tag, .fid = 1, .count = l->count, .offset = l->sent % l->depth * l->count};
        return p9_encode_tread(to, cap, &m);
    }
    struct p9_tgetattr m = {.tag = tag, .fid = 1, .mask = P9_STATS_BASIC};
    return p9_encode_tgetattr(to, cap, &m);
}

static void run(struct load *l)
{
    uint8_t type = l->count ? P9_rread : P9_rgetattr;
    while (l->done < l->total) {
        size_t out = 0, at = 0, n;
        for (; l->sent < l->total && l->sent - l->done < l->depth; l->sent++)
            out += (size_t)encode(l, g_out + out, sizeof g_out - out);
        send_all(g_out, out);
        fill();
        while (g_have > at && (n = take(at, type)) > 0) {
            if (l->count && n != l->count + P9_RREAD_HDR) {
                fprintf(stderr, "a short read\n");
                exit(1);
            }
            at += n;
            l->done++;
        }
        drop(at);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timespec a, b;

    if (argc != 6 || strlen(argv[1]) >= sizeof at.sun_path)
        return 2;
    bool read = strcmp(argv[3], "read") == 0;
    strcpy(at.sun_path, argv[1]);
    g_sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (g_sock < 0 || connect(g_sock, (struct sockaddr *)&at, sizeof at))
        die(argv[1]);
    uint32_t chunk = session(argv[2], argv[4], read) - P9_IOHDR;
    struct load l = {.total = strtoull(argv[5], NULL, 10), .depth = DEPTH};
    uint64_t units = l.total;
    if (read) {
        l.count = chunk & ~4095u;
        l.depth = (MIB + l.count - 1) / l.count;
        l.total = l.total * MIB / l.count;
    }
    clock_gettime(CLOCK_MONOTONIC, &a);
    run(&l);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
    printf("%.1f\n", ns / (double)units / (read ? 1000 : 1));
    return 0;
}
