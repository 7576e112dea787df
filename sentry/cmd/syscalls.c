/* SPDX-License-Identifier: Apache-2.0
 * syscalls.c - `ringbox syscalls [--json]`: the table, as it is compiled in. */
#include <stdio.h>
#include <string.h>

#include <syscall/sys.h>

#include "cmd.h"

static const char *const support_names[] = {"none", "partial", "full"};

int cmd_syscalls(int argc, char **argv)
{
    bool json = false;
    unsigned counts[3] = {0}, printed = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            printf("usage: ringbox syscalls [--json]\n");
            return 0;
        } else {
            return cmd_error("syscalls: unknown argument %s", argv[i]);
        }
    }
    printf(json ? "[" : "");
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        const struct sys_row *r = sys_row(nr);
        if (!r->name)
            continue;
        counts[r->support]++;
        if (json)
            printf("%s\n{\"nr\":%u,\"name\":\"%s\",\"support\":\"%s\",\"waits\":%s,\"sq\":%s,"
                   "\"note\":\"%s\"}",
                   printed++ ? "," : "", nr, r->name, support_names[r->support],
                   r->when == WHEN_WAIT ? "true" : "false", r->sq == SQ_YES ? "true" : "false",
                   r->note ? r->note : "");
        else
            printf("%3u %-24s %-8s %s\n", nr, r->name, support_names[r->support],
                   r->note ? r->note : "");
    }
    if (json)
        printf("\n]\n");
    else
        printf("full %u, partial %u, none %u\n", counts[SUPPORT_FULL], counts[SUPPORT_PARTIAL],
               counts[SUPPORT_NONE]);
    return 0;
}
