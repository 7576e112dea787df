/* SPDX-License-Identifier: Apache-2.0
 * watch.c - what others change beneath a read-only export, told to a ringbox client unasked.
 *
 * Model: a directory of which the client was told anything is watched (inotify) until the first change in
 * it. That is told with Rchanged, the watch ends with it, and the next question about the directory
 * watches it anew: one that changes all the time costs one message for each time the client looks. The
 * watch begins before the directory is read, so no change falls between. After a lot of messages the
 * rest waits for WATCH_PAUSE_MS, so that a host that is busy there does not make the sandbox busy too.
 *
 * Directories beyond the limits (watch_init) are not watched: what changes there may stay unseen, as where
 * there is no /proc or no inotify. Writable exports are not watched: most changes would be the client's.
 *
 * Who may lie: the client names directories; it can watch no more than it can list.
 * Host: inotify_add_watch, fchdir, read, poll, close [gofer]
 * Host: inotify_init1, open [before confinement]
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include <base/hash.h>

#define WATCH_EVENTS                                                               \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_ATTRIB | \
     IN_DELETE_SELF | IN_MOVE_SELF)
#define WATCH_BUCKETS 16384u
#define EVENT_BYTES 16384 /* read at a time */

struct watch {
    struct watch *next;
    uint64_t path, dev; /* as the client knows the directory */
    int wd;
};

static struct watch **bucket_of(const struct conn *c, int wd)
{
    return &c->watches.buckets[hash_u64((uint64_t)wd) % WATCH_BUCKETS];
}

static struct watch *watch_find(const struct conn *c, int wd)
{
    struct watch *w = *bucket_of(c, wd);
    while (w && w->wd != wd)
        w = w->next;
    return w;
}

/* A quarter of what the user may have: others want to watch too. */
static uint32_t watches_allowed(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/fs/inotify/max_user_watches", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 ? (uint32_t)MIN(strtoul(text, NULL, 10) / 4, (unsigned long)WATCHES_MAX) : 0;
}

void watch_init(struct conn *c)
{
    struct watches *w = &c->watches;
    w->fd = -1;
    w->max = watches_allowed();
    if (c->proc_fd < 0 || w->max == 0)
        return;
    w->buckets = calloc(WATCH_BUCKETS, sizeof(struct watch *));
    w->fd = w->buckets ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
}

void watch_fini(struct conn *c)
{
    struct watches *w = &c->watches;
    for (unsigned i = 0; w->buckets && i < WATCH_BUCKETS; i++)
        while (w->buckets[i]) {
            struct watch *next = w->buckets[i]->next;
            free(w->buckets[i]);
            w->buckets[i] = next;
        }
    free(w->buckets);
    if (w->fd >= 0)
        close(w->fd);
    *w = (struct watches){.fd = -1};
}

int watch_dir(struct conn *c, const struct gofer_export *e, int at, const char *name, uint64_t path,
              uint64_t dev)
{
    struct watches *ws = &c->watches;
    uint32_t how = IN_ONESHOT | IN_ONLYDIR | IN_EXCL_UNLINK;
    if (ws->fd < 0 || !c->ringbox || !e->read_only || ws->count >= ws->max || fchdir(at) < 0)
        return 0;
    if (at != c->proc_fd)
        how |= IN_DONT_FOLLOW;
    int wd = inotify_add_watch(ws->fd, name, WATCH_EVENTS | how);
    if (wd <= 0)
        return 0;
    struct watch *w = watch_find(c, wd);
    if (!w) {
        w = malloc(sizeof *w);
        if (!w)
            return 0; /* its event will be nobody's */
        struct watch **b = bucket_of(c, wd);
        w->next = *b;
        w->wd = wd;
        *b = w;
        ws->count++;
    }
    w->path = path;
    w->dev = dev;
    return wd;
}

void watch_node(struct conn *c, struct node *n, int fd)
{
    uint64_t path = qid_path(c, n->export, n->dev, n->ino);
    const struct watch *w = c->watches.fd >= 0 ? watch_find(c, n->wd) : NULL;
    char name[FD_PATH_MAX];
    if (w && w->dev == n->dev && w->path == path)
        return;
    fd_name(fd, name);
    n->wd = watch_dir(c, n->export, c->proc_fd, name, path, n->dev);
}

/* --- events --- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int tell(struct conn *c, uint64_t path, uint64_t dev)
{
    struct p9_rchanged m = {.tag = P9_NOTAG, .path = path, .dev = dev};
    uint8_t msg[64];
    int n = p9_encode_rchanged(msg, sizeof msg, &m);
    return n < 0 ? n : conn_send(c, msg, (size_t)n);
}

static int event_take(struct conn *c, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW) /* of what, nobody knows */
        return tell(c, 0, 0);
    struct watch **at = bucket_of(c, e->wd);
    while (*at && (*at)->wd != e->wd)
        at = &(*at)->next;
    struct watch *w = *at;
    if (!w)
        return 0;
    *at = w->next;
    c->watches.count--;
    int r = tell(c, w->path, w->dev);
    free(w);
    return r;
}

/* What has happened so far, or as much of it as one read gives. */
static int events_take(struct conn *c)
{
    uint8_t buf[EVENT_BYTES] ALIGNED(8);
    ssize_t have = read(c->watches.fd, buf, sizeof buf);
    int r = 0;
    for (ssize_t at = 0; r == 0 && at < have;) {
        const struct inotify_event *e = (const void *)(buf + at);
        r = event_take(c, e);
        at += (ssize_t)(sizeof *e + e->len);
    }
    c->watches.next_ms = now_ms() + WATCH_PAUSE_MS;
    c->watches.paused = true;
    return r;
}

int watch_wait(struct conn *c)
{
    struct watches *w = &c->watches;
    struct pollfd p[2] = {{.fd = c->config->sock, .events = POLLIN},
                          {.fd = w->fd, .events = POLLIN}};
    int r = 0;
    while (w->fd >= 0 && r == 0) {
        int64_t left = w->paused ? w->next_ms - now_ms() : 0;
        w->paused = left > 0;
        int n = poll(p, w->paused ? 1 : 2, w->paused ? (int)left : -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && p[0].revents)
            return 0;
        if (n > 0 && !w->paused && p[1].revents)
            r = events_take(c);
    }
    return r;
}
