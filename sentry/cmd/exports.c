/* SPDX-License-Identifier: Apache-2.0
 * exports.c - what is mounted, from the host's side: one file server process for each directory or file
 * served, connections to servers of others.
 *
 * One process each, not one for all: what a process may touch is then one rule of Landlock and one
 * read-only or writable export, and a slow file system delays nobody but its users.
 *
 * Host: close, connect, fork, fstat, kill, openat, prctl, setsid, shutdown, sigtimedwait, socket, socketpair,
 *   waitpid [not confined] */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "mounts.h"

#define REAP_STEP_NS 10000000
#define REAP_STEPS 20

/* Takes @fd. */
static int export_add(struct mounts *m, int fd, bool read_only, bool shared, int *ret_sock)
{
    struct export *e = &m->export[m->exports];

    *e = (struct export){.fd = fd, .read_only = read_only, .shared = shared};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->sock)) {
        close(fd);
        return cmd_error("cannot create a socket: %s", strerror(errno));
    }
    *ret_sock = e->sock[1];
    m->exports++;
    return 0;
}

static int bind_open(struct mounts *m, const struct mount_arg *a, int *ret_sock)
{
    struct stat st;
    int fd = open(a->source, O_PATH | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st))
        return cmd_error("%s %s: %s: %s", a->option, a->text, a->source, strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
        close(fd);
        return cmd_error("%s %s: %s is neither a directory nor a file", a->option, a->text,
                         a->source);
    }
    return export_add(m, fd, a->read_only, !a->exclusive, ret_sock);
}

static int server_connect(const struct mount_arg *a, int *ret_sock)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (strlen(a->source) >= sizeof at.sun_path)
        return cmd_error("%s %s: a socket's path has at most %zu bytes", a->option, a->text,
                         sizeof at.sun_path - 1);
    strcpy(at.sun_path, a->source);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
        return cmd_error("%s %s: %s: %s", a->option, a->text, a->source, strerror(errno));
    *ret_sock = fd;
    return 0;
}

int mounts_prepare(struct mounts *m, const char *rootfs, bool root_rw, bool root_exclusive)
{
    int sock = -1, r = 0;
    int fd = open(rootfs ? rootfs : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return cmd_error("--rootfs %s: %s", rootfs ? rootfs : "/", strerror(errno));
    r = export_add(m, fd, !root_rw, root_rw && !root_exclusive, &sock);
    if (r == 0 && !rootfs && !root_rw)
        r = view_prepare(m, export_add);
    for (unsigned i = 0; i < m->count && r == 0; i++) {
        const struct mount_arg *a = &m->arg[i];
        sock = -1;
        if (a->kind == BOOT_BIND)
            r = bind_open(m, a, &sock);
        else if (a->kind == BOOT_9P_SERVER)
            r = server_connect(a, &sock);
        m->boot[m->boots++] =
            (struct boot_mount){.kind = a->kind,
                                .sock = sock,
                                .source = a->kind == BOOT_TMPFS ? "tmpfs" : a->source,
                                .target = a->target,
                                .aname = a->aname ? a->aname : "",
                                .read_only = a->read_only,
                                .exclusive = a->exclusive,
                                .size_bytes = a->size_bytes};
    }
    return r;
}

int mounts_start(struct mounts *m, void (*child)(const int *keep, int n))
{
    for (unsigned i = 0; i < m->exports; i++) {
        struct export *e = &m->export[i];
        pid_t pid = fork();
        if (pid < 0) /* and e->pid stays 0: -1 means everybody to kill() */
            return cmd_error("cannot start the file server: %s", strerror(errno));
        if (pid == 0) {
            const int keep[] = {e->sock[0], e->fd};
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            child(keep, ARRAY_SIZE(keep));
            _exit(cmd_gofer(e));
        }
        e->pid = pid;
    }
    return 0;
}

int mounts_sentry_fds(const struct mounts *m, int ret[MOUNTS_FDS_MAX])
{
    int n = 0;

    ret[n++] = m->export[0].sock[1];
    for (unsigned i = 0; i < m->boots; i++)
        if (m->boot[i].sock >= 0)
            ret[n++] = m->boot[i].sock;
    return n;
}

void mounts_started(struct mounts *m)
{
    for (unsigned i = 0; i < m->exports; i++) {
        close(m->export[i].sock[0]);
        close(m->export[i].fd);
    }
}

void mounts_kill(struct mounts *m)
{
    for (unsigned i = 0; i < m->exports; i++)
        if (m->export[i].pid > 0)
            kill(m->export[i].pid, SIGKILL);
    for (unsigned i = 0; i < m->exports; i++)
        if (m->export[i].pid > 0)
            waitpid(m->export[i].pid, NULL, 0);
}

/* They leave at the end of their sockets. Our copies of the Sentry's ends say so: the host takes its time
 * to let go of what a ring of the Sentry held (6 ms). */
void mounts_end(struct mounts *m)
{
    for (unsigned i = 0; i < m->exports; i++)
        shutdown(m->export[i].sock[1], SHUT_RDWR);
}

void mounts_reap(struct mounts *m)
{
    const struct timespec step = {0, REAP_STEP_NS};
    sigset_t child;
    unsigned left = 0;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    mounts_end(m);
    for (int n = 0; n < REAP_STEPS; n++) {
        left = 0;
        for (unsigned i = 0; i < m->exports; i++) {
            struct export *e = &m->export[i];
            if (e->pid > 0 && waitpid(e->pid, NULL, WNOHANG))
                e->pid = 0;
            left += e->pid > 0;
        }
        if (!left)
            return;
        sigtimedwait(&child, NULL, &step);
    }
    mounts_kill(m);
}
