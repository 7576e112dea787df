/* SPDX-License-Identifier: Apache-2.0
 * control.c - the sockets of running sandboxes: where they lie, their names, both ends.
 *
 * The first of these that is a directory of ours, with no rights for others, or can be made one:
 * $XDG_RUNTIME_DIR/ringbox, /run/ringbox (root), /run/user/UID/ringbox, /tmp/ringbox-UID. Whoever
 * looks for a sandbox looks in all of them.
 *
 * Who may lie: other users of the host, who may prepare /tmp. A directory is opened without
 * following links and used only when owner and mode are right; the other end of a connection must
 * be the same user or root by SO_PEERCRED. What a sandbox answers is printed with everything
 * unprintable replaced.
 *
 * A socket that nobody listens on is stale (its process was killed) and is removed, under a lock on
 * the directory so that no fresh one is.
 *
 * Host: accept4, bind, close, connect, flock, fstat, getsockopt, listen, mkdir, nanosleep, openat, opendir,
 *   pidfd_open, pidfd_send_signal, poll, readdir, recv, rmdir, send, setsockopt, socket, umask,
 *   unlinkat [not confined] */
#include "control.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"

#define PLACES 4
#define SUFFIX ".sock"
#define BACKLOG 64
#define TRIES 200 /* of STEP_NS: for the lock, for room in a queue */
#define STEP_NS 5000000
#define FILE_NAME_MAX (CONTROL_NAME_MAX + sizeof SUFFIX)

bool control_name_valid(const char *name)
{
    size_t n = strlen(name);

    if (n < 1 || n > CONTROL_NAME_MAX || !isalpha((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i]))
            return false;
    return true;
}

/* A given name, or the number of a process. */
static bool name_known(const char *name)
{
    size_t n = strlen(name);

    return control_name_valid(name) || (n >= 1 && n <= 10 && strspn(name, "0123456789") == n);
}

/* --- directories --- */

/* Place @i of those named above; false: there is none with this number. */
static bool place(unsigned i, char *buf, size_t size)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    unsigned uid = geteuid();
    int n = -1;

    switch (i) {
    case 0:
        if (xdg && xdg[0] == '/')
            n = snprintf(buf, size, "%s/ringbox", xdg);
        break;
    case 1:
        if (uid == 0)
            n = snprintf(buf, size, "/run/ringbox");
        break;
    case 2:
        n = snprintf(buf, size, "/run/user/%u/ringbox", uid);
        break;
    case 3:
        n = snprintf(buf, size, "/tmp/ringbox-%u", uid);
        break;
    }
    return n > 0 && (size_t)n < size;
}

/* The directory, if it can be trusted; -1. */
static int dir_open(const char *path, bool make)
{
    struct stat st;

    if (make)
        (void)mkdir(path, 0700);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) == 0)
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

static bool dir_lock(int dir)
{
    const struct timespec step = {0, STEP_NS};

    for (int i = 0; i < TRIES; i++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0)
            return true;
        nanosleep(&step, NULL);
    }
    return false;
}

/* A path that fits; by way of the descriptor where the directory's own is too long. */
static bool address(struct sockaddr_un *a, int dir, const char *dir_path, const char *name)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(a->sun_path, sizeof a->sun_path, "%s/%s" SUFFIX, dir_path, name);
    if (n > 0 && (size_t)n < sizeof a->sun_path)
        return true;
    n = snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s" SUFFIX, dir, name);
    return n > 0 && (size_t)n < sizeof a->sun_path;
}

/* Connected, or -errno. */
static int try_connect(int dir, const char *dir_path, const char *name)
{
    const struct timespec step = {0, STEP_NS};
    struct sockaddr_un a;

    if (!address(&a, dir, dir_path, name))
        return -ENAMETOOLONG;
    /* non-blocking: a stopped process with a full queue must not hold us */
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    for (int i = 0;; i++) {
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
        int err = errno;
        if (err != EAGAIN || i == TRIES) {
            close(fd);
            return -err;
        }
        nanosleep(&step, NULL); /* its queue is full */
    }
}

static void remove_if_stale(int dir, const char *dir_path, const char *name)
{
    char file[FILE_NAME_MAX];

    if (!dir_lock(dir))
        return;
    int fd = try_connect(dir, dir_path, name);
    if (fd == -ECONNREFUSED) {
        snprintf(file, sizeof file, "%s" SUFFIX, name);
        (void)unlinkat(dir, file, 0);
    }
    if (fd >= 0)
        close(fd);
    (void)flock(dir, LOCK_UN);
}

/* --- the end in `run` --- */

/* Directory locked. 0 or -errno. */
static int bind_in(int fd, int dir, const char *dir_path, const char *name)
{
    struct sockaddr_un a;
    char file[FILE_NAME_MAX];

    if (!address(&a, dir, dir_path, name))
        return -ENAMETOOLONG;
    int r = bind(fd, (struct sockaddr *)&a, sizeof a) ? -errno : 0;
    if (r != -EADDRINUSE)
        return r;
    int other = try_connect(dir, dir_path, name);
    if (other != -ECONNREFUSED) { /* there, or there and busy */
        if (other >= 0)
            close(other);
        return -EADDRINUSE;
    }
    snprintf(file, sizeof file, "%s" SUFFIX, name);
    (void)unlinkat(dir, file, 0);
    return bind(fd, (struct sockaddr *)&a, sizeof a) ? -errno : 0;
}

/* 0 or -errno. */
static int listen_in(struct control *c)
{
    c->dir = dir_open(c->dir_path, true);
    if (c->dir < 0)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : !dir_lock(c->dir) ? -EAGAIN : 0;
    if (r == 0) {
        mode_t mask = umask(0177);
        r = bind_in(fd, c->dir, c->dir_path, c->name);
        if (r == 0 && listen(fd, BACKLOG))
            r = -errno;
        umask(mask);
        (void)flock(c->dir, LOCK_UN);
    }
    if (r) {
        if (fd >= 0)
            close(fd);
        close(c->dir);
        return r;
    }
    c->fd = fd;
    return 0;
}

int control_listen(struct control *c, const char *name)
{
    int r = -ENOENT;

    c->fd = -1;
    if (name)
        snprintf(c->name, sizeof c->name, "%s", name);
    else
        snprintf(c->name, sizeof c->name, "%d", (int)getpid());
    for (unsigned i = 0; i < PLACES; i++) {
        if (!place(i, c->dir_path, sizeof c->dir_path))
            continue;
        r = listen_in(c);
        if (r == -ENOENT) /* removed by one that left, between mkdir and bind */
            r = listen_in(c);
        if (r == 0 || r == -EADDRINUSE)
            return r;
    }
    return r;
}

void control_remove(struct control *c)
{
    char file[FILE_NAME_MAX];

    if (c->fd < 0)
        return;
    snprintf(file, sizeof file, "%s" SUFFIX, c->name);
    (void)unlinkat(c->dir, file, 0);
    (void)rmdir(c->dir_path); /* of the last one */
    close(c->fd);
    close(c->dir);
    c->fd = -1;
}

int control_accept(struct control *c)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
        (peer.uid == geteuid() || peer.uid == 0))
        return fd;
    close(fd);
    return -1;
}

/* --- the other end --- */

int control_connect(const char *name)
{
    char path[256];
    int err = 0;

    if (!name_known(name)) {
        cmd_error("'%s' is no name of a sandbox; see ringbox ps", name);
        return -1;
    }
    for (unsigned i = 0; i < PLACES; i++) {
        int dir = place(i, path, sizeof path) ? dir_open(path, false) : -1;
        if (dir < 0)
            continue;
        int fd = try_connect(dir, path, name);
        if (fd == -ECONNREFUSED)
            remove_if_stale(dir, path, name);
        close(dir);
        if (fd >= 0)
            return fd;
        if (fd != -ECONNREFUSED && fd != -ENOENT)
            err = -fd;
    }
    if (err)
        cmd_error("sandbox '%s': %s", name, strerror(err));
    else
        cmd_error("no sandbox '%s' of this user runs; see ringbox ps", name);
    return -1;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until @fd has something or @end. The length of a packet, 0 at the end, -1 silence. */
static ssize_t receive(int fd, char *buf, size_t size, int64_t end)
{
    for (;;) {
        ssize_t n = recv(fd, buf, size, MSG_DONTWAIT);
        if (n >= 0 || (errno != EAGAIN && errno != EINTR))
            return n;
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = end - now_ms();
        if (left <= 0)
            return -1;
        (void)poll(&p, 1, (int)left);
    }
}

/* A terminal obeys some bytes; text from a sandbox has none of them. */
void control_print(FILE *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        fputc(c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f) ? c : '?', out);
    }
}

/* CONTROL_*; text goes to @out. */
static int answer_take(int fd, int timeout_ms, FILE *out)
{
    char buf[CONTROL_PACKET];
    int64_t end = now_ms() + timeout_ms;
    ssize_t n = receive(fd, buf, sizeof buf - 1, end);
    if (n <= 0)
        return CONTROL_SILENT;
    buf[n] = 0;
    if (strcmp(buf, "ok") != 0) {
        for (char *p = buf; *p; p++)
            if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
                *p = '?';
        cmd_error("%s", strncmp(buf, "error ", 6) == 0 ? buf + 6 : "an answer of another version");
        return CONTROL_REFUSED;
    }
    while ((n = receive(fd, buf, sizeof buf, end)) > 0)
        if (out)
            control_print(out, buf, (size_t)n);
    return n == 0 ? CONTROL_OK : CONTROL_SILENT;
}

int control_ask_fds(int fd, const char *request, const int *fds, unsigned n, int timeout_ms)
{
    return control_send(fd, request, strlen(request), fds, n) ? answer_take(fd, timeout_ms, NULL)
                                                              : CONTROL_SILENT;
}

int control_ask(int fd, const char *request, int timeout_ms, FILE *out)
{
    return send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 ? CONTROL_SILENT
                                                                : answer_take(fd, timeout_ms, out);
}

int control_kill_peer(int fd, int timeout_ms)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    struct pollfd alive = {fd, POLLIN, 0};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
        return -errno;
    if (peer.uid != geteuid() && geteuid() != 0)
        return -EPERM;
    int pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    if (pidfd < 0)
        return errno == ESRCH ? 0 : -errno;
    /* The listener is still there, so its process is, so the number has not become another's. */
    int r = 0;
    if (poll(&alive, 1, 0) == 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0))
        r = errno == ESRCH ? 0 : -errno;
    struct pollfd gone = {pidfd, POLLIN, 0};
    if (r == 0 && poll(&gone, 1, timeout_ms) <= 0)
        r = -ETIMEDOUT;
    close(pidfd);
    return r;
}

static void each_in(int dir, const char *path, void (*fn)(const char *, int, void *), void *arg)
{
    DIR *d = fdopendir(dir);
    const struct dirent *e;
    char name[CONTROL_NAME_MAX + 1];

    if (!d) {
        close(dir);
        return;
    }
    while ((e = readdir(d))) {
        size_t n = strlen(e->d_name), suffix = sizeof SUFFIX - 1;
        if (n <= suffix || n - suffix >= sizeof name || strcmp(e->d_name + n - suffix, SUFFIX) != 0)
            continue;
        memcpy(name, e->d_name, n - suffix);
        name[n - suffix] = 0;
        if (!name_known(name))
            continue;
        int fd = try_connect(dir, path, name);
        if (fd == -ECONNREFUSED)
            remove_if_stale(dir, path, name);
        if (fd < 0)
            continue;
        fn(name, fd, arg);
        close(fd);
    }
    closedir(d);
}

void control_each(void (*fn)(const char *name, int fd, void *arg), void *arg)
{
    char path[256];

    for (unsigned i = 0; i < PLACES; i++) {
        int dir = place(i, path, sizeof path) ? dir_open(path, false) : -1;
        if (dir >= 0)
            each_in(dir, path, fn, arg);
    }
}
