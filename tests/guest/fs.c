/* SPDX-License-Identifier: Apache-2.0
 * fs.c - names, attributes, permission, directories: the calls on paths. Each case works in a
 * directory of its own below /tmp. */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

static char g_dir[GUEST_TEMPLATE_MAX];

static void remove_dir(void)
{
    char cmd[GUEST_TEMPLATE_MAX + 16];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", g_dir);
    if (chdir("/") == 0)
        (void)!system(cmd);
}

static void enter(void)
{
    guest_template(g_dir, "guest_fs");
    CHECK(mkdtemp(g_dir));
    CHECK_EQ(chmod(g_dir, 0777), 0);
    CHECK_EQ(chdir(g_dir), 0);
    umask(022);
}

static void file_make(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (long)strlen(text));
    CHECK_EQ(close(fd), 0);
}

static void case_names(void)
{
    struct stat a, b;
    enter();
    CHECK_EQ(mkdir("d", 0755), 0);
    CHECK_ERR(mkdir("d", 0755), EEXIST);
    CHECK_ERR(mkdir("x/y", 0755), ENOENT);
    CHECK_EQ(mkdir("d/e/", 0755), 0);
    file_make("d/f", "hello");
    CHECK_ERR(mkdir("d/f/x", 0755), ENOTDIR);
    CHECK_ERR(open("d/f/", O_RDONLY), ENOTDIR);
    CHECK_ERR(open("new/", O_CREAT | O_WRONLY, 0644), EISDIR);
    CHECK_ERR(rmdir("d"), ENOTEMPTY);
    CHECK_ERR(unlink("d"), EISDIR);
    CHECK_ERR(rmdir("d/f"), ENOTDIR);
    CHECK_ERR(rmdir("d/e/."), EINVAL);
    CHECK_ERR(rename("d", "d/e/g"), EINVAL);
    CHECK_EQ(link("d/f", "g"), 0);
    CHECK_ERR(link("d", "h"), EPERM);
    CHECK_EQ(stat("d/f", &a), 0);
    CHECK_EQ(stat("g", &b), 0);
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_EQ(a.st_nlink, 2);
    CHECK_EQ(rename("d/f", "g"), 0); /* the same file: nothing happens */
    CHECK_EQ(access("d/f", F_OK), 0);
    CHECK_EQ(unlink("d/f"), 0);
    CHECK_EQ(stat("g", &b), 0);
    CHECK_EQ(b.st_nlink, 1);
    CHECK_EQ(rename("d", "dd"), 0);
    CHECK_EQ(stat("dd/e", &a), 0);
    CHECK(S_ISDIR(a.st_mode));
    CHECK_ERR(rename("g", "dd"), EISDIR);
    CHECK_ERR(rename("dd", "g"), ENOTDIR);
    CHECK_ERR(open("", O_RDONLY), ENOENT);
    CHECK_ERR(open((char *)8, O_RDONLY), EFAULT);
    char big[300];
    memset(big, 'n', sizeof(big));
    big[299] = 0;
    CHECK_ERR(open(big, O_RDONLY), ENAMETOOLONG);
    remove_dir();
}

static void case_rename2(void)
{
    struct stat a, b;
    enter();
    file_make("a", "1");
    file_make("b", "22");
    CHECK_EQ(stat("a", &a), 0);
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    CHECK_EQ(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE), 0);
    CHECK_EQ(stat("b", &b), 0);
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", RENAME_EXCHANGE), ENOENT);
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", 1 << 20), EINVAL);
    int fd = open("a", O_RDONLY);
    CHECK_EQ(rename("b", "a"), 0); /* the open file lives on */
    char buf[8];
    CHECK_EQ(read(fd, buf, sizeof(buf)), 2);
    CHECK_EQ(fstat(fd, &b), 0);
    CHECK_EQ(b.st_nlink, 0);
    remove_dir();
}

static void case_symlinks(void)
{
    char buf[64];
    struct stat st;
    enter();
    CHECK_EQ(symlink("b", "a"), 0);
    CHECK_EQ(symlink("a", "b"), 0);
    CHECK_ERR(open("a", O_RDONLY), ELOOP);
    CHECK_EQ(readlink("a", buf, sizeof(buf)), 1);
    CHECK_ERR(readlink(".", buf, sizeof(buf)), EINVAL);
    CHECK_EQ(symlink("target", "l"), 0);
    CHECK_ERR(open("l", O_RDONLY), ENOENT);
    CHECK_ERR(open("l", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
    int fd = open("l", O_CREAT | O_WRONLY, 0644); /* creates what the link names */
    CHECK(fd >= 0);
    CHECK_EQ(stat("target", &st), 0);
    CHECK_ERR(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
    fd = open("l", O_PATH | O_NOFOLLOW);
    CHECK(fd >= 0);
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK(S_ISLNK(st.st_mode));
    CHECK_EQ(st.st_size, 6);
    CHECK_EQ(readlinkat(fd, "", buf, sizeof(buf)), 6);
    CHECK_ERR(read(fd, buf, 1), EBADF);
    CHECK_EQ(unlink("l"), 0);
    CHECK_EQ(access("target", F_OK), 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", open("target", O_RDONLY));
    CHECK(readlink(path, buf, sizeof(buf)) > 0);
    CHECK(open(path, O_RDWR) >= 0); /* through the magic link, with other rights */
    remove_dir();
}

static void case_openat2(void)
{
    enter();
    CHECK_EQ(mkdir("in", 0755), 0);
    file_make("in/f", "x");
    file_make("out", "y");
    CHECK_EQ(symlink("../out", "in/up"), 0);
    CHECK_EQ(symlink("/f", "in/abs"), 0);
    int dir = open("in", O_PATH | O_DIRECTORY);
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    CHECK(syscall(SYS_openat2, dir, "f", &how, sizeof(how)) >= 0);
    CHECK_ERR(syscall(SYS_openat2, dir, "up", &how, sizeof(how)), EXDEV);
    CHECK_ERR(syscall(SYS_openat2, dir, "../out", &how, sizeof(how)), EXDEV);
    CHECK_ERR(syscall(SYS_openat2, dir, "abs", &how, sizeof(how)), EXDEV);
    how.resolve = RESOLVE_IN_ROOT;
    CHECK(syscall(SYS_openat2, dir, "abs", &how, sizeof(how)) >= 0);
    CHECK_ERR(syscall(SYS_openat2, dir, "up", &how, sizeof(how)), ENOENT);
    how.resolve = RESOLVE_NO_SYMLINKS;
    CHECK_ERR(syscall(SYS_openat2, dir, "abs", &how, sizeof(how)), ELOOP);
    how.resolve = RESOLVE_NO_MAGICLINKS;
    CHECK_ERR(syscall(SYS_openat2, dir, "/proc/self/cwd", &how, sizeof(how)), ELOOP);
    how.resolve = 1 << 20;
    CHECK_ERR(syscall(SYS_openat2, dir, "f", &how, sizeof(how)), EINVAL);
    how = (struct open_how){.flags = O_RDONLY, .mode = 0644};
    CHECK_ERR(syscall(SYS_openat2, dir, "f", &how, sizeof(how)), EINVAL);
    CHECK_ERR(syscall(SYS_openat2, dir, "f", &how, sizeof(how) - 8), EINVAL);
    remove_dir();
}

static void case_tmpfile(void)
{
    struct stat st;
    char path[64];
    enter();
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fd < 0 && errno == EOPNOTSUPP)
        SKIP("O_TMPFILE");
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_nlink, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK_EQ(linkat(AT_FDCWD, path, AT_FDCWD, "made", AT_SYMLINK_FOLLOW), 0);
    CHECK_EQ(stat("made", &st), 0);
    CHECK_EQ(st.st_size, 3);
    CHECK_EQ(st.st_nlink, 1);
    CHECK_ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    remove_dir();
}

static void case_directories(void)
{
    char name[32];
    enter();
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        file_make(name, "");
    }
    DIR *d = opendir(".");
    int seen = 0;
    long middle = -1;
    char at_middle[256] = "";
    for (struct dirent *e; (e = readdir(d)); seen++) {
        if (seen == 200) { /* the next entry, to come back to */
            middle = telldir(d);
        } else if (seen == 201) {
            strcpy(at_middle, e->d_name);
        }
    }
    CHECK_EQ(seen, 502);
    seekdir(d, middle);
    struct dirent *e = readdir(d);
    CHECK(e && strcmp(e->d_name, at_middle) == 0);
    rewinddir(d);
    int removed = 0;
    while ((e = readdir(d))) /* removal while reading misses nothing */
        if (e->d_name[0] != '.') {
            CHECK_EQ(unlink(e->d_name), 0);
            removed++;
        }
    CHECK_EQ(removed, 500);
    closedir(d);
    int fd = open(".", O_RDONLY);
    char buf[8];
    CHECK_ERR(syscall(SYS_getdents64, fd, buf, sizeof(buf)), EINVAL);
    CHECK_ERR(read(fd, buf, 1), EISDIR);
    remove_dir();
}

static void case_cwd(void)
{
    char buf[256];
    enter();
    CHECK_EQ(mkdir("gone", 0755), 0);
    CHECK_EQ(chdir("gone"), 0);
    CHECK(getcwd(buf, sizeof(buf)));
    CHECK(strstr(buf, "/gone"));
    CHECK_ERR(syscall(SYS_getcwd, buf, 3), ERANGE);
    CHECK_EQ(rename("../gone", "../moved"), 0);
    CHECK(getcwd(buf, sizeof(buf)));
    CHECK(strstr(buf, "/moved"));
    CHECK_EQ(rmdir("../moved"), 0);
    CHECK_ERR(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
    CHECK_ERR(open("x", O_CREAT | O_WRONLY, 0644), ENOENT);
    CHECK_ERR(mkdir("x", 0755), ENOENT);
    CHECK_EQ(chdir(".."), 0);
    CHECK(getcwd(buf, sizeof(buf)));
    CHECK_EQ(strcmp(buf, g_dir), 0);
    file_make("f", "");
    CHECK_ERR(chdir("f"), ENOTDIR);
    CHECK_ERR(fchdir(open("f", O_RDONLY)), ENOTDIR);
    remove_dir();
}

static void as_nobody(void *arg)
{
    (void)arg;
    struct stat st;
    CHECK_EQ(setgid(65534), 0);
    CHECK_EQ(setuid(65534), 0);
    CHECK_ERR(open("secret", O_RDONLY), EACCES);
    CHECK_ERR(open("read", O_RDWR), EACCES);
    CHECK(open("read", O_RDONLY) >= 0);
    CHECK_ERR(open("closed/f", O_RDONLY), EACCES);
    CHECK_ERR(stat("closed/f", &st), EACCES);
    CHECK_ERR(open("closed/none", O_CREAT | O_WRONLY, 0644), EACCES);
    CHECK_ERR(unlink("plain/f"), EACCES);
    CHECK_ERR(unlink("sticky/f"), EPERM);
    CHECK_ERR(rename("sticky/f", "sticky/g"), EPERM);
    CHECK_ERR(chmod("read", 0777), EPERM);
    CHECK_ERR(chown("read", 65534, 65534), EPERM);
    CHECK_ERR(utimensat(AT_FDCWD, "read", NULL, 0), EACCES);
    CHECK_EQ(access("read", R_OK), 0);
    CHECK_ERR(access("read", W_OK), EACCES);
    CHECK_ERR(access("read", X_OK), EACCES);
    int fd = open("sticky/mine", O_CREAT | O_EXCL | O_WRONLY, 0666);
    CHECK(fd >= 0);
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_uid, 65534);
    CHECK_EQ(st.st_mode & 0777, 0644);
    CHECK_EQ(unlink("sticky/mine"), 0);
    CHECK_ERR(mknod("sticky/dev", S_IFCHR | 0666, 0x103), EPERM);
}

static void case_permission(void)
{
    struct stat st;
    if (geteuid() != 0)
        SKIP("needs root");
    enter();
    file_make("secret", "x");
    CHECK_EQ(chmod("secret", 0600), 0);
    file_make("read", "x");
    CHECK_EQ(mkdir("closed", 0700), 0);
    file_make("closed/f", "");
    CHECK_EQ(mkdir("plain", 0755), 0);
    file_make("plain/f", "");
    CHECK_EQ(mkdir("sticky", 0777), 0);
    CHECK_EQ(chmod("sticky", 01777), 0);
    file_make("sticky/f", "");
    CHECK_EQ(mkdir("setgid", 0755), 0);
    CHECK_EQ(chown("setgid", 0, 1234), 0);
    CHECK_EQ(chmod("setgid", 02755), 0);
    CHECK_EQ(mkdir("setgid/sub", 0755), 0);
    CHECK_EQ(stat("setgid/sub", &st), 0);
    CHECK_EQ(st.st_gid, 1234);
    CHECK_EQ(st.st_mode & 07777, 02755);
    CHECK_EQ(chmod("read", 04755), 0);
    CHECK_EQ(chown("read", 1, 1), 0); /* takes the set-id bit away */
    CHECK_EQ(stat("read", &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0755);
    CHECK_EQ(chmod("read", 0644), 0);
    CHECK_EQ(guest_wait(guest_fork(as_nobody, NULL)), 0);
    remove_dir();
}

static int64_t ns(struct timespec t)
{
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void case_times(void)
{
    struct stat a, b;
    struct timespec ts[2] = {{1000, 5}, {2000, 7}};
    enter();
    file_make("f", "x");
    CHECK_EQ(utimensat(AT_FDCWD, "f", ts, 0), 0);
    CHECK_EQ(stat("f", &a), 0);
    CHECK_EQ(ns(a.st_atim), ns(ts[0]));
    CHECK_EQ(ns(a.st_mtim), ns(ts[1]));
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_nsec = UTIME_NOW;
    CHECK_EQ(utimensat(AT_FDCWD, "f", ts, 0), 0);
    CHECK_EQ(stat("f", &b), 0);
    CHECK_EQ(ns(a.st_atim), ns(b.st_atim));
    CHECK(b.st_mtim.tv_sec > 1000000);
    ts[1].tv_nsec = 1000000000;
    CHECK_ERR(utimensat(AT_FDCWD, "f", ts, 0), EINVAL);
    struct utimbuf old = {5, 6};
    CHECK_EQ(utime("f", &old), 0);
    int fd = open("f", O_RDWR);
    CHECK_EQ(write(fd, "y", 1), 1);
    CHECK_EQ(fstat(fd, &b), 0);
    CHECK(b.st_mtim.tv_sec > 1000000);
    ts[0] = (struct timespec){9, 0};
    ts[1] = (struct timespec){8, 0};
    CHECK_EQ(futimens(fd, ts), 0);
    CHECK_EQ(fstat(fd, &b), 0);
    CHECK_EQ(b.st_mtim.tv_sec, 8);
    CHECK_EQ(stat(".", &a), 0);
    guest_sleep_ms(20);
    file_make("g", "");
    CHECK_EQ(stat(".", &b), 0);
    CHECK(ns(b.st_mtim) > ns(a.st_mtim));
    CHECK_EQ(stat("f", &a), 0);
    guest_sleep_ms(20);
    CHECK_EQ(chmod("f", 0600), 0);
    CHECK_EQ(stat("f", &b), 0);
    CHECK(ns(b.st_ctim) > ns(a.st_ctim));
    CHECK_EQ(ns(b.st_mtim), ns(a.st_mtim));
    remove_dir();
}

static void case_statx(void)
{
    struct statx x;
    struct stat st;
    struct statfs fs;
    enter();
    file_make("f", "12345");
    CHECK_EQ(stat("f", &st), 0);
    CHECK_EQ(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x), 0);
    CHECK_EQ(x.stx_ino, st.st_ino);
    CHECK_EQ(x.stx_size, 5);
    CHECK_EQ(x.stx_mode, st.st_mode);
    int fd = open("f", O_RDONLY);
    CHECK_EQ(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &x), 0);
    CHECK_EQ(x.stx_size, 5);
    CHECK_ERR(syscall(SYS_statx, AT_FDCWD, "f", 1 << 20, 0, &x), EINVAL);
    CHECK_EQ(fstatat(fd, "", &st, AT_EMPTY_PATH), 0);
    int p[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(fstatat(p[0], "", &st, AT_EMPTY_PATH), 0);
    CHECK(S_ISFIFO(st.st_mode));
    CHECK_EQ(statfs(".", &fs), 0);
    CHECK(fs.f_namelen >= 255 && fs.f_bsize > 0);
    CHECK_EQ(fstatfs(fd, &fs), 0);
    remove_dir();
}

static void case_xattr(void)
{
    char buf[64];
    enter();
    file_make("f", "");
    if (setxattr("f", "user.a", "value", 5, 0) < 0 && errno == EOPNOTSUPP)
        SKIP("no xattrs here");
    CHECK_EQ(getxattr("f", "user.a", buf, sizeof(buf)), 5);
    CHECK_EQ(getxattr("f", "user.a", NULL, 0), 5);
    CHECK_ERR(getxattr("f", "user.a", buf, 2), ERANGE);
    CHECK_ERR(getxattr("f", "user.b", buf, sizeof(buf)), ENODATA);
    CHECK_ERR(setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
    CHECK_ERR(setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
    CHECK_EQ(listxattr("f", buf, sizeof(buf)), 7);
    CHECK_EQ(removexattr("f", "user.a"), 0);
    CHECK_EQ(listxattr("f", buf, sizeof(buf)), 0);
    CHECK_ERR(setxattr("f", "nonsense", "x", 1, 0), EOPNOTSUPP);
    remove_dir();
}

static const struct guest_case cases[] = {
    {"names", case_names},     {"rename2", case_rename2},       {"symlinks", case_symlinks},
    {"openat2", case_openat2}, {"tmpfile", case_tmpfile},       {"directories", case_directories},
    {"cwd", case_cwd},         {"permission", case_permission}, {"times", case_times},
    {"statx", case_statx},     {"xattr", case_xattr},
};

GUEST_MAIN(cases)
