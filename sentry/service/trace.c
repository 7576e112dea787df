/* SPDX-License-Identifier: Apache-2.0
 * trace.c - --trace lines and --stats tables. Off the hot path unless asked for.
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

static void print_counter(int fd, bool json, const char *name, uint64_t v)
{
    dprintf(fd, json ? "\"%s\":%llu," : "%-14s %llu\n", name, (unsigned long long)v);
}

static void print_calls(int fd, bool json)
{
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        uint64_t slot = 0, trap = 0, ns = 0;
        for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
            const struct poller_stats *s = g_service.pollers[i].stats;
            slot += s->calls[nr][0];
            trap += s->calls[nr][1];
            ns += s->call_ns[nr];
        }
        if (slot + trap == 0)
            continue;
        const char *name = sys_row(nr)->name;
        char number[16];
        snprintf(number, sizeof number, "%u", nr);
        dprintf(fd,
                json ? "{\"call\":\"%s\",\"ring\":%llu,\"trap\":%llu,\"mean_ns\":%llu},"
                     : "%-24s %10llu %10llu %10llu\n",
                name ? name : number, (unsigned long long)slot, (unsigned long long)trap,
                (unsigned long long)(ns / (slot + trap)));
    }
}

void service_stats_print(int fd, bool json)
{
    struct poller_stats sum = {0};

    for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
        const struct poller_stats *s = g_service.pollers[i].stats;
        sum.sleeps += s->sleeps;
        sum.events += s->events;
        sum.faults += s->faults;
        sum.interrupts += s->interrupts;
        sum.parks += s->parks;
        sum.again += s->again;
        sum.patches += s->patches;
        sum.patch_fails += s->patch_fails;
    }
    dprintf(fd, json ? "{" : "");
    print_counter(fd, json, "sleeps", sum.sleeps);
    print_counter(fd, json, "events", sum.events);
    print_counter(fd, json, "faults", sum.faults);
    print_counter(fd, json, "interrupts", sum.interrupts);
    print_counter(fd, json, "parks", sum.parks);
    print_counter(fd, json, "again", sum.again);
    print_counter(fd, json, "patches", sum.patches);
    print_counter(fd, json, "patch_fails", sum.patch_fails);
    if (json)
        dprintf(fd, "\"calls\":[");
    else
        dprintf(fd, "%-24s %10s %10s %10s\n", "call", "ring", "trap", "mean ns");
    print_calls(fd, json);
    dprintf(fd, json ? "{}]}\n" : "");
}
