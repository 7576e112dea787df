/* SPDX-License-Identifier: Apache-2.0
 * serve.c - `ringbox serve DIR SOCKET`: the file server alone, for any client of 9P2000.L.
 *
 * One confined process a connection, the same that serves a sandbox: clients share nothing but the host's
 * files, and one that breaks the protocol ends its own process. This one only accepts.
 *
 * Who may connect: who may open the socket, which is made with mode 0600. Whoever has connected acts as
 * the user who serves, whatever name the client gives; on a read-only export (the default) that is to look.
 *
 * Connections beyond SERVE_CLIENTS_MAX wait in the socket's queue until one ends. Clients end with this
 * process. A socket file on which nobody listens is left from one that was killed, and is replaced.
 *
 * Left out: diod's control file system (aname ctl), TCP, other users.
 * Host: accept4, bind, chmod, close, connect, fork, fstat, listen, open, poll, prctl, read, realpath,
 *   signalfd, sigprocmask, socket, umask, unlink, waitpid [not confined] */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"

#define SERVE_CLIENTS_MAX 64u
#define SERVE_BACKLOG 64

struct serve {
    struct export export;
    struct sockaddr_un at;
    char path[PATH_MAX]; /* of what is served, absolute */
    int listener, signals;
    unsigned clients;
};

/* --- what is asked for --- */

static int usage(void)
{
    printf("usage: ringbox serve [--rw] [--aname NAME] DIR SOCKET\n\n"
           "Serves a directory of this host over 9P2000.L at the unix socket SOCKET, which is "
           "made, to\n"
           "who may open it (mode 0600). Everything is done as you. Ends by SIGTERM or SIGINT.\n\n"
           "  --rw           clients may change what is there, and lock files of others\n"
           "  --aname NAME   what clients may attach to besides the empty name; else DIR's "
           "absolute path\n\n"
           "Mounted by Linux: mount -t 9p -o trans=unix,version=9p2000.L SOCKET /mnt\n"
           "In a sandbox:     ringbox run --mount 9p:SOCKET:/mnt\n");
    return 0;
}

static int export_open(struct serve *s, const char *dir)
{
    struct stat st;
    int fd = open(dir, O_PATH | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) || !realpath(dir, s->path))
        return cmd_error("serve: %s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return cmd_error("serve: %s is neither a directory nor a file", dir);
    s->export.fd = fd;
    if (!s->export.aname)
        s->export.aname = s->path;
    return 0;
}

/* Is there a socket on which nobody listens? */
static bool stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool r = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 &&
             errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return r;
}

static int socket_make(struct serve *s, const char *path)
{
    const struct sockaddr *at = (const struct sockaddr *)&s->at;

    if (strlen(path) == 0 || strlen(path) >= sizeof s->at.sun_path)
        return cmd_error("serve: a socket's path has 1 to %zu bytes", sizeof s->at.sun_path - 1);
    s->at.sun_family = AF_UNIX;
    memcpy(s->at.sun_path, path, strlen(path));
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listener < 0)
        return cmd_error("serve: cannot create a socket: %s", strerror(errno));
    mode_t old = umask(0177);
    int r = bind(s->listener, at, sizeof s->at);
    if (r < 0 && errno == EADDRINUSE && stale(&s->at) && unlink(path) == 0)
        r = bind(s->listener, at, sizeof s->at);
    (void)umask(old);
    if (r < 0 || listen(s->listener, SERVE_BACKLOG) < 0)
        return cmd_error("serve: %s: %s", path, strerror(errno));
    return 0;
}

/* --- clients --- */

static void client_main(struct serve *s, int fd, pid_t parent)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(EXIT_FAILED);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(s->listener);
    close(s->signals);
    s->export.sock[0] = fd;
    _exit(cmd_gofer(&s->export));
}

static void client_accept(struct serve *s)
{
    pid_t self = getpid(), pid;
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return; /* it has gone again */
    pid = fork();
    if (pid == 0)
        client_main(s, fd, self);
    close(fd);
    if (pid < 0)
        (void)cmd_error("serve: cannot start a process for a client: %s", strerror(errno));
    else
        s->clients++;
}

/* True: it is the end. */
static bool signal_take(struct serve *s)
{
    struct signalfd_siginfo si;

    if (read(s->signals, &si, sizeof si) != sizeof si)
        return false;
    if (si.ssi_signo != SIGCHLD)
        return true;
    while (s->clients && waitpid(-1, NULL, WNOHANG) > 0)
        s->clients--;
    return false;
}

/* Before there is a socket: who sees it may end us. */
static int signals_take(struct serve *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return cmd_error("serve: cannot wait for signals: %s", strerror(errno));
    return 0;
}

static int serve(struct serve *s)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = s->signals, .events = POLLIN},
                              {.fd = s->listener, .events = POLLIN}};
        if (poll(p, s->clients < SERVE_CLIENTS_MAX ? 2 : 1, -1) < 0 && errno != EINTR)
            return cmd_error("serve: poll: %s", strerror(errno));
        if (p[0].revents && signal_take(s))
            return 0;
        if (p[1].revents)
            client_accept(s);
    }
}

int cmd_serve(int argc, char **argv)
{
    static struct serve s;
    const char *arg[2];
    int n = 0;

    s.export.read_only = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return usage();
        if (strcmp(argv[i], "--rw") == 0)
            s.export.read_only = false;
        else if (strcmp(argv[i], "--aname") == 0 && i + 1 < argc && argv[i + 1][0])
            s.export.aname = argv[++i];
        else if (argv[i][0] == '-' || n == 2)
            return cmd_error("serve: unknown argument %s", argv[i]);
        else
            arg[n++] = argv[i];
    }
    if (n != 2)
        return cmd_error("serve: a directory and a socket are needed; see ringbox serve --help");
    s.export.shared = !s.export.read_only;
    int r = export_open(&s, arg[0]);
    if (r == 0)
        r = signals_take(&s);
    if (r == 0)
        r = socket_make(&s, arg[1]);
    if (r)
        return r;
    r = serve(&s);
    (void)unlink(arg[1]);
    return r;
}
