/* SPDX-License-Identifier: Apache-2.0
 * kill.c - `ringbox kill [-s SIGNAL] [--pid N] ID...`: ends a sandbox for certain, or passes a signal on to
 * it, or to one process in it.
 *
 * The end always comes: `ringbox run` asks the Sentry, and kills it when it does not end. Where `run`
 * itself does not answer (stopped by the terminal, say), it is killed from here, and the Sentry and
 * the file server die with it.
 *
 * Host: close [not confined] */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"

#define END_MS 6000    /* more than `run` takes to end the Sentry */
#define SIGNAL_MS 8000 /* more than it waits for the Sentry */
#define PEER_MS 5000   /* for a killed process to go */

/* "15", "TERM", "SIGTERM"; 0: no signal. */
static int signal_parse(const char *s)
{
    char *end;

    if (isdigit((unsigned char)*s)) {
        long n = strtol(s, &end, 10);
        return !*end && n >= 1 && n <= 64 ? (int)n : 0;
    }
    if (strncasecmp(s, "SIG", 3) == 0)
        s += 3;
    for (int n = 1; n < NSIG; n++) {
        const char *name = sigabbrev_np(n);
        if (name && strcasecmp(name, s) == 0)
            return n;
    }
    return 0;
}

static int end_one(const char *name)
{
    int fd = control_connect(name);

    if (fd < 0)
        return EXIT_FAILED;
    int r = control_ask(fd, "end", END_MS, NULL);
    if (r == CONTROL_SILENT) {
        int e = control_kill_peer(fd, PEER_MS);
        if (e)
            cmd_error("sandbox '%s' cannot be killed: %s", name, strerror(-e));
        r = e ? CONTROL_REFUSED : CONTROL_OK;
    }
    close(fd);
    return r == CONTROL_OK ? 0 : EXIT_FAILED;
}

static int signal_one(const char *name, int signo)
{
    char request[CONTROL_REQUEST_MAX];
    int fd = control_connect(name);

    if (fd < 0)
        return EXIT_FAILED;
    snprintf(request, sizeof request, "signal %d", signo);
    int r = control_ask(fd, request, SIGNAL_MS, NULL);
    close(fd);
    if (r == CONTROL_SILENT)
        cmd_error("sandbox '%s' does not answer; ringbox kill %s ends it", name, name);
    return r == CONTROL_OK ? 0 : EXIT_FAILED;
}

static int signal_process(const char *name, int pid, int signo)
{
    char request[CONTROL_REQUEST_MAX];
    int channel;

    snprintf(request, sizeof request, "kill %d %d", pid, signo);
    int e = cmd_attach(name, request, &channel);
    if (e == 0)
        close(channel);
    return e;
}

static int usage(void)
{
    printf("usage: ringbox kill [-s SIGNAL] [--pid N] ID...\n\n"
           "Ends the sandbox, whatever state it is in. With -s the signal is passed on to its "
           "command\n"
           "(or the foreground job of its terminal), as ringbox run passes on those it gets.\n\n"
           "  -s, --signal SIGNAL                a name or number (default: KILL)\n"
           "  --pid N                            to this process inside (as in ringbox ps ID)\n");
    return 0;
}

int cmd_kill(int argc, char **argv)
{
    static const struct option longs[] = {{"signal", required_argument, NULL, 's'},
                                          {"pid", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int c, signo = SIGKILL, pid = 0, status = 0;
    char end;

    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, "+:s:h", longs, NULL)) != -1) {
        if (c == 'h')
            return usage();
        if (c == 'p') {
            if (sscanf(optarg, "%d%c", &pid, &end) != 1 || pid < 2)
                return cmd_error("--pid: '%s' is not the number of a process", optarg);
            continue;
        }
        if (c != 's')
            return cmd_error("kill: %s %s; see ringbox kill --help", argv[optind - 1],
                             c == ':' ? "needs a value" : "is no option");
        signo = signal_parse(optarg);
        if (!signo)
            return cmd_error("kill: '%s' is no signal", optarg);
    }
    if (optind >= argc)
        return cmd_error("kill: no sandbox given; see ringbox ps");
    for (int i = optind; i < argc; i++)
        if (pid                ? signal_process(argv[i], pid, signo)
            : signo == SIGKILL ? end_one(argv[i])
                               : signal_one(argv[i], signo))
            status = EXIT_FAILED;
    return status;
}
