/* SPDX-License-Identifier: Apache-2.0
 * exec_args.c - the bytes of a request for exec as strings; pure.
 *
 * Who may lie: the caller, in every byte. Strings end where a NUL is, within the bytes; their number is
 * what was announced, and nothing is left over.
 *
 * No locks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"

/* The string at *at, which moves behind it; NULL: it has no end. */
static char *string_next(char **at, const char *end)
{
    char *s = *at, *nul = s < end ? memchr(s, 0, (size_t)(end - s)) : NULL;

    if (!nul)
        return NULL;
    *at = nul + 1;
    return s;
}

static bool strings_take(char **list, uint32_t n, char **at, const char *end)
{
    for (uint32_t i = 0; i < n; i++) {
        list[i] = string_next(at, end);
        if (!list[i])
            return false;
    }
    list[n] = NULL;
    return true;
}

int exec_request_parse(char *buf, size_t n, struct exec_request *ret)
{
    struct exec_request q;
    char *at = buf + sizeof q.head;
    const char *end = buf + n;

    if (n < sizeof q.head || n > ATTACH_COMMAND_MAX)
        return -EINVAL;
    memcpy(&q.head, buf, sizeof q.head);
    const struct attach_command *h = &q.head;
    if (h->version != ATTACH_COMMAND_VERSION || (h->flags & ~(ATTACH_TERMINAL | ATTACH_USER)) ||
        h->argc < 1 || h->argc > ATTACH_STRINGS_MAX || h->envc > ATTACH_STRINGS_MAX ||
        h->uid == UINT32_MAX || h->gid == UINT32_MAX)
        return -EINVAL;
    q.cwd = string_next(&at, end);
    if (!q.cwd || (*q.cwd && *q.cwd != '/'))
        return -EINVAL;
    q.argv = calloc((size_t)h->argc + h->envc + 2, sizeof *q.argv);
    if (!q.argv)
        return -ENOMEM;
    q.envp = q.argv + h->argc + 1;
    if (!strings_take(q.argv, h->argc, &at, end) || !strings_take(q.envp, h->envc, &at, end) ||
        at != end) {
        free(q.argv);
        return -EINVAL;
    }
    *ret = q;
    return 0;
}
