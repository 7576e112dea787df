/* SPDX-License-Identifier: Apache-2.0
 * path.c - names: links, renames, directories, what a walk may and may not do. */
#include "guest.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>

static char dir[256];

static void enter(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/guest-path-XXXXXX", base ? base : "/tmp");
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    umask(022);
}

static void leave(void)
{
    CHECK(chdir("/") == 0 && rmdir(dir) == 0);
}

static void touch(const char *name)
{
    int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0644);
    CHECK(fd >= 0);
    close(fd);
}

static bool exists(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0;
}

static void walking(void)
{
    struct stat a, b;
    enter();
    CHECK(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0);
    touch("d/e/f");
    CHECK(stat("d/e/f", &a) == 0 && stat("d//e/./../e///f", &b) == 0 && a.st_ino == b.st_ino);
    CHECK_ERR(stat("d/e/f/", &a), ENOTDIR);
    CHECK_ERR(stat("d/e/f/x", &a), ENOTDIR);
    CHECK_ERR(stat("d/x/f", &a), ENOENT);
    CHECK_ERR(stat("", &a), ENOENT);
    CHECK(stat("/../../", &a) == 0 && stat("/", &b) == 0 && a.st_ino == b.st_ino);
    unlink("d/e/f");
    rmdir("d/e");
    rmdir("d");
    leave();
}

static void lengths(void)
{
    static char name[300], path[PATH_MAX + 10];
    struct stat st;
    enter();
    memset(name, 'n', 255);
    touch(name);
    CHECK(unlink(name) == 0);
    name[255] = 'n';
    CHECK_ERR(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
    for (size_t i = 0; i < sizeof(path) - 1; i += 2)
        memcpy(path + i, "./", 2);
    path[PATH_MAX - 1] = 0;
    CHECK(stat(path, &st) == 0);
    path[PATH_MAX - 1] = '/';
    CHECK_ERR(stat(path, &st), ENAMETOOLONG);
    CHECK_ERR(stat((char *)8, &st), EFAULT);
    leave();
}

static void symbolic_links(void)
{
    char b[16] = {0};
    struct stat st;
    enter();
    touch("f");
    CHECK(symlink("f", "l") == 0);
    CHECK(readlink("l", b, 16) == 1 && b[0] == 'f');
    CHECK(lstat("l", &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 1);
    CHECK(stat("l", &st) == 0 && S_ISREG(st.st_mode));
    CHECK_ERR(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
    CHECK_ERR(readlink("f", b, 16), EINVAL);
    CHECK(symlink("loop2", "loop1") == 0 && symlink("loop1", "loop2") == 0);
    CHECK_ERR(open("loop1", O_RDONLY), ELOOP);
    CHECK(symlink("nowhere", "dangling") == 0);
    CHECK_ERR(open("dangling", O_RDONLY), ENOENT);
    CHECK(open("dangling", O_CREAT | O_WRONLY, 0600) >= 0 && exists("nowhere"));
    CHECK_ERR(symlink("x", "f"), EEXIST);
    CHECK_ERR(symlink("", "empty"), ENOENT);
    CHECK(mkdir("d", 0755) == 0 && symlink("../f", "d/up") == 0);
    CHECK(stat("d/up", &st) == 0);
    unlink("d/up");
    rmdir("d");
    const char *names[] = {"f", "l", "loop1", "loop2", "dangling", "nowhere"};
    for (size_t i = 0; i < 6; i++)
        CHECK(unlink(names[i]) == 0);
    leave();
}

static void many_links(void)
{
    char from[16], to[16];
    enter();
    touch("l0");
    for (int i = 1; i <= 41; i++) {
        snprintf(from, sizeof(from), "l%d", i - 1);
        snprintf(to, sizeof(to), "l%d", i);
        CHECK(symlink(from, to) == 0);
    }
    CHECK(open("l40", O_RDONLY) >= 0);
    CHECK_ERR(open("l41", O_RDONLY), ELOOP);
    for (int i = 0; i <= 41; i++) {
        snprintf(to, sizeof(to), "l%d", i);
        CHECK(unlink(to) == 0);
    }
    leave();
}

static void hard_links(void)
{
    struct stat a, b;
    enter();
    touch("a");
    CHECK(link("a", "b") == 0);
    CHECK(stat("a", &a) == 0 && stat("b", &b) == 0);
    CHECK(a.st_ino == b.st_ino && a.st_nlink == 2);
    CHECK_ERR(link("a", "b"), EEXIST);
    CHECK_ERR(link("none", "c"), ENOENT);
    CHECK(mkdir("d", 0755) == 0);
    CHECK_ERR(link("d", "c"), EPERM);
    CHECK(unlink("a") == 0 && stat("b", &b) == 0 && b.st_nlink == 1);
    unlink("b");
    rmdir("d");
    leave();
}

static void directories(void)
{
    struct stat st;
    enter();
    CHECK(mkdir("d", 0777) == 0 && stat("d", &st) == 0);
    CHECK(st.st_mode == (S_IFDIR | 0755) && st.st_nlink >= 1);
    CHECK_ERR(mkdir("d", 0777), EEXIST);
    CHECK_ERR(mkdir("none/d", 0777), ENOENT);
    CHECK(mkdir("d/e/", 0777) == 0);
    CHECK_ERR(rmdir("d"), ENOTEMPTY);
    CHECK_ERR(unlink("d"), EISDIR);
    touch("f");
    CHECK_ERR(rmdir("f"), ENOTDIR);
    CHECK_ERR(rmdir("."), EINVAL);
    CHECK_ERR(rmdir("d/.."), ENOTEMPTY);
    CHECK(rmdir("d/e") == 0 && rmdir("d/") == 0);
    unlink("f");
    leave();
}

static void renaming(void)
{
    enter();
    touch("a");
    CHECK(rename("a", "b") == 0 && !exists("a") && exists("b"));
    touch("a");
    CHECK(rename("a", "b") == 0); /* replaces */
    CHECK_ERR(rename("a", "b"), ENOENT);
    CHECK(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0 && mkdir("empty", 0755) == 0);
    CHECK_ERR(rename("b", "d"), EISDIR);
    CHECK_ERR(rename("d", "b"), ENOTDIR);
    CHECK_ERR(rename("d", "d/e/x"), EINVAL);
    CHECK_ERR(rename("empty", "d"), ENOTEMPTY);
    CHECK(rename("d", "empty") == 0 && exists("empty/e"));
    CHECK_ERR(renameat2(AT_FDCWD, "b", AT_FDCWD, "empty", RENAME_NOREPLACE), EEXIST);
    CHECK(renameat2(AT_FDCWD, "b", AT_FDCWD, "empty", RENAME_EXCHANGE) == 0);
    CHECK(exists("b/e"));
    CHECK(rename("empty", "b/e/f") == 0 && exists("b/e/f"));
    unlink("b/e/f");
    rmdir("b/e");
    rmdir("b");
    leave();
}

static void relative_to_descriptors(void)
{
    struct stat st;
    enter();
    CHECK(mkdir("d", 0755) == 0);
    int d = open("d", O_RDONLY | O_DIRECTORY), p = open("d", O_PATH);
    int fd = openat(d, "f", O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && exists("d/f"));
    CHECK(fstatat(p, "f", &st, 0) == 0 && fstatat(p, "", &st, AT_EMPTY_PATH) == 0);
    CHECK_ERR(openat(fd, "x", O_RDONLY), ENOTDIR);
    CHECK_ERR(openat(999, "x", O_RDONLY), EBADF);
    CHECK_ERR(read(p, &st, 1), EBADF);
    CHECK(fchdir(d) == 0 && exists("f"));
    CHECK(unlinkat(d, "f", 0) == 0);
    CHECK(chdir("..") == 0 && unlinkat(AT_FDCWD, "d", AT_REMOVEDIR) == 0);
    CHECK_ERR(openat(d, "x", O_CREAT | O_WRONLY, 0600), ENOENT); /* removed */
    leave();
}

static void current_directory(void)
{
    char here[PATH_MAX], real[PATH_MAX];
    enter();
    CHECK(realpath(dir, real) && getcwd(here, sizeof(here)) && !strcmp(here, real));
    CHECK(!getcwd(here, 2) && errno == ERANGE);
    touch("f");
    CHECK_ERR(chdir("f"), ENOTDIR);
    CHECK_ERR(chdir("none"), ENOENT);
    CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0 && rename("../d", "../e") == 0);
    strcat(real, "/e");
    CHECK(getcwd(here, sizeof(here)) && !strcmp(here, real));
    CHECK(rmdir("../e") == 0);
    CHECK_ERR(syscall(SYS_getcwd, here, sizeof(here)), ENOENT);
    CHECK(chdir(dir) == 0 && unlink("f") == 0);
    leave();
}

static void access_rights(void)
{
    enter();
    touch("f");
    CHECK(access("f", R_OK | W_OK) == 0 && access("f", F_OK) == 0);
    CHECK_ERR(access("f", X_OK), EACCES);
    CHECK_ERR(access("none", F_OK), ENOENT);
    CHECK_ERR(access("f", 8), EINVAL);
    if (geteuid() != 0) {
        CHECK(chmod("f", 0) == 0);
        CHECK_ERR(open("f", O_RDONLY), EACCES);
        CHECK(mkdir("d", 0) == 0);
        CHECK_ERR(open("d/x", O_RDONLY), EACCES);
        rmdir("d");
    }
    unlink("f");
    leave();
}

static int openat2_(const char *name, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve};
    return (int)syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof(how));
}

static void restricted_walks(void)
{
    enter();
    touch("f");
    CHECK(symlink("f", "l") == 0 && symlink("/etc", "abs") == 0);
    CHECK(openat2_("f", O_RDONLY, RESOLVE_BENEATH) >= 0);
    CHECK(openat2_("l", O_RDONLY, RESOLVE_BENEATH) >= 0);
    CHECK_ERR(openat2_("../x", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_ERR(openat2_("abs", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_ERR(openat2_("l", O_RDONLY, RESOLVE_NO_SYMLINKS), ELOOP);
    CHECK_ERR(openat2_("/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS), ELOOP);
    CHECK_ERR(openat2_("/../x", O_RDONLY, RESOLVE_IN_ROOT), ENOENT);
    CHECK_ERR(openat2_("f", O_RDONLY, 1 << 20), EINVAL);
    unlink("f");
    unlink("l");
    unlink("abs");
    leave();
}

static const struct guest_case cases[] = {
    {"walking", walking},
    {"lengths", lengths},
    {"symbolic_links", symbolic_links},
    {"many_links", many_links},
    {"hard_links", hard_links},
    {"directories", directories},
    {"renaming", renaming},
    {"relative_to_descriptors", relative_to_descriptors},
    {"current_directory", current_directory},
    {"access_rights", access_rights},
    {"restricted_walks", restricted_walks},
};
GUEST_MAIN(cases)
