/* SPDX-License-Identifier: Apache-2.0
 * trace.c - --trace lines and --stats tables. Off the hot path unless asked for.
 *
 * Host: write [sentry] */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/count.h>
#include <ring/barrier.h>

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

void stats_local_add(struct served *s)
{
    static const uint32_t calls[LANE_LOCAL_COUNT] = LANE_LOCAL_NRS;

    for (unsigned i = 0; i < LANE_LOCAL_COUNT; i++)
        tally_add(&s->poller->stats->calls[calls[i]][CALL_WAY_LOCAL],
                  ring_read64(&s->lane->local[i]));
}

static void print_counter(int fd, bool json, const char *name, uint64_t v)
{
    dprintf(fd, json ? "\"%s\":%llu," : "%-14s %llu\n", name, (unsigned long long)v);
}

static void print_calls(int fd, bool json)
{
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        uint64_t slot = 0, trap = 0, local = 0, ns = 0;
        for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
            const struct poller_stats *s = g_service.pollers[i].stats;
            slot += tally_get(&s->calls[nr][CALL_WAY_RING]);
            trap += tally_get(&s->calls[nr][CALL_WAY_TRAP]);
            local += tally_get(&s->calls[nr][CALL_WAY_LOCAL]);
            ns += tally_get(&s->call_ns[nr]);
        }
        if (slot + trap + local == 0)
            continue;
        const char *name = sys_row(nr)->name;
        char number[16];
        snprintf(number, sizeof number, "%u", nr);
        dprintf(
            fd,
            json ? "{\"call\":\"%s\",\"local\":%llu,\"ring\":%llu,\"trap\":%llu,\"mean_ns\":%llu},"
                 : "%-24s %10llu %10llu %10llu %10llu\n",
            name ? name : number, (unsigned long long)local, (unsigned long long)slot,
            (unsigned long long)trap, (unsigned long long)(ns / MAX(slot + trap, (uint64_t)1)));
    }
}

static uint64_t sum(size_t offset)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < g_service.cfg.pollers; i++)
        v += tally_get((
            const struct tally *)(const void *)((const char *)g_service.pollers[i].stats + offset));
    return v;
}

void service_stats_print(int fd, bool json)
{
    dprintf(fd, json ? "{" : "");
#define STAT(section, name, text) \
    print_counter(fd, json, #name, sum(offsetof(struct poller_stats, name)));
#include "stats.def"
#undef STAT
#define COUNT(name, text) print_counter(fd, json, #name, count_get(COUNT_##name));
#include <base/counts.def>
#undef COUNT
    if (json)
        dprintf(fd, "\"calls\":[");
    else
        dprintf(fd, "%-24s %10s %10s %10s %10s\n", "call", "local", "ring", "trap", "mean ns");
    print_calls(fd, json);
    dprintf(fd, json ? "{}]}\n" : "");
}
