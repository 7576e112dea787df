/* SPDX-License-Identifier: Apache-2.0
 * pipe.c - pipes (fifo.c opens named ones).
 *
 * A pipe is a ring of bytes, allocated at the first write. head and tail count bytes; the ring is a
 * power of two. A writer fills behind head, then moves head; a reader empties at tail, then moves
 * tail: both copy from and to guest memory without the spin lock, so a reader and a writer on two
 * pollers overlap. When the ring runs empty and nobody writes, both counters go back to 0: small
 * messages always use the same warm page.
 *
 * A write of at most PIPE_BUF bytes appears at once or not at all. POLLOUT therefore means room for
 * PIPE_BUF. All state changes wake the one wait queue with the POLL* bits that became true. Of
 * readers that wait one is woken, and of writers; who leaves something wakes the next.
 *
 * A guest may lie about lengths and addresses (uio answers -EFAULT); nothing in a pipe is an index
 * that a guest wrote.
 *
 * Locks: read_lock, write_lock (fiber mutexes, RANK_PIPE_READ and _WRITE) order the copies of each side; the size
 * changes under both. lock (RANK_OBJECT) guards the counters.
 *
 * splice.c moves bytes between pipes and other files; pipe_packet.c is for O_DIRECT. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <kernel/async.h>
#include <kernel/task.h>
#include <vfs/vfs.h>

#include "files_private.h"
#include "pipe.h"

static _Atomic(uint64_t) g_pipes_bytes; /* capacity of all pipes */

uint64_t pipes_bytes(void)
{
    return atomic_load(&g_pipes_bytes);
}

struct pipe *pipe_alloc(void)
{
    struct pipe *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    refcount_init(&p->ref);
    fmutex_init(&p->read_lock, RANK_PIPE_READ);
    fmutex_init(&p->write_lock, RANK_PIPE_WRITE);
    spin_init(&p->lock, RANK_OBJECT);
    wait_queue_init(&p->wait);
    p->capacity = PIPE_SIZE_DEFAULT;
    if (atomic_fetch_add(&g_pipes_bytes, PIPE_SIZE_DEFAULT) + PIPE_SIZE_DEFAULT > PIPES_BYTES_MAX) {
        p->capacity = PIPE_BUF;
        atomic_fetch_sub(&g_pipes_bytes, PIPE_SIZE_DEFAULT - PIPE_BUF);
    }
    return p;
}

void pipe_put(struct pipe *p)
{
    if (!p || !refcount_put(&p->ref))
        return;
    atomic_fetch_sub(&g_pipes_bytes, p->capacity);
    free(p->buf);
    free(p->packets);
    free(p);
}

/* A new end, counted; takes a reference to the pipe. */
struct pipe_end *pipe_end_new(struct pipe *p, uint32_t mode, bool fifo)
{
    struct pipe_end *e = calloc(1, sizeof(*e));

    if (!e)
        return NULL;
    e->pipe = p;
    e->mode = mode;
    e->fifo = fifo;
    refcount_get(&p->ref);
    spin_lock(&p->lock);
    e->writers_before = p->writer_opens;
    e->readers_before = p->reader_opens;
    if (end_reads(e)) {
        p->readers++;
        p->reader_opens++;
    }
    if (end_writes(e)) {
        p->writers++;
        p->writer_opens++;
    }
    spin_unlock(&p->lock);
    return e;
}

void pipe_end_free(struct pipe_end *e)
{
    struct pipe *p = e->pipe;

    spin_lock(&p->lock);
    if (end_reads(e))
        p->readers--;
    if (end_writes(e))
        p->writers--;
    if (!p->readers && !p->writers)
        p->head = p->tail = p->packet_count = 0; /* a fifo that nobody holds is empty */
    bool other = !p->readers != !p->writers;
    spin_unlock(&p->lock);
    wake_all(&p->wait, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLERR);
    if (other) {
        async_notify(&p->wait, POLL_IN);
        async_notify(&p->wait, POLL_OUT);
    }
    pipe_put(p);
    free(e);
}

size_t pipe_read_begin(struct pipe *p, size_t want, const char **ret_at, ssize_t *ret_why)
{
    spin_lock(&p->lock);
    uint64_t held = p->head - p->tail;
    bool writers = p->writers;
    p->packet_rest = 0;
    if (unlikely(p->packet_count))
        held = pipe_packet_stretch_locked(p);
    uint64_t tail = p->tail;
    spin_unlock(&p->lock);
    if (!held) {
        *ret_why = writers ? -EAGAIN : 0;
        return 0;
    }
    size_t off = tail & (p->capacity - 1);
    *ret_at = p->buf + off;
    return MIN(MIN(held, p->capacity - off), want);
}

uint32_t pipe_read_end(struct pipe *p, size_t taken)
{
    spin_lock(&p->lock);
    p->tail += taken;
    if (unlikely(p->packet_count))
        pipe_packet_taken_locked(p);
    if (p->tail == p->head && !p->writing)
        p->head = p->tail = 0;
    uint32_t room = p->capacity - (uint32_t)(p->head - p->tail);
    spin_unlock(&p->lock);
    return room;
}

static ssize_t pipe_read(struct file *f, struct uio *u, int64_t *pos UNUSED, unsigned flags UNUSED)
{
    struct pipe *p = ((struct pipe_end *)f->private_data)->pipe;
    ssize_t done = 0, r = 0;
    uint32_t room = 0;
    const char *at;

    if (!u->left)
        return 0;
    fmutex_lock(&p->read_lock);
    while (u->left) {
        size_t n = pipe_read_begin(p, u->left, &at, &r);
        if (!n)
            break;
        r = uio_copy_to_user(u, at, n);
        if (r < 0)
            break;
        size_t packet = p->packet_rest; /* what of it is not read now is lost */
        room = pipe_read_end(p, packet ? packet : (size_t)r);
        done += r;
        if ((size_t)r < n || packet)
            break;
    }
    fmutex_unlock(&p->read_lock);
    if (done && room >= PIPE_BUF)
        wake_one(&p->wait, POLLOUT | POLLWRNORM);
    if (done && room < p->capacity)
        wake_next(&p->wait, POLLIN | POLLRDNORM);
    if (done)
        async_notify(&p->wait, POLL_OUT);
    return done ? done : r;
}

size_t pipe_write_begin(struct pipe *p, uint64_t pending, size_t want, bool whole, size_t *ret_at,
                        ssize_t *ret_err)
{
    size_t n = 0;

    spin_lock(&p->lock);
    uint64_t head = p->head + pending;
    uint64_t room = p->capacity - (head - p->tail);
    if (!p->readers) {
        *ret_err = -EPIPE;
    } else if (!room || (whole && room < want)) {
        *ret_err = -EAGAIN;
    } else {
        p->writing = true;
        *ret_at = head & (p->capacity - 1);
        n = MIN(MIN(room, p->capacity - *ret_at), want);
    }
    spin_unlock(&p->lock);
    return n;
}

uint32_t pipe_write_end(struct pipe *p, uint64_t written)
{
    spin_lock(&p->lock);
    p->head += written;
    p->writing = false;
    uint32_t room = p->capacity - (uint32_t)(p->head - p->tail);
    spin_unlock(&p->lock);
    return room;
}

int pipe_buf_make(struct pipe *p)
{
    if (p->buf)
        return 0;
    char *buf = malloc(p->capacity);
    spin_lock(&p->lock);
    p->buf = buf;
    spin_unlock(&p->lock);
    return buf ? 0 : -ENOMEM;
}

static ssize_t pipe_write(struct file *f, struct uio *u, int64_t *pos UNUSED, unsigned flags UNUSED)
{
    struct pipe *p = ((struct pipe_end *)f->private_data)->pipe;
    bool whole = u->left <= PIPE_BUF, packets = f->flags & O_DIRECT;
    ssize_t done = 0, r = 0;
    uint64_t pending = 0; /* copied, not yet visible */

    if (!u->left)
        return 0;
    fmutex_lock(&p->write_lock);
    r = pipe_buf_make(p);
    if (r) {
        fmutex_unlock(&p->write_lock);
        return r;
    }
    while (u->left && !packets) {
        size_t at, n = pipe_write_begin(p, pending, u->left, whole && !pending, &at, &r);
        if (!n)
            break;
        r = uio_copy_from_user(u, p->buf + at, n);
        if (r < 0)
            break;
        done += r;
        pending += (uint64_t)r;
        if (!whole) { /* let the reader begin */
            (void)pipe_write_end(p, pending);
            pending = 0;
        }
        if ((size_t)r < n)
            break;
    }
    uint32_t room = 0;
    if (packets)
        r = pipe_packet_write(p, u, &room);
    else
        room = pipe_write_end(p, pending);
    if (packets && r > 0)
        done = r;
    fmutex_unlock(&p->write_lock);
    if (done)
        wake_one(&p->wait, POLLIN | POLLRDNORM);
    if (done && room >= PIPE_BUF)
        wake_next(&p->wait, POLLOUT | POLLWRNORM);
    if (done)
        async_notify(&p->wait, POLL_IN);
    return done ? done : r;
}

static uint32_t pipe_readiness(struct file *f)
{
    struct pipe_end *e = f->private_data;
    struct pipe *p = e->pipe;
    uint32_t ready = 0;

    spin_lock(&p->lock);
    uint64_t held = p->head - p->tail;
    if (end_reads(e)) {
        if (held)
            ready |= POLLIN | POLLRDNORM;
        if (!p->writers && (!e->fifo || p->writer_opens != e->writers_before))
            ready |= POLLHUP;
    }
    if (end_writes(e)) {
        if (p->capacity - held >= PIPE_BUF)
            ready |= POLLOUT | POLLWRNORM;
        if (!p->readers)
            ready |= POLLERR;
    }
    spin_unlock(&p->lock);
    return ready;
}

static struct wait_queue *pipe_wait_queue(struct file *f)
{
    return &((struct pipe_end *)f->private_data)->pipe->wait;
}

static sysret_t pipe_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct pipe *p = ((struct pipe_end *)f->private_data)->pipe;

    if (cmd != FIONREAD)
        return -ENOTTY;
    spin_lock(&p->lock);
    int32_t held = (int32_t)(p->head - p->tail - pipe_packet_padding_locked(p));
    spin_unlock(&p->lock);
    return copy_out_obj(t->mm, UADDR(arg), &held);
}

static int pipe_getattr(struct file *f, struct stat *ret)
{
    files_anon_stat(f, S_IFIFO | 0600, ret);
    return 0;
}

static void pipe_release(struct file *f)
{
    if (f->private_data)
        pipe_end_free(f->private_data);
}

static int pipe_reopen(struct file *f, struct file *fresh);

static const struct file_ops pipe_ops = {
    .name = "pipe",
    .wait_one = POLLIN | POLLOUT,
    .async = true,
    .read = pipe_read,
    .write = pipe_write,
    .readiness = pipe_readiness,
    .wait_queue = pipe_wait_queue,
    .ioctl = pipe_ioctl,
    .getattr = pipe_getattr,
    .release = pipe_release,
    .reopen = pipe_reopen,
};

/* /proc/PID/fd/N: another end of the same pipe, of either kind. */
static int pipe_reopen(struct file *f, struct file *fresh)
{
    struct pipe_end *e = f->private_data;

    e = pipe_end_new(e->pipe, fresh->flags & O_ACCMODE, false);
    if (!e)
        return -ENOMEM;
    fresh->ops = &pipe_ops;
    fresh->private_data = e;
    fresh->ino = f->ino;
    return 0;
}

/* The attributes of an open fifo are its inode's. */
const struct file_ops fifo_ops = {
    .name = "fifo",
    .wait_one = POLLIN | POLLOUT,
    .async = true,
    .read = pipe_read,
    .write = pipe_write,
    .readiness = pipe_readiness,
    .wait_queue = pipe_wait_queue,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
};

static struct file *pipe_file_new(struct pipe *p, uint32_t mode, uint32_t flags)
{
    struct pipe_end *e = pipe_end_new(p, mode, false);

    if (!e)
        return ERR_PTR(-ENOMEM);
    struct file *f = file_new(&pipe_ops, e, mode | (flags & (O_NONBLOCK | O_DIRECT)));
    if (IS_ERR(f))
        pipe_end_free(e);
    return f;
}

int pipe_new(uint32_t flags, struct file **ret_read, struct file **ret_write)
{
    struct pipe *p = pipe_alloc();
    int err = 0;

    if (!p)
        return -ENOMEM;
    struct file *r AUTO_PUT(file) = pipe_file_new(p, O_RDONLY, flags & O_NONBLOCK);
    struct file *w AUTO_PUT(file) = pipe_file_new(p, O_WRONLY, flags);
    if (IS_ERR(r) || IS_ERR(w)) {
        err = IS_ERR(r) ? PTR_ERR(r) : PTR_ERR(w);
    } else {
        w->ino = r->ino;
        *ret_read = steal(r);
        *ret_write = steal(w);
    }
    pipe_put(p);
    return err;
}

bool file_is_pipe(const struct file *f)
{
    return f->ops == &pipe_ops || f->ops == &fifo_ops;
}

int pipe_size_get(struct file *f)
{
    if (!file_is_pipe(f))
        return -EBADF;
    struct pipe *p = ((struct pipe_end *)f->private_data)->pipe;
    spin_lock(&p->lock);
    int size = (int)p->capacity;
    spin_unlock(&p->lock);
    return size;
}

/* Both mutexes held: nobody copies. */
static int pipe_resize_locked(struct pipe *p, uint32_t size)
{
    char *buf = p->buf ? malloc(size) : NULL;
    uint64_t held;

    if (p->buf && !buf)
        return -ENOMEM;
    spin_lock(&p->lock);
    held = p->head - p->tail;
    if (held > size) {
        spin_unlock(&p->lock);
        free(buf);
        return -EBUSY;
    }
    for (uint64_t i = 0; i < held;) {
        size_t off = (p->tail + i) & (p->capacity - 1);
        size_t n = MIN(held - i, p->capacity - off);
        memcpy(buf + i, p->buf + off, n);
        i += n;
    }
    char *old = p->buf;
    p->buf = buf;
    pipe_packet_move_locked(p);
    p->tail = 0;
    p->head = held;
    atomic_fetch_add(&g_pipes_bytes, (uint64_t)size - p->capacity);
    p->capacity = size;
    spin_unlock(&p->lock);
    free(old);
    return (int)size;
}

int pipe_size_set(struct file *f, uint32_t bytes)
{
    uint32_t size = PIPE_BUF;

    if (!file_is_pipe(f))
        return -EBADF;
    if (bytes > 1u << 31)
        return -EINVAL;
    while (size < bytes)
        size *= 2;
    if (size > PIPE_SIZE_MAX)
        return -EPERM;
    struct pipe *p = ((struct pipe_end *)f->private_data)->pipe;
    fmutex_lock(&p->read_lock);
    fmutex_lock(&p->write_lock);
    int r;
    if (size > p->capacity && atomic_load(&g_pipes_bytes) + (size - p->capacity) > PIPES_BYTES_MAX)
        r = -EPERM;
    else
        r = pipe_resize_locked(p, size);
    fmutex_unlock(&p->write_lock);
    fmutex_unlock(&p->read_lock);
    if (r > 0)
        wake_all(&p->wait, POLLOUT | POLLWRNORM);
    return r;
}
