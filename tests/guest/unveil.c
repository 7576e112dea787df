/* SPDX-License-Identifier: Apache-2.0
 * unveil.c - what a process sees after ringbox_unveil(): by no detour more, and what it lacks has no
 * effect. Natively the call is -ENOSYS and hides nothing, which is all that is tested then. */
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "unveilutil.h"

/* --- letters --- */

static void letters(void)
{
    struct stat st;
    char buf[64];
    show("open", "r");
    show("open/sub", "wc");
    show("plain", "w");
    /* what is visible, what is on the way, what is not */
    CHECK(stat(at("open/file"), &st) == 0);
    CHECK(stat(at("plain"), &st) == 0);
    CHECK(stat(g_dir, &st) == 0);
    CHECK(stat("/", &st) == 0);
    CHECK_ERR(stat(at("secret"), &st), ENOENT);
    CHECK_ERR(stat(at("secret/file"), &st), ENOENT);
    CHECK_ERR(stat(at("secret/none"), &st), ENOENT);
    CHECK_ERR(stat("/etc/passwd", &st), ENOENT);
    CHECK_ERR(open(g_dir, O_RDONLY), EACCES);
    CHECK_ERR(open("/", O_RDONLY), EACCES);
    CHECK_ERR(open(at("new"), O_WRONLY | O_CREAT, 0600), ENOENT);
    CHECK_ERR(mkdir(at("secret"), 0700), ENOENT);
    CHECK_ERR(mkdir(g_dir, 0700), EEXIST);
    CHECK_ERR(rmdir(at("secret")), ENOENT);
    /* r */
    CHECK(reads(open(at("open/file"), O_RDONLY), "open"));
    CHECK(access(at("open/file"), R_OK) == 0);
    CHECK_ERR(access(at("open/file"), W_OK), EACCES);
    CHECK_ERR(access(at("open/file"), X_OK), EACCES);
    CHECK_ERR(open(at("open/file"), O_RDWR), EACCES);
    CHECK_ERR(open(at("open/file"), O_RDONLY | O_TRUNC), EACCES);
    CHECK_ERR(open(at("open/new"), O_WRONLY | O_CREAT, 0600), EACCES);
    CHECK_ERR(truncate(at("open/file"), 0), EACCES);
    CHECK_ERR(chmod(at("open/file"), 0600), EACCES);
    CHECK_ERR(fchmod(open(at("open/file"), O_RDONLY), 0600), EACCES);
    CHECK_ERR(utimensat(AT_FDCWD, at("open/file"), NULL, 0), EACCES);
    CHECK_ERR(futimens(open(at("open/file"), O_RDONLY), NULL), EACCES);
    CHECK_ERR(setxattr(at("open/file"), "user.x", "1", 1, 0), EACCES);
    CHECK_ERR(chown(at("open/file"), getuid(), getgid()), EACCES);
    CHECK_ERR(unlink(at("open/file")), EACCES);
    CHECK_ERR(mkdir(at("open/new"), 0700), EACCES);
    CHECK_ERR(execl(at("open/file"), "file", NULL), EACCES);
    CHECK(inotify_add_watch(inotify_init(), at("open"), IN_CREATE) >= 0);
    /* w */
    CHECK(open(at("plain"), O_WRONLY) >= 0);
    CHECK_ERR(open(at("plain"), O_RDONLY), EACCES);
    CHECK_ERR(open(at("plain"), O_RDWR), EACCES);
    CHECK_ERR(getxattr(at("plain"), "user.x", buf, sizeof(buf)), EACCES);
    CHECK_ERR(inotify_add_watch(inotify_init(), at("plain"), IN_OPEN), EACCES);
    CHECK(open(at("plain"), O_PATH) >= 0); /* can only be looked at */
    CHECK_ERR(unlink(at("plain")), EACCES);
    /* wc: made, written, not read; the name itself may go, what is above may not */
    CHECK(open(at("open/sub/new"), O_WRONLY | O_CREAT, 0600) >= 0);
    CHECK_ERR(open(at("open/sub/rw"), O_RDWR | O_CREAT, 0600), EACCES);
    CHECK_ERR(stat(at("open/sub/rw"), &st), ENOENT); /* without effect */
    CHECK(open(at("open/sub"), O_TMPFILE | O_WRONLY, 0600) >= 0);
    CHECK_ERR(open(at("open/sub"), O_RDONLY), EACCES);
    CHECK(unlink(at("open/sub/new")) == 0);
    CHECK(rmdir(at("open/sub")) == 0 && mkdir(at("open/sub"), 0755) == 0);
    CHECK(open(at("open/sub/again"), O_WRONLY | O_CREAT, 0600) >= 0); /* rights are the name's */
}

static void hidden_within(void)
{
    struct stat st;
    show("open", "rwxc");
    show("open/ro", "r");
    show("open/sub", "");
    CHECK_ERR(stat(at("open/sub"), &st), ENOENT);
    CHECK_ERR(rmdir(at("open/sub")), ENOENT);
    CHECK_ERR(rename(at("open/sub"), at("open/x")), ENOENT);
    CHECK_ERR(rename(at("open/ro"), at("open/x")), EACCES);
    CHECK_ERR(rename(at("open/file"), at("open/ro")), EACCES);
    CHECK_ERR(rename(at("open/file"), at("open/ro/x")), EACCES);
    CHECK_ERR(rename(at("open/ro/file"), at("open/x")), EACCES);
    CHECK_ERR(link(at("open/ro/file"), at("open/x")), EXDEV);
    CHECK(link(at("open/file"), at("open/x")) == 0);
    CHECK_ERR(open(at("open/ro/file"), O_WRONLY), EACCES);
    /* deeper inside what is hidden, the way there can be walked */
    show("open/sub/deep", "rwc");
    CHECK(stat(at("open/sub"), &st) == 0);
    CHECK_ERR(stat(at("open/sub/other"), &st), ENOENT);
    CHECK(open(at("open/sub/deep"), O_WRONLY | O_CREAT, 0600) >= 0);
    CHECK_ERR(open(at("open/sub/other"), O_WRONLY | O_CREAT, 0600), ENOENT);
}

static void case_letters(void)
{
    struct stat st;
    begin();
    inside(letters);
    CHECK(stat(at("open/file"), &st) == 0);
    CHECK_EQ(st.st_size, 4);
    CHECK_EQ(st.st_mode & 0777, 0755);
    CHECK(access(at("open/new"), F_OK) && access(at("new"), F_OK));
    inside(hidden_within);
    end();
}

/* --- detours --- */

static int g_secret_dir, g_secret_file, g_open_dir;

static void links(void)
{
    char buf[64];
    show("open", "rwxc");
    /* links out of what is visible, and links that are hidden themselves */
    CHECK(readlink(at("open/to_secret"), buf, sizeof(buf)) > 0);
    CHECK_ERR(open(at("open/to_secret"), O_RDONLY), ENOENT);
    CHECK_ERR(open(at("open/to_secret_dir/file"), O_RDONLY), ENOENT);
    CHECK_ERR(open(at("secret/to_open"), O_RDONLY), ENOENT);
    CHECK_ERR(open(at("open/to_new"), O_WRONLY | O_CREAT, 0600), ENOENT);
    /* ".." */
    CHECK_ERR(open(at("open/../secret/file"), O_RDONLY), ENOENT);
    CHECK_ERR(open(at("secret/../open/file"), O_RDONLY), ENOENT);
    CHECK_ERR(open(at("none/../open/file"), O_RDONLY), ENOENT);
    CHECK(reads(open(at("open/sub/.././../open/file"), O_RDONLY), "open"));
    /* a second name of the file is a name that was unveiled */
    CHECK(reads(open(at("open/hard"), O_RDONLY), "secret"));
    CHECK_ERR(link(at("secret/file"), at("open/mine")), ENOENT);
    CHECK_ERR(rename(at("secret/file"), at("open/mine")), ENOENT);
    CHECK_ERR(rename(at("open/file"), at("secret/mine")), ENOENT);
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, at("open/file"), AT_FDCWD, at("secret/file"), 2),
              ENOENT);
    CHECK(symlink(at("secret"), at("open/mine")) == 0);
    CHECK_ERR(open(at("open/mine/file"), O_RDONLY), ENOENT);
}

static const char *proc_fd(int fd, const char *rest)
{
    static char buf[128];
    snprintf(buf, sizeof(buf), "/proc/self/fd/%d%s", fd, rest);
    return buf;
}

static void descriptors(void)
{
    struct stat st;
    char buf[512], root[512];
    show("open", "rwx");
    CHECK_EQ(ringbox_unveil("/proc", "r"), 0);
    CHECK_EQ(ringbox_unveil(NULL, NULL), 0);
    /* what is open stays open, and leads nowhere else */
    CHECK(reads(g_secret_file, "secret"));
    CHECK(fstat(g_secret_file, &st) == 0);
    CHECK(fstat(g_secret_dir, &st) == 0);
    CHECK_ERR(openat(g_secret_dir, "file", O_RDONLY), ENOENT);
    CHECK_ERR(openat(g_secret_dir, ".", O_RDONLY), ENOENT);
    CHECK_ERR(openat(g_secret_dir, "../secret/file", O_RDONLY), ENOENT);
    CHECK_ERR(openat(g_secret_dir, "new", O_WRONLY | O_CREAT, 0600), ENOENT);
    CHECK_ERR(mkdirat(g_secret_dir, "new", 0700), ENOENT);
    CHECK_ERR(unlinkat(g_secret_dir, "file", 0), ENOENT);
    CHECK_ERR(fstatat(g_secret_dir, "file", &st, 0), ENOENT);
    CHECK_ERR(faccessat(g_secret_dir, "file", F_OK, 0), ENOENT);
    CHECK_ERR(fchmod(g_secret_file, 0600), EACCES);
    CHECK_ERR(open(proc_fd(g_secret_file, ""), O_RDONLY), ENOENT);
    CHECK_ERR(open(proc_fd(g_secret_dir, "/file"), O_RDONLY), ENOENT);
    CHECK_ERR(syscall(SYS_execveat, g_secret_file, "", NULL, NULL, AT_EMPTY_PATH), ENOENT);
    CHECK(reads(openat(g_secret_dir, "../open/file", O_RDONLY), "open"));
    CHECK(reads(openat(g_open_dir, "file", O_RDONLY), "open"));
    CHECK_ERR(openat(g_open_dir, "../secret/file", O_RDONLY), ENOENT);
    CHECK(reads(open(proc_fd(g_open_dir, "/file"), O_RDONLY), "open"));
    /* other roots of the same tree */
    snprintf(root, sizeof(root), "/proc/self/root%s", at("secret/file"));
    CHECK_ERR(open(root, O_RDONLY), ENOENT);
    snprintf(root, sizeof(root), "/proc/%d/root%s", getppid(), at("secret/file"));
    CHECK_ERR(open(root, O_RDONLY), ENOENT);
    snprintf(root, sizeof(root), "/proc/self/root%s", at("open/file"));
    CHECK(reads(open(root, O_RDONLY), "open"));
    /* a pipe has no name to be hidden */
    int fds[2];
    CHECK(pipe(fds) == 0);
    CHECK(open(proc_fd(fds[0], ""), O_RDONLY) >= 0);
    int m = memfd_create("m", 0);
    CHECK(open(proc_fd(m, ""), O_RDWR) >= 0);
    /* a directory that is not seen, as the working directory */
    CHECK(fchdir(g_secret_dir) == 0);
    CHECK_ERR(open("file", O_RDONLY), ENOENT);
    CHECK_ERR(open(".", O_RDONLY), ENOENT);
    CHECK_ERR(open("/proc/self/cwd/file", O_RDONLY), ENOENT);
    CHECK_ERR(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
    CHECK_ERR(stat("file", &st), ENOENT);
    CHECK(reads(open("../open/file", O_RDONLY), "open"));
    CHECK_ERR(chdir(at("secret")), ENOENT);
    CHECK(chdir(at("open")) == 0);
    CHECK(syscall(SYS_getcwd, buf, sizeof(buf)) > 0);
}

static void case_detours(void)
{
    begin();
    CHECK(symlink("../secret/file", at("open/to_secret")) == 0);
    CHECK(symlink("../secret", at("open/to_secret_dir")) == 0);
    CHECK(symlink("../secret/new", at("open/to_new")) == 0);
    CHECK(symlink("../open/file", at("secret/to_open")) == 0);
    CHECK(link(at("secret/file"), at("open/hard")) == 0);
    g_secret_dir = open(at("secret"), O_RDONLY | O_DIRECTORY);
    g_secret_file = open(at("secret/file"), O_RDONLY);
    g_open_dir = open(at("open"), O_PATH);
    CHECK(g_secret_dir >= 0 && g_secret_file >= 0 && g_open_dir >= 0);
    inside(links);
    inside(descriptors);
    CHECK(access(at("secret/new"), F_OK) && access(at("secret/mine"), F_OK));
    end();
}

static void mounts(void)
{
    show("open", "rwxc");
    show("secret", "r");
    CHECK(reads(open(at("secret/file"), O_RDONLY), "secret"));
    CHECK_ERR(open(at("bound/file"), O_RDONLY), ENOENT);
    CHECK(reads(open(at("open/sub/file"), O_RDONLY), "secret")); /* below what is unveiled */
    CHECK_ERR(mount(at("secret"), at("open"), NULL, MS_BIND, NULL), EPERM);
    CHECK_ERR(umount2(at("open/sub"), MNT_DETACH), EPERM);
    CHECK_ERR(open(at("open/sub/../../plain"), O_RDONLY), ENOENT);
}

static void bound_only(void)
{
    show("bound", "r");
    CHECK(reads(open(at("bound/file"), O_RDONLY), "secret"));
    CHECK_ERR(open(at("secret/file"), O_RDONLY), ENOENT);
    CHECK_ERR(open(at("bound/../secret/file"), O_RDONLY), ENOENT);
}

static void case_mounts(void)
{
    begin();
    CHECK(mkdir(at("bound"), 0755) == 0);
    if (mount(at("secret"), at("bound"), NULL, MS_BIND, NULL) != 0) {
        CHECK_EQ(errno, EPERM);
        end();
        SKIP("mounting needs CAP_SYS_ADMIN");
    }
    CHECK(mount(at("secret"), at("open/sub"), NULL, MS_BIND, NULL) == 0);
    inside(mounts);
    inside(bound_only);
    CHECK(umount2(at("bound"), 0) == 0 && umount2(at("open/sub"), 0) == 0);
    end();
}

/* --- sockets --- */

static int unix_at(const char *name, bool bound)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", at(name));
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    return bound ? bind(fd, (void *)&un, sizeof(un)) : connect(fd, (void *)&un, sizeof(un));
}

static void sockets(void)
{
    show("open", "rw");
    show("open/ro", "r");
    show("open/sub", "c");
    CHECK_ERR(unix_at("secret/socket", false), ENOENT);
    CHECK_ERR(unix_at("open/ro/socket", false), EACCES);
    CHECK(unix_at("open/socket", false) == 0);
    CHECK_ERR(unix_at("secret/new", true), ENOENT);
    CHECK_ERR(unix_at("open/new", true), EACCES);
    CHECK(unix_at("open/sub/new", true) == 0);
}

static void case_sockets(void)
{
    begin();
    CHECK(unix_at("secret/socket", true) == 0);
    CHECK(unix_at("open/ro/socket", true) == 0);
    CHECK(unix_at("open/socket", true) == 0);
    inside(sockets);
    end();
}

/* --- moving what could then do more --- */

static void moves(void)
{
    show("open", "rwxc");
    show("open/ro", "rc");
    show("open/sub", "rwc");
    CHECK_ERR(rename(at("open/ro/file"), at("open/mine")), EXDEV);
    CHECK_ERR(link(at("open/ro/file"), at("open/mine")), EXDEV);
    CHECK_ERR(rename(at("open/ro/file"), at("open/sub/mine")), EXDEV);
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, at("open/ro/file"), AT_FDCWD, at("open/file"), 2),
              EXDEV);
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, at("open/file"), AT_FDCWD, at("open/ro/file"), 2),
              EXDEV);
    CHECK(rename(at("open/file"), at("open/sub/file")) == 0); /* less: as asked */
    CHECK(rename(at("open/sub/file"), at("open/ro/moved")) == 0);
    CHECK_ERR(open(at("open/ro/moved"), O_WRONLY), EACCES);
    int fd = open(at("open/ro"), O_TMPFILE | O_RDWR, 0600);
    CHECK(fd < 0);
    CHECK_EQ(errno, EACCES);
}

static void case_moves(void)
{
    begin();
    inside(moves);
    end();
}

/* --- others change names while one that sees little looks --- */

static _Atomic(int) *g_shared;

static void look(void)
{
    show("open", "r");
    CHECK_EQ(ringbox_unveil(NULL, NULL), 0);
    for (int i = 0; i < 1500; i++) {
        int fd = open(at("open/flip/file"), O_RDONLY);
        CHECK(!reads(fd, "secret"));
        close(fd);
        fd = open(at("open/dir/../dir/file"), O_RDONLY);
        CHECK(!reads(fd, "secret"));
        close(fd);
    }
    *g_shared = 1;
}

static void *add_names(void *arg)
{
    for (int i = 0; i < 10; i++) {
        char name[32];
        snprintf(name, sizeof(name), "open/%s%d", (const char *)arg, i);
        show(name, "rwc");
    }
    return NULL;
}

/* Threads that unveil at once: nothing is lost. */
static void adding(void)
{
    pthread_t a, b;
    show("open", "r");
    CHECK(pthread_create(&a, NULL, add_names, "a") == 0 &&
          pthread_create(&b, NULL, add_names, "b") == 0);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof(name), "open/%c%d", "ab"[i % 2], i / 2);
        CHECK(open(at(name), O_WRONLY | O_CREAT, 0600) >= 0);
    }
}

static void case_races(void)
{
    begin();
    FILE *f = tmpfile();
    CHECK(f && ftruncate(fileno(f), 4096) == 0);
    g_shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(mkdir(at("open/dir"), 0755) == 0);
    put("open/dir/file", "dir");
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        look();
        _exit(0);
    }
    while (!*g_shared && waitpid(pid, NULL, WNOHANG) == 0) {
        unlink(at("open/flip"));
        CHECK(symlink("ro", at("open/flip")) == 0);
        unlink(at("open/flip"));
        CHECK(symlink("../secret", at("open/flip")) == 0);
        CHECK(rename(at("open/dir"), at("dir")) == 0);
        CHECK(rename(at("dir"), at("open/dir")) == 0);
    }
    if (*g_shared)
        CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(*g_shared, 1);
    inside(adding);
    end();
}

static const struct guest_case cases[] = {
    {"letters", case_letters}, {"detours", case_detours}, {"mounts", case_mounts},
    {"sockets", case_sockets}, {"moves", case_moves},     {"races", case_races},
};

GUEST_MAIN(cases)
