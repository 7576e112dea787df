/* SPDX-License-Identifier: Apache-2.0
 * exec.c - `ringbox exec [OPTION...] ID [--] COMMAND`: a command in a running sandbox, with our stdio.
 *
 * `ringbox run` hands our descriptors to the Sentry (service/attach.h); after that we only pass signals on
 * and wait for the exit status. Ctrl-Z: when the command has stopped, we stop too, so that the shell that
 * started us has its terminal back.
 *
 * Who may lie: the sandbox, about the status; its text is cleaned.
 *
 * Host: close, fcntl, isatty, kill, memfd_create, open, poll, read, recv, send, sigprocmask, signalfd,
 *   socketpair, write [not confined] */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <service/attach.h>

#include "cmd.h"
#include "control.h"

#define ASK_MS 6000    /* more than a living `run` takes */
#define STOP_ASK_MS 30 /* Ctrl-Z: the command is asked about this often ... */
#define STOP_ASKS 30   /* and so many times */
#define EXIT_ENDED 137 /* the sandbox has ended, and all in it was killed */

enum tty_choice { TTY_AUTO, TTY_YES, TTY_NO };

struct exec {
    struct run_options o; /* user, cwd, env, command */
    enum tty_choice tty;
    const char *name;
    int channel, signals;
    bool started;
    unsigned stop_asks;
};

static int usage(void)
{
    printf("usage: ringbox exec [OPTION...] ID [--] COMMAND [ARGUMENT...]\n\n"
           "Runs COMMAND in the running sandbox ID, with this terminal or these pipes.\n\n");
    run_option_print("user", "identity inside (default: the sandbox's)");
    run_option_print("cwd", "working directory (default: the sandbox's)");
    run_option_print("env", NULL);
    run_option_print("tty", "give it our terminal: auto, if there is one");
    printf(
        "\nExit status: the command's; 128+N killed by signal N; 137 also when the sandbox ended;\n"
        "125 ringbox failed; 126 not executable; 127 not found.\n");
    return 0;
}

static int parse(int argc, char **argv, struct exec *x, bool *ret_done)
{
    static const struct option longs[] = {
        {"user", required_argument, NULL, 'o'}, {"cwd", required_argument, NULL, 'o'},
        {"env", required_argument, NULL, 'o'},  {"tty", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},       {0}};
    int c, index = 0;

    opterr = 0;
    optind = 1;
    x->o.env = environ;
    *ret_done = false;
    while ((c = getopt_long(argc, argv, "+:h", longs, &index)) != -1) {
        if (c == 'h') {
            *ret_done = true;
            return usage();
        }
        if (c == ':')
            return cmd_error("%s needs a value; see ringbox exec --help", argv[optind - 1]);
        if (c != 'o' && c != 't')
            return cmd_error("unknown option %s; see ringbox exec --help", argv[optind - 1]);
        if (c == 'o') {
            int e = run_option_set(&x->o, longs[index].name, optarg);
            if (e)
                return e;
            continue;
        }
        x->tty = strcmp(optarg, "yes") == 0  ? TTY_YES
                 : strcmp(optarg, "no") == 0 ? TTY_NO
                                             : TTY_AUTO;
        if (x->tty == TTY_AUTO && strcmp(optarg, "auto") != 0)
            return cmd_error("--tty: '%s' is not auto, yes or no", optarg);
    }
    if (optind >= argc)
        return cmd_error("exec: no sandbox given; see ringbox ps");
    x->name = argv[optind++];
    if (optind < argc && strcmp(argv[optind], "--") == 0)
        optind++;
    if (optind >= argc)
        return cmd_error("exec: no command given; see ringbox exec --help");
    x->o.command = argv + optind;
    return 0;
}

/* --- what the Sentry gets --- */

static bool put(FILE *to, const char *s)
{
    return fwrite(s, 1, strlen(s) + 1, to) == strlen(s) + 1;
}

/* A memfd that nobody can change any more, or -1 after a message. */
static int command_pack(const struct exec *x)
{
    struct attach_command h = {.version = ATTACH_COMMAND_VERSION,
                               .flags = x->tty == TTY_NO ? 0 : ATTACH_TERMINAL,
                               .uid = x->o.uid,
                               .gid = x->o.gid};
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    if (x->o.user_given)
        h.flags |= ATTACH_USER;
    while (x->o.command[h.argc])
        h.argc++;
    while (x->o.env[h.envc])
        h.envc++;
    bool ok = to && fwrite(&h, sizeof h, 1, to) == 1 && put(to, x->o.cwd ? x->o.cwd : "");
    for (uint32_t i = 0; ok && i < h.argc; i++)
        ok = put(to, x->o.command[i]);
    for (uint32_t i = 0; ok && i < h.envc; i++)
        ok = put(to, x->o.env[i]);
    if (to && fclose(to))
        ok = false;
    int fd = ok ? memfd_create("ringbox-exec", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
    if (!ok) {
        cmd_error("out of memory");
    } else if (size > ATTACH_COMMAND_MAX || h.argc > ATTACH_STRINGS_MAX ||
               h.envc > ATTACH_STRINGS_MAX) {
        cmd_error("exec: arguments and environment are too long");
        ok = false;
    } else if (fd < 0 || write(fd, text, size) != (ssize_t)size ||
               fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        cmd_error("cannot pack the command: %s", strerror(errno));
        ok = false;
    }
    free(text);
    if (!ok && fd >= 0)
        close(fd);
    return ok ? fd : -1;
}

/* Those that are closed read and write nothing. */
static int stdio_complete(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3);
    if (fd < 0)
        return cmd_error("/dev/null: %s", strerror(errno));
    close(fd);
    return 0;
}

static int ask(struct exec *x)
{
    int ends[2], e = stdio_complete();

    if (e)
        return e;
    if (x->tty == TTY_YES && !isatty(0) && !isatty(1) && !isatty(2))
        return cmd_error("--tty yes: no terminal here");
    int command = command_pack(x);
    if (command < 0)
        return EXIT_FAILED;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return cmd_error("cannot create sockets: %s", strerror(errno));
    int at = control_connect(x->name);
    if (at < 0)
        return EXIT_FAILED;
    const int fds[ATTACH_FDS] = {ends[1], command, 0, 1, 2};
    int r = control_ask_fds(at, "exec", fds, ATTACH_FDS, ASK_MS);
    close(at);
    close(ends[1]);
    close(command);
    x->channel = ends[0];
    if (r == CONTROL_SILENT)
        cmd_error("sandbox '%s' does not answer; ringbox kill %s ends it", x->name, x->name);
    return r == CONTROL_OK ? 0 : EXIT_FAILED;
}

/* --- while it runs --- */

static void tell(struct exec *x, unsigned char what)
{
    (void)send(x->channel, &what, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* -1: go on; else our exit status. */
static int signal_take(struct exec *x, int signo)
{
    if (!x->started && signo != SIGCONT && signo != SIGWINCH && signo != SIGTSTP)
        return 128 + signo; /* the end of the channel ends the command, if it starts after all */
    tell(x, (unsigned char)signo);
    if (signo == SIGTSTP)
        x->stop_asks = STOP_ASKS;
    return -1;
}

static int reply_take(struct exec *x)
{
    struct attach_reply r;
    ssize_t n = recv(x->channel, &r, sizeof r, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -1;
    if (n != (ssize_t)sizeof r) {
        cmd_error("the sandbox has ended");
        return EXIT_ENDED;
    }
    r.text[sizeof r.text - 1] = 0;
    switch (r.kind) {
    case ATTACH_STARTED:
        x->started = true;
        return -1;
    case ATTACH_FAILED:
        cmd_error("%s", r.text);
        return r.value & 0xff;
    case ATTACH_STOPPED:
        if (!r.value)
            return -1;
        x->stop_asks = 0;
        kill(getpid(), SIGSTOP);
        return -1;
    case ATTACH_ENDED:
        return WIFSIGNALED(r.value) ? 128 + WTERMSIG(r.value) : WEXITSTATUS(r.value);
    default:
        return cmd_error("an answer of another version");
    }
}

static int attend_command(struct exec *x)
{
    struct pollfd p[2] = {{x->channel, POLLIN, 0}, {x->signals, POLLIN, 0}};
    struct signalfd_siginfo si;
    int status = -1;

    while (status < 0) {
        if (poll(p, 2, x->stop_asks ? STOP_ASK_MS : -1) == 0) {
            x->stop_asks--;
            tell(x, ATTACH_ASK_STOPPED);
            continue;
        }
        if (p[0].revents)
            status = reply_take(x);
        if (status < 0 && p[1].revents && read(x->signals, &si, sizeof si) == (ssize_t)sizeof si)
            status = signal_take(x, (int)si.ssi_signo);
    }
    return status;
}

int cmd_exec(int argc, char **argv)
{
    static const int relayed[] = {SIGINT,  SIGTERM, SIGQUIT, SIGHUP,   SIGUSR1,
                                  SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGTSTP};
    static struct exec x;
    sigset_t set;
    bool done;
    int e = parse(argc, argv, &x, &done);

    if (e || done)
        return e;
    sigemptyset(&set);
    for (unsigned i = 0; i < ARRAY_SIZE(relayed); i++)
        sigaddset(&set, relayed[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    e = ask(&x);
    if (e)
        return e;
    x.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (x.signals < 0)
        return cmd_error("cannot take signals: %s", strerror(errno));
    return attend_command(&x);
}
