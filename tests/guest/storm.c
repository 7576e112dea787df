/* SPDX-License-Identifier: Apache-2.0
 * storm.c - everything at once: processes and threads that fork, exec, kill, wait, map memory, pass
 * bytes through pipes and wait on futexes and epoll at the same time, each checking what it gets.
 *
 * storm [SEED [SECONDS]]: the seed chooses the order of the steps. Every worker process has its own
 * directory, threads, and a watch thread; the parent checks each one's end.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "guest.h"

#define WORKERS 3
#define THREADS 3
#define PG 4096

struct rng {
    uint64_t s;
};

static int64_t g_end_ns;
static char g_dir[64];
static char g_self[256];

static uint32_t rnd(struct rng *r)
{
    r->s = r->s * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(r->s >> 33);
}

static bool time_left(void)
{
    return guest_now_ns(CLOCK_MONOTONIC) < g_end_ns;
}

static int wait_status(pid_t pid)
{
    int status = -1;
    pid_t r;
    do {
        r = waitpid(pid, &status, 0);
    } while (r < 0 && errno == EINTR);
    CHECK_EQ(r, pid);
    return status;
}

/* A child that ends by itself or by a signal; the whole wait status must be right. */
static void step_fork(struct rng *r)
{
    int code = (int)(rnd(r) % 200);
    bool killed = rnd(r) % 4 == 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (killed)
            for (;;)
                pause();
        _exit(code);
    }
    if (killed)
        CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(wait_status(pid), killed ? SIGKILL : code << 8);
}

static void step_exec(struct rng *r)
{
    char arg[16];
    int code = (int)(rnd(r) % 100) + 1;
    snprintf(arg, sizeof arg, "%d", code);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl(g_self, "storm", "--exit", arg, (char *)NULL);
        _exit(0);
    }
    CHECK_EQ(wait_status(pid), code << 8);
}

static void step_pipe(struct rng *r)
{
    int fd[2];
    unsigned char buf[512], seed = (unsigned char)rnd(r);
    size_t n = 1 + rnd(r) % 20000, got = 0;
    CHECK_EQ(pipe(fd), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (size_t done = 0; done < n;) {
            size_t k = n - done < sizeof buf ? n - done : sizeof buf;
            for (size_t i = 0; i < k; i++)
                buf[i] = (unsigned char)(seed + done + i);
            if (write(fd[1], buf, k) != (ssize_t)k)
                _exit(1);
            done += k;
        }
        _exit(0);
    }
    close(fd[1]);
    for (ssize_t k; (k = read(fd[0], buf, sizeof buf)) > 0; got += (size_t)k)
        for (ssize_t i = 0; i < k; i++)
            CHECK_EQ(buf[i], (unsigned char)(seed + got + (size_t)i));
    /* other threads' children may hold the write end for a moment: end of file comes all the same */
    CHECK_EQ(got, n);
    close(fd[0]);
    CHECK_EQ(wait_status(pid), 0);
}

static void step_epoll(struct rng *r)
{
    int fd[2], ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = rnd(r)}, got;
    CHECK(ep >= 0);
    CHECK_EQ(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &e), 0);
    CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
    CHECK_EQ(write(fd[1], "x", 1), 1);
    CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
    CHECK_EQ(got.data.u64, e.data.u64);
    close(fd[0]);
    close(fd[1]);
    close(ep);
}

/* Copy-on-write: neither side sees the other's writes. */
static void step_memory(struct rng *r)
{
    size_t pages = 1 + rnd(r) % 64;
    uint32_t *m =
        mmap(NULL, pages * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t base = rnd(r);
    CHECK(m != MAP_FAILED);
    for (size_t i = 0; i < pages; i++) {
        CHECK_EQ(m[i * PG / 4], 0);
        m[i * PG / 4] = base + (uint32_t)i;
    }
    pid_t pid = rnd(r) % 2 ? fork() : -2;
    CHECK(pid != -1);
    for (size_t i = 0; i < pages; i += pid == 0 ? 1 : 2) {
        CHECK_EQ(m[i * PG / 4], base + (uint32_t)i);
        m[i * PG / 4] = pid == 0 ? 1 : 2;
    }
    for (size_t i = 0; i < pages; i++)
        CHECK_EQ(m[i * PG / 4], pid == 0 ? 1 : i % 2 == 0 ? 2 : base + (uint32_t)i);
    if (pid == 0)
        _exit(0);
    CHECK_EQ(munmap(m, pages * PG), 0);
    if (pid > 0)
        CHECK_EQ(wait_status(pid), 0);
}

static void step_file(struct rng *r)
{
    char a[128], b[128], buf[64], want[64];
    snprintf(a, sizeof a, "%s/a%ld", g_dir, syscall(SYS_gettid));
    snprintf(b, sizeof b, "%s/b%ld", g_dir, syscall(SYS_gettid));
    int n = snprintf(want, sizeof want, "content %u", rnd(r));
    int fd = open(a, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, want, (size_t)n), n);
    CHECK_EQ(rename(a, b), 0);
    CHECK_ERR(access(a, F_OK), ENOENT);
    CHECK_EQ(pread(fd, buf, sizeof buf, 0), n);
    CHECK(!memcmp(buf, want, (size_t)n));
    CHECK_EQ(unlink(b), 0);
    CHECK_EQ(pread(fd, buf, sizeof buf, 0), n);
    close(fd);
}

static atomic_uint g_word;
static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned g_counted, g_added;

static void step_futex(struct rng *r)
{
    struct timespec t = {0, (long)(rnd(r) % 1000000)};
    unsigned v = atomic_fetch_add(&g_word, 1);
    syscall(SYS_futex, &g_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    long w = syscall(SYS_futex, &g_word, FUTEX_WAIT_PRIVATE, v + 1, &t, NULL, 0);
    CHECK(w == 0 || errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR);
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&g_mutex);
        g_counted++;
        g_added++;
        CHECK_EQ(g_counted, g_added);
        pthread_mutex_unlock(&g_mutex);
    }
}

static void *short_thread(void *arg)
{
    return arg;
}

static void step_thread(struct rng *r)
{
    pthread_t t[3];
    void *back;
    uintptr_t v = rnd(r);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, short_thread, (void *)(v + i)), 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(pthread_join(t[i], &back), 0);
        CHECK_EQ((uintptr_t)back, v + i);
    }
}

static _Atomic(unsigned) g_signals;

static void on_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&g_signals, 1);
}

static void step_signal(struct rng *r)
{
    (void)r;
    unsigned before = atomic_load(&g_signals);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK(atomic_load(&g_signals) != before);
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
}

static void *storm_thread(void *arg)
{
    static void (*const steps[])(struct rng *) = {
        step_fork,  step_exec,   step_pipe, step_epoll,  step_memory, step_memory,
        step_futex, step_thread, step_file, step_signal, step_futex,  step_fork,
    };
    struct rng r = {(uint64_t)(uintptr_t)arg};
    while (time_left())
        steps[rnd(&r) % (sizeof steps / sizeof steps[0])](&r);
    return NULL;
}

/* One worker: threads until the end, then a known status; every third ends with a thread alive. */
static void worker(unsigned seed, unsigned index)
{
    pthread_t t[THREADS];
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    snprintf(g_dir, sizeof g_dir, "/tmp/storm.%d", (int)getpid());
    CHECK_EQ(mkdir(g_dir, 0700), 0);
    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, storm_thread,
                                (void *)(uintptr_t)(seed * 977 + index * 31 + i)),
                 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK_EQ(rmdir(g_dir), 0);
    _exit((int)index + 1);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--exit"))
        return atoi(argv[2]);
    unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 1;
    unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 4;
    ssize_t n = readlink("/proc/self/exe", g_self, sizeof g_self - 1);
    CHECK(n > 0);
    g_end_ns = guest_now_ns(CLOCK_MONOTONIC) + seconds * 1000000000LL;
    alarm(seconds * 10 + 30);
    pid_t pid[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        pid[i] = fork();
        CHECK(pid[i] >= 0);
        if (pid[i] == 0)
            worker(seed, i);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK_EQ(wait_status(pid[i]), (int)(i + 1) << 8);
    CHECK_ERR(waitpid(-1, NULL, 0), ECHILD);
    return 0;
}
