/* SPDX-License-Identifier: Apache-2.0
 * attend.c - `ringbox run` while its sandbox runs: passes signals on, ends the sandbox after its
 * time, answers the verbs kill, ps and stats, hands exec and trace on.
 *
 * What only the Sentry knows is asked through the pipe that carries signals; one question at a time,
 * and nobody waits for it longer than ANSWER_NS. To end the sandbox the Sentry is asked too, so that
 * it can print its statistics; when it has not ended GRACE_NS later, it is killed, and with it, as
 * process 1 of its namespace, everything inside.
 *
 * Who may lie: a broken Sentry, about an answer's length (bounded) and its text (the reader cleans
 * it). Those who ask are this user or root, and are trusted; they may be slow.
 *
 * Host: kill, poll, read, recv, send, signalfd, waitpid, write, close [not confined] */
#include "attend.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <service/attach.h>
#include <service/boot.h>

#include "cmd.h"

#define CLIENTS_MAX 8
#define GRACE_NS 1500000000LL  /* for the Sentry to end by itself */
#define ANSWER_NS 4000000000LL /* for the Sentry to answer */
#define CLIENT_NS 5000000000LL /* for a client to ask, and to read */
#define ANSWER_MAX (16U << 20) /* bytes of an answer of the Sentry */
#define COMMAND_SHOWN 256
#define STOP_ASK_NS 30000000LL /* Ctrl-Z: the command is asked about this often ... */
#define STOP_ASKS 30           /* and so many times */

enum client_state {
    CLIENT_FREE,
    CLIENT_ASKS,   /* its request is awaited */
    CLIENT_QUEUED, /* waits until the Sentry can be asked */
    CLIENT_WAITS,  /* the Sentry has been asked for it */
    CLIENT_ENDS,   /* waits for the end of the sandbox */
    CLIENT_READS,  /* is being answered */
};

struct client {
    enum client_state state;
    int fd;
    unsigned char question; /* for the Sentry */
    int64_t deadline_ns;
    char *text;
    size_t len, sent;
};

struct attending {
    struct attended *a;
    int signals;
    int64_t start_ns, timeout_ns, end_ns; /* end: kill the Sentry then */
    struct client clients[CLIENTS_MAX];
    bool asking;          /* the Sentry owes an answer */
    bool own;             /* to us: has the command stopped? */
    int64_t stop_ask_ns;  /* when to ask that, 0: not at all */
    unsigned stop_asks;   /* how often yet */
    struct client *asker; /* NULL: gave up */
    uint32_t want;
    size_t got; /* header included */
    char *text;
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- clients --- */

static void client_close(struct attending *s, struct client *c)
{
    if (s->asker == c)
        s->asker = NULL;
    free(c->text);
    close(c->fd);
    *c = (struct client){.state = CLIENT_FREE, .fd = -1};
}

static void client_refuse(struct attending *s, struct client *c, const char *why)
{
    char line[256];
    int n = snprintf(line, sizeof line, "error %s", why);

    (void)send(c->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    client_close(s, c);
}

/* As much as it takes now. Frees it at the end. */
static void client_feed(struct attending *s, struct client *c)
{
    while (c->sent < c->len) {
        size_t n = MIN(c->len - c->sent, (size_t)CONTROL_PACKET);
        if (send(c->fd, c->text + c->sent, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno != EAGAIN && errno != EINTR)
                client_close(s, c);
            return;
        }
        c->sent += n;
    }
    client_close(s, c);
}

/* Takes over @text. */
static void client_answer(struct attending *s, struct client *c, char *text, size_t len)
{
    c->text = text;
    c->len = len;
    c->state = CLIENT_READS;
    c->deadline_ns = now_ns() + CLIENT_NS;
    if (send(c->fd, "ok", 2, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        client_close(s, c);
    else
        client_feed(s, c);
}

/* The sandbox in a line: process, seconds, command. */
static void client_info(struct attending *s, struct client *c)
{
    char command[COMMAND_SHOWN + 1], *text = NULL;
    size_t n = 0;

    for (char **arg = s->a->command; *arg && n < COMMAND_SHOWN; arg++) {
        if (n)
            command[n++] = ' ';
        for (const char *p = *arg; *p && n < COMMAND_SHOWN; p++)
            command[n++] = *p >= ' ' && *p < 0x7f ? *p : '?';
    }
    command[n] = 0;
    int len = asprintf(&text, "%d\t%d\t%lld\t%s\n", (int)getpid(), (int)s->a->sentry,
                       (long long)((now_ns() - s->start_ns) / 1000000000), command);
    if (len < 0)
        client_refuse(s, c, "out of memory");
    else
        client_answer(s, c, text, (size_t)len);
}

/* The sandbox ends before it has answered. Who sent a signal may have wanted just that. */
static void client_too_late(struct attending *s, struct client *c)
{
    if (c->question == CONTROL_PING)
        client_answer(s, c, NULL, 0);
    else
        client_refuse(s, c, "the sandbox is ending");
}

/* --- the Sentry --- */

static bool sentry_tell(struct attending *s, unsigned char byte)
{
    return write(s->a->control, &byte, 1) == 1;
}

static void signal_relay(struct attending *s, int signo)
{
    if (!sentry_tell(s, (unsigned char)signo) && errno == EAGAIN)
        kill(s->a->sentry, SIGKILL); /* it has not read 64 KiB of signals: it hangs */
    if (signo == SIGTSTP) {
        s->stop_ask_ns = now_ns() + STOP_ASK_NS;
        s->stop_asks = STOP_ASKS;
    }
}

/* Ctrl-Z: the shell that started us sees us stop, as it would see the command, if that has stopped. A
 * shell inside has the terminal for itself and stops what it wants. */
static void stop_ask(struct attending *s)
{
    if (!s->stop_ask_ns || s->asking || now_ns() < s->stop_ask_ns)
        return;
    s->stop_ask_ns = 0;
    if (s->a->answers < 0 || !sentry_tell(s, CONTROL_STOPPED))
        return;
    s->asker = NULL;
    s->asking = s->own = true;
    s->got = 0;
}

static void stop_answered(struct attending *s)
{
    s->own = false;
    if (s->want)
        kill(getpid(), SIGSTOP);
    else if (--s->stop_asks)
        s->stop_ask_ns = now_ns() + STOP_ASK_NS;
}

static void sentry_end(struct attending *s)
{
    (void)sentry_tell(s, CONTROL_END);
    s->end_ns = MIN(s->end_ns, now_ns() + GRACE_NS);
}

/* The next question, if the last one is answered. */
static void sentry_ask(struct attending *s)
{
    for (unsigned i = 0; i < CLIENTS_MAX && !s->asking; i++) {
        struct client *c = &s->clients[i];
        if (c->state != CLIENT_QUEUED)
            continue;
        if (s->a->answers < 0 || !sentry_tell(s, c->question)) {
            if (s->a->answers >= 0 && errno == EAGAIN)
                return; /* it hangs, or has much to read; the client's time may run out */
            client_too_late(s, c);
            continue;
        }
        c->state = CLIENT_WAITS;
        s->asker = c;
        s->asking = true;
        s->got = 0;
    }
}

static void answer_done(struct attending *s)
{
    char *text = steal(s->text);

    s->asking = false;
    if (s->own)
        stop_answered(s);
    if (s->asker)
        client_answer(s, s->asker, text, s->want);
    else
        free(text);
    s->asker = NULL;
}

/* No answers any more: it is ending, or broken. */
static void answers_close(struct attending *s)
{
    close(s->a->answers);
    s->a->answers = -1;
    free(s->text);
    s->text = NULL;
    if (s->asker)
        client_too_late(s, s->asker);
    s->asking = false;
}

static void answers_read(struct attending *s)
{
    char ignored[256], *to = ignored;
    size_t room = sizeof ignored;

    if (s->asking && s->got < sizeof s->want) {
        to = (char *)&s->want + s->got;
        room = sizeof s->want - s->got;
    } else if (s->asking) {
        to = s->text + (s->got - sizeof s->want);
        room = s->want - (s->got - sizeof s->want);
    }
    ssize_t n = read(s->a->answers, to, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !s->asking) { /* the end, or what nobody has asked for */
        answers_close(s);
        s->a->ending(s->a->ending_arg);
        return;
    }
    s->got += (size_t)n;
    if (s->got == sizeof s->want && !s->text) {
        s->text = s->want <= ANSWER_MAX ? malloc((size_t)s->want + 1) : NULL;
        if (!s->text) {
            answers_close(s);
            return;
        }
    }
    if (s->got >= sizeof s->want && s->got - sizeof s->want == s->want)
        answer_done(s);
}

/* --- requests --- */

static void client_queue(struct attending *s, struct client *c, unsigned char question)
{
    c->question = question;
    c->state = CLIENT_QUEUED;
    c->deadline_ns = now_ns() + ANSWER_NS;
    sentry_ask(s);
}

static void request_run(struct attending *s, struct client *c, const char *request)
{
    static const struct {
        const char *request;
        unsigned char question;
    } questions[] = {{"stats text", CONTROL_STATS_TEXT},
                     {"stats json", CONTROL_STATS_JSON},
                     {"ps text", CONTROL_PS_TEXT},
                     {"ps json", CONTROL_PS_JSON}};
    int signo;
    char end;

    for (unsigned i = 0; i < ARRAY_SIZE(questions); i++)
        if (strcmp(request, questions[i].request) == 0) {
            client_queue(s, c, questions[i].question);
            return;
        }
    if (strcmp(request, "info") == 0) {
        client_info(s, c);
    } else if (strcmp(request, "end") == 0) {
        c->state = CLIENT_ENDS;
        c->deadline_ns = INT64_MAX;
        sentry_end(s);
    } else if (sscanf(request, "signal %d%c", &signo, &end) == 1 && signo >= 1 && signo <= 64) {
        signal_relay(s, signo);
        client_queue(s, c, CONTROL_PING); /* answered when the signal has been taken */
    } else {
        client_refuse(s, c, "not understood by this version of ringbox run");
    }
}

/* "exec", "trace PID", "kill PID SIGNAL": the Sentry gets the descriptors and goes on with it. true: it was one of these. */
static bool request_attach(struct attending *s, struct client *c, const char *request,
                           const int *fds, unsigned n)
{
    struct attach_request q = {0};
    char end;

    if (strcmp(request, "exec") == 0)
        q.kind = ATTACH_EXEC;
    else if (sscanf(request, "trace %d%c", &q.pid, &end) == 1 && q.pid >= 0)
        q.kind = ATTACH_TRACE;
    else if (sscanf(request, "kill %d %d%c", &q.pid, &q.signo, &end) == 2 && q.pid > 0 &&
             q.signo >= 1 && q.signo <= 64)
        q.kind = ATTACH_KILL;
    else
        return false;
    if (n != (unsigned)ATTACH_FDS_OF(q.kind))
        client_refuse(s, c, "not with these descriptors");
    else if (control_send(s->a->attach, &q, sizeof q, fds, n))
        client_answer(s, c, NULL, 0);
    else if (errno == EAGAIN || errno == ETOOMANYREFS)
        client_refuse(s, c, "the sandbox does not answer; ringbox kill ends it");
    else
        client_too_late(s, c);
    return true;
}

static void request_read(struct attending *s, struct client *c)
{
    char request[CONTROL_REQUEST_MAX + 1];
    int fds[CONTROL_FDS];
    unsigned count;
    ssize_t n = control_receive(c->fd, request, sizeof request - 1, fds, &count);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(s, c);
    } else if ((size_t)n > sizeof request - 1) {
        client_refuse(s, c, "the request is too long");
    } else if (request[n] = 0, count > CONTROL_FDS) {
        client_refuse(s, c, "not with these descriptors");
    } else if (!request_attach(s, c, request, fds, count)) {
        if (count)
            client_refuse(s, c, "not with these descriptors");
        else
            request_run(s, c, request);
    }
    for (unsigned i = 0; count <= CONTROL_FDS && i < count; i++)
        close(fds[i]);
}

static void client_arrive(struct attending *s)
{
    struct client *c = s->clients;
    int fd = control_accept(s->a->at);

    if (fd < 0)
        return;
    while (c < s->clients + CLIENTS_MAX && c->state != CLIENT_FREE)
        c++;
    if (c == s->clients + CLIENTS_MAX) {
        (void)send(fd, "error too many are asking; try again", 36, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
        return;
    }
    *c = (struct client){.state = CLIENT_ASKS, .fd = fd, .deadline_ns = now_ns() + CLIENT_NS};
}

/* --- time --- */

static void deadlines_run(struct attending *s)
{
    int64_t now = now_ns();

    if (now >= s->timeout_ns || now >= s->end_ns) {
        kill(s->a->sentry, SIGKILL);
        s->a->killed = true;
        s->timeout_ns = s->end_ns = INT64_MAX;
    }
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (c->state == CLIENT_FREE || now < c->deadline_ns)
            continue;
        if (c->state == CLIENT_QUEUED || c->state == CLIENT_WAITS)
            client_refuse(s, c, "the sandbox does not answer; ringbox kill ends it");
        else
            client_close(s, c);
    }
}

/* Milliseconds for poll(), rounded up. */
static int deadline_next(const struct attending *s)
{
    int64_t next = MIN(s->timeout_ns, s->end_ns);

    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i].state != CLIENT_FREE)
            next = MIN(next, s->clients[i].deadline_ns);
    if (s->stop_ask_ns)
        next = MIN(next, s->stop_ask_ns);
    if (next == INT64_MAX)
        return -1;
    int64_t ms = (next - now_ns()) / 1000000 + 1;
    return (int)MIN(MAX(ms, (int64_t)0), (int64_t)3600000);
}

/* --- the loop --- */

static void signals_read(struct attending *s)
{
    struct signalfd_siginfo si;

    while (read(s->signals, &si, sizeof si) == (ssize_t)sizeof si)
        if (si.ssi_signo != SIGCHLD)
            signal_relay(s, (int)si.ssi_signo);
}

static void wait_and_serve(struct attending *s)
{
    struct pollfd p[3 + CLIENTS_MAX] = {
        {s->signals, POLLIN, 0}, {s->a->answers, POLLIN, 0}, {s->a->at->fd, POLLIN, 0}};

    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        const struct client *c = &s->clients[i];
        p[3 + i] = (struct pollfd){c->state == CLIENT_FREE ? -1 : c->fd,
                                   c->state == CLIENT_ASKS    ? POLLIN
                                   : c->state == CLIENT_READS ? POLLOUT
                                                              : 0,
                                   0};
    }
    if (poll(p, ARRAY_SIZE(p), deadline_next(s)) <= 0)
        return;
    if (p[0].revents)
        signals_read(s);
    if (p[1].revents)
        answers_read(s);
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (!p[3 + i].revents || c->state == CLIENT_FREE || c->fd != p[3 + i].fd)
            continue;
        if (c->state == CLIENT_ASKS)
            request_read(s, c);
        else if (c->state == CLIENT_READS)
            client_feed(s, c);
        else
            client_close(s, c); /* it has gone */
    }
    if (p[2].revents)
        client_arrive(s);
    sentry_ask(s);
}

/* The sandbox has ended: those who wanted that hear it, the others too. */
static void clients_dismiss(struct attending *s)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (c->state == CLIENT_ENDS)
            client_answer(s, c, NULL, 0);
        else if (c->state == CLIENT_READS)
            client_close(s, c);
        else if (c->state != CLIENT_FREE)
            client_too_late(s, c);
    }
}

int attend(struct attended *a, const sigset_t *signals)
{
    static struct attending s;
    int status;

    s = (struct attending){
        .a = a, .start_ns = now_ns(), .timeout_ns = INT64_MAX, .end_ns = INT64_MAX};
    if (a->timeout_s > 0)
        s.timeout_ns = s.start_ns + (int64_t)(a->timeout_s * 1e9);
    signal(SIGPIPE, SIG_IGN); /* the Sentry may end while it is told something */
    s.signals = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        s.clients[i].fd = -1;
    /* without a descriptor left there is nothing to do but wait */
    while (waitpid(a->sentry, &status, s.signals < 0 ? 0 : WNOHANG) != a->sentry) {
        deadlines_run(&s);
        stop_ask(&s);
        wait_and_serve(&s);
    }
    clients_dismiss(&s);
    close(s.signals);
    return status;
}
