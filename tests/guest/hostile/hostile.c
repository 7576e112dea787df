/* SPDX-License-Identifier: Apache-2.0
 * hostile.c - a guest that attacks the sandbox it runs in; main program and helpers.
 *
 *      guest_hostile [--list | CASE]
 *
 * Runs only inside (the reserved call number tells): natively it says so and exits 77. A case runs
 * in a child. Beside it a well-behaved sibling beats: it makes calls, faults, forks, and must get
 * right answers until the case is over; then it prints "sibling fine". Exit status 0: the case came
 * back in time and the sibling is fine. What the sandbox itself must not do (crash, leave anything
 * behind) is looked at from outside by tests/e2e/hostile.sh.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASE_SECONDS 150
#define BEAT_MS 20
#define BEAT_LATE_MS 20000

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"calls", case_calls},
    {"calls-user", case_calls_user},
    {"abis", case_abis},
    {"big-io", case_big_io},
    {"paths", case_paths},
    {"lane-random", case_lane_random},
    {"lane-words", case_lane_words},
    {"lane-frame", case_lane_frame},
    {"stub-jump", case_stub_jump},
    {"stub-write", case_stub_write},
    {"stub-unmap", case_stub_unmap},
    {"stub-futex", case_stub_futex},
    {"mask-spin", case_mask_spin},
    {"queue", case_queue},
    {"slot", case_slot},
    {"patch-slots", case_patch_slots},
    {"patch-gs", case_patch_gs},
    {"patch-flight", case_patch_flight},
    {"fork-bomb", case_fork_bomb},
    {"thread-bomb", case_thread_bomb},
    {"memory-bomb", case_memory_bomb},
    {"fd-bomb", case_fd_bomb},
    {"map-storm", case_map_storm},
    {"epoll-nest", case_epoll_nest},
    {"pipes", case_pipes},
    {"kill-others", case_kill_others},
    {"timers", case_timers},
    {"exec-storm", case_exec_storm},
    {"tmpfs-full", case_tmpfs_full},
    {"sockets", case_sockets},
    {"socket-options", case_socket_options},
    {"socket-vectors", case_socket_vectors},
    {"socket-cycles", case_socket_cycles},
    {"socket-floods", case_socket_floods},
    {"socket-ports", case_socket_ports},
    {"socket-limit", case_socket_limit},
    {"socket-memory", case_socket_memory},
};
#define CASES (sizeof cases / sizeof *cases)

void hostile_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s (errno %d)\n", file, line, what, errno);
    _exit(1);
}

uint64_t rnd(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static bool verbose;
static uint8_t *good, *edge, *readonly, *none;
static int fds[8];

void odd_prepare(void)
{
    int p[2];

    good = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge = mmap(NULL, 2 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    readonly = mmap(NULL, 1 << 12, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    none = mmap(NULL, 1 << 12, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + (1 << 12), 1 << 12);
    strcpy((char *)good, "hostile-file");
    for (unsigned i = 64; i < 1 << 16; i++)
        good[i] = (uint8_t)(i * 7);
    if (pipe2(p, O_NONBLOCK) == 0) {
        fds[0] = p[0];
        fds[1] = p[1];
    }
    fds[2] = open("hostile-file", O_RDWR | O_CREAT, 0600);
    fds[3] = open(".", O_RDONLY | O_DIRECTORY);
    fds[4] = epoll_create1(0);
    fds[5] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    fds[6] = eventfd(1, EFD_NONBLOCK);
    fds[7] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
}

uint64_t odd_value(uint64_t *state)
{
    uint64_t r = rnd(state);
    uint64_t low = r >> 8;

    switch (r % 24) {
    case 0:
    case 1:
        return 0;
    case 2:
        return UINT64_MAX - low % 4;
    case 3:
    case 4:
        return low % 8;
    case 5:
        return low % 4096;
    case 6:
    case 7:
    case 8:
        return (uint64_t)(uintptr_t)good + (low & 1 ? 0 : low % 4096);
    case 9:
        return (uint64_t)(uintptr_t)edge + 4096 - low % 16;
    case 10:
        return (uint64_t)(uintptr_t)(low & 1 ? readonly : none) + low % 64;
    case 11:
        return 0x7ffffffff000 - low % 8192;
    case 12:
        return STUB_TEXT + low % 0x800;
    case 13:
        return (low & 1 ? STUB_REQ : STUB_RO) + low % 0x2000;
    case 14:
        return (uint64_t)(uintptr_t)own_lane() + low % LANE_SIZE;
    case 15:
        return 0xffff888000000000 + low % 0x10000;
    case 16:
        return 0x8000000000000000 + low % 3;
    case 17:
        return low & 1 ? 0x7fffffff : 0xffffffff;
    case 18:
        return 1ULL << (low % 64);
    case 19:
        return low << 12;
    default:
        return (uint64_t)fds[low % 8];
    }
}

long raw_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

/* GS base is the lane, whose private line starts with the lane's own address. */
struct lane *own_lane(void)
{
    struct lane *lane;

    if (syscall(RING_CTL_NR, RING_CTL_VERSION) != RING_ABI_VERSION)
        return (struct lane *)STUB_LANES; /* no way to ask: the first one */
    __asm__ volatile("mov %%gs:256, %0" : "=r"(lane));
    return lane;
}

void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static pid_t child_start(void (*fn)(uint64_t arg), uint64_t arg)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fn(arg);
        _exit(0);
    }
    return pid;
}

int in_child(void (*fn)(uint64_t arg), uint64_t arg, int ms)
{
    int64_t end = now_ms() + ms;
    pid_t pid = child_start(fn, arg);
    bool killed = false;
    int status;

    if (pid < 0)
        return -1;
    for (int nap = 1;; nap = nap < 8 ? nap * 2 : 8) {
        pid_t r = waitpid(pid, &status, WNOHANG | __WALL);
        if (r == pid)
            return status;
        if (r < 0)
            return -1;
        if (!killed && now_ms() > end) {
            kill(pid, SIGKILL);
            killed = true;
        }
        CHECK(now_ms() < end + 15000); /* a killed process must end */
        sleep_ms(nap);
    }
}

#define AT_ONCE 8
void in_children(void (*fn)(uint64_t arg), uint64_t n, int ms)
{
    struct {
        pid_t pid;
        int64_t end;
    } run[AT_ONCE] = {0};
    uint64_t next = 0, running = 0;

    while (next < n || running) {
        for (unsigned i = 0; i < AT_ONCE; i++) {
            if (run[i].pid > 0) {
                int status = 0;
                if (waitpid(run[i].pid, &status, WNOHANG | __WALL) != 0) {
                    if (verbose)
                        fprintf(stderr, "child: status %#x after %d ms\n", (unsigned)status,
                                (int)(now_ms() - run[i].end + ms));
                    run[i].pid = 0;
                    running--;
                } else if (now_ms() > run[i].end) {
                    kill(run[i].pid, SIGKILL);
                    CHECK(now_ms() < run[i].end + 15000);
                }
            }
            if (run[i].pid <= 0 && next < n) {
                run[i].pid = child_start(fn, next++);
                run[i].end = now_ms() + ms;
                running += run[i].pid > 0;
            }
        }
        sleep_ms(1);
    }
}

void thread_start(void *(*fn)(void *arg), void *arg)
{
    pthread_t t;

    CHECK(pthread_create(&t, NULL, fn, arg) == 0);
    pthread_detach(t);
}

/* --- the sibling --- */

/* One beat: calls whose answers are known. */
static void beat(unsigned n)
{
    char buf[64], back[64];
    int p[2], status;

    snprintf(buf, sizeof buf, "beat %u of %d", n, (int)getpid());
    if (pipe(p)) {
        CHECK(errno == ENFILE); /* natively, too, one can have all that there are */
        return;
    }
    CHECK(write(p[1], buf, sizeof buf) == sizeof buf &&
          read(p[0], back, sizeof back) == sizeof back);
    CHECK(memcmp(buf, back, sizeof buf) == 0);
    close(p[0]);
    close(p[1]);
    if (n % 8)
        return;
    char *m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m != MAP_FAILED) { /* the case may have eaten what there is */
        m[0] = 1;
        munmap(m, 65536);
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit((int)(n & 63));
    if (pid > 0)
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
              WEXITSTATUS(status) == (int)(n & 63));
}

static void sibling(int until)
{
    int64_t last = now_ms();
    char c;

    fcntl(until, F_SETFL, O_NONBLOCK);
    for (unsigned n = 1;; n++) {
        beat(n);
        int64_t now = now_ms();
        CHECK(now - last < BEAT_LATE_MS);
        last = now;
        if (read(until, &c, 1) == 0)
            break;
        sleep_ms(BEAT_MS);
    }
    printf("sibling fine\n");
    fflush(stdout);
    _exit(0);
}

static int run_case(unsigned i)
{
    int p[2], status, bad = 0;
    char dir[] = "/tmp/hostile-XXXXXX";

    if (pipe(p) || !mkdtemp(dir) || chdir(dir) || chmod(dir, 0777))
        return 1;
    /* A victim that signals itself by a number it was lied to about may hit anybody. */
    signal(SIGUSR1, SIG_IGN);
    pid_t s = fork();
    if (s == 0) {
        close(p[1]);
        sibling(p[0]);
    }
    close(p[0]);
    pid_t c = fork();
    if (c == 0) {
        close(p[1]);
        alarm(CASE_SECONDS);
        cases[i].run();
        _exit(0);
    }
    if (s < 0 || c < 0 || waitpid(c, &status, 0) != c)
        return 1;
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "case %s: status %#x\n", cases[i].name, (unsigned)status);
        bad = 1;
    }
    close(p[1]);
    if (waitpid(s, &status, 0) != s || status) {
        fprintf(stderr, "case %s: the sibling suffered: status %#x\n", cases[i].name,
                (unsigned)status);
        bad = 1;
    }
    return bad;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (unsigned i = 0; i < CASES; i++)
            puts(cases[i].name);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
        return 0;
    struct utsname u;
    if (uname(&u) || !strstr(u.release, "-ringbox")) { /* not every platform has rings to ask for */
        fprintf(stderr, "guest_hostile: runs only inside a sandbox\n");
        return 77;
    }
    verbose = getenv("HOSTILE_VERBOSE") != NULL;
    signal(SIGUSR1, SIG_IGN); /* lies about registers make kill(-1) of a child's kill(itself) */
    for (unsigned i = 0; argc == 2 && i < CASES; i++)
        if (strcmp(argv[1], cases[i].name) == 0)
            return run_case(i);
    fprintf(stderr, "usage: guest_hostile --list | CASE\n");
    return 2;
}
