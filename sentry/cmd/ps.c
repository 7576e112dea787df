/* SPDX-License-Identifier: Apache-2.0
 * ps.c - `ringbox ps [--json] [ID]`: sandboxes of this user, or the processes in one. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"

#define INFO_MS 1000
#define ANSWER_MS 8000

struct listing {
    bool json;
    unsigned count;
};

/* Tab-separated: process, Sentry, seconds, command. */
static void print_one(const char *name, int fd, void *arg)
{
    struct listing *l = arg;
    char *text = NULL, *rest, *part[4] = {"", "", "", ""};
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    if (!to)
        return;
    int r = control_ask(fd, "info", INFO_MS, to);
    fclose(to);
    if (r == CONTROL_REFUSED) { /* it has said why */
        free(text);
        return;
    }
    rest = text;
    for (unsigned i = 0; r == CONTROL_OK && rest && i < 4; i++)
        part[i] = strsep(&rest, i < 3 ? "\t" : "\n");
    if (r != CONTROL_OK)
        part[3] = "(does not answer)";
    if (!l->json) {
        printf("%-20s %9s %9s %9s %s\n", name, part[0], part[1], part[2], part[3]);
    } else {
        for (char *p = part[3]; r == CONTROL_OK && *p; p++)
            if (*p == '"' || *p == '\\')
                *p = '\'';
        printf("%s{\"name\":\"%s\",\"pid\":%s,\"sentry\":%s,\"seconds\":%s,\"command\":\"%s\"}",
               l->count ? "," : "", name, *part[0] ? part[0] : "null", *part[1] ? part[1] : "null",
               *part[2] ? part[2] : "null", part[3]);
    }
    l->count++;
    free(text);
}

int cmd_ps(int argc, char **argv)
{
    struct listing l = {0};
    const char *name = NULL;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            l.json = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            printf("usage: ringbox ps [--json] [ID]\n\n"
                   "Sandboxes of this user; with ID the processes in that one.\n");
            return 0;
        } else if (argv[i][0] == '-' || name) {
            return cmd_error("ps: unknown argument %s", argv[i]);
        } else {
            name = argv[i];
        }
    }
    if (name)
        return cmd_ask(name, l.json ? "ps json" : "ps text", ANSWER_MS);
    if (l.json)
        printf("[");
    else
        printf("%-20s %9s %9s %9s %s\n", "ID", "PID", "SENTRY", "SECONDS", "COMMAND");
    control_each(print_one, &l);
    if (l.json)
        printf("]\n");
    return 0;
}
