/* SPDX-License-Identifier: Apache-2.0
 * trace.c - lines of --trace. Off the hot path unless asked for.
 *
 * Host: write [sentry] */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <kernel/pledge.h>

#include "private.h"

static void trace_line(const char *line, int len)
{
    if (len > 0 && write(g_service.cfg.trace_fd, line, (size_t)len) < 0)
        return; /* the reader has gone: tracing has no other way to say so */
}

/* What was lacked, in words; one of them where a call may come in by several. */
static const char *pledge_lack(uint32_t lacked, char *buf, size_t size)
{
    return lacked & PLEDGE_NEVER ? "not by any promise" : pledge_format(lacked, buf, size);
}

void trace_call(struct call *c, sysret_t result)
{
    char text[512], line[900], words[PLEDGE_TEXT_MAX];
    int n = sys_format(c, text, sizeof text);

    if (n < 0)
        return;
    uint32_t lacked = pledge_refused(c->task);
    if (lacked && result == -EPERM)
        n = snprintf(line, sizeof line, "[%d] %s = %lldEPERM (pledge: %s)\n", c->task->tid, text,
                     (long long)result, pledge_lack(lacked, words, sizeof words));
    else
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
