/* SPDX-License-Identifier: Apache-2.0
 * fds.c - host descriptors that mappers can map: one table for all of them.
 *
 * The tracer has a descriptor table of its own, which template and stubs share (CLONE_FILES); a guest
 * thread is cloned with a copy and closes all of it before it is a guest. So a file is handed over once
 * for the whole sandbox: its owner sends it through a socket, the tracer receives it. What is in
 * there beside: the memory file, the tracer's end of the socket, and the log.
 *
 * A dropped descriptor with a name is kept for whoever maps that file next, FDS_KEPT of them.
 *
 * Who may lie: nobody. Locks: g_fds.lock (RANK_LEAF).
 *
 * Host: sendmsg, recvmsg [sentry-ptrace]
 * Host: close, close_range [sentry]
 * Host: socketpair, unshare [before confinement]
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/log.h>

#include "internal.h"

#define FDS_KEPT 64u

struct host_file {
    struct list_head link;
    uint64_t key; /* 0: without a name */
    int fd;       /* in the tracer's table */
    unsigned users;
};

static struct {
    struct spin lock;
    struct list_head files; /* GUARDED_BY(lock); the one used last first */
    unsigned unused;        /* GUARDED_BY(lock) */
    int sock[2];            /* to the tracer; the tracer's */
} g_fds = {.lock = SPIN_INIT(RANK_LEAF), .sock = {-1, -1}};

int fds_open(void)
{
    list_init(&g_fds.files);
    g_fds.unused = 0;
    return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, g_fds.sock) ? -errno : 0;
}

/* The tracer's thread, first: leave the Sentry's table. */
int fds_leave(void)
{
    int keep[] = {log_fd, g_stubs.memfd, g_fds.sock[1]};
    unsigned from = 0;

    if (unshare(CLONE_FILES))
        return -errno;
    for (unsigned round = 0; round <= ARRAY_SIZE(keep); round++) {
        unsigned next = ~0U;
        for (unsigned i = 0; i < ARRAY_SIZE(keep); i++)
            if ((unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                next = (unsigned)keep[i];
        if (next > from)
            syscall(SYS_close_range, from, next == ~0U ? next : next - 1, 0);
        if (next == ~0U)
            break;
        from = next + 1;
    }
    return 0;
}

void fds_close(void)
{
    struct host_file *f, *next;

    list_for_each_entry_safe (f, next, &g_fds.files, link)
        free(f); /* the table has gone with the tracer */
    list_init(&g_fds.files);
    for (unsigned i = 0; i < 2; i++) {
        if (g_fds.sock[i] >= 0)
            close(g_fds.sock[i]);
        g_fds.sock[i] = -1;
    }
}

/* --- handing over --- */

struct donation {
    struct request r;
    int fd; /* received; -1: not yet */
};

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int))];
};

static int donation_send(struct donation *d, int fd)
{
    union control u = {0};
    struct iovec iov = {.iov_base = &d, .iov_len = sizeof(void *)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u.room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    while (sendmsg(g_fds.sock[0], &m, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* One message, of whomever it is: those of other threads can have come before. */
static int donation_receive(void)
{
    union control u;
    struct donation *d = NULL;
    struct iovec iov = {.iov_base = &d, .iov_len = sizeof(void *)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u.room};
    ssize_t n = recvmsg(g_fds.sock[1], &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    d->fd = -EMFILE; /* the host drops what does not fit */
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&d->fd, CMSG_DATA(c), sizeof d->fd);
    return 0;
}

static void donation_run(struct request *r)
{
    struct donation *d = container_of(r, struct donation, r);

    while (d->fd == -1)
        if (donation_receive())
            d->fd = -EIO;
}

struct close_request {
    struct request r;
    int fd;
};

static void close_run(struct request *r)
{
    close(container_of(r, struct close_request, r)->fd);
}

static void tracer_close(int fd)
{
    struct close_request q = {.r.run = close_run, .fd = fd};

    if (fd >= 0)
        tracer_do(&q.r);
}

/* --- who uses what --- */

static struct host_file *find_locked(uint64_t key)
{
    struct host_file *f;

    list_for_each_entry (f, &g_fds.files, link) {
        if (key && f->key == key)
            return f;
    }
    return NULL;
}

/* Room for one more in the list of what @as uses. */
static int users_grow(struct pf_as *as)
{
    if (as->file_count < as->file_room)
        return 0;
    unsigned room = as->file_room ? as->file_room * 2 : 8;
    struct host_file **bigger = realloc(as->files, room * sizeof(struct host_file *));
    if (!bigger)
        return -ENOMEM;
    as->files = bigger;
    as->file_room = room;
    return 0;
}

static void use_locked(struct pf_as *as, struct host_file *f)
{
    if (!f->users++ && f->key)
        g_fds.unused--;
    list_del(&f->link);
    list_add(&f->link, &g_fds.files);
    as->files[as->file_count++] = f;
}

/* One user less. Return: what is to be closed, or -1. */
static int unuse_locked(struct host_file *f)
{
    struct host_file *old = f;

    if (--f->users)
        return -1;
    if (f->key) {
        if (++g_fds.unused <= FDS_KEPT)
            return -1;
        for (old = list_last_entry(&g_fds.files, struct host_file, link); old->users || !old->key;)
            old = list_entry(old->link.prev, struct host_file, link);
        g_fds.unused--;
    }
    int fd = old->fd;
    list_del(&old->link);
    free(old);
    return fd;
}

bool ptrace_fd_known(struct pf_as *as, uint64_t key)
{
    (void)as;
    spin_lock(&g_fds.lock);
    bool known = find_locked(key) != NULL;
    spin_unlock(&g_fds.lock);
    return known;
}

/* @as has room for one more. */
static int file_new(struct pf_as *as, int fd, uint64_t key)
{
    struct donation d = {.r.run = donation_run, .fd = -1};
    struct host_file *f = calloc(1, sizeof *f);
    int r = f ? donation_send(&d, fd) : -ENOMEM;

    if (r == 0) {
        tracer_do(&d.r);
        r = d.fd;
    }
    if (r < 0) {
        free(f);
        return r;
    }
    *f = (struct host_file){.key = key, .fd = r};
    list_init(&f->link);
    spin_lock(&g_fds.lock);
    if (key)
        g_fds.unused++; /* two threads may both have come with it: both serve */
    use_locked(as, f);
    spin_unlock(&g_fds.lock);
    return r;
}

/* Slot = descriptor in the table + 1; slot 0 is the memory file. One caller at a time for each @as. */
int ptrace_fd_donate(struct pf_as *as, int fd, uint64_t key)
{
    int r = users_grow(as);

    if (r)
        return r;
    spin_lock(&g_fds.lock);
    struct host_file *f = find_locked(key);
    if (f) {
        use_locked(as, f);
        r = f->fd;
    }
    spin_unlock(&g_fds.lock);
    if (!f)
        r = file_new(as, fd, key);
    return r < 0 ? r : r + 1;
}

void ptrace_fd_drop(struct pf_as *as, int slot)
{
    int closed = -1;

    spin_lock(&g_fds.lock);
    for (unsigned i = 0; i < as->file_count; i++) {
        if (list_host_fd(slot) != as->files[i]->fd)
            continue;
        closed = unuse_locked(as->files[i]);
        as->files[i] = as->files[--as->file_count];
        break;
    }
    spin_unlock(&g_fds.lock);
    tracer_close(closed);
}

/* The tracer: @as is gone. */
void fds_drop_all(struct pf_as *as)
{
    while (as->file_count) {
        spin_lock(&g_fds.lock);
        int closed = unuse_locked(as->files[--as->file_count]);
        spin_unlock(&g_fds.lock);
        if (closed >= 0)
            close(closed);
    }
    free(as->files);
    as->files = NULL;
    as->file_room = 0;
}
