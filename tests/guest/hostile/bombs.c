/* SPDX-License-Identifier: Apache-2.0
 * bombs.c - taking all there is: processes, threads, memory, descriptors, mappings, timers; and
 * violence against the others. */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- processes, threads --- */

static void child_forks(uint64_t arg)
{
    bool refused = false;

    (void)arg;
    setpgid(0, 0);
    for (int i = 0; i < 600; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            refused = errno == EAGAIN;
            break;
        }
        if (pid == 0) {
            (void)!fork(); /* each tries too */
            pause();
            _exit(0);
        }
    }
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    _exit(refused ? 0 : 1);
}

void case_fork_bomb(void)
{
    int s = in_child(child_forks, 0, 60000);
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
    s = in_child(child_forks, 0, 60000); /* and everything is there again */
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
}

static void *thread_waits(void *arg)
{
    pause();
    return arg;
}

static void child_threads(uint64_t arg)
{
    pthread_attr_t attr;
    pthread_t t;
    int r = 0;

    (void)arg;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 32768);
    for (int i = 0; i < 1000 && r == 0; i++)
        r = pthread_create(&t, &attr, thread_waits, NULL);
    _exit(r == EAGAIN ? 0 : 1);
}

void case_thread_bomb(void)
{
    for (int i = 0; i < 2; i++) {
        int s = in_child(child_threads, 0, 60000);
        CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
    }
}

/* --- memory --- */

static void child_memory(uint64_t how)
{
    size_t chunk = 4 << 20;

    for (int i = 0; i < 64; i++) {
        char *m;
        if (how == 0) {
            m = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (m == MAP_FAILED)
                _exit(errno == ENOMEM ? 0 : 1);
            memset(m, 1, chunk);
        } else if (how == 1) {
            m = malloc(chunk);
            if (!m)
                _exit(0);
            memset(m, 1, chunk);
            __asm__ volatile("" : : "r"(m) : "memory"); /* not to be optimised away */
            (void)!fork();
        } else {
            m = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (m == MAP_FAILED)
                _exit(errno == ENOMEM ? 0 : 1);
            int fd = open("/dev/zero", O_RDONLY); /* the Sentry touches it first */
            if (read(fd, m, chunk) < (ssize_t)chunk)
                _exit(0);
            close(fd);
        }
    }
    _exit(2); /* 256 MiB are not there */
}

void case_memory_bomb(void)
{
    for (uint64_t how = 0; how < 3; how++) {
        int s = in_child(child_memory, how, 30000);
        CHECK(WIFSIGNALED(s) ? WTERMSIG(s) == SIGKILL || WTERMSIG(s) == SIGBUS : !WEXITSTATUS(s));
    }
}

static void child_fill(uint64_t arg)
{
    char name[32];
    static char block[65536];

    (void)arg;
    for (int f = 0; f < 8; f++) {
        snprintf(name, sizeof name, "fill%d", f);
        int fd = open(name, O_RDWR | O_CREAT, 0600);
        for (int i = 0; fd >= 0 && i < 512; i++) {
            block[0] = (char)i;
            if (write(fd, block, sizeof block) != sizeof block)
                goto full;
        }
    }
    _exit(1); /* 256 MiB */
full:
    CHECK(errno == ENOSPC || errno == ENOMEM || errno == EFBIG);
    for (int f = 0; f < 8; f++) {
        snprintf(name, sizeof name, "fill%d", f);
        unlink(name);
    }
    _exit(0);
}

void case_tmpfs_full(void)
{
    for (int i = 0; i < 2; i++) {
        int s = in_child(child_fill, 0, 40000);
        CHECK((WIFEXITED(s) && !WEXITSTATUS(s)) || (WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL));
    }
}

static void child_maps(uint64_t how)
{
    size_t page = 4096, count = 80000;
    char *m =
        mmap(NULL, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t i;

    CHECK(m != MAP_FAILED);
    if (how == 0) { /* every other page another protection */
        for (i = 0; i < count; i += 2)
            if (mprotect(m + i * page, page, PROT_READ))
                break;
        CHECK(i >= count || errno == ENOMEM);
    } else if (how == 1) { /* and touched, so that the host sees it too */
        for (i = 0; i < count / 8; i += 2) {
            if (mprotect(m + i * page, page, PROT_READ | PROT_WRITE))
                break;
            m[i * page] = 1;
        }
        (void)!fork();
        for (i = 0; i < count / 8; i += 4)
            m[i * page] = 2; /* copies */
    } else {                 /* holes */
        (void)mprotect(m, 2000 * page, PROT_READ | PROT_WRITE);
        memset(m, 1, 2000 * page);
        for (i = 0; i < 2000; i += 2)
            munmap(m + i * page, page);
        for (i = 1; i < 2000; i += 2)
            (void)mremap(m + i * page, page, 3 * page, MREMAP_MAYMOVE);
    }
    munmap(m, count * page);
}

void case_map_storm(void)
{
    for (uint64_t how = 0; how < 3; how++) {
        int s = in_child(child_maps, how, 40000);
        CHECK((WIFEXITED(s) && WEXITSTATUS(s) == 0) || (WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL));
    }
}

/* --- descriptors --- */

static int socket_send(int sock, int fd)
{
    char c = 'x', room[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {&c, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    return (int)sendmsg(sock, &msg, MSG_DONTWAIT);
}

static void child_fds(uint64_t how)
{
    struct rlimit rl = {1 << 20, 1 << 20};
    int fd = -1, sv[2];

    (void)setrlimit(RLIMIT_NOFILE, &rl);
    for (unsigned i = 0; i < 40000; i++) {
        fd = how == 0   ? open("/etc/passwd", O_RDONLY)
             : how == 1 ? eventfd(0, 0)
             : how == 2 ? dup(0)
                        : open("/dev", O_RDONLY);
        if (fd < 0)
            break;
    }
    CHECK(fd >= 0 || errno == EMFILE || errno == ENFILE || errno == ENOMEM);
    (void)dup2(0, (1 << 20) - 1);
    (void)dup2(0, INT32_MAX);
    (void)fcntl(0, F_DUPFD, INT32_MAX);
    syscall(SYS_close_range, 3, ~0U, 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    for (int i = 0; i < 4000; i++) { /* sockets in flight inside each other */
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
            break;
        (void)socket_send(pair[0], pair[1]);
        (void)socket_send(pair[1], pair[0]);
        (void)socket_send(sv[0], pair[0]);
        close(pair[0]);
        close(pair[1]);
    }
    (void)socket_send(sv[0], sv[1]);
    (void)socket_send(sv[0], sv[0]);
}

void case_fd_bomb(void)
{
    for (uint64_t how = 0; how < 4; how++) {
        int s = in_child(child_fds, how, 60000);
        CHECK((WIFEXITED(s) && WEXITSTATUS(s) == 0) || (WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL));
    }
}

static void child_epoll(uint64_t arg)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    int ep[300], p[2], n = 0;

    (void)arg;
    for (; n < 300; n++) {
        ep[n] = epoll_create1(0);
        CHECK(ep[n] >= 0);
        if (n && epoll_ctl(ep[n], EPOLL_CTL_ADD, ep[n - 1], &e) && errno != ELOOP &&
            errno != EINVAL)
            _exit(1);
    }
    CHECK(epoll_ctl(ep[0], EPOLL_CTL_ADD, ep[0], &e) < 0 && errno == EINVAL);
    CHECK(epoll_ctl(ep[0], EPOLL_CTL_ADD, ep[2], &e) < 0 && errno == ELOOP);
    CHECK(pipe2(p, O_NONBLOCK) == 0);
    for (int i = 0; i < 300; i++) /* wide: one pipe in all of them */
        (void)epoll_ctl(ep[i], EPOLL_CTL_ADD, p[0], &e);
    for (int i = 0; i < 200; i++) {
        (void)!write(p[1], "x", 1);
        (void)epoll_wait(ep[i], &e, 1, 0);
        struct pollfd pf = {ep[299], POLLIN, 0};
        (void)poll(&pf, 1, 0);
    }
    for (int i = 0; i < 300; i++)
        close(ep[i]);
    CHECK(epoll_wait(p[0], &e, 1, 0) < 0 && errno == EINVAL);
    struct pollfd many[4096];
    for (int i = 0; i < 4096; i++)
        many[i] = (struct pollfd){p[0], POLLIN | POLLOUT, 0};
    (void)poll(many, 4096, 0);
    CHECK(syscall(SYS_poll, many, 1UL << 30, 0) < 0);
}

/* Watches closed, changed and fired at the same time by several threads. */
static int g_ep, g_pipe[8][2];

static void *epoll_racer(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT}, got[8];

    for (;;) {
        int i = (int)(rnd(&seed) % 8), fds[2];
        switch (rnd(&seed) % 6) {
        case 0:
            (void)epoll_ctl(g_ep, EPOLL_CTL_ADD, g_pipe[i][0], &e);
            break;
        case 1:
            (void)epoll_ctl(g_ep, EPOLL_CTL_DEL, g_pipe[i][0], NULL);
            break;
        case 2:
            (void)!write(g_pipe[i][1], "x", 1);
            break;
        case 3:
            (void)epoll_wait(g_ep, got, 8, 1);
            break;
        case 4:
            (void)epoll_ctl(g_ep, EPOLL_CTL_MOD, g_pipe[i][0], &e);
            break;
        default:
            if (pipe2(fds, O_NONBLOCK) == 0) {
                dup2(fds[0], g_pipe[i][0]);
                dup2(fds[1], g_pipe[i][1]);
                close(fds[0]);
                close(fds[1]);
            }
        }
    }
    return NULL;
}

static void child_epoll_race(uint64_t arg)
{
    g_ep = epoll_create1(0);
    for (int i = 0; i < 8; i++)
        CHECK(pipe2(g_pipe[i], O_NONBLOCK) == 0);
    for (uintptr_t i = 0; i < 3; i++)
        thread_start(epoll_racer, (void *)(i + arg * 8 + 1));
    sleep_ms(700);
}

void case_epoll_nest(void)
{
    int s = in_child(child_epoll, 0, 30000);
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
    in_children(child_epoll_race, 4, 5000);
}

static void child_pipes(uint64_t arg)
{
    static char block[65536];
    int p[2];

    (void)arg;
    for (int i = 0; i < 800; i++) {
        if (pipe2(p, O_NONBLOCK))
            break;
        (void)fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
        while (write(p[1], block, sizeof block) > 0)
            ;
    }
    (void)fcntl(p[1], F_SETPIPE_SZ, INT32_MAX);
    (void)fcntl(p[1], F_SETPIPE_SZ, 0);
}

void case_pipes(void)
{
    int s = in_child(child_pipes, 0, 30000);
    CHECK((WIFEXITED(s) && WEXITSTATUS(s) == 0) || (WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL));
    s = in_child(child_pipes, 0, 30000);
    CHECK((WIFEXITED(s) && WEXITSTATUS(s) == 0) || (WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL));
}

/* Connections never accepted, queues never read, names bound twice. */
static void child_sockets(uint64_t arg)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    static char block[65536];
    int l = socket(AF_UNIX, SOCK_STREAM, 0), sv[2];

    CHECK(l >= 0);
    snprintf(a.sun_path, sizeof a.sun_path, "sock%d", (int)arg);
    if (bind(l, (struct sockaddr *)&a, sizeof a) == 0 && listen(l, 100000) == 0) {
        for (int i = 0; i < 2000; i++) {
            int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
            if (c < 0 || connect(c, (struct sockaddr *)&a, sizeof a))
                break;
            (void)send(c, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (i % 3 == 0)
                close(c);
        }
    }
    for (int i = 0; i < 300; i++) {
        if (socketpair(AF_UNIX, i & 1 ? SOCK_DGRAM : SOCK_STREAM, 0, sv))
            break;
        for (int k = 0; k < 100; k++)
            if (send(sv[0], block, sizeof block >> (k % 16), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                break;
        shutdown(sv[i & 1], i % 3);
    }
    unlink(a.sun_path);
}

void case_sockets(void)
{
    in_children(child_sockets, 3, 20000);
}

/* --- violence --- */

static void child_busy(uint64_t arg)
{
    (void)arg;
    for (unsigned n = 0;; n++) {
        if (n % 3 == 0) {
            pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            if (pid > 0)
                waitpid(pid, NULL, 0);
        }
        getppid();
        sleep_ms(1);
    }
}

void case_kill_others(void)
{
    static const int signals[] = {SIGSTOP, SIGCONT, SIGKILL, SIGSTOP,
                                  SIGTERM, SIGSEGV, SIGCHLD, 40};
    uint64_t seed = 7;

    for (int round = 0; round < 20; round++) {
        pid_t pid[6];
        for (int i = 0; i < 6; i++) {
            pid[i] = fork();
            if (pid[i] == 0)
                child_busy(0);
        }
        for (int i = 0; i < 60; i++) {
            kill(pid[rnd(&seed) % 6], signals[rnd(&seed) % 8]);
            if (i % 8 == 0)
                sleep_ms(1);
        }
        for (int i = 0; i < 6; i++)
            kill(pid[i], SIGKILL);
        for (int i = 0; i < 6; i++)
            CHECK(pid[i] < 0 || waitpid(pid[i], NULL, 0) == pid[i]);
    }
}

static void child_timers(uint64_t arg)
{
    struct itimerspec often = {{0, 1}, {0, 1}};
    struct sigaction sa = {.sa_handler = SIG_IGN};
    timer_t t;

    (void)arg;
    sigaction(SIGALRM, &sa, NULL);
    for (int i = 0; i < 20000; i++)
        if (timer_create(CLOCK_MONOTONIC, NULL, &t))
            break;
        else if (i < 200)
            (void)timer_settime(t, 0, &often, NULL);
    for (int i = 0; i < 200; i++) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        if (fd >= 0)
            (void)timerfd_settime(fd, 0, &often, NULL);
    }
    setpriority(PRIO_PROCESS, 0, -20);
    sleep_ms(1500);
}

void case_timers(void)
{
    (void)in_child(child_timers, 0, 5000);
    (void)in_child(child_timers, 0, 800); /* killed while they fire */
}

static void *exec_racer(void *arg)
{
    sleep_ms((int)(uintptr_t)arg);
    execl("/proc/self/exe", "guest_hostile", "--nothing", (char *)NULL);
    return NULL;
}

/* Several threads execute at once, others fork, exit and die meanwhile. */
static void child_exec(uint64_t arg)
{
    char **big = calloc(100001, sizeof *big);

    for (int i = 0; big && i < 100000; i++)
        big[i] = (char *)"argument argument argument argument";
    if (arg % 4 == 0 && big) {
        (void)execv("/proc/self/exe", big); /* E2BIG */
        big[0] = (char *)STUB_RO;
        (void)execv("/proc/self/exe", big);
        (void)execv((const char *)STUB_RINGS, big);
    }
    for (uintptr_t i = 0; i < 4; i++)
        thread_start(exec_racer, (void *)(i % 2 + arg % 3));
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (arg % 5 == 1 && i == 3)
            kill(getpid(), SIGKILL);
        if (arg % 5 == 2 && i == 3)
            _exit(0);
    }
}

void case_exec_storm(void)
{
    in_children(child_exec, 60, 5000);
}
