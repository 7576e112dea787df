/* SPDX-License-Identifier: Apache-2.0
 * stats.c - --stats and `ringbox stats`: counters of all pollers and layers, as text or JSON.
 *
 * Each poller counts for itself (stats.def, calls by number and by the way they arrived); lower layers
 * count for the sandbox (base/counts.def). Latencies and batches are kept with --stats only: a call's
 * latency is from its being taken to its reply, waiting included. A percentile is the upper end of
 * its class, which is at most a quarter too much.
 *
 * Read while it goes on: each number is one that was true, but two need not be of one moment.
 *
 * Who may lie: guests, about calls they have answered themselves: that number is theirs, and
 * labelled so in README. No lock but the tasks' own.
 *
 * Host: write [sentry] */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/count.h>
#include <base/fiber.h>
#include <files/files.h>
#include <host/memfile.h>
#include <kernel/timer.h>
#include <net/net.h>
#include <patch/patch.h>

#include "private.h"

#define NSEC_PER_MSEC 1000000

static const uint32_t local_nrs[LANE_LOCAL_COUNT] = LANE_LOCAL_NRS;

/* --- counting --- */

int stats_init(struct poller_stats *s, bool latency)
{
    s->latency = latency ? calloc(SYS_NR_MAX, sizeof *s->latency) : NULL;
    return latency && !s->latency ? -ENOMEM : 0;
}

void stats_latency(struct poller_stats *s, uint32_t nr, int64_t ns)
{
    tally_add(&s->call_ns[nr], (uint64_t)ns);
    if (s->latency)
        tally_add(&s->latency[nr][latency_class((uint64_t)ns)], 1);
}

void stats_local_add(struct served *s)
{
    uint64_t n[LANE_LOCAL_COUNT] = {0};

    lane_local_counts(s->lane, n);
    for (unsigned i = 0; i < LANE_LOCAL_COUNT; i++)
        tally_add(&s->poller->stats->calls[local_nrs[i]][CALL_WAY_LOCAL], n[i]);
}

void stats_time(struct poller *p, struct tally *to, int64_t now_ns)
{
    if (likely(p->accounted_ns))
        tally_add(to, (uint64_t)(now_ns - p->accounted_ns));
    p->accounted_ns = now_ns;
}

void stats_batch(struct poller *p)
{
    if (!p->taken)
        return;
    unsigned log2 = 63 - (unsigned)__builtin_clzll(p->taken);
    tally_add(&p->stats->batches[MIN(log2, BATCH_BUCKETS - 1)], 1);
    p->taken = 0;
}

/* --- adding up --- */

#define PERCENTILES 4
static const unsigned per_mille[PERCENTILES] = {500, 900, 990, 999};
static const char *const percentile_names[PERCENTILES] = {"p50", "p90", "p99", "p99.9"};
static const char *const percentile_keys[PERCENTILES] = {"p50_ns", "p90_ns", "p99_ns", "p999_ns"};

static uint64_t sum(size_t offset)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
        const char *s = (const char *)g_service.pollers[i].stats;
        v += tally_get((const struct tally *)(const void *)(s + offset));
    }
    return v;
}

/* What running guests have answered themselves so far, by the order of LANE_LOCAL_NRS. */
static void local_running(uint64_t ret[LANE_LOCAL_COUNT])
{
    int32_t pid = process_init()->pid;

    memset(ret, 0, LANE_LOCAL_COUNT * sizeof *ret);
    for (;;) {
        struct process *p AUTO_PUT(process) = process_next(pid);
        if (!p)
            return;
        pid = p->pid;
        for (int32_t tid = 0;;) {
            struct task *t AUTO_PUT(task) = process_task_next(p, tid);
            if (!t)
                break;
            tid = t->tid;
            task_local_counts(t, ret);
        }
    }
}

struct call_sums {
    uint64_t by[CALL_WAYS], ns, timed, percentile_ns[PERCENTILES];
};

static void percentiles(uint32_t nr, struct call_sums *c)
{
    uint64_t count[LATENCY_CLASSES];

    for (unsigned k = 0; k < LATENCY_CLASSES; k++) {
        count[k] = 0;
        for (unsigned i = 0; i < g_service.cfg.pollers; i++)
            count[k] += tally_get(&g_service.pollers[i].stats->latency[nr][k]);
        c->timed += count[k];
    }
    for (unsigned i = 0; i < PERCENTILES; i++)
        c->percentile_ns[i] = latency_percentile(count, per_mille[i]);
}

/* Of one call number. false: it was never made. */
static bool call_sum(uint32_t nr, const uint64_t running[LANE_LOCAL_COUNT], struct call_sums *c)
{
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
        const struct poller_stats *s = g_service.pollers[i].stats;
        for (unsigned way = 0; way < CALL_WAYS; way++)
            c->by[way] += tally_get(&s->calls[nr][way]);
        c->ns += tally_get(&s->call_ns[nr]);
    }
    for (unsigned i = 0; i < LANE_LOCAL_COUNT; i++)
        if (local_nrs[i] == nr)
            c->by[CALL_WAY_LOCAL] += running[i];
    if (c->by[CALL_WAY_RING] + c->by[CALL_WAY_TRAP] + c->by[CALL_WAY_LOCAL] == 0)
        return false;
    if (g_service.cfg.stats)
        percentiles(nr, c);
    return true;
}

/* --- text and JSON --- */

static unsigned long long llu(uint64_t v)
{
    return v;
}

/* @last: the section printed last */
static void counter_write(FILE *to, bool json, const char **last, const char *section,
                          const char *name, const char *text, uint64_t v)
{
    if (json) {
        fprintf(to, "\"%s\":%llu,", name, llu(v));
        return;
    }
    if (strcmp(*last, section) != 0)
        fprintf(to, "\n%s\n", section);
    *last = section;
    size_t n = strlen(name);
    if (n > 3 && strcmp(name + n - 3, "_ns") == 0)
        fprintf(to, "  %14.3f ms  %s\n", (double)v / NSEC_PER_MSEC, text);
    else
        fprintf(to, "  %14llu     %s\n", llu(v), text);
}

static void patching_write(FILE *to, bool json, const char **last)
{
    const struct mm_text_counters *c = &mm_text_counters;
    char name[32], text[64];

    for (unsigned i = 0; i < MM_TEXT_SHAPES; i++) {
        snprintf(name, sizeof name, "sites_%s", patch_shape_name(i));
        snprintf(text, sizeof text, "call sites changed: %s", patch_shape_text(i));
        counter_write(to, json, last, "patching", name, text, c->sites[i]);
    }
    for (unsigned i = 0; i < MM_TEXT_REASONS; i++) {
        if (!c->refused[i] && !json)
            continue;
        snprintf(name, sizeof name, "refused_%s", patch_reason_name(i));
        snprintf(text, sizeof text, "call sites not changed: %s", patch_reason_text(i));
        counter_write(to, json, last, "patching", name, text, c->refused[i]);
    }
    for (unsigned i = 0; i < MM_TEXT_REASONS; i++) {
        if (!c->traps[i] && !json)
            continue;
        snprintf(name, sizeof name, "traps_%s", patch_reason_name(i));
        snprintf(text, sizeof text, "calls that trapped: %s", patch_reason_text(i));
        counter_write(to, json, last, "patching", name, text, c->traps[i]);
    }
    counter_write(to, json, last, "patching", "text_images", "images of text made", c->images);
    counter_write(to, json, last, "patching", "text_image_bytes", "bytes of these", c->image_bytes);
    counter_write(to, json, last, "patching", "text_dropped", "images dropped for their limit",
                  c->dropped);
    counter_write(to, json, last, "patching", "text_mapped", "mappings of text served by images",
                  c->mapped);
    counter_write(to, json, last, "patching", "text_mapped_sites", "changed call sites in these",
                  c->mapped_sites);
    counter_write(to, json, last, "patching", "text_switched",
                  "running processes that changed over to an image", c->switched);
}

static void counters_write(FILE *to, bool json)
{
    const char *last = "";

#define STAT(section, name, text) \
    counter_write(to, json, &last, #section, #name, text, sum(offsetof(struct poller_stats, name)));
#include "stats.def"
#undef STAT
    patching_write(to, json, &last);
#define COUNT(name, text) \
    counter_write(to, json, &last, "below", #name, text, count_get(COUNT_##name));
#include <base/counts.def>
#undef COUNT
}

static void call_write_json(FILE *to, const char *name, const struct call_sums *c, bool first)
{
    fprintf(to, "%s{\"call\":\"%s\",\"local\":%llu,\"ring\":%llu,\"trap\":%llu", first ? "" : ",",
            name, llu(c->by[CALL_WAY_LOCAL]), llu(c->by[CALL_WAY_RING]), llu(c->by[CALL_WAY_TRAP]));
    if (c->timed) {
        fprintf(to, ",\"mean_ns\":%llu", llu(c->ns / c->timed));
        for (unsigned i = 0; i < PERCENTILES; i++)
            fprintf(to, ",\"%s\":%llu", percentile_keys[i], llu(c->percentile_ns[i]));
    }
    fprintf(to, "}");
}

static void call_write_text(FILE *to, const char *name, const struct call_sums *c)
{
    fprintf(to, "  %-20s %11llu %11llu %9llu", name, llu(c->by[CALL_WAY_LOCAL]),
            llu(c->by[CALL_WAY_RING]), llu(c->by[CALL_WAY_TRAP]));
    if (c->timed) {
        fprintf(to, " %9llu", llu(c->ns / c->timed));
        for (unsigned i = 0; i < PERCENTILES; i++)
            fprintf(to, " %9llu", llu(c->percentile_ns[i]));
    }
    fprintf(to, "\n");
}

static void calls_write(FILE *to, bool json, const uint64_t running[LANE_LOCAL_COUNT],
                        struct call_sums *total)
{
    struct call_sums c;
    char number[16];
    bool first = true;

    memset(total, 0, sizeof *total);
    if (json) {
        fprintf(to, "\"calls\":[");
    } else {
        fprintf(to, "  %-20s %11s %11s %9s", "call", "local", "ring", "trap");
        if (g_service.cfg.stats) {
            fprintf(to, " %9s", "mean ns");
            for (unsigned i = 0; i < PERCENTILES; i++)
                fprintf(to, " %9s", percentile_names[i]);
        }
        fprintf(to, "\n");
    }
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        if (!call_sum(nr, running, &c))
            continue;
        snprintf(number, sizeof number, "%u", nr);
        const char *name = sys_name(nr) ? sys_name(nr) : number;
        if (json)
            call_write_json(to, name, &c, first);
        else
            call_write_text(to, name, &c);
        for (unsigned way = 0; way < CALL_WAYS; way++)
            total->by[way] += c.by[way];
        first = false;
    }
    if (json)
        fprintf(to, "],");
}

/* How many calls needed no trap, over the whole life of the sandbox. */
static void total_write(FILE *to, bool json, const struct call_sums *t)
{
    uint64_t free = t->by[CALL_WAY_LOCAL] + t->by[CALL_WAY_RING];
    uint64_t all = free + t->by[CALL_WAY_TRAP];
    double percent = all ? 100.0 * (double)free / (double)all : 100.0;

    fprintf(to,
            json ? "\"total\":{\"calls\":%llu,\"local\":%llu,\"ring\":%llu,\"trap\":%llu,"
                   "\"trap_free_percent\":%.2f},"
                 : "  total %llu calls: %llu local, %llu ring, %llu trap; trap-free %.2f %%\n",
            llu(all), llu(t->by[CALL_WAY_LOCAL]), llu(t->by[CALL_WAY_RING]),
            llu(t->by[CALL_WAY_TRAP]), percent);
}

static void batches_write(FILE *to, bool json)
{
    bool first = true;

    fprintf(to,
            json ? "\"batches\":["
                 : "\nbatches: calls taken between two looks at the clock, %u rounds at most\n",
            (unsigned)CLOCK_ROUNDS_LATE);
    for (unsigned b = 0; b < BATCH_BUCKETS; b++) {
        uint64_t n = sum(offsetof(struct poller_stats, batches) + b * sizeof(struct tally));
        if (!n)
            continue;
        if (json)
            fprintf(to, "%s{\"calls_min\":%u,\"times\":%llu}", first ? "" : ",", 1u << b, llu(n));
        else
            fprintf(to, "  %14llu     %u%s\n", llu(n), 1u << b, b ? " or more" : "");
        first = false;
    }
    if (json)
        fprintf(to, "],");
}

static void pollers_write(FILE *to, bool json)
{
    fprintf(to, json ? "\"pollers\":[" : "\n%-8s %14s %14s %14s %9s\n", "poller", "working ms",
            "spinning ms", "asleep ms", "sleeps");
    for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
        const struct poller_stats *s = g_service.pollers[i].stats;
        uint64_t work = tally_get(&s->working_ns), spin = tally_get(&s->spinning_ns),
                 sleep = tally_get(&s->asleep_ns), sleeps = tally_get(&s->sleeps);
        if (json)
            fprintf(
                to,
                "%s{\"working_ns\":%llu,\"spinning_ns\":%llu,\"asleep_ns\":%llu,\"sleeps\":%llu}",
                i ? "," : "", llu(work), llu(spin), llu(sleep), llu(sleeps));
        else
            fprintf(to, "  %-6u %14.3f %14.3f %14.3f %9llu\n", i, (double)work / NSEC_PER_MSEC,
                    (double)spin / NSEC_PER_MSEC, (double)sleep / NSEC_PER_MSEC, llu(sleeps));
    }
    if (json)
        fprintf(to, "],");
}

/* What there is at this moment: equal before and after something means that it left nothing. */
static void now_write(FILE *to, bool json)
{
    uint64_t timers = 0, stacks = 0;
    const char *last = "";
    struct mallinfo2 heap = mallinfo2();

    for (unsigned i = 0; i < g_service.cfg.pollers; i++) {
        struct fiber_stats f;
        fiber_stats_get(g_service.pollers[i].sched, &f);
        stacks += f.stacks_in_use;
        timers += timer_count(g_service.pollers[i].timers);
    }
    const struct {
        const char *name, *text;
        uint64_t value;
    } now[] = {
        {"open_files", "open files", file_count()},
        {"sockets", "sockets", sockets_count()},
        {"epoll_items", "descriptors watched by epolls", epoll_items()},
        {"timers", "timers armed", timers},
        {"fibers", "stacks in use: one for each poller and each call in the middle", stacks},
        {"pipe_bytes", "bytes that pipes may hold", pipes_bytes()},
        {"unix_bytes", "bytes charged for what queues on AF_UNIX sockets", unix_bytes()},
        {"tcp_bytes", "bytes of TCP buffers", net_ring_bytes()},
        {"udp_bytes", "bytes charged for datagrams", net_datagram_bytes()},
        {"memory_bytes", "bytes of the memory file", memfile_used(g_service.cfg.memfile)},
        {"heap_bytes", "bytes the Sentry has allocated", heap.uordblks + heap.hblkhd},
    };
    for (unsigned i = 0; i < sizeof now / sizeof now[0]; i++)
        counter_write(to, json, &last, "now", now[i].name, now[i].text, now[i].value);
}

void service_stats_write(FILE *to, bool json)
{
    uint64_t running[LANE_LOCAL_COUNT];
    struct call_sums total;

    local_running(running);
    fprintf(to, json ? "{" : "calls\n");
    calls_write(to, json, running, &total);
    total_write(to, json, &total);
    counters_write(to, json);
    if (g_service.cfg.stats)
        batches_write(to, json);
    now_write(to, json);
    pollers_write(to, json);
    if (json)
        fprintf(to, "\"tasks\":%u}\n", kernel_task_count());
    else
        fprintf(to, "\n%u threads and zombies now\n", kernel_task_count());
}

void service_stats_print(int fd, bool json)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    if (!to)
        return;
    service_stats_write(to, json);
    if (fclose(to) == 0)
        for (size_t done = 0; done < size;) {
            ssize_t n = write(fd, text + done, size - done);
            if (n <= 0)
                break;
            done += (size_t)n;
        }
    free(text);
}
