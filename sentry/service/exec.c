/* SPDX-License-Identifier: Apache-2.0
 * exec.c - `ringbox exec` as the Sentry sees it: starts the command, passes signals on, says how it ended.
 *
 * A session is a fiber until its command runs, and after that two callbacks: its channel has something
 * (exec_ready, on poller 0), its process has become a zombie (exec_gone, anywhere, which only makes
 * the channel ready). Nothing of it waits for the caller: replies that do not fit are dropped, and one
 * whose channel ends is no more: its command hears SIGHUP, its terminal is hung up.
 *
 * Owner: poller 0. Who may lie: the caller. Descriptors must be of the kinds that stdio can have;
 * what they asked for comes in a memfd that nobody can change any more, and is copied and checked.
 *
 * Limits: ATTACH_EXECS_MAX sessions; ATTACH_HOSTFILES_MAX, since what a command leaves running keeps its
 * stdio; ATTACH_COMMAND_MAX.
 *
 * Locks: none of its own.
 * Host: fstat, fcntl, recvfrom, shutdown, close [sentry] */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/err.h>
#include <files/files.h>

#include "attach.h"
#include "private.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

struct exec_session {
    int fds[ATTACH_FDS];
    const struct path *root;
    const struct command *like;
    struct process *process; /* references */
    struct host_terminal *terminal;
    struct io_poll poll;
    struct waiter waiter;
    _Atomic(bool) ended;
};

static unsigned g_sessions, g_starting; /* poller 0 */

static void exec_free(struct exec_session *s)
{
    for (unsigned i = 0; i < ATTACH_FDS; i++)
        if (s->fds[i] >= 0)
            (void)close(s->fds[i]);
    free(s);
    g_sessions--;
}

/* --- while the command runs --- */

static void exec_finish(struct exec_session *s)
{
    int channel = s->fds[ATTACH_FD_CHANNEL];

    waiter_disarm(&s->waiter);
    if (atomic_load(&s->ended))
        attach_reply(channel, ATTACH_ENDED, s->process->exit_status, NULL);
    else
        command_signal(s->process, s->terminal, SIGHUP);
    if (s->terminal) {
        host_terminal_hangup(s->terminal);
        host_terminal_put(s->terminal);
    }
    process_put(s->process);
    exec_free(s);
}

/* Any thread, under the queue's lock. */
static bool exec_gone(struct waiter *w, uint32_t events UNUSED)
{
    struct exec_session *s = container_of(w, struct exec_session, waiter);

    atomic_store(&s->ended, true);
    (void)shutdown(s->fds[ATTACH_FD_CHANNEL], SHUT_RD); /* wakes the poll */
    return true;
}

static void exec_take(struct exec_session *s, unsigned char what)
{
    if (what >= 1 && what <= NSIGNALS)
        command_signal(s->process, s->terminal, what);
    else if (what == ATTACH_ASK_STOPPED)
        attach_reply(s->fds[ATTACH_FD_CHANNEL], ATTACH_STOPPED,
                     command_stopped(s->process, s->terminal), NULL);
}

static void exec_ready(struct io_poll *p, uint32_t revents UNUSED)
{
    struct exec_session *s = container_of(p, struct exec_session, poll);
    unsigned char bytes[64];
    ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    for (ssize_t i = 0; i < n && !atomic_load(&s->ended); i++)
        exec_take(s, bytes[i]);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || atomic_load(&s->ended) ||
        io_poll_arm(p, p->fd, POLLIN, exec_ready))
        exec_finish(s);
}

/* --- its start --- */

/* What may become a guest's stdin, stdout or stderr. */
static bool stdio_allowed(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && !(flags & O_PATH) && fstat(fd, &st) == 0 &&
           (S_ISREG(st.st_mode) || S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode) ||
            S_ISSOCK(st.st_mode));
}

/* The bytes of the memfd: allocated; or an error pointer. */
static char *command_read(int fd, size_t *ret_n)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
        st.st_size < 0 || (uint64_t)st.st_size > ATTACH_COMMAND_MAX)
        return ERR_PTR(-EINVAL);
    char *buf = malloc((size_t)st.st_size + 1);
    struct iovec v = {buf, (size_t)st.st_size};
    if (!buf)
        return ERR_PTR(-ENOMEM);
    ssize_t n = io_preadv(fd, &v, 1, 0);
    if (n != st.st_size) {
        free(buf);
        return ERR_PTR(n < 0 ? (int)n : -EINVAL);
    }
    *ret_n = (size_t)n;
    return buf;
}

/* 0, or -errno with *error. Its strings are in @q's bytes. */
static int exec_command(struct exec_session *s, struct exec_request *q, struct command_error *error)
{
    struct command c = *s->like;

    c.argv = q->argv;
    c.envp = q->envp;
    c.terminal = q->head.flags & ATTACH_TERMINAL;
    if (*q->cwd)
        c.cwd = q->cwd;
    if (q->head.flags & ATTACH_USER) {
        c.uid = q->head.uid;
        c.gid = q->head.gid;
        c.group_count = 0;
    }
    memcpy(c.stdio, s->fds + ATTACH_FD_STDIO, sizeof c.stdio);
    int r = command_start(&c, s->root, &s->terminal, &s->process, error);
    memcpy(s->fds + ATTACH_FD_STDIO, c.stdio, sizeof c.stdio);
    return r;
}

static int exec_start(struct exec_session *s, char *text, size_t size, int *ret_status)
{
    struct exec_request q = {0};
    struct command_error error;
    size_t n = 0;
    char *buf = command_read(s->fds[ATTACH_FD_COMMAND], &n);
    int r = IS_ERR(buf) ? (int)PTR_ERR(buf) : exec_request_parse(buf, n, &q);

    *ret_status = COMMAND_FAILED;
    for (unsigned i = ATTACH_FD_STDIO; r == 0 && i < ATTACH_FDS; i++)
        if (!stdio_allowed(s->fds[i]))
            r = -EINVAL;
    if (r) {
        snprintf(text, size, "what is to be run has not been understood: %s", strerror(-r));
    } else {
        r = exec_command(s, &q, &error);
        if (r) {
            (void)command_error_text(&error, r, text, size);
            *ret_status = error.status;
        }
    }
    free(q.argv);
    if (!IS_ERR(buf))
        free(buf);
    return r;
}

/* A fiber. */
static void exec_run(void *arg)
{
    struct exec_session *s = arg;
    char text[COMMAND_ERROR_MAX];
    int status, channel = s->fds[ATTACH_FD_CHANNEL];

    int r = exec_start(s, text, sizeof text, &status);
    g_starting--;
    if (r) {
        attach_reply(channel, ATTACH_FAILED, status, text);
        exec_free(s);
        return;
    }
    (void)close(s->fds[ATTACH_FD_COMMAND]);
    s->fds[ATTACH_FD_COMMAND] = -1;
    attach_reply(channel, ATTACH_STARTED, s->process->pid, NULL);
    waiter_init(&s->waiter, exec_gone);
    waiter_arm(&s->waiter, &s->process->exit_wait, POLLIN);
    spin_lock(&s->process->lock);
    bool over = s->process->state != PROCESS_RUNNING;
    spin_unlock(&s->process->lock);
    if (over) /* before somebody looked for it */
        atomic_store(&s->ended, true);
    if (over || io_poll_arm(&s->poll, channel, POLLIN, exec_ready))
        exec_finish(s);
}

static void exec_refuse(const int *fds, const char *why)
{
    attach_reply(fds[ATTACH_FD_CHANNEL], ATTACH_FAILED, COMMAND_FAILED, why);
    for (unsigned i = 0; i < ATTACH_FDS; i++)
        (void)close(fds[i]);
}

void exec_begin(const int *fds, const struct path *root, const struct command *like)
{
    if (g_sessions >= ATTACH_EXECS_MAX) {
        exec_refuse(fds, "too many commands have been started by exec and still run");
        return;
    }
    if (hostfile_count() + 3 * (g_starting + 1) > ATTACH_HOSTFILES_MAX) {
        exec_refuse(fds, "too much of what exec has started still holds its stdio");
        return;
    }
    struct exec_session *s = calloc(1, sizeof *s);
    if (!s) {
        exec_refuse(fds, "out of memory");
        return;
    }
    memcpy(s->fds, fds, sizeof s->fds);
    s->root = root;
    s->like = like;
    g_sessions++;
    g_starting++;
    if (fiber_spawn(g_service.pollers[0].sched, exec_run, s)) {
        g_starting--;
        attach_reply(fds[ATTACH_FD_CHANNEL], ATTACH_FAILED, COMMAND_FAILED, "out of memory");
        exec_free(s);
    }
}
