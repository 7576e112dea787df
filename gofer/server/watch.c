/* SPDX-License-Identifier: Apache-2.0
 * watch.c - what others change beneath a read-only export, told to a ringbox client unasked.
 *
 * Model: a directory of which the client was told anything is watched (inotify) until the first change in
 * it. That is told with Rchanged, the watch ends with it, and the next question about the directory
 * watches it anew: one that changes all the time costs one message for each time the client looks. The
 * watch begins before the directory is read, so no change falls between. After a lot of messages the
 * rest waits for WATCH_PAUSE_MS, so that a host that is busy there does not make the sandbox busy too.
 *
 * Watches are taken late: to let go of them takes the host up to 20 ms, which the end of the process waits
 * for, and most sandboxes are over before anything changes. Until WATCH_LATE_MS after the first look, or
 * until there are too many to remember, directories are only remembered (by descriptor). Then all are
 * watched, and the client is told that all may have changed: what did since it looked is not known.
 *
 * Directories beyond the limits (watch_init) are not watched: what changes there may stay unseen, as where
 * there is no /proc or no inotify. Writable exports are not watched: most changes would be the client's.
 *
 * Who may lie: the client names directories; it can watch no more than it can list.
 * Host: inotify_add_watch, fchdir, fcntl, read, poll, close [gofer]
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
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
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
    while (w->late_count)
        close(w->late[--w->late_count].fd);
    if (w->fd >= 0)
        close(w->fd);
    *w = (struct watches){.fd = -1};
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int watch_add(struct conn *c, int at, const char *name, uint64_t path, uint64_t dev)
{
    struct watches *ws = &c->watches;
    uint32_t how = IN_ONESHOT | IN_ONLYDIR | IN_EXCL_UNLINK;
    if (ws->count >= ws->max || fchdir(at) < 0)
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

/* --- late --- */

static int tell(struct conn *c, uint64_t path, uint64_t dev)
{
    struct p9_rchanged m = {.tag = P9_NOTAG, .path = path, .dev = dev};
    uint8_t msg[64];
    int n = p9_encode_rchanged(msg, sizeof msg, &m);
    return n < 0 ? n : conn_send(c, msg, (size_t)n);
}

/* From now on everything is watched at once. Without memory nothing is. */
static void watches_begin(struct conn *c)
{
    struct watches *ws = &c->watches;
    char name[FD_PATH_MAX];
    ws->began = ws->unsaid = true;
    ws->buckets = calloc(WATCH_BUCKETS, sizeof(struct watch *));
    if (!ws->buckets)
        ws->max = 0;
    while (ws->late_count) {
        struct watch_late *l = &ws->late[--ws->late_count];
        fd_name(l->fd, name);
        (void)watch_add(c, c->proc_fd, name, l->path, l->dev);
        close(l->fd);
    }
}

/* Remembers the directory open as @fd. false: no room or descriptor for it. */
static bool watch_later(struct watches *ws, int fd, uint64_t path, uint64_t dev)
{
    for (unsigned i = 0; i < ws->late_count; i++)
        if (ws->late[i].path == path && ws->late[i].dev == dev)
            return true;
    if (ws->late_count == ws->late_max)
        return false;
    int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (kept < 0)
        return false;
    if (ws->late_count == 0)
        ws->next_ms = now_ms() + WATCH_LATE_MS;
    ws->late[ws->late_count++] = (struct watch_late){.fd = kept, .path = path, .dev = dev};
    return true;
}

/* What is to be watched, if it is: not before it has begun. */
static bool watch_wanted(struct conn *c, const struct gofer_export *e, int fd, uint64_t path,
                         uint64_t dev)
{
    struct watches *ws = &c->watches;
    if (ws->fd < 0 || !c->ringbox || !e->read_only)
        return false;
    if (!ws->began && watch_later(ws, fd, path, dev))
        return false;
    if (!ws->began)
        watches_begin(c);
    return true;
}

int watch_dir(struct conn *c, const struct gofer_export *e, int at, const char *name, int fd,
              uint64_t path, uint64_t dev)
{
    return watch_wanted(c, e, fd, path, dev) ? watch_add(c, at, name, path, dev) : 0;
}

void watch_node(struct conn *c, struct node *n, int fd)
{
    uint64_t path = qid_path(c, n->export, n->dev, n->ino);
    const struct watch *w = c->watches.began ? watch_find(c, n->wd) : NULL;
    char name[FD_PATH_MAX];
    if (w && w->dev == n->dev && w->path == path)
        return;
    fd_name(fd, name);
    n->wd = watch_dir(c, n->export, c->proc_fd, name, fd, path, n->dev);
}

/* --- events --- */

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

/* How long events wait, in ms: until they may be told, or, late, until there are any. -1: no longer. */
static int watch_pause(struct conn *c)
{
    struct watches *w = &c->watches;
    bool late = !w->began && w->late_count;
    int64_t left = w->paused || late ? w->next_ms - now_ms() : 0;
    if (left > 0)
        return (int)left;
    w->paused = false;
    if (late)
        watches_begin(c);
    return -1;
}

int watch_wait(struct conn *c)
{
    struct watches *w = &c->watches;
    struct pollfd p[2] = {{.fd = c->config->sock, .events = POLLIN},
                          {.fd = w->fd, .events = POLLIN}};
    int r = 0;
    while (w->fd >= 0 && r == 0) {
        int left = watch_pause(c);
        if (w->unsaid) { /* what changed while nothing was watched */
            w->unsaid = false;
            r = tell(c, 0, 0);
            continue;
        }
        int n = poll(p, left >= 0 ? 1 : 2, left);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && p[0].revents)
            return 0;
        if (n > 0 && left < 0 && p[1].revents)
            r = events_take(c);
    }
    return r;
}
