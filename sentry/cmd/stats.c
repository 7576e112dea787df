/* SPDX-License-Identifier: Apache-2.0
 * stats.c - `ringbox stats [--json] ID`: the counters of a running sandbox.
 *
 * Host: close [not confined] */
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"

#define ANSWER_MS 8000

int cmd_ask(const char *name, const char *request, int timeout_ms)
{
    int fd = control_connect(name);

    if (fd < 0)
        return EXIT_FAILED;
    int r = control_ask(fd, request, timeout_ms, stdout);
    close(fd);
    if (r == CONTROL_SILENT)
        cmd_error("sandbox '%s' does not answer; ringbox kill %s ends it", name, name);
    return r == CONTROL_OK ? 0 : EXIT_FAILED;
}

int cmd_stats(int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            printf("usage: ringbox stats [--json] ID\n\n"
                   "Counters of a running sandbox. Latencies are known where it was started with "
                   "--stats.\n");
            return 0;
        } else if (argv[i][0] == '-' || name) {
            return cmd_error("stats: unknown argument %s", argv[i]);
        } else {
            name = argv[i];
        }
    }
    if (!name)
        return cmd_error("stats: no sandbox given; see ringbox ps");
    return cmd_ask(name, json ? "stats json" : "stats text", ANSWER_MS);
}
