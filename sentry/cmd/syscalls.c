/* SPDX-License-Identifier: Apache-2.0
 * syscalls.c - `ringbox syscalls [--json|--promises]`: the table, as it is compiled in. */
#include <stdio.h>
#include <string.h>

#include <syscall/sys.h>

#include "cmd.h"

static const char *const support_names[] = {"none", "partial", "full"};

/* One promise's name if that is enough, else all of which one is enough. */
static const char *promises_of(const struct sys_row *r, char *buf, size_t size)
{
    return r->promises == PLEDGE_ALWAYS  ? "always"
           : r->promises == PLEDGE_NEVER ? "never"
                                         : pledge_format(r->promises, buf, size);
}

static int print_promises(void)
{
    char words[PLEDGE_TEXT_MAX];
    const char *word, *text;

    for (unsigned i = 0; (word = pledge_word(i, &text)) != NULL; i++)
        printf("%-10s %s\n", word, text);
    printf("kill       no promise: what is refused ends the process by SIGABRT\n\n"
           "call                 one of these lets it in          besides, by its arguments\n");
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        const struct sys_row *r = sys_row(nr);
        const char *more = sys_promise(nr)->words;
        if (!r->run)
            continue;
        printf(more ? "%-20s %-32s %s\n" : "%-20s %s\n", r->name,
               promises_of(r, words, sizeof words), more);
    }
    return 0;
}

int cmd_syscalls(int argc, char **argv)
{
    bool json = false;
    unsigned counts[3] = {0}, printed = 0;
    char words[PLEDGE_TEXT_MAX];

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--promises") == 0) {
            return print_promises();
        } else if (strcmp(argv[i], "--help") == 0) {
            printf("usage: ringbox syscalls [--json] [--promises]\n");
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
                   "\"note\":\"%s\",\"promises\":\"%s\",\"arguments\":%s}",
                   printed++ ? "," : "", nr, r->name, support_names[r->support],
                   r->when == WHEN_WAIT ? "true" : "false", r->sq == SQ_YES ? "true" : "false",
                   r->note ? r->note : "", r->run ? promises_of(r, words, sizeof words) : "",
                   sys_promise(nr)->words ? "true" : "false");
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
