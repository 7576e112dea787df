/* SPDX-License-Identifier: Apache-2.0
 * micro_net.c - sockets: a byte there and back, a stream in pieces of 64 KiB, a connection.
 *
 *   unix_threads, unix_processes, tcp_threads, tcp_processes   ns  one round trip of one byte
 *   unix_stream, tcp_stream                                    ns  64 KiB sent and received (processes)
 *   tcp_connect                                                ns  connect, accept, close both */
#include "micro_net.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE 65536
#define STREAM_BYTES (512L << 20)

static int s[2];
static long rounds;

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void check(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static struct sockaddr_in listen_on(int l)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);

    check(bind(l, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(l, 16) == 0, "listen");
    check(getsockname(l, (struct sockaddr *)&a, &len) == 0, "getsockname");
    return a;
}

static void pair(int family)
{
    int one = 1;

    if (family == AF_UNIX) {
        check(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0, "socketpair");
        return;
    }
    int l = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = listen_on(l);
    s[0] = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(s[0], (struct sockaddr *)&a, sizeof(a)) == 0, "connect");
    s[1] = accept(l, NULL, NULL);
    check(s[1] >= 0, "accept");
    for (int i = 0; i < 2; i++)
        setsockopt(s[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    close(l);
}

static void *echo(void *arg)
{
    char c;

    for (long i = 0; i < rounds; i++)
        check(read(s[1], &c, 1) == 1 && write(s[1], &c, 1) == 1, "echo");
    return arg;
}

static double ping(void)
{
    char c = 1;
    double start = 0;

    for (long i = 0; i < rounds; i++) {
        if (i == rounds / 10)
            start = now_ns();
        check(write(s[0], &c, 1) == 1 && read(s[0], &c, 1) == 1, "ping");
    }
    return (now_ns() - start) / (double)(rounds - rounds / 10);
}

static double threads(int family, const char *arg)
{
    pthread_t t;

    rounds = arg ? atol(arg) : 20000;
    pair(family);
    check(pthread_create(&t, NULL, echo, NULL) == 0, "pthread_create");
    double ns = ping();
    pthread_join(t, NULL);
    return ns;
}

static double processes(int family, const char *arg)
{
    rounds = arg ? atol(arg) : 20000;
    pair(family);
    pid_t pid = fork();
    if (pid == 0) {
        echo(NULL);
        _exit(0);
    }
    double ns = ping();
    waitpid(pid, NULL, 0);
    return ns;
}

static double stream(int family, const char *arg)
{
    static char buf[PIECE];
    long bytes = arg ? atol(arg) << 20 : STREAM_BYTES, got = 0;

    pair(family);
    pid_t pid = fork();
    if (pid == 0) {
        for (long i = 0; i < bytes / PIECE; i++)
            check(write(s[1], buf, PIECE) == PIECE, "write");
        _exit(0);
    }
    double start = now_ns();
    while (got < bytes) {
        ssize_t n = read(s[0], buf, PIECE);
        check(n > 0, "read");
        got += n;
    }
    double ns = (now_ns() - start) / ((double)bytes / PIECE);
    waitpid(pid, NULL, 0);
    return ns;
}

double bench_unix_threads(const char *arg)
{
    return threads(AF_UNIX, arg);
}

double bench_unix_processes(const char *arg)
{
    return processes(AF_UNIX, arg);
}

double bench_tcp_threads(const char *arg)
{
    return threads(AF_INET, arg);
}

double bench_tcp_processes(const char *arg)
{
    return processes(AF_INET, arg);
}

double bench_unix_stream(const char *arg)
{
    return stream(AF_UNIX, arg);
}

double bench_tcp_stream(const char *arg)
{
    return stream(AF_INET, arg);
}

double bench_tcp_connect(const char *arg)
{
    long n = arg ? atol(arg) : 3000;
    int l = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = listen_on(l);
    double start = now_ns();

    for (long i = 0; i < n; i++) {
        int c = socket(AF_INET, SOCK_STREAM, 0);
        check(connect(c, (struct sockaddr *)&a, sizeof(a)) == 0, "connect");
        int t = accept(l, NULL, NULL);
        check(t >= 0, "accept");
        close(c);
        close(t);
    }
    return (now_ns() - start) / (double)n;
}
