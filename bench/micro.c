/* SPDX-License-Identifier: Apache-2.0
 * micro.c - single costs, run natively and inside by bench/run. `micro NAME [ARG]` prints one number.
 *
 *   line         ns  cache-line round trip between two threads on two CPUs (native only)
 *   sigsys       ns  bare seccomp-trap round trip: signal, handler, sigreturn (native only)
 *   getppid      ns  a direct call (inside: trapped)
 *   local        ns  getpid, in the form of the C library (inside with patching: answered there)
 *   slot, batchN ns  through libringbox (inside only)
 *   lanes N      ns  slot call of one thread while N-1 others are idle (inside only)
 *   touch_seq    ns  a page of the sequential first touch of 64 MiB
 *   touch_sparse ns  a page of the touch of every 64th page of 1 GiB
 *   read_fresh   us  read() of 1 MiB from a cached file into a fresh buffer
 *   fork_write   ns  a page of random writes to 64 MiB after fork (child)
 *   map_private  us  private mapping of a file (ARG, 1 GiB), one page written, unmapped
 *   half_fork    ms  1 GiB, every second page written after fork, checked in parent and child
 *   reserve      us  16 TiB of PROT_NONE, one page of it used
 *   compute      us  a loop that only computes
 *   unix_*, tcp_*    sockets (micro_net.c)
 *   nothing          0
 *
 * With MICRO_HOLD set it waits for the end of its standard input before it ends, so that its memory
 * can be looked at. */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <ringbox.h>

#include "micro_net.h"

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *map_anon(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

/* --- cache line --- */

static _Alignas(64) _Atomic(uint32_t) line_word;
#define LINE_ROUNDS 200000

static void pin(int cpu)
{
    cpu_set_t s;

    CPU_ZERO(&s);
    CPU_SET((unsigned)cpu, &s);
    sched_setaffinity(0, sizeof s, &s);
}

static void *line_echo(void *arg)
{
    (void)arg;
    pin(1);
    for (uint32_t i = 0; i < LINE_ROUNDS; i++) {
        while (atomic_load_explicit(&line_word, memory_order_acquire) != 2 * i + 1)
            ;
        atomic_store_explicit(&line_word, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

static double bench_line(const char *arg)
{
    pthread_t t;

    (void)arg;
    pin(0);
    pthread_create(&t, NULL, line_echo, NULL);
    double start = 0;
    for (uint32_t i = 0; i < LINE_ROUNDS; i++) {
        if (i == LINE_ROUNDS / 10)
            start = now_ns();
        atomic_store_explicit(&line_word, 2 * i + 1, memory_order_release);
        while (atomic_load_explicit(&line_word, memory_order_acquire) != 2 * i + 2)
            ;
    }
    double ns = (now_ns() - start) / (LINE_ROUNDS - LINE_ROUNDS / 10);
    pthread_join(t, NULL);
    return ns;
}

/* --- bare SIGSYS --- */

static void on_sigsys(int s, siginfo_t *si, void *uc)
{
    (void)s;
    (void)si;
    ((ucontext_t *)uc)->uc_mcontext.gregs[REG_RAX] = 1;
}

static double bench_sigsys(const char *arg)
{
    static char stack[65536];
    struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = {4, f};

    (void)arg;
    sigaltstack(&ss, NULL);
    sigaction(SIGSYS, &sa, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p))
        die("seccomp");
    double t = now_ns();
    for (int i = 0; i < 20000; i++)
        syscall(SYS_getppid);
    return (now_ns() - t) / 20000;
}

static double bench_getppid(const char *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        syscall(SYS_getppid);
    double t = now_ns();
    for (int i = 0; i < 20000; i++)
        syscall(SYS_getppid);
    return (now_ns() - t) / 20000;
}

static long getpid_site(void)
{
    long r;

    __asm__ volatile("mov %1,%%eax\nsyscall" : "=a"(r) : "i"(SYS_getpid) : "rcx", "r11", "memory");
    return r;
}

static double bench_local(const char *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        getpid_site();
    double t = now_ns();
    for (int i = 0; i < 200000; i++)
        getpid_site();
    return (now_ns() - t) / 200000;
}

/* --- libringbox --- */

static struct ringbox *open_ring(void)
{
    struct ringbox *rb;

    if (ringbox_open(&rb, 256))
        die("ringbox_open");
    return rb;
}

static double slot_ns(struct ringbox *rb)
{
    double t = 0;

    for (int i = 0; i < 220000; i++) {
        if (i == 20000)
            t = now_ns();
        ringbox_call(rb, SYS_getppid, 0, 0, 0, 0, 0, 0);
    }
    return (now_ns() - t) / 200000;
}

static double bench_slot(const char *arg)
{
    (void)arg;
    return slot_ns(open_ring());
}

static void *idle_lane(void *arg)
{
    syscall(SYS_gettid);
    pthread_barrier_wait(arg);
    pause();
    return NULL;
}

static double bench_lanes(const char *arg)
{
    static pthread_barrier_t b;
    int n = arg ? atoi(arg) : 1000;
    pthread_attr_t a;
    pthread_t t;

    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 65536);
    pthread_barrier_init(&b, NULL, (unsigned)n);
    for (int i = 1; i < n; i++)
        if (pthread_create(&t, &a, idle_lane, &b))
            die("pthread_create");
    pthread_barrier_wait(&b);
    usleep(20000);
    return slot_ns(open_ring());
}

static double batch_ns(int batch)
{
    struct ringbox *rb = open_ring();
    double t = 0;
    int rounds = 200000 / batch;

    for (int r = 0; r < rounds; r++) {
        if (r == rounds / 10)
            t = now_ns();
        for (int i = 0; i < batch; i++)
            ringbox_prep(ringbox_get(rb), SYS_getppid, 0, 0, 0, 0, 0, 0);
        ringbox_submit(rb);
        for (int i = 0; i < batch; i++) {
            if (!ringbox_wait(rb))
                die("ringbox_wait");
            ringbox_advance(rb, 1);
        }
    }
    return (now_ns() - t) / ((rounds - rounds / 10) * (double)batch);
}

static double bench_batch8(const char *arg)
{
    (void)arg;
    return batch_ns(8);
}

static double bench_batch64(const char *arg)
{
    (void)arg;
    return batch_ns(64);
}

/* --- memory --- */

static double bench_touch_seq(const char *arg)
{
    size_t n = 64 << 20;
    char *p = map_anon(n);

    (void)arg;
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* the native side is measured without huge pages */
    double t = now_ns();
    for (size_t i = 0; i < n; i += 4096)
        p[i] = 1;
    return (now_ns() - t) / (double)(n / 4096);
}

static double bench_touch_sparse(const char *arg)
{
    size_t n = 1 << 30, step = 64 * 4096;
    char *p = map_anon(n);

    (void)arg;
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    double t = now_ns();
    for (size_t i = 0; i < n; i += step)
        p[i] = 1;
    return (now_ns() - t) / (double)(n / step);
}

static double bench_read_fresh(const char *arg)
{
    size_t n = 1 << 20;
    char name[] = "/tmp/ringbox-bench.XXXXXX";
    double best = 1e18;
    int fd = arg ? open(arg, O_RDONLY) : mkstemp(name);

    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (fd < 0)
        die("open");
    if (!arg) {
        char *w = calloc(1, n);
        unlink(name);
        if (!w || write(fd, w, n) != (ssize_t)n)
            die("write");
        free(w);
    }
    for (int r = 0; r < 20; r++) {
        char *p = map_anon(n);
        double t = now_ns();
        if (pread(fd, p, n, 0) != (ssize_t)n)
            die("pread");
        t = now_ns() - t;
        best = t < best ? t : best;
        munmap(p, n);
    }
    return best / 1000;
}

static double bench_fork_write(const char *arg)
{
    size_t n = 64 << 20, pages = n / 4096;
    char *p = map_anon(n);
    double *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void)arg;
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    memset(p, 1, n);
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t x = 88172645463325252ULL;
        double t = now_ns();
        for (size_t i = 0; i < pages / 2; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            p[x % pages * 4096] = 2;
        }
        *shared = (now_ns() - t) / (double)(pages / 2);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return *shared;
}

static double bench_map_private(const char *arg)
{
    int fd = open(arg ? arg : "/tmp/ringbox-bench-1g", O_RDONLY);
    size_t n = 1 << 30;
    double best = 1e18;

    if (fd < 0)
        die("open");
    for (int r = 0; r < 5; r++) {
        double t = now_ns();
        char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            die("mmap");
        p[n / 2] = 1;
        t = now_ns() - t;
        best = t < best ? t : best;
        if (r < 4) /* the last one stays, to be looked at */
            munmap(p, n);
    }
    return best / 1000;
}

static void check_half(const char *p, size_t n, char odd)
{
    for (size_t i = 0; i < n; i += 4096)
        if (p[i] != (i / 4096 % 2 ? odd : 1)) {
            fprintf(stderr, "page %zu holds %d\n", i / 4096, p[i]);
            exit(1);
        }
}

static double bench_half_fork(const char *arg)
{
    size_t n = (size_t)(arg ? atoi(arg) : 1024) << 20;
    char *p = map_anon(n);
    int status;

    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    memset(p, 1, n);
    double t = now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 4096; i < n; i += 8192)
            p[i] = 2;
        check_half(p, n, 2);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        die("child");
    check_half(p, n, 1);
    return (now_ns() - t) / 1e6;
}

static double bench_reserve(const char *arg)
{
    size_t n = (size_t)16 << 40;
    double t = now_ns();
    char *p = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)arg;
    if (p == MAP_FAILED || mprotect(p + n / 2, 4096, PROT_READ | PROT_WRITE))
        die("mmap");
    p[n / 2] = 1;
    return (now_ns() - t) / 1000;
}

static double bench_nothing(const char *arg)
{
    (void)arg;
    return 0;
}

static double bench_compute(const char *arg)
{
    uint64_t x = 1;
    double t = now_ns();

    (void)arg;
    for (int i = 0; i < 300000000; i++)
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
    __asm__ volatile("" ::"r"(x));
    return (now_ns() - t) / 1000;
}

static const struct {
    const char *name;
    double (*run)(const char *arg);
} table[] = {
    {"line", bench_line},
    {"unix_threads", bench_unix_threads},
    {"unix_processes", bench_unix_processes},
    {"tcp_threads", bench_tcp_threads},
    {"tcp_processes", bench_tcp_processes},
    {"unix_stream", bench_unix_stream},
    {"tcp_stream", bench_tcp_stream},
    {"tcp_connect", bench_tcp_connect},
    {"sigsys", bench_sigsys},
    {"getppid", bench_getppid},
    {"local", bench_local},
    {"slot", bench_slot},
    {"lanes", bench_lanes},
    {"batch8", bench_batch8},
    {"batch64", bench_batch64},
    {"touch_seq", bench_touch_seq},
    {"touch_sparse", bench_touch_sparse},
    {"read_fresh", bench_read_fresh},
    {"fork_write", bench_fork_write},
    {"map_private", bench_map_private},
    {"half_fork", bench_half_fork},
    {"reserve", bench_reserve},
    {"compute", bench_compute},
    {"nothing", bench_nothing},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof table / sizeof *table; i++)
        if (strcmp(argv[1], table[i].name) == 0) {
            char c;
            printf("%.1f\n", table[i].run(argc > 2 ? argv[2] : NULL));
            fflush(stdout);
            while (getenv("MICRO_HOLD") && read(0, &c, 1) > 0)
                ;
            return 0;
        }
    fprintf(stderr, "usage: micro NAME [ARG]\n");
    return 1;
}
