/* SPDX-License-Identifier: Apache-2.0
 * trace.c - `ringbox trace [--pid N] [--file FILE] ID`: the calls of a running sandbox, until interrupted.
 *
 * The Sentry keeps what we have not read yet, up to a limit, and then drops lines and says how many.
 *
 * Who may lie: the sandbox; what it sends is printed with everything unprintable replaced.
 *
 * Host: close, poll, recv, sigprocmask, signalfd [not confined] */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <service/attach.h>

#include "cmd.h"
#include "control.h"

static int usage(void)
{
    printf("usage: ringbox trace [--pid N] [--file FILE] ID\n\n"
           "Prints every system call of the running sandbox ID, its arguments and result, until\n"
           "interrupted or the sandbox ends. Lines that are not read in time are dropped and "
           "counted.\n\n"
           "  --pid N                            only calls of this process (as in ringbox ps ID)\n"
           "  --file FILE                        write to FILE (default: to stdout)\n");
    return 0;
}

static int copy(int channel, int signals, FILE *out)
{
    struct pollfd p[2] = {{channel, POLLIN, 0}, {signals, POLLIN, 0}};
    char buf[ATTACH_TEXT_MAX];
    ssize_t n;

    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return cmd_error("poll: %s", strerror(errno));
        while ((n = recv(channel, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
            control_print(out, buf, (size_t)n);
            if (fflush(out))
                return cmd_error("cannot write: %s", strerror(errno));
            if (poll(p + 1, 1, 0) > 0)
                return 0;
        }
        if (n == 0 || p[1].revents)
            return 0;
    }
}

int cmd_trace(int argc, char **argv)
{
    static const struct option longs[] = {{"pid", required_argument, NULL, 'p'},
                                          {"file", required_argument, NULL, 'f'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *file = NULL;
    char request[CONTROL_REQUEST_MAX];
    FILE *out = stdout;
    int c, pid = 0, channel = -1;
    sigset_t set;
    char end;

    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, "+:h", longs, NULL)) != -1) {
        if (c == 'h')
            return usage();
        if (c != 'p' && c != 'f')
            return cmd_error("trace: %s %s; see ringbox trace --help", argv[optind - 1],
                             c == ':' ? "needs a value" : "is no option");
        if (c == 'f')
            file = optarg;
        else if (sscanf(optarg, "%d%c", &pid, &end) != 1 || pid < 1)
            return cmd_error("--pid: '%s' is not the number of a process", optarg);
    }
    if (optind != argc - 1)
        return cmd_error("trace: one sandbox, please; see ringbox ps");
    if (file && !(out = fopen(file, "we")))
        return cmd_error("%s: %s", file, strerror(errno));
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    snprintf(request, sizeof request, "trace %d", pid);
    int e = cmd_attach(argv[optind], request, &channel);
    if (e)
        return e;
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    e = signals < 0 ? cmd_error("cannot take signals: %s", strerror(errno))
                    : copy(channel, signals, out);
    if (out != stdout && fclose(out))
        return cmd_error("%s: %s", file, strerror(errno));
    return e;
}
