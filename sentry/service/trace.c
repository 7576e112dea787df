/* SPDX-License-Identifier: Apache-2.0
 * trace.c - lines of --trace. Off the hot path unless asked for.
 *
 * Host: write [sentry] */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "private.h"

static void trace_line(const char *line, int len)
{
    if (len > 0 && write(g_service.cfg.trace_fd, line, (size_t)len) < 0)
        return; /* the reader has gone: tracing has no other way to say so */
}

void trace_call(struct call *c, sysret_t result)
{
    char text[512], line[640];
    int n = sys_format(c, text, sizeof text);

    if (n < 0)
        return;
    n = snprintf(line, sizeof line, "[%d] %s = %lld%s\n", c->task->tid, text, (long long)result,
                 result < 0 && result > -4096 ? strerrorname_np((int)-result) : "");
    trace_line(line, n < (int)sizeof line ? n : (int)sizeof line - 1);
}

void trace_event(struct task *t, const char *what, uint64_t a, int64_t b)
{
    char line[128];

    trace_line(line, snprintf(line, sizeof line, "[%d] -- %s 0x%llx = %lld\n", t->tid, what,
                              (unsigned long long)a, (long long)b));
}
