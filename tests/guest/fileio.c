/* SPDX-License-Identifier: Apache-2.0
 * fileio.c - regular files and directories through descriptors. Every case works in a directory of
 * its own, below TMPDIR or /tmp. */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

static char dir[256];

static void enter(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/guest-file-XXXXXX", base ? base : "/tmp");
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    umask(022);
}

static void leave(void)
{
    CHECK(chdir("/") == 0);
    CHECK(rmdir(dir) == 0); /* every case cleans up after itself */
}

static int make(const char *name, const char *content)
{
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
    CHECK(fd >= 0);
    CHECK(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    return fd;
}

static void reading_and_writing(void)
{
    char b[16] = {0};
    enter();
    int fd = make("f", "0123456789");
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
    CHECK(lseek(fd, 2, SEEK_SET) == 2 && read(fd, b, 3) == 3 && !memcmp(b, "234", 3));
    CHECK(pread(fd, b, 4, 8) == 2 && !memcmp(b, "89", 2));
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
    CHECK(pwrite(fd, "AB", 2, 12) == 2);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 14);
    CHECK(pread(fd, b, 16, 9) == 5 && !memcmp(b, "9\0\0AB", 5));
    CHECK(read(fd, b, 1) == 0);
    CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERR(pread(fd, b, 1, -1), EINVAL);
    CHECK_ERR(lseek(fd, 0, 77), EINVAL);
    CHECK(unlink("f") == 0);
    leave();
}

/* So often that it is known well; then something changes it. */
static void read_again(int fd, off_t at, size_t want, ssize_t got, char c)
{
    char b[16384];
    for (int i = 0; i < 20; i++) {
        memset(b, '-', sizeof b);
        CHECK_EQ(pread(fd, b, want, at), got);
        for (ssize_t k = 0; k < got; k++)
            CHECK(b[k] == c);
        CHECK(want == (size_t)got || b[got] == '-');
    }
}

static void reading_again(void)
{
    static char page[4096];
    enter();
    int fd = make("f", ""), other = open("f", O_RDWR);
    memset(page, 'a', sizeof page);
    for (int i = 0; i < 300; i++) /* more than a mebibyte */
        CHECK_EQ(pwrite(fd, page, sizeof page, i * 4096L), 4096);
    int reader = open("f", O_RDONLY);
    read_again(reader, 0, 4096, 4096, 'a');
    read_again(reader, 10, 16384, 16384, 'a');
    read_again(reader, 255 * 4096L + 100, 8192, 8192, 'a'); /* over the mebibyte */
    read_again(reader, 256 * 4096L, 4096, 4096, 'a');
    read_again(reader, 0, 1, 1, 'a');
    memset(page, 'b', sizeof page);
    CHECK_EQ(pwrite(other, page, 4096, 0), 4096);
    read_again(reader, 0, 4096, 4096, 'b');
    CHECK(ftruncate(other, 4096 + 100) == 0);
    read_again(reader, 4096, 4096, 100, 'a');
    read_again(reader, 8192, 4096, 0, 0);
    CHECK(ftruncate(other, 4096) == 0);
    read_again(reader, 4096, 4096, 0, 0);
    CHECK(ftruncate(other, 3 * 4096) == 0);
    read_again(reader, 4096, 8192, 8192, 0);
    CHECK(ftruncate(other, 0) == 0);
    read_again(reader, 0, 4096, 0, 0);
    CHECK_EQ(pwrite(other, page, 4096, 0), 4096);
    CHECK(unlink("f") == 0);
    read_again(reader, 0, 4096, 4096, 'b');
    CHECK(ftruncate(other, 1) == 0);
    read_again(reader, 0, 4096, 1, 'b');
    void *volatile nowhere = (void *)8;
    CHECK_ERR(pread(reader, nowhere, 1, 0), EFAULT);
    leave();
}

static void vectors(void)
{
    char a[3], b[5] = {0};
    struct iovec out[2] = {{"abc", 3}, {"defg", 4}}, in[2] = {{a, 3}, {b, 5}};
    volatile int minus_one = -1;
    enter();
    int fd = make("f", "");
    CHECK_EQ(writev(fd, out, 2), 7);
    CHECK_EQ(preadv(fd, in, 2, 0), 7);
    CHECK(!memcmp(a, "abc", 3) && !strcmp(b, "defg"));
    CHECK_EQ(pwritev(fd, out, 1, 5), 3);
    CHECK_ERR(writev(fd, out, minus_one), EINVAL);
    CHECK_EQ(writev(fd, out, 0), 0);
    unlink("f");
    leave();
}

static void appending(void)
{
    char b[8];
    enter();
    int fd = make("f", "ab");
    int ap = open("f", O_WRONLY | O_APPEND);
    CHECK(write(ap, "cd", 2) == 2);
    CHECK(pwrite(fd, "ef", 2, 4) == 2 && write(ap, "gh", 2) == 2);
    CHECK(pread(fd, b, 8, 0) == 8 && !memcmp(b, "abcdefgh", 8));
    CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0 && (fcntl(fd, F_GETFL) & O_APPEND));
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && write(fd, "i", 1) == 1);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 9);
    unlink("f");
    leave();
}

static void truncating(void)
{
    struct stat st;
    char b[10];
    enter();
    int fd = make("f", "0123456789");
    CHECK(ftruncate(fd, 4) == 0 && fstat(fd, &st) == 0 && st.st_size == 4);
    CHECK(truncate("f", 8) == 0);
    CHECK(pread(fd, b, 10, 0) == 8 && !memcmp(b, "0123\0\0\0\0", 8));
    CHECK_ERR(ftruncate(fd, -1), EINVAL);
    int ro = open("f", O_RDONLY);
    CHECK_ERR(ftruncate(ro, 0), EINVAL);
    CHECK_ERR(write(ro, "x", 1), EBADF);
    CHECK(open("f", O_WRONLY | O_TRUNC) >= 0);
    CHECK(fstat(fd, &st) == 0 && st.st_size == 0);
    unlink("f");
    leave();
}

static void sparse(void)
{
    struct stat st;
    char b[4096];
    enter();
    int fd = make("f", "");
    CHECK(pwrite(fd, "end", 3, 10 << 20) == 3);
    CHECK(fstat(fd, &st) == 0 && st.st_size == (10 << 20) + 3);
    CHECK(st.st_blocks < 4096);
    CHECK(pread(fd, b, 4096, 5 << 20) == 4096);
    for (int i = 0; i < 4096; i++)
        CHECK(b[i] == 0);
    unlink("f");
    leave();
}

static void large(void)
{
    static char out[300000], in[300000];
    enter();
    int fd = make("f", "");
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (char)(i * 37 >> 4);
    CHECK_EQ(write(fd, out, sizeof(out)), sizeof(out));
    CHECK_EQ(pread(fd, in, sizeof(in), 0), sizeof(in));
    CHECK(!memcmp(in, out, sizeof(in)));
    CHECK_EQ(pread(fd, in, 100000, 65000), 100000);
    CHECK(!memcmp(in, out + 65000, 100000));
    unlink("f");
    leave();
}

static void duplicates(void)
{
    char b[4];
    enter();
    int fd = make("f", "abcdef"), d = dup(fd);
    CHECK(d > fd && lseek(fd, 2, SEEK_SET) == 2);
    CHECK(read(d, b, 1) == 1 && b[0] == 'c'); /* one position */
    CHECK_EQ(dup2(fd, fd), fd);
    CHECK_EQ(dup2(fd, 50), 50);
    CHECK_ERR(dup3(fd, fd, 0), EINVAL);
    CHECK(dup3(fd, 51, O_CLOEXEC) == 51 && fcntl(51, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(fd, F_DUPFD, 60) == 60);
    CHECK(fcntl(fd, F_DUPFD_CLOEXEC, 60) == 61);
    CHECK_ERR(dup(999), EBADF);
    CHECK_ERR(dup2(fd, -1), EBADF);
    close(fd);
    CHECK_ERR(read(fd, b, 1), EBADF);
    CHECK(read(d, b, 1) == 1 && b[0] == 'd');
    unlink("f");
    leave();
}

static void unlinked_but_open(void)
{
    struct stat st;
    char b[4];
    enter();
    int fd = make("f", "data");
    CHECK(unlink("f") == 0);
    CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0);
    CHECK(pread(fd, b, 4, 0) == 4 && write(fd, "more", 4) == 4);
    CHECK_ERR(open("f", O_RDONLY), ENOENT);
    leave();
}

static void temporary_file(void)
{
    char path[64];
    enter();
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        SKIP("no O_TMPFILE here");
    CHECK(fd >= 0 && write(fd, "tmp", 3) == 3);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    CHECK(access("named", R_OK) == 0 && unlink("named") == 0);
    leave();
}

static void exclusive_creation(void)
{
    enter();
    close(make("f", ""));
    CHECK_ERR(open("f", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    CHECK(open("f", O_CREAT | O_RDWR, 0600) >= 0);
    CHECK_ERR(open("f/x", O_CREAT | O_RDWR, 0600), ENOTDIR);
    CHECK_ERR(open("none/x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERR(open(".", O_RDWR), EISDIR);
    CHECK_ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
    unlink("f");
    leave();
}

static void modes_and_times(void)
{
    struct stat st;
    struct timespec ts[2] = {{1000, 5}, {2000, 7}};
    enter();
    int fd = make("f", "");
    CHECK(fstat(fd, &st) == 0 && st.st_mode == (S_IFREG | 0644) && st.st_uid == geteuid());
    CHECK(fchmod(fd, 0601) == 0 && chmod("f", 0640) == 0);
    CHECK(stat("f", &st) == 0 && (st.st_mode & 07777) == 0640);
    CHECK(utimensat(AT_FDCWD, "f", ts, 0) == 0 && stat("f", &st) == 0);
    CHECK(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 7);
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_nsec = UTIME_NOW;
    CHECK(futimens(fd, ts) == 0 && fstat(fd, &st) == 0);
    CHECK(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec > 1000000);
    umask(077);
    close(open("g", O_CREAT | O_WRONLY, 0666));
    CHECK(stat("g", &st) == 0 && (st.st_mode & 0777) == 0600);
    unlink("f");
    unlink("g");
    leave();
}

static void statx_fields(void)
{
    struct statx x;
    struct stat st;
    enter();
    int fd = make("f", "12345");
    CHECK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x) == 0 && fstat(fd, &st) == 0);
    CHECK(x.stx_size == 5 && x.stx_ino == st.st_ino && x.stx_nlink == 1);
    CHECK((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x) == 0 && x.stx_size == 5);
    CHECK_ERR(statx(fd, "", 0, STATX_SIZE, &x), ENOENT);
    unlink("f");
    leave();
}

static void listing(void)
{
    enum { MANY = 200 };
    char name[NAME_MAX + 1], seen[MANY] = {0};
    int dots = 0;
    enter();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "entry-%03d", i);
        close(make(name, ""));
    }
    DIR *d = opendir(".");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') {
            dots++;
            continue;
        }
        CHECK(e->d_type == DT_REG || e->d_type == DT_UNKNOWN);
        seen[atoi(e->d_name + 6)]++;
    }
    CHECK_EQ(dots, 2);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(seen[i], 1);
    rewinddir(d);
    CHECK(readdir(d));
    long at = telldir(d);
    struct dirent *e = readdir(d);
    CHECK(e);
    snprintf(name, sizeof(name), "%s", e->d_name);
    seekdir(d, at);
    e = readdir(d);
    CHECK(e && !strcmp(e->d_name, name));
    closedir(d);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "entry-%03d", i);
        CHECK(unlink(name) == 0);
    }
    leave();
}

static void locker(void *arg)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    int fd = *(int *)arg;
    CHECK_ERR(fcntl(fd, F_SETLK, &l), EAGAIN);
    CHECK(fcntl(fd, F_GETLK, &l) == 0);
    CHECK(l.l_type == F_WRLCK && l.l_pid == getppid() && l.l_start == 0 && l.l_len == 10);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20, .l_len = 1};
    CHECK(fcntl(fd, F_SETLK, &l) == 0);
    l.l_start = 5;
    CHECK(fcntl(fd, F_SETLKW, &l) == 0); /* until the parent unlocks */
}

static void record_locks(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
    enter();
    int fd = make("f", "");
    CHECK(fcntl(fd, F_SETLK, &l) == 0);
    pid_t pid = guest_fork(locker, &fd);
    guest_sleep_ms(50);
    l.l_type = F_UNLCK;
    CHECK(fcntl(fd, F_SETLK, &l) == 0);
    CHECK_EQ(guest_wait(pid), 0);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK(fcntl(fd, F_GETLK, &l) == 0 && l.l_type == F_UNLCK);
    unlink("f");
    leave();
}

static void whole_file_locks(void)
{
    enter();
    int a = make("f", ""), b = open("f", O_RDWR);
    CHECK(flock(a, LOCK_EX) == 0);
    CHECK_ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(a, LOCK_SH) == 0 && flock(b, LOCK_SH | LOCK_NB) == 0);
    close(a);
    CHECK(flock(b, LOCK_EX | LOCK_NB) == 0);
    CHECK_ERR(flock(b, 77), EINVAL);
    unlink("f");
    leave();
}

static void sending(void)
{
    char b[8];
    loff_t in = 1, out = 0;
    enter();
    int fd = make("f", "abcdefg"), to = make("g", "");
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    CHECK_EQ(copy_file_range(fd, &in, to, &out, 3, 0), 3);
    CHECK(in == 4 && out == 3);
    CHECK(pread(to, b, 8, 0) == 3 && !memcmp(b, "bcd", 3));
    unlink("f");
    unlink("g");
    leave();
}

static void space(void)
{
    struct statvfs v;
    enter();
    CHECK(statvfs(".", &v) == 0 && v.f_bsize > 0 && v.f_namemax >= 255);
    int fd = make("f", "");
    if (fallocate(fd, 0, 0, 8192) == 0) {
        struct stat st;
        CHECK(fstat(fd, &st) == 0 && st.st_size == 8192);
    } else {
        CHECK(errno == EOPNOTSUPP);
    }
    CHECK(fsync(fd) == 0 && fdatasync(fd) == 0);
    unlink("f");
    leave();
}

static const struct guest_case cases[] = {
    {"reading_and_writing", reading_and_writing},
    {"reading_again", reading_again},
    {"vectors", vectors},
    {"appending", appending},
    {"truncating", truncating},
    {"sparse", sparse},
    {"large", large},
    {"duplicates", duplicates},
    {"unlinked_but_open", unlinked_but_open},
    {"temporary_file", temporary_file},
    {"exclusive_creation", exclusive_creation},
    {"modes_and_times", modes_and_times},
    {"statx_fields", statx_fields},
    {"listing", listing},
    {"record_locks", record_locks},
    {"whole_file_locks", whole_file_locks},
    {"sending", sending},
    {"space", space},
};
GUEST_MAIN(cases)
