/* SPDX-License-Identifier: Apache-2.0
 * calls.c - hostile calls: every number with odd arguments, other ABIs, huge vectors, bad paths. */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUMBERS 602 /* 0..600, and the reserved one */
#define ROUNDS 40
#define CALL_MS 2000

static void woken(int signo)
{
    (void)signo;
}

/* Interrupt whatever waits, again and again. */
static void wake_often(void)
{
    struct sigaction sa = {.sa_handler = woken};
    struct itimerval it = {{0, 20000}, {0, 20000}};

    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &it, NULL);
}

static bool sends_signals(uint64_t nr)
{
    return nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_rt_sigqueueinfo ||
           nr == SYS_rt_tgsigqueueinfo || nr == SYS_pidfd_send_signal;
}

static void call_number(uint64_t index)
{
    uint64_t nr = index == NUMBERS - 1 ? RING_CTL_NR : index, seed = nr * 1000 + 1;
    pid_t self = getpid();
    int null = open("/dev/null", O_RDWR);

    for (int fd = 0; fd < 3; fd++) /* what is printed belongs to nobody */
        dup2(null, fd);
    odd_prepare();
    wake_often();
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t a[6];
        for (int i = 0; i < 6; i++)
            a[i] = round == 0 ? 0 : round == 1 ? UINT64_MAX : odd_value(&seed);
        raw_call((long)nr, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (getpid() != self)
            _exit(0);
    }
}

static void call_number_root(uint64_t nr)
{
    if (!sends_signals(nr))
        call_number(nr);
}

static void call_number_user(uint64_t nr)
{
    if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
        _exit(1);
    call_number(nr);
}

void case_calls(void)
{
    in_children(call_number_root, NUMBERS, CALL_MS);
}

void case_calls_user(void)
{
    in_children(call_number_user, NUMBERS, CALL_MS);
}

static long int80(long nr, long b, long c, long d)
{
    long r;

    __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(b), "c"(c), "d"(d) : "memory");
    return r;
}

static void abi_int80(uint64_t arg)
{
    (void)arg;
    for (long nr = 0; nr < 460; nr++)
        if (int80(nr, 1, 2, 3) != -ENOSYS)
            _exit(1);
}

static void abi_x32(uint64_t arg)
{
    (void)arg;
    for (long nr = 0; nr < 600; nr++)
        if (raw_call(nr | 0x40000000, 1, 2, 3, 4, 5, 6) != -ENOSYS)
            _exit(1);
    for (long nr = 601; nr < 4000; nr++)
        if (raw_call(nr, 0, 0, 0, 0, 0, 0) != -ENOSYS)
            _exit(2);
    if (raw_call(-1, 0, 0, 0, 0, 0, 0) != -ENOSYS ||
        raw_call(0x80000000L, 0, 0, 0, 0, 0, 0) != -ENOSYS)
        _exit(3);
}

void case_abis(void)
{
    int s = in_child(abi_int80, 0, 10000);

    CHECK(WIFEXITED(s) ? WEXITSTATUS(s) == 0 : WTERMSIG(s) == SIGSEGV);
    s = in_child(abi_x32, 0, 10000);
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
}

/* --- transfers --- */

static void big_io(uint64_t arg)
{
    static struct iovec iov[IOV_MAX + 1];
    size_t huge = (size_t)1 << 40;
    char *m = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
    int f = open("big", O_RDWR | O_CREAT | O_TRUNC, 0600);

    (void)arg;
    CHECK(zero >= 0 && null >= 0 && f >= 0);
    wake_often();
    if (m == MAP_FAILED)
        m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i <= IOV_MAX; i++)
        iov[i] = (struct iovec){m, (size_t)1 << 30};
    CHECK(writev(null, iov, IOV_MAX + 1) < 0 && errno == EINVAL);
    CHECK(raw_call(SYS_writev, (uint64_t)null, (uint64_t)(uintptr_t)iov, UINT64_MAX, 0, 0, 0) ==
          -EINVAL);
    iov[1].iov_len = (size_t)SSIZE_MAX + 1;
    CHECK(writev(null, iov, 2) < 0 && errno == EINVAL);
    iov[1] = (struct iovec){(void *)0xffff888000000000, 4096};
    iov[0].iov_len = 100;
    (void)writev(f, iov, 2);
    (void)readv(zero, iov, 2);
    CHECK(pread(f, m, 100, -1) < 0 && errno == EINVAL);
    CHECK(pwrite(f, m, 100, INT64_MAX - 10) < 0);
    (void)ftruncate(f, INT64_MAX);
    (void)lseek(f, INT64_MAX, SEEK_SET);
    (void)write(f, m, 100);
    (void)fallocate(f, 0, 0, INT64_MAX);
    (void)fallocate(f, 3, 1, INT64_MAX);
    (void)raw_call(SYS_write, (uint64_t)null, (uint64_t)(uintptr_t)m, UINT64_MAX, 0, 0, 0);
    (void)raw_call(SYS_getrandom, (uint64_t)(uintptr_t)m, 1 << 20, 0, 0, 0, 0);
    (void)raw_call(SYS_process_vm_readv, (uint64_t)getpid(), (uint64_t)(uintptr_t)iov, IOV_MAX,
                   (uint64_t)(uintptr_t)iov, IOV_MAX, 0);
    for (unsigned r = 0; r < 40; r++) { /* vectors that change while they are read */
        iov[r % 8].iov_len = 1 + r * 997;
        iov[r % 5].iov_base = r & 1 ? m : (char *)STUB_LANES;
        (void)readv(zero, iov, 8);
        (void)writev(f, iov, 8);
        (void)raw_call(SYS_preadv2, (uint64_t)f, (uint64_t)(uintptr_t)iov, 8, 0, UINT64_MAX, r);
    }
}

void case_big_io(void)
{
    int s = in_child(big_io, 0, 30000);

    CHECK((WIFEXITED(s) && WEXITSTATUS(s) == 0) || (WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL));
}

/* --- paths --- */

static void path_deep(uint64_t arg)
{
    char name[NAME_MAX + 1], cwd[PATH_MAX * 2];
    int depth;

    (void)arg;
    memset(name, 'd', 200);
    name[200] = 0;
    for (depth = 0; depth < 600; depth++)
        if (mkdir(name, 0700) || chdir(name))
            break;
    errno = 0;
    (void)getcwd(cwd, sizeof cwd);
    (void)readlink("/proc/self/cwd", cwd, sizeof cwd);
    (void)open("x", O_CREAT | O_RDWR, 0600);
    (void)rename(".", "y");
    (void)rename("..", "y");
    for (; depth > 0; depth--) {
        (void)unlink("x");
        if (chdir(".."))
            break;
        (void)rmdir(name);
    }
}

static void path_loops(uint64_t arg)
{
    char name[32], target[64];
    struct stat st;
    char *longest = malloc(PATH_MAX + 100);

    (void)arg;
    CHECK(symlink("loop", "loop") == 0 && stat("loop", &st) < 0 && errno == ELOOP);
    CHECK(symlink("b", "a") == 0 && symlink("a/a/a/a/a/a", "b") == 0);
    CHECK(stat("a/b/a/b", &st) < 0 && errno == ELOOP);
    for (int i = 0; i < 60; i++) { /* every level doubles the walk */
        snprintf(name, sizeof name, "l%d", i);
        snprintf(target, sizeof target, "l%d/../l%d", i + 1, i + 1);
        CHECK(symlink(target, name) == 0);
    }
    CHECK(stat("l0", &st) < 0 && (errno == ELOOP || errno == ENOENT));
    memset(longest, '/', PATH_MAX + 99);
    longest[PATH_MAX + 99] = 0;
    CHECK(stat(longest, &st) < 0 && errno == ENAMETOOLONG);
    for (int i = 0; i < PATH_MAX; i++)
        longest[i] = i & 1 ? '/' : '.';
    longest[PATH_MAX - 1] = 0;
    CHECK(stat(longest, &st) == 0);
    memset(longest, 'n', PATH_MAX);
    longest[NAME_MAX + 1] = 0;
    CHECK(stat(longest, &st) < 0 && errno == ENAMETOOLONG);
    CHECK(stat("", &st) < 0 && errno == ENOENT);
    CHECK(mkdir("m", 0700) == 0 && rename("m", "m/n") < 0 && errno == EINVAL);
    for (int i = 0; i < 200; i++) {
        snprintf(target, sizeof target, "/proc/self/fd/%d", i);
        (void)open(target, O_RDONLY | O_NONBLOCK);
        (void)readlink(target, longest, PATH_MAX);
    }
}

/* A name is raced against itself: created, renamed, removed, opened. */
static void path_race(uint64_t arg)
{
    static const char *const names[] = {"r1", "r2", "rd", "rd/x", "rd/y"};
    uint64_t seed = arg;
    int64_t end = now_ms() + 1500;

    while (now_ms() < end) {
        const char *a = names[rnd(&seed) % 5], *b = names[rnd(&seed) % 5];
        int fd = -1;
        switch (rnd(&seed) % 8) {
        case 0:
            (void)mkdir(a, 0700);
            break;
        case 1:
            (void)rmdir(a);
            break;
        case 2:
            (void)rename(a, b);
            break;
        case 3:
            (void)symlink(b, a);
            break;
        case 4:
            (void)unlink(a);
            break;
        case 5:
            (void)link(a, b);
            break;
        default:
            fd = open(a, O_RDWR | O_CREAT | O_NONBLOCK, 0600);
            (void)write(fd, "x", 1);
            close(fd);
        }
    }
}

void case_paths(void)
{
    int s = in_child(path_deep, 0, 60000);
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
    s = in_child(path_loops, 0, 30000);
    CHECK(WIFEXITED(s) && WEXITSTATUS(s) == 0);
    in_children(path_race, 6, 10000);
}
