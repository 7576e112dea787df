/* SPDX-License-Identifier: Apache-2.0
 * file.c - open files: reading and writing, descriptors, locks, sizes, mappings. */
#include "guest.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <setjmp.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

static int file_new(void)
{
    char name[GUEST_TEMPLATE_MAX];
    guest_template(name, "guest_file");
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    CHECK_EQ(unlink(name), 0);
    return fd;
}

static void case_vectors(void)
{
    int fd = file_new();
    struct iovec v[3] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
    CHECK_EQ(writev(fd, v, 3), 8);
    CHECK_EQ(pwritev(fd, v, 1, 100), 3);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 103);
    char a[4], b[10];
    struct iovec r[2] = {{a, 4}, {b, 10}};
    CHECK_EQ(preadv(fd, r, 2, 0), 14);
    CHECK_EQ(memcmp(a, "abcd", 4), 0);
    CHECK_EQ(memcmp(b, "efgh\0\0\0\0\0\0", 10), 0);
    CHECK_EQ(preadv2(fd, r, 2, 100, 0), 3);
    CHECK_EQ(pread(fd, b, 10, 103), 0);
    CHECK_ERR(pread(fd, b, 10, -1), EINVAL);
    CHECK_ERR(syscall(SYS_preadv, fd, r, -1L, 0L, 0L), EINVAL);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_ERR(syscall(SYS_read, fd, 8L, 4L), EFAULT);
    CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERR(lseek(fd, 0, 77), EINVAL);
    CHECK_ERR(read(999, b, 1), EBADF);
    int p[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_ERR(lseek(p[0], 0, SEEK_SET), ESPIPE);
    CHECK_ERR(pread(p[0], b, 1, 0), ESPIPE);
    CHECK_ERR(write(p[0], b, 1), EBADF);
}

static void case_append(void)
{
    char name[GUEST_TEMPLATE_MAX];
    guest_template(name, "guest_append");
    int fd = mkstemp(name);
    int a = open(name, O_WRONLY | O_APPEND), b = open(name, O_WRONLY | O_APPEND);
    CHECK_EQ(write(a, "11", 2), 2);
    CHECK_EQ(write(b, "22", 2), 2);
    CHECK_EQ(write(a, "33", 2), 2);
    char buf[8];
    CHECK_EQ(pread(fd, buf, 8, 0), 6);
    CHECK_EQ(memcmp(buf, "112233", 6), 0);
    CHECK_EQ(lseek(a, 0, SEEK_CUR), 6);
    CHECK_EQ(open(name, O_RDWR | O_TRUNC) >= 0, 1);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
    unlink(name);
}

static void case_descriptors(void)
{
    int fd = file_new();
    int d = dup(fd);
    CHECK(d > fd);
    CHECK_EQ(write(d, "xy", 2), 2);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 2); /* one position */
    CHECK_EQ(dup2(fd, 50), 50);
    CHECK_EQ(dup2(50, 50), 50);
    CHECK_ERR(dup3(50, 50, 0), EINVAL);
    CHECK_EQ(dup3(fd, 51, O_CLOEXEC), 51);
    CHECK_EQ(fcntl(51, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(50, F_GETFD), 0);
    CHECK_EQ(fcntl(fd, F_DUPFD, 60), 60);
    CHECK_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 60), 61);
    CHECK_ERR(fcntl(fd, F_DUPFD, -1), EINVAL);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    CHECK_EQ(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND), 0);
    CHECK_EQ(fcntl(d, F_GETFL) & (O_NONBLOCK | O_APPEND), O_NONBLOCK | O_APPEND);
    int off = 0;
    CHECK_EQ(ioctl(fd, FIONBIO, &off), 0);
    CHECK_EQ(fcntl(d, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(ioctl(fd, FIOCLEX), 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_ERR(ioctl(fd, TIOCGWINSZ, &off), ENOTTY);
    CHECK_EQ(syscall(SYS_close_range, 50, ~0u, 0), 0);
    CHECK_ERR(fcntl(60, F_GETFD), EBADF);
    CHECK_ERR(close(60), EBADF);
    struct rlimit lim = {10, 10};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &lim), 0);
    int last = -1, next;
    while ((next = dup(fd)) >= 0)
        last = next;
    CHECK_EQ(errno, EMFILE);
    CHECK_EQ(last, 9);
    CHECK_ERR(dup2(fd, 10), EBADF);
}

static struct flock range(short type, off_t start, off_t len)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static void lock_child(void *arg)
{
    int fd = *(int *)arg;
    struct flock l = range(F_WRLCK, 5, 1);
    CHECK_EQ(fcntl(fd, F_GETLK, &l), 0);
    CHECK_EQ(l.l_type, F_WRLCK);
    CHECK_EQ(l.l_start, 0);
    CHECK_EQ(l.l_len, 10);
    CHECK_EQ(l.l_pid, getppid());
    l = range(F_RDLCK, 5, 1);
    CHECK_ERR(fcntl(fd, F_SETLK, &l), EAGAIN);
    l = range(F_RDLCK, 25, 1);
    CHECK_EQ(fcntl(fd, F_SETLK, &l), 0);
    l = range(F_WRLCK, 25, 1);
    CHECK_ERR(fcntl(fd, F_SETLK, &l), EAGAIN);
    l = range(F_WRLCK, 0, 1);
    CHECK_EQ(fcntl(fd, F_SETLKW, &l), 0); /* waits for the parent */
}

static void case_posix_locks(void)
{
    int fd = file_new();
    struct flock l = range(F_WRLCK, 0, 10);
    CHECK_EQ(fcntl(fd, F_SETLK, &l), 0);
    l = range(F_RDLCK, 20, 0);
    CHECK_EQ(fcntl(fd, F_SETLK, &l), 0);
    pid_t pid = guest_fork(lock_child, &fd);
    guest_sleep_ms(100);
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    l = range(F_UNLCK, 0, 1);
    CHECK_EQ(fcntl(fd, F_SETLK, &l), 0);
    CHECK_EQ(guest_wait(pid), 0);
    int other = dup(fd); /* any close drops all the process's locks */
    l = range(F_WRLCK, 0, 0);
    CHECK_EQ(fcntl(fd, F_SETLK, &l), 0);
    close(other);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int second = open(path, O_RDWR);
    CHECK(second >= 0);
    l = range(F_WRLCK, 0, 0);
    CHECK_EQ(fcntl(second, F_OFD_SETLK, &l), 0);
    l = range(F_WRLCK, 3, 1);
    CHECK_ERR(fcntl(fd, F_OFD_SETLK, &l), EAGAIN);
    l = range(F_WRLCK, 3, 1);
    CHECK_EQ(fcntl(fd, F_OFD_GETLK, &l), 0);
    CHECK_EQ(l.l_pid, -1);
    close(second);
    l = range(F_WRLCK, 3, 1);
    CHECK_EQ(fcntl(fd, F_OFD_SETLK, &l), 0);
    l = range(F_WRLCK, 3, 1);
    l.l_whence = 9;
    CHECK_ERR(fcntl(fd, F_SETLK, &l), EINVAL);
}

static void flock_child(void *arg)
{
    int fd = open(arg, O_RDWR);
    CHECK_ERR(flock(fd, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK_EQ(flock(fd, LOCK_EX), 0);
}

static void case_flock(void)
{
    char name[GUEST_TEMPLATE_MAX];
    guest_template(name, "guest_flock");
    int fd = mkstemp(name);
    CHECK_EQ(flock(fd, LOCK_EX), 0);
    pid_t pid = guest_fork(flock_child, name);
    guest_sleep_ms(100);
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    CHECK_EQ(flock(fd, LOCK_UN), 0);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(flock(fd, LOCK_SH), 0);
    int b = open(name, O_RDONLY);
    CHECK_EQ(flock(b, LOCK_SH | LOCK_NB), 0);
    CHECK_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_ERR(flock(fd, 77), EINVAL);
    unlink(name);
}

static void case_sizes(void)
{
    char buf[16];
    struct stat st;
    int fd = file_new();
    CHECK_EQ(pwrite(fd, "abcdefgh", 8, 0), 8);
    CHECK_EQ(ftruncate(fd, 3), 0);
    CHECK_EQ(ftruncate(fd, 10000), 0);
    CHECK_EQ(pread(fd, buf, 8, 0), 8);
    CHECK_EQ(memcmp(buf, "abc\0\0\0\0\0", 8), 0);
    CHECK_ERR(ftruncate(fd, -1), EINVAL);
    if (fallocate(fd, 0, 0, 1 << 20) == 0) {
        CHECK_EQ(fstat(fd, &st), 0);
        CHECK_EQ(st.st_size, 1 << 20);
        CHECK(st.st_blocks >= 2048);
        CHECK_EQ(pwrite(fd, "zz", 2, 8192), 2);
        CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
        CHECK_EQ(pread(fd, buf, 2, 8192), 2);
        CHECK_EQ(buf[0], 0);
        CHECK_EQ(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 2 << 20), 0);
        CHECK_EQ(fstat(fd, &st), 0);
        CHECK_EQ(st.st_size, 1 << 20);
        CHECK_ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
    }
    CHECK_ERR(fallocate(fd, 0, 0, 0), EINVAL);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(ftruncate(fd, 1LL << 40), 0);
    CHECK_EQ(pwrite(fd, "x", 1, 1LL << 39), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_DATA), 1LL << 39);
    CHECK_EQ(lseek(fd, 0, SEEK_HOLE), 0);
    CHECK_ERR(lseek(fd, 1LL << 41, SEEK_DATA), ENXIO);
    CHECK_EQ(fsync(fd), 0);
    CHECK_EQ(fdatasync(fd), 0);
    int p[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_ERR(fsync(p[0]), EINVAL);
    CHECK_ERR(ftruncate(p[1], 0), EINVAL);
    CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
    CHECK_EQ(posix_fadvise(p[0], 0, 0, POSIX_FADV_SEQUENTIAL), ESPIPE);
}

static volatile sig_atomic_t g_signal;

static void on_signal(int signo)
{
    g_signal = signo;
}

static void case_file_limit(void)
{
    int fd = file_new();
    struct rlimit lim = {10, RLIM_INFINITY};
    signal(SIGXFSZ, on_signal);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
    CHECK_EQ(write(fd, "0123456789abc", 13), 10);
    CHECK_ERR(write(fd, "x", 1), EFBIG);
    CHECK_EQ(g_signal, SIGXFSZ);
    CHECK_ERR(ftruncate(fd, 11), EFBIG);
}

static void case_between(void)
{
    static char data[200000], back[200000];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7 >> 3);
    int a = file_new(), b = file_new();
    CHECK_EQ(write(a, data, sizeof(data)), (long)sizeof(data));
    off_t off = 1000;
    CHECK_EQ(sendfile(b, a, &off, 150000), 150000);
    CHECK_EQ(off, 151000);
    CHECK_EQ(lseek(a, 0, SEEK_CUR), (long)sizeof(data));
    CHECK_EQ(pread(b, back, 150000, 0), 150000);
    CHECK_EQ(memcmp(back, data + 1000, 150000), 0);
    CHECK_EQ(lseek(a, 0, SEEK_SET), 0);
    CHECK_EQ(ftruncate(b, 0), 0);
    CHECK_EQ(lseek(b, 0, SEEK_SET), 0);
    CHECK_EQ(copy_file_range(a, NULL, b, NULL, 1 << 20, 0), (long)sizeof(data));
    CHECK_EQ(pread(b, back, sizeof(back), 0), (long)sizeof(back));
    CHECK_EQ(memcmp(back, data, sizeof(data)), 0);
    CHECK_ERR(copy_file_range(a, NULL, b, NULL, 1, 1), EINVAL);
    int p[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(lseek(a, 5, SEEK_SET), 5);
    CHECK_EQ(sendfile(p[1], a, NULL, 100), 100);
    CHECK_EQ(read(p[0], back, 200), 100);
    CHECK_EQ(memcmp(back, data + 5, 100), 0);
    CHECK_ERR(sendfile(p[1], p[0], NULL, 100), EINVAL);
}

static sigjmp_buf g_jump;

static void on_bus(int signo)
{
    siglongjmp(g_jump, signo);
}

static void case_mapping(void)
{
    int fd = file_new();
    CHECK_EQ(ftruncate(fd, 3 * 4096), 0);
    char *m = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(m != MAP_FAILED);
    CHECK_EQ(pwrite(fd, "seen", 4, 5000), 4);
    CHECK_EQ(memcmp(m + 5000, "seen", 4), 0);
    m[9000] = 'M';
    char c;
    CHECK_EQ(pread(fd, &c, 1, 9000), 1);
    CHECK_EQ(c, 'M');
    char *priv = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
    priv[0] = 'P';
    CHECK_EQ(pread(fd, &c, 1, 4096), 1);
    CHECK_EQ(c, 0);
    CHECK_EQ(msync(m, 4096, MS_SYNC), 0);
    CHECK_EQ(close(fd), 0);
    m[0] = 'Z'; /* outlives the descriptor */
    fd = file_new();
    CHECK_EQ(ftruncate(fd, 2 * 4096), 0);
    volatile char *t = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    t[4096] = 1;
    CHECK_EQ(ftruncate(fd, 4096), 0);
    signal(SIGBUS, on_bus);
    if (sigsetjmp(g_jump, 1) == 0) {
        c = t[4096];
        CHECK(!"no SIGBUS");
    }
    CHECK_EQ(ftruncate(fd, 2 * 4096), 0);
    CHECK_EQ(t[4096], 0);
}

static void case_memfd(void)
{
    char path[64], name[128];
    int fd = (int)syscall(SYS_memfd_create, "some name", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(write(fd, "data", 4), 4);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, name, sizeof(name) - 1);
    CHECK(n > 0);
    name[n] = 0;
    CHECK_EQ(strcmp(name, "/memfd:some name (deleted)"), 0);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), 0);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    CHECK_ERR(ftruncate(fd, 0), EPERM);
    CHECK_ERR(ftruncate(fd, 100), EPERM);
    CHECK_EQ(pwrite(fd, "D", 1, 0), 1);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0);
    CHECK_ERR(pwrite(fd, "D", 1, 0), EPERM);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    CHECK_ERR(syscall(SYS_memfd_create, "x", 1 << 20), EINVAL);
}

static const struct guest_case cases[] = {
    {"vectors", case_vectors},
    {"append", case_append},
    {"descriptors", case_descriptors},
    {"posix_locks", case_posix_locks},
    {"flock", case_flock},
    {"sizes", case_sizes},
    {"file_limit", case_file_limit},
    {"between", case_between},
    {"mapping", case_mapping},
    {"memfd", case_memfd},
};

GUEST_MAIN(cases)
