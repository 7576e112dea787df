/* SPDX-License-Identifier: Apache-2.0
 * trace.c - lines about calls and events: for --trace, and for each `ringbox trace`. Off the hot path
 * unless somebody looks.
 *
 * --trace writes each line at once. Those who attach have a ring of ATTACH_TRACE_BUFFER bytes each: a
 * poller puts lines in, and when its host says that the reader's socket takes something, sends what there
 * is. What does not fit is dropped and counted, and the count is told where the gap is: a reader that
 * stands still costs a guest nothing.
 *
 * While anybody has attached guests do not answer getpid and its like themselves (task_ident_withhold).
 *
 * A slot has a reader or none, or one that has LEFT: its reader has gone while a poller is about to send; that one frees it.
 *
 * Owner: slots are taken and left on poller 0, filled by all. Who may lie: the reader, by not reading;
 * guests, about strings, which the reader cleans.
 *
 * Locks: a slot's own (RANK_LEAF) for ring and state.
 * Host: write, sendto, shutdown, close [sentry] */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kernel/pledge.h>

#include "attach.h"
#include "private.h"

#define LINE_MAX_BYTES 640
#define LACK_MAX_BYTES 128   /* of what a refused call was lacking */
#define DROPPED_MAX_BYTES 64 /* of the line that tells of it */

enum reader_state { READER_NONE, READER_HERE, READER_LEFT };

static struct trace_slot {
    struct spin lock;
    enum reader_state state;
    bool sending; /* `out` is armed, or its callback runs */
    int channel;
    int32_t pid;    /* 0: all */
    char *ring;     /* ATTACH_TRACE_BUFFER bytes */
    size_t in, out; /* bytes that ever went in and out */
    uint64_t dropped;
    struct io_poll reader, writer; /* reader: poller 0's */
} g_slots[ATTACH_TRACES_MAX];

/* --- the ring --- */

static void ring_put_locked(struct trace_slot *s, const char *text, size_t n)
{
    size_t at = s->in % ATTACH_TRACE_BUFFER, first = MIN(n, ATTACH_TRACE_BUFFER - at);

    memcpy(s->ring + at, text, first);
    memcpy(s->ring, text + first, n - first);
    s->in += n;
}

/* A line, behind word of those that are missing. */
static void line_put_locked(struct trace_slot *s, const char *line, size_t n)
{
    char gap[DROPPED_MAX_BYTES];
    size_t room = ATTACH_TRACE_BUFFER - (s->in - s->out);

    if (n + (s->dropped ? sizeof gap : 0) > room) {
        s->dropped++;
        return;
    }
    if (s->dropped) {
        int len =
            snprintf(gap, sizeof gap, "-- %llu lines dropped\n", (unsigned long long)s->dropped);
        ring_put_locked(s, gap, (size_t)len);
        s->dropped = 0;
    }
    ring_put_locked(s, line, n);
}

static void slot_free_locked(struct trace_slot *s)
{
    (void)close(s->channel);
    free(s->ring);
    s->ring = NULL;
    s->state = READER_NONE;
}

/* Nothing is under way to the reader any more. */
static void slot_sent_locked(struct trace_slot *s)
{
    s->sending = false;
    if (s->state == READER_LEFT)
        slot_free_locked(s);
}

/* --- sending --- */

/* One packet of what there is. false: nothing more to send, or nobody to read it; then `sending` is
 * over. */
static bool slot_send(struct trace_slot *s, bool *ret_full)
{
    spin_lock(&s->lock);
    size_t at = s->out % ATTACH_TRACE_BUFFER, n = MIN(s->in - s->out, ATTACH_TRACE_BUFFER - at);
    n = MIN(n, (size_t)ATTACH_TEXT_MAX);
    bool go = n && s->state == READER_HERE;
    if (!go)
        slot_sent_locked(s);
    spin_unlock(&s->lock);
    if (!go)
        return false;
    /* nobody else moves `out` or overwrites what lies behind it */
    ssize_t r = send(s->channel, s->ring + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    *ret_full = r < 0;
    if (r > 0) {
        spin_lock(&s->lock);
        s->out += (size_t)r;
        spin_unlock(&s->lock);
    }
    return true;
}

static void slot_writable(struct io_poll *p, uint32_t revents UNUSED)
{
    struct trace_slot *s = container_of(p, struct trace_slot, writer);
    bool full = false;

    while (!full)
        if (!slot_send(s, &full))
            return;
    if (io_poll_arm(p, s->channel, POLLOUT, slot_writable) == 0)
        return;
    spin_lock(&s->lock);
    slot_sent_locked(s); /* without memory for it: the next line tries again */
    spin_unlock(&s->lock);
}

static void slot_line(struct trace_slot *s, int32_t pid, const char *line, size_t n)
{
    spin_lock(&s->lock);
    bool mine = s->state == READER_HERE && (!s->pid || s->pid == pid);
    if (mine)
        line_put_locked(s, line, n);
    bool begin = mine && !s->sending && n;
    if (begin)
        s->sending = true;
    spin_unlock(&s->lock);
    if (begin && io_poll_arm(&s->writer, s->channel, POLLOUT, slot_writable)) {
        spin_lock(&s->lock);
        slot_sent_locked(s);
        spin_unlock(&s->lock);
    }
}

/* --- lines --- */

static void trace_line(struct task *t, const char *line, int len)
{
    if (len <= 0)
        return;
    ssize_t told = g_service.cfg.trace ? write(g_service.cfg.trace_fd, line, (size_t)len) : 0;
    (void)told; /* the reader has gone: tracing has no other way to say so */
    for (unsigned i = 0; i < ATTACH_TRACES_MAX; i++)
        slot_line(&g_slots[i], t->process->pid, line, (size_t)len);
}

/* Of a call that was refused: what was lacking; one of them where a call may come in by several. */
static const char *pledge_lack(struct task *t, sysret_t result, char *buf, size_t size)
{
    char words[PLEDGE_TEXT_MAX];
    uint32_t lacked = pledge_refused(t);

    if (!lacked || result != -EPERM)
        return "";
    (void)snprintf(buf, size, " (pledge: %s)",
                   lacked & PLEDGE_NEVER ? "not by any promise"
                                         : pledge_format(lacked, words, sizeof words));
    return buf;
}

void trace_call(struct call *c, sysret_t result)
{
    char text[512], line[LINE_MAX_BYTES], why[LACK_MAX_BYTES];
    int n = sys_format(c, text, sizeof text);

    if (n < 0)
        return;
    n = snprintf(line, sizeof line, "[%d] %s = %lld%s%s\n", c->task->tid, text, (long long)result,
                 result < 0 && result > -4096 ? strerrorname_np((int)-result) : "",
                 pledge_lack(c->task, result, why, sizeof why));
    trace_line(c->task, line, n < (int)sizeof line ? n : (int)sizeof line - 1);
}

void trace_event(struct task *t, const char *what, uint64_t a, int64_t b)
{
    char line[128];

    trace_line(t, line,
               snprintf(line, sizeof line, "[%d] -- %s 0x%llx = %lld\n", t->tid, what,
                        (unsigned long long)a, (long long)b));
}

/* --- those who attach --- */

static void tracing_update(void)
{
    bool attached = false;

    for (unsigned i = 0; i < ATTACH_TRACES_MAX; i++) {
        spin_lock(&g_slots[i].lock);
        attached |= g_slots[i].state == READER_HERE;
        spin_unlock(&g_slots[i].lock);
    }
    bool tracing = attached || g_service.cfg.trace;
    atomic_store(&g_service.tracing, tracing);
    for (unsigned i = 0; i < g_service.cfg.pollers; i++)
        atomic_store(&g_service.pollers[i].quick, !tracing && !g_service.cfg.stats);
    task_ident_withhold(attached);
}

static void slot_leave(struct trace_slot *s)
{
    spin_lock(&s->lock);
    s->state = READER_LEFT;
    (void)shutdown(s->channel, SHUT_RDWR); /* whoever is about to send, hears of it */
    if (!s->sending)
        slot_free_locked(s);
    spin_unlock(&s->lock);
    tracing_update();
}

/* A reader says nothing: this is its end. */
static void slot_readable(struct io_poll *p, uint32_t revents UNUSED)
{
    slot_leave(container_of(p, struct trace_slot, reader));
}

void trace_attach(int channel, int32_t pid)
{
    struct process *p AUTO_PUT(process) = pid ? process_find(pid) : NULL;
    struct trace_slot *s = NULL;
    const char *why = NULL;

    for (unsigned i = 0; i < ATTACH_TRACES_MAX && !s; i++) {
        spin_lock(&g_slots[i].lock);
        s = g_slots[i].state == READER_NONE ? &g_slots[i] : NULL;
        spin_unlock(&g_slots[i].lock);
    }
    char *ring = malloc(ATTACH_TRACE_BUFFER);
    if (!s)
        why = "too many are tracing this sandbox";
    else if (pid && !p)
        why = "no such process in this sandbox";
    else if (!ring)
        why = "out of memory";
    if (why) {
        free(ring);
        attach_reply(channel, ATTACH_FAILED, COMMAND_FAILED, why);
        (void)close(channel);
        return;
    }
    attach_reply(channel, ATTACH_STARTED, 0, NULL);
    spin_lock(&s->lock);
    s->channel = channel;
    s->pid = pid;
    s->ring = ring;
    s->in = s->out = s->dropped = 0;
    s->state = READER_HERE;
    spin_unlock(&s->lock);
    if (io_poll_arm(&s->reader, channel, POLLIN, slot_readable))
        slot_leave(s);
    else
        tracing_update();
}

void trace_init(void)
{
    for (unsigned i = 0; i < ATTACH_TRACES_MAX; i++)
        spin_init(&g_slots[i].lock, RANK_LEAF);
    atomic_store(&g_service.tracing, g_service.cfg.trace);
}

void trace_end(void)
{
    bool full;

    for (unsigned i = 0; i < ATTACH_TRACES_MAX; i++)
        if (g_slots[i].state == READER_HERE) {
            slot_line(&g_slots[i], g_slots[i].pid, "", 0); /* how many are missing */
            for (full = false; !full && slot_send(&g_slots[i], &full);)
                ;
        }
}
