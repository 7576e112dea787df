/* SPDX-License-Identifier: Apache-2.0
 * hostfile.c - descriptors of the host as guest files: stdin, stdout and stderr of `ringbox run` and
 * of `ringbox exec`.
 *
 * The descriptor is shared with processes outside, so its flags are never changed and its position
 * is the host's: two guest descriptors of one host file (`> log 2>&1`) and the shell that started
 * us see one offset. A read or write through the file's own position (vfs holds pos_lock) uses the
 * host's, pread and pwrite theirs.
 *
 * Streams never block a fiber for long: poll() says whether something can move, and writes are cut
 * to what a pipe or terminal surely takes. readiness() arms an io_poll for what is missing; since
 * everybody who waits asks for readiness after arming, the wake cannot be lost. An armed io_poll
 * holds a reference; it is cancelled when the last file goes.
 *
 * The host is trusted; guests give lengths and addresses, which uio checks. Terminal ioctls that
 * name process groups are answered here: guest pids mean nothing to the host.
 *
 * Locks: none of its own; armed flags are atomic. Left out: TOSTOP.
 * Host: poll, lseek, fstat, ioctl, fcntl, close, sendmsg [sentry-run] */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <host/io.h>
#include <kernel/task.h>
#include <vfs/vfs.h>

#include "hostfile.h"

#define HOST_IOVS 16
#define HOST_IO_MAX (1u << 20)      /* bytes of one host call on a file */
#define HOST_STREAM_MAX (64u << 10) /* on a stream */

static _Atomic(uint32_t) g_count;

uint32_t hostfile_count(void)
{
    return atomic_load(&g_count);
}

void hostfile_get(struct hostfile *h)
{
    refcount_get(&h->ref);
}

void hostfile_put(struct hostfile *h)
{
    if (!refcount_put(&h->ref))
        return;
    if (h->terminal)
        host_terminal_leave(h);
    (void)close(h->fd);
    free(h);
    atomic_fetch_sub(&g_count, 1);
}

/* --- readiness --- */

static void hostfile_ready(struct io_poll *p, uint32_t revents)
{
    struct host_poll *hp = container_of(p, struct host_poll, poll);
    struct hostfile *h = hp->file;

    atomic_store(&hp->armed, false); /* from here on its reference is ours */
    wake_all(&h->wait, revents | hp->events | hp->events_normal);
    async_notify(&h->wait, hp->events & POLLIN ? POLL_IN : POLL_OUT);
    hostfile_put(h);
}

static void hostfile_arm(struct hostfile *h, struct host_poll *hp)
{
    if (atomic_exchange(&hp->armed, true))
        return;
    refcount_get(&h->ref);
    int err = io_poll_arm(&hp->poll, h->fd, hp->events, hostfile_ready);
    if (err) {
        atomic_store(&hp->armed, false);
        hostfile_put(h);
    }
}

static void host_poll_cancel(struct hostfile *h, struct host_poll *hp)
{
    io_poll_cancel(&hp->poll);
    if (atomic_exchange(&hp->armed, false))
        hostfile_put(h);
}

void hostfile_poll_cancel(struct hostfile *h)
{
    hostfile_get(h);
    host_poll_cancel(h, &h->in);
    host_poll_cancel(h, &h->out);
    hostfile_put(h);
}

/* What holds now; arms for what does not. */
static uint32_t hostfile_poll(struct hostfile *h, uint32_t want)
{
    struct pollfd p = {.fd = h->fd, .events = (short)want};

    if (hostfile_hung(h))
        return (want & (POLLIN | POLLOUT)) | POLLHUP | POLLERR;
    if (poll(&p, 1, 0) < 0)
        return 0;
    uint32_t ready = (uint32_t)(unsigned short)p.revents;
    if ((want & POLLIN) && !(ready & (POLLIN | POLLHUP | POLLERR)))
        hostfile_arm(h, &h->in);
    if ((want & POLLOUT) && !(ready & (POLLOUT | POLLERR | POLLHUP)))
        hostfile_arm(h, &h->out);
    if (ready & POLLIN)
        ready |= POLLRDNORM;
    if (ready & POLLOUT)
        ready |= POLLWRNORM;
    return ready;
}

static uint32_t hostfile_readiness(struct file *f)
{
    uint32_t mode = f->flags & O_ACCMODE;

    return hostfile_poll(f->private_data, (mode != O_WRONLY ? POLLIN | POLLPRI : 0u) |
                                              (mode != O_RDONLY ? POLLOUT : 0u));
}

static struct wait_queue *hostfile_wait_queue(struct file *f)
{
    return &((struct hostfile *)f->private_data)->wait;
}

/* After less moved than was asked: watchers that only see edges, and owners who are sent signals, must
 * hear of the next change. */
static void hostfile_rearm(struct file *f, uint32_t want)
{
    struct hostfile *h = f->private_data;

    if (list_empty(&f->epitems) && !(f->flags & O_ASYNC))
        return;
    uint32_t ready = hostfile_poll(h, want);
    if (ready & want)
        wake_all(&h->wait, ready);
}

static int hostfile_flags_changed(struct file *f, uint32_t old)
{
    if (f->flags & ~old & O_ASYNC)
        (void)hostfile_readiness(f); /* arms */
    return 0;
}

/* --- data --- */

/* One host call on the caller's own memory; advances u. */
static ssize_t hostfile_move(struct hostfile *h, struct uio *u, size_t max, int64_t off, bool write)
{
    struct iovec iov[HOST_IOVS];
    int n = uio_pin(u, !write, MIN(u->left, max), iov, HOST_IOVS);

    if (n < 0)
        return n;
    ssize_t r = write ? io_pwritev(h->fd, iov, n, off) : io_preadv(h->fd, iov, n, off);
    uio_unpin(u);
    if (r > 0)
        uio_advance(u, (size_t)r);
    return r == -EWOULDBLOCK ? -EAGAIN : r;
}

static ssize_t stream_read(struct file *f, struct uio *u, int64_t *pos UNUSED,
                           unsigned flags UNUSED)
{
    struct hostfile *h = f->private_data;
    size_t want = u->left;

    if (!want)
        return 0;
    struct task *t = task_current();
    int err = hostfile_job(h) && t ? tty_job_check(hostfile_job(h), t, SIGTTIN) : 0;
    if (err)
        return err;
    if (hostfile_hung(h))
        return 0;
    if (!hostfile_poll(h, POLLIN))
        return -EAGAIN;
    ssize_t r = hostfile_move(h, u, HOST_STREAM_MAX, -1, false);
    if (r > 0 && (size_t)r < want)
        hostfile_rearm(f, POLLIN);
    return r;
}

/* How much can be written without waiting, given that poll() said POLLOUT. */
static size_t stream_room(struct hostfile *h)
{
    int held = 0, size;

    if (h->kind != HOST_PIPE)
        return h->kind == HOST_OTHER ? HOST_STREAM_MAX : PIPE_BUF;
    size = fcntl(h->fd, F_GETPIPE_SZ);
    if (size < PIPE_BUF || ioctl(h->fd, FIONREAD, &held) || held)
        return PIPE_BUF; /* slots may be partly filled: only one is sure */
    return (size_t)size;
}

static ssize_t stream_write(struct file *f, struct uio *u, int64_t *pos UNUSED,
                            unsigned flags UNUSED)
{
    struct hostfile *h = f->private_data;
    ssize_t done = 0, r = 0;

    if (hostfile_hung(h))
        return -EIO;
    while (u->left) {
        if (!(hostfile_poll(h, POLLOUT) & (POLLOUT | POLLERR | POLLHUP))) {
            r = -EAGAIN;
            break;
        }
        r = hostfile_move(h, u, stream_room(h), -1, true);
        if (r <= 0)
            break;
        done += r;
    }
    return done ? done : r;
}

static bool own_position(struct file *f)
{
    return fmutex_is_mine(&f->pos_lock);
}

static ssize_t regular_read(struct file *f, struct uio *u, int64_t *pos, unsigned flags UNUSED)
{
    if (!u->left)
        return 0;
    ssize_t r = hostfile_move(f->private_data, u, HOST_IO_MAX, own_position(f) ? -1 : *pos, false);
    if (r > 0)
        *pos += r;
    return r;
}

static ssize_t regular_write(struct file *f, struct uio *u, int64_t *pos, unsigned flags UNUSED)
{
    struct hostfile *h = f->private_data;
    ssize_t done = 0, r = 0;

    if ((f->flags & O_APPEND) && lseek(h->fd, 0, SEEK_END) < 0)
        return -errno;
    while (u->left) {
        r = hostfile_move(h, u, HOST_IO_MAX, own_position(f) ? -1 : *pos, true);
        if (r <= 0)
            break;
        *pos += r;
        done += r;
    }
    return done ? done : r;
}

static int64_t regular_seek(struct file *f, int64_t off, int whence)
{
    struct hostfile *h = f->private_data;
    off_t r = lseek(h->fd, off, whence);

    return r < 0 ? -errno : r;
}

static int hostfile_fsync(struct file *f, bool data_only)
{
    return io_fsync(((struct hostfile *)f->private_data)->fd, data_only);
}

static int hostfile_getattr(struct file *f, struct stat *ret)
{
    struct hostfile *h = f->private_data;

    return fstat(h->fd, ret) ? -errno : 0;
}

/* What is armed would hold the descriptor until the host has something, perhaps for ever. Of a terminal
 * that can be opened again (/dev/tty) the hangup sees to it. */
static void hostfile_release(struct file *f)
{
    struct hostfile *h = f->private_data;

    if (atomic_fetch_sub(&h->users, 1) == 1 && !h->terminal)
        hostfile_poll_cancel(h);
    hostfile_put(h);
}

/* /proc/PID/fd/N: the host's description stays one, whatever the new access mode says. */
static int hostfile_reopen(struct file *f, struct file *fresh)
{
    struct hostfile *h = f->private_data;

    hostfile_get(h);
    atomic_fetch_add(&h->users, 1);
    fresh->ops = f->ops;
    fresh->private_data = h;
    return 0;
}

static const struct file_ops host_tty_ops = {
    .name = "/dev/console",
    .read = stream_read,
    .write = stream_write,
    .readiness = hostfile_readiness,
    .wait_queue = hostfile_wait_queue,
    .async = true,
    .flags_changed = hostfile_flags_changed,
    .ioctl = hostfile_tty_ioctl,
    .release = hostfile_release,
    .reopen = hostfile_reopen,
};

static const struct file_ops host_stream_ops = {
    .name = "pipe",
    .read = stream_read,
    .write = stream_write,
    .readiness = hostfile_readiness,
    .wait_queue = hostfile_wait_queue,
    .async = true,
    .flags_changed = hostfile_flags_changed,
    .ioctl = hostfile_stream_ioctl,
    .getattr = hostfile_getattr,
    .release = hostfile_release,
    .reopen = hostfile_reopen,
};

static const struct file_ops host_regular_ops = {
    .name = "anon_inode:[hostfile]",
    .read = regular_read,
    .write = regular_write,
    .seek = regular_seek,
    .fsync = hostfile_fsync,
    .getattr = hostfile_getattr,
    .release = hostfile_release,
    .reopen = hostfile_reopen,
};

/* Without readiness: /dev/null and its like. */
static const struct file_ops host_device_ops = {
    .name = "/dev/null",
    .read = regular_read,
    .write = regular_write,
    .seek = regular_seek,
    .getattr = hostfile_getattr,
    .release = hostfile_release,
    .reopen = hostfile_reopen,
};

static const struct file_ops *hostfile_classify(struct hostfile *h, mode_t mode)
{
    struct winsize ws;

    if (S_ISREG(mode)) {
        h->kind = HOST_REGULAR;
        return &host_regular_ops;
    }
    if (S_ISCHR(mode) && ioctl(h->fd, TIOCGWINSZ, &ws) == 0) {
        h->kind = HOST_TTY;
        return &host_tty_ops;
    }
    if (S_ISCHR(mode) && lseek(h->fd, 0, SEEK_CUR) >= 0) {
        h->kind = HOST_REGULAR;
        return &host_device_ops;
    }
    h->kind = S_ISFIFO(mode) ? HOST_PIPE : S_ISSOCK(mode) ? HOST_SOCKET : HOST_OTHER;
    return &host_stream_ops;
}

int hostfile_open(struct hostfile *h, struct file *f)
{
    atomic_fetch_add(&h->users, 1);
    f->ops = &host_tty_ops;
    f->private_data = h;
    return 0;
}

bool hostfile_is_tty(const struct file *f)
{
    return f->ops == &host_tty_ops;
}

static void host_poll_init(struct hostfile *h, struct host_poll *hp, uint32_t events,
                           uint32_t normal)
{
    hp->file = h;
    hp->events = events;
    hp->events_normal = normal;
    atomic_init(&hp->armed, false);
}

struct file *hostfile_new(int fd, uint32_t flags, struct host_terminal *terminal)
{
    struct hostfile *h = calloc(1, sizeof(*h));
    struct stat st;

    if (!h)
        return ERR_PTR(-ENOMEM);
    if (fstat(fd, &st)) {
        free(h);
        return ERR_PTR(-errno);
    }
    refcount_init(&h->ref);
    atomic_init(&h->users, 1);
    h->fd = fd;
    list_init(&h->terminal_link);
    wait_queue_init(&h->wait);
    host_poll_init(h, &h->in, POLLIN, POLLRDNORM);
    host_poll_init(h, &h->out, POLLOUT, POLLWRNORM);
    const struct file_ops *ops = hostfile_classify(h, st.st_mode);
    int host_flags = fcntl(fd, F_GETFL);
    if (host_flags >= 0)
        flags = (uint32_t)host_flags & (O_ACCMODE | O_APPEND);
    struct file *f = file_new(ops, h, flags & (O_ACCMODE | O_APPEND));
    if (IS_ERR(f)) {
        free(h); /* the descriptor stays the caller's */
        return f;
    }
    atomic_fetch_add(&g_count, 1);
    if (h->kind == HOST_TTY && terminal)
        host_terminal_join(terminal, h);
    return f;
}
